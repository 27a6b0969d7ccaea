#include "proto/chartmesh/v1/message.h"

#include "proto/base/reader.h"
#include "proto/chartmesh/v1/common.pb-c.h"

enum {
    MALFORMED = CHARTMESH__V1__ERROR_REASON__ERROR_REASON_MALFORMED,
    TOO_LARGE = CHARTMESH__V1__ERROR_REASON__ERROR_REASON_TOO_LARGE,
};

/* The wire types of the protobuf encoding; 3 and 4 (groups) are never ours. */
enum wire_type { WIRE_VARINT = 0, WIRE_8_BYTES = 1, WIRE_LENGTH = 2, WIRE_4_BYTES = 5 };

/* Which fields one message has had. Ours have fewer than 64 fields; the ones beyond are not counted. */
struct seen {
    uint64_t bits;
};

static bool malformed(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field,
                      const char *what, struct err *err)
{
    return err_raise_field(err, MALFORMED, field ? field->name : "", "message %s%s%s: %s", type->name,
                           field ? ", field " : "", field ? field->name : "", what);
}

static enum wire_type wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_LENGTH;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_8_BYTES;
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_4_BYTES;
    default:
        return WIRE_VARINT;
    }
}

/* protobuf-c cuts a varint to its type's width; here it has to fit. */
static bool varint_fits(ProtobufCType type, uint64_t value)
{
    switch (type) {
    case PROTOBUF_C_TYPE_BOOL:
        return value <= 1;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_SINT32:
        return value <= UINT32_MAX;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
        return value <= INT32_MAX || value >= (uint64_t)INT32_MIN;
    default:
        return true;
    }
}

static bool check_scalar(ProtobufCType type, struct reader *r)
{
    switch (wire_type_of(type)) {
    case WIRE_8_BYTES:
        read_bytes(r, 8);
        return r->ok;
    case WIRE_4_BYTES:
        read_bytes(r, 4);
        return r->ok;
    default: {
        uint64_t value = read_varint(r);
        return r->ok && varint_fits(type, value);
    }
    }
}

static bool check_packed(ProtobufCType type, struct bytes body)
{
    struct reader r = reader_of(body);
    while (r.left.len) {
        if (!check_scalar(type, &r)) {
            return false;
        }
    }
    return true;
}

/* A field that is not repeated stands once, and one of a oneof alone: which of two would count is nobody's to
 * guess. */
static bool first_time(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field,
                       struct seen *seen)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return true;
    }
    uint64_t mine = 0;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        for (unsigned i = 0; i < type->n_fields && i < 64; i++) {
            bool same = (type->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
                        type->fields[i].quantifier_offset == field->quantifier_offset;
            mine |= (uint64_t)same << i;
        }
    } else if (field - type->fields < 64) {
        mine = UINT64_C(1) << (field - type->fields);
    }
    bool first = !(seen->bits & mine);
    seen->bits |= mine;
    return first;
}

static bool check_message(const ProtobufCMessageDescriptor *type, struct bytes wire, int depth, struct err *err);

/* A length-prefixed value: text, bytes, a message, or a packed list. */
static bool check_block(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field,
                        struct reader *r, int depth, struct err *err)
{
    uint64_t len = read_varint(r);
    struct bytes body = len <= r->left.len ? read_bytes(r, (size_t)len) : BYTES_NONE;
    if (!r->ok || body.len != len) {
        return malformed(type, field, "ends before its length", err);
    }
    switch (field->type) {
    case PROTOBUF_C_TYPE_BYTES:
        return true;
    case PROTOBUF_C_TYPE_STRING:
        return utf8_valid(body) || malformed(type, field, "not UTF-8 text without U+0000", err);
    case PROTOBUF_C_TYPE_MESSAGE:
        return check_message(field->descriptor, body, depth + 1, err);
    default:
        return check_packed(field->type, body) || malformed(type, field, "not a list of this type", err);
    }
}

static bool check_field(const ProtobufCMessageDescriptor *type, struct seen *seen, struct reader *r, int depth,
                        struct err *err)
{
    uint64_t tag = read_varint(r);
    if (!r->ok || tag > UINT32_MAX || tag >> 3 == 0) {
        return malformed(type, NULL, "not a message of this type", err);
    }
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
    if (!field) {
        return err_raise_reason(err, ERR_INVALID, MALFORMED, "message %s: unknown field %u", type->name,
                                (unsigned)(tag >> 3));
    }
    if (!first_time(type, field, seen)) {
        return malformed(type, field, "given more than once", err);
    }
    enum wire_type want = wire_type_of(field->type), got = tag & 7;
    bool packed = got == WIRE_LENGTH && want != WIRE_LENGTH && field->label == PROTOBUF_C_LABEL_REPEATED;
    if (got != want && !packed) {
        return malformed(type, field, "of another wire type", err);
    }
    if (got == WIRE_LENGTH) {
        return check_block(type, field, r, depth, err);
    }
    return check_scalar(field->type, r) || malformed(type, field, "not a value of its type", err);
}

static bool check_message(const ProtobufCMessageDescriptor *type, struct bytes wire, int depth, struct err *err)
{
    if (depth > MESSAGE_DEPTH_MAX) {
        return malformed(type, NULL, "nested too deep", err);
    }
    struct reader r = reader_of(wire);
    struct seen seen = {0};
    while (r.left.len) {
        if (!check_field(type, &seen, &r, depth, err)) {
            return false;
        }
    }
    return true;
}

bool message_check(const ProtobufCMessageDescriptor *type, struct bytes wire, struct err *err)
{
    return check_message(type, wire, 1, err);
}

bool message_unpack(const ProtobufCMessageDescriptor *type, struct bytes wire, struct arena *arena,
                    ProtobufCMessage **out, struct err *err)
{
    if (!message_check(type, wire, err)) {
        return false;
    }
    ProtobufCAllocator allocator = {
        .alloc = arena_unpack_alloc,
        .free = arena_unpack_free,
        .allocator_data = arena,
    };
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, wire.len, wire.data);
    if (!message) {
        return err_raise_reason(err, ERR_TOO_MUCH, TOO_LARGE, "message %s: larger than its memory budget",
                                type->name);
    }
    *out = message;
    return true;
}

bool message_pack(const ProtobufCMessage *message, struct arena *arena, struct bytes *out, struct err *err)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    void *data;
    if (!arena_alloc(arena, len, &data, err)) {
        return err_wrap(err, "message %s", message->descriptor->name);
    }
    protobuf_c_message_pack(message, data);
    *out = BYTES(data, len);
    return true;
}
