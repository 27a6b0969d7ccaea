/* tests/lib/toy.h - a toy network whose every statement can be made right or wrong: three operators of whom two
 * sign, facilities A and B with version 1 of their memberships, listed by version 1 of the roster.
 *
 * For tests of trust and for the vectors of it; tests/lib/federation.h is the one to build on elsewhere. Times are
 * small: TOY_HLC(ms) since 1970. A call that fails ends the test. */
#pragma once

#include "proto/statement/trust.h"

enum { TOY_OPERATORS = 3, TOY_EXPIRES_MS = 1 << 30 };
#define TOY_HLC(ms) ((uint64_t)(ms) << 16)

struct toy_keys {
    struct signing_key *statement, *checkpoint, *witness;
};

struct toy {
    struct arena arena;
    struct signing_key *operators[TOY_OPERATORS];
    struct signing_key *author, *patient, *auditor;
    struct id network;
    struct statement first, a, b, roster;
    struct toy_keys keys_a, keys_b;
    struct trust *trust;
};

extern const struct id toy_a, toy_b;

struct toy *toy_new(void);
void toy_free(struct toy *f);

/* A key made of a number; a facility's three are made of it and the two that follow. */
struct signing_key *toy_signer(uint8_t number);
struct toy_keys toy_keys(uint8_t number);
void toy_keys_free(struct toy_keys *keys);

/* A network signed by that many of its operators (2 are enough); version 1 names no network. */
struct statement toy_network(struct toy *f, uint64_t version, const struct hash *previous, size_t signers);

/* What a membership says beyond its keys. */
struct toy_member {
    struct id facility;
    const char *domain;
    uint64_t version;
    struct hash previous;
    uint64_t hlc;
    uint8_t pin;
    Chartmesh__V1__Status status;        /* 0: ACTIVE */
    const struct signing_key *before;    /* the previous statement key, if it signs too */
};
struct statement toy_membership(struct toy *f, const struct toy_member *facts, const struct toy_keys *keys);

/* A roster of those members, and of a former one (NULL: none), who left at 500 ms. */
struct statement toy_roster(struct toy *f, uint64_t version, const struct statement *members, size_t count,
                            const struct statement *former, uint64_t network_version, size_t signers);

/* What a facility signs with `key` (or `by`): a lease for B; an enrolled key, valid from 40 to 1000 ms, of a
 * patient of `subject_of` or (NULL) of an author, signed by itself too if `possession`; a revocation, perhaps with
 * a second signature; a version by principal `who` ("a.example/app/x"). */
struct statement toy_lease(struct toy *f, const struct id *facility, uint64_t hlc, const struct signing_key *key);
struct statement toy_key(struct toy *f, const struct id *facility, const struct signing_key *by,
                         const struct signing_key *key, const char *who, const struct id *subject_of,
                         bool possession);
struct statement toy_revocation(struct toy *f, const struct id *facility, const struct signing_key *by,
                                const struct signing_key *second, const struct signing_key *key,
                                Chartmesh__V1__Reason reason, int64_t since);
struct statement toy_version(struct toy *f, const struct id *facility, uint64_t hlc, const char *who,
                             const struct signing_key *by);
