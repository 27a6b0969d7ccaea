/* proto/vectors/trust.txt, in the format of proto/vectors/README.md. */
#include <stdio.h>

#include "proto/statement/trust.h"
#include "tests/lib/test.h"
#include "tests/lib/words.h"

enum { BUDGET = 4 << 20, OFFER_MAX = 8 };

struct reading {
    struct trust *trust;
    size_t accepted, refused, said;
};

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

/* Hex parted by commas. */
static size_t list_word(const char *word, struct bytes *out, struct arena *arena)
{
    struct err err;
    struct bytes copy;
    size_t count = 0;
    assert_ok(arena_copy(arena, BYTES(word, strlen(word) + 1), &copy, &err));
    for (char *rest = (char *)(uintptr_t)copy.data, *one; (one = strsep(&rest, ","));) {
        assert_true(count < OFFER_MAX);
        out[count++] = word_bytes(one, arena);
    }
    return count;
}

static void judged(struct reading *r, const struct words *line, bool ok, const struct err *err)
{
    bool refuse = strncmp(line->word[0], "refuse", 6) == 0;
    if (ok == refuse) {
        fail_msg("line %zu: %s", line->line, ok ? "taken" : err->text);
    }
    *(refuse ? &r->refused : &r->accepted) += 1;
}

static void begin(struct reading *r, const char *network)
{
    struct err err;
    struct hash id = word_hash(network);
    trust_free(r->trust);
    assert_ok(trust_new(&id, &r->trust, &err));
}

static void check_member(struct reading *r, const struct words *line)
{
    struct id facility = word_id(line->word[1]);
    struct hash statement = word_hash(line->word[3]);
    const struct member *m = trust_member(r->trust, &facility);
    assert_non_null(m);
    assert_string_equal(m->domain, line->word[2]);
    assert_true(hash_equal(&m->statement, &statement));
    assert_int_equal(m->version, word_number(line->word[4]));
    assert_int_equal(m->from_hlc, word_number(line->word[5]));
    assert_string_equal(m->active ? "active" : m->listed ? "listed" : "former", line->word[6]);
}

static void check_at(struct reading *r, const struct words *line)
{
    struct id facility = word_id(line->word[1]);
    const struct member *m = trust_member_at(r->trust, &facility, word_number(line->word[2]));
    if (strcmp(line->word[3], "-") == 0) {
        assert_null(m);
        return;
    }
    struct hash statement = word_hash(line->word[3]);
    assert_non_null(m);
    assert_true(hash_equal(&m->statement, &statement));
}

static void check_key(struct reading *r, const struct words *line)
{
    struct hash id = word_hash(line->word[1]);
    bool counts = trust_key(r->trust, &id, word_number(line->word[2])) != NULL;
    assert_string_equal(counts ? "yes" : "no", line->word[3]);
}

static void check_state(struct reading *r, const struct words *line)
{
    assert_int_equal(trust_network_version(r->trust), word_number(line->word[1]));
    assert_int_equal(trust_roster_version(r->trust), word_number(line->word[2]));
    assert_int_equal(trust_roster_expires_ms(r->trust), word_number(line->word[3]));
    assert_int_equal(trust_missing(r->trust, NULL, 0), word_number(line->word[4]));
}

/* A statement, or what is said of the trust. */
static void say(struct reading *r, const struct words *line)
{
    r->said++;
    if (words_are(line, "member", 7)) {
        check_member(r, line);
    } else if (words_are(line, "nobody", 2)) {
        struct id facility = word_id(line->word[1]);
        assert_null(trust_member(r->trust, &facility));
    } else if (words_are(line, "at", 4)) {
        check_at(r, line);
    } else if (words_are(line, "key", 4)) {
        check_key(r, line);
    } else if (words_are(line, "state", 5)) {
        check_state(r, line);
    } else {
        words_unknown(line);
    }
}

static void each(void *context, const struct words *line)
{
    struct reading *r = context;
    struct err err = {0};
    AUTO_ARENA(arena, BUDGET);
    const char *first = line->word[0];
    if (words_are(line, "trust", 2)) {
        begin(r, line->word[1]);
    } else if (words_are(line, "file", 2) || (strcmp(first, "refuse-file") == 0 && line->count > 2)) {
        judged(r, line, trust_file(r->trust, word_bytes(line->word[1], &arena), &err), &err);
    } else if (words_are(line, "add", 2) || (strcmp(first, "refuse") == 0 && line->count > 2)) {
        struct bytes list[OFFER_MAX];
        size_t count = list_word(line->word[1], list, &arena);
        judged(r, line, trust_add(r->trust, list, count, NULL, &err), &err);
    } else if (words_are(line, "check", 4) || (strcmp(first, "refuse-check") == 0 && line->count > 4)) {
        struct statement out;
        struct id peer = {{0}};
        bool any = strcmp(line->word[2], "-") == 0;
        if (!any) {
            peer = word_id(line->word[2]);
        }
        bool ok = trust_check(r->trust, word_bytes(line->word[3], &arena), kind_word(line->word[1]), 0,
                              any ? NULL : &peer, &arena, &out, &err);
        judged(r, line, ok, &err);
    } else {
        say(r, line);
    }
}

static void test_trust__the_text_vectors_hold(void **state)
{
    (void)state;
    struct reading r = {0};
    words_read("proto/vectors/trust.txt", each, &r);
    print_message("trust.txt: %zu accepted, %zu refused, %zu others\n", r.accepted, r.refused, r.said);
    assert_true(r.accepted > 0 && r.refused > 0 && r.said > 0);
    trust_free(r.trust);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trust__the_text_vectors_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
