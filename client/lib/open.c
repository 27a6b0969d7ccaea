#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "client/lib/internal.h"
#include "client/setup/files.h"
#include "proto/crypto/random.h"
#include "proto/crypto/x509.h"

enum { CONFIG_MEMORY = 256 << 10, PEM_MAX = 64 << 10 };

/* -- one runtime for all connections of the process */

static atomic_flag runtime_lock = ATOMIC_FLAG_INIT;
static struct rpc *runtime;
static unsigned runtime_users;

static void nap(unsigned ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

/* Held for the moment in which a connection begins or ends. */
static void lock(void)
{
    while (atomic_flag_test_and_set(&runtime_lock)) {
        nap(1);
    }
}

static bool runtime_take(struct rpc **out, struct err *err)
{
    const struct rpc_config config = {.work_threads = 1, .bulk_threads = 1};
    lock();
    bool ok = runtime_users > 0 || rpc_open(&config, &runtime, err);
    if (ok) {
        runtime_users++;
        *out = runtime;
    }
    atomic_flag_clear(&runtime_lock);
    return ok;
}

static void runtime_give(void)
{
    lock();
    if (--runtime_users == 0) {
        rpc_close(runtime);
        runtime = NULL;
    }
    atomic_flag_clear(&runtime_lock);
}

/* -- a connection */

static bool keep(struct arena *arena, const char *text, const char **out, struct err *err)
{
    char *copy = NULL;
    if (text && !arena_string(arena, bytes_str(text), &copy, err)) {
        return false;
    }
    *out = copy;
    return true;
}

static bool pin_of(void *context, struct bytes pem, struct hash *out)
{
    (void)context;
    struct err ignored;
    return cert_pin(pem, out, &ignored);
}

static bool take_runtime(struct chartmesh *node, const struct chartmesh_config *config, struct rpc **out,
                         struct err *err)
{
    *out = config->runtime;
    node->own_runtime = !config->runtime && runtime_take(out, err);
    return *out != NULL;
}

static bool connect_node(struct chartmesh *node, const struct chartmesh_config *config, struct err *err)
{
    struct rpc *rpc;
    const struct cert_pair pair = {config->certificate_pem, config->key_pem};
    const struct rpc_channel_config channel = {
        .target = config->target,
        .tls = {.roots_pem = config->ca_pem, .chain_pem = config->certificate_pem, .key_pem = config->key_pem},
        .server_name = config->server_name,
        .pins = config->pins,
        .pin_count = config->pin_count,
        .spki_pin = config->pin_count ? pin_of : NULL,
    };
    return keep(&node->arena, config->target, &node->target, err) &&
           keep(&node->arena, config->caller.user, &node->caller.user, err) &&
           keep(&node->arena, config->caller.role, &node->caller.role, err) &&
           keep(&node->arena, config->caller.purpose, &node->caller.purpose, err) && cert_pair_check(&pair, err) &&
           take_runtime(node, config, &rpc, err) && rpc_channel_open(rpc, &channel, &node->channel, err);
}

bool chartmesh_open(const struct chartmesh_config *config, struct chartmesh **out, struct err *err)
{
    if (!config->target || !config->ca_pem || !config->certificate_pem || !config->key_pem) {
        return err_raise(err, ERR_INVALID, "chartmesh: target, CA, certificate and key are needed");
    }
    struct chartmesh *node = calloc(1, sizeof *node);
    if (!node) {
        return err_raise(err, ERR_TOO_MUCH, "chartmesh: no memory");
    }
    arena_init(&node->arena, CONFIG_MEMORY);
    node->timeout_ms = config->timeout_ms;
    if (!connect_node(node, config, err)) {
        chartmesh_close(node);
        return err_wrap(err, "chartmesh");
    }
    *out = node;
    return true;
}

void chartmesh_close(struct chartmesh *node)
{
    if (!node) {
        return;
    }
    if (node->channel) {
        rpc_channel_close(node->channel);
    }
    if (node->own_runtime) {
        runtime_give();
    }
    arena_done(&node->arena);
    free(node);
}

static bool read_pem(const char *what, const char *path, struct arena *arena, const char **out, struct err *err)
{
    struct bytes text;
    if (!path) {
        return err_raise(err, ERR_INVALID, "profile: %s is missing", what);
    }
    if (!file_read(path, PEM_MAX, arena, &text, err)) {
        return err_wrap(err, "profile: %s", what);
    }
    *out = (const char *)text.data;
    return true;
}

bool chartmesh_open_profile(const struct profile *profile, uint32_t timeout_ms, struct chartmesh **out,
                            struct err *err)
{
    AUTO_ARENA(arena, 4 * PEM_MAX + 4096);
    struct chartmesh_config config = {
        .target = profile->target,
        .server_name = profile->server_name,
        .caller = {profile->user, profile->role, profile->purpose},
        .timeout_ms = timeout_ms,
    };
    return read_pem("ca", profile->ca, &arena, &config.ca_pem, err) &&
           read_pem("certificate", profile->certificate, &arena, &config.certificate_pem, err) &&
           read_pem("key", profile->key, &arena, &config.key_pem, err) && chartmesh_open(&config, out, err);
}

/* -- what goes with a call */

static const char *either(const char *call, const char *node)
{
    return call ? call : node;
}

static void add_header(struct call_options *options, const char *key, const char *value)
{
    if (value && value[0]) {
        options->headers[options->rpc.header_count++] = (struct rpc_header){key, value};
    }
}

void call_options_fill(const struct chartmesh *node, const struct chartmesh_call *call, bool writes,
                       struct call_options *out)
{
    static const struct chartmesh_call none;
    call = call ? call : &none;
    *out = (struct call_options){.rpc.memory_max = MESSAGE_MEMORY};
    out->rpc.timeout_ms = call->timeout_ms ? call->timeout_ms : node->timeout_ms;
    out->rpc.headers = out->headers;
    add_header(out, "x-chartmesh-user", either(call->caller.user, node->caller.user));
    add_header(out, "x-chartmesh-role", either(call->caller.role, node->caller.role));
    add_header(out, "x-chartmesh-purpose", either(call->caller.purpose, node->caller.purpose));
    add_header(out, "x-request-id", call->request_id);
    if (writes) {
        struct id key = random_id();
        bytes_hex(BYTES_OF(key), out->key);
        add_header(out, "x-chartmesh-idempotency-key", either(call->idempotency_key, out->key));
    }
}

bool call_failed(const struct chartmesh *node, struct err *err)
{
    return err->code == ERR_UNAVAILABLE ? err_wrap(err, "node at %s", node->target) : false;
}

bool call_again(const struct err *err, unsigned *attempt, unsigned max)
{
    if (err->code != ERR_UNAVAILABLE || (max && *attempt >= max)) {
        return false;
    }
    unsigned shift = MIN(*attempt, 5u);
    nap(100u << shift);
    ++*attempt;
    return true;
}
