/* The log's vectors: log.json (tree, chains, maps), notes.json, merkle/, cosignature/. */
#include "proto/base/builder.h"
#include "proto/base/reader.h"
#include "proto/crypto/hash.h"
#include "proto/merkle/checkpoint.h"
#include "proto/merkle/map.h"
#include "proto/merkle/merkle.h"
#include "tests/lib/test.h"
#include "tests/lib/vectors.h"

enum { ARENA_MAX = 1 << 22 };

/* A path as the vectors have it. A hash of another length than 32 makes it unusable: false. */
static bool path_of(const json_t *array, struct hash *path, size_t max, size_t *len, struct arena *arena)
{
    size_t i;
    json_t *one;
    *len = 0;
    json_array_foreach(array, i, one)
    {
        if (*len == max || !hash_from(hex_value(one, arena), &path[(*len)++])) {
            return false;
        }
    }
    return true;
}

static struct hash root_named(const json_t *roots, uint64_t size)
{
    return hash_value(json_array_get(roots, (size_t)size));
}

static void check_inclusion(const json_t *tree, struct arena *arena)
{
    json_t *leaves = vector_array(tree, "leaf_hashes"), *roots = vector_array(tree, "roots"), *one;
    json_t *cases = vector_object(tree, "inclusion");
    struct hash path[MERKLE_PATH_MAX];
    size_t i, len;
    json_array_foreach(vector_array(cases, "valid"), i, one)
    {
        uint64_t index = vector_u64(one, "index"), size = vector_u64(one, "size");
        struct hash leaf = root_named(leaves, index), root = root_named(roots, size);
        assert_true(path_of(vector_array(one, "path"), path, COUNT(path), &len, arena));
        assert_true(merkle_included(index, size, &leaf, path, len, &root));
    }
    json_array_foreach(vector_array(cases, "invalid"), i, one)
    {
        struct hash leaf = vector_hash(one, "leaf_hash"), root = vector_hash(one, "root");
        assert_false(path_of(vector_array(one, "path"), path, COUNT(path), &len, arena) &&
                     merkle_included(vector_u64(one, "index"), vector_u64(one, "size"), &leaf, path, len, &root));
    }
    print_message("log.json inclusion: %zu accepted, %zu refused\n", json_array_size(vector_array(cases, "valid")),
                  i);
}

static void check_consistency(const json_t *tree, struct arena *arena)
{
    json_t *roots = vector_array(tree, "roots"), *cases = vector_object(tree, "consistency"), *one;
    struct hash path[MERKLE_PATH_MAX];
    size_t i, len;
    json_array_foreach(vector_array(cases, "valid"), i, one)
    {
        uint64_t from = vector_u64(one, "from"), to = vector_u64(one, "to");
        struct hash older = root_named(roots, from), newer = root_named(roots, to);
        assert_true(path_of(vector_array(one, "path"), path, COUNT(path), &len, arena));
        assert_true(merkle_consistent(from, to, &older, &newer, path, len));
    }
    json_array_foreach(vector_array(cases, "invalid"), i, one)
    {
        struct hash older = vector_hash(one, "root_from"), newer = vector_hash(one, "root_to");
        assert_false(path_of(vector_array(one, "path"), path, COUNT(path), &len, arena) &&
                     merkle_consistent(vector_u64(one, "from"), vector_u64(one, "to"), &older, &newer, path, len));
    }
    print_message("log.json consistency: %zu accepted, %zu refused\n",
                  json_array_size(vector_array(cases, "valid")), i);
}

static void test_vectors__the_tree(void **state)
{
    (void)state;
    json_t *file, *one;
    size_t i;
    AUTO_ARENA(arena, ARENA_MAX);
    if (!vectors_load("format-vectors/log.json", &file)) {
        return;
    }
    json_t *tree = vector_object(file, "tree");
    struct hash leaves[64];
    json_array_foreach(vector_array(tree, "leaf_hashes"), i, one)
    {
        leaves[i] = hash_value(one);
    }
    json_array_foreach(vector_array(tree, "roots"), i, one)
    {
        struct hash root = merkle_root(leaves, i), expected = hash_value(one);
        assert_bytes_equal(BYTES_OF(root), BYTES_OF(expected));
    }
    print_message("log.json roots: %zu\n", i);
    check_inclusion(tree, &arena);
    check_consistency(tree, &arena);
    json_decref(file);
}

/* C of leaf i of the tree above = SHA-256(u64be i). */
static struct hash commitment_of(uint64_t i)
{
    uint8_t number[8];
    put_u64be(number, i);
    return hash_of(BYTES(number, sizeof number));
}

static void test_vectors__the_chains(void **state)
{
    (void)state;
    json_t *file, *one, *link;
    size_t i, k;
    if (!vectors_load("format-vectors/log.json", &file)) {
        return;
    }
    json_array_foreach(vector_array(file, "chains"), i, one)
    {
        struct id facility = vector_id(one, "facility"), patient;
        struct hash key, chain;
        if (vector_has(one, "patient")) {
            patient = vector_id(one, "patient");
            key = map_key_patient(&facility, &patient);
        } else {
            struct hash actor = vector_hash(one, "actor");
            key = map_key_actor(&facility, &actor);
        }
        struct hash expected = vector_hash(one, "map_key");
        assert_bytes_equal(BYTES_OF(key), BYTES_OF(expected));
        chain = chain_start(&key);
        json_array_foreach(vector_array(one, "chain"), k, link)
        {
            struct hash commitment = commitment_of(k - 1);
            chain = k == 0 ? chain : chain_next(&chain, &commitment);
            expected = hash_value(link);
            assert_bytes_equal(BYTES_OF(chain), BYTES_OF(expected));
        }
        struct hash value = map_value(4, 77, &chain), leaf = map_leaf(&key, &value);
        expected = vector_hash(one, "map_value_of_count_4_last_77");
        assert_bytes_equal(BYTES_OF(value), BYTES_OF(expected));
        expected = vector_hash(one, "map_leaf");
        assert_bytes_equal(BYTES_OF(leaf), BYTES_OF(expected));
    }
    print_message("log.json chains: %zu\n", i);
    json_decref(file);
}

/* A proof as the vectors have it; false when it cannot even be held. *value is set when it claims presence. */
static bool proof_of(const json_t *one, struct map_proof *out, struct hash *value, bool *present)
{
    struct hash key = vector_hash(one, "key");
    json_t *end = json_object_get(one, "end"), *sibling;
    *out = (struct map_proof){.end = MAP_NOTHING};
    *present = false;
    if (json_is_array(end)) {
        out->other_key = hash_value(json_array_get(end, 0));
        out->other_value = hash_value(json_array_get(end, 1));
        *present = hash_equal(&out->other_key, &key);
        *value = out->other_value;
        out->end = *present ? MAP_PRESENT : MAP_OTHER;
    }
    size_t i;
    json_array_foreach(vector_array(one, "siblings"), i, sibling)
    {
        if (i == MAP_DEPTH_MAX) {
            return false;
        }
        const char *text = json_string_value(sibling);
        out->siblings[i] = text && strcmp(text, "0") == 0 ? (struct hash){0} : hash_value(sibling);
        out->siblings_len = i + 1;
    }
    return true;
}

static void check_proofs(const struct map *map, const json_t *cases, size_t counts[2])
{
    struct hash root = map_root(map), value;
    struct map_proof proof, ours;
    bool present;
    size_t i;
    json_t *one;
    json_array_foreach(vector_array(cases, "valid"), i, one)
    {
        struct hash key = vector_hash(one, "key");
        assert_true(proof_of(one, &proof, &value, &present));
        assert_int_equal(present, vector_bool(one, "present"));
        assert_true(map_verify(&root, &key, present ? &value : NULL, &proof));
        map_prove(map, &key, &ours);
        assert_int_equal(ours.end, proof.end);
        assert_int_equal(ours.siblings_len, proof.siblings_len);
        assert_memory_equal(ours.siblings, proof.siblings, ours.siblings_len * HASH_LEN);
        counts[0]++;
    }
    json_array_foreach(vector_array(cases, "invalid"), i, one)
    {
        struct hash key = vector_hash(one, "key");
        assert_false(proof_of(one, &proof, &value, &present) &&
                     map_verify(&root, &key, present ? &value : NULL, &proof));
        counts[1]++;
    }
}

static void test_vectors__the_maps(void **state)
{
    (void)state;
    json_t *file, *one, *value;
    size_t i, counts[2] = {0};
    const char *key;
    if (!vectors_load("format-vectors/log.json", &file)) {
        return;
    }
    json_array_foreach(vector_array(vector_object(file, "maps"), "maps"), i, one)
    {
        struct map *map = map_new();
        json_object_foreach(vector_object(one, "values"), key, value)
        {
            struct err err;
            struct hash k, v = hash_value(value);
            assert_ok(hex_decode(key, k.bytes, HASH_LEN, &err));
            map_set(map, &k, &v);
        }
        struct hash root = map_root(map), expected = vector_hash(one, "root");
        assert_bytes_equal(BYTES_OF(root), BYTES_OF(expected));
        check_proofs(map, one, counts);
        map_free(map);
    }
    print_message("log.json maps: %zu, proofs %zu accepted, %zu refused\n", i, counts[0], counts[1]);
    json_decref(file);
}

static struct note_key key_from(const json_t *one)
{
    return (struct note_key){.name = vector_text(one, "name"),
                             .type = vector_u64(one, "type") == NOTE_LOG ? NOTE_LOG : NOTE_WITNESS,
                             .public_key = vector_hash(one, "public")};
}

static void check_checkpoint(const struct checkpoint *checkpoint, const struct note_key *keys,
                             const json_t *expect)
{
    struct hash root = vector_hash(expect, "root");
    json_t *cosigned = vector_object(expect, "cosigned");
    assert_bytes_equal(checkpoint->origin, bytes_str(vector_text(expect, "origin")));
    assert_int_equal(checkpoint->size, vector_u64(expect, "size"));
    assert_bytes_equal(BYTES_OF(checkpoint->root), BYTES_OF(root));
    assert_int_equal(checkpoint->cosigners, json_object_size(cosigned));
    for (size_t i = 0; i < checkpoint->cosigners; i++) {
        assert_int_equal(checkpoint->cosigned[i].time_s,
                         vector_u64(cosigned, keys[checkpoint->cosigned[i].key].name));
    }
}

static void test_vectors__notes(void **state)
{
    (void)state;
    json_t *file, *one;
    struct err err;
    struct note_key keys[8];
    struct checkpoint checkpoint;
    size_t i, count, refused;
    AUTO_ARENA(arena, ARENA_MAX);
    if (!vectors_load("format-vectors/notes.json", &file)) {
        return;
    }
    json_array_foreach(vector_array(file, "known"), count, one)
    {
        keys[count] = key_from(one);
        uint8_t id[4];
        put_u32be(id, note_key_hash(&keys[count]));
        assert_bytes_equal(BYTES(id, 4), vector_hex(one, "key_id", &arena));
    }
    json_array_foreach(vector_array(file, "valid"), i, one)
    {
        assert_ok(checkpoint_open(bytes_str(vector_text(one, "note")), keys, count, &checkpoint, &err));
        check_checkpoint(&checkpoint, keys, vector_object(one, "expect"));
    }
    json_array_foreach(vector_array(file, "invalid"), refused, one)
    {
        json_t *note = vector_of(one, vector_has(one, "note") ? "note" : "note_hex");
        struct bytes bytes =
            vector_has(one, "note") ? bytes_str(json_string_value(note)) : hex_value(note, &arena);
        if (checkpoint_open(bytes, keys, count, &checkpoint, &err)) {
            fail_msg("accepted: %s", vector_text(one, "what"));
        }
        assert_int_equal(err.code, ERR_INVALID);
    }
    print_message("notes.json: %zu accepted, %zu refused\n", i, refused);
    json_decref(file);
}

/* base64_hash reads a hash; one of another length than 32 bytes cannot be held, and *usable says so. */
static struct hash base64_hash(const char *text, bool *usable)
{
    struct err err;
    AUTO_ARENA(arena, 1 << 13);
    struct bytes bytes;
    struct hash hash = {0};
    *usable = text && base64_decode(bytes_str(text), &arena, &bytes, &err) && hash_from(bytes, &hash) && *usable;
    return hash;
}

static size_t base64_path(const json_t *one, struct hash path[80], bool *usable)
{
    size_t i;
    json_t *hash;
    json_array_foreach(json_object_get(one, "proof"), i, hash)
    {
        path[i] = base64_hash(json_string_value(hash), usable);
    }
    return json_array_size(json_object_get(one, "proof"));
}

/* One of the cases holds 2^64 - 1, which is too large a number for jansson: it is read as a string. */
static json_t *load_case(const char *name)
{
    static const char huge[] = "18446744073709551615";
    AUTO_ARENA(arena, 1 << 16);
    struct bytes text;
    assert_true(shared_data_file(name, &arena, &text));
    AUTO_BUILDER(quoted, 1 << 16);
    const char *at = memmem(text.data, text.len, huge, sizeof huge - 1);
    size_t before = at ? (size_t)(at - (const char *)text.data) : text.len;
    build_bytes(&quoted, BYTES(text.data, before));
    if (at) {
        build_text(&quoted, "\"%s\"", huge);
        build_bytes(&quoted, bytes_str(at + sizeof huge - 1));
    }
    return json_loadb((const char *)quoted.data, quoted.len, 0, NULL);
}

static void check_merkle_case(void *context, const char *name)
{
    size_t *counts = context;
    if (!strstr(name, ".json")) {
        return;
    }
    json_t *one = load_case(name);
    assert_non_null(one);
    struct hash path[80];
    bool usable = true, good;
    size_t len = base64_path(one, path, &usable);
    if (strstr(name, "/inclusion/")) {
        struct hash leaf = base64_hash(vector_text_or(one, "leafHash", NULL), &usable);
        struct hash root = base64_hash(vector_text_or(one, "root", NULL), &usable);
        good = merkle_included(vector_u64(one, "leafIdx"), vector_u64(one, "treeSize"), &leaf, path, len, &root);
    } else {
        struct hash older = base64_hash(vector_text_or(one, "root1", NULL), &usable);
        struct hash newer = base64_hash(vector_text_or(one, "root2", NULL), &usable);
        good = merkle_consistent(vector_u64(one, "size1"), vector_u64(one, "size2"), &older, &newer, path, len);
    }
    good = good && usable;
    if (good == vector_bool(one, "wantErr")) {
        fail_msg("%s: %s", name, good ? "accepted" : "refused");
    }
    counts[good]++;
    json_decref(one);
}

static void test_vectors__merkle_proofs_of_transparency_dev(void **state)
{
    (void)state;
    size_t counts[2] = {0};
    if (shared_data_list("merkle", check_merkle_case, counts)) {
        print_message("merkle: %zu accepted, %zu refused\n", counts[1], counts[0]);
        assert_int_equal(counts[0] + counts[1], 131);
    }
}

/* The table's own keys: "Wit1+55ee4561+<base64 of type and key>" a line. */
static size_t witness_keys(struct arena *arena, struct note_key keys[3])
{
    struct err err;
    struct bytes text, raw;
    if (!shared_data_file("cosignature/vkeys.txt", arena, &text)) {
        return 0;
    }
    struct reader r = reader_of(text);
    for (size_t i = 0; i < 3; i++) {
        struct bytes line = read_line(&r);
        const uint8_t *plus = memchr(line.data, '+', line.len);
        char *name;
        assert_ok(arena_string(arena, BYTES(line.data, (size_t)(plus - line.data)), &name, &err));
        struct reader left = reader_of(line);
        read_bytes(&left, strlen(name) + 1 + 8 + 1);
        assert_ok(base64_decode(left.left, arena, &raw, &err));
        keys[i] = (struct note_key){.name = name, .type = NOTE_WITNESS};
        assert_true(hash_from(BYTES(raw.data + 1, raw.len - 1), &keys[i].public_key));
    }
    return 3;
}

static void test_vectors__cosignatures_of_other_witnesses(void **state)
{
    (void)state;
    json_t *file, *one;
    size_t i;
    struct err err;
    struct note note;
    struct note_key keys[3];
    AUTO_ARENA(arena, ARENA_MAX);
    if (!witness_keys(&arena, keys) || !vectors_load("cosignature/policy-cases.json", &file)) {
        return;
    }
    json_array_foreach(file, i, one)
    {
        bool verified[3] = {false};
        if (note_open(bytes_str(vector_text(one, "note")), keys, 3, &note, &err)) {
            for (size_t k = 0; k < note.signers; k++) {
                verified[note.signed_by[k].key] = true;
            }
        }
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(verified[k], vector_bool(vector_object(one, "verifies"), keys[k].name));
        }
    }
    print_message("policy-cases.json: %zu notes\n", i);
    json_decref(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors__the_tree),
        cmocka_unit_test(test_vectors__the_chains),
        cmocka_unit_test(test_vectors__the_maps),
        cmocka_unit_test(test_vectors__notes),
        cmocka_unit_test(test_vectors__merkle_proofs_of_transparency_dev),
        cmocka_unit_test(test_vectors__cosignatures_of_other_witnesses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
