#include "client/lib/internal.h"

#include <stdlib.h>

#include "proto/content/content.h"

/* Content as it comes, held against its root chunk by chunk. */
struct check {
    bool on;                 /* all content from the first byte on is seen */
    struct hash salt;
    struct content_tree tree;
    uint8_t chunk[CHUNK_LEN];
    size_t have;
};

struct download {
    struct chartmesh *node;
    Chartmesh__V1__DownloadRequest request;      /* its offset moves on */
    uint64_t end;                                /* where it ends; known after the first message */
    const struct chartmesh_sink *sink;
    const struct chartmesh_source *before;
    const struct trust *trust;
    struct arena *arena;
    struct chartmesh_version *version;
    bool started;
    bool whole;                                  /* asked for to the end */
    struct check check;
};

static void check_add(struct check *check, struct bytes piece)
{
    while (check->on && piece.len) {
        size_t take = MIN(piece.len, sizeof check->chunk - check->have);
        memcpy(check->chunk + check->have, piece.data, take);
        check->have += take;
        piece = BYTES(piece.data + take, piece.len - take);
        if (check->have == sizeof check->chunk) {
            struct hash leaf = chunk_leaf(&check->salt, check->tree.leaves, BYTES(check->chunk, check->have));
            content_tree_add(&check->tree, &leaf);
            check->have = 0;
        }
    }
}

static bool check_end(struct check *check, const Chartmesh__V1__Version *version, struct err *err)
{
    if (check->have) {
        struct hash leaf = chunk_leaf(&check->salt, check->tree.leaves, BYTES(check->chunk, check->have));
        content_tree_add(&check->tree, &leaf);
    }
    struct hash root = content_tree_root(&check->tree);
    struct hash commitment = content_commitment(&check->salt, version->length, &root);
    return bytes_equal(bytes_pb(version->commitment), BYTES_OF(commitment)) ||
           err_raise(err, ERR_CORRUPT, "download: the content is not what was signed");
}

/* The bytes that were received at another time. */
static bool check_before(struct download *down, struct err *err)
{
    uint8_t piece[16 << 10];
    for (uint64_t at = 0; at < down->request.offset;) {
        size_t len = (size_t)MIN(sizeof piece, down->request.offset - at);
        if (!down->before->read(down->before->context, at, piece, len, err)) {
            return false;
        }
        check_add(&down->check, BYTES(piece, len));
        at += len;
    }
    return true;
}

/* The message's memory ends with the next one: what is kept is the statement, read anew into the caller's arena.
 */
static bool begin(struct download *down, const Chartmesh__V1__VersionView *view, struct err *err)
{
    if (!view) {
        return err_raise(err, ERR_CORRUPT, "download: it does not begin with the version");
    }
    if (!chartmesh_version_check(view, down->trust, down->arena, down->version, err)) {
        return false;
    }
    if (!bytes_equal(bytes_pb(down->request.version), BYTES_OF(down->version->id))) {
        return err_raise(err, ERR_CORRUPT, "download: another version than was asked for");
    }
    uint64_t length = down->version->message->length;
    if (down->request.offset > length) {
        return err_raise(err, ERR_RANGE, "download: the content has %llu bytes", (unsigned long long)length);
    }
    down->whole = down->request.length == 0 || down->request.length >= length - down->request.offset;
    down->end = down->whole ? length : down->request.offset + down->request.length;
    down->check.on = down->whole && (down->request.offset == 0 || down->before) &&
                     hash_from(bytes_pb(view->salt), &down->check.salt);
    down->started = true;
    return !down->check.on || check_before(down, err);
}

static bool take(struct download *down, const Chartmesh__V1__DownloadReply *reply, struct err *err)
{
    if (!down->started && !begin(down, reply->version, err)) {
        return false;
    }
    struct bytes piece = bytes_pb(reply->data);
    if (piece.len == 0) {
        return true;
    }
    if (reply->offset != down->request.offset || piece.len > down->end - down->request.offset) {
        return err_raise(err, ERR_CORRUPT, "download: a piece from another place");
    }
    if (!down->sink->write(down->sink->context, reply->offset, piece, err)) {
        return false;
    }
    check_add(&down->check, piece);
    down->request.offset += piece.len;
    if (down->sink->progress) {
        down->sink->progress(down->sink->context, down->request.offset, down->end);
    }
    return true;
}

static bool receive(struct download *down, struct rpc_call *call, unsigned *attempt, struct err *err)
{
    if (down->started && !down->whole) {
        down->request.length = down->end - down->request.offset;
    }
    if (!rpc_send(call, &down->request.base, err) || !rpc_end_sending(call, err)) {
        return false;
    }
    for (const ProtobufCMessage *message;;) {
        if (!rpc_recv(call, &message, err)) {
            return false;
        }
        if (!message) {
            return rpc_finish(call, err);
        }
        if (!take(down, (const void *)message, err)) {
            return false;
        }
        *attempt = 0;
    }
}

static bool attempt_once(struct download *down, const struct call_options *options, unsigned *attempt,
                         struct err *err)
{
    struct rpc_call *call = NULL;
    bool ok = rpc_start(down->node->channel, "/chartmesh.v1.Records/Download",
                        &chartmesh__v1__download_reply__descriptor, &options->rpc, &call, err) &&
              receive(down, call, attempt, err);
    rpc_call_free(call);
    return ok;
}

static bool finish(struct download *down, struct err *err)
{
    if (!down->started || down->request.offset != down->end) {
        return err_raise(err, ERR_CORRUPT, "download: it ended before its end");
    }
    down->version->content_checked = down->check.on;
    return !down->check.on || check_end(&down->check, down->version->message, err);
}

bool chartmesh_download(struct chartmesh *node, const Chartmesh__V1__DownloadRequest *request,
                        const struct chartmesh_sink *sink, const struct chartmesh_source *before,
                        const struct trust *trust, const struct chartmesh_call *call, struct arena *arena,
                        struct chartmesh_version *version, struct err *err)
{
    struct call_options options;
    call_options_fill(node, call, false, &options);
    struct download *down = calloc(1, sizeof *down);
    if (!down) {
        return err_raise(err, ERR_TOO_MUCH, "download: no memory");
    }
    *down = (struct download){.node = node,
                              .request = *request,
                              .sink = sink,
                              .before = before,
                              .trust = trust,
                              .arena = arena,
                              .version = version};
    unsigned attempt = 0;
    bool ok;
    do {
        ok = attempt_once(down, &options, &attempt, err);
    } while (!ok && call_again(err, &attempt, ATTEMPTS));
    ok = ok && finish(down, err);
    free(down);
    return ok || call_failed(node, err);
}
