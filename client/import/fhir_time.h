/* client/import/fhir_time.h - FHIR date, dateTime and instant as the milliseconds they may mean.
 *
 * A FHIR time is as precise as it is written ("2019-03" is a month). The result is the half-open interval
 * [from, until) of Unix ms that it covers. A time without a zone counts as UTC. */
#pragma once

#include "proto/base/bytes.h"
#include "proto/base/err.h"

struct fhir_time {
    int64_t from, until;
};

/* fhir_time_read: "YYYY", "YYYY-MM", "YYYY-MM-DD" or "YYYY-MM-DDThh:mm:ss[.fraction](Z|±hh:mm)", where the zone
 * may be missing; false (and *out untouched) for anything else. */
NODISCARD bool fhir_time_read(struct bytes text, struct fhir_time *out);
