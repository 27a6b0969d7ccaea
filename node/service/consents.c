/* Consents: a subject's policy at its origin. */
#include <stdio.h>

#include "node/service/service_inside.h"

#include "proto/base/reader.h"
#include "proto/crypto/hash.h"

enum { PARENTS_MAX = 16 };
#define WHO(name) CHARTMESH__V1__WHO__WHO_##name

static bool own_subject(struct service_call *call, const Chartmesh__V1__Subject *in, struct subject *out,
                        struct err *err)
{
    return service_subject(call, in, "subject", out, err) &&
           (id_equal(&out->facility, chart_facility(call->service->chart)) ||
            err_raise_reason(err, ERR_STATE, REASON(NOT_ORIGIN), "consent: only at the subject's own facility"));
}

static bool known_subject(struct service_call *call, const struct subject *subject, struct err *err)
{
    struct chart_subject known;
    return chart_subject(call->service->chart, subject, &known, err) &&
           (known.known || gate_absent(call->service->gate, &call->caller, "absent", err));
}

/* ---- SetPolicy ----------------------------------------------------------------------------------------------------- */

struct setting {
    struct service_call *call;
    const Chartmesh__V1__SetPolicyRequest *request;
    struct subject subject;
    struct chart_policy *policies; /* room for one more */
    size_t count;
    struct log_txn *txn;
    struct statement statement;
};

static bool is_law(const Chartmesh__V1__Policy *policy)
{
    return policy->assertor->who == WHO(LAW);
}

static struct version_node node_of(const struct chart_policy *policy)
{
    return (struct version_node){.id = policy->id,
                                 .tag = policy->message->dot->tag,
                                 .counter = policy->message->dot->counter,
                                 .context = (const Chartmesh__V1__Dot *const *)policy->message->context,
                                 .context_len = policy->message->n_context};
}

static bool load(struct setting *s, struct err *err)
{
    struct chart_policy *found;
    void *memory;
    if (!chart_policies(s->call->service->chart, &s->subject, s->call->arena, &found, &s->count, err) ||
        !arena_array(s->call->arena, s->count + 1, sizeof *s->policies, &memory, err)) {
        return false;
    }
    s->policies = memory;
    if (s->count) {
        memcpy(s->policies, found, s->count * sizeof *found);
    }
    return true;
}

/* The heads that a policy of this assertor replaces: LAW policies are a set of their own. */
static bool heads_of(struct setting *s, bool law, struct version_node *nodes, size_t *count, struct err *err)
{
    struct hash ids[PARENTS_MAX];
    *count = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (!s->policies[i].head || is_law(s->policies[i].message) != law) {
            continue;
        }
        if (*count == PARENTS_MAX) {
            return err_raise_reason(err, ERR_TOO_MUCH, REASON(TOO_LARGE), "policy: over %d heads at once",
                                    PARENTS_MAX);
        }
        ids[*count] = s->policies[i].id;
        nodes[(*count)++] = node_of(&s->policies[i]);
    }
    return field_heads(s->request->if_heads, s->request->n_if_heads, ids, *count, err);
}

static bool policy_sign(struct setting *s, Chartmesh__V1__Policy *policy, struct err *err)
{
    const struct signing_key *key = keys_statement(s->call->service->keys);
    if (policy_check(policy, err) &&
        statement_sign(STATEMENT_POLICY, &policy->base, &key, 1, s->call->arena, &s->statement, err)) {
        return true;
    }
    if (err->code == ERR_INVALID) {
        err->reason = REASON(POLICY_INVALID);
        if (!*err->field) {
            snprintf(err->field, sizeof err->field, "rules");
        }
    }
    return false;
}

/* Signed by the facility, for the member of staff who recorded it or for the law. */
static bool recorded(struct setting *s, struct err *err)
{
    const Chartmesh__V1__SetPolicyRequest *r = s->request;
    struct service_call *call = s->call;
    Chartmesh__V1__Who who = r->who ? r->who : WHO(STAFF);
    if (who != WHO(STAFF) && who != WHO(LAW)) {
        return err_raise_field(err, REASON(FIELD_INVALID), "who", "who: a patient or proxy signs: give `signed`");
    }
    if (r->evidence.len && r->evidence.len != HASH_LEN) {
        return err_raise_field(err, REASON(FIELD_INVALID), "evidence", "evidence: a hash of 32 bytes");
    }
    struct version_node nodes[PARENTS_MAX];
    ProtobufCBinaryData parents[PARENTS_MAX];
    Chartmesh__V1__Policy policy = CHARTMESH__V1__POLICY__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__Assertor assertor = CHARTMESH__V1__ASSERTOR__INIT;
    Chartmesh__V1__Author author = CHARTMESH__V1__AUTHOR__INIT;
    Chartmesh__V1__Dot dot;
    if (!heads_of(s, who == WHO(LAW), nodes, &policy.n_parents, err) ||
        !chart_head(call->service->chart, call->arena, &policy.head, err) ||
        !chart_policy_dot(call->service->chart, s->txn, &s->subject, &dot, err) ||
        !context_join(nodes, policy.n_parents, call->arena, &policy.context, &policy.n_context, err)) {
        return false;
    }
    for (size_t i = 0; i < policy.n_parents; i++) {
        parents[i] = pb_bytes(BYTES_OF(nodes[i].id));
    }
    author.principal = (char *)(uintptr_t)call->caller.principal;
    author.user = (char *)(uintptr_t)call->caller.user;
    author.role = (Chartmesh__V1__Coding *)(uintptr_t)call->caller.role;
    assertor.who = who;
    assertor.author = &author;
    subject.facility = pb_bytes(BYTES_OF(s->subject.facility));
    subject.patient = pb_bytes(BYTES_OF(s->subject.patient));
    policy.subject = &subject;
    policy.dot = &dot;
    policy.parents = parents;
    policy.base_effect = r->base_effect;
    policy.rules = r->rules;
    policy.n_rules = r->n_rules;
    policy.assertor = &assertor;
    policy.evidence = r->evidence;
    return policy_sign(s, &policy, err);
}

/* One that its assertor signed: nothing of it is taken on trust but what the signature says. */
static bool asserted(struct setting *s, struct err *err)
{
    struct bytes envelope;
    struct service_call *call = s->call;
    if (!message_pack(&s->request->signed_->base, call->arena, &envelope, err)) {
        return false;
    }
    const struct trust *trust = chart_trust_take(call->service->chart);
    bool ok = trust_check(trust, envelope, STATEMENT_POLICY, 0, NULL, call->arena, &s->statement, err);
    chart_trust_give(call->service->chart);
    if (!ok) {
        err->code = ERR_INVALID; /* a key that nobody knows is the caller's fault here */
        return err_wrap(err, "signed");
    }
    const Chartmesh__V1__Policy *policy = (const void *)s->statement.message;
    if (!bytes_equal(bytes_pb(policy->subject->facility), BYTES_OF(s->subject.facility)) ||
        !bytes_equal(bytes_pb(policy->subject->patient), BYTES_OF(s->subject.patient))) {
        return err_raise_field(err, REASON(POLICY_INVALID), "signed", "signed: it is about another subject");
    }
    for (size_t i = 0; i < s->count; i++) {
        const Chartmesh__V1__Dot *dot = s->policies[i].message->dot;
        if (dot->tag == policy->dot->tag && dot->counter == policy->dot->counter) {
            return hash_equal(&s->policies[i].id, &s->statement.id)
                       ? err_raise_reason(err, ERR_EXISTS, REASON(ALREADY_EXISTS), "signed: this policy is here")
                       : err_raise_field(err, REASON(POLICY_INVALID), "signed",
                                         "signed: its dot is another policy's");
        }
    }
    if (!policy_check(policy, err)) {
        err->reason = REASON(POLICY_INVALID);
        return false;
    }
    return true;
}

/* The set as it will be. */
static void take_in(struct setting *s)
{
    struct chart_policy *fresh = &s->policies[s->count++];
    *fresh = (struct chart_policy){.id = s->statement.id,
                                   .envelope = s->statement.envelope,
                                   .message = (const void *)s->statement.message,
                                   .head = true};
    struct version_node mine = node_of(fresh);
    for (size_t i = 0; i + 1 < s->count; i++) {
        struct version_node other = node_of(&s->policies[i]);
        if (is_law(s->policies[i].message) != is_law(fresh->message)) {
            continue;
        }
        if (version_supersedes(&mine, &other)) {
            s->policies[i].head = false;
        }
        if (version_supersedes(&other, &mine)) {
            fresh->head = false;
        }
    }
}

static bool set_locked(struct setting *s, Chartmesh__V1__SetPolicyReply *out, struct err *err)
{
    struct service *service = s->call->service;
    struct generation generation;
    if (!known_subject(s->call, &s->subject, err) || !load(s, err) ||
        !(s->request->signed_ ? asserted(s, err) : recorded(s, err))) {
        return false;
    }
    take_in(s);
    if (!service_entry(s->call, s->txn, ENTRY(POLICY), &s->subject, &s->statement.id, 1, NULL, err) ||
        !chart_policy_add(service->chart, s->txn, &s->statement, &generation, err) ||
        !gate_policy_effects(service->gate, s->txn, &s->subject, s->policies, s->count, generation, &out->grants,
                             &out->orders, err) ||
        !reply_bytes(s->call, BYTES_OF(s->statement.id), &out->policy, err)) {
        return false;
    }
    out->generation = generation.generation;
    struct log_txn *txn = s->txn;
    s->txn = NULL;
    return service_commit(s->call, txn, &out->base, &out->receipt, err);
}

static bool set_policy(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                       struct err *err)
{
    struct setting s = {.call = call, .request = (const void *)in};
    if (!own_subject(call, s.request->subject, &s.subject, err)) {
        return false;
    }
    s.txn = log_txn_new(call->service->log);
    chart_lock(call->service->chart, &s.subject.p);
    bool ok = set_locked(&s, (void *)reply, err);
    chart_unlock(call->service->chart, &s.subject.p);
    log_txn_free(s.txn);
    return ok;
}

/* ---- GetPolicy, History -------------------------------------------------------------------------------------------- */

static bool views(struct service_call *call, const struct chart_policy *policies, size_t count, bool heads_only,
                  Chartmesh__V1__PolicyView ***out, size_t *out_len, struct err *err)
{
    void *memory;
    if (!arena_array(call->arena, count, sizeof **out, &memory, err)) {
        return false;
    }
    *out = memory;
    *out_len = 0;
    for (size_t i = 0; i < count; i++) {
        if (heads_only && !policies[i].head) {
            continue;
        }
        if (!arena_alloc(call->arena, sizeof(Chartmesh__V1__PolicyView), &memory, err)) {
            return false;
        }
        Chartmesh__V1__PolicyView *view = memory;
        chartmesh__v1__policy_view__init(view);
        if (!reply_bytes(call, BYTES_OF(policies[i].id), &view->policy, err) ||
            !reply_envelope(call, policies[i].envelope, &view->statement, err)) {
            return false;
        }
        (*out)[(*out_len)++] = view;
    }
    return true;
}

/* The READ entry: durable before the policy is given out. The objects of a READ are versions (formats 6); what
 * else was read is its reason. */
static bool read_entry(struct service_call *call, const struct subject *subject, const char *what,
                       ProtobufCBinaryData *receipt, struct err *err)
{
    struct log_txn *txn = log_txn_new(call->service->log);
    if (!service_entry(call, txn, ENTRY(READ), subject, NULL, 0, what, err)) {
        log_txn_free(txn);
        return false;
    }
    return service_commit(call, txn, NULL, receipt, err);
}

static bool policies_read(struct service_call *call, const Chartmesh__V1__Subject *in, const char *rpc,
                          struct subject *subject, struct chart_policy **policies, size_t *count, struct err *err)
{
    return own_subject(call, in, subject, err) && service_listed(call, rpc, err) &&
           known_subject(call, subject, err) &&
           chart_policies(call->service->chart, subject, call->arena, policies, count, err);
}

static bool get_policy(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                       struct err *err)
{
    const Chartmesh__V1__GetPolicyRequest *request = (const void *)in;
    Chartmesh__V1__GetPolicyReply *out = (void *)reply;
    struct subject subject;
    struct chart_policy *policies;
    struct generation generation;
    size_t count;
    if (!policies_read(call, request->subject, "Consents.GetPolicy", &subject, &policies, &count, err) ||
        !chart_generation(call->service->chart, &subject, &generation, err) ||
        !views(call, policies, count, true, &out->heads, &out->n_heads, err)) {
        return false;
    }
    out->generation = generation.generation;
    return read_entry(call, &subject, "policy", &out->receipt, err);
}

static bool history(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                    struct err *err)
{
    const Chartmesh__V1__PolicyHistoryRequest *request = (const void *)in;
    Chartmesh__V1__PolicyHistoryReply *out = (void *)reply;
    struct subject subject;
    struct chart_policy *policies;
    size_t count;
    void *memory;
    if (!policies_read(call, request->subject, "Consents.History", &subject, &policies, &count, err) ||
        !views(call, policies, count, false, &out->versions, &out->n_versions, err) ||
        !arena_array(call->arena, count, sizeof *out->heads, &memory, err)) {
        return false;
    }
    out->heads = memory;
    for (size_t i = 0; i < count; i++) {
        if (policies[i].head && !reply_bytes(call, BYTES_OF(policies[i].id), &out->heads[out->n_heads++], err)) {
            return false;
        }
    }
    return read_entry(call, &subject, "policy", &out->receipt, err);
}

/* ---- Explain ------------------------------------------------------------------------------------------------------- */

static bool explain(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                    struct err *err)
{
    const Chartmesh__V1__ExplainRequest *request = (const void *)in;
    struct subject subject;
    struct id document;
    return own_subject(call, request->subject, &subject, err) && service_listed(call, "Consents.Explain", err) &&
           field_id(request->document, "document", &document, err) &&
           (!request->role || field_coding(request->role, "role", err)) &&
           gate_explain(call->service->gate, &call->caller, request, &subject, call->arena, (void *)reply, err);
}

/* ---- Cases --------------------------------------------------------------------------------------------------------- */

static bool instant(struct service_call *call, uint64_t hlc, Chartmesh__V1__Instant **out, struct err *err)
{
    void *memory;
    if (hlc == 0) {
        return true;
    }
    if (!arena_alloc(call->arena, sizeof **out, &memory, err)) {
        return false;
    }
    *out = memory;
    chartmesh__v1__instant__init(*out);
    (*out)->ms = (int64_t)hlc_ms(hlc);
    return true;
}

static bool case_statements(struct service_call *call, const struct chart_case *value, Chartmesh__V1__Case *out,
                            struct err *err)
{
    struct bytes order, receipt;
    struct statement statement;
    if (!chart_statement(call->service->chart, &value->order, call->arena, &order, err) ||
        !statement_parse(order, call->arena, &statement, err) ||
        !reply_envelope(call, order, &out->order_statement, err)) {
        return err_wrap(err, "case");
    }
    const Chartmesh__V1__PurgeOrder *message = (const void *)statement.message;
    out->cause = message->cause;
    out->documents = message->documents;
    out->n_documents = message->n_documents;
    return hash_is_zero(&value->receipt) ||
           (chart_statement(call->service->chart, &value->receipt, call->arena, &receipt, err) &&
            reply_envelope(call, receipt, &out->receipt_statement, err));
}

static bool case_fill(struct service_call *call, const struct chart_case *value, Chartmesh__V1__Case **out,
                      struct err *err)
{
    void *memory;
    if (!arena_alloc(call->arena, sizeof **out, &memory, err)) {
        return false;
    }
    Chartmesh__V1__Case *one = memory;
    chartmesh__v1__case__init(one);
    one->outcome = value->outcome;
    *out = one;
    const struct trust *trust = chart_trust_take(call->service->chart);
    const struct member *peer = trust_member(trust, &value->peer);
    bool named = !peer || arena_string(call->arena, bytes_str(peer->domain), &one->domain, err);
    chart_trust_give(call->service->chart);
    return named && reply_subject(call, &value->subject, &one->subject, err) &&
           reply_bytes(call, BYTES_OF(value->order), &one->order, err) &&
           reply_bytes(call, BYTES_OF(value->peer), &one->facility, err) &&
           instant(call, value->opened_hlc, &one->opened, err) &&
           instant(call, value->closed_hlc, &one->closed, err) && case_statements(call, value, one, err);
}

/* One READ entry per patient on the page; a page of nothing is one without a patient. Cases come by patient. */
static bool cases_log(struct service_call *call, const struct chart_case *cases, size_t count,
                      ProtobufCBinaryData *receipt, struct err *err)
{
    struct log_txn *txn = log_txn_new(call->service->log);
    bool ok = count || service_entry(call, txn, ENTRY(READ), NULL, NULL, 0, "cases", err);
    for (size_t i = 0; ok && i < count; i++) {
        if (i + 1 == count || !id_equal(&cases[i].subject.p, &cases[i + 1].subject.p)) {
            ok = service_entry(call, txn, ENTRY(READ), &cases[i].subject, NULL, 0, "cases", err);
        }
    }
    if (!ok) {
        log_txn_free(txn);
        return false;
    }
    return service_commit(call, txn, NULL, receipt, err);
}

/* Where the next page begins: P and order of the last case. */
static bool after_of(struct service_call *call, const Chartmesh__V1__CasesRequest *request, struct bytes key,
                     struct chart_case *out, struct err *err)
{
    struct bytes state;
    if (!service_token_open(call, "Consents.Cases", key, bytes_pb(request->page_token), "page_token", &state,
                            err)) {
        return false;
    }
    struct reader r = reader_of(state);
    out->subject.p = read_id(&r);
    out->order = read_hash(&r);
    return reader_end(&r) || err_raise(err, ERR_INTERNAL, "page token: a state of %zu bytes", state.len);
}

static bool cases_page(struct service_call *call, const struct chart_case *cases, size_t count, bool more,
                       struct bytes key, Chartmesh__V1__CasesReply *out, struct err *err)
{
    void *memory;
    struct bytes token;
    uint8_t state[ID_LEN + HASH_LEN];
    if (!arena_array(call->arena, count, sizeof *out->cases, &memory, err)) {
        return false;
    }
    out->cases = memory;
    for (size_t i = 0; i < count; i++) {
        if (!case_fill(call, &cases[i], &out->cases[i], err)) {
            return false;
        }
    }
    out->n_cases = count;
    if (!cases_log(call, cases, count, &out->receipt, err)) {
        return false;
    }
    if (!more) {
        return true;
    }
    memcpy(state, cases[count - 1].subject.p.bytes, ID_LEN);
    memcpy(state + ID_LEN, cases[count - 1].order.bytes, HASH_LEN);
    return service_token(call, "Consents.Cases", key, BYTES(state, sizeof state), &token, err) &&
           reply_bytes(call, token, &out->next_page_token, err);
}

static bool cases(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    const Chartmesh__V1__CasesRequest *request = (const void *)in;
    struct subject subject = {0};
    struct chart_case *found, after = {0};
    size_t max, count;
    if (!service_listed(call, "Consents.Cases", err) ||
        (request->subject && !own_subject(call, request->subject, &subject, err)) ||
        !field_page(request->page_size, SERVICE_PAGE_MAX, 50, &max, err)) {
        return false;
    }
    struct hash key = HASH_PARTS(BYTES_OF(subject.p), request->closed ? BYTES_LIT("all") : BYTES_LIT("open"));
    if (request->page_token.len && !after_of(call, request, BYTES_OF(key), &after, err)) {
        return false;
    }
    if (!chart_cases(call->service->chart, request->subject ? &subject : NULL, request->closed,
                     request->page_token.len ? &after : NULL, max + 1, call->arena, &found, &count, err)) {
        return false;
    }
    return cases_page(call, found, MIN(count, max), count > max, BYTES_OF(key), (void *)reply, err);
}

/* ---- The list -------------------------------------------------------------------------------------------------------- */

#define CONSENTS(name_, in_, out_)                                                                                \
    .path = "/chartmesh.v1.Consents/" name_, .name = "Consents." name_, .shape = METHOD_UNARY,                    \
    .in = &chartmesh__v1__##in_##__descriptor, .out = &chartmesh__v1__##out_##__descriptor, .kinds = SERVICE_APP, \
    .needs_user = true

size_t consents_methods(const struct service_method **out)
{
    static const struct service_method methods[] = {
        {CONSENTS("SetPolicy", set_policy_request, set_policy_reply), .writes = true, .max_request = 128 << 10,
         .unary = set_policy},
        {CONSENTS("GetPolicy", get_policy_request, get_policy_reply), .max_request = SERVICE_SMALL_MAX,
         .unary = get_policy},
        {CONSENTS("History", policy_history_request, policy_history_reply), .max_request = SERVICE_SMALL_MAX,
         .unary = history},
        {CONSENTS("Explain", explain_request, explain_reply), .max_request = SERVICE_SMALL_MAX, .unary = explain},
        {CONSENTS("Cases", cases_request, cases_reply), .max_request = SERVICE_SMALL_MAX, .unary = cases},
    };
    *out = methods;
    return COUNT(methods);
}
