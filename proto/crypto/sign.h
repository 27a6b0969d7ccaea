/* proto/crypto/sign.h - Ed25519 keys and signatures (RFC 8032, pure), X25519 keys, key ids.
 *
 * Public keys are checked where they enter (public_key_check): OpenSSL 3.0 accepts the small-order ones.
 * Secret keys live in locked memory that is wiped at the end and left out of core dumps. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

enum { SIGNATURE_LEN = 64, KEY_LEN = 32, SEED_LEN = 32 };
enum key_alg { KEY_ED25519 = 1, KEY_X25519 = 2 };

struct signature {
    uint8_t bytes[SIGNATURE_LEN];
};

/* key_id returns SHA-256("chartmesh key v1\n" || u8 alg || public key) (formats 1). */
struct hash key_id(enum key_alg alg, const struct hash *public_key);

/* public_key_check refuses an Ed25519 public key that is one of the 14 small-order encodings or has y >= p:
 * ERR_INVALID (formats 1, I38). */
NODISCARD bool public_key_check(const struct hash *public_key, struct err *err);

/* A secret Ed25519 key, opaque: seed and prepared form. Any number of threads may sign with it. */
struct signing_key;

/* signing_key_new makes a key from a 32-byte seed (RFC 8032's secret). The seed is copied; wipe yours. */
NODISCARD bool signing_key_new(const struct hash *seed, struct signing_key **out, struct err *err);
void signing_key_free(struct signing_key *key);
const struct hash *signing_key_public(const struct signing_key *key);

/* sign cannot fail once the key is made. */
struct signature sign(const struct signing_key *key, struct bytes message);

/* verify: cofactorless, S < L, R compared as bytes; a bad public key verifies nothing. */
bool verify(const struct hash *public_key, struct bytes message, struct bytes signature);

/* A public key prepared for many verifications. */
struct verify_key;
NODISCARD bool verify_key_new(const struct hash *public_key, struct verify_key **out, struct err *err);
void verify_key_free(struct verify_key *key);
bool verify_with(const struct verify_key *key, struct bytes message, struct bytes signature);

/* x25519_public returns the public key of a 32-byte secret. x25519 sets *out to the shared secret;
 * ERR_INVALID for a point of small order (all-zero result). */
struct hash x25519_public(const struct hash *secret);
NODISCARD bool x25519(const struct hash *secret, const struct hash *peer, struct hash *out, struct err *err);
