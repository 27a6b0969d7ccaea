#include "tests/lib/world_sim.h"

#include <stdlib.h>

#include "tests/lib/test.h"
#include "tests/lib/world_contract.h"

static struct world_sim *room;

static struct world *make(void)
{
    static uint64_t seed = 1;
    room = world_sim_new(seed++);
    return world_sim_world(room, 0);
}

static void clear(struct world *world)
{
    world_close(world);
    world_sim_free(room);
}

struct story {
    struct world *world;
    struct world_lock *lock;
    struct world_event *event;
    int count, told, turns[64];
    bool go, freed;
};

static struct story *story_new(struct world_sim *sim)
{
    struct story *story = calloc(1, sizeof *story);
    story->world = world_sim_world(sim, 0);
    story->lock = world_lock_new(story->world);
    story->event = world_event_new(story->world);
    return story;
}

static void story_free(struct story *story)
{
    world_event_free(story->event);
    world_lock_free(story->lock);
    world_close(story->world);
    free(story);
}

struct part {
    struct story *story;
    int number;
};

static void take_turns(void *arg)
{
    struct part *part = arg;
    for (int i = 0; i < 4; i++) {
        AUTO_LOCKED(held, part->story->lock);
        part->story->turns[part->story->told++] = part->number;
    }
}

static void run_story(uint64_t seed, int *turns, uint64_t *random)
{
    struct err err;
    struct world_sim *sim = world_sim_new(seed);
    struct story *story = story_new(sim);
    struct world_lane *lane = NULL;
    struct part parts[16];
    assert_ok(world_lane_open(story->world, "parts", 4, &lane, &err));
    for (int i = 0; i < 16; i++) {
        parts[i] = (struct part){story, i};
        world_submit(lane, take_turns, &parts[i]);
    }
    world_sim_run(sim);
    assert_int_equal(story->told, 64);
    memcpy(turns, story->turns, sizeof story->turns);
    *random = world_random_u64(story->world);
    world_lane_close(lane);
    story_free(story);
    world_sim_free(sim);
}

static void test_world_sim__a_seed_is_a_run(void **state)
{
    (void)state;
    int first[64], again[64], other[64];
    uint64_t random[3];
    run_story(7, first, &random[0]);
    run_story(7, again, &random[1]);
    run_story(8, other, &random[2]);
    assert_memory_equal(first, again, sizeof first);
    assert_true(random[0] == random[1]);
    assert_memory_not_equal(first, other, sizeof first);
    assert_true(random[0] != random[2]);
}

static void count_up(void *arg)
{
    struct story *story = arg;
    story->count++;
}

static void test_world_sim__time_moves_only_when_told(void **state)
{
    (void)state;
    struct err err;
    struct world_sim *sim = world_sim_new(1);
    struct story *story = story_new(sim);
    struct world_lane *lane = NULL;
    assert_ok(world_lane_open(story->world, "lane", 1, &lane, &err));
    uint64_t begun = world_now_ms(story->world);
    world_timer_start(lane, 100, count_up, story);
    world_sim_run(sim);
    assert_int_equal(world_now_ms(story->world), begun);
    assert_int_equal(world_sim_next_ms(sim), 100);
    world_sim_advance(sim, 99);
    assert_int_equal(story->count, 0);
    world_sim_advance(sim, 1);
    assert_int_equal(story->count, 1);
    world_sim_set_skew(story->world, -3600000);
    assert_int_equal(world_now_ms(story->world), begun + 100 - 3600000);
    world_lane_close(lane);
    story_free(story);
    world_sim_free(sim);
}

static void wait_to_go(void *arg)
{
    struct story *story = arg;
    uint8_t *memory = malloc(100);
    AUTO_LOCKED(held, story->lock);
    while (!story->go) {
        memory[0]++;
        world_event_wait(story->event, story->lock);
    }
    story->count++;
    free(memory);
}

static void fail_for_good(void *arg)
{
    struct story *story = arg;
    struct err err;
    err_raise(&err, ERR_UNAVAILABLE, "disk full");
    world_fatal(story->world, &err);
}

static void test_world_sim__a_killed_node_does_nothing_more(void **state)
{
    (void)state;
    struct err err;
    struct world_sim *sim = world_sim_new(3);
    struct story *dead = story_new(sim), *alive = story_new(sim);
    struct world_lane *lane = NULL, *other = NULL;
    assert_ok(world_lane_open(dead->world, "lane", 2, &lane, &err));
    assert_ok(world_lane_open(alive->world, "lane", 2, &other, &err));
    world_submit(lane, wait_to_go, dead);
    world_submit(other, wait_to_go, alive);
    world_timer_start(lane, 10, count_up, dead);
    world_sim_run(sim);
    assert_false(world_sim_killed(dead->world, &err));
    world_sim_kill(dead->world);
    assert_true(world_sim_killed(dead->world, NULL));
    dead->go = alive->go = true;
    world_event_signal(dead->event);
    world_event_signal(alive->event);
    world_submit(lane, count_up, dead);
    world_sim_advance(sim, 100);
    assert_int_equal(dead->count, 0);
    assert_int_equal(alive->count, 1);
    world_lane_close(lane);
    world_lane_close(other);
    story_free(dead);
    story_free(alive);
    world_sim_free(sim);
}

static void test_world_sim__fatal_ends_the_node_and_says_why(void **state)
{
    (void)state;
    struct err err;
    struct world_sim *sim = world_sim_new(4);
    struct story *story = story_new(sim);
    struct world_lane *lane = NULL;
    assert_ok(world_lane_open(story->world, "lane", 1, &lane, &err));
    world_submit(lane, fail_for_good, story);
    world_submit(lane, count_up, story);
    world_sim_run(sim);
    assert_true(world_sim_killed(story->world, &err));
    assert_string_equal(err.text, "disk full");
    assert_int_equal(story->count, 0);
    world_lane_close(lane);
    story_free(story);
    world_sim_free(sim);
}

int main(void)
{
    const struct world_place place = {make, clear};
    int failed = world_contract_run("the simulated world: the contract", &place);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_world_sim__a_seed_is_a_run),
        cmocka_unit_test(test_world_sim__time_moves_only_when_told),
        cmocka_unit_test(test_world_sim__a_killed_node_does_nothing_more),
        cmocka_unit_test(test_world_sim__fatal_ends_the_node_and_says_why),
    };
    return failed + cmocka_run_group_tests_name("the simulated world", tests, NULL, NULL);
}
