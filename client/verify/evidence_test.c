/* The bundles of evidence.json, as they are and damaged in every way. */
#include <stdlib.h>

#include "client/verify/verify.h"
#include "proto/merkle/bundle.h"
#include "tests/lib/test.h"
#include "tests/lib/vectors.h"

enum { ARENA_MAX = 64 << 20 };

struct fixture {
    json_t *file;
    struct arena arena;
};

static int load(void **state)
{
    static struct fixture fixture;
    fixture.arena = (struct arena){.budget = ARENA_MAX};
    fixture.file = NULL;
    if (!vectors_load("format-vectors/evidence.json", &fixture.file)) {
        fixture.file = NULL;
    }
    *state = &fixture;
    return 0;
}

static int unload(void **state)
{
    struct fixture *fixture = *state;
    json_decref(fixture->file);
    arena_done(&fixture->arena);
    return 0;
}

static struct bytes bundle_of(struct fixture *f, size_t i)
{
    return vector_base64(json_array_get(vector_array(f->file, "bundles"), i), "bundle_base64", &f->arena);
}

struct inputs {
    struct hash network, query;
    struct verify_options options;
};

static void inputs_of(const json_t *one, struct inputs *out)
{
    const json_t *inputs = vector_object(one, "inputs");
    out->network = vector_hash(inputs, "network");
    out->query = vector_hash(inputs, "query");
    out->options = (struct verify_options){.network = &out->network,
                                           .network_version = vector_u64(inputs, "network_version"),
                                           .roster_version = vector_u64(inputs, "roster_version"),
                                           .quorum = (uint32_t)vector_u64(inputs, "quorum"),
                                           .query = &out->query};
}

static enum verify_state verdict_of(struct bytes file, const struct verify_options *options)
{
    struct err err;
    struct verify_report report;
    AUTO_ARENA(arena, ARENA_MAX);
    assert_ok(verify_bundle(file, options, &arena, &report, &err));
    return report.verdict;
}

static void say_claims(const struct verify_report *report)
{
    for (int i = 0; i < VERIFY_CLAIMS; i++) {
        print_message("    %-18s %s  %s\n", verify_claim_name((enum verify_claim)i),
                      verify_state_name(report->claims[i].state), report->claims[i].text);
    }
}

/* The vectors' own claims bind where nothing is contradicted; how a fault spreads over claims is ours. */
static void check_claims(const struct verify_report *report, const json_t *one)
{
    for (int i = VERIFY_ENTRIES; i < VERIFY_CLAIMS; i++) {
        const char *name = verify_claim_name((enum verify_claim)i);
        const char *ours = verify_state_name(report->claims[i].state);
        if (strcmp(vector_text(vector_object(one, "claims"), name), ours) != 0) {
            say_claims(report);
            fail_msg("%s: '%s' is %s", vector_text(one, "what"), name, ours);
        }
    }
}

static void test_verify__every_bundle_of_the_vectors_gets_its_verdict(void **state)
{
    struct fixture *f = *state;
    size_t i;
    json_t *one;
    if (!f->file) {
        return;
    }
    json_array_foreach(vector_array(f->file, "bundles"), i, one)
    {
        struct err err;
        struct inputs inputs;
        struct verify_report report;
        AUTO_ARENA(arena, ARENA_MAX);
        inputs_of(one, &inputs);
        assert_ok(verify_bundle(bundle_of(f, i), &inputs.options, &arena, &report, &err));
        const char *verdict = verify_state_name(report.verdict);
        if (strcmp(verdict, vector_text(one, "verdict")) != 0) {
            say_claims(&report);
            fail_msg("%s: %s", vector_text(one, "what"), verdict);
        }
        if (report.verdict != VERIFY_CONTRADICTED) {
            check_claims(&report, one);
        }
    }
    print_message("evidence.json: %zu bundles\n", i);
}

/* The vectors whose verdict is PROVED; `each` is called with the bundle and its inputs. */
static void for_proved(struct fixture *f, void (*each)(struct bytes file, const struct verify_options *options))
{
    size_t i;
    json_t *one;
    if (!f->file) {
        return;
    }
    json_array_foreach(vector_array(f->file, "bundles"), i, one)
    {
        if (strcmp(vector_text(one, "verdict"), "PROVED") == 0) {
            struct inputs inputs;
            inputs_of(one, &inputs);
            each(bundle_of(f, i), &inputs.options);
        }
    }
}

/* A damaged bundle is never PROVED. It is CONTRADICTED, unless the damage makes a key unknown. */
static void refuse(struct bytes file, const struct verify_options *options, const char *what, size_t where)
{
    enum verify_state verdict = verdict_of(file, options);
    if (verdict == VERIFY_PROVED) {
        fail_msg("%s at %zu: %s", what, where, verify_state_name(verdict));
    }
}

/* Every byte of frame heads and of the first and last bytes of bodies, else one in eleven, each with one bit. */
static void flip_bytes(struct bytes file, const struct verify_options *options)
{
    uint8_t *damaged = malloc(file.len);
    assert_non_null(damaged);
    memcpy(damaged, file.data, file.len);
    size_t flips = 0;
    for (size_t i = 0; i < file.len; i += i < 24 || i + 440 > file.len ? 1 : 61) {
        damaged[i] ^= (uint8_t)(1 << i % 8);
        refuse(BYTES(damaged, file.len), options, "a bit turned over", i);
        damaged[i] ^= (uint8_t)(1 << i % 8);
        flips++;
    }
    free(damaged);
    print_message("%zu flips refused\n", flips);
}

static void test_verify__no_byte_of_a_bundle_is_unprotected(void **state)
{
    for_proved(*state, flip_bytes);
}

enum { FRAMES_MAX = 256 };

static size_t split(struct bytes file, struct bundle_frame *frames)
{
    struct err err;
    struct bundle_reader reader;
    bool more = true;
    size_t count = 0;
    assert_ok(bundle_read(file, &reader, &err));
    while (more) {
        assert_ok(bundle_read_next(&reader, &frames[count], &more, &err));
        count += more;
        assert_true(count < FRAMES_MAX);
    }
    return count;
}

static void put_frame(struct builder *out, const struct bundle_frame *frame)
{
    build_u32be(out, (uint32_t)frame->body.len);
    build_u8(out, (uint8_t)frame->type);
    build_bytes(out, frame->body);
}

/* The file with frames in another order: `order` lists their numbers. */
static void refuse_order(const struct bundle_frame *frames, const size_t *order, size_t count,
                         const struct verify_options *options, const char *what, size_t where)
{
    AUTO_BUILDER(file, 1 << 20);
    build_bytes(&file, BYTES_LIT(BUNDLE_MAGIC));
    for (size_t i = 0; i < count; i++) {
        put_frame(&file, &frames[order[i]]);
    }
    refuse(builder_view(&file), options, what, where);
}

static void rearrange(struct bytes file, const struct verify_options *options)
{
    struct bundle_frame frames[FRAMES_MAX];
    size_t count = split(file, frames), order[FRAMES_MAX + 1];
    for (size_t at = 0; at < count; at++) {
        size_t n = 0;
        for (size_t i = 0; i < count; i++) {
            order[n] = i;
            n += i != at;
        }
        refuse_order(frames, order, n, options, "a frame dropped", at);
        n = 0;
        for (size_t i = 0; i < count; i++) {
            order[n++] = i;
            order[n] = i;
            n += i == at;
        }
        refuse_order(frames, order, n, options, "a frame twice", at);
        for (size_t i = 0; i < count; i++) {
            order[i] = i;
        }
        if (at + 1 < count) {
            order[at] = at + 1;
            order[at + 1] = at;
            refuse_order(frames, order, count, options, "two frames exchanged", at);
        }
    }
    print_message("%zu frames dropped, doubled and exchanged\n", count);
}

static void test_verify__a_frame_dropped_doubled_or_moved_is_refused(void **state)
{
    for_proved(*state, rearrange);
}

static void cut(struct bytes file, const struct verify_options *options)
{
    for (size_t len = 0; len < file.len; len += 97) {
        refuse(BYTES(file.data, len), options, "cut", len);
    }
    AUTO_BUILDER(longer, 1 << 20);
    build_bytes(&longer, file);
    build_u8(&longer, 0);
    refuse(builder_view(&longer), options, "a byte more", file.len);
}

static void test_verify__a_file_cut_or_lengthened_is_refused(void **state)
{
    for_proved(*state, cut);
}

/* What is asked of the verifier can only take PROVED away. */
static void other_inputs(struct bytes file, const struct verify_options *given)
{
    struct hash other = {{7}};
    struct verify_options options = *given;
    assert_int_equal(verdict_of(file, &options), VERIFY_PROVED);
    options.network = NULL;
    assert_int_equal(verdict_of(file, &options), VERIFY_NOT_PROVED);
    options.network = &other;
    assert_int_not_equal(verdict_of(file, &options), VERIFY_PROVED);
    options = *given;
    options.network_version = 3;
    assert_int_equal(verdict_of(file, &options), VERIFY_NOT_PROVED);
    options = *given;
    options.roster_version = 4;
    assert_int_equal(verdict_of(file, &options), VERIFY_NOT_PROVED);
    options = *given;
    options.quorum = 2;
    assert_int_equal(verdict_of(file, &options), VERIFY_NOT_PROVED);
    options = *given;
    options.query = &other;
    assert_int_equal(verdict_of(file, &options), VERIFY_CONTRADICTED);
    options.query = NULL;
    assert_int_equal(verdict_of(file, &options), VERIFY_PROVED);
}

static void test_verify__other_inputs_never_prove_more(void **state)
{
    for_proved(*state, other_inputs);
}

static void test_I20_verify__a_bundle_must_extend_an_earlier_one(void **state)
{
    struct fixture *f = *state;
    if (!f->file) {
        return;
    }
    struct inputs inputs;
    json_t *bundles = vector_array(f->file, "bundles");
    struct bytes patient = bundle_of(f, 0), actor = bundle_of(f, 3);
    inputs_of(json_array_get(bundles, 0), &inputs);
    inputs.options.earlier = &patient;
    inputs.options.earlier_len = 1;
    assert_int_equal(verdict_of(patient, &inputs.options), VERIFY_PROVED);
    inputs.options.earlier = &actor;                    /* about something else */
    assert_int_equal(verdict_of(patient, &inputs.options), VERIFY_NOT_PROVED);
}

static void test_verify__a_spent_budget_is_an_error_not_a_verdict(void **state)
{
    struct fixture *f = *state;
    if (!f->file) {
        return;
    }
    struct inputs inputs;
    struct bytes file = bundle_of(f, 0);
    inputs_of(json_array_get(vector_array(f->file, "bundles"), 0), &inputs);
    bool ok = false;
    for (size_t budget = 0; !ok; budget += 4096) {
        struct err err;
        struct verify_report report;
        AUTO_ARENA(arena, budget);
        ok = verify_bundle(file, &inputs.options, &arena, &report, &err);
        assert_int_equal(ok ? report.verdict : (enum verify_state)err.code,
                         ok ? VERIFY_PROVED : (enum verify_state)ERR_TOO_MUCH);
    }
}

static void test_verify__the_report_says_verdict_claims_and_what_happened(void **state)
{
    struct fixture *f = *state;
    if (!f->file) {
        return;
    }
    struct err err;
    struct inputs inputs;
    struct verify_report report;
    AUTO_ARENA(arena, ARENA_MAX);
    AUTO_BUILDER(text, 1 << 20);
    AUTO_BUILDER(json, 1 << 20);
    inputs_of(json_array_get(vector_array(f->file, "bundles"), 0), &inputs);
    assert_ok(verify_bundle(bundle_of(f, 0), &inputs.options, &arena, &report, &err));
    verify_text(&report, &text);
    build_u8(&text, 0);
    assert_non_null(strstr((const char *)text.data, "Verdict: PROVED\n"));
    assert_non_null(strstr((const char *)text.data, "complete for log"));
    assert_non_null(strstr((const char *)text.data, "with stadt.example"));
    assert_non_null(strstr((const char *)text.data, "full scope"));
    assert_ok(verify_json(&report, &json, &err));
    json_t *parsed = json_loadb((const char *)json.data, json.len, 0, NULL);
    assert_string_equal(vector_text(parsed, "verdict"), "PROVED");
    assert_int_equal(json_array_size(vector_array(parsed, "claims")), VERIFY_CLAIMS);
    assert_int_equal(json_array_size(vector_array(parsed, "entries")), report.rows_len);
    json_decref(parsed);
    assert_int_equal(verify_exit_code(VERIFY_PROVED), 0);
    assert_int_equal(verify_exit_code(VERIFY_NOT_PROVED), 3);
    assert_int_equal(verify_exit_code(VERIFY_CONTRADICTED), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify__every_bundle_of_the_vectors_gets_its_verdict),
        cmocka_unit_test(test_verify__no_byte_of_a_bundle_is_unprotected),
        cmocka_unit_test(test_verify__a_frame_dropped_doubled_or_moved_is_refused),
        cmocka_unit_test(test_verify__a_file_cut_or_lengthened_is_refused),
        cmocka_unit_test(test_verify__other_inputs_never_prove_more),
        cmocka_unit_test(test_I20_verify__a_bundle_must_extend_an_earlier_one),
        cmocka_unit_test(test_verify__a_spent_budget_is_an_error_not_a_verdict),
        cmocka_unit_test(test_verify__the_report_says_verdict_claims_and_what_happened),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
