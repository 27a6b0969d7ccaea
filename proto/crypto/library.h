/* proto/crypto/library.h - OpenSSL as this package uses it: made ready once, failing loudly. Internal. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* OpenSSL and proto/base/err.h both have an ERR_STATE: OpenSSL's goes by another name here. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

/* Algorithms fetched once: a fetch takes locks and costs as much as sealing a kilobyte. */
struct crypto_library {
    EVP_CIPHER *aes_256_gcm, *aes_256_ecb;
    const volatile uint8_t *process_mark; /* 1 in the process that made it, 0 in its children; NULL: unknown */
    bool locked; /* the memory for secrets is locked, not only kept out of core dumps */
};

/* crypto_library makes OpenSSL ready at its first call, from any thread; aborts if it cannot. */
const struct crypto_library *crypto_library(void);

/* crypto_must ends the process when OpenSSL refuses something that only a broken library can refuse. */
void crypto_must(bool ok, const char *what);
