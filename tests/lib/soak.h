/* tests/lib/soak.h - a test's long form: how long `./dev soak` lets it run (docs/building.md). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* soak_minutes: this part's share of a soak; 0: none, do the quick form. */
unsigned soak_minutes(void);

/* soak_goes_on: whether the share, counted from the first call, is not used up. False in the quick form. */
bool soak_goes_on(void);

/* soak_seed: the seed to begin with: CHARTMESH_SOAK_SEED if that is set, else another one in each soak, else
 * `quick`. */
uint64_t soak_seed(uint64_t quick);
