#include "proto/crypto/seal.h"

#include <limits.h>

#include "proto/crypto/hash.h"
#include "proto/crypto/library.h"
#include "proto/crypto/random.h"

/* EVP takes lengths as int. */
static void feed(EVP_CIPHER_CTX *ctx, uint8_t *out, struct bytes in, bool *ok)
{
    int len = 0;
    *ok = *ok && (in.len == 0 || EVP_CipherUpdate(ctx, out, &len, in.data, (int)in.len) == 1);
}

static EVP_CIPHER_CTX *gcm_begin(const struct hash *key, const uint8_t *nonce, struct bytes aad, struct bytes in,
                                 bool sealing)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok = ctx && aad.len <= INT_MAX && in.len <= INT_MAX &&
              EVP_CipherInit_ex2(ctx, crypto_library()->aes_256_gcm, key->bytes, nonce, sealing, NULL) == 1;
    feed(ctx, NULL, aad, &ok);
    crypto_must(ok, "starting AES-256-GCM");
    return ctx;
}

void gcm_seal(const struct hash *key, const uint8_t nonce[NONCE_LEN], struct bytes aad, struct bytes plain,
              uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = gcm_begin(key, nonce, aad, plain, true);
    bool ok = true;
    int len = 0;
    feed(ctx, out, plain, &ok);
    ok = ok && EVP_CipherFinal_ex(ctx, out + plain.len, &len) == 1 &&
         EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, out + plain.len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    crypto_must(ok, "AES-256-GCM");
}

bool gcm_open(const struct hash *key, const uint8_t nonce[NONCE_LEN], struct bytes aad, struct bytes sealed,
              uint8_t *out, struct err *err)
{
    if (sealed.len < TAG_LEN) {
        return err_raise(err, ERR_CORRUPT, "seal: shorter than its tag");
    }
    struct bytes cipher = BYTES(sealed.data, sealed.len - TAG_LEN);
    uint8_t tag[TAG_LEN];
    memcpy(tag, sealed.data + cipher.len, TAG_LEN);
    EVP_CIPHER_CTX *ctx = gcm_begin(key, nonce, aad, cipher, false);
    bool ok = true;
    int len = 0;
    feed(ctx, out, cipher, &ok);
    uint8_t nothing;
    ok = ok && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) == 1 &&
         EVP_CipherFinal_ex(ctx, &nothing, &len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    if (!ok) {
        secret_wipe(out, cipher.len);
        return err_raise(err, ERR_CORRUPT, "seal: does not open with this key and place");
    }
    return true;
}

void seal_random_to(const struct hash *key, struct bytes aad, struct bytes plain, uint8_t *out)
{
    random_fill(out, NONCE_LEN);
    gcm_seal(key, out, aad, plain, out + NONCE_LEN);
}

bool seal_random(const struct hash *key, struct bytes aad, struct bytes plain, struct arena *arena,
                 struct bytes *out, struct err *err)
{
    void *room;
    size_t len = NONCE_LEN + plain.len + TAG_LEN;
    if (!arena_alloc(arena, len, &room, err)) {
        return err_wrap(err, "seal");
    }
    seal_random_to(key, aad, plain, room);
    *out = BYTES(room, len);
    return true;
}

bool seal_open(const struct hash *key, struct bytes aad, struct bytes sealed, struct arena *arena,
               struct bytes *out, struct err *err)
{
    if (sealed.len < NONCE_LEN + TAG_LEN) {
        return err_raise(err, ERR_CORRUPT, "seal: shorter than its nonce and tag");
    }
    size_t len = sealed.len - NONCE_LEN - TAG_LEN;
    void *room;
    if (!arena_alloc(arena, len, &room, err)) {
        return err_wrap(err, "seal");
    }
    struct bytes body = BYTES(sealed.data + NONCE_LEN, len + TAG_LEN);
    if (!gcm_open(key, sealed.data, aad, body, room, err)) {
        return false;
    }
    *out = BYTES(room, len);
    return true;
}

/* Wrapping a 32-byte key with the default IV (RFC 3394, 2.2.1 and 2.2.2): A in front of R1 to R4, six rounds over
 * them. OpenSSL's own AES-256-WRAP does not use the processor's AES, and a read unwraps several keys. */
enum { WRAP_ROUNDS = 6, WRAP_PARTS = 4, WRAP_PART = 8 };
static const uint8_t wrap_iv[WRAP_PART] = {0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6};

static EVP_CIPHER_CTX *block_begin(const struct hash *kek, bool wrapping)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    crypto_must(
        ctx && EVP_CipherInit_ex2(ctx, crypto_library()->aes_256_ecb, kek->bytes, NULL, wrapping, NULL) == 1 &&
            EVP_CIPHER_CTX_set_padding(ctx, 0) == 1,
        "starting AES-256");
    return ctx;
}

/* One step on A and Rn: `t` goes into A's end. */
static void wrap_step(EVP_CIPHER_CTX *ctx, uint8_t *a, uint8_t *r, uint8_t t, bool wrapping)
{
    uint8_t block[2 * WRAP_PART];
    bool ok = true;
    memcpy(block, a, WRAP_PART);
    memcpy(block + WRAP_PART, r, WRAP_PART);
    block[WRAP_PART - 1] ^= wrapping ? 0 : t;
    feed(ctx, block, BYTES(block, sizeof block), &ok);
    crypto_must(ok, "AES-256");
    block[WRAP_PART - 1] ^= wrapping ? t : 0;
    memcpy(a, block, WRAP_PART);
    memcpy(r, block + WRAP_PART, WRAP_PART);
    secret_wipe(block, sizeof block);
}

void key_wrap(const struct hash *kek, const struct hash *key, uint8_t out[WRAPPED_LEN])
{
    EVP_CIPHER_CTX *ctx = block_begin(kek, true);
    memcpy(out, wrap_iv, WRAP_PART);
    memcpy(out + WRAP_PART, key->bytes, HASH_LEN);
    for (unsigned t = 0; t < WRAP_ROUNDS * WRAP_PARTS; t++) {
        wrap_step(ctx, out, out + WRAP_PART * (1 + t % WRAP_PARTS), (uint8_t)(t + 1), true);
    }
    EVP_CIPHER_CTX_free(ctx);
}

bool key_unwrap(const struct hash *kek, struct bytes wrapped, struct hash *out, struct err *err)
{
    uint8_t room[WRAPPED_LEN];
    if (wrapped.len != WRAPPED_LEN) {
        return err_raise(err, ERR_CORRUPT, "wrapped key: %zu bytes", wrapped.len);
    }
    EVP_CIPHER_CTX *ctx = block_begin(kek, false);
    memcpy(room, wrapped.data, WRAPPED_LEN);
    for (unsigned t = WRAP_ROUNDS * WRAP_PARTS; t > 0; t--) {
        wrap_step(ctx, room, room + WRAP_PART * (1 + (t - 1) % WRAP_PARTS), (uint8_t)t, false);
    }
    EVP_CIPHER_CTX_free(ctx);
    bool ok = bytes_same(BYTES(room, WRAP_PART), BYTES(wrap_iv, WRAP_PART));
    if (ok) {
        memcpy(out->bytes, room + WRAP_PART, HASH_LEN);
    }
    secret_wipe(room, sizeof room);
    return ok || err_raise(err, ERR_CORRUPT, "wrapped key: does not open with this key");
}

void *secret_new(size_t size)
{
    crypto_library();
    void *secret = OPENSSL_secure_zalloc(size);
    crypto_must(secret != NULL, "memory for a secret");
    return secret;
}

void secret_free(void *secret)
{
    OPENSSL_secure_free(secret);         /* wipes what the secure heap gave */
}

bool secret_locked(void)
{
    return crypto_library()->locked;
}

void secret_wipe(void *secret, size_t size)
{
    if (size) {
        OPENSSL_cleanse(secret, size);
    }
}

void secret_wipe_hash(struct hash *hash)
{
    secret_wipe(hash, sizeof *hash);
}
