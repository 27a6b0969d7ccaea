/* proto/statement/policy_form.h - the form of rule trees (formats 4), in policies and in terms. Pure. */
#pragma once

#include "proto/base/err.h"
#include "proto/chartmesh/v1/statement.pb-c.h"

enum { POLICY_RULES_MAX = 256, POLICY_DEPTH_MAX = 4 };

/* policy_form_rules holds a list of rules to the rules of form: ids ascending from 1, each parent there and
 * smaller than its child, at most four deep, no confidentiality_max or without_sensitivity on a DENY, no
 * confidentiality_min on a PERMIT. In a policy (not in terms) also: no deny_only, and a rule with users has
 * exactly one facility in its own or one ancestor's facilities. ERR_INVALID reason POLICY_INVALID; err->field is
 * "rules". */
NODISCARD bool policy_form_rules(Chartmesh__V1__Rule *const *rules, size_t count, bool terms, struct err *err);
