/* node/server/quotas.h - what one application may take of the node (configuration: `quota`), beyond proto/rpc's
 * limits that hold for everybody.
 *
 * Counted per SPIFFE id, in memory: a restart begins anew. Calls are counted as they come (a second's worth at
 * once after a rest), bytes when a call ends: who has taken more than its share waits until that is paid back.
 * Documents are counted by UTC day, as they are written.
 *
 * Any thread; nothing here blocks. `quota` NULL (none is configured) costs nothing. */
#pragma once

#include "node/config/config.h"
#include "node/world/world.h"

struct quotas;

struct quotas *quotas_new(struct world *world);
void quotas_free(struct quotas *quotas);         /* NULL is fine */

/* quotas_call counts a call that has come. ERR_TOO_MUCH (OVERLOADED): calls_per_s or kib_per_s is used up; later
 * it is not. */
NODISCARD bool quotas_call(struct quotas *quotas, const struct config_quota *quota, const char *principal,
                           struct err *err);

/* quotas_enter and quotas_leave enclose a call that is worked on. ERR_TOO_MUCH (OVERLOADED): calls_at_once; then
 * there is no quotas_leave. */
NODISCARD bool quotas_enter(struct quotas *quotas, const struct config_quota *quota, const char *principal,
                            struct err *err);
void quotas_leave(struct quotas *quotas, const struct config_quota *quota, const char *principal);

/* quotas_bytes counts what a call that has ended took. */
void quotas_bytes(struct quotas *quotas, const struct config_quota *quota, const char *principal, uint64_t bytes);

/* quotas_write counts one document (a version of one) about to be written. ERR_TOO_MUCH (QUOTA_SPENT): no more
 * today. */
NODISCARD bool quotas_write(struct quotas *quotas, const struct config_quota *quota, const char *principal,
                            struct err *err);

/* How often a call or a document was refused, since the start. */
uint64_t quotas_refused(struct quotas *quotas);
