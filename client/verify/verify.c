#include "client/verify/verify.h"

#include <stdarg.h>

#include "client/verify/check.h"

const char *verify_claim_name(enum verify_claim claim)
{
    static const char *const names[VERIFY_CLAIMS] = {
        [VERIFY_FILE] = "file",
        [VERIFY_ENTRIES] = "entries included",
        [VERIFY_CHAIN] = "chain",
        [VERIFY_COMPLETE] = "complete for log",
        [VERIFY_STATEMENTS] = "statements signed",
        [VERIFY_DECISIONS] = "decisions",
        [VERIFY_AUTHORS] = "author signatures",
        [VERIFY_TIMES] = "time bounds",
        [VERIFY_ALL_LOGS] = "all logs",
    };
    return names[claim];
}

const char *verify_state_name(enum verify_state state)
{
    static const char *const names[] = {"NOT PROVED", "PROVED", "CONTRADICTED"};
    return names[state];
}

int verify_exit_code(enum verify_state verdict)
{
    static const int codes[] = {[VERIFY_NOT_PROVED] = 3, [VERIFY_PROVED] = 0, [VERIFY_CONTRADICTED] = 4};
    return codes[verdict];
}

bool contradict(struct check *c, enum verify_claim claim, const struct bundle_frame *frame, const char *format,
                ...)
{
    struct verify_finding *finding = &c->report->claims[claim];
    if (finding->state == VERIFY_CONTRADICTED) {
        return false;
    }
    *finding = (struct verify_finding){.state = VERIFY_CONTRADICTED, .placed = frame != NULL};
    if (frame) {
        finding->frame = frame->number;
        finding->offset = frame->offset;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(finding->text, sizeof finding->text, format, args);
    va_end(args);
    c->decided[claim] = true;
    return false;
}

bool lack(struct check *c, enum verify_claim claim, const char *format, ...)
{
    struct verify_finding *finding = &c->report->claims[claim];
    if (c->decided[claim]) {
        return false;
    }
    *finding = (struct verify_finding){.state = VERIFY_NOT_PROVED};
    va_list args;
    va_start(args, format);
    vsnprintf(finding->text, sizeof finding->text, format, args);
    va_end(args);
    c->decided[claim] = true;
    return false;
}

bool judge(struct check *c, enum verify_claim claim, const struct bundle_frame *frame, const struct err *why)
{
    switch (why->code) {
    case ERR_NOT_FOUND:
        return lack(c, claim, "%s", why->text);
    case ERR_TOO_MUCH:
        *c->err = *why;
        return false;
    default:
        return contradict(c, claim, frame, "%s", why->text);
    }
}

static void run_stages(struct check *c, struct bytes file)
{
    if (!check_frames(c, file) || !check_trust(c) || !check_checkpoint(c) || !check_map(c) || !check_entries(c) ||
        !check_chain(c) || !check_complete(c) || !check_statements(c)) {
        return;
    }
    (void)check_decisions(c);
}

/* What no stage found a fault in is PROVED if it was looked at to its end. */
static void settle(struct check *c)
{
    struct verify_finding *claims = c->report->claims;
    for (int i = 0; i < VERIFY_CLAIMS; i++) {
        if (c->reached[i] && !c->decided[i]) {
            claims[i].state = VERIFY_PROVED;
        } else {
            (void)lack(c, (enum verify_claim)i, "the bundle does not hold up to here");
        }
    }
    for (int i = VERIFY_FILE; i < VERIFY_COMPLETE; i++) {
        if (claims[i].state != VERIFY_PROVED && claims[VERIFY_COMPLETE].state == VERIFY_PROVED) {
            claims[VERIFY_COMPLETE].state = VERIFY_NOT_PROVED;
            snprintf(claims[VERIFY_COMPLETE].text, sizeof claims[VERIFY_COMPLETE].text, "'%s' does not hold",
                     verify_claim_name((enum verify_claim)i));
        }
    }
}

static void set_verdict(struct verify_report *report)
{
    report->verdict = report->claims[VERIFY_COMPLETE].state;
    for (int i = 0; i < VERIFY_CLAIMS; i++) {
        if (report->claims[i].state == VERIFY_CONTRADICTED) {
            report->verdict = VERIFY_CONTRADICTED;
        }
    }
}

bool verify_alone(struct check *c, struct bytes file)
{
    c->report->origin = c->report->facility = c->report->asker = c->report->purpose = c->report->about = "";
    *c->err = (struct err){0};
    c->reached[VERIFY_ALL_LOGS] = true;        /* judged by check_earlier, once the others are settled */
    run_stages(c, file);
    if (c->err->code || (c->shown && !make_rows(c))) {
        return false;
    }
    settle(c);
    return true;
}

void check_end(struct check *c)
{
    trust_free(c->trust);
    c->trust = NULL;
}

bool verify_bundle(struct bytes file, const struct verify_options *options, struct arena *arena,
                   struct verify_report *out, struct err *err)
{
    struct verify_report report = {0};
    struct err fatal = {0};
    struct check c = {.options = options, .arena = arena, .report = &report, .err = &fatal};
    bool ok = verify_alone(&c, file) && check_earlier(&c) && check_others(&c);
    check_end(&c);
    if (!ok) {
        *err = fatal;
        return err_wrap(err, "verify");
    }
    set_verdict(&report);
    *out = report;
    return true;
}
