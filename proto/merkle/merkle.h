/* proto/merkle/merkle.h - the RFC 6962 tree: leaves, roots, proofs, and C2SP tiles (formats 6).
 *
 * Nothing here reads a disk: a tree is built and proved over a `merkle_source` that answers for stored tiles. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

enum { MERKLE_PATH_MAX = 64, TILE_HEIGHT = 8, TILE_WIDTH = 256 };

/* merkle_leaf: SHA-256(0x00 || data). merkle_node: SHA-256(0x01 || left || right). merkle_empty: SHA-256(""). */
struct hash merkle_leaf(struct bytes data);
struct hash merkle_node(const struct hash *left, const struct hash *right);
struct hash merkle_empty(void);

/* merkle_root over leaf hashes in memory. */
struct hash merkle_root(const struct hash *leaves, uint64_t count);

/* merkle_included: RFC 9162 2.1.3.2; `path` goes from the leaf upwards. merkle_consistent: 2.1.4.2; from = 0 is
 * refused, from = to demands an empty path and equal roots. */
bool merkle_included(uint64_t index, uint64_t size, const struct hash *leaf, const struct hash *path, size_t len,
                     const struct hash *root);
bool merkle_consistent(uint64_t from, uint64_t to, const struct hash *from_root, const struct hash *to_root,
                       const struct hash *path, size_t len);

/* Where stored hashes come from: hash number `n` of level `level` (level 0: leaf hashes), only for complete
 * subtrees of the tree. Tiles give levels 0-7 of a tile by computing up from its lowest row. */
struct merkle_source {
    bool (*get)(void *context, unsigned level, uint64_t n, struct hash *out, struct err *err);
    void *context;
};
NODISCARD bool merkle_root_at(const struct merkle_source *source, uint64_t size, struct hash *out,
                              struct err *err);
NODISCARD bool merkle_path(const struct merkle_source *source, uint64_t index, uint64_t size,
                           struct hash path[MERKLE_PATH_MAX], size_t *len, struct err *err);
NODISCARD bool merkle_consistency(const struct merkle_source *source, uint64_t from, uint64_t to,
                                  struct hash path[2 * MERKLE_PATH_MAX], size_t *len, struct err *err);

/* The growing edge: hashes of complete subtrees of a tree of `size` leaves, largest first. Appending needs only
 * this; `merkle_edge_add` reports every subtree that became complete to `sink` (may be NULL), level 0 first. */
struct merkle_edge {
    uint64_t size;
    struct hash peaks[MERKLE_PATH_MAX];
};
void merkle_edge_add(struct merkle_edge *edge, const struct hash *leaf,
                     void (*sink)(void *context, unsigned level, uint64_t n, const struct hash *hash),
                     void *context);
struct hash merkle_edge_root(const struct merkle_edge *edge);
NODISCARD bool merkle_edge_load(const struct merkle_source *source, uint64_t size, struct merkle_edge *out,
                                struct err *err);

/* tile_path writes the C2SP tlog-tiles path of a tile, "tile/0/x001/067" (".p/W" when partial). */
void tile_path(unsigned level, uint64_t n, unsigned width, char out[80]);

/* tile_locate says which tile holds hash number `n` of `level`, and where: it is tile_subtree over the
 * 1 << (level % TILE_HEIGHT) hashes of the tile's row that begin at `first`. */
void tile_locate(unsigned level, uint64_t n, unsigned *tile_level, uint64_t *tile, unsigned *first);
struct hash tile_subtree(const struct hash *row, unsigned above);
