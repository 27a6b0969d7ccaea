/* Transactions: what a caller prepares. */
#include "node/log/log_inside.h"

#include <stdlib.h>

enum { TXN_ARENA = 1 << 20 };

struct log_txn *log_txn_new(struct log *log)
{
    struct log_txn *txn = calloc(1, sizeof *txn);
    if (!txn) {
        abort();
    }
    txn->log = log;
    txn->rows = store_batch_new();
    txn->entries_end = &txn->entries;
    arena_init(&txn->arena, TXN_ARENA);
    log_txn_began(txn);
    return txn;
}

void log_txn_free(struct log_txn *txn)
{
    if (!txn) {
        return;
    }
    log_txn_ended(txn);
    store_batch_free(txn->rows);
    arena_done(&txn->arena);
    free(txn);
}

struct store_batch *log_txn_rows(struct log_txn *txn)
{
    return txn->rows;
}

static bool copy_text(struct arena *arena, const char **text, struct err *err)
{
    char *copy = NULL;
    if (*text && !arena_string(arena, bytes_str(*text), &copy, err)) {
        return false;
    }
    *text = copy;
    return true;
}

static int compare_hashes(const void *a, const void *b)
{
    return memcmp(a, b, HASH_LEN);
}

static bool copy_objects(struct arena *arena, struct log_entry *entry, struct err *err)
{
    void *memory;
    if (!arena_array(arena, entry->objects_len, HASH_LEN, &memory, err)) {
        return false;
    }
    struct hash *objects = memory;
    if (entry->objects_len) {
        memcpy(objects, entry->objects, entry->objects_len * HASH_LEN);
        qsort(objects, entry->objects_len, HASH_LEN, compare_hashes);
    }
    size_t kept = 0;
    for (size_t i = 0; i < entry->objects_len; i++) {
        if (kept == 0 || !hash_equal(&objects[kept - 1], &objects[i])) {
            objects[kept++] = objects[i];
        }
    }
    entry->objects = objects;
    entry->objects_len = kept;
    return true;
}

static bool copy_decision(struct arena *arena, struct log_entry *entry, struct err *err)
{
    if (!entry->decision) {
        return true;
    }
    size_t len = protobuf_c_message_get_packed_size(&entry->decision->base);
    void *packed;
    if (!arena_alloc(arena, len, &packed, err)) {
        return false;
    }
    protobuf_c_message_pack(&entry->decision->base, packed);
    ProtobufCAllocator allocator = {arena_unpack_alloc, arena_unpack_free, arena};
    entry->decision = chartmesh__v1__decision__unpack(&allocator, len, packed);
    return entry->decision || err_raise(err, ERR_TOO_MUCH, "log entry: its decision does not fit");
}

bool log_txn_add(struct log_txn *txn, const struct log_entry *entry, struct err *err)
{
    if (entry->objects_len > ENTRY_OBJECTS_MAX) {
        return err_raise(err, ERR_INVALID, "log entry: %zu objects, at most %d", entry->objects_len,
                         ENTRY_OBJECTS_MAX);
    }
    void *memory;
    if (!arena_alloc(&txn->arena, sizeof(struct log_txn_entry), &memory, err)) {
        return false;
    }
    struct log_txn_entry *mine = memory;
    mine->entry = *entry;
    struct log_entry *copy = &mine->entry;
    if (entry->who) {
        mine->who = *entry->who;
        mine->who.user = mine->who.user ? mine->who.user : "";
        copy->who = &mine->who;
        if (!copy_text(&txn->arena, &mine->who.principal, err) || !copy_text(&txn->arena, &mine->who.user, err)) {
            return false;
        }
    }
    if (entry->subject) {
        mine->subject = *entry->subject;
        copy->subject = &mine->subject;
    }
    if (entry->disclosure) {
        mine->disclosure = *entry->disclosure;
        copy->disclosure = &mine->disclosure;
    }
    if (entry->counterpart) {
        mine->counterpart = *entry->counterpart;
        copy->counterpart = &mine->counterpart;
    }
    if (!copy_text(&txn->arena, &copy->role, err) || !copy_text(&txn->arena, &copy->purpose, err) ||
        !copy_text(&txn->arena, &copy->reason, err) || !copy_objects(&txn->arena, copy, err) ||
        !copy_decision(&txn->arena, copy, err)) {
        return false;
    }
    *txn->entries_end = mine;
    txn->entries_end = &mine->next;
    txn->entries_len++;
    return true;
}

bool log_txn_feed(struct log_txn *txn, struct bytes value, struct err *err)
{
    if (txn->feed_len == FEED_PARTS_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "change feed: over %d rows in one transaction", FEED_PARTS_MAX);
    }
    if (!arena_copy(&txn->arena, value, &txn->feed[txn->feed_len], err)) {
        return false;
    }
    txn->feed_len++;
    txn->notify = true;
    return true;
}

bool log_txn_mark(struct log_txn *txn, enum store_family family, struct bytes key, struct err *err)
{
    txn->mark_family = family;
    return arena_copy(&txn->arena, key, &txn->mark, err);
}

void log_txn_notify(struct log_txn *txn)
{
    txn->notify = true;
}
