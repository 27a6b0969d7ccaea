/* node/config/compare.h - what changed between two readings of the configuration, and what of it a running node
 * can take. */
#pragma once

#include "node/config/config.h"

enum { CONFIG_CHANGES_MAX = 64 };

struct config_change {
    const char *key;             /* "limits.workers", "principal"; a literal */
    bool restart;                /* only the next start takes it */
};

/* config_compare lists the keys whose values differ; returns how many. */
size_t config_compare(const struct config *before, const struct config *after,
                      struct config_change out[CONFIG_CHANGES_MAX]);

/* config_keep puts back into `after` what needs a restart, so that it says what is in force. `before` outlives it.
 */
void config_keep(struct config *after, const struct config *before);
