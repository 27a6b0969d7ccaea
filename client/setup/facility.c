#include "client/setup/facility.h"

#include <stdio.h>

#include "client/setup/files.h"
#include "client/setup/network.h"
#include "proto/crypto/random.h"
#include "proto/crypto/seal.h"
#include "proto/crypto/x509.h"
#include "proto/statement/trust.h"

static const int64_t DAY_MS = INT64_C(86400000);

enum { MEMORY_MAX = 512 << 20, TRUST_FILE_MAX = 256 << 20, ENDPOINTS_MAX = 16 };

#define PB(fixed) pb_bytes(BYTES_OF(fixed))

/* A facility in the making. */
struct making {
    const char *folder;
    const struct facility_options *options;
    struct arena *arena;
    struct id facility, network;
    char network_hex[2 * ID_LEN + 1], facility_hex[2 * ID_LEN + 1];
    const char *spiffe;
    int64_t now_ms;
    struct hash statement, checkpoint, witness, sealing;     /* secrets */
    struct cert_pair client_ca, peer_ca, peer;
};

static void making_done(struct making *making)
{
    secret_wipe(making, sizeof *making);
}

/* Writes a file below the facility's folder. */
static bool put(const char *folder, const char *name, struct bytes view, unsigned mode, struct err *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return file_create(path, view, mode, err);
}

static bool put_text(const char *folder, const char *name, const char *text, unsigned mode, struct err *err)
{
    return put(folder, name, bytes_str(text), mode, err);
}

/* -- keys */

static bool draw_secret(const struct making *making, const char *name, struct hash *out, struct err *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/keys/%s.key", making->folder, name);
    *out = random_hash();
    return secret_file_create(path, out, err);
}

static bool draw_secrets(struct making *making, struct err *err)
{
    AUTO_WIPE_HASH(root);
    return draw_secret(making, "root", &root, err) && draw_secret(making, "statement", &making->statement, err) &&
           draw_secret(making, "checkpoint", &making->checkpoint, err) &&
           draw_secret(making, "witness", &making->witness, err) &&
           draw_secret(making, "sealing", &making->sealing, err);
}

/* -- certificates */

static bool make_ca(const struct making *making, const char *what, struct cert_pair *out, struct err *err)
{
    char name[65], certificate[32], key[32];
    snprintf(name, sizeof name, "%.40s %s CA", making->options->domain, what);
    snprintf(certificate, sizeof certificate, "ca/%s.crt", what);
    snprintf(key, sizeof key, "ca/%s.key", what);
    const struct cert_request request = {
        .common_name = name,
        .is_ca = true,
        .not_before_ms = making->now_ms - DAY_MS,
        .not_after_ms = making->now_ms + CA_DAYS * DAY_MS,
    };
    return cert_make(&request, NULL, making->arena, out, err) &&
           put_text(making->folder, certificate, out->certificate, 0644, err) &&
           put_text(making->folder, key, out->key, 0600, err);
}

static bool make_node_leaf(const struct making *making, const char *what, const struct cert_pair *ca,
                           struct cert_pair *out, struct err *err)
{
    char certificate[48], key[48];
    snprintf(certificate, sizeof certificate, "keys/%s.crt", what);
    snprintf(key, sizeof key, "keys/%s.key", what);
    const struct cert_request request = {
        .common_name = NODE_DNS_NAME,
        .spiffe_id = making->spiffe,
        .dns_name = NODE_DNS_NAME,
        .server = true,
        .client = true,
        .not_before_ms = making->now_ms - DAY_MS,
        .not_after_ms = making->now_ms + CERTIFICATE_DAYS * DAY_MS,
    };
    return cert_make(&request, ca, making->arena, out, err) &&
           put_text(making->folder, certificate, out->certificate, 0644, err) &&
           put_text(making->folder, key, out->key, 0600, err);
}

static bool make_certificates(struct making *making, struct err *err)
{
    struct cert_pair server;
    return make_ca(making, "client", &making->client_ca, err) && make_ca(making, "peer", &making->peer_ca, err) &&
           make_node_leaf(making, "client-server", &making->client_ca, &server, err) &&
           make_node_leaf(making, "peer", &making->peer_ca, &making->peer, err);
}

/* -- the membership */

struct membership_keys {
    struct signing_key *keys[3];             /* statement, checkpoint, witness */
};

static void membership_keys_done(struct membership_keys *keys)
{
    for (size_t i = 0; i < COUNT(keys->keys); i++) {
        signing_key_free(keys->keys[i]);
    }
}

static bool membership_keys_new(const struct making *making, struct membership_keys *out, struct err *err)
{
    return signing_key_new(&making->statement, &out->keys[0], err) &&
           signing_key_new(&making->checkpoint, &out->keys[1], err) &&
           signing_key_new(&making->witness, &out->keys[2], err);
}

static void fill_endpoints(const struct facility_options *options, Chartmesh__V1__Endpoint *room,
                           Chartmesh__V1__Endpoint **list, Chartmesh__V1__Membership *membership)
{
    size_t count = MAX(options->endpoint_count, 1);
    for (size_t i = 0; i < count; i++) {
        chartmesh__v1__endpoint__init(&room[i]);
        room[i].address =
            (char *)(uintptr_t)(options->endpoint_count ? options->endpoints[i] : options->peer_listen);
        room[i].priority = (uint32_t)i;
        list[i] = &room[i];
    }
    membership->endpoints = list;
    membership->n_endpoints = count;
}

static bool sign_membership(const struct making *making, const struct membership_keys *keys, struct statement *out,
                            struct err *err)
{
    Chartmesh__V1__Membership membership = CHARTMESH__V1__MEMBERSHIP__INIT;
    Chartmesh__V1__Endpoint room[ENDPOINTS_MAX], *endpoints[ENDPOINTS_MAX];
    struct hash sealing = x25519_public(&making->sealing), pin;
    struct bytes ca;
    if (!cert_pin(bytes_str(making->peer.certificate), &pin, err) ||
        !cert_der(bytes_str(making->peer_ca.certificate), making->arena, &ca, err) ||
        !head_make(&making->network, &making->facility, (uint64_t)making->now_ms << 16, making->arena,
                   &membership.head, err)) {
        return false;
    }
    ProtobufCBinaryData pins[] = {PB(pin)}, roots[] = {pb_bytes(ca)};
    fill_endpoints(making->options, room, endpoints, &membership);
    membership.domain = (char *)(uintptr_t)making->options->domain;
    membership.name = (char *)(uintptr_t)making->options->name;
    membership.version = 1;
    membership.statement_key = PB(*signing_key_public(keys->keys[0]));
    membership.checkpoint_key = PB(*signing_key_public(keys->keys[1]));
    membership.witness_key = PB(*signing_key_public(keys->keys[2]));
    membership.sealing_key = PB(sealing);
    membership.tls_pins = pins;
    membership.n_tls_pins = 1;
    membership.tls_ca = roots;
    membership.n_tls_ca = 1;
    membership.status = CHARTMESH__V1__STATUS__STATUS_ACTIVE;
    return statement_sign(STATEMENT_MEMBERSHIP, &membership.base, (const struct signing_key *const *)keys->keys,
                          COUNT(keys->keys), making->arena, out, err);
}

static bool write_membership(const struct making *making, struct err *err)
{
    struct membership_keys keys = {0};
    struct statement statement;
    bool ok = membership_keys_new(making, &keys, err) && sign_membership(making, &keys, &statement, err) &&
              put(making->folder, "membership", statement.envelope, 0644, err);
    membership_keys_done(&keys);
    return ok;
}

/* -- configuration and profile */

static const char CONFIG_HEAD[] =
    "# The node of %s, made by `chartmesh node init`. What each key means: docs/operating/chartmeshd.conf.md.\n"
    "# `chartmeshd --check FILE` judges it without starting.\n\n"
    "network  = %s\n"
    "facility = %s\n"
    "domain   = %s\n\n"
    "data_folder   = data\n"
    "trust_file    = trust\n"
    "root_key_file = keys/root.key\n"
    "keys_folder   = keys\n\n"
    "client {\n"
    "    listen      = \"%s\"\n"
    "    certificate = keys/client-server.crt\n"
    "    key         = keys/client-server.key\n"
    "    ca          = ca/client.crt\n"
    "}\n\n"
    "peer {\n"
    "    listen      = \"%s\"\n"
    "    certificate = keys/peer.crt\n"
    "    key         = keys/peer.key\n"
    "}\n";

static const char CONFIG_ROLES[] =
    "\n# Who may do what, and which client certificate may claim it: narrow this to your house.\n"
    "role \"" ROLE_PHYSICIAN "\" {\n"
    "    purpose TREAT {\n"
    "        needs = role\n"
    "        may   = {\"Records.Put\", \"Records.PutStream\", \"Records.Prepare\", \"Records.PutSigned\",\n"
    "                 \"Records.Upload\", \"Records.Merge\", \"Records.Retract\", \"Records.Relabel\",\n"
    "                 \"Patients.Register\", \"Patients.Update\", \"Consents.SetPolicy\"}\n"
    "    }\n"
    "    purpose ETREAT { needs = role }\n"
    "}\n"
    "role \"" ROLE_NURSE "\" {\n"
    "    purpose TREAT {\n"
    "        needs = role\n"
    "        may   = {\"Records.Put\", \"Records.PutStream\", \"Records.Prepare\", \"Records.PutSigned\",\n"
    "                 \"Records.Upload\"}\n"
    "    }\n"
    "}\n"
    "role \"" ROLE_REGISTRAR "\" {\n"
    "    purpose HOPERAT {\n"
    "        needs = role\n"
    "        may   = {\"Patients.Register\", \"Patients.Update\", \"Consents.SetPolicy\"}\n"
    "    }\n"
    "}\n"
    "role \"" ROLE_AUDITOR "\" {\n"
    "    purpose HOPERAT { needs = role }\n"
    "}\n"
    "role \"" ROLE_ADMINISTRATOR "\" {\n"
    "    purpose HSYSADMIN { needs = role }\n"
    "}\n\n"
    "roles {\n"
    "    clinical  = {\"" ROLE_PHYSICIAN "\", \"" ROLE_NURSE "\"}\n"
    "    sensitive = {\"" ROLE_PHYSICIAN "\"}\n"
    "    relabel   = {\"" ROLE_PHYSICIAN "\"}\n"
    "    match     = {\"" ROLE_PHYSICIAN "\", \"" ROLE_REGISTRAR "\"}\n"
    "}\n\n"
    "principal \"app/*\" {\n"
    "    roles    = {\"" ROLE_PHYSICIAN "\", \"" ROLE_NURSE "\", \"" ROLE_REGISTRAR "\"}\n"
    "    purposes = {\"TREAT\", \"ETREAT\", \"HOPERAT\"}\n"
    "}\n"
    "principal \"auditor/*\" {\n"
    "    roles    = {\"" ROLE_AUDITOR "\"}\n"
    "    purposes = {\"HOPERAT\"}\n"
    "}\n"
    "principal \"admin/*\" {\n"
    "    roles    = {\"" ROLE_ADMINISTRATOR "\"}\n"
    "    purposes = {\"HSYSADMIN\"}\n"
    "}\n";

static bool write_config(const struct making *making, struct err *err)
{
    const struct facility_options *options = making->options;
    AUTO_BUILDER(text, 64 << 10);
    build_text(&text, CONFIG_HEAD, options->domain, making->network_hex, making->facility_hex, options->domain,
               options->client_listen, options->peer_listen);
    build_text(&text, "%s", CONFIG_ROLES);
    return (text.ok || err_raise(err, ERR_TOO_MUCH, "configuration: too long")) &&
           put(making->folder, "chartmeshd.conf", builder_view(&text), 0644, err);
}

/* Where a client on this machine reaches what listens on `listen`. */
static bool local_target(const char *listen, struct arena *arena, const char **out, struct err *err)
{
    const char *colon = strrchr(listen, ':');
    size_t host = (size_t)(colon - listen);
    bool any4 = bytes_equal(BYTES(listen, host), BYTES_LIT("0.0.0.0"));
    bool any6 = bytes_equal(BYTES(listen, host), BYTES_LIT("[::]"));
    char *target;
    bool ok = any4   ? arena_printf(arena, &target, err, "127.0.0.1%s", colon)
              : any6 ? arena_printf(arena, &target, err, "[::1]%s", colon)
                     : arena_printf(arena, &target, err, "%s", listen);
    if (ok) {
        *out = target;
    }
    return ok;
}

static bool write_node_profile(const struct making *making, struct err *err)
{
    struct profile profile = {
        .server_name = NODE_DNS_NAME,
        .ca = "ca/client.crt",
        .trust = "trust",
        .network = making->network_hex,
        .facility = making->facility_hex,
        .domain = making->options->domain,
        .principal = making->spiffe,
    };
    AUTO_BUILDER(text, 16 << 10);
    build_text(&text, "# This facility's node, for `chartmesh node issue`.\n");
    return local_target(making->options->client_listen, making->arena, &profile.target, err) &&
           profile_text(&profile, &text, err) &&
           put(making->folder, "node.profile", builder_view(&text), 0644, err);
}

/* -- node init */

/* host:port, where the host may be an IPv6 address in brackets. */
static bool is_address(const char *text)
{
    const char *colon = strrchr(text, ':');
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
    return colon && colon != text && digits > 0 && digits <= 5 && !colon[1 + digits] &&
           !strpbrk(text, "\" \t\r\n\\$'");
}

/* Formats 2: lower-case letters, digits and inner hyphens, in labels of up to 63, at least two of them. What the
 * membership's own check would refuse later is refused here, before there is a folder. */
static bool is_domain(const char *text)
{
    size_t len = strlen(text), labels = 0;
    for (const char *label = text; len <= 253 && label; labels++) {
        size_t label_len = strcspn(label, ".");
        size_t fine = strspn(label, "abcdefghijklmnopqrstuvwxyz0123456789-");
        if (label_len == 0 || label_len > 63 || fine < label_len || label[0] == '-' ||
            label[label_len - 1] == '-') {
            return false;
        }
        label = label[label_len] ? label + label_len + 1 : NULL;
    }
    return labels >= 2;
}

static bool check_options(const struct facility_options *options, struct err *err)
{
    if (!is_address(options->client_listen) || !is_address(options->peer_listen)) {
        return err_raise(err, ERR_INVALID, "a listening address is host:port, like 127.0.0.1:7443");
    }
    if (options->endpoint_count > ENDPOINTS_MAX) {
        return err_raise(err, ERR_INVALID, "at most %d endpoints", ENDPOINTS_MAX);
    }
    for (size_t i = 0; i < options->endpoint_count; i++) {
        if (!is_address(options->endpoints[i])) {
            return err_raise(err, ERR_INVALID, "%s: an endpoint is host:port", options->endpoints[i]);
        }
    }
    if (!is_domain(options->domain)) {
        return err_raise(err, ERR_INVALID, "%s: a domain is lower-case, like st-anna.example", options->domain);
    }
    return options->name[0] || err_raise(err, ERR_INVALID, "a facility has a name");
}

static bool read_network(struct making *making, struct bytes *file, struct err *err)
{
    const struct facility_options *options = making->options;
    struct trust *trust;
    if (!trust_load(options->trust, &trust, err)) {
        return false;
    }
    making->network = *trust_network(trust);
    bool taken = trust_member_by_domain(trust, options->domain) != NULL;
    trust_free(trust);
    if (taken) {
        return err_raise(err, ERR_INVALID, "%s is a member of the network already", options->domain);
    }
    return file_read(options->trust, TRUST_FILE_MAX, making->arena, file, err);
}

static bool make_folders(const char *folder, struct err *err)
{
    static const char *const below[] = {"keys", "ca", "clients", "data"};
    for (size_t i = 0; i < COUNT(below); i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, below[i]);
        if (!folder_create(path, err)) {
            return false;
        }
    }
    return true;
}

static bool make_facility(struct making *making, struct bytes trust, struct err *err)
{
    char *spiffe;
    making->facility = random_id();
    bytes_hex(BYTES_OF(making->network), making->network_hex);
    bytes_hex(BYTES_OF(making->facility), making->facility_hex);
    if (!arena_printf(making->arena, &spiffe, err, "spiffe://%s/%s/node", making->network_hex,
                      making->options->domain)) {
        return false;
    }
    making->spiffe = spiffe;
    if (!folder_create(making->folder, err)) {
        return false;
    }
    bool ok = make_folders(making->folder, err) && draw_secrets(making, err) && make_certificates(making, err) &&
              write_membership(making, err) && write_config(making, err) && write_node_profile(making, err) &&
              put(making->folder, "trust", trust, 0644, err);
    if (!ok) {
        folder_undo(making->folder);
    }
    return ok;
}

bool facility_init(const char *folder, const struct facility_options *options, int64_t now_ms, struct id *id,
                   struct err *err)
{
    AUTO_ARENA(arena, MEMORY_MAX);
    struct making making = {.folder = folder, .options = options, .arena = &arena, .now_ms = now_ms};
    struct bytes trust;
    bool ok =
        check_options(options, err) && read_network(&making, &trust, err) && make_facility(&making, trust, err);
    if (ok) {
        *id = making.facility;
    }
    making_done(&making);
    return ok || err_wrap(err, "node init");
}

/* -- node trust */

static bool check_newer(const struct trust *old, const struct trust *new, const char *domain, struct err *err)
{
    if (!hash_equal(trust_network_id(old), trust_network_id(new))) {
        return err_raise(err, ERR_INVALID, "it is of another network");
    }
    if (trust_network_version(new) < trust_network_version(old) ||
        trust_roster_version(new) < trust_roster_version(old)) {
        return err_raise(err, ERR_STATE, "its roster (%llu) is older than the one here (%llu)",
                         (unsigned long long)trust_roster_version(new),
                         (unsigned long long)trust_roster_version(old));
    }
    return trust_member_by_domain(new, domain) != NULL ||
           err_raise(err, ERR_INVALID, "%s is not listed in it: the operators add the file `membership` first",
                     domain);
}

bool facility_trust(const char *folder, const char *path, struct err *err)
{
    AUTO_ARENA(arena, MEMORY_MAX);
    struct profile node;
    struct trust *old = NULL, *new = NULL;
    struct bytes file;
    const char *profile, *here;
    bool ok = path_join(folder, "node.profile", &arena, &profile, err) &&
              path_join(folder, "trust", &arena, &here, err) && profile_load(profile, &arena, &node, err) &&
              trust_load(here, &old, err) && trust_load(path, &new, err) &&
              (node.domain || err_raise(err, ERR_INVALID, "%s has no domain", profile)) &&
              check_newer(old, new, node.domain, err) && file_read(path, TRUST_FILE_MAX, &arena, &file, err) &&
              file_replace(here, file, 0644, err);
    trust_free(old);
    trust_free(new);
    return ok || err_wrap(err, "take %s", path);
}
