/* Trust, with a toy network: three operators of whom two sign, facilities A, B, C. */
#include <stdio.h>

#include "proto/statement/trust.h"
#include "tests/lib/test.h"

enum { BUDGET = 8 << 20, OPERATORS = 3, FAR_MS = 1 << 30 };
#define HLC(ms) ((uint64_t)(ms) << 16)

struct member_keys {
    struct signing_key *statement, *checkpoint, *witness;
};

struct fixture {
    struct arena arena;
    struct signing_key *operators[OPERATORS];
    struct signing_key *author, *patient, *auditor;
    struct id network;
    struct statement first, a, b, roster;
    struct member_keys keys_a, keys_b;
    struct trust *trust;
    struct err err;
};

static const struct id facility_a = {{0xa}}, facility_b = {{0xb}};

static struct signing_key *key_of(uint8_t number)
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

static Chartmesh__V1__Head *head(struct fixture *f, const struct id *facility, uint64_t hlc)
{
    struct err err;
    Chartmesh__V1__Head *made;
    assert_ok(head_make(&f->network, facility, hlc, &f->arena, &made, &err));
    return made;
}

static struct member_keys member_keys(uint8_t number)
{
    return (struct member_keys){key_of(number), key_of(number + 1), key_of(number + 2)};
}

static void member_keys_free(struct member_keys *keys)
{
    signing_key_free(keys->statement);
    signing_key_free(keys->checkpoint);
    signing_key_free(keys->witness);
}

/* Signs with those keys that are not NULL. */
static struct statement sign_by(struct fixture *f, enum statement_kind kind, ProtobufCMessage *message,
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

static struct statement make_network(struct fixture *f, uint64_t version, const struct hash *previous,
                                     size_t signers)
{
    Chartmesh__V1__Network n = CHARTMESH__V1__NETWORK__INIT;
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant from = CHARTMESH__V1__INSTANT__INIT;
    ProtobufCBinaryData keys[OPERATORS];
    for (size_t i = 0; i < OPERATORS; i++) {
        keys[i] = pb_key(f->operators[i]);
    }
    valid.from = &from;
    n.head = head(f, NULL, HLC(10) + version);
    if (version == 1) {
        n.head->network = (ProtobufCBinaryData){0};
    }
    n.name = (char *)"toy";
    n.operator_keys = keys;
    n.n_operator_keys = OPERATORS;
    n.threshold = 2;
    n.version = version;
    n.previous = previous ? pb_bytes(BYTES_OF(*previous)) : (ProtobufCBinaryData){0};
    n.valid = &valid;
    return sign_by(f, STATEMENT_NETWORK, &n.base, f->operators[0], signers > 1 ? f->operators[1] : NULL, NULL,
                   NULL);
}

/* What a membership says beyond its keys. */
struct member_facts {
    struct id facility;
    const char *domain;
    uint64_t version;
    struct hash previous;
    uint64_t hlc;
    uint8_t pin;
    Chartmesh__V1__Status status;
    const struct signing_key *before;    /* the previous statement key, if it signs too */
};

static struct statement make_membership(struct fixture *f, const struct member_facts *facts,
                                        const struct member_keys *keys)
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

static struct statement make_roster(struct fixture *f, uint64_t version, const struct statement *members,
                                    size_t count, const struct statement *former, uint64_t network_version,
                                    size_t signers)
{
    Chartmesh__V1__Roster r = CHARTMESH__V1__ROSTER__INIT;
    Chartmesh__V1__Instant expires = CHARTMESH__V1__INSTANT__INIT, until = CHARTMESH__V1__INSTANT__INIT;
    Chartmesh__V1__Former left = CHARTMESH__V1__FORMER__INIT, *formers[] = {&left};
    ProtobufCBinaryData ids[4];
    for (size_t i = 0; i < count; i++) {
        ids[i] = pb_bytes(BYTES_OF(members[i].id));
    }
    expires.ms = FAR_MS;
    until.ms = 500;
    r.head = head(f, NULL, HLC(30) + version);
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

static int set_up(void **state)
{
    static struct fixture fixture;
    struct fixture *f = &fixture;
    *f = (struct fixture){0};
    arena_init(&f->arena, BUDGET);
    for (size_t i = 0; i < OPERATORS; i++) {
        f->operators[i] = key_of((uint8_t)(1 + i));
    }
    f->author = key_of(50);
    f->patient = key_of(51);
    f->auditor = key_of(52);
    f->keys_a = member_keys(10);
    f->keys_b = member_keys(20);
    f->first = make_network(f, 1, NULL, 2);
    memcpy(f->network.bytes, f->first.id.bytes, ID_LEN);
    f->a =
        make_membership(f,
                        &(struct member_facts){
                            .facility = facility_a, .domain = "a.example", .version = 1, .hlc = HLC(20), .pin = 1},
                        &f->keys_a);
    f->b =
        make_membership(f,
                        &(struct member_facts){
                            .facility = facility_b, .domain = "b.example", .version = 1, .hlc = HLC(20), .pin = 2},
                        &f->keys_b);
    f->roster = make_roster(f, 1, (struct statement[]){f->a, f->b}, 2, NULL, 1, 2);
    if (!trust_new(&f->first.id, &f->trust, &f->err)) {
        return 1;
    }
    struct bytes start[] = {f->roster.envelope, f->b.envelope, f->first.envelope, f->a.envelope};
    *state = f;
    return trust_add(f->trust, start, 4, NULL, &f->err) ? 0 : 1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    trust_free(f->trust);
    for (size_t i = 0; i < OPERATORS; i++) {
        signing_key_free(f->operators[i]);
    }
    signing_key_free(f->author);
    signing_key_free(f->patient);
    signing_key_free(f->auditor);
    member_keys_free(&f->keys_a);
    member_keys_free(&f->keys_b);
    arena_done(&f->arena);
    return 0;
}

static bool add(struct fixture *f, const struct statement *s, size_t count, struct err *err)
{
    struct bytes envelopes[8];
    for (size_t i = 0; i < count; i++) {
        envelopes[i] = s[i].envelope;
    }
    return trust_add(f->trust, envelopes, count, NULL, err);
}

#define ADD(f, ...)                                                                                               \
    add((f), (const struct statement[]){__VA_ARGS__}, COUNT(((const struct statement[]){__VA_ARGS__})), &err)

static void test_trust__finds_members(void **state)
{
    struct fixture *f = *state;
    struct hash pin = {{2}};
    const struct member *a = trust_member(f->trust, &facility_a), *list[4];
    assert_string_equal(a->domain, "a.example");
    assert_true(a->listed && a->active);
    assert_ptr_equal(trust_member_by_domain(f->trust, "b.example"), trust_member(f->trust, &facility_b));
    assert_ptr_equal(trust_member_by_pin(f->trust, &pin), trust_member(f->trust, &facility_b));
    assert_null(trust_member_by_pin(f->trust, &(struct hash){{3}}));
    assert_null(trust_member(f->trust, &(struct id){{0xc}}));
    assert_null(trust_member_at(f->trust, &facility_a, HLC(19)));
    assert_ptr_equal(trust_member_at(f->trust, &facility_a, HLC(20)), a);
    assert_int_equal(trust_members(f->trust, list, 4), 2);
    assert_int_equal(trust_roster_expires_ms(f->trust), FAR_MS);
}

static void test_trust__adding_what_is_known_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err;
    bool changed = true;
    struct bytes again[] = {f->a.envelope, f->roster.envelope};
    assert_ok(trust_add(f->trust, again, 2, &changed, &err));
    assert_false(changed);
}

static void test_trust__a_file_is_written_and_read_again(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct bytes file, again;
    struct trust *other;
    assert_ok(trust_write(f->trust, &f->arena, &file, &err));
    assert_ok(trust_new(&f->first.id, &other, &err));
    assert_ok(trust_file(other, file, &err));
    assert_ok(trust_write(other, &f->arena, &again, &err));
    assert_bytes_equal(file, again);
    trust_free(other);
    assert_ok(trust_new(&f->a.id, &other, &err));
    assert_err(ERR_INVALID, trust_file(other, file, &err));
    trust_free(other);
    struct bytes *reach;
    size_t count;
    assert_ok(trust_reach(f->trust, &facility_a, &f->arena, &reach, &count, &err));
    assert_int_equal(count, 3);
    assert_err(ERR_NOT_FOUND, trust_reach(f->trust, &(struct id){{0xc}}, &f->arena, &reach, &count, &err));
}

static void test_trust__a_roster_needs_the_threshold_and_only_grows(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct statement one = make_roster(f, 2, &f->a, 1, NULL, 1, 1), two = make_roster(f, 3, &f->a, 1, NULL, 1, 2);
    struct statement fork = make_roster(f, 3, &f->b, 1, NULL, 1, 2), old = make_roster(f, 2, &f->b, 1, NULL, 1, 2);
    assert_err(ERR_INVALID, ADD(f, one));
    assert_int_equal(trust_roster_version(f->trust), 1);
    assert_ok(ADD(f, two));
    assert_int_equal(trust_roster_version(f->trust), 3);
    assert_null(trust_member(f->trust, &facility_b));
    assert_err(ERR_INVALID, ADD(f, fork));
    assert_err(ERR_STATE, ADD(f, old));
    assert_int_equal(trust_roster_version(f->trust), 3);
}

static void test_trust__networks_follow_each_other_by_both_thresholds(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct statement weak = make_network(f, 2, &f->first.id, 1), good = make_network(f, 2, &f->first.id, 2);
    struct statement far = make_network(f, 3, &f->first.id, 2), twin = make_network(f, 2, &f->first.id, 2);
    assert_err(ERR_INVALID, ADD(f, weak));
    assert_err(ERR_INVALID, ADD(f, far));
    assert_ok(ADD(f, good));
    assert_int_equal(trust_network_version(f->trust), 2);
    assert_err(ERR_INVALID, ADD(f, twin));
    struct statement stale = make_roster(f, 2, &f->a, 1, NULL, 1, 2),
                     named = make_roster(f, 2, &f->a, 1, NULL, 2, 2);
    assert_err(ERR_INVALID, ADD(f, stale));
    assert_ok(ADD(f, named));
    struct statement other = make_network(f, 1, NULL, 2);
    assert_err(ERR_INVALID, ADD(f, other));
}

static void test_trust__what_nothing_reaches_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct member_keys keys = member_keys(30);
    struct statement stranger = make_membership(
        f,
        &(struct member_facts){.facility = {{0xc}}, .domain = "c.example", .version = 1, .hlc = HLC(40), .pin = 3},
        &keys);
    assert_err(ERR_INVALID, ADD(f, stranger));
    assert_int_equal(trust_envelope(f->trust, &stranger.id).len, 0);
    struct statement listing = make_roster(f, 2, (struct statement[]){f->a, f->b, stranger}, 3, NULL, 1, 2);
    assert_ok(ADD(f, listing, stranger));
    assert_string_equal(trust_member(f->trust, &(struct id){{0xc}})->domain, "c.example");
    member_keys_free(&keys);
}

static void test_trust__a_listed_membership_may_come_later(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct member_keys keys = member_keys(30);
    struct hash missing;
    struct statement late = make_membership(
        f,
        &(struct member_facts){.facility = {{0xc}}, .domain = "c.example", .version = 1, .hlc = HLC(40), .pin = 3},
        &keys);
    struct statement listing = make_roster(f, 2, (struct statement[]){f->a, late}, 2, NULL, 1, 2);
    assert_ok(ADD(f, listing));
    assert_int_equal(trust_missing(f->trust, &missing, 1), 1);
    assert_true(hash_equal(&missing, &late.id));
    assert_ok(ADD(f, late));
    assert_int_equal(trust_missing(f->trust, NULL, 0), 0);
    member_keys_free(&keys);
}

static void refuse_in_roster(struct fixture *f, const struct member_facts *facts, const struct member_keys *keys)
{
    struct err err;
    struct statement bad = make_membership(f, facts, keys);
    struct statement listing = make_roster(f, 2, (struct statement[]){f->a, bad}, 2, NULL, 1, 2);
    assert_err(ERR_INVALID, ADD(f, listing, bad));
    assert_int_equal(trust_roster_version(f->trust), 1);
    assert_int_equal(trust_envelope(f->trust, &bad.id).len, 0);
}

static void test_trust__no_facility_domain_key_or_pin_twice(void **state)
{
    struct fixture *f = *state;
    struct member_keys fresh = member_keys(30), mixed = {fresh.statement, fresh.checkpoint, f->keys_a.statement};
    struct member_facts good = {
        .facility = {{0xc}}, .domain = "c.example", .version = 1, .hlc = HLC(40), .pin = 3};
    struct member_facts facts = good;
    facts.facility = facility_a;
    refuse_in_roster(f, &facts, &fresh);
    facts = good;
    facts.domain = "a.example";
    refuse_in_roster(f, &facts, &fresh);
    facts = good;
    facts.pin = 1;
    refuse_in_roster(f, &facts, &fresh);
    refuse_in_roster(f, &good, &mixed);
    member_keys_free(&fresh);
}

static void test_trust__a_new_statement_key_is_signed_by_the_old_one(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct member_keys fresh = member_keys(30);
    struct member_facts facts = {.facility = facility_a,
                                 .domain = "a.example",
                                 .version = 2,
                                 .previous = f->a.id,
                                 .hlc = HLC(100),
                                 .pin = 4};
    struct statement alone = make_membership(f, &facts, &fresh);
    struct statement by_alone = make_roster(f, 2, (struct statement[]){alone, f->b}, 2, NULL, 1, 2);
    assert_err(ERR_INVALID, ADD(f, alone, by_alone));
    facts.before = f->keys_a.statement;
    struct statement both = make_membership(f, &facts, &fresh);
    struct statement by_both = make_roster(f, 2, (struct statement[]){both, f->b}, 2, NULL, 1, 2);
    assert_ok(ADD(f, both, by_both));
    const struct member *now = trust_member(f->trust, &facility_a);
    assert_int_equal(now->version, 2);
    const struct member *then = trust_member_at(f->trust, &facility_a, HLC(99));
    assert_int_equal(then->version, 1);
    assert_false(then->listed);
    assert_int_equal(then->until_hlc, HLC(100));
    member_keys_free(&fresh);
}

static void test_trust__a_gap_in_a_chain_is_asked_for(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct member_facts facts = {.facility = facility_a,
                                 .domain = "a.example",
                                 .version = 3,
                                 .previous = f->b.id,
                                 .hlc = HLC(100),
                                 .pin = 4,
                                 .before = f->keys_b.statement};
    struct statement crossed = make_membership(f, &facts, &f->keys_a);
    struct statement listing = make_roster(f, 2, (struct statement[]){crossed}, 1, NULL, 1, 2);
    assert_err(ERR_INVALID, ADD(f, crossed, listing));
    facts.previous = (struct hash){{1, 2, 3}};
    facts.before = NULL;
    struct statement loose = make_membership(f, &facts, &f->keys_a);
    listing = make_roster(f, 2, (struct statement[]){loose}, 1, NULL, 1, 2);
    assert_err(ERR_NOT_FOUND, ADD(f, loose, listing));
}

/* -- who must have signed */

static struct statement make_lease(struct fixture *f, const struct id *facility, uint64_t hlc,
                                   const struct signing_key *key)
{
    Chartmesh__V1__Lease lease = CHARTMESH__V1__LEASE__INIT;
    Chartmesh__V1__Instant at = CHARTMESH__V1__INSTANT__INIT;
    uint8_t chain[HASH_LEN] = {1};
    lease.head = head(f, facility, hlc);
    lease.receiver = pb_bytes(BYTES_OF(facility_b));
    lease.incarnation = 1;
    lease.chain = pb_bytes(BYTES(chain, HASH_LEN));
    lease.at = &at;
    return sign_by(f, STATEMENT_LEASE, &lease.base, key, NULL, NULL, NULL);
}

static bool check(struct fixture *f, const struct statement *s, uint64_t at, const struct id *peer,
                  struct err *err)
{
    struct statement out;
    return trust_check(f->trust, s->envelope, s->kind, at, peer, &f->arena, &out, err);
}

static void test_trust__a_lease_is_signed_by_the_peer(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct statement by_a = make_lease(f, &facility_a, HLC(50), f->keys_a.statement);
    struct statement forged = make_lease(f, &facility_a, HLC(50), f->keys_b.statement);
    struct statement wrong_use = make_lease(f, &facility_a, HLC(50), f->keys_a.checkpoint);
    struct statement foreign = make_lease(f, &(struct id){{0xc}}, HLC(50), f->author), out;
    assert_ok(check(f, &by_a, 0, &facility_a, &err));
    assert_ok(check(f, &by_a, 0, NULL, &err));
    assert_err(ERR_INVALID, check(f, &by_a, 0, &facility_b, &err));
    assert_err(ERR_INVALID, check(f, &forged, 0, NULL, &err));
    assert_err(ERR_INVALID, check(f, &wrong_use, 0, NULL, &err));
    assert_err(ERR_NOT_FOUND, check(f, &foreign, 0, NULL, &err));
    assert_err(ERR_INVALID,
               trust_check(f->trust, by_a.envelope, STATEMENT_NOTICE, 0, NULL, &f->arena, &out, &err));
}

static void test_I39_trust__outside_a_keys_validity_is_for_quarantine(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct statement early = make_lease(f, &facility_a, HLC(5), f->keys_a.statement);
    assert_err(ERR_NOT_FOUND, check(f, &early, 0, NULL, &err));
    struct statement late = make_lease(f, &facility_b, HLC(600), f->keys_b.statement);
    assert_ok(check(f, &late, 0, NULL, &err));
    struct statement without = make_roster(f, 2, &f->a, 1, &f->b, 1, 2);
    assert_ok(ADD(f, without));
    assert_err(ERR_NOT_FOUND, check(f, &late, 0, NULL, &err));
    assert_ok(check(f, &late, HLC(400), NULL, &err));
    assert_false(trust_member(f->trust, &facility_b)->listed);
}

static void test_trust__a_member_that_is_not_active_signs_nothing_new(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct member_facts facts = {.facility = facility_a,
                                 .domain = "a.example",
                                 .version = 2,
                                 .previous = f->a.id,
                                 .hlc = HLC(100),
                                 .pin = 1,
                                 .status = CHARTMESH__V1__STATUS__STATUS_SUSPENDED};
    struct statement suspended = make_membership(f, &facts, &f->keys_a);
    struct statement listing = make_roster(f, 2, (struct statement[]){suspended, f->b}, 2, NULL, 1, 2);
    assert_ok(ADD(f, suspended, listing));
    struct statement before = make_lease(f, &facility_a, HLC(99), f->keys_a.statement);
    struct statement after = make_lease(f, &facility_a, HLC(101), f->keys_a.statement);
    assert_ok(check(f, &before, 0, NULL, &err));
    assert_err(ERR_INVALID, check(f, &after, 0, NULL, &err));
    assert_true(trust_member(f->trust, &facility_a)->listed);
    assert_false(trust_member(f->trust, &facility_a)->active);
}

/* -- enrolled keys */

static const char *holder(struct fixture *f, const char *rest)
{
    char network[2 * ID_LEN + 1];
    char *text;
    bytes_hex(BYTES_OF(f->network), network);
    assert_true(arena_printf(&f->arena, &text, &f->err, "spiffe://%s/%s", network, rest));
    return text;
}

static struct statement make_key(struct fixture *f, const struct id *facility, const struct signing_key *by,
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
    k.head = head(f, facility, HLC(45));
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

static struct statement make_revocation(struct fixture *f, const struct id *facility, const struct signing_key *by,
                                        const struct signing_key *second, const struct signing_key *key,
                                        Chartmesh__V1__Reason reason, int64_t since)
{
    Chartmesh__V1__KeyRevocation r = CHARTMESH__V1__KEY_REVOCATION__INIT;
    Chartmesh__V1__Instant at = CHARTMESH__V1__INSTANT__INIT;
    struct hash id = key_id(KEY_ED25519, signing_key_public(key));
    at.ms = since;
    r.head = head(f, facility, HLC(70));
    r.key = pb_bytes(BYTES_OF(id));
    r.reason = reason;
    r.since = &at;
    return sign_by(f, STATEMENT_KEY_REVOCATION, &r.base, by, second, NULL, NULL);
}

static struct statement make_version(struct fixture *f, const struct id *facility, uint64_t hlc, const char *who,
                                     const struct signing_key *by)
{
    Chartmesh__V1__Version v = CHARTMESH__V1__VERSION__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__Dot dot = CHARTMESH__V1__DOT__INIT;
    Chartmesh__V1__Coding class = CHARTMESH__V1__CODING__INIT;
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    Chartmesh__V1__Author author = CHARTMESH__V1__AUTHOR__INIT;
    uint8_t patient[ID_LEN] = {7}, document[ID_LEN] = {8}, commitment[HASH_LEN] = {9};
    subject.facility = pb_bytes(BYTES_OF(facility_a));
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

static void test_trust__keys_are_enrolled_by_their_facility_and_by_themselves(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const struct signing_key *by = f->keys_a.statement;
    struct statement good = make_key(f, &facility_a, by, f->author, "a.example/app/x", NULL, true);
    struct statement unproved = make_key(f, &facility_a, by, f->author, "a.example/app/x", NULL, false);
    struct statement foreign = make_key(f, &facility_a, by, f->author, "b.example/app/x", NULL, true);
    struct statement theirs = make_key(f, &facility_a, by, f->patient, "a.example/patient/7", &facility_b, true);
    struct hash id = key_id(KEY_ED25519, signing_key_public(f->author));
    assert_err(ERR_INVALID, ADD(f, unproved));
    assert_err(ERR_INVALID, ADD(f, foreign));
    assert_err(ERR_INVALID, ADD(f, theirs));
    assert_null(trust_key(f->trust, &id, HLC(50)));
    assert_ok(ADD(f, good));
    assert_non_null(trust_key(f->trust, &id, HLC(50)));
    assert_null(trust_key(f->trust, &id, HLC(39)));
    assert_null(trust_key(f->trust, &id, HLC(1000)));
}

static void test_trust__a_version_is_signed_by_its_author_or_its_facility(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const struct signing_key *by = f->keys_a.statement;
    struct statement key = make_key(f, &facility_a, by, f->author, "a.example/app/x", NULL, true);
    struct statement authored = make_version(f, &facility_a, HLC(50), "a.example/app/x", f->author);
    struct statement of_other = make_version(f, &facility_a, HLC(50), "a.example/app/y", f->author);
    struct statement abroad = make_version(f, &facility_b, HLC(50), "a.example/app/x", f->author);
    struct statement by_facility = make_version(f, &facility_a, HLC(50), "a.example/app/y", by);
    struct statement expired = make_version(f, &facility_a, HLC(2000), "a.example/app/x", f->author);
    assert_ok(check(f, &by_facility, 0, NULL, &err));
    assert_err(ERR_NOT_FOUND, check(f, &authored, 0, NULL, &err));
    assert_ok(ADD(f, key));
    assert_ok(check(f, &authored, 0, NULL, &err));
    assert_err(ERR_INVALID, check(f, &of_other, 0, NULL, &err));
    assert_err(ERR_INVALID, check(f, &abroad, 0, NULL, &err));
    assert_err(ERR_NOT_FOUND, check(f, &expired, 0, NULL, &err));
}

static void test_trust__revoked_keys_stop_counting(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const struct signing_key *by = f->keys_a.statement;
    const Chartmesh__V1__Reason lost = CHARTMESH__V1__REASON__REASON_LOST;
    struct statement key = make_key(f, &facility_a, by, f->author, "a.example/app/x", NULL, true);
    struct statement by_other = make_revocation(f, &facility_b, f->keys_b.statement, NULL, f->author, lost, 60);
    struct statement unknown = make_revocation(f, &facility_a, by, NULL, f->author, lost, 60);
    struct statement before = make_version(f, &facility_a, HLC(59), "a.example/app/x", f->author);
    struct statement after = make_version(f, &facility_a, HLC(60), "a.example/app/x", f->author);
    struct hash id = key_id(KEY_ED25519, signing_key_public(f->author));
    assert_err(ERR_NOT_FOUND, ADD(f, unknown));
    assert_ok(ADD(f, key));
    assert_err(ERR_INVALID, ADD(f, by_other));
    assert_null(trust_key_revoked(f->trust, &id));
    assert_ok(check(f, &after, 0, NULL, &err));
    assert_ok(ADD(f, unknown));
    assert_ok(check(f, &before, 0, NULL, &err));
    assert_err(ERR_NOT_FOUND, check(f, &after, 0, NULL, &err));
    assert_int_equal(trust_key_revoked(f->trust, &id)->since->ms, 60);
    assert_null(trust_key(f->trust, &id, HLC(60)));
}

static void test_trust__a_compromised_statement_key_is_revoked_by_the_operators(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const Chartmesh__V1__Reason bad = CHARTMESH__V1__REASON__REASON_COMPROMISED;
    const struct signing_key *theirs = f->keys_a.statement;
    struct statement key = make_key(f, &facility_a, theirs, f->author, "a.example/app/x", NULL, true);
    struct statement one = make_revocation(f, NULL, f->operators[0], NULL, theirs, bad, 60);
    struct statement lost =
        make_revocation(f, NULL, f->operators[0], f->operators[1], theirs, CHARTMESH__V1__REASON__REASON_LOST, 60);
    struct statement wrong_key =
        make_revocation(f, NULL, f->operators[0], f->operators[1], f->keys_a.witness, bad, 60);
    struct statement two = make_revocation(f, NULL, f->operators[0], f->operators[1], theirs, bad, 60);
    struct statement lease = make_lease(f, &facility_a, HLC(50), theirs);
    struct hash author = key_id(KEY_ED25519, signing_key_public(f->author));
    assert_ok(ADD(f, key));
    assert_err(ERR_INVALID, ADD(f, one));
    assert_err(ERR_INVALID, ADD(f, lost));
    assert_err(ERR_INVALID, ADD(f, wrong_key));
    assert_ok(check(f, &lease, 0, NULL, &err));
    assert_ok(ADD(f, two));
    assert_err(ERR_INVALID, check(f, &lease, 0, NULL, &err));
    assert_ok(check(f, &lease, HLC(50), NULL, &err));
    assert_err(ERR_INVALID, check(f, &lease, HLC(61), NULL, &err));
    assert_null(trust_key(f->trust, &author, HLC(50)));
}

/* -- all or nothing */

static void test_trust__one_bad_statement_refuses_them_all(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const struct signing_key *by = f->keys_a.statement;
    struct statement key = make_key(f, &facility_a, by, f->author, "a.example/app/x", NULL, true);
    struct statement bad = make_key(f, &facility_a, by, f->patient, "b.example/app/x", NULL, true);
    struct statement listing = make_roster(f, 2, &f->a, 1, NULL, 1, 2);
    struct statement lease = make_lease(f, &facility_a, HLC(50), by);
    struct hash id = key_id(KEY_ED25519, signing_key_public(f->author));
    assert_err(ERR_INVALID, ADD(f, listing, key, bad));
    assert_int_equal(trust_roster_version(f->trust), 1);
    assert_non_null(trust_member(f->trust, &facility_b));
    assert_null(trust_key(f->trust, &id, HLC(50)));
    assert_err(ERR_INVALID, ADD(f, key, lease));
    assert_null(trust_key(f->trust, &id, HLC(50)));
    assert_ok(ADD(f, listing, key));
    assert_non_null(trust_key(f->trust, &id, HLC(50)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_trust__finds_members),
        TEST(test_trust__adding_what_is_known_changes_nothing),
        TEST(test_trust__a_file_is_written_and_read_again),
        TEST(test_trust__a_roster_needs_the_threshold_and_only_grows),
        TEST(test_trust__networks_follow_each_other_by_both_thresholds),
        TEST(test_trust__what_nothing_reaches_is_refused),
        TEST(test_trust__a_listed_membership_may_come_later),
        TEST(test_trust__no_facility_domain_key_or_pin_twice),
        TEST(test_trust__a_new_statement_key_is_signed_by_the_old_one),
        TEST(test_trust__a_gap_in_a_chain_is_asked_for),
        TEST(test_trust__a_lease_is_signed_by_the_peer),
        TEST(test_I39_trust__outside_a_keys_validity_is_for_quarantine),
        TEST(test_trust__a_member_that_is_not_active_signs_nothing_new),
        TEST(test_trust__keys_are_enrolled_by_their_facility_and_by_themselves),
        TEST(test_trust__a_version_is_signed_by_its_author_or_its_facility),
        TEST(test_trust__revoked_keys_stop_counting),
        TEST(test_trust__a_compromised_statement_key_is_revoked_by_the_operators),
        TEST(test_trust__one_bad_statement_refuses_them_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
