#include "node/world/clock.h"

#include "tests/lib/test.h"

static const uint64_t NOW_MS = 1767225600000;

static void test_clock__stamps_increase_though_time_stands_or_goes_back(void **state)
{
    (void)state;
    struct clock clock;
    clock_init(&clock, 0);
    uint64_t first = clock_hlc(&clock, NOW_MS);
    assert_int_equal(hlc_ms(first), NOW_MS);
    assert_true(clock_hlc(&clock, NOW_MS) == first + 1);
    assert_true(clock_hlc(&clock, NOW_MS - 10000) == first + 2);
    clock_restore(&clock, first - 1);
    assert_true(clock_hlc(&clock, NOW_MS) == first + 3);
    clock_restore(&clock, first | 0xffff);
    assert_int_equal(hlc_ms(clock_hlc(&clock, NOW_MS)), NOW_MS + 1);
}

static void test_clock__a_stamp_far_ahead_moves_nothing(void **state)
{
    (void)state;
    struct err err;
    struct clock clock;
    clock_init(&clock, 0);
    uint64_t edge = (NOW_MS + WORLD_HLC_AHEAD_MS) << 16;
    assert_err(ERR_RANGE, clock_see(&clock, NOW_MS, edge + (1 << 16), &err));
    assert_int_equal(hlc_ms(clock_hlc(&clock, NOW_MS)), NOW_MS);
    assert_ok(clock_see(&clock, NOW_MS, edge, &err));
    assert_true(clock_hlc(&clock, NOW_MS) == edge + 1);
    assert_ok(clock_see(&clock, NOW_MS, 5, &err));
    assert_true(clock_hlc(&clock, NOW_MS) == edge + 2);
}

static void test_clock__set_back_revives_nothing(void **state)
{
    (void)state;
    struct clock clock;
    clock_init(&clock, 500);
    struct world_interval interval = clock_interval(&clock, NOW_MS);
    assert_int_equal(interval.lo_ms, NOW_MS - 500);
    assert_int_equal(interval.hi_ms, NOW_MS);
    (void)clock_hlc(&clock, NOW_MS);
    interval = clock_interval(&clock, NOW_MS - 3600000);
    assert_int_equal(interval.lo_ms, NOW_MS - 3600000 - 500);
    assert_int_equal(interval.hi_ms, NOW_MS);
    clock_witnessed(&clock, NOW_MS, NOW_MS + 1000);
    assert_int_equal(clock_interval(&clock, NOW_MS - 3600000).hi_ms, NOW_MS + 1000);
    clock_witnessed(&clock, NOW_MS, NOW_MS + 3600000);
    assert_int_equal(clock_interval(&clock, NOW_MS).hi_ms, NOW_MS + 1000);
    assert_int_equal(clock_interval(&clock, 100).lo_ms, 0);
}

static void test_clock__time_in_words_is_rfc_3339_in_utc(void **state)
{
    (void)state;
    char text[WORLD_TIME_TEXT];
    assert_string_equal(world_time_text(0, text), "1970-01-01T00:00:00.000Z");
    assert_string_equal(world_time_text(UINT64_C(1772352930123), text), "2026-03-01T08:15:30.123Z");
    assert_string_equal(world_time_text(UINT64_MAX, text), "0000-00-00T00:00:00.615Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock__stamps_increase_though_time_stands_or_goes_back),
        cmocka_unit_test(test_clock__a_stamp_far_ahead_moves_nothing),
        cmocka_unit_test(test_clock__set_back_revives_nothing),
        cmocka_unit_test(test_clock__time_in_words_is_rfc_3339_in_utc),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
