#include "node/service/service.h"

#include "proto/content/content.h"
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

/* ---- Upload and Download ------------------------------------------------------------------------------------------- */

enum { LARGE = 3 * CHUNK_LEN + 100 };
static uint8_t large[LARGE];

struct upload {
    Chartmesh__V1__UploadHeader header;
    Chartmesh__V1__UploadPiece pieces[8];
    Chartmesh__V1__UploadRequest requests[9];
    const ProtobufCMessage *messages[9];
    size_t count;
};

static struct id upload_id = {{1}};

static void begin_upload(struct serve *s, struct upload *u)
{
    for (size_t i = 0; i < LARGE; i++) {
        large[i] = (uint8_t)(i * 7 + i / 251);
    }
    *u = (struct upload){0};
    chartmesh__v1__upload_header__init(&u->header);
    u->header.upload = pb_bytes(BYTES_OF(upload_id));
    u->header.subject = subject;
    u->header.facts = serve_facts(s);
    u->header.length = LARGE;
    chartmesh__v1__upload_request__init(&u->requests[0]);
    u->requests[0].part_case = CHARTMESH__V1__UPLOAD_REQUEST__PART_HEADER;
    u->requests[0].header = &u->header;
    u->messages[u->count++] = &u->requests[0].base;
}

static void add_piece(struct upload *u, uint64_t offset, size_t len)
{
    Chartmesh__V1__UploadPiece *piece = &u->pieces[u->count];
    Chartmesh__V1__UploadRequest *request = &u->requests[u->count];
    chartmesh__v1__upload_piece__init(piece);
    piece->offset = offset;
    piece->data = pb_bytes(BYTES(large + MIN(offset, (uint64_t)LARGE - 1), len));
    chartmesh__v1__upload_request__init(request);
    request->part_case = CHARTMESH__V1__UPLOAD_REQUEST__PART_PIECE;
    request->piece = piece;
    u->messages[u->count++] = &request->base;
}

static bool upload(struct serve *s, const struct upload *u, bool breaks)
{
    s->sends = u->messages;
    s->sends_len = u->count;
    s->breaks = breaks;
    return serve_call(s, "Records.Upload", NULL, NULL);
}

static uint64_t offset_of(struct serve *s, size_t i)
{
    return ((Chartmesh__V1__UploadReply *)(void *)s->got[i])->offset;
}

static Chartmesh__V1__PutReply *done_of(struct serve *s)
{
    return ((Chartmesh__V1__UploadReply *)(void *)s->got[s->got_len - 1])->done;
}

static void check_download(struct serve *s, const Chartmesh__V1__PutReply *put, uint64_t offset, uint64_t length)
{
    Chartmesh__V1__DownloadRequest request = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
    size_t len = 0;
    request.subject = subject;
    request.document = put->document;
    request.version = put->version;
    request.offset = offset;
    request.length = length;
    SERVE(s, "Records.Download", &request);
    for (size_t i = 1; i < s->got_len; i++) {
        Chartmesh__V1__DownloadReply *piece = (void *)s->got[i];
        assert_int_equal(piece->offset, offset + len);
        assert_bytes_equal(bytes_pb(piece->data), BYTES(large + offset + len, piece->data.len));
        len += piece->data.len;
    }
    assert_int_equal(len, length ? length : LARGE - offset);
}

static void test_records__an_upload_comes_back_whole_and_in_ranges(void **state)
{
    struct serve *s = *state;
    struct upload u;
    begin_upload(s, &u);
    add_piece(&u, 0, 100000);
    add_piece(&u, 100000, LARGE - 100000);
    assert_true(upload(s, &u, false));
    assert_int_equal(s->got_len, 2);
    assert_int_equal(offset_of(s, 0), 0);
    Chartmesh__V1__PutReply *put = done_of(s);
    check_download(s, put, 0, 0);
    check_download(s, put, 70000, 5);
    check_download(s, put, LARGE - 1, 1);
    Chartmesh__V1__DownloadRequest beyond = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
    beyond.subject = subject;
    beyond.document = put->document;
    beyond.version = put->version;
    beyond.offset = LARGE + 1;
    SERVE_FAILS(s, "Records.Download", &beyond, ERR_RANGE, RANGE_INVALID, "");
    assert_true(upload(s, &u, false)); /* again: the same answer, nothing new */
    assert_bytes_equal(bytes_pb(done_of(s)->version), bytes_pb(put->version));
}

static void test_records__an_upload_goes_on_after_a_break_and_a_restart(void **state)
{
    struct serve *s = *state;
    struct upload u;
    begin_upload(s, &u);
    add_piece(&u, 0, 2 * CHUNK_LEN + 10);
    assert_false(upload(s, &u, true));
    assert_int_equal(s->err.code, ERR_CANCELLED);
    serve_restart(s);
    begin_upload(s, &u);
    add_piece(&u, 2 * CHUNK_LEN, CHUNK_LEN + 100);
    assert_true(upload(s, &u, false));
    assert_int_equal(offset_of(s, 0), 2 * CHUNK_LEN);
    check_download(s, done_of(s), 0, 0);
}

/* Runs the same upload once more, whole, while the first one waits for its answer. */
static struct upload second;
static struct hash second_version;

static void upload_beside(struct serve *s, size_t nth)
{
    const ProtobufCMessage *const *sends = s->sends;
    size_t len = s->sends_len, at = s->sends_at;
    if (nth != 1) {
        return;
    }
    s->on_send = NULL;
    begin_upload(s, &second);
    second.header.length = 100;
    add_piece(&second, 0, 100);
    assert_true(upload(s, &second, false));
    assert_true(hash_from(bytes_pb(done_of(s)->version), &second_version));
    s->sends = sends;
    s->sends_len = len;
    s->sends_at = at;
}

static void test_records__two_streams_of_one_upload_make_one_version(void **state)
{
    struct serve *s = *state;
    struct upload u;
    begin_upload(s, &u);
    u.header.length = 100;
    add_piece(&u, 0, 100);
    s->on_send = upload_beside;
    assert_true(upload(s, &u, false));
    assert_bytes_equal(bytes_pb(done_of(s)->version), BYTES_OF(second_version));
    assert_int_equal(serve_entries(s, WRITE), 2); /* the identity, and one */
}

/* What a purge of the patient does to the keys, between two pieces. */
static void purge_keys(struct serve *s, size_t nth)
{
    struct err err;
    struct id facility, patient;
    if (nth != 1) {
        return;
    }
    assert_true(id_from(bytes_pb(subject->facility), &facility) && id_from(bytes_pb(subject->patient), &patient));
    struct id p = subject_make(&facility, &patient).p;
    struct log_txn *txn = log_txn_new(s->node->log);
    assert_ok(keys_purge(s->node->keys, &p, NULL, 0, log_txn_rows(txn), &err));
    assert_ok(log_commit(txn, NULL, &err));
}

static void test_records__an_upload_that_a_purge_overtakes_is_not_acknowledged(void **state)
{
    struct serve *s = *state;
    struct upload u;
    begin_upload(s, &u);
    add_piece(&u, 0, 2 * CHUNK_LEN);
    assert_false(upload(s, &u, true));
    begin_upload(s, &u);
    add_piece(&u, 2 * CHUNK_LEN, CHUNK_LEN + 100);
    s->on_send = purge_keys;
    assert_false(upload(s, &u, false));
    s->on_send = NULL;
    assert_int_equal(s->err.code, ERR_INVALID);
    assert_int_equal(s->err.reason, SERVE_REASON(UPLOAD_BROKEN));
    assert_int_equal(serve_entries(s, WRITE), 1);
}

static void expect_broken(struct serve *s, const struct upload *u)
{
    assert_false(upload(s, u, false));
    assert_int_equal(s->err.code, ERR_INVALID);
    assert_int_equal(s->err.reason, SERVE_REASON(UPLOAD_BROKEN));
}

static void test_records__truncated_reordered_and_repeated_pieces_break_an_upload(void **state)
{
    struct serve *s = *state;
    struct upload u;
    begin_upload(s, &u);
    expect_broken(s, &u); /* truncated */
    begin_upload(s, &u);
    add_piece(&u, CHUNK_LEN, CHUNK_LEN); /* reordered */
    expect_broken(s, &u);
    begin_upload(s, &u);
    add_piece(&u, 0, CHUNK_LEN);
    add_piece(&u, 0, CHUNK_LEN); /* repeated */
    expect_broken(s, &u);
    begin_upload(s, &u);
    add_piece(&u, CHUNK_LEN, 10);
    u.messages[u.count++] = u.messages[0]; /* a second header */
    expect_broken(s, &u);
    begin_upload(s, &u);
    u.header.length = CHUNK_LEN + 5; /* another header */
    expect_broken(s, &u);
    upload_id.bytes[0]++;
    begin_upload(s, &u);
    u.header.length = 10;
    add_piece(&u, 0, 11); /* beyond */
    expect_broken(s, &u);
    begin_upload(s, &u);
    u.header.length = CONTENT_MAX + 1;
    assert_false(upload(s, &u, false));
    assert_int_equal(s->err.reason, SERVE_REASON(TOO_LARGE));
    assert_int_equal(serve_entries(s, WRITE), 1); /* only the identity */
}

static void test_records__a_copy_whose_chunks_have_not_come_is_incomplete(void **state)
{
    struct serve *s = *state;
    struct id facility, patient, document = node_document(s->node, 1);
    assert_true(id_from(bytes_pb(subject->facility), &facility) && id_from(bytes_pb(subject->patient), &patient));
    const struct node_put put = {.subject = subject_make(&facility, &patient),
                                 .document = document,
                                 .content = BYTES(large, LARGE),
                                 .incomplete = true};
    struct hash version = node_put(s->node, &put);
    Chartmesh__V1__DownloadRequest request = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
    request.subject = subject;
    request.document = pb_bytes(BYTES_OF(document));
    request.version = pb_bytes(BYTES_OF(version));
    SERVE_FAILS(s, "Records.Download", &request, ERR_STATE, CONTENT_INCOMPLETE, "");
    assert_false(get(s, request.document)->heads[0]->complete);
}

static void test_records__I8_a_retraction_does_not_wait_for_the_content_it_hides(void **state)
{
    struct serve *s = *state;
    struct err err;
    const struct id *origin = &s->federation->members[1].id;
    struct id patient = {{7}}, document = node_document(s->node, 1);
    const struct node_put put = {.subject = subject_make(origin, &patient),
                                 .document = document,
                                 .content = BYTES(large, LARGE),
                                 .incomplete = true};
    struct hash version = node_put(s->node, &put);
    ProtobufCBinaryData head = pb_bytes(BYTES_OF(version));
    Chartmesh__V1__Subject foreign = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__RetractRequest request = CHARTMESH__V1__RETRACT_REQUEST__INIT;
    uint64_t before, after;
    foreign.facility = pb_bytes(BYTES_OF(*origin));
    foreign.patient = pb_bytes(BYTES_OF(patient));
    request.subject = &foreign;
    request.document = pb_bytes(BYTES_OF(document));
    request.version = head;
    request.if_heads = &head;
    request.n_if_heads = 1;
    assert_ok(chart_outbox_count(s->node->chart, origin, CHARTMESH__V1__LANE__LANE_BULK, &before, &err));
    SERVE(s, "Records.Retract", &request);
    assert_ok(chart_outbox_count(s->node->chart, origin, CHARTMESH__V1__LANE__LANE_BULK, &after, &err));
    assert_int_equal(after, before + 1);
}

/* ---- Watch ----------------------------------------------------------------------------------------------------------- */

static void put_once(struct serve *s, size_t nth)
{
    static bool busy;
    if (nth == 1 && !busy) {
        struct service_metadata who = s->who;
        size_t got = s->got_len;
        busy = true;
        serve_put(s, subject, NULL, "watched");
        busy = false;
        s->who = who;
        s->got_len = got;
    }
}

static Chartmesh__V1__WatchEvent *event(struct serve *s, size_t i)
{
    return (void *)s->got[i];
}

static void test_records__a_watch_starts_shows_what_comes_and_resumes(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    request.subject = subject;
    serve_put(s, subject, NULL, "before");
    s->on_send = put_once;
    s->idle = 3;
    assert_false(serve_call(s, "Records.Watch", &request.base, NULL));
    assert_int_equal(s->err.code, ERR_CANCELLED);
    assert_int_equal(s->got_len, 2);
    assert_int_equal(event(s, 0)->kind, CHARTMESH__V1__WATCH_KIND__WATCH_KIND_STARTED);
    assert_int_equal(event(s, 1)->kind, CHARTMESH__V1__WATCH_KIND__WATCH_KIND_VERSION);
    assert_int_equal(event(s, 1)->receipt.len, RECEIPT_LEN);
    request.resume_token = event(s, 0)->resume_token;
    s->on_send = NULL;
    s->idle = 3;
    assert_false(serve_call(s, "Records.Watch", &request.base, NULL));
    assert_int_equal(s->got_len, 2); /* the same event again: nothing is missed */
    request.subject = NULL;
    SERVE_FAILS(s, "Records.Watch", &request, ERR_INVALID, TOKEN_INVALID, "resume_token");
}

static void test_records__a_watch_shows_nothing_that_may_not_be_read(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    s->idle = 1;
    assert_false(serve_call(s, "Records.Watch", &request.base, NULL));
    request.resume_token = event(s, 0)->resume_token;
    serve_put(s, subject, NULL, "secret");
    serve_as(s, "app/emr", "carl", NODE_CLERK, "TREAT");
    s->idle = 3;
    assert_false(serve_call(s, "Records.Watch", &request.base, NULL));
    assert_int_equal(s->got_len, 1); /* STARTED */
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
        TEST(an_upload_comes_back_whole_and_in_ranges),
        TEST(an_upload_goes_on_after_a_break_and_a_restart),
        TEST(two_streams_of_one_upload_make_one_version),
        TEST(an_upload_that_a_purge_overtakes_is_not_acknowledged),
        TEST(truncated_reordered_and_repeated_pieces_break_an_upload),
        TEST(a_copy_whose_chunks_have_not_come_is_incomplete),
        TEST(I8_a_retraction_does_not_wait_for_the_content_it_hides),
        TEST(a_watch_starts_shows_what_comes_and_resumes),
        TEST(a_watch_shows_nothing_that_may_not_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
