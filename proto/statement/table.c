#include "proto/statement/table.h"

#include <stdlib.h>

enum { CAPACITY_MIN = 64 };

struct table_slot {
    struct hash name;
    void *value;
    bool taken;
};

/* The slot that holds `name`, or the free one where it would go. At most half the slots are taken. */
static struct table_slot *slot_of(const struct table *table, const struct hash *name)
{
    size_t mask = table->capacity - 1, at = (size_t)get_u64be(name->bytes) & mask;
    while (table->slots[at].taken && !hash_equal(&table->slots[at].name, name)) {
        at = (at + 1) & mask;
    }
    return &table->slots[at];
}

void *table_get(const struct table *table, const struct hash *name)
{
    return table->capacity ? slot_of(table, name)->value : NULL;
}

static bool grow(struct table *table)
{
    struct table bigger = {.count = table->count, .capacity = MAX(table->capacity * 2, CAPACITY_MIN)};
    bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
    if (!bigger.slots) {
        return false;
    }
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->slots[i].taken) {
            *slot_of(&bigger, &table->slots[i].name) = table->slots[i];
        }
    }
    free(table->slots);
    *table = bigger;
    return true;
}

bool table_put(struct table *table, const struct hash *name, void *value)
{
    bool there = table->capacity && slot_of(table, name)->taken;
    if (!there && 2 * (table->count + 1) > table->capacity && !grow(table)) {
        return false;
    }
    struct table_slot *slot = slot_of(table, name);
    table->count += !slot->taken;
    *slot = (struct table_slot){*name, value, true};
    return true;
}

void table_done(struct table *table)
{
    free(table->slots);
    *table = (struct table){0};
}
