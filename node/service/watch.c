/* Records.Watch: the change feed, as one caller may see it. */
#include "node/service/service_inside.h"

#include "proto/base/builder.h"
#include "proto/base/reader.h"

enum { WATCH_WAIT_MS = 500, HEARTBEAT_MS = 30 * 1000, EVENT_ARENA = 8 << 20, PLACE_LEN = 8 };

struct watching {
    struct service_call *call;
    bool one;                            /* one subject; else the whole facility */
    struct subject subject;
    struct bytes key;                    /* what its tokens are bound to */
    struct feed_place at;
    uint64_t spoke_ms;                   /* when the last event went out */
};

static bool resync(struct err *err, const char *why)
{
    return err_raise_reason(err, ERR_CONFLICT, REASON(RESYNC), "watch: resync: %s", why);
}

static bool begin(struct watching *w, const Chartmesh__V1__WatchRequest *request, struct err *err)
{
    struct bytes state;
    w->at = log_feed_end(w->call->service->log);
    if (request->subject && !service_subject(w->call, request->subject, "subject", &w->subject, err)) {
        return false;
    }
    w->one = request->subject != NULL;
    w->key = w->one ? BYTES_OF(w->subject.p) : BYTES_LIT("facility");
    if (!request->resume_token.len) {
        return true;
    }
    if (!service_token_open(w->call, "Records.Watch", w->key, bytes_pb(request->resume_token), "resume_token",
                            &state, err)) {
        return false;
    }
    struct reader r = reader_of(state);
    uint64_t end = w->at.number;
    w->at.number = read_u64be(&r);
    if (!reader_end(&r)) {
        return err_raise(err, ERR_INTERNAL, "resume token: a state of %zu bytes", state.len);
    }
    return w->at.number <= end || resync(err, "the token is of a place that is still to come");
}

/* `call` is this event's: its arena ends with it. */
static bool send_event(struct watching *w, const struct service_call *call, Chartmesh__V1__WatchEvent *event,
                       struct err *err)
{
    uint8_t place[PLACE_LEN];
    struct bytes token;
    put_u64be(place, w->at.number);
    if (!service_token(call, "Records.Watch", w->key, BYTES(place, sizeof place), &token, err)) {
        return false;
    }
    event->resume_token = pb_bytes(token);
    w->spoke_ms = world_mono_ms(call->service->world);
    return call->stream->send(call->stream->context, &event->base, err);
}

/* Sends what the next row means to this caller; *none: there is no row yet. */
static bool next_event(struct watching *w, bool *none, struct err *err)
{
    AUTO_ARENA(arena, EVENT_ARENA);
    struct service_call call = *w->call;
    Chartmesh__V1__WatchEvent event = CHARTMESH__V1__WATCH_EVENT__INIT;
    struct bytes value;
    struct feed_row row;
    bool visible;
    call.arena = &arena;
    uint64_t expected = w->at.number + 1;
    *none = false;
    if (!log_feed_next(call.service->log, &w->at, &arena, &value, err)) {
        *none = err->code == ERR_NOT_FOUND;
        return *none;
    }
    if (w->at.number != expected) {
        return resync(err, "the feed no longer goes back so far");
    }
    if (!feed_row_decode(value, &row, err)) {
        return false;
    }
    if (w->one && !id_equal(&row.subject.p, &w->subject.p)) {
        return true;
    }
    return gate_event(call.service->gate, &call.caller, &row, &arena, &event, &visible, err) &&
           (!visible || send_event(w, &call, &event, err));
}

/* For who sees nothing of what happens: a newer token, so that what was passed over is not looked at again. */
static bool heartbeat(struct watching *w, struct err *err)
{
    AUTO_ARENA(arena, EVENT_ARENA);
    struct service_call call = *w->call;
    Chartmesh__V1__WatchEvent event = CHARTMESH__V1__WATCH_EVENT__INIT;
    call.arena = &arena;
    event.kind = CHARTMESH__V1__WATCH_KIND__WATCH_KIND_HEARTBEAT;
    return world_mono_ms(call.service->world) - w->spoke_ms < HEARTBEAT_MS || send_event(w, &call, &event, err);
}

bool records_watch(struct service_call *call, const ProtobufCMessage *in, struct err *err)
{
    struct watching w = {.call = call};
    Chartmesh__V1__WatchEvent started = CHARTMESH__V1__WATCH_EVENT__INIT;
    started.kind = CHARTMESH__V1__WATCH_KIND__WATCH_KIND_STARTED;
    if (!begin(&w, (const void *)in, err) || !send_event(&w, call, &started, err)) {
        return false;
    }
    while (!call->stream->cancelled(call->stream->context)) {
        bool none;
        if (!next_event(&w, &none, err) || !heartbeat(&w, err)) {
            return false;
        }
        if (none) {
            log_feed_wait(call->service->log, &w.at, WATCH_WAIT_MS);
        }
    }
    return err_raise(err, ERR_CANCELLED, "watch: the caller went away");
}
