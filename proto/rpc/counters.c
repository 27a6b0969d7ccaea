#include "proto/rpc/counters.h"

#include "proto/rpc/limits.h"

const uint64_t rpc_bucket_us[RPC_BUCKETS] = {
    100,   250,    500,    1000,   2500,    5000,    10000,   25000,
    50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000,
};

const char *rpc_refusal_name(enum rpc_refusal refusal)
{
    static const char *const names[RPC_REFUSALS] = {
        [RPC_REFUSED_NOT] = "none",          [RPC_REFUSED_DRAINING] = "draining",
        [RPC_REFUSED_IDENTITY] = "identity", [RPC_REFUSED_UNWELCOME] = "unwelcome",
        [RPC_REFUSED_METHOD] = "method",     [RPC_REFUSED_GATE] = "gate",
        [RPC_REFUSED_LANE] = "lane",         [RPC_REFUSED_TOO_LARGE] = "too_large",
        [RPC_REFUSED_MEMORY] = "memory",     [RPC_REFUSED_SHARE] = "share",
        [RPC_REFUSED_BYTES] = "bytes",       [RPC_REFUSED_CALLS] = "calls",
        [RPC_REFUSED_STREAMS] = "streams",   [RPC_REFUSED_CONNECTIONS] = "connections",
        [RPC_REFUSED_RATE] = "rate",         [RPC_REFUSED_PRINCIPALS] = "principals",
        [RPC_CUT_READER] = "cut_reader",     [RPC_CUT_WRITER] = "cut_writer",
        [RPC_CUT_DEADLINE] = "cut_deadline", [RPC_CUT_UNWELCOME] = "cut_unwelcome",
    };
    return names[refusal];
}

const char *rpc_lane_name(enum rpc_lane lane)
{
    static const char *const names[] = {
        [RPC_WORK] = "work", [RPC_BULK] = "bulk", [RPC_WATCH] = "watch", [RPC_INLINE] = "inline"};
    return names[lane];
}

/* ---- counting; server->lock is held ---- */

void count_begun(struct rpc_server *server, const struct bound_method *method)
{
    server->counted[0].in_flight--;
    method->counted->in_flight++;
    server->streams += method->method->kind != RPC_UNARY;
}

static size_t bucket_of(uint64_t us)
{
    size_t i = 0;
    while (i < RPC_BUCKETS && us > rpc_bucket_us[i]) {
        i++;
    }
    return i;
}

void count_ended(struct rpc_call *call, uint64_t us)
{
    struct rpc_server *server = call->server;
    struct rpc_method_counters *counted = call->bound ? call->bound->counted : &server->counted[0];
    counted->in_flight--;
    server->streams -= call->bound && call->bound->method->kind != RPC_UNARY;
    counted->calls[MIN((size_t)call->outcome.code, (size_t)RPC_CODES - 1)]++;
    counted->buckets[bucket_of(us)]++;
    counted->us += us;
    counted->bytes_in += call->bytes_in;
    counted->bytes_out += call->bytes_out;
    server->refused[call->refusal]++;
}

/* ---- snapshots ---- */

void rpc_server_counters(struct rpc_server *server, struct rpc_server_counters *out)
{
    pthread_mutex_lock(&server->lock);
    *out = (struct rpc_server_counters){
        .in_flight = server->live_count,
        .streams = server->streams,
        .principals = server->limits->principal_count,
        .connections = server->limits->connection_count,
        .connections_cut = server->limits->cut,
        .method_count = server->method_count + 1,
    };
    memcpy(out->refused, server->refused, sizeof out->refused);
    pthread_mutex_unlock(&server->lock);
    out->refused[RPC_REFUSED_NOT] = 0;
}

bool rpc_method_counters(struct rpc_server *server, size_t index, struct rpc_method_counters *out)
{
    if (index > server->method_count) {
        return false;
    }
    pthread_mutex_lock(&server->lock);
    *out = server->counted[index];
    pthread_mutex_unlock(&server->lock);
    return true;
}

void rpc_counters(struct rpc *rpc, struct rpc_counters *out)
{
    *out = (struct rpc_counters){0};
    for (size_t i = 0; i < COUNT(rpc->lanes); i++) {
        struct lane *lane = &rpc->lanes[i];
        pthread_mutex_lock(&lane->lock);
        out->lanes[i] = (struct rpc_lane_counters){lane->waiting, lane->limit, lane->busy, lane->threads_max};
        pthread_mutex_unlock(&lane->lock);
    }
    pthread_mutex_lock(&rpc->lock);
    out->calls = rpc->calls;
    pthread_mutex_unlock(&rpc->lock);
    out->handshakes_failed = rpc->handshakes_failed;
    struct accept_guard_counters guard;
    accept_guard_counters(&guard);
    out->memory = rpc->memory.used;
    out->memory_max = rpc->memory.max;
    out->connections = guard.open;
    out->connections_accepted = guard.accepted;
    out->connections_refused_files = guard.refused_files;
    out->connections_refused_total = guard.refused_total;
    out->connections_refused_source = guard.refused_source;
    out->connections_silent = guard.silent;
    out->connections_babbling = guard.babbling;
}
