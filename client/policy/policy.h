/* client/policy/policy.h - consent as people give it: templates that change a rule tree, and a tree in words.
 * Pure.
 *
 * A policy is replaced as a whole (Consents.SetPolicy), so each change starts from the tree as it is. What rules
 * mean: docs/protocol/04-consent.md. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/builder.h"
#include "proto/chartmesh/v1/statement.pb-c.h"
#include "proto/statement/policy_form.h"

#define POLICY_CLASS_SYSTEM "urn:chartmesh:class"

/* A tree in the making; everything in it lives in an arena or in the policy that it came from. */
struct policy_tree {
    Chartmesh__V1__Effect base;
    Chartmesh__V1__Rule *rules[POLICY_RULES_MAX];
    size_t count;
};

/* policy_tree_of starts from a policy (NULL: there is none yet). ERR_TOO_MUCH: it has more rules than a policy
 * may. */
NODISCARD bool policy_tree_of(const Chartmesh__V1__Policy *policy, struct policy_tree *out, struct err *err);

/* What a grant or a denial is about; what is not given constrains nothing, except where the template says so. */
struct policy_scope {
    struct id facility;
    const char *const *purposes;
    size_t purpose_count;
    Chartmesh__V1__Coding *const *classes, *const *roles, *const *sensitivity;
    size_t class_count, role_count, sensitivity_count;
    const ProtobufCBinaryData *documents;
    size_t document_count;
    Chartmesh__V1__Period *valid;
    Chartmesh__V1__Confidentiality max;      /* grant; absent: N */
    bool sensitive;                          /* grant: also what is sensitive */
    Chartmesh__V1__Confidentiality min;      /* deny */
};

/* policy_grant adds a PERMIT for the facility: up to `max`, nothing sensitive unless `sensitive` (then of any
 * sensitivity, or of those named), and, where classes are named, the patient's identity besides, without which
 * nobody can match the patient (design 5 and 7). policy_deny adds a DENY. *id is the new rule's. */
NODISCARD bool policy_grant(struct policy_tree *tree, const struct policy_scope *scope, struct arena *arena,
                            uint32_t *id, struct err *err);
NODISCARD bool policy_deny(struct policy_tree *tree, const struct policy_scope *scope, struct arena *arena,
                           uint32_t *id, struct err *err);

/* policy_revoke takes the facility out of every PERMIT, and rules that named it alone away with their exceptions;
 * *changed says how many it touched. policy_drop takes one rule away with its exceptions. ERR_NOT_FOUND: none. */
NODISCARD bool policy_revoke(struct policy_tree *tree, const struct id *facility, struct arena *arena,
                             size_t *changed, struct err *err);
NODISCARD bool policy_drop(struct policy_tree *tree, uint32_t id, struct err *err);

/* policy_words writes one rule in words: "permit clinic.example, for TREAT, up to N, nothing sensitive". `name`
 * gives a facility's name in `arena`. */
typedef const char *policy_name(void *context, struct bytes facility, struct arena *arena);
void policy_words(const Chartmesh__V1__Rule *rule, policy_name *name, void *context, struct arena *arena,
                  struct builder *out);
