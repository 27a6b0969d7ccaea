/* The tree: roots and proofs. Every answer is checked against the durable root, which is the one that the signed
 * checkpoint says: a hash row that was damaged is found here, and nobody is given a proof that proves nothing. */
#include "node/log/log_inside.h"

struct log_size log_size(struct log *log)
{
    AUTO_LOCKED(locked, log->lock);
    return log->durable;
}

static bool within(const struct log_size *now, uint64_t size, struct err *err)
{
    return size <= now->size ||
           err_raise(err, ERR_RANGE, "log: %ju is beyond its %ju entries", (uintmax_t)size, (uintmax_t)now->size);
}

static bool raise_damaged(uint64_t size, struct err *err)
{
    return err_raise(
        err, ERR_CORRUPT,
        "log: the stored hashes (family log, 'h') of its first %ju entries are not those of the signed "
        "tree",
        (uintmax_t)size);
}

/* The root of a beginning of the tree, proved to be one. */
static bool root_of(struct log *log, const struct log_size *now, uint64_t size, struct hash *out, struct err *err)
{
    struct hash path[2 * MERKLE_PATH_MAX];
    size_t len;
    struct merkle_source source = log_source(log);
    if (size == now->size) {
        *out = now->root;
        return true;
    }
    if (!within(now, size, err) || !merkle_root_at(&source, size, out, err)) {
        return false;
    }
    if (size == 0) {
        return true;
    }
    return merkle_consistency(&source, size, now->size, path, &len, err) &&
           (merkle_consistent(size, now->size, out, &now->root, path, len) || raise_damaged(size, err));
}

bool log_root_at(struct log *log, uint64_t size, struct hash *out, struct err *err)
{
    struct log_size now = log_size(log);
    return root_of(log, &now, size, out, err);
}

bool log_inclusion(struct log *log, uint64_t index, uint64_t size, struct hash path[MERKLE_PATH_MAX], size_t *len,
                   struct err *err)
{
    struct log_size now = log_size(log);
    struct merkle_source source = log_source(log);
    struct hash root, leaf;
    if (index >= size) {
        return err_raise(err, ERR_RANGE, "log: no entry %ju in a tree of %ju", (uintmax_t)index, (uintmax_t)size);
    }
    return root_of(log, &now, size, &root, err) && source.get(source.context, 0, index, &leaf, err) &&
           merkle_path(&source, index, size, path, len, err) &&
           (merkle_included(index, size, &leaf, path, *len, &root) || raise_damaged(size, err));
}

bool log_consistency(struct log *log, uint64_t from, uint64_t to, struct hash path[2 * MERKLE_PATH_MAX],
                     size_t *len, struct err *err)
{
    struct log_size now = log_size(log);
    struct merkle_source source = log_source(log);
    struct hash old, new;
    if (from == 0 || from > to) {
        return err_raise(err, ERR_RANGE, "log: no consistency from %ju to %ju", (uintmax_t)from, (uintmax_t)to);
    }
    return root_of(log, &now, to, &new, err) && root_of(log, &now, from, &old, err) &&
           merkle_consistency(&source, from, to, path, len, err) &&
           (merkle_consistent(from, to, &old, &new, path, *len) || raise_damaged(to, err));
}
