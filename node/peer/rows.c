/* The rows of node/peer (inside.h lists them). */
#include "node/peer/inside.h"
#include "proto/base/builder.h"
#include "proto/base/reader.h"

enum { ROW_ARENA = 256 << 10, ROW_MAX = 128 << 10 };

static struct row_key_bytes key_of(char letter, const struct bytes *parts, size_t count)
{
    struct row_key_bytes key = {.bytes = {(uint8_t)letter}, .len = 1};
    for (size_t i = 0; i < count; i++) {
        memcpy(key.bytes + key.len, parts[i].data, parts[i].len);
        key.len += parts[i].len;
    }
    return key;
}
#define KEY(letter, ...)                                                                                          \
    key_of((letter), (const struct bytes[]){__VA_ARGS__}, COUNT(((const struct bytes[]){__VA_ARGS__})))

static struct bytes view(const struct row_key_bytes *key)
{
    return BYTES(key->bytes, key->len);
}

static struct row_key_bytes lane_key(const struct channel *ch, char letter)
{
    uint8_t lane = (uint8_t)ch->lane;
    return KEY(letter, BYTES_OF(ch->peer->facility), BYTES(&lane, 1));
}

static struct row_key_bytes number_key(const struct channel *ch, uint64_t n)
{
    struct row_key_bytes key = lane_key(ch, 'N');
    put_u64be(key.bytes + key.len, n);
    key.len += 8;
    return key;
}

static bool put(struct log_txn *txn, const struct row_key_bytes *key, const struct builder *value, struct err *err)
{
    if (!value->ok) {
        return err_raise(err, ERR_TOO_MUCH, "peer: a row over %d bytes", ROW_MAX);
    }
    store_put(log_txn_rows(txn), FAMILY_STREAM, view(key), builder_view(value));
    return store_batch_check(log_txn_rows(txn), err);
}

static void build_place(struct builder *b, const struct place *place)
{
    build_u64be(b, place->n);
    build_bytes(b, BYTES_OF(place->chain));
}

static struct place read_place(struct reader *r)
{
    struct place place = {.n = read_u64be(r)};
    place.chain = read_hash(r);
    return place;
}

static void build_subject(struct builder *b, const struct subject *subject)
{
    build_bytes(b, BYTES_OF(subject->facility));
    build_bytes(b, BYTES_OF(subject->patient));
}

static struct subject read_subject(struct reader *r)
{
    struct id facility = read_id(r), patient = read_id(r);
    return subject_make(&facility, &patient);
}

static bool get(struct channel *ch, const struct row_key_bytes *key, struct arena *arena, struct bytes *out,
                struct err *err)
{
    return store_get(ch->peers->options.store, NULL, FAMILY_STREAM, view(key), arena, out, err);
}

static bool corrupt(const char *what, struct err *err)
{
    return err_raise(err, ERR_CORRUPT, "peer: a row of the %s does not decode", what);
}

/* ---- Numbers ---------------------------------------------------------------------------------------------------- */

bool numbered_put(struct channel *ch, struct log_txn *txn, const struct numbered *row, struct err *err)
{
    struct row_key_bytes key = number_key(ch, row->place.n);
    AUTO_BUILDER(b, 512);
    build_u8(&b, (uint8_t)row->kind);
    build_subject(&b, &row->subject);
    build_bytes(&b, BYTES_OF(row->document));
    build_bytes(&b, BYTES_OF(row->statement));
    build_bytes(&b, BYTES_OF(row->disclosure));
    build_u64be(&b, row->generation.incarnation);
    build_u64be(&b, row->generation.generation);
    build_bytes(&b, BYTES_OF(row->digest));
    build_bytes(&b, BYTES_OF(row->place.chain));
    return put(txn, &key, &b, err);
}

void numbered_delete(struct channel *ch, struct log_txn *txn, uint64_t n)
{
    struct row_key_bytes key = number_key(ch, n);
    store_delete(log_txn_rows(txn), FAMILY_STREAM, view(&key));
}

static bool numbered_read(struct bytes key, struct bytes value, struct numbered *out)
{
    struct reader k = reader_of(key), r = reader_of(value);
    read_bytes(&k, 1 + ID_LEN + 1);
    out->place.n = read_u64be(&k);
    out->kind = read_u8(&r);
    out->subject = read_subject(&r);
    out->document = read_id(&r);
    out->statement = read_hash(&r);
    out->disclosure = read_hash(&r);
    out->generation.incarnation = read_u64be(&r);
    out->generation.generation = read_u64be(&r);
    out->digest = read_hash(&r);
    out->place.chain = read_hash(&r);
    return reader_end(&k) && reader_end(&r);
}

bool numbered_load(struct channel *ch, uint64_t first, size_t max, struct arena *arena, struct numbered **out,
                   size_t *count, struct err *err)
{
    AUTO_STORE_ITER iter = NULL;
    void *memory;
    struct row_key_bytes prefix = lane_key(ch, 'N'), from = number_key(ch, first);
    const struct store_span span = {.prefix = view(&prefix), .from = view(&from)};
    if (!arena_array(arena, max, sizeof(struct numbered), &memory, err) ||
        !store_iter_open(ch->peers->options.store, NULL, FAMILY_STREAM, &span, &iter, err)) {
        return false;
    }
    *out = memory;
    for (*count = 0; *count < max && store_iter_next(iter); (*count)++) {
        struct numbered *row = &(*out)[*count];
        if (!numbered_read(store_iter_key(iter), store_iter_value(iter), row) || row->place.n != first + *count) {
            return corrupt("numbers", err);
        }
    }
    return store_iter_check(iter, err);
}

/* ---- Both streams ----------------------------------------------------------------------------------------------- */

bool ours_put(struct channel *ch, struct log_txn *txn, const struct ours_row *row, struct err *err)
{
    struct row_key_bytes key = lane_key(ch, 'U');
    AUTO_BUILDER(b, ROW_MAX);
    build_place(&b, &row->acked);
    build_place(&b, &row->numbered);
    build_block(&b, row->ack);
    return put(txn, &key, &b, err);
}

bool ours_load(struct channel *ch, struct arena *arena, struct ours_row *out, struct err *err)
{
    struct row_key_bytes key = lane_key(ch, 'U');
    struct bytes value;
    *out = (struct ours_row){0};
    if (!get(ch, &key, arena, &value, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    struct reader r = reader_of(value);
    out->acked = read_place(&r);
    out->numbered = read_place(&r);
    out->ack = read_block(&r);
    return reader_end(&r) || corrupt("stream to a peer", err);
}

bool theirs_put(struct channel *ch, struct log_txn *txn, const struct theirs_row *row, struct err *err)
{
    struct row_key_bytes key = lane_key(ch, 'I');
    AUTO_BUILDER(b, ROW_MAX);
    build_u64be(&b, row->incarnation);
    build_place(&b, &row->stored);
    build_block(&b, row->head);
    build_u32be(&b, (uint32_t)row->except_count);
    for (size_t i = 0; i < row->except_count; i++) {
        build_u64be(&b, row->except[i].n);
        build_u8(&b, (uint8_t)row->except[i].result);
    }
    return put(txn, &key, &b, err);
}

bool theirs_load(struct channel *ch, struct arena *arena, struct theirs_row *out, struct err *err)
{
    struct row_key_bytes key = lane_key(ch, 'I');
    struct bytes value;
    void *memory;
    *out = (struct theirs_row){0};
    if (!get(ch, &key, arena, &value, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    struct reader r = reader_of(value);
    out->incarnation = read_u64be(&r);
    out->stored = read_place(&r);
    out->head = read_block(&r);
    out->except_count = read_u32be(&r);
    if (out->except_count > r.left.len ||
        !arena_array(arena, out->except_count, sizeof *out->except, &memory, err)) {
        return corrupt("stream from a peer", err);
    }
    out->except = memory;
    for (size_t i = 0; i < out->except_count; i++) {
        chartmesh__v1__exception__init(&out->except[i]);
        out->except[i].n = read_u64be(&r);
        out->except[i].result = read_u8(&r);
    }
    return reader_end(&r) || corrupt("stream from a peer", err);
}

/* ---- Wanted content --------------------------------------------------------------------------------------------- */

static struct row_key_bytes want_key(const struct channel *ch, const struct hash *version)
{
    return KEY('W', BYTES_OF(ch->peer->facility), BYTES_OF(*version));
}

bool want_put(struct channel *ch, struct log_txn *txn, const struct want_row *row, struct err *err)
{
    struct row_key_bytes key = want_key(ch, &row->version);
    AUTO_BUILDER(b, 512);
    build_bytes(&b, BYTES_OF(row->disclosure));
    build_u64be(&b, row->next);
    build_u64be(&b, row->chunks);
    build_subject(&b, &row->subject);
    build_bytes(&b, BYTES_OF(row->document));
    build_bytes(&b, BYTES_OF(row->content));
    return put(txn, &key, &b, err);
}

void want_delete(struct channel *ch, struct log_txn *txn, const struct hash *version)
{
    struct row_key_bytes key = want_key(ch, version);
    store_delete(log_txn_rows(txn), FAMILY_STREAM, view(&key));
}

static bool want_read(struct bytes key, struct bytes value, struct want_row *out)
{
    struct reader k = reader_of(key), r = reader_of(value);
    read_bytes(&k, 1 + ID_LEN);
    out->version = read_hash(&k);
    out->disclosure = read_hash(&r);
    out->next = read_u64be(&r);
    out->chunks = read_u64be(&r);
    out->subject = read_subject(&r);
    out->document = read_id(&r);
    out->content = read_id(&r);
    return reader_end(&k) && reader_end(&r);
}

bool want_get(struct channel *ch, const struct hash *version, struct want_row *out, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct row_key_bytes key = want_key(ch, version);
    struct bytes value;
    return get(ch, &key, &arena, &value, err) &&
           (want_read(view(&key), value, out) || corrupt("wanted contents", err));
}

bool want_list(struct channel *ch, size_t max, struct arena *arena, struct want_row **out, size_t *count,
               struct err *err)
{
    AUTO_STORE_ITER iter = NULL;
    void *memory;
    struct row_key_bytes prefix = KEY('W', BYTES_OF(ch->peer->facility));
    const struct store_span span = {.prefix = view(&prefix)};
    if (!arena_array(arena, max, sizeof(struct want_row), &memory, err) ||
        !store_iter_open(ch->peers->options.store, NULL, FAMILY_STREAM, &span, &iter, err)) {
        return false;
    }
    *out = memory;
    for (*count = 0; *count < max && store_iter_next(iter); (*count)++) {
        if (!want_read(store_iter_key(iter), store_iter_value(iter), &(*out)[*count])) {
            return corrupt("wanted contents", err);
        }
    }
    return store_iter_check(iter, err);
}

/* ---- Checkpoints we cosigned ------------------------------------------------------------------------------------ */

bool witness_put(struct peers *peers, struct log_txn *txn, const struct id *facility,
                 const struct witness_row *row, struct err *err)
{
    (void)peers;
    struct row_key_bytes key = KEY('K', BYTES_OF(*facility));
    AUTO_BUILDER(b, ROW_MAX);
    build_u64be(&b, row->incarnation);
    build_u64be(&b, row->size);
    build_bytes(&b, BYTES_OF(row->root));
    build_block(&b, row->note);
    return put(txn, &key, &b, err);
}

bool witness_get(struct peers *peers, const struct id *facility, struct arena *arena, struct witness_row *out,
                 struct err *err)
{
    struct row_key_bytes key = KEY('K', BYTES_OF(*facility));
    struct bytes value;
    *out = (struct witness_row){0};
    if (!store_get(peers->options.store, NULL, FAMILY_STREAM, view(&key), arena, &value, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    struct reader r = reader_of(value);
    out->incarnation = read_u64be(&r);
    out->size = read_u64be(&r);
    out->root = read_hash(&r);
    out->note = read_block(&r);
    return reader_end(&r) || corrupt("cosigned checkpoints", err);
}
