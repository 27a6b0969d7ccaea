#include "proto/base/reader.h"

struct bytes read_bytes(struct reader *r, size_t len)
{
    if (!r->ok || len > r->left.len) {
        r->ok = false;
        return BYTES_NONE;
    }
    struct bytes taken = BYTES(r->left.data, len);
    r->left = len ? BYTES(r->left.data + len, r->left.len - len) : r->left;
    return taken;
}

uint8_t read_u8(struct reader *r)
{
    struct bytes one = read_bytes(r, 1);
    return r->ok ? one.data[0] : 0;
}

uint32_t read_u32be(struct reader *r)
{
    struct bytes four = read_bytes(r, 4);
    return r->ok ? get_u32be(four.data) : 0;
}

uint64_t read_u64be(struct reader *r)
{
    struct bytes eight = read_bytes(r, 8);
    return r->ok ? get_u64be(eight.data) : 0;
}

struct hash read_hash(struct reader *r)
{
    struct hash hash = {0};
    struct bytes view = read_bytes(r, HASH_LEN);
    r->ok = r->ok && hash_from(view, &hash);
    return hash;
}

struct id read_id(struct reader *r)
{
    struct id id = {0};
    struct bytes view = read_bytes(r, ID_LEN);
    r->ok = r->ok && id_from(view, &id);
    return id;
}

uint64_t read_varint(struct reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = read_u8(r);
        if (!r->ok || (shift == 63 && byte > 1)) {
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            r->ok = byte != 0 || shift == 0;
            return r->ok ? value : 0;
        }
    }
    r->ok = false;
    return 0;
}

struct bytes read_block(struct reader *r)
{
    uint32_t len = read_u32be(r);
    return read_bytes(r, len);
}

struct bytes read_line(struct reader *r)
{
    const uint8_t *end = r->ok && r->left.len ? memchr(r->left.data, '\n', r->left.len) : NULL;
    if (!end) {
        r->ok = false;
        return BYTES_NONE;
    }
    struct bytes line = read_bytes(r, (size_t)(end - r->left.data));
    read_bytes(r, 1);
    return line;
}
