/* Their stream to us: checked, given to the node, acknowledged when durable. */
#include "replication/lane_internal.h"

void incoming_restart(struct step *step)
{
    struct incoming *in = &step->lane->in;
    in->granted = (struct credit){LANE_CREDIT_ITEMS, LANE_CREDIT_BYTES};
    in->used = (struct credit){0};
}

bool incoming_ack_envelope(struct step *step, struct bytes *out, struct err *err)
{
    struct incoming *in = &step->lane->in;
    return ack_sign(&in->stream, &in->stored, in->except, in->except_count, step->event->hlc,
                    step->lane->config.key, step->arena, out, err);
}

/* Exceptions stay until it is shown that they were seen: by the ack that a Hello shows us, or because a sender
 * never has more than LANE_WINDOW numbers unacknowledged. */
static void forget_shown(struct incoming *in)
{
    size_t kept = 0;
    for (size_t i = 0; i < in->except_count; i++) {
        if (in->except[i].n > in->shown) {
            in->except[kept++] = in->except[i];
        }
    }
    in->except_count = kept;
}

static bool send_ack(struct step *step, struct err *err)
{
    struct incoming *in = &step->lane->in;
    struct bytes envelope, ack, credit;
    if (!incoming_ack_envelope(step, &envelope, err) || !frame_ack(envelope, step->arena, &ack, err) ||
        !frame_credit(in->granted.items, in->granted.bytes, step->arena, &credit, err)) {
        return false;
    }
    step_send(step, step->lane->live, ack);
    step_send(step, step->lane->live, credit);
    return true;
}

static void give_back(struct incoming *in, size_t items, size_t bytes)
{
    in->granted.items += items;
    in->granted.bytes += bytes;
}

/* I25: what came before changes nothing; it is acknowledged again, or will be when it is stored. */
static bool seen_before(struct step *step, const Chartmesh__V1__StreamHead *head, size_t items, struct err *err)
{
    struct incoming *in = &step->lane->in;
    uint64_t last = head->first - 1 + head->count;
    if (last == in->checked.n && !bytes_equal(bytes_pb(head->chain), BYTES_OF(in->checked.chain))) {
        return rule_broken(err, "CHAIN", "another chain at %ju", (uintmax_t)last);
    }
    give_back(in, items, step->event->frame.len);
    return last > in->stored.n || send_ack(step, err);
}

static bool spend(struct step *step, size_t items, struct err *err)
{
    struct incoming *in = &step->lane->in;
    in->used.items += items;
    in->used.bytes += step->event->frame.len;
    return (in->used.items <= in->granted.items && in->used.bytes <= in->granted.bytes) ||
           rule_broken(err, "CREDIT", "more in flight than was granted");
}

static void give_to_node(struct step *step, const struct batch *batch, size_t items)
{
    struct incoming *in = &step->lane->in;
    in->pending[in->pending_count].after = batch->after;
    in->pending[in->pending_count].items = items;
    in->pending[in->pending_count].bytes = step->event->frame.len;
    in->pending[in->pending_count].link = step->lane->live->id;
    in->pending[in->pending_count++].doomed = false;
    in->checked = batch->after;
    if (batch->after.n > LANE_WINDOW) {
        in->shown = MAX(in->shown, batch->after.n - LANE_WINDOW);
    }
    struct lane_update *update = step_update(step, LANE_DO_STORE);
    update->batch = batch;
    update->shown = in->shown;
}

bool incoming_batch(struct step *step, const Chartmesh__V1__Batch *message, struct err *err)
{
    struct incoming *in = &step->lane->in;
    struct statement head;
    if (!spend(step, message->n_items, err) ||
        !batch_head(message, &in->stream, step->event->trust, step->arena, &head, err)) {
        return false;
    }
    const Chartmesh__V1__StreamHead *claim = AS(StreamHead, &head);
    if (claim->first - 1 + claim->count <= in->checked.n) {
        return seen_before(step, claim, message->n_items, err);
    }
    if (in->pending_count == LANE_STORES_MAX) {
        return rule_broken(err, "CREDIT", "over %d batches in flight", LANE_BATCHES_MAX);
    }
    void *memory;
    if (!arena_alloc(step->arena, sizeof(struct batch), &memory, err) ||
        !batch_check(message, &head, &in->stream, &in->checked, step->event->trust, step->arena, memory, err)) {
        return false;
    }
    give_to_node(step, memory, message->n_items);
    return true;
}

/* A failed STORE takes all that were given after it along: none of them is acknowledged, all come again. */
static void store_failed(struct step *step)
{
    struct incoming *in = &step->lane->in;
    in->checked = in->stored;
    for (size_t i = 0; i < in->pending_count; i++) {
        in->pending[i].doomed = true;
    }
    if (step->lane->live) {
        link_end(step, step->lane->live, "STORE_FAILED", "the batch could not be stored now");
    }
}

static bool stored(struct step *step, const struct lane_stored *answer, struct err *err)
{
    struct incoming *in = &step->lane->in;
    if (in->pending[0].doomed || !answer->batch || answer->batch->after.n != in->pending[0].after.n ||
        in->except_count + answer->except_count > COUNT(in->except)) {
        return err_raise(err, ERR_STATE, "STORED another batch than the oldest given");
    }
    in->stored = in->pending[0].after;
    keep_copy(&in->their_head, &in->their_head_len, answer->batch->head.envelope);
    for (size_t i = 0; i < answer->except_count; i++) {
        in->except[in->except_count++] = answer->except[i];
    }
    forget_shown(in);
    step->lane->failures = 0;
    if (!step->lane->live) {
        return true;
    }
    if (in->pending[0].link == step->lane->live->id) {
        give_back(in, in->pending[0].items, in->pending[0].bytes);
    }
    return send_ack(step, err);
}

bool incoming_stored(struct step *step, struct err *err)
{
    struct incoming *in = &step->lane->in;
    const struct lane_stored *answer = &step->event->stored;
    if (in->pending_count == 0) {
        return err_raise(err, ERR_STATE, "STORED a batch that was not given");
    }
    if (!answer->failed && !stored(step, answer, err)) {
        return false;
    }
    if (answer->failed && !in->pending[0].doomed) {
        store_failed(step);
    }
    in->pending_count--;
    memmove(in->pending, in->pending + 1, in->pending_count * sizeof in->pending[0]);
    return true;
}
