#include "client/verify/words.h"

#include "proto/statement/statement.h"

bool subject_equal(const Chartmesh__V1__Subject *a, const Chartmesh__V1__Subject *b)
{
    return a && b && bytes_equal(bytes_pb(a->facility), bytes_pb(b->facility)) &&
           bytes_equal(bytes_pb(a->patient), bytes_pb(b->patient));
}

bool entry_names(const Chartmesh__V1__Entry *entry, struct bytes id)
{
    for (size_t i = 0; i < entry->n_objects; i++) {
        if (bytes_equal(bytes_pb(entry->objects[i]), id)) {
            return true;
        }
    }
    return false;
}

/* The name of an enum's value in the schema, without the type's name before it. */
static const char *value_name(const ProtobufCEnumDescriptor *type, int value, size_t prefix)
{
    const ProtobufCEnumValue *found = protobuf_c_enum_descriptor_get_value(type, value);
    return found ? found->name + prefix : "?";
}

const char *entry_kind_name(Chartmesh__V1__EntryKind kind)
{
    return value_name(&chartmesh__v1__entry_kind__descriptor, (int)kind, sizeof "ENTRY_KIND_" - 1);
}

const char *effect_name(Chartmesh__V1__Effect effect)
{
    return value_name(&chartmesh__v1__effect__descriptor, (int)effect, sizeof "EFFECT_" - 1);
}
