/* node/server/rounds.h - what changes by itself while a node runs, looked at every few seconds by a task of its
 * own: how many documents there are, whether the clock jumped, how full the disk is, which certificates have run
 * out.
 *
 * What is asked for (Status, metrics) is what the last round saw: nobody who asks makes the node scan its rows. */
#pragma once

#include "node/chart/chart.h"

struct rounds;

enum { ROUNDS_MS = 5000 };

struct rounds_options {
    struct world *world;
    struct store *store;
    struct chart *chart;
    const char *folder;                  /* the data folder; outlives the rounds */
    uint32_t clock_error_ms;             /* a jump is more than this, and more than a second */
    void (*each)(void *context);         /* called at the end of each round; may be NULL */
    void *context;
};

struct rounds_seen {
    /* As of counted_ms (Unix): 0: not counted yet. */
    uint64_t subjects, documents, versions, open_cases, counted_ms;
    uint64_t uploads;                    /* begun and not ended; counted up to 10,000 */
    uint64_t disk_free, disk_size;       /* bytes of the data folder's file system; 0: unknown */
    /* Jumps of the wall clock against the time that only goes forward, since the start. */
    uint64_t jumps_forward, jumps_back;
    int64_t last_jump_ms;                /* how far; below 0: back */
    uint64_t last_jump_at_ms;            /* Unix, behind the jump; 0: there was none */
    uint64_t behind_ms; /* how far the clock is behind stamps that this node has given or taken */
};

/* rounds_open goes the first round before it returns, but for the counting. */
NODISCARD bool rounds_open(const struct rounds_options *options, struct rounds **out, struct err *err);
struct rounds_seen rounds_seen(struct rounds *rounds);

/* rounds_close: NULL is fine. */
void rounds_close(struct rounds *rounds);
