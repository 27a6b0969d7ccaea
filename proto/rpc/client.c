/* Channels and the calls made over them. */
#include <stdlib.h>

#include <grpc/support/time.h>

#include "proto/rpc/internal.h"

enum { UNARY_TIMEOUT_MS = 30000, HEADERS_MAX = 16 };

/* ---- channels ---- */

static grpc_channel *make_wire(const struct rpc_channel_config *config, int message_max,
                               grpc_channel_credentials *credentials)
{
    const struct {
        const char *key;
        int value;
    } numbers[] = {
        {GRPC_ARG_ENABLE_HTTP_PROXY, 0},
        {GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1},
        {GRPC_ARG_ENABLE_RETRIES, 0},
        {GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1},
        {GRPC_ARG_HTTP2_BDP_PROBE, 0},
        {GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 256 << 10},
        {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, message_max},
        {GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, message_max},
        {GRPC_ARG_KEEPALIVE_TIME_MS, 30000},
        {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000},
        {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
        {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},
        {GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200},
        {GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000},
        {GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5000},
        {GRPC_ARG_ENABLE_CHANNELZ, 0},
        {GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE},
    };
    grpc_arg args[COUNT(numbers) + 1];
    size_t count = 0;
    for (; count < COUNT(numbers); count++) {
        args[count] = (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)numbers[count].key};
        args[count].value.integer = numbers[count].value;
    }
    if (config->server_name) {
        args[count] = (grpc_arg){.type = GRPC_ARG_STRING, .key = GRPC_SSL_TARGET_NAME_OVERRIDE_ARG};
        args[count++].value.string = (char *)config->server_name;
    }
    return grpc_channel_create(config->target, credentials, &(grpc_channel_args){.num_args = count, .args = args});
}

bool rpc_channel_open(struct rpc *rpc, const struct rpc_channel_config *config, struct rpc_channel **out,
                      struct err *err)
{
    if (!tls_ok(&config->tls, err)) {
        return err_wrap(err, "channel to %s", config->target);
    }
    if (config->pin_count && !config->spki_pin) {
        return err_raise(err, ERR_INVALID, "channel to %s: pins, and no spki_pin", config->target);
    }
    struct rpc_channel *channel = calloc(1, sizeof *channel);
    grpc_channel_credentials *credentials = tls_channel_credentials(config);
    if (!channel || !credentials) {
        free(channel);
        return err_raise(err, ERR_INVALID, "channel to %s: certificates that cannot be used", config->target);
    }
    channel->rpc = rpc;
    channel->refs = 1;
    channel->message_max = config->message_max ? config->message_max : MESSAGE_MAX;
    channel->wire = make_wire(config, (int)channel->message_max, credentials);
    grpc_channel_credentials_release(credentials);
    *out = channel;
    return true;
}

void channel_unref(struct rpc_channel *channel)
{
    if (--channel->refs == 0) {
        grpc_channel_destroy(channel->wire);
        free(channel);
    }
}

void rpc_channel_hold(struct rpc_channel *channel)
{
    channel->refs++;
}

void rpc_channel_close(struct rpc_channel *channel)
{
    if (channel) {
        channel_unref(channel);
    }
}

/* ---- beginning a call ---- */

static bool add_headers(struct rpc_call *call, const struct rpc_options *options, grpc_metadata *headers,
                        struct err *err)
{
    if (options->header_count > HEADERS_MAX) {
        return err_raise(err, ERR_INVALID, "%s: %zu headers", call->path, options->header_count);
    }
    for (size_t i = 0; i < options->header_count; i++) {
        char *value;
        if (!metadata_key_ok(options->headers[i].key)) {
            return err_raise(err, ERR_INVALID, "%s: header %s: not a name that may be sent", call->path,
                             options->headers[i].key);
        }
        if (!percent_encode(options->headers[i].value, &call->arena, &value, err)) {
            return false;
        }
        headers[i].key = grpc_slice_from_static_string(options->headers[i].key);
        headers[i].value = grpc_slice_from_static_string(value);      /* the call's arena outlives the batch */
    }
    return true;
}

static void begin_wire(struct rpc_call *call, uint32_t timeout_ms)
{
    call_set_deadline(call, gpr_inf_future(GPR_CLOCK_MONOTONIC), timeout_ms);
    grpc_slice method = slice_of(call->path);
    call->wire = grpc_channel_create_call(call->channel->wire, NULL, 0, call->rpc->queue, method, NULL,
                                          call->deadline, NULL);
    grpc_slice_unref(method);
}

/* The status comes last, and only if the initial metadata was asked for. */
static size_t receiving_ops(struct rpc_call *call, grpc_op *ops)
{
    ops[0].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[0].data.recv_status_on_client.trailing_metadata = &call->trailers_in;
    ops[0].data.recv_status_on_client.status = &call->status;
    ops[0].data.recv_status_on_client.status_details = &call->status_text;
    return 1;
}

static size_t beginning_ops(struct rpc_call *call, const struct rpc_options *options, grpc_metadata *headers,
                            grpc_op *ops)
{
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[0].flags = options->wait_for_ready
                       ? GRPC_INITIAL_METADATA_WAIT_FOR_READY | GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET
                       : 0;
    ops[0].data.send_initial_metadata.count = options->header_count;
    ops[0].data.send_initial_metadata.metadata = headers;
    ops[1].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &call->head_in;
    return 2;
}

static bool new_call(struct rpc_channel *channel, const char *path, const ProtobufCMessageDescriptor *out,
                     const struct rpc_options *options, grpc_metadata *headers, struct rpc_call **made,
                     struct err *err)
{
    struct rpc_call *call = call_new(channel->rpc);
    if (!call) {
        return err_raise(err, ERR_TOO_MUCH, "rpc: no memory");
    }
    char *copy;
    call->channel = channel;
    channel->refs++;
    call->receives = out;
    call->message_max = channel->message_max;
    call->phase = PHASE_BLOCKING;
    call->stream.lane = options->lane;
    call->stream.queue_max = options->queue_max ? options->queue_max : QUEUE_MAX;
    if (options->memory_max) {
        call->message_arena.budget = options->memory_max;
    }
    if (!arena_string(&call->arena, bytes_str(path), &copy, err)) {
        call_unref(call);
        return false;
    }
    call->path = copy;
    if (!add_headers(call, options, headers, err)) {
        call_unref(call);
        return false;
    }
    *made = call;
    return true;
}

static bool failed_to_start(struct rpc_call *call, struct err *err)
{
    err_raise(err, ERR_INTERNAL, "%s: the call could not be started", call->path);
    call_unref(call);
    return false;
}

bool rpc_start(struct rpc_channel *channel, const char *path, const ProtobufCMessageDescriptor *out,
               const struct rpc_options *options, struct rpc_call **made, struct err *err)
{
    grpc_metadata headers[HEADERS_MAX];
    grpc_op status[1] = {0}, begin[2] = {0};
    struct rpc_options none = {0};
    struct rpc_call *call;
    options = options ? options : &none;
    if (!new_call(channel, path, out, options, headers, &call, err)) {
        return false;
    }
    begin_wire(call, options->timeout_ms);
    pthread_mutex_lock(&call->lock);
    bool ok = call_batch(call, status, receiving_ops(call, status), &call->close);
    call_batch(call, begin, beginning_ops(call, options, headers, begin), &call->head);
    pthread_mutex_unlock(&call->lock);
    if (!ok) {
        return failed_to_start(call, err);
    }
    *made = call;
    return true;
}

/* ---- the waiting style ---- */

static bool may_wait(const struct rpc_channel *channel, struct err *err)
{
    return !on_poller(channel->rpc) || err_raise(err, ERR_STATE, "a call that waits, on the polling thread");
}

/* Everything in one batch: one event for the whole call. */
static bool begin_whole(struct rpc_call *call, grpc_byte_buffer *request, const struct rpc_options *options,
                        grpc_metadata *headers)
{
    grpc_op ops[6] = {0};
    size_t count = beginning_ops(call, options, headers, ops);
    count += receiving_ops(call, ops + count);
    ops[count].op = GRPC_OP_SEND_MESSAGE;
    ops[count++].data.send_message.send_message = request;
    ops[count++].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[count].op = GRPC_OP_RECV_MESSAGE;
    ops[count++].data.recv_message.recv_message = &call->in;
    pthread_mutex_lock(&call->lock);
    call->out = request;
    bool ok = call_batch(call, ops, count, &call->close);
    pthread_mutex_unlock(&call->lock);
    return ok;
}

/* What a server says that is no message of the type is the server's fault, not the caller's. */
static bool take_reply(struct rpc_call *call, struct arena *arena, const ProtobufCMessage **reply, struct err *err)
{
    ProtobufCMessage *message;
    struct err why;
    if (!status_to_err(call->status, call->status_text, &call->trailers_in, call->own_cancel, err)) {
        return false;
    }
    if (!call->in) {
        return err_raise(err, ERR_INTERNAL, "%s: the server sent no reply", call->path);
    }
    if (!buffer_unpack(call->receives, call->in, call->message_max, arena, &message, &why)) {
        return err_raise(err, why.code == ERR_INVALID ? ERR_INTERNAL : why.code, "%s: %s", call->path, why.text);
    }
    *reply = message;
    return true;
}

/* Begins a unary call, which `replied` hears of, or nobody. */
static bool unary_begin(struct rpc_channel *channel, const char *path, const ProtobufCMessage *request,
                        const ProtobufCMessageDescriptor *out, const struct rpc_options *options,
                        rpc_replied_fn *replied, void *arg, struct rpc_call **made, struct err *err)
{
    grpc_metadata headers[HEADERS_MAX];
    struct rpc_options none = {0};
    grpc_byte_buffer *buffer;
    struct rpc_call *call;
    options = options ? options : &none;
    if (!new_call(channel, path, out, options, headers, &call, err)) {
        return false;
    }
    if (!buffer_pack(request, channel->message_max, &buffer, err)) {
        call_unref(call);
        return false;
    }
    call->replied = replied;
    call->replied_arg = arg;
    begin_wire(call, options->timeout_ms ? options->timeout_ms : UNARY_TIMEOUT_MS);
    if (!begin_whole(call, buffer, options, headers)) {
        return failed_to_start(call, err);
    }
    *made = call;
    return true;
}

bool rpc_unary(struct rpc_channel *channel, const char *path, const ProtobufCMessage *request,
               const ProtobufCMessageDescriptor *out, const struct rpc_options *options, struct arena *arena,
               const ProtobufCMessage **reply, struct err *err)
{
    struct rpc_call *call;
    if (!may_wait(channel, err) || !unary_begin(channel, path, request, out, options, NULL, NULL, &call, err)) {
        return false;
    }
    pthread_mutex_lock(&call->lock);
    while (!call->over) {
        pthread_cond_wait(&call->moved, &call->lock);
    }
    pthread_mutex_unlock(&call->lock);
    bool ok = take_reply(call, arena, reply, err);
    call_unref(call);
    return ok;
}

bool rpc_unary_begin(struct rpc_channel *channel, const char *path, const ProtobufCMessage *request,
                     const ProtobufCMessageDescriptor *out, const struct rpc_options *options,
                     rpc_replied_fn *replied, void *arg, struct err *err)
{
    struct rpc_call *call;
    return unary_begin(channel, path, request, out, options, replied, arg, &call, err);
}

void client_replied(struct rpc_call *call)
{
    struct err err;
    const ProtobufCMessage *reply;
    bool ok = take_reply(call, &call->message_arena, &reply, &err);
    call->replied(call->replied_arg, ok ? reply : NULL, ok ? NULL : &err);
    call_unref(call);
}

bool rpc_end_sending(struct rpc_call *call, struct err *err)
{
    pthread_mutex_lock(&call->lock);
    bool ok = call->half_closed || call->over ||
              call_batch(call, &(grpc_op){.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT}, 1, &call->finish);
    call->half_closed = true;
    pthread_mutex_unlock(&call->lock);
    return ok || err_raise(err, ERR_INTERNAL, "%s: the sending could not be ended", call->path);
}

bool rpc_finish(struct rpc_call *call, struct err *err)
{
    if (!may_wait(call->channel, err) || !rpc_end_sending(call, err)) {
        return false;
    }
    pthread_mutex_lock(&call->lock);
    while (!call->read_over) {
        call_drop_message(call);
    }
    while (!call->over) {
        pthread_cond_wait(&call->moved, &call->lock);
    }
    bool ok = status_to_err(call->status, call->status_text, &call->trailers_in, call->own_cancel, err);
    pthread_mutex_unlock(&call->lock);
    return ok;
}

void rpc_cancel(struct rpc_call *call)
{
    pthread_mutex_lock(&call->lock);
    call->own_cancel = call->own_cancel || !call->over;
    pthread_mutex_unlock(&call->lock);
    grpc_call_cancel(call->wire, NULL);
}

void rpc_call_free(struct rpc_call *call)
{
    if (call) {
        rpc_cancel(call);
        call_unref(call);
    }
}

/* ---- streams by events ---- */

bool rpc_stream_dial(struct rpc_channel *channel, const char *path, const ProtobufCMessageDescriptor *out,
                     const struct rpc_options *options, const struct rpc_events *events, void *arg,
                     struct rpc_call **stream, struct err *err)
{
    struct rpc_call *call;
    if (!rpc_start(channel, path, out, options, &call, err)) {
        return false;
    }
    rpc_stream_listen(call, events, arg);
    *stream = call;
    events_begin(call);
    return true;
}
