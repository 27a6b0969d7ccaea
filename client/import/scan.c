#include "client/import/scan.h"

enum { END = -1 };

static int peek(const struct scan *s)
{
    return s->at < s->text.len ? s->text.data[s->at] : END;
}

static bool bad(const struct scan *s, const char *what, struct err *err)
{
    return err_raise(err, ERR_INVALID, "json: at byte %zu: %s", s->at, what);
}

static void skip_space(struct scan *s)
{
    for (int c = peek(s); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(s)) {
        s->at++;
    }
}

static bool skip_char(struct scan *s, char wanted)
{
    bool there = peek(s) == wanted;
    s->at += there;
    return there;
}

static bool is_hex(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool skip_escape(struct scan *s, struct err *err)
{
    int c = peek(s);
    if (c == END || (c != 'u' && !strchr("\"\\/bfnrt", c))) {
        return bad(s, "no such escape", err);
    }
    s->at++;
    for (int i = 0; c == 'u' && i < 4; i++, s->at++) {
        if (!is_hex(peek(s))) {
            return bad(s, "four hex digits belong here", err);
        }
    }
    return true;
}

static bool skip_string(struct scan *s, struct err *err)
{
    if (!skip_char(s, '"')) {
        return bad(s, "a string belongs here", err);
    }
    for (;;) {
        int c = peek(s);
        if (c == END || c < 0x20) {
            return bad(s, "string without end", err);
        }
        s->at++;
        if (c == '"') {
            return true;
        }
        if (c == '\\' && !skip_escape(s, err)) {
            return false;
        }
    }
}

static bool skip_digits(struct scan *s)
{
    size_t begin = s->at;
    while (peek(s) >= '0' && peek(s) <= '9') {
        s->at++;
    }
    return s->at > begin;
}

/* RFC 8259, 6: number = [ minus ] int [ frac ] [ exp ] */
static bool skip_number(struct scan *s, struct err *err)
{
    skip_char(s, '-');
    bool ok = skip_char(s, '0') || skip_digits(s);
    if (ok && skip_char(s, '.')) {
        ok = skip_digits(s);
    }
    if (ok && (skip_char(s, 'e') || skip_char(s, 'E'))) {
        ok = (skip_char(s, '+') || skip_char(s, '-') || true) && skip_digits(s);
    }
    return ok || bad(s, "not a number", err);
}

static bool skip_word(struct scan *s, const char *word, struct err *err)
{
    for (const char *c = word; *c; c++) {
        if (!skip_char(s, *c)) {
            return bad(s, "no such word", err);
        }
    }
    return true;
}

static bool skip_value(struct scan *s, unsigned depth, struct err *err);

static bool skip_member_name(struct scan *s, struct err *err)
{
    if (!skip_string(s, err)) {
        return false;
    }
    skip_space(s);
    if (!skip_char(s, ':')) {
        return bad(s, "a colon belongs here", err);
    }
    skip_space(s);
    return true;
}

static bool skip_container(struct scan *s, char close, unsigned depth, struct err *err)
{
    if (depth == SCAN_DEPTH_MAX) {
        return bad(s, "nested too deep", err);
    }
    s->at++;
    skip_space(s);
    if (skip_char(s, close)) {
        return true;
    }
    for (;;) {
        skip_space(s);
        if ((close == '}' && !skip_member_name(s, err)) || !skip_value(s, depth + 1, err)) {
            return false;
        }
        skip_space(s);
        if (skip_char(s, close)) {
            return true;
        }
        if (!skip_char(s, ',')) {
            return bad(s, "a comma or the end belongs here", err);
        }
    }
}

static bool skip_value(struct scan *s, unsigned depth, struct err *err)
{
    switch (peek(s)) {
    case '{':
        return skip_container(s, '}', depth, err);
    case '[':
        return skip_container(s, ']', depth, err);
    case '"':
        return skip_string(s, err);
    case 't':
        return skip_word(s, "true", err);
    case 'f':
        return skip_word(s, "false", err);
    case 'n':
        return skip_word(s, "null", err);
    default:
        return skip_number(s, err);
    }
}

static bool begin(struct bytes value, char open, struct scan *out, struct err *err)
{
    struct scan scan = {.text = value, .object = open == '{'};
    skip_space(&scan);
    if (!skip_char(&scan, open)) {
        return bad(&scan, open == '{' ? "an object belongs here" : "an array belongs here", err);
    }
    *out = scan;
    return true;
}

bool scan_object(struct bytes value, struct scan *out, struct err *err)
{
    return begin(value, '{', out, err);
}

bool scan_array(struct bytes value, struct scan *out, struct err *err)
{
    return begin(value, '[', out, err);
}

static bool finish(struct scan *s, struct err *err)
{
    skip_space(s);
    return peek(s) == END || bad(s, "nothing belongs here", err);
}

/* The view without its quotes; names that need escapes are none of FHIR's. */
static bool plain_name(const struct scan *s, size_t from, struct bytes *out, struct err *err)
{
    const uint8_t *name = s->text.data + from + 1;
    const uint8_t *quote = memchr(name, '"', s->at - from - 1);
    size_t len = (size_t)(quote - name);
    if (memchr(name, '\\', len)) {
        return bad(s, "a member name with escapes", err);
    }
    *out = BYTES(name, len);
    return true;
}

bool scan_next(struct scan *s, struct scan_item *item, bool *more, struct err *err)
{
    skip_space(s);
    if (skip_char(s, s->object ? '}' : ']')) {
        if (!finish(s, err)) {
            return false;
        }
        *more = false;
        return true;
    }
    if (s->started && !skip_char(s, ',')) {
        return bad(s, "a comma or the end belongs here", err);
    }
    skip_space(s);
    struct scan_item next = {0};
    size_t from = s->at;
    if (s->object && (!skip_member_name(s, err) || !plain_name(s, from, &next.name, err))) {
        return false;
    }
    from = s->at;
    if (!skip_value(s, 1, err)) {
        return false;
    }
    next.value = BYTES(s->text.data + from, s->at - from);
    s->started = true;
    *item = next;
    *more = true;
    return true;
}
