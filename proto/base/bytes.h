/* proto/base/bytes.h - views of bytes, fixed-size ids and hashes, hex and base64.
 *
 * `struct bytes` is a view by value: it owns nothing and lives as long as what it looks at. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/base/err.h"

struct arena;

struct bytes {
    const uint8_t *data;     /* may be NULL when len is 0 */
    size_t len;
};

enum { HASH_LEN = 32, ID_LEN = 16 };

struct hash {                /* a SHA-256, a statement id, a 32-byte key */
    uint8_t bytes[HASH_LEN];
};

struct id {                  /* a facility, patient, document, network, nonce */
    uint8_t bytes[ID_LEN];
};

#define BYTES(data_, len_) ((struct bytes){(const uint8_t *)(data_), (len_)})
#define BYTES_NONE ((struct bytes){0})
#define BYTES_LIT(literal) BYTES("" literal, sizeof(literal) - 1)   /* of a string literal */
#define BYTES_OF(fixed) BYTES((fixed).bytes, sizeof(fixed).bytes)   /* of a struct hash or id */
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

static inline struct bytes bytes_str(const char *text)
{
    return BYTES(text, text ? strlen(text) : 0);
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* bytes_compare orders as memcmp does, the shorter first when one is the other's beginning. */
int bytes_compare(struct bytes a, struct bytes b);

static inline bool hash_equal(const struct hash *a, const struct hash *b)
{
    return memcmp(a->bytes, b->bytes, HASH_LEN) == 0;
}

static inline bool id_equal(const struct id *a, const struct id *b)
{
    return memcmp(a->bytes, b->bytes, ID_LEN) == 0;
}

static inline bool hash_is_zero(const struct hash *hash)
{
    return hash_equal(hash, &(struct hash){0});
}

static inline bool id_is_zero(const struct id *id)
{
    return id_equal(id, &(struct id){0});
}

/* hash_from and id_from copy a view of exactly the right length; false (and *out untouched) otherwise. */
NODISCARD bool hash_from(struct bytes view, struct hash *out);
NODISCARD bool id_from(struct bytes view, struct id *out);

/* bytes_hex writes lower-case hex and a NUL into `out`, which holds 2 * len + 1. Returns `out`. */
char *bytes_hex(struct bytes view, char *out);

/* hex_of returns a view's lower-case hex in arena memory, cut to what fits (never fails: "" when the budget
 * is spent). For texts and JSON. */
const char *hex_of(struct bytes view, struct arena *arena);

/* hex_decode reads lower- or upper-case hex into `out`, exactly `len` bytes. Fails with ERR_INVALID. */
NODISCARD bool hex_decode(const char *text, uint8_t *out, size_t len, struct err *err);

/* base64_encode writes RFC 4648 section 4 text with padding and a NUL; `out` holds 4 * ((len + 2) / 3) + 1. */
char *base64_encode(struct bytes view, char *out);

/* base64_decode accepts canonical base64 only: padding present, unused bits zero. Fails with ERR_INVALID or
 * ERR_TOO_MUCH; *out is in `arena`. */
NODISCARD bool base64_decode(struct bytes text, struct arena *arena, struct bytes *out, struct err *err);

/* utf8_valid: well-formed UTF-8 (RFC 3629: shortest form, no surrogates, <= U+10FFFF) without U+0000. */
bool utf8_valid(struct bytes text);

static inline void put_u16be(uint8_t *out, uint16_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

static inline void put_u32be(uint8_t *out, uint32_t value)
{
    put_u16be(out, (uint16_t)(value >> 16));
    put_u16be(out + 2, (uint16_t)value);
}

static inline void put_u64be(uint8_t *out, uint64_t value)
{
    put_u32be(out, (uint32_t)(value >> 32));
    put_u32be(out + 4, (uint32_t)value);
}

static inline uint32_t get_u32be(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

static inline uint64_t get_u64be(const uint8_t *in)
{
    return (uint64_t)get_u32be(in) << 32 | get_u32be(in + 4);
}
