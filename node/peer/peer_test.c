#include "node/peer/peer.h"

#include <stdio.h>

#include "tests/lib/node.h"

/* Two facilities, wired without delay: what one sends is in the other's queue at once. */
struct pair;
struct end {
    struct pair *pair;
    size_t number;
    struct node *node;
    struct peers *peers;
};
struct wire {
    bool open;
    Chartmesh__V1__Lane lane;
    uint64_t links[2];
};
struct pair {
    struct federation *f;
    struct world_sim *sim;
    struct end ends[2];
    struct wire wires[64];
    size_t wires_count;
    bool cut, witness_cut;
};

static const struct id *id_of(struct pair *p, size_t end)
{
    return &p->f->members[end].id;
}

static struct wire *wire_of(struct end *e, Chartmesh__V1__Lane lane, uint64_t link)
{
    for (size_t i = 0; i < e->pair->wires_count; i++) {
        struct wire *w = &e->pair->wires[i];
        if (w->open && w->lane == lane && w->links[e->number] == link) {
            return w;
        }
    }
    return NULL;
}

static bool can_dial(void *context, const struct id *facility)
{
    struct end *e = context;
    return e->number == 0 && id_equal(facility, id_of(e->pair, 1));
}

static void dial(void *context, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link)
{
    struct end *e = context;
    struct pair *p = e->pair;
    struct err err;
    if (p->cut || p->wires_count == COUNT(p->wires)) {
        peers_closed(e->peers, facility, lane, link);
        return;
    }
    struct wire *w = &p->wires[p->wires_count++];
    *w = (struct wire){.open = true, .lane = lane};
    w->links[e->number] = link;
    assert_ok(peers_accept(p->ends[1].peers, id_of(p, 0), lane, &w->links[1], &err));
    peers_opened(e->peers, facility, lane, link);
}

static void send(void *context, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link,
                 struct bytes frame)
{
    struct end *e = context;
    struct wire *w = wire_of(e, lane, link);
    (void)facility;
    if (w) {
        struct end *other = &e->pair->ends[1 - e->number];
        assert_true(peers_frame(other->peers, id_of(e->pair, e->number), lane, w->links[other->number], frame));
    }
}

static void end_link(void *context, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link,
                     const char *rule, const char *text)
{
    struct end *e = context;
    struct wire *w = wire_of(e, lane, link);
    (void)facility;
    (void)rule;
    (void)text;
    if (w) {
        w->open = false;
        struct end *other = &e->pair->ends[1 - e->number];
        peers_closed(other->peers, id_of(e->pair, e->number), lane, w->links[other->number]);
    }
}

static bool add_checkpoint(void *context, const struct id *facility,
                           const Chartmesh__V1__AddCheckpointRequest *request, struct arena *arena,
                           const Chartmesh__V1__AddCheckpointReply **reply, struct err *err)
{
    struct end *e = context;
    void *memory;
    (void)facility;
    if (e->pair->witness_cut) {
        return err_raise(err, ERR_UNAVAILABLE, "cut");
    }
    assert_true(arena_alloc(arena, sizeof **reply, &memory, err));
    Chartmesh__V1__AddCheckpointReply *answer = memory;
    chartmesh__v1__add_checkpoint_reply__init(answer);
    *reply = answer;
    return peers_add_checkpoint(e->pair->ends[1 - e->number].peers, id_of(e->pair, e->number), request, arena,
                                answer, err);
}

static void open_end(struct pair *p, size_t number)
{
    struct err err;
    struct end *e = &p->ends[number];
    e->pair = p;
    e->number = number;
    const struct peers_options options = {.store = e->node->store,
                                          .chart = e->node->chart,
                                          .gate = e->node->gate,
                                          .domain = p->f->members[number].domain,
                                          .cosign = true,
                                          .transport = {can_dial, dial, send, end_link, add_checkpoint, e}};
    assert_ok(peers_open(&options, &e->peers, &err));
}

static int set_up(void **state)
{
    struct pair *p = test_calloc(1, sizeof *p);
    p->f = federation_new(2);
    p->sim = world_sim_new(11);
    for (size_t i = 0; i < 2; i++) {
        p->ends[i].node = node_new(p->sim, p->f, i);
    }
    for (size_t i = 0; i < 2; i++) {
        open_end(p, i);
    }
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *p = *state;
    for (size_t i = 0; i < 2; i++) {
        peers_stop(p->ends[i].peers);
    }
    for (size_t i = 0; i < 2; i++) {
        peers_close(p->ends[i].peers);
        node_free(p->ends[i].node);
    }
    world_sim_free(p->sim);
    federation_free(p->f);
    test_free(p);
    return 0;
}

static struct hash put_one(struct node *node, const struct subject *subject, uint8_t document,
                           struct bytes content)
{
    const struct node_put put = {
        .subject = *subject, .document = node_document(node, document), .content = content};
    return node_put(node, &put);
}

static bool holds(struct node *node, const struct hash *version, bool *complete)
{
    AUTO_ARENA(arena, 8 << 20);
    struct err err;
    struct subject subject;
    struct id document;
    struct chart_version *versions;
    size_t count;
    if (!chart_version_place(node->chart, version, &subject, &document, &err)) {
        return false;
    }
    assert_ok(chart_document(node->chart, &subject, &document, &arena, &versions, &count, &err));
    for (size_t i = 0; i < count; i++) {
        if (hash_equal(&versions[i].id, version)) {
            *complete = versions[i].complete;
            return true;
        }
    }
    return false;
}

/* ---- Records ------------------------------------------------------------------------------------------------------- */

static void test_peer__what_is_granted_arrives_and_what_is_revoked_goes_with_a_receipt(void **state)
{
    struct pair *p = *state;
    struct node *a = p->ends[0].node, *b = p->ends[1].node;
    struct subject subject = node_subject(a, 1);
    bool complete = false;
    struct err err;
    AUTO_ARENA(arena, 8 << 20);
    struct hash before = put_one(a, &subject, 1, BYTES_LIT("before the grant"));
    node_grant(a, &subject, id_of(p, 1), NULL);
    world_sim_advance(p->sim, 2000);
    assert_true(holds(b, &before, &complete) && complete);
    struct hash after = put_one(a, &subject, 2, BYTES_LIT("after it"));
    world_sim_advance(p->sim, 1000);
    assert_true(holds(b, &after, &complete) && complete);

    uint32_t orders = 0;
    node_revoke(a, &subject, &orders);
    assert_int_equal(orders, 1);
    world_sim_advance(p->sim, 1000);
    assert_false(holds(b, &before, &complete) || holds(b, &after, &complete));
    struct chart_case *cases;
    size_t count;
    assert_ok(chart_cases(a->chart, &subject, true, NULL, 8, &arena, &cases, &count, &err));
    assert_int_equal(count, 1);
    assert_int_equal(cases[0].outcome, CHARTMESH__V1__OUTCOME__OUTCOME_PURGED);
    assert_non_null(node_last_entry(a, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_RECEIPT, &arena));
    assert_non_null(node_last_entry(b, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_PURGED, &arena));
}

static void test_peer__a_case_stays_open_while_the_holder_cannot_be_reached(void **state)
{
    struct pair *p = *state;
    struct node *a = p->ends[0].node;
    struct subject subject = node_subject(a, 1);
    struct err err;
    struct chart_case *cases;
    size_t count;
    AUTO_ARENA(arena, 8 << 20);
    put_one(a, &subject, 1, BYTES_LIT("a note"));
    node_grant(a, &subject, id_of(p, 1), NULL);
    world_sim_advance(p->sim, 2000);
    p->cut = true;
    for (size_t i = 0; i < p->wires_count; i++) {
        p->wires[i].open = false;
        for (size_t e = 0; e < 2; e++) {
            peers_closed(p->ends[e].peers, id_of(p, 1 - e), p->wires[i].lane, p->wires[i].links[e]);
        }
    }
    node_revoke(a, &subject, NULL);
    world_sim_advance(p->sim, 60000);
    assert_ok(chart_cases(a->chart, &subject, false, NULL, 8, &arena, &cases, &count, &err));
    assert_int_equal(count, 1);
    p->cut = false;
    world_sim_advance(p->sim, 40000);
    assert_ok(chart_cases(a->chart, &subject, false, NULL, 8, &arena, &cases, &count, &err));
    assert_int_equal(count, 0);
}

static void test_peer__an_amendment_at_the_holder_goes_home_and_comes_back(void **state)
{
    struct pair *p = *state;
    struct node *a = p->ends[0].node, *b = p->ends[1].node;
    struct subject subject = node_subject(a, 1);
    bool complete = false;
    struct err err;
    AUTO_ARENA(arena, 8 << 20);
    struct hash first = put_one(a, &subject, 1, BYTES_LIT("allergy: none"));
    node_grant(a, &subject, id_of(p, 1), NULL);
    world_sim_advance(p->sim, 2000);
    const struct node_put amended = {.subject = subject,
                                     .document = node_document(a, 1),
                                     .parents = &first,
                                     .parents_len = 1,
                                     .content = BYTES_LIT("allergy: nuts")};
    struct hash second = node_put(b, &amended);
    world_sim_advance(p->sim, 2000);
    assert_true(holds(a, &second, &complete) && complete);
    struct chart_version *versions;
    size_t count;
    assert_ok(chart_document(b->chart, &subject, &amended.document, &arena, &versions, &count, &err));
    assert_int_equal(count, 2);
    assert_false(versions[1].pending);
    assert_false(hash_is_zero(&versions[1].disclosure));
}

/* A key of an application at `a`, enrolled there and nowhere else. */
static struct signing_key *enrol(struct pair *p, struct node *a, const char *holder)
{
    AUTO_ARENA(arena, 1 << 20);
    struct err err;
    struct signing_key *key = NULL;
    const struct hash seed = {{0x61}};
    Chartmesh__V1__Key message = CHARTMESH__V1__KEY__INIT;
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant from = CHARTMESH__V1__INSTANT__INIT;
    struct statement statement;
    (void)p;
    from.ms = 1;
    valid.from = &from;
    assert_ok(signing_key_new(&seed, &key, &err));
    assert_ok(chart_head(a->chart, &arena, &message.head, &err));
    message.public_key = pb_bytes(BYTES_OF(*signing_key_public(key)));
    message.use = CHARTMESH__V1__USE__USE_AUTHOR;
    message.holder = (char *)(uintptr_t)holder;
    message.valid = &valid;
    const struct signing_key *both[] = {a->member->statement, key};
    assert_ok(statement_sign(STATEMENT_KEY, &message.base, both, 2, &arena, &statement, &err));
    struct log_txn *txn = log_txn_new(a->log);
    assert_ok(chart_trust_add(a->chart, txn, &statement.envelope, 1, &err));
    assert_ok(log_commit(txn, NULL, &err));
    return key;
}

static void test_peer__a_version_that_its_author_signed_comes_with_the_authors_key(void **state)
{
    struct pair *p = *state;
    struct node *a = p->ends[0].node, *b = p->ends[1].node;
    struct subject subject = node_subject(a, 1);
    bool complete = false;
    char network[2 * ID_LEN + 1], holder[160];
    snprintf(holder, sizeof holder, "spiffe://%s/%s/app/emr", bytes_hex(BYTES_OF(p->f->network), network),
             a->member->domain);
    struct signing_key *key = enrol(p, a, holder);
    node_grant(a, &subject, id_of(p, 1), NULL);
    const struct node_put put = {.subject = subject,
                                 .document = node_document(a, 1),
                                 .content = BYTES_LIT("signed by its author"),
                                 .author = key,
                                 .principal = holder};
    struct hash version = node_put(a, &put);
    world_sim_advance(p->sim, 2000);
    assert_true(holds(b, &version, &complete) && complete);
    signing_key_free(key);
}

static void test_peer__large_content_is_pulled_chunk_by_chunk(void **state)
{
    struct pair *p = *state;
    struct node *a = p->ends[0].node, *b = p->ends[1].node;
    struct subject subject = node_subject(a, 1);
    bool complete = false;
    struct err err;
    void *memory;
    AUTO_ARENA(arena, 8 << 20);
    size_t len = 5 * CHUNK_LEN + 77;
    assert_ok(arena_alloc(&arena, len, &memory, &err));
    memset(memory, 'x', len);
    node_grant(a, &subject, id_of(p, 1), NULL);
    struct hash image = put_one(a, &subject, 1, BYTES(memory, len));
    world_sim_advance(p->sim, 3000);
    assert_true(holds(b, &image, &complete) && complete);
    struct ledger_row row;
    struct id document = node_document(a, 1);
    assert_ok(chart_ledger_get(a->chart, &subject, &document, &image, id_of(p, 1), &row, &err));
    assert_int_equal(row.state, LEDGER_COMPLETE);
}

static void test_peer__a_stranger_is_not_let_in(void **state)
{
    struct pair *p = *state;
    struct err err;
    uint64_t link;
    struct id stranger = {{9}};
    assert_err(ERR_DENIED, peers_accept(p->ends[1].peers, &stranger, CHARTMESH__V1__LANE__LANE_BULK, &link, &err));
    assert_false(peers_frame(p->ends[1].peers, &stranger, CHARTMESH__V1__LANE__LANE_BULK, 2, BYTES_LIT("x")));
}

static uint64_t roster_version(struct node *node)
{
    const struct trust *trust = chart_trust_take(node->chart);
    uint64_t version = trust_roster_version(trust);
    chart_trust_give(node->chart);
    return version;
}

static void test_peer__a_newer_roster_reaches_those_who_know_an_older_one(void **state)
{
    struct pair *p = *state;
    struct node *a = p->ends[0].node;
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    struct bytes roster = federation_roster(p->f, 2, &arena);
    struct log_txn *txn = log_txn_new(a->log);
    assert_ok(chart_trust_add(a->chart, txn, &roster, 1, &err));
    assert_ok(log_commit(txn, NULL, &err));
    assert_int_equal(roster_version(a), 2);
    world_sim_advance(p->sim, 3000);
    assert_int_equal(roster_version(p->ends[1].node), 2);
}

/* ---- Checkpoints ----------------------------------------------------------------------------------------------------- */

static void test_witness__peers_cosign_each_others_checkpoints(void **state)
{
    struct pair *p = *state;
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    struct bytes note;
    uint64_t size;
    struct subject subject = node_subject(p->ends[0].node, 1);
    for (uint8_t i = 1; i < 4; i++) {
        put_one(p->ends[0].node, &subject, i, BYTES_LIT("a note"));
        world_sim_advance(p->sim, 2000);
    }
    struct log *log = p->ends[0].node->log;
    assert_ok(log_cosigned(log, log_size(log).size - 1, 1, 0, &arena, &note, &size, &err));
    char name[64];
    snprintf(name, sizeof name, "%s/witness", p->f->members[1].domain);
    const struct note_key key = {
        .name = name, .type = NOTE_WITNESS, .public_key = *signing_key_public(p->f->members[1].witness)};
    struct checkpoint checkpoint;
    assert_ok(checkpoint_open(note, &key, 1, &checkpoint, &err));
    assert_int_equal(checkpoint.cosigners, 1);
}

/* What end 0 asks of end 1 by hand. */
static Chartmesh__V1__AddCheckpointRequest request_of(struct pair *p, struct bytes note, uint64_t old_size)
{
    Chartmesh__V1__AddCheckpointRequest request = CHARTMESH__V1__ADD_CHECKPOINT_REQUEST__INIT;
    (void)p;
    request.old_size = old_size;
    request.checkpoint = pb_bytes(note);
    return request;
}

static struct bytes note_of(struct pair *p, uint64_t size, const struct hash *root, const char *origin,
                            struct arena *arena)
{
    struct err err;
    struct bytes note;
    assert_ok(checkpoint_sign(origin, size, root, p->f->members[0].checkpoint, arena, &note, &err));
    return note;
}

static void test_witness__a_tree_that_does_not_extend_the_last_one_is_refused(void **state)
{
    struct pair *p = *state;
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    const char *origin = log_origin(p->ends[0].node->log);
    struct hash root = {{1}}, other = {{2}};
    Chartmesh__V1__AddCheckpointReply reply = CHARTMESH__V1__ADD_CHECKPOINT_REPLY__INIT;
    p->witness_cut = true;
    Chartmesh__V1__AddCheckpointRequest first = request_of(p, note_of(p, 8, &root, origin, &arena), 0);
    assert_ok(peers_add_checkpoint(p->ends[1].peers, id_of(p, 0), &first, &arena, &reply, &err));
    assert_true(reply.cosignature.len > 0);

    chartmesh__v1__add_checkpoint_reply__init(
        &reply); /* another size than the witness holds: told, not cosigned */
    assert_ok(peers_add_checkpoint(p->ends[1].peers, id_of(p, 0), &first, &arena, &reply, &err));
    assert_int_equal(reply.cosignature.len, 0);
    assert_int_equal(reply.size, 8);

    Chartmesh__V1__AddCheckpointRequest fork = request_of(p, note_of(p, 8, &other, origin, &arena), 8);
    assert_err(ERR_CORRUPT, peers_add_checkpoint(p->ends[1].peers, id_of(p, 0), &fork, &arena, &reply, &err));
    Chartmesh__V1__AddCheckpointRequest longer = request_of(p, note_of(p, 9, &other, origin, &arena), 8);
    assert_err(ERR_INVALID, peers_add_checkpoint(p->ends[1].peers, id_of(p, 0), &longer, &arena, &reply, &err));
    Chartmesh__V1__AddCheckpointRequest shorter = request_of(p, note_of(p, 7, &root, origin, &arena), 8);
    assert_err(ERR_INVALID, peers_add_checkpoint(p->ends[1].peers, id_of(p, 0), &shorter, &arena, &reply, &err));
}

static void test_witness__only_the_members_own_log_and_never_an_earlier_incarnation(void **state)
{
    struct pair *p = *state;
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    struct hash root = {{1}};
    Chartmesh__V1__AddCheckpointReply reply = CHARTMESH__V1__ADD_CHECKPOINT_REPLY__INIT;
    p->witness_cut = true;
    static const char *const wrong[] = {"f1.example/log/00000000000000ff", "f0.example/log/ff", "f0.example",
                                        "f0.example/log/00000000000000fg"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        Chartmesh__V1__AddCheckpointRequest request = request_of(p, note_of(p, 8, &root, wrong[i], &arena), 0);
        assert_err(ERR_INVALID,
                   peers_add_checkpoint(p->ends[1].peers, id_of(p, 0), &request, &arena, &reply, &err));
    }
    struct bytes later = note_of(p, 8, &root, "f0.example/log/00000000000000ff", &arena);
    struct bytes earlier = note_of(p, 8, &root, "f0.example/log/00000000000000fe", &arena);
    Chartmesh__V1__AddCheckpointRequest request = request_of(p, later, 0);
    assert_ok(peers_add_checkpoint(p->ends[1].peers, id_of(p, 0), &request, &arena, &reply, &err));
    request = request_of(p, earlier, 0);
    assert_err(ERR_INVALID, peers_add_checkpoint(p->ends[1].peers, id_of(p, 0), &request, &arena, &reply, &err));
    struct id stranger = {{9}};
    assert_err(ERR_DENIED, peers_add_checkpoint(p->ends[1].peers, &stranger, &request, &arena, &reply, &err));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_peer__what_is_granted_arrives_and_what_is_revoked_goes_with_a_receipt),
        CASE(test_peer__a_case_stays_open_while_the_holder_cannot_be_reached),
        CASE(test_peer__an_amendment_at_the_holder_goes_home_and_comes_back),
        CASE(test_peer__a_version_that_its_author_signed_comes_with_the_authors_key),
        CASE(test_peer__large_content_is_pulled_chunk_by_chunk),
        CASE(test_peer__a_stranger_is_not_let_in),
        CASE(test_peer__a_newer_roster_reaches_those_who_know_an_older_one),
        CASE(test_witness__peers_cosign_each_others_checkpoints),
        CASE(test_witness__a_tree_that_does_not_extend_the_last_one_is_refused),
        CASE(test_witness__only_the_members_own_log_and_never_an_earlier_incarnation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
