/* Streams by events: what can be done is done by whoever moved the call (stream_move); callbacks run on the
 * stream's lane, one at a time (stream_run).
 *
 *     offer ─▶ queue ─▶ one write in gRPC's hands ─▶ write_done ─▶ next
 *     one read in gRPC's hands ─▶ read_done ─▶ `message` on the lane ─▶ next read
 *     over, nothing in gRPC's hands, all messages given ─▶ `closed` */
#include <stdlib.h>

#include <grpc/byte_buffer_reader.h>
#include <grpc/support/time.h>

#include "proto/rpc/limits.h"

enum {
    OUT_COST = 64,
    CLOSE_MS = 2000
};   /* a queued message's own memory; how long a status may wait behind a stalled reader */

/* ---- what can be done now ---- */

static bool is_server(const struct rpc_call *call)
{
    return call->server;
}

/* Our side has said its last word: what still comes in is nobody's. */
static bool is_deaf(const struct rpc_call *call)
{
    return call->stream.closing && (is_server(call) || call->stream.why.code);
}

static void send_end(struct rpc_call *call)
{
    call->stream.end_sent = true;
    if (is_server(call)) {
        server_send_status(call, NULL, call->stream.why.code ? &call->stream.why : NULL);
    } else if (!call->half_closed) {
        call->half_closed = true;
        call_batch(call, &(grpc_op){.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT}, 1, &call->finish);
    }
}

static struct out *take_out(struct stream *stream)
{
    struct out *out = stream->first;
    stream->first = out->next;
    stream->last = stream->first ? stream->last : NULL;
    stream->queued -= out->len;
    if (stream->refused && stream->queued <= stream->queue_max / 2) {
        stream->refused = false;
        stream->room_due = true;
    }
    return out;
}

static void write_next(struct rpc_call *call)
{
    struct stream *stream = &call->stream;
    if (call->writing || call->over || stream->end_sent) {
        return;
    }
    if (stream->first) {
        struct out *out = take_out(stream);
        call_begin_write(call, out->buffer, out->len);
        free(out);
    } else if (stream->closing) {
        send_end(call);
    } else if (is_server(call) && !call->head_sent) {
        call_begin_write(call, NULL, 0);
    }
}

static void read_next(struct rpc_call *call)
{
    struct stream *stream = &call->stream;
    if (!call->reading && !call->over && !call->read_over && !call->in && !stream->delivering &&
        (!stream->paused || is_deaf(call))) {
        call_begin_read(call);
    }
}

static bool ended_due(const struct rpc_call *call)
{
    return is_server(call) && call->read_over && call->read_ok && !call->stream.ended_given && !is_deaf(call);
}

static bool closed_due(const struct rpc_call *call)
{
    return call->over && !call->reading && !call->writing && !call->stream.closed_given;
}

static void stream_run(void *arg);

static void wake_done(void *arg, bool ok)
{
    (void)ok;
    stream_run(arg);
    call_unref(arg);
}

static void schedule(struct rpc_call *call)
{
    struct stream *stream = &call->stream;
    stream->running = true;
    if (stream->lane == RPC_INLINE) {
        /* An empty batch comes back at once, on the polling thread. */
        call->wake = (struct tag){wake_done, call};
        call_batch(call, NULL, 0, &call->wake);
    } else {
        call->task = (struct task){.run = stream_run, .arg = call};
        lane_push(call->rpc, stream->lane, &call->task, true);
    }
}

void stream_move(struct rpc_call *call)
{
    struct stream *stream = &call->stream;
    write_next(call);
    read_next(call);
    bool due = call->in || ended_due(call) || stream->room_due || closed_due(call);
    if (due && !stream->running) {
        schedule(call);
    }
}

/* ---- callbacks ---- */

static void give_packed(struct rpc_call *call, grpc_byte_buffer *buffer)
{
    struct err err;
    grpc_byte_buffer_reader reader;
    if (grpc_byte_buffer_length(buffer) > call->message_max || !grpc_byte_buffer_reader_init(&reader, buffer)) {
        err_raise_reason(&err, ERR_TOO_MUCH, REASON(TOO_LARGE), "a message is larger than it may be");
        rpc_stream_close(call, &err);
        return;
    }
    grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
    call->stream.events->packed(call, call->stream.arg,
                                BYTES(GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice)));
    grpc_slice_unref(slice);
    grpc_byte_buffer_reader_destroy(&reader);
}

static void give_message(struct rpc_call *call, grpc_byte_buffer *buffer)
{
    struct stream *stream = &call->stream;
    ProtobufCMessage *message;
    struct err err;
    arena_reset(&call->message_arena);
    if (!buffer_unpack(call->receives, buffer, call->message_max, &call->message_arena, &message, &err)) {
        limits_starved(call, &err);
        rpc_stream_close(call, &err);
    } else if (stream->events->message) {
        stream->events->message(call, stream->arg, message);
    }
}

static void give_ended(struct rpc_call *call)
{
    if (call->stream.events->ended) {
        call->stream.events->ended(call, call->stream.arg);
    } else {
        rpc_stream_close(call, NULL);
    }
}

static void why_closed(struct rpc_call *call, struct err *why)
{
    *why = (struct err){0};
    if (!is_server(call)) {
        if (!status_to_err(call->status, call->status_text, &call->trailers_in, call->own_cancel, why) &&
            call->stream.why.code) {
            *why = call->stream.why;
        }
    } else if (call->stream.end_sent && !call->close_cancelled) {
        *why = call->stream.why;
    } else if (call->stream.why.code) {
        *why = call->stream.why;
    } else {
        call_over_err(call, why);
        call->outcome = *why;
    }
}

/* Gives what is due first; false when there is nothing. The lock is held, and let go meanwhile. */
static bool give_next(struct rpc_call *call)
{
    struct stream *stream = &call->stream;
    if (call->in) {
        grpc_byte_buffer *buffer = call->in;
        size_t len = call->in_len;
        call->in = NULL;
        stream->delivering = true;
        bool deaf = is_deaf(call);
        pthread_mutex_unlock(&call->lock);
        if (!deaf) {
            (stream->events->packed ? give_packed : give_message)(call, buffer);
        }
        call_drop_in(call, buffer, len);
        pthread_mutex_lock(&call->lock);
        stream->delivering = false;
    } else if (ended_due(call)) {
        stream->ended_given = true;
        pthread_mutex_unlock(&call->lock);
        give_ended(call);
        pthread_mutex_lock(&call->lock);
    } else if (stream->room_due) {
        stream->room_due = false;
        pthread_mutex_unlock(&call->lock);
        if (stream->events->room) {
            stream->events->room(call, stream->arg);
        }
        pthread_mutex_lock(&call->lock);
    } else {
        return false;
    }
    stream_move(call);
    return true;
}

static void stream_run(void *arg)
{
    struct rpc_call *call = arg;
    struct stream *stream = &call->stream;
    pthread_mutex_lock(&call->lock);
    while (give_next(call)) {
    }
    bool closed = closed_due(call);
    struct err why;
    if (closed) {
        stream->closed_given = true;
        why_closed(call, &why);
    } else {
        stream->running = false;
    }
    pthread_mutex_unlock(&call->lock);
    if (closed) {
        stream->events->closed(call, stream->arg, &why);
        call_unref(call);
    }
}

/* ---- the public side ---- */

void events_begin(struct rpc_call *call)
{
    pthread_mutex_lock(&call->lock);
    call->phase = PHASE_EVENTS;
    stream_move(call);
    pthread_mutex_unlock(&call->lock);
}

void stream_discard(struct rpc_call *call)
{
    struct stream *stream = &call->stream;
    while (stream->first) {
        struct out *out = take_out(stream);
        grpc_byte_buffer_destroy(out->buffer);
        limits_give(call, out->len);
        free(out);
    }
}

void rpc_stream_listen(struct rpc_call *call, const struct rpc_events *events, void *arg)
{
    pthread_mutex_lock(&call->lock);
    call->stream.events = events;
    call->stream.arg = arg;
    pthread_mutex_unlock(&call->lock);
}

/* Queues the buffer, or says why not and leaves it. The lock is held. */
static bool queue_out(struct rpc_call *call, struct out *out, struct err *err)
{
    struct stream *stream = &call->stream;
    if (stream->closing || call->over) {
        return err_raise(err, ERR_CANCELLED, "the stream is closing");
    }
    if (stream->first && stream->queued + out->len > stream->queue_max) {
        stream->refused = true;
        return err_raise_reason(err, ERR_TOO_MUCH, REASON(OVERLOADED), "the stream's queue is full");
    }
    if (!limits_take(call, out->len)) {
        return refusal_err(call->refusal, err);
    }
    *(stream->last ? &stream->last->next : &stream->first) = out;
    stream->last = out;
    stream->queued += out->len;
    if (call->phase == PHASE_EVENTS) {
        stream_move(call);
    }
    return true;
}

static bool offer(struct rpc_call *call, grpc_byte_buffer *buffer, struct err *err)
{
    struct out *out = malloc(sizeof *out);
    if (!out) {
        grpc_byte_buffer_destroy(buffer);
        return err_raise(err, ERR_TOO_MUCH, "no memory for a message");
    }
    *out = (struct out){.buffer = buffer, .len = grpc_byte_buffer_length(buffer) + OUT_COST};
    pthread_mutex_lock(&call->lock);
    bool ok = queue_out(call, out, err);
    pthread_mutex_unlock(&call->lock);
    if (!ok) {
        grpc_byte_buffer_destroy(buffer);
        free(out);
    }
    return ok;
}

static size_t send_max(const struct rpc_call *call)
{
    return is_server(call) ? call->server->config.message_max : call->message_max;
}

bool rpc_stream_offer(struct rpc_call *call, const ProtobufCMessage *message, struct err *err)
{
    grpc_byte_buffer *buffer;
    return buffer_pack(message, send_max(call), &buffer, err) && offer(call, buffer, err);
}

bool rpc_stream_offer_packed(struct rpc_call *call, struct bytes packed, struct err *err)
{
    if (packed.len > send_max(call)) {
        return err_raise_reason(err, ERR_TOO_MUCH, REASON(TOO_LARGE), "a message of %zu bytes, %zu may be sent",
                                packed.len, send_max(call));
    }
    return offer(call, buffer_of(packed), err);
}

static void set_paused(struct rpc_call *call, bool paused)
{
    pthread_mutex_lock(&call->lock);
    call->stream.paused = paused;
    if (call->phase == PHASE_EVENTS) {
        stream_move(call);
    }
    pthread_mutex_unlock(&call->lock);
}

void rpc_stream_pause(struct rpc_call *call)
{
    set_paused(call, true);
}

void rpc_stream_resume(struct rpc_call *call)
{
    set_paused(call, false);
}

void rpc_stream_close(struct rpc_call *call, const struct err *why)
{
    struct stream *stream = &call->stream;
    pthread_mutex_lock(&call->lock);
    if (!stream->closing && !call->over) {
        stream->closing = true;
        stream->why = why ? *why : (struct err){0};
        if (stream->why.code) {
            stream_discard(call);
            stream->room_due = false;
            call->close_by =
                gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(CLOSE_MS, GPR_TIMESPAN));
            if (!is_server(call)) {
                call->own_cancel = true;
                grpc_call_cancel(call->wire, NULL);
            }
        }
        if (call->phase == PHASE_EVENTS) {
            stream_move(call);
        }
    }
    pthread_mutex_unlock(&call->lock);
}
