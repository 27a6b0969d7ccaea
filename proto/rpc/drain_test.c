/* How a server ends: without hanging, without crashing, and its clients know why. */
#include "proto/rpc/rpc.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/rpc/health.pb-c.h"
#include "tests/lib/rpc.h"

#define REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name

static atomic_int running, saw_cancel;

/* Works for `index` ms; with "polite" it stops when it is told to. */
static bool work(struct rpc_call *call, void *ctx, const ProtobufCMessage *message, ProtobufCMessage *out,
                 struct err *err)
{
    const chunk_type *request = (const void *)message;
    (void)ctx;
    (void)out;
    running++;
    for (uint64_t begun = now_ms(); now_ms() - begun < request->index;) {
        if (request->coded.len && rpc_cancelled(call)) {
            saw_cancel++;
            running--;
            return err_raise(err, ERR_CANCELLED, "told to stop");
        }
        sleep_ms(5);
    }
    running--;
    return true;
}

static void closed(struct rpc_call *stream, void *arg, const struct err *why)
{
    (void)stream;
    (void)arg;
    (void)why;
    running--;
}

static bool open_stream(struct rpc_call *stream, void *ctx, const ProtobufCMessage *none, struct err *err)
{
    static const struct rpc_events events = {.closed = closed};
    (void)ctx;
    (void)none;
    (void)err;
    running++;
    rpc_stream_listen(stream, &events, NULL);
    return true;
}

static const struct rpc_method methods[] = {
    {.path = "/test.T/Work", .kind = RPC_UNARY, .lane = RPC_WORK, .run = work, .in = CHUNK, .out = CHUNK},
    {.path = "/test.T/Events", .kind = RPC_BIDI, .lane = RPC_WORK, .open = open_stream, .in = CHUNK, .out = CHUNK},
};
static const struct rpc_service service = {methods, COUNT(methods), NULL};

static int begin(void **state)
{
    running = saw_cancel = 0;
    *state = fixture_begin(&service, 1, NULL);
    return 0;
}

static int end(void **state)
{
    fixture_end(*state);
    return 0;
}

static bool eventually(const atomic_int *value, int wanted)
{
    for (int i = 0; i < 500 && *value != wanted; i++) {
        sleep_ms(10);
    }
    return *value == wanted;
}

struct caller {
    struct fixture *f;
    pthread_t thread;
    uint64_t ms;
    struct bytes polite;
    bool ok;
    struct err err;
};

static void *call_work(void *arg)
{
    struct caller *caller = arg;
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 20);
    caller->ok = fixture_call(caller->f->channel, "/test.T/Work", caller->ms, caller->polite, NULL, &arena, &reply,
                              &caller->err);
    return NULL;
}

static void start_caller(struct caller *caller)
{
    assert_int_equal(pthread_create(&caller->thread, NULL, call_work, caller), 0);
    assert_true(eventually(&running, 1));
}

static void test_drain__an_idle_server_ends_at_once_and_lets_nobody_in(void **state)
{
    struct fixture *f = *state;
    struct caller first = {.f = f}, late = {.f = f};
    call_work(&first);
    assert_true(first.ok);
    uint64_t begun = now_ms();
    assert_int_equal(rpc_server_drain(f->server, 3000, 6000), RPC_DRAINED);
    assert_true(now_ms() - begun < 2000);
    call_work(&late);
    assert_false(late.ok);
    assert_int_equal(late.err.code, ERR_UNAVAILABLE);
}

static void test_drain__a_call_under_way_is_finished(void **state)
{
    struct fixture *f = *state;
    struct caller caller = {.f = f, .ms = 500};
    start_caller(&caller);
    uint64_t begun = now_ms();
    assert_int_equal(rpc_server_drain(f->server, 5000, 8000), RPC_DRAINED);
    assert_true(now_ms() - begun < 3000);
    pthread_join(caller.thread, NULL);
    assert_true(caller.ok);
}

static void test_drain__a_long_call_is_told_to_stop_after_the_grace(void **state)
{
    struct fixture *f = *state;
    struct caller caller = {.f = f, .ms = 10000, .polite = BYTES_LIT("polite")};
    start_caller(&caller);
    uint64_t begun = now_ms();
    assert_int_equal(rpc_server_drain(f->server, 300, 8000), RPC_FORCED);
    assert_true(now_ms() - begun < 3000);
    assert_int_equal(saw_cancel, 1);
    pthread_join(caller.thread, NULL);
    assert_false(caller.ok);
    assert_int_equal(caller.err.code, ERR_UNAVAILABLE);
}

static void test_drain__a_deaf_handler_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct caller caller = {.f = f, .ms = 1200};
    start_caller(&caller);
    assert_int_equal(rpc_server_drain(f->server, 100, 300), RPC_STUCK);
    assert_int_equal(running, 1);
    assert_int_not_equal(rpc_server_drain(f->server, 0, 8000), RPC_STUCK);
    assert_int_equal(running, 0);
    pthread_join(caller.thread, NULL);
    assert_false(caller.ok);
}

static void test_drain__half_made_connections_do_not_hold_it(void **state)
{
    struct fixture *f = *state;
    int fds[5];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)rpc_server_port(f->server))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&to, sizeof to), 0);
    }
    sleep_ms(100);
    uint64_t begun = now_ms();
    assert_int_equal(rpc_server_drain(f->server, 3000, 6000), RPC_DRAINED);
    assert_true(now_ms() - begun < 2000);
    for (size_t i = 0; i < COUNT(fds); i++) {
        close(fds[i]);
    }
}

struct listener {
    atomic_int closed;
    struct err why;
};

static void dialled_closed(struct rpc_call *stream, void *arg, const struct err *why)
{
    struct listener *listener = arg;
    (void)stream;
    listener->why = *why;
    listener->closed = 1;
}

static void test_drain__streams_by_events_are_closed_and_told_why(void **state)
{
    static const struct rpc_events events = {.closed = dialled_closed};
    struct fixture *f = *state;
    struct err err;
    struct listener listener = {0};
    struct rpc_call *stream;
    assert_ok(rpc_stream_dial(f->channel, "/test.T/Events", CHUNK, NULL, &events, &listener, &stream, &err));
    assert_true(eventually(&running, 1));
    assert_int_equal(rpc_server_drain(f->server, 3000, 6000), RPC_DRAINED);
    assert_true(eventually(&listener.closed, 1));
    assert_int_equal(listener.why.code, ERR_UNAVAILABLE);
    assert_int_equal(listener.why.reason, REASON(DRAINING));
    assert_int_equal(running, 0);
}

static void test_drain__whoever_watches_health_sees_it_coming(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_call *watch;
    const ProtobufCMessage *message;
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    assert_ok(rpc_start(f->channel, "/grpc.health.v1.Health/Watch",
                        &grpc__health__v1__health_check_response__descriptor, NULL, &watch, &err));
    assert_ok(rpc_send(watch, &request.base, &err));
    assert_ok(rpc_end_sending(watch, &err));
    assert_ok(rpc_recv(watch, &message, &err));
    assert_int_equal(((const Grpc__Health__V1__HealthCheckResponse *)message)->status, 1);
    assert_int_equal(rpc_server_drain(f->server, 3000, 6000), RPC_DRAINED);
    assert_ok(rpc_recv(watch, &message, &err));
    assert_non_null(message);
    assert_int_equal(((const Grpc__Health__V1__HealthCheckResponse *)message)->status, 2);
    assert_ok(rpc_recv(watch, &message, &err));
    assert_null(message);
    assert_ok(rpc_finish(watch, &err));
    rpc_call_free(watch);
}

static void test_drain__a_channel_finds_its_server_again(void **state)
{
    static const struct rpc_events events = {.closed = dialled_closed};
    struct fixture *f = *state;
    struct err err;
    struct listener listener = {0};
    struct rpc_call *stream;
    struct caller caller = {.f = f};
    call_work(&caller);
    assert_true(caller.ok);
    rpc_server_close(f->server);
    f->server = NULL;
    assert_ok(rpc_stream_dial(f->channel, "/test.T/Events", CHUNK, NULL, &events, &listener, &stream, &err));
    assert_true(eventually(&listener.closed, 1));
    assert_int_equal(listener.why.code, ERR_UNAVAILABLE);

    f->server = fixture_server(f, &service, 1, &(struct rpc_server_config){.address = f->target});
    uint64_t begun = now_ms();
    do {
        sleep_ms(20);
        call_work(&caller);
    } while (!caller.ok && now_ms() - begun < 10000);
    assert_true(caller.ok);
    print_message("found again after %d ms\n", (int)(now_ms() - begun));
}

#define T(name) cmocka_unit_test_setup_teardown(test_drain__##name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_idle_server_ends_at_once_and_lets_nobody_in), T(a_call_under_way_is_finished),
        T(a_long_call_is_told_to_stop_after_the_grace),    T(a_deaf_handler_is_waited_for),
        T(half_made_connections_do_not_hold_it),           T(streams_by_events_are_closed_and_told_why),
        T(whoever_watches_health_sees_it_coming),          T(a_channel_finds_its_server_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
