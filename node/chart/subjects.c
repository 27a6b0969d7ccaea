/* Subjects, generations, identifiers, import keys. */
#include "node/chart/rows.h"

#include "proto/crypto/hash.h"

enum { ROW_ARENA = 64 << 10 };

static struct chart_row subject_row(const struct chart *chart, const struct subject *subject)
{
    bool own = id_equal(&subject->facility, &chart->facility);
    return ROW(own ? LETTER("s") : LETTER("i"), BYTES_OF(subject->p));
}

bool subject_row_put(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                     const struct id *identity, uint64_t since, struct err *err)
{
    struct be64 since_be = be64(since);
    struct chart_row row = subject_row(chart, subject);
    AUTO_BUILDER(b, 256);
    build_bytes(&b, BYTES_OF(subject->facility));
    build_bytes(&b, BYTES_OF(subject->patient));
    build_bytes(&b, BYTES_OF(*identity));
    build_bytes(&b, BYTES_OF(since_be));
    return chart_put_sealed(chart, txn, FAMILY_INDEX, &row, builder_view(&b), err);
}

static bool subject_decode(struct chart *chart, struct bytes plain, struct chart_subject *out, struct err *err)
{
    struct reader r = reader_of(plain);
    struct id facility = read_id(&r), patient = read_id(&r);
    out->identity = read_id(&r);
    out->since_hlc = read_u64be(&r);
    if (!reader_end(&r)) {
        return err_raise(err, ERR_CORRUPT, "chart: a subject row of %zu bytes", plain.len);
    }
    out->subject = subject_make(&facility, &patient);
    out->own = id_equal(&facility, &chart->facility);
    out->known = true;
    if (out->own && !chart_generation(chart, &out->subject, &out->generation, err)) {
        return false;
    }
    /* Registering raised it to 1 in the incarnation of that day, which began before; a later one begins at 1 too.
     */
    out->may_have_policies =
        out->own && (out->generation.generation != 1 || out->generation.incarnation > out->since_hlc);
    return true;
}

bool chart_subject(struct chart *chart, const struct subject *subject, struct chart_subject *out, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes plain;
    struct chart_row row = subject_row(chart, subject);
    *out = (struct chart_subject){.subject = *subject, .own = id_equal(&subject->facility, &chart->facility)};
    if (!chart_get_sealed(chart, FAMILY_INDEX, &row, &arena, &plain, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    return subject_decode(chart, plain, out, err);
}

bool chart_subject_by_p(struct chart *chart, const struct id *p, struct chart_subject *out, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes plain;
    struct chart_row own = ROW(LETTER("s"), BYTES_OF(*p)), incoming = ROW(LETTER("i"), BYTES_OF(*p));
    *out = (struct chart_subject){0};
    if (!chart_get_sealed(chart, FAMILY_INDEX, &own, &arena, &plain, err)) {
        if (err->code != ERR_NOT_FOUND || !chart_get_sealed(chart, FAMILY_INDEX, &incoming, &arena, &plain, err)) {
            return false;
        }
    }
    return subject_decode(chart, plain, out, err);
}

bool chart_subject_add(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                       const struct id *identity, struct err *err)
{
    struct generation generation;
    return subject_row_put(chart, txn, subject, identity, world_hlc(chart->world), err) &&
           chart_generation_raise(chart, txn, subject, &generation, err);
}

struct subject_list {
    struct chart *chart;
    struct arena *arena;
    enum store_family family;
    struct chart_subject *items;
    size_t count, capacity, max;
    struct bytes skip;
};

static bool list_subject(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    struct subject_list *list = context;
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes plain;
    if (bytes_equal(key, list->skip)) {
        return true;
    }
    if (list->count == list->max) {
        *stop = true;
        return true;
    }
    if (!arena_grow(list->arena, (void **)&list->items, list->count, &list->capacity, sizeof *list->items, err) ||
        !seal_open(keys_facility(list->chart->keys, FACILITY_KEY_INDEX), key, value, &arena, &plain, err) ||
        !subject_decode(list->chart, plain, &list->items[list->count], err)) {
        return false;
    }
    list->count++;
    return true;
}

bool chart_subjects(struct chart *chart, bool own, const struct id *after, size_t max, struct arena *arena,
                    struct chart_subject **out, size_t *count, struct err *err)
{
    struct bytes letter = own ? LETTER("s") : LETTER("i");
    struct chart_row from = ROW(letter, after ? BYTES_OF(*after) : BYTES_NONE);
    struct subject_list list = {.chart = chart, .arena = arena, .max = max};
    list.skip = after ? chart_row_view(&from) : BYTES_NONE;
    if (!chart_each(chart, FAMILY_INDEX, letter, after ? chart_row_view(&from) : BYTES_NONE, list_subject, &list,
                    err)) {
        return err_wrap(err, "subjects");
    }
    *out = list.items;
    *count = list.count;
    return true;
}

/* ---- Generations --------------------------------------------------------------------------------------------- */

bool chart_generation(struct chart *chart, const struct subject *subject, struct generation *out, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes value;
    struct chart_row row = ROW(LETTER("g"), BYTES_OF(subject->p));
    *out = (struct generation){.incarnation = log_incarnation(chart->log)};
    if (!chart_get_sealed(chart, FAMILY_INDEX, &row, &arena, &value, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    struct reader r = reader_of(value);
    out->incarnation = read_u64be(&r);
    out->generation = read_u64be(&r);
    return reader_end(&r) || err_raise(err, ERR_CORRUPT, "chart: a generation row of %zu bytes", value.len);
}

bool chart_generation_raise(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                            struct generation *out, struct err *err)
{
    struct chart_row row = ROW(LETTER("g"), BYTES_OF(subject->p));
    if (!chart_generation(chart, subject, out, err)) {
        return false;
    }
    uint64_t incarnation = log_incarnation(chart->log);
    out->generation = out->incarnation == incarnation ? out->generation + 1 : 1;
    out->incarnation = incarnation;
    struct be64 both[2] = {be64(out->incarnation), be64(out->generation)};
    return chart_put_sealed(chart, txn, FAMILY_INDEX, &row, BYTES(both, sizeof both), err);
}

/* ---- Identifiers ----------------------------------------------------------------------------------------------- */

static struct hash keyed(struct chart *chart, const char *label, struct bytes a, struct bytes b)
{
    struct be64 len = be64(a.len);
    struct hash both = HASH_PARTS(bytes_str(label), BYTES_OF(len), a, b);
    return hmac_sha256(BYTES_OF(*keys_facility(chart->keys, FACILITY_KEY_INDEX)), BYTES_OF(both));
}

static struct hash identifier(struct chart *chart, const char *system, const char *value)
{
    return keyed(chart, "chartmesh identifier v1\n", bytes_str(system), bytes_str(value));
}

/* Which identifiers a subject has now, so that an update takes the old ones away: 'H' P HMAC. */
static bool drop_identifier(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    struct store_batch *rows = context;
    (void)value;
    (void)stop;
    (void)err;
    struct bytes p = BYTES(key.data + 1, ID_LEN), hmac = BYTES(key.data + 1 + ID_LEN, HASH_LEN);
    struct chart_row forward = ROW(LETTER("h"), hmac, p);
    store_delete(rows, FAMILY_INDEX, key);
    store_delete(rows, FAMILY_INDEX, chart_row_view(&forward));
    return true;
}

bool chart_identifiers_set(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                           const Chartmesh__V1__Coding *identifiers, size_t count, struct err *err)
{
    struct store_batch *rows = log_txn_rows(txn);
    struct chart_row prefix = ROW(LETTER("H"), BYTES_OF(subject->p));
    if (!chart_each(chart, FAMILY_INDEX, chart_row_view(&prefix), BYTES_NONE, drop_identifier, rows, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct hash hmac = identifier(chart, identifiers[i].system, identifiers[i].code);
        struct chart_row forward = ROW(LETTER("h"), BYTES_OF(hmac), BYTES_OF(subject->p));
        struct chart_row back = ROW(LETTER("H"), BYTES_OF(subject->p), BYTES_OF(hmac));
        store_put(rows, FAMILY_INDEX, chart_row_view(&forward), BYTES_LIT("1"));
        store_put(rows, FAMILY_INDEX, chart_row_view(&back), BYTES_LIT("1"));
    }
    return true;
}

struct lookup {
    struct chart *chart;
    struct arena *arena;
    struct subject *items;
    size_t count, capacity;
};

static bool lookup_row(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    struct lookup *lookup = context;
    struct chart_subject found;
    struct id p;
    (void)value;
    (void)stop;
    if (key.len != 1 + HASH_LEN + ID_LEN || !id_from(BYTES(key.data + 1 + HASH_LEN, ID_LEN), &p)) {
        return err_raise(err, ERR_CORRUPT, "chart: an identifier row of %zu bytes", key.len);
    }
    if (!chart_subject_by_p(lookup->chart, &p, &found, err) ||
        !arena_grow(lookup->arena, (void **)&lookup->items, lookup->count, &lookup->capacity,
                    sizeof *lookup->items, err)) {
        return false;
    }
    lookup->items[lookup->count++] = found.subject;
    return true;
}

bool chart_lookup(struct chart *chart, const char *system, const char *value, struct arena *arena,
                  struct subject **out, size_t *count, struct err *err)
{
    struct hash hmac = identifier(chart, system, value);
    struct chart_row prefix = ROW(LETTER("h"), BYTES_OF(hmac));
    struct lookup lookup = {.chart = chart, .arena = arena};
    if (!chart_each(chart, FAMILY_INDEX, chart_row_view(&prefix), BYTES_NONE, lookup_row, &lookup, err)) {
        return err_wrap(err, "lookup");
    }
    *out = lookup.items;
    *count = lookup.count;
    return true;
}

/* ---- Import keys ------------------------------------------------------------------------------------------------ */

struct hash chart_import_hash(struct chart *chart, struct bytes content)
{
    return keyed(chart, "chartmesh import content v1\n", content, BYTES_NONE);
}

static struct chart_row import_row(struct chart *chart, const char *system, const char *id)
{
    struct hash hmac = keyed(chart, "chartmesh import key v1\n", bytes_str(system), bytes_str(id));
    return ROW(LETTER("k"), BYTES_OF(hmac));
}

bool chart_import_find(struct chart *chart, const char *system, const char *id, struct chart_import *out,
                       struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes plain;
    struct chart_row row = import_row(chart, system, id);
    if (!chart_get_sealed(chart, FAMILY_INDEX, &row, &arena, &plain, err)) {
        return false;
    }
    struct reader r = reader_of(plain);
    struct id facility = read_id(&r), patient = read_id(&r);
    out->document = read_id(&r);
    out->version = read_hash(&r);
    out->content = read_hash(&r);
    out->subject = subject_make(&facility, &patient);
    return reader_end(&r) || err_raise(err, ERR_CORRUPT, "chart: an import row of %zu bytes", plain.len);
}

bool chart_import_set(struct chart *chart, struct log_txn *txn, const char *system, const char *id,
                      const struct chart_import *import, struct err *err)
{
    struct chart_row row = import_row(chart, system, id);
    AUTO_BUILDER(b, 256);
    build_bytes(&b, BYTES_OF(import->subject.facility));
    build_bytes(&b, BYTES_OF(import->subject.patient));
    build_bytes(&b, BYTES_OF(import->document));
    build_bytes(&b, BYTES_OF(import->version));
    build_bytes(&b, BYTES_OF(import->content));
    return chart_put_sealed(chart, txn, FAMILY_INDEX, &row, builder_view(&b), err);
}

/* ---- Counts ------------------------------------------------------------------------------------------------------ */

struct record_counts {
    uint64_t documents, versions;
    uint8_t last[2 * ID_LEN];
};

static bool count_record(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    struct record_counts *counts = context;
    (void)value;
    (void)stop;
    (void)err;
    if (key.len > 2 * ID_LEN && key.data[2 * ID_LEN] == 'v') {
        counts->versions++;
        counts->documents += counts->versions == 1 || memcmp(counts->last, key.data, sizeof counts->last) != 0;
        memcpy(counts->last, key.data, sizeof counts->last);
    }
    return true;
}

bool chart_counts(struct chart *chart, uint64_t *subjects, uint64_t *documents, uint64_t *versions,
                  uint64_t *open_cases, struct err *err)
{
    AUTO_ARENA(arena, 16 << 20);
    struct record_counts counts = {0};
    struct chart_case *cases;
    size_t open = 0;
    uint64_t incoming;
    if (!chart_count(chart, FAMILY_INDEX, LETTER("s"), subjects, err) ||
        !chart_count(chart, FAMILY_INDEX, LETTER("i"), &incoming, err) ||
        !chart_each(chart, FAMILY_RECORD, BYTES_NONE, BYTES_NONE, count_record, &counts, err) ||
        !chart_cases(chart, NULL, false, NULL, 100000, &arena, &cases, &open, err)) {
        return err_wrap(err, "counts");
    }
    *subjects += incoming;
    *documents = counts.documents;
    *versions = counts.versions;
    *open_cases = open;
    return true;
}
