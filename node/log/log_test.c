#include "tests/lib/log.h"

#include <stdio.h>

#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "proto/statement/entry.h"
#include "tests/lib/test.h"

static struct note_key log_key(struct log_fixture *f)
{
    return (struct note_key){log_origin(f->log), NOTE_LOG, *signing_key_public(keys_checkpoint(f->keys))};
}

static void check_head(struct log_fixture *f, struct checkpoint *out)
{
    struct err err;
    static struct arena arena;
    struct bytes note;
    struct note_key key = log_key(f);
    arena_done(&arena);
    arena_init(&arena, 1 << 20);
    assert_ok(log_checkpoint(f->log, &arena, &note, &err));
    assert_ok(checkpoint_open(note, &key, 1, out, &err));
    assert_true(out->signed_by_log);
    struct log_size size = log_size(f->log);
    assert_int_equal(out->size, size.size);
    assert_bytes_equal(BYTES_OF(out->root), BYTES_OF(size.root));
}

static void check_included(struct log_fixture *f, uint64_t index)
{
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    struct log_opened opened;
    struct hash path[MERKLE_PATH_MAX];
    size_t len;
    struct log_size size = log_size(f->log);
    assert_ok(log_entry_at(f->log, index, &arena, &opened, &err));
    struct hash commitment = entry_commitment(&opened.r, opened.entry);
    assert_bytes_equal(BYTES_OF(commitment), BYTES_OF(opened.commitment));
    struct leaf leaf = leaf_data(&commitment);
    struct hash hash = merkle_leaf(BYTES_OF(leaf));
    assert_ok(log_inclusion(f->log, index, size.size, path, &len, &err));
    assert_true(merkle_included(index, size.size, &hash, path, len, &size.root));
    hash.bytes[0] ^= 1;
    assert_false(merkle_included(index, size.size, &hash, path, len, &size.root));
}

static void test_log__entry_0_is_the_epoch(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    struct log_opened opened;
    struct statement statement;
    AUTO_ARENA(arena, 1 << 20);
    assert_ok(log_entry_at(f->log, 0, &arena, &opened, &err));
    assert_int_equal(opened.message->kind, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_EPOCH);
    assert_ok(statement_parse(log_epoch_statement(f->log), &arena, &statement, &err));
    assert_bytes_equal(bytes_pb(opened.message->objects[0]), BYTES_OF(statement.id));
    check_included(f, 0);
}

static void test_log__I19_every_act_has_one_entry_and_every_entry_is_included(void **state)
{
    struct log_fixture *f = *state;
    uint64_t before = log_size(f->log).size;
    for (int i = 0; i < 20; i++) {
        uint64_t index = log_fixture_write(f, &f->subject, &log_alice);
        assert_int_equal(index, before + 1 + (uint64_t)i);            /* one ENROL stands before the first */
    }
    assert_int_equal(log_size(f->log).size, before + 21);
    for (uint64_t i = 0; i < log_size(f->log).size; i++) {
        check_included(f, i);
    }
    struct checkpoint checkpoint;
    check_head(f, &checkpoint);
}

static void test_log__I20_a_patients_chain_links_without_gaps(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    struct hash key = map_key_patient(&f->subject.facility, &f->subject.patient), chain = chain_start(&key);
    struct log_chain now;
    assert_err(ERR_NOT_FOUND, log_chain_state(f->log, &key, &now, &err));
    for (int i = 0; i < 5; i++) {
        log_fixture_write(f, &f->subject, &log_alice);
        log_fixture_write(f, NULL, &log_alice);
    }
    assert_ok(log_chain_state(f->log, &key, &now, &err));
    assert_int_equal(now.count, 5);
    for (uint64_t k = 1; k <= 5; k++) {
        uint64_t index;
        struct hash value;
        struct log_opened opened;
        assert_ok(log_chain_position(f->log, &key, k, &index, &value, &err));
        assert_ok(log_entry_at(f->log, index, &arena, &opened, &err));
        chain = chain_next(&chain, &opened.commitment);
        assert_bytes_equal(BYTES_OF(chain), BYTES_OF(value));
    }
    assert_bytes_equal(BYTES_OF(chain), BYTES_OF(now.chain));
}

static void check_map(struct log_fixture *f, const struct hash *key, uint64_t epoch, uint64_t count)
{
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    struct log_map_answer answer;
    struct log_opened entry;
    assert_ok(log_map_prove(f->log, key, epoch, &answer, &err));
    assert_int_equal(answer.chain.count, count);
    assert_ok(log_entry_at(f->log, answer.epoch - 1, &arena, &entry, &err));
    assert_bytes_equal(bytes_pb(entry.message->root), BYTES_OF(answer.root));
    struct hash value = map_value(answer.chain.count, answer.chain.last, &answer.chain.chain);
    assert_true(map_verify(&answer.root, key, count ? &value : NULL, &answer.proof));
    assert_false(map_verify(&answer.root, key, count ? NULL : &value, &answer.proof));
}

/* More of each than the committer remembers, so that what it remembered gives way, and with a restart between. */
static void test_log__I20_chains_and_actors_are_right_however_many_there_are(void **state)
{
    enum { SUBJECTS = 1200, USERS = 150, ROUNDS = 3 };
    static struct subject subjects[SUBJECTS];
    struct log_fixture *f = *state;
    struct err err;
    for (size_t i = 0; i < SUBJECTS; i++) {
        struct id patient = random_id();
        subjects[i] = subject_make(&f->facility, &patient);
    }
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < SUBJECTS; i++) {
            char user[32];
            snprintf(user, sizeof user, "user %zu", i % USERS);
            const struct log_who who = {log_alice.principal, user};
            log_fixture_write(f, &subjects[i], &who);
        }
        if (round == 1) {
            log_fixture_close(f);
            assert_ok(log_fixture_open(f, &err));
        }
    }
    assert_int_equal(log_size(f->log).size, 1 + USERS + ROUNDS * SUBJECTS);
    for (size_t i = 0; i < SUBJECTS; i++) {
        struct hash key = map_key_patient(&f->facility, &subjects[i].patient), chain;
        struct log_chain now;
        uint64_t index = 0, before = 0;
        assert_ok(log_chain_state(f->log, &key, &now, &err));
        assert_int_equal(now.count, ROUNDS);
        for (uint64_t k = 1; k <= ROUNDS; k++, before = index) {
            assert_ok(log_chain_position(f->log, &key, k, &index, &chain, &err));
            assert_true(index > before);
        }
        assert_int_equal(now.last, index);
        assert_bytes_equal(BYTES_OF(now.chain), BYTES_OF(chain));
    }
}

static void test_log__the_map_proves_a_count_as_of_its_epoch(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    struct id stranger = random_id();
    struct hash key = map_key_patient(&f->subject.facility, &f->subject.patient);
    struct hash nobody = map_key_patient(&f->facility, &stranger);
    uint64_t first, second;
    log_fixture_write(f, &f->subject, &log_alice);
    log_fixture_write(f, &f->subject, &log_alice);
    assert_ok(log_map_close(f->log, &first, &err));
    check_map(f, &key, 0, 2);
    check_map(f, &nobody, 0, 0);
    log_fixture_write(f, &f->subject, &log_alice);
    check_map(f, &key, 0, 2); /* the epoch is closed: later entries do not show */
    assert_ok(log_map_close(f->log, &second, &err));
    assert_true(second > first);
    check_map(f, &key, second, 3);
    check_map(f, &key, first, 2); /* and an older one is proved again from the chains */
    assert_ok(log_map_close(f->log, &first, &err));
    assert_int_equal(first, second); /* nothing changed: no new epoch */
}

static void test_log__a_map_epoch_closes_by_itself_with_changes(void **state)
{
    struct log_fixture *f = *state;
    log_fixture_write(f, &f->subject, &log_alice);
    assert_int_equal(log_map_epoch(f->log), 0);
    world_sim_advance(f->sim, 11000);
    uint64_t epoch = log_map_epoch(f->log);
    assert_true(epoch > 0);
    world_sim_advance(f->sim, 60000);
    assert_int_equal(log_map_epoch(f->log), epoch);
}

static void test_log__a_restart_finds_everything_again(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    struct hash key = map_key_patient(&f->subject.facility, &f->subject.patient), actor, again;
    uint64_t epoch;
    log_fixture_write(f, &f->subject, &log_alice);
    assert_ok(log_map_close(f->log, &epoch, &err));
    log_fixture_write(f, &f->subject, &log_alice);
    assert_ok(log_who_find(f->log, &log_alice, &actor, NULL, &err));
    struct log_size before = log_size(f->log);
    uint64_t incarnation = log_incarnation(f->log);
    log_fixture_close(f);
    assert_ok(log_fixture_open(f, &err));
    assert_int_equal(log_incarnation(f->log), incarnation);
    assert_int_equal(log_size(f->log).size, before.size);
    assert_bytes_equal(BYTES_OF(log_size(f->log).root), BYTES_OF(before.root));
    assert_ok(log_who_find(f->log, &log_alice, &again, NULL, &err));
    assert_bytes_equal(BYTES_OF(actor), BYTES_OF(again));
    check_map(f, &key, epoch, 1);
    log_fixture_write(f, &f->subject, &log_alice);
    assert_ok(log_map_close(f->log, &epoch, &err));
    check_map(f, &key, 0, 3);
    for (uint64_t i = 0; i < log_size(f->log).size; i++) {
        check_included(f, i);
    }
}

static void test_log__I17_checkpoints_are_consistent_over_restarts(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    struct checkpoint seen[6];
    for (size_t i = 0; i < COUNT(seen); i++) {
        log_fixture_write(f, &f->subject, &log_alice);
        check_head(f, &seen[i]);
        if (i == 2) {
            log_fixture_close(f);
            assert_ok(log_fixture_open(f, &err));
        }
    }
    for (size_t i = 0; i + 1 < COUNT(seen); i++) {
        struct hash path[2 * MERKLE_PATH_MAX];
        size_t len;
        assert_ok(log_consistency(f->log, seen[i].size, seen[5].size, path, &len, &err));
        assert_true(merkle_consistent(seen[i].size, seen[5].size, &seen[i].root, &seen[5].root, path, len));
        assert_false(merkle_consistent(seen[i].size, seen[5].size, &seen[5].root, &seen[5].root, path, len));
    }
}

static void test_log__a_store_that_was_set_back_is_refused(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    uint64_t epoch;
    log_fixture_write(f, &f->subject, &log_alice);
    struct store_disk *old = store_disk_clone(f->disk), *newer = f->disk;
    log_fixture_write(f, &f->subject, &log_alice);
    assert_ok(log_map_close(f->log, &epoch, &err));
    log_fixture_close(f);
    f->disk = old;
    assert_err(ERR_STATE, log_fixture_open(f, &err));
    keys_close(f->keys);
    store_close(f->store);
    world_close(f->world);
    store_disk_free(old);
    f->disk = store_disk_new();      /* emptied: nothing at all is a set-back too */
    assert_err(ERR_STATE, log_fixture_open(f, &err));
    keys_close(f->keys);
    store_close(f->store);
    world_close(f->world);
    store_disk_free(f->disk);
    f->disk = newer;
    assert_ok(log_fixture_open(f, &err));
}

static uint64_t anchored(struct log_fixture *f)
{
    struct err err;
    struct checkpoint anchor;
    struct note_key key = log_key(f);
    assert_ok(checkpoint_open(BYTES(f->anchor.bytes, f->anchor.len), &key, 1, &anchor, &err));
    return anchor.size;
}

/* Without an orderly end and before any map epoch: what was acknowledged over a second ago is missed. */
static void test_log__I29_a_store_that_lost_what_is_a_second_old_is_refused(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    assert_int_equal(anchored(f), 1);        /* the first start's own entry */
    struct store_disk *old = store_disk_clone(f->disk), *newer = f->disk;
    log_fixture_write(f, &f->subject, &log_alice);
    log_fixture_write(f, &f->subject, &log_alice);
    assert_int_equal(anchored(f), 1);        /* no save for each commit */
    world_sim_advance(f->sim, 1100);
    assert_int_equal(log_map_epoch(f->log), 0);
    assert_int_equal(anchored(f), log_size(f->log).size);
    log_fixture_close(f);
    f->disk = old;
    assert_err(ERR_STATE, log_fixture_open(f, &err));
    keys_close(f->keys);
    store_close(f->store);
    world_close(f->world);
    store_disk_free(old);
    f->disk = newer;
    assert_ok(log_fixture_open(f, &err));
}

static void test_log__the_anchor_follows_every_second_of_writing_and_a_crash(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    for (int i = 0; i < 3; i++) {
        log_fixture_write(f, &f->subject, &log_alice);
        world_sim_advance(f->sim, 1100);
        assert_int_equal(anchored(f), log_size(f->log).size);
    }
    log_fixture_write(f, &f->subject, &log_alice);
    uint64_t size = log_size(f->log).size;
    log_fixture_close(f);                            /* no orderly end: one entry is not anchored */
    assert_ok(log_fixture_open(f, &err));
    assert_int_equal(anchored(f), size);
}

static void damage(struct log_fixture *f, enum store_family family, struct bytes key)
{
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    struct bytes value;
    AUTO_STORE_BATCH rows = store_batch_new();
    assert_ok(store_get(f->store, NULL, family, key, &arena, &value, &err));
    ((uint8_t *)(uintptr_t)value.data)[0] ^= 1;
    store_put(rows, family, key, value);
    assert_ok(store_commit(f->store, rows, &err));
}

static void test_log__a_changed_entry_is_found_at_start(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    const uint8_t key[9] = {'e', 0, 0, 0, 0, 0, 0, 0, 1};
    log_fixture_write(f, &f->subject, &log_alice);
    damage(f, FAMILY_LOG, BYTES(key, sizeof key));
    log_fixture_close(f);
    assert_err(ERR_CORRUPT, log_fixture_open(f, &err));
    damage(f, FAMILY_LOG, BYTES(key, sizeof key));
    keys_close(f->keys);
    store_close(f->store);
    world_close(f->world);
    assert_ok(log_fixture_open(f, &err));
}

/* A hash row that was changed proves nothing: nobody is given a path with it, nor a root made of it. */
static void test_log__a_changed_hash_of_the_tree_is_found_when_it_is_needed(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    struct hash path[2 * MERKLE_PATH_MAX], root;
    size_t len;
    const uint8_t key[10] = {'h', 1};    /* over entries 0 and 1 */
    for (size_t i = 0; i < 6; i++) {
        log_fixture_write(f, &f->subject, &log_alice);
    }
    assert_ok(log_inclusion(f->log, 2, 4, path, &len, &err));
    assert_ok(log_consistency(f->log, 2, 5, path, &len, &err));
    assert_ok(log_root_at(f->log, 3, &root, &err));
    damage(f, FAMILY_LOG, BYTES(key, sizeof key));
    assert_err(ERR_CORRUPT, log_inclusion(f->log, 2, 4, path, &len, &err));
    assert_non_null(strstr(err.text, "family log"));
    assert_err(ERR_CORRUPT, log_consistency(f->log, 2, 5, path, &len, &err));
    assert_err(ERR_CORRUPT, log_root_at(f->log, 3, &root, &err));
    assert_ok(log_inclusion(f->log, 0, 4, path, &len, &err));    /* needs it not */
    damage(f, FAMILY_LOG, BYTES(key, sizeof key));
    assert_ok(log_inclusion(f->log, 2, 4, path, &len, &err));
}

/* The clock goes a year back: while the log is open, and (`between`) before it opens again. */
static void set_back(struct log_fixture *f, bool between)
{
    const int64_t year_ms = 365ll * 24 * 3600 * 1000;
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    struct log_opened before, after;
    world_sim_set_skew(f->world, year_ms);
    uint64_t first = log_fixture_write(f, &f->subject, &log_alice);
    struct world_interval then = world_security_clock(f->world);
    assert_int_equal(log_newest_ms(f->log) / 1000, world_now_ms(f->world) / 1000);
    if (between) {
        log_fixture_close(f);
        assert_ok(log_fixture_open(f, &err));            /* a new world, whose clock is right */
    } else {
        world_sim_set_skew(f->world, 0);
    }
    assert_true(world_security_clock(f->world).hi_ms >= then.hi_ms);
    assert_true(world_security_clock(f->world).lo_ms < then.lo_ms);
    assert_true(log_newest_ms(f->log) > world_now_ms(f->world));
    uint64_t second = log_fixture_write(f, &f->subject, &log_alice);
    assert_ok(log_entry_at(f->log, first, &arena, &before, &err));
    assert_ok(log_entry_at(f->log, second, &arena, &after, &err));
    assert_true(after.message->hlc > before.message->hlc);
}

static void test_log__a_clock_set_back_a_year_orders_and_revives_nothing(void **state)
{
    set_back(*state, false);
    set_back(*state, true);
}

static void test_log__a_clock_set_forward_a_year_leaves_all_in_order(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    uint64_t size, epoch;
    world_sim_set_skew(f->world, -365ll * 24 * 3600 * 1000);
    size = log_fixture_write(f, &f->subject, &log_alice);
    log_fixture_close(f);
    assert_ok(log_fixture_open(f, &err));                /* a year later */
    assert_int_equal(log_fixture_write(f, &f->subject, &log_alice), size + 1);
    assert_ok(log_map_close(f->log, &epoch, &err));
    struct hash key = map_key_patient(&f->subject.facility, &f->subject.patient);
    check_map(f, &key, 0, 2);
    check_included(f, size);
    check_included(f, size + 1);
}

static void test_log__cosignatures_are_kept_for_the_newest_size(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    struct hash seed = random_hash();
    struct signing_key *witness;
    struct bytes note, line;
    uint64_t size;
    struct checkpoint opened;
    assert_ok(signing_key_new(&seed, &witness, &err));
    log_fixture_write(f, &f->subject, &log_alice);
    assert_err(ERR_UNAVAILABLE, log_cosigned(f->log, 1, 1, 10, &arena, &note, &size, &err));
    assert_ok(log_checkpoint(f->log, &arena, &note, &err));
    assert_ok(checkpoint_cosign(note, "clinic.example/witness", 1, witness, &arena, &line, &err));
    assert_ok(log_cosignature(f->log, log_size(f->log).size, "clinic.example/witness", line, &err));
    assert_ok(log_cosignature(f->log, log_size(f->log).size, "clinic.example/witness", line, &err));
    log_fixture_write(f, &f->subject, &log_alice);
    assert_ok(log_cosigned(f->log, 1, 1, 10, &arena, &note, &size, &err));
    assert_int_equal(size, log_size(f->log).size - 1);
    struct note_key keys[2] = {log_key(f), {"clinic.example/witness", NOTE_WITNESS, *signing_key_public(witness)}};
    assert_ok(checkpoint_open(note, keys, 2, &opened, &err));
    assert_int_equal(opened.cosigners, 1);
    assert_err(ERR_UNAVAILABLE, log_cosigned(f->log, size + 1, 1, 10, &arena, &note, &size, &err));
    assert_err(ERR_UNAVAILABLE, log_cosigned(f->log, 1, 2, 10, &arena, &note, &size, &err));
    signing_key_free(witness);
}

static void test_log__the_feed_gives_every_row_once_and_goes_on_after_a_restart(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    struct feed_place at = log_feed_end(f->log);
    struct bytes value;
    assert_err(ERR_NOT_FOUND, log_feed_next(f->log, &at, &arena, &value, &err));
    const struct log_entry entry = {.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WRITE, .subject = &f->subject};
    struct log_txn *txn = log_txn_new(f->log);
    assert_ok(log_txn_add(txn, &entry, &err));
    assert_ok(log_txn_feed(txn, BYTES_LIT("one"), &err));
    assert_ok(log_txn_feed(txn, BYTES_LIT("two"), &err));
    assert_ok(log_commit(txn, NULL, &err));
    assert_ok(log_feed_next(f->log, &at, &arena, &value, &err));
    assert_bytes_equal(value, BYTES_LIT("one"));
    log_fixture_close(f);
    assert_ok(log_fixture_open(f, &err));
    assert_ok(log_feed_next(f->log, &at, &arena, &value, &err));
    assert_bytes_equal(value, BYTES_LIT("two"));
    assert_err(ERR_NOT_FOUND, log_feed_next(f->log, &at, &arena, &value, &err));
}

/* A copy's last chunk is no entry, and whoever watches hears of it: once, and of what follows. */
static void test_log__a_feed_row_without_an_entry_hides_none_that_follows(void **state)
{
    struct log_fixture *f = *state;
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    struct feed_place at = log_feed_end(f->log);
    const char *const rows[] = {"first", "second", "third"};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct log_txn *txn = log_txn_new(f->log);
        assert_ok(log_txn_feed(txn, bytes_str(rows[i]), &err));
        assert_false(log_feed_wait(f->log, &at, 0));
        assert_ok(log_commit(txn, NULL, &err));
        assert_true(log_feed_wait(f->log, &at, 0));
        struct bytes value;
        assert_ok(log_feed_next(f->log, &at, &arena, &value, &err));
        assert_bytes_equal(value, bytes_str(rows[i]));
        assert_err(ERR_NOT_FOUND, log_feed_next(f->log, &at, &arena, &value, &err));
    }
    assert_int_equal(log_feed_end(f->log).number, at.number);
}

#define WITH_LOG(test) cmocka_unit_test_setup_teardown(test, log_fixture_setup, log_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LOG(test_log__entry_0_is_the_epoch),
        WITH_LOG(test_log__I19_every_act_has_one_entry_and_every_entry_is_included),
        WITH_LOG(test_log__I20_a_patients_chain_links_without_gaps),
        WITH_LOG(test_log__I20_chains_and_actors_are_right_however_many_there_are),
        WITH_LOG(test_log__the_map_proves_a_count_as_of_its_epoch),
        WITH_LOG(test_log__a_map_epoch_closes_by_itself_with_changes),
        WITH_LOG(test_log__a_restart_finds_everything_again),
        WITH_LOG(test_log__I17_checkpoints_are_consistent_over_restarts),
        WITH_LOG(test_log__a_store_that_was_set_back_is_refused),
        WITH_LOG(test_log__I29_a_store_that_lost_what_is_a_second_old_is_refused),
        WITH_LOG(test_log__the_anchor_follows_every_second_of_writing_and_a_crash),
        WITH_LOG(test_log__a_changed_entry_is_found_at_start),
        WITH_LOG(test_log__a_changed_hash_of_the_tree_is_found_when_it_is_needed),
        WITH_LOG(test_log__a_clock_set_back_a_year_orders_and_revives_nothing),
        WITH_LOG(test_log__a_clock_set_forward_a_year_leaves_all_in_order),
        WITH_LOG(test_log__cosignatures_are_kept_for_the_newest_size),
        WITH_LOG(test_log__the_feed_gives_every_row_once_and_goes_on_after_a_restart),
        WITH_LOG(test_log__a_feed_row_without_an_entry_hides_none_that_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
