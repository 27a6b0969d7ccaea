/* replication/lane.h - one lane between this facility and one peer: a state machine without I/O, clock or thread.
 *
 * A lane (control or bulk) carries two streams, ours to the peer and the peer's to us, over one connection at a
 * time; it outlives connections. The node tells it what happened (lane_step) and carries out the updates that come
 * back.
 *
 *   a link:   FREE --dial--> DIALING --opened--> GREETING --their Hello--> LIVE --closed--> FREE
 *             FREE --accepted--> GREETING                 (any: closed, refused, late, replaced --> FREE)
 *   the lane: DOWN --a link is LIVE--> LIVE --it closed--> DOWN;  any --the peer or we were set back--> HALTED
 *
 * Of two LIVE links the one whose dialer's Hello has the higher clock stays: both sides see both Hellos, so both
 * keep the same one. An outgoing number goes
 *
 *   outbox row --MAKE--> decided, numbered, durable --NUMBERED--> SEND --their Ack--> SETTLE      (I23, I24)
 *
 * and is made again, decided again, under the same number and digest after every new connection until it is acked.
 * An incoming batch goes  frame --checked--> STORE --durable--> STORED --> our Ack (I24). A gap, another chain or
 * any other broken rule closes the link and says which (docs/protocol/05-replication.md, 5.4); nothing of that
 * batch is kept.
 *
 * Memory: a lane is one allocation of about 60 KiB; it keeps at most one Ack and one Head of the peer's besides.
 * Updates live in the caller's arena. Equal events give equal updates, but for the nonces in what is signed. */
#pragma once

#include "replication/batch.h"

enum {
    LANE_PROTOCOL = 1,
    LANE_WINDOW = 1024,                  /* numbers that may be unacknowledged */
    LANE_CREDIT_ITEMS = LANE_WINDOW,     /* what a receiver lets be in flight */
    LANE_CREDIT_BYTES = 4 << 20,
    LANE_BATCHES_MAX = 8,                /* batches that may be unacknowledged */
    LANE_STORES_MAX = 2 * LANE_BATCHES_MAX,   /* batches with the node: of this connection and the one before */
    LANE_LINKS_MAX = 4,
    LANE_PULLS_MAX = 8,                  /* contents being pulled */
    LANE_RUN_MAX = 16,                   /* chunks asked for by one Want */
    LANE_SERVES_MAX = 8,                 /* their Wants that wait */
    LANE_UPDATES_MAX = 24,
    LANE_DIAL_MS = 10000,
    LANE_HELLO_MS = 10000,
    LANE_ACK_MS = 30000,
    LANE_WANT_MS = 30000,
    LANE_REFILL_MS = 5000,
    LANE_BACKOFF_MIN_MS = 100,
    LANE_BACKOFF_MAX_MS = 30000,
};

struct lane;

/* Borrowed for the lane's life. */
struct lane_config {
    struct id network, self, peer;
    Chartmesh__V1__Lane lane;
    uint64_t incarnation;                /* ours */
    struct bytes epoch;                  /* our epoch statement's envelope */
    const struct signing_key *key;       /* our statement key */
    bool dials;                          /* we know where to reach them */
    uint64_t seed;                       /* of the jitter */
    uint64_t first_link;                 /* lane_status.next_link of the lane that this one follows; 0: none */
};

/* What the node kept: all zero at the first start. Copied. */
struct lane_kept {
    /* Our stream to them. chains[i] is the chain after number acked.n + 1 + i; count ≤ LANE_WINDOW. */
    struct place acked;                  /* n 0: chain unused */
    const struct hash *chains;
    size_t count;
    struct bytes their_ack;              /* newest, envelope */
    /* Their stream to us. */
    uint64_t peer_incarnation;           /* 0: never met */
    struct place stored;                 /* n 0: chain unused */
    struct bytes their_head;             /* newest stored, envelope */
    const Chartmesh__V1__Exception *except;   /* not yet shown as seen, by n */
    size_t except_count;
};

/* lane_new aborts when memory for it cannot be had. lane_free: NULL is fine. */
struct lane *lane_new(const struct lane_config *config, const struct lane_kept *kept);
void lane_free(struct lane *lane);

/* ---- Events ------------------------------------------------------------------------------------------------ */

enum lane_event_kind {
    LANE_TICK = 1,       /* time went on: call it at least every 100 ms while links exist, else every second */
    LANE_OPENED,         /* `link`: what we dialed is open, and authenticated as the peer */
    LANE_ACCEPTED,       /* `link`: the peer opened one; even number, the node's */
    LANE_CLOSED,         /* `link` ended, or dialing failed */
    LANE_RECEIVED,       /* `link`, `frame`: bytes of one Frame */
    LANE_WAKE,           /* the outbox may have rows for this lane */
    LANE_NUMBERED,       /* answer to MAKE */
    LANE_STORED,         /* answer to STORE */
    LANE_WANTED,         /* `pull`: content that lacks chunks */
    LANE_TAKEN,          /* answer to TAKE */
    LANE_SERVED,         /* answer to SERVE: `frame`, empty: not given */
    LANE_STOP,           /* the node cannot go on with this lane: it is HALTED; `why` says why */
};

/* Answer to MAKE. Fresh numbers begin where the last ended. `chains` after each. Empty `frame` with a count:
 * numbered and not to be sent (made anew when connected). */
struct lane_numbered {
    bool again;                          /* as MAKE said */
    uint64_t first;
    size_t count;                        /* 0: nothing was owed, or all of it denied */
    const struct hash *chains;
    struct bytes frame;
    bool more;                           /* the outbox has more */
};

/* Answer to STORE, in the order of STOREs. Everything durable (I24), or failed: then every STORE that is still out
 * fails. */
struct lane_stored {
    bool failed;
    const struct batch *batch; /* the one given */
    const Chartmesh__V1__Exception *except; /* by n: what of it was not stored, and why */
    size_t except_count;
};

struct lane_pull {
    struct hash version, disclosure;
    uint64_t next, chunks;
}; /* next < chunks */

/* Answer to TAKE, in order. `disclosure` and `next` are what the next Want names. Not taken: it is asked for again
 * after a second. Not wanted: it was purged or retracted meanwhile, and is asked for no more. */
struct lane_taken {
    struct hash version, disclosure;
    uint64_t next;
    bool taken, wanted;
};

struct lane_event {
    enum lane_event_kind kind;
    uint64_t now_ms; /* monotonic */
    uint64_t hlc; /* fresh: for what is signed in this step */
    const struct trust *trust; /* borrowed for the step */
    uint64_t link;
    struct bytes frame;
    struct lane_numbered numbered;
    struct lane_stored stored;
    struct lane_pull pull;
    struct lane_taken taken;
    const char *why;
};

/* ---- Updates ----------------------------------------------------------------------------------------------- */

enum lane_update_kind {
    LANE_DO_DIAL = 1, /* open `link` (odd, ours) to the peer; answer OPENED or CLOSED */
    LANE_DO_SEND, /* `frame` on `link`, in this order */
    LANE_DO_CLOSE, /* end `link` with `rule` and `text`; CLOSED need not be told */
    LANE_DO_GREET, /* `greeting`: a Hello was accepted: clock, roster version, their epoch */
    LANE_DO_MAKE, /* `make`: decide, number, write; answer NUMBERED. One at a time */
    LANE_DO_STORE, /* `batch`: apply, log, sync; answer STORED. Forget exceptions up to `shown` in the same batch
                    */
    LANE_DO_SETTLE, /* `settle`: they hold everything up to there, except …. No answer */
    LANE_DO_TAKE, /* `chunk`: verify, store; answer TAKEN */
    LANE_DO_SERVE, /* `serve`: decide, read; answer SERVED. One at a time */
    LANE_DO_COMPLETE, /* `serve`: they have all of that version's content */
    LANE_DO_REFILL, /* say WANTED for contents that lack chunks, if there are any */
    LANE_DO_ALARM, /* `rule`, `text`: one of us was set back, or a key is in two hands. The lane is HALTED */
};

struct lane_make {
    bool again; /* numbers [first, first + count) once more; else up to `count` new ones */
    uint64_t first;
    size_t count; /* ≤ 256 */
    size_t bytes; /* the frame's maximum */
    struct place before; /* of `first` */
    struct stream stream;
};
struct lane_settle {
    uint64_t from; /* acknowledged before: exceptions are in (from, place.n] */
    struct place place;
    struct bytes ack; /* envelope, to keep */
    Chartmesh__V1__Exception *const *except;
    size_t except_count;
};
struct lane_greeting {
    uint64_t incarnation, hlc, roster_version;
    struct bytes epoch;
};
struct lane_chunk {
    struct hash version, disclosure;
    uint64_t index;
    struct bytes coded;
    struct hash path[BATCH_PROOF_MAX];
    size_t path_len;
};
struct lane_serve {
    struct hash version, disclosure;
    uint64_t index;
};

struct lane_update {
    enum lane_update_kind kind;
    uint64_t link;
    struct bytes frame;
    const char *rule, *text; /* in the step's arena */
    struct lane_make make;
    const struct batch *batch;
    uint64_t shown;
    struct lane_settle settle;
    struct lane_greeting greeting;
    const struct lane_chunk *chunk;
    struct lane_serve serve;
};
struct lane_updates {
    struct lane_update list[LANE_UPDATES_MAX];
    size_t count;
};

/* lane_step tells the lane of one event and sets *out to what is to be done, in order; views in it live in
 * `arena`, which the caller ends when the last of it is carried out (a batch: when STORED was told). A peer's
 * faults become updates. It fails only with ERR_INTERNAL or ERR_STATE: the node broke this header's rules (an
 * answer nobody asked for, numbers that do not follow); the node stops, nothing was changed on disk. Any thread,
 * one at a time. */
NODISCARD bool lane_step(struct lane *lane, const struct lane_event *event, struct arena *arena,
                         struct lane_updates *out, struct err *err);

/* ---- Looking at it ------------------------------------------------------------------------------------------- */

enum lane_state { LANE_DOWN, LANE_LIVE, LANE_HALTED };
struct lane_status {
    enum lane_state state;
    uint64_t numbered, sent, acked; /* ours */
    uint64_t stored; /* theirs */
    uint64_t peer_incarnation, peer_roster_version;
    size_t pulls;
    uint64_t next_link;
    char last[160]; /* why the last link closed; "" */
};
struct lane_status lane_status(const struct lane *lane);

/* lane_idle: nothing numbered that is not acked, nothing being made, stored, pulled or served. */
bool lane_idle(const struct lane *lane);
