/* From libconfuse's tree to a struct config, and what must fit together in it. */
#include "node/config/inside.h"

static const struct string {
    const char *path;
    enum judge_kind kind;
    bool needed;
    size_t at;
} STRINGS_ONE[] = {
    {"domain", JUDGE_DOMAIN, true, AT(domain)},
    {"data_folder", JUDGE_FILE, true, AT(data_folder)},
    {"trust_file", JUDGE_FILE, true, AT(trust_file)},
    {"root_key_file", JUDGE_FILE, true, AT(root_key_file)},
    {"keys_folder", JUDGE_FILE, true, AT(keys_folder)},
    {"log|file", JUDGE_FILE, false, AT(log_file)},
    {"client|listen", JUDGE_LISTEN, true, AT(client_listen)},
    {"client|certificate", JUDGE_FILE, true, AT(client_certificate)},
    {"client|key", JUDGE_FILE, true, AT(client_key)},
    {"client|ca", JUDGE_FILE, true, AT(client_ca)},
    {"peer|listen", JUDGE_LISTEN, true, AT(peer_listen)},
    {"peer|certificate", JUDGE_FILE, true, AT(peer_certificate)},
    {"peer|key", JUDGE_FILE, true, AT(peer_key)},
    {"client|deny", JUDGE_FILE, false, AT(deny_file)},
    {"metrics|listen", JUDGE_LISTEN, false, AT(metrics_listen)},
};

static bool raise_missing(const struct reading *r, const char *what, struct err *err)
{
    return err_raise(err, ERR_INVALID, "%s: %s is missing", r->name, what);
}

static bool copy_text(const struct reading *r, const char *text, const char **out, struct err *err)
{
    char *copy;
    if (!arena_string(r->arena, bytes_str(text), &copy, err)) {
        return false;
    }
    *out = copy;
    return true;
}

/* A relative file name is meant from the configuration file's folder. */
static bool copy_path(const struct reading *r, const char *path, const char **out, struct err *err)
{
    const char *slash = strrchr(r->name, '/');
    if (path[0] == '/' || !slash) {
        return copy_text(r, path, out, err);
    }
    char *joined;
    if (!arena_printf(r->arena, &joined, err, "%.*s/%s", (int)(slash - r->name), r->name, path)) {
        return false;
    }
    *out = joined;
    return true;
}

static bool read_strings(const struct reading *r, struct err *err)
{
    for (size_t i = 0; i < COUNT(STRINGS_ONE); i++) {
        const struct string *string = &STRINGS_ONE[i];
        const char *value = cfg_getstr(r->cfg, string->path);
        const char **out = (const char **)((char *)r->config + string->at);
        if (!value && string->needed) {
            const char *bar = strchr(string->path, '|');
            return bar ? err_raise(err, ERR_INVALID, "%s: %s in section %.*s is missing", r->name, bar + 1,
                                   (int)(bar - string->path), string->path)
                       : raise_missing(r, string->path, err);
        }
        if (value &&
            !(string->kind == JUDGE_FILE ? copy_path(r, value, out, err) : copy_text(r, value, out, err))) {
            return false;
        }
    }
    return true;
}

static bool read_id(const struct reading *r, const char *name, struct id *out, struct err *err)
{
    const char *value = cfg_getstr(r->cfg, name);
    return value ? hex_decode(value, out->bytes, sizeof out->bytes, err) : raise_missing(r, name, err);
}

static void put_number(void *row, const struct number *number, cfg_t *section)
{
    char *field = (char *)row + number->at;
    uint64_t value = (uint64_t)cfg_getint(section, number->name) << number->shift;
    if (number->shift) {
        memcpy(field, &value, sizeof value);
    } else {
        uint32_t narrow = (uint32_t)value;
        memcpy(field, &narrow, sizeof narrow);
    }
}

static void read_numbers(const struct reading *r)
{
    for (size_t i = 0; i < NUMBERS_LEN; i++) {
        put_number(r->config, &NUMBERS[i], cfg_getsec(r->cfg, NUMBERS[i].section));
    }
}

static bool read_list(const struct reading *r, cfg_t *section, const char *name, struct config_strings *out,
                      struct err *err)
{
    void *memory;
    size_t count = cfg_size(section, name);
    if (count > ROWS_MAX) {
        return err_raise(err, ERR_INVALID, "%s: %s has over %d values", r->name, name, ROWS_MAX);
    }
    if (!arena_array(r->arena, count, sizeof(char *), &memory, err)) {
        return false;
    }
    const char **items = memory;
    for (size_t i = 0; i < count; i++) {
        if (!copy_text(r, cfg_getnstr(section, name, (unsigned)i), &items[i], err)) {
            return false;
        }
    }
    *out = (struct config_strings){.count = count, .items = items};
    return true;
}

static bool read_role_lists(const struct reading *r, struct err *err)
{
    cfg_t *roles = cfg_getsec(r->cfg, "roles");
    struct config *config = r->config;
    return read_list(r, roles, "clinical", &config->clinical_roles, err) &&
           read_list(r, roles, "sensitive", &config->sensitive_roles, err) &&
           read_list(r, roles, "relabel", &config->relabel_roles, err) &&
           read_list(r, roles, "match", &config->match_roles, err);
}

/* The titles of sections `name`: checked, counted, room for `size` bytes each. */
static bool begin_rows(const struct reading *r, const char *name, size_t count, size_t size, void **out,
                       struct err *err)
{
    if (count > ROWS_MAX) {
        return err_raise(err, ERR_INVALID, "%s: over %d of %s", r->name, ROWS_MAX, name);
    }
    return arena_array(r->arena, count, size, out, err);
}

static bool read_title(const struct reading *r, cfg_t *section, const char *what, enum judge_kind kind,
                       const char **out, struct err *err)
{
    const char *title = cfg_title(section);
    if (!judge(kind, title)) {
        return err_raise(err, ERR_INVALID, "%s:%d: %s must be %s, not '%.60s'", r->name, section->line, what,
                         judge_wants(kind), title);
    }
    return copy_text(r, title, out, err);
}

static bool read_dials(const struct reading *r, struct err *err)
{
    void *memory;
    size_t count = cfg_size(r->cfg, "dial");
    if (!begin_rows(r, "dial", count, sizeof(struct config_peer_address), &memory, err)) {
        return false;
    }
    struct config_peer_address *rows = memory;
    for (size_t i = 0; i < count; i++) {
        cfg_t *section = cfg_getnsec(r->cfg, "dial", (unsigned)i);
        const char *address = cfg_getstr(section, "address");
        if (!read_title(r, section, "dial", JUDGE_DOMAIN, &rows[i].domain, err)) {
            return false;
        }
        if (!address) {
            return err_raise(err, ERR_INVALID, "%s:%d: dial %s: address is missing", r->name, section->line,
                             rows[i].domain);
        }
        if (!copy_text(r, address, &rows[i].address, err)) {
            return false;
        }
    }
    r->config->peer_addresses = rows;
    r->config->peer_address_count = count;
    return true;
}

static bool read_rule(const struct reading *r, const char *role, cfg_t *purpose, struct config_rule *out,
                      struct err *err)
{
    const char *needs = cfg_getstr(purpose, "needs");
    if (!read_title(r, purpose, "purpose", JUDGE_PURPOSE, &out->purpose, err)) {
        return false;
    }
    if (!needs) {
        return err_raise(err, ERR_INVALID, "%s:%d: needs is missing for %s, %s", r->name, purpose->line, role,
                         out->purpose);
    }
    out->role = role;
    out->needs = strcmp(needs, "role") == 0 ? CONFIG_NEEDS_ROLE : CONFIG_NEEDS_ASSIGNED;
    return read_list(r, purpose, "may", &out->may, err);
}

static size_t count_rules(const struct reading *r)
{
    size_t count = 0;
    for (unsigned i = 0; i < cfg_size(r->cfg, "role"); i++) {
        count += cfg_size(cfg_getnsec(r->cfg, "role", i), "purpose");
    }
    return count;
}

static bool read_rules(const struct reading *r, struct err *err)
{
    void *memory;
    if (!begin_rows(r, "purpose", count_rules(r), sizeof(struct config_rule), &memory, err)) {
        return false;
    }
    struct config_rule *rows = memory;
    for (unsigned i = 0; i < cfg_size(r->cfg, "role"); i++) {
        cfg_t *section = cfg_getnsec(r->cfg, "role", i);
        const char *role;
        if (!read_title(r, section, "role", JUDGE_ROLE, &role, err)) {
            return false;
        }
        for (unsigned j = 0; j < cfg_size(section, "purpose"); j++) {
            cfg_t *purpose = cfg_getnsec(section, "purpose", j);
            if (!read_rule(r, role, purpose, &rows[r->config->rule_count++], err)) {
                return false;
            }
        }
    }
    r->config->rules = rows;
    return true;
}

static bool read_principals(const struct reading *r, struct err *err)
{
    void *memory;
    size_t count = cfg_size(r->cfg, "principal");
    if (!begin_rows(r, "principal", count, sizeof(struct config_principal), &memory, err)) {
        return false;
    }
    struct config_principal *rows = memory;
    for (size_t i = 0; i < count; i++) {
        cfg_t *section = cfg_getnsec(r->cfg, "principal", (unsigned)i);
        if (!read_title(r, section, "principal", JUDGE_PRINCIPAL, &rows[i].pattern, err) ||
            !read_list(r, section, "roles", &rows[i].roles, err) ||
            !read_list(r, section, "purposes", &rows[i].purposes, err)) {
            return false;
        }
    }
    r->config->principals = rows;
    r->config->principal_count = count;
    return true;
}

static bool read_quotas(const struct reading *r, struct err *err)
{
    void *memory;
    size_t count = cfg_size(r->cfg, "quota");
    if (!begin_rows(r, "quota", count, sizeof(struct config_quota), &memory, err)) {
        return false;
    }
    struct config_quota *rows = memory;
    for (size_t i = 0; i < count; i++) {
        cfg_t *section = cfg_getnsec(r->cfg, "quota", (unsigned)i);
        if (!read_title(r, section, "quota", JUDGE_PRINCIPAL, &rows[i].pattern, err)) {
            return false;
        }
        for (size_t j = 0; j < QUOTA_NUMBERS_LEN; j++) {
            put_number(&rows[i], &QUOTA_NUMBERS[j], section);
        }
    }
    r->config->quotas = rows;
    r->config->quota_count = count;
    return true;
}

static void read_choices(const struct reading *r)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    const char *level = cfg_getstr(r->cfg, "log|level");
    for (size_t i = 0; i < COUNT(levels); i++) {
        r->config->log_level = strcmp(level, levels[i]) == 0 ? (enum config_level)i : r->config->log_level;
    }
    r->config->cosign = strcmp(cfg_getstr(r->cfg, "commit|cosign"), "on") == 0;
    r->config->metrics_beyond_loopback = strcmp(cfg_getstr(r->cfg, "metrics|beyond_loopback"), "on") == 0;
}

static bool read_all(const struct reading *r, struct err *err)
{
    read_numbers(r);
    read_choices(r);
    return read_id(r, "network", &r->config->network, err) && read_id(r, "facility", &r->config->facility, err) &&
           read_strings(r, err) && read_dials(r, err) && read_role_lists(r, err) && read_rules(r, err) &&
           read_principals(r, err) && read_quotas(r, err);
}

/* ---- What must fit together ------------------------------------------------------------------------------- */

static bool role_is_known(const struct config *config, const char *role)
{
    bool known = false;
    for (size_t i = 0; i < config->rule_count && !known; i++) {
        known = strcmp(config->rules[i].role, role) == 0;
    }
    return known;
}

static bool purpose_is_known(const struct config *config, const char *purpose)
{
    bool known = false;
    for (size_t i = 0; i < config->rule_count && !known; i++) {
        known = strcmp(config->rules[i].purpose, purpose) == 0;
    }
    return known;
}

/* A name that no row of the table has can only be a slip: nothing would ever be permitted by it. */
static bool roles_known(const struct reading *r, const char *where, const struct config_strings *roles,
                        struct err *err)
{
    for (size_t i = 0; i < roles->count; i++) {
        const char *role = roles->items[i];
        if (strcmp(role, "*") == 0 && roles->count > 1) {
            return err_raise(err, ERR_INVALID, "%s: %s: \"*\" stands alone", r->name, where);
        }
        if (strcmp(role, "*") != 0 && !role_is_known(r->config, role)) {
            return err_raise(err, ERR_INVALID, "%s: %s: no section role \"%s\"", r->name, where, role);
        }
    }
    return true;
}

static bool purposes_known(const struct reading *r, const struct config_principal *principal, struct err *err)
{
    const struct config_strings *purposes = &principal->purposes;
    for (size_t i = 0; i < purposes->count; i++) {
        bool any = strcmp(purposes->items[i], "*") == 0;
        if (any ? purposes->count > 1 : !purpose_is_known(r->config, purposes->items[i])) {
            return err_raise(err, ERR_INVALID,
                             "%s: principal %s: no role has a purpose \"%s\", or \"*\" is not alone", r->name,
                             principal->pattern, purposes->items[i]);
        }
    }
    return true;
}

/* Whoever reaches the port reads how busy this facility is: that is decided on purpose. */
static bool metrics_stay_here(const struct reading *r, struct err *err)
{
    const char *listen = r->config->metrics_listen;
    bool here = !listen || strncmp(listen, "127.", 4) == 0 || strncmp(listen, "[::1]:", 6) == 0;
    return here || r->config->metrics_beyond_loopback ||
           err_raise(err, ERR_INVALID,
                     "%s: metrics: %s is not on the loopback (127.0.0.1, [::1]): beyond_loopback = on says that "
                     "others may read them",
                     r->name, listen);
}

static bool fits_together(const struct reading *r, struct err *err)
{
    const struct config *c = r->config;
    if (!roles_known(r, "roles clinical", &c->clinical_roles, err) ||
        !roles_known(r, "roles sensitive", &c->sensitive_roles, err) ||
        !roles_known(r, "roles relabel", &c->relabel_roles, err) ||
        !roles_known(r, "roles match", &c->match_roles, err)) {
        return false;
    }
    for (size_t i = 0; i < c->principal_count; i++) {
        if (!roles_known(r, c->principals[i].pattern, &c->principals[i].roles, err) ||
            !purposes_known(r, &c->principals[i], err)) {
            return false;
        }
    }
    if (c->max_age_sensitive_s > c->max_age_restricted_s || c->max_age_restricted_s > c->max_age_normal_s) {
        return err_raise(err, ERR_INVALID, "%s: disclosure: max_age must not grow with sensitivity", r->name);
    }
    if (strcmp(c->client_listen, c->peer_listen) == 0 && !strstr(c->client_listen, ":0")) {
        return err_raise(err, ERR_INVALID, "%s: client and peer listen at the same address", r->name);
    }
    return metrics_stay_here(r, err);
}

bool tree_read(const struct reading *r, struct err *err)
{
    return read_all(r, err) && fits_together(r, err);
}
