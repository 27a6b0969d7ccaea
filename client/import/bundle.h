/* client/import/bundle.h - the envelope of a FHIR R4 Bundle: its entries as views of the original bytes.
 *
 * Nothing is re-serialised. Reading gives each resource's exact bytes; writing puts them into a Bundle of type
 * `collection` as they are (docs/protocol/10-import.md, 2), from which reading gives them back. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/builder.h"

enum {
    BUNDLE_BYTES_MAX = 64 << 20,
    BUNDLE_ENTRIES_MAX = 100000,
    BUNDLE_RESOURCE_MAX = 16 << 20,
};

struct bundle_entry {
    struct bytes full_url;   /* the JSON string as written, with its quotes; none: absent */
    struct bytes resource;   /* the JSON value as written; none: absent */
    struct bytes method;     /* request.method, without quotes; none: absent */
};

struct bundle {
    struct bytes type;       /* "transaction" */
    struct bundle_entry *entries;
    size_t count;
};

/* fhir_bundle_read sets *out to the entries in their order; views into `text`, the array in `arena`.
 * ERR_INVALID: not a Bundle, not UTF-8, not JSON, or the envelope is ambiguous (a member twice);
 * ERR_TOO_MUCH: over a limit above or the arena's budget. */
NODISCARD bool fhir_bundle_read(struct bytes text, struct arena *arena, struct bundle *out, struct err *err);

/* fhir_bundle_write appends a collection of these entries' fullUrl and resource bytes. fhir_bundle_written_len is
 * how many bytes that will be. */
void fhir_bundle_write(const struct bundle_entry **entries, size_t count, struct builder *out);
size_t fhir_bundle_written_len(const struct bundle_entry **entries, size_t count);
