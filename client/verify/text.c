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
    build_text(out, "Verdict: %s\n\n", verify_state_name(report->verdict));
    build_text(out, "  log       %s, %ju entries\n", report->origin, (uintmax_t)report->size);
    build_text(out, "  facility  %s\n", report->facility);
    build_text(out, "  about     %s\n", report->about);
    build_text(out, "  asked by  %s%s%s\n", report->asker, *report->purpose ? " for " : "", report->purpose);
    build_text(out, "  query     %s\n", bytes_hex(BYTES_OF(report->query), id));
    build_text(out, "  network   %s, version %ju, roster %ju\n", bytes_hex(BYTES_OF(report->network), id),
               (uintmax_t)report->network_version, (uintmax_t)report->roster_version);
    build_text(out, "  as of     map epoch %ju, ", (uintmax_t)report->map_epoch);
    say_time(out, report->map_time_ms);
    build_text(out, ", %ju entries, %ju withheld\n", (uintmax_t)report->count, (uintmax_t)report->withheld);
    for (size_t i = 0; i < report->witnesses_len; i++) {
        build_text(out, "  cosigned  ");
        say_time(out, (int64_t)(report->witnesses[i].time_s * 1000));
        build_text(out, " by %s\n", report->witnesses[i].name);
    }
}

static void say_claims(const struct verify_report *report, struct builder *out)
{
    build_text(out, "\nClaims\n");
    for (int i = 0; i < VERIFY_CLAIMS; i++) {
        const struct verify_finding *finding = &report->claims[i];
        build_text(out, "  %-12s  %s", verify_state_name(finding->state), verify_claim_name((enum verify_claim)i));
        if (*finding->text) {
            build_text(out, ": %s", finding->text);
        }
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
    build_text(out, "%s", row->principal ? row->principal : "the node itself");
    if (row->user && *row->user) {
        build_text(out, " (%s)", row->user);
    }
    build_text(out, "%s%s", row->purpose && *row->purpose ? " for " : "", row->purpose ? row->purpose : "");
    build_text(out, "%s%s", *row->counterpart ? " with " : "", row->counterpart);
    build_text(out, "%s%s", *row->what ? ": " : "", row->what);
    if (row->objects > 1) {
        build_text(out, " and %zu more", row->objects - 1);
    }
    build_text(out, "\n");
}

void verify_text(const struct verify_report *report, struct builder *out)
{
    say_head(report, out);
    say_claims(report, out);
    build_text(out, "\nWhat happened\n");
    for (size_t i = 0; i < report->rows_len; i++) {
        say_row(&report->rows[i], out);
    }
    build_text(out, "\nWhat no verifier can say\n");
    for (size_t i = 0; i < COUNT(limits); i++) {
        build_text(out, "  - %s\n", limits[i]);
    }
}
