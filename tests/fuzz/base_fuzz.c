/* Target functions: hex_decode, base64_decode and back, utf8_valid, every read_ of reader.h. */
#include <string.h>

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/reader.h"
#include "tests/fuzz/fuzz.h"

enum { BUDGET = 1 << 16 };

/* What decodes is canonical: encoding it gives the same text back. */
static void base64_both_ways(struct bytes text)
{
    AUTO_ARENA(arena, BUDGET);
    struct bytes decoded;
    struct err err;
    if (!base64_decode(text, &arena, &decoded, &err)) {
        require(err.code == ERR_INVALID || err.code == ERR_TOO_MUCH);
        return;
    }
    void *again;
    if (arena_alloc(&arena, 4 * ((decoded.len + 2) / 3) + 1, &again, &err)) {
        require(bytes_equal(bytes_str(base64_encode(decoded, again)), text));
        fuzz_reached(1);
    }
}

static void hex_both_ways(struct bytes text)
{
    AUTO_ARENA(arena, BUDGET);
    struct err err;
    char *terminated;
    uint8_t decoded[HASH_LEN];
    if (!arena_string(&arena, text, &terminated, &err) || !hex_decode(terminated, decoded, sizeof decoded, &err)) {
        return;
    }
    char again[2 * HASH_LEN + 1];
    bytes_hex(BYTES(decoded, sizeof decoded), again);
    fuzz_reached(2);
    require(strlen(terminated) == 2 * HASH_LEN && strcasecmp(terminated, again) == 0);
}

/* The input's own bytes say what to read next, until it ends: never past the end, never back to ok. */
static void read_all(struct bytes input)
{
    struct reader r = reader_of(input);
    while (r.ok && r.left.len > 0) {
        size_t before = r.left.len;
        switch (read_u8(&r) % 8) {
        case 0:
            read_u32be(&r);
            break;
        case 1:
            read_u64be(&r);
            break;
        case 2:
            read_varint(&r);
            break;
        case 3:
            read_block(&r);
            break;
        case 4:
            read_line(&r);
            break;
        case 5:
            read_hash(&r);
            break;
        case 6:
            read_id(&r);
            break;
        default:
            read_bytes(&r, 3);
            break;
        }
        require(!r.ok || r.left.len < before);
    }
    bool ended = reader_end(&r);
    struct bytes past = read_bytes(&r, 1);
    require(!r.ok && past.len == 0);
    require(!reader_end(&r) || ended);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = BYTES(data, size);
    base64_both_ways(input);
    hex_both_ways(input);
    require(!utf8_valid(input) || size == 0 || memchr(data, 0, size) == NULL);
    read_all(input);
    return 0;
}
