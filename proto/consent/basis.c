/* Basis as a message: docs/protocol/04-consent.md, 10. */
#include "proto/consent/tree.h"

bool basis_message_of(const struct consent_basis *from, struct arena *arena, Chartmesh__V1__Basis **out,
                      struct err *err)
{
    struct {
        Chartmesh__V1__Basis basis;
        struct hash policy;
        uint32_t rules[CONSENT_DEPTH_MAX];
    } *made;
    if (!arena_alloc(arena, sizeof *made, (void **)&made, err)) {
        return false;
    }
    chartmesh__v1__basis__init(&made->basis);
    made->policy = from->policy;
    memcpy(made->rules, from->rules, sizeof made->rules);
    made->basis.policy = (ProtobufCBinaryData){HASH_LEN, made->policy.bytes};
    made->basis.n_rules = from->rules_len;
    made->basis.rules = made->rules;
    *out = &made->basis;
    return true;
}

/* By the bytes of the encoding: the policy stands first, then the packed rules. */
static int basis_compare(const struct consent_basis *a, const struct consent_basis *b)
{
    int order = memcmp(a->policy.bytes, b->policy.bytes, HASH_LEN);
    if (order != 0) {
        return order;
    }
    uint8_t left[64], right[64];
    Chartmesh__V1__Basis x = CHARTMESH__V1__BASIS__INIT, y = CHARTMESH__V1__BASIS__INIT;
    x.rules = (uint32_t *)a->rules;
    x.n_rules = a->rules_len;
    y.rules = (uint32_t *)b->rules;
    y.n_rules = b->rules_len;
    size_t left_len = chartmesh__v1__basis__pack(&x, left), right_len = chartmesh__v1__basis__pack(&y, right);
    return bytes_compare(BYTES(left, left_len), BYTES(right, right_len));
}

bool consent_basis_message(const struct consent_decision *decision, struct arena *arena,
                           Chartmesh__V1__Basis ***out, size_t *out_len, struct err *err)
{
    void *memory, *order;
    size_t len = 0;
    if (!arena_array(arena, decision->basis_len, sizeof(Chartmesh__V1__Basis *), &memory, err) ||
        !arena_array(arena, decision->basis_len, sizeof(const struct consent_basis *), &order, err)) {
        return false;
    }
    const struct consent_basis **sorted = order;
    for (size_t i = 0; i < decision->basis_len; i++) {           /* insertion: heads are few */
        const struct consent_basis *one = &decision->basis[i];
        size_t at = len;
        while (at > 0 && basis_compare(sorted[at - 1], one) > 0) {
            at--;
        }
        if (at > 0 && basis_compare(sorted[at - 1], one) == 0) {
            continue;
        }
        memmove(&sorted[at + 1], &sorted[at], (len - at) * sizeof *sorted);
        sorted[at] = one;
        len++;
    }
    Chartmesh__V1__Basis **list = memory;
    for (size_t i = 0; i < len; i++) {
        if (!basis_message_of(sorted[i], arena, &list[i], err)) {
            return false;
        }
    }
    *out = list;
    *out_len = len;
    return true;
}
