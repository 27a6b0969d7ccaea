/* node/world/clock.h - the arithmetic of both worlds' clocks: pure, no locks. */
#pragma once

#include "node/world/world.h"

struct clock {
    uint64_t hlc;            /* the last stamp given, seen or restored */
    uint64_t witnessed_ms;
    uint32_t error_ms;
};

void clock_init(struct clock *clock, uint32_t error_ms);

/* What world_hlc, world_hlc_see, world_witnessed and world_security_clock do at wall time `now_ms`. */
uint64_t clock_hlc(struct clock *clock, uint64_t now_ms);
NODISCARD bool clock_see(struct clock *clock, uint64_t now_ms, uint64_t remote, struct err *err);
void clock_restore(struct clock *clock, uint64_t persisted);
void clock_witnessed(struct clock *clock, uint64_t now_ms, uint64_t ms);
struct world_interval clock_interval(const struct clock *clock, uint64_t now_ms);
