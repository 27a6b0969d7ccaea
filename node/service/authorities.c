/* Authorities: who may ask about the log, and who may set consent for another. */
#include "node/service/service_inside.h"

enum { HOLDER_MAX = 2048, SUBJECTS_MAX = 256 };

static bool authority_check(const Chartmesh__V1__GrantAuthorityRequest *request, struct err *err)
{
    struct hash key;
    if (request->duty != CHARTMESH__V1__DUTY__DUTY_AUDIT && request->duty != CHARTMESH__V1__DUTY__DUTY_PROXY) {
        return err_raise_field(err, REASON(FIELD_INVALID), "duty", "duty: AUDIT or PROXY");
    }
    if (!field_text(request->holder, HOLDER_MAX, "holder", err) || !field_hash(request->key, "key", &key, err)) {
        return false;
    }
    if (strncmp(request->holder, "spiffe://", 9) != 0) {
        return err_raise_field(err, REASON(FIELD_INVALID), "holder", "holder: must be a SPIFFE id");
    }
    if (!public_key_check(&key, err)) {
        return err_raise_field(err, REASON(KEY_INVALID), "key", "key: not a key that may be enrolled");
    }
    if (!request->valid) {
        return err_raise_field(err, REASON(FIELD_MISSING), "valid", "valid: a period is needed");
    }
    if (request->n_subjects > SUBJECTS_MAX || request->n_purposes > SERVICE_CODINGS_MAX) {
        return err_raise_field(err, REASON(TOO_LARGE), "subjects", "at most %d subjects and %d purposes",
                               SUBJECTS_MAX, SERVICE_CODINGS_MAX);
    }
    return field_period(request->valid, "valid", err) &&
           field_codings(request->without_sensitivity, request->n_without_sensitivity, "without_sensitivity", err);
}

/* A Subject without facility is one of ours. */
static bool subjects_fill(struct service_call *call, const Chartmesh__V1__GrantAuthorityRequest *request,
                          Chartmesh__V1__Authority *out, struct err *err)
{
    void *memory;
    if (!arena_array(call->arena, request->n_subjects, sizeof *out->subjects, &memory, err)) {
        return false;
    }
    out->subjects = memory;
    out->n_subjects = request->n_subjects;
    for (size_t i = 0; i < request->n_subjects; i++) {
        struct subject subject;
        if (!service_subject(call, request->subjects[i], "subjects", &subject, err) ||
            !reply_subject(call, &subject, &out->subjects[i], err)) {
            return false;
        }
    }
    return true;
}

static bool sign_authority(struct service_call *call, const Chartmesh__V1__GrantAuthorityRequest *request,
                           struct statement *out, struct err *err)
{
    const struct signing_key *key = keys_statement(call->service->keys);
    Chartmesh__V1__Authority authority = CHARTMESH__V1__AUTHORITY__INIT;
    authority.duty = request->duty;
    authority.holder = request->holder;
    authority.key = request->key;
    authority.purposes = request->purposes;
    authority.n_purposes = request->n_purposes;
    authority.without_sensitivity = request->without_sensitivity;
    authority.n_without_sensitivity = request->n_without_sensitivity;
    authority.valid = request->valid;
    authority.version_headers = request->version_headers;
    return chart_head(call->service->chart, call->arena, &authority.head, err) &&
           subjects_fill(call, request, &authority, err) &&
           statement_sign(STATEMENT_AUTHORITY, &authority.base, &key, 1, call->arena, out, err);
}

static bool grant(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    const Chartmesh__V1__GrantAuthorityRequest *request = (const void *)in;
    Chartmesh__V1__GrantAuthorityReply *out = (void *)reply;
    const struct log_who who = {call->caller.principal, call->caller.user};
    struct statement statement;
    if (!authority_check(request, err) || !sign_authority(call, request, &statement, err) ||
        !reply_bytes(call, BYTES_OF(statement.id), &out->authority, err) ||
        !reply_envelope(call, statement.envelope, &out->statement, err)) {
        return false;
    }
    struct log_txn *txn = log_txn_new(call->service->log);
    if (!chart_trust_grant(call->service->chart, txn, &who, statement.envelope, err)) {
        log_txn_free(txn);
        return false;
    }
    return service_commit(call, txn, &out->base, &out->receipt, err);
}

static bool list(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    const Chartmesh__V1__ListAuthoritiesRequest *request = (const void *)in;
    Chartmesh__V1__ListAuthoritiesReply *out = (void *)reply;
    struct bytes *envelopes;
    size_t count;
    void *memory;
    if (!chart_granted(call->service->chart, STATEMENT_AUTHORITY, *request->holder ? request->holder : NULL,
                       call->arena, &envelopes, &count, err) ||
        !arena_array(call->arena, count, sizeof *out->authorities, &memory, err)) {
        return false;
    }
    out->authorities = memory;
    out->n_authorities = count;
    for (size_t i = 0; i < count; i++) {
        if (!reply_envelope(call, envelopes[i], &out->authorities[i], err)) {
            return false;
        }
    }
    return true;
}

size_t authorities_methods(const struct service_method **out)
{
    static const struct service_method methods[] = {
        {.path = "/chartmesh.v1.Authorities/Grant",
         .name = "Authorities.Grant",
         .shape = METHOD_UNARY,
         .in = &chartmesh__v1__grant_authority_request__descriptor,
         .out = &chartmesh__v1__grant_authority_reply__descriptor,
         .kinds = SERVICE_ADMIN,
         .max_request = SERVICE_SMALL_MAX,
         .unary = grant},
        {.path = "/chartmesh.v1.Authorities/List",
         .name = "Authorities.List",
         .shape = METHOD_UNARY,
         .in = &chartmesh__v1__list_authorities_request__descriptor,
         .out = &chartmesh__v1__list_authorities_reply__descriptor,
         .kinds = SERVICE_ADMIN | SERVICE_AUDITOR,
         .max_request = SERVICE_SMALL_MAX,
         .unary = list},
    };
    *out = methods;
    return COUNT(methods);
}
