/* node/server/peer_port.h - the listener for other facilities: Replication.Control, Bulk and AddCheckpoint.
 *
 * The TLS roots are the peer CAs of all members; who calls is the member whose membership pins the leaf's key,
 * active and not ourselves. Roster and memberships may change while it runs: roots are made anew and links ended
 * accordingly. */
#pragma once

#include "node/server/callers.h"
#include "node/server/links.h"
#include "node/server/outcome.h"

struct peer_port;

struct peer_port_options {
    struct rpc *rpc;
    struct chart *chart;
    struct peers *peers;
    struct links *links;
    const struct config *config;
    struct journal *journal;
    struct callers *callers;
    const struct rpc_tls *tls;           /* chain and key; copied. The roots come from the memberships */
};

/* peer_port_open listens and serves. Fails as rpc_server_open does. */
NODISCARD bool peer_port_open(const struct peer_port_options *options, struct peer_port **out, struct err *err);
struct rpc_server *peer_port_server(struct peer_port *port);
const struct outcome_tally *peer_port_tally(const struct peer_port *port);

/* peer_port_reload takes a new certificate and key for the handshakes to come. */
NODISCARD bool peer_port_reload(struct peer_port *port, const struct rpc_tls *tls, struct err *err);

/* peer_port_recheck judges again who is connected: the deny list has changed. */
void peer_port_recheck(struct peer_port *port);

/* peer_port_close: NULL is fine. */
void peer_port_close(struct peer_port *port);
