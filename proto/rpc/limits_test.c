/* What one caller may have of a server, what all have together, and who is no longer welcome. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/rpc/counters.h"
#include "tests/lib/rpc.h"

#define REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name
#define OTHER_ID "spiffe://00112233445566778899aabbccddeeff/st-anna.example/app/lab"

enum { MIB = 1 << 20 };

static atomic_int holding;       /* handlers that wait until `go` */
static atomic_bool go;
static atomic_int streams_open;
static struct rpc_call *_Atomic stream_held;

static bool hold(struct rpc_call *call, void *ctx, const ProtobufCMessage *message, ProtobufCMessage *out,
                 struct err *err)
{
    const chunk_type *request = (const void *)message;
    void *room;
    (void)ctx;
    if (request->index && !arena_alloc(rpc_call_arena(call), request->index, &room, err)) {
        return false;
    }
    holding++;
    while (!go && !rpc_cancelled(call)) {
        sleep_ms(2);
    }
    holding--;
    ((chunk_type *)out)->index = request->index;
    return true;
}

static bool echo(struct rpc_call *call, void *ctx, const ProtobufCMessage *message, ProtobufCMessage *out,
                 struct err *err)
{
    (void)call;
    (void)ctx;
    (void)err;
    ((chunk_type *)out)->coded = ((const chunk_type *)message)->coded;
    return true;
}

static bool take_all(struct rpc_call *call, void *ctx, const ProtobufCMessage *none, ProtobufCMessage *out,
                     struct err *err)
{
    const ProtobufCMessage *message = out;
    (void)ctx;
    (void)none;
    while (message) {
        if (!rpc_recv(call, &message, err)) {
            return false;
        }
    }
    return true;
}

static void stream_closed(struct rpc_call *stream, void *arg, const struct err *why)
{
    (void)stream;
    (void)arg;
    (void)why;
    streams_open--;
}

static bool stream_open(struct rpc_call *stream, void *ctx, const ProtobufCMessage *none, struct err *err)
{
    static const struct rpc_events events = {.closed = stream_closed};
    (void)ctx;
    (void)none;
    (void)err;
    streams_open++;
    stream_held = stream;
    rpc_stream_listen(stream, &events, NULL);
    return true;
}

static const struct rpc_method methods[] = {
    {.path = "/test.T/Hold", .kind = RPC_UNARY, .lane = RPC_WORK, .run = hold, .in = CHUNK, .out = CHUNK},
    {.path = "/test.T/Echo", .kind = RPC_UNARY, .lane = RPC_BULK, .run = echo, .in = CHUNK, .out = CHUNK},
    {.path = "/test.T/Up",
     .kind = RPC_CLIENT_STREAM,
     .lane = RPC_BULK,
     .run = take_all,
     .in = CHUNK,
     .out = CHUNK},
    {.path = "/test.T/Events", .kind = RPC_BIDI, .lane = RPC_WORK, .open = stream_open, .in = CHUNK, .out = CHUNK},
};
static const struct rpc_service service = {methods, COUNT(methods), NULL};

static const char *_Atomic unwelcome;
static struct err deaf_why;
static atomic_int deaf;

static bool welcome(void *ctx, const struct rpc_identity *peer, struct err *err)
{
    (void)ctx;
    const char *bad = unwelcome;
    return !bad || strcmp(peer->spiffe, bad) != 0 ||
           err_raise_reason(err, ERR_DENIED, REASON(NOT_PERMITTED), "not any more");
}

static void on_deaf(void *ctx, const struct err *why)
{
    (void)ctx;
    deaf_why = *why;
    deaf++;
}

struct bed {
    struct fixture *f;
    struct rpc_channel *other;
};

static int begin(void **state)
{
    static const struct rpc_config runtime = {
        .work_threads = 16, .bulk_threads = 4, .calls_memory_max = 24 * MIB, .watch_s = 1, .deaf = on_deaf};
    static const struct rpc_server_config config = {
        .welcome = welcome,
        .limits = {.calls_max = 6,
                   .streams_max = 3,
                   .connections_max = 3,
                   .bytes_max = 3 * MIB,
                   .memory_max = 16 * MIB,
                   .stall_ms = 700},
    };
    struct bed *bed = calloc(1, sizeof *bed);
    assert_non_null(bed);
    go = false;
    unwelcome = NULL;
    deaf = 0;
    bed->f = fixture_begin_in(&runtime, &service, 1, &config);
    struct cert_pair lab = fixture_leaf(bed->f, &bed->f->ca, OTHER_ID, NULL);
    bed->other = fixture_dial(bed->f, bed->f->server, &lab);
    *state = bed;
    return 0;
}

static int end(void **state)
{
    struct bed *bed = *state;
    go = true;
    rpc_channel_close(bed->other);
    fixture_end(bed->f);
    free(bed);
    return 0;
}

static bool eventually(const atomic_int *value, int wanted)
{
    for (int i = 0; i < 1000 && *value != wanted; i++) {
        sleep_ms(5);
    }
    return *value == wanted;
}

static bool echo_on(struct rpc_channel *channel, size_t len, struct err *err)
{
    static const uint8_t bytes[2 * MIB];
    const chunk_type *reply;
    AUTO_ARENA(arena, 8 * MIB);
    return fixture_call(channel, "/test.T/Echo", 0, BYTES(bytes, len), NULL, &arena, &reply, err);
}

/* A client has its answer a moment before the server has counted the call. */
static void assert_refused(struct bed *bed, enum rpc_refusal which, uint64_t wanted)
{
    struct rpc_server_counters counters = {0};
    for (int i = 0; i < 1000 && (i == 0 || counters.refused[which] < wanted); i++) {
        sleep_ms(5);
        rpc_server_counters(bed->f->server, &counters);
    }
    assert_int_equal(counters.refused[which], wanted);
}

/* Callers that hold a call each, with so much of its arena. */
struct holder {
    pthread_t thread;
    struct rpc_channel *channel;
    uint64_t memory;
    bool ok;
    struct err err;
};

static void *hold_call(void *arg)
{
    struct holder *holder = arg;
    const chunk_type *reply;
    AUTO_ARENA(arena, MIB);
    holder->ok = fixture_call(holder->channel, "/test.T/Hold", holder->memory, BYTES_NONE, NULL, &arena, &reply,
                              &holder->err);
    return NULL;
}

static void start_holders(struct holder *holders, size_t count, struct rpc_channel *channel, uint64_t memory)
{
    int before = holding;
    for (size_t i = 0; i < count; i++) {
        holders[i] = (struct holder){.channel = channel, .memory = memory};
        assert_int_equal(pthread_create(&holders[i].thread, NULL, hold_call, &holders[i]), 0);
    }
    assert_true(eventually(&holding, before + (int)count));
}

static void let_go(struct holder *holders, size_t count)
{
    go = true;
    for (size_t i = 0; i < count; i++) {
        pthread_join(holders[i].thread, NULL);
        assert_true(holders[i].ok);
    }
}

static void test_limits__one_caller_has_so_many_calls_at_once_and_others_have_theirs(void **state)
{
    struct bed *bed = *state;
    struct holder holders[6];
    struct err err;
    start_holders(holders, COUNT(holders), bed->f->channel, 0);
    assert_err(ERR_TOO_MUCH, echo_on(bed->f->channel, 10, &err));
    assert_int_equal(err.reason, REASON(OVERLOADED));
    assert_refused(bed, RPC_REFUSED_CALLS, 1);
    assert_ok(echo_on(bed->other, 10, &err));
    let_go(holders, COUNT(holders));
    assert_ok(echo_on(bed->f->channel, 10, &err));
}

static void test_limits__the_memory_of_all_calls_is_kept_and_shared(void **state)
{
    struct bed *bed = *state;
    struct holder first[3], second[1];
    struct err err;
    const chunk_type *reply;
    struct rpc_counters counters;
    AUTO_ARENA(arena, MIB);
    start_holders(first, COUNT(first), bed->f->channel, 5 * MIB);
    /* Its share of 16 MiB is used up: the next 5 are not for this caller, they are for the other. */
    assert_err(ERR_TOO_MUCH,
               fixture_call(bed->f->channel, "/test.T/Hold", 5 * MIB, BYTES_NONE, NULL, &arena, &reply, &err));
    assert_int_equal(err.reason, REASON(OVERLOADED));
    assert_refused(bed, RPC_REFUSED_SHARE, 1);
    start_holders(second, COUNT(second), bed->other, 5 * MIB);
    assert_err(ERR_TOO_MUCH,
               fixture_call(bed->other, "/test.T/Hold", 5 * MIB, BYTES_NONE, NULL, &arena, &reply, &err));
    assert_int_equal(err.reason, REASON(OVERLOADED));
    assert_refused(bed, RPC_REFUSED_MEMORY, 1);
    rpc_counters(bed->f->rpc, &counters);
    assert_true(counters.memory > 20 * MIB && counters.memory <= 24 * MIB);
    assert_int_equal(counters.memory_max, 24 * MIB);
    let_go(first, COUNT(first));
    let_go(second, COUNT(second));
    for (int i = 0; i < 500 && counters.memory; i++) {
        sleep_ms(5);
        rpc_counters(bed->f->rpc, &counters);
    }
    assert_int_equal(counters.memory, 0);
}

static void test_limits__one_call_over_its_own_budget_is_too_large_not_overload(void **state)
{
    struct bed *bed = *state;
    struct err err;
    const chunk_type *reply;
    AUTO_ARENA(arena, MIB);
    assert_err(ERR_TOO_MUCH,
               fixture_call(bed->f->channel, "/test.T/Hold", 9 * MIB, BYTES_NONE, NULL, &arena, &reply, &err));
    assert_int_not_equal(err.reason, REASON(OVERLOADED));
    assert_refused(bed, RPC_REFUSED_SHARE, 0);
}

static void test_limits__messages_that_wait_to_be_taken_are_bounded_by_caller(void **state)
{
    struct bed *bed = *state;
    struct err err;
    struct rpc_call *stream;
    const ProtobufCMessage *message;
    static const uint8_t bytes[300000];
    chunk_type chunk = chunk_of(1, BYTES(bytes, sizeof bytes));
    assert_ok(rpc_start(bed->f->channel, "/test.T/Events", CHUNK, NULL, &stream, &err));
    assert_true(eventually(&streams_open, 1));
    int offered = 0;
    while (rpc_stream_offer(stream_held, &chunk.base, &err)) {
        offered++;
        assert_true(offered < 100);
        sleep_ms(5);
    }
    assert_int_equal(err.code, ERR_TOO_MUCH);
    assert_int_equal(err.reason, REASON(OVERLOADED));
    for (int i = 0; i < offered; i++) {
        assert_ok(rpc_recv(stream, &message, &err));
    }
    assert_ok(echo_on(bed->f->channel, MIB, &err));
    rpc_call_free(stream);
    assert_true(eventually(&streams_open, 0));
}

static void test_limits__one_caller_has_so_many_streams_at_once(void **state)
{
    struct bed *bed = *state;
    struct err err;
    struct rpc_call *streams[3], *more;
    const ProtobufCMessage *message;
    for (int i = 0; i < 3; i++) {
        assert_ok(rpc_start(bed->f->channel, "/test.T/Events", CHUNK, NULL, &streams[i], &err));
        assert_true(eventually(&streams_open, i + 1));
    }
    assert_ok(rpc_start(bed->f->channel, "/test.T/Events", CHUNK, NULL, &more, &err));
    assert_err(ERR_TOO_MUCH, rpc_recv(more, &message, &err));
    assert_int_equal(err.reason, REASON(OVERLOADED));
    rpc_call_free(more);
    assert_refused(bed, RPC_REFUSED_STREAMS, 1);
    assert_ok(echo_on(bed->f->channel, 10, &err));         /* calls are another limit */
    for (int i = 0; i < 3; i++) {
        rpc_call_free(streams[i]);
    }
    assert_true(eventually(&streams_open, 0));
    assert_ok(rpc_start(bed->f->channel, "/test.T/Events", CHUNK, NULL, &more, &err));
    assert_true(eventually(&streams_open, 1));
    rpc_call_free(more);
    assert_true(eventually(&streams_open, 0));
}

static void test_limits__one_caller_has_so_many_connections(void **state)
{
    struct bed *bed = *state;
    struct err err;
    struct rpc_channel *channels[4];
    struct rpc_server_counters counters;
    for (size_t i = 0; i < COUNT(channels); i++) {
        channels[i] = fixture_dial(bed->f, bed->f->server, &bed->f->client_cert);
        bool ok = echo_on(channels[i], 10, &err);
        assert_true(ok == (i < 3));
    }
    assert_int_equal(err.reason, REASON(OVERLOADED));
    assert_refused(bed, RPC_REFUSED_CONNECTIONS, 1);
    for (int i = 0; i < 5; i++) {
        assert_ok(echo_on(channels[0], 10, &err));
    }
    assert_ok(echo_on(bed->other, 10, &err));
    rpc_server_counters(bed->f->server, &counters);
    assert_int_equal(counters.connections, 5);             /* one entry each, however many calls */
    assert_int_equal(counters.principals, 2);
    for (size_t i = 0; i < COUNT(channels); i++) {
        rpc_channel_close(channels[i]);
    }
    for (int i = 0; i < 1000 && counters.connections != 1; i++) {
        sleep_ms(5);
        rpc_server_counters(bed->f->server, &counters);
    }
    assert_int_equal(counters.connections, 1);
    assert_ok(echo_on(bed->f->channel, 10, &err));
}

static void test_limits__an_upload_without_progress_is_cut_off_and_a_slow_one_is_not(void **state)
{
    struct bed *bed = *state;
    struct err err;
    struct rpc_call *call;
    const ProtobufCMessage *message;
    chunk_type chunk = chunk_of(1, BYTES_LIT("x"));
    assert_ok(rpc_start(bed->f->channel, "/test.T/Up", CHUNK, NULL, &call, &err));
    for (int i = 0; i < 5; i++) {
        assert_ok(rpc_send(call, &chunk.base, &err));
        sleep_ms(250);
    }
    assert_err(ERR_TOO_MUCH, rpc_recv(call, &message, &err));
    rpc_call_free(call);
    assert_refused(bed, RPC_CUT_WRITER, 1);
    assert_ok(rpc_start(bed->f->channel, "/test.T/Up", CHUNK, NULL, &call, &err));
    for (int i = 0; i < 5; i++) {
        assert_ok(rpc_send(call, &chunk.base, &err));
        sleep_ms(250);
    }
    assert_ok(rpc_finish(call, &err));
    rpc_call_free(call);
}

/* ---- who is no longer welcome ---- */

static void test_limits__whoever_is_no_longer_welcome_loses_streams_calls_and_connection(void **state)
{
    struct bed *bed = *state;
    struct err err;
    struct rpc_call *stream, *others;
    const ProtobufCMessage *message;
    struct holder held;
    struct rpc_server_counters counters = {0};
    assert_ok(rpc_start(bed->f->channel, "/test.T/Events", CHUNK, NULL, &stream, &err));
    assert_ok(rpc_start(bed->other, "/test.T/Events", CHUNK, NULL, &others, &err));
    assert_true(eventually(&streams_open, 2));
    start_holders(&held, 1, bed->f->channel, 0);
    rpc_server_recheck(bed->f->server);                    /* nobody is unwelcome: nothing happens */
    sleep_ms(500);
    assert_int_equal(streams_open, 2);
    assert_int_equal(holding, 1);

    unwelcome = CLIENT_ID;
    assert_err(ERR_DENIED, echo_on(bed->f->channel, 10, &err));            /* a new call, at once */
    assert_string_equal(err.text, "not any more");
    assert_refused(bed, RPC_REFUSED_UNWELCOME, 1);
    assert_int_equal(streams_open, 2);
    rpc_server_recheck(bed->f->server);
    assert_err(ERR_DENIED, rpc_recv(stream, &message, &err));
    pthread_join(held.thread, NULL);
    assert_false(held.ok);
    assert_int_equal(held.err.code, ERR_DENIED);
    assert_true(eventually(&streams_open, 1));
    for (int i = 0; i < 1000 && counters.connections != 1; i++) {
        sleep_ms(5);
        rpc_server_counters(bed->f->server, &counters);
    }
    assert_int_equal(counters.connections_cut, 1);
    assert_ok(echo_on(bed->other, 10, &err));
    rpc_call_free(stream);
    rpc_call_free(others);
    assert_true(eventually(&streams_open, 0));
}

/* ---- the watchdog ---- */

static void test_watchdog__a_server_that_answers_is_left_alone(void **state)
{
    struct bed *bed = *state;
    struct err err;
    struct rpc_counters counters;
    for (int i = 0; i < 1000; i++) {
        rpc_counters(bed->f->rpc, &counters);
        if (counters.connections_silent >= 4) {            /* each try is a connection without a call */
            break;
        }
        sleep_ms(5);
    }
    assert_true(counters.connections_silent >= 4);
    assert_int_equal(deaf, 0);
    assert_ok(echo_on(bed->f->channel, 10, &err));
}

static int listener_of(int port)
{
    for (int fd = 3; fd < 200; fd++) {
        int listens = 0;
        struct sockaddr_storage address;
        socklen_t len = sizeof listens, room = sizeof address;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens &&
            getsockname(fd, (struct sockaddr *)&address, &room) == 0) {
            uint16_t bound = (uint16_t)(((uint8_t *)&address)[2] << 8 | ((uint8_t *)&address)[3]);
            if (bound == port) {
                return fd;
            }
        }
    }
    return -1;
}

static void test_watchdog__a_listener_that_has_died_is_told(void **state)
{
    struct bed *bed = *state;
    int fd = listener_of(rpc_server_port(bed->f->server));
    assert_true(fd >= 0);
    assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
    for (int i = 0; i < 4000 && !deaf; i++) {
        sleep_ms(5);
    }
    assert_int_equal(deaf, 1);
    assert_non_null(strstr(deaf_why.text, "nobody accepts"));
}

#define T(name) cmocka_unit_test_setup_teardown(test_limits__##name, begin, end)
#define W(name) cmocka_unit_test_setup_teardown(test_watchdog__##name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(one_caller_has_so_many_calls_at_once_and_others_have_theirs),
        T(the_memory_of_all_calls_is_kept_and_shared),
        T(one_call_over_its_own_budget_is_too_large_not_overload),
        T(messages_that_wait_to_be_taken_are_bounded_by_caller),
        T(one_caller_has_so_many_streams_at_once),
        T(one_caller_has_so_many_connections),
        T(an_upload_without_progress_is_cut_off_and_a_slow_one_is_not),
        T(whoever_is_no_longer_welcome_loses_streams_calls_and_connection),
        W(a_server_that_answers_is_left_alone),
        W(a_listener_that_has_died_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
