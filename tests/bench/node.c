#include "tests/bench/node.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/setup/facility.h"
#include "client/setup/files.h"
#include "client/setup/network.h"
#include "proto/crypto/random.h"
#include "tests/bench/bench.h"

enum { FILE_MAX = 1 << 20 };

static char *path_of(struct bench_node *node, const char *folder, const char *name)
{
    struct err err;
    char *path;
    bench_must(arena_printf(&node->arena, &path, &err, "%s/%s", folder, name), &err, "a path");
    return path;
}

static struct bytes read_file(struct bench_node *node, const char *path)
{
    struct err err;
    struct bytes out;
    bench_must(file_read(path, FILE_MAX, &node->arena, &out, &err), &err, path);
    return out;
}

/* ---- The folder -------------------------------------------------------------------------------------------------- */

void bench_node_make(struct bench_node *node, const char *folder)
{
    struct err err;
    struct hash network;
    struct id facility;
    const char *profile;
    int64_t now = (int64_t)time(NULL) * 1000;
    *node = (struct bench_node){0};
    arena_init(&node->arena, 16 << 20);
    const char *operators = path_of(node, folder, "operators"), *trust = path_of(node, operators, "trust");
    node->folder = path_of(node, folder, "node");
    const char *membership = path_of(node, node->folder, "membership");
    const struct network_options founding = {.name = "bench", .operators = 1, .threshold = 1};
    const struct facility_options options = {.trust = trust,
                                             .domain = "node.bench",
                                             .name = "bench",
                                             .client_listen = "127.0.0.1:0",
                                             .peer_listen = "127.0.0.1:0"};
    const struct client_options client = {
        .kind = CLIENT_APP, .name = "bench", .role = ROLE_PHYSICIAN, .purpose = "TREAT"};
    bench_must(network_found(operators, &founding, now, &network, &err), &err, "the network");
    bench_must(facility_init(node->folder, &options, now, &facility, &err), &err, "the node's folder");
    bench_must(network_add(operators, &membership, 1, now, &err), &err, "the membership");
    bench_must(facility_trust(node->folder, trust, &err), &err, "the trust file");
    bench_must(facility_issue(node->folder, &client, now, &node->arena, &profile, &err), &err, "a certificate");
    bench_must(profile_load(profile, &node->arena, &node->profile, &err), &err, "the profile");
}

void bench_node_done(struct bench_node *node)
{
    arena_done(&node->arena);
}

/* ---- In this process --------------------------------------------------------------------------------------------- */

static void draw(void *arg, uint8_t *out, size_t len)
{
    (void)arg;
    random_fill(out, len);
}

static void fatal(void *arg, const struct err *why)
{
    (void)arg;
    bench_must(false, why, "the node");
}

static bool role_may(void *context, const char *role, const char *purpose, const char *rpc)
{
    const struct bench_node *node = context;
    const struct config_rule *rule = config_rule_find(node->config, role, purpose);
    return rule && config_lists(&rule->may, rpc);
}

static void open_chart(struct bench_node *node)
{
    struct err err;
    struct service *s = &node->service;
    struct chart_options options = {.store = s->store,
                                    .keys = s->keys,
                                    .log = s->log,
                                    .world = s->world,
                                    .trust_file = read_file(node, node->config->trust_file),
                                    .facility = node->config->facility};
    bench_must(trust_file_network(options.trust_file, &options.first_network, &err), &err, "the trust file");
    bench_must(chart_open(&options, &s->chart, &err), &err, "the chart");
}

static void open_gate(struct bench_node *node)
{
    static const struct consent_coding physician = {"urn:oid:2.16.840.1.113883.6.96", "112247003"};
    static const struct consent_need treats = {{"urn:oid:2.16.840.1.113883.6.96", "112247003"}, "TREAT", false};
    struct err err;
    const struct consent_config consent = {.facility = node->config->facility,
                                           .clinical_roles = &physician,
                                           .clinical_roles_len = 1,
                                           .table = &treats,
                                           .table_len = 1};
    const struct gate_options options = {
        .chart = node->service.chart, .consent = &consent, .may = role_may, .context = node};
    bench_must(gate_open(&options, &node->service.gate, &err), &err, "the gate");
}

void bench_node_open(struct bench_node *node)
{
    struct err err;
    struct keys_secrets secrets;
    struct service *s = &node->service;
    bench_must(config_load(path_of(node, node->folder, "chartmeshd.conf"), &node->arena, &node->config, &err),
               &err, "the configuration");
    const struct config *config = node->config;
    const char *data = config->data_folder;
    bench_must(mkdir(data, 0700) == 0 || access(data, W_OK) == 0, NULL, data);
    const struct world_options world = {.random = draw, .fatal = fatal};
    const struct store_options store = {.folder = path_of(node, data, "store"), .memory = config->store_memory};
    const struct keyring_port ring = keyring_file(path_of(node, data, "keyring"));
    bench_must(world_open(&world, &s->world, &err), &err, "the world");
    bench_must(store_open(&store, &s->store, &err), &err, "the store");
    bench_must(keys_read_files(config->root_key_file, config->keys_folder, &secrets, &err), &err, "the keys");
    bench_must(keys_open(s->store, s->world, &secrets, &ring, &s->keys, &err), &err, "the keys");
    const struct log_options log = {.store = s->store,
                                    .keys = s->keys,
                                    .world = s->world,
                                    .anchor = anchor_file(path_of(node, data, "anchor")),
                                    .network = config->network,
                                    .facility = config->facility,
                                    .domain = config->domain,
                                    .map_every_ms = config->map_epoch_s * 1000,
                                    .map_every_entries = config->map_epoch_entries};
    bench_must(log_open(&log, &s->log, &err), &err, "the log");
    open_chart(node);
    open_gate(node);
    s->config = config;
    s->version = "bench";
}

void bench_node_close(struct bench_node *node)
{
    struct service *s = &node->service;
    gate_close(s->gate);
    chart_close(s->chart);
    log_close(s->log);
    keys_close(s->keys);
    store_close(s->store);
    world_close(s->world);
    *s = (struct service){0};
}

/* ---- As the daemon ----------------------------------------------------------------------------------------------- */

/* The daemon's first line: "ready client=HOST:PORT peer=... pid=N". */
static void await_ready(FILE *from, char *target, size_t size)
{
    char line[800];
    bool ready = fgets(line, sizeof line, from) != NULL;
    const char *client = ready ? strstr(line, "client=") : NULL;
    bench_must(client != NULL, NULL, "chartmeshd's start");
    client += strlen("client=");
    snprintf(target, size, "%.*s", (int)strcspn(client, " \n"), client);
}

static pid_t start(struct bench_node *node, const char *chartmeshd, char *target, size_t size)
{
    extern char **environ;
    int out[2];
    pid_t pid;
    char *argv[] = {(char *)(uintptr_t)chartmeshd, "--config", path_of(node, node->folder, "chartmeshd.conf"),
                    NULL};
    posix_spawn_file_actions_t actions;
    bench_must(pipe(out) == 0, NULL, "a pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, out[0]);
    posix_spawn_file_actions_addclose(&actions, out[1]);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, path_of(node, node->folder, "chartmeshd.log"),
                                     O_CREAT | O_WRONLY | O_APPEND, 0600);
    fflush(stdout);
    bench_must(posix_spawn(&pid, chartmeshd, &actions, NULL, argv, environ) == 0, NULL, chartmeshd);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    FILE *from = fdopen(out[0], "r");
    bench_must(from != NULL, NULL, "a pipe");
    await_ready(from, target, size);
    fclose(from);
    return pid;
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* VmRSS of another process, in MiB; 0 where the system does not say. */
static double resident_mib(pid_t pid)
{
    char path[64], line[256];
    unsigned long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *status = fopen(path, "re");
    while (status && fgets(line, sizeof line, status)) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            kib = strtoul(line + 6, NULL, 10);
        }
    }
    if (status) {
        fclose(status);
    }
    return (double)kib / 1024;
}

void bench_node_serve(struct bench_node *node, const char *chartmeshd)
{
    struct err err;
    char target[300];
    const struct profile *p = &node->profile;
    double begin = now_ms();
    node->daemon = start(node, chartmeshd, target, sizeof target);
    node->start_ms = now_ms() - begin;
    node->idle_mib = resident_mib(node->daemon);
    const struct rpc_channel_config config = {
        .target = target,
        .tls = {(const char *)read_file(node, p->ca).data, (const char *)read_file(node, p->certificate).data,
                (const char *)read_file(node, p->key).data},
        .server_name = p->server_name,
    };
    bench_must(rpc_open(&(struct rpc_config){0}, &node->rpc, &err), &err, "the runtime");
    bench_must(rpc_channel_open(node->rpc, &config, &node->channel, &err), &err, "a channel");
}

void bench_node_stop(struct bench_node *node)
{
    int status;
    rpc_channel_close(node->channel);
    rpc_close(node->rpc);
    kill(node->daemon, SIGTERM);
    waitpid(node->daemon, &status, 0);
    bench_must(WIFEXITED(status) && WEXITSTATUS(status) == 0, NULL, "chartmeshd's end");
    node->daemon = 0;
    node->channel = NULL;
}

/* ---- Calls ------------------------------------------------------------------------------------------------------- */

static bool call_here(struct bench_node *node, const char *path, bool registrar, const ProtobufCMessage *in,
                      struct arena *arena, ProtobufCMessage **out, struct err *err)
{
    const struct service_method *method = service_find(path);
    const struct service_metadata metadata = {
        .spiffe_id = node->profile.principal,
        .user = "bench",
        .role = registrar ? ROLE_REGISTRAR : ROLE_PHYSICIAN,
        .purpose = registrar ? "HOPERAT" : "TREAT",
        .idempotency_key = "",
        .request_id = "1",
    };
    struct service_call call;
    return service_caller(&node->service, method, &metadata, arena, &call, err) &&
           service_unary(method, &call, in, out, err);
}

bool bench_node_call(struct bench_node *node, const char *path, bool registrar, const ProtobufCMessage *in,
                     struct arena *arena, const ProtobufCMessage **out, struct err *err)
{
    if (!node->channel) {
        ProtobufCMessage *made;
        bool ok = call_here(node, path, registrar, in, arena, &made, err);
        *out = ok ? made : NULL;
        return ok;
    }
    const struct rpc_header headers[] = {
        {"x-chartmesh-user", "bench"},
        {"x-chartmesh-role", registrar ? ROLE_REGISTRAR : ROLE_PHYSICIAN},
        {"x-chartmesh-purpose", registrar ? "HOPERAT" : "TREAT"},
    };
    const struct rpc_options options = {
        .wait_for_ready = true, .headers = headers, .header_count = COUNT(headers)};
    return rpc_unary(node->channel, path, in, service_find(path)->out, &options, arena, out, err);
}
