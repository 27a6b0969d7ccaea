#include "client/setup/network.h"

#include <stdio.h>
#include <stdlib.h>

#include "client/setup/files.h"
#include "proto/crypto/random.h"
#include "proto/crypto/seal.h"
#include "proto/statement/trust.h"

enum { TRUST_FILE_MAX = 256 << 20, MEMORY_MAX = 512 << 20, MEMBERSHIP_MAX = 128 << 10 };
static const int64_t DAY_MS = INT64_C(86400000);

#define PB(fixed) pb_bytes(BYTES_OF(fixed))

/* The operators whose keys are in the folder. */
struct operators {
    struct signing_key *keys[OPERATORS_MAX];
    size_t count;
};

static void operators_done(struct operators *operators)
{
    for (size_t i = 0; i < operators->count; i++) {
        signing_key_free(operators->keys[i]);
    }
    *operators = (struct operators){0};
}

static void operator_path(const char *folder, unsigned number, char out[4096])
{
    snprintf(out, 4096, "%s/operators/%u.key", folder, number);
}

static Chartmesh__V1__Instant instant(int64_t ms)
{
    Chartmesh__V1__Instant at = CHARTMESH__V1__INSTANT__INIT;
    at.ms = ms;
    return at;
}

bool trust_load(const char *path, struct trust **out, struct err *err)
{
    AUTO_ARENA(arena, TRUST_FILE_MAX + 4096);
    struct bytes file;
    struct hash first;
    struct trust *trust = NULL;
    bool ok = file_read(path, TRUST_FILE_MAX, &arena, &file, err) && trust_file_network(file, &first, err) &&
              trust_new(&first, &trust, err) && trust_file(trust, file, err);
    if (!ok) {
        trust_free(trust);
        return err_wrap(err, "trust file %s", path);
    }
    *out = trust;
    return true;
}

/* -- founding */

static bool draw_operators(const char *folder, unsigned count, struct operators *out, struct err *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/operators", folder);
    if (!folder_create(path, err)) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        AUTO_WIPE_HASH(seed);
        seed = random_hash();
        operator_path(folder, i + 1, path);
        if (!secret_file_create(path, &seed, err) || !signing_key_new(&seed, &out->keys[i], err)) {
            return false;
        }
        out->count++;
    }
    return true;
}

static bool sign_network(const struct network_options *options, const struct operators *operators, int64_t now_ms,
                         struct arena *arena, struct statement *out, struct err *err)
{
    Chartmesh__V1__Network network = CHARTMESH__V1__NETWORK__INIT;
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant from = instant(now_ms);
    ProtobufCBinaryData keys[OPERATORS_MAX];
    for (size_t i = 0; i < operators->count; i++) {
        keys[i] = PB(*signing_key_public(operators->keys[i]));
    }
    valid.from = &from;
    network.name = (char *)(uintptr_t)options->name;
    network.operator_keys = keys;
    network.n_operator_keys = operators->count;
    network.threshold = options->threshold;
    network.version = 1;
    network.valid = &valid;
    return head_make(NULL, NULL, (uint64_t)now_ms << 16, arena, &network.head, err) &&
           statement_sign(STATEMENT_NETWORK, &network.base, (const struct signing_key *const *)operators->keys,
                          operators->count, arena, out, err);
}

static bool sign_roster(const struct id *network, Chartmesh__V1__Roster *roster, const struct operators *operators,
                        int64_t now_ms, struct arena *arena, struct statement *out, struct err *err)
{
    Chartmesh__V1__Instant expires = instant(now_ms + ROSTER_DAYS * DAY_MS);
    roster->expires = &expires;
    return head_make(network, NULL, (uint64_t)now_ms << 16, arena, &roster->head, err) &&
           statement_sign(STATEMENT_ROSTER, &roster->base, (const struct signing_key *const *)operators->keys,
                          operators->count, arena, out, err);
}

static bool found_trust(const struct network_options *options, const struct operators *operators, int64_t now_ms,
                        struct arena *arena, struct hash *id, struct bytes *file, struct err *err)
{
    struct statement network, roster;
    Chartmesh__V1__Roster empty = CHARTMESH__V1__ROSTER__INIT;
    empty.version = 1;
    empty.network_version = 1;
    if (!sign_network(options, operators, now_ms, arena, &network, err)) {
        return false;
    }
    struct id name;
    memcpy(name.bytes, network.id.bytes, ID_LEN);
    struct trust *trust = NULL;
    bool ok =
        sign_roster(&name, &empty, operators, now_ms, arena, &roster, err) && trust_new(&network.id, &trust, err);
    const struct bytes both[] = {network.envelope, ok ? roster.envelope : BYTES_NONE};
    ok = ok && trust_add(trust, both, 2, NULL, err) && trust_write(trust, arena, file, err);
    trust_free(trust);
    *id = network.id;
    return ok;
}

static bool write_founded(const char *folder, const struct hash *id, struct bytes trust, struct err *err)
{
    char path[4096], text[2 * HASH_LEN + 2];
    bytes_hex(BYTES_OF(*id), text);
    text[2 * HASH_LEN] = '\n';
    snprintf(path, sizeof path, "%s/network.id", folder);
    if (!file_create(path, BYTES(text, 2 * HASH_LEN + 1), 0644, err)) {
        return false;
    }
    snprintf(path, sizeof path, "%s/trust", folder);
    return file_create(path, trust, 0644, err);
}

bool network_found(const char *folder, const struct network_options *options, int64_t now_ms, struct hash *id,
                   struct err *err)
{
    if (options->operators < 1 || options->operators > OPERATORS_MAX) {
        return err_raise(err, ERR_INVALID, "a network has 1 to %d operators", OPERATORS_MAX);
    }
    if (options->threshold < 1 || options->threshold > options->operators) {
        return err_raise(err, ERR_INVALID, "the threshold is 1 to the number of operators (%u)",
                         options->operators);
    }
    if (!options->name[0]) {
        return err_raise(err, ERR_INVALID, "a network has a name");
    }
    AUTO_ARENA(arena, 1 << 20);
    struct operators operators = {0};
    struct bytes file;
    bool ok = folder_create(folder, err) && draw_operators(folder, options->operators, &operators, err) &&
              found_trust(options, &operators, now_ms, &arena, id, &file, err) &&
              write_founded(folder, id, file, err);
    operators_done(&operators);
    return ok || err_wrap(err, "found a network");
}

/* -- changing the roster */

/* A roster in the making. */
struct change {
    const char *folder;
    struct trust *trust;
    struct operators operators;
    struct arena arena;
    ProtobufCBinaryData *listed;             /* statement ids */
    size_t listed_len;
    Chartmesh__V1__Former **former;
    size_t former_len;
    struct bytes *envelopes;                 /* the memberships to add, then the roster */
    size_t envelopes_len;
    int64_t now_ms;
};

static void change_done(struct change *change)
{
    trust_free(change->trust);
    operators_done(&change->operators);
    arena_done(&change->arena);
}

static bool is_operator(const Chartmesh__V1__Network *network, const struct hash *public_key)
{
    for (size_t i = 0; i < network->n_operator_keys; i++) {
        if (bytes_equal(bytes_pb(network->operator_keys[i]), BYTES_OF(*public_key))) {
            return true;
        }
    }
    return false;
}

/* Takes the keys that are here and are an operator's; missing ones may be elsewhere. */
static bool load_operators(struct change *change, struct err *err)
{
    const Chartmesh__V1__Network *network = trust_newest_network(change->trust, NULL);
    struct operators *operators = &change->operators;
    for (unsigned i = 1; i <= OPERATORS_MAX; i++) {
        char path[4096];
        AUTO_WIPE_HASH(seed);
        operator_path(change->folder, i, path);
        if (!secret_file_read(path, &seed, err)) {
            if (err->code == ERR_NOT_FOUND) {
                continue;
            }
            return false;
        }
        struct signing_key *key;
        if (!signing_key_new(&seed, &key, err)) {
            return false;
        }
        if (!is_operator(network, signing_key_public(key))) {
            signing_key_free(key);
            return err_raise(err, ERR_INVALID, "%s: not the key of an operator of this network", path);
        }
        operators->keys[operators->count++] = key;
    }
    return operators->count >= network->threshold ||
           err_raise(err, ERR_STATE, "%zu operators' keys are in %s/operators, %u have to sign", operators->count,
                     change->folder, network->threshold);
}

static bool begin_change(struct change *change, const char *folder, size_t more, int64_t now_ms, struct err *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/trust", folder);
    *change = (struct change){.folder = folder, .now_ms = now_ms};
    arena_init(&change->arena, MEMORY_MAX);
    if (!trust_load(path, &change->trust, err) || !load_operators(change, err)) {
        return false;
    }
    const Chartmesh__V1__Roster *roster = trust_newest_roster(change->trust, NULL);
    if (!roster) {
        return err_raise(err, ERR_STATE, "%s has no roster", path);
    }
    void *listed, *former, *envelopes;
    if (!arena_array(&change->arena, roster->n_memberships + more, sizeof *change->listed, &listed, err) ||
        !arena_array(&change->arena, roster->n_former + 1, sizeof(Chartmesh__V1__Former *), &former, err) ||
        !arena_array(&change->arena, more + 1, sizeof *change->envelopes, &envelopes, err)) {
        return false;
    }
    change->listed = listed;
    change->former = former;
    change->envelopes = envelopes;
    for (size_t i = 0; i < roster->n_memberships; i++) {
        change->listed[change->listed_len++] = roster->memberships[i];
    }
    for (size_t i = 0; i < roster->n_former; i++) {
        change->former[change->former_len++] = roster->former[i];
    }
    return true;
}

/* Takes an id off the list; false: it is not there. */
static bool unlist(struct change *change, const struct hash *statement)
{
    for (size_t i = 0; i < change->listed_len; i++) {
        if (bytes_equal(bytes_pb(change->listed[i]), BYTES_OF(*statement))) {
            change->listed[i] = change->listed[--change->listed_len];
            return true;
        }
    }
    return false;
}

/* A facility that comes back is no longer a former one. */
static void forget_former(struct change *change, const struct member *member)
{
    for (size_t i = 0; i < change->former_len; i++) {
        if (bytes_equal(bytes_pb(change->former[i]->membership), BYTES_OF(member->statement))) {
            change->former[i] = change->former[--change->former_len];
            return;
        }
    }
}

static bool add_file(struct change *change, const char *path, struct err *err)
{
    struct bytes envelope, copy;
    struct statement s;
    if (!file_read(path, MEMBERSHIP_MAX, &change->arena, &envelope, err) ||
        !arena_copy(&change->arena, envelope, &copy, err) || !statement_parse(copy, &change->arena, &s, err)) {
        return err_wrap(err, "membership %s", path);
    }
    if (s.kind != STATEMENT_MEMBERSHIP) {
        return err_raise(err, ERR_INVALID, "%s: a %s, not a membership", path, statement_name(s.kind));
    }
    if (!bytes_equal(bytes_pb(s.head->network), BYTES_OF(*trust_network(change->trust)))) {
        return err_raise(err, ERR_INVALID, "%s: a membership of another network", path);
    }
    if (trust_envelope(change->trust, &s.id).len) {
        return err_raise(err, ERR_EXISTS, "%s: is listed already, or was", path);
    }
    struct id facility;
    const struct member *older =
        id_from(bytes_pb(s.head->facility), &facility) ? trust_member(change->trust, &facility) : NULL;
    if (older && !unlist(change, &older->statement)) {
        forget_former(change, older);
    }
    void *id;
    if (!arena_alloc(&change->arena, HASH_LEN, &id, err)) {
        return false;
    }
    memcpy(id, s.id.bytes, HASH_LEN);
    change->listed[change->listed_len++] = pb_bytes(BYTES(id, HASH_LEN));
    change->envelopes[change->envelopes_len++] = copy;
    return true;
}

/* Signs the roster, checks everything as any node will, and puts the trust file in place. */
static bool finish_change(struct change *change, struct err *err)
{
    struct hash previous;
    const Chartmesh__V1__Roster *before = trust_newest_roster(change->trust, &previous);
    Chartmesh__V1__Roster roster = CHARTMESH__V1__ROSTER__INIT;
    roster.version = before->version + 1;
    roster.network_version = trust_network_version(change->trust);
    roster.previous = PB(previous);
    roster.memberships = change->listed;
    roster.n_memberships = change->listed_len;
    roster.former = change->former;
    roster.n_former = change->former_len;
    struct statement signed_;
    struct bytes file;
    if (!sign_roster(trust_network(change->trust), &roster, &change->operators, change->now_ms, &change->arena,
                     &signed_, err)) {
        return false;
    }
    change->envelopes[change->envelopes_len++] = signed_.envelope;
    char path[4096];
    snprintf(path, sizeof path, "%s/trust", change->folder);
    return trust_add(change->trust, change->envelopes, change->envelopes_len, NULL, err) &&
           trust_write(change->trust, &change->arena, &file, err) && file_replace(path, file, 0644, err);
}

bool network_add(const char *folder, const char *const *files, size_t count, int64_t now_ms, struct err *err)
{
    struct change change;
    bool ok = begin_change(&change, folder, count, now_ms, err);
    for (size_t i = 0; ok && i < count; i++) {
        ok = add_file(&change, files[i], err);
    }
    ok = ok && finish_change(&change, err);
    change_done(&change);
    return ok || err_wrap(err, "add to the network");
}

bool network_remove(const char *folder, const char *domain, int64_t now_ms, struct err *err)
{
    struct change change;
    Chartmesh__V1__Former former = CHARTMESH__V1__FORMER__INIT;
    Chartmesh__V1__Instant until = instant(now_ms);
    bool ok = begin_change(&change, folder, 0, now_ms, err);
    const struct member *member = ok ? trust_member_by_domain(change.trust, domain) : NULL;
    if (ok && (!member || !unlist(&change, &member->statement))) {
        ok = err_raise(err, ERR_NOT_FOUND, "no facility %s is listed", domain);
    }
    if (ok) {
        former.membership = PB(member->statement);
        former.until = &until;
        change.former[change.former_len++] = &former;
        ok = finish_change(&change, err);
    }
    change_done(&change);
    return ok || err_wrap(err, "remove from the network");
}
