/* node/server/folder.h - the node's data folder, and reading small files.
 *
 *     DATA/lock       held while a node runs on the folder; has its process id
 *     DATA/store/     the store (node/store)
 *     DATA/keyring    epoch keys, sealed by the root key (node/keys)
 *     DATA/anchor     the log's size and root, outside the store (node/log)
 */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

struct folder {
    int lock;                        /* file descriptor; 0: none */
    char store[4096], keyring[4096], anchor[4096];
};

/* folder_open makes the folder if need be (mode 700) and takes its lock, which ends with the process whatever
 * happens. ERR_STATE: another process runs on it (named), or it is open to others; ERR_UNAVAILABLE: the file
 * system says no. */
NODISCARD bool folder_open(const char *path, struct folder *out, struct err *err);
void folder_close(struct folder *folder);

/* folder_read reads a whole file into `arena`, with a NUL behind it. ERR_NOT_FOUND; ERR_TOO_MUCH: over `max` bytes
 * or the arena's budget; ERR_UNAVAILABLE. */
NODISCARD bool folder_read(const char *path, size_t max, struct arena *arena, struct bytes *out, struct err *err);

/* folder_text is folder_read for text: the NUL-terminated string. ERR_INVALID: there is a NUL in it. */
NODISCARD bool folder_text(const char *path, size_t max, struct arena *arena, const char **out, struct err *err);
