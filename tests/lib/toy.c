#include "tests/lib/toy.h"

#include <stdlib.h>

#include "tests/lib/test.h"

enum { BUDGET = 8 << 20 };

const struct id toy_a = {{0xa}}, toy_b = {{0xb}};

struct signing_key *toy_signer(uint8_t number)
{
    struct err err;
    struct hash seed = {{number, 1}};
    struct signing_key *key;
    assert_ok(signing_key_new(&seed, &key, &err));
    return key;
}

static ProtobufCBinaryData pb_key(const struct signing_key *key)
{
    return pb_bytes(BYTES_OF(*signing_key_public(key)));
}

static Chartmesh__V1__Head *head(struct toy *f, const struct id *facility, uint64_t hlc)
{
    struct err err;
    Chartmesh__V1__Head *made;
    assert_ok(head_make(&f->network, facility, hlc, &f->arena, &made, &err));
    return made;
}

struct toy_keys toy_keys(uint8_t number)
{
    return (struct toy_keys){toy_signer(number), toy_signer(number + 1), toy_signer(number + 2)};
}

void toy_keys_free(struct toy_keys *keys)
{
    signing_key_free(keys->statement);
    signing_key_free(keys->checkpoint);
    signing_key_free(keys->witness);
}

/* Signs with those keys that are not NULL. */
static struct statement sign_by(struct toy *f, enum statement_kind kind, ProtobufCMessage *message,
                                const struct signing_key *a, const struct signing_key *b,
                                const struct signing_key *c, const struct signing_key *d)
{
    struct err err;
    const struct signing_key *all[] = {a, b, c, d}, *keys[4];
    size_t count = 0;
    for (size_t i = 0; i < 4; i++) {
        if (all[i]) {
            keys[count++] = all[i];
        }
    }
    struct statement made;
    assert_ok(statement_sign(kind, message, keys, count, &f->arena, &made, &err));
    return made;
}

struct statement toy_network(struct toy *f, uint64_t version, const struct hash *previous, size_t signers)
{
    Chartmesh__V1__Network n = CHARTMESH__V1__NETWORK__INIT;
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant from = CHARTMESH__V1__INSTANT__INIT;
    ProtobufCBinaryData keys[TOY_OPERATORS];
    for (size_t i = 0; i < TOY_OPERATORS; i++) {
        keys[i] = pb_key(f->operators[i]);
    }
    valid.from = &from;
    n.head = head(f, NULL, TOY_HLC(10) + version);
    if (version == 1) {
        n.head->network = (ProtobufCBinaryData){0};
    }
    n.name = (char *)"toy";
    n.operator_keys = keys;
    n.n_operator_keys = TOY_OPERATORS;
    n.threshold = 2;
    n.version = version;
    n.previous = previous ? pb_bytes(BYTES_OF(*previous)) : (ProtobufCBinaryData){0};
    n.valid = &valid;
    return sign_by(f, STATEMENT_NETWORK, &n.base, f->operators[0], signers > 1 ? f->operators[1] : NULL, NULL,
                   NULL);
}

struct statement toy_membership(struct toy *f, const struct toy_member *facts, const struct toy_keys *keys)
{
    Chartmesh__V1__Membership m = CHARTMESH__V1__MEMBERSHIP__INIT;
    uint8_t pin[HASH_LEN] = {facts->pin}, sealing[HASH_LEN] = {facts->pin, 9};
    ProtobufCBinaryData pins[] = {pb_bytes(BYTES(pin, HASH_LEN))};
    m.head = head(f, &facts->facility, facts->hlc);
    m.domain = (char *)(uintptr_t)facts->domain;
    m.name = (char *)(uintptr_t)facts->domain;
    m.version = facts->version;
    m.previous = facts->version > 1 ? pb_bytes(BYTES_OF(facts->previous)) : (ProtobufCBinaryData){0};
    m.statement_key = pb_key(keys->statement);
    m.checkpoint_key = pb_key(keys->checkpoint);
    m.witness_key = pb_key(keys->witness);
    m.sealing_key = pb_bytes(BYTES(sealing, HASH_LEN));
    m.n_tls_pins = 1;
    m.tls_pins = pins;
    m.status = facts->status ? facts->status : CHARTMESH__V1__STATUS__STATUS_ACTIVE;
    return sign_by(f, STATEMENT_MEMBERSHIP, &m.base, keys->statement, keys->checkpoint, keys->witness,
                   facts->before);
}

struct statement toy_roster(struct toy *f, uint64_t version, const struct statement *members, size_t count,
                            const struct statement *former, uint64_t network_version, size_t signers)
{
    Chartmesh__V1__Roster r = CHARTMESH__V1__ROSTER__INIT;
    Chartmesh__V1__Instant expires = CHARTMESH__V1__INSTANT__INIT, until = CHARTMESH__V1__INSTANT__INIT;
    Chartmesh__V1__Former left = CHARTMESH__V1__FORMER__INIT, *formers[] = {&left};
    ProtobufCBinaryData ids[4];
    for (size_t i = 0; i < count; i++) {
        ids[i] = pb_bytes(BYTES_OF(members[i].id));
    }
    expires.ms = TOY_EXPIRES_MS;
    until.ms = 500;
    r.head = head(f, NULL, TOY_HLC(30) + version);
    r.version = version;
    r.n_memberships = count;
    r.memberships = ids;
    r.expires = &expires;
    r.network_version = network_version;
    if (former) {
        left.membership = pb_bytes(BYTES_OF(former->id));
        left.until = &until;
        r.former = formers;
        r.n_former = 1;
    }
    return sign_by(f, STATEMENT_ROSTER, &r.base, f->operators[1], signers > 1 ? f->operators[2] : NULL, NULL,
                   NULL);
}

struct statement toy_lease(struct toy *f, const struct id *facility, uint64_t hlc, const struct signing_key *key)
{
    Chartmesh__V1__Lease lease = CHARTMESH__V1__LEASE__INIT;
    Chartmesh__V1__Instant at = CHARTMESH__V1__INSTANT__INIT;
    uint8_t chain[HASH_LEN] = {1};
    lease.head = head(f, facility, hlc);
    lease.receiver = pb_bytes(BYTES_OF(toy_b));
    lease.incarnation = 1;
    lease.chain = pb_bytes(BYTES(chain, HASH_LEN));
    lease.at = &at;
    return sign_by(f, STATEMENT_LEASE, &lease.base, key, NULL, NULL, NULL);
}

static const char *holder(struct toy *f, const char *rest)
{
    char network[2 * ID_LEN + 1];
    char *text;
    struct err err;
    bytes_hex(BYTES_OF(f->network), network);
    assert_ok(arena_printf(&f->arena, &text, &err, "spiffe://%s/%s", network, rest));
    return text;
}

struct statement toy_key(struct toy *f, const struct id *facility, const struct signing_key *by,
                         const struct signing_key *key, const char *who, const struct id *subject_of,
                         bool possession)
{
    Chartmesh__V1__Key k = CHARTMESH__V1__KEY__INIT;
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant from = CHARTMESH__V1__INSTANT__INIT, until = CHARTMESH__V1__INSTANT__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    uint8_t patient[ID_LEN] = {7};
    from.ms = 40;
    until.ms = 1000;
    valid.from = &from;
    valid.until = &until;
    k.head = head(f, facility, TOY_HLC(45));
    k.public_key = pb_key(key);
    k.use = subject_of ? CHARTMESH__V1__USE__USE_PATIENT : CHARTMESH__V1__USE__USE_AUTHOR;
    k.holder = (char *)(uintptr_t)holder(f, who);
    k.valid = &valid;
    if (subject_of) {
        subject.facility = pb_bytes(BYTES_OF(*subject_of));
        subject.patient = pb_bytes(BYTES(patient, ID_LEN));
        k.subject = &subject;
    }
    return sign_by(f, STATEMENT_KEY, &k.base, by, possession ? key : NULL, NULL, NULL);
}

struct statement toy_revocation(struct toy *f, const struct id *facility, const struct signing_key *by,
                                const struct signing_key *second, const struct signing_key *key,
                                Chartmesh__V1__Reason reason, int64_t since)
{
    Chartmesh__V1__KeyRevocation r = CHARTMESH__V1__KEY_REVOCATION__INIT;
    Chartmesh__V1__Instant at = CHARTMESH__V1__INSTANT__INIT;
    struct hash id = key_id(KEY_ED25519, signing_key_public(key));
    at.ms = since;
    r.head = head(f, facility, TOY_HLC(70));
    r.key = pb_bytes(BYTES_OF(id));
    r.reason = reason;
    r.since = &at;
    return sign_by(f, STATEMENT_KEY_REVOCATION, &r.base, by, second, NULL, NULL);
}

struct statement toy_version(struct toy *f, const struct id *facility, uint64_t hlc, const char *who,
                             const struct signing_key *by)
{
    Chartmesh__V1__Version v = CHARTMESH__V1__VERSION__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__Dot dot = CHARTMESH__V1__DOT__INIT;
    Chartmesh__V1__Coding class = CHARTMESH__V1__CODING__INIT;
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    Chartmesh__V1__Author author = CHARTMESH__V1__AUTHOR__INIT;
    uint8_t patient[ID_LEN] = {7}, document[ID_LEN] = {8}, commitment[HASH_LEN] = {9};
    subject.facility = pb_bytes(BYTES_OF(toy_a));
    subject.patient = pb_bytes(BYTES(patient, ID_LEN));
    dot.tag = dot.counter = 1;
    class.system = class.code = (char *)"c";
    labels.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    author.principal = (char *)(uintptr_t)holder(f, who);
    v.head = head(f, facility, hlc);
    v.subject = &subject;
    v.document = pb_bytes(BYTES(document, ID_LEN));
    v.dot = &dot;
    v.kind = CHARTMESH__V1__KIND__KIND_CONTENT;
    v.commitment = pb_bytes(BYTES(commitment, HASH_LEN));
    v.chunk_log2 = 16;
    v.media_type = (char *)"text/plain";
    v.class_ = &class;
    v.labels = &labels;
    v.author = &author;
    return sign_by(f, STATEMENT_VERSION, &v.base, by, NULL, NULL, NULL);
}

struct toy *toy_new(void)
{
    struct err err;
    struct toy *f = calloc(1, sizeof *f);
    assert_non_null(f);
    arena_init(&f->arena, BUDGET);
    for (size_t i = 0; i < TOY_OPERATORS; i++) {
        f->operators[i] = toy_signer((uint8_t)(1 + i));
    }
    f->author = toy_signer(50);
    f->patient = toy_signer(51);
    f->auditor = toy_signer(52);
    f->keys_a = toy_keys(10);
    f->keys_b = toy_keys(20);
    f->first = toy_network(f, 1, NULL, 2);
    memcpy(f->network.bytes, f->first.id.bytes, ID_LEN);
    struct toy_member a = {.facility = toy_a, .domain = "a.example", .version = 1, .hlc = TOY_HLC(20), .pin = 1};
    struct toy_member b = {.facility = toy_b, .domain = "b.example", .version = 1, .hlc = TOY_HLC(20), .pin = 2};
    f->a = toy_membership(f, &a, &f->keys_a);
    f->b = toy_membership(f, &b, &f->keys_b);
    f->roster = toy_roster(f, 1, (struct statement[]){f->a, f->b}, 2, NULL, 1, 2);
    assert_ok(trust_new(&f->first.id, &f->trust, &err));
    struct bytes start[] = {f->roster.envelope, f->b.envelope, f->first.envelope, f->a.envelope};
    assert_ok(trust_add(f->trust, start, COUNT(start), NULL, &err));
    return f;
}

void toy_free(struct toy *f)
{
    trust_free(f->trust);
    for (size_t i = 0; i < TOY_OPERATORS; i++) {
        signing_key_free(f->operators[i]);
    }
    signing_key_free(f->author);
    signing_key_free(f->patient);
    signing_key_free(f->auditor);
    toy_keys_free(&f->keys_a);
    toy_keys_free(&f->keys_b);
    arena_done(&f->arena);
    free(f);
}
