/* "Who must have signed" (formats 1), one function per row of that table. Each names the keys that count: those
 * that are demanded, and those of which any suffices. statement_verify then demands that every listed signature is
 * by one of them. */
#include <stdio.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/statement/trust.h"
#include "proto/statement/trust_state.h"

enum { KEY_INVALID = CHARTMESH__V1__ERROR_REASON__ERROR_REASON_KEY_INVALID };

/* The keys that count for one statement. At most 16 have signed; a few more may be demanded. */
struct signers {
    const struct trust *trust;
    const struct statement *s;
    uint64_t at;                 /* the time that counts */
    bool vouched;                /* the caller gave it: it is worth more than the statement's word */
    struct hash keys[STATEMENT_SIGNATURES_MAX + 4];
    size_t count, demanded;
    bool outside;                /* a key fits, but not at that time */
};

static bool refused(const struct signers *w, const char *rule, struct err *err)
{
    return err_raise_reason(err, ERR_INVALID, KEY_INVALID, "%s: %s", statement_name(w->s->kind), rule);
}

static bool unknown(const struct signers *w, const char *what, struct err *err)
{
    return err_raise_reason(err, ERR_NOT_FOUND, KEY_INVALID, "%s: %s", statement_name(w->s->kind), what);
}

static bool has_signed(const struct statement *s, const struct hash *id)
{
    for (size_t i = 0; i < s->signers; i++) {
        if (hash_equal(&s->key_ids[i], id)) {
            return true;
        }
    }
    return false;
}

static bool is_candidate(const struct signers *w, const struct hash *id)
{
    for (size_t i = 0; i < w->count; i++) {
        struct hash candidate = key_id(KEY_ED25519, &w->keys[i]);
        if (hash_equal(&candidate, id)) {
            return true;
        }
    }
    return false;
}

/* A key that has not signed needs no place, unless it is demanded: so there are at most 16 of them. */
static void allow(struct signers *w, const struct hash *key)
{
    struct hash id = key_id(KEY_ED25519, key);
    if (has_signed(w->s, &id) && !is_candidate(w, &id)) {
        w->keys[w->count++] = *key;
    }
}

/* Demands come before anything is allowed. */
static void demand(struct signers *w, const struct hash *key)
{
    w->keys[w->count++] = *key;
    w->demanded = w->count;
}

/* -- times and revocations */

static bool period_holds(const Chartmesh__V1__Period *period, uint64_t hlc)
{
    int64_t ms = (int64_t)(hlc >> 16);
    return (!period->from || period->from->ms <= ms) && (!period->until || ms < period->until->ms);
}

const Chartmesh__V1__KeyRevocation *trust_key_revoked(const struct trust *trust, const struct hash *key_id)
{
    const Chartmesh__V1__KeyRevocation *worst = NULL;
    for (const struct held *held = table_get(&trust->revocations, key_id); held; held = held->same_key) {
        const Chartmesh__V1__KeyRevocation *one = AS(KeyRevocation, held);
        bool graver = !worst || one->reason > worst->reason ||
                      (one->reason == worst->reason && one->since->ms < worst->since->ms);
        worst = graver ? one : worst;
    }
    return worst;
}

static bool revoked(const struct trust *trust, const struct hash *id, uint64_t at, bool vouched)
{
    for (const struct held *held = table_get(&trust->revocations, id); held; held = held->same_key) {
        const Chartmesh__V1__KeyRevocation *one = AS(KeyRevocation, held);
        bool compromised = one->reason == CHARTMESH__V1__REASON__REASON_COMPROMISED;
        if ((compromised && !vouched) || (int64_t)(at >> 16) >= one->since->ms) {
            return true;
        }
    }
    return false;
}

/* A compromised key voids what it has signed: the keys and authorities that it enrolled (formats 2). */
static bool voided(const struct trust *trust, const struct held *held)
{
    bool bad = false;
    for (size_t i = 0; i < held->s.signers && !bad; i++) {
        const Chartmesh__V1__KeyRevocation *r = trust_key_revoked(trust, &held->s.key_ids[i]);
        bad = r && r->reason == CHARTMESH__V1__REASON__REASON_COMPROMISED;
    }
    return bad;
}

/* -- facilities' keys */

static const Chartmesh__V1__Head *head_of(const struct signers *w)
{
    return w->s->head;
}

static bool facility_key(const struct signers *w, const struct id *facility, struct hash *out, struct err *err)
{
    const struct member *member = trust_member_at(w->trust, facility, w->at);
    if (!member) {
        return unknown(w, "no membership of its facility that is known was valid then", err);
    }
    if (member->message->status != CHARTMESH__V1__STATUS__STATUS_ACTIVE) {
        return refused(w, "its facility's membership was not active then", err);
    }
    struct hash id = key_id(KEY_ED25519, &member->statement_key);
    if (revoked(w->trust, &id, w->at, w->vouched)) {
        return refused(w, "its facility's statement key is revoked", err);
    }
    *out = member->statement_key;
    return true;
}

static bool demand_facility(struct signers *w, const struct id *facility, struct err *err)
{
    struct hash key;
    if (!facility_key(w, facility, &key, err)) {
        return false;
    }
    demand(w, &key);
    return true;
}

/* One of several that may sign: when the facility is unknown, the others may still do. */
static void allow_facility(struct signers *w, const struct id *facility)
{
    struct err ignored;
    struct hash key;
    if (facility_key(w, facility, &key, &ignored)) {
        allow(w, &key);
    } else {
        w->outside = w->outside || ignored.code == ERR_NOT_FOUND;
    }
}

static bool signed_by_head(struct signers *w, struct err *err)
{
    struct id facility = id_pb(head_of(w)->facility);
    return demand_facility(w, &facility, err);
}

/* -- enrolled keys */

/* What a Key must say to count. */
struct wanted {
    Chartmesh__V1__Use use;
    const char *holder;                          /* NULL: any */
    const Chartmesh__V1__Subject *subject;       /* NULL: any */
};

static bool same_subject(const Chartmesh__V1__Subject *a, const Chartmesh__V1__Subject *b)
{
    return a && b && bytes_equal(bytes_pb(a->facility), bytes_pb(b->facility)) &&
           bytes_equal(bytes_pb(a->patient), bytes_pb(b->patient));
}

/* head.facility is the one that enrolled the key. */
static bool fits(const struct signers *w, const Chartmesh__V1__Key *key, const struct wanted *wanted)
{
    return key->use == wanted->use && (!wanted->holder || strcmp(key->holder, wanted->holder) == 0) &&
           (!wanted->subject || same_subject(key->subject, wanted->subject)) &&
           bytes_equal(bytes_pb(key->head->facility), bytes_pb(head_of(w)->facility));
}

static void allow_enrolled(struct signers *w, const struct wanted *wanted)
{
    for (size_t i = 0; i < w->s->signers; i++) {
        const struct hash *id = &w->s->key_ids[i];
        for (const struct held *held = table_get(&w->trust->keys, id); held; held = held->same_key) {
            const Chartmesh__V1__Key *key = AS(Key, held);
            if (!fits(w, key, wanted)) {
                continue;
            }
            if (period_holds(key->valid, w->at) && !revoked(w->trust, id, w->at, w->vouched) &&
                (w->vouched || !voided(w->trust, held))) {
                struct hash public_key = hash_pb(key->public_key);
                allow(w, &public_key);
                break;
            }
            w->outside = true;
        }
    }
}

/* -- authorities */

static const struct held *authority_of(const struct trust *trust, const struct hash *id)
{
    const struct held *held = table_get(&trust->by_id, id);
    return held && held->s.kind == STATEMENT_AUTHORITY ? held : NULL;
}

static bool authority_valid(const struct trust *trust, const struct held *held, uint64_t at, bool vouched)
{
    struct hash key = hash_pb(AS(Authority, held)->key), id = key_id(KEY_ED25519, &key);
    return period_holds(AS(Authority, held)->valid, at) && !revoked(trust, &id, at, vouched) &&
           (vouched || !voided(trust, held));
}

static bool covers(const Chartmesh__V1__Authority *authority, const Chartmesh__V1__Subject *subject)
{
    bool found = authority->n_subjects == 0;
    for (size_t i = 0; !found && i < authority->n_subjects; i++) {
        found = same_subject(authority->subjects[i], subject);
    }
    return found;
}

static bool allow_authority(struct signers *w, ProtobufCBinaryData reference, Chartmesh__V1__Duty duty,
                            ProtobufCBinaryData facility, const Chartmesh__V1__Authority **out, struct err *err)
{
    struct hash id = hash_pb(reference);
    const struct held *held = authority_of(w->trust, &id);
    if (!held) {
        return unknown(w, "its authority is not known", err);
    }
    const Chartmesh__V1__Authority *authority = AS(Authority, held);
    if (authority->duty != duty || !bytes_equal(bytes_pb(authority->head->facility), bytes_pb(facility))) {
        return refused(w, "its authority is for another duty or by another facility", err);
    }
    if (authority_valid(w->trust, held, w->at, w->vouched)) {
        struct hash key = hash_pb(authority->key);
        allow(w, &key);
    } else {
        w->outside = true;
    }
    *out = authority;
    return true;
}

/* -- operators */

/* Allows those operators who have signed, and says whether they reach the threshold. */
static bool operators_reach(struct signers *w, const Chartmesh__V1__Network *network)
{
    size_t signed_by = 0;
    for (size_t i = 0; i < network->n_operator_keys; i++) {
        struct hash key = hash_pb(network->operator_keys[i]), id = key_id(KEY_ED25519, &key);
        signed_by += has_signed(w->s, &id);
        allow(w, &key);
    }
    return signed_by >= network->threshold;
}

static const Chartmesh__V1__Network *network_of(const struct trust *trust, uint64_t version)
{
    for (size_t i = 0; i < trust->count; i++) {
        const struct held *held = trust->all[i];
        if (held->s.kind == STATEMENT_NETWORK && held->verified && AS(Network, held)->version == version) {
            return AS(Network, held);
        }
    }
    return NULL;
}

static bool operators_sign(struct signers *w, const Chartmesh__V1__Network *network, struct err *err)
{
    if (!period_holds(network->valid, w->at)) {
        return refused(w, "the operators' keys were not valid then", err);
    }
    return operators_reach(w, network) || refused(w, "signed by fewer operators than the threshold", err);
}

/* -- the rows */

static bool who_network(struct signers *w, struct err *err)
{
    const Chartmesh__V1__Network *network = (const void *)w->s->message;
    if (hash_equal(&w->s->id, &w->trust->first)) {
        return operators_reach(w, network) || refused(w, "signed by fewer operators than the threshold", err);
    }
    if (network->version == 1) {
        return refused(w, "the first statement of another network", err);
    }
    struct hash before = hash_pb(network->previous);
    const struct held *held = table_get(&w->trust->by_id, &before);
    if (!held || held->s.kind != STATEMENT_NETWORK || !held->verified) {
        return unknown(w, "its previous version is not known", err);
    }
    const Chartmesh__V1__Network *previous = AS(Network, held);
    if (network->version != previous->version + 1) {
        return refused(w, "its version does not follow the previous one's", err);
    }
    if (!operators_sign(w, previous, err)) {
        return false;
    }
    return operators_reach(w, network) || refused(w, "signed by fewer operators than its own threshold", err);
}

static bool who_roster(struct signers *w, struct err *err)
{
    const Chartmesh__V1__Roster *roster = (const void *)w->s->message;
    const Chartmesh__V1__Network *network = network_of(w->trust, roster->network_version);
    return network ? operators_sign(w, network, err) : unknown(w, "its network version is not known", err);
}

static bool who_membership(struct signers *w, struct err *err)
{
    const Chartmesh__V1__Membership *m = (const void *)w->s->message;
    struct hash statement = hash_pb(m->statement_key), checkpoint = hash_pb(m->checkpoint_key);
    struct hash witness = hash_pb(m->witness_key), id = hash_pb(m->previous);
    demand(w, &statement);
    demand(w, &checkpoint);
    demand(w, &witness);
    if (m->version == 1) {
        return true;
    }
    const struct held *held = table_get(&w->trust->by_id, &id);
    if (!held || held->s.kind != STATEMENT_MEMBERSHIP) {
        return unknown(w, "its previous version is not known", err);
    }
    struct hash before = hash_pb(AS(Membership, held)->statement_key);
    if (!hash_equal(&before, &statement)) {
        demand(w, &before);
    }
    return true;
}

/* SPIFFE ids: spiffe://<network id, 32 hex digits>/<domain of the facility>/… */
static bool holder_is_ours(const struct signers *w, const struct id *facility, const char *holder)
{
    const struct member *member = trust_member_at(w->trust, facility, w->at);
    char network[2 * ID_LEN + 1], prefix[600];
    bytes_hex(BYTES_OF(w->trust->network), network);
    snprintf(prefix, sizeof prefix, "spiffe://%s/%s/", network, member ? member->domain : "");
    return member && strncmp(holder, prefix, strlen(prefix)) == 0;
}

static bool who_key(struct signers *w, struct err *err)
{
    const Chartmesh__V1__Key *key = (const void *)w->s->message;
    struct hash public_key = hash_pb(key->public_key);
    struct id facility = id_pb(key->head->facility);
    if (!signed_by_head(w, err)) {
        return false;
    }
    demand(w, &public_key);
    if (key->subject && !bytes_equal(bytes_pb(key->subject->facility), bytes_pb(key->head->facility))) {
        return refused(w, "a facility enrols keys of its own patients only", err);
    }
    return holder_is_ours(w, &facility, key->holder) ||
           refused(w, "its holder is not of the facility that enrols it", err);
}

static bool key_is_of(const struct signers *w, const struct hash *id, ProtobufCBinaryData facility, bool *known)
{
    const struct held *held = table_get(&w->trust->keys, id);
    const struct held *authority = table_get(&w->trust->authority_keys, id);
    const struct member *member = table_get(&w->trust->view.by_key, id);
    *known = held || authority || member;
    bool own = member && bytes_equal(BYTES_OF(member->facility), bytes_pb(facility));
    for (; held && !own; held = held->same_key) {
        own = bytes_equal(bytes_pb(held->s.head->facility), bytes_pb(facility));
    }
    for (; authority && !own; authority = authority->same_key) {
        own = bytes_equal(bytes_pb(authority->s.head->facility), bytes_pb(facility));
    }
    return own;
}

static bool who_key_revocation(struct signers *w, struct err *err)
{
    const Chartmesh__V1__KeyRevocation *r = (const void *)w->s->message;
    struct hash id = hash_pb(r->key);
    bool known;
    if (r->head->facility.len > 0) {
        bool own = key_is_of(w, &id, r->head->facility, &known);
        if (!own) {
            return known ? refused(w, "not a key of its facility", err) : unknown(w, "its key is not known", err);
        }
        return signed_by_head(w, err);
    }
    const struct member *member = table_get(&w->trust->view.by_key, &id);
    struct hash statement_key = member ? key_id(KEY_ED25519, &member->statement_key) : (struct hash){0};
    if (!member) {
        return unknown(w, "its key is not known", err);
    }
    if (r->reason != CHARTMESH__V1__REASON__REASON_COMPROMISED || !hash_equal(&statement_key, &id)) {
        return refused(w, "operators revoke compromised statement keys only", err);
    }
    const struct held *network = w->trust->view.network;
    return network ? operators_sign(w, AS(Network, network), err) : unknown(w, "the network is not known", err);
}

static bool who_version(struct signers *w, struct err *err)
{
    (void)err;
    const Chartmesh__V1__Version *v = (const void *)w->s->message;
    struct id facility = id_pb(v->head->facility);
    allow_facility(w, &facility);
    allow_enrolled(w, &(struct wanted){CHARTMESH__V1__USE__USE_AUTHOR, v->author->principal, NULL});
    return true;
}

static bool by_custodian(struct signers *w, const Chartmesh__V1__Policy *policy)
{
    bool own = bytes_equal(bytes_pb(policy->subject->facility), bytes_pb(policy->head->facility));
    struct id facility = id_pb(policy->subject->facility);
    if (own) {
        allow_facility(w, &facility);
    }
    return own;
}

static bool proxy_signs(struct signers *w, const Chartmesh__V1__Policy *policy, struct err *err)
{
    const Chartmesh__V1__Authority *authority;
    if (policy->assertor->authority.len == 0) {
        return refused(w, "a proxy's policy without its authority", err);
    }
    if (!allow_authority(w, policy->assertor->authority, CHARTMESH__V1__DUTY__DUTY_PROXY, policy->head->facility,
                         &authority, err)) {
        return false;
    }
    return covers(authority, policy->subject) || refused(w, "its authority is for other subjects", err);
}

static bool who_policy(struct signers *w, struct err *err)
{
    const Chartmesh__V1__Policy *policy = (const void *)w->s->message;
    const Chartmesh__V1__Author *author = policy->assertor->author;
    switch (policy->assertor->who) {
    case CHARTMESH__V1__WHO__WHO_PATIENT:
        allow_enrolled(w, &(struct wanted){CHARTMESH__V1__USE__USE_PATIENT, NULL, policy->subject});
        return true;
    case CHARTMESH__V1__WHO__WHO_PROXY:
        return proxy_signs(w, policy, err);
    case CHARTMESH__V1__WHO__WHO_STAFF:
        by_custodian(w, policy);
        if (author) {
            allow_enrolled(w, &(struct wanted){CHARTMESH__V1__USE__USE_AUTHOR, author->principal, NULL});
        }
        return true;
    default:
        return by_custodian(w, policy) || refused(w, "a LAW policy by another facility than the subject's", err);
    }
}

/* Statements of a subject's origin: head.facility is subject.facility. */
static bool origin_signs(struct signers *w, const Chartmesh__V1__Subject *subject, struct err *err)
{
    if (!bytes_equal(bytes_pb(subject->facility), bytes_pb(head_of(w)->facility))) {
        return refused(w, "not by the subject's facility", err);
    }
    return signed_by_head(w, err);
}

static bool who_audit_query(struct signers *w, struct err *err)
{
    const Chartmesh__V1__AuditQuery *query = (const void *)w->s->message;
    const Chartmesh__V1__Authority *authority;
    allow_enrolled(w, &(struct wanted){CHARTMESH__V1__USE__USE_AUTHOR, query->principal, NULL});
    allow_enrolled(w, &(struct wanted){CHARTMESH__V1__USE__USE_PATIENT, query->principal, NULL});
    if (query->authority.len == 0) {
        return true;
    }
    if (!allow_authority(w, query->authority, CHARTMESH__V1__DUTY__DUTY_AUDIT, query->facility, &authority, err)) {
        return false;
    }
    return strcmp(authority->holder, query->principal) == 0 ||
           refused(w, "its authority is another principal's", err);
}

static bool who_audit_answer(struct signers *w, struct err *err)
{
    return w->s->signers == 1 ? signed_by_head(w, err) : refused(w, "has exactly one signature", err);
}

static bool find_signers(struct signers *w, struct err *err)
{
    const ProtobufCMessage *m = w->s->message;
    switch (w->s->kind) {
    case STATEMENT_NETWORK:
        return who_network(w, err);
    case STATEMENT_ROSTER:
        return who_roster(w, err);
    case STATEMENT_MEMBERSHIP:
        return who_membership(w, err);
    case STATEMENT_KEY:
        return who_key(w, err);
    case STATEMENT_KEY_REVOCATION:
        return who_key_revocation(w, err);
    case STATEMENT_VERSION:
        return who_version(w, err);
    case STATEMENT_POLICY:
        return who_policy(w, err);
    case STATEMENT_DISCLOSURE:
        return origin_signs(w, ((const Chartmesh__V1__Disclosure *)(const void *)m)->subject, err);
    case STATEMENT_PURGE_ORDER:
        return origin_signs(w, ((const Chartmesh__V1__PurgeOrder *)(const void *)m)->subject, err);
    case STATEMENT_NOTICE:
        return origin_signs(w, ((const Chartmesh__V1__Notice *)(const void *)m)->subject, err);
    case STATEMENT_AUDIT_QUERY:
        return who_audit_query(w, err);
    case STATEMENT_AUDIT_ANSWER:
        return who_audit_answer(w, err);
    default:
        return signed_by_head(w, err);
    }
}

/* -- all together */

/* Kinds that the TLS peer itself has signed. */
static bool peer_signs(enum statement_kind kind)
{
    return kind == STATEMENT_DISCLOSURE || kind == STATEMENT_PURGE_ORDER || kind == STATEMENT_NOTICE ||
           kind == STATEMENT_PURGE_RECEIPT || kind == STATEMENT_STREAM_HEAD || kind == STATEMENT_STREAM_ACK ||
           kind == STATEMENT_LEASE;
}

/* A signature by a key that nobody here knows is a question to ask, not yet a lie (I39). Of networks, rosters and
 * memberships the keys are known from their own text and what it names. */
static bool check_known(const struct signers *w, struct err *err)
{
    bool self_contained = w->s->kind <= STATEMENT_MEMBERSHIP;
    for (size_t i = 0; !self_contained && i < w->s->signers; i++) {
        const struct hash *id = &w->s->key_ids[i];
        if (is_candidate(w, id)) {
            continue;
        }
        bool known = table_get(&w->trust->keys, id) || table_get(&w->trust->authority_keys, id) ||
                     table_get(&w->trust->view.by_key, id);
        if (!known || w->outside) {
            return unknown(w, "signed by a key that is not known, or was not valid then", err);
        }
    }
    return true;
}

bool trust_verify(const struct trust *trust, const struct statement *s, uint64_t at_hlc, const struct id *peer,
                  struct err *err)
{
    struct signers w = {.trust = trust, .s = s, .at = at_hlc ? at_hlc : s->head->hlc, .vouched = at_hlc != 0};
    if (peer && peer_signs(s->kind) && !bytes_equal(bytes_pb(s->head->facility), BYTES_OF(*peer))) {
        return refused(&w, "not by the facility at the other end", err);
    }
    if (!find_signers(&w, err) || !check_known(&w, err)) {
        return false;
    }
    bool first = s->kind == STATEMENT_NETWORK && hash_equal(&s->id, &trust->first);
    return statement_verify(s, s->kind, first ? NULL : &trust->network, w.keys, w.count, w.demanded, err);
}

bool trust_check(const struct trust *trust, struct bytes envelope, enum statement_kind kind, uint64_t at_hlc,
                 const struct id *peer, struct arena *arena, struct statement *out, struct err *err)
{
    struct statement s;
    if (!statement_parse(envelope, arena, &s, err)) {
        return false;
    }
    if (s.kind != kind) {
        return err_raise_reason(err, ERR_INVALID, KEY_INVALID, "a %s where a %s is expected",
                                statement_name(s.kind), statement_name(kind));
    }
    if (!trust_verify(trust, &s, at_hlc, peer, err)) {
        return false;
    }
    *out = s;
    return true;
}

const Chartmesh__V1__Key *trust_key(const struct trust *trust, const struct hash *id, uint64_t hlc)
{
    for (const struct held *held = table_get(&trust->keys, id); held; held = held->same_key) {
        if (period_holds(AS(Key, held)->valid, hlc) && !revoked(trust, id, hlc, false) && !voided(trust, held)) {
            return AS(Key, held);
        }
    }
    return NULL;
}

size_t trust_key_statements(const struct trust *trust, const struct hash *id, struct bytes *out, size_t max)
{
    size_t count = 0;
    for (const struct held *held = table_get(&trust->keys, id); held && count < max; held = held->same_key) {
        out[count++] = held->s.envelope;
    }
    return count;
}

const Chartmesh__V1__Authority *trust_authority(const struct trust *trust, const struct hash *id, uint64_t hlc)
{
    const struct held *held = authority_of(trust, id);
    return held && authority_valid(trust, held, hlc, false) ? AS(Authority, held) : NULL;
}
