/* node/service/audit_query.h - Audit.Query: the signed question, and the evidence bundle that answers it (formats
 * 7). */
#pragma once

#include "node/service/service.h"
#include "proto/base/builder.h"
#include "proto/chartmesh/v1/audit.pb-c.h"

enum {
    AUDIT_BUNDLE_MAX = 256 << 20,        /* bytes of one bundle; more: ask by period */
    AUDIT_COSIGN_WAIT_MS = 5000,         /* how long an answer waits for peers to cosign its checkpoint */
    AUDIT_CLOCK_MS = 10 * 60 * 1000,     /* how far a query's own clock may be off */
};

/* audit_query_methods lists Audit.Query for the table of methods; returns how many. */
size_t audit_query_methods(const struct service_method **out);

/* audit_query checks a signed query from this caller, logs it, and makes the whole bundle in `file`. *entries
 * counts the opened entries. ERR_INVALID: malformed or badly signed; ERR_DENIED (AUTHORITY_INVALID): outside the
 * authority's scope or period; ERR_TOO_MUCH: over AUDIT_BUNDLE_MAX. With dry_run only the counts are made, and the
 * query is logged all the same. */
NODISCARD bool audit_query(struct service_call *call, struct bytes query, bool dry_run, struct builder *file,
                           uint64_t *entries, struct err *err);
