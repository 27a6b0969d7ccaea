#include "node/server/server.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/server/client_port.h"
#include "node/server/folder.h"
#include "node/server/peer_port.h"
#include "node/server/peers_reply.h"
#include "proto/crypto/random.h"
#include "proto/crypto/seal.h"
#include "proto/crypto/x509.h"

enum {
    TRUST_FILE_MAX = 256 << 20,
    PEM_MAX = 256 << 10,
    FDS_FOR_FILES = 1256,            /* the store keeps 1,000 files open */
    HARD_STOP_MS = 10000,            /* after the grace, for handlers that were cancelled */
};

struct server {
    const struct config *config;
    struct arena arena;              /* what lives as long as the server */
    struct folder folder;
    struct world *world;
    struct journal *journal;
    struct store *store;
    struct keys *keys;
    struct log *log;
    struct chart *chart;
    struct gate *gate;
    struct service service;
    struct rpc *rpc;
    struct client_port *client_port;
    struct links *links;
    struct peers *peers;
    struct peer_port *peer_port;
    char client_address[300], peer_address[300];
    atomic_int state;                /* a Chartmesh__V1__NodeState */
};

/* -- What the parts ask of the node */

static void draw(void *arg, uint8_t *out, size_t len)
{
    (void)arg;
    random_fill(out, len);
}

static void fatal(void *arg, const struct err *why)
{
    struct server *server = arg;
    if (server->journal) {
        journal_last(server->journal, &(struct journal_line){.event = "fatal", .err = why});
    } else {
        fprintf(stderr, "chartmeshd: %s\n", why->text);
    }
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

static void admin_state(void *context, Chartmesh__V1__NodeState *state, const char **why, const char **advice)
{
    struct server *server = context;
    *state = (Chartmesh__V1__NodeState)atomic_load(&server->state);
    bool draining = *state == CHARTMESH__V1__NODE_STATE__NODE_STATE_DRAINING;
    *why = draining ? "the node was told to stop" : "";
    *advice = draining ? "wait until the process ends, or look into the log why it does not" : "";
}

/* -- The configuration, as the decision reads it */

static bool coding_of(const char *text, struct arena *arena, struct consent_coding *out, struct err *err)
{
    char *copy;
    if (!arena_string(arena, bytes_str(text), &copy, err)) {
        return false;
    }
    char *bar = strrchr(copy, '|');
    if (!bar) {
        return err_raise(err, ERR_INVALID, "configuration: role \"%s\" is not system|code", text);
    }
    *bar = '\0';
    *out = (struct consent_coding){.system = copy, .code = bar + 1};
    return true;
}

static bool codings_of(const struct config_strings *list, struct arena *arena, const struct consent_coding **out,
                       size_t *count, struct err *err)
{
    struct consent_coding *codings;
    if (!arena_array(arena, list->count, sizeof *codings, (void **)&codings, err)) {
        return false;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (!coding_of(list->items[i], arena, &codings[i], err)) {
            return false;
        }
    }
    *out = codings;
    *count = list->count;
    return true;
}

/* What a holder's application shows beside a copy; no disclosure goes without (I7). */
static const char NOTICE[] =
    "Disclosed with the patient's consent, for the permitted purpose only. It is not passed on.";

static bool consent_config_of(const struct config *config, struct arena *arena, struct consent_config *out,
                              struct err *err)
{
    struct consent_need *table;
    if (!arena_array(arena, config->rule_count, sizeof *table, (void **)&table, err)) {
        return false;
    }
    for (size_t i = 0; i < config->rule_count; i++) {
        const struct config_rule *rule = &config->rules[i];
        if (!coding_of(rule->role, arena, &table[i].role, err)) {
            return false;
        }
        table[i].purpose = rule->purpose;
        table[i].assigned = rule->needs == CONFIG_NEEDS_ASSIGNED;
    }
    *out = (struct consent_config){
        .facility = config->facility,
        .notice = NOTICE,
        .table = table,
        .table_len = config->rule_count,
        .max_age_s = config->max_age_normal_s,
        .max_age_restricted_s = config->max_age_restricted_s,
        .max_age_sensitive_s = config->max_age_sensitive_s,
        .max_disclosure_days = config->max_disclosure_days,
    };
    return codings_of(&config->clinical_roles, arena, &out->clinical_roles, &out->clinical_roles_len, err) &&
           codings_of(&config->sensitive_roles, arena, &out->sensitive_roles, &out->sensitive_roles_len, err);
}

/* -- Data: folder, store, keys, log, chart, gate */

static bool open_store(struct server *server, struct err *err)
{
    const struct store_options options = {.folder = server->folder.store, .memory = server->config->store_memory};
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
    return consent_config_of(server->config, &server->arena, &consent, err) &&
           gate_open(&options, &server->gate, err);
}

static bool open_data(struct server *server, struct err *err)
{
    return open_store(server, err) && open_keys(server, err) && open_log(server, err) && open_chart(server, err) &&
           open_gate(server, err);
}

/* -- Are we who the network thinks we are? */

static bool pinned(const struct member *member, const struct hash *pin)
{
    for (size_t i = 0; i < member->message->n_tls_pins; i++) {
        const ProtobufCBinaryData *listed = &member->message->tls_pins[i];
        if (bytes_equal(BYTES(listed->data, listed->len), BYTES_OF(*pin))) {
            return true;
        }
    }
    return false;
}

static bool check_member(const struct server *server, const struct member *member, const struct hash *pin,
                         struct err *err)
{
    const struct config *config = server->config;
    if (!member || !member->listed) {
        return err_raise(err, ERR_STATE,
                         "membership: this facility is not on the roster in %s: have the operators add "
                         "it (chartmesh network add) and take their trust file",
                         config->trust_file);
    }
    if (strcmp(member->domain, config->domain) != 0) {
        return err_raise(err, ERR_STATE, "membership: it is of the domain %s, the configuration's is %s",
                         member->domain, config->domain);
    }
    if (!hash_equal(&member->statement_key, signing_key_public(keys_statement(server->keys))) ||
        !hash_equal(&member->checkpoint_key, signing_key_public(keys_checkpoint(server->keys))) ||
        !hash_equal(&member->witness_key, signing_key_public(keys_witness(server->keys)))) {
        return err_raise(err, ERR_STATE, "membership: its keys are not those in %s", config->keys_folder);
    }
    return pinned(member, pin) ||
           err_raise(err, ERR_STATE, "membership: it does not pin the key of %s", config->peer_certificate);
}

static bool check_ourselves(struct server *server, const struct rpc_tls *peer, struct err *err)
{
    struct hash pin;
    if (!cert_pin(bytes_str(peer->chain_pem), &pin, err)) {
        return err_wrap(err, "%s", server->config->peer_certificate);
    }
    const struct trust *trust = chart_trust_take(server->chart);
    bool ok = check_member(server, trust_member(trust, &server->config->facility), &pin, err);
    chart_trust_give(server->chart);
    return ok;
}

/* -- Certificates */

static bool check_times(struct world *world, const char *path, const char *pem, struct err *err)
{
    int64_t from, until, now = (int64_t)world_now_ms(world);
    return (cert_times(bytes_str(pem), &from, &until, err) &&
            (now < until || err_raise(err, ERR_STATE, "it has expired: issue a new one")) &&
            (now >= from || err_raise(err, ERR_STATE, "it is not valid yet: is this machine's clock right?"))) ||
           err_wrap(err, "certificate %s", path);
}

static bool read_pair(struct server *server, const char *certificate, const char *key, struct arena *arena,
                      struct rpc_tls *out, struct err *err)
{
    if (!folder_text(certificate, PEM_MAX, arena, &out->chain_pem, err) ||
        !folder_text(key, PEM_MAX, arena, &out->key_pem, err)) {
        return false;
    }
    const struct cert_pair pair = {.certificate = out->chain_pem, .key = out->key_pem};
    return check_times(server->world, certificate, out->chain_pem, err) &&
           (cert_pair_check(&pair, err) || err_wrap(err, "certificate %s and key %s", certificate, key));
}

struct both_tls {
    struct arena arena;
    struct rpc_tls client, peer;
};

static bool tls_read(struct server *server, struct both_tls *out, struct err *err)
{
    const struct config *config = server->config;
    arena_init(&out->arena, 8 * PEM_MAX);
    return folder_text(config->client_ca, PEM_MAX, &out->arena, &out->client.roots_pem, err) &&
           read_pair(server, config->client_certificate, config->client_key, &out->arena, &out->client, err) &&
           read_pair(server, config->peer_certificate, config->peer_key, &out->arena, &out->peer, err);
}

static void tls_done(struct both_tls *tls)
{
    for (size_t i = 0; i < 2; i++) {
        struct rpc_tls *one = i ? &tls->client : &tls->peer;
        if (one->key_pem) {
            secret_wipe((char *)(uintptr_t)one->key_pem, strlen(one->key_pem));
        }
    }
    arena_done(&tls->arena);
}

/* -- Ports */

static bool open_rpc(struct server *server, struct err *err)
{
    const struct config *config = server->config;
    const struct rpc_config options = {
        .work_threads = config->workers,
        .watch_threads = MAX(config->max_watches, 1),
        .fd_max = (int)config->max_connections + FDS_FOR_FILES,
        .log = grpc_line,
        .ctx = server,
    };
    return rpc_open(&options, &server->rpc, err);
}

static void fill_service(struct server *server, const char *version)
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
        .version = version,
        .peers = admin_peers,
        .state = admin_state,
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
                                           .tls = tls};
    return peer_port_open(&port, &server->peer_port, err);
}

/* The client port is last: who gets in finds a whole node. */
static bool open_ports(struct server *server, const struct both_tls *tls, struct err *err)
{
    const struct client_port_options client = {
        .rpc = server->rpc, .service = &server->service, .journal = server->journal, .tls = &tls->client};
    return open_peers(server, &tls->peer, err) && client_port_open(&client, &server->client_port, err);
}

/* The address as configured, with the port that was bound. */
static void name_address(const char *listen, int port, char out[300])
{
    const char *colon = strrchr(listen, ':');
    int host = colon ? (int)(colon - listen) : (int)strlen(listen);
    snprintf(out, 300, "%.*s:%d", host, listen, port);
}

/* -- Open and close */

static bool open_all(struct server *server, const char *version, struct err *err)
{
    const struct config *config = server->config;
    const struct world_options world = {
        .random = draw, .fatal = fatal, .fatal_arg = server, .clock_error_ms = config->clock_error_ms};
    struct both_tls tls = {0};
    bool ok = folder_open(config->data_folder, &server->folder, err) && world_open(&world, &server->world, err) &&
              journal_open(server->world, config->log_file, config->log_level, &server->journal, err) &&
              tls_read(server, &tls, err) && open_data(server, err) && check_ourselves(server, &tls.peer, err);
    if (ok) {
        fill_service(server, version);
        ok = open_rpc(server, err) && open_ports(server, &tls, err);
    }
    tls_done(&tls);
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

bool server_open(const struct server_options *options, struct server **out, struct err *err)
{
    struct server *server = calloc(1, sizeof *server);
    if (!server) {
        return err_raise(err, ERR_TOO_MUCH, "node: no memory");
    }
    server->config = options->config;
    server->state = CHARTMESH__V1__NODE_STATE__NODE_STATE_STARTING;
    arena_init(&server->arena, 4 << 20);
    if (!open_all(server, options->version, err)) {
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
    tell_started(server);
    *out = server;
    return true;
}

void server_addresses(const struct server *server, const char **client, const char **peer)
{
    *client = server->client_address;
    *peer = server->peer_address;
}

void server_reload(struct server *server)
{
    struct both_tls tls = {0};
    struct err err;
    bool ok = journal_reopen(server->journal, &err) && tls_read(server, &tls, &err) &&
              check_ourselves(server, &tls.peer, &err) &&
              rpc_server_reload(client_port_server(server->client_port), &tls.client, &err) &&
              peer_port_reload(server->peer_port, &tls.peer, &err);
    tls_done(&tls);
    journal_write(
        server->journal, ok ? CONFIG_LOG_INFO : CONFIG_LOG_ERROR,
        &(struct journal_line){
            .event = "reload",
            .err = ok ? NULL : &err,
            .text = "certificates and the log file; every other change of the configuration needs a restart",
        });
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
    client_port_close(server->client_port);
    if (server->peers) {
        peers_stop(server->peers);
    }
    peer_port_close(server->peer_port);
    links_close(server->links);
    rpc_close(server->rpc);
    if (server->state == CHARTMESH__V1__NODE_STATE__NODE_STATE_DRAINING) {
        seal_log(server);
    }
    gate_close(server->gate);
    log_close(server->log);
    peers_close(server->peers);
    chart_close(server->chart);
    keys_close(server->keys);
    store_close(server->store);
    journal_close(server->journal);
    world_close(server->world);
    folder_close(&server->folder);
    arena_done(&server->arena);
    free(server);
}
