/* tests/disk/replay.h - folders as a power cut would have left them, out of a trace (trace.h).
 *
 * What POSIX promises, and no more: a file's bytes are on the disk once fsync or fdatasync of it returned; a name
 * is (made, renamed, removed) once fsync of its folder returned. All else may or may not be there. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"

struct replay;

enum loss {
    LOSS_NONE,                   /* a kill: everything that was written is there */
    LOSS_ALL,                    /* nothing that was not synced is there */
    LOSS_SUFFIX,                 /* of what was not synced, what came before some moment is there */
    LOSS_SOME,                   /* of what was not synced, any of it is there, writes torn at any byte */
    LOSS_COUNT
};

/* replay_load reads a trace of what was done under `root`; replay_free. Both end the test when they cannot. */
struct replay *replay_load(const char *trace, const char *root);
void replay_free(struct replay *replay);

/* How many records there are, and the note that record `at` is (empty: it is none). */
size_t replay_len(const struct replay *replay);
struct bytes replay_note(const struct replay *replay, size_t at);

/* replay_cut makes `folder` what `under` (a folder directly under the root) is when the power goes before record
 * `at`. The seed decides what is kept where there is a choice. Nothing is made if `under` itself is lost. */
void replay_cut(const struct replay *replay, size_t at, enum loss loss, uint64_t seed, const char *under,
                const char *folder);
