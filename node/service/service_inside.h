/* node/service/service_inside.h - what the services' own files share. Nobody else includes it. */
#pragma once

#include "node/service/service.h"
#include "proto/chartmesh/v1/audit.pb-c.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/chartmesh/v1/message.h"
#include "proto/chartmesh/v1/patients.pb-c.h"

#define REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name
#define ENTRY(name) CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_##name

/* Limits (docs/protocol/11-services.md). */
enum {
    SERVICE_INLINE_MAX = 1 << 20,        /* content in a request */
    SERVICE_REQUEST_MAX = (1 << 20) + (64 << 10),
    SERVICE_SIGNED_MAX = (1 << 20) + (128 << 10),    /* content, and a signed header of up to 64 KiB */
    SERVICE_PREPARE_MAX = 1 << 20,
    SERVICE_SMALL_MAX = 64 << 10,        /* requests without content */
    SERVICE_PIECE_MAX = 256 << 10,
    SERVICE_CODE_MAX = 256,              /* bytes of a system, code, title, name */
    SERVICE_CODINGS_MAX = 64,
    SERVICE_HEADS_MAX = 64,              /* of a document, as if_heads names them */
    SERVICE_KEY_MAX = 128,               /* bytes of an idempotency key */
    SERVICE_PAGE_MAX = 256,
    SERVICE_ENTRY_OBJECTS = 256,
};
#define SERVICE_REPLY_KEPT_MS ((uint64_t)8 * 24 * 60 * 60 * 1000)

/* Each file's methods. */
size_t patients_methods(const struct service_method **out);
size_t records_methods(const struct service_method **out);
size_t consents_methods(const struct service_method **out);
size_t audit_methods(const struct service_method **out);
size_t authorities_methods(const struct service_method **out);
size_t keys_methods(const struct service_method **out);
size_t admin_methods(const struct service_method **out);

/* service_reason gives an error from below the services the reason that its code means. Returns false. */
bool service_reason(struct err *err);

/* -- retry.c: replies that are kept */

/* retry_name names a kept reply: who, which method, which key of theirs. */
struct hash retry_name(const struct service_call *call, const char *method, struct bytes key);

/* retry_find finds the reply kept under call->retry: *found, and *out of type `type`, its receipt made anew.
 * ERR_CONFLICT IDEMPOTENCY_REUSED: it answered another request than call->request. */
NODISCARD bool retry_find(struct service_call *call, const ProtobufCMessageDescriptor *type, bool *found,
                          ProtobufCMessage **out, struct err *err);

/* service_commit commits what a method did, and with it the reply if the call is to be answered again; then it
 * sets the reply's receipt (NULL: it has none). Frees `txn`, also when it fails. */
NODISCARD bool service_commit(struct service_call *call, struct log_txn *txn, const ProtobufCMessage *reply,
                              ProtobufCBinaryData *receipt, struct err *err);

/* service_entry puts an entry of this caller into `txn`; `objects` NULL: none. */
NODISCARD bool service_entry(const struct service_call *call, struct log_txn *txn, Chartmesh__V1__EntryKind kind,
                             const struct subject *subject, const struct hash *objects, size_t count,
                             const char *reason, struct err *err);

/* service_listed: is there a row of the table for this caller's role and purpose? What needs no decision about a
 * document needs that. ERR_DENIED NOT_PERMITTED. */
NODISCARD bool service_listed(const struct service_call *call, const char *rpc, struct err *err);

/* -- fields.c: arguments */

NODISCARD bool field_id(ProtobufCBinaryData in, const char *field, struct id *out, struct err *err);
NODISCARD bool field_hash(ProtobufCBinaryData in, const char *field, struct hash *out, struct err *err);
NODISCARD bool field_text(const char *text, size_t max, const char *field, struct err *err);      /* required */
NODISCARD bool field_coding(const Chartmesh__V1__Coding *coding, const char *field, struct err *err);
NODISCARD bool field_codings(Chartmesh__V1__Coding *const *list, size_t count, const char *field, struct err *err);
NODISCARD bool field_period(const Chartmesh__V1__Period *period, const char *field, struct err *err);
NODISCARD bool field_labels(const Chartmesh__V1__Labels *labels, const char *field, struct err *err);
NODISCARD bool field_import_key(const Chartmesh__V1__ImportKey *key, struct err *err);
NODISCARD bool field_page(uint32_t asked, uint32_t max, uint32_t absent, size_t *out, struct err *err);

/* field_heads: does `if_heads` name exactly these (each once)? ERR_CONFLICT STALE_HEADS; ERR_INVALID: not ids. */
NODISCARD bool field_heads(const ProtobufCBinaryData *if_heads, size_t count, const struct hash *heads,
                           size_t heads_len, struct err *err);

/* reply_bytes copies into the call's arena. reply_subject makes a Subject. */
NODISCARD bool reply_bytes(const struct service_call *call, struct bytes view, ProtobufCBinaryData *out,
                           struct err *err);
NODISCARD bool reply_subject(const struct service_call *call, const struct subject *subject,
                             Chartmesh__V1__Subject **out, struct err *err);
NODISCARD bool reply_envelope(const struct service_call *call, struct bytes envelope,
                              Chartmesh__V1__Envelope **out, struct err *err);

/* -- records_write.c: every new version, whoever asks for it */

struct write {
    struct service_call *call;
    struct subject subject;
    struct id document;
    bool drawn;                          /* the caller named none */
    struct chart_version *versions;      /* of the document; none: it is new */
    size_t count;
    const struct chart_version **parents;
    size_t parents_len;
    Chartmesh__V1__Kind kind;
    struct log_txn *txn;
    struct chart_content content;
    struct content_meta meta;
    bool complete;
    const Chartmesh__V1__ImportKey *import_key;
    struct hash import_hash;
    Chartmesh__V1__Labels *labels;
};

/* write_begin loads the document (zero id: a new one is drawn) for a subject whose lock the caller holds.
 * ERR_NOT_FOUND NOT_AVAILABLE: no such subject; ERR_STATE NOT_ORIGIN: a new document of a foreign subject.
 * write_end gives back what is left. */
NODISCARD bool write_begin(struct service_call *call, const struct subject *subject, const struct id *document,
                           struct write *out, struct err *err);
void write_end(struct write *write);

/* Which versions it amends: write_on_heads all heads, which must be `if_heads`; write_on those given, which must
 * be heads. */
NODISCARD bool write_on_heads(struct write *write, const ProtobufCBinaryData *if_heads, size_t count,
                              struct err *err);
NODISCARD bool write_on(struct write *write, const ProtobufCBinaryData *parents, size_t count, const char *field,
                        struct err *err);

/* write_imported looks up the import key (NULL: none): *same, and the reply's fields, when it made this very
 * content. When it made another one, the new version amends that. ERR_EXISTS: the key is another subject's or
 * document's. `hash` is import_hash_of the content. */
NODISCARD bool write_imported(struct write *write, const Chartmesh__V1__ImportKey *key, const struct hash *hash,
                              bool *same, Chartmesh__V1__PutReply *out, struct err *err);
struct hash import_hash_of(struct service_call *call, const struct hash *root, uint64_t length);
struct hash import_hash_content(struct service_call *call, struct bytes content);

/* write_content draws keys and salt and puts chunks and meta of a content in memory; write_content_salted does
 * with a salt that the author drew. write_content_of shares a version's. */
NODISCARD bool write_content_salted(struct write *write, struct bytes content, const struct hash *salt,
                                    struct err *err);
NODISCARD bool write_content(struct write *write, struct bytes content, struct err *err);
NODISCARD bool write_content_of(struct write *write, const struct chart_version *version, struct err *err);

/* facts_check holds facts against the limits; who wrote may not be over a day ahead of this node's clock.
 * write_commit signs the version with these facts (checked here, labels against the parents'), adds it, its entry
 * and import key, commits with the reply. ERR_INVALID LABELS_LOWERED. */
NODISCARD bool facts_check(const struct service_call *call, const Chartmesh__V1__Facts *facts, struct err *err);
NODISCARD bool write_commit(struct write *write, const Chartmesh__V1__Facts *facts, Chartmesh__V1__PutReply *out,
                            struct err *err);
/* In two parts, for who adds more to the transaction: write_version adds it all, write_done commits. */
NODISCARD bool write_version(struct write *write, const Chartmesh__V1__Facts *facts, struct hash *version,
                             struct err *err);
/* For a version that its author signs: write_payload makes what is to be signed, in canonical form (facts are
 * checked); write_statement adds what came back signed and verified, with its entry; its dot is the caller's. */
NODISCARD bool write_payload(struct write *write, const Chartmesh__V1__Facts *facts, const struct hash *commitment,
                             uint64_t length, struct bytes *out, struct err *err);
NODISCARD bool write_statement(struct write *write, const struct statement *statement, struct err *err);
NODISCARD bool write_done(struct write *write, const struct hash *version, Chartmesh__V1__PutReply *out,
                          struct err *err);

/* write_within_quota: is there room for one more? write_commit asks by itself. */
NODISCARD bool write_within_quota(const struct service_call *call, struct err *err);

/* -- records.c, records_signed.c: Put and PutSigned in two steps, for who takes the patient's lock for several:
 * what can be said without the chart, and the rest, with the lock held. */

struct put {
    struct subject subject;
    struct id document;                  /* zero: a new one */
    const Chartmesh__V1__PutRequest *request;
};
NODISCARD bool put_check(struct service_call *call, const Chartmesh__V1__PutRequest *request, struct put *out,
                         struct err *err);
NODISCARD bool put_write(struct service_call *call, const struct put *put, Chartmesh__V1__PutReply *out,
                         struct err *err);

struct signed_put {
    struct subject subject;
    struct id document;
    struct statement statement;
    const Chartmesh__V1__Version *version;
    struct hash salt;
    const Chartmesh__V1__PutSignedRequest *request;
};
NODISCARD bool signed_check(struct service_call *call, const Chartmesh__V1__PutSignedRequest *request,
                            struct signed_put *out, struct err *err);
NODISCARD bool signed_write(struct service_call *call, const struct signed_put *put, Chartmesh__V1__PutReply *out,
                            struct err *err);
bool records_prepare(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                     struct err *err);
bool records_put_signed(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                        struct err *err);

/* -- records_repeat.c, records_read.c, upload.c, upload_end.c, put_stream.c, watch.c */

bool records_retract(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                     struct err *err);
bool records_relabel(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                     struct err *err);
bool records_get(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err);
bool records_list(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err);
bool records_history(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                     struct err *err);
bool records_download(struct service_call *call, const ProtobufCMessage *in, struct err *err);
bool records_upload(struct service_call *call, const ProtobufCMessage *in, struct err *err);
bool records_put_stream(struct service_call *call, const ProtobufCMessage *in, struct err *err);
bool records_abort_upload(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                          struct err *err);
bool records_watch(struct service_call *call, const ProtobufCMessage *in, struct err *err);
