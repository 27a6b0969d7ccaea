/* client/setup/network.h - the operators' folder: founding a network, and signing who belongs to it (formats 2).
 *
 *     DIR/operators/1.key …    the operators' Ed25519 secrets, mode 600
 *     DIR/trust                the first network statement, the newest roster, every membership: what nodes start
 * from DIR/network.id           64 hex digits: the id of the first network statement, for verifiers
 *
 * Operators who do not share a machine keep their own keys: a change needs as many of them in the folder as the
 * threshold says. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

enum { OPERATORS_MAX = 16, ROSTER_DAYS = 365 };

struct network_options {
    const char *name;                /* for people */
    unsigned operators, threshold;   /* 1 <= threshold <= operators <= 16 */
};

/* network_found makes the folder with the operators' keys, the first network statement and an empty roster;
 * *id is the network's. ERR_EXISTS: the folder has something in it; ERR_INVALID: numbers that cannot be. */
NODISCARD bool network_found(const char *folder, const struct network_options *options, int64_t now_ms,
                             struct hash *id, struct err *err);

/* network_add lists memberships (files that `node init` wrote): the operators sign a new roster and the trust file
 * is replaced, all or nothing. A newer membership of a facility takes the older one's place. ERR_INVALID: not a
 * membership of this network, not signed by each of its keys, a domain, key or pin that is listed already;
 * ERR_STATE: fewer operators' keys here than the threshold; ERR_EXISTS: all are listed already. */
NODISCARD bool network_add(const char *folder, const char *const *files, size_t count, int64_t now_ms,
                           struct err *err);

/* network_remove takes a facility off the roster, as of now. ERR_NOT_FOUND: none of that domain is listed. */
NODISCARD bool network_remove(const char *folder, const char *domain, int64_t now_ms, struct err *err);

/* trust_load opens a trust file as it stands; trust_free ends it. For all who have nothing but the file: what is
 * in it is bound to its own first network statement. */
struct trust;
NODISCARD bool trust_load(const char *path, struct trust **out, struct err *err);
