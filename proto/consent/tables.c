#include "proto/consent/tables.h"

const struct table_code *table_find(const struct table *table, const char *code)
{
    for (size_t i = 0; i < table->codes_len; i++) {
        if (strcmp(table->codes[i].code, code) == 0) {
            return &table->codes[i];
        }
    }
    return NULL;
}

uint64_t table_asked(const struct table *table, const char *code)
{
    const struct table_code *found = code ? table_find(table, code) : NULL;
    return found && !found->abstract ? found->self : 0;
}

const struct table_code *table_sensitivity_find(const char *system, const char *code)
{
    return strcmp(system, TABLES_SENSITIVITY_SYSTEM) == 0 ? table_find(&table_sensitivity, code) : NULL;
}
