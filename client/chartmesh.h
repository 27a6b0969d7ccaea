/* client/chartmesh.h - the client library: one facility's node, called over mutual TLS.
 *
 *     struct profile profile;
 *     struct chartmesh *node;
 *     if (!profile_load("emr/profile", &arena, &profile, &err) || !chartmesh_open_profile(&profile, &node, &err))
 * … const Chartmesh__V1__PutReply *reply; if (!chartmesh_record_put(node, &request, NULL, &arena, &reply, &err)) …
 *     chartmesh_close(node);
 *
 * Requests and replies are the messages of proto/chartmesh/v1. Every function that calls waits for its answer, and
 * a connection may be used by any number of threads. Errors are the node's own (code, reason, field, text), or
 * ERR_UNAVAILABLE when there is no connection, ERR_DEADLINE when the time is over.
 *
 * A write carries an idempotency key. It is drawn when the caller gives none; who wants to repeat a call whose
 * answer did not come gives one and repeats the call with it: nothing happens twice. */
#pragma once

#include "client/setup/profile.h"
#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/chartmesh/v1/admin.pb-c.h"
#include "proto/chartmesh/v1/audit.pb-c.h"
#include "proto/chartmesh/v1/consents.pb-c.h"
#include "proto/chartmesh/v1/keys.pb-c.h"
#include "proto/chartmesh/v1/patients.pb-c.h"
#include "proto/chartmesh/v1/records.pb-c.h"
#include "proto/crypto/sign.h"
#include "proto/statement/trust.h"

struct chartmesh;
struct rpc;

/* ---- connecting ---- */

/* Who acts, for whom an application vouches; a call may say otherwise. Any of them may be NULL. */
struct chartmesh_caller {
    const char *user;
    const char *role;                /* "system|code" */
    const char *purpose;             /* HL7 v3 ActReason code */
};

struct chartmesh_config {
    const char *target;              /* host:port of the node's client port */
    const char *server_name;         /* the DNS name in its certificate; NULL: the target's host */
    const char *ca_pem, *certificate_pem, *key_pem;
    const struct hash *pins;         /* the node's key is one of these; none: any that the CA vouches for */
    size_t pin_count;
    struct chartmesh_caller caller;
    uint32_t timeout_ms;             /* of calls that say nothing else; 0: 30 s, streams have none */
    struct rpc *runtime;             /* of a program that has one open (proto/rpc); NULL: the library's own */
};

/* chartmesh_open prepares a connection; it is made at the first call and again whenever it is lost. The
 * configuration is copied. ERR_INVALID: one that cannot be. chartmesh_open_profile reads the files that a profile
 * names. */
NODISCARD bool chartmesh_open(const struct chartmesh_config *config, struct chartmesh **out, struct err *err);
NODISCARD bool chartmesh_open_profile(const struct profile *profile, uint32_t timeout_ms, struct chartmesh **out,
                                      struct err *err);
void chartmesh_close(struct chartmesh *node);

/* ---- calls ---- */

/* What one call says besides its request. NULL for all of it, or for a member: the connection's. */
struct chartmesh_call {
    struct chartmesh_caller caller;
    const char *idempotency_key;     /* writes; NULL: drawn */
    const char *request_id;          /* stands in the node's log; NULL: the node draws one */
    uint32_t timeout_ms;
};

/* Every unary RPC: name here, service, method, request, its type in C, reply, its type in C, writes. */
#define CHARTMESH_CALLS(X)                                                                                        \
    X(patient_register, "Patients", "Register", RegisterRequest, RegisterReply, register_reply, true)             \
    X(patient_update, "Patients", "Update", UpdateRequest, UpdateReply, update_reply, true)                       \
    X(patient_get, "Patients", "Get", GetPatientRequest, GetPatientReply, get_patient_reply, false)               \
    X(patient_lookup, "Patients", "Lookup", LookupRequest, LookupReply, lookup_reply, false)                      \
    X(patient_incoming, "Patients", "Incoming", IncomingRequest, IncomingReply, incoming_reply, false)            \
    X(record_put, "Records", "Put", PutRequest, PutReply, put_reply, true)                                        \
    X(record_prepare, "Records", "Prepare", PrepareRequest, PrepareReply, prepare_reply, false)                   \
    X(record_put_signed, "Records", "PutSigned", PutSignedRequest, PutReply, put_reply, true)                     \
    X(record_get, "Records", "Get", GetRequest, GetReply, get_reply, false)                                       \
    X(record_list, "Records", "List", ListRequest, ListReply, list_reply, false)                                  \
    X(record_history, "Records", "History", HistoryRequest, HistoryReply, history_reply, false)                   \
    X(record_abort_upload, "Records", "AbortUpload", AbortUploadRequest, AbortUploadReply, abort_upload_reply,    \
      false)                                                                                                      \
    X(record_merge, "Records", "Merge", MergeRequest, PutReply, put_reply, true)                                  \
    X(record_retract, "Records", "Retract", RetractRequest, PutReply, put_reply, true)                            \
    X(record_relabel, "Records", "Relabel", RelabelRequest, PutReply, put_reply, true)                            \
    X(consent_set, "Consents", "SetPolicy", SetPolicyRequest, SetPolicyReply, set_policy_reply, true)             \
    X(consent_get, "Consents", "GetPolicy", GetPolicyRequest, GetPolicyReply, get_policy_reply, false)            \
    X(consent_history, "Consents", "History", PolicyHistoryRequest, PolicyHistoryReply, policy_history_reply,     \
      false)                                                                                                      \
    X(consent_explain, "Consents", "Explain", ExplainRequest, ExplainReply, explain_reply, false)                 \
    X(consent_cases, "Consents", "Cases", CasesRequest, CasesReply, cases_reply, false)                           \
    X(audit_checkpoint, "Audit", "Checkpoint", CheckpointRequest, CheckpointReply, checkpoint_reply, false)       \
    X(audit_inclusion, "Audit", "Inclusion", InclusionRequest, InclusionReply, inclusion_reply, false)            \
    X(audit_consistency, "Audit", "Consistency", ConsistencyRequest, ConsistencyReply, consistency_reply, false)  \
    X(authority_grant, "Authorities", "Grant", GrantAuthorityRequest, GrantAuthorityReply, grant_authority_reply, \
      true)                                                                                                       \
    X(authority_list, "Authorities", "List", ListAuthoritiesRequest, ListAuthoritiesReply,                        \
      list_authorities_reply, false)                                                                              \
    X(key_enrol, "Keys", "Enrol", EnrolKeyRequest, EnrolKeyReply, enrol_key_reply, false)                         \
    X(key_revoke, "Keys", "Revoke", RevokeKeyRequest, RevokeKeyReply, revoke_key_reply, false)                    \
    X(key_list, "Keys", "List", ListKeysRequest, ListKeysReply, list_keys_reply, false)                           \
    X(admin_status, "Admin", "Status", StatusRequest, StatusReply, status_reply, false)                           \
    X(admin_peers, "Admin", "Peers", PeersRequest, PeersReply, peers_reply, false)                                \
    X(admin_reload, "Admin", "Reload", ReloadRequest, ReloadReply, reload_reply, false)                           \
    X(admin_resume_peer, "Admin", "ResumePeer", ResumePeerRequest, ResumePeerReply, resume_peer_reply, false)

/* chartmesh_patient_register(node, &request, call, &arena, &reply, &err) and so on. `call` may be NULL; the reply
 * lives in `arena`. */
#define CHARTMESH_DECLARE(name, service, method, Request, Reply, reply_c, writes)                                 \
    NODISCARD bool chartmesh_##name(struct chartmesh *node, const Chartmesh__V1__##Request *request,              \
                                    const struct chartmesh_call *call, struct arena *arena,                       \
                                    const Chartmesh__V1__##Reply **reply, struct err *err);
CHARTMESH_CALLS(CHARTMESH_DECLARE)
#undef CHARTMESH_DECLARE

/* ---- versions that their author signs ---- */

/* chartmesh_sign_prepared signs what Prepare gave for `item`, after it has compared the two: a payload of another
 * subject, document, commitment, length or facts, or with lower labels, is not signed (ERR_CORRUPT). The envelope
 * lives in `arena`; the key stays the caller's. */
NODISCARD bool chartmesh_sign_prepared(const Chartmesh__V1__Prepared *prepared,
                                       const Chartmesh__V1__PrepareItem *item, const struct signing_key *key,
                                       struct arena *arena, Chartmesh__V1__Envelope **out, struct err *err);

/* chartmesh_put_signed is chartmesh_record_put by an author's own key (Keys.Enrol, for this connection's
 * certificate): draws a salt, prepares, signs, puts. ERR_INVALID: the request has an import key. After an answer
 * that did not come read the document before repeating it: each call prepares anew. */
NODISCARD bool chartmesh_put_signed(struct chartmesh *node, const Chartmesh__V1__PutRequest *request,
                                    const struct signing_key *key, const struct chartmesh_call *call,
                                    struct arena *arena, const Chartmesh__V1__PutReply **reply, struct err *err);

/* chartmesh_key_request makes what Keys.Enrol takes: a `key` statement of `facility` about `key`, signed by it.
 * Everything is in `arena`. */
struct chartmesh_new_key {
    struct id network, facility;
    const char *holder;              /* SPIFFE id */
    Chartmesh__V1__Use use;
    int64_t from_ms, until_ms;       /* until_ms 0: no end */
    int64_t now_ms;
};
NODISCARD bool chartmesh_key_request(const struct chartmesh_new_key *about, const struct signing_key *key,
                                     struct arena *arena, Chartmesh__V1__EnrolKeyRequest **out, struct err *err);

/* ---- many writes on one stream ---- */

/* chartmesh_put_stream asks `next` for items until it sets *more to false, sends them, and gives each one's result
 * to `result`, when it is durable at the node or refused. An item lives until the next call of `next`, a result
 * until `result` returns. Some hundred items are under way at once; both functions run on the caller's thread.
 * True when every item has its result. When it fails the items without a result may or may not be there: send them
 * again with the idempotency keys they had. */
struct chartmesh_putter {
    bool (*next)(void *context, const Chartmesh__V1__PutStreamRequest **item, bool *more, struct err *err);
    bool (*result)(void *context, const Chartmesh__V1__PutStreamResult *result, struct err *err);
    void *context;
};
NODISCARD bool chartmesh_put_stream(struct chartmesh *node, const struct chartmesh_putter *putter,
                                    const struct chartmesh_call *call, struct err *err);

/* ---- content of any size ---- */

/* Where bytes come from and go to. Both are asked in order of offset; false ends the transfer with *err.
 * `progress` may be NULL. */
struct chartmesh_source {
    bool (*read)(void *context, uint64_t offset, uint8_t *out, size_t len, struct err *err);
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
};
struct chartmesh_sink {
    bool (*write)(void *context, uint64_t offset, struct bytes piece, struct err *err);
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
};

/* chartmesh_upload sends header->length bytes. header->upload is the caller's own id (16 bytes): after a break the
 * same header goes on where the node stands, also from another process. Lost connections are taken up again by
 * itself, a few times. */
NODISCARD bool chartmesh_upload(struct chartmesh *node, const Chartmesh__V1__UploadHeader *header,
                                const struct chartmesh_source *source, const struct chartmesh_call *call,
                                struct arena *arena, const Chartmesh__V1__PutReply **reply, struct err *err);

/* A version as the client has checked it. */
struct chartmesh_version {
    struct hash id;
    const Chartmesh__V1__Version *message;
    bool trusted; /* its signature verifies with a key that the given trust knows */
    bool content_checked; /* the content at hand is the one that was signed */
};

/* chartmesh_download receives a version's content, or a range of it, checks the version as chartmesh_version_check
 * does, and the content when it is whole: from offset 0, or with `before`, which then gives the bytes before the
 * offset (received at another time). Lost connections are taken up again by itself, a few times. Before it returns
 * true the sink may hold bytes that do not verify. */
NODISCARD bool chartmesh_download(struct chartmesh *node, const Chartmesh__V1__DownloadRequest *request,
                                  const struct chartmesh_sink *sink, const struct chartmesh_source *before,
                                  const struct trust *trust, const struct chartmesh_call *call,
                                  struct arena *arena, struct chartmesh_version *version, struct err *err);

/* chartmesh_version_check reads a version that came in a reply: the statement is canonical, its id is the one the
 * node says, the content (if it is there) has the signed commitment, and with `trust` (may be NULL) the signature
 * verifies. A signer that the trust does not know yet gives trusted = false. ERR_CORRUPT: something does not fit.
 */
NODISCARD bool chartmesh_version_check(const Chartmesh__V1__VersionView *view, const struct trust *trust,
                                       struct arena *arena, struct chartmesh_version *out, struct err *err);

/* chartmesh_statement_check does the same for any other signed envelope in a reply: canonical, of that kind;
 * *trusted says whether a known key signed it. */
NODISCARD bool chartmesh_statement_check(const Chartmesh__V1__Envelope *envelope, enum statement_kind kind,
                                         const struct trust *trust, struct arena *arena, struct statement *out,
                                         bool *trusted, struct err *err);

/* ---- watching ---- */

/* chartmesh_watch calls `each` for every event until it sets *stop (then true) or fails, or the node refuses. A
 * lost connection is taken up again after the last event, for as long as it takes; `lost` (may be NULL) is told
 * why. An event lives until `each` returns. */
struct chartmesh_watcher {
    bool (*each)(void *context, const Chartmesh__V1__WatchEvent *event, bool *stop, struct err *err);
    void (*lost)(void *context, const struct err *why);
    void *context;
};
NODISCARD bool chartmesh_watch(struct chartmesh *node, const Chartmesh__V1__WatchRequest *request,
                               const struct chartmesh_watcher *watcher, const struct chartmesh_call *call,
                               struct err *err);

/* ---- audit ---- */

/* chartmesh_audit_query sends a signed query; the bundle's bytes go to the sink. *entries says how many entries
 * the node announced. What the bundle proves is for the offline verifier (client/verify). */
NODISCARD bool chartmesh_audit_query(struct chartmesh *node, const Chartmesh__V1__QueryRequest *request,
                                     const struct chartmesh_sink *sink, const struct chartmesh_call *call,
                                     uint64_t *entries, struct err *err);
