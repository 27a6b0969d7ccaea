#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/world/world.h"
#include "tests/lib/test.h"
#include "tests/lib/world_contract.h"

static void random_bytes(void *arg, uint8_t *out, size_t len)
{
    (void)arg;
    if (getentropy(out, len) != 0) {
        abort();
    }
}

static struct world *make(void)
{
    struct err err;
    struct world *world = NULL;
    assert_ok(world_open(&(struct world_options){.random = random_bytes}, &world, &err));
    return world;
}

static void test_world_real__needs_randomness(void **state)
{
    (void)state;
    struct err err;
    struct world *world = NULL;
    assert_err(ERR_INVALID, world_open(&(struct world_options){0}, &world, &err));
    world_close(world);
}

static void say(void *arg, const struct err *why)
{
    int *out = arg;
    if (write(*out, why->text, strlen(why->text)) < 0) {
        abort();
    }
}

static void test_world_real__fatal_says_why_and_ends_the_process(void **state)
{
    (void)state;
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct err err;
        struct world *world = NULL;
        struct world_options options = {.random = random_bytes, .fatal = say, .fatal_arg = &ends[1]};
        if (!world_open(&options, &world, &err)) {
            _exit(1);
        }
        err_raise(&err, ERR_UNAVAILABLE, "disk full");
        world_fatal(world, &err);
    }
    close(ends[1]);
    char text[32] = "";
    assert_int_equal(read(ends[0], text, sizeof text - 1), 9);
    assert_string_equal(text, "disk full");
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 70);
    close(ends[0]);
}

int main(void)
{
    const struct world_place place = {make, world_close};
    int failed = world_contract_run("the real world: the contract", &place);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_world_real__needs_randomness),
        cmocka_unit_test(test_world_real__fatal_says_why_and_ends_the_process),
    };
    return failed + cmocka_run_group_tests_name("the real world", tests, NULL, NULL);
}
