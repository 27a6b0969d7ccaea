/* What no method may forget: who calls, whether they may, and answering a retry with what was answered before. */
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

/* ---- Replies that are kept -----------------------------------------------------------------------------------------
 *
 * FAMILY_META  "r" name       sealed: ms, hash of the request, packed reply without its receipt
 *              "R" name       index of the act's first entry: of it the receipt is made again
 *              "t" ms name    when, for taking old ones away: each commit that keeps one takes away two */

struct retry_row {
    uint8_t bytes[1 + 8 + HASH_LEN];
    size_t len;
};

static struct retry_row retry_row(char letter, struct bytes a, struct bytes b)
{
    struct retry_row row = {.bytes = {(uint8_t)letter}, .len = 1};
    memcpy(row.bytes + row.len, a.data, a.len);
    row.len += a.len;
    if (b.len) {
        memcpy(row.bytes + row.len, b.data, b.len);
        row.len += b.len;
    }
    return row;
}

static struct bytes row_view(const struct retry_row *row)
{
    return BYTES(row->bytes, row->len);
}

struct hash retry_name(const struct service_call *call, const char *method, struct bytes key)
{
    struct hash who = hash_of(bytes_str(call->caller.principal)), what = hash_of(bytes_str(method));
    struct hash all = HASH_PARTS(BYTES_LIT("chartmesh retry v1\n"), BYTES_OF(who), BYTES_OF(what), key);
    return hmac_sha256(BYTES_OF(*keys_facility(call->service->keys, FACILITY_KEY_INDEX)), BYTES_OF(all));
}

/* A reply's receipt, whatever its type. */
static ProtobufCBinaryData *receipt_of(ProtobufCMessage *reply)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(reply->descriptor, "receipt");
    return field ? (ProtobufCBinaryData *)(void *)((char *)reply + field->offset) : NULL;
}

static bool receipt_again(struct service_call *call, ProtobufCBinaryData *receipt, struct err *err)
{
    struct retry_row row = retry_row('R', BYTES_OF(call->retry), BYTES_NONE);
    struct bytes value;
    void *room;
    if (!store_get(call->service->store, NULL, FAMILY_META, row_view(&row), call->arena, &value, err)) {
        return err->code == ERR_NOT_FOUND; /* the act had no entry: nothing was done */
    }
    struct reader r = reader_of(value);
    uint64_t index = read_u64be(&r);
    if (!reader_end(&r)) {
        return err_raise(err, ERR_CORRUPT, "kept reply: an index of %zu bytes", value.len);
    }
    if (!arena_alloc(call->arena, RECEIPT_LEN, &room, err)) {
        return false;
    }
    gate_receipt(call->service->gate, &call->caller, index, room);
    *receipt = pb_bytes(BYTES(room, RECEIPT_LEN));
    return true;
}

bool retry_find(struct service_call *call, const ProtobufCMessageDescriptor *type, bool *found,
                ProtobufCMessage **out, struct err *err)
{
    struct retry_row row = retry_row('r', BYTES_OF(call->retry), BYTES_NONE);
    struct bytes sealed, plain;
    *found = false;
    if (!store_get(call->service->store, NULL, FAMILY_META, row_view(&row), call->arena, &sealed, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    if (!seal_open(keys_facility(call->service->keys, FACILITY_KEY_INDEX), row_view(&row), sealed, call->arena,
                   &plain, err)) {
        return err_wrap(err, "kept reply");
    }
    struct reader r = reader_of(plain);
    read_u64be(&r);
    struct hash request = read_hash(&r);
    if (!r.ok) {
        return err_raise(err, ERR_CORRUPT, "kept reply: a row of %zu bytes", plain.len);
    }
    if (!hash_equal(&request, &call->request)) {
        return err_raise_reason(err, ERR_CONFLICT, REASON(IDEMPOTENCY_REUSED),
                                "idempotency key: it was used with another request");
    }
    if (!message_unpack(type, r.left, call->arena, out, err)) {
        return err_wrap(err, "kept reply");
    }
    ProtobufCBinaryData *receipt = receipt_of(*out);
    *found = true;
    return !receipt || receipt_again(call, receipt, err);
}

static bool forget_old(struct service_call *call, struct store_batch *rows, uint64_t now, struct err *err)
{
    enum { AT_ONCE = 2 };
    const struct store_span span = {.prefix = BYTES_LIT("t")};
    AUTO_STORE_ITER iter = NULL;
    if (!store_iter_open(call->service->store, NULL, FAMILY_META, &span, &iter, err)) {
        return false;
    }
    for (int i = 0; i < AT_ONCE && store_iter_next(iter); i++) {
        struct reader r = reader_of(store_iter_key(iter));
        read_u8(&r);
        uint64_t then = read_u64be(&r);
        struct hash name = read_hash(&r);
        if (!reader_end(&r) || then + SERVICE_REPLY_KEPT_MS > now) {
            break;
        }
        struct retry_row reply = retry_row('r', BYTES_OF(name), BYTES_NONE);
        struct retry_row index = retry_row('R', BYTES_OF(name), BYTES_NONE);
        store_delete(rows, FAMILY_META, store_iter_key(iter));
        store_delete(rows, FAMILY_META, row_view(&reply));
        store_delete(rows, FAMILY_META, row_view(&index));
    }
    return store_iter_check(iter, err);
}

static bool keep_reply(struct service_call *call, struct log_txn *txn, const ProtobufCMessage *reply,
                       struct err *err)
{
    struct bytes packed, sealed;
    uint8_t ms[8];
    uint64_t now = world_now_ms(call->service->world);
    put_u64be(ms, now);
    struct retry_row row = retry_row('r', BYTES_OF(call->retry), BYTES_NONE);
    struct retry_row when = retry_row('t', BYTES(ms, sizeof ms), BYTES_OF(call->retry));
    struct retry_row index = retry_row('R', BYTES_OF(call->retry), BYTES_NONE);
    AUTO_BUILDER(b, SERVICE_REQUEST_MAX);
    if (!message_pack(reply, call->arena, &packed, err)) {
        return false;
    }
    build_bytes(&b, BYTES(ms, sizeof ms));
    build_bytes(&b, BYTES_OF(call->request));
    build_bytes(&b, packed);
    if (!b.ok) {
        return err_raise(err, ERR_TOO_MUCH, "kept reply: %zu bytes", packed.len);
    }
    if (!seal_random(keys_facility(call->service->keys, FACILITY_KEY_INDEX), row_view(&row), builder_view(&b),
                     call->arena, &sealed, err)) {
        return false;
    }
    store_put(log_txn_rows(txn), FAMILY_META, row_view(&row), sealed);
    store_put(log_txn_rows(txn), FAMILY_META, row_view(&when), BYTES_LIT("1"));
    return forget_old(call, log_txn_rows(txn), now, err) && log_txn_mark(txn, FAMILY_META, row_view(&index), err);
}

bool service_commit(struct service_call *call, struct log_txn *txn, const ProtobufCMessage *reply,
                    ProtobufCBinaryData *receipt, struct err *err)
{
    uint64_t index;
    void *room;
    if ((!hash_is_zero(&call->retry) && !keep_reply(call, txn, reply, err)) ||
        !arena_alloc(call->arena, RECEIPT_LEN, &room, err)) {
        log_txn_free(txn);
        return false;
    }
    if (!log_commit(txn, &index, err)) {
        return false;
    }
    if (!receipt || index == UINT64_MAX) {
        return true;
    }
    gate_receipt(call->service->gate, &call->caller, index, room);
    *receipt = pb_bytes(BYTES(room, RECEIPT_LEN));
    return true;
}

/* ---- Running a method ---------------------------------------------------------------------------------------------- */

/* What went wrong below the services has no reason of its own. */
static bool with_reason(struct err *err)
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
    return (once ? run_once(method, call, in, out, err) : run(method, call, in, out, err)) || with_reason(err);
}

bool service_stream(const struct service_method *method, struct service_call *call, const ProtobufCMessage *in,
                    struct err *err)
{
    return may_call(method, call, err) && (method->stream(call, in, err) || with_reason(err));
}
