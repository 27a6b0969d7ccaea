/* Calls of every kind, their errors, limits and ends, over real sockets. */
#include "proto/rpc/rpc.h"

#include <pthread.h>
#include <stdatomic.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/rpc/health.pb-c.h"
#include "proto/rpc/reflection.pb-c.h"
#include "tests/lib/rpc.h"

#define REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name
enum { BIG = 100000 };

/* ---- the service under test ---- */

enum behaviour { ECHO, REFUSE, WAIT, BREAK, SAY_NOTHING, TELL_USER, DEAF };

static atomic_int saw_cancel, outcomes;
static _Atomic uint32_t last_outcome;

static bool behave(struct rpc_call *call, void *ctx, const ProtobufCMessage *message, ProtobufCMessage *out,
                   struct err *err)
{
    const chunk_type *request = (const void *)message;
    chunk_type *reply = (void *)out;
    const char *user = "";
    (void)ctx;
    switch (request->index) {
    case REFUSE:
        return err_raise_field(err, REASON(FIELD_INVALID), "facts.class", "class %s: unknown", "\xc3\xa9");
    case WAIT:
        for (int i = 0; i < 500 && !rpc_cancelled(call); i++) {
            sleep_ms(10);
        }
        saw_cancel += rpc_cancelled(call);
        return rpc_cancelled(call) ? err_raise(err, ERR_CANCELLED, "waited until it was over")
                                   : err_raise(err, ERR_STATE, "waited");
    case BREAK:
        return err_raise(err, ERR_INTERNAL, "the secret of the house");
    case SAY_NOTHING:
        return false;
    case TELL_USER:
        if (!rpc_metadata_needed(call, "x-chartmesh-user", &user, err)) {
            return false;
        }
        reply->coded = (ProtobufCBinaryData){strlen(user), (uint8_t *)user};
        return rpc_trailer(call, "x-extra", "\xc3\xa9 %", err);
    case DEAF:
        sleep_ms(1000);
        return true;
    default:
        reply->index = request->index;
        reply->coded = request->coded;
        return true;
    }
}

static bool down(struct rpc_call *call, void *ctx, const ProtobufCMessage *message, ProtobufCMessage *none,
                 struct err *err)
{
    const chunk_type *request = (const void *)message;
    static const uint8_t zeros[BIG];
    (void)none;
    for (uint64_t i = 0; i < request->index; i++) {
        chunk_type chunk = chunk_of(i, BYTES(zeros, BIG));
        if (!rpc_send(call, &chunk.base, err)) {
            saw_cancel++;
            return false;
        }
        *(atomic_int *)ctx += 1;
    }
    return true;
}

static bool up(struct rpc_call *call, void *ctx, const ProtobufCMessage *none, ProtobufCMessage *out,
               struct err *err)
{
    const ProtobufCMessage *message;
    uint64_t total = 0;
    (void)none;
    for (;;) {
        if (!rpc_recv(call, &message, err)) {
            saw_cancel++;
            return false;
        }
        if (!message) {
            ((chunk_type *)out)->index = total;
            return true;
        }
        total += ((const chunk_type *)message)->coded.len;
        *(atomic_int *)ctx += 1;
    }
}

static bool both(struct rpc_call *call, void *ctx, const ProtobufCMessage *none, ProtobufCMessage *out,
                 struct err *err)
{
    const ProtobufCMessage *message;
    (void)ctx;
    (void)none;
    (void)out;
    while (rpc_recv(call, &message, err)) {
        if (!message) {
            return true;
        }
        if (!rpc_send(call, message, err)) {
            return false;
        }
    }
    return false;
}

/* Streams by events: every message comes back; index 99 is answered by a refusal. */
static atomic_int streams_open;
static struct rpc_call *_Atomic held;

static void echo_message(struct rpc_call *stream, void *arg, const ProtobufCMessage *message)
{
    struct err err;
    (void)arg;
    if (((const chunk_type *)message)->index == 99) {
        err_raise_reason(&err, ERR_STATE, REASON(STATE), "not now");
        rpc_stream_close(stream, &err);
    } else if (!rpc_stream_offer(stream, message, &err)) {
        rpc_stream_close(stream, &err);
    }
}

static void echo_closed(struct rpc_call *stream, void *arg, const struct err *why)
{
    (void)arg;
    (void)why;
    if (held == stream) {
        held = NULL;
    }
    streams_open--;
}

static bool echo_open(struct rpc_call *stream, void *ctx, const ProtobufCMessage *request, struct err *err)
{
    static const struct rpc_events events = {.message = echo_message, .closed = echo_closed};
    (void)ctx;
    if (request && ((const chunk_type *)request)->index == 99) {
        return err_raise(err, ERR_DENIED, "not you");
    }
    streams_open++;
    held = stream;
    rpc_stream_listen(stream, &events, NULL);
    return true;
}

static atomic_int messages_seen;
#define BOTH_CHUNKS .in = CHUNK, .out = CHUNK
static const struct rpc_method methods[] = {
    {.path = "/test.T/Work", .kind = RPC_UNARY, .lane = RPC_WORK, .run = behave, BOTH_CHUNKS},
    {.path = "/test.T/Small",
     .kind = RPC_UNARY,
     .lane = RPC_WORK,
     .run = behave,
     .max_request = 100,
     .max_ms = 300,
     BOTH_CHUNKS},
    {.path = "/test.T/Lean", .kind = RPC_UNARY, .lane = RPC_WORK, .run = behave, .memory_max = 8192, BOTH_CHUNKS},
    {.path = "/test.T/Bulk", .kind = RPC_UNARY, .lane = RPC_BULK, .run = behave, BOTH_CHUNKS},
    {.path = "/test.T/Inline", .kind = RPC_UNARY, .lane = RPC_INLINE, .run = behave, BOTH_CHUNKS},
    {.path = "/test.T/Down", .kind = RPC_SERVER_STREAM, .lane = RPC_WORK, .run = down, BOTH_CHUNKS},
    {.path = "/test.T/Up", .kind = RPC_CLIENT_STREAM, .lane = RPC_WORK, .run = up, BOTH_CHUNKS},
    {.path = "/test.T/Both", .kind = RPC_BIDI, .lane = RPC_WORK, .run = both, BOTH_CHUNKS},
    {.path = "/test.T/Events", .kind = RPC_BIDI, .lane = RPC_WORK, .open = echo_open, BOTH_CHUNKS},
    {.path = "/test.T/EventsInline", .kind = RPC_BIDI, .lane = RPC_INLINE, .open = echo_open, BOTH_CHUNKS},
    {.path = "/test.T/Watch",
     .kind = RPC_SERVER_STREAM,
     .lane = RPC_WORK,
     .open = echo_open,
     .queue_max = 300000,
     BOTH_CHUNKS},
};
static const struct rpc_service service = {methods, COUNT(methods), &messages_seen};

static void finished(void *ctx, const struct rpc_outcome *outcome)
{
    (void)ctx;
    last_outcome = outcome->err->code;
    outcomes++;
}

static int begin(void **state)
{
    *state = fixture_begin(&service, 1, &(struct rpc_server_config){.finished = finished});
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

/* ---- unary ---- */

static void test_rpc__a_call_is_answered(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const chunk_type *reply;
    const char *paths[] = {"/test.T/Work", "/test.T/Bulk", "/test.T/Inline"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        AUTO_ARENA(arena, 1 << 20);
        assert_ok(fixture_call(f->channel, paths[i], 77, BYTES_LIT("hello"), NULL, &arena, &reply, &err));
        assert_int_equal(reply->index, 77);
        assert_bytes_equal(BYTES(reply->coded.data, reply->coded.len), BYTES_LIT("hello"));
    }
}

/* ---- calls that nobody waits for ---- */

struct answers {
    struct fixture *f;
    atomic_int left, echoed, refused;
};

static void chain(struct answers *a);

/* On the polling thread: begins the next one. */
static void answered(void *arg, const ProtobufCMessage *reply, const struct err *err)
{
    struct answers *a = arg;
    a->echoed += reply && ((const chunk_type *)reply)->coded.len == 5;
    a->refused += err && err->code == ERR_INVALID;
    if (--a->left > 0) {
        chain(a);
    }
}

static void chain(struct answers *a)
{
    struct err err;
    chunk_type request = chunk_of(a->left % 2 ? REFUSE : ECHO, BYTES_LIT("hello"));
    assert_ok(rpc_unary_begin(a->f->channel, "/test.T/Work", &request.base, CHUNK,
                              &(struct rpc_options){.wait_for_ready = true}, answered, a, &err));
}

static void test_rpc__a_call_that_nobody_waits_for_tells_how_it_ended(void **state)
{
    struct answers a = {.f = *state, .left = 10};
    chain(&a);
    assert_true(eventually(&a.left, 0));
    assert_int_equal(a.echoed, 5);
    assert_int_equal(a.refused, 5);
}

static void test_rpc__an_error_comes_back_with_code_reason_field_and_text(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 20);
    assert_err(ERR_INVALID,
               fixture_call(f->channel, "/test.T/Work", REFUSE, BYTES_NONE, NULL, &arena, &reply, &err));
    assert_int_equal(err.reason, REASON(FIELD_INVALID));
    assert_string_equal(err.field, "facts.class");
    assert_string_equal(err.text, "class \xc3\xa9: unknown");
}

static void test_rpc__an_internal_error_keeps_its_text_at_home(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 20);
    struct rpc_header id = {"x-request-id", "req-7"};
    struct rpc_options options = {.headers = &id, .header_count = 1};
    assert_err(ERR_INTERNAL,
               fixture_call(f->channel, "/test.T/Work", BREAK, BYTES_NONE, &options, &arena, &reply, &err));
    assert_string_equal(err.text, "internal error, request req-7");
    assert_err(ERR_INTERNAL,
               fixture_call(f->channel, "/test.T/Work", SAY_NOTHING, BYTES_NONE, NULL, &arena, &reply, &err));
    assert_null(strstr(err.text, "secret"));
}

static void test_rpc__an_unknown_method_is_answered_at_once(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 20);
    uint64_t begun = now_ms();
    assert_err(ERR_UNIMPLEMENTED,
               fixture_call(f->channel, "/test.T/Nothing", 0, BYTES_NONE, NULL, &arena, &reply, &err));
    assert_int_equal(err.reason, REASON(NOT_IMPLEMENTED));
    assert_true(now_ms() - begun < 5000);
}

static void test_rpc__metadata_travels_as_any_text(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 20);
    struct rpc_header user[] = {{"x-chartmesh-user", "Dr. M\xc3\xbcller 100%"}, {"x-chartmesh-user", "b"}};
    struct rpc_options options = {.headers = user, .header_count = 1};
    assert_ok(fixture_call(f->channel, "/test.T/Work", TELL_USER, BYTES_NONE, &options, &arena, &reply, &err));
    assert_bytes_equal(BYTES(reply->coded.data, reply->coded.len), bytes_str(user[0].value));
    assert_err(ERR_INVALID,
               fixture_call(f->channel, "/test.T/Work", TELL_USER, BYTES_NONE, NULL, &arena, &reply, &err));
    assert_int_equal(err.reason, REASON(FIELD_MISSING));
    assert_string_equal(err.field, "x-chartmesh-user");
    options.header_count = 2;
    assert_err(ERR_INVALID,
               fixture_call(f->channel, "/test.T/Work", TELL_USER, BYTES_NONE, &options, &arena, &reply, &err));
    assert_int_equal(err.reason, REASON(FIELD_INVALID));
}

static void test_rpc__names_that_are_gRPCs_own_are_refused_before_sending(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 20);
    const char *names[] = {"grpc-status", "te", "Upper", "x-bin", "", ":path", "a b"};
    for (size_t i = 0; i < COUNT(names); i++) {
        struct rpc_header header = {names[i], "v"};
        struct rpc_options options = {.headers = &header, .header_count = 1};
        assert_err(ERR_INVALID,
                   fixture_call(f->channel, "/test.T/Work", ECHO, BYTES_NONE, &options, &arena, &reply, &err));
    }
}

static void test_rpc__what_is_no_message_of_the_type_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const ProtobufCMessage *reply;
    AUTO_ARENA(arena, 1 << 20);
    /* A Hello's field 4 is a number where a Chunk has bytes; a ServiceResponse's text fits by chance. */
    Chartmesh__V1__Hello hello = CHARTMESH__V1__HELLO__INIT;
    hello.incarnation = 5;
    assert_err(ERR_INVALID, rpc_unary(f->channel, "/test.T/Work", &hello.base, CHUNK, NULL, &arena, &reply, &err));
    assert_int_equal(err.reason, REASON(MALFORMED));
    /* Unknown field. */
    Chartmesh__V1__Hello more = CHARTMESH__V1__HELLO__INIT;
    more.roster_version = 1;
    assert_err(ERR_INVALID, rpc_unary(f->channel, "/test.T/Work", &more.base, CHUNK, NULL, &arena, &reply, &err));
    assert_int_equal(err.reason, REASON(MALFORMED));
}

static void test_rpc__what_is_too_large_is_refused_and_the_connection_lives(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const chunk_type *reply;
    static const uint8_t bytes[3 << 20];
    AUTO_ARENA(arena, 16 << 20);
    assert_err(ERR_TOO_MUCH,
               fixture_call(f->channel, "/test.T/Small", ECHO, BYTES(bytes, 101), NULL, &arena, &reply, &err));
    assert_int_equal(err.reason, REASON(TOO_LARGE));
    assert_err(ERR_TOO_MUCH,
               fixture_call(f->channel, "/test.T/Lean", ECHO, BYTES(bytes, 20000), NULL, &arena, &reply, &err));
    assert_int_equal(err.reason, REASON(TOO_LARGE));
    assert_err(ERR_TOO_MUCH, fixture_call(f->channel, "/test.T/Work", ECHO, BYTES(bytes, sizeof bytes), NULL,
                                          &arena, &reply, &err));
    assert_ok(fixture_call(f->channel, "/test.T/Work", ECHO, BYTES(bytes, 1 << 20), NULL, &arena, &reply, &err));

    /* A client that does not stop itself. */
    struct rpc_channel *eager;
    assert_ok(rpc_channel_open(f->rpc,
                               &(struct rpc_channel_config){
                                   .target = f->target,
                                   .tls = {f->ca.certificate, f->client_cert.certificate, f->client_cert.key},
                                   .server_name = "node.test",
                                   .message_max = 8 << 20,
                               },
                               &eager, &err));
    assert_err(ERR_TOO_MUCH,
               fixture_call(eager, "/test.T/Work", ECHO, BYTES(bytes, sizeof bytes), NULL, &arena, &reply, &err));
    assert_ok(fixture_call(eager, "/test.T/Work", ECHO, BYTES(bytes, 10), NULL, &arena, &reply, &err));
    rpc_channel_close(eager);
}

static void test_rpc__a_deadline_ends_the_call_on_both_sides(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 20);
    saw_cancel = 0;
    uint64_t begun = now_ms();
    struct rpc_options options = {.timeout_ms = 200};
    assert_err(ERR_DEADLINE,
               fixture_call(f->channel, "/test.T/Work", WAIT, BYTES_NONE, &options, &arena, &reply, &err));
    assert_true(now_ms() - begun < 3000);
    assert_true(eventually(&saw_cancel, 1));
}

static void test_rpc__a_method_bounds_the_life_of_its_calls(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 20);
    saw_cancel = 0;
    uint64_t begun = now_ms();
    assert_false(fixture_call(f->channel, "/test.T/Small", WAIT, BYTES_NONE, NULL, &arena, &reply, &err));
    assert_true(now_ms() - begun < 3000);
    assert_true(eventually(&saw_cancel, 1));
}

struct busy {
    struct fixture *f;
    pthread_t thread;
    enum err_code code;
};

static void *call_bulk(void *arg)
{
    struct busy *busy = arg;
    struct err err = {0};
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 20);
    struct rpc_options options = {.timeout_ms = 20000};
    bool ok = fixture_call(busy->f->channel, "/test.T/Bulk", DEAF, BYTES_NONE, &options, &arena, &reply, &err);
    busy->code = ok ? ERR_NONE : err.code;
    return NULL;
}

static void test_rpc__a_full_lane_answers_at_once_and_other_lanes_go_on(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const chunk_type *reply;
    struct busy busy[8];
    AUTO_ARENA(arena, 1 << 20);
    for (size_t i = 0; i < COUNT(busy); i++) {
        busy[i].f = f;
        assert_int_equal(pthread_create(&busy[i].thread, NULL, call_bulk, &busy[i]), 0);
        sleep_ms(50);            /* one runs, one waits, the others are refused */
    }
    uint64_t begun = now_ms();
    assert_ok(fixture_call(f->channel, "/test.T/Work", ECHO, BYTES_NONE, NULL, &arena, &reply, &err));
    assert_err(ERR_TOO_MUCH,
               fixture_call(f->channel, "/test.T/Bulk", ECHO, BYTES_NONE, NULL, &arena, &reply, &err));
    assert_int_equal(err.reason, REASON(OVERLOADED));
    assert_true(now_ms() - begun < 600);
    int ok = 0, refused = 0;
    for (size_t i = 0; i < COUNT(busy); i++) {
        pthread_join(busy[i].thread, NULL);
        ok += busy[i].code == ERR_NONE;
        refused += busy[i].code == ERR_TOO_MUCH;
    }
    assert_true(ok >= 1 && ok <= 3);
    assert_int_equal(ok + refused, COUNT(busy));
}

static void test_rpc__every_call_has_one_outcome(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 20);
    sleep_ms(300);
    outcomes = 0;
    assert_ok(fixture_call(f->channel, "/test.T/Work", ECHO, BYTES_NONE, NULL, &arena, &reply, &err));
    assert_true(eventually(&outcomes, 1));
    assert_int_equal(last_outcome, ERR_NONE);
    assert_false(fixture_call(f->channel, "/test.T/None", ECHO, BYTES_NONE, NULL, &arena, &reply, &err));
    assert_true(eventually(&outcomes, 2));
    assert_int_equal(last_outcome, ERR_UNIMPLEMENTED);
    assert_false(fixture_call(f->channel, "/test.T/Work", BREAK, BYTES_NONE, NULL, &arena, &reply, &err));
    assert_true(eventually(&outcomes, 3));
    assert_int_equal(last_outcome, ERR_INTERNAL);
}

/* ---- streams that wait ---- */

static void test_rpc__a_download_arrives_whole(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_call *call;
    const ProtobufCMessage *message;
    chunk_type request = chunk_of(50, BYTES_NONE);
    assert_ok(rpc_start(f->channel, "/test.T/Down", CHUNK, NULL, &call, &err));
    assert_ok(rpc_send(call, &request.base, &err));
    assert_ok(rpc_end_sending(call, &err));
    for (uint64_t i = 0; i < 50; i++) {
        assert_ok(rpc_recv(call, &message, &err));
        assert_non_null(message);
        assert_int_equal(((const chunk_type *)message)->index, i);
        assert_int_equal(((const chunk_type *)message)->coded.len, BIG);
    }
    assert_ok(rpc_recv(call, &message, &err));
    assert_null(message);
    assert_ok(rpc_finish(call, &err));
    rpc_call_free(call);
}

static void test_rpc__a_sender_waits_for_a_slow_reader(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_call *call;
    const ProtobufCMessage *message;
    chunk_type request = chunk_of(1000, BYTES_NONE);
    saw_cancel = 0;
    messages_seen = 0;
    assert_ok(rpc_start(f->channel, "/test.T/Down", CHUNK, NULL, &call, &err));
    assert_ok(rpc_send(call, &request.base, &err));
    assert_ok(rpc_recv(call, &message, &err));
    sleep_ms(700);
    int ahead = messages_seen;
    assert_true(ahead < 100);                /* of 1000: about 10 MB at most */
    sleep_ms(200);
    assert_int_equal(messages_seen, ahead);
    rpc_cancel(call);
    while (rpc_recv(call, &message, &err) && message) {
    }
    assert_err(ERR_CANCELLED, rpc_finish(call, &err));
    rpc_call_free(call);
    assert_true(eventually(&saw_cancel, 1));
}

static void test_rpc__an_upload_arrives_whole(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_call *call;
    const ProtobufCMessage *reply;
    static const uint8_t bytes[BIG];
    chunk_type chunk = chunk_of(1, BYTES(bytes, BIG));
    assert_ok(rpc_start(f->channel, "/test.T/Up", CHUNK, NULL, &call, &err));
    for (int i = 0; i < 40; i++) {
        assert_ok(rpc_send(call, &chunk.base, &err));
    }
    assert_ok(rpc_end_sending(call, &err));
    assert_ok(rpc_recv(call, &reply, &err));
    assert_int_equal(((const chunk_type *)reply)->index, 40 * BIG);
    assert_ok(rpc_finish(call, &err));
    rpc_call_free(call);
}

static void test_rpc__an_upload_that_is_given_up_is_not_taken_for_whole(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_call *call;
    chunk_type chunk = chunk_of(1, BYTES_LIT("x"));
    saw_cancel = messages_seen = 0;
    assert_ok(rpc_start(f->channel, "/test.T/Up", CHUNK, NULL, &call, &err));
    assert_ok(rpc_send(call, &chunk.base, &err));
    assert_true(eventually(&messages_seen, 1));
    rpc_call_free(call);
    assert_true(eventually(&saw_cancel, 1));
}

static void test_rpc__both_sides_stream(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_call *call;
    const ProtobufCMessage *message;
    assert_ok(rpc_start(f->channel, "/test.T/Both", CHUNK, NULL, &call, &err));
    for (uint64_t i = 0; i < 200; i++) {
        chunk_type chunk = chunk_of(i, BYTES_LIT("ping"));
        assert_ok(rpc_send(call, &chunk.base, &err));
        assert_ok(rpc_recv(call, &message, &err));
        assert_int_equal(((const chunk_type *)message)->index, i);
    }
    assert_ok(rpc_finish(call, &err));
    rpc_call_free(call);
}

static void test_rpc__a_malformed_message_ends_a_stream(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_call *call;
    const ProtobufCMessage *message;
    Chartmesh__V1__Hello hello = CHARTMESH__V1__HELLO__INIT;
    hello.roster_version = 1;
    const char *paths[] = {"/test.T/Both", "/test.T/Events"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        assert_ok(rpc_start(f->channel, paths[i], CHUNK, NULL, &call, &err));
        assert_ok(rpc_send(call, &hello.base, &err));
        assert_err(ERR_INVALID, rpc_recv(call, &message, &err));
        assert_int_equal(err.reason, REASON(MALFORMED));
        assert_err(ERR_INVALID, rpc_finish(call, &err));
        rpc_call_free(call);
    }
}

/* ---- streams by events ---- */

struct listener {
    atomic_int messages, closed, room;
    uint64_t sum;
    struct err why;
};

static void count_message(struct rpc_call *stream, void *arg, const ProtobufCMessage *message)
{
    struct listener *listener = arg;
    (void)stream;
    listener->sum += ((const chunk_type *)message)->index;
    listener->messages++;
}

static void count_room(struct rpc_call *stream, void *arg)
{
    (void)stream;
    ((struct listener *)arg)->room++;
}

static void count_closed(struct rpc_call *stream, void *arg, const struct err *why)
{
    struct listener *listener = arg;
    (void)stream;
    listener->why = *why;
    listener->closed++;
}

static const struct rpc_events counting = {.message = count_message, .room = count_room, .closed = count_closed};

static void test_rpc__streams_by_events_carry_both_ways_and_close_once(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const char *paths[] = {"/test.T/Events", "/test.T/EventsInline"};
    for (size_t i = 0; i < 4; i++) {
        struct listener listener = {0};
        struct rpc_call *stream;
        struct rpc_options options = {.lane = i < 2 ? RPC_WORK : RPC_INLINE};
        assert_ok(rpc_stream_dial(f->channel, paths[i % 2], CHUNK, &options, &counting, &listener, &stream, &err));
        for (uint64_t n = 1; n <= 98; n++) {
            chunk_type chunk = chunk_of(n, BYTES_LIT("event"));
            assert_ok(rpc_stream_offer(stream, &chunk.base, &err));
        }
        assert_true(eventually(&listener.messages, 98));
        assert_int_equal(listener.sum, 98 * 99 / 2);
        rpc_stream_close(stream, NULL);
        assert_true(eventually(&listener.closed, 1));
        assert_int_equal(listener.why.code, ERR_NONE);
        assert_true(eventually(&streams_open, 0));
        assert_int_equal(listener.closed, 1);
    }
}

static void test_rpc__a_stream_closed_with_an_error_says_it_to_the_other_side(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct listener listener = {0};
    struct rpc_call *stream;
    chunk_type last = chunk_of(99, BYTES_NONE);
    assert_ok(rpc_stream_dial(f->channel, "/test.T/Events", CHUNK, NULL, &counting, &listener, &stream, &err));
    assert_ok(rpc_stream_offer(stream, &last.base, &err));
    assert_true(eventually(&listener.closed, 1));
    assert_int_equal(listener.why.code, ERR_STATE);
    assert_int_equal(listener.why.reason, REASON(STATE));
    assert_true(eventually(&streams_open, 0));
}

static void test_rpc__a_client_that_cancels_closes_the_servers_stream(void **state)
{
    struct fixture *f = *state;
    struct err err, why;
    struct listener listener = {0};
    struct rpc_call *stream;
    chunk_type chunk = chunk_of(1, BYTES_NONE);
    assert_ok(rpc_stream_dial(f->channel, "/test.T/Events", CHUNK, NULL, &counting, &listener, &stream, &err));
    assert_ok(rpc_stream_offer(stream, &chunk.base, &err));
    assert_true(eventually(&listener.messages, 1));
    rpc_stream_hold(stream);
    err_raise(&why, ERR_STATE, "enough");
    rpc_stream_close(stream, &why);
    assert_true(eventually(&listener.closed, 1));
    assert_int_equal(listener.why.code, ERR_STATE);
    assert_err(ERR_CANCELLED, rpc_stream_offer(stream, &chunk.base, &err));
    rpc_stream_drop(stream);
    assert_true(eventually(&streams_open, 0));
}

static void test_rpc__a_stream_may_be_refused_when_it_is_opened(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_call *call;
    const ProtobufCMessage *message;
    chunk_type request = chunk_of(99, BYTES_NONE);
    assert_ok(rpc_start(f->channel, "/test.T/Watch", CHUNK, NULL, &call, &err));
    assert_ok(rpc_send(call, &request.base, &err));
    assert_ok(rpc_end_sending(call, &err));
    assert_err(ERR_DENIED, rpc_recv(call, &message, &err));
    rpc_call_free(call);
}

static void test_rpc__a_full_queue_refuses_and_says_when_there_is_room(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_call *call;
    static const uint8_t bytes[BIG];
    chunk_type request = chunk_of(1, BYTES_NONE), chunk = chunk_of(1, BYTES(bytes, BIG));
    const ProtobufCMessage *message;
    assert_ok(rpc_start(f->channel, "/test.T/Watch", CHUNK, NULL, &call, &err));
    assert_ok(rpc_send(call, &request.base, &err));
    assert_ok(rpc_end_sending(call, &err));
    assert_true(eventually(&streams_open, 1));
    while (!held) {
        sleep_ms(1);
    }
    int offered = 0;
    for (int quiet = 0; quiet < 20;) {
        if (rpc_stream_offer(held, &chunk.base, &err)) {
            offered++;
            quiet = 0;
        } else {
            assert_int_equal(err.code, ERR_TOO_MUCH);
            quiet++;
            sleep_ms(10);
        }
        assert_true(offered < 1000);         /* a client that does not read bounds what is taken */
    }
    for (int i = 0; i < offered; i++) {
        assert_ok(rpc_recv(call, &message, &err));
        assert_non_null(message);
    }
    assert_ok(rpc_stream_offer(held, &chunk.base, &err));
    rpc_call_free(call);
    assert_true(eventually(&streams_open, 0));
}

static void test_rpc__a_paused_stream_reads_no_further(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct listener listener = {0};
    struct rpc_call *stream;
    assert_ok(rpc_stream_dial(f->channel, "/test.T/Events", CHUNK, NULL, &counting, &listener, &stream, &err));
    rpc_stream_pause(stream);
    for (uint64_t n = 0; n < 20; n++) {
        chunk_type chunk = chunk_of(n, BYTES_NONE);
        assert_ok(rpc_stream_offer(stream, &chunk.base, &err));
    }
    sleep_ms(200);
    assert_true(listener.messages <= 1);     /* one read was under way */
    rpc_stream_resume(stream);
    assert_true(eventually(&listener.messages, 20));
    rpc_stream_close(stream, NULL);
    assert_true(eventually(&listener.closed, 1));
}

/* ---- health and reflection ---- */

typedef Grpc__Health__V1__HealthCheckResponse health_type;
#define HEALTH(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

static bool ask_health(struct fixture *f, const char *name, struct arena *arena, int *status, struct err *err)
{
    const ProtobufCMessage *reply;
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    request.service = (char *)name;
    if (!rpc_unary(f->channel, "/grpc.health.v1.Health/Check", &request.base,
                   &grpc__health__v1__health_check_response__descriptor, NULL, arena, &reply, err)) {
        return false;
    }
    *status = ((const health_type *)reply)->status;
    return true;
}

static void test_rpc__health_answers_for_the_services_there_are(void **state)
{
    struct fixture *f = *state;
    struct err err;
    int status;
    AUTO_ARENA(arena, 1 << 20);
    assert_ok(ask_health(f, "", &arena, &status, &err));
    assert_int_equal(status, HEALTH(SERVING));
    assert_ok(ask_health(f, "test.T", &arena, &status, &err));
    assert_err(ERR_NOT_FOUND, ask_health(f, "test", &arena, &status, &err));
    rpc_server_serving(f->server, false);
    assert_ok(ask_health(f, "test.T", &arena, &status, &err));
    assert_int_equal(status, HEALTH(NOT_SERVING));
    rpc_server_serving(f->server, true);
}

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

static void test_rpc__reflection_lists_services_and_gives_their_files(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_call *call;
    const ProtobufCMessage *message;
    const char *paths[] = {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                           "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
        assert_ok(rpc_start(f->channel, paths[i], &grpc__reflection__v1__server_reflection_response__descriptor,
                            NULL, &call, &err));
        request.message_request_case =
            GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES;
        request.list_services = "";
        assert_ok(rpc_send(call, &request.base, &err));
        assert_ok(rpc_recv(call, &message, &err));
        assert_int_equal(((const reflection_response *)message)->list_services_response->n_service, 4);

        request.message_request_case =
            GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL;
        request.file_containing_symbol = "chartmesh.v1.Records.Put";
        assert_ok(rpc_send(call, &request.base, &err));
        assert_ok(rpc_recv(call, &message, &err));
        assert_true(((const reflection_response *)message)->file_descriptor_response->n_file_descriptor_proto > 3);

        request.file_containing_symbol = "chartmesh.v1.Nothing";
        assert_ok(rpc_send(call, &request.base, &err));
        assert_ok(rpc_recv(call, &message, &err));
        assert_int_equal(((const reflection_response *)message)->error_response->error_code, 5);
        assert_ok(rpc_finish(call, &err));
        rpc_call_free(call);
    }
}

/* ---- a table that cannot be ---- */

static void test_rpc__a_table_that_cannot_be_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_server *server;
    const struct rpc_method bad[] = {
        {.path = "/test.T/Both", .kind = RPC_BIDI, .lane = RPC_INLINE, .run = both, BOTH_CHUNKS},
        {.path = "/test.T/Open", .kind = RPC_UNARY, .open = echo_open, BOTH_CHUNKS},
        {.path = "/test.T/Neither", .kind = RPC_UNARY, BOTH_CHUNKS},
        {.path = "test.T/Slash", .kind = RPC_UNARY, .run = behave, BOTH_CHUNKS},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct rpc_service one = {&bad[i], 1, NULL};
        struct rpc_server_config config = {
            .address = "127.0.0.1:0",
            .tls = {f->ca.certificate, f->server_cert.certificate, f->server_cert.key},
            .services = &one,
            .count = 1,
        };
        assert_err(ERR_INVALID, rpc_server_open(f->rpc, &config, &server, &err));
    }
    struct rpc_service twice[] = {service, service};
    struct rpc_server_config config = {
        .address = f->target,
        .tls = {f->ca.certificate, f->server_cert.certificate, f->server_cert.key},
        .services = twice,
        .count = 2,
    };
    assert_err(ERR_INVALID, rpc_server_open(f->rpc, &config, &server, &err));
    config.count = 1;
    assert_err(ERR_UNAVAILABLE, rpc_server_open(f->rpc, &config, &server, &err));   /* the port is taken */
    config.tls.key_pem = NULL;
    assert_err(ERR_INVALID, rpc_server_open(f->rpc, &config, &server, &err));
    struct rpc *second;
    assert_err(ERR_STATE, rpc_open(&(struct rpc_config){0}, &second, &err));
}

#define T(name) cmocka_unit_test(test_rpc__##name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_call_is_answered),
        T(a_call_that_nobody_waits_for_tells_how_it_ended),
        T(an_error_comes_back_with_code_reason_field_and_text),
        T(an_internal_error_keeps_its_text_at_home),
        T(an_unknown_method_is_answered_at_once),
        T(metadata_travels_as_any_text),
        T(names_that_are_gRPCs_own_are_refused_before_sending),
        T(what_is_no_message_of_the_type_is_refused),
        T(what_is_too_large_is_refused_and_the_connection_lives),
        T(a_deadline_ends_the_call_on_both_sides),
        T(a_method_bounds_the_life_of_its_calls),
        T(a_full_lane_answers_at_once_and_other_lanes_go_on),
        T(every_call_has_one_outcome),
        T(a_download_arrives_whole),
        T(a_sender_waits_for_a_slow_reader),
        T(an_upload_arrives_whole),
        T(an_upload_that_is_given_up_is_not_taken_for_whole),
        T(both_sides_stream),
        T(a_malformed_message_ends_a_stream),
        T(streams_by_events_carry_both_ways_and_close_once),
        T(a_stream_closed_with_an_error_says_it_to_the_other_side),
        T(a_client_that_cancels_closes_the_servers_stream),
        T(a_stream_may_be_refused_when_it_is_opened),
        T(a_full_queue_refuses_and_says_when_there_is_room),
        T(a_paused_stream_reads_no_further),
        T(health_answers_for_the_services_there_are),
        T(reflection_lists_services_and_gives_their_files),
        T(a_table_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
