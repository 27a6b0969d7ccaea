#include "node/server/quotas.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "tests/lib/test.h"
#include "tests/lib/world_sim.h"

#define REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name

struct fixture {
    struct world_sim *sim;
    struct world *world;
    struct quotas *quotas;
};

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->sim = world_sim_new(1);
    f->world = world_sim_world(f->sim, 0);
    f->quotas = quotas_new(f->world);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    quotas_free(f->quotas);
    world_close(f->world);
    world_sim_free(f->sim);
    free(f);
    return 0;
}

static void test_quotas__without_one_nothing_is_refused(void **state)
{
    struct fixture *f = *state;
    const struct config_quota open = {.pattern = "app/*"};
    const struct config_quota *none[] = {NULL, &open};
    struct err err;
    for (size_t i = 0; i < COUNT(none); i++) {
        for (int n = 0; n < 1000; n++) {
            assert_ok(quotas_call(f->quotas, none[i], "a", &err));
            assert_ok(quotas_enter(f->quotas, none[i], "a", &err));
            assert_ok(quotas_write(f->quotas, none[i], "a", &err));
            quotas_bytes(f->quotas, none[i], "a", 1 << 30);
        }
    }
    assert_int_equal(quotas_refused(f->quotas), 0);
}

static void test_quotas__calls_come_back_with_time_and_each_principal_has_its_own(void **state)
{
    struct fixture *f = *state;
    const struct config_quota five = {.pattern = "app/*", .calls_per_s = 5};
    struct err err;
    for (int n = 0; n < 5; n++) {
        assert_ok(quotas_call(f->quotas, &five, "a", &err));
    }
    assert_err(ERR_TOO_MUCH, quotas_call(f->quotas, &five, "a", &err));
    assert_int_equal(err.reason, REASON(OVERLOADED));
    assert_non_null(strstr(err.text, "calls_per_s = 5"));
    assert_ok(quotas_call(f->quotas, &five, "b", &err));
    world_sim_advance(f->sim, 199);
    assert_err(ERR_TOO_MUCH, quotas_call(f->quotas, &five, "a", &err));
    world_sim_advance(f->sim, 1);
    assert_ok(quotas_call(f->quotas, &five, "a", &err));
    assert_err(ERR_TOO_MUCH, quotas_call(f->quotas, &five, "a", &err));
    world_sim_advance(f->sim, 3600 * 1000);      /* a long rest gives a second's worth, not an hour's */
    for (int n = 0; n < 5; n++) {
        assert_ok(quotas_call(f->quotas, &five, "a", &err));
    }
    assert_err(ERR_TOO_MUCH, quotas_call(f->quotas, &five, "a", &err));
    assert_int_equal(quotas_refused(f->quotas), 4);
}

static void test_quotas__who_took_too_many_bytes_pays_back_first(void **state)
{
    struct fixture *f = *state;
    const struct config_quota slow = {.pattern = "app/*", .kib_per_s = 100};
    struct err err;
    assert_ok(quotas_call(f->quotas, &slow, "a", &err));
    quotas_bytes(f->quotas, &slow, "a", 300 * 1024);     /* a second's worth was there: two are owed */
    assert_err(ERR_TOO_MUCH, quotas_call(f->quotas, &slow, "a", &err));
    world_sim_advance(f->sim, 1999);
    assert_err(ERR_TOO_MUCH, quotas_call(f->quotas, &slow, "a", &err));
    world_sim_advance(f->sim, 1);
    assert_ok(quotas_call(f->quotas, &slow, "a", &err));
}

static void test_quotas__so_many_at_once_and_one_more_when_one_ends(void **state)
{
    struct fixture *f = *state;
    const struct config_quota two = {.pattern = "app/*", .calls_at_once = 2};
    struct err err;
    assert_ok(quotas_enter(f->quotas, &two, "a", &err));
    assert_ok(quotas_enter(f->quotas, &two, "a", &err));
    assert_err(ERR_TOO_MUCH, quotas_enter(f->quotas, &two, "a", &err));
    assert_ok(quotas_enter(f->quotas, &two, "b", &err));
    quotas_leave(f->quotas, &two, "a");
    assert_ok(quotas_enter(f->quotas, &two, "a", &err));
    assert_err(ERR_TOO_MUCH, quotas_enter(f->quotas, &two, "a", &err));
}

static void test_quotas__documents_are_counted_by_day(void **state)
{
    struct fixture *f = *state;
    const struct config_quota three = {.pattern = "app/*", .documents_per_day = 3};
    struct err err;
    for (int n = 0; n < 3; n++) {
        assert_ok(quotas_write(f->quotas, &three, "a", &err));
    }
    assert_err(ERR_TOO_MUCH, quotas_write(f->quotas, &three, "a", &err));
    assert_int_equal(err.reason, REASON(QUOTA_SPENT));
    assert_ok(quotas_write(f->quotas, &three, "b", &err));
    world_sim_advance(f->sim, 24 * 3600 * 1000);
    assert_ok(quotas_write(f->quotas, &three, "a", &err));
}

static void test_quotas__names_without_end_take_bounded_memory(void **state)
{
    struct fixture *f = *state;
    const struct config_quota five = {.pattern = "app/*", .calls_per_s = 5};
    struct err err;
    char name[32];
    bool refused = false;
    for (int n = 0; n < 10000 && !refused; n++) {
        snprintf(name, sizeof name, "app-%d", n);
        refused = !quotas_call(f->quotas, &five, name, &err);
    }
    assert_true(refused);
    world_sim_advance(f->sim, 61 * 1000);        /* those that rest make room */
    assert_ok(quotas_call(f->quotas, &five, name, &err));
}

int main(void)
{
#define RULE(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        RULE(test_quotas__without_one_nothing_is_refused),
        RULE(test_quotas__calls_come_back_with_time_and_each_principal_has_its_own),
        RULE(test_quotas__who_took_too_many_bytes_pays_back_first),
        RULE(test_quotas__so_many_at_once_and_one_more_when_one_ends),
        RULE(test_quotas__documents_are_counted_by_day),
        RULE(test_quotas__names_without_end_take_bounded_memory),
    };
    return cmocka_run_group_tests_name("quotas", tests, NULL, NULL);
}
