#include "proto/rpc/limits.h"

#include <stdlib.h>

#include <grpc/support/alloc.h>

enum {
    PRINCIPALS_MAX = 4096,
    PRINCIPAL_IDLE_MS = 60000,   /* what a principal owes is forgotten no earlier */
    CALL_COST = 16 << 10,        /* a call's own memory: ours, and about as much in gRPC */
    HEADERS_BYTES = 16 << 10,    /* what a call's beginning and the connection's upkeep may be on the wire */
    USELESS_MAX = 4 << 20,       /* bytes of a connection that are neither a call nor a message */
    EXPECTED_MAX = 64 << 20,     /* parts of messages that have not come whole, of one connection */
    BUSY_MS = 2000,              /* so long the polling thread has not come round: now less is borne */
    USELESS_BUSY = 1 << 20,
    SHUT_MS = 10000,
};

/* ---- words ---- */

static const struct {
    enum err_code code;
    uint32_t reason;
    const char *text;
} words[RPC_REFUSALS] = {
    [RPC_REFUSED_DRAINING] = {ERR_UNAVAILABLE, REASON(DRAINING), "the node is going down"},
    [RPC_REFUSED_IDENTITY] =
        {ERR_UNAUTHENTICATED, REASON(NO_CERTIFICATE),
         "the caller's certificate has no SPIFFE id, or more than one URI, or no key that can "
         "be pinned"},
    [RPC_REFUSED_METHOD] = {ERR_UNIMPLEMENTED, REASON(NOT_IMPLEMENTED), "no such method here"},
    [RPC_REFUSED_LANE] = {ERR_TOO_MUCH, REASON(OVERLOADED), "the node is busy: try again later"},
    [RPC_REFUSED_TOO_LARGE] = {ERR_TOO_MUCH, REASON(TOO_LARGE), "the request is larger than it may be"},
    [RPC_REFUSED_MEMORY] = {ERR_TOO_MUCH, REASON(OVERLOADED),
                            "the node's memory for calls is in use: try again later"},
    [RPC_REFUSED_SHARE] = {ERR_TOO_MUCH, REASON(OVERLOADED),
                           "this caller has its share of memory in use: fewer calls at once, or smaller ones"},
    [RPC_REFUSED_BYTES] = {ERR_TOO_MUCH, REASON(OVERLOADED), "this caller has too many bytes under way"},
    [RPC_REFUSED_CALLS] = {ERR_TOO_MUCH, REASON(OVERLOADED), "this caller has too many calls at once"},
    [RPC_REFUSED_STREAMS] = {ERR_TOO_MUCH, REASON(OVERLOADED), "this caller has too many streams at once"},
    [RPC_REFUSED_CONNECTIONS] = {ERR_TOO_MUCH, REASON(OVERLOADED), "this caller has too many connections"},
    [RPC_REFUSED_RATE] = {ERR_TOO_MUCH, REASON(OVERLOADED), "this caller calls too often"},
    [RPC_REFUSED_PRINCIPALS] = {ERR_TOO_MUCH, REASON(OVERLOADED), "too many callers at once: try again later"},
    [RPC_CUT_READER] = {ERR_TOO_MUCH, REASON(OVERLOADED),
                        "the caller took nothing of what it was sent for too long"},
    [RPC_CUT_WRITER] = {ERR_TOO_MUCH, REASON(OVERLOADED), "the caller sent nothing of what was due for too long"},
    [RPC_CUT_DEADLINE] = {ERR_DEADLINE, 0, "the call took longer than it may"},
    [RPC_CUT_UNWELCOME] = {ERR_DENIED, REASON(NOT_PERMITTED), "this caller is no longer let in"},
};

bool refusal_err(enum rpc_refusal why, struct err *err)
{
    return err_raise_reason(err, words[why].code, words[why].reason, "%s", words[why].text);
}

bool call_refuse(struct rpc_call *call, enum rpc_refusal why, struct err *err)
{
    call->refusal = why;
    return refusal_err(why, err);
}

/* ---- principals; the polling thread, server->lock held ---- */

static struct principal **principal_bucket(struct limits *limits, struct bytes spiffe, const struct hash *pin)
{
    uint64_t mixed = 14695981039346656037u;                /* FNV-1a */
    for (size_t i = 0; i < spiffe.len; i++) {
        mixed = (mixed ^ spiffe.data[i]) * 1099511628211u;
    }
    for (size_t i = 0; i < 8; i++) {
        mixed = (mixed ^ pin->bytes[i]) * 1099511628211u;
    }
    return &limits->principals[(mixed ^ mixed >> 32) % COUNT(limits->principals)];
}

static struct principal *principal_new(struct rpc_server *server, struct bytes spiffe, const struct hash *pin)
{
    const struct rpc_limits *limits = &server->config.limits;
    struct principal *principal = calloc(1, sizeof *principal);
    char *name = strndup(spiffe.len ? (const char *)spiffe.data : "", spiffe.len);
    if (!principal || !name) {
        free(principal);
        free(name);
        return NULL;
    }
    principal->spiffe = name;
    principal->pin = *pin;
    principal->memory.max = limits->memory_max;
    principal->memory.above = &server->rpc->memory;
    principal->bytes.max = limits->bytes_max;
    principal->tokens = limits->burst;
    principal->resets = limits->resets;
    principal->filled_ms = server->rpc->now_ms;
    return principal;
}

static struct principal *principal_of(struct rpc_server *server, struct bytes spiffe, const struct hash *pin)
{
    struct limits *limits = server->limits;
    struct principal **bucket = principal_bucket(limits, spiffe, pin);
    for (struct principal *at = *bucket; at; at = at->next) {
        if (bytes_equal(bytes_str(at->spiffe), spiffe) && hash_equal(&at->pin, pin)) {
            return at;
        }
    }
    struct principal *made = limits->principal_count < PRINCIPALS_MAX ? principal_new(server, spiffe, pin) : NULL;
    if (made) {
        made->next = *bucket;
        *bucket = made;
        limits->principal_count++;
    }
    return made;
}

/* ---- connections ---- */

static struct connection **connection_bucket(struct rpc_server *server, const grpc_auth_context *context)
{
    uint64_t address = (uint64_t)(uintptr_t)context;
    return &server->limits->connections[(address >> 6 ^ address >> 16) % COUNT(server->limits->connections)];
}

static struct connection *connection_find(struct rpc_server *server, const grpc_auth_context *context)
{
    struct connection *at = *connection_bucket(server, context);
    while (at && at->context != context) {
        at = at->next;
    }
    return at;
}

static struct accept_guard_socket socket_of(const struct rpc_call *call)
{
    char *peer = grpc_call_get_peer(call->wire);
    struct accept_guard_socket found = accept_guard_find(peer ? peer : "");
    gpr_free(peer);
    return found;
}

/* Where keys count, a SPIFFE id does not make a principal: a peer's certificates may come with any. */
static struct connection *connection_new(struct rpc_call *call, grpc_auth_context *context)
{
    static const struct hash none;
    struct rpc_server *server = call->server;
    struct bytes spiffe;
    struct hash pin = none;
    struct connection *made = calloc(1, sizeof *made);
    if (!made) {
        return NULL;
    }
    made->nobody = !tls_identity(server, context, &spiffe, &pin);
    bool by_pin = server->config.by_pin;
    made->principal = principal_of(server, by_pin ? BYTES_NONE : spiffe, by_pin ? &pin : &none);
    if (!made->principal) {
        free(made);
        return NULL;
    }
    made->context = context;
    made->socket = socket_of(call);
    made->peer = (struct rpc_identity){.spiffe = made->principal->spiffe, .pin = pin};
    made->excess = made->principal->connections++ >= server->config.limits.connections_max;
    struct connection **bucket = connection_bucket(server, context);
    made->next = *bucket;
    *bucket = made;
    server->limits->connection_count++;
    return made;
}

bool limits_identify(struct rpc_call *call, struct err *err)
{
    struct rpc_server *server = call->server;
    grpc_auth_context *context = grpc_call_auth_context(call->wire);
    if (!context) {
        return call_refuse(call, RPC_REFUSED_IDENTITY, err);
    }
    struct connection *connection = connection_find(server, context);
    if (connection) {
        grpc_auth_context_release(context);
    } else {
        pthread_mutex_lock(&server->lock);
        connection = connection_new(call, context);
        pthread_mutex_unlock(&server->lock);
    }
    if (!connection) {
        grpc_auth_context_release(context);
        return call_refuse(call, RPC_REFUSED_PRINCIPALS, err);
    }
    if (connection->socket.fd < 0) {
        connection->socket = socket_of(call);              /* a call taken back at once may not know it */
    }
    connection->calls++;
    connection->useful += HEADERS_BYTES;
    connection->progress_ms = call->rpc->now_ms;
    call->connection = connection;
    call->peer = connection->peer;
    return true;
}

/* ---- a call's way in and out ---- */

/* Two buckets: calls that begin, and calls that are taken back before their answer. */
static void draw_tokens(struct principal *principal, const struct rpc_limits *limits, uint64_t now_ms)
{
    double passed = (double)(now_ms - principal->filled_ms) / 1000;
    double tokens = MIN(principal->tokens + passed * limits->rate, limits->burst) - 1;
    double resets = MIN(principal->resets + passed * limits->resets, limits->resets);
    principal->tokens = MAX(tokens, -(double)limits->burst - 1);
    principal->resets = MAX(resets - (double)atomic_exchange(&principal->given_up, 0), -(double)limits->resets);
    principal->filled_ms = now_ms;
}

static bool is_flooding(const struct principal *principal, const struct rpc_limits *limits)
{
    return principal->tokens < -(double)limits->burst || principal->resets < 0;
}

static void connection_cut(struct rpc_server *server, struct connection *connection)
{
    if (!connection->cut && accept_guard_cut(connection->socket)) {
        connection->cut = true;
        server->limits->cut++;
    }
}

/* Which of the two was too small: the one with less left. */
static enum rpc_refusal no_memory(const struct principal *principal)
{
    return budget_left(&principal->memory) < budget_left(principal->memory.above) ? RPC_REFUSED_SHARE
                                                                                  : RPC_REFUSED_MEMORY;
}

bool limits_enter(struct rpc_call *call, struct err *err)
{
    struct connection *connection = call->connection;
    struct principal *principal = connection->principal;
    const struct rpc_limits *limits = &call->server->config.limits;
    principal->used_ms = call->rpc->now_ms;
    draw_tokens(principal, limits, principal->used_ms);
    if (is_flooding(principal, limits)) {
        connection_cut(call->server, connection);
    }
    if (principal->tokens < 0 || principal->resets < 0 || principal->used_ms < principal->shut_ms) {
        return call_refuse(call, RPC_REFUSED_RATE, err);
    }
    if (connection->excess) {
        return call_refuse(call, RPC_REFUSED_CONNECTIONS, err);
    }
    if (principal->calls >= limits->calls_max) {
        return call_refuse(call, RPC_REFUSED_CALLS, err);
    }
    if (!budget_take(&principal->memory, CALL_COST)) {
        return call_refuse(call, no_memory(principal), err);
    }
    principal->calls++;
    call->entered = true;
    arena_share(&call->arena, &principal->memory);
    arena_share(&call->message_arena, &principal->memory);
    return true;
}

bool limits_stream(struct rpc_call *call, struct err *err)
{
    struct principal *principal = call->connection->principal;
    if (principal->streams >= call->server->config.limits.streams_max) {
        return call_refuse(call, RPC_REFUSED_STREAMS, err);
    }
    principal->streams++;
    call->is_stream = true;
    return true;
}

void limits_leave(struct rpc_call *call)
{
    struct connection *connection = call->connection;
    if (!connection) {
        return;
    }
    if (call->entered) {
        budget_give(&connection->principal->memory, CALL_COST);
        connection->principal->streams -= call->is_stream;
        connection->principal->calls--;
    }
    connection->calls--;
}

void limits_given_up(struct rpc_call *call)
{
    if (call->connection) {
        call->connection->principal->given_up++;
    }
}

/* ---- messages ---- */

bool limits_take(struct rpc_call *call, size_t size)
{
    if (!call->entered) {
        return true;
    }
    struct principal *principal = call->connection->principal;
    if (!budget_take(&principal->bytes, size)) {
        call->refusal = RPC_REFUSED_BYTES;
        return false;
    }
    if (!budget_take(&principal->memory, size)) {
        budget_give(&principal->bytes, size);
        call->refusal = no_memory(principal);
        return false;
    }
    return true;
}

void limits_give(struct rpc_call *call, size_t size)
{
    if (call->entered && size) {
        budget_give(&call->connection->principal->bytes, size);
        budget_give(&call->connection->principal->memory, size);
    }
}

bool limits_starved(struct rpc_call *call, struct err *err)
{
    if (!call->entered || !(call->arena.starved || call->message_arena.starved)) {
        return false;
    }
    call_refuse(call, no_memory(call->connection->principal), err);
    return true;
}

/* ---- what a connection sends ---- */

void limits_useful(struct rpc_call *call, size_t size)
{
    if (call->connection) {
        call->connection->useful += size + size / 16;      /* frames and records around it */
        call->connection->progress_ms = call->rpc->now_ms;
    }
}

void limits_expect_none(struct rpc_server *server)
{
    for (size_t i = 0; i < COUNT(server->limits->connections); i++) {
        for (struct connection *at = server->limits->connections[i]; at; at = at->next) {
            at->expected = 0;
        }
    }
}

void limits_expect(struct rpc_call *call)
{
    if (call->connection) {
        call->connection->expected += call->message_max;
    }
}

static bool sends_junk(const struct rpc_server *server, const struct connection *connection, uint64_t now_ms)
{
    uint64_t heard = accept_guard_heard(connection->socket), useful = connection->useful;
    uint64_t useless = heard > useful ? heard - useful : 0;
    uint64_t expected = MIN(connection->expected, (uint64_t)EXPECTED_MAX);
    bool stuck = now_ms > connection->progress_ms + server->config.limits.stall_ms;
    bool busy = now_ms > server->rpc->now_ms + BUSY_MS;
    return useless > (busy || stuck ? USELESS_BUSY : USELESS_MAX) + (stuck || busy ? 0 : expected);
}

/* gRPC keeps headers that do not end, and begins again from their beginning with each frame (CVE-2023-33953): who
 * does that is shut out before it costs much. */
void limits_watch(struct rpc_server *server)
{
    uint64_t now_ms = clock_ms();
    pthread_mutex_lock(&server->lock);
    for (size_t i = 0; i < COUNT(server->limits->connections); i++) {
        for (struct connection *at = server->limits->connections[i]; at; at = at->next) {
            if (!at->cut && sends_junk(server, at, now_ms)) {
                connection_cut(server, at);
                at->principal->shut_ms = now_ms + SHUT_MS;
            }
        }
    }
    pthread_mutex_unlock(&server->lock);
}

/* ---- from time to time ---- */

static void connection_free(struct rpc_server *server, struct connection *connection)
{
    connection->principal->connections--;
    server->limits->connection_count--;
    grpc_auth_context_release(connection->context);
    free(connection);
}

static void sweep_connections(struct rpc_server *server)
{
    for (size_t i = 0; i < COUNT(server->limits->connections); i++) {
        for (struct connection **at = &server->limits->connections[i]; *at;) {
            struct connection *connection = *at;
            if (connection->unwelcome) {
                connection_cut(server, connection);
            }
            if (connection->calls == 0 && !accept_guard_is_open(connection->socket)) {
                *at = connection->next;
                connection_free(server, connection);
            } else {
                at = &connection->next;
            }
        }
    }
}

static void principal_free(struct rpc_server *server, struct principal *principal)
{
    server->limits->principal_count--;
    free(principal->spiffe);
    free(principal);
}

static void sweep_principals(struct rpc_server *server, uint64_t idle_ms)
{
    uint64_t now = server->rpc->now_ms;
    for (size_t i = 0; i < COUNT(server->limits->principals); i++) {
        for (struct principal **at = &server->limits->principals[i]; *at;) {
            struct principal *principal = *at;
            if (principal->connections == 0 && now - principal->used_ms >= idle_ms) {
                *at = principal->next;
                principal_free(server, principal);
            } else {
                at = &principal->next;
            }
        }
    }
}

void limits_sweep(struct rpc_server *server)
{
    pthread_mutex_lock(&server->lock);
    sweep_connections(server);
    sweep_principals(server, PRINCIPAL_IDLE_MS);
    pthread_mutex_unlock(&server->lock);
}

bool limits_recheck(struct rpc_server *server)
{
    const struct rpc_server_config *config = &server->config;
    bool found = false;
    for (size_t i = 0; i < COUNT(server->limits->connections) && config->welcome; i++) {
        for (struct connection *at = server->limits->connections[i]; at; at = at->next) {
            struct err why;
            at->unwelcome = !at->nobody && !config->welcome(config->ctx, &at->peer, &why);
            found = found || at->unwelcome;
        }
    }
    return found;
}

/* ---- open and close ---- */

static void take_defaults(struct rpc_limits *limits, size_t calls_memory_max)
{
    const struct rpc_limits given = *limits;
    *limits = (struct rpc_limits){
        .calls_max = given.calls_max ? given.calls_max : 1024,
        .streams_max = given.streams_max ? given.streams_max : 512,
        .connections_max = given.connections_max ? given.connections_max : 64,
        .bytes_max = given.bytes_max ? given.bytes_max : 128 << 20,
        .memory_max = given.memory_max ? given.memory_max : calls_memory_max / 2,
        .rate = given.rate ? given.rate : 20000,
        .resets = given.resets ? given.resets : 200,
        .stall_ms = given.stall_ms ? given.stall_ms : 30000,
        .handshake_ms = given.handshake_ms ? given.handshake_ms : 10000,
        .keepalive_ms = given.keepalive_ms ? given.keepalive_ms : 30000,
        .keepalive_timeout_ms = given.keepalive_timeout_ms ? given.keepalive_timeout_ms : 10000,
        .ping_min_ms = given.ping_min_ms ? given.ping_min_ms : 10000,
        .idle_ms = given.idle_ms ? given.idle_ms : 600000,
    };
    limits->burst = given.burst ? given.burst : MAX(limits->rate / 2, 1);
}

bool limits_new(struct rpc_server *server, struct err *err)
{
    server->limits = calloc(1, sizeof *server->limits);
    take_defaults(&server->config.limits, server->rpc->memory.max);
    return server->limits || err_raise(err, ERR_TOO_MUCH, "rpc: no memory");
}

/* The server's calls are over. */
void limits_free(struct rpc_server *server)
{
    if (!server->limits) {
        return;
    }
    for (size_t i = 0; i < COUNT(server->limits->connections); i++) {
        while (server->limits->connections[i]) {
            struct connection *connection = server->limits->connections[i];
            server->limits->connections[i] = connection->next;
            connection_free(server, connection);
        }
    }
    sweep_principals(server, 0);
    free(server->limits);
}
