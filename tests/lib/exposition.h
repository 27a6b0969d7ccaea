/* tests/lib/exposition.h - a strict reader of Prometheus' text format (0.0.4). What it refuses, Prometheus may
 * still take; what it takes is right: every family has HELP and TYPE once, before its samples, which stand
 * together; no sample comes twice; counters end in _total; histograms are cumulative, with +Inf, _sum and _count.
 */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

struct exposition;

/* exposition_read reads a whole text. ERR_INVALID: "line N: what is wrong". */
NODISCARD bool exposition_read(struct bytes text, struct arena *arena, struct exposition **out, struct err *err);

size_t exposition_families(const struct exposition *exposition);
const char *exposition_family(const struct exposition *exposition, size_t i);

/* exposition_value finds one sample by its name and labels as they stand there: `calls_total{code="OK"}`. -1:
 * there is none. */
double exposition_value(const struct exposition *exposition, const char *sample);

/* exposition_sum adds up all samples whose text begins so: `calls_total{`. */
double exposition_sum(const struct exposition *exposition, const char *beginning);
