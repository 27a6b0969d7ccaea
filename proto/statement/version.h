/* proto/statement/version.h - versions as sets: dots, contexts, heads, labels (formats 3). Pure. */
#pragma once

#include "proto/statement/statement.h"

/* What head computation needs of a version. */
struct version_node {
    struct hash id;
    uint64_t tag, counter;                /* its dot */
    const Chartmesh__V1__Dot *const *context;
    size_t context_len;
};

/* version_supersedes: v.context holds u.dot.tag with counter >= u.dot.counter. Same document is the caller's. */
bool version_supersedes(const struct version_node *v, const struct version_node *u);

/* version_heads marks in `head` the versions that no other of the set supersedes (I40); returns how many. */
size_t version_heads(const struct version_node *versions, size_t count, bool *head);

/* context_join sets *out to the union of the parents' contexts and dots: by tag the highest counter, sorted by
 * tag. ERR_TOO_MUCH: more than 64 tags. */
NODISCARD bool context_join(const struct version_node *parents, size_t count, struct arena *arena,
                            Chartmesh__V1__Dot ***out, size_t *out_len, struct err *err);

/* labels_join: the higher confidentiality, the union of the sensitivities (sorted, no duplicates). NULL counts
 * as none. *out points into both: whoever keeps it longer copies it. labels_below: `a` is lower than `b` in
 * confidentiality or lacks one of its codes. */
NODISCARD bool labels_join(const Chartmesh__V1__Labels *a, const Chartmesh__V1__Labels *b, struct arena *arena,
                           Chartmesh__V1__Labels **out, struct err *err);
bool labels_below(const Chartmesh__V1__Labels *a, const Chartmesh__V1__Labels *b);

/* subject_p returns P, the row prefix and audit name of a subject: SHA-256(...)[0:16] (formats 8). */
struct id subject_p(const struct id *facility, const struct id *patient);
