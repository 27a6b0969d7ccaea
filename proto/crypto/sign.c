#include "proto/crypto/sign.h"

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/library.h"
#include "proto/crypto/seal.h"

enum { KEY_INVALID = CHARTMESH__V1__ERROR_REASON__ERROR_REASON_KEY_INVALID };

/* OpenSSL's context made ready for one key. Starting one fetches the algorithm under locks; copying one that is
 * ready does not, so each use takes a copy and threads share the original, which is only read. */
struct signing_key {
    EVP_MD_CTX *ready;
    struct hash public_key;
};

struct verify_key {
    EVP_MD_CTX *ready;
};

struct hash key_id(enum key_alg alg, const struct hash *public_key)
{
    uint8_t byte = (uint8_t)alg;
    return HASH_PARTS(BYTES_LIT("chartmesh key v1\n"), BYTES(&byte, 1), BYTES_OF(*public_key));
}

/* -- public keys */

/* y of the points of order 1, 2, 4 and 8, little-endian; each with either sign of x. With the encodings y >= p,
 * which are refused as such, these are the 14 of small order. */
static const struct hash small_order[] = {
    {{0}},
    {{1}},
    {{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}},
    {{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
      0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05}},
    {{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
      0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a}},
};

/* p = 2^255 - 19 is ed ff .. ff 7f. */
static bool at_least_p(const struct hash *y)
{
    bool high = y->bytes[31] == 0x7f && y->bytes[0] >= 0xed;
    for (size_t i = 1; i < 31; i++) {
        high = high && y->bytes[i] == 0xff;
    }
    return high;
}

bool public_key_check(const struct hash *public_key, struct err *err)
{
    struct hash y = *public_key;
    y.bytes[31] &= 0x7f;
    if (at_least_p(&y)) {
        return err_raise_reason(err, ERR_INVALID, KEY_INVALID, "key: y is not below p");
    }
    for (size_t i = 0; i < COUNT(small_order); i++) {
        if (hash_equal(&y, &small_order[i])) {
            return err_raise_reason(err, ERR_INVALID, KEY_INVALID, "key: of small order");
        }
    }
    return true;
}

/* -- signing */

bool signing_key_new(const struct hash *seed, struct signing_key **out, struct err *err)
{
    crypto_library();
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, seed->bytes, SEED_LEN);
    struct signing_key *key = OPENSSL_zalloc(sizeof *key);
    EVP_MD_CTX *ready = EVP_MD_CTX_new();
    size_t len = KEY_LEN;
    bool ok = pkey && key && ready && EVP_PKEY_get_raw_public_key(pkey, key->public_key.bytes, &len) == 1 &&
              EVP_DigestSignInit_ex(ready, NULL, NULL, NULL, NULL, pkey, NULL) == 1;
    EVP_PKEY_free(pkey);
    crypto_must(ok, "making an Ed25519 key");
    key->ready = ready;
    if (!public_key_check(&key->public_key, err)) {
        signing_key_free(key);
        return false;
    }
    *out = key;
    return true;
}

void signing_key_free(struct signing_key *key)
{
    if (key) {
        EVP_MD_CTX_free(key->ready);
        OPENSSL_free(key);
    }
}

const struct hash *signing_key_public(const struct signing_key *key)
{
    return &key->public_key;
}

struct signature sign(const struct signing_key *key, struct bytes message)
{
    struct signature signature = {0};
    size_t len = SIGNATURE_LEN;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_MD_CTX_copy_ex(ctx, key->ready) == 1 &&
              EVP_DigestSign(ctx, signature.bytes, &len, message.data, message.len) == 1;
    EVP_MD_CTX_free(ctx);
    crypto_must(ok && len == SIGNATURE_LEN, "signing");
    return signature;
}

/* -- verifying: OpenSSL 3.0 is cofactorless, refuses S >= L and compares R as bytes (sign_test.c holds it to
 * that); weak keys are refused here. */

bool verify_key_new(const struct hash *public_key, struct verify_key **out, struct err *err)
{
    if (!public_key_check(public_key, err)) {
        return false;
    }
    crypto_library();
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, public_key->bytes, KEY_LEN);
    struct verify_key *key = OPENSSL_zalloc(sizeof *key);
    EVP_MD_CTX *ready = EVP_MD_CTX_new();
    bool ok = pkey && key && ready && EVP_DigestVerifyInit_ex(ready, NULL, NULL, NULL, NULL, pkey, NULL) == 1;
    EVP_PKEY_free(pkey);
    crypto_must(ok, "reading an Ed25519 key");
    key->ready = ready;
    *out = key;
    return true;
}

void verify_key_free(struct verify_key *key)
{
    if (key) {
        EVP_MD_CTX_free(key->ready);
        OPENSSL_free(key);
    }
}

bool verify_with(const struct verify_key *key, struct bytes message, struct bytes signature)
{
    if (signature.len != SIGNATURE_LEN) {
        return false;
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    crypto_must(ctx && EVP_MD_CTX_copy_ex(ctx, key->ready) == 1, "verifying");
    bool ok = EVP_DigestVerify(ctx, signature.data, signature.len, message.data, message.len) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

bool verify(const struct hash *public_key, struct bytes message, struct bytes signature)
{
    struct err ignored;
    struct verify_key *key;
    if (!verify_key_new(public_key, &key, &ignored)) {
        return false;
    }
    bool ok = verify_with(key, message, signature);
    verify_key_free(key);
    return ok;
}

/* -- X25519 */

static EVP_PKEY *x25519_secret(const struct hash *secret)
{
    crypto_library();
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, secret->bytes, KEY_LEN);
    crypto_must(pkey != NULL, "making an X25519 key");
    return pkey;
}

struct hash x25519_public(const struct hash *secret)
{
    EVP_PKEY *pkey = x25519_secret(secret);
    struct hash public_key;
    size_t len = KEY_LEN;
    bool ok = EVP_PKEY_get_raw_public_key(pkey, public_key.bytes, &len) == 1;
    EVP_PKEY_free(pkey);
    crypto_must(ok, "making an X25519 key");
    return public_key;
}

bool x25519(const struct hash *secret, const struct hash *peer, struct hash *out, struct err *err)
{
    EVP_PKEY *mine = x25519_secret(secret);
    EVP_PKEY *theirs = EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, peer->bytes, KEY_LEN);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, mine, NULL);
    AUTO_WIPE_HASH(shared);
    size_t len = KEY_LEN;
    crypto_must(theirs && ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, theirs) == 1,
                "starting X25519");
    bool ok = EVP_PKEY_derive(ctx, shared.bytes, &len) == 1 && !hash_is_zero(&shared);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(theirs);
    EVP_PKEY_free(mine);
    if (!ok) {
        return err_raise_reason(err, ERR_INVALID, KEY_INVALID, "key: the X25519 peer is of small order");
    }
    *out = shared;
    return true;
}
