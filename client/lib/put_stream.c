#include "client/lib/internal.h"

/* The node reads on until 256 items or 4 MiB are outstanding; staying below that, neither side waits for the
 * other. */
enum { OUTSTANDING_MAX = 192, OUTSTANDING_BYTES_MAX = 3 << 20 };

struct putting {
    const struct chartmesh_putter *putter;
    struct rpc_call *call;
    size_t outstanding, largest;             /* items without a result; bytes of the largest item so far */
    bool more;
};

/* A refused send only says that the call is over: its status says why. */
static bool over(struct putting *p, struct err *err)
{
    struct err why;
    if (!rpc_finish(p->call, &why)) {
        *err = why;
    }
    return false;
}

static bool send_next(struct putting *p, struct err *err)
{
    const Chartmesh__V1__PutStreamRequest *item;
    p->more = true;
    if (!p->putter->next(p->putter->context, &item, &p->more, err)) {
        return false;
    }
    if (!p->more) {
        return rpc_end_sending(p->call, err) || over(p, err);
    }
    size_t size = protobuf_c_message_get_packed_size(&item->base);
    p->largest = MAX(p->largest, size);
    p->outstanding++;
    return rpc_send(p->call, &item->base, err) || over(p, err);
}

static bool take_results(struct putting *p, struct err *err)
{
    const ProtobufCMessage *message;
    if (!rpc_recv(p->call, &message, err)) {
        return false;
    }
    if (!message) {
        return rpc_finish(p->call, err) && err_raise(err, ERR_UNAVAILABLE, "put stream: the node ended it early");
    }
    const Chartmesh__V1__PutStreamReply *reply = (const void *)message;
    if (reply->n_results > p->outstanding) {
        return err_raise(err, ERR_CORRUPT, "put stream: more results than items");
    }
    for (size_t i = 0; i < reply->n_results; i++) {
        if (!p->putter->result(p->putter->context, reply->results[i], err)) {
            return false;
        }
    }
    p->outstanding -= reply->n_results;
    return true;
}

static bool is_full(const struct putting *p)
{
    return p->outstanding >= OUTSTANDING_MAX ||
           (p->outstanding > 0 && (p->outstanding + 1) * p->largest > OUTSTANDING_BYTES_MAX);
}

static bool talk(struct putting *p, struct err *err)
{
    for (p->more = true; p->more;) {
        if (!(is_full(p) ? take_results(p, err) : send_next(p, err))) {
            return false;
        }
    }
    while (p->outstanding) {
        if (!take_results(p, err)) {
            return false;
        }
    }
    return rpc_finish(p->call, err);
}

bool chartmesh_put_stream(struct chartmesh *node, const struct chartmesh_putter *putter,
                          const struct chartmesh_call *call, struct err *err)
{
    struct call_options options;
    struct putting p = {.putter = putter};
    call_options_fill(node, call, false, &options);
    bool ok = rpc_start(node->channel, "/chartmesh.v1.Records/PutStream",
                        &chartmesh__v1__put_stream_reply__descriptor, &options.rpc, &p.call, err) &&
              talk(&p, err);
    rpc_call_free(p.call);
    return ok || call_failed(node, err);
}
