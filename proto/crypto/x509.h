/* proto/crypto/x509.h - certificates: a facility's own CA, leaves with SPIFFE ids, pins.
 *
 * All keys are ECDSA P-256 (what the TLS side of gRPC 1.51 speaks everywhere). Texts are PEM. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

struct cert_request {
    const char *common_name;
    const char *spiffe_id;       /* URI SAN; NULL: none */
    const char *dns_name;        /* DNS SAN; NULL: none */
    bool is_ca;
    bool server, client;         /* extended key usages of a leaf */
    int64_t not_before_ms, not_after_ms;
};
struct cert_pair {
    const char *certificate;     /* PEM */
    const char *key;             /* PEM, PKCS#8; secret */
};

/* cert_make makes a new key and a certificate signed by `issuer` (NULL: self-signed). Results in `arena`.
 * ERR_INVALID: a name that does not fit, an issuer that is no CA. */
NODISCARD bool cert_make(const struct cert_request *request, const struct cert_pair *issuer, struct arena *arena,
                         struct cert_pair *out, struct err *err);

/* cert_pin: SHA-256 of the SubjectPublicKeyInfo of the first certificate in a PEM text. */
NODISCARD bool cert_pin(struct bytes pem, struct hash *out, struct err *err);

/* cert_der and cert_pem convert one certificate. */
NODISCARD bool cert_der(struct bytes pem, struct arena *arena, struct bytes *out, struct err *err);
NODISCARD bool cert_pem(struct bytes der, struct arena *arena, const char **out, struct err *err);

/* cert_times sets the validity of the first certificate in a PEM text, Unix ms. */
NODISCARD bool cert_times(struct bytes pem, int64_t *not_before_ms, int64_t *not_after_ms, struct err *err);

/* What tells one certificate from every other, and until when it holds. */
struct cert_facts {
    struct hash digest;          /* SHA-256 of the whole certificate */
    struct hash pin;
    uint8_t serial[20];          /* big-endian, as RFC 5280 bounds it */
    size_t serial_len;
    int64_t not_before_ms, not_after_ms;
};

/* cert_read reads the facts of the first certificate in a PEM text. ERR_INVALID. */
NODISCARD bool cert_read(struct bytes pem, struct cert_facts *out, struct err *err);

/* cert_pair_check: both parse, the key belongs to the certificate, and its secret half to its public one. */
NODISCARD bool cert_pair_check(const struct cert_pair *pair, struct err *err);
