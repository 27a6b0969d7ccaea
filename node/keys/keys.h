/* node/keys/keys.h - the keys of a node: signing keys, and the tree of keys that seals what it stores (design 4).
 *
 *   root key (a file; never in the store)
 *    `- KEK_e in the keyring (a small file sealed by the root key)
 *        |- PK of a patient, generation g     `- DEK of one content
 *        |- AK of a patient and UTC year (the audit key), and of the facility for entries without a patient
 *        `- facility keys: index, tokens, log, markers
 *
 * Purging destroys keys: rows sealed by them stay unreadable wherever they lie. Any thread; the caller holds the
 * patient's lock around what creates or destroys that patient's keys. Keys given out are copies: wipe them
 * (AUTO_WIPE_HASH). */
#pragma once

#include "node/store/store.h"
#include "node/world/world.h"
#include "proto/crypto/seal.h"
#include "proto/crypto/sign.h"

struct keys;

/* What the node is given: 32-byte secrets (Ed25519 seeds, an X25519 secret, the root key). */
struct keys_secrets {
    struct hash root, statement, checkpoint, witness, sealing;
};

/* Where the sealed keyring lives: a file beside the data folder, or memory in the simulator. `load` fails with
 * ERR_NOT_FOUND at the first start; `save` is durable when it returns. */
struct keyring_port {
    bool (*load)(void *context, struct arena *arena, struct bytes *out, struct err *err);
    bool (*save)(void *context, struct bytes keyring, struct err *err);
    void *context;
};

/* keys_open opens the keyring (draws it if there is none and the store has no wrapped keys) and the facility keys
 * (their rows are committed here at the first start). ERR_CORRUPT: the root key does not open the keyring, or the
 * keyring does not open the rows, or the keyring is missing for a store that has rows. */
NODISCARD bool keys_open(struct store *store, struct world *world, const struct keys_secrets *secrets,
                         const struct keyring_port *port, struct keys **out, struct err *err);
void keys_close(struct keys *keys);

/* keys_read_files reads the secrets that `chartmesh node init` wrote: files of 64 hex digits and a LF, `root_file`
 * and `folder`/{statement,checkpoint,witness,sealing}.key, owned by this user and closed to others (ERR_STATE).
 * keyring_file gives a port for a file: replaced by write, fsync, rename, fsync of the folder. */
NODISCARD bool keys_read_files(const char *root_file, const char *folder, struct keys_secrets *out,
                               struct err *err);
struct keyring_port keyring_file(const char *path); /* `path` must outlive the port */

const struct signing_key *keys_statement(const struct keys *keys);
const struct signing_key *keys_checkpoint(const struct keys *keys);
const struct signing_key *keys_witness(const struct keys *keys);
const struct hash *keys_sealing_public(const struct keys *keys); /* X25519: the public half is enough here */

/* Facility keys. */
enum facility_key {
    FACILITY_KEY_INDEX = 1, /* identifier index, chain positions, subject rows */
    FACILITY_KEY_TOKEN, /* page and resume tokens, receipts */
    FACILITY_KEY_LOG, /* outer seal of log entries */
    FACILITY_KEY_AUDIT, /* entries and statements without a patient */
    FACILITY_KEY_MARKER, /* suppression markers */
};
const struct hash *keys_facility(const struct keys *keys, enum facility_key which);

/* keys_dek_new draws the DEK of a content (16-byte id) of patient P and puts its row, and the patient key's if it
 * is the first, into `rows`. */
NODISCARD bool keys_dek_new(struct keys *keys, const struct id *p, const struct id *content,
                            struct store_batch *rows, struct hash *dek, struct err *err);

/* keys_dek finds one. ERR_NOT_FOUND: never made, or destroyed. */
NODISCARD bool keys_dek(struct keys *keys, const struct id *p, const struct id *content, struct hash *dek,
                        struct err *err);

/* keys_audit finds the audit key of P (NULL: the facility's own) and a UTC year. When the store has none yet it
 * draws one and puts its row into `rows` (NULL: ERR_NOT_FOUND); everyone who asks before a commit gets that one,
 * and its row. */
NODISCARD bool keys_audit(struct keys *keys, const struct id *p, unsigned year, struct store_batch *rows,
                          struct hash *ak, struct err *err);

/* keys_dek_drop deletes the DEK of a content that nothing names, in `rows`. */
void keys_dek_drop(const struct id *p, const struct id *content, struct store_batch *rows);

/* keys_purge destroys DEKs: every content of P that is not in `keep`. It rotates the patient key, wraps the kept
 * DEKs anew, deletes the rest; with nothing to keep all patient keys go. In `rows`; done when they are committed.
 */
NODISCARD bool keys_purge(struct keys *keys, const struct id *p, const struct id *keep, size_t count,
                          struct store_batch *rows, struct err *err);
