#include "proto/content/entry_row.h"

#include "proto/base/reader.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "proto/crypto/seal.h"

static const uint8_t zero_nonce[NONCE_LEN];

static struct hash outer_key(const struct hash *log_key, const struct hash *n)
{
    struct hash key;
    hkdf_sha256(BYTES_OF(*log_key), BYTES_OF(*n), BYTES_LIT("chartmesh entry outer v1\n"), key.bytes, HASH_LEN);
    return key;
}

static struct hash inner_key(const struct hash *audit_key, const struct hash *n)
{
    struct hash key;
    hkdf_sha256(BYTES_OF(*audit_key), BYTES_OF(*n), BYTES_LIT("chartmesh entry seal v1\n"), key.bytes, HASH_LEN);
    return key;
}

/* n || GCM(outer, key ref || GCM(inner, r || entry)), built from the inside in one buffer. */
bool entry_row_seal(const struct hash *log_key, const struct hash *audit_key, const struct id *key_ref,
                    const struct hash *commitment, const struct hash *r, struct bytes entry, struct arena *arena,
                    struct bytes *out, struct err *err)
{
    size_t inner_len = HASH_LEN + entry.len, outer_len = ID_LEN + inner_len + TAG_LEN;
    void *memory;
    if (!arena_alloc(arena, HASH_LEN + outer_len + TAG_LEN, &memory, err)) {
        return err_wrap(err, "entry row");
    }
    struct hash n = random_hash();
    AUTO_WIPE_HASH(outer);
    AUTO_WIPE_HASH(inner);
    outer = outer_key(log_key, &n);
    inner = inner_key(audit_key, &n);

    uint8_t *row = memory, *ref = row + HASH_LEN, *opening = ref + ID_LEN;
    memcpy(row, n.bytes, HASH_LEN);
    memcpy(ref, key_ref->bytes, ID_LEN);
    memcpy(opening, r->bytes, HASH_LEN);
    memcpy(opening + HASH_LEN, entry.data, entry.len);
    gcm_seal(&inner, zero_nonce, BYTES_OF(*commitment), BYTES(opening, inner_len), opening);
    gcm_seal(&outer, zero_nonce, BYTES_OF(*commitment), BYTES(ref, outer_len), ref);
    *out = BYTES(row, HASH_LEN + outer_len + TAG_LEN);
    return true;
}

static bool open_in_arena(const struct hash *key, const struct hash *commitment, struct bytes sealed,
                          struct arena *arena, struct bytes *out, struct err *err)
{
    void *plain;
    if (sealed.len < TAG_LEN) {
        return err_raise(err, ERR_CORRUPT, "%zu bytes", sealed.len);
    }
    if (!arena_alloc(arena, sealed.len, &plain, err) ||
        !gcm_open(key, zero_nonce, BYTES_OF(*commitment), sealed, plain, err)) {
        return false;
    }
    *out = BYTES(plain, sealed.len - TAG_LEN);
    return true;
}

bool entry_row_read(const struct hash *log_key, const struct hash *commitment, struct bytes row,
                    struct arena *arena, struct entry_row *out, struct err *err)
{
    struct reader r = reader_of(row);
    struct entry_row read = {.n = read_hash(&r)};
    AUTO_WIPE_HASH(key);
    key = outer_key(log_key, &read.n);
    struct bytes plain;
    if (!open_in_arena(&key, commitment, r.left, arena, &plain, err)) {
        return err_wrap(err, "entry row");
    }
    r = reader_of(plain);
    read.key_ref = read_id(&r);
    read.sealed = r.left;
    if (!r.ok) {
        return err_raise(err, ERR_CORRUPT, "entry row: %zu bytes inside", plain.len);
    }
    *out = read;
    return true;
}

bool entry_row_open(const struct entry_row *row, const struct hash *audit_key, const struct hash *commitment,
                    struct arena *arena, struct hash *r, struct bytes *entry, struct err *err)
{
    AUTO_WIPE_HASH(key);
    key = inner_key(audit_key, &row->n);
    struct bytes plain;
    if (!open_in_arena(&key, commitment, row->sealed, arena, &plain, err)) {
        return err_wrap(err, "entry row: inner seal");
    }
    struct reader reader = reader_of(plain);
    struct hash blind = read_hash(&reader);
    if (!reader.ok) {
        return err_raise(err, ERR_CORRUPT, "entry row: inner seal: %zu bytes", plain.len);
    }
    *r = blind;
    *entry = reader.left;
    return true;
}

static struct hash statement_key(const struct hash *audit_key, const struct hash *statement)
{
    struct hash key;
    hkdf_sha256(BYTES_OF(*audit_key), BYTES_OF(*statement), BYTES_LIT("chartmesh statement seal v1\n"), key.bytes,
                HASH_LEN);
    return key;
}

bool statement_row_seal(const struct hash *audit_key, const struct hash *statement, struct bytes envelope,
                        struct arena *arena, struct bytes *out, struct err *err)
{
    AUTO_WIPE_HASH(key);
    key = statement_key(audit_key, statement);
    return seal_random(&key, BYTES_OF(*statement), envelope, arena, out, err) || err_wrap(err, "statement row");
}

bool statement_row_open(const struct hash *audit_key, const struct hash *statement, struct bytes row,
                        struct arena *arena, struct bytes *envelope, struct err *err)
{
    AUTO_WIPE_HASH(key);
    key = statement_key(audit_key, statement);
    return seal_open(&key, BYTES_OF(*statement), row, arena, envelope, err) || err_wrap(err, "statement row");
}
