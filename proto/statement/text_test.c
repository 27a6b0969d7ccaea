/* The text vectors of proto/vectors that are about statements: read by line, nothing unread. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/statement/entry.h"
#include "proto/statement/statement.h"
#include "proto/statement/stream.h"
#include "tests/lib/test.h"

enum { BUDGET = 4 << 20, WORDS_MAX = 8, KEYS_MAX = 16 };

/* One line, by words; the last word holds the rest. */
struct line {
    const char *word[WORDS_MAX];
    size_t count;
};

struct reading {
    struct arena arena;
    struct hash chain;           /* stream.txt: of the lane, and the last item's digest */
    struct hash digest;
    size_t accepted, refused, other;
};

typedef void line_fn(struct reading *r, const struct line *line);

static struct bytes bytes_word(struct reading *r, const char *hex)
{
    struct err err;
    void *room;
    size_t len = strlen(hex) / 2;
    assert_int_equal(strlen(hex) % 2, 0);
    assert_ok(arena_alloc(&r->arena, len, &room, &err));
    assert_ok(hex_decode(hex, room, len, &err));
    return BYTES(room, len);
}

static struct hash hash_word(struct reading *r, const char *hex)
{
    struct hash hash;
    assert_true(hash_from(bytes_word(r, hex), &hash));
    return hash;
}

static struct id id_word(struct reading *r, const char *hex)
{
    struct id id;
    assert_true(id_from(bytes_word(r, hex), &id));
    return id;
}

static uint64_t number_word(const char *text)
{
    char *end;
    uint64_t number = strtoull(text, &end, 10);
    assert_true(*text && !*end);
    return number;
}

static bool is(const struct line *line, const char *first, size_t words)
{
    return strcmp(line->word[0], first) == 0 && line->count == words;
}

static enum statement_kind kind_word(const char *name)
{
    for (int kind = 1; kind < STATEMENT_KINDS; kind++) {
        if (strcmp(statement_name((enum statement_kind)kind), name) == 0) {
            return (enum statement_kind)kind;
        }
    }
    fail_msg("no kind %s", name);
    return 0;
}

static void split_words(char *text, size_t most, struct line *line)
{
    *line = (struct line){0};
    while (text && line->count < most) {
        char *space = line->count + 1 < most ? strchr(text, ' ') : NULL;
        if (space) {
            *space++ = '\0';
        }
        line->word[line->count++] = text;
        text = space;
    }
}

/* `most` words: what follows the last space of them is one word, the reason in words. */
static void each_line(const char *path, size_t most, line_fn *check)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        fail_msg("%s: not there", path);
    }
    struct reading r = {0};
    char *text = NULL;
    size_t size = 0;
    for (ssize_t len; (len = getline(&text, &size, file)) > 0;) {
        struct line line;
        text[len - 1] = '\0';
        if (*text && *text != '#') {
            arena_init(&r.arena, BUDGET);
            split_words(text, most, &line);
            check(&r, &line);
            arena_done(&r.arena);
        }
    }
    free(text);
    fclose(file);
    print_message("%s: %zu accepted, %zu refused, %zu others\n", path, r.accepted, r.refused, r.other);
    assert_true(r.accepted + r.other > 0);
}

/* -- canonical.txt */

static void canonical_line(struct reading *r, const struct line *line)
{
    struct err err;
    ProtobufCMessage *message;
    bool accept = is(line, "accept", 4);
    assert_true(accept || is(line, "refuse", 4));
    enum statement_kind kind = kind_word(line->word[1]);
    struct bytes payload = bytes_word(r, line->word[accept ? 3 : 2]), again;
    if (!accept) {
        assert_err(ERR_INVALID, canonical_unpack(statement_descriptor(kind), payload, &r->arena, &message, &err));
        r->refused++;
        return;
    }
    assert_ok(canonical_unpack(statement_descriptor(kind), payload, &r->arena, &message, &err));
    assert_ok(canonical_pack(message, &r->arena, &again, &err));
    assert_bytes_equal(again, payload);
    struct hash id = statement_id(kind, payload), wanted = hash_word(r, line->word[2]);
    assert_bytes_equal(BYTES_OF(id), BYTES_OF(wanted));
    r->accepted++;
}

static void test_I35_text__canonical(void **state)
{
    (void)state;
    each_line("proto/vectors/canonical.txt", 4, canonical_line);
}

/* -- dsse.txt */

static void key_line(struct reading *r, const struct line *line)
{
    struct err err;
    struct signing_key *key;
    struct hash seed = hash_word(r, line->word[1]), public_key = hash_word(r, line->word[2]);
    struct hash id = key_id(KEY_ED25519, &public_key), wanted = hash_word(r, line->word[3]);
    assert_ok(signing_key_new(&seed, &key, &err));
    assert_true(hash_equal(signing_key_public(key), &public_key));
    assert_true(hash_equal(&id, &wanted));
    signing_key_free(key);
}

static void pae_line(struct reading *r, const struct line *line)
{
    struct err err;
    struct bytes pae;
    assert_ok(statement_pae(line->word[1], bytes_word(r, line->word[2]), &r->arena, &pae, &err));
    assert_bytes_equal(pae, bytes_word(r, line->word[3]));
}

static size_t keys_word(struct reading *r, const char *text, struct hash *keys)
{
    size_t count = 0;
    for (const char *at = text; *at; at += *at == ',') {
        char hex[2 * HASH_LEN + 1] = {0};
        assert_true(strlen(at) >= 2 * HASH_LEN && count < KEYS_MAX);
        memcpy(hex, at, 2 * HASH_LEN);
        keys[count++] = hash_word(r, hex);
        at += 2 * HASH_LEN;
    }
    return count;
}

static void envelope_line(struct reading *r, const struct line *line, bool accept)
{
    struct err err;
    struct statement s;
    struct hash keys[KEYS_MAX];
    struct id network = id_word(r, line->word[2]);
    size_t count = keys_word(r, line->word[3], keys);
    bool ok = statement_parse(bytes_word(r, line->word[4]), &r->arena, &s, &err) &&
              statement_verify(&s, kind_word(line->word[1]), &network, keys, count, count, &err);
    if (ok != accept) {
        fail_msg("%s: %s", line->word[0], accept ? err.text : line->word[5]);
    }
    *(accept ? &r->accepted : &r->refused) += 1;
}

static void dsse_line(struct reading *r, const struct line *line)
{
    if (is(line, "accept", 5) || is(line, "refuse", 6)) {
        envelope_line(r, line, line->count == 5);
    } else if (is(line, "key", 4)) {
        key_line(r, line);
        r->other++;
    } else {
        assert_true(is(line, "pae", 4));
        pae_line(r, line);
        r->other++;
    }
}

static void test_I37_text__dsse(void **state)
{
    (void)state;
    each_line("proto/vectors/dsse.txt", 6, dsse_line);
}

/* -- entry.txt */

static void entry_line(struct reading *r, const struct line *line)
{
    struct err err;
    Chartmesh__V1__Entry *entry;
    struct bytes again;
    if (is(line, "refuse", 3)) {
        assert_err(ERR_INVALID, entry_unpack(bytes_word(r, line->word[1]), &r->arena, &entry, &err));
        r->refused++;
        return;
    }
    assert_true(is(line, "accept", 2));
    struct bytes bytes = bytes_word(r, line->word[1]);
    assert_ok(entry_unpack(bytes, &r->arena, &entry, &err));
    assert_ok(entry_pack(entry, &r->arena, &again, &err));
    assert_bytes_equal(again, bytes);
    r->accepted++;
}

static void test_I35_text__entry(void **state)
{
    (void)state;
    each_line("proto/vectors/entry.txt", 3, entry_line);
}

/* -- stream.txt */

static void stream_line(struct reading *r, const struct line *line)
{
    struct hash made, wanted;
    r->other++;
    if (is(line, "chain", 7)) {
        struct id network = id_word(r, line->word[1]), sender = id_word(r, line->word[2]);
        struct id receiver = id_word(r, line->word[4]);
        made = stream_chain_start(&network, &sender, number_word(line->word[3]), &receiver,
                                  (uint8_t)number_word(line->word[5]));
        wanted = hash_word(r, line->word[6]);
        r->chain = made;
    } else if (is(line, "item", 7)) {
        struct item_facts item = {(enum item_kind)number_word(line->word[1]), hash_word(r, line->word[2]),
                                  number_word(line->word[3]), number_word(line->word[4]),
                                  hash_word(r, line->word[5])};
        made = item_digest(&item);
        wanted = hash_word(r, line->word[6]);
        r->digest = made;
    } else {
        assert_true(is(line, "next", 2));
        made = stream_chain_next(&r->chain, &r->digest);
        wanted = hash_word(r, line->word[1]);
        r->chain = made;
    }
    assert_bytes_equal(BYTES_OF(made), BYTES_OF(wanted));
}

static void test_text__stream(void **state)
{
    (void)state;
    each_line("proto/vectors/stream.txt", 7, stream_line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_I35_text__canonical),
        cmocka_unit_test(test_I37_text__dsse),
        cmocka_unit_test(test_I35_text__entry),
        cmocka_unit_test(test_text__stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
