/* proto/base/arena.h - one request's memory: a budget, bump allocation, one end.
 *
 * Sizes that a peer can influence come from an arena. Budget spent: ERR_TOO_MUCH. Not for two threads at
 * once. An all-zero arena has no budget and is safe to end. */
#pragma once

#include <stddef.h>

#include "proto/base/budget.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

struct arena {
    struct arena_block *blocks;
    size_t budget, used;     /* bytes asked of malloc, at most `budget` */
    struct budget *shared;   /* NULL, or what else must allow them: others take of it too */
    size_t taken;            /* of `shared` */
    bool starved;            /* `shared` has refused since the beginning or the last reset */
};

/* arena_init begins an empty arena that will take at most `budget` bytes from the heap. */
void arena_init(struct arena *arena, size_t budget);

/* arena_share has the arena take of `shared` what it asks of malloc from now on; `shared` outlives it. */
void arena_share(struct arena *arena, struct budget *shared);

/* arena_done frees everything at once; the arena may be begun again. */
void arena_done(struct arena *arena);

/* arena_reset frees everything and keeps the budgets. */
void arena_reset(struct arena *arena);

/* arena_alloc sets *out to `size` zeroed bytes, aligned for any type. ERR_TOO_MUCH: the budget is spent. */
NODISCARD bool arena_alloc(struct arena *arena, size_t size, void **out, struct err *err);

/* arena_array is arena_alloc for `count` elements, with the multiplication checked. */
NODISCARD bool arena_array(struct arena *arena, size_t count, size_t size, void **out, struct err *err);

/* arena_grow makes room for one more than `count` in a list of `*capacity` places of `size` bytes: full, it moves
 * to one twice as long. *items and *capacity are zero at first. */
NODISCARD bool arena_grow(struct arena *arena, void **items, size_t count, size_t *capacity, size_t size,
                          struct err *err);

/* arena_copy sets *out to a copy of `view`, with a NUL behind it that does not count. */
NODISCARD bool arena_copy(struct arena *arena, struct bytes view, struct bytes *out, struct err *err);

/* arena_string sets *out to a NUL-terminated copy of `view`. */
NODISCARD bool arena_string(struct arena *arena, struct bytes view, char **out, struct err *err);

/* arena_printf sets *out to a formatted string. */
NODISCARD bool arena_printf(struct arena *arena, char **out, struct err *err, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* The two functions of a ProtobufCAllocator whose allocator_data is the arena (see proto/chartmesh/v1/message.h).
 * arena_unpack_alloc returns NULL when the budget is spent; arena_unpack_free does nothing. */
void *arena_unpack_alloc(void *arena, size_t size);
void arena_unpack_free(void *arena, void *pointer);

/* AUTO_ARENA(name, budget) declares an arena that ends with the scope. */
#define AUTO_ARENA(name, budget_) __attribute__((cleanup(arena_done))) struct arena name = {.budget = (budget_)}
