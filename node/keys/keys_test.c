#include "node/keys/keys.h"
#include "node/store/store_mem.h"
#include "proto/crypto/random.h"
#include "tests/lib/test.h"
#include "tests/lib/world_sim.h"

/* A keyring in memory. */
struct ring {
    uint8_t bytes[256];
    size_t len;
};

static bool ring_load(void *context, struct arena *arena, struct bytes *out, struct err *err)
{
    struct ring *ring = context;
    return ring->len ? arena_copy(arena, BYTES(ring->bytes, ring->len), out, err)
                     : err_raise(err, ERR_NOT_FOUND, "no keyring");
}

static bool ring_save(void *context, struct bytes keyring, struct err *err)
{
    struct ring *ring = context;
    (void)err;
    memcpy(ring->bytes, keyring.data, keyring.len);
    ring->len = keyring.len;
    return true;
}

struct fixture {
    struct world_sim *sim;
    struct world *world;
    struct store_disk *disk;
    struct store *store;
    struct ring ring;
    struct keyring_port port;
    struct keys_secrets secrets;
    struct keys *keys;
    struct id p, content;
};

static int setup(void **state)
{
    static struct fixture f;
    struct err err;
    f = (struct fixture){.disk = store_disk_new(), .sim = world_sim_new(3)};
    f.world = world_sim_world(f.sim, 0);
    f.port = (struct keyring_port){ring_load, ring_save, &f.ring};
    f.secrets = (struct keys_secrets){random_hash(), random_hash(), random_hash(), random_hash(), random_hash()};
    f.p = random_id();
    f.content = random_id();
    assert_ok(store_open(&(struct store_options){.disk = f.disk}, &f.store, &err));
    assert_ok(keys_open(f.store, f.world, &f.secrets, &f.port, &f.keys, &err));
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    keys_close(f->keys);
    store_close(f->store);
    store_disk_free(f->disk);
    world_close(f->world);
    world_sim_free(f->sim);
    return 0;
}

static void reopen(struct fixture *f)
{
    struct err err;
    keys_close(f->keys);
    assert_ok(keys_open(f->store, f->world, &f->secrets, &f->port, &f->keys, &err));
}

static struct hash new_dek(struct fixture *f, const struct id *content)
{
    struct err err;
    struct hash dek;
    AUTO_STORE_BATCH rows = store_batch_new();
    assert_ok(keys_dek_new(f->keys, &f->p, content, rows, &dek, &err));
    assert_ok(store_commit(f->store, rows, &err));
    return dek;
}

static void test_keys__what_was_drawn_is_there_after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct hash dek = new_dek(f, &f->content), again, index = *keys_facility(f->keys, FACILITY_KEY_INDEX);
    reopen(f);
    assert_ok(keys_dek(f->keys, &f->p, &f->content, &again, &err));
    assert_bytes_equal(BYTES_OF(dek), BYTES_OF(again));
    assert_bytes_equal(BYTES_OF(index), BYTES_OF(*keys_facility(f->keys, FACILITY_KEY_INDEX)));
}

static void test_keys__another_root_key_opens_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct keys *other;
    struct keys_secrets secrets = f->secrets;
    secrets.root.bytes[0] ^= 1;
    assert_err(ERR_CORRUPT, keys_open(f->store, f->world, &secrets, &f->port, &other, &err));
}

static void test_keys__a_lost_keyring_is_never_drawn_again_over_old_rows(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct keys *other;
    f->ring.len = 0;
    assert_err(ERR_CORRUPT, keys_open(f->store, f->world, &f->secrets, &f->port, &other, &err));
}

static void test_keys__a_purge_keeps_what_it_was_told_to_keep_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct id kept = random_id();
    struct hash gone, dek = new_dek(f, &kept), again;
    new_dek(f, &f->content);
    AUTO_STORE_BATCH rows = store_batch_new();
    assert_ok(keys_purge(f->keys, &f->p, &kept, 1, rows, &err));
    assert_ok(store_commit(f->store, rows, &err));
    assert_err(ERR_NOT_FOUND, keys_dek(f->keys, &f->p, &f->content, &gone, &err));
    assert_ok(keys_dek(f->keys, &f->p, &kept, &again, &err));
    assert_bytes_equal(BYTES_OF(dek), BYTES_OF(again));
    reopen(f);
    assert_ok(keys_dek(f->keys, &f->p, &kept, &again, &err));
}

/* An old row of the content key, put back from a backup, is sealed by a patient key that is gone. */
static void test_keys__I32_a_purged_content_key_put_back_opens_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct id kept = random_id();
    struct hash gone;
    uint8_t row[1 + 2 * ID_LEN] = {'d'};
    struct bytes old;
    AUTO_ARENA(arena, 4096);
    new_dek(f, &kept);
    new_dek(f, &f->content);
    memcpy(row + 1, f->p.bytes, ID_LEN);
    memcpy(row + 1 + ID_LEN, f->content.bytes, ID_LEN);
    assert_ok(store_get(f->store, NULL, FAMILY_KEY, BYTES(row, sizeof row), &arena, &old, &err));
    AUTO_STORE_BATCH rows = store_batch_new();
    assert_ok(keys_purge(f->keys, &f->p, &kept, 1, rows, &err));
    store_put(rows, FAMILY_KEY, BYTES(row, sizeof row), old);
    assert_ok(store_commit(f->store, rows, &err));
    assert_err(ERR_CORRUPT, keys_dek(f->keys, &f->p, &f->content, &gone, &err));
}

static void test_keys__an_audit_key_is_one_per_patient_and_year(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct hash a, b, c;
    AUTO_STORE_BATCH rows = store_batch_new();
    assert_ok(keys_audit(f->keys, &f->p, 2026, rows, &a, &err));
    assert_ok(keys_audit(f->keys, &f->p, 2027, rows, &b, &err));
    assert_false(hash_equal(&a, &b));
    assert_err(ERR_NOT_FOUND, keys_audit(f->keys, &f->p, 2026, NULL, &c, &err));
    assert_ok(store_commit(f->store, rows, &err));
    reopen(f);
    assert_ok(keys_audit(f->keys, &f->p, 2026, NULL, &c, &err));
    assert_bytes_equal(BYTES_OF(a), BYTES_OF(c));
    assert_err(ERR_NOT_FOUND, keys_audit(f->keys, NULL, 2026, NULL, &c, &err));
}

static void check_audit(struct fixture *f, const struct id *p, const struct hash *expected)
{
    struct err err;
    struct hash stored;
    assert_ok(keys_audit(f->keys, p, 2026, NULL, &stored, &err));
    assert_bytes_equal(BYTES_OF(*expected), BYTES_OF(stored));
}

/* New patients whose names fall together, in turns, within one batch. */
static void test_keys__an_audit_key_drawn_is_the_one_that_becomes_durable(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct id other = f->p;
    struct hash a, b, again;
    AUTO_STORE_BATCH rows = store_batch_new();
    other.bytes[15] ^= 1;
    assert_ok(keys_audit(f->keys, &f->p, 2026, rows, &a, &err));
    assert_ok(keys_audit(f->keys, &other, 2026, rows, &b, &err));
    assert_ok(keys_audit(f->keys, &f->p, 2026, rows, &again, &err));
    assert_bytes_equal(BYTES_OF(a), BYTES_OF(again));
    assert_ok(store_commit(f->store, rows, &err));
    check_audit(f, &f->p, &a);
    check_audit(f, &other, &b);
}

static void test_keys__an_audit_key_whose_batch_is_given_up_is_durable_with_the_next(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct hash a, again;
    AUTO_STORE_BATCH given_up = store_batch_new();
    AUTO_STORE_BATCH rows = store_batch_new();
    assert_ok(keys_audit(f->keys, &f->p, 2026, given_up, &a, &err));
    assert_ok(keys_audit(f->keys, &f->p, 2026, rows, &again, &err));
    assert_bytes_equal(BYTES_OF(a), BYTES_OF(again));
    assert_ok(store_commit(f->store, rows, &err));
    check_audit(f, &f->p, &a);
}

static void test_keys__any_number_of_audit_keys_may_be_drawn_before_a_commit(void **state)
{
    struct fixture *f = *state;
    struct err err;
    static struct hash keys[1200];
    struct id p = f->p;
    AUTO_STORE_BATCH rows = store_batch_new();
    for (size_t i = 0; i < COUNT(keys); i++) {
        put_u32be(p.bytes + 12, (uint32_t)i);
        assert_ok(keys_audit(f->keys, &p, 2026, rows, &keys[i], &err));
    }
    assert_ok(store_commit(f->store, rows, &err));
    for (size_t i = 0; i < COUNT(keys); i++) {
        put_u32be(p.bytes + 12, (uint32_t)i);
        check_audit(f, &p, &keys[i]);
    }
}

#define WITH_KEYS(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_KEYS(test_keys__what_was_drawn_is_there_after_a_restart),
        WITH_KEYS(test_keys__another_root_key_opens_nothing),
        WITH_KEYS(test_keys__a_lost_keyring_is_never_drawn_again_over_old_rows),
        WITH_KEYS(test_keys__a_purge_keeps_what_it_was_told_to_keep_and_nothing_else),
        WITH_KEYS(test_keys__I32_a_purged_content_key_put_back_opens_nothing),
        WITH_KEYS(test_keys__an_audit_key_is_one_per_patient_and_year),
        WITH_KEYS(test_keys__an_audit_key_drawn_is_the_one_that_becomes_durable),
        WITH_KEYS(test_keys__an_audit_key_whose_batch_is_given_up_is_durable_with_the_next),
        WITH_KEYS(test_keys__any_number_of_audit_keys_may_be_drawn_before_a_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
