/* The way of one call through a server.
 *
 *   poller: arrival ─ arm the next slot ─ identity, method, gate, lane ─ read the request ─▶ lane
 *   lane:   unpack ─ handler ─ reply and status in one batch
 *   last reference: the outcome is counted and told, once
 *
 * Every method comes through one generic slot list: an unknown one is answered, and nothing of a body is read
 * before the gate has said yes. */
#include <stdlib.h>

#include <grpc/support/time.h>

#include "proto/rpc/limits.h"

enum {
    UNARY_MS = 60 * 1000,
    BLOCKING_STREAM_MS = 3600 * 1000,
    DETAILS_MEMORY_MAX = 64 << 10,
};

/* ---- the end of a call ---- */

static void add_trailer(struct rpc_call *call, const char *key, grpc_slice value)
{
    call->trailers[call->trailer_count].key = grpc_slice_from_static_string(key);
    call->trailers[call->trailer_count++].value = value;
}

static void add_details(struct rpc_call *call, const struct err *err, const char *text)
{
    AUTO_ARENA(arena, DETAILS_MEMORY_MAX);
    struct bytes details = status_pack(err, text, &arena);
    if (details.len) {
        add_trailer(call, "grpc-status-details-bin",
                    grpc_slice_from_copied_buffer((const char *)details.data, details.len));
    }
}

void server_send_status(struct rpc_call *call, grpc_byte_buffer *reply, const struct err *err)
{
    grpc_op ops[3] = {0};
    size_t count = 0;
    char text[sizeof err->text];
    grpc_slice text_slice = grpc_empty_slice();
    if (call->finishing) {
        return;
    }
    call->finishing = true;
    call->write_ms = call->rpc->now_ms;
    call->outcome = err ? *err : (struct err){0};
    call->out = call->out ? call->out : reply;
    if (call->over) {
        return;
    }
    if (!call->head_sent) {
        call->head_sent = true;
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    }
    if (reply) {
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = reply;
        call->bytes_out += grpc_byte_buffer_length(reply);
    }
    add_trailer(call, "x-request-id", slice_of(call->request_id));
    if (err) {
        status_text(err, call->request_id, text, sizeof text);
        text_slice = slice_of(text);
        add_details(call, err, text);
    }
    ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[count].data.send_status_from_server.status = (grpc_status_code)call->outcome.code;
    ops[count].data.send_status_from_server.status_details = &text_slice;
    ops[count].data.send_status_from_server.trailing_metadata = call->trailers;
    ops[count++].data.send_status_from_server.trailing_metadata_count = call->trailer_count;
    call_batch(call, ops, count, &call->finish);
    grpc_slice_unref(text_slice);
}

/* The reply's wire form; its bytes are the principal's until they are gone. */
static bool pack_reply(struct rpc_call *call, const ProtobufCMessage *reply, grpc_byte_buffer **out,
                       struct err *err)
{
    if (!buffer_pack(reply, call->server->config.message_max, out, err)) {
        return false;
    }
    size_t len = grpc_byte_buffer_length(*out);
    if (!limits_take(call, len)) {
        grpc_byte_buffer_destroy(*out);
        *out = NULL;
        return refusal_err(call->refusal, err);
    }
    call->out_len = len;
    return true;
}

void server_finish(struct rpc_call *call, const ProtobufCMessage *reply, const struct err *err)
{
    grpc_byte_buffer *buffer = NULL;
    struct err own;
    if (err && err->code == ERR_NONE) {
        err_raise(&own, ERR_INTERNAL, "a handler failed and did not say why");
        err = &own;
    } else if ((err && err->code == ERR_TOO_MUCH && limits_starved(call, &own)) ||
               (reply && !pack_reply(call, reply, &buffer, &own))) {
        err = &own;
    }
    pthread_mutex_lock(&call->lock);
    server_send_status(call, buffer, err);
    pthread_mutex_unlock(&call->lock);
    call_unref(call);
}

static void tell_outcome(struct rpc_call *call, uint64_t us)
{
    const struct rpc_server_config *config = &call->server->config;
    if (config->finished) {
        config->finished(config->ctx, &(struct rpc_outcome){
                                          .path = call->path,
                                          .request_id = call->request_id,
                                          .peer = &call->peer,
                                          .err = &call->outcome,
                                          .bytes_in = call->bytes_in,
                                          .bytes_out = call->bytes_out,
                                          .us = us,
                                      });
    }
}

void server_told(struct rpc_call *call)
{
    struct rpc_server *server = call->server;
    gpr_timespec took = gpr_time_sub(gpr_now(GPR_CLOCK_MONOTONIC), call->arrived);
    uint64_t us = (uint64_t)gpr_timespec_to_micros(took);
    pthread_mutex_lock(&server->lock);
    *(call->prev ? &call->prev->next : &server->live) = call->next;
    if (call->next) {
        call->next->prev = call->prev;
    }
    count_ended(call, us);
    pthread_mutex_unlock(&server->lock);
    tell_outcome(call, us);
}

void server_forget(struct rpc_call *call)
{
    struct rpc_server *server = call->server;
    grpc_call_unref(call->wire);
    call->wire = NULL;
    limits_leave(call);
    pthread_mutex_lock(&server->lock);
    server->live_count--;
    pthread_cond_broadcast(&server->moved);
    pthread_mutex_unlock(&server->lock);
}

/* ---- in the lane ---- */

static bool unpack_request(struct rpc_call *call, ProtobufCMessage **request, struct err *err)
{
    *request = NULL;
    return !call->in || buffer_unpack(call->receives, call->in, call->message_max, &call->arena, request, err);
}

static bool make_reply(struct rpc_call *call, ProtobufCMessage **reply, struct err *err)
{
    const struct rpc_method *method = call->bound->method;
    *reply = NULL;
    if (method->kind != RPC_UNARY && method->kind != RPC_CLIENT_STREAM) {
        return true;
    }
    void *room;
    if (!arena_alloc(&call->arena, method->out->sizeof_message, &room, err)) {
        return false;
    }
    *reply = room;
    protobuf_c_message_init(method->out, room);
    return true;
}

static void run_blocking(struct rpc_call *call, ProtobufCMessage *request)
{
    struct err err = {0};
    ProtobufCMessage *reply;
    bool ok =
        make_reply(call, &reply, &err) && call->bound->method->run(call, call->bound->ctx, request, reply, &err);
    /* The handler may see the deadline a moment before the caller does: both call it by the same name. */
    if (!ok && err.code == ERR_CANCELLED && rpc_ms_left(call) == 0) {
        (void)refusal_err(RPC_CUT_DEADLINE, &err);
    }
    server_finish(call, ok ? reply : NULL, ok ? NULL : &err);
}

static void run_open(struct rpc_call *call, ProtobufCMessage *request)
{
    struct err err = {0};
    const struct rpc_method *method = call->bound->method;
    call->stream.lane = method->lane;
    call->stream.queue_max = method->queue_max ? method->queue_max : QUEUE_MAX;
    if (!method->open(call, call->bound->ctx, request, &err)) {
        server_finish(call, NULL, &err);
    } else if (!call->stream.events || !call->stream.events->closed) {
        err_raise(&err, ERR_INTERNAL, "a stream was opened and nobody listens");
        server_finish(call, NULL, &err);
    } else {
        events_begin(call);
    }
}

static void run_call(void *arg)
{
    struct rpc_call *call = arg;
    struct err err = {0};
    ProtobufCMessage *request;
    pthread_mutex_lock(&call->lock);
    bool over = call->over;
    if (over) {
        call_over_err(call, &err);
    }
    call->phase = call->bound->method->open ? PHASE_OPENING : PHASE_BLOCKING;
    call->read_over = call->in != NULL;        /* a request that was read whole is the last there is */
    pthread_mutex_unlock(&call->lock);
    if (over || !unpack_request(call, &request, &err)) {
        server_finish(call, NULL, &err);
        return;
    }
    if (call->in) {
        call_drop_in(call, call->in, call->in_len);
        call->in = NULL;
        call->stream.ended_given = true;
    }
    if (call->bound->method->open) {
        run_open(call, request);
    } else {
        run_blocking(call, request);
    }
}

/* ---- on the polling thread ---- */

static void dispatch(struct rpc_call *call)
{
    struct err err;
    call->task = (struct task){.run = run_call, .arg = call};
    if (!lane_push(call->rpc, call->bound->method->lane, &call->task, false)) {
        call_refuse(call, RPC_REFUSED_LANE, &err);
        server_finish(call, NULL, &err);
    }
}

/* Why there is no request that a handler could be given. */
static void no_request(struct rpc_call *call, struct err *err)
{
    if (call->refusal) {
        refusal_err(call->refusal, err);
    } else if (!call->in && call->read_ok) {
        err_raise_reason(err, ERR_INVALID, REASON(MALFORMED), "the call has no request");
    } else if (!call->in && rpc_cancelled(call)) {
        call_over_err(call, err);
    } else {
        call_refuse(call, RPC_REFUSED_TOO_LARGE, err);
    }
}

void server_request_read(struct rpc_call *call)
{
    struct err err;
    if (call->in && grpc_byte_buffer_length(call->in) <= call->message_max) {
        dispatch(call);
    } else {
        no_request(call, &err);
        server_finish(call, NULL, &err);
    }
}

static bool find_method(struct rpc_call *call, struct err *err)
{
    struct rpc_server *server = call->server;
    const struct bound_method *found = server_method(server, call->path);
    if (!found) {
        return call_refuse(call, RPC_REFUSED_METHOD, err);
    }
    const struct rpc_method *method = found->method;
    pthread_mutex_lock(&server->lock);
    call->bound = found;
    count_begun(server, found);
    pthread_mutex_unlock(&server->lock);
    call->receives = method->in;
    call->message_max = method->max_request ? method->max_request : server->config.message_max;
    if (method->memory_max) {
        call->message_arena.budget = method->memory_max;
        call->arena.budget = MAX(method->memory_max, call->arena.used);
    }
    return true;
}

/* Who is it, how much of the server is theirs already, and are they welcome? */
static bool is_let_in(struct rpc_call *call, struct err *err)
{
    const struct rpc_server_config *config = &call->server->config;
    if (call->server->draining) {
        return call_refuse(call, RPC_REFUSED_DRAINING, err);
    }
    if (!limits_identify(call, err) || !limits_enter(call, err)) {
        return false;
    }
    if (call->connection->nobody) {
        return call_refuse(call, RPC_REFUSED_IDENTITY, err);
    }
    if (config->welcome && !config->welcome(config->ctx, &call->peer, err)) {
        call->refusal = RPC_REFUSED_UNWELCOME;
        return false;
    }
    return true;
}

/* May they call this, and is there room for it? */
static bool may_call(struct rpc_call *call, struct err *err)
{
    const struct rpc_server_config *config = &call->server->config;
    if (!find_method(call, err)) {
        return false;
    }
    const struct rpc_method *method = call->bound->method;
    bool asked = config->authorize && (config->by_pin || !(method->flags & RPC_PUBLIC));
    if (asked && !config->authorize(config->ctx, call, err)) {
        call->refusal = RPC_REFUSED_GATE;
        return false;
    }
    if (method->kind != RPC_UNARY && !limits_stream(call, err)) {
        return false;
    }
    return !lane_full(call->rpc, method->lane) || call_refuse(call, RPC_REFUSED_LANE, err);
}

static uint32_t life_of(const struct rpc_method *method)
{
    uint32_t usual = method->open ? 0 : method->kind == RPC_UNARY ? UNARY_MS : BLOCKING_STREAM_MS;
    return method->max_ms ? method->max_ms : usual;
}

static void admit(struct rpc_call *call)
{
    struct err err = {0};
    char *path;
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    op.data.recv_close_on_server.cancelled = &call->close_cancelled;
    struct bytes method =
        BYTES(GRPC_SLICE_START_PTR(call->details.method), GRPC_SLICE_LENGTH(call->details.method));
    if (arena_string(&call->arena, method, &path, &err)) {
        call->path = path;
    }
    call_name_request(call);
    pthread_mutex_lock(&call->lock);
    call_set_deadline(call, call->details.deadline, 0);
    call_batch(call, &op, 1, &call->close);
    pthread_mutex_unlock(&call->lock);
    if (!is_let_in(call, &err) || !may_call(call, &err)) {
        server_finish(call, NULL, &err);
        return;
    }
    bool reads = call->bound->method->kind == RPC_UNARY || call->bound->method->kind == RPC_SERVER_STREAM;
    pthread_mutex_lock(&call->lock);
    call_set_deadline(call, call->details.deadline, life_of(call->bound->method));
    reads = reads && (call_begin_read(call) || true);
    pthread_mutex_unlock(&call->lock);
    if (!reads) {
        dispatch(call);
    }
}

static void arrival_done(void *arg, bool ok)
{
    struct rpc_call *call = arg;
    struct rpc_server *server = call->server;
    pthread_mutex_lock(&server->lock);
    if (ok) {
        call->arrived = gpr_now(GPR_CLOCK_MONOTONIC);
        call->next = server->live;
        if (server->live) {
            server->live->prev = call;
        }
        server->live = call;
        server->live_count++;
        server->counted[0].in_flight++;
    }
    server->armed--;
    pthread_cond_broadcast(&server->moved);
    pthread_mutex_unlock(&server->lock);
    if (ok) {
        serve_arm(server);
        admit(call);
    } else {
        call->wire = NULL;
        call_unref(call);
    }
}

void serve_arm(struct rpc_server *server)
{
    struct rpc_call *call = call_new(server->rpc);
    if (!call) {
        return;
    }
    call->server = server;
    call->arrival = (struct tag){arrival_done, call};
    tag_goes(&call->arrival);
    pthread_mutex_lock(&server->lock);
    bool armed = !server->draining &&
                 grpc_server_request_call(server->wire, &call->wire, &call->details, &call->metadata,
                                          server->rpc->queue, server->rpc->queue, &call->arrival) == GRPC_CALL_OK;
    server->armed += armed;
    pthread_mutex_unlock(&server->lock);
    if (!armed) {
        call_unref(call);
    }
}
