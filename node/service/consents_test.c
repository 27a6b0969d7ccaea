#include "node/service/service.h"

#include "proto/crypto/random.h"
#include "tests/lib/service.h"

static Chartmesh__V1__Subject *subject;
static struct subject own;

static int setup(void **state)
{
    struct serve *s = serve_new(3, 0);
    struct id facility, patient;
    subject = serve_register(s, "4711")->subject;
    assert_true(id_from(bytes_pb(subject->facility), &facility) && id_from(bytes_pb(subject->patient), &patient));
    own = subject_make(&facility, &patient);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    serve_free(*state);
    return 0;
}

/* A grant to member 1 of what is up to `max`; no rule where `max` is 0. */
struct grant {
    Chartmesh__V1__Rule rule, *rules[1];
    ProtobufCBinaryData facilities[1];
    Chartmesh__V1__SetPolicyRequest request;
};

static void make_grant(struct serve *s, struct grant *g, Chartmesh__V1__Confidentiality max,
                       const Chartmesh__V1__SetPolicyReply *after)
{
    chartmesh__v1__rule__init(&g->rule);
    chartmesh__v1__set_policy_request__init(&g->request);
    g->facilities[0] = pb_bytes(BYTES_OF(s->federation->members[1].id));
    g->rule.id = 1;
    g->rule.effect = CHARTMESH__V1__EFFECT__EFFECT_PERMIT;
    g->rule.facilities = g->facilities;
    g->rule.n_facilities = 1;
    g->rule.confidentiality_max = max;
    g->rules[0] = &g->rule;
    g->request.subject = subject;
    g->request.rules = g->rules;
    g->request.n_rules = max != 0;
    if (after) {
        g->request.if_heads = serve_heads(s, &after->policy, NULL);
        g->request.n_if_heads = 1;
    }
}

static Chartmesh__V1__SetPolicyReply *set(struct serve *s, Chartmesh__V1__Confidentiality max,
                                          const Chartmesh__V1__SetPolicyReply *after)
{
    struct grant g;
    make_grant(s, &g, max, after);
    return SERVE(s, "Consents.SetPolicy", &g.request);
}

#define N CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N
#define M CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_M

static size_t queued(struct serve *s, Chartmesh__V1__Lane lane)
{
    AUTO_ARENA(arena, 1 << 20);
    struct err err;
    struct outbox_row *rows;
    size_t count;
    assert_ok(chart_outbox(s->node->chart, &s->federation->members[1].id, lane, 100, &arena, &rows, &count, &err));
    return count;
}

static void hand_over(struct serve *s, ProtobufCBinaryData version)
{
    AUTO_ARENA(arena, 16 << 20);
    struct hash id;
    struct gate_item item;
    size_t count;
    assert_true(hash_from(bytes_pb(version), &id));
    node_disclose(s->node, &own, &s->federation->members[1].id, &id, 1, &arena, &item, &count);
    assert_true(item.permit);
}

static void test_consents__a_policy_is_kept_versioned_and_read(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__GetPolicyRequest get = CHARTMESH__V1__GET_POLICY_REQUEST__INIT;
    Chartmesh__V1__PolicyHistoryRequest all = CHARTMESH__V1__POLICY_HISTORY_REQUEST__INIT;
    get.subject = all.subject = subject;
    assert_int_equal(((Chartmesh__V1__GetPolicyReply *)SERVE(s, "Consents.GetPolicy", &get))->n_heads, 0);
    Chartmesh__V1__SetPolicyReply *first = set(s, N, NULL), *second = set(s, M, first);
    assert_true(second->generation > first->generation);
    Chartmesh__V1__GetPolicyReply *now = SERVE(s, "Consents.GetPolicy", &get);
    assert_int_equal(now->n_heads, 1);
    assert_int_equal(now->generation, second->generation);
    assert_bytes_equal(bytes_pb(now->heads[0]->policy), bytes_pb(second->policy));
    Chartmesh__V1__PolicyHistoryReply *history = SERVE(s, "Consents.History", &all);
    assert_int_equal(history->n_versions, 2);
    assert_int_equal(history->n_heads, 1);
    assert_int_equal(serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_POLICY), 2);
    struct grant stale;
    make_grant(s, &stale, N, first);
    SERVE_FAILS(s, "Consents.SetPolicy", &stale.request, ERR_CONFLICT, STALE_HEADS, "");
}

static void test_consents__a_policy_that_breaks_the_rules_is_refused(void **state)
{
    struct serve *s = *state;
    struct grant g;
    make_grant(s, &g, N, NULL);
    g.rule.parent = 1;                                       /* a cycle */
    SERVE_FAILS(s, "Consents.SetPolicy", &g.request, ERR_INVALID, POLICY_INVALID, "rules");
    make_grant(s, &g, N, NULL);
    g.rule.deny_only = true;
    SERVE_FAILS(s, "Consents.SetPolicy", &g.request, ERR_INVALID, POLICY_INVALID, "rules");
    make_grant(s, &g, N, NULL);
    g.facilities[0].len = 3;
    assert_false(serve_call(s, "Consents.SetPolicy", &g.request.base, NULL));
    assert_int_equal(s->err.reason, SERVE_REASON(POLICY_INVALID));
    make_grant(s, &g, N, NULL);
    g.request.who = CHARTMESH__V1__WHO__WHO_PATIENT;
    SERVE_FAILS(s, "Consents.SetPolicy", &g.request, ERR_INVALID, FIELD_INVALID, "who");
    Chartmesh__V1__Subject foreign = *subject;
    foreign.facility = g.facilities[0];
    make_grant(s, &g, N, NULL);
    g.request.subject = &foreign;
    SERVE_FAILS(s, "Consents.SetPolicy", &g.request, ERR_STATE, NOT_ORIGIN, "");
    assert_int_equal(serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_POLICY), 0);
}

static void test_consents__a_grant_queues_what_is_gained(void **state)
{
    struct serve *s = *state;
    serve_put(s, subject, NULL, "one");
    Chartmesh__V1__SetPolicyReply *granted = set(s, N, NULL);
    assert_int_equal(granted->grants, 1);
    assert_int_equal(granted->orders, 0);
    assert_int_equal(queued(s, CHARTMESH__V1__LANE__LANE_BULK), 2);      /* with the identity */
    serve_put(s, subject, NULL, "live");
    assert_int_equal(queued(s, CHARTMESH__V1__LANE__LANE_BULK), 3);
}

static void test_consents__a_revocation_orders_everything_back_and_opens_a_case(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutReply *put = serve_put(s, subject, NULL, "one");
    Chartmesh__V1__SetPolicyReply *granted = set(s, N, NULL);
    hand_over(s, put->version);
    Chartmesh__V1__SetPolicyReply *revoked = set(s, 0, granted);
    assert_int_equal(revoked->orders, 1);
    assert_int_equal(queued(s, CHARTMESH__V1__LANE__LANE_CONTROL), 1);
    assert_int_equal(serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_PURGE_ORDERED), 1);
    Chartmesh__V1__CasesRequest request = CHARTMESH__V1__CASES_REQUEST__INIT;
    Chartmesh__V1__CasesReply *cases = SERVE(s, "Consents.Cases", &request);
    assert_int_equal(cases->n_cases, 1);
    assert_string_equal(cases->cases[0]->domain, "f1.example");
    assert_int_equal(cases->cases[0]->cause, CHARTMESH__V1__CAUSE__CAUSE_REVOKED);
    assert_null(cases->cases[0]->closed);
    assert_non_null(cases->cases[0]->order_statement);
    assert_int_equal(cases->receipt.len, RECEIPT_LEN);
    request.subject = subject;
    assert_int_equal(((Chartmesh__V1__CasesReply *)SERVE(s, "Consents.Cases", &request))->n_cases, 1);
    request.page_token = pb_bytes(BYTES_LIT("token"));
    SERVE_FAILS(s, "Consents.Cases", &request, ERR_INVALID, TOKEN_INVALID, "page_token");
}

static void test_consents__I8_a_retraction_reaches_who_may_have_no_more(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutReply *put = serve_put(s, subject, NULL, "one");
    Chartmesh__V1__SetPolicyReply *granted = set(s, N, NULL);
    hand_over(s, put->version);
    set(s, 0, granted);
    Chartmesh__V1__RetractRequest retract = CHARTMESH__V1__RETRACT_REQUEST__INIT;
    retract.subject = subject;
    retract.document = put->document;
    retract.version = put->version;
    retract.if_heads = serve_heads(s, &put->version, NULL);
    retract.n_if_heads = 1;
    Chartmesh__V1__PutReply *reply = SERVE(s, "Records.Retract", &retract);
    assert_int_equal(queued(s, CHARTMESH__V1__LANE__LANE_CONTROL), 2);
    assert_int_equal(serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_NOTICE), 1);
    Chartmesh__V1__InclusionRequest proof = CHARTMESH__V1__INCLUSION_REQUEST__INIT;
    proof.receipt = reply->receipt;
    uint64_t index = ((Chartmesh__V1__InclusionReply *)SERVE(s, "Audit.Inclusion", &proof))->at->index;
    AUTO_ARENA(arena, 1 << 20);
    node_entry(s->node, index, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WRITE, &arena);
}

static void test_consents__a_raised_label_is_noticed(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutReply *put = serve_put(s, subject, NULL, "one");
    set(s, N, NULL);
    hand_over(s, put->version);
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    labels.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R;
    request.subject = subject;
    request.document = put->document;
    request.facts = serve_facts(s);
    request.facts->labels = &labels;
    request.if_heads = serve_heads(s, &put->version, NULL);
    request.n_if_heads = 1;
    SERVE(s, "Records.Put", &request);
    assert_int_equal(serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_NOTICE), 1);
}

static void test_consents__explain_says_why(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutReply *put = serve_put(s, subject, NULL, "one");
    Chartmesh__V1__ExplainRequest request = CHARTMESH__V1__EXPLAIN_REQUEST__INIT;
    Chartmesh__V1__Coding role = CHARTMESH__V1__CODING__INIT;
    role.system = (char *)(uintptr_t)NODE_ROLES;
    role.code = (char *)(uintptr_t) "physician";
    request.subject = subject;
    request.document = put->document;
    request.role = &role;
    request.purpose = (char *)(uintptr_t) "TREAT";
    Chartmesh__V1__ExplainReply *reply = SERVE(s, "Consents.Explain", &request);
    assert_int_equal(reply->effect, CHARTMESH__V1__EFFECT__EFFECT_PERMIT);
    assert_int_equal(reply->n_reasons, 1);
    request.action = CHARTMESH__V1__ACTION__ACTION_DISCLOSE;
    request.facility = pb_bytes(BYTES_OF(s->federation->members[1].id));
    reply = SERVE(s, "Consents.Explain", &request);
    assert_int_equal(reply->effect, CHARTMESH__V1__EFFECT__EFFECT_DENY);
    set(s, N, NULL);
    reply = SERVE(s, "Consents.Explain", &request);
    assert_int_equal(reply->effect, CHARTMESH__V1__EFFECT__EFFECT_PERMIT);
    assert_int_equal(reply->n_basis, 1);
    request.document = (ProtobufCBinaryData){0};
    SERVE_FAILS(s, "Consents.Explain", &request, ERR_INVALID, FIELD_MISSING, "document");
}

static void test_consents__who_has_no_row_may_not_ask(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__GetPolicyRequest get = CHARTMESH__V1__GET_POLICY_REQUEST__INIT;
    Chartmesh__V1__CasesRequest cases = CHARTMESH__V1__CASES_REQUEST__INIT;
    struct id nobody = {{3}};
    Chartmesh__V1__Subject stranger = CHARTMESH__V1__SUBJECT__INIT;
    stranger.patient = pb_bytes(BYTES_OF(nobody));
    get.subject = &stranger;
    SERVE_FAILS(s, "Consents.GetPolicy", &get, ERR_NOT_FOUND, NOT_AVAILABLE, "");
    serve_as(s, "app/emr", "carl", "urn:x|janitor", "TREAT");
    get.subject = subject;
    SERVE_FAILS(s, "Consents.GetPolicy", &get, ERR_DENIED, NOT_PERMITTED, "");
    SERVE_FAILS(s, "Consents.Cases", &cases, ERR_DENIED, NOT_PERMITTED, "");
}

/* ---- Signed by its assertor ------------------------------------------------------------------------------------------ */

/* The patient's own key, enrolled at the facility. */
static struct signing_key *enrol(struct serve *s)
{
    struct err err;
    struct signing_key *key = NULL;
    struct hash seed = {{0x70}};
    Chartmesh__V1__Key message = CHARTMESH__V1__KEY__INIT;
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant from = CHARTMESH__V1__INSTANT__INIT;
    struct statement statement;
    assert_ok(signing_key_new(&seed, &key, &err));
    from.ms = 1;
    valid.from = &from;
    assert_ok(chart_head(s->node->chart, &s->arena, &message.head, &err));
    message.public_key = pb_bytes(BYTES_OF(*signing_key_public(key)));
    message.use = CHARTMESH__V1__USE__USE_PATIENT;
    message.holder = (char *)(uintptr_t)serve_spiffe(s, "patient/1");
    message.valid = &valid;
    message.subject = subject;
    const struct signing_key *both[] = {s->node->member->statement, key};
    assert_ok(statement_sign(STATEMENT_KEY, &message.base, both, 2, &s->arena, &statement, &err));
    struct log_txn *txn = log_txn_new(s->node->log);
    assert_ok(chart_trust_add(s->node->chart, txn, &statement.envelope, 1, &err));
    assert_ok(log_commit(txn, NULL, &err));
    return key;
}

static Chartmesh__V1__Envelope *sign_policy(struct serve *s, const struct signing_key *key,
                                            Chartmesh__V1__Subject *of)
{
    struct err err;
    Chartmesh__V1__Policy policy = CHARTMESH__V1__POLICY__INIT;
    Chartmesh__V1__Dot dot = CHARTMESH__V1__DOT__INIT;
    Chartmesh__V1__Assertor assertor = CHARTMESH__V1__ASSERTOR__INIT;
    struct statement statement;
    struct grant g;
    make_grant(s, &g, N, NULL);
    dot.tag = 77;
    dot.counter = 1;
    assertor.who = CHARTMESH__V1__WHO__WHO_PATIENT;
    assert_ok(chart_head(s->node->chart, &s->arena, &policy.head, &err));
    policy.subject = of;
    policy.dot = &dot;
    policy.assertor = &assertor;
    policy.rules = g.rules;
    policy.n_rules = 1;
    assert_ok(statement_sign(STATEMENT_POLICY, &policy.base, &key, 1, &s->arena, &statement, &err));
    ProtobufCAllocator allocator = {arena_unpack_alloc, arena_unpack_free, &s->arena};
    return chartmesh__v1__envelope__unpack(&allocator, statement.envelope.len, statement.envelope.data);
}

static void test_consents__a_patient_signs_their_own_policy(void **state)
{
    struct serve *s = *state;
    struct signing_key *key = enrol(s);
    Chartmesh__V1__SetPolicyRequest request = CHARTMESH__V1__SET_POLICY_REQUEST__INIT;
    request.subject = subject;
    request.signed_ = sign_policy(s, key, subject);
    Chartmesh__V1__SetPolicyReply *reply = SERVE(s, "Consents.SetPolicy", &request);
    assert_int_equal(reply->grants, 1);
    SERVE_FAILS(s, "Consents.SetPolicy", &request, ERR_EXISTS, ALREADY_EXISTS, "");
    signing_key_free(key);
}

static void test_consents__another_key_or_another_patient_is_refused(void **state)
{
    struct serve *s = *state;
    struct err err;
    struct signing_key *key = enrol(s), *stranger = NULL;
    struct hash seed = {{0x71}};
    assert_ok(signing_key_new(&seed, &stranger, &err));
    Chartmesh__V1__SetPolicyRequest request = CHARTMESH__V1__SET_POLICY_REQUEST__INIT;
    request.subject = subject;
    request.signed_ = sign_policy(s, stranger, subject);
    assert_false(serve_call(s, "Consents.SetPolicy", &request.base, NULL));
    assert_int_equal(s->err.code, ERR_INVALID);
    request.signed_ = sign_policy(s, key, subject);
    request.signed_->signatures[0]->sig.data[0] ^= 1;
    assert_false(serve_call(s, "Consents.SetPolicy", &request.base, NULL));
    assert_int_equal(s->err.reason, SERVE_REASON(SIGNATURE_INVALID));
    request.signed_->payload.len--;
    assert_false(serve_call(s, "Consents.SetPolicy", &request.base, NULL));
    assert_true(s->err.reason == SERVE_REASON(MALFORMED) || s->err.reason == SERVE_REASON(NOT_CANONICAL));
    request.subject = serve_register(s, "4712")->subject;
    request.signed_ = sign_policy(s, key, subject);
    SERVE_FAILS(s, "Consents.SetPolicy", &request, ERR_INVALID, POLICY_INVALID, "signed");
    assert_int_equal(serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_POLICY), 0);
    signing_key_free(key);
    signing_key_free(stranger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_consents__##name, setup, teardown)
        TEST(a_policy_is_kept_versioned_and_read),
        TEST(a_policy_that_breaks_the_rules_is_refused),
        TEST(a_grant_queues_what_is_gained),
        TEST(a_revocation_orders_everything_back_and_opens_a_case),
        TEST(I8_a_retraction_reaches_who_may_have_no_more),
        TEST(a_raised_label_is_noticed),
        TEST(explain_says_why),
        TEST(who_has_no_row_may_not_ask),
        TEST(a_patient_signs_their_own_policy),
        TEST(another_key_or_another_patient_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
