/* Target functions: cert_pin, cert_der, cert_pem, cert_times, cert_pair_check. The input is a PEM text, of which
 * each may be given. */
#include "proto/crypto/x509.h"

#include "tests/fuzz/fuzz.h"

/* A certificate becomes DER and PEM again, and stays the same one. */
static void there_and_back(struct bytes pem, const struct hash *pin)
{
    AUTO_ARENA(arena, 1 << 20);
    struct bytes der;
    const char *again;
    struct hash other;
    struct err err;
    if (cert_der(pem, &arena, &der, &err) && cert_pem(der, &arena, &again, &err)) {
        require(cert_pin(bytes_str(again), &other, &err) && hash_equal(pin, &other));
        fuzz_reached(1);
    }
}

static void as_pair(struct bytes pem)
{
    AUTO_ARENA(arena, 4 << 20);
    char *text;
    struct err err;
    if (!arena_string(&arena, pem, &text, &err)) {
        return;
    }
    const struct cert_pair pair = {text, text};
    if (cert_pair_check(&pair, &err)) {
        fuzz_reached(2);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes pem = BYTES(data, size);
    int64_t from, until;
    struct hash pin;
    struct err err;
    if (cert_pin(pem, &pin, &err)) {
        there_and_back(pem, &pin);
    } else {
        require(err.code == ERR_INVALID);
    }
    require(cert_times(pem, &from, &until, &err) || err.code == ERR_INVALID);
    as_pair(pem);
    return 0;
}
