#include "node/service/service.h"

#include "tests/lib/service.h"

static int setup(void **state)
{
    *state = serve_new(2, 0);
    return 0;
}

static int teardown(void **state)
{
    serve_free(*state);
    return 0;
}

static Chartmesh__V1__GetPatientReply *get(struct serve *s, Chartmesh__V1__Subject *subject)
{
    Chartmesh__V1__GetPatientRequest request = CHARTMESH__V1__GET_PATIENT_REQUEST__INIT;
    request.subject = subject;
    return SERVE(s, "Patients.Get", &request);
}

static Chartmesh__V1__LookupReply *lookup(struct serve *s, const char *value)
{
    Chartmesh__V1__LookupRequest request = CHARTMESH__V1__LOOKUP_REQUEST__INIT;
    request.system = (char *)(uintptr_t) "urn:mrn";
    request.value = (char *)(uintptr_t)value;
    return SERVE(s, "Patients.Lookup", &request);
}

static void test_patients__a_registered_patient_is_read_and_found(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__RegisterReply *registered = serve_register(s, "4711");
    Chartmesh__V1__GetPatientReply *read = get(s, registered->subject);
    assert_int_equal(read->n_heads, 1);
    assert_bytes_equal(bytes_pb(read->document), bytes_pb(registered->document));
    assert_non_null(strstr((const char *)read->heads[0]->content.data, "4711"));
    Chartmesh__V1__LookupReply *found = lookup(s, "4711");
    assert_int_equal(found->n_subjects, 1);
    assert_bytes_equal(bytes_pb(found->subjects[0]->patient), bytes_pb(registered->subject->patient));
    assert_int_equal(found->receipt.len, RECEIPT_LEN);
    assert_int_equal(lookup(s, "4712")->n_subjects, 0);
}

static void test_patients__what_is_not_a_patient_is_refused(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__RegisterRequest request = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    SERVE_FAILS(s, "Patients.Register", &request, ERR_INVALID, FIELD_MISSING, "resource");
    static const char *const wrong[] = {
        "{",
        "[]",
        "\"Patient\"",
        "{\"resourceType\":\"Person\"}",
        "{\"resourceType\":7}",
        "{\"resourceType\":\"Patient\",\"identifier\":{}}",
        "{\"resourceType\":\"Patient\",\"resourceType\":\"Patient\"}",
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        request.resource = pb_bytes(bytes_str(wrong[i]));
        SERVE_FAILS(s, "Patients.Register", &request, ERR_INVALID, FIELD_INVALID, "resource");
    }
    static uint8_t large[(1 << 20) + 1];
    request.resource = pb_bytes(BYTES(large, sizeof large));
    SERVE_FAILS(s, "Patients.Register", &request, ERR_INVALID, TOO_LARGE, "resource");
}

static void test_patients__an_update_moves_the_identifiers(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__RegisterReply *registered = serve_register(s, "4711");
    Chartmesh__V1__UpdateRequest request = CHARTMESH__V1__UPDATE_REQUEST__INIT;
    request.subject = registered->subject;
    request.resource = pb_bytes(bytes_str("{\"resourceType\":\"Patient\",\"identifier\":[{\"system\":\"urn:mrn\","
                                          "\"value\":\"0815\"},{\"value\":\"1\"}]}"));
    SERVE_FAILS(s, "Patients.Update", &request, ERR_INVALID, FIELD_MISSING, "if_heads");
    request.if_heads = serve_heads(s, &registered->version, NULL);
    request.n_if_heads = 1;
    Chartmesh__V1__UpdateReply *updated = SERVE(s, "Patients.Update", &request);
    assert_int_equal(lookup(s, "4711")->n_subjects, 0);
    assert_int_equal(lookup(s, "0815")->n_subjects, 1);
    assert_bytes_equal(bytes_pb(get(s, registered->subject)->heads[0]->version), bytes_pb(updated->version));
    SERVE_FAILS(s, "Patients.Update", &request, ERR_CONFLICT, STALE_HEADS, "");
    Chartmesh__V1__Subject foreign = *registered->subject;
    foreign.facility = pb_bytes(BYTES_OF(s->federation->members[1].id));
    request.subject = &foreign;
    SERVE_FAILS(s, "Patients.Update", &request, ERR_STATE, NOT_ORIGIN, "");
}

static void test_patients__the_same_import_registers_once(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__ImportKey key = CHARTMESH__V1__IMPORT_KEY__INIT;
    Chartmesh__V1__RegisterRequest request = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    key.system = (char *)(uintptr_t) "urn:source";
    key.id = (char *)(uintptr_t) "p1";
    request.import_key = &key;
    request.resource = pb_bytes(bytes_str("{\"resourceType\":\"Patient\"}"));
    Chartmesh__V1__RegisterReply *first = SERVE(s, "Patients.Register", &request);
    Chartmesh__V1__RegisterReply *again = SERVE(s, "Patients.Register", &request);
    assert_true(again->unchanged);
    assert_bytes_equal(bytes_pb(again->subject->patient), bytes_pb(first->subject->patient));
    request.resource = pb_bytes(bytes_str("{\"resourceType\":\"Patient\",\"gender\":\"other\"}"));
    SERVE_FAILS(s, "Patients.Register", &request, ERR_EXISTS, ALREADY_EXISTS, "");
}

static void test_patients__I9_who_may_not_find_finds_what_is_not_there(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__RegisterReply *registered = serve_register(s, "4711");
    Chartmesh__V1__GetPatientRequest request = CHARTMESH__V1__GET_PATIENT_REQUEST__INIT;
    Chartmesh__V1__Subject stranger = CHARTMESH__V1__SUBJECT__INIT;
    struct id nobody = {{7}};
    stranger.patient = pb_bytes(BYTES_OF(nobody));
    serve_as(s, "app/emr", "carl", NODE_CLERK, "TREAT");
    Chartmesh__V1__LookupReply *denied = lookup(s, "4711"), *absent = lookup(s, "4712");
    assert_int_equal(denied->n_subjects, 0);
    assert_int_equal(absent->n_subjects, 0);
    assert_int_equal(denied->receipt.len, absent->receipt.len);
    request.subject = registered->subject;
    SERVE_FAILS(s, "Patients.Get", &request, ERR_NOT_FOUND, NOT_AVAILABLE, "");
    struct err before = s->err;
    request.subject = &stranger;
    SERVE_FAILS(s, "Patients.Get", &request, ERR_NOT_FOUND, NOT_AVAILABLE, "");
    assert_string_equal(before.text, s->err.text);
}

static void test_patients__an_unlisted_role_may_not_look_up(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__LookupRequest request = CHARTMESH__V1__LOOKUP_REQUEST__INIT;
    SERVE_FAILS(s, "Patients.Lookup", &request, ERR_INVALID, FIELD_MISSING, "system");
    request.system = (char *)(uintptr_t) "urn:mrn";
    request.value = (char *)(uintptr_t) "1";
    serve_as(s, "app/emr", "carl", "urn:x|janitor", "TREAT");
    SERVE_FAILS(s, "Patients.Lookup", &request, ERR_DENIED, NOT_PERMITTED, "");
}

/* ---- What another facility disclosed -------------------------------------------------------------------------------- */

static struct id id_of(ProtobufCBinaryData field)
{
    struct id id = {{0}};
    assert_true(id_from(bytes_pb(field), &id));
    return id;
}

static struct hash hash_of_pb(ProtobufCBinaryData field)
{
    struct hash hash = {{0}};
    assert_true(hash_from(bytes_pb(field), &hash));
    return hash;
}

static void hand_over(struct serve *from, struct serve *to, const struct subject *subject, struct hash version)
{
    AUTO_ARENA(arena, 16 << 20);
    struct gate_item item;
    size_t count;
    struct bytes *disclosures =
        node_disclose(from->node, subject, &to->node->member->id, &version, 1, &arena, &item, &count);
    assert_true(item.permit);
    node_receive(to->node, &item, disclosures[0]);
}

static void test_patients__incoming_subjects_show_with_what_was_disclosed(void **state)
{
    struct serve *s = *state, *holder = serve_beside(s, 1);
    Chartmesh__V1__RegisterReply *registered = serve_register(s, "4711");
    Chartmesh__V1__PutReply *put = serve_put(s, registered->subject, NULL, "shared");
    struct id facility = id_of(registered->subject->facility), patient = id_of(registered->subject->patient);
    struct subject subject = subject_make(&facility, &patient);
    Chartmesh__V1__IncomingRequest request = CHARTMESH__V1__INCOMING_REQUEST__INIT;
    assert_int_equal(((Chartmesh__V1__IncomingReply *)SERVE(holder, "Patients.Incoming", &request))->n_subjects,
                     0);
    node_grant(s->node, &subject, &holder->node->member->id, NULL);
    hand_over(s, holder, &subject, hash_of_pb(put->version));
    Chartmesh__V1__IncomingReply *page = SERVE(holder, "Patients.Incoming", &request);
    assert_int_equal(page->n_subjects, 1);
    assert_string_equal(page->subjects[0]->domain, "f0.example");
    assert_null(page->subjects[0]->identity);
    hand_over(s, holder, &subject, hash_of_pb(registered->version));
    page = SERVE(holder, "Patients.Incoming", &request);
    assert_int_equal(page->subjects[0]->documents, 2);
    assert_non_null(page->subjects[0]->identity);
    Chartmesh__V1__LookupReply *found = lookup(holder, "4711");
    assert_int_equal(found->n_subjects, 0); /* incoming ones are not looked up */
    serve_as(holder, "app/emr", "carl", NODE_CLERK, "TREAT");
    SERVE_FAILS(holder, "Patients.Incoming", &request, ERR_DENIED, NOT_PERMITTED, "");
    serve_free(holder);
}

static void test_patients__a_holder_amends_as_a_contribution_and_makes_nothing_new(void **state)
{
    struct serve *s = *state, *holder = serve_beside(s, 1);
    Chartmesh__V1__RegisterReply *registered = serve_register(s, "4711");
    Chartmesh__V1__PutReply *put = serve_put(s, registered->subject, NULL, "shared");
    struct id facility = id_of(registered->subject->facility), patient = id_of(registered->subject->patient);
    struct subject subject = subject_make(&facility, &patient);
    node_grant(s->node, &subject, &holder->node->member->id, NULL);
    hand_over(s, holder, &subject, hash_of_pb(put->version));
    Chartmesh__V1__PutReply *amended = serve_put(holder, registered->subject, put, "from the clinic");
    Chartmesh__V1__GetRequest get_request = CHARTMESH__V1__GET_REQUEST__INIT;
    get_request.subject = registered->subject;
    get_request.document = put->document;
    Chartmesh__V1__GetReply *read = SERVE(holder, "Records.Get", &get_request);
    assert_bytes_equal(bytes_pb(read->heads[0]->version), bytes_pb(amended->version));
    assert_true(read->heads[0]->pending);
    AUTO_ARENA(arena, 1 << 20);
    struct err err;
    struct outbox_row *rows;
    size_t count;
    assert_ok(chart_outbox(holder->node->chart, &facility, CHARTMESH__V1__LANE__LANE_BULK, 10, &arena, &rows,
                           &count, &err));
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].kind, ITEM_CONTRIBUTION);
    Chartmesh__V1__PutRequest fresh = CHARTMESH__V1__PUT_REQUEST__INIT;
    fresh.subject = registered->subject;
    fresh.facts = serve_facts(holder);
    SERVE_FAILS(holder, "Records.Put", &fresh, ERR_STATE, NOT_ORIGIN, "");
    struct id document = {{5}};
    fresh.document = pb_bytes(BYTES_OF(document));
    SERVE_FAILS(holder, "Records.Put", &fresh, ERR_STATE, NOT_ORIGIN, "");
    serve_free(holder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_patients__##name, setup, teardown)
        TEST(a_registered_patient_is_read_and_found),
        TEST(what_is_not_a_patient_is_refused),
        TEST(an_update_moves_the_identifiers),
        TEST(the_same_import_registers_once),
        TEST(I9_who_may_not_find_finds_what_is_not_there),
        TEST(an_unlisted_role_may_not_look_up),
        TEST(incoming_subjects_show_with_what_was_disclosed),
        TEST(a_holder_amends_as_a_contribution_and_makes_nothing_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
