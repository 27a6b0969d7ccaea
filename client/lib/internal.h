/* client/lib/internal.h - a connection from inside. */
#pragma once

#include "client/chartmesh.h"
#include "proto/rpc/rpc.h"

enum { PIECE_MAX = 256 << 10, MESSAGE_MEMORY = 64 << 20, ATTEMPTS = 5, HEADERS_MAX = 5, KEY_TEXT = 33 };

struct chartmesh {
    bool own_runtime;                        /* has a share in the process's */
    struct rpc_channel *channel;
    struct arena arena;                      /* the configuration's texts */
    const char *target;
    struct chartmesh_caller caller;
    uint32_t timeout_ms;
};

/* What goes with one call; `key` is the memory of a drawn idempotency key. */
struct call_options {
    struct rpc_options rpc;
    struct rpc_header headers[HEADERS_MAX];
    char key[KEY_TEXT];
};

/* call_options_fill joins what the call says with what the connection says. `writes`: an idempotency key goes with
 * it. *out must stay where it is. */
void call_options_fill(const struct chartmesh *node, const struct chartmesh_call *call, bool writes,
                       struct call_options *out);

/* call_failed puts the node's address in front where there was no connection; returns false. */
bool call_failed(const struct chartmesh *node, struct err *err);

/* call_again: the connection was lost, the call may be repeated; waits a little longer each time. False after
 * `max` attempts in a row (0: never). */
bool call_again(const struct err *err, unsigned *attempt, unsigned max);
