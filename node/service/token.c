/* Page and resume tokens. */
#include "node/service/service_inside.h"

#include "proto/base/builder.h"
#include "proto/base/reader.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/seal.h"

enum { TOKEN_LEN = 128, TOKEN_PLAIN = TOKEN_LEN - NONCE_LEN - TAG_LEN, TOKEN_STATE_MAX = 48 };
#define TOKEN_AAD BYTES_LIT("chartmesh token v1\n")

/* Whose it is and what for. */
static struct hash binding(const struct service_call *call, const char *purpose, struct bytes request_key)
{
    struct hash who = hash_of(bytes_str(call->caller.principal)), what = hash_of(bytes_str(purpose));
    return HASH_PARTS(BYTES_LIT("chartmesh token for v1\n"), BYTES_OF(who), BYTES_OF(what), request_key);
}

bool service_token(const struct service_call *call, const char *purpose, struct bytes request_key,
                   struct bytes state, struct bytes *out, struct err *err)
{
    uint8_t plain[TOKEN_PLAIN] = {0};
    struct hash bound = binding(call, purpose, request_key);
    if (state.len > TOKEN_STATE_MAX) {
        return err_raise(err, ERR_INTERNAL, "token: a state of %zu bytes", state.len);
    }
    put_u64be(plain, log_incarnation(call->service->log));
    memcpy(plain + 8, bound.bytes, HASH_LEN);
    plain[8 + HASH_LEN] = (uint8_t)state.len;
    if (state.len) {
        memcpy(plain + 8 + HASH_LEN + 1, state.data, state.len);
    }
    return seal_random(keys_facility(call->service->keys, FACILITY_KEY_TOKEN), TOKEN_AAD,
                       BYTES(plain, sizeof plain), call->arena, out, err);
}

bool service_token_open(const struct service_call *call, const char *purpose, struct bytes request_key,
                        struct bytes token, const char *field, struct bytes *state, struct err *err)
{
    struct bytes plain;
    struct hash bound = binding(call, purpose, request_key);
    if (token.len != TOKEN_LEN || !seal_open(keys_facility(call->service->keys, FACILITY_KEY_TOKEN), TOKEN_AAD,
                                             token, call->arena, &plain, err)) {
        if (token.len == TOKEN_LEN && err->code == ERR_TOO_MUCH) {
            return false; /* says nothing about the token */
        }
        return err_raise_field(err, REASON(TOKEN_INVALID), field, "not a token of this node");
    }
    struct reader r = reader_of(plain);
    uint64_t incarnation = read_u64be(&r);
    struct bytes whose = read_bytes(&r, HASH_LEN);
    size_t len = read_u8(&r);
    struct bytes found = read_bytes(&r, len);
    if (!r.ok || !bytes_equal(whose, BYTES_OF(bound))) {
        return err_raise_field(err, REASON(TOKEN_INVALID), field, "a token of another principal or request");
    }
    if (incarnation != log_incarnation(call->service->log)) {
        return err_raise_reason(err, ERR_CONFLICT, REASON(RESYNC), "%s: resync: the node has begun anew", field);
    }
    *state = found;
    return true;
}
