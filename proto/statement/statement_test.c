#include <stdlib.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/crypto/random.h"
#include "proto/statement/entry.h"
#include "proto/statement/rules.h"
#include "proto/statement/statement.h"
#include "tests/lib/test.h"

enum { BUDGET = 1 << 20 };

static const struct id network = {{1}}, facility = {{2}}, other_network = {{9}};

static struct signing_key *key_of(uint8_t number)
{
    struct err err;
    struct hash seed = {{number}};
    struct signing_key *key;
    assert_ok(signing_key_new(&seed, &key, &err));
    return key;
}

/* A lease with every field, in `arena`. */
static ProtobufCMessage *lease_of(struct arena *arena)
{
    struct err err;
    static uint8_t receiver[ID_LEN] = {3}, chain[HASH_LEN] = {4};
    struct {
        Chartmesh__V1__Lease lease;
        Chartmesh__V1__Instant at;
    } *made;
    void *room;
    assert_ok(arena_alloc(arena, sizeof *made, &room, &err));
    made = room;
    chartmesh__v1__lease__init(&made->lease);
    chartmesh__v1__instant__init(&made->at);
    assert_ok(head_make(&network, &facility, 77, arena, &made->lease.head, &err));
    made->lease.receiver = pb_bytes(BYTES(receiver, ID_LEN));
    made->lease.incarnation = 5;
    made->lease.chain = pb_bytes(BYTES(chain, HASH_LEN));
    made->at.ms = 1000;
    made->lease.at = &made->at;
    return &made->lease.base;
}

static void sign_lease(const struct signing_key *const *keys, size_t count, struct arena *arena,
                       struct statement *out)
{
    struct err err;
    assert_ok(statement_sign(STATEMENT_LEASE, lease_of(arena), keys, count, arena, out, &err));
}

static void test_statement__signed_is_verified(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, BUDGET);
    struct signing_key *a = key_of(1), *b = key_of(2);
    const struct signing_key *both[] = {a, b};
    struct hash keys[] = {*signing_key_public(a), *signing_key_public(b)};
    struct statement s, parsed;
    sign_lease(both, 2, &arena, &s);
    assert_int_equal(s.signers, 2);
    assert_ok(statement_verify(&s, STATEMENT_LEASE, &network, keys, 2, 2, &err));
    assert_ok(statement_parse(s.envelope, &arena, &parsed, &err));
    assert_true(hash_equal(&parsed.id, &s.id));
    assert_err(ERR_INVALID, statement_verify(&s, STATEMENT_LEASE, &network, keys, 1, 1, &err));
    assert_int_equal(err.reason, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_KEY_INVALID);
    sign_lease(both, 1, &arena, &s);
    assert_ok(statement_verify(&s, STATEMENT_LEASE, &network, keys, 2, 1, &err));
    assert_err(ERR_INVALID, statement_verify(&s, STATEMENT_LEASE, &network, keys, 2, 2, &err));
    assert_int_equal(err.reason, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_SIGNATURE_INVALID);
    signing_key_free(a);
    signing_key_free(b);
}

static void test_I37_statement__verifies_as_no_other_kind_or_network(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, BUDGET);
    struct signing_key *a = key_of(1);
    struct hash public_key = *signing_key_public(a);
    struct statement s;
    sign_lease((const struct signing_key *const[]){a}, 1, &arena, &s);
    for (int kind = 1; kind < STATEMENT_KINDS; kind++) {
        if (kind != STATEMENT_LEASE) {
            assert_err(ERR_INVALID,
                       statement_verify(&s, (enum statement_kind)kind, &network, &public_key, 1, 1, &err));
        }
        struct statement forged = s;
        forged.kind = (enum statement_kind)kind;
        bool same = kind == STATEMENT_LEASE;
        assert_int_equal(statement_verify(&forged, forged.kind, &network, &public_key, 1, 1, &err), same);
    }
    assert_err(ERR_INVALID, statement_verify(&s, STATEMENT_LEASE, &other_network, &public_key, 1, 1, &err));
    assert_err(ERR_INVALID, statement_verify(&s, STATEMENT_LEASE, NULL, &public_key, 1, 1, &err));
    signing_key_free(a);
}

/* Nothing of a statement can be changed: not one bit of its envelope. */
static void test_I36_statement__any_bit_changed_is_refused(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, BUDGET);
    struct signing_key *a = key_of(1);
    struct hash public_key = *signing_key_public(a);
    struct statement s;
    sign_lease((const struct signing_key *const[]){a}, 1, &arena, &s);
    uint8_t *bytes = malloc(s.envelope.len);
    for (size_t bit = 0; bit < 8 * s.envelope.len; bit++) {
        AUTO_ARENA(one, BUDGET);
        memcpy(bytes, s.envelope.data, s.envelope.len);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct statement changed;
        bool ok = statement_parse(BYTES(bytes, s.envelope.len), &one, &changed, &err) &&
                  statement_verify(&changed, STATEMENT_LEASE, &network, &public_key, 1, 1, &err);
        if (ok) {
            fail_msg("bit %zu changed, and still it verifies", bit);
        }
    }
    free(bytes);
    signing_key_free(a);
}

static void test_statement__operators_sign_one_after_the_other(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, BUDGET);
    struct signing_key *a = key_of(1), *b = key_of(2);
    struct hash keys[] = {*signing_key_public(a), *signing_key_public(b)};
    ProtobufCMessage *lease = lease_of(&arena), *another = lease_of(&arena);
    struct statement by_a, by_b, other, joined;
    assert_ok(
        statement_sign(STATEMENT_LEASE, lease, (const struct signing_key *const[]){a}, 1, &arena, &by_a, &err));
    assert_ok(
        statement_sign(STATEMENT_LEASE, lease, (const struct signing_key *const[]){b}, 1, &arena, &by_b, &err));
    assert_ok(
        statement_sign(STATEMENT_LEASE, another, (const struct signing_key *const[]){b}, 1, &arena, &other, &err));
    struct bytes envelope, again;
    assert_ok(statement_join(by_a.envelope, by_b.envelope, &arena, &envelope, &err));
    assert_ok(statement_join(by_b.envelope, envelope, &arena, &again, &err));
    assert_bytes_equal(envelope, again);
    assert_ok(statement_parse(envelope, &arena, &joined, &err));
    assert_ok(statement_verify(&joined, STATEMENT_LEASE, &network, keys, 2, 2, &err));
    assert_err(ERR_INVALID, statement_join(by_a.envelope, other.envelope, &arena, &envelope, &err));
    signing_key_free(a);
    signing_key_free(b);
}

static void test_statement__a_message_that_breaks_a_rule_is_not_signed(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, BUDGET);
    struct signing_key *a = key_of(1);
    const struct signing_key *const keys[] = {a, a};
    struct statement s;
    Chartmesh__V1__Lease *lease = (void *)lease_of(&arena);
    lease->incarnation = 0;
    assert_err(ERR_INVALID, statement_sign(STATEMENT_LEASE, &lease->base, keys, 1, &arena, &s, &err));
    assert_string_equal(err.field, "incarnation");
    lease->incarnation = 1;
    assert_ok(statement_sign(STATEMENT_LEASE, &lease->base, keys, 1, &arena, &s, &err));
    assert_err(ERR_INVALID, statement_sign(STATEMENT_LEASE, &lease->base, keys, 2, &arena, &s, &err));
    assert_err(ERR_INVALID, statement_sign(STATEMENT_LEASE, &lease->base, keys, 0, &arena, &s, &err));
    assert_err(ERR_INTERNAL, statement_sign(STATEMENT_NOTICE, &lease->base, keys, 1, &arena, &s, &err));
    signing_key_free(a);
}

/* Budget 0, 1, 2, …: each failure is ERR_TOO_MUCH, then it succeeds. */
static void test_canonical__memory_runs_out_at_every_place(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, BUDGET);
    struct signing_key *a = key_of(1);
    struct statement s, parsed;
    sign_lease((const struct signing_key *const[]){a}, 1, &arena, &s);
    size_t refusals = 0;
    for (size_t budget = 0;; budget++) {
        AUTO_ARENA(small, budget);
        if (statement_parse(s.envelope, &small, &parsed, &err)) {
            break;
        }
        assert_int_equal(err.code, ERR_TOO_MUCH);
        refusals++;
    }
    print_message("%zu refusals, then success\n", refusals);
    assert_true(refusals > 0);
    signing_key_free(a);
}

static void test_canonical__pack_sorts_sets_and_refuses_duplicates(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, BUDGET);
    Chartmesh__V1__Coding first = CHARTMESH__V1__CODING__INIT, second = CHARTMESH__V1__CODING__INIT;
    first.system = (char *)"a";
    first.code = (char *)"z";
    second.system = (char *)"b";
    second.code = (char *)"y";
    Chartmesh__V1__Coding *codes[] = {&second, &first}, *twice[] = {&first, &first};
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    labels.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    labels.n_sensitivity = 2;
    labels.sensitivity = codes;
    struct bytes packed;
    assert_ok(canonical_pack(&labels.base, &arena, &packed, &err));
    assert_ptr_equal(codes[0], &first);
    labels.sensitivity = twice;
    assert_err(ERR_INVALID, canonical_pack(&labels.base, &arena, &packed, &err));
    assert_string_equal(err.field, "sensitivity");
}

/* -- the rules against the descriptors */

static size_t depth_of(const struct message_rule *rule)
{
    size_t deepest = 0;
    for (size_t i = 0; i < rule->count; i++) {
        size_t below = rule->fields[i].sub ? depth_of(rule->fields[i].sub) : 0;
        deepest = MAX(deepest, below);
    }
    return deepest + 1;
}

static void test_rules__fit_the_descriptors(void **state)
{
    (void)state;
    size_t count;
    const struct message_rule *const *rules = rules_all(&count);
    for (size_t i = 0; i < count; i++) {
        const struct message_rule *rule = rules[i];
        assert_int_equal(rule->count, rule->type->n_fields);
        assert_true(depth_of(rule) <= 8);
        for (size_t j = 0; j < rule->count; j++) {
            const ProtobufCFieldDescriptor *field = &rule->type->fields[j];
            assert_int_equal(field->id, j + 1);
            bool message = field->type == PROTOBUF_C_TYPE_MESSAGE;
            if (message != (rule->fields[j].sub != NULL) ||
                (message && rule->fields[j].sub->type != field->descriptor)) {
                fail_msg("%s.%s: its rule is of another message", rule->type->short_name, field->name);
            }
            bool sized = field->type == PROTOBUF_C_TYPE_BYTES || field->type == PROTOBUF_C_TYPE_STRING;
            assert_true(sized || (!rule->fields[j].exact && !rule->fields[j].max));
            if (field->type == PROTOBUF_C_TYPE_ENUM) {
                const ProtobufCEnumDescriptor *values = field->descriptor;
                assert_int_equal(values->values[values->n_values - 1].value, values->n_values - 1);
            }
        }
    }
    for (int kind = 1; kind < STATEMENT_KINDS; kind++) {
        assert_non_null(rule_of(statement_descriptor((enum statement_kind)kind)));
    }
    print_message("%zu messages\n", count);
}

/* -- entries */

static void test_entry__every_length_is_padded_and_read_back(void **state)
{
    (void)state;
    struct err err;
    for (size_t len = 0; len < 600; len++) {
        AUTO_ARENA(arena, BUDGET);
        Chartmesh__V1__Entry entry = CHARTMESH__V1__ENTRY__INIT, *back;
        entry.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_ADMIN;
        entry.hlc = 1;
        char reason[601] = {0};
        memset(reason, 'x', len);
        entry.reason = reason;
        struct bytes packed;
        assert_ok(entry_pack(&entry, &arena, &packed, &err));
        assert_int_equal(packed.len % ENTRY_UNIT, 0);
        assert_ok(entry_unpack(packed, &arena, &back, &err));
        assert_int_equal(strlen(back->reason), len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statement__signed_is_verified),
        cmocka_unit_test(test_I37_statement__verifies_as_no_other_kind_or_network),
        cmocka_unit_test(test_I36_statement__any_bit_changed_is_refused),
        cmocka_unit_test(test_statement__operators_sign_one_after_the_other),
        cmocka_unit_test(test_statement__a_message_that_breaks_a_rule_is_not_signed),
        cmocka_unit_test(test_canonical__memory_runs_out_at_every_place),
        cmocka_unit_test(test_canonical__pack_sorts_sets_and_refuses_duplicates),
        cmocka_unit_test(test_rules__fit_the_descriptors),
        cmocka_unit_test(test_entry__every_length_is_padded_and_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
