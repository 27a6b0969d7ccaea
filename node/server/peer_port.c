#include "node/server/peer_port.h"

#include <stdlib.h>

#include "node/server/outcome.h"
#include "proto/base/builder.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/crypto/x509.h"

#define FRAME (&chartmesh__v1__frame__descriptor)

enum {
    REFRESH_MS = 2000,
    MEMBERS_MAX = 4096,
    ROOTS_MAX = 16 << 20,
    MESSAGE_MAX = (1 << 20) + 4096,      /* a frame (formats 5) */
};

struct peer_port {
    struct peer_port_options options;
    struct world *world;
    struct world_lane *lane;             /* one worker: looks after the roots */
    struct world_lock *lock;             /* of what follows */
    uint64_t timer;
    bool closing;
    char *roots, *chain, *key;
    struct rpc_server *server;
    struct outcome_tally tally;
};

/* -- Roots */

static bool add_roots(const struct member *member, struct builder *text, struct err *err)
{
    AUTO_ARENA(arena, ROOTS_MAX);
    const Chartmesh__V1__Membership *message = member->message;
    for (size_t i = 0; i < message->n_tls_ca; i++) {
        const char *pem;
        if (!cert_pem(BYTES(message->tls_ca[i].data, message->tls_ca[i].len), &arena, &pem, err)) {
            return err_wrap(err, "membership of %s: tls_ca", member->domain);
        }
        build_text(text, "%s", pem);
    }
    return true;
}

/* The certificates of every active member, ourselves among them: there is always one. */
static bool make_roots(struct peer_port *port, struct builder *text, struct err *err)
{
    const struct member **members = calloc(MEMBERS_MAX, sizeof *members);
    if (!members) {
        return err_raise(err, ERR_TOO_MUCH, "peer port: no memory");
    }
    bool ok = true;
    const struct trust *trust = chart_trust_take(port->options.chart);
    size_t count = MIN(trust_members(trust, members, MEMBERS_MAX), (size_t)MEMBERS_MAX);
    for (size_t i = 0; i < count && ok; i++) {
        ok = !members[i]->active || add_roots(members[i], text, err);
    }
    chart_trust_give(port->options.chart);
    free(members);
    build_bytes(text, BYTES("", 1));
    return ok && (text->ok || err_raise(err, ERR_TOO_MUCH, "peer port: too many certificates of members"));
}

static void take_text(char **place, const char *text)
{
    char *copy = strdup(text);
    if (!copy) {
        abort();
    }
    if (*place) {
        explicit_bzero(*place, strlen(*place));
    }
    free(*place);
    *place = copy;
}

static struct rpc_tls tls_of(const struct peer_port *port)
{
    return (struct rpc_tls){.roots_pem = port->roots, .chain_pem = port->chain, .key_pem = port->key};
}

static bool refresh_roots(struct peer_port *port, struct err *err)
{
    AUTO_BUILDER(text, ROOTS_MAX);
    if (!make_roots(port, &text, err)) {
        return false;
    }
    const char *roots = (const char *)builder_view(&text).data;
    AUTO_LOCKED(held, port->lock);
    if (port->roots && strcmp(port->roots, roots) == 0) {
        return true;
    }
    take_text(&port->roots, roots);
    struct rpc_tls tls = tls_of(port);
    return !port->server || rpc_server_reload(port->server, &tls, err);
}

static void refresh_task(void *arg)
{
    struct peer_port *port = arg;
    struct err err;
    if (!refresh_roots(port, &err)) {
        journal_write(port->options.journal, CONFIG_LOG_ERROR,
                      &(struct journal_line){.event = "peer_roots", .err = &err});
    }
    links_check(port->options.links);
    AUTO_LOCKED(held, port->lock);
    if (!port->closing) {
        port->timer = world_timer_start(port->lane, REFRESH_MS, refresh_task, port);
    }
}

bool peer_port_reload(struct peer_port *port, const struct rpc_tls *tls, struct err *err)
{
    AUTO_LOCKED(held, port->lock);
    take_text(&port->chain, tls->chain_pem);
    take_text(&port->key, tls->key_pem);
    struct rpc_tls all = tls_of(port);
    return rpc_server_reload(port->server, &all, err);
}

/* -- The gate: on the polling thread */

static bool welcome(void *ctx, const struct rpc_identity *peer, struct err *err)
{
    struct peer_port *port = ctx;
    return callers_peer_welcome(port->options.callers, &peer->pin, err);
}

static bool admit(void *ctx, struct rpc_call *call, struct err *err)
{
    struct peer_port *port = ctx;
    struct id *facility;
    if (!arena_alloc(rpc_call_arena(call), sizeof *facility, (void **)&facility, err)) {
        return false;
    }
    const struct trust *trust = chart_trust_take(port->options.chart);
    const struct member *member = trust_member_by_pin(trust, &rpc_call_peer(call)->pin);
    bool in = member && member->active && !id_equal(&member->facility, &port->options.config->facility);
    if (in) {
        *facility = member->facility;
    }
    chart_trust_give(port->options.chart);
    rpc_call_keep(call, facility);
    return in || err_raise_reason(err, ERR_DENIED, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_FOREIGN_CERTIFICATE,
                                  "the certificate's key is pinned in no active membership");
}

/* -- Methods */

static bool control(struct rpc_call *stream, void *ctx, const ProtobufCMessage *request, struct err *err)
{
    struct peer_port *port = ctx;
    (void)request;
    return links_accept(port->options.links, rpc_call_kept(stream), CHARTMESH__V1__LANE__LANE_CONTROL, stream,
                        err);
}

static bool bulk(struct rpc_call *stream, void *ctx, const ProtobufCMessage *request, struct err *err)
{
    struct peer_port *port = ctx;
    (void)request;
    return links_accept(port->options.links, rpc_call_kept(stream), CHARTMESH__V1__LANE__LANE_BULK, stream, err);
}

static bool add_checkpoint(struct rpc_call *call, void *ctx, const ProtobufCMessage *request,
                           ProtobufCMessage *reply, struct err *err)
{
    struct peer_port *port = ctx;
    return peers_add_checkpoint(port->options.peers, rpc_call_kept(call), (const void *)request,
                                rpc_call_arena(call), (void *)reply, err);
}

static const struct rpc_method methods[] = {
    {.path = "/chartmesh.v1.Replication/Control",
     .kind = RPC_BIDI,
     .lane = RPC_WORK,
     .in = FRAME,
     .out = FRAME,
     .open = control,
     .max_request = MESSAGE_MAX,
     .queue_max = 16 << 20},
    {.path = "/chartmesh.v1.Replication/Bulk",
     .kind = RPC_BIDI,
     .lane = RPC_WORK,
     .in = FRAME,
     .out = FRAME,
     .open = bulk,
     .max_request = MESSAGE_MAX,
     .queue_max = 16 << 20},
    {.path = "/chartmesh.v1.Replication/AddCheckpoint",
     .kind = RPC_UNARY,
     .lane = RPC_WORK,
     .in = &chartmesh__v1__add_checkpoint_request__descriptor,
     .out = &chartmesh__v1__add_checkpoint_reply__descriptor,
     .run = add_checkpoint,
     .max_request = 64 << 10},
};

static void finished(void *ctx, const struct rpc_outcome *outcome)
{
    struct peer_port *port = ctx;
    outcome_write(port->options.journal, &port->tally, outcome);
}

/* -- Opening */

static bool listen_to_peers(struct peer_port *port, struct err *err)
{
    const struct rpc_service table = {.methods = methods, .count = COUNT(methods), .ctx = port};
    return rpc_server_open(port->options.rpc,
                           &(struct rpc_server_config){
                               .address = port->options.config->peer_listen,
                               .tls = tls_of(port),
                               .services = &table,
                               .count = 1,
                               .by_pin = true,
                               .spki_pin = links_pin,
                               .welcome = welcome,
                               .authorize = admit,
                               .finished = finished,
                               .ctx = port,
                               .streams_max = 16,
                           },
                           &port->server, err);
}

bool peer_port_open(const struct peer_port_options *options, struct peer_port **out, struct err *err)
{
    struct peer_port *port = calloc(1, sizeof *port);
    if (!port) {
        return err_raise(err, ERR_TOO_MUCH, "peer port: no memory");
    }
    port->options = *options;
    port->world = chart_world(options->chart);
    port->lock = world_lock_new(port->world);
    take_text(&port->chain, options->tls->chain_pem);
    take_text(&port->key, options->tls->key_pem);
    if (!world_lane_open(port->world, "peer-roots", 1, &port->lane, err) || !refresh_roots(port, err) ||
        !listen_to_peers(port, err)) {
        peer_port_close(port);
        return err_wrap(err, "peer port");
    }
    world_submit(port->lane, refresh_task, port);
    *out = port;
    return true;
}

struct rpc_server *peer_port_server(struct peer_port *port)
{
    return port->server;
}

const struct outcome_tally *peer_port_tally(const struct peer_port *port)
{
    return &port->tally;
}

void peer_port_recheck(struct peer_port *port)
{
    rpc_server_recheck(port->server);
}

void peer_port_close(struct peer_port *port)
{
    if (!port) {
        return;
    }
    world_lock_take(port->lock);
    port->closing = true;
    uint64_t timer = port->timer;
    world_lock_give(port->lock);
    world_timer_stop(port->world, timer);
    world_lane_close(port->lane);
    rpc_server_close(port->server);
    if (port->key) {
        explicit_bzero(port->key, strlen(port->key));
    }
    free(port->roots);
    free(port->chain);
    free(port->key);
    world_lock_free(port->lock);
    free(port);
}
