#include "node/service/audit_query.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/consent/tables.h"
#include "proto/merkle/bundle.h"

enum { BUNDLE_ARENA = 1 << 30, PIECE = 256 << 10, COSIGNERS_MAX = 64 };

#define REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name
#define KIND(name) CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_##name

/* One query while it is answered. */
struct answering {
    struct service *service;
    struct service_call *call;
    struct arena *arena;
    struct statement query;
    const Chartmesh__V1__AuditQuery *asked;
    const Chartmesh__V1__Authority *authority;   /* NULL: a patient about themselves */
    bool has_subject;
    struct subject subject;
    struct hash actor, map_key;
    uint64_t own_entry;                  /* index of this query's AUDIT_QUERY entry */
    struct log_map_answer map;
    struct bytes note;
    uint64_t size;
    struct hash root;
    /* What goes into the bundle. */
    uint64_t *indexes;                   /* of frames 4, ascending, no doubles */
    size_t indexes_len, indexes_capacity;
    uint64_t *enrolments;                /* ENROL entries already among them */
    size_t enrolments_len, enrolments_capacity;
    uint64_t cut_index;                  /* first shown link of a cut chain; its frame carries previous_chain */
    bool cut;
    struct hash cut_chain;
    struct hash *wanted;                 /* statement ids looked at */
    struct bytes *statements;
    struct hash *statement_ids;
    size_t wanted_len, wanted_capacity, statements_len, statements_capacity, ids_capacity;
};

/* ---- The question ------------------------------------------------------------------------------------------------ */

static bool scope_refused(struct err *err, const char *what)
{
    return err_raise_reason(err, ERR_DENIED, REASON(AUTHORITY_INVALID), "audit query: %s", what);
}

static bool covers(const Chartmesh__V1__Authority *authority, const Chartmesh__V1__AuditQuery *query)
{
    for (size_t i = 0; query->subject && i < authority->n_subjects; i++) {
        if (bytes_equal(bytes_pb(authority->subjects[i]->facility), bytes_pb(query->subject->facility)) &&
            bytes_equal(bytes_pb(authority->subjects[i]->patient), bytes_pb(query->subject->patient))) {
            return true;
        }
    }
    return authority->n_subjects == 0;
}

static bool purpose_allowed(const Chartmesh__V1__Authority *authority, const char *purpose)
{
    for (size_t i = 0; i < authority->n_purposes; i++) {
        if (strcmp(authority->purposes[i], purpose) == 0) {
            return true;
        }
    }
    return authority->n_purposes == 0;
}

/* An auditor needs an authority that covers the question. A patient asks about themselves with their own key,
 * which trust_check demanded (formats 1). */
static bool check_scope(struct answering *a, const struct trust *trust, struct err *err)
{
    struct hash id;
    if (a->asked->authority.len == 0) {
        return (a->has_subject && a->call->kind == SERVICE_PATIENT) || scope_refused(err, "it names no authority");
    }
    if (!hash_from(bytes_pb(a->asked->authority), &id)) {
        return scope_refused(err, "its authority is not an id");
    }
    a->authority = trust_authority(trust, &id, world_hlc(a->service->world));
    if (!a->authority || a->authority->duty != CHARTMESH__V1__DUTY__DUTY_AUDIT) {
        return scope_refused(err, "its authority is unknown, over, or of another duty");
    }
    if (strcmp(a->authority->holder, a->asked->principal) != 0) {
        return scope_refused(err, "its authority is another principal's");
    }
    if (!covers(a->authority, a->asked)) {
        return scope_refused(err, "its authority does not cover this subject or actor");
    }
    return purpose_allowed(a->authority, a->asked->purpose) ||
           scope_refused(err, "its authority is for other purposes");
}

static bool check_shape(struct answering *a, struct err *err)
{
    struct id facility, patient;
    uint64_t now = world_now_ms(a->service->world), then = hlc_ms(a->query.head->hlc);
    if (strcmp(a->asked->principal, a->call->caller.principal) != 0) {
        return err_raise_reason(err, ERR_DENIED, REASON(NOT_PERMITTED),
                                "audit query: it was signed for another principal");
    }
    if (!bytes_equal(bytes_pb(a->asked->facility), BYTES_OF(*chart_facility(a->service->chart)))) {
        return err_raise_field(err, REASON(FIELD_INVALID), "query.facility",
                               "another facility's log is asked for");
    }
    if ((a->asked->subject != NULL) == (a->asked->actor.len != 0)) {
        return err_raise_field(err, REASON(FIELD_INVALID), "query.subject",
                               "exactly one of subject and actor is needed");
    }
    if (then + AUDIT_CLOCK_MS < now || then > now + AUDIT_CLOCK_MS) {
        return err_raise_field(err, REASON(FIELD_INVALID), "query.head.hlc",
                               "signed more than 10 minutes from now");
    }
    if (a->asked->actor.len) {
        a->map_key = (struct hash){0};
        if (!hash_from(bytes_pb(a->asked->actor), &a->actor)) {
            return err_raise_field(err, REASON(FIELD_INVALID), "query.actor", "must be 32 bytes");
        }
        a->map_key = map_key_actor(chart_facility(a->service->chart), &a->actor);
        return true;
    }
    if (!id_from(bytes_pb(a->asked->subject->facility), &facility) ||
        !id_from(bytes_pb(a->asked->subject->patient), &patient)) {
        return err_raise_field(err, REASON(FIELD_INVALID), "query.subject", "ids of 16 bytes are needed");
    }
    a->has_subject = true;
    a->subject = subject_make(&facility, &patient);
    a->map_key = map_key_patient(&facility, &patient);
    return true;
}

static bool open_question(struct answering *a, struct bytes envelope, struct err *err)
{
    const struct trust *trust = chart_trust_take(a->service->chart);
    bool ok = trust_check(trust, envelope, STATEMENT_AUDIT_QUERY, 0, NULL, a->arena, &a->query, err);
    if (ok) {
        a->asked = (const Chartmesh__V1__AuditQuery *)a->query.message;
        ok = check_shape(a, err) && check_scope(a, trust, err);
    } else if (err->code == ERR_NOT_FOUND) {
        ok = err_raise_reason(err, ERR_DENIED, REASON(AUTHORITY_INVALID), "audit query: %s",
                              "its key is unknown here");
    }
    chart_trust_give(a->service->chart);
    return ok;
}

/* ---- Logging it, and what the answer stands on --------------------------------------------------------------------- */

static bool log_question(struct answering *a, struct err *err)
{
    struct hash objects[2] = {a->query.id};
    size_t count = 1;
    const struct log_who who = {a->asked->principal, ""};
    if (a->authority && hash_from(bytes_pb(a->asked->authority), &objects[1])) {
        count = 2;
    }
    const struct log_entry entry = {.kind = KIND(AUDIT_QUERY),
                                    .who = &who,
                                    .purpose = a->asked->purpose,
                                    .subject = a->has_subject ? &a->subject : NULL,
                                    .objects = objects,
                                    .objects_len = count};
    struct log_txn *txn = log_txn_new(a->service->log);
    if (!log_txn_add(txn, &entry, err) ||
        (a->has_subject && !chart_statement_put(a->service->chart, txn, &a->subject, &a->query, err))) {
        log_txn_free(txn);
        return false;
    }
    return log_commit(txn, &a->own_entry, err);
}

/* A checkpoint that covers the query's own entry: cosigned if peers are there, else the newest as it is. */
static bool choose_checkpoint(struct answering *a, struct err *err)
{
    struct checkpoint checkpoint;
    if (!log_cosigned(a->service->log, a->own_entry + 1, 1, AUDIT_COSIGN_WAIT_MS, a->arena, &a->note, &a->size,
                      err)) {
        if (err->code != ERR_UNAVAILABLE || !log_checkpoint(a->service->log, a->arena, &a->note, err)) {
            return false;
        }
    }
    if (!checkpoint_open(a->note, NULL, 0, &checkpoint, err)) {
        return err_wrap(err, "own checkpoint");
    }
    a->size = checkpoint.size;
    a->root = checkpoint.root;
    return true;
}

static bool stand(struct answering *a, struct err *err)
{
    uint64_t epoch = a->asked->map_epoch;
    if (epoch == 0 && !log_map_close(a->service->log, &epoch, err)) {
        return false;
    }
    if (!log_map_prove(a->service->log, &a->map_key, epoch, &a->map, err)) {
        return err->code == ERR_NOT_FOUND ? err_raise_field(err, REASON(FIELD_INVALID), "query.map_epoch",
                                                            "this log has no such map epoch")
                                          : false;
    }
    if (a->asked->known_size) {
        struct hash root, known;
        if (a->asked->known_size > log_size(a->service->log).size ||
            !log_root_at(a->service->log, a->asked->known_size, &root, err) ||
            !hash_from(bytes_pb(a->asked->known_root), &known)) {
            return err_raise_field(err, REASON(FIELD_INVALID), "query.known_size", "this log never had that size");
        }
    }
    return log_question(a, err) && choose_checkpoint(a, err);
}

/* ---- Collecting ------------------------------------------------------------------------------------------------------ */

static bool want_entry(struct answering *a, uint64_t index, struct err *err)
{
    if (!arena_grow(a->arena, (void **)&a->indexes, a->indexes_len, &a->indexes_capacity, sizeof *a->indexes,
                    err)) {
        return false;
    }
    a->indexes[a->indexes_len++] = index;
    return true;
}

/* The enrolment of an actor is shown once, however often the actor acted. */
static bool want_enrolment(struct answering *a, uint64_t index, struct err *err)
{
    for (size_t i = 0; i < a->enrolments_len; i++) {
        if (a->enrolments[i] == index) {
            return true;
        }
    }
    if (!arena_grow(a->arena, (void **)&a->enrolments, a->enrolments_len, &a->enrolments_capacity,
                    sizeof *a->enrolments, err)) {
        return false;
    }
    a->enrolments[a->enrolments_len++] = index;
    return want_entry(a, index, err);
}

static bool keep_statement(struct answering *a, const struct hash *id, struct bytes envelope, struct err *err)
{
    for (size_t i = 0; i < a->statements_len; i++) {
        if (hash_equal(&a->statement_ids[i], id)) {
            return true;
        }
    }
    size_t before = a->statements_len;
    if (!arena_grow(a->arena, (void **)&a->statements, before, &a->statements_capacity, sizeof *a->statements,
                    err) ||
        !arena_grow(a->arena, (void **)&a->statement_ids, before, &a->ids_capacity, sizeof *a->statement_ids,
                    err)) {
        return false;
    }
    a->statements[before] = envelope;
    a->statement_ids[before] = *id;
    a->statements_len++;
    return true;
}

static bool keep_parsed(struct answering *a, struct bytes envelope, struct err *err)
{
    struct statement statement;
    struct bytes copy;
    return arena_copy(a->arena, envelope, &copy, err) && statement_parse(copy, a->arena, &statement, err) &&
           keep_statement(a, &statement.id, copy, err);
}

/* Everything that traces a facility's keys to the operators. */
static bool keep_facility(struct answering *a, const struct id *facility, struct err *err)
{
    struct bytes *reach;
    size_t count;
    const struct trust *trust = chart_trust_take(a->service->chart);
    bool ok = trust_member(trust, facility) == NULL || trust_reach(trust, facility, a->arena, &reach, &count, err);
    bool known = ok && trust_member(trust, facility) != NULL;
    for (size_t i = 0; ok && known && i < count; i++) {
        ok = keep_parsed(a, reach[i], err);
    }
    chart_trust_give(a->service->chart);
    return ok;
}

static bool already_wanted(struct answering *a, const struct hash *id, bool *out, struct err *err)
{
    for (size_t i = a->wanted_len; i > 0; i--) {
        if (hash_equal(&a->wanted[i - 1], id)) {
            *out = true;
            return true;
        }
    }
    *out = false;
    if (!arena_grow(a->arena, (void **)&a->wanted, a->wanted_len, &a->wanted_capacity, sizeof *a->wanted, err)) {
        return false;
    }
    a->wanted[a->wanted_len++] = *id;
    return true;
}

static bool keep_policy_or_disclosure(struct answering *a, struct bytes id, struct err *err);

/* A named statement, and what it names in turn. One that is not here (a policy of the origin, at a holder) is left
 * out: the verifier says what that leaves unproved. */
static bool keep_named(struct answering *a, struct bytes view, struct err *err)
{
    struct hash id;
    struct bytes envelope;
    struct statement statement;
    struct id signer;
    bool seen;
    if (!hash_from(view, &id) || !already_wanted(a, &id, &seen, err)) {
        return view.len != HASH_LEN;
    }
    if (seen) {
        return true;
    }
    if (!chart_statement(a->service->chart, &id, a->arena, &envelope, err)) {
        if (err->code != ERR_NOT_FOUND) {
            return false;
        }
        const struct trust *trust = chart_trust_take(a->service->chart);
        struct bytes held = trust_envelope(trust, &id);
        bool ok = held.len == 0 || keep_parsed(a, held, err);
        chart_trust_give(a->service->chart);
        return ok;
    }
    if (!statement_parse(envelope, a->arena, &statement, err) || !keep_statement(a, &id, envelope, err)) {
        return err_wrap(err, "stored statement");
    }
    if (id_from(bytes_pb(statement.head->facility), &signer) && !keep_facility(a, &signer, err)) {
        return false;
    }
    return keep_policy_or_disclosure(a, BYTES_OF(statement.id), err);
}

/* The policies of a disclosure's basis and the receipt's order are looked for as well. */
static bool keep_policy_or_disclosure(struct answering *a, struct bytes id, struct err *err)
{
    struct statement statement;
    struct bytes envelope = BYTES_NONE;
    for (size_t i = 0; i < a->statements_len; i++) {
        if (bytes_equal(BYTES_OF(a->statement_ids[i]), id)) {
            envelope = a->statements[i];
        }
    }
    if (!envelope.len || !statement_parse(envelope, a->arena, &statement, err)) {
        return envelope.len == 0;
    }
    if (statement.kind == STATEMENT_DISCLOSURE) {
        const Chartmesh__V1__Disclosure *disclosure = (const Chartmesh__V1__Disclosure *)statement.message;
        for (size_t i = 0; i < disclosure->n_basis; i++) {
            if (!keep_named(a, bytes_pb(disclosure->basis[i]->policy), err)) {
                return false;
            }
        }
    } else if (statement.kind == STATEMENT_PURGE_RECEIPT) {
        return keep_named(a, bytes_pb(((const Chartmesh__V1__PurgeReceipt *)statement.message)->order), err);
    }
    return true;
}

static bool keeps_headers(const struct answering *a)
{
    return !a->authority || a->authority->version_headers;
}

static bool withheld_sensitivity(const struct answering *a, const Chartmesh__V1__Version *version)
{
    for (size_t i = 0; a->authority && version->labels && i < version->labels->n_sensitivity; i++) {
        for (size_t j = 0; j < a->authority->n_without_sensitivity; j++) {
            if (strcmp(version->labels->sensitivity[i]->code, a->authority->without_sensitivity[j]->code) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* A version's header, where the authority allows it and it is still here. */
/* Authors who signed themselves: what says that their keys are theirs. */
static bool keep_signers(struct answering *a, struct bytes envelope, struct err *err)
{
    enum { PER_KEY = 8 };
    struct statement statement;
    struct bytes keys[PER_KEY];
    if (!statement_parse(envelope, a->arena, &statement, err)) {
        return err_wrap(err, "stored version");
    }
    const struct trust *trust = chart_trust_take(a->service->chart);
    bool ok = true;
    for (size_t i = 0; ok && i < statement.signers; i++) {
        size_t count = trust_key_statements(trust, &statement.key_ids[i], keys, PER_KEY);
        for (size_t j = 0; ok && j < count; j++) {
            ok = keep_parsed(a, keys[j], err);
        }
    }
    chart_trust_give(a->service->chart);
    return ok;
}

static bool keep_version(struct answering *a, struct bytes view, struct err *err)
{
    struct hash id;
    struct subject subject;
    struct id document, signer;
    struct chart_version *versions;
    size_t count;
    bool seen;
    if (!keeps_headers(a) || !hash_from(view, &id)) {
        return true;
    }
    if (!already_wanted(a, &id, &seen, err)) {
        return false;
    }
    if (seen) {
        return true;
    }
    if (!chart_version_place(a->service->chart, &id, &subject, &document, err) ||
        !chart_document(a->service->chart, &subject, &document, a->arena, &versions, &count, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    for (size_t i = 0; i < count; i++) {
        if (!hash_equal(&versions[i].id, &id) || withheld_sensitivity(a, versions[i].message)) {
            continue;
        }
        if (!keep_statement(a, &id, versions[i].envelope, err) || !keep_signers(a, versions[i].envelope, err) ||
            (id_from(bytes_pb(versions[i].message->head->facility), &signer) && !keep_facility(a, &signer, err))) {
            return false;
        }
    }
    return true;
}

static bool keep_objects(struct answering *a, const Chartmesh__V1__Entry *entry, struct err *err)
{
    for (size_t i = 0; i < entry->n_objects; i++) {
        struct bytes object = bytes_pb(entry->objects[i]);
        bool ok;
        switch (entry->kind) {
        case KIND(WRITE):
        case KIND(READ):
        case KIND(READ_END):
        case KIND(DENIED):
        case KIND(DISCLOSE):
        case KIND(RECEIVE):
        case KIND(WITHDRAWN):
            ok = keep_version(a, object, err);
            break;
        default:
            ok = keep_named(a, object, err);
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

/* What one entry names: its statements, and the enrolment of its actor. */
static bool collect_entry(struct answering *a, uint64_t index, struct err *err)
{
    struct log_opened opened;
    struct hash actor;
    struct id counterpart;
    uint64_t enrolled;
    if (!log_entry_at(a->service->log, index, a->arena, &opened, err)) {
        return err_wrap(err, "audit query");
    }
    const Chartmesh__V1__Entry *entry = opened.message;
    if (hash_from(bytes_pb(entry->actor), &actor)) {
        if (!log_enrolment(a->service->log, &actor, &enrolled, err) || !want_enrolment(a, enrolled, err)) {
            return err_wrap(err, "actor of entry %ju", (uintmax_t)index);
        }
    }
    if (id_from(bytes_pb(entry->counterpart), &counterpart) && !keep_facility(a, &counterpart, err)) {
        return false;
    }
    for (size_t i = 0; entry->decision && i < entry->decision->n_basis; i++) {
        if (!keep_named(a, bytes_pb(entry->decision->basis[i]->policy), err)) {
            return false;
        }
    }
    return (!entry->decision || entry->decision->terms.len == 0 ||
            keep_named(a, bytes_pb(entry->decision->terms), err)) &&
           (entry->disclosure.len == 0 || keep_named(a, bytes_pb(entry->disclosure), err)) &&
           keep_objects(a, entry, err);
}

/* The chain begins at its first link, or at the last one that is older than the period. */
static bool first_link(struct answering *a, uint64_t *first, struct err *err)
{
    *first = 1;
    if (!a->asked->period || !a->asked->period->from) {
        return true;
    }
    uint64_t low = 1, high = a->map.chain.count;
    while (low <= high && high) {
        uint64_t middle = low + (high - low) / 2, index;
        struct log_opened opened;
        AUTO_ARENA(scratch, 1 << 20);
        if (!log_chain_position(a->service->log, &a->map_key, middle, &index, NULL, err) ||
            !log_entry_at(a->service->log, index, &scratch, &opened, err)) {
            return false;
        }
        if ((int64_t)hlc_ms(opened.message->hlc) < a->asked->period->from->ms) {
            *first = middle;
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    return true;
}

static int compare_indexes(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return (a > b) - (a < b);
}

static bool collect(struct answering *a, struct err *err)
{
    uint64_t first, index;
    if (!first_link(a, &first, err) || !want_entry(a, 0, err)) {
        return false;
    }
    for (uint64_t k = first; k <= a->map.chain.count; k++) {
        if (!log_chain_position(a->service->log, &a->map_key, k, &index, NULL, err) ||
            !want_entry(a, index, err)) {
            return false;
        }
        if (k == first && first > 1) {
            uint64_t before;
            a->cut = true;
            a->cut_index = index;
            if (!log_chain_position(a->service->log, &a->map_key, first - 1, &before, &a->cut_chain, err)) {
                return false;
            }
        }
    }
    if (!want_entry(a, a->own_entry, err)) {
        return false;
    }
    /* Enrolments are appended while we look; they name nobody else. */
    for (size_t i = 0; i < a->indexes_len; i++) {
        if (!collect_entry(a, a->indexes[i], err)) {
            return false;
        }
    }
    qsort(a->indexes, a->indexes_len, sizeof *a->indexes, compare_indexes);
    size_t kept = 0;
    for (size_t i = 0; i < a->indexes_len; i++) {
        if (kept == 0 || a->indexes[kept - 1] != a->indexes[i]) {
            a->indexes[kept++] = a->indexes[i];
        }
    }
    a->indexes_len = kept;
    return true;
}

/* Who cosigned the note: their memberships trace the cosignatures. */
static bool keep_cosigners(struct answering *a, struct err *err)
{
    const struct member *members[COSIGNERS_MAX];
    struct id facilities[COSIGNERS_MAX];
    size_t found = 0;
    const struct trust *trust = chart_trust_take(a->service->chart);
    size_t count = MIN(trust_members(trust, members, COSIGNERS_MAX), COSIGNERS_MAX);
    for (size_t i = 0; i < count; i++) {
        char line[300];
        int len = snprintf(line, sizeof line, "\n\xe2\x80\x94 %s/witness ", members[i]->domain);
        if (len > 0 && memmem(a->note.data, a->note.len, line, (size_t)len)) {
            facilities[found++] = members[i]->facility;
        }
    }
    chart_trust_give(a->service->chart);
    for (size_t i = 0; i < found; i++) {
        if (!keep_facility(a, &facilities[i], err)) {
            return false;
        }
    }
    return true;
}

static bool keep_ground(struct answering *a, struct err *err)
{
    return keep_facility(a, chart_facility(a->service->chart), err) &&
           keep_parsed(a, log_epoch_statement(a->service->log), err) && keep_cosigners(a, err) &&
           (!a->authority || keep_named(a, bytes_pb(a->asked->authority), err));
}

/* ---- Writing the file --------------------------------------------------------------------------------------------------- */

struct writing {
    struct answering *a;
    struct bundle_writer writer;
    struct builder *file;
};

static bool frame_message(struct writing *w, enum bundle_type type, ProtobufCMessage *message, struct err *err)
{
    AUTO_ARENA(scratch, 4 << 20);
    struct bytes body;
    return canonical_pack(message, &scratch, &body, err) &&
           bundle_write_frame(&w->writer, type, body, w->file, err);
}

static ProtobufCBinaryData *path_fields(struct arena *arena, const struct hash *path, size_t len, struct err *err)
{
    void *memory, *copy;
    if (!arena_array(arena, len, sizeof(ProtobufCBinaryData), &memory, err) ||
        !arena_array(arena, len, HASH_LEN, &copy, err)) {
        return NULL;
    }
    ProtobufCBinaryData *fields = memory;
    struct hash *hashes = copy;
    for (size_t i = 0; i < len; i++) {
        hashes[i] = path[i];
        fields[i] = pb_bytes(BYTES_OF(hashes[i]));
    }
    return fields;
}

static bool proof_of(struct writing *w, uint64_t index, struct arena *arena, Chartmesh__V1__Proof *out,
                     struct err *err)
{
    struct hash path[MERKLE_PATH_MAX];
    size_t len;
    chartmesh__v1__proof__init(out);
    if (!log_inclusion(w->a->service->log, index, w->a->size, path, &len, err)) {
        return err_wrap(err, "proof of entry %ju", (uintmax_t)index);
    }
    out->index = index;
    out->path = path_fields(arena, path, len, err);
    out->n_path = len;
    return out->path != NULL;
}

static bool write_map(struct writing *w, struct err *err)
{
    AUTO_ARENA(arena, 1 << 20);
    const struct log_map_answer *map = &w->a->map;
    struct log_opened opened;
    Chartmesh__V1__Proof at;
    Chartmesh__V1__Opening opening = CHARTMESH__V1__OPENING__INIT;
    Chartmesh__V1__MapFrame frame = CHARTMESH__V1__MAP_FRAME__INIT;
    if (!proof_of(w, map->epoch - 1, &arena, &at, err) ||
        !log_entry_at(w->a->service->log, map->epoch - 1, &arena, &opened, err)) {
        return false;
    }
    opening.r = pb_bytes(BYTES_OF(opened.r));
    opening.entry = pb_bytes(opened.entry);
    frame.at = &at;
    frame.opening = &opening;
    frame.key = pb_bytes(BYTES_OF(w->a->map_key));
    if (map->chain.count) {
        frame.count = map->chain.count;
        frame.last = map->chain.last;
        frame.chain = pb_bytes(BYTES_OF(map->chain.chain));
    } else if (map->proof.end == MAP_OTHER) {
        frame.other_key = pb_bytes(BYTES_OF(map->proof.other_key));
        frame.other_value = pb_bytes(BYTES_OF(map->proof.other_value));
    }
    frame.siblings = path_fields(&arena, map->proof.siblings, map->proof.siblings_len, err);
    frame.n_siblings = map->proof.siblings_len;
    return frame.siblings && frame_message(w, BUNDLE_MAP, &frame.base, err);
}

struct by_id {
    struct hash id;
    struct bytes envelope;
};

static int compare_by_id(const void *x, const void *y)
{
    return memcmp(((const struct by_id *)x)->id.bytes, ((const struct by_id *)y)->id.bytes, HASH_LEN);
}

static bool write_statements(struct writing *w, struct err *err)
{
    void *memory;
    if (!arena_array(w->a->arena, w->a->statements_len, sizeof(struct by_id), &memory, err)) {
        return false;
    }
    struct by_id *sorted = memory;
    for (size_t i = 0; i < w->a->statements_len; i++) {
        sorted[i] = (struct by_id){w->a->statement_ids[i], w->a->statements[i]};
    }
    qsort(sorted, w->a->statements_len, sizeof *sorted, compare_by_id);
    for (size_t i = 0; i < w->a->statements_len; i++) {
        if (!hash_equal(&sorted[i].id, &w->a->query.id) &&
            !bundle_write_frame(&w->writer, BUNDLE_STATEMENT, sorted[i].envelope, w->file, err)) {
            return false;
        }
    }
    return true;
}

static bool write_tables(struct writing *w, struct err *err)
{
    const struct table *tables[] = {&table_confidentiality, &table_sensitivity, &table_purpose}; /* by name */
    for (size_t i = 0; i < COUNT(tables); i++) {
        Chartmesh__V1__TableFrame frame = CHARTMESH__V1__TABLE_FRAME__INIT;
        frame.name = (char *)(uintptr_t)tables[i]->name;
        frame.sha256 = pb_bytes(BYTES_OF(tables[i]->sha256));
        if (!frame_message(w, BUNDLE_TABLE, &frame.base, err)) {
            return false;
        }
    }
    return true;
}

static bool write_entry(struct writing *w, uint64_t index, struct err *err)
{
    AUTO_ARENA(arena, 4 << 20);
    struct log_opened opened;
    Chartmesh__V1__Proof at;
    Chartmesh__V1__Opening opening = CHARTMESH__V1__OPENING__INIT;
    Chartmesh__V1__EntryFrame frame = CHARTMESH__V1__ENTRY_FRAME__INIT;
    if (!proof_of(w, index, &arena, &at, err) || !log_entry_at(w->a->service->log, index, &arena, &opened, err)) {
        return false;
    }
    opening.r = pb_bytes(BYTES_OF(opened.r));
    opening.entry = pb_bytes(opened.entry);
    frame.at = &at;
    frame.opening = &opening;
    if (w->a->cut && index == w->a->cut_index) {
        frame.previous_chain = pb_bytes(BYTES_OF(w->a->cut_chain));
    }
    return frame_message(w, BUNDLE_ENTRY, &frame.base, err);
}

static bool write_consistency(struct writing *w, struct err *err)
{
    AUTO_ARENA(arena, 1 << 20);
    uint64_t known = w->a->asked->known_size;
    struct hash root, path[2 * MERKLE_PATH_MAX];
    size_t len;
    Chartmesh__V1__ConsistencyFrame frame = CHARTMESH__V1__CONSISTENCY_FRAME__INIT;
    if (known == 0) {
        return true;
    }
    if (!log_root_at(w->a->service->log, known, &root, err) ||
        !log_consistency(w->a->service->log, known, w->a->size, path, &len, err)) {
        return false;
    }
    frame.size = known;
    frame.root = pb_bytes(BYTES_OF(root));
    frame.path = path_fields(&arena, path, len, err);
    frame.n_path = len;
    return frame.path && frame_message(w, BUNDLE_CONSISTENCY, &frame.base, err);
}

static bool write_answer(struct writing *w, struct err *err)
{
    struct answering *a = w->a;
    uint64_t frames;
    struct hash frames_root = bundle_writer_root(&w->writer, &frames);
    struct statement epoch, answer;
    const struct signing_key *key = keys_statement(a->service->keys);
    Chartmesh__V1__AuditAnswer message = CHARTMESH__V1__AUDIT_ANSWER__INIT;
    if (!statement_parse(log_epoch_statement(a->service->log), a->arena, &epoch, err) ||
        !chart_head(a->service->chart, a->arena, &message.head, err)) {
        return false;
    }
    message.query = pb_bytes(BYTES_OF(a->query.id));
    message.frames = frames;
    message.frames_root = pb_bytes(BYTES_OF(frames_root));
    message.map_epoch = a->map.epoch;
    message.size = a->size;
    message.root = pb_bytes(BYTES_OF(a->root));
    message.origin = (char *)(uintptr_t)log_origin(a->service->log);
    message.epoch = pb_bytes(BYTES_OF(epoch.id));
    return statement_sign(STATEMENT_AUDIT_ANSWER, &message.base, &key, 1, a->arena, &answer, err) &&
           bundle_write_frame(&w->writer, BUNDLE_ANSWER, answer.envelope, w->file, err);
}

static bool write_file(struct answering *a, struct builder *file, struct err *err)
{
    struct writing w = {.a = a, .file = file};
    bool ok = bundle_write_frame(&w.writer, BUNDLE_QUERY, a->query.envelope, file, err) &&
              bundle_write_frame(&w.writer, BUNDLE_CHECKPOINT, a->note, file, err) && write_map(&w, err) &&
              write_statements(&w, err) && write_tables(&w, err);
    for (size_t i = 0; ok && i < a->indexes_len; i++) {
        ok = write_entry(&w, a->indexes[i], err);
    }
    return (ok && write_consistency(&w, err) && write_answer(&w, err)) || err_wrap(err, "evidence bundle");
}

bool audit_query(struct service_call *call, struct bytes query, bool dry_run, struct builder *file,
                 uint64_t *entries, struct err *err)
{
    AUTO_ARENA(arena, BUNDLE_ARENA);
    struct answering a = {.service = call->service, .call = call, .arena = &arena};
    if (!open_question(&a, query, err) || !stand(&a, err) || !collect(&a, err) || !keep_ground(&a, err)) {
        return false;
    }
    *entries = a.indexes_len;
    return dry_run || write_file(&a, file, err);
}

/* ---- The method --------------------------------------------------------------------------------------------------------- */

static bool send_pieces(struct service_call *call, struct bytes file, uint64_t entries, struct err *err)
{
    for (size_t at = 0; at == 0 || at < file.len; at += PIECE) {
        Chartmesh__V1__QueryReply reply = CHARTMESH__V1__QUERY_REPLY__INIT;
        size_t len = MIN(file.len - at, (size_t)PIECE);
        reply.data = pb_bytes(BYTES(file.data ? file.data + at : NULL, len));
        reply.entries = at == 0 ? entries : 0;
        reply.total = at == 0 ? file.len : 0;
        if (!call->stream->send(call->stream->context, &reply.base, err)) {
            return false;
        }
    }
    return true;
}

static bool query_method(struct service_call *call, const ProtobufCMessage *in, struct err *err)
{
    const Chartmesh__V1__QueryRequest *request = (const Chartmesh__V1__QueryRequest *)in;
    AUTO_BUILDER(file, AUDIT_BUNDLE_MAX);
    uint64_t entries;
    void *packed;
    if (!request->query) {
        return err_raise_field(err, REASON(FIELD_MISSING), "query", "a signed audit query is needed");
    }
    size_t len = chartmesh__v1__envelope__get_packed_size(request->query);
    if (!arena_alloc(call->arena, len, &packed, err)) {
        return false;
    }
    chartmesh__v1__envelope__pack(request->query, packed);
    return audit_query(call, BYTES(packed, len), request->dry_run, &file, &entries, err) &&
           send_pieces(call, builder_view(&file), entries, err);
}

size_t audit_query_methods(const struct service_method **out)
{
    static const struct service_method methods[] = {
        {.path = "/chartmesh.v1.Audit/Query",
         .name = "Audit.Query",
         .shape = METHOD_SERVER_STREAM,
         .in = &chartmesh__v1__query_request__descriptor,
         .out = &chartmesh__v1__query_reply__descriptor,
         .kinds = SERVICE_AUDITOR | SERVICE_PATIENT,
         .max_request = 64 << 10,
         .stream = query_method},
    };
    *out = methods;
    return COUNT(methods);
}
