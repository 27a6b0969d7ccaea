/* tests/lib/nodes.h - facilities of one network as real processes on loopback: folders as `chartmesh node init`
 * makes them, nodes run by `chartmeshd`. Nothing here fails: it ends the test. nodes.py is the same for Python. */
#pragma once

#include <sys/types.h>

#include "client/chartmesh.h"
#include "client/setup/facility.h"
#include "tests/lib/test.h"

enum { NODES_MAX = 4 };

struct running {
    char folder[256], domain[64], client[64],
        peer[64];     /* addresses: fixed at the making, so that restarts keep them */
    struct id facility;
    pid_t pid;                           /* 0: not running */
};

struct nodes {
    struct arena arena;
    const char *chartmeshd;              /* the program */
    char folder[64];
    size_t count;
    struct running list[NODES_MAX];
};

/* nodes_new founds a network of `count` facilities, none of them running; nodes_free ends what runs and removes
 * all. */
struct nodes *nodes_new(const char *chartmeshd, size_t count);
void nodes_free(struct nodes *nodes);

/* nodes_start runs a node and returns when it is ready; nodes_stop sends the signal and returns the exit code (128
 * + N for a process that a signal ended). */
void nodes_start(struct nodes *nodes, size_t i);
void nodes_begin(struct nodes *nodes, size_t i); /* runs it and does not wait */
int nodes_stop(struct nodes *nodes, size_t i, int signal_number);

/* nodes_ended waits for a node that ends by itself and returns its exit code. */
int nodes_ended(struct nodes *nodes, size_t i);

/* nodes_refused runs a node that must not become ready and returns its exit code. */
int nodes_refused(struct nodes *nodes, size_t i);

/* nodes_profile issues a certificate once and loads its profile; nodes_open connects with it. */
struct profile nodes_profile(struct nodes *nodes, size_t i, enum client_kind kind, const char *name);
struct chartmesh *nodes_open(struct nodes *nodes, size_t i, enum client_kind kind, const char *name);

/* nodes_text reads a file of a node's folder. */
const char *nodes_text(struct nodes *nodes, size_t i, const char *name);
