#include "proto/base/bytes.h"

#include "proto/base/arena.h"

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = MIN(a.len, b.len);
    int order = common ? memcmp(a.data, b.data, common) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

bool hash_from(struct bytes view, struct hash *out)
{
    if (view.len != HASH_LEN) {
        return false;
    }
    memcpy(out->bytes, view.data, HASH_LEN);
    return true;
}

bool id_from(struct bytes view, struct id *out)
{
    if (view.len != ID_LEN) {
        return false;
    }
    memcpy(out->bytes, view.data, ID_LEN);
    return true;
}

char *bytes_hex(struct bytes view, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < view.len; i++) {
        out[2 * i] = digits[view.data[i] >> 4];
        out[2 * i + 1] = digits[view.data[i] & 15];
    }
    out[2 * view.len] = '\0';
    return out;
}

const char *hex_of(struct bytes view, struct arena *arena)
{
    struct err ignored;
    void *text = NULL;
    return arena_alloc(arena, 2 * view.len + 1, &text, &ignored) ? bytes_hex(view, text) : "";
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_decode(const char *text, uint8_t *out, size_t len, struct err *err)
{
    if (strlen(text) != 2 * len) {
        return err_raise(err, ERR_INVALID, "hex: expected %zu digits", 2 * len);
    }
    for (size_t i = 0; i < len; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return err_raise(err, ERR_INVALID, "hex: not a hex digit at %zu", 2 * i);
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(struct bytes view, char *out)
{
    char *at = out;
    for (size_t i = 0; i < view.len; i += 3) {
        size_t left = view.len - i;
        uint32_t three = (uint32_t)view.data[i] << 16 | (left > 1 ? (uint32_t)view.data[i + 1] << 8 : 0) |
                         (left > 2 ? view.data[i + 2] : 0);
        *at++ = base64_digits[three >> 18];
        *at++ = base64_digits[three >> 12 & 63];
        *at++ = left > 1 ? base64_digits[three >> 6 & 63] : '=';
        *at++ = left > 2 ? base64_digits[three & 63] : '=';
    }
    *at = '\0';
    return out;
}

static int base64_value(uint8_t c)
{
    const char *at = c ? strchr(base64_digits, c) : NULL;
    return at ? (int)(at - base64_digits) : -1;
}

bool base64_decode(struct bytes text, struct arena *arena, struct bytes *out, struct err *err)
{
    void *memory;
    if (text.len % 4 != 0) {
        return err_raise(err, ERR_INVALID, "base64: length %zu is not a multiple of 4", text.len);
    }
    if (!arena_alloc(arena, text.len / 4 * 3 + 1, &memory, err)) {
        return false;
    }
    uint8_t *data = memory;
    size_t len = 0;
    for (size_t i = 0; i < text.len; i += 4) {
        bool final = i + 4 == text.len;
        size_t pads = !final || text.data[i + 3] != '=' ? 0 : text.data[i + 2] == '=' ? 2 : 1;
        uint32_t four = 0;
        for (size_t j = 0; j < 4; j++) {
            int value = j >= 4 - pads ? 0 : base64_value(text.data[i + j]);
            if (value < 0) {
                return err_raise(err, ERR_INVALID, "base64: not a base64 digit at %zu", i + j);
            }
            four = four << 6 | (uint32_t)value;
        }
        if ((pads == 1 && (four & 0xff)) || (pads == 2 && (four & 0xffff))) {
            return err_raise(err, ERR_INVALID, "base64: unused bits are not zero");
        }
        data[len++] = (uint8_t)(four >> 16);
        if (pads < 2) {
            data[len++] = (uint8_t)(four >> 8);
        }
        if (pads < 1) {
            data[len++] = (uint8_t)four;
        }
    }
    *out = BYTES(data, len);
    return true;
}

/* The length of the well-formed character at `at`, 0 if there is none. */
static size_t utf8_character(struct bytes text, size_t at)
{
    uint8_t c = text.data[at];
    if (c < 0x80) {
        return c != 0;
    }
    size_t len = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (len == 0 || text.len - at < len) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((text.data[at + i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    uint8_t second = text.data[at + 1];
    bool bad = (c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f) || (c == 0xf0 && second < 0x90) ||
               (c == 0xf4 && second > 0x8f);
    return bad ? 0 : len;
}

bool utf8_valid(struct bytes text)
{
    for (size_t at = 0; at < text.len;) {
        size_t len = utf8_character(text, at);
        if (len == 0) {
            return false;
        }
        at += len;
    }
    return true;
}
