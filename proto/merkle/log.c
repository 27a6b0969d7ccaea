#include "proto/merkle/log.h"

#include "proto/crypto/hash.h"
#include "proto/merkle/merkle.h"

struct hash log_commitment(const struct hash *r, struct bytes entry)
{
    return HASH_PARTS(BYTES_LIT("chartmesh entry v1\n"), BYTES_OF(*r), entry);
}

void log_leaf_data(const struct hash *commitment, uint8_t out[LOG_LEAF_LEN])
{
    memcpy(out, LOG_LEAF_LABEL, LOG_LEAF_LEN - HASH_LEN);
    memcpy(out + LOG_LEAF_LEN - HASH_LEN, commitment->bytes, HASH_LEN);
}

struct hash log_leaf(const struct hash *commitment)
{
    uint8_t data[LOG_LEAF_LEN];
    log_leaf_data(commitment, data);
    return merkle_leaf(BYTES(data, sizeof data));
}

struct hash log_actor(const struct hash *salt, struct bytes principal, struct bytes user)
{
    uint8_t principal_len[4], user_len[4];
    put_u32be(principal_len, (uint32_t)principal.len);
    put_u32be(user_len, (uint32_t)user.len);
    return HASH_PARTS(BYTES_LIT("chartmesh actor v1\n"), BYTES_OF(*salt), BYTES(principal_len, 4), principal,
                      BYTES(user_len, 4), user);
}
