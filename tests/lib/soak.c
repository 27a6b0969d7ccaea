#include "tests/lib/soak.h"

#include <stdlib.h>
#include <time.h>

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && text[0] ? strtoull(text, NULL, 10) : otherwise;
}

unsigned soak_minutes(void)
{
    return (unsigned)number("CHARTMESH_SOAK_MINUTES", 0);
}

bool soak_goes_on(void)
{
    static struct timespec begin;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (begin.tv_sec == 0) {
        begin = now;
    }
    return now.tv_sec - begin.tv_sec < 60 * (time_t)soak_minutes();
}

uint64_t soak_seed(uint64_t quick)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return number("CHARTMESH_SOAK_SEED", soak_minutes() ? (uint64_t)now.tv_sec * 1000 : quick);
}
