#include "node/config/config.h"

#include <errno.h>
#include <stdio.h>

#include "node/config/inside.h"

enum { TEXT_MAX = 256 << 10 };

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

static cfg_opt_t CLIENT_KEYS[] = {
    STRING("listen", NULL), STRING("certificate", NULL),       STRING("key", NULL), STRING("ca", NULL),
    STRING("deny", NULL),   NUMBER("certificate_hours", 2400), END_OF_KEYS};

static cfg_opt_t PEER_KEYS[] = {STRING("listen", NULL), STRING("certificate", NULL), STRING("key", NULL),
                                END_OF_KEYS};

static cfg_opt_t DIAL_KEYS[] = {STRING("address", NULL), END_OF_KEYS};

static cfg_opt_t ROLES_KEYS[] = {STRINGS("clinical"), STRINGS("sensitive"), STRINGS("relabel"), STRINGS("match"),
                                 END_OF_KEYS};

static cfg_opt_t PURPOSE_KEYS[] = {STRING("needs", NULL), STRINGS("may"), END_OF_KEYS};

static cfg_opt_t ROLE_KEYS[] = {TITLED("purpose", PURPOSE_KEYS), END_OF_KEYS};

static cfg_opt_t PRINCIPAL_KEYS[] = {STRINGS("roles"), STRINGS("purposes"), END_OF_KEYS};

static cfg_opt_t QUOTA_KEYS[] = {NUMBER("calls_per_s", 0), NUMBER("calls_at_once", 0), NUMBER("kib_per_s", 0),
                                 NUMBER("documents_per_day", 0), END_OF_KEYS};

static cfg_opt_t METRICS_KEYS[] = {STRING("listen", NULL), STRING("beyond_loopback", "off"), END_OF_KEYS};

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
    NUMBER("uploads", 32),
    NUMBER("uploads_gib", 64),
    NUMBER("uploads_keep_h", 24),
    NUMBER("calls_memory_mib", 512),
    NUMBER("principal_calls", 1024),
    NUMBER("principal_streams", 512),
    NUMBER("principal_connections", 64),
    NUMBER("principal_calls_per_s", 20000),
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
    STRING("network", NULL),          STRING("facility", NULL),
    STRING("domain", NULL),           STRING("data_folder", NULL),
    STRING("trust_file", NULL),       STRING("root_key_file", NULL),
    STRING("keys_folder", NULL),      SECTION("log", LOG_KEYS),
    SECTION("client", CLIENT_KEYS),   SECTION("peer", PEER_KEYS),
    TITLED("dial", DIAL_KEYS),        SECTION("roles", ROLES_KEYS),
    TITLED("role", ROLE_KEYS),        TITLED("principal", PRINCIPAL_KEYS),
    TITLED("quota", QUOTA_KEYS),      SECTION("disclosure", DISCLOSURE_KEYS),
    SECTION("limits", LIMITS_KEYS),   SECTION("commit", COMMIT_KEYS),
    SECTION("metrics", METRICS_KEYS), END_OF_KEYS,
};

const struct number NUMBERS[] = {
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
    {"limits", "uploads", 1, 10000, AT(max_uploads), 0},
    {"limits", "uploads_gib", 1, 1 << 20, AT(upload_bytes), 30},
    {"limits", "uploads_keep_h", 1, 720, AT(upload_keep_h), 0},
    {"limits", "calls_memory_mib", 32, 65536, AT(calls_memory), 20},
    {"limits", "principal_calls", 1, 100000, AT(principal_calls), 0},
    {"limits", "principal_streams", 1, 100000, AT(principal_streams), 0},
    {"limits", "principal_connections", 1, 100000, AT(principal_connections), 0},
    {"limits", "principal_calls_per_s", 1, 1000000, AT(principal_calls_per_s), 0},
    {"limits", "drain_s", 0, 600, AT(drain_s), 0},
    {"commit", "map_epoch_s", 1, 10, AT(map_epoch_s), 0},
    {"commit", "map_epoch_entries", 1, 4096, AT(map_epoch_entries), 0},
    {"commit", "linger_us", 0, 2000, AT(linger_us), 0},
    {"commit", "entries", 1, 256, AT(commit_entries), 0},
    {"commit", "clock_error_ms", 1, 60000, AT(clock_error_ms), 0},
    {"client", "certificate_hours", 1, 87600, AT(certificate_hours), 0},
};
const size_t NUMBERS_LEN = COUNT(NUMBERS);

#define QUOTA_AT(field) offsetof(struct config_quota, field)

const struct number QUOTA_NUMBERS[] = {
    {"quota", "calls_per_s", 0, 1000000, QUOTA_AT(calls_per_s), 0},
    {"quota", "calls_at_once", 0, 100000, QUOTA_AT(calls_at_once), 0},
    {"quota", "kib_per_s", 0, 10 << 20, QUOTA_AT(kib_per_s), 0},
    {"quota", "documents_per_day", 0, 100000000, QUOTA_AT(documents_per_day), 0},
};
const size_t QUOTA_NUMBERS_LEN = COUNT(QUOTA_NUMBERS);

/* Keys by name alone: what check_string asks of a value, the moment it is read. */
static const struct {
    const char *name;
    enum judge_kind kind;
} KINDS[] = {
    {"network", JUDGE_ID},     {"facility", JUDGE_ID},
    {"domain", JUDGE_DOMAIN},  {"listen", JUDGE_LISTEN},
    {"address", JUDGE_DIAL},   {"level", JUDGE_LEVEL},
    {"clinical", JUDGE_ROLE},  {"sensitive", JUDGE_ROLE},
    {"relabel", JUDGE_ROLE},   {"match", JUDGE_ROLE},
    {"needs", JUDGE_NEEDS},    {"may", JUDGE_RPC},
    {"roles", JUDGE_ROLE_ANY}, {"purposes", JUDGE_PURPOSE_ANY},
    {"cosign", JUDGE_SWITCH},  {"beyond_loopback", JUDGE_SWITCH},
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

/* A key's name has one meaning wherever it stands. */
static const struct number *number_find(const struct number *list, size_t len, const char *name)
{
    for (size_t i = 0; i < len; i++) {
        if (strcmp(list[i].name, name) == 0) {
            return &list[i];
        }
    }
    return NULL;
}

static int check_number(cfg_t *cfg, cfg_opt_t *opt)
{
    long value = cfg_opt_getnint(opt, 0);
    if (given_twice(cfg, opt)) {
        return -1;
    }
    const struct number *number = number_find(NUMBERS, NUMBERS_LEN, opt->name);
    number = number ? number : number_find(QUOTA_NUMBERS, QUOTA_NUMBERS_LEN, opt->name);
    if (number && (value < number->min || value > number->max)) {
        cfg_error(cfg, "%s must be %ld to %ld, not %ld", opt->name, number->min, number->max, value);
        return -1;
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
    AUTO_ARENA(scratch, TEXT_MAX + 8192);
    char *copy;
    void *memory;
    if (text.len > TEXT_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "%s: over %d KiB", name, TEXT_MAX >> 10);
    }
    if (!utf8_valid(text)) {
        return err_raise(err, ERR_INVALID, "%s: not UTF-8 text", name);
    }
    if (!arena_string(&scratch, text, &copy, err) || !arena_alloc(arena, sizeof(struct config), &memory, err)) {
        return err_wrap(err, "%s", name);
    }
    cfg_t *cfg = cfg_init(FILE_KEYS, CFGF_NONE);
    if (!cfg) {
        return err_raise(err, ERR_TOO_MUCH, "%s: no memory", name);
    }
    const struct reading r = {.cfg = cfg, .name = name, .arena = arena, .config = memory};
    bool ok = parse_text(cfg, copy, name, err) && tree_read(&r, err);
    cfg_free(cfg);
    if (ok) {
        *out = memory;
    }
    return ok;
}

bool config_load(const char *path, struct arena *arena, struct config **out, struct err *err)
{
    AUTO_ARENA(scratch, TEXT_MAX + 8192);
    FILE *file = fopen(path, "rbe");
    if (!file) {
        return err_raise(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_STATE, "configuration %s: %s", path,
                         strerror(errno));
    }
    void *text = NULL;
    bool ok = arena_alloc(&scratch, TEXT_MAX + 1, &text, err);
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

static bool fits(const char *pattern, const char *path)
{
    size_t len = strlen(pattern);
    return pattern[len - 1] == '*' ? strncmp(pattern, path, len - 1) == 0 : strcmp(pattern, path) == 0;
}

const struct config_principal *config_principal_find(const struct config *config, const char *path)
{
    for (size_t i = 0; i < config->principal_count; i++) {
        if (fits(config->principals[i].pattern, path)) {
            return &config->principals[i];
        }
    }
    return NULL;
}

const struct config_quota *config_quota_find(const struct config *config, const char *path)
{
    for (size_t i = 0; i < config->quota_count; i++) {
        if (fits(config->quotas[i].pattern, path)) {
            return &config->quotas[i];
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
