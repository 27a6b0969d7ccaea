/* Who commits, and when: the queue of transactions, whoever waits for them, and the company a group waits for.
 *
 * Whoever calls log_commit while nobody commits takes what is waiting and writes it. What comes meanwhile is the
 * next group: the commit lane writes it, so nobody who waits for his own transaction works for others without end.
 * A group lingers while more transactions are being prepared than have come, at most `linger_us`; where that was
 * in vain, the next groups do not. */
#include "node/log/log_inside.h"

#include <stdlib.h>

enum { LINGER_REST = 32 };

const uint64_t log_group_bounds[LOG_GROUP_BOUNDS] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
const uint64_t log_sync_bounds[LOG_SYNC_BOUNDS] = {100,   250,   500,   1000,   2500,   5000,
                                                   10000, 25000, 50000, 100000, 250000, 1000000};

/* ---- Counting ------------------------------------------------------------------------------------------------- */

static void count_in(uint64_t *counts, const uint64_t *bounds, size_t len, uint64_t value)
{
    size_t i = 0;
    while (i < len && value > bounds[i]) {
        i++;
    }
    counts[i]++;
}

static void count_group(struct log_counters *c, const struct log_group *group)
{
    c->groups++;
    c->entries += group->entries;
    c->bytes += group->bytes;
    c->sync_us_sum += group->sync_us;
    count_in(c->group_entries, log_group_bounds, LOG_GROUP_BOUNDS, group->entries);
    count_in(c->sync_us, log_sync_bounds, LOG_SYNC_BOUNDS, group->sync_us);
}

void log_counters(struct log *log, struct log_counters *out)
{
    AUTO_LOCKED(locked, log->lock);
    *out = log->counters;
    out->preparing = log->preparing;
}

/* ---- Company -------------------------------------------------------------------------------------------------- */

void log_txn_began(struct log_txn *txn)
{
    AUTO_LOCKED(locked, txn->log->lock);
    txn->log->preparing++;
}

static bool more_to_come(const struct log *log)
{
    return log->preparing > log->counters.queued && log->counters.queued < log->entries_max;
}

static void one_less_to_come(struct log *log)
{
    log->preparing--;
    if (log->lingering && !more_to_come(log)) {
        world_event_signal(log->company);
    }
}

void log_txn_ended(struct log_txn *txn)
{
    if (!txn->queued) {
        AUTO_LOCKED(locked, txn->log->lock);
        one_less_to_come(txn->log);
    }
}

static void linger(struct log *log)
{
    if (log->linger_us == 0 || !more_to_come(log)) {
        return;
    }
    if (log->linger_rest > 0) {
        log->linger_rest--;
        return;
    }
    size_t before = log->counters.queued;
    uint64_t until = world_mono_us(log->world) + log->linger_us;
    bool in_time = true;
    log->lingering = true;
    while (in_time && more_to_come(log)) {
        in_time = world_event_wait_until_us(log->company, log->lock, until);
    }
    log->lingering = false;
    log->counters.lingered++;
    log->linger_rest = log->counters.queued == before ? LINGER_REST : 0;
}

/* ---- Groups --------------------------------------------------------------------------------------------------- */

static void enqueue(struct log_txn *txn)
{
    struct log *log = txn->log;
    txn->queued = true;
    *log->queue_end = txn;
    log->queue_end = &txn->next;
    log->counters.queued++;
    one_less_to_come(log);
}

static void count_kinds(struct log_counters *c, const struct log_txn *txn)
{
    for (const struct log_txn_entry *e = txn->entries; e; e = e->next) {
        c->kinds[MIN((unsigned)e->entry.kind, LOG_KINDS - 1)]++;
    }
}

static struct log_txn *take_group(struct log *log)
{
    struct log_txn *first = log->queue, *last = NULL;
    size_t entries = 0, bytes = 0;
    for (struct log_txn *txn = first; txn; txn = txn->next) {
        entries += txn->entries_len;
        bytes += store_batch_bytes(txn->rows);
        if (last && (entries > log->entries_max || bytes > COMMIT_BYTES_MAX)) {
            break;
        }
        last = txn;
        log->counters.queued--;
        log->counters.transactions++;
        count_kinds(&log->counters, txn);
    }
    if (last) {
        log->queue = last->next;
        last->next = NULL;
    }
    if (!log->queue) {
        log->queue_end = &log->queue;
    }
    return first;
}

static bool has_rows(const struct log_txn *txns)
{
    for (const struct log_txn *txn = txns; txn; txn = txn->next) {
        if (txn->entries_len || txn->feed_len || store_batch_rows(txn->rows)) {
            return true;
        }
    }
    return false;
}

/* What is durable now is for all to see. */
static void publish(struct log *log, const struct log_group *group)
{
    if (log->durable.size != log->edge.size) {
        log_anchor_later(log);
    }
    log->durable = (struct log_size){log->edge.size, merkle_edge_root(&log->edge)};
    log->note = group->note;
    log->hlc_durable = log->last_hlc;
    log->feed_durable = log->feed_next;
    if (group->map) {
        map_free(log->epoch_map);
        log->epoch_map = group->map;
        log->map_epoch = group->map_epoch;
    }
    log->map_wanted = log->map_wanted && !group->map_now;
    count_group(&log->counters, group);
    world_event_signal(log->committed);
}

/* What a group has for others: for those who wait an event each, to be signalled without the lock (they would only
 * wait for it again); for those who do not, their transactions, in order. */
struct news {
    struct world_event *events[COMMIT_ENTRIES_MAX];
    size_t count;
    struct log_txn *told;
};

/* The transactions of those who wait are theirs again once the lock is given. */
static void hand_back(struct log_txn *txns, struct news *news)
{
    struct log_txn **end = &news->told;
    for (struct log_txn *txn = txns, *next; txn; txn = next) {
        next = txn->next;
        if (txn->then) {
            *end = txn;
            end = &txn->next;
            continue;
        }
        txn->done = true;
        if (txn->waiter && news->count < COUNT(news->events)) {
            news->events[news->count++] = txn->waiter->event;
        } else if (txn->waiter) {
            world_event_signal(txn->waiter->event);
        }
    }
    *end = NULL;
}

/* Without the lock. */
static void tell(const struct news *news, const struct feed_listener *listeners, size_t count)
{
    for (size_t i = 0; i < news->count; i++) {
        world_event_signal(news->events[i]);
    }
    for (struct log_txn *txn = news->told, *next; txn; txn = next) {
        next = txn->next;
        txn->then(txn->then_context, txn->first);
        log_txn_free(txn);
    }
    for (size_t i = 0; i < count; i++) {
        listeners[i].fn(listeners[i].context);
    }
}

/* One group, by a caller who holds the lock and found that nobody commits. */
static void commit_group(struct log *log)
{
    struct feed_listener listeners[COUNT(log->listeners)];
    log->committing = true;
    linger(log);
    struct log_txn *txns = take_group(log);
    struct log_group group = {.map_now = log->map_wanted, .map_epoch = log->map_epoch};
    world_lock_give(log->lock);
    bool writes = has_rows(txns) || (group.map_now && log->map_since > 0);
    if (writes) {
        log_write_group(log, txns, &group);
    }
    world_lock_take(log->lock);
    if (writes) {
        publish(log, &group);
    }
    log->map_wanted = log->map_wanted && !group.map_now;
    struct news news = {0};
    hand_back(txns, &news);
    size_t count = group.notify ? log->listeners_len : 0;
    memcpy(listeners, log->listeners, sizeof listeners);
    world_lock_give(log->lock);
    tell(&news, listeners, count);
    world_lock_take(log->lock);
    log->committing = false;
}

static void commit_task(void *arg)
{
    struct log *log = arg;
    AUTO_LOCKED(locked, log->lock);
    log->lane_called = false;
    while (log->queue && !log->committing) {
        commit_group(log);
    }
}

/* What is in the queue will be committed, also if nobody there waits for it. */
static void call_lane(struct log *log)
{
    if (log->queue && !log->committing && !log->lane_called) {
        log->lane_called = true;
        world_submit(log->commit_lane, commit_task, log);
    }
}

/* ---- Committing ----------------------------------------------------------------------------------------------- */

static struct waiter *waiter_take(struct log *log)
{
    struct waiter *waiter = log->waiters;
    if (waiter) {
        log->waiters = waiter->next;
        return waiter;
    }
    waiter = calloc(1, sizeof *waiter);
    if (!waiter) {
        abort();
    }
    waiter->event = world_event_new(log->world);
    return waiter;
}

static void waiter_give(struct log *log, struct waiter *waiter)
{
    if (waiter) {
        waiter->next = log->waiters;
        log->waiters = waiter;
    }
}

bool log_commit(struct log_txn *txn, uint64_t *first, struct err *err)
{
    struct log *log = txn->log;
    if (!store_batch_check(txn->rows, err)) {
        log_txn_free(txn);
        return false;
    }
    world_lock_take(log->lock);
    enqueue(txn);
    while (!txn->done) {
        if (log->committing) {
            txn->waiter = txn->waiter ? txn->waiter : waiter_take(log);
            world_event_wait(txn->waiter->event, log->lock);
        } else {
            commit_group(log);
        }
    }
    waiter_give(log, txn->waiter);
    call_lane(log);
    world_lock_give(log->lock);
    if (first) {
        *first = txn->first;
    }
    log_txn_free(txn);
    return true;
}

bool log_submit(struct log_txn *txn, log_done_fn then, void *context, struct err *err)
{
    if (!store_batch_check(txn->rows, err)) {
        log_txn_free(txn);
        return false;
    }
    AUTO_LOCKED(locked, txn->log->lock);
    txn->then = then;
    txn->then_context = context;
    enqueue(txn);
    call_lane(txn->log);
    return true;
}

bool log_queue_open(struct log *log, const struct log_options *options, struct err *err)
{
    log->queue_end = &log->queue;
    log->linger_us = options->linger_us;
    log->entries_max = options->commit_entries ? options->commit_entries : COMMIT_ENTRIES_MAX;
    log->company = world_event_new(log->world);
    return world_lane_open(log->world, "commit", 1, &log->commit_lane, err);
}

void log_queue_close(struct log *log)
{
    world_lane_close(log->commit_lane);
    for (struct waiter *waiter = log->waiters, *next; waiter; waiter = next) {
        next = waiter->next;
        world_event_free(waiter->event);
        free(waiter);
    }
    world_event_free(log->company);
}
