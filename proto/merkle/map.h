/* proto/merkle/map.h - the map over chain heads: a prefix trie of 256-bit keys (formats 6).
 *
 * Root at depth 0; bit d of the key, most significant first, chooses the side at depth d. Nothing below: 32
 * zeros; exactly one leaf below: that leaf's hash. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

enum { MAP_DEPTH_MAX = 256 };

struct hash map_key_patient(const struct id *facility, const struct id *patient);
struct hash map_key_actor(const struct id *facility, const struct hash *actor);
struct hash map_value(uint64_t count, uint64_t last_index, const struct hash *chain);
struct hash map_leaf(const struct hash *key, const struct hash *value);
struct hash map_node(unsigned depth, const struct hash *left, const struct hash *right);

/* chain_start and chain_next: chain_0, chain_k (formats 6). */
struct hash chain_start(const struct hash *map_key);
struct hash chain_next(const struct hash *chain, const struct hash *commitment);

/* A map in memory: a persistent trie, so that the map as of a closed epoch stays readable while the next one
 * grows. map_set replaces or adds in O(depth); hashes are made when root, proof or snapshot is asked for. Nodes
 * are shared between snapshots and counted.
 */
struct map;
struct map *map_new(void);
struct map *map_snapshot(const struct map *map);      /* O(1); both are freed apart */
void map_free(struct map *map);
void map_set(struct map *map, const struct hash *key, const struct hash *value);
void map_set_all(struct map *map, const struct map *from);     /* every key of `from`, with its value */
struct hash map_root(const struct map *map);
uint64_t map_count(const struct map *map);

/* What stands where the key's path ends, and the siblings, root first; the last sibling is never zero. */
struct map_proof {
    enum { MAP_NOTHING, MAP_PRESENT, MAP_OTHER } end;
    struct hash other_key, other_value;   /* MAP_OTHER */
    size_t siblings_len;
    struct hash siblings[MAP_DEPTH_MAX];
};
void map_prove(const struct map *map, const struct hash *key, struct map_proof *out);

/* map_verify: `value` NULL proves absence. */
bool map_verify(const struct hash *root, const struct hash *key, const struct hash *value,
                const struct map_proof *proof);
