/* tests/lib/service.h - a node with its services, called without a wire.
 *
 * `serve_new` makes a federation with one node for a member and opens the services over it. `serve` calls a method
 * as an application's user; the reply lives until the fixture ends. `serve_fails` demands code and reason. */
#pragma once

#include "node/service/service.h"
#include "proto/chartmesh/v1/audit.pb-c.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/chartmesh/v1/keys.pb-c.h"
#include "proto/chartmesh/v1/patients.pb-c.h"
#include "tests/lib/node.h"

#define SERVE_REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name

struct serve {
    struct world_sim *sim;
    struct federation *federation;
    bool beside;                         /* both are another's */
    struct node *node;
    struct arena arena;
    struct config *config;
    struct service service;
    struct service_metadata who;         /* of the calls that follow: a physician of app/emr who TREATs */
    /* The stream of a call, if it has one. */
    const ProtobufCMessage *const *sends;    /* what the client sends */
    size_t sends_len, sends_at;
    bool breaks;                         /* after them the client goes away instead of ending cleanly */
    ProtobufCMessage *got[256];          /* what the node sent */
    size_t got_len;
    void (*on_send)(struct serve *serve, size_t nth);      /* called for each message sent; NULL: nothing */
    unsigned idle;                       /* watches end after asking so often whether to go on */
    size_t budget;                       /* of the calls' memory; 0: enough */
    struct err err;                      /* of the last failed call */
};

struct serve *serve_new(size_t members, size_t member);
struct serve *serve_beside(struct serve *other, size_t member); /* another node of its network; freed before it */
void serve_free(struct serve *s);
void serve_restart(struct serve *s);

/* serve_as sets who calls; serve_path of the SPIFFE id, "app/emr". */
void serve_as(struct serve *s, const char *path, const char *user, const char *role, const char *purpose);
const char *serve_spiffe(struct serve *s, const char *path);

/* serve_call runs a method by name, "Records.Put"; false and s->err when it fails. *out may be NULL for streams.
 */
bool serve_call(struct serve *s, const char *name, const ProtobufCMessage *in, ProtobufCMessage **out);
void *serve(struct serve *s, const char *name, const ProtobufCMessage *in);
void serve_fails(struct serve *s, const char *name, const ProtobufCMessage *in, enum err_code code,
                 unsigned reason, const char *field);
#define SERVE(s, name, request) serve((s), (name), &(request)->base)
#define SERVE_FAILS(s, name, request, code, reason, field)                                                        \
    serve_fails((s), (name), &(request)->base, (code), SERVE_REASON(reason), (field))

/* What most tests need. */
Chartmesh__V1__RegisterReply *serve_register(struct serve *s, const char *identifier);
Chartmesh__V1__PutReply *serve_put(struct serve *s, Chartmesh__V1__Subject *subject,
                                   const Chartmesh__V1__PutReply *on, const char *text);
Chartmesh__V1__Facts *serve_facts(struct serve *s);
ProtobufCBinaryData *serve_heads(struct serve *s, const ProtobufCBinaryData *a, const ProtobufCBinaryData *b);
/* An envelope over any bytes, canonical or not, signed by one key. A request to enrol that key as an author's, for
 * the holder of the certificate serve_spiffe(path). */
Chartmesh__V1__Envelope *serve_envelope(struct serve *s, enum statement_kind kind, struct bytes payload,
                                        const struct signing_key *key);
Chartmesh__V1__EnrolKeyRequest *serve_enrol_request(struct serve *s, const struct signing_key *key,
                                                    const char *path);
uint64_t serve_entries(struct serve *s, Chartmesh__V1__EntryKind kind); /* how many the log has */
