/* proto/content/content.h - content: 64 KiB chunks in a salted Merkle tree, coded, then sealed (formats 3, 8). */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

enum { CHUNK_LOG2 = 16, CHUNK_LEN = 1 << CHUNK_LOG2, CODED_MAX = CHUNK_LEN + 1 };
#define CONTENT_MAX ((uint64_t)16 << 30)

/* content_chunks: how many chunks a content of that length has (0 for 0). chunk_length: of chunk i. */
uint64_t content_chunks(uint64_t length);
size_t chunk_length(uint64_t length, uint64_t index);

/* chunk_leaf: SHA-256(0x00 || "chartmesh chunk v1\n" || salt || u64be i || plaintext). */
struct hash chunk_leaf(const struct hash *salt, uint64_t index, struct bytes plain);

/* content_commitment: SHA-256("chartmesh content v1\n" || salt || u64be length || root). */
struct hash content_commitment(const struct hash *salt, uint64_t length, const struct hash *root);

/* content_root_of: the root over all chunk leaves of a content in memory. */
struct hash content_root_of(const struct hash *salt, struct bytes content);

/* content_commit draws nothing: salt given, sets root and commitment of a content in memory. */
struct hash content_commit(const struct hash *salt, struct bytes content, struct hash *root);

/* A running tree for content that comes in pieces: leaves are added in order; its state is 40 * 32 bytes at most
 * and can be saved and restored (resumable upload). */
struct content_tree {
    uint64_t leaves;
    struct hash peaks[40];                /* roots of complete subtrees, largest first */
};
void content_tree_add(struct content_tree *tree, const struct hash *leaf);
struct hash content_tree_root(const struct content_tree *tree);

/* chunk_path_verify: `path` (leaf upwards) puts leaf `index` of `chunks` under `root`. chunk_path fills the path
 * from all leaves (in memory), up to 40 hashes; returns its length. */
bool chunk_path_verify(uint64_t index, uint64_t chunks, const struct hash *leaf, const struct hash *path,
                       size_t len, const struct hash *root);
size_t chunk_path(const struct hash *leaves, uint64_t chunks, uint64_t index, struct hash path[40]);

/* chunk_code sets *out to coded_i: zstd when that is shorter, else the chunk itself. Deterministic for one
 * library version; receivers take both. chunk_decode undoes it, refusing (ERR_CORRUPT) any other codec, a frame
 * without content size, a window over 128 KiB, a dictionary, bytes after it, or a result that is not exactly
 * `plain_len`. */
NODISCARD bool chunk_code(struct bytes plain, struct arena *arena, struct bytes *out, struct err *err);
NODISCARD bool chunk_decode(struct bytes coded, size_t plain_len, struct arena *arena, struct bytes *out,
                            struct err *err);

/* At rest (formats 8): keys from a DEK, sealed chunks, the meta row, the header row. */
struct content_keys {
    struct hash content, header;          /* K_content, K_header; secret */
};
void content_keys_derive(const struct hash *dek, const struct id *content_id, struct content_keys *out);

NODISCARD bool chunk_seal(const struct content_keys *keys, const struct id *content_id, uint64_t index, bool last,
                          struct bytes coded, struct arena *arena, struct bytes *out, struct err *err);
NODISCARD bool chunk_open(const struct content_keys *keys, const struct id *content_id, uint64_t index, bool last,
                          struct bytes sealed, struct arena *arena, struct bytes *coded, struct err *err);

struct content_meta {
    struct hash salt, root;
    uint64_t length;
};
NODISCARD bool meta_seal(const struct content_keys *keys, const struct id *content_id,
                         const struct content_meta *meta, struct arena *arena, struct bytes *out, struct err *err);
NODISCARD bool meta_open(const struct content_keys *keys, const struct id *content_id, struct bytes row,
                         struct arena *arena, struct content_meta *out, struct err *err);

/* header row = content id || flags || nonce || GCM(K_header, aad = version id, envelope). */
NODISCARD bool header_seal(const struct content_keys *keys, const struct id *content_id, uint8_t flags,
                           const struct hash *version, struct bytes envelope, struct arena *arena,
                           struct bytes *out, struct err *err);
NODISCARD bool header_row_content(struct bytes row, struct id *content_id, uint8_t *flags, struct err *err);
NODISCARD bool header_open(const struct content_keys *keys, const struct hash *version, struct bytes row,
                           struct arena *arena, struct bytes *envelope, struct err *err);
