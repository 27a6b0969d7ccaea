/* proto/base/builder.h - writing bytes with a hard maximum, on the heap.
 *
 * The first failed write makes `ok` false and it stays so: write a whole structure, then ask builder_take
 * or look at `ok` once. builder_done frees; an all-zero builder (maximum 0) is safe to end. */
#pragma once

#include "proto/base/bytes.h"

struct builder {
    uint8_t *data;
    size_t len, capacity, max;
    bool ok;
};

/* builder_init begins an empty builder that holds at most `max` bytes. */
void builder_init(struct builder *b, size_t max);
void builder_done(struct builder *b);
void builder_reset(struct builder *b);          /* empty again, keeps its memory */

void build_bytes(struct builder *b, struct bytes view);
void build_u8(struct builder *b, uint8_t value);
void build_u32be(struct builder *b, uint32_t value);
void build_u64be(struct builder *b, uint64_t value);
void build_block(struct builder *b, struct bytes view);      /* u32be length and the bytes */
void build_text(struct builder *b, const char *format, ...) PRINTF_LIKE(2, 3);

/* build_room appends `len` bytes to be filled in at once; NULL when there is no room (and ok is false). */
uint8_t *build_room(struct builder *b, size_t len);

static inline struct bytes builder_view(const struct builder *b)
{
    return BYTES(b->data, b->len);
}

/* builder_copy sets *out to what was built, in `arena`. ERR_TOO_MUCH: the maximum or the arena's budget. */
NODISCARD bool builder_copy(const struct builder *b, struct arena *arena, struct bytes *out, struct err *err);

#define AUTO_BUILDER(name, max_)                                                                                  \
    __attribute__((cleanup(builder_done))) struct builder name = {.max = (max_), .ok = true}
