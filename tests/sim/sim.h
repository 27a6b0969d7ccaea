/* tests/sim/sim.h - whole facilities in one process, from one seed.
 *
 *   room     node.c     a facility: store, keys, log, chart, gate and peers of the daemon, over the in-memory
 * store and the simulated world; it starts, crashes at a commit (batch kept or lost) and starts again wires wire.c
 * connections between them: delay, loss (a connection breaks with all that is under way), frames twice and out of
 * order, partitions, ends that nobody is told of deeds    deed.c     what applications do: register, write, amend,
 * merge, retract, grant, revoke, upload rules    rule.c     what must hold: at every frame handed over, after
 * every step, and when all is quiet sim_test.c          the schedule, the command line
 *
 * A broken rule prints the seed and the trace and ends the process. Equal seeds give equal runs. */
#pragma once

#include <stdarg.h>
#include <stdio.h>

#include "node/peer/peer.h"
#include "node/store/store_mem.h"
#include "tests/lib/federation.h"
#include "tests/lib/world_sim.h"

enum { SIM_NODES = 3, SIM_LANES = 2, SIM_SUBJECTS = 4, SIM_ACKED = 512, SIM_NOTES = 512, SIM_WIRES = 256 };

struct sim;

/* One end of a wire. */
struct wire_end {
    size_t node;
    uint64_t link;
    bool told, known;
};

struct wire {
    bool open;                           /* frames still pass */
    bool used;
    Chartmesh__V1__Lane lane;
    struct wire_end ends[2];             /* who dialed first */
};

struct sim_frame {
    struct sim_frame *next;
    size_t wire, to;
    uint64_t at_ms, serial;
    struct bytes bytes;
    bool opened, closed;
};

struct sim_node {
    struct sim *sim;
    size_t number;
    bool up;
    struct store_disk *disk;
    uint8_t ring[512];
    size_t ring_len;
    uint8_t anchor[512];
    size_t anchor_len;
    /* of the process */
    struct world *world;
    struct world_lane *deeds;
    struct world_lock *disk_lock;        /* a sync takes time, and others go on meanwhile */
    struct world_event *disk_never;
    struct store *store;
    struct keys *keys;
    struct log *log;
    struct chart *chart;
    struct gate *gate;
    struct peers *peers;
    bool busy;                           /* a deed is under way */
    unsigned crash_in;                   /* at this many commits from now; 0: not planned */
    enum store_disk_sync crash_how;
};

struct sim {
    uint64_t seed, step;
    bool trace, quiet;                   /* quiet: no more faults */
    struct world_sim *room;
    struct federation *f;
    struct sim_node nodes[SIM_NODES];
    struct wire wires[SIM_WIRES];
    struct sim_frame *frames;            /* by at_ms */
    uint64_t serial;
    bool cut[SIM_NODES][SIM_NODES];
    /* What was acknowledged to an application, and must never be lost. */
    struct {
        size_t node;
        struct subject subject;
        struct id document;
        struct hash version;
    } acked[SIM_ACKED];
    size_t acked_count;
    struct subject subjects[SIM_NODES][SIM_SUBJECTS];
    size_t subject_count[SIM_NODES];
    /* Which digest every number got (I23, I27): by sender, receiver, lane. */
    struct {
        uint64_t n;
        struct hash *digests;
        size_t capacity;
    } numbers[SIM_NODES][SIM_NODES][SIM_LANES];
    /* Every checkpoint that left a node (I17, I18). */
    struct {
        size_t node;
        uint64_t size;
        struct hash root;
    } notes[SIM_NOTES];
    size_t notes_count;
    uint64_t frames_sent, crashes, items_sent, chunks_sent;
    char *history;
    size_t history_len, history_capacity;
};

/* sim_say adds a line to the trace. sim_broken prints seed and trace, and ends. */
void sim_say(struct sim *sim, const char *format, ...) PRINTF_LIKE(2, 3);
_Noreturn void sim_broken(struct sim *sim, const char *rule, const char *format, ...) PRINTF_LIKE(3, 4);
uint64_t sim_choose(struct sim *sim, uint64_t bound);

/* sim_must: what cannot fail in a simulation. */
#define sim_must(sim, call)                                                                                       \
    do {                                                                                                          \
        if (!(call)) {                                                                                            \
            sim_broken((sim), "UNEXPECTED", "%s: %s (%s:%d)", #call, err.text, err.file, err.line);               \
        }                                                                                                         \
    } while (0)

/* node.c */
void node_start(struct sim_node *node);
void node_crash(struct sim_node *node);      /* now, between two tasks */
void node_buried(struct sim_node *node);     /* after a commit killed it: takes away what is left */
void node_end(struct sim_node *node);

/* wire.c */
struct peer_transport wire_transport(struct sim_node *node);
bool wire_deliver(struct sim *sim);          /* one frame that is due; false: none */
void wires_of_dead(struct sim_node *node);   /* the node is gone: its wires break, now or unnoticed */
void wire_break(struct sim *sim, size_t wire);
void wires_free(struct sim *sim);

/* deed.c */
void deed_any(struct sim_node *node);

/* rule.c */
void rule_frame(struct sim_node *from, size_t to, Chartmesh__V1__Lane lane, struct bytes frame);
void rule_step(struct sim *sim);             /* after every step, for nodes that are up */
void rule_quiet(struct sim *sim);            /* nothing is left to do */
