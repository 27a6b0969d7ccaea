/* Batches: several documents of one subject, read as one. */
#include "node/gate/gate_inside.h"

enum { BATCH_DOCUMENT_ARENA = 8 << 20, BATCH_HEADS_MAX = 4096, BATCH_CONTENT_MAX = 4 << 20 };

struct batch {
    const struct caller *caller;
    const Chartmesh__V1__GetRequest *request;
    const struct consent_state *state;
    struct arena *arena;
    Chartmesh__V1__GetReply *out;
    struct granted granted;
    struct read_entry *entries;          /* place 0 is for READ, then one DENIED for each document that is */
    size_t entries_len, absent;
    uint64_t extent;
};

static bool batch_read(struct gate *gate, const struct batch *b, const Chartmesh__V1__GetItem *item,
                       const struct id *document, struct arena *arena, struct document_read *out, struct err *err)
{
    struct bytes wanted = bytes_pb(item->version);
    if (!document_load_in(gate, b->state, document, arena, out, err)) {
        return false;
    }
    for (size_t i = 0; i < out->count; i++) {
        const struct chart_version *v = &out->versions[i];
        bool asked = wanted.len ? bytes_equal(wanted, BYTES_OF(v->id)) : v->head;
        if (asked && !document_decide(gate, out, b->caller, CONSENT_READ, i, arena, err)) {
            return false;
        }
    }
    return true;
}

/* Denied and absent get the same empty view. */
static bool batch_refuse(struct batch *b, const struct id *document, const struct document_read *read,
                         Chartmesh__V1__DocumentView **view, struct err *err)
{
    struct consent_decision denied;
    Chartmesh__V1__Decision *message;
    struct bytes ids, under = BYTES_NONE;
    void *memory;
    if (!arena_alloc(b->arena, sizeof(Chartmesh__V1__DocumentView), &memory, err)) {
        return false;
    }
    *view = memory;
    chartmesh__v1__document_view__init(*view);
    if (!copy_pb(b->arena, BYTES_OF(*document), &(*view)->document, err)) {
        return false;
    }
    b->absent += read->denied_len == 0;
    if (read->denied_len == 0) {
        return true;
    }
    if (!decision_keep(&read->denied, b->arena, &denied, err) ||
        !arena_copy(b->arena, BYTES(read->denied_ids, read->denied_len * HASH_LEN), &ids, err) ||
        (!hash_is_zero(&read->denied_under) && !arena_copy(b->arena, BYTES_OF(read->denied_under), &under, err)) ||
        !decision_message(b->state, &denied, 1, (const struct hash *)(const void *)under.data, b->arena, &message,
                          err)) {
        return false;
    }
    b->entries[b->entries_len++] = (struct read_entry){.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_DENIED,
                                                       .caller = b->caller,
                                                       .subject = &b->state->subject.subject,
                                                       .objects = (const struct hash *)(const void *)ids.data,
                                                       .objects_len = read->denied_len,
                                                       .decision = message,
                                                       .reason = consent_why_code(denied.why)};
    return true;
}

/* Content is in the answer as long as all of it stays small; what has no room is fetched by itself. */
static bool content_fits(const struct batch *b, const struct document_read *read)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < read->permitted; i++) {
        uint64_t length = read->versions[read->places[i]].message->length;
        sum += length <= GATE_INLINE_MAX ? length : 0;
    }
    return b->extent + sum <= MIN((uint64_t)BATCH_CONTENT_MAX, (uint64_t)b->arena->budget / 4);
}

/* Looked at aside: the call's memory is for what goes out. */
static bool batch_item(struct gate *gate, struct batch *b, const Chartmesh__V1__GetItem *item, struct err *err)
{
    AUTO_ARENA(aside, BATCH_DOCUMENT_ARENA);
    struct document_read read;
    struct id document;
    Chartmesh__V1__DocumentView **view = &b->out->batch[b->out->n_batch];
    bool fits;
    if (!id_from(bytes_pb(item->document), &document)) {
        return err_raise_field(err, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_FIELD_INVALID, "batch.document",
                               "must be 16 bytes");
    }
    if (!batch_read(gate, b, item, &document, &aside, &read, err)) {
        return false;
    }
    if (read.permitted == 0) {
        if (!batch_refuse(b, &document, &read, view, err)) {
            return false;
        }
        b->out->n_batch++;
        return true;
    }
    bool content = !b->request->headers_only && content_fits(b, &read);
    if (!granted_add(&b->granted, &read, &fits, b->arena, err)) {
        return false;
    }
    if (!fits) {
        return err_raise_reason(err, ERR_TOO_MUCH, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_TOO_LARGE,
                                "batch: over %d heads together: ask for fewer documents", BATCH_HEADS_MAX);
    }
    if (!view_document(gate, &b->state->subject.subject, &document, &read, content, b->request->with_retracted,
                       b->arena, view, &b->extent, err)) {
        return false;
    }
    (*view)->conflict = !item->version.len && read.permitted > 1;
    b->out->n_batch++;
    return true;
}

/* One READ for all that is given; a DENIED for each document that is denied; one ABSENT, at the bounded rate. */
static bool batch_log(struct gate *gate, struct batch *b, uint64_t *index, struct err *err)
{
    Chartmesh__V1__Decision *message;
    const struct granted *granted = &b->granted;
    const struct subject *known = b->state->subject.known ? &b->state->subject.subject : NULL;
    if (granted->len) {
        if (!decision_message(b->state, granted->decisions, granted->len, NULL, b->arena, &message, err)) {
            return false;
        }
        b->entries[0] = (struct read_entry){.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_READ,
                                            .caller = b->caller,
                                            .subject = known,
                                            .objects = granted->ids,
                                            .objects_len = granted->len,
                                            .decision = message,
                                            .extent = b->extent};
    }
    if (b->absent && absent_allowed(gate)) {
        b->entries[b->entries_len++] = (struct read_entry){.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_ABSENT,
                                                           .caller = b->caller,
                                                           .subject = known,
                                                           .reason = "absent"};
    }
    size_t skip = granted->len == 0;
    return b->entries_len == skip || log_reads(gate, b->entries + skip, b->entries_len - skip, index, err);
}

bool gate_get_batch(struct gate *gate, const struct caller *caller, const Chartmesh__V1__GetRequest *request,
                    const struct subject *subject, struct arena *arena, Chartmesh__V1__GetReply *out,
                    struct err *err)
{
    struct consent_state state;
    struct batch b = {
        .caller = caller, .request = request, .state = &state, .arena = arena, .out = out, .entries_len = 1};
    void *views, *entries;
    uint64_t index = 0;
    if (!consent_state_load(gate, subject, arena, &state, err) ||
        !arena_array(arena, request->n_batch, sizeof *out->batch, &views, err) ||
        !arena_array(arena, request->n_batch + 2, sizeof *b.entries, &entries, err) ||
        !granted_room(&b.granted, BATCH_HEADS_MAX, arena, err)) {
        return false;
    }
    out->batch = views;
    b.entries = entries;
    for (size_t i = 0; i < request->n_batch; i++) {
        if (!batch_item(gate, &b, request->batch[i], err)) {
            return false;
        }
    }
    return batch_log(gate, &b, &index, err) &&
           (b.granted.len == 0 || receipt_into(gate, caller, index, arena, &out->receipt, err));
}
