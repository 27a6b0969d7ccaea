/* Earlier bundles: of this log, which this one must extend (I17, I20); of earlier incarnations, for "all logs". */
#include "client/verify/check.h"
#include "client/verify/words.h"

/* An earlier bundle and what was found in it. */
struct past {
    struct check check;
    struct verify_report report;
    bool usable; /* about the same subject or actor at the same facility, and sound */
};

static bool is_sound(const struct verify_report *report)
{
    for (int i = 0; i < VERIFY_CLAIMS; i++) {
        if (report->claims[i].state == VERIFY_CONTRADICTED) {
            return false;
        }
    }
    return true;
}

static bool read_past(struct check *c, struct bytes file, struct verify_options *options, struct past *past)
{
    past->check = (struct check){.options = options, .arena = c->arena, .report = &past->report, .err = c->err};
    bool ok = verify_alone(&past->check, file);
    check_end(&past->check);
    if (!ok) {
        return err_wrap(c->err, "earlier bundle");
    }
    past->usable = is_sound(&past->report) && past->check.reached[VERIFY_ENTRIES] && c->reached[VERIFY_ENTRIES] &&
                   bytes_equal(bytes_pb(past->check.asked->facility), bytes_pb(c->asked->facility)) &&
                   hash_equal(&past->check.map_key, &c->map_key);
    if (!past->usable) {
        lack(c, VERIFY_COMPLETE, "an earlier bundle does not hold, or is about something else");
    }
    return true;
}

/* The chain after its k-th link, if this bundle shows it. */
static const struct hash *chain_at(const struct check *c, uint64_t k)
{
    if (c->first_k == 0 || k + 1 < c->first_k || k > c->map->count) {
        return NULL;
    }
    return k + 1 == c->first_k ? &c->chain_before : &c->chain[k - c->first_k];
}

/* The same log, seen before: count and chain must extend what was seen. */
static void check_extends(struct check *c, const struct past *past)
{
    const struct check *before = &past->check;
    if (before->checkpoint.size == c->checkpoint.size &&
        !hash_equal(&before->checkpoint.root, &c->checkpoint.root)) {
        contradict(c, VERIFY_COMPLETE, &c->note, "an earlier bundle shows another tree of the same size: a fork");
        return;
    }
    if (past->report.map_epoch > c->report->map_epoch) {
        lack(c, VERIFY_COMPLETE, "an earlier bundle is newer than this one");
        return;
    }
    if (before->map->count > c->map->count) {
        contradict(c, VERIFY_CHAIN, &c->map_frame, "an earlier bundle counts %ju entries, this one %ju",
                   (uintmax_t)before->map->count, (uintmax_t)c->map->count);
        return;
    }
    const struct hash *chain = chain_at(c, before->map->count);
    if (before->map->count > 0 && chain && !bytes_equal(bytes_pb(before->map->chain), BYTES_OF(*chain))) {
        contradict(c, VERIFY_CHAIN, &c->map_frame, "the chain does not extend that of an earlier bundle");
    }
}

/* Every entry of a finished log is covered: by the map, or shown after it. */
static bool covers_all(const struct past *past, struct bytes last_checkpoint)
{
    struct checkpoint last;
    struct err ignored;
    if (!checkpoint_open(last_checkpoint, NULL, 0, &last, &ignored)) {
        return false;
    }
    uint64_t covered = past->report.map_epoch;
    for (size_t i = 0; i < past->check.shown_len; i++) {
        covered += past->check.shown[i].index == covered;
    }
    return covered >= last.size;
}

static const struct past *past_of(const struct past *pasts, size_t count, const struct check *c,
                                  uint64_t incarnation)
{
    for (size_t i = 0; i < count; i++) {
        if (pasts[i].usable && pasts[i].check.incarnation == incarnation &&
            bytes_equal(bytes_pb(pasts[i].check.asked->facility), bytes_pb(c->asked->facility))) {
            return &pasts[i];
        }
    }
    return NULL;
}

static void check_all_logs(struct check *c, const struct past *pasts, size_t count)
{
    if (c->report->claims[VERIFY_COMPLETE].state != VERIFY_PROVED || !c->epoch) {
        lack(c, VERIFY_ALL_LOGS, "see 'complete for log'");
        return;
    }
    const Chartmesh__V1__Epoch *epoch = c->epoch;
    for (size_t step = 0; epoch->previous != 0; step++) {
        const struct past *past = past_of(pasts, count, c, epoch->previous);
        if (step > count || !past || past->report.claims[VERIFY_COMPLETE].state != VERIFY_PROVED ||
            !past->check.epoch) {
            lack(c, VERIFY_ALL_LOGS, "no complete bundle of the log of incarnation %016jx is here",
                 (uintmax_t)epoch->previous);
            return;
        }
        if (!covers_all(past, bytes_pb(epoch->previous_checkpoint))) {
            lack(c, VERIFY_ALL_LOGS, "the bundle of incarnation %016jx ends before that log did",
                 (uintmax_t)epoch->previous);
            return;
        }
        epoch = past->check.epoch;
    }
}

bool check_earlier(struct check *c)
{
    void *room;
    size_t count = c->options->earlier_len;
    if (!arena_array(c->arena, count, sizeof(struct past), &room, c->err)) {
        return false;
    }
    struct past *pasts = room;
    struct verify_options options = *c->options;
    options.query = NULL;
    options.earlier_len = 0;
    options.network_version = options.roster_version = 0;
    for (size_t i = 0; i < count; i++) {
        if (!read_past(c, c->options->earlier[i], &options, &pasts[i])) {
            return false;
        }
        if (pasts[i].usable && strcmp(pasts[i].report.origin, c->report->origin) == 0) {
            check_extends(c, &pasts[i]);
        }
    }
    check_all_logs(c, pasts, count);
    return true;
}
