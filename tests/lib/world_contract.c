#include "tests/lib/world_contract.h"

#include <stdlib.h>

#include "tests/lib/test.h"

static const struct world_place *place;

enum { TASKS = 200 };

/* What the tests' tasks share; everything behind `lock`. */
struct bench {
    struct world *world;
    struct world_lane *one, *many;   /* lanes of 1 and of 4 workers */
    struct world_lock *lock;
    struct world_event *event;
    int count, order[TASKS];
    bool inside, overlapped, flag;
};

static int setup(void **state)
{
    struct err err;
    struct bench *b = calloc(1, sizeof *b);
    b->world = place->make();
    assert_ok(world_lane_open(b->world, "one", 1, &b->one, &err));
    assert_ok(world_lane_open(b->world, "many", 4, &b->many, &err));
    b->lock = world_lock_new(b->world);
    b->event = world_event_new(b->world);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    world_lane_close(b->many);
    world_lane_close(b->one);
    world_event_free(b->event);
    world_lock_free(b->lock);
    place->clear(b->world);
    free(b);
    return 0;
}

static void wait_for_count(struct bench *b, int count)
{
    AUTO_LOCKED(held, b->lock);
    while (b->count < count) {
        world_event_wait(b->event, b->lock);
    }
}

struct numbered {
    struct bench *bench;
    int number;
};

static void note_order(void *arg)
{
    struct numbered *task = arg;
    struct bench *b = task->bench;
    AUTO_LOCKED(held, b->lock);
    b->order[b->count++] = task->number;
    world_event_signal(b->event);
}

static void test_world__a_lane_of_one_runs_tasks_in_order(void **state)
{
    struct bench *b = *state;
    static struct numbered tasks[TASKS];
    for (int i = 0; i < TASKS; i++) {
        tasks[i] = (struct numbered){b, i};
        world_submit(b->one, note_order, &tasks[i]);
    }
    wait_for_count(b, TASKS);
    for (int i = 0; i < TASKS; i++) {
        assert_int_equal(b->order[i], i);
    }
    assert_int_equal(world_lane_queued(b->one), 0);
}

static void alone(void *arg)
{
    struct bench *b = arg;
    AUTO_LOCKED(held, b->lock);
    b->overlapped = b->overlapped || b->inside;
    b->inside = true;
    (void)world_random_u64(b->world);
    b->inside = false;
    b->count++;
    world_event_signal(b->event);
}

static void test_world__a_lock_keeps_tasks_apart(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < TASKS; i++) {
        world_submit(b->many, alone, b);
    }
    wait_for_count(b, TASKS);
    assert_false(b->overlapped);
}

static void wait_for_flag(void *arg)
{
    struct bench *b = arg;
    AUTO_LOCKED(held, b->lock);
    while (!b->flag) {
        world_event_wait(b->event, b->lock);
    }
    b->count++;
    world_event_signal(b->event);
}

static void raise_flag(void *arg)
{
    struct bench *b = arg;
    AUTO_LOCKED(held, b->lock);
    b->flag = true;
    world_event_signal(b->event);
}

static void test_world__a_signal_wakes_everyone_who_waits(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 4; i++) {
        world_submit(b->many, wait_for_flag, b);
    }
    world_submit(b->one, raise_flag, b);
    wait_for_count(b, 4);
}

static void test_world__a_wait_ends_at_its_time(void **state)
{
    struct bench *b = *state;
    uint64_t begun = world_mono_ms(b->world);
    AUTO_LOCKED(held, b->lock);
    while (world_event_wait_until(b->event, b->lock, begun + 20)) {
    }
    assert_true(world_mono_ms(b->world) >= begun + 20);
    assert_false(world_event_wait_until(b->event, b->lock, begun));
    uint64_t begun_us = world_mono_us(b->world);
    while (world_event_wait_until_us(b->event, b->lock, begun_us + 1500)) {
    }
    assert_true(world_mono_us(b->world) >= begun_us + 1500);
}

static void wait_a_little(void *arg)
{
    struct bench *b = arg;
    AUTO_LOCKED(held, b->lock);
    while (world_event_wait_until(b->event, b->lock, world_mono_ms(b->world) + 5)) {
    }
    b->count++;
    world_event_signal(b->event);
}

static void test_world__a_task_may_wait_for_time(void **state)
{
    struct bench *b = *state;
    world_submit(b->one, wait_a_little, b);
    wait_for_count(b, 1);
}

static void test_world__timers_fire_once_and_in_order(void **state)
{
    struct bench *b = *state;
    static struct numbered tasks[3];
    const uint64_t delays[] = {30, 1, 15};
    uint64_t begun = world_mono_ms(b->world);
    for (int i = 0; i < 3; i++) {
        tasks[i] = (struct numbered){b, i};
        assert_true(world_timer_start(b->one, delays[i], note_order, &tasks[i]) != 0);
    }
    wait_for_count(b, 3);
    assert_true(world_mono_ms(b->world) >= begun + 30);
    assert_int_equal(b->order[0], 1);
    assert_int_equal(b->order[1], 2);
    assert_int_equal(b->order[2], 0);
}

static void test_world__a_stopped_timer_never_fires(void **state)
{
    struct bench *b = *state;
    static struct numbered tasks[2];
    tasks[0] = (struct numbered){b, 0};
    tasks[1] = (struct numbered){b, 1};
    uint64_t stopped = world_timer_start(b->one, 5, note_order, &tasks[0]);
    uint64_t fires = world_timer_start(b->one, 20, note_order, &tasks[1]);
    assert_true(world_timer_stop(b->world, stopped));
    assert_false(world_timer_stop(b->world, stopped));
    assert_false(world_timer_stop(b->world, 0));
    wait_for_count(b, 1);
    assert_int_equal(b->order[0], 1);
    assert_false(world_timer_stop(b->world, fires));
}

static void submit_another(void *arg)
{
    struct bench *b = arg;
    world_submit(b->many, alone, b);
    world_submit(b->one, alone, b);
}

static void test_world__closing_a_lane_runs_what_is_queued(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 10; i++) {
        world_submit(b->one, submit_another, b);
    }
    world_lane_close(b->one);
    b->one = NULL;
    world_lane_close(b->many);
    b->many = NULL;
    assert_int_equal(b->count, 20);
}

static void test_world__stamps_increase_and_chance_varies(void **state)
{
    struct bench *b = *state;
    struct err err;
    uint64_t last = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t stamp = world_hlc(b->world);
        assert_true(stamp > last);
        last = stamp;
    }
    uint64_t now_ms = world_now_ms(b->world);
    assert_ok(world_hlc_see(b->world, (now_ms + 60000) << 16, &err));
    assert_true(hlc_ms(world_hlc(b->world)) >= now_ms + 60000);
    assert_err(ERR_RANGE, world_hlc_see(b->world, (now_ms + 3600000) << 16, &err));
    struct world_interval interval = world_security_clock(b->world);
    assert_true(interval.lo_ms < interval.hi_ms && interval.hi_ms >= now_ms + 60000);
    struct id first = world_random_id(b->world), second = world_random_id(b->world);
    assert_false(id_equal(&first, &second));
}

int world_contract_run(const char *name, const struct world_place *use)
{
    place = use;
#define RULE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        RULE(test_world__a_lane_of_one_runs_tasks_in_order), RULE(test_world__a_lock_keeps_tasks_apart),
        RULE(test_world__a_signal_wakes_everyone_who_waits), RULE(test_world__a_wait_ends_at_its_time),
        RULE(test_world__a_task_may_wait_for_time),          RULE(test_world__timers_fire_once_and_in_order),
        RULE(test_world__a_stopped_timer_never_fires),       RULE(test_world__closing_a_lane_runs_what_is_queued),
        RULE(test_world__stamps_increase_and_chance_varies),
    };
#undef RULE
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
