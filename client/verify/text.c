/* The report for people. */
#include <time.h>

#include "client/verify/verify.h"

/* Formats 7: what the verifier says of itself. */
static const char *const limits[] = {
    "An entry filed under no or another subject is caught only by an auditor with full scope.",
    "Times are the facility's own claims; a cosignature only bounds them from above.",
    "That an act was logged is proved, not that every act was: what a facility never logs leaves no trace here.",
    "A witness proves that the log is one and only grew, not that what it says is true.",
};

/* How many bytes at `at` are a character that moves a terminal's cursor or turns the direction of writing: C0,
 * DEL, C1 (U+0080 to U+009F), U+202A to U+202E, U+2066 to U+2069. */
static size_t control_len(const uint8_t *at)
{
    if (at[0] < 0x20 || at[0] == 0x7f) {
        return 1;
    }
    if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f) {
        return 2;
    }
    bool embeds = at[0] == 0xe2 && at[1] == 0x80 && at[2] >= 0xaa && at[2] <= 0xae;
    bool isolates = at[0] == 0xe2 && at[1] == 0x81 && at[2] >= 0xa6 && at[2] <= 0xa9;
    return embeds || isolates ? 3 : 0;
}

/* say writes a text that the bundle's maker chose: it cannot forge a line of the report. */
static void say(struct builder *out, const char *text)
{
    for (const uint8_t *at = (const uint8_t *)(text ? text : ""); *at;) {
        size_t control = control_len(at);
        build_u8(out, control ? '?' : *at);
        at += control ? control : 1;
    }
}

/* said: say with something before it, nothing where there is no text. */
static void said(struct builder *out, const char *before, const char *text)
{
    if (text && *text) {
        build_text(out, "%s", before);
        say(out, text);
    }
}

static void say_time(struct builder *out, int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char text[40] = "?";
    if (gmtime_r(&seconds, &tm)) {
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    }
    build_text(out, "%s.%03dZ", text, (int)(ms % 1000));
}

static void say_head(const struct verify_report *report, struct builder *out)
{
    char id[2 * HASH_LEN + 1];
    build_text(out, "Verdict: %s\n", verify_state_name(report->verdict));
    said(out, "\n  log       ", report->origin);
    build_text(out, "\n  size      %ju entries", (uintmax_t)report->size);
    said(out, "\n  facility  ", report->facility);
    said(out, "\n  about     ", report->about);
    said(out, "\n  asked by  ", report->asker);
    said(out, " for ", report->purpose);
    build_text(out, "\n");
    if (!hash_is_zero(&report->query)) {
        build_text(out, "  query     %s\n", bytes_hex(BYTES_OF(report->query), id));
    }
    if (!hash_is_zero(&report->network)) {
        build_text(out, "  network   %s, version %ju, roster %ju\n", bytes_hex(BYTES_OF(report->network), id),
                   (uintmax_t)report->network_version, (uintmax_t)report->roster_version);
    }
    if (report->map_epoch > 0) {
        build_text(out, "  as of     map epoch %ju, ", (uintmax_t)report->map_epoch);
        say_time(out, report->map_time_ms);
        build_text(out, ", %ju entries, %ju withheld\n", (uintmax_t)report->count, (uintmax_t)report->withheld);
    }
    for (size_t i = 0; i < report->witnesses_len; i++) {
        build_text(out, "  cosigned  ");
        say_time(out, (int64_t)(report->witnesses[i].time_s * 1000));
        said(out, " by ", report->witnesses[i].name);
        build_text(out, "\n");
    }
}

static void say_claims(const struct verify_report *report, struct builder *out)
{
    build_text(out, "\nClaims\n");
    for (int i = 0; i < VERIFY_CLAIMS; i++) {
        const struct verify_finding *finding = &report->claims[i];
        build_text(out, "  %-12s  %s", verify_state_name(finding->state), verify_claim_name((enum verify_claim)i));
        said(out, ": ", finding->text);
        if (finding->placed) {
            build_text(out, " (frame %zu, offset %zu)", finding->frame, finding->offset);
        }
        build_text(out, "\n");
    }
}

static void say_row(const struct verify_row *row, struct builder *out)
{
    build_text(out, "  %8ju  ", (uintmax_t)row->index);
    if (row->time_ms) {
        say_time(out, row->time_ms);
    } else {
        build_text(out, "%-24s", "-");
    }
    build_text(out, "  %-13s  %-6s  ", row->kind, row->effect ? row->effect : "");
    say(out, row->principal ? row->principal : "the node itself");
    said(out, ", user ", row->user);
    said(out, ", for ", row->purpose);
    said(out, ", with ", row->counterpart);
    said(out, ": ", row->what);
    if (row->objects > 1) {
        build_text(out, " and %zu more", row->objects - 1);
    }
    build_text(out, "\n");
}

static void say_crossings(const struct verify_report *report, struct builder *out)
{
    char disclosure[2 * HASH_LEN + 1], version[2 * HASH_LEN + 1];
    if (report->crossings_len + report->others_refused > 0) {
        build_text(out, "\nBoth sides of what was disclosed\n");
    }
    if (report->others_refused > 0) {
        build_text(out, "  %zu of the other sides' bundles do not hold, or are about something else\n",
                   report->others_refused);
    }
    for (size_t i = 0; i < report->crossings_len; i++) {
        const struct verify_crossing *one = &report->crossings[i];
        build_text(out, "  %-23s  version %.16s under disclosure %.16s\n",
                   one->sent && one->received ? "sent and received"
                   : one->sent                ? "sent, not yet received"
                                              : "RECEIVED, NEVER SENT",
                   bytes_hex(BYTES_OF(one->version), version), bytes_hex(BYTES_OF(one->disclosure), disclosure));
    }
}

void verify_text(const struct verify_report *report, struct builder *out)
{
    say_head(report, out);
    say_claims(report, out);
    build_text(out, "\nWhat happened\n");
    for (size_t i = 0; i < report->rows_len; i++) {
        say_row(&report->rows[i], out);
    }
    say_crossings(report, out);
    build_text(out, "\nWhat no verifier can say\n");
    for (size_t i = 0; i < COUNT(limits); i++) {
        build_text(out, "  - %s\n", limits[i]);
    }
}
