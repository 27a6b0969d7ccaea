/* node/peer/peer.h - carries replication out: one machine (replication/lane.h) per peer and lane, fed from the
 * chart and the gate, over a transport that somebody else provides.
 *
 * Every channel (peer, lane) is served by one task at a time; control and bulk have workers of their own, so that
 * a backfill delays no revocation. What goes out is decided, numbered and durable first, and is given to the
 * transport while the patient's lock is still held: a revocation that is acknowledged finds no hand-off under way
 * (I1, I2). What comes in is durable before it is acknowledged (I24).
 *
 * Order of locks: a patient's lock, then a channel's queue lock; neither is held while another channel is served.
 */
#pragma once

#include "node/gate/gate.h"
#include "replication/lane.h"

struct peers;

/* The transport: streams of frames to other members, and one unary call. Any thread of ours calls; none of the
 * functions may call back into peers_… on the same stack, except peers_closed. All are needed. */
struct peer_transport {
    /* can_dial: an address of that facility is known. */
    bool (*can_dial)(void *context, const struct id *facility);

    /* dial begins to open a stream; peers_opened or peers_closed follows, with that link. */
    void (*dial)(void *context, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link);

    /* send queues a copy of one frame, in order, and never waits. When it cannot, it ends the link: peers_closed
     * follows. */
    void (*send)(void *context, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link,
                 struct bytes frame);

    /* close ends a link; `rule` is a fixed word that the other side may see, `text` is for our log. */
    void (*close)(void *context, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link,
                  const char *rule, const char *text);

    /* add_checkpoint calls Replication.AddCheckpoint and waits for the answer. */
    bool (*add_checkpoint)(void *context, const struct id *facility,
                           const Chartmesh__V1__AddCheckpointRequest *request, struct arena *arena,
                           const Chartmesh__V1__AddCheckpointReply **reply, struct err *err);
    void *context;
};

struct peers_options {
    struct store *store;
    struct chart *chart;
    struct gate *gate;
    const char *domain; /* ours */
    struct peer_transport transport;
    uint32_t tick_ms; /* 0: 200 */
    bool cosign; /* ask peers to cosign our checkpoints */

    /* alarm (may be NULL): a lane stopped; `rule` is SELF_ROLLED_BACK, KEY_IN_TWO_HANDS, PEER_ROLLED_BACK or
     * STOPPED. With log_context, from a channel's task. */
    void (*alarm)(void *context, const struct id *peer, const char *rule);

    /* log (may be NULL): one event for the node's log: ids and rules, never content. Any thread. */
    void (*log)(void *context, const struct id *peer, const char *lane, const char *event, const char *text);
    void *log_context;
};

/* peers_open loads what is kept of every lane and starts. ERR_CORRUPT: rows do not fit each other. */
NODISCARD bool peers_open(const struct peers_options *options, struct peers **out, struct err *err);

/* peers_stop ends all work; nothing is called on the transport afterwards. peers_close frees: after it, nothing
 * may commit on this chart's log any more (it listens there). */
void peers_stop(struct peers *peers);
void peers_close(struct peers *peers);

/* ---- What the transport tells; any thread, none waits ---------------------------------------------------------- */

/* peers_accept announces a stream that an active member opened, and gives its link. ERR_DENIED: not a member. */
NODISCARD bool peers_accept(struct peers *peers, const struct id *facility, Chartmesh__V1__Lane lane,
                            uint64_t *link, struct err *err);
void peers_opened(struct peers *peers, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link);
void peers_closed(struct peers *peers, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link);

/* peers_frame takes a copy. False: more came than the peer was allowed, the link is to be ended. */
bool peers_frame(struct peers *peers, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link,
                 struct bytes frame);

/* peers_add_checkpoint answers a member's AddCheckpoint (C2SP tlog-witness): verifies the log's signature and that
 * its tree extends the one we cosigned last, stores it, and cosigns. Where `old_size` is not the size we hold, the
 * reply has no cosignature and our size. ERR_INVALID: not that member's log, not consistent (kept as proof of a
 * fork when sizes are equal and roots differ), or an earlier incarnation. */
NODISCARD bool peers_add_checkpoint(struct peers *peers, const struct id *facility,
                                    const Chartmesh__V1__AddCheckpointRequest *request, struct arena *arena,
                                    Chartmesh__V1__AddCheckpointReply *reply, struct err *err);

/* ---- Looking at it ------------------------------------------------------------------------------------------------ */

struct peer_status {
    struct id facility;
    struct lane_status control, bulk;
    uint64_t outbox_control, outbox_bulk;
    uint64_t seen_ms; /* Unix: the newest authenticated Hello since the start; 0: none */
    uint64_t witnessed; /* our log's size that this peer has cosigned */
};
NODISCARD bool peers_status(struct peers *peers, struct arena *arena, struct peer_status **out, size_t *count,
                            struct err *err);

/* peers_resume lets the lanes of a peer that have stopped begin anew from what is stored; *resumed counts them.
 * ERR_NOT_FOUND: no such peer. */
NODISCARD bool peers_resume(struct peers *peers, const struct id *facility, unsigned *resumed, struct err *err);

/* peers_idle: every channel that is connected has nothing left to do. */
bool peers_idle(struct peers *peers);
