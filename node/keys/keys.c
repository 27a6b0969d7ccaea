#include "node/keys/keys.h"

#include <stdlib.h>

#include "proto/base/builder.h"
#include "proto/base/reader.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"

/* Rows of FAMILY_KEY:
 *   'p' P              -> u32be generation || u32be epoch || PK wrapped by KEK_epoch
 *   'd' P content      -> u32be generation || DEK wrapped by PK of that generation
 *   'a' P(or 0) u16be year -> u32be epoch || AK wrapped by KEK_epoch
 *   'f' u8 which       -> u32be epoch || facility key wrapped by KEK_epoch
 * The keyring: nonce || GCM(root, aad "chartmesh keyring v1\n", u32be epoch || KEK), one epoch until they roll. */
enum { ROW_MAX = 1 + ID_LEN + ID_LEN, EPOCH_FIRST = 1, AUDIT_CACHE = 256, AUDIT_DRAWN = 512 };
#define KEYRING_AAD BYTES_LIT("chartmesh keyring v1\n")

struct audit_slot {
    struct id p;
    unsigned year;               /* 0: empty */
    struct hash ak;
};

/* What must not reach a core dump or the swap. */
struct secrets {
    struct hash kek, facility[FACILITY_KEY_MARKER + 1];
    struct audit_slot audit[AUDIT_CACHE];        /* the last ones used, by P: all of them durable */
    struct audit_slot drawn[AUDIT_DRAWN];        /* whose rows are in batches that may not be committed yet */
    size_t drawn_len;
};

struct keys {
    struct store *store;
    struct world *world;
    struct signing_key *statement, *checkpoint, *witness;
    struct hash sealing_public;
    uint32_t epoch;
    struct world_lock *lock;             /* of the audit keys in memory */
    struct secrets *secrets;
};

struct row_key {
    uint8_t bytes[ROW_MAX];
    size_t len;
};

static struct bytes row_view(const struct row_key *row)
{
    return BYTES(row->bytes, row->len);
}

static struct row_key row_patient(const struct id *p)
{
    struct row_key row = {.bytes = {'p'}, .len = 1 + ID_LEN};
    memcpy(row.bytes + 1, p->bytes, ID_LEN);
    return row;
}

static struct row_key row_dek(const struct id *p, const struct id *content)
{
    struct row_key row = {.bytes = {'d'}, .len = 1 + 2 * ID_LEN};
    memcpy(row.bytes + 1, p->bytes, ID_LEN);
    memcpy(row.bytes + 1 + ID_LEN, content->bytes, ID_LEN);
    return row;
}

static struct row_key row_audit(const struct id *p, unsigned year)
{
    struct row_key row = {.bytes = {'a'}, .len = 1 + ID_LEN + 2};
    memcpy(row.bytes + 1, p->bytes, ID_LEN);
    put_u16be(row.bytes + 1 + ID_LEN, (uint16_t)year);
    return row;
}

static struct row_key row_facility(enum facility_key which)
{
    return (struct row_key){.bytes = {'f', (uint8_t)which}, .len = 2};
}

/* ---- Wrapped rows ------------------------------------------------------------------------------------------ */

/* A row: up to two numbers and a wrapped key. */
static void put_wrapped(struct store_batch *rows, const struct row_key *row, const uint32_t *numbers, size_t count,
                        const struct hash *kek, const struct hash *key)
{
    uint8_t value[8 + WRAPPED_LEN];
    for (size_t i = 0; i < count; i++) {
        put_u32be(value + 4 * i, numbers[i]);
    }
    key_wrap(kek, key, value + 4 * count);
    store_put(rows, FAMILY_KEY, row_view(row), BYTES(value, 4 * count + WRAPPED_LEN));
}

static bool get_wrapped(struct store *store, const struct row_key *row, uint32_t *numbers, size_t count,
                        uint8_t wrapped[WRAPPED_LEN], struct err *err)
{
    AUTO_ARENA(arena, 4096);
    struct bytes value;
    if (!store_get(store, NULL, FAMILY_KEY, row_view(row), &arena, &value, err)) {
        return false;
    }
    struct reader r = reader_of(value);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = read_u32be(&r);
    }
    struct bytes key = read_bytes(&r, WRAPPED_LEN);
    if (!reader_end(&r)) {
        char place[STORE_PLACE_TEXT];
        return err_raise(err, ERR_CORRUPT, "keys: %s: a row of %zu bytes",
                         store_place(FAMILY_KEY, row_view(row), place), value.len);
    }
    memcpy(wrapped, key.data, WRAPPED_LEN);
    return true;
}

static bool unwrap(const struct row_key *row, const struct hash *kek, const uint8_t wrapped[WRAPPED_LEN],
                   struct hash *out, struct err *err)
{
    char place[STORE_PLACE_TEXT];
    return key_unwrap(kek, BYTES(wrapped, WRAPPED_LEN), out, err) ||
           err_wrap(err, "keys: %s", store_place(FAMILY_KEY, row_view(row), place));
}

static bool unwrap_epoch(const struct keys *keys, const struct row_key *row, uint32_t epoch,
                         const uint8_t wrapped[WRAPPED_LEN], struct hash *out, struct err *err)
{
    char place[STORE_PLACE_TEXT];
    if (epoch != keys->epoch) {
        return err_raise(err, ERR_CORRUPT, "keys: %s: a key of epoch %u, the keyring holds %u",
                         store_place(FAMILY_KEY, row_view(row), place), epoch, keys->epoch);
    }
    return unwrap(row, &keys->secrets->kek, wrapped, out, err);
}

/* ---- Opening ----------------------------------------------------------------------------------------------- */

static bool store_has_keys(struct store *store, bool *out, struct err *err)
{
    const struct store_span all = {.prefix = BYTES_LIT("f")};
    AUTO_STORE_ITER iter = NULL;
    if (!store_iter_open(store, NULL, FAMILY_KEY, &all, &iter, err)) {
        return false;
    }
    *out = store_iter_next(iter);
    return store_iter_check(iter, err);
}

static bool keyring_draw(struct keys *keys, const struct hash *root, const struct keyring_port *port,
                         struct err *err)
{
    AUTO_ARENA(arena, 4096);
    uint8_t plain[4 + HASH_LEN];
    struct bytes sealed;
    bool used = false;
    if (!store_has_keys(keys->store, &used, err)) {
        return false;
    }
    if (used) {
        return err_raise(err, ERR_CORRUPT,
                         "keys: the keyring is missing, and the store's keys are wrapped by it: "
                         "put the keyring file back");
    }
    keys->epoch = EPOCH_FIRST;
    random_fill(keys->secrets->kek.bytes, HASH_LEN);
    put_u32be(plain, keys->epoch);
    memcpy(plain + 4, keys->secrets->kek.bytes, HASH_LEN);
    bool ok = seal_random(root, KEYRING_AAD, BYTES(plain, sizeof plain), &arena, &sealed, err) &&
              port->save(port->context, sealed, err);
    secret_wipe(plain, sizeof plain);
    return ok;
}

static bool keyring_open(struct keys *keys, const struct hash *root, const struct keyring_port *port,
                         struct err *err)
{
    AUTO_ARENA(arena, 4096);
    struct bytes sealed, plain;
    if (!port->load(port->context, &arena, &sealed, err)) {
        return err->code == ERR_NOT_FOUND ? keyring_draw(keys, root, port, err) : err_wrap(err, "keyring");
    }
    if (!seal_open(root, KEYRING_AAD, sealed, &arena, &plain, err)) {
        return err_raise(err, ERR_CORRUPT, "keys: the root key does not open the keyring: is it this node's?");
    }
    struct reader r = reader_of(plain);
    keys->epoch = read_u32be(&r);
    keys->secrets->kek = read_hash(&r);
    bool ok = reader_end(&r);
    secret_wipe((void *)(uintptr_t)plain.data, plain.len);
    return ok || err_raise(err, ERR_CORRUPT, "keys: the keyring has %zu bytes", plain.len);
}

static bool facility_keys_open(struct keys *keys, struct err *err)
{
    AUTO_STORE_BATCH rows = store_batch_new();
    for (enum facility_key which = FACILITY_KEY_INDEX; which <= FACILITY_KEY_MARKER; which++) {
        struct row_key row = row_facility(which);
        struct hash *key = &keys->secrets->facility[which];
        uint8_t wrapped[WRAPPED_LEN];
        uint32_t epoch = keys->epoch;
        if (get_wrapped(keys->store, &row, &epoch, 1, wrapped, err)) {
            if (!unwrap_epoch(keys, &row, epoch, wrapped, key, err)) {
                return err_wrap(err, "facility key %d", (int)which);
            }
        } else if (err->code == ERR_NOT_FOUND) {
            random_fill(key->bytes, HASH_LEN);
            put_wrapped(rows, &row, &epoch, 1, &keys->secrets->kek, key);
        } else {
            return false;
        }
    }
    return store_batch_rows(rows) == 0 || store_commit(keys->store, rows, err);
}

bool keys_open(struct store *store, struct world *world, const struct keys_secrets *secrets,
               const struct keyring_port *port, struct keys **out, struct err *err)
{
    struct keys *keys = calloc(1, sizeof *keys);
    if (!keys) {
        return err_raise(err, ERR_TOO_MUCH, "keys: no memory");
    }
    keys->store = store;
    keys->world = world;
    keys->lock = world_lock_new(world);
    keys->secrets = secret_new(sizeof *keys->secrets);
    keys->sealing_public = x25519_public(&secrets->sealing);
    if (!signing_key_new(&secrets->statement, &keys->statement, err) ||
        !signing_key_new(&secrets->checkpoint, &keys->checkpoint, err) ||
        !signing_key_new(&secrets->witness, &keys->witness, err) ||
        !keyring_open(keys, &secrets->root, port, err) || !facility_keys_open(keys, err)) {
        keys_close(keys);
        return false;
    }
    *out = keys;
    return true;
}

void keys_close(struct keys *keys)
{
    if (!keys) {
        return;
    }
    world_lock_free(keys->lock);
    signing_key_free(keys->statement);
    signing_key_free(keys->checkpoint);
    signing_key_free(keys->witness);
    secret_free(keys->secrets);
    free(keys);
}

const struct signing_key *keys_statement(const struct keys *keys)
{
    return keys->statement;
}

const struct signing_key *keys_checkpoint(const struct keys *keys)
{
    return keys->checkpoint;
}

const struct signing_key *keys_witness(const struct keys *keys)
{
    return keys->witness;
}

const struct hash *keys_sealing_public(const struct keys *keys)
{
    return &keys->sealing_public;
}

const struct hash *keys_facility(const struct keys *keys, enum facility_key which)
{
    return &keys->secrets->facility[which];
}

/* ---- Patients ---------------------------------------------------------------------------------------------- */

static bool patient_key(struct keys *keys, const struct id *p, struct hash *pk, uint32_t *generation,
                        struct err *err)
{
    struct row_key row = row_patient(p);
    uint8_t wrapped[WRAPPED_LEN];
    uint32_t numbers[2];
    if (!get_wrapped(keys->store, &row, numbers, 2, wrapped, err) ||
        !unwrap_epoch(keys, &row, numbers[1], wrapped, pk, err)) {
        return false;
    }
    *generation = numbers[0];
    return true;
}

static void patient_key_put(struct keys *keys, const struct id *p, uint32_t generation, const struct hash *pk,
                            struct store_batch *rows)
{
    struct row_key row = row_patient(p);
    put_wrapped(rows, &row, (uint32_t[]){generation, keys->epoch}, 2, &keys->secrets->kek, pk);
}

bool keys_dek_new(struct keys *keys, const struct id *p, const struct id *content, struct store_batch *rows,
                  struct hash *dek, struct err *err)
{
    AUTO_WIPE_HASH(pk);
    uint32_t generation = 1;
    if (!patient_key(keys, p, &pk, &generation, err)) {
        if (err->code != ERR_NOT_FOUND) {
            return err_wrap(err, "patient key");
        }
        pk = random_hash();
        patient_key_put(keys, p, generation, &pk, rows);
    }
    *dek = random_hash();
    struct row_key row = row_dek(p, content);
    put_wrapped(rows, &row, &generation, 1, &pk, dek);
    return true;
}

/* Both rows of one moment: a purge may come between, and readers hold no lock. */
static bool dek_rows(struct keys *keys, const struct id *p, const struct id *content, struct hash *pk,
                     uint8_t wrapped[WRAPPED_LEN], struct err *err)
{
    enum { TRIES = 8 };
    struct row_key row = row_dek(p, content);
    uint32_t wrapped_by = 0, generation = 0;
    for (int i = 0; i < TRIES; i++) {
        if (!get_wrapped(keys->store, &row, &wrapped_by, 1, wrapped, err) ||
            !patient_key(keys, p, pk, &generation, err)) {
            return false;
        }
        if (wrapped_by == generation) {
            return true;
        }
    }
    char place[STORE_PLACE_TEXT];
    return err_raise(err, ERR_CORRUPT, "keys: %s: of generation %u, the patient's key is of %u",
                     store_place(FAMILY_KEY, row_view(&row), place), wrapped_by, generation);
}

bool keys_dek(struct keys *keys, const struct id *p, const struct id *content, struct hash *dek, struct err *err)
{
    AUTO_WIPE_HASH(pk);
    uint8_t wrapped[WRAPPED_LEN];
    struct row_key row = row_dek(p, content);
    return dek_rows(keys, p, content, &pk, wrapped, err) && unwrap(&row, &pk, wrapped, dek, err);
}

void keys_dek_drop(const struct id *p, const struct id *content, struct store_batch *rows)
{
    struct row_key row = row_dek(p, content);
    store_delete(rows, FAMILY_KEY, row_view(&row));
}

bool keys_purge(struct keys *keys, const struct id *p, const struct id *keep, size_t count,
                struct store_batch *rows, struct err *err)
{
    AUTO_WIPE_HASH(pk);
    AUTO_WIPE_HASH(fresh);
    uint32_t generation;
    if (!patient_key(keys, p, &pk, &generation, err)) {
        return err->code == ERR_NOT_FOUND;                    /* nothing was ever sealed for this patient */
    }
    fresh = random_hash();
    struct row_key patient = row_patient(p), prefix = row_dek(p, &(struct id){0});
    prefix.len = 1 + ID_LEN;
    const struct store_span span = {.prefix = row_view(&prefix)};
    AUTO_STORE_ITER iter = NULL;
    if (!store_iter_open(keys->store, NULL, FAMILY_KEY, &span, &iter, err)) {
        return false;
    }
    while (store_iter_next(iter)) {
        store_delete(rows, FAMILY_KEY, store_iter_key(iter));
    }
    if (!store_iter_check(iter, err)) {
        return false;
    }
    if (count == 0) {
        store_delete(rows, FAMILY_KEY, row_view(&patient));
        return true;
    }
    uint32_t next = generation + 1;
    for (size_t i = 0; i < count; i++) {
        AUTO_WIPE_HASH(dek);
        struct row_key row = row_dek(p, &keep[i]);
        if (!keys_dek(keys, p, &keep[i], &dek, err)) {
            return err_wrap(err, "keep a content key");
        }
        put_wrapped(rows, &row, &next, 1, &fresh, &dek);
    }
    patient_key_put(keys, p, next, &fresh, rows);
    return true;
}

/* ---- Audit keys --------------------------------------------------------------------------------------------- */

static bool slot_is(const struct audit_slot *slot, const struct id *p, unsigned year)
{
    return slot->year == year && id_equal(&slot->p, p);
}

static bool audit_stored(const struct keys *keys, const struct id *p, unsigned year, struct hash *ak,
                         struct err *err)
{
    struct row_key row = row_audit(p, year);
    uint8_t wrapped[WRAPPED_LEN];
    uint32_t epoch;
    return get_wrapped(keys->store, &row, &epoch, 1, wrapped, err) &&
           (unwrap_epoch(keys, &row, epoch, wrapped, ak, err) || err_wrap(err, "audit key of %u", year));
}

static void audit_put(const struct keys *keys, const struct audit_slot *slot, struct store_batch *rows)
{
    struct row_key row = row_audit(&slot->p, slot->year);
    put_wrapped(rows, &row, &keys->epoch, 1, &keys->secrets->kek, &slot->ak);
}

/* Forgets drawn keys that a commit has made durable since. */
static bool drawn_sweep(struct keys *keys, struct err *err)
{
    struct secrets *s = keys->secrets;
    size_t kept = 0;
    for (size_t i = 0; i < s->drawn_len; i++) {
        AUTO_WIPE_HASH(ak);
        bool durable = audit_stored(keys, &s->drawn[i].p, s->drawn[i].year, &ak, err);
        if (!durable && err->code != ERR_NOT_FOUND) {
            return false;
        }
        if (!durable) {
            s->drawn[kept++] = s->drawn[i];
        }
    }
    s->drawn_len = kept;
    return true;
}

/* A key that is not in the store yet: the one drawn for it before, or a new one. Its row goes into `rows` each
 * time, so that it is durable with whatever is first sealed by it, and a transaction that is given up does no
 * harm. */
static bool audit_drawn(struct keys *keys, const struct id *p, unsigned year, struct store_batch *rows,
                        struct hash *ak, struct err *err)
{
    struct secrets *s = keys->secrets;
    for (size_t i = 0; i < s->drawn_len; i++) {
        if (slot_is(&s->drawn[i], p, year)) {
            audit_put(keys, &s->drawn[i], rows);
            *ak = s->drawn[i].ak;
            return true;
        }
    }
    if (s->drawn_len == COUNT(s->drawn) && !drawn_sweep(keys, err)) {
        return false;
    }
    struct audit_slot fresh = {.p = *p, .year = year, .ak = random_hash()};
    *ak = fresh.ak;
    if (s->drawn_len == COUNT(s->drawn)) {
        AUTO_STORE_BATCH alone = store_batch_new();
        audit_put(keys, &fresh, alone);
        if (!store_commit(keys->store, alone, err)) {
            world_fatal(keys->world, err);
        }
    } else {
        audit_put(keys, &fresh, rows);
        s->drawn[s->drawn_len++] = fresh;
    }
    secret_wipe(&fresh, sizeof fresh);
    return true;
}

bool keys_audit(struct keys *keys, const struct id *p, unsigned year, struct store_batch *rows, struct hash *ak,
                struct err *err)
{
    static const struct id facility = {0};
    p = p ? p : &facility;
    if (!rows) {
        return audit_stored(keys, p, year, ak, err);
    }
    AUTO_LOCKED(locked, keys->lock);
    struct audit_slot *slot = &keys->secrets->audit[p->bytes[0] % AUDIT_CACHE];
    if (slot_is(slot, p, year)) {
        *ak = slot->ak;
        return true;
    }
    if (!audit_stored(keys, p, year, ak, err)) {
        return err->code == ERR_NOT_FOUND && audit_drawn(keys, p, year, rows, ak, err);
    }
    *slot = (struct audit_slot){.p = *p, .year = year, .ak = *ak};
    return true;
}
