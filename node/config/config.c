#include "node/config/config.h"

#include <confuse.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/config/judge.h"

enum { TEXT_MAX = 256 << 10, ROWS_MAX = 1024 };

/* Flags of ours on a key, above libconfuse's own: its value is complete; how much of a list was seen. */
enum { GIVEN = 1 << 30, SEEN_SHIFT = 16, SEEN = (ROWS_MAX | (ROWS_MAX - 1)) << SEEN_SHIFT };

/* ---- What the file may say: libconfuse's schema, then where each value goes and its limits ------------------ */

static int check_number(cfg_t *cfg, cfg_opt_t *opt);
static int check_string(cfg_t *cfg, cfg_opt_t *opt);

#define STRING(name_, default_)                                                                                   \
    {                                                                                                             \
        .name = (name_), .type = CFGT_STR, .flags = (default_) ? CFGF_NONE : CFGF_NODEFAULT,                      \
        .def = {.string = (default_)}, .validcb = check_string                                                    \
    }
#define STRINGS(name_)                                                                                            \
    {                                                                                                             \
        .name = (name_), .type = CFGT_STR, .flags = CFGF_LIST, .def = {.parsed = (char *)"{}"},                   \
        .validcb = check_string                                                                                   \
    }
#define NUMBER(name_, default_)                                                                                   \
    {                                                                                                             \
        .name = (name_), .type = CFGT_INT, .def = {.number = (default_)}, .validcb = check_number                 \
    }
#define SECTION(name_, keys)                                                                                      \
    {                                                                                                             \
        .name = (name_), .type = CFGT_SEC, .subopts = (keys)                                                      \
    }
#define TITLED(name_, keys)                                                                                       \
    {                                                                                                             \
        .name = (name_), .type = CFGT_SEC, .flags = CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES,                \
        .subopts = (keys)                                                                                         \
    }
#define END_OF_KEYS                                                                                               \
    {                                                                                                             \
        .name = NULL                                                                                              \
    }

static cfg_opt_t LOG_KEYS[] = {STRING("file", NULL), STRING("level", "info"), END_OF_KEYS};

static cfg_opt_t CLIENT_KEYS[] = {STRING("listen", NULL), STRING("certificate", NULL), STRING("key", NULL),
                                  STRING("ca", NULL), END_OF_KEYS};

static cfg_opt_t PEER_KEYS[] = {STRING("listen", NULL), STRING("certificate", NULL), STRING("key", NULL),
                                END_OF_KEYS};

static cfg_opt_t DIAL_KEYS[] = {STRING("address", NULL), END_OF_KEYS};

static cfg_opt_t ROLES_KEYS[] = {STRINGS("clinical"), STRINGS("sensitive"), STRINGS("relabel"), STRINGS("match"),
                                 END_OF_KEYS};

static cfg_opt_t PURPOSE_KEYS[] = {STRING("needs", NULL), STRINGS("may"), END_OF_KEYS};

static cfg_opt_t ROLE_KEYS[] = {TITLED("purpose", PURPOSE_KEYS), END_OF_KEYS};

static cfg_opt_t PRINCIPAL_KEYS[] = {STRINGS("roles"), STRINGS("purposes"), END_OF_KEYS};

static cfg_opt_t DISCLOSURE_KEYS[] = {
    NUMBER("max_age_normal_s", 86400),
    NUMBER("max_age_restricted_s", 3600),
    NUMBER("max_age_sensitive_s", 600),
    NUMBER("max_days", 365),
    END_OF_KEYS,
};

static cfg_opt_t LIMITS_KEYS[] = {
    NUMBER("connections", 1000),
    NUMBER("streams", 200),
    NUMBER("watches", 1000),
    NUMBER("workers", 32),
    NUMBER("request_memory_mib", 16),
    NUMBER("store_memory_mib", 24),
    NUMBER("drain_s", 20),
    END_OF_KEYS,
};

static cfg_opt_t COMMIT_KEYS[] = {
    NUMBER("map_epoch_s", 10),
    NUMBER("map_epoch_entries", 4096),
    NUMBER("linger_us", 1000),
    NUMBER("entries", 256),
    NUMBER("clock_error_ms", 2000),
    STRING("cosign", "on"),
    END_OF_KEYS,
};

static cfg_opt_t FILE_KEYS[] = {
    STRING("network", NULL),
    STRING("facility", NULL),
    STRING("domain", NULL),
    STRING("data_folder", NULL),
    STRING("trust_file", NULL),
    STRING("root_key_file", NULL),
    STRING("keys_folder", NULL),
    SECTION("log", LOG_KEYS),
    SECTION("client", CLIENT_KEYS),
    SECTION("peer", PEER_KEYS),
    TITLED("dial", DIAL_KEYS),
    SECTION("roles", ROLES_KEYS),
    TITLED("role", ROLE_KEYS),
    TITLED("principal", PRINCIPAL_KEYS),
    SECTION("disclosure", DISCLOSURE_KEYS),
    SECTION("limits", LIMITS_KEYS),
    SECTION("commit", COMMIT_KEYS),
    END_OF_KEYS,
};

#define AT(field) offsetof(struct config, field)

static const struct number {
    const char *section, *name;
    long min, max;
    size_t at;
    unsigned shift; /* MiB: 20, and then the field is 64 bits wide */
} NUMBERS[] = {
    {"disclosure", "max_age_normal_s", 60, 30 * 86400, AT(max_age_normal_s), 0},
    {"disclosure", "max_age_restricted_s", 60, 30 * 86400, AT(max_age_restricted_s), 0},
    {"disclosure", "max_age_sensitive_s", 60, 30 * 86400, AT(max_age_sensitive_s), 0},
    {"disclosure", "max_days", 0, 36500, AT(max_disclosure_days), 0},
    {"limits", "connections", 1, 100000, AT(max_connections), 0},
    {"limits", "streams", 1, 10000, AT(max_streams), 0},
    {"limits", "watches", 0, 100000, AT(max_watches), 0},
    {"limits", "workers", 1, 256, AT(workers), 0},
    {"limits", "request_memory_mib", 4, 1024, AT(request_memory), 20},
    {"limits", "store_memory_mib", 8, 65536, AT(store_memory), 20},
    {"limits", "drain_s", 0, 600, AT(drain_s), 0},
    {"commit", "map_epoch_s", 1, 10, AT(map_epoch_s), 0},
    {"commit", "map_epoch_entries", 1, 4096, AT(map_epoch_entries), 0},
    {"commit", "linger_us", 0, 2000, AT(linger_us), 0},
    {"commit", "entries", 1, 256, AT(commit_entries), 0},
    {"commit", "clock_error_ms", 1, 60000, AT(clock_error_ms), 0},
};

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
};

/* Keys by name alone: what check_string asks of a value, the moment it is read. */
static const struct {
    const char *name;
    enum judge_kind kind;
} KINDS[] = {
    {"network", JUDGE_ID},     {"facility", JUDGE_ID},          {"domain", JUDGE_DOMAIN},
    {"listen", JUDGE_LISTEN},  {"address", JUDGE_DIAL},         {"level", JUDGE_LEVEL},
    {"clinical", JUDGE_ROLE},  {"sensitive", JUDGE_ROLE},       {"relabel", JUDGE_ROLE},
    {"match", JUDGE_ROLE},     {"needs", JUDGE_NEEDS},          {"may", JUDGE_RPC},
    {"roles", JUDGE_ROLE_ANY}, {"purposes", JUDGE_PURPOSE_ANY}, {"cosign", JUDGE_SWITCH},
};

/* ---- Judging values as they are read ---------------------------------------------------------------------- */

/* libconfuse reports to a function without an argument of ours: the parse under way on this thread. */
static _Thread_local struct parse {
    const char *name;
    struct err *err;
    bool failed;
} parsing;

static void on_error(cfg_t *cfg, const char *format, va_list args)
{
    if (!parsing.failed) {
        char text[200];
        vsnprintf(text, sizeof text, format, args);
        err_raise(parsing.err, ERR_INVALID, "%s:%d: %s", parsing.name, cfg->line, text);
        parsing.failed = true;
    }
}

/* libconfuse asks after each value, and for a list once more at its end, when its size has not grown. */
static bool given_twice(cfg_t *cfg, cfg_opt_t *opt)
{
    unsigned size = cfg_opt_size(opt), seen = (unsigned)(opt->flags & SEEN) >> SEEN_SHIFT;
    if (opt->flags & GIVEN) {
        cfg_error(cfg, "%s is given twice", opt->name);
        return true;
    }
    if (!(opt->flags & CFGF_LIST) || (size == seen && size != 0)) {
        opt->flags |= GIVEN;
    }
    opt->flags = (opt->flags & ~SEEN) | (int)(MIN(size, ROWS_MAX) << SEEN_SHIFT);
    return false;
}

static int check_number(cfg_t *cfg, cfg_opt_t *opt)
{
    long value = cfg_opt_getnint(opt, 0);
    if (given_twice(cfg, opt)) {
        return -1;
    }
    for (size_t i = 0; i < COUNT(NUMBERS); i++) {
        const struct number *number = &NUMBERS[i];
        if (strcmp(number->name, opt->name) == 0 && (value < number->min || value > number->max)) {
            cfg_error(cfg, "%s must be %ld to %ld, not %ld", opt->name, number->min, number->max, value);
            return -1;
        }
    }
    return 0;
}

static int check_string(cfg_t *cfg, cfg_opt_t *opt)
{
    enum judge_kind kind = JUDGE_FILE;
    if (given_twice(cfg, opt)) {
        return -1;
    }
    if (cfg_opt_size(opt) == 0) {
        return 0;
    }
    const char *value = cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);
    for (size_t i = 0; i < COUNT(KINDS); i++) {
        kind = strcmp(KINDS[i].name, opt->name) == 0 ? KINDS[i].kind : kind;
    }
    if (!judge(kind, value)) {
        cfg_error(cfg, "%s must be %s, not '%.60s'", opt->name, judge_wants(kind), value);
        return -1;
    }
    return 0;
}

/* ---- From libconfuse's tree to a struct config ----------------------------------------------------------- */

struct reading {
    cfg_t *cfg;
    const char *name; /* of the file */
    struct arena *arena;
    struct config *config;
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

static void read_numbers(const struct reading *r)
{
    for (size_t i = 0; i < COUNT(NUMBERS); i++) {
        const struct number *number = &NUMBERS[i];
        char *field = (char *)r->config + number->at;
        uint64_t value = (uint64_t)cfg_getint(cfg_getsec(r->cfg, number->section), number->name) << number->shift;
        if (number->shift) {
            memcpy(field, &value, sizeof value);
        } else {
            uint32_t narrow = (uint32_t)value;
            memcpy(field, &narrow, sizeof narrow);
        }
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

static void read_choices(const struct reading *r)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    const char *level = cfg_getstr(r->cfg, "log|level");
    for (size_t i = 0; i < COUNT(levels); i++) {
        r->config->log_level = strcmp(level, levels[i]) == 0 ? (enum config_level)i : r->config->log_level;
    }
    r->config->cosign = strcmp(cfg_getstr(r->cfg, "commit|cosign"), "on") == 0;
}

static bool read_all(const struct reading *r, struct err *err)
{
    read_numbers(r);
    read_choices(r);
    return read_id(r, "network", &r->config->network, err) && read_id(r, "facility", &r->config->facility, err) &&
           read_strings(r, err) && read_dials(r, err) && read_role_lists(r, err) && read_rules(r, err) &&
           read_principals(r, err);
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
    return true;
}

/* ---- The doors -------------------------------------------------------------------------------------------- */

static bool parse_text(cfg_t *cfg, const char *text, const char *name, struct err *err)
{
    parsing = (struct parse){.name = name, .err = err};
    cfg_set_error_function(cfg, on_error);
    int result = cfg_parse_buf(cfg, text);
    bool told = parsing.failed;
    parsing = (struct parse){0};
    return result == CFG_SUCCESS || told ? result == CFG_SUCCESS
                                         : err_raise(err, ERR_INVALID, "%s: cannot be parsed", name);
}

bool config_parse(struct bytes text, const char *name, struct arena *arena, struct config **out, struct err *err)
{
    char *copy;
    void *memory;
    if (text.len > TEXT_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "%s: over %d KiB", name, TEXT_MAX >> 10);
    }
    if (!utf8_valid(text)) {
        return err_raise(err, ERR_INVALID, "%s: not UTF-8 text", name);
    }
    if (!arena_string(arena, text, &copy, err) || !arena_alloc(arena, sizeof(struct config), &memory, err)) {
        return err_wrap(err, "%s", name);
    }
    cfg_t *cfg = cfg_init(FILE_KEYS, CFGF_NONE);
    if (!cfg) {
        return err_raise(err, ERR_TOO_MUCH, "%s: no memory", name);
    }
    const struct reading r = {.cfg = cfg, .name = name, .arena = arena, .config = memory};
    bool ok = parse_text(cfg, copy, name, err) && read_all(&r, err) && fits_together(&r, err);
    cfg_free(cfg);
    if (ok) {
        *out = memory;
    }
    return ok;
}

bool config_load(const char *path, struct arena *arena, struct config **out, struct err *err)
{
    FILE *file = fopen(path, "rbe");
    if (!file) {
        return err_raise(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_STATE, "configuration %s: %s", path,
                         strerror(errno));
    }
    void *text = NULL;
    bool ok = arena_alloc(arena, TEXT_MAX + 1, &text, err);
    size_t len = ok ? fread(text, 1, TEXT_MAX + 1, file) : 0;
    if (ok && ferror(file)) {
        ok = err_raise(err, ERR_STATE, "configuration %s: cannot be read", path);
    }
    fclose(file);
    return ok && config_parse(BYTES(text, len), path, arena, out, err);
}

const struct config_rule *config_rule_find(const struct config *config, const char *role, const char *purpose)
{
    for (size_t i = 0; i < config->rule_count; i++) {
        const struct config_rule *rule = &config->rules[i];
        if (strcmp(rule->role, role) == 0 && strcmp(rule->purpose, purpose) == 0) {
            return rule;
        }
    }
    return NULL;
}

const struct config_principal *config_principal_find(const struct config *config, const char *path)
{
    for (size_t i = 0; i < config->principal_count; i++) {
        const char *pattern = config->principals[i].pattern;
        size_t len = strlen(pattern);
        bool open = pattern[len - 1] == '*';
        if (open ? strncmp(pattern, path, len - 1) == 0 : strcmp(pattern, path) == 0) {
            return &config->principals[i];
        }
    }
    return NULL;
}

bool config_lists(const struct config_strings *list, const char *item)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], item) == 0 || strcmp(list->items[i], "*") == 0) {
            return true;
        }
    }
    return false;
}
