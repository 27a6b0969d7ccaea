/* node/store/tree.h - an ordered map that never changes: putting and deleting make a new one that shares the
 * rest. A treap whose priorities come from the keys, so that its shape depends on what is in it only.
 *
 * NULL is the empty tree. Trees are counted: what a function returns is yours, what it takes stays yours. Any
 * number of threads may read and hold one tree. For the in-memory store. */
#pragma once

#include "proto/base/bytes.h"

struct tree;

struct tree *tree_hold(struct tree *tree);
void tree_drop(struct tree *tree);

struct tree *tree_put(struct tree *tree, struct bytes key, struct bytes value);
struct tree *tree_delete(struct tree *tree, struct bytes key);

/* The row at `key`; the first at or behind it (behind it, if `strict`); the last before it (of all, if `key` is
 * NULL). NULL if there is none. A row lives as long as the tree. */
const struct tree *tree_find(const struct tree *tree, struct bytes key);
const struct tree *tree_from(const struct tree *tree, struct bytes key, bool strict);
const struct tree *tree_before(const struct tree *tree, const struct bytes *key);

struct bytes tree_key(const struct tree *row);
struct bytes tree_value(const struct tree *row);
