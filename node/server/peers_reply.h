/* node/server/peers_reply.h - Admin.Peers: what the trust says of every other member, and how its lanes stand. */
#pragma once

#include "node/peer/peer.h"
#include "proto/chartmesh/v1/admin.pb-c.h"

/* peers_reply fills *out in `arena`. */
NODISCARD bool peers_reply(struct peers *peers, struct chart *chart, struct arena *arena,
                           Chartmesh__V1__PeersReply *out, struct err *err);
