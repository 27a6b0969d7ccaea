/* proto/rpc/counters.h - what a runtime and its servers have done and hold, as numbers for an operator.
 *
 * A snapshot costs one short lock; counting costs a call nothing but additions under locks it takes anyway. Totals
 * only grow while the process lives; the others say how it is now. Any thread, between open and close. */
#pragma once

#include "proto/rpc/rpc.h"

enum {
    RPC_CODES = 17,              /* gRPC's codes are numbered from 0 (OK) to 16 */
    RPC_BUCKETS = 16,
};

/* Microseconds, ascending: a call that took at most rpc_bucket_us[i], and more than the one before, is in
 * buckets[i]; one that took longer than all of them in buckets[RPC_BUCKETS]. */
extern const uint64_t rpc_bucket_us[RPC_BUCKETS];

/* Which limit turned a call away (REFUSED: before its handler) or ended it (CUT). */
enum rpc_refusal {
    RPC_REFUSED_NOT,             /* no limit did */
    RPC_REFUSED_DRAINING,        /* the server is going down */
    RPC_REFUSED_IDENTITY,        /* no SPIFFE id, or no key that can be pinned */
    RPC_REFUSED_UNWELCOME,       /* `welcome` said no */
    RPC_REFUSED_METHOD,          /* no such method */
    RPC_REFUSED_GATE,            /* `authorize` said no */
    RPC_REFUSED_LANE,            /* the lane's queue is full */
    RPC_REFUSED_TOO_LARGE,       /* a message over its limit */
    RPC_REFUSED_MEMORY,          /* all calls together: rpc_config.calls_memory_max */
    RPC_REFUSED_SHARE,           /* one principal's part of it */
    RPC_REFUSED_BYTES,           /* one principal's messages at once */
    RPC_REFUSED_CALLS,           /* one principal's calls at once */
    RPC_REFUSED_STREAMS,         /* one principal's streams at once */
    RPC_REFUSED_CONNECTIONS,     /* one principal's connections at once */
    RPC_REFUSED_RATE,            /* one principal's calls per second, given-up ones among them */
    RPC_REFUSED_PRINCIPALS,      /* more principals at once than are kept apart */
    RPC_CUT_READER,              /* takes nothing of what is sent to it */
    RPC_CUT_WRITER,              /* does not send what it began, or what is waited for */
    RPC_CUT_DEADLINE,            /* the caller's, or the method's bound */
    RPC_CUT_UNWELCOME,           /* rpc_server_recheck */
    RPC_REFUSALS
};

/* rpc_refusal_name returns a word for labels: "draining", "lane", "cut_reader"; "none" for RPC_REFUSED_NOT. */
const char *rpc_refusal_name(enum rpc_refusal refusal);

struct rpc_method_counters {
    const char *path;            /* lives with the server; "": calls that came to no method of the table */
    uint64_t calls[RPC_CODES];   /* total that ended, by code */
    uint64_t buckets[RPC_BUCKETS + 1];         /* total that ended, by how long they took */
    uint64_t us;                 /* total of that, microseconds */
    uint64_t bytes_in, bytes_out;              /* total, of messages of calls that ended */
    uint64_t in_flight;          /* now */
};

struct rpc_server_counters {
    uint64_t in_flight;          /* now: calls; of them streams by events or by waiting */
    uint64_t streams;
    uint64_t principals;         /* now: kept apart */
    uint64_t connections;        /* now: whose caller is known from a call */
    uint64_t refused[RPC_REFUSALS];            /* total, of calls */
    uint64_t connections_cut;    /* total: a flood, or a principal no longer welcome */
    size_t method_count;         /* of the table, health and reflection included, and one more: index 0 is "" */
};

/* rpc_server_counters fills *out. */
void rpc_server_counters(struct rpc_server *server, struct rpc_server_counters *out);

/* rpc_method_counters fills *out for the method `index` of method_count; false: there is none. */
NODISCARD bool rpc_method_counters(struct rpc_server *server, size_t index, struct rpc_method_counters *out);

struct rpc_lane_counters {
    unsigned waiting, waiting_max;             /* tasks queued now, and how many may be */
    unsigned busy, threads_max;                /* tasks run now, and how many can be */
};

struct rpc_counters {
    struct rpc_lane_counters lanes[RPC_INLINE];              /* by enum rpc_lane */
    uint64_t calls;              /* now: calls in memory, of every server and channel */
    uint64_t memory, memory_max; /* bytes of all servers' calls now: arenas, queues, messages; and their budget */
    /* Sockets, before anything is known of who it is. Of the whole process. */
    uint64_t connections; /* now */
    uint64_t connections_accepted; /* total */
    uint64_t connections_refused_files; /* total: no descriptors left for sockets */
    uint64_t connections_refused_total; /* total: as many connections as may be */
    uint64_t connections_refused_source; /* total: as many as one address may have */
    uint64_t connections_silent; /* total: ended without a call: handshake failed or timed out, or nothing asked */
    uint64_t connections_babbling; /* total: of them, cut off because they sent a lot and asked nothing */
    uint64_t handshakes_failed; /* total: of them, those the TLS library refused (as gRPC's log tells it) */
};

/* rpc_counters fills *out. */
void rpc_counters(struct rpc *rpc, struct rpc_counters *out);

/* rpc_lane_name returns "work", "bulk", "watch", "inline". */
const char *rpc_lane_name(enum rpc_lane lane);
