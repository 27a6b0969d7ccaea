/* The power goes at any moment: a node works over a disk that writes down what is done to it (disk.so), and the
 * data folder is made again as each of many cuts would have left it. */
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/disk/replay.h"
#include "tests/disk/trace.h"
#include "tests/disk/work.h"
#include "tests/lib/soak.h"

enum { CUTS = 200, ROUNDS = 3, PUTS = 8 };

static const char *chartmeshd, *disk_so;

struct fixture {
    struct nodes *nodes;
    struct replay *replay;
    char trace[300], cut[300];
};

/* ---- What is done --------------------------------------------------------------------------------------------- */

/* After the answer came, so after every sync that it needed. */
static void note(const struct fixture *f, const struct ack *ack)
{
    uint8_t text[sizeof(struct trace_head) + sizeof *ack];
    const struct trace_head head = {.kind = TRACE_NOTE, .fd = -1, .data_len = sizeof *ack};
    memcpy(text, &head, sizeof head);
    memcpy(text + sizeof head, ack, sizeof *ack);
    int fd = open(f->trace, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0 && write(fd, text, sizeof text) == sizeof text);
    close(fd);
}

static void start_traced(struct fixture *f, const char *lies)
{
    setenv("LD_PRELOAD", disk_so, 1);
    setenv(DISK_ROOT, f->nodes->list[0].folder, 1);
    setenv(DISK_TRACE, f->trace, 1);
    if (lies) {
        setenv(DISK_LIES, lies, 1);
    }
    nodes_start(f->nodes, 0);
    unsetenv("LD_PRELOAD");
    unsetenv(DISK_LIES);
}

/* Starts, kills and stops, with documents of all sizes: in a row, in a blob, over the log's blocks. */
static void work(struct fixture *f, const char *lies)
{
    static const size_t lengths[PUTS] = {0, 100, 3000, 5000, 40000, 70000, 200000, 1000000};
    struct err err;
    for (size_t round = 0; round < ROUNDS; round++) {
        struct id patient;
        struct ack ack;
        start_traced(f, lies);
        struct chartmesh *node = nodes_open(f->nodes, 0, CLIENT_APP, "emr");
        struct chartmesh *auditor = nodes_open(f->nodes, 0, CLIENT_AUDITOR, "miller");
        assert_ok(work_register(node, &patient, &err));
        for (size_t i = 0; i < PUTS; i++) {
            assert_ok(work_put(node, &patient, lengths[i], &ack, &err));
            note(f, &ack);
            assert_ok(work_checkpoint(auditor, &ack, &err));
            note(f, &ack);
        }
        chartmesh_close(node);
        chartmesh_close(auditor);
        nodes_stop(f->nodes, 0, round == 1 ? SIGTERM : SIGKILL);
    }
}

static void begin(struct fixture *f, const char *lies)
{
    f->nodes = nodes_new(chartmeshd, 1);
    snprintf(f->trace, sizeof f->trace, "%s/trace", f->nodes->folder);
    snprintf(f->cut, sizeof f->cut, "%s/cut", f->nodes->folder);
    work(f, lies);
    f->replay = replay_load(f->trace, f->nodes->list[0].folder);
}

static void end(struct fixture *f)
{
    replay_free(f->replay);
    nodes_free(f->nodes);
}

/* ---- What is left --------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    return remove(path);
}

static size_t acked(const struct fixture *f, size_t at, struct ack acks[WORK_ACKS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < at; i++) {
        struct bytes told = replay_note(f->replay, i);
        if (told.len) {
            memcpy(&acks[count++], told.data, sizeof *acks);
        }
    }
    return count;
}

/* The power goes before record `at`; then the node starts, and has what it acknowledged before. */
static bool survives(const struct fixture *f, size_t at, enum loss loss, uint64_t seed, struct err *err)
{
    static struct ack acks[WORK_ACKS_MAX];
    struct on_disk node;
    replay_cut(f->replay, at, loss, seed, "data", f->cut);
    bool ok = on_disk_open(&node, f->nodes->list[0].folder, f->cut, err);
    if (ok) {
        ok = work_holds(&node, acks, acked(f, at, acks), err);
        on_disk_close(&node);
    }
    nftw(f->cut, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return ok;
}

static size_t moment(const struct fixture *f, size_t i, size_t cuts)
{
    return (i + 1) * replay_len(f->replay) / cuts;
}

static void test_power__I29_what_was_acknowledged_is_there_after_any_cut(void **state)
{
    struct fixture f;
    struct err err;
    (void)state;
    begin(&f, NULL);
    size_t done = 0;
    for (uint64_t seed = soak_seed(1); done < CUTS || soak_goes_on(); seed++, done++) {
        size_t at = moment(&f, (size_t)(seed * 7919 % CUTS), CUTS);
        enum loss loss = seed % LOSS_COUNT;
        if (!survives(&f, at, loss, seed, &err)) {
            fail_msg("power cut before record %zu of %zu, loss %d, seed %ju: %s", at, replay_len(f.replay), loss,
                     (uintmax_t)seed, err.text);
        }
    }
    printf("%zu cuts of %zu records\n", done, replay_len(f.replay));
    end(&f);
}

/* The test can fail: a node whose write-ahead log is never synced loses what it acknowledged. */
static void test_power__a_node_that_does_not_sync_is_found_out(void **state)
{
    enum { TRIES = 24 };
    struct fixture f;
    struct err err;
    size_t lost = 0;
    (void)state;
    begin(&f, ".log");
    for (size_t i = 0; i < TRIES; i++) {
        lost += !survives(&f, moment(&f, i, TRIES), LOSS_ALL, i, &err);
    }
    printf("%zu of %d cuts lose something\n", lost, TRIES);
    assert_true(lost > TRIES / 4); /* before the first answer there is nothing to lose */
    end(&f);
}

/* As the first, but the whole daemon starts over what the cut left. */
static void test_power__I29_the_daemon_serves_what_was_acknowledged_before_a_cut(void **state)
{
    static struct ack acks[WORK_ACKS_MAX];
    struct fixture f;
    struct err err;
    char data[300];
    (void)state;
    begin(&f, NULL);
    snprintf(data, sizeof data, "%s/data", f.nodes->list[0].folder);
    for (enum loss loss = LOSS_ALL; loss <= LOSS_SOME; loss++) {
        size_t at = replay_len(f.replay) * (loss + 2) / (LOSS_COUNT + 2), count = acked(&f, at, acks);
        nftw(data, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        replay_cut(f.replay, at, loss, loss, "data", data);
        nodes_start(f.nodes, 0);
        struct chartmesh *node = nodes_open(f.nodes, 0, CLIENT_APP, "emr");
        for (size_t i = 0; i < count; i++) {
            if (acks[i].kind == ACK_VERSION) {
                assert_ok(work_get(node, &acks[i], &err));
            }
        }
        chartmesh_close(node);
        assert_int_equal(nodes_stop(f.nodes, 0, SIGTERM), 0);
    }
    end(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power__I29_what_was_acknowledged_is_there_after_any_cut),
        cmocka_unit_test(test_power__a_node_that_does_not_sync_is_found_out),
        cmocka_unit_test(test_power__I29_the_daemon_serves_what_was_acknowledged_before_a_cut),
    };
    char *here = realpath(argc > 2 ? argv[2] : "tests/disk/disk.so", NULL);
    chartmeshd = argc > 1 ? argv[1] : "node/chartmeshd";
    disk_so = here;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    puts("SKIPPED: a sanitizer's runtime must be the first library, and disk.so must be too");
    return 0;
#endif
    int failed = cmocka_run_group_tests_name("power", tests, NULL, NULL);
    free(here);
    return failed;
}
