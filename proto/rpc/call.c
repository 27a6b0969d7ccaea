/* One call, either side: references, batches, and the waiting style of reading and writing. */
#include <stdlib.h>

#include <grpc/byte_buffer_reader.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

#include "proto/chartmesh/v1/message.h"
#include "proto/rpc/limits.h"

/* ---- life ---- */

static void head_done(void *arg, bool ok)
{
    (void)ok;
    call_unref(arg);
}

static void close_done(void *arg, bool ok)
{
    (void)ok;
    struct rpc_call *call = arg;
    pthread_mutex_lock(&call->lock);
    call->over = true;
    if (call->channel || call->close_cancelled) {
        call->cancelled = true;
    }
    if (call->close_cancelled && !call->finishing && !call->cut) {
        limits_given_up(call);
    }
    if (call->phase == PHASE_EVENTS) {
        stream_move(call);
    }
    pthread_cond_broadcast(&call->moved);
    pthread_mutex_unlock(&call->lock);
    if (call->replied) {
        client_replied(call);
    }
    call_unref(call);
}

void call_drop_in(struct rpc_call *call, grpc_byte_buffer *buffer, size_t len)
{
    grpc_byte_buffer_destroy(buffer);
    limits_give(call, len);
}

/* What has come is the principal's until it is worked off; if it is one too much, the call ends. */
static void take_in(struct rpc_call *call)
{
    size_t len = grpc_byte_buffer_length(call->in);
    call->bytes_in += len;
    limits_useful(call, len);
    if (limits_take(call, len)) {
        call->in_len = len;
        return;
    }
    grpc_byte_buffer_destroy(call->in);
    call->in = NULL;
    call->read_ok = false;
    call->read_over = true;
    if (call->phase != PHASE_REQUEST) {
        call_cut(call, call->refusal);
    }
}

static void read_done(void *arg, bool ok)
{
    struct rpc_call *call = arg;
    pthread_mutex_lock(&call->lock);
    call->reading = false;
    call->in = call->arriving;
    call->arriving = NULL;
    call->read_ok = ok && (call->in || !grpc_call_failed_before_recv_message(call->wire));
    call->read_over = !ok || !call->in;
    enum phase phase = call->phase;
    if (call->in) {
        take_in(call);
    }
    if (phase == PHASE_EVENTS) {
        stream_move(call);
    }
    pthread_cond_broadcast(&call->moved);
    pthread_mutex_unlock(&call->lock);
    if (phase == PHASE_REQUEST && call->server) {
        server_request_read(call);
    }
    call_unref(call);
}

static void drop_out(struct rpc_call *call)
{
    if (call->out) {
        grpc_byte_buffer_destroy(call->out);
        call->out = NULL;
    }
    limits_give(call, call->out_len);
    call->out_len = 0;
}

static void write_done(void *arg, bool ok)
{
    struct rpc_call *call = arg;
    pthread_mutex_lock(&call->lock);
    call->writing = false;
    call->write_ok = ok;
    drop_out(call);
    if (call->phase == PHASE_EVENTS) {
        stream_move(call);
    }
    pthread_cond_broadcast(&call->moved);
    pthread_mutex_unlock(&call->lock);
    call_unref(call);
}

struct rpc_call *call_new(struct rpc *rpc)
{
    struct rpc_call *call = calloc(1, sizeof *call);
    if (!call) {
        return NULL;
    }
    call->rpc = rpc;
    call->refs = 1;
    call->head = (struct tag){head_done, call};
    call->close = (struct tag){close_done, call};
    call->read = (struct tag){read_done, call};
    call->write = (struct tag){write_done, call};
    call->finish = (struct tag){head_done, call};
    call->path = call->request_id = call->peer.spiffe = "";
    call->message_max = MESSAGE_MAX;
    call->deadline = call->close_by = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    call->status_text = grpc_empty_slice();
    arena_init(&call->arena, CALL_MEMORY_MAX);
    arena_init(&call->message_arena, CALL_MEMORY_MAX);
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    grpc_metadata_array_init(&call->head_in);
    grpc_metadata_array_init(&call->trailers_in);
    pthread_mutex_init(&call->lock, NULL);
    pthread_cond_init(&call->moved, NULL);
    pthread_mutex_lock(&rpc->lock);
    rpc->calls++;
    pthread_mutex_unlock(&rpc->lock);
    return call;
}

static void call_free(struct rpc_call *call)
{
    struct rpc *rpc = call->rpc;
    bool served = call->server && call->wire;
    if (served) {
        server_told(call);
    }
    for (size_t i = 0; i < call->trailer_count; i++) {
        grpc_slice_unref(call->trailers[i].key);
        grpc_slice_unref(call->trailers[i].value);
    }
    stream_discard(call);
    if (call->in) {
        call_drop_in(call, call->in, call->in_len);
    }
    if (call->arriving) {
        grpc_byte_buffer_destroy(call->arriving);
    }
    drop_out(call);
    grpc_call_details_destroy(&call->details);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_metadata_array_destroy(&call->head_in);
    grpc_metadata_array_destroy(&call->trailers_in);
    grpc_slice_unref(call->status_text);
    arena_done(&call->arena);
    arena_done(&call->message_arena);
    if (served) {
        server_forget(call);
    } else if (call->wire) {
        grpc_call_unref(call->wire);
    }
    if (call->channel) {
        channel_unref(call->channel);
    }
    pthread_cond_destroy(&call->moved);
    pthread_mutex_destroy(&call->lock);
    free(call);
    pthread_mutex_lock(&rpc->lock);
    rpc->calls--;
    pthread_cond_broadcast(&rpc->idle);
    pthread_mutex_unlock(&rpc->lock);
}

void call_ref(struct rpc_call *call)
{
    call->refs++;
}

void call_unref(struct rpc_call *call)
{
    if (--call->refs == 0) {
        call_free(call);
    }
}

void rpc_stream_hold(struct rpc_call *stream)
{
    call_ref(stream);
}

void rpc_stream_drop(struct rpc_call *stream)
{
    call_unref(stream);
}

/* ---- what is known of it ---- */

const char *rpc_call_path(const struct rpc_call *call)
{
    return call->path;
}

const char *rpc_call_request_id(const struct rpc_call *call)
{
    return call->request_id;
}

const struct rpc_identity *rpc_call_peer(const struct rpc_call *call)
{
    return &call->peer;
}

struct arena *rpc_call_arena(struct rpc_call *call)
{
    return &call->arena;
}

void rpc_call_keep(struct rpc_call *call, const void *kept)
{
    call->kept = kept;
}

const void *rpc_call_kept(const struct rpc_call *call)
{
    return call->kept;
}

bool rpc_cancelled(const struct rpc_call *call)
{
    return call->cancelled || rpc_ms_left(call) == 0;
}

int64_t rpc_ms_left(const struct rpc_call *call)
{
    if (gpr_time_cmp(call->deadline, gpr_inf_future(GPR_CLOCK_MONOTONIC)) == 0) {
        return INT64_MAX;
    }
    gpr_timespec left = gpr_time_sub(call->deadline, gpr_now(GPR_CLOCK_MONOTONIC));
    int64_t ms = (int64_t)gpr_timespec_to_micros(left) / 1000;
    return MAX(ms, 0);
}

void call_set_deadline(struct rpc_call *call, gpr_timespec asked, uint32_t max_ms)
{
    call->deadline = gpr_convert_clock_type(asked, GPR_CLOCK_MONOTONIC);
    if (max_ms) {
        gpr_timespec bound =
            gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(max_ms, GPR_TIMESPAN));
        call->deadline = gpr_time_min(call->deadline, bound);
    }
}

void call_cut(struct rpc_call *call, enum rpc_refusal why)
{
    struct err err;
    if (call->over || call->cut) {
        return;
    }
    call->cut = why;
    call->refusal = call->refusal ? call->refusal : why;
    refusal_err(why, &err);
    grpc_call_cancel_with_status(call->wire, (grpc_status_code)err.code, err.text, NULL);
}

bool call_over_err(struct rpc_call *call, struct err *err)
{
    if (call->channel && call->over) {
        return !status_to_err(call->status, call->status_text, &call->trailers_in, call->own_cancel, err) ||
               err_raise(err, ERR_CANCELLED, "the server has ended the call");
    }
    if (call->channel) {
        return err_raise(err, ERR_CANCELLED, "the call is over; its status says why");
    }
    if (call->cut) {
        return refusal_err(call->cut, err);
    }
    if (rpc_ms_left(call) == 0) {
        return refusal_err(RPC_CUT_DEADLINE, err);
    }
    return err_raise(err, ERR_CANCELLED, "the caller went away");
}

/* ---- batches ---- */

bool call_batch(struct rpc_call *call, const grpc_op *ops, size_t count, struct tag *tag)
{
    call_ref(call);
    tag_goes(tag);
    grpc_call_error error = grpc_call_start_batch(call->wire, ops, count, tag, NULL);
    if (error == GRPC_CALL_OK) {
        return true;
    }
    gpr_log(GPR_ERROR, "rpc: %s: a batch was refused: %s", call->path, grpc_call_error_to_string(error));
    call->refs--;                /* never the last: the caller has one */
    grpc_call_cancel_with_status(call->wire, GRPC_STATUS_INTERNAL, grpc_call_error_to_string(error), NULL);
    return false;
}

bool call_begin_read(struct rpc_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &call->arriving;
    call->read_ms = call->rpc->now_ms;
    call->reading = call_batch(call, &op, 1, &call->read);
    call->read_over = !call->reading;
    return call->reading;
}

bool call_begin_write(struct rpc_call *call, grpc_byte_buffer *buffer, size_t taken)
{
    grpc_op ops[2] = {0};
    size_t count = 0;
    if (call->server && !call->head_sent) {
        call->head_sent = true;
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    }
    if (buffer) {
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = buffer;
        call->bytes_out += grpc_byte_buffer_length(buffer);
    }
    call->out = buffer;
    call->out_len = taken;
    call->write_ms = call->rpc->now_ms;
    call->writing = call_batch(call, ops, count, &call->write);
    if (!call->writing) {
        call->write_ok = false;
        drop_out(call);
    }
    return call->writing;
}

/* ---- messages ---- */

grpc_byte_buffer *buffer_of(struct bytes packed)
{
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)packed.data, packed.len);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

bool buffer_pack(const ProtobufCMessage *message, size_t max, grpc_byte_buffer **out, struct err *err)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    if (len > max) {
        return err_raise_reason(err, ERR_TOO_MUCH, REASON(TOO_LARGE), "message %s: %zu bytes, %zu may be sent",
                                message->descriptor->name, len, max);
    }
    grpc_slice slice = grpc_slice_malloc(len);
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    *out = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return true;
}

bool buffer_unpack(const ProtobufCMessageDescriptor *type, grpc_byte_buffer *buffer, size_t max,
                   struct arena *arena, ProtobufCMessage **out, struct err *err)
{
    size_t len = grpc_byte_buffer_length(buffer);
    grpc_byte_buffer_reader reader;
    if (len > max) {
        return err_raise_reason(err, ERR_TOO_MUCH, REASON(TOO_LARGE), "message %s: %zu bytes, %zu are allowed",
                                type->name, len, max);
    }
    if (!grpc_byte_buffer_reader_init(&reader, buffer)) {
        return err_raise_reason(err, ERR_INVALID, REASON(MALFORMED), "message %s: cannot be read", type->name);
    }
    /* Small messages come in one slice and are read where they lie; others are joined. */
    grpc_slice *first, joined = grpc_empty_slice();
    if (!grpc_byte_buffer_reader_peek(&reader, &first) || GRPC_SLICE_LENGTH(*first) != len) {
        grpc_byte_buffer_reader_destroy(&reader);
        grpc_byte_buffer_reader_init(&reader, buffer);
        joined = grpc_byte_buffer_reader_readall(&reader);
        first = &joined;
    }
    bool ok = message_unpack(type, BYTES(GRPC_SLICE_START_PTR(*first), len), arena, out, err);
    grpc_slice_unref(joined);
    grpc_byte_buffer_reader_destroy(&reader);
    return ok;
}

/* ---- the waiting style ---- */

/* Reads one message or finds the end, and takes the lock's owner through it. */
static grpc_byte_buffer *read_one(struct rpc_call *call)
{
    if (!call->read_over && !call->reading && call_begin_read(call)) {
        while (call->reading) {
            pthread_cond_wait(&call->moved, &call->lock);
        }
    }
    grpc_byte_buffer *buffer = call->in;
    call->in = NULL;
    return buffer;
}

void call_drop_message(struct rpc_call *call)
{
    grpc_byte_buffer *buffer = read_one(call);
    if (buffer) {
        grpc_byte_buffer_destroy(buffer);
    }
}

static void wait_over(struct rpc_call *call)
{
    while (!call->over) {
        pthread_cond_wait(&call->moved, &call->lock);
    }
}

/* No message came: a clean end, or why not. */
static bool read_ended(struct rpc_call *call, struct err *err)
{
    if (call->channel) {
        wait_over(call);
        return status_to_err(call->status, call->status_text, &call->trailers_in, call->own_cancel, err);
    }
    if (call->read_ok) {
        return true;
    }
    if (!call->cut && !call->cancelled && rpc_ms_left(call) > 0) {
        return err_raise_reason(err, ERR_TOO_MUCH, REASON(TOO_LARGE), "a message is larger than it may be");
    }
    return call_over_err(call, err);
}

bool rpc_recv(struct rpc_call *call, const ProtobufCMessage **out, struct err *err)
{
    arena_reset(&call->message_arena);
    pthread_mutex_lock(&call->lock);
    grpc_byte_buffer *buffer = read_one(call);
    size_t len = call->in_len;
    bool ok = buffer || read_ended(call, err);
    pthread_mutex_unlock(&call->lock);
    if (!buffer) {
        *out = ok ? NULL : *out;
        return ok;
    }
    ProtobufCMessage *message;
    ok = buffer_unpack(call->receives, buffer, call->message_max, &call->message_arena, &message, err);
    call_drop_in(call, buffer, len);
    if (!ok) {
        limits_starved(call, err);
        return false;
    }
    *out = message;
    return true;
}

/* Why nothing can be sent now. The lock is held. */
static bool may_send(struct rpc_call *call, size_t len, struct err *err)
{
    if (call->over || call->half_closed || call->writing) {
        return call_over_err(call, err);
    }
    return limits_take(call, len) || refusal_err(call->refusal, err);
}

bool rpc_send(struct rpc_call *call, const ProtobufCMessage *message, struct err *err)
{
    grpc_byte_buffer *buffer;
    if (!buffer_pack(message, call->server ? call->server->config.message_max : call->message_max, &buffer, err)) {
        return false;
    }
    size_t len = grpc_byte_buffer_length(buffer);
    pthread_mutex_lock(&call->lock);
    bool ok = may_send(call, len, err);
    if (!ok) {
        grpc_byte_buffer_destroy(buffer);
    } else if (call_begin_write(call, buffer, len)) {
        while (call->writing) {
            pthread_cond_wait(&call->moved, &call->lock);
        }
    }
    if (ok && !call->write_ok) {
        ok = call_over_err(call, err);
    }
    pthread_mutex_unlock(&call->lock);
    return ok;
}
