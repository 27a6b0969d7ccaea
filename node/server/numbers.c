#include "node/server/numbers.h"

#include <stdio.h>
#include <unistd.h>

#include "node/metrics/text.h"
#include "node/server/status.h"
#include "proto/chartmesh/v1/log.pb-c.h"
#include "proto/rpc/counters.h"

enum { PEERS_ARENA = 8 << 20 };
#define MICRO 1e6

struct writing {
    struct server *server;
    struct metrics_text text;
};

static void family(struct writing *w, const char *name, enum metrics_kind kind, const char *help)
{
    metrics_family(&w->text, name, kind, help);
}

static void single(struct writing *w, const char *name, enum metrics_kind kind, const char *help, uint64_t value)
{
    family(w, name, kind, help);
    metrics_u64(&w->text, NO_LABELS, value);
}

/* -- The process */

static uint64_t resident_pages(void)
{
    unsigned long long size, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file) {
        resident = fscanf(file, "%llu %llu", &size, &resident) == 2 ? resident : 0;
        fclose(file);
    }
    return resident;
}

static void process(struct writing *w)
{
    single(w, "process_resident_memory_bytes", METRICS_GAUGE, "Memory of the process in RAM.",
           resident_pages() * (uint64_t)sysconf(_SC_PAGESIZE));
    family(w, "process_start_time_seconds", METRICS_GAUGE, "When the node was started, Unix time.");
    metrics_real(&w->text, NO_LABELS, (double)w->server->opened_ms / 1000);
}

static void state(struct writing *w)
{
    const char *why, *advice;
    Chartmesh__V1__NodeState now = status_state(w->server, &why, &advice);
    family(w, "chartmesh_build_info", METRICS_GAUGE, "Always 1; the label says which program.");
    metrics_u64(&w->text, LABELS({"version", w->server->version}), 1);
    family(w, "chartmesh_state", METRICS_GAUGE, "1 for the state that the node is in.");
    for (int i = CHARTMESH__V1__NODE_STATE__NODE_STATE_STARTING; i <= CHARTMESH__V1__NODE_STATE__NODE_STATE_FAILED;
         i++) {
        metrics_u64(&w->text, LABELS({"state", status_state_name((Chartmesh__V1__NodeState)i)}), (int)now == i);
    }
}

/* -- Calls */

struct port {
    const char *name;
    struct rpc_server *server;
    const struct outcome_tally *tally;
    struct rpc_server_counters counters;
};
enum { PORTS = 2 };

static void ports_of(struct server *server, struct port out[PORTS])
{
    out[0] = (struct port){.name = "client",
                           .server = client_port_server(server->client_port),
                           .tally = client_port_tally(server->client_port)};
    out[1] = (struct port){.name = "peer",
                           .server = peer_port_server(server->peer_port),
                           .tally = peer_port_tally(server->peer_port)};
    for (size_t i = 0; i < PORTS; i++) {
        rpc_server_counters(out[i].server, &out[i].counters);
    }
}

/* Calls to what is no method are one; their paths are whatever the caller made up. */
static const char *method_name(const struct rpc_method_counters *method)
{
    return method->path[0] ? method->path : "unknown";
}

static void codes(struct writing *w, const struct port *port, const struct rpc_method_counters *method)
{
    for (unsigned code = 0; code < RPC_CODES; code++) {
        if (method->calls[code]) {
            const char *name = code == ERR_NONE ? "OK" : err_code_name((enum err_code)code);
            metrics_u64(&w->text, LABELS({"port", port->name}, {"method", method_name(method)}, {"code", name}),
                        method->calls[code]);
        }
    }
}

static void durations(struct writing *w, const struct port *port, const struct rpc_method_counters *method)
{
    const struct metrics_histogram took = {.bounds = rpc_bucket_us,
                                           .counts = method->buckets,
                                           .bounds_len = RPC_BUCKETS,
                                           .sum = (double)method->us,
                                           .unit = MICRO};
    metrics_histogram(&w->text, LABELS({"port", port->name}, {"method", method_name(method)}), &took);
}

static void received(struct writing *w, const struct port *port, const struct rpc_method_counters *method)
{
    metrics_u64(&w->text, LABELS({"port", port->name}, {"method", method_name(method)}), method->bytes_in);
}

static void sent(struct writing *w, const struct port *port, const struct rpc_method_counters *method)
{
    metrics_u64(&w->text, LABELS({"port", port->name}, {"method", method_name(method)}), method->bytes_out);
}

static void under_way(struct writing *w, const struct port *port, const struct rpc_method_counters *method)
{
    metrics_u64(&w->text, LABELS({"port", port->name}, {"method", method_name(method)}), method->in_flight);
}

typedef void method_fn(struct writing *w, const struct port *port, const struct rpc_method_counters *method);

static void each_method(struct writing *w, const struct port *ports, method_fn *write)
{
    for (size_t i = 0; i < PORTS; i++) {
        for (size_t j = 0; j < ports[i].counters.method_count; j++) {
            struct rpc_method_counters method;
            if (rpc_method_counters(ports[i].server, j, &method)) {
                write(w, &ports[i], &method);
            }
        }
    }
}

static void methods(struct writing *w, const struct port *ports)
{
    family(w, "chartmesh_rpc_calls_total", METRICS_COUNTER, "Calls that ended, by gRPC code.");
    each_method(w, ports, codes);
    family(w, "chartmesh_rpc_duration_seconds", METRICS_HISTOGRAM, "How long calls took, from arrival to status.");
    each_method(w, ports, durations);
    family(w, "chartmesh_rpc_received_bytes_total", METRICS_COUNTER, "Messages received by calls that ended.");
    each_method(w, ports, received);
    family(w, "chartmesh_rpc_sent_bytes_total", METRICS_COUNTER, "Messages sent by calls that ended.");
    each_method(w, ports, sent);
    family(w, "chartmesh_rpc_in_flight", METRICS_GAUGE, "Calls under way.");
    each_method(w, ports, under_way);
}

static void errors(struct writing *w, const struct port *ports)
{
    family(w, "chartmesh_rpc_errors_total", METRICS_COUNTER, "Calls that failed, by reason (ErrorReason).");
    for (size_t i = 0; i < PORTS; i++) {
        for (size_t reason = 0; reason < OUTCOME_REASONS; reason++) {
            uint64_t count = ports[i].tally->reasons[reason];
            const char *name = journal_reason((uint32_t)reason);
            if (count) {
                metrics_u64(&w->text, LABELS({"port", ports[i].name}, {"reason", name ? name : "none"}), count);
            }
        }
    }
    family(w, "chartmesh_rpc_refused_total", METRICS_COUNTER,
           "Calls turned away or cut off, by the limit that did.");
    for (size_t i = 0; i < PORTS; i++) {
        for (enum rpc_refusal limit = RPC_REFUSED_NOT + 1; limit < RPC_REFUSALS; limit++) {
            metrics_u64(&w->text, LABELS({"port", ports[i].name}, {"limit", rpc_refusal_name(limit)}),
                        ports[i].counters.refused[limit]);
        }
    }
}

static void callers(struct writing *w, const struct port *ports)
{
    struct {
        const char *name, *help;
        size_t at;
    } const rows[] = {
        {"chartmesh_rpc_streams", "Streams under way.", offsetof(struct rpc_server_counters, streams)},
        {"chartmesh_rpc_principals", "Callers that are kept apart now.",
         offsetof(struct rpc_server_counters, principals)},
        {"chartmesh_rpc_connections", "Connections whose caller is known from a call.",
         offsetof(struct rpc_server_counters, connections)},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        family(w, rows[i].name, METRICS_GAUGE, rows[i].help);
        for (size_t j = 0; j < PORTS; j++) {
            uint64_t value;
            memcpy(&value, (const char *)&ports[j].counters + rows[i].at, sizeof value);
            metrics_u64(&w->text, LABELS({"port", ports[j].name}), value);
        }
    }
    family(w, "chartmesh_rpc_connections_cut_total", METRICS_COUNTER,
           "Connections cut off: a flood, or a caller that is no longer welcome.");
    for (size_t j = 0; j < PORTS; j++) {
        metrics_u64(&w->text, LABELS({"port", ports[j].name}), ports[j].counters.connections_cut);
    }
}

static void lane_gauge(struct writing *w, const struct rpc_counters *c, const char *name, const char *help,
                       size_t at)
{
    family(w, name, METRICS_GAUGE, help);
    for (enum rpc_lane lane = 0; lane < RPC_INLINE; lane++) {
        unsigned value;
        memcpy(&value, (const char *)&c->lanes[lane] + at, sizeof value);
        metrics_u64(&w->text, LABELS({"lane", rpc_lane_name(lane)}), value);
    }
}

static void runtime(struct writing *w)
{
    struct rpc_counters c;
    rpc_counters(w->server->rpc, &c);
    lane_gauge(w, &c, "chartmesh_rpc_lane_waiting", "Calls that wait in a lane's queue.",
               offsetof(struct rpc_lane_counters, waiting));
    lane_gauge(w, &c, "chartmesh_rpc_lane_waiting_max", "How many may wait; more are refused.",
               offsetof(struct rpc_lane_counters, waiting_max));
    lane_gauge(w, &c, "chartmesh_rpc_lane_busy", "Threads of a lane that work.",
               offsetof(struct rpc_lane_counters, busy));
    lane_gauge(w, &c, "chartmesh_rpc_lane_threads_max", "How many threads a lane may have.",
               offsetof(struct rpc_lane_counters, threads_max));
    single(w, "chartmesh_rpc_memory_bytes", METRICS_GAUGE, "Memory that calls hold: arenas, queues, messages.",
           c.memory);
    single(w, "chartmesh_rpc_memory_max_bytes", METRICS_GAUGE, "The budget of that.", c.memory_max);
    single(w, "chartmesh_sockets", METRICS_GAUGE, "Accepted sockets that are open.", c.connections);
    single(w, "chartmesh_sockets_accepted_total", METRICS_COUNTER, "Sockets accepted.", c.connections_accepted);
    family(w, "chartmesh_sockets_refused_total", METRICS_COUNTER,
           "Sockets closed at once, by what there was too much of.");
    metrics_u64(&w->text, LABELS({"cause", "files"}), c.connections_refused_files);
    metrics_u64(&w->text, LABELS({"cause", "total"}), c.connections_refused_total);
    metrics_u64(&w->text, LABELS({"cause", "source"}), c.connections_refused_source);
    single(w, "chartmesh_sockets_silent_total", METRICS_COUNTER, "Sockets that ended without a call.",
           c.connections_silent);
    single(w, "chartmesh_handshakes_failed_total", METRICS_COUNTER, "Handshakes that TLS refused.",
           c.handshakes_failed);
}

static void calls(struct writing *w)
{
    struct port ports[PORTS];
    ports_of(w->server, ports);
    methods(w, ports);
    errors(w, ports);
    callers(w, ports);
    runtime(w);
    single(w, "chartmesh_quota_refused_total", METRICS_COUNTER, "Calls and documents that a quota refused.",
           quotas_refused(w->server->quotas));
    single(w, "chartmesh_denied_certificates", METRICS_GAUGE, "Entries of the deny list in force.",
           callers_denied(w->server->callers));
}

/* -- The log */

static void kinds(struct writing *w, const struct log_counters *c)
{
    static const char prefix[] = "ENTRY_KIND_";
    family(w, "chartmesh_log_kinds_total", METRICS_COUNTER, "Entries committed since the start, by kind of act.");
    for (int i = 0; i < LOG_KINDS; i++) {
        const ProtobufCEnumValue *kind =
            protobuf_c_enum_descriptor_get_value(&chartmesh__v1__entry_kind__descriptor, i);
        if (kind && i > 0) {
            metrics_u64(&w->text, LABELS({"kind", kind->name + sizeof prefix - 1}), c->kinds[i]);
        }
    }
}

static void audit_log(struct writing *w)
{
    struct log_counters c;
    log_counters(w->server->log, &c);
    single(w, "chartmesh_log_entries", METRICS_GAUGE, "Entries that the audit log has.",
           log_size(w->server->log).size);
    single(w, "chartmesh_log_map_epoch", METRICS_GAUGE, "The newest epoch of the map over chain heads.",
           log_map_epoch(w->server->log));
    kinds(w, &c);
    family(w, "chartmesh_commit_batch_entries", METRICS_HISTOGRAM, "Entries in one synced batch.");
    metrics_histogram(&w->text, NO_LABELS,
                      &(struct metrics_histogram){.bounds = log_group_bounds,
                                                  .counts = c.group_entries,
                                                  .bounds_len = LOG_GROUP_BOUNDS,
                                                  .sum = (double)c.entries,
                                                  .unit = 1});
    family(w, "chartmesh_commit_sync_seconds", METRICS_HISTOGRAM, "How long a batch took to be durable.");
    metrics_histogram(&w->text, NO_LABELS,
                      &(struct metrics_histogram){.bounds = log_sync_bounds,
                                                  .counts = c.sync_us,
                                                  .bounds_len = LOG_SYNC_BOUNDS,
                                                  .sum = (double)c.sync_us_sum,
                                                  .unit = MICRO});
    single(w, "chartmesh_commit_bytes_total", METRICS_COUNTER, "Bytes of those batches.", c.bytes);
    single(w, "chartmesh_commit_transactions_total", METRICS_COUNTER, "Transactions committed.", c.transactions);
    single(w, "chartmesh_commit_lingered_total", METRICS_COUNTER, "Batches that waited for company.", c.lingered);
    family(w, "chartmesh_commit_waiting", METRICS_GAUGE,
           "Transactions in preparation, and waiting to be committed.");
    metrics_u64(&w->text, LABELS({"stage", "preparing"}), c.preparing);
    metrics_u64(&w->text, LABELS({"stage", "queued"}), c.queued);
}

/* -- The store, the disk, the clock, certificates */

static void store(struct writing *w)
{
    static const char *const names[FAMILY_COUNT] = {
        [FAMILY_META] = "meta",   [FAMILY_KEY] = "key",       [FAMILY_RECORD] = "record",
        [FAMILY_CHUNK] = "chunk", [FAMILY_LOG] = "log",       [FAMILY_MAP] = "map",
        [FAMILY_INDEX] = "index", [FAMILY_STREAM] = "stream", [FAMILY_STATEMENT] = "statement",
    };
    struct store_sizes sizes;
    store_sizes(w->server->store, &sizes);
    single(w, "chartmesh_store_files_bytes", METRICS_GAUGE, "Tables and blobs on disk.", sizes.files);
    single(w, "chartmesh_store_blobs_bytes", METRICS_GAUGE, "Of them, blobs: contents.", sizes.blobs);
    single(w, "chartmesh_store_unwritten_bytes", METRICS_GAUGE,
           "Rows in memory that stand in the write-ahead log.", sizes.unwritten);
    single(w, "chartmesh_store_cached_bytes", METRICS_GAUGE, "The cache in use.", sizes.cached);
    family(w, "chartmesh_store_rows", METRICS_GAUGE, "Rows of a family, as the store estimates it.");
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        metrics_u64(&w->text, LABELS({"family", names[i]}), sizes.rows[i]);
    }
}

static void records(struct writing *w, const struct rounds_seen *seen)
{
    single(w, "chartmesh_subjects", METRICS_GAUGE, "Patients, as last counted.", seen->subjects);
    single(w, "chartmesh_documents", METRICS_GAUGE, "Documents, as last counted.", seen->documents);
    single(w, "chartmesh_versions", METRICS_GAUGE, "Versions of documents, as last counted.", seen->versions);
    single(w, "chartmesh_open_cases", METRICS_GAUGE,
           "Orders to give copies back without a receipt, as last counted.", seen->open_cases);
    single(w, "chartmesh_uploads_open", METRICS_GAUGE, "Uploads begun and not ended, as last counted.",
           seen->uploads);
    family(w, "chartmesh_counted_timestamp_seconds", METRICS_GAUGE,
           "When that was counted, Unix time; 0: not yet.");
    metrics_real(&w->text, NO_LABELS, (double)seen->counted_ms / 1000);
}

static void machine(struct writing *w, const struct rounds_seen *seen)
{
    single(w, "chartmesh_disk_free_bytes", METRICS_GAUGE, "Free where the data folder is.", seen->disk_free);
    single(w, "chartmesh_disk_size_bytes", METRICS_GAUGE, "All of that.", seen->disk_size);
    family(w, "chartmesh_clock_jumps_total", METRICS_COUNTER, "Jumps of the machine's clock since the start.");
    metrics_u64(&w->text, LABELS({"direction", "forward"}), seen->jumps_forward);
    metrics_u64(&w->text, LABELS({"direction", "back"}), seen->jumps_back);
    family(w, "chartmesh_clock_behind_seconds", METRICS_GAUGE,
           "How far the clock is behind this node's own stamps.");
    metrics_real(&w->text, NO_LABELS, (double)seen->behind_ms / 1000);
}

static void own_certificates(struct writing *w)
{
    static const char *const names[OWN_COUNT] = {"client", "client_ca", "peer"};
    family(w, "chartmesh_certificate_expiry_timestamp_seconds", METRICS_GAUGE,
           "When the node's certificates run out, Unix time.");
    for (size_t i = 0; i < OWN_COUNT; i++) {
        metrics_real(&w->text, LABELS({"certificate", names[i]}), (double)(w->server->until_ms[i] / 1000));
    }
    single(w, "chartmesh_reloads_total", METRICS_COUNTER, "Reloads since the start.", w->server->reloads);
    single(w, "chartmesh_reload_refusals_total", METRICS_COUNTER, "What reloads found wrong.",
           w->server->refusals);
    single(w, "chartmesh_journal_dropped_total", METRICS_COUNTER,
           "Lines of the node's own log that came faster than they could be written.",
           journal_dropped(w->server->journal));
}

/* -- Peers */

struct peers_seen {
    struct peer_status *list;
    size_t count;
    char (*names)[2 * ID_LEN + 1];
};

static void lane_sample(struct writing *w, const struct peers_seen *peers, const char *name,
                        enum metrics_kind kind, const char *help,
                        uint64_t (*value)(const struct lane_status *lane, uint64_t outbox))
{
    family(w, name, kind, help);
    for (size_t i = 0; i < peers->count; i++) {
        const struct peer_status *peer = &peers->list[i];
        metrics_u64(&w->text, LABELS({"peer", peers->names[i]}, {"lane", "control"}),
                    value(&peer->control, peer->outbox_control));
        metrics_u64(&w->text, LABELS({"peer", peers->names[i]}, {"lane", "bulk"}),
                    value(&peer->bulk, peer->outbox_bulk));
    }
}

static uint64_t is_live(const struct lane_status *lane, uint64_t outbox)
{
    (void)outbox;
    return lane->state == LANE_LIVE;
}

static uint64_t is_stopped(const struct lane_status *lane, uint64_t outbox)
{
    (void)outbox;
    return lane->state == LANE_HALTED;
}

static uint64_t outbox_of(const struct lane_status *lane, uint64_t outbox)
{
    (void)lane;
    return outbox;
}

static uint64_t lag_of(const struct lane_status *lane, uint64_t outbox)
{
    (void)outbox;
    return lane->numbered - lane->acked;
}

static uint64_t acked_of(const struct lane_status *lane, uint64_t outbox)
{
    (void)outbox;
    return lane->acked;
}

static uint64_t stored_of(const struct lane_status *lane, uint64_t outbox)
{
    (void)outbox;
    return lane->stored;
}

static bool look_at_peers(struct server *server, struct arena *arena, struct peers_seen *out)
{
    struct err err;
    if (!peers_status(server->peers, arena, &out->list, &out->count, &err) ||
        !arena_array(arena, out->count, sizeof *out->names, (void **)&out->names, &err)) {
        return false;
    }
    for (size_t i = 0; i < out->count; i++) {
        bytes_hex(BYTES_OF(out->list[i].facility), out->names[i]);
    }
    return true;
}

static void peers(struct writing *w)
{
    AUTO_ARENA(arena, PEERS_ARENA);
    struct peers_seen seen = {0};
    if (!look_at_peers(w->server, &arena, &seen)) {
        seen.count = 0;
    }
    lane_sample(w, &seen, "chartmesh_peer_connected", METRICS_GAUGE, "1: the lane is connected.", is_live);
    lane_sample(w, &seen, "chartmesh_peer_stopped", METRICS_GAUGE,
                "1: the lane is stopped until an operator resumes it.", is_stopped);
    lane_sample(w, &seen, "chartmesh_peer_outbox", METRICS_GAUGE,
                "Items that wait to be numbered; counted up to 10,000.", outbox_of);
    lane_sample(w, &seen, "chartmesh_peer_lag", METRICS_GAUGE, "Items numbered and not acknowledged.", lag_of);
    lane_sample(w, &seen, "chartmesh_peer_acknowledged", METRICS_GAUGE, "The newest number that the peer holds.",
                acked_of);
    lane_sample(w, &seen, "chartmesh_peer_received", METRICS_GAUGE,
                "The newest number of the peer's that is stored here.", stored_of);
    family(w, "chartmesh_peer_last_seen_timestamp_seconds", METRICS_GAUGE,
           "The newest authenticated greeting since the start, Unix time; 0: none.");
    for (size_t i = 0; i < seen.count; i++) {
        metrics_real(&w->text, LABELS({"peer", seen.names[i]}), (double)seen.list[i].seen_ms / 1000);
    }
    family(w, "chartmesh_peer_cosigned_entries", METRICS_GAUGE, "Our log's size that the peer has cosigned.");
    for (size_t i = 0; i < seen.count; i++) {
        metrics_u64(&w->text, LABELS({"peer", seen.names[i]}), seen.list[i].witnessed);
    }
}

/* -- All */

void numbers_write(struct server *server, struct builder *out)
{
    struct writing w = {.server = server, .text = {.out = out}};
    state(&w);
    process(&w);
    if (atomic_load(&server->state) == CHARTMESH__V1__NODE_STATE__NODE_STATE_STARTING) {
        return;
    }
    const struct rounds_seen seen = rounds_seen(server->rounds);
    calls(&w);
    audit_log(&w);
    store(&w);
    records(&w, &seen);
    machine(&w, &seen);
    own_certificates(&w);
    peers(&w);
}
