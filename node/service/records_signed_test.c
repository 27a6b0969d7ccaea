/* Prepare, PutSigned and the keys that sign: what an author signed is what is kept, and nothing else gets in. */
#include "node/service/service.h"

#include "proto/chartmesh/v1/keys.pb-c.h"
#include "proto/chartmesh/v1/message.h"
#include "proto/content/content.h"
#include "tests/lib/service.h"

#define DAY_MS ((int64_t)24 * 60 * 60 * 1000)

struct scene {
    struct serve *s;
    Chartmesh__V1__Subject *subject;
    struct signing_key *key, *other;
    ProtobufCBinaryData key_id;
};

static char *words(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void as_app(struct scene *at)
{
    serve_as(at->s, "app/emr", "alice", NODE_PHYSICIAN, "TREAT");
}

static void as_admin(struct scene *at)
{
    serve_as(at->s, "admin/root", "", "", "");
}

/* ---- Enrolling ---------------------------------------------------------------------------------------------------- */

struct asked {
    const char *holder;
    struct id facility;
    const struct signing_key *signs;
};

static struct asked ask(struct scene *at)
{
    return (struct asked){"app/emr", at->s->node->member->id, at->key};
}

static Chartmesh__V1__EnrolKeyRequest enrol_request(struct scene *at, const struct asked *asked)
{
    struct err err;
    struct bytes payload;
    Chartmesh__V1__Key key = CHARTMESH__V1__KEY__INIT;
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant from = CHARTMESH__V1__INSTANT__INIT;
    Chartmesh__V1__EnrolKeyRequest request = CHARTMESH__V1__ENROL_KEY_REQUEST__INIT;
    from.ms = 1;
    valid.from = &from;
    assert_ok(head_make(&at->s->federation->network, &asked->facility, world_hlc(at->s->node->world),
                        &at->s->arena, &key.head, &err));
    key.public_key = pb_bytes(BYTES_OF(*signing_key_public(at->key)));
    key.use = CHARTMESH__V1__USE__USE_AUTHOR;
    key.holder = words(serve_spiffe(at->s, asked->holder));
    key.valid = &valid;
    assert_ok(canonical_pack(&key.base, &at->s->arena, &payload, &err));
    request.statement = serve_envelope(at->s, STATEMENT_KEY, payload, asked->signs);
    return request;
}

static Chartmesh__V1__EnrolKeyReply *enrol(struct scene *at)
{
    const struct asked asked = ask(at);
    Chartmesh__V1__EnrolKeyRequest request = enrol_request(at, &asked);
    as_admin(at);
    Chartmesh__V1__EnrolKeyReply *reply = SERVE(at->s, "Keys.Enrol", &request);
    as_app(at);
    at->key_id = reply->key;
    return reply;
}

static void revoke(struct scene *at)
{
    Chartmesh__V1__RevokeKeyRequest request = CHARTMESH__V1__REVOKE_KEY_REQUEST__INIT;
    request.key = at->key_id;
    request.reason = CHARTMESH__V1__REASON__REASON_LOST;
    as_admin(at);
    SERVE(at->s, "Keys.Revoke", &request);
    as_app(at);
}

static int setup(void **state)
{
    static struct scene at;
    struct err err;
    const struct hash one = {{0x61}}, two = {{0x62}};
    at = (struct scene){.s = serve_new(2, 0)};
    at.subject = serve_register(at.s, "4711")->subject;
    assert_ok(signing_key_new(&one, &at.key, &err));
    assert_ok(signing_key_new(&two, &at.other, &err));
    *state = &at;
    return 0;
}

static int teardown(void **state)
{
    struct scene *at = *state;
    signing_key_free(at->key);
    signing_key_free(at->other);
    serve_free(at->s);
    return 0;
}

/* ---- Preparing and putting ---------------------------------------------------------------------------------------- */

static const struct hash salt = {{7}};

static Chartmesh__V1__Prepared *prepare(struct scene *at, const Chartmesh__V1__PutReply *on, const char *content)
{
    struct hash root, commitment = content_commit(&salt, bytes_str(content), &root);
    Chartmesh__V1__PrepareItem item = CHARTMESH__V1__PREPARE_ITEM__INIT, *items[] = {&item};
    Chartmesh__V1__PrepareRequest request = CHARTMESH__V1__PREPARE_REQUEST__INIT;
    item.subject = at->subject;
    item.facts = serve_facts(at->s);
    item.commitment = pb_bytes(BYTES_OF(commitment));
    item.length = strlen(content);
    if (on) {
        item.document = on->document;
        item.if_heads = serve_heads(at->s, &on->version, NULL);
        item.n_if_heads = 1;
    }
    request.items = items;
    request.n_items = 1;
    Chartmesh__V1__PrepareReply *reply = SERVE(at->s, "Records.Prepare", &request);
    assert_int_equal(reply->n_prepared, 1);
    assert_true(reply->expires->ms > 0);
    return reply->prepared[0];
}

static Chartmesh__V1__PutSignedRequest signed_request(struct scene *at, const Chartmesh__V1__Prepared *prepared,
                                                      struct bytes payload, const char *content)
{
    Chartmesh__V1__PutSignedRequest request = CHARTMESH__V1__PUT_SIGNED_REQUEST__INIT;
    request.statement = serve_envelope(at->s, STATEMENT_VERSION, payload, at->key);
    request.preparation = prepared->preparation;
    request.salt = pb_bytes(BYTES_OF(salt));
    request.content = pb_bytes(bytes_str(content));
    return request;
}

static Chartmesh__V1__PutReply *put_signed(struct scene *at, const Chartmesh__V1__PutReply *on,
                                           const char *content)
{
    Chartmesh__V1__Prepared *prepared = prepare(at, on, content);
    Chartmesh__V1__PutSignedRequest request = signed_request(at, prepared, bytes_pb(prepared->payload), content);
    return SERVE(at->s, "Records.PutSigned", &request);
}

static Chartmesh__V1__GetReply *get(struct scene *at, ProtobufCBinaryData document)
{
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    request.subject = at->subject;
    request.document = document;
    return SERVE(at->s, "Records.Get", &request);
}

static uint64_t writes(struct scene *at)
{
    return serve_entries(at->s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WRITE);
}

/* The payload with something of it changed, signed or not. */
static Chartmesh__V1__Version *opened(struct scene *at, const Chartmesh__V1__Prepared *prepared)
{
    struct err err;
    ProtobufCMessage *message;
    assert_ok(message_unpack(&chartmesh__v1__version__descriptor, bytes_pb(prepared->payload), &at->s->arena,
                             &message, &err));
    return (void *)message;
}

static struct bytes packed(struct scene *at, const Chartmesh__V1__Version *version)
{
    struct err err;
    struct bytes out;
    assert_ok(message_pack(&version->base, &at->s->arena, &out, &err));
    return out;
}

static void refused(struct scene *at, const Chartmesh__V1__Prepared *prepared, struct bytes payload,
                    const char *content, enum err_code code, unsigned reason)
{
    Chartmesh__V1__PutSignedRequest request = signed_request(at, prepared, payload, content);
    ProtobufCMessage *out = NULL;
    uint64_t before = writes(at);
    assert_false(serve_call(at->s, "Records.PutSigned", &request.base, &out));
    if (at->s->err.code != code || at->s->err.reason != reason) {
        fail_msg("code %s reason %u: %s", err_code_name(at->s->err.code), (unsigned)at->s->err.reason,
                 at->s->err.text);
    }
    assert_int_equal(writes(at), before);
}

/* ---- What is signed is what is kept -------------------------------------------------------------------------------- */

static void test_signed__what_the_author_signed_comes_back(void **state)
{
    struct scene *at = *state;
    AUTO_ARENA(arena, 1 << 20);
    struct err err;
    struct bytes bytes;
    struct statement statement;
    enrol(at);
    Chartmesh__V1__PutReply *first = put_signed(at, NULL, "one"), *second = put_signed(at, first, "two");
    assert_bytes_equal(bytes_pb(second->document), bytes_pb(first->document));
    Chartmesh__V1__GetReply *read = get(at, first->document);
    assert_int_equal(read->n_heads, 1);
    assert_bytes_equal(bytes_pb(read->heads[0]->content), BYTES_LIT("two"));
    assert_bytes_equal(bytes_pb(read->heads[0]->version), bytes_pb(second->version));
    assert_ok(message_pack(&read->heads[0]->statement->base, &arena, &bytes, &err));
    assert_ok(statement_parse(bytes, &arena, &statement, &err));
    assert_int_equal(statement.signers, 1);
    assert_bytes_equal(BYTES_OF(statement.key_ids[0]), bytes_pb(at->key_id));
    assert_int_equal(second->receipt.len, RECEIPT_LEN);
}

static void test_signed__history_and_unsigned_writes_go_on_after_it(void **state)
{
    struct scene *at = *state;
    enrol(at);
    Chartmesh__V1__PutReply *first = put_signed(at, NULL, "one"),
                            *second = serve_put(at->s, at->subject, first, "two"),
                            *third = put_signed(at, second, "three");
    Chartmesh__V1__HistoryRequest request = CHARTMESH__V1__HISTORY_REQUEST__INIT;
    request.subject = at->subject;
    request.document = first->document;
    Chartmesh__V1__HistoryReply *history = SERVE(at->s, "Records.History", &request);
    assert_int_equal(history->n_versions, 3);
    assert_int_equal(history->n_heads, 1);
    assert_bytes_equal(bytes_pb(history->heads[0]), bytes_pb(third->version));
}

static void test_signed__a_statement_is_its_own_idempotency_key(void **state)
{
    struct scene *at = *state;
    enrol(at);
    Chartmesh__V1__Prepared *prepared = prepare(at, NULL, "one");
    Chartmesh__V1__PutSignedRequest request = signed_request(at, prepared, bytes_pb(prepared->payload), "one");
    Chartmesh__V1__PutReply *first = SERVE(at->s, "Records.PutSigned", &request);
    uint64_t before = writes(at);
    serve_restart(at->s);
    world_sim_advance(at->s->sim, 60 * 60 * 1000); /* its preparation has expired: that is no matter now */
    Chartmesh__V1__PutReply *again = SERVE(at->s, "Records.PutSigned", &request);
    assert_bytes_equal(bytes_pb(again->version), bytes_pb(first->version));
    assert_int_equal(again->receipt.len, RECEIPT_LEN);
    world_sim_advance(at->s->sim, 9 * (uint64_t)DAY_MS); /* and when its reply is kept no more */
    serve_put(at->s, at->subject, NULL, "x");
    before++;
    again = SERVE(at->s, "Records.PutSigned", &request);
    assert_bytes_equal(bytes_pb(again->version), bytes_pb(first->version));
    assert_int_equal(writes(at), before);
}

/* ---- Preparations --------------------------------------------------------------------------------------------------- */

static void test_signed__a_dot_is_used_once(void **state)
{
    struct scene *at = *state;
    enrol(at);
    Chartmesh__V1__PutReply *first = put_signed(at, NULL, "one");
    Chartmesh__V1__Prepared *mine = prepare(at, first, "mine"), *yours = prepare(at, first, "yours");
    assert_int_equal(opened(at, mine)->dot->counter, opened(at, yours)->dot->counter);
    Chartmesh__V1__PutSignedRequest request = signed_request(at, mine, bytes_pb(mine->payload), "mine");
    SERVE(at->s, "Records.PutSigned", &request);
    refused(at, yours, bytes_pb(yours->payload), "yours", ERR_CONFLICT, SERVE_REASON(PREPARATION_INVALID));
    serve_restart(at->s);
    refused(at, yours, bytes_pb(yours->payload), "yours", ERR_CONFLICT, SERVE_REASON(PREPARATION_INVALID));
}

static void test_signed__an_unsigned_write_takes_the_dot_as_well(void **state)
{
    struct scene *at = *state;
    enrol(at);
    Chartmesh__V1__PutReply *first = put_signed(at, NULL, "one");
    Chartmesh__V1__Prepared *mine = prepare(at, first, "mine");
    serve_put(at->s, at->subject, first, "theirs");
    refused(at, mine, bytes_pb(mine->payload), "mine", ERR_CONFLICT, SERVE_REASON(PREPARATION_INVALID));
}

static void test_signed__what_was_not_prepared_is_refused(void **state)
{
    struct scene *at = *state;
    enrol(at);
    Chartmesh__V1__Prepared *mine = prepare(at, NULL, "one"), *another = prepare(at, NULL, "one");
    refused(at, another, bytes_pb(mine->payload), "one", ERR_CONFLICT, SERVE_REASON(PREPARATION_INVALID));
    Chartmesh__V1__Prepared none = *mine;
    none.preparation = (ProtobufCBinaryData){0};
    refused(at, &none, bytes_pb(mine->payload), "one", ERR_CONFLICT, SERVE_REASON(PREPARATION_INVALID));
    Chartmesh__V1__Version *changed = opened(at, mine);
    changed->title = words("better");
    refused(at, mine, packed(at, changed), "one", ERR_CONFLICT, SERVE_REASON(PREPARATION_INVALID));
}

static void test_signed__a_preparation_expires(void **state)
{
    struct scene *at = *state;
    enrol(at);
    Chartmesh__V1__Prepared *mine = prepare(at, NULL, "one");
    world_sim_advance(at->s->sim, 10 * 60 * 1000 + 1);
    refused(at, mine, bytes_pb(mine->payload), "one", ERR_CONFLICT, SERVE_REASON(PREPARATION_INVALID));
}

static void test_signed__only_who_prepared_it_may_bring_it(void **state)
{
    struct scene *at = *state;
    enrol(at);
    Chartmesh__V1__Prepared *mine = prepare(at, NULL, "one");
    serve_as(at->s, "app/emr", "bob", NODE_PHYSICIAN, "TREAT");
    refused(at, mine, bytes_pb(mine->payload), "one", ERR_INVALID, SERVE_REASON(FIELD_INVALID));
    serve_as(at->s, "app/other", "alice", NODE_PHYSICIAN, "TREAT");
    refused(at, mine, bytes_pb(mine->payload), "one", ERR_INVALID, SERVE_REASON(FIELD_INVALID));
}

static void test_signed__what_cannot_be_prepared_is_refused(void **state)
{
    struct scene *at = *state;
    Chartmesh__V1__PrepareItem item = CHARTMESH__V1__PREPARE_ITEM__INIT, *items[] = {&item};
    Chartmesh__V1__PrepareRequest request = CHARTMESH__V1__PREPARE_REQUEST__INIT;
    Chartmesh__V1__Instant authored = CHARTMESH__V1__INSTANT__INIT;
    SERVE_FAILS(at->s, "Records.Prepare", &request, ERR_INVALID, FIELD_INVALID, "items");
    request.items = items;
    request.n_items = 1;
    item.subject = at->subject;
    item.facts = serve_facts(at->s);
    SERVE_FAILS(at->s, "Records.Prepare", &request, ERR_INVALID, FIELD_MISSING, "items.commitment");
    item.commitment = pb_bytes(BYTES_OF(salt));
    item.length = (1 << 20) + 1;
    SERVE_FAILS(at->s, "Records.Prepare", &request, ERR_INVALID, TOO_LARGE, "items.length");
    item.length = 1;
    authored.ms = (int64_t)world_now_ms(at->s->node->world) + 365 * DAY_MS;
    item.facts->authored = &authored;
    SERVE_FAILS(at->s, "Records.Prepare", &request, ERR_INVALID, FIELD_INVALID, "facts.authored");
    item.facts->authored = NULL;
    item.if_heads = serve_heads(at->s, &item.commitment, NULL);
    item.n_if_heads = 1;
    SERVE_FAILS(at->s, "Records.Prepare", &request, ERR_CONFLICT, STALE_HEADS, "");
}

/* ---- Who signs ------------------------------------------------------------------------------------------------------ */

static void test_signed__by_a_key_that_is_not_enrolled(void **state)
{
    struct scene *at = *state;
    Chartmesh__V1__Prepared *mine = prepare(at, NULL, "one");
    refused(at, mine, bytes_pb(mine->payload), "one", ERR_INVALID, SERVE_REASON(KEY_INVALID));
}

static void test_signed__by_a_key_that_was_revoked_meanwhile(void **state)
{
    struct scene *at = *state;
    enrol(at);
    Chartmesh__V1__PutReply *before = put_signed(at, NULL, "before");
    Chartmesh__V1__Prepared *mine = prepare(at, NULL, "one");
    world_sim_advance(at->s->sim, 1000);
    revoke(at);
    refused(at, mine, bytes_pb(mine->payload), "one", ERR_INVALID, SERVE_REASON(KEY_INVALID));
    assert_int_equal(get(at, before->document)->n_heads, 1);
}

static void test_signed__by_another_applications_key(void **state)
{
    struct scene *at = *state;
    enrol(at); /* app/emr's */
    serve_as(at->s, "app/other", "alice", NODE_PHYSICIAN, "TREAT");
    Chartmesh__V1__Prepared *mine = prepare(at, NULL, "one");
    refused(at, mine, bytes_pb(mine->payload), "one", ERR_INVALID, SERVE_REASON(KEY_INVALID));
}

static void test_signed__for_another_facility_or_network(void **state)
{
    struct scene *at = *state;
    enrol(at);
    Chartmesh__V1__Prepared *mine = prepare(at, NULL, "one");
    Chartmesh__V1__Version *changed = opened(at, mine);
    changed->head->facility = pb_bytes(BYTES_OF(at->s->federation->members[1].id));
    refused(at, mine, packed(at, changed), "one", ERR_INVALID, SERVE_REASON(KEY_INVALID));
    changed = opened(at, mine);
    changed->head->network = pb_bytes(BYTES_OF(at->s->federation->members[1].id));
    refused(at, mine, packed(at, changed), "one", ERR_INVALID, SERVE_REASON(KEY_INVALID));
}

static void test_signed__with_a_signature_that_does_not_verify(void **state)
{
    struct scene *at = *state;
    enrol(at);
    Chartmesh__V1__Prepared *mine = prepare(at, NULL, "one");
    Chartmesh__V1__PutSignedRequest request = signed_request(at, mine, bytes_pb(mine->payload), "one");
    request.statement->signatures[0]->sig.data[5] ^= 1;
    SERVE_FAILS(at->s, "Records.PutSigned", &request, ERR_INVALID, SIGNATURE_INVALID, "");
}

/* ---- What is signed --------------------------------------------------------------------------------------------------- */

static void test_signed__not_in_canonical_form(void **state)
{
    struct scene *at = *state;
    static Chartmesh__V1__Dot dots[65], *context[65];
    static struct hash ids[17];
    ProtobufCBinaryData parents[17];
    enrol(at);
    Chartmesh__V1__Prepared *mine = prepare(at, NULL, "one");
    Chartmesh__V1__Version *changed = opened(at, mine);
    for (size_t i = 0; i < COUNT(dots); i++) {
        chartmesh__v1__dot__init(&dots[i]);
        dots[i].tag = i + 1;
        dots[i].counter = 1;
        context[i] = &dots[i];
    }
    changed->context = context;
    changed->n_context = COUNT(context);
    refused(at, mine, packed(at, changed), "one", ERR_INVALID, SERVE_REASON(NOT_CANONICAL));
    changed = opened(at, mine);
    for (size_t i = 0; i < COUNT(ids); i++) {
        ids[i].bytes[0] = (uint8_t)(i + 1);
        parents[i] = pb_bytes(BYTES_OF(ids[i]));
    }
    changed->parents = parents;
    changed->n_parents = COUNT(parents);
    refused(at, mine, packed(at, changed), "one", ERR_INVALID, SERVE_REASON(NOT_CANONICAL));
    uint8_t longer[4096];
    assert_true(mine->payload.len + 2 < sizeof longer);
    memcpy(longer, mine->payload.data, mine->payload.len);
    longer[mine->payload.len] = 0x92; /* the title again, empty: no field stands at its default */
    longer[mine->payload.len + 1] = 0x01;
    longer[mine->payload.len + 2] = 0;
    refused(at, mine, BYTES(longer, mine->payload.len + 3), "one", ERR_INVALID, SERVE_REASON(NOT_CANONICAL));
}

static void test_signed__content_that_is_not_what_was_signed(void **state)
{
    struct scene *at = *state;
    enrol(at);
    Chartmesh__V1__Prepared *mine = prepare(at, NULL, "one");
    refused(at, mine, bytes_pb(mine->payload), "two", ERR_INVALID, SERVE_REASON(FIELD_INVALID));
    refused(at, mine, bytes_pb(mine->payload), "one longer", ERR_INVALID, SERVE_REASON(FIELD_INVALID));
    Chartmesh__V1__PutSignedRequest request = signed_request(at, mine, bytes_pb(mine->payload), "one");
    request.salt = (ProtobufCBinaryData){0};
    SERVE_FAILS(at->s, "Records.PutSigned", &request, ERR_INVALID, FIELD_MISSING, "salt");
    request.statement = NULL;
    SERVE_FAILS(at->s, "Records.PutSigned", &request, ERR_INVALID, FIELD_MISSING, "statement");
}

/* ---- Keys ------------------------------------------------------------------------------------------------------------- */

static void test_keys__a_key_is_enrolled_by_itself_and_the_facility(void **state)
{
    struct scene *at = *state;
    Chartmesh__V1__EnrolKeyReply *reply = enrol(at);
    assert_int_equal(reply->statement->n_signatures, 2);
    assert_int_equal(serve_entries(at->s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_KEY), 1);
    Chartmesh__V1__ListKeysRequest all = CHARTMESH__V1__LIST_KEYS_REQUEST__INIT;
    as_admin(at);
    Chartmesh__V1__ListKeysReply *keys = SERVE(at->s, "Keys.List", &all);
    assert_int_equal(keys->n_keys, 1);
    assert_true(keys->keys[0]->usable);
    revoke(at);
    as_admin(at);
    assert_false(((Chartmesh__V1__ListKeysReply *)SERVE(at->s, "Keys.List", &all))->keys[0]->usable);
    all.holder = words("spiffe://nobody");
    assert_int_equal(((Chartmesh__V1__ListKeysReply *)SERVE(at->s, "Keys.List", &all))->n_keys, 0);
    as_app(at);
    SERVE_FAILS(at->s, "Keys.List", &all, ERR_DENIED, NOT_PERMITTED, "");
}

static void test_keys__what_may_not_be_enrolled(void **state)
{
    struct scene *at = *state;
    struct asked asked = ask(at);
    as_admin(at);
    asked.signs = at->other; /* whoever asks does not have it */
    Chartmesh__V1__EnrolKeyRequest request = enrol_request(at, &asked);
    assert_false(serve_call(at->s, "Keys.Enrol", &request.base, NULL));
    assert_true(at->s->err.reason == SERVE_REASON(KEY_INVALID) ||
                at->s->err.reason == SERVE_REASON(SIGNATURE_INVALID));
    asked = ask(at);
    asked.facility = at->s->federation->members[1].id;
    request = enrol_request(at, &asked);
    SERVE_FAILS(at->s, "Keys.Enrol", &request, ERR_INVALID, KEY_INVALID, "statement.head");
    asked = ask(at);
    request = enrol_request(at, &asked);
    world_sim_advance(at->s->sim, 2 * (uint64_t)DAY_MS);
    SERVE_FAILS(at->s, "Keys.Enrol", &request, ERR_INVALID, FIELD_INVALID, "statement.head");
    request.statement = NULL;
    SERVE_FAILS(at->s, "Keys.Enrol", &request, ERR_INVALID, FIELD_MISSING, "statement");
    Chartmesh__V1__RevokeKeyRequest unknown = CHARTMESH__V1__REVOKE_KEY_REQUEST__INIT;
    unknown.key = pb_bytes(BYTES_OF(salt));
    unknown.reason = CHARTMESH__V1__REASON__REASON_LOST;
    SERVE_FAILS(at->s, "Keys.Revoke", &unknown, ERR_INVALID, KEY_INVALID, "");
    assert_int_equal(serve_entries(at->s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_KEY), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(signed__what_the_author_signed_comes_back),
        TEST(signed__history_and_unsigned_writes_go_on_after_it),
        TEST(signed__a_statement_is_its_own_idempotency_key),
        TEST(signed__a_dot_is_used_once),
        TEST(signed__an_unsigned_write_takes_the_dot_as_well),
        TEST(signed__what_was_not_prepared_is_refused),
        TEST(signed__a_preparation_expires),
        TEST(signed__only_who_prepared_it_may_bring_it),
        TEST(signed__what_cannot_be_prepared_is_refused),
        TEST(signed__by_a_key_that_is_not_enrolled),
        TEST(signed__by_a_key_that_was_revoked_meanwhile),
        TEST(signed__by_another_applications_key),
        TEST(signed__for_another_facility_or_network),
        TEST(signed__with_a_signature_that_does_not_verify),
        TEST(signed__not_in_canonical_form),
        TEST(signed__content_that_is_not_what_was_signed),
        TEST(keys__a_key_is_enrolled_by_itself_and_the_facility),
        TEST(keys__what_may_not_be_enrolled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
