/* tests/bench/node.h - a real node to measure: its folder made as an operator makes one, then opened in this
 * process or served by the daemon. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <sys/types.h>

#include "client/setup/profile.h"
#include "node/service/service.h"
#include "proto/rpc/rpc.h"

struct bench_node {
    struct arena arena;
    const char *folder;          /* the facility's; its log of calls is in it */
    struct profile profile;      /* of an application */
    /* In this process: */
    struct config *config;
    struct service service;
    /* Or served: */
    pid_t daemon;
    double start_ms, idle_mib;   /* until it was ready; resident then */
    struct rpc *rpc;
    struct rpc_channel *channel;
};

/* bench_node_make founds a network of one facility below `folder`, with an application's certificate. */
void bench_node_make(struct bench_node *node, const char *folder);
void bench_node_done(struct bench_node *node);

/* bench_node_open opens store, keys, log, chart and gate here: the store on disk, the real clock, no wire. */
void bench_node_open(struct bench_node *node);
void bench_node_close(struct bench_node *node);

/* bench_node_serve starts `chartmeshd` (a path) and connects to it; bench_node_stop has it drain and end. */
void bench_node_serve(struct bench_node *node, const char *chartmeshd);
void bench_node_stop(struct bench_node *node);

/* bench_node_call calls a method as a physician who treats, or as the registrar. Any number of threads. */
NODISCARD bool bench_node_call(struct bench_node *node, const char *path, bool registrar,
                               const ProtobufCMessage *in, struct arena *arena, const ProtobufCMessage **out,
                               struct err *err);
