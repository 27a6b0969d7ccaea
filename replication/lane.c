#include "replication/lane.h"

#include <stdio.h>
#include <stdlib.h>

#include "replication/lane_internal.h"

static void *heap(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory) {
        abort();
    }
    return memory;
}

void keep_copy(uint8_t **owned, size_t *len, struct bytes view)
{
    free(*owned);
    *owned = view.len ? heap(view.len) : NULL;
    *len = view.len;
    if (view.len) {
        memcpy(*owned, view.data, view.len);
    }
}

struct lane *lane_new(const struct lane_config *config, const struct lane_kept *kept)
{
    struct lane *lane = heap(sizeof *lane);
    lane->config = *config;
    lane->link_next = MAX(config->first_link, (uint64_t)1);
    lane->chance = config->seed;
    lane->out.stream = (struct stream){.network = config->network,
                                       .sender = config->self,
                                       .receiver = config->peer,
                                       .incarnation = config->incarnation,
                                       .receiver_incarnation = kept->peer_incarnation,
                                       .lane = config->lane};
    lane->in.stream = (struct stream){.network = config->network,
                                      .sender = config->peer,
                                      .receiver = config->self,
                                      .incarnation = kept->peer_incarnation,
                                      .receiver_incarnation = config->incarnation,
                                      .lane = config->lane};
    lane->out.acked = kept->acked.n ? kept->acked : stream_begin(&lane->out.stream);
    lane->out.sent = kept->acked.n;
    lane->out.numbered = kept->acked.n;
    for (size_t i = 0; i < kept->count && i < LANE_WINDOW; i++) {
        lane->out.chains[++lane->out.numbered % LANE_WINDOW] = kept->chains[i];
    }
    lane->out.wake = true;
    lane->in.stored = kept->stored.n ? kept->stored : stream_begin(&lane->in.stream);
    lane->in.checked = lane->in.stored;
    lane->in.except_count = MIN(kept->except_count, COUNT(lane->in.except));
    for (size_t i = 0; i < lane->in.except_count; i++) {
        lane->in.except[i] = kept->except[i];
    }
    keep_copy(&lane->out.their_ack, &lane->out.their_ack_len, kept->their_ack);
    keep_copy(&lane->in.their_head, &lane->in.their_head_len, kept->their_head);
    lane->pull.starved = true;
    return lane;
}

void lane_free(struct lane *lane)
{
    if (lane) {
        free(lane->out.their_ack);
        free(lane->in.their_head);
        free(lane);
    }
}

/* ---- Updates ------------------------------------------------------------------------------------------------ */

struct lane_update *step_update(struct step *step, enum lane_update_kind kind)
{
    if (step->updates->count == LANE_UPDATES_MAX) {
        abort();
    }
    struct lane_update *update = &step->updates->list[step->updates->count++];
    *update = (struct lane_update){.kind = kind};
    return update;
}

void step_send(struct step *step, const struct link *link, struct bytes frame)
{
    struct lane_update *update = step_update(step, LANE_DO_SEND);
    update->link = link->id;
    update->frame = frame;
}

/* A text that outlives the step's own error value; cut to what the arena still has. */
static const char *step_text(struct step *step, const char *text)
{
    char *copy;
    struct err err;
    return arena_string(step->arena, bytes_str(text), &copy, &err) ? copy : "";
}

/* ---- Links -------------------------------------------------------------------------------------------------- */

void link_move(struct link *link, enum link_state to)
{
    static const bool moves[LINK_STATES][LINK_STATES] = {
        [LINK_FREE] = {[LINK_DIALING] = true, [LINK_GREETING] = true},
        [LINK_DIALING] = {[LINK_GREETING] = true, [LINK_FREE] = true},
        [LINK_GREETING] = {[LINK_LIVE] = true, [LINK_FREE] = true},
        [LINK_LIVE] = {[LINK_FREE] = true},
    };
    if (!moves[link->state][to]) {
        abort();
    }
    link->state = to;
}

static uint64_t draw(uint64_t *chance)
{
    uint64_t z = (*chance += 0x9e3779b97f4a7c15u); /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* After every failure twice as long, and never at the same moment as everybody else. */
static void back_off(struct step *step)
{
    struct lane *lane = step->lane;
    uint64_t delay = (uint64_t)LANE_BACKOFF_MIN_MS << MIN(lane->failures, 9u);
    delay = MIN(delay, (uint64_t)LANE_BACKOFF_MAX_MS);
    lane->failures++;
    lane->retry_ms = step->event->now_ms + delay / 2 + draw(&lane->chance) % (delay / 2 + 1);
}

void link_end(struct step *step, struct link *link, const char *rule, const char *text)
{
    struct lane *lane = step->lane;
    if (rule) {
        struct lane_update *update = step_update(step, LANE_DO_CLOSE);
        update->link = link->id;
        update->rule = step_text(step, rule);
        update->text = step_text(step, text);
        snprintf(lane->last, sizeof lane->last, "%s: %s", rule, text);
    }
    if (link == lane->live) {
        lane->live = NULL;
        lane->state = lane->state == LANE_LIVE ? LANE_DOWN : lane->state;
        pull_restart(step);
        back_off(step);
    } else if (link->ours) {
        back_off(step);
    }
    link_move(link, LINK_FREE);
}

void lane_halt(struct step *step, const char *rule, const char *text)
{
    struct lane_update *update = step_update(step, LANE_DO_ALARM);
    update->rule = step_text(step, rule);
    update->text = step_text(step, text);
    step->lane->state = LANE_HALTED;
    snprintf(step->lane->last, sizeof step->lane->last, "%s: %s", rule, text);
    for (size_t i = 0; i < LANE_LINKS_MAX; i++) {
        if (step->lane->links[i].state != LINK_FREE) {
            link_end(step, &step->lane->links[i], rule, text);
        }
    }
}

static struct link *link_find(struct lane *lane, uint64_t id)
{
    for (size_t i = 0; i < LANE_LINKS_MAX; i++) {
        if (lane->links[i].state != LINK_FREE && lane->links[i].id == id) {
            return &lane->links[i];
        }
    }
    return NULL;
}

/* A free place, else that of the link that has waited longest for its Hello. */
static struct link *link_place(struct step *step)
{
    struct link *oldest = NULL;
    for (size_t i = 0; i < LANE_LINKS_MAX; i++) {
        struct link *link = &step->lane->links[i];
        if (link->state == LINK_FREE) {
            return link;
        }
        if (link->state != LINK_LIVE && (!oldest || link->deadline_ms < oldest->deadline_ms)) {
            oldest = link;
        }
    }
    link_end(step, oldest, "REPLACED", "too many connections");
    return oldest;
}

static void dial(struct step *step)
{
    struct lane *lane = step->lane;
    bool trying = lane->state != LANE_DOWN || !lane->config.dials || step->event->now_ms < lane->retry_ms;
    for (size_t i = 0; i < LANE_LINKS_MAX && !trying; i++) {
        trying = lane->links[i].state != LINK_FREE && lane->links[i].ours;
    }
    if (trying) {
        return;
    }
    struct link *link = link_place(step);
    *link = (struct link){.id = lane->link_next, .ours = true, .deadline_ms = step->event->now_ms + LANE_DIAL_MS};
    lane->link_next += 2;
    link_move(link, LINK_DIALING);
    step_update(step, LANE_DO_DIAL)->link = link->id;
}

static bool opened(struct step *step, struct err *err)
{
    struct link *link = link_find(step->lane, step->event->link);
    if (!link || link->state != LINK_DIALING) {
        step_update(step, LANE_DO_CLOSE)->link = step->event->link; /* given up meanwhile */
        return true;
    }
    link_move(link, LINK_GREETING);
    link->deadline_ms = step->event->now_ms + LANE_HELLO_MS;
    link->rank = step->event->hlc;
    return hello_send(step, link, err);
}

static void accepted(struct step *step)
{
    if (step->lane->state == LANE_HALTED) {
        struct lane_update *update = step_update(step, LANE_DO_CLOSE);
        update->link = step->event->link;
        update->rule = "HALTED";
        update->text = "this lane waits for its operator";
        return;
    }
    struct link *link = link_place(step);
    *link = (struct link){.id = step->event->link, .deadline_ms = step->event->now_ms + LANE_HELLO_MS};
    link_move(link, LINK_GREETING);
}

/* ---- Frames ------------------------------------------------------------------------------------------------- */

static bool live_frame(struct step *step, const Chartmesh__V1__Frame *frame, struct err *err)
{
    switch (frame->f_case) {
    case CHARTMESH__V1__FRAME__F_BATCH:
        return incoming_batch(step, frame->batch, err);
    case CHARTMESH__V1__FRAME__F_ACK:
        return outgoing_ack(step, frame->ack, err);
    case CHARTMESH__V1__FRAME__F_CREDIT:
        return outgoing_credit(step, frame->credit, err);
    case CHARTMESH__V1__FRAME__F_WANT:
        return serve_want(step, frame->want, err);
    case CHARTMESH__V1__FRAME__F_CHUNK:
        return pull_chunk(step, frame->chunk, err);
    case CHARTMESH__V1__FRAME__F_LEASE:
        return true; /* docs/protocol/05-replication.md, 5.7: passed over by a node that needs none */
    default:
        return rule_broken(err, "HELLO", "a second Hello");
    }
}

static bool frame_take(struct step *step, struct link *link, struct err *err)
{
    Chartmesh__V1__Frame *frame;
    if (!frame_unpack(step->event->frame, step->arena, &frame, err)) {
        return false;
    }
    if (link->state == LINK_LIVE) {
        return live_frame(step, frame, err);
    }
    if (link->state != LINK_GREETING || frame->f_case != CHARTMESH__V1__FRAME__F_HELLO) {
        return rule_broken(err, "HELLO", "the first frame is not a Hello");
    }
    return hello_take(step, link, frame->hello, err);
}

/* A peer's fault ends the link; only our own node's go up. */
static bool received(struct step *step, struct err *err)
{
    struct link *link = link_find(step->lane, step->event->link);
    if (!link || frame_take(step, link, err)) {
        return true;
    }
    if (err->code != ERR_INVALID && err->code != ERR_TOO_MUCH) {
        return false;
    }
    const char *rule = err->code == ERR_TOO_MUCH ? "TOO_LARGE" : err->field[0] ? err->field : "FRAME";
    if (link->state != LINK_FREE) {
        link_end(step, link, rule, err->text);
    }
    return true;
}

static void tick(struct step *step)
{
    struct lane *lane = step->lane;
    uint64_t now = step->event->now_ms;
    for (size_t i = 0; i < LANE_LINKS_MAX; i++) {
        struct link *link = &lane->links[i];
        if ((link->state == LINK_DIALING || link->state == LINK_GREETING) && now >= link->deadline_ms) {
            link_end(step, link, "TIMEOUT", link->state == LINK_DIALING ? "no connection" : "no Hello");
        }
    }
    if (lane->live && lane->out.acked.n < lane->out.sent && now >= lane->out.ack_deadline_ms) {
        link_end(step, lane->live, "TIMEOUT", "no Ack");
    }
    if (lane->live && now - lane->live_since_ms >= LANE_HELLO_MS) {
        lane->failures = 0;
    }
    dial(step);
    pull_pump(step);
    outgoing_pump(step);
}

static void closed(struct step *step)
{
    struct link *link = link_find(step->lane, step->event->link);
    if (link) {
        link_end(step, link, NULL, NULL);
    }
}

/* What must hold between two steps. */
static void lane_check(const struct lane *lane)
{
    const struct outgoing *out = &lane->out;
    bool ok = out->acked.n <= out->sent && out->sent <= out->numbered &&
              out->numbered - out->acked.n <= LANE_WINDOW && lane->in.stored.n <= lane->in.checked.n &&
              lane->in.pending_count <= LANE_STORES_MAX && (lane->live != NULL) == (lane->state == LANE_LIVE) &&
              (!lane->live || lane->live->state == LINK_LIVE);
    if (!ok) {
        abort();
    }
}

bool lane_step(struct lane *lane, const struct lane_event *event, struct arena *arena, struct lane_updates *out,
               struct err *err)
{
    struct step step = {.lane = lane, .event = event, .arena = arena, .updates = out};
    bool ok = true;
    out->count = 0;
    switch (event->kind) {
    case LANE_TICK:
        tick(&step);
        break;
    case LANE_OPENED:
        ok = opened(&step, err);
        break;
    case LANE_ACCEPTED:
        accepted(&step);
        break;
    case LANE_CLOSED:
        closed(&step);
        break;
    case LANE_RECEIVED:
        ok = received(&step, err);
        break;
    case LANE_WAKE:
        lane->out.wake = true;
        outgoing_pump(&step);
        break;
    case LANE_NUMBERED:
        ok = outgoing_numbered(&step, err);
        break;
    case LANE_STORED:
        ok = incoming_stored(&step, err);
        break;
    case LANE_WANTED:
        pull_wanted(&step);
        break;
    case LANE_TAKEN:
        ok = pull_taken(&step, err);
        break;
    case LANE_STOP:
        lane_halt(&step, "STOPPED", event->why);
        break;
    case LANE_SERVED:
        ok = serve_served(&step, err);
        break;
    default:
        return err_raise(err, ERR_INTERNAL, "lane: event %d", event->kind);
    }
    lane_check(lane);
    return ok || err_wrap(err, "lane");
}

struct lane_status lane_status(const struct lane *lane)
{
    struct lane_status status = {.state = lane->state,
                                 .numbered = lane->out.numbered,
                                 .sent = lane->out.sent,
                                 .acked = lane->out.acked.n,
                                 .stored = lane->in.stored.n,
                                 .peer_incarnation = lane->in.stream.incarnation,
                                 .peer_roster_version = lane->peer_roster_version,
                                 .next_link = lane->link_next};
    for (size_t i = 0; i < LANE_PULLS_MAX; i++) {
        status.pulls += lane->pull.pulls[i].used;
    }
    memcpy(status.last, lane->last, sizeof status.last);
    return status;
}

bool lane_idle(const struct lane *lane)
{
    const struct lane_status status = lane_status(lane);
    return status.acked == status.numbered && !lane->out.making && !lane->out.wake &&
           lane->in.pending_count == 0 && status.pulls == 0 && !lane->serve.out && lane->serve.count == 0;
}
