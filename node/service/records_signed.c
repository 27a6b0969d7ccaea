/* Versions that their author signs: Prepare says what to sign, PutSigned takes it back.
 *
 * A preparation is a token, not a row: it is sealed for one payload, one caller and ten minutes, and the node
 * keeps nothing. The dot in the payload is reserved by being the next one: whatever is written to the document
 * meanwhile takes it, and then the preparation is worth nothing. So it is used once at most, also over a restart,
 * and asking for many costs nobody anything. */
#include "node/service/service_inside.h"

#include "proto/base/builder.h"
#include "proto/base/reader.h"

enum { ITEMS_MAX = 64, LIFE_MS = 10 * 60 * 1000 };
#define TOKEN_OF "Records.Prepare"

/* ---- Prepare --------------------------------------------------------------------------------------------------- */

struct preparing {
    struct subject subject;
    struct id document;
    struct hash commitment;
};

static bool item_check(struct service_call *call, const Chartmesh__V1__PrepareItem *item, struct preparing *out,
                       struct err *err)
{
    *out = (struct preparing){0};
    if (!service_subject(call, item->subject, "items.subject", &out->subject, err) ||
        (item->document.len && !field_id(item->document, "items.document", &out->document, err)) ||
        !facts_check(call, item->facts, err) ||
        !field_hash(item->commitment, "items.commitment", &out->commitment, err)) {
        return false;
    }
    return item->length <= SERVICE_INLINE_MAX ||
           err_raise_field(err, REASON(TOO_LARGE), "items.length", "items.length: at most %d bytes",
                           SERVICE_INLINE_MAX);
}

static bool prepared_fill(struct service_call *call, const struct write *w, struct bytes payload,
                          uint64_t until_ms, Chartmesh__V1__Prepared *out, struct err *err)
{
    uint8_t until[8];
    struct bytes token;
    struct hash id = statement_id(STATEMENT_VERSION, payload);
    put_u64be(until, until_ms);
    if (payload.len > STATEMENT_PAYLOAD_MAX) {
        return err_raise_field(err, REASON(TOO_LARGE), "items.facts", "items.facts: a payload over %d bytes",
                               STATEMENT_PAYLOAD_MAX);
    }
    if (!service_token(call, TOKEN_OF, BYTES_OF(id), BYTES(until, sizeof until), &token, err)) {
        return false;
    }
    out->payload = pb_bytes(payload);
    out->preparation = pb_bytes(token);
    return reply_bytes(call, BYTES_OF(w->document), &out->document, err);
}

static bool prepare_locked(struct service_call *call, const Chartmesh__V1__PrepareItem *item,
                           const struct preparing *p, uint64_t until_ms, Chartmesh__V1__Prepared *out,
                           struct err *err)
{
    struct bytes payload;
    struct write w;
    if (!write_begin(call, &p->subject, &p->document, &w, err)) {
        return false;
    }
    bool ok = write_on_heads(&w, item->if_heads, item->n_if_heads, err) &&
              write_payload(&w, item->facts, &p->commitment, item->length, &payload, err) &&
              prepared_fill(call, &w, payload, until_ms, out, err);
    write_end(&w);
    return ok;
}

static bool item_prepare(struct service_call *call, const Chartmesh__V1__PrepareItem *item, uint64_t until_ms,
                         Chartmesh__V1__Prepared *out, struct err *err)
{
    struct preparing p;
    if (!item_check(call, item, &p, err)) {
        return false;
    }
    chart_lock(call->service->chart, &p.subject.p);
    bool ok = prepare_locked(call, item, &p, until_ms, out, err);
    chart_unlock(call->service->chart, &p.subject.p);
    return ok;
}

static bool reply_room(struct service_call *call, size_t count, Chartmesh__V1__PrepareReply *out, struct err *err)
{
    void *list, *room, *instant;
    if (!arena_array(call->arena, count, sizeof *out->prepared, &list, err) ||
        !arena_array(call->arena, count, sizeof **out->prepared, &room, err) ||
        !arena_alloc(call->arena, sizeof *out->expires, &instant, err)) {
        return false;
    }
    out->prepared = list;
    out->n_prepared = count;
    for (size_t i = 0; i < count; i++) {
        out->prepared[i] = (Chartmesh__V1__Prepared *)room + i;
        chartmesh__v1__prepared__init(out->prepared[i]);
    }
    out->expires = instant;
    chartmesh__v1__instant__init(out->expires);
    return true;
}

bool records_prepare(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                     struct err *err)
{
    const Chartmesh__V1__PrepareRequest *request = (const void *)in;
    Chartmesh__V1__PrepareReply *out = (void *)reply;
    uint64_t until_ms = world_now_ms(call->service->world) + LIFE_MS;
    if (request->n_items == 0 || request->n_items > ITEMS_MAX) {
        return err_raise_field(err, REASON(FIELD_INVALID), "items", "items: 1 to %d", ITEMS_MAX);
    }
    if (!reply_room(call, request->n_items, out, err)) {
        return false;
    }
    for (size_t i = 0; i < request->n_items; i++) {
        if (!item_prepare(call, request->items[i], until_ms, out->prepared[i], err)) {
            return false;
        }
    }
    out->expires->ms = (int64_t)until_ms;
    return true;
}

/* ---- PutSigned: what can be said without the chart -------------------------------------------------------------- */

static bool key_invalid(struct err *err, const char *why)
{
    return err_raise_field(err, REASON(KEY_INVALID), "statement", "statement: %s", why);
}

/* An enrolled key that counts now. One that was revoked after the preparation counted when the payload was made,
 * and must not bring anything in any more. */
static bool signers_count_now(const struct trust *trust, const struct statement *statement, uint64_t now_hlc,
                              struct err *err)
{
    for (size_t i = 0; i < statement->signers; i++) {
        if (!trust_key(trust, &statement->key_ids[i], now_hlc)) {
            return key_invalid(err, "signed by a key that is not enrolled, is revoked or has expired");
        }
    }
    return true;
}

static bool signature_check(struct service_call *call, struct signed_put *put, struct bytes envelope,
                            struct err *err)
{
    struct chart *chart = call->service->chart;
    if (!bytes_equal(bytes_pb(put->version->head->network), BYTES_OF(*chart_network(chart)))) {
        return key_invalid(err, "of another network");
    }
    if (!bytes_equal(bytes_pb(put->version->head->facility), BYTES_OF(*chart_facility(chart)))) {
        return key_invalid(err, "of another facility");
    }
    uint64_t now = world_now_ms(call->service->world) << 16;
    const struct trust *trust = chart_trust_take(chart);
    bool ok = signers_count_now(trust, &put->statement, now, err) &&
              trust_check(trust, envelope, STATEMENT_VERSION, 0, NULL, call->arena, &put->statement, err);
    chart_trust_give(chart);
    if (!ok && err->code == ERR_NOT_FOUND) {
        err->code = ERR_INVALID; /* nobody is to be asked for the key: whoever signs here is enrolled here */
    }
    return ok;
}

static bool content_check(struct signed_put *put, struct err *err)
{
    const Chartmesh__V1__Version *version = put->version;
    struct bytes content = bytes_pb(put->request->content);
    struct hash root;
    if (!field_hash(put->request->salt, "salt", &put->salt, err)) {
        return false;
    }
    if (content.len > SERVICE_INLINE_MAX) {
        return err_raise_field(err, REASON(TOO_LARGE), "content", "content: at most %d bytes", SERVICE_INLINE_MAX);
    }
    if (version->length != content.len) {
        return err_raise_field(err, REASON(FIELD_INVALID), "content", "content: %zu bytes, but %llu were signed",
                               content.len, (unsigned long long)version->length);
    }
    struct hash commitment = content_commit(&put->salt, content, &root);
    return bytes_equal(BYTES_OF(commitment), bytes_pb(version->commitment)) ||
           err_raise_field(err, REASON(FIELD_INVALID), "content",
                           "content: not what was signed, or under another salt");
}

/* Whoever prepared it brings it. */
static bool author_check(const struct service_call *call, const Chartmesh__V1__Author *author, struct err *err)
{
    return (strcmp(author->principal, call->caller.principal) == 0 &&
            strcmp(author->user, call->caller.user) == 0) ||
           err_raise_field(err, REASON(FIELD_INVALID), "statement", "statement: its author is not the caller");
}

bool signed_check(struct service_call *call, const Chartmesh__V1__PutSignedRequest *request,
                  struct signed_put *out, struct err *err)
{
    struct bytes envelope;
    struct id facility, patient;
    *out = (struct signed_put){.request = request};
    if (!request->statement) {
        return err_raise_field(err, REASON(FIELD_MISSING), "statement", "statement: is needed");
    }
    if (!message_pack(&request->statement->base, call->arena, &envelope, err) ||
        !statement_parse(envelope, call->arena, &out->statement, err)) {
        return err_wrap(err, "statement");
    }
    if (out->statement.kind != STATEMENT_VERSION) {
        return err_raise_field(err, REASON(FIELD_INVALID), "statement", "statement: not a version");
    }
    out->version = (const Chartmesh__V1__Version *)(const void *)out->statement.message;
    if (!id_from(bytes_pb(out->version->subject->facility), &facility) ||
        !id_from(bytes_pb(out->version->subject->patient), &patient) ||
        !id_from(bytes_pb(out->version->document), &out->document)) {
        return err_raise(err, ERR_INTERNAL, "a version in canonical form with an id of another length");
    }
    out->subject = subject_make(&facility, &patient);
    return signature_check(call, out, envelope, err) && author_check(call, out->version->author, err) &&
           content_check(out, err);
}

/* ---- PutSigned: the rest ---------------------------------------------------------------------------------------- */

static bool preparation_invalid(struct err *err, const char *why)
{
    (void)err_raise_reason(err, ERR_CONFLICT, REASON(PREPARATION_INVALID), "preparation: %s: prepare again", why);
    return false;
}

static bool preparation_check(struct service_call *call, const struct signed_put *put, struct err *err)
{
    struct bytes state;
    if (!service_token_open(call, TOKEN_OF, BYTES_OF(put->statement.id), bytes_pb(put->request->preparation),
                            "preparation", &state, err)) {
        return err->code == ERR_INVALID ? preparation_invalid(err, "not for this payload and caller") : false;
    }
    struct reader r = reader_of(state);
    uint64_t until_ms = read_u64be(&r);
    return (reader_end(&r) && world_now_ms(call->service->world) < until_ms) ||
           preparation_invalid(err, "it has expired");
}

static bool signed_locked(struct write *w, const struct signed_put *put, Chartmesh__V1__PutReply *out,
                          struct err *err)
{
    const Chartmesh__V1__Version *version = put->version;
    bool next;
    if (!chart_dot_take(w->call->service->chart, w->txn, &w->subject, &w->document, version->dot, &next, err)) {
        return false;
    }
    if (!next) {
        return preparation_invalid(err, "its dot was used");
    }
    if (!write_on_heads(w, version->parents, version->n_parents, err) ||
        !labels_join(version->labels, NULL, w->call->arena, &w->labels, err) ||
        !write_content_salted(w, bytes_pb(put->request->content), &put->salt, err) ||
        !write_statement(w, &put->statement, err)) {
        return false;
    }
    return write_done(w, &put->statement.id, out, err);
}

/* A signed statement is its own idempotency key. */
static bool already_here(struct service_call *call, const struct signed_put *put, bool *here,
                         Chartmesh__V1__PutReply *out, struct err *err)
{
    struct subject subject;
    struct id document;
    ProtobufCMessage *before;
    call->retry = retry_name(call, "Records.PutSigned", BYTES_OF(put->statement.id));
    call->request = put->statement.id;
    if (!retry_find(call, &chartmesh__v1__put_reply__descriptor, here, &before, err)) {
        return false;
    }
    if (*here) {
        *out = *(Chartmesh__V1__PutReply *)(void *)before;
        return true;
    }
    *here = chart_version_place(call->service->chart, &put->statement.id, &subject, &document, err);
    if (!*here) {
        return err->code == ERR_NOT_FOUND;
    }
    out->unchanged = true;
    return reply_bytes(call, BYTES_OF(put->document), &out->document, err) &&
           reply_bytes(call, BYTES_OF(put->statement.id), &out->version, err);
}

bool signed_write(struct service_call *call, const struct signed_put *put, Chartmesh__V1__PutReply *out,
                  struct err *err)
{
    struct write w;
    bool here;
    if (!already_here(call, put, &here, out, err)) {
        return false;
    }
    if (here) {
        return true;
    }
    if (!preparation_check(call, put, err) || !write_within_quota(call, err) ||
        !write_begin(call, &put->subject, &put->document, &w, err)) {
        return false;
    }
    bool ok = signed_locked(&w, put, out, err);
    write_end(&w);
    return ok;
}

bool records_put_signed(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                        struct err *err)
{
    struct signed_put put;
    if (!signed_check(call, (const void *)in, &put, err)) {
        return false;
    }
    chart_lock(call->service->chart, &put.subject.p);
    bool ok = signed_write(call, &put, (void *)reply, err);
    chart_unlock(call->service->chart, &put.subject.p);
    return ok;
}
