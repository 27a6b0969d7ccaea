/* node/server/status.h - what the node says of itself: its state, why, what the operator does, and what else
 * should be seen to. The list of states and concerns: docs/operating/node.md. */
#pragma once

#include "node/server/inside.h"

/* status_reply fills state, why, advice, counts and concerns of *out in `arena`. */
NODISCARD bool status_reply(struct server *server, struct arena *arena, Chartmesh__V1__StatusReply *out,
                            struct err *err);

/* status_state is the state alone; *why and *advice are literals. */
Chartmesh__V1__NodeState status_state(struct server *server, const char **why, const char **advice);

/* status_state_name returns "SERVING". */
const char *status_state_name(Chartmesh__V1__NodeState state);
