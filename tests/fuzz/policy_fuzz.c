/* Target functions: policy_check, consent_policy_compile, consent_heads_find, consent_decide, consent_disclose,
 * consent_copy_compile. The input is a policy's payload. */
#include "proto/consent/consent.h"

#include "proto/statement/statement.h"
#include "tests/fuzz/fuzz.h"

enum { BUDGET = 8 << 20, LO_MS = 1700000000000, HI_MS = LO_MS + 1000 };
static const struct id origin = {{1}};

static const struct consent_coding clinical[] = {{"urn:test", "nurse"}};
static const struct consent_need needs[] = {{{"urn:test", "nurse"}, "TREAT", false}};
static const struct consent_config config = {
    .facility = {{1}}, .clinical_roles = clinical, .clinical_roles_len = 1, .table = needs, .table_len = 1};

static const Chartmesh__V1__Labels labels = {.base = PROTOBUF_C_MESSAGE_INIT(&chartmesh__v1__labels__descriptor),
                                             .confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N};
static const struct consent_version version = {
    .document = {{3}}, .class = {"urn:test", "note"}, .authoring = {{1}}, .labels = &labels, .effective = &labels};

static enum consent_effect decide(const struct consent_heads *heads, enum consent_action action,
                                  struct arena *arena)
{
    const struct consent_context context = {.config = &config, .origin = origin, .heads = heads};
    const struct consent_request request = {.action = action,
                                            .facility = origin,
                                            .user = "eve",
                                            .purpose = "TREAT",
                                            .role = {"urn:test", "nurse"},
                                            .lo_ms = LO_MS,
                                            .hi_ms = HI_MS};
    struct consent_decision decision, again;
    struct err err;
    if (!consent_decide(&request, &version, &context, arena, &decision, &err)) {
        require(err.code == ERR_TOO_MUCH);
        return CONSENT_NONE;
    }
    require(decision.effect == CONSENT_PERMIT || decision.effect == CONSENT_DENY);
    require(!consent_decide(&request, &version, &context, arena, &again, &err) || again.effect == decision.effect);
    return decision.effect;
}

/* I11: another head that denies everything lifts no denial and no permit stands beside it. */
static void with_denial(const struct consent_policy *policy, struct arena *arena)
{
    Chartmesh__V1__Policy denial = *policy->message;
    Chartmesh__V1__Dot dot = *denial.dot;
    Chartmesh__V1__Assertor assertor = *denial.assertor;
    struct consent_policy both[2] = {*policy};
    struct consent_heads heads;
    const struct hash id = {{0xff}};
    struct err err;
    dot.tag ^= 1;
    denial.dot = &dot;
    denial.n_context = denial.n_rules = denial.n_parents = 0;
    denial.base_effect = CHARTMESH__V1__EFFECT__EFFECT_DENY;
    denial.assertor = &assertor;
    if (consent_policy_compile(&denial, &id, arena, &both[1], &err) &&
        consent_heads_find(both, 2, arena, &heads, &err) && heads.law_len + heads.others_len == 2) {
        require(decide(&heads, CONSENT_READ, arena) != CONSENT_PERMIT);
    }
}

/* Terms made of a policy are terms that a holder takes. */
static void disclose(const struct consent_heads *heads, const struct id *recipient, struct arena *arena)
{
    const struct consent_context context = {.config = &config, .origin = origin, .heads = heads};
    const struct consent_push push = {*recipient, LO_MS, HI_MS};
    struct consent_disclosure out;
    struct consent_copy copy;
    const struct hash id = {{9}};
    struct err err;
    if (!consent_disclose(&push, &version, 1, &context, arena, &out, &err)) {
        require(err.code == ERR_TOO_MUCH);
        return;
    }
    require(out.groups_len == (out.answers[0].effect == CONSENT_PERMIT));
    for (size_t i = 0; i < out.groups_len; i++) {
        Chartmesh__V1__Disclosure disclosure = CHARTMESH__V1__DISCLOSURE__INIT;
        disclosure.basis = out.groups[i].basis;
        disclosure.n_basis = out.groups[i].basis_len;
        disclosure.terms = out.groups[i].terms;
        require(consent_copy_compile(&disclosure, &id, arena, &copy, &err) || err.code == ERR_TOO_MUCH);
        fuzz_reached(2);
    }
}

/* The first facility that a rule names, else any. */
static struct id named(const Chartmesh__V1__Policy *policy)
{
    struct id id = {{2}};
    for (size_t i = 0; i < policy->n_rules; i++) {
        if (policy->rules[i]->n_facilities && id_from(bytes_pb(policy->rules[i]->facilities[0]), &id)) {
            break;
        }
    }
    return id;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA(arena, BUDGET);
    ProtobufCMessage *message;
    struct consent_policy policy;
    struct consent_heads heads;
    const struct hash id = {{7}};
    struct err err;
    if (!canonical_unpack(&chartmesh__v1__policy__descriptor, BYTES(data, size), &arena, &message, &err)) {
        return 0;
    }
    /* canonical_unpack holds rules to the same form. */
    require(policy_check((const Chartmesh__V1__Policy *)message, &err));
    if (!consent_policy_compile((const Chartmesh__V1__Policy *)message, &id, &arena, &policy, &err) ||
        !consent_heads_find(&policy, 1, &arena, &heads, &err)) {
        require(err.code == ERR_TOO_MUCH);
        return 0;
    }
    decide(&heads, CONSENT_READ, &arena);
    decide(&heads, CONSENT_SEARCH, &arena);
    with_denial(&policy, &arena);
    const struct id recipient = named((const Chartmesh__V1__Policy *)message);
    disclose(&heads, &recipient, &arena);
    fuzz_reached(1);
    return 0;
}
