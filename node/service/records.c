/* Records: how documents are written, and the list of methods. */
#include "node/service/service_inside.h"

/* ---- Put ----------------------------------------------------------------------------------------------------------- */

/* An import that brings nothing new is answered, and remembered if the caller asked for that. */
static bool unchanged(struct write *w, Chartmesh__V1__PutReply *out, struct err *err)
{
    struct log_txn *txn = w->txn;
    w->txn = NULL;
    if (hash_is_zero(&w->call->retry)) {
        log_txn_free(txn);
        return true;
    }
    return service_commit(w->call, txn, &out->base, &out->receipt, err);
}

static bool put_locked(struct write *w, const Chartmesh__V1__PutRequest *request, Chartmesh__V1__PutReply *out,
                       struct err *err)
{
    struct bytes content = bytes_pb(request->content);
    struct hash import = {0};
    bool same, by_heads = request->n_if_heads || !request->import_key || request->document.len;
    if (request->import_key) {
        import = import_hash_content(w->call, content);
    }
    if (by_heads && !write_on_heads(w, request->if_heads, request->n_if_heads, err)) {
        return false;
    }
    if (!write_imported(w, request->import_key, &import, &same, out, err)) {
        return false;
    }
    if (same) {
        return unchanged(w, out, err);
    }
    return write_content(w, content, err) && write_commit(w, request->facts, out, err);
}

bool put_check(struct service_call *call, const Chartmesh__V1__PutRequest *request, struct put *out,
               struct err *err)
{
    *out = (struct put){.request = request};
    if (!service_subject(call, request->subject, "subject", &out->subject, err) ||
        (request->document.len && !field_id(request->document, "document", &out->document, err)) ||
        !facts_check(call, request->facts, err) || !field_import_key(request->import_key, err)) {
        return false;
    }
    return request->content.len <= SERVICE_INLINE_MAX ||
           err_raise_field(err, REASON(TOO_LARGE), "content", "content: at most %d bytes here: use Upload",
                           SERVICE_INLINE_MAX);
}

bool put_write(struct service_call *call, const struct put *put, Chartmesh__V1__PutReply *out, struct err *err)
{
    struct write w;
    if (!write_begin(call, &put->subject, &put->document, &w, err)) {
        return false;
    }
    bool ok = put_locked(&w, put->request, out, err);
    write_end(&w);
    return ok;
}

static bool put(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    struct put put;
    if (!put_check(call, (const void *)in, &put, err)) {
        return false;
    }
    chart_lock(call->service->chart, &put.subject.p);
    bool ok = put_write(call, &put, (void *)reply, err);
    chart_unlock(call->service->chart, &put.subject.p);
    return ok;
}

/* ---- Merge -------------------------------------------------------------------------------------------------- */

static bool merge_locked(struct write *w, const Chartmesh__V1__MergeRequest *request, Chartmesh__V1__PutReply *out,
                         struct err *err)
{
    if (!write_on(w, request->parents, request->n_parents, "parents", err)) {
        return false;
    }
    w->kind = CHARTMESH__V1__KIND__KIND_MERGE;
    return write_content(w, bytes_pb(request->content), err) && write_commit(w, request->facts, out, err);
}

static bool merge(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    const Chartmesh__V1__MergeRequest *request = (const void *)in;
    struct subject subject;
    struct id document;
    struct write w;
    if (!service_subject(call, request->subject, "subject", &subject, err) ||
        !field_id(request->document, "document", &document, err) || !facts_check(call, request->facts, err)) {
        return false;
    }
    if (request->n_parents < 2) {
        return err_raise_field(err, REASON(FIELD_INVALID), "parents", "parents: a merge has at least two");
    }
    if (request->content.len > SERVICE_INLINE_MAX) {
        return err_raise_field(err, REASON(TOO_LARGE), "content", "content: at most %d bytes", SERVICE_INLINE_MAX);
    }
    chart_lock(call->service->chart, &subject.p);
    bool ok = write_begin(call, &subject, &document, &w, err);
    if (ok) {
        ok = merge_locked(&w, request, (void *)reply, err);
        write_end(&w);
    }
    chart_unlock(call->service->chart, &subject.p);
    return ok;
}

/* ---- The list ---------------------------------------------------------------------------------------------------------- */

#define RECORDS(name_, shape_, in_, out_)                                                                         \
    .path = "/chartmesh.v1.Records/" name_, .name = "Records." name_, .shape = shape_,                            \
    .in = &chartmesh__v1__##in_##__descriptor, .out = &chartmesh__v1__##out_##__descriptor, .kinds = SERVICE_APP, \
    .needs_user = true

size_t records_methods(const struct service_method **out)
{
    static const struct service_method methods[] = {
        {RECORDS("Put", METHOD_UNARY, put_request, put_reply), .writes = true, .max_request = SERVICE_REQUEST_MAX,
         .unary = put},
        {RECORDS("PutStream", METHOD_BIDI, put_stream_request, put_stream_reply), .writes = true,
         .max_request = SERVICE_SIGNED_MAX + SERVICE_SMALL_MAX, .stream = records_put_stream},
        {RECORDS("Prepare", METHOD_UNARY, prepare_request, prepare_reply), .writes = true,
         .max_request = SERVICE_PREPARE_MAX, .unary = records_prepare},
        {RECORDS("PutSigned", METHOD_UNARY, put_signed_request, put_reply), .writes = true,
         .max_request = SERVICE_SIGNED_MAX, .unary = records_put_signed},
        {RECORDS("Get", METHOD_UNARY, get_request, get_reply), .max_request = SERVICE_SMALL_MAX,
         .unary = records_get},
        {RECORDS("List", METHOD_UNARY, list_request, list_reply), .max_request = SERVICE_SMALL_MAX,
         .unary = records_list},
        {RECORDS("History", METHOD_UNARY, history_request, history_reply), .max_request = SERVICE_SMALL_MAX,
         .unary = records_history},
        {RECORDS("Upload", METHOD_BIDI, upload_request, upload_reply), .writes = true,
         .max_request = SERVICE_PIECE_MAX + SERVICE_SMALL_MAX, .stream = records_upload},
        {RECORDS("AbortUpload", METHOD_UNARY, abort_upload_request, abort_upload_reply),
         .max_request = SERVICE_SMALL_MAX, .unary = records_abort_upload},
        {RECORDS("Download", METHOD_SERVER_STREAM, download_request, download_reply),
         .max_request = SERVICE_SMALL_MAX, .stream = records_download},
        {RECORDS("Merge", METHOD_UNARY, merge_request, put_reply), .writes = true,
         .max_request = SERVICE_REQUEST_MAX, .unary = merge},
        {RECORDS("Retract", METHOD_UNARY, retract_request, put_reply), .writes = true,
         .max_request = SERVICE_SMALL_MAX, .unary = records_retract},
        {RECORDS("Relabel", METHOD_UNARY, relabel_request, put_reply), .writes = true,
         .max_request = SERVICE_SMALL_MAX, .unary = records_relabel},
        {RECORDS("Watch", METHOD_SERVER_STREAM, watch_request, watch_event), .max_request = SERVICE_SMALL_MAX,
         .stream = records_watch},
    };
    *out = methods;
    return COUNT(methods);
}
