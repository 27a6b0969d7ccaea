/* Target functions: message_check, message_unpack, message_pack. The first byte chooses the type. */
#include "proto/chartmesh/v1/message.h"

#include "proto/chartmesh/v1/consents.pb-c.h"
#include "proto/chartmesh/v1/records.pb-c.h"
#include "proto/chartmesh/v1/replication.pb-c.h"
#include "proto/chartmesh/v1/statement.pb-c.h"
#include "tests/fuzz/fuzz.h"

/* What is accepted unpacks within its budget or says so, and packs into what is accepted again, the same. */
static void there_and_back(const ProtobufCMessageDescriptor *type, struct bytes wire)
{
    AUTO_ARENA(arena, 1 << 16);
    ProtobufCMessage *message, *again;
    struct bytes first, second = BYTES_NONE;
    struct err err;
    bool checked = message_check(type, wire, &err);
    if (!message_unpack(type, wire, &arena, &message, &err)) {
        require(err.code == (checked ? ERR_TOO_MUCH : ERR_INVALID));
        return;
    }
    require(checked);
    AUTO_ARENA(more, 1 << 18);
    if (message_pack(message, &more, &first, &err)) {
        require(message_unpack(type, first, &more, &again, &err) && message_pack(again, &more, &second, &err));
        require(bytes_equal(first, second));
        fuzz_reached(1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const ProtobufCMessageDescriptor *const types[] = {
        &chartmesh__v1__frame__descriptor,
        &chartmesh__v1__put_request__descriptor,
        &chartmesh__v1__set_policy_request__descriptor,
        &chartmesh__v1__policy__descriptor,
    };
    if (size) {
        there_and_back(types[data[0] % COUNT(types)], BYTES(data + 1, size - 1));
    }
    return 0;
}
