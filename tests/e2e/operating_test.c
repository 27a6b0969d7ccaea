/* What an operator does to a node that runs, on real processes: certificates and lists exchanged, quotas, what it
 * says of itself. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client/setup/files.h"
#include "proto/base/builder.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/crypto/x509.h"
#include "tests/lib/exposition.h"
#include "tests/lib/nodes.h"

#define REASON(name) CHARTMESH__V1__ERROR_REASON__ERROR_REASON_##name
#define OUTCOME(name) CHARTMESH__V1__RELOAD_OUTCOME__RELOAD_OUTCOME_##name
#define PB(view) ((ProtobufCBinaryData){(view).len, (uint8_t *)(uintptr_t)(view).data})

enum { TRIES = 3000, NAP_NS = 10 * 1000 * 1000 };

static const char *chartmeshd;

struct fixture {
    struct nodes *nodes;
    struct chartmesh *open[4];
    size_t open_count;
    struct arena arena;
};

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    arena_init(&f->arena, 64 << 20);
    f->nodes = nodes_new(chartmeshd, 1);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->open_count; i++) {
        chartmesh_close(f->open[i]);
    }
    nodes_free(f->nodes);
    arena_done(&f->arena);
    free(f);
    return 0;
}

static struct chartmesh *as(struct fixture *f, enum client_kind kind, const char *name)
{
    return f->open[f->open_count++] = nodes_open(f->nodes, 0, kind, name);
}

static void write_file(struct fixture *f, const char *name, const char *text)
{
    char path[320];
    struct err err;
    snprintf(path, sizeof path, "%s/%s", f->nodes->list[0].folder, name);
    assert_ok(file_replace(path, bytes_str(text), 0600, &err));
}

/* The configuration of `node init` with this in place of that. */
static void configure(struct fixture *f, const char *that, const char *this)
{
    const char *text = nodes_text(f->nodes, 0, "chartmeshd.conf"), *at = strstr(text, that);
    char *out;
    struct err err;
    assert_non_null(at);
    assert_ok(arena_printf(&f->arena, &out, &err, "%.*s%s%s", (int)(at - text), text, this, at + strlen(that)));
    write_file(f, "chartmeshd.conf", out);
}

static const Chartmesh__V1__ReloadReply *reload(struct fixture *f, struct chartmesh *admin)
{
    Chartmesh__V1__ReloadRequest request = CHARTMESH__V1__RELOAD_REQUEST__INIT;
    const Chartmesh__V1__ReloadReply *reply;
    struct err err;
    assert_ok(chartmesh_admin_reload(admin, &request, NULL, &f->arena, &reply, &err));
    return reply;
}

static const Chartmesh__V1__ReloadItem *item(const Chartmesh__V1__ReloadReply *reply, const char *key)
{
    for (size_t i = 0; i < reply->n_items; i++) {
        if (strcmp(reply->items[i]->key, key) == 0) {
            return reply->items[i];
        }
    }
    return NULL;
}

static void assert_outcome(const Chartmesh__V1__ReloadReply *reply, const char *key,
                           Chartmesh__V1__ReloadOutcome outcome, const char *says)
{
    const Chartmesh__V1__ReloadItem *found = item(reply, key);
    if (!found) {
        fail_msg("nothing is said of %s", key);
    }
    assert_int_equal(found->outcome, outcome);
    if (!strstr(found->text, says)) {
        fail_msg("%s: '%s' does not say '%s'", key, found->text, says);
    }
}

static bool status(struct fixture *f, struct chartmesh *node, const Chartmesh__V1__StatusReply **reply,
                   struct err *err)
{
    Chartmesh__V1__StatusRequest request = CHARTMESH__V1__STATUS_REQUEST__INIT;
    return chartmesh_admin_status(node, &request, NULL, &f->arena, reply, err);
}

static bool may_call(struct fixture *f, struct chartmesh *node, struct err *err)
{
    const Chartmesh__V1__StatusReply *reply;
    return status(f, node, &reply, err);
}

static void wait_for_log(struct fixture *f, const char *text)
{
    for (int tries = 0; !strstr(nodes_text(f->nodes, 0, "log"), text); tries++) {
        if (tries == TRIES) {
            fail_msg("the log never says %s", text);
        }
        nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
    }
}

/* -- The deny list */

static const char *spiffe_of(struct fixture *f, enum client_kind kind, const char *name)
{
    struct profile profile = nodes_profile(f->nodes, 0, kind, name);
    return profile.principal;
}

static void test_operating__a_denied_certificate_loses_access_without_a_restart(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char list[400];
    configure(f, "client {", "client {\n    deny = denied");
    write_file(f, "denied", "# nobody yet\n");
    nodes_start(f->nodes, 0);
    struct chartmesh *emr = as(f, CLIENT_APP, "emr"), *lab = as(f, CLIENT_APP, "lab");
    struct chartmesh *admin = as(f, CLIENT_ADMIN, "it");
    assert_ok(may_call(f, emr, &err));

    snprintf(list, sizeof list, "id %s\n", spiffe_of(f, CLIENT_APP, "emr"));
    write_file(f, "denied", list);
    assert_ok(may_call(f, emr, &err));           /* not before it is told */
    assert_outcome(reload(f, admin), "client.deny", OUTCOME(TAKEN), "");
    assert_err(ERR_DENIED, may_call(f, emr, &err));
    assert_int_equal(err.reason, REASON(CERTIFICATE_REFUSED));
    assert_ok(may_call(f, lab, &err));

    /* A half-written list leaves the old in force, and so does one that is gone. */
    write_file(f, "denied", "id spiffe://x/y/app/z\nid spif");
    assert_outcome(reload(f, admin), "client.deny", OUTCOME(REFUSED), "half written");
    assert_err(ERR_DENIED, may_call(f, emr, &err));

    write_file(f, "denied", "");
    assert_outcome(reload(f, admin), "client.deny", OUTCOME(TAKEN), "");
    assert_ok(may_call(f, emr, &err));
}

struct watching {
    struct fixture *f;
    struct chartmesh *admin;
    bool denied;
};

/* Once the watch stands, who watches is denied. */
static bool on_event(void *context, const Chartmesh__V1__WatchEvent *event, bool *stop, struct err *err)
{
    struct watching *watching = context;
    char list[400];
    (void)stop;
    (void)err;
    if (event->kind == CHARTMESH__V1__WATCH_KIND__WATCH_KIND_STARTED && !watching->denied) {
        snprintf(list, sizeof list, "id %s\n", spiffe_of(watching->f, CLIENT_APP, "emr"));
        write_file(watching->f, "denied", list);
        assert_outcome(reload(watching->f, watching->admin), "client.deny", OUTCOME(TAKEN), "");
        watching->denied = true;
    }
    return true;
}

static void test_operating__a_denied_certificate_loses_its_open_streams(void **state)
{
    static const char patient[] = "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"Muster\"}]}";
    struct fixture *f = *state;
    struct err err;
    configure(f, "client {", "client {\n    deny = denied");
    write_file(f, "denied", "");
    nodes_start(f->nodes, 0);
    Chartmesh__V1__RegisterRequest about = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    const Chartmesh__V1__RegisterReply *registered;
    struct watching watching = {.f = f, .admin = as(f, CLIENT_ADMIN, "it")};
    const struct chartmesh_watcher watcher = {.each = on_event, .context = &watching};
    struct chartmesh *emr = as(f, CLIENT_APP, "emr");
    about.resource = PB(bytes_str(patient));
    assert_ok(chartmesh_patient_register(emr, &about, NULL, &f->arena, &registered, &err));
    request.subject = registered->subject;
    assert_err(ERR_DENIED, chartmesh_watch(emr, &request, &watcher, NULL, &err));
    assert_true(watching.denied);
}

static void test_operating__a_node_does_not_start_without_its_deny_list(void **state)
{
    struct fixture *f = *state;
    configure(f, "client {", "client {\n    deny = denied");
    assert_int_equal(nodes_refused(f->nodes, 0), 1);
    assert_non_null(strstr(nodes_text(f->nodes, 0, "log"), "denied"));
    write_file(f, "denied", "");
    nodes_start(f->nodes, 0);
}

/* -- How long certificates hold */

static void test_operating__a_certificate_for_too_long_a_life_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err;
    nodes_start(f->nodes, 0);
    struct chartmesh *emr = as(f, CLIENT_APP, "emr"), *admin = as(f, CLIENT_ADMIN, "it");
    assert_ok(may_call(f, emr, &err));
    configure(f, "client {", "client {\n    certificate_hours = 24");
    const struct client_options brief = {.kind = CLIENT_ADMIN, .name = "brief", .hours = 12};
    const char *path;
    assert_ok(
        facility_issue(f->nodes->list[0].folder, &brief, (int64_t)time(NULL) * 1000, &f->arena, &path, &err));
    struct chartmesh *twelve = as(f, CLIENT_ADMIN, "brief");
    assert_outcome(reload(f, admin), "client.certificate_hours", OUTCOME(TAKEN), "");
    assert_err(ERR_DENIED, may_call(f, emr, &err));
    assert_int_equal(err.reason, REASON(CERTIFICATE_REFUSED));
    assert_non_null(strstr(err.text, "24 hours"));
    assert_ok(may_call(f, twelve, &err));
}

/* -- Reload */

static void test_operating__a_wrong_configuration_leaves_the_old_in_force(void **state)
{
    struct fixture *f = *state;
    struct err err;
    nodes_start(f->nodes, 0);
    struct chartmesh *emr = as(f, CLIENT_APP, "emr"), *admin = as(f, CLIENT_ADMIN, "it");
    const char *good = nodes_text(f->nodes, 0, "chartmeshd.conf");

    write_file(f, "chartmeshd.conf", "network = ");
    assert_outcome(reload(f, admin), "configuration", OUTCOME(REFUSED), "chartmeshd.conf:1");
    assert_ok(may_call(f, emr, &err));

    write_file(f, "chartmeshd.conf", good);
    configure(f, "client {",
              "quota 'app/*' { calls_per_s = 1 }\nlimits { workers = 3 }\nlog { level = warn }\nclient {");
    const Chartmesh__V1__ReloadReply *reply = reload(f, admin);
    assert_outcome(reply, "quota", OUTCOME(TAKEN), "");
    assert_outcome(reply, "log.level", OUTCOME(TAKEN), "");
    assert_outcome(reply, "limits.workers", OUTCOME(NEEDS_RESTART), "restart");
    bool refused = false;
    for (int i = 0; i < 20 && !refused; i++) {
        refused = !may_call(f, emr, &err);
    }
    assert_true(refused);
    assert_int_equal(err.reason, REASON(OVERLOADED));
    assert_ok(may_call(f, admin, &err));

    /* What needs a restart is said each time, until there was one. */
    assert_outcome(reload(f, admin), "limits.workers", OUTCOME(NEEDS_RESTART), "restart");
    struct chartmesh *app = emr;
    Chartmesh__V1__ReloadRequest request = CHARTMESH__V1__RELOAD_REQUEST__INIT;
    const Chartmesh__V1__ReloadReply *none;
    do {                                         /* its quota comes back with time */
        assert_false(chartmesh_admin_reload(app, &request, NULL, &f->arena, &none, &err));
    } while (err.code == ERR_TOO_MUCH);
    assert_int_equal(err.code, ERR_DENIED);
}

static void test_operating__SIGHUP_takes_new_certificates_and_keeps_the_old_over_half_a_file(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct cert_pair fresh;
    nodes_start(f->nodes, 0);
    const struct cert_pair ca = {nodes_text(f->nodes, 0, "ca/client.crt"),
                                 nodes_text(f->nodes, 0, "ca/client.key")};
    int64_t now = (int64_t)time(NULL) * 1000;
    const struct cert_request request = {.common_name = NODE_DNS_NAME,
                                         .dns_name = NODE_DNS_NAME,
                                         .server = true,
                                         .not_before_ms = now - 1000,
                                         .not_after_ms = now + 3600000};
    assert_ok(cert_make(&request, &ca, &f->arena, &fresh, &err));
    write_file(f, "keys/client-server.crt", fresh.certificate);          /* the key is not there yet */
    assert_int_equal(kill(f->nodes->list[0].pid, SIGHUP), 0);
    wait_for_log(f, "client.certificate: refused, the old stays in force");
    struct chartmesh *emr = as(f, CLIENT_APP, "emr");
    assert_ok(may_call(f, emr, &err));
    write_file(f, "keys/client-server.key", fresh.key);
    assert_int_equal(kill(f->nodes->list[0].pid, SIGHUP), 0);
    wait_for_log(f, "client.certificate: taken");
    struct chartmesh *lab = as(f, CLIENT_APP, "lab");
    assert_ok(may_call(f, lab, &err));
}

/* -- Quotas */

static void test_operating__an_application_writes_what_its_quota_lets_it(void **state)
{
    static const char patient[] = "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"Muster\"}]}";
    struct fixture *f = *state;
    struct err err;
    configure(f, "client {", "quota 'app/lab' { documents_per_day = 2 }\nclient {");
    nodes_start(f->nodes, 0);
    Chartmesh__V1__RegisterRequest about = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    Chartmesh__V1__Facts facts = CHARTMESH__V1__FACTS__INIT;
    Chartmesh__V1__Coding class = CHARTMESH__V1__CODING__INIT;
    const Chartmesh__V1__RegisterReply *registered;
    const Chartmesh__V1__PutReply *reply;
    class.system = "urn:chartmesh:class";
    class.code = "note";
    facts.media_type = "text/plain";
    facts.class_ = &class;
    about.resource = PB(bytes_str(patient));
    struct chartmesh *emr = as(f, CLIENT_APP, "emr"), *lab = as(f, CLIENT_APP, "lab");
    assert_ok(chartmesh_patient_register(emr, &about, NULL, &f->arena, &registered, &err));
    request.subject = registered->subject;
    request.facts = &facts;
    request.content = PB(BYTES_LIT("haemoglobin 9.1"));
    assert_ok(chartmesh_record_put(lab, &request, NULL, &f->arena, &reply, &err));
    assert_ok(chartmesh_record_put(lab, &request, NULL, &f->arena, &reply, &err));
    assert_err(ERR_TOO_MUCH, chartmesh_record_put(lab, &request, NULL, &f->arena, &reply, &err));
    assert_int_equal(err.reason, REASON(QUOTA_SPENT));
    assert_ok(chartmesh_record_put(emr, &request, NULL, &f->arena, &reply, &err));
}

/* -- What it says of itself */

static const char *concern(const Chartmesh__V1__StatusReply *reply, const char *key)
{
    for (size_t i = 0; i < reply->n_concerns; i++) {
        if (strcmp(reply->concerns[i]->key, key) == 0) {
            return reply->concerns[i]->text;
        }
    }
    return NULL;
}

static void test_operating__status_says_what_to_see_to(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct cert_pair brief;
    const Chartmesh__V1__StatusReply *reply;
    nodes_start(f->nodes, 0);
    struct chartmesh *admin = as(f, CLIENT_ADMIN, "it");
    assert_ok(status(f, admin, &reply, &err));
    assert_int_equal(reply->state, CHARTMESH__V1__NODE_STATE__NODE_STATE_SERVING);
    assert_null(concern(reply, "certificate_expiring"));

    const struct cert_pair ca = {nodes_text(f->nodes, 0, "ca/client.crt"),
                                 nodes_text(f->nodes, 0, "ca/client.key")};
    int64_t now = (int64_t)time(NULL) * 1000;
    const struct cert_request request = {.common_name = NODE_DNS_NAME,
                                         .dns_name = NODE_DNS_NAME,
                                         .server = true,
                                         .not_before_ms = now - 1000,
                                         .not_after_ms = now + 86400000};
    assert_ok(cert_make(&request, &ca, &f->arena, &brief, &err));
    write_file(f, "keys/client-server.crt", brief.certificate);
    write_file(f, "keys/client-server.key", brief.key);
    assert_outcome(reload(f, admin), "client.certificate", OUTCOME(TAKEN), "");
    assert_ok(status(f, admin, &reply, &err));
    assert_non_null(concern(reply, "certificate_expiring"));
    assert_non_null(strstr(concern(reply, "certificate_expiring"), "client.certificate runs out"));
    for (int tries = 0; !reply->counted; tries++) { /* counted soon after the start, and nobody waits for it */
        assert_true(tries < TRIES);
        nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
        assert_ok(status(f, admin, &reply, &err));
    }
    assert_int_equal(reply->subjects, 0);
}

/* -- Metrics */

static const char *get(struct fixture *f, const char *address, const char *path)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char request[200], *answer;
    struct err err;
    AUTO_BUILDER(out, 8 << 20);
    to.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    assert_int_equal(send(fd, request, (size_t)len, MSG_NOSIGNAL), len);
    for (ssize_t got; (got = recv(fd, request, sizeof request, 0)) > 0;) {
        build_bytes(&out, BYTES(request, (size_t)got));
    }
    close(fd);
    assert_true(out.ok);
    assert_ok(arena_string(&f->arena, builder_view(&out), &answer, &err));
    assert_int_equal(strncmp(answer, "HTTP/1.1 200", 12), 0);
    return strstr(answer, "\r\n\r\n") + 4;
}

static struct exposition *scrape(struct fixture *f, const char *address)
{
    struct err err;
    struct exposition *out;
    assert_ok(exposition_read(bytes_str(get(f, address, "/metrics")), &f->arena, &out, &err));
    return out;
}

/* The page names every family in a row of its own, and no other. */
static void assert_page(struct fixture *f, const struct exposition *numbers)
{
    struct err err;
    struct bytes page;
    size_t rows = 0;
    assert_ok(file_read("docs/operating/metrics.md", 1 << 20, &f->arena, &page, &err));
    for (const char *at = (const char *)page.data; (at = strstr(at, "\n| `")); at++) {
        rows += strncmp(at + 4, "chartmesh_", 10) == 0 || strncmp(at + 4, "process_", 8) == 0;
    }
    for (size_t i = 0; i < exposition_families(numbers); i++) {
        char row[200];
        snprintf(row, sizeof row, "\n| `%s` |", exposition_family(numbers, i));
        if (!strstr((const char *)page.data, row)) {
            fail_msg("docs/operating/metrics.md has no %s", exposition_family(numbers, i));
        }
    }
    assert_int_equal(rows, exposition_families(numbers));
}

/* A call is counted after its answer has gone: the caller may look before. */
static struct exposition *scrape_until(struct fixture *f, const char *address, const char *series, double value)
{
    struct exposition *numbers = scrape(f, address);
    for (int i = 0; i < 500 && exposition_value(numbers, series) != value; i++) {
        nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
        numbers = scrape(f, address);
    }
    return numbers;
}

#define REGISTER "port=\"client\",method=\"/chartmesh.v1.Patients/Register\""

static void test_operating__metrics_are_well_formed_documented_and_move(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const char *line, *address;
    configure(f, "client {", "metrics { listen = 127.0.0.1:0 }\nclient {");
    nodes_start(f->nodes, 0);
    line = nodes_text(f->nodes, 0, "ready");
    address = strstr(line, "metrics=");
    assert_non_null(address);
    struct exposition *before = scrape(f, address);
    assert_page(f, before);
    assert_true(exposition_value(before, "chartmesh_state{state=\"SERVING\"}") == 1);
    assert_true(exposition_value(before, "chartmesh_state{state=\"DRAINING\"}") == 0);
    assert_true(exposition_value(before, "process_resident_memory_bytes") > 1 << 20);
    assert_true(exposition_value(before, "chartmesh_disk_free_bytes") > 0);
    assert_true(exposition_value(before, "chartmesh_certificate_expiry_timestamp_seconds{certificate=\"peer\"}") >
                (double)time(NULL));
    assert_non_null(strstr(get(f, address, "/healthz"), "SERVING"));

    static const char patient[] = "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"Muster\"}]}";
    Chartmesh__V1__RegisterRequest about = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    const Chartmesh__V1__RegisterReply *registered;
    about.resource = PB(bytes_str(patient));
    struct chartmesh *emr = as(f, CLIENT_APP, "emr");
    for (int i = 0; i < 3; i++) {
        assert_ok(chartmesh_patient_register(emr, &about, NULL, &f->arena, &registered, &err));
    }
    about.resource = PB(bytes_str("no resource"));
    assert_false(chartmesh_patient_register(emr, &about, NULL, &f->arena, &registered, &err));
    struct exposition *after = scrape_until(f, address, "chartmesh_rpc_duration_seconds_count{" REGISTER "}", 4);
    assert_true(exposition_value(after, "chartmesh_rpc_calls_total{" REGISTER ",code=\"OK\"}") == 3);
    assert_true(exposition_value(after, "chartmesh_rpc_calls_total{" REGISTER ",code=\"INVALID_ARGUMENT\"}") == 1);
    assert_true(exposition_value(after, "chartmesh_rpc_duration_seconds_count{" REGISTER "}") == 4);
    assert_true(exposition_sum(after, "chartmesh_rpc_errors_total{port=\"client\"") == 1);
    assert_true(exposition_value(after, "chartmesh_log_kinds_total{kind=\"WRITE\"}") == 3);
    assert_true(exposition_value(after, "chartmesh_commit_sync_seconds_count") >
                exposition_value(before, "chartmesh_commit_sync_seconds_count"));
    assert_true(exposition_value(after, "chartmesh_log_entries") >=
                exposition_value(before, "chartmesh_log_entries") + 3);
    if (strstr(get(f, address, "/metrics"), "Muster")) {
        fail_msg("a patient's name is among the numbers");
    }
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(test_operating__a_denied_certificate_loses_access_without_a_restart),
        CASE(test_operating__a_denied_certificate_loses_its_open_streams),
        CASE(test_operating__a_node_does_not_start_without_its_deny_list),
        CASE(test_operating__a_certificate_for_too_long_a_life_is_refused),
        CASE(test_operating__a_wrong_configuration_leaves_the_old_in_force),
        CASE(test_operating__SIGHUP_takes_new_certificates_and_keeps_the_old_over_half_a_file),
        CASE(test_operating__an_application_writes_what_its_quota_lets_it),
        CASE(test_operating__status_says_what_to_see_to),
        CASE(test_operating__metrics_are_well_formed_documented_and_move),
    };
    chartmeshd = argc > 1 ? argv[1] : "node/chartmeshd";
    return cmocka_run_group_tests_name("operating", tests, NULL, NULL);
}
