/* client/import/fhir_home.h - which document each resource of a bundle belongs to (docs/protocol/10-import.md, 3).
 *
 * For client/import/fhir.c. Homes are found in passes over the references; every pass is in the bundle's order,
 * so equal bundles give equal documents. */
#pragma once

#include "client/import/fhir.h"

enum { HOME_NONE = -1, HOME_SKIPPED = -2 };

struct homes {
    /* Of each entry: the entry that leads its document (an Encounter, the Patient, or the first resource of a
     * list), or HOME_SKIPPED. */
    int64_t *home;
    enum fhir_reason *reason; /* of each skipped one */
    size_t patient; /* the Patient's entry */
    size_t astray; /* as in struct fhir_plan */
};

/* homes_find completes *homes for the plan's entries, whose resources were read; entries that already are
 * HOME_SKIPPED stay so, the others come as HOME_NONE. It also resolves every reference to an entry.
 * ERR_INVALID: no Patient, two, or an identity twice; ERR_TOO_MUCH: the arena's budget. */
NODISCARD bool homes_find(struct fhir_plan *plan, struct arena *arena, struct homes *homes, struct err *err);
