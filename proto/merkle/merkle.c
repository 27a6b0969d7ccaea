#include "proto/merkle/merkle.h"

#include <stdio.h>

#include "proto/crypto/hash.h"

struct hash merkle_leaf(struct bytes data)
{
    return HASH_PARTS(BYTES_LIT("\0"), data);
}

struct hash merkle_node(const struct hash *left, const struct hash *right)
{
    return HASH_PARTS(BYTES_LIT("\1"), BYTES_OF(*left), BYTES_OF(*right));
}

struct hash merkle_empty(void)
{
    return hash_of(BYTES_NONE);
}

struct hash merkle_root(const struct hash *leaves, uint64_t count)
{
    struct merkle_edge edge = {0};
    for (uint64_t i = 0; i < count; i++) {
        merkle_edge_add(&edge, &leaves[i], NULL, NULL);
    }
    return merkle_edge_root(&edge);
}

/* RFC 9162, 2.1.3.2. `at` is our place on a level, `last` the level's last place; a last place without a sibling
 * rises until it has one. */
bool merkle_included(uint64_t index, uint64_t size, const struct hash *leaf, const struct hash *path, size_t len,
                     const struct hash *root)
{
    if (index >= size) {
        return false;
    }
    uint64_t at = index, last = size - 1;
    struct hash hash = *leaf;
    for (size_t i = 0; i < len; i++) {
        if (last == 0) {
            return false;
        }
        for (; at == last && !(at & 1); at >>= 1) {
            last >>= 1;
        }
        hash = at & 1 ? merkle_node(&path[i], &hash) : merkle_node(&hash, &path[i]);
        at >>= 1;
        last >>= 1;
    }
    return last == 0 && hash_equal(&hash, root);
}

/* RFC 9162, 2.1.4.2. The old tree's last complete subtree is where both climbs begin: it is the old root itself
 * when `from` is a power of two, else the path's first hash. */
bool merkle_consistent(uint64_t from, uint64_t to, const struct hash *from_root, const struct hash *to_root,
                       const struct hash *path, size_t len)
{
    if (from == 0 || from > to) {
        return false;
    }
    if (from == to) {
        return len == 0 && hash_equal(from_root, to_root);
    }
    bool whole = (from & (from - 1)) == 0;
    if (len == 0) {
        return false;
    }
    uint64_t at = from - 1, last = to - 1;
    for (; at & 1; at >>= 1) {
        last >>= 1;
    }
    struct hash older = whole ? *from_root : path[0], newer = older;
    for (size_t i = whole ? 0 : 1; i < len; i++) {
        if (last == 0) {
            return false;
        }
        bool on_right = (at & 1) || at == last;
        for (; at == last && !(at & 1); at >>= 1) {
            last >>= 1;
        }
        older = on_right ? merkle_node(&path[i], &older) : older;
        newer = on_right ? merkle_node(&path[i], &newer) : merkle_node(&newer, &path[i]);
        at >>= 1;
        last >>= 1;
    }
    return last == 0 && hash_equal(&older, from_root) && hash_equal(&newer, to_root);
}

/* fold joins peaks, largest first, into a root. */
static struct hash fold(const struct hash *peaks, size_t count)
{
    if (count == 0) {
        return merkle_empty();
    }
    struct hash root = peaks[--count];
    while (count > 0) {
        root = merkle_node(&peaks[--count], &root);
    }
    return root;
}

/* peaks_of reads the complete subtrees that leaves [begin, end) are made of, largest first. `begin` is where a
 * subtree of that size can stand. */
static bool peaks_of(const struct merkle_source *source, uint64_t begin, uint64_t end,
                     struct hash peaks[MERKLE_PATH_MAX], size_t *count, struct err *err)
{
    *count = 0;
    while (begin < end) {
        unsigned level = 63 - (unsigned)__builtin_clzll(end - begin);
        if (!source->get(source->context, level, begin >> level, &peaks[*count], err)) {
            return err_wrap(err, "merkle: hash %ju of level %u", (uintmax_t)(begin >> level), level);
        }
        ++*count;
        begin += (uint64_t)1 << level;
    }
    return true;
}

static bool root_of_range(const struct merkle_source *source, uint64_t begin, uint64_t end, struct hash *out,
                          struct err *err)
{
    struct hash peaks[MERKLE_PATH_MAX];
    size_t count;
    if (!peaks_of(source, begin, end, peaks, &count, err)) {
        return false;
    }
    *out = fold(peaks, count);
    return true;
}

bool merkle_root_at(const struct merkle_source *source, uint64_t size, struct hash *out, struct err *err)
{
    return root_of_range(source, 0, size, out, err);
}

/* RFC 6962, 2.1: the left part of a tree is the largest power of two below its size. */
static uint64_t left_part(uint64_t size)
{
    return (uint64_t)1 << (63 - __builtin_clzll(size - 1));
}

static void reverse(struct hash *path, size_t len)
{
    for (size_t i = 0; i < len / 2; i++) {
        struct hash swapped = path[i];
        path[i] = path[len - 1 - i];
        path[len - 1 - i] = swapped;
    }
}

/* RFC 6962, 2.1.1, from the root down, then turned round. */
bool merkle_path(const struct merkle_source *source, uint64_t index, uint64_t size,
                 struct hash path[MERKLE_PATH_MAX], size_t *len, struct err *err)
{
    if (index >= size) {
        return err_raise(err, ERR_INVALID, "merkle: no leaf %ju in a tree of %ju", (uintmax_t)index,
                         (uintmax_t)size);
    }
    size_t n = 0;
    for (uint64_t begin = 0, end = size; end - begin > 1; n++) {
        uint64_t middle = begin + left_part(end - begin);
        bool left = index < middle;
        if (!root_of_range(source, left ? middle : begin, left ? end : middle, &path[n], err)) {
            return false;
        }
        begin = left ? begin : middle;
        end = left ? middle : end;
    }
    reverse(path, n);
    *len = n;
    return true;
}

/* RFC 6962, 2.1.2, from the root down, then turned round. */
bool merkle_consistency(const struct merkle_source *source, uint64_t from, uint64_t to,
                        struct hash path[2 * MERKLE_PATH_MAX], size_t *len, struct err *err)
{
    if (from == 0 || from > to) {
        return err_raise(err, ERR_INVALID, "merkle: no consistency from size %ju to %ju", (uintmax_t)from,
                         (uintmax_t)to);
    }
    size_t n = 0;
    uint64_t begin = 0, end = to;
    while (end != from) {
        uint64_t middle = begin + left_part(end - begin);
        bool left = from <= middle;
        if (!root_of_range(source, left ? middle : begin, left ? end : middle, &path[n++], err)) {
            return false;
        }
        begin = left ? begin : middle;
        end = left ? middle : end;
    }
    if (begin != 0 && !root_of_range(source, begin, end, &path[n++], err)) {
        return false;
    }
    reverse(path, n);
    *len = n;
    return true;
}

/* One peak per bit of the size; a new leaf closes as many subtrees as the size has low bits set. */
void merkle_edge_add(struct merkle_edge *edge, const struct hash *leaf,
                     void (*sink)(void *context, unsigned level, uint64_t n, const struct hash *hash),
                     void *context)
{
    size_t peaks = (size_t)__builtin_popcountll(edge->size);
    struct hash hash = *leaf;
    unsigned level = 0;
    if (sink) {
        sink(context, 0, edge->size, &hash);
    }
    for (uint64_t left = edge->size; left & 1; left >>= 1) {
        hash = merkle_node(&edge->peaks[--peaks], &hash);
        level++;
        if (sink) {
            sink(context, level, left >> 1, &hash);
        }
    }
    edge->peaks[peaks] = hash;
    edge->size++;
}

struct hash merkle_edge_root(const struct merkle_edge *edge)
{
    return fold(edge->peaks, (size_t)__builtin_popcountll(edge->size));
}

bool merkle_edge_load(const struct merkle_source *source, uint64_t size, struct merkle_edge *out, struct err *err)
{
    struct merkle_edge edge = {.size = size};
    size_t count;
    if (!peaks_of(source, 0, size, edge.peaks, &count, err)) {
        return false;
    }
    *out = edge;
    return true;
}

/* C2SP tlog-tiles: <N> in zero-padded groups of three digits, all but the last behind an x. */
void tile_path(unsigned level, uint64_t n, unsigned width, char out[80])
{
    char groups[40] = "";
    uint64_t divisor = 1;
    while (n / divisor >= 1000) {
        divisor *= 1000;
    }
    for (; divisor > 1; divisor /= 1000) {
        size_t used = strlen(groups);
        snprintf(groups + used, sizeof groups - used, "x%03u/", (unsigned)(n / divisor % 1000));
    }
    int len = snprintf(out, 80, "tile/%u/%s%03u", level, groups, (unsigned)(n % 1000));
    if (width < TILE_WIDTH) {
        snprintf(out + len, 80 - (size_t)len, ".p/%u", width);
    }
}

void tile_locate(unsigned level, uint64_t n, unsigned *tile_level, uint64_t *tile, unsigned *first)
{
    unsigned above = level % TILE_HEIGHT;
    *tile_level = level / TILE_HEIGHT;
    *tile = n >> (TILE_HEIGHT - above);
    *first = (unsigned)(n << above) % TILE_WIDTH;
}

struct hash tile_subtree(const struct hash *row, unsigned above)
{
    return merkle_root(row, (uint64_t)1 << above);
}
