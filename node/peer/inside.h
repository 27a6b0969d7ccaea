/* node/peer/inside.h - what node/peer's files share. Nobody else includes it.
 *
 * Rows in FAMILY_STREAM:
 *   'U' peer lane          ours: place acknowledged, place numbered, their newest Ack
 *   'N' peer lane u64be n  a number not yet acknowledged: what it binds, and the chain after it
 *   'I' peer lane          theirs: incarnation, place stored, their newest head, exceptions not yet seen
 *   'W' peer version       content that lacks chunks
 *   'K' peer               the newest checkpoint of its log that we cosigned */
#pragma once

#include "node/peer/peer.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "replication/frame.h"

enum {
    PEER_WORKERS = 2,                    /* for control, and for bulk */
    EVENT_ARENA = 96 << 20,              /* budget of one event's work */
    QUEUE_BYTES_MAX = 8 << 20,           /* frames waiting for one channel */
    QUEUE_EVENTS_MAX = 4096,
    STORE_RUN_MAX = 16,                  /* versions in one transaction: each has a row in the change feed */
};

/* An event on its way to a channel, with its frame. */
struct mail {
    struct mail *next;
    enum lane_event_kind kind;
    uint64_t link;
    struct bytes frame;                  /* behind the struct */
};

struct peer;
struct channel {
    struct peers *peers;
    struct peer *peer;
    Chartmesh__V1__Lane lane;
    struct world_lane *workers;
    /* Under `lock`. */
    struct world_lock *lock;
    struct mail *first, **last;
    size_t bytes, events;
    bool running, ticking, waking, stopping, resuming;
    uint64_t accepted;                   /* last even link */
    struct lane_status status;
    bool idle;
    /* Of the task that serves it. */
    struct lane *machine;
    struct lane_make make;
    bool make_due;
    struct lane_serve serve;
    bool serve_due;
    size_t fit;                          /* how many items went into one frame last time */
    struct hash renewed;                 /* the disclosure last queued because a chunk was renewed */
    uint64_t retry_ms;
};

struct peer {
    struct id facility;
    struct channel control, bulk;
    _Atomic uint64_t seen_ms;
    uint64_t witnessed;
};

struct peers {
    struct peers_options options;
    struct world *world;
    struct world_lane *control, *bulk, *clock;
    struct world_lock *lock;             /* guards the list */
    struct world_lock *witness_lock;     /* one AddCheckpoint at a time */
    struct peer **list;
    size_t count, capacity;
    uint64_t timer;
    bool stopping;
};

/* ---- peer.c ---- */

/* channel_tell steps the machine and carries the updates out. */
NODISCARD bool channel_tell(struct channel *ch, struct lane_event *event, struct arena *arena, struct err *err);
void channel_log(const struct channel *ch, const char *event, const char *text);
struct stream channel_stream(const struct channel *ch, bool ours);

/* ---- rows.c ---- */

struct numbered {
    enum item_kind kind;                 /* 0: withdrawn */
    struct subject subject;
    struct id document;
    struct hash statement, disclosure, digest;
    struct generation generation;
    struct place place;                  /* n, and the chain after it */
};
struct row_key_bytes {
    uint8_t bytes[64];
    size_t len;
};

NODISCARD bool numbered_put(struct channel *ch, struct log_txn *txn, const struct numbered *row, struct err *err);
void numbered_delete(struct channel *ch, struct log_txn *txn, uint64_t n);

/* numbered_load reads rows from `first` on, at most `max`, in order; they follow each other without a gap. */
NODISCARD bool numbered_load(struct channel *ch, uint64_t first, size_t max, struct arena *arena,
                             struct numbered **out, size_t *count, struct err *err);

struct ours_row {
    struct place acked, numbered;
    struct bytes ack;
};
NODISCARD bool ours_put(struct channel *ch, struct log_txn *txn, const struct ours_row *row, struct err *err);
NODISCARD bool ours_load(struct channel *ch, struct arena *arena, struct ours_row *out, struct err *err);

struct theirs_row {
    uint64_t incarnation;
    struct place stored;
    struct bytes head;
    Chartmesh__V1__Exception *except;
    size_t except_count;
};
NODISCARD bool theirs_put(struct channel *ch, struct log_txn *txn, const struct theirs_row *row, struct err *err);
NODISCARD bool theirs_load(struct channel *ch, struct arena *arena, struct theirs_row *out, struct err *err);

struct want_row {
    struct hash version, disclosure;
    uint64_t next, chunks;
    struct subject subject;
    struct id document, content;
};
NODISCARD bool want_put(struct channel *ch, struct log_txn *txn, const struct want_row *row, struct err *err);
void want_delete(struct channel *ch, struct log_txn *txn, const struct hash *version);
NODISCARD bool want_get(struct channel *ch, const struct hash *version, struct want_row *out, struct err *err);
NODISCARD bool want_list(struct channel *ch, size_t max, struct arena *arena, struct want_row **out, size_t *count,
                         struct err *err);

struct witness_row {
    uint64_t incarnation, size;
    struct hash root;
    struct bytes note;
};
NODISCARD bool witness_put(struct peers *peers, struct log_txn *txn, const struct id *facility,
                           const struct witness_row *row, struct err *err);
NODISCARD bool witness_get(struct peers *peers, const struct id *facility, struct arena *arena,
                           struct witness_row *out, struct err *err);

/* ---- send.c, store.c, pull.c, roster.c, witness.c ---- */

/* roster_owe queues our newest roster for a peer that knows an older one. */
NODISCARD bool roster_owe(struct channel *ch, uint64_t their_version, struct err *err);
NODISCARD bool send_make(struct channel *ch, const struct lane_make *make, struct err *err);
NODISCARD bool send_settle(struct channel *ch, const struct lane_settle *settle, struct arena *arena,
                           struct err *err);
NODISCARD bool store_batch(struct channel *ch, const struct batch *batch, uint64_t shown, struct arena *arena,
                           struct err *err);
NODISCARD bool pull_refill(struct channel *ch, struct arena *arena, struct err *err);
NODISCARD bool pull_take(struct channel *ch, const struct lane_chunk *chunk, struct arena *arena, struct err *err);
NODISCARD bool pull_serve(struct channel *ch, const struct lane_serve *serve, struct err *err);
NODISCARD bool pull_complete(struct channel *ch, const struct lane_serve *serve, struct err *err);
void witness_ask(struct peers *peers);
