#include "client/lib/internal.h"

struct query {
    const struct chartmesh_sink *sink;
    uint64_t offset, total, entries;
};

static bool take(struct query *query, const Chartmesh__V1__QueryReply *reply, struct err *err)
{
    if (query->offset == 0 && reply->total) {
        query->total = reply->total;
        query->entries = reply->entries;
    }
    struct bytes piece = bytes_pb(reply->data);
    if (piece.len && !query->sink->write(query->sink->context, query->offset, piece, err)) {
        return false;
    }
    query->offset += piece.len;
    if (query->sink->progress) {
        query->sink->progress(query->sink->context, query->offset, query->total);
    }
    return true;
}

static bool receive(struct query *query, struct rpc_call *call, const Chartmesh__V1__QueryRequest *request,
                    struct err *err)
{
    if (!rpc_send(call, &request->base, err) || !rpc_end_sending(call, err)) {
        return false;
    }
    for (const ProtobufCMessage *message;;) {
        if (!rpc_recv(call, &message, err)) {
            return false;
        }
        if (!message) {
            return rpc_finish(call, err);
        }
        if (!take(query, (const void *)message, err)) {
            return false;
        }
    }
}

bool chartmesh_audit_query(struct chartmesh *node, const Chartmesh__V1__QueryRequest *request,
                           const struct chartmesh_sink *sink, const struct chartmesh_call *call, uint64_t *entries,
                           struct err *err)
{
    struct call_options options;
    struct query query = {.sink = sink};
    struct rpc_call *rpc = NULL;
    call_options_fill(node, call, false, &options);
    bool ok = rpc_start(node->channel, "/chartmesh.v1.Audit/Query", &chartmesh__v1__query_reply__descriptor,
                        &options.rpc, &rpc, err) &&
              receive(&query, rpc, request, err);
    rpc_call_free(rpc);
    if (!ok) {
        return call_failed(node, err);
    }
    *entries = query.entries;
    return true;
}
