/* proto/vectors/content.txt, in the format of proto/vectors/README.md. */
#include "proto/content/content.h"
#include "proto/content/entry_row.h"
#include "proto/crypto/hash.h"
#include "tests/lib/test.h"
#include "tests/lib/words.h"

enum { ARENA_MAX = 8 << 20 };

struct reading {
    struct arena *arena;
    struct hash root;                     /* of the last content */
    struct id content_id;
    struct content_keys keys;
    size_t accepted, refused;
};

/* content(label, n): the first n bytes of SHA-256(label || u64be 0) || SHA-256(label || u64be 1) || … */
static struct bytes content_by_rule(const char *label, size_t n, struct arena *arena)
{
    struct err err;
    void *room;
    assert_ok(arena_alloc(arena, n + HASH_LEN, &room, &err));
    for (uint64_t i = 0; i * HASH_LEN < n; i++) {
        uint8_t number[8];
        put_u64be(number, i);
        struct hash hash = HASH_PARTS(bytes_str(label), BYTES(number, sizeof number));
        memcpy((uint8_t *)room + i * HASH_LEN, hash.bytes, HASH_LEN);
    }
    return BYTES(room, n);
}

static void check_content(struct reading *r, const struct words *line)
{
    struct hash salt = word_hash(line->word[3]), root = word_hash(line->word[4]),
                expected = word_hash(line->word[5]);
    struct bytes content = content_by_rule(line->word[1], word_number(line->word[2]), r->arena);
    struct hash commitment = content_commit(&salt, content, &r->root);
    assert_bytes_equal(BYTES_OF(r->root), BYTES_OF(root));
    assert_bytes_equal(BYTES_OF(commitment), BYTES_OF(expected));
}

static bool path_holds(struct reading *r, const struct words *line)
{
    struct hash leaf = word_hash(line->word[3]), path[41];
    size_t len = word_hashes(line->word[4], path, COUNT(path));
    return chunk_path_verify(word_number(line->word[1]), word_number(line->word[2]), &leaf, path, len, &r->root);
}

static void check_coded(struct reading *r, const struct words *line)
{
    struct err err;
    struct bytes plain;
    assert_ok(
        chunk_decode(word_bytes(line->word[3], r->arena), word_number(line->word[1]), r->arena, &plain, &err));
    struct hash hash = hash_of(plain), expected = word_hash(line->word[2]);
    assert_bytes_equal(BYTES_OF(hash), BYTES_OF(expected));
}

static void check_keys(struct reading *r, const struct words *line)
{
    struct hash dek = word_hash(line->word[1]), content = word_hash(line->word[3]),
                header = word_hash(line->word[4]);
    r->content_id = word_id(line->word[2]);
    content_keys_derive(&dek, &r->content_id, &r->keys);
    assert_bytes_equal(BYTES_OF(r->keys.content), BYTES_OF(content));
    assert_bytes_equal(BYTES_OF(r->keys.header), BYTES_OF(header));
}

static bool open_sealed(struct reading *r, const struct words *line, const char *sealed, struct bytes *coded)
{
    struct err err;
    return chunk_open(&r->keys, &r->content_id, word_number(line->word[1]), word_number(line->word[2]) != 0,
                      word_bytes(sealed, r->arena), r->arena, coded, &err);
}

static void check_meta(struct reading *r, const struct words *line)
{
    struct err err;
    struct content_meta meta;
    struct hash salt = word_hash(line->word[1]), root = word_hash(line->word[3]);
    assert_ok(meta_open(&r->keys, &r->content_id, word_bytes(line->word[4], r->arena), r->arena, &meta, &err));
    assert_true(hash_equal(&meta.salt, &salt) && hash_equal(&meta.root, &root));
    assert_int_equal(meta.length, word_number(line->word[2]));
}

static void check_header(struct reading *r, const struct words *line)
{
    struct err err;
    struct id content_id;
    uint8_t flags;
    struct hash version = word_hash(line->word[1]);
    struct bytes row = word_bytes(line->word[4], r->arena), envelope;
    assert_ok(header_row_content(row, &content_id, &flags, &err));
    assert_true(id_equal(&content_id, &r->content_id));
    assert_int_equal(flags, word_number(line->word[2]));
    assert_ok(header_open(&r->keys, &version, row, r->arena, &envelope, &err));
    assert_bytes_equal(envelope, word_bytes(line->word[3], r->arena));
}

static void check_entry_row(struct reading *r, const struct words *line)
{
    struct err err;
    struct entry_row outer;
    struct hash log_key = word_hash(line->word[1]), audit_key = word_hash(line->word[2]);
    struct hash commitment = word_hash(line->word[3]), expected = word_hash(line->word[5]), blind;
    struct id key_ref = word_id(line->word[4]);
    struct bytes entry;
    assert_ok(entry_row_read(&log_key, &commitment, word_bytes(line->word[7], r->arena), r->arena, &outer, &err));
    assert_true(id_equal(&outer.key_ref, &key_ref));
    assert_ok(entry_row_open(&outer, &audit_key, &commitment, r->arena, &blind, &entry, &err));
    assert_bytes_equal(BYTES_OF(blind), BYTES_OF(expected));
    assert_bytes_equal(entry, word_bytes(line->word[6], r->arena));
}

static void check_statement_row(struct reading *r, const struct words *line)
{
    struct err err;
    struct hash audit_key = word_hash(line->word[1]), statement = word_hash(line->word[2]);
    struct bytes envelope;
    assert_ok(statement_row_open(&audit_key, &statement, word_bytes(line->word[4], r->arena), r->arena, &envelope,
                                 &err));
    assert_bytes_equal(envelope, word_bytes(line->word[3], r->arena));
}

static bool take_refusal(struct reading *r, const struct words *line)
{
    struct err err;
    struct bytes ignored;
    if (words_are(line, "refuse-path", 5)) {
        assert_false(path_holds(r, line));
    } else if (line->count > 3 && strcmp(line->word[0], "refuse-coded") == 0) {
        assert_false(chunk_decode(word_bytes(line->word[2], r->arena), word_number(line->word[1]), r->arena,
                                  &ignored, &err));
    } else if (words_are(line, "refuse-sealed", 4)) {
        assert_false(open_sealed(r, line, line->word[3], &ignored));
    } else {
        return false;
    }
    r->refused++;
    return true;
}

static void take_line(void *context, const struct words *line)
{
    struct reading *r = context;
    struct bytes coded;
    if (take_refusal(r, line)) {
        return;
    }
    r->accepted++;
    if (words_are(line, "content", 6)) {
        check_content(r, line);
    } else if (words_are(line, "path", 5)) {
        assert_true(path_holds(r, line));
    } else if (words_are(line, "coded", 4)) {
        check_coded(r, line);
    } else if (words_are(line, "keys", 5)) {
        check_keys(r, line);
    } else if (words_are(line, "sealed", 5)) {
        assert_true(open_sealed(r, line, line->word[4], &coded));
        assert_bytes_equal(coded, word_bytes(line->word[3], r->arena));
    } else if (words_are(line, "meta", 5)) {
        check_meta(r, line);
    } else if (words_are(line, "header", 5)) {
        check_header(r, line);
    } else if (words_are(line, "entry-row", 8)) {
        check_entry_row(r, line);
    } else if (words_are(line, "statement-row", 5)) {
        check_statement_row(r, line);
    } else {
        words_unknown(line);
    }
}

static void test_content__the_text_vectors_hold(void **state)
{
    (void)state;
    AUTO_ARENA(arena, ARENA_MAX);
    struct reading r = {.arena = &arena};
    words_read("proto/vectors/content.txt", take_line, &r);
    print_message("content.txt: %zu accepted, %zu refused\n", r.accepted, r.refused);
    assert_true(r.accepted > 0 && r.refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content__the_text_vectors_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
