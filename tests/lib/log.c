#include "tests/lib/log.h"

#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "tests/lib/test.h"

static bool small_load(void *context, struct arena *arena, struct bytes *out, struct err *err)
{
    struct small *file = context;
    return file->len ? arena_copy(arena, BYTES(file->bytes, file->len), out, err)
                     : err_raise(err, ERR_NOT_FOUND, "no file");
}

static bool small_save(void *context, struct bytes content, struct err *err)
{
    struct small *file = context;
    (void)err;
    memcpy(file->bytes, content.data, content.len);
    file->len = content.len;
    return true;
}

bool log_fixture_open(struct log_fixture *f, struct err *err)
{
    const struct keyring_port ring = {small_load, small_save, &f->keyring};
    f->world = world_sim_world(f->sim, 0);
    const struct store_options options = {.disk = f->disk};
    if (!store_open(&options, &f->store, err)) {
        return false;
    }
    if (!keys_open(f->store, f->world, &f->secrets, &ring, &f->keys, err)) {
        return false;
    }
    const struct log_options log = {
        .store = f->store,
        .keys = f->keys,
        .world = f->world,
        .anchor = {small_load, small_save, &f->anchor},
        .network = f->network,
        .facility = f->facility,
        .domain = "st-anna.example",
        .linger_us = f->linger_us,
        .commit_entries = f->commit_entries,
    };
    return log_open(&log, &f->log, err);
}

void log_fixture_close(struct log_fixture *f)
{
    log_close(f->log);
    f->log = NULL;
    keys_close(f->keys);
    f->keys = NULL;
    store_close(f->store);
    world_close(f->world);
}

int log_fixture_setup(void **state)
{
    static struct log_fixture f;
    struct err err = {0};
    f = (struct log_fixture){
        .sim = world_sim_new(7), .disk = store_disk_new(), .network = random_id(), .facility = random_id()};
    struct id patient = random_id();
    f.subject = subject_make(&f.facility, &patient);
    f.secrets = (struct keys_secrets){random_hash(), random_hash(), random_hash(), random_hash(), random_hash()};
    assert_ok(log_fixture_open(&f, &err));
    *state = &f;
    return 0;
}

int log_fixture_teardown(void **state)
{
    struct log_fixture *f = *state;
    log_fixture_close(f);
    store_disk_free(f->disk);
    world_sim_free(f->sim);
    return 0;
}

const struct log_who log_alice = {"spiffe://n/st-anna.example/app/emr", "alice"};

uint64_t log_fixture_write(struct log_fixture *f, const struct subject *subject, const struct log_who *who)
{
    struct err err;
    struct hash object = random_hash();
    uint64_t index;
    const struct log_entry entry = {.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WRITE,
                                    .who = who,
                                    .role = "urn:chartmesh:role|nurse",
                                    .purpose = "TREAT",
                                    .subject = subject,
                                    .objects = &object,
                                    .objects_len = 1};
    struct log_txn *txn = log_txn_new(f->log);
    assert_ok(log_txn_add(txn, &entry, &err));
    assert_ok(log_commit(txn, &index, &err));
    return index;
}
