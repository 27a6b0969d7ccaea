#include "client/cli/cli.h"
#include "client/cli/node.h"
#include "tests/lib/test.h"

struct parsed {
    struct cli cli;
    const char *out, *purpose;
    struct cli_list many, args;
    bool flag;
};

/* Parses words as a command with one of each kind of option would. */
static bool parse(struct parsed *p, char **words, bool connects, struct err *err)
{
    int count = 0;
    while (words[count]) {
        count++;
    }
    *p = (struct parsed){.cli.exit = CLI_FAILED};
    arena_init(&p->cli.arena, 1 << 20);
    const struct cli_option options[] = {
        {"out", "DIR", "needed", .text = &p->out, .needed = true},
        {"many", "X", "repeated", .list = &p->many},
        {"flag", NULL, "a flag", .flag = &p->flag},
        {"purpose", "CODE", "shadows the common one", .text = &p->purpose},
    };
    const struct cli_usage usage = {.name = "test",
                                    .args = "A [B]",
                                    .args_min = 1,
                                    .args_max = 2,
                                    .about = "A test.",
                                    .options = options,
                                    .option_count = COUNT(options),
                                    .connects = connects};
    return cli_parse(&p->cli, &usage, count, words, &p->args, err);
}

#define WORDS(...) ((char *[]){"test", __VA_ARGS__, NULL})

static void test_cli__options_and_words_in_any_order(void **state)
{
    (void)state;
    struct err err;
    struct parsed p;
    assert_ok(parse(&p, WORDS("--many", "1", "a", "--out=x", "--flag", "--many", "2", "b", "--output", "json"),
                    false, &err));
    assert_string_equal(p.out, "x");
    assert_true(p.flag && p.cli.json);
    assert_int_equal(p.many.count, 2);
    assert_string_equal(p.many.items[1], "2");
    assert_int_equal(p.args.count, 2);
    assert_string_equal(p.args.items[1], "b");
    arena_done(&p.cli.arena);
}

static void test_cli__mistakes_are_usage(void **state)
{
    (void)state;
    struct err err;
    struct parsed p;
    char **const wrong[] = {
        WORDS("a"),                                  /* --out is needed */
        WORDS("--out", "x"),                         /* A is */
        WORDS("--out", "x", "a", "b", "c"),
        WORDS("--out", "x", "--out", "y", "a"),
        WORDS("--out", "x", "--colour", "a"),
        WORDS("a", "--out"),
        WORDS("--out", "x", "--output", "xml", "a"),
        WORDS("--out", "x", "--profile", "p", "a"),  /* it does not connect */
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_err(ERR_INVALID, parse(&p, wrong[i], false, &err));
        assert_int_equal(p.cli.exit, CLI_USAGE);
        arena_done(&p.cli.arena);
    }
}

static void test_cli__help_ends_well_whatever_else_is_missing(void **state)
{
    (void)state;
    struct err err = {.code = ERR_INTERNAL};
    struct parsed p;
    assert_false(parse(&p, WORDS("--help"), false, &err));
    assert_int_equal(err.code, ERR_NONE);
    assert_int_equal(p.cli.exit, CLI_OK);
    arena_done(&p.cli.arena);
    assert_false(parse(&p, WORDS("-h"), true, &err));
    assert_int_equal(p.cli.exit, CLI_OK);
    arena_done(&p.cli.arena);
}

static void test_cli__who_connects_needs_a_profile(void **state)
{
    (void)state;
    struct err err;
    struct parsed p;
    assert_err(ERR_INVALID, parse(&p, WORDS("--out", "x", "a"), true, &err));
    assert_int_equal(p.cli.exit, CLI_USAGE);
    arena_done(&p.cli.arena);
    assert_err(ERR_NOT_FOUND, parse(&p, WORDS("--out", "x", "a", "--profile", "no/such/file"), true, &err));
    arena_done(&p.cli.arena);
}

/* -- what is typed */

static struct cli *new_cli(struct cli *cli)
{
    *cli = (struct cli){.exit = CLI_FAILED};
    arena_init(&cli->arena, 1 << 20);
    return cli;
}

static void test_cli__times_are_read_in_utc_and_only_real_ones(void **state)
{
    (void)state;
    struct err err;
    struct cli cli;
    Chartmesh__V1__Instant *at;
    new_cli(&cli);
    assert_ok(cli_time(&cli, "--at", "2024-02-29", &at, &err));
    assert_int_equal(at->ms, INT64_C(1709164800000));
    assert_ok(cli_time(&cli, "--at", "2024-02-29T12:34:56Z", &at, &err));
    assert_int_equal(at->ms, INT64_C(1709210096000));
    static const char *const wrong[] = {"2023-02-29", "2024-13-01", "yesterday",           "2024-02-29T25:00:00Z",
                                        "1960-01-01", "2024-2-29",  "2024-02-29T12:34:56", ""};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_err(ERR_INVALID, cli_time(&cli, "--at", wrong[i], &at, &err));
        assert_int_equal(cli.exit, CLI_USAGE);
    }
    arena_done(&cli.arena);
}

static void test_cli__ids_codes_and_labels_are_read_or_refused(void **state)
{
    (void)state;
    struct err err;
    struct cli cli;
    Chartmesh__V1__Subject *subject;
    Chartmesh__V1__Coding *coding;
    Chartmesh__V1__Confidentiality label;
    new_cli(&cli);
    assert_ok(cli_subject(&cli, "00112233445566778899aabbccddeeff", &subject, &err));
    assert_int_equal(subject->facility.len, 0);
    assert_ok(
        cli_subject(&cli, "ffeeddccbbaa99887766554433221100/00112233445566778899aabbccddeeff", &subject, &err));
    assert_int_equal(subject->facility.data[0], 0xff);
    assert_err(ERR_INVALID, cli_subject(&cli, "0011", &subject, &err));
    assert_err(ERR_INVALID, cli_subject(&cli, "nowhere.example/00112233445566778899aabbccddeeff", &subject, &err));
    assert_ok(cli_coding(&cli, "--class", "urn:a|b|c", &coding, &err));
    assert_string_equal(coding->system, "urn:a|b");
    assert_string_equal(coding->code, "c");
    assert_err(ERR_INVALID, cli_coding(&cli, "--class", "code", &coding, &err));
    assert_err(ERR_INVALID, cli_coding(&cli, "--class", "|code", &coding, &err));
    assert_err(ERR_INVALID, cli_coding(&cli, "--class", "urn:a|", &coding, &err));
    assert_ok(cli_confidentiality(&cli, "R", &label, &err));
    assert_int_equal(label, CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R);
    assert_err(ERR_INVALID, cli_confidentiality(&cli, "X", &label, &err));
    assert_err(ERR_INVALID, cli_confidentiality(&cli, "", &label, &err));
    arena_done(&cli.arena);
}

static void test_cli__numbers_within_limits(void **state)
{
    (void)state;
    struct err err;
    struct cli cli;
    uint64_t number;
    new_cli(&cli);
    assert_ok(cli_number(&cli, "n", "17", 1, 17, &number, &err));
    assert_int_equal(number, 17);
    static const char *const wrong[] = {"18", "0", "-1", "+1", " 1", "1x", "", "99999999999999999999999"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_err(ERR_INVALID, cli_number(&cli, "n", wrong[i], 1, 17, &number, &err));
    }
    arena_done(&cli.arena);
}

static void test_cli__enumerations_are_shown_without_their_prefix(void **state)
{
    (void)state;
    json_t *permit = json_enum(&chartmesh__v1__effect__descriptor, CHARTMESH__V1__EFFECT__EFFECT_PERMIT);
    json_t *unknown = json_enum(&chartmesh__v1__effect__descriptor, 77);
    assert_string_equal(json_string_value(permit), "PERMIT");
    assert_int_equal(json_integer_value(unknown), 77);
    assert_null(json_enum(&chartmesh__v1__effect__descriptor, 0));
    json_decref(permit);
    json_decref(unknown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli__options_and_words_in_any_order),
        cmocka_unit_test(test_cli__mistakes_are_usage),
        cmocka_unit_test(test_cli__help_ends_well_whatever_else_is_missing),
        cmocka_unit_test(test_cli__who_connects_needs_a_profile),
        cmocka_unit_test(test_cli__times_are_read_in_utc_and_only_real_ones),
        cmocka_unit_test(test_cli__ids_codes_and_labels_are_read_or_refused),
        cmocka_unit_test(test_cli__numbers_within_limits),
        cmocka_unit_test(test_cli__enumerations_are_shown_without_their_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
