/* Relabel: labels that change without the content. (Retract is tested with the other writes.) */
#include "node/service/service.h"

#include "tests/lib/service.h"

#define N CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N
#define R CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R

struct scene {
    struct serve *s;
    Chartmesh__V1__Subject *subject;
    struct subject own;
    Chartmesh__V1__PutReply *put;
    Chartmesh__V1__Labels labels;
    Chartmesh__V1__Coding code, *codes[1];
};

static int setup(void **state)
{
    static struct scene at;
    struct id facility, patient;
    at = (struct scene){.s = serve_new(2, 0)};
    at.subject = serve_register(at.s, "4711")->subject;
    assert_true(id_from(bytes_pb(at.subject->facility), &facility) &&
                id_from(bytes_pb(at.subject->patient), &patient));
    at.own = subject_make(&facility, &patient);
    at.put = serve_put(at.s, at.subject, NULL, "what was seen");
    chartmesh__v1__labels__init(&at.labels);
    chartmesh__v1__coding__init(&at.code);
    at.code.system = (char *)(uintptr_t) "http://terminology.hl7.org/CodeSystem/v3-ActCode";
    at.code.code = (char *)(uintptr_t) "PSY";
    at.codes[0] = &at.code;
    *state = &at;
    return 0;
}

static int teardown(void **state)
{
    struct scene *at = *state;
    serve_free(at->s);
    return 0;
}

static Chartmesh__V1__RelabelRequest request_on(struct scene *at, const Chartmesh__V1__PutReply *head,
                                                Chartmesh__V1__Confidentiality confidentiality, bool sensitive)
{
    Chartmesh__V1__RelabelRequest request = CHARTMESH__V1__RELABEL_REQUEST__INIT;
    request.subject = at->subject;
    request.document = head->document;
    request.version = head->version;
    request.if_heads = serve_heads(at->s, &head->version, NULL);
    request.n_if_heads = 1;
    request.labels = &at->labels;
    at->labels.confidentiality = confidentiality;
    at->labels.sensitivity = at->codes;
    at->labels.n_sensitivity = sensitive;
    return request;
}

static Chartmesh__V1__GetReply *get(struct scene *at)
{
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    request.subject = at->subject;
    request.document = at->put->document;
    return SERVE(at->s, "Records.Get", &request);
}

/* Member 1 may have what is up to N, and has the document. */
static void share(struct scene *at)
{
    AUTO_ARENA(arena, 16 << 20);
    struct hash id;
    struct gate_item item;
    size_t count;
    const struct id *peer = &at->s->federation->members[1].id;
    assert_true(hash_from(bytes_pb(at->put->version), &id));
    node_grant(at->s->node, &at->own, peer, NULL);
    node_disclose(at->s->node, &at->own, peer, &id, 1, &arena, &item, &count);
    assert_true(item.permit);
}

static uint64_t notices(struct scene *at)
{
    return serve_entries(at->s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_NOTICE);
}

static struct generation generation(struct scene *at)
{
    struct err err;
    struct generation now;
    assert_ok(chart_generation(at->s->node->chart, &at->own, &now, &err));
    return now;
}

static void test_relabel__labels_go_up_and_down_and_the_content_stays(void **state)
{
    struct scene *at = *state;
    const struct generation before = generation(at);
    Chartmesh__V1__RelabelRequest request = request_on(at, at->put, R, false);
    Chartmesh__V1__PutReply *raised = SERVE(at->s, "Records.Relabel", &request);
    assert_int_equal(generation_compare(generation(at), before), 1);
    serve_as(at->s, "app/emr", "carl", NODE_PSYCHIATRIST, "TREAT");
    assert_int_equal(get(at)->effective_labels->confidentiality, R);
    serve_as(at->s, "app/emr", "alice", NODE_PHYSICIAN, "TREAT");
    request = request_on(at, raised, N, false);
    SERVE(at->s, "Records.Relabel", &request);
    Chartmesh__V1__GetReply *read = get(at);
    assert_int_equal(read->n_heads, 1);
    assert_int_equal(read->effective_labels->confidentiality, N);
    assert_bytes_equal(bytes_pb(read->heads[0]->content), BYTES_LIT("what was seen"));
}

static void test_relabel__an_amendment_may_not_lower_what_it_may(void **state)
{
    struct scene *at = *state;
    Chartmesh__V1__RelabelRequest raise = request_on(at, at->put, R, false);
    Chartmesh__V1__PutReply *raised = SERVE(at->s, "Records.Relabel", &raise);
    Chartmesh__V1__PutRequest lower = CHARTMESH__V1__PUT_REQUEST__INIT;
    at->labels.confidentiality = N;
    lower.subject = at->subject;
    lower.document = at->put->document;
    lower.if_heads = serve_heads(at->s, &raised->version, NULL);
    lower.n_if_heads = 1;
    lower.facts = serve_facts(at->s);
    lower.facts->labels = &at->labels;
    SERVE_FAILS(at->s, "Records.Put", &lower, ERR_INVALID, LABELS_LOWERED, "facts.labels");
}

static void test_relabel__I8_a_code_alone_is_noticed_by_all_who_have_it(void **state)
{
    struct scene *at = *state;
    share(at);
    Chartmesh__V1__RelabelRequest request = request_on(at, at->put, N, true);
    Chartmesh__V1__PutReply *raised = SERVE(at->s, "Records.Relabel", &request);
    assert_int_equal(notices(at), 1);
    request = request_on(at, raised, N, false);
    SERVE(at->s, "Records.Relabel", &request);
    assert_int_equal(notices(at), 1); /* going down is no notice */
}

static void test_relabel__a_code_that_an_amendment_adds_is_noticed_too(void **state)
{
    struct scene *at = *state;
    share(at);
    Chartmesh__V1__RelabelRequest like = request_on(at, at->put, N, true);
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    request.subject = at->subject;
    request.document = at->put->document;
    request.if_heads = like.if_heads;
    request.n_if_heads = 1;
    request.facts = serve_facts(at->s);
    request.facts->labels = like.labels;
    SERVE(at->s, "Records.Put", &request);
    assert_int_equal(notices(at), 1);
}

static void test_relabel__what_cannot_be_is_refused(void **state)
{
    struct scene *at = *state;
    Chartmesh__V1__RelabelRequest request = request_on(at, at->put, N, false);
    SERVE_FAILS(at->s, "Records.Relabel", &request, ERR_INVALID, FIELD_INVALID, "labels");
    request.labels = NULL;
    SERVE_FAILS(at->s, "Records.Relabel", &request, ERR_INVALID, FIELD_MISSING, "labels");
    request = request_on(at, at->put, R, false);
    request.n_if_heads = 0;
    SERVE_FAILS(at->s, "Records.Relabel", &request, ERR_INVALID, FIELD_MISSING, "if_heads");
    request = request_on(at, at->put, R, false);
    Chartmesh__V1__Subject foreign = *at->subject;
    foreign.facility = pb_bytes(BYTES_OF(at->s->federation->members[1].id));
    request.subject = &foreign;
    SERVE_FAILS(at->s, "Records.Relabel", &request, ERR_STATE, NOT_ORIGIN, "");
    request = request_on(at, at->put, R, false);
    serve_as(at->s, "app/emr", "carl", NODE_CLERK, "TREAT");
    SERVE_FAILS(at->s, "Records.Relabel", &request, ERR_DENIED, NOT_PERMITTED, "");
    serve_as(at->s, "app/emr", "alice", NODE_PHYSICIAN, "TREAT");
    serve_put(at->s, at->subject, at->put, "more");
    SERVE_FAILS(at->s, "Records.Relabel", &request, ERR_CONFLICT, STALE_HEADS, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_relabel__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(labels_go_up_and_down_and_the_content_stays),
        TEST(an_amendment_may_not_lower_what_it_may),
        TEST(I8_a_code_alone_is_noticed_by_all_who_have_it),
        TEST(a_code_that_an_amendment_adds_is_noticed_too),
        TEST(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
