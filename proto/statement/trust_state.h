/* proto/statement/trust_state.h - what a trust holds. Internal: trust.c fills it, trust_check.c and trust_file.c
 * read.
 *
 * What is added is kept until the end, one arena for each addition. From the networks, the newest roster and the
 * memberships follows a *view*, made anew when one of those is added: members by facility, pin and key. Keys,
 * revocations and authorities are entered one by one. A refused addition is undone: nothing of it stays. */
#pragma once

#include "proto/statement/statement.h"
#include "proto/statement/table.h"
#include "proto/statement/trust.h"

/* A statement that is held. */
struct held {
    struct statement s;
    bool verified;               /* networks, rosters, memberships: reached, and the signatures checked */
    struct held *same_key;       /* KEY, KEY_REVOCATION, AUTHORITY: an earlier one about the same key */
};

/* What one addition needed. */
struct memory {
    struct arena arena;
    struct memory *before;
};

/* A facility's memberships, oldest first; the last one is the newest. */
struct chain {
    struct member *members;
    size_t count;
};

struct view {
    struct held *network, *roster;               /* the newest; NULL: none yet */
    struct chain *chains;
    size_t chain_count;
    struct table by_facility;                    /* struct chain */
    struct table by_pin;                         /* struct member, active or not, of the newest roster */
    struct table by_key; /* struct member: any key of any reached membership, by key id */
};

struct trust {
    struct hash first;
    struct id network;
    struct memory *memory; /* the newest addition's */
    struct held **all; /* in order of arrival */
    size_t count, capacity;
    struct table by_id; /* struct held */
    struct table keys; /* struct held (KEY) by key id, through same_key */
    struct table revocations; /* struct held (KEY_REVOCATION) by key id, through same_key */
    struct table authority_keys; /* struct held (AUTHORITY) by key id of its key */
    struct view view;
};

/* A held statement's message as its kind's type. */
#define AS(type, held) ((const Chartmesh__V1__##type *)(const void *)(held)->s.message)

/* facility_name pads an id with zeros to a name in a table; hash_pb and id_pb read fields of that length. */
struct hash facility_name(const struct id *facility);
struct hash hash_pb(ProtobufCBinaryData field);
struct id id_pb(ProtobufCBinaryData field);

/* trust_verify finds the keys that formats 1 demands for a statement and verifies it (trust_check.c). The first
 * network statement, chains and rosters are looked up among what is held. */
NODISCARD bool trust_verify(const struct trust *trust, const struct statement *s, uint64_t at_hlc,
                            const struct id *peer, struct err *err);
