#include "node/server/links.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/builder.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/crypto/x509.h"

/* docs/protocol/08-rpc.md, 8.1: the name in every node's certificates, whatever its address. */
#define NODE_DNS_NAME "node.chartmesh.internal"

#define CONTROL_PATH "/chartmesh.v1.Replication/Control"
#define BULK_PATH "/chartmesh.v1.Replication/Bulk"
#define ADD_CHECKPOINT_PATH "/chartmesh.v1.Replication/AddCheckpoint"

enum {
    QUEUE_MAX = 16 << 20,            /* bytes of one link that wait to be sent; credits keep it far below */
    ADD_CHECKPOINT_MS = 10000,
    PINS_MAX = 16,
    ROUTE_ARENA = 1 << 20,
};

struct link {
    struct link *next;
    struct links *links;
    struct id facility;
    Chartmesh__V1__Lane lane;
    uint64_t number;
    struct rpc_call *stream;         /* NULL: not dialed yet */
    bool dialed, ended;
};

/* The way to one peer. */
struct route {
    struct route *next;
    struct id facility;
    struct hash membership;          /* that the channel was made for */
    size_t endpoint;                 /* which one is tried */
    struct rpc_channel *channel;     /* NULL: none yet */
};

struct links {
    struct links_options options;
    char *chain, *key;
    struct world *world;
    struct world_lane *dialer;
    struct world_lock *lock;         /* of everything below */
    struct world_event *change;
    struct peers *peers;             /* NULL: not begun */
    bool ending, isolated;
    struct link *list;
    struct route *routes;
};

bool links_pin(void *context, struct bytes pem, struct hash *out)
{
    struct err err;
    (void)context;
    return cert_pin(pem, out, &err);
}

static const char *lane_name(Chartmesh__V1__Lane lane)
{
    return lane == CHARTMESH__V1__LANE__LANE_CONTROL ? "control" : "bulk";
}

static void tell(struct links *links, enum config_level level, const char *event, const struct id *facility,
                 const char *lane, const struct err *err, const char *text)
{
    char hex[2 * ID_LEN + 1];
    journal_write(links->options.journal, level,
                  &(struct journal_line){.event = event,
                                         .peer = bytes_hex(BYTES_OF(*facility), hex),
                                         .lane = lane,
                                         .err = err && err->code ? err : NULL,
                                         .text = text});
}

/* -- Routes */

static const char *configured_address(const struct links *links, const struct member *member)
{
    const struct config *config = links->options.config;
    for (size_t i = 0; i < config->peer_address_count; i++) {
        if (strcmp(config->peer_addresses[i].domain, member->domain) == 0) {
            return config->peer_addresses[i].address;
        }
    }
    return NULL;
}

static size_t address_count(const struct links *links, const struct member *member)
{
    return configured_address(links, member) ? 1 : member->message->n_endpoints;
}

/* Endpoints stand in order of priority in the statement (formats 1). */
static const char *address_of(const struct links *links, const struct member *member, size_t turn)
{
    const char *configured = configured_address(links, member);
    return configured ? configured : member->message->endpoints[turn % member->message->n_endpoints]->address;
}

static bool can_dial(void *context, const struct id *facility)
{
    struct links *links = context;
    const struct trust *trust = chart_trust_take(links->options.chart);
    const struct member *member = trust_member(trust, facility);
    bool can = member && member->active && address_count(links, member) > 0;
    chart_trust_give(links->options.chart);
    return can;
}

static struct route *route_of(struct links *links, const struct id *facility)
{
    struct route *route = links->routes;
    while (route && !id_equal(&route->facility, facility)) {
        route = route->next;
    }
    if (!route && (route = calloc(1, sizeof *route))) {
        route->facility = *facility;
        route->next = links->routes;
        links->routes = route;
    }
    return route;
}

static bool roots_of(const struct member *member, struct arena *arena, const char **out, struct err *err)
{
    AUTO_BUILDER(text, ROUTE_ARENA / 2);
    for (size_t i = 0; i < member->message->n_tls_ca; i++) {
        const char *pem;
        struct bytes der = BYTES(member->message->tls_ca[i].data, member->message->tls_ca[i].len);
        if (!cert_pem(der, arena, &pem, err)) {
            return err_wrap(err, "membership of %s: tls_ca", member->domain);
        }
        build_text(&text, "%s", pem);
    }
    char *roots;
    if (!text.ok) {
        return err_raise(err, ERR_TOO_MUCH, "membership of %s: too many certificates", member->domain);
    }
    if (!arena_string(arena, builder_view(&text), &roots, err)) {
        return false;
    }
    *out = roots;
    return true;
}

static bool open_channel(struct links *links, struct route *route, const struct member *member, struct err *err)
{
    AUTO_ARENA(arena, ROUTE_ARENA);
    struct hash pins[PINS_MAX];
    struct rpc_channel_config config = {
        .target = address_of(links, member, route->endpoint),
        .tls = {.chain_pem = links->chain, .key_pem = links->key},
        .server_name = NODE_DNS_NAME,
        .pins = pins,
        .spki_pin = links_pin,
    };
    const Chartmesh__V1__Membership *message = member->message;
    for (size_t i = 0; i < message->n_tls_pins && config.pin_count < PINS_MAX; i++) {
        config.pin_count +=
            hash_from(BYTES(message->tls_pins[i].data, message->tls_pins[i].len), &pins[config.pin_count]);
    }
    if (config.pin_count == 0) {
        return err_raise(err, ERR_STATE, "membership of %s: no pin", member->domain);
    }
    return roots_of(member, &arena, &config.tls.roots_pem, err) &&
           rpc_channel_open(links->options.rpc, &config, &route->channel, err);
}

/* The channel to a member, as its newest membership says. The lock is held. */
static bool channel_to(struct links *links, const struct id *facility, struct rpc_channel **out, struct err *err)
{
    struct route *route = route_of(links, facility);
    if (!route) {
        return err_raise(err, ERR_TOO_MUCH, "peer: no memory");
    }
    const struct trust *trust = chart_trust_take(links->options.chart);
    const struct member *member = trust_member(trust, facility);
    bool ok = (member && member->active && address_count(links, member) > 0) ||
              err_raise(err, ERR_STATE, "peer: not an active member with an address");
    if (ok && route->channel && !hash_equal(&route->membership, &member->statement)) {
        rpc_channel_close(route->channel);
        route->channel = NULL;
    }
    if (ok && !route->channel) {
        route->membership = member->statement;
        ok = open_channel(links, route, member, err);
    }
    chart_trust_give(links->options.chart);
    if (ok) {
        *out = route->channel;
    }
    return ok;
}

/* What was dialed could not be reached: the next endpoint's turn. The lock is held. */
static void try_next(struct links *links, const struct id *facility)
{
    struct route *route = route_of(links, facility);
    const struct trust *trust = chart_trust_take(links->options.chart);
    const struct member *member = trust_member(trust, facility);
    bool several = member && address_count(links, member) > 1;
    chart_trust_give(links->options.chart);
    if (route && several) {
        route->endpoint++;
        rpc_channel_close(route->channel);
        route->channel = NULL;
    }
}

/* -- Links */

static struct link *link_new(struct links *links, const struct id *facility, Chartmesh__V1__Lane lane)
{
    struct link *link = calloc(1, sizeof *link);
    if (!link) {
        abort();                     /* small, and bounded by what node/peer has open */
    }
    *link = (struct link){.links = links, .facility = *facility, .lane = lane};
    return link;
}

static void link_add(struct link *link)
{
    link->next = link->links->list;
    link->links->list = link;
}

static void link_remove(struct link *link)
{
    struct link **place = &link->links->list;
    while (*place != link) {
        place = &(*place)->next;
    }
    *place = link->next;
    world_event_signal(link->links->change);
}

static struct link *link_find(struct links *links, const struct id *facility, Chartmesh__V1__Lane lane,
                              uint64_t number)
{
    struct link *link = links->list;
    while (link && (link->number != number || link->lane != lane || !id_equal(&link->facility, facility))) {
        link = link->next;
    }
    return link;
}

static void on_packed(struct rpc_call *stream, void *arg, struct bytes frame)
{
    struct link *link = arg;
    struct err err;
    if (!peers_frame(link->links->peers, &link->facility, link->lane, link->number, frame)) {
        err_raise_reason(&err, ERR_TOO_MUCH, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_OVERLOADED,
                         "more than was allowed");
        rpc_stream_close(stream, &err);
    }
}

static void on_closed(struct rpc_call *stream, void *arg, const struct err *why)
{
    (void)stream;
    struct link *link = arg;
    struct links *links = link->links;
    tell(links, CONFIG_LOG_DEBUG, "peer_link_closed", &link->facility, lane_name(link->lane), why, NULL);
    world_lock_take(links->lock);
    if (link->dialed && why->code == ERR_UNAVAILABLE) {
        try_next(links, &link->facility);
    }
    peers_closed(links->peers, &link->facility, link->lane, link->number);
    link_remove(link);
    world_lock_give(links->lock);    /* links_close may be waiting for just this */
    free(link);
}

static const struct rpc_events link_events = {.packed = on_packed, .closed = on_closed};

/* -- Dialing: on a lane of its own, because node/peer is not to be called back on its stack */

static bool start_link(struct link *link, struct err *err)
{
    struct links *links = link->links;
    struct rpc_channel *channel;
    const struct rpc_options options = {.queue_max = QUEUE_MAX, .lane = RPC_WORK};
    const char *path = link->lane == CHARTMESH__V1__LANE__LANE_CONTROL ? CONTROL_PATH : BULK_PATH;
    if (link->ended || links->ending || links->isolated) {
        return err_raise(err, ERR_CANCELLED, "peer: not dialed any more");
    }
    /* The stream may close before rpc_stream_dial has returned: on_closed waits for the lock. */
    return channel_to(links, &link->facility, &channel, err) &&
           rpc_stream_dial(channel, path, &chartmesh__v1__frame__descriptor, &options, &link_events, link,
                           &link->stream, err);
}

static void dial_task(void *arg)
{
    struct link *link = arg;
    struct links *links = link->links;
    struct err err;
    world_lock_take(links->lock);
    while (!links->peers && !links->ending) {
        world_event_wait(links->change, links->lock);
    }
    if (start_link(link, &err)) {
        peers_opened(links->peers, &link->facility, link->lane, link->number);
        world_lock_give(links->lock);
        return;
    }
    tell(links, CONFIG_LOG_DEBUG, "peer_not_dialed", &link->facility, lane_name(link->lane), &err, NULL);
    if (links->peers) {
        peers_closed(links->peers, &link->facility, link->lane, link->number);
    }
    link_remove(link);
    world_lock_give(links->lock);
    free(link);
}

static void dial(void *context, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t number)
{
    struct links *links = context;
    struct link *link = link_new(links, facility, lane);
    link->number = number;
    link->dialed = true;
    world_lock_take(links->lock);
    link_add(link);
    world_submit(links->dialer, dial_task, link);
    world_lock_give(links->lock);
}

bool links_accept(struct links *links, const struct id *facility, Chartmesh__V1__Lane lane,
                  struct rpc_call *stream, struct err *err)
{
    struct link *link = link_new(links, facility, lane);
    AUTO_LOCKED(held, links->lock);
    bool ok = (!links->ending ||
               err_raise_reason(err, ERR_UNAVAILABLE, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_DRAINING,
                                "the node is going down")) &&
              (!links->isolated ||
               err_raise_reason(err, ERR_UNAVAILABLE, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_STATE,
                                "the node is isolated until its operator has seen to it")) &&
              peers_accept(links->peers, facility, lane, &link->number, err);
    if (!ok) {
        free(link);
        return false;
    }
    link->stream = stream;
    link_add(link);
    rpc_stream_listen(stream, &link_events, link);
    return true;
}

/* -- What node/peer asks for */

static void send_frame(void *context, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t number,
                       struct bytes frame)
{
    struct links *links = context;
    struct err err;
    AUTO_LOCKED(held, links->lock);
    struct link *link = link_find(links, facility, lane, number);
    if (link && link->stream && !rpc_stream_offer_packed(link->stream, frame, &err)) {
        rpc_stream_close(link->stream, &err);
    }
}

static void end_link(struct link *link, const struct err *why)
{
    link->ended = true;
    if (link->stream) {
        rpc_stream_close(link->stream, why);
    }
}

static void close_link(void *context, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t number,
                       const char *rule, const char *text)
{
    struct links *links = context;
    struct err why;
    err_raise_reason(&why, ERR_STATE, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_STATE, "%s", rule);
    world_lock_take(links->lock);
    struct link *link = link_find(links, facility, lane, number);
    if (link) {
        end_link(link, &why);
    }
    world_lock_give(links->lock);
    tell(links, CONFIG_LOG_INFO, "peer_link_ended", facility, lane_name(lane), &why, text);
}

static bool add_checkpoint(void *context, const struct id *facility,
                           const Chartmesh__V1__AddCheckpointRequest *request, struct arena *arena,
                           const Chartmesh__V1__AddCheckpointReply **reply, struct err *err)
{
    struct links *links = context;
    struct rpc_channel *channel;
    const ProtobufCMessage *message;
    const struct rpc_options options = {.timeout_ms = ADD_CHECKPOINT_MS};
    /* Held over the call: a channel that is exchanged meanwhile lives on until its calls end. */
    world_lock_take(links->lock);
    bool ok = (!links->ending || err_raise(err, ERR_UNAVAILABLE, "peer: the node is going down")) &&
              channel_to(links, facility, &channel, err);
    if (ok) {
        rpc_channel_hold(channel);
    }
    world_lock_give(links->lock);
    if (!ok) {
        return false;
    }
    ok = rpc_unary(channel, ADD_CHECKPOINT_PATH, &request->base, &chartmesh__v1__add_checkpoint_reply__descriptor,
                   &options, arena, &message, err);
    rpc_channel_close(channel);
    if (ok) {
        *reply = (const void *)message;
    }
    return ok;
}

struct peer_transport links_transport(struct links *links)
{
    return (struct peer_transport){.can_dial = can_dial,
                                   .dial = dial,
                                   .send = send_frame,
                                   .close = close_link,
                                   .add_checkpoint = add_checkpoint,
                                   .context = links};
}

void links_check(struct links *links)
{
    struct err why;
    err_raise_reason(&why, ERR_DENIED, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_FOREIGN_CERTIFICATE,
                     "not an active member");
    AUTO_LOCKED(held, links->lock);
    const struct trust *trust = chart_trust_take(links->options.chart);
    for (struct link *link = links->list; link; link = link->next) {
        const struct member *member = trust_member(trust, &link->facility);
        if (!member || !member->active) {
            end_link(link, &why);
        }
    }
    chart_trust_give(links->options.chart);
}

static void free_secret(char *text)
{
    if (text) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

bool links_reload(struct links *links, const struct rpc_tls *tls, struct err *err)
{
    char *chain = strdup(tls->chain_pem), *key = strdup(tls->key_pem);
    if (!chain || !key) {
        free(chain);
        free_secret(key);
        return err_raise(err, ERR_TOO_MUCH, "peer links: no memory");
    }
    AUTO_LOCKED(held, links->lock);
    free(links->chain);
    free_secret(links->key);
    links->chain = chain;
    links->key = key;
    for (struct route *route = links->routes; route; route = route->next) {
        rpc_channel_close(route->channel);
        route->channel = NULL;
    }
    return true;
}

/* -- Opening */

bool links_open(const struct links_options *options, struct links **out, struct err *err)
{
    struct links *links = calloc(1, sizeof *links);
    if (!links) {
        return err_raise(err, ERR_TOO_MUCH, "peer links: no memory");
    }
    links->options = *options;
    links->world = chart_world(options->chart);
    links->lock = world_lock_new(links->world);
    links->change = world_event_new(links->world);
    links->chain = strdup(options->tls->chain_pem);
    links->key = strdup(options->tls->key_pem);
    if (!links->chain || !links->key || !world_lane_open(links->world, "peer-dial", 1, &links->dialer, err)) {
        links_close(links);
        return err_wrap(err, "peer links");
    }
    *out = links;
    return true;
}

void links_begin(struct links *links, struct peers *peers)
{
    AUTO_LOCKED(held, links->lock);
    links->peers = peers;
    world_event_signal(links->change);
}

void links_isolate(struct links *links, bool isolated)
{
    struct err why;
    err_raise_reason(&why, ERR_UNAVAILABLE, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_STATE,
                     "the node is isolated until its operator has seen to it");
    AUTO_LOCKED(held, links->lock);
    links->isolated = isolated;
    for (struct link *link = links->list; link && isolated; link = link->next) {
        end_link(link, &why);
    }
}

void links_end(struct links *links)
{
    struct err why;
    err_raise_reason(&why, ERR_UNAVAILABLE, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_DRAINING,
                     "the node is going down");
    AUTO_LOCKED(held, links->lock);
    links->ending = true;
    world_event_signal(links->change);
    for (struct link *link = links->list; link; link = link->next) {
        end_link(link, &why);
    }
}

void links_close(struct links *links)
{
    if (!links) {
        return;
    }
    if (links->dialer) {
        links_end(links);
        world_lock_take(links->lock);
        while (links->list) {
            world_event_wait(links->change, links->lock);
        }
        world_lock_give(links->lock);
        world_lane_close(links->dialer);
    }
    for (struct route *route = links->routes, *next; route; route = next) {
        next = route->next;
        rpc_channel_close(route->channel);
        free(route);
    }
    free(links->chain);
    free_secret(links->key);
    world_event_free(links->change);
    world_lock_free(links->lock);
    free(links);
}
