/* Reading several documents, and reading the past. */
#include "node/service/service.h"

#include "tests/lib/service.h"

#define READ CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_READ

static Chartmesh__V1__Subject *subject;

static int setup(void **state)
{
    struct serve *s = serve_new(2, 0);
    subject = serve_register(s, "4711")->subject;
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    serve_free(*state);
    return 0;
}

static Chartmesh__V1__PutRequest put_request(struct serve *s, const char *content)
{
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    request.subject = subject;
    request.facts = serve_facts(s);
    request.content = pb_bytes(bytes_str(content));
    return request;
}

/* ---- Several documents at once ------------------------------------------------------------------------------------- */

enum { BATCH_MAX = 257 };

struct batch {
    Chartmesh__V1__GetRequest request;
    Chartmesh__V1__GetItem items[BATCH_MAX], *list[BATCH_MAX];
    struct id ids[BATCH_MAX];
};

static void batch_begin(struct batch *b)
{
    *b = (struct batch){0};
    chartmesh__v1__get_request__init(&b->request);
    b->request.subject = subject;
    b->request.batch = b->list;
}

static void batch_add(struct batch *b, ProtobufCBinaryData document, ProtobufCBinaryData version)
{
    Chartmesh__V1__GetItem *item = &b->items[b->request.n_batch];
    chartmesh__v1__get_item__init(item);
    item->document = document;
    item->version = version;
    b->list[b->request.n_batch++] = item;
}

static ProtobufCBinaryData nowhere(struct batch *b)
{
    struct id *id = &b->ids[b->request.n_batch];
    *id = (struct id){{9, (uint8_t)(b->request.n_batch >> 8), (uint8_t)b->request.n_batch}};
    return pb_bytes(BYTES_OF(*id));
}

static Chartmesh__V1__PutReply *put_restricted(struct serve *s)
{
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    Chartmesh__V1__PutRequest request = put_request(s, "secret");
    labels.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R;
    request.facts->labels = &labels;
    serve_as(s, "app/emr", "bob", NODE_PHYSICIAN, "TREAT");
    Chartmesh__V1__PutReply *put = SERVE(s, "Records.Put", &request);
    serve_as(s, "app/emr", "alice", NODE_PHYSICIAN, "TREAT");
    return put;
}

static void test_records_read__a_batch_is_one_read(void **state)
{
    struct serve *s = *state;
    struct batch b;
    const ProtobufCBinaryData heads = {0};
    Chartmesh__V1__PutReply *one = serve_put(s, subject, NULL, "one"), *two = serve_put(s, subject, NULL, "two"),
                            *newer = serve_put(s, subject, two, "two, again");
    batch_begin(&b);
    batch_add(&b, two->document, heads);
    batch_add(&b, one->document, heads);
    batch_add(&b, two->document, two->version);
    uint64_t size = log_size(s->node->log).size, reads = serve_entries(s, READ);
    Chartmesh__V1__GetReply *reply = SERVE(s, "Records.Get", &b.request);
    assert_int_equal(log_size(s->node->log).size, size + 1);
    assert_int_equal(serve_entries(s, READ), reads + 1);
    assert_int_equal(reply->receipt.len, RECEIPT_LEN);
    assert_int_equal(reply->n_batch, 3);
    assert_int_equal(reply->n_heads, 0);
    assert_bytes_equal(bytes_pb(reply->batch[0]->heads[0]->content), BYTES_LIT("two, again"));
    assert_bytes_equal(bytes_pb(reply->batch[0]->heads[0]->version), bytes_pb(newer->version));
    assert_bytes_equal(bytes_pb(reply->batch[1]->heads[0]->content), BYTES_LIT("one"));
    assert_bytes_equal(bytes_pb(reply->batch[2]->heads[0]->content), BYTES_LIT("two"));
    AUTO_ARENA(arena, 1 << 20);
    const Chartmesh__V1__Entry *entry = node_last_entry(s->node, READ, &arena);
    assert_int_equal(entry->n_objects, 3);
    assert_int_equal(entry->extent, strlen("two, again") + strlen("one") + strlen("two"));
    b.request.headers_only = true;
    reply = SERVE(s, "Records.Get", &b.request);
    assert_int_equal(reply->batch[0]->heads[0]->content.len, 0);
}

static void test_records_read__I9_in_a_batch_denied_and_absent_look_the_same(void **state)
{
    struct serve *s = *state;
    struct batch b;
    const ProtobufCBinaryData heads = {0};
    Chartmesh__V1__PutReply *plain = serve_put(s, subject, NULL, "plain"), *secret = put_restricted(s);
    batch_begin(&b);
    batch_add(&b, secret->document, heads);
    batch_add(&b, nowhere(&b), heads);
    batch_add(&b, plain->document, heads);
    batch_add(&b, plain->document, secret->version); /* another document's */
    uint64_t size = log_size(s->node->log).size;
    Chartmesh__V1__GetReply *reply = SERVE(s, "Records.Get", &b.request);
    assert_int_equal(reply->n_batch, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_bytes_equal(bytes_pb(reply->batch[i]->document), bytes_pb(b.items[i].document));
        assert_int_equal(reply->batch[i]->n_heads, i == 2);
        assert_true((reply->batch[i]->effective_labels != NULL) == (i == 2));
    }
    assert_int_equal(log_size(s->node->log).size, size + 3); /* READ, DENIED, ABSENT */
    AUTO_ARENA(arena, 1 << 20);
    const Chartmesh__V1__Entry *denied =
        node_last_entry(s->node, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_DENIED, &arena);
    assert_int_equal(denied->n_objects, 1);
    assert_bytes_equal(bytes_pb(denied->objects[0]), bytes_pb(secret->version));
    serve_as(s, "app/emr", "carl", NODE_CLERK, "TREAT");
    reply = SERVE(s, "Records.Get", &b.request);
    assert_int_equal(reply->receipt.len, 0); /* nothing was given */
    assert_int_equal(reply->batch[2]->n_heads, 0);
}

static void test_records_read__a_batch_has_limits(void **state)
{
    struct serve *s = *state;
    static struct batch b;
    const ProtobufCBinaryData heads = {0};
    Chartmesh__V1__PutReply *put = serve_put(s, subject, NULL, "one");
    batch_begin(&b);
    while (b.request.n_batch < 256) {
        batch_add(&b, nowhere(&b), heads);
    }
    Chartmesh__V1__GetReply *reply = SERVE(s, "Records.Get", &b.request);
    assert_int_equal(reply->n_batch, 256);
    batch_add(&b, nowhere(&b), heads);
    SERVE_FAILS(s, "Records.Get", &b.request, ERR_INVALID, TOO_LARGE, "batch");
    batch_begin(&b);
    batch_add(&b, put->document, heads);
    b.request.document = put->document;
    SERVE_FAILS(s, "Records.Get", &b.request, ERR_INVALID, FIELD_INVALID, "batch");
    b.request.document = heads;
    batch_add(&b, put->document, heads);
    SERVE_FAILS(s, "Records.Get", &b.request, ERR_INVALID, FIELD_INVALID, "batch");
    b.items[1].version = put->document;
    SERVE_FAILS(s, "Records.Get", &b.request, ERR_INVALID, FIELD_INVALID, "batch.version");
    b.items[1] = b.items[0];
    b.items[1].document = heads;
    SERVE_FAILS(s, "Records.Get", &b.request, ERR_INVALID, FIELD_MISSING, "batch.document");
}

static void test_records_read__a_batch_has_content_as_far_as_it_is_small(void **state)
{
    struct serve *s = *state;
    static uint8_t mib[1 << 20];
    struct batch b;
    const ProtobufCBinaryData heads = {0};
    Chartmesh__V1__PutRequest put = put_request(s, "");
    put.content = pb_bytes(BYTES(mib, sizeof mib));
    batch_begin(&b);
    for (int i = 0; i < 5; i++) {
        Chartmesh__V1__PutReply *done = SERVE(s, "Records.Put", &put);
        batch_add(&b, done->document, heads);
    }
    Chartmesh__V1__GetReply *reply = SERVE(s, "Records.Get", &b.request);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(reply->batch[i]->heads[0]->content.len, i < 4 ? sizeof mib : 0);
        assert_int_equal(reply->batch[i]->heads[0]->salt.len, i < 4 ? HASH_LEN : 0);
    }
}

/* ---- As of a time -------------------------------------------------------------------------------------------------- */

static uint64_t minute_later(struct serve *s)
{
    uint64_t then = world_now_ms(s->node->world);
    world_sim_advance(s->sim, 60 * 1000);
    return then;
}

static Chartmesh__V1__DocumentView *listed(Chartmesh__V1__ListReply *page, const Chartmesh__V1__PutReply *put)
{
    for (size_t i = 0; i < page->n_documents; i++) {
        if (bytes_equal(bytes_pb(page->documents[i]->document), bytes_pb(put->document))) {
            return page->documents[i];
        }
    }
    return NULL;
}

static void test_records_read__a_list_as_of_a_time_shows_the_heads_of_then(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__ListRequest request = CHARTMESH__V1__LIST_REQUEST__INIT;
    Chartmesh__V1__Instant as_of = CHARTMESH__V1__INSTANT__INIT;
    minute_later(s);
    Chartmesh__V1__PutReply *first = serve_put(s, subject, NULL, "one");
    uint64_t then = minute_later(s);
    Chartmesh__V1__PutReply *second = serve_put(s, subject, first, "two"),
                            *later = serve_put(s, subject, NULL, "later");
    minute_later(s);
    request.subject = subject;
    Chartmesh__V1__ListReply *now = SERVE(s, "Records.List", &request);
    assert_bytes_equal(bytes_pb(listed(now, first)->heads[0]->version), bytes_pb(second->version));
    assert_non_null(listed(now, later));
    request.as_of = &as_of;
    as_of.ms = (int64_t)then;
    Chartmesh__V1__ListReply *before = SERVE(s, "Records.List", &request);
    assert_int_equal(listed(before, first)->n_heads, 1);
    assert_bytes_equal(bytes_pb(listed(before, first)->heads[0]->version), bytes_pb(first->version));
    assert_null(listed(before, later));
    as_of.ms = 1000;
    before = SERVE(s, "Records.List", &request);
    assert_int_equal(before->n_documents, 0);
    as_of.ms = (int64_t)world_now_ms(s->node->world) + 60 * 1000;
    SERVE_FAILS(s, "Records.List", &request, ERR_INVALID, FIELD_INVALID, "as_of");
    as_of.ms = -1;
    SERVE_FAILS(s, "Records.List", &request, ERR_INVALID, FIELD_INVALID, "as_of");
}

static void test_records_read__pages_stay_with_the_time_they_were_asked_for(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__ListRequest request = CHARTMESH__V1__LIST_REQUEST__INIT;
    Chartmesh__V1__Instant as_of = CHARTMESH__V1__INSTANT__INIT;
    size_t documents = 0;
    for (int i = 0; i < 4; i++) {
        serve_put(s, subject, NULL, "x");
    }
    as_of.ms = (int64_t)minute_later(s);
    request.subject = subject;
    request.page_size = 2;
    request.as_of = &as_of;
    do {
        Chartmesh__V1__ListReply *page = SERVE(s, "Records.List", &request);
        documents += page->n_documents;
        request.page_token = page->next_page_token;
        for (int i = 0; i < 3; i++) {
            serve_put(s, subject, NULL, "between the pages");
        }
        if (documents == 2) {
            Chartmesh__V1__Instant other = as_of;
            Chartmesh__V1__ListRequest moved = request;
            other.ms += 1000;
            moved.as_of = &other;
            SERVE_FAILS(s, "Records.List", &moved, ERR_INVALID, TOKEN_INVALID, "page_token");
        }
    } while (request.page_token.len);
    assert_int_equal(documents, 5); /* the identity is one too */
}

/* What was readable then and is restricted since stays with those who may read it now. */
static void test_records_read__the_past_is_read_under_the_labels_of_now(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__ListRequest request = CHARTMESH__V1__LIST_REQUEST__INIT;
    Chartmesh__V1__Instant as_of = CHARTMESH__V1__INSTANT__INIT;
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    serve_as(s, "app/emr", "bob", NODE_PHYSICIAN, "TREAT");
    Chartmesh__V1__PutReply *first = serve_put(s, subject, NULL, "plain");
    as_of.ms = (int64_t)minute_later(s);
    Chartmesh__V1__PutRequest raise = put_request(s, "secret");
    labels.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R;
    raise.facts->labels = &labels;
    raise.document = first->document;
    raise.if_heads = serve_heads(s, &first->version, NULL);
    raise.n_if_heads = 1;
    SERVE(s, "Records.Put", &raise);
    request.subject = subject;
    request.as_of = &as_of;
    assert_non_null(listed(SERVE(s, "Records.List", &request), first));
    serve_as(s, "app/emr", "alice", NODE_PHYSICIAN, "TREAT");
    assert_null(listed(SERVE(s, "Records.List", &request), first));
}

static void check_sensitive(const Chartmesh__V1__Labels *labels)
{
    assert_int_equal(labels->n_sensitivity, 1);
    assert_string_equal(labels->sensitivity[0]->code, "HIV");
    assert_string_equal(labels->sensitivity[0]->system, "http://terminology.hl7.org/CodeSystem/v3-ActCode");
}

/* What a document was judged by is in memory of its own, and gone before the answer is. */
static void test_records_read__labels_outlive_what_they_were_joined_from(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__ListRequest request = CHARTMESH__V1__LIST_REQUEST__INIT;
    Chartmesh__V1__Coding code = CHARTMESH__V1__CODING__INIT, *codes[] = {&code};
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    Chartmesh__V1__PutRequest put = put_request(s, "result");
    struct batch b;
    code.system = (char *)(uintptr_t) "http://terminology.hl7.org/CodeSystem/v3-ActCode";
    code.code = (char *)(uintptr_t) "HIV";
    labels.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    labels.sensitivity = codes;
    labels.n_sensitivity = 1;
    put.facts->labels = &labels;
    Chartmesh__V1__PutReply *written = SERVE(s, "Records.Put", &put);
    request.subject = subject;
    const Chartmesh__V1__DocumentView *view = listed(SERVE(s, "Records.List", &request), written);
    assert_non_null(view);
    check_sensitive(view->effective_labels);
    batch_begin(&b);
    batch_add(&b, written->document, (ProtobufCBinaryData){0});
    Chartmesh__V1__GetReply *read = SERVE(s, "Records.Get", &b.request);
    assert_int_equal(read->n_batch, 1);
    check_sensitive(read->batch[0]->effective_labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_records_read__##name, setup, teardown)
        TEST(a_batch_is_one_read),
        TEST(I9_in_a_batch_denied_and_absent_look_the_same),
        TEST(a_batch_has_limits),
        TEST(a_batch_has_content_as_far_as_it_is_small),
        TEST(a_list_as_of_a_time_shows_the_heads_of_then),
        TEST(pages_stay_with_the_time_they_were_asked_for),
        TEST(the_past_is_read_under_the_labels_of_now),
        TEST(labels_outlive_what_they_were_joined_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
