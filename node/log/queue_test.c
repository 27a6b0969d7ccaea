/* Who commits, when, and who is told. */
#include "proto/crypto/random.h"
#include "tests/lib/log.h"
#include "tests/lib/test.h"

enum { MANY = 300 };

static struct log_txn *begin(struct log_fixture *f)
{
    struct err err;
    struct hash object = random_hash();
    const struct log_entry entry = {.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WRITE,
                                    .who = &log_alice,
                                    .subject = &f->subject,
                                    .objects = &object,
                                    .objects_len = 1};
    struct log_txn *txn = log_txn_new(f->log);
    assert_ok(log_txn_add(txn, &entry, &err));
    return txn;
}

/* What callbacks were told. */
struct told {
    struct log_fixture *f;
    size_t count, again;             /* again: so many submit another one from the callback */
    uint64_t first[2 * MANY];
};

static void tell(void *context, uint64_t first)
{
    struct told *told = context;
    struct err err;
    assert_true(log_size(told->f->log).size > first);   /* durable already */
    told->first[told->count++] = first;
    if (told->again) {
        told->again--;
        assert_ok(log_submit(begin(told->f), tell, told, &err));
    }
}

static void test_queue__who_submits_is_told_in_order_once_it_is_durable(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    static struct told told;
    told = (struct told){.f = f};
    for (size_t i = 0; i < MANY; i++) {
        assert_ok(log_submit(begin(f), tell, &told, &err));
    }
    assert_int_equal(told.count, 0);
    uint64_t last = log_fixture_write(f, &f->subject, &log_alice);    /* one who waits, behind them all */
    world_sim_run(f->sim);
    assert_int_equal(told.count, MANY);
    for (size_t i = 1; i < MANY; i++) {
        assert_true(told.first[i] > told.first[i - 1]);
    }
    assert_true(last > told.first[MANY - 1]);
    struct log_counters c;
    log_counters(f->log, &c);
    assert_true(c.groups >= 3 && c.groups <= 4);         /* the first start's, then at most 256 at a time */
    assert_int_equal(c.transactions, 1 + MANY + 1);
    assert_int_equal(c.entries, log_size(f->log).size);
    assert_int_equal(c.queued, 0);
    assert_int_equal(c.preparing, 0);
    assert_int_equal(c.group_entries[LOG_GROUP_BOUNDS], 1);          /* 256 and the actor's enrolment */
}

static void test_queue__a_group_has_no_more_entries_than_configured(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    static struct told told;
    told = (struct told){.f = f};
    log_fixture_close(f);
    f->commit_entries = 4;
    assert_ok(log_fixture_open(f, &err));
    log_fixture_write(f, &f->subject, &log_alice);
    for (size_t i = 0; i < 10; i++) {
        assert_ok(log_submit(begin(f), tell, &told, &err));
    }
    world_sim_run(f->sim);
    struct log_counters c;
    log_counters(f->log, &c);
    assert_int_equal(told.count, 10);
    assert_int_equal(c.groups, 4);
    assert_int_equal(c.group_entries[2], 2);             /* twice 4 */
}

static void test_queue__who_is_told_may_submit_again(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    static struct told told;
    told = (struct told){.f = f, .again = 5};
    assert_ok(log_submit(begin(f), tell, &told, &err));
    world_sim_run(f->sim);
    assert_int_equal(told.count, 6);
}

static void test_queue__what_does_not_fit_is_refused_and_nobody_told(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    static const uint8_t key[STORE_KEY_MAX + 1];
    static struct told told;
    told = (struct told){.f = f};
    struct log_txn *txn = begin(f);
    store_put(log_txn_rows(txn), FAMILY_INDEX, BYTES(key, sizeof key), BYTES_NONE);
    uint64_t size = log_size(f->log).size;
    assert_err(ERR_TOO_MUCH, log_submit(txn, tell, &told, &err));
    world_sim_run(f->sim);
    assert_int_equal(told.count, 0);
    assert_int_equal(log_size(f->log).size, size);
}

static enum store_disk_sync power_went(void *arg)
{
    return *(enum store_disk_sync *)arg;
}

/* The power goes before or after the disk has it: nobody is told, and it is there exactly if the disk kept it. */
static void check_crash(struct log_fixture *f, enum store_disk_sync kept)
{
    struct err err;
    static struct told told;
    told = (struct told){.f = f};
    log_fixture_write(f, &f->subject, &log_alice);
    uint64_t size = log_size(f->log).size;
    store_disk_on_sync(f->disk, power_went, &kept);
    for (size_t i = 0; i < 10; i++) {
        assert_ok(log_submit(begin(f), tell, &told, &err));
    }
    world_sim_run(f->sim);
    assert_true(world_sim_killed(f->world, &err));
    assert_int_equal(told.count, 0);
    store_disk_on_sync(f->disk, NULL, NULL);
    log_fixture_close(f);
    assert_ok(log_fixture_open(f, &err));
    assert_int_equal(log_size(f->log).size, size + (kept == DISK_KEPT ? 10 : 0));
    log_fixture_write(f, &f->subject, &log_alice);
}

static void test_queue__I29_a_power_cut_before_the_sync_tells_nobody(void **state)
{
    check_crash(*state, DISK_LOST);
}

static void test_queue__I29_a_power_cut_after_the_sync_tells_nobody(void **state)
{
    check_crash(*state, DISK_KEPT);
}

static void test_queue__closing_tells_all_who_submitted(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    static struct told told;
    told = (struct told){.f = f};
    assert_ok(log_submit(begin(f), tell, &told, &err));
    log_fixture_close(f);
    assert_int_equal(told.count, 1);
    assert_ok(log_fixture_open(f, &err));
}

/* ---- Company -------------------------------------------------------------------------------------------------- */

static void open_lingering(struct log_fixture *f)
{
    struct err err;
    log_fixture_close(f);
    f->linger_us = 2000;
    assert_ok(log_fixture_open(f, &err));
    log_fixture_write(f, &f->subject, &log_alice); /* enrolled */
}

static struct log_counters counters(struct log_fixture *f)
{
    struct log_counters c;
    log_counters(f->log, &c);
    return c;
}

static void test_queue__a_lone_writer_does_not_linger(void **state)
{
    struct log_fixture *f = *state;
    open_lingering(f);
    uint64_t before = world_sim_mono_ms(f->sim);
    for (int i = 0; i < 10; i++) {
        log_fixture_write(f, &f->subject, &log_alice);
    }
    assert_int_equal(world_sim_mono_ms(f->sim), before);
    assert_int_equal(counters(f).lingered, 0);
}

static void test_queue__a_group_waits_while_more_are_coming_than_came(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    static struct told told;
    told = (struct told){.f = f};
    open_lingering(f);
    struct log_txn *txns[3] = {begin(f), begin(f), begin(f)};
    uint64_t groups = counters(f).groups;
    assert_ok(log_submit(txns[0], tell, &told, &err));
    world_sim_run(f->sim);
    assert_int_equal(told.count, 0); /* two are coming */
    assert_ok(log_submit(txns[1], tell, &told, &err));
    world_sim_run(f->sim);
    assert_int_equal(told.count, 2);
    assert_int_equal(counters(f).groups, groups + 1);
    assert_ok(log_submit(txns[2], tell, &told, &err));
    world_sim_run(f->sim);
    assert_int_equal(told.count, 3);
    assert_int_equal(counters(f).lingered, 1);
}

static void test_queue__who_gives_up_keeps_nobody_waiting(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    static struct told told;
    told = (struct told){.f = f};
    open_lingering(f);
    struct log_txn *txns[3] = {begin(f), begin(f), begin(f)};
    assert_ok(log_submit(txns[0], tell, &told, &err));
    world_sim_run(f->sim);
    assert_int_equal(told.count, 0);
    log_txn_free(txns[1]);
    world_sim_run(f->sim);
    assert_int_equal(told.count, 1);
    log_txn_free(txns[2]);
    assert_int_equal(counters(f).preparing, 0);
}

static void test_queue__nobody_lingers_longer_than_configured_nor_again_in_vain(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    static struct told told;
    told = (struct told){.f = f};
    open_lingering(f);
    struct log_txn *slow[2] = {begin(f), begin(f)};
    assert_ok(log_submit(begin(f), tell, &told, &err));
    world_sim_run(f->sim);
    assert_int_equal(told.count, 0);
    world_sim_advance(f->sim, 2);
    assert_int_equal(told.count, 1);
    assert_ok(log_submit(begin(f), tell, &told, &err));
    world_sim_run(f->sim);
    assert_int_equal(told.count, 2); /* at once: nobody had come the last time */
    assert_int_equal(counters(f).lingered, 1);
    log_txn_free(slow[0]);
    log_txn_free(slow[1]);
}

static void test_queue__an_idle_log_writes_nothing(void **state)
{
    struct log_fixture *f = *state;
    log_fixture_write(f, &f->subject, &log_alice);
    world_sim_advance(f->sim, 11000); /* the map's epoch closes */
    uint64_t groups = counters(f).groups;
    world_sim_advance(f->sim, 600000);
    assert_int_equal(counters(f).groups, groups);
}

#define WITH_LOG(test) cmocka_unit_test_setup_teardown(test, log_fixture_setup, log_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LOG(test_queue__who_submits_is_told_in_order_once_it_is_durable),
        WITH_LOG(test_queue__a_group_has_no_more_entries_than_configured),
        WITH_LOG(test_queue__who_is_told_may_submit_again),
        WITH_LOG(test_queue__what_does_not_fit_is_refused_and_nobody_told),
        WITH_LOG(test_queue__I29_a_power_cut_before_the_sync_tells_nobody),
        WITH_LOG(test_queue__I29_a_power_cut_after_the_sync_tells_nobody),
        WITH_LOG(test_queue__closing_tells_all_who_submitted),
        WITH_LOG(test_queue__a_lone_writer_does_not_linger),
        WITH_LOG(test_queue__a_group_waits_while_more_are_coming_than_came),
        WITH_LOG(test_queue__who_gives_up_keeps_nobody_waiting),
        WITH_LOG(test_queue__nobody_lingers_longer_than_configured_nor_again_in_vain),
        WITH_LOG(test_queue__an_idle_log_writes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
