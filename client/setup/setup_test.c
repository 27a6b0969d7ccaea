#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/setup/facility.h"
#include "client/setup/files.h"
#include "client/setup/network.h"
#include "proto/crypto/sign.h"
#include "proto/crypto/x509.h"
#include "proto/statement/trust.h"
#include "tests/lib/test.h"

static const int64_t NOW = INT64_C(1750000000000);

/* A folder for one test, and paths in it. */
struct place {
    struct arena arena;
    char dir[64];
};

static const char *at(struct place *p, const char *name)
{
    const char *path = NULL;
    struct err err;
    assert_ok(path_join(p->dir, name, &p->arena, &path, &err));
    return path;
}

static int begin(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    const char *tmp = getenv("TEST_TMPDIR");
    snprintf(p->dir, sizeof p->dir, "%.40s/setup-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    arena_init(&p->arena, 64 << 20);
    *state = p;
    return mkdtemp(p->dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *what, int type, struct FTW *walk)
{
    (void)what, (void)type, (void)walk;
    return remove(path);
}

static int end(void **state)
{
    struct place *p = *state;
    nftw(p->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    arena_done(&p->arena);
    free(p);
    return 0;
}

static void found(struct place *p, const char *name, unsigned operators, unsigned threshold)
{
    struct err err;
    struct hash id;
    const struct network_options options = {.name = "test", .operators = operators, .threshold = threshold};
    assert_ok(network_found(at(p, name), &options, NOW, &id, &err));
}

static bool init(struct place *p, const char *folder, const char *network, const char *domain, struct err *err)
{
    struct id id;
    char trust[32];
    snprintf(trust, sizeof trust, "%s/trust", network);
    const struct facility_options options = {.trust = at(p, trust),
                                             .domain = domain,
                                             .name = domain,
                                             .client_listen = "127.0.0.1:7443",
                                             .peer_listen = "127.0.0.1:7444"};
    return facility_init(at(p, folder), &options, NOW + 1000, &id, err);
}

static bool list(struct place *p, const char *network, const char *membership, struct err *err)
{
    const char *files[] = {at(p, membership)};
    return network_add(at(p, network), files, 1, NOW + 2000, err);
}

static unsigned mode_of(struct place *p, const char *name)
{
    struct stat found_;
    assert_int_equal(stat(at(p, name), &found_), 0);
    return found_.st_mode & 0777;
}

/* -- profiles */

static void test_profile__keys_and_files_from_its_folder(void **state)
{
    struct place *p = *state;
    struct err err;
    struct profile profile;
    assert_ok(profile_parse(
        BYTES_LIT("# a comment\n target = h:1\nkey=client.key\nca = /etc/ca.crt\r\n\nuser = Dr. Ö = x"),
        "some/where/profile", &p->arena, &profile, &err));
    assert_string_equal(profile.target, "h:1");
    assert_string_equal(profile.key, "some/where/client.key");
    assert_string_equal(profile.ca, "/etc/ca.crt");
    assert_string_equal(profile.user, "Dr. Ö = x");
    assert_null(profile.role);
}

static void test_profile__mistakes_are_refused_with_their_line(void **state)
{
    struct place *p = *state;
    struct err err;
    struct profile profile;
    const char *const wrong[] = {"\ntarget", "\ncolour = red", "\ntarget =", "target = a:1\ntarget = b:2",
                                 "\nuser = \xff"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_err(ERR_INVALID, profile_parse(bytes_str(wrong[i]), "p", &p->arena, &profile, &err));
        assert_non_null(strstr(err.text, "p:2: "));
    }
}

static void test_profile__what_is_written_reads_back(void **state)
{
    struct place *p = *state;
    struct err err;
    struct profile out = {.target = "h:1", .user = "u", .role = "urn:x|y", .audit_key = "/a.key"}, in;
    AUTO_BUILDER(text, 4096);
    assert_ok(profile_text(&out, &text, &err));
    assert_ok(profile_parse(builder_view(&text), "p", &p->arena, &in, &err));
    assert_string_equal(in.role, "urn:x|y");
    assert_string_equal(in.audit_key, "/a.key");
    out.user = "two\nlines";
    builder_reset(&text);
    assert_err(ERR_INVALID, profile_text(&out, &text, &err));
}

/* -- networks */

static void test_network__founding_makes_keys_trust_and_an_empty_roster(void **state)
{
    struct place *p = *state;
    struct err err;
    struct trust *trust = NULL;
    struct bytes id;
    found(p, "ops", 3, 2);
    assert_int_equal(mode_of(p, "ops"), 0700);
    assert_int_equal(mode_of(p, "ops/operators"), 0700);
    assert_int_equal(mode_of(p, "ops/operators/3.key"), 0600);
    assert_ok(trust_load(at(p, "ops/trust"), &trust, &err));
    assert_int_equal(trust_network_version(trust), 1);
    assert_int_equal(trust_roster_version(trust), 1);
    assert_int_equal(trust_newest_network(trust, NULL)->threshold, 2);
    assert_ok(file_read(at(p, "ops/network.id"), 100, &p->arena, &id, &err));
    assert_bytes_equal(BYTES(id.data, 64), bytes_str(hex_of(BYTES_OF(*trust_network_id(trust)), &p->arena)));
    trust_free(trust);
}

static void test_network__a_wrong_threshold_or_a_folder_in_use_is_refused(void **state)
{
    struct place *p = *state;
    struct err err;
    struct hash id;
    const struct network_options wrong[] = {{"n", 0, 0}, {"n", 2, 3}, {"n", 2, 0}, {"n", 17, 1}, {"", 1, 1}};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_err(ERR_INVALID, network_found(at(p, "no"), &wrong[i], NOW, &id, &err));
        assert_int_not_equal(access(at(p, "no"), F_OK), 0);
    }
    const struct network_options fine = {"n", 1, 1};
    found(p, "ops", 1, 1);
    assert_err(ERR_EXISTS, network_found(at(p, "ops"), &fine, NOW, &id, &err));
}

static void test_network__members_are_listed_and_taken_off(void **state)
{
    struct place *p = *state;
    struct err err;
    struct trust *trust = NULL;
    found(p, "ops", 2, 2);
    assert_ok(init(p, "a", "ops", "a.example", &err));
    assert_ok(init(p, "b", "ops", "b.example", &err));
    const char *files[] = {at(p, "a/membership"), at(p, "b/membership")};
    assert_ok(network_add(at(p, "ops"), files, 2, NOW + 2000, &err));
    assert_ok(network_remove(at(p, "ops"), "a.example", NOW + 3000, &err));
    assert_err(ERR_NOT_FOUND, network_remove(at(p, "ops"), "a.example", NOW + 3000, &err));
    assert_ok(trust_load(at(p, "ops/trust"), &trust, &err));
    assert_int_equal(trust_roster_version(trust), 3);
    assert_null(trust_member_by_domain(trust, "a.example"));
    assert_non_null(trust_member_by_domain(trust, "b.example"));
    assert_true(trust_member_by_domain(trust, "b.example")->active);
    trust_free(trust);
}

static void test_network__a_foreign_membership_is_refused_and_changes_nothing(void **state)
{
    struct place *p = *state;
    struct err err;
    struct bytes before, after;
    found(p, "ops", 1, 1);
    found(p, "others", 1, 1);
    assert_ok(init(p, "a", "others", "a.example", &err));
    assert_ok(file_read(at(p, "ops/trust"), 1 << 20, &p->arena, &before, &err));
    assert_err(ERR_INVALID, list(p, "ops", "a/membership", &err));
    assert_err(ERR_INVALID, list(p, "ops", "ops/trust", &err));
    assert_ok(file_read(at(p, "ops/trust"), 1 << 20, &p->arena, &after, &err));
    assert_bytes_equal(before, after);
}

static void test_network__a_changed_membership_is_refused(void **state)
{
    struct place *p = *state;
    struct err err;
    struct bytes file;
    found(p, "ops", 1, 1);
    assert_ok(init(p, "a", "ops", "a.example", &err));
    assert_ok(file_read(at(p, "a/membership"), 1 << 20, &p->arena, &file, &err));
    for (size_t i = 0; i < file.len; i += 37) {
        uint8_t *byte = (uint8_t *)(uintptr_t)file.data + i;
        *byte ^= 1;
        assert_ok(file_replace(at(p, "changed"), file, 0600, &err));
        assert_false(list(p, "ops", "changed", &err));
        *byte ^= 1;
    }
    assert_ok(list(p, "ops", "a/membership", &err));
}

static void test_network__a_domain_or_membership_twice_is_refused(void **state)
{
    struct place *p = *state;
    struct err err;
    found(p, "ops", 1, 1);
    assert_ok(init(p, "a", "ops", "a.example", &err));
    assert_ok(init(p, "twin", "ops", "a.example", &err));
    assert_ok(list(p, "ops", "a/membership", &err));
    assert_err(ERR_INVALID, list(p, "ops", "twin/membership", &err));
    assert_err(ERR_EXISTS, list(p, "ops", "a/membership", &err));
    assert_err(ERR_INVALID, init(p, "late", "ops", "a.example", &err));
}

static void test_network__too_few_operators_or_a_strangers_key_sign_nothing(void **state)
{
    struct place *p = *state;
    struct err err;
    found(p, "ops", 3, 2);
    found(p, "others", 1, 1);
    assert_ok(init(p, "a", "ops", "a.example", &err));
    assert_int_equal(unlink(at(p, "ops/operators/1.key")), 0);
    assert_int_equal(rename(at(p, "ops/operators/2.key"), at(p, "2.key")), 0);
    assert_err(ERR_STATE, list(p, "ops", "a/membership", &err));
    assert_int_equal(rename(at(p, "others/operators/1.key"), at(p, "ops/operators/1.key")), 0);
    assert_err(ERR_INVALID, list(p, "ops", "a/membership", &err));
    assert_int_equal(rename(at(p, "2.key"), at(p, "ops/operators/1.key")), 0);
    assert_ok(list(p, "ops", "a/membership", &err));
}

static void test_network__a_key_that_others_may_open_is_refused(void **state)
{
    struct place *p = *state;
    struct err err;
    found(p, "ops", 1, 1);
    assert_ok(init(p, "a", "ops", "a.example", &err));
    assert_int_equal(chmod(at(p, "ops/operators/1.key"), 0644), 0);
    assert_err(ERR_STATE, list(p, "ops", "a/membership", &err));
}

/* -- facilities */

static void test_facility__its_folder_is_whole_and_closed(void **state)
{
    struct place *p = *state;
    struct err err;
    static const char *const folders[] = {"a", "a/keys", "a/ca", "a/data", "a/clients"};
    static const char *const secrets[] = {
        "a/keys/root.key",          "a/keys/statement.key", "a/keys/checkpoint.key",
        "a/keys/witness.key",       "a/keys/sealing.key",   "a/keys/peer.key",
        "a/keys/client-server.key", "a/ca/client.key",      "a/ca/peer.key"};
    static const char *const files[] = {"a/chartmeshd.conf", "a/trust",         "a/membership",
                                        "a/node.profile",    "a/keys/peer.crt", "a/ca/client.crt"};
    found(p, "ops", 1, 1);
    assert_ok(init(p, "a", "ops", "a.example", &err));
    for (size_t i = 0; i < COUNT(folders); i++) {
        assert_int_equal(mode_of(p, folders[i]), 0700);
    }
    for (size_t i = 0; i < COUNT(secrets); i++) {
        assert_int_equal(mode_of(p, secrets[i]), 0600);
    }
    for (size_t i = 0; i < COUNT(files); i++) {
        assert_int_equal(mode_of(p, files[i]), 0644);
    }
    assert_err(ERR_EXISTS, init(p, "a", "ops", "b.example", &err));
}

static void test_facility__the_membership_pins_the_peer_certificate(void **state)
{
    struct place *p = *state;
    struct err err;
    struct trust *trust = NULL;
    struct bytes pem, der;
    struct hash pin, secret;
    found(p, "ops", 1, 1);
    assert_ok(init(p, "a", "ops", "a.example", &err));
    assert_ok(list(p, "ops", "a/membership", &err));
    assert_ok(trust_load(at(p, "ops/trust"), &trust, &err));
    const struct member *member = trust_member_by_domain(trust, "a.example");
    assert_non_null(member);
    assert_ok(file_read(at(p, "a/keys/peer.crt"), 65536, &p->arena, &pem, &err));
    assert_ok(cert_pin(pem, &pin, &err));
    assert_ptr_equal(trust_member_by_pin(trust, &pin), member);
    assert_ok(file_read(at(p, "a/ca/peer.crt"), 65536, &p->arena, &pem, &err));
    assert_ok(cert_der(pem, &p->arena, &der, &err));
    assert_bytes_equal(bytes_pb(member->message->tls_ca[0]), der);
    assert_string_equal(member->message->endpoints[0]->address, "127.0.0.1:7444");
    assert_ok(secret_file_read(at(p, "a/keys/sealing.key"), &secret, &err));
    struct hash sealing = x25519_public(&secret);
    assert_true(hash_equal(&sealing, &member->sealing_key));
    trust_free(trust);
}

static void test_facility__what_cannot_be_is_refused_and_makes_nothing(void **state)
{
    struct place *p = *state;
    struct err err;
    struct id id;
    found(p, "ops", 1, 1);
    const char *trust = at(p, "ops/trust");
    const struct facility_options wrong[] = {
        {trust, "A.example", "n", "h:1", "h:2", NULL, 0},   {trust, "nodots", "n", "h:1", "h:2", NULL, 0},
        {trust, "a.example.", "n", "h:1", "h:2", NULL, 0},  {trust, "a.-example", "n", "h:1", "h:2", NULL, 0},
        {trust, "a..example", "n", "h:1", "h:2", NULL, 0},  {trust, "a.example", "", "h:1", "h:2", NULL, 0},
        {trust, "a.example", "n", "h", "h:2", NULL, 0},     {trust, "a.example", "n", "h:1", "h:x", NULL, 0},
        {trust, "a.example", "n", "h\":1", "h:2", NULL, 0},
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char name[16];
        snprintf(name, sizeof name, "w%zu", i);
        assert_err(ERR_INVALID, facility_init(at(p, name), &wrong[i], NOW, &id, &err));
        assert_int_not_equal(access(at(p, name), F_OK), 0);
    }
    const struct facility_options none = {at(p, "ops/none"), "a.example", "n", "h:1", "h:2", NULL, 0};
    assert_err(ERR_NOT_FOUND, facility_init(at(p, "x"), &none, NOW, &id, &err));
}

static void test_facility__takes_a_newer_trust_and_never_an_older_or_foreign_one(void **state)
{
    struct place *p = *state;
    struct err err;
    struct bytes file;
    found(p, "ops", 1, 1);
    found(p, "others", 1, 1);
    assert_ok(init(p, "a", "ops", "a.example", &err));
    assert_ok(init(p, "b", "ops", "b.example", &err));
    assert_err(ERR_INVALID, facility_trust(at(p, "a"), at(p, "ops/trust"), &err));
    assert_ok(list(p, "ops", "a/membership", &err));
    assert_ok(file_read(at(p, "ops/trust"), 1 << 20, &p->arena, &file, &err));
    assert_ok(file_create(at(p, "older"), file, 0600, &err));
    assert_ok(list(p, "ops", "b/membership", &err));
    assert_ok(facility_trust(at(p, "a"), at(p, "ops/trust"), &err));
    assert_err(ERR_STATE, facility_trust(at(p, "a"), at(p, "older"), &err));
    assert_err(ERR_INVALID, facility_trust(at(p, "a"), at(p, "others/trust"), &err));
}

/* -- client certificates */

static bool issue(struct place *p, enum client_kind kind, const char *name, const char **profile, struct err *err)
{
    const struct client_options options = {.kind = kind, .name = name};
    return facility_issue(at(p, "a"), &options, NOW + 1000, &p->arena, profile, err);
}

static void test_issue__a_profile_with_all_that_a_client_needs(void **state)
{
    struct place *p = *state;
    struct err err;
    struct profile profile;
    struct bytes certificate, key, ca;
    const char *path;
    found(p, "ops", 1, 1);
    assert_ok(init(p, "a", "ops", "a.example", &err));
    assert_ok(issue(p, CLIENT_APP, "emr", &path, &err));
    assert_ok(profile_load(path, &p->arena, &profile, &err));
    assert_string_equal(profile.target, "127.0.0.1:7443");
    assert_string_equal(profile.server_name, NODE_DNS_NAME);
    assert_string_equal(profile.role, ROLE_PHYSICIAN);
    assert_string_equal(strstr(profile.principal, "/a.example/"), "/a.example/app/emr");
    assert_null(profile.audit_key);
    assert_ok(file_read(profile.certificate, 65536, &p->arena, &certificate, &err));
    assert_ok(file_read(profile.key, 65536, &p->arena, &key, &err));
    assert_ok(file_read(profile.ca, 65536, &p->arena, &ca, &err));
    const struct cert_pair pair = {(const char *)certificate.data, (const char *)key.data};
    assert_ok(cert_pair_check(&pair, &err));
    assert_int_equal(mode_of(p, "a/clients/app-emr/client.key"), 0600);
    assert_int_equal(access(profile.trust, R_OK), 0);
}

static void test_issue__an_auditor_also_gets_a_key_of_its_own(void **state)
{
    struct place *p = *state;
    struct err err;
    struct profile profile;
    struct hash seed;
    struct bytes public_;
    struct signing_key *key;
    const char *path;
    found(p, "ops", 1, 1);
    assert_ok(init(p, "a", "ops", "a.example", &err));
    assert_ok(issue(p, CLIENT_AUDITOR, "miller", &path, &err));
    assert_ok(profile_load(path, &p->arena, &profile, &err));
    assert_ok(secret_file_read(profile.audit_key, &seed, &err));
    assert_ok(signing_key_new(&seed, &key, &err));
    assert_ok(file_read(at(p, "a/clients/auditor-miller/audit.pub"), 100, &p->arena, &public_, &err));
    assert_bytes_equal(BYTES(public_.data, 64), bytes_str(hex_of(BYTES_OF(*signing_key_public(key)), &p->arena)));
    signing_key_free(key);
}

static void test_issue__a_bad_name_or_one_that_is_there_is_refused(void **state)
{
    struct place *p = *state;
    struct err err;
    const char *path;
    found(p, "ops", 1, 1);
    assert_ok(init(p, "a", "ops", "a.example", &err));
    assert_err(ERR_INVALID, issue(p, CLIENT_APP, "", &path, &err));
    assert_err(ERR_INVALID, issue(p, CLIENT_APP, "a/b", &path, &err));
    assert_ok(issue(p, CLIENT_APP, "emr", &path, &err));
    assert_err(ERR_EXISTS, issue(p, CLIENT_APP, "emr", &path, &err));
    assert_int_equal(unlink(at(p, "a/ca/client.key")), 0);
    assert_err(ERR_NOT_FOUND, issue(p, CLIENT_APP, "other", &path, &err));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_profile__keys_and_files_from_its_folder),
        TEST(test_profile__mistakes_are_refused_with_their_line),
        TEST(test_profile__what_is_written_reads_back),
        TEST(test_network__founding_makes_keys_trust_and_an_empty_roster),
        TEST(test_network__a_wrong_threshold_or_a_folder_in_use_is_refused),
        TEST(test_network__members_are_listed_and_taken_off),
        TEST(test_network__a_foreign_membership_is_refused_and_changes_nothing),
        TEST(test_network__a_changed_membership_is_refused),
        TEST(test_network__a_domain_or_membership_twice_is_refused),
        TEST(test_network__too_few_operators_or_a_strangers_key_sign_nothing),
        TEST(test_network__a_key_that_others_may_open_is_refused),
        TEST(test_facility__its_folder_is_whole_and_closed),
        TEST(test_facility__the_membership_pins_the_peer_certificate),
        TEST(test_facility__what_cannot_be_is_refused_and_makes_nothing),
        TEST(test_facility__takes_a_newer_trust_and_never_an_older_or_foreign_one),
        TEST(test_issue__a_profile_with_all_that_a_client_needs),
        TEST(test_issue__an_auditor_also_gets_a_key_of_its_own),
        TEST(test_issue__a_bad_name_or_one_that_is_there_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
