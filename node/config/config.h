/* node/config/config.h - chartmeshd's one configuration file.
 *
 * libconfuse's format: `key = value`, `section { ... }`, `# comment`. What a key means, its unit, its limits and
 * its default: docs/operating/chartmeshd.conf.md, and the annotated example beside it. Unknown keys, a key given
 * twice, values outside their limits and combinations that make no sense are refused with the line.
 *
 * config_load reads and judges the text alone; config_check then looks at the files it names. A `struct config` is
 * immutable and lives in the caller's arena. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

enum config_level { CONFIG_LOG_DEBUG, CONFIG_LOG_INFO, CONFIG_LOG_WARN, CONFIG_LOG_ERROR };

/* What step 5 of the decision asks for. */
enum config_needs {
    CONFIG_NEEDS_ROLE = 1,       /* the role is enough */
    CONFIG_NEEDS_ASSIGNED        /* and a care relationship */
};

struct config_strings {
    size_t count;
    const char *const *items;
};

/* One row of the table role x purpose. No row: denied. */
struct config_rule {
    const char *role;            /* "system|code" */
    const char *purpose;         /* HL7 v3 ActReason code: "TREAT" */
    enum config_needs needs;
    struct config_strings may;   /* writing RPCs this role may call for this purpose: "Records.Put" */
};

/* What a client certificate may claim for its calls. The first entry whose pattern fits decides; none: the caller
 * may claim nothing, and only what needs no role is open to it. */
struct config_principal {
    const char *pattern;         /* the SPIFFE id's path after the domain: "app/emr"; a last "*" fits any end */
    struct config_strings roles;     /* "system|code"; "*" alone: any role of the table */
    struct config_strings purposes;  /* ActReason codes; "*" alone: any purpose of the table */
};

/* What one application (auditor, administrator, patient) may take of the node; 0: no bound of this kind. Each
 * SPIFFE id that fits the pattern has its own; the first entry that fits decides, none: no quota. */
struct config_quota {
    const char *pattern;         /* as config_principal's */
    uint32_t calls_per_s, calls_at_once, kib_per_s, documents_per_day;
};

struct config_peer_address {
    const char *domain;          /* the peer facility's */
    const char *address;         /* "host:port" to dial instead of its membership's endpoints */
};

struct config {
    /* Who and where. */
    const char *data_folder;
    struct id network, facility;
    const char *domain;          /* lower-case, as in the membership and the SPIFFE ids */
    const char *log_file;        /* NULL: standard error */
    enum config_level log_level;

    /* Files of keys and trust. */
    const char *trust_file;      /* network, roster and memberships: framed statements */
    const char *root_key_file;   /* 32 bytes, as 64 hex digits and a newline */
    const char *keys_folder;     /* the facility's own signing and sealing keys */

    /* The client port. */
    const char *client_listen;   /* "host:port"; port 0: the system picks */
    const char *client_certificate, *client_key, *client_ca;
    const char *deny_file;       /* node/config/deny.h; NULL: nobody is denied */
    uint32_t certificate_hours;  /* a caller's certificate lives no longer than this */

    /* The peer port. */
    const char *peer_listen;
    const char *peer_certificate, *peer_key;
    size_t peer_address_count;
    const struct config_peer_address *peer_addresses;

    /* Who may what. */
    struct config_strings clinical_roles;    /* shipped matrix: own-facility TREAT reads up to N */
    struct config_strings sensitive_roles;   /* and R, V and sensitive categories */
    struct config_strings relabel_roles;     /* may lower a label at the origin */
    struct config_strings match_roles;       /* may see incoming subjects */
    size_t rule_count;
    const struct config_rule *rules;
    size_t principal_count;
    const struct config_principal *principals;
    size_t quota_count;
    const struct config_quota *quotas;

    /* Disclosure: how old an origin's lease may be at a holder, by label; how long a disclosure lasts. */
    uint32_t max_age_normal_s, max_age_restricted_s, max_age_sensitive_s;
    uint32_t max_disclosure_days;            /* 0: until revoked */

    /* Limits. */
    uint32_t max_connections, max_streams, max_watches;
    uint32_t max_uploads, upload_keep_h; /* unfinished, of one principal; hours one lives without a new piece */
    uint64_t upload_bytes; /* the lengths of those of one principal together */
    uint32_t workers; /* of the service lane */
    uint64_t request_memory, store_memory; /* bytes; per request, and RocksDB's caches together */
    uint64_t calls_memory;                   /* bytes; all calls together */
    uint32_t principal_calls, principal_streams, principal_connections, principal_calls_per_s; /* of each caller */

    /* The log. */
    uint32_t map_epoch_s, map_epoch_entries;
    uint32_t linger_us; /* how long the committer waits for company */
    uint32_t commit_entries; /* at most so many entries in one batch */
    uint32_t clock_error_ms;
    bool cosign; /* cosign peers' checkpoints and ask them for theirs */
    uint32_t drain_s; /* SIGTERM: how long requests may go on */

    /* Metrics over HTTP. */
    const char *metrics_listen; /* NULL: none */
    bool metrics_beyond_loopback;
};

/* config_load reads the file into *out. ERR_NOT_FOUND: no such file. ERR_INVALID: "FILE:LINE: what is wrong", and
 * what would be right. ERR_TOO_MUCH: over 256 KiB, or the arena's budget. Relative file names in it are taken
 * relative to the configuration file's folder. */
NODISCARD bool config_load(const char *path, struct arena *arena, struct config **out, struct err *err);

/* config_parse is config_load from text; `name` stands for the file in errors and for its folder. */
NODISCARD bool config_parse(struct bytes text, const char *name, struct arena *arena, struct config **out,
                            struct err *err);

/* config_check looks at the world outside: the files exist and can be read, key files belong to this user or root
 * and nobody else may read them, the data folder is a folder or can be made. ERR_STATE, with the file's name and
 * what to do (chmod 600 ...). */
NODISCARD bool config_check(const struct config *config, struct err *err);

/* config_check_all is config_check that tells every problem, and returns how many there are. */
typedef void config_problem_fn(void *context, const struct err *problem);
size_t config_check_all(const struct config *config, config_problem_fn *tell, void *context);

/* config_rule_find returns the table's row for role and purpose, NULL if there is none. */
const struct config_rule *config_rule_find(const struct config *config, const char *role, const char *purpose);

/* config_principal_find returns what a caller may claim; `path` is the SPIFFE id's path after the domain,
 * "app/emr". NULL: nothing. */
const struct config_principal *config_principal_find(const struct config *config, const char *path);

const struct config_quota *config_quota_find(const struct config *config, const char *path);

/* config_lists tells whether `item` is in the list; a list of "*" alone has everything. */
bool config_lists(const struct config_strings *list, const char *item);
