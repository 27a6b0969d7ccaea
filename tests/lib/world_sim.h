/* tests/lib/world_sim.h - the world in a simulator: one thread, one seed, time that moves when told.
 *
 * A `struct world_sim` is the machine room: time, the order of things, chance. Each simulated node has a `struct
 * world` of it, with its own clock and its own stream of random bytes, and calls nothing but world.h.
 *
 * Equal seeds and equal calls give equal runs. The test's own code is the *driver*, outside of any task. It may
 * call world.h too: when it waits, tasks run, and time passes as far as needed, until it need not wait any more.
 */
#pragma once

#include "node/world/world.h"

struct world_sim;

struct world_sim *world_sim_new(uint64_t seed);

/* world_sim_free: every world is closed before, or killed. */
void world_sim_free(struct world_sim *sim);

/* world_sim_world makes a node's world, whose wall clock is off by `skew_ms`; in place of world_open. Ends with
 * world_close. */
struct world *world_sim_world(struct world_sim *sim, int64_t skew_ms);

/* world_sim_run runs tasks until none can go on; time stands still. */
void world_sim_run(struct world_sim *sim);

/* world_sim_step runs one task until it ends or waits; false if none can go on. For a test that looks between. */
bool world_sim_step(struct world_sim *sim);

/* world_sim_advance lets `ms` pass: timers and waits that fall due do so in order, and tasks run in between. */
void world_sim_advance(struct world_sim *sim, uint64_t ms);

/* world_sim_next_ms returns how long until the next timer or timed wait, UINT64_MAX if there is none. */
uint64_t world_sim_next_ms(struct world_sim *sim);

uint64_t world_sim_mono_ms(struct world_sim *sim);

/* world_sim_choose draws a number below `bound` (> 0) from the simulator's own chance, for tests' decisions. */
uint64_t world_sim_choose(struct world_sim *sim, uint64_t bound);

/* world_sim_set_skew sets the node's wall clock off by `skew_ms`, forward or back. Monotonic time goes on. */
void world_sim_set_skew(struct world *world, int64_t skew_ms);

/* world_sim_kill ends a node as SIGKILL does: its tasks, waits and timers are gone and never go on. Called by one
 * of its own tasks it does not return. The driver may still free the world's locks and events, and close its lanes
 * and the world; waits and submissions do nothing there. What the dead tasks had allocated is lost. */
void world_sim_kill(struct world *world);

/* world_sim_killed tells whether it was killed, or ended itself by world_fatal; then *why says why. */
bool world_sim_killed(const struct world *world, struct err *why);
