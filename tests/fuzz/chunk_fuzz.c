/* Target functions: chunk_decode, chunk_code, header_row_content. The first two bytes say the plain length, less
 * one. */
#include "proto/content/content.h"
#include "tests/fuzz/fuzz.h"

/* What decodes has exactly the length that was asked for, and codes into something that decodes to it again. */
static void decode(struct bytes coded, size_t plain_len)
{
    AUTO_ARENA(arena, 4 << 20);
    struct bytes plain, recoded, again;
    struct err err;
    if (!chunk_decode(coded, plain_len, &arena, &plain, &err)) {
        require(err.code == ERR_CORRUPT || err.code == ERR_TOO_MUCH);
        return;
    }
    require(plain.len == plain_len);
    require(chunk_code(plain, &arena, &recoded, &err) && recoded.len <= plain_len + 1);
    require(chunk_decode(recoded, plain_len, &arena, &again, &err) && bytes_equal(plain, again));
    fuzz_reached(1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct id content;
    struct err err;
    uint8_t flags;
    if (size < 2) {
        return 0;
    }
    decode(BYTES(data + 2, size - 2), 1 + ((size_t)data[0] << 8 | data[1]));
    if (!header_row_content(BYTES(data, size), &content, &flags, &err)) {
        require(err.code == ERR_CORRUPT);
    }
    return 0;
}
