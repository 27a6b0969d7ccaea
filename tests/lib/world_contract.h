/* tests/lib/world_contract.h - what every world promises, as tests that the real and the simulated one run. */
#pragma once

#include "node/world/world.h"

/* How an implementation gives a test a world, and takes it back closed. */
struct world_place {
    struct world *(*make)(void);
    void (*clear)(struct world *world);
};

/* world_contract_run runs all rules; returns the number of failures. */
int world_contract_run(const char *name, const struct world_place *place);
