/* Opening, and the checks of the start: what is found wanting here is not served. */
#include "node/log/log_inside.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/reader.h"

enum { LOG_ARENA = 1 << 20, ROW_ARENA = 1 << 20, MAP_EVERY_MS = 10000, MAP_EVERY_ENTRIES = 4096 };

/* An anchor without a log: the store was emptied or exchanged. A new log would put another one under the same
 * name. */
static bool check_unanchored(struct log *log, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes note;
    if (!log->anchor.load) {
        return true;
    }
    if (log->anchor.load(log->anchor.context, &arena, &note, err)) {
        return err_raise(err, ERR_STATE,
                         "log: the anchor knows a log, the store has none: it was set back; restore a "
                         "newer copy");
    }
    return err->code == ERR_NOT_FOUND || err_wrap(err, "anchor");
}

static bool first_start(struct log *log, struct err *err)
{
    if (!check_unanchored(log, err)) {
        return false;
    }
    struct statement statement;
    Chartmesh__V1__Epoch epoch = CHARTMESH__V1__EPOCH__INIT;
    log->incarnation = world_hlc(log->world);
    epoch.incarnation = log->incarnation;
    epoch.cause = CHARTMESH__V1__EPOCH_CAUSE__EPOCH_CAUSE_INIT;
    const struct signing_key *key = keys_statement(log->keys);
    if (!head_make(&log->network, &log->facility, log->incarnation, &log->arena, &epoch.head, err) ||
        !statement_sign(STATEMENT_EPOCH, &epoch.base, &key, 1, &log->arena, &statement, err)) {
        return err_wrap(err, "epoch");
    }
    log->epoch_statement = statement.envelope;
    snprintf(log->origin, sizeof log->origin, "%s/log/%016jx", log->domain, (uintmax_t)log->incarnation);
    struct log_txn *txn = log_txn_new(log);
    store_put(log_txn_rows(txn), FAMILY_META, BYTES_LIT("epoch"), statement.envelope);
    const struct log_entry entry = {
        .kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_EPOCH, .objects = &statement.id, .objects_len = 1};
    if (!log_txn_add(txn, &entry, err)) {
        log_txn_free(txn);
        return false;
    }
    return log_commit(txn, NULL, err);
}

/* What must be there is not, or cannot be read: the latter keeps its own words. */
static bool absent(struct err *err, const char *what)
{
    return err->code == ERR_NOT_FOUND ? err_raise(err, ERR_CORRUPT, "log: %s is missing", what)
                                      : err_wrap(err, "log: %s", what);
}

/* Recomputes the frontier from the leaves: a tree of `size` whose root is what the stored checkpoint says. */
static bool check_frontier(struct log *log, uint64_t size, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes note;
    struct checkpoint checkpoint;
    struct merkle_source source = log_source(log);
    if (!merkle_edge_load(&source, size, &log->edge, err)) {
        return err_wrap(err, "the edge of a tree of %ju leaves", (uintmax_t)size);
    }
    if (!store_get(log->store, NULL, FAMILY_META, BYTES_LIT("checkpoint"), &arena, &note, err)) {
        return absent(err, "the stored checkpoint");
    }
    if (!log_note_open(log, note, "stored checkpoint", &checkpoint, err)) {
        return false;
    }
    struct hash root = merkle_edge_root(&log->edge);
    if (checkpoint.size != size || !hash_equal(&checkpoint.root, &root)) {
        return err_raise(err, ERR_CORRUPT, "log: the tree of %ju leaves is not what checkpoint %ju says",
                         (uintmax_t)size, (uintmax_t)checkpoint.size);
    }
    log->durable = (struct log_size){size, root};
    return log_note_set(&log->note, note, err);
}

/* The newest leaves are hashed again from their entry rows: a torn or exchanged row is found before serving. */
static bool check_tail(struct log *log, uint64_t size, struct err *err)
{
    enum { TAIL = 256 };
    for (uint64_t index = size > TAIL ? size - TAIL : 0; index < size; index++) {
        AUTO_ARENA(arena, ROW_ARENA);
        char what[40];
        snprintf(what, sizeof what, "entry %ju", (uintmax_t)index);
        struct row row = row_number('e', index), leaf_row = row_tree(0, index);
        struct bytes value, stored;
        struct hash commitment, leaf;
        if (!store_get(log->store, NULL, FAMILY_LOG, row_bytes(&row), &arena, &value, err) ||
            !store_get(log->store, NULL, FAMILY_LOG, row_bytes(&leaf_row), &arena, &stored, err)) {
            return absent(err, what);
        }
        struct reader r = reader_of(value);
        commitment = read_hash(&r);
        leaf = leaf_hash(&commitment);
        if (!r.ok || !bytes_equal(stored, BYTES_OF(leaf))) {
            return err_raise(err, ERR_CORRUPT, "log: entry %ju (family log) is not what its leaf says",
                             (uintmax_t)index);
        }
    }
    return true;
}

static bool check_anchor(struct log *log, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes note;
    struct checkpoint anchor;
    struct note_key key = {
        .name = log->origin, .type = NOTE_LOG, .public_key = *signing_key_public(keys_checkpoint(log->keys))};
    if (!log->anchor.load) {
        return true;
    }
    if (!log->anchor.load(log->anchor.context, &arena, &note, err)) {
        return err->code == ERR_NOT_FOUND || err_wrap(err, "anchor");
    }
    if (!checkpoint_open(note, &key, 1, &anchor, err)) {
        return err_raise(err, ERR_STATE, "log: the anchor is not of %s: was the data folder exchanged?",
                         log->origin);
    }
    struct hash root;
    if (anchor.size > log->durable.size) {
        return err_raise(err, ERR_STATE,
                         "log: the anchor knows %ju entries, the store has %ju: it was set back; "
                         "restore a newer copy",
                         (uintmax_t)anchor.size, (uintmax_t)log->durable.size);
    }
    return log_root_at(log, anchor.size, &root, err) &&
           (hash_equal(&root, &anchor.root) ||
            err_raise(err, ERR_CORRUPT, "log: the tree at %ju is not what the anchor says",
                      (uintmax_t)anchor.size));
}

static bool load_feed(struct log *log, struct err *err)
{
    const struct store_span span = {.prefix = BYTES_LIT("f"), .backwards = true};
    AUTO_STORE_ITER iter = NULL;
    uint64_t last;
    if (!store_iter_open(log->store, NULL, FAMILY_LOG, &span, &iter, err)) {
        return false;
    }
    if (!store_iter_next(iter)) {
        return store_iter_check(iter, err);
    }
    if (!log_feed_number(iter, &last, err)) {
        return false;
    }
    log->feed_next = log->feed_durable = last + 1;
    return true;
}

/* The statement that this incarnation began with: it goes to peers and auditors as it is stored. */
static bool check_epoch(struct log *log, struct err *err)
{
    struct statement statement;
    AUTO_ARENA(arena, ROW_ARENA);
    if (!store_get(log->store, NULL, FAMILY_META, BYTES_LIT("epoch"), &log->arena, &log->epoch_statement, err)) {
        return absent(err, "the statement of its epoch");
    }
    return (statement_parse(log->epoch_statement, &arena, &statement, err) &&
            statement_verify(&statement, STATEMENT_EPOCH, &log->network,
                             signing_key_public(keys_statement(log->keys)), 1, 1, err)) ||
           err_raise(err, ERR_CORRUPT,
                     "log: the statement of its epoch (family meta) is not one that this node signed");
}

static bool later_start(struct log *log, struct bytes state, struct err *err)
{
    struct reader r = reader_of(state);
    uint64_t size = read_u64be(&r);
    log->incarnation = read_u64be(&r);
    log->last_hlc = log->hlc_durable = read_u64be(&r);
    log->map_epoch = read_u64be(&r);
    struct id facility = read_id(&r), network = read_id(&r);
    if (!reader_end(&r)) {
        return err_raise(err, ERR_CORRUPT, "log: its state row has %zu bytes", state.len);
    }
    if (!id_equal(&facility, &log->facility) || !id_equal(&network, &log->network)) {
        return err_raise(err, ERR_STATE, "log: this data folder belongs to another facility or network");
    }
    snprintf(log->origin, sizeof log->origin, "%s/log/%016jx", log->domain, (uintmax_t)log->incarnation);
    world_hlc_restore(log->world, log->last_hlc);
    if (!check_epoch(log, err) || !check_frontier(log, size, err) || !check_tail(log, size, err) ||
        !check_anchor(log, err) || !load_feed(log, err) || !log_map_load(log, err)) {
        return false;
    }
    log->map_since = (uint32_t)MIN(size - log->map_epoch, UINT32_MAX);
    log->map_since_mono_ms = world_mono_ms(log->world);
    return true;
}

static void timer_task(void *arg);

static void start_timer(struct log *log)
{
    log->timer = world_timer_start(log->timer_lane, log->map_every_ms, timer_task, log);
}

/* A map epoch is wanted after map_every_ms; the committer closes it if anything changed. */
static void timer_task(void *arg)
{
    struct log *log = arg;
    struct err err;
    world_lock_take(log->lock);
    bool closed = log->closed;
    log->map_wanted = !closed;
    world_lock_give(log->lock);
    if (closed) {
        return;
    }
    if (!log_commit(log_txn_new(log), NULL, &err)) {
        world_fatal(log->world, &err);
    }
    world_lock_take(log->lock);
    if (!log->closed) {
        start_timer(log);
    }
    world_lock_give(log->lock);
}

bool log_open(const struct log_options *options, struct log **out, struct err *err)
{
    struct log *log = calloc(1, sizeof *log);
    if (!log) {
        return err_raise(err, ERR_TOO_MUCH, "log: no memory");
    }
    log->store = options->store;
    log->keys = options->keys;
    log->world = options->world;
    log->anchor = options->anchor;
    log->network = options->network;
    log->facility = options->facility;
    snprintf(log->domain, sizeof log->domain, "%s", options->domain);
    log->map_every_ms = options->map_every_ms ? options->map_every_ms : MAP_EVERY_MS;
    log->map_every_entries = options->map_every_entries ? options->map_every_entries : MAP_EVERY_ENTRIES;
    arena_init(&log->arena, LOG_ARENA);
    log->lock = world_lock_new(log->world);
    log->anchor_lock = world_lock_new(log->world);
    log->cosign_lock = world_lock_new(log->world);
    log->committed = world_event_new(log->world);
    log->map_loaded = world_event_new(log->world);
    log->map = map_new();
    log->recent = calloc(1, sizeof *log->recent);
    if (!log->recent) {
        abort();
    }
    if (!log_queue_open(log, options, err)) {
        log_close(log);
        return err_wrap(err, "open log");
    }

    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes state;
    bool ok = store_get(log->store, NULL, FAMILY_META, BYTES_LIT("log"), &arena, &state, err)
                  ? later_start(log, state, err)
                  : err->code == ERR_NOT_FOUND && first_start(log, err);
    ok = ok && world_lane_open(log->world, "log", 1, &log->timer_lane, err);
    if (!ok) {
        log_close(log);
        return err_wrap(err, "open log");
    }
    start_timer(log);
    log_anchor_save(log); /* what a crash left behind, and the first start's own */
    *out = log;
    return true;
}

void log_close(struct log *log)
{
    if (!log) {
        return;
    }
    if (log->timer_lane) {
        world_lock_take(log->lock);
        log->closed = true;
        uint64_t timer = log->timer, anchor_timer = log->anchor_timer;
        world_lock_give(log->lock);
        (void)world_timer_stop(log->world, timer);
        (void)world_timer_stop(log->world, anchor_timer);
        world_lane_close(log->timer_lane);
    }
    world_lane_close(log->map_lane);
    log_queue_close(log);
    free(log->recent);
    map_free(log->map);
    map_free(log->map_stored);
    map_free(log->epoch_map);
    world_event_free(log->committed);
    world_event_free(log->map_loaded);
    world_lock_free(log->lock);
    world_lock_free(log->anchor_lock);
    world_lock_free(log->cosign_lock);
    arena_done(&log->arena);
    free(log);
}
