/* node/server/server.h - the whole node: everything opened in order from one configuration, two ports, and the way
 * down.
 *
 *     STARTING --server_open--> SERVING --server_drain--> DRAINING --server_close-->
 *
 * Opened in this order and closed in the other: data folder (one process), world, journal, store, keys, log (its
 * tree is recomputed and held against the anchor), chart and trust, gate, services, runtime of calls, client port,
 * links, peers, peer port. What a refusal to start means and what the operator does: docs/operating/node.md. */
#pragma once

#include "node/config/config.h"

struct server;

struct server_options {
    const struct config *config; /* outlives the server */
    const char *config_file; /* where it was read, and is read again by a reload; NULL: it is not */
    const char *version; /* of the program */
};

/* server_open starts the node and serves. Fails with what the part that refused says, in whose name. */
NODISCARD bool server_open(const struct server_options *options, struct server **out, struct err *err);

/* server_check tells everything that a start would refuse of the configuration's files: permissions, certificates
 * against keys and clock, deny list, keys, trust file; returns how much that is. Starts nothing, changes nothing;
 * a node may run meanwhile. */
size_t server_check(const struct config *config, config_problem_fn *tell, void *context);

/* server_addresses gives "host:port" of the ports as bound, *metrics NULL when there is none; they live as long as
 * the server. */
void server_addresses(const struct server *server, const char **client, const char **peer, const char **metrics);

/* server_reload reads the configuration, the certificates of both ports and the deny list again, and opens the log
 * file again (it was rotated). What is wrong leaves the old in force; the log says, key by key, what was taken,
 * what was refused and why, and what the next start takes. */
void server_reload(struct server *server);

/* server_drain: health says NOT_SERVING, nothing new is let in, calls under way get config->drain_s. False: a
 * handler does not come back; the process has to end without server_close. */
NODISCARD bool server_drain(struct server *server);

/* server_close drains without grace if that has not been done, and closes everything. NULL is fine. */
void server_close(struct server *server);
