#include "proto/base/builder.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/arena.h"

void builder_init(struct builder *b, size_t max)
{
    *b = (struct builder){.max = max, .ok = true};
}

void builder_done(struct builder *b)
{
    free(b->data);
    *b = (struct builder){0};
}

void builder_reset(struct builder *b)
{
    b->len = 0;
    b->ok = true;
}

uint8_t *build_room(struct builder *b, size_t len)
{
    if (!b->ok || len > b->max - b->len) {
        b->ok = false;
        return NULL;
    }
    if (len > b->capacity - b->len) {
        size_t wanted = MAX(b->capacity * 2, MAX(b->len + len, 256));
        size_t capacity = MIN(wanted, b->max);
        uint8_t *data = realloc(b->data, capacity ? capacity : 1);
        if (!data) {
            b->ok = false;
            return NULL;
        }
        b->data = data;
        b->capacity = capacity;
    }
    uint8_t *room = b->data + b->len;
    b->len += len;
    return room;
}

void build_bytes(struct builder *b, struct bytes view)
{
    uint8_t *room = view.len ? build_room(b, view.len) : NULL;
    if (room) {
        memcpy(room, view.data, view.len);
    }
}

void build_u8(struct builder *b, uint8_t value)
{
    build_bytes(b, BYTES(&value, 1));
}

void build_u32be(struct builder *b, uint32_t value)
{
    uint8_t bytes[4];
    put_u32be(bytes, value);
    build_bytes(b, BYTES(bytes, sizeof bytes));
}

void build_u64be(struct builder *b, uint64_t value)
{
    uint8_t bytes[8];
    put_u64be(bytes, value);
    build_bytes(b, BYTES(bytes, sizeof bytes));
}

void build_block(struct builder *b, struct bytes view)
{
    if (view.len > UINT32_MAX) {
        b->ok = false;
        return;
    }
    build_u32be(b, (uint32_t)view.len);
    build_bytes(b, view);
}

void build_text(struct builder *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    /* vsnprintf wants room for its NUL: take it, then give it back. */
    uint8_t *room = len < 0 ? NULL : build_room(b, (size_t)len + 1);
    if (room) {
        vsnprintf((char *)room, (size_t)len + 1, format, again);
        b->len--;
    } else {
        b->ok = false;
    }
    va_end(again);
}

bool builder_copy(const struct builder *b, struct arena *arena, struct bytes *out, struct err *err)
{
    if (!b->ok) {
        return err_raise(err, ERR_TOO_MUCH, "builder: more than %zu bytes", b->max);
    }
    return arena_copy(arena, builder_view(b), out, err);
}
