/* proto/base/reader.h - reading bytes without overrunning them. Nobody else does arithmetic on input.
 *
 * A reader is a view with a place. The first failed read makes `ok` false and it stays so: read a whole
 * structure, then ask reader_end once. Failed reads give zeros. */
#pragma once

#include "proto/base/bytes.h"

struct reader {
    struct bytes left;
    bool ok;
};

static inline struct reader reader_of(struct bytes view)
{
    return (struct reader){.left = view, .ok = true};
}

struct bytes read_bytes(struct reader *r, size_t len);
uint8_t read_u8(struct reader *r);
uint32_t read_u32be(struct reader *r);
uint64_t read_u64be(struct reader *r);
struct hash read_hash(struct reader *r);
struct id read_id(struct reader *r);

/* read_varint reads a minimal protobuf varint; a longer encoding than needed is a failed read. */
uint64_t read_varint(struct reader *r);

/* read_block reads u32be length and that many bytes. */
struct bytes read_block(struct reader *r);

/* read_line reads up to and without the next LF, which must be there. */
struct bytes read_line(struct reader *r);

/* reader_end: everything was read and nothing is left over. */
static inline bool reader_end(const struct reader *r)
{
    return r->ok && r->left.len == 0;
}
