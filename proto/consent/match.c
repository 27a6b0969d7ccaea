/* Matching: docs/protocol/04-consent.md, 4. The least of a rule's fields decides. */
#include "proto/consent/tree.h"

static enum match least(enum match a, enum match b)
{
    return a < b ? a : b;
}

bool coding_equal(struct consent_coding a, const char *system, const char *code)
{
    return a.system && a.code && strcmp(a.code, code) == 0 && strcmp(a.system, system) == 0;
}

static void labels_add(const Chartmesh__V1__Labels *labels, struct facts *facts)
{
    for (size_t i = 0; labels && i < labels->n_sensitivity; i++) {
        const struct table_code *code =
            table_sensitivity_find(labels->sensitivity[i]->system, labels->sensitivity[i]->code);
        if (code && !code->abstract) {
            facts->codes |= code->self;
        } else {
            facts->codes_unknown = true;
        }
    }
    if (labels) {
        facts->confidentiality = MAX(facts->confidentiality, (unsigned)labels->confidentiality);
    }
}

void facts_version(const struct consent_version *version, struct facts *facts)
{
    facts->version = version;
    labels_add(version->labels, facts);
    labels_add(version->effective, facts);
    if (facts->confidentiality == 0) {
        facts->confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_V;
    }
    facts->partly = facts->codes_unknown;
}

void facts_request(const struct consent_request *request, struct facts *facts)
{
    const struct table_code *purpose = request->purpose ? table_find(&table_purpose, request->purpose) : NULL;

    facts->action = request->action;
    facts->facility = request->facility;
    facts->user = request->user ? request->user : "";
    facts->role = request->role;
    facts->purpose = purpose && !purpose->abstract ? purpose : NULL;
    facts->lo_ms = request->lo_ms;
    facts->hi_ms = request->hi_ms;
    facts->partly |= !facts->purpose;
}

static enum match listed_bytes(const ProtobufCBinaryData *list, size_t len, const struct id *id)
{
    for (size_t i = 0; i < len; i++) {
        if (list[i].len == ID_LEN && memcmp(list[i].data, id->bytes, ID_LEN) == 0) {
            return MATCH_FULLY;
        }
    }
    return len == 0 ? MATCH_FULLY : MATCH_NOT;
}

static enum match listed_coding(Chartmesh__V1__Coding *const *list, size_t len, struct consent_coding coding)
{
    for (size_t i = 0; i < len; i++) {
        if (coding_equal(coding, list[i]->system, list[i]->code)) {
            return MATCH_FULLY;
        }
    }
    bool absent = !coding.code || !*coding.code;
    return len == 0 ? MATCH_FULLY : absent ? MATCH_PARTLY : MATCH_NOT;
}

static enum match listed_user(const Chartmesh__V1__Rule *rule, const char *user)
{
    for (size_t i = 0; i < rule->n_users; i++) {
        if (strcmp(rule->users[i], user) == 0) {
            return MATCH_FULLY;
        }
    }
    return rule->n_users == 0 ? MATCH_FULLY : *user ? MATCH_NOT : MATCH_PARTLY;
}

static enum match listed_purpose(const struct tree_codes *purposes, const struct facts *facts)
{
    if (!purposes->listed) {
        return MATCH_FULLY;
    }
    if (facts->purpose && (purposes->covers & facts->purpose->self)) {
        return MATCH_FULLY;
    }
    return purposes->unknown || !facts->purpose ? MATCH_PARTLY : MATCH_NOT;
}

/* At a push purposes, roles and users are open: a PERMIT matches whatever it lists, but a list of unknown purposes
 * only permits nothing; a DENY matches only if it lists none. */
static enum match match_open(const struct tree_rule *rule, const struct facts *facts)
{
    const Chartmesh__V1__Rule *r = rule->rule;
    if (facts->action != CONSENT_DISCLOSE) {
        enum match found = least(listed_purpose(&rule->purposes, facts), listed_user(r, facts->user));
        return least(found, listed_coding(r->roles, r->n_roles, facts->role));
    }
    if (rule->effect == CONSENT_DENY) {
        return rule->purposes.listed || r->n_roles || r->n_users ? MATCH_NOT : MATCH_FULLY;
    }
    return rule->purposes.listed && !rule->purposes.covers ? MATCH_PARTLY : MATCH_FULLY;
}

/* The half-open [from, until) and the interval [lo, hi] with both its ends. */
static enum match match_valid(const Chartmesh__V1__Period *valid, int64_t lo, int64_t hi)
{
    int64_t from = valid && valid->from ? valid->from->ms : INT64_MIN;
    int64_t until = valid && valid->until ? valid->until->ms : INT64_MAX;
    bool all = from <= lo && (hi < until || until == INT64_MAX);
    bool any = from <= hi && (lo < until || until == INT64_MAX);
    return all ? MATCH_FULLY : any ? MATCH_PARTLY : MATCH_NOT;
}

/* Two half-open periods: contained fully, overlapping partly. */
static enum match match_clinical(const Chartmesh__V1__Period *rule, const Chartmesh__V1__Period *version)
{
    if (!rule) {
        return MATCH_FULLY;
    }
    if (!version) {
        return MATCH_PARTLY;
    }
    int64_t from = version->from ? version->from->ms : INT64_MIN;
    int64_t until = version->until ? version->until->ms : INT64_MAX;
    int64_t rule_from = rule->from ? rule->from->ms : INT64_MIN;
    int64_t rule_until = rule->until ? rule->until->ms : INT64_MAX;
    if (rule_from <= from && until <= rule_until) {
        return MATCH_FULLY;
    }
    return rule_from < until && from < rule_until ? MATCH_PARTLY : MATCH_NOT;
}

static enum match match_sensitivity(const struct tree_rule *rule, const struct facts *facts)
{
    const struct tree_codes *list = &rule->sensitivity;
    if (!list->listed) {
        return MATCH_FULLY;
    }
    if (!facts->codes && !facts->codes_unknown) {
        return MATCH_NOT;
    }
    if (rule->effect == CONSENT_DENY) { /* any one of the version's is covered */
        if (facts->codes & list->covers) {
            return MATCH_FULLY;
        }
        return list->unknown || facts->codes_unknown ? MATCH_PARTLY : MATCH_NOT;
    }
    if (facts->codes & ~list->covers) { /* every one is covered */
        return list->unknown ? MATCH_PARTLY : MATCH_NOT;
    }
    return facts->codes_unknown ? MATCH_PARTLY : MATCH_FULLY;
}

static enum match match_without(const struct tree_codes *list, const struct facts *facts)
{
    if (facts->codes & list->covers) {
        return MATCH_NOT;
    }
    bool any = facts->codes || facts->codes_unknown;
    return list->listed && any && (list->unknown || facts->codes_unknown) ? MATCH_PARTLY : MATCH_FULLY;
}

static bool within_labels(const Chartmesh__V1__Rule *rule, const struct facts *facts)
{
    bool below = rule->confidentiality_max == 0 || facts->confidentiality <= (unsigned)rule->confidentiality_max;
    bool above = rule->confidentiality_min == 0 || facts->confidentiality >= (unsigned)rule->confidentiality_min;
    return below && above;
}

enum match match_settled(const struct tree_rule *rule, const struct facts *facts)
{
    const Chartmesh__V1__Rule *r = rule->rule;
    const struct consent_version *version = facts->version;

    if (!within_labels(r, facts) || !listed_bytes(r->facilities, r->n_facilities, &facts->facility) ||
        !listed_bytes(r->documents, r->n_documents, &version->document) ||
        !listed_bytes(r->authoring_facilities, r->n_authoring_facilities, &version->authoring)) {
        return MATCH_NOT;
    }
    enum match found = least(match_sensitivity(rule, facts), match_without(&rule->without, facts));
    found = least(found, match_clinical(r->clinical, version->clinical));
    if (r->n_classes && !listed_coding(r->classes, r->n_classes, version->class)) {
        return MATCH_NOT;
    }
    return found;
}

bool match_names(const struct tree_rule *rule, const struct facts *facts)
{
    return rule->rule->n_facilities &&
           listed_bytes(rule->rule->facilities, rule->rule->n_facilities, &facts->facility);
}

enum match match_rule(const struct tree_rule *rule, const struct facts *facts)
{
    if (rule->actions && !(rule->actions & 1u << facts->action)) {
        return MATCH_NOT;
    }
    enum match found = least(match_valid(rule->rule->valid, facts->lo_ms, facts->hi_ms), match_open(rule, facts));
    if (found == MATCH_NOT) {
        return MATCH_NOT;
    }
    found = least(found, match_settled(rule, facts));
    return facts->partly || rule->rule->deny_only ? least(found, MATCH_PARTLY) : found;
}
