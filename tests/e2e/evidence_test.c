/* What a node answers to an auditor, judged by the offline verifier: the two share no code but proto/. */
#include "client/verify/verify.h"
#include "node/service/audit_query.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "tests/lib/node.h"
#include "tests/lib/test.h"

#define AUDITOR "spiffe://n/f0.example/auditor/ana"

struct fixture {
    struct world_sim *sim;
    struct federation *federation;
    struct node *node;
    struct service service;
    struct signing_key *auditor;
    struct subject subject;
    struct hash authority;
    struct hash version;
    struct arena arena;
};

static int setup(void **state)
{
    static struct fixture f;
    struct err err;
    f = (struct fixture){.sim = world_sim_new(11), .federation = federation_new(3)};
    arena_init(&f.arena, 512 << 20);
    f.node = node_new(f.sim, f.federation, 0);
    f.service = (struct service){.world = f.node->world,
                                 .store = f.node->store,
                                 .keys = f.node->keys,
                                 .log = f.node->log,
                                 .chart = f.node->chart,
                                 .gate = f.node->gate};
    struct hash seed = {.bytes = {9, 9, 9}};
    assert_ok(signing_key_new(&seed, &f.auditor, &err));
    f.subject = node_subject(f.node, 1);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    signing_key_free(f->auditor);
    node_free(f->node);
    federation_free(f->federation);
    world_sim_free(f->sim);
    arena_done(&f->arena);
    return 0;
}

/* A day in a chart: a note, an amendment, two reads of which one is denied, a grant, a hand-over, a revocation. */
static void live(struct fixture *f)
{
    struct err err;
    struct gate_item items[1];
    size_t disclosures;
    struct node_put put = {.subject = f->subject,
                           .document = node_document(f->node, 1),
                           .content = BYTES_LIT("first"),
                           .confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N};
    struct hash first = node_put(f->node, &put);
    put.content = BYTES_LIT("second");
    put.parents = &first;
    put.parents_len = 1;
    f->version = node_put(f->node, &put);
    Chartmesh__V1__GetRequest get = CHARTMESH__V1__GET_REQUEST__INIT;
    Chartmesh__V1__GetReply reply = CHARTMESH__V1__GET_REPLY__INIT;
    struct caller doctor = node_caller("dora", NODE_PHYSICIAN, "TREAT"),
                  clerk = node_caller("carl", NODE_CLERK, "TREAT");
    get.document = pb_bytes(BYTES_OF(put.document));
    assert_ok(gate_get(f->node->gate, &doctor, &get, &f->subject, &f->arena, &reply, &err));
    assert_err(ERR_NOT_FOUND, gate_get(f->node->gate, &clerk, &get, &f->subject, &f->arena, &reply, &err));
    node_grant(f->node, &f->subject, &f->federation->members[1].id, NULL);
    node_disclose(f->node, &f->subject, &f->federation->members[1].id, &f->version, 1, &f->arena, items,
                  &disclosures);
    assert_true(items[0].permit);
    node_revoke(f->node, &f->subject, NULL);
}

/* The facility grants the auditor an authority over these subjects. */
static void grant_authority(struct fixture *f, const struct subject *subject, bool headers)
{
    struct err err;
    struct statement statement;
    Chartmesh__V1__Authority message = CHARTMESH__V1__AUTHORITY__INIT;
    Chartmesh__V1__Subject named = CHARTMESH__V1__SUBJECT__INIT, *list[1] = {&named};
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant until = CHARTMESH__V1__INSTANT__INIT;
    const struct signing_key *key = keys_statement(f->node->keys);
    until.ms = (int64_t)world_now_ms(f->node->world) + 86400000;
    valid.until = &until;
    message.duty = CHARTMESH__V1__DUTY__DUTY_AUDIT;
    message.holder = AUDITOR;
    message.key = pb_bytes(BYTES_OF(*signing_key_public(f->auditor)));
    message.valid = &valid;
    message.version_headers = headers;
    if (subject) {
        named.facility = pb_bytes(BYTES_OF(subject->facility));
        named.patient = pb_bytes(BYTES_OF(subject->patient));
        message.subjects = list;
        message.n_subjects = 1;
    }
    assert_ok(chart_head(f->node->chart, &f->arena, &message.head, &err));
    assert_ok(statement_sign(STATEMENT_AUTHORITY, &message.base, &key, 1, &f->arena, &statement, &err));
    struct log_txn *txn = log_txn_new(f->node->log);
    assert_ok(chart_trust_add(f->node->chart, txn, &statement.envelope, 1, &err));
    assert_ok(log_commit(txn, NULL, &err));
    f->authority = statement.id;
}

static struct statement ask(struct fixture *f, const struct subject *subject, const struct hash *actor)
{
    struct err err;
    struct statement statement;
    Chartmesh__V1__AuditQuery message = CHARTMESH__V1__AUDIT_QUERY__INIT;
    Chartmesh__V1__Subject named = CHARTMESH__V1__SUBJECT__INIT;
    const struct signing_key *key = f->auditor;
    message.principal = AUDITOR;
    message.authority = pb_bytes(BYTES_OF(f->authority));
    message.facility = pb_bytes(BYTES_OF(f->federation->members[0].id));
    message.purpose = "HOPERAT";
    if (subject) {
        named.facility = pb_bytes(BYTES_OF(subject->facility));
        named.patient = pb_bytes(BYTES_OF(subject->patient));
        message.subject = &named;
    } else {
        message.actor = pb_bytes(BYTES_OF(*actor));
    }
    assert_ok(chart_head(f->node->chart, &f->arena, &message.head, &err));
    assert_ok(statement_sign(STATEMENT_AUDIT_QUERY, &message.base, &key, 1, &f->arena, &statement, &err));
    return statement;
}

/* Member 1 cosigns whatever is the newest checkpoint, as its node would within a second. */
struct cosigner {
    struct fixture *f;
    struct world_lane *lane;
};

static void cosign(void *context)
{
    struct cosigner *c = context;
    struct err err;
    struct bytes note, line;
    AUTO_ARENA(arena, 1 << 20);
    const struct federation_member *member = &c->f->federation->members[1];
    char name[64];
    snprintf(name, sizeof name, "%s/witness", member->domain);
    uint64_t now_s = world_now_ms(c->f->node->world) / 1000 + 1;
    assert_ok(log_checkpoint(c->f->node->log, &arena, &note, &err));
    assert_ok(checkpoint_cosign(note, name, now_s, member->witness, &arena, &line, &err));
    assert_ok(log_cosignature(c->f->node->log, log_size(c->f->node->log).size, name, line, &err));
}

static bool answer(struct fixture *f, const struct statement *query, bool cosigned, struct bytes *out,
                   struct err *err)
{
    struct service_call call = {.service = &f->service,
                                .caller = {AUDITOR, "", "", NULL, "HOPERAT", "r1"},
                                .kind = SERVICE_AUDITOR,
                                .idempotency_key = "",
                                .arena = &f->arena};
    struct cosigner cosigner = {.f = f};
    uint64_t entries;
    AUTO_BUILDER(file, 64 << 20);
    assert_true(world_lane_open(f->node->world, "cosign", 1, &cosigner.lane, err));
    if (cosigned) {
        world_timer_start(cosigner.lane, 500, cosign, &cosigner);
    }
    bool ok = audit_query(&call, query->envelope, false, &file, &entries, err) &&
              builder_copy(&file, &f->arena, out, err);
    world_lane_close(cosigner.lane);
    return ok;
}

static struct verify_report judge(struct fixture *f, struct bytes file, const struct statement *query)
{
    struct err err;
    struct verify_report report;
    const struct verify_options options = {
        .network = &f->federation->first_network, .quorum = 1, .query = &query->id};
    assert_ok(verify_bundle(file, &options, &f->arena, &report, &err));
    return report;
}

static void assert_verdict(const struct verify_report *report, enum verify_state wanted)
{
    if (report->verdict != wanted) {
        for (int i = 0; i < VERIFY_CLAIMS; i++) {
            print_error("%s: %s %s\n", verify_claim_name(i), verify_state_name(report->claims[i].state),
                        report->claims[i].text);
        }
    }
    assert_int_equal(report->verdict, wanted);
}

static void test_evidence__a_patients_history_is_proved_complete(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct bytes file;
    live(f);
    grant_authority(f, &f->subject, true);
    struct statement query = ask(f, &f->subject, NULL);
    assert_ok(answer(f, &query, true, &file, &err));
    struct verify_report report = judge(f, file, &query);
    assert_verdict(&report, VERIFY_PROVED);
    const enum verify_claim all[] = {VERIFY_FILE,       VERIFY_ENTRIES, VERIFY_CHAIN, VERIFY_COMPLETE,
                                     VERIFY_STATEMENTS, VERIFY_AUTHORS, VERIFY_TIMES};
    for (size_t i = 0; i < COUNT(all); i++) {
        if (report.claims[all[i]].state != VERIFY_PROVED) {
            fail_msg("%s: %s", verify_claim_name(all[i]), report.claims[all[i]].text);
        }
    }
    assert_int_not_equal(report.claims[VERIFY_DECISIONS].state, VERIFY_CONTRADICTED);
}

static void test_evidence__without_a_cosignature_nothing_is_proved(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct bytes file;
    live(f);
    grant_authority(f, &f->subject, true);
    struct statement query = ask(f, &f->subject, NULL);
    assert_ok(answer(f, &query, false, &file, &err));
    struct verify_report report = judge(f, file, &query);
    assert_verdict(&report, VERIFY_NOT_PROVED);
}

static void test_evidence__any_changed_byte_is_never_proved(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct bytes file;
    live(f);
    grant_authority(f, &f->subject, false);
    struct statement query = ask(f, &f->subject, NULL);
    assert_ok(answer(f, &query, true, &file, &err));
    struct verify_report sound = judge(f, file, &query);
    assert_verdict(&sound, VERIFY_PROVED);
    uint8_t *bytes = (uint8_t *)(uintptr_t)file.data;
    for (size_t i = 0; i < file.len; i += 97) {
        AUTO_ARENA(arena, 256 << 20);
        struct verify_report report;
        const struct verify_options options = {.network = &f->federation->first_network, .query = &query.id};
        bytes[i] ^= 0x20;
        assert_ok(verify_bundle(file, &options, &arena, &report, &err));
        if (report.verdict == VERIFY_PROVED) {
            fail_msg("byte %zu changed, and it is proved", i);
        }
        bytes[i] ^= 0x20;
    }
}

static void test_evidence__a_patient_nobody_knows_has_an_empty_history(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct bytes file;
    struct id nobody = {{7, 7, 7}};
    struct subject stranger = subject_make(&f->federation->members[0].id, &nobody);
    live(f);
    grant_authority(f, NULL, true);
    struct statement query = ask(f, &stranger, NULL);
    assert_ok(answer(f, &query, true, &file, &err));
    struct verify_report report = judge(f, file, &query);
    assert_verdict(&report, VERIFY_PROVED);
    assert_int_equal(report.count, 0);
}

static void test_evidence__an_actors_history_is_proved(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct bytes file;
    struct hash actor;
    live(f);
    grant_authority(f, NULL, true);
    struct caller doctor = node_caller("dora", NODE_PHYSICIAN, "TREAT");
    const struct log_who who = {doctor.principal, doctor.user};
    assert_ok(log_who_find(f->node->log, &who, &actor, NULL, &err));
    struct statement query = ask(f, NULL, &actor);
    assert_ok(answer(f, &query, true, &file, &err));
    struct verify_report report = judge(f, file, &query);
    assert_verdict(&report, VERIFY_PROVED);
}

static void assert_refused(struct fixture *f, const struct statement *query)
{
    struct err err;
    struct bytes file;
    assert_err(ERR_DENIED, answer(f, query, false, &file, &err));
    assert_int_equal(err.reason, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_AUTHORITY_INVALID);
}

static void test_evidence__I16_a_question_outside_the_authority_is_refused(void **state)
{
    struct fixture *f = *state;
    struct hash actor = {.bytes = {1}};
    struct subject other = node_subject(f->node, 2);
    grant_authority(f, &f->subject, true);
    struct statement query = ask(f, &other, NULL);
    assert_refused(f, &query);
    query = ask(f, NULL, &actor);
    assert_refused(f, &query);
    f->authority.bytes[0] ^= 1;
    query = ask(f, &f->subject, NULL);
    assert_refused(f, &query);
    f->authority.bytes[0] ^= 1;
    world_sim_advance(f->sim, 2 * 86400000);
    query = ask(f, &f->subject, NULL);
    assert_refused(f, &query);
}

#define WITH_NODE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_NODE(test_evidence__a_patients_history_is_proved_complete),
        WITH_NODE(test_evidence__without_a_cosignature_nothing_is_proved),
        WITH_NODE(test_evidence__any_changed_byte_is_never_proved),
        WITH_NODE(test_evidence__a_patient_nobody_knows_has_an_empty_history),
        WITH_NODE(test_evidence__an_actors_history_is_proved),
        WITH_NODE(test_evidence__I16_a_question_outside_the_authority_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
