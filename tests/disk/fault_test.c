/* The disk says no: it is full, or cannot sync. The daemon ends, acknowledges nothing more, says why in its last
 * line, and has at its next start what it acknowledged before. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/disk/trace.h"
#include "tests/disk/work.h"

enum { STORE_FAILED = 70, REFUSED = 1 };

static const char *chartmeshd, *disk_so;

struct fixture {
    struct nodes *nodes;
    struct chartmesh *emr, *auditor;
    struct id patient;
    struct ack kept[2];          /* a document and a checkpoint from before the fault */
    char fault[300];
};

static void start(struct fixture *f)
{
    setenv("LD_PRELOAD", disk_so, 1);
    setenv(DISK_ROOT, f->nodes->list[0].folder, 1);
    setenv(DISK_FAULT, f->fault, 1);
    nodes_start(f->nodes, 0);
    unsetenv("LD_PRELOAD");
}

static void write_text(const char *path, const char *mode, const char *text)
{
    FILE *file = fopen(path, mode);
    assert_true(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err;
    char config[300];
    assert_non_null(f);
    f->nodes = nodes_new(chartmeshd, 1);
    snprintf(f->fault, sizeof f->fault, "%s/fault", f->nodes->folder);
    snprintf(config, sizeof config, "%s/chartmeshd.conf", f->nodes->list[0].folder);
    write_text(config, "a", "\nlimits { store_memory_mib = 8 }\n");      /* tables are written soon */
    start(f);
    f->emr = nodes_open(f->nodes, 0, CLIENT_APP, "emr");
    f->auditor = nodes_open(f->nodes, 0, CLIENT_AUDITOR, "miller");
    assert_ok(work_register(f->emr, &f->patient, &err));
    assert_ok(work_put(f->emr, &f->patient, 5000, &f->kept[0], &err));
    assert_ok(work_checkpoint(f->auditor, &f->kept[1], &err));
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    chartmesh_close(f->emr);
    chartmesh_close(f->auditor);
    nodes_free(f->nodes);
    free(f);
    return 0;
}

/* What a supervisor and an operator see of a store that failed. */
static void ends_and_says(struct fixture *f, const char *why)
{
    assert_int_equal(nodes_ended(f->nodes, 0), STORE_FAILED);
    const char *log = nodes_text(f->nodes, 0, "log"), *last = strstr(log, "\"event\":\"fatal\"");
    if (!last || !strstr(last, "state FAILED") || !strstr(last, why) || strchr(last, '\n')[1] != '\0') {
        fail_msg("the last line is not of a failure for %s: %s", why, last ? last : log);
    }
}

/* After the fault: what was acknowledged is there, the log goes on from the checkpoint that was given out, and the
 * node works. */
static void starts_again_whole(struct fixture *f)
{
    struct err err;
    struct ack ack;
    unlink(f->fault);
    start(f);
    assert_ok(work_get(f->emr, &f->kept[0], &err));
    assert_ok(work_put(f->emr, &f->patient, 5000, &ack, &err));
    assert_int_equal(nodes_stop(f->nodes, 0, SIGTERM), 0);
    struct on_disk node;
    char data[300];
    snprintf(data, sizeof data, "%s/data", f->nodes->list[0].folder);
    assert_ok(on_disk_open(&node, f->nodes->list[0].folder, data, &err));
    assert_ok(work_holds(&node, f->kept, COUNT(f->kept), &err));
    assert_ok(work_holds(&node, &ack, 1, &err));
    on_disk_close(&node);
}

/* A write that the disk refuses is not acknowledged. */
static void a_put_fails(struct fixture *f)
{
    struct err err;
    struct ack ack;
    assert_false(work_put(f->emr, &f->patient, 5000, &ack, &err));
}

static void test_fault__attack_61_a_sync_that_fails_is_the_end_and_acknowledges_nothing(void **state)
{
    struct fixture *f = *state;
    write_text(f->fault, "w", "sync 5 .log");
    a_put_fails(f);
    ends_and_says(f, "Input/output error");
    starts_again_whole(f);
}

static void test_fault__a_disk_full_before_a_batch_is_the_end(void **state)
{
    struct fixture *f = *state;
    write_text(f->fault, "w", "write 28 .log");
    a_put_fails(f);
    ends_and_says(f, "No space left on device");
    starts_again_whole(f);
}

static void test_fault__a_disk_full_within_a_batch_is_the_end(void **state)
{
    struct fixture *f = *state;
    write_text(f->fault, "w", "half 28 .log");
    a_put_fails(f);
    ends_and_says(f, "No space left on device");
    starts_again_whole(f);
}

/* Writes until the disk's fault is noticed. */
static void puts_fail_in_the_end(struct fixture *f)
{
    enum { PUTS_MAX = 200 };
    struct err err;
    struct ack ack;
    size_t puts = 0;
    while (puts < PUTS_MAX && work_put(f->emr, &f->patient, 500000, &ack, &err)) {
        puts++;
    }
    assert_in_range(puts, 1, PUTS_MAX - 1);
}

static void test_fault__tables_that_cannot_be_written_are_the_end(void **state)
{
    struct fixture *f = *state;
    write_text(f->fault, "w", "write 28 .sst rocksdb:high");
    puts_fail_in_the_end(f);
    ends_and_says(f, "No space left on device");
    starts_again_whole(f);
}

/* RocksDB itself goes on after this one, and tries again; the node does not. */
static void test_fault__a_compaction_that_fails_is_the_end(void **state)
{
    struct fixture *f = *state;
    write_text(f->fault, "w", "write 28 .sst rocksdb:low");
    puts_fail_in_the_end(f);
    ends_and_says(f, "in the background failed");
    starts_again_whole(f);
}

/* An anchor that cannot be saved is a weaker check at the next start, and no end. */
static void test_fault__an_anchor_that_cannot_be_saved_stops_nobody(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct ack ack;
    write_text(f->fault, "w", "write 28 anchor.new");
    assert_ok(work_put(f->emr, &f->patient, 5000, &ack, &err));
    assert_int_equal(nodes_stop(f->nodes, 0, SIGTERM), 0);
    starts_again_whole(f);
}

static void test_fault__a_disk_that_is_full_at_the_start_is_refused_with_its_reason(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(nodes_stop(f->nodes, 0, SIGKILL), 128 + 9);
    write_text(f->fault, "w", "write 28");
    setenv("LD_PRELOAD", disk_so, 1);
    int code = nodes_refused(f->nodes, 0);
    unsetenv("LD_PRELOAD");
    assert_int_equal(code, REFUSED);
    assert_non_null(strstr(nodes_text(f->nodes, 0, "log"), "No space left on device"));
    starts_again_whole(f);
}

static void start_later(struct fixture *f, const char *seconds)
{
    setenv(DISK_CLOCK, seconds, 1);
    start(f);
    unsetenv(DISK_CLOCK);
}

/* Between two runs the clock is set: a year forward, and back; an hour forward, and back. */
static void test_fault__a_clock_that_jumped_is_told_at_the_start_and_nothing_is_lost(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct ack ack;
    assert_int_equal(nodes_stop(f->nodes, 0, SIGTERM), 0);
    start_later(f, "31536000");
    assert_non_null(strstr(nodes_text(f->nodes, 0, "log"), "days old by this machine's clock"));
    assert_err(ERR_DENIED, work_get(f->emr, &f->kept[0], &err)); /* the application's certificate ended */
    assert_int_equal(nodes_stop(f->nodes, 0, SIGTERM), 0);
    start_later(f, "3600");
    assert_ok(work_get(f->emr, &f->kept[0], &err));
    assert_ok(work_put(f->emr, &f->patient, 5000, &ack, &err));
    assert_int_equal(nodes_stop(f->nodes, 0, SIGTERM), 0);
    start(f);
    assert_non_null(strstr(nodes_text(f->nodes, 0, "log"), "after what this machine's clock says"));
    assert_ok(work_get(f->emr, &ack, &err));
    assert_int_equal(nodes_stop(f->nodes, 0, SIGTERM), 0);
    starts_again_whole(f);
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(test_fault__attack_61_a_sync_that_fails_is_the_end_and_acknowledges_nothing),
        CASE(test_fault__a_disk_full_before_a_batch_is_the_end),
        CASE(test_fault__a_disk_full_within_a_batch_is_the_end),
        CASE(test_fault__tables_that_cannot_be_written_are_the_end),
        CASE(test_fault__a_compaction_that_fails_is_the_end),
        CASE(test_fault__an_anchor_that_cannot_be_saved_stops_nobody),
        CASE(test_fault__a_clock_that_jumped_is_told_at_the_start_and_nothing_is_lost),
        CASE(test_fault__a_disk_that_is_full_at_the_start_is_refused_with_its_reason),
    };
    char *here = realpath(argc > 2 ? argv[2] : "tests/disk/disk.so", NULL);
    chartmeshd = argc > 1 ? argv[1] : "node/chartmeshd";
    disk_so = here;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    puts("SKIPPED: a sanitizer's runtime must be the first library, and disk.so must be too");
    return 0;
#endif
    int failed = cmocka_run_group_tests_name("fault", tests, NULL, NULL);
    free(here);
    return failed;
}
