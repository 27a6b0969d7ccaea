/* A group: gives every transaction of it its place, and writes them in one synced batch.
 *
 * Who does so, and when, stands in queue.c. A failed write ends the process: what is on the disk is unknown then.
 */
#include "node/log/log_inside.h"

#include <stdlib.h>

#include "proto/base/builder.h"
#include "proto/base/reader.h"
#include "proto/content/entry_row.h"
#include "proto/crypto/random.h"
#include "proto/statement/entry.h"

/* Chain states that this group has moved: their rows are written once, at its end. */
struct moved {
    struct hash key;
    struct log_chain state;
    struct moved *next;
};
enum { MOVED_BUCKETS = 256 };

struct group {
    struct log *log;
    struct store_batch *rows;
    struct arena *arena;
    struct moved *moved[MOVED_BUCKETS];
    struct enrolled *enrolled;
    uint64_t now_hlc;
    bool notify;
};

/* Actors that this group enrolled: their rows are not visible yet. */
struct enrolled {
    struct row row;
    struct hash actor;
    struct enrolled *next;
};

static void put(struct group *g, enum store_family family, const struct row *row, struct bytes value)
{
    store_put(g->rows, family, row_bytes(row), value);
}

static bool put_sealed(struct group *g, const struct row *row, struct bytes plain, struct err *err)
{
    struct bytes sealed;
    if (!log_seal(g->log, row, plain, g->arena, &sealed, err)) {
        return false;
    }
    put(g, FAMILY_MAP, row, sealed);
    return true;
}

/* ---- Chains -------------------------------------------------------------------------------------------------- */

static bool moved_state(struct group *g, const struct hash *key, struct moved **out, struct err *err)
{
    struct moved **bucket = &g->moved[key->bytes[0]];
    for (struct moved *m = *bucket; m; m = m->next) {
        if (hash_equal(&m->key, key)) {
            *out = m;
            return true;
        }
    }
    void *memory;
    if (!arena_alloc(g->arena, sizeof(struct moved), &memory, err)) {
        return false;
    }
    struct moved *m = memory;
    m->key = *key;
    if (!recent_chain_find(g->log->recent, key, &m->state) && !log_chain_state(g->log, key, &m->state, err)) {
        if (err->code != ERR_NOT_FOUND) {
            return false;
        }
        m->state = (struct log_chain){.chain = chain_start(key)};
    }
    m->next = *bucket;
    *bucket = m;
    *out = m;
    return true;
}

static bool chain_link(struct group *g, const struct hash *key, uint64_t index, const struct hash *commitment,
                       struct err *err)
{
    struct moved *m;
    if (!moved_state(g, key, &m, err)) {
        return false;
    }
    m->state.chain = chain_next(&m->state.chain, commitment);
    m->state.last = index;
    m->state.count++;
    uint8_t plain[8 + HASH_LEN];
    put_u64be(plain, index);
    memcpy(plain + 8, m->state.chain.bytes, HASH_LEN);
    struct row row = row_position(key, m->state.count);
    return put_sealed(g, &row, BYTES(plain, sizeof plain), err);
}

static bool chains_write(struct group *g, struct err *err)
{
    for (size_t i = 0; i < MOVED_BUCKETS; i++) {
        for (const struct moved *m = g->moved[i]; m; m = m->next) {
            uint8_t plain[16 + HASH_LEN];
            put_u64be(plain, m->state.count);
            put_u64be(plain + 8, m->state.last);
            memcpy(plain + 16, m->state.chain.bytes, HASH_LEN);
            struct row row = row_key('c', &m->key);
            if (!put_sealed(g, &row, BYTES(plain, sizeof plain), err)) {
                return false;
            }
            recent_chain_set(g->log->recent, &m->key, &m->state);
        }
    }
    return true;
}

/* The map takes the states of this group: before a MAP entry, and at the group's end. */
static void chains_to_map(struct group *g)
{
    for (size_t i = 0; i < MOVED_BUCKETS; i++) {
        for (const struct moved *m = g->moved[i]; m; m = m->next) {
            struct hash value = map_value(m->state.count, m->state.last, &m->state.chain);
            map_set(g->log->map, &m->key, &value);
        }
    }
}

/* ---- Entries ------------------------------------------------------------------------------------------------- */

static void sink_hash(void *context, unsigned level, uint64_t n, const struct hash *hash)
{
    struct row row = row_tree(level, n);
    put(context, FAMILY_LOG, &row, BYTES_OF(*hash));
}

/* Encodes, commits to, seals and links one entry: the next of the log. */
static bool entry_append(struct group *g, Chartmesh__V1__Entry *entry, const struct subject *subject,
                         const struct hash *actor, struct err *err)
{
    struct log *log = g->log;
    uint64_t index = log->edge.size;
    struct bytes encoded, row_value;
    uint64_t hlc = world_hlc(log->world);
    entry->hlc = log->last_hlc = hlc > log->last_hlc ? hlc : log->last_hlc + 1;
    if (!entry_pack(entry, g->arena, &encoded, err)) {
        return err_wrap(err, "log entry of kind %d", (int)entry->kind);
    }
    struct hash r = random_hash(), commitment = entry_commitment(&r, encoded), leaf = leaf_hash(&commitment);
    AUTO_WIPE_HASH(ak);
    const struct id none = {0};
    if (!keys_audit(log->keys, subject ? &subject->p : NULL, year_of_hlc(entry->hlc), g->rows, &ak, err) ||
        !entry_row_seal(keys_facility(log->keys, FACILITY_KEY_LOG), &ak, subject ? &subject->p : &none,
                        &commitment, &r, encoded, g->arena, &row_value, err)) {
        return false;
    }
    AUTO_BUILDER(b, 1 << 20);
    build_bytes(&b, BYTES_OF(commitment));
    build_bytes(&b, row_value);
    struct row row = row_number('e', index);
    put(g, FAMILY_LOG, &row, builder_view(&b));
    merkle_edge_add(&log->edge, &leaf, sink_hash, g);
    log->map_since++;
    if (subject) {
        struct hash key = map_key_patient(&subject->facility, &subject->patient);
        if (!chain_link(g, &key, index, &commitment, err)) {
            return false;
        }
    }
    if (actor) {
        struct hash key = map_key_actor(&log->facility, actor);
        if (!chain_link(g, &key, index, &commitment, err)) {
            return false;
        }
    }
    return true;
}

static bool enrol(struct group *g, const struct log_who *who, const struct row *row, struct hash *actor,
                  struct err *err)
{
    struct hash salt = random_hash();
    *actor = actor_id(&salt, who->principal, who->user);
    Chartmesh__V1__Enrol message = CHARTMESH__V1__ENROL__INIT;
    message.salt = pb_bytes(BYTES_OF(salt));
    message.principal = (char *)(uintptr_t)who->principal;
    message.user = (char *)(uintptr_t)who->user;
    Chartmesh__V1__Entry entry = CHARTMESH__V1__ENTRY__INIT;
    entry.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_ENROL;
    entry.actor = pb_bytes(BYTES_OF(*actor));
    entry.enrol = &message;

    uint8_t plain[HASH_LEN + HASH_LEN + 8], index[8];
    memcpy(plain, actor->bytes, HASH_LEN);
    memcpy(plain + HASH_LEN, salt.bytes, HASH_LEN);
    put_u64be(plain + 2 * HASH_LEN, g->log->edge.size);
    put_u64be(index, g->log->edge.size);
    struct row by_actor = row_key('a', actor);
    void *memory;
    if (!put_sealed(g, row, BYTES(plain, sizeof plain), err) ||
        !put_sealed(g, &by_actor, BYTES(index, sizeof index), err) ||
        !arena_alloc(g->arena, sizeof(struct enrolled), &memory, err)) {
        return false;
    }
    struct enrolled *mine = memory;
    *mine = (struct enrolled){.row = *row, .actor = *actor, .next = g->enrolled};
    g->enrolled = mine;
    return entry_append(g, &entry, NULL, actor, err);
}

static bool actor_of(struct group *g, const struct log_who *who, struct hash *actor, struct err *err)
{
    if (recent_who_find(g->log->recent, who, actor)) {
        return true;
    }
    struct row row = row_who(g->log, who);
    for (const struct enrolled *e = g->enrolled; e; e = e->next) {
        if (bytes_equal(row_bytes(&e->row), row_bytes(&row))) {
            *actor = e->actor;
            return true;
        }
    }
    bool known = log_who_find(g->log, who, actor, NULL, err);
    if (!known && (err->code != ERR_NOT_FOUND || !enrol(g, who, &row, actor, err))) {
        return false;
    }
    recent_who_set(g->log->recent, who, actor);
    return true;
}

static char *text_of(const char *text)
{
    return text ? (char *)(uintptr_t)text : "";
}

static bool txn_entry(struct group *g, const struct log_entry *in, struct err *err)
{
    struct hash actor;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__Entry entry = CHARTMESH__V1__ENTRY__INIT;
    entry.kind = in->kind;
    entry.role = text_of(in->role);
    entry.purpose = text_of(in->purpose);
    entry.reason = text_of(in->reason);
    entry.extent = in->extent;
    entry.decision = (Chartmesh__V1__Decision *)(uintptr_t)in->decision;
    if (in->who) {
        if (!actor_of(g, in->who, &actor, err)) {
            return false;
        }
        entry.actor = pb_bytes(BYTES_OF(actor));
    }
    if (in->subject) {
        subject.facility = pb_bytes(BYTES_OF(in->subject->facility));
        subject.patient = pb_bytes(BYTES_OF(in->subject->patient));
        entry.subject = &subject;
    }
    if (in->disclosure) {
        entry.disclosure = pb_bytes(BYTES_OF(*in->disclosure));
    }
    if (in->counterpart) {
        entry.counterpart = pb_bytes(BYTES_OF(*in->counterpart));
    }
    void *memory;
    if (!arena_array(g->arena, in->objects_len, sizeof(ProtobufCBinaryData), &memory, err)) {
        return false;
    }
    entry.objects = memory;
    entry.n_objects = in->objects_len;
    for (size_t i = 0; i < in->objects_len; i++) {
        entry.objects[i] = pb_bytes(BYTES_OF(in->objects[i]));
    }
    return entry_append(g, &entry, in->subject, in->who ? &actor : NULL, err);
}

static bool txn_write(struct group *g, struct log_txn *txn, struct err *err)
{
    store_batch_append(g->rows, txn->rows);
    txn->first = UINT64_MAX;
    for (const struct log_txn_entry *e = txn->entries; e; e = e->next) {
        if (!txn_entry(g, &e->entry, err)) {
            return false;
        }
        if (txn->first == UINT64_MAX) {
            txn->first = g->log->edge.size - 1; /* an ENROL entry may stand before it */
        }
    }
    for (size_t i = 0; i < txn->feed_len; i++) {
        struct row row = row_number('f', g->log->feed_next++);
        put(g, FAMILY_LOG, &row, txn->feed[i]);
    }
    if (txn->mark.len && txn->first != UINT64_MAX) {
        uint8_t first[8];
        put_u64be(first, txn->first);
        store_put(g->rows, txn->mark_family, txn->mark, BYTES(first, sizeof first));
    }
    g->notify = g->notify || txn->notify;
    return true;
}

/* ---- The map epoch ------------------------------------------------------------------------------------------- */

static bool map_due(const struct log *log)
{
    return log->map_since > 0 && (log->map_wanted || log->map_since >= log->map_every_entries ||
                                  world_mono_ms(log->world) - log->map_since_mono_ms >= log->map_every_ms);
}

static bool map_append(struct group *g, struct map **snapshot, struct err *err)
{
    struct log *log = g->log;
    log_map_complete(log);
    chains_to_map(g);
    *snapshot = map_snapshot(log->map);
    struct hash root = map_root(log->map);
    Chartmesh__V1__Entry entry = CHARTMESH__V1__ENTRY__INIT;
    entry.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_MAP;
    entry.root = pb_bytes(BYTES_OF(root));
    bool ok = entry_append(g, &entry, NULL, NULL, err);
    log->map_since = 0;
    return ok;
}

/* ---- The group ----------------------------------------------------------------------------------------------- */

static bool group_finish(struct group *g, struct log_group *out, struct err *err)
{
    struct log *log = g->log;
    struct bytes note;
    uint8_t state[32 + 2 * ID_LEN];
    struct hash root = merkle_edge_root(&log->edge);
    put_u64be(state, log->edge.size);
    put_u64be(state + 8, log->incarnation);
    put_u64be(state + 16, log->last_hlc);
    put_u64be(state + 24, out->map_epoch);
    memcpy(state + 32, log->facility.bytes, ID_LEN);
    memcpy(state + 32 + ID_LEN, log->network.bytes, ID_LEN);
    chains_to_map(g);
    if (!chains_write(g, err) ||
        !checkpoint_sign(log->origin, log->edge.size, &root, keys_checkpoint(log->keys), g->arena, &note, err) ||
        !log_note_set(&out->note, note, err)) {
        return false;
    }
    store_put(g->rows, FAMILY_META, BYTES_LIT("log"), BYTES(state, sizeof state));
    store_put(g->rows, FAMILY_META, BYTES_LIT("checkpoint"), note);
    out->bytes = store_batch_bytes(g->rows);
    uint64_t begin = world_mono_us(log->world);
    bool ok = store_commit(log->store, g->rows, err);
    out->sync_us = world_mono_us(log->world) - begin;
    return ok;
}

void log_write_group(struct log *log, struct log_txn *txns, struct log_group *out)
{
    struct err err;
    AUTO_STORE_BATCH rows = store_batch_new();
    arena_init(&log->scratch, COMMIT_ARENA);
    struct group g = {.log = log, .rows = rows, .arena = &log->scratch};
    uint64_t size = log->edge.size;
    bool ok = true, had = log->map_since > 0;
    for (struct log_txn *txn = txns; ok && txn; txn = txn->next) {
        ok = txn_write(&g, txn, &err);
    }
    if (!had && log->map_since > 0) {
        log->map_since_mono_ms = world_mono_ms(log->world);
    }
    if (ok && (out->map_now || map_due(log)) && log->map_since > 0) {
        ok = map_append(&g, &out->map, &err);
        out->map_epoch = log->edge.size;
    }
    ok = ok && group_finish(&g, out, &err);
    if (!ok) {
        (void)err_wrap(&err, "log commit");
        world_fatal(log->world, &err);
    }
    out->entries = log->edge.size - size;
    out->notify = g.notify;
    arena_done(&log->scratch);
}
