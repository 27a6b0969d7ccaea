/* node/server/inside.h - what the files that make up a server share: server.c opens and closes it, reload.c takes
 * a changed configuration. Nobody else includes it. */
#pragma once

#include <stdatomic.h>

#include "node/metrics/port.h"
#include "node/server/callers.h"
#include "node/server/client_port.h"
#include "node/server/folder.h"
#include "node/server/peer_port.h"
#include "node/server/quotas.h"
#include "node/server/rounds.h"
#include "node/server/server.h"

enum own { OWN_CLIENT, OWN_CLIENT_CA, OWN_PEER, OWN_COUNT };

/* A configuration in force, or one that was: somebody may still read it, so it stays. */
struct kept_config {
    struct kept_config *before;
    struct arena arena;
    struct config *config;
};

struct server {
    const char *config_file;
    const struct config *_Atomic config;     /* in force */
    struct kept_config *kept;        /* those that were read while it runs, newest first */
    unsigned kept_count;
    struct world_lock *reload_lock;  /* one reload at a time */
    struct arena arena;              /* what lives as long as the server */
    struct folder folder;
    struct world *world;
    struct journal *journal;
    struct store *store;
    struct keys *keys;
    struct log *log;
    struct chart *chart;
    struct gate *gate;
    struct service service;
    struct service_job *job;
    struct rpc *rpc;
    struct callers *callers;
    struct quotas *quotas;
    struct client_port *client_port;
    struct links *links;
    struct peers *peers;
    struct peer_port *peer_port;
    struct rounds *rounds;
    struct metrics_port *metrics;    /* NULL: not configured */
    char client_address[300], peer_address[300], metrics_address[300];
    const char *version;
    uint64_t opened_ms;
    atomic_int state;                /* a Chartmesh__V1__NodeState: STARTING, SERVING, DRAINING */
    atomic_bool isolated;            /* and nothing is handed over to peers */
    _Atomic int64_t until_ms[OWN_COUNT];     /* when our certificates run out */
    atomic_uint_fast64_t reloads, refusals;
};

/* reload_deny puts the deny list that `config` names in force, with the bound on certificates' lives. */
NODISCARD bool reload_deny(struct server *server, const struct config *config, struct err *err);

/* reload_all reads everything again and lists what came of it in `arena`. Any thread. */
NODISCARD bool reload_all(struct server *server, struct arena *arena, Chartmesh__V1__ReloadReply *out,
                          struct err *err);
void reload_free(struct server *server);
