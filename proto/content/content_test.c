#include "proto/content/content.h"

#include "proto/content/entry_row.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "proto/crypto/seal.h"
#include "tests/lib/test.h"

enum { ARENA_MAX = 8 << 20 };

static const struct hash salt = {{1, 2, 3}}, dek = {{4, 5, 6}};
static const struct id content_id = {{7, 8, 9}};

static void test_content__chunks_and_their_lengths(void **state)
{
    (void)state;
    assert_int_equal(content_chunks(0), 0);
    assert_int_equal(content_chunks(1), 1);
    assert_int_equal(content_chunks(CHUNK_LEN), 1);
    assert_int_equal(content_chunks(CHUNK_LEN + 1), 2);
    assert_int_equal(content_chunks(CONTENT_MAX), 1 << 18);
    assert_int_equal(chunk_length(CHUNK_LEN, 0), CHUNK_LEN);
    assert_int_equal(chunk_length(CHUNK_LEN + 7, 1), 7);
    assert_int_equal(chunk_length(CHUNK_LEN + 7, 2), 0);
    assert_int_equal(chunk_length(0, 0), 0);
}

static void test_content__a_path_proves_its_chunk_only(void **state)
{
    (void)state;
    struct hash leaves[40], path[41];
    for (size_t i = 0; i < COUNT(leaves); i++) {
        leaves[i] = chunk_leaf(&salt, i, BYTES_LIT("chunk"));
    }
    for (uint64_t chunks = 1; chunks <= COUNT(leaves); chunks++) {
        struct content_tree tree = {0};
        for (uint64_t i = 0; i < chunks; i++) {
            content_tree_add(&tree, &leaves[i]);
        }
        struct hash root = content_tree_root(&tree);
        for (uint64_t i = 0; i < chunks; i++) {
            size_t len = chunk_path(leaves, chunks, i, path);
            assert_true(chunk_path_verify(i, chunks, &leaves[i], path, len, &root));
            assert_false(chunk_path_verify(i, chunks, &salt, path, len, &root));
            assert_false(chunk_path_verify(chunks, chunks, &leaves[i], path, len, &root));
            assert_true(chunks == 1 || !chunk_path_verify((i + 1) % chunks, chunks, &leaves[i], path, len, &root));
            path[len] = root;
            assert_false(chunk_path_verify(i, chunks, &leaves[i], path, len + 1, &root));
            assert_true(len == 0 || !chunk_path_verify(i, chunks, &leaves[i], path, len - 1, &root));
        }
    }
}

static void test_content__a_tree_saved_and_taken_up_again_gives_the_same_root(void **state)
{
    (void)state;
    AUTO_ARENA(arena, ARENA_MAX);
    struct err err;
    void *memory;
    size_t len = 5 * CHUNK_LEN + 99;
    assert_ok(arena_alloc(&arena, len, &memory, &err));
    memset(memory, 'x', len);
    struct hash root, commitment = content_commit(&salt, BYTES(memory, len), &root);
    struct content_tree tree = {0};
    for (uint64_t i = 0; i < content_chunks(len); i++) {
        struct content_tree saved = tree;
        struct hash leaf = chunk_leaf(&salt, i, BYTES((uint8_t *)memory + i * CHUNK_LEN, chunk_length(len, i)));
        content_tree_add(&saved, &leaf);
        tree = saved;
    }
    struct hash piecewise = content_tree_root(&tree), again = content_commitment(&salt, len, &piecewise);
    assert_bytes_equal(BYTES_OF(again), BYTES_OF(commitment));
    struct hash other = content_commitment(&(struct hash){{9}}, len, &root);
    assert_false(hash_equal(&other, &commitment));
}

static void test_codec__a_chunk_comes_back_and_is_smaller_only_if_it_can_be(void **state)
{
    (void)state;
    AUTO_ARENA(arena, ARENA_MAX);
    struct err err;
    uint8_t plain[3000];
    struct bytes coded, back;
    memset(plain, 'a', sizeof plain);
    assert_ok(chunk_code(BYTES(plain, sizeof plain), &arena, &coded, &err));
    assert_int_equal(coded.data[0], 1);
    assert_true(coded.len < 100);
    assert_ok(chunk_decode(coded, sizeof plain, &arena, &back, &err));
    assert_bytes_equal(back, BYTES(plain, sizeof plain));
    assert_err(ERR_CORRUPT, chunk_decode(coded, sizeof plain - 1, &arena, &back, &err));
    random_fill(plain, sizeof plain);
    assert_ok(chunk_code(BYTES(plain, sizeof plain), &arena, &coded, &err));
    assert_int_equal(coded.data[0], 0);
    assert_int_equal(coded.len, sizeof plain + 1);
    assert_ok(chunk_decode(coded, sizeof plain, &arena, &back, &err));
    assert_bytes_equal(back, BYTES(plain, sizeof plain));
    assert_err(ERR_INVALID, chunk_code(BYTES_NONE, &arena, &coded, &err));
}

static void test_codec__damage_is_an_error_never_a_crash(void **state)
{
    (void)state;
    struct err err;
    uint8_t plain[700], damaged[701];
    for (size_t i = 0; i < sizeof plain; i++) {
        plain[i] = (uint8_t)(i % 50 + i / 100);
    }
    AUTO_ARENA(arena, ARENA_MAX);
    struct bytes coded, back;
    assert_ok(chunk_code(BYTES(plain, sizeof plain), &arena, &coded, &err));
    assert_int_equal(coded.data[0], 1);
    for (size_t i = 0; i < coded.len * 8; i++) {
        memcpy(damaged, coded.data, coded.len);
        damaged[i / 8] ^= (uint8_t)(1 << i % 8);
        if (chunk_decode(BYTES(damaged, coded.len), sizeof plain, &arena, &back, &err)) {
            assert_int_equal(back.len, sizeof plain);       /* its hash is what refuses it */
        }
    }
    for (size_t len = 0; len < coded.len; len++) {
        assert_err(ERR_CORRUPT, chunk_decode(BYTES(coded.data, len), sizeof plain, &arena, &back, &err));
    }
}

static void test_rows__what_was_sealed_opens_in_its_place_only(void **state)
{
    (void)state;
    AUTO_ARENA(arena, ARENA_MAX);
    struct err err;
    struct content_keys keys, other;
    struct bytes row, back;
    content_keys_derive(&dek, &content_id, &keys);
    content_keys_derive(&salt, &content_id, &other);
    assert_ok(chunk_seal(&keys, &content_id, 3, true, BYTES_LIT("coded"), &arena, &row, &err));
    assert_ok(chunk_open(&keys, &content_id, 3, true, row, &arena, &back, &err));
    assert_bytes_equal(back, BYTES_LIT("coded"));
    assert_err(ERR_CORRUPT, chunk_open(&keys, &content_id, 3, false, row, &arena, &back, &err));
    assert_err(ERR_CORRUPT, chunk_open(&keys, &content_id, 2, true, row, &arena, &back, &err));
    assert_err(ERR_CORRUPT, chunk_open(&other, &content_id, 3, true, row, &arena, &back, &err));

    struct content_meta meta = {.salt = salt, .root = dek, .length = 12345}, read;
    assert_ok(meta_seal(&keys, &content_id, &meta, &arena, &row, &err));
    assert_ok(meta_open(&keys, &content_id, row, &arena, &read, &err));
    assert_true(hash_equal(&read.salt, &salt) && hash_equal(&read.root, &dek) && read.length == 12345);
    assert_err(ERR_CORRUPT, meta_open(&keys, &(struct id){{1}}, row, &arena, &read, &err));

    struct id found;
    uint8_t flags;
    assert_ok(header_seal(&keys, &content_id, 5, &salt, BYTES_LIT("envelope"), &arena, &row, &err));
    assert_ok(header_row_content(row, &found, &flags, &err));
    assert_true(id_equal(&found, &content_id) && flags == 5);
    assert_ok(header_open(&keys, &salt, row, &arena, &back, &err));
    assert_bytes_equal(back, BYTES_LIT("envelope"));
    assert_err(ERR_CORRUPT, header_open(&keys, &dek, row, &arena, &back, &err));
    assert_err(ERR_CORRUPT, header_open(&keys, &salt, BYTES(row.data, 10), &arena, &back, &err));
    assert_err(ERR_CORRUPT, header_row_content(BYTES(row.data, 16), &found, &flags, &err));
}

static void test_entry_row__each_seal_needs_its_own_key(void **state)
{
    (void)state;
    AUTO_ARENA(arena, ARENA_MAX);
    struct err err;
    struct hash log_key = {{1}}, audit_key = {{2}}, other = {{3}}, commitment = {{4}}, r = {{5}}, r_back;
    struct id ref = {{6}};
    struct bytes row, entry;
    struct entry_row outer;
    assert_ok(entry_row_seal(&log_key, &audit_key, &ref, &commitment, &r, BYTES_LIT("entry"), &arena, &row, &err));
    assert_int_equal(row.len, 32 + 16 + 32 + 5 + 16 + 16);
    assert_ok(entry_row_read(&log_key, &commitment, row, &arena, &outer, &err));
    assert_true(id_equal(&outer.key_ref, &ref));
    assert_ok(entry_row_open(&outer, &audit_key, &commitment, &arena, &r_back, &entry, &err));
    assert_true(hash_equal(&r, &r_back));
    assert_bytes_equal(entry, BYTES_LIT("entry"));
    assert_err(ERR_CORRUPT, entry_row_open(&outer, &other, &commitment, &arena, &r_back, &entry, &err));
    assert_err(ERR_CORRUPT, entry_row_read(&other, &commitment, row, &arena, &outer, &err));
    assert_err(ERR_CORRUPT, entry_row_read(&log_key, &other, row, &arena, &outer, &err));
    for (size_t len = 0; len < row.len; len++) {
        assert_err(ERR_CORRUPT, entry_row_read(&log_key, &commitment, BYTES(row.data, len), &arena, &outer, &err));
    }
}

static void test_I30_statement_row__one_id_sealed_twice_never_repeats_a_nonce(void **state)
{
    (void)state;
    AUTO_ARENA(arena, ARENA_MAX);
    struct err err;
    struct hash audit_key = {{1}}, id = {{2}};
    struct bytes first, second, back;
    assert_ok(statement_row_seal(&audit_key, &id, BYTES_LIT("one signature"), &arena, &first, &err));
    assert_ok(statement_row_seal(&audit_key, &id, BYTES_LIT("two signatures"), &arena, &second, &err));
    assert_memory_not_equal(first.data, second.data, NONCE_LEN);
    assert_ok(statement_row_open(&audit_key, &id, second, &arena, &back, &err));
    assert_bytes_equal(back, BYTES_LIT("two signatures"));
    assert_err(ERR_CORRUPT, statement_row_open(&audit_key, &audit_key, second, &arena, &back, &err));
    assert_err(ERR_CORRUPT, statement_row_open(&id, &id, second, &arena, &back, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content__chunks_and_their_lengths),
        cmocka_unit_test(test_content__a_path_proves_its_chunk_only),
        cmocka_unit_test(test_content__a_tree_saved_and_taken_up_again_gives_the_same_root),
        cmocka_unit_test(test_codec__a_chunk_comes_back_and_is_smaller_only_if_it_can_be),
        cmocka_unit_test(test_codec__damage_is_an_error_never_a_crash),
        cmocka_unit_test(test_rows__what_was_sealed_opens_in_its_place_only),
        cmocka_unit_test(test_entry_row__each_seal_needs_its_own_key),
        cmocka_unit_test(test_I30_statement_row__one_id_sealed_twice_never_repeats_a_nonce),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
