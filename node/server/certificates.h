/* node/server/certificates.h - the certificates this node shows on its two ports: read from the configuration's
 * files, held against the clock, their keys and this facility's membership. Whoever calls is another matter
 * (node/server/callers.h). */
#pragma once

#include "node/chart/chart.h"
#include "node/config/config.h"
#include "proto/rpc/rpc.h"

struct certificates {
    struct arena arena;
    struct rpc_tls client, peer; /* client.roots_pem: the CA of callers; the peer port makes its own roots */
    int64_t client_until_ms, ca_until_ms, peer_until_ms; /* when each runs out */
};

/* certificates_read reads all of them. ERR_NOT_FOUND, ERR_UNAVAILABLE: a file cannot be read; ERR_INVALID: half
 * written or no PEM; ERR_STATE: expired, not yet valid. The file is named. On any end, certificates_done. */
NODISCARD bool certificates_read(const struct config *config, uint64_t now_ms, struct certificates *out,
                                 struct err *err);

/* The same for one of the ports; what belongs to the other stays empty. */
NODISCARD bool certificates_read_client(const struct config *config, uint64_t now_ms, struct certificates *out,
                                        struct err *err);
NODISCARD bool certificates_read_peer(const struct config *config, uint64_t now_ms, struct certificates *out,
                                      struct err *err);

/* certificates_done wipes the keys. */
void certificates_done(struct certificates *certificates);

/* certificates_check_member: would the network believe a node with these keys and this peer certificate?
 * ERR_STATE, with what the operator does. */
NODISCARD bool certificates_check_member(const struct certificates *certificates, const struct config *config,
                                         struct chart *chart, struct err *err);
