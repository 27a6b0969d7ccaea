/* Every new version: heads, labels, content, signature, rows, entry. */
#include "node/service/service_inside.h"

#include "proto/base/builder.h"
#include "proto/crypto/seal.h"

enum { PARENTS_MAX = 16, VERSIONS_MAX = 2048, AUTHORED_AHEAD_MS = 24 * 60 * 60 * 1000 };

/* ---- The document ------------------------------------------------------------------------------------------------- */

static bool not_available(const struct service_call *call, struct err *err)
{
    return gate_absent(call->service->gate, &call->caller, "absent", err);
}

/* What grows for ever is read by nobody in the end: a document that takes more than a quarter of a call's memory
 * to load gets no further version, so that everyone can still read it. */
static bool document_load(struct write *w, struct err *err)
{
    struct arena *arena = w->call->arena;
    size_t before = arena->used;
    if (!chart_document(w->call->service->chart, &w->subject, &w->document, arena, &w->versions, &w->count, err)) {
        w->count = 0;
        return err->code == ERR_NOT_FOUND;
    }
    return (w->count < VERSIONS_MAX && arena->used - before <= arena->budget / 4) ||
           err_raise_reason(err, ERR_TOO_MUCH, REASON(TOO_LARGE),
                            "document: %zu versions, as many as it can have: begin a new document", w->count);
}

bool write_begin(struct service_call *call, const struct subject *subject, const struct id *document,
                 struct write *out, struct err *err)
{
    struct chart_subject known;
    *out = (struct write){.call = call, .subject = *subject, .document = *document};
    if (!chart_subject(call->service->chart, subject, &known, err)) {
        return false;
    }
    if (!known.known) {
        return not_available(call, err);
    }
    out->drawn = id_is_zero(document);
    if (out->drawn) {
        out->document = world_random_id(call->service->world);
    } else if (!document_load(out, err)) {
        return false;
    }
    if (out->drawn && !known.own) {
        return err_raise_reason(err, ERR_STATE, REASON(NOT_ORIGIN),
                                "a new document: only at the subject's own facility");
    }
    out->kind = CHARTMESH__V1__KIND__KIND_CONTENT;
    out->complete = true;
    out->txn = log_txn_new(call->service->log);
    return true;
}

void write_end(struct write *write)
{
    log_txn_free(write->txn);
    secret_wipe(&write->content.keys, sizeof write->content.keys);
    write->txn = NULL;
}

static bool add_parent(struct write *w, const struct chart_version *version, struct err *err)
{
    void *memory;
    if (!w->parents) {
        if (!arena_array(w->call->arena, PARENTS_MAX, sizeof *w->parents, &memory, err)) {
            return false;
        }
        w->parents = memory;
    }
    if (w->parents_len == PARENTS_MAX) {
        return err_raise_reason(err, ERR_TOO_MUCH, REASON(TOO_LARGE),
                                "document: over %d heads at once: merge some first", PARENTS_MAX);
    }
    w->parents[w->parents_len++] = version;
    return true;
}

static bool amends(struct write *w, struct err *err)
{
    bool own = id_equal(&w->subject.facility, chart_facility(w->call->service->chart));
    if (w->parents_len) {
        w->kind = CHARTMESH__V1__KIND__KIND_AMENDMENT;
    }
    return w->parents_len || own ||
           err_raise_reason(err, ERR_STATE, REASON(NOT_ORIGIN),
                            "a new document: only at the subject's own facility");
}

bool write_on_heads(struct write *w, const ProtobufCBinaryData *if_heads, size_t count, struct err *err)
{
    void *memory;
    if (!arena_array(w->call->arena, w->count, HASH_LEN, &memory, err)) {
        return false;
    }
    struct hash *heads = memory;
    size_t heads_len = 0;
    for (size_t i = 0; i < w->count; i++) {
        if (w->versions[i].head) {
            heads[heads_len++] = w->versions[i].id;
        }
    }
    if (!field_heads(if_heads, count, heads, heads_len, err)) {
        return false;
    }
    for (size_t i = 0; i < w->count; i++) {
        if (w->versions[i].head && !add_parent(w, &w->versions[i], err)) {
            return false;
        }
    }
    return amends(w, err);
}

static const struct chart_version *version_of(const struct write *w, struct bytes id)
{
    for (size_t i = 0; i < w->count; i++) {
        if (bytes_equal(BYTES_OF(w->versions[i].id), id)) {
            return &w->versions[i];
        }
    }
    return NULL;
}

bool write_on(struct write *w, const ProtobufCBinaryData *parents, size_t count, const char *field,
              struct err *err)
{
    struct hash id;
    if (count > PARENTS_MAX) {
        return err_raise_field(err, REASON(TOO_LARGE), field, "%s: at most %d at once: merge some first", field,
                               PARENTS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (!field_hash(parents[i], field, &id, err)) {
            return false;
        }
        for (size_t j = 0; j < i; j++) {
            if (bytes_equal(bytes_pb(parents[i]), bytes_pb(parents[j]))) {
                return err_raise_field(err, REASON(FIELD_INVALID), field, "%s: an id is there twice", field);
            }
        }
        const struct chart_version *parent = version_of(w, BYTES_OF(id));
        if (!parent || !parent->head) {
            return err_raise_reason(err, ERR_CONFLICT, REASON(STALE_HEADS), "%s: not a head now: read again",
                                    field);
        }
        if (!add_parent(w, parent, err)) {
            return false;
        }
    }
    return amends(w, err);
}

/* ---- Imports ------------------------------------------------------------------------------------------------------- */

struct hash import_hash_of(struct service_call *call, const struct hash *root, uint64_t length)
{
    uint8_t all[HASH_LEN + 8];
    memcpy(all, root->bytes, HASH_LEN);
    put_u64be(all + HASH_LEN, length);
    return chart_import_hash(call->service->chart, BYTES(all, sizeof all));
}

/* Over the chunk tree with a zero salt: an upload knows it too, without holding the content. */
struct hash import_hash_content(struct service_call *call, struct bytes content)
{
    const struct hash no_salt = {0};
    struct hash root = content_root_of(&no_salt, content);
    return import_hash_of(call, &root, content.len);
}

bool write_imported(struct write *w, const Chartmesh__V1__ImportKey *key, const struct hash *hash, bool *same,
                    Chartmesh__V1__PutReply *out, struct err *err)
{
    struct chart_import import;
    struct service_call *call = w->call;
    *same = false;
    if (!key) {
        return true;
    }
    w->import_key = key;
    w->import_hash = *hash;
    if (!chart_import_find(call->service->chart, key->system, key->id, &import, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    if (!id_equal(&import.subject.p, &w->subject.p) || (!w->drawn && !id_equal(&import.document, &w->document))) {
        return err_raise_reason(err, ERR_EXISTS, REASON(ALREADY_EXISTS),
                                "import_key: it has made another subject's or document's version");
    }
    if (hash_equal(&import.content, hash)) {
        *same = true;
        out->unchanged = true;
        return reply_bytes(call, BYTES_OF(import.document), &out->document, err) &&
               reply_bytes(call, BYTES_OF(import.version), &out->version, err);
    }
    if (w->parents_len) {
        return true;
    }
    /* The source has changed: what it said before is what this amends, whatever others have written meanwhile. */
    w->document = import.document;
    if (!chart_document(call->service->chart, &w->subject, &w->document, call->arena, &w->versions, &w->count,
                        err)) {
        w->count = 0;
        return err->code == ERR_NOT_FOUND;
    }
    const struct chart_version *before = version_of(w, BYTES_OF(import.version));
    return (!before || add_parent(w, before, err)) && amends(w, err);
}

/* ---- Content ------------------------------------------------------------------------------------------------------- */

bool write_content(struct write *w, struct bytes content, struct err *err)
{
    struct hash salt;
    world_random(w->call->service->world, salt.bytes, HASH_LEN);
    return write_content_salted(w, content, &salt, err);
}

bool write_content_salted(struct write *w, struct bytes content, const struct hash *salt, struct err *err)
{
    struct chart *chart = w->call->service->chart;
    w->meta.length = content.len;
    w->meta.salt = *salt;
    w->meta.root = content_root_of(&w->meta.salt, content);
    if (!chart_content_new(chart, w->txn, &w->subject, &w->content, err)) {
        return false;
    }
    for (uint64_t i = 0; i < content_chunks(content.len); i++) {
        AUTO_ARENA(scratch, 1 << 20);
        struct bytes coded, plain = BYTES(content.data + i * CHUNK_LEN, chunk_length(content.len, i));
        if (!chunk_code(plain, &scratch, &coded, err) ||
            !chart_content_chunk(chart, w->txn, &w->content, i, i + 1 == content_chunks(content.len), coded,
                                 err)) {
            return err_wrap(err, "content");
        }
    }
    return chart_content_meta(chart, w->txn, &w->content, &w->document, &w->meta, err);
}

bool write_content_of(struct write *w, const struct chart_version *version, struct err *err)
{
    struct chart *chart = w->call->service->chart;
    w->complete = version->complete;
    return chart_content_load(chart, &w->subject.p, &version->content, &w->content, err) &&
           chart_content_meta_read(chart, &w->subject.p, &w->document, &version->content, &w->meta, err);
}

/* ---- The version --------------------------------------------------------------------------------------------------- */

/* A clock far behind cannot be told from an old paper that is written up today; one far ahead can. */
static bool authored_check(const struct service_call *call, const Chartmesh__V1__Instant *authored,
                           struct err *err)
{
    if (!authored) {
        return true;
    }
    if (authored->ms < 0) {
        return err_raise_field(err, REASON(FIELD_INVALID), "facts.authored", "facts.authored: before 1970");
    }
    uint64_t now = world_security_clock(call->service->world).hi_ms;
    return (uint64_t)authored->ms <= now + AUTHORED_AHEAD_MS ||
           err_raise_field(err, REASON(FIELD_INVALID), "facts.authored",
                           "facts.authored: over a day ahead of this node's clock: set the client's clock");
}

bool facts_check(const struct service_call *call, const Chartmesh__V1__Facts *facts, struct err *err)
{
    if (!facts) {
        return err_raise_field(err, REASON(FIELD_MISSING), "facts", "facts: are needed");
    }
    if (strlen(facts->title) > SERVICE_CODE_MAX) {
        return err_raise_field(err, REASON(FIELD_INVALID), "facts.title", "facts.title: at most %d bytes",
                               SERVICE_CODE_MAX);
    }
    return authored_check(call, facts->authored, err) &&
           field_text(facts->media_type, SERVICE_CODE_MAX, "facts.media_type", err) &&
           field_coding(facts->class_, "facts.class", err) &&
           field_codings(facts->category, facts->n_category, "facts.category", err) &&
           field_labels(facts->labels, "facts.labels", err) &&
           field_period(facts->clinical, "facts.clinical", err);
}

/* Absent: the join of the parents', N where there are none. Below the join is refused, but in a RELABEL (formats
 * 3). */
static bool labels_of(struct write *w, const Chartmesh__V1__Labels *given, struct err *err)
{
    Chartmesh__V1__Labels *joined = NULL, *normal;
    void *memory;
    for (size_t i = 0; i < w->parents_len; i++) {
        if (!labels_join(joined, w->parents[i]->message->labels, w->call->arena, &joined, err)) {
            return false;
        }
    }
    if (given) {
        bool lower = w->kind == CHARTMESH__V1__KIND__KIND_RELABEL;
        if (!lower && joined && labels_below(given, joined)) {
            return err_raise_field(err, REASON(LABELS_LOWERED), "facts.labels",
                                   "facts.labels: below the labels of what is amended");
        }
        return labels_join(given, NULL, w->call->arena, &w->labels, err);
    }
    if (joined) {
        w->labels = joined;
        return true;
    }
    if (!arena_alloc(w->call->arena, sizeof *normal, &memory, err)) {
        return false;
    }
    normal = memory;
    chartmesh__v1__labels__init(normal);
    normal->confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    w->labels = normal;
    return true;
}

static bool ancestry(struct write *w, Chartmesh__V1__Version *out, struct err *err)
{
    void *nodes_memory, *parents_memory;
    if (!arena_array(w->call->arena, w->parents_len, sizeof(struct version_node), &nodes_memory, err) ||
        !arena_array(w->call->arena, w->parents_len, sizeof *out->parents, &parents_memory, err)) {
        return false;
    }
    struct version_node *nodes = nodes_memory;
    out->parents = parents_memory;
    out->n_parents = w->parents_len;
    for (size_t i = 0; i < w->parents_len; i++) {
        nodes[i] = w->parents[i]->node;
        out->parents[i] = pb_bytes(BYTES_OF(w->parents[i]->id));
    }
    if (context_join(nodes, w->parents_len, w->call->arena, &out->context, &out->n_context, err)) {
        return true;
    }
    err->reason = err->code == ERR_TOO_MUCH ? REASON(TOO_LARGE) : err->reason;
    return false;
}

static void author_of(const struct service_call *call, Chartmesh__V1__Author *out)
{
    chartmesh__v1__author__init(out);
    out->principal = (char *)(uintptr_t)call->caller.principal;
    out->user = (char *)(uintptr_t)call->caller.user;
    out->role = (Chartmesh__V1__Coding *)(uintptr_t)call->caller.role;
}

/* A version message and what it points to. */
struct made_version {
    Chartmesh__V1__Version message;
    Chartmesh__V1__Subject subject;
    Chartmesh__V1__Author author;
    Chartmesh__V1__Dot dot;
};

/* All but the commitment, the length and the dot. */
static bool version_make(struct write *w, const Chartmesh__V1__Facts *facts, struct made_version *out,
                         struct err *err)
{
    Chartmesh__V1__Version *version = &out->message;
    chartmesh__v1__version__init(version);
    chartmesh__v1__subject__init(&out->subject);
    author_of(w->call, &out->author);
    out->subject.facility = pb_bytes(BYTES_OF(w->subject.facility));
    out->subject.patient = pb_bytes(BYTES_OF(w->subject.patient));
    version->subject = &out->subject;
    version->document = pb_bytes(BYTES_OF(w->document));
    version->dot = &out->dot;
    version->kind = w->kind;
    version->chunk_log2 = CHUNK_LOG2;
    version->media_type = facts->media_type;
    version->class_ = facts->class_;
    version->category = facts->category;
    version->n_category = facts->n_category;
    version->labels = w->labels;
    version->authored = facts->authored;
    version->author = &out->author;
    version->clinical = facts->clinical;
    version->title = facts->title;
    return chart_head(w->call->service->chart, w->call->arena, &version->head, err) && ancestry(w, version, err);
}

static bool sign_version(struct write *w, const Chartmesh__V1__Facts *facts, struct statement *out,
                         struct err *err)
{
    const struct signing_key *key = keys_statement(w->call->service->keys);
    struct hash commitment = content_commitment(&w->meta.salt, w->meta.length, &w->meta.root);
    struct made_version made;
    if (!version_make(w, facts, &made, err) ||
        !chart_dot(w->call->service->chart, w->txn, &w->subject, &w->document, &made.dot, err)) {
        return false;
    }
    made.message.commitment = pb_bytes(BYTES_OF(commitment));
    made.message.length = w->meta.length;
    return statement_sign(STATEMENT_VERSION, &made.message.base, &key, 1, w->call->arena, out, err) ||
           err_wrap(err, "version");
}

bool write_payload(struct write *w, const Chartmesh__V1__Facts *facts, const struct hash *commitment,
                   uint64_t length, struct bytes *out, struct err *err)
{
    struct made_version made;
    if (!labels_of(w, facts->labels, err) || !version_make(w, facts, &made, err) ||
        !chart_dot_next(w->call->service->chart, &w->subject, &w->document, &made.dot, err)) {
        return false;
    }
    made.message.commitment = pb_bytes(BYTES_OF(*commitment));
    made.message.length = length;
    return canonical_pack(&made.message.base, w->call->arena, out, err) || err_wrap(err, "version");
}

/* Whoever has a copy learns that its labels rose, by confidentiality or by a code alone, also who may have no more
 * of it (I8). Which code it was stands in the version, not in the notice. */
static bool raised(struct write *w, struct err *err)
{
    Chartmesh__V1__Labels *before;
    struct hash ids[PARENTS_MAX];
    bool own = id_equal(&w->subject.facility, chart_facility(w->call->service->chart));
    if (!own || w->parents_len == 0) {
        return true;
    }
    if (!chart_effective_labels(w->versions, w->count, w->call->arena, &before, err)) {
        return false;
    }
    if (!labels_below(before, w->labels)) {
        return true;
    }
    for (size_t i = 0; i < w->parents_len; i++) {
        ids[i] = w->parents[i]->id;
    }
    return gate_retraction(w->call->service->gate, w->txn, &w->subject, &w->document, ids, w->parents_len,
                           CHARTMESH__V1__NOTICE_KIND__NOTICE_KIND_RAISED, w->labels->confidentiality, err);
}

bool write_statement(struct write *w, const struct statement *statement, struct err *err)
{
    struct service_call *call = w->call;
    bool own = id_equal(&w->subject.facility, chart_facility(call->service->chart));
    uint8_t flags = (w->complete ? VERSION_COMPLETE : 0) | (own ? 0 : VERSION_PENDING);
    if (!service_entry(call, w->txn, ENTRY(WRITE), &w->subject, &statement->id, 1, NULL, err) ||
        !chart_version_add(call->service->chart, w->txn, statement, &w->content, flags, err) || !raised(w, err)) {
        return false;
    }
    const struct chart_import import = {w->subject, w->document, statement->id, w->import_hash};
    return !w->import_key ||
           chart_import_set(call->service->chart, w->txn, w->import_key->system, w->import_key->id, &import, err);
}

bool write_version(struct write *w, const Chartmesh__V1__Facts *facts, struct hash *version, struct err *err)
{
    struct statement statement;
    if (!facts_check(w->call, facts, err) || !labels_of(w, facts->labels, err) ||
        !sign_version(w, facts, &statement, err)) {
        return false;
    }
    *version = statement.id;
    return write_statement(w, &statement, err);
}

bool write_done(struct write *w, const struct hash *version, Chartmesh__V1__PutReply *out, struct err *err)
{
    if (!reply_bytes(w->call, BYTES_OF(w->document), &out->document, err) ||
        !reply_bytes(w->call, BYTES_OF(*version), &out->version, err)) {
        return false;
    }
    struct log_txn *txn = w->txn;
    w->txn = NULL;
    return service_commit(w->call, txn, &out->base, &out->receipt, err);
}

bool write_within_quota(const struct service_call *call, struct err *err)
{
    const struct service *service = call->service;
    return !service->may_write || service->may_write(service->context, call->caller.principal, err);
}

bool write_commit(struct write *w, const Chartmesh__V1__Facts *facts, Chartmesh__V1__PutReply *out,
                  struct err *err)
{
    struct hash version;
    return write_within_quota(w->call, err) && write_version(w, facts, &version, err) &&
           write_done(w, &version, out, err);
}
