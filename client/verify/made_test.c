/* Bundles made here, right but for one thing each: what the verifier says about it. */
#include "client/verify/verify.h"
#include "proto/crypto/random.h"
#include "tests/lib/made.h"

enum { ARENA_MAX = 32 << 20 };

static int found(void **state)
{
    *state = federation_new(2);
    return 0;
}

static int disband(void **state)
{
    federation_free(*state);
    return 0;
}

static void verify_after(struct federation *f, const struct made_wrong *wrong, const struct bytes *earlier,
                         struct arena *arena, struct verify_report *report)
{
    struct err err;
    struct hash query;
    struct bytes bundle = made_bundle(f, wrong, arena, &query);
    struct verify_options options = {.network = &f->first_network,
                                     .network_version = 1,
                                     .roster_version = 1,
                                     .query = &query,
                                     .earlier = earlier,
                                     .earlier_len = earlier != NULL};
    assert_ok(verify_bundle(bundle, &options, arena, report, &err));
}

static void verify_made(struct federation *f, const struct made_wrong *wrong, struct arena *arena,
                        struct verify_report *report)
{
    verify_after(f, wrong, NULL, arena, report);
}

static void expect(struct federation *f, const struct made_wrong *wrong, enum verify_claim claim,
                   enum verify_state state, const char *why)
{
    struct verify_report report;
    AUTO_ARENA(arena, ARENA_MAX);
    verify_made(f, wrong, &arena, &report);
    const struct verify_finding *finding = &report.claims[claim];
    if (finding->state != state || !strstr(finding->text, why)) {
        for (int i = 0; i < VERIFY_CLAIMS; i++) {
            print_error("  %s: %s %s\n", verify_claim_name((enum verify_claim)i),
                        verify_state_name(report.claims[i].state), report.claims[i].text);
        }
        fail_msg("expected '%s' to be %s: %s", verify_claim_name(claim), verify_state_name(state), why);
    }
    if (claim <= VERIFY_COMPLETE || state == VERIFY_CONTRADICTED) {
        assert_int_equal(report.verdict, state);
    }
}

static void test_verify__a_bundle_with_nothing_wrong_is_proved_decisions_included(void **state)
{
    struct verify_report report;
    AUTO_ARENA(arena, ARENA_MAX);
    verify_made(*state, &(struct made_wrong){0}, &arena, &report);
    for (int i = 0; i < VERIFY_CLAIMS; i++) {
        if (report.claims[i].state != VERIFY_PROVED) {
            fail_msg("'%s': %s", verify_claim_name((enum verify_claim)i), report.claims[i].text);
        }
    }
    assert_int_equal(report.verdict, VERIFY_PROVED);
    assert_int_equal(report.recomputed, 1);
    assert_int_equal(report.count, 3);
    expect(*state, &(struct made_wrong){.reads = true}, VERIFY_COMPLETE, VERIFY_PROVED, "");
}

static void test_verify__an_actor_and_a_patient_nobody_knows_are_proved_too(void **state)
{
    struct verify_report report;
    AUTO_ARENA(arena, ARENA_MAX);
    verify_made(*state, &(struct made_wrong){.actor = true}, &arena, &report);
    assert_int_equal(report.verdict, VERIFY_PROVED);
    assert_int_equal(report.count, 4);
    verify_made(*state, &(struct made_wrong){.absent = true}, &arena, &report);
    assert_int_equal(report.verdict, VERIFY_PROVED);
    assert_int_equal(report.count, 0);
    expect(*state, &(struct made_wrong){.actor = true, .hidden_enrolment = true}, VERIFY_COMPLETE,
           VERIFY_NOT_PROVED, "enrolment");
}

static void test_verify__entries_that_do_not_belong_contradict(void **state)
{
    struct federation *f = *state;
    expect(f, &(struct made_wrong){.strange_entry = true}, VERIFY_ENTRIES, VERIFY_CONTRADICTED, "somebody else's");
    expect(f, &(struct made_wrong){.enrolled_twice = true}, VERIFY_ENTRIES, VERIFY_CONTRADICTED, "enrolled twice");
    expect(f, &(struct made_wrong){.clock_back = true}, VERIFY_ENTRIES, VERIFY_CONTRADICTED, "clock");
    expect(f, &(struct made_wrong){.late_entry = true}, VERIFY_COMPLETE, VERIFY_CONTRADICTED,
           "after the map epoch");
}

static void test_I19_verify__what_is_left_out_is_not_proved(void **state)
{
    struct federation *f = *state;
    expect(f, &(struct made_wrong){.hidden_link = true}, VERIFY_CHAIN, VERIFY_NOT_PROVED, "2 of 3 entries");
    expect(f, &(struct made_wrong){.hidden_link = true}, VERIFY_COMPLETE, VERIFY_NOT_PROVED, "chain");
    expect(f, &(struct made_wrong){.hidden_first = true}, VERIFY_COMPLETE, VERIFY_NOT_PROVED, "entry 0");
    expect(f, &(struct made_wrong){.hidden_query = true}, VERIFY_COMPLETE, VERIFY_NOT_PROVED,
           "records this query");
    expect(f, &(struct made_wrong){.hidden_enrolment = true}, VERIFY_COMPLETE, VERIFY_NOT_PROVED, "enrolment");
    expect(f, &(struct made_wrong){.no_authority = true}, VERIFY_COMPLETE, VERIFY_NOT_PROVED, "");
    expect(f, &(struct made_wrong){.no_cosignature = true}, VERIFY_COMPLETE, VERIFY_NOT_PROVED, "0 of 1");
    expect(f, &(struct made_wrong){.no_cosignature = true}, VERIFY_TIMES, VERIFY_NOT_PROVED, "0 of 1");
    expect(f, &(struct made_wrong){.no_disclosure = true}, VERIFY_STATEMENTS, VERIFY_NOT_PROVED, "disclosure");
    expect(f, &(struct made_wrong){.no_version = true}, VERIFY_AUTHORS, VERIFY_NOT_PROVED, "version");
    expect(f, &(struct made_wrong){.restored = true}, VERIFY_ALL_LOGS, VERIFY_NOT_PROVED, "0000000000000007");
}

static void test_verify__an_entry_later_than_its_cosignature_bounds_no_time(void **state)
{
    struct federation *f = *state;
    expect(f, &(struct made_wrong){.same_second = true}, VERIFY_TIMES, VERIFY_PROVED, "");
    expect(f, &(struct made_wrong){.early_witness = true}, VERIFY_TIMES, VERIFY_NOT_PROVED,
           "later than the cosignature");
}

static void test_I17_verify__another_map_or_tree_contradicts(void **state)
{
    struct federation *f = *state;
    expect(f, &(struct made_wrong){.other_root = true}, VERIFY_CHAIN, VERIFY_CONTRADICTED, "map");
    expect(f, &(struct made_wrong){.known_fork = true}, VERIFY_COMPLETE, VERIFY_CONTRADICTED, "knew");
    expect(f, &(struct made_wrong){.other_epoch = true}, VERIFY_COMPLETE, VERIFY_CONTRADICTED, "another log");
}

static void test_I16_verify__a_query_outside_its_authority_contradicts(void **state)
{
    struct federation *f = *state;
    expect(f, &(struct made_wrong){.narrow_authority = true}, VERIFY_COMPLETE, VERIFY_CONTRADICTED, "subjects");
    expect(f, &(struct made_wrong){.other_purpose = true}, VERIFY_COMPLETE, VERIFY_CONTRADICTED, "purposes");
    expect(f, &(struct made_wrong){.old_authority = true}, VERIFY_COMPLETE, VERIFY_CONTRADICTED, "period");
}

static void test_verify__statements_that_tell_something_else_contradict(void **state)
{
    struct federation *f = *state;
    expect(f, &(struct made_wrong){.other_recipient = true}, VERIFY_STATEMENTS, VERIFY_CONTRADICTED, "disclosure");
    expect(f, &(struct made_wrong){.unnamed = true}, VERIFY_STATEMENTS, VERIFY_CONTRADICTED, "nothing names");
}

static void test_I10_verify__a_disclosure_against_the_policy_contradicts(void **state)
{
    struct federation *f = *state;
    expect(f, &(struct made_wrong){.denied = true}, VERIFY_DECISIONS, VERIFY_CONTRADICTED, "DENY");
    expect(f, &(struct made_wrong){.bad_path = true}, VERIFY_DECISIONS, VERIFY_CONTRADICTED, "path");
}

/* The same randomness twice gives the same log, as far as the same things happen. */
static void count_up(void *context, void *out, size_t len)
{
    uint64_t *count = context;
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)out)[i] = (uint8_t)((*count)++ * 151 >> 3);
    }
}

static void test_I20_verify__a_log_that_grew_extends_what_was_seen(void **state)
{
    struct verify_report report;
    struct hash query;
    uint64_t count = 1;
    AUTO_ARENA(arena, ARENA_MAX);
    random_replace(count_up, &count);
    struct bytes earlier = made_bundle(*state, &(struct made_wrong){0}, &arena, &query);
    count = 1;
    verify_after(*state, &(struct made_wrong){.reads = true}, &earlier, &arena, &report);
    random_replace(NULL, NULL);
    assert_int_equal(report.verdict, VERIFY_PROVED);
    assert_int_equal(report.count, 5);
}

static void test_I20_verify__a_log_rewritten_contradicts_what_was_seen(void **state)
{
    struct verify_report report;
    struct hash query;
    AUTO_ARENA(arena, ARENA_MAX);
    struct bytes earlier = made_bundle(*state, &(struct made_wrong){0}, &arena, &query);
    verify_after(*state, &(struct made_wrong){.reads = true}, &earlier, &arena, &report);
    assert_int_equal(report.verdict, VERIFY_CONTRADICTED);
    assert_int_equal(report.claims[VERIFY_CHAIN].state, VERIFY_CONTRADICTED);

    earlier = made_bundle(*state, &(struct made_wrong){.reads = true}, &arena, &query);     /* it counted more */
    verify_after(*state, &(struct made_wrong){0}, &earlier, &arena, &report);
    assert_int_not_equal(report.verdict, VERIFY_PROVED);
    earlier = made_bundle(*state, &(struct made_wrong){0}, &arena, &query); /* the same size: a fork */
    verify_after(*state, &(struct made_wrong){0}, &earlier, &arena, &report);
    assert_int_equal(report.verdict, VERIFY_CONTRADICTED);
    assert_non_null(strstr(report.claims[VERIFY_COMPLETE].text, "fork"));
}

static void test_verify__all_logs_needs_a_complete_bundle_of_each(void **state)
{
    struct verify_report report;
    struct hash query;
    AUTO_ARENA(arena, ARENA_MAX);
    struct bytes before = made_bundle(*state, &(struct made_wrong){.predecessor = true}, &arena, &query);
    verify_after(*state, &(struct made_wrong){.restored = true}, &before, &arena, &report);
    assert_int_equal(report.verdict, VERIFY_PROVED);
    assert_int_equal(report.claims[VERIFY_ALL_LOGS].state, VERIFY_PROVED);

    before = made_bundle(*state, &(struct made_wrong){.predecessor = true, .hidden_link = true}, &arena, &query);
    verify_after(*state, &(struct made_wrong){.restored = true}, &before, &arena, &report);
    assert_int_equal(report.verdict, VERIFY_PROVED);
    assert_int_equal(report.claims[VERIFY_ALL_LOGS].state, VERIFY_NOT_PROVED);
}

/* The version and the disclosure are the same statements in both logs: so is the randomness they come from. */
static struct bytes side_of(struct federation *f, const struct made_wrong *wrong, struct arena *arena)
{
    struct hash ignored;
    uint64_t count = 1;
    random_replace(count_up, &count);
    struct bytes bundle = made_bundle(f, wrong, arena, &ignored);
    random_replace(NULL, NULL);
    return bundle;
}

static void cross(struct federation *f, const struct made_wrong *sender, const struct made_wrong *receiver,
                  bool sent, bool received)
{
    struct err err;
    struct verify_report report;
    AUTO_ARENA(arena, ARENA_MAX);
    struct bytes ours = side_of(f, sender, &arena), theirs = side_of(f, receiver, &arena);
    struct verify_options options = {.network = &f->first_network, .others = &theirs, .others_len = 1};
    assert_ok(verify_bundle(ours, &options, &arena, &report, &err));
    assert_int_equal(report.verdict, VERIFY_PROVED);
    assert_int_equal(report.others_refused, 0);
    assert_int_equal(report.crossings_len, 1);
    assert_int_equal(report.crossings[0].sent, sent);
    assert_int_equal(report.crossings[0].received, received);
}

static void test_verify__both_sides_of_a_disclosure_are_compared(void **state)
{
    const struct made_wrong sender = {0}, receiver = {.receiver = true};
    cross(*state, &sender, &receiver, true, true);
    cross(*state, &sender, &(struct made_wrong){.receiver = true, .not_told = true}, true, false);
    cross(*state, &(struct made_wrong){.not_told = true}, &receiver, false, true);
}

static void test_verify__another_bundle_of_the_same_log_is_no_other_side(void **state)
{
    struct err err;
    struct hash query;
    struct verify_report report;
    AUTO_ARENA(arena, ARENA_MAX);
    struct bytes bundle = made_bundle(*state, &(struct made_wrong){0}, &arena, &query);
    struct verify_options options = {
        .network = &((struct federation *)*state)->first_network, .others = &bundle, .others_len = 1};
    assert_ok(verify_bundle(bundle, &options, &arena, &report, &err));
    assert_int_equal(report.verdict, VERIFY_PROVED);
    assert_int_equal(report.others_refused, 1);
}

static void test_verify__a_text_in_a_bundle_cannot_forge_a_line_of_the_report(void **state)
{
    (void)state;
    struct verify_row row = {.kind = "READ",
                             .principal = "x\nVerdict: PROVED\x1b[2J\x7f\xc2\x9b\xe2\x80\xae\xe2\x81\xa6 \xc3\xa9",
                             .counterpart = "",
                             .what = "\r"};
    struct verify_report report = {.rows = &row, .rows_len = 1};
    AUTO_BUILDER(text, 1 << 16);
    verify_text(&report, &text);
    build_u8(&text, 0);
    assert_true(text.ok);
    assert_null(strstr((const char *)text.data, "\nVerdict: PROVED"));
    assert_non_null(strstr((const char *)text.data, "x?Verdict: PROVED?[2J???? \xc3\xa9: ?\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify__a_bundle_with_nothing_wrong_is_proved_decisions_included),
        cmocka_unit_test(test_verify__an_actor_and_a_patient_nobody_knows_are_proved_too),
        cmocka_unit_test(test_verify__entries_that_do_not_belong_contradict),
        cmocka_unit_test(test_I19_verify__what_is_left_out_is_not_proved),
        cmocka_unit_test(test_verify__an_entry_later_than_its_cosignature_bounds_no_time),
        cmocka_unit_test(test_I17_verify__another_map_or_tree_contradicts),
        cmocka_unit_test(test_I16_verify__a_query_outside_its_authority_contradicts),
        cmocka_unit_test(test_verify__statements_that_tell_something_else_contradict),
        cmocka_unit_test(test_I10_verify__a_disclosure_against_the_policy_contradicts),
        cmocka_unit_test(test_I20_verify__a_log_that_grew_extends_what_was_seen),
        cmocka_unit_test(test_I20_verify__a_log_rewritten_contradicts_what_was_seen),
        cmocka_unit_test(test_verify__all_logs_needs_a_complete_bundle_of_each),
        cmocka_unit_test(test_verify__both_sides_of_a_disclosure_are_compared),
        cmocka_unit_test(test_verify__another_bundle_of_the_same_log_is_no_other_side),
        cmocka_unit_test(test_verify__a_text_in_a_bundle_cannot_forge_a_line_of_the_report),
    };
    return cmocka_run_group_tests(tests, found, disband);
}
