/* replication/lane_internal.h - what the parts of the lane share. Only for replication/. */
#pragma once

#include "proto/chartmesh/v1/common.pb-c.h"
#include "replication/frame.h"
#include "replication/lane.h"

#define AS(type, statement_) ((const Chartmesh__V1__##type *)(const void *)(statement_)->message)

enum link_state { LINK_FREE, LINK_DIALING, LINK_GREETING, LINK_LIVE, LINK_STATES };

struct link {
    enum link_state state;
    uint64_t id;
    bool ours;
    uint64_t rank;                       /* clock of the dialer's Hello */
    uint64_t deadline_ms;
};

struct credit {
    uint64_t items, bytes;
};

/* Our stream: acked ≤ sent ≤ numbered ≤ acked + LANE_WINDOW. chains[n % LANE_WINDOW] for n in (acked, numbered].
 */
struct outgoing {
    struct stream stream;
    struct place acked;
    uint64_t sent, numbered;
    struct hash chains[LANE_WINDOW];
    struct credit granted, used; /* since Hello */
    uint64_t ends[LANE_BATCHES_MAX]; /* last numbers of the batches sent and not acked */
    size_t batches;
    bool wake, making;
    uint64_t ack_deadline_ms;
    uint8_t *their_ack; /* newest, on the heap */
    size_t their_ack_len;
};

/* Their stream: stored ≤ checked. Batches in between are with the node. */
struct incoming {
    struct stream stream;
    struct place stored, checked;
    struct {
        struct place after;
        size_t items, bytes;
        uint64_t link;
        bool doomed;
    } pending[LANE_STORES_MAX];
    size_t pending_count;
    struct credit granted, used;
    Chartmesh__V1__Exception except[LANE_WINDOW + BATCH_ITEMS_MAX];
    size_t except_count;
    uint64_t shown; /* exceptions up to here were seen */
    uint8_t *their_head;
    size_t their_head_len;
};

struct pull {
    bool used;
    struct lane_pull content; /* next: to be taken */
    uint64_t ready_ms; /* not asked for before */
};
struct pulling {
    struct pull pulls[LANE_PULLS_MAX];
    size_t turn;
    bool running; /* one run at a time: pulls[active], chunks [arriving, run_end) to come */
    size_t active;
    uint64_t arriving, run_end, deadline_ms;
    bool starved; /* contents are wanted that have no place here */
    uint64_t refill_ms;
};

struct serve {
    struct hash version, disclosure;
    uint64_t index, left;
    uint64_t link;
};
struct serving {
    struct serve queue[LANE_SERVES_MAX];
    size_t count;
    bool out; /* one SERVE is with the node, for queue[0] unless `stale` */
    bool stale;
};

struct lane {
    struct lane_config config;
    enum lane_state state;
    struct link links[LANE_LINKS_MAX];
    uint64_t link_next; /* ours are odd */
    struct link *live;
    uint64_t retry_ms, live_since_ms;
    unsigned failures;
    uint64_t chance;
    uint64_t peer_roster_version;
    char last[160];
    struct outgoing out;
    struct incoming in;
    struct pulling pull;
    struct serving serve;
};

/* One step in hand. */
struct step {
    struct lane *lane;
    const struct lane_event *event;
    struct arena *arena;
    struct lane_updates *updates;
};

/* step_update appends an update to fill in. More than LANE_UPDATES_MAX in one step is a bug and aborts. */
struct lane_update *step_update(struct step *step, enum lane_update_kind kind);
void step_send(struct step *step, const struct link *link, struct bytes frame);

/* link_move checks the move against the table and makes it. link_end frees a link, its CLOSE update said when
 * `rule`. */
void link_move(struct link *link, enum link_state to);
void link_end(struct step *step, struct link *link, const char *rule, const char *text);
void lane_halt(struct step *step, const char *rule, const char *text);

/* hello.c */
NODISCARD bool hello_send(struct step *step, struct link *link, struct err *err);
NODISCARD bool hello_take(struct step *step, struct link *link, const Chartmesh__V1__Hello *hello,
                          struct err *err);

/* outgoing.c */
struct place outgoing_place(const struct outgoing *out, uint64_t n); /* acked.n ≤ n ≤ numbered */
void outgoing_restart(struct step *step); /* a link went live */
void outgoing_pump(struct step *step);
NODISCARD bool outgoing_numbered(struct step *step, struct err *err);
NODISCARD bool outgoing_ack(struct step *step, const Chartmesh__V1__Envelope *message, struct err *err);
NODISCARD bool outgoing_settle(struct step *step, const struct statement *ack, struct err *err);
NODISCARD bool outgoing_credit(struct step *step, const Chartmesh__V1__Credit *credit, struct err *err);

/* incoming.c */
void incoming_restart(struct step *step);
NODISCARD bool incoming_batch(struct step *step, const Chartmesh__V1__Batch *message, struct err *err);
NODISCARD bool incoming_stored(struct step *step, struct err *err);
NODISCARD bool incoming_ack_envelope(struct step *step, struct bytes *out, struct err *err);

/* pull.c */
void pull_restart(struct step *step); /* a link went live, or none is */
void pull_pump(struct step *step);
void pull_wanted(struct step *step);
NODISCARD bool pull_chunk(struct step *step, const Chartmesh__V1__Chunk *message, struct err *err);
NODISCARD bool pull_taken(struct step *step, struct err *err);
NODISCARD bool serve_want(struct step *step, const Chartmesh__V1__Want *message, struct err *err);
NODISCARD bool serve_served(struct step *step, struct err *err);

/* keep_copy replaces an owned copy on the heap. */
void keep_copy(uint8_t **owned, size_t *len, struct bytes view);
