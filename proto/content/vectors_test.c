/* content.json: trees, codecs, sealed chunks, a meta row; log.json: the entry row. */
#include "proto/content/content.h"
#include "proto/content/entry_row.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "proto/crypto/seal.h"
#include "tests/lib/test.h"
#include "tests/lib/vectors.h"

enum { ARENA_MAX = 16 << 20, LEAVES_MAX = 64 };

/* The vectors' content(label, n): the first n bytes of SHA-256(label || u64be 0) || SHA-256(label || u64be 1) || …
 */
static struct bytes content_by_rule(const char *label, size_t n, struct arena *arena)
{
    struct err err;
    void *memory;
    assert_ok(arena_alloc(arena, n + HASH_LEN, &memory, &err));
    for (uint64_t i = 0; i * HASH_LEN < n; i++) {
        uint8_t number[8];
        put_u64be(number, i);
        struct hash hash = HASH_PARTS(bytes_str(label), BYTES(number, sizeof number));
        memcpy((uint8_t *)memory + i * HASH_LEN, hash.bytes, HASH_LEN);
    }
    return BYTES(memory, n);
}

static void check_tree(const json_t *one, struct bytes content, struct arena *arena)
{
    struct hash salt = vector_hash(one, "salt"), leaves[LEAVES_MAX], path[40], root, expected;
    json_t *leaf, *hash, *paths = vector_array(one, "paths");
    size_t i, k;
    json_array_foreach(vector_array(one, "leaves"), i, leaf)
    {
        assert_true(i < LEAVES_MAX);
        leaves[i] = chunk_leaf(&salt, i, BYTES(content.data + i * CHUNK_LEN, chunk_length(content.len, i)));
        expected = hash_value(leaf);
        assert_bytes_equal(BYTES_OF(leaves[i]), BYTES_OF(expected));
    }
    assert_int_equal(i, content_chunks(content.len));
    struct hash commitment = content_commit(&salt, content, &root);
    expected = vector_hash(one, "root");
    assert_bytes_equal(BYTES_OF(root), BYTES_OF(expected));
    expected = vector_hash(one, "commitment");
    assert_bytes_equal(BYTES_OF(commitment), BYTES_OF(expected));
    for (i = 0; i < json_array_size(paths); i++) {
        size_t len = chunk_path(leaves, json_array_size(paths), i, path);
        assert_int_equal(len, json_array_size(json_array_get(paths, i)));
        json_array_foreach(json_array_get(paths, i), k, hash)
        {
            assert_bytes_equal(BYTES_OF(path[k]), hex_value(hash, arena));
        }
        assert_true(chunk_path_verify(i, json_array_size(paths), &leaves[i], path, len, &root));
    }
}

static void test_vectors__commitments(void **state)
{
    (void)state;
    json_t *file, *one;
    size_t i;
    if (!vectors_load("format-vectors/content.json", &file)) {
        return;
    }
    json_array_foreach(vector_array(file, "commitments"), i, one)
    {
        AUTO_ARENA(arena, ARENA_MAX);
        struct bytes content = content_by_rule(vector_text(one, "label"), vector_u64(one, "length"), &arena);
        struct hash hash = hash_of(content), expected = vector_hash(one, "sha256");
        assert_bytes_equal(BYTES_OF(hash), BYTES_OF(expected));
        check_tree(one, content, &arena);
    }
    print_message("content.json commitments: %zu\n", i);
    json_decref(file);
}

static void test_vectors__coded_chunks(void **state)
{
    (void)state;
    json_t *file, *one;
    size_t good, bad;
    struct err err;
    struct bytes plain;
    AUTO_ARENA(arena, ARENA_MAX);
    if (!vectors_load("format-vectors/content.json", &file)) {
        return;
    }
    json_array_foreach(vector_array(vector_object(file, "coded"), "valid"), good, one)
    {
        assert_ok(chunk_decode(vector_hex(one, "coded", &arena), vector_u64(one, "size"), &arena, &plain, &err));
        struct hash hash = hash_of(plain), expected = vector_hash(one, "plain_sha256");
        assert_bytes_equal(BYTES_OF(hash), BYTES_OF(expected));
    }
    json_array_foreach(vector_array(vector_object(file, "coded"), "invalid"), bad, one)
    {
        if (chunk_decode(vector_hex(one, "coded", &arena), vector_u64(one, "size"), &arena, &plain, &err)) {
            fail_msg("accepted: %s", vector_text(one, "what"));
        }
        assert_int_equal(err.code, ERR_CORRUPT);
    }
    print_message("content.json coded chunks: %zu accepted, %zu refused\n", good, bad);
    json_decref(file);
}

/* A source of randomness that gives what a vector says, so that a seal can be compared with it. */
static void fill_from(void *context, void *out, size_t len)
{
    struct bytes *given = context;
    assert_true(len <= given->len);
    memcpy(out, given->data, len);
}

static bool open_sealed(const json_t *one, struct arena *arena, struct content_keys *keys, struct bytes *coded,
                        struct err *err)
{
    struct hash dek = vector_hash(one, "dek");
    struct id content_id = vector_id(one, "content_id");
    content_keys_derive(&dek, &content_id, keys);
    return chunk_open(keys, &content_id, vector_u64(one, "index"), vector_u64(one, "last") != 0,
                      vector_hex(one, "sealed", arena), arena, coded, err);
}

static void test_vectors__sealed_chunks(void **state)
{
    (void)state;
    json_t *file, *one;
    size_t good, bad;
    struct err err;
    struct content_keys keys;
    struct bytes coded, sealed;
    AUTO_ARENA(arena, ARENA_MAX);
    if (!vectors_load("format-vectors/content.json", &file)) {
        return;
    }
    json_array_foreach(vector_array(vector_object(file, "sealed"), "valid"), good, one)
    {
        assert_ok(open_sealed(one, &arena, &keys, &coded, &err));
        struct hash expected = vector_hash(one, "k_content");
        assert_bytes_equal(BYTES_OF(keys.content), BYTES_OF(expected));
        assert_bytes_equal(coded, vector_hex(one, "coded", &arena));
        struct bytes nonce = vector_hex(one, "nonce", &arena);
        struct id content_id = vector_id(one, "content_id");
        random_replace(fill_from, &nonce);
        assert_ok(chunk_seal(&keys, &content_id, vector_u64(one, "index"), vector_u64(one, "last") != 0, coded,
                             &arena, &sealed, &err));
        random_replace(NULL, NULL);
        assert_bytes_equal(sealed, vector_hex(one, "sealed", &arena));
    }
    json_array_foreach(vector_array(vector_object(file, "sealed"), "invalid"), bad, one)
    {
        assert_err(ERR_CORRUPT, open_sealed(one, &arena, &keys, &coded, &err));
    }
    print_message("content.json sealed chunks: %zu opened, %zu refused\n", good, bad);
    json_decref(file);
}

static void test_vectors__the_meta_row(void **state)
{
    (void)state;
    json_t *file;
    struct err err;
    struct content_keys keys;
    struct content_meta meta;
    struct bytes row;
    AUTO_ARENA(arena, ARENA_MAX);
    if (!vectors_load("format-vectors/content.json", &file)) {
        return;
    }
    json_t *one = vector_object(file, "meta_row");
    struct hash dek = vector_hash(one, "dek"), salt = vector_hash(one, "salt"), root = vector_hash(one, "root");
    struct id content_id = vector_id(one, "content_id");
    content_keys_derive(&dek, &content_id, &keys);
    assert_ok(meta_open(&keys, &content_id, vector_hex(one, "row", &arena), &arena, &meta, &err));
    assert_true(hash_equal(&meta.salt, &salt) && hash_equal(&meta.root, &root));
    assert_int_equal(meta.length, vector_u64(one, "length"));
    struct bytes nonce = vector_hex(one, "nonce", &arena);
    random_replace(fill_from, &nonce);
    assert_ok(meta_seal(&keys, &content_id, &meta, &arena, &row, &err));
    random_replace(NULL, NULL);
    assert_bytes_equal(row, vector_hex(one, "row", &arena));
    print_message("content.json meta row: 1\n");
    json_decref(file);
}

static void test_vectors__the_entry_row(void **state)
{
    (void)state;
    json_t *file;
    struct err err;
    AUTO_ARENA(arena, ARENA_MAX);
    if (!vectors_load("format-vectors/log.json", &file)) {
        return;
    }
    json_t *one = vector_object(file, "entry_row");
    struct hash log_key = vector_hash(one, "log_key"), audit_key = vector_hash(one, "audit_key");
    struct hash commitment = vector_hash(one, "c"), r = vector_hash(one, "r"), blind;
    struct id key_ref = vector_id(one, "key_ref");
    struct bytes expected = vector_hex(one, "row", &arena), entry = vector_hex(one, "entry", &arena), row, back;
    struct bytes n = vector_hex(one, "n", &arena);
    random_replace(fill_from, &n);
    assert_ok(entry_row_seal(&log_key, &audit_key, &key_ref, &commitment, &r, entry, &arena, &row, &err));
    random_replace(NULL, NULL);
    assert_bytes_equal(row, expected);
    struct entry_row outer;
    assert_ok(entry_row_read(&log_key, &commitment, expected, &arena, &outer, &err));
    assert_true(id_equal(&outer.key_ref, &key_ref));
    assert_ok(entry_row_open(&outer, &audit_key, &commitment, &arena, &blind, &back, &err));
    assert_true(hash_equal(&blind, &r));
    assert_bytes_equal(back, entry);
    print_message("log.json entry row: 1\n");
    json_decref(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors__commitments),   cmocka_unit_test(test_vectors__coded_chunks),
        cmocka_unit_test(test_vectors__sealed_chunks), cmocka_unit_test(test_vectors__the_meta_row),
        cmocka_unit_test(test_vectors__the_entry_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
