/* Metadata: names, percent-encoding, and the request's id. */
#include <inttypes.h>
#include <stdio.h>

#include "proto/rpc/internal.h"

enum { REQUEST_ID_MAX = 64 };

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

bool percent_encode(const char *value, struct arena *arena, char **out, struct err *err)
{
    static const char digits[] = "0123456789ABCDEF";
    void *room;
    if (!arena_array(arena, 3, strlen(value) + 1, &room, err)) {
        return false;
    }
    char *to = room;
    for (const char *from = value; *from; from++) {
        uint8_t c = (uint8_t)*from;
        if (c > ' ' && c < 0x7f && c != '%') {
            *to++ = (char)c;
        } else {
            *to++ = '%';
            *to++ = digits[c >> 4];
            *to++ = digits[c & 15];
        }
    }
    *out = room;
    return true;
}

/* RFC 3986, 2.1: '%' and two hex digits; anything else stands for itself. */
static bool percent_decode(struct bytes value, struct arena *arena, const char **out, struct err *err)
{
    char *text;
    if (!arena_string(arena, value, &text, err)) {
        return false;
    }
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        text[len] = (char)value.data[i];
        if (value.data[i] == '%') {
            int high = i + 2 < value.len ? hex_digit(value.data[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(value.data[i + 2]) : -1;
            if (low < 0) {
                return err_raise(err, ERR_INVALID, "'%%' without two hex digits");
            }
            text[len] = (char)(high << 4 | low);
            i += 2;
        }
        len++;
    }
    text[len] = 0;
    *out = text;
    return utf8_valid(BYTES(text, len)) || err_raise(err, ERR_INVALID, "not UTF-8 text without U+0000");
}

static const grpc_metadata *find(const struct rpc_call *call, const char *key, size_t *count)
{
    const grpc_metadata *found = NULL;
    *count = 0;
    for (size_t i = 0; i < call->metadata.count; i++) {
        if (grpc_slice_str_cmp(call->metadata.metadata[i].key, key) == 0) {
            found = &call->metadata.metadata[i];
            *count += 1;
        }
    }
    return found;
}

static struct bytes value_of(const grpc_metadata *entry)
{
    return BYTES(GRPC_SLICE_START_PTR(entry->value), GRPC_SLICE_LENGTH(entry->value));
}

bool rpc_metadata(struct rpc_call *call, const char *key, const char **out, struct err *err)
{
    size_t count;
    const grpc_metadata *entry = find(call, key, &count);
    if (!entry) {
        *out = NULL;
        return true;
    }
    if (count > 1) {
        return err_raise_field(err, REASON(FIELD_INVALID), key, "metadata %s: sent more than once", key);
    }
    struct err why;
    if (!percent_decode(value_of(entry), &call->arena, out, &why)) {
        return err_raise_field(err, REASON(FIELD_INVALID), key, "metadata %s: %s", key, why.text);
    }
    return true;
}

bool rpc_metadata_needed(struct rpc_call *call, const char *key, const char **out, struct err *err)
{
    const char *value;
    if (!rpc_metadata(call, key, &value, err)) {
        return false;
    }
    if (!value || !*value) {
        return err_raise_field(err, REASON(FIELD_MISSING), key, "metadata %s: is needed", key);
    }
    *out = value;
    return true;
}

/* Names that gRPC itself uses are not ours to send; binary values have no use here. */
bool metadata_key_ok(const char *key)
{
    static const char *const reserved[] = {"te", "content-type", "user-agent", "host"};
    size_t len = strlen(key);
    for (size_t i = 0; i < COUNT(reserved); i++) {
        if (strcmp(key, reserved[i]) == 0) {
            return false;
        }
    }
    grpc_slice slice = grpc_slice_from_static_string(key);
    return len && strncmp(key, "grpc-", 5) != 0 && key[0] != ':' &&
           !(len > 4 && strcmp(key + len - 4, "-bin") == 0) && grpc_header_key_is_legal(slice);
}

bool rpc_trailer(struct rpc_call *call, const char *key, const char *value, struct err *err)
{
    char *encoded;
    if (!metadata_key_ok(key) || call->trailer_count == TRAILERS_MAX - 2) {
        return err_raise(err, ERR_INVALID, "trailer %s: not a name that may be sent, or one too many", key);
    }
    if (!percent_encode(value, &call->arena, &encoded, err)) {
        return false;
    }
    grpc_metadata *trailer = &call->trailers[call->trailer_count++];
    trailer->key = slice_of(key);
    trailer->value = slice_of(encoded);
    return true;
}

static bool request_id_ok(struct bytes id)
{
    for (size_t i = 0; i < id.len; i++) {
        uint8_t c = id.data[i];
        if (!((c | 32) >= 'a' && (c | 32) <= 'z') && !(c >= '0' && c <= '9') && !memchr("-_.:", c, 4)) {
            return false;
        }
    }
    return id.len && id.len <= REQUEST_ID_MAX;
}

/* The caller's x-request-id where it is fit for a log, else one of ours. */
void call_name_request(struct rpc_call *call)
{
    size_t count;
    struct err ignored;
    char *id;
    const grpc_metadata *entry = find(call, "x-request-id", &count);
    bool ok;
    if (count == 1 && request_id_ok(value_of(entry))) {
        ok = arena_string(&call->arena, value_of(entry), &id, &ignored);
    } else {
        ok = arena_printf(&call->arena, &id, &ignored, "%016" PRIx64 "%016" PRIx64, call->rpc->boot,
                          (uint64_t)++call->rpc->drawn);
    }
    if (ok) {
        call->request_id = id;
    }
}
