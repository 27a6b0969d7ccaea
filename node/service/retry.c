/* Replies that are kept, so that a retry is answered with what was answered before.
 *
 * FAMILY_META  "r" name       sealed: ms, hash of the request, packed reply without its receipt
 *              "R" name       index of the act's first entry: of it the receipt is made again
 *              "t" ms name    when, for taking old ones away: see forget_old */

#include "node/service/service_inside.h"

#include "proto/base/builder.h"
#include "proto/base/reader.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/seal.h"

struct retry_row {
    uint8_t bytes[1 + 8 + HASH_LEN];
    size_t len;
};

static struct retry_row retry_row(char letter, struct bytes a, struct bytes b)
{
    struct retry_row row = {.bytes = {(uint8_t)letter}, .len = 1};
    memcpy(row.bytes + row.len, a.data, a.len);
    row.len += a.len;
    if (b.len) {
        memcpy(row.bytes + row.len, b.data, b.len);
        row.len += b.len;
    }
    return row;
}

static struct bytes row_view(const struct retry_row *row)
{
    return BYTES(row->bytes, row->len);
}

struct hash retry_name(const struct service_call *call, const char *method, struct bytes key)
{
    struct hash who = hash_of(bytes_str(call->caller.principal)), what = hash_of(bytes_str(method));
    struct hash all = HASH_PARTS(BYTES_LIT("chartmesh retry v1\n"), BYTES_OF(who), BYTES_OF(what), key);
    return hmac_sha256(BYTES_OF(*keys_facility(call->service->keys, FACILITY_KEY_INDEX)), BYTES_OF(all));
}

/* A reply's receipt, whatever its type. */
static ProtobufCBinaryData *receipt_of(ProtobufCMessage *reply)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(reply->descriptor, "receipt");
    return field ? (ProtobufCBinaryData *)(void *)((char *)reply + field->offset) : NULL;
}

static bool receipt_again(struct service_call *call, ProtobufCBinaryData *receipt, struct err *err)
{
    struct retry_row row = retry_row('R', BYTES_OF(call->retry), BYTES_NONE);
    struct bytes value;
    void *room;
    if (!store_get(call->service->store, NULL, FAMILY_META, row_view(&row), call->arena, &value, err)) {
        return err->code == ERR_NOT_FOUND; /* the act had no entry: nothing was done */
    }
    struct reader r = reader_of(value);
    uint64_t index = read_u64be(&r);
    if (!reader_end(&r)) {
        return err_raise(err, ERR_CORRUPT, "kept reply: an index of %zu bytes", value.len);
    }
    if (!arena_alloc(call->arena, RECEIPT_LEN, &room, err)) {
        return false;
    }
    gate_receipt(call->service->gate, &call->caller, index, room);
    *receipt = pb_bytes(BYTES(room, RECEIPT_LEN));
    return true;
}

bool retry_find(struct service_call *call, const ProtobufCMessageDescriptor *type, bool *found,
                ProtobufCMessage **out, struct err *err)
{
    struct retry_row row = retry_row('r', BYTES_OF(call->retry), BYTES_NONE);
    struct bytes sealed, plain;
    *found = false;
    if (!store_get(call->service->store, NULL, FAMILY_META, row_view(&row), call->arena, &sealed, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    if (!seal_open(keys_facility(call->service->keys, FACILITY_KEY_INDEX), row_view(&row), sealed, call->arena,
                   &plain, err)) {
        return err_wrap(err, "kept reply");
    }
    struct reader r = reader_of(plain);
    read_u64be(&r);
    struct hash request = read_hash(&r);
    if (!r.ok) {
        return err_raise(err, ERR_CORRUPT, "kept reply: a row of %zu bytes", plain.len);
    }
    if (!hash_equal(&request, &call->request)) {
        return err_raise_reason(err, ERR_CONFLICT, REASON(IDEMPOTENCY_REUSED),
                                "idempotency key: it was used with another request");
    }
    if (!message_unpack(type, r.left, call->arena, out, err)) {
        return err_wrap(err, "kept reply");
    }
    ProtobufCBinaryData *receipt = receipt_of(*out);
    *found = true;
    return !receipt || receipt_again(call, receipt, err);
}

/* Each commit that keeps a reply takes away two. Of many that are under way at once every one sees the same old
 * rows: there one of 32 takes away 128. */
static int forget_at_once(const struct service_call *call)
{
    enum { AT_ONCE = 2, AMONG_MANY = 128, ONE_OF = 32 };
    if (!call->commit_later) {
        return AT_ONCE;
    }
    return call->retry.bytes[0] % ONE_OF == 0 ? AMONG_MANY : 0;
}

static bool forget_old(struct service_call *call, struct store_batch *rows, uint64_t now, struct err *err)
{
    const int at_once = forget_at_once(call);
    const struct store_span span = {.prefix = BYTES_LIT("t")};
    AUTO_STORE_ITER iter = NULL;
    if (!store_iter_open(call->service->store, NULL, FAMILY_META, &span, &iter, err)) {
        return false;
    }
    for (int i = 0; i < at_once && store_iter_next(iter); i++) {
        struct reader r = reader_of(store_iter_key(iter));
        read_u8(&r);
        uint64_t then = read_u64be(&r);
        struct hash name = read_hash(&r);
        if (!reader_end(&r) || then + SERVICE_REPLY_KEPT_MS > now) {
            break;
        }
        struct retry_row reply = retry_row('r', BYTES_OF(name), BYTES_NONE);
        struct retry_row index = retry_row('R', BYTES_OF(name), BYTES_NONE);
        store_delete(rows, FAMILY_META, store_iter_key(iter));
        store_delete(rows, FAMILY_META, row_view(&reply));
        store_delete(rows, FAMILY_META, row_view(&index));
    }
    return store_iter_check(iter, err);
}

static bool keep_reply(struct service_call *call, struct log_txn *txn, const ProtobufCMessage *reply,
                       struct err *err)
{
    struct bytes packed, sealed;
    uint8_t ms[8];
    uint64_t now = world_now_ms(call->service->world);
    put_u64be(ms, now);
    struct retry_row row = retry_row('r', BYTES_OF(call->retry), BYTES_NONE);
    struct retry_row when = retry_row('t', BYTES(ms, sizeof ms), BYTES_OF(call->retry));
    struct retry_row index = retry_row('R', BYTES_OF(call->retry), BYTES_NONE);
    AUTO_BUILDER(b, SERVICE_REQUEST_MAX);
    if (!message_pack(reply, call->arena, &packed, err)) {
        return false;
    }
    build_bytes(&b, BYTES(ms, sizeof ms));
    build_bytes(&b, BYTES_OF(call->request));
    build_bytes(&b, packed);
    if (!b.ok) {
        return err_raise(err, ERR_TOO_MUCH, "kept reply: %zu bytes", packed.len);
    }
    if (!seal_random(keys_facility(call->service->keys, FACILITY_KEY_INDEX), row_view(&row), builder_view(&b),
                     call->arena, &sealed, err)) {
        return false;
    }
    store_put(log_txn_rows(txn), FAMILY_META, row_view(&row), sealed);
    store_put(log_txn_rows(txn), FAMILY_META, row_view(&when), BYTES_LIT("1"));
    return forget_old(call, log_txn_rows(txn), now, err) && log_txn_mark(txn, FAMILY_META, row_view(&index), err);
}

bool service_commit(struct service_call *call, struct log_txn *txn, const ProtobufCMessage *reply,
                    ProtobufCBinaryData *receipt, struct err *err)
{
    uint64_t index;
    void *room;
    if ((!hash_is_zero(&call->retry) && !keep_reply(call, txn, reply, err)) ||
        !arena_alloc(call->arena, RECEIPT_LEN, &room, err)) {
        log_txn_free(txn);
        return false;
    }
    if (call->commit_later) {
        return call->commit_later(call, txn, err);
    }
    if (!log_commit(txn, &index, err)) {
        return false;
    }
    if (!receipt || index == UINT64_MAX) {
        return true;
    }
    gate_receipt(call->service->gate, &call->caller, index, room);
    *receipt = pb_bytes(BYTES(room, RECEIPT_LEN));
    return true;
}
