/* node/metrics/text.h - numbers in Prometheus' text format (0.0.4): families of samples, one after the other.
 *
 *     metrics_family(&text, "chartmesh_calls_total", METRICS_COUNTER, "Calls that ended.");
 *     metrics_u64(&text, LABELS({"method", path}, {"code", "OK"}), 17);
 *
 * Names follow Prometheus' conventions: base units (_seconds, _bytes), _total for what only grows. Labels never
 * have anything of a record or a patient. Nothing fails: what does not fit spoils the builder. */
#pragma once

#include "proto/base/builder.h"

enum metrics_kind { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

struct metrics_text {
    struct builder *out;
    const char *family;
};

struct metrics_label {
    const char *name, *value;    /* the value is escaped; any text */
};
struct metrics_labels {
    const struct metrics_label *list;
    size_t count;
};
#define LABELS(...)                                                                                               \
    ((struct metrics_labels){(const struct metrics_label[]){__VA_ARGS__},                                         \
                             sizeof((const struct metrics_label[]){__VA_ARGS__}) / sizeof(struct metrics_label)})
#define NO_LABELS ((struct metrics_labels){0})

/* metrics_family begins a family; a `name` is begun once. */
void metrics_family(struct metrics_text *text, const char *name, enum metrics_kind kind, const char *help);

/* A sample of the family. */
void metrics_u64(struct metrics_text *text, struct metrics_labels labels, uint64_t value);
void metrics_real(struct metrics_text *text, struct metrics_labels labels, double value);

/* A histogram of the family: `counts` has one more than `bounds`, each the number of what was at most its bound
 * (and over the one before); the last of what was over all. Bounds and sum are divided by `unit` (1e6:
 * microseconds come, seconds go out). */
struct metrics_histogram {
    const uint64_t *bounds, *counts;
    size_t bounds_len;
    double sum, unit;
};
void metrics_histogram(struct metrics_text *text, struct metrics_labels labels,
                       const struct metrics_histogram *histogram);
