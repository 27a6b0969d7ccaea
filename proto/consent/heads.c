#include <stdlib.h>

#include "proto/consent/consent.h"

static bool is_law(const struct consent_policy *policy)
{
    return policy->message->assertor->who == CHARTMESH__V1__WHO__WHO_LAW;
}

/* formats 3: v's context holds u's tag with a counter at least u's. */
static bool supersedes(const struct consent_policy *v, const struct consent_policy *u)
{
    const Chartmesh__V1__Dot *dot = u->message->dot;
    for (size_t i = 0; i < v->message->n_context; i++) {
        const Chartmesh__V1__Dot *seen = v->message->context[i];
        if (seen->tag == dot->tag && seen->counter >= dot->counter) {
            return true;
        }
    }
    return false;
}

static bool is_head(const struct consent_policy *policy, const struct consent_policy *policies, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (is_law(&policies[i]) == is_law(policy) && supersedes(&policies[i], policy)) {
            return false;
        }
    }
    return true;
}

static int by_id(const void *a, const void *b)
{
    const struct consent_policy *const *left = a, *const *right = b;
    return memcmp((*left)->id.bytes, (*right)->id.bytes, HASH_LEN);
}

static size_t sorted_once(const struct consent_policy **heads, size_t len)
{
    size_t kept = 0;
    qsort(heads, len, sizeof *heads, by_id);
    for (size_t i = 0; i < len; i++) {
        if (kept == 0 || !hash_equal(&heads[kept - 1]->id, &heads[i]->id)) {
            heads[kept++] = heads[i];
        }
    }
    return kept;
}

bool consent_heads_find(const struct consent_policy *policies, size_t policies_len, struct arena *arena,
                        struct consent_heads *out, struct err *err)
{
    void *law, *others;
    if (!arena_array(arena, policies_len, sizeof(struct consent_policy *), &law, err) ||
        !arena_array(arena, policies_len, sizeof(struct consent_policy *), &others, err)) {
        return false;
    }
    struct consent_heads heads = {.law = law, .others = others};
    for (size_t i = 0; i < policies_len; i++) {
        if (!is_head(&policies[i], policies, policies_len)) {
            continue;
        }
        if (is_law(&policies[i])) {
            heads.law[heads.law_len++] = &policies[i];
        } else {
            heads.others[heads.others_len++] = &policies[i];
        }
    }
    heads.law_len = sorted_once(heads.law, heads.law_len);
    heads.others_len = sorted_once(heads.others, heads.others_len);
    *out = heads;
    return true;
}
