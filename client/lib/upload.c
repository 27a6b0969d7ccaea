#include "client/lib/internal.h"

#include <stdlib.h>

/* One upload: each attempt is one call, which begins where the node stands. */
struct upload {
    struct chartmesh *node;
    const Chartmesh__V1__UploadHeader *header;
    const struct chartmesh_source *source;
    struct call_options options;
    uint8_t *piece;
    uint64_t offset;
    struct arena *arena;
    const Chartmesh__V1__PutReply *reply;
};

/* A refused send only says that the call is over: its status says why. */
static bool send_message(struct rpc_call *call, const Chartmesh__V1__UploadRequest *request, struct err *err)
{
    if (rpc_send(call, &request->base, err)) {
        return true;
    }
    struct err why;
    if (!rpc_finish(call, &why)) {
        *err = why;
    }
    return false;
}

static bool send_header(struct upload *up, struct rpc_call *call, struct err *err)
{
    Chartmesh__V1__UploadRequest request = CHARTMESH__V1__UPLOAD_REQUEST__INIT;
    request.part_case = CHARTMESH__V1__UPLOAD_REQUEST__PART_HEADER;
    request.header = (Chartmesh__V1__UploadHeader *)(uintptr_t)up->header;
    return send_message(call, &request, err);
}

static bool send_piece(struct upload *up, struct rpc_call *call, struct err *err)
{
    size_t len = (size_t)MIN(up->header->length - up->offset, (uint64_t)PIECE_MAX);
    Chartmesh__V1__UploadRequest request = CHARTMESH__V1__UPLOAD_REQUEST__INIT;
    Chartmesh__V1__UploadPiece piece = CHARTMESH__V1__UPLOAD_PIECE__INIT;
    if (!up->source->read(up->source->context, up->offset, up->piece, len, err)) {
        return false;
    }
    piece.offset = up->offset;
    piece.data = (ProtobufCBinaryData){.len = len, .data = up->piece};
    request.part_case = CHARTMESH__V1__UPLOAD_REQUEST__PART_PIECE;
    request.piece = &piece;
    if (!send_message(call, &request, err)) {
        return false;
    }
    up->offset += len;
    if (up->source->progress) {
        up->source->progress(up->source->context, up->offset, up->header->length);
    }
    return true;
}

/* Keeps the reply beyond the call: it lives in the caller's arena. */
static bool keep_reply(struct upload *up, const Chartmesh__V1__PutReply *done, struct err *err)
{
    void *room;
    struct bytes document, version, receipt;
    if (!arena_alloc(up->arena, sizeof *done, &room, err) ||
        !arena_copy(up->arena, BYTES(done->document.data, done->document.len), &document, err) ||
        !arena_copy(up->arena, BYTES(done->version.data, done->version.len), &version, err) ||
        !arena_copy(up->arena, BYTES(done->receipt.data, done->receipt.len), &receipt, err)) {
        return false;
    }
    Chartmesh__V1__PutReply *reply = room;
    chartmesh__v1__put_reply__init(reply);
    reply->document = pb_bytes(document);
    reply->version = pb_bytes(version);
    reply->receipt = pb_bytes(receipt);
    reply->unchanged = done->unchanged;
    up->reply = reply;
    return true;
}

static bool next_reply(struct upload *up, struct rpc_call *call, struct err *err)
{
    const ProtobufCMessage *message;
    if (!rpc_recv(call, &message, err)) {
        return false;
    }
    if (!message) {
        return rpc_finish(call, err) && err_raise(err, ERR_UNAVAILABLE, "upload: the node ended it early");
    }
    const Chartmesh__V1__UploadReply *reply = (const void *)message;
    if (reply->done) {
        return keep_reply(up, reply->done, err);
    }
    if (reply->offset > up->header->length) {
        return err_raise(err, ERR_CORRUPT, "upload: the node stands beyond the end");
    }
    up->offset = reply->offset;
    return true;
}

static bool talk(struct upload *up, struct rpc_call *call, unsigned *attempt, struct err *err)
{
    if (!send_header(up, call, err) || !next_reply(up, call, err)) {
        return false;
    }
    while (!up->reply && up->offset < up->header->length) {
        if (!send_piece(up, call, err)) {
            return false;
        }
        *attempt = 0;
    }
    if (!up->reply && !rpc_end_sending(call, err)) {
        return false;
    }
    uint64_t sent = up->offset;
    while (!up->reply) {
        if (!next_reply(up, call, err)) {
            return false;
        }
        up->offset = sent;               /* where the node stands on the way tells nothing new */
    }
    return true;
}

static bool attempt_once(struct upload *up, unsigned *attempt, struct err *err)
{
    struct rpc_call *call = NULL;
    bool ok = rpc_start(up->node->channel, "/chartmesh.v1.Records/Upload",
                        &chartmesh__v1__upload_reply__descriptor, &up->options.rpc, &call, err) &&
              talk(up, call, attempt, err);
    rpc_call_free(call);
    return ok;
}

bool chartmesh_upload(struct chartmesh *node, const Chartmesh__V1__UploadHeader *header,
                      const struct chartmesh_source *source, const struct chartmesh_call *call,
                      struct arena *arena, const Chartmesh__V1__PutReply **reply, struct err *err)
{
    struct upload up = {.node = node, .header = header, .source = source, .arena = arena};
    call_options_fill(node, call, true, &up.options);
    up.piece = malloc(PIECE_MAX);
    if (!up.piece) {
        return err_raise(err, ERR_TOO_MUCH, "upload: no memory");
    }
    unsigned attempt = 0;
    bool ok;
    do {
        ok = attempt_once(&up, &attempt, err);
    } while (!ok && call_again(err, &attempt, ATTEMPTS));
    free(up.piece);
    if (!ok) {
        return call_failed(node, err);
    }
    *reply = up.reply;
    return true;
}
