#include "client/lib/internal.h"

#include <stdlib.h>

struct watch {
    struct chartmesh *node;
    const struct chartmesh_watcher *watcher;
    Chartmesh__V1__WatchRequest request;         /* its token moves on */
    uint8_t *token;                              /* the newest, ours */
    bool stop;
};

static bool keep_token(struct watch *watch, struct bytes token, struct err *err)
{
    if (token.len == 0) {
        return true;
    }
    uint8_t *copy = realloc(watch->token, token.len);
    if (!copy) {
        return err_raise(err, ERR_TOO_MUCH, "watch: no memory");
    }
    memcpy(copy, token.data, token.len);
    watch->token = copy;
    watch->request.resume_token = pb_bytes(BYTES(copy, token.len));
    return true;
}

static bool receive(struct watch *watch, struct rpc_call *call, unsigned *attempt, struct err *err)
{
    if (!rpc_send(call, &watch->request.base, err) || !rpc_end_sending(call, err)) {
        return false;
    }
    while (!watch->stop) {
        const ProtobufCMessage *message;
        if (!rpc_recv(call, &message, err)) {
            return false;
        }
        if (!message) {
            return rpc_finish(call, err) && err_raise(err, ERR_UNAVAILABLE, "watch: the node ended it");
        }
        const Chartmesh__V1__WatchEvent *event = (const void *)message;
        if (!watch->watcher->each(watch->watcher->context, event, &watch->stop, err) ||
            !keep_token(watch, bytes_pb(event->resume_token), err)) {
            return false;
        }
        *attempt = 0;
    }
    return true;
}

static bool attempt_once(struct watch *watch, const struct call_options *options, unsigned *attempt,
                         struct err *err)
{
    struct rpc_call *call = NULL;
    bool ok = rpc_start(watch->node->channel, "/chartmesh.v1.Records/Watch",
                        &chartmesh__v1__watch_event__descriptor, &options->rpc, &call, err) &&
              receive(watch, call, attempt, err);
    rpc_call_free(call);
    return ok;
}

bool chartmesh_watch(struct chartmesh *node, const Chartmesh__V1__WatchRequest *request,
                     const struct chartmesh_watcher *watcher, const struct chartmesh_call *call, struct err *err)
{
    struct call_options options;
    struct watch watch = {.node = node, .watcher = watcher, .request = *request};
    call_options_fill(node, call, false, &options);
    unsigned attempt = 0;
    bool ok;
    do {
        ok = attempt_once(&watch, &options, &attempt, err);
        if (!ok && err->code == ERR_UNAVAILABLE && attempt == 0 && watcher->lost) {
            watcher->lost(watcher->context, err);
        }
    } while (!ok && !watch.stop && call_again(err, &attempt, 0));
    free(watch.token);
    return ok || call_failed(node, err);
}
