/* For peers: deciding again, disclosing, contributing, chunks. */
#include "node/gate/gate_inside.h"

#include <stdlib.h>

/* ---- What a version is, for handing it over -------------------------------------------------------------------- */

struct push_version {
    struct id document;
    struct chart_version *versions; /* of its document */
    size_t count, at;
    Chartmesh__V1__Labels *labels;
};

static bool push_load(struct gate *gate, const struct subject *subject, const struct hash *version,
                      struct arena *arena, struct push_version *out, bool *found, struct err *err)
{
    struct subject placed;
    *found = false;
    if (!chart_version_place(gate->chart, version, &placed, &out->document, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    if (!id_equal(&placed.p, &subject->p)) {
        return err_raise(err, ERR_INTERNAL, "hand-off: a version of another subject");
    }
    if (!chart_document(gate->chart, subject, &out->document, arena, &out->versions, &out->count, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    for (out->at = 0; out->at < out->count; out->at++) {
        if (hash_equal(&out->versions[out->at].id, version)) {
            *found = true;
            return chart_effective_labels(out->versions, out->count, arena, &out->labels, err);
        }
    }
    return true;
}

static bool item_fill(struct gate *gate, const struct subject *subject, const struct chart_version *version,
                      struct arena *arena, struct gate_item *out, struct err *err)
{
    struct chart_content content;
    out->version = version->id;
    out->subject = *subject;
    out->document = version->document;
    out->envelope = version->envelope;
    if (!chart_content_meta_read(gate->chart, &subject->p, &version->document, &version->content, &out->meta,
                                 err)) {
        return err_wrap(err, "hand-off");
    }
    bool hidden = version->message->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR;
    if (hidden || out->meta.length == 0 || out->meta.length > CHUNK_LEN) {
        return true;
    }
    struct bytes plain;
    bool ok = chart_content_load(gate->chart, &subject->p, &version->content, &content, err) &&
              read_chunk(gate, &content, out->meta.length, 0, arena, &out->chunk0, &plain, err);
    secret_wipe(&content.keys, sizeof content.keys);
    if (!ok) {
        return err_wrap(err, "hand-off");
    }
    struct hash root = chunk_leaf(&out->meta.salt, 0, plain);
    struct hash commitment = content_commitment(&out->meta.salt, out->meta.length, &root);
    return bytes_equal(BYTES_OF(commitment), bytes_pb(version->message->commitment)) ||
           err_raise(err, ERR_CORRUPT, "content: it is not what its version commits to");
}

/* ---- Disclosing -------------------------------------------------------------------------------------------------- */

struct push {
    struct gate *gate;
    struct log_txn *txn;
    const struct id *recipient;
    const struct subject *subject;
    struct generation generation;
    struct arena *arena;
    struct consent_state state;
    struct push_version *loaded;
    struct consent_version *facts;
    size_t *places; /* facts[i] is of versions[places[i]] */
    size_t facts_len;
};

/* Whole, and not what was retracted: a retraction goes out itself, what it is about only to who wrote it. */
static bool may_go(const struct chart_version *v, const struct id *recipient)
{
    bool retraction = v->message->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR;
    bool theirs = bytes_equal(bytes_pb(v->message->head->facility), BYTES_OF(*recipient));
    return v->complete && (!v->retracted || retraction || theirs);
}

static bool push_prepare(struct push *push, const struct hash *versions, size_t count, struct err *err)
{
    void *loaded, *facts, *places;
    if (!chart_generation(push->gate->chart, push->subject, &push->generation, err) ||
        !arena_array(push->arena, count, sizeof *push->loaded, &loaded, err) ||
        !arena_array(push->arena, count, sizeof *push->facts, &facts, err) ||
        !arena_array(push->arena, count, sizeof *push->places, &places, err)) {
        return false;
    }
    push->loaded = loaded;
    push->facts = facts;
    push->places = places;
    for (size_t i = 0; i < count; i++) {
        struct push_version *v = &push->loaded[i];
        bool found;
        if (!push_load(push->gate, push->subject, &versions[i], push->arena, v, &found, err)) {
            return false;
        }
        if (found && may_go(&v->versions[v->at], push->recipient)) {
            push->facts[push->facts_len] = version_facts(v->versions, v->count, v->at, v->labels);
            push->places[push->facts_len++] = i;
        }
    }
    const struct trust *trust = chart_trust_take(push->gate->chart);
    const struct member *member = trust_member(trust, push->recipient);
    push->state.integrity |= member && member->active ? 0 : CONSENT_NOT_MEMBER;
    chart_trust_give(push->gate->chart);
    return true;
}

static bool push_decide(struct push *push, struct consent_disclosure *out, struct err *err)
{
    struct consent_context context;
    const struct consent_push asked = {*push->recipient, push->state.lo_ms, push->state.hi_ms};
    consent_state_context(&push->state, &context);
    *out = (struct consent_disclosure){0};
    return push->facts_len == 0 ||
           consent_disclose(&asked, push->facts, push->facts_len, &context, push->arena, out, err);
}

static bool disclosure_sign(const struct disclosing *d, const struct consent_group *group,
                            const struct hash *versions, size_t count, struct statement *out, struct err *err)
{
    Chartmesh__V1__Disclosure message = CHARTMESH__V1__DISCLOSURE__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    const struct signing_key *key = keys_statement(chart_keys(d->gate->chart));
    void *memory;
    subject.facility = pb_of(BYTES_OF(d->subject->facility));
    subject.patient = pb_of(BYTES_OF(d->subject->patient));
    message.subject = &subject;
    message.recipient = pb_of(BYTES_OF(*d->recipient));
    message.basis = group->basis;
    message.n_basis = group->basis_len;
    message.terms = group->terms;
    message.incarnation = d->generation.incarnation;
    message.generation = d->generation.generation;
    if (!arena_array(d->arena, count, sizeof *message.versions, &memory, err) ||
        !chart_head(d->gate->chart, d->arena, &message.head, err)) {
        return false;
    }
    message.versions = memory;
    message.n_versions = count;
    for (size_t i = 0; i < count; i++) {
        message.versions[i] = pb_of(BYTES_OF(versions[i]));
    }
    return statement_sign(STATEMENT_DISCLOSURE, &message.base, &key, 1, d->arena, out, err);
}

bool disclosure_put(const struct disclosing *d, const struct consent_group *group,
                    const struct consent_decision *decision, const struct hash *versions, size_t count,
                    const char *reason, struct statement *out, struct err *err)
{
    Chartmesh__V1__Decision *message;
    if (!disclosure_sign(d, group, versions, count, out, err) ||
        !decision_message(d->state, decision, 1, NULL, d->arena, &message, err)) {
        return err_wrap(err, "disclosure");
    }
    const struct log_entry entry = {
        .kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_DISCLOSE,
        .subject = d->subject,
        .objects = versions,
        .objects_len = count,
        .decision = message,
        .disclosure = &out->id,
        .counterpart = d->recipient,
        .reason = reason,
    };
    return chart_statement_put(d->gate->chart, d->txn, d->subject, out, err) && log_txn_add(d->txn, &entry, err);
}

struct envelopes {
    struct bytes *items;
    size_t count, capacity;
};

static bool envelopes_add(struct arena *arena, struct envelopes *list, struct bytes envelope, struct err *err)
{
    if (!arena_grow(arena, (void **)&list->items, list->count, &list->capacity, sizeof *list->items, err)) {
        return false;
    }
    list->items[list->count++] = envelope;
    return true;
}

static bool disclose_part(struct push *push, const struct consent_disclosure *decided,
                          const struct consent_group *group, const struct hash *versions, size_t from,
                          size_t count, struct gate_item *items, struct envelopes *out, struct err *err)
{
    struct statement statement;
    const struct disclosing as = {push->gate,       push->txn,    push->recipient, push->subject,
                                  push->generation, &push->state, push->arena};
    const struct consent_decision *decision = &decided->answers[group->versions[from]];
    struct hash ids[DISCLOSURE_VERSIONS_MAX];
    for (size_t i = 0; i < count; i++) {
        ids[i] = versions[push->places[group->versions[from + i]]];
    }
    if (!disclosure_put(&as, group, decision, ids, count, NULL, &statement, err) ||
        !envelopes_add(push->arena, out, statement.envelope, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        size_t place = push->places[group->versions[from + i]];
        const struct push_version *v = &push->loaded[place];
        if (!item_fill(push->gate, push->subject, &v->versions[v->at], push->arena, &items[place], err)) {
            return false;
        }
        items[place].permit = true;
        items[place].disclosure = statement.id;
    }
    return true;
}

bool gate_disclose(struct gate *gate, struct log_txn *txn, const struct id *recipient,
                   const struct subject *subject, const struct hash *versions, size_t count, uint64_t first_n,
                   struct arena *arena, struct gate_item *items, struct bytes **disclosures,
                   size_t *disclosures_count, struct err *err)
{
    struct push push = {.gate = gate, .txn = txn, .recipient = recipient, .subject = subject, .arena = arena};
    struct consent_disclosure decided;
    struct envelopes signed_ones = {0};
    for (size_t i = 0; i < count; i++) {
        items[i] = (struct gate_item){.version = versions[i], .subject = *subject};
    }
    if (!consent_state_load(gate, subject, arena, &push.state, err) ||
        !push_prepare(&push, versions, count, err) || !push_decide(&push, &decided, err)) {
        return err_wrap(err, "disclose");
    }
    for (size_t g = 0; g < decided.groups_len; g++) {
        const struct consent_group *group = &decided.groups[g];
        if (chartmesh__v1__terms__get_packed_size(group->terms) > GATE_TERMS_MAX) {
            continue; /* TERMS_TOO_LARGE: counts as denied */
        }
        for (size_t from = 0; from < group->versions_len; from += DISCLOSURE_VERSIONS_MAX) {
            size_t part = MIN(group->versions_len - from, DISCLOSURE_VERSIONS_MAX);
            if (!disclose_part(&push, &decided, group, versions, from, part, items, &signed_ones, err)) {
                return err_wrap(err, "disclose");
            }
        }
    }
    uint64_t n = first_n;
    for (size_t i = 0; i < count; i++) {
        if (!items[i].permit) {
            continue;
        }
        const struct ledger_row row = {.subject = *subject,
                                       .document = items[i].document,
                                       .peer = *recipient,
                                       .version = versions[i],
                                       .disclosure = items[i].disclosure,
                                       .generation = push.generation,
                                       .n = n++,
                                       .state = LEDGER_NUMBERED};
        if (!chart_ledger_put(gate->chart, txn, &row, err)) {
            return false;
        }
    }
    *disclosures = signed_ones.items;
    *disclosures_count = signed_ones.count;
    return true;
}

/* ---- Contributions ----------------------------------------------------------------------------------------------- */

bool gate_contribution(struct gate *gate, struct log_txn *txn, const struct subject *subject,
                       const struct id *document, const struct hash *version, struct arena *arena,
                       struct gate_item *out, struct err *err)
{
    struct push_version loaded;
    bool found;
    *out = (struct gate_item){.version = *version, .subject = *subject, .document = *document};
    if (!push_load(gate, subject, version, arena, &loaded, &found, err)) {
        return err_wrap(err, "contribution");
    }
    if (!found) {
        return err_raise(err, ERR_NOT_FOUND, "contribution: purged meanwhile");
    }
    const struct chart_version *v = &loaded.versions[loaded.at];
    for (size_t i = 0; i < loaded.count; i++) {
        bool parent = false;
        for (size_t j = 0; j < v->message->n_parents; j++) {
            parent = parent || bytes_equal(bytes_pb(v->message->parents[j]), BYTES_OF(loaded.versions[i].id));
        }
        if (parent && !hash_is_zero(&loaded.versions[i].disclosure)) {
            out->disclosure = loaded.versions[i].disclosure;
        }
    }
    if (hash_is_zero(&out->disclosure)) {
        return err_raise(err, ERR_NOT_FOUND, "contribution: none of its parents is disclosed yet");
    }
    const struct log_entry entry = {
        .kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_DISCLOSE,
        .subject = subject,
        .objects = version,
        .objects_len = 1,
        .disclosure = &out->disclosure,
        .counterpart = &subject->facility,
        .reason = "contribution",
    };
    out->permit = true;
    return item_fill(gate, subject, v, arena, out, err) && log_txn_add(txn, &entry, err);
}

/* ---- Chunks -------------------------------------------------------------------------------------------------------- */

/* All leaf hashes of a content, kept for the next chunk of the same pull. The place's lock is held. */
static bool leaves_of(struct gate *gate, struct leaf_cache *place, const struct chart_content *content,
                      const struct content_meta *meta, struct err *err)
{
    uint64_t count = content_chunks(meta->length);
    if (place->leaves && id_equal(&place->content, &content->id)) {
        return true;
    }
    struct hash *leaves = calloc(count ? count : 1, sizeof *leaves);
    if (!leaves) {
        return err_raise(err, ERR_TOO_MUCH, "content: no memory for its leaves");
    }
    for (uint64_t i = 0; i < count; i++) {
        AUTO_ARENA(scratch, 1 << 20);
        struct bytes coded, plain;
        if (!read_chunk(gate, content, meta->length, i, &scratch, &coded, &plain, err)) {
            free(leaves);
            return false;
        }
        leaves[i] = chunk_leaf(&meta->salt, i, plain);
    }
    free(place->leaves);
    place->content = content->id;
    place->leaves = leaves;
    place->count = count;
    return true;
}

static bool chunk_path_of(struct gate *gate, struct leaf_cache *place, const struct chart_content *content,
                          const struct content_meta *meta, uint64_t index, struct hash path[40], size_t *path_len,
                          struct err *err)
{
    if (index >= content_chunks(meta->length)) {
        return err_raise(err, ERR_RANGE, "chunk: %ju of %ju", (uintmax_t)index,
                         (uintmax_t)content_chunks(meta->length));
    }
    AUTO_LOCKED(locked, place->lock);
    if (!leaves_of(gate, place, content, meta, err)) {
        return false;
    }
    *path_len = chunk_path(place->leaves, place->count, index, path);
    return true;
}

static bool chunk_release(struct gate *gate, const struct subject *subject, const struct chart_version *version,
                          uint64_t index, struct arena *arena, struct bytes *coded, struct hash path[40],
                          size_t *path_len, struct err *err)
{
    struct content_meta meta;
    struct chart_content content;
    struct bytes plain;
    if (!version->complete) {
        return err_raise(err, ERR_NOT_FOUND, "chunk: not here yet");
    }
    if (!chart_content_open(gate->chart, &subject->p, &version->document, &version->content, &content, &meta,
                            err)) {
        return err_wrap(err, "chunk");
    }
    struct leaf_cache *place = &gate->leaves[content.id.bytes[0] % LEAF_PLACES];
    bool ok = chunk_path_of(gate, place, &content, &meta, index, path, path_len, err) &&
              read_chunk(gate, &content, meta.length, index, arena, coded, &plain, err);
    secret_wipe(&content.keys, sizeof content.keys);
    return ok;
}

/* The generation went stale: decide again, under a new disclosure, durable before the chunk leaves. */
static bool chunk_renew(struct gate *gate, const struct id *recipient, const struct subject *subject,
                        const struct ledger_row *old, struct arena *arena, struct bytes *renewed,
                        struct hash *now_under, struct err *err)
{
    struct gate_item item;
    struct bytes *envelopes;
    size_t count;
    struct log_txn *txn = log_txn_new(chart_log(gate->chart));
    if (!gate_disclose(gate, txn, recipient, subject, &old->version, 1, old->n, arena, &item, &envelopes, &count,
                       err)) {
        log_txn_free(txn);
        return false;
    }
    if (!item.permit) {
        log_txn_free(txn);
        return err_raise(err, ERR_DENIED, "chunk: no longer permitted");
    }
    *renewed = envelopes[0];
    *now_under = item.disclosure;
    struct ledger_row row = *old;
    if (!chart_generation(gate->chart, subject, &row.generation, err)) {
        log_txn_free(txn);
        return false;
    }
    row.disclosure = item.disclosure;
    if (!chart_ledger_put(gate->chart, txn, &row, err)) {
        log_txn_free(txn);
        return false;
    }
    return log_commit(txn, NULL, err);
}

bool gate_chunk(struct gate *gate, const struct id *recipient, const struct hash *version,
                const struct hash *disclosure, uint64_t index, struct arena *arena, struct bytes *coded,
                struct hash path[40], size_t *path_len, struct bytes *renewed, struct hash *now_under,
                struct err *err)
{
    struct subject subject;
    struct id document;
    struct push_version loaded;
    bool found;
    *renewed = BYTES_NONE;
    *now_under = *disclosure;
    if (!chart_version_place(gate->chart, version, &subject, &document, err) ||
        !push_load(gate, &subject, version, arena, &loaded, &found, err)) {
        return false;
    }
    if (!found) {
        return err_raise(err, ERR_NOT_FOUND, "chunk: its version is not here");
    }
    const struct chart_version *v = &loaded.versions[loaded.at];
    if (v->message->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR) {
        return err_raise(err, ERR_DENIED, "chunk: a retraction carries no content");
    }
    if (!id_equal(&subject.facility, chart_facility(gate->chart))) {
        if (!v->pending || !id_equal(&subject.facility, recipient)) {
            return err_raise(err, ERR_DENIED, "chunk: a copy goes to nobody");
        }
        return chunk_release(gate, &subject, v, index, arena, coded, path, path_len, err);
    }
    struct ledger_row row;
    struct generation now;
    if (!chart_ledger_get(gate->chart, &subject, &document, version, recipient, &row, err)) {
        return err->code == ERR_NOT_FOUND ? err_raise(err, ERR_DENIED, "chunk: never handed over") : false;
    }
    if (row.state > LEDGER_COMPLETE) {
        return err_raise(err, ERR_DENIED, "chunk: taken back");
    }
    if (!chart_generation(gate->chart, &subject, &now, err)) {
        return false;
    }
    *now_under = row.disclosure;
    if (generation_compare(row.generation, now) != 0 &&
        !chunk_renew(gate, recipient, &subject, &row, arena, renewed, now_under, err)) {
        return false;
    }
    return chunk_release(gate, &subject, v, index, arena, coded, path, path_len, err);
}
