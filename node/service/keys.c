/* Keys: who signs for themselves. A key is enrolled by two signatures: its own, which shows that whoever asks has
 * it, and the facility's. */
#include "node/service/service_inside.h"

#include "proto/chartmesh/v1/keys.pb-c.h"

enum { MADE_AHEAD_MS = 5 * 60 * 1000, MADE_BEFORE_MS = 24 * 60 * 60 * 1000, MEMBERS_MAX = 1024 };

static bool commit_grant(struct service_call *call, const struct statement *statement, bool tell_peers,
                         const ProtobufCMessage *reply, ProtobufCBinaryData *receipt, struct err *err);

/* ---- Enrol ------------------------------------------------------------------------------------------------------ */

static bool head_check(struct service_call *call, const Chartmesh__V1__Head *head, struct err *err)
{
    struct chart *chart = call->service->chart;
    uint64_t made = hlc_ms(head->hlc), now = world_now_ms(call->service->world);
    if (!bytes_equal(bytes_pb(head->network), BYTES_OF(*chart_network(chart))) ||
        !bytes_equal(bytes_pb(head->facility), BYTES_OF(*chart_facility(chart)))) {
        return err_raise_field(err, REASON(KEY_INVALID), "statement.head",
                               "statement.head: of another network or facility");
    }
    return (made <= now + MADE_AHEAD_MS && made + MADE_BEFORE_MS >= now) ||
           err_raise_field(err, REASON(FIELD_INVALID), "statement.head",
                           "statement.head: made over a day ago, or ahead of this node's clock");
}

/* The key's own signature, and no other. */
static bool possession_check(struct service_call *call, const Chartmesh__V1__EnrolKeyRequest *request,
                             struct statement *out, struct err *err)
{
    struct bytes envelope;
    struct hash key;
    if (!request->statement) {
        return err_raise_field(err, REASON(FIELD_MISSING), "statement", "statement: is needed");
    }
    if (!message_pack(&request->statement->base, call->arena, &envelope, err) ||
        !statement_parse(envelope, call->arena, out, err)) {
        return err_wrap(err, "statement");
    }
    if (out->kind != STATEMENT_KEY) {
        return err_raise_field(err, REASON(FIELD_INVALID), "statement", "statement: not a key");
    }
    return head_check(call, out->head, err) &&
           field_hash(((const Chartmesh__V1__Key *)(const void *)out->message)->public_key, "statement.public_key",
                      &key, err) &&
           statement_verify(out, STATEMENT_KEY, chart_network(call->service->chart), &key, 1, 1, err);
}

/* The same payload with both signatures. */
static bool countersign(struct service_call *call, struct statement *statement, struct err *err)
{
    const struct signing_key *ours = keys_statement(call->service->keys);
    struct statement signed_by_us;
    struct bytes joined;
    ProtobufCMessage *message;
    return message_unpack(&chartmesh__v1__key__descriptor, statement->payload, call->arena, &message, err) &&
           statement_sign(STATEMENT_KEY, message, &ours, 1, call->arena, &signed_by_us, err) &&
           statement_join(statement->envelope, signed_by_us.envelope, call->arena, &joined, err) &&
           statement_parse(joined, call->arena, statement, err);
}

static bool enrol(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    const Chartmesh__V1__EnrolKeyRequest *request = (const void *)in;
    Chartmesh__V1__EnrolKeyReply *out = (void *)reply;
    struct statement statement;
    if (!possession_check(call, request, &statement, err)) {
        return false;
    }
    struct hash key = statement.key_ids[0];
    return countersign(call, &statement, err) && reply_bytes(call, BYTES_OF(key), &out->key, err) &&
           reply_envelope(call, statement.envelope, &out->statement, err) &&
           commit_grant(call, &statement, false, &out->base, &out->receipt, err);
}

/* ---- Revoke ----------------------------------------------------------------------------------------------------- */

static bool revocation_check(const struct service_call *call, const Chartmesh__V1__RevokeKeyRequest *request,
                             struct err *err)
{
    struct hash key;
    if (request->reason < CHARTMESH__V1__REASON__REASON_RETIRED ||
        request->reason > CHARTMESH__V1__REASON__REASON_COMPROMISED) {
        return err_raise_field(err, REASON(FIELD_INVALID), "reason", "reason: RETIRED, LOST or COMPROMISED");
    }
    if (request->since && (request->since->ms < 0 ||
                           (uint64_t)request->since->ms > world_now_ms(call->service->world) + MADE_AHEAD_MS)) {
        return err_raise_field(err, REASON(FIELD_INVALID), "since", "since: in the future, or before 1970");
    }
    return field_hash(request->key, "key", &key, err);
}

static bool revoke(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    const Chartmesh__V1__RevokeKeyRequest *request = (const void *)in;
    Chartmesh__V1__RevokeKeyReply *out = (void *)reply;
    const struct signing_key *key = keys_statement(call->service->keys);
    Chartmesh__V1__KeyRevocation message = CHARTMESH__V1__KEY_REVOCATION__INIT;
    Chartmesh__V1__Instant now = CHARTMESH__V1__INSTANT__INIT;
    struct statement statement;
    now.ms = (int64_t)world_now_ms(call->service->world);
    if (!revocation_check(call, request, err) ||
        !chart_head(call->service->chart, call->arena, &message.head, err)) {
        return false;
    }
    message.key = request->key;
    message.reason = request->reason;
    message.since = request->since ? request->since : &now;
    return statement_sign(STATEMENT_KEY_REVOCATION, &message.base, &key, 1, call->arena, &statement, err) &&
           reply_bytes(call, BYTES_OF(statement.id), &out->revocation, err) &&
           reply_envelope(call, statement.envelope, &out->statement, err) &&
           commit_grant(call, &statement, true, &out->base, &out->receipt, err);
}

/* Everybody who may hold something that the key has signed. */
static bool owe_to_members(struct service_call *call, struct log_txn *txn, const struct statement *statement,
                           struct err *err)
{
    const struct outbox_row row = {.kind = ITEM_KEY_REVOCATION, .statement = statement->id};
    const struct member *members[MEMBERS_MAX];
    struct id peers[MEMBERS_MAX];
    size_t count = 0;
    const struct trust *trust = chart_trust_take(call->service->chart);
    size_t all = MIN(trust_members(trust, members, MEMBERS_MAX), (size_t)MEMBERS_MAX);
    for (size_t i = 0; i < all; i++) {
        if (members[i]->active && !id_equal(&members[i]->facility, chart_facility(call->service->chart))) {
            peers[count++] = members[i]->facility;
        }
    }
    chart_trust_give(call->service->chart);
    for (size_t i = 0; i < count; i++) {
        if (!chart_outbox_put(call->service->chart, txn, &peers[i], &row, err)) {
            return false;
        }
    }
    return true;
}

static bool commit_grant(struct service_call *call, const struct statement *statement, bool tell_peers,
                         const ProtobufCMessage *reply, ProtobufCBinaryData *receipt, struct err *err)
{
    const struct log_who who = {call->caller.principal, call->caller.user};
    struct log_txn *txn = log_txn_new(call->service->log);
    if (!chart_trust_grant(call->service->chart, txn, &who, statement->envelope, err) ||
        (tell_peers && !owe_to_members(call, txn, statement, err))) {
        log_txn_free(txn);
        err->code = err->code == ERR_NOT_FOUND ? ERR_INVALID : err->code; /* what it names is not known here */
        return false;
    }
    return service_commit(call, txn, reply, receipt, err);
}

/* ---- List ------------------------------------------------------------------------------------------------------- */

static bool view_fill(struct service_call *call, struct bytes envelope, Chartmesh__V1__KeyView *out,
                      struct err *err)
{
    struct statement statement;
    struct hash public_key;
    if (!statement_parse(envelope, call->arena, &statement, err) ||
        !field_hash(((const Chartmesh__V1__Key *)(const void *)statement.message)->public_key, "public_key",
                    &public_key, err)) {
        return err_wrap(err, "stored key");
    }
    struct hash id = key_id(KEY_ED25519, &public_key);
    const struct trust *trust = chart_trust_take(call->service->chart);
    out->usable = trust_key(trust, &id, world_now_ms(call->service->world) << 16) != NULL;
    chart_trust_give(call->service->chart);
    return reply_bytes(call, BYTES_OF(id), &out->key, err) && reply_envelope(call, envelope, &out->statement, err);
}

static bool list(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    const Chartmesh__V1__ListKeysRequest *request = (const void *)in;
    Chartmesh__V1__ListKeysReply *out = (void *)reply;
    struct bytes *envelopes;
    size_t count;
    void *places, *views;
    if (!chart_granted(call->service->chart, STATEMENT_KEY, *request->holder ? request->holder : NULL, call->arena,
                       &envelopes, &count, err) ||
        !arena_array(call->arena, count, sizeof *out->keys, &places, err) ||
        !arena_array(call->arena, count, sizeof **out->keys, &views, err)) {
        return false;
    }
    out->keys = places;
    out->n_keys = count;
    for (size_t i = 0; i < count; i++) {
        out->keys[i] = (Chartmesh__V1__KeyView *)views + i;
        chartmesh__v1__key_view__init(out->keys[i]);
        if (!view_fill(call, envelopes[i], out->keys[i], err)) {
            return false;
        }
    }
    return true;
}

#define KEYS(name_, in_, out_, run_)                                                                              \
    .path = "/chartmesh.v1.Keys/" name_, .name = "Keys." name_, .shape = METHOD_UNARY,                            \
    .in = &chartmesh__v1__##in_##__descriptor, .out = &chartmesh__v1__##out_##__descriptor,                       \
    .max_request = SERVICE_SMALL_MAX, .unary = (run_)

size_t keys_methods(const struct service_method **out)
{
    static const struct service_method methods[] = {
        {KEYS("Enrol", enrol_key_request, enrol_key_reply, enrol), .kinds = SERVICE_ADMIN},
        {KEYS("Revoke", revoke_key_request, revoke_key_reply, revoke), .kinds = SERVICE_ADMIN},
        {KEYS("List", list_keys_request, list_keys_reply, list), .kinds = SERVICE_ADMIN | SERVICE_AUDITOR},
    };
    *out = methods;
    return COUNT(methods);
}
