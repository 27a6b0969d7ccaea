/* Trust, with a toy network: three operators of whom two sign, facilities A, B, C. */
#include "proto/statement/trust.h"
#include "tests/lib/test.h"
#include "tests/lib/toy.h"

static int set_up(void **state)
{
    *state = toy_new();
    return 0;
}

static int tear_down(void **state)
{
    toy_free(*state);
    return 0;
}

static bool add(struct toy *f, const struct statement *s, size_t count, struct err *err)
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
    struct toy *f = *state;
    struct hash pin = {{2}};
    const struct member *a = trust_member(f->trust, &toy_a), *list[4];
    assert_string_equal(a->domain, "a.example");
    assert_true(a->listed && a->active);
    assert_ptr_equal(trust_member_by_domain(f->trust, "b.example"), trust_member(f->trust, &toy_b));
    assert_ptr_equal(trust_member_by_pin(f->trust, &pin), trust_member(f->trust, &toy_b));
    assert_null(trust_member_by_pin(f->trust, &(struct hash){{3}}));
    assert_null(trust_member(f->trust, &(struct id){{0xc}}));
    assert_null(trust_member_at(f->trust, &toy_a, TOY_HLC(19)));
    assert_ptr_equal(trust_member_at(f->trust, &toy_a, TOY_HLC(20)), a);
    assert_int_equal(trust_members(f->trust, list, 4), 2);
    assert_int_equal(trust_roster_expires_ms(f->trust), TOY_EXPIRES_MS);
}

static void test_trust__adding_what_is_known_changes_nothing(void **state)
{
    struct toy *f = *state;
    struct err err;
    bool changed = true;
    struct bytes again[] = {f->a.envelope, f->roster.envelope};
    assert_ok(trust_add(f->trust, again, 2, &changed, &err));
    assert_false(changed);
}

static void test_trust__a_file_is_written_and_read_again(void **state)
{
    struct toy *f = *state;
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
    assert_ok(trust_reach(f->trust, &toy_a, &f->arena, &reach, &count, &err));
    assert_int_equal(count, 3);
    assert_err(ERR_NOT_FOUND, trust_reach(f->trust, &(struct id){{0xc}}, &f->arena, &reach, &count, &err));
}

static void test_trust__a_roster_needs_the_threshold_and_only_grows(void **state)
{
    struct toy *f = *state;
    struct err err;
    struct statement one = toy_roster(f, 2, &f->a, 1, NULL, 1, 1), two = toy_roster(f, 3, &f->a, 1, NULL, 1, 2);
    struct statement fork = toy_roster(f, 3, &f->b, 1, NULL, 1, 2), old = toy_roster(f, 2, &f->b, 1, NULL, 1, 2);
    assert_err(ERR_INVALID, ADD(f, one));
    assert_int_equal(trust_roster_version(f->trust), 1);
    assert_ok(ADD(f, two));
    assert_int_equal(trust_roster_version(f->trust), 3);
    assert_null(trust_member(f->trust, &toy_b));
    assert_err(ERR_INVALID, ADD(f, fork));
    assert_err(ERR_STATE, ADD(f, old));
    assert_int_equal(trust_roster_version(f->trust), 3);
}

static void test_trust__networks_follow_each_other_by_both_thresholds(void **state)
{
    struct toy *f = *state;
    struct err err;
    struct statement weak = toy_network(f, 2, &f->first.id, 1), good = toy_network(f, 2, &f->first.id, 2);
    struct statement far = toy_network(f, 3, &f->first.id, 2), twin = toy_network(f, 2, &f->first.id, 2);
    assert_err(ERR_INVALID, ADD(f, weak));
    assert_err(ERR_INVALID, ADD(f, far));
    assert_ok(ADD(f, good));
    assert_int_equal(trust_network_version(f->trust), 2);
    assert_err(ERR_INVALID, ADD(f, twin));
    struct statement stale = toy_roster(f, 2, &f->a, 1, NULL, 1, 2),
                     named = toy_roster(f, 2, &f->a, 1, NULL, 2, 2);
    assert_err(ERR_INVALID, ADD(f, stale));
    assert_ok(ADD(f, named));
    struct statement other = toy_network(f, 1, NULL, 2);
    assert_err(ERR_INVALID, ADD(f, other));
}

static void test_trust__what_nothing_reaches_is_refused(void **state)
{
    struct toy *f = *state;
    struct err err;
    struct toy_keys keys = toy_keys(30);
    struct statement stranger =
        toy_membership(f,
                       &(struct toy_member){
                           .facility = {{0xc}}, .domain = "c.example", .version = 1, .hlc = TOY_HLC(40), .pin = 3},
                       &keys);
    assert_err(ERR_INVALID, ADD(f, stranger));
    assert_int_equal(trust_envelope(f->trust, &stranger.id).len, 0);
    struct statement listing = toy_roster(f, 2, (struct statement[]){f->a, f->b, stranger}, 3, NULL, 1, 2);
    assert_ok(ADD(f, listing, stranger));
    assert_string_equal(trust_member(f->trust, &(struct id){{0xc}})->domain, "c.example");
    toy_keys_free(&keys);
}

static void test_trust__a_listed_membership_may_come_later(void **state)
{
    struct toy *f = *state;
    struct err err;
    struct toy_keys keys = toy_keys(30);
    struct hash missing;
    struct statement late =
        toy_membership(f,
                       &(struct toy_member){
                           .facility = {{0xc}}, .domain = "c.example", .version = 1, .hlc = TOY_HLC(40), .pin = 3},
                       &keys);
    struct statement listing = toy_roster(f, 2, (struct statement[]){f->a, late}, 2, NULL, 1, 2);
    assert_ok(ADD(f, listing));
    assert_int_equal(trust_missing(f->trust, &missing, 1), 1);
    assert_true(hash_equal(&missing, &late.id));
    assert_ok(ADD(f, late));
    assert_int_equal(trust_missing(f->trust, NULL, 0), 0);
    toy_keys_free(&keys);
}

static void refuse_in_roster(struct toy *f, const struct toy_member *facts, const struct toy_keys *keys)
{
    struct err err;
    struct statement bad = toy_membership(f, facts, keys);
    struct statement listing = toy_roster(f, 2, (struct statement[]){f->a, bad}, 2, NULL, 1, 2);
    assert_err(ERR_INVALID, ADD(f, listing, bad));
    assert_int_equal(trust_roster_version(f->trust), 1);
    assert_int_equal(trust_envelope(f->trust, &bad.id).len, 0);
}

static void test_trust__no_facility_domain_key_or_pin_twice(void **state)
{
    struct toy *f = *state;
    struct toy_keys fresh = toy_keys(30), mixed = {fresh.statement, fresh.checkpoint, f->keys_a.statement};
    struct toy_member good = {
        .facility = {{0xc}}, .domain = "c.example", .version = 1, .hlc = TOY_HLC(40), .pin = 3};
    struct toy_member facts = good;
    facts.facility = toy_a;
    refuse_in_roster(f, &facts, &fresh);
    facts = good;
    facts.domain = "a.example";
    refuse_in_roster(f, &facts, &fresh);
    facts = good;
    facts.pin = 1;
    refuse_in_roster(f, &facts, &fresh);
    refuse_in_roster(f, &good, &mixed);
    toy_keys_free(&fresh);
}

static void test_trust__a_new_statement_key_is_signed_by_the_old_one(void **state)
{
    struct toy *f = *state;
    struct err err;
    struct toy_keys fresh = toy_keys(30);
    struct toy_member facts = {.facility = toy_a,
                               .domain = "a.example",
                               .version = 2,
                               .previous = f->a.id,
                               .hlc = TOY_HLC(100),
                               .pin = 4};
    struct statement alone = toy_membership(f, &facts, &fresh);
    struct statement by_alone = toy_roster(f, 2, (struct statement[]){alone, f->b}, 2, NULL, 1, 2);
    assert_err(ERR_INVALID, ADD(f, alone, by_alone));
    facts.before = f->keys_a.statement;
    struct statement both = toy_membership(f, &facts, &fresh);
    struct statement by_both = toy_roster(f, 2, (struct statement[]){both, f->b}, 2, NULL, 1, 2);
    assert_ok(ADD(f, both, by_both));
    const struct member *now = trust_member(f->trust, &toy_a);
    assert_int_equal(now->version, 2);
    const struct member *then = trust_member_at(f->trust, &toy_a, TOY_HLC(99));
    assert_int_equal(then->version, 1);
    assert_false(then->listed);
    assert_int_equal(then->until_hlc, TOY_HLC(100));
    toy_keys_free(&fresh);
}

static void test_trust__a_gap_in_a_chain_is_asked_for(void **state)
{
    struct toy *f = *state;
    struct err err;
    struct toy_member facts = {.facility = toy_a,
                               .domain = "a.example",
                               .version = 3,
                               .previous = f->b.id,
                               .hlc = TOY_HLC(100),
                               .pin = 4,
                               .before = f->keys_b.statement};
    struct statement crossed = toy_membership(f, &facts, &f->keys_a);
    struct statement listing = toy_roster(f, 2, (struct statement[]){crossed}, 1, NULL, 1, 2);
    assert_err(ERR_INVALID, ADD(f, crossed, listing));
    facts.previous = (struct hash){{1, 2, 3}};
    facts.before = NULL;
    struct statement loose = toy_membership(f, &facts, &f->keys_a);
    listing = toy_roster(f, 2, (struct statement[]){loose}, 1, NULL, 1, 2);
    assert_err(ERR_NOT_FOUND, ADD(f, loose, listing));
}

/* -- who must have signed */

static bool check(struct toy *f, const struct statement *s, uint64_t at, const struct id *peer, struct err *err)
{
    struct statement out;
    return trust_check(f->trust, s->envelope, s->kind, at, peer, &f->arena, &out, err);
}

static void test_trust__a_lease_is_signed_by_the_peer(void **state)
{
    struct toy *f = *state;
    struct err err;
    struct statement by_a = toy_lease(f, &toy_a, TOY_HLC(50), f->keys_a.statement);
    struct statement forged = toy_lease(f, &toy_a, TOY_HLC(50), f->keys_b.statement);
    struct statement wrong_use = toy_lease(f, &toy_a, TOY_HLC(50), f->keys_a.checkpoint);
    struct statement foreign = toy_lease(f, &(struct id){{0xc}}, TOY_HLC(50), f->author), out;
    assert_ok(check(f, &by_a, 0, &toy_a, &err));
    assert_ok(check(f, &by_a, 0, NULL, &err));
    assert_err(ERR_INVALID, check(f, &by_a, 0, &toy_b, &err));
    assert_err(ERR_INVALID, check(f, &forged, 0, NULL, &err));
    assert_err(ERR_INVALID, check(f, &wrong_use, 0, NULL, &err));
    assert_err(ERR_NOT_FOUND, check(f, &foreign, 0, NULL, &err));
    assert_err(ERR_INVALID,
               trust_check(f->trust, by_a.envelope, STATEMENT_NOTICE, 0, NULL, &f->arena, &out, &err));
}

static void test_I39_trust__outside_a_keys_validity_is_for_quarantine(void **state)
{
    struct toy *f = *state;
    struct err err;
    struct statement early = toy_lease(f, &toy_a, TOY_HLC(5), f->keys_a.statement);
    assert_err(ERR_NOT_FOUND, check(f, &early, 0, NULL, &err));
    struct statement late = toy_lease(f, &toy_b, TOY_HLC(600), f->keys_b.statement);
    assert_ok(check(f, &late, 0, NULL, &err));
    struct statement without = toy_roster(f, 2, &f->a, 1, &f->b, 1, 2);
    assert_ok(ADD(f, without));
    assert_err(ERR_NOT_FOUND, check(f, &late, 0, NULL, &err));
    assert_ok(check(f, &late, TOY_HLC(400), NULL, &err));
    assert_false(trust_member(f->trust, &toy_b)->listed);
}

static void test_trust__a_member_that_is_not_active_signs_nothing_new(void **state)
{
    struct toy *f = *state;
    struct err err;
    struct toy_member facts = {.facility = toy_a,
                               .domain = "a.example",
                               .version = 2,
                               .previous = f->a.id,
                               .hlc = TOY_HLC(100),
                               .pin = 1,
                               .status = CHARTMESH__V1__STATUS__STATUS_SUSPENDED};
    struct statement suspended = toy_membership(f, &facts, &f->keys_a);
    struct statement listing = toy_roster(f, 2, (struct statement[]){suspended, f->b}, 2, NULL, 1, 2);
    assert_ok(ADD(f, suspended, listing));
    struct statement before = toy_lease(f, &toy_a, TOY_HLC(99), f->keys_a.statement);
    struct statement after = toy_lease(f, &toy_a, TOY_HLC(101), f->keys_a.statement);
    assert_ok(check(f, &before, 0, NULL, &err));
    assert_err(ERR_INVALID, check(f, &after, 0, NULL, &err));
    assert_true(trust_member(f->trust, &toy_a)->listed);
    assert_false(trust_member(f->trust, &toy_a)->active);
}

/* -- enrolled keys */

static void test_trust__keys_are_enrolled_by_their_facility_and_by_themselves(void **state)
{
    struct toy *f = *state;
    struct err err;
    const struct signing_key *by = f->keys_a.statement;
    struct statement good = toy_key(f, &toy_a, by, f->author, "a.example/app/x", NULL, true);
    struct statement unproved = toy_key(f, &toy_a, by, f->author, "a.example/app/x", NULL, false);
    struct statement foreign = toy_key(f, &toy_a, by, f->author, "b.example/app/x", NULL, true);
    struct statement theirs = toy_key(f, &toy_a, by, f->patient, "a.example/patient/7", &toy_b, true);
    struct hash id = key_id(KEY_ED25519, signing_key_public(f->author));
    assert_err(ERR_INVALID, ADD(f, unproved));
    assert_err(ERR_INVALID, ADD(f, foreign));
    assert_err(ERR_INVALID, ADD(f, theirs));
    assert_null(trust_key(f->trust, &id, TOY_HLC(50)));
    assert_ok(ADD(f, good));
    assert_non_null(trust_key(f->trust, &id, TOY_HLC(50)));
    assert_null(trust_key(f->trust, &id, TOY_HLC(39)));
    assert_null(trust_key(f->trust, &id, TOY_HLC(1000)));
}

static void test_trust__a_version_is_signed_by_its_author_or_its_facility(void **state)
{
    struct toy *f = *state;
    struct err err;
    const struct signing_key *by = f->keys_a.statement;
    struct statement key = toy_key(f, &toy_a, by, f->author, "a.example/app/x", NULL, true);
    struct statement authored = toy_version(f, &toy_a, TOY_HLC(50), "a.example/app/x", f->author);
    struct statement of_other = toy_version(f, &toy_a, TOY_HLC(50), "a.example/app/y", f->author);
    struct statement abroad = toy_version(f, &toy_b, TOY_HLC(50), "a.example/app/x", f->author);
    struct statement by_facility = toy_version(f, &toy_a, TOY_HLC(50), "a.example/app/y", by);
    struct statement expired = toy_version(f, &toy_a, TOY_HLC(2000), "a.example/app/x", f->author);
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
    struct toy *f = *state;
    struct err err;
    const struct signing_key *by = f->keys_a.statement;
    const Chartmesh__V1__Reason lost = CHARTMESH__V1__REASON__REASON_LOST;
    struct statement key = toy_key(f, &toy_a, by, f->author, "a.example/app/x", NULL, true);
    struct statement by_other = toy_revocation(f, &toy_b, f->keys_b.statement, NULL, f->author, lost, 60);
    struct statement unknown = toy_revocation(f, &toy_a, by, NULL, f->author, lost, 60);
    struct statement before = toy_version(f, &toy_a, TOY_HLC(59), "a.example/app/x", f->author);
    struct statement after = toy_version(f, &toy_a, TOY_HLC(60), "a.example/app/x", f->author);
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
    assert_null(trust_key(f->trust, &id, TOY_HLC(60)));
}

static void test_trust__a_compromised_statement_key_is_revoked_by_the_operators(void **state)
{
    struct toy *f = *state;
    struct err err;
    const Chartmesh__V1__Reason bad = CHARTMESH__V1__REASON__REASON_COMPROMISED;
    const struct signing_key *theirs = f->keys_a.statement;
    struct statement key = toy_key(f, &toy_a, theirs, f->author, "a.example/app/x", NULL, true);
    struct statement one = toy_revocation(f, NULL, f->operators[0], NULL, theirs, bad, 60);
    struct statement lost =
        toy_revocation(f, NULL, f->operators[0], f->operators[1], theirs, CHARTMESH__V1__REASON__REASON_LOST, 60);
    struct statement wrong_key =
        toy_revocation(f, NULL, f->operators[0], f->operators[1], f->keys_a.witness, bad, 60);
    struct statement two = toy_revocation(f, NULL, f->operators[0], f->operators[1], theirs, bad, 60);
    struct statement lease = toy_lease(f, &toy_a, TOY_HLC(50), theirs);
    struct hash author = key_id(KEY_ED25519, signing_key_public(f->author));
    assert_ok(ADD(f, key));
    assert_err(ERR_INVALID, ADD(f, one));
    assert_err(ERR_INVALID, ADD(f, lost));
    assert_err(ERR_INVALID, ADD(f, wrong_key));
    assert_ok(check(f, &lease, 0, NULL, &err));
    assert_ok(ADD(f, two));
    assert_err(ERR_INVALID, check(f, &lease, 0, NULL, &err));
    assert_ok(check(f, &lease, TOY_HLC(50), NULL, &err));
    assert_err(ERR_INVALID, check(f, &lease, TOY_HLC(61), NULL, &err));
    assert_null(trust_key(f->trust, &author, TOY_HLC(50)));
}

/* -- all or nothing */

static void test_trust__one_bad_statement_refuses_them_all(void **state)
{
    struct toy *f = *state;
    struct err err;
    const struct signing_key *by = f->keys_a.statement;
    struct statement key = toy_key(f, &toy_a, by, f->author, "a.example/app/x", NULL, true);
    struct statement bad = toy_key(f, &toy_a, by, f->patient, "b.example/app/x", NULL, true);
    struct statement listing = toy_roster(f, 2, &f->a, 1, NULL, 1, 2);
    struct statement lease = toy_lease(f, &toy_a, TOY_HLC(50), by);
    struct hash id = key_id(KEY_ED25519, signing_key_public(f->author));
    assert_err(ERR_INVALID, ADD(f, listing, key, bad));
    assert_int_equal(trust_roster_version(f->trust), 1);
    assert_non_null(trust_member(f->trust, &toy_b));
    assert_null(trust_key(f->trust, &id, TOY_HLC(50)));
    assert_err(ERR_INVALID, ADD(f, key, lease));
    assert_null(trust_key(f->trust, &id, TOY_HLC(50)));
    assert_ok(ADD(f, listing, key));
    assert_non_null(trust_key(f->trust, &id, TOY_HLC(50)));
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
