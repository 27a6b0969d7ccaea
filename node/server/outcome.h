/* node/server/outcome.h - what became of a call, for the journal: the edge where errors are logged, once. */
#pragma once

#include "node/server/journal.h"
#include "proto/rpc/rpc.h"

/* outcome_write: OK at debug, the caller's mistakes at info, a refused certificate or right at warn, the node's
 * own failures at error. */
void outcome_write(struct journal *journal, const struct rpc_outcome *outcome);
