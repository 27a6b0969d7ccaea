/* Who gets in, and as whom. */
#include "proto/rpc/rpc.h"

#include <stdatomic.h>
#include <stdio.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/rpc/health.pb-c.h"
#include "tests/lib/rpc.h"

#define REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name
#define SECOND_ID "spiffe://00112233445566778899aabbccddeeff/st-anna.example/app/lab"

static atomic_int handled;

static bool echo(struct rpc_call *call, void *ctx, const ProtobufCMessage *message, ProtobufCMessage *out,
                 struct err *err)
{
    (void)call;
    (void)ctx;
    (void)err;
    handled++;
    ((chunk_type *)out)->index = ((const chunk_type *)message)->index;
    ((chunk_type *)out)->coded = ((const chunk_type *)message)->coded;
    return true;
}

static bool who(struct rpc_call *call, void *ctx, const ProtobufCMessage *message, ProtobufCMessage *out,
                struct err *err)
{
    (void)ctx;
    (void)message;
    (void)err;
    const char *spiffe = rpc_call_peer(call)->spiffe;
    ((chunk_type *)out)->coded = (ProtobufCBinaryData){strlen(spiffe), (uint8_t *)spiffe};
    ((chunk_type *)out)->version = (ProtobufCBinaryData){HASH_LEN, (uint8_t *)rpc_call_peer(call)->pin.bytes};
    return true;
}

static const struct rpc_method methods[] = {
    {.path = "/test.T/Work", .kind = RPC_UNARY, .lane = RPC_WORK, .run = echo, .in = CHUNK, .out = CHUNK},
    {.path = "/test.T/Closed", .kind = RPC_UNARY, .lane = RPC_WORK, .run = echo, .in = CHUNK, .out = CHUNK},
    {.path = "/test.T/Who", .kind = RPC_UNARY, .lane = RPC_INLINE, .run = who, .in = CHUNK, .out = CHUNK},
};
static const struct rpc_service service = {methods, COUNT(methods), NULL};

static struct hash pinned;       /* the one key that the gate of a server by pins knows */

static bool gate(void *ctx, struct rpc_call *call, struct err *err)
{
    (void)ctx;
    if (!hash_is_zero(&pinned)) {
        return hash_equal(&rpc_call_peer(call)->pin, &pinned) ||
               err_raise_reason(err, ERR_DENIED, REASON(FOREIGN_CERTIFICATE), "no such peer");
    }
    return strcmp(rpc_call_path(call), "/test.T/Closed") != 0 ||
           err_raise_reason(err, ERR_DENIED, REASON(NOT_PERMITTED), "not for you");
}

static int begin(void **state)
{
    *state = fixture_begin(&service, 1, &(struct rpc_server_config){.authorize = gate});
    return 0;
}

static int end(void **state)
{
    fixture_end(*state);
    return 0;
}

static bool call_once(struct rpc_channel *channel, const char *path, struct err *err)
{
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 20);
    bool ok = fixture_call(channel, path, 1, BYTES_LIT("x"), NULL, &arena, &reply, err);
    return ok;
}

/* One call over a channel of its own. */
static bool call_as(struct fixture *f, const struct rpc_server *server, const struct cert_pair *pair,
                    const char *path, struct err *err)
{
    struct rpc_channel *channel = fixture_dial(f, server, pair);
    bool ok = call_once(channel, path, err);
    rpc_channel_close(channel);
    return ok;
}

static void test_rpc__the_caller_is_its_spiffe_id_and_its_key(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const chunk_type *reply;
    struct hash pin;
    AUTO_ARENA(arena, 1 << 20);
    assert_ok(cert_pin(bytes_str(f->client_cert.certificate), &pin, &err));
    for (int i = 0; i < 2; i++) {            /* the second time from the cache */
        assert_ok(fixture_call(f->channel, "/test.T/Who", 0, BYTES_NONE, NULL, &arena, &reply, &err));
        assert_bytes_equal(BYTES(reply->coded.data, reply->coded.len), BYTES_LIT(CLIENT_ID));
        assert_bytes_equal(BYTES(reply->version.data, reply->version.len), BYTES_OF(pin));
    }
}

static void test_rpc__a_certificate_without_a_spiffe_id_is_nobody(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct cert_pair plain = fixture_leaf(f, &f->ca, NULL, "node.test");
    int before = handled;
    assert_err(ERR_UNAUTHENTICATED, call_as(f, f->server, &plain, "/test.T/Work", &err));
    assert_int_equal(err.reason, REASON(NO_CERTIFICATE));
    assert_err(ERR_UNAUTHENTICATED, call_as(f, f->server, &plain, "/test.T/Nothing", &err));
    assert_int_equal(handled, before);
}

static void test_rpc__a_foreign_certificate_does_not_get_in(void **state)
{
    struct fixture *f = *state;
    struct err err;
    int before = handled;
    assert_err(ERR_UNAVAILABLE, call_as(f, f->server, &f->foreign_cert, "/test.T/Work", &err));
    assert_int_equal(handled, before);
}

static bool dial_with(struct fixture *f, struct rpc_channel_config config, struct err *err)
{
    struct rpc_channel *channel;
    config.target = f->target;
    config.tls.chain_pem = f->client_cert.certificate;
    config.tls.key_pem = f->client_cert.key;
    config.tls.roots_pem = config.tls.roots_pem ? config.tls.roots_pem : f->ca.certificate;
    if (!rpc_channel_open(f->rpc, &config, &channel, err)) {
        return false;
    }
    bool ok = call_once(channel, "/test.T/Work", err);
    rpc_channel_close(channel);
    return ok;
}

static void test_rpc__a_client_calls_nobody_but_the_server_it_means(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct hash pins[2] = {{{1}}};
    assert_ok(cert_pin(bytes_str(f->server_cert.certificate), &pins[1], &err));
    int before = handled;
    struct rpc_channel_config config = {.server_name = "node.test", .spki_pin = fixture_pin};

    config.tls.roots_pem = f->foreign_ca.certificate;
    assert_err(ERR_UNAVAILABLE, dial_with(f, config, &err));
    config.tls.roots_pem = NULL;
    config.server_name = "other.test";
    assert_err(ERR_UNAVAILABLE, dial_with(f, config, &err));
    config.server_name = "node.test";
    config.pins = pins;
    config.pin_count = 1;
    assert_err(ERR_UNAVAILABLE, dial_with(f, config, &err));
    assert_int_equal(handled, before);
    config.pin_count = 2;
    assert_ok(dial_with(f, config, &err));
    config.spki_pin = NULL;
    assert_err(ERR_INVALID, dial_with(f, config, &err));
}

static bool check_health(struct rpc_channel *channel, struct err *err)
{
    const ProtobufCMessage *reply;
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    AUTO_ARENA(arena, 1 << 16);
    return rpc_unary(channel, "/grpc.health.v1.Health/Check", &request.base,
                     &grpc__health__v1__health_check_response__descriptor, NULL, &arena, &reply, err);
}

static void test_rpc__the_gate_is_asked_before_the_handler(void **state)
{
    struct fixture *f = *state;
    struct err err;
    int before = handled;
    assert_err(ERR_DENIED, call_once(f->channel, "/test.T/Closed", &err));
    assert_int_equal(err.reason, REASON(NOT_PERMITTED));
    assert_int_equal(handled, before);
    assert_ok(call_once(f->channel, "/test.T/Work", &err));
    assert_ok(check_health(f->channel, &err));
}

static void test_rpc__a_server_for_peers_knows_keys_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct cert_pair peer = fixture_leaf(f, &f->ca, NULL, "other.test");
    struct rpc_server *server =
        fixture_server(f, &service, 1, &(struct rpc_server_config){.by_pin = true, .authorize = gate});
    assert_ok(cert_pin(bytes_str(peer.certificate), &pinned, &err));
    int before = handled;
    assert_ok(call_as(f, server, &peer, "/test.T/Work", &err));
    assert_err(ERR_DENIED, call_as(f, server, &f->client_cert, "/test.T/Work", &err));
    assert_int_equal(err.reason, REASON(FOREIGN_CERTIFICATE));
    assert_err(ERR_UNAVAILABLE, call_as(f, server, &f->foreign_cert, "/test.T/Work", &err));
    assert_int_equal(handled, before + 1);
    struct rpc_channel *stranger = fixture_dial(f, server, &f->client_cert);
    assert_err(ERR_DENIED, check_health(stranger, &err));
    rpc_channel_close(stranger);
    rpc_server_close(server);
    pinned = (struct hash){0};
}

static void test_rpc__new_certificates_count_from_the_next_handshake(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_server *server = fixture_server(f, &service, 1, NULL);
    struct rpc_channel *old = fixture_dial(f, server, &f->client_cert);
    assert_ok(call_once(old, "/test.T/Work", &err));

    struct cert_pair second = fixture_leaf(f, &f->ca, NULL, "node.test");
    const char *roots = f->foreign_ca.certificate;
    assert_ok(rpc_server_reload(server, &(struct rpc_tls){roots, second.certificate, second.key}, &err));
    assert_ok(call_once(old, "/test.T/Work", &err));
    assert_err(ERR_UNAVAILABLE, call_as(f, server, &f->client_cert, "/test.T/Work", &err));
    assert_ok(call_as(f, server, &f->foreign_cert, "/test.T/Work", &err));

    rpc_channel_close(old);
    rpc_server_close(server);
}

/* A copy that ends `left` bytes before the text does. */
static const char *cut_short(struct fixture *f, const char *text, size_t left)
{
    struct err err;
    char *copy;
    assert_ok(arena_string(&f->arena, BYTES(text, strlen(text) - left), &copy, &err));
    return copy;
}

static const char *joined(struct fixture *f, const char *first, const char *second)
{
    struct err err;
    char *out;
    assert_ok(arena_printf(&f->arena, &out, &err, "%s%s", first, second));
    return out;
}

static void test_rpc__a_set_that_cannot_be_used_is_refused_and_the_old_stays(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct rpc_server *server = fixture_server(f, &service, 1, NULL);
    struct cert_pair second = fixture_leaf(f, &f->ca, NULL, "node.test");
    const char *ca = f->ca.certificate, *junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    const char *two = joined(f, ca, f->foreign_ca.certificate);
    const struct rpc_tls bad[] = {
        {ca, f->server_cert.certificate, second.key},      /* a key of another certificate */
        {ca, "junk", second.key},
        {ca, junk, second.key},
        {junk, second.certificate, second.key},
        {ca, second.certificate, ""},
        {NULL, second.certificate, second.key},
        {ca, cut_short(f, second.certificate, 100), second.key},
        {ca, second.certificate, cut_short(f, second.key, 30)},
        {cut_short(f, two, 100), second.certificate, second.key},              /* one root of two, and a half */
        {cut_short(f, two, 10), second.certificate, second.key},
        {ca, joined(f, second.certificate, "-----BEGIN CERTIFICATE-----\n"), second.key},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_err(ERR_INVALID, rpc_server_reload(server, &bad[i], &err));
        assert_ok(call_as(f, server, &f->client_cert, "/test.T/Work", &err));
        assert_err(ERR_UNAVAILABLE, call_as(f, server, &f->foreign_cert, "/test.T/Work", &err));
    }
    assert_ok(rpc_server_reload(server, &(struct rpc_tls){two, second.certificate, second.key}, &err));
    assert_ok(call_as(f, server, &f->client_cert, "/test.T/Work", &err));
    assert_ok(call_as(f, server, &f->foreign_cert, "/test.T/Work", &err));
    rpc_server_close(server);
}

/* ---- with the tools of others ---- */

static char *get_file(struct fixture *f, const char *folder, const char *name)
{
    struct err err;
    char path[256], *text;
    uint8_t data[16384];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t len = fread(data, 1, sizeof data, file);
    fclose(file);
    assert_ok(arena_string(&f->arena, BYTES(data, len), &text, &err));
    return text;
}

/* cert_make gives one URI at most, so the openssl program has to make the odd one. */
static void test_rpc__a_certificate_with_two_uris_is_nobody(void **state)
{
    struct fixture *f = *state;
    struct err err;
    static const char *const files[] = {"ca.pem", "cakey.pem", "two.pem", "two.key"};
    char folder[64], path[4][128], word[64];
    fixture_folder(f, folder);
    for (size_t i = 0; i < COUNT(files); i++) {
        snprintf(path[i], sizeof path[i], "%s/%s", folder, files[i]);
    }
    char *argv[] = {"openssl",
                    "req",
                    "-x509",
                    "-new",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                    "-subj",
                    "/CN=two",
                    "-days",
                    "1",
                    "-CA",
                    path[0],
                    "-CAkey",
                    path[1],
                    "-out",
                    path[2],
                    "-keyout",
                    path[3],
                    "-addext",
                    "extendedKeyUsage=clientAuth",
                    "-addext",
                    "subjectAltName=URI:" CLIENT_ID ",URI:" SECOND_ID,
                    NULL};
    assert_true(fixture_run(argv, word));
    struct cert_pair two = {get_file(f, folder, "two.pem"), get_file(f, folder, "two.key")};
    fixture_folder_drop(folder);
    assert_err(ERR_UNAUTHENTICATED, call_as(f, f->server, &two, "/test.T/Work", &err));
    assert_int_equal(err.reason, REASON(NO_CERTIFICATE));
}

static void foreign(struct fixture *f, const char *folder, const char *mode, const char *expected)
{
    char word[64];
    char *argv[] = {"python3", "proto/rpc/foreign_client.py", (char *)mode, f->target, (char *)folder, NULL};
    if (!fixture_run(argv, word) || strcmp(word, expected) != 0) {
        fail_msg("foreign client, %s: '%s' instead of '%s'", mode, word, expected);
    }
}

static void test_rpc__another_stack_is_held_to_the_same_rules(void **state)
{
    struct fixture *f = *state;
    char folder[64], word[64];
    if (!fixture_run((char *[]){"python3", "-c", "import grpc", NULL}, word)) {
        print_message("python3-grpcio is not installed: skipped\n");
        skip();
    }
    fixture_folder(f, folder);
    foreign(f, folder, "call", "OK");
    foreign(f, folder, "garbage", "INVALID_ARGUMENT");
    foreign(f, folder, "gzip", "UNIMPLEMENTED");
    foreign(f, folder, "nobody", "UNAVAILABLE");
    foreign(f, folder, "tls13", "accepted");
    foreign(f, folder, "tls12", "refused");
    fixture_folder_drop(folder);
}

#define T(name) cmocka_unit_test(test_rpc__##name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_caller_is_its_spiffe_id_and_its_key),
        T(a_certificate_without_a_spiffe_id_is_nobody),
        T(a_foreign_certificate_does_not_get_in),
        T(a_client_calls_nobody_but_the_server_it_means),
        T(the_gate_is_asked_before_the_handler),
        T(a_server_for_peers_knows_keys_and_nothing_else),
        T(new_certificates_count_from_the_next_handshake),
        T(a_set_that_cannot_be_used_is_refused_and_the_old_stays),
        T(a_certificate_with_two_uris_is_nobody),
        T(another_stack_is_held_to_the_same_rules),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
