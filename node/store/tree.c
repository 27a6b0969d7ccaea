#include "node/store/tree.h"

#include <stdatomic.h>
#include <stdlib.h>

struct row {                 /* shared by all trees that have it */
    atomic_size_t holders;
    uint64_t priority;
    size_t key_len, value_len;
    uint8_t data[];          /* key || value */
};

struct tree {
    atomic_size_t holders;
    struct row *row;
    struct tree *left, *right;
};

static void *must_malloc(size_t size)
{
    void *memory = malloc(size);
    if (!memory) {
        abort();
    }
    return memory;
}

/* FNV-1a, then a finalizer so that near keys lie far apart. */
static uint64_t priority_of(struct bytes key)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < key.len; i++) {
        hash = (hash ^ key.data[i]) * 0x100000001b3;
    }
    hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccd;
    return hash ^ hash >> 29;
}

static struct row *row_new(struct bytes key, struct bytes value)
{
    struct row *row = must_malloc(sizeof *row + key.len + value.len);
    atomic_init(&row->holders, 1);
    row->priority = priority_of(key);
    row->key_len = key.len;
    row->value_len = value.len;
    memcpy(row->data, key.data, key.len);
    if (value.len) {
        memcpy(row->data + key.len, value.data, value.len);
    }
    return row;
}

static struct row *row_hold(struct row *row)
{
    atomic_fetch_add(&row->holders, 1);
    return row;
}

struct bytes tree_key(const struct tree *at)
{
    return BYTES(at->row->data, at->row->key_len);
}

struct bytes tree_value(const struct tree *at)
{
    return BYTES(at->row->data + at->row->key_len, at->row->value_len);
}

struct tree *tree_hold(struct tree *tree)
{
    if (tree) {
        atomic_fetch_add(&tree->holders, 1);
    }
    return tree;
}

void tree_drop(struct tree *tree)
{
    if (!tree || atomic_fetch_sub(&tree->holders, 1) != 1) {
        return;
    }
    tree_drop(tree->left);
    tree_drop(tree->right);
    if (atomic_fetch_sub(&tree->row->holders, 1) == 1) {
        free(tree->row);
    }
    free(tree);
}

/* Takes over all three. */
static struct tree *join(struct row *row, struct tree *left, struct tree *right)
{
    struct tree *tree = must_malloc(sizeof *tree);
    atomic_init(&tree->holders, 1);
    tree->row = row;
    tree->left = left;
    tree->right = right;
    return tree;
}

/* `left` (taken over) in place of tree->left, risen above `tree` if its priority says so. */
static struct tree *with_left(struct tree *tree, struct tree *left)
{
    if (left->row->priority <= tree->row->priority) {
        return join(row_hold(tree->row), left, tree_hold(tree->right));
    }
    struct tree *below = join(row_hold(tree->row), tree_hold(left->right), tree_hold(tree->right));
    struct tree *top = join(row_hold(left->row), tree_hold(left->left), below);
    tree_drop(left);
    return top;
}

static struct tree *with_right(struct tree *tree, struct tree *right)
{
    if (right->row->priority <= tree->row->priority) {
        return join(row_hold(tree->row), tree_hold(tree->left), right);
    }
    struct tree *below = join(row_hold(tree->row), tree_hold(tree->left), tree_hold(right->left));
    struct tree *top = join(row_hold(right->row), below, tree_hold(right->right));
    tree_drop(right);
    return top;
}

static struct tree *put_row(struct tree *tree, struct row *row)
{
    if (!tree) {
        return join(row, NULL, NULL);
    }
    int order = bytes_compare(BYTES(row->data, row->key_len), tree_key(tree));
    if (order == 0) {
        return join(row, tree_hold(tree->left), tree_hold(tree->right));
    }
    return order < 0 ? with_left(tree, put_row(tree->left, row)) : with_right(tree, put_row(tree->right, row));
}

struct tree *tree_put(struct tree *tree, struct bytes key, struct bytes value)
{
    return put_row(tree, row_new(key, value));
}

/* All of `a` is before all of `b`. */
static struct tree *merge(struct tree *a, struct tree *b)
{
    if (!a || !b) {
        return tree_hold(a ? a : b);
    }
    if (a->row->priority > b->row->priority) {
        return join(row_hold(a->row), tree_hold(a->left), merge(a->right, b));
    }
    return join(row_hold(b->row), merge(a, b->left), tree_hold(b->right));
}

/* `key` is in the tree. */
static struct tree *delete_row(struct tree *tree, struct bytes key)
{
    int order = bytes_compare(key, tree_key(tree));
    if (order == 0) {
        return merge(tree->left, tree->right);
    }
    if (order < 0) {
        return join(row_hold(tree->row), delete_row(tree->left, key), tree_hold(tree->right));
    }
    return join(row_hold(tree->row), tree_hold(tree->left), delete_row(tree->right, key));
}

struct tree *tree_delete(struct tree *tree, struct bytes key)
{
    return tree_find(tree, key) ? delete_row(tree, key) : tree_hold(tree);
}

const struct tree *tree_find(const struct tree *tree, struct bytes key)
{
    const struct tree *at = tree_from(tree, key, false);
    return at && bytes_equal(tree_key(at), key) ? at : NULL;
}

const struct tree *tree_from(const struct tree *tree, struct bytes key, bool strict)
{
    const struct tree *best = NULL;
    while (tree) {
        int order = bytes_compare(tree_key(tree), key);
        bool fits = strict ? order > 0 : order >= 0;
        best = fits ? tree : best;
        tree = fits ? tree->left : tree->right;
    }
    return best;
}

const struct tree *tree_before(const struct tree *tree, const struct bytes *key)
{
    const struct tree *best = NULL;
    while (tree) {
        bool fits = !key || bytes_compare(tree_key(tree), *key) < 0;
        best = fits ? tree : best;
        tree = fits ? tree->right : tree->left;
    }
    return best;
}
