/* node/store/folder.h - the folder of a store on disk: a file FORMAT that says what it is, and `rows`, which is
 * RocksDB's.
 *
 * FORMAT is "making" until the first opening is complete, so that a kill in between is finished next time, while a
 * finished store that lost files is never made anew in silence. */
#pragma once

#include "proto/base/bytes.h"
#include "proto/base/err.h"

/* store_folder_judge makes the folder if need be and sets *making: whether the store in it has still to be made.
 * ERR_STATE: other things are in it, or another version made it; ERR_CORRUPT: FORMAT says nothing that any version
 * wrote; ERR_UNAVAILABLE: the file system says no. */
NODISCARD bool store_folder_judge(const char *folder, bool *making, struct err *err);

/* store_folder_made: the store is whole from now on. Durable when it returns. */
NODISCARD bool store_folder_made(const char *folder, struct err *err);
