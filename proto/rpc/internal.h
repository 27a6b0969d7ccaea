/* proto/rpc/internal.h - what the files of this folder share. The public side is rpc.h.
 *
 * References. A call has one for its owner (the handler's run, the client's user, or the stream until `closed`)
 * and one for each batch in gRPC's hands; the last one out frees it, and only there is grpc_call_unref.
 *
 * Locks, outer to inner: server->lock, call->lock, lane->lock. No callback of a user runs under any. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/rpc/accept_guard.h"
#include "proto/rpc/counters.h"
#include "proto/rpc/rpc.h"

#define REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name

enum {
    MESSAGE_MAX = 2 << 20,
    CALL_MEMORY_MAX = 8 << 20,
    QUEUE_MAX = 1 << 20,
    TRAILERS_MAX = 8,
};

/* ---- runtime.c ---- */

struct tag {                     /* what a completion queue gives back */
    void (*done)(void *arg, bool ok);
    void *arg;
};

/* A tag goes through gRPC, which the thread sanitizer does not see into: what happened before it was given away
 * happened before it came back. */
static inline void tag_goes(struct tag *tag)
{
#ifdef __SANITIZE_THREAD__
    __tsan_release(tag);
#else
    (void)tag;
#endif
}

static inline void tag_comes(struct tag *tag)
{
#ifdef __SANITIZE_THREAD__
    __tsan_acquire(tag);
#else
    (void)tag;
#endif
}

struct task {
    struct task *next;
    void (*run)(void *arg);
    void *arg;
};

struct lane {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct task *first, *last;
    unsigned waiting, busy, limit;             /* tasks in the queue, being run, and that may wait */
    unsigned thread_count, threads_max;
    pthread_t *threads;
    bool stop;
};

struct rpc {
    struct rpc_config config;
    grpc_completion_queue *queue;
    grpc_resource_quota *quota;
    pthread_t poller;
    struct lane lanes[RPC_INLINE];             /* by enum rpc_lane */
    pthread_mutex_t lock;
    pthread_cond_t idle;
    unsigned calls;              /* not freed yet, of every server and channel */
    struct rpc_server *servers;
    uint64_t boot;               /* when it began, ns: request ids of two runs differ */
    _Atomic uint64_t drawn;
    _Atomic uint64_t now_ms;     /* monotonic, as of the polling thread's last event or sweep */
    struct budget memory;        /* of all servers' calls */
    struct watchdog *watchdog;
    _Atomic uint64_t handshakes_failed;
};

/* lane_push queues a task; false when the lane is full, unless `must`. RPC_INLINE runs it at once. */
bool lane_push(struct rpc *rpc, enum rpc_lane lane, struct task *task, bool must);
bool lane_full(struct rpc *rpc, enum rpc_lane lane);

/* clock_ms: the monotonic clock. */
uint64_t clock_ms(void);

/* on_poller: this thread must not wait. */
bool on_poller(const struct rpc *rpc);

/* ---- call.c ---- */

enum phase {                     /* who gets what a server's call reads */
             PHASE_REQUEST,               /* the runtime: the request before the handler runs */
             PHASE_BLOCKING,              /* rpc_recv */
             PHASE_OPENING,               /* nobody: rpc_open_fn is running */
             PHASE_EVENTS,                /* stream.c */
};

struct out {                     /* a message that waits to be sent */
    struct out *next;
    grpc_byte_buffer *buffer;
    size_t len;                  /* of the queue's and the principal's budgets */
};

struct stream {
    const struct rpc_events *events;
    void *arg;
    struct out *first, *last;
    size_t queued, queue_max;
    enum rpc_lane lane;
    bool paused, refused, closing, end_sent, delivering, running;
    bool ended_given, room_due, closed_given;
    struct err why;              /* of rpc_stream_close */
};

struct rpc_call {
    struct rpc *rpc;
    struct rpc_server *server;   /* one of these two is set */
    struct rpc_channel *channel;
    struct rpc_call *next, *prev;              /* server->live */
    struct connection *connection;             /* servers: limits.h; NULL: not known (yet) */
    bool entered, is_stream;     /* counted in the principal's limits */
    const struct bound_method *bound;          /* NULL: a client's call, or no method of the table */
    enum rpc_refusal refusal;    /* the first limit that it met */
    const void *kept;
    const ProtobufCMessageDescriptor *receives;
    grpc_call *wire;
    const char *path, *request_id;
    struct rpc_identity peer;
    atomic_uint refs;
    struct tag arrival, head, close, read, write, finish, wake;
    struct task task;
    grpc_call_details details;
    grpc_metadata_array metadata;              /* server: the request's */
    grpc_metadata trailers[TRAILERS_MAX];
    size_t trailer_count;
    gpr_timespec arrived, deadline;            /* monotonic */
    size_t message_max;
    struct arena arena, message_arena;
    atomic_bool cancelled;

    pthread_mutex_t lock;        /* of everything below */
    pthread_cond_t moved;
    enum phase phase;
    bool head_sent, reading, writing, finishing, over, read_over, own_cancel, half_closed;
    bool read_ok, write_ok;
    enum rpc_refusal cut;        /* why the server ended it; RPC_REFUSED_NOT: it did not */
    uint64_t read_ms, write_ms;  /* when the read or write under way began (rpc->now_ms) */
    size_t in_len, out_len;      /* taken of the principal's budgets for `in` and `out` */
    grpc_byte_buffer *arriving;  /* gRPC's until the read's tag comes */
    grpc_byte_buffer *in, *out;
    int close_cancelled;
    gpr_timespec close_by;       /* of a stream that is being closed */
    struct stream stream;
    struct err outcome;          /* server: the status sent or why none could be */
    uint64_t bytes_in, bytes_out;

    rpc_replied_fn *replied;     /* client; NULL: somebody waits */
    void *replied_arg;
    grpc_metadata_array head_in, trailers_in;
    grpc_status_code status;
    grpc_slice status_text;
};

struct rpc_call *call_new(struct rpc *rpc);
void call_ref(struct rpc_call *call);
void call_unref(struct rpc_call *call);

/* call_batch hands a batch to gRPC with a reference; the lock is held. false: a bug; the call is cancelled. */
bool call_batch(struct rpc_call *call, const grpc_op *ops, size_t count, struct tag *tag);

/* With the lock held: begin to read, begin to write `buffer` (taken over, with the bytes taken for it). */
bool call_begin_read(struct rpc_call *call);
bool call_begin_write(struct rpc_call *call, grpc_byte_buffer *buffer, size_t taken);

/* call_drop_message reads one message, if there is one, and drops it; the lock is held. */
void call_drop_message(struct rpc_call *call);

/* call_cut ends a server's call for a reason of ours; the lock is held. The first reason counts. */
void call_cut(struct rpc_call *call, enum rpc_refusal why);

/* call_drop_in frees a received message that the call had `len` bytes of its principal's budgets for. */
void call_drop_in(struct rpc_call *call, grpc_byte_buffer *buffer, size_t len);

/* call_over_err says why nothing more comes of the call; the lock is held. */
bool call_over_err(struct rpc_call *call, struct err *err);

/* call_set_deadline: the earlier of what the caller asked and `max_ms` from now (0: no bound). */
void call_set_deadline(struct rpc_call *call, gpr_timespec asked, uint32_t max_ms);

/* buffer_pack makes the wire form; ERR_TOO_MUCH: over `max` bytes. */
bool buffer_pack(const ProtobufCMessage *message, size_t max, grpc_byte_buffer **out, struct err *err);
grpc_byte_buffer *buffer_of(struct bytes packed);

/* buffer_unpack checks and unpacks; `buffer` stays the caller's. */
bool buffer_unpack(const ProtobufCMessageDescriptor *type, grpc_byte_buffer *buffer, size_t max,
                   struct arena *arena, ProtobufCMessage **out, struct err *err);

/* ---- stream.c ---- */

/* events_begin turns a call into a stream by events, with its owner's reference. */
void events_begin(struct rpc_call *call);

/* stream_move does whatever can be done now and schedules callbacks that are due; the lock is held. */
void stream_move(struct rpc_call *call);
void stream_discard(struct rpc_call *call);

/* ---- client.c ---- */

struct rpc_channel {
    struct rpc *rpc;
    grpc_channel *wire;
    size_t message_max;
    atomic_uint refs;            /* the user's and one for each call */
};

void channel_unref(struct rpc_channel *channel);

/* client_replied tells the caller of rpc_unary_begin how the call ended, and gives up its reference. */
void client_replied(struct rpc_call *call);

/* ---- server.c ---- */

struct tls_set {                 /* our copies of PEM texts */
    char *roots, *chain, *key;
};

struct bound_method {
    const struct rpc_method *method;
    void *ctx;
    struct rpc_method_counters *counted;
};

struct rpc_server {
    struct rpc *rpc;
    struct rpc_server *next;     /* rpc->servers */
    struct rpc_server_config config;
    struct rpc_service *services;
    char *address;
    grpc_server *wire;
    grpc_server_credentials *credentials;
    int port;
    struct bound_method *methods;              /* sorted by path */
    size_t method_count;
    struct tag shut_down;
    struct health *health;
    struct reflection *reflection;
    struct limits *limits;
    atomic_bool recheck;

    pthread_mutex_t tls_lock;
    struct tls_set tls;
    unsigned tls_generation, tls_given;

    pthread_mutex_t lock;
    pthread_cond_t moved;
    struct rpc_call *live;
    unsigned live_count, armed;
    struct rpc_method_counters *counted;       /* method_count + 1; the first: of no method */
    uint64_t streams, refused[RPC_REFUSALS];
    atomic_bool draining;
    bool is_shut_down;
};

/* server_method returns the table's entry; NULL: no such method. */
const struct bound_method *server_method(const struct rpc_server *server, const char *path);

/* server_sweep cuts calls past their deadline or without progress, and does what rpc_server_recheck asked for. */
void server_sweep(struct rpc_server *server, gpr_timespec now);

/* ---- serve.c ---- */

/* serve_arm asks gRPC for one more call. */
void serve_arm(struct rpc_server *server);

/* server_finish sends reply and status and gives up the owner's reference. `err` NULL: OK. */
void server_finish(struct rpc_call *call, const ProtobufCMessage *reply, const struct err *err);

/* server_send_status does it for a stream, with the lock held and the reference kept. */
void server_send_status(struct rpc_call *call, grpc_byte_buffer *reply, const struct err *err);

/* server_request_read is told that the request has been read (PHASE_REQUEST). */
void server_request_read(struct rpc_call *call);

/* The last acts of a call: server_told counts it and tells `finished`; when its memory is free, server_forget ends
 * what the server knows of it. */
void server_told(struct rpc_call *call);
void server_forget(struct rpc_call *call);

/* ---- counters.c: with server->lock held ---- */

/* count_begun: a live call has found its method. */
void count_begun(struct rpc_server *server, const struct bound_method *method);
void count_ended(struct rpc_call *call, uint64_t us);

/* ---- listen.c ---- */

/* listener_is_guarded connects to our own port and sees accept4 pass through the accept guard. */
bool listener_is_guarded(const char *address, int port, struct err *err);

/* listener_connect returns a socket connected to our own port, or -1. */
int listener_connect(const char *address, int port, int timeout_ms);

/* ---- watchdog.c ---- */

bool watchdog_start(struct rpc *rpc);
void watchdog_stop(struct rpc *rpc);

/* port_answers: whoever connects to our port there finds somebody who speaks TLS. */
bool port_answers(const char *address, int port, struct err *err);

/* ---- tls.c ---- */

bool tls_set_copy(const struct rpc_tls *tls, struct tls_set *out, struct err *err);
void tls_set_done(struct tls_set *set);
grpc_server_credentials *tls_server_credentials(struct rpc_server *server);

/* tls_identity reads who a connection's certificate says it is; false: nobody (`nobody_err` says it). *spiffe
 * lives with the context. */
bool tls_identity(struct rpc_server *server, const grpc_auth_context *context, struct bytes *spiffe,
                  struct hash *pin);
bool tls_ok(const struct rpc_tls *tls, struct err *err);
grpc_channel_credentials *tls_channel_credentials(const struct rpc_channel_config *config);

/* ---- status.c ---- */

grpc_slice slice_of(const char *text);

/* status_pack: grpc-status-details-bin for an error, in `arena`; empty when it does not fit. */
struct bytes status_pack(const struct err *err, const char *text, struct arena *arena);

/* status_text: what a caller may read of an error, and a request id where the text stays here. */
void status_text(const struct err *err, const char *request_id, char *out, size_t size);

/* status_to_err turns what a client received into *err; returns true for OK. */
bool status_to_err(grpc_status_code code, grpc_slice text, const grpc_metadata_array *trailers, bool own_cancel,
                   struct err *err);

/* ---- metadata.c ---- */

/* percent_encode keeps printable ASCII but space and '%'. */
bool percent_encode(const char *value, struct arena *arena, char **out, struct err *err);
bool metadata_key_ok(const char *key);
void call_name_request(struct rpc_call *call);

/* ---- health.c, reflection.c ---- */

bool health_new(struct health **out, struct rpc_service *service, struct err *err);
void health_watch_names(struct health *health, const struct rpc_service *services, size_t count);
void health_set(struct health *health, bool serving);
void health_end(struct health *health); /* NOT_SERVING, and every watch ends with OK */
void health_free(struct health *health);

bool reflection_new(struct bytes descriptors, struct reflection **out, struct rpc_service *service,
                    struct err *err);
void reflection_list(struct reflection *reflection, const struct rpc_service *services, size_t count);
void reflection_free(struct reflection *reflection);
