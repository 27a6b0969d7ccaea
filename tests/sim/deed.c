/* What applications do, as the services do it: under the patient's lock, in one transaction, with its entry. */
#include <stdlib.h>

#include "tests/sim/sim.h"

enum { DEED_ARENA = 64 << 20, LARGE_CHUNKS = 3 };

enum deed_kind { DEED_PUT, DEED_AMEND, DEED_RETRACT, DEED_GRANT, DEED_UPLOAD };

struct deed {
    struct sim_node *node;
    enum deed_kind kind;
    struct subject subject;
    struct id document;
    unsigned facilities;                 /* GRANT: bit i names facility i; 0 revokes */
    struct arena *arena;
    struct hash version;                 /* what was written */
};

#define PB(fixed) pb_bytes(BYTES_OF(fixed))

static struct bytes some_content(struct deed *deed, bool large, struct err *err)
{
    static const char line[] = "observation: blood pressure 120/80 mmHg, pulse 64/min; ";
    size_t len = large ? (size_t)LARGE_CHUNKS * CHUNK_LEN - 1000 : 20 + (size_t)sim_choose(deed->node->sim, 60);
    void *memory;
    if (!arena_alloc(deed->arena, len, &memory, err)) {
        return BYTES_NONE;
    }
    uint8_t *out = memory;
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)line[i % (sizeof line - 1)];
    }
    put_u64be(out, sim_choose(deed->node->sim, UINT64_MAX));
    return BYTES(out, len);
}

/* Stores content and says its commitment. */
static bool write_content(struct deed *deed, struct log_txn *txn, bool large, struct chart_content *content,
                          Chartmesh__V1__Version *version, struct err *err)
{
    struct chart *chart = deed->node->chart;
    struct bytes plain = some_content(deed, large, err), coded;
    struct content_meta meta = {.length = plain.len};
    world_random(deed->node->world, meta.salt.bytes, HASH_LEN);
    meta.root = content_root_of(&meta.salt, plain);
    struct hash commitment = content_commitment(&meta.salt, meta.length, &meta.root);
    if (!plain.len || !chart_content_new(chart, txn, &deed->subject, content, err) ||
        !chart_content_meta(chart, txn, content, &deed->document, &meta, err) ||
        !arena_copy(deed->arena, BYTES_OF(commitment), &coded, err)) {
        return false;
    }
    version->commitment = pb_bytes(coded);
    version->length = meta.length;
    uint64_t chunks = content_chunks(meta.length);
    for (uint64_t i = 0; i < chunks; i++) {
        struct bytes chunk = BYTES(plain.data + i * CHUNK_LEN, chunk_length(meta.length, i));
        if (!chunk_code(chunk, deed->arena, &coded, err) ||
            !chart_content_chunk(chart, txn, content, i, i + 1 == chunks, coded, err)) {
            return false;
        }
    }
    return true;
}

/* Everything of a version but its content and parents. */
struct frame_of_version {
    Chartmesh__V1__Subject subject;
    Chartmesh__V1__Coding class;
    Chartmesh__V1__Author author;
    Chartmesh__V1__Dot dot;
    char principal[96];
};

static bool version_begin(struct deed *deed, struct log_txn *txn, struct frame_of_version *f,
                          Chartmesh__V1__Version *out, struct err *err)
{
    chartmesh__v1__version__init(out);
    chartmesh__v1__subject__init(&f->subject);
    chartmesh__v1__coding__init(&f->class);
    chartmesh__v1__author__init(&f->author);
    chartmesh__v1__dot__init(&f->dot);
    snprintf(f->principal, sizeof f->principal, "spiffe://sim/%s/app/sim",
             deed->node->sim->f->members[deed->node->number].domain);
    f->subject.facility = PB(deed->subject.facility);
    f->subject.patient = PB(deed->subject.patient);
    f->class.system = (char *)"urn:sim";
    f->class.code = (char *)"note";
    f->author.principal = f->principal;
    out->subject = &f->subject;
    out->document = PB(deed->document);
    out->dot = &f->dot;
    out->chunk_log2 = CHUNK_LOG2;
    out->media_type = (char *)"text/plain";
    out->class_ = &f->class;
    out->author = &f->author;
    return chart_head(deed->node->chart, deed->arena, &out->head, err) &&
           chart_dot(deed->node->chart, txn, &deed->subject, &deed->document, &f->dot, err);
}

static bool version_end(struct deed *deed, struct log_txn *txn, Chartmesh__V1__Version *version,
                        const struct chart_content *content, struct err *err)
{
    struct sim_node *node = deed->node;
    struct statement statement;
    const struct signing_key *key = keys_statement(node->keys);
    bool own = id_equal(&deed->subject.facility, chart_facility(node->chart));
    if (!statement_sign(STATEMENT_VERSION, &version->base, &key, 1, deed->arena, &statement, err) ||
        !chart_version_add(node->chart, txn, &statement, content, VERSION_COMPLETE | (own ? 0 : VERSION_PENDING),
                           err)) {
        return false;
    }
    const struct log_who who = {.principal = version->author->principal, .user = "u"};
    const struct log_entry entry = {.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WRITE,
                                    .who = &who,
                                    .subject = &deed->subject,
                                    .objects = &statement.id,
                                    .objects_len = 1};
    deed->version = statement.id;
    return log_txn_add(txn, &entry, err);
}

static bool put(struct deed *deed, struct log_txn *txn, struct err *err)
{
    struct frame_of_version f;
    struct chart_content content;
    struct chart_subject known;
    Chartmesh__V1__Version version;
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    labels.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    if (!chart_subject(deed->node->chart, &deed->subject, &known, err) ||
        (!known.known && !chart_subject_add(deed->node->chart, txn, &deed->subject, &deed->document, err)) ||
        !version_begin(deed, txn, &f, &version, err)) {
        return false;
    }
    version.kind = CHARTMESH__V1__KIND__KIND_CONTENT;
    version.labels = &labels;
    return write_content(deed, txn, deed->kind == DEED_UPLOAD, &content, &version, err) &&
           version_end(deed, txn, &version, &content, err);
}

static bool amendable(const struct chart_version *v)
{
    return v->head && v->complete && !v->retracted &&
           v->message->kind != CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR &&
           (!v->copy || v->pending || !hash_is_zero(&v->disclosure));
}

/* Parents and what follows from them. Two or more heads become one: a merge; or, half of the time, only the first
 * is amended and the conflict stays. */
static bool version_parents(struct deed *deed, Chartmesh__V1__Version *version,
                            const struct chart_version *versions, size_t count, bool retract,
                            const struct chart_version **parent, struct err *err)
{
    bool merge = !retract && sim_choose(deed->node->sim, 2);
    struct version_node nodes[16];
    void *memory;
    if (!arena_array(deed->arena, 16, sizeof *version->parents, &memory, err)) {
        return false;
    }
    version->parents = memory;
    for (size_t i = 0; i < count && version->n_parents < (merge ? 8u : 1u); i++) {
        if (amendable(&versions[i])) {
            *parent = *parent ? *parent : &versions[i];
            nodes[version->n_parents] = versions[i].node;
            version->parents[version->n_parents++] = PB(versions[i].id);
            if (!labels_join(version->labels, versions[i].message->labels, deed->arena, &version->labels, err)) {
                return false;
            }
        }
    }
    version->kind = retract                  ? CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR
                    : version->n_parents > 1 ? CHARTMESH__V1__KIND__KIND_MERGE
                                             : CHARTMESH__V1__KIND__KIND_AMENDMENT;
    return version->n_parents == 0 ||
           context_join(nodes, version->n_parents, deed->arena, &version->context, &version->n_context, err);
}

/* ERR_STATE: there is nothing to amend. */
static bool amend(struct deed *deed, struct log_txn *txn, struct err *err)
{
    struct frame_of_version f;
    struct chart_content content;
    struct chart_version *versions;
    const struct chart_version *parent = NULL;
    Chartmesh__V1__Version version;
    bool retract = deed->kind == DEED_RETRACT;
    size_t count;
    if (!chart_document(deed->node->chart, &deed->subject, &deed->document, deed->arena, &versions, &count, err)) {
        return err->code == ERR_NOT_FOUND ? err_raise(err, ERR_STATE, "no such document") : false;
    }
    if (!version_begin(deed, txn, &f, &version, err) ||
        !version_parents(deed, &version, versions, count, retract, &parent, err)) {
        return false;
    }
    if (!parent) {
        return err_raise(err, ERR_STATE, "nothing to amend");
    }
    if (!retract) {
        return write_content(deed, txn, false, &content, &version, err) &&
               version_end(deed, txn, &version, &content, err);
    }
    version.commitment = parent->message->commitment;
    version.length = parent->message->length;
    return chart_content_load(deed->node->chart, &deed->subject.p, &parent->content, &content, err) &&
           version_end(deed, txn, &version, &content, err) &&
           gate_retraction(deed->node->gate, txn, &deed->subject, &deed->document, &deed->version, 1,
                           CHARTMESH__V1__NOTICE_KIND__NOTICE_KIND_RETRACTED, 0, err);
}

/* ---- Consent ------------------------------------------------------------------------------------------------------------ */

static bool policy_links(struct deed *deed, struct chart_policy *policies, size_t count,
                         Chartmesh__V1__Policy *policy, struct err *err)
{
    struct version_node nodes[16];
    void *memory;
    if (!arena_array(deed->arena, 16, sizeof *policy->parents, &memory, err)) {
        return false;
    }
    policy->parents = memory;
    for (size_t i = 0; i < count && policy->n_parents < 16; i++) {
        if (!policies[i].head) {
            continue;
        }
        const Chartmesh__V1__Policy *old = policies[i].message;
        nodes[policy->n_parents] =
            (struct version_node){.id = policies[i].id,
                                  .tag = old->dot->tag,
                                  .counter = old->dot->counter,
                                  .context = (const Chartmesh__V1__Dot *const *)old->context,
                                  .context_len = old->n_context};
        policy->parents[policy->n_parents++] = PB(policies[i].id);
    }
    return policy->n_parents == 0 ||
           context_join(nodes, policy->n_parents, deed->arena, &policy->context, &policy->n_context, err);
}

static bool policy_commit(struct deed *deed, struct log_txn *txn, Chartmesh__V1__Policy *policy,
                          struct chart_policy *old, size_t count, struct err *err)
{
    struct sim_node *node = deed->node;
    const struct signing_key *key = keys_statement(node->keys);
    struct statement statement;
    struct generation generation;
    void *memory;
    uint32_t grants, orders;
    if (!statement_sign(STATEMENT_POLICY, &policy->base, &key, 1, deed->arena, &statement, err) ||
        !chart_policy_add(node->chart, txn, &statement, &generation, err) ||
        !arena_array(deed->arena, count + 1, sizeof(struct chart_policy), &memory, err)) {
        return false;
    }
    struct chart_policy *heads = memory;
    for (size_t i = 0; i < count; i++) {
        heads[i] = old[i];
        heads[i].head = false;
    }
    heads[count] = (struct chart_policy){.id = statement.id,
                                         .envelope = statement.envelope,
                                         .head = true,
                                         .message = (const Chartmesh__V1__Policy *)statement.message};
    deed->version = statement.id;
    const struct log_entry entry = {.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_POLICY,
                                    .subject = &deed->subject,
                                    .objects = &statement.id,
                                    .objects_len = 1};
    return log_txn_add(txn, &entry, err) && gate_policy_effects(node->gate, txn, &deed->subject, heads, count + 1,
                                                                generation, &grants, &orders, err);
}

static bool grant(struct deed *deed, struct log_txn *txn, struct err *err)
{
    struct sim_node *node = deed->node;
    struct frame_of_version f;
    struct chart_policy *policies;
    size_t count;
    Chartmesh__V1__Policy policy = CHARTMESH__V1__POLICY__INIT;
    Chartmesh__V1__Assertor assertor = CHARTMESH__V1__ASSERTOR__INIT;
    Chartmesh__V1__Rule rule = CHARTMESH__V1__RULE__INIT, *rules[] = {&rule};
    Chartmesh__V1__Version unused;
    ProtobufCBinaryData facilities[SIM_NODES];
    if (!version_begin(deed, txn, &f, &unused, err) ||
        !chart_policies(node->chart, &deed->subject, deed->arena, &policies, &count, err) ||
        !policy_links(deed, policies, count, &policy, err) ||
        !chart_head(node->chart, deed->arena, &policy.head, err) ||
        !chart_policy_dot(node->chart, txn, &deed->subject, &f.dot, err)) {
        return false;
    }
    for (size_t i = 0; i < SIM_NODES; i++) {
        if (deed->facilities & 1u << i) {
            facilities[rule.n_facilities++] = PB(node->sim->f->members[i].id);
        }
    }
    rule.id = 1;
    rule.effect = CHARTMESH__V1__EFFECT__EFFECT_PERMIT;
    rule.facilities = facilities;
    rule.confidentiality_max = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    assertor.who = CHARTMESH__V1__WHO__WHO_STAFF;
    assertor.author = &f.author;
    policy.subject = &f.subject;
    policy.dot = &f.dot;
    policy.assertor = &assertor;
    policy.rules = rules;
    policy.n_rules = rule.n_facilities ? 1 : 0;
    return policy_commit(deed, txn, &policy, policies, count, err);
}

/* ---- Doing it ------------------------------------------------------------------------------------------------------------ */

static void acknowledge(struct deed *deed)
{
    struct sim *sim = deed->node->sim;
    if (deed->kind == DEED_GRANT || sim->acked_count == SIM_ACKED) {
        return;
    }
    sim->acked[sim->acked_count].node = deed->node->number;
    sim->acked[sim->acked_count].subject = deed->subject;
    sim->acked[sim->acked_count].document = deed->document;
    sim->acked[sim->acked_count++].version = deed->version;
}

static bool prepare(struct deed *deed, struct log_txn *txn, struct err *err)
{
    switch (deed->kind) {
    case DEED_PUT:
    case DEED_UPLOAD:
        return put(deed, txn, err);
    case DEED_AMEND:
    case DEED_RETRACT:
        return amend(deed, txn, err);
    case DEED_GRANT:
        return grant(deed, txn, err);
    }
    return false;
}

static void deed_run(void *arg)
{
    static const char *const names[] = {"puts", "amends", "retracts", "sets policy", "uploads"};
    struct deed *deed = arg;
    struct sim *sim = deed->node->sim;
    struct err err;
    AUTO_ARENA(arena, DEED_ARENA);
    deed->arena = &arena;
    chart_lock(deed->node->chart, &deed->subject.p);
    struct log_txn *txn = log_txn_new(deed->node->log);
    bool ok = prepare(deed, txn, &err);
    if (ok) {
        ok = log_commit(txn, NULL, &err);
    } else {
        log_txn_free(txn);
    }
    chart_unlock(deed->node->chart, &deed->subject.p);
    if (ok) {
        sim_say(sim, "%zu: %s %02x%02x (%x)", deed->node->number, names[deed->kind], deed->subject.p.bytes[0],
                deed->document.bytes[15], deed->facilities);
        acknowledge(deed);
    } else if (err.code != ERR_STATE) {
        sim_broken(sim, "UNEXPECTED", "%zu %s: %s (%s:%d)", deed->node->number, names[deed->kind], err.text,
                   err.file, err.line);
    }
    deed->node->busy = false;
    free(deed);
}

/* One of the documents that the node has of a subject; false: none. */
static bool some_document(struct sim_node *node, const struct subject *subject, struct id *out)
{
    AUTO_ARENA(arena, DEED_ARENA);
    struct id *ids;
    size_t count;
    struct err err;
    sim_must(node->sim, chart_documents(node->chart, subject, NULL, 64, &arena, &ids, &count, &err));
    if (count > 0) {
        *out = ids[sim_choose(node->sim, count)];
    }
    return count > 0;
}

static struct subject some_subject(struct sim *sim, size_t owner, bool fresh)
{
    size_t *count = &sim->subject_count[owner];
    if (*count == 0 || (fresh && *count < SIM_SUBJECTS && sim_choose(sim, 2))) {
        struct id patient = {{(uint8_t)owner, (uint8_t)++ * count}};
        sim->subjects[owner][*count - 1] = subject_make(&sim->f->members[owner].id, &patient);
        return sim->subjects[owner][*count - 1];
    }
    return sim->subjects[owner][sim_choose(sim, *count)];
}

void deed_any(struct sim_node *node)
{
    static const enum deed_kind often[] = {DEED_PUT,   DEED_PUT,     DEED_PUT,   DEED_AMEND,
                                           DEED_AMEND, DEED_AMEND,   DEED_GRANT, DEED_GRANT,
                                           DEED_GRANT, DEED_RETRACT, DEED_UPLOAD};
    struct sim *sim = node->sim;
    if (!node->up || node->busy) {
        return;
    }
    struct deed *deed = calloc(1, sizeof *deed);
    if (!deed) {
        abort();
    }
    deed->node = node;
    deed->kind = often[sim_choose(sim, COUNT(often))];
    size_t owner = node->number;
    if (deed->kind == DEED_AMEND) {
        owner = sim_choose(sim, SIM_NODES); /* also what others own: a contribution */
    }
    deed->subject = some_subject(sim, owner, deed->kind == DEED_PUT);
    bool new_document = deed->kind == DEED_PUT || deed->kind == DEED_UPLOAD;
    if (new_document) {
        put_u64be(deed->document.bytes, 1 + node->number);
        put_u64be(deed->document.bytes + 8, sim->serial++);
    } else if (deed->kind != DEED_GRANT && !some_document(node, &deed->subject, &deed->document)) {
        free(deed);
        return;
    }
    if (deed->kind == DEED_GRANT) {
        deed->facilities = (unsigned)sim_choose(sim, 1u << SIM_NODES) & ~(1u << node->number);
    }
    node->busy = true;
    world_submit(node->deeds, deed_run, deed);
}
