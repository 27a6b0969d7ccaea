#include "client/lib/internal.h"

#define CHARTMESH_DEFINE(name, service, method, Request, Reply, reply_c, writes)                                  \
    bool chartmesh_##name(struct chartmesh *node, const Chartmesh__V1__##Request *request,                        \
                          const struct chartmesh_call *call, struct arena *arena,                                 \
                          const Chartmesh__V1__##Reply **reply, struct err *err)                                  \
    {                                                                                                             \
        struct call_options options;                                                                              \
        const ProtobufCMessage *message;                                                                          \
        call_options_fill(node, call, writes, &options);                                                          \
        if (!rpc_unary(node->channel, "/chartmesh.v1." service "/" method, &request->base,                        \
                       &chartmesh__v1__##reply_c##__descriptor, &options.rpc, arena, &message, err)) {            \
            return call_failed(node, err);                                                                        \
        }                                                                                                         \
        *reply = (const Chartmesh__V1__##Reply *)(const void *)message;                                           \
        return true;                                                                                              \
    }
CHARTMESH_CALLS(CHARTMESH_DEFINE)
