/* What is read from the log. */
#include "node/log/log_inside.h"

#include <stdlib.h>

#include "proto/base/reader.h"
#include "proto/content/entry_row.h"
#include "proto/statement/entry.h"

enum { ROW_ARENA = 1 << 20 };

const char *log_origin(const struct log *log)
{
    return log->origin;
}

uint64_t log_incarnation(const struct log *log)
{
    return log->incarnation;
}

struct bytes log_epoch_statement(const struct log *log)
{
    return log->epoch_statement;
}

const struct id *log_network(const struct log *log)
{
    return &log->network;
}

const struct id *log_facility(const struct log *log)
{
    return &log->facility;
}

uint64_t log_newest_ms(struct log *log)
{
    AUTO_LOCKED(locked, log->lock);
    return hlc_ms(log->hlc_durable);
}

/* ---- Entries and chains ----------------------------------------------------------------------------------------- */

static bool entry_open_sealed(struct log *log, struct bytes sealed, struct arena *arena, struct log_opened *out,
                              struct err *err)
{
    struct entry_row row;
    AUTO_WIPE_HASH(ak);
    const struct hash *log_key = keys_facility(log->keys, FACILITY_KEY_LOG);
    if (!entry_row_read(log_key, &out->commitment, sealed, arena, &row, err)) {
        return false;
    }
    /* The row does not say its year: the entry's clock is inside. Try from the newest year back. */
    world_lock_take(log->lock);
    unsigned newest = year_of_hlc(log->hlc_durable);
    world_lock_give(log->lock);
    bool found = false;
    for (unsigned year = newest; year + 100 > newest && year >= 1970; year--) {
        if (!keys_audit(log->keys, id_is_zero(&row.key_ref) ? NULL : &row.key_ref, year, NULL, &ak, err)) {
            if (err->code != ERR_NOT_FOUND) {
                return false;
            }
            continue;
        }
        found = true;
        if (entry_row_open(&row, &ak, &out->commitment, arena, &out->r, &out->entry, err)) {
            Chartmesh__V1__Entry *message;
            if (!entry_unpack(out->entry, arena, &message, err)) {
                return false;
            }
            out->message = message;
            return true;
        }
        if (err->code != ERR_CORRUPT) { /* short of memory is no wrong key */
            return false;
        }
    }
    return found ? err_raise(err, ERR_CORRUPT, "log: no key of this entry opens it")
                 : err_raise(err, ERR_NOT_FOUND, "log: the key of this entry is destroyed");
}

/* The row is the entry that stands there in the tree, not one from another place. */
static bool is_leaf(struct log *log, uint64_t index, const struct hash *commitment, struct err *err)
{
    struct merkle_source source = log_source(log);
    struct hash stored, leaf = leaf_hash(commitment);
    return source.get(source.context, 0, index, &stored, err) &&
           (hash_equal(&stored, &leaf) || err_raise(err, ERR_CORRUPT, "it is not what its leaf says"));
}

bool log_entry_at(struct log *log, uint64_t index, struct arena *arena, struct log_opened *out, struct err *err)
{
    struct row row = row_number('e', index);
    struct bytes value;
    *out = (struct log_opened){0};
    if (!store_get(log->store, NULL, FAMILY_LOG, row_bytes(&row), arena, &value, err)) {
        return err_wrap(err, "log entry %ju", (uintmax_t)index);
    }
    struct reader r = reader_of(value);
    out->commitment = read_hash(&r);
    if (!r.ok) {
        return err_raise(err, ERR_CORRUPT, "log entry %ju: short row", (uintmax_t)index);
    }
    return (is_leaf(log, index, &out->commitment, err) && entry_open_sealed(log, r.left, arena, out, err)) ||
           err_wrap(err, "log entry %ju (family log)", (uintmax_t)index);
}

static bool sealed_row(struct log *log, const struct row *row, struct arena *arena, struct bytes *plain,
                       struct err *err)
{
    struct bytes sealed;
    return store_get(log->store, NULL, FAMILY_MAP, row_bytes(row), arena, &sealed, err) &&
           log_unseal(log, row, sealed, arena, plain, err);
}

bool log_chain_read(struct bytes plain, struct log_chain *out, struct err *err)
{
    struct reader r = reader_of(plain);
    out->count = read_u64be(&r);
    out->last = read_u64be(&r);
    out->chain = read_hash(&r);
    return reader_end(&r) || err_raise(err, ERR_CORRUPT, "log: a chain state of %zu bytes", plain.len);
}

bool log_chain_state(struct log *log, const struct hash *map_key, struct log_chain *out, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct row row = row_key('c', map_key);
    struct bytes plain;
    if (!sealed_row(log, &row, &arena, &plain, err)) {
        return false;
    }
    return log_chain_read(plain, out, err);
}

bool log_chain_position(struct log *log, const struct hash *map_key, uint64_t k, uint64_t *index,
                        struct hash *chain, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct row row = row_position(map_key, k);
    struct bytes plain;
    if (!sealed_row(log, &row, &arena, &plain, err)) {
        return false;
    }
    struct reader r = reader_of(plain);
    uint64_t at = read_u64be(&r);
    struct hash value = read_hash(&r);
    if (!reader_end(&r)) {
        return err_raise(err, ERR_CORRUPT, "log: a chain position of %zu bytes", plain.len);
    }
    *index = at;
    if (chain) {
        *chain = value;
    }
    return true;
}

bool log_who_find(struct log *log, const struct log_who *who, struct hash *actor, uint64_t *enrolled,
                  struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct row row = row_who(log, who);
    struct bytes plain;
    if (!sealed_row(log, &row, &arena, &plain, err)) {
        return false;
    }
    struct reader r = reader_of(plain);
    *actor = read_hash(&r);
    read_hash(&r);
    uint64_t index = read_u64be(&r);
    if (enrolled) {
        *enrolled = index;
    }
    return reader_end(&r) || err_raise(err, ERR_CORRUPT, "log: an actor row of %zu bytes", plain.len);
}

bool log_enrolment(struct log *log, const struct hash *actor, uint64_t *enrolled, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct row row = row_key('a', actor);
    struct bytes plain;
    if (!sealed_row(log, &row, &arena, &plain, err)) {
        return false;
    }
    struct reader r = reader_of(plain);
    *enrolled = read_u64be(&r);
    return reader_end(&r) || err_raise(err, ERR_CORRUPT, "log: an enrolment row of %zu bytes", plain.len);
}

/* ---- The change feed ---------------------------------------------------------------------------------------------- */

bool log_feed_number(const struct store_iter *iter, uint64_t *out, struct err *err)
{
    struct reader r = reader_of(store_iter_key(iter));
    read_u8(&r);
    *out = read_u64be(&r);
    return reader_end(&r) || err_raise(err, ERR_CORRUPT, "change feed: a key of another shape");
}

bool log_feed_next(struct log *log, struct feed_place *at, struct arena *arena, struct bytes *value,
                   struct err *err)
{
    struct row from = row_number('f', at->number);
    const struct store_span span = {.prefix = BYTES_LIT("f"), .from = row_bytes(&from)};
    AUTO_STORE_ITER iter = NULL;
    uint64_t number;
    if (!store_iter_open(log->store, NULL, FAMILY_LOG, &span, &iter, err)) {
        return false;
    }
    if (!store_iter_next(iter)) {
        return store_iter_check(iter, err) && err_raise(err, ERR_NOT_FOUND, "change feed: nothing new");
    }
    if (!log_feed_number(iter, &number, err) || !arena_copy(arena, store_iter_value(iter), value, err)) {
        return false;
    }
    at->number = number + 1;
    return true;
}

struct feed_place log_feed_end(struct log *log)
{
    AUTO_LOCKED(locked, log->lock);
    return (struct feed_place){log->feed_durable};
}

bool log_feed_wait(struct log *log, const struct feed_place *at, uint32_t ms)
{
    uint64_t until = world_mono_ms(log->world) + ms;
    AUTO_LOCKED(locked, log->lock);
    while (log->feed_durable <= at->number) {
        if (!world_event_wait_until(log->committed, log->lock, until)) {
            return false;
        }
    }
    return true;
}

void log_listen(struct log *log, void (*fn)(void *context), void *context)
{
    AUTO_LOCKED(locked, log->lock);
    if (log->listeners_len == COUNT(log->listeners)) {
        abort(); /* a fixed few, at start */
    }
    log->listeners[log->listeners_len++] = (struct feed_listener){fn, context};
}
