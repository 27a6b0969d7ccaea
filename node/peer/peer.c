/* The channels: mail in, one task at a time, updates out. */
#include "node/peer/peer.h"

#include <stdlib.h>

#include "node/peer/inside.h"

enum { TICK_MS = 200, RETRY_MS = 5000, WITNESS_EVERY = 3, KEPT_ARENA = 8 << 20 };

static void *heap(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory) {
        abort();
    }
    return memory;
}

static const char *lane_name(const struct channel *ch)
{
    return ch->lane == CHARTMESH__V1__LANE__LANE_CONTROL ? "control" : "bulk";
}

void channel_log(const struct channel *ch, const char *event, const char *text)
{
    const struct peers_options *options = &ch->peers->options;
    if (options->log) {
        options->log(options->log_context, &ch->peer->facility, lane_name(ch), event, text);
    }
}

struct stream channel_stream(const struct channel *ch, bool ours)
{
    struct log *log = chart_log(ch->peers->options.chart);
    struct stream stream = {.network = *log_network(log),
                            .sender = *log_facility(log),
                            .receiver = ch->peer->facility,
                            .incarnation = log_incarnation(log),
                            .lane = ch->lane};
    uint64_t theirs = lane_status(ch->machine).peer_incarnation;
    if (!ours) {
        stream.sender = ch->peer->facility;
        stream.receiver = *log_facility(log);
        stream.receiver_incarnation = stream.incarnation;
        stream.incarnation = theirs;
    } else {
        stream.receiver_incarnation = theirs;
    }
    return stream;
}

/* ---- Carrying out ------------------------------------------------------------------------------------------------- */

static bool greet(struct channel *ch, const struct lane_greeting *greeting)
{
    struct chart *chart = ch->peers->options.chart;
    struct err err;
    bool control = ch->lane == CHARTMESH__V1__LANE__LANE_CONTROL;
    struct log_txn *txn = log_txn_new(chart_log(chart));
    if (!world_hlc_see(ch->peers->world, greeting->hlc, &err)) {
        channel_log(ch, "clock", err.text);
    }
    if (!chart_trust_add(chart, txn, &greeting->epoch, 1, &err)) {
        channel_log(ch, "epoch", err.text);
        log_txn_free(txn);
    } else if (!log_commit(txn, NULL, &err)) {
        channel_log(ch, "epoch", err.text);
    }
    if (control && !roster_owe(ch, greeting->roster_version, &err)) {
        channel_log(ch, "roster", err.text);
    }
    ch->peer->seen_ms = world_now_ms(ch->peers->world);
    channel_log(ch, "connected", "");
    return true;
}

static bool carry_out(struct channel *ch, const struct lane_update *u, struct arena *arena, struct err *err)
{
    const struct peer_transport *t = &ch->peers->options.transport;
    const struct id *to = &ch->peer->facility;
    switch (u->kind) {
    case LANE_DO_DIAL:
        t->dial(t->context, to, ch->lane, u->link);
        return true;
    case LANE_DO_SEND:
        t->send(t->context, to, ch->lane, u->link, u->frame);
        return true;
    case LANE_DO_CLOSE:
        channel_log(ch, "closed", u->text ? u->text : "");
        t->close(t->context, to, ch->lane, u->link, u->rule ? u->rule : "", u->text ? u->text : "");
        return true;
    case LANE_DO_GREET:
        return greet(ch, &u->greeting);
    case LANE_DO_MAKE:
        ch->make = u->make;
        ch->make_due = true;
        return true;
    case LANE_DO_STORE:
        return store_batch(ch, u->batch, u->shown, arena, err);
    case LANE_DO_SETTLE:
        return send_settle(ch, &u->settle, arena, err);
    case LANE_DO_TAKE:
        return pull_take(ch, u->chunk, arena, err);
    case LANE_DO_SERVE:
        ch->serve = u->serve;
        ch->serve_due = true;
        return true;
    case LANE_DO_COMPLETE:
        return pull_complete(ch, &u->serve, err);
    case LANE_DO_REFILL:
        return pull_refill(ch, arena, err);
    case LANE_DO_ALARM:
        channel_log(ch, "ALARM", u->text);
        if (ch->peers->options.alarm) {
            ch->peers->options.alarm(ch->peers->options.log_context, to, u->rule);
        }
        return true;
    }
    return err_raise(err, ERR_INTERNAL, "peer: update %d", u->kind);
}

bool channel_tell(struct channel *ch, struct lane_event *event, struct arena *arena, struct err *err)
{
    struct chart *chart = ch->peers->options.chart;
    void *memory;
    if (!arena_alloc(arena, sizeof(struct lane_updates), &memory, err)) {
        return false;
    }
    struct lane_updates *updates = memory;
    event->now_ms = world_mono_ms(ch->peers->world);
    event->hlc = world_hlc(ch->peers->world);
    event->trust = chart_trust_take(chart);
    bool ok = lane_step(ch->machine, event, arena, updates, err);
    chart_trust_give(chart);
    for (size_t i = 0; ok && i < updates->count; i++) {
        ok = carry_out(ch, &updates->list[i], arena, err);
    }
    return ok;
}

/* ---- Serving one channel ------------------------------------------------------------------------------------------- */

static bool work_due(struct channel *ch, struct err *err)
{
    while (ch->make_due || ch->serve_due) {
        if (ch->make_due) {
            ch->make_due = false;
            if (!send_make(ch, &ch->make, err)) {
                return false;
            }
        }
        if (ch->serve_due) {
            ch->serve_due = false;
            if (!pull_serve(ch, &ch->serve, err)) {
                return false;
            }
        }
    }
    return true;
}

static bool work_on(struct channel *ch, const struct mail *mail, struct err *err)
{
    AUTO_ARENA(arena, EVENT_ARENA);
    struct lane_event event = {.kind = mail->kind, .link = mail->link, .frame = mail->frame};
    if (!channel_tell(ch, &event, &arena, err)) {
        return false;
    }
    if (mail->kind == LANE_TICK && world_mono_ms(ch->peers->world) >= ch->retry_ms) {
        ch->retry_ms = world_mono_ms(ch->peers->world) + RETRY_MS;
        event = (struct lane_event){.kind = LANE_WAKE};
        if (!channel_tell(ch, &event, &arena, err)) {
            return false;
        }
    }
    return work_due(ch, err);
}

/* What the store says ends the process: what it holds is not what was acknowledged. */
static bool is_of_store(const struct err *err)
{
    return err->code == ERR_CORRUPT || err->code == ERR_UNAVAILABLE;
}

/* A lane that this node cannot go on with stops, with the reason, until an operator resumes it: what came is not
 * acknowledged and will come again. Nobody else is touched. */
static void stop_lane(struct channel *ch, const struct err *why)
{
    AUTO_ARENA(arena, EVENT_ARENA);
    struct err err;
    struct lane_event event = {.kind = LANE_STOP, .why = why->text};
    ch->make_due = ch->serve_due = false;
    channel_log(ch, "stopped", why->text);
    if (!channel_tell(ch, &event, &arena, &err)) {
        world_fatal(ch->peers->world, &err);
    }
}

static void serve_mail(struct channel *ch, const struct mail *mail)
{
    struct err err;
    if (work_on(ch, mail, &err)) {
        return;
    }
    if (is_of_store(&err)) {
        channel_log(ch, "fatal", err.text);
        world_fatal(ch->peers->world, &err);
    }
    stop_lane(ch, &err);
}

static struct mail *next_mail(struct channel *ch)
{
    AUTO_LOCKED(held, ch->lock);
    struct mail *mail = ch->first;
    if (ch->machine) {
        ch->status = lane_status(ch->machine);
        ch->idle = lane_idle(ch->machine);
    }
    if (!mail || ch->stopping) {
        ch->running = false;
        return NULL;
    }
    ch->first = mail->next;
    ch->last = ch->first ? ch->last : &ch->first;
    ch->bytes -= mail->frame.len;
    ch->events--;
    ch->ticking = ch->ticking && mail->kind != LANE_TICK;
    ch->waking = ch->waking && mail->kind != LANE_WAKE;
    return mail;
}

static bool channel_load(struct channel *ch, struct lane **out, struct err *err);

/* A lane that had stopped begins anew from what is stored. */
static void resume_lane(struct channel *ch)
{
    struct lane *fresh;
    struct err err;
    world_lock_take(ch->lock);
    bool due = ch->resuming;
    ch->resuming = false;
    world_lock_give(ch->lock);
    if (!due) {
        return;
    }
    if (!channel_load(ch, &fresh, &err)) {
        channel_log(ch, "not_resumed", err.text);
        return;
    }
    lane_free(ch->machine);
    ch->machine = fresh;
    channel_log(ch, "resumed", "");
}

/* One piece of mail, then to the end of the workers' queue: channels take turns. */
static void channel_run(void *arg)
{
    struct channel *ch = arg;
    resume_lane(ch);
    struct mail *mail = next_mail(ch);
    if (mail) {
        serve_mail(ch, mail);
        free(mail);
        world_submit(ch->workers, channel_run, ch);
    }
}

/* post never waits. Ticks and wakes that wait already are enough. False: the queue is full. */
static bool post(struct channel *ch, enum lane_event_kind kind, uint64_t link, struct bytes frame)
{
    AUTO_LOCKED(held, ch->lock);
    bool told = (kind == LANE_TICK && ch->ticking) || (kind == LANE_WAKE && ch->waking);
    if (told || ch->stopping) {
        return true;
    }
    if (kind == LANE_RECEIVED && (ch->bytes + frame.len > QUEUE_BYTES_MAX || ch->events >= QUEUE_EVENTS_MAX)) {
        return false;
    }
    struct mail *mail = heap(sizeof *mail + frame.len);
    mail->kind = kind;
    mail->link = link;
    mail->frame = BYTES(mail + 1, frame.len);
    if (frame.len) {
        memcpy(mail + 1, frame.data, frame.len);
    }
    *ch->last = mail;
    ch->last = &mail->next;
    ch->bytes += frame.len;
    ch->events++;
    ch->ticking = ch->ticking || kind == LANE_TICK;
    ch->waking = ch->waking || kind == LANE_WAKE;
    ch->idle = ch->idle && kind == LANE_TICK;
    if (!ch->running) {
        ch->running = true;
        world_submit(ch->workers, channel_run, ch);
    }
    return true;
}

/* ---- Opening ------------------------------------------------------------------------------------------------------- */

static bool channel_load(struct channel *ch, struct lane **out, struct err *err)
{
    AUTO_ARENA(arena, KEPT_ARENA);
    const struct peers_options *options = &ch->peers->options;
    struct log *log = chart_log(options->chart);
    struct ours_row ours;
    struct theirs_row theirs;
    struct numbered *rows;
    struct hash chains[LANE_WINDOW];
    size_t count;
    if (!ours_load(ch, &arena, &ours, err) || !theirs_load(ch, &arena, &theirs, err) ||
        !numbered_load(ch, ours.acked.n + 1, LANE_WINDOW, &arena, &rows, &count, err)) {
        return false;
    }
    if (ours.acked.n + count != ours.numbered.n) {
        return err_raise(err, ERR_CORRUPT, "peer: %zu numbers after %ju, up to %ju", count,
                         (uintmax_t)ours.acked.n, (uintmax_t)ours.numbered.n);
    }
    for (size_t i = 0; i < count; i++) {
        chains[i] = rows[i].place.chain;
    }
    const struct lane_config config = {
        .network = *log_network(log),
        .self = *log_facility(log),
        .peer = ch->peer->facility,
        .lane = ch->lane,
        .incarnation = log_incarnation(log),
        .epoch = log_epoch_statement(log),
        .key = keys_statement(chart_keys(options->chart)),
        .dials = options->transport.can_dial(options->transport.context, &ch->peer->facility),
        .seed = world_random_u64(ch->peers->world),
        .first_link = ch->machine ? lane_status(ch->machine).next_link : 0};
    const struct lane_kept kept = {.acked = ours.acked,
                                   .chains = chains,
                                   .count = count,
                                   .their_ack = ours.ack,
                                   .peer_incarnation = theirs.incarnation,
                                   .stored = theirs.stored,
                                   .their_head = theirs.head,
                                   .except = theirs.except,
                                   .except_count = theirs.except_count};
    *out = lane_new(&config, &kept);
    return true;
}

static bool channel_init(struct channel *ch, struct peers *peers, struct peer *peer, Chartmesh__V1__Lane lane,
                         struct world_lane *workers, struct err *err)
{
    *ch = (struct channel){.peers = peers,
                           .peer = peer,
                           .lane = lane,
                           .workers = workers,
                           .lock = world_lock_new(peers->world),
                           .fit = 64};
    ch->last = &ch->first;
    if (!channel_load(ch, &ch->machine, err)) {
        return false;
    }
    ch->status = lane_status(ch->machine);
    return true;
}

static void channel_done(struct channel *ch)
{
    while (ch->first) {
        struct mail *mail = ch->first;
        ch->first = mail->next;
        free(mail);
    }
    lane_free(ch->machine);
    world_lock_free(ch->lock);
}

static void peer_free(struct peer *peer)
{
    if (peer) {
        channel_done(&peer->control);
        channel_done(&peer->bulk);
        free(peer);
    }
}

static struct peer *peer_find(struct peers *peers, const struct id *facility)
{
    AUTO_LOCKED(held, peers->lock);
    for (size_t i = 0; i < peers->count; i++) {
        if (id_equal(&peers->list[i]->facility, facility)) {
            return peers->list[i];
        }
    }
    return NULL;
}

static struct peer *peer_at(struct peers *peers, size_t i)
{
    AUTO_LOCKED(held, peers->lock);
    return i < peers->count ? peers->list[i] : NULL;
}

static bool peer_add(struct peers *peers, const struct id *facility, struct err *err)
{
    struct peer *peer = heap(sizeof *peer);
    peer->facility = *facility;
    bool ok = channel_init(&peer->control, peers, peer, CHARTMESH__V1__LANE__LANE_CONTROL, peers->control, err);
    ok = channel_init(&peer->bulk, peers, peer, CHARTMESH__V1__LANE__LANE_BULK, peers->bulk, err) && ok;
    if (!ok) {
        peer_free(peer);
        return err_wrap(err, "peer");
    }
    AUTO_LOCKED(held, peers->lock);
    if (peers->count == peers->capacity) {
        peers->capacity = MAX((size_t)8, peers->capacity * 2);
        peers->list = realloc(peers->list, peers->capacity * sizeof *peers->list);
        if (!peers->list) {
            abort();
        }
    }
    peers->list[peers->count++] = peer;
    return true;
}

/* Members come with newer rosters; one that left keeps its place until the next start, and nothing is disclosed to
 * it. */
static bool members_add(struct peers *peers, struct err *err)
{
    struct chart *chart = peers->options.chart;
    AUTO_ARENA(arena, KEPT_ARENA);
    const struct trust *trust = chart_trust_take(chart);
    size_t count = trust_members(trust, NULL, 0);
    void *memory = NULL;
    struct id *ids = NULL;
    const struct member **members = NULL;
    bool ok = arena_array(&arena, count, sizeof *ids, &memory, err);
    ids = memory;
    ok = ok && arena_array(&arena, count, sizeof *members, &memory, err);
    members = memory;
    size_t active = 0;
    count = ok ? MIN(count, trust_members(trust, members, count)) : 0;
    for (size_t i = 0; i < count; i++) {
        if (members[i]->active && !id_equal(&members[i]->facility, chart_facility(chart))) {
            ids[active++] = members[i]->facility;
        }
    }
    chart_trust_give(chart);
    for (size_t i = 0; ok && i < active; i++) {
        ok = peer_find(peers, &ids[i]) || peer_add(peers, &ids[i], err);
    }
    return ok;
}

static void wake_all(void *context)
{
    struct peers *peers = context;
    struct peer *peer;
    for (size_t i = 0; (peer = peer_at(peers, i)); i++) {
        post(&peer->control, LANE_WAKE, 0, BYTES_NONE);
        post(&peer->bulk, LANE_WAKE, 0, BYTES_NONE);
    }
}

static void tick_all(void *arg)
{
    struct peers *peers = arg;
    struct peer *peer;
    struct err err;
    if (!members_add(peers, &err)) {
        world_fatal(peers->world, &err);
    }
    for (size_t i = 0; (peer = peer_at(peers, i)); i++) {
        post(&peer->control, LANE_TICK, 0, BYTES_NONE);
        post(&peer->bulk, LANE_TICK, 0, BYTES_NONE);
    }
    if (peers->options.cosign) {
        witness_ask(peers);
    }
    AUTO_LOCKED(held, peers->lock);
    if (!peers->stopping) {
        peers->timer = world_timer_start(peers->clock, peers->options.tick_ms, tick_all, peers);
    }
}

bool peers_open(const struct peers_options *options, struct peers **out, struct err *err)
{
    struct peers *peers = heap(sizeof *peers);
    peers->options = *options;
    peers->options.tick_ms = options->tick_ms ? options->tick_ms : TICK_MS;
    peers->world = chart_world(options->chart);
    peers->lock = world_lock_new(peers->world);
    peers->witness_lock = world_lock_new(peers->world);
    if (!world_lane_open(peers->world, "peer-control", PEER_WORKERS, &peers->control, err) ||
        !world_lane_open(peers->world, "peer-bulk", PEER_WORKERS, &peers->bulk, err) ||
        !world_lane_open(peers->world, "peer-clock", 1, &peers->clock, err) || !members_add(peers, err)) {
        peers_close(peers);
        return err_wrap(err, "peers");
    }
    chart_outbox_listen(options->chart, wake_all, peers);
    world_submit(peers->clock, tick_all, peers);
    *out = peers;
    return true;
}

static void channel_stop(struct channel *ch)
{
    AUTO_LOCKED(held, ch->lock);
    ch->stopping = true;
}

void peers_stop(struct peers *peers)
{
    struct peer *peer;
    world_lock_take(peers->lock);
    peers->stopping = true;
    uint64_t timer = peers->timer;
    world_lock_give(peers->lock);
    world_timer_stop(peers->world, timer);
    world_lane_close(peers->clock);
    for (size_t i = 0; (peer = peer_at(peers, i)); i++) {
        channel_stop(&peer->control);
        channel_stop(&peer->bulk);
    }
    world_lane_close(peers->control);
    world_lane_close(peers->bulk);
    peers->clock = peers->control = peers->bulk = NULL;
}

void peers_close(struct peers *peers)
{
    if (!peers) {
        return;
    }
    if (peers->clock || peers->control || peers->bulk) {
        peers_stop(peers);
    }
    for (size_t i = 0; i < peers->count; i++) {
        peer_free(peers->list[i]);
    }
    free(peers->list);
    world_lock_free(peers->lock);
    world_lock_free(peers->witness_lock);
    free(peers);
}

/* ---- What the transport tells -------------------------------------------------------------------------------------- */

static struct channel *channel_find(struct peers *peers, const struct id *facility, Chartmesh__V1__Lane lane)
{
    struct peer *peer = peer_find(peers, facility);
    if (!peer) {
        return NULL;
    }
    return lane == CHARTMESH__V1__LANE__LANE_CONTROL ? &peer->control : &peer->bulk;
}

bool peers_accept(struct peers *peers, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t *link,
                  struct err *err)
{
    struct channel *ch = channel_find(peers, facility, lane);
    if (!ch) {
        return err_raise(err, ERR_DENIED, "peer: not an active member");
    }
    world_lock_take(ch->lock);
    *link = ch->accepted += 2;
    world_lock_give(ch->lock);
    post(ch, LANE_ACCEPTED, *link, BYTES_NONE);
    return true;
}

void peers_opened(struct peers *peers, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link)
{
    struct channel *ch = channel_find(peers, facility, lane);
    if (ch) {
        post(ch, LANE_OPENED, link, BYTES_NONE);
    }
}

void peers_closed(struct peers *peers, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link)
{
    struct channel *ch = channel_find(peers, facility, lane);
    if (ch) {
        post(ch, LANE_CLOSED, link, BYTES_NONE);
    }
}

bool peers_frame(struct peers *peers, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link,
                 struct bytes frame)
{
    struct channel *ch = channel_find(peers, facility, lane);
    return ch && frame.len <= FRAME_MAX && post(ch, LANE_RECEIVED, link, frame);
}

/* ---- Looking at it --------------------------------------------------------------------------------------------------- */

static struct lane_status status_of(struct channel *ch)
{
    AUTO_LOCKED(held, ch->lock);
    return ch->status;
}

bool peers_status(struct peers *peers, struct arena *arena, struct peer_status **out, size_t *count,
                  struct err *err)
{
    void *memory;
    size_t max = peers->count;
    struct chart *chart = peers->options.chart;
    if (!arena_array(arena, max, sizeof **out, &memory, err)) {
        return false;
    }
    *out = memory;
    for (*count = 0; *count < max; (*count)++) {
        struct peer *peer = peer_at(peers, *count);
        struct peer_status *status = &(*out)[*count];
        *status = (struct peer_status){.facility = peer->facility,
                                       .control = status_of(&peer->control),
                                       .bulk = status_of(&peer->bulk),
                                       .seen_ms = peer->seen_ms,
                                       .witnessed = peer->witnessed};
        if (!chart_outbox_count(chart, &peer->facility, CHARTMESH__V1__LANE__LANE_CONTROL, &status->outbox_control,
                                err) ||
            !chart_outbox_count(chart, &peer->facility, CHARTMESH__V1__LANE__LANE_BULK, &status->outbox_bulk,
                                err)) {
            return false;
        }
    }
    return true;
}

static unsigned channel_resume(struct channel *ch)
{
    world_lock_take(ch->lock);
    bool stopped = ch->status.state == LANE_HALTED;
    ch->resuming = ch->resuming || stopped;
    ch->status.state = stopped ? LANE_DOWN : ch->status.state;
    world_lock_give(ch->lock);
    post(ch, LANE_TICK, 0, BYTES_NONE);
    return stopped;
}

bool peers_resume(struct peers *peers, const struct id *facility, unsigned *resumed, struct err *err)
{
    struct peer *peer = peer_find(peers, facility);
    if (!peer) {
        return err_raise(err, ERR_NOT_FOUND, "peer: no such facility");
    }
    *resumed = channel_resume(&peer->control) + channel_resume(&peer->bulk);
    return true;
}

static bool channel_idle(struct channel *ch)
{
    AUTO_LOCKED(held, ch->lock);
    return ch->status.state != LANE_LIVE || (ch->idle && !ch->waking);
}

bool peers_idle(struct peers *peers)
{
    struct peer *peer;
    for (size_t i = 0; (peer = peer_at(peers, i)); i++) {
        if (!channel_idle(&peer->control) || !channel_idle(&peer->bulk)) {
            return false;
        }
    }
    return true;
}
