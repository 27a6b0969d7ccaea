/* node/server/client_port.h - the listener for applications, auditors, administrators and patients: the services'
 * methods (node/service) on proto/rpc. Only this facility's CA, and its own domain in the SPIFFE id. */
#pragma once

#include "node/server/callers.h"
#include "node/server/journal.h"
#include "node/server/outcome.h"
#include "node/server/quotas.h"
#include "node/service/service.h"
#include "proto/rpc/rpc.h"

struct client_port;

struct client_port_options {
    struct rpc *rpc;
    struct service *service;         /* its config says where to listen */
    struct journal *journal;
    struct callers *callers;
    struct quotas *quotas;
    const struct rpc_tls *tls;
};

/* client_port_open listens and serves. Fails as rpc_server_open does. */
NODISCARD bool client_port_open(const struct client_port_options *options, struct client_port **out,
                                struct err *err);
struct rpc_server *client_port_server(struct client_port *port);
const struct outcome_tally *client_port_tally(const struct client_port *port);

/* client_port_write counts a document that `principal` is about to write against its quota. ERR_TOO_MUCH
 * (QUOTA_SPENT). */
NODISCARD bool client_port_write(struct client_port *port, const char *principal, struct err *err);

/* client_port_recheck judges again who is connected: the deny list has changed. */
void client_port_recheck(struct client_port *port);

/* client_port_wind_up ends what would stay open for ever; the rest is rpc_server_drain's. */
void client_port_wind_up(struct client_port *port);

/* client_port_close: NULL is fine. */
void client_port_close(struct client_port *port);
