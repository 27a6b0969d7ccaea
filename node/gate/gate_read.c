/* Reading for applications: get, list, history, events, explain. */
#include "node/gate/gate_inside.h"

enum { LIST_STEP = 64, LIST_DOCUMENT_ARENA = 8 << 20 };

bool copy_pb(struct arena *arena, struct bytes view, ProtobufCBinaryData *out, struct err *err)
{
    struct bytes copy;
    if (!arena_copy(arena, view, &copy, err)) {
        return false;
    }
    *out = pb_of(copy);
    return true;
}

static bool unpack_envelope(struct arena *arena, struct bytes bytes, Chartmesh__V1__Envelope **out,
                            struct err *err)
{
    ProtobufCAllocator allocator = {arena_unpack_alloc, arena_unpack_free, arena};
    *out = chartmesh__v1__envelope__unpack(&allocator, bytes.len, bytes.data);
    return *out || err_raise(err, ERR_TOO_MUCH, "reply: the memory budget is spent");
}

bool view_fill(struct gate *gate, const struct subject *subject, const struct chart_version *version,
               bool with_content, struct arena *arena, Chartmesh__V1__VersionView **out, uint64_t *extent,
               struct err *err)
{
    void *memory;
    struct content_meta meta;
    struct bytes content;
    if (!arena_alloc(arena, sizeof(Chartmesh__V1__VersionView), &memory, err)) {
        return false;
    }
    Chartmesh__V1__VersionView *view = memory;
    chartmesh__v1__version_view__init(view);
    view->complete = version->complete;
    view->retracted = version->retracted;
    view->pending = version->pending;
    if (!copy_pb(arena, BYTES_OF(version->id), &view->version, err) ||
        !unpack_envelope(arena, version->envelope, &view->statement, err) ||
        (!hash_is_zero(&version->disclosure) &&
         !copy_pb(arena, BYTES_OF(version->disclosure), &view->disclosure, err))) {
        return false;
    }
    *out = view;
    if (!with_content || !version->complete) {
        return true;
    }
    if (!chart_content_meta_read(gate->chart, &subject->p, &version->document, &version->content, &meta, err) ||
        !copy_pb(arena, BYTES_OF(meta.salt), &view->salt, err) ||
        !copy_pb(arena, BYTES_OF(meta.root), &view->root, err)) {
        return err_wrap(err, "content meta");
    }
    if (meta.length > GATE_INLINE_MAX) {
        return true;
    }
    if (!read_content(gate, subject, version, &meta, arena, &content, err)) {
        return false;
    }
    view->content = pb_of(content);
    *extent += content.len;
    return true;
}

/* ---- One document ---------------------------------------------------------------------------------------------- */

bool document_load(struct gate *gate, const struct subject *subject, const struct id *document,
                   struct arena *arena, struct document_read *out, struct err *err)
{
    void *places, *ids, *denied, *decisions;
    *out = (struct document_read){0};
    if (!consent_state_load(gate, subject, arena, &out->state, err)) {
        return false;
    }
    if (!chart_document(gate->chart, subject, document, arena, &out->versions, &out->count, err)) {
        return err->code == ERR_NOT_FOUND; /* count stays 0 */
    }
    if (!chart_effective_labels(out->versions, out->count, arena, &out->labels, err) ||
        !arena_array(arena, out->count, sizeof(size_t), &places, err) ||
        !arena_array(arena, out->count, HASH_LEN, &ids, err) ||
        !arena_array(arena, out->count, HASH_LEN, &denied, err) ||
        !arena_array(arena, out->count, sizeof(struct consent_decision), &decisions, err)) {
        return false;
    }
    out->places = places;
    out->denied_ids = denied;
    out->ids = ids;
    out->decisions = decisions;
    return true;
}

/* Decides version i and files it among the permitted or denied. */
bool document_decide(struct gate *gate, struct document_read *read, const struct caller *caller,
                     enum consent_action action, size_t i, struct arena *arena, struct err *err)
{
    struct consent_decision decision;
    if (!decide_version(gate, &read->state, caller, action, read->versions, read->count, i, read->labels, arena,
                        &decision, err)) {
        return false;
    }
    if (decision.effect == CONSENT_PERMIT) {
        read->places[read->permitted] = i;
        read->ids[read->permitted] = read->versions[i].id;
        read->decisions[read->permitted++] = decision;
        return true;
    }
    if (read->denied_len == 0) {
        read->denied = decision;
        read->denied_under = read->versions[i].disclosure;
    }
    read->denied_ids[read->denied_len++] = read->versions[i].id;
    return true;
}

/* A copy's governing disclosure, if all that was read stands under one. */
static const struct hash *one_disclosure(const struct document_read *read)
{
    const struct hash *first = NULL;
    for (size_t i = 0; i < read->permitted; i++) {
        const struct chart_version *v = &read->versions[read->places[i]];
        if (hash_is_zero(&v->disclosure) || (first && !hash_equal(first, &v->disclosure))) {
            return NULL;
        }
        first = &v->disclosure;
    }
    return first;
}

bool refuse_document(struct gate *gate, const struct caller *caller, const struct subject *subject,
                     struct document_read *read, struct arena *arena, struct err *err)
{
    Chartmesh__V1__Decision *message = NULL;
    const struct hash *under = hash_is_zero(&read->denied_under) ? NULL : &read->denied_under;
    bool known = read->state.subject.known;
    if (read->denied_len == 0) {
        return refuse(gate, caller, known ? subject : NULL, NULL, 0, NULL, "absent", err);
    }
    return decision_message(gate, &read->state, &read->denied, 1, under, arena, &message, err) &&
           refuse(gate, caller, subject, read->denied_ids, read->denied_len, message,
                  consent_why_code(read->denied.why), err);
}

/* The READ entry of what is permitted; true when it is durable. */
bool document_log(struct gate *gate, const struct caller *caller, const struct subject *subject,
                  struct document_read *read, uint64_t extent, struct arena *arena, uint64_t *index,
                  struct err *err)
{
    Chartmesh__V1__Decision *message;
    const struct hash *disclosure = one_disclosure(read);
    if (!decision_message(gate, &read->state, read->decisions, read->permitted, disclosure, arena, &message,
                          err)) {
        return false;
    }
    const struct read_entry entry = {
        .kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_READ,
        .caller = caller,
        .subject = subject,
        .objects = read->ids,
        .objects_len = read->permitted,
        .decision = message,
        .extent = extent,
    };
    return log_read(gate, &entry, index, err);
}

bool receipt_into(struct gate *gate, const struct caller *caller, uint64_t index, struct arena *arena,
                  ProtobufCBinaryData *out, struct err *err)
{
    void *room;
    if (!arena_alloc(arena, RECEIPT_LEN, &room, err)) {
        return false;
    }
    gate_receipt(gate, caller, index, room);
    *out = pb_of(BYTES(room, RECEIPT_LEN));
    return true;
}

static bool views_of(struct gate *gate, const struct subject *subject, struct document_read *read, bool content,
                     bool retracted, struct arena *arena, Chartmesh__V1__VersionView ***out, uint64_t *extent,
                     struct err *err)
{
    void *memory;
    if (!arena_array(arena, read->permitted, sizeof **out, &memory, err)) {
        return false;
    }
    *out = memory;
    for (size_t i = 0; i < read->permitted; i++) {
        const struct chart_version *v = &read->versions[read->places[i]];
        if (!view_fill(gate, subject, v, content && (retracted || !v->retracted), arena, &(*out)[i], extent,
                       err)) {
            return false;
        }
    }
    return true;
}

bool gate_get(struct gate *gate, const struct caller *caller, const Chartmesh__V1__GetRequest *request,
              const struct subject *subject, struct arena *arena, Chartmesh__V1__GetReply *out, struct err *err)
{
    struct id document;
    struct document_read read;
    uint64_t extent = 0, index;
    if (!id_from(bytes_pb(request->document), &document)) {
        return err_raise_field(err, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_FIELD_INVALID, "document",
                               "must be 16 bytes");
    }
    if (!document_load(gate, subject, &document, arena, &read, err)) {
        return false;
    }
    struct bytes wanted = bytes_pb(request->version);
    for (size_t i = 0; i < read.count; i++) {
        bool asked = wanted.len ? bytes_equal(wanted, BYTES_OF(read.versions[i].id)) : read.versions[i].head;
        if (asked && !document_decide(gate, &read, caller, CONSENT_READ, i, arena, err)) {
            return false;
        }
    }
    if (read.permitted == 0) {
        return refuse_document(gate, caller, subject, &read, arena, err);
    }
    if (!views_of(gate, subject, &read, !request->headers_only, request->with_retracted, arena, &out->heads,
                  &extent, err) ||
        !document_log(gate, caller, subject, &read, extent, arena, &index, err)) {
        return false;
    }
    out->n_heads = read.permitted;
    out->conflict = !wanted.len && read.permitted > 1;
    out->effective_labels = read.labels;
    return copy_pb(arena, BYTES_OF(document), &out->document, err) &&
           receipt_into(gate, caller, index, arena, &out->receipt, err);
}

bool gate_history(struct gate *gate, const struct caller *caller, const struct subject *subject,
                  const struct id *document, size_t from, size_t max, struct arena *arena,
                  Chartmesh__V1__HistoryReply *out, size_t *total, struct err *err)
{
    struct document_read read;
    uint64_t extent = 0, index;
    void *memory;
    if (!document_load(gate, subject, document, arena, &read, err)) {
        return false;
    }
    for (size_t i = 0; i < read.count; i++) {
        if (!document_decide(gate, &read, caller, CONSENT_READ, i, arena, err)) {
            return false;
        }
    }
    if (read.permitted == 0) {
        return refuse_document(gate, caller, subject, &read, arena, err);
    }
    *total = read.permitted;
    if (!arena_array(arena, read.permitted, sizeof(ProtobufCBinaryData), &memory, err)) {
        return false;
    }
    out->heads = memory;
    for (size_t i = 0; i < read.permitted; i++) {
        const struct chart_version *v = &read.versions[read.places[i]];
        if (v->head && !copy_pb(arena, BYTES_OF(v->id), &out->heads[out->n_heads++], err)) {
            return false;
        }
    }
    size_t begin = MIN(from, read.permitted);
    read.places += begin;
    read.ids += begin;
    read.decisions += begin;
    read.permitted = MIN(max, read.permitted - begin);
    if (read.permitted == 0) {
        return err_raise_field(err, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_TOKEN_INVALID, "page_token",
                               "beyond the last version");
    }
    if (!views_of(gate, subject, &read, false, false, arena, &out->versions, &extent, err) ||
        !document_log(gate, caller, subject, &read, 0, arena, &index, err)) {
        return false;
    }
    out->n_versions = read.permitted;
    return receipt_into(gate, caller, index, arena, &out->receipt, err);
}

/* ---- A list of documents ------------------------------------------------------------------------------------------ */

static bool coding_in(Chartmesh__V1__Coding *const *list, size_t n, const Chartmesh__V1__Coding *coding)
{
    for (size_t i = 0; coding && i < n; i++) {
        if (strcmp(list[i]->system, coding->system) == 0 && strcmp(list[i]->code, coding->code) == 0) {
            return true;
        }
    }
    return false;
}

static bool overlaps(const Chartmesh__V1__Period *wanted, const Chartmesh__V1__Period *has)
{
    if (!has) {
        return false;
    }
    bool before = has->until && wanted->from && has->until->ms <= wanted->from->ms;
    bool after = has->from && wanted->until && has->from->ms >= wanted->until->ms;
    return !before && !after;
}

static bool matches(const Chartmesh__V1__ListRequest *request, const Chartmesh__V1__Version *version,
                    const Chartmesh__V1__Labels *labels)
{
    bool category = request->n_category == 0;
    for (size_t i = 0; !category && i < version->n_category; i++) {
        category = coding_in(request->category, request->n_category, version->category[i]);
    }
    return category &&
           (request->n_class_ == 0 || coding_in(request->class_, request->n_class_, version->class_)) &&
           (!request->clinical || overlaps(request->clinical, version->clinical)) &&
           (!request->confidentiality_max || labels->confidentiality <= request->confidentiality_max);
}

struct list_page {
    Chartmesh__V1__DocumentView **documents;
    size_t documents_len;
    struct hash *ids;
    struct consent_decision *decisions;
    size_t ids_len, ids_max;
};

/* The heads that match and that this caller may find. */
static bool list_read(struct gate *gate, const struct caller *caller, const Chartmesh__V1__ListRequest *request,
                      const struct subject *subject, const struct id *document, struct arena *arena,
                      struct document_read *out, struct err *err)
{
    if (!document_load(gate, subject, document, arena, out, err)) {
        return false;
    }
    for (size_t i = 0; i < out->count; i++) {
        if (out->versions[i].head && matches(request, out->versions[i].message, out->labels) &&
            !document_decide(gate, out, caller, CONSENT_SEARCH, i, arena, err)) {
            return false;
        }
    }
    return true;
}

/* *fits is false, and nothing was added, when the page has no room for the document's heads. Looked at aside
 * first: the call's memory is for what goes out, however many documents do not. */
static bool list_document(struct gate *gate, const struct caller *caller,
                          const Chartmesh__V1__ListRequest *request, const struct subject *subject,
                          const struct id *document, struct list_page *page, struct consent_state *state,
                          bool *fits, struct arena *arena, struct err *err)
{
    AUTO_ARENA(aside, LIST_DOCUMENT_ARENA);
    struct document_read read;
    uint64_t extent = 0;
    void *memory;
    if (!list_read(gate, caller, request, subject, document, &aside, &read, err)) {
        return false;
    }
    if (read.permitted && !list_read(gate, caller, request, subject, document, arena, &read, err)) {
        return false;
    }
    *fits = page->ids_len + read.permitted <= page->ids_max;
    if (read.permitted == 0 || !*fits) {
        return true;
    }
    *state = read.state;
    if (!arena_alloc(arena, sizeof(Chartmesh__V1__DocumentView), &memory, err)) {
        return false;
    }
    Chartmesh__V1__DocumentView *view = memory;
    chartmesh__v1__document_view__init(view);
    view->n_heads = read.permitted;
    view->conflict = read.permitted > 1;
    view->effective_labels = read.labels;
    if (!views_of(gate, subject, &read, false, false, arena, &view->heads, &extent, err) ||
        !copy_pb(arena, BYTES_OF(*document), &view->document, err)) {
        return false;
    }
    memcpy(page->ids + page->ids_len, read.ids, read.permitted * sizeof *read.ids);
    memcpy(page->decisions + page->ids_len, read.decisions, read.permitted * sizeof *read.decisions);
    page->ids_len += read.permitted;
    page->documents[page->documents_len++] = view;
    return true;
}

/* Fills the page from document to document after *from; *more is false when there are no others. */
static bool list_fill(struct gate *gate, const struct caller *caller, const Chartmesh__V1__ListRequest *request,
                      const struct subject *subject, struct list_page *page, size_t max,
                      struct consent_state *state, struct id *from, bool begun, bool *more, struct arena *arena,
                      struct err *err)
{
    for (*more = true; *more && page->documents_len < max; begun = true) {
        struct id *step;
        size_t count;
        if (!chart_documents(gate->chart, subject, begun ? from : NULL, LIST_STEP, arena, &step, &count, err)) {
            return false;
        }
        *more = count == LIST_STEP;
        for (size_t i = 0; i < count; i++) {
            bool fits = page->documents_len < max;
            if (fits && !list_document(gate, caller, request, subject, &step[i], page, state, &fits, arena, err)) {
                return false;
            }
            if (!fits) {
                *more = true;
                return true;
            }
            *from = step[i];
        }
    }
    return true;
}

/* Nothing to see looks the same whatever the reason: an empty page, and a record of the question. */
static bool list_log(struct gate *gate, const struct caller *caller, const struct subject *subject,
                     const struct list_page *page, const struct consent_state *state, struct arena *arena,
                     uint64_t *index, struct err *err)
{
    Chartmesh__V1__Decision *message = NULL;
    if (page->ids_len &&
        !decision_message(gate, state, page->decisions, page->ids_len, NULL, arena, &message, err)) {
        return false;
    }
    const struct read_entry entry = {
        .kind = page->ids_len ? CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_READ
                              : CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_ABSENT,
        .caller = caller,
        .subject = state->subject.known ? subject : NULL,
        .objects = page->ids,
        .objects_len = page->ids_len,
        .decision = message,
        .reason = "list",
    };
    return log_read(gate, &entry, index, err);
}

bool gate_list(struct gate *gate, const struct caller *caller, const Chartmesh__V1__ListRequest *request,
               const struct subject *subject, const struct id *after, size_t max, struct arena *arena,
               Chartmesh__V1__ListReply *out, bool *more, struct id *next, struct err *err)
{
    enum { HEADS_MAX = 4096 };
    struct list_page page = {.ids_max = HEADS_MAX};
    struct consent_state state;
    void *documents, *ids, *decisions;
    uint64_t index;
    if (!consent_state_load(gate, subject, arena, &state, err) ||
        !arena_array(arena, max, sizeof *page.documents, &documents, err) ||
        !arena_array(arena, HEADS_MAX, sizeof *page.ids, &ids, err) ||
        !arena_array(arena, HEADS_MAX, sizeof *page.decisions, &decisions, err)) {
        return false;
    }
    page.documents = documents;
    page.ids = ids;
    page.decisions = decisions;
    *next = after ? *after : (struct id){0};
    if (!list_fill(gate, caller, request, subject, &page, max, &state, next, after, more, arena, err) ||
        !list_log(gate, caller, subject, &page, &state, arena, &index, err)) {
        return false;
    }
    out->documents = page.documents;
    out->n_documents = page.documents_len;
    return receipt_into(gate, caller, index, arena, &out->receipt, err);
}

/* ---- Looking up --------------------------------------------------------------------------------------------------- */

bool gate_found(struct gate *gate, const struct caller *caller, const struct subject *subject,
                const struct id *identity, struct arena *arena, bool *visible, uint64_t *index, struct err *err)
{
    struct document_read read;
    *visible = false;
    if (!document_load(gate, subject, identity, arena, &read, err)) {
        return false;
    }
    for (size_t i = 0; i < read.count; i++) {
        if (read.versions[i].head && !document_decide(gate, &read, caller, CONSENT_SEARCH, i, arena, err)) {
            return false;
        }
    }
    *visible = read.permitted > 0;
    if (read.permitted) {
        return document_log(gate, caller, subject, &read, 0, arena, index, err);
    }
    return refuse_document(gate, caller, subject, &read, arena, err) || err->code == ERR_NOT_FOUND;
}

bool gate_absent(struct gate *gate, const struct caller *caller, const char *what, struct err *err)
{
    return refuse(gate, caller, NULL, NULL, 0, NULL, what, err);
}

/* ---- Events -------------------------------------------------------------------------------------------------------- */

static bool event_places(const struct feed_row *row, struct arena *arena, Chartmesh__V1__WatchEvent *out,
                         struct err *err)
{
    void *memory;
    if (!arena_alloc(arena, sizeof(Chartmesh__V1__Subject), &memory, err)) {
        return false;
    }
    out->subject = memory;
    chartmesh__v1__subject__init(out->subject);
    return copy_pb(arena, BYTES_OF(row->subject.facility), &out->subject->facility, err) &&
           copy_pb(arena, BYTES_OF(row->subject.patient), &out->subject->patient, err) &&
           (id_is_zero(&row->document) || copy_pb(arena, BYTES_OF(row->document), &out->document, err));
}

bool gate_event(struct gate *gate, const struct caller *caller, const struct feed_row *row, struct arena *arena,
                Chartmesh__V1__WatchEvent *out, bool *visible, struct err *err)
{
    struct document_read read;
    uint64_t extent = 0, index;
    Chartmesh__V1__VersionView **views;
    *visible = row->kind == FEED_REMOVED;
    if (row->kind == FEED_REMOVED) {
        out->kind = CHARTMESH__V1__WATCH_KIND__WATCH_KIND_REMOVED;
        return event_places(row, arena, out, err);
    }
    if (!document_load(gate, &row->subject, &row->document, arena, &read, err)) {
        return false;
    }
    size_t heads = 0;
    for (size_t i = 0; i < read.count; i++) {
        heads += read.versions[i].head;
        if (hash_equal(&read.versions[i].id, &row->version) &&
            !document_decide(gate, &read, caller, CONSENT_READ, i, arena, err)) {
            return false;
        }
    }
    if (read.permitted == 0) {
        return true;
    }
    if (!views_of(gate, &row->subject, &read, false, false, arena, &views, &extent, err) ||
        !document_log(gate, caller, &row->subject, &read, 0, arena, &index, err)) {
        return false;
    }
    out->kind = CHARTMESH__V1__WATCH_KIND__WATCH_KIND_VERSION;
    out->version = views[0];
    out->conflict = heads > 1;
    *visible = true;
    return event_places(row, arena, out, err) && receipt_into(gate, caller, index, arena, &out->receipt, err);
}

/* ---- Explain -------------------------------------------------------------------------------------------------------- */

static bool explain_fill(struct gate *gate, const struct caller *caller, const struct subject *subject,
                         struct consent_state *state, const struct consent_decision *decision, struct arena *arena,
                         Chartmesh__V1__ExplainReply *out, struct err *err)
{
    void *memory;
    uint64_t index;
    char *reason;
    Chartmesh__V1__Decision *message;
    if (!consent_basis_message(decision, arena, &out->basis, &out->n_basis, err) ||
        !consent_reason(decision, arena, &reason, err) || !arena_alloc(arena, sizeof(char *), &memory, err) ||
        !decision_message(gate, state, decision, 1, NULL, arena, &message, err)) {
        return false;
    }
    out->effect = (Chartmesh__V1__Effect)decision->effect;
    out->step = decision->step;
    out->reasons = memory;
    out->reasons[0] = reason;
    out->n_reasons = 1;
    const struct read_entry entry = {.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_READ,
                                     .caller = caller,
                                     .subject = subject,
                                     .decision = message,
                                     .reason = "explain"};
    return log_read(gate, &entry, &index, err) && receipt_into(gate, caller, index, arena, &out->receipt, err);
}

static size_t first_head(const struct document_read *read)
{
    size_t i = 0;
    while (i + 1 < read->count && !read->versions[i].head) {
        i++;
    }
    return i;
}

bool gate_explain(struct gate *gate, const struct caller *caller, const Chartmesh__V1__ExplainRequest *request,
                  const struct subject *subject, struct arena *arena, Chartmesh__V1__ExplainReply *out,
                  struct err *err)
{
    struct id document, facility = *chart_facility(gate->chart);
    struct document_read read;
    struct consent_decision decision;
    if (!id_from(bytes_pb(request->document), &document) ||
        (request->facility.len && !id_from(bytes_pb(request->facility), &facility))) {
        return err_raise_field(err, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_FIELD_INVALID,
                               request->facility.len ? "facility" : "document", "must be 16 bytes");
    }
    if (!document_load(gate, subject, &document, arena, &read, err)) {
        return false;
    }
    if (read.count == 0 || !read.state.subject.own) {
        return refuse(gate, caller, read.state.subject.known ? subject : NULL, NULL, 0, NULL, "absent", err);
    }
    if (request->at) {
        read.state.lo_ms = read.state.hi_ms = request->at->ms;
    }
    size_t i = first_head(&read);
    struct consent_version facts = version_facts(read.versions, read.count, i, read.labels);
    struct consent_context context;
    consent_state_context(gate, &read.state, &context);
    if (request->action == CHARTMESH__V1__ACTION__ACTION_DISCLOSE) {
        struct consent_disclosure disclosure;
        const struct consent_push push = {facility, read.state.lo_ms, read.state.hi_ms};
        if (!consent_disclose(&push, &facts, 1, &context, arena, &disclosure, err)) {
            return false;
        }
        decision = disclosure.answers[0];
    } else {
        struct consent_request asked = {
            .action = request->action == CHARTMESH__V1__ACTION__ACTION_SEARCH ? CONSENT_SEARCH : CONSENT_READ,
            .facility = facility,
            .user = request->user,
            .purpose = request->purpose,
            .lo_ms = read.state.lo_ms,
            .hi_ms = read.state.hi_ms};
        if (request->role) {
            asked.role = (struct consent_coding){request->role->system, request->role->code};
        }
        if (!consent_decide(&asked, &facts, &context, arena, &decision, err)) {
            return false;
        }
    }
    return explain_fill(gate, caller, subject, &read.state, &decision, arena, out, err);
}
