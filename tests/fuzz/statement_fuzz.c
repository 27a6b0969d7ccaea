/* Target functions: canonical_unpack, canonical_pack, statement_parse. The first byte chooses the type: a kind of
 * payload, an entry or frame, and from 64 on a whole envelope. */
#include "proto/statement/statement.h"

#include "proto/chartmesh/v1/log.pb-c.h"
#include "tests/fuzz/fuzz.h"

enum { BUDGET = 4 << 20 };

static bool refused(const struct err *err)
{
    return err->code == ERR_INVALID || err->code == ERR_TOO_MUCH;
}

/* I35: what is accepted packs into the same bytes. */
static void both_ways(const ProtobufCMessageDescriptor *type, struct bytes wire)
{
    AUTO_ARENA(arena, BUDGET);
    ProtobufCMessage *message;
    struct bytes again;
    struct err err;
    if (!canonical_unpack(type, wire, &arena, &message, &err)) {
        require(refused(&err));
        return;
    }
    if (!canonical_pack(message, &arena, &again, &err)) {
        require(err.code == ERR_TOO_MUCH);
        return;
    }
    require(bytes_equal(wire, again));
    fuzz_reached(1);
}

/* A parsed statement's views lie in the envelope, and nobody has signed it. */
static void whole(struct bytes wire)
{
    AUTO_ARENA(arena, BUDGET);
    const struct hash key = {{1}};
    struct statement statement;
    struct err err;
    if (!statement_parse(wire, &arena, &statement, &err)) {
        require(refused(&err));
        return;
    }
    require(bytes_equal(statement.envelope, wire) && statement.payload.len <= wire.len);
    struct hash id = statement_id(statement.kind, statement.payload);
    require(hash_equal(&id, &statement.id));
    fuzz_reached(2);
    require(!statement_verify(&statement, statement.kind, NULL, &key, 1, 1, &err));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ProtobufCMessageDescriptor *const others[] = {
        &chartmesh__v1__envelope__descriptor,          &chartmesh__v1__entry__descriptor,
        &chartmesh__v1__map_frame__descriptor,         &chartmesh__v1__entry_frame__descriptor,
        &chartmesh__v1__withheld_frame__descriptor,    &chartmesh__v1__table_frame__descriptor,
        &chartmesh__v1__consistency_frame__descriptor,
    };
    if (size == 0) {
        return 0;
    }
    struct bytes wire = BYTES(data + 1, size - 1);
    if (data[0] >= 64) {
        whole(wire);
    } else if (data[0] > 0 && data[0] < STATEMENT_KINDS) {
        both_ways(statement_descriptor(data[0]), wire);
    } else {
        both_ways(others[data[0] % COUNT(others)], wire);
    }
    return 0;
}
