/* Records.Upload: content of any size, in pieces, that goes on after a break.
 *
 * Whole chunks are committed as they come, together with one row that says how far it is and holds the running
 * trees. So an upload resumes at a chunk's boundary, also after the node was restarted. Chunks of an unfinished
 * upload are sealed by a key that no version names. The finished one is answered again to the same upload id, as
 * an idempotency key would be.
 */
#include "node/service/upload_row.h"

#include "proto/base/reader.h"
#include "proto/crypto/hash.h"

#define PURGED "what had come was purged: begin with another id"

struct upload {
    struct service_call *call;
    const Chartmesh__V1__UploadHeader *header;
    struct subject subject;
    struct id who;
    struct upload_key key;
    struct upload_state at;
    struct chart_content content;
    bool begun, drawn;                   /* its row is there; content and salt are drawn */
    uint8_t *part;                       /* what is not a whole chunk yet */
    size_t part_len;
};

static bool broken(struct err *err, const char *why)
{
    return err_raise_field(err, REASON(UPLOAD_BROKEN), "piece", "upload: %s", why);
}

/* ---- The header ------------------------------------------------------------------------------------------------------ */

static bool header_check(struct upload *u, struct err *err)
{
    const Chartmesh__V1__UploadHeader *h = u->header;
    struct id id;
    if (!field_id(h->upload, "header.upload", &id, err) ||
        !service_subject(u->call, h->subject, "header.subject", &u->subject, err) ||
        (h->document.len && !field_id(h->document, "header.document", &u->at.document, err)) ||
        !facts_check(u->call, h->facts, err) || !field_import_key(h->import_key, err)) {
        return false;
    }
    if (h->length > CONTENT_MAX) {
        return err_raise_field(err, REASON(TOO_LARGE), "header.length", "header.length: at most 16 GiB");
    }
    Chartmesh__V1__UploadHeader same = *h;
    struct bytes packed;
    same.n_if_heads = 0; /* may be read anew before the upload goes on */
    same.if_heads = NULL;
    if (!message_pack(&same.base, u->call->arena, &packed, err)) {
        return false;
    }
    u->at.same = hash_of(packed);
    u->at.length = h->length;
    u->at.p = u->subject.p;
    u->call->retry = retry_name(u->call, "Records.Upload", BYTES_OF(id));
    u->call->request = u->at.same;
    u->who = upload_who(u->call);
    u->key = upload_key(&u->who, &u->call->retry);
    return true;
}

static bool receive(struct upload *u, const Chartmesh__V1__UploadRequest **out, struct err *err)
{
    const ProtobufCMessage *message;
    if (!u->call->stream->recv(u->call->stream->context, &message, err)) {
        return false;
    }
    *out = (const void *)message;
    return true;
}

/* The header lives as long as the call, the stream's message does not. */
static bool header_keep(struct upload *u, const Chartmesh__V1__UploadRequest *first, struct err *err)
{
    struct bytes packed;
    ProtobufCMessage *copy;
    if (!first || first->part_case != CHARTMESH__V1__UPLOAD_REQUEST__PART_HEADER) {
        return err_raise_field(err, REASON(FIELD_MISSING), "header", "upload: begins with its header");
    }
    if (!message_pack(&first->header->base, u->call->arena, &packed, err) ||
        !message_unpack(&chartmesh__v1__upload_header__descriptor, packed, u->call->arena, &copy, err)) {
        return false;
    }
    u->header = (const void *)copy;
    return true;
}

/* Heads are checked before the content is taken, and again when it is all here. */
static bool admit(struct upload *u, struct err *err)
{
    struct write w;
    const Chartmesh__V1__UploadHeader *h = u->header;
    bool by_heads = h->n_if_heads || !h->import_key || h->document.len;
    if (!write_begin(u->call, &u->subject, &u->at.document, &w, err)) {
        return false;
    }
    bool ok = !by_heads || write_on_heads(&w, h->if_heads, h->n_if_heads, err);
    write_end(&w);
    return ok;
}

/* ---- What one principal may leave unfinished ------------------------------------------------------------------------ */

struct room {
    uint64_t open, bytes;
};

static bool count_room(void *context, const struct upload_key *key, const struct upload_state *state, bool *stop,
                       struct err *err)
{
    struct room *room = context;
    (void)key;
    (void)stop;
    (void)err;
    room->open++;
    room->bytes += state->length;
    return true;
}

/* A new one needs room among those of its principal; a small one that comes whole leaves nothing, and needs none.
 */
static bool room(struct upload *u, struct err *err)
{
    struct room now = {0};
    const struct config *config = u->call->service->config;
    if (u->at.length <= CHUNK_LEN) {
        return true;
    }
    if (!upload_each(u->call->service, &u->who, count_room, &now, err)) {
        return false;
    }
    if (now.open < config->max_uploads && now.bytes + u->at.length <= config->upload_bytes) {
        return true;
    }
    u->call->service->uploads.refused++;
    return err_raise_reason(
        err, ERR_TOO_MUCH, REASON(OVERLOADED),
        "upload: %ju of this application are not finished, %ju bytes long: finish or abort some",
        (uintmax_t)now.open, (uintmax_t)now.bytes);
}

static bool resume(struct upload *u, struct err *err)
{
    struct upload_state now;
    bool found;
    if (!upload_get(u->call->service, &u->key, &now, &found, err)) {
        return false;
    }
    if (!found) {
        return room(u, err);
    }
    if (!hash_equal(&now.same, &u->at.same)) {
        return err_raise_field(err, REASON(UPLOAD_BROKEN), "header.upload",
                               "upload: this id was begun with another header");
    }
    u->at = now;
    u->begun = u->drawn = true;
    if (chart_content_load(u->call->service->chart, &u->subject.p, &now.content, &u->content, err)) {
        return true;
    }
    return err->code == ERR_NOT_FOUND ? broken(err, PURGED) : false;
}

/* ---- The pieces ------------------------------------------------------------------------------------------------------- */

static uint64_t standing(const struct upload *u)
{
    return MIN(u->at.tree.leaves << CHUNK_LOG2, u->at.length) + u->part_len;
}

/* Content and salt are drawn with the first whole chunk: a header alone leaves nothing behind. */
static bool draw(struct upload *u, struct log_txn *txn, struct err *err)
{
    if (u->drawn) {
        return true;
    }
    u->drawn = true;
    world_random(u->call->service->world, u->at.salt.bytes, HASH_LEN);
    if (!chart_content_new(u->call->service->chart, txn, &u->subject, &u->content, err)) {
        return false;
    }
    u->at.content = u->content.id;
    return true;
}

static bool chunk_put(struct upload *u, struct log_txn *txn, struct err *err)
{
    AUTO_ARENA(arena, 1 << 20);
    const struct hash no_salt = {0};
    struct bytes plain = BYTES(u->part, u->part_len), coded;
    uint64_t index = u->at.tree.leaves;
    bool last = index + 1 == content_chunks(u->at.length);
    if (!draw(u, txn, err) || !chunk_code(plain, &arena, &coded, err) ||
        !chart_content_chunk(u->call->service->chart, txn, &u->content, index, last, coded, err)) {
        return false;
    }
    struct hash leaf = chunk_leaf(&u->at.salt, index, plain), bare = chunk_leaf(&no_salt, index, plain);
    content_tree_add(&u->at.tree, &leaf);
    content_tree_add(&u->at.import, &bare);
    u->part_len = 0;
    return true;
}

/* Another stream of the same upload may have gone on meanwhile, or it was aborted: whoever is behind that stops. A
 * purge may have taken the key of what had come: nothing would open what is added to that. */
static bool still_ours(struct upload *u, struct err *err)
{
    struct upload_state now;
    struct chart_content content;
    bool found;
    if (!upload_get(u->call->service, &u->key, &now, &found, err)) {
        return false;
    }
    bool same = found ? now.tree.leaves == u->at.tree.leaves && id_equal(&now.content, &u->content.id) : !u->begun;
    if (!same || !found) {
        return same || broken(err, found ? "another stream goes on with it" : "it was aborted");
    }
    if (!chart_content_load(u->call->service->chart, &u->subject.p, &now.content, &content, err)) {
        return err->code == ERR_NOT_FOUND ? broken(err, PURGED) : false;
    }
    secret_wipe(&content.keys, sizeof content.keys);
    return true;
}

static bool take_bytes(struct upload *u, struct log_txn *txn, struct bytes data, struct err *err)
{
    struct reader r = reader_of(data);
    while (r.left.len) {
        size_t wanted = chunk_length(u->at.length, u->at.tree.leaves) - u->part_len;
        struct bytes some = read_bytes(&r, MIN(wanted, r.left.len));
        memcpy(u->part + u->part_len, some.data, some.len);
        u->part_len += some.len;
        if (some.len == wanted && !chunk_put(u, txn, err)) {
            return false;
        }
    }
    return true;
}

static bool piece_commit(struct upload *u, struct bytes data, struct err *err)
{
    struct log_txn *txn = log_txn_new(u->call->service->log);
    uint64_t before = u->at.tree.leaves;
    bool ok = still_ours(u, err) && take_bytes(u, txn, data, err);
    if (ok && u->at.tree.leaves != before) {
        ok = upload_put(u->call->service, txn, &u->key, &u->at, err);
        if (ok) {
            u->call->service->uploads.begun += !u->begun;
            u->begun = true;
            return log_commit(txn, NULL, err);
        }
    }
    log_txn_free(txn);
    return ok;
}

static bool piece_locked(struct upload *u, struct bytes data, struct err *err)
{
    chart_lock(u->call->service->chart, &u->subject.p);
    bool ok = piece_commit(u, data, err);
    chart_unlock(u->call->service->chart, &u->subject.p);
    return ok;
}

/* Whether there is room is asked once more, one after the other for each principal: many may have begun at once.
 */
static bool piece_first(struct upload *u, struct bytes data, struct err *err)
{
    struct hash who = hash_of(BYTES_OF(u->who));
    chart_request_lock(u->call->service->chart, &who);
    bool ok = room(u, err) && piece_locked(u, data, err);
    chart_request_unlock(u->call->service->chart, &who);
    return ok;
}

static bool piece(struct upload *u, const Chartmesh__V1__UploadRequest *request, struct err *err)
{
    if (request->part_case != CHARTMESH__V1__UPLOAD_REQUEST__PART_PIECE) {
        return broken(err, "a second header, or nothing");
    }
    struct bytes data = bytes_pb(request->piece->data);
    if (data.len > SERVICE_PIECE_MAX) {
        return err_raise_field(err, REASON(TOO_LARGE), "piece.data", "piece.data: at most %d bytes",
                               SERVICE_PIECE_MAX);
    }
    if (request->piece->offset != standing(u)) {
        return broken(err, "this piece is not the next one");
    }
    if (data.len == 0 || data.len > u->at.length - standing(u)) {
        return broken(err, data.len ? "it goes beyond the length of its header" : "an empty piece");
    }
    return u->begun ? piece_locked(u, data, err) : piece_first(u, data, err);
}

static bool pieces(struct upload *u, struct err *err)
{
    const Chartmesh__V1__UploadRequest *request;
    while (standing(u) < u->at.length) {
        if (!receive(u, &request, err)) {
            return false;
        }
        if (!request) {
            return broken(err, "it ends before its length: go on with the same id");
        }
        if (!piece(u, request, err)) {
            return false;
        }
    }
    return true;
}

/* ---- The end ----------------------------------------------------------------------------------------------------------- */

static bool finish_content(struct upload *u, struct write *w, struct err *err)
{
    if (u->at.length == 0) {
        return write_content(w, BYTES_NONE, err);
    }
    w->content = u->content;
    w->meta =
        (struct content_meta){.salt = u->at.salt, .root = content_tree_root(&u->at.tree), .length = u->at.length};
    upload_forget(w->txn, &u->key);
    return chart_content_meta(u->call->service->chart, w->txn, &w->content, &w->document, &w->meta, err);
}

static bool finish_write(struct upload *u, struct write *w, Chartmesh__V1__PutReply *out, struct err *err)
{
    const Chartmesh__V1__UploadHeader *h = u->header;
    struct hash root = content_tree_root(&u->at.import);
    struct hash import =
        u->at.length ? import_hash_of(u->call, &root, u->at.length) : import_hash_content(u->call, BYTES_NONE);
    bool same, by_heads = h->n_if_heads || !h->import_key || h->document.len;
    if ((by_heads && !write_on_heads(w, h->if_heads, h->n_if_heads, err)) ||
        !write_imported(w, h->import_key, &import, &same, out, err)) {
        return false;
    }
    if (same) {
        struct log_txn *txn = w->txn;
        if (u->begun && !upload_drop(u->call->service, txn, &u->key, &u->at, err)) {
            return false;
        }
        w->txn = NULL;
        return service_commit(u->call, txn, &out->base, &out->receipt, err);
    }
    return finish_content(u, w, err) && write_commit(w, h->facts, out, err);
}

/* Two streams may both have found nothing kept when they began: the second one to end here is answered as the
 * first was. */
static bool finish_locked(struct upload *u, Chartmesh__V1__PutReply *out, struct err *err)
{
    ProtobufCMessage *before;
    struct write w;
    bool found;
    if (!retry_find(u->call, &chartmesh__v1__put_reply__descriptor, &found, &before, err)) {
        return false;
    }
    if (found) {
        *out = *(Chartmesh__V1__PutReply *)(void *)before;
        return true;
    }
    if (!still_ours(u, err) || !write_begin(u->call, &u->subject, &u->at.document, &w, err)) {
        return false;
    }
    bool ok = finish_write(u, &w, out, err);
    write_end(&w);
    return ok;
}

static bool finish(struct upload *u, Chartmesh__V1__PutReply *out, struct err *err)
{
    chart_lock(u->call->service->chart, &u->subject.p);
    bool ok = finish_locked(u, out, err);
    chart_unlock(u->call->service->chart, &u->subject.p);
    u->call->service->uploads.finished += ok;
    return ok;
}

static bool answer(struct upload *u, uint64_t offset, Chartmesh__V1__PutReply *done, struct err *err)
{
    Chartmesh__V1__UploadReply reply = CHARTMESH__V1__UPLOAD_REPLY__INIT;
    reply.offset = offset;
    reply.done = done;
    return u->call->stream->send(u->call->stream->context, &reply.base, err);
}

static bool run(struct upload *u, struct err *err)
{
    const Chartmesh__V1__UploadRequest *first;
    Chartmesh__V1__PutReply done = CHARTMESH__V1__PUT_REPLY__INIT;
    ProtobufCMessage *before;
    void *memory;
    bool found;
    if (!receive(u, &first, err) || !header_keep(u, first, err) || !header_check(u, err) ||
        !retry_find(u->call, &chartmesh__v1__put_reply__descriptor, &found, &before, err)) {
        return false;
    }
    if (found) {
        return answer(u, u->at.length, (Chartmesh__V1__PutReply *)(void *)before, err);
    }
    if (!arena_alloc(u->call->arena, CHUNK_LEN, &memory, err) || !admit(u, err) || !resume(u, err)) {
        return false;
    }
    u->part = memory;
    return answer(u, standing(u), NULL, err) && pieces(u, err) && finish(u, &done, err) &&
           answer(u, u->at.length, &done, err);
}

bool records_upload(struct service_call *call, const ProtobufCMessage *in, struct err *err)
{
    struct upload u = {.call = call};
    (void)in;
    bool ok = run(&u, err);
    secret_wipe(&u.content.keys, sizeof u.content.keys);
    return ok;
}
