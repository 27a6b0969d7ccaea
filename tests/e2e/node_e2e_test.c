/* Real nodes, our own client library, mutual TLS on loopback. What another language's stack sees:
 * python_client_test.py. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client/setup/files.h"
#include "client/setup/network.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/crypto/random.h"
#include "proto/crypto/x509.h"
#include "proto/rpc/health.pb-c.h"
#include "proto/rpc/rpc.h"
#include "tests/lib/nodes.h"

#define REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name
#define PB(view) ((ProtobufCBinaryData){(view).len, (uint8_t *)(uintptr_t)(view).data})
#define VIEW(field) BYTES((field).data, (field).len)

enum { HERE, THERE };

static const char *chartmeshd;

struct fixture {
    struct nodes *nodes;
    struct chartmesh *emr;
    struct trust *trust;
    struct arena arena;
    Chartmesh__V1__Subject subject;
};

static Chartmesh__V1__Coding note_class = {
    .base = PROTOBUF_C_MESSAGE_INIT(&chartmesh__v1__coding__descriptor),
    .system = "urn:chartmesh:class",
    .code = "note",
};

static Chartmesh__V1__Facts facts(void)
{
    Chartmesh__V1__Facts out = CHARTMESH__V1__FACTS__INIT;
    out.media_type = "text/plain";
    out.class_ = &note_class;
    return out;
}

static int begin(void **state)
{
    static const char patient[] = "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"Muster\"}]}";
    struct fixture *f = calloc(1, sizeof *f);
    struct err err;
    char trust[300];
    assert_non_null(f);
    arena_init(&f->arena, 64 << 20);
    f->nodes = nodes_new(chartmeshd, 2);
    nodes_start(f->nodes, HERE);
    f->emr = nodes_open(f->nodes, HERE, CLIENT_APP, "emr");
    snprintf(trust, sizeof trust, "%s/trust", f->nodes->list[HERE].folder);
    assert_ok(trust_load(trust, &f->trust, &err));
    Chartmesh__V1__RegisterRequest request = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    const Chartmesh__V1__RegisterReply *reply;
    request.resource = PB(bytes_str(patient));
    assert_ok(chartmesh_patient_register(f->emr, &request, NULL, &f->arena, &reply, &err));
    f->subject = *reply->subject;
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    chartmesh_close(f->emr);
    trust_free(f->trust);
    nodes_free(f->nodes);
    arena_done(&f->arena);
    free(f);
    return 0;
}

static const Chartmesh__V1__PutReply *put(struct fixture *f, const char *text)
{
    struct err err;
    Chartmesh__V1__Facts about = facts();
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    const Chartmesh__V1__PutReply *reply;
    request.subject = &f->subject;
    request.facts = &about;
    request.content = PB(bytes_str(text));
    assert_ok(chartmesh_record_put(f->emr, &request, NULL, &f->arena, &reply, &err));
    return reply;
}

static void test_node__what_is_read_verifies_with_the_networks_trust(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct chartmesh_version version;
    const Chartmesh__V1__PutReply *written = put(f, "lungs clear");
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    const Chartmesh__V1__GetReply *reply;
    request.subject = &f->subject;
    request.document = written->document;
    assert_ok(chartmesh_record_get(f->emr, &request, NULL, &f->arena, &reply, &err));
    assert_int_equal(reply->n_heads, 1);
    assert_bytes_equal(VIEW(reply->heads[0]->content), BYTES_LIT("lungs clear"));
    assert_ok(chartmesh_version_check(reply->heads[0], f->trust, &f->arena, &version, &err));
    assert_true(version.trusted && version.content_checked);
    assert_bytes_equal(BYTES_OF(version.id), VIEW(written->version));
}

static void test_node__lists_and_histories_have_what_was_written(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const Chartmesh__V1__PutReply *written = put(f, "first");
    Chartmesh__V1__ListRequest list = CHARTMESH__V1__LIST_REQUEST__INIT;
    Chartmesh__V1__HistoryRequest history = CHARTMESH__V1__HISTORY_REQUEST__INIT;
    Chartmesh__V1__Coding *classes[] = {&note_class};
    const Chartmesh__V1__ListReply *listed;
    const Chartmesh__V1__HistoryReply *versions;
    list.subject = history.subject = &f->subject;
    list.class_ = classes;
    list.n_class_ = 1;
    history.document = written->document;
    assert_ok(chartmesh_record_list(f->emr, &list, NULL, &f->arena, &listed, &err));
    assert_int_equal(listed->n_documents, 1);
    assert_bytes_equal(VIEW(listed->documents[0]->document), VIEW(written->document));
    assert_ok(chartmesh_record_history(f->emr, &history, NULL, &f->arena, &versions, &err));
    assert_int_equal(versions->n_versions, 1);
}

/* -- Transfers and watches over a node that dies meanwhile */

struct big {
    struct fixture *f;
    struct bytes content;
    uint8_t *received;
    bool killed;
};

static bool read_big(void *context, uint64_t offset, uint8_t *out, size_t len, struct err *err)
{
    struct big *big = context;
    (void)err;
    if (offset > big->content.len / 2 && !big->killed) {
        big->killed = true;
        nodes_stop(big->f->nodes, HERE, SIGKILL);
        nodes_start(big->f->nodes, HERE);
    }
    memcpy(out, big->content.data + offset, len);
    return true;
}

static bool write_big(void *context, uint64_t offset, struct bytes piece, struct err *err)
{
    struct big *big = context;
    (void)err;
    assert_true(offset + piece.len <= big->content.len);
    memcpy(big->received + offset, piece.data, piece.len);
    return true;
}

static void test_node__an_upload_goes_on_where_a_killed_node_stood(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct chartmesh_version version;
    enum { LEN = 5 << 20 };
    uint8_t *content = malloc(LEN);
    struct big big = {.f = f, .content = BYTES(content, LEN), .received = malloc(LEN)};
    struct id upload = random_id();
    Chartmesh__V1__Facts about = facts();
    Chartmesh__V1__UploadHeader header = CHARTMESH__V1__UPLOAD_HEADER__INIT;
    Chartmesh__V1__DownloadRequest request = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
    const Chartmesh__V1__PutReply *written;
    const struct chartmesh_source source = {.read = read_big, .context = &big};
    const struct chartmesh_sink sink = {.write = write_big, .context = &big};
    assert_true(content && big.received);
    random_fill(content, LEN);
    header.upload = PB(BYTES_OF(upload));
    header.subject = request.subject = &f->subject;
    header.facts = &about;
    header.length = LEN;
    assert_ok(chartmesh_upload(f->emr, &header, &source, NULL, &f->arena, &written, &err));
    assert_true(big.killed);
    request.document = written->document;
    request.version = written->version;
    assert_ok(chartmesh_download(f->emr, &request, &sink, NULL, f->trust, NULL, &f->arena, &version, &err));
    assert_true(version.trusted && version.content_checked);
    assert_memory_equal(big.received, content, LEN);
    free(content);
    free(big.received);
}

struct watching {
    struct fixture *f;
    size_t starts, versions;
};

/* Each event is answered by the next act, so that nothing here waits for anything but the node. */
static bool on_event(void *context, const Chartmesh__V1__WatchEvent *event, bool *stop, struct err *err)
{
    struct watching *watching = context;
    (void)err;
    if (event->kind == CHARTMESH__V1__WATCH_KIND__WATCH_KIND_STARTED) {
        if (watching->starts++ == 0) {
            put(watching->f, "before");
        }
    } else if (event->kind == CHARTMESH__V1__WATCH_KIND__WATCH_KIND_VERSION) {
        *stop = ++watching->versions == 2;
        if (!*stop) {
            nodes_stop(watching->f->nodes, HERE, SIGKILL);
            nodes_start(watching->f->nodes, HERE);
            put(watching->f, "after");
        }
    }
    return true;
}

static void test_node__a_watch_misses_nothing_over_a_restart(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct watching watching = {.f = f};
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    const struct chartmesh_watcher watcher = {.each = on_event, .context = &watching};
    request.subject = &f->subject;
    assert_ok(chartmesh_watch(f->emr, &request, &watcher, NULL, &err));
    assert_int_equal(watching.versions, 2);
}

/* -- Who gets in */

static bool pin_of(void *context, struct bytes pem, struct hash *out)
{
    struct err err;
    (void)context;
    return cert_pin(pem, out, &err);
}

static bool health_at(const char *target, const struct rpc_tls *tls, struct err *why)
{
    struct err err;
    struct rpc *rpc;
    struct rpc_channel *channel;
    const ProtobufCMessage *reply;
    AUTO_ARENA(arena, 1 << 16);
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    assert_ok(rpc_open(&(struct rpc_config){.work_threads = 1}, &rpc, &err));
    const struct rpc_channel_config config = {
        .target = target, .tls = *tls, .server_name = NODE_DNS_NAME, .spki_pin = pin_of};
    assert_ok(rpc_channel_open(rpc, &config, &channel, &err));
    bool ok = rpc_unary(channel, "/grpc.health.v1.Health/Check", &request.base,
                        &grpc__health__v1__health_check_response__descriptor, NULL, &arena, &reply, why);
    rpc_channel_close(channel);
    rpc_close(rpc);
    return ok;
}

static void test_node__a_peer_gets_in_by_its_pin_and_by_nothing_else(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct cert_pair stranger;
    const char *peer = f->nodes->list[HERE].peer;
    int64_t now = (int64_t)time(NULL) * 1000;
    const struct cert_pair ca = {nodes_text(f->nodes, THERE, "ca/peer.crt"),
                                 nodes_text(f->nodes, THERE, "ca/peer.key")};
    const struct cert_request request = {.common_name = NODE_DNS_NAME,
                                         .dns_name = NODE_DNS_NAME,
                                         .server = true,
                                         .client = true,
                                         .not_before_ms = now - 1000,
                                         .not_after_ms = now + 3600000};
    struct rpc_tls tls = {.roots_pem = nodes_text(f->nodes, HERE, "ca/peer.crt"),
                          .chain_pem = nodes_text(f->nodes, THERE, "keys/peer.crt"),
                          .key_pem = nodes_text(f->nodes, THERE, "keys/peer.key")};
    chartmesh_close(f->emr);         /* one runtime of calls in a process */
    f->emr = NULL;
    assert_ok(health_at(peer, &tls, &err));

    /* From the member's own CA, but with a key that its membership does not pin. */
    assert_ok(cert_make(&request, &ca, &f->arena, &stranger, &err));
    tls.chain_pem = stranger.certificate;
    tls.key_pem = stranger.key;
    assert_err(ERR_DENIED, health_at(peer, &tls, &err));
    assert_int_equal(err.reason, REASON(FOREIGN_CERTIFICATE));

    /* Ourselves: pinned, but no peer. */
    tls.chain_pem = nodes_text(f->nodes, HERE, "keys/peer.crt");
    tls.key_pem = nodes_text(f->nodes, HERE, "keys/peer.key");
    assert_err(ERR_DENIED, health_at(peer, &tls, &err));

    /* A CA of nobody's membership ends in the handshake. */
    tls.chain_pem = nodes_text(f->nodes, THERE, "keys/client-server.crt");
    tls.key_pem = nodes_text(f->nodes, THERE, "keys/client-server.key");
    assert_err(ERR_UNAVAILABLE, health_at(peer, &tls, &err));
}

/* -- Up and down */

static void test_node__sigterm_ends_it_with_zero_and_nothing_is_lost(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const Chartmesh__V1__PutReply *written = put(f, "kept");
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    const Chartmesh__V1__GetReply *reply;
    assert_int_equal(nodes_stop(f->nodes, HERE, SIGTERM), 0);
    nodes_start(f->nodes, HERE);
    request.subject = &f->subject;
    request.document = written->document;
    assert_ok(chartmesh_record_get(f->emr, &request, NULL, &f->arena, &reply, &err));
    assert_bytes_equal(VIEW(reply->heads[0]->content), BYTES_LIT("kept"));
}

static void move_file(struct fixture *f, const char *from, const char *to)
{
    char old[320], new[320];
    snprintf(old, sizeof old, "%s/%s", f->nodes->list[HERE].folder, from);
    snprintf(new, sizeof new, "%s/%s", f->nodes->list[HERE].folder, to);
    assert_int_equal(rename(old, new), 0);
}

static void refuses_to_start(struct fixture *f, const char *why)
{
    assert_int_equal(nodes_refused(f->nodes, HERE), 1);
    if (!strstr(nodes_text(f->nodes, HERE, "log"), why)) {
        fail_msg("the log does not say: %s", why);
    }
}

static void test_node__I29_a_store_that_is_not_what_was_promised_is_not_served(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(nodes_stop(f->nodes, HERE, SIGTERM), 0);
    move_file(f, "data/store", "newer");
    refuses_to_start(f, "it was set back");
    move_file(f, "data/store", "empty");
    move_file(f, "newer", "data/store");
    move_file(f, "data/keyring", "aside");
    refuses_to_start(f, "keyring");
    move_file(f, "aside", "data/keyring");
    nodes_start(f->nodes, HERE);
}

static void write_format(struct fixture *f, const char *text)
{
    char path[320];
    snprintf(path, sizeof path, "%s/data/store/FORMAT", f->nodes->list[HERE].folder);
    FILE *file = fopen(path, "we");
    assert_true(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void test_node__a_data_folder_in_use_of_a_newer_version_or_of_another_is_refused(void **state)
{
    struct fixture *f = *state;
    refuses_to_start(f, "another chartmeshd runs on it");
    assert_int_equal(nodes_stop(f->nodes, HERE, SIGTERM), 0);
    write_format(f, "chartmesh store 3\n");
    refuses_to_start(f, "a newer version of chartmeshd made it");
    write_format(f, "chartmesh store 2\n");
    nodes_start(f->nodes, THERE);
    assert_int_equal(nodes_stop(f->nodes, THERE, SIGTERM), 0);
    move_file(f, "data", "own");
    move_file(f, "../f1/data", "data");
    refuses_to_start(f, "does not open the keyring: is it this node's?");
    move_file(f, "data", "../f1/data");
    move_file(f, "own", "data");
    nodes_start(f->nodes, HERE);
}

/* Puts another byte at a place of a file of the facility's; returns the one that was there. */
static int change(struct fixture *f, const char *name, size_t at, int byte)
{
    char path[320];
    snprintf(path, sizeof path, "%s/%s", f->nodes->list[HERE].folder, name);
    FILE *file = fopen(path, "r+e");
    assert_true(file && fseek(file, (long)at, SEEK_SET) == 0);
    int old = fgetc(file);
    assert_true(old != EOF && fseek(file, (long)at, SEEK_SET) == 0 &&
                fputc(byte == old ? '1' : byte, file) != EOF);
    assert_int_equal(fclose(file), 0);
    return old;
}

static void test_node__a_wrong_byte_in_what_says_who_it_is_is_refused(void **state)
{
    static const struct {
        const char *file, *why;
        size_t at;
    } cases[] = {
        {"keys/root.key", "does not open the keyring: is it this node's?", 10},
        {"keys/statement.key", "is not one that this node signed", 10},
        {"keys/checkpoint.key", "is not one that this node signed", 10},
        {"keys/witness.key", "its keys are not those in", 10},
        {"keys/sealing.key", "its keys are not those in", 10},
        {"keys/peer.key", "peer.key", 100},
        {"trust", "trust", 200},
    };
    struct fixture *f = *state;
    assert_int_equal(nodes_stop(f->nodes, HERE, SIGTERM), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        int old = change(f, cases[i].file, cases[i].at, '0');
        refuses_to_start(f, cases[i].why);
        change(f, cases[i].file, cases[i].at, old);
    }
    nodes_start(f->nodes, HERE);
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(test_node__what_is_read_verifies_with_the_networks_trust),
        CASE(test_node__lists_and_histories_have_what_was_written),
        CASE(test_node__an_upload_goes_on_where_a_killed_node_stood),
        CASE(test_node__a_watch_misses_nothing_over_a_restart),
        CASE(test_node__a_peer_gets_in_by_its_pin_and_by_nothing_else),
        CASE(test_node__sigterm_ends_it_with_zero_and_nothing_is_lost),
        CASE(test_node__I29_a_store_that_is_not_what_was_promised_is_not_served),
        CASE(test_node__a_wrong_byte_in_what_says_who_it_is_is_refused),
        CASE(test_node__a_data_folder_in_use_of_a_newer_version_or_of_another_is_refused),
    };
    chartmeshd = argc > 1 ? argv[1] : "node/chartmeshd";
    return cmocka_run_group_tests_name("node_e2e", tests, NULL, NULL);
}
