/* Records: how documents are read. */
#include "node/service/service_inside.h"

#include "proto/crypto/hash.h"

/* ---- Get, List, History ---------------------------------------------------------------------------------------------- */

/* Instead of one document: several, each named once. */
static bool batch_check(const Chartmesh__V1__GetRequest *request, struct err *err)
{
    struct id document;
    struct hash version;
    if (request->document.len || request->version.len) {
        return err_raise_field(err, REASON(FIELD_INVALID), "batch", "batch: instead of document and version");
    }
    if (request->n_batch > SERVICE_PAGE_MAX) {
        return err_raise_field(err, REASON(TOO_LARGE), "batch", "batch: at most %d documents", SERVICE_PAGE_MAX);
    }
    for (size_t i = 0; i < request->n_batch; i++) {
        const Chartmesh__V1__GetItem *item = request->batch[i];
        if (!field_id(item->document, "batch.document", &document, err) ||
            (item->version.len && !field_hash(item->version, "batch.version", &version, err))) {
            return false;
        }
        for (size_t j = 0; j < i; j++) {
            if (bytes_equal(bytes_pb(item->document), bytes_pb(request->batch[j]->document)) &&
                bytes_equal(bytes_pb(item->version), bytes_pb(request->batch[j]->version))) {
                return err_raise_field(err, REASON(FIELD_INVALID), "batch", "batch: an item is there twice");
            }
        }
    }
    return true;
}

bool records_get(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    const Chartmesh__V1__GetRequest *request = (const void *)in;
    struct subject subject;
    struct id document;
    struct hash version;
    if (!service_subject(call, request->subject, "subject", &subject, err)) {
        return false;
    }
    if (request->n_batch) {
        return batch_check(request, err) && gate_get_batch(call->service->gate, &call->caller, request, &subject,
                                                           call->arena, (void *)reply, err);
    }
    return field_id(request->document, "document", &document, err) &&
           (!request->version.len || field_hash(request->version, "version", &version, err)) &&
           gate_get(call->service->gate, &call->caller, request, &subject, call->arena, (void *)reply, err);
}

/* The past does not change; what is still to come would, from page to page. */
static bool as_of_check(const struct service_call *call, const Chartmesh__V1__Instant *as_of, struct err *err)
{
    return !as_of || (as_of->ms >= 0 && (uint64_t)as_of->ms <= world_security_clock(call->service->world).hi_ms) ||
           err_raise_field(err, REASON(FIELD_INVALID), "as_of", "as_of: from 1970 to this node's now");
}

bool records_list(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    const Chartmesh__V1__ListRequest *request = (const void *)in;
    Chartmesh__V1__ListReply *out = (void *)reply;
    Chartmesh__V1__ListRequest asked = *request;
    struct subject subject;
    struct id after, next;
    struct bytes key, state, token;
    size_t max;
    bool more;
    asked.page_token = (ProtobufCBinaryData){0};
    asked.page_size = 0;
    if (!service_subject(call, request->subject, "subject", &subject, err) ||
        !field_codings(request->class_, request->n_class_, "class", err) ||
        !field_codings(request->category, request->n_category, "category", err) ||
        !field_period(request->clinical, "clinical", err) || !as_of_check(call, request->as_of, err) ||
        !field_page(request->page_size, SERVICE_PAGE_MAX, 50, &max, err) ||
        !message_pack(&asked.base, call->arena, &key, err)) {
        return false;
    }
    const struct id *from = NULL;
    if (request->page_token.len) {
        if (!service_token_open(call, "Records.List", key, bytes_pb(request->page_token), "page_token", &state,
                                err)) {
            return false;
        }
        if (!id_from(state, &after)) {
            return err_raise(err, ERR_INTERNAL, "page token: a state of %zu bytes", state.len);
        }
        from = &after;
    }
    if (!gate_list(call->service->gate, &call->caller, request, &subject, from, max, call->arena, out, &more,
                   &next, err)) {
        return false;
    }
    return !more || (service_token(call, "Records.List", key, BYTES_OF(next), &token, err) &&
                     reply_bytes(call, token, &out->next_page_token, err));
}

bool records_history(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                     struct err *err)
{
    const Chartmesh__V1__HistoryRequest *request = (const void *)in;
    Chartmesh__V1__HistoryReply *out = (void *)reply;
    struct subject subject;
    struct id document;
    struct bytes state, token;
    size_t max, total, from = 0;
    if (!service_subject(call, request->subject, "subject", &subject, err) ||
        !field_id(request->document, "document", &document, err) ||
        !field_page(request->page_size, SERVICE_PAGE_MAX, 50, &max, err)) {
        return false;
    }
    struct hash key = HASH_PARTS(BYTES_OF(subject.p), BYTES_OF(document));
    if (request->page_token.len) {
        if (!service_token_open(call, "Records.History", BYTES_OF(key), bytes_pb(request->page_token),
                                "page_token", &state, err)) {
            return false;
        }
        if (state.len != 8) {
            return err_raise(err, ERR_INTERNAL, "page token: a state of %zu bytes", state.len);
        }
        from = (size_t)get_u64be(state.data);
    }
    if (!gate_history(call->service->gate, &call->caller, &subject, &document, from, max, call->arena, out, &total,
                      err)) {
        return false;
    }
    uint8_t next[8];
    put_u64be(next, from + out->n_versions);
    return from + out->n_versions >= total ||
           (service_token(call, "Records.History", BYTES_OF(key), BYTES(next, sizeof next), &token, err) &&
            reply_bytes(call, token, &out->next_page_token, err));
}

/* ---- Download --------------------------------------------------------------------------------------------------------- */

static bool send_rest(struct service_call *call, struct gate_download *download, struct err *err)
{
    for (;;) {
        AUTO_ARENA(arena, 1 << 20);
        Chartmesh__V1__DownloadReply piece = CHARTMESH__V1__DOWNLOAD_REPLY__INIT;
        struct bytes data;
        if (!gate_download_next(download, &arena, &data, &piece.offset, err)) {
            return false;
        }
        if (data.len == 0) {
            return true;
        }
        piece.data = pb_bytes(data);
        if (!call->stream->send(call->stream->context, &piece.base, err)) {
            return false;
        }
    }
}

bool records_download(struct service_call *call, const ProtobufCMessage *in, struct err *err)
{
    const Chartmesh__V1__DownloadRequest *request = (const void *)in;
    Chartmesh__V1__DownloadReply first = CHARTMESH__V1__DOWNLOAD_REPLY__INIT;
    struct subject subject;
    struct id document;
    struct hash version;
    struct gate_download *running;
    if (!service_subject(call, request->subject, "subject", &subject, err) ||
        !field_id(request->document, "document", &document, err) ||
        !field_hash(request->version, "version", &version, err) ||
        !gate_download(call->service->gate, &call->caller, request, &subject, call->arena, &first, &running,
                       err)) {
        return false;
    }
    bool ok = call->stream->send(call->stream->context, &first.base, err) && send_rest(call, running, err);
    gate_download_close(running);
    return ok;
}
