#include "node/metrics/text.h"

#include "tests/lib/exposition.h"
#include "tests/lib/test.h"

enum { ARENA = 8 << 20 };

static struct exposition *read_back(const struct builder *text, struct arena *arena)
{
    struct err err;
    struct exposition *out = NULL;
    assert_true(text->ok);
    assert_ok(exposition_read(builder_view(text), arena, &out, &err));
    return out;
}

static void test_metrics__counters_gauges_and_histograms_are_what_prometheus_reads(void **state)
{
    AUTO_ARENA(arena, ARENA);
    AUTO_BUILDER(out, 1 << 16);
    struct metrics_text text = {.out = &out};
    const uint64_t bounds[] = {100, 1000, 2500000}, counts[] = {3, 0, 2, 1};
    (void)state;
    metrics_family(&text, "x_calls_total", METRICS_COUNTER, "Calls.");
    metrics_u64(&text, LABELS({"method", "/a/B"}, {"code", "OK"}), UINT64_C(18446744073709551615));
    metrics_u64(&text, LABELS({"method", "/a/B"}, {"code", "UNAVAILABLE"}), 0);
    metrics_family(&text, "x_age_seconds", METRICS_GAUGE, "Age.");
    metrics_real(&text, NO_LABELS, 1.5);
    metrics_family(&text, "x_took_seconds", METRICS_HISTOGRAM, "How long.");
    const struct metrics_histogram took = {
        .bounds = bounds, .counts = counts, .bounds_len = 3, .sum = 5000000, .unit = 1e6};
    metrics_histogram(&text, LABELS({"lane", "work"}), &took);
    metrics_histogram(&text, LABELS({"lane", "bulk"}), &took);
    struct exposition *e = read_back(&out, &arena);
    assert_int_equal(exposition_families(e), 3);
    assert_string_equal(exposition_family(e, 2), "x_took_seconds");
    assert_true(exposition_value(e, "x_calls_total{method=\"/a/B\",code=\"UNAVAILABLE\"}") == 0);
    assert_true(exposition_value(e, "x_age_seconds") == 1.5);
    assert_true(exposition_value(e, "x_took_seconds_bucket{lane=\"work\",le=\"0.0001\"}") == 3);
    assert_true(exposition_value(e, "x_took_seconds_bucket{lane=\"work\",le=\"2.5\"}") == 5);
    assert_true(exposition_value(e, "x_took_seconds_bucket{lane=\"bulk\",le=\"+Inf\"}") == 6);
    assert_true(exposition_value(e, "x_took_seconds_sum{lane=\"work\"}") == 5);
    assert_true(exposition_value(e, "x_took_seconds_count{lane=\"work\"}") == 6);
}

static void test_metrics__labels_are_escaped(void **state)
{
    AUTO_ARENA(arena, ARENA);
    AUTO_BUILDER(out, 1 << 16);
    struct metrics_text text = {.out = &out};
    (void)state;
    metrics_family(&text, "x", METRICS_GAUGE, "X.");
    metrics_u64(&text, LABELS({"a", "say \"no\"\\\n\"} 9\nx 7"}), 1);
    metrics_u64(&text, LABELS({"a", "\x01\x7f"}), 2);
    metrics_u64(&text, LABELS({"a", "\xff\xfe."}), 3);
    metrics_u64(&text, LABELS({"a", "Zürich"}), 4);
    struct exposition *e = read_back(&out, &arena);
    assert_true(exposition_value(e, "x{a=\"say \\\"no\\\"\\\\\\n\\\"} 9\\nx 7\"}") == 1);
    assert_true(exposition_value(e, "x{a=\"??\"}") == 2);
    assert_true(exposition_value(e, "x{a=\"??.\"}") == 3);
    assert_true(exposition_value(e, "x{a=\"Zürich\"}") == 4);
}

/* The reader is strict: each of these has one fault. */
static void test_metrics__the_reader_refuses_what_is_not_the_format(void **state)
{
    static const char *const bad[] = {
        "x 1\n",
        "# HELP x X.\nx 1\n",
        "# HELP x X.\n# TYPE x gauge\nx 1",
        "# HELP x X.\n# TYPE x gauge\ny 1\n",
        "# HELP x X.\n# TYPE x gauge\nx 1\nx 2\n",
        "# HELP x X.\n# TYPE x counter\nx 1\n",
        "# HELP x_total X.\n# TYPE x_total gauge\nx_total 1\n",
        "# HELP x X.\n# TYPE x gauge\nx{a=\"b} 1\n",
        "# HELP x X.\n# TYPE x gauge\nx{a=\"\\q\"} 1\n",
        "# HELP x X.\n# TYPE x gauge\nx one\n",
        "# HELP x X.\n# TYPE x gauge\n# HELP x X.\n# TYPE x gauge\n",
        "# HELP x X.\n# TYPE x histogram\nx_bucket{le=\"1\"} 2\nx_bucket{le=\"+Inf\"} 1\nx_sum 1\nx_count 1\n",
        "# HELP x X.\n# TYPE x histogram\nx_bucket{le=\"1\"} 2\nx_sum 1\nx_count 2\n",
        "# HELP x X.\n# TYPE x histogram\nx_bucket{le=\"+Inf\"} 2\nx_sum 1\nx_count 3\n",
        "# comment\n",
    };
    AUTO_ARENA(arena, 32 << 20);
    struct exposition *out;
    struct err err;
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (exposition_read(bytes_str(bad[i]), &arena, &out, &err)) {
            fail_msg("taken: %s", bad[i]);
        }
        assert_int_equal(err.code, ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics__counters_gauges_and_histograms_are_what_prometheus_reads),
        cmocka_unit_test(test_metrics__labels_are_escaped),
        cmocka_unit_test(test_metrics__the_reader_refuses_what_is_not_the_format),
    };
    return cmocka_run_group_tests_name("metrics_text", tests, NULL, NULL);
}
