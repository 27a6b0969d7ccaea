/* Our stream to the peer: asked of the node, numbered, sent within credits, settled by acks. */
#include "replication/lane_internal.h"

struct place outgoing_place(const struct outgoing *out, uint64_t n)
{
    return n == out->acked.n ? out->acked : (struct place){.n = n, .chain = out->chains[n % LANE_WINDOW]};
}

void outgoing_restart(struct step *step)
{
    struct outgoing *out = &step->lane->out;
    out->sent = out->acked.n;
    out->batches = 0;
    out->used = (struct credit){0};
}

/* What is numbered and not acked goes first, decided again; then what the outbox has, within the window. */
void outgoing_pump(struct step *step)
{
    struct outgoing *out = &step->lane->out;
    bool again = out->sent < out->numbered;
    if (!step->lane->live || out->making || (!again && !out->wake) || out->batches == LANE_BATCHES_MAX ||
        out->granted.bytes - out->used.bytes < FRAME_MAX) {
        return;
    }
    uint64_t room = again ? out->numbered - out->sent : LANE_WINDOW - (out->numbered - out->acked.n);
    room = MIN(room, out->granted.items - out->used.items);
    room = MIN(room, (uint64_t)BATCH_ITEMS_MAX);
    if (room == 0) {
        return;
    }
    struct lane_update *update = step_update(step, LANE_DO_MAKE);
    update->make = (struct lane_make){.again = again,
                                      .first = out->sent + 1,
                                      .count = (size_t)room,
                                      .bytes = FRAME_MAX,
                                      .before = outgoing_place(out, out->sent),
                                      .stream = out->stream};
    out->making = true;
    out->wake = again && out->wake;
}

static void send_batch(struct step *step, const struct lane_numbered *made)
{
    struct outgoing *out = &step->lane->out;
    out->used.items += made->count;
    out->used.bytes += made->frame.len;
    if (out->acked.n == out->sent) {
        out->ack_deadline_ms = step->event->now_ms + LANE_ACK_MS;
    }
    out->sent = made->first - 1 + made->count;
    out->ends[out->batches++] = out->sent;
    step_send(step, step->lane->live, made->frame);
}

/* I23, I27: fresh numbers follow on, and no number ever gets another chain. */
static bool numbered_check(const struct outgoing *out, const struct lane_numbered *made, struct err *err)
{
    uint64_t last = made->first - 1 + made->count;
    if (!out->making || made->count > BATCH_ITEMS_MAX) {
        return err_raise(err, ERR_STATE, "NUMBERED %zu items that were not asked for", made->count);
    }
    if (!made->again) {
        return made->count == 0 || (made->first == out->numbered + 1 && last - out->acked.n <= LANE_WINDOW) ||
               err_raise(err, ERR_INTERNAL, "NUMBERED from %ju after %ju", (uintmax_t)made->first,
                         (uintmax_t)out->numbered);
    }
    if (last > out->numbered || (made->count == 0 && made->first > out->acked.n)) {
        return err_raise(err, ERR_INTERNAL, "NUMBERED again up to %ju of %ju", (uintmax_t)last,
                         (uintmax_t)out->numbered);
    }
    for (size_t i = 0; i < made->count; i++) {
        uint64_t n = made->first + i;
        if (n > out->acked.n && !hash_equal(&made->chains[i], &out->chains[n % LANE_WINDOW])) {
            return err_raise(err, ERR_INTERNAL, "number %ju with another chain", (uintmax_t)n);
        }
    }
    return true;
}

bool outgoing_numbered(struct step *step, struct err *err)
{
    struct outgoing *out = &step->lane->out;
    const struct lane_numbered *made = &step->event->numbered;
    if (!numbered_check(out, made, err)) {
        return false;
    }
    out->making = false;
    if (!made->again) {
        for (size_t i = 0; i < made->count; i++) {
            out->chains[++out->numbered % LANE_WINDOW] = made->chains[i];
        }
        out->wake = out->wake || made->more;
    }
    bool fits = made->count > 0 && made->frame.len > 0 && made->first == out->sent + 1 &&
                out->used.items + made->count <= out->granted.items &&
                out->used.bytes + made->frame.len <= out->granted.bytes && out->batches < LANE_BATCHES_MAX;
    if (step->lane->live && fits) {
        send_batch(step, made);
    }
    outgoing_pump(step);
    return true;
}

/* The ack's own form is the trust's matter; here: is it for this stream, and for numbers that have this chain? */
bool outgoing_settle(struct step *step, const struct statement *statement, struct err *err)
{
    struct outgoing *out = &step->lane->out;
    const Chartmesh__V1__StreamAck *ack = AS(StreamAck, statement);
    if (!bytes_equal(bytes_pb(ack->sender), BYTES_OF(out->stream.sender)) || ack->lane != out->stream.lane ||
        ack->sender_incarnation != out->stream.incarnation ||
        ack->receiver_incarnation != out->stream.receiver_incarnation) {
        return rule_broken(err, "ACK", "ack of another stream");
    }
    if (ack->n < out->acked.n) {
        return true;
    }
    if (ack->n > out->numbered) {
        return rule_broken(err, "ACK", "ack of %ju, numbered up to %ju", (uintmax_t)ack->n,
                           (uintmax_t)out->numbered);
    }
    struct place place = outgoing_place(out, ack->n);
    if (!bytes_equal(bytes_pb(ack->chain), BYTES_OF(place.chain))) {
        return rule_broken(err, "ACK", "ack of %ju with another chain", (uintmax_t)ack->n);
    }
    if (ack->n == out->acked.n) {
        return true;
    }
    struct lane_update *update = step_update(step, LANE_DO_SETTLE);
    update->settle = (struct lane_settle){.from = out->acked.n,
                                          .place = place,
                                          .ack = statement->envelope,
                                          .except = ack->except,
                                          .except_count = ack->n_except};
    keep_copy(&out->their_ack, &out->their_ack_len, statement->envelope);
    out->acked = place;
    out->sent = MAX(out->sent, place.n);
    size_t done = 0;
    while (done < out->batches && out->ends[done] <= place.n) {
        done++;
    }
    out->batches -= done;
    memmove(out->ends, out->ends + done, out->batches * sizeof out->ends[0]);
    out->ack_deadline_ms = step->event->now_ms + LANE_ACK_MS;
    step->lane->failures = 0;
    return true;
}

bool outgoing_ack(struct step *step, const Chartmesh__V1__Envelope *message, struct err *err)
{
    struct bytes envelope;
    struct statement ack;
    if (!envelope_bytes(message, step->arena, &envelope, err)) {
        return false;
    }
    if (!trust_check(step->event->trust, envelope, STATEMENT_STREAM_ACK, 0, &step->lane->config.peer, step->arena,
                     &ack, err)) {
        return err->code == ERR_TOO_MUCH ? false : rule_broken(err, "ACK", "ack does not verify");
    }
    if (!outgoing_settle(step, &ack, err)) {
        return false;
    }
    outgoing_pump(step);
    return true;
}

/* Totals since Hello: they only grow. */
bool outgoing_credit(struct step *step, const Chartmesh__V1__Credit *credit, struct err *err)
{
    struct outgoing *out = &step->lane->out;
    if (credit->items < out->granted.items || credit->bytes < out->granted.bytes) {
        return rule_broken(err, "CREDIT", "credit taken back");
    }
    out->granted = (struct credit){credit->items, credit->bytes};
    outgoing_pump(step);
    return true;
}
