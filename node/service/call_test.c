#include "node/service/service.h"

#include "proto/crypto/seal.h"
#include "proto/merkle/checkpoint.h"
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

/* ---- Who calls ----------------------------------------------------------------------------------------------------- */

static void refuse(struct serve *s, const char *name, const char *spiffe, enum err_code code, unsigned reason)
{
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    s->who.spiffe_id = spiffe;
    serve_fails(s, name, &request.base, code, reason, "");
}

static void test_call__a_certificate_names_a_principal_of_this_facility(void **state)
{
    struct serve *s = *state;
    refuse(s, "Records.Get", "", ERR_UNAUTHENTICATED, SERVE_REASON(NO_CERTIFICATE));
    refuse(s, "Records.Get", "spiffe://other/f0.example/app/emr", ERR_DENIED, SERVE_REASON(FOREIGN_CERTIFICATE));
    char *foreign = (char *)(uintptr_t)serve_spiffe(s, "app/emr");
    *strstr(foreign, "f0.example") = 'g';
    refuse(s, "Records.Get", foreign, ERR_DENIED, SERVE_REASON(FOREIGN_CERTIFICATE));
    refuse(s, "Records.Get", serve_spiffe(s, "robot/emr"), ERR_DENIED, SERVE_REASON(FOREIGN_CERTIFICATE));
    refuse(s, "Records.Get", serve_spiffe(s, "app/"), ERR_DENIED, SERVE_REASON(FOREIGN_CERTIFICATE));
    refuse(s, "Records.Get", serve_spiffe(s, "auditor/eve"), ERR_DENIED, SERVE_REASON(NOT_PERMITTED));
    refuse(s, "Authorities.Grant", serve_spiffe(s, "app/emr"), ERR_DENIED, SERVE_REASON(NOT_PERMITTED));
}

static void test_call__user_role_and_purpose_are_needed_and_judged(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    struct service_metadata who = s->who;
    s->who.user = "";
    SERVE_FAILS(s, "Records.Get", &request, ERR_INVALID, FIELD_MISSING, "x-chartmesh-user");
    s->who = who;
    s->who.role = "";
    SERVE_FAILS(s, "Records.Get", &request, ERR_INVALID, FIELD_MISSING, "x-chartmesh-role");
    s->who.role = "physician";
    SERVE_FAILS(s, "Records.Get", &request, ERR_INVALID, FIELD_INVALID, "x-chartmesh-role");
    s->who = who;
    s->who.purpose = "";
    SERVE_FAILS(s, "Records.Get", &request, ERR_INVALID, FIELD_MISSING, "x-chartmesh-purpose");
    s->who.purpose = "FUN";
    SERVE_FAILS(s, "Records.Get", &request, ERR_INVALID, FIELD_INVALID, "x-chartmesh-purpose");
    s->who = who;
    s->who.user = "\xff";
    SERVE_FAILS(s, "Records.Get", &request, ERR_INVALID, FIELD_INVALID, "x-chartmesh-user");
    s->who = who;
    char key[130] = {0};
    memset(key, 'k', sizeof key - 1);
    s->who.idempotency_key = key;
    SERVE_FAILS(s, "Records.Get", &request, ERR_INVALID, FIELD_INVALID, "x-chartmesh-idempotency-key");
}

static void test_call__a_certificate_claims_only_what_the_configuration_lets_it(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    serve_as(s, "app/narrow", "carl", NODE_PHYSICIAN, "TREAT");
    SERVE_FAILS(s, "Records.Get", &request, ERR_DENIED, NOT_PERMITTED, "");
    serve_as(s, "app/narrow", "carl", NODE_CLERK, "ETREAT");
    SERVE_FAILS(s, "Records.Get", &request, ERR_DENIED, NOT_PERMITTED, "");
    serve_as(s, "app/narrow", "carl", NODE_CLERK, "TREAT");
    SERVE_FAILS(s, "Records.Get", &request, ERR_INVALID, FIELD_MISSING, "subject");
}

static void test_call__the_table_has_every_method_once(void **state)
{
    const struct service_method *methods;
    size_t count = service_methods(&methods);
    (void)state;
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        assert_ptr_equal(service_find(methods[i].path), &methods[i]);
        assert_true((methods[i].shape == METHOD_UNARY) == (methods[i].unary != NULL));
        assert_true((methods[i].shape != METHOD_UNARY) == (methods[i].stream != NULL));
        assert_true(methods[i].max_request > 0 && methods[i].kinds != 0);
    }
    assert_null(service_find("/chartmesh.v1.Records/Erase"));
}

/* ---- Tokens -------------------------------------------------------------------------------------------------------- */

static void test_call__a_token_is_bound_to_who_asked_what(void **state)
{
    struct serve *s = *state;
    struct err err;
    struct service_call call = {.service = &s->service, .caller = {.principal = "p"}, .arena = &s->arena};
    struct bytes token, back;
    assert_ok(service_token(&call, "List", BYTES_LIT("q"), BYTES_LIT("state"), &token, &err));
    assert_int_equal(token.len, 128);
    assert_ok(service_token_open(&call, "List", BYTES_LIT("q"), token, "t", &back, &err));
    assert_bytes_equal(back, BYTES_LIT("state"));
    assert_err(ERR_INVALID, service_token_open(&call, "List", BYTES_LIT("r"), token, "t", &back, &err));
    assert_err(ERR_INVALID, service_token_open(&call, "Watch", BYTES_LIT("q"), token, "t", &back, &err));
    assert_int_equal(err.reason, SERVE_REASON(TOKEN_INVALID));
    call.caller.principal = "other";
    assert_err(ERR_INVALID, service_token_open(&call, "List", BYTES_LIT("q"), token, "t", &back, &err));
}

static void test_call__a_token_of_another_incarnation_says_resync(void **state)
{
    struct serve *s = *state;
    struct err err;
    struct service_call call = {.service = &s->service, .caller = {.principal = "p"}, .arena = &s->arena};
    const struct hash *key = keys_facility(s->node->keys, FACILITY_KEY_TOKEN);
    const struct bytes aad = BYTES_LIT("chartmesh token v1\n");
    struct bytes token, plain, back;
    assert_ok(service_token(&call, "List", BYTES_LIT("q"), BYTES_LIT("state"), &token, &err));
    assert_ok(seal_open(key, aad, token, &s->arena, &plain, &err));
    put_u64be((uint8_t *)(uintptr_t)plain.data, log_incarnation(s->node->log) ^ 1);
    assert_ok(seal_random(key, aad, plain, &s->arena, &token, &err));
    assert_err(ERR_CONFLICT, service_token_open(&call, "List", BYTES_LIT("q"), token, "t", &back, &err));
    assert_int_equal(err.reason, SERVE_REASON(RESYNC));
}

/* ---- Retries at once ------------------------------------------------------------------------------------------------- */

struct at_once {
    struct serve *serve;
    struct service_call call;
    ProtobufCMessage *reply;
    Chartmesh__V1__RegisterRequest request;
    bool ok;
};

static void run_at_once(void *arg)
{
    struct at_once *one = arg;
    const struct service_method *method = service_find("/chartmesh.v1.Patients/Register");
    struct err err;
    one->ok = service_caller(&one->serve->service, method, &one->serve->who, one->call.arena, &one->call, &err) &&
              service_unary(method, &one->call, &one->request.base, &one->reply, &err);
}

static void test_call__two_calls_with_one_key_do_one_thing(void **state)
{
    struct serve *s = *state;
    struct err err;
    struct world_lane *lane = NULL;
    struct at_once calls[4] = {0};
    struct arena arenas[4];
    s->who.idempotency_key = "key";
    assert_ok(world_lane_open(s->node->world, "service", 4, &lane, &err));
    for (size_t i = 0; i < COUNT(calls); i++) {
        arena_init(&arenas[i], 8 << 20);
        calls[i].serve = s;
        calls[i].call.arena = &arenas[i];
        chartmesh__v1__register_request__init(&calls[i].request);
        calls[i].request.resource = pb_bytes(BYTES_LIT("{\"resourceType\":\"Patient\"}"));
        world_submit(lane, run_at_once, &calls[i]);
    }
    world_lane_close(lane);
    for (size_t i = 0; i < COUNT(calls); i++) {
        const Chartmesh__V1__RegisterReply *first = (const void *)calls[0].reply,
                                           *reply = (const void *)calls[i].reply;
        assert_true(calls[i].ok);
        assert_bytes_equal(bytes_pb(reply->version), bytes_pb(first->version));
        assert_int_equal(reply->receipt.len, RECEIPT_LEN);
    }
    assert_int_equal(serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WRITE), 1);
    for (size_t i = 0; i < COUNT(arenas); i++) {
        arena_done(&arenas[i]);
    }
}

static void test_call__a_kept_reply_is_forgotten_after_its_time(void **state)
{
    struct serve *s = *state;
    s->who.idempotency_key = "key 1";
    Chartmesh__V1__RegisterReply *first = serve_register(s, "1");
    world_sim_set_skew(s->node->world, INT64_C(7) * 24 * 60 * 60 * 1000);
    Chartmesh__V1__RegisterReply *kept = serve_register(s, "1");
    assert_bytes_equal(bytes_pb(kept->version), bytes_pb(first->version));
    world_sim_set_skew(s->node->world, INT64_C(9) * 24 * 60 * 60 * 1000);
    s->who.idempotency_key = "key 2";
    serve_register(s, "2"); /* sweeps */
    s->who.idempotency_key = "key 1";
    Chartmesh__V1__RegisterReply *fresh = serve_register(s, "1");
    assert_false(bytes_equal(bytes_pb(fresh->version), bytes_pb(first->version)));
}

/* ---- Authorities, Admin, Audit --------------------------------------------------------------------------------------- */

static void test_call__an_authority_is_granted_and_listed(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__GrantAuthorityRequest request = CHARTMESH__V1__GRANT_AUTHORITY_REQUEST__INIT;
    Chartmesh__V1__ListAuthoritiesRequest all = CHARTMESH__V1__LIST_AUTHORITIES_REQUEST__INIT;
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant from = CHARTMESH__V1__INSTANT__INIT;
    struct hash small_order = {{1}};
    from.ms = 1;
    valid.from = &from;
    serve_as(s, "admin/root", "", "", "");
    SERVE_FAILS(s, "Authorities.Grant", &request, ERR_INVALID, FIELD_INVALID, "duty");
    request.duty = CHARTMESH__V1__DUTY__DUTY_AUDIT;
    SERVE_FAILS(s, "Authorities.Grant", &request, ERR_INVALID, FIELD_MISSING, "holder");
    request.holder = (char *)(uintptr_t)serve_spiffe(s, "auditor/eve");
    SERVE_FAILS(s, "Authorities.Grant", &request, ERR_INVALID, FIELD_MISSING, "key");
    request.key = pb_bytes(BYTES_OF(small_order));
    SERVE_FAILS(s, "Authorities.Grant", &request, ERR_INVALID, KEY_INVALID, "key");
    request.key = pb_bytes(BYTES_OF(*signing_key_public(s->federation->members[1].statement)));
    SERVE_FAILS(s, "Authorities.Grant", &request, ERR_INVALID, FIELD_MISSING, "valid");
    request.valid = &valid;
    Chartmesh__V1__GrantAuthorityReply *granted = SERVE(s, "Authorities.Grant", &request);
    assert_int_equal(granted->receipt.len, RECEIPT_LEN);
    assert_int_equal(serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_AUTHORITY), 1);
    serve_restart(s);
    Chartmesh__V1__ListAuthoritiesReply *list = SERVE(s, "Authorities.List", &all);
    assert_int_equal(list->n_authorities, 1);
    all.holder = (char *)(uintptr_t) "spiffe://nobody";
    assert_int_equal(((Chartmesh__V1__ListAuthoritiesReply *)SERVE(s, "Authorities.List", &all))->n_authorities,
                     0);
}

static void test_call__status_and_peers_say_how_the_node_is(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__StatusRequest request = CHARTMESH__V1__STATUS_REQUEST__INIT;
    Chartmesh__V1__PeersRequest peers = CHARTMESH__V1__PEERS_REQUEST__INIT;
    serve_register(s, "4711");
    serve_as(s, "admin/root", "", "", "");
    Chartmesh__V1__StatusReply *status = SERVE(s, "Admin.Status", &request);
    assert_int_equal(status->state, CHARTMESH__V1__NODE_STATE__NODE_STATE_SERVING);
    assert_int_equal(status->subjects, 1);
    assert_int_equal(status->documents, 1);
    assert_int_equal(status->log_size, log_size(s->node->log).size);
    assert_string_equal(status->domain, "f0.example");
    Chartmesh__V1__ReloadRequest reload = CHARTMESH__V1__RELOAD_REQUEST__INIT;
    SERVE_FAILS(s, "Admin.Reload", &reload, ERR_STATE, STATE, "");
    Chartmesh__V1__PeersReply *reply = SERVE(s, "Admin.Peers", &peers);
    assert_int_equal(reply->n_peers, 1);
    assert_string_equal(reply->peers[0]->domain, "f1.example");
}

static void test_call__checkpoints_and_proofs_hold_together(void **state)
{
    struct serve *s = *state;
    struct err err;
    struct checkpoint before, after;
    Chartmesh__V1__CheckpointRequest newest = CHARTMESH__V1__CHECKPOINT_REQUEST__INIT;
    Chartmesh__V1__ConsistencyRequest request = CHARTMESH__V1__CONSISTENCY_REQUEST__INIT;
    serve_register(s, "1");
    Chartmesh__V1__CheckpointReply *note = SERVE(s, "Audit.Checkpoint", &newest);
    assert_ok(checkpoint_open(bytes_pb(note->note), NULL, 0, &before, &err));
    assert_non_null(note->epoch);
    for (int i = 0; i < 5; i++) {
        serve_register(s, "2");
    }
    request.from = before.size;
    Chartmesh__V1__ConsistencyReply *proof = SERVE(s, "Audit.Consistency", &request);
    assert_ok(checkpoint_open(bytes_pb(proof->checkpoint), NULL, 0, &after, &err));
    struct hash path[128];
    for (size_t i = 0; i < proof->n_path; i++) {
        assert_true(hash_from(bytes_pb(proof->path[i]), &path[i]));
    }
    assert_true(merkle_consistent(before.size, after.size, &before.root, &after.root, path, proof->n_path));
    request.to = after.size + 1;
    SERVE_FAILS(s, "Audit.Consistency", &request, ERR_RANGE, RANGE_INVALID, "to");
    request.to = 1;
    SERVE_FAILS(s, "Audit.Consistency", &request, ERR_RANGE, RANGE_INVALID, "from");
    Chartmesh__V1__InclusionRequest inclusion = CHARTMESH__V1__INCLUSION_REQUEST__INIT;
    SERVE_FAILS(s, "Audit.Inclusion", &inclusion, ERR_INVALID, FIELD_MISSING, "receipt");
    inclusion.receipt = serve_register(s, "3")->receipt;
    inclusion.size = 1;
    SERVE_FAILS(s, "Audit.Inclusion", &inclusion, ERR_RANGE, RANGE_INVALID, "size");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_call__##name, setup, teardown)
        TEST(a_certificate_names_a_principal_of_this_facility),
        TEST(user_role_and_purpose_are_needed_and_judged),
        TEST(a_certificate_claims_only_what_the_configuration_lets_it),
        TEST(the_table_has_every_method_once),
        TEST(a_token_is_bound_to_who_asked_what),
        TEST(a_token_of_another_incarnation_says_resync),
        TEST(two_calls_with_one_key_do_one_thing),
        TEST(a_kept_reply_is_forgotten_after_its_time),
        TEST(an_authority_is_granted_and_listed),
        TEST(status_and_peers_say_how_the_node_is),
        TEST(checkpoints_and_proofs_hold_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
