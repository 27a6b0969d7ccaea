#include "proto/statement/form.h"

#include "proto/chartmesh/v1/log.pb-c.h"
#include "proto/statement/entry.h"
#include "proto/statement/rules.h"
#include "proto/statement/statement.h"

enum { CHUNK_LOG2 = 16, DOMAIN_MAX = 253, LABEL_MAX = 63 };

static bool wrong(const ProtobufCMessage *message, const char *field, const char *rule, struct err *err)
{
    return form_error(err, message->descriptor, field, rule);
}

/* -- formats 1: envelopes and the values that stand everywhere */

static bool lower_hex(const char *text)
{
    return strspn(text, "0123456789abcdef") == strlen(text);
}

bool form_envelope(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__Envelope *e = (const void *)message;
    for (size_t i = 0; i < e->n_signatures; i++) {
        if (!lower_hex(e->signatures[i]->keyid)) {
            return wrong(message, "signatures", "a keyid is 64 lower-case hex digits", err);
        }
        if (i > 0 && strcmp(e->signatures[i - 1]->keyid, e->signatures[i]->keyid) >= 0) {
            return wrong(message, "signatures", "not sorted by keyid, or one key twice", err);
        }
    }
    return true;
}

bool form_instant(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__Instant *instant = (const void *)message;
    return instant->ms >= 0 || wrong(message, "ms", "before 1970", err);
}

bool form_period(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__Period *period = (const void *)message;
    if (!period->from && !period->until) {
        return wrong(message, "", "has no end", err);
    }
    return !period->from || !period->until || period->from->ms < period->until->ms ||
           wrong(message, "until", "not after `from`", err);
}

bool form_coding(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__Coding *coding = (const void *)message;
    return !strchr(coding->code, '|') || wrong(message, "code", "holds a |", err);
}

/* -- the head: absent network in the first `network` statement only, absent facility where operators sign */

enum head_part { MUST, MUST_NOT, MAY };

static bool check_head(const ProtobufCMessage *message, const Chartmesh__V1__Head *head, enum head_part network,
                       enum head_part facility, struct err *err)
{
    if ((network == MUST) != (head->network.len > 0)) {
        return wrong(message, "head", "the network is absent in the first network statement only", err);
    }
    return facility == MAY || (facility == MUST) == (head->facility.len > 0) ||
           wrong(message, "head", "the facility is absent where operators sign, and only there", err);
}

/* Every payload has its head as field 1. */
static const Chartmesh__V1__Head *head_of(const ProtobufCMessage *message)
{
    return *(Chartmesh__V1__Head *const *)((const char *)message + message->descriptor->fields[0].offset);
}

bool form_signed_by_facility(const ProtobufCMessage *message, struct err *err)
{
    return check_head(message, head_of(message), MUST, MUST, err);
}

/* -- formats 2 */

/* Ed25519 public keys are refused where they are enrolled and where they are loaded: this is both (I38). */
static bool check_key(const ProtobufCMessage *message, const char *field, ProtobufCBinaryData data,
                      struct err *err)
{
    struct hash key;
    if (!hash_from(bytes_pb(data), &key)) {
        return wrong(message, field, "not a key", err);
    }
    return public_key_check(&key, err) || err_wrap(err, "%s.%s", message->descriptor->short_name, field);
}

static bool check_previous(const ProtobufCMessage *message, uint64_t version, ProtobufCBinaryData previous,
                           struct err *err)
{
    return (version > 1) == (previous.len > 0) ||
           wrong(message, "previous", "there from version 2 on, and only then", err);
}

bool form_network(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__Network *network = (const void *)message;
    if (!check_head(message, network->head, network->version == 1 ? MUST_NOT : MUST, MUST_NOT, err) ||
        !check_previous(message, network->version, network->previous, err)) {
        return false;
    }
    if (network->threshold > network->n_operator_keys) {
        return wrong(message, "threshold", "more than there are keys", err);
    }
    for (size_t i = 0; i < network->n_operator_keys; i++) {
        if (!check_key(message, "operator_keys", network->operator_keys[i], err)) {
            return false;
        }
    }
    return true;
}

bool form_roster(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__Roster *roster = (const void *)message;
    return check_head(message, roster->head, MUST, MUST_NOT, err);
}

/* RFC 1123 names in lower case: labels of letters, digits and inner hyphens, up to 63 of them, joined by dots. */
static bool ldh_domain(const char *domain)
{
    size_t len = strlen(domain), label = 0;
    for (size_t i = 0; i < len; i++) {
        char c = domain[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        bool hyphen = c == '-' && label > 0 && i + 1 < len && domain[i + 1] != '.';
        bool dot = c == '.' && label > 0 && i + 1 < len;
        if (!letter && !hyphen && !dot) {
            return false;
        }
        label = dot ? 0 : label + 1;
        if (label > LABEL_MAX) {
            return false;
        }
    }
    return len > 0 && len <= DOMAIN_MAX;
}

bool form_membership(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__Membership *m = (const void *)message;
    if (!form_signed_by_facility(message, err) || !check_previous(message, m->version, m->previous, err)) {
        return false;
    }
    if (!ldh_domain(m->domain)) {
        return wrong(message, "domain", "not a lower-case domain name", err);
    }
    return check_key(message, "statement_key", m->statement_key, err) &&
           check_key(message, "checkpoint_key", m->checkpoint_key, err) &&
           check_key(message, "witness_key", m->witness_key, err);
}

bool form_key(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__Key *key = (const void *)message;
    if (!form_signed_by_facility(message, err)) {
        return false;
    }
    bool patient = key->use == CHARTMESH__V1__USE__USE_PATIENT;
    if (patient != (key->subject != NULL)) {
        return wrong(message, "subject", "a PATIENT key has one, an AUTHOR key none", err);
    }
    return check_key(message, "public_key", key->public_key, err);
}

bool form_key_revocation(const ProtobufCMessage *message, struct err *err)
{
    return check_head(message, head_of(message), MUST, MAY, err);
}

bool form_authority(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__Authority *authority = (const void *)message;
    return form_signed_by_facility(message, err) && check_key(message, "key", authority->key, err);
}

/* -- formats 3 */

bool form_context(const ProtobufCMessage *message, const Chartmesh__V1__Dot *own,
                  Chartmesh__V1__Dot *const *context, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (context[i]->tag == own->tag && context[i]->counter >= own->counter) {
            return wrong(message, "context", "the own tag stands in it without a smaller counter", err);
        }
    }
    return true;
}

bool form_version(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__Version *v = (const void *)message;
    if (!form_signed_by_facility(message, err)) {
        return false;
    }
    if (v->chunk_log2 != CHUNK_LOG2) {
        return wrong(message, "chunk_log2", "not 16", err);
    }
    bool shares =
        v->kind == CHARTMESH__V1__KIND__KIND_RELABEL || v->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR;
    if (shares && v->n_parents != 1) {
        return wrong(message, "parents", "RELABEL and ENTERED_IN_ERROR have exactly one", err);
    }
    return form_context(message, v->dot, v->context, v->n_context, err);
}

/* -- formats 6 and 7 */

bool form_audit_query(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__AuditQuery *query = (const void *)message;
    return form_signed_by_facility(message, err) &&
           ((query->subject != NULL) != (query->actor.len > 0) ||
            wrong(message, "subject", "exactly one of subject and actor", err));
}

/* MAP: kind, hlc, root only (and padding). */
static bool map_only(const Chartmesh__V1__Entry *entry)
{
    return !entry->actor.len && !*entry->role && !*entry->purpose && !entry->subject && !entry->n_objects &&
           !entry->decision && !entry->disclosure.len && !entry->counterpart.len && !*entry->reason &&
           !entry->enrol && !entry->extent;
}

static bool enrols_its_actor(const Chartmesh__V1__Entry *entry)
{
    struct hash salt;
    if (!entry->enrol || !hash_from(bytes_pb(entry->enrol->salt), &salt)) {
        return false;
    }
    struct hash actor = actor_id(&salt, entry->enrol->principal, entry->enrol->user);
    return bytes_equal(bytes_pb(entry->actor), BYTES_OF(actor));
}

bool form_entry(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__Entry *entry = (const void *)message;
    bool map = entry->kind == CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_MAP;
    if (map != (entry->root.len > 0)) {
        return wrong(message, "root", "in a MAP entry, and only there", err);
    }
    if (map && !map_only(entry)) {
        return wrong(message, "", "a MAP entry has kind, hlc and root only", err);
    }
    if (entry->kind == CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_ENROL) {
        return enrols_its_actor(entry) || wrong(message, "actor", "not the one that is enrolled", err);
    }
    return !entry->enrol || wrong(message, "enrol", "in an ENROL entry only", err);
}
