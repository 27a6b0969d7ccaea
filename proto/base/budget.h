/* proto/base/budget.h - bytes that many may hold together, and never more. Any thread.
 *
 * Budgets nest: what is taken of one is taken of those above it as well, of all or of none. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct budget {
    size_t max;
    atomic_size_t used;
    struct budget *above;    /* NULL: none */
};

/* budget_take takes `size` bytes; false: that would be too much here or above, and nothing was taken. */
bool budget_take(struct budget *budget, size_t size);

/* budget_give gives back what was taken. */
void budget_give(struct budget *budget, size_t size);

/* budget_left returns what could be taken here, whatever stands above. */
size_t budget_left(const struct budget *budget);
