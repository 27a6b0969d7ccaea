#include <stdlib.h>

#include "proto/consent/consent.h"
#include "proto/statement/version.h"

static bool is_law(const struct consent_policy *policy)
{
    return policy->message->assertor->who == CHARTMESH__V1__WHO__WHO_LAW;
}

static struct version_node node_of(const struct consent_policy *policy)
{
    const Chartmesh__V1__Policy *message = policy->message;
    return (struct version_node){.id = policy->id,
                                 .tag = message->dot->tag,
                                 .counter = message->dot->counter,
                                 .context = (const Chartmesh__V1__Dot *const *)message->context,
                                 .context_len = message->n_context};
}

static bool is_head(const struct consent_policy *policy, const struct consent_policy *policies, size_t len)
{
    const struct version_node node = node_of(policy);
    for (size_t i = 0; i < len; i++) {
        const struct version_node other = node_of(&policies[i]);
        if (is_law(&policies[i]) == is_law(policy) && version_supersedes(&other, &node)) {
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
