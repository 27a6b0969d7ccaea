/* tests/lib/node.h - a whole node in memory: one facility of a federation, with everything below its services.
 *
 * The world is the simulator's, store, keyring and anchor are in memory, and the keys are the federation's, so
 * that what one node signs verifies at another. A call that fails ends the test. */
#pragma once

#include "node/gate/gate.h"
#include "node/store/store_mem.h"
#include "tests/lib/federation.h"
#include "tests/lib/world_sim.h"

/* A small file in memory: keyring or anchor. */
struct node_file {
    uint8_t bytes[4096];
    size_t len;
};

struct node {
    struct federation *federation;
    struct federation_member *member;
    struct world_sim *sim;
    struct store_disk *disk;
    struct node_file keyring, anchor;
    struct consent_config consent;           /* change it before node_open */
    bool read_only;                          /* step 5's table for writing RPCs says no */
    bool (*may)(void *context, const char *role, const char *purpose,
                const char *rpc);  /* instead; NULL: all but read_only */
    void *may_context;
    /* Open: */
    struct world *world;
    struct store *store;
    struct keys *keys;
    struct log *log;
    struct chart *chart;
    struct gate *gate;
};

#define NODE_ROLES "urn:chartmesh:role"
#define NODE_PHYSICIAN NODE_ROLES "|physician"     /* clinical; may TREAT */
#define NODE_PSYCHIATRIST NODE_ROLES "|psychiatrist"   /* clinical and sensitive; may TREAT */
#define NODE_CLERK NODE_ROLES "|clerk"             /* may TREAT by the table, and nothing by the matrix */

/* node_new makes the node of a federation's member and opens it; node_free ends it, disk included. node_close and
 * node_open are a restart on the same disk. */
struct node *node_new(struct world_sim *sim, struct federation *federation, size_t member);
void node_free(struct node *node);
void node_open(struct node *node);
void node_close(struct node *node);

/* node_caller: an application's user with one of the roles above, for a purpose. */
struct caller node_caller(const char *user, const char *role, const char *purpose);

/* node_subject registers own patient `number`, with an identity document's id. node_document gives a document's
 * id. */
struct subject node_subject(struct node *node, uint8_t number);
struct id node_document(struct node *node, uint8_t number);

/* node_put writes a version as the facility's own author and returns its id: dot, context, content, rows, WRITE
 * entry. A RELABEL or ENTERED_IN_ERROR repeats its one parent's content. On a foreign subject it is pending. */
struct node_put {
    struct subject subject;
    struct id document;
    struct bytes content;
    Chartmesh__V1__Kind kind;                /* 0: CONTENT, or AMENDMENT or MERGE by its parents */
    const struct hash *parents;
    size_t parents_len;
    Chartmesh__V1__Confidentiality confidentiality;     /* 0: N */
    const char *sensitivity;                 /* a v3-ActCode, or NULL */
    const char *class_code;                  /* NULL: "note" */
    bool incomplete;                         /* its last chunk is not here yet */
    const struct signing_key *author;        /* it is signed by this key alone, enrolled for `principal` */
    const char *principal;
};
struct hash node_put(struct node *node, const struct node_put *put);

/* node_policy sets a policy as SetPolicy does: one that supersedes all heads of its set (LAW or not), its effects
 * in the same transaction. Counts may be NULL. */
struct node_policy {
    struct subject subject;
    Chartmesh__V1__Effect base_effect;
    Chartmesh__V1__Rule **rules;
    size_t rules_len;
    Chartmesh__V1__Who who;                  /* 0: STAFF; else LAW */
    bool concurrent;                         /* supersedes nothing */
};
struct hash node_policy(struct node *node, const struct node_policy *policy, uint32_t *grants, uint32_t *orders);

/* node_grant permits another facility to have and read what is up to N, for any purpose; node_revoke takes all
 * back. */
struct hash node_grant(struct node *node, const struct subject *subject, const struct id *to, uint32_t *grants);
struct hash node_revoke(struct node *node, const struct subject *subject, uint32_t *orders);

/* node_disclose hands versions over to a peer: what gate_disclose gives, committed. `items` has `count` places. */
struct bytes *node_disclose(struct node *node, const struct subject *subject, const struct id *to,
                            const struct hash *versions, size_t count, struct arena *arena,
                            struct gate_item *items, size_t *disclosures);

/* node_receive stores what node_disclose gave, as a receiver does: disclosures' rows, the version, RECEIVE entry.
 */
void node_receive(struct node *node, const struct gate_item *item, struct bytes disclosure);

/* node_entry opens a log entry; it fails the test if the entry is not of that kind. */
const Chartmesh__V1__Entry *node_entry(struct node *node, uint64_t index, Chartmesh__V1__EntryKind kind,
                                       struct arena *arena);
/* node_last_entry finds the newest entry of a kind; NULL: there is none. */
const Chartmesh__V1__Entry *node_last_entry(struct node *node, Chartmesh__V1__EntryKind kind, struct arena *arena);
