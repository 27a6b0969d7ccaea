/* node/store/store_mem.h - the store's in-memory twin: the same port, and a disk that can lose power.
 *
 * A `struct store_disk` is what is left when the process is gone. Give it to store_open; close and open again and
 * the rows are there. The twin keeps rows in an immutable tree, so that a snapshot, a clone and a crash cost
 * nothing.
 *
 * Three ways to test what a power cut does:
 *   - store_disk_crash between commits: what was committed is there again after store_open.
 *   - store_disk_on_sync: a commit calls back after it wrote and before it is durable or visible. The simulator
 *     lets other work and time go on there, and may end the node: the callback's answer says what the disk kept.
 *   - store_disk_hold: a disk that lies. Commits succeed but are lost at the next crash; whoever claims to
 *     notice a rolled-back store is tested with it. */
#pragma once

#include "node/store/store.h"

enum store_disk_sync {
    DISK_SYNCED,             /* durable: the commit succeeds */
    DISK_LOST,               /* the power went before: the batch is gone, store_commit fails */
    DISK_KEPT                /* the power went after: the batch is there at the next open, store_commit fails */
};

typedef enum store_disk_sync (*store_disk_sync_fn)(void *arg);

struct store_disk *store_disk_new(void);

/* store_disk_free: no store may be open on it. NULL is fine. */
void store_disk_free(struct store_disk *disk);

/* store_disk_crash takes the power away: what is not durable is lost, and an open store is dead from now on:
 * all it does fails with ERR_UNAVAILABLE until it is closed. The disk can be opened again at once. */
void store_disk_crash(struct store_disk *disk);

/* store_disk_clone returns a second disk with what is durable now: a backup, or a copied machine. */
struct store_disk *store_disk_clone(const struct store_disk *disk);

/* store_disk_on_sync calls `fn` in every commit; NULL: never again. The answers LOST and KEPT include
 * store_disk_crash. */
void store_disk_on_sync(struct store_disk *disk, store_disk_sync_fn fn, void *arg);

/* store_disk_hold: while held, commits are visible but not durable; letting go makes them durable. */
void store_disk_hold(struct store_disk *disk, bool hold);
