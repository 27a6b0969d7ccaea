/* What `chartmesh node init` writes is what the daemon takes. */
#include <stdio.h>
#include <stdlib.h>

#include "client/setup/facility.h"
#include "client/setup/network.h"
#include "node/config/config.h"
#include "node/keys/keys.h"
#include "proto/statement/trust.h"
#include "tests/lib/test.h"

static const int64_t NOW = INT64_C(1750000000000);

struct place {
    char network[96], facility[96], trust[112], config[128];
    struct id id;
};

static int begin(void **state)
{
    struct err err;
    struct hash network;
    const char *tmp = getenv("TEST_TMPDIR");
    struct place *p = calloc(1, sizeof *p);
    char dir[64];
    snprintf(dir, sizeof dir, "%.40s/node-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(p->network, sizeof p->network, "%s/ops", dir);
    snprintf(p->facility, sizeof p->facility, "%s/a", dir);
    snprintf(p->trust, sizeof p->trust, "%s/trust", p->network);
    snprintf(p->config, sizeof p->config, "%s/chartmeshd.conf", p->facility);
    const struct network_options founding = {"test", 1, 1};
    const struct facility_options facility = {.trust = p->trust,
                                              .domain = "a.example",
                                              .name = "A",
                                              .client_listen = "127.0.0.1:0",
                                              .peer_listen = "127.0.0.1:7444"};
    assert_ok(network_found(p->network, &founding, NOW, &network, &err));
    assert_ok(facility_init(p->facility, &facility, NOW, &p->id, &err));
    *state = p;
    return 0;
}

static int end(void **state)
{
    free(*state);
    return 0;
}

static void test_setup__the_daemon_takes_the_configuration(void **state)
{
    struct place *p = *state;
    struct err err;
    struct config *config;
    AUTO_ARENA(arena, 4 << 20);
    assert_ok(config_load(p->config, &arena, &config, &err));
    assert_ok(config_check(config, &err));
    assert_true(id_equal(&config->facility, &p->id));
    assert_string_equal(config->domain, "a.example");
}

static void test_setup__every_kind_of_certificate_may_claim_what_its_profile_says(void **state)
{
    struct place *p = *state;
    struct err err;
    struct config *config;
    AUTO_ARENA(arena, 4 << 20);
    assert_ok(config_load(p->config, &arena, &config, &err));
    for (unsigned kind = 0; kind < CLIENT_PATIENT; kind++) {
        const struct client_options options = {.kind = kind, .name = "x"};
        struct profile profile;
        const char *path;
        char pattern[64];
        assert_ok(facility_issue(p->facility, &options, NOW, &arena, &path, &err));
        assert_ok(profile_load(path, &arena, &profile, &err));
        snprintf(pattern, sizeof pattern, "%s/x", client_kind_name(kind));
        const struct config_principal *may = config_principal_find(config, pattern);
        assert_non_null(may);
        assert_true(config_lists(&may->roles, profile.role));
        assert_true(config_lists(&may->purposes, profile.purpose));
        assert_non_null(config_rule_find(config, profile.role, profile.purpose));
    }
}

static void test_setup__the_daemon_reads_the_keys_that_the_membership_names(void **state)
{
    struct place *p = *state;
    struct err err;
    struct config *config;
    struct keys_secrets secrets;
    struct trust *trust;
    AUTO_ARENA(arena, 4 << 20);
    char membership[128];
    snprintf(membership, sizeof membership, "%s/membership", p->facility);
    const char *files[] = {membership};
    assert_ok(network_add(p->network, files, 1, NOW + 1, &err));
    assert_ok(facility_trust(p->facility, p->trust, &err));
    assert_ok(config_load(p->config, &arena, &config, &err));
    assert_ok(keys_read_files(config->root_key_file, config->keys_folder, &secrets, &err));
    assert_ok(trust_load(config->trust_file, &trust, &err));
    const struct member *member = trust_member(trust, &config->facility);
    assert_non_null(member);
    const struct hash *seeds[] = {&secrets.statement, &secrets.checkpoint, &secrets.witness};
    const struct hash *named[] = {&member->statement_key, &member->checkpoint_key, &member->witness_key};
    for (size_t i = 0; i < COUNT(seeds); i++) {
        struct signing_key *key;
        assert_ok(signing_key_new(seeds[i], &key, &err));
        assert_true(hash_equal(signing_key_public(key), named[i]));
        signing_key_free(key);
    }
    trust_free(trust);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_setup__the_daemon_takes_the_configuration, begin, end),
        cmocka_unit_test_setup_teardown(test_setup__every_kind_of_certificate_may_claim_what_its_profile_says,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_setup__the_daemon_reads_the_keys_that_the_membership_names, begin,
                                        end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
