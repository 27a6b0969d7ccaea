/* node/store/disk_file.h - small files and folders that outlive a power cut: what stands beside the store's rows.
 */
#pragma once

#include "proto/base/bytes.h"
#include "proto/base/err.h"

/* disk_file_replace makes `content` the file's whole content: durably, and never half of it (written beside,
 * synced, renamed, the folder synced). ERR_UNAVAILABLE: the file system says no; the old content or the new one is
 * there. */
NODISCARD bool disk_file_replace(const char *path, struct bytes content, struct err *err);

/* disk_folder_make makes a folder of mode 700, durably. That it is there already is fine. ERR_UNAVAILABLE. */
NODISCARD bool disk_folder_make(const char *path, struct err *err);
