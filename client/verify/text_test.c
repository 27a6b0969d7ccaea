/* proto/vectors/evidence.txt, in the format of proto/vectors/README.md. */
#include <stdio.h>

#include "client/verify/verify.h"
#include "tests/lib/test.h"
#include "tests/lib/words.h"

enum { BUDGET = 16 << 20, WHAT_MAX = 128 };

/* One case, gathered by line; it is verified at its bundle and judged by the lines that follow. */
struct reading {
    struct arena arena;
    char what[WHAT_MAX];
    bool has_network, verified;
    struct hash network, query;
    struct verify_options options;
    struct bytes earlier;
    struct verify_report report;
    size_t claims, cases, proved;
};

static void begin(struct reading *r, const struct words *line)
{
    size_t len = 0;
    assert_int_equal(r->claims, r->cases ? VERIFY_CLAIMS : 0);
    arena_done(&r->arena);
    *r = (struct reading){.cases = r->cases + 1, .proved = r->proved};
    arena_init(&r->arena, BUDGET);
    for (size_t i = 1; i < line->count && len < sizeof r->what; i++) {
        len += (size_t)snprintf(r->what + len, sizeof r->what - len, "%s%s", i > 1 ? " " : "", line->word[i]);
    }
}

static struct bytes base64_word(struct reading *r, const char *word)
{
    struct err err;
    struct bytes out;
    assert_ok(base64_decode(bytes_str(word), &r->arena, &out, &err));
    return out;
}

static void take_given(struct reading *r, const struct words *line)
{
    if (strcmp(line->word[1], "-") != 0) {
        r->network = word_hash(line->word[1]);
        r->options.network = &r->network;
    }
    r->query = word_hash(line->word[5]);
    r->options.network_version = word_number(line->word[2]);
    r->options.roster_version = word_number(line->word[3]);
    r->options.quorum = (uint32_t)word_number(line->word[4]);
    r->options.query = &r->query;
}

static void verify(struct reading *r, const char *word)
{
    struct err err;
    assert_non_null(r->options.query);
    assert_ok(verify_bundle(base64_word(r, word), &r->options, &r->arena, &r->report, &err));
    r->verified = true;
}

static enum verify_state state_word(const char *word)
{
    for (int state = VERIFY_NOT_PROVED; state <= VERIFY_CONTRADICTED; state++) {
        const char *name = verify_state_name((enum verify_state)state);
        if (strncmp(name, word, 3) == 0) {
            return (enum verify_state)state;
        }
    }
    fail_msg("no state %s", word);
    return 0;
}

static void check_claim(struct reading *r, const struct words *line)
{
    char name[WHAT_MAX] = "";
    size_t len = 0;
    for (size_t i = 2; i < line->count && len < sizeof name; i++) {
        len += (size_t)snprintf(name + len, sizeof name - len, "%s%s", i > 2 ? " " : "", line->word[i]);
    }
    for (int i = 0; i < VERIFY_CLAIMS; i++) {
        const struct verify_finding *finding = &r->report.claims[i];
        if (strcmp(verify_claim_name((enum verify_claim)i), name) != 0) {
            continue;
        }
        if (finding->state != state_word(line->word[1])) {
            fail_msg("%s: '%s' should be %s, is %s: %s", r->what, name, line->word[1],
                     verify_state_name(finding->state), finding->text);
        }
        r->claims++;
        return;
    }
    words_unknown(line);
}

static void each(void *context, const struct words *line)
{
    struct reading *r = context;
    const char *first = line->word[0];
    if (strcmp(first, "case") == 0 && line->count > 1) {
        begin(r, line);
    } else if (words_are(line, "given", 6)) {
        take_given(r, line);
    } else if (words_are(line, "earlier", 2)) {
        r->earlier = base64_word(r, line->word[1]);
        r->options.earlier = &r->earlier;
        r->options.earlier_len = 1;
    } else if (words_are(line, "bundle", 2)) {
        verify(r, line->word[1]);
    } else if (strcmp(first, "claim") == 0 && line->count > 2 && r->verified) {
        check_claim(r, line);
    } else if (words_are(line, "verdict", 2) && r->verified) {
        assert_int_equal(r->report.verdict, state_word(line->word[1]));
        r->proved += r->report.verdict == VERIFY_PROVED;
    } else {
        words_unknown(line);
    }
}

static void test_verify__the_text_vectors_hold(void **state)
{
    (void)state;
    struct reading r = {0};
    words_read("proto/vectors/evidence.txt", each, &r);
    print_message("evidence.txt: %zu cases, %zu PROVED\n", r.cases, r.proved);
    assert_int_equal(r.claims, VERIFY_CLAIMS);
    assert_true(r.proved > 0 && r.proved < r.cases);
    arena_done(&r.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify__the_text_vectors_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
