/* The first frame each way: who I am, how far each stream has come, what may be in flight. */
#include "replication/lane_internal.h"

bool hello_send(struct step *step, struct link *link, struct err *err)
{
    struct lane *lane = step->lane;
    Chartmesh__V1__Hello hello = CHARTMESH__V1__HELLO__INIT;
    Chartmesh__V1__Credit credit = CHARTMESH__V1__CREDIT__INIT;
    Chartmesh__V1__Frame frame = CHARTMESH__V1__FRAME__INIT;
    struct bytes my_ack, packed;
    hello.protocol = LANE_PROTOCOL;
    hello.network = pb_bytes(BYTES_OF(lane->config.network));
    hello.facility = pb_bytes(BYTES_OF(lane->config.self));
    hello.incarnation = lane->config.incarnation;
    hello.lane = lane->config.lane;
    hello.hlc = step->event->hlc;
    hello.roster_version = trust_roster_version(step->event->trust);
    credit.items = LANE_CREDIT_ITEMS;
    credit.bytes = LANE_CREDIT_BYTES;
    hello.credit = &credit;
    if (!envelope_of(lane->config.epoch, step->arena, &hello.epoch, err) ||
        (lane->in.their_head_len &&
         !envelope_of(BYTES(lane->in.their_head, lane->in.their_head_len), step->arena, &hello.your_head, err)) ||
        (lane->out.their_ack_len &&
         !envelope_of(BYTES(lane->out.their_ack, lane->out.their_ack_len), step->arena, &hello.your_ack, err))) {
        return err_wrap(err, "hello");
    }
    if (lane->in.stored.n > 0 &&
        (!incoming_ack_envelope(step, &my_ack, err) || !envelope_of(my_ack, step->arena, &hello.my_ack, err))) {
        return err_wrap(err, "hello");
    }
    frame.f_case = CHARTMESH__V1__FRAME__F_HELLO;
    frame.hello = &hello;
    if (!frame_pack(&frame, step->arena, &packed, err)) {
        return err_wrap(err, "hello");
    }
    step_send(step, link, packed);
    return true;
}

/* Verifies an envelope of the Hello; `signer` is the peer or, for what they show us of ours, ourselves. */
static bool shown(struct step *step, const Chartmesh__V1__Envelope *message, enum statement_kind kind,
                  const struct id *signer, struct statement *out, struct err *err)
{
    struct bytes envelope;
    if (!envelope_bytes(message, step->arena, &envelope, err)) {
        return false;
    }
    if (!trust_check(step->event->trust, envelope, kind, 0, kind == STATEMENT_EPOCH ? NULL : signer, step->arena,
                     out, err)) {
        return err->code == ERR_TOO_MUCH
                   ? false
                   : rule_broken(err, "HELLO", "its %s does not verify", statement_name(kind));
    }
    return bytes_equal(bytes_pb(out->head->facility), BYTES_OF(*signer)) ||
           rule_broken(err, "HELLO", "a %s of another facility", statement_name(kind));
}

static bool who_check(struct step *step, const Chartmesh__V1__Hello *hello, struct err *err)
{
    const struct lane_config *config = &step->lane->config;
    struct statement epoch;
    if (hello->protocol != LANE_PROTOCOL) {
        return rule_broken(err, "PROTOCOL", "protocol %u, spoken here: %d", hello->protocol, LANE_PROTOCOL);
    }
    if (!bytes_equal(bytes_pb(hello->network), BYTES_OF(config->network)) ||
        !bytes_equal(bytes_pb(hello->facility), BYTES_OF(config->peer)) || hello->lane != config->lane) {
        return rule_broken(err, "HELLO", "of another network, facility or lane");
    }
    if (!hello->epoch || hello->incarnation == 0) {
        return rule_broken(err, "HELLO", "without its epoch");
    }
    if (!shown(step, hello->epoch, STATEMENT_EPOCH, &config->peer, &epoch, err)) {
        return false;
    }
    if (AS(Epoch, &epoch)->incarnation != hello->incarnation) {
        return rule_broken(err, "HELLO", "incarnation is not its epoch's");
    }
    if (!hello->credit || hello->credit->items == 0 || hello->credit->bytes < FRAME_MAX) {
        return rule_broken(err, "CREDIT", "a Hello grants at least one item and %d bytes", FRAME_MAX);
    }
    return true;
}

/* They show the newest head of ours that they stored: beyond what we numbered, we were set back; another chain for
 * one of our numbers, our key is in two hands. *halted says that the lane stopped. */
static bool head_check(struct step *step, const Chartmesh__V1__Hello *hello, bool *halted, struct err *err)
{
    const struct outgoing *out = &step->lane->out;
    struct statement statement;
    if (!hello->your_head) {
        return true;
    }
    if (!shown(step, hello->your_head, STATEMENT_STREAM_HEAD, &step->lane->config.self, &statement, err)) {
        return false;
    }
    const Chartmesh__V1__StreamHead *head = AS(StreamHead, &statement);
    if (!bytes_equal(bytes_pb(head->receiver), BYTES_OF(step->lane->config.peer)) ||
        head->lane != step->lane->config.lane || head->incarnation != step->lane->config.incarnation) {
        return true; /* of an earlier incarnation */
    }
    uint64_t last = head->first - 1 + head->count;
    if (last > out->numbered) {
        lane_halt(step, "SELF_ROLLED_BACK", "the peer holds a head of ours beyond our numbers");
        *halted = true;
    } else if (last >= out->acked.n) {
        struct place place = outgoing_place(out, last);
        if (!bytes_equal(bytes_pb(head->chain), BYTES_OF(place.chain))) {
            lane_halt(step, "KEY_IN_TWO_HANDS", "the peer holds a head of ours with another chain");
            *halted = true;
        }
    }
    return true;
}

/* They show the newest ack of ours that they hold: it also shows which exceptions they have seen. */
static bool ack_shown_check(struct step *step, const Chartmesh__V1__Hello *hello, bool *halted, struct err *err)
{
    struct incoming *in = &step->lane->in;
    struct statement statement;
    if (!hello->your_ack) {
        return true;
    }
    if (!shown(step, hello->your_ack, STATEMENT_STREAM_ACK, &step->lane->config.self, &statement, err)) {
        return false;
    }
    const Chartmesh__V1__StreamAck *ack = AS(StreamAck, &statement);
    if (!bytes_equal(bytes_pb(ack->sender), BYTES_OF(step->lane->config.peer)) ||
        ack->lane != step->lane->config.lane || ack->sender_incarnation != hello->incarnation ||
        ack->receiver_incarnation != step->lane->config.incarnation) {
        return true;
    }
    if (ack->n > in->stored.n) {
        lane_halt(step, "SELF_ROLLED_BACK", "the peer holds an ack of ours beyond what we have");
        *halted = true;
    } else {
        in->shown = MAX(in->shown, ack->n);
    }
    return true;
}

/* Their own newest ack: where to go on. One that is older than what we know was on its way when they acked again.
 */
static bool resume(struct step *step, const Chartmesh__V1__Hello *hello, bool *halted, struct err *err)
{
    struct statement statement;
    if (!hello->my_ack) {
        return true;
    }
    if (!shown(step, hello->my_ack, STATEMENT_STREAM_ACK, &step->lane->config.peer, &statement, err)) {
        return false;
    }
    const Chartmesh__V1__StreamAck *ack = AS(StreamAck, &statement);
    if (ack->sender_incarnation != step->lane->config.incarnation) {
        return true;
    }
    if (ack->n > step->lane->out.numbered) {
        lane_halt(step, "SELF_ROLLED_BACK", "the peer acknowledges numbers that we have not given");
        *halted = true;
        return true;
    }
    return outgoing_settle(step, &statement, err);
}

/* Of two connections the one whose dialer said Hello later stays. */
static bool outranked(const struct lane *lane, const struct link *link)
{
    if (!lane->live) {
        return false;
    }
    if (lane->live->rank != link->rank) {
        return lane->live->rank > link->rank;
    }
    bool self_first = bytes_compare(BYTES_OF(lane->config.self), BYTES_OF(lane->config.peer)) > 0;
    return lane->live->ours == self_first && link->ours != self_first;
}

/* The peer began anew (it says so in a signed epoch): its stream starts again. */
static void meet(struct step *step, uint64_t incarnation)
{
    struct lane *lane = step->lane;
    lane->out.stream.receiver_incarnation = incarnation;
    if (lane->in.stream.incarnation == incarnation) {
        return;
    }
    lane->in.stream.incarnation = incarnation;
    lane->in.stored = stream_begin(&lane->in.stream);
    lane->in.checked = lane->in.stored;
    lane->in.except_count = 0;
    lane->in.shown = 0;
    keep_copy(&lane->in.their_head, &lane->in.their_head_len, BYTES_NONE);
}

static void greet(struct step *step, struct link *link, const Chartmesh__V1__Hello *hello, struct bytes epoch)
{
    struct lane *lane = step->lane;
    if (lane->live) {
        link_end(step, lane->live, "REPLACED", "a newer connection");
    }
    link_move(link, LINK_LIVE);
    lane->live = link;
    lane->state = LANE_LIVE;
    lane->live_since_ms = step->event->now_ms;
    lane->peer_roster_version = hello->roster_version;
    lane->out.granted = (struct credit){hello->credit->items, hello->credit->bytes};
    struct lane_update *update = step_update(step, LANE_DO_GREET);
    update->greeting = (struct lane_greeting){hello->incarnation, hello->hlc, hello->roster_version, epoch};
    outgoing_restart(step);
    incoming_restart(step);
    pull_restart(step);
    outgoing_pump(step);
    pull_pump(step);
}

bool hello_take(struct step *step, struct link *link, const Chartmesh__V1__Hello *hello, struct err *err)
{
    struct lane *lane = step->lane;
    struct bytes epoch;
    bool halted = false;
    if (!who_check(step, hello, err) || !envelope_bytes(hello->epoch, step->arena, &epoch, err)) {
        return false;
    }
    if (hello->incarnation < lane->in.stream.incarnation) {
        lane_halt(step, "PEER_ROLLED_BACK", "the peer is in an earlier incarnation than before");
        return true;
    }
    if (hello->incarnation != lane->in.stream.incarnation && lane->in.pending_count > 0) {
        return rule_broken(err, "BUSY", "batches of the earlier incarnation are still being stored");
    }
    link->rank = link->ours ? link->rank : hello->hlc;
    if (outranked(lane, link)) {
        link_end(step, link, "REPLACED", "a newer connection");
        return true;
    }
    meet(step, hello->incarnation);
    if (!head_check(step, hello, &halted, err) || (!halted && !ack_shown_check(step, hello, &halted, err)) ||
        (!halted && !resume(step, hello, &halted, err))) {
        return false;
    }
    if (halted) {
        return true;
    }
    if (!link->ours && !hello_send(step, link, err)) {
        return false;
    }
    greet(step, link, hello, epoch);
    return true;
}
