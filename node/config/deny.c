#include "node/config/deny.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { VALUE_MAX = 1024 };

/* Every entry is one key: a letter for its kind, then what is denied. Sorted, so that asking costs a few compares.
 */
struct deny {
    struct bytes *keys;
    size_t count;
};

/* -- Reading */

static int compare(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static struct bytes without_zeros(struct bytes number)
{
    while (number.len > 1 && number.data[0] == 0) {
        number = BYTES(number.data + 1, number.len - 1);
    }
    return number;
}

static bool key_add(struct deny *deny, char kind, struct bytes value, struct arena *arena, struct err *err)
{
    uint8_t key[1 + VALUE_MAX];
    key[0] = (uint8_t)kind;
    memcpy(key + 1, value.data, value.len);
    return arena_copy(arena, BYTES(key, 1 + value.len), &deny->keys[deny->count++], err);
}

static bool add_id(struct deny *deny, const char *value, struct arena *arena, struct err *err)
{
    return strncmp(value, "spiffe://", 9) == 0
               ? key_add(deny, 'i', bytes_str(value), arena, err)
               : err_raise(err, ERR_INVALID, "id must be spiffe://NETWORK/DOMAIN/KIND/NAME");
}

static bool add_serial(struct deny *deny, const char *value, struct arena *arena, struct err *err)
{
    uint8_t number[20];
    char even[2 * sizeof number + 2];
    size_t len = strlen(value);
    if (len == 0 || len > 2 * sizeof number) {
        return err_raise(err, ERR_INVALID, "serial must be 1 to 40 hex digits");
    }
    snprintf(even, sizeof even, "%s%s", len % 2 ? "0" : "", value);
    return hex_decode(even, number, strlen(even) / 2, err)
               ? key_add(deny, 's', without_zeros(BYTES(number, strlen(even) / 2)), arena, err)
               : err_raise(err, ERR_INVALID, "serial must be 1 to 40 hex digits");
}

static bool add_pin(struct deny *deny, const char *value, struct arena *arena, struct err *err)
{
    struct hash pin;
    return strlen(value) == 2 * HASH_LEN && hex_decode(value, pin.bytes, HASH_LEN, err)
               ? key_add(deny, 'p', BYTES_OF(pin), arena, err)
               : err_raise(err, ERR_INVALID, "pin must be 64 hex digits");
}

static bool read_entry(struct deny *deny, char *line, struct arena *arena, struct err *err)
{
    static const char blank[] = " \t\r";
    line[strcspn(line, "#")] = '\0';
    char *word = line + strspn(line, blank);
    if (!*word) {
        return true;
    }
    char *value = word + strcspn(word, blank);
    value += *value ? (*value = '\0', 1) : 0;
    value += strspn(value, blank);
    char *end = value + strcspn(value, blank);
    if (end[strspn(end, blank)] || strlen(value) > VALUE_MAX) {
        return err_raise(err, ERR_INVALID, "one word and one value on a line");
    }
    *end = '\0';
    if (strcmp(word, "id") == 0) {
        return add_id(deny, value, arena, err);
    }
    if (strcmp(word, "serial") == 0) {
        return add_serial(deny, value, arena, err);
    }
    return strcmp(word, "pin") == 0 ? add_pin(deny, value, arena, err)
                                    : err_raise(err, ERR_INVALID, "a line begins with id, serial or pin");
}

static size_t count_lines(struct bytes text)
{
    size_t lines = 0;
    for (size_t i = 0; i < text.len; i++) {
        lines += text.data[i] == '\n';
    }
    return lines;
}

static bool read_lines(struct deny *deny, char *text, const char *name, struct arena *arena, struct err *err)
{
    int number = 1;
    for (char *line = text, *end; *line; line = end + 1, number++) {
        struct err why;
        end = strchr(line, '\n');
        *end = '\0';
        if (!read_entry(deny, line, arena, &why)) {
            return err_raise(err, ERR_INVALID, "%s:%d: %s", name, number, why.text);
        }
    }
    qsort(deny->keys, deny->count, sizeof *deny->keys, compare);
    return true;
}

bool deny_parse(struct bytes text, const char *name, struct arena *arena, struct deny **out, struct err *err)
{
    AUTO_ARENA(scratch, DENY_BYTES_MAX + 8192);
    struct deny *deny;
    char *copy;
    size_t lines = count_lines(text);
    if (text.len > DENY_BYTES_MAX || lines > DENY_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "%s: over %d lines or %d MiB", name, DENY_MAX, DENY_BYTES_MAX >> 20);
    }
    if (!utf8_valid(text) || memchr(text.data ? (const void *)text.data : "", 0, text.len)) {
        return err_raise(err, ERR_INVALID, "%s: not UTF-8 text", name);
    }
    if (text.len && text.data[text.len - 1] != '\n') {
        return err_raise(err, ERR_INVALID, "%s: its last line has no end: half written?", name);
    }
    if (!arena_string(&scratch, text, &copy, err) || !arena_alloc(arena, sizeof *deny, (void **)&deny, err) ||
        !arena_array(arena, lines, sizeof *deny->keys, (void **)&deny->keys, err) ||
        !read_lines(deny, copy, name, arena, err)) {
        return false;
    }
    *out = deny;
    return true;
}

bool deny_load(const char *path, struct arena *arena, struct deny **out, struct err *err)
{
    AUTO_ARENA(scratch, DENY_BYTES_MAX + 8192);
    void *text;
    FILE *file = fopen(path, "rbe");
    if (!file) {
        return err_raise(err, ERR_STATE, "deny list %s: %s", path, strerror(errno));
    }
    bool ok = arena_alloc(&scratch, DENY_BYTES_MAX + 1, &text, err);
    size_t len = ok ? fread(text, 1, DENY_BYTES_MAX + 1, file) : 0;
    ok = ok && (!ferror(file) || err_raise(err, ERR_STATE, "deny list %s: cannot be read", path));
    fclose(file);
    return ok && deny_parse(BYTES(text, len), path, arena, out, err);
}

/* -- Asking */

size_t deny_count(const struct deny *deny)
{
    return deny ? deny->count : 0;
}

static bool listed(const struct deny *deny, char kind, struct bytes value)
{
    uint8_t key[1 + VALUE_MAX];
    if (!deny || deny->count == 0 || value.len > VALUE_MAX) {
        return false;
    }
    key[0] = (uint8_t)kind;
    memcpy(key + 1, value.data, value.len);
    const struct bytes wanted = BYTES(key, 1 + value.len);
    return bsearch(&wanted, deny->keys, deny->count, sizeof wanted, compare);
}

bool deny_id(const struct deny *deny, const char *spiffe)
{
    return listed(deny, 'i', bytes_str(spiffe));
}

bool deny_pin(const struct deny *deny, const struct hash *pin)
{
    return listed(deny, 'p', BYTES_OF(*pin));
}

bool deny_serial(const struct deny *deny, struct bytes serial)
{
    return listed(deny, 's', without_zeros(serial));
}
