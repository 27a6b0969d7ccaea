#include "client/import/bundle.h"

#include "client/import/scan.h"

#define OPENING "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":["
#define FULL_URL "\"fullUrl\":"
#define RESOURCE "\"resource\":"

/* set_once refuses a member that comes a second time: readers differ in which one they believe. */
static bool set_once(struct bytes *where, struct scan_item item, struct err *err)
{
    if (where->data) {
        return err_raise(err, ERR_INVALID, "member '%.*s' comes twice", (int)MIN(item.name.len, 32),
                         (const char *)item.name.data);
    }
    *where = item.value;
    return true;
}

static bool named(struct scan_item item, const char *name)
{
    return bytes_equal(item.name, bytes_str(name));
}

/* A code: a string that needs no escapes. */
static bool plain_string(struct bytes value, struct bytes *out, struct err *err)
{
    if (value.len < 2 || value.data[0] != '"' || memchr(value.data, '\\', value.len)) {
        return err_raise(err, ERR_INVALID, "a plain string belongs here");
    }
    *out = BYTES(value.data + 1, value.len - 2);
    return true;
}

static bool read_method(struct bytes request, struct bytes *out, struct err *err)
{
    struct scan scan;
    struct scan_item item;
    struct bytes method = BYTES_NONE;
    bool more = true;
    if (!scan_object(request, &scan, err)) {
        return false;
    }
    while (more) {
        if (!scan_next(&scan, &item, &more, err) ||
            (more && named(item, "method") && !set_once(&method, item, err))) {
            return false;
        }
    }
    return !method.data || plain_string(method, out, err) || err_wrap(err, "method");
}

static bool read_entry(struct bytes value, struct bundle_entry *out, struct err *err)
{
    struct scan scan;
    struct scan_item item;
    struct bundle_entry entry = {0};
    struct bytes request = BYTES_NONE;
    bool more = true;
    if (!scan_object(value, &scan, err)) {
        return false;
    }
    while (more) {
        if (!scan_next(&scan, &item, &more, err)) {
            return false;
        }
        bool ok = !more || (named(item, "fullUrl")    ? set_once(&entry.full_url, item, err)
                            : named(item, "resource") ? set_once(&entry.resource, item, err)
                            : named(item, "request")  ? set_once(&request, item, err)
                                                      : true);
        if (!ok) {
            return false;
        }
    }
    if (entry.resource.len > BUNDLE_RESOURCE_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "a resource of more than %d bytes", BUNDLE_RESOURCE_MAX);
    }
    if (entry.full_url.data && entry.full_url.data[0] != '"') {
        return err_raise(err, ERR_INVALID, "fullUrl is not a string");
    }
    if (request.data && !read_method(request, &entry.method, err)) {
        return err_wrap(err, "request");
    }
    *out = entry;
    return true;
}

static bool count_entries(struct bytes array, size_t *out, struct err *err)
{
    struct scan scan;
    struct scan_item item;
    size_t count = 0;
    bool more = true;
    if (!scan_array(array, &scan, err)) {
        return false;
    }
    while (more) {
        if (!scan_next(&scan, &item, &more, err)) {
            return false;
        }
        count += more;
    }
    if (count > BUNDLE_ENTRIES_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "%zu entries, at most %d", count, BUNDLE_ENTRIES_MAX);
    }
    *out = count;
    return true;
}

static bool read_entries(struct bytes array, struct arena *arena, struct bundle *out, struct err *err)
{
    struct scan scan;
    struct scan_item item;
    size_t count = 0;
    void *room = NULL;
    bool more = true;
    if (!count_entries(array, &count, err) ||
        !arena_array(arena, count, sizeof(struct bundle_entry), &room, err) || !scan_array(array, &scan, err)) {
        return false;
    }
    struct bundle_entry *entries = room;
    for (size_t i = 0; i < count; i++) {
        if (!scan_next(&scan, &item, &more, err) || !read_entry(item.value, &entries[i], err)) {
            return err_wrap(err, "entry %zu", i);
        }
    }
    out->entries = entries;
    out->count = count;
    return true;
}

bool fhir_bundle_read(struct bytes text, struct arena *arena, struct bundle *out, struct err *err)
{
    struct scan scan;
    struct scan_item item;
    struct bytes kind = BYTES_NONE, type = BYTES_NONE, entry = BYTES_NONE;
    bool more = true;
    if (text.len > BUNDLE_BYTES_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "bundle: %zu bytes, at most %d", text.len, BUNDLE_BYTES_MAX);
    }
    if (!utf8_valid(text)) {
        return err_raise(err, ERR_INVALID, "bundle: not UTF-8");
    }
    if (!scan_object(text, &scan, err)) {
        return err_wrap(err, "bundle");
    }
    while (more) {
        if (!scan_next(&scan, &item, &more, err)) {
            return err_wrap(err, "bundle");
        }
        bool ok = !more || (named(item, "resourceType") ? set_once(&kind, item, err)
                            : named(item, "type")       ? set_once(&type, item, err)
                            : named(item, "entry")      ? set_once(&entry, item, err)
                                                        : true);
        if (!ok) {
            return err_wrap(err, "bundle");
        }
    }
    struct bundle bundle = {0};
    if (!bytes_equal(kind, BYTES_LIT("\"Bundle\""))) {
        return err_raise(err, ERR_INVALID, "bundle: resourceType is not Bundle");
    }
    if (!type.data || !plain_string(type, &bundle.type, err)) {
        return err_raise(err, ERR_INVALID, "bundle: no type");
    }
    if (entry.data && !read_entries(entry, arena, &bundle, err)) {
        return err_wrap(err, "bundle");
    }
    *out = bundle;
    return true;
}

void fhir_bundle_write(const struct bundle_entry **entries, size_t count, struct builder *out)
{
    build_bytes(out, BYTES_LIT(OPENING));
    for (size_t i = 0; i < count; i++) {
        build_bytes(out, i ? BYTES_LIT(",{") : BYTES_LIT("{"));
        if (entries[i]->full_url.data) {
            build_bytes(out, BYTES_LIT(FULL_URL));
            build_bytes(out, entries[i]->full_url);
            build_bytes(out, BYTES_LIT(","));
        }
        build_bytes(out, BYTES_LIT(RESOURCE));
        build_bytes(out, entries[i]->resource);
        build_bytes(out, BYTES_LIT("}"));
    }
    build_bytes(out, BYTES_LIT("]}"));
}

size_t fhir_bundle_written_len(const struct bundle_entry **entries, size_t count)
{
    size_t len = sizeof OPENING - 1 + sizeof "]}" - 1;
    for (size_t i = 0; i < count; i++) {
        size_t url = entries[i]->full_url.data ? sizeof FULL_URL - 1 + entries[i]->full_url.len + 1 : 0;
        len += (i ? 2 : 1) + url + sizeof RESOURCE - 1 + entries[i]->resource.len + 1;
    }
    return len;
}
