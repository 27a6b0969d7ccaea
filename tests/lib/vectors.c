#include "tests/lib/vectors.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/lib/test.h"

enum { FILE_MAX = 64 << 20 };

bool vectors_load(const char *name, json_t **out)
{
    AUTO_ARENA(arena, FILE_MAX);
    struct bytes text;
    if (!shared_data_file(name, &arena, &text)) {
        return false;
    }
    json_error_t error;
    json_t *file = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &error);
    if (!file) {
        fail_msg("%s: line %d: %s", name, error.line, error.text);
    }
    *out = file;
    return true;
}

bool vector_has(const json_t *object, const char *field)
{
    const json_t *value = json_object_get(object, field);
    return value && !json_is_null(value);
}

json_t *vector_of(const json_t *object, const char *field)
{
    if (!vector_has(object, field)) {
        fail_msg("vector: no field '%s' in '%s'", field, vector_text_or(object, "what", "?"));
    }
    return json_object_get(object, field);
}

json_t *vector_array(const json_t *object, const char *field)
{
    json_t *value = vector_of(object, field);
    if (!json_is_array(value)) {
        fail_msg("vector: field '%s' is not an array", field);
    }
    return value;
}

json_t *vector_object(const json_t *object, const char *field)
{
    json_t *value = vector_of(object, field);
    if (!json_is_object(value)) {
        fail_msg("vector: field '%s' is not an object", field);
    }
    return value;
}

const char *vector_text(const json_t *object, const char *field)
{
    const char *text = json_string_value(vector_of(object, field));
    if (!text) {
        fail_msg("vector: field '%s' is not a string", field);
    }
    return text;
}

const char *vector_text_or(const json_t *object, const char *field, const char *other)
{
    const char *text = json_string_value(json_object_get(object, field));
    return text ? text : other;
}

uint64_t vector_u64(const json_t *object, const char *field)
{
    const json_t *value = vector_of(object, field);
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        return (uint64_t)json_integer_value(value);
    }
    const char *text = json_string_value(value);
    char *end = NULL;
    errno = 0;
    uint64_t number = text ? strtoull(text, &end, 10) : 0;
    if (!text || *text < '0' || *text > '9' || *end != '\0' || errno != 0) {
        fail_msg("vector: field '%s' is not a number", field);
    }
    return number;
}

uint64_t vector_u64_or(const json_t *object, const char *field, uint64_t other)
{
    return vector_has(object, field) ? vector_u64(object, field) : other;
}

bool vector_bool(const json_t *object, const char *field)
{
    if (vector_has(object, field) && !json_is_boolean(json_object_get(object, field))) {
        fail_msg("vector: field '%s' is not a bool", field);
    }
    return json_is_true(json_object_get(object, field));
}

struct bytes hex_value(const json_t *value, struct arena *arena)
{
    const char *text = json_string_value(value);
    if (!text) {
        fail_msg("vector: not a string of hex");
    }
    struct err err;
    void *out = NULL;
    size_t len = strlen(text) / 2;
    assert_ok(arena_alloc(arena, len + 1, &out, &err));
    assert_ok(hex_decode(text, out, len, &err));
    return BYTES(out, len);
}

struct hash hash_value(const json_t *value)
{
    struct hash out = {0};
    struct err err;
    const char *text = json_string_value(value);
    if (!text) {
        fail_msg("vector: not a string of hex");
    }
    assert_ok(hex_decode(text, out.bytes, HASH_LEN, &err));
    return out;
}

struct bytes vector_hex(const json_t *object, const char *field, struct arena *arena)
{
    return hex_value(vector_of(object, field), arena);
}

struct bytes vector_base64(const json_t *object, const char *field, struct arena *arena)
{
    struct err err;
    struct bytes out;
    assert_ok(base64_decode(bytes_str(vector_text(object, field)), arena, &out, &err));
    return out;
}

struct hash vector_hash(const json_t *object, const char *field)
{
    return hash_value(vector_of(object, field));
}

struct id vector_id(const json_t *object, const char *field)
{
    struct id out;
    struct err err;
    assert_ok(hex_decode(vector_text(object, field), out.bytes, ID_LEN, &err));
    return out;
}
