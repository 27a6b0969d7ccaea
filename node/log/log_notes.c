/* Checkpoints with their cosignatures, and the anchor's file. */
#include "node/log/log_inside.h"

#include <stdio.h>

enum { NOTE_ARENA = 256 << 10 };

bool log_note_set(struct log_note *note, struct bytes view, struct err *err)
{
    if (view.len > sizeof note->bytes) {
        return err_raise(err, ERR_INTERNAL, "checkpoint: a note of %zu bytes", view.len);
    }
    memcpy(note->bytes, view.data, view.len);
    note->len = view.len;
    return true;
}

bool log_note_open(const struct log *log, struct bytes note, const char *what, struct checkpoint *out,
                   struct err *err)
{
    const struct note_key key = {
        .name = log->origin, .type = NOTE_LOG, .public_key = *signing_key_public(keys_checkpoint(log->keys))};
    return checkpoint_open(note, &key, 1, out, err) ||
           err_raise(err, ERR_CORRUPT, "log: the %s (family meta) is not one that this node signed", what);
}

bool log_checkpoint(struct log *log, struct arena *arena, struct bytes *note, struct err *err)
{
    AUTO_ARENA(scratch, NOTE_ARENA);
    struct log_note own;
    struct bytes newest, cosigned;
    struct checkpoint a, b;
    world_lock_take(log->lock); /* not the stored row: the row is there before the log says that it is durable */
    own = log->note;
    world_lock_give(log->lock);
    newest = BYTES(own.bytes, own.len);
    if (!checkpoint_open(newest, NULL, 0, &a, err)) {
        return err_wrap(err, "checkpoint");
    }
    if (store_get(log->store, NULL, FAMILY_META, BYTES_LIT("cosigned"), &scratch, &cosigned, err)) {
        if (!log_note_open(log, cosigned, "stored cosigned checkpoint", &b, err)) {
            return false;
        }
        newest = a.size == b.size ? cosigned : newest;
    } else if (err->code != ERR_NOT_FOUND) {
        return err_wrap(err, "checkpoint");
    }
    return arena_copy(arena, newest, note, err);
}

/* How many lines beyond the log's own signature a note has: they were verified before they were stored. */
static unsigned cosignatures(struct bytes note)
{
    unsigned lines = 0;
    for (size_t i = 0; i + 1 < note.len; i++) {
        lines += note.data[i] == '\n' && note.data[i + 1] == 0xe2;    /* an em dash begins a signature line */
    }
    return lines ? lines - 1 : 0;
}

bool log_cosignature(struct log *log, uint64_t size, const char *witness, struct bytes line, struct err *err)
{
    AUTO_ARENA(arena, NOTE_ARENA);
    struct bytes note, cosigned, joined;
    struct checkpoint checkpoint;
    char start[300];
    AUTO_LOCKED(cosigning, log->cosign_lock);
    if (!store_get(log->store, NULL, FAMILY_META, BYTES_LIT("cosigned"), &arena, &cosigned, err)) {
        if (err->code != ERR_NOT_FOUND) {
            return false;
        }
        cosigned = BYTES_NONE;
    } else if (!log_note_open(log, cosigned, "stored cosigned checkpoint", &checkpoint, err)) {
        return false;
    }
    bool same = cosigned.len && checkpoint.size == size;
    if (cosigned.len && checkpoint.size > size) {
        return true;
    }
    note = cosigned;
    if (!same) {
        struct hash root;
        if (!log_root_at(log, size, &root, err) ||
            !checkpoint_sign(log->origin, size, &root, keys_checkpoint(log->keys), &arena, &note, err)) {
            return err_wrap(err, "a checkpoint of size %ju to cosign", (uintmax_t)size);
        }
    }
    snprintf(start, sizeof start, "\n\xe2\x80\x94 %s ", witness);
    if (same && memmem(note.data, note.len, start, strlen(start))) {
        return true;
    }
    AUTO_STORE_BATCH rows = store_batch_new();
    if (!checkpoint_add(note, line, &arena, &joined, err)) {
        return false;
    }
    store_put(rows, FAMILY_META, BYTES_LIT("cosigned"), joined);
    if (!store_commit(log->store, rows, err)) {
        world_fatal(log->world, err);
    }
    AUTO_LOCKED(locked, log->lock);
    world_event_signal(log->committed);
    return true;
}

bool log_cosigned(struct log *log, uint64_t min_size, unsigned quorum, uint32_t wait_ms, struct arena *arena,
                  struct bytes *note, uint64_t *size, struct err *err)
{
    uint64_t until = world_mono_ms(log->world) + wait_ms;
    AUTO_LOCKED(locked, log->lock);
    for (;;) {
        AUTO_ARENA(scratch, NOTE_ARENA);
        struct checkpoint checkpoint;
        struct bytes cosigned;
        if (store_get(log->store, NULL, FAMILY_META, BYTES_LIT("cosigned"), &scratch, &cosigned, err)) {
            if (!checkpoint_open(cosigned, NULL, 0, &checkpoint, err)) {
                return err_wrap(err, "stored cosigned checkpoint");
            }
            if (checkpoint.size >= min_size && cosignatures(cosigned) >= quorum) {
                if (!log_note_open(log, cosigned, "stored cosigned checkpoint", &checkpoint, err)) {
                    return false;
                }
                *size = checkpoint.size;
                return arena_copy(arena, cosigned, note, err);
            }
        } else if (err->code != ERR_NOT_FOUND) {
            return false;
        }
        if (!world_event_wait_until(log->committed, log->lock, until)) {
            return err_raise(err, ERR_UNAVAILABLE, "log: no checkpoint of %ju entries with %u cosignatures yet",
                             (uintmax_t)min_size, quorum);
        }
    }
}

/* Never an older one over a newer one: what is saved is what is newest under anchor_lock. An anchor that cannot be
 * saved is a weaker check at the next start, not a fault of what was written: the next commit has it tried again.
 */
void log_anchor_save(struct log *log)
{
    AUTO_ARENA(arena, NOTE_ARENA);
    struct bytes note;
    struct err ignored;
    if (!log->anchor.save) {
        return;
    }
    AUTO_LOCKED(saving, log->anchor_lock);
    uint64_t size = log_size(log).size;
    if (size > log->anchored && log_checkpoint(log, &arena, &note, &ignored) &&
        log->anchor.save(log->anchor.context, note, &ignored)) {
        log->anchored = size;
    }
}

static void anchor_task(void *arg)
{
    struct log *log = arg;
    world_lock_take(log->lock);
    log->anchor_timer = 0;
    bool closed = log->closed;
    world_lock_give(log->lock);
    if (!closed) {
        log_anchor_save(log);
    }
}

void log_anchor_later(struct log *log)
{
    if (log->timer_lane && !log->closed && log->anchor_timer == 0) {
        log->anchor_timer = world_timer_start(log->timer_lane, ANCHOR_EVERY_MS, anchor_task, log);
    }
}

/* The anchor is a small file, replaced whole, as the keyring is. */
struct anchor_port anchor_file(const char *path)
{
    struct keyring_port file = keyring_file(path);
    return (struct anchor_port){file.load, file.save, file.context};
}
