/* Taking a changed configuration, certificates and deny list while the node runs. Each part by itself: what is
 * wrong is said and leaves the old in force. */
#include <stdio.h>
#include <stdlib.h>

#include "node/config/compare.h"
#include "node/server/certificates.h"
#include "node/server/inside.h"
#include "node/server/matrix.h"

enum {
    CONFIG_BYTES_MAX = 8 << 20,
    KEPT_MAX = 1000,             /* changes of the configuration between two starts */
    DENY_ARENA = 2 * DENY_BYTES_MAX + DENY_MAX * 64,
    ITEMS_MAX = CONFIG_CHANGES_MAX + 16,
};

#define OUTCOME(name) CHARTMESH__V1__RELOAD_OUTCOME__RELOAD_OUTCOME_##name

/* -- What came of it */

struct report {
    struct arena *arena;
    Chartmesh__V1__ReloadReply *out;
};

static bool report_begin(struct arena *arena, Chartmesh__V1__ReloadReply *out, struct report *report,
                         struct err *err)
{
    *report = (struct report){.arena = arena, .out = out};
    return arena_array(arena, ITEMS_MAX, sizeof *out->items, (void **)&out->items, err);
}

static bool say(struct report *report, const char *key, Chartmesh__V1__ReloadOutcome outcome, const char *text,
                struct err *err)
{
    Chartmesh__V1__ReloadItem *item;
    if (report->out->n_items == ITEMS_MAX || !arena_alloc(report->arena, sizeof *item, (void **)&item, err)) {
        return err_wrap(err, "reload");
    }
    chartmesh__v1__reload_item__init(item);
    item->outcome = outcome;
    report->out->items[report->out->n_items++] = item;
    return arena_string(report->arena, bytes_str(key), &item->key, err) &&
           arena_string(report->arena, bytes_str(text), &item->text, err);
}

static bool say_end(struct report *report, const char *key, bool ok, const struct err *why, struct err *err)
{
    return say(report, key, ok ? OUTCOME(TAKEN) : OUTCOME(REFUSED), ok ? "" : why->text, err);
}

/* -- The configuration */

static bool read_config(struct server *server, struct kept_config **out, struct err *err)
{
    if (!server->config_file) {
        return err_raise(err, ERR_STATE, "configuration: this node was started without a file");
    }
    if (server->kept_count >= KEPT_MAX) {
        return err_raise(err, ERR_TOO_MUCH,
                         "configuration: it was changed %d times since the start: restart the node", KEPT_MAX);
    }
    struct kept_config *kept = calloc(1, sizeof *kept);
    if (!kept) {
        return err_raise(err, ERR_TOO_MUCH, "configuration: no memory");
    }
    arena_init(&kept->arena, CONFIG_BYTES_MAX);
    if (!config_load(server->config_file, &kept->arena, &kept->config, err) || !config_check(kept->config, err)) {
        arena_done(&kept->arena);
        free(kept);
        return false;
    }
    *out = kept;
    return true;
}

/* The matrix goes first: it alone can fail. */
static bool put_in_force(struct server *server, struct kept_config *kept, struct err *err)
{
    struct consent_config consent;
    config_keep(kept->config, server->config);
    if (!matrix_of(kept->config, &kept->arena, &consent, err) || !gate_rules(server->gate, &consent, err)) {
        return false;
    }
    kept->before = server->kept;
    server->kept = kept;
    server->kept_count++;
    server->config = kept->config;
    server->service.config = kept->config;
    journal_level(server->journal, kept->config->log_level);
    return true;
}

static bool reload_config(struct server *server, struct report *report, struct err *err)
{
    struct err why;
    struct kept_config *kept;
    struct config_change changes[CONFIG_CHANGES_MAX];
    if (!read_config(server, &kept, &why)) {
        return say(report, "configuration", OUTCOME(REFUSED), why.text, err);
    }
    size_t count = config_compare(server->config, kept->config, changes);
    bool ok = count > 0 && put_in_force(server, kept, &why);
    if (!ok) {
        arena_done(&kept->arena);
        free(kept);
        return count == 0 || say(report, "configuration", OUTCOME(REFUSED), why.text, err);
    }
    for (size_t i = 0; i < count; i++) {
        if (!say(report, changes[i].key, changes[i].restart ? OUTCOME(NEEDS_RESTART) : OUTCOME(TAKEN),
                 changes[i].restart ? "restart the node to take it" : "", err)) {
            return false;
        }
    }
    return true;
}

void reload_free(struct server *server)
{
    for (struct kept_config *kept = server->kept, *before; kept; kept = before) {
        before = kept->before;
        arena_done(&kept->arena);
        free(kept);
    }
}

/* -- Certificates: ours, and whom we let in */

bool reload_deny(struct server *server, const struct config *config, struct err *err)
{
    struct arena arena;
    struct deny *deny = NULL;
    arena_init(&arena, DENY_ARENA);
    if (config->deny_file && !deny_load(config->deny_file, &arena, &deny, err)) {
        arena_done(&arena);
        return false;
    }
    callers_rule(server->callers, arena, deny, config->certificate_hours);
    return true;
}

static bool take_client(struct server *server, struct err *err)
{
    struct certificates own;
    bool ok = certificates_read_client(server->config, world_now_ms(server->world), &own, err) &&
              rpc_server_reload(client_port_server(server->client_port), &own.client, err);
    if (ok) {
        server->until_ms[OWN_CLIENT] = own.client_until_ms;
        server->until_ms[OWN_CLIENT_CA] = own.ca_until_ms;
    }
    certificates_done(&own);
    return ok;
}

static bool take_peer(struct server *server, struct err *err)
{
    struct certificates own;
    bool ok = certificates_read_peer(server->config, world_now_ms(server->world), &own, err) &&
              certificates_check_member(&own, server->config, server->chart, err) &&
              peer_port_reload(server->peer_port, &own.peer, err) && links_reload(server->links, &own.peer, err);
    if (ok) {
        server->until_ms[OWN_PEER] = own.peer_until_ms;
    }
    certificates_done(&own);
    return ok;
}

/* -- All of it */

bool reload_all(struct server *server, struct arena *arena, Chartmesh__V1__ReloadReply *out, struct err *err)
{
    struct report report;
    struct err why;
    AUTO_LOCKED(held, server->reload_lock);
    bool ok = report_begin(arena, out, &report, err) && reload_config(server, &report, err);
    ok = ok && say_end(&report, "client.deny", reload_deny(server, server->config, &why), &why, err);
    ok = ok && say_end(&report, "client.certificate", take_client(server, &why), &why, err);
    ok = ok && say_end(&report, "peer.certificate", take_peer(server, &why), &why, err);
    ok = ok && say_end(&report, "log.file", journal_reopen(server->journal, &why), &why, err);
    client_port_recheck(server->client_port);
    peer_port_recheck(server->peer_port);
    server->reloads++;
    for (size_t i = 0; i < out->n_items; i++) {
        server->refusals += out->items[i]->outcome == OUTCOME(REFUSED);
    }
    return ok;
}
