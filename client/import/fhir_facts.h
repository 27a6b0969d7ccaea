/* client/import/fhir_facts.h - what a document says of itself, from its resources (docs/protocol/10-import.md, 4).
 *
 * For client/import/fhir.c. */
#pragma once

#include "client/import/fhir.h"

/* facts_fill sets class, category, labels, authored, clinical, title, author and facility of `document`, whose
 * kind and entries are set. `leader` is the entry that leads it (the Encounter, the Patient, a list's first). */
NODISCARD bool facts_fill(const struct fhir_plan *plan, size_t leader, struct arena *arena,
                          struct fhir_document *document, struct err *err);

/* facts_facility sets the id and name of the Organization that `resource` says it belongs to. */
void facts_facility(const struct fhir_plan *plan, const struct resource *resource, struct bytes *id,
                    struct bytes *name);
