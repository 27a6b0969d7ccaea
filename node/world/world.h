/* node/world/world.h - the world a node lives in: time, chance, timers, workers, locks.
 *
 * A port, and the only door to threads, clocks and timers for everything under node/. Code depends on
 * //node/world; the daemon links //node/world:real, the simulator //tests/lib:world_sim, where the same node runs
 * on one thread, from a seed.
 *
 * How code runs. Work is done by *tasks* on *lanes*. A lane is a queue served by its own workers; with
 * one worker its tasks run one at a time, in the order of submission. A task may block: on a lock, on an event, in
 * the store. The one rule that keeps it free of deadlock: a task waits only for what *other* lanes do, and lanes
 * form an order (service and peer -> commit). Threads that are not ours (gRPC's) may call everything here too.
 *
 * In the simulator every task has a stack of its own and one runs at a time: a task that waits, or is about to
 * take a lock, may let another one go on; which one, the seed decides. Nothing else moves between two calls into
 * this header, time only when the test says so (world_sim_advance), timers fire in order of time. If every task
 * waits for another one the simulator says so and stops: that is a deadlock in production too.
 *
 * What is allocated here is small and fixed: running out of memory ends the process. */
#pragma once

#include <stddef.h>

#include "proto/base/bytes.h"
#include "proto/base/err.h"

struct world;
struct world_lane;
struct world_lock;
struct world_event;

typedef void (*world_task_fn)(void *arg);
typedef void (*world_random_fn)(void *arg, uint8_t *out, size_t len);
typedef void (*world_fatal_fn)(void *arg, const struct err *why);

struct world_options {
    world_random_fn random;  /* must: fills `out` or ends the process; proto/crypto's */
    void *random_arg;
    world_fatal_fn fatal;    /* may: writes the last log line */
    void *fatal_arg;
    uint32_t clock_error_ms; /* how far the wall clock may be off (t_lo); 0: 2,000 */
};

/* world_open fails with ERR_UNAVAILABLE when the system gives no thread. */
NODISCARD bool world_open(const struct world_options *options, struct world **out, struct err *err);

/* world_close: every lane, lock and event is closed before. Timers not yet due are dropped. NULL is fine. */
void world_close(struct world *world);

/* world_fatal ends the process after a storage error or a broken invariant: nothing is retried, nothing more is
 * acknowledged. (In the simulator: ends this node as a crash does, and the task that called never goes on.) */
_Noreturn void world_fatal(struct world *world, const struct err *why);

/* ---- Chance --------------------------------------------------------------------------------------------- */

void world_random(struct world *world, uint8_t *out, size_t len);
struct id world_random_id(struct world *world);
uint64_t world_random_u64(struct world *world);

/* ---- Time ----------------------------------------------------------------------------------------------- */

/* world_now_ms: Unix time, as the machine believes it. May jump. For display, periods, certificates. */
uint64_t world_now_ms(struct world *world);

/* world_time_text writes Unix time as RFC 3339 in UTC, "2026-03-01T08:15:30.123Z". Returns `out`. */
enum { WORLD_TIME_TEXT = 32 };
char *world_time_text(uint64_t ms, char out[WORLD_TIME_TEXT]);

/* world_mono_ms, world_mono_us: time that only goes forward, from an unknown start. For deadlines and measures. */
uint64_t world_mono_ms(struct world *world);
uint64_t world_mono_us(struct world *world);

/* The hybrid logical clock: 48-bit Unix ms || 16-bit counter. Orders; decides nothing (formats.md 1). */
enum { WORLD_HLC_AHEAD_MS = 5 * 60 * 1000 };

static inline uint64_t hlc_ms(uint64_t hlc)
{
    return hlc >> 16;
}

/* world_hlc returns a stamp greater than any returned, seen or restored before. */
uint64_t world_hlc(struct world *world);

/* world_hlc_see moves the clock past a peer's stamp. ERR_RANGE: it is over 5 minutes ahead of ours, and the clock
 * is left alone (whoever sent it is quarantined, others' clocks are safe). */
NODISCARD bool world_hlc_see(struct world *world, uint64_t remote, struct err *err);

/* world_hlc_restore at start: the highest stamp in the store. Believed without a bound. */
void world_hlc_restore(struct world *world, uint64_t persisted);

/* The security clock (design 5): a permit needs all of [lo, hi] inside its period, a deny any of it.
 * lo = wall clock - clock_error_ms; hi = the highest of wall clock, own stamps and witnesses' time, so that a
 * clock set back revives nothing. */
struct world_interval {
    uint64_t lo_ms, hi_ms;
};

struct world_interval world_security_clock(struct world *world);

/* world_witnessed: a cosignature that verified carries this time (not over 5 minutes ahead, else ignored). */
void world_witnessed(struct world *world, uint64_t ms);

/* ---- Lanes and tasks ------------------------------------------------------------------------------------ */

/* world_lane_open begins a lane of `workers` (>= 1). `name` is a literal of up to 15 bytes, for threads and
 * traces. ERR_UNAVAILABLE: no thread. */
NODISCARD bool world_lane_open(struct world *world, const char *name, unsigned workers, struct world_lane **out,
                               struct err *err);

/* world_lane_close runs what is queued, waits for what runs, and frees. Not from a task of the lane. Nothing
 * may be submitted from its beginning on, except by its own tasks. NULL is fine. */
void world_lane_close(struct world_lane *lane);

/* world_submit queues a task: never blocks, never fails. Bound your queues: look at world_lane_queued before you
 * take work from outside. `arg` is the caller's and lives until the task has run. */
void world_submit(struct world_lane *lane, world_task_fn fn, void *arg);
size_t world_lane_queued(struct world_lane *lane);

/* ---- Timers --------------------------------------------------------------------------------------------- */

/* world_timer_start submits the task to the lane after `delay_ms`, once. Returns the timer's id, never 0. */
uint64_t world_timer_start(struct world_lane *lane, uint64_t delay_ms, world_task_fn fn, void *arg);

/* world_timer_stop returns true if the task will now never run; false if it was submitted already (or the id is 0
 * or old): then it has run, runs, or will. Stop a lane's timers before you close it. */
bool world_timer_stop(struct world *world, uint64_t timer);

/* ---- Locks and events ----------------------------------------------------------------------------------- */

/* A lock is taken by one task at a time, and not twice by the same. Hold none over a commit, a send or a
 * world_event_wait that is not its own, unless the order of locks is written down where it is made. */
struct world_lock *world_lock_new(struct world *world);
void world_lock_free(struct world_lock *lock);
void world_lock_take(struct world_lock *lock);
void world_lock_give(struct world_lock *lock);

static inline void world_lock_give_scope(struct world_lock **lock)
{
    world_lock_give(*lock);
}

static inline struct world_lock *world_lock_taken(struct world_lock *lock)
{
    world_lock_take(lock);
    return lock;
}

/* AUTO_LOCKED(name, lock): takes the lock until the scope ends. */
#define AUTO_LOCKED(name, lock_)                                                                                  \
    __attribute__((cleanup(world_lock_give_scope), unused)) struct world_lock *name = world_lock_taken(lock_)

/* An event is where tasks wait for a change of what `lock` guards:
 *
 *     world_lock_take(lock);
 *     while (!what_i_wait_for) world_event_wait(event, lock);
 *     ...
 *     world_lock_give(lock);
 *
 * Whoever makes the change holds the lock, and then or after giving it calls world_event_signal, which wakes
 * everyone who waits. Always in a loop: a wait may end early. */
struct world_event *world_event_new(struct world *world);
void world_event_free(struct world_event *event);
void world_event_wait(struct world_event *event, struct world_lock *lock);

/* world_event_wait_until also ends when world_mono_ms reaches `mono_ms`; it returns false then.
 * world_event_wait_until_us is the same for world_mono_us (the simulator's time goes by whole milliseconds). */
bool world_event_wait_until(struct world_event *event, struct world_lock *lock, uint64_t mono_ms);
bool world_event_wait_until_us(struct world_event *event, struct world_lock *lock, uint64_t mono_us);
void world_event_signal(struct world_event *event);
