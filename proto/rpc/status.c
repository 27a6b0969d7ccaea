/* Errors on the wire: gRPC's status, and google.rpc.Status in grpc-status-details-bin. */
#include <stdio.h>

#include "proto/chartmesh/v1/message.h"
#include "proto/rpc/internal.h"
#include "proto/rpc/status.pb-c.h"

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), "err codes are gRPC's")
SAME(ERR_NONE, GRPC_STATUS_OK);
SAME(ERR_CANCELLED, GRPC_STATUS_CANCELLED);
SAME(ERR_INVALID, GRPC_STATUS_INVALID_ARGUMENT);
SAME(ERR_DEADLINE, GRPC_STATUS_DEADLINE_EXCEEDED);
SAME(ERR_NOT_FOUND, GRPC_STATUS_NOT_FOUND);
SAME(ERR_EXISTS, GRPC_STATUS_ALREADY_EXISTS);
SAME(ERR_DENIED, GRPC_STATUS_PERMISSION_DENIED);
SAME(ERR_TOO_MUCH, GRPC_STATUS_RESOURCE_EXHAUSTED);
SAME(ERR_STATE, GRPC_STATUS_FAILED_PRECONDITION);
SAME(ERR_CONFLICT, GRPC_STATUS_ABORTED);
SAME(ERR_RANGE, GRPC_STATUS_OUT_OF_RANGE);
SAME(ERR_UNIMPLEMENTED, GRPC_STATUS_UNIMPLEMENTED);
SAME(ERR_INTERNAL, GRPC_STATUS_INTERNAL);
SAME(ERR_UNAVAILABLE, GRPC_STATUS_UNAVAILABLE);
SAME(ERR_CORRUPT, GRPC_STATUS_DATA_LOSS);
SAME(ERR_UNAUTHENTICATED, GRPC_STATUS_UNAUTHENTICATED);

#define DOMAIN "chartmesh"
#define REASON_PREFIX "ERROR_REASON_"
#define TYPE_PREFIX "type.googleapis.com/google.rpc."
enum { DETAILS_MEMORY_MAX = 64 << 10 };

grpc_slice slice_of(const char *text)
{
    return grpc_slice_from_copied_string(text);
}

void status_text(const struct err *err, const char *request_id, char *out, size_t size)
{
    if (err->code == ERR_INTERNAL || err->code == ERR_NONE) {
        snprintf(out, size, "internal error, request %s", request_id);
        return;
    }
    snprintf(out, size, "%s", err->text);
    /* A text cut in the middle of a character loses the rest of it. */
    for (size_t len = strlen(out); len && !utf8_valid(BYTES(out, len)); len--) {
        out[len - 1] = 0;
    }
}

static bool pack_any(const char *type, const ProtobufCMessage *message, Google__Rpc__Any *any, struct arena *arena)
{
    struct err ignored;
    struct bytes packed;
    google__rpc__any__init(any);
    any->type_url = (char *)type;
    if (!message_pack(message, arena, &packed, &ignored)) {
        return false;
    }
    any->value = (ProtobufCBinaryData){packed.len, (uint8_t *)packed.data};
    return true;
}

static bool pack_reason(uint32_t reason, Google__Rpc__Any *any, struct arena *arena)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(&chartmesh__v1__error_reason__descriptor, (int)reason);
    if (!reason || !value || strncmp(value->name, REASON_PREFIX, strlen(REASON_PREFIX)) != 0) {
        return false;
    }
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    info.reason = (char *)value->name + strlen(REASON_PREFIX);
    info.domain = DOMAIN;
    return pack_any(TYPE_PREFIX "ErrorInfo", &info.base, any, arena);
}

static bool pack_field(const struct err *err, const char *text, Google__Rpc__Any *any, struct arena *arena)
{
    if (!err->field[0]) {
        return false;
    }
    Google__Rpc__FieldViolation violation = GOOGLE__RPC__FIELD_VIOLATION__INIT;
    violation.field = (char *)err->field;
    violation.description = (char *)text;
    Google__Rpc__BadRequest bad = GOOGLE__RPC__BAD_REQUEST__INIT;
    bad.n_field_violations = 1;
    bad.field_violations = (Google__Rpc__FieldViolation *[]){&violation};
    return pack_any(TYPE_PREFIX "BadRequest", &bad.base, any, arena);
}

struct bytes status_pack(const struct err *err, const char *text, struct arena *arena)
{
    Google__Rpc__Any any[2], *details[2] = {0};
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    struct err ignored;
    struct bytes packed = BYTES_NONE;
    status.code = (int)err->code;
    status.message = (char *)text;
    status.details = details;
    if (pack_reason(err->reason, &any[0], arena)) {
        details[status.n_details++] = &any[0];
    }
    if (pack_field(err, text, &any[1], arena)) {
        details[status.n_details++] = &any[1];
    }
    return message_pack(&status.base, arena, &packed, &ignored) ? packed : BYTES_NONE;
}

/* ---- the way back ---- */

static struct bytes view_of(grpc_slice slice)
{
    return BYTES(GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
}

static void read_reason(struct bytes value, struct arena *arena, struct err *err)
{
    ProtobufCMessage *message;
    struct err ignored;
    char name[96];
    if (!message_unpack(&google__rpc__error_info__descriptor, value, arena, &message, &ignored)) {
        return;
    }
    const Google__Rpc__ErrorInfo *info = (const void *)message;
    snprintf(name, sizeof name, REASON_PREFIX "%s", info->reason);
    const ProtobufCEnumValue *known =
        protobuf_c_enum_descriptor_get_value_by_name(&chartmesh__v1__error_reason__descriptor, name);
    if (known && strcmp(info->domain, DOMAIN) == 0) {
        err->reason = (uint32_t)known->value;
    }
}

static void read_field(struct bytes value, struct arena *arena, struct err *err)
{
    ProtobufCMessage *message;
    struct err ignored;
    if (!message_unpack(&google__rpc__bad_request__descriptor, value, arena, &message, &ignored)) {
        return;
    }
    const Google__Rpc__BadRequest *bad = (const void *)message;
    if (bad->n_field_violations) {
        snprintf(err->field, sizeof err->field, "%s", bad->field_violations[0]->field);
    }
}

static void read_details(struct bytes packed, struct err *err)
{
    AUTO_ARENA(arena, DETAILS_MEMORY_MAX);
    ProtobufCMessage *message;
    struct err ignored;
    if (!message_unpack(&google__rpc__status__descriptor, packed, &arena, &message, &ignored)) {
        return;
    }
    const Google__Rpc__Status *status = (const void *)message;
    for (size_t i = 0; i < status->n_details; i++) {
        const Google__Rpc__Any *any = status->details[i];
        struct bytes value = BYTES(any->value.data, any->value.len);
        if (strcmp(any->type_url, TYPE_PREFIX "ErrorInfo") == 0) {
            read_reason(value, &arena, err);
        } else if (strcmp(any->type_url, TYPE_PREFIX "BadRequest") == 0) {
            read_field(value, &arena, err);
        }
    }
}

/* UNKNOWN and codes nobody knows are the other side's fault; a cancellation we did not ask for is what calls
 * get that race a server's shutdown. */
static enum err_code code_of(grpc_status_code code, bool own_cancel)
{
    if (code == GRPC_STATUS_CANCELLED && !own_cancel) {
        return ERR_UNAVAILABLE;
    }
    bool known = code > 0 && (int)code <= ERR_UNAUTHENTICATED && code != GRPC_STATUS_UNKNOWN;
    return known ? (enum err_code)code : ERR_INTERNAL;
}

bool status_to_err(grpc_status_code code, grpc_slice text, const grpc_metadata_array *trailers, bool own_cancel,
                   struct err *err)
{
    if (code == GRPC_STATUS_OK) {
        return true;
    }
    int len = (int)MIN(GRPC_SLICE_LENGTH(text), sizeof err->text - 1);
    err_raise(err, code_of(code, own_cancel), "%.*s", len, (const char *)GRPC_SLICE_START_PTR(text));
    for (size_t i = 0; i < trailers->count; i++) {
        if (grpc_slice_str_cmp(trailers->metadata[i].key, "grpc-status-details-bin") == 0) {
            read_details(view_of(trailers->metadata[i].value), err);
        }
    }
    return false;
}
