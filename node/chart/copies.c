/* The receiving side: fences, disclosures, purging. */
#include "node/chart/rows.h"

enum { ROW_ARENA = 64 << 10, PURGE_ARENA = 64 << 20, PURGE_FEED_MAX = 12 };

static struct generation read_generation(struct reader *r)
{
    uint64_t incarnation = read_u64be(r);
    return (struct generation){incarnation, read_u64be(r)};
}

static void put_generation(struct log_txn *txn, const struct chart_row *row, struct generation value)
{
    struct be64 both[2] = {be64(value.incarnation), be64(value.generation)};
    store_put(log_txn_rows(txn), FAMILY_STREAM, chart_row_view(row), BYTES(both, sizeof both));
}

/* ---- Fences ----------------------------------------------------------------------------------------------------- */

static bool one_fence(struct chart *chart, const struct chart_row *row, struct generation *out, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes value;
    if (!store_get(chart->store, NULL, FAMILY_STREAM, chart_row_view(row), &arena, &value, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    struct reader r = reader_of(value);
    struct generation found = read_generation(&r);
    if (!reader_end(&r)) {
        return err_raise(err, ERR_CORRUPT, "chart: a fence of %zu bytes", value.len);
    }
    if (generation_compare(found, *out) > 0) {
        *out = found;
    }
    return true;
}

static struct chart_row fence_row(const struct subject *subject, const struct id *document)
{
    const struct id whole = {0};
    return ROW(LETTER("F"), BYTES_OF(subject->p), BYTES_OF(*(document ? document : &whole)));
}

bool chart_fence(struct chart *chart, const struct subject *subject, const struct id *document,
                 struct generation *out, struct err *err)
{
    struct chart_row whole = fence_row(subject, NULL), one = fence_row(subject, document);
    *out = (struct generation){0};
    return one_fence(chart, &whole, out, err) && one_fence(chart, &one, out, err);
}

bool chart_fence_raise(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                       const struct id *document, struct generation to, struct err *err)
{
    struct chart_row row = fence_row(subject, document);
    struct generation now = {0};
    if (!one_fence(chart, &row, &now, err)) {
        return false;
    }
    if (generation_compare(to, now) > 0) {
        put_generation(txn, &row, to);
    }
    return true;
}

/* ---- Disclosures ------------------------------------------------------------------------------------------------- */

static void tie(struct log_txn *txn, const struct statement *disclosure, struct bytes version)
{
    const Chartmesh__V1__Disclosure *message = (const Chartmesh__V1__Disclosure *)disclosure->message;
    struct chart_row row = ROW(LETTER("D"), version, BYTES_OF(disclosure->id));
    put_generation(txn, &row, (struct generation){message->incarnation, message->generation});
}

static bool disclosure_store(struct chart *chart, struct log_txn *txn, const struct statement *disclosure,
                             struct err *err)
{
    const Chartmesh__V1__Disclosure *message = (const Chartmesh__V1__Disclosure *)disclosure->message;
    struct id facility, patient;
    if (!id_from(bytes_pb(message->subject->facility), &facility) ||
        !id_from(bytes_pb(message->subject->patient), &patient)) {
        return err_raise(err, ERR_INVALID, "disclosure: a subject of another shape");
    }
    struct subject subject = subject_make(&facility, &patient);
    return chart_statement_put(chart, txn, &subject, disclosure, err);
}

bool chart_disclosure_put(struct chart *chart, struct log_txn *txn, const struct statement *disclosure,
                          struct err *err)
{
    const Chartmesh__V1__Disclosure *message = (const Chartmesh__V1__Disclosure *)disclosure->message;
    for (size_t i = 0; i < message->n_versions; i++) {
        tie(txn, disclosure, bytes_pb(message->versions[i]));
    }
    return disclosure_store(chart, txn, disclosure, err);
}

bool chart_disclosure_under(struct chart *chart, struct log_txn *txn, const struct statement *disclosure,
                            const struct hash *version, struct err *err)
{
    tie(txn, disclosure, BYTES_OF(*version));
    return disclosure_store(chart, txn, disclosure, err);
}

struct disclosure_list {
    struct arena *arena;
    struct generation highest;
    struct chart_disclosure *items;
    size_t count, capacity;
};

static bool disclosure_row(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    struct disclosure_list *list = context;
    struct reader r = reader_of(value);
    struct generation generation = read_generation(&r);
    struct hash id;
    (void)stop;
    if (!reader_end(&r) || key.len != 1 + 2 * HASH_LEN ||
        !hash_from(BYTES(key.data + 1 + HASH_LEN, HASH_LEN), &id)) {
        return err_raise(err, ERR_CORRUPT, "chart: a disclosure row of %zu bytes", value.len);
    }
    int order = generation_compare(generation, list->highest);
    if (order < 0) {
        return true;
    }
    if (order > 0) {
        list->highest = generation;
        list->count = 0;
    }
    if (!arena_grow(list->arena, (void **)&list->items, list->count, &list->capacity, sizeof *list->items, err)) {
        return false;
    }
    list->items[list->count++] = (struct chart_disclosure){.id = id};
    return true;
}

bool chart_disclosures(struct chart *chart, const struct hash *version, struct arena *arena,
                       struct chart_disclosure **out, size_t *count, struct err *err)
{
    struct disclosure_list list = {.arena = arena};
    struct chart_row prefix = ROW(LETTER("D"), BYTES_OF(*version));
    if (!chart_each(chart, FAMILY_STREAM, chart_row_view(&prefix), BYTES_NONE, disclosure_row, &list, err)) {
        return err_wrap(err, "disclosures");
    }
    for (size_t i = 0; i < list.count; i++) {
        struct statement statement;
        if (!chart_statement(chart, &list.items[i].id, arena, &list.items[i].envelope, err) ||
            !statement_parse(list.items[i].envelope, arena, &statement, err)) {
            return err_wrap(err, "stored disclosure");
        }
        if (statement.kind != STATEMENT_DISCLOSURE) {
            return err_raise(err, ERR_CORRUPT, "chart: a disclosure row names another statement");
        }
        list.items[i].message = (const Chartmesh__V1__Disclosure *)statement.message;
    }
    *out = list.items;
    *count = list.count;
    return true;
}

/* ---- Purging ----------------------------------------------------------------------------------------------------- */

struct purge {
    struct chart *chart;
    struct log_txn *txn;
    const struct subject *subject;
    struct generation to;
    struct arena *arena;
    struct hash *purged;
    size_t purged_count, purged_capacity;
    struct id *keep;
    size_t keep_count, keep_capacity;
    size_t documents_gone, documents_kept;
};

static bool delete_row(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    (void)value;
    (void)stop;
    (void)err;
    store_delete(log_txn_rows(context), FAMILY_STREAM, key);
    return true;
}

static bool delete_chunk(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    (void)value;
    (void)stop;
    (void)err;
    store_delete(log_txn_rows(context), FAMILY_CHUNK, key);
    return true;
}

static bool purge_version(struct purge *p, const struct chart_version *v, struct err *err)
{
    struct store_batch *rows = log_txn_rows(p->txn);
    struct chart_row header = ROW(BYTES_OF(p->subject->p), BYTES_OF(v->document), LETTER("v"), BYTES_OF(v->id));
    struct chart_row index = ROW(LETTER("v"), BYTES_OF(v->id)), disclosures = ROW(LETTER("D"), BYTES_OF(v->id));
    store_delete(rows, FAMILY_RECORD, chart_row_view(&header));
    store_delete(rows, FAMILY_INDEX, chart_row_view(&index));
    if (!chart_each(p->chart, FAMILY_STREAM, chart_row_view(&disclosures), BYTES_NONE, delete_row, p->txn, err) ||
        !arena_grow(p->arena, (void **)&p->purged, p->purged_count, &p->purged_capacity, sizeof *p->purged, err)) {
        return false;
    }
    p->purged[p->purged_count++] = v->id;
    return true;
}

bool chart_content_drop(struct chart *chart, struct log_txn *txn, const struct id *p, const struct id *content,
                        struct err *err)
{
    struct chart_row chunks = ROW(BYTES_OF(*content));
    keys_dek_drop(p, content, log_txn_rows(txn));
    return chart_each(chart, FAMILY_CHUNK, chart_row_view(&chunks), BYTES_NONE, delete_chunk, txn, err);
}

static bool purge_content(struct purge *p, const struct chart_version *v, struct err *err)
{
    struct chart_row meta = ROW(BYTES_OF(p->subject->p), BYTES_OF(v->document), LETTER("m"), BYTES_OF(v->content));
    struct chart_row chunks = ROW(BYTES_OF(v->content));
    store_delete(log_txn_rows(p->txn), FAMILY_RECORD, chart_row_view(&meta));
    return chart_each(p->chart, FAMILY_CHUNK, chart_row_view(&chunks), BYTES_NONE, delete_chunk, p->txn, err);
}

static bool is_kept(const struct purge *p, const struct id *content)
{
    for (size_t i = 0; i < p->keep_count; i++) {
        if (id_equal(&p->keep[i], content)) {
            return true;
        }
    }
    return false;
}

static bool keep_content(struct purge *p, const struct id *content, struct err *err)
{
    if (is_kept(p, content)) {
        return true;
    }
    if (!arena_grow(p->arena, (void **)&p->keep, p->keep_count, &p->keep_capacity, sizeof *p->keep, err)) {
        return false;
    }
    p->keep[p->keep_count++] = *content;
    return true;
}

/* A copy goes if the newest disclosure it stands under is below the order's generation. */
static bool goes(struct chart *chart, const struct chart_version *v, struct generation to, struct arena *arena,
                 bool *out, struct err *err)
{
    struct chart_disclosure *disclosures;
    size_t count;
    if (!chart_disclosures(chart, &v->id, arena, &disclosures, &count, err)) {
        return false;
    }
    struct generation under = {0};
    if (count) {
        under = (struct generation){disclosures[0].message->incarnation, disclosures[0].message->generation};
    }
    *out = generation_compare(under, to) < 0;
    return true;
}

/* What goes of a document's versions is marked first: a RELABEL or ENTERED_IN_ERROR that stays keeps the content
 * that it shares with one that goes. */
static bool purge_document(struct purge *p, const struct id *document, bool ordered, struct err *err)
{
    struct chart_version *versions;
    size_t count, gone = 0;
    void *memory;
    if (!chart_document(p->chart, p->subject, document, p->arena, &versions, &count, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    if (!arena_array(p->arena, count, sizeof(bool), &memory, err)) {
        return false;
    }
    bool *out = memory;
    for (size_t i = 0; i < count; i++) {
        if ((ordered && !goes(p->chart, &versions[i], p->to, p->arena, &out[i], err)) ||
            !(out[i] ? purge_version(p, &versions[i], err) : keep_content(p, &versions[i].content, err))) {
            return false;
        }
        gone += out[i];
    }
    for (size_t i = 0; i < count; i++) {
        if (out[i] && !is_kept(p, &versions[i].content) && !purge_content(p, &versions[i], err)) {
            return false;
        }
    }
    p->documents_gone += gone == count;
    p->documents_kept += gone != count;
    struct feed_row feed = {.kind = FEED_REMOVED, .subject = *p->subject, .document = *document};
    if (gone != count || p->documents_gone > PURGE_FEED_MAX) {
        return true;
    }
    return feed_row_put(p->txn, &feed, err);
}

static bool is_ordered(const struct id *documents, size_t count, const struct id *document)
{
    for (size_t i = 0; i < count; i++) {
        if (id_equal(&documents[i], document)) {
            return true;
        }
    }
    return count == 0;
}

bool chart_purge(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                 const struct id *documents, size_t count, struct generation to, struct arena *arena,
                 struct hash **purged, size_t *purged_count, struct err *err)
{
    struct purge p = {.chart = chart, .txn = txn, .subject = subject, .to = to, .arena = arena};
    struct id *held;
    size_t held_count;
    if (id_equal(&subject->facility, &chart->facility)) {
        return err_raise(err, ERR_INVALID, "purge: an order about an own subject");
    }
    for (size_t i = 0; i < count; i++) {
        if (!chart_fence_raise(chart, txn, subject, &documents[i], to, err)) {
            return false;
        }
    }
    if ((count == 0 && !chart_fence_raise(chart, txn, subject, NULL, to, err)) ||
        !chart_documents(chart, subject, NULL, SIZE_MAX, arena, &held, &held_count, err)) {
        return err_wrap(err, "purge");
    }
    for (size_t i = 0; i < held_count; i++) {
        if (!purge_document(&p, &held[i], is_ordered(documents, count, &held[i]), err)) {
            return err_wrap(err, "purge");
        }
    }
    /* More than fit into one transaction's feed: one row says that much of the subject went. */
    struct feed_row feed = {.kind = FEED_REMOVED, .subject = *subject};
    if (p.documents_gone > PURGE_FEED_MAX && !feed_row_put(txn, &feed, err)) {
        return false;
    }
    if (p.purged_count && !keys_purge(chart->keys, &subject->p, p.keep, p.keep_count, log_txn_rows(txn), err)) {
        return err_wrap(err, "purge keys");
    }
    if (p.documents_kept == 0) {
        struct chart_row row = ROW(LETTER("i"), BYTES_OF(subject->p));
        store_delete(log_txn_rows(txn), FAMILY_INDEX, chart_row_view(&row));
    }
    *purged = p.purged;
    *purged_count = p.purged_count;
    return true;
}
