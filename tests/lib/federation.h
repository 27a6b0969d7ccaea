/* tests/lib/federation.h - a network of facilities with keys, memberships and a roster, and what they sign.
 *
 * Everything is derived from the facility's number, but for nonces. A call that fails ends the test. */
#pragma once

#include "proto/content/content.h"
#include "proto/statement/trust.h"
#include "tests/lib/test.h"

enum { FEDERATION_MAX = 8 };
#define FEDERATION_HLC ((uint64_t)1700000000000u << 16)      /* when it was founded */

struct federation_member {
    struct id id;
    char domain[32];                         /* "f0.example" */
    struct hash statement_seed, checkpoint_seed, witness_seed, sealing_secret;
    struct signing_key *statement, *checkpoint, *witness;
    struct bytes membership;                 /* envelope */
};

struct federation {
    struct arena arena;
    struct hash first_network;
    struct id network;
    struct federation_member members[FEDERATION_MAX];
    size_t count;
    struct bytes trust_file;
    struct hash memberships[FEDERATION_MAX];     /* statement ids */
    struct trust *trust;
};

/* federation_new founds a network of `count` active facilities under one operator. */
struct federation *federation_new(size_t count);
void federation_free(struct federation *f);

/* federation_roster signs the next roster, of the same members. The federation's own trust stays with the first.
 */
struct bytes federation_roster(struct federation *f, uint64_t version, struct arena *arena);

/* What they sign. `by` and `to` are places in members; the patient is one of `by`'s (for a version: of `origin`).
 */
struct federation_version {
    size_t origin, by;                       /* whose patient; who signs */
    uint8_t patient, document;               /* ids are made of these */
    uint64_t counter;                        /* of the dot */
    struct hash parent;                      /* zero: none */
    struct bytes content;                    /* plain; salt is zeros with `document` in front */
};
struct bytes federation_sign_version(struct federation *f, const struct federation_version *v,
                                     struct arena *arena);
struct content_meta federation_content(const struct federation_version *v);

struct federation_disclosure {
    size_t by, to;
    uint8_t patient;
    const struct hash *versions;
    size_t count;
    uint64_t incarnation, generation;
    bool no_basis, no_notice;                /* I7 */
};
struct bytes federation_sign_disclosure(struct federation *f, const struct federation_disclosure *d,
                                        struct arena *arena);

/* A notice of retraction, number `n` (its document id is made of it). */
struct bytes federation_sign_notice(struct federation *f, size_t by, size_t to, uint64_t n, struct arena *arena);
struct bytes federation_sign_order(struct federation *f, size_t by, size_t to, uint8_t patient,
                                   uint64_t generation, struct arena *arena);
struct bytes federation_sign_epoch(struct federation *f, size_t by, uint64_t incarnation, struct arena *arena);
