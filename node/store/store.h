/* node/store/store.h - what a node keeps: ordered families of rows, and one way to change them.
 *
 * A port. Code depends on //node/store and a binary's BUILD picks the implementation: //node/store:rocks (on
 * disk, the daemon's) or //node/store:mem (the simulator's, see store_mem.h). tests/lib/store_contract.c holds
 * for both. Rows are ordered by memcmp of their keys. Nothing here assumes that one process owns the data for
 * ever: no counters in memory, no state beside the rows.
 *
 * Every function may be called from any thread, except that one batch and one iterator belong to one
 * thread at a time. Reads see whole batches only. A batch that store_commit has taken survives kill and power
 * loss. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

struct store;
struct store_batch;
struct store_snapshot;
struct store_iter;
struct store_disk;           /* store_mem.h */

/* Rows that belong to a patient begin with P || document in FAMILY_RECORD, and with P in FAMILY_KEY. The first
 * byte tells kinds apart in the others. Who writes a kind documents its key beside the code. */
enum store_family {
    FAMILY_META,             /* identity, incarnation, log frontier, schema, jobs, idempotency keys */
    FAMILY_KEY,              /* wrapped keys; compacted after key destruction */
    FAMILY_RECORD,           /* sealed headers of versions: P || document || version */
    FAMILY_CHUNK,            /* sealed content chunks, kept in blob files */
    FAMILY_LOG,              /* log entries, tiles, checkpoint notes */
    FAMILY_MAP,              /* nodes of the map over chain heads */
    FAMILY_INDEX,            /* heads, patient state, identifier index, chains by count */
    FAMILY_STREAM,           /* outbox, ledger, lanes, fences, suppression markers */
    FAMILY_STATEMENT,        /* envelopes by statement id, and their secondary keys */
    FAMILY_COUNT
};

/* store_family_name: "meta", "key" and so on. store_place writes where a row is, for errors: "family key at
 * 64a1…". Returns `out`. */
enum { STORE_PLACE_TEXT = 80 };
const char *store_family_name(enum store_family family);
const char *store_place(enum store_family family, struct bytes key, char out[STORE_PLACE_TEXT]);

enum { STORE_KEY_MAX = 1024, STORE_VALUE_MAX = 32 << 20, STORE_BATCH_MAX = 128 << 20 };

/* Told that the disk failed: whether it has what was last written is unknown. Ends the process (world_fatal): an
 * fsync that failed once may succeed when it is called again, and what it was for is gone. */
typedef void (*store_failed_fn)(void *context, const struct err *why);

struct store_options {
    const char *folder;      /* the store's own: absent, empty, or made by store_open earlier */
    size_t memory;           /* bytes for caches and unwritten rows together; 0: 24 MiB */
    struct store_disk *disk; /* the in-memory twin's instead of a folder; NULL for the one on disk */
    store_failed_fn failed;  /* called before a function fails for that reason; NULL: its caller is told only */
    void *failed_context;
};

/* store_open opens the store, making it first if need be. One opener at a time: a second one, of this or
 * another process, fails with ERR_STATE. ERR_STATE also: a folder with other things in it, or a store of
 * another format. ERR_CORRUPT: rows or the log of unfinished work do not verify; nothing was changed.
 * ERR_UNAVAILABLE: the file system says no. */
NODISCARD bool store_open(const struct store_options *options, struct store **out, struct err *err);

/* store_close: no batch, snapshot or iterator of the store may be left. NULL is fine. */
void store_close(struct store *store);

/* ---- Writing -------------------------------------------------------------------------------------------- */

/* store_batch_new begins an empty batch: rows to put and keys to delete, in order, on the heap. It knows no
 * store. The first row that does not fit (an empty or long key, a long value, the batch full) spoils the
 * batch and store_commit refuses it, so that a whole change is prepared first and asked about once. */
struct store_batch *store_batch_new(void);
void store_batch_free(struct store_batch *batch);
void store_batch_reset(struct store_batch *batch);             /* empty again, keeps its memory */

void store_put(struct store_batch *batch, enum store_family family, struct bytes key, struct bytes value);
void store_delete(struct store_batch *batch, enum store_family family, struct bytes key);   /* absent: nothing */

/* store_batch_append puts all of `from` behind what `batch` has; how prepared changes share one commit. */
void store_batch_append(struct store_batch *batch, const struct store_batch *from);

size_t store_batch_rows(const struct store_batch *batch);
size_t store_batch_bytes(const struct store_batch *batch);

/* store_batch_check fails with ERR_TOO_MUCH when the batch is spoilt, and says by what. */
NODISCARD bool store_batch_check(const struct store_batch *batch, struct err *err);

/* store_commit makes the whole batch durable, then visible, or neither. Later rows of a batch win over earlier
 * ones. ERR_TOO_MUCH: the batch is spoilt, nothing happened. **Any other failure is fatal**: whether the disk
 * has the batch is unknown, so the process stops (store_options.failed, or the caller) and never tries again. Work
 * in the background that failed since the last commit is such a failure. */
NODISCARD bool store_commit(struct store *store, const struct store_batch *batch, struct err *err);

/* ---- Reading -------------------------------------------------------------------------------------------- *
 *
 * ERR_CORRUPT: the row does not verify; family, key and file are named, and the rest of the store can be read on.
 * ERR_UNAVAILABLE: the disk cannot be read, after store_options.failed. */

/* store_snapshot_new holds the rows as they are now. Short-lived: it keeps deleted rows on disk. */
struct store_snapshot *store_snapshot_new(struct store *store);
void store_snapshot_free(struct store_snapshot *snapshot);

/* store_get sets *out to a copy of the row's value in `arena`, as of `at` (NULL: now). ERR_NOT_FOUND,
 * ERR_TOO_MUCH (the arena's budget), ERR_CORRUPT (the row does not verify), ERR_UNAVAILABLE. */
NODISCARD bool store_get(struct store *store, const struct store_snapshot *at, enum store_family family,
                         struct bytes key, struct arena *arena, struct bytes *out, struct err *err);

/* store_has sets *out to whether there is such a row. */
NODISCARD bool store_has(struct store *store, const struct store_snapshot *at, enum store_family family,
                         struct bytes key, bool *out, struct err *err);

/* Which rows an iterator gives: keys that begin with `prefix` and lie in [from, until); empty ends are open.
 * from and until are whole keys, prefix included. */
struct store_span {
    struct bytes prefix, from, until;
    bool backwards;          /* from the last to the first */
};

/* store_iter_open begins before the first row of the span, on the rows as of `at` (NULL: now, held until the
 * iterator closes). Copies the span. */
NODISCARD bool store_iter_open(struct store *store, const struct store_snapshot *at, enum store_family family,
                               const struct store_span *span, struct store_iter **out, struct err *err);

/* store_iter_next moves to the next row; false when there is none or reading failed: ask store_iter_check
 * after the loop. */
NODISCARD bool store_iter_next(struct store_iter *iter);

/* The row's key and value: valid until the next store_iter_next or store_iter_close. */
struct bytes store_iter_key(const struct store_iter *iter);
struct bytes store_iter_value(const struct store_iter *iter);

/* store_iter_check fails with ERR_CORRUPT or ERR_UNAVAILABLE if the loop ended for that reason. */
NODISCARD bool store_iter_check(const struct store_iter *iter, struct err *err);
void store_iter_close(struct store_iter *iter);

static inline void store_iter_close_scope(struct store_iter **iter)
{
    store_iter_close(*iter);
}

static inline void store_snapshot_free_scope(struct store_snapshot **snapshot)
{
    store_snapshot_free(*snapshot);
}

static inline void store_batch_free_scope(struct store_batch **batch)
{
    store_batch_free(*batch);
}

/* AUTO_STORE_ITER iter = NULL; ends with the scope, as do the other two. */
#define AUTO_STORE_ITER __attribute__((cleanup(store_iter_close_scope))) struct store_iter *
#define AUTO_STORE_SNAPSHOT __attribute__((cleanup(store_snapshot_free_scope))) struct store_snapshot *
#define AUTO_STORE_BATCH __attribute__((cleanup(store_batch_free_scope))) struct store_batch *

/* ---- Looking at it -------------------------------------------------------------------------------------- */

/* How much there is, as the store estimates it; none of it costs a scan. 0 where the twin in memory has no such
 * thing. */
struct store_sizes {
    uint64_t files;          /* bytes on disk: tables and blobs */
    uint64_t blobs;          /* of them, blob files */
    uint64_t unwritten;      /* bytes in memory that the log of unfinished work has */
    uint64_t cached;         /* bytes of the cache in use */
    uint64_t rows[FAMILY_COUNT];
};
void store_sizes(struct store *store, struct store_sizes *out);

/* ---- Care ----------------------------------------------------------------------------------------------- */

/* store_compact rewrites the rows of the span so that deleted ones leave the files. Slow; for FAMILY_KEY
 * after keys were destroyed. */
NODISCARD bool store_compact(struct store *store, enum store_family family, const struct store_span *span,
                             struct err *err);
