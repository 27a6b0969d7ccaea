/* Documents, their versions, and stored content. */
#include "node/chart/rows.h"

#include <stdlib.h>

enum { ROW_ARENA = 256 << 10, DOCUMENT_VERSIONS_MAX = 4096 };

/* ---- Reading --------------------------------------------------------------------------------------------------- */

struct version_list {
    struct chart *chart;
    const struct subject *subject;
    const struct id *document;
    struct arena *arena;
    struct chart_version *items;
    size_t count, capacity;
};

static bool open_version(struct version_list *list, const struct hash *id, struct bytes row,
                         struct chart_version *out, bool *readable, struct err *err)
{
    AUTO_WIPE_HASH(dek);
    struct content_keys keys;
    struct statement statement;
    uint8_t flags;
    *readable = false;
    if (!header_row_content(row, &out->content, &flags, err)) {
        return false;
    }
    if (!keys_dek(list->chart->keys, &list->subject->p, &out->content, &dek, err)) {
        return err->code == ERR_NOT_FOUND; /* its key was destroyed: it is gone */
    }
    content_keys_derive(&dek, &out->content, &keys);
    bool ok = header_open(&keys, id, row, list->arena, &out->envelope, err) &&
              statement_parse(out->envelope, list->arena, &statement, err);
    secret_wipe(&keys, sizeof keys);
    if (!ok) {
        struct chart_row place =
            ROW(BYTES_OF(list->subject->p), BYTES_OF(*list->document), LETTER("v"), BYTES_OF(*id));
        return chart_row_wrap(FAMILY_RECORD, &place, err);
    }
    if (statement.kind != STATEMENT_VERSION || !hash_equal(&statement.id, id)) {
        return err_raise(err, ERR_CORRUPT, "chart: a version row holds another statement");
    }
    const Chartmesh__V1__Version *message = (const Chartmesh__V1__Version *)statement.message;
    out->id = *id;
    out->document = *list->document;
    out->message = message;
    out->node = (struct version_node){.id = *id,
                                      .tag = message->dot->tag,
                                      .counter = message->dot->counter,
                                      .context = (const Chartmesh__V1__Dot *const *)message->context,
                                      .context_len = message->n_context};
    out->complete = flags & VERSION_COMPLETE;
    out->pending = flags & VERSION_PENDING;
    out->copy = !id_equal(&list->subject->facility, &list->chart->facility);
    *readable = true;
    return true;
}

static bool version_row(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    struct version_list *list = context;
    struct hash id;
    bool readable;
    (void)stop;
    if (key.len != 2 * ID_LEN + 1 + HASH_LEN || !hash_from(BYTES(key.data + 2 * ID_LEN + 1, HASH_LEN), &id)) {
        return err_raise(err, ERR_CORRUPT, "chart: a version key of %zu bytes", key.len);
    }
    if (list->count == DOCUMENT_VERSIONS_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "document: over %d versions", DOCUMENT_VERSIONS_MAX);
    }
    if (!arena_grow(list->arena, (void **)&list->items, list->count, &list->capacity, sizeof *list->items, err)) {
        return false;
    }
    struct chart_version *item = &list->items[list->count];
    *item = (struct chart_version){0};
    if (!open_version(list, &id, value, item, &readable, err)) {
        return false;
    }
    list->count += readable;
    return true;
}

static bool is_parent(const struct chart_version *child, const struct hash *id)
{
    for (size_t i = 0; i < child->message->n_parents; i++) {
        if (bytes_equal(bytes_pb(child->message->parents[i]), BYTES_OF(*id))) {
            return true;
        }
    }
    return false;
}

static bool earlier(const struct chart_version *a, const struct chart_version *b)
{
    uint64_t x = a->message->head->hlc, y = b->message->head->hlc;
    return x != y ? x < y : bytes_compare(BYTES_OF(a->id), BYTES_OF(b->id)) < 0;
}

/* Parents first; among the free, by clock, then id. waiting[i] counts the parents of items[i] not yet placed. */
static void place_causally(struct chart_version *items, size_t *waiting, size_t count)
{
    for (size_t placed = 0; placed < count; placed++) {
        size_t best = count;
        for (size_t i = placed; i < count; i++) {
            if (waiting[i] == 0 && (best == count || earlier(&items[i], &items[best]))) {
                best = i;
            }
        }
        if (best == count) {
            return; /* a cycle cannot be: ids are hashes */
        }
        struct chart_version chosen = items[best];
        items[best] = items[placed];
        waiting[best] = waiting[placed];
        items[placed] = chosen;
        for (size_t i = placed + 1; i < count; i++) {
            waiting[i] -= is_parent(&items[i], &chosen.id);
        }
    }
}

static bool sort_causally(struct version_list *list, struct err *err)
{
    void *memory;
    if (!arena_array(list->arena, list->count, sizeof(size_t), &memory, err)) {
        return false;
    }
    size_t *waiting = memory;
    for (size_t i = 0; i < list->count; i++) {
        for (size_t j = 0; j < list->count; j++) {
            waiting[i] += is_parent(&list->items[i], &list->items[j].id);
        }
    }
    place_causally(list->items, waiting, list->count);
    return true;
}

static bool repeats_content(const Chartmesh__V1__Version *version)
{
    return version->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR ||
           version->kind == CHARTMESH__V1__KIND__KIND_RELABEL;
}

static bool mark_versions(struct chart *chart, struct version_list *list, struct err *err)
{
    void *memory;
    if (!arena_array(list->arena, list->count, sizeof(struct version_node) + sizeof(bool), &memory, err)) {
        return false;
    }
    struct version_node *nodes = memory;
    bool *heads = (bool *)(nodes + list->count);
    for (size_t i = 0; i < list->count; i++) {
        nodes[i] = list->items[i].node;
    }
    version_heads(nodes, list->count, heads);
    for (size_t i = 0; i < list->count; i++) {
        struct chart_version *v = &list->items[i];
        v->head = heads[i];
        v->retracted = v->message->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR;
        if (!id_from(bytes_pb(v->message->head->facility), &v->content_facility)) {
            return err_raise(err, ERR_CORRUPT, "chart: a version without its facility");
        }
        for (size_t j = 0; j < list->count; j++) {
            const struct chart_version *other = &list->items[j];
            if (j < i && repeats_content(v->message) && is_parent(v, &other->id)) {
                v->content_facility = other->content_facility;
            }
            if (other->message->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR && is_parent(other, &v->id)) {
                v->retracted = true;
            }
        }
        struct chart_disclosure *disclosures;
        size_t count;
        if (v->copy) {
            if (!chart_disclosures(chart, &v->id, list->arena, &disclosures, &count, err)) {
                return false;
            }
            v->disclosure = count ? disclosures[0].id : (struct hash){0};
        }
    }
    return true;
}

bool chart_document(struct chart *chart, const struct subject *subject, const struct id *document,
                    struct arena *arena, struct chart_version **out, size_t *count, struct err *err)
{
    struct version_list list = {.chart = chart, .subject = subject, .document = document, .arena = arena};
    struct chart_row prefix = ROW(BYTES_OF(subject->p), BYTES_OF(*document), LETTER("v"));
    if (!chart_each(chart, FAMILY_RECORD, chart_row_view(&prefix), BYTES_NONE, version_row, &list, err)) {
        return err_wrap(err, "document");
    }
    if (list.count == 0) {
        return err_raise(err, ERR_NOT_FOUND, "document: not here");
    }
    if (!sort_causally(&list, err) || !mark_versions(chart, &list, err)) {
        return false;
    }
    *out = list.items;
    *count = list.count;
    return true;
}

bool chart_documents(struct chart *chart, const struct subject *subject, const struct id *after, size_t max,
                     struct arena *arena, struct id **out, size_t *count, struct err *err)
{
    struct id *items = NULL, last = after ? *after : (struct id){0};
    size_t found = 0, capacity = 0;
    struct chart_row prefix = ROW(BYTES_OF(subject->p));
    struct chart_row from = after ? ROW(BYTES_OF(subject->p), BYTES_OF(*after), LETTER("\xff")) : prefix;
    /* Skips from document to document: a document's rows are few, its content lies elsewhere. */
    for (;;) {
        const struct store_span span = {.prefix = chart_row_view(&prefix), .from = chart_row_view(&from)};
        AUTO_STORE_ITER iter = NULL;
        if (!store_iter_open(chart->store, NULL, FAMILY_RECORD, &span, &iter, err)) {
            return false;
        }
        bool has_version = false, any = false;
        struct id document = last;
        while (store_iter_next(iter)) {
            struct bytes key = store_iter_key(iter);
            struct id here;
            if (key.len <= 2 * ID_LEN || !id_from(BYTES(key.data + ID_LEN, ID_LEN), &here)) {
                return err_raise(err, ERR_CORRUPT, "chart: a record key of %zu bytes", key.len);
            }
            if (any && !id_equal(&here, &document)) {
                break;
            }
            document = here;
            any = true;
            has_version = has_version || key.data[2 * ID_LEN] == 'v';
        }
        if (!store_iter_check(iter, err)) {
            return false;
        }
        if (!any || found == max) {
            break;
        }
        if (has_version) {
            if (!arena_grow(arena, (void **)&items, found, &capacity, sizeof *items, err)) {
                return false;
            }
            items[found++] = document;
        }
        last = document;
        from = ROW(BYTES_OF(subject->p), BYTES_OF(document), LETTER("\xff"));
    }
    *out = items;
    *count = found;
    return true;
}

static bool version_index(struct chart *chart, const struct hash *version, struct id *p, struct id *document,
                          uint64_t *known, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes value;
    struct chart_row row = ROW(LETTER("v"), BYTES_OF(*version));
    if (!store_get(chart->store, NULL, FAMILY_INDEX, chart_row_view(&row), &arena, &value, err)) {
        return false;
    }
    struct reader r = reader_of(value);
    *p = read_id(&r);
    *document = read_id(&r);
    *known = read_u64be(&r);
    return reader_end(&r) || err_raise(err, ERR_CORRUPT, "chart: a version index row of %zu bytes", value.len);
}

bool chart_version_known(struct chart *chart, const struct hash *version, uint64_t *hlc, struct err *err)
{
    struct id p, document;
    return version_index(chart, version, &p, &document, hlc, err);
}

bool chart_heads_as_of(struct chart *chart, struct chart_version *versions, size_t count, uint64_t ms,
                       struct arena *arena, struct err *err)
{
    void *nodes_memory, *places_memory, *heads_memory;
    if (!arena_array(arena, count, sizeof(struct version_node), &nodes_memory, err) ||
        !arena_array(arena, count, sizeof(size_t), &places_memory, err) ||
        !arena_array(arena, count, sizeof(bool), &heads_memory, err)) {
        return false;
    }
    struct version_node *nodes = nodes_memory;
    size_t *places = places_memory, known = 0;
    bool *heads = heads_memory;
    for (size_t i = 0; i < count; i++) {
        uint64_t hlc;
        if (!chart_version_known(chart, &versions[i].id, &hlc, err)) {
            return err_wrap(err, "as of");
        }
        versions[i].head = false;
        if (hlc_ms(hlc) <= ms) {
            nodes[known] = versions[i].node;
            places[known++] = i;
        }
    }
    version_heads(nodes, known, heads);
    for (size_t i = 0; i < known; i++) {
        versions[places[i]].head = heads[i];
    }
    return true;
}

bool chart_version_place(struct chart *chart, const struct hash *version, struct subject *subject,
                         struct id *document, struct err *err)
{
    struct chart_subject found;
    struct id p, place;
    uint64_t known;
    if (!version_index(chart, version, &p, &place, &known, err)) {
        return false;
    }
    if (!chart_subject_by_p(chart, &p, &found, err)) {
        return false;
    }
    *subject = found.subject;
    *document = place;
    return true;
}

bool chart_effective_labels(const struct chart_version *versions, size_t count, struct arena *arena,
                            Chartmesh__V1__Labels **out, struct err *err)
{
    Chartmesh__V1__Labels *joined = NULL;
    for (size_t i = 0; i < count; i++) {
        if (versions[i].head && !labels_join(joined, versions[i].message->labels, arena, &joined, err)) {
            return false;
        }
    }
    if (!joined && !labels_join(NULL, NULL, arena, &joined, err)) {
        return false;
    }
    *out = joined;
    return true;
}

/* ---- Writing --------------------------------------------------------------------------------------------------- */

bool chart_dot(struct chart *chart, struct log_txn *txn, const struct subject *subject, const struct id *document,
               Chartmesh__V1__Dot *out, struct err *err)
{
    struct chart_row row = ROW(BYTES_OF(subject->p), BYTES_OF(*document), LETTER("d"));
    return chart_draw_dot(chart, txn, FAMILY_RECORD, &row, out, err);
}

bool chart_dot_next(struct chart *chart, const struct subject *subject, const struct id *document,
                    Chartmesh__V1__Dot *out, struct err *err)
{
    struct chart_row row = ROW(BYTES_OF(subject->p), BYTES_OF(*document), LETTER("d"));
    return chart_next_dot(chart, FAMILY_RECORD, &row, out, err);
}

bool chart_dot_take(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                    const struct id *document, const Chartmesh__V1__Dot *dot, bool *next, struct err *err)
{
    struct chart_row row = ROW(BYTES_OF(subject->p), BYTES_OF(*document), LETTER("d"));
    return chart_take_dot(chart, txn, FAMILY_RECORD, &row, dot, next, err);
}

bool chart_content_new(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                       struct chart_content *out, struct err *err)
{
    AUTO_WIPE_HASH(dek);
    out->id = world_random_id(chart->world);
    out->p = subject->p;
    if (!keys_dek_new(chart->keys, &subject->p, &out->id, log_txn_rows(txn), &dek, err)) {
        return err_wrap(err, "content key");
    }
    content_keys_derive(&dek, &out->id, &out->keys);
    return true;
}

bool chart_content_load(struct chart *chart, const struct id *p, const struct id *content,
                        struct chart_content *out, struct err *err)
{
    AUTO_WIPE_HASH(dek);
    if (!keys_dek(chart->keys, p, content, &dek, err)) {
        return false;
    }
    out->id = *content;
    out->p = *p;
    content_keys_derive(&dek, content, &out->keys);
    return true;
}

bool chart_content_chunk(struct chart *chart, struct log_txn *txn, const struct chart_content *content,
                         uint64_t index, bool last, struct bytes coded, struct err *err)
{
    (void)chart;
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes sealed;
    struct be64 place = be64(index);
    struct chart_row row = ROW(BYTES_OF(content->id), BYTES_OF(place));
    if (!chunk_seal(&content->keys, &content->id, index, last, coded, &arena, &sealed, err)) {
        return false;
    }
    store_put(log_txn_rows(txn), FAMILY_CHUNK, chart_row_view(&row), sealed);
    return true;
}

bool chart_content_chunk_read(struct chart *chart, const struct id *content, uint64_t index, struct arena *arena,
                              struct bytes *sealed, struct err *err)
{
    struct be64 place = be64(index);
    struct chart_row row = ROW(BYTES_OF(*content), BYTES_OF(place));
    return store_get(chart->store, NULL, FAMILY_CHUNK, chart_row_view(&row), arena, sealed, err);
}

/* Chunks come in order: with the last one, all are here. */
bool chart_content_whole(struct chart *chart, const struct id *content, uint64_t length, bool *out,
                         struct err *err)
{
    *out = length == 0;
    if (*out) {
        return true;
    }
    struct be64 place = be64(content_chunks(length) - 1);
    struct chart_row row = ROW(BYTES_OF(*content), BYTES_OF(place));
    return store_has(chart->store, NULL, FAMILY_CHUNK, chart_row_view(&row), out, err);
}

bool chart_content_meta(struct chart *chart, struct log_txn *txn, const struct chart_content *content,
                        const struct id *document, const struct content_meta *meta, struct err *err)
{
    (void)chart;
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes sealed;
    struct chart_row row = ROW(BYTES_OF(content->p), BYTES_OF(*document), LETTER("m"), BYTES_OF(content->id));
    if (!meta_seal(&content->keys, &content->id, meta, &arena, &sealed, err)) {
        return false;
    }
    store_put(log_txn_rows(txn), FAMILY_RECORD, chart_row_view(&row), sealed);
    return true;
}

bool chart_content_meta_read(struct chart *chart, const struct id *p, const struct id *document,
                             const struct id *content, struct content_meta *out, struct err *err)
{
    struct chart_content found;
    bool ok = chart_content_open(chart, p, document, content, &found, out, err);
    secret_wipe(&found.keys, sizeof found.keys);
    return ok;
}

bool chart_content_open(struct chart *chart, const struct id *p, const struct id *document,
                        const struct id *content, struct chart_content *out, struct content_meta *meta,
                        struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes sealed;
    struct chart_row row = ROW(BYTES_OF(*p), BYTES_OF(*document), LETTER("m"), BYTES_OF(*content));
    bool ok =
        chart_content_load(chart, p, content, out, err) &&
        store_get(chart->store, NULL, FAMILY_RECORD, chart_row_view(&row), &arena, &sealed, err) &&
        (meta_open(&out->keys, content, sealed, &arena, meta, err) || chart_row_wrap(FAMILY_RECORD, &row, err));
    if (!ok) {
        secret_wipe(&out->keys, sizeof out->keys);
    }
    return ok;
}

/* ---- Who may have to get it: those that the policies name -------------------------------------------------------- */

static bool add_facility(struct arena *arena, struct id **items, size_t *count, size_t *capacity,
                         struct bytes view, struct err *err)
{
    struct id id;
    if (!id_from(view, &id)) {
        return true;
    }
    for (size_t i = 0; i < *count; i++) {
        if (id_equal(&(*items)[i], &id)) {
            return true;
        }
    }
    if (!arena_grow(arena, (void **)items, *count, capacity, sizeof **items, err)) {
        return false;
    }
    (*items)[(*count)++] = id;
    return true;
}

bool chart_named(struct chart *chart, const struct subject *subject, const struct chart_policy *policies, size_t n,
                 struct arena *arena, struct id **out, size_t *count, struct err *err)
{
    struct id *items = NULL;
    size_t found = 0, capacity = 0, kept = 0;
    for (size_t i = 0; i < n; i++) {
        const Chartmesh__V1__Policy *policy = policies[i].message;
        for (size_t j = 0; policies[i].head && j < policy->n_rules; j++) {
            for (size_t k = 0; k < policy->rules[j]->n_facilities; k++) {
                struct bytes view = bytes_pb(policy->rules[j]->facilities[k]);
                if (!add_facility(arena, &items, &found, &capacity, view, err)) {
                    return false;
                }
            }
        }
    }
    const struct trust *trust = chart_trust_take(chart);
    for (size_t i = 0; i < found; i++) {
        const struct member *member = trust_member(trust, &items[i]);
        if (member && member->active && !id_equal(&items[i], &subject->facility)) {
            items[kept++] = items[i];
        }
    }
    chart_trust_give(chart);
    *out = items;
    *count = kept;
    return true;
}

/* `policies` false: the subject has none, nobody is named. */
static bool version_outbox(struct chart *chart, struct log_txn *txn, const struct subject *subject, bool policies,
                           const struct id *document, const struct hash *version, bool contribution,
                           struct err *err)
{
    AUTO_ARENA(arena, 64 << 20);
    struct outbox_row row = {
        .kind = ITEM_VERSION, .subject = *subject, .document = *document, .statement = *version};
    if (!id_equal(&subject->facility, &chart->facility)) {
        row.kind = ITEM_CONTRIBUTION;
        return !contribution || chart_outbox_put(chart, txn, &subject->facility, &row, err);
    }
    struct chart_policy *found;
    struct id *named;
    size_t n, count;
    if (!policies) {
        return true;
    }
    if (!chart_policies(chart, subject, &arena, &found, &n, err) ||
        !chart_named(chart, subject, found, n, &arena, &named, &count, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!chart_outbox_put(chart, txn, &named[i], &row, err)) {
            return false;
        }
    }
    return true;
}

static bool message_places(const Chartmesh__V1__Version *message, struct subject *subject, struct id *document,
                           struct err *err)
{
    struct id facility, patient;
    if (!id_from(bytes_pb(message->subject->facility), &facility) ||
        !id_from(bytes_pb(message->subject->patient), &patient) ||
        !id_from(bytes_pb(message->document), document)) {
        return err_raise(err, ERR_INVALID, "version: an id of another length");
    }
    *subject = subject_make(&facility, &patient);
    return true;
}

/* An incoming subject shows from its first version on; its identity when that comes. */
static bool incoming_subject(struct chart *chart, struct log_txn *txn, const struct chart_subject *known,
                             const Chartmesh__V1__Version *version, const struct id *document, struct err *err)
{
    bool names = id_is_zero(&known->identity) && strcmp(version->class_->system, CHART_CLASS_SYSTEM) == 0 &&
                 strcmp(version->class_->code, CHART_CLASS_IDENTITY) == 0;
    uint64_t since = known->known ? known->since_hlc : world_hlc(chart->world);
    return (known->known && !names) ||
           subject_row_put(chart, txn, &known->subject, names ? document : &known->identity, since, err);
}

bool chart_version_add(struct chart *chart, struct log_txn *txn, const struct statement *statement,
                       const struct chart_content *content, uint8_t flags, struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct subject subject;
    struct chart_subject known;
    struct id document;
    struct bytes header;
    if (!message_places((const Chartmesh__V1__Version *)statement->message, &subject, &document, err) ||
        !header_seal(&content->keys, &content->id, flags, &statement->id, statement->envelope, &arena, &header,
                     err) ||
        !chart_subject(chart, &subject, &known, err)) {
        return err_wrap(err, "version row");
    }
    if (!known.own && !incoming_subject(chart, txn, &known, (const Chartmesh__V1__Version *)statement->message,
                                        &document, err)) {
        return false;
    }
    struct chart_row row = ROW(BYTES_OF(subject.p), BYTES_OF(document), LETTER("v"), BYTES_OF(statement->id));
    struct chart_row index = ROW(LETTER("v"), BYTES_OF(statement->id));
    struct be64 now = be64(world_hlc(chart->world));
    struct chart_row place = ROW(BYTES_OF(subject.p), BYTES_OF(document), BYTES_OF(now));
    store_put(log_txn_rows(txn), FAMILY_RECORD, chart_row_view(&row), header);
    store_put(log_txn_rows(txn), FAMILY_INDEX, chart_row_view(&index), chart_row_view(&place));
    struct feed_row feed = {
        .kind = FEED_VERSION, .subject = subject, .document = document, .version = statement->id};
    /* What is not complete yet goes to nobody: it is queued when its last chunk is here (chart_version_flags). A
     * retraction carries no content and waits for none. */
    bool readable = (flags & VERSION_COMPLETE) || ((const Chartmesh__V1__Version *)statement->message)->kind ==
                                                      CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR;
    return !readable || (version_outbox(chart, txn, &subject, !known.known || known.may_have_policies, &document,
                                        &statement->id, flags & VERSION_PENDING, err) &&
                         feed_row_put(txn, &feed, err));
}

bool chart_version_flags(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                         const struct id *document, const struct hash *version, uint8_t set, uint8_t clear,
                         struct err *err)
{
    AUTO_ARENA(arena, ROW_ARENA);
    struct bytes value;
    struct chart_row row = ROW(BYTES_OF(subject->p), BYTES_OF(*document), LETTER("v"), BYTES_OF(*version));
    if (!store_get(chart->store, NULL, FAMILY_RECORD, chart_row_view(&row), &arena, &value, err)) {
        return false;
    }
    if (value.len <= ID_LEN) {
        return err_raise(err, ERR_CORRUPT, "chart: a version row of %zu bytes", value.len);
    }
    uint8_t *flags = (uint8_t *)(uintptr_t)value.data + ID_LEN, before = *flags; /* our own copy */
    *flags = (uint8_t)((before | set) & ~clear);
    store_put(log_txn_rows(txn), FAMILY_RECORD, chart_row_view(&row), value);
    struct feed_row feed = {.kind = FEED_VERSION, .subject = *subject, .document = *document, .version = *version};
    bool completed = !(before & VERSION_COMPLETE) && (*flags & VERSION_COMPLETE);
    return !completed ||
           (version_outbox(chart, txn, subject, true, document, version, *flags & VERSION_PENDING, err) &&
            feed_row_put(txn, &feed, err));
}

/* ---- Feed rows --------------------------------------------------------------------------------------------------- */

bool feed_row_put(struct log_txn *txn, const struct feed_row *row, struct err *err)
{
    AUTO_BUILDER(b, 256);
    build_u8(&b, (uint8_t)row->kind);
    build_bytes(&b, BYTES_OF(row->subject.facility));
    build_bytes(&b, BYTES_OF(row->subject.patient));
    build_bytes(&b, BYTES_OF(row->document));
    build_bytes(&b, BYTES_OF(row->version));
    return log_txn_feed(txn, builder_view(&b), err);
}

bool feed_row_decode(struct bytes value, struct feed_row *out, struct err *err)
{
    struct reader r = reader_of(value);
    unsigned kind = read_u8(&r);
    struct id facility = read_id(&r), patient = read_id(&r);
    out->kind = kind;
    out->subject = subject_make(&facility, &patient);
    out->document = read_id(&r);
    out->version = read_hash(&r);
    return (reader_end(&r) && (kind == FEED_VERSION || kind == FEED_REMOVED)) ||
           err_raise(err, ERR_CORRUPT, "change feed: a row of %zu bytes", value.len);
}
