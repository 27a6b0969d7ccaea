/* A listener: its table of methods, its sockets, its drain and its end. What becomes of its calls: serve.c. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <grpc/support/time.h>

#include "proto/rpc/limits.h"

enum {
    SLOTS = 64,                  /* calls that can arrive before the polling thread comes round */
    STREAMS_MAX = 128,
    GOAWAY_MS = 200,
    READ_CHUNK = 64 << 10,       /* what a flood brings in one go has to be worked off before it can be cut */
};

/* ---- from time to time ---- */

static uint32_t stall_of(const struct rpc_call *call)
{
    uint32_t own = call->bound ? call->bound->method->stall_ms : 0;
    return own ? own : call->server->config.limits.stall_ms;
}

/* Has the call outlived what it may? Its lock is held. A stream by events may be silent for as long as it likes.
 */
static enum rpc_refusal overdue(const struct rpc_call *call, gpr_timespec now)
{
    uint64_t now_ms = call->rpc->now_ms;
    uint32_t stall = stall_of(call);
    bool sends = call->writing || call->finishing;
    bool awaits = call->reading && (call->phase == PHASE_REQUEST || call->phase == PHASE_BLOCKING);
    if (gpr_time_cmp(now, call->deadline) > 0) {
        return RPC_CUT_DEADLINE;
    }
    if (gpr_time_cmp(now, call->close_by) > 0 || (sends && now_ms - call->write_ms > stall)) {
        return RPC_CUT_READER;
    }
    return awaits && now_ms - call->read_ms > stall ? RPC_CUT_WRITER : RPC_REFUSED_NOT;
}

/* What rpc_server_recheck asked for, first half: everybody is looked at, and calls are told. Their connections are
 * cut in the next sweep, so that they hear why. */
static void tell_unwelcome(struct rpc_call *call)
{
    struct err why;
    if (call->bound && call->bound->method->open) {
        call_refuse(call, RPC_CUT_UNWELCOME, &why);
        rpc_stream_close(call, &why);
    } else {
        pthread_mutex_lock(&call->lock);
        call_cut(call, RPC_CUT_UNWELCOME);
        pthread_mutex_unlock(&call->lock);
    }
}

void server_sweep(struct rpc_server *server, gpr_timespec now)
{
    bool unwelcome = atomic_exchange(&server->recheck, false) && limits_recheck(server);
    pthread_mutex_lock(&server->lock);
    limits_expect_none(server);
    for (struct rpc_call *call = server->live; call; call = call->next) {
        pthread_mutex_lock(&call->lock);
        enum rpc_refusal why = overdue(call, now);
        if (!call->read_over && !call->over) {
            limits_expect(call);
        }
        if (why) {
            call_cut(call, why);
        }
        pthread_mutex_unlock(&call->lock);
        if (unwelcome && call->connection && call->connection->unwelcome) {
            tell_unwelcome(call);
        }
    }
    pthread_mutex_unlock(&server->lock);
    if (!unwelcome) {
        limits_sweep(server);
    }
}

void rpc_server_recheck(struct rpc_server *server)
{
    server->recheck = true;
}

/* ---- drain ---- */

static void shut_down_done(void *arg, bool ok)
{
    (void)ok;
    struct rpc_server *server = arg;
    pthread_mutex_lock(&server->lock);
    server->is_shut_down = true;
    pthread_cond_broadcast(&server->moved);
    pthread_mutex_unlock(&server->lock);
}

static void close_streams(struct rpc_server *server)
{
    struct err why;
    err_raise_reason(&why, ERR_UNAVAILABLE, REASON(DRAINING), "the node is going down");
    pthread_mutex_lock(&server->lock);
    for (struct rpc_call *call = server->live; call; call = call->next) {
        if (call->bound && call->bound->method->open) {
            rpc_stream_close(call, &why);
        }
    }
    pthread_mutex_unlock(&server->lock);
}

static bool is_empty(const struct rpc_server *server)
{
    return server->is_shut_down && server->live_count == 0 && server->armed == 0;
}

/* Waits until nothing is left of the server in gRPC's hands; false: not by `end`. The lock is held. */
static bool wait_empty(struct rpc_server *server, gpr_timespec end)
{
    struct timespec until = {.tv_sec = end.tv_sec, .tv_nsec = end.tv_nsec};
    int error = 0;
    while (!is_empty(server) && error == 0) {
        error = pthread_cond_timedwait(&server->moved, &server->lock, &until);
    }
    return is_empty(server);
}

/* Waits until no call is left, at most until `end`. The lock is held. */
static void wait_quiet(struct rpc_server *server, gpr_timespec end)
{
    struct timespec until = {.tv_sec = end.tv_sec, .tv_nsec = end.tv_nsec};
    int error = 0;
    while (server->live_count > 0 && error == 0) {
        error = pthread_cond_timedwait(&server->moved, &server->lock, &until);
    }
}

enum rpc_drained rpc_server_drain(struct rpc_server *server, unsigned grace_ms, unsigned hard_ms)
{
    gpr_timespec begun = gpr_now(GPR_CLOCK_MONOTONIC);
    gpr_timespec grace = gpr_time_add(begun, gpr_time_from_millis(grace_ms, GPR_TIMESPAN));
    gpr_timespec hard = gpr_time_add(begun, gpr_time_from_millis(MAX(grace_ms, hard_ms), GPR_TIMESPAN));
    pthread_mutex_lock(&server->lock);
    bool again = server->draining;
    server->draining = true;
    pthread_mutex_unlock(&server->lock);
    if (!again) {
        health_end(server->health);
        close_streams(server);
        tag_goes(&server->shut_down);
        grpc_server_shutdown_and_notify(server->wire, server->rpc->queue, &server->shut_down);
    }
    /* Calls have the grace. Connections without one have a moment to see GOAWAY: an idle client may not look. */
    pthread_mutex_lock(&server->lock);
    bool forced = false;
    wait_quiet(server, grace);
    gpr_timespec moment =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(GOAWAY_MS, GPR_TIMESPAN));
    if (!wait_empty(server, gpr_time_min(grace, moment))) {
        forced = server->live_count > 0;
        pthread_mutex_unlock(&server->lock);
        grpc_server_cancel_all_calls(server->wire);
        pthread_mutex_lock(&server->lock);
    }
    bool empty = wait_empty(server, hard);
    pthread_mutex_unlock(&server->lock);
    return !empty ? RPC_STUCK : forced ? RPC_FORCED : RPC_DRAINED;
}

/* ---- open and close ---- */

static bool method_ok(const struct rpc_method *method, struct err *err)
{
    bool streams = method->kind == RPC_SERVER_STREAM || method->kind == RPC_BIDI;
    bool ok = method->path && method->path[0] == '/' && method->in && method->out &&
              !method->run != !method->open && (!method->open || streams) &&
              (method->lane != RPC_INLINE || method->open || method->kind == RPC_UNARY);
    return ok || err_raise(err, ERR_INVALID, "rpc method %s: a table entry that cannot be",
                           method->path ? method->path : "without a path");
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct bound_method *)a)->method->path, ((const struct bound_method *)b)->method->path);
}

const struct bound_method *server_method(const struct rpc_server *server, const char *path)
{
    const struct rpc_method wanted = {.path = path};
    const struct bound_method key = {.method = &wanted};
    return bsearch(&key, server->methods, server->method_count, sizeof key, by_path);
}

static bool bind_methods(struct rpc_server *server, size_t services, struct err *err)
{
    size_t count = 0;
    for (size_t i = 0; i < services; i++) {
        count += server->services[i].count;
    }
    struct bound_method *bound = server->methods = calloc(count, sizeof *bound);
    server->counted = calloc(count + 1, sizeof *server->counted);
    if (!bound || !server->counted) {
        return err_raise(err, ERR_TOO_MUCH, "rpc: no memory");
    }
    for (size_t i = 0; i < services; i++) {
        for (size_t j = 0; j < server->services[i].count; j++) {
            const struct rpc_method *method = &server->services[i].methods[j];
            if (!method_ok(method, err)) {
                return false;
            }
            bound[server->method_count++] = (struct bound_method){method, server->services[i].ctx, NULL};
        }
    }
    qsort(bound, count, sizeof *bound, by_path);
    for (size_t i = 1; i < count; i++) {
        if (by_path(&bound[i - 1], &bound[i]) == 0) {
            return err_raise(err, ERR_INVALID, "rpc method %s: named twice", bound[i].method->path);
        }
    }
    server->counted[0].path = "";
    for (size_t i = 0; i < count; i++) {
        bound[i].counted = &server->counted[i + 1];
        bound[i].counted->path = bound[i].method->path;
    }
    return true;
}

static bool add_services(struct rpc_server *server, struct err *err)
{
    size_t count = server->config.count;
    server->services = calloc(count + 2, sizeof *server->services);
    if (!server->services) {
        return err_raise(err, ERR_TOO_MUCH, "rpc: no memory");
    }
    for (size_t i = 0; i < count; i++) {
        server->services[i] = server->config.services[i];
    }
    if (!health_new(&server->health, &server->services[count++], err)) {
        return false;
    }
    if (server->config.descriptors.len &&
        !reflection_new(server->config.descriptors, &server->reflection, &server->services[count++], err)) {
        return false;
    }
    health_watch_names(server->health, server->services, count);
    if (server->reflection) {
        reflection_list(server->reflection, server->services, count);
    }
    server->config.services = server->services;
    server->config.count = count;
    return bind_methods(server, count, err);
}

static int ms(uint32_t value)
{
    return (int)MIN(value, (uint32_t)INT_MAX);
}

static grpc_server *make_wire(struct rpc_server *server)
{
    const struct rpc_server_config *config = &server->config;
    const struct rpc_limits *limits = &config->limits;
    const int age_ms = (int)MIN(config->connection_age_s, 1u << 20) * 1000;
    const struct {
        const char *key;
        int value;
    } numbers[] = {
        {GRPC_ARG_ALLOW_REUSEPORT, 0},
        {GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, READ_CHUNK},
        {GRPC_ARG_HTTP2_BDP_PROBE, 0},
        {GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 256 << 10},
        {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)config->message_max},
        {GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, (int)config->message_max},
        {GRPC_ARG_MAX_CONCURRENT_STREAMS, (int)config->streams_max},
        {GRPC_ARG_MAX_METADATA_SIZE, 8 << 10},
        {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, ms(limits->handshake_ms)},
        {GRPC_ARG_KEEPALIVE_TIME_MS, ms(limits->keepalive_ms)},
        {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, ms(limits->keepalive_timeout_ms)},
        {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
        {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, ms(limits->ping_min_ms)},
        {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},
        {GRPC_ARG_MAX_CONNECTION_IDLE_MS, ms(limits->idle_ms)},
        {GRPC_ARG_MAX_CONNECTION_AGE_MS, age_ms},
        {GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, 300000},
        {GRPC_ARG_ENABLE_CHANNELZ, 0},
        {GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE},
    };
    grpc_arg args[COUNT(numbers) + 1];
    for (size_t i = 0; i < COUNT(numbers); i++) {
        args[i] = (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)numbers[i].key};
        args[i].value.integer = numbers[i].value;
    }
    args[COUNT(numbers)] = (grpc_arg){.type = GRPC_ARG_POINTER, .key = GRPC_ARG_RESOURCE_QUOTA};
    args[COUNT(numbers)].value.pointer.p = server->rpc->quota;
    args[COUNT(numbers)].value.pointer.vtable = grpc_resource_quota_arg_vtable();
    return grpc_server_create(&(grpc_channel_args){.num_args = COUNT(args), .args = args}, NULL);
}

static bool listen_on(struct rpc_server *server, struct err *err)
{
    server->credentials = tls_server_credentials(server);
    server->wire = make_wire(server);
    grpc_server_register_completion_queue(server->wire, server->rpc->queue, NULL);
    server->port = grpc_server_add_http2_port(server->wire, server->address, server->credentials);
    if (server->port == 0) {
        grpc_server_destroy(server->wire);
        server->wire = NULL;
        return err_raise(err, ERR_UNAVAILABLE, "rpc server %s: cannot listen there with this certificate",
                         server->address);
    }
    accept_guard_port(server->port, true);
    grpc_server_start(server->wire);
    pthread_mutex_lock(&server->rpc->lock);
    server->next = server->rpc->servers;
    server->rpc->servers = server;
    pthread_mutex_unlock(&server->rpc->lock);
    for (int i = 0; i < SLOTS; i++) {
        serve_arm(server);
    }
    return listener_is_guarded(server->address, server->port, err);
}

static bool server_init(struct rpc_server *server, struct rpc *rpc, const struct rpc_server_config *config,
                        struct err *err)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&server->moved, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&server->lock, NULL);
    pthread_mutex_init(&server->tls_lock, NULL);
    server->rpc = rpc;
    server->config = *config;
    server->config.message_max = config->message_max ? config->message_max : MESSAGE_MAX;
    server->config.streams_max = config->streams_max ? config->streams_max : STREAMS_MAX;
    server->config.connection_age_s = config->connection_age_s ? config->connection_age_s : 3600;
    server->shut_down = (struct tag){shut_down_done, server};
    server->tls_generation = 1;
    server->address = strdup(config->address);
    if (config->by_pin && !config->spki_pin) {
        return err_raise(err, ERR_INVALID, "rpc server %s: callers by pin, and no spki_pin", config->address);
    }
    return tls_set_copy(&config->tls, &server->tls, err) && limits_new(server, err) && add_services(server, err);
}

bool rpc_server_open(struct rpc *rpc, const struct rpc_server_config *config, struct rpc_server **out,
                     struct err *err)
{
    struct rpc_server *server = calloc(1, sizeof *server);
    if (!server) {
        return err_raise(err, ERR_TOO_MUCH, "rpc: no memory");
    }
    if (!server_init(server, rpc, config, err) || !listen_on(server, err)) {
        rpc_server_close(server);
        return false;
    }
    *out = server;
    return true;
}

int rpc_server_port(const struct rpc_server *server)
{
    return server->port;
}

void rpc_server_serving(struct rpc_server *server, bool serving)
{
    health_set(server->health, serving);
}

static void unlist(struct rpc_server *server)
{
    pthread_mutex_lock(&server->rpc->lock);
    struct rpc_server **at = &server->rpc->servers;
    while (*at && *at != server) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = server->next;
    }
    pthread_mutex_unlock(&server->rpc->lock);
}

void rpc_server_close(struct rpc_server *server)
{
    if (!server) {
        return;
    }
    if (server->wire) {
        if (rpc_server_drain(server, 0, 10000) == RPC_STUCK) {
            fprintf(stderr, "rpc: a handler is deaf; the process cannot go on\n");
            abort();
        }
        unlist(server);
        grpc_server_destroy(server->wire);
        accept_guard_port(server->port, false);
    }
    if (server->credentials) {
        grpc_server_credentials_release(server->credentials);
    }
    limits_free(server);
    health_free(server->health);
    reflection_free(server->reflection);
    tls_set_done(&server->tls);
    free(server->methods);
    free(server->counted);
    free(server->services);
    free(server->address);
    pthread_mutex_destroy(&server->tls_lock);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->moved);
    free(server);
}
