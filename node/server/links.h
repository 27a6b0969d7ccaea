/* node/server/links.h - streams of frames between this node and its peers: what node/peer calls its transport, on
 * proto/rpc. A link is one stream of one lane of one peer, dialed or accepted; it is known by (facility, lane,
 * number).
 *
 * A peer is dialed at the address that the configuration gives for it, else at the endpoints of its membership,
 * one after the other; its certificate must come from its own CA and have one of its pins, ours is the peer
 * certificate.
 *
 * Any thread. Order of locks: links, then what node/peer takes in peers_accept, peers_opened and peers_closed. */
#pragma once

#include "node/peer/peer.h"
#include "node/server/journal.h"
#include "proto/rpc/rpc.h"

struct links;

struct links_options {
    struct rpc *rpc;
    struct chart *chart;
    const struct config *config;
    struct journal *journal;
    const struct rpc_tls *tls;           /* chain and key are used; copied */
};

NODISCARD bool links_open(const struct links_options *options, struct links **out, struct err *err);

/* links_transport is what peers_open takes. Dialing begins with links_begin. */
struct peer_transport links_transport(struct links *links);
void links_begin(struct links *links, struct peers *peers);

/* links_accept takes a stream that `facility` opened; what is left is the stream's rpc_open_fn's to return. */
NODISCARD bool links_accept(struct links *links, const struct id *facility, Chartmesh__V1__Lane lane,
                            struct rpc_call *stream, struct err *err);

/* links_reload takes a new certificate and key: for what is dialed from now on. */
NODISCARD bool links_reload(struct links *links, const struct rpc_tls *tls, struct err *err);

/* links_check ends the links to facilities that are members no longer. */
void links_check(struct links *links);

/* links_isolate ends every link and, until it is called with false, lets none begin (I4). */
void links_isolate(struct links *links, bool isolated);

/* links_end closes every link and dials no more; links_close waits for them and frees. NULL is fine. */
void links_end(struct links *links);
void links_close(struct links *links);

/* links_pin is the rpc_spki_pin_fn. */
bool links_pin(void *context, struct bytes pem, struct hash *out);
