#include "node/server/callers.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/crypto/x509.h"
#include "tests/lib/test.h"
#include "tests/lib/world_sim.h"

#define EMR "spiffe://n/f.example/app/emr"
#define REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name

enum { HOUR = 3600 * 1000 };

struct fixture {
    struct world_sim *sim;
    struct world *world;
    struct callers *callers;
    struct arena arena;
};

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->sim = world_sim_new(1);
    f->world = world_sim_world(f->sim, 0);
    f->callers = callers_new(f->world);
    arena_init(&f->arena, 4 << 20);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    callers_free(f->callers);
    world_close(f->world);
    world_sim_free(f->sim);
    arena_done(&f->arena);
    free(f);
    return 0;
}

/* A certificate that holds for so long from now, known to the callers under *digest. */
static struct cert_facts present(struct fixture *f, int64_t hours, struct hash *digest)
{
    struct cert_pair pair;
    struct cert_facts facts;
    struct err err;
    int64_t now = (int64_t)world_now_ms(f->world);
    const struct cert_request request = {.common_name = "emr",
                                         .spiffe_id = EMR,
                                         .client = true,
                                         .not_before_ms = now - now % 1000,
                                         .not_after_ms = now - now % 1000 + hours * HOUR};
    assert_ok(cert_make(&request, NULL, &f->arena, &pair, &err));
    assert_ok(cert_read(bytes_str(pair.certificate), &facts, &err));
    assert_true(callers_leaf(f->callers, bytes_str(pair.certificate), digest));
    assert_true(hash_equal(digest, &facts.digest));
    return facts;
}

static void rule(struct fixture *f, const char *list, uint32_t hours)
{
    struct arena arena;
    struct deny *deny = NULL;
    struct err err;
    arena_init(&arena, 1 << 20);
    assert_ok(deny_parse(bytes_str(list), "deny", &arena, &deny, &err));
    callers_rule(f->callers, arena, deny, hours);
}

static void refused(struct fixture *f, const char *spiffe, const struct hash *digest, const char *says)
{
    struct err err;
    assert_err(ERR_DENIED, callers_welcome(f->callers, spiffe, digest, &err));
    assert_int_equal(err.reason, REASON(CERTIFICATE_REFUSED));
    if (!strstr(err.text, says)) {
        fail_msg("'%s' does not say '%s'", err.text, says);
    }
}

static void test_callers__the_deny_list_names_ids_serials_and_keys(void **state)
{
    struct fixture *f = *state;
    struct hash first, second;
    struct err err;
    char hex[2 * HASH_LEN + 1], list[200];
    struct cert_facts facts = present(f, 1, &first);
    (void)present(f, 1, &second);
    rule(f, "", 10);
    assert_ok(callers_welcome(f->callers, EMR, &first, &err));

    rule(f, "id " EMR "\n", 10);
    refused(f, EMR, &first, "SPIFFE id");
    refused(f, EMR, &second, "SPIFFE id");
    assert_ok(callers_welcome(f->callers, EMR "2", &second, &err));

    bytes_hex(BYTES(facts.serial, facts.serial_len), hex);
    snprintf(list, sizeof list, "serial %s\n", hex);
    rule(f, list, 10);
    refused(f, EMR, &first, "serial number");
    assert_ok(callers_welcome(f->callers, EMR, &second, &err));

    bytes_hex(BYTES_OF(facts.pin), hex);
    snprintf(list, sizeof list, "pin %s\n", hex);
    rule(f, list, 10);
    refused(f, EMR, &first, "key");
    assert_ok(callers_welcome(f->callers, EMR, &second, &err));
    assert_err(ERR_DENIED, callers_peer_welcome(f->callers, &facts.pin, &err));
    assert_int_equal(callers_denied(f->callers), 1);

    rule(f, "", 10);
    assert_ok(callers_welcome(f->callers, EMR, &first, &err));
    assert_ok(callers_peer_welcome(f->callers, &facts.pin, &err));
}

static void test_callers__a_certificate_ends_while_connected(void **state)
{
    struct fixture *f = *state;
    struct hash digest;
    struct err err;
    (void)present(f, 1, &digest);
    rule(f, "", 10);
    world_sim_advance(f->sim, HOUR - 2000);
    assert_ok(callers_welcome(f->callers, EMR, &digest, &err));
    world_sim_advance(f->sim, 2001);
    refused(f, EMR, &digest, "expired");
}

static void test_callers__a_longer_life_than_is_accepted_is_refused(void **state)
{
    struct fixture *f = *state;
    struct hash ten, eleven;
    struct err err;
    (void)present(f, 10, &ten);
    (void)present(f, 11, &eleven);
    rule(f, "", 10);
    assert_ok(callers_welcome(f->callers, EMR, &ten, &err));
    refused(f, EMR, &eleven, "longer than the 10 hours");
    rule(f, "", 11);
    assert_ok(callers_welcome(f->callers, EMR, &eleven, &err));
}

static void test_callers__what_was_never_shown_is_nobody(void **state)
{
    struct fixture *f = *state;
    struct hash digest = {{1}};
    struct err err;
    assert_err(ERR_UNAUTHENTICATED, callers_welcome(f->callers, EMR, &digest, &err));
    assert_false(callers_leaf(f->callers, BYTES_LIT("-----BEGIN CERTIFICATE-----\n"), &digest));
}

int main(void)
{
#define RULE(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        RULE(test_callers__the_deny_list_names_ids_serials_and_keys),
        RULE(test_callers__a_certificate_ends_while_connected),
        RULE(test_callers__a_longer_life_than_is_accepted_is_refused),
        RULE(test_callers__what_was_never_shown_is_nobody),
    };
    return cmocka_run_group_tests_name("callers", tests, NULL, NULL);
}
