#include "tests/lib/world_sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "node/world/clock.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
enum { SANITIZED = 1, STACK_SIZE = 1 << 20 };
#else
enum { SANITIZED = 0, STACK_SIZE = 256 << 10 };
#endif

enum { STEPS_MAX = 20000000, YIELD_ONE_IN = 8 };

static const uint64_t START_MS = 1767225600000;     /* 2026-01-01T00:00:00Z */

struct task {
    struct task *next;
    world_task_fn fn;
    void *arg;
};

/* A task that has begun: its stack, and what it waits for. */
struct fiber {
    struct fiber *next;
    struct world_lane *lane;
    struct task task;
    ucontext_t context;
    void *stack, *fake_stack;
    const void *waits_for;           /* NULL: can go on */
    bool timed_out, ended;
};

struct timer {
    struct timer *next;              /* by due time, then id */
    uint64_t id, due_ms;
    struct world_lane *lane;         /* a task for a lane, or the end of a fiber's wait */
    struct task *task;
    struct fiber *fiber;
};

struct world_sim {
    uint64_t chance, mono_ms, ids;
    struct world *worlds;
    struct timer *timers;
    struct fiber *fibers, *spare, *current;
    ucontext_t driver;
    void *driver_fake;
    const void *driver_stack;
    size_t driver_stack_size;
};

struct world {
    struct world *next;
    struct world_sim *sim;
    struct clock clock;
    int64_t skew_ms;
    uint64_t chance;
    struct world_lane *lanes;
    bool killed;
    struct err why;
};

struct world_lane {
    struct world_lane *next;
    struct world *world;
    const char *name;
    unsigned workers, running;
    struct task *first, **last;
    size_t queued;
};

struct world_lock {
    struct world *world;
    const void *holder;              /* the fiber, or the sim for the driver */
};

struct world_event {
    struct world *world;
    uint64_t signals;
};

PRINTF_LIKE(1, 2) _Noreturn static void broken(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("simulated world: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

static void *must_alloc(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory) {
        broken("no memory");
    }
    return memory;
}

/* splitmix64 */
static uint64_t draw(uint64_t *chance)
{
    uint64_t z = *chance += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* ---- Fibers --------------------------------------------------------------------------------------------- */

static struct world_sim *entering;           /* for fiber_main, which gets no pointer */

static void leave(struct world_sim *sim, struct fiber *fiber)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(fiber->ended ? NULL : &fiber->fake_stack, sim->driver_stack,
                                   sim->driver_stack_size);
#endif
    swapcontext(&fiber->context, &sim->driver);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fiber->fake_stack, &sim->driver_stack, &sim->driver_stack_size);
#endif
}

static void fiber_main(void)
{
    struct world_sim *sim = entering;
    struct fiber *fiber = sim->current;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(NULL, &sim->driver_stack, &sim->driver_stack_size);
#endif
    fiber->task.fn(fiber->task.arg);
    fiber->ended = true;
    leave(sim, fiber);
    broken("an ended task went on");
}

static struct fiber *fiber_new(struct world_sim *sim)
{
    struct fiber *fiber = sim->spare;
    if (fiber) {
        sim->spare = fiber->next;
        return fiber;
    }
    fiber = must_alloc(sizeof *fiber);
    fiber->stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (fiber->stack == MAP_FAILED) {
        broken("no memory for a stack");
    }
    return fiber;
}

/* volatile: to the compiler getcontext may return twice. */
static void context_begin(struct fiber *volatile fiber)
{
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK_SIZE;
    fiber->context.uc_link = NULL;
    makecontext(&fiber->context, fiber_main, 0);
}

static struct fiber *fiber_begin(struct world_lane *lane)
{
    struct world_sim *sim = lane->world->sim;
    struct task *task = lane->first;
    struct fiber *fiber = fiber_new(sim);
    void *stack = fiber->stack;
    *fiber = (struct fiber){.next = sim->fibers, .lane = lane, .task = *task, .stack = stack};
    sim->fibers = fiber;
    lane->first = task->next;
    lane->last = lane->first ? lane->last : &lane->first;
    lane->queued--;
    lane->running++;
    free(task);
    context_begin(fiber);
    return fiber;
}

static void fiber_remove(struct world_sim *sim, struct fiber *fiber)
{
    struct fiber **place = &sim->fibers;
    while (*place != fiber) {
        place = &(*place)->next;
    }
    *place = fiber->next;
    fiber->lane->running--;
}

/* A dead task's stack may hold the only pointers to its memory: a leak checker is to know them. */
static void fiber_abandon(struct world_sim *sim, struct fiber *fiber)
{
    fiber_remove(sim, fiber);
#ifdef __SANITIZE_ADDRESS__
    __lsan_register_root_region(fiber->stack, STACK_SIZE);
    __lsan_register_root_region(&fiber->context, sizeof fiber->context);
    __lsan_ignore_object(fiber);
#else
    fiber->next = sim->spare;
    sim->spare = fiber;
#endif
}

static void wake(struct world_sim *sim, const void *what)
{
    for (struct fiber *fiber = sim->fibers; fiber; fiber = fiber->next) {
        fiber->waits_for = fiber->waits_for == what ? NULL : fiber->waits_for;
    }
}

static void fiber_run(struct world_sim *sim, struct fiber *fiber)
{
    struct world_lane *lane = fiber->lane;
    sim->current = fiber;
    entering = sim;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&sim->driver_fake, fiber->stack, STACK_SIZE);
#endif
    swapcontext(&sim->driver, &fiber->context);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(sim->driver_fake, NULL, NULL);
#endif
    sim->current = NULL;
    if (fiber->ended) {
        fiber_remove(sim, fiber);
        fiber->next = sim->spare;
        sim->spare = fiber;
        wake(sim, lane);
    } else if (lane->world->killed) {
        fiber_abandon(sim, fiber);
    }
}

/* ---- Timers and steps ----------------------------------------------------------------------------------- */

static uint64_t timer_add(struct world_sim *sim, struct timer fresh)
{
    struct timer *timer = must_alloc(sizeof *timer), **place = &sim->timers;
    *timer = fresh;
    timer->id = ++sim->ids;
    while (*place && (*place)->due_ms <= timer->due_ms) {
        place = &(*place)->next;
    }
    timer->next = *place;
    *place = timer;
    return timer->id;
}

/* Takes the timer with that id out; NULL if it fired. */
static struct timer *timer_take(struct world_sim *sim, uint64_t id)
{
    struct timer **place = &sim->timers;
    while (*place && (*place)->id != id) {
        place = &(*place)->next;
    }
    struct timer *timer = *place;
    if (timer) {
        *place = timer->next;
    }
    return timer;
}

static void timer_free(struct timer *timer)
{
    if (timer) {
        free(timer->task);
        free(timer);
    }
}

static void lane_push(struct world_lane *lane, struct task *task)
{
    *lane->last = task;
    lane->last = &task->next;
    lane->queued++;
}

static void fire_due(struct world_sim *sim)
{
    while (sim->timers && sim->timers->due_ms <= sim->mono_ms) {
        struct timer *timer = timer_take(sim, sim->timers->id);
        if (timer->fiber) {
            timer->fiber->timed_out = true;
            timer->fiber->waits_for = NULL;
        } else {
            lane_push(timer->lane, timer->task);
            timer->task = NULL;
        }
        timer_free(timer);
    }
}

/* What can go on now: begun tasks, then lanes with a free worker. Returns how many; sets the `pick`th. */
static size_t runnable(struct world_sim *sim, size_t pick, struct fiber **fiber, struct world_lane **lane)
{
    size_t count = 0;
    for (struct fiber *each = sim->fibers; each; each = each->next) {
        if (!each->waits_for && count++ == pick) {
            *fiber = each;
        }
    }
    for (struct world *world = sim->worlds; world; world = world->next) {
        for (struct world_lane *each = world->lanes; each; each = each->next) {
            if (each->first && each->running < each->workers && count++ == pick) {
                *lane = each;
            }
        }
    }
    return count;
}

bool world_sim_step(struct world_sim *sim)
{
    if (sim->current) {
        broken("a task steps the simulator");
    }
    struct fiber *fiber = NULL;
    struct world_lane *lane = NULL;
    fire_due(sim);
    size_t count = runnable(sim, SIZE_MAX, &fiber, &lane);
    if (count == 0) {
        return false;
    }
    runnable(sim, world_sim_choose(sim, count), &fiber, &lane);
    fiber_run(sim, fiber ? fiber : fiber_begin(lane));
    return true;
}

void world_sim_run(struct world_sim *sim)
{
    for (size_t steps = 0; world_sim_step(sim); steps++) {
        if (steps == STEPS_MAX) {
            broken("tasks run on and on while time stands still");
        }
    }
}

uint64_t world_sim_next_ms(struct world_sim *sim)
{
    return !sim->timers ? UINT64_MAX : sim->timers->due_ms - MIN(sim->timers->due_ms, sim->mono_ms);
}

void world_sim_advance(struct world_sim *sim, uint64_t ms)
{
    uint64_t target = sim->mono_ms + ms;
    world_sim_run(sim);
    while (world_sim_next_ms(sim) <= target - sim->mono_ms) {
        sim->mono_ms += world_sim_next_ms(sim);
        world_sim_run(sim);
    }
    sim->mono_ms = target;
}

/* The driver waits: one thing happens, or time passes to the next. `until_ms` is its own time limit. */
static void driver_pump(struct world_sim *sim, const char *what, uint64_t until_ms)
{
    if (world_sim_step(sim)) {
        return;
    }
    uint64_t next_ms = world_sim_next_ms(sim);
    if (next_ms == UINT64_MAX && until_ms == UINT64_MAX) {
        broken("deadlock: the test waits for %s, and every task waits for another", what);
    }
    sim->mono_ms = MIN(next_ms == UINT64_MAX ? UINT64_MAX : sim->mono_ms + next_ms, until_ms);
}

/* The running task waits for `what`; false if `until_ms` came first. */
static bool fiber_wait(struct world_sim *sim, const void *what, uint64_t until_ms)
{
    struct fiber *fiber = sim->current;
    fiber->waits_for = what;
    fiber->timed_out = false;
    uint64_t timer =
        until_ms == UINT64_MAX ? 0 : timer_add(sim, (struct timer){.due_ms = until_ms, .fiber = fiber});
    leave(sim, fiber);
    timer_free(timer_take(sim, timer));
    return !fiber->timed_out;
}

static void yield(struct world_sim *sim)
{
    sim->current->waits_for = NULL;
    leave(sim, sim->current);
}

/* ---- The simulator -------------------------------------------------------------------------------------- */

struct world_sim *world_sim_new(uint64_t seed)
{
    struct world_sim *sim = must_alloc(sizeof *sim);
    sim->chance = seed;
    sim->mono_ms = 1000;
    return sim;
}

void world_sim_free(struct world_sim *sim)
{
    if (!sim) {
        return;
    }
    while (sim->worlds) {
        world_sim_kill(sim->worlds);
        while (sim->worlds->lanes) {
            world_lane_close(sim->worlds->lanes);
        }
        world_close(sim->worlds);
    }
    for (struct fiber *fiber = sim->spare, *next; fiber; fiber = next) {
        next = fiber->next;
        munmap(fiber->stack, STACK_SIZE);
        free(fiber);
    }
    free(sim);
}

struct world *world_sim_world(struct world_sim *sim, int64_t skew_ms)
{
    struct world *world = must_alloc(sizeof *world), **last = &sim->worlds;
    *world = (struct world){.sim = sim, .skew_ms = skew_ms, .chance = draw(&sim->chance)};
    clock_init(&world->clock, 0);
    while (*last) {
        last = &(*last)->next;
    }
    *last = world;
    return world;
}

uint64_t world_sim_mono_ms(struct world_sim *sim)
{
    return sim->mono_ms;
}

uint64_t world_sim_choose(struct world_sim *sim, uint64_t bound)
{
    return draw(&sim->chance) % bound;
}

void world_sim_set_skew(struct world *world, int64_t skew_ms)
{
    world->skew_ms = skew_ms;
}

static void drop_timers(struct world *world)
{
    for (struct timer **place = &world->sim->timers; *place;) {
        struct timer *timer = *place;
        struct world_lane *lane = timer->fiber ? timer->fiber->lane : timer->lane;
        if (lane->world == world) {
            *place = timer->next;
            timer_free(timer);
        } else {
            place = &timer->next;
        }
    }
}

static void drop_tasks(struct world_lane *lane)
{
    for (struct task *task = lane->first, *next; task; task = next) {
        next = task->next;
        free(task);
    }
    lane->first = NULL;
    lane->last = &lane->first;
    lane->queued = 0;
}

void world_sim_kill(struct world *world)
{
    struct world_sim *sim = world->sim;
    struct fiber *self = sim->current && sim->current->lane->world == world ? sim->current : NULL;
    world->killed = true;
    drop_timers(world);
    for (struct world_lane *lane = world->lanes; lane; lane = lane->next) {
        drop_tasks(lane);
    }
    for (struct fiber *fiber = sim->fibers, *next; fiber; fiber = next) {
        next = fiber->next;
        if (fiber->lane->world == world && fiber != self) {
            fiber_abandon(sim, fiber);
        }
    }
    if (self) {
        leave(sim, self);
    }
}

bool world_sim_killed(const struct world *world, struct err *why)
{
    if (world->killed && why) {
        *why = world->why;
    }
    return world->killed;
}

/* ---- world.h -------------------------------------------------------------------------------------------- */

void world_close(struct world *world)
{
    if (!world) {
        return;
    }
    if (world->lanes) {
        broken("lane %s is open when its world closes", world->lanes->name);
    }
    struct world **place = &world->sim->worlds;
    while (*place != world) {
        place = &(*place)->next;
    }
    *place = world->next;
    free(world);
}

void world_fatal(struct world *world, const struct err *why)
{
    if (!world->sim->current) {
        broken("fatal outside of any task: %s", why->text);
    }
    world->why = *why;
    world_sim_kill(world);
    broken("a killed task went on");
}

void world_random(struct world *world, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)draw(&world->chance);
    }
}

uint64_t world_now_ms(struct world *world)
{
    return START_MS + world->sim->mono_ms + (uint64_t)world->skew_ms;
}

uint64_t world_mono_ms(struct world *world)
{
    return world->sim->mono_ms;
}

uint64_t world_mono_us(struct world *world)
{
    return world->sim->mono_ms * 1000;
}

uint64_t world_hlc(struct world *world)
{
    return clock_hlc(&world->clock, world_now_ms(world));
}

bool world_hlc_see(struct world *world, uint64_t remote, struct err *err)
{
    return clock_see(&world->clock, world_now_ms(world), remote, err);
}

void world_hlc_restore(struct world *world, uint64_t persisted)
{
    clock_restore(&world->clock, persisted);
}

void world_witnessed(struct world *world, uint64_t ms)
{
    clock_witnessed(&world->clock, world_now_ms(world), ms);
}

struct world_interval world_security_clock(struct world *world)
{
    return clock_interval(&world->clock, world_now_ms(world));
}

bool world_lane_open(struct world *world, const char *name, unsigned workers, struct world_lane **out,
                     struct err *err)
{
    (void)err;
    struct world_lane *lane = must_alloc(sizeof *lane), **last = &world->lanes;
    *lane = (struct world_lane){.world = world, .name = name, .workers = workers, .last = &lane->first};
    while (*last) {
        last = &(*last)->next;
    }
    *last = lane;
    *out = lane;
    return true;
}

void world_lane_close(struct world_lane *lane)
{
    if (!lane) {
        return;
    }
    struct world_sim *sim = lane->world->sim;
    if (sim->current && sim->current->lane == lane) {
        broken("lane %s is closed by its own task", lane->name);
    }
    while (!lane->world->killed && (lane->first || lane->running)) {
        if (sim->current) {
            fiber_wait(sim, lane, UINT64_MAX);
        } else {
            driver_pump(sim, lane->name, UINT64_MAX);
        }
    }
    struct world_lane **place = &lane->world->lanes;
    while (*place != lane) {
        place = &(*place)->next;
    }
    *place = lane->next;
    free(lane);
}

static struct task *task_new(world_task_fn fn, void *arg)
{
    struct task *task = must_alloc(sizeof *task);
    *task = (struct task){.fn = fn, .arg = arg};
    return task;
}

void world_submit(struct world_lane *lane, world_task_fn fn, void *arg)
{
    if (!lane->world->killed) {
        lane_push(lane, task_new(fn, arg));
    }
}

size_t world_lane_queued(struct world_lane *lane)
{
    return lane->queued;
}

uint64_t world_timer_start(struct world_lane *lane, uint64_t delay_ms, world_task_fn fn, void *arg)
{
    struct world_sim *sim = lane->world->sim;
    if (lane->world->killed) {
        return ++sim->ids;
    }
    return timer_add(sim,
                     (struct timer){.due_ms = sim->mono_ms + delay_ms, .lane = lane, .task = task_new(fn, arg)});
}

bool world_timer_stop(struct world *world, uint64_t id)
{
    struct timer *timer = timer_take(world->sim, id);
    timer_free(timer);
    return timer != NULL;
}

struct world_lock *world_lock_new(struct world *world)
{
    struct world_lock *lock = must_alloc(sizeof *lock);
    lock->world = world;
    return lock;
}

void world_lock_free(struct world_lock *lock)
{
    if (lock && lock->holder && !lock->world->killed) {
        broken("a held lock is freed");
    }
    free(lock);
}

static const void *self_of(const struct world_sim *sim)
{
    return sim->current ? (const void *)sim->current : sim;
}

void world_lock_take(struct world_lock *lock)
{
    struct world_sim *sim = lock->world->sim;
    if (lock->world->killed) {
        return;
    }
    if (lock->holder == self_of(sim)) {
        broken("a lock is taken twice by the same task");
    }
    if (sim->current && world_sim_choose(sim, YIELD_ONE_IN) == 0) {
        yield(sim);
    }
    while (lock->holder && !lock->world->killed) {
        if (sim->current) {
            fiber_wait(sim, lock, UINT64_MAX);
        } else {
            driver_pump(sim, "a lock", UINT64_MAX);
        }
    }
    lock->holder = self_of(sim);
}

void world_lock_give(struct world_lock *lock)
{
    struct world_sim *sim = lock->world->sim;
    if (lock->world->killed) {
        return;
    }
    if (lock->holder != self_of(sim)) {
        broken("a lock is given back by a task that does not hold it");
    }
    lock->holder = NULL;
    wake(sim, lock);
}

struct world_event *world_event_new(struct world *world)
{
    struct world_event *event = must_alloc(sizeof *event);
    event->world = world;
    return event;
}

void world_event_free(struct world_event *event)
{
    free(event);
}

void world_event_signal(struct world_event *event)
{
    event->signals++;
    wake(event->world->sim, event);
}

static bool driver_wait(struct world_event *event, uint64_t until_ms)
{
    struct world_sim *sim = event->world->sim;
    uint64_t before = event->signals;
    while (event->signals == before && !event->world->killed && sim->mono_ms < until_ms) {
        driver_pump(sim, "an event", until_ms);
    }
    return event->signals != before || event->world->killed;
}

bool world_event_wait_until(struct world_event *event, struct world_lock *lock, uint64_t mono_ms)
{
    struct world_sim *sim = event->world->sim;
    world_lock_give(lock);
    bool signalled = sim->current ? fiber_wait(sim, event, mono_ms) : driver_wait(event, mono_ms);
    world_lock_take(lock);
    return signalled;
}

bool world_event_wait_until_us(struct world_event *event, struct world_lock *lock, uint64_t mono_us)
{
    return world_event_wait_until(event, lock, mono_us / 1000 + (mono_us % 1000 > 0));
}

void world_event_wait(struct world_event *event, struct world_lock *lock)
{
    (void)world_event_wait_until(event, lock, UINT64_MAX);
}
