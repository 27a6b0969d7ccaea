/* Decisions: every path that an entry names must be in the policy and give that effect; what was disclosed is
 * decided again where everything that the decision rests on is here. */
#include "client/verify/check.h"
#include "client/verify/words.h"
#include "proto/consent/consent.h"
#include "proto/statement/version.h"

/* -- paths */

static const Chartmesh__V1__Rule *rule_of_id(const Chartmesh__V1__Policy *policy, uint32_t id)
{
    for (size_t i = 0; i < policy->n_rules; i++) {
        if (policy->rules[i]->id == id) {
            return policy->rules[i];
        }
    }
    return NULL;
}

/* A path goes from a top rule down, each the parent of the next, and its last rule has the effect. */
static bool path_gives(const Chartmesh__V1__Policy *policy, const Chartmesh__V1__Basis *basis,
                       Chartmesh__V1__Effect effect)
{
    uint32_t parent = 0;
    Chartmesh__V1__Effect last = policy->base_effect;
    for (size_t i = 0; i < basis->n_rules; i++) {
        const Chartmesh__V1__Rule *rule = rule_of_id(policy, basis->rules[i]);
        if (!rule || rule->parent != parent) {
            return false;
        }
        parent = rule->id;
        last = rule->effect;
    }
    return last == effect;
}

static bool check_paths(struct check *c, const struct shown *shown)
{
    const Chartmesh__V1__Decision *decision = shown->entry->decision;
    for (size_t i = 0; i < decision->n_basis; i++) {
        const struct given *given = find_given(c, bytes_pb(decision->basis[i]->policy));
        if (given && given->s.kind == STATEMENT_POLICY &&
            !path_gives((const void *)given->s.message, decision->basis[i], decision->effect)) {
            return contradict(c, VERIFY_DECISIONS, &shown->frame, "entry %ju names a path that does not give %s",
                              (uintmax_t)shown->index, effect_name(decision->effect));
        }
    }
    return true;
}

/* -- deciding again */

/* Everything of the subject that was logged before an entry. */
struct known {
    struct consent_policy *policies;
    size_t policies_len;
    struct version_node *nodes;
    const Chartmesh__V1__Version **versions;
    size_t versions_len;
    bool whole;                            /* nothing that was named is missing */
};

static bool know_policy(struct check *c, const struct given *given, struct known *known)
{
    struct err why;
    if (!consent_policy_compile((const void *)given->s.message, &given->s.id, c->arena,
                                &known->policies[known->policies_len], &why)) {
        return judge(c, VERIFY_DECISIONS, &given->frame, &why);
    }
    known->policies_len++;
    return true;
}

static void know_version(const struct given *given, struct known *known)
{
    const Chartmesh__V1__Version *version = (const void *)given->s.message;
    known->versions[known->versions_len] = version;
    known->nodes[known->versions_len++] =
        (struct version_node){.id = given->s.id,
                              .tag = version->dot->tag,
                              .counter = version->dot->counter,
                              .context = (const Chartmesh__V1__Dot *const *)version->context,
                              .context_len = version->n_context};
}

/* learn adds what one entry brought: its policies and versions. */
static bool learn(struct check *c, const struct shown *shown, struct known *known)
{
    if (!shown->entry) {
        known->whole = false;
        return true;
    }
    bool policy = shown->entry->kind == ENTRY_KIND(POLICY);
    bool version = shown->entry->kind == ENTRY_KIND(WRITE) || shown->entry->kind == ENTRY_KIND(RECEIVE);
    for (size_t i = 0; (policy || version) && i < shown->entry->n_objects; i++) {
        const struct given *given = find_given(c, bytes_pb(shown->entry->objects[i]));
        if (!given) {
            known->whole = false;
        } else if (given->s.kind == STATEMENT_POLICY) {
            if (!know_policy(c, given, known)) {
                return false;
            }
        } else if (given->s.kind == STATEMENT_VERSION) {
            know_version(given, known);
        }
    }
    return true;
}

/* The join of labels over a document's heads, from what is known. */
static bool effective_labels(struct check *c, const struct known *known, const Chartmesh__V1__Version *version,
                             Chartmesh__V1__Labels **out)
{
    void *nodes_room, *heads_room, *places_room;
    if (!arena_array(c->arena, known->versions_len, sizeof(struct version_node), &nodes_room, c->err) ||
        !arena_array(c->arena, known->versions_len, sizeof(bool), &heads_room, c->err) ||
        !arena_array(c->arena, known->versions_len, sizeof(size_t), &places_room, c->err)) {
        return false;
    }
    struct version_node *nodes = nodes_room;
    bool *head = heads_room;
    size_t *places = places_room, count = 0;
    for (size_t i = 0; i < known->versions_len; i++) {
        if (bytes_equal(bytes_pb(known->versions[i]->document), bytes_pb(version->document))) {
            places[count] = i;
            nodes[count++] = known->nodes[i];
        }
    }
    (void)version_heads(nodes, count, head);
    *out = NULL;
    for (size_t i = 0; i < count; i++) {
        if (head[i] && !labels_join(*out, known->versions[places[i]]->labels, c->arena, out, c->err)) {
            return false;
        }
    }
    return true;
}

/* A version whose content is another's needs that one too: left out here. */
static bool has_own_content(const Chartmesh__V1__Version *version)
{
    return version->kind != CHARTMESH__V1__KIND__KIND_RELABEL &&
           version->kind != CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR;
}

/* The versions of an entry, ready to be decided on; *usable is false when one is not here. */
static bool versions_of(struct check *c, const struct shown *shown, const struct known *known,
                        struct consent_version **out, bool *usable)
{
    void *room;
    const Chartmesh__V1__Entry *entry = shown->entry;
    if (!arena_array(c->arena, entry->n_objects, sizeof(struct consent_version), &room, c->err)) {
        return false;
    }
    *out = room;
    *usable = entry->n_objects > 0;
    for (size_t i = 0; i < entry->n_objects && *usable; i++) {
        const struct given *given = find_given(c, bytes_pb(entry->objects[i]));
        const Chartmesh__V1__Version *version =
            given && given->s.kind == STATEMENT_VERSION ? (const void *)given->s.message : NULL;
        *usable = version && has_own_content(version);
        Chartmesh__V1__Labels *effective;
        if (*usable) {
            if (!effective_labels(c, known, version, &effective)) {
                return false;
            }
            (*out)[i] = consent_version_of(version, NULL, effective);
        }
    }
    return true;
}

static bool same_basis(const struct consent_decision *ours, const Chartmesh__V1__Decision *theirs)
{
    bool same = ours->basis_len == theirs->n_basis;
    for (size_t i = 0; same && i < theirs->n_basis; i++) {
        bool listed = false;
        for (size_t k = 0; k < ours->basis_len; k++) {
            const struct consent_basis *basis = &ours->basis[k];
            listed = listed || (bytes_equal(bytes_pb(theirs->basis[i]->policy), BYTES_OF(basis->policy)) &&
                                theirs->basis[i]->n_rules == basis->rules_len &&
                                (basis->rules_len == 0 || memcmp(theirs->basis[i]->rules, basis->rules,
                                                                 basis->rules_len * sizeof *basis->rules) == 0));
        }
        same = listed;
    }
    return same;
}

/* A disclosure that the policies before it do not permit contradicts; another basis only is not proved. */
static bool compare(struct check *c, const struct shown *shown, const struct consent_disclosure *ours)
{
    for (size_t i = 0; i < shown->entry->n_objects; i++) {
        const struct consent_decision *answer = &ours->answers[i];
        if ((int)answer->effect != (int)shown->entry->decision->effect) {
            return contradict(c, VERIFY_DECISIONS, &shown->frame,
                              "entry %ju says %s, the policies logged before it say %s", (uintmax_t)shown->index,
                              effect_name(shown->entry->decision->effect),
                              answer->effect == CONSENT_PERMIT ? "PERMIT" : "DENY");
        }
        if (answer->step != shown->entry->decision->step || !same_basis(answer, shown->entry->decision)) {
            lack(c, VERIFY_DECISIONS, "entry %ju has another step or basis than its decision computed again",
                 (uintmax_t)shown->index);
            return true;
        }
    }
    c->report->recomputed++;
    return true;
}

static bool decide_again(struct check *c, const struct shown *shown, const struct known *known)
{
    const Chartmesh__V1__Entry *entry = shown->entry;
    const Chartmesh__V1__Decision *decision = entry->decision;
    struct consent_version *versions;
    struct consent_heads heads;
    struct consent_disclosure ours;
    bool usable;
    if (!known->whole || !versions_of(c, shown, known, &versions, &usable) || !usable) {
        return c->err->code == 0;
    }
    struct consent_config config = {0};
    struct consent_context context = {.config = &config, .heads = &heads};
    struct consent_push push = {.lo_ms = decision->lo ? decision->lo->ms : hlc_ms(entry->hlc),
                                .hi_ms = decision->hi ? decision->hi->ms : hlc_ms(entry->hlc)};
    if (!id_from(bytes_pb(c->asked->facility), &config.facility) ||
        !id_from(bytes_pb(entry->subject->facility), &context.origin) ||
        !id_from(bytes_pb(entry->counterpart), &push.recipient)) {
        return true;
    }
    return consent_heads_find(known->policies, known->policies_len, c->arena, &heads, c->err) &&
           consent_disclose(&push, versions, entry->n_objects, &context, c->arena, &ours, c->err) &&
           compare(c, shown, &ours);
}

static bool make_known(struct check *c, struct known *known)
{
    void *policies, *nodes, *versions;
    size_t room = 0;
    for (size_t i = 0; i < c->shown_len; i++) {
        room += c->shown[i].entry ? c->shown[i].entry->n_objects : 0;
    }
    if (!arena_array(c->arena, room, sizeof *known->policies, &policies, c->err) ||
        !arena_array(c->arena, room, sizeof *known->nodes, &nodes, c->err) ||
        !arena_array(c->arena, room, sizeof(Chartmesh__V1__Version *), &versions, c->err)) {
        return false;
    }
    /* Only a patient's whole chain, in the log of their origin, holds all policies that a disclosure rested on. */
    bool whole = c->asked->subject && c->first_k == 1 &&
                 bytes_equal(bytes_pb(c->asked->subject->facility), bytes_pb(c->asked->facility));
    *known = (struct known){.policies = policies, .nodes = nodes, .versions = versions, .whole = whole};
    return true;
}

bool check_decisions(struct check *c)
{
    struct known known;
    if (!make_known(c, &known)) {
        return false;
    }
    for (size_t i = 0; i < c->shown_len; i++) {
        const struct shown *shown = &c->shown[i];
        if (shown->entry && shown->entry->decision) {
            c->report->decisions++;
            if (!check_paths(c, shown) ||
                (shown->entry->kind == ENTRY_KIND(DISCLOSE) && !decide_again(c, shown, &known))) {
                return false;
            }
        }
        if (!learn(c, shown, &known)) {
            return false;
        }
    }
    if (c->authority && !c->authority->version_headers) {
        lack(c, VERIFY_DECISIONS, "effects and paths agree; the authority allows no version headers");
    }
    if (c->report->recomputed < c->report->decisions) {
        lack(c, VERIFY_DECISIONS,
             "effects and paths agree; %ju of %ju were computed again, the others rest on tables or headers that "
             "are "
             "not in a bundle",
             (uintmax_t)c->report->recomputed, (uintmax_t)c->report->decisions);
    }
    c->reached[VERIFY_DECISIONS] = true;
    return true;
}
