/* Mutual TLS: credentials of both sides, hot reload, and who the caller is. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <grpc/support/time.h>

#include "proto/rpc/internal.h"

/* ---- PEM texts ---- */

static void wipe(char *text)
{
    if (text) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

void tls_set_done(struct tls_set *set)
{
    wipe(set->roots);
    wipe(set->chain);
    wipe(set->key);
    *set = (struct tls_set){0};
}

/* At least one block, each with its end, and nothing else: a file of which only a part was written is refused,
 * which for roots the TLS library would take for a shorter list. */
static bool is_whole_pem(const char *text)
{
    static const char begin[] = "-----BEGIN ", end[] = "-----END ";
    const char *at = text ? strstr(text, begin) : NULL;
    bool any = at;
    while (at) {
        const char *label = at + strlen(begin), *label_end = strstr(label, "-----\n");
        const char *next = strstr(label, begin), *close = strstr(label, end);
        size_t len = label_end ? (size_t)(label_end - label) : 0;
        if (!len || !close || (next && next < close) || strncmp(close + strlen(end), label, len) != 0 ||
            strncmp(close + strlen(end) + len, "-----", 5) != 0) {
            return false;
        }
        at = next;
    }
    return any;
}

/* gRPC aborts on NULL and takes any other text, to fail at a later time. */
bool tls_ok(const struct rpc_tls *tls, struct err *err)
{
    return (is_whole_pem(tls->roots_pem) && is_whole_pem(tls->chain_pem) && is_whole_pem(tls->key_pem)) ||
           err_raise(err, ERR_INVALID, "rpc: roots, certificate and key are needed, each as whole blocks of PEM");
}

bool tls_set_copy(const struct rpc_tls *tls, struct tls_set *out, struct err *err)
{
    if (!tls_ok(tls, err)) {
        return false;
    }
    struct tls_set set = {strdup(tls->roots_pem), strdup(tls->chain_pem), strdup(tls->key_pem)};
    if (!set.roots || !set.chain || !set.key) {
        tls_set_done(&set);
        return err_raise(err, ERR_TOO_MUCH, "rpc: no memory");
    }
    *out = set;
    return true;
}

/* ---- servers ---- */

/* Asked by gRPC at the start and before each handshake. */
static grpc_ssl_certificate_config_reload_status fetch(void *arg, grpc_ssl_server_certificate_config **out)
{
    struct rpc_server *server = arg;
    grpc_ssl_certificate_config_reload_status status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    pthread_mutex_lock(&server->tls_lock);
    if (server->tls_given != server->tls_generation) {
        server->tls_given = server->tls_generation;
        grpc_ssl_pem_key_cert_pair pair = {.private_key = server->tls.key, .cert_chain = server->tls.chain};
        *out = grpc_ssl_server_certificate_config_create(server->tls.roots, &pair, 1);
        status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
    }
    pthread_mutex_unlock(&server->tls_lock);
    return status;
}

grpc_server_credentials *tls_server_credentials(struct rpc_server *server)
{
    return grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY, fetch, server));
}

/* Would gRPC listen with this set? It says so only when it is asked to: here by a server that never starts, on a
 * name that no network has. */
static bool tls_usable(const struct rpc_tls *tls, struct err *err)
{
    static _Atomic unsigned drawn;
    char place[64];
    snprintf(place, sizeof place, "unix-abstract:rpc-tls-%d-%u", (int)getpid(), ++drawn);
    grpc_ssl_pem_key_cert_pair pair = {.private_key = tls->key_pem, .cert_chain = tls->chain_pem};
    grpc_server_credentials *credentials = grpc_ssl_server_credentials_create_ex(
        tls->roots_pem, &pair, 1, GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY, NULL);
    grpc_completion_queue *queue = grpc_completion_queue_create_for_pluck(NULL);
    grpc_server *server = grpc_server_create(NULL, NULL);
    grpc_server_register_completion_queue(server, queue, NULL);
    bool ok = grpc_server_add_http2_port(server, place, credentials) != 0;
    grpc_server_shutdown_and_notify(server, queue, NULL);
    grpc_completion_queue_pluck(queue, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_server_destroy(server);
    grpc_completion_queue_shutdown(queue);
    grpc_completion_queue_destroy(queue);
    grpc_server_credentials_release(credentials);
    return ok ||
           err_raise(err, ERR_INVALID,
                     "rpc: the TLS library does not take this set: is the key the certificate's, is each whole?");
}

bool rpc_server_reload(struct rpc_server *server, const struct rpc_tls *tls, struct err *err)
{
    struct tls_set set;
    if (!tls_ok(tls, err) || !tls_usable(tls, err) || !tls_set_copy(tls, &set, err)) {
        return false;
    }
    pthread_mutex_lock(&server->tls_lock);
    struct tls_set old = server->tls;
    server->tls = set;
    server->tls_generation++;
    pthread_mutex_unlock(&server->tls_lock);
    tls_set_done(&old);
    return true;
}

static struct bytes property(const grpc_auth_context *context, const char *name)
{
    grpc_auth_property_iterator it = grpc_auth_context_find_properties_by_name(context, name);
    const grpc_auth_property *found = grpc_auth_property_iterator_next(&it);
    return found && found->value ? BYTES(found->value, found->value_length) : BYTES_NONE;
}

/* Reading a certificate's key costs sixteen times what a call costs: it is done once for a connection. */
bool tls_identity(struct rpc_server *server, const grpc_auth_context *context, struct bytes *spiffe,
                  struct hash *pin)
{
    const struct rpc_server_config *config = &server->config;
    *spiffe = BYTES_NONE;
    if (!grpc_auth_context_peer_is_authenticated(context)) {
        return false;
    }
    /* Absent too when a certificate has two URIs, one of them a SPIFFE id: absent means nobody. */
    *spiffe = property(context, GRPC_PEER_SPIFFE_ID_PROPERTY_NAME);
    struct bytes pem = property(context, GRPC_X509_PEM_CERT_PROPERTY_NAME);
    bool pinned = config->spki_pin && pem.len && config->spki_pin(config->ctx, pem, pin);
    return config->by_pin ? pinned : spiffe->len > 0;
}

/* ---- clients ---- */

struct expected {                /* which keys the server may have */
    rpc_spki_pin_fn *spki_pin;
    void *ctx;
    size_t count;
    struct hash pins[];
};

/* 0: the server's leaf has one of the expected keys. Its name and chain have been checked by then. */
static int check_server(const char *target, const char *pem, void *arg)
{
    (void)target;
    const struct expected *expected = arg;
    struct hash pin;
    if (!pem || !expected->spki_pin(expected->ctx, bytes_str(pem), &pin)) {
        return 1;
    }
    for (size_t i = 0; i < expected->count; i++) {
        if (hash_equal(&pin, &expected->pins[i])) {
            return 0;
        }
    }
    return 1;
}

grpc_channel_credentials *tls_channel_credentials(const struct rpc_channel_config *config)
{
    grpc_ssl_pem_key_cert_pair pair = {.private_key = config->tls.key_pem, .cert_chain = config->tls.chain_pem};
    if (config->pin_count == 0) {
        return grpc_ssl_credentials_create_ex(config->tls.roots_pem, &pair, NULL, NULL);
    }
    struct expected *expected = malloc(sizeof *expected + config->pin_count * sizeof *expected->pins);
    if (!expected) {
        return NULL;
    }
    expected->spki_pin = config->spki_pin;
    expected->ctx = config->ctx;
    expected->count = config->pin_count;
    memcpy(expected->pins, config->pins, config->pin_count * sizeof *expected->pins);
    grpc_ssl_verify_peer_options verify = {
        .verify_peer_callback = check_server,
        .verify_peer_callback_userdata = expected,
        .verify_peer_destruct = free,
    };
    return grpc_ssl_credentials_create_ex(config->tls.roots_pem, &pair, &verify, NULL);
}
