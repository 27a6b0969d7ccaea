/* The table of all methods, joined from each service's own list. */
#include <stdlib.h>

#include "node/service/audit_query.h"
#include "node/service/service_inside.h"

enum { METHODS_MAX = 64 };

struct table {
    struct service_method methods[METHODS_MAX];
    size_t count;
};

static void join(struct table *table, size_t (*list)(const struct service_method **out))
{
    const struct service_method *methods;
    size_t count = list(&methods);
    if (count > METHODS_MAX - table->count) {
        abort();                             /* the lists are constant: seen by the first test */
    }
    memcpy(&table->methods[table->count], methods, count * sizeof *methods);
    table->count += count;
}

static struct table joined;

/* Before main: readers need no lock. */
__attribute__((constructor)) static void join_all(void)
{
    join(&joined, patients_methods);
    join(&joined, records_methods);
    join(&joined, consents_methods);
    join(&joined, audit_methods);
    join(&joined, audit_query_methods);
    join(&joined, authorities_methods);
    join(&joined, keys_methods);
    join(&joined, admin_methods);
}

size_t service_methods(const struct service_method **out)
{
    *out = joined.methods;
    return joined.count;
}

const struct service_method *service_find(const char *path)
{
    for (size_t i = 0; i < joined.count; i++) {
        if (strcmp(joined.methods[i].path, path) == 0) {
            return &joined.methods[i];
        }
    }
    return NULL;
}
