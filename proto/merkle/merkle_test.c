#include "proto/merkle/merkle.h"

#include "proto/merkle/bundle.h"
#include "proto/merkle/map.h"
#include "tests/lib/test.h"

enum { SIZES = 70 };

/* A tree held as the naive definition has it, and as the stored hashes of complete subtrees. */
struct tree {
    struct hash leaves[SIZES];
    struct hash stored[8][SIZES];
    uint64_t stored_at[8];
};

static struct tree tree;

static struct hash naive_root(uint64_t begin, uint64_t end)
{
    if (begin == end) {
        return merkle_empty();
    }
    if (end - begin == 1) {
        return tree.leaves[begin];
    }
    uint64_t left = 1;
    while (left * 2 < end - begin) {
        left *= 2;
    }
    struct hash a = naive_root(begin, begin + left), b = naive_root(begin + left, end);
    return merkle_node(&a, &b);
}

static void keep(void *context, unsigned level, uint64_t n, const struct hash *hash)
{
    (void)context;
    assert_int_equal(n, tree.stored_at[level]++);
    tree.stored[level][n] = *hash;
}

static bool get(void *context, unsigned level, uint64_t n, struct hash *out, struct err *err)
{
    (void)context;
    if (level >= 8 || n >= tree.stored_at[level]) {
        return err_raise(err, ERR_NOT_FOUND, "no complete subtree %ju of level %u", (uintmax_t)n, level);
    }
    *out = tree.stored[level][n];
    return true;
}

static const struct merkle_source source = {.get = get};

static int make_tree(void **state)
{
    (void)state;
    struct merkle_edge edge = {0};
    for (uint64_t i = 0; i < SIZES; i++) {
        uint8_t number[8];
        put_u64be(number, i);
        tree.leaves[i] = merkle_leaf(BYTES(number, sizeof number));
        merkle_edge_add(&edge, &tree.leaves[i], keep, NULL);
    }
    return 0;
}

static void test_merkle__every_root_is_that_of_the_definition(void **state)
{
    (void)state;
    struct err err;
    for (uint64_t size = 0; size <= SIZES; size++) {
        struct hash naive = naive_root(0, size), root = merkle_root(tree.leaves, size), stored;
        assert_bytes_equal(BYTES_OF(root), BYTES_OF(naive));
        assert_ok(merkle_root_at(&source, size, &stored, &err));
        assert_bytes_equal(BYTES_OF(stored), BYTES_OF(naive));
        struct merkle_edge edge;
        assert_ok(merkle_edge_load(&source, size, &edge, &err));
        root = merkle_edge_root(&edge);
        assert_bytes_equal(BYTES_OF(root), BYTES_OF(naive));
    }
}

/* Every way to bend a good proof by one step: the checks take a changed path, index or size. */
static void refuse_bent_paths(uint64_t index, uint64_t size, const struct hash *root, const struct hash *path,
                              size_t len)
{
    const struct hash *leaf = &tree.leaves[index];
    struct hash bent[MERKLE_PATH_MAX + 1];
    memcpy(bent, path, len * sizeof *path);
    for (size_t i = 0; i < len; i++) {
        bent[i].bytes[i % HASH_LEN] ^= 1;
        assert_false(merkle_included(index, size, leaf, bent, len, root));
        bent[i].bytes[i % HASH_LEN] ^= 1;
    }
    bent[len] = *root;
    assert_false(merkle_included(index, size, leaf, bent, len + 1, root));
    assert_true(len == 0 || !merkle_included(index, size, leaf, bent, len - 1, root));
    for (uint64_t other = 0; other <= size; other++) {
        assert_true(other == index || !merkle_included(other, size, leaf, bent, len, root));
    }
}

static void test_merkle__a_path_proves_its_leaf_in_its_place_only(void **state)
{
    (void)state;
    struct err err;
    struct hash path[MERKLE_PATH_MAX];
    size_t len;
    for (uint64_t size = 1; size <= SIZES; size++) {
        struct hash root = naive_root(0, size);
        for (uint64_t index = 0; index < size; index++) {
            assert_ok(merkle_path(&source, index, size, path, &len, &err));
            assert_true(merkle_included(index, size, &tree.leaves[index], path, len, &root));
            refuse_bent_paths(index, size, &root, path, len);
        }
        assert_err(ERR_INVALID, merkle_path(&source, size, size, path, &len, &err));
    }
}

static void test_I17_merkle__every_older_tree_is_proved_a_beginning_of_every_newer(void **state)
{
    (void)state;
    struct err err;
    struct hash path[2 * MERKLE_PATH_MAX];
    size_t len;
    for (uint64_t to = 1; to <= SIZES; to++) {
        struct hash newer = naive_root(0, to);
        for (uint64_t from = 1; from <= to; from++) {
            struct hash older = naive_root(0, from);
            assert_ok(merkle_consistency(&source, from, to, path, &len, &err));
            assert_true(merkle_consistent(from, to, &older, &newer, path, len));
            struct hash other = older;
            other.bytes[0] ^= 1;
            assert_false(merkle_consistent(from, to, &other, &newer, path, len));
            for (size_t i = 0; i < len; i++) {
                path[i].bytes[31] ^= 1;
                assert_false(merkle_consistent(from, to, &older, &newer, path, len));
                path[i].bytes[31] ^= 1;
            }
            assert_true(len == 0 || !merkle_consistent(from, to, &older, &newer, path, len - 1));
        }
        assert_err(ERR_INVALID, merkle_consistency(&source, 0, to, path, &len, &err));
        assert_err(ERR_INVALID, merkle_consistency(&source, to + 1, to, path, &len, &err));
    }
}

static void test_I17_merkle__a_forked_tree_has_no_consistency_proof(void **state)
{
    (void)state;
    struct err err;
    struct hash path[2 * MERKLE_PATH_MAX], leaves[SIZES];
    size_t len;
    memcpy(leaves, tree.leaves, sizeof leaves);
    leaves[20].bytes[0] ^= 1;
    struct hash forked = merkle_root(leaves, 33), newer = naive_root(0, SIZES);
    assert_ok(merkle_consistency(&source, 33, SIZES, path, &len, &err));
    assert_false(merkle_consistent(33, SIZES, &forked, &newer, path, len));
}

static void test_tile__paths_are_those_of_tlog_tiles(void **state)
{
    (void)state;
    char path[80];
    tile_path(0, 1234067, TILE_WIDTH, path);
    assert_string_equal(path, "tile/0/x001/x234/067");
    tile_path(1, 0, 17, path);
    assert_string_equal(path, "tile/1/000.p/17");
    tile_path(3, 273, 112, path);
    assert_string_equal(path, "tile/3/273.p/112");
    tile_path(63, UINT64_MAX, 255, path);
    assert_string_equal(path, "tile/63/x018/x446/x744/x073/x709/x551/615.p/255");
}

static void test_tile__any_stored_hash_is_found_in_its_tile(void **state)
{
    (void)state;
    for (unsigned level = 0; level < 7; level++) {
        for (uint64_t n = 0; n < tree.stored_at[level]; n++) {
            unsigned tile_level, first;
            uint64_t tile;
            tile_locate(level, n, &tile_level, &tile, &first);
            assert_int_equal(tile_level, 0);
            assert_int_equal(tile, 0);
            struct hash hash = tile_subtree(&tree.leaves[first], level % TILE_HEIGHT);
            assert_bytes_equal(BYTES_OF(hash), BYTES_OF(tree.stored[level][n]));
        }
    }
    unsigned tile_level, first;
    uint64_t tile;
    tile_locate(17, 1000, &tile_level, &tile, &first);      /* leaves 1000 << 17: hash 2000 of level 16 */
    assert_int_equal(tile_level, 2);
    assert_int_equal(tile, 2000 / 256);
    assert_int_equal(first, 2000 % 256);
}

static struct hash key_of(uint64_t n)
{
    struct hash key = {0};
    put_u64be(key.bytes, n * 0x9e3779b97f4a7c15u);
    put_u64be(key.bytes + 24, n);
    return key;
}

static void test_map__presence_and_absence_are_proved_for_every_key(void **state)
{
    (void)state;
    struct map *map = map_new();
    struct map_proof proof;
    for (uint64_t n = 0; n < 300; n++) {
        struct hash key = key_of(n), value = merkle_leaf(BYTES_OF(key)), root = map_root(map);
        map_prove(map, &key, &proof);
        assert_true(map_verify(&root, &key, NULL, &proof));
        assert_false(map_verify(&root, &key, &value, &proof));
        map_set(map, &key, &value);
        assert_int_equal(map_count(map), n + 1);
    }
    struct hash root = map_root(map);
    for (uint64_t n = 0; n < 300; n++) {
        struct hash key = key_of(n), value = merkle_leaf(BYTES_OF(key)), other = {{1}};
        map_prove(map, &key, &proof);
        assert_true(map_verify(&root, &key, &value, &proof));
        assert_false(map_verify(&root, &key, NULL, &proof));
        assert_false(map_verify(&root, &key, &other, &proof));
        for (size_t i = 0; i < proof.siblings_len; i++) {
            proof.siblings[i].bytes[5] ^= 1;
            assert_false(map_verify(&root, &key, &value, &proof));
            proof.siblings[i].bytes[5] ^= 1;
        }
        proof.siblings[proof.siblings_len++] = (struct hash){0};
        assert_false(map_verify(&root, &key, &value, &proof));
    }
    map_free(map);
}

static void test_map__a_snapshot_stays_as_it_was(void **state)
{
    (void)state;
    struct map *map = map_new();
    for (uint64_t n = 0; n < 100; n++) {
        struct hash key = key_of(n);
        map_set(map, &key, &key);
    }
    struct hash before = map_root(map), first = key_of(0), changed = {{9}};
    struct map *snapshot = map_snapshot(map);
    for (uint64_t n = 50; n < 200; n++) {
        struct hash key = key_of(n);
        map_set(map, &key, &changed);
    }
    struct hash kept = map_root(snapshot), after = map_root(map);
    assert_bytes_equal(BYTES_OF(kept), BYTES_OF(before));
    assert_false(hash_equal(&after, &before));
    assert_int_equal(map_count(snapshot), 100);
    assert_int_equal(map_count(map), 200);
    map_free(map);
    struct map_proof proof;
    map_prove(snapshot, &first, &proof);
    assert_true(map_verify(&before, &first, &first, &proof));
    map_free(snapshot);
}

static void test_map__the_order_of_sets_does_not_change_the_root(void **state)
{
    (void)state;
    struct map *up = map_new(), *down = map_new();
    for (uint64_t n = 0; n < 257; n++) {
        struct hash a = key_of(n), b = key_of(256 - n);
        map_set(up, &a, &a);
        map_set(down, &b, &(struct hash){{1}});
        map_set(down, &b, &b);
    }
    struct hash a = map_root(up), b = map_root(down);
    assert_bytes_equal(BYTES_OF(a), BYTES_OF(b));
    map_free(up);
    map_free(down);
}

static void test_bundle__what_is_written_is_read(void **state)
{
    (void)state;
    struct err err;
    AUTO_BUILDER(file, 1 << 16);
    struct bundle_writer writer = {0};
    enum bundle_type types[] = {1, 2, 3, 5, 5, 7, 4, 6, 4, 8, 255};
    uint64_t frames;
    for (size_t i = 0; i < COUNT(types); i++) {
        uint8_t body = (uint8_t)i;
        assert_ok(bundle_write_frame(&writer, types[i], BYTES(&body, 1), &file, &err));
    }
    bundle_writer_root(&writer, &frames);
    assert_int_equal(frames, COUNT(types));
    struct bundle_reader reader;
    struct bundle_frame frame;
    bool more;
    assert_ok(bundle_read(builder_view(&file), &reader, &err));
    for (size_t i = 0; i < COUNT(types); i++) {
        assert_ok(bundle_read_next(&reader, &frame, &more, &err));
        assert_true(more && frame.type == types[i] && frame.number == i && frame.body.data[0] == i);
        assert_int_equal(frame.offset, 8 + 6 * i);
    }
    assert_ok(bundle_read_next(&reader, &frame, &more, &err));
    assert_false(more);
}

static bool read_all(struct bytes file, struct err *err)
{
    struct bundle_reader reader;
    struct bundle_frame frame;
    bool more = true;
    bool ok = bundle_read(file, &reader, err);
    while (ok && more) {
        ok = bundle_read_next(&reader, &frame, &more, err);
    }
    return ok;
}

static void test_bundle__frames_out_of_their_place_are_refused(void **state)
{
    (void)state;
    struct err err;
    struct bytes bad[] = {
        BYTES_LIT(""),
        BYTES_LIT("CMEVID1"),
        BYTES_LIT("CMEVID1\n"),
        BYTES_LIT("CMEVID1\n\0\0\0\0\1\0\0\0\0\2\0\0\0\0\3"),                       /* no answer */
        BYTES_LIT("CMEVID1\n\0\0\0\0\1\0\0\0\0\2\0\0\0\0\377"),                     /* no map */
        BYTES_LIT("CMEVID1\n\0\0\0\0\1\0\0\0\0\1\0\0\0\0\2\0\0\0\0\3\0\0\0\0\377"), /* two queries */
        BYTES_LIT("CMEVID1\n\0\0\0\0\1\0\0\0\0\2\0\0\0\0\3\0\0\0\0\11\0\0\0\0\377"), /* type 9 */
        BYTES_LIT("CMEVID1\n\0\0\0\0\1\0\0\0\0\2\0\0\0\0\3\0\0\0\0\4\0\0\0\0\5\0\0\0\0\377"),
        BYTES_LIT("CMEVID1\n\0\0\0\0\1\0\0\0\0\2\0\0\0\0\3\0\0\0\0\377x"),
        BYTES_LIT("CMEVID1\n\0\0\0\0\1\0\0\0\0\2\0\0\0\0\3\0\0\0\1\377"),
        BYTES_LIT("CMEVID1\n\377\0\0\0\1"),
    };
    assert_ok(read_all(BYTES_LIT("CMEVID1\n\0\0\0\0\1\0\0\0\0\2\0\0\0\0\3\0\0\0\0\377"), &err));
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_err(ERR_CORRUPT, read_all(bad[i], &err));
    }
    AUTO_BUILDER(file, 1 << 10);
    struct bundle_writer writer = {0};
    assert_err(ERR_INVALID, bundle_write_frame(&writer, BUNDLE_MAP, BYTES_NONE, &file, &err));
    assert_err(ERR_CORRUPT, bundle_order(5, BYTES_LIT("b"), 5, BYTES_LIT("b"), &err));
    assert_err(ERR_CORRUPT, bundle_order(4, BYTES_LIT("b"), 6, BYTES_LIT("a"), &err));
    assert_ok(bundle_order(4, BYTES_LIT("a"), 6, BYTES_LIT("b"), &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merkle__every_root_is_that_of_the_definition),
        cmocka_unit_test(test_merkle__a_path_proves_its_leaf_in_its_place_only),
        cmocka_unit_test(test_I17_merkle__every_older_tree_is_proved_a_beginning_of_every_newer),
        cmocka_unit_test(test_I17_merkle__a_forked_tree_has_no_consistency_proof),
        cmocka_unit_test(test_tile__paths_are_those_of_tlog_tiles),
        cmocka_unit_test(test_tile__any_stored_hash_is_found_in_its_tile),
        cmocka_unit_test(test_map__presence_and_absence_are_proved_for_every_key),
        cmocka_unit_test(test_map__a_snapshot_stays_as_it_was),
        cmocka_unit_test(test_map__the_order_of_sets_does_not_change_the_root),
        cmocka_unit_test(test_bundle__what_is_written_is_read),
        cmocka_unit_test(test_bundle__frames_out_of_their_place_are_refused),
    };
    return cmocka_run_group_tests(tests, make_tree, NULL);
}
