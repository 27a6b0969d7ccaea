/* proto/crypto/hash.h - SHA-256, HMAC and HKDF. Pure; a failure of the library aborts (it cannot happen with
 * algorithms fetched at start, and there would be nothing to do). */
#pragma once

#include "proto/base/bytes.h"

/* hash_of returns SHA-256 of a view. */
struct hash hash_of(struct bytes view);

/* hash_parts returns SHA-256 of the parts one after the other. */
struct hash hash_parts(const struct bytes *parts, size_t count);
#define HASH_PARTS(...)                                                                                           \
    hash_parts((const struct bytes[]){__VA_ARGS__}, COUNT(((const struct bytes[]){__VA_ARGS__})))

/* A running SHA-256 for long input. hash_run_end gives the result and ends it; hash_run_done ends it early
 * (NULL or ended is fine). */
struct hash_run;
struct hash_run *hash_run_new(void);
void hash_run_add(struct hash_run *run, struct bytes view);
struct hash hash_run_end(struct hash_run *run);
void hash_run_done(struct hash_run *run);

/* hmac_sha256: RFC 2104. */
struct hash hmac_sha256(struct bytes key, struct bytes message);

/* hkdf_sha256 fills `out` (at most 255 * 32 bytes): RFC 5869, extract then expand. */
void hkdf_sha256(struct bytes ikm, struct bytes salt, struct bytes info, uint8_t *out, size_t len);

/* bytes_same compares secrets in constant time (lengths are public). */
bool bytes_same(struct bytes a, struct bytes b);
