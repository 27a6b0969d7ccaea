/* client/verify/words.h - small questions about messages, and their names. Internal to client/verify. */
#pragma once

#include "proto/base/bytes.h"
#include "proto/chartmesh/v1/log.pb-c.h"

/* subject_equal: both are there and name the same patient. */
bool subject_equal(const Chartmesh__V1__Subject *a, const Chartmesh__V1__Subject *b);

/* entry_names: `id` is one of the entry's objects. */
bool entry_names(const Chartmesh__V1__Entry *entry, struct bytes id);

/* "READ", "DISCLOSE", … ; "PERMIT", "DENY". */
const char *entry_kind_name(Chartmesh__V1__EntryKind kind);
const char *effect_name(Chartmesh__V1__Effect effect);
