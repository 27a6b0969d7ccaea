/* client/import/report.h - what an import did, over any number of bundles; as text and as JSON.
 *
 * Every resource of every bundle is counted exactly once: put (its document is stored), unchanged (was there
 * already), elsewhere (its document was not selected), failed (its document was refused) or skipped. Names come
 * as ids and types: a report holds no record content. */
#pragma once

#include "client/import/fhir.h"

enum import_outcome { IMPORT_PUT, IMPORT_UNCHANGED, IMPORT_ELSEWHERE, IMPORT_FAILED, IMPORT_OUTCOME_COUNT };

struct report_skip {
    struct report_skip *next;
    const char *source, *type, *id;
    size_t entry;
    enum fhir_reason reason;
};

struct report_failure {      /* of a document, or of a whole bundle (then key is "") */
    struct report_failure *next;
    const char *source, *key, *text;
    enum err_code code;
};

struct report_type {
    struct report_type *next;
    const char *name;
    size_t put[IMPORT_OUTCOME_COUNT], skipped;
};

struct import_report {
    struct arena *arena;     /* where its lists live; it must outlive the report */
    size_t bundles, bundles_failed, entries;
    size_t documents[IMPORT_OUTCOME_COUNT], resources[IMPORT_OUTCOME_COUNT];
    uint64_t bytes_put;
    size_t skipped[FHIR_REASON_COUNT];
    size_t astray, labels_unknown;
    struct report_type *types;
    struct report_skip *skips, **last_skip;
    struct report_failure *failures, **last_failure;
};

void report_init(struct import_report *report, struct arena *arena);

/* report_plan counts a bundle, its skipped resources and what the plan remarks. `source` names it ("a.json").
 * All report_ functions that can fail do so with ERR_TOO_MUCH when the arena's budget is spent. */
NODISCARD bool report_plan(struct import_report *report, const char *source, const struct fhir_plan *plan,
                           struct err *err);

/* report_document counts one document; `why` is given with IMPORT_FAILED. */
NODISCARD bool report_document(struct import_report *report, const char *source, const struct fhir_plan *plan,
                               const struct fhir_document *document, enum import_outcome outcome,
                               const struct err *why, struct err *err);

/* report_bundle_failed: no plan came of this bundle. */
NODISCARD bool report_bundle_failed(struct import_report *report, const char *source, const struct err *why,
                                    struct err *err);

/* report_complete: nothing failed, and nothing was skipped that may be a patient's data. */
bool report_complete(const struct import_report *report);

/* report_text appends what a person reads; with `every` each skipped resource is listed. report_json appends one
 * JSON object that always lists each. Both end in a line feed. */
void report_text(const struct import_report *report, bool every, struct builder *out);
NODISCARD bool report_json(const struct import_report *report, struct builder *out, struct err *err);
