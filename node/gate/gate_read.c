/* Reading for applications: one document, its heads or its history; and what other reads are made of. */
#include "node/gate/gate_inside.h"

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

static bool view_content(struct gate *gate, const struct chart_content *content,
                         const struct chart_version *version, const struct content_meta *meta, struct arena *arena,
                         Chartmesh__V1__VersionView *view, uint64_t *extent, struct err *err)
{
    struct bytes whole;
    if (!copy_pb(arena, BYTES_OF(meta->salt), &view->salt, err) ||
        !copy_pb(arena, BYTES_OF(meta->root), &view->root, err)) {
        return false;
    }
    if (meta->length > GATE_INLINE_MAX) {
        return true;
    }
    if (!read_content(gate, content, version, meta, arena, &whole, err)) {
        return false;
    }
    view->content = pb_of(whole);
    *extent += whole.len;
    return true;
}

bool view_fill(struct gate *gate, const struct subject *subject, const struct chart_version *version,
               bool with_content, struct arena *arena, Chartmesh__V1__VersionView **out, uint64_t *extent,
               struct err *err)
{
    void *memory;
    struct content_meta meta;
    struct chart_content content;
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
    bool here = false;
    if (with_content && !content_is_here(gate, version, &here, err)) {
        return false;
    }
    if (!here) {
        view->complete = version->complete && !with_content;
        return true;
    }
    bool opened =
        chart_content_open(gate->chart, &subject->p, &version->document, &version->content, &content, &meta, err);
    bool ok = opened ? view_content(gate, &content, version, &meta, arena, view, extent, err)
                     : err_wrap(err, "content meta");
    secret_wipe(&content.keys, sizeof content.keys);
    return ok;
}

/* ---- One document ---------------------------------------------------------------------------------------------- */

bool document_load(struct gate *gate, const struct subject *subject, const struct id *document,
                   struct arena *arena, struct document_read *out, struct err *err)
{
    struct consent_state state;
    return consent_state_load(gate, subject, arena, &state, err) &&
           document_load_in(gate, &state, document, arena, out, err);
}

bool document_load_in(struct gate *gate, const struct consent_state *state, const struct id *document,
                      struct arena *arena, struct document_read *out, struct err *err)
{
    void *places, *ids, *denied, *decisions;
    *out = (struct document_read){.state = *state};
    if (!chart_document(gate->chart, &state->subject.subject, document, arena, &out->versions, &out->count, err)) {
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
    return decision_message(&read->state, &read->denied, 1, under, arena, &message, err) &&
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
    if (!decision_message(&read->state, read->decisions, read->permitted, disclosure, arena, &message, err)) {
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

bool refuse_version(struct gate *gate, const struct caller *caller, const struct subject *subject,
                    struct document_read *read, struct arena *arena, struct err *err)
{
    struct err failed;
    if (!document_log(gate, caller, subject, read, 0, arena, NULL, &failed)) {
        *err = failed;
    }
    return false;
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

bool views_of(struct gate *gate, const struct subject *subject, struct document_read *read, bool content,
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

/* ---- Several documents ------------------------------------------------------------------------------------------ */

bool granted_room(struct granted *granted, size_t max, struct arena *arena, struct err *err)
{
    void *ids, *decisions;
    if (!arena_array(arena, max, sizeof *granted->ids, &ids, err) ||
        !arena_array(arena, max, sizeof *granted->decisions, &decisions, err)) {
        return false;
    }
    *granted = (struct granted){.ids = ids, .decisions = decisions, .max = max};
    return true;
}

/* What an entry needs of a decision; its notice goes to nobody here. */
bool decision_keep(const struct consent_decision *decision, struct arena *arena, struct consent_decision *out,
                   struct err *err)
{
    struct bytes basis;
    if (!arena_copy(arena, BYTES(decision->basis, decision->basis_len * sizeof *decision->basis), &basis, err)) {
        return false;
    }
    *out = *decision;
    out->basis = (struct consent_basis *)(uintptr_t)basis.data;
    out->notice = NULL;
    return true;
}

bool granted_add(struct granted *granted, const struct document_read *read, bool *fits, struct arena *arena,
                 struct err *err)
{
    *fits = read->permitted <= granted->max - granted->len;
    for (size_t i = 0; *fits && i < read->permitted; i++) {
        if (!decision_keep(&read->decisions[i], arena, &granted->decisions[granted->len], err)) {
            return false;
        }
        granted->ids[granted->len++] = read->ids[i];
    }
    return true;
}

/* All of it: the versions that it was joined from may be gone before the answer is. */
static bool labels_keep(const Chartmesh__V1__Labels *labels, struct arena *arena, Chartmesh__V1__Labels **out,
                        struct err *err)
{
    void *room, *list, *codes;
    if (!arena_alloc(arena, sizeof **out, &room, err) ||
        !arena_array(arena, labels->n_sensitivity, sizeof *labels->sensitivity, &list, err) ||
        !arena_array(arena, labels->n_sensitivity, sizeof **labels->sensitivity, &codes, err)) {
        return false;
    }
    *out = room;
    **out = *labels;
    (*out)->sensitivity = list;
    for (size_t i = 0; i < labels->n_sensitivity; i++) {
        Chartmesh__V1__Coding *code = (Chartmesh__V1__Coding *)codes + i;
        *code = *labels->sensitivity[i];
        if (!arena_string(arena, bytes_str(labels->sensitivity[i]->system), &code->system, err) ||
            !arena_string(arena, bytes_str(labels->sensitivity[i]->code), &code->code, err)) {
            return false;
        }
        (*out)->sensitivity[i] = code;
    }
    return true;
}

bool view_document(struct gate *gate, const struct subject *subject, const struct id *document,
                   struct document_read *read, bool content, bool retracted, struct arena *arena,
                   Chartmesh__V1__DocumentView **out, uint64_t *extent, struct err *err)
{
    void *memory;
    if (!arena_alloc(arena, sizeof(Chartmesh__V1__DocumentView), &memory, err)) {
        return false;
    }
    *out = memory;
    chartmesh__v1__document_view__init(*out);
    (*out)->n_heads = read->permitted;
    return views_of(gate, subject, read, content, retracted, arena, &(*out)->heads, extent, err) &&
           labels_keep(read->labels, arena, &(*out)->effective_labels, err) &&
           copy_pb(arena, BYTES_OF(*document), &(*out)->document, err);
}

/* ---- Get and History -------------------------------------------------------------------------------------------- */

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
