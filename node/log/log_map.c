/* The map of chain heads: loading it, closing an epoch now, and proofs out of the map as of one. */
#include "node/log/log_inside.h"

static bool chain_key(struct bytes row, struct hash *out, struct err *err)
{
    return (row.len == 1 + HASH_LEN && hash_from(BYTES(row.data + 1, HASH_LEN), out)) ||
           err_raise(err, ERR_CORRUPT, "log: a chain row (family map) with a key of %zu bytes", row.len);
}

/* ---- Loading ------------------------------------------------------------------------------------------------- */

static bool load_row(struct log *log, const struct store_iter *iter, struct map *map, struct err *err)
{
    AUTO_ARENA(arena, 4096);
    struct bytes plain;
    struct hash key;
    struct log_chain state;
    struct row row;
    if (!chain_key(store_iter_key(iter), &key, err)) {
        return false;
    }
    row = row_key('c', &key);
    if (!log_unseal(log, &row, store_iter_value(iter), &arena, &plain, err) ||
        !log_chain_read(plain, &state, err)) {
        return false;
    }
    struct hash value = map_value(state.count, state.last, &state.chain);
    map_set(map, &key, &value);
    return true;
}

static bool load_rows(struct log *log, struct map *map, struct err *err)
{
    const struct store_span span = {.prefix = BYTES_LIT("c")};
    AUTO_STORE_ITER iter = NULL;
    if (!store_iter_open(log->store, log->map_from, FAMILY_MAP, &span, &iter, err)) {
        return false;
    }
    while (store_iter_next(iter)) {
        if (!load_row(log, iter, map, err)) {
            return false;
        }
    }
    return store_iter_check(iter, err);
}

/* A chain that does not verify ends the process: without it no map epoch could be closed. */
static void load_task(void *arg)
{
    struct log *log = arg;
    struct err err;
    struct map *map = map_new();
    bool ok = load_rows(log, map, &err);
    store_snapshot_free(log->map_from);
    if (!ok) {
        map_free(map);
        err_wrap(&err, "log: the map of chains");
        world_fatal(log->world, &err);
    }
    AUTO_LOCKED(locked, log->lock);
    log->map_stored = map;
    world_event_signal(log->map_loaded);
}

bool log_map_load(struct log *log, struct err *err)
{
    if (!world_lane_open(log->world, "log-map", 1, &log->map_lane, err)) {
        return false;
    }
    log->map_partial = true;
    log->map_from = store_snapshot_new(log->store);
    world_submit(log->map_lane, load_task, log);
    return true;
}

void log_map_complete(struct log *log)
{
    if (!log->map_partial) {
        return;
    }
    world_lock_take(log->lock);
    while (!log->map_stored) {
        world_event_wait(log->map_loaded, log->lock);
    }
    struct map *whole = log->map_stored;
    log->map_stored = NULL;
    world_lock_give(log->lock);
    map_set_all(whole, log->map); /* what moved since is newer */
    map_free(log->map);
    log->map = whole;
    log->map_partial = false;
}

/* ---- Epochs -------------------------------------------------------------------------------------------------- */

bool log_map_close(struct log *log, uint64_t *epoch, struct err *err)
{
    world_lock_take(log->lock);
    log->map_wanted = true;
    world_lock_give(log->lock);
    if (!log_commit(log_txn_new(log), NULL, err)) {
        return false;
    }
    log_anchor_save(log);
    *epoch = log_map_epoch(log);
    return true;
}

uint64_t log_map_epoch(struct log *log)
{
    AUTO_LOCKED(locked, log->lock);
    return log->map_epoch;
}

/* The chain of a key as of an epoch: its last link with a smaller index. ERR_NOT_FOUND: none yet. */
static bool chain_as_of(struct log *log, const struct hash *key, uint64_t epoch, struct log_chain *out,
                        struct err *err)
{
    struct log_chain now;
    if (!log_chain_state(log, key, &now, err)) {
        return false;
    }
    uint64_t low = 0, high = now.count; /* link `low` is before the epoch (0: none), link `high` + 1 is not */
    while (low < high) {
        uint64_t middle = high - (high - low) / 2, index;
        if (!log_chain_position(log, key, middle, &index, NULL, err)) {
            return false;
        }
        if (index + 1 < epoch) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    if (low == 0) {
        return err_raise(err, ERR_NOT_FOUND, "log: nothing in this chain before epoch %ju", (uintmax_t)epoch);
    }
    out->count = low;
    return log_chain_position(log, key, low, &out->last, &out->chain, err);
}

bool log_map_rebuild(struct log *log, uint64_t epoch, struct map **out, struct err *err)
{
    const struct store_span span = {.prefix = BYTES_LIT("c")};
    AUTO_STORE_ITER iter = NULL;
    if (!store_iter_open(log->store, NULL, FAMILY_MAP, &span, &iter, err)) {
        return false;
    }
    struct map *map = map_new();
    bool ok = true;
    while (ok && store_iter_next(iter)) {
        struct hash key;
        struct log_chain chain;
        ok = chain_key(store_iter_key(iter), &key, err);
        if (ok && chain_as_of(log, &key, epoch, &chain, err)) {
            struct hash value = map_value(chain.count, chain.last, &chain.chain);
            map_set(map, &key, &value);
        } else if (ok) {
            ok = err->code == ERR_NOT_FOUND;
        }
    }
    ok = ok && store_iter_check(iter, err);
    if (!ok) {
        map_free(map);
        return false;
    }
    *out = map;
    return true;
}

/* The map as of an epoch: the one in memory, or made again from the chains. The caller frees it. */
static bool map_of(struct log *log, uint64_t epoch, struct map **out, struct err *err)
{
    world_lock_take(log->lock);
    struct map *kept = epoch == log->map_epoch && log->epoch_map ? map_snapshot(log->epoch_map) : NULL;
    world_lock_give(log->lock);
    if (kept) {
        *out = kept;
        return true;
    }
    return log_map_rebuild(log, epoch, out, err);
}

bool log_map_prove(struct log *log, const struct hash *map_key, uint64_t epoch, struct log_map_answer *out,
                   struct err *err)
{
    AUTO_ARENA(arena, 1 << 20);
    struct log_opened entry;
    struct map *map;
    epoch = epoch ? epoch : log_map_epoch(log);
    if (epoch && !log_entry_at(log, epoch - 1, &arena, &entry, err) && err->code == ERR_CORRUPT) {
        return false;
    }
    if (epoch == 0 || !entry.message || entry.message->kind != CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_MAP) {
        return err_raise(err, ERR_NOT_FOUND, "log: no map epoch %ju", (uintmax_t)epoch);
    }
    if (!map_of(log, epoch, &map, err)) {
        return false;
    }
    *out = (struct log_map_answer){.epoch = epoch, .root = map_root(map)};
    map_prove(map, map_key, &out->proof);
    map_free(map);
    if (!bytes_equal(BYTES_OF(out->root), bytes_pb(entry.message->root))) {
        return err_raise(err, ERR_CORRUPT, "log: the map of epoch %ju is not what its entry says",
                         (uintmax_t)epoch);
    }
    if (!chain_as_of(log, map_key, epoch, &out->chain, err)) {
        return err->code == ERR_NOT_FOUND; /* absence is an answer: count 0 */
    }
    return true;
}
