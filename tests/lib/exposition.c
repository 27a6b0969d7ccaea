#include "tests/lib/exposition.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLES_MAX = 20000, FAMILIES_MAX = 500 };

struct family {
    char *name, *type;
    bool helped, typed;
};

struct sample {
    char *text;                  /* name and labels */
    double value;
};

struct exposition {
    struct family families[FAMILIES_MAX];
    size_t families_len;
    struct sample samples[SAMPLES_MAX];
    size_t samples_len;
    /* of the histogram under way */
    char *series;
    double bucket;
    bool infinite;
};

static bool is_name(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
        if (!letter && !(i > 0 && c >= '0' && c <= '9')) {
            return false;
        }
    }
    return len > 0;
}

static struct family *newest(struct exposition *e)
{
    return e->families_len ? &e->families[e->families_len - 1] : NULL;
}

/* -- Comments */

static bool begin_family(struct exposition *e, const char *name, struct arena *arena, struct err *err)
{
    for (size_t i = 0; i < e->families_len; i++) {
        if (strcmp(e->families[i].name, name) == 0) {
            return err_raise(err, ERR_INVALID, "%s is begun twice", name);
        }
    }
    if (e->families_len == FAMILIES_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "families");
    }
    struct family *family = &e->families[e->families_len++];
    family->helped = true;
    return arena_string(arena, bytes_str(name), &family->name, err);
}

static bool type_family(struct exposition *e, const char *name, const char *type, struct arena *arena,
                        struct err *err)
{
    struct family *family = newest(e);
    size_t len = strlen(name);
    if (!family || strcmp(family->name, name) != 0 || family->typed) {
        return err_raise(err, ERR_INVALID, "TYPE of %s not behind its HELP", name);
    }
    bool total = len > 6 && strcmp(name + len - 6, "_total") == 0;
    if (total != (strcmp(type, "counter") == 0)) {
        return err_raise(err, ERR_INVALID, "%s: counters and only they end in _total", name);
    }
    if (strcmp(type, "counter") != 0 && strcmp(type, "gauge") != 0 && strcmp(type, "histogram") != 0) {
        return err_raise(err, ERR_INVALID, "%s: type %s", name, type);
    }
    family->typed = true;
    return arena_string(arena, bytes_str(type), &family->type, err);
}

static bool read_comment(struct exposition *e, char *line, struct arena *arena, struct err *err)
{
    char *word = line + 2, *name = word + 5, *rest = strchr(name, ' ');
    if (strncmp(line, "# HELP ", 7) != 0 && strncmp(line, "# TYPE ", 7) != 0) {
        return err_raise(err, ERR_INVALID, "neither HELP nor TYPE");
    }
    if (!rest || !is_name(name, (size_t)(rest - name)) || !rest[1]) {
        return err_raise(err, ERR_INVALID, "no name, or nothing behind it");
    }
    *rest = '\0';
    return word[0] == 'H' ? begin_family(e, name, arena, err) : type_family(e, name, rest + 1, arena, err);
}

/* -- Samples */

/* `{a="b",c="d"}`: *end is behind it. */
static bool read_labels(const char *at, const char **end, struct err *err)
{
    for (at++;; at++) {
        size_t name = strcspn(at, "=");
        if (!is_name(at, name) || at[name + 1] != '"') {
            return err_raise(err, ERR_INVALID, "a label's name");
        }
        for (at += name + 2; *at != '"'; at++) {
            if (!*at || (*at == '\\' && !strchr("\\\"n", *++at))) {
                return err_raise(err, ERR_INVALID, "a label's value");
            }
        }
        at++;
        if (*at == '}') {
            *end = at + 1;
            return true;
        }
        if (*at != ',') {
            return err_raise(err, ERR_INVALID, "between labels");
        }
    }
}

static bool read_number(const char *text, double *out, struct err *err)
{
    char *end;
    *out = strtod(text, &end);
    return (*text && *text != ' ' && !*end) || err_raise(err, ERR_INVALID, "value '%s'", text);
}

/* Buckets of one series stand together, grow, and end with +Inf, which is the count. */
static bool check_bucket(struct exposition *e, const char *sample, const char *suffix, double value,
                         struct arena *arena, struct err *err)
{
    const char *le = strstr(sample, "le=\"");
    if (strcmp(suffix, "_bucket") == 0) {
        if (!le) {
            return err_raise(err, ERR_INVALID, "a bucket without le");
        }
        size_t len = (size_t)(le - sample);
        bool same = e->series && strncmp(e->series, sample, len) == 0 && strlen(e->series) == len && !e->infinite;
        if (same && value < e->bucket) {
            return err_raise(err, ERR_INVALID, "buckets do not grow");
        }
        e->infinite = strncmp(le, "le=\"+Inf\"", 9) == 0;
        e->bucket = value;
        return arena_string(arena, BYTES(sample, len), &e->series, err);
    }
    if (!e->infinite) {
        return err_raise(err, ERR_INVALID, "no bucket +Inf");
    }
    return strcmp(suffix, "_sum") == 0 || value == e->bucket || err_raise(err, ERR_INVALID, "count is not +Inf's");
}

static bool check_family(struct exposition *e, const char *sample, size_t name_len, double value,
                         struct arena *arena, struct err *err)
{
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
    const struct family *family = newest(e);
    size_t len = family && family->typed ? strlen(family->name) : 0;
    if (!len || name_len < len || strncmp(sample, family->name, len) != 0) {
        return err_raise(err, ERR_INVALID, "a sample of another family");
    }
    if (strcmp(family->type, "histogram") != 0) {
        return name_len == len || err_raise(err, ERR_INVALID, "a sample of another family");
    }
    for (size_t i = 0; i < 3; i++) {
        if (name_len == len + strlen(suffixes[i]) && strncmp(sample + len, suffixes[i], name_len - len) == 0) {
            return check_bucket(e, sample, suffixes[i], value, arena, err);
        }
    }
    return err_raise(err, ERR_INVALID, "a histogram has _bucket, _sum and _count");
}

static bool add_sample(struct exposition *e, struct bytes text, double value, struct arena *arena, struct err *err)
{
    for (size_t i = 0; i < e->samples_len; i++) {
        if (bytes_equal(bytes_str(e->samples[i].text), text)) {
            return err_raise(err, ERR_INVALID, "%s comes twice", e->samples[i].text);
        }
    }
    if (e->samples_len == SAMPLES_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "samples");
    }
    struct sample *sample = &e->samples[e->samples_len++];
    sample->value = value;
    return arena_string(arena, text, &sample->text, err);
}

static bool read_sample(struct exposition *e, const char *line, struct arena *arena, struct err *err)
{
    size_t name = strcspn(line, "{ ");
    const char *end = line + name;
    double value;
    if (!is_name(line, name)) {
        return err_raise(err, ERR_INVALID, "a sample's name");
    }
    if (*end == '{' && !read_labels(end, &end, err)) {
        return false;
    }
    if (*end != ' ') {
        return err_raise(err, ERR_INVALID, "no space before the value");
    }
    return read_number(end + 1, &value, err) && check_family(e, line, name, value, arena, err) &&
           add_sample(e, BYTES(line, (size_t)(end - line)), value, arena, err);
}

bool exposition_read(struct bytes text, struct arena *arena, struct exposition **out, struct err *err)
{
    struct exposition *e;
    char *copy;
    int number = 1;
    if (text.len == 0 || text.data[text.len - 1] != '\n' || !utf8_valid(text)) {
        return err_raise(err, ERR_INVALID, "not UTF-8 lines");
    }
    if (!arena_alloc(arena, sizeof *e, (void **)&e, err) || !arena_string(arena, text, &copy, err)) {
        return false;
    }
    for (char *line = copy, *end; *line; line = end + 1, number++) {
        struct err why;
        end = strchr(line, '\n');
        *end = '\0';
        if (!(line[0] == '#' ? read_comment(e, line, arena, &why) : read_sample(e, line, arena, &why))) {
            return err_raise(err, ERR_INVALID, "line %d: %s: %.80s", number, why.text, line);
        }
    }
    *out = e;
    return true;
}

/* -- Looking at it */

size_t exposition_families(const struct exposition *exposition)
{
    return exposition->families_len;
}

const char *exposition_family(const struct exposition *exposition, size_t i)
{
    return exposition->families[i].name;
}

double exposition_value(const struct exposition *exposition, const char *sample)
{
    for (size_t i = 0; i < exposition->samples_len; i++) {
        if (strcmp(exposition->samples[i].text, sample) == 0) {
            return exposition->samples[i].value;
        }
    }
    return -1;
}

double exposition_sum(const struct exposition *exposition, const char *beginning)
{
    double sum = 0;
    for (size_t i = 0; i < exposition->samples_len; i++) {
        if (strncmp(exposition->samples[i].text, beginning, strlen(beginning)) == 0) {
            sum += exposition->samples[i].value;
        }
    }
    return sum;
}
