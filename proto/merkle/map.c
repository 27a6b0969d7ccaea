#include "proto/merkle/map.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "proto/crypto/hash.h"

struct hash map_key_patient(const struct id *facility, const struct id *patient)
{
    return HASH_PARTS(BYTES_LIT("chartmesh map key v1\n"), BYTES_OF(*facility), BYTES_OF(*patient));
}

struct hash map_key_actor(const struct id *facility, const struct hash *actor)
{
    return HASH_PARTS(BYTES_LIT("chartmesh map actor v1\n"), BYTES_OF(*facility), BYTES_OF(*actor));
}

struct hash map_value(uint64_t count, uint64_t last_index, const struct hash *chain)
{
    uint8_t numbers[16];
    put_u64be(numbers, count);
    put_u64be(numbers + 8, last_index);
    return HASH_PARTS(BYTES(numbers, sizeof numbers), BYTES_OF(*chain));
}

struct hash map_leaf(const struct hash *key, const struct hash *value)
{
    return HASH_PARTS(BYTES_LIT("chartmesh map leaf v1\n"), BYTES_OF(*key), BYTES_OF(*value));
}

struct hash map_node(unsigned depth, const struct hash *left, const struct hash *right)
{
    uint8_t byte = (uint8_t)depth;
    return HASH_PARTS(BYTES_LIT("chartmesh map node v1\n"), BYTES(&byte, 1), BYTES_OF(*left), BYTES_OF(*right));
}

struct hash chain_start(const struct hash *map_key)
{
    return HASH_PARTS(BYTES_LIT("chartmesh chain v1\n"), BYTES_OF(*map_key));
}

struct hash chain_next(const struct hash *chain, const struct hash *commitment)
{
    return HASH_PARTS(BYTES_LIT("chartmesh chain v1\n"), BYTES_OF(*chain), BYTES_OF(*commitment));
}

/* A node is a branch or a leaf and never changes while more than one parent or map holds it. The counts are
 * atomic so that a snapshot may be read and freed on another thread while the map grows. */
struct node {
    atomic_uint refs;
    bool leaf, stale;
    struct hash hash;                        /* unless stale */
    struct node *child[2];                   /* a branch's; NULL: nothing below */
    struct hash pair[];                      /* a leaf's key and value; allocated for leaves only */
};

struct map {
    struct node *root;
    uint64_t count;
};

static void *must_alloc(size_t size)
{
    void *memory = malloc(size);
    if (!memory) {
        abort();
    }
    return memory;
}

static struct node *node_hold(struct node *node)
{
    if (node) {
        atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed);
    }
    return node;
}

static void node_drop(struct node *node)
{
    if (!node || atomic_fetch_sub_explicit(&node->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    if (!node->leaf) {
        node_drop(node->child[0]);
        node_drop(node->child[1]);
    }
    free(node);
}

static struct node *leaf_new(const struct hash *key, const struct hash *value)
{
    struct node *node = must_alloc(sizeof *node + 2 * sizeof *node->pair);
    atomic_init(&node->refs, 1);
    node->leaf = node->stale = true;
    node->pair[0] = *key;
    node->pair[1] = *value;
    return node;
}

/* A branch takes over both references. */
static struct node *branch_new(struct node *left, struct node *right)
{
    struct node *node = must_alloc(sizeof *node);
    atomic_init(&node->refs, 1);
    node->leaf = false;
    node->stale = true;
    node->child[0] = left;
    node->child[1] = right;
    return node;
}

static struct hash hash_at(const struct node *node)
{
    return node ? node->hash : (struct hash){0};
}

/* Hashes are made when they are asked for: until then a leaf or branch that changed is stale, and so is all above
 * it. Nodes that a snapshot shares never are (map_snapshot). */
static void refresh(struct node *node, unsigned depth)
{
    if (!node || !node->stale) {
        return;
    }
    if (node->leaf) {
        node->hash = map_leaf(&node->pair[0], &node->pair[1]);
    } else {
        refresh(node->child[0], depth + 1);
        refresh(node->child[1], depth + 1);
        struct hash left = hash_at(node->child[0]), right = hash_at(node->child[1]);
        node->hash = map_node(depth, &left, &right);
    }
    node->stale = false;
}

static unsigned key_bit(const struct hash *key, unsigned depth)
{
    return key->bytes[depth / 8] >> (7 - depth % 8) & 1;
}

/* own_branch returns a branch that only the caller holds: this one, or a copy of it that replaces it. */
static struct node *own_branch(struct node *node)
{
    if (atomic_load_explicit(&node->refs, memory_order_acquire) == 1) {
        return node;
    }
    struct node *copy = branch_new(node_hold(node->child[0]), node_hold(node->child[1]));
    node_drop(node);
    return copy;
}

/* set takes over a reference to `node` and returns one to the subtree with the key set. */
static struct node *set(struct node *node, unsigned depth, const struct hash *key, const struct hash *value,
                        uint64_t *count)
{
    if (!node) {
        ++*count;
        return leaf_new(key, value);
    }
    if (node->leaf && hash_equal(&node->pair[0], key)) {
        node_drop(node);
        return leaf_new(key, value);
    }
    struct node *branch;
    if (node->leaf) {                       /* another leaf stood here alone: it moves one down */
        bool right = key_bit(&node->pair[0], depth);
        branch = branch_new(right ? NULL : node, right ? node : NULL);
    } else {
        branch = own_branch(node);
    }
    struct node **child = &branch->child[key_bit(key, depth)];
    *child = set(*child, depth + 1, key, value, count);
    branch->stale = true;
    return branch;
}

struct map *map_new(void)
{
    struct map *map = must_alloc(sizeof *map);
    *map = (struct map){0};
    return map;
}

struct map *map_snapshot(const struct map *map)
{
    struct map *snapshot = must_alloc(sizeof *snapshot);
    refresh(map->root, 0);
    *snapshot = (struct map){.root = node_hold(map->root), .count = map->count};
    return snapshot;
}

void map_free(struct map *map)
{
    if (map) {
        node_drop(map->root);
        free(map);
    }
}

void map_set(struct map *map, const struct hash *key, const struct hash *value)
{
    map->root = set(map->root, 0, key, value, &map->count);
}

static void set_all(struct map *map, const struct node *from)
{
    if (from && from->leaf) {
        map_set(map, &from->pair[0], &from->pair[1]);
    } else if (from) {
        set_all(map, from->child[0]);
        set_all(map, from->child[1]);
    }
}

void map_set_all(struct map *map, const struct map *from)
{
    set_all(map, from->root);
}

struct hash map_root(const struct map *map)
{
    refresh(map->root, 0);
    return hash_at(map->root);
}

uint64_t map_count(const struct map *map)
{
    return map->count;
}

void map_prove(const struct map *map, const struct hash *key, struct map_proof *out)
{
    refresh(map->root, 0);
    const struct node *node = map->root;
    unsigned depth = 0;
    for (; node && !node->leaf; depth++) {
        unsigned bit = key_bit(key, depth);
        out->siblings[depth] = hash_at(node->child[!bit]);
        node = node->child[bit];
    }
    out->siblings_len = depth;
    out->other_key = out->other_value = (struct hash){0};
    if (!node) {
        out->end = MAP_NOTHING;
    } else if (hash_equal(&node->pair[0], key)) {
        out->end = MAP_PRESENT;
    } else {
        out->end = MAP_OTHER;
        out->other_key = node->pair[0];
        out->other_value = node->pair[1];
    }
}

/* end_hash sets what stands where the path ends; false when that end cannot prove what is claimed. */
static bool end_hash(const struct hash *key, const struct hash *value, const struct map_proof *proof,
                     struct hash *out)
{
    switch (proof->end) {
    case MAP_NOTHING:
        *out = (struct hash){0};
        return !value;
    case MAP_PRESENT:
        *out = value ? map_leaf(key, value) : (struct hash){0};
        return value != NULL;
    case MAP_OTHER:
        for (unsigned depth = 0; depth < proof->siblings_len; depth++) {
            if (key_bit(&proof->other_key, depth) != key_bit(key, depth)) {
                return false;
            }
        }
        *out = map_leaf(&proof->other_key, &proof->other_value);
        return !value && !hash_equal(&proof->other_key, key);
    }
    return false;
}

bool map_verify(const struct hash *root, const struct hash *key, const struct hash *value,
                const struct map_proof *proof)
{
    size_t len = proof->siblings_len;
    struct hash hash;
    if (len > MAP_DEPTH_MAX || (len > 0 && hash_is_zero(&proof->siblings[len - 1])) ||
        !end_hash(key, value, proof, &hash)) {
        return false;
    }
    for (unsigned depth = (unsigned)len; depth-- > 0;) {
        const struct hash *sibling = &proof->siblings[depth];
        hash = key_bit(key, depth) ? map_node(depth, sibling, &hash) : map_node(depth, &hash, sibling);
    }
    return hash_equal(&hash, root);
}
