#include "proto/base/budget.h"

/* Adds first and looks then: two that ask at once may both be refused, and never too much is given. */
static bool take_here(struct budget *budget, size_t size)
{
    if (size > budget->max) {
        return false;
    }
    size_t before = atomic_fetch_add_explicit(&budget->used, size, memory_order_relaxed);
    if (before <= budget->max - size) {
        return true;
    }
    atomic_fetch_sub_explicit(&budget->used, size, memory_order_relaxed);
    return false;
}

bool budget_take(struct budget *budget, size_t size)
{
    for (struct budget *at = budget; at; at = at->above) {
        if (!take_here(at, size)) {
            for (struct budget *back = budget; back != at; back = back->above) {
                atomic_fetch_sub_explicit(&back->used, size, memory_order_relaxed);
            }
            return false;
        }
    }
    return true;
}

void budget_give(struct budget *budget, size_t size)
{
    for (struct budget *at = budget; at; at = at->above) {
        atomic_fetch_sub_explicit(&at->used, size, memory_order_relaxed);
    }
}

size_t budget_left(const struct budget *budget)
{
    size_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);
    return used < budget->max ? budget->max - used : 0;
}
