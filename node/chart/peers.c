/* Outbox, delivery ledger, cases. */
#include "node/chart/rows.h"

enum { ROW_ARENA = 64 << 10, OUTBOX_COUNT_MAX = 10000 };

/* ---- Outbox ---------------------------------------------------------------------------------------------------- */

bool chart_outbox_put(struct chart *chart, struct log_txn *txn, const struct id *peer,
                      const struct outbox_row *row, struct err *err)
{
    struct be64 order = be64(world_hlc(chart->world));
    uint8_t lane = (uint8_t)item_lane(row->kind);
    struct chart_row key = ROW(LETTER("O"), BYTES_OF(*peer), BYTES(&lane, 1), BYTES_OF(order));
    AUTO_BUILDER(b, 256);
    build_u8(&b, (uint8_t)row->kind);
    build_bytes(&b, BYTES_OF(row->subject.facility));
    build_bytes(&b, BYTES_OF(row->subject.patient));
    build_bytes(&b, BYTES_OF(row->document));
    build_bytes(&b, BYTES_OF(row->statement));
    store_put(log_txn_rows(txn), FAMILY_STREAM, chart_row_view(&key), builder_view(&b));
    log_txn_notify(txn);
    return store_batch_check(log_txn_rows(txn), err);
}

struct outbox_list {
    struct arena *arena;
    struct outbox_row *items;
    size_t count, capacity, max;
};

static bool outbox_row(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    struct outbox_list *list = context;
    struct reader r = reader_of(value);
    if (list->count == list->max) {
        *stop = true;
        return true;
    }
    if (!arena_grow(list->arena, (void **)&list->items, list->count, &list->capacity, sizeof *list->items, err)) {
        return false;
    }
    struct outbox_row *item = &list->items[list->count];
    item->kind = read_u8(&r);
    struct id facility = read_id(&r), patient = read_id(&r);
    item->subject = subject_make(&facility, &patient);
    item->document = read_id(&r);
    item->statement = read_hash(&r);
    if (!reader_end(&r)) {
        return err_raise(err, ERR_CORRUPT, "chart: an outbox row of %zu bytes", value.len);
    }
    list->count++;
    return arena_copy(list->arena, key, &item->row, err);
}

static struct chart_row outbox_prefix(const struct id *peer, Chartmesh__V1__Lane lane)
{
    uint8_t letter = (uint8_t)lane;
    return ROW(LETTER("O"), BYTES_OF(*peer), BYTES(&letter, 1));
}

bool chart_outbox(struct chart *chart, const struct id *peer, Chartmesh__V1__Lane lane, size_t max,
                  struct arena *arena, struct outbox_row **out, size_t *count, struct err *err)
{
    struct outbox_list list = {.arena = arena, .max = max};
    struct chart_row prefix = outbox_prefix(peer, lane);
    if (!chart_each(chart, FAMILY_STREAM, chart_row_view(&prefix), BYTES_NONE, outbox_row, &list, err)) {
        return err_wrap(err, "outbox");
    }
    *out = list.items;
    *count = list.count;
    return true;
}

void chart_outbox_delete(struct log_txn *txn, const struct outbox_row *row)
{
    store_delete(log_txn_rows(txn), FAMILY_STREAM, row->row);
}

bool chart_outbox_count(struct chart *chart, const struct id *peer, Chartmesh__V1__Lane lane, uint64_t *out,
                        struct err *err)
{
    struct chart_row prefix = outbox_prefix(peer, lane);
    const struct store_span span = {.prefix = chart_row_view(&prefix)};
    AUTO_STORE_ITER iter = NULL;
    if (!store_iter_open(chart->store, NULL, FAMILY_STREAM, &span, &iter, err)) {
        return false;
    }
    for (*out = 0; *out < OUTBOX_COUNT_MAX && store_iter_next(iter);) {
        ++*out;
    }
    return store_iter_check(iter, err);
}

void chart_outbox_listen(struct chart *chart, void (*fn)(void *context), void *context)
{
    log_listen(chart->log, fn, context);
}

/* ---- Ledger ---------------------------------------------------------------------------------------------------- */

static struct chart_row ledger_key(const struct subject *subject, const struct id *document,
                                   const struct hash *version, const struct id *peer)
{
    return ROW(LETTER("L"), BYTES_OF(subject->p), BYTES_OF(*document), BYTES_OF(*version), BYTES_OF(*peer));
}

bool chart_ledger_put(struct chart *chart, struct log_txn *txn, const struct ledger_row *row, struct err *err)
{
    (void)chart;
    struct chart_row key = ledger_key(&row->subject, &row->document, &row->version, &row->peer);
    AUTO_BUILDER(b, 512);
    build_bytes(&b, BYTES_OF(row->subject.facility));
    build_bytes(&b, BYTES_OF(row->subject.patient));
    build_bytes(&b, BYTES_OF(row->disclosure));
    build_bytes(&b, BYTES_OF(row->order));
    build_u64be(&b, row->generation.incarnation);
    build_u64be(&b, row->generation.generation);
    build_u64be(&b, row->n);
    build_u8(&b, (uint8_t)row->state);
    store_put(log_txn_rows(txn), FAMILY_STREAM, chart_row_view(&key), builder_view(&b));
    return store_batch_check(log_txn_rows(txn), err);
}

static bool ledger_decode(struct bytes key, struct bytes value, struct ledger_row *out, struct err *err)
{
    struct reader k = reader_of(key), r = reader_of(value);
    read_bytes(&k, 1 + ID_LEN);
    out->document = read_id(&k);
    out->version = read_hash(&k);
    out->peer = read_id(&k);
    struct id facility = read_id(&r), patient = read_id(&r);
    out->subject = subject_make(&facility, &patient);
    out->disclosure = read_hash(&r);
    out->order = read_hash(&r);
    out->generation.incarnation = read_u64be(&r);
    out->generation.generation = read_u64be(&r);
    out->n = read_u64be(&r);
    out->state = read_u8(&r);
    return (reader_end(&k) && reader_end(&r)) ||
           err_raise(err, ERR_CORRUPT, "chart: a ledger row of %zu bytes", value.len);
}

bool chart_ledger_get(struct chart *chart, const struct subject *subject, const struct id *document,
                      const struct hash *version, const struct id *peer, struct ledger_row *out, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes value;
    struct chart_row key = ledger_key(subject, document, version, peer);
    return store_get(chart->store, NULL, FAMILY_STREAM, chart_row_view(&key), &arena, &value, err) &&
           ledger_decode(chart_row_view(&key), value, out, err);
}

struct ledger_list {
    struct arena *arena;
    const struct id *peer;
    struct ledger_row *items;
    size_t count, capacity;
};

static bool ledger_row(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    struct ledger_list *list = context;
    (void)stop;
    if (!arena_grow(list->arena, (void **)&list->items, list->count, &list->capacity, sizeof *list->items, err) ||
        !ledger_decode(key, value, &list->items[list->count], err)) {
        return false;
    }
    list->count += !list->peer || id_equal(&list->items[list->count].peer, list->peer);
    return true;
}

bool chart_ledger(struct chart *chart, const struct subject *subject, const struct id *document,
                  const struct id *peer, struct arena *arena, struct ledger_row **out, size_t *count,
                  struct err *err)
{
    struct ledger_list list = {.arena = arena, .peer = peer};
    struct chart_row prefix = ROW(LETTER("L"), BYTES_OF(subject->p), document ? BYTES_OF(*document) : BYTES_NONE);
    if (!chart_each(chart, FAMILY_STREAM, chart_row_view(&prefix), BYTES_NONE, ledger_row, &list, err)) {
        return err_wrap(err, "ledger");
    }
    *out = list.items;
    *count = list.count;
    return true;
}

/* ---- Cases ------------------------------------------------------------------------------------------------------ */

bool chart_case_put(struct chart *chart, struct log_txn *txn, const struct chart_case *value, struct err *err)
{
    (void)chart;
    struct chart_row key = ROW(LETTER("C"), BYTES_OF(value->subject.p), BYTES_OF(value->order));
    AUTO_BUILDER(b, 512);
    build_bytes(&b, BYTES_OF(value->subject.facility));
    build_bytes(&b, BYTES_OF(value->subject.patient));
    build_bytes(&b, BYTES_OF(value->receipt));
    build_bytes(&b, BYTES_OF(value->peer));
    build_u64be(&b, value->opened_hlc);
    build_u64be(&b, value->closed_hlc);
    build_u8(&b, (uint8_t)value->outcome);
    store_put(log_txn_rows(txn), FAMILY_STREAM, chart_row_view(&key), builder_view(&b));
    return store_batch_check(log_txn_rows(txn), err);
}

static bool case_decode(struct bytes key, struct bytes value, struct chart_case *out, struct err *err)
{
    struct reader k = reader_of(key), r = reader_of(value);
    read_bytes(&k, 1 + ID_LEN);
    out->order = read_hash(&k);
    struct id facility = read_id(&r), patient = read_id(&r);
    out->subject = subject_make(&facility, &patient);
    out->receipt = read_hash(&r);
    out->peer = read_id(&r);
    out->opened_hlc = read_u64be(&r);
    out->closed_hlc = read_u64be(&r);
    out->outcome = read_u8(&r);
    return (reader_end(&k) && reader_end(&r)) ||
           err_raise(err, ERR_CORRUPT, "chart: a case row of %zu bytes", value.len);
}

bool chart_case_get(struct chart *chart, const struct subject *subject, const struct hash *order,
                    struct chart_case *out, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes value;
    struct chart_row key = ROW(LETTER("C"), BYTES_OF(subject->p), BYTES_OF(*order));
    return store_get(chart->store, NULL, FAMILY_STREAM, chart_row_view(&key), &arena, &value, err) &&
           case_decode(chart_row_view(&key), value, out, err);
}

struct case_list {
    struct arena *arena;
    bool closed;
    struct bytes skip;
    struct chart_case *items;
    size_t count, capacity, max;
};

static bool case_row(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    struct case_list *list = context;
    if (bytes_equal(key, list->skip)) {
        return true;
    }
    if (list->count == list->max) {
        *stop = true;
        return true;
    }
    if (!arena_grow(list->arena, (void **)&list->items, list->count, &list->capacity, sizeof *list->items, err) ||
        !case_decode(key, value, &list->items[list->count], err)) {
        return false;
    }
    list->count += list->closed || hash_is_zero(&list->items[list->count].receipt);
    return true;
}

bool chart_cases(struct chart *chart, const struct subject *subject, bool closed, const struct chart_case *after,
                 size_t max, struct arena *arena, struct chart_case **out, size_t *count, struct err *err)
{
    struct chart_row prefix = ROW(LETTER("C"), subject ? BYTES_OF(subject->p) : BYTES_NONE);
    struct chart_row from = after ? ROW(LETTER("C"), BYTES_OF(after->subject.p), BYTES_OF(after->order)) : prefix;
    struct case_list list = {.arena = arena, .closed = closed, .max = max};
    list.skip = after ? chart_row_view(&from) : BYTES_NONE;
    if (!chart_each(chart, FAMILY_STREAM, chart_row_view(&prefix), chart_row_view(&from), case_row, &list, err)) {
        return err_wrap(err, "cases");
    }
    *out = list.items;
    *count = list.count;
    return true;
}
