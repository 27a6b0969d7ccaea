/* node/service/service.h - what the services offer, without a wire: one table of methods, one call shape.
 *
 * A method gets an unpacked request, works, and fills a reply in the call's arena. It knows no gRPC: node/server
 * turns calls into these, and tests and the simulator call them directly. service_unary and service_stream do for
 * every method what none may forget: who may call it, what metadata it needs, idempotency.
 *
 * Who changes what under which lock: a method takes the patient's lock (chart_lock), reads, prepares one
 * transaction, commits it, gives the lock. Errors carry a reason of common.proto and the field at fault. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "node/config/config.h"
#include "node/gate/gate.h"
#include "proto/chartmesh/v1/admin.pb-c.h"

/* What all services stand on. Made once, by node/server or a test; shared by all calls. */
struct service {
    struct world *world;
    struct store *store;
    struct keys *keys;
    struct log *log;
    struct chart *chart;
    struct gate *gate;
    const struct config *_Atomic config;     /* in force: a reload may exchange it, and keeps what it replaced */
    uint64_t started_ms;
    const char *version;                 /* of the program */
    /* for Admin: may be NULL */
    bool (*peers)(void *context, struct arena *arena, Chartmesh__V1__PeersReply *out, struct err *err);
    /* status: state, why, advice, counts and concerns, in `arena`. Without it the rows are counted. */
    bool (*status)(void *context, struct arena *arena, Chartmesh__V1__StatusReply *out, struct err *err);
    bool (*reload)(void *context, struct arena *arena, Chartmesh__V1__ReloadReply *out, struct err *err);
    bool (*resume)(void *context, const struct id *facility, struct arena *arena, unsigned *resumed,
                   struct err *err);
    /* may_write: is there a document left in this principal's quota? ERR_TOO_MUCH QUOTA_SPENT. May be NULL. */
    bool (*may_write)(void *context, const char *principal, struct err *err);
    void *context;
    struct {
        _Atomic uint64_t begun, finished, aborted, expired, refused, failed;
    } uploads; /* the services' own: read by service_uploads */
};

/* The certificate's kind: spiffe://<network>/<domain>/<kind>/<name>. Bits, for what a method allows. */
enum service_kind {
    SERVICE_APP = 1,
    SERVICE_AUDITOR = 2,
    SERVICE_ADMIN = 4,
    SERVICE_PATIENT = 8,
    SERVICE_ANY = 15,
};

/* A stream's two directions, given by whoever runs the call. */
struct service_stream {
    /* recv sets *message (valid until the next recv) or NULL at the client's clean end. ERR_CANCELLED. */
    bool (*recv)(void *context, const ProtobufCMessage **message, struct err *err);
    /* send blocks until the transport takes it (back-pressure). Fails with ERR_CANCELLED. */
    bool (*send)(void *context, const ProtobufCMessage *message, struct err *err);
    bool (*cancelled)(void *context);
    void *context;
};

struct service_call {
    struct service *service;
    struct caller caller; /* filled by service_caller */
    enum service_kind kind;
    const char *idempotency_key; /* "" when none */
    struct arena *arena; /* the call's: request, reply and all between */
    const struct service_stream *stream; /* NULL for unary methods */
    /* the services' own: how a change is committed, where nobody waits for it (the transaction is its own then,
     * also when it fails); NULL: log_commit */
    bool (*commit_later)(struct service_call *call, struct log_txn *txn, struct err *err);
    struct hash retry, request; /* the services' own: what the reply is kept under, and for; zero: it is not */
};

struct service_method {
    const char *path; /* "/chartmesh.v1.Records/Put" */
    const char *name; /* "Records.Put": what roles list in the configuration */
    enum { METHOD_UNARY, METHOD_SERVER_STREAM, METHOD_BIDI } shape;
    const ProtobufCMessageDescriptor *in, *out;
    unsigned kinds; /* service_kind bits that may call */
    bool needs_user; /* x-chartmesh-user, -role and -purpose are required */
    bool writes; /* the role table says who; idempotency keys apply */
    uint32_t max_request; /* bytes */
    bool (*unary)(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *out, struct err *err);
    /* `in` is the one request, NULL for bidi (read from the stream). */
    bool (*stream)(struct service_call *call, const ProtobufCMessage *in, struct err *err);
};

/* All methods of the client port. Each file of this folder exports its own list; methods.c joins them. */
size_t service_methods(const struct service_method **out);
const struct service_method *service_find(const char *path); /* NULL: none */

/* What a call came with: the verified SPIFFE id and the metadata, decoded ("" when absent). */
struct service_metadata {
    const char *spiffe_id, *user, *role, *purpose, *idempotency_key, *request_id;
};

/* service_caller judges identity and metadata for a method and fills the call: domain and kind of the SPIFFE id,
 * which roles and purposes the configuration lets this principal claim, known purpose, role as system|code.
 * ERR_UNAUTHENTICATED, ERR_DENIED (NOT_PERMITTED, FOREIGN_CERTIFICATE), ERR_INVALID (FIELD_MISSING, FIELD_INVALID
 * with the metadata's name as field). Needs no store: fit for a polling thread. */
NODISCARD bool service_caller(struct service *service, const struct service_method *method,
                              const struct service_metadata *metadata, struct arena *arena,
                              struct service_call *out, struct err *err);

/* service_unary runs one unary method: role table, idempotency (same key and request: the same reply again;
 * another request: ERR_CONFLICT IDEMPOTENCY_REUSED), the method. *out is allocated here, of method->out. */
NODISCARD bool service_unary(const struct service_method *method, struct service_call *call,
                             const ProtobufCMessage *in, ProtobufCMessage **out, struct err *err);
NODISCARD bool service_stream(const struct service_method *method, struct service_call *call,
                              const ProtobufCMessage *in, struct err *err);

/* -- Jobs, and what they count */

/* Uploads since the start of the process: begun (their first chunk is durable), finished, aborted, expired (left
 * alone for too long), refused (over a limit). Now: those that are not finished, and their durable bytes. */
struct service_uploads {
    uint64_t begun, finished, aborted, expired, refused, open, bytes;
};
NODISCARD bool service_uploads(struct service *service, struct service_uploads *out, struct err *err);

/* service_clean_uploads takes away up to 64 unfinished uploads that were left alone for config->upload_keep_h. A
 * job does that every ten minutes, on a lane of its own: opened after the service is whole, closed before any part
 * of it (NULL is fine). */
NODISCARD bool service_clean_uploads(struct service *service, struct err *err);
struct service_job;
NODISCARD bool service_job_open(struct service *service, struct service_job **out, struct err *err);
void service_job_close(struct service_job *job);

/* -- For the services themselves */

/* service_subject reads a Subject argument (absent facility: own). ERR_INVALID names `field`. */
NODISCARD bool service_subject(const struct service_call *call, const Chartmesh__V1__Subject *in,
                               const char *field, struct subject *out, struct err *err);

/* Opaque tokens: sealed, bound to principal, method, request and incarnation; 128 bytes. ERR_INVALID
 * TOKEN_INVALID, or ERR_CONFLICT RESYNC for another incarnation. `state` is at most 48 bytes. */
NODISCARD bool service_token(const struct service_call *call, const char *purpose, struct bytes request_key,
                             struct bytes state, struct bytes *out, struct err *err);
NODISCARD bool service_token_open(const struct service_call *call, const char *purpose, struct bytes request_key,
                                  struct bytes token, const char *field, struct bytes *state, struct err *err);
