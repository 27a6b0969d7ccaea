#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "proto/crypto/seal.h"
#include "proto/crypto/sign.h"
#include "proto/crypto/x509.h"
#include "tests/lib/test.h"

static struct hash hash_hex(const char *hex)
{
    struct err err;
    struct hash hash;
    assert_ok(hex_decode(hex, hash.bytes, HASH_LEN, &err));
    return hash;
}

/* -- hash */

static void test_hash__known_answers(void **state)
{
    (void)state;
    struct hash empty = hash_hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    struct hash abc = hash_hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct hash got = hash_of(BYTES_NONE);
    assert_bytes_equal(BYTES_OF(got), BYTES_OF(empty));
    got = HASH_PARTS(BYTES_LIT("a"), BYTES_NONE, BYTES_LIT("bc"));
    assert_bytes_equal(BYTES_OF(got), BYTES_OF(abc));
    struct hash_run *run = hash_run_new();
    hash_run_add(run, BYTES_LIT("ab"));
    hash_run_add(run, BYTES_LIT("c"));
    got = hash_run_end(run);
    assert_bytes_equal(BYTES_OF(got), BYTES_OF(abc));
    hash_run_done(hash_run_new());
    hash_run_done(NULL);
}

static void test_hash__same_compares_content_and_length(void **state)
{
    (void)state;
    assert_true(bytes_same(BYTES_LIT("key"), BYTES_LIT("key")));
    assert_true(bytes_same(BYTES_NONE, BYTES_NONE));
    assert_false(bytes_same(BYTES_LIT("key"), BYTES_LIT("kez")));
    assert_false(bytes_same(BYTES_LIT("key"), BYTES_LIT("keys")));
}

/* -- random */

static void count_up(void *context, void *out, size_t len)
{
    uint8_t *next = context;
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)out)[i] = (*next)++;
    }
}

static void test_random__no_bytes_are_given_twice(void **state)
{
    enum { DRAWS = 1000 };
    static struct id drawn[DRAWS];
    (void)state;
    for (size_t i = 0; i < DRAWS; i++) {
        drawn[i] = random_id();
        for (size_t j = 0; j < i; j++) {
            assert_false(id_equal(&drawn[j], &drawn[i]));
        }
    }
}

/* What the parent has in stock is not its child's: keys and nonces would meet (I30). */
static void test_random__I30_a_child_process_draws_for_itself(void **state)
{
    enum { DRAWS = 40 };
    struct id mine[DRAWS], childs[DRAWS];
    int ends[2];
    (void)state;
    mine[0] = random_id();
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        for (size_t i = 0; i < DRAWS; i++) {
            childs[i] = random_id();
        }
        _exit(write(ends[1], childs, sizeof childs) == sizeof childs ? 0 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(read(ends[0], childs, sizeof childs), sizeof childs);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(ends[0]);
    close(ends[1]);
    for (size_t i = 1; i < DRAWS; i++) {
        mine[i] = random_id();
    }
    for (size_t i = 0; i < DRAWS; i++) {
        for (size_t j = 0; j < DRAWS; j++) {
            assert_false(id_equal(&mine[i], &childs[j]));
        }
    }
}

static void test_random__a_simulator_gives_its_own(void **state)
{
    (void)state;
    uint8_t next = 1;
    random_replace(count_up, &next);
    struct id id = random_id();
    random_replace(NULL, NULL);
    assert_int_equal(id.bytes[0], 1);
    assert_int_equal(id.bytes[15], 16);
    struct hash a = random_hash(), b = random_hash();
    assert_false(hash_equal(&a, &b));
    assert_true(random_u64() != 0);
}

/* -- seal */

static void test_seal__opens_only_with_its_key_and_place(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    struct hash key = random_hash(), other = random_hash();
    struct bytes sealed, opened;
    assert_ok(seal_random(&key, BYTES_LIT("place"), BYTES_LIT("text"), &arena, &sealed, &err));
    assert_int_equal(sealed.len, NONCE_LEN + 4 + TAG_LEN);
    assert_ok(seal_open(&key, BYTES_LIT("place"), sealed, &arena, &opened, &err));
    assert_bytes_equal(opened, BYTES_LIT("text"));
    assert_err(ERR_CORRUPT, seal_open(&other, BYTES_LIT("place"), sealed, &arena, &opened, &err));
    assert_err(ERR_CORRUPT, seal_open(&key, BYTES_LIT("elsewhere"), sealed, &arena, &opened, &err));
    for (size_t i = 0; i < sealed.len; i++) {
        struct bytes copy;
        assert_ok(arena_copy(&arena, sealed, &copy, &err));
        ((uint8_t *)(uintptr_t)copy.data)[i] ^= 1;
        assert_err(ERR_CORRUPT, seal_open(&key, BYTES_LIT("place"), copy, &arena, &opened, &err));
    }
    assert_err(ERR_CORRUPT,
               seal_open(&key, BYTES_NONE, BYTES(sealed.data, NONCE_LEN + TAG_LEN - 1), &arena, &opened, &err));
    assert_ok(seal_random(&key, BYTES_NONE, BYTES_NONE, &arena, &sealed, &err));
    assert_ok(seal_open(&key, BYTES_NONE, sealed, &arena, &opened, &err));
    assert_int_equal(opened.len, 0);
}

static void test_seal__the_nonce_is_new_each_time(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, 1 << 16);
    struct hash key = random_hash();
    struct bytes a, b;
    assert_ok(seal_random(&key, BYTES_NONE, BYTES_LIT("text"), &arena, &a, &err));
    assert_ok(seal_random(&key, BYTES_NONE, BYTES_LIT("text"), &arena, &b, &err));
    assert_false(bytes_equal(a, b));
}

static void test_seal__works_in_place_and_wipes_what_does_not_verify(void **state)
{
    (void)state;
    struct err err;
    struct hash key = random_hash();
    uint8_t nonce[NONCE_LEN] = {7}, room[5 + TAG_LEN] = "plain";
    gcm_seal(&key, nonce, BYTES_NONE, BYTES(room, 5), room);
    uint8_t sealed[sizeof room];
    memcpy(sealed, room, sizeof room);
    assert_ok(gcm_open(&key, nonce, BYTES_NONE, BYTES(room, sizeof room), room, &err));
    assert_memory_equal(room, "plain", 5);
    sealed[0] ^= 1;
    assert_err(ERR_CORRUPT, gcm_open(&key, nonce, BYTES_NONE, BYTES(sealed, sizeof sealed), room, &err));
    assert_memory_equal(room, "\0\0\0\0\0", 5);
}

/* RFC 3394, 4.6: 256 bits of key data with a 256-bit KEK. */
static void test_wrap__known_answer_and_refusals(void **state)
{
    (void)state;
    struct err err;
    struct hash kek = hash_hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    struct hash key = hash_hex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"), back;
    uint8_t wrapped[WRAPPED_LEN], wanted[WRAPPED_LEN];
    assert_ok(hex_decode("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
                         wanted, WRAPPED_LEN, &err));
    key_wrap(&kek, &key, wrapped);
    assert_memory_equal(wrapped, wanted, WRAPPED_LEN);
    assert_ok(key_unwrap(&kek, BYTES(wrapped, WRAPPED_LEN), &back, &err));
    assert_true(hash_equal(&back, &key));
    assert_err(ERR_CORRUPT, key_unwrap(&key, BYTES(wrapped, WRAPPED_LEN), &back, &err));
    assert_err(ERR_CORRUPT, key_unwrap(&kek, BYTES(wrapped, WRAPPED_LEN - 8), &back, &err));
    wrapped[3] ^= 1;
    assert_err(ERR_CORRUPT, key_unwrap(&kek, BYTES(wrapped, WRAPPED_LEN), &back, &err));
}

static void test_secret__comes_zeroed(void **state)
{
    (void)state;
    uint8_t *secret = secret_new(100);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(secret[i], 0);
    }
    memset(secret, 0x5a, 100);
    secret_wipe(secret, 100);
    assert_int_equal(secret[99], 0);
    secret_free(secret);
    secret_free(NULL);
    print_message("memory for secrets is %s\n", secret_locked() ? "locked" : "not locked: ulimit -l");
}

/* -- sign */

/* RFC 8032, 7.1, TEST 2. */
static void test_sign__known_answer(void **state)
{
    (void)state;
    struct err err;
    struct hash seed = hash_hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
    struct hash public_key = hash_hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    uint8_t wanted[SIGNATURE_LEN];
    assert_ok(hex_decode("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                         "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
                         wanted, SIGNATURE_LEN, &err));
    struct signing_key *key;
    assert_ok(signing_key_new(&seed, &key, &err));
    assert_true(hash_equal(signing_key_public(key), &public_key));
    struct signature made = sign(key, BYTES_LIT("\x72"));
    assert_memory_equal(made.bytes, wanted, SIGNATURE_LEN);
    assert_true(verify(&public_key, BYTES_LIT("\x72"), BYTES_OF(made)));
    assert_false(verify(&public_key, BYTES_LIT("\x73"), BYTES_OF(made)));
    assert_false(verify(&public_key, BYTES_LIT("\x72"), BYTES(made.bytes, 63)));
    made = sign(key, BYTES_NONE);
    assert_true(verify(&public_key, BYTES_NONE, BYTES_OF(made)));
    signing_key_free(key);
    signing_key_free(NULL);
    verify_key_free(NULL);
}

/* The base point's order, little-endian: S + L would verify where S < L is not asked for. */
static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,       0xd6,
                                  0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, [31] = 0x10};

static void test_sign__S_plus_L_and_another_R_are_refused(void **state)
{
    (void)state;
    struct err err;
    struct hash seed = random_hash();
    struct signing_key *key;
    assert_ok(signing_key_new(&seed, &key, &err));
    struct signature good = sign(key, BYTES_LIT("text")), bad = good;
    unsigned carry = 0;
    for (size_t i = 0; i < 32; i++) {
        carry += bad.bytes[32 + i] + order[i];
        bad.bytes[32 + i] = (uint8_t)carry;
        carry >>= 8;
    }
    assert_true(verify(signing_key_public(key), BYTES_LIT("text"), BYTES_OF(good)));
    assert_false(verify(signing_key_public(key), BYTES_LIT("text"), BYTES_OF(bad)));
    bad = good;
    bad.bytes[31] ^= 0x80;
    assert_false(verify(signing_key_public(key), BYTES_LIT("text"), BYTES_OF(bad)));
    signing_key_free(key);
}

/* Verification is cofactorless: a signature whose R carries a point of order 8 satisfies [8]SB = [8]R + [8]kA
 * only. Case 4 of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko, 2020), its published vector. */
static void test_sign__is_cofactorless(void **state)
{
    (void)state;
    struct err err;
    struct hash key = hash_hex("cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d");
    uint8_t message[32], signature[SIGNATURE_LEN];
    assert_ok(hex_decode("e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c", message, 32, &err));
    assert_ok(hex_decode("160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512"
                         "5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
                         signature, SIGNATURE_LEN, &err));
    assert_false(verify(&key, BYTES(message, 32), BYTES(signature, SIGNATURE_LEN)));
}

static const char *const weak[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",   /* y = p */
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",   /* y = p + 1 */
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",   /* y = p + 3 */
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

static void test_I38_sign__weak_and_noncanonical_keys_are_refused_and_verify_nothing(void **state)
{
    (void)state;
    struct err err;
    const uint8_t neutral[SIGNATURE_LEN] = {1};      /* R the neutral element, S = 0 */
    for (size_t i = 0; i < COUNT(weak); i++) {
        struct hash key = hash_hex(weak[i]);
        struct verify_key *prepared;
        assert_err(ERR_INVALID, public_key_check(&key, &err));
        assert_int_equal(err.reason, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_KEY_INVALID);
        assert_err(ERR_INVALID, verify_key_new(&key, &prepared, &err));
        assert_false(verify(&key, BYTES_LIT("any"), BYTES(neutral, SIGNATURE_LEN)));
    }
    struct hash good = hash_hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    assert_ok(public_key_check(&good, &err));
    struct hash below_p = hash_hex("ebffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
    assert_ok(public_key_check(&below_p, &err));
}

static void *sign_and_verify(void *shared)
{
    const struct signing_key *key = shared;
    struct err err;
    struct verify_key *verifier;
    if (!verify_key_new(signing_key_public(key), &verifier, &err)) {
        return NULL;
    }
    bool ok = true;
    for (uint32_t i = 0; i < 200; i++) {
        uint8_t message[4];
        put_u32be(message, i);
        struct signature made = sign(key, BYTES(message, 4));
        ok = ok && verify_with(verifier, BYTES(message, 4), BYTES_OF(made));
        message[0] ^= 1;
        ok = ok && !verify_with(verifier, BYTES(message, 4), BYTES_OF(made));
    }
    verify_key_free(verifier);
    return ok ? shared : NULL;
}

static void test_sign__threads_share_a_key(void **state)
{
    (void)state;
    struct err err;
    struct hash seed = random_hash();
    struct signing_key *key;
    assert_ok(signing_key_new(&seed, &key, &err));
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, sign_and_verify, key), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, key);
    }
    signing_key_free(key);
}

static void test_x25519__both_sides_agree(void **state)
{
    (void)state;
    struct err err;
    struct hash a = random_hash(), b = random_hash(), ab, ba;
    struct hash a_public = x25519_public(&a), b_public = x25519_public(&b);
    assert_ok(x25519(&a, &b_public, &ab, &err));
    assert_ok(x25519(&b, &a_public, &ba, &err));
    assert_true(hash_equal(&ab, &ba));
    assert_err(ERR_INVALID, x25519(&a, &(struct hash){0}, &ab, &err));
}

/* -- certificates */

enum { HOUR_MS = 3600 * 1000 };
#define START_MS 1764000000000

static struct cert_request ca_request(void)
{
    return (struct cert_request){.common_name = "st-anna.example CA",
                                 .is_ca = true,
                                 .not_before_ms = START_MS,
                                 .not_after_ms = START_MS + 24LL * HOUR_MS};
}

static struct cert_request leaf_request(void)
{
    return (struct cert_request){.common_name = "st-anna.example",
                                 .spiffe_id = "spiffe://00112233445566778899aabbccddeeff/st-anna.example/app/ward",
                                 .dns_name = "st-anna.example",
                                 .server = true,
                                 .client = true,
                                 .not_before_ms = START_MS,
                                 .not_after_ms = START_MS + HOUR_MS};
}

static void test_x509__a_ca_and_its_leaf(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, 1 << 18);
    struct cert_request of_ca = ca_request(), of_leaf = leaf_request();
    struct cert_pair ca, leaf;
    assert_ok(cert_make(&of_ca, NULL, &arena, &ca, &err));
    assert_ok(cert_make(&of_leaf, &ca, &arena, &leaf, &err));
    assert_ok(cert_pair_check(&ca, &err));
    assert_ok(cert_pair_check(&leaf, &err));
    assert_non_null(strstr(leaf.key, "BEGIN PRIVATE KEY"));
    int64_t from, until;
    assert_ok(cert_times(bytes_str(leaf.certificate), &from, &until, &err));
    assert_int_equal(from, START_MS);
    assert_int_equal(until, START_MS + HOUR_MS);
    struct hash pin, again;
    struct bytes der;
    const char *pem;
    assert_ok(cert_pin(bytes_str(leaf.certificate), &pin, &err));
    assert_ok(cert_der(bytes_str(leaf.certificate), &arena, &der, &err));
    assert_ok(cert_pem(der, &arena, &pem, &err));
    assert_string_equal(pem, leaf.certificate);
    assert_ok(cert_pin(bytes_str(ca.certificate), &again, &err));
    assert_false(hash_equal(&pin, &again));
    const char *uri = of_leaf.spiffe_id;
    assert_non_null(memmem(der.data, der.len, uri, strlen(uri)));
    assert_err(ERR_INVALID, cert_pem(BYTES(der.data, der.len - 1), &arena, &pem, &err));
}

static void test_x509__requests_and_issuers_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, 1 << 18);
    struct cert_request request = ca_request();
    struct cert_pair ca, leaf, mixed, none;
    assert_ok(cert_make(&request, NULL, &arena, &ca, &err));
    request = leaf_request();
    assert_ok(cert_make(&request, &ca, &arena, &leaf, &err));
    assert_err(ERR_INVALID, cert_make(&request, &leaf, &arena, &none, &err));
    mixed = (struct cert_pair){.certificate = ca.certificate, .key = leaf.key};
    assert_err(ERR_INVALID, cert_pair_check(&mixed, &err));
    assert_err(ERR_INVALID, cert_make(&request, &mixed, &arena, &none, &err));
    request.spiffe_id = "https://elsewhere";
    assert_err(ERR_INVALID, cert_make(&request, &ca, &arena, &none, &err));
    request = leaf_request();
    request.dns_name = "a b";
    assert_err(ERR_INVALID, cert_make(&request, &ca, &arena, &none, &err));
    request = leaf_request();
    request.common_name = "";
    assert_err(ERR_INVALID, cert_make(&request, &ca, &arena, &none, &err));
    request = leaf_request();
    request.not_after_ms = request.not_before_ms;
    assert_err(ERR_INVALID, cert_make(&request, &ca, &arena, &none, &err));
    mixed.key = "-----BEGIN PRIVATE KEY-----\n";
    assert_err(ERR_INVALID, cert_pair_check(&mixed, &err));
    struct hash pin;
    assert_err(ERR_INVALID, cert_pin(BYTES_NONE, &pin, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash__known_answers),
        cmocka_unit_test(test_hash__same_compares_content_and_length),
        cmocka_unit_test(test_random__a_simulator_gives_its_own),
        cmocka_unit_test(test_random__no_bytes_are_given_twice),
        cmocka_unit_test(test_random__I30_a_child_process_draws_for_itself),
        cmocka_unit_test(test_seal__opens_only_with_its_key_and_place),
        cmocka_unit_test(test_seal__the_nonce_is_new_each_time),
        cmocka_unit_test(test_seal__works_in_place_and_wipes_what_does_not_verify),
        cmocka_unit_test(test_wrap__known_answer_and_refusals),
        cmocka_unit_test(test_secret__comes_zeroed),
        cmocka_unit_test(test_sign__known_answer),
        cmocka_unit_test(test_sign__S_plus_L_and_another_R_are_refused),
        cmocka_unit_test(test_sign__is_cofactorless),
        cmocka_unit_test(test_I38_sign__weak_and_noncanonical_keys_are_refused_and_verify_nothing),
        cmocka_unit_test(test_sign__threads_share_a_key),
        cmocka_unit_test(test_x25519__both_sides_agree),
        cmocka_unit_test(test_x509__a_ca_and_its_leaf),
        cmocka_unit_test(test_x509__requests_and_issuers_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
