/* Audit: checkpoints and proofs. Audit.Query is in audit_query.c. */
#include "node/service/service_inside.h"

/* The newest note, and the size it is of. */
static bool newest(struct service_call *call, struct bytes *note, struct checkpoint *out, struct err *err)
{
    return log_checkpoint(call->service->log, call->arena, note, err) && checkpoint_open(*note, NULL, 0, out, err);
}

static bool range(struct err *err, const char *field, const char *why)
{
    return err_raise_at(err, __FILE__, __LINE__, ERR_RANGE, REASON(RANGE_INVALID), field, "%s: %s", field, why);
}

static bool path_reply(struct service_call *call, const struct hash *path, size_t len, ProtobufCBinaryData **out,
                       size_t *out_len, struct err *err)
{
    void *memory;
    if (!arena_array(call->arena, len, sizeof **out, &memory, err)) {
        return false;
    }
    *out = memory;
    *out_len = len;
    for (size_t i = 0; i < len; i++) {
        if (!reply_bytes(call, BYTES_OF(path[i]), &(*out)[i], err)) {
            return false;
        }
    }
    return true;
}

static bool checkpoint(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                       struct err *err)
{
    Chartmesh__V1__CheckpointReply *out = (void *)reply;
    struct checkpoint now;
    struct bytes note;
    (void)in;
    if (!newest(call, &note, &now, err)) {
        return false;
    }
    out->note = pb_bytes(note);
    return reply_envelope(call, log_epoch_statement(call->service->log), &out->epoch, err);
}

static bool inclusion(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                      struct err *err)
{
    const Chartmesh__V1__InclusionRequest *request = (const void *)in;
    Chartmesh__V1__InclusionReply *out = (void *)reply;
    struct checkpoint now;
    struct bytes note;
    struct log_opened opened;
    struct hash path[MERKLE_PATH_MAX];
    size_t len;
    uint64_t index;
    void *at, *opening;
    if (!request->receipt.len) {
        return err_raise_field(err, REASON(FIELD_MISSING), "receipt", "receipt: is needed");
    }
    if (!gate_receipt_open(call->service->gate, call->caller.principal, bytes_pb(request->receipt), &index, err) ||
        !newest(call, &note, &now, err)) {
        return false;
    }
    uint64_t size = request->size ? request->size : now.size;
    if (size > now.size || index >= size) {
        return range(err, "size", size > now.size ? "beyond the log" : "the entry is not in a log of that size");
    }
    if (!log_entry_at(call->service->log, index, call->arena, &opened, err)) {
        return err->code == ERR_NOT_FOUND ? err_raise_reason(err, ERR_NOT_FOUND, REASON(NOT_AVAILABLE),
                                                             "receipt: its entry's key is destroyed")
                                          : false;
    }
    if (!log_inclusion(call->service->log, index, size, path, &len, err) ||
        !arena_alloc(call->arena, sizeof *out->at, &at, err) ||
        !arena_alloc(call->arena, sizeof *out->opening, &opening, err)) {
        return false;
    }
    out->at = at;
    chartmesh__v1__proof__init(out->at);
    out->at->index = index;
    out->opening = opening;
    chartmesh__v1__opening__init(out->opening);
    out->opening->entry = pb_bytes(opened.entry);
    out->checkpoint = pb_bytes(note);
    return reply_bytes(call, BYTES_OF(opened.r), &out->opening->r, err) &&
           path_reply(call, path, len, &out->at->path, &out->at->n_path, err);
}

static bool consistency(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                        struct err *err)
{
    const Chartmesh__V1__ConsistencyRequest *request = (const void *)in;
    Chartmesh__V1__ConsistencyReply *out = (void *)reply;
    struct checkpoint now;
    struct bytes note;
    struct hash path[2 * MERKLE_PATH_MAX];
    size_t len;
    if (!newest(call, &note, &now, err)) {
        return false;
    }
    uint64_t to = request->to ? request->to : now.size;
    if (to > now.size) {
        return range(err, "to", "beyond the log");
    }
    if (request->from == 0 || request->from > to) {
        return range(err, "from", "must be 1 to `to`");
    }
    out->checkpoint = pb_bytes(note);
    return log_consistency(call->service->log, request->from, to, path, &len, err) &&
           path_reply(call, path, len, &out->path, &out->n_path, err);
}

#define AUDIT(name_, in_, out_, fn_)                                                                              \
    {                                                                                                             \
        .path = "/chartmesh.v1.Audit/" name_, .name = "Audit." name_, .shape = METHOD_UNARY,                      \
        .in = &chartmesh__v1__##in_##__descriptor, .out = &chartmesh__v1__##out_##__descriptor,                   \
        .kinds = SERVICE_ANY, .max_request = SERVICE_SMALL_MAX, .unary = fn_                                      \
    }

size_t audit_methods(const struct service_method **out)
{
    static const struct service_method methods[] = {
        AUDIT("Checkpoint", checkpoint_request, checkpoint_reply, checkpoint),
        AUDIT("Inclusion", inclusion_request, inclusion_reply, inclusion),
        AUDIT("Consistency", consistency_request, consistency_reply, consistency),
    };
    *out = methods;
    return COUNT(methods);
}
