/* What no method may forget: who calls, whether they may, and that a retry runs once. */
#include <stdio.h>

#include "node/service/service_inside.h"
#include "proto/base/builder.h"
#include "proto/base/reader.h"
#include "proto/consent/tables.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/seal.h"

/* ---- Who calls -------------------------------------------------------------------------------------------------- */

static enum service_kind kind_of(struct bytes name)
{
    static const struct {
        const char *name;
        enum service_kind kind;
    } kinds[] = {
        {"app", SERVICE_APP},
        {"auditor", SERVICE_AUDITOR},
        {"admin", SERVICE_ADMIN},
        {"patient", SERVICE_PATIENT},
    };
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (bytes_equal(name, bytes_str(kinds[i].name))) {
            return kinds[i].kind;
        }
    }
    return 0;
}

static bool foreign(struct err *err, const char *why)
{
    return err_raise_reason(err, ERR_DENIED, REASON(FOREIGN_CERTIFICATE), "certificate: %s", why);
}

/* spiffe://<network id in hex>/<domain>/<kind>/<name>; *path begins at the kind. */
static bool identity(struct service *service, const char *spiffe_id, enum service_kind *kind, const char **path,
                     struct err *err)
{
    char network[2 * ID_LEN + 1], begin[512];
    if (!*spiffe_id) {
        return err_raise_reason(err, ERR_UNAUTHENTICATED, REASON(NO_CERTIFICATE),
                                "certificate: no SPIFFE identity");
    }
    bytes_hex(BYTES_OF(service->config->network), network);
    int len = snprintf(begin, sizeof begin, "spiffe://%s/%s/", network, service->config->domain);
    if (len < 0 || (size_t)len >= sizeof begin || strncmp(spiffe_id, begin, (size_t)len) != 0) {
        return foreign(err, "of another network or facility");
    }
    *path = spiffe_id + len;
    const char *slash = strchr(*path, '/');
    *kind = slash && slash[1] ? kind_of(BYTES(*path, (size_t)(slash - *path))) : 0;
    return *kind || foreign(err, "not an application, auditor, administrator or patient");
}

static bool needed(const struct service_method *method, const char *value, const char *name, struct err *err)
{
    return !method->needs_user || *value ||
           err_raise_field(err, REASON(FIELD_MISSING), name, "%s: is needed for %s", name, method->name);
}

static bool role_coding(const char *text, struct arena *arena, const Chartmesh__V1__Coding **out, struct err *err)
{
    const char *bar = strrchr(text, '|');
    void *memory;
    if (!bar || bar == text || !bar[1] || bar - text > SERVICE_CODE_MAX || strlen(bar + 1) > SERVICE_CODE_MAX) {
        return err_raise_field(err, REASON(FIELD_INVALID), "x-chartmesh-role",
                               "x-chartmesh-role: must be system|code");
    }
    if (!arena_alloc(arena, sizeof(Chartmesh__V1__Coding), &memory, err)) {
        return false;
    }
    Chartmesh__V1__Coding *coding = memory;
    chartmesh__v1__coding__init(coding);
    *out = coding;
    return arena_string(arena, BYTES(text, (size_t)(bar - text)), &coding->system, err) &&
           arena_string(arena, bytes_str(bar + 1), &coding->code, err);
}

static bool claims(struct service *service, const char *path, const struct service_metadata *m, struct err *err)
{
    const struct config_principal *principal = config_principal_find(service->config, path);
    if (*m->role && !(principal && config_lists(&principal->roles, m->role))) {
        return err_raise_reason(err, ERR_DENIED, REASON(NOT_PERMITTED),
                                "x-chartmesh-role: this certificate may not claim it");
    }
    if (*m->purpose && !(principal && config_lists(&principal->purposes, m->purpose))) {
        return err_raise_reason(err, ERR_DENIED, REASON(NOT_PERMITTED),
                                "x-chartmesh-purpose: this certificate may not claim it");
    }
    return true;
}

static bool metadata_text(const char *value, size_t max, const char *name, struct err *err)
{
    return (strlen(value) <= max && utf8_valid(bytes_str(value))) ||
           err_raise_field(err, REASON(FIELD_INVALID), name, "%s: at most %zu bytes of UTF-8", name, max);
}

static bool metadata_check(const struct service_method *method, const struct service_metadata *m, struct err *err)
{
    if (!metadata_text(m->user, SERVICE_CODE_MAX, "x-chartmesh-user", err) ||
        !metadata_text(m->idempotency_key, SERVICE_KEY_MAX, "x-chartmesh-idempotency-key", err) ||
        !metadata_text(m->request_id, SERVICE_KEY_MAX, "x-request-id", err) ||
        !needed(method, m->user, "x-chartmesh-user", err) || !needed(method, m->role, "x-chartmesh-role", err) ||
        !needed(method, m->purpose, "x-chartmesh-purpose", err)) {
        return false;
    }
    return !*m->purpose || table_asked(&table_purpose, m->purpose) ||
           err_raise_field(err, REASON(FIELD_INVALID), "x-chartmesh-purpose",
                           "x-chartmesh-purpose: not a purpose of use this node knows");
}

static bool keep(struct arena *arena, const char *text, const char **out, struct err *err)
{
    char *copy;
    if (!arena_string(arena, bytes_str(text), &copy, err)) {
        return false;
    }
    *out = copy;
    return true;
}

bool service_caller(struct service *service, const struct service_method *method,
                    const struct service_metadata *metadata, struct arena *arena, struct service_call *out,
                    struct err *err)
{
    const char *path;
    struct service_call call = {.service = service, .arena = arena};
    if (!identity(service, metadata->spiffe_id, &call.kind, &path, err)) {
        return false;
    }
    if (!(method->kinds & call.kind)) {
        return err_raise_reason(err, ERR_DENIED, REASON(NOT_PERMITTED), "%s: not for this kind of certificate",
                                method->name);
    }
    if (!metadata_check(method, metadata, err) ||
        (*metadata->role && !role_coding(metadata->role, arena, &call.caller.role, err)) ||
        !claims(service, path, metadata, err) || !keep(arena, metadata->spiffe_id, &call.caller.principal, err) ||
        !keep(arena, metadata->user, &call.caller.user, err) ||
        !keep(arena, metadata->role, &call.caller.role_text, err) ||
        !keep(arena, metadata->purpose, &call.caller.purpose, err) ||
        !keep(arena, metadata->request_id, &call.caller.request_id, err) ||
        !keep(arena, metadata->idempotency_key, &call.idempotency_key, err)) {
        return false;
    }
    *out = call;
    return true;
}

bool service_listed(const struct service_call *call, const char *rpc, struct err *err)
{
    return config_rule_find(call->service->config, call->caller.role_text, call->caller.purpose) ||
           err_raise_reason(err, ERR_DENIED, REASON(NOT_PERMITTED), "%s: this role may nothing for this purpose",
                            rpc);
}

bool service_entry(const struct service_call *call, struct log_txn *txn, Chartmesh__V1__EntryKind kind,
                   const struct subject *subject, const struct hash *objects, size_t count, const char *reason,
                   struct err *err)
{
    const struct log_who who = {call->caller.principal, call->caller.user};
    const struct log_entry entry = {
        .kind = kind,
        .who = &who,
        .role = call->caller.role_text,
        .purpose = call->caller.purpose,
        .subject = subject,
        .objects = objects,
        .objects_len = MIN(count, (size_t)SERVICE_ENTRY_OBJECTS),
        .reason = reason,
    };
    return log_txn_add(txn, &entry, err);
}

/* ---- Running a method ---------------------------------------------------------------------------------------------- */

/* What went wrong below the services has no reason of its own. */
bool service_reason(struct err *err)
{
    if (err->reason == 0 && err->code == ERR_TOO_MUCH) {
        err->reason = REASON(TOO_LARGE);
    } else if (err->reason == 0 && (err->code == ERR_UNAVAILABLE || err->code == ERR_CORRUPT)) {
        err->reason = REASON(STORE_FAILED);
    }
    return false;
}

static bool may_call(const struct service_method *method, struct service_call *call, struct err *err)
{
    return !method->writes || gate_may_write(call->service->gate, &call->caller, method->name, err);
}

static bool run(const struct service_method *method, struct service_call *call, const ProtobufCMessage *in,
                ProtobufCMessage **out, struct err *err)
{
    void *memory;
    if (!arena_alloc(call->arena, method->out->sizeof_message, &memory, err)) {
        return false;
    }
    ProtobufCMessage *reply = memory;
    protobuf_c_message_init(method->out, reply);
    if (!method->unary(call, in, reply, err)) {
        return false;
    }
    *out = reply;
    return true;
}

/* Two calls with one key run one after the other: the second finds the first one's reply. */
static bool run_once(const struct service_method *method, struct service_call *call, const ProtobufCMessage *in,
                     ProtobufCMessage **out, struct err *err)
{
    struct bytes packed;
    bool found;
    if (!message_pack(in, call->arena, &packed, err)) {
        return false;
    }
    call->request = hash_of(packed);
    call->retry = retry_name(call, method->name, bytes_str(call->idempotency_key));
    const struct hash name = call->retry;
    chart_request_lock(call->service->chart, &name);
    bool ok = retry_find(call, method->out, &found, out, err) && (found || run(method, call, in, out, err));
    chart_request_unlock(call->service->chart, &name);
    return ok;
}

bool service_unary(const struct service_method *method, struct service_call *call, const ProtobufCMessage *in,
                   ProtobufCMessage **out, struct err *err)
{
    if (!may_call(method, call, err)) {
        return false;
    }
    bool once = method->writes && *call->idempotency_key;
    return (once ? run_once(method, call, in, out, err) : run(method, call, in, out, err)) || service_reason(err);
}

bool service_stream(const struct service_method *method, struct service_call *call, const ProtobufCMessage *in,
                    struct err *err)
{
    return may_call(method, call, err) && (method->stream(call, in, err) || service_reason(err));
}
