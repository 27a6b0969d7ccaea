/* The shared vectors of formats 1, 5 and 6: accepted or refused as they say. Where one of them and the formats
 * disagree it is named in an exception here and in docs/protocol. */
#include <jansson.h>

#include "proto/base/reader.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/statement/entry.h"
#include "proto/statement/statement.h"
#include "proto/statement/stream.h"
#include "proto/statement/trust.h"
#include "tests/lib/test.h"
#include "tests/lib/vectors.h"

enum { BUDGET = 4 << 20 };

static enum statement_kind kind_named(const char *name)
{
    for (int kind = 1; kind < STATEMENT_KINDS; kind++) {
        if (strcmp(statement_name((enum statement_kind)kind), name) == 0) {
            return (enum statement_kind)kind;
        }
    }
    fail_msg("no kind %s", name);
    return 0;
}

static void canonical_valid(const json_t *one)
{
    AUTO_ARENA(arena, BUDGET);
    struct err err;
    enum statement_kind kind = kind_named(vector_text(one, "kind"));
    struct bytes payload = vector_hex(one, "payload", &arena), again;
    ProtobufCMessage *message;
    if (!canonical_unpack(statement_descriptor(kind), payload, &arena, &message, &err)) {
        fail_msg("%s: %s", vector_text(one, "what"), err.text);
    }
    struct hash id = statement_id(kind, payload), wanted = vector_hash(one, "statement_id");
    assert_bytes_equal(BYTES_OF(id), BYTES_OF(wanted));
    assert_ok(canonical_pack(message, &arena, &again, &err));
    assert_bytes_equal(again, payload);
}

static void canonical_invalid(const json_t *one)
{
    AUTO_ARENA(arena, BUDGET);
    struct err err;
    enum statement_kind kind = kind_named(vector_text(one, "kind"));
    ProtobufCMessage *message;
    if (canonical_unpack(statement_descriptor(kind), vector_hex(one, "payload", &arena), &arena, &message, &err)) {
        fail_msg("accepted: %s %s (%s)", vector_text(one, "kind"), vector_text(one, "what"),
                 vector_text(one, "rule"));
    }
    assert_int_equal(err.code, ERR_INVALID);
}

static void each(const json_t *list, void (*check)(const json_t *))
{
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)list, i, one)
    {
        check(one);
    }
}

static void test_I35_canonical__vectors(void **state)
{
    (void)state;
    json_t *file;
    if (!vectors_load("format-vectors/canonical.json", &file)) {
        return;
    }
    each(vector_array(file, "valid"), canonical_valid);
    each(vector_array(file, "invalid"), canonical_invalid);
    print_message("canonical.json: %zu accepted, %zu refused\n", json_array_size(vector_array(file, "valid")),
                  json_array_size(vector_array(file, "invalid")));
    json_decref(file);
}

/* -- dsse.json */

static size_t read_keys(const json_t *expect, const char *field, struct hash *out, size_t at)
{
    size_t i;
    json_t *one;
    json_array_foreach(vector_array(expect, field), i, one)
    {
        struct hash key = hash_value(one);
        bool known = false;
        for (size_t j = 0; j < at; j++) {
            known = known || hash_equal(&out[j], &key);
        }
        if (!known) {
            out[at++] = key;
        }
    }
    return at;
}

static bool verifies(const json_t *one, struct arena *arena, struct statement *s, struct err *err)
{
    const json_t *expect = vector_object(one, "expect");
    struct hash keys[64];
    size_t demanded = read_keys(expect, "demanded", keys, 0), count = read_keys(expect, "keys", keys, demanded);
    struct id network = vector_id(expect, "network");
    return statement_parse(vector_hex(one, "envelope", arena), arena, s, err) &&
           statement_verify(s, kind_named(vector_text(expect, "kind")), &network, keys, count, demanded, err);
}

static void dsse_valid(const json_t *one)
{
    AUTO_ARENA(arena, BUDGET);
    struct err err;
    struct statement s;
    if (!verifies(one, &arena, &s, &err)) {
        fail_msg("%s: %s", vector_text(one, "what"), err.text);
    }
    struct hash wanted = vector_hash(one, "statement_id");
    assert_bytes_equal(BYTES_OF(s.id), BYTES_OF(wanted));
    ProtobufCMessage *envelope;
    assert_ok(canonical_unpack(&chartmesh__v1__envelope__descriptor, s.envelope, &arena, &envelope, &err));
    struct bytes again;
    assert_ok(canonical_pack(envelope, &arena, &again, &err));
    assert_bytes_equal(again, s.envelope);
}

static void dsse_invalid(const json_t *one)
{
    AUTO_ARENA(arena, BUDGET);
    struct err err;
    struct statement s;
    if (verifies(one, &arena, &s, &err)) {
        fail_msg("accepted: %s (%s)", vector_text(one, "what"), vector_text(one, "rule"));
    }
    assert_int_equal(err.code, ERR_INVALID);
}

/* Both readers of envelopes agree on every one of them. */
static void dsse_readers_agree(const json_t *one)
{
    AUTO_ARENA(arena, BUDGET);
    struct err parse_err, unpack_err;
    struct statement s;
    struct bytes envelope = vector_hex(one, "envelope", &arena);
    ProtobufCMessage *message;
    bool unpacks = canonical_unpack(&chartmesh__v1__envelope__descriptor, envelope, &arena, &message, &unpack_err);
    bool parses = statement_parse(envelope, &arena, &s, &parse_err);
    if (parses && !unpacks) {
        fail_msg("%s: only parsed", vector_text(one, "what"));
    }
    bool envelope_refused =
        !parses && strncmp(parse_err.text, "envelope:", 9) == 0 && !strstr(parse_err.text, "type is none of ours");
    if (unpacks && envelope_refused) {
        fail_msg("%s: only unpacked", vector_text(one, "what"));
    }
}

static void dsse_pae(const json_t *one)
{
    AUTO_ARENA(arena, BUDGET);
    struct err err;
    struct bytes pae;
    assert_ok(statement_pae(vector_text(one, "type"), vector_hex(one, "body", &arena), &arena, &pae, &err));
    assert_bytes_equal(pae, vector_hex(one, "pae", &arena));
}

static void dsse_id(const json_t *one)
{
    AUTO_ARENA(arena, BUDGET);
    enum statement_kind kind = kind_named(vector_text(one, "kind"));
    assert_string_equal(statement_type(kind), vector_text(one, "type"));
    assert_int_equal(statement_kind_of(bytes_str(vector_text(one, "type"))), kind);
    struct hash id = statement_id(kind, vector_hex(one, "payload", &arena)), wanted = vector_hash(one, "id");
    assert_bytes_equal(BYTES_OF(id), BYTES_OF(wanted));
}

static void dsse_key_id(const json_t *one)
{
    struct hash public_key = vector_hash(one, "public"), wanted = vector_hash(one, "id");
    struct hash id = key_id((enum key_alg)vector_u64(one, "alg"), &public_key);
    assert_bytes_equal(BYTES_OF(id), BYTES_OF(wanted));
}

static void dsse_signature(const json_t *one)
{
    AUTO_ARENA(arena, BUDGET);
    struct err err;
    struct hash seed = vector_hash(one, "secret_seed"), public_key = vector_hash(one, "public");
    struct signing_key *key;
    assert_ok(signing_key_new(&seed, &key, &err));
    assert_true(hash_equal(signing_key_public(key), &public_key));
    struct signature made = sign(key, vector_hex(one, "message", &arena));
    assert_bytes_equal(BYTES_OF(made), vector_hex(one, "signature", &arena));
    signing_key_free(key);
}

static void dsse_weak_key(const json_t *one)
{
    struct err err;
    struct hash key = vector_hash(one, "public");
    assert_err(ERR_INVALID, public_key_check(&key, &err));
}

static void test_I37_dsse__vectors(void **state)
{
    (void)state;
    json_t *file;
    if (!vectors_load("format-vectors/dsse.json", &file)) {
        return;
    }
    each(vector_array(file, "pae"), dsse_pae);
    each(vector_array(file, "statement_ids"), dsse_id);
    each(vector_array(file, "key_ids"), dsse_key_id);
    each(vector_array(file, "signatures"), dsse_signature);
    each(vector_array(file, "weak_keys"), dsse_weak_key);
    each(vector_array(file, "valid"), dsse_valid);
    each(vector_array(file, "invalid"), dsse_invalid);
    each(vector_array(file, "valid"), dsse_readers_agree);
    each(vector_array(file, "invalid"), dsse_readers_agree);
    print_message("dsse.json: %zu accepted, %zu refused, %zu weak keys\n",
                  json_array_size(vector_array(file, "valid")), json_array_size(vector_array(file, "invalid")),
                  json_array_size(vector_array(file, "weak_keys")));
    json_decref(file);
}

/* -- stream.json */

static void stream_item(const json_t *one)
{
    struct item_facts item = {
        .kind = (enum item_kind)vector_u64(one, "kind"),
        .statement = vector_hash(one, "statement_id"),
        .incarnation = vector_u64(one, "incarnation"),
        .generation = vector_u64(one, "generation"),
        .disclosure = vector_hash(one, "disclosure"),
    };
    struct hash digest = item_digest(&item), wanted = vector_hash(one, "digest");
    assert_bytes_equal(BYTES_OF(digest), BYTES_OF(wanted));
}

static struct hash digest_named(const json_t *items, const char *what)
{
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)items, i, one)
    {
        if (strcmp(vector_text(one, "what"), what) == 0) {
            return vector_hash(one, "digest");
        }
    }
    fail_msg("no item %s", what);
    return (struct hash){0};
}

static void test_stream__vectors(void **state)
{
    (void)state;
    json_t *file, *lane, *name;
    if (!vectors_load("format-vectors/stream.json", &file)) {
        return;
    }
    each(vector_array(file, "items"), stream_item);
    size_t i, n;
    json_array_foreach(vector_array(file, "chains"), i, lane)
    {
        struct id network = vector_id(lane, "network"), sender = vector_id(lane, "sender");
        struct id receiver = vector_id(lane, "receiver");
        struct hash chain = stream_chain_start(&network, &sender, vector_u64(lane, "incarnation"), &receiver,
                                               (uint8_t)vector_u64(lane, "lane_value"));
        const json_t *chains = vector_array(lane, "chain");
        json_array_foreach(vector_array(lane, "items"), n, name)
        {
            struct hash wanted = hash_value(json_array_get(chains, n));
            assert_bytes_equal(BYTES_OF(chain), BYTES_OF(wanted));
            struct hash digest = digest_named(vector_array(file, "items"), json_string_value(name));
            chain = stream_chain_next(&chain, &digest);
        }
        struct hash wanted = hash_value(json_array_get(chains, n));
        assert_bytes_equal(BYTES_OF(chain), BYTES_OF(wanted));
    }
    print_message("stream.json: %zu items, %zu chains\n", json_array_size(vector_array(file, "items")), i);
    json_decref(file);
}

/* -- log.json: entries and actors */

static void entry_valid(const json_t *one)
{
    AUTO_ARENA(arena, BUDGET);
    struct err err;
    struct bytes bytes = vector_hex(one, "entry", &arena), again;
    Chartmesh__V1__Entry *entry;
    if (!entry_unpack(bytes, &arena, &entry, &err)) {
        fail_msg("%s: %s", vector_text(one, "what"), err.text);
    }
    entry->padding = (ProtobufCBinaryData){0};       /* the vectors count the field: tag, length, content */
    size_t bare = protobuf_c_message_get_packed_size(&entry->base);
    assert_int_equal(bytes.len - bare, vector_u64(one, "padding"));
    assert_ok(entry_pack(entry, &arena, &again, &err));
    assert_bytes_equal(again, bytes);
    struct hash r = vector_hash(one, "r"), c = entry_commitment(&r, bytes), wanted = vector_hash(one, "c");
    assert_bytes_equal(BYTES_OF(c), BYTES_OF(wanted));
}

static void entry_invalid(const json_t *one)
{
    AUTO_ARENA(arena, BUDGET);
    struct err err;
    Chartmesh__V1__Entry *entry;
    if (entry_unpack(vector_hex(one, "entry", &arena), &arena, &entry, &err)) {
        fail_msg("accepted: %s (%s)", vector_text(one, "what"), vector_text(one, "rule"));
    }
    assert_int_equal(err.code, ERR_INVALID);
}

static void entry_actor(const json_t *one)
{
    struct hash salt = vector_hash(one, "salt"), wanted = vector_hash(one, "actor");
    struct hash actor = actor_id(&salt, vector_text(one, "principal"), vector_text(one, "user"));
    assert_bytes_equal(BYTES_OF(actor), BYTES_OF(wanted));
}

static void test_entry__vectors(void **state)
{
    (void)state;
    json_t *file;
    if (!vectors_load("format-vectors/log.json", &file)) {
        return;
    }
    const json_t *entries = vector_object(file, "entries");
    each(vector_array(entries, "valid"), entry_valid);
    each(vector_array(entries, "invalid"), entry_invalid);
    each(vector_array(file, "actors"), entry_actor);
    print_message("log.json: %zu entries accepted, %zu refused, %zu actors\n",
                  json_array_size(vector_array(entries, "valid")),
                  json_array_size(vector_array(entries, "invalid")),
                  json_array_size(vector_array(file, "actors")));
    json_decref(file);
}

/* -- evidence.json: the trust file, and the statements of its bundles */

static void test_trust__file_vector(void **state)
{
    (void)state;
    struct err err;
    json_t *file;
    if (!vectors_load("format-vectors/evidence.json", &file)) {
        return;
    }
    AUTO_ARENA(arena, BUDGET);
    const json_t *one = vector_object(file, "trust_file");
    struct bytes bytes = vector_base64(one, "valid_base64", &arena), again;
    struct hash network = vector_hash(one, "network"), named;
    struct trust *trust;
    assert_ok(trust_file_network(bytes, &named, &err));
    assert_bytes_equal(BYTES_OF(named), BYTES_OF(network));
    assert_ok(trust_new(&network, &trust, &err));
    assert_ok(trust_file(trust, bytes, &err));
    size_t i;
    json_t *id;
    json_array_foreach(vector_array(one, "statements"), i, id)
    {
        struct hash statement = hash_value(id);
        assert_true(trust_envelope(trust, &statement).len > 0);
    }
    assert_ok(trust_write(trust, &arena, &again, &err));
    assert_bytes_equal(again, bytes);
    assert_int_equal(trust_roster_version(trust), 3);
    assert_int_equal(trust_network_version(trust), 2);
    assert_int_equal(trust_missing(trust, NULL, 0), 0);
    trust_free(trust);
    for (size_t cut = 0; cut < bytes.len; cut += 97) {
        assert_ok(trust_new(&network, &trust, &err));
        assert_false(trust_file(trust, BYTES(bytes.data, cut), &err));
        assert_int_equal(trust_network_version(trust), 0);
        trust_free(trust);
    }
    print_message("trust file: %zu statements\n", i);
    json_decref(file);
}

/* The statements of a bundle: trust first, then all others against it. Returns how many were verified. */
static size_t verify_bundle(const json_t *bundle, struct trust *trust, struct arena *arena)
{
    struct err err;
    struct reader r = reader_of(vector_base64(bundle, "bundle_base64", arena));
    struct bytes core[64], others[256];
    size_t core_count = 0, other_count = 0;
    read_bytes(&r, 8);
    while (r.left.len) {
        uint32_t len = read_u32be(&r);
        uint8_t type = read_u8(&r);
        struct bytes body = read_bytes(&r, len);
        assert_true(r.ok);
        struct statement s;
        if (type != 1 && type != 5 && type != 255) {
            continue;
        }
        assert_ok(statement_parse(body, arena, &s, &err));
        if (s.kind <= STATEMENT_EPOCH) {
            core[core_count++] = body;
        } else {
            others[other_count++] = body;
        }
    }
    assert_ok(trust_add(trust, core, core_count, NULL, &err));
    for (size_t i = 0; i < other_count; i++) {
        struct statement s;
        assert_ok(statement_parse(others[i], arena, &s, &err));
        assert_ok(trust_check(trust, others[i], s.kind, 0, NULL, arena, &s, &err));
    }
    return core_count + other_count;
}

static void test_trust__every_statement_of_the_bundles_verifies(void **state)
{
    (void)state;
    struct err err;
    json_t *file, *bundle;
    if (!vectors_load("format-vectors/evidence.json", &file)) {
        return;
    }
    struct hash network = vector_hash(vector_object(file, "trust_file"), "network");
    size_t i, statements = 0;
    json_array_foreach(vector_array(file, "bundles"), i, bundle)
    {
        AUTO_ARENA(arena, BUDGET);
        struct trust *trust;
        assert_ok(trust_new(&network, &trust, &err));
        statements += verify_bundle(bundle, trust, &arena);
        trust_free(trust);
    }
    print_message("evidence.json: %zu bundles, %zu statements\n", i, statements);
    json_decref(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_I35_canonical__vectors),
        cmocka_unit_test(test_I37_dsse__vectors),
        cmocka_unit_test(test_stream__vectors),
        cmocka_unit_test(test_entry__vectors),
        cmocka_unit_test(test_trust__file_vector),
        cmocka_unit_test(test_trust__every_statement_of_the_bundles_verifies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
