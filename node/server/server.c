#include "node/server/server.h"

#include <stdio.h>
#include <stdlib.h>

#include "node/server/certificates.h"
#include "node/server/inside.h"
#include "node/server/matrix.h"
#include "node/server/numbers.h"
#include "node/server/peers_reply.h"
#include "node/server/status.h"
#include "proto/crypto/random.h"
#include "proto/crypto/seal.h"

enum {
    TRUST_FILE_MAX = 256 << 20,
    RELOAD_ARENA = 1 << 20,
    FDS_FOR_FILES = 1256,            /* the store keeps 1,000 files open */
    HARD_STOP_MS = 10000,            /* after the grace, for handlers that were cancelled */
};

/* -- What the parts ask of the node */

static void draw(void *arg, uint8_t *out, size_t len)
{
    (void)arg;
    random_fill(out, len);
}

/* The process ends behind this. A log file may be on the disk that failed: standard error is told too. */
static void fatal(void *arg, const struct err *why)
{
    struct server *server = arg;
    const struct journal_line line = {.event = "fatal",
                                      .err = why,
                                      .text =
                                          "state FAILED: nothing is tried again, nothing more is acknowledged; "
                                          "look at the disk, then start again"};
    if (server->journal) {
        journal_last(server->journal, &line);
    }
    if (!server->journal || server->config->log_file) {
        fprintf(stderr, "chartmeshd: %s\n", why->text);
    }
}

static void store_failed(void *context, const struct err *why)
{
    struct server *server = context;
    world_fatal(server->world, why);
}

/* The watchdog's word that a port is deaf: only a new process has a new listener. */
static void port_deaf(void *ctx, const struct err *why)
{
    struct server *server = ctx;
    struct err told = *why;
    err_wrap(&told, "the node cannot be reached by itself any more, start it again");
    world_fatal(server->world, &told);
}

static void grpc_line(void *ctx, const char *line)
{
    struct server *server = ctx;
    journal_write(server->journal, CONFIG_LOG_WARN, &(struct journal_line){.event = "grpc", .text = line});
}

static void peer_event(void *context, const struct id *peer, const char *lane, const char *event, const char *text)
{
    struct server *server = context;
    char hex[2 * ID_LEN + 1];
    journal_write(server->journal, CONFIG_LOG_INFO,
                  &(struct journal_line){
                      .event = event, .peer = bytes_hex(BYTES_OF(*peer), hex), .lane = lane, .text = text});
}

static bool is_ours(const char *rule)
{
    return strncmp(rule, "SELF_ROLLED_BACK", 16) == 0 || strncmp(rule, "KEY_IN_TWO_HANDS", 16) == 0;
}

/* A peer holds what we signed and do not have: whatever we tell others may be taken back (I4). */
static void peer_alarm(void *context, const struct id *peer, const char *rule)
{
    struct server *server = context;
    (void)peer;
    if (is_ours(rule)) {
        server->isolated = true;
        links_isolate(server->links, true);
    }
}

static bool still_alarmed(struct server *server, struct arena *arena, bool *out, struct err *err)
{
    struct peer_status *list;
    size_t count;
    *out = false;
    if (!peers_status(server->peers, arena, &list, &count, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        *out = *out || (list[i].control.state == LANE_HALTED && is_ours(list[i].control.last)) ||
               (list[i].bulk.state == LANE_HALTED && is_ours(list[i].bulk.last));
    }
    return true;
}

static bool admin_resume(void *context, const struct id *facility, struct arena *arena, unsigned *resumed,
                         struct err *err)
{
    struct server *server = context;
    bool alarmed;
    if (!peers_resume(server->peers, facility, resumed, err) || !still_alarmed(server, arena, &alarmed, err)) {
        return false;
    }
    server->isolated = alarmed;
    links_isolate(server->links, alarmed);
    return true;
}

static bool role_may(void *context, const char *role, const char *purpose, const char *rpc)
{
    struct server *server = context;
    const struct config_rule *rule = config_rule_find(server->config, role, purpose);
    return rule && config_lists(&rule->may, rpc);
}

static bool admin_peers(void *context, struct arena *arena, Chartmesh__V1__PeersReply *out, struct err *err)
{
    struct server *server = context;
    return peers_reply(server->peers, server->chart, arena, out, err);
}

static bool admin_reload(void *context, struct arena *arena, Chartmesh__V1__ReloadReply *out, struct err *err)
{
    return reload_all(context, arena, out, err);
}

static bool may_write(void *context, const char *principal, struct err *err)
{
    struct server *server = context;
    return client_port_write(server->client_port, principal, err);
}

static bool admin_status(void *context, struct arena *arena, Chartmesh__V1__StatusReply *out, struct err *err)
{
    return status_reply(context, arena, out, err);
}

static void write_numbers(void *context, struct builder *out)
{
    numbers_write(context, out);
}

static bool healthy(void *context, const char **state)
{
    const char *why, *advice;
    Chartmesh__V1__NodeState now = status_state(context, &why, &advice);
    *state = status_state_name(now);
    return now == CHARTMESH__V1__NODE_STATE__NODE_STATE_SERVING ||
           now == CHARTMESH__V1__NODE_STATE__NODE_STATE_ISOLATED;
}

/* Certificates run out, also of those who are connected. */
static void each_round(void *context)
{
    struct server *server = context;
    client_port_recheck(server->client_port);
}

/* -- Data: folder, store, keys, log, chart, gate */

static bool open_store(struct server *server, struct err *err)
{
    const struct store_options options = {.folder = server->folder.store,
                                          .memory = server->config->store_memory,
                                          .failed = store_failed,
                                          .failed_context = server};
    return store_open(&options, &server->store, err) || err_wrap(err, "store");
}

static bool open_keys(struct server *server, struct err *err)
{
    struct keys_secrets secrets;
    const struct keyring_port port = keyring_file(server->folder.keyring);
    bool ok = keys_read_files(server->config->root_key_file, server->config->keys_folder, &secrets, err) &&
              keys_open(server->store, server->world, &secrets, &port, &server->keys, err);
    secret_wipe(&secrets, sizeof secrets);
    return ok || err_wrap(err, "keys");
}

static bool open_log(struct server *server, struct err *err)
{
    const struct config *config = server->config;
    const struct log_options options = {
        .store = server->store,
        .keys = server->keys,
        .world = server->world,
        .anchor = anchor_file(server->folder.anchor),
        .network = config->network,
        .facility = config->facility,
        .domain = config->domain,
        .map_every_ms = config->map_epoch_s * 1000,
        .map_every_entries = config->map_epoch_entries,
        .linger_us = config->linger_us,
        .commit_entries = config->commit_entries,
    };
    return log_open(&options, &server->log, err);
}

static bool open_chart(struct server *server, struct err *err)
{
    const struct config *config = server->config;
    struct chart_options options = {
        .store = server->store,
        .keys = server->keys,
        .log = server->log,
        .world = server->world,
        .facility = config->facility,
    };
    AUTO_ARENA(arena, TRUST_FILE_MAX + 4096);
    if (!folder_read(config->trust_file, TRUST_FILE_MAX, &arena, &options.trust_file, err) ||
        !trust_file_network(options.trust_file, &options.first_network, err)) {
        return err_wrap(err, "trust file");
    }
    if (memcmp(options.first_network.bytes, config->network.bytes, ID_LEN) != 0) {
        return err_raise(err, ERR_STATE, "trust file %s: it is of another network than the configuration's",
                         config->trust_file);
    }
    return chart_open(&options, &server->chart, err);
}

static bool open_gate(struct server *server, struct err *err)
{
    struct consent_config consent;
    const struct gate_options options = {
        .chart = server->chart, .consent = &consent, .may = role_may, .context = server};
    return matrix_of(server->config, &server->arena, &consent, err) && gate_open(&options, &server->gate, err);
}

static bool open_data(struct server *server, struct err *err)
{
    return open_store(server, err) && open_keys(server, err) && open_log(server, err) && open_chart(server, err) &&
           open_gate(server, err);
}

/* -- Ports */

static bool open_rpc(struct server *server, struct err *err)
{
    const struct config *config = server->config;
    const struct rpc_config options = {
        .work_threads = config->workers,
        .watch_threads = MAX(config->max_watches, 1),
        .calls_memory_max = config->calls_memory,
        .fd_max = (int)config->max_connections + FDS_FOR_FILES,
        .connections_max = config->max_connections,
        .deaf = port_deaf,
        .log = grpc_line,
        .ctx = server,
    };
    return rpc_open(&options, &server->rpc, err);
}

static void fill_service(struct server *server)
{
    server->service = (struct service){
        .world = server->world,
        .store = server->store,
        .keys = server->keys,
        .log = server->log,
        .chart = server->chart,
        .gate = server->gate,
        .config = server->config,
        .started_ms = world_now_ms(server->world),
        .version = server->version,
        .peers = admin_peers,
        .status = admin_status,
        .reload = admin_reload,
        .resume = admin_resume,
        .may_write = may_write,
        .context = server,
    };
}

static bool open_peers(struct server *server, const struct rpc_tls *tls, struct err *err)
{
    const struct config *config = server->config;
    const struct links_options links = {
        .rpc = server->rpc, .chart = server->chart, .config = config, .journal = server->journal, .tls = tls};
    if (!links_open(&links, &server->links, err)) {
        return false;
    }
    const struct peers_options peers = {
        .store = server->store,
        .chart = server->chart,
        .gate = server->gate,
        .domain = config->domain,
        .transport = links_transport(server->links),
        .cosign = config->cosign,
        .alarm = peer_alarm,
        .log = peer_event,
        .log_context = server,
    };
    if (!peers_open(&peers, &server->peers, err)) {
        return false;
    }
    links_begin(server->links, server->peers);
    const struct peer_port_options port = {.rpc = server->rpc,
                                           .chart = server->chart,
                                           .peers = server->peers,
                                           .links = server->links,
                                           .config = config,
                                           .journal = server->journal,
                                           .callers = server->callers,
                                           .tls = tls};
    return peer_port_open(&port, &server->peer_port, err);
}

/* The client port is last: who gets in finds a whole node. */
static bool open_ports(struct server *server, const struct certificates *own, struct err *err)
{
    const struct client_port_options client = {.rpc = server->rpc,
                                               .service = &server->service,
                                               .journal = server->journal,
                                               .callers = server->callers,
                                               .quotas = server->quotas,
                                               .tls = &own->client};
    return open_peers(server, &own->peer, err) && client_port_open(&client, &server->client_port, err);
}

/* The address as configured, with the port that was bound. */
static void name_address(const char *listen, int port, char out[300])
{
    const char *colon = strrchr(listen, ':');
    int host = colon ? (int)(colon - listen) : (int)strlen(listen);
    snprintf(out, 300, "%.*s:%d", host, listen, port);
}

static bool open_callers(struct server *server, struct err *err)
{
    server->callers = callers_new(server->world);
    server->quotas = quotas_new(server->world);
    server->reload_lock = world_lock_new(server->world);
    return reload_deny(server, server->config, err);
}

/* The first that is open: it says STARTING. */
static bool open_metrics(struct server *server, struct err *err)
{
    const char *listen = server->config->metrics_listen;
    const struct metrics_port_options options = {
        .world = server->world, .listen = listen, .write = write_numbers, .healthy = healthy, .context = server};
    if (!listen) {
        return true;
    }
    if (!metrics_port_open(&options, &server->metrics, err)) {
        return false;
    }
    name_address(listen, metrics_port_number(server->metrics), server->metrics_address);
    return true;
}

static bool open_rounds(struct server *server, struct err *err)
{
    const struct rounds_options options = {.world = server->world,
                                           .store = server->store,
                                           .chart = server->chart,
                                           .folder = server->config->data_folder,
                                           .clock_error_ms = server->config->clock_error_ms,
                                           .each = each_round,
                                           .context = server};
    return rounds_open(&options, &server->rounds, err);
}

static void keep_times(struct server *server, const struct certificates *own)
{
    server->until_ms[OWN_CLIENT] = own->client_until_ms;
    server->until_ms[OWN_CLIENT_CA] = own->ca_until_ms;
    server->until_ms[OWN_PEER] = own->peer_until_ms;
}

/* -- Open and close */

static bool open_all(struct server *server, struct err *err)
{
    const struct config *config = server->config;
    const struct world_options world = {
        .random = draw, .fatal = fatal, .fatal_arg = server, .clock_error_ms = config->clock_error_ms};
    struct certificates own = {0};
    bool ok = folder_open(config->data_folder, &server->folder, err) && world_open(&world, &server->world, err) &&
              (server->opened_ms = world_now_ms(server->world)) &&
              journal_open(server->world, config->log_file, config->log_level, &server->journal, err) &&
              open_metrics(server, err) && open_callers(server, err) &&
              certificates_read(config, world_now_ms(server->world), &own, err) && open_data(server, err) &&
              certificates_check_member(&own, config, server->chart, err);
    if (ok) {
        keep_times(server, &own);
        fill_service(server);
        ok = service_job_open(&server->service, &server->job, err) && open_rpc(server, err) &&
             open_ports(server, &own, err) && open_rounds(server, err);
    }
    certificates_done(&own);
    return ok;
}

static void tell_started(struct server *server)
{
    char text[700];
    struct log_size size = log_size(server->log);
    snprintf(text, sizeof text, "%s, clients at %s, peers at %s, log %s of %ju entries", server->service.version,
             server->client_address, server->peer_address, log_origin(server->log), (uintmax_t)size.size);
    journal_write(server->journal, CONFIG_LOG_INFO, &(struct journal_line){.event = "serving", .text = text});
}

/* A clock that jumped since the last run. Set back, it revives nothing: stamps and the security clock go on from
 * the newest entry (node/world). Set forward, what it wrote stays ahead. */
static void tell_clock(struct server *server)
{
    enum { BEHIND_MS = 5 * 60 * 1000 };
    const uint64_t long_ms = 30ull * 24 * 3600 * 1000;
    char text[300];
    uint64_t now = world_now_ms(server->world), newest = log_newest_ms(server->log);
    if (newest > now + BEHIND_MS) {
        snprintf(
            text, sizeof text,
            "the newest entry is from %ju s after what this machine's clock says: is it right? Until it comes "
            "there, permits that end before then count as ended, and peers may refuse what this node stamps",
            (uintmax_t)((newest - now) / 1000));
    } else if (now > newest + long_ms) {
        snprintf(
            text, sizeof text,
            "the newest entry is %ju days old by this machine's clock: was the node off so long, or is the clock "
            "wrong? What is stamped from now on cannot be taken back",
            (uintmax_t)((now - newest) / (24 * 3600 * 1000)));
    } else {
        return;
    }
    journal_write(server->journal, CONFIG_LOG_WARN, &(struct journal_line){.event = "clock", .text = text});
}

bool server_open(const struct server_options *options, struct server **out, struct err *err)
{
    struct server *server = calloc(1, sizeof *server);
    if (!server) {
        return err_raise(err, ERR_TOO_MUCH, "node: no memory");
    }
    server->config = options->config;
    server->config_file = options->config_file;
    server->version = options->version;
    server->state = CHARTMESH__V1__NODE_STATE__NODE_STATE_STARTING;
    arena_init(&server->arena, 4 << 20);
    if (!open_all(server, err)) {
        if (server->journal) {
            journal_write(server->journal, CONFIG_LOG_ERROR,
                          &(struct journal_line){.event = "not_started", .err = err});
        }
        server_close(server);
        return false;
    }
    name_address(server->config->client_listen, rpc_server_port(client_port_server(server->client_port)),
                 server->client_address);
    name_address(server->config->peer_listen, rpc_server_port(peer_port_server(server->peer_port)),
                 server->peer_address);
    server->state = CHARTMESH__V1__NODE_STATE__NODE_STATE_SERVING;
    tell_clock(server);
    tell_started(server);
    *out = server;
    return true;
}

void server_addresses(const struct server *server, const char **client, const char **peer, const char **metrics)
{
    *client = server->client_address;
    *peer = server->peer_address;
    *metrics = server->metrics ? server->metrics_address : NULL;
}

static void tell_reloaded(struct server *server, const Chartmesh__V1__ReloadItem *item)
{
    static const char *const words[] = {"", "taken", "needs a restart", "refused, the old stays in force"};
    char text[700];
    bool refused = item->outcome == CHARTMESH__V1__RELOAD_OUTCOME__RELOAD_OUTCOME_REFUSED;
    snprintf(text, sizeof text, "%s: %s%s%s", item->key, words[item->outcome], *item->text ? ": " : "",
             item->text);
    journal_write(server->journal, refused ? CONFIG_LOG_ERROR : CONFIG_LOG_INFO,
                  &(struct journal_line){.event = "reload", .text = text});
}

void server_reload(struct server *server)
{
    AUTO_ARENA(arena, RELOAD_ARENA);
    struct err err;
    Chartmesh__V1__ReloadReply reply = CHARTMESH__V1__RELOAD_REPLY__INIT;
    if (!reload_all(server, &arena, &reply, &err)) {
        journal_write(server->journal, CONFIG_LOG_ERROR, &(struct journal_line){.event = "reload", .err = &err});
    }
    for (size_t i = 0; i < reply.n_items; i++) {
        tell_reloaded(server, reply.items[i]);
    }
}

static const char *const drained_text[] = {
    [RPC_DRAINED] = "every call came to its end",
    [RPC_FORCED] = "some calls were cancelled",
    [RPC_STUCK] = "a call does not end: the process stops as it is; nothing that was acknowledged is lost",
};

bool server_drain(struct server *server)
{
    unsigned grace = server->config->drain_s * 1000;
    server->state = CHARTMESH__V1__NODE_STATE__NODE_STATE_DRAINING;
    journal_write(server->journal, CONFIG_LOG_INFO, &(struct journal_line){.event = "draining"});
    client_port_wind_up(server->client_port);
    links_end(server->links);
    enum rpc_drained client =
        rpc_server_drain(client_port_server(server->client_port), grace, grace + HARD_STOP_MS);
    enum rpc_drained peer = rpc_server_drain(peer_port_server(server->peer_port), 0, HARD_STOP_MS);
    enum rpc_drained worse = MAX(client, peer);
    const struct journal_line line = {.event = "drained", .text = drained_text[worse]};
    if (worse == RPC_STUCK) {
        journal_last(server->journal, &line);
    } else {
        journal_write(server->journal, CONFIG_LOG_INFO, &line);
    }
    return worse != RPC_STUCK;
}

/* The last map epoch goes with the anchor: what this node has promised, for its next start. */
static void seal_log(struct server *server)
{
    struct err err;
    uint64_t epoch;
    if (!log_map_close(server->log, &epoch, &err)) {
        journal_write(server->journal, CONFIG_LOG_ERROR,
                      &(struct journal_line){.event = "log_not_sealed", .err = &err});
    }
}

/* Calls and peers end first, then the data, then who tells of it. The log's last commit still has
 * the peers for listeners, stopped as they are. */
void server_close(struct server *server)
{
    if (!server) {
        return;
    }
    metrics_port_close(server->metrics);
    rounds_close(server->rounds);
    client_port_close(server->client_port);
    if (server->peers) {
        peers_stop(server->peers);
    }
    peer_port_close(server->peer_port);
    links_close(server->links);
    rpc_close(server->rpc);
    service_job_close(server->job);
    if (server->state == CHARTMESH__V1__NODE_STATE__NODE_STATE_DRAINING) {
        seal_log(server);
    }
    gate_close(server->gate);
    log_close(server->log);
    peers_close(server->peers);
    chart_close(server->chart);
    keys_close(server->keys);
    store_close(server->store);
    callers_free(server->callers);
    quotas_free(server->quotas);
    if (server->reload_lock) {
        world_lock_free(server->reload_lock);
    }
    reload_free(server);
    journal_close(server->journal);
    world_close(server->world);
    folder_close(&server->folder);
    arena_done(&server->arena);
    free(server);
}
