/* What is counted: every call once, under its method and code; every refusal under its limit. */
#include "proto/rpc/counters.h"

#include <stdatomic.h>

#include "tests/lib/rpc.h"

enum { ECHO, REFUSE };

static atomic_bool stopped;

static bool work(struct rpc_call *call, void *ctx, const ProtobufCMessage *message, ProtobufCMessage *out,
                 struct err *err)
{
    (void)call;
    (void)ctx;
    ((chunk_type *)out)->coded = ((const chunk_type *)message)->coded;
    return ((const chunk_type *)message)->index == ECHO || err_raise(err, ERR_STATE, "not now");
}

/* Answers once, then waits until it is told to stop. */
static bool stay(struct rpc_call *call, void *ctx, const ProtobufCMessage *message, ProtobufCMessage *none,
                 struct err *err)
{
    (void)ctx;
    (void)none;
    while (rpc_send(call, message, err) && !stopped) {
        sleep_ms(10);
    }
    return true;
}

static const struct rpc_method methods[] = {
    {.path = "/test.T/Work", .kind = RPC_UNARY, .lane = RPC_WORK, .run = work, .in = CHUNK, .out = CHUNK},
    {.path = "/test.T/Closed", .kind = RPC_UNARY, .lane = RPC_WORK, .run = work, .in = CHUNK, .out = CHUNK},
    {.path = "/test.T/Small",
     .kind = RPC_UNARY,
     .lane = RPC_WORK,
     .run = work,
     .in = CHUNK,
     .out = CHUNK,
     .max_request = 100},
    {.path = "/test.T/Stay", .kind = RPC_SERVER_STREAM, .lane = RPC_WATCH, .run = stay, .in = CHUNK, .out = CHUNK},
};
static const struct rpc_service service = {methods, COUNT(methods), NULL};

static bool gate(void *ctx, struct rpc_call *call, struct err *err)
{
    (void)ctx;
    return strcmp(rpc_call_path(call), "/test.T/Closed") != 0 || err_raise(err, ERR_DENIED, "not for you");
}

static int begin(void **state)
{
    *state = fixture_begin(&service, 1, &(struct rpc_server_config){.authorize = gate});
    return 0;
}

static int end(void **state)
{
    fixture_end(*state);
    return 0;
}

static struct rpc_method_counters of_method(struct fixture *f, const char *path)
{
    struct rpc_method_counters out = {0};
    for (size_t i = 0; rpc_method_counters(f->server, i, &out); i++) {
        if (strcmp(out.path, path) == 0) {
            return out;
        }
    }
    fail_msg("%s is not counted", path);
    return out;
}

/* A client has its answer a moment before the server has forgotten the call. */
static void wait_idle(struct fixture *f)
{
    struct rpc_server_counters now;
    for (int i = 0; i < 500; i++) {
        rpc_server_counters(f->server, &now);
        if (now.in_flight == 0) {
            return;
        }
        sleep_ms(10);
    }
    fail_msg("a call does not end");
}

static void call(struct fixture *f, const char *path, uint64_t index, size_t len)
{
    static const uint8_t bytes[3000];
    struct err err;
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 16);
    bool ok = fixture_call(f->channel, path, index, BYTES(bytes, len), NULL, &arena, &reply, &err);
    (void)ok;                    /* the counters say what came of it */
}

static uint64_t sum(const uint64_t *values, size_t count)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += values[i];
    }
    return total;
}

static void test_counters__a_call_is_counted_once_under_its_method_and_code(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) {
        call(f, "/test.T/Work", ECHO, 1000);
    }
    call(f, "/test.T/Work", REFUSE, 0);
    wait_idle(f);
    struct rpc_method_counters work_counters = of_method(f, "/test.T/Work");
    assert_int_equal(work_counters.calls[ERR_NONE], 5);
    assert_int_equal(work_counters.calls[ERR_STATE], 1);
    assert_int_equal(sum(work_counters.calls, RPC_CODES), 6);
    assert_int_equal(sum(work_counters.buckets, RPC_BUCKETS + 1), 6);
    assert_true(work_counters.us > 0);
    assert_true(work_counters.bytes_in >= 5000 && work_counters.bytes_out >= 5000);
    assert_int_equal(work_counters.in_flight, 0);
    assert_int_equal(sum(of_method(f, "/test.T/Closed").calls, RPC_CODES), 0);
}

static void test_counters__a_refused_call_is_counted_under_its_limit(void **state)
{
    struct fixture *f = *state;
    struct rpc_server_counters counters;
    call(f, "/test.T/Closed", ECHO, 0);
    call(f, "/test.T/Nothing", ECHO, 0);
    call(f, "/test.T/Nothing", ECHO, 0);
    call(f, "/test.T/Small", ECHO, 3000);
    wait_idle(f);
    rpc_server_counters(f->server, &counters);
    assert_int_equal(counters.refused[RPC_REFUSED_GATE], 1);
    assert_int_equal(counters.refused[RPC_REFUSED_METHOD], 2);
    assert_int_equal(counters.refused[RPC_REFUSED_TOO_LARGE], 1);
    assert_int_equal(sum(counters.refused, RPC_REFUSALS), 4);
    assert_int_equal(of_method(f, "").calls[ERR_UNIMPLEMENTED], 2);
    assert_int_equal(of_method(f, "/test.T/Closed").calls[ERR_DENIED], 1);
    assert_int_equal(of_method(f, "/test.T/Small").calls[ERR_TOO_MUCH], 1);
}

static void test_counters__what_is_under_way_is_seen(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_call *stream;
    const ProtobufCMessage *message;
    struct rpc_counters runtime;
    struct rpc_server_counters counters;
    chunk_type request = chunk_of(1, BYTES_NONE);
    stopped = false;
    assert_ok(rpc_start(f->channel, "/test.T/Stay", CHUNK, NULL, &stream, &err));
    assert_ok(rpc_send(stream, &request.base, &err));
    assert_ok(rpc_end_sending(stream, &err));
    assert_ok(rpc_recv(stream, &message, &err));
    rpc_server_counters(f->server, &counters);
    rpc_counters(f->rpc, &runtime);
    assert_int_equal(counters.in_flight, 1);
    assert_int_equal(counters.streams, 1);
    assert_int_equal(of_method(f, "/test.T/Stay").in_flight, 1);
    assert_int_equal(runtime.lanes[RPC_WATCH].busy, 1);
    assert_int_equal(runtime.lanes[RPC_WORK].busy, 0);
    assert_true(runtime.connections_accepted >= 1);
    stopped = true;
    assert_ok(rpc_finish(stream, &err));
    rpc_call_free(stream);
    wait_idle(f);
    rpc_server_counters(f->server, &counters);
    assert_int_equal(counters.streams, 0);
    assert_int_equal(of_method(f, "/test.T/Stay").calls[ERR_NONE], 1);
}

static void test_counters__a_handshake_that_fails_is_counted(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const chunk_type *reply;
    struct rpc_counters before, after;
    AUTO_ARENA(arena, 1 << 16);
    rpc_counters(f->rpc, &before);
    struct rpc_channel *stranger = fixture_dial(f, f->server, &f->foreign_cert);
    assert_err(ERR_UNAVAILABLE,
               fixture_call(stranger, "/test.T/Work", ECHO, BYTES_NONE, NULL, &arena, &reply, &err));
    rpc_channel_close(stranger);
    rpc_counters(f->rpc, &after);
    assert_true(after.handshakes_failed > before.handshakes_failed);
    assert_true(after.connections_accepted > before.connections_accepted);
}

static void test_counters__every_refusal_and_every_lane_has_a_word_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < RPC_REFUSALS; i++) {
        assert_non_null(rpc_refusal_name(i));
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(rpc_refusal_name(i), rpc_refusal_name(j));
        }
    }
    assert_string_equal(rpc_lane_name(RPC_INLINE), "inline");
    for (size_t i = 1; i < RPC_BUCKETS; i++) {
        assert_true(rpc_bucket_us[i] > rpc_bucket_us[i - 1]);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(test_counters__##name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_call_is_counted_once_under_its_method_and_code),
        T(a_refused_call_is_counted_under_its_limit),
        T(what_is_under_way_is_seen),
        T(a_handshake_that_fails_is_counted),
        T(every_refusal_and_every_lane_has_a_word_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
