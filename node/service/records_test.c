#include "node/service/service.h"

#include "proto/merkle/checkpoint.h"
#include "proto/statement/entry.h"
#include "tests/lib/service.h"

#define WRITE CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WRITE
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

static Chartmesh__V1__GetReply *get(struct serve *s, ProtobufCBinaryData document)
{
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    request.subject = subject;
    request.document = document;
    return SERVE(s, "Records.Get", &request);
}

static Chartmesh__V1__PutRequest put_request(struct serve *s, const char *content)
{
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    request.subject = subject;
    request.facts = serve_facts(s);
    request.content = pb_bytes(bytes_str(content));
    return request;
}

/* ---- Put and Get ------------------------------------------------------------------------------------------------- */

static void test_records__what_is_put_comes_back(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutReply *put = serve_put(s, subject, NULL, "hello");
    Chartmesh__V1__GetReply *read = get(s, put->document);
    assert_int_equal(read->n_heads, 1);
    assert_bytes_equal(bytes_pb(read->heads[0]->content), BYTES_LIT("hello"));
    assert_bytes_equal(bytes_pb(read->heads[0]->version), bytes_pb(put->version));
    assert_true(read->heads[0]->complete);
    assert_false(read->conflict);
    assert_int_equal(read->effective_labels->confidentiality, CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N);
}

static void test_records__I19_every_acknowledged_act_has_exactly_one_entry(void **state)
{
    struct serve *s = *state;
    uint64_t writes = serve_entries(s, WRITE), reads = serve_entries(s, READ);
    Chartmesh__V1__PutReply *put = serve_put(s, subject, NULL, "hello");
    assert_int_equal(serve_entries(s, WRITE), writes + 1);
    serve_put(s, subject, put, "hello again");
    assert_int_equal(serve_entries(s, WRITE), writes + 2);
    assert_int_equal(serve_entries(s, READ), reads);
    get(s, put->document);
    assert_int_equal(serve_entries(s, READ), reads + 1);
}

static void test_records__a_receipt_opens_to_its_entry(void **state)
{
    struct serve *s = *state;
    AUTO_ARENA(arena, 1 << 20);
    struct err err;
    Chartmesh__V1__Entry *entry;
    Chartmesh__V1__PutReply *put = serve_put(s, subject, NULL, "hello");
    Chartmesh__V1__InclusionRequest request = CHARTMESH__V1__INCLUSION_REQUEST__INIT;
    request.receipt = put->receipt;
    assert_int_equal(put->receipt.len, RECEIPT_LEN);
    Chartmesh__V1__InclusionReply *proof = SERVE(s, "Audit.Inclusion", &request);
    assert_ok(entry_unpack(bytes_pb(proof->opening->entry), &arena, &entry, &err));
    assert_int_equal(entry->kind, WRITE);
    assert_bytes_equal(bytes_pb(entry->objects[0]), bytes_pb(put->version));
    assert_string_equal(entry->role, NODE_PHYSICIAN);
    serve_as(s, "app/other", "alice", NODE_PHYSICIAN, "TREAT");
    SERVE_FAILS(s, "Audit.Inclusion", &request, ERR_INVALID, TOKEN_INVALID, "receipt");
}

static void test_records__an_amendment_names_the_heads_it_read(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutReply *first = serve_put(s, subject, NULL, "one"),
                            *second = serve_put(s, subject, first, "two");
    Chartmesh__V1__GetReply *read = get(s, first->document);
    assert_int_equal(read->n_heads, 1);
    assert_bytes_equal(bytes_pb(read->heads[0]->content), BYTES_LIT("two"));
    Chartmesh__V1__PutRequest stale = put_request(s, "three");
    stale.document = first->document;
    SERVE_FAILS(s, "Records.Put", &stale, ERR_CONFLICT, STALE_HEADS, "");
    stale.if_heads = serve_heads(s, &first->version, NULL);
    stale.n_if_heads = 1;
    SERVE_FAILS(s, "Records.Put", &stale, ERR_CONFLICT, STALE_HEADS, "");
    stale.if_heads = serve_heads(s, &second->version, &first->version);
    stale.n_if_heads = 2;
    SERVE_FAILS(s, "Records.Put", &stale, ERR_CONFLICT, STALE_HEADS, "");
    assert_bytes_equal(bytes_pb(get(s, first->document)->heads[0]->version), bytes_pb(second->version));
}

/* Two versions of one document that do not know each other, as two imports of a changed source make them. */
static Chartmesh__V1__PutReply *make_conflict(struct serve *s, Chartmesh__V1__PutReply **other)
{
    Chartmesh__V1__ImportKey key = CHARTMESH__V1__IMPORT_KEY__INIT;
    key.system = (char *)(uintptr_t) "urn:source";
    key.id = (char *)(uintptr_t) "1";
    Chartmesh__V1__PutRequest request = put_request(s, "imported");
    request.import_key = &key;
    Chartmesh__V1__PutReply *first = SERVE(s, "Records.Put", &request);
    *other = serve_put(s, subject, first, "amended here");
    request.content = pb_bytes(bytes_str("imported anew"));
    return SERVE(s, "Records.Put", &request);
}

static void test_records__a_conflict_is_kept_and_shown_until_a_person_merges(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutReply *here, *there = make_conflict(s, &here);
    Chartmesh__V1__GetReply *read = get(s, there->document);
    assert_int_equal(read->n_heads, 2);
    assert_true(read->conflict);
    Chartmesh__V1__MergeRequest merge = CHARTMESH__V1__MERGE_REQUEST__INIT;
    merge.subject = subject;
    merge.document = there->document;
    merge.facts = serve_facts(s);
    merge.content = pb_bytes(bytes_str("both"));
    merge.parents = serve_heads(s, &here->version, &there->version);
    merge.n_parents = 1;
    SERVE_FAILS(s, "Records.Merge", &merge, ERR_INVALID, FIELD_INVALID, "parents");
    merge.n_parents = 2;
    Chartmesh__V1__PutReply *merged = SERVE(s, "Records.Merge", &merge);
    read = get(s, there->document);
    assert_int_equal(read->n_heads, 1);
    assert_false(read->conflict);
    assert_bytes_equal(bytes_pb(read->heads[0]->version), bytes_pb(merged->version));
    SERVE_FAILS(s, "Records.Merge", &merge, ERR_CONFLICT, STALE_HEADS, "");
}

static void test_records__history_has_every_version_parents_first(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutReply *here, *there = make_conflict(s, &here);
    Chartmesh__V1__HistoryRequest request = CHARTMESH__V1__HISTORY_REQUEST__INIT;
    request.subject = subject;
    request.document = there->document;
    request.page_size = 2;
    Chartmesh__V1__HistoryReply *page = SERVE(s, "Records.History", &request);
    assert_int_equal(page->n_versions, 2);
    assert_int_equal(page->n_heads, 2);
    request.page_token = page->next_page_token;
    page = SERVE(s, "Records.History", &request);
    assert_int_equal(page->n_versions, 1);
    assert_int_equal(page->next_page_token.len, 0);
}

static void test_records__import_again_adds_nothing(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__ImportKey key = CHARTMESH__V1__IMPORT_KEY__INIT;
    key.system = (char *)(uintptr_t) "urn:source";
    key.id = (char *)(uintptr_t) "1";
    Chartmesh__V1__PutRequest request = put_request(s, "imported");
    request.import_key = &key;
    Chartmesh__V1__PutReply *first = SERVE(s, "Records.Put", &request);
    uint64_t writes = serve_entries(s, WRITE);
    Chartmesh__V1__PutReply *again = SERVE(s, "Records.Put", &request);
    assert_true(again->unchanged);
    assert_false(first->unchanged);
    assert_bytes_equal(bytes_pb(again->version), bytes_pb(first->version));
    assert_int_equal(serve_entries(s, WRITE), writes);
    request.subject = serve_register(s, "4712")->subject;
    SERVE_FAILS(s, "Records.Put", &request, ERR_EXISTS, ALREADY_EXISTS, "");
    key.id = (char *)(uintptr_t) "";
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_MISSING, "import_key.id");
}

/* ---- Labels, facts, limits ----------------------------------------------------------------------------------------- */

static void test_records__labels_never_fall_below_what_is_amended(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    Chartmesh__V1__PutRequest request = put_request(s, "secret");
    labels.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R;
    request.facts->labels = &labels;
    Chartmesh__V1__PutReply *first = SERVE(s, "Records.Put", &request);
    request.document = first->document;
    request.if_heads = serve_heads(s, &first->version, NULL);
    request.n_if_heads = 1;
    labels.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, LABELS_LOWERED, "facts.labels");
    labels.confidentiality = (Chartmesh__V1__Confidentiality)9;
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_INVALID, "facts.labels");
    request.facts->labels = NULL;
    SERVE(s, "Records.Put", &request);
}

static void test_records__bad_facts_name_their_field(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutRequest request = put_request(s, "x");
    Chartmesh__V1__Facts *facts = request.facts;
    request.facts = NULL;
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_MISSING, "facts");
    request.facts = facts;
    facts->media_type = (char *)(uintptr_t) "";
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_MISSING, "facts.media_type");
    facts->media_type = (char *)(uintptr_t) "text/plain";
    facts->class_->code = (char *)(uintptr_t) "a|b";
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_INVALID, "facts.class");
    facts->class_->code = (char *)(uintptr_t) "";
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_MISSING, "facts.class");
    facts->class_->code = (char *)(uintptr_t) "note";
    Chartmesh__V1__Period turned = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant from = CHARTMESH__V1__INSTANT__INIT, until = CHARTMESH__V1__INSTANT__INIT;
    from.ms = 2;
    until.ms = 1;
    turned.from = &from;
    turned.until = &until;
    facts->clinical = &turned;
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_INVALID, "facts.clinical");
    facts->clinical = NULL;
    request.document = pb_bytes(BYTES_LIT("short"));
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_INVALID, "document");
    request.document = (ProtobufCBinaryData){0};
    request.subject = NULL;
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_MISSING, "subject");
}

static void test_records__content_over_1_mib_is_for_upload(void **state)
{
    struct serve *s = *state;
    static uint8_t large[(1 << 20) + 1];
    Chartmesh__V1__PutRequest request = put_request(s, "");
    request.content = pb_bytes(BYTES(large, sizeof large));
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, TOO_LARGE, "content");
    request.content.len--;
    Chartmesh__V1__PutReply *put = SERVE(s, "Records.Put", &request);
    assert_int_equal(get(s, put->document)->heads[0]->content.len, 1 << 20);
}

/* ---- Who may ------------------------------------------------------------------------------------------------------- */

static void test_records__I9_denied_and_absent_are_one_answer(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutReply *put = serve_put(s, subject, NULL, "hello");
    struct id nowhere = {{9}};
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    request.subject = subject;
    request.document = put->document;
    serve_as(s, "app/emr", "carl", NODE_CLERK, "TREAT");
    SERVE_FAILS(s, "Records.Get", &request, ERR_NOT_FOUND, NOT_AVAILABLE, "");
    struct err denied = s->err;
    request.document = pb_bytes(BYTES_OF(nowhere));
    SERVE_FAILS(s, "Records.Get", &request, ERR_NOT_FOUND, NOT_AVAILABLE, "");
    assert_string_equal(denied.text, s->err.text);
    assert_int_equal(serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_DENIED), 1);
    assert_int_equal(serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_ABSENT), 1);
    Chartmesh__V1__HistoryRequest history = CHARTMESH__V1__HISTORY_REQUEST__INIT;
    history.subject = subject;
    history.document = put->document;
    SERVE_FAILS(s, "Records.History", &history, ERR_NOT_FOUND, NOT_AVAILABLE, "");
    Chartmesh__V1__DownloadRequest download = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
    download.subject = subject;
    download.document = put->document;
    download.version = put->version;
    SERVE_FAILS(s, "Records.Download", &download, ERR_NOT_FOUND, NOT_AVAILABLE, "");
    assert_int_equal(s->got_len, 0);
    Chartmesh__V1__ListRequest list = CHARTMESH__V1__LIST_REQUEST__INIT;
    list.subject = subject;
    Chartmesh__V1__ListReply *nothing = SERVE(s, "Records.List", &list);
    assert_int_equal(nothing->n_documents, 0);
}

static void test_records__a_write_to_nobody_is_not_available(void **state)
{
    struct serve *s = *state;
    struct id nobody = {{7}};
    Chartmesh__V1__Subject stranger = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__PutRequest request = put_request(s, "x");
    stranger.patient = pb_bytes(BYTES_OF(nobody));
    request.subject = &stranger;
    SERVE_FAILS(s, "Records.Put", &request, ERR_NOT_FOUND, NOT_AVAILABLE, "");
}

static void test_records__the_role_table_says_who_writes(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutRequest request = put_request(s, "x");
    serve_as(s, "app/emr", "carl", NODE_CLERK, "TREAT");
    SERVE_FAILS(s, "Records.Put", &request, ERR_DENIED, NOT_PERMITTED, "");
    serve_as(s, "app/emr", "alice", NODE_PHYSICIAN, "ETREAT");
    SERVE_FAILS(s, "Records.Put", &request, ERR_DENIED, NOT_PERMITTED, "");
}

/* ---- Retries ------------------------------------------------------------------------------------------------------- */

static void test_records__a_retry_is_answered_as_before(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutRequest request = put_request(s, "once");
    s->who.idempotency_key = "key 1";
    Chartmesh__V1__PutReply *first = SERVE(s, "Records.Put", &request);
    uint64_t writes = serve_entries(s, WRITE);
    serve_restart(s);
    Chartmesh__V1__PutReply *again = SERVE(s, "Records.Put", &request);
    assert_bytes_equal(bytes_pb(again->version), bytes_pb(first->version));
    assert_int_equal(again->receipt.len, RECEIPT_LEN);
    assert_int_equal(serve_entries(s, WRITE), writes);
    Chartmesh__V1__InclusionRequest proof = CHARTMESH__V1__INCLUSION_REQUEST__INIT;
    proof.receipt = first->receipt;
    uint64_t index = ((Chartmesh__V1__InclusionReply *)SERVE(s, "Audit.Inclusion", &proof))->at->index;
    proof.receipt = again->receipt;
    assert_int_equal(((Chartmesh__V1__InclusionReply *)SERVE(s, "Audit.Inclusion", &proof))->at->index, index);
}

static void test_records__a_key_used_for_another_request_is_refused(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutRequest request = put_request(s, "once");
    s->who.idempotency_key = "key 1";
    Chartmesh__V1__PutReply *first = SERVE(s, "Records.Put", &request);
    request.content = pb_bytes(bytes_str("twice"));
    SERVE_FAILS(s, "Records.Put", &request, ERR_CONFLICT, IDEMPOTENCY_REUSED, "");
    serve_as(s, "app/other", "alice", NODE_PHYSICIAN, "TREAT");
    s->who.idempotency_key = "key 1"; /* another principal's key is another key */
    Chartmesh__V1__PutReply *other = SERVE(s, "Records.Put", &request);
    assert_false(bytes_equal(bytes_pb(first->version), bytes_pb(other->version)));
}

static void test_records__a_failed_write_leaves_its_key_free(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutRequest request = put_request(s, "once");
    s->who.idempotency_key = "key 1";
    request.facts->media_type = (char *)(uintptr_t) "";
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_MISSING, "facts.media_type");
    request.facts->media_type = (char *)(uintptr_t) "text/plain";
    SERVE(s, "Records.Put", &request);
}

/* ---- Pages --------------------------------------------------------------------------------------------------------- */

static void test_records__a_list_comes_in_pages_bound_to_who_asked_what(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__ListRequest request = CHARTMESH__V1__LIST_REQUEST__INIT;
    for (int i = 0; i < 4; i++) {
        serve_put(s, subject, NULL, "x");
    }
    request.subject = subject;
    request.page_size = 3;
    Chartmesh__V1__ListReply *page = SERVE(s, "Records.List", &request);
    assert_int_equal(page->n_documents, 3);
    assert_int_equal(page->next_page_token.len, 128);
    request.page_token = page->next_page_token;
    Chartmesh__V1__ListReply *rest = SERVE(s, "Records.List", &request);
    assert_int_equal(rest->n_documents, 2); /* the identity is one too */
    assert_int_equal(rest->next_page_token.len, 0);
    Chartmesh__V1__ListRequest other = request;
    other.confidentiality_max = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_V;
    SERVE_FAILS(s, "Records.List", &other, ERR_INVALID, TOKEN_INVALID, "page_token");
    serve_as(s, "app/other", "alice", NODE_PHYSICIAN, "TREAT");
    SERVE_FAILS(s, "Records.List", &request, ERR_INVALID, TOKEN_INVALID, "page_token");
    request.page_token.data[20] ^= 1;
    SERVE_FAILS(s, "Records.List", &request, ERR_INVALID, TOKEN_INVALID, "page_token");
    request.page_size = 257;
    SERVE_FAILS(s, "Records.List", &request, ERR_INVALID, FIELD_INVALID, "page_size");
}

/* ---- Retract ------------------------------------------------------------------------------------------------------- */

static void test_records__a_retraction_hides_content_and_keeps_history(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__PutReply *put = serve_put(s, subject, NULL, "wrong patient");
    Chartmesh__V1__RetractRequest request = CHARTMESH__V1__RETRACT_REQUEST__INIT;
    request.subject = subject;
    request.document = put->document;
    request.version = put->version;
    SERVE_FAILS(s, "Records.Retract", &request, ERR_INVALID, FIELD_MISSING, "if_heads");
    request.if_heads = serve_heads(s, &put->version, NULL);
    request.n_if_heads = 1;
    Chartmesh__V1__PutReply *retracted = SERVE(s, "Records.Retract", &request);
    Chartmesh__V1__GetReply *read = get(s, put->document);
    assert_bytes_equal(bytes_pb(read->heads[0]->version), bytes_pb(retracted->version));
    assert_true(read->heads[0]->retracted);
    assert_int_equal(read->heads[0]->content.len, 0);
    Chartmesh__V1__GetRequest again = CHARTMESH__V1__GET_REQUEST__INIT;
    again.subject = subject;
    again.document = put->document;
    again.version = put->version;
    again.with_retracted = true;
    read = SERVE(s, "Records.Get", &again);
    assert_bytes_equal(bytes_pb(read->heads[0]->content), BYTES_LIT("wrong patient"));
    SERVE_FAILS(s, "Records.Retract", &request, ERR_CONFLICT, STALE_HEADS, "");
}

static void test_records__a_sensitivity_that_no_table_has_is_refused(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__Coding code = CHARTMESH__V1__CODING__INIT, *codes[] = {&code};
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    Chartmesh__V1__PutRequest request = put_request(s, "x");
    static const char *const refused[] = {"NOSUCH", "_ActInformationSensitivityPolicy", "hiv"};
    labels.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    labels.sensitivity = codes;
    labels.n_sensitivity = 1;
    request.facts->labels = &labels;
    code.system = (char *)(uintptr_t) "http://terminology.hl7.org/CodeSystem/v3-ActCode";
    for (size_t i = 0; i < COUNT(refused); i++) {
        code.code = (char *)(uintptr_t)refused[i];
        SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_INVALID, "facts.labels");
    }
    code.code = (char *)(uintptr_t) "HIV";
    SERVE(s, "Records.Put", &request);
    code.system = (char *)(uintptr_t) "urn:another";
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_INVALID, "facts.labels");
}

static void test_records__a_client_clock_a_year_ahead_is_refused_and_an_old_paper_is_not(void **state)
{
    struct serve *s = *state;
    enum { DAY_MS = 24 * 60 * 60 * 1000 };
    Chartmesh__V1__Instant authored = CHARTMESH__V1__INSTANT__INIT;
    Chartmesh__V1__PutRequest request = put_request(s, "x");
    int64_t now = (int64_t)world_now_ms(s->node->world);
    request.facts->authored = &authored;
    authored.ms = now + 365 * (int64_t)DAY_MS;
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_INVALID, "facts.authored");
    authored.ms = now + DAY_MS + 60 * 1000;
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_INVALID, "facts.authored");
    authored.ms = now + DAY_MS - 60 * 1000;
    SERVE(s, "Records.Put", &request);
    authored.ms = now - 365 * (int64_t)DAY_MS;
    SERVE(s, "Records.Put", &request);
    authored.ms = 0;
    SERVE(s, "Records.Put", &request);
    authored.ms = -1;
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, FIELD_INVALID, "facts.authored");
}

static void test_records__lists_that_show_nothing_fill_no_disk(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__ListRequest list = CHARTMESH__V1__LIST_REQUEST__INIT;
    list.subject = subject;
    serve_as(s, "app/emr", "carl", NODE_CLERK, "TREAT");
    for (int i = 0; i < 60; i++) {
        Chartmesh__V1__ListReply *page = SERVE(s, "Records.List", &list);
        assert_int_equal(page->n_documents, 0);
        assert_int_equal(page->receipt.len, i < 50 ? RECEIPT_LEN : 0);
    }
    assert_int_equal(serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_ABSENT), 50);
}

static void many(struct hash *ids, ProtobufCBinaryData *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ids[i] = (struct hash){{(uint8_t)i, 9}};
        out[i] = pb_bytes(BYTES_OF(ids[i]));
    }
}

static void test_records__65_heads_and_17_parents_are_too_many(void **state)
{
    struct serve *s = *state;
    struct hash ids[65];
    ProtobufCBinaryData list[65];
    many(ids, list, COUNT(list));
    Chartmesh__V1__PutReply *put = serve_put(s, subject, NULL, "one");
    Chartmesh__V1__PutRequest request = put_request(s, "two");
    request.document = put->document;
    request.if_heads = list;
    request.n_if_heads = 65;
    SERVE_FAILS(s, "Records.Put", &request, ERR_INVALID, TOO_LARGE, "if_heads");
    request.n_if_heads = 64;
    SERVE_FAILS(s, "Records.Put", &request, ERR_CONFLICT, STALE_HEADS, "");
    Chartmesh__V1__MergeRequest merge = CHARTMESH__V1__MERGE_REQUEST__INIT;
    merge.subject = subject;
    merge.document = put->document;
    merge.facts = serve_facts(s);
    merge.parents = list;
    merge.n_parents = 17;
    SERVE_FAILS(s, "Records.Merge", &merge, ERR_INVALID, TOO_LARGE, "parents");
    merge.n_parents = 16;
    SERVE_FAILS(s, "Records.Merge", &merge, ERR_CONFLICT, STALE_HEADS, "");
}

static void test_records__a_document_that_fills_a_calls_memory_stays_readable(void **state)
{
    struct serve *s = *state;
    enum { CODES = 64, CODE_LEN = 200 };
    static Chartmesh__V1__Coding codes[CODES], *list[CODES];
    static char names[CODES][CODE_LEN + 1];
    Chartmesh__V1__PutReply *put = serve_put(s, subject, NULL, "first");
    Chartmesh__V1__PutRequest request = put_request(s, "more");
    for (size_t i = 0; i < CODES; i++) {
        chartmesh__v1__coding__init(list[i] = &codes[i]);
        memset(names[i], 'a' + (int)(i % 26), CODE_LEN);
        names[i][0] = (char)('0' + i);
        codes[i].system = names[i];
        codes[i].code = names[i];
    }
    request.facts->category = list;
    request.facts->n_category = CODES;
    request.document = put->document;
    request.n_if_heads = 1;
    s->budget = 4 << 20;
    size_t versions = 1;
    for (ProtobufCMessage *reply = &put->base;; versions++) {
        request.if_heads = serve_heads(s, &((Chartmesh__V1__PutReply *)(void *)reply)->version, NULL);
        if (!serve_call(s, "Records.Put", &request.base, &reply)) {
            break;
        }
        assert_in_range(versions, 1, 200);
    }
    assert_int_equal(s->err.code, ERR_TOO_MUCH);
    assert_int_equal(s->err.reason, SERVE_REASON(TOO_LARGE));
    assert_in_range(versions, 4, 200);
    assert_int_equal(get(s, put->document)->n_heads, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_records__##name, setup, teardown)
        TEST(what_is_put_comes_back),
        TEST(I19_every_acknowledged_act_has_exactly_one_entry),
        TEST(a_receipt_opens_to_its_entry),
        TEST(an_amendment_names_the_heads_it_read),
        TEST(a_conflict_is_kept_and_shown_until_a_person_merges),
        TEST(history_has_every_version_parents_first),
        TEST(import_again_adds_nothing),
        TEST(labels_never_fall_below_what_is_amended),
        TEST(bad_facts_name_their_field),
        TEST(content_over_1_mib_is_for_upload),
        TEST(I9_denied_and_absent_are_one_answer),
        TEST(a_write_to_nobody_is_not_available),
        TEST(the_role_table_says_who_writes),
        TEST(a_retry_is_answered_as_before),
        TEST(a_key_used_for_another_request_is_refused),
        TEST(a_failed_write_leaves_its_key_free),
        TEST(a_list_comes_in_pages_bound_to_who_asked_what),
        TEST(a_retraction_hides_content_and_keeps_history),
        TEST(a_sensitivity_that_no_table_has_is_refused),
        TEST(a_client_clock_a_year_ahead_is_refused_and_an_old_paper_is_not),
        TEST(lists_that_show_nothing_fill_no_disk),
        TEST(65_heads_and_17_parents_are_too_many),
        TEST(a_document_that_fills_a_calls_memory_stays_readable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
