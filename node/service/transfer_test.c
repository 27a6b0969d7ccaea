/* Upload and Download: content of any size. */
#include "node/service/service.h"

#include "proto/content/content.h"
#include "tests/lib/service.h"

#define WRITE CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WRITE

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

static void test_transfer__an_upload_comes_back_whole_and_in_ranges(void **state)
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

static void test_transfer__an_upload_goes_on_after_a_break_and_a_restart(void **state)
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

static void test_transfer__two_streams_of_one_upload_make_one_version(void **state)
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

static void test_transfer__an_upload_that_a_purge_overtakes_is_not_acknowledged(void **state)
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

static void test_transfer__truncated_reordered_and_repeated_pieces_break_an_upload(void **state)
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

static void test_transfer__a_copy_whose_chunks_have_not_come_is_incomplete(void **state)
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

static void test_transfer__I8_a_retraction_does_not_wait_for_the_content_it_hides(void **state)
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

static struct subject own_subject(void)
{
    struct id facility, patient;
    assert_true(id_from(bytes_pb(subject->facility), &facility) && id_from(bytes_pb(subject->patient), &patient));
    return subject_make(&facility, &patient);
}

/* As a receiver stores it: the retraction waits for no content, and none comes after it. */
static void test_transfer__a_retraction_whose_content_never_came_is_incomplete_not_corrupt(void **state)
{
    struct serve *s = *state;
    struct id document = node_document(s->node, 1);
    struct node_put put = {
        .subject = own_subject(), .document = document, .content = BYTES(large, LARGE), .incomplete = true};
    struct hash parent = node_put(s->node, &put);
    put = (struct node_put){.subject = put.subject,
                            .document = document,
                            .parents = &parent,
                            .parents_len = 1,
                            .kind = CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR};
    struct hash retraction = node_put(s->node, &put);
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    request.subject = subject;
    request.document = pb_bytes(BYTES_OF(document));
    request.with_retracted = true;
    Chartmesh__V1__GetReply *read = SERVE(s, "Records.Get", &request);
    assert_int_equal(read->n_heads, 1);
    assert_false(read->heads[0]->complete);
    assert_int_equal(read->heads[0]->content.len, 0);
    Chartmesh__V1__DownloadRequest download = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
    download.subject = subject;
    download.document = request.document;
    download.version = pb_bytes(BYTES_OF(retraction));
    SERVE_FAILS(s, "Records.Download", &download, ERR_STATE, CONTENT_INCOMPLETE, "");
}

/* Every answer that tells of a version has its entry: also one that says no more than how long it is not. */
static void test_transfer__a_range_beyond_the_content_is_a_read(void **state)
{
    struct serve *s = *state;
    struct upload u;
    begin_upload(s, &u);
    add_piece(&u, 0, 100000);
    add_piece(&u, 100000, LARGE - 100000);
    assert_true(upload(s, &u, false));
    Chartmesh__V1__PutReply *put = done_of(s);
    static const struct {
        uint64_t offset, length;
        bool ok;
    } ranges[] = {{LARGE, 0, true},           {LARGE + 1, 0, false},         {LARGE, 1, false},
                  {0, LARGE + 1, false},      {1, UINT64_MAX, false},        {UINT64_MAX, UINT64_MAX, false},
                  {LARGE - 1, 2, false},      {CHUNK_LEN - 1, 2, true},      {CHUNK_LEN, CHUNK_LEN, true},
                  {2 * CHUNK_LEN, 100, true}, {3 * CHUNK_LEN - 1, 101, true}};
    for (size_t i = 0; i < COUNT(ranges); i++) {
        uint64_t reads = serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_READ);
        Chartmesh__V1__DownloadRequest request = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
        request.subject = subject;
        request.document = put->document;
        request.version = put->version;
        request.offset = ranges[i].offset;
        request.length = ranges[i].length;
        if (ranges[i].ok) {
            check_download(s, put, ranges[i].offset, ranges[i].length);
        } else {
            SERVE_FAILS(s, "Records.Download", &request, ERR_RANGE, RANGE_INVALID, "");
            assert_int_equal(s->got_len, 0);
        }
        assert_int_equal(serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_READ), reads + 1);
    }
}

/* ---- Uploads that are not finished --------------------------------------------------------------------------------- */

static size_t rows_of(struct serve *s, enum store_family family, struct bytes prefix)
{
    struct err err;
    const struct store_span span = {.prefix = prefix};
    AUTO_STORE_ITER iter = NULL;
    size_t count = 0;
    assert_ok(store_iter_open(s->node->store, NULL, family, &span, &iter, &err));
    while (store_iter_next(iter)) {
        count++;
    }
    assert_ok(store_iter_check(iter, &err));
    return count;
}

struct rows {
    size_t chunks, keys, uploads;
};

static struct rows rows(struct serve *s)
{
    return (struct rows){rows_of(s, FAMILY_CHUNK, BYTES_NONE), rows_of(s, FAMILY_KEY, BYTES_NONE),
                         rows_of(s, FAMILY_META, BYTES_LIT("u"))};
}

static void assert_rows(struct serve *s, struct rows wanted)
{
    struct rows now = rows(s);
    assert_int_equal(now.chunks, wanted.chunks);
    assert_int_equal(now.keys, wanted.keys);
    assert_int_equal(now.uploads, wanted.uploads);
}

/* One with two chunks behind it. */
static void leave_unfinished(struct serve *s, uint8_t id)
{
    struct upload u;
    upload_id = (struct id){{id}};
    begin_upload(s, &u);
    add_piece(&u, 0, 2 * CHUNK_LEN);
    assert_false(upload(s, &u, true));
    assert_int_equal(s->err.code, ERR_CANCELLED);
}

static bool abort_upload(struct serve *s, uint8_t id)
{
    Chartmesh__V1__AbortUploadRequest request = CHARTMESH__V1__ABORT_UPLOAD_REQUEST__INIT;
    struct id upload = {{id}};
    request.upload = pb_bytes(BYTES_OF(upload));
    return ((Chartmesh__V1__AbortUploadReply *)SERVE(s, "Records.AbortUpload", &request))->aborted;
}

static void test_transfer__an_aborted_upload_leaves_nothing(void **state)
{
    struct serve *s = *state;
    struct rows before = rows(s);
    leave_unfinished(s, 1);
    assert_rows(s, (struct rows){before.chunks + 2, before.keys + 1, 1});
    assert_true(abort_upload(s, 1));
    assert_rows(s, before);
    assert_false(abort_upload(s, 1)); /* again: the same end */
    assert_false(abort_upload(s, 77));
    struct upload u;
    upload_id = (struct id){{1}};
    begin_upload(s, &u);
    add_piece(&u, 0, LARGE);
    assert_true(upload(s, &u, false)); /* the id is free */
    assert_int_equal(offset_of(s, 0), 0);
    assert_false(abort_upload(s, 1)); /* finished: it stays */
    check_download(s, done_of(s), 0, 0);
}

static void test_transfer__only_who_began_an_upload_aborts_it(void **state)
{
    struct serve *s = *state;
    leave_unfinished(s, 1);
    struct rows before = rows(s);
    serve_as(s, "app/other", "alice", NODE_PHYSICIAN, "TREAT");
    assert_false(abort_upload(s, 1));
    assert_rows(s, before);
    Chartmesh__V1__AbortUploadRequest request = CHARTMESH__V1__ABORT_UPLOAD_REQUEST__INIT;
    SERVE_FAILS(s, "Records.AbortUpload", &request, ERR_INVALID, FIELD_MISSING, "upload");
    serve_as(s, "app/emr", "carl", NODE_CLERK, "TREAT");
    struct id id = {{1}};
    request.upload = pb_bytes(BYTES_OF(id));
    SERVE_FAILS(s, "Records.AbortUpload", &request, ERR_DENIED, NOT_PERMITTED, "");
    assert_rows(s, before);
}

static void abort_beside(struct serve *s, size_t nth)
{
    Chartmesh__V1__AbortUploadRequest request = CHARTMESH__V1__ABORT_UPLOAD_REQUEST__INIT;
    if (nth != 1) {
        return;
    }
    size_t got = s->got_len;
    request.upload = pb_bytes(BYTES_OF(upload_id));
    SERVE(s, "Records.AbortUpload", &request);
    s->got_len = got;
}

static void test_transfer__a_stream_whose_upload_was_aborted_is_broken(void **state)
{
    struct serve *s = *state;
    struct rows before = rows(s);
    struct upload u;
    leave_unfinished(s, 1);
    begin_upload(s, &u);
    add_piece(&u, 2 * CHUNK_LEN, CHUNK_LEN + 100);
    s->on_send = abort_beside;
    assert_false(upload(s, &u, false));
    s->on_send = NULL;
    assert_int_equal(s->err.reason, SERVE_REASON(UPLOAD_BROKEN));
    assert_rows(s, before);
}

/* Another stream of the same upload brings the next chunk, while the first waits for its answer. */
static void chunk_beside(struct serve *s, size_t nth)
{
    const ProtobufCMessage *const *sends = s->sends;
    size_t len = s->sends_len, at = s->sends_at;
    if (nth != 1) {
        return;
    }
    s->on_send = NULL;
    begin_upload(s, &second);
    add_piece(&second, 2 * CHUNK_LEN, CHUNK_LEN);
    assert_false(upload(s, &second, true));
    s->sends = sends;
    s->sends_len = len;
    s->sends_at = at;
    s->breaks = false;
}

static void test_transfer__of_two_streams_of_one_upload_the_one_that_is_behind_ends(void **state)
{
    struct serve *s = *state;
    struct upload u;
    leave_unfinished(s, 1);
    begin_upload(s, &u);
    add_piece(&u, 2 * CHUNK_LEN, CHUNK_LEN + 100);
    s->on_send = chunk_beside;
    assert_false(upload(s, &u, false));
    s->on_send = NULL;
    assert_int_equal(s->err.reason, SERVE_REASON(UPLOAD_BROKEN));
    begin_upload(s, &u);
    add_piece(&u, 3 * CHUNK_LEN, 100);
    assert_true(upload(s, &u, false));
    assert_int_equal(offset_of(s, 0), 3 * CHUNK_LEN);
    check_download(s, done_of(s), 0, 0);
}

static void test_transfer__one_application_has_so_many_unfinished_uploads(void **state)
{
    struct serve *s = *state;
    struct upload u;
    struct err err;
    struct service_uploads counted;
    s->config->max_uploads = 2;
    leave_unfinished(s, 1);
    leave_unfinished(s, 2);
    upload_id = (struct id){{3}};
    begin_upload(s, &u);
    add_piece(&u, 0, LARGE);
    assert_false(upload(s, &u, false));
    assert_int_equal(s->err.code, ERR_TOO_MUCH);
    assert_int_equal(s->err.reason, SERVE_REASON(OVERLOADED));
    assert_int_equal(s->got_len, 0); /* refused before it sends anything */
    upload_id = (struct id){{2}};
    begin_upload(s, &u);
    add_piece(&u, 2 * CHUNK_LEN, 10);
    assert_false(upload(s, &u, true)); /* one that is begun goes on */
    assert_int_equal(s->err.code, ERR_CANCELLED);
    upload_id = (struct id){{4}};
    begin_upload(s, &u);
    u.header.length = CHUNK_LEN; /* comes whole, leaves nothing */
    add_piece(&u, 0, CHUNK_LEN);
    assert_true(upload(s, &u, false));
    serve_as(s, "app/other", "alice", NODE_PHYSICIAN, "TREAT");
    leave_unfinished(s, 3); /* another application's own */
    serve_as(s, "app/emr", "alice", NODE_PHYSICIAN, "TREAT");
    assert_true(abort_upload(s, 1));
    leave_unfinished(s, 3);
    assert_ok(service_uploads(&s->service, &counted, &err));
    assert_int_equal(counted.begun, 5);
    assert_int_equal(counted.finished, 1);
    assert_int_equal(counted.aborted, 1);
    assert_int_equal(counted.refused, 1);
    assert_int_equal(counted.open, 3);
    assert_int_equal(counted.bytes, 6 * CHUNK_LEN);
}

static void test_transfer__the_lengths_of_unfinished_uploads_have_a_sum(void **state)
{
    struct serve *s = *state;
    struct upload u;
    s->config->upload_bytes = 2 * (uint64_t)LARGE - 1;
    leave_unfinished(s, 1);
    upload_id = (struct id){{2}};
    begin_upload(s, &u);
    assert_false(upload(s, &u, false));
    assert_int_equal(s->err.reason, SERVE_REASON(OVERLOADED));
    s->config->upload_bytes++;
    leave_unfinished(s, 2);
}

static void test_transfer__what_is_left_alone_goes_after_its_time(void **state)
{
    struct serve *s = *state;
    enum { HOUR_MS = 60 * 60 * 1000 };
    struct rows before = rows(s);
    struct service_job *job;
    struct service_uploads counted;
    struct err err;
    leave_unfinished(s, 1);
    world_sim_advance(s->sim, 20 * (uint64_t)HOUR_MS);
    leave_unfinished(s, 2);
    assert_ok(service_job_open(&s->service, &job, &err));
    world_sim_advance(s->sim, 5 * (uint64_t)HOUR_MS);
    assert_rows(s, (struct rows){before.chunks + 2, before.keys + 1, 1});
    struct upload u;
    begin_upload(s, &u);
    add_piece(&u, 2 * CHUNK_LEN, CHUNK_LEN + 100);
    assert_true(upload(s, &u, false)); /* the younger one goes on */
    Chartmesh__V1__PutReply *put = done_of(s);
    world_sim_advance(s->sim, 30 * (uint64_t)HOUR_MS);
    check_download(s, put, 0, 0); /* what is finished stays */
    service_job_close(job);
    leave_unfinished(s, 3);
    world_sim_advance(s->sim, 30 * (uint64_t)HOUR_MS);
    assert_ok(service_uploads(&s->service, &counted, &err));
    assert_int_equal(counted.expired, 1);
    assert_int_equal(counted.open, 1); /* no job, no end */
    assert_ok(service_clean_uploads(&s->service, &err));
    assert_ok(service_uploads(&s->service, &counted, &err));
    assert_int_equal(counted.expired, 2);
    assert_int_equal(counted.open, 0);
}

static void test_transfer__an_import_that_was_known_keeps_no_second_content(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__ImportKey key = CHARTMESH__V1__IMPORT_KEY__INIT;
    struct upload u;
    key.system = (char *)(uintptr_t) "urn:source";
    key.id = (char *)(uintptr_t) "1";
    upload_id = (struct id){{1}};
    begin_upload(s, &u);
    u.header.import_key = &key;
    add_piece(&u, 0, LARGE);
    assert_true(upload(s, &u, false));
    struct rows before = rows(s);
    upload_id = (struct id){{2}};
    begin_upload(s, &u);
    u.header.import_key = &key;
    add_piece(&u, 0, 2 * CHUNK_LEN);
    add_piece(&u, 2 * CHUNK_LEN, CHUNK_LEN + 100);
    assert_true(upload(s, &u, false));
    assert_true(done_of(s)->unchanged);
    assert_rows(s, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_transfer__##name, setup, teardown)
        TEST(an_upload_comes_back_whole_and_in_ranges),
        TEST(an_upload_goes_on_after_a_break_and_a_restart),
        TEST(two_streams_of_one_upload_make_one_version),
        TEST(an_upload_that_a_purge_overtakes_is_not_acknowledged),
        TEST(truncated_reordered_and_repeated_pieces_break_an_upload),
        TEST(a_copy_whose_chunks_have_not_come_is_incomplete),
        TEST(I8_a_retraction_does_not_wait_for_the_content_it_hides),
        TEST(a_retraction_whose_content_never_came_is_incomplete_not_corrupt),
        TEST(a_range_beyond_the_content_is_a_read),
        TEST(an_aborted_upload_leaves_nothing),
        TEST(only_who_began_an_upload_aborts_it),
        TEST(a_stream_whose_upload_was_aborted_is_broken),
        TEST(of_two_streams_of_one_upload_the_one_that_is_behind_ends),
        TEST(one_application_has_so_many_unfinished_uploads),
        TEST(the_lengths_of_unfinished_uploads_have_a_sum),
        TEST(what_is_left_alone_goes_after_its_time),
        TEST(an_import_that_was_known_keeps_no_second_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
