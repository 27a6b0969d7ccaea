#include <stdio.h>

#include "node/store/store_mem.h"

#include "tests/lib/store_contract.h"
#include "tests/lib/test.h"

static void make(struct store_options *out)
{
    *out = (struct store_options){.disk = store_disk_new()};
}

static void clear(struct store_options *options)
{
    store_disk_free(options->disk);
}

static const struct store_place PLACE = {make, clear};

static void test_store_mem__a_crash_keeps_what_was_committed(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    store_fixture_put(f, FAMILY_META, "k", "kept");
    store_disk_crash(f->options.disk);
    bool has;
    assert_err(ERR_UNAVAILABLE, store_has(f->store, NULL, FAMILY_META, BYTES_LIT("k"), &has, &err));
    store_put(f->batch, FAMILY_META, BYTES_LIT("k"), BYTES_LIT("dead"));
    assert_err(ERR_UNAVAILABLE, store_commit(f->store, f->batch, &err));
    store_fixture_reopen(f);
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "kept");
}

static void test_store_mem__a_dead_store_does_not_stand_in_the_way(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    struct store *dead = f->store;
    store_disk_crash(f->options.disk);
    assert_ok(store_open(&f->options, &f->store, &err));
    store_close(dead);
    struct store *second = NULL;
    assert_err(ERR_STATE, store_open(&f->options, &second, &err));
    store_fixture_put(f, FAMILY_META, "k", "1");
}

static void test_store_mem__a_disk_that_lies_loses_commits(void **state)
{
    struct store_fixture *f = *state;
    store_fixture_put(f, FAMILY_META, "k", "old");
    store_disk_hold(f->options.disk, true);
    store_fixture_put(f, FAMILY_META, "k", "new");
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "new");
    store_disk_crash(f->options.disk);
    store_fixture_reopen(f);
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "old");
    store_fixture_put(f, FAMILY_META, "k", "newer");
    store_disk_hold(f->options.disk, false);
    store_disk_crash(f->options.disk);
    store_fixture_reopen(f);
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "newer");
}

struct power {
    struct store_fixture *f;
    enum store_disk_sync answer;
    char seen[8];            /* what a reader sees while the commit is under way */
};

static enum store_disk_sync on_sync(void *arg)
{
    struct power *power = arg;
    snprintf(power->seen, sizeof power->seen, "%s", store_fixture_value(power->f, NULL, FAMILY_META, "k"));
    return power->answer;
}

static void test_store_mem__a_power_cut_in_a_commit_leaves_all_or_nothing(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    struct power power = {.f = f, .answer = DISK_SYNCED};
    store_disk_on_sync(f->options.disk, on_sync, &power);
    store_fixture_put(f, FAMILY_META, "k", "one");
    assert_string_equal(power.seen, "-");

    store_batch_reset(f->batch);
    store_put(f->batch, FAMILY_META, BYTES_LIT("k"), BYTES_LIT("two"));
    store_put(f->batch, FAMILY_KEY, BYTES_LIT("k"), BYTES_LIT("two"));
    power.answer = DISK_LOST;
    assert_err(ERR_UNAVAILABLE, store_commit(f->store, f->batch, &err));
    assert_string_equal(power.seen, "one");
    store_fixture_reopen(f);
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "one");
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_KEY, "k"), "-");

    power.answer = DISK_KEPT;
    assert_err(ERR_UNAVAILABLE, store_commit(f->store, f->batch, &err));
    store_fixture_reopen(f);
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "two");
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_KEY, "k"), "two");
}

static void test_store_mem__a_clone_goes_its_own_way(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    store_fixture_put(f, FAMILY_META, "k", "old");
    struct store_options backup = {.disk = store_disk_clone(f->options.disk)};
    store_fixture_put(f, FAMILY_META, "k", "new");
    struct store_options live = f->options;
    store_close(f->store);
    f->store = NULL;
    f->options = backup;
    assert_ok(store_open(&f->options, &f->store, &err));
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "old");
    store_disk_free(live.disk);
}

static void test_store_mem__needs_a_disk(void **state)
{
    (void)state;
    struct err err;
    struct store *store = NULL;
    assert_err(ERR_INVALID, store_open(&(struct store_options){.folder = "x"}, &store, &err));
}

int main(void)
{
    int failed = store_contract_run("store in memory: the contract", &PLACE);
#define RULE(test) cmocka_unit_test_setup_teardown(test, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        RULE(test_store_mem__a_crash_keeps_what_was_committed),
        RULE(test_store_mem__a_dead_store_does_not_stand_in_the_way),
        RULE(test_store_mem__a_disk_that_lies_loses_commits),
        RULE(test_store_mem__a_power_cut_in_a_commit_leaves_all_or_nothing),
        RULE(test_store_mem__a_clone_goes_its_own_way),
        cmocka_unit_test(test_store_mem__needs_a_disk),
    };
    return failed + cmocka_run_group_tests_name("store in memory", tests, NULL, NULL);
}
