#include "node/service/upload_row.h"

#include "proto/base/builder.h"
#include "proto/base/reader.h"
#include "proto/crypto/seal.h"

enum { ROW_MAX = 4096 };
#define TREE_PEAKS COUNT(((struct content_tree *)0)->peaks)

struct id upload_who(const struct service_call *call)
{
    struct id who;
    struct hash name = retry_name(call, "Records.Upload of", BYTES_NONE);
    memcpy(who.bytes, name.bytes, ID_LEN);
    return who;
}

struct upload_key upload_key(const struct id *who, const struct hash *name)
{
    struct upload_key key = {{'u'}};
    memcpy(key.bytes + 1, who->bytes, ID_LEN);
    memcpy(key.bytes + 1 + ID_LEN, name->bytes, HASH_LEN);
    return key;
}

static size_t peaks_of(uint64_t leaves)
{
    size_t peaks = 0;
    for (; leaves; leaves &= leaves - 1) {
        peaks++;
    }
    return MIN(peaks, TREE_PEAKS);
}

bool upload_put(struct service *service, struct log_txn *txn, const struct upload_key *key,
                struct upload_state *state, struct err *err)
{
    struct bytes sealed;
    AUTO_ARENA(arena, 64 << 10);
    AUTO_BUILDER(b, ROW_MAX);
    state->touched_ms = world_now_ms(service->world);
    build_bytes(&b, BYTES_OF(state->same));
    build_bytes(&b, BYTES_OF(state->document));
    build_bytes(&b, BYTES_OF(state->content));
    build_bytes(&b, BYTES_OF(state->p));
    build_bytes(&b, BYTES_OF(state->salt));
    build_u64be(&b, state->touched_ms);
    build_u64be(&b, state->length);
    build_u64be(&b, state->tree.leaves);
    for (size_t i = 0; i < peaks_of(state->tree.leaves); i++) {
        build_bytes(&b, BYTES_OF(state->tree.peaks[i]));
        build_bytes(&b, BYTES_OF(state->import.peaks[i]));
    }
    if (!seal_random(keys_facility(service->keys, FACILITY_KEY_INDEX), BYTES_OF(*key), builder_view(&b), &arena,
                     &sealed, err)) {
        return false;
    }
    store_put(log_txn_rows(txn), FAMILY_META, BYTES_OF(*key), sealed);
    return store_batch_check(log_txn_rows(txn), err);
}

static bool row_open(struct service *service, const struct upload_key *key, struct bytes sealed,
                     struct upload_state *out, struct err *err)
{
    AUTO_ARENA(arena, 64 << 10);
    struct bytes plain;
    if (!seal_open(keys_facility(service->keys, FACILITY_KEY_INDEX), BYTES_OF(*key), sealed, &arena, &plain,
                   err)) {
        return err_wrap(err, "upload");
    }
    struct reader r = reader_of(plain);
    *out = (struct upload_state){0};
    out->same = read_hash(&r);
    out->document = read_id(&r);
    out->content = read_id(&r);
    out->p = read_id(&r);
    out->salt = read_hash(&r);
    out->touched_ms = read_u64be(&r);
    out->length = read_u64be(&r);
    out->tree.leaves = out->import.leaves = read_u64be(&r);
    for (size_t i = 0; i < peaks_of(out->tree.leaves); i++) {
        out->tree.peaks[i] = read_hash(&r);
        out->import.peaks[i] = read_hash(&r);
    }
    return reader_end(&r) || err_raise(err, ERR_CORRUPT, "upload: a row of %zu bytes", plain.len);
}

bool upload_get(struct service *service, const struct upload_key *key, struct upload_state *out, bool *found,
                struct err *err)
{
    AUTO_ARENA(arena, 64 << 10);
    struct bytes sealed;
    *found = false;
    if (!store_get(service->store, NULL, FAMILY_META, BYTES_OF(*key), &arena, &sealed, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    *found = row_open(service, key, sealed, out, err);
    return *found;
}

void upload_forget(struct log_txn *txn, const struct upload_key *key)
{
    store_delete(log_txn_rows(txn), FAMILY_META, BYTES_OF(*key));
}

bool upload_drop(struct service *service, struct log_txn *txn, const struct upload_key *key,
                 const struct upload_state *state, struct err *err)
{
    upload_forget(txn, key);
    return chart_content_drop(service->chart, txn, &state->p, &state->content, err);
}

bool upload_each(struct service *service, const struct id *who, upload_fn fn, void *context, struct err *err)
{
    struct upload_key prefix = {{'u'}};
    if (who) {
        memcpy(prefix.bytes + 1, who->bytes, ID_LEN);
    }
    const struct store_span span = {.prefix = BYTES(prefix.bytes, who ? 1 + ID_LEN : 1)};
    AUTO_STORE_ITER iter = NULL;
    if (!store_iter_open(service->store, NULL, FAMILY_META, &span, &iter, err)) {
        return false;
    }
    for (bool stop = false; !stop && store_iter_next(iter);) {
        struct bytes found = store_iter_key(iter);
        struct upload_key key;
        struct upload_state state;
        if (found.len != sizeof key.bytes) {
            return err_raise(err, ERR_CORRUPT, "upload: a key of %zu bytes", found.len);
        }
        memcpy(key.bytes, found.data, sizeof key.bytes);
        if (!row_open(service, &key, store_iter_value(iter), &state, err) ||
            !fn(context, &key, &state, &stop, err)) {
            return false;
        }
    }
    return store_iter_check(iter, err);
}
