/* node/log/log_inside.h - what the log's own files share: its state, rows and helpers. Nobody else includes it.
 *
 * Rows. FAMILY_META: "log" -> size || incarnation || last hlc || last MAP index + 1 || facility || network,
 *       "checkpoint" -> the newest note, "cosigned" -> the newest note with cosignatures, "epoch" -> the envelope.
 * FAMILY_LOG: 'e' u64be index -> C || entry row; 'h' u8 level u64be n -> hash of a complete subtree;
 *       'f' u64be number -> a row of the change feed.
 * FAMILY_MAP: 'c' map key -> sealed count || last || chain; 'x' map key u64be k -> sealed index || chain;
 *       'w' HMAC(principal, user) -> sealed actor || salt || index of the ENROL entry; 'a' actor -> sealed index.
 */
#pragma once

#include "node/log/log.h"

enum {
    COMMIT_ENTRIES_MAX = 256,
    COMMIT_BYTES_MAX = 4 << 20,
    COMMIT_ARENA = 64 << 20,
    ANCHOR_EVERY_MS = 1000,              /* how old the anchor may be while entries are written */
    ENTRY_OBJECTS_MAX = 256,
    FEED_PARTS_MAX = 16,
};

struct log_txn {
    struct log *log;
    struct store_batch *rows;
    struct arena arena;          /* the entries' copies */
    struct log_txn_entry *entries, **entries_end;
    size_t entries_len;
    struct bytes feed[FEED_PARTS_MAX];
    size_t feed_len;
    bool notify;
    struct bytes mark;           /* a row's key; empty: none */
    enum store_family mark_family;

    /* The queue's, under the log's lock. */
    bool queued, done;
    struct log_txn *next;
    struct waiter *waiter;       /* whoever waits in log_commit; NULL: nobody does */
    log_done_fn then;            /* whom log_submit tells; NULL: log_commit waits */
    void *then_context;
    uint64_t first;
};

struct log_txn_entry {
    struct log_txn_entry *next;
    struct log_entry entry;
    struct log_who who;
    struct subject subject;
    struct hash disclosure;
    struct id counterpart;
};

struct feed_listener {
    void (*fn)(void *context);
    void *context;
};

/* A checkpoint as the log itself signed it. */
struct log_note {
    uint8_t bytes[1024];         /* an origin of 300 bytes, twice, and 170 of numbers and signature */
    size_t len;
};
NODISCARD bool log_note_set(struct log_note *note, struct bytes view, struct err *err);

/* Where one waits in log_commit. It is the log's, and used again, so that its event may be signalled without the
 * lock: if somebody else waits there by then, he looks, and waits on. */
struct waiter {
    struct world_event *event;
    struct waiter *next;
};

/* What the committer would read again for every entry: who was enrolled, and the states of chains. Both are moved
 * by the committer alone; what is here is what the store has, or will have with the group being written. */
enum { RECENT_WHO = 64, RECENT_WHO_MAX = 240, RECENT_CHAINS = 1024 };
struct recent {
    struct recent_who {
        char text[RECENT_WHO_MAX];   /* principal, NUL, user, NUL */
        size_t len;                  /* 0: empty */
        struct hash actor;
    } who[RECENT_WHO];
    struct recent_chain {
        struct hash key;
        struct log_chain state;      /* count 0: empty */
    } chains[RECENT_CHAINS];
};

struct log {
    struct store *store;
    struct keys *keys;
    struct world *world;
    struct anchor_port anchor;
    struct id network, facility;
    char domain[256], origin[300];
    uint64_t incarnation;
    struct bytes epoch_statement;
    struct arena arena;          /* what lives as long as the log */
    uint32_t map_every_ms, map_every_entries;

    struct world_lane *commit_lane;      /* commits what nobody waits for, and what came meanwhile */
    uint32_t linger_us, entries_max;

    struct world_lock *lock;     /* guards what follows */
    struct world_event *committed, *company;
    struct log_txn *queue, **queue_end;
    size_t preparing;            /* transactions begun, and not yet in the queue */
    bool committing, lingering, lane_called;
    struct waiter *waiters;              /* nobody waits there now */
    unsigned linger_rest;        /* so many groups do not linger: the last one did in vain */
    struct log_counters counters;
    struct log_size durable;
    struct log_note note;        /* the checkpoint of `durable` */
    uint64_t hlc_durable;
    uint64_t feed_durable;       /* number of the change feed's next row */
    struct feed_listener listeners[8];
    size_t listeners_len;
    bool map_wanted, closed;
    uint64_t map_epoch;          /* the newest: index of its MAP entry + 1 */
    struct map *epoch_map;       /* as of map_epoch; NULL: not in memory */
    struct map *map_stored;      /* what was stored when the log opened; NULL: not loaded yet, or taken over */
    struct world_event *map_loaded;

    /* Only the committer's. */
    struct merkle_edge edge;
    struct map *map;
    struct recent *recent;
    bool map_partial;            /* it has only what moved since the log opened */
    uint64_t last_hlc, map_since_mono_ms;
    uint64_t feed_next;
    uint32_t map_since;          /* entries since the last MAP entry, itself not counted */
    struct arena scratch;

    struct world_lane *map_lane;         /* loads the map while the log is in use */
    struct store_snapshot *map_from;
    struct world_lane *timer_lane;
    uint64_t timer, anchor_timer;        /* anchor_timer 0: none runs, nothing is unanchored */

    struct world_lock *cosign_lock;      /* one reads and writes "cosigned" at a time; taken before `lock` */
    struct world_lock *anchor_lock;      /* one saves at a time; taken before `lock`, never after */
    uint64_t anchored;                   /* size that the saved anchor has; under anchor_lock */
};

struct row {
    uint8_t bytes[64];
    size_t len;
};
static inline struct bytes row_bytes(const struct row *row)
{
    return BYTES(row->bytes, row->len);
}
struct row row_number(char kind, uint64_t number);                         /* 'e', 'f' */
struct row row_tree(unsigned level, uint64_t n);
struct row row_key(char kind, const struct hash *key);                     /* 'c', 'w', 'a' */
struct row row_position(const struct hash *key, uint64_t k);

/* Sealed by the facility's index key, bound to the row's own key. */
NODISCARD bool log_seal(struct log *log, const struct row *row, struct bytes plain, struct arena *arena,
                        struct bytes *out, struct err *err);
NODISCARD bool log_unseal(struct log *log, const struct row *row, struct bytes sealed, struct arena *arena,
                          struct bytes *out, struct err *err);

/* The number in the key of a row of the change feed. */
NODISCARD bool log_feed_number(const struct store_iter *iter, uint64_t *out, struct err *err);

/* What a 'c' row of FAMILY_MAP holds, unsealed. */
NODISCARD bool log_chain_read(struct bytes plain, struct log_chain *out, struct err *err);

struct merkle_source log_source(struct log *log);
struct row row_who(struct log *log, const struct log_who *who);
struct hash leaf_hash(const struct hash *commitment);                      /* of the tree's leaf */

/* log_notes.c: log_note_open reads a stored checkpoint. ERR_CORRUPT: not one that this node signed; `what` it is.
 */
NODISCARD bool log_note_open(const struct log *log, struct bytes note, const char *what, struct checkpoint *out,
                             struct err *err);

/* log_notes.c: the anchor. log_anchor_save saves the newest checkpoint unless it is saved already; no lock is
 * held. log_anchor_later has it saved within ANCHOR_EVERY_MS; the lock is held. */
void log_anchor_save(struct log *log);
void log_anchor_later(struct log *log);

/* queue.c: what is being prepared is counted, to know whom to wait for. */
void log_txn_began(struct log_txn *txn);
void log_txn_ended(struct log_txn *txn);
NODISCARD bool log_queue_open(struct log *log, const struct log_options *options, struct err *err);
void log_queue_close(struct log *log);

/* committer.c: one group, without the lock. Fatal on any error: what was promised to nobody may be half done. */
struct log_group {
    bool map_now;                /* in: close a map epoch if anything changed */
    uint64_t map_epoch;          /* in: the newest; out: with this group */
    struct map *map;             /* out: of the epoch that it closed; NULL: none */
    struct log_note note;        /* out: the checkpoint it signed */
    bool notify;
    uint64_t entries, bytes, sync_us;
};
void log_write_group(struct log *log, struct log_txn *txns, struct log_group *out);

/* recent.c: the committer's. False: not here. */
bool recent_who_find(const struct recent *recent, const struct log_who *who, struct hash *actor);
void recent_who_set(struct recent *recent, const struct log_who *who, const struct hash *actor);
bool recent_chain_find(const struct recent *recent, const struct hash *key, struct log_chain *out);
void recent_chain_set(struct recent *recent, const struct hash *key, const struct log_chain *state);

/* log_map.c: log_map_load begins to load the map of the stored chains, so that a start takes as long however many
 * there are; log_map_complete is the committer's, and waits for it: only a map epoch needs the whole map. */
NODISCARD bool log_map_load(struct log *log, struct err *err);
void log_map_complete(struct log *log);

/* log_map.c: the map as of an epoch, from the positions. */
NODISCARD bool log_map_rebuild(struct log *log, uint64_t epoch, struct map **out, struct err *err);
