/* Opening, the start-up checks, and what is read from the log. */
#include "node/log/log_inside.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/reader.h"
#include "proto/content/entry_row.h"
#include "proto/statement/entry.h"

enum { LOG_ARENA = 1 << 20, ROW_ARENA = 1 << 20, MAP_EVERY_MS = 10000, MAP_EVERY_ENTRIES = 4096 };

/* ---- Opening ------------------------------------------------------------------------------------------------- */

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

/* Recomputes the frontier from the leaves: a tree of `size` whose root is what the stored checkpoint says. */
static bool check_frontier(struct log *log, uint64_t size, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes note;
    struct checkpoint checkpoint;
    struct note_key key = {
        .name = log->origin, .type = NOTE_LOG, .public_key = *signing_key_public(keys_checkpoint(log->keys))};
    struct merkle_source source = log_source(log);
    if (!merkle_edge_load(&source, size, &log->edge, err) ||
        !store_get(log->store, NULL, FAMILY_META, BYTES_LIT("checkpoint"), &arena, &note, err) ||
        !checkpoint_open(note, &key, 1, &checkpoint, err)) {
        return err_wrap(err, "log: stored checkpoint");
    }
    struct hash root = merkle_edge_root(&log->edge);
    if (checkpoint.size != size || !hash_equal(&checkpoint.root, &root)) {
        return err_raise(err, ERR_CORRUPT, "log: the tree of %ju leaves is not what checkpoint %ju says",
                         (uintmax_t)size, (uintmax_t)checkpoint.size);
    }
    log->durable = (struct log_size){size, root};
    return true;
}

/* The newest leaves are hashed again from their entry rows: a torn or exchanged row is found before serving. */
static bool check_tail(struct log *log, uint64_t size, struct err *err)
{
    enum { TAIL = 256 };
    for (uint64_t index = size > TAIL ? size - TAIL : 0; index < size; index++) {
        AUTO_ARENA(arena, ROW_ARENA);
        struct row row = row_number('e', index), leaf_row = row_tree(0, index);
        struct bytes value, stored;
        struct hash commitment, leaf;
        if (!store_get(log->store, NULL, FAMILY_LOG, row_bytes(&row), &arena, &value, err) ||
            !store_get(log->store, NULL, FAMILY_LOG, row_bytes(&leaf_row), &arena, &stored, err)) {
            return err_raise(err, ERR_CORRUPT, "log: entry %ju is missing", (uintmax_t)index);
        }
        struct reader r = reader_of(value);
        commitment = read_hash(&r);
        leaf = leaf_hash(&commitment);
        if (!r.ok || !bytes_equal(stored, BYTES_OF(leaf))) {
            return err_raise(err, ERR_CORRUPT, "log: entry %ju is not what its leaf says", (uintmax_t)index);
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

static bool feed_number(const struct store_iter *iter, uint64_t *out, struct err *err)
{
    struct reader r = reader_of(store_iter_key(iter));
    read_u8(&r);
    *out = read_u64be(&r);
    return reader_end(&r) || err_raise(err, ERR_CORRUPT, "change feed: a key of another shape");
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
    if (!feed_number(iter, &last, err)) {
        return false;
    }
    log->feed_next = log->feed_durable = last + 1;
    return true;
}

static bool load_map(struct log *log, struct err *err)
{
    const struct store_span span = {.prefix = BYTES_LIT("c")};
    AUTO_STORE_ITER iter = NULL;
    if (!store_iter_open(log->store, NULL, FAMILY_MAP, &span, &iter, err)) {
        return false;
    }
    while (store_iter_next(iter)) {
        struct hash key;
        struct log_chain state;
        struct bytes row = store_iter_key(iter);
        if (row.len != 1 + HASH_LEN || !hash_from(BYTES(row.data + 1, HASH_LEN), &key)) {
            return err_raise(err, ERR_CORRUPT, "log: a chain row of %zu bytes", row.len);
        }
        if (!log_chain_state(log, &key, &state, err)) {
            return false;
        }
        struct hash value = map_value(state.count, state.last, &state.chain);
        map_set(log->map, &key, &value);
    }
    return store_iter_check(iter, err);
}

static bool later_start(struct log *log, struct bytes state, struct err *err)
{
    struct reader r = reader_of(state);
    uint64_t size = read_u64be(&r);
    log->incarnation = read_u64be(&r);
    log->last_hlc = read_u64be(&r);
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
    if (!store_get(log->store, NULL, FAMILY_META, BYTES_LIT("epoch"), &log->arena, &log->epoch_statement, err) ||
        !check_frontier(log, size, err) || !check_tail(log, size, err) || !check_anchor(log, err) ||
        !load_map(log, err) || !load_feed(log, err)) {
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
    log->committed = world_event_new(log->world);
    log->queue_end = &log->queue;
    log->map = map_new();

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
    map_free(log->map);
    map_free(log->epoch_map);
    world_event_free(log->committed);
    world_lock_free(log->lock);
    world_lock_free(log->anchor_lock);
    arena_done(&log->arena);
    free(log);
}

const char *log_origin(const struct log *log)
{
    return log->origin;
}

uint64_t log_incarnation(const struct log *log)
{
    return log->incarnation;
}

struct bytes log_epoch_statement(const struct log *log)
{
    return log->epoch_statement;
}

const struct id *log_network(const struct log *log)
{
    return &log->network;
}

const struct id *log_facility(const struct log *log)
{
    return &log->facility;
}

/* ---- The tree ------------------------------------------------------------------------------------------------ */

struct log_size log_size(struct log *log)
{
    AUTO_LOCKED(locked, log->lock);
    return log->durable;
}

static bool within(struct log *log, uint64_t size, struct err *err)
{
    uint64_t have = log_size(log).size;
    return size <= have ||
           err_raise(err, ERR_RANGE, "log: %ju is beyond its %ju entries", (uintmax_t)size, (uintmax_t)have);
}

bool log_root_at(struct log *log, uint64_t size, struct hash *out, struct err *err)
{
    struct merkle_source source = log_source(log);
    return within(log, size, err) && merkle_root_at(&source, size, out, err);
}

bool log_inclusion(struct log *log, uint64_t index, uint64_t size, struct hash path[MERKLE_PATH_MAX], size_t *len,
                   struct err *err)
{
    struct merkle_source source = log_source(log);
    if (index >= size) {
        return err_raise(err, ERR_RANGE, "log: no entry %ju in a tree of %ju", (uintmax_t)index, (uintmax_t)size);
    }
    return within(log, size, err) && merkle_path(&source, index, size, path, len, err);
}

bool log_consistency(struct log *log, uint64_t from, uint64_t to, struct hash path[2 * MERKLE_PATH_MAX],
                     size_t *len, struct err *err)
{
    struct merkle_source source = log_source(log);
    if (from == 0 || from > to) {
        return err_raise(err, ERR_RANGE, "log: no consistency from %ju to %ju", (uintmax_t)from, (uintmax_t)to);
    }
    return within(log, to, err) && merkle_consistency(&source, from, to, path, len, err);
}

/* ---- Entries and chains ----------------------------------------------------------------------------------------- */

static bool entry_open_sealed(struct log *log, struct bytes sealed, struct arena *arena, struct log_opened *out,
                              struct err *err)
{
    struct entry_row row;
    AUTO_WIPE_HASH(ak);
    const struct hash *log_key = keys_facility(log->keys, FACILITY_KEY_LOG);
    if (!entry_row_read(log_key, &out->commitment, sealed, arena, &row, err)) {
        return false;
    }
    /* The row does not say its year: the entry's clock is inside. Try from the newest year back. */
    unsigned newest = year_of_hlc(log->last_hlc);
    bool found = false;
    for (unsigned year = newest; year + 100 > newest && year >= 1970; year--) {
        if (!keys_audit(log->keys, id_is_zero(&row.key_ref) ? NULL : &row.key_ref, year, NULL, &ak, err)) {
            if (err->code != ERR_NOT_FOUND) {
                return false;
            }
            continue;
        }
        found = true;
        if (entry_row_open(&row, &ak, &out->commitment, arena, &out->r, &out->entry, err)) {
            Chartmesh__V1__Entry *message;
            if (!entry_unpack(out->entry, arena, &message, err)) {
                return false;
            }
            out->message = message;
            return true;
        }
    }
    return found ? err_raise(err, ERR_CORRUPT, "log: no key of this entry opens it")
                 : err_raise(err, ERR_NOT_FOUND, "log: the key of this entry is destroyed");
}

bool log_entry_at(struct log *log, uint64_t index, struct arena *arena, struct log_opened *out, struct err *err)
{
    struct row row = row_number('e', index);
    struct bytes value;
    *out = (struct log_opened){0};
    if (!store_get(log->store, NULL, FAMILY_LOG, row_bytes(&row), arena, &value, err)) {
        return err_wrap(err, "log entry %ju", (uintmax_t)index);
    }
    struct reader r = reader_of(value);
    out->commitment = read_hash(&r);
    if (!r.ok || !entry_open_sealed(log, r.left, arena, out, err)) {
        return r.ok ? err_wrap(err, "log entry %ju", (uintmax_t)index)
                    : err_raise(err, ERR_CORRUPT, "log entry %ju: short row", (uintmax_t)index);
    }
    return true;
}

static bool sealed_row(struct log *log, const struct row *row, struct arena *arena, struct bytes *plain,
                       struct err *err)
{
    struct bytes sealed;
    return store_get(log->store, NULL, FAMILY_MAP, row_bytes(row), arena, &sealed, err) &&
           log_unseal(log, row, sealed, arena, plain, err);
}

bool log_chain_state(struct log *log, const struct hash *map_key, struct log_chain *out, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct row row = row_key('c', map_key);
    struct bytes plain;
    if (!sealed_row(log, &row, &arena, &plain, err)) {
        return false;
    }
    struct reader r = reader_of(plain);
    struct log_chain state = {.count = read_u64be(&r), .last = read_u64be(&r), .chain = read_hash(&r)};
    *out = state;
    return reader_end(&r) || err_raise(err, ERR_CORRUPT, "log: a chain state of %zu bytes", plain.len);
}

bool log_chain_position(struct log *log, const struct hash *map_key, uint64_t k, uint64_t *index,
                        struct hash *chain, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct row row = row_position(map_key, k);
    struct bytes plain;
    if (!sealed_row(log, &row, &arena, &plain, err)) {
        return false;
    }
    struct reader r = reader_of(plain);
    uint64_t at = read_u64be(&r);
    struct hash value = read_hash(&r);
    if (!reader_end(&r)) {
        return err_raise(err, ERR_CORRUPT, "log: a chain position of %zu bytes", plain.len);
    }
    *index = at;
    if (chain) {
        *chain = value;
    }
    return true;
}

bool log_who_find(struct log *log, const struct log_who *who, struct hash *actor, uint64_t *enrolled,
                  struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct row row = row_who(log, who);
    struct bytes plain;
    if (!sealed_row(log, &row, &arena, &plain, err)) {
        return false;
    }
    struct reader r = reader_of(plain);
    *actor = read_hash(&r);
    read_hash(&r);
    uint64_t index = read_u64be(&r);
    if (enrolled) {
        *enrolled = index;
    }
    return reader_end(&r) || err_raise(err, ERR_CORRUPT, "log: an actor row of %zu bytes", plain.len);
}

bool log_enrolment(struct log *log, const struct hash *actor, uint64_t *enrolled, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct row row = row_key('a', actor);
    struct bytes plain;
    if (!sealed_row(log, &row, &arena, &plain, err)) {
        return false;
    }
    struct reader r = reader_of(plain);
    *enrolled = read_u64be(&r);
    return reader_end(&r) || err_raise(err, ERR_CORRUPT, "log: an enrolment row of %zu bytes", plain.len);
}

/* ---- The change feed ---------------------------------------------------------------------------------------------- */

bool log_feed_next(struct log *log, struct feed_place *at, struct arena *arena, struct bytes *value,
                   struct err *err)
{
    struct row from = row_number('f', at->number);
    const struct store_span span = {.prefix = BYTES_LIT("f"), .from = row_bytes(&from)};
    AUTO_STORE_ITER iter = NULL;
    uint64_t number;
    if (!store_iter_open(log->store, NULL, FAMILY_LOG, &span, &iter, err)) {
        return false;
    }
    if (!store_iter_next(iter)) {
        return store_iter_check(iter, err) && err_raise(err, ERR_NOT_FOUND, "change feed: nothing new");
    }
    if (!feed_number(iter, &number, err) || !arena_copy(arena, store_iter_value(iter), value, err)) {
        return false;
    }
    at->number = number + 1;
    return true;
}

struct feed_place log_feed_end(struct log *log)
{
    AUTO_LOCKED(locked, log->lock);
    return (struct feed_place){log->feed_durable};
}

bool log_feed_wait(struct log *log, const struct feed_place *at, uint32_t ms)
{
    uint64_t until = world_mono_ms(log->world) + ms;
    AUTO_LOCKED(locked, log->lock);
    while (log->feed_durable <= at->number) {
        if (!world_event_wait_until(log->committed, log->lock, until)) {
            return false;
        }
    }
    return true;
}

void log_listen(struct log *log, void (*fn)(void *context), void *context)
{
    AUTO_LOCKED(locked, log->lock);
    if (log->listeners_len == COUNT(log->listeners)) {
        abort(); /* a fixed few, at start */
    }
    log->listeners[log->listeners_len++] = (struct feed_listener){fn, context};
}
