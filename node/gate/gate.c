/* Opening, deciding, logging, content. */
#include "node/gate/gate_inside.h"

#include <stdlib.h>

#include "proto/base/builder.h"
#include "proto/base/reader.h"
#include "proto/consent/tables.h"
#include "proto/crypto/hash.h"

/* Decision.tables: the code tables as shipped, then this facility's matrix in a fixed order (docs/protocol/04). */
static struct hash tables_of(const struct consent_config *config)
{
    AUTO_BUILDER(b, 1 << 20);
    build_bytes(&b, BYTES_OF(tables_sha256));
    for (size_t i = 0; i < config->clinical_roles_len; i++) {
        build_text(&b, "clinical %s|%s\n", config->clinical_roles[i].system, config->clinical_roles[i].code);
    }
    for (size_t i = 0; i < config->sensitive_roles_len; i++) {
        build_text(&b, "sensitive %s|%s\n", config->sensitive_roles[i].system, config->sensitive_roles[i].code);
    }
    for (size_t i = 0; i < config->table_len; i++) {
        const struct consent_need *need = &config->table[i];
        build_text(&b, "needs %s|%s %s %s\n", need->role.system, need->role.code, need->purpose,
                   need->assigned ? "assigned" : "role");
    }
    return hash_of(builder_view(&b));
}

static struct matrix *matrix_new(const struct consent_config *consent)
{
    struct matrix *matrix = calloc(1, sizeof *matrix);
    if (matrix) {
        matrix->config = *consent;
        /* No leases are exchanged yet: terms ask for none (docs/decisions). */
        matrix->config.max_age_s = matrix->config.max_age_restricted_s = matrix->config.max_age_sensitive_s = 0;
        matrix->tables = tables_of(&matrix->config);
    }
    return matrix;
}

bool gate_open(const struct gate_options *options, struct gate **out, struct err *err)
{
    struct gate *gate = calloc(1, sizeof *gate);
    struct matrix *matrix = matrix_new(options->consent);
    if (!gate || !matrix) {
        free(gate);
        free(matrix);
        return err_raise(err, ERR_TOO_MUCH, "gate: no memory");
    }
    gate->chart = options->chart;
    gate->matrix = matrix;
    gate->may = options->may;
    gate->context = options->context;
    gate->lock = world_lock_new(chart_world(gate->chart));
    for (size_t i = 0; i < LEAF_PLACES; i++) {
        gate->leaves[i].lock = world_lock_new(chart_world(gate->chart));
    }
    *out = gate;
    return true;
}

bool gate_rules(struct gate *gate, const struct consent_config *consent, struct err *err)
{
    struct matrix *matrix = matrix_new(consent);
    if (!matrix) {
        return err_raise(err, ERR_TOO_MUCH, "gate: no memory");
    }
    matrix->before = gate->matrix;
    gate->matrix = matrix;
    return true;
}

void gate_close(struct gate *gate)
{
    if (!gate) {
        return;
    }
    for (struct matrix *matrix = gate->matrix, *before; matrix; matrix = before) {
        before = matrix->before;
        free(matrix);
    }
    world_lock_free(gate->lock);
    for (size_t i = 0; i < LEAF_PLACES; i++) {
        world_lock_free(gate->leaves[i].lock);
        free(gate->leaves[i].leaves);
    }
    free(gate);
}

ProtobufCBinaryData pb_of(struct bytes view)
{
    return pb_bytes(view);
}

/* ---- Deciding -------------------------------------------------------------------------------------------------- */

static bool compile_heads(struct chart_policy *policies, size_t count, struct arena *arena,
                          struct consent_heads *out, struct err *err)
{
    void *memory;
    if (!arena_array(arena, count, sizeof(struct consent_policy), &memory, err)) {
        return false;
    }
    struct consent_policy *compiled = memory;
    size_t heads = 0;
    for (size_t i = 0; i < count; i++) {
        if (policies[i].head &&
            !consent_policy_compile(policies[i].message, &policies[i].id, arena, &compiled[heads++], err)) {
            return err_wrap(err, "stored policy");
        }
    }
    return consent_heads_find(compiled, heads, arena, out, err);
}

static bool state_with(struct gate *gate, struct arena *arena, struct consent_state *out, struct err *err)
{
    struct world_interval now = world_security_clock(chart_world(gate->chart));
    out->matrix = gate->matrix;
    out->lo_ms = (int64_t)now.lo_ms;
    out->hi_ms = (int64_t)now.hi_ms;
    if (!compile_heads(out->policies, out->policies_len, arena, &out->heads, err)) {
        return false;
    }
    const struct trust *trust = chart_trust_take(gate->chart);
    const struct member *self = trust_member(trust, chart_facility(gate->chart));
    out->integrity = self && self->active ? 0 : CONSENT_NOT_MEMBER;
    chart_trust_give(gate->chart);
    return true;
}

bool consent_state_of(struct gate *gate, const struct subject *subject, struct chart_policy *policies,
                      size_t count, struct arena *arena, struct consent_state *out, struct err *err)
{
    *out = (struct consent_state){.policies = policies, .policies_len = count};
    return chart_subject(gate->chart, subject, &out->subject, err) && state_with(gate, arena, out, err);
}

/* The generation is read before the policies: it is never newer than what was decided with. It is raised in the
 * batch of each policy, so that none is looked for where it never was. */
bool consent_state_load(struct gate *gate, const struct subject *subject, struct arena *arena,
                        struct consent_state *out, struct err *err)
{
    *out = (struct consent_state){0};
    if (!chart_subject(gate->chart, subject, &out->subject, err)) {
        return false;
    }
    bool none = !out->subject.own || (out->subject.known && !out->subject.may_have_policies);
    return (none || chart_policies(gate->chart, subject, arena, &out->policies, &out->policies_len, err)) &&
           state_with(gate, arena, out, err);
}

void consent_state_context(const struct consent_state *state, struct consent_context *out)
{
    *out = (struct consent_context){.config = &state->matrix->config,
                                    .origin = state->subject.subject.facility,
                                    .integrity = state->integrity,
                                    .heads = &state->heads};
}

static const struct chart_version *by_id(const struct chart_version *versions, size_t count, struct bytes id)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal(BYTES_OF(versions[i].id), id)) {
            return &versions[i];
        }
    }
    return NULL;
}

/* The version whose content a RELABEL or ENTERED_IN_ERROR repeats: its one parent, and that one's again. */
static const Chartmesh__V1__Version *content_of(const struct chart_version *versions, size_t count, size_t i)
{
    const struct chart_version *at = &versions[i];
    bool repeats = false;
    while (at && (at->message->kind == CHARTMESH__V1__KIND__KIND_RELABEL ||
                  at->message->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR)) {
        const struct chart_version *parent =
            at->message->n_parents ? by_id(versions, count, bytes_pb(at->message->parents[0])) : NULL;
        if (!parent || parent == at) {
            break;
        }
        at = parent;
        repeats = true;
    }
    return repeats ? at->message : NULL;
}

struct consent_version version_facts(const struct chart_version *versions, size_t count, size_t i,
                                     const Chartmesh__V1__Labels *effective)
{
    return consent_version_of(versions[i].message, content_of(versions, count, i), effective);
}

/* At a holder: the version's disclosures; a contribution not yet back is read under those of its document. */
static bool copies_of(struct gate *gate, const struct chart_version *versions, size_t count, size_t i,
                      struct arena *arena, struct consent_copy **out, size_t *out_len, struct err *err)
{
    struct chart_disclosure *found;
    size_t n;
    void *memory;
    if (!chart_disclosures(gate->chart, &versions[i].id, arena, &found, &n, err)) {
        return false;
    }
    for (size_t j = 0; n == 0 && versions[i].pending && j < count; j++) {
        if (!chart_disclosures(gate->chart, &versions[j].id, arena, &found, &n, err)) {
            return false;
        }
    }
    if (!arena_array(arena, n, sizeof(struct consent_copy), &memory, err)) {
        return false;
    }
    *out = memory;
    for (size_t j = 0; j < n; j++) {
        if (!consent_copy_compile(found[j].message, &found[j].id, arena, &(*out)[j], err)) {
            return err_wrap(err, "stored disclosure");
        }
    }
    *out_len = n;
    return true;
}

bool decide_version(struct gate *gate, const struct consent_state *state, const struct caller *caller,
                    enum consent_action action, const struct chart_version *versions, size_t count, size_t i,
                    const Chartmesh__V1__Labels *effective, struct arena *arena, struct consent_decision *out,
                    struct err *err)
{
    struct consent_context context;
    struct consent_copy *copies = NULL;
    struct consent_version facts = version_facts(versions, count, i, effective);
    consent_state_context(state, &context);
    if (!state->subject.own) {
        context.heads = NULL;
        if (!copies_of(gate, versions, count, i, arena, &copies, &context.copies_len, err)) {
            return false;
        }
        context.copies = copies;
    }
    struct consent_request request = {
        .action = action,
        .facility = *chart_facility(gate->chart),
        .user = caller->user,
        .purpose = caller->purpose,
        .lo_ms = state->lo_ms,
        .hi_ms = state->hi_ms,
    };
    if (caller->role) {
        request.role = (struct consent_coding){caller->role->system, caller->role->code};
    }
    return consent_decide(&request, &facts, &context, arena, out, err);
}

static bool instant(struct arena *arena, int64_t ms, Chartmesh__V1__Instant **out, struct err *err)
{
    void *memory;
    if (!arena_alloc(arena, sizeof(Chartmesh__V1__Instant), &memory, err)) {
        return false;
    }
    *out = memory;
    chartmesh__v1__instant__init(*out);
    (*out)->ms = ms;
    return true;
}

static int compare_basis(const void *a, const void *b)
{
    uint8_t x[256], y[256];
    const Chartmesh__V1__Basis *p = *(Chartmesh__V1__Basis *const *)a, *q = *(Chartmesh__V1__Basis *const *)b;
    size_t n = chartmesh__v1__basis__pack(p, x), m = chartmesh__v1__basis__pack(q, y);
    return bytes_compare(BYTES(x, n), BYTES(y, m));
}

bool decision_message(const struct consent_state *state, const struct consent_decision *decisions, size_t count,
                      const struct hash *disclosure, struct arena *arena, Chartmesh__V1__Decision **out,
                      struct err *err)
{
    void *memory;
    if (!arena_alloc(arena, sizeof(Chartmesh__V1__Decision), &memory, err)) {
        return false;
    }
    Chartmesh__V1__Decision *message = memory;
    chartmesh__v1__decision__init(message);
    message->effect = (Chartmesh__V1__Effect)decisions[0].effect;
    message->step = decisions[0].step;
    message->tables = pb_of(BYTES_OF(state->matrix->tables));
    Chartmesh__V1__Basis **all = NULL;
    size_t n = 0, capacity = 0;
    for (size_t i = 0; i < count; i++) {
        Chartmesh__V1__Basis **basis;
        size_t basis_len;
        if (!consent_basis_message(&decisions[i], arena, &basis, &basis_len, err)) {
            return false;
        }
        for (size_t j = 0; j < basis_len; j++) {
            if (!arena_grow(arena, (void **)&all, n, &capacity, sizeof *all, err)) {
                return false;
            }
            all[n++] = basis[j];
        }
    }
    if (n) {
        qsort(all, n, sizeof *all, compare_basis);
    }
    for (size_t i = 0; i < n; i++) {
        if (message->n_basis == 0 || compare_basis(&all[message->n_basis - 1], &all[i]) != 0) {
            all[message->n_basis++] = all[i];
        }
    }
    message->basis = all;
    if (disclosure) {
        struct bytes copy;
        if (!arena_copy(arena, BYTES_OF(*disclosure), &copy, err)) {
            return false;
        }
        message->terms = pb_of(copy);
    }
    *out = message;
    return instant(arena, state->lo_ms, &message->lo, err) && instant(arena, state->hi_ms, &message->hi, err);
}

/* ---- Logging --------------------------------------------------------------------------------------------------- */

static bool add_read(struct log_txn *txn, const struct read_entry *in, struct err *err)
{
    const struct log_who who = {in->caller->principal, in->caller->user};
    const struct log_entry entry = {
        .kind = in->kind,
        .who = &who,
        .role = in->caller->role_text,
        .purpose = in->caller->purpose,
        .subject = in->subject,
        .objects = in->objects,
        .objects_len = MIN(in->objects_len, 256),
        .decision = in->decision,
        .disclosure = in->disclosure,
        .reason = in->reason,
        .extent = in->extent,
    };
    /* One entry per 256 versions (formats 6). */
    for (size_t at = 0; at == 0 || at < in->objects_len; at += 256) {
        struct log_entry part = entry;
        part.objects = in->objects ? in->objects + at : NULL;
        part.objects_len = MIN(in->objects_len - at, 256);
        part.extent = at == 0 ? in->extent : 0;
        if (!log_txn_add(txn, &part, err)) {
            return false;
        }
    }
    return true;
}

bool log_reads(struct gate *gate, const struct read_entry *entries, size_t count, uint64_t *index, struct err *err)
{
    struct log_txn *txn = log_txn_new(chart_log(gate->chart));
    for (size_t i = 0; i < count; i++) {
        if (!add_read(txn, &entries[i], err)) {
            log_txn_free(txn);
            return false;
        }
    }
    return log_commit(txn, index, err);
}

bool log_read(struct gate *gate, const struct read_entry *in, uint64_t *index, struct err *err)
{
    return log_reads(gate, in, 1, index, err);
}

/* What is not here is logged at a bounded rate: nobody fills the disk by guessing ids. */
bool absent_allowed(struct gate *gate)
{
    uint64_t second = world_mono_ms(chart_world(gate->chart)) / 1000;
    AUTO_LOCKED(locked, gate->lock);
    if (second != gate->absent_second) {
        gate->absent_second = second;
        gate->absent_count = 0;
    }
    return gate->absent_count++ < GATE_ABSENT_PER_S;
}

bool refuse(struct gate *gate, const struct caller *caller, const struct subject *subject,
            const struct hash *versions, size_t count, const Chartmesh__V1__Decision *decision, const char *why,
            struct err *err)
{
    struct read_entry entry = {
        .kind =
            decision ? CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_DENIED : CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_ABSENT,
        .caller = caller,
        .subject = subject,
        .objects = versions,
        .objects_len = count,
        .decision = decision,
        .reason = why,
    };
    if ((decision || absent_allowed(gate)) && !log_read(gate, &entry, NULL, err)) {
        return false;
    }
    return err_raise_reason(err, ERR_NOT_FOUND, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_NOT_AVAILABLE,
                            "not here, or not for this caller");
}

/* ---- Content ---------------------------------------------------------------------------------------------------- */

/* A chunk that is missing is damage, unless a purge took its key as well while it was being read. */
static bool chunk_missing(struct gate *gate, const struct chart_content *content, uint64_t index, struct err *err)
{
    struct chart_content now;
    if (err->code != ERR_NOT_FOUND || !chart_content_load(gate->chart, &content->p, &content->id, &now, err)) {
        return false;
    }
    secret_wipe(&now.keys, sizeof now.keys);
    return err_raise(err, ERR_CORRUPT, "content: chunk %ju is missing", (uintmax_t)index);
}

bool read_chunk(struct gate *gate, const struct chart_content *content, uint64_t length, uint64_t index,
                struct arena *arena, struct bytes *coded, struct bytes *plain, struct err *err)
{
    struct bytes sealed;
    bool last = index + 1 == content_chunks(length);
    if (!chart_content_chunk_read(gate->chart, &content->id, index, arena, &sealed, err)) {
        return chunk_missing(gate, content, index, err);
    }
    char hex[2 * ID_LEN + 1];
    return (chunk_open(&content->keys, &content->id, index, last, sealed, arena, coded, err) &&
            chunk_decode(*coded, chunk_length(length, index), arena, plain, err)) ||
           err_wrap(err, "family chunk at content %s, chunk %ju", bytes_hex(BYTES_OF(content->id), hex),
                    (uintmax_t)index);
}

bool content_is_here(struct gate *gate, const struct chart_version *version, bool *out, struct err *err)
{
    *out = version->complete;
    return !*out || version->message->kind != CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR ||
           chart_content_whole(gate->chart, &version->content, version->message->length, out, err);
}

bool read_content(struct gate *gate, const struct chart_content *content, const struct chart_version *version,
                  const struct content_meta *meta, struct arena *arena, struct bytes *out, struct err *err)
{
    void *memory;
    if (!arena_alloc(arena, (size_t)meta->length + 1, &memory, err)) {
        return false;
    }
    uint8_t *whole = memory;
    bool ok = true;
    for (uint64_t i = 0; ok && i < content_chunks(meta->length); i++) {
        AUTO_ARENA(scratch, 1 << 20);
        struct bytes coded, plain;
        ok = read_chunk(gate, content, meta->length, i, &scratch, &coded, &plain, err);
        if (ok) {
            memcpy(whole + i * CHUNK_LEN, plain.data, plain.len);
        }
    }
    if (!ok) {
        return err_wrap(err, "content of a version");
    }
    struct bytes view = BYTES(whole, (size_t)meta->length);
    struct hash root, commitment = content_commit(&meta->salt, view, &root);
    if (!bytes_equal(BYTES_OF(commitment), bytes_pb(version->message->commitment))) {
        return err_raise(err, ERR_CORRUPT, "content: it is not what its version commits to");
    }
    *out = view;
    return true;
}

bool gate_may_write(struct gate *gate, const struct caller *caller, const char *rpc, struct err *err)
{
    if (gate->may(gate->context, caller->role_text, caller->purpose, rpc)) {
        return true;
    }
    return err_raise_reason(err, ERR_DENIED, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_NOT_PERMITTED,
                            "%s: role %s may not do this for purpose %s", rpc,
                            *caller->role_text ? caller->role_text : "(none)",
                            *caller->purpose ? caller->purpose : "(none)");
}

/* ---- Receipts ----------------------------------------------------------------------------------------------------- */

#define RECEIPT_AAD BYTES_LIT("chartmesh receipt v1\n")

void gate_receipt(struct gate *gate, const struct caller *caller, uint64_t index, uint8_t out[RECEIPT_LEN])
{
    uint8_t plain[RECEIPT_LEN - NONCE_LEN - TAG_LEN] = {0};
    struct hash who = hash_of(bytes_str(caller->principal));
    put_u64be(plain, index);
    put_u64be(plain + 8, log_incarnation(chart_log(gate->chart)));
    memcpy(plain + 16, who.bytes, HASH_LEN);
    seal_random_to(keys_facility(chart_keys(gate->chart), FACILITY_KEY_TOKEN), RECEIPT_AAD,
                   BYTES(plain, sizeof plain), out);
}

bool gate_receipt_open(struct gate *gate, const char *principal, struct bytes receipt, uint64_t *index,
                       struct err *err)
{
    AUTO_ARENA(arena, 4096);
    struct bytes plain;
    struct hash who = hash_of(bytes_str(principal));
    if (receipt.len != RECEIPT_LEN || !seal_open(keys_facility(chart_keys(gate->chart), FACILITY_KEY_TOKEN),
                                                 RECEIPT_AAD, receipt, &arena, &plain, err)) {
        return err_raise_field(err, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_TOKEN_INVALID, "receipt",
                               "not a receipt of this node");
    }
    struct reader r = reader_of(plain);
    uint64_t at = read_u64be(&r), incarnation = read_u64be(&r);
    if (!bytes_equal(read_bytes(&r, HASH_LEN), BYTES_OF(who)) ||
        incarnation != log_incarnation(chart_log(gate->chart))) {
        return err_raise_field(err, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_TOKEN_INVALID, "receipt",
                               "a receipt of another principal or incarnation");
    }
    *index = at;
    return true;
}
