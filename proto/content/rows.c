/* Content at rest (formats 8): every seal has a key of its own per content and a random nonce. */
#include "proto/base/builder.h"
#include "proto/base/reader.h"
#include "proto/content/content.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/seal.h"

enum { AAD_MAX = 128, META_LEN = HASH_LEN + 8 + HASH_LEN };

void content_keys_derive(const struct hash *dek, const struct id *content_id, struct content_keys *out)
{
    hkdf_sha256(BYTES_OF(*dek), BYTES_OF(*content_id), BYTES_LIT("chartmesh content key v1\n"), out->content.bytes,
                HASH_LEN);
    hkdf_sha256(BYTES_OF(*dek), BYTES_OF(*content_id), BYTES_LIT("chartmesh header key v1\n"), out->header.bytes,
                HASH_LEN);
}

static void chunk_aad(struct builder *aad, const struct id *content_id, uint64_t index, bool last)
{
    build_bytes(aad, BYTES_LIT("chartmesh chunk seal v1\n"));
    build_bytes(aad, BYTES_OF(*content_id));
    build_u64be(aad, index);
    build_u8(aad, last);
}

bool chunk_seal(const struct content_keys *keys, const struct id *content_id, uint64_t index, bool last,
                struct bytes coded, struct arena *arena, struct bytes *out, struct err *err)
{
    AUTO_BUILDER(aad, AAD_MAX);
    chunk_aad(&aad, content_id, index, last);
    return seal_random(&keys->content, builder_view(&aad), coded, arena, out, err) || err_wrap(err, "chunk");
}

bool chunk_open(const struct content_keys *keys, const struct id *content_id, uint64_t index, bool last,
                struct bytes sealed, struct arena *arena, struct bytes *coded, struct err *err)
{
    AUTO_BUILDER(aad, AAD_MAX);
    chunk_aad(&aad, content_id, index, last);
    return seal_open(&keys->content, builder_view(&aad), sealed, arena, coded, err) || err_wrap(err, "chunk");
}

static void meta_aad(struct builder *aad, const struct id *content_id)
{
    build_bytes(aad, BYTES_LIT("chartmesh content meta v1\n"));
    build_bytes(aad, BYTES_OF(*content_id));
}

bool meta_seal(const struct content_keys *keys, const struct id *content_id, const struct content_meta *meta,
               struct arena *arena, struct bytes *out, struct err *err)
{
    AUTO_BUILDER(aad, AAD_MAX);
    meta_aad(&aad, content_id);
    uint8_t plain[META_LEN];
    memcpy(plain, meta->salt.bytes, HASH_LEN);
    put_u64be(plain + HASH_LEN, meta->length);
    memcpy(plain + HASH_LEN + 8, meta->root.bytes, HASH_LEN);
    bool ok = seal_random(&keys->content, builder_view(&aad), BYTES(plain, sizeof plain), arena, out, err);
    secret_wipe(plain, sizeof plain);
    return ok || err_wrap(err, "content meta");
}

bool meta_open(const struct content_keys *keys, const struct id *content_id, struct bytes row, struct arena *arena,
               struct content_meta *out, struct err *err)
{
    AUTO_BUILDER(aad, AAD_MAX);
    meta_aad(&aad, content_id);
    struct bytes plain;
    if (!seal_open(&keys->content, builder_view(&aad), row, arena, &plain, err)) {
        return err_wrap(err, "content meta");
    }
    struct reader r = reader_of(plain);
    struct content_meta meta;
    meta.salt = read_hash(&r);
    meta.length = read_u64be(&r);
    meta.root = read_hash(&r);
    if (!reader_end(&r)) {
        return err_raise(err, ERR_CORRUPT, "content meta: %zu bytes", plain.len);
    }
    *out = meta;
    return true;
}

bool header_seal(const struct content_keys *keys, const struct id *content_id, uint8_t flags,
                 const struct hash *version, struct bytes envelope, struct arena *arena, struct bytes *out,
                 struct err *err)
{
    void *memory;
    size_t len = ID_LEN + 1 + NONCE_LEN + envelope.len + TAG_LEN;
    if (!arena_alloc(arena, len, &memory, err)) {
        return err_wrap(err, "header row");
    }
    struct bytes sealed;
    if (!seal_random(&keys->header, BYTES_OF(*version), envelope, arena, &sealed, err)) {
        return err_wrap(err, "header row");
    }
    uint8_t *row = memory;
    memcpy(row, content_id->bytes, ID_LEN);
    row[ID_LEN] = flags;
    memcpy(row + ID_LEN + 1, sealed.data, sealed.len);
    *out = BYTES(row, len);
    return true;
}

bool header_row_content(struct bytes row, struct id *content_id, uint8_t *flags, struct err *err)
{
    struct reader r = reader_of(row);
    struct id id = read_id(&r);
    uint8_t bits = read_u8(&r);
    if (!r.ok) {
        return err_raise(err, ERR_CORRUPT, "header row: %zu bytes", row.len);
    }
    *content_id = id;
    *flags = bits;
    return true;
}

bool header_open(const struct content_keys *keys, const struct hash *version, struct bytes row,
                 struct arena *arena, struct bytes *envelope, struct err *err)
{
    struct reader r = reader_of(row);
    read_bytes(&r, ID_LEN + 1);
    if (!r.ok) {
        return err_raise(err, ERR_CORRUPT, "header row: %zu bytes", row.len);
    }
    return seal_open(&keys->header, BYTES_OF(*version), r.left, arena, envelope, err) ||
           err_wrap(err, "header row");
}
