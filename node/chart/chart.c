/* Opening, the trust, locks, row helpers. */
#include <stdlib.h>

#include "node/chart/rows.h"
#include "proto/content/entry_row.h"

enum { TRUST_ARENA = 64 << 20, ROW_ARENA = 1 << 20 };

/* ---- Rows ---------------------------------------------------------------------------------------------------- */

struct chart_row chart_row_of(const struct bytes *parts, size_t count)
{
    struct chart_row row = {0};
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > sizeof row.bytes - row.len) {
            abort(); /* keys are made of ids: their size is known */
        }
        if (parts[i].len) {
            memcpy(row.bytes + row.len, parts[i].data, parts[i].len);
        }
        row.len += parts[i].len;
    }
    return row;
}

bool chart_row_wrap(enum store_family family, const struct chart_row *row, struct err *err)
{
    char place[STORE_PLACE_TEXT];
    return err_wrap(err, "chart: %s", store_place(family, chart_row_view(row), place));
}

bool chart_put_sealed(struct chart *chart, struct log_txn *txn, enum store_family family,
                      const struct chart_row *row, struct bytes plain, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes sealed;
    if (!seal_random(keys_facility(chart->keys, FACILITY_KEY_INDEX), chart_row_view(row), plain, &arena, &sealed,
                     err)) {
        return false;
    }
    store_put(log_txn_rows(txn), family, chart_row_view(row), sealed);
    return true;
}

bool chart_get_sealed(struct chart *chart, enum store_family family, const struct chart_row *row,
                      struct arena *arena, struct bytes *plain, struct err *err)
{
    struct bytes sealed;
    return store_get(chart->store, NULL, family, chart_row_view(row), arena, &sealed, err) &&
           (seal_open(keys_facility(chart->keys, FACILITY_KEY_INDEX), chart_row_view(row), sealed, arena, plain,
                      err) ||
            chart_row_wrap(family, row, err));
}

bool chart_each(struct chart *chart, enum store_family family, struct bytes prefix, struct bytes from,
                bool (*fn)(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err),
                void *context, struct err *err)
{
    const struct store_span span = {.prefix = prefix, .from = from};
    AUTO_STORE_ITER iter = NULL;
    if (!store_iter_open(chart->store, NULL, family, &span, &iter, err)) {
        return false;
    }
    bool stop = false;
    while (!stop && store_iter_next(iter)) {
        if (!fn(context, store_iter_key(iter), store_iter_value(iter), &stop, err)) {
            return false;
        }
    }
    return stop || store_iter_check(iter, err);
}

static bool count_row(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    (void)key;
    (void)value;
    (void)stop;
    (void)err;
    (*(uint64_t *)context)++;
    return true;
}

bool chart_count(struct chart *chart, enum store_family family, struct bytes prefix, uint64_t *out,
                 struct err *err)
{
    uint64_t count = 0;
    if (!chart_each(chart, family, prefix, BYTES_NONE, count_row, &count, err)) {
        return false;
    }
    *out = count;
    return true;
}

/* The last dot of a series; tag 0: none yet in this incarnation, to which a tag belongs. */
static bool dot_last(struct chart *chart, enum store_family family, const struct chart_row *row, uint64_t *tag,
                     uint64_t *counter, struct err *err)
{
    AUTO_ARENA(arena, 4096);
    struct bytes value;
    *tag = *counter = 0;
    if (!chart_get_sealed(chart, family, row, &arena, &value, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    struct reader r = reader_of(value);
    uint64_t drawn_in = read_u64be(&r), last_tag = read_u64be(&r), last = read_u64be(&r);
    if (!reader_end(&r)) {
        return err_raise(err, ERR_CORRUPT, "chart: a dot row of %zu bytes", value.len);
    }
    if (drawn_in == log_incarnation(chart->log)) {
        *tag = last_tag;
        *counter = last;
    }
    return true;
}

static bool dot_put(struct chart *chart, struct log_txn *txn, enum store_family family,
                    const struct chart_row *row, const Chartmesh__V1__Dot *dot, struct err *err)
{
    uint8_t fresh[24];
    put_u64be(fresh, log_incarnation(chart->log));
    put_u64be(fresh + 8, dot->tag);
    put_u64be(fresh + 16, dot->counter);
    return chart_put_sealed(chart, txn, family, row, BYTES(fresh, sizeof fresh), err);
}

bool chart_next_dot(struct chart *chart, enum store_family family, const struct chart_row *row,
                    Chartmesh__V1__Dot *out, struct err *err)
{
    uint64_t tag, counter;
    if (!dot_last(chart, family, row, &tag, &counter, err)) {
        return false;
    }
    while (tag == 0) {
        tag = world_random_u64(chart->world);
    }
    *out = (Chartmesh__V1__Dot)CHARTMESH__V1__DOT__INIT;
    out->tag = tag;
    out->counter = counter + 1;
    return true;
}

bool chart_draw_dot(struct chart *chart, struct log_txn *txn, enum store_family family,
                    const struct chart_row *row, Chartmesh__V1__Dot *out, struct err *err)
{
    return chart_next_dot(chart, family, row, out, err) && dot_put(chart, txn, family, row, out, err);
}

bool chart_take_dot(struct chart *chart, struct log_txn *txn, enum store_family family,
                    const struct chart_row *row, const Chartmesh__V1__Dot *dot, bool *next, struct err *err)
{
    uint64_t tag, counter;
    if (!dot_last(chart, family, row, &tag, &counter, err)) {
        return false;
    }
    *next = (tag == 0 || tag == dot->tag) && dot->counter == counter + 1;
    return !*next || dot_put(chart, txn, family, row, dot, err);
}

/* ---- Opening ------------------------------------------------------------------------------------------------- */

struct trust_rows {
    struct arena *arena;
    struct bytes *envelopes;
    size_t count, capacity;
};

static bool trust_row(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    struct trust_rows *rows = context;
    (void)key;
    (void)stop;
    if (!arena_grow(rows->arena, (void **)&rows->envelopes, rows->count, &rows->capacity, sizeof *rows->envelopes,
                    err)) {
        return false;
    }
    return arena_copy(rows->arena, value, &rows->envelopes[rows->count++], err);
}

static bool open_trust(struct chart *chart, const struct chart_options *options, struct err *err)
{
    AUTO_ARENA(arena, TRUST_ARENA);
    struct trust_rows rows = {.arena = &arena};
    bool changed;
    if (!trust_new(&options->first_network, &chart->trust, err) ||
        !trust_file(chart->trust, options->trust_file, err)) {
        return err_wrap(err, "trust file");
    }
    return chart_each(chart, FAMILY_STATEMENT, BYTES_LIT("t"), BYTES_NONE, trust_row, &rows, err) &&
           (rows.count == 0 || trust_add(chart->trust, rows.envelopes, rows.count, &changed, err));
}

bool chart_open(const struct chart_options *options, struct chart **out, struct err *err)
{
    struct chart *chart = calloc(1, sizeof *chart);
    if (!chart) {
        return err_raise(err, ERR_TOO_MUCH, "chart: no memory");
    }
    chart->store = options->store;
    chart->keys = options->keys;
    chart->log = options->log;
    chart->world = options->world;
    chart->facility = options->facility;
    chart->network = *log_network(options->log);
    chart->trust_lock = world_lock_new(chart->world);
    for (size_t i = 0; i < CHART_LOCKS; i++) {
        chart->patients[i].lock = world_lock_new(chart->world);
        chart->patients[i].free = world_event_new(chart->world);
        chart->request_locks[i] = world_lock_new(chart->world);
    }
    if (!open_trust(chart, options, err)) {
        chart_close(chart);
        return err_wrap(err, "open chart");
    }
    *out = chart;
    return true;
}

void chart_close(struct chart *chart)
{
    if (!chart) {
        return;
    }
    trust_free(chart->trust);
    free(chart->unsaved);
    world_lock_free(chart->trust_lock);
    for (size_t i = 0; i < CHART_LOCKS; i++) {
        world_event_free(chart->patients[i].free);
        world_lock_free(chart->patients[i].lock);
        world_lock_free(chart->request_locks[i]);
    }
    free(chart);
}

struct log *chart_log(struct chart *chart)
{
    return chart->log;
}

struct keys *chart_keys(struct chart *chart)
{
    return chart->keys;
}

struct world *chart_world(struct chart *chart)
{
    return chart->world;
}

const struct id *chart_facility(const struct chart *chart)
{
    return &chart->facility;
}

const struct id *chart_network(const struct chart *chart)
{
    return &chart->network;
}

const struct trust *chart_trust_take(struct chart *chart)
{
    world_lock_take(chart->trust_lock);
    return chart->trust;
}

void chart_trust_give(struct chart *chart)
{
    world_lock_give(chart->trust_lock);
}

static Chartmesh__V1__EntryKind trust_entry_kind(enum statement_kind kind)
{
    switch (kind) {
    case STATEMENT_KEY:
    case STATEMENT_KEY_REVOCATION:
        return CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_KEY;
    case STATEMENT_AUTHORITY:
        return CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_AUTHORITY;
    default:
        return CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_MEMBERSHIP;
    }
}

static struct hash *unsaved_find(struct chart *chart, const struct hash *id)
{
    for (size_t i = 0; i < chart->unsaved_len; i++) {
        if (hash_equal(&chart->unsaved[i], id)) {
            return &chart->unsaved[i];
        }
    }
    return NULL;
}

static bool unsaved_add(struct chart *chart, const struct hash *id, struct err *err)
{
    if (unsaved_find(chart, id)) {
        return true;
    }
    if (chart->unsaved_len == chart->unsaved_capacity) {
        size_t capacity = chart->unsaved_capacity ? 2 * chart->unsaved_capacity : 16;
        struct hash *grown = realloc(chart->unsaved, capacity * sizeof *grown);
        if (!grown) {
            return err_raise(err, ERR_TOO_MUCH, "chart: no memory");
        }
        chart->unsaved = grown;
        chart->unsaved_capacity = capacity;
    }
    chart->unsaved[chart->unsaved_len++] = *id;
    return true;
}

/* The trust has a statement before its row is durable. If that transaction was given up, whoever brings the
 * statement again still has to put the row. */
static bool trust_saved(struct chart *chart, const struct hash *id, struct arena *arena, bool *out,
                        struct err *err)
{
    struct bytes value;
    struct hash *unsaved = unsaved_find(chart, id);
    struct chart_row row = ROW(LETTER("t"), BYTES_OF(*id));
    *out = !unsaved && trust_envelope(chart->trust, id).len != 0;
    if (!unsaved) {
        return true;
    }
    if (!store_get(chart->store, NULL, FAMILY_STATEMENT, chart_row_view(&row), arena, &value, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    *unsaved = chart->unsaved[--chart->unsaved_len];
    *out = true;
    return true;
}

static bool add_trust(struct chart *chart, struct log_txn *txn, const struct log_who *who,
                      const struct bytes *envelopes, size_t count, struct err *err)
{
    AUTO_ARENA(arena, TRUST_ARENA);
    AUTO_LOCKED(locked, chart->trust_lock);
    bool *known;
    void *memory;
    struct statement statement;
    if (!arena_array(&arena, count, sizeof *known, &memory, err)) {
        return false;
    }
    known = memory;
    for (size_t i = 0; i < count; i++) {
        if (!statement_parse(envelopes[i], &arena, &statement, err) ||
            !trust_saved(chart, &statement.id, &arena, &known[i], err)) {
            return false;
        }
    }
    bool changed;
    if (!trust_add(chart->trust, envelopes, count, &changed, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (known[i]) {
            continue;
        }
        if (!statement_parse(envelopes[i], &arena, &statement, err) || !unsaved_add(chart, &statement.id, err)) {
            return false;
        }
        struct chart_row row = ROW(LETTER("t"), BYTES_OF(statement.id));
        store_put(log_txn_rows(txn), FAMILY_STATEMENT, chart_row_view(&row), envelopes[i]);
        const struct log_entry entry = {
            .kind = trust_entry_kind(statement.kind), .who = who, .objects = &statement.id, .objects_len = 1};
        if (statement.kind != STATEMENT_EPOCH && !log_txn_add(txn, &entry, err)) {
            return false;
        }
    }
    return true;
}

bool chart_trust_add(struct chart *chart, struct log_txn *txn, const struct bytes *envelopes, size_t count,
                     struct err *err)
{
    return add_trust(chart, txn, NULL, envelopes, count, err);
}

bool chart_trust_grant(struct chart *chart, struct log_txn *txn, const struct log_who *who, struct bytes envelope,
                       struct err *err)
{
    return add_trust(chart, txn, who, &envelope, 1, err);
}

struct granted_list {
    struct arena *arena;
    enum statement_kind kind;
    const char *holder;
    struct bytes *items;
    size_t count, capacity;
};

static const char *holder_of(const struct statement *statement)
{
    return statement->kind == STATEMENT_KEY
               ? ((const Chartmesh__V1__Key *)(const void *)statement->message)->holder
               : ((const Chartmesh__V1__Authority *)(const void *)statement->message)->holder;
}

static bool granted_row(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    struct granted_list *list = context;
    struct statement statement;
    struct bytes envelope;
    (void)key;
    (void)stop;
    if (!arena_copy(list->arena, value, &envelope, err) ||
        !statement_parse(envelope, list->arena, &statement, err)) {
        return err_wrap(err, "stored %s", statement_name(list->kind));
    }
    if (statement.kind != list->kind || (list->holder && strcmp(holder_of(&statement), list->holder) != 0)) {
        return true;
    }
    if (!arena_grow(list->arena, (void **)&list->items, list->count, &list->capacity, sizeof *list->items, err)) {
        return false;
    }
    list->items[list->count++] = envelope;
    return true;
}

bool chart_granted(struct chart *chart, enum statement_kind kind, const char *holder, struct arena *arena,
                   struct bytes **out, size_t *count, struct err *err)
{
    struct granted_list list = {.arena = arena, .kind = kind, .holder = holder};
    if (!chart_each(chart, FAMILY_STATEMENT, LETTER("t"), BYTES_NONE, granted_row, &list, err)) {
        return err_wrap(err, "granted");
    }
    *out = list.items;
    *count = list.count;
    return true;
}

static struct patient_lock *patient_lock(struct chart *chart, const struct id *p)
{
    return &chart->patients[p->bytes[0] % CHART_LOCKS];
}

void chart_lock(struct chart *chart, const struct id *p)
{
    struct patient_lock *patient = patient_lock(chart, p);
    AUTO_LOCKED(locked, patient->lock);
    while (patient->taken) {
        world_event_wait(patient->free, patient->lock);
    }
    patient->taken = true;
}

void chart_unlock(struct chart *chart, const struct id *p)
{
    struct patient_lock *patient = patient_lock(chart, p);
    AUTO_LOCKED(locked, patient->lock);
    patient->taken = false;
    world_event_signal(patient->free);
}

void chart_request_lock(struct chart *chart, const struct hash *request)
{
    world_lock_take(chart->request_locks[request->bytes[0] % CHART_LOCKS]);
}

void chart_request_unlock(struct chart *chart, const struct hash *request)
{
    world_lock_give(chart->request_locks[request->bytes[0] % CHART_LOCKS]);
}

bool chart_head(struct chart *chart, struct arena *arena, Chartmesh__V1__Head **out, struct err *err)
{
    return head_make(&chart->network, &chart->facility, world_hlc(chart->world), arena, out, err);
}

int generation_compare(struct generation a, struct generation b)
{
    if (a.incarnation != b.incarnation) {
        return a.incarnation > b.incarnation ? 1 : -1;
    }
    return (a.generation > b.generation) - (a.generation < b.generation);
}

/* ---- Other statements ---------------------------------------------------------------------------------------- */

bool chart_statement_put(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                         const struct statement *statement, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    AUTO_WIPE_HASH(ak);
    struct bytes sealed;
    unsigned year = year_of_hlc(statement->head->hlc);
    if (!keys_audit(chart->keys, &subject->p, year, log_txn_rows(txn), &ak, err) ||
        !statement_row_seal(&ak, &statement->id, statement->envelope, &arena, &sealed, err)) {
        return err_wrap(err, "statement row");
    }
    AUTO_BUILDER(b, STATEMENT_ROSTER_MAX + 4096);
    build_bytes(&b, BYTES_OF(subject->p));
    build_u32be(&b, year);
    build_bytes(&b, sealed);
    struct chart_row row = ROW(LETTER("s"), BYTES_OF(statement->id));
    store_put(log_txn_rows(txn), FAMILY_STATEMENT, chart_row_view(&row), builder_view(&b));
    return true;
}

bool chart_statement(struct chart *chart, const struct hash *id, struct arena *arena, struct bytes *envelope,
                     struct err *err)
{
    AUTO_WIPE_HASH(ak);
    struct bytes value;
    struct chart_row row = ROW(LETTER("s"), BYTES_OF(*id)), trust = ROW(LETTER("t"), BYTES_OF(*id));
    if (!store_get(chart->store, NULL, FAMILY_STATEMENT, chart_row_view(&row), arena, &value, err)) {
        return err->code == ERR_NOT_FOUND &&
               store_get(chart->store, NULL, FAMILY_STATEMENT, chart_row_view(&trust), arena, envelope, err);
    }
    struct reader r = reader_of(value);
    struct id p = read_id(&r);
    unsigned year = read_u32be(&r);
    if (!r.ok) {
        return err_raise(err, ERR_CORRUPT, "chart: a statement row of %zu bytes", value.len);
    }
    return (keys_audit(chart->keys, &p, year, NULL, &ak, err) &&
            statement_row_open(&ak, id, r.left, arena, envelope, err)) ||
           chart_row_wrap(FAMILY_STATEMENT, &row, err);
}
