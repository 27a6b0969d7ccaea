#include "proto/statement/stream.h"

#include "proto/crypto/hash.h"

struct hash item_digest(const struct item_facts *item)
{
    uint8_t kind = (uint8_t)item->kind, incarnation[8], generation[8];
    put_u64be(incarnation, item->incarnation);
    put_u64be(generation, item->generation);
    return HASH_PARTS(BYTES_LIT("chartmesh item v1\n"), BYTES(&kind, 1), BYTES_OF(item->statement),
                      BYTES(incarnation, 8), BYTES(generation, 8), BYTES_OF(item->disclosure));
}

struct hash stream_chain_start(const struct id *network, const struct id *sender, uint64_t incarnation,
                               const struct id *receiver, uint8_t lane)
{
    uint8_t number[8];
    put_u64be(number, incarnation);
    return HASH_PARTS(BYTES_LIT("chartmesh stream v1\n"), BYTES_OF(*network), BYTES_OF(*sender), BYTES(number, 8),
                      BYTES_OF(*receiver), BYTES(&lane, 1));
}

struct hash stream_chain_next(const struct hash *chain, const struct hash *digest)
{
    return HASH_PARTS(BYTES_LIT("chartmesh stream v1\n"), BYTES_OF(*chain), BYTES_OF(*digest));
}
