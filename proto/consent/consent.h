/* proto/consent/consent.h - the decision: may this be read, found, disclosed?
 *
 * A pure function of its arguments (I10): no clock, no store, no state. The node, a holder of copies and the
 * offline verifier call the same code. docs/protocol/04-consent.md is the normative text; design 5, formats 4.
 *
 *     policies --consent_policy_compile--> compiled --consent_heads_find--> heads --+
 *     disclosures --consent_copy_compile--> copies (at a holder) ------------------+
 *     request, version, configuration ---------------------------------------------+--> consent_decide
 *                                                                                       consent_disclose
 *
 * Compiling checks every rule of the format and resolves codes to bits once; what is compiled may be kept for as
 * long as the message it came from and the arena live (cache it by the subject's generation). Deciding then
 * takes no memory for a rule: only for the basis.
 *
 * The ladder; the first step that decides ends it:
 *
 *     0  integrity      erased, fenced, not a member, node in recovery: DENY
 *     1  legal order    the heads of the LAW policies: DENY or PERMIT is final
 *     2  a copy         its terms: DENY is never overridden; PERMIT goes to 5
 *     3  the subject    the heads of the policies: any DENY; else a PERMIT that counts goes to 5.
 *                       A copy's lease too old: DENY, counted as 3
 *     4  the facility   its default matrix: PERMIT goes to 5; DENY
 *     5  the role       its table role x purpose; only denies: a PERMIT keeps the step that gave it
 *     6  break-glass    overrides a DENY of 3 to 5, for READ
 *
 * Which facility decides: config->facility. When it is not the subject's origin it is a holder, and decides by
 * its copies alone: without one that governs, DENY at step 2. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"
#include "proto/chartmesh/v1/statement.pb-c.h"
#include "proto/statement/policy_form.h"

enum {
    CONSENT_RULES_MAX = POLICY_RULES_MAX,
    CONSENT_DEPTH_MAX = POLICY_DEPTH_MAX,
    CONSENT_BREAK_GLASS_MS = 60 * 60 * 1000,
};

/* The messages' own numbers, in fewer words. */
enum consent_effect { CONSENT_NONE = 0, CONSENT_PERMIT = 1, CONSENT_DENY = 2 };
enum consent_action { CONSENT_READ = 1, CONSENT_DISCLOSE = 2, CONSENT_SEARCH = 3 };

/* -- What is compiled */

/* policy_check refuses (ERR_INVALID, the rule's id in the text) a policy that formats 4 does not allow: more than
 * 256 rules, ids not ascending from 1, a parent that is missing or not smaller, more than 4 deep, an effect that
 * is neither, a DENY with confidentiality_max or without_sensitivity, a PERMIT with confidentiality_min, users
 * without exactly one facility in their own or an ancestor's facilities, deny_only. Canonical form is
 * proto/statement's to check. */
NODISCARD bool policy_check(const Chartmesh__V1__Policy *policy, struct err *err);

/* terms_check is the same for each tree of a disclosure's terms, where deny_only is allowed and facilities, being
 * settled, are not asked for; `tables` has 32 bytes or none. */
NODISCARD bool terms_check(const Chartmesh__V1__Terms *terms, struct err *err);

/* A policy's rules or one tree of terms, ready for matching (proto/consent/tree.h). */
struct tree;

struct consent_policy {
    struct hash id;          /* the policy's statement id */
    const Chartmesh__V1__Policy *message;
    const struct tree *tree;
};

/* consent_policy_compile checks and compiles a policy version. *out refers to `message` and `arena`. ERR_INVALID
 * as policy_check; ERR_TOO_MUCH: the arena's budget. */
NODISCARD bool consent_policy_compile(const Chartmesh__V1__Policy *message, const struct hash *id,
                                      struct arena *arena, struct consent_policy *out, struct err *err);

struct consent_heads {
    const struct consent_policy **law, **others;     /* by id */
    size_t law_len, others_len;
};

/* consent_heads_find finds the heads among all known versions of one subject's policies: those that no other
 * supersedes by dots and contexts (formats 3), LAW policies apart (I13). The order given does not matter, nor
 * does a version given twice. *out refers to `policies`. ERR_TOO_MUCH. */
NODISCARD bool consent_heads_find(const struct consent_policy *policies, size_t policies_len, struct arena *arena,
                                  struct consent_heads *out, struct err *err);

/* A disclosure as its recipient holds it, with the newest lease processed from that origin. */
struct consent_copy {
    struct hash disclosure;
    const Chartmesh__V1__Disclosure *message;
    const struct tree **trees;
    bool has_lease;          /* these two are the caller's to set: leases are renewed */
    int64_t lease_at_ms;     /* Lease.at */
};

/* consent_copy_compile checks and compiles a disclosure's terms. ERR_INVALID as terms_check, or when its basis
 * and trees are not of one number; ERR_TOO_MUCH. */
NODISCARD bool consent_copy_compile(const Chartmesh__V1__Disclosure *message, const struct hash *id,
                                    struct arena *arena, struct consent_copy *out, struct err *err);

/* -- What is asked */

/* What stands against any decision whatever the consent (step 0): flags of a version or of the whole request. */
enum consent_integrity {
    CONSENT_ERASED = 1,      /* the document, or its subject */
    CONSENT_FENCED = 2,      /* below a fence, or suppressed */
    CONSENT_NOT_MEMBER = 4,  /* the acting facility, or the recipient, has no active membership */
    CONSENT_RECOVERY = 8,    /* this node is in RECOVERY or ISOLATED */
};

struct consent_coding {
    const char *system, *code;           /* code NULL or "": absent */
};

/* The facts of a version. */
struct consent_version {
    struct id document;
    struct consent_coding class;
    struct id authoring;                         /* whose head.facility, see consent_version_of */
    const char *author_user;                     /* NULL or "": none */
    const Chartmesh__V1__Labels *labels;         /* its own */
    const Chartmesh__V1__Labels *effective;      /* the join over the document's heads; NULL: none known */
    const Chartmesh__V1__Period *clinical;       /* NULL: none */
    unsigned integrity;                          /* CONSENT_ERASED, CONSENT_FENCED */
};

/* consent_version_of reads a version's facts. `content` is the version whose content a RELABEL or
 * ENTERED_IN_ERROR repeats (authoring facility and author are that one's), NULL for any other.
 * `effective` NULL as above. The result refers to its arguments. */
struct consent_version consent_version_of(const Chartmesh__V1__Version *version,
                                          const Chartmesh__V1__Version *content,
                                          const Chartmesh__V1__Labels *effective);

struct consent_request {
    enum consent_action action;          /* CONSENT_READ or CONSENT_SEARCH */
    struct id facility;                  /* the acting one, which vouches for the rest */
    const char *user, *purpose;          /* NULL or "": absent */
    struct consent_coding role;
    int64_t lo_ms, hi_ms;                /* the security clock's interval, both ends in it */
    bool assigned;                       /* a care relationship ties the subject to this user */
};

/* A row of the table role x purpose. A request takes its role's row nearest at or above its purpose. */
struct consent_need {
    struct consent_coding role;
    const char *purpose;
    bool assigned;                       /* needs a care relationship; else the role is enough */
};

/* A facility's configuration. All zero permits nothing below step 3. */
struct consent_config {
    struct id facility;                  /* the one that decides */
    const struct consent_coding *clinical_roles, *sensitive_roles;
    size_t clinical_roles_len, sensitive_roles_len;
    const struct consent_need *table;
    size_t table_len;
    uint32_t max_age_s, max_age_restricted_s, max_age_sensitive_s;   /* of leases: up to N, R, sensitive or V */
    uint32_t max_disclosure_days;        /* 0: terms end with the consent only */
    const char *notice;                  /* goes with every disclosure; NULL or "": none */
};

/* A case of break-glass that was opened, by the rules of docs/protocol/04-consent.md, 8. Half open in time. */
struct consent_break_glass {
    const char *user;
    const struct id *documents;
    size_t documents_len;
    int64_t from_ms, until_ms;
};

struct consent_context {
    const struct consent_config *config;
    struct id origin;                            /* subject.facility, the custodian */
    unsigned integrity;                          /* of node and facilities; a version's own stand with it */
    const struct consent_heads *heads;           /* NULL: the subject has no policy */
    const struct consent_copy *copies;           /* at a holder: every disclosure of the version */
    size_t copies_len;
    const struct consent_break_glass *break_glass;       /* NULL: none */
};

/* -- What is answered */

/* Why, as a word for machines: Entry.reason is consent_why_code of it. */
enum consent_why {
    CONSENT_WHY_NONE,
    CONSENT_WHY_ERASED,          /* step 0 */
    CONSENT_WHY_FENCED,
    CONSENT_WHY_NOT_MEMBER,
    CONSENT_WHY_RECOVERY,
    CONSENT_WHY_LAW,             /* 1 */
    CONSENT_WHY_TERMS,           /* 2: a tree says so */
    CONSENT_WHY_NO_COPY,
    CONSENT_WHY_TERMS_PERIOD,
    CONSENT_WHY_TERMS_TABLES,
    CONSENT_WHY_TERMS_SILENT,    /* no tree permits */
    CONSENT_WHY_POLICY,          /* 3 */
    CONSENT_WHY_LEASE,
    CONSENT_WHY_MATRIX,          /* 4: permits */
    CONSENT_WHY_UNLISTED,        /* denies */
    CONSENT_WHY_NOT_NAMED,       /* DISCLOSE: no path names the recipient */
    CONSENT_WHY_UNREADABLE,      /* DISCLOSE: nobody could read under the terms */
    CONSENT_WHY_ROLE,            /* 5 */
    CONSENT_WHY_ASSIGNED,
    CONSENT_WHY_BREAK_GLASS,     /* 6 */
};

struct consent_basis {
    size_t head;                         /* place among the heads of that step; at a holder, among all trees */
    struct hash policy;
    uint32_t rules[CONSENT_DEPTH_MAX];   /* the deciding path, from the top; none: the base decided */
    size_t rules_len;
};

/* What goes with a PERMIT. */
enum consent_obligation {
    CONSENT_SHOW_NOTICE = 1,             /* decision.notice */
    CONSENT_NOTIFY_AND_REVIEW = 2,       /* break-glass: in the same batch as the permit (I15) */
};

struct consent_decision {
    enum consent_effect effect;          /* PERMIT or DENY */
    unsigned step;
    enum consent_why why;
    struct consent_basis *basis;         /* every head with the deciding effect; none at 0, 4, 5, 6 */
    size_t basis_len;
    unsigned obligations;
    const char *notice;                  /* NULL: none */
};

/* consent_decide answers READ and SEARCH of one version. *out is in `arena` and refers to the context.
 * ERR_TOO_MUCH: the arena's budget; ERR_INTERNAL: asked for DISCLOSE. Denied is an answer, not an error. */
NODISCARD bool consent_decide(const struct consent_request *request, const struct consent_version *version,
                              const struct consent_context *context, struct arena *arena,
                              struct consent_decision *out, struct err *err);

/* consent_listed: does the table list this role for this purpose (or one above it), with no care relationship?
 * What tells of a document that is no longer there is for these alone. */
bool consent_listed(const struct consent_config *config, const char *system, const char *code,
                    const char *purpose);

/* consent_reason says a decision in words: codes, ids and rule ids only. ERR_TOO_MUCH. */
NODISCARD bool consent_reason(const struct consent_decision *decision, struct arena *arena, char **out,
                              struct err *err);

/* consent_why_code returns the code of Entry.reason, "policy", "lease", ... (docs/protocol/04-consent.md, 10). */
const char *consent_why_code(enum consent_why why);

/* consent_basis_message sets *out to a decision's basis as a canonical set: by bytes, none twice. ERR_TOO_MUCH. */
NODISCARD bool consent_basis_message(const struct consent_decision *decision, struct arena *arena,
                                     Chartmesh__V1__Basis ***out, size_t *out_len, struct err *err);

/* -- Disclosing: the origin pushes to another facility */

struct consent_push {
    struct id recipient;
    int64_t lo_ms, hi_ms;
};

/* Versions that go out under one disclosure: equal basis, equal terms. */
struct consent_group {
    size_t *versions; /* places among those asked about, ascending */
    size_t versions_len;
    Chartmesh__V1__Basis **basis; /* every evaluated head, by id; for Disclosure.basis */
    size_t basis_len;
    Chartmesh__V1__Terms *terms; /* for Disclosure.terms */
};

struct consent_disclosure {
    struct consent_decision *answers; /* one per version, in their order */
    struct consent_group *groups; /* of those permitted, by their first version */
    size_t groups_len;
};

/* consent_disclose decides DISCLOSE of each version to the recipient and evaluates the heads partially into the
 * terms under which that recipient will decide a READ exactly as the origin would. The messages are ready to be
 * packed; they are in `arena` and borrow strings from the policies and the configuration. More than 256 versions
 * in a group, or terms beyond the payload's limit (TERMS_TOO_LARGE), are the caller's to see. ERR_TOO_MUCH. */
NODISCARD bool consent_disclose(const struct consent_push *push, const struct consent_version *versions,
                                size_t versions_len, const struct consent_context *context, struct arena *arena,
                                struct consent_disclosure *out, struct err *err);
