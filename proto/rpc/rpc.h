/* proto/rpc/rpc.h - remote calls over mutual TLS: the only door to gRPC, for servers and for clients.
 *
 *   struct rpc          one per process: a polling thread and two pools of workers
 *   struct rpc_server   one listener with its certificate, its services and its gate
 *   struct rpc_channel  one connection to somebody else's listener
 *   struct rpc_call     one call, seen from either side
 *
 * Threads. One thread polls sockets and never blocks; everything that may touch storage runs in a *lane*, a
 * bounded queue with its own threads. A full lane answers RESOURCE_EXHAUSTED at once. Which callback runs
 * where is said beside each.
 *
 * Two styles, no third. *Blocking*: a handler runs on a lane's thread and calls rpc_recv and rpc_send, which
 * wait; that is the back-pressure. *Streams by events*: for calls that live long and are mostly idle (watch,
 * replication); no thread each: the runtime calls back, producers rpc_stream_offer into a bounded queue.
 *
 * A unary handler, and the table that names it:
 *
 *     static bool put(struct rpc_call *call, void *node, const ProtobufCMessage *request,
 *                     ProtobufCMessage *reply, struct err *err)
 *     {
 *         const Chartmesh__V1__PutRequest *in = (const void *)request;
 *         Chartmesh__V1__PutReply *out = (void *)reply;            // initialised; fill it from the call's arena
 *         const char *user;
 *         return rpc_metadata_needed(call, "x-chartmesh-user", &user, err)
 *             && records_put(node, in, user, rpc_call_arena(call), out, err);
 *     }
 *     static const struct rpc_method methods[] = {
 *         {.path = "/chartmesh.v1.Records/Put", .kind = RPC_UNARY, .lane = RPC_WORK, .run = put,
 *          .in = &chartmesh__v1__put_request__descriptor, .out = &chartmesh__v1__put_reply__descriptor},
 *     };
 *
 * A stream by events (the dialling side does the same with rpc_stream_dial):
 *
 *     static void on_frame(struct rpc_call *stream, void *session, const ProtobufCMessage *frame) {...}
 *     static void on_closed(struct rpc_call *stream, void *session, const struct err *why) {...}  // last
 *     static const struct rpc_events events = {.message = on_frame, .closed = on_closed};
 *
 *     static bool control(struct rpc_call *stream, void *node, const ProtobufCMessage *none, struct err *err)
 *     {
 *         void *session;
 *         if (!session_accept(node, rpc_call_peer(stream), stream, &session, err)) {
 *             return false;                                        // becomes the call's status
 *         }
 *         rpc_stream_listen(stream, &events, session);
 *         return true;                                             // from here on_closed comes exactly once
 *     }
 *     // .kind = RPC_BIDI, .open = control; anybody then: rpc_stream_offer(stream, &frame->base, &err)
 *
 * Errors are `struct err` on both sides: code, reason, field and text travel (docs/protocol/08-rpc.md). The
 * text of ERR_INTERNAL stays here. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

struct rpc;
struct rpc_server;
struct rpc_channel;
struct rpc_call;

/* ---- the runtime ---- */

enum rpc_lane {
    RPC_WORK,        /* storage: unary calls, short streams */
    RPC_BULK,        /* transfers: a stalled reader holds a thread of this lane only */
    RPC_WATCH,       /* blocking calls that stay open: each holds a thread, and nobody waits for one */
    RPC_INLINE,      /* on the polling thread: unary and events only, must not block, no storage */
};

struct rpc_config {
    unsigned work_threads, work_queue;     /* 0: 8 threads, 256 waiting */
    unsigned bulk_threads, bulk_queue;     /* 0: 8 threads, 64 waiting */
    unsigned watch_threads;                /* 0: 8. Threads of all lanes begin when they are needed first */
    size_t memory_max;                     /* gRPC's own buffers; 0: 256 MiB */
    size_t calls_memory_max; /* all servers' calls together: arenas, queues, messages; 0: 512 MiB */
    int fd_max; /* accepted sockets numbered from here on are closed; 0: RLIMIT_NOFILE - 64 */
    unsigned connections_max; /* on all ports together; more are closed at once; 0: 4096 */
    unsigned source_connections_max; /* of one address; 0: half of connections_max */
    /* The watchdog: every `watch_s` (0: 10) each server's port is connected to and has to begin a TLS handshake;
     * when one did not three times running, here is told why, once. A deaf server does not mend itself: exit, and
     * be started again. On a thread of its own; NULL: no watchdog. */
    void (*deaf)(void *ctx, const struct err *why);
    unsigned watch_s;
    void (*log)(void *ctx,
                const char *line); /* gRPC's own complaints, at most 10 a second; any thread; may be NULL */
    void *ctx;
};

/* rpc_open begins the runtime: at most one at a time in a process, before any fork. It restricts OpenSSL's
 * use by gRPC to TLS 1.3. Fails with ERR_STATE when one is open. */
NODISCARD bool rpc_open(const struct rpc_config *config, struct rpc **out, struct err *err);

/* rpc_close ends it; servers and channels are closed already and their calls over. */
void rpc_close(struct rpc *rpc);

/* ---- who calls ---- */

struct rpc_tls {
    const char *roots_pem; /* the CAs that may have issued the other side's certificate */
    const char *chain_pem; /* our certificate, leaf first */
    const char *key_pem; /* its private key */
};

/* The SHA-256 of a PEM leaf's SubjectPublicKeyInfo (proto/crypto knows it). Called on the polling thread,
 * once per certificate. */
typedef bool rpc_spki_pin_fn(void *ctx, struct bytes pem_leaf, struct hash *out);

struct rpc_identity {
    const char *spiffe; /* "": none, or more than one URI in the certificate */
    struct hash pin; /* zero when the server was given no spki_pin */
};

/* ---- methods ---- */

enum rpc_kind { RPC_UNARY, RPC_SERVER_STREAM, RPC_CLIENT_STREAM, RPC_BIDI };

/* A blocking handler. `request` is NULL where the client streams (then rpc_recv); `reply` is NULL where the
 * server streams (then rpc_send), else initialised, to be filled with memory that lives as long as the call.
 * Runs on the method's lane. false: *err becomes the status and `reply` is not sent. */
typedef bool rpc_run_fn(struct rpc_call *call, void *ctx, const ProtobufCMessage *request, ProtobufCMessage *reply,
                        struct err *err);

/* Opens a stream by events: calls rpc_stream_listen and returns true, or refuses. `request` is NULL where the
 * client streams; it lives as long as the call. Runs on the method's lane. */
typedef bool rpc_open_fn(struct rpc_call *stream, void *ctx, const ProtobufCMessage *request, struct err *err);

enum { RPC_PUBLIC = 1 }; /* flags: any identified caller; the gate is not asked */

struct rpc_method {
    const char *path; /* "/chartmesh.v1.Records/Put" */
    enum rpc_kind kind;
    enum rpc_lane lane;
    const ProtobufCMessageDescriptor *in, *out;
    rpc_run_fn *run; /* exactly one of run and open; open: not for RPC_UNARY, RPC_CLIENT_STREAM */
    rpc_open_fn *open;
    uint32_t flags;
    uint32_t max_request; /* bytes of one message; 0: the server's message_max */
    uint32_t max_ms; /* a call lives no longer; 0: 60 s unary, 1 h other blocking ones, events: no end */
    size_t memory_max; /* the call's arena, and each message's; 0: 8 MiB */
    size_t queue_max; /* events: bytes waiting to be sent; 0: 1 MiB */
    uint32_t stall_ms; /* other than the server's; UINT32_MAX: waits for ever */
};

struct rpc_service {
    const struct rpc_method *methods; /* outlives the server, as `ctx` does */
    size_t count;
    void *ctx;
};

/* ---- servers ---- */

/* What one principal may have of a server: a SPIFFE id, or on a port for peers a pinned key. Callers without
 * either are one principal together. 0: the default. More is refused with ERR_TOO_MUCH (ERROR_REASON_OVERLOADED).
 */
struct rpc_limits {
    uint32_t calls_max; /* at once; 1024 */
    uint32_t streams_max; /* of them not unary; 512 */
    uint32_t connections_max; /* 64 */
    uint64_t bytes_max; /* messages received and not yet worked off, sent and not yet taken; 128 MiB */
    uint64_t memory_max; /* of rpc_config.calls_memory_max; half of it */
    /* Calls per second (20000), and how many at once after a rest (half of the rate); then how many per second may
     * be taken back before their answer (200). Who is a whole burst beyond, or takes back more, is flooding: the
     * connection is cut. */
    uint32_t rate, burst, resets;
    /* Without progress for so long a call is cut off: a reader that takes nothing, a request or an awaited message
     * that does not come whole; 30 s. */
    uint32_t stall_ms;
    uint32_t handshake_ms; /* 10 s */
    uint32_t keepalive_ms,
        keepalive_timeout_ms; /* after so much silence a ping; how long for its answer; 30, 10 s */
    uint32_t ping_min_ms; /* a caller that pings more often is sent away; 10 s */
    uint32_t idle_ms; /* a connection without calls is wound up; 10 min */
};

/* What became of a call; given once, after its last act, also for calls that were refused. */
struct rpc_outcome {
    const char *path, *request_id;
    const struct rpc_identity *peer;
    const struct err *err; /* code ERR_NONE: OK */
    uint64_t bytes_in, bytes_out;
    uint64_t us; /* microseconds from arrival */
};

struct rpc_server_config {
    const char *address; /* "127.0.0.1:7400"; port 0: any free one */
    struct rpc_tls tls;
    const struct rpc_service *services;
    size_t count;
    struct bytes descriptors; /* a FileDescriptorSet: reflection is served; none: it is not */
    bool by_pin; /* peers: no SPIFFE id is asked for, and the gate is asked for every method */
    rpc_spki_pin_fn *spki_pin; /* needed with by_pin */
    /* The gate: may this caller call this? Asked before the request's body is read, on the polling thread: it
     * must not block. It may use rpc_call_path, rpc_call_peer and rpc_metadata. NULL refuses nobody. */
    bool (*authorize)(void *ctx, struct rpc_call *call, struct err *err);
    /* Is this caller welcome at all? Asked before anything else, for every method, and by rpc_server_recheck. On
     * the polling thread: it must not block. NULL: everybody the certificates let in. */
    bool (*welcome)(void *ctx, const struct rpc_identity *peer, struct err *err);
    void (*finished)(void *ctx, const struct rpc_outcome *outcome); /* any thread; must not block; may be NULL */
    void *ctx;
    uint32_t message_max; /* bytes of any message; 0: 2 MiB */
    uint32_t streams_max; /* calls at once on one connection; 0: 128 */
    uint32_t connection_age_s; /* after it a connection is wound up: what a revoked certificate has left; 0: 1 h */
    struct rpc_limits limits;
};

/* rpc_server_open listens and serves. It also serves grpc.health.v1 and, with descriptors, reflection, and
 * checks that the accept guard is live. Copies the configuration and the PEM texts.
 * Fails with ERR_INVALID for a table or a PEM text that cannot be, ERR_UNAVAILABLE when the address cannot be
 * bound, ERR_STATE when the accept guard is not linked in. */
NODISCARD bool rpc_server_open(struct rpc *rpc, const struct rpc_server_config *config, struct rpc_server **out,
                               struct err *err);

/* rpc_server_port returns the port that was bound. */
int rpc_server_port(const struct rpc_server *server);

/* rpc_server_reload takes new certificate, key and roots as one; the next handshake uses them. ERR_INVALID: a set
 * that cannot be used (cut short, no PEM, a key of another certificate); the old one stays. Any thread. */
NODISCARD bool rpc_server_reload(struct rpc_server *server, const struct rpc_tls *tls, struct err *err);

/* rpc_server_recheck has `welcome` asked again about everybody who is connected: calls and streams of those that
 * are no longer welcome end with ERR_DENIED, then their connections are cut. Within half a second. Any thread. */
void rpc_server_recheck(struct rpc_server *server);

/* rpc_server_serving says what health answers; true from the start. Any thread. */
void rpc_server_serving(struct rpc_server *server, bool serving);

enum rpc_drained {
    RPC_DRAINED, /* every call came to its own end */
    RPC_FORCED, /* some were cancelled after the grace */
    RPC_STUCK, /* a handler is deaf: the process has to exit, the server cannot be closed */
};

/* rpc_server_drain: health says NOT_SERVING, streams by events are closed with ERR_UNAVAILABLE
 * (ERROR_REASON_DRAINING), nothing new is let in, calls under way get `grace_ms`, then are cancelled and get
 * until `hard_ms` (from the start). */
enum rpc_drained rpc_server_drain(struct rpc_server *server, unsigned grace_ms, unsigned hard_ms);

/* rpc_server_close drains without grace if that has not been done, and frees. */
void rpc_server_close(struct rpc_server *server);

/* rpc_descriptors returns the FileDescriptorSet of every service this project has. */
struct bytes rpc_descriptors(void);

/* ---- a call, from either side ---- */

const char *rpc_call_path(const struct rpc_call *call);
const char *rpc_call_request_id(const struct rpc_call *call); /* x-request-id, or drawn */
const struct rpc_identity *rpc_call_peer(const struct rpc_call *call); /* server side; lives with the call */
struct arena *rpc_call_arena(struct rpc_call *call); /* lives with the call */

/* rpc_call_keep lets the gate leave what it found out about a call for its handler, which gets it from
 * rpc_call_kept (NULL: nothing was left). It lives as long as the call if it is in the call's arena. */
void rpc_call_keep(struct rpc_call *call, const void *kept);
const void *rpc_call_kept(const struct rpc_call *call);

/* rpc_cancelled: the caller went away, the deadline passed, or the server is being forced down. */
bool rpc_cancelled(const struct rpc_call *call);

/* rpc_ms_left: until the deadline; 0 when it has passed, INT64_MAX when there is none. */
int64_t rpc_ms_left(const struct rpc_call *call);

/* rpc_metadata sets *out to the request's metadata `key` with percent-encoding undone, in the call's arena, or
 * to NULL when it was not sent. ERR_INVALID (ERROR_REASON_FIELD_INVALID, field = key): sent twice, not UTF-8. */
NODISCARD bool rpc_metadata(struct rpc_call *call, const char *key, const char **out, struct err *err);

/* rpc_metadata_needed is rpc_metadata with absent or empty refused: ERR_INVALID, ERROR_REASON_FIELD_MISSING. */
NODISCARD bool rpc_metadata_needed(struct rpc_call *call, const char *key, const char **out, struct err *err);

/* rpc_trailer adds metadata that goes out with the status; at most 8. The value is percent-encoded.
 * ERR_INVALID: not a legal key (lower case, no "grpc-", no "-bin"). Server side, before the handler returns. */
NODISCARD bool rpc_trailer(struct rpc_call *call, const char *key, const char *value, struct err *err);

/* rpc_recv waits for the next message; *out is NULL when the other side has ended its sending. A message lives
 * until the next rpc_recv on the call. ERR_CANCELLED or, on a client, the call's status: the call is over;
 * ERR_INVALID: not a message of the type; ERR_TOO_MUCH: larger than its budget. */
NODISCARD bool rpc_recv(struct rpc_call *call, const ProtobufCMessage **out, struct err *err);

/* rpc_send waits until flow control has taken the message. Fails as rpc_recv does. Not to be mixed with
 * rpc_stream_offer. rpc_recv and rpc_send may be on two threads. */
NODISCARD bool rpc_send(struct rpc_call *call, const ProtobufCMessage *message, struct err *err);

/* ---- streams by events ---- */

/* The callbacks of one stream: on its lane, one at a time, in order; `closed` is needed and comes last, exactly
 * once. A message lives until the callback returns; the next is read after that. NULL callbacks are skipped;
 * `ended` comes on servers only, and when it is NULL the stream is closed with OK; on a client the server's end is
 * `closed`. */
struct rpc_events {
    void (*message)(struct rpc_call *stream, void *arg, const ProtobufCMessage *message);
    /* In place of `message`: the bytes as they came, not checked, for who keeps or verifies them as bytes. */
    void (*packed)(struct rpc_call *stream, void *arg, struct bytes message);
    void (*ended)(struct rpc_call *stream, void *arg); /* the other side has ended its sending */
    void (*room)(struct rpc_call *stream, void *arg); /* after a refused offer: half the queue is free */
    void (*closed)(struct rpc_call *stream, void *arg, const struct err *why); /* code ERR_NONE: a clean end */
};

/* rpc_stream_listen names the callbacks; once, inside the rpc_open_fn. `events` is static, `arg` lives until
 * `closed` has returned. */
void rpc_stream_listen(struct rpc_call *stream, const struct rpc_events *events, void *arg);

/* rpc_stream_offer queues a copy of the message for sending. Never blocks, never calls back; any thread, until
 * `closed` has returned (rpc_stream_hold makes it longer). ERR_TOO_MUCH (ERROR_REASON_OVERLOADED): the queue
 * is full, nothing was queued; ERR_CANCELLED: the stream is closing or closed. */
NODISCARD bool rpc_stream_offer(struct rpc_call *stream, const ProtobufCMessage *message, struct err *err);

/* rpc_stream_offer_packed is the same for bytes packed before (packed once, offered to many). */
NODISCARD bool rpc_stream_offer_packed(struct rpc_call *stream, struct bytes packed, struct err *err);

/* rpc_stream_pause holds back the reading of further messages, rpc_stream_resume lets it go on. Any thread. */
void rpc_stream_pause(struct rpc_call *stream);
void rpc_stream_resume(struct rpc_call *stream);

/* rpc_stream_close: with `why` NULL or ERR_NONE what was queued is still sent, then a server ends the call with
 * OK and a client ends its sending; otherwise the queue is dropped and a server's status is *why, a client
 * cancels. The first call decides; `closed` follows. Any thread. */
void rpc_stream_close(struct rpc_call *stream, const struct err *why);

/* rpc_stream_hold keeps the memory beyond `closed`, until as many rpc_stream_drop. */
void rpc_stream_hold(struct rpc_call *stream);
void rpc_stream_drop(struct rpc_call *stream);

/* ---- clients ---- */

struct rpc_channel_config {
    const char *target; /* "192.0.2.7:7401", "node.st-anna.example:7401" */
    struct rpc_tls tls;
    const char *server_name; /* the DNS name in the server's certificate; NULL: the target's host */
    const struct hash *pins; /* the server's key is one of these; none: any key that the roots vouch for */
    size_t pin_count;
    rpc_spki_pin_fn *spki_pin; /* needed with pins */
    void *ctx; /* spki_pin's; outlives the runtime */
    uint32_t message_max; /* 0: 2 MiB */
};

/* rpc_channel_open prepares a connection; it is made at the first call and again whenever it is lost. Copies
 * the configuration. ERR_INVALID: a configuration that cannot be. */
NODISCARD bool rpc_channel_open(struct rpc *rpc, const struct rpc_channel_config *config, struct rpc_channel **out,
                                struct err *err);

/* rpc_channel_hold asks for one more rpc_channel_close. */
void rpc_channel_hold(struct rpc_channel *channel);

/* rpc_channel_close lets go; calls under way keep it alive until they end. NULL is fine. */
void rpc_channel_close(struct rpc_channel *channel);

struct rpc_header {
    const char *key, *value; /* value: any UTF-8; percent-encoded on the way */
};

struct rpc_options {
    uint32_t timeout_ms; /* 0: 30 s for rpc_unary, none for streams */
    bool wait_for_ready; /* wait for a connection until the deadline instead of ERR_UNAVAILABLE */
    const struct rpc_header *headers;
    size_t header_count;
    size_t memory_max; /* of each message received; 0: 8 MiB */
    size_t queue_max; /* rpc_stream_dial: as in rpc_method */
    enum rpc_lane lane; /* rpc_stream_dial: where the callbacks run */
};

/* rpc_unary calls and waits; *reply lives in `arena`. `options` may be NULL. Not on the polling thread.
 * Fails with the status the server gave, ERR_UNAVAILABLE (no connection, a certificate or pin that does not
 * fit: the log says which), ERR_DEADLINE; ERR_INTERNAL for a reply that is none. */
NODISCARD bool rpc_unary(struct rpc_channel *channel, const char *path, const ProtobufCMessage *request,
                         const ProtobufCMessageDescriptor *out, const struct rpc_options *options,
                         struct arena *arena, const ProtobufCMessage **reply, struct err *err);

/* How a call ended: its reply, which lives until this returns, or NULL and why not. On the polling thread, which
 * it must not block; it may begin further calls. */
typedef void rpc_replied_fn(void *arg, const ProtobufCMessage *reply, const struct err *err);

/* rpc_unary_begin calls and does not wait: `replied` comes exactly once. Any thread. On failure nothing comes. */
NODISCARD bool rpc_unary_begin(struct rpc_channel *channel, const char *path, const ProtobufCMessage *request,
                               const ProtobufCMessageDescriptor *out, const struct rpc_options *options,
                               rpc_replied_fn *replied, void *arg, struct err *err);

/* rpc_start begins a call of any kind; then rpc_send, rpc_recv, rpc_end_sending, rpc_finish, and rpc_call_free
 * in every case. */
NODISCARD bool rpc_start(struct rpc_channel *channel, const char *path, const ProtobufCMessageDescriptor *out,
                         const struct rpc_options *options, struct rpc_call **call, struct err *err);

/* rpc_end_sending tells the server that nothing more comes. */
NODISCARD bool rpc_end_sending(struct rpc_call *call, struct err *err);

/* rpc_finish ends the sending if that was not done, drops messages not read yet, waits for the status and
 * returns it. */
NODISCARD bool rpc_finish(struct rpc_call *call, struct err *err);

/* rpc_cancel ends a call from any thread: rpc_recv, rpc_send and rpc_finish fail with ERR_CANCELLED. */
void rpc_cancel(struct rpc_call *call);

/* rpc_call_free cancels a call that is not over, and frees it. Clients only; NULL is fine. */
void rpc_call_free(struct rpc_call *call);

/* rpc_stream_dial begins a call as a stream by events. On failure no callback comes. When it succeeds, `closed`
 * comes exactly once, with the server's status; *out is valid until then. */
NODISCARD bool rpc_stream_dial(struct rpc_channel *channel, const char *path,
                               const ProtobufCMessageDescriptor *out, const struct rpc_options *options,
                               const struct rpc_events *events, void *arg, struct rpc_call **stream,
                               struct err *err);
