#include "proto/base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BLOCK_SIZE = 8192 };

struct arena_block {
    struct arena_block *next;
    size_t size, used;
    alignas(max_align_t) uint8_t data[];
};

void arena_init(struct arena *arena, size_t budget)
{
    *arena = (struct arena){.budget = budget};
}

void arena_share(struct arena *arena, struct budget *shared)
{
    arena->shared = shared;
}

void arena_done(struct arena *arena)
{
    if (arena->taken) {
        budget_give(arena->shared, arena->taken);
    }
    for (struct arena_block *block = arena->blocks; block;) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
    *arena = (struct arena){0};
}

void arena_reset(struct arena *arena)
{
    struct arena kept = {.budget = arena->budget, .shared = arena->shared};
    arena_done(arena);
    *arena = kept;
}

static bool take_shared(struct arena *arena, size_t size)
{
    if (!arena->shared) {
        return true;
    }
    if (!budget_take(arena->shared, size)) {
        arena->starved = true;
        return false;
    }
    arena->taken += size;
    return true;
}

static struct arena_block *add_block(struct arena *arena, size_t at_least)
{
    size_t left = arena->budget - arena->used;
    if (left < sizeof(struct arena_block) || at_least > left - sizeof(struct arena_block)) {
        return NULL;
    }
    size_t size = MIN(MAX(at_least, BLOCK_SIZE), left - sizeof(struct arena_block));
    if (!take_shared(arena, sizeof(struct arena_block) + size)) {
        return NULL;
    }
    struct arena_block *block = malloc(sizeof *block + size);
    if (!block) {
        return NULL;             /* what was taken is given back with the rest */
    }
    *block = (struct arena_block){.size = size};
    arena->used += sizeof *block + size;
    /* A block made for one large piece goes second, so that the room left in the first is still used. */
    if (arena->blocks && at_least > BLOCK_SIZE / 2) {
        block->next = arena->blocks->next;
        arena->blocks->next = block;
    } else {
        block->next = arena->blocks;
        arena->blocks = block;
    }
    return block;
}

bool arena_alloc(struct arena *arena, size_t size, void **out, struct err *err)
{
    const size_t align = alignof(max_align_t);
    if (size > SIZE_MAX - align) {
        return err_raise(err, ERR_TOO_MUCH, "memory: %zu bytes asked", size);
    }
    size_t rounded = (MAX(size, 1) + align - 1) / align * align;
    struct arena_block *block = arena->blocks;
    if (!block || block->size - block->used < rounded) {
        block = add_block(arena, rounded);
    }
    if (!block) {
        return arena->starved
                   ? err_raise(err, ERR_TOO_MUCH, "memory: what may be held together is spent")
                   : err_raise(err, ERR_TOO_MUCH, "memory: the budget of %zu bytes is spent", arena->budget);
    }
    *out = memset(block->data + block->used, 0, rounded);
    block->used += rounded;
    return true;
}

bool arena_array(struct arena *arena, size_t count, size_t size, void **out, struct err *err)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        return err_raise(err, ERR_TOO_MUCH, "memory: %zu elements asked", count);
    }
    return arena_alloc(arena, total, out, err);
}

bool arena_grow(struct arena *arena, void **items, size_t count, size_t *capacity, size_t size, struct err *err)
{
    if (count < *capacity) {
        return true;
    }
    size_t wanted = MAX(*capacity * 2, 16);
    void *memory;
    if (!arena_array(arena, wanted, size, &memory, err)) {
        return false;
    }
    if (count) {
        memcpy(memory, *items, count * size);
    }
    *items = memory;
    *capacity = wanted;
    return true;
}

bool arena_copy(struct arena *arena, struct bytes view, struct bytes *out, struct err *err)
{
    char *copy;
    if (!arena_string(arena, view, &copy, err)) {
        return false;
    }
    *out = BYTES(copy, view.len);
    return true;
}

bool arena_string(struct arena *arena, struct bytes view, char **out, struct err *err)
{
    void *copy;
    if (view.len == SIZE_MAX || !arena_alloc(arena, view.len + 1, &copy, err)) {
        return false;
    }
    if (view.len) {
        memcpy(copy, view.data, view.len);
    }
    *out = copy;
    return true;
}

bool arena_printf(struct arena *arena, char **out, struct err *err, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    void *text = NULL;
    bool ok = len >= 0 && arena_alloc(arena, (size_t)len + 1, &text, err);
    if (ok) {
        vsnprintf(text, (size_t)len + 1, format, again);
        *out = text;
    }
    va_end(again);
    return ok;
}

void *arena_unpack_alloc(void *arena, size_t size)
{
    struct err ignored;
    void *out;
    return arena_alloc(arena, size, &out, &ignored) ? out : NULL;
}

void arena_unpack_free(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}
