/* node/server/inside.h - what the files that make up a server share: server.c opens and closes it, reload.c takes
 * a changed configuration. Nobody else includes it. */
#pragma once

#include <stdatomic.h>

#include "node/server/callers.h"
#include "node/server/client_port.h"
#include "node/server/folder.h"
#include "node/server/peer_port.h"
#include "node/server/quotas.h"
#include "node/server/server.h"

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
    struct rpc *rpc;
    struct callers *callers;
    struct quotas *quotas;
    struct client_port *client_port;
    struct links *links;
    struct peers *peers;
    struct peer_port *peer_port;
    char client_address[300], peer_address[300];
    atomic_int state;                /* a Chartmesh__V1__NodeState */
};

/* reload_deny puts the deny list that `config` names in force, with the bound on certificates' lives. */
NODISCARD bool reload_deny(struct server *server, const struct config *config, struct err *err);

/* reload_all reads everything again and lists what came of it in `arena`. Any thread. */
NODISCARD bool reload_all(struct server *server, struct arena *arena, Chartmesh__V1__ReloadReply *out,
                          struct err *err);
void reload_free(struct server *server);
