/* node/log/log.h - the facility's audit log, and the one way to write (formats 6, design 4 and 6).
 *
 * A change is a *transaction*: rows, and the log entries that say what was done. Whoever commits while nobody does
 * is the committer; what comes meanwhile is the next group, and the log's own lane commits it. One group at a time
 * takes what is waiting, gives every entry its index, clock and chain link, extends tree and chains, signs one
 * checkpoint, writes all in one synced batch, and tells the others. So every acknowledged act has exactly one
 * entry (I19), and a checkpoint leaves only after its leaves are durable (I18). A storage error ends the process
 * (world_fatal).
 *
 * Any thread. No lock of the log is held by the caller; a caller may hold a patient's lock (node/chart). */
#pragma once

#include "node/keys/keys.h"
#include "node/store/store.h"
#include "node/world/world.h"
#include "proto/chartmesh/v1/log.pb-c.h"
#include "proto/merkle/checkpoint.h"
#include "proto/merkle/map.h"
#include "proto/merkle/merkle.h"
#include "proto/statement/statement.h"
#include "proto/statement/version.h"

struct log;
struct log_txn;

/* A patient as one facility knows them; p = subject_p(facility, patient). */
struct subject {
    struct id facility, patient, p;
};
struct subject subject_make(const struct id *facility, const struct id *patient);

/* year_of_hlc: the UTC year of a clock value, which chooses the audit key (formats 8). */
unsigned year_of_hlc(uint64_t hlc);

/* Who did it: enrolled in this log at first sight by an ENROL entry of its own. */
struct log_who {
    const char *principal;       /* SPIFFE id */
    const char *user;            /* "" when the application named none */
};

/* The anchor: (origin, size, root) outside the store, so that a store set back is seen at start. It is saved
 * within a second of a commit, at log_map_close and at log_open; never two at once, never an older one over a
 * newer. */
struct anchor_port {
    bool (*load)(void *context, struct arena *arena, struct bytes *out, struct err *err); /* ERR_NOT_FOUND: none */
    bool (*save)(void *context, struct bytes text, struct err *err);
    void *context;
};
struct anchor_port anchor_file(const char *path); /* `path` must outlive the port */

struct log_options {
    struct store *store;
    struct keys *keys;
    struct world *world;
    struct anchor_port anchor;
    struct id network, facility;
    const char *domain;
    uint32_t map_every_ms; /* a map epoch closes after this long with changes; 0: 10,000 */
    uint32_t map_every_entries; /* or after so many entries; 0: 4,096 */
    uint32_t linger_us; /* a group waits so long for those who come, at most; 0: not at all */
    uint32_t commit_entries; /* in one group; 0: 256. One transaction is never divided */
};

/* log_open recomputes the frontier from the stored leaves and compares it with the stored checkpoint and the
 * anchor. At the first start it draws the incarnation and writes entry 0 (EPOCH). ERR_CORRUPT: rows do not fit
 * each other, named; ERR_STATE: the anchor is ahead (the store was set back: RECOVERY), or it is another
 * facility's store. */
NODISCARD bool log_open(const struct log_options *options, struct log **out, struct err *err);

/* log_close frees, and writes nothing: an orderly end calls log_map_close before, which saves the anchor. NULL is
 * fine. */
void log_close(struct log *log);

const char *log_origin(const struct log *log); /* "<domain>/log/<incarnation>" */
uint64_t log_incarnation(const struct log *log);
struct bytes log_epoch_statement(const struct log *log); /* the envelope; lives as long as the log */
const struct id *log_network(const struct log *log);
const struct id *log_facility(const struct log *log);

/* ---- Transactions ---------------------------------------------------------------------------------------- */

struct log_entry {
    Chartmesh__V1__EntryKind kind;
    const struct log_who *who; /* NULL: the node's own act */
    const char *role, *purpose; /* NULL: none */
    const struct subject *subject; /* NULL: none */
    const struct hash *objects; /* sorted and freed of duplicates here; <= 256 */
    size_t objects_len;
    const Chartmesh__V1__Decision *decision; /* NULL: none */
    const struct hash *disclosure; /* NULL: none */
    const struct id *counterpart; /* NULL: none */
    const char *reason; /* NULL: none */
    uint64_t extent;
};

/* log_txn_new begins an empty transaction; log_txn_free ends one that was not committed (NULL is fine). */
struct log_txn *log_txn_new(struct log *log);
void log_txn_free(struct log_txn *txn);
struct store_batch *log_txn_rows(struct log_txn *txn); /* put and delete here */

/* log_txn_add appends an entry (copied). ERR_INVALID: over 256 objects; ERR_TOO_MUCH. */
NODISCARD bool log_txn_add(struct log_txn *txn, const struct log_entry *entry, struct err *err);

/* log_txn_feed asks for one row of the change feed: at commit `value` gets the feed's next number (at most 16 per
 * transaction, in order; with or without an entry). Readers: log_feed_next. */
NODISCARD bool log_txn_feed(struct log_txn *txn, struct bytes value, struct err *err);

/* log_txn_mark asks for one row that says where the transaction stands in the log: at commit the index of its
 * first entry (u64be) is put under `key` of `family`. At most one per transaction, which must have an entry. */
NODISCARD bool log_txn_mark(struct log_txn *txn, enum store_family family, struct bytes key, struct err *err);

/* log_txn_notify has the listeners called after this transaction's commit, as feed rows do. */
void log_txn_notify(struct log_txn *txn);

/* log_commit makes the transaction durable and frees it, also when it fails. `first` (may be NULL) gets the index
 * of its first entry (UINT64_MAX when it has none). Blocks until durable. ERR_TOO_MUCH: the batch does not fit,
 * nothing happened. */
NODISCARD bool log_commit(struct log_txn *txn, uint64_t *first, struct err *err);

/* log_submit is log_commit for those who cannot wait: it queues the transaction and returns. `then` is called
 * once, when it is durable, with the index of its first entry; in the order of submission, by whoever commits,
 * with no lock of the log held. It hands the news on and returns: meanwhile nobody commits. It may submit, and
 * must not commit. ERR_TOO_MUCH: the batch does not fit, nothing happened, `then` is not called. The transaction
 * is the log's (and freed) in either case. Bound what you have under way: the log does not. */
typedef void (*log_done_fn)(void *context, uint64_t first);
NODISCARD bool log_submit(struct log_txn *txn, log_done_fn then, void *context, struct err *err);

/* What the committer has done since log_open, and how much waits for it now. Each array counts by upper bounds:
 * its i-th element those of at most bounds[i] (and above the one before), its last those above all. */
enum { LOG_GROUP_BOUNDS = 9, LOG_SYNC_BOUNDS = 12, LOG_KINDS = 64 };
extern const uint64_t log_group_bounds[LOG_GROUP_BOUNDS]; /* entries: 1, 2, 4 … 256 */
extern const uint64_t log_sync_bounds[LOG_SYNC_BOUNDS]; /* microseconds: 100 … 1,000,000 */
struct log_counters {
    uint64_t groups, transactions, entries, bytes; /* bytes: of the batches */
    uint64_t group_entries[LOG_GROUP_BOUNDS + 1];
    uint64_t sync_us[LOG_SYNC_BOUNDS + 1], sync_us_sum;
    uint64_t lingered; /* groups that waited for company */
    uint64_t kinds[LOG_KINDS]; /* entries of transactions, by Chartmesh__V1__EntryKind */
    size_t queued, preparing; /* transactions, now */
};
void log_counters(struct log *log, struct log_counters *out);

/* ---- Change feed ------------------------------------------------------------------------------------------ */

struct feed_place {
    uint64_t number; /* of the next row to read; 0: the beginning */
};

/* log_feed_next reads the next row at or after *at, moves *at behind it. ERR_NOT_FOUND: none yet. log_feed_end is
 * the place after everything that is durable now. log_feed_wait blocks until there may be more, at most `ms`; true
 * if so. log_listen registers a function called (briefly, no lock of the log held, any thread) after each commit
 * that has feed rows or was to be notified. */
NODISCARD bool log_feed_next(struct log *log, struct feed_place *at, struct arena *arena, struct bytes *value,
                             struct err *err);
struct feed_place log_feed_end(struct log *log);
bool log_feed_wait(struct log *log, const struct feed_place *at, uint32_t ms);
void log_listen(struct log *log, void (*fn)(void *context), void *context);

/* ---- Reading ---------------------------------------------------------------------------------------------- */

struct log_size {
    uint64_t size;
    struct hash root;
};
struct log_size log_size(struct log *log); /* durable */

/* log_newest_ms: Unix time of the newest durable entry, as this node stamped it. */
uint64_t log_newest_ms(struct log *log);

/* log_checkpoint: the newest signed note, with the cosignatures that have come for that size. */
NODISCARD bool log_checkpoint(struct log *log, struct arena *arena, struct bytes *note, struct err *err);

/* log_cosignature stores a witness's line for the checkpoint of `size` (the caller has verified it); the newest
 * checkpoint with cosignatures is kept whole, an older size changes nothing. log_cosigned: the newest note of at
 * least `min_size` that has at least `quorum` cosignatures, waiting up to `wait_ms` (ERR_UNAVAILABLE: none came in
 * time). */
NODISCARD bool log_cosignature(struct log *log, uint64_t size, const char *witness, struct bytes line,
                               struct err *err);
NODISCARD bool log_cosigned(struct log *log, uint64_t min_size, unsigned quorum, uint32_t wait_ms,
                            struct arena *arena, struct bytes *note, uint64_t *size, struct err *err);

/* log_root_at, log_inclusion, log_consistency: over the stored tree, and checked against the signed root
 * (ERR_RANGE: beyond the head; ERR_CORRUPT: a stored hash is damaged). */
NODISCARD bool log_root_at(struct log *log, uint64_t size, struct hash *out, struct err *err);
NODISCARD bool log_inclusion(struct log *log, uint64_t index, uint64_t size, struct hash path[MERKLE_PATH_MAX],
                             size_t *len, struct err *err);
NODISCARD bool log_consistency(struct log *log, uint64_t from, uint64_t to, struct hash path[2 * MERKLE_PATH_MAX],
                               size_t *len, struct err *err);

/* log_entry_at opens one entry: r and the encoded entry (formats 6), in `arena`. ERR_NOT_FOUND: beyond the head,
 * or the key that sealed it is destroyed (commitment still set). */
struct log_opened {
    struct hash r, commitment;
    struct bytes entry;
    const Chartmesh__V1__Entry *message;
};
NODISCARD bool log_entry_at(struct log *log, uint64_t index, struct arena *arena, struct log_opened *out,
                            struct err *err);

/* log_chain_position: the index of link k (1…) of a chain, and the chain value after it. log_chain_state: count,
 * last index and chain of a map key now. ERR_NOT_FOUND. */
struct log_chain {
    uint64_t count, last;
    struct hash chain;
};
NODISCARD bool log_chain_state(struct log *log, const struct hash *map_key, struct log_chain *out,
                               struct err *err);
NODISCARD bool log_chain_position(struct log *log, const struct hash *map_key, uint64_t k, uint64_t *index,
                                  struct hash *chain, struct err *err);

/* log_who_find finds the actor id and the ENROL entry's index of a principal and user. ERR_NOT_FOUND: never seen.
 * log_enrolment finds the ENROL entry's index by actor id. */
NODISCARD bool log_who_find(struct log *log, const struct log_who *who, struct hash *actor, uint64_t *enrolled,
                            struct err *err);
NODISCARD bool log_enrolment(struct log *log, const struct hash *actor, uint64_t *enrolled, struct err *err);

/* ---- The map ---------------------------------------------------------------------------------------------- */

/* log_map_close closes a map epoch now if there are changes since the last, and gives the newest epoch (index of
 * its MAP entry + 1). log_map_prove proves a key's state in the map of an epoch (0: the newest): what formats 7's
 * MapFrame holds. ERR_NOT_FOUND: no such epoch. */
NODISCARD bool log_map_close(struct log *log, uint64_t *epoch, struct err *err);
uint64_t log_map_epoch(struct log *log);
struct log_map_answer {
    uint64_t epoch;
    struct hash root;
    struct log_chain chain;
    struct map_proof proof;
};
NODISCARD bool log_map_prove(struct log *log, const struct hash *map_key, uint64_t epoch,
                             struct log_map_answer *out, struct err *err);
