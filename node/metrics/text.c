#include "node/metrics/text.h"

#include <math.h>
#include <stdio.h>

static const char *const kinds[] = {
    [METRICS_COUNTER] = "counter", [METRICS_GAUGE] = "gauge", [METRICS_HISTOGRAM] = "histogram"};

void metrics_family(struct metrics_text *text, const char *name, enum metrics_kind kind, const char *help)
{
    text->family = name;
    build_text(text->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kinds[kind]);
}

/* A label's value: backslash, quote and line feed are escaped; other control characters and what is no UTF-8 would
 * spoil the whole answer for its reader. */
static void add_value(struct builder *out, const char *value)
{
    bool whole = utf8_valid(bytes_str(value));
    for (const char *c = value; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte == '\n') {
            build_text(out, "\\n");
        } else if (byte == '\\' || byte == '"') {
            build_text(out, "\\%c", byte);
        } else {
            build_u8(out, byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !whole) ? '?' : byte);
        }
    }
}

static void begin_sample(struct metrics_text *text, const char *suffix, struct metrics_labels labels,
                         const char *last_name, const char *last_value)
{
    struct builder *out = text->out;
    const char *before = "{";
    build_text(out, "%s%s", text->family, suffix);
    for (size_t i = 0; i < labels.count; i++, before = ",") {
        build_text(out, "%s%s=\"", before, labels.list[i].name);
        add_value(out, labels.list[i].value);
        build_text(out, "\"");
    }
    if (last_name) {
        build_text(out, "%s%s=\"%s\"", before, last_name, last_value);
        before = ",";
    }
    build_text(out, "%s ", *before == ',' ? "}" : "");
}

void metrics_u64(struct metrics_text *text, struct metrics_labels labels, uint64_t value)
{
    begin_sample(text, "", labels, NULL, NULL);
    build_text(text->out, "%ju\n", (uintmax_t)value);
}

static void add_real(struct builder *out, double value)
{
    if (isnan(value)) {
        build_text(out, "NaN\n");
    } else if (isinf(value)) {
        build_text(out, value > 0 ? "+Inf\n" : "-Inf\n");
    } else {
        build_text(out, "%.15g\n", value);
    }
}

void metrics_real(struct metrics_text *text, struct metrics_labels labels, double value)
{
    begin_sample(text, "", labels, NULL, NULL);
    add_real(text->out, value);
}

void metrics_histogram(struct metrics_text *text, struct metrics_labels labels,
                       const struct metrics_histogram *histogram)
{
    uint64_t total = 0;
    for (size_t i = 0; i < histogram->bounds_len; i++) {
        char bound[32];
        total += histogram->counts[i];
        snprintf(bound, sizeof bound, "%.15g", (double)histogram->bounds[i] / histogram->unit);
        begin_sample(text, "_bucket", labels, "le", bound);
        build_text(text->out, "%ju\n", (uintmax_t)total);
    }
    total += histogram->counts[histogram->bounds_len];
    begin_sample(text, "_bucket", labels, "le", "+Inf");
    build_text(text->out, "%ju\n", (uintmax_t)total);
    begin_sample(text, "_sum", labels, NULL, NULL);
    add_real(text->out, histogram->sum / histogram->unit);
    begin_sample(text, "_count", labels, NULL, NULL);
    build_text(text->out, "%ju\n", (uintmax_t)total);
}
