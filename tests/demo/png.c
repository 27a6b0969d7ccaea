#include "tests/demo/png.h"

enum { STORED_MAX = 65535, ADLER_BASE = 65521 };

/* PNG, 5.5: the CRC of ISO 3309 over type and data of a chunk. */
static uint32_t crc_of(struct bytes view)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < view.len; i++) {
        crc ^= view.data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? crc >> 1 ^ UINT32_C(0xedb88320) : crc >> 1;
        }
    }
    return ~crc;
}

static void build_chunk(struct builder *out, const char *type, struct bytes data)
{
    build_u32be(out, (uint32_t)data.len);
    size_t from = out->len;
    build_bytes(out, bytes_str(type));
    build_bytes(out, data);
    build_u32be(out, out->ok ? crc_of(BYTES(out->data + from, out->len - from)) : 0);
}

/* RFC 1950, 8.2. */
static uint32_t adler_of(struct bytes view)
{
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < view.len; i++) {
        a = (a + view.data[i]) % ADLER_BASE;
        b = (b + a) % ADLER_BASE;
    }
    return b << 16 | a;
}

/* RFC 1951, 3.2.4: blocks of stored bytes; RFC 1950 puts two bytes before and the checksum behind. */
static void build_stored(struct builder *out, struct bytes raw)
{
    build_bytes(out, BYTES_LIT("\x78\x01"));
    for (size_t at = 0; at < raw.len; at += STORED_MAX) {
        uint16_t len = (uint16_t)MIN(raw.len - at, STORED_MAX);
        uint16_t inverse = (uint16_t)~len;
        build_u8(out, at + len == raw.len);
        build_u8(out, (uint8_t)len);
        build_u8(out, (uint8_t)(len >> 8));
        build_u8(out, (uint8_t)inverse);
        build_u8(out, (uint8_t)(inverse >> 8));
        build_bytes(out, BYTES(raw.data + at, len));
    }
    build_u32be(out, adler_of(raw));
}

void png_build(const uint8_t *samples, uint32_t width, uint32_t height, struct builder *out)
{
    AUTO_BUILDER(raw, out->max);
    AUTO_BUILDER(data, out->max);
    AUTO_BUILDER(header, 13);
    for (size_t row = 0; row < height; row++) {
        build_u8(&raw, 0);               /* filter: none */
        build_bytes(&raw, BYTES(samples + row * width, width));
    }
    build_stored(&data, builder_view(&raw));
    build_u32be(&header, width);
    build_u32be(&header, height);
    build_bytes(&header, BYTES("\x08\x00\x00\x00\x00", 5));  /* 8 bits, gray, not interlaced */
    build_bytes(out, BYTES_LIT("\x89PNG\r\n\x1a\n"));
    build_chunk(out, "IHDR", builder_view(&header));
    build_chunk(out, "IDAT", builder_view(&data));
    build_chunk(out, "IEND", BYTES_NONE);
    out->ok = out->ok && raw.ok && data.ok;
}
