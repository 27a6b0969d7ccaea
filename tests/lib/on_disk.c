#include "tests/lib/on_disk.h"

#include <stdio.h>
#include <sys/stat.h>

#include "client/setup/facility.h"
#include "client/setup/files.h"
#include "proto/crypto/random.h"
#include "proto/crypto/seal.h"

enum { TRUST_MAX = 1 << 20 };

static void draw(void *arg, uint8_t *out, size_t len)
{
    (void)arg;
    random_fill(out, len);
}

static void fatal(void *arg, const struct err *why)
{
    (void)arg;
    fprintf(stderr, "%s\n", why->text);
}

static void store_failed(void *context, const struct err *why)
{
    struct on_disk *node = context;
    world_fatal(node->service.world, why);
}

static bool role_may(void *context, const char *role, const char *purpose, const char *rpc)
{
    const struct on_disk *node = context;
    const struct config_rule *rule = config_rule_find(node->config, role, purpose);
    return rule && config_lists(&rule->may, rpc);
}

static bool open_keys(struct on_disk *node, struct err *err)
{
    struct service *s = &node->service;
    struct keys_secrets secrets;
    const struct keyring_port ring = keyring_file(node->keyring);
    bool ok = keys_read_files(node->config->root_key_file, node->config->keys_folder, &secrets, err) &&
              keys_open(s->store, s->world, &secrets, &ring, &s->keys, err);
    secret_wipe(&secrets, sizeof secrets);
    return ok;
}

static bool open_log(struct on_disk *node, struct err *err)
{
    struct service *s = &node->service;
    const struct config *config = node->config;
    const struct log_options options = {.store = s->store,
                                        .keys = s->keys,
                                        .world = s->world,
                                        .anchor = anchor_file(node->anchor),
                                        .network = config->network,
                                        .facility = config->facility,
                                        .domain = config->domain,
                                        .map_every_ms = config->map_epoch_s * 1000,
                                        .map_every_entries = config->map_epoch_entries};
    return log_open(&options, &s->log, err);
}

static bool open_chart(struct on_disk *node, struct err *err)
{
    struct service *s = &node->service;
    struct chart_options options = {
        .store = s->store, .keys = s->keys, .log = s->log, .world = s->world, .facility = node->config->facility};
    return file_read(node->config->trust_file, TRUST_MAX, &node->arena, &options.trust_file, err) &&
           trust_file_network(options.trust_file, &options.first_network, err) &&
           chart_open(&options, &s->chart, err);
}

static bool open_gate(struct on_disk *node, struct err *err)
{
    static const struct consent_coding physician = {"urn:oid:2.16.840.1.113883.6.96", "112247003"};
    static const struct consent_need treats = {{"urn:oid:2.16.840.1.113883.6.96", "112247003"}, "TREAT", false};
    const struct consent_config consent = {.facility = node->config->facility,
                                           .clinical_roles = &physician,
                                           .clinical_roles_len = 1,
                                           .table = &treats,
                                           .table_len = 1};
    const struct gate_options options = {
        .chart = node->service.chart, .consent = &consent, .may = role_may, .context = node};
    return gate_open(&options, &node->service.gate, err);
}

static bool open_all(struct on_disk *node, const char *facility, const char *data, struct err *err)
{
    char file[256];
    const struct world_options world = {.random = draw, .fatal = fatal};
    const struct store_options store = {.folder = node->store, .failed = store_failed, .failed_context = node};
    snprintf(file, sizeof file, "%s/chartmeshd.conf", facility);
    snprintf(node->store, sizeof node->store, "%s/store", data);
    snprintf(node->keyring, sizeof node->keyring, "%s/keyring", data);
    snprintf(node->anchor, sizeof node->anchor, "%s/anchor", data);
    (void)mkdir(data, 0700);
    return config_load(file, &node->arena, &node->config, err) && world_open(&world, &node->service.world, err) &&
           store_open(&store, &node->service.store, err) && open_keys(node, err) && open_log(node, err) &&
           open_chart(node, err) && open_gate(node, err);
}

bool on_disk_open(struct on_disk *node, const char *facility, const char *data, struct err *err)
{
    *node = (struct on_disk){0};
    arena_init(&node->arena, 16 << 20);
    if (!open_all(node, facility, data, err)) {
        on_disk_close(node);
        return false;
    }
    node->service.config = node->config;
    node->service.version = "test";
    return true;
}

void on_disk_close(struct on_disk *node)
{
    struct service *s = &node->service;
    gate_close(s->gate);
    log_close(s->log);
    chart_close(s->chart);
    keys_close(s->keys);
    store_close(s->store);
    world_close(s->world);
    arena_done(&node->arena);
    *node = (struct on_disk){0};
}

bool on_disk_call(struct on_disk *node, const char *path, bool registrar, const ProtobufCMessage *in,
                  struct arena *arena, const ProtobufCMessage **out, struct err *err)
{
    char principal[512], network[2 * HASH_LEN + 1];
    ProtobufCMessage *reply = NULL;
    const struct service_method *method = service_find(path);
    snprintf(principal, sizeof principal, "spiffe://%s/%s/app/emr",
             bytes_hex(BYTES_OF(node->config->network), network), node->config->domain);
    const struct service_metadata metadata = {
        .spiffe_id = principal,
        .user = "test",
        .role = registrar ? ROLE_REGISTRAR : ROLE_PHYSICIAN,
        .purpose = registrar ? "HOPERAT" : "TREAT",
        .idempotency_key = "",
        .request_id = "1",
    };
    struct service_call call;
    bool ok = service_caller(&node->service, method, &metadata, arena, &call, err) &&
              service_unary(method, &call, in, &reply, err);
    *out = reply;
    return ok;
}
