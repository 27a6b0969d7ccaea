/* Client certificates of a facility's own CA. */
#include <stdio.h>

#include "client/setup/facility.h"
#include "client/setup/files.h"
#include "proto/crypto/random.h"
#include "proto/crypto/seal.h"
#include "proto/crypto/sign.h"
#include "proto/crypto/x509.h"

enum { PEM_MAX = 64 << 10, NAME_LEN_MAX = 64 };
static const int64_t HOUR_MS = INT64_C(3600000);

static const struct {
    const char *name, *role, *purpose;
} KINDS[CLIENT_KINDS] = {
    [CLIENT_APP] = {"app", ROLE_PHYSICIAN, "TREAT"},
    [CLIENT_AUDITOR] = {"auditor", ROLE_AUDITOR, "HOPERAT"},
    [CLIENT_ADMIN] = {"admin", ROLE_ADMINISTRATOR, "HSYSADMIN"},
    [CLIENT_PATIENT] = {"patient", NULL, "PATRQT"},
};

const char *client_kind_name(enum client_kind kind)
{
    return KINDS[kind].name;
}

bool client_kind_of(const char *name, enum client_kind *out)
{
    for (unsigned i = 0; i < CLIENT_KINDS; i++) {
        if (strcmp(KINDS[i].name, name) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* A certificate in the making. */
struct issuing {
    const char *folder, *out;
    const struct client_options *options;
    struct arena *arena;
    int64_t now_ms;
    struct profile node;
    const char *spiffe;
};

static bool check_name(const char *name, struct err *err)
{
    size_t len = strlen(name);
    size_t fine = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return (len > 0 && len == fine && len <= NAME_LEN_MAX) ||
           err_raise(err, ERR_INVALID, "a name has letters, digits, . _ - and at most %d of them", NAME_LEN_MAX);
}

static bool load_node(struct issuing *issuing, struct err *err)
{
    const char *path;
    if (!path_join(issuing->folder, "node.profile", issuing->arena, &path, err) ||
        !profile_load(path, issuing->arena, &issuing->node, err)) {
        return err_wrap(err, "%s is no folder that `node init` made", issuing->folder);
    }
    const struct profile *node = &issuing->node;
    return (node->network && node->domain && node->target && node->ca && node->trust && node->facility) ||
           err_raise(err, ERR_INVALID, "%s: a key is missing", path);
}

static bool name_out(struct issuing *issuing, struct err *err)
{
    const struct client_options *options = issuing->options;
    char *out, *spiffe;
    if (options->out) {
        issuing->out = options->out;
    } else if (arena_printf(issuing->arena, &out, err, "%s/clients/%s-%s", issuing->folder,
                            KINDS[options->kind].name, options->name)) {
        issuing->out = out;
    } else {
        return false;
    }
    if (!arena_printf(issuing->arena, &spiffe, err, "spiffe://%s/%s/%s/%s", issuing->node.network,
                      issuing->node.domain, KINDS[options->kind].name, options->name)) {
        return false;
    }
    issuing->spiffe = spiffe;
    return folder_create(issuing->out, err);
}

static bool put(const struct issuing *issuing, const char *name, struct bytes view, unsigned mode, struct err *err)
{
    const char *path;
    return path_join(issuing->out, name, issuing->arena, &path, err) && file_create(path, view, mode, err);
}

/* The CA's certificate and key; the key may be kept elsewhere most of the time. */
static bool load_ca(const struct issuing *issuing, struct cert_pair *out, struct err *err)
{
    struct bytes certificate, key;
    const char *path;
    if (!file_read(issuing->node.ca, PEM_MAX, issuing->arena, &certificate, err) ||
        !path_join(issuing->folder, "ca/client.key", issuing->arena, &path, err) ||
        !file_read(path, PEM_MAX, issuing->arena, &key, err)) {
        return err_wrap(err, "the facility's client CA");
    }
    *out = (struct cert_pair){(const char *)certificate.data, (const char *)key.data};
    return true;
}

static bool make_certificate(const struct issuing *issuing, struct err *err)
{
    struct cert_pair ca, leaf;
    const struct client_options *options = issuing->options;
    const struct cert_request request = {
        .common_name = options->name,
        .spiffe_id = issuing->spiffe,
        .client = true,
        .not_before_ms = issuing->now_ms - HOUR_MS,      /* clocks differ */
        .not_after_ms = issuing->now_ms + (options->hours ? options->hours : ISSUE_HOURS) * HOUR_MS,
    };
    return load_ca(issuing, &ca, err) && cert_make(&request, &ca, issuing->arena, &leaf, err) &&
           put(issuing, "client.crt", bytes_str(leaf.certificate), 0644, err) &&
           put(issuing, "client.key", bytes_str(leaf.key), 0600, err) &&
           put(issuing, "ca.crt", bytes_str(ca.certificate), 0644, err);
}

static bool make_audit_key(const struct issuing *issuing, struct err *err)
{
    AUTO_WIPE_HASH(seed);
    struct signing_key *key;
    const char *path;
    seed = random_hash();
    if (!path_join(issuing->out, "audit.key", issuing->arena, &path, err) ||
        !secret_file_create(path, &seed, err) || !signing_key_new(&seed, &key, err)) {
        return false;
    }
    char text[2 * HASH_LEN + 2];
    bytes_hex(BYTES_OF(*signing_key_public(key)), text);
    text[2 * HASH_LEN] = '\n';
    signing_key_free(key);
    return put(issuing, "audit.pub", BYTES(text, 2 * HASH_LEN + 1), 0644, err);
}

static bool write_profile(const struct issuing *issuing, const char **path, struct err *err)
{
    const struct client_options *options = issuing->options;
    struct profile profile = {
        .target = options->target ? options->target : issuing->node.target,
        .server_name = issuing->node.server_name,
        .ca = "ca.crt",
        .certificate = "client.crt",
        .key = "client.key",
        .network = issuing->node.network,
        .facility = issuing->node.facility,
        .domain = issuing->node.domain,
        .principal = issuing->spiffe,
        .user = options->user ? options->user : options->name,
        .role = options->role ? options->role : KINDS[options->kind].role,
        .purpose = options->purpose ? options->purpose : KINDS[options->kind].purpose,
        .audit_key = options->kind == CLIENT_AUDITOR ? "audit.key" : NULL,
    };
    AUTO_BUILDER(text, 16 << 10);
    build_text(&text, "# Use it with `chartmesh --profile FILE` or CHARTMESH_PROFILE=FILE; keys: docs/cli.md.\n");
    return path_absolute(issuing->node.trust, issuing->arena, &profile.trust, err) &&
           profile_text(&profile, &text, err) && put(issuing, "profile", builder_view(&text), 0600, err) &&
           path_join(issuing->out, "profile", issuing->arena, path, err);
}

bool facility_issue(const char *folder, const struct client_options *options, int64_t now_ms, struct arena *arena,
                    const char **profile, struct err *err)
{
    struct issuing issuing = {.folder = folder, .options = options, .arena = arena, .now_ms = now_ms};
    if (!check_name(options->name, err) || !load_node(&issuing, err) || !name_out(&issuing, err)) {
        return err_wrap(err, "node issue");
    }
    bool ok = make_certificate(&issuing, err) &&
              (options->kind != CLIENT_AUDITOR || make_audit_key(&issuing, err)) &&
              write_profile(&issuing, profile, err);
    if (!ok) {
        folder_undo(issuing.out);
    }
    return ok || err_wrap(err, "node issue");
}
