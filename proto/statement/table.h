/* proto/statement/table.h - a hash table from 32-byte names to pointers. Names are hashes or begin with random
 * bytes, so their first eight bytes are the place to start. Internal. */
#pragma once

#include "proto/base/bytes.h"

struct table {
    struct table_slot *slots;    /* NULL: empty */
    size_t count, capacity;
};

/* table_get returns the value of a name (NULL: none). table_put sets it; false when there is no memory, and
 * nothing has changed; setting a name that is there never fails. table_done frees the table, not the values. */
void *table_get(const struct table *table, const struct hash *name);
NODISCARD bool table_put(struct table *table, const struct hash *name, void *value);
void table_done(struct table *table);
