/* The world as it is: POSIX threads and clocks. The only file under node/ that includes them. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/world/clock.h"
#include "node/world/world.h"

enum { EXIT_FATAL = 70 };                    /* sysexits.h: EX_SOFTWARE */

struct task {
    struct task *next;
    world_task_fn fn;
    void *arg;
};

struct timer {
    struct timer *next;                      /* by due time, then id */
    uint64_t id, due_ms;
    struct world_lane *lane;
    struct task *task;
};

struct world {
    struct world_options options;
    pthread_mutex_t lock;                    /* guards all below */
    struct clock clock;
    struct timer *timers;
    uint64_t timer_ids;
    bool closing;
    pthread_cond_t timer_change;
    pthread_t timer_thread;
};

struct world_lane {
    struct world *world;
    char name[16];
    pthread_mutex_t lock;                    /* guards all below */
    pthread_cond_t change;
    struct task *first, **last;
    size_t queued;
    bool closing;
    unsigned workers;
    pthread_t threads[];
};

struct world_lock {
    pthread_mutex_t mutex;
};

struct world_event {
    pthread_cond_t cond;
};

static void *must_alloc(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory) {
        abort();
    }
    return memory;
}

/* pthread calls fail only if this file is wrong. */
static void must(int result)
{
    if (result != 0) {
        abort();
    }
}

static uint64_t clock_us(clockid_t which)
{
    struct timespec now;
    must(clock_gettime(which, &now));
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static struct timespec timespec_of_us(uint64_t us)
{
    return (struct timespec){.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
}

static void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    must(pthread_condattr_init(&attr));
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    must(pthread_cond_init(cond, &attr));
    must(pthread_condattr_destroy(&attr));
}

/* ---- Lanes ---------------------------------------------------------------------------------------------- */

static struct task *task_new(world_task_fn fn, void *arg)
{
    struct task *task = must_alloc(sizeof *task);
    *task = (struct task){.fn = fn, .arg = arg};
    return task;
}

static void push(struct world_lane *lane, struct task *task)
{
    must(pthread_mutex_lock(&lane->lock));
    *lane->last = task;
    lane->last = &task->next;
    lane->queued++;
    must(pthread_cond_signal(&lane->change));
    must(pthread_mutex_unlock(&lane->lock));
}

/* The next task, waiting for one; NULL when the lane closes and nothing is left. */
static struct task *pop(struct world_lane *lane)
{
    must(pthread_mutex_lock(&lane->lock));
    while (!lane->first && !lane->closing) {
        must(pthread_cond_wait(&lane->change, &lane->lock));
    }
    struct task *task = lane->first;
    if (task) {
        lane->first = task->next;
        lane->last = lane->first ? lane->last : &lane->first;
        lane->queued--;
    }
    must(pthread_mutex_unlock(&lane->lock));
    return task;
}

static void *work(void *arg)
{
    struct world_lane *lane = arg;
    pthread_setname_np(pthread_self(), lane->name);
    for (struct task *task; (task = pop(lane));) {
        task->fn(task->arg);
        free(task);
    }
    return NULL;
}

static void join_workers(struct world_lane *lane)
{
    must(pthread_mutex_lock(&lane->lock));
    lane->closing = true;
    must(pthread_cond_broadcast(&lane->change));
    must(pthread_mutex_unlock(&lane->lock));
    for (unsigned i = 0; i < lane->workers; i++) {
        must(pthread_join(lane->threads[i], NULL));
    }
}

bool world_lane_open(struct world *world, const char *name, unsigned workers, struct world_lane **out,
                     struct err *err)
{
    struct world_lane *lane = must_alloc(sizeof *lane + workers * sizeof *lane->threads);
    lane->world = world;
    snprintf(lane->name, sizeof lane->name, "%s", name);
    must(pthread_mutex_init(&lane->lock, NULL));
    cond_init(&lane->change);
    lane->last = &lane->first;
    while (lane->workers < workers) {
        int result = pthread_create(&lane->threads[lane->workers], NULL, work, lane);
        if (result != 0) {
            world_lane_close(lane);
            return err_raise(err, ERR_UNAVAILABLE, "world: no thread for lane %s: %s", name, strerror(result));
        }
        lane->workers++;
    }
    *out = lane;
    return true;
}

void world_lane_close(struct world_lane *lane)
{
    if (lane) {
        join_workers(lane);
        must(pthread_cond_destroy(&lane->change));
        must(pthread_mutex_destroy(&lane->lock));
        free(lane);
    }
}

void world_submit(struct world_lane *lane, world_task_fn fn, void *arg)
{
    push(lane, task_new(fn, arg));
}

size_t world_lane_queued(struct world_lane *lane)
{
    must(pthread_mutex_lock(&lane->lock));
    size_t queued = lane->queued;
    must(pthread_mutex_unlock(&lane->lock));
    return queued;
}

/* ---- Timers --------------------------------------------------------------------------------------------- */

uint64_t world_timer_start(struct world_lane *lane, uint64_t delay_ms, world_task_fn fn, void *arg)
{
    struct world *world = lane->world;
    struct timer *timer = must_alloc(sizeof *timer);
    *timer = (struct timer){.lane = lane, .due_ms = world_mono_ms(world) + delay_ms, .task = task_new(fn, arg)};
    must(pthread_mutex_lock(&world->lock));
    uint64_t id = timer->id = ++world->timer_ids;
    struct timer **place = &world->timers;
    while (*place && (*place)->due_ms <= timer->due_ms) {
        place = &(*place)->next;
    }
    timer->next = *place;
    *place = timer;
    must(pthread_cond_signal(&world->timer_change));
    must(pthread_mutex_unlock(&world->lock));
    return id;
}

static void timer_free(struct timer *timer)
{
    free(timer->task);
    free(timer);
}

bool world_timer_stop(struct world *world, uint64_t id)
{
    must(pthread_mutex_lock(&world->lock));
    struct timer **place = &world->timers;
    while (*place && (*place)->id != id) {
        place = &(*place)->next;
    }
    struct timer *timer = *place;
    if (timer) {
        *place = timer->next;
    }
    must(pthread_mutex_unlock(&world->lock));
    if (timer) {
        timer_free(timer);
    }
    return timer != NULL;
}

/* Submits what is due under the world's lock: once world_timer_stop says false the task is in its lane. */
static void *keep_time(void *arg)
{
    struct world *world = arg;
    pthread_setname_np(pthread_self(), "timers");
    must(pthread_mutex_lock(&world->lock));
    while (!world->closing) {
        struct timer *timer = world->timers;
        if (!timer) {
            must(pthread_cond_wait(&world->timer_change, &world->lock));
        } else if (timer->due_ms > world_mono_ms(world)) {
            struct timespec until = timespec_of_us(timer->due_ms * 1000);
            int result = pthread_cond_timedwait(&world->timer_change, &world->lock, &until);
            must(result == ETIMEDOUT ? 0 : result);
        } else {
            world->timers = timer->next;
            push(timer->lane, timer->task);
            free(timer);
        }
    }
    must(pthread_mutex_unlock(&world->lock));
    return NULL;
}

/* ---- The world ------------------------------------------------------------------------------------------ */

bool world_open(const struct world_options *options, struct world **out, struct err *err)
{
    if (!options->random) {
        return err_raise(err, ERR_INVALID, "world: without randomness");
    }
    struct world *world = must_alloc(sizeof *world);
    world->options = *options;
    clock_init(&world->clock, options->clock_error_ms);
    must(pthread_mutex_init(&world->lock, NULL));
    cond_init(&world->timer_change);
    int result = pthread_create(&world->timer_thread, NULL, keep_time, world);
    if (result != 0) {
        free(world);
        return err_raise(err, ERR_UNAVAILABLE, "world: no thread for timers: %s", strerror(result));
    }
    *out = world;
    return true;
}

void world_close(struct world *world)
{
    if (!world) {
        return;
    }
    must(pthread_mutex_lock(&world->lock));
    world->closing = true;
    must(pthread_cond_signal(&world->timer_change));
    must(pthread_mutex_unlock(&world->lock));
    must(pthread_join(world->timer_thread, NULL));
    for (struct timer *timer = world->timers, *next; timer; timer = next) {
        next = timer->next;
        timer_free(timer);
    }
    must(pthread_cond_destroy(&world->timer_change));
    must(pthread_mutex_destroy(&world->lock));
    free(world);
}

void world_fatal(struct world *world, const struct err *why)
{
    if (world->options.fatal) {
        world->options.fatal(world->options.fatal_arg, why);
    }
    _Exit(EXIT_FATAL);
}

void world_random(struct world *world, uint8_t *out, size_t len)
{
    world->options.random(world->options.random_arg, out, len);
}

/* ---- Time ----------------------------------------------------------------------------------------------- */

uint64_t world_now_ms(struct world *world)
{
    (void)world;
    return clock_us(CLOCK_REALTIME) / 1000;
}

uint64_t world_mono_us(struct world *world)
{
    (void)world;
    return clock_us(CLOCK_MONOTONIC);
}

uint64_t world_mono_ms(struct world *world)
{
    return world_mono_us(world) / 1000;
}

uint64_t world_hlc(struct world *world)
{
    uint64_t now_ms = world_now_ms(world);
    must(pthread_mutex_lock(&world->lock));
    uint64_t stamp = clock_hlc(&world->clock, now_ms);
    must(pthread_mutex_unlock(&world->lock));
    return stamp;
}

bool world_hlc_see(struct world *world, uint64_t remote, struct err *err)
{
    uint64_t now_ms = world_now_ms(world);
    must(pthread_mutex_lock(&world->lock));
    bool ok = clock_see(&world->clock, now_ms, remote, err);
    must(pthread_mutex_unlock(&world->lock));
    return ok;
}

void world_hlc_restore(struct world *world, uint64_t persisted)
{
    must(pthread_mutex_lock(&world->lock));
    clock_restore(&world->clock, persisted);
    must(pthread_mutex_unlock(&world->lock));
}

void world_witnessed(struct world *world, uint64_t ms)
{
    uint64_t now_ms = world_now_ms(world);
    must(pthread_mutex_lock(&world->lock));
    clock_witnessed(&world->clock, now_ms, ms);
    must(pthread_mutex_unlock(&world->lock));
}

struct world_interval world_security_clock(struct world *world)
{
    uint64_t now_ms = world_now_ms(world);
    must(pthread_mutex_lock(&world->lock));
    struct world_interval interval = clock_interval(&world->clock, now_ms);
    must(pthread_mutex_unlock(&world->lock));
    return interval;
}

/* ---- Locks and events ----------------------------------------------------------------------------------- */

struct world_lock *world_lock_new(struct world *world)
{
    (void)world;
    struct world_lock *lock = must_alloc(sizeof *lock);
    pthread_mutexattr_t attr;
    must(pthread_mutexattr_init(&attr));
    must(pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK));
    must(pthread_mutex_init(&lock->mutex, &attr));
    must(pthread_mutexattr_destroy(&attr));
    return lock;
}

void world_lock_free(struct world_lock *lock)
{
    if (lock) {
        must(pthread_mutex_destroy(&lock->mutex));
        free(lock);
    }
}

void world_lock_take(struct world_lock *lock)
{
    must(pthread_mutex_lock(&lock->mutex));
}

void world_lock_give(struct world_lock *lock)
{
    must(pthread_mutex_unlock(&lock->mutex));
}

struct world_event *world_event_new(struct world *world)
{
    (void)world;
    struct world_event *event = must_alloc(sizeof *event);
    cond_init(&event->cond);
    return event;
}

void world_event_free(struct world_event *event)
{
    if (event) {
        must(pthread_cond_destroy(&event->cond));
        free(event);
    }
}

void world_event_wait(struct world_event *event, struct world_lock *lock)
{
    must(pthread_cond_wait(&event->cond, &lock->mutex));
}

bool world_event_wait_until(struct world_event *event, struct world_lock *lock, uint64_t mono_ms)
{
    return world_event_wait_until_us(event, lock, mono_ms > UINT64_MAX / 1000 ? UINT64_MAX : mono_ms * 1000);
}

bool world_event_wait_until_us(struct world_event *event, struct world_lock *lock, uint64_t mono_us)
{
    struct timespec until = timespec_of_us(mono_us);
    int result = pthread_cond_timedwait(&event->cond, &lock->mutex, &until);
    must(result == ETIMEDOUT ? 0 : result);
    return result == 0;
}

void world_event_signal(struct world_event *event)
{
    must(pthread_cond_broadcast(&event->cond));
}
