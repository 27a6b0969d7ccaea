/* proto/merkle/checkpoint.h - C2SP signed-note, tlog-checkpoint and cosignature/v1 (formats 6). */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/crypto/sign.h"

enum { NOTE_MAX = 16 << 10, NOTE_SIGNATURES_MAX = 64 };

/* A key that a note may be signed with: its name, public key, and whether it is a log's (type 1) or a witness's
 * (type 4, cosignature/v1). */
struct note_key {
    const char *name;
    enum { NOTE_LOG = 1, NOTE_WITNESS = 4 } type;
    struct hash public_key;
};

/* note_key_hash: the first 4 bytes of SHA-256(name || "\n" || type || public key), as a number. */
uint32_t note_key_hash(const struct note_key *key);

/* What of a signed note the known keys vouch for. Nothing in `text` counts unless a key did. */
struct note {
    struct bytes text;                    /* up to and with its last LF: a view into the note */
    size_t signers;                       /* known keys whose signature verified, each once */
    struct {
        size_t key;
        uint64_t time_s;
    } signed_by[NOTE_SIGNATURES_MAX];   /* time of cosignatures, else 0 */
};

/* note_open reads any signed note; lines of unknown keys are skipped. ERR_INVALID: not a note, or a known name
 * and key id whose signature fails or stands twice. */
NODISCARD bool note_open(struct bytes note, const struct note_key *keys, size_t count, struct note *out,
                         struct err *err);

struct checkpoint {
    struct bytes origin;                  /* "<domain>/log/<incarnation>": a view into the note */
    uint64_t size;
    struct hash root;
    struct bytes body;                    /* what was signed, up to and with the last LF of the text */
    bool signed_by_log;
    size_t cosigners;                     /* known witnesses whose signature verified */
    struct {
        size_t key;
        uint64_t time_s;
    } cosigned[NOTE_SIGNATURES_MAX];   /* key: index into `keys` */
};

/* checkpoint_open reads a note and verifies the lines of the keys it is given; lines of unknown keys are skipped.
 * ERR_INVALID: not a checkpoint in canonical form, an extension line, or a known name and key id whose signature
 * fails or stands twice. A note without the log's own signature is refused when a NOTE_LOG key is given. */
NODISCARD bool checkpoint_open(struct bytes note, const struct note_key *keys, size_t count,
                               struct checkpoint *out, struct err *err);

/* checkpoint_sign makes the note of a log: body, blank line, one signature. */
NODISCARD bool checkpoint_sign(const char *origin, uint64_t size, const struct hash *root,
                               const struct signing_key *key, struct arena *arena, struct bytes *out,
                               struct err *err);

/* checkpoint_cosign makes one cosignature/v1 line (with its LF) by witness `name` at `time_s`. checkpoint_add
 * appends a line to a note. */
NODISCARD bool checkpoint_cosign(struct bytes note, const char *name, uint64_t time_s,
                                 const struct signing_key *key, struct arena *arena, struct bytes *line,
                                 struct err *err);
NODISCARD bool checkpoint_add(struct bytes note, struct bytes line, struct arena *arena, struct bytes *out,
                              struct err *err);

/* checkpoint_origin takes an origin line apart: "<domain>/log/<incarnation, 16 lower-case hex digits>"; false when
 * it is none. `domain` is a view into it. */
NODISCARD bool checkpoint_origin(struct bytes origin, struct bytes *domain, uint64_t *incarnation);
