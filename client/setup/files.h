/* client/setup/files.h - files and folders as the tools of a network and a facility write them.
 *
 * Secrets have mode 600 and folders 700. Nothing is overwritten unless the function says so. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

/* path_join sets *out to "folder/name", or to `name` alone when it is absolute. */
NODISCARD bool path_join(const char *folder, const char *name, struct arena *arena, const char **out,
                         struct err *err);

/* path_absolute sets *out to the absolute form of a path that exists. ERR_NOT_FOUND. */
NODISCARD bool path_absolute(const char *path, struct arena *arena, const char **out, struct err *err);

/* file_read sets *out to the whole file, with a NUL behind it that does not count. ERR_NOT_FOUND: no such file;
 * ERR_TOO_MUCH: longer than `max`; ERR_STATE: it cannot be read. */
NODISCARD bool file_read(const char *path, size_t max, struct arena *arena, struct bytes *out, struct err *err);

/* file_create writes a new file, synced. ERR_EXISTS: it is there already. file_replace puts a whole new file in
 * the place of the old one, or makes it; nobody ever sees half of it. ERR_STATE: the system said no. */
NODISCARD bool file_create(const char *path, struct bytes view, unsigned mode, struct err *err);
NODISCARD bool file_replace(const char *path, struct bytes view, unsigned mode, struct err *err);

/* folder_create makes a folder of mode 700, and those above it. ERR_EXISTS: it is there and has something in it.
 * folder_need is the same and takes any folder that is there. */
NODISCARD bool folder_create(const char *path, struct err *err);
NODISCARD bool folder_need(const char *path, struct err *err);

/* folder_undo takes away what was made in a folder that folder_create made or found empty, because the making
 * failed; the folder goes too. What cannot be removed stays. */
void folder_undo(const char *path);

/* secret_file_create writes a 32-byte secret as 64 hex digits and a LF, mode 600; secret_file_read reads one and
 * refuses (ERR_STATE) a file that others may open. */
NODISCARD bool secret_file_create(const char *path, const struct hash *secret, struct err *err);
NODISCARD bool secret_file_read(const char *path, struct hash *out, struct err *err);
