/* node/server/numbers.h - the node's metrics: every family, from the parts that count. docs/operating/metrics.md
 * says what each means; tests/e2e/operating_test.c that page and code agree. */
#pragma once

#include "node/server/inside.h"
#include "proto/base/builder.h"

/* numbers_write writes all families. While the node starts there is only what is known then. Any thread. */
void numbers_write(struct server *server, struct builder *out);
