#include "proto/content/content.h"

#include "proto/crypto/hash.h"

uint64_t content_chunks(uint64_t length)
{
    return length / CHUNK_LEN + (length % CHUNK_LEN != 0);
}

size_t chunk_length(uint64_t length, uint64_t index)
{
    uint64_t chunks = content_chunks(length);
    if (index >= chunks) {
        return 0;
    }
    return index + 1 < chunks ? CHUNK_LEN : (size_t)(length - index * CHUNK_LEN);
}

struct hash chunk_leaf(const struct hash *salt, uint64_t index, struct bytes plain)
{
    uint8_t number[8];
    put_u64be(number, index);
    return HASH_PARTS(BYTES_LIT("\0chartmesh chunk v1\n"), BYTES_OF(*salt), BYTES(number, sizeof number), plain);
}

static struct hash node_of(const struct hash *left, const struct hash *right)
{
    return HASH_PARTS(BYTES_LIT("\1"), BYTES_OF(*left), BYTES_OF(*right));
}

struct hash content_commitment(const struct hash *salt, uint64_t length, const struct hash *root)
{
    uint8_t number[8];
    put_u64be(number, length);
    return HASH_PARTS(BYTES_LIT("chartmesh content v1\n"), BYTES_OF(*salt), BYTES(number, sizeof number),
                      BYTES_OF(*root));
}

struct hash content_root_of(const struct hash *salt, struct bytes content)
{
    struct content_tree tree = {0};
    uint64_t chunks = content_chunks(content.len);
    for (uint64_t i = 0; i < chunks; i++) {
        struct bytes plain = BYTES(content.data + i * CHUNK_LEN, chunk_length(content.len, i));
        struct hash leaf = chunk_leaf(salt, i, plain);
        content_tree_add(&tree, &leaf);
    }
    return content_tree_root(&tree);
}

struct hash content_commit(const struct hash *salt, struct bytes content, struct hash *root)
{
    *root = content_root_of(salt, content);
    return content_commitment(salt, content.len, root);
}

/* One peak per bit of `leaves`; a new leaf closes as many subtrees as there are low bits set. */
void content_tree_add(struct content_tree *tree, const struct hash *leaf)
{
    size_t peaks = (size_t)__builtin_popcountll(tree->leaves);
    struct hash hash = *leaf;
    for (uint64_t left = tree->leaves; left & 1; left >>= 1) {
        hash = node_of(&tree->peaks[--peaks], &hash);
    }
    tree->peaks[peaks] = hash;
    tree->leaves++;
}

struct hash content_tree_root(const struct content_tree *tree)
{
    size_t peaks = (size_t)__builtin_popcountll(tree->leaves);
    if (peaks == 0) {
        return hash_of(BYTES_NONE);
    }
    struct hash root = tree->peaks[--peaks];
    while (peaks > 0) {
        root = node_of(&tree->peaks[--peaks], &root);
    }
    return root;
}

/* RFC 9162, 2.1.3.2. `at` is our place on a level, `last` the level's last place; a last place without a sibling
 * rises until it has one. */
bool chunk_path_verify(uint64_t index, uint64_t chunks, const struct hash *leaf, const struct hash *path,
                       size_t len, const struct hash *root)
{
    if (index >= chunks) {
        return false;
    }
    uint64_t at = index, last = chunks - 1;
    struct hash hash = *leaf;
    for (size_t i = 0; i < len; i++) {
        if (last == 0) {
            return false;
        }
        for (; at == last && !(at & 1); at >>= 1) {
            last >>= 1;
        }
        hash = at & 1 ? node_of(&path[i], &hash) : node_of(&hash, &path[i]);
        at >>= 1;
        last >>= 1;
    }
    return last == 0 && hash_equal(&hash, root);
}

static struct hash root_over(const struct hash *leaves, uint64_t count)
{
    struct content_tree tree = {0};
    for (uint64_t i = 0; i < count; i++) {
        content_tree_add(&tree, &leaves[i]);
    }
    return content_tree_root(&tree);
}

/* RFC 6962, 2.1.1: the larger, left half of a tree is the largest power of two below its size. */
size_t chunk_path(const struct hash *leaves, uint64_t chunks, uint64_t index, struct hash path[40])
{
    size_t len = 0;
    while (chunks > 1) {
        uint64_t left = (uint64_t)1 << (63 - __builtin_clzll(chunks - 1));
        if (index < left) {
            path[len++] = root_over(leaves + left, chunks - left);
            chunks = left;
        } else {
            path[len++] = root_over(leaves, left);
            leaves += left;
            index -= left;
            chunks -= left;
        }
    }
    for (size_t i = 0; i < len / 2; i++) {
        struct hash swapped = path[i];
        path[i] = path[len - 1 - i];
        path[len - 1 - i] = swapped;
    }
    return len;
}
