/* The library against a node that does what each test says. */
#include <stdio.h>
#include <stdlib.h>

#include "client/chartmesh.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/chartmesh/v1/message.h"
#include "proto/content/content.h"
#include "tests/lib/federation.h"
#include "tests/lib/rpc.h"

enum { SIZE = 300000, PATIENT = 1, DOCUMENT = 2 };
#define REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name

/* The node, and what it saw. */
struct fake {
    struct federation *federation;
    struct fixture *rpc;
    struct chartmesh *client;
    uint8_t content[SIZE];
    struct hash version;
    Chartmesh__V1__VersionView view;
    Chartmesh__V1__Envelope *envelope;
    struct content_meta meta;
    /* what it does */
    unsigned breaks;             /* so many streams are broken off half-way */
    bool garble;                 /* a byte of the content differs */
    /* what it saw */
    char user[64], role[64], purpose[64], key[64];
    uint64_t taken;              /* bytes of an upload */
    unsigned calls;
    uint8_t token;               /* of the last event that it sent */
};

static void note(struct rpc_call *call, const char *name, char out[64])
{
    struct err err;
    const char *value = NULL;
    assert_ok(rpc_metadata(call, name, &value, &err));
    snprintf(out, 64, "%s", value ? value : "");
}

static void note_all(struct rpc_call *call, struct fake *fake)
{
    note(call, "x-chartmesh-user", fake->user);
    note(call, "x-chartmesh-role", fake->role);
    note(call, "x-chartmesh-purpose", fake->purpose);
    note(call, "x-chartmesh-idempotency-key", fake->key);
    fake->calls++;
}

static bool break_off(struct fake *fake, struct err *err)
{
    fake->breaks--;
    return err_raise(err, ERR_UNAVAILABLE, "the test breaks it off");
}

static bool fake_put(struct rpc_call *call, void *ctx, const ProtobufCMessage *request, ProtobufCMessage *reply,
                     struct err *err)
{
    struct fake *fake = ctx;
    Chartmesh__V1__PutReply *out = (void *)reply;
    note_all(call, fake);
    if (((const Chartmesh__V1__PutRequest *)request)->content.len == 0) {
        return err_raise_field(err, REASON(FIELD_MISSING), "content", "content is missing");
    }
    out->version = pb_bytes(BYTES_OF(fake->version));
    return true;
}

static bool fake_get(struct rpc_call *call, void *ctx, const ProtobufCMessage *request, ProtobufCMessage *reply,
                     struct err *err)
{
    struct fake *fake = ctx;
    Chartmesh__V1__GetReply *out = (void *)reply;
    void *room;
    (void)request;
    note_all(call, fake);
    if (!arena_alloc(rpc_call_arena(call), sizeof *out->heads, &room, err)) {
        return false;
    }
    out->heads = room;
    out->heads[0] = &fake->view;
    out->n_heads = 1;
    return true;
}

static bool fake_upload(struct rpc_call *call, void *ctx, const ProtobufCMessage *none, ProtobufCMessage *none_too,
                        struct err *err)
{
    struct fake *fake = ctx;
    const ProtobufCMessage *message;
    Chartmesh__V1__UploadReply reply = CHARTMESH__V1__UPLOAD_REPLY__INIT;
    Chartmesh__V1__PutReply done = CHARTMESH__V1__PUT_REPLY__INIT;
    (void)none, (void)none_too;
    note_all(call, fake);
    if (!rpc_recv(call, &message, err)) {
        return false;
    }
    uint64_t length = ((const Chartmesh__V1__UploadRequest *)message)->header->length;
    reply.offset = fake->taken;
    if (!rpc_send(call, &reply.base, err)) {
        return false;
    }
    while (fake->taken < length) {
        if (!rpc_recv(call, &message, err) || !message) {
            return message ? false : err_raise(err, ERR_INVALID, "it ended early");
        }
        const Chartmesh__V1__UploadPiece *piece = ((const Chartmesh__V1__UploadRequest *)message)->piece;
        if (piece->offset != fake->taken) {
            return err_raise_reason(err, ERR_INVALID, REASON(UPLOAD_BROKEN), "another offset");
        }
        bool same = memcmp(piece->data.data, fake->content + piece->offset, piece->data.len) == 0;
        if (!same) {
            return err_raise(err, ERR_INVALID, "other bytes");
        }
        fake->taken += piece->data.len;
        if (fake->breaks) {
            fake->taken -= 1000;                         /* not all of it had become durable */
            return break_off(fake, err);
        }
    }
    done.version = pb_bytes(BYTES_OF(fake->version));
    reply.done = &done;
    return rpc_send(call, &reply.base, err);
}

static bool send_piece(struct fake *fake, struct rpc_call *call, uint64_t offset, size_t len, bool first,
                       struct err *err)
{
    Chartmesh__V1__DownloadReply reply = CHARTMESH__V1__DOWNLOAD_REPLY__INIT;
    reply.version = first ? &fake->view : NULL;
    reply.offset = offset;
    reply.data = pb_bytes(BYTES(fake->content + offset, len));
    return rpc_send(call, &reply.base, err);
}

static bool fake_download(struct rpc_call *call, void *ctx, const ProtobufCMessage *request,
                          ProtobufCMessage *none, struct err *err)
{
    struct fake *fake = ctx;
    const Chartmesh__V1__DownloadRequest *in = (const void *)request;
    uint64_t at = in->offset, end = in->length ? in->offset + in->length : SIZE;
    (void)none;
    note_all(call, fake);
    if (fake->garble) {
        fake->content[SIZE - 1] ^= 1;
    }
    for (bool first = true; first || at < end; first = false) {
        size_t len = (size_t)MIN(end - at, (uint64_t)50000);
        if (!send_piece(fake, call, at, len, first, err)) {
            return false;
        }
        at += len;
        if (fake->breaks && at > end / 2) {
            return break_off(fake, err);
        }
    }
    return true;
}

static bool fake_watch(struct rpc_call *call, void *ctx, const ProtobufCMessage *request, ProtobufCMessage *none,
                       struct err *err)
{
    struct fake *fake = ctx;
    const Chartmesh__V1__WatchRequest *in = (const void *)request;
    (void)none;
    fake->calls++;
    if (in->resume_token.len ? in->resume_token.data[0] != fake->token : fake->token != 0) {
        return err_raise_reason(err, ERR_INVALID, REASON(TOKEN_INVALID), "it resumes at another place");
    }
    for (unsigned i = 0; i < 3; i++) {
        Chartmesh__V1__WatchEvent event = CHARTMESH__V1__WATCH_EVENT__INIT;
        event.kind = CHARTMESH__V1__WATCH_KIND__WATCH_KIND_VERSION;
        fake->token++;
        event.resume_token = pb_bytes(BYTES(&fake->token, 1));
        if (!rpc_send(call, &event.base, err)) {
            return false;
        }
    }
    return break_off(fake, err);
}

#define IN(type) .in = &chartmesh__v1__##type##__descriptor
#define OUT(type) .out = &chartmesh__v1__##type##__descriptor

static const struct rpc_method methods[] = {
    {.path = "/chartmesh.v1.Records/Put", .run = fake_put, IN(put_request), OUT(put_reply)},
    {.path = "/chartmesh.v1.Records/Get", .run = fake_get, IN(get_request), OUT(get_reply)},
    {.path = "/chartmesh.v1.Records/Upload",
     .kind = RPC_BIDI,
     .run = fake_upload,
     IN(upload_request),
     OUT(upload_reply)},
    {.path = "/chartmesh.v1.Records/Download",
     .kind = RPC_SERVER_STREAM,
     .run = fake_download,
     IN(download_request),
     OUT(download_reply)},
    {.path = "/chartmesh.v1.Records/Watch",
     .kind = RPC_SERVER_STREAM,
     .run = fake_watch,
     IN(watch_request),
     OUT(watch_event)},
};

static void make_version(struct fake *fake)
{
    struct err err;
    struct statement statement;
    ProtobufCMessage *envelope;
    for (size_t i = 0; i < SIZE; i++) {
        fake->content[i] = (uint8_t)(i * 7 + i / 1000);
    }
    const struct federation_version version = {
        .patient = PATIENT, .document = DOCUMENT, .counter = 1, .content = BYTES(fake->content, SIZE)};
    struct bytes bytes = federation_sign_version(fake->federation, &version, &fake->rpc->arena);
    fake->meta = federation_content(&version);
    assert_ok(statement_parse(bytes, &fake->rpc->arena, &statement, &err));
    assert_ok(message_unpack(&chartmesh__v1__envelope__descriptor, bytes, &fake->rpc->arena, &envelope, &err));
    fake->version = statement.id;
    chartmesh__v1__version_view__init(&fake->view);
    fake->envelope = (void *)envelope;
    fake->view.statement = fake->envelope;
    fake->view.version = pb_bytes(BYTES_OF(fake->version));
    fake->view.salt = pb_bytes(BYTES_OF(fake->meta.salt));
    fake->view.root = pb_bytes(BYTES_OF(fake->meta.root));
    fake->view.complete = true;
}

static int begin(void **state)
{
    struct err err;
    struct fake *fake = calloc(1, sizeof *fake);
    const struct rpc_service service = {methods, COUNT(methods), fake};
    fake->federation = federation_new(2);
    fake->rpc = fixture_begin(&service, 1, NULL);
    make_version(fake);
    const struct chartmesh_config config = {
        .target = fake->rpc->target,
        .server_name = "node.test",
        .ca_pem = fake->rpc->ca.certificate,
        .certificate_pem = fake->rpc->client_cert.certificate,
        .key_pem = fake->rpc->client_cert.key,
        .caller = {"Dr. Öztürk", "urn:x|doctor", "TREAT"},
        .timeout_ms = 20000,
        .runtime = fake->rpc->rpc,
    };
    assert_ok(chartmesh_open(&config, &fake->client, &err));
    *state = fake;
    return 0;
}

static int end(void **state)
{
    struct fake *fake = *state;
    chartmesh_close(fake->client);
    fixture_end(fake->rpc);
    federation_free(fake->federation);
    free(fake);
    return 0;
}

/* -- calls */

static bool put(struct fake *fake, struct bytes content, const struct chartmesh_call *call, struct err *err)
{
    AUTO_ARENA(arena, 1 << 20);
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    const Chartmesh__V1__PutReply *reply;
    request.content = pb_bytes(content);
    return chartmesh_record_put(fake->client, &request, call, &arena, &reply, err);
}

static void test_client__says_who_acts_and_draws_a_key_for_each_write(void **state)
{
    struct fake *fake = *state;
    struct err err;
    char first[64];
    assert_ok(put(fake, BYTES_LIT("x"), NULL, &err));
    assert_string_equal(fake->user, "Dr. Öztürk");
    assert_string_equal(fake->role, "urn:x|doctor");
    assert_string_equal(fake->purpose, "TREAT");
    assert_int_equal(strlen(fake->key), 32);
    memcpy(first, fake->key, sizeof first);
    assert_ok(put(fake, BYTES_LIT("x"), NULL, &err));
    assert_string_not_equal(fake->key, first);
    const struct chartmesh_call call = {.caller = {.purpose = "ETREAT"}, .idempotency_key = "mine"};
    assert_ok(put(fake, BYTES_LIT("x"), &call, &err));
    assert_string_equal(fake->key, "mine");
    assert_string_equal(fake->purpose, "ETREAT");
    assert_string_equal(fake->user, "Dr. Öztürk");
}

static void test_client__an_error_keeps_code_reason_and_field(void **state)
{
    struct fake *fake = *state;
    struct err err;
    assert_err(ERR_INVALID, put(fake, BYTES_NONE, NULL, &err));
    assert_int_equal(err.reason, REASON(FIELD_MISSING));
    assert_string_equal(err.field, "content");
}

static void test_client__a_read_carries_no_key(void **state)
{
    struct fake *fake = *state;
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    const Chartmesh__V1__GetReply *reply;
    assert_ok(chartmesh_record_get(fake->client, &request, NULL, &arena, &reply, &err));
    assert_string_equal(fake->key, "");
    assert_int_equal(reply->n_heads, 1);
}

static void test_client__what_is_missing_or_does_not_belong_together_is_refused(void **state)
{
    struct fake *fake = *state;
    struct err err;
    struct chartmesh *client;
    struct chartmesh_config config = {
        .target = fake->rpc->target,
        .ca_pem = fake->rpc->ca.certificate,
        .certificate_pem = fake->rpc->client_cert.certificate,
        .key_pem = fake->rpc->foreign_cert.key,
        .runtime = fake->rpc->rpc,
    };
    assert_err(ERR_INVALID, chartmesh_open(&config, &client, &err));
    config.key_pem = NULL;
    assert_err(ERR_INVALID, chartmesh_open(&config, &client, &err));
}

static void test_client__a_node_with_another_key_than_the_pinned_one_is_not_talked_to(void **state)
{
    struct fake *fake = *state;
    struct err err;
    struct hash pins[2] = {{{1}}};
    const struct chartmesh_config config = {
        .target = fake->rpc->target,
        .server_name = "node.test",
        .ca_pem = fake->rpc->ca.certificate,
        .certificate_pem = fake->rpc->client_cert.certificate,
        .key_pem = fake->rpc->client_cert.key,
        .pins = pins,
        .pin_count = 1,
        .runtime = fake->rpc->rpc,
    };
    struct chartmesh *usual = fake->client;
    assert_ok(chartmesh_open(&config, &fake->client, &err));
    assert_err(ERR_UNAVAILABLE, put(fake, BYTES_LIT("x"), NULL, &err));
    chartmesh_close(fake->client);
    assert_true(fixture_pin(NULL, bytes_str(fake->rpc->server_cert.certificate), &pins[0]));
    assert_ok(chartmesh_open(&config, &fake->client, &err));
    assert_ok(put(fake, BYTES_LIT("x"), NULL, &err));
    chartmesh_close(fake->client);
    fake->client = usual;
}

/* -- what a node sends is checked */

static void test_client__a_version_is_held_against_its_id_signature_and_content(void **state)
{
    struct fake *fake = *state;
    struct err err;
    struct chartmesh_version version;
    AUTO_ARENA(arena, 8 << 20);
    const struct trust *trust = fake->federation->trust;
    fake->view.content = pb_bytes(BYTES(fake->content, SIZE));
    assert_ok(chartmesh_version_check(&fake->view, trust, &arena, &version, &err));
    assert_true(version.trusted && version.content_checked);
    assert_ok(chartmesh_version_check(&fake->view, NULL, &arena, &version, &err));
    assert_false(version.trusted);

    fake->content[SIZE / 2] ^= 1;
    assert_err(ERR_CORRUPT, chartmesh_version_check(&fake->view, trust, &arena, &version, &err));
    fake->content[SIZE / 2] ^= 1;
    fake->view.salt.len = 0;
    assert_err(ERR_CORRUPT, chartmesh_version_check(&fake->view, trust, &arena, &version, &err));
    fake->view.salt.len = HASH_LEN;
    fake->version.bytes[0] ^= 1;
    assert_err(ERR_CORRUPT, chartmesh_version_check(&fake->view, trust, &arena, &version, &err));
    fake->version.bytes[0] ^= 1;
    fake->envelope->signatures[0]->sig.data[5] ^= 1;
    assert_err(ERR_CORRUPT, chartmesh_version_check(&fake->view, trust, &arena, &version, &err));
    fake->envelope->signatures[0]->sig.data[5] ^= 1;
    fake->envelope->payload.data[9] ^= 1;
    assert_err(ERR_CORRUPT, chartmesh_version_check(&fake->view, trust, &arena, &version, &err));
}

static void test_client__headers_alone_are_held_against_the_root(void **state)
{
    struct fake *fake = *state;
    struct err err;
    struct chartmesh_version version;
    AUTO_ARENA(arena, 8 << 20);
    assert_ok(chartmesh_version_check(&fake->view, fake->federation->trust, &arena, &version, &err));
    assert_false(version.content_checked);
    fake->meta.root.bytes[3] ^= 1;
    assert_err(ERR_CORRUPT, chartmesh_version_check(&fake->view, fake->federation->trust, &arena, &version, &err));
}

static void test_client__a_signer_that_is_not_known_yet_is_said(void **state)
{
    struct fake *fake = *state;
    struct err err;
    struct chartmesh_version version;
    struct trust *empty;
    AUTO_ARENA(arena, 8 << 20);
    assert_ok(trust_new(&fake->federation->first_network, &empty, &err));
    assert_ok(chartmesh_version_check(&fake->view, empty, &arena, &version, &err));
    assert_false(version.trusted);
    trust_free(empty);
}

/* -- upload */

static bool give(void *context, uint64_t offset, uint8_t *out, size_t len, struct err *err)
{
    const struct fake *fake = context;
    (void)err;
    memcpy(out, fake->content + offset, len);
    return true;
}

static bool give_nothing(void *context, uint64_t offset, uint8_t *out, size_t len, struct err *err)
{
    (void)context, (void)offset, (void)out, (void)len;
    return err_raise(err, ERR_STATE, "the file is gone");
}

static bool upload(struct fake *fake, const struct chartmesh_source *source, struct err *err)
{
    AUTO_ARENA(arena, 1 << 20);
    Chartmesh__V1__UploadHeader header = CHARTMESH__V1__UPLOAD_HEADER__INIT;
    const Chartmesh__V1__PutReply *reply;
    struct id id = {{7}};
    header.upload = pb_bytes(BYTES_OF(id));
    header.length = SIZE;
    if (!chartmesh_upload(fake->client, &header, source, NULL, &arena, &reply, err)) {
        return false;
    }
    assert_bytes_equal(bytes_pb(reply->version), BYTES_OF(fake->version));
    return true;
}

static void test_client__an_upload_goes_on_where_the_node_stands(void **state)
{
    struct fake *fake = *state;
    struct err err;
    const struct chartmesh_source source = {give, NULL, fake};
    assert_ok(upload(fake, &source, &err));
    assert_int_equal(fake->taken, SIZE);
    fake->taken = 0;
    fake->breaks = 1;
    fake->calls = 0;
    assert_ok(upload(fake, &source, &err));
    assert_int_equal(fake->calls, 2);
    fake->taken = 123456;                                /* from another process */
    assert_ok(upload(fake, &source, &err));
    fake->taken = SIZE;                                  /* all was there: only the answer had been lost */
    assert_ok(upload(fake, &source, &err));
}

static void test_client__an_upload_fails_with_its_source_and_with_the_nodes_refusal(void **state)
{
    struct fake *fake = *state;
    struct err err;
    const struct chartmesh_source gone = {give_nothing, NULL, fake}, source = {give, NULL, fake};
    assert_err(ERR_STATE, upload(fake, &gone, &err));
    fake->taken = SIZE + 1;
    assert_err(ERR_CORRUPT, upload(fake, &source, &err));
}

/* -- download */

struct received {
    uint8_t content[SIZE];
    uint64_t len;
};

static bool take(void *context, uint64_t offset, struct bytes piece, struct err *err)
{
    struct received *received = context;
    if (offset != received->len) {
        return err_raise(err, ERR_INTERNAL, "not in order");
    }
    memcpy(received->content + offset, piece.data, piece.len);
    received->len += piece.len;
    return true;
}

static bool give_back(void *context, uint64_t offset, uint8_t *out, size_t len, struct err *err)
{
    const struct received *received = context;
    (void)err;
    memcpy(out, received->content + offset, len);
    return true;
}

static bool download(struct fake *fake, struct received *received, uint64_t length, bool before,
                     struct chartmesh_version *version, struct arena *arena, struct err *err)
{
    Chartmesh__V1__DownloadRequest request = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
    const struct chartmesh_sink sink = {take, NULL, received};
    const struct chartmesh_source old = {give_back, NULL, received};
    request.version = pb_bytes(BYTES_OF(fake->version));
    request.offset = received->len;
    request.length = length;
    return chartmesh_download(fake->client, &request, &sink, before ? &old : NULL, fake->federation->trust, NULL,
                              arena, version, err);
}

static void test_client__a_download_is_whole_and_checked_also_after_breaks(void **state)
{
    struct fake *fake = *state;
    struct err err;
    struct chartmesh_version version;
    static struct received received;
    AUTO_ARENA(arena, 8 << 20);
    for (unsigned breaks = 0; breaks < 3; breaks++) {
        received.len = 0;
        fake->breaks = breaks;
        assert_ok(download(fake, &received, 0, false, &version, &arena, &err));
        assert_true(version.content_checked && version.trusted);
        assert_bytes_equal(BYTES(received.content, received.len), BYTES(fake->content, SIZE));
    }
    received.len = 99999;                                /* the rest of an earlier one */
    assert_ok(download(fake, &received, 0, true, &version, &arena, &err));
    assert_true(version.content_checked);
}

static void test_client__a_download_with_one_byte_changed_fails(void **state)
{
    struct fake *fake = *state;
    struct err err;
    struct chartmesh_version version;
    static struct received received;
    AUTO_ARENA(arena, 8 << 20);
    received.len = 0;
    fake->garble = true;
    assert_err(ERR_CORRUPT, download(fake, &received, 0, false, &version, &arena, &err));
    fake->garble = false;
    fake->content[SIZE - 1] ^= 1;
    received.len = 70000;
    received.content[3] ^= 1;                            /* in what was there before */
    assert_err(ERR_CORRUPT, download(fake, &received, 0, true, &version, &arena, &err));
}

static void test_client__a_range_says_that_it_is_not_checked(void **state)
{
    struct fake *fake = *state;
    struct err err;
    struct chartmesh_version version;
    static struct received received;
    AUTO_ARENA(arena, 8 << 20);
    received.len = 1000;
    assert_ok(download(fake, &received, 5000, false, &version, &arena, &err));
    assert_false(version.content_checked);
    assert_int_equal(received.len, 6000);
    assert_memory_equal(received.content + 1000, fake->content + 1000, 5000);
}

static void test_client__another_version_than_asked_for_is_refused(void **state)
{
    struct fake *fake = *state;
    struct err err;
    struct chartmesh_version version;
    static struct received received;
    AUTO_ARENA(arena, 8 << 20);
    Chartmesh__V1__DownloadRequest request = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
    const struct chartmesh_sink sink = {take, NULL, &received};
    struct hash other = {{1}};
    request.version = pb_bytes(BYTES_OF(other));
    assert_err(ERR_CORRUPT,
               chartmesh_download(fake->client, &request, &sink, NULL, NULL, NULL, &arena, &version, &err));
}

/* -- watch */

struct watching {
    unsigned events, lost;
};

static bool on_event(void *context, const Chartmesh__V1__WatchEvent *event, bool *stop, struct err *err)
{
    struct watching *watching = context;
    watching->events++;
    *stop = watching->events == 7;
    return event->resume_token.data[0] == watching->events || err_raise(err, ERR_INTERNAL, "an event is missing");
}

static void on_lost(void *context, const struct err *why)
{
    struct watching *watching = context;
    (void)why;
    watching->lost++;
}

static void test_client__a_watch_misses_nothing_and_nothing_comes_twice(void **state)
{
    struct fake *fake = *state;
    struct err err;
    struct watching watching = {0};
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    const struct chartmesh_watcher watcher = {on_event, on_lost, &watching};
    fake->breaks = 100;
    const struct chartmesh_call call = {.timeout_ms = 20000};
    assert_ok(chartmesh_watch(fake->client, &request, &watcher, &call, &err));
    assert_int_equal(watching.events, 7);
    assert_int_equal(watching.lost, 2);
    assert_int_equal(fake->calls, 3);
}

static void test_client__a_watch_that_the_node_refuses_ends(void **state)
{
    struct fake *fake = *state;
    struct err err;
    struct watching watching = {0};
    uint8_t token = 9;
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    const struct chartmesh_watcher watcher = {on_event, on_lost, &watching};
    request.resume_token = pb_bytes(BYTES(&token, 1));
    assert_err(ERR_INVALID, chartmesh_watch(fake->client, &request, &watcher, NULL, &err));
    assert_int_equal(watching.events, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_client__says_who_acts_and_draws_a_key_for_each_write),
        TEST(test_client__an_error_keeps_code_reason_and_field),
        TEST(test_client__a_read_carries_no_key),
        TEST(test_client__what_is_missing_or_does_not_belong_together_is_refused),
        TEST(test_client__a_node_with_another_key_than_the_pinned_one_is_not_talked_to),
        TEST(test_client__a_version_is_held_against_its_id_signature_and_content),
        TEST(test_client__headers_alone_are_held_against_the_root),
        TEST(test_client__a_signer_that_is_not_known_yet_is_said),
        TEST(test_client__an_upload_goes_on_where_the_node_stands),
        TEST(test_client__an_upload_fails_with_its_source_and_with_the_nodes_refusal),
        TEST(test_client__a_download_is_whole_and_checked_also_after_breaks),
        TEST(test_client__a_download_with_one_byte_changed_fails),
        TEST(test_client__a_range_says_that_it_is_not_checked),
        TEST(test_client__another_version_than_asked_for_is_refused),
        TEST(test_client__a_watch_misses_nothing_and_nothing_comes_twice),
        TEST(test_client__a_watch_that_the_node_refuses_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
