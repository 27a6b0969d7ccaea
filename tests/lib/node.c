#include "tests/lib/node.h"

#include <stdlib.h>

#include "proto/crypto/random.h"

#define PB(fixed) pb_bytes(BYTES_OF(fixed))
#define TEXT(literal) ((char *)(uintptr_t)(literal))

static const struct consent_coding clinical_roles[] = {{NODE_ROLES, "physician"}, {NODE_ROLES, "psychiatrist"}};
static const struct consent_coding sensitive_roles[] = {{NODE_ROLES, "psychiatrist"}};
static const struct consent_need needs[] = {
    {{NODE_ROLES, "physician"}, "TREAT", false},
    {{NODE_ROLES, "psychiatrist"}, "TREAT", false},
    {{NODE_ROLES, "clerk"}, "TREAT", false},
};

/* ---- Life -------------------------------------------------------------------------------------------------------- */

static bool file_load(void *context, struct arena *arena, struct bytes *out, struct err *err)
{
    struct node_file *file = context;
    return file->len ? arena_copy(arena, BYTES(file->bytes, file->len), out, err)
                     : err_raise(err, ERR_NOT_FOUND, "no file");
}

static bool file_save(void *context, struct bytes content, struct err *err)
{
    struct node_file *file = context;
    (void)err;
    assert_true(content.len <= sizeof file->bytes);
    memcpy(file->bytes, content.data, content.len);
    file->len = content.len;
    return true;
}

static bool may_write(void *context, const char *role, const char *purpose, const char *rpc)
{
    struct node *node = context;
    return node->may ? node->may(node->may_context, role, purpose, rpc) : !node->read_only;
}

void node_open(struct node *node)
{
    struct err err;
    const struct federation_member *m = node->member;
    const struct keys_secrets secrets = {
        {{0x52}}, m->statement_seed, m->checkpoint_seed, m->witness_seed, m->sealing_secret};
    const struct keyring_port ring = {file_load, file_save, &node->keyring};
    const struct store_options store = {.disk = node->disk};
    node->world = world_sim_world(node->sim, 0);
    assert_ok(store_open(&store, &node->store, &err));
    assert_ok(keys_open(node->store, node->world, &secrets, &ring, &node->keys, &err));
    const struct log_options log = {.store = node->store,
                                    .keys = node->keys,
                                    .world = node->world,
                                    .anchor = {file_load, file_save, &node->anchor},
                                    .network = node->federation->network,
                                    .facility = m->id,
                                    .domain = m->domain};
    assert_ok(log_open(&log, &node->log, &err));
    const struct chart_options chart = {.store = node->store,
                                        .keys = node->keys,
                                        .log = node->log,
                                        .world = node->world,
                                        .first_network = node->federation->first_network,
                                        .trust_file = node->federation->trust_file,
                                        .facility = m->id};
    assert_ok(chart_open(&chart, &node->chart, &err));
    const struct gate_options gate = {
        .chart = node->chart, .consent = &node->consent, .may = may_write, .context = node};
    assert_ok(gate_open(&gate, &node->gate, &err));
}

void node_close(struct node *node)
{
    gate_close(node->gate);
    chart_close(node->chart);
    log_close(node->log);
    keys_close(node->keys);
    store_close(node->store);
    world_close(node->world);
}

struct node *node_new(struct world_sim *sim, struct federation *federation, size_t member)
{
    struct node *node = calloc(1, sizeof *node);
    assert_non_null(node);
    node->sim = sim;
    node->federation = federation;
    node->member = &federation->members[member];
    node->disk = store_disk_new();
    node->consent = (struct consent_config){
        .facility = node->member->id,
        .clinical_roles = clinical_roles,
        .clinical_roles_len = COUNT(clinical_roles),
        .sensitive_roles = sensitive_roles,
        .sensitive_roles_len = COUNT(sensitive_roles),
        .table = needs,
        .table_len = COUNT(needs),
        .notice = "for treatment only",
    };
    node_open(node);
    return node;
}

void node_free(struct node *node)
{
    node_close(node);
    store_disk_free(node->disk);
    free(node);
}

struct caller node_caller(const char *user, const char *role, const char *purpose)
{
    static const Chartmesh__V1__Coding roles[] = {
        {PROTOBUF_C_MESSAGE_INIT(&chartmesh__v1__coding__descriptor), TEXT(NODE_ROLES), TEXT("physician")},
        {PROTOBUF_C_MESSAGE_INIT(&chartmesh__v1__coding__descriptor), TEXT(NODE_ROLES), TEXT("psychiatrist")},
        {PROTOBUF_C_MESSAGE_INIT(&chartmesh__v1__coding__descriptor), TEXT(NODE_ROLES), TEXT("clerk")},
    };
    struct caller caller = {.principal = "spiffe://test/app/emr",
                            .user = user,
                            .role_text = role,
                            .purpose = purpose,
                            .request_id = "1"};
    for (size_t i = 0; i < COUNT(roles); i++) {
        if (strcmp(strchr(role, '|') + 1, roles[i].code) == 0) {
            caller.role = &roles[i];
        }
    }
    return caller;
}

/* ---- Subjects and documents -------------------------------------------------------------------------------------- */

static struct id small_id(const struct node *node, uint8_t kind, uint8_t number)
{
    struct id id = {{kind, node->member->id.bytes[1]}};
    id.bytes[ID_LEN - 1] = number;
    return id;
}

struct id node_document(struct node *node, uint8_t number)
{
    return small_id(node, 'd', number);
}

struct subject node_subject(struct node *node, uint8_t number)
{
    struct err err;
    struct id patient = small_id(node, 'p', number), identity = small_id(node, 'i', number);
    struct subject subject = subject_make(&node->member->id, &patient);
    struct log_txn *txn = log_txn_new(node->log);
    assert_ok(chart_subject_add(node->chart, txn, &subject, &identity, &err));
    assert_ok(log_commit(txn, NULL, &err));
    return subject;
}

/* ---- Versions ---------------------------------------------------------------------------------------------------- */

static const struct chart_version *parent_of(const struct chart_version *versions, size_t count,
                                             const struct hash *id)
{
    for (size_t i = 0; i < count; i++) {
        if (hash_equal(&versions[i].id, id)) {
            return &versions[i];
        }
    }
    fail_msg("no such parent");
    return NULL;
}

/* Draws a content and puts its rows: all but the last chunk when it is incomplete. */
static struct content_meta put_content(struct node *node, struct log_txn *txn, const struct node_put *put,
                                       struct chart_content *content)
{
    struct err err;
    AUTO_ARENA(arena, 64 << 20);
    struct content_meta meta = {.salt = random_hash(), .length = put->content.len};
    meta.root = content_root_of(&meta.salt, put->content);
    assert_ok(chart_content_new(node->chart, txn, &put->subject, content, &err));
    uint64_t chunks = content_chunks(meta.length);
    for (uint64_t i = 0; i < chunks - (put->incomplete && chunks); i++) {
        struct bytes coded, plain = BYTES(put->content.data + i * CHUNK_LEN, chunk_length(meta.length, i));
        assert_ok(chunk_code(plain, &arena, &coded, &err));
        assert_ok(chart_content_chunk(node->chart, txn, content, i, i + 1 == chunks, coded, &err));
    }
    assert_ok(chart_content_meta(node->chart, txn, content, &put->document, &meta, &err));
    return meta;
}

static Chartmesh__V1__Kind kind_of(const struct node_put *put)
{
    if (put->kind) {
        return put->kind;
    }
    return put->parents_len == 0   ? CHARTMESH__V1__KIND__KIND_CONTENT
           : put->parents_len == 1 ? CHARTMESH__V1__KIND__KIND_AMENDMENT
                                   : CHARTMESH__V1__KIND__KIND_MERGE;
}

static struct hash put_signed(struct node *node, struct log_txn *txn, Chartmesh__V1__Version *version,
                              const struct chart_content *content, uint8_t flags, const struct node_put *put,
                              struct arena *arena)
{
    struct err err;
    struct statement statement;
    const struct subject *subject = &put->subject;
    const struct signing_key *key = put->author ? put->author : keys_statement(node->keys);
    const struct log_who who = {"spiffe://test/app/emr", "alice"};
    assert_ok(statement_sign(STATEMENT_VERSION, &version->base, &key, 1, arena, &statement, &err));
    assert_ok(chart_version_add(node->chart, txn, &statement, content, flags, &err));
    const struct log_entry entry = {.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WRITE,
                                    .who = &who,
                                    .subject = subject,
                                    .objects = &statement.id,
                                    .objects_len = 1};
    assert_ok(log_txn_add(txn, &entry, &err));
    return statement.id;
}

struct hash node_put(struct node *node, const struct node_put *put)
{
    struct err err;
    AUTO_ARENA(arena, 16 << 20);
    struct chart_version *known = NULL;
    struct version_node nodes[16];
    ProtobufCBinaryData parents[16];
    size_t count = 0;
    struct chart_content content;
    struct content_meta meta;
    Chartmesh__V1__Version version = CHARTMESH__V1__VERSION__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__Dot dot;
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    Chartmesh__V1__Author author = CHARTMESH__V1__AUTHOR__INIT;
    Chartmesh__V1__Coding class = CHARTMESH__V1__CODING__INIT, code = CHARTMESH__V1__CODING__INIT;
    Chartmesh__V1__Coding *codes[] = {&code};
    chart_lock(node->chart, &put->subject.p);
    struct log_txn *txn = log_txn_new(node->log);
    if (put->parents_len) {
        assert_ok(chart_document(node->chart, &put->subject, &put->document, &arena, &known, &count, &err));
    }
    for (size_t i = 0; i < put->parents_len; i++) {
        nodes[i] = parent_of(known, count, &put->parents[i])->node;
        parents[i] = PB(put->parents[i]);
    }
    version.kind = kind_of(put);
    if (version.kind == CHARTMESH__V1__KIND__KIND_RELABEL ||
        version.kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR) {
        const struct id *shared = &parent_of(known, count, &put->parents[0])->content;
        assert_ok(chart_content_load(node->chart, &put->subject.p, shared, &content, &err));
        assert_ok(chart_content_meta_read(node->chart, &put->subject.p, &put->document, shared, &meta, &err));
    } else {
        meta = put_content(node, txn, put, &content);
    }
    assert_ok(chart_dot(node->chart, txn, &put->subject, &put->document, &dot, &err));
    assert_ok(context_join(nodes, put->parents_len, &arena, &version.context, &version.n_context, &err));
    assert_ok(chart_head(node->chart, &arena, &version.head, &err));
    struct hash commitment = content_commitment(&meta.salt, meta.length, &meta.root);
    subject.facility = PB(put->subject.facility);
    subject.patient = PB(put->subject.patient);
    class.system = TEXT("urn:chartmesh:class");
    class.code = TEXT(put->class_code ? put->class_code : "note");
    code.system = TEXT("http://terminology.hl7.org/CodeSystem/v3-ActCode");
    code.code = TEXT(put->sensitivity);
    labels.confidentiality =
        put->confidentiality ? put->confidentiality : CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    labels.sensitivity = codes;
    labels.n_sensitivity = put->sensitivity ? 1 : 0;
    author.principal = TEXT(put->principal ? put->principal : "spiffe://test/app/emr");
    author.user = TEXT("alice");
    version.subject = &subject;
    version.document = PB(put->document);
    version.dot = &dot;
    version.parents = parents;
    version.n_parents = put->parents_len;
    version.commitment = PB(commitment);
    version.length = meta.length;
    version.chunk_log2 = CHUNK_LOG2;
    version.media_type = TEXT("text/plain");
    version.class_ = &class;
    version.labels = &labels;
    version.author = &author;
    bool own = id_equal(&put->subject.facility, &node->member->id);
    uint8_t flags = (uint8_t)((put->incomplete ? 0 : VERSION_COMPLETE) | (own ? 0 : VERSION_PENDING));
    struct hash id = put_signed(node, txn, &version, &content, flags, put, &arena);
    assert_ok(log_commit(txn, NULL, &err));
    chart_unlock(node->chart, &put->subject.p);
    return id;
}

/* ---- Policies ---------------------------------------------------------------------------------------------------- */

static void supersede(const struct chart_policy *known, size_t count, bool law, Chartmesh__V1__Policy *policy,
                      struct arena *arena)
{
    struct err err;
    struct version_node nodes[16];
    void *memory;
    size_t n = 0;
    assert_ok(arena_array(arena, COUNT(nodes), sizeof *policy->parents, &memory, &err));
    policy->parents = memory;
    for (size_t i = 0; i < count; i++) {
        const Chartmesh__V1__Policy *old = known[i].message;
        if (known[i].head && (old->assertor->who == CHARTMESH__V1__WHO__WHO_LAW) == law) {
            policy->parents[n] = PB(known[i].id);
            nodes[n++] = (struct version_node){.tag = old->dot->tag,
                                               .counter = old->dot->counter,
                                               .context = (const Chartmesh__V1__Dot *const *)old->context,
                                               .context_len = old->n_context};
        }
    }
    policy->n_parents = n;
    assert_ok(context_join(nodes, n, arena, &policy->context, &policy->n_context, &err));
}

/* What the heads will be once `added` is in: all of it is given, consent and gate find the heads themselves. */
static size_t heads_with(const struct chart_policy *known, size_t count, const struct node_policy *in,
                         const struct statement *added, struct chart_policy *out)
{
    bool law = in->who == CHARTMESH__V1__WHO__WHO_LAW;
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        bool same_set = (known[i].message->assertor->who == CHARTMESH__V1__WHO__WHO_LAW) == law;
        if (known[i].head && (in->concurrent || !same_set)) {
            out[n++] = known[i];
        }
    }
    out[n++] = (struct chart_policy){.id = added->id,
                                     .envelope = added->envelope,
                                     .message = (const Chartmesh__V1__Policy *)added->message,
                                     .head = true};
    return n;
}

struct hash node_policy(struct node *node, const struct node_policy *in, uint32_t *grants, uint32_t *orders)
{
    struct err err;
    AUTO_ARENA(arena, 16 << 20);
    struct chart_policy *known, heads[17];
    size_t count;
    uint32_t granted, ordered;
    struct generation generation;
    struct statement statement, parsed;
    const struct signing_key *key = keys_statement(node->keys);
    Chartmesh__V1__Policy policy = CHARTMESH__V1__POLICY__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__Dot dot;
    Chartmesh__V1__Assertor assertor = CHARTMESH__V1__ASSERTOR__INIT;
    Chartmesh__V1__Author author = CHARTMESH__V1__AUTHOR__INIT;
    chart_lock(node->chart, &in->subject.p);
    struct log_txn *txn = log_txn_new(node->log);
    assert_ok(chart_policies(node->chart, &in->subject, &arena, &known, &count, &err));
    if (!in->concurrent) {
        supersede(known, count, in->who == CHARTMESH__V1__WHO__WHO_LAW, &policy, &arena);
    }
    assert_ok(chart_policy_dot(node->chart, txn, &in->subject, &dot, &err));
    if (in->concurrent) {
        dot = (Chartmesh__V1__Dot)CHARTMESH__V1__DOT__INIT; /* as if written elsewhere: a tag of its own */
        dot.tag = random_u64();
        dot.counter = 1;
    }
    assert_ok(chart_head(node->chart, &arena, &policy.head, &err));
    subject.facility = PB(in->subject.facility);
    subject.patient = PB(in->subject.patient);
    author.principal = TEXT("spiffe://test/app/emr");
    author.user = TEXT("registrar");
    assertor.who = in->who ? in->who : CHARTMESH__V1__WHO__WHO_STAFF;
    assertor.author = &author;
    policy.subject = &subject;
    policy.dot = &dot;
    policy.base_effect = in->base_effect;
    policy.rules = in->rules;
    policy.n_rules = in->rules_len;
    policy.assertor = &assertor;
    assert_ok(statement_sign(STATEMENT_POLICY, &policy.base, &key, 1, &arena, &statement, &err));
    assert_ok(statement_parse(statement.envelope, &arena, &parsed, &err));
    assert_ok(chart_policy_add(node->chart, txn, &parsed, &generation, &err));
    const struct log_entry entry = {.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_POLICY,
                                    .subject = &in->subject,
                                    .objects = &statement.id,
                                    .objects_len = 1};
    assert_ok(log_txn_add(txn, &entry, &err));
    size_t n = heads_with(known, count, in, &parsed, heads);
    assert_ok(gate_policy_effects(node->gate, txn, &in->subject, heads, n, generation, grants ? grants : &granted,
                                  orders ? orders : &ordered, &err));
    assert_ok(log_commit(txn, NULL, &err));
    chart_unlock(node->chart, &in->subject.p);
    return statement.id;
}

struct hash node_grant(struct node *node, const struct subject *subject, const struct id *to, uint32_t *grants)
{
    Chartmesh__V1__Rule rule = CHARTMESH__V1__RULE__INIT, *rules[] = {&rule};
    ProtobufCBinaryData facilities[] = {PB(*to)};
    rule.id = 1;
    rule.effect = CHARTMESH__V1__EFFECT__EFFECT_PERMIT;
    rule.facilities = facilities;
    rule.n_facilities = 1;
    rule.confidentiality_max = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    const struct node_policy policy = {.subject = *subject, .rules = rules, .rules_len = 1};
    return node_policy(node, &policy, grants, NULL);
}

struct hash node_revoke(struct node *node, const struct subject *subject, uint32_t *orders)
{
    const struct node_policy policy = {.subject = *subject};
    return node_policy(node, &policy, NULL, orders);
}

/* ---- Between nodes ----------------------------------------------------------------------------------------------- */

struct bytes *node_disclose(struct node *node, const struct subject *subject, const struct id *to,
                            const struct hash *versions, size_t count, struct arena *arena,
                            struct gate_item *items, size_t *disclosures)
{
    struct err err;
    struct bytes *envelopes;
    chart_lock(node->chart, &subject->p);
    struct log_txn *txn = log_txn_new(node->log);
    assert_ok(gate_disclose(node->gate, txn, to, subject, versions, count, 1, arena, items, &envelopes,
                            disclosures, &err));
    assert_ok(log_commit(txn, NULL, &err));
    chart_unlock(node->chart, &subject->p);
    return envelopes;
}

void node_receive(struct node *node, const struct gate_item *item, struct bytes disclosure)
{
    struct err err;
    AUTO_ARENA(arena, 16 << 20);
    struct statement version, given;
    struct chart_content content;
    chart_lock(node->chart, &item->subject.p);
    struct log_txn *txn = log_txn_new(node->log);
    assert_ok(statement_parse(item->envelope, &arena, &version, &err));
    assert_ok(statement_parse(disclosure, &arena, &given, &err));
    assert_ok(chart_disclosure_put(node->chart, txn, &given, &err));
    assert_ok(chart_content_new(node->chart, txn, &item->subject, &content, &err));
    if (item->chunk0.len) {
        assert_ok(chart_content_chunk(node->chart, txn, &content, 0, true, item->chunk0, &err));
    }
    assert_ok(chart_content_meta(node->chart, txn, &content, &item->document, &item->meta, &err));
    bool complete = item->chunk0.len || item->meta.length == 0;
    assert_ok(chart_version_add(node->chart, txn, &version, &content, complete ? VERSION_COMPLETE : 0, &err));
    const struct log_entry entry = {.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_RECEIVE,
                                    .subject = &item->subject,
                                    .objects = &version.id,
                                    .objects_len = 1,
                                    .disclosure = &given.id,
                                    .counterpart = &item->subject.facility};
    assert_ok(log_txn_add(txn, &entry, &err));
    assert_ok(log_commit(txn, NULL, &err));
    chart_unlock(node->chart, &item->subject.p);
}

/* ---- What was logged --------------------------------------------------------------------------------------------- */

const Chartmesh__V1__Entry *node_entry(struct node *node, uint64_t index, Chartmesh__V1__EntryKind kind,
                                       struct arena *arena)
{
    struct err err;
    struct log_opened opened;
    assert_ok(log_entry_at(node->log, index, arena, &opened, &err));
    assert_int_equal(opened.message->kind, kind);
    return opened.message;
}

const Chartmesh__V1__Entry *node_last_entry(struct node *node, Chartmesh__V1__EntryKind kind, struct arena *arena)
{
    struct err err;
    struct log_opened opened;
    for (uint64_t i = log_size(node->log).size; i > 0; i--) {
        assert_ok(log_entry_at(node->log, i - 1, arena, &opened, &err));
        if (opened.message->kind == kind) {
            return opened.message;
        }
    }
    return NULL;
}
