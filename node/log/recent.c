/* What the committer used last: each thing has one place, and the newer takes it. */
#include "node/log/log_inside.h"

static bool who_text(const struct log_who *who, char text[RECENT_WHO_MAX], size_t *len)
{
    size_t principal = strlen(who->principal) + 1, user = strlen(who->user) + 1;
    *len = principal + user;
    if (*len > RECENT_WHO_MAX) {
        return false;
    }
    memcpy(text, who->principal, principal);
    memcpy(text + principal, who->user, user);
    return true;
}

/* FNV-1a */
static size_t who_place(const char *text, size_t len)
{
    uint32_t sum = 2166136261;
    for (size_t i = 0; i < len; i++) {
        sum = (sum ^ (uint8_t)text[i]) * 16777619;
    }
    return sum % RECENT_WHO;
}

bool recent_who_find(const struct recent *recent, const struct log_who *who, struct hash *actor)
{
    char text[RECENT_WHO_MAX];
    size_t len;
    if (!who_text(who, text, &len)) {
        return false;
    }
    const struct recent_who *found = &recent->who[who_place(text, len)];
    if (found->len != len || memcmp(found->text, text, len) != 0) {
        return false;
    }
    *actor = found->actor;
    return true;
}

void recent_who_set(struct recent *recent, const struct log_who *who, const struct hash *actor)
{
    char text[RECENT_WHO_MAX];
    size_t len;
    if (who_text(who, text, &len)) {
        struct recent_who *place = &recent->who[who_place(text, len)];
        memcpy(place->text, text, len);
        place->len = len;
        place->actor = *actor;
    }
}

/* Keys are hashes. */
static size_t chain_place(const struct hash *key)
{
    return (size_t)(key->bytes[0] << 8 | key->bytes[1]) % RECENT_CHAINS;
}

bool recent_chain_find(const struct recent *recent, const struct hash *key, struct log_chain *out)
{
    const struct recent_chain *found = &recent->chains[chain_place(key)];
    if (found->state.count == 0 || !hash_equal(&found->key, key)) {
        return false;
    }
    *out = found->state;
    return true;
}

void recent_chain_set(struct recent *recent, const struct hash *key, const struct log_chain *state)
{
    recent->chains[chain_place(key)] = (struct recent_chain){*key, *state};
}
