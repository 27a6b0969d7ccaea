#include "node/config/compare.h"

#include <stddef.h>

/* -- Single values */

enum kind { TEXT, U32, U64, BOOL, LEVEL, ID };

struct value {
    const char *key;
    size_t at;
    enum kind kind;
    bool restart;
};

#define VALUE(key_, field, kind_, restart_)                                                                       \
    {                                                                                                             \
        (key_), offsetof(struct config, field), (kind_), (restart_)                                               \
    }

static const struct value VALUES[] = {
    VALUE("network", network, ID, true),
    VALUE("facility", facility, ID, true),
    VALUE("domain", domain, TEXT, true),
    VALUE("data_folder", data_folder, TEXT, true),
    VALUE("trust_file", trust_file, TEXT, true),
    VALUE("root_key_file", root_key_file, TEXT, true),
    VALUE("keys_folder", keys_folder, TEXT, true),
    VALUE("log.file", log_file, TEXT, true),
    VALUE("log.level", log_level, LEVEL, false),
    VALUE("client.listen", client_listen, TEXT, true),
    VALUE("client.certificate", client_certificate, TEXT, false),
    VALUE("client.key", client_key, TEXT, false),
    VALUE("client.ca", client_ca, TEXT, false),
    VALUE("client.deny", deny_file, TEXT, false),
    VALUE("client.certificate_hours", certificate_hours, U32, false),
    VALUE("peer.listen", peer_listen, TEXT, true),
    VALUE("peer.certificate", peer_certificate, TEXT, false),
    VALUE("peer.key", peer_key, TEXT, false),
    VALUE("disclosure.max_age_normal_s", max_age_normal_s, U32, false),
    VALUE("disclosure.max_age_restricted_s", max_age_restricted_s, U32, false),
    VALUE("disclosure.max_age_sensitive_s", max_age_sensitive_s, U32, false),
    VALUE("disclosure.max_days", max_disclosure_days, U32, false),
    VALUE("limits.connections", max_connections, U32, true),
    VALUE("limits.streams", max_streams, U32, true),
    VALUE("limits.watches", max_watches, U32, true),
    VALUE("limits.workers", workers, U32, true),
    VALUE("limits.request_memory_mib", request_memory, U64, true),
    VALUE("limits.store_memory_mib", store_memory, U64, true),
    VALUE("limits.uploads", max_uploads, U32, false),
    VALUE("limits.uploads_gib", upload_bytes, U64, false),
    VALUE("limits.uploads_keep_h", upload_keep_h, U32, false),
    VALUE("limits.calls_memory_mib", calls_memory, U64, true),
    VALUE("limits.principal_calls", principal_calls, U32, true),
    VALUE("limits.principal_streams", principal_streams, U32, true),
    VALUE("limits.principal_connections", principal_connections, U32, true),
    VALUE("limits.principal_calls_per_s", principal_calls_per_s, U32, true),
    VALUE("limits.drain_s", drain_s, U32, false),
    VALUE("commit.map_epoch_s", map_epoch_s, U32, true),
    VALUE("commit.map_epoch_entries", map_epoch_entries, U32, true),
    VALUE("commit.linger_us", linger_us, U32, true),
    VALUE("commit.entries", commit_entries, U32, true),
    VALUE("commit.clock_error_ms", clock_error_ms, U32, true),
    VALUE("commit.cosign", cosign, BOOL, true),
    VALUE("metrics.listen", metrics_listen, TEXT, true),
    VALUE("metrics.beyond_loopback", metrics_beyond_loopback, BOOL, true),
};

static size_t size_of(enum kind kind)
{
    static const size_t sizes[] = {
        [TEXT] = sizeof(const char *),
        [U32] = sizeof(uint32_t),
        [U64] = sizeof(uint64_t),
        [BOOL] = sizeof(bool),
        [LEVEL] = sizeof(enum config_level),
        [ID] = sizeof(struct id),
    };
    return sizes[kind];
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_value(const struct value *value, const struct config *a, const struct config *b)
{
    const char *left = (const char *)a + value->at, *right = (const char *)b + value->at;
    if (value->kind != TEXT) {
        return memcmp(left, right, size_of(value->kind)) == 0;
    }
    const char *texts[2];
    memcpy(&texts[0], left, sizeof texts[0]);
    memcpy(&texts[1], right, sizeof texts[1]);
    return same_text(texts[0], texts[1]);
}

/* -- Tables */

static bool same_list(const struct config_strings *a, const struct config_strings *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++) {
        same = strcmp(a->items[i], b->items[i]) == 0;
    }
    return same;
}

static bool same_dials(const struct config *a, const struct config *b)
{
    bool same = a->peer_address_count == b->peer_address_count;
    for (size_t i = 0; same && i < a->peer_address_count; i++) {
        same = same_text(a->peer_addresses[i].domain, b->peer_addresses[i].domain) &&
               same_text(a->peer_addresses[i].address, b->peer_addresses[i].address);
    }
    return same;
}

static bool same_rules(const struct config *a, const struct config *b)
{
    bool same = a->rule_count == b->rule_count;
    for (size_t i = 0; same && i < a->rule_count; i++) {
        const struct config_rule *left = &a->rules[i], *right = &b->rules[i];
        same = same_text(left->role, right->role) && same_text(left->purpose, right->purpose) &&
               left->needs == right->needs && same_list(&left->may, &right->may);
    }
    return same;
}

static bool same_roles(const struct config *a, const struct config *b)
{
    return same_list(&a->clinical_roles, &b->clinical_roles) &&
           same_list(&a->sensitive_roles, &b->sensitive_roles) &&
           same_list(&a->relabel_roles, &b->relabel_roles) && same_list(&a->match_roles, &b->match_roles);
}

static bool same_principals(const struct config *a, const struct config *b)
{
    bool same = a->principal_count == b->principal_count;
    for (size_t i = 0; same && i < a->principal_count; i++) {
        const struct config_principal *left = &a->principals[i], *right = &b->principals[i];
        same = same_text(left->pattern, right->pattern) && same_list(&left->roles, &right->roles) &&
               same_list(&left->purposes, &right->purposes);
    }
    return same;
}

static bool same_quotas(const struct config *a, const struct config *b)
{
    bool same = a->quota_count == b->quota_count;
    for (size_t i = 0; same && i < a->quota_count; i++) {
        const struct config_quota *left = &a->quotas[i], *right = &b->quotas[i];
        same = same_text(left->pattern, right->pattern) && left->calls_per_s == right->calls_per_s &&
               left->calls_at_once == right->calls_at_once && left->kib_per_s == right->kib_per_s &&
               left->documents_per_day == right->documents_per_day;
    }
    return same;
}

static const struct {
    const char *key;
    bool (*same)(const struct config *a, const struct config *b);
    bool restart;
} TABLES[] = {
    {"dial", same_dials, true},    {"role", same_rules, false},
    {"roles", same_roles, false},  {"principal", same_principals, false},
    {"quota", same_quotas, false},
};

_Static_assert(COUNT(VALUES) + COUNT(TABLES) <= CONFIG_CHANGES_MAX, "all of them may change at once");

/* -- Both */

size_t config_compare(const struct config *before, const struct config *after,
                      struct config_change out[CONFIG_CHANGES_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < COUNT(VALUES); i++) {
        if (!same_value(&VALUES[i], before, after)) {
            out[count++] = (struct config_change){VALUES[i].key, VALUES[i].restart};
        }
    }
    for (size_t i = 0; i < COUNT(TABLES); i++) {
        if (!TABLES[i].same(before, after)) {
            out[count++] = (struct config_change){TABLES[i].key, TABLES[i].restart};
        }
    }
    return count;
}

void config_keep(struct config *after, const struct config *before)
{
    for (size_t i = 0; i < COUNT(VALUES); i++) {
        if (VALUES[i].restart) {
            memcpy((char *)after + VALUES[i].at, (const char *)before + VALUES[i].at, size_of(VALUES[i].kind));
        }
    }
    after->peer_addresses = before->peer_addresses;
    after->peer_address_count = before->peer_address_count;
}
