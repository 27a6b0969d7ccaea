#include "node/server/rounds.h"

#include <stdlib.h>
#include <sys/statvfs.h>

enum {
    JUMP_MIN_MS = 1000,
    COUNT_SHARE = 20,            /* counting takes at most this part of the time: one in so many */
    UPLOADS_MAX = 10000,
    QUICK_MS = 20,               /* what takes no longer is done every round */
};

struct rounds {
    struct rounds_options options;
    struct world_lane *lane;
    int64_t offset_ms;           /* of the wall clock to the monotonic one; the lane's */
    uint64_t count_at_ms;        /* monotonic: not before */
    uint64_t counted_size;       /* the log's, at the last counting */
    struct world_lock *lock;     /* of what follows */
    struct rounds_seen seen;
    uint64_t timer;
    bool closing;
};

static int64_t offset_of(struct world *world)
{
    return (int64_t)world_now_ms(world) - (int64_t)world_mono_ms(world);
}

/* -- The clock */

static void look_at_clock(struct rounds *rounds)
{
    struct world *world = rounds->options.world;
    int64_t offset = offset_of(world), jump = offset - rounds->offset_ms;
    int64_t allowed = MAX((int64_t)rounds->options.clock_error_ms, (int64_t)JUMP_MIN_MS);
    uint64_t now = world_now_ms(world), stamped = hlc_ms(world_hlc(world));
    rounds->offset_ms = offset;
    AUTO_LOCKED(held, rounds->lock);
    rounds->seen.behind_ms = stamped > now ? stamped - now : 0;
    if (jump > allowed || jump < -allowed) {
        rounds->seen.jumps_forward += jump > 0;
        rounds->seen.jumps_back += jump < 0;
        rounds->seen.last_jump_ms = jump;
        rounds->seen.last_jump_at_ms = now;
    }
}

/* -- The disk */

static void look_at_disk(struct rounds *rounds)
{
    struct statvfs found;
    if (statvfs(rounds->options.folder, &found) != 0) {
        return;
    }
    AUTO_LOCKED(held, rounds->lock);
    rounds->seen.disk_free = (uint64_t)found.f_bavail * found.f_frsize;
    rounds->seen.disk_size = (uint64_t)found.f_blocks * found.f_frsize;
}

/* -- How much there is */

/* node/service/upload.c keeps what it knows of an upload under 'u'. */
static bool count_uploads(struct store *store, uint64_t *out, struct err *err)
{
    const struct store_span span = {.prefix = BYTES_LIT("u")};
    AUTO_STORE_ITER iter = NULL;
    if (!store_iter_open(store, NULL, FAMILY_META, &span, &iter, err)) {
        return false;
    }
    for (*out = 0; *out < UPLOADS_MAX && store_iter_next(iter);) {
        ++*out;
    }
    return store_iter_check(iter, err);
}

static void count(struct rounds *rounds)
{
    struct world *world = rounds->options.world;
    struct err err;
    struct rounds_seen seen;
    uint64_t size = log_size(chart_log(rounds->options.chart)).size, from = world_mono_ms(world);
    if (from < rounds->count_at_ms || (size == rounds->counted_size && rounds->seen.counted_ms)) {
        return;
    }
    bool ok = chart_counts(rounds->options.chart, &seen.subjects, &seen.documents, &seen.versions,
                           &seen.open_cases, &err) &&
              count_uploads(rounds->options.store, &seen.uploads, &err);
    uint64_t took = world_mono_ms(world) - from;
    rounds->count_at_ms = took <= QUICK_MS ? 0 : world_mono_ms(world) + COUNT_SHARE * took;
    if (!ok) {
        return;                  /* whoever reads those rows is told why */
    }
    rounds->counted_size = size;
    AUTO_LOCKED(held, rounds->lock);
    rounds->seen.subjects = seen.subjects;
    rounds->seen.documents = seen.documents;
    rounds->seen.versions = seen.versions;
    rounds->seen.open_cases = seen.open_cases;
    rounds->seen.uploads = seen.uploads;
    rounds->seen.counted_ms = world_now_ms(world);
}

/* -- Going round */

static void go_round(void *arg)
{
    struct rounds *rounds = arg;
    look_at_clock(rounds);
    look_at_disk(rounds);
    count(rounds);
    if (rounds->options.each) {
        rounds->options.each(rounds->options.context);
    }
    AUTO_LOCKED(held, rounds->lock);
    if (!rounds->closing) {
        rounds->timer = world_timer_start(rounds->lane, ROUNDS_MS, go_round, rounds);
    }
}

bool rounds_open(const struct rounds_options *options, struct rounds **out, struct err *err)
{
    struct rounds *rounds = calloc(1, sizeof *rounds);
    if (!rounds) {
        return err_raise(err, ERR_TOO_MUCH, "rounds: no memory");
    }
    rounds->options = *options;
    rounds->lock = world_lock_new(options->world);
    rounds->offset_ms = offset_of(options->world);
    if (!world_lane_open(options->world, "rounds", 1, &rounds->lane, err)) {
        rounds_close(rounds);
        return false;
    }
    look_at_clock(rounds);
    look_at_disk(rounds);
    world_submit(rounds->lane, go_round, rounds);
    *out = rounds;
    return true;
}

struct rounds_seen rounds_seen(struct rounds *rounds)
{
    AUTO_LOCKED(held, rounds->lock);
    return rounds->seen;
}

void rounds_close(struct rounds *rounds)
{
    if (!rounds) {
        return;
    }
    world_lock_take(rounds->lock);
    rounds->closing = true;
    uint64_t timer = rounds->timer;
    world_lock_give(rounds->lock);
    world_timer_stop(rounds->options.world, timer);
    world_lane_close(rounds->lane);
    world_lock_free(rounds->lock);
    free(rounds);
}
