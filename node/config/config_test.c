#include "node/config/compare.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/lib/test.h"

#define HEAD                                                                                                      \
    "network = 6f0b5c1e2a7d4e8f9a3b4c5d6e7f8091\n"                                                                \
    "facility = a1b2c3d4e5f60718293a4b5c6d7e8f90\n"                                                               \
    "domain = st-anna.example\n"                                                                                  \
    "data_folder = data\n"                                                                                        \
    "trust_file = /etc/trust\n"                                                                                   \
    "root_key_file = root.key\n"                                                                                  \
    "keys_folder = keys\n"
#define CLIENT "client { listen = 127.0.0.1:7443 certificate = c.crt key = c.key ca = ca.crt }\n"
#define PEER "peer { listen = 127.0.0.1:7444 certificate = p.crt key = p.key }\n"
#define LEAST HEAD CLIENT PEER
#define DOCTOR "role 'sys|doctor' { purpose TREAT { needs = role may = {\"Records.Put\"} } }\n"

static int setup(void **state)
{
    struct arena *arena = malloc(sizeof *arena);
    arena_init(arena, 4 << 20);
    *state = arena;
    return 0;
}

static int teardown(void **state)
{
    arena_done(*state);
    free(*state);
    return 0;
}

static struct config *parse(struct arena *arena, const char *text)
{
    struct err err;
    struct config *config = NULL;
    assert_ok(config_parse(bytes_str(text), "/etc/chartmesh/node.conf", arena, &config, &err));
    return config;
}

/* `text` is refused, and the error has `says` in it. */
static void refuse(struct arena *arena, const char *text, const char *says)
{
    struct err err;
    struct config *config = NULL;
    assert_err(ERR_INVALID, config_parse(bytes_str(text), "node.conf", arena, &config, &err));
    if (!strstr(err.text, says)) {
        fail_msg("'%s' does not say '%s'", err.text, says);
    }
    assert_null(config);
}

static void test_config__the_least_gives_the_defaults(void **state)
{
    struct config *c = parse(*state, LEAST);
    assert_int_equal(c->network.bytes[0], 0x6f);
    assert_int_equal(c->facility.bytes[15], 0x90);
    assert_string_equal(c->domain, "st-anna.example");
    assert_string_equal(c->data_folder, "/etc/chartmesh/data");
    assert_string_equal(c->trust_file, "/etc/trust");
    assert_string_equal(c->client_ca, "/etc/chartmesh/ca.crt");
    assert_string_equal(c->peer_listen, "127.0.0.1:7444");
    assert_null(c->log_file);
    assert_int_equal(c->log_level, CONFIG_LOG_INFO);
    assert_int_equal(c->max_age_normal_s, 86400);
    assert_int_equal(c->max_age_restricted_s, 3600);
    assert_int_equal(c->max_age_sensitive_s, 600);
    assert_int_equal(c->store_memory, 24 << 20);
    assert_int_equal(c->request_memory, 16 << 20);
    assert_int_equal(c->workers, 32);
    assert_true(c->cosign);
    assert_int_equal(c->rule_count, 0);
    assert_int_equal(c->principal_count, 0);
    assert_int_equal(c->clinical_roles.count, 0);
}

static void test_config__the_example_is_right(void **state)
{
    struct err err;
    struct config *c = NULL;
    assert_ok(config_load("docs/operating/chartmeshd.conf", *state, &c, &err));
    assert_int_equal(c->rule_count, 4);
    assert_int_equal(c->principal_count, 2);
    assert_int_equal(c->clinical_roles.count, 2);
    assert_string_equal(c->root_key_file, "docs/operating/keys/root.key");
    const char *doctor = "urn:oid:2.16.840.1.113883.6.96|112247003";
    const struct config_rule *rule = config_rule_find(c, doctor, "TREAT");
    assert_non_null(rule);
    assert_int_equal(rule->needs, CONFIG_NEEDS_ROLE);
    assert_true(config_lists(&rule->may, "Records.Merge"));
    assert_false(config_lists(&rule->may, "Consents.SetPolicy"));
    assert_null(config_rule_find(c, doctor, "HRESCH"));
    assert_null(config_rule_find(c, "sys|nobody", "TREAT"));
}

static void test_config__the_first_principal_that_fits_decides(void **state)
{
    struct config *c = parse(*state, LEAST DOCTOR "principal app/desk { roles = {'sys|doctor'} }\n"
                                                  "principal 'app/*' { roles = {'*'} purposes = {TREAT} }\n");
    const struct config_principal *desk = config_principal_find(c, "app/desk");
    assert_non_null(desk);
    assert_int_equal(desk->purposes.count, 0);
    assert_false(config_lists(&desk->purposes, "TREAT"));
    const struct config_principal *other = config_principal_find(c, "app/desk2");
    assert_non_null(other);
    assert_true(config_lists(&other->roles, "sys|anything"));
    assert_false(config_lists(&other->purposes, "HRESCH"));
    assert_null(config_principal_find(c, "admin/root"));
    assert_null(config_principal_find(c, "app"));
}

static void test_config__quotas_are_read_and_the_first_that_fits_decides(void **state)
{
    struct config *c = parse(*state, LEAST "quota app/bulk { calls_per_s = 5 kib_per_s = 100 }\n"
                                           "quota 'app/*' { calls_at_once = 7 documents_per_day = 9 }\n");
    const struct config_quota *bulk = config_quota_find(c, "app/bulk");
    assert_non_null(bulk);
    assert_int_equal(bulk->calls_per_s, 5);
    assert_int_equal(bulk->kib_per_s, 100);
    assert_int_equal(bulk->calls_at_once, 0);
    const struct config_quota *other = config_quota_find(c, "app/emr");
    assert_non_null(other);
    assert_int_equal(other->calls_at_once, 7);
    assert_int_equal(other->documents_per_day, 9);
    assert_null(config_quota_find(c, "admin/it"));
    refuse(*state, LEAST "quota 'app/*' { calls_per_s = 1000001 }\n", "calls_per_s must be 0 to 1000000");
    refuse(*state, LEAST "quota emr { }\n", "quota must be app/");
    refuse(*state, LEAST "quota 'app/*' { writes = 1 }\n", "writes");
}

static void test_config__metrics_stay_on_the_loopback_unless_told(void **state)
{
    assert_null(parse(*state, LEAST)->metrics_listen);
    assert_string_equal(parse(*state, LEAST "metrics { listen = 127.0.0.1:9464 }\n")->metrics_listen,
                        "127.0.0.1:9464");
    assert_non_null(parse(*state, LEAST "metrics { listen = '[::1]:9464' }\n")->metrics_listen);
    refuse(*state, LEAST "metrics { listen = 0.0.0.0:9464 }\n", "beyond_loopback = on");
    refuse(*state, LEAST "metrics { listen = 127x:9464 }\n", "beyond_loopback = on");
    assert_true(
        parse(*state, LEAST "metrics { listen = 0.0.0.0:9464 beyond_loopback = on }\n")->metrics_beyond_loopback);
}

static void test_config__callers_certificates_have_a_bound_and_may_be_denied(void **state)
{
    struct config *c = parse(*state, LEAST);
    assert_int_equal(c->certificate_hours, 2400);
    assert_null(c->deny_file);
    c = parse(*state, HEAD PEER "client { listen = 127.0.0.1:7443 certificate = c.crt key = c.key ca = ca.crt\n"
                                "  deny = denied certificate_hours = 24 }\n");
    assert_int_equal(c->certificate_hours, 24);
    assert_string_equal(c->deny_file, "/etc/chartmesh/denied");
}

/* Whether exactly these keys changed, "key" or "key!" for one that needs a restart. */
static void assert_changes(struct arena *arena, const char *before, const char *after, const char *expected)
{
    struct config_change changes[CONFIG_CHANGES_MAX];
    struct config *a = parse(arena, before), *b = parse(arena, after);
    char text[400] = "";
    size_t count = config_compare(a, b, changes);
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(text);
        snprintf(text + len, sizeof text - len, "%s%s ", changes[i].key, changes[i].restart ? "!" : "");
    }
    assert_string_equal(text, expected);
    config_keep(b, a);
    count = config_compare(a, b, changes);
    for (size_t i = 0; i < count; i++) {
        assert_false(changes[i].restart);
    }
}

static void test_config__what_changed_is_named_and_what_needs_a_restart_stays(void **state)
{
    assert_changes(*state, LEAST DOCTOR, LEAST DOCTOR, "");
    assert_changes(*state, LEAST, LEAST "log { level = debug file = x.log }\n", "log.file! log.level ");
    assert_changes(*state, LEAST "limits { workers = 3 drain_s = 1 }\n",
                   LEAST "limits { workers = 4 drain_s = 2 store_memory_mib = 64 }\n",
                   "limits.workers! limits.store_memory_mib! limits.drain_s ");
    assert_changes(*state, LEAST, LEAST DOCTOR "roles { clinical = {'sys|doctor'} }\n", "role roles ");
    assert_changes(*state, LEAST DOCTOR "principal 'app/*' { roles = {'*'} }\n",
                   LEAST DOCTOR "principal 'app/*' { roles = {'sys|doctor'} }\n", "principal ");
    assert_changes(*state, LEAST "quota 'app/*' { calls_per_s = 1 }\n",
                   LEAST "quota 'app/*' { calls_per_s = 2 }\n", "quota ");
    assert_changes(*state, LEAST, LEAST "dial lab.example { address = '127.0.0.1:1' }\n", "dial! ");
    assert_changes(*state, LEAST, LEAST "metrics { listen = 127.0.0.1:1 }\n", "metrics.listen! ");
}

static void test_config__dials_and_numbers_are_read(void **state)
{
    struct config *c = parse(*state, LEAST "dial clinic.example { address = '127.0.0.1:9000' }\n"
                                           "dial lab.example { address = '[::1]:9001' }\n"
                                           "limits { workers = 3 store_memory_mib = 64 }\n"
                                           "commit { linger_us = 0 cosign = off map_epoch_s = 1 }\n"
                                           "log { level = debug file = /var/log/c.log }\n"
                                           "disclosure { max_days = 0 }\n");
    assert_int_equal(c->peer_address_count, 2);
    assert_string_equal(c->peer_addresses[1].domain, "lab.example");
    assert_string_equal(c->peer_addresses[1].address, "[::1]:9001");
    assert_int_equal(c->workers, 3);
    assert_int_equal(c->store_memory, 64 << 20);
    assert_int_equal(c->linger_us, 0);
    assert_int_equal(c->map_epoch_s, 1);
    assert_int_equal(c->max_disclosure_days, 0);
    assert_false(c->cosign);
    assert_int_equal(c->log_level, CONFIG_LOG_DEBUG);
    assert_string_equal(c->log_file, "/var/log/c.log");
}

static void test_config__unknown_keys_are_refused_with_their_line(void **state)
{
    refuse(*state, LEAST "colour = blue\n", "node.conf:10: no such option 'colour'");
    refuse(*state, LEAST "\nlimits {\n  workers = 3\n  wrokers = 3\n}\n",
           "node.conf:13: no such option 'wrokers'");
    refuse(*state, LEAST "role 'sys|x' {\n purpose TREAT {\n needs = role\n colour = 1 } }", "node.conf:13:");
    refuse(*state, LEAST "include('/etc/passwd')\n", "node.conf:10:");
}

static void test_config__a_key_given_twice_is_refused(void **state)
{
    refuse(*state, LEAST "domain = other.example\n", "node.conf:10: domain is given twice");
    refuse(*state, LEAST "limits { workers = 3 }\nlimits { workers = 4 }\n", ":11: workers is given twice");
    refuse(*state, LEAST DOCTOR "roles { clinical = {'sys|doctor'} clinical = {'sys|doctor'} }\n", "given twice");
    refuse(*state, LEAST "principal app/a { }\nprincipal app/a { }\n", "duplicate title");
    refuse(*state, LEAST DOCTOR DOCTOR, "duplicate title");
}

static void test_config__every_value_has_limits(void **state)
{
    refuse(*state, LEAST "limits { workers = 0 }", "node.conf:10: workers must be 1 to 256, not 0");
    refuse(*state, LEAST "limits { workers = many }", "node.conf:10:");
    refuse(*state, LEAST "limits { workers = -1 }", "must be 1 to 256");
    refuse(*state, LEAST "limits { request_memory_mib = 99999999999999999999 }", "node.conf:10:");
    refuse(*state, LEAST "commit { linger_us = 2001 }", "must be 0 to 2000");
    refuse(*state, LEAST "commit { map_epoch_entries = 5000 }", "must be 1 to 4096");
    refuse(*state, LEAST "commit { cosign = maybe }", "cosign must be on or off");
    refuse(*state, LEAST "log { level = loud }", "debug, info, warn or error");
    refuse(*state, LEAST "dial clinic.example { address = nowhere }", "host:port");
    refuse(*state, LEAST "dial clinic.example { address = 'a:0' }", "host:port");
    refuse(*state, LEAST "dial clinic.example { address = 'a:65536' }", "host:port");
    refuse(*state, LEAST "dial Clinic { address = 'a:1' }", "node.conf:10: dial must be a lower-case domain");
    refuse(*state, LEAST "dial clinic.example { }", "address is missing");
    refuse(*state, LEAST "role doctor { }", "role must be \"system|code\"");
    refuse(*state, LEAST "role 'sys|a' { purpose treat { needs = role } }", "ActReason");
    refuse(*state, LEAST "role 'sys|a' { purpose TREAT { } }", "needs is missing");
    refuse(*state, LEAST "role 'sys|a' { purpose TREAT { needs = luck } }", "role or assigned");
    refuse(*state, LEAST "role 'sys|a' { purpose TREAT { needs = role may = {'Records.Get'} } }", "writing RPC");
    refuse(*state, LEAST "principal desk { }", "principal must be app/");
    refuse(*state, LEAST "principal 'app/*desk' { }", "principal must be app/");
    refuse(*state, LEAST "principal 'peer/x' { }", "principal must be app/");
}

static void test_config__what_is_needed_must_be_there(void **state)
{
    refuse(*state, CLIENT PEER, "network is missing");
    refuse(*state, HEAD PEER, "listen in section client is missing");
    refuse(*state, HEAD CLIENT "peer { listen = a:1 certificate = p.crt }", "key in section peer is missing");
    refuse(*state, "network = 00000000000000000000000000000000\n", "not all 0");
    refuse(*state, "network = 6f0b\n", "32 hex digits");
    refuse(*state, "domain = Anna.example\n", "lower-case");
    refuse(*state, "domain = -anna.example\n", "lower-case");
    refuse(*state, "domain = localhost\n", "lower-case");
    refuse(*state, "domain = anna..example\n", "lower-case");
    refuse(*state, "data_folder = ''\n", "a file name");
}

static void test_config__what_does_not_fit_together_is_refused(void **state)
{
    refuse(*state, LEAST DOCTOR "roles { clinical = {'sys|docter'} }", "no section role \"sys|docter\"");
    refuse(*state, LEAST DOCTOR "principal app/a { roles = {'sys|docter'} }", "no section role \"sys|docter\"");
    refuse(*state, LEAST DOCTOR "principal app/a { roles = {'*', 'sys|doctor'} }", "stands alone");
    refuse(*state, LEAST DOCTOR "principal app/a { purposes = {HRESCH} }", "no role has a purpose \"HRESCH\"");
    refuse(*state, LEAST DOCTOR "principal app/a { purposes = {TREAT, '*'} }", "\"*\" is not alone");
    refuse(*state, LEAST DOCTOR "roles { clinical = {'*'} }", "clinical must be");
    refuse(*state, LEAST "disclosure { max_age_sensitive_s = 7200 }", "must not grow");
    refuse(*state, HEAD CLIENT "peer { listen = 127.0.0.1:7443 certificate = p key = p }", "same address");
}

static void test_config__what_is_not_a_configuration_is_refused(void **state)
{
    struct err err;
    struct config *config = NULL;
    refuse(*state, "limits {", "node.conf:");
    refuse(*state, "= = =", "node.conf:1:");
    refuse(*state, "network = 'open", "node.conf:");
    refuse(*state, "network\n", "node.conf:");
    assert_err(ERR_INVALID, config_parse(BYTES_LIT("a\0b"), "node.conf", *state, &config, &err));
    assert_err(ERR_INVALID, config_parse(BYTES_LIT("\xff\xfe"), "node.conf", *state, &config, &err));
    static char large[(256 << 10) + 1];
    memset(large, '#', sizeof large);
    assert_err(ERR_TOO_MUCH, config_parse(BYTES(large, sizeof large), "node.conf", *state, &config, &err));
    assert_err(ERR_NOT_FOUND, config_load("no/such/file.conf", *state, &config, &err));
    for (size_t budget = 0;; budget += 256) {
        AUTO_ARENA(tight, budget);
        if (config_parse(BYTES_LIT(LEAST DOCTOR), "node.conf", &tight, &config, &err)) {
            break;
        }
        assert_int_equal(err.code, ERR_TOO_MUCH);
        assert_true(budget < 1 << 20);
    }
}

/* ---- The files it names ----------------------------------------------------------------------------------- */

static char folder[200];

static const char *in_folder(const char *name)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void make_file(const char *name, mode_t mode)
{
    FILE *file = fopen(in_folder(name), "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(chmod(in_folder(name), mode), 0);
}

static int remove_one(const char *path, const struct stat *found, int type, struct FTW *ftw)
{
    (void)found, (void)type, (void)ftw;
    return remove(path);
}

static struct config *make_all(struct arena *arena)
{
    struct err err;
    struct config *config = NULL;
    const char *base = getenv("TEST_TMPDIR");
    snprintf(folder, sizeof folder, "%s/config.XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(mkdir(in_folder("keys"), 0700), 0);
    const char *open[] = {"trust", "c.crt", "ca.crt", "p.crt"}, *secret[] = {"root.key", "c.key", "p.key"};
    for (size_t i = 0; i < COUNT(open); i++) {
        make_file(open[i], 0644);
    }
    for (size_t i = 0; i < COUNT(secret); i++) {
        make_file(secret[i], 0600);
    }
    assert_ok(config_parse(BYTES_LIT(LEAST), in_folder("node.conf"), arena, &config, &err));
    char *trust = NULL;
    assert_ok(arena_printf(arena, &trust, &err, "%s/trust", folder));
    config->trust_file = trust;
    assert_ok(config_check(config, &err));
    return config;
}

static void refuse_files(const struct config *config, const char *says)
{
    struct err err;
    assert_err(ERR_STATE, config_check(config, &err));
    if (!strstr(err.text, says)) {
        fail_msg("'%s' does not say '%s'", err.text, says);
    }
}

static void test_config__secrets_are_for_one_user_only(void **state)
{
    struct err err;
    struct config *c = make_all(*state);
    const char *secret[] = {"root.key", "c.key", "p.key"};
    for (size_t i = 0; i < COUNT(secret); i++) {
        assert_int_equal(chmod(in_folder(secret[i]), 0640), 0);
        refuse_files(c, "others may open it (chmod 600)");
        assert_int_equal(chmod(in_folder(secret[i]), 0600), 0);
    }
    assert_int_equal(chmod(in_folder("keys"), 0755), 0);
    refuse_files(c, "chmod 700");
    assert_int_equal(chmod(in_folder("keys"), 0700), 0);
    assert_int_equal(mkdir(in_folder("data"), 0755), 0);
    refuse_files(c, "data_folder");
    assert_int_equal(chmod(in_folder("data"), 0700), 0);
    assert_ok(config_check(c, &err));
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void test_config__files_that_are_named_must_be_there(void **state)
{
    struct err err;
    struct config *c = make_all(*state);
    const char *names[] = {"trust", "root.key", "c.crt", "c.key", "ca.crt", "p.crt", "p.key"};
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_int_equal(remove(in_folder(names[i])), 0);
        refuse_files(c, names[i]);
        assert_int_equal(mkdir(in_folder(names[i]), 0700), 0);
        refuse_files(c, "not a file");
        assert_int_equal(remove(in_folder(names[i])), 0);
        make_file(names[i], 0600);
        assert_ok(config_check(c, &err));
    }
    c->data_folder = "/no/such/folder/data";
    refuse_files(c, "can't be made");
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
#define RULE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        RULE(test_config__the_least_gives_the_defaults),
        RULE(test_config__the_example_is_right),
        RULE(test_config__the_first_principal_that_fits_decides),
        RULE(test_config__quotas_are_read_and_the_first_that_fits_decides),
        RULE(test_config__metrics_stay_on_the_loopback_unless_told),
        RULE(test_config__callers_certificates_have_a_bound_and_may_be_denied),
        RULE(test_config__what_changed_is_named_and_what_needs_a_restart_stays),
        RULE(test_config__dials_and_numbers_are_read),
        RULE(test_config__unknown_keys_are_refused_with_their_line),
        RULE(test_config__a_key_given_twice_is_refused),
        RULE(test_config__every_value_has_limits),
        RULE(test_config__what_is_needed_must_be_there),
        RULE(test_config__what_does_not_fit_together_is_refused),
        RULE(test_config__what_is_not_a_configuration_is_refused),
        RULE(test_config__secrets_are_for_one_user_only),
        RULE(test_config__files_that_are_named_must_be_there),
    };
#undef RULE
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
