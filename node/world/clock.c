#include "node/world/clock.h"

#include <stdio.h>
#include <time.h>

enum { CLOCK_ERROR_MS = 2000 };

void clock_init(struct clock *clock, uint32_t error_ms)
{
    *clock = (struct clock){.error_ms = error_ms ? error_ms : CLOCK_ERROR_MS};
}

/* A full counter runs over into the milliseconds, so that stamps increase whatever happens. */
uint64_t clock_hlc(struct clock *clock, uint64_t now_ms)
{
    clock->hlc = MAX(clock->hlc + 1, now_ms << 16);
    return clock->hlc;
}

bool clock_see(struct clock *clock, uint64_t now_ms, uint64_t remote, struct err *err)
{
    uint64_t ms = hlc_ms(remote);
    if (ms > now_ms && ms - now_ms > WORLD_HLC_AHEAD_MS) {
        return err_raise(err, ERR_RANGE, "clock: a stamp %ju ms ahead of ours", (uintmax_t)(ms - now_ms));
    }
    clock->hlc = MAX(clock->hlc, remote);
    return true;
}

void clock_restore(struct clock *clock, uint64_t persisted)
{
    clock->hlc = MAX(clock->hlc, persisted);
}

void clock_witnessed(struct clock *clock, uint64_t now_ms, uint64_t ms)
{
    if (ms <= now_ms || ms - now_ms <= WORLD_HLC_AHEAD_MS) {
        clock->witnessed_ms = MAX(clock->witnessed_ms, ms);
    }
}

struct world_interval clock_interval(const struct clock *clock, uint64_t now_ms)
{
    return (struct world_interval){
        .lo_ms = now_ms - MIN(now_ms, clock->error_ms),
        .hi_ms = MAX(now_ms, MAX(hlc_ms(clock->hlc), clock->witnessed_ms)),
    };
}

char *world_time_text(uint64_t ms, char out[WORLD_TIME_TEXT])
{
    struct tm utc;
    time_t seconds = (time_t)(ms / 1000);
    char whole[24];
    if (!gmtime_r(&seconds, &utc) || strftime(whole, sizeof whole, "%Y-%m-%dT%H:%M:%S", &utc) == 0) {
        snprintf(whole, sizeof whole, "0000-00-00T00:00:00");
    }
    snprintf(out, WORLD_TIME_TEXT, "%s.%03uZ", whole, (unsigned)(ms % 1000));
    return out;
}
