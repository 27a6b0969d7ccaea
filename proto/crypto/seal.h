/* proto/crypto/seal.h - AES-256-GCM, AES-256 key wrap (RFC 3394), memory for secrets. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

enum { NONCE_LEN = 12, TAG_LEN = 16, WRAPPED_LEN = 40 };

/* gcm_seal writes ciphertext || tag: `out` holds plain.len + TAG_LEN. `out` may be plain.data. */
void gcm_seal(const struct hash *key, const uint8_t nonce[NONCE_LEN], struct bytes aad, struct bytes plain,
              uint8_t *out);

/* gcm_open writes the plaintext (sealed.len - TAG_LEN bytes) to `out`. ERR_CORRUPT when it does not verify;
 * `out` is then wiped. */
NODISCARD bool gcm_open(const struct hash *key, const uint8_t nonce[NONCE_LEN], struct bytes aad,
                        struct bytes sealed, uint8_t *out, struct err *err);

/* seal_random sets *out to nonce[12 random] || ciphertext || tag, in `arena`; seal_open undoes it. */
NODISCARD bool seal_random(const struct hash *key, struct bytes aad, struct bytes plain, struct arena *arena,
                           struct bytes *out, struct err *err);
/* seal_random_to is seal_random into `out`, which holds NONCE_LEN + plain.len + TAG_LEN bytes. */
void seal_random_to(const struct hash *key, struct bytes aad, struct bytes plain, uint8_t *out);
NODISCARD bool seal_open(const struct hash *key, struct bytes aad, struct bytes sealed, struct arena *arena,
                         struct bytes *out, struct err *err);

/* key_wrap wraps a 32-byte key under another (RFC 3394, AES-256); key_unwrap fails with ERR_CORRUPT. */
void key_wrap(const struct hash *kek, const struct hash *key, uint8_t out[WRAPPED_LEN]);
NODISCARD bool key_unwrap(const struct hash *kek, struct bytes wrapped, struct hash *out, struct err *err);

/* secret_new returns `size` zeroed bytes in locked memory, not in core dumps; aborts when there is none (1 MiB in
 * all). secret_free wipes. secret_wipe wipes what it is given. secret_locked is false where the system would not
 * lock that much (ulimit -l): a daemon says so at its start. */
void *secret_new(size_t size);
void secret_free(void *secret);
bool secret_locked(void);
void secret_wipe(void *secret, size_t size);

/* AUTO_WIPE(type, name) declares a value that is wiped at the end of its scope. */
#define AUTO_WIPE_HASH(name) __attribute__((cleanup(secret_wipe_hash))) struct hash name = {0}
void secret_wipe_hash(struct hash *hash);
