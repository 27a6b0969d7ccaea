/* Keys and seals of the log's rows. */
#include "node/log/log_inside.h"

#include "proto/base/reader.h"
#include "proto/crypto/hash.h"
#include "proto/statement/entry.h"

struct row row_number(char kind, uint64_t number)
{
    struct row row = {.bytes = {(uint8_t)kind}, .len = 9};
    put_u64be(row.bytes + 1, number);
    return row;
}

struct row row_tree(unsigned level, uint64_t n)
{
    struct row row = {.bytes = {'h', (uint8_t)level}, .len = 10};
    put_u64be(row.bytes + 2, n);
    return row;
}

struct row row_key(char kind, const struct hash *key)
{
    struct row row = {.bytes = {(uint8_t)kind}, .len = 1 + HASH_LEN};
    memcpy(row.bytes + 1, key->bytes, HASH_LEN);
    return row;
}

struct row row_position(const struct hash *key, uint64_t k)
{
    struct row row = row_key('x', key);
    put_u64be(row.bytes + row.len, k);
    row.len += 8;
    return row;
}

struct row row_who(struct log *log, const struct log_who *who)
{
    uint8_t len[4];
    struct bytes principal = bytes_str(who->principal), user = bytes_str(who->user);
    put_u32be(len, (uint32_t)principal.len);
    struct hash both = HASH_PARTS(BYTES_LIT("chartmesh who row v1\n"), BYTES(len, 4), principal, user);
    struct hash key = hmac_sha256(BYTES_OF(*keys_facility(log->keys, FACILITY_KEY_INDEX)), BYTES_OF(both));
    return row_key('w', &key);
}

bool log_seal(struct log *log, const struct row *row, struct bytes plain, struct arena *arena, struct bytes *out,
              struct err *err)
{
    return seal_random(keys_facility(log->keys, FACILITY_KEY_INDEX), row_bytes(row), plain, arena, out, err);
}

bool log_unseal(struct log *log, const struct row *row, struct bytes sealed, struct arena *arena,
                struct bytes *out, struct err *err)
{
    char place[STORE_PLACE_TEXT];
    return seal_open(keys_facility(log->keys, FACILITY_KEY_INDEX), row_bytes(row), sealed, arena, out, err) ||
           err_wrap(err, "log: %s", store_place(FAMILY_MAP, row_bytes(row), place));
}

static bool source_get(void *context, unsigned level, uint64_t n, struct hash *out, struct err *err)
{
    struct log *log = context;
    AUTO_ARENA(arena, 4096);
    struct row row = row_tree(level, n);
    struct bytes value;
    if (!store_get(log->store, NULL, FAMILY_LOG, row_bytes(&row), &arena, &value, err)) {
        return err->code == ERR_NOT_FOUND ? err_raise(err, ERR_CORRUPT, "log: no hash %u/%ju", level, (uintmax_t)n)
                                          : false;
    }
    return hash_from(value, out) || err_raise(err, ERR_CORRUPT, "log: hash %u/%ju", level, (uintmax_t)n);
}

struct merkle_source log_source(struct log *log)
{
    return (struct merkle_source){.get = source_get, .context = log};
}

/* UTC years of the proleptic Gregorian calendar. */
unsigned year_of_hlc(uint64_t hlc)
{
    uint64_t days = hlc_ms(hlc) / 86400000;
    unsigned year = 1970;
    for (;; year++) {
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        unsigned length = leap ? 366 : 365;
        if (days < length) {
            return year;
        }
        days -= length;
    }
}

struct hash leaf_hash(const struct hash *commitment)
{
    struct leaf leaf = leaf_data(commitment);
    return merkle_leaf(BYTES_OF(leaf));
}

struct subject subject_make(const struct id *facility, const struct id *patient)
{
    return (struct subject){*facility, *patient, subject_p(facility, patient)};
}
