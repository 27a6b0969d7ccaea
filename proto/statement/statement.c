#include "proto/statement/statement.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/builder.h"
#include "proto/base/reader.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "proto/statement/form.h"

enum {
    NOT_CANONICAL = CHARTMESH__V1__ERROR_REASON__ERROR_REASON_NOT_CANONICAL,
    SIGNATURE_INVALID = CHARTMESH__V1__ERROR_REASON__ERROR_REASON_SIGNATURE_INVALID,
    KEY_INVALID = CHARTMESH__V1__ERROR_REASON__ERROR_REASON_KEY_INVALID,
    TOO_LARGE = CHARTMESH__V1__ERROR_REASON__ERROR_REASON_TOO_LARGE,
    KEYID_LEN = 2 * HASH_LEN,
    TYPE_ROOM = 64, /* "DSSEv1", both lengths and the longest type, and more */
    PAE_MAX = STATEMENT_ROSTER_MAX + 2 * TYPE_ROOM,
};

/* -- kinds */

static const struct {
    const char *name, *type;
    const ProtobufCMessageDescriptor *descriptor;
} kinds[STATEMENT_KINDS] = {
#define KIND(kind, name, message)                                                                                 \
    [kind] = {name, "application/vnd.chartmesh." name ".v1+protobuf", &chartmesh__v1__##message##__descriptor}
    KIND(STATEMENT_NETWORK, "network", network),
    KIND(STATEMENT_ROSTER, "roster", roster),
    KIND(STATEMENT_MEMBERSHIP, "membership", membership),
    KIND(STATEMENT_KEY, "key", key),
    KIND(STATEMENT_KEY_REVOCATION, "key-revocation", key_revocation),
    KIND(STATEMENT_AUTHORITY, "authority", authority),
    KIND(STATEMENT_EPOCH, "epoch", epoch),
    KIND(STATEMENT_VERSION, "version", version),
    KIND(STATEMENT_POLICY, "policy", policy),
    KIND(STATEMENT_DISCLOSURE, "disclosure", disclosure),
    KIND(STATEMENT_PURGE_ORDER, "purge-order", purge_order),
    KIND(STATEMENT_PURGE_RECEIPT, "purge-receipt", purge_receipt),
    KIND(STATEMENT_NOTICE, "notice", notice),
    KIND(STATEMENT_LEASE, "lease", lease),
    KIND(STATEMENT_STREAM_HEAD, "stream-head", stream_head),
    KIND(STATEMENT_STREAM_ACK, "stream-ack", stream_ack),
    KIND(STATEMENT_AUDIT_QUERY, "audit-query", audit_query),
    KIND(STATEMENT_AUDIT_ANSWER, "audit-answer", audit_answer),
#undef KIND
};

static bool is_kind(enum statement_kind kind)
{
    return kind > 0 && kind < STATEMENT_KINDS;
}

const char *statement_type(enum statement_kind kind)
{
    return is_kind(kind) ? kinds[kind].type : "";
}

const char *statement_name(enum statement_kind kind)
{
    return is_kind(kind) ? kinds[kind].name : "unknown";
}

const ProtobufCMessageDescriptor *statement_descriptor(enum statement_kind kind)
{
    return is_kind(kind) ? kinds[kind].descriptor : NULL;
}

enum statement_kind statement_kind_of(struct bytes type)
{
    for (int kind = 1; kind < STATEMENT_KINDS; kind++) {
        if (bytes_equal(type, bytes_str(kinds[kind].type))) {
            return (enum statement_kind)kind;
        }
    }
    return 0;
}

/* -- pre-authentication encoding: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body */

static void build_pae(struct builder *b, struct bytes type, struct bytes body)
{
    build_text(b, "DSSEv1 %zu ", type.len);
    build_bytes(b, type);
    build_text(b, " %zu ", body.len);
    build_bytes(b, body);
}

bool statement_pae(const char *type, struct bytes payload, struct arena *arena, struct bytes *out, struct err *err)
{
    AUTO_BUILDER(b, payload.len + strlen(type) + TYPE_ROOM);
    build_pae(&b, bytes_str(type), payload);
    return builder_copy(&b, arena, out, err);
}

struct hash statement_id(enum statement_kind kind, struct bytes payload)
{
    const char *type = statement_type(kind);
    char before[2 * TYPE_ROOM];
    int len = snprintf(before, sizeof before, "DSSEv1 %zu %s %zu ", strlen(type), type, payload.len);
    return HASH_PARTS(BYTES(before, (size_t)len), payload);
}

/* -- envelopes as bytes */

/* An envelope's parts, views into its bytes. */
struct parts {
    struct bytes payload, type;
    size_t signers;
    struct hash key_ids[STATEMENT_SIGNATURES_MAX];
    struct bytes signatures[STATEMENT_SIGNATURES_MAX];
};

/* The three fields of an envelope, all length-prefixed, and the two of a signature. */
enum { TAG_PAYLOAD = 0x0a, TAG_TYPE = 0x12, TAG_SIGNATURE = 0x1a, TAG_SIG = 0x0a, TAG_KEYID = 0x12 };

static struct bytes read_field(struct reader *r, uint8_t tag)
{
    r->ok = read_u8(r) == tag && r->ok;
    uint64_t len = read_varint(r);
    return read_bytes(r, len);
}

static bool not_an_envelope(const char *rule, struct err *err)
{
    return err_raise_reason(err, ERR_INVALID, NOT_CANONICAL, "envelope: %s", rule);
}

static bool read_signature(struct reader *r, struct parts *parts, struct err *err)
{
    struct reader one = reader_of(read_field(r, TAG_SIGNATURE));
    struct bytes sig = read_field(&one, TAG_SIG), keyid = read_field(&one, TAG_KEYID);
    if (!r->ok || !reader_end(&one) || sig.len != SIGNATURE_LEN || keyid.len != KEYID_LEN) {
        return not_an_envelope("a signature is not sig (64 bytes) and keyid (64 digits)", err);
    }
    char text[KEYID_LEN + 1] = {0}, again[KEYID_LEN + 1];
    memcpy(text, keyid.data, KEYID_LEN);
    struct hash key_id;
    struct err ignored;
    if (!hex_decode(text, key_id.bytes, HASH_LEN, &ignored) ||
        strcmp(bytes_hex(BYTES_OF(key_id), again), text) != 0) {
        return not_an_envelope("a keyid is not lower-case hex", err);
    }
    size_t n = parts->signers;
    if (n == STATEMENT_SIGNATURES_MAX) {
        return not_an_envelope("more than 16 signatures", err);
    }
    if (n > 0 && bytes_compare(BYTES_OF(parts->key_ids[n - 1]), BYTES_OF(key_id)) >= 0) {
        return not_an_envelope("signatures not sorted by keyid, or one key twice", err);
    }
    parts->key_ids[n] = key_id;
    parts->signatures[n] = sig;
    parts->signers++;
    return true;
}

/* Reads canonical form only: an envelope's is fixed but for its lengths. (canonical_unpack refuses the same.) */
static bool read_envelope(struct bytes envelope, struct parts *parts, struct err *err)
{
    *parts = (struct parts){0};
    struct reader r = reader_of(envelope);
    parts->payload = read_field(&r, TAG_PAYLOAD);
    parts->type = read_field(&r, TAG_TYPE);
    if (!r.ok || parts->payload.len == 0) {
        return not_an_envelope("not a payload and its type", err);
    }
    do {
        if (!read_signature(&r, parts, err)) {
            return false;
        }
    } while (r.left.len);
    return true;
}

static void build_varint(struct builder *b, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) {
        build_u8(b, (uint8_t)(value | 0x80));
    }
    build_u8(b, (uint8_t)value);
}

static void build_field(struct builder *b, uint8_t tag, struct bytes value)
{
    build_u8(b, tag);
    build_varint(b, value.len);
    build_bytes(b, value);
}

static bool write_envelope(const struct parts *parts, struct arena *arena, struct bytes *out, struct err *err)
{
    AUTO_BUILDER(b, parts->payload.len + (size_t)TYPE_ROOM * 4 * (STATEMENT_SIGNATURES_MAX + 1));
    build_field(&b, TAG_PAYLOAD, parts->payload);
    build_field(&b, TAG_TYPE, parts->type);
    for (size_t i = 0; i < parts->signers; i++) {
        char keyid[KEYID_LEN + 1];
        AUTO_BUILDER(one, 4 * TYPE_ROOM);
        build_field(&one, TAG_SIG, parts->signatures[i]);
        build_field(&one, TAG_KEYID, bytes_str(bytes_hex(BYTES_OF(parts->key_ids[i]), keyid)));
        build_field(&b, TAG_SIGNATURE, builder_view(&one));
    }
    return builder_copy(&b, arena, out, err);
}

/* -- parsing and verifying */

static const Chartmesh__V1__Head *head_of(const ProtobufCMessage *message)
{
    return *(Chartmesh__V1__Head *const *)((const char *)message + message->descriptor->fields[0].offset);
}

bool statement_parse(struct bytes envelope, struct arena *arena, struct statement *out, struct err *err)
{
    struct parts parts;
    if (!read_envelope(envelope, &parts, err)) {
        return false;
    }
    enum statement_kind kind = statement_kind_of(parts.type);
    if (!kind) {
        return not_an_envelope("its payload type is none of ours", err);
    }
    ProtobufCMessage *message;
    if (!canonical_unpack(statement_descriptor(kind), parts.payload, arena, &message, err)) {
        return err_wrap(err, "%s", statement_name(kind));
    }
    *out = (struct statement){
        .kind = kind,
        .id = statement_id(kind, parts.payload),
        .envelope = envelope,
        .payload = parts.payload,
        .head = head_of(message),
        .message = message,
        .signers = parts.signers,
    };
    memcpy(out->key_ids, parts.key_ids, sizeof out->key_ids);
    memcpy(out->signatures, parts.signatures, sizeof out->signatures);
    return true;
}

static bool check_expected(const struct statement *s, enum statement_kind kind, const struct id *network,
                           struct err *err)
{
    if (s->kind != kind) {
        return err_raise_reason(err, ERR_INVALID, SIGNATURE_INVALID, "statement: a %s where a %s is expected",
                                statement_name(s->kind), statement_name(kind));
    }
    struct bytes expected = network ? BYTES_OF(*network) : BYTES_NONE;
    return bytes_equal(bytes_pb(s->head->network), expected) ||
           err_raise_reason(err, ERR_INVALID, SIGNATURE_INVALID, "%s: of another network", statement_name(kind));
}

static bool has_signed(const struct statement *s, const struct hash *id)
{
    for (size_t i = 0; i < s->signers; i++) {
        if (hash_equal(&s->key_ids[i], id)) {
            return true;
        }
    }
    return false;
}

/* Which of the keys has that id; NULL: none. */
static const struct hash *find_key(const struct hash *keys, const struct hash *ids, size_t count,
                                   const struct hash *id)
{
    for (size_t i = 0; i < count; i++) {
        if (hash_equal(&ids[i], id)) {
            return &keys[i];
        }
    }
    return NULL;
}

static bool verify_each(const struct statement *s, const struct hash *keys, const struct hash *ids, size_t count,
                        struct err *err)
{
    AUTO_BUILDER(pae, PAE_MAX);
    build_pae(&pae, bytes_str(statement_type(s->kind)), s->payload);
    if (!pae.ok) {
        return err_raise_reason(err, ERR_TOO_MUCH, TOO_LARGE, "%s: no memory to verify it",
                                statement_name(s->kind));
    }
    for (size_t i = 0; i < s->signers; i++) {
        const struct hash *key = find_key(keys, ids, count, &s->key_ids[i]);
        if (!key) {
            return err_raise_reason(err, ERR_INVALID, KEY_INVALID, "%s: signed by a key that does not count here",
                                    statement_name(s->kind));
        }
        if (!verify(key, builder_view(&pae), s->signatures[i])) {
            return err_raise_reason(err, ERR_INVALID, SIGNATURE_INVALID, "%s: a signature does not verify",
                                    statement_name(s->kind));
        }
    }
    return true;
}

bool statement_verify(const struct statement *statement, enum statement_kind kind, const struct id *network,
                      const struct hash *keys, size_t count, size_t demanded, struct err *err)
{
    if (!check_expected(statement, kind, network, err)) {
        return false;
    }
    AUTO_ARENA(arena, count * HASH_LEN + (64 << 10));
    void *room;
    if (!arena_array(&arena, count, HASH_LEN, &room, err)) {
        return false;
    }
    struct hash *ids = room;
    for (size_t i = 0; i < count; i++) {
        ids[i] = key_id(KEY_ED25519, &keys[i]);
        if (i < demanded && !has_signed(statement, &ids[i])) {
            return err_raise_reason(err, ERR_INVALID, SIGNATURE_INVALID, "%s: a demanded signature is missing",
                                    statement_name(kind));
        }
    }
    return verify_each(statement, keys, ids, count, err);
}

/* -- making */

struct signer {
    struct hash id;
    const struct signing_key *key;
};

static int compare_signers(const void *a, const void *b)
{
    return memcmp(((const struct signer *)a)->id.bytes, ((const struct signer *)b)->id.bytes, HASH_LEN);
}

static bool sign_parts(struct parts *parts, const struct signing_key *const *keys, size_t count,
                       struct arena *arena, struct err *err)
{
    struct signer signers[STATEMENT_SIGNATURES_MAX];
    if (count == 0 || count > STATEMENT_SIGNATURES_MAX) {
        return err_raise(err, ERR_INVALID, "sign: %zu keys, 1 to %d", count, STATEMENT_SIGNATURES_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        signers[i] = (struct signer){key_id(KEY_ED25519, signing_key_public(keys[i])), keys[i]};
    }
    qsort(signers, count, sizeof *signers, compare_signers);
    AUTO_BUILDER(pae, PAE_MAX);
    build_pae(&pae, parts->type, parts->payload);
    void *room;
    if (!pae.ok || !arena_array(arena, count, sizeof(struct signature), &room, err)) {
        return err_raise_reason(err, ERR_TOO_MUCH, TOO_LARGE, "sign: larger than its memory budget");
    }
    struct signature *signatures = room;
    for (size_t i = 0; i < count; i++) {
        signatures[i] = sign(signers[i].key, builder_view(&pae));
        parts->key_ids[i] = signers[i].id;
        parts->signatures[i] = BYTES_OF(signatures[i]);
    }
    parts->signers = count;
    return true;
}

bool statement_sign(enum statement_kind kind, ProtobufCMessage *message, const struct signing_key *const *keys,
                    size_t count, struct arena *arena, struct statement *out, struct err *err)
{
    if (!is_kind(kind) || message->descriptor != statement_descriptor(kind)) {
        return err_raise(err, ERR_INTERNAL, "sign: the message is not a %s", statement_name(kind));
    }
    struct parts parts = {.type = bytes_str(statement_type(kind))};
    struct bytes envelope;
    return canonical_sort_pack(message, arena, &parts.payload, err) &&
           sign_parts(&parts, keys, count, arena, err) && write_envelope(&parts, arena, &envelope, err) &&
           statement_parse(envelope, arena, out, err);
}

bool statement_join(struct bytes a, struct bytes b, struct arena *arena, struct bytes *out, struct err *err)
{
    struct parts left, right, both = {0};
    if (!read_envelope(a, &left, err) || !read_envelope(b, &right, err)) {
        return false;
    }
    if (!bytes_equal(left.type, right.type) || !bytes_equal(left.payload, right.payload)) {
        return err_raise(err, ERR_INVALID, "join: the envelopes hold different statements");
    }
    both.payload = left.payload;
    both.type = left.type;
    for (size_t i = 0, j = 0; i < left.signers || j < right.signers;) {
        int order = i == left.signers ? 1 : -1;
        if (i < left.signers && j < right.signers) {
            order = memcmp(left.key_ids[i].bytes, right.key_ids[j].bytes, HASH_LEN);
        }
        if (both.signers == STATEMENT_SIGNATURES_MAX) {
            return err_raise(err, ERR_INVALID, "join: more than %d signatures", STATEMENT_SIGNATURES_MAX);
        }
        const struct parts *from = order <= 0 ? &left : &right;
        size_t at = order <= 0 ? i : j;
        both.key_ids[both.signers] = from->key_ids[at];
        both.signatures[both.signers++] = from->signatures[at];
        i += order <= 0;
        j += order >= 0;
    }
    return write_envelope(&both, arena, out, err);
}

bool head_make(const struct id *network, const struct id *facility, uint64_t hlc, struct arena *arena,
               Chartmesh__V1__Head **out, struct err *err)
{
    struct {
        Chartmesh__V1__Head head;
        struct id network, facility, nonce;
    } *made;
    void *room;
    if (!arena_alloc(arena, sizeof *made, &room, err)) {
        return err_wrap(err, "head");
    }
    made = room;
    chartmesh__v1__head__init(&made->head);
    made->nonce = random_id();
    made->head.hlc = hlc;
    made->head.nonce = pb_bytes(BYTES_OF(made->nonce));
    if (network) {
        made->network = *network;
        made->head.network = pb_bytes(BYTES_OF(made->network));
    }
    if (facility) {
        made->facility = *facility;
        made->head.facility = pb_bytes(BYTES_OF(made->facility));
    }
    *out = &made->head;
    return true;
}
