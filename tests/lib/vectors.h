/* tests/lib/vectors.h - JSON test vectors: load a file of the shared data folder, read its fields.
 *
 *     json_t *file = NULL;
 *     if (!vectors_load("format-vectors/canonical.json", &file)) {
 *         return;                                   // said why it is skipped
 *     }
 *     size_t i;
 *     json_t *one;
 *     json_array_foreach(vector_array(file, "valid"), i, one) {
 *         struct bytes payload = vector_hex(one, "payload", &arena);
 *         ...
 *     }
 *     json_decref(file);
 *
 * Arrays and objects are walked with jansson's own json_array_foreach and json_object_foreach. A vector_… reader
 * of a field that is absent, or not of that form, ends the test and says which field. Texts and json_t belong to
 * the file and live until json_decref; decoded bytes are in the arena. */
#pragma once

#include <jansson.h>

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

/* vectors_load sets *out to the file's JSON, to be given back with json_decref; false after printing that the
 * test is skipped, when there is no shared data. Ends the test if the file is not JSON. */
bool vectors_load(const char *name, json_t **out);

/* vector_has: the field is there and not null. */
bool vector_has(const json_t *object, const char *field);

/* vector_of returns a field's value; vector_array and vector_object also demand its type. */
json_t *vector_of(const json_t *object, const char *field);
json_t *vector_array(const json_t *object, const char *field);
json_t *vector_object(const json_t *object, const char *field);

/* vector_text returns a string field, NUL-terminated; vector_text_or returns `other` when it is absent. */
const char *vector_text(const json_t *object, const char *field);
const char *vector_text_or(const json_t *object, const char *field, const char *other);

/* vector_u64 reads a number or a decimal string (numbers above 2^53); vector_u64_or returns `other` when absent.
 */
uint64_t vector_u64(const json_t *object, const char *field);
uint64_t vector_u64_or(const json_t *object, const char *field, uint64_t other);

/* vector_bool reads true or false; absent is false. */
bool vector_bool(const json_t *object, const char *field);

/* vector_hex and vector_base64 decode a string field into `arena`; vector_hash and vector_id demand 32 and 16
 * bytes of hex. */
struct bytes vector_hex(const json_t *object, const char *field, struct arena *arena);
struct bytes vector_base64(const json_t *object, const char *field, struct arena *arena);
struct hash vector_hash(const json_t *object, const char *field);
struct id vector_id(const json_t *object, const char *field);

/* The same for a value itself, an element of an array: the test ends if it is not a string of hex. */
struct bytes hex_value(const json_t *value, struct arena *arena);
struct hash hash_value(const json_t *value);
