/* tests/fuzz/fuzz.h - what all fuzz targets share. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* A target: looks at one input, aborts when something is not as it must be, returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* fuzz_reached marks a place behind a parser's last check. Built as NAME_canary it is a bug, the one whose number
 * stands in CANARY: the replay of the corpus must find each. That is how we know that the corpus gets so far. */
static inline void fuzz_reached(int place)
{
#ifdef FUZZ_CANARY
    const char *bug = getenv("CANARY");
    if (bug && strtol(bug, NULL, 10) == place) {
        abort();
    }
#else
    (void)place;
#endif
}
