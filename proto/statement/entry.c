#include "proto/statement/entry.h"

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/crypto/hash.h"
#include "proto/statement/form.h"
#include "proto/statement/statement.h"

/* Bytes that a padding of `count` takes: tag, length, content. */
static size_t padding_size(size_t count)
{
    size_t size = count ? 1 + count : 0;
    for (size_t left = count; left; left >>= 7) {
        size++;
    }
    return size;
}

/* The smallest count that fills `bare` bytes up. 1 or 130 spare bytes cannot be met at once (a length prefix grows
 * in between), so it may take 256 more. */
static size_t padding_for(size_t bare)
{
    size_t count = 0;
    while ((bare + padding_size(count)) % ENTRY_UNIT) {
        count++;
    }
    return count;
}

bool entry_pack(Chartmesh__V1__Entry *entry, struct arena *arena, struct bytes *out, struct err *err)
{
    entry->padding = (ProtobufCBinaryData){0};
    size_t count = padding_for(protobuf_c_message_get_packed_size(&entry->base));
    void *zeros;
    if (!arena_alloc(arena, count, &zeros, err)) {
        return err_wrap(err, "entry");
    }
    entry->padding = (ProtobufCBinaryData){.len = count, .data = count ? zeros : NULL};
    struct bytes packed;
    Chartmesh__V1__Entry *again;
    if (!canonical_sort_pack(&entry->base, arena, &packed, err) || !entry_unpack(packed, arena, &again, err)) {
        return false;
    }
    *out = packed;
    return true;
}

static bool check_padding(const Chartmesh__V1__Entry *entry, size_t len, struct err *err)
{
    size_t count = entry->padding.len;
    bool zero = true;
    for (size_t i = 0; i < count; i++) {
        zero = zero && entry->padding.data[i] == 0;
    }
    size_t bare = len - padding_size(count);
    return (zero && count == padding_for(bare)) ||
           err_raise_field(err, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_NOT_CANONICAL, "padding",
                           "Entry.padding: not the smallest count of zero bytes that fits");
}

bool entry_unpack(struct bytes bytes, struct arena *arena, Chartmesh__V1__Entry **out, struct err *err)
{
    ProtobufCMessage *message;
    if (!canonical_unpack(&chartmesh__v1__entry__descriptor, bytes, arena, &message, err)) {
        return false;
    }
    Chartmesh__V1__Entry *entry = (void *)message;
    if (!check_padding(entry, bytes.len, err)) {
        return false;
    }
    *out = entry;
    return true;
}

struct hash entry_commitment(const struct hash *r, struct bytes entry)
{
    return HASH_PARTS(BYTES_LIT("chartmesh entry v1\n"), BYTES_OF(*r), entry);
}

struct leaf leaf_data(const struct hash *commitment)
{
    struct leaf leaf;
    const struct bytes label = BYTES_LIT("chartmesh leaf v1\n");
    _Static_assert(sizeof "chartmesh leaf v1\n" - 1 + HASH_LEN == LEAF_DATA_LEN, "label and C");
    memcpy(leaf.bytes, label.data, label.len);
    memcpy(leaf.bytes + label.len, commitment->bytes, HASH_LEN);
    return leaf;
}

struct hash actor_id(const struct hash *salt, const char *principal, const char *user)
{
    struct bytes p = bytes_str(principal), u = bytes_str(user);
    uint8_t p_len[4], u_len[4];
    put_u32be(p_len, (uint32_t)p.len);
    put_u32be(u_len, (uint32_t)u.len);
    return HASH_PARTS(BYTES_LIT("chartmesh actor v1\n"), BYTES_OF(*salt), BYTES(p_len, 4), p, BYTES(u_len, 4), u);
}
