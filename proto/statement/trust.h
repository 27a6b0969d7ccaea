/* proto/statement/trust.h - whose keys count: networks, rosters, members, keys, authorities (formats 2).
 *
 * A trust starts from the 32-byte id of the first `network` statement and grows by statements that are reached
 * from it; it never goes back. The node, the client and the offline verifier use the same code. Not for two
 * threads at once while adding; reading needs no lock afterwards. */
#pragma once

#include "proto/statement/statement.h"

struct trust;

/* One facility's membership as of a version. Views live as long as the trust. */
struct member {
    struct id facility;
    struct hash statement;                /* the membership's statement id */
    const char *domain, *name;
    uint64_t version;
    struct hash statement_key, checkpoint_key, witness_key, sealing_key;
    const Chartmesh__V1__Membership *message;
    uint64_t from_hlc, until_hlc;         /* its keys are valid in [from, until) */
    bool listed;                          /* the newest roster lists it */
    bool active;                          /* listed and STATUS_ACTIVE */
};

/* trust_new begins a trust in the network whose first statement has that id. */
NODISCARD bool trust_new(const struct hash *first_network, struct trust **out, struct err *err);
void trust_free(struct trust *trust);

/* trust_file reads a trust file ("CMEVID1\n" and frames of type 5) and adds what is in it. trust_file_network
 * gives the id of the first network statement in it (for tools that are told none). */
NODISCARD bool trust_file(struct trust *trust, struct bytes file, struct err *err);
NODISCARD bool trust_file_network(struct bytes file, struct hash *out, struct err *err);

/* trust_add takes envelopes in any order (network, roster, membership, key, key-revocation, authority, epoch),
 * checks each against what is known, and keeps what is reached. All or nothing: on an error the trust is as
 * before. Adding what is known changes nothing. `changed` (may be NULL) says whether anything was new.
 * ERR_INVALID: a statement that breaks a rule or that nothing reaches; ERR_STATE: an older roster. */
NODISCARD bool trust_add(struct trust *trust, const struct bytes *envelopes, size_t count, bool *changed,
                         struct err *err);

/* trust_write makes a trust file of everything held that a new node needs (networks, rosters, memberships). */
NODISCARD bool trust_write(const struct trust *trust, struct arena *arena, struct bytes *out, struct err *err);

const struct id *trust_network(const struct trust *trust);
const struct hash *trust_network_id(const struct trust *trust);   /* all 32 bytes */
uint64_t trust_network_version(const struct trust *trust);
uint64_t trust_roster_version(const struct trust *trust);
int64_t trust_roster_expires_ms(const struct trust *trust);

/* trust_newest_network and trust_newest_roster return the message that counts, and its statement id in *id (NULL:
 * not asked); NULL: there is none yet. They live until the next trust_add. */
const Chartmesh__V1__Network *trust_newest_network(const struct trust *trust, struct hash *id);
const Chartmesh__V1__Roster *trust_newest_roster(const struct trust *trust, struct hash *id);

/* trust_member returns the newest membership of a facility (NULL: none); trust_member_at the one whose keys were
 * valid at `hlc`; trust_member_by_domain and _by_pin find listed ones. trust_members lists the newest of all. */
const struct member *trust_member(const struct trust *trust, const struct id *facility);
const struct member *trust_member_at(const struct trust *trust, const struct id *facility, uint64_t hlc);
const struct member *trust_member_by_domain(const struct trust *trust, const char *domain);
const struct member *trust_member_by_pin(const struct trust *trust, const struct hash *pin);
size_t trust_members(const struct trust *trust, const struct member **out, size_t max);

/* trust_missing lists listed memberships that are not held yet (ids of statements to ask for); returns how many
 * there are, of which at most `max` are in `out`. */
size_t trust_missing(const struct trust *trust, struct hash *out, size_t max);

/* trust_key finds an enrolled AUTHOR or PATIENT key by its id, trust_authority an authority by statement id
 * (NULL: none, or revoked or not valid at `hlc`). */
const Chartmesh__V1__Key *trust_key(const struct trust *trust, const struct hash *id, uint64_t hlc);
const Chartmesh__V1__Authority *trust_authority(const struct trust *trust, const struct hash *id, uint64_t hlc);

/* trust_key_statements lists the `key` statements about a key, at most `max`: what another trust needs to know it.
 */
size_t trust_key_statements(const struct trust *trust, const struct hash *id, struct bytes *out, size_t max);

/* trust_key_revoked returns the revocation of a key (any kind of key, by its id), the gravest if there are several
 * and of those the one with the smallest `since`; NULL: none. */
const Chartmesh__V1__KeyRevocation *trust_key_revoked(const struct trust *trust, const struct hash *key_id);

/* trust_envelope returns the stored bytes of a statement that the trust holds (empty: not held).
 * trust_reach lists, for a facility, everything that a verifier needs to trace its keys: networks, rosters, and
 * membership chain back to version 1. */
struct bytes trust_envelope(const struct trust *trust, const struct hash *id);
NODISCARD bool trust_reach(const struct trust *trust, const struct id *facility, struct arena *arena,
                           struct bytes **out, size_t *count, struct err *err);

/* trust_check parses `envelope` and verifies it as formats 1 demands for its kind ("Who must have signed"): finds
 * the keys by the statement's own head, subject, author and time. `at_hlc` is the time that counts for key
 * validity (0: the head's own). `peer` is the TLS peer's facility where the kind demands it (NULL: not checked
 * against a peer). ERR_INVALID: does not verify; ERR_NOT_FOUND: a key or membership is unknown or was not valid at
 * that time (I39: quarantine and ask).
 *
 * A key that is revoked as RETIRED or LOST counts before `since`. One that is COMPROMISED counts only where the
 * caller gives an `at_hlc` before `since`, which says that the log time is covered by a quorum of cosignatures
 * older than `since`; the statement's own time is then worth nothing. */
NODISCARD bool trust_check(const struct trust *trust, struct bytes envelope, enum statement_kind kind,
                           uint64_t at_hlc, const struct id *peer, struct arena *arena, struct statement *out,
                           struct err *err);
