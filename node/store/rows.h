/* node/store/rows.h - what both stores share: how a batch holds its rows, and what a span means in keys. */
#pragma once

#include "node/store/store.h"
#include "proto/base/builder.h"
#include "proto/base/reader.h"

struct store_batch {
    struct builder rows;     /* u8 family || u8 put || block key [|| block value] */
    size_t count;
    char spoilt[96];         /* why, "" if not */
};

struct batch_row {
    enum store_family family;
    bool put;
    struct bytes key, value;
};

/* batch_rows begins reading a batch; batch_next gives its rows in order, false after the last. */
struct reader batch_rows(const struct store_batch *batch);
bool batch_next(struct reader *rows, struct batch_row *out);

/* Keys k with lower <= k, and k < upper if bounded. */
struct span_bounds {
    uint8_t lower[STORE_KEY_MAX], upper[STORE_KEY_MAX];
    size_t lower_len, upper_len;
    bool bounded, backwards;
    bool empty;              /* no key can be in it */
};

/* span_bounds_of fails with ERR_INVALID if an end is longer than a key can be. */
NODISCARD bool span_bounds_of(const struct store_span *span, struct span_bounds *out, struct err *err);

static inline struct bytes span_lower(const struct span_bounds *bounds)
{
    return BYTES(bounds->lower, bounds->lower_len);
}

static inline struct bytes span_upper(const struct span_bounds *bounds)
{
    return BYTES(bounds->upper, bounds->upper_len);
}

/* store_must_alloc: zeroed memory, or the end of the process (small and fixed sizes only). */
void *store_must_alloc(size_t size);
