/* PutStream: many in flight, each acknowledged when it is durable, each for itself. */
#include "node/service/service.h"

#include <stdio.h>

#include "proto/chartmesh/v1/message.h"
#include "proto/content/content.h"
#include "tests/lib/service.h"

enum { MANY = 300, WINDOW = 256 };
#define WRITE CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WRITE

struct scene {
    struct serve *s;
    Chartmesh__V1__Subject *subjects[3];
    const ProtobufCMessage *sends[MANY];
    size_t count;
    Chartmesh__V1__PutStreamResult *results[MANY];   /* by sequence, from 1 */
    size_t answered, ahead;                          /* ahead: the most that was read and not acknowledged */
};

static char *words(const char *text)
{
    return (char *)(uintptr_t)text;
}

static int setup(void **state)
{
    static struct scene at;
    at = (struct scene){.s = serve_new(2, 0)};
    for (size_t i = 0; i < COUNT(at.subjects); i++) {
        char mrn[8];
        snprintf(mrn, sizeof mrn, "%zu", i);
        at.subjects[i] = serve_register(at.s, mrn)->subject;
    }
    *state = &at;
    return 0;
}

static int teardown(void **state)
{
    struct scene *at = *state;
    serve_free(at->s);
    return 0;
}

static void *room(struct scene *at, size_t size)
{
    struct err err;
    void *memory;
    assert_ok(arena_alloc(&at->s->arena, size, &memory, &err));
    return memory;
}

static Chartmesh__V1__PutStreamRequest *add(struct scene *at)
{
    Chartmesh__V1__PutStreamRequest *request = room(at, sizeof *request);
    assert_true(at->count < MANY);
    chartmesh__v1__put_stream_request__init(request);
    at->sends[at->count++] = &request->base;
    request->sequence = at->count;
    return request;
}

static Chartmesh__V1__PutStreamRequest *add_put(struct scene *at, size_t patient, const char *text)
{
    Chartmesh__V1__PutStreamRequest *request = add(at);
    request->what_case = CHARTMESH__V1__PUT_STREAM_REQUEST__WHAT_PUT;
    request->put = room(at, sizeof *request->put);
    chartmesh__v1__put_request__init(request->put);
    request->put->subject = at->subjects[patient];
    request->put->facts = serve_facts(at->s);
    request->put->content = pb_bytes(bytes_str(text));
    return request;
}

static void add_import(struct scene *at, const char *id, const char *text)
{
    Chartmesh__V1__PutStreamRequest *request = add_put(at, 0, text);
    request->put->import_key = room(at, sizeof *request->put->import_key);
    chartmesh__v1__import_key__init(request->put->import_key);
    request->put->import_key->system = words("urn:source");
    request->put->import_key->id = words(id);
}

/* Collects the results; each item is answered once. */
static void collect(struct scene *at)
{
    for (size_t i = 0; i < at->s->got_len; i++) {
        const Chartmesh__V1__PutStreamReply *reply = (const void *)at->s->got[i];
        for (size_t j = 0; j < reply->n_results; j++) {
            Chartmesh__V1__PutStreamResult *result = reply->results[j];
            assert_true(result->sequence >= 1 && result->sequence <= at->count);
            assert_null(at->results[result->sequence - 1]);
            assert_true(!result->done != !result->error);
            at->results[result->sequence - 1] = result;
            at->answered++;
        }
    }
}

static struct scene *watched;

static void note_ahead(struct serve *s, size_t nth)
{
    const Chartmesh__V1__PutStreamReply *reply = (const void *)s->got[nth - 1];
    watched->ahead = MAX(watched->ahead, s->sends_at - watched->answered);
    watched->answered += reply->n_results;
}

static bool stream(struct scene *at)
{
    memset(at->results, 0, sizeof at->results);
    at->answered = at->ahead = 0;
    watched = at;
    at->s->on_send = note_ahead;
    at->s->sends = at->sends;
    at->s->sends_len = at->count;
    bool ok = serve_call(at->s, "Records.PutStream", NULL, NULL);
    at->answered = 0;
    collect(at);
    return ok;
}

static Chartmesh__V1__PutReply *done(const struct scene *at, size_t sequence)
{
    Chartmesh__V1__PutStreamResult *result = at->results[sequence - 1];
    assert_non_null(result);
    if (!result->done) {
        fail_msg("item %zu: %s", sequence, result->error->text);
    }
    return result->done;
}

static void failed(const struct scene *at, size_t sequence, unsigned reason)
{
    const Chartmesh__V1__PutStreamResult *result = at->results[sequence - 1];
    assert_non_null(result);
    assert_non_null(result->error);
    assert_int_equal(result->error->reason, reason);
    assert_true(result->error->code != 0);
}

static Chartmesh__V1__GetReply *get(struct scene *at, size_t patient, ProtobufCBinaryData document)
{
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    request.subject = at->subjects[patient];
    request.document = document;
    return SERVE(at->s, "Records.Get", &request);
}

/* ---- Many ----------------------------------------------------------------------------------------------------------- */

static void test_put_stream__I19_every_item_is_acknowledged_and_has_one_entry(void **state)
{
    struct scene *at = *state;
    char text[MANY][16];
    for (size_t i = 0; i < MANY; i++) {
        snprintf(text[i], sizeof text[i], "item %zu", i);
        add_put(at, i % COUNT(at->subjects), text[i]);
    }
    uint64_t before = serve_entries(at->s, WRITE);
    assert_true(stream(at));
    assert_int_equal(at->answered, MANY);
    assert_int_equal(serve_entries(at->s, WRITE), before + MANY);
    for (size_t i = 0; i < MANY; i += 37) {
        Chartmesh__V1__PutReply *reply = done(at, i + 1);
        assert_int_equal(reply->receipt.len, RECEIPT_LEN);
        Chartmesh__V1__GetReply *read = get(at, i % COUNT(at->subjects), reply->document);
        assert_bytes_equal(bytes_pb(read->heads[0]->content), bytes_str(text[i]));
    }
    serve_put(at->s, at->subjects[0], NULL, "and the patients' locks are free");
}

static void test_put_stream__one_stream_commits_in_groups(void **state)
{
    struct scene *at = *state;
    struct log_counters before, after;
    for (size_t i = 0; i < 200; i++) {
        add_put(at, 0, "of one patient");
    }
    log_counters(at->s->node->log, &before);
    assert_true(stream(at));
    log_counters(at->s->node->log, &after);
    assert_int_equal(after.transactions - before.transactions, 200);
    assert_true(after.groups - before.groups <= 100);
}

static void test_put_stream__no_more_is_read_than_the_window_takes(void **state)
{
    struct scene *at = *state;
    for (size_t i = 0; i < MANY; i++) {
        add_put(at, 0, "x");
    }
    assert_true(stream(at));
    assert_true(at->ahead <= WINDOW + 1); /* one is in hand */
}

static void test_put_stream__bytes_count_in_the_window(void **state)
{
    struct scene *at = *state;
    char *large = room(at, (1 << 20) + 1);
    memset(large, 'x', 1 << 20);
    for (size_t i = 0; i < 12; i++) {
        add_put(at, 0, large);
    }
    assert_true(stream(at));
    assert_int_equal(at->answered, 12);
    assert_true(at->ahead <= 5); /* 4 MiB, and one in hand */
}

/* ---- Each for itself -------------------------------------------------------------------------------------------------- */

static void test_put_stream__an_item_that_fails_does_not_end_the_stream(void **state)
{
    struct scene *at = *state;
    Chartmesh__V1__Subject unknown = *at->subjects[0];
    unknown.patient = pb_bytes(BYTES_LIT("0123456789abcdef"));
    add_put(at, 0, "one");
    add_put(at, 0, "two")->put->facts = NULL;
    add_put(at, 0, "three")->put->subject = &unknown;
    add(at); /* nothing in it */
    add_put(at, 0, "five")->put->document = pb_bytes(BYTES_LIT("short"));
    add_put(at, 0, "six");
    assert_true(stream(at));
    assert_int_equal(at->answered, 6);
    done(at, 1);
    failed(at, 2, SERVE_REASON(FIELD_MISSING));
    assert_string_equal(at->results[1]->error->field, "facts");
    failed(at, 3, SERVE_REASON(NOT_AVAILABLE));
    failed(at, 4, SERVE_REASON(FIELD_MISSING));
    failed(at, 5, SERVE_REASON(FIELD_INVALID));
    done(at, 6);
}

static void test_put_stream__who_may_not_write_does_not_get_so_far(void **state)
{
    struct scene *at = *state;
    add_put(at, 0, "one");
    serve_as(at->s, "app/emr", "carl", NODE_CLERK, "TREAT");
    assert_false(stream(at));
    assert_int_equal(at->s->err.reason, SERVE_REASON(NOT_PERMITTED));
    assert_int_equal(at->answered, 0);
}

/* ---- Order ------------------------------------------------------------------------------------------------------------ */

static void test_put_stream__items_about_one_thing_stay_in_order(void **state)
{
    struct scene *at = *state;
    char text[40][8];
    for (size_t i = 0; i < COUNT(text); i++) {
        snprintf(text[i], sizeof text[i], "%zu", i);
        add_import(at, i % 2 ? "odd" : "even", text[i]);
        add_put(at, 0, "something else");
    }
    assert_true(stream(at));
    Chartmesh__V1__GetReply *even = get(at, 0, done(at, 1)->document), *odd = get(at, 0, done(at, 3)->document);
    assert_int_equal(even->n_heads, 1);
    assert_bytes_equal(bytes_pb(even->heads[0]->content), BYTES_LIT("38"));
    assert_int_equal(odd->n_heads, 1);
    assert_bytes_equal(bytes_pb(odd->heads[0]->content), BYTES_LIT("39"));
}

static const Chartmesh__V1__Dot *dot_of(struct scene *at, const Chartmesh__V1__VersionView *view)
{
    struct err err;
    ProtobufCMessage *version;
    assert_ok(message_unpack(&chartmesh__v1__version__descriptor, bytes_pb(view->statement->payload),
                             &at->s->arena, &version, &err));
    return ((const Chartmesh__V1__Version *)version)->dot;
}

static void test_put_stream__a_dot_is_drawn_once_also_by_two_names_of_a_document(void **state)
{
    struct scene *at = *state;
    add_import(at, "one", "from the source");
    assert_true(stream(at));
    Chartmesh__V1__PutReply *first = done(at, 1);
    at->count = 0;
    Chartmesh__V1__PutStreamRequest *amend = add_put(at, 0, "amended here");
    amend->put->document = first->document;
    amend->put->if_heads = serve_heads(at->s, &first->version, NULL);
    amend->put->n_if_heads = 1;
    add_import(at, "one", "changed at the source"); /* the same document, by its key */
    assert_true(stream(at));
    done(at, 1);
    done(at, 2);
    Chartmesh__V1__GetReply *read = get(at, 0, first->document);
    assert_int_equal(read->n_heads, 2);
    const Chartmesh__V1__Dot *one = dot_of(at, read->heads[0]), *other = dot_of(at, read->heads[1]);
    assert_true(one->tag != other->tag || one->counter != other->counter);
    Chartmesh__V1__HistoryRequest request = CHARTMESH__V1__HISTORY_REQUEST__INIT;
    request.subject = at->subjects[0];
    request.document = first->document;
    assert_int_equal(((Chartmesh__V1__HistoryReply *)SERVE(at->s, "Records.History", &request))->n_versions, 3);
}

/* ---- Again -------------------------------------------------------------------------------------------------------------- */

static void test_put_stream__a_key_is_answered_once_for_all(void **state)
{
    struct scene *at = *state;
    for (size_t i = 0; i < 10; i++) {
        add_put(at, 0, "once")->idempotency_key = words("k1");
    }
    add_put(at, 0, "another")->idempotency_key = words("k1");
    add_put(at, 0, "another")->idempotency_key = words("k2");
    uint64_t before = serve_entries(at->s, WRITE);
    assert_true(stream(at));
    assert_int_equal(serve_entries(at->s, WRITE), before + 2);
    ProtobufCBinaryData version = done(at, 1)->version;
    for (size_t i = 1; i <= 10; i++) {
        assert_bytes_equal(bytes_pb(done(at, i)->version), bytes_pb(version));
        assert_int_equal(done(at, i)->receipt.len, RECEIPT_LEN);
    }
    failed(at, 11, SERVE_REASON(IDEMPOTENCY_REUSED));
    serve_restart(at->s);
    assert_true(stream(at));
    assert_int_equal(serve_entries(at->s, WRITE), before + 2);
    assert_bytes_equal(bytes_pb(done(at, 5)->version), bytes_pb(version));
}

static void test_put_stream__an_abrupt_end_loses_nothing_acknowledged(void **state)
{
    struct scene *at = *state;
    for (size_t i = 0; i < 100; i++) {
        add_put(at, i % 2, "x");
    }
    at->s->breaks = true;
    assert_false(stream(at));
    assert_int_equal(at->s->err.code, ERR_CANCELLED);
    serve_restart(at->s);
    for (size_t i = 0; i < 100; i++) {
        if (at->results[i]) {
            get(at, i % 2, done(at, i + 1)->document);
        }
    }
    at->s->breaks = false;
    at->count = 0;
    add_put(at, 0, "goes on");
    assert_true(stream(at));
    done(at, 1);
}

/* ---- Signed --------------------------------------------------------------------------------------------------------------- */

enum { SIGNED = 40 };
static const struct hash salt = {{7}};

static Chartmesh__V1__PrepareReply *prepare(struct scene *at, size_t count)
{
    static struct hash commitment;
    struct hash root;
    Chartmesh__V1__PrepareItem item = CHARTMESH__V1__PREPARE_ITEM__INIT, *items[SIGNED];
    Chartmesh__V1__PrepareRequest request = CHARTMESH__V1__PREPARE_REQUEST__INIT;
    commitment = content_commit(&salt, BYTES_LIT("signed"), &root);
    item.subject = at->subjects[0];
    item.facts = serve_facts(at->s);
    item.commitment = pb_bytes(BYTES_OF(commitment));
    item.length = 6;
    for (size_t i = 0; i < count; i++) {
        items[i] = &item;
    }
    request.items = items;
    request.n_items = count;
    return SERVE(at->s, "Records.Prepare", &request);
}

static void test_put_stream__signed_items_go_beside_the_others(void **state)
{
    struct scene *at = *state;
    struct err err;
    struct signing_key *key;
    const struct hash seed = {{0x61}};
    assert_ok(signing_key_new(&seed, &key, &err));
    Chartmesh__V1__EnrolKeyRequest *enrol = serve_enrol_request(at->s, key, "app/emr");
    serve_as(at->s, "admin/root", "", "", "");
    serve(at->s, "Keys.Enrol", &enrol->base);
    serve_as(at->s, "app/emr", "alice", NODE_PHYSICIAN, "TREAT");
    Chartmesh__V1__PrepareReply *prepared = prepare(at, SIGNED);
    for (size_t i = 0; i < SIGNED; i++) {
        Chartmesh__V1__PutStreamRequest *request = add(at);
        request->what_case = CHARTMESH__V1__PUT_STREAM_REQUEST__WHAT_PUT_SIGNED;
        request->put_signed = room(at, sizeof *request->put_signed);
        chartmesh__v1__put_signed_request__init(request->put_signed);
        request->put_signed->statement =
            serve_envelope(at->s, STATEMENT_VERSION, bytes_pb(prepared->prepared[i]->payload), key);
        request->put_signed->preparation = prepared->prepared[i]->preparation;
        request->put_signed->salt = pb_bytes(BYTES_OF(salt));
        request->put_signed->content = pb_bytes(BYTES_LIT("signed"));
        add_put(at, 0, "unsigned");
    }
    assert_true(stream(at));
    for (size_t i = 1; i <= at->count; i++) {
        done(at, i);
    }
    assert_bytes_equal(bytes_pb(done(at, 1)->document), bytes_pb(prepared->prepared[0]->document));
    uint64_t before = serve_entries(at->s, WRITE);
    at->count = 1;
    assert_true(stream(at));
    assert_int_equal(serve_entries(at->s, WRITE), before);
    assert_bytes_equal(bytes_pb(done(at, 1)->document), bytes_pb(prepared->prepared[0]->document));
    signing_key_free(key);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_put_stream__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(I19_every_item_is_acknowledged_and_has_one_entry),
        TEST(one_stream_commits_in_groups),
        TEST(no_more_is_read_than_the_window_takes),
        TEST(bytes_count_in_the_window),
        TEST(an_item_that_fails_does_not_end_the_stream),
        TEST(who_may_not_write_does_not_get_so_far),
        TEST(items_about_one_thing_stay_in_order),
        TEST(a_dot_is_drawn_once_also_by_two_names_of_a_document),
        TEST(a_key_is_answered_once_for_all),
        TEST(an_abrupt_end_loses_nothing_acknowledged),
        TEST(signed_items_go_beside_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
