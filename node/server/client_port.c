#include "node/server/client_port.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/server/outcome.h"
#include "proto/chartmesh/v1/common.pb-c.h"

struct client_port {
    struct service *service;
    struct journal *journal;
    struct callers *callers;
    struct quotas *quotas;
    char own[512];               /* what this facility's SPIFFE ids begin with */
    struct rpc_method *methods;
    struct rpc_service table;
    struct rpc_server *server;
    struct outcome_tally tally;
    atomic_bool winding_up;
};

/* What the gate found out about a call, for its handler. */
struct admitted {
    const struct service_method *method;
    struct service_call call;
};

/* A method that answers until somebody goes away: it has a thread of the lane for that. */
static bool stays_open(const struct service_method *method)
{
    const char *dot = strrchr(method->name, '.');
    return method->shape != METHOD_UNARY && dot && strcmp(dot, ".Watch") == 0;
}

/* -- The gate: on the polling thread, before the request is read */

static bool metadata_text(struct rpc_call *call, const char *key, const char **out, struct err *err)
{
    const char *value;
    if (!rpc_metadata(call, key, &value, err)) {
        return false;
    }
    *out = value ? value : "";
    return true;
}

static bool read_metadata(struct rpc_call *call, struct service_metadata *out, struct err *err)
{
    out->spiffe_id = rpc_call_peer(call)->spiffe;
    out->request_id = rpc_call_request_id(call);
    return metadata_text(call, "x-chartmesh-user", &out->user, err) &&
           metadata_text(call, "x-chartmesh-role", &out->role, err) &&
           metadata_text(call, "x-chartmesh-purpose", &out->purpose, err) &&
           metadata_text(call, "x-chartmesh-idempotency-key", &out->idempotency_key, err);
}

static bool leaf_of(void *ctx, struct bytes pem, struct hash *out)
{
    struct client_port *port = ctx;
    return callers_leaf(port->callers, pem, out);
}

static bool welcome(void *ctx, const struct rpc_identity *peer, struct err *err)
{
    struct client_port *port = ctx;
    return callers_welcome(port->callers, peer->spiffe, &peer->pin, err);
}

static const struct config_quota *quota_of(const struct client_port *port, const char *spiffe)
{
    size_t len = strlen(port->own);
    return strncmp(spiffe, port->own, len) == 0 ? config_quota_find(port->service->config, spiffe + len) : NULL;
}

static bool admit(void *ctx, struct rpc_call *call, struct err *err)
{
    struct client_port *port = ctx;
    const char *spiffe = rpc_call_peer(call)->spiffe;
    if (!quotas_call(port->quotas, quota_of(port, spiffe), spiffe, err)) {
        return false;
    }
    struct arena *arena = rpc_call_arena(call);
    struct service_metadata metadata;
    struct admitted *admitted;
    const struct service_method *method = service_find(rpc_call_path(call));
    if (!method) {
        return err_raise(err, ERR_INTERNAL, "a method of the table that the services do not know");
    }
    if (stays_open(method) && port->service->config->max_watches == 0) {
        return err_raise_reason(err, ERR_TOO_MUCH, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_OVERLOADED,
                                "this node is configured for no watches");
    }
    if (!arena_alloc(arena, sizeof *admitted, (void **)&admitted, err) || !read_metadata(call, &metadata, err) ||
        !service_caller(port->service, method, &metadata, arena, &admitted->call, err)) {
        return false;
    }
    admitted->method = method;
    rpc_call_keep(call, admitted);
    return true;
}

/* -- Handlers: on a lane */

typedef bool handler_fn(struct rpc_call *call, struct client_port *port, const ProtobufCMessage *request,
                        ProtobufCMessage *reply, struct err *err);

/* The quota is the one the call began with: what is entered is left. */
static bool within_quota(handler_fn *handler, struct rpc_call *call, struct client_port *port,
                         const ProtobufCMessage *request, ProtobufCMessage *reply, struct err *err)
{
    const char *spiffe = rpc_call_peer(call)->spiffe;
    const struct config_quota *quota = quota_of(port, spiffe);
    if (!quotas_enter(port->quotas, quota, spiffe, err)) {
        return false;
    }
    bool ok = handler(call, port, request, reply, err);
    quotas_leave(port->quotas, quota, spiffe);
    return ok;
}

static bool answer(struct rpc_call *call, struct client_port *port, const ProtobufCMessage *request,
                   ProtobufCMessage *reply, struct err *err)
{
    (void)port;
    const struct admitted *admitted = rpc_call_kept(call);
    struct service_call service_call = admitted->call;
    ProtobufCMessage *made;
    service_call.arena = rpc_call_arena(call);
    if (!service_unary(admitted->method, &service_call, request, &made, err)) {
        return false;
    }
    memcpy(reply, made, admitted->method->out->sizeof_message); /* what it points to lives in the call's arena */
    return true;
}

static bool run_unary(struct rpc_call *call, void *ctx, const ProtobufCMessage *request, ProtobufCMessage *reply,
                      struct err *err)
{
    return within_quota(answer, call, ctx, request, reply, err);
}

struct streaming {
    struct client_port *port;
    struct rpc_call *call;
    bool stays_open;
};

static bool stream_recv(void *context, const ProtobufCMessage **message, struct err *err)
{
    struct streaming *streaming = context;
    return rpc_recv(streaming->call, message, err);
}

static bool stream_send(void *context, const ProtobufCMessage *message, struct err *err)
{
    struct streaming *streaming = context;
    return rpc_send(streaming->call, message, err);
}

static bool stream_cancelled(void *context)
{
    struct streaming *streaming = context;
    return rpc_cancelled(streaming->call) || (streaming->stays_open && streaming->port->winding_up);
}

static bool stream(struct rpc_call *call, struct client_port *port, const ProtobufCMessage *request,
                   ProtobufCMessage *reply, struct err *err)
{
    (void)reply;
    const struct admitted *admitted = rpc_call_kept(call);
    struct service_call service_call = admitted->call;
    struct streaming streaming = {.port = port, .call = call, .stays_open = stays_open(admitted->method)};
    const struct service_stream stream = {stream_recv, stream_send, stream_cancelled, &streaming};
    service_call.arena = rpc_call_arena(call);
    service_call.stream = &stream;
    bool ok = service_stream(admitted->method, &service_call, request, err);
    if (streaming.stays_open && streaming.port->winding_up && !rpc_cancelled(call)) {
        return err_raise_reason(err, ERR_UNAVAILABLE, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_DRAINING,
                                "the node is going down");
    }
    return ok;
}

static bool run_stream(struct rpc_call *call, void *ctx, const ProtobufCMessage *request, ProtobufCMessage *reply,
                       struct err *err)
{
    return within_quota(stream, call, ctx, request, reply, err);
}

static void finished(void *ctx, const struct rpc_outcome *outcome)
{
    struct client_port *port = ctx;
    const char *spiffe = outcome->peer->spiffe;
    quotas_bytes(port->quotas, quota_of(port, spiffe), spiffe, outcome->bytes_in + outcome->bytes_out);
    outcome_write(port->journal, &port->tally, outcome);
}

/* -- The table */

static struct rpc_method bind_method(const struct service_method *method, size_t memory_max)
{
    struct rpc_method out = {
        .path = method->path,
        .in = method->in,
        .out = method->out,
        .max_request = method->max_request,
        .memory_max = memory_max,
    };
    if (method->shape == METHOD_UNARY) {
        out.kind = RPC_UNARY;
        out.lane = RPC_WORK;
        out.run = run_unary;
    } else {
        bool open = stays_open(method);
        out.kind = method->shape == METHOD_BIDI ? RPC_BIDI : RPC_SERVER_STREAM;
        out.lane = open ? RPC_WATCH : RPC_BULK;
        out.max_ms = open ? UINT32_MAX : 0;
        out.run = run_stream;
    }
    return out;
}

static bool bind_methods(struct client_port *port, struct err *err)
{
    const struct service_method *methods;
    size_t count = service_methods(&methods);
    port->methods = calloc(count, sizeof *port->methods);
    if (!port->methods) {
        return err_raise(err, ERR_TOO_MUCH, "client port: no memory");
    }
    for (size_t i = 0; i < count; i++) {
        port->methods[i] = bind_method(&methods[i], port->service->config->request_memory);
    }
    port->table = (struct rpc_service){.methods = port->methods, .count = count, .ctx = port};
    return true;
}

static struct rpc_limits limits_of(const struct config *config)
{
    return (struct rpc_limits){.calls_max = config->principal_calls,
                               .streams_max = config->principal_streams,
                               .connections_max = config->principal_connections,
                               .rate = config->principal_calls_per_s};
}

static void name_own(struct client_port *port, const struct config *config)
{
    char network[2 * ID_LEN + 1];
    bytes_hex(BYTES_OF(config->network), network);
    snprintf(port->own, sizeof port->own, "spiffe://%s/%s/", network, config->domain);
}

bool client_port_open(const struct client_port_options *options, struct client_port **out, struct err *err)
{
    const struct config *config = options->service->config;
    struct client_port *port = calloc(1, sizeof *port);
    if (!port) {
        return err_raise(err, ERR_TOO_MUCH, "client port: no memory");
    }
    port->service = options->service;
    port->journal = options->journal;
    port->callers = options->callers;
    port->quotas = options->quotas;
    name_own(port, config);
    bool ok = bind_methods(port, err) && rpc_server_open(options->rpc,
                                                         &(struct rpc_server_config){
                                                             .address = config->client_listen,
                                                             .tls = *options->tls,
                                                             .services = &port->table,
                                                             .count = 1,
                                                             .descriptors = rpc_descriptors(),
                                                             .spki_pin = leaf_of,
                                                             .welcome = welcome,
                                                             .authorize = admit,
                                                             .finished = finished,
                                                             .ctx = port,
                                                             .streams_max = config->max_streams,
                                                             .limits = limits_of(config),
                                                         },
                                                         &port->server, err);
    if (!ok) {
        client_port_close(port);
        return err_wrap(err, "client port");
    }
    *out = port;
    return true;
}

struct rpc_server *client_port_server(struct client_port *port)
{
    return port->server;
}

bool client_port_write(struct client_port *port, const char *principal, struct err *err)
{
    return quotas_write(port->quotas, quota_of(port, principal), principal, err);
}

const struct outcome_tally *client_port_tally(const struct client_port *port)
{
    return &port->tally;
}

void client_port_recheck(struct client_port *port)
{
    rpc_server_recheck(port->server);
}

void client_port_wind_up(struct client_port *port)
{
    port->winding_up = true;
}

void client_port_close(struct client_port *port)
{
    if (port) {
        rpc_server_close(port->server);
        free(port->methods);
        free(port);
    }
}
