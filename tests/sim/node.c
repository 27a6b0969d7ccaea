/* A facility in the simulator: the daemon's parts, started and killed. */
#include <stdlib.h>

#include "tests/sim/sim.h"

static bool ring_load(void *context, struct arena *arena, struct bytes *out, struct err *err)
{
    struct sim_node *node = context;
    return node->ring_len ? arena_copy(arena, BYTES(node->ring, node->ring_len), out, err)
                          : err_raise(err, ERR_NOT_FOUND, "no keyring");
}

static bool ring_save(void *context, struct bytes keyring, struct err *err)
{
    struct sim_node *node = context;
    if (keyring.len > sizeof node->ring) {
        return err_raise(err, ERR_TOO_MUCH, "keyring of %zu bytes", keyring.len);
    }
    memcpy(node->ring, keyring.data, keyring.len);
    node->ring_len = keyring.len;
    return true;
}

static bool anchor_load(void *context, struct arena *arena, struct bytes *out, struct err *err)
{
    struct sim_node *node = context;
    return node->anchor_len ? arena_copy(arena, BYTES(node->anchor, node->anchor_len), out, err)
                            : err_raise(err, ERR_NOT_FOUND, "no anchor");
}

static bool anchor_save(void *context, struct bytes text, struct err *err)
{
    struct sim_node *node = context;
    if (text.len > sizeof node->anchor) {
        return err_raise(err, ERR_TOO_MUCH, "anchor of %zu bytes", text.len);
    }
    memcpy(node->anchor, text.data, text.len);
    node->anchor_len = text.len;
    return true;
}

/* A sync takes its time; other tasks go on. */
static void spin(struct sim_node *node)
{
    uint64_t until = world_mono_ms(node->world) + sim_choose(node->sim, 4);
    world_lock_take(node->disk_lock);
    while (world_event_wait_until(node->disk_never, node->disk_lock, until)) {
    }
    world_lock_give(node->disk_lock);
}

/* A power cut in the middle of a commit: the disk has the batch, or it has not. */
static enum store_disk_sync on_sync(void *arg)
{
    struct sim_node *node = arg;
    if (sim_choose(node->sim, 2)) {
        spin(node);
    }
    if (node->crash_in == 0 || --node->crash_in > 0) {
        return DISK_SYNCED;
    }
    sim_say(node->sim, "%zu: power cut in a commit, batch %s", node->number,
            node->crash_how == DISK_KEPT ? "kept" : "lost");
    return node->crash_how;
}

static bool may_all(void *context, const char *role, const char *purpose, const char *rpc)
{
    (void)context;
    (void)role;
    (void)purpose;
    (void)rpc;
    return true;
}

static void peer_log(void *context, const struct id *peer, const char *lane, const char *event, const char *text)
{
    struct sim_node *node = context;
    for (size_t i = 0; i < SIM_NODES; i++) {
        if (id_equal(&node->sim->f->members[i].id, peer)) {
            sim_say(node->sim, "%zu: %s to %zu: %s %s", node->number, lane, i, event, text);
        }
    }
    if (strcmp(event, "ALARM") == 0 || strcmp(event, "fatal") == 0) {
        sim_broken(node->sim, "NO ALARM", "%s: %s", event, text);
    }
}

static void open_log(struct sim_node *node, const struct federation_member *m)
{
    struct err err;
    const struct keys_secrets secrets = {.root = {{(uint8_t)(node->number + 1)}},
                                         .statement = m->statement_seed,
                                         .checkpoint = m->checkpoint_seed,
                                         .witness = m->witness_seed,
                                         .sealing = m->sealing_secret};
    const struct keyring_port ring = {ring_load, ring_save, node};
    sim_must(node->sim, store_open(&(struct store_options){.disk = node->disk}, &node->store, &err));
    sim_must(node->sim, keys_open(node->store, node->world, &secrets, &ring, &node->keys, &err));
    const struct log_options options = {.store = node->store,
                                        .keys = node->keys,
                                        .world = node->world,
                                        .anchor = {anchor_load, anchor_save, node},
                                        .network = node->sim->f->network,
                                        .facility = m->id,
                                        .domain = m->domain};
    sim_must(node->sim, log_open(&options, &node->log, &err));
}

void node_start(struct sim_node *node)
{
    struct err err;
    struct sim *sim = node->sim;
    const struct federation_member *m = &sim->f->members[node->number];
    sim_say(sim, "%zu: starts", node->number);
    node->world = world_sim_world(sim->room, (int64_t)sim_choose(sim, 2000) - 1000);
    open_log(node, m);
    const struct chart_options chart = {.store = node->store,
                                        .keys = node->keys,
                                        .log = node->log,
                                        .world = node->world,
                                        .first_network = sim->f->first_network,
                                        .trust_file = sim->f->trust_file,
                                        .facility = m->id};
    sim_must(sim, chart_open(&chart, &node->chart, &err));
    const struct consent_config consent = {.facility = m->id, .notice = "for treatment only"};
    const struct gate_options gate = {.chart = node->chart, .consent = &consent, .may = may_all};
    sim_must(sim, gate_open(&gate, &node->gate, &err));
    sim_must(sim, world_lane_open(node->world, "deeds", 1, &node->deeds, &err));
    const struct peers_options peers = {.store = node->store,
                                        .chart = node->chart,
                                        .gate = node->gate,
                                        .domain = m->domain,
                                        .transport = wire_transport(node),
                                        .tick_ms = 500,
                                        .log = peer_log,
                                        .log_context = node};
    sim_must(sim, peers_open(&peers, &node->peers, &err));
    node->disk_lock = world_lock_new(node->world);
    node->disk_never = world_event_new(node->world);
    node->busy = false;
    node->crash_in = 0;
    node->up = true;
    store_disk_on_sync(node->disk, on_sync, node);
}

/* What a dead process had in memory is lost: its log and its world stay as they are, until the room is freed. The
 * rest is taken away to save memory. */
void node_buried(struct sim_node *node)
{
    node->up = false;
    node->sim->crashes++;
    wires_of_dead(node);
    peers_close(node->peers);
    world_lane_close(node->deeds);
    gate_close(node->gate);
    chart_close(node->chart);
    keys_close(node->keys);
    store_close(node->store);
    sim_say(node->sim, "%zu: dead", node->number);
}

void node_crash(struct sim_node *node)
{
    sim_say(node->sim, "%zu: killed", node->number);
    store_disk_on_sync(node->disk, NULL, NULL);
    store_disk_crash(node->disk);
    world_sim_kill(node->world);
    node_buried(node);
}

void node_end(struct sim_node *node)
{
    if (node->up) {
        store_disk_on_sync(node->disk, NULL, NULL);
        peers_stop(node->peers);
        world_lane_close(node->deeds);
        gate_close(node->gate);
        chart_close(node->chart);
        log_close(node->log);
        peers_close(node->peers);
        keys_close(node->keys);
        store_close(node->store);
        world_event_free(node->disk_never);
        world_lock_free(node->disk_lock);
        world_close(node->world);
        node->up = false;
    }
    store_disk_free(node->disk);
}
