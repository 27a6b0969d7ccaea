/* SHA-256 through OpenSSL's context by value: no allocation, no fetch, nothing that can fail. It is marked
 * deprecated in 3.0 and costs half of what EVP does for the short inputs that we hash most. */
#define OPENSSL_API_COMPAT 0x10101000L

#include "proto/crypto/hash.h"

#include "proto/crypto/library.h"

enum { SHA_BLOCK = 64 };

struct hash_run {
    SHA256_CTX sha;
};

static void add(SHA256_CTX *sha, struct bytes view)
{
    if (view.len) {
        SHA256_Update(sha, view.data, view.len);
    }
}

static struct hash end(SHA256_CTX *sha)
{
    struct hash hash;
    SHA256_Final(hash.bytes, sha);       /* wipes the context */
    return hash;
}

struct hash hash_of(struct bytes view)
{
    return hash_parts(&view, 1);
}

struct hash hash_parts(const struct bytes *parts, size_t count)
{
    SHA256_CTX sha;
    SHA256_Init(&sha);
    for (size_t i = 0; i < count; i++) {
        add(&sha, parts[i]);
    }
    return end(&sha);
}

struct hash_run *hash_run_new(void)
{
    struct hash_run *run = OPENSSL_malloc(sizeof *run);
    crypto_must(run != NULL, "memory for a hash");
    SHA256_Init(&run->sha);
    return run;
}

void hash_run_add(struct hash_run *run, struct bytes view)
{
    add(&run->sha, view);
}

struct hash hash_run_end(struct hash_run *run)
{
    struct hash hash = end(&run->sha);
    OPENSSL_free(run);
    return hash;
}

void hash_run_done(struct hash_run *run)
{
    if (run) {
        OPENSSL_clear_free(run, sizeof *run);
    }
}

/* A keyed HMAC before its message: the two contexts with their pads taken in (RFC 2104, 4). */
struct hmac {
    SHA256_CTX inner, outer;
};

static struct hmac hmac_begin(struct bytes key)
{
    uint8_t pad[SHA_BLOCK] = {0};
    if (key.len > SHA_BLOCK) {
        struct hash hashed = hash_of(key);
        memcpy(pad, hashed.bytes, HASH_LEN);
        OPENSSL_cleanse(&hashed, sizeof hashed);
    } else if (key.len) {
        memcpy(pad, key.data, key.len);
    }
    struct hmac hmac;
    SHA256_Init(&hmac.inner);
    SHA256_Init(&hmac.outer);
    for (size_t i = 0; i < SHA_BLOCK; i++) {
        pad[i] ^= 0x36;
    }
    SHA256_Update(&hmac.inner, pad, SHA_BLOCK);
    for (size_t i = 0; i < SHA_BLOCK; i++) {
        pad[i] ^= 0x36 ^ 0x5c;
    }
    SHA256_Update(&hmac.outer, pad, SHA_BLOCK);
    OPENSSL_cleanse(pad, sizeof pad);
    return hmac;
}

static struct hash hmac_end(const struct hmac *keyed, const struct bytes *parts, size_t count)
{
    struct hmac hmac = *keyed;
    for (size_t i = 0; i < count; i++) {
        add(&hmac.inner, parts[i]);
    }
    struct hash inner = end(&hmac.inner);
    add(&hmac.outer, BYTES_OF(inner));
    OPENSSL_cleanse(&inner, sizeof inner);
    return end(&hmac.outer);
}

struct hash hmac_sha256(struct bytes key, struct bytes message)
{
    struct hmac hmac = hmac_begin(key);
    struct hash tag = hmac_end(&hmac, &message, 1);
    OPENSSL_cleanse(&hmac, sizeof hmac);
    return tag;
}

void hkdf_sha256(struct bytes ikm, struct bytes salt, struct bytes info, uint8_t *out, size_t len)
{
    crypto_must(len <= 255 * HASH_LEN, "HKDF of this length");
    struct hash prk = hmac_sha256(salt, ikm), block = {0};
    struct hmac hmac = hmac_begin(BYTES_OF(prk));
    for (size_t done = 0; done < len; done += HASH_LEN) {
        /* T(n) = HMAC(PRK, T(n-1) || info || n), n from 1, T(0) empty */
        uint8_t n = (uint8_t)(done / HASH_LEN + 1);
        struct bytes parts[] = {BYTES(block.bytes, done ? HASH_LEN : 0), info, BYTES(&n, 1)};
        block = hmac_end(&hmac, parts, COUNT(parts));
        memcpy(out + done, block.bytes, MIN(len - done, HASH_LEN));
    }
    OPENSSL_cleanse(&hmac, sizeof hmac);
    OPENSSL_cleanse(&prk, sizeof prk);
    OPENSSL_cleanse(&block, sizeof block);
}

bool bytes_same(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.data, b.data, a.len) == 0);
}
