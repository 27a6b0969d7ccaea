/* node/server/outcome.h - what became of a call, for the journal: the edge where errors are logged, once. */
#pragma once

#include <stdatomic.h>

#include "node/server/journal.h"
#include "proto/rpc/rpc.h"

/* How many calls failed, by ErrorReason (0: without one). All zero at first. */
enum { OUTCOME_REASONS = 64 };
struct outcome_tally {
    atomic_uint_fast64_t reasons[OUTCOME_REASONS];
};

/* outcome_write also counts. OK at debug, the caller's mistakes at info, a refused certificate or right at warn,
 * the node's own failures at error. */
void outcome_write(struct journal *journal, struct outcome_tally *tally, const struct rpc_outcome *outcome);
