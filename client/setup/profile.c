#include "client/setup/profile.h"

#include "client/setup/files.h"
#include "proto/base/reader.h"

enum { PROFILE_MAX = 64 << 10, VALUE_MAX = 4000 };

static const struct profile_key {
    const char *name;
    size_t offset;
    bool file;
} KEYS[] = {
    {"target", offsetof(struct profile, target), false},
    {"server_name", offsetof(struct profile, server_name), false},
    {"ca", offsetof(struct profile, ca), true},
    {"certificate", offsetof(struct profile, certificate), true},
    {"key", offsetof(struct profile, key), true},
    {"trust", offsetof(struct profile, trust), true},
    {"network", offsetof(struct profile, network), false},
    {"facility", offsetof(struct profile, facility), false},
    {"domain", offsetof(struct profile, domain), false},
    {"principal", offsetof(struct profile, principal), false},
    {"user", offsetof(struct profile, user), false},
    {"role", offsetof(struct profile, role), false},
    {"purpose", offsetof(struct profile, purpose), false},
    {"audit_key", offsetof(struct profile, audit_key), true},
};

static const char **value_at(struct profile *profile, const struct profile_key *key)
{
    return (const char **)(void *)((char *)profile + key->offset);
}

static const struct profile_key *find_key(struct bytes name)
{
    for (size_t i = 0; i < COUNT(KEYS); i++) {
        if (bytes_equal(bytes_str(KEYS[i].name), name)) {
            return &KEYS[i];
        }
    }
    return NULL;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct bytes trim(struct bytes text)
{
    while (text.len && is_space(text.data[0])) {
        text = BYTES(text.data + 1, text.len - 1);
    }
    while (text.len && is_space(text.data[text.len - 1])) {
        text.len--;
    }
    return text;
}

/* What parsing works with. */
struct parsing {
    const char *name, *folder;
    int line;
    struct arena *arena;
    struct profile *out;
};

static bool wrong(const struct parsing *p, const char *what, struct err *err)
{
    return err_raise(err, ERR_INVALID, "%s:%d: %s", p->name, p->line, what);
}

static bool take_line(const struct parsing *p, struct bytes line, struct err *err)
{
    line = trim(line);
    if (line.len == 0 || line.data[0] == '#') {
        return true;
    }
    const uint8_t *equals = memchr(line.data, '=', line.len);
    if (!equals) {
        return wrong(p, "expected `key = value`", err);
    }
    size_t at = (size_t)(equals - line.data);
    struct bytes name = trim(BYTES(line.data, at)), value = trim(BYTES(line.data + at + 1, line.len - at - 1));
    const struct profile_key *key = find_key(name);
    if (!key) {
        return wrong(p, "no such key in a profile", err);
    }
    const char **slot = value_at(p->out, key);
    if (*slot) {
        return wrong(p, "this key stands twice", err);
    }
    if (value.len == 0 || value.len > VALUE_MAX || !utf8_valid(value)) {
        return wrong(p, "the value is empty, too long or not UTF-8", err);
    }
    char *text;
    if (!arena_string(p->arena, value, &text, err)) {
        return false;
    }
    *slot = text;
    return !key->file || path_join(p->folder, text, p->arena, slot, err);
}

static bool folder_of(const char *path, struct arena *arena, const char **out, struct err *err)
{
    const char *slash = strrchr(path, '/');
    char *folder;
    struct bytes view = !slash ? BYTES_LIT(".") : BYTES(path, slash == path ? 1 : (size_t)(slash - path));
    if (!arena_string(arena, view, &folder, err)) {
        return false;
    }
    *out = folder;
    return true;
}

bool profile_parse(struct bytes text, const char *name, struct arena *arena, struct profile *out, struct err *err)
{
    struct profile profile = {0};
    struct parsing p = {.name = name, .arena = arena, .out = &profile};
    if (!folder_of(name, arena, &p.folder, err)) {
        return false;
    }
    struct reader r = reader_of(text);
    while (r.left.len) {
        p.line++;
        const uint8_t *end = memchr(r.left.data, '\n', r.left.len);
        struct bytes line = end ? read_line(&r) : read_bytes(&r, r.left.len);
        if (!take_line(&p, line, err)) {
            return false;
        }
    }
    *out = profile;
    return true;
}

bool profile_load(const char *path, struct arena *arena, struct profile *out, struct err *err)
{
    struct bytes text;
    return (file_read(path, PROFILE_MAX, arena, &text, err) || err_wrap(err, "profile")) &&
           profile_parse(text, path, arena, out, err);
}

bool profile_text(const struct profile *profile, struct builder *out, struct err *err)
{
    struct profile copy = *profile;
    for (size_t i = 0; i < COUNT(KEYS); i++) {
        const char *value = *value_at(&copy, &KEYS[i]);
        if (value && strpbrk(value, "\r\n")) {
            return err_raise(err, ERR_INVALID, "profile: %s: a line break in the value", KEYS[i].name);
        }
        if (value) {
            build_text(out, "%-11s = %s\n", KEYS[i].name, value);
        }
    }
    return out->ok || err_raise(err, ERR_TOO_MUCH, "profile: too long");
}
