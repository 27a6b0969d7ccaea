#include "node/store/store_mem.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "node/store/rows.h"
#include "node/store/tree.h"

struct rows {
    struct tree *family[FAMILY_COUNT];
};

struct store_disk {
    atomic_flag busy;        /* guards all below; held for a few instructions */
    atomic_flag writing;     /* held while a batch is applied */
    struct rows durable, visible;
    bool open, hold;
    uint64_t life;           /* counts openings and crashes: a store of another life is dead */
    store_disk_sync_fn on_sync;
    void *on_sync_arg;
};

struct store {
    struct store_disk *disk;
    uint64_t life;
};

struct store_snapshot {
    struct rows rows;
};

struct store_iter {
    struct store *store;
    struct tree *tree;
    const struct tree *at;   /* NULL: before the first row */
    struct span_bounds bounds;
    bool dead;
};

/* A flag in place of a mutex: this folder may use no threads, and nobody holds it for long. */
static void take(atomic_flag *flag)
{
    while (atomic_flag_test_and_set_explicit(flag, memory_order_acquire)) {
    }
}

static void give(atomic_flag *flag)
{
    atomic_flag_clear_explicit(flag, memory_order_release);
}

static struct rows rows_hold(const struct rows *rows)
{
    struct rows held = *rows;
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        tree_hold(held.family[i]);
    }
    return held;
}

static void rows_drop(struct rows *rows)
{
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        tree_drop(rows->family[i]);
    }
    *rows = (struct rows){0};
}

static void rows_apply(struct rows *rows, const struct store_batch *batch)
{
    struct reader reader = batch_rows(batch);
    struct batch_row row;
    while (batch_next(&reader, &row)) {
        struct tree **tree = &rows->family[row.family], *before = *tree;
        *tree = row.put ? tree_put(before, row.key, row.value) : tree_delete(before, row.key);
        tree_drop(before);
    }
}

/* ---- The disk ------------------------------------------------------------------------------------------- */

struct store_disk *store_disk_new(void)
{
    return store_must_alloc(sizeof(struct store_disk));
}

void store_disk_free(struct store_disk *disk)
{
    if (disk) {
        rows_drop(&disk->durable);
        rows_drop(&disk->visible);
        free(disk);
    }
}

void store_disk_crash(struct store_disk *disk)
{
    take(&disk->busy);
    struct rows lost = disk->visible;
    disk->visible = rows_hold(&disk->durable);
    disk->open = false;
    disk->life++;
    give(&disk->busy);
    rows_drop(&lost);
}

struct store_disk *store_disk_clone(const struct store_disk *disk)
{
    struct store_disk *clone = store_disk_new();
    clone->durable = rows_hold(&disk->durable);
    clone->visible = rows_hold(&disk->durable);
    return clone;
}

void store_disk_on_sync(struct store_disk *disk, store_disk_sync_fn fn, void *arg)
{
    disk->on_sync = fn;
    disk->on_sync_arg = arg;
}

static void make_durable(struct store_disk *disk)
{
    struct rows old = disk->durable;
    disk->durable = rows_hold(&disk->visible);
    rows_drop(&old);
}

void store_disk_hold(struct store_disk *disk, bool hold)
{
    take(&disk->busy);
    disk->hold = hold;
    if (!hold) {
        make_durable(disk);
    }
    give(&disk->busy);
}

/* ---- Opening -------------------------------------------------------------------------------------------- */

bool store_open(const struct store_options *options, struct store **out, struct err *err)
{
    struct store_disk *disk = options->disk;
    if (!disk) {
        return err_raise(err, ERR_INVALID, "open store: the store in memory needs a struct store_disk");
    }
    take(&disk->busy);
    bool was_open = disk->open;
    disk->open = true;
    uint64_t life = was_open ? 0 : ++disk->life;
    give(&disk->busy);
    if (was_open) {
        return err_raise(err, ERR_STATE, "open store: another process has it open");
    }
    *out = store_must_alloc(sizeof **out);
    **out = (struct store){.disk = disk, .life = life};
    return true;
}

void store_close(struct store *store)
{
    if (!store) {
        return;
    }
    take(&store->disk->busy);
    if (store->disk->life == store->life) {
        store->disk->open = false;
        store->disk->life++;
    }
    give(&store->disk->busy);
    free(store);
}

/* ---- Writing -------------------------------------------------------------------------------------------- */

static bool alive(const struct store *store)
{
    take(&store->disk->busy);
    bool is = store->disk->life == store->life;
    give(&store->disk->busy);
    return is;
}

static bool raise_dead(struct err *err)
{
    return err_raise(err, ERR_UNAVAILABLE, "store: the disk is gone (power lost)");
}

static void publish(struct store_disk *disk, const struct store_batch *batch)
{
    take(&disk->writing);
    struct rows next = rows_hold(&disk->visible);
    rows_apply(&next, batch);
    take(&disk->busy);
    struct rows old = disk->visible;
    disk->visible = next;
    if (!disk->hold) {
        make_durable(disk);
    }
    give(&disk->busy);
    give(&disk->writing);
    rows_drop(&old);
}

bool store_commit(struct store *store, const struct store_batch *batch, struct err *err)
{
    struct store_disk *disk = store->disk;
    if (!store_batch_check(batch, err)) {
        return false;
    }
    if (!alive(store)) {
        return raise_dead(err);
    }
    enum store_disk_sync sync = disk->on_sync ? disk->on_sync(disk->on_sync_arg) : DISK_SYNCED;
    if (!alive(store)) {
        return raise_dead(err);
    }
    if (sync != DISK_LOST) {
        publish(disk, batch);
    }
    if (sync != DISK_SYNCED) {
        store_disk_crash(disk);
        return raise_dead(err);
    }
    return true;
}

/* ---- Reading -------------------------------------------------------------------------------------------- */

struct store_snapshot *store_snapshot_new(struct store *store)
{
    struct store_snapshot *snapshot = store_must_alloc(sizeof *snapshot);
    take(&store->disk->busy);
    snapshot->rows = rows_hold(&store->disk->visible);
    give(&store->disk->busy);
    return snapshot;
}

void store_snapshot_free(struct store_snapshot *snapshot)
{
    if (snapshot) {
        rows_drop(&snapshot->rows);
        free(snapshot);
    }
}

/* The family's tree as of `at`, held. */
static struct tree *tree_at(struct store *store, const struct store_snapshot *at, enum store_family family)
{
    if (at) {
        return tree_hold(at->rows.family[family]);
    }
    take(&store->disk->busy);
    struct tree *tree = tree_hold(store->disk->visible.family[family]);
    give(&store->disk->busy);
    return tree;
}

bool store_get(struct store *store, const struct store_snapshot *at, enum store_family family, struct bytes key,
               struct arena *arena, struct bytes *out, struct err *err)
{
    if (!alive(store)) {
        return raise_dead(err);
    }
    struct tree *tree = tree_at(store, at, family);
    const struct tree *row = tree_find(tree, key);
    bool ok = row ? arena_copy(arena, tree_value(row), out, err)
                  : err_raise(err, ERR_NOT_FOUND, "store: no such row in family %d", (int)family);
    tree_drop(tree);
    return ok;
}

bool store_has(struct store *store, const struct store_snapshot *at, enum store_family family, struct bytes key,
               bool *out, struct err *err)
{
    if (!alive(store)) {
        return raise_dead(err);
    }
    struct tree *tree = tree_at(store, at, family);
    *out = tree_find(tree, key) != NULL;
    tree_drop(tree);
    return true;
}

bool store_iter_open(struct store *store, const struct store_snapshot *at, enum store_family family,
                     const struct store_span *span, struct store_iter **out, struct err *err)
{
    struct span_bounds bounds;
    if (!span_bounds_of(span, &bounds, err)) {
        return false;
    }
    if (!alive(store)) {
        return raise_dead(err);
    }
    struct store_iter *iter = store_must_alloc(sizeof *iter);
    *iter = (struct store_iter){.store = store, .bounds = bounds, .tree = tree_at(store, at, family)};
    *out = iter;
    return true;
}

static const struct tree *step_forward(const struct store_iter *iter)
{
    const struct tree *next = iter->at ? tree_from(iter->tree, tree_key(iter->at), true)
                                       : tree_from(iter->tree, span_lower(&iter->bounds), false);
    bool inside = next && (!iter->bounds.bounded || bytes_compare(tree_key(next), span_upper(&iter->bounds)) < 0);
    return inside ? next : NULL;
}

static const struct tree *step_back(const struct store_iter *iter)
{
    struct bytes before = iter->at ? tree_key(iter->at) : span_upper(&iter->bounds);
    const struct tree *next = tree_before(iter->tree, iter->at || iter->bounds.bounded ? &before : NULL);
    return next && bytes_compare(tree_key(next), span_lower(&iter->bounds)) >= 0 ? next : NULL;
}

bool store_iter_next(struct store_iter *iter)
{
    iter->dead = iter->dead || !alive(iter->store);
    if (iter->dead || iter->bounds.empty) {
        return false;
    }
    const struct tree *next = iter->bounds.backwards ? step_back(iter) : step_forward(iter);
    iter->bounds.empty = !next;
    iter->at = next ? next : iter->at;
    return next != NULL;
}

struct bytes store_iter_key(const struct store_iter *iter)
{
    return tree_key(iter->at);
}

struct bytes store_iter_value(const struct store_iter *iter)
{
    return tree_value(iter->at);
}

bool store_iter_check(const struct store_iter *iter, struct err *err)
{
    return !iter->dead || raise_dead(err);
}

void store_iter_close(struct store_iter *iter)
{
    if (iter) {
        tree_drop(iter->tree);
        free(iter);
    }
}

/* Deleted rows are gone already when the last snapshot that has them is. */
bool store_compact(struct store *store, enum store_family family, const struct store_span *span, struct err *err)
{
    (void)family;
    struct span_bounds bounds;
    return span_bounds_of(span, &bounds, err) && (alive(store) || raise_dead(err));
}

void store_sizes(struct store *store, struct store_sizes *out)
{
    (void)store;
    *out = (struct store_sizes){0};
}
