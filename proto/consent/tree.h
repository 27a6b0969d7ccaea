/* proto/consent/tree.h - inside the decision: rules ready for matching, what they are matched with, what they say.
 *
 * A tree is a policy's rules, or one tree of a disclosure's terms, with codes as bits and parents as places. Rules
 * stand by id, so a parent before its children. Not for use outside proto/consent. */
#pragma once

#include "proto/consent/consent.h"
#include "proto/consent/tables.h"

enum match { MATCH_NOT, MATCH_PARTLY, MATCH_FULLY };

struct tree_codes {
    uint64_t covers; /* the known ones, with their descendants */
    bool listed, unknown; /* any at all; some that no table knows */
};

struct tree_rule {
    const Chartmesh__V1__Rule *rule;
    int parent; /* its place; -1: top */
    enum consent_effect effect;
    unsigned actions; /* bits 1 << action; 0: any */
    bool lists_btg;
    struct tree_codes purposes, sensitivity, without;
};

struct tree {
    struct hash policy;
    enum consent_effect base;
    bool deny_only;
    size_t len;
    struct tree_rule rules[];
};

/* tree_compile sets *out to a tree of checked rules. ERR_TOO_MUCH. */
NODISCARD bool tree_compile(Chartmesh__V1__Rule *const *rules, size_t len, struct arena *arena, struct tree **out,
                            struct err *err);

/* What rules are matched with: who asks for what, and the version's facts with its labels joined. */
struct facts {
    enum consent_action action; /* DISCLOSE: purposes, roles and users are open */
    struct id facility; /* the acting one; for DISCLOSE the recipient */
    const char *user; /* "": absent */
    struct consent_coding role;
    const struct table_code *purpose; /* NULL: unknown or absent */
    int64_t lo_ms, hi_ms;
    const struct consent_version *version;
    unsigned confidentiality; /* no label at all counts as V */
    uint64_t codes; /* known sensitivity codes */
    bool codes_unknown; /* and others */
    bool partly; /* everything matches at most partly (I14) */
};

/* facts_version reads a version's side of the facts; facts_request a request's, after it. */
void facts_version(const struct consent_version *version, struct facts *facts);
void facts_request(const struct consent_request *request, struct facts *facts);

/* facts_above_normal: above N, or any sensitivity code. */
static inline bool facts_above_normal(const struct facts *facts)
{
    return facts->confidentiality > CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N || facts->codes ||
           facts->codes_unknown;
}

bool coding_equal(struct consent_coding a, const char *system, const char *code);

/* match_settled matches the fields that a disclosure settles: facilities, documents, classes, authoring
 * facilities, clinical period, confidentiality, sensitivity. match_rule matches them all. */
enum match match_settled(const struct tree_rule *rule, const struct facts *facts);
enum match match_rule(const struct tree_rule *rule, const struct facts *facts);

/* match_names: the rule lists the acting facility. */
bool match_names(const struct tree_rule *rule, const struct facts *facts);

struct verdict {
    enum consent_effect root;
    uint8_t rules[CONSENT_RULES_MAX]; /* each rule's result */
};

/* tree_eval evaluates every rule; a PERMIT of a deny_only tree is NONE. */
void tree_eval(const struct tree *tree, const struct facts *facts, struct verdict *out);

/* tree_path finds the first deciding path by ascending ids, of those on which some rule is `wanted` (NULL: any),
 * and writes its rule ids; false: there is none. */
typedef bool tree_wanted(const struct tree_rule *rule, const struct facts *facts);
bool tree_path(const struct tree *tree, const struct verdict *verdict, tree_wanted *wanted,
               const struct facts *facts, uint32_t path[CONSENT_DEPTH_MAX], size_t *len);

/* -- What several heads say together */

struct opinion {
    enum consent_effect effect; /* a PERMIT that does not count is NONE */
    bool counts; /* a PERMIT of this head would count */
    bool names; /* DISCLOSE: a deciding path of its PERMIT names the recipient */
    struct consent_basis basis; /* the first path */
    struct consent_basis named; /* the first that names the recipient; else as basis */
};

/* opinion_of evaluates one tree; `counts` says whether its PERMIT counts. */
struct opinion opinion_of(const struct tree *tree, const struct facts *facts, bool counts);

/* opinions_of_heads evaluates heads at the origin, with the assertion rules. ERR_TOO_MUCH. */
NODISCARD bool opinions_of_heads(const struct consent_policy *const *heads, size_t len, const struct facts *facts,
                                 const struct id *origin, struct arena *arena, struct opinion **out,
                                 struct err *err);

/* opinions_join: any DENY, else any PERMIT, else NONE. */
enum consent_effect opinions_join(const struct opinion *opinions, size_t len);

/* decision_set fills *out; decision_of_opinions also gives it the basis of those that say `effect`. */
void decision_set(struct consent_decision *out, enum consent_effect effect, unsigned step, enum consent_why why);
NODISCARD bool decision_of_opinions(const struct opinion *opinions, size_t len, enum consent_effect effect,
                                    unsigned step, enum consent_why why, struct arena *arena,
                                    struct consent_decision *out, struct err *err);

/* decision_of_integrity: step 0, if anything stands against it. */
bool decision_of_integrity(unsigned against, struct consent_decision *out);

/* basis_message_of sets *out to one basis as a message. ERR_TOO_MUCH. */
NODISCARD bool basis_message_of(const struct consent_basis *from, struct arena *arena, Chartmesh__V1__Basis **out,
                                struct err *err);
