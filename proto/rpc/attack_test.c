/* Known holes of gRPC's C core 1.51 and of HTTP/2, each tried: the server stays small, answers others, and says
 * why. The table of holes and limits: docs/operating/limits.md. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/rpc/counters.h"
#include "tests/lib/rpc.h"

#define REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name

static atomic_int handled;

static bool echo(struct rpc_call *call, void *ctx, const ProtobufCMessage *message, ProtobufCMessage *out,
                 struct err *err)
{
    (void)call;
    (void)ctx;
    (void)err;
    handled++;
    ((chunk_type *)out)->index = ((const chunk_type *)message)->index;
    ((chunk_type *)out)->coded = ((const chunk_type *)message)->coded;
    return true;
}

static const struct rpc_method methods[] = {
    {.path = "/test.T/Work", .kind = RPC_UNARY, .lane = RPC_WORK, .run = echo, .in = CHUNK, .out = CHUNK},
};
static const struct rpc_service service = {methods, COUNT(methods), NULL};

struct attacked {
    struct fixture *f;
    struct rpc_channel *other;               /* another principal, who has done nothing */
    char folder[64];
};

static int begin(void **state)
{
    static const struct rpc_config runtime = {
        .work_threads = 2, .calls_memory_max = 32 << 20, .connections_max = 40};
    static const struct rpc_server_config config = {
        .limits = {.rate = 300,
                   .burst = 600,
                   .stall_ms = 2000,
                   .handshake_ms = 1000,
                   .keepalive_ms = 4000,
                   .keepalive_timeout_ms = 1000},
    };
    struct attacked *a = calloc(1, sizeof *a);
    assert_non_null(a);
    a->f = fixture_begin_in(&runtime, &service, 1, &config);
    struct cert_pair second =
        fixture_leaf(a->f, &a->f->ca, "spiffe://00112233445566778899aabbccddeeff/x/app/b", NULL);
    a->other = fixture_dial(a->f, a->f->server, &second);
    fixture_folder(a->f, a->folder);
    handled = 0;
    *state = a;
    return 0;
}

static int end(void **state)
{
    struct attacked *a = *state;
    fixture_folder_drop(a->folder);
    rpc_channel_close(a->other);
    fixture_end(a->f);
    free(a);
    return 0;
}

static struct program start(struct attacked *a, const char *name, unsigned number)
{
    char text[16];
    struct program program;
    snprintf(text, sizeof text, "%u", number);
    assert_true(fixture_run_begin(
        (char *[]){"python3", "proto/rpc/hostile_client.py", (char *)name, a->f->target, a->folder, text, NULL},
        &program));
    return program;
}

static void attack(struct attacked *a, const char *name, unsigned number, char word[64])
{
    struct program program = start(a, name, number);
    assert_true(fixture_run_end(&program, word));
    print_message("%s %u: %s\n", name, number, word);
}

/* The attack ends as one of `expected` (words with a space between). */
static void attack_ends(struct attacked *a, const char *name, unsigned number, const char *expected)
{
    char word[64];
    attack(a, name, number, word);
    if (!strstr(expected, word) || !word[0]) {
        fail_msg("%s: '%s' instead of '%s'", name, word, expected);
    }
}

static struct rpc_server_counters counters_of(struct attacked *a)
{
    struct rpc_server_counters counters;
    rpc_server_counters(a->f->server, &counters);
    return counters;
}

/* Connections that the server has cut off, known by a call or not. */
static uint64_t cut_off(struct attacked *a)
{
    struct rpc_counters runtime;
    rpc_counters(a->f->rpc, &runtime);
    return counters_of(a).connections_cut + runtime.connections_babbling;
}

/* Others are served as if nothing were, and nothing stays behind. */
static void is_well(struct attacked *a)
{
    struct err err;
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 16);
    const struct rpc_options patient = {.wait_for_ready = true, .timeout_ms = 15000};
    /* The client shares the polling thread: while that was busy, its connection may have looked dead. */
    assert_ok(fixture_call(a->other, "/test.T/Work", 7, BYTES_LIT("hello"), &patient, &arena, &reply, &err) ||
              (err.code == ERR_UNAVAILABLE &&
               fixture_call(a->other, "/test.T/Work", 7, BYTES_LIT("hello"), &patient, &arena, &reply, &err)));
    assert_int_equal(reply->index, 7);
    struct rpc_counters now = {0};
    for (int i = 0; i < 1000 && (i == 0 || counters_of(a).in_flight || now.memory); i++) {
        sleep_ms(10);
        rpc_counters(a->f->rpc, &now);
    }
    assert_int_equal(counters_of(a).in_flight, 0);
    assert_int_equal(now.memory, 0);
}

/* A flood must not make the process grow by more than this, MiB. Sanitizers keep what was freed. */
static void grew_less_than(size_t before_kib, size_t mib)
{
#ifdef __SANITIZE_ADDRESS__
    (void)before_kib;
    (void)mib;
#else
    size_t after = peak_rss();
    print_message("  peak %zu MiB, before %zu MiB\n", after >> 10, before_kib >> 10);
    assert_true(after < before_kib + (mib << 10));
#endif
}

/* ---- floods ---- */

static void test_attack__rapid_reset_is_cut_off_and_nobody_else_notices(void **state)
{
    struct attacked *a = *state;
    uint64_t before_cut = cut_off(a);
    is_well(a);
    peak_rss_reset();
    size_t before = peak_rss();
    attack_ends(a, "rapid_reset", 200000, "cut goaway");
    grew_less_than(before, 500);          /* a call each would be over 2,000 */
    assert_true(cut_off(a) > before_cut);
    is_well(a);
}

static void test_attack__a_flood_of_calls_is_refused_and_then_cut_off(void **state)
{
    struct attacked *a = *state;
    uint64_t before_cut = cut_off(a);
    attack_ends(a, "call_flood", 20000, "cut goaway");
    assert_true(counters_of(a).refused[RPC_REFUSED_RATE] > 0);
    assert_true(cut_off(a) > before_cut);
    is_well(a);
}

static void test_attack__whoever_stays_within_the_rate_is_never_refused(void **state)
{
    struct attacked *a = *state;
    uint64_t before_cut = cut_off(a);
    attack_ends(a, "call_flood", 100, "answered status:0");
    assert_int_equal(counters_of(a).refused[RPC_REFUSED_RATE], 0);
    assert_int_equal(cut_off(a), before_cut);
    assert_int_equal(handled, 100);
    is_well(a);
}

static void test_attack__unknown_methods_are_answered_and_do_not_pile_up(void **state)
{
    struct attacked *a = *state;
    attack_ends(a, "unknown_methods", 500, "status:12");
    is_well(a);
    assert_int_equal(counters_of(a).refused[RPC_REFUSED_METHOD], 500);
}

static void test_attack__more_streams_than_a_connection_may_have_are_reset(void **state)
{
    struct attacked *a = *state;
    attack_ends(a, "open_streams", 500, "status:14 reset:7 goaway cut");
    assert_true(counters_of(a).in_flight <= 128);
    is_well(a);
}

static void test_attack__a_flood_of_pings_is_sent_away(void **state)
{
    struct attacked *a = *state;
    attack_ends(a, "ping_flood", 1000, "goaway cut");
    is_well(a);
}

static void test_attack__a_flood_of_settings_costs_no_memory(void **state)
{
    struct attacked *a = *state;
    is_well(a);
    peak_rss_reset();
    size_t before = peak_rss();
    attack_ends(a, "settings_flood", 100000, "status:12 cut goaway");
    grew_less_than(before, 50);
    is_well(a);
}

static void test_attack__empty_frames_are_only_slow(void **state)
{
    struct attacked *a = *state;
    peak_rss_reset();
    size_t before = peak_rss();
    attack_ends(a, "empty_frames", 100000, "answered status:0 cut goaway");
    grew_less_than(before, 50);
    is_well(a);
}

/* ---- headers ---- */

static void test_attack__metadata_of_a_mebibyte_is_refused(void **state)
{
    struct attacked *a = *state;
    peak_rss_reset();
    size_t before = peak_rss();
    attack_ends(a, "large_headers", 1 << 20, "status:8 status:2 reset:11 cut goaway");
    grew_less_than(before, 20);
    is_well(a);
    attack_ends(a, "large_headers", 20000, "status:8 status:2");
    assert_int_equal(handled, 1);            /* is_well's */
    is_well(a);
}

static void test_attack__headers_that_never_end_cost_no_memory(void **state)
{
    struct attacked *a = *state;
    is_well(a);
    peak_rss_reset();
    size_t before = peak_rss();
    attack_ends(a, "endless_headers", 4000, "open cut goaway status:2 status:8");
    grew_less_than(before, 50);
    is_well(a);
}

static void test_attack__a_header_named_a_thousand_times_is_refused(void **state)
{
    struct attacked *a = *state;
    attack_ends(a, "table_bomb", 1000, "status:8 status:2");
    assert_int_equal(handled, 0);
    is_well(a);
}

static void test_attack__a_length_padded_for_ever_costs_no_memory(void **state)
{
    struct attacked *a = *state;
    uint64_t before_cut = cut_off(a);
    is_well(a);
    peak_rss_reset();
    size_t before = peak_rss();
    attack_ends(a, "padded_varint", 4000, "cut goaway");
    grew_less_than(before, 50);
    is_well(a);
    attack_ends(a, "known_varint", 8000, "cut goaway");
    is_well(a);
    assert_true(cut_off(a) > before_cut);
}

static void test_attack__a_value_that_never_ends_costs_bounded_memory(void **state)
{
    struct attacked *a = *state;
    uint64_t before_cut = cut_off(a);
    is_well(a);
    peak_rss_reset();
    size_t before = peak_rss();
    attack_ends(a, "endless_string", 8000, "cut goaway");
    grew_less_than(before, 200);
    assert_true(cut_off(a) > before_cut);
    is_well(a);
}

static void test_attack__header_compression_that_is_wrong_ends_the_connection_or_the_call(void **state)
{
    struct attacked *a = *state;
    attack_ends(a, "bad_index", 0, "cut goaway status:13 status:14 status:2 reset:1 reset:9");
    attack_ends(a, "huge_table_size", 0, "cut goaway status:13 status:14 status:2 reset:1 reset:9");
    assert_int_equal(handled, 0);
    is_well(a);
}

/* ---- bodies ---- */

static void test_attack__what_is_compressed_is_not_inflated(void **state)
{
    struct attacked *a = *state;
    is_well(a);
    peak_rss_reset();
    size_t before = peak_rss();
    attack_ends(a, "gzip_bomb", 60, "status:12");
    attack_ends(a, "flag_alone", 0, "status:13 status:12 status:3 reset:2");
    grew_less_than(before, 20);
    assert_int_equal(handled, 1);
    is_well(a);
}

static void test_attack__a_message_that_lies_about_its_length_is_refused(void **state)
{
    struct attacked *a = *state;
    attack_ends(a, "length_lies", 0, "status:3 status:8 reset:11");
    assert_int_equal(handled, 0);
    is_well(a);
}

/* ---- silence ---- */

static void test_attack__whoever_takes_no_reply_is_cut_off(void **state)
{
    struct attacked *a = *state;
    attack_ends(a, "no_room", 20, "status:8 reset:11 cut");
    assert_int_equal(handled, 20);
    is_well(a);
    assert_int_equal(counters_of(a).refused[RPC_CUT_READER], 20);
}

static void test_attack__a_request_that_trickles_in_is_cut_off(void **state)
{
    struct attacked *a = *state;
    attack_ends(a, "slow_body", 0, "status:8 reset:11");
    assert_int_equal(handled, 0);
    is_well(a);
    assert_int_equal(counters_of(a).refused[RPC_CUT_WRITER], 1);
}

static void test_attack__a_connection_that_answers_no_ping_is_closed(void **state)
{
    struct attacked *a = *state;
    attack_ends(a, "deaf_to_pings", 0, "cut goaway");
    is_well(a);
}

static void test_attack__half_made_connections_are_closed(void **state)
{
    struct attacked *a = *state;
    attack_ends(a, "silent_sockets", 10, "cut");
    attack_ends(a, "no_preface", 0, "cut goaway");
    attack_ends(a, "not_http2", 0, "cut goaway");
    struct rpc_counters counters;
    for (int i = 0; i < 100; i++) {
        rpc_counters(a->f->rpc, &counters);
        sleep_ms(10);
    }
    assert_true(counters.connections_silent >= 12);
    is_well(a);
}

static void test_attack__one_address_cannot_take_every_connection(void **state)
{
    struct attacked *a = *state;
    is_well(a);                  /* this one is connected */
    struct program program = start(a, "silent_sockets", 100);
    char word[64];
    struct rpc_counters counters = {0};
    for (int i = 0; i < 500 && counters.connections_refused_source == 0; i++) {
        sleep_ms(10);
        rpc_counters(a->f->rpc, &counters);
        assert_true(counters.connections <= 20);
    }
    assert_true(counters.connections_refused_source > 0);
    assert_int_equal(counters.connections_refused_total, 0);
    is_well(a);
    assert_true(fixture_run_end(&program, word));
    assert_string_equal(word, "cut");
    is_well(a);
}

/* Whatever callers do meanwhile, a server that goes down is down in the time it was given. */
static void test_attack__a_server_goes_down_whatever_its_callers_do(void **state)
{
    struct attacked *a = *state;
    char word[64];
    struct program programs[] = {start(a, "no_room", 20), start(a, "slow_body", 0), start(a, "open_streams", 50),
                                 start(a, "silent_sockets", 5)};
    for (int i = 0; i < 2000 && counters_of(a).in_flight < 71; i++) {
        sleep_ms(5);
    }
    assert_true(counters_of(a).in_flight >= 20);           /* the others may have come and gone */
    uint64_t begun = now_ms();
    assert_int_not_equal(rpc_server_drain(a->f->server, 300, 15000), RPC_STUCK);
    print_message("down after %d ms\n", (int)(now_ms() - begun));
    assert_true(now_ms() - begun < 10000);
    for (size_t i = 0; i < COUNT(programs); i++) {
        fixture_run_end(&programs[i], word);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(test_attack__##name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(rapid_reset_is_cut_off_and_nobody_else_notices),
        T(a_flood_of_calls_is_refused_and_then_cut_off),
        T(whoever_stays_within_the_rate_is_never_refused),
        T(unknown_methods_are_answered_and_do_not_pile_up),
        T(more_streams_than_a_connection_may_have_are_reset),
        T(a_flood_of_pings_is_sent_away),
        T(a_flood_of_settings_costs_no_memory),
        T(empty_frames_are_only_slow),
        T(metadata_of_a_mebibyte_is_refused),
        T(headers_that_never_end_cost_no_memory),
        T(a_header_named_a_thousand_times_is_refused),
        T(a_length_padded_for_ever_costs_no_memory),
        T(a_value_that_never_ends_costs_bounded_memory),
        T(header_compression_that_is_wrong_ends_the_connection_or_the_call),
        T(what_is_compressed_is_not_inflated),
        T(a_message_that_lies_about_its_length_is_refused),
        T(whoever_takes_no_reply_is_cut_off),
        T(a_request_that_trickles_in_is_cut_off),
        T(a_connection_that_answers_no_ping_is_closed),
        T(half_made_connections_are_closed),
        T(one_address_cannot_take_every_connection),
        T(a_server_goes_down_whatever_its_callers_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
