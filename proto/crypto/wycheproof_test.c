/* The Wycheproof cases of the algorithms that we use: accepted or refused as the files say. */
#include <jansson.h>

#include "proto/crypto/hash.h"
#include "proto/crypto/seal.h"
#include "proto/crypto/sign.h"
#include "tests/lib/test.h"
#include "tests/lib/vectors.h"

enum { BUDGET = 1 << 20 };

struct counts {
    size_t valid, invalid, skipped;
};

/* A case of a group: what it says is checked by one of the functions below. */
typedef void check_fn(const json_t *group, const json_t *test, bool valid, struct arena *arena,
                      struct counts *counts);

static void each_case(const char *file, check_fn *check)
{
    json_t *root;
    if (!vectors_load(file, &root)) {
        return;
    }
    struct counts counts = {0};
    size_t i, j;
    json_t *group, *test;
    json_array_foreach(vector_array(root, "testGroups"), i, group)
    {
        json_array_foreach(vector_array(group, "tests"), j, test)
        {
            AUTO_ARENA(arena, BUDGET);
            bool valid = strcmp(vector_text(test, "result"), "invalid") != 0;
            check(group, test, valid, &arena, &counts);
        }
    }
    print_message("%s: %zu accepted, %zu refused, %zu of other sizes\n", file, counts.valid, counts.invalid,
                  counts.skipped);
    assert_true(counts.valid > 0);
    json_decref(root);
}

static void count(struct counts *counts, bool valid)
{
    *(valid ? &counts->valid : &counts->invalid) += 1;
}

static struct hash hash_field(const json_t *object, const char *field, struct arena *arena)
{
    struct hash hash;
    assert_true(hash_from(vector_hex(object, field, arena), &hash));
    return hash;
}

static void check_ed25519(const json_t *group, const json_t *test, bool valid, struct arena *arena,
                          struct counts *counts)
{
    struct hash key = hash_field(vector_object(group, "publicKey"), "pk", arena);
    bool ok = verify(&key, vector_hex(test, "msg", arena), vector_hex(test, "sig", arena));
    if (ok != valid) {
        fail_msg("ed25519 case %zu", (size_t)vector_u64(test, "tcId"));
    }
    count(counts, valid);
}

static void check_x25519(const json_t *group, const json_t *test, bool valid, struct arena *arena,
                         struct counts *counts)
{
    (void)group, (void)valid;
    struct err err;
    struct hash secret = hash_field(test, "private", arena), peer = hash_field(test, "public", arena), shared;
    struct hash wanted = hash_field(test, "shared", arena);
    if (hash_is_zero(&wanted)) {
        assert_err(ERR_INVALID, x25519(&secret, &peer, &shared, &err));
        count(counts, false);
        return;
    }
    assert_ok(x25519(&secret, &peer, &shared, &err));
    assert_bytes_equal(BYTES_OF(shared), BYTES_OF(wanted));
    count(counts, true);
}

static void check_gcm(const json_t *group, const json_t *test, bool valid, struct arena *arena,
                      struct counts *counts)
{
    if (vector_u64(group, "keySize") != 256 || vector_u64(group, "ivSize") != 96) {
        counts->skipped++;
        return;
    }
    struct err err;
    struct hash key = hash_field(test, "key", arena);
    struct bytes iv = vector_hex(test, "iv", arena), aad = vector_hex(test, "aad", arena);
    struct bytes message = vector_hex(test, "msg", arena), cipher = vector_hex(test, "ct", arena);
    struct bytes tag = vector_hex(test, "tag", arena);
    void *room, *out;
    assert_ok(arena_alloc(arena, cipher.len + TAG_LEN, &room, &err));
    assert_ok(arena_alloc(arena, cipher.len + TAG_LEN, &out, &err));
    memcpy(room, cipher.data, cipher.len);
    memcpy((uint8_t *)room + cipher.len, tag.data, TAG_LEN);
    struct bytes sealed = BYTES(room, cipher.len + TAG_LEN);
    if (!valid) {
        assert_err(ERR_CORRUPT, gcm_open(&key, iv.data, aad, sealed, out, &err));
    } else {
        assert_ok(gcm_open(&key, iv.data, aad, sealed, out, &err));
        assert_bytes_equal(BYTES(out, cipher.len), message);
        gcm_seal(&key, iv.data, aad, message, out);
        assert_bytes_equal(BYTES(out, sealed.len), sealed);
    }
    count(counts, valid);
}

static void check_hkdf(const json_t *group, const json_t *test, bool valid, struct arena *arena,
                       struct counts *counts)
{
    (void)group;
    if (!valid) {
        counts->skipped++;       /* a length over 255 blocks: the caller's error, it aborts */
        return;
    }
    struct err err;
    void *out;
    struct bytes wanted = vector_hex(test, "okm", arena);
    assert_ok(arena_alloc(arena, wanted.len, &out, &err));
    hkdf_sha256(vector_hex(test, "ikm", arena), vector_hex(test, "salt", arena), vector_hex(test, "info", arena),
                out, wanted.len);
    assert_bytes_equal(BYTES(out, wanted.len), wanted);
    count(counts, true);
}

static void check_hmac(const json_t *group, const json_t *test, bool valid, struct arena *arena,
                       struct counts *counts)
{
    (void)group;
    struct bytes tag = vector_hex(test, "tag", arena);
    struct hash made = hmac_sha256(vector_hex(test, "key", arena), vector_hex(test, "msg", arena));
    assert_true(bytes_same(BYTES(made.bytes, MIN(tag.len, HASH_LEN)), tag) == valid);
    count(counts, valid);
}

static void test_wycheproof__ed25519(void **state)
{
    (void)state;
    each_case("crypto/ed25519_test.json", check_ed25519);
}

static void test_wycheproof__x25519(void **state)
{
    (void)state;
    each_case("crypto/x25519_test.json", check_x25519);
}

static void test_wycheproof__aes_256_gcm(void **state)
{
    (void)state;
    each_case("crypto/aes_gcm_test.json", check_gcm);
}

static void test_wycheproof__hkdf_sha256(void **state)
{
    (void)state;
    each_case("crypto/hkdf_sha256_test.json", check_hkdf);
}

static void test_wycheproof__hmac_sha256(void **state)
{
    (void)state;
    each_case("crypto/hmac_sha256_test.json", check_hmac);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wycheproof__ed25519),     cmocka_unit_test(test_wycheproof__x25519),
        cmocka_unit_test(test_wycheproof__aes_256_gcm), cmocka_unit_test(test_wycheproof__hkdf_sha256),
        cmocka_unit_test(test_wycheproof__hmac_sha256),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
