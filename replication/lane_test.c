#include "replication/lane.h"

#include <stdlib.h>

#include "replication/frame.h"
#include "tests/lib/federation.h"

/* Two facilities, one control lane, frames in memory. Each side keeps what a node would keep: numbered items, what
 * the peer acknowledged, what was received. Items are notices. */
enum { ITEMS_MAX = 4096, FRAMES_MAX = 4096, PIPES_MAX = 64 };

struct side {
    struct lane *lane;
    size_t me;
    uint64_t incarnation;
    struct bytes epoch;
    bool dials;
    /* kept */
    size_t owed; /* outbox: notices to number */
    struct {
        struct bytes statement;
        struct hash digest;
        struct place place;
        bool denied;
    } items[ITEMS_MAX];
    uint64_t numbered;
    struct place acked;
    struct bytes their_ack;
    uint64_t peer_incarnation;
    struct place stored;
    struct bytes their_head;
    Chartmesh__V1__Exception except[ITEMS_MAX];
    size_t except_count;
    struct hash received[ITEMS_MAX]; /* statement ids by number */
    size_t applied; /* how often an item was applied */
    uint64_t fence_n; /* this number is refused as FENCED; 0: none */
    Chartmesh__V1__Exception settled[64];
    size_t settled_count;
    /* of the process */
    bool hold_store, hold_make, fail_store;
    const struct batch *held[LANE_STORES_MAX];
    size_t held_count;
    struct lane_make held_make;
    bool made_held;
    const char *rule; /* of the last CLOSE */
    const char *alarm;
    size_t sends, closes;
    uint64_t taken, served, completes, refills;
    uint64_t chunks_wanted; /* answered to REFILL once */
};

struct frame {
    size_t to;
    uint64_t pipe;
    struct bytes bytes;
};

struct pair {
    struct federation *f;
    struct arena arena;
    struct side sides[2];
    struct {
        uint64_t ids[2];
        bool open;
    } pipes[PIPES_MAX];
    size_t pipe_count;
    struct frame frames[FRAMES_MAX];
    size_t first, last;
    uint64_t now_ms, hlc, accepted;
    bool cut; /* no connection can be made */
};

static void tell(struct pair *p, size_t who, struct lane_event event);

static int find_pipe(struct pair *p, size_t who, uint64_t id)
{
    for (size_t i = 0; i < p->pipe_count; i++) {
        if (p->pipes[i].open && p->pipes[i].ids[who] == id) {
            return (int)i;
        }
    }
    return -1;
}

/* ---- What a node does ------------------------------------------------------------------------------------------ */

static void number_new(struct pair *p, struct side *s, const struct lane_make *make)
{
    struct err err;
    struct place place = s->numbered ? s->items[s->numbered].place : stream_begin(&make->stream);
    for (size_t i = 0; i < make->count && s->owed > 0; i++, s->owed--) {
        uint64_t n = ++s->numbered;
        struct statement statement;
        s->items[n].statement = federation_sign_notice(p->f, s->me, 1 - s->me, n, &p->arena);
        assert_ok(statement_parse(s->items[n].statement, &p->arena, &statement, &err));
        struct item_facts facts = item_facts_of(ITEM_NOTICE, &statement, NULL);
        s->items[n].digest = item_digest(&facts);
        place = stream_next(&place, &s->items[n].digest);
        s->items[n].place = place;
    }
}

static void answer_make(struct pair *p, size_t who, const struct lane_make *make)
{
    struct side *s = &p->sides[who];
    struct err err;
    static struct batch_part parts[BATCH_ITEMS_MAX];
    static struct hash chains[BATCH_ITEMS_MAX];
    uint64_t before = s->numbered;
    if (!make->again) {
        number_new(p, s, make);
    }
    struct lane_numbered answer = {.again = make->again,
                                   .first = make->again ? make->first : before + 1,
                                   .count = make->again ? make->count : (size_t)(s->numbered - before),
                                   .chains = chains,
                                   .more = s->owed > 0};
    for (size_t i = 0; i < answer.count; i++) {
        uint64_t n = answer.first + i;
        parts[i] = (struct batch_part){.kind = ITEM_NOTICE,
                                       .statement = s->items[n].statement,
                                       .digest = s->items[n].digest,
                                       .withdrawn = s->items[n].denied};
        chains[i] = s->items[n].place.chain;
    }
    struct place from = answer.first == 1 ? stream_begin(&make->stream) : s->items[answer.first - 1].place;
    struct batch_parts batch = {.stream = &make->stream, .before = from, .items = parts, .count = answer.count};
    if (answer.count > 0) {
        assert_ok(
            batch_build(&batch, ++p->hlc, p->f->members[who].statement, &p->arena, &answer.frame, NULL, &err));
    }
    tell(p, who, (struct lane_event){.kind = LANE_NUMBERED, .numbered = answer});
}

static void answer_store(struct pair *p, size_t who, const struct batch *batch)
{
    struct side *s = &p->sides[who];
    struct lane_stored answer = {.batch = batch, .failed = s->fail_store};
    Chartmesh__V1__Exception except[1];
    for (size_t i = 0; !answer.failed && i < batch->count; i++) {
        uint64_t n = batch->items[i].n;
        assert_true(n == s->stored.n + 1 + i);
        if (n == s->fence_n) {
            chartmesh__v1__exception__init(&except[0]);
            except[0].n = n;
            except[0].result = CHARTMESH__V1__RESULT__RESULT_FENCED;
            answer.except = except;
            answer.except_count = 1;
            s->except[s->except_count++] = except[0];
            continue;
        }
        s->received[n] = batch->items[i].withdrawn ? (struct hash){0} : batch->items[i].statement.id;
        s->applied++;
    }
    if (!answer.failed) {
        s->peer_incarnation = batch->stream.incarnation;
        s->stored = batch->after;
        s->their_head = batch->head.envelope;
    }
    tell(p, who, (struct lane_event){.kind = LANE_STORED, .stored = answer});
}

static void settle(struct side *s, const struct lane_settle *settle)
{
    assert_true(settle->from == s->acked.n && settle->place.n > s->acked.n);
    s->acked = settle->place;
    s->their_ack = settle->ack;
    for (size_t i = 0; i < settle->except_count; i++) {
        if (settle->except[i]->n > settle->from) {
            s->settled[s->settled_count++] = *settle->except[i];
        }
    }
}

static void dial(struct pair *p, size_t who, uint64_t link)
{
    if (p->cut) {
        tell(p, who, (struct lane_event){.kind = LANE_CLOSED, .link = link});
        return;
    }
    size_t i = p->pipe_count++;
    p->pipes[i].open = true;
    p->pipes[i].ids[who] = link;
    p->pipes[i].ids[1 - who] = p->accepted += 2;
    tell(p, 1 - who, (struct lane_event){.kind = LANE_ACCEPTED, .link = p->pipes[i].ids[1 - who]});
    tell(p, who, (struct lane_event){.kind = LANE_OPENED, .link = link});
}

static void close_pipe(struct pair *p, size_t who, uint64_t link)
{
    int i = find_pipe(p, who, link);
    if (i >= 0) {
        p->pipes[i].open = false;
        tell(p, 1 - who, (struct lane_event){.kind = LANE_CLOSED, .link = p->pipes[i].ids[1 - who]});
    }
}

static void serve_chunk(struct pair *p, size_t who, const struct lane_serve *serve)
{
    struct err err;
    struct bytes frame;
    assert_ok(frame_chunk(&serve->version, &serve->disclosure, serve->index, BYTES_LIT("\0chunk"), NULL, 0,
                          &p->arena, &frame, &err));
    p->sides[who].served++;
    tell(p, who, (struct lane_event){.kind = LANE_SERVED, .frame = frame});
}

static void take_chunk(struct pair *p, size_t who, const struct lane_chunk *chunk)
{
    struct lane_taken taken = {.version = chunk->version,
                               .disclosure = chunk->disclosure,
                               .next = chunk->index + 1,
                               .taken = true,
                               .wanted = true};
    assert_int_equal(chunk->index, p->sides[who].taken);
    p->sides[who].taken++;
    tell(p, who, (struct lane_event){.kind = LANE_TAKEN, .taken = taken});
}

static void refill(struct pair *p, size_t who)
{
    struct side *s = &p->sides[who];
    s->refills++;
    if (s->chunks_wanted > s->taken) {
        struct lane_pull pull = {
            .version = {{1}}, .disclosure = {{2}}, .next = s->taken, .chunks = s->chunks_wanted};
        tell(p, who, (struct lane_event){.kind = LANE_WANTED, .pull = pull});
    }
}

static void hold_store(struct side *s, const struct batch *batch)
{
    assert_true(s->held_count < LANE_STORES_MAX);
    s->held[s->held_count++] = batch;
}

static void carry_out(struct pair *p, size_t who, const struct lane_update *u)
{
    struct side *s = &p->sides[who];
    int pipe;
    switch (u->kind) {
    case LANE_DO_DIAL:
        dial(p, who, u->link);
        break;
    case LANE_DO_SEND:
        pipe = find_pipe(p, who, u->link);
        if (pipe >= 0) {
            assert_true(p->last < FRAMES_MAX);
            s->sends++;
            p->frames[p->last++] = (struct frame){.to = 1 - who, .pipe = (uint64_t)pipe, .bytes = u->frame};
        }
        break;
    case LANE_DO_CLOSE:
        s->rule = u->rule ? u->rule : "";
        s->closes++;
        close_pipe(p, who, u->link);
        break;
    case LANE_DO_MAKE:
        if (s->hold_make) {
            s->held_make = u->make;
            s->made_held = true;
        } else {
            answer_make(p, who, &u->make);
        }
        break;
    case LANE_DO_STORE:
        s->hold_store ? hold_store(s, u->batch) : answer_store(p, who, u->batch);
        break;
    case LANE_DO_SETTLE:
        settle(s, &u->settle);
        break;
    case LANE_DO_TAKE:
        take_chunk(p, who, u->chunk);
        break;
    case LANE_DO_SERVE:
        serve_chunk(p, who, &u->serve);
        break;
    case LANE_DO_COMPLETE:
        s->completes++;
        break;
    case LANE_DO_REFILL:
        refill(p, who);
        break;
    case LANE_DO_ALARM:
        s->alarm = u->rule;
        break;
    case LANE_DO_GREET:
        break;
    }
}

static void tell(struct pair *p, size_t who, struct lane_event event)
{
    struct err err;
    struct side *s = &p->sides[who];
    struct lane_updates *updates = test_malloc(sizeof *updates);
    event.now_ms = p->now_ms;
    event.hlc = ++p->hlc;
    event.trust = p->f->trust;
    if (s->lane) {
        assert_ok(lane_step(s->lane, &event, &p->arena, updates, &err));
        for (size_t i = 0; i < updates->count && s->lane; i++) {
            carry_out(p, who, &updates->list[i]);
        }
    }
    test_free(updates);
}

/* ---- Running ------------------------------------------------------------------------------------------------------ */

static void start(struct pair *p, size_t who)
{
    struct side *s = &p->sides[who];
    static struct hash chains[LANE_WINDOW];
    size_t count = (size_t)(s->numbered - s->acked.n);
    for (size_t i = 0; i < count; i++) {
        chains[i] = s->items[s->acked.n + 1 + i].place.chain;
    }
    struct lane_config config = {.network = p->f->network,
                                 .self = p->f->members[who].id,
                                 .peer = p->f->members[1 - who].id,
                                 .lane = CHARTMESH__V1__LANE__LANE_CONTROL,
                                 .incarnation = s->incarnation,
                                 .epoch = s->epoch,
                                 .key = p->f->members[who].statement,
                                 .dials = s->dials,
                                 .seed = who + 1};
    struct lane_kept kept = {.acked = s->acked,
                             .chains = chains,
                             .count = count,
                             .their_ack = s->their_ack,
                             .peer_incarnation = s->peer_incarnation,
                             .stored = s->stored,
                             .their_head = s->their_head,
                             .except = s->except,
                             .except_count = s->except_count};
    s->lane = lane_new(&config, &kept);
}

/* The process dies: what is in memory is gone, what is kept stays. */
static void crash(struct pair *p, size_t who)
{
    struct side *s = &p->sides[who];
    lane_free(s->lane);
    s->lane = NULL;
    s->held_count = 0;
    s->made_held = false;
    for (size_t i = 0; i < p->pipe_count; i++) {
        if (p->pipes[i].open) {
            p->pipes[i].open = false;
            tell(p, 1 - who, (struct lane_event){.kind = LANE_CLOSED, .link = p->pipes[i].ids[1 - who]});
        }
    }
}

static void tick(struct pair *p, uint64_t ms)
{
    p->now_ms += ms;
    for (size_t who = 0; who < 2; who++) {
        tell(p, who, (struct lane_event){.kind = LANE_TICK});
    }
}

static void deliver_one(struct pair *p)
{
    struct frame frame = p->frames[p->first++];
    if (p->pipes[frame.pipe].open) {
        tell(p, frame.to,
             (struct lane_event){
                 .kind = LANE_RECEIVED, .link = p->pipes[frame.pipe].ids[frame.to], .frame = frame.bytes});
    }
    if (p->first == p->last) {
        p->first = p->last = 0;
    }
}

static void deliver(struct pair *p)
{
    while (p->first < p->last) {
        deliver_one(p);
    }
}

static void connect_both(struct pair *p)
{
    for (size_t i = 0; i < 200 && lane_status(p->sides[0].lane).state != LANE_LIVE; i++) {
        tick(p, 500);
        deliver(p);
    }
    assert_int_equal(lane_status(p->sides[0].lane).state, LANE_LIVE);
    assert_int_equal(lane_status(p->sides[1].lane).state, LANE_LIVE);
}

static void owe(struct pair *p, size_t who, size_t count)
{
    p->sides[who].owed += count;
    tell(p, who, (struct lane_event){.kind = LANE_WAKE});
}

/* Everything that 0 numbered arrived at 1, once, in order, and both agree on it. */
static void assert_agree(struct pair *p, size_t from)
{
    struct side *s = &p->sides[from], *r = &p->sides[1 - from];
    assert_int_equal(s->owed, 0);
    assert_int_equal(s->acked.n, s->numbered);
    assert_int_equal(r->stored.n, s->numbered);
    assert_true(s->numbered == 0 || hash_equal(&r->stored.chain, &s->items[s->numbered].place.chain));
    for (uint64_t n = 1; n <= s->numbered; n++) {
        struct err err;
        struct statement statement;
        assert_ok(statement_parse(s->items[n].statement, &p->arena, &statement, &err));
        assert_true(s->items[n].denied || n == r->fence_n || hash_equal(&r->received[n], &statement.id));
    }
}

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    assert_non_null(p);
    arena_init(&p->arena, (size_t)1 << 30);
    p->f = federation_new(2);
    p->now_ms = 1000;
    p->hlc = FEDERATION_HLC;
    for (size_t who = 0; who < 2; who++) {
        p->sides[who].me = who;
        p->sides[who].incarnation = 100 + who;
        p->sides[who].epoch = federation_sign_epoch(p->f, who, 100 + who, &p->arena);
        p->sides[who].dials = who == 0;
        start(p, who);
    }
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *p = *state;
    lane_free(p->sides[0].lane);
    lane_free(p->sides[1].lane);
    federation_free(p->f);
    arena_done(&p->arena);
    free(p);
    return 0;
}

/* ---- Rules -------------------------------------------------------------------------------------------------------- */

static void test_lane__both_streams_flow_over_one_connection(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    owe(p, 0, 700);
    owe(p, 1, 3);
    deliver(p);
    assert_int_equal(p->sides[0].numbered, 700);
    assert_int_equal(p->pipe_count, 1);
    assert_agree(p, 0);
    assert_agree(p, 1);
    assert_true(lane_idle(p->sides[0].lane) && lane_idle(p->sides[1].lane));
}

static void test_I24_no_ack_before_it_is_stored(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    p->sides[1].hold_store = true;
    owe(p, 0, 5);
    deliver(p);
    assert_int_equal(p->sides[1].held_count, 1);
    assert_int_equal(p->sides[0].acked.n, 0);
    assert_int_equal(lane_status(p->sides[1].lane).stored, 0);
    answer_store(p, 1, p->sides[1].held[0]);
    deliver(p);
    assert_int_equal(p->sides[0].acked.n, 5);
}

static void test_I23_nothing_is_sent_before_it_is_numbered_and_kept(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    p->sides[0].hold_make = true;
    size_t sent = p->sides[0].sends;
    owe(p, 0, 2);
    deliver(p);
    assert_true(p->sides[0].made_held);
    assert_int_equal(p->sides[0].sends, sent);
    assert_int_equal(lane_status(p->sides[0].lane).sent, 0);
    answer_make(p, 0, &p->sides[0].held_make);
    deliver(p);
    assert_agree(p, 0);
}

static void test_I23_numbers_that_do_not_follow_on_stop_the_node(void **state)
{
    struct pair *p = *state;
    struct err err;
    connect_both(p);
    p->sides[0].hold_make = true;
    owe(p, 0, 2);
    struct hash chain = {{0}};
    struct lane_updates *updates = test_malloc(sizeof *updates);
    struct lane_event event = {.kind = LANE_NUMBERED,
                               .now_ms = p->now_ms,
                               .hlc = ++p->hlc,
                               .trust = p->f->trust,
                               .numbered = {.first = 2, .count = 1, .chains = &chain}};
    assert_err(ERR_INTERNAL, lane_step(p->sides[0].lane, &event, &p->arena, updates, &err));
    event.numbered.first = 1;
    assert_ok(lane_step(p->sides[0].lane, &event, &p->arena, updates, &err));
    assert_err(ERR_STATE, lane_step(p->sides[1].lane, &event, &p->arena, updates, &err));
    test_free(updates);
}

static void test_I25_a_frame_that_comes_twice_changes_nothing(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    owe(p, 0, 4);
    struct frame batch = p->frames[p->first];
    deliver(p);
    size_t applied = p->sides[1].applied;
    for (int i = 0; i < 3; i++) {
        p->frames[p->last++] = batch;
        deliver(p);
    }
    assert_int_equal(p->sides[1].applied, applied);
    assert_int_equal(lane_status(p->sides[1].lane).state, LANE_LIVE);
    assert_agree(p, 0);
}

static void test_I23_a_lost_frame_closes_the_link_as_a_gap_and_is_made_up_for(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    owe(p, 0, 1);
    p->first = p->last = 0; /* lost */
    owe(p, 0, 1);
    deliver(p);
    assert_string_equal(p->sides[1].rule, "GAP");
    assert_int_equal(p->sides[1].stored.n, 0);
    connect_both(p);
    deliver(p);
    assert_agree(p, 0);
}

static void test_I23_frames_out_of_order_are_refused_and_come_again(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    owe(p, 0, 1);
    owe(p, 0, 1);
    struct frame swap = p->frames[p->first];
    p->frames[p->first] = p->frames[p->first + 1];
    p->frames[p->first + 1] = swap;
    deliver(p);
    assert_string_equal(p->sides[1].rule, "GAP");
    connect_both(p);
    deliver(p);
    assert_agree(p, 0);
}

/* A peer that numbers anew after having been set back, without saying so. */
static void test_I27_another_chain_for_known_numbers_is_refused(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    owe(p, 0, 3);
    deliver(p);
    struct bytes frame;
    struct err err;
    struct batch_part part = {.digest = {{9}}, .withdrawn = true};
    struct stream stream = {.network = p->f->network,
                            .sender = p->f->members[0].id,
                            .receiver = p->f->members[1].id,
                            .incarnation = 100,
                            .receiver_incarnation = 101,
                            .lane = CHARTMESH__V1__LANE__LANE_CONTROL};
    struct batch_parts forged = {
        .stream = &stream, .before = p->sides[0].items[3].place, .items = &part, .count = 1};
    forged.before.chain.bytes[0] ^= 1;
    assert_ok(batch_build(&forged, ++p->hlc, p->f->members[0].statement, &p->arena, &frame, NULL, &err));
    p->frames[p->last++] = (struct frame){.to = 1, .pipe = p->pipe_count - 1, .bytes = frame};
    deliver(p);
    assert_string_equal(p->sides[1].rule, "CHAIN");
    assert_int_equal(p->sides[1].stored.n, 3);
}

static void test_lane__the_receiver_restarts_with_unacked_batches(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    p->sides[1].hold_store = true;
    owe(p, 0, 300);
    deliver(p);
    crash(p, 1);
    p->sides[1].hold_store = false;
    start(p, 1);
    connect_both(p);
    deliver(p);
    assert_agree(p, 0);
    assert_int_equal(p->sides[1].applied, 300);
}

static void test_lane__the_sender_restarts_after_numbering_and_before_sending(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    owe(p, 0, 3);
    p->first = p->last = 0;
    crash(p, 0);
    assert_int_equal(p->sides[0].numbered, 3);
    start(p, 0);
    connect_both(p);
    deliver(p);
    assert_agree(p, 0);
    assert_int_equal(p->sides[0].numbered, 3);
}

static void test_lane__what_the_ack_did_not_say_the_next_hello_says(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    owe(p, 0, 3);
    deliver_one(p); /* the batch arrives and is stored; the ack is lost */
    assert_int_equal(p->sides[1].stored.n, 3);
    crash(p, 0);
    p->first = p->last = 0;
    assert_int_equal(p->sides[0].acked.n, 0);
    start(p, 0);
    connect_both(p);
    deliver(p);
    assert_agree(p, 0);
    assert_int_equal(p->sides[1].applied, 3);
}

static void test_I1_what_is_numbered_is_decided_again_and_goes_as_withdrawn(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    owe(p, 0, 3);
    p->first = p->last = 0;
    crash(p, 0);
    p->sides[0].items[2].denied = true; /* revoked meanwhile */
    start(p, 0);
    connect_both(p);
    deliver(p);
    assert_agree(p, 0);
    assert_true(hash_is_zero(&p->sides[1].received[2]));
}

static void test_I5_an_item_below_the_fence_is_told_to_the_sender(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    p->sides[1].fence_n = 2;
    owe(p, 0, 3);
    deliver(p);
    assert_agree(p, 0);
    assert_int_equal(p->sides[0].settled_count, 1);
    assert_int_equal(p->sides[0].settled[0].n, 2);
    assert_int_equal(p->sides[0].settled[0].result, CHARTMESH__V1__RESULT__RESULT_FENCED);
    assert_true(hash_is_zero(&p->sides[1].received[2]));
}

static void test_lane__an_exception_survives_the_loss_of_its_ack(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    p->sides[1].fence_n = 2;
    owe(p, 0, 3);
    deliver_one(p);
    crash(p, 1);
    p->first = p->last = 0;
    start(p, 1);
    connect_both(p);
    deliver(p);
    assert_agree(p, 0);
    assert_int_equal(p->sides[0].settled_count, 1);
    owe(p, 0, 1); /* it is repeated until seen, and settled once */
    deliver(p);
    assert_int_equal(p->sides[0].settled_count, 1);
}

static void test_lane__a_batch_that_cannot_be_stored_is_not_acked_and_comes_again(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    p->sides[1].hold_store = true;
    owe(p, 0, 1);
    owe(p, 0, 1);
    deliver(p);
    assert_int_equal(p->sides[1].held_count, 2);
    p->sides[1].fail_store = true;
    answer_store(p, 1, p->sides[1].held[0]);
    assert_string_equal(p->sides[1].rule, "STORE_FAILED");
    answer_store(p, 1, p->sides[1].held[1]);
    p->sides[1].hold_store = p->sides[1].fail_store = false;
    connect_both(p);
    deliver(p);
    assert_agree(p, 0);
    assert_int_equal(p->sides[1].applied, 2);
}

static void test_lane__batches_with_the_node_are_not_stored_twice_after_a_new_connection(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    p->sides[1].hold_store = true;
    owe(p, 0, 10);
    deliver(p);
    assert_int_equal(p->sides[1].held_count, 1);
    close_pipe(p, 0, p->pipes[p->pipe_count - 1].ids[0]);
    tell(p, 0, (struct lane_event){.kind = LANE_CLOSED, .link = p->pipes[p->pipe_count - 1].ids[0]});
    connect_both(p);
    owe(p, 0, 5);
    deliver(p);
    p->sides[1].hold_store = false;
    for (size_t i = 0; i < p->sides[1].held_count; i++) {
        answer_store(p, 1, p->sides[1].held[i]);
    }
    deliver(p);
    assert_agree(p, 0);
    assert_int_equal(p->sides[1].applied, 15);
}

static void test_lane__nothing_is_numbered_beyond_the_window_of_a_silent_peer(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    p->sides[1].hold_store = true;
    owe(p, 0, 3000);
    deliver(p);
    assert_true(p->sides[0].numbered <= LANE_WINDOW);
    assert_true(p->sides[1].held_count <= LANE_BATCHES_MAX);
    p->sides[1].hold_store = false;
    for (size_t i = 0; i < p->sides[1].held_count; i++) {
        answer_store(p, 1, p->sides[1].held[i]);
    }
    deliver(p);
    assert_agree(p, 0);
}

static void test_lane__connections_that_cross_end_as_one_on_both_sides(void **state)
{
    struct pair *p = *state;
    crash(p, 1);
    p->sides[1].dials = true;
    start(p, 1);
    tick(p, 1); /* both dial before either hears of the other */
    assert_int_equal(p->pipe_count, 2);
    deliver(p);
    size_t open = 0;
    for (size_t i = 0; i < p->pipe_count; i++) {
        open += p->pipes[i].open;
    }
    assert_int_equal(open, 1);
    connect_both(p);
    owe(p, 0, 2);
    owe(p, 1, 2);
    deliver(p);
    assert_agree(p, 0);
    assert_agree(p, 1);
}

static void test_lane__a_newer_connection_replaces_a_dead_one(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    lane_free(p->sides[0].lane); /* dies without a word: side 1 still believes in the old connection */
    p->pipes[0].ids[0] = UINT64_MAX;
    start(p, 0);
    connect_both(p);
    tick(p, 500);
    deliver(p);
    owe(p, 1, 2);
    deliver(p);
    assert_agree(p, 1);
    assert_string_equal(p->sides[1].rule, "REPLACED");
}

static void test_lane__a_peer_that_says_nothing_is_given_up_and_dialed_later_and_later(void **state)
{
    struct pair *p = *state;
    p->cut = true;
    size_t dials = 0;
    uint64_t link = 0;
    for (size_t i = 0; i < 1200; i++) {
        struct lane_updates *updates = test_malloc(sizeof *updates);
        struct err err;
        struct lane_event event = {
            .kind = LANE_TICK, .now_ms = p->now_ms += 100, .hlc = ++p->hlc, .trust = p->f->trust};
        assert_ok(lane_step(p->sides[0].lane, &event, &p->arena, updates, &err));
        for (size_t u = 0; u < updates->count; u++) {
            dials += updates->list[u].kind == LANE_DO_DIAL;
            link = updates->list[u].kind == LANE_DO_DIAL ? updates->list[u].link : link;
        }
        event.kind = LANE_CLOSED;
        event.link = link;
        assert_ok(lane_step(p->sides[0].lane, &event, &p->arena, updates, &err));
        test_free(updates);
    }
    assert_in_range(dials, 8, 20); /* two minutes: 0.1, 0.2, 0.4 … 30 s */
}

static void test_lane__an_ack_that_does_not_come_closes_the_link(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    p->sides[1].hold_store = true;
    owe(p, 0, 1);
    deliver(p);
    for (uint64_t ms = 0; ms < LANE_ACK_MS; ms += 1000) {
        tick(p, 1000);
    }
    assert_string_equal(p->sides[0].rule, "TIMEOUT");
}

static void test_lane__acks_of_what_was_never_sent_are_refused(void **state)
{
    struct pair *p = *state;
    struct err err;
    struct bytes envelope, frame;
    struct stream stream = {.network = p->f->network,
                            .sender = p->f->members[0].id,
                            .receiver = p->f->members[1].id,
                            .incarnation = 100,
                            .receiver_incarnation = 101,
                            .lane = CHARTMESH__V1__LANE__LANE_CONTROL};
    for (int round = 0; round < 2; round++) {
        connect_both(p);
        owe(p, 0, 2);
        deliver_one(p);
        p->first = p->last = 0;
        struct place place = round == 0 ? (struct place){.n = 7} : p->sides[0].items[2].place;
        place.chain.bytes[0] ^= 1;
        assert_ok(
            ack_sign(&stream, &place, NULL, 0, ++p->hlc, p->f->members[1].statement, &p->arena, &envelope, &err));
        assert_ok(frame_ack(envelope, &p->arena, &frame, &err));
        p->frames[p->last++] = (struct frame){.to = 0, .pipe = p->pipe_count - 1, .bytes = frame};
        p->sides[0].rule = NULL;
        deliver(p);
        assert_string_equal(p->sides[0].rule, "ACK");
        assert_int_equal(p->sides[0].acked.n, 0);
        crash(p, 1);
        p->sides[1].stored = (struct place){0};
        p->sides[1].their_head = BYTES_NONE;
        start(p, 1);
        crash(p, 0);
        p->sides[0].numbered = 0;
        start(p, 0);
    }
}

static void test_lane__a_hello_of_another_network_lane_or_epoch_is_refused(void **state)
{
    struct pair *p = *state;
    struct err err;
    for (int what = 0; what < 5; what++) {
        tick(p, 40000);
        assert_true(p->last > p->first);
        struct bytes hello = p->frames[p->first].bytes, frame;
        Chartmesh__V1__Frame *message = NULL;
        assert_ok(frame_unpack(hello, &p->arena, &message, &err));
        message->hello->protocol += what == 0;
        message->hello->network.data[0] ^= what == 1;
        message->hello->lane = what == 2 ? CHARTMESH__V1__LANE__LANE_BULK : message->hello->lane;
        message->hello->incarnation += what == 3;
        message->hello->epoch = what == 4 ? NULL : message->hello->epoch;
        assert_ok(frame_pack(message, &p->arena, &frame, &err));
        p->frames[p->first].bytes = frame;
        p->sides[1].rule = NULL;
        deliver(p);
        assert_string_equal(p->sides[1].rule, what == 0 ? "PROTOCOL" : "HELLO");
        assert_int_equal(lane_status(p->sides[1].lane).state, LANE_DOWN);
    }
    connect_both(p);
}

static void test_lane__the_first_frame_is_a_hello_and_only_the_first(void **state)
{
    struct pair *p = *state;
    struct err err;
    struct bytes credit;
    assert_ok(frame_credit(1, 1, &p->arena, &credit, &err));
    tick(p, 1);
    struct bytes hello = p->frames[p->first].bytes;
    p->frames[p->first].bytes = credit;
    deliver(p);
    assert_string_equal(p->sides[1].rule, "HELLO");
    connect_both(p);
    p->sides[1].rule = NULL;
    p->frames[p->last++] = (struct frame){.to = 1, .pipe = p->pipe_count - 1, .bytes = hello};
    deliver(p);
    assert_string_equal(p->sides[1].rule, "HELLO");
}

static void test_lane__garbage_and_oversized_frames_close_the_link(void **state)
{
    struct pair *p = *state;
    struct err err;
    void *large;
    assert_ok(arena_alloc(&p->arena, FRAME_MAX + 1, &large, &err));
    struct bytes bad[] = {BYTES_LIT("\xff\xff\xff"), BYTES_LIT(""), BYTES(large, FRAME_MAX + 1),
                          BYTES_LIT("\x42\x00")};
    for (size_t i = 0; i < COUNT(bad); i++) {
        connect_both(p);
        p->sides[1].rule = NULL;
        p->frames[p->last++] = (struct frame){.to = 1, .pipe = p->pipe_count - 1, .bytes = bad[i]};
        deliver(p);
        assert_non_null(p->sides[1].rule);
        assert_int_equal(lane_status(p->sides[1].lane).state, LANE_DOWN);
    }
}

static void test_lane__a_node_that_was_set_back_learns_it_from_its_peer(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    owe(p, 0, 3);
    deliver(p);
    crash(p, 0);
    p->sides[0].numbered = 1; /* an old backup */
    p->sides[0].acked = p->sides[0].items[1].place;
    start(p, 0);
    for (int i = 0; i < 20 && !p->sides[0].alarm; i++) {
        tick(p, 500);
        deliver(p);
    }
    assert_string_equal(p->sides[0].alarm, "SELF_ROLLED_BACK");
    assert_int_equal(lane_status(p->sides[0].lane).state, LANE_HALTED);
}

static void test_lane__what_the_node_cannot_go_on_with_stops_until_it_begins_anew(void **state)
{
    struct pair *p = *state;
    connect_both(p);
    tell(p, 0, (struct lane_event){.kind = LANE_STOP, .why = "no room"});
    struct lane_status status = lane_status(p->sides[0].lane);
    assert_int_equal(status.state, LANE_HALTED);
    assert_string_equal(status.last, "STOPPED: no room");
    assert_string_equal(p->sides[0].alarm, "STOPPED");
    tick(p, LANE_BACKOFF_MAX_MS);
    assert_int_equal(lane_status(p->sides[0].lane).state, LANE_HALTED);
    assert_int_equal(lane_status(p->sides[0].lane).next_link, status.next_link); /* and it dials no more */
}

static void test_lane__large_content_is_pulled_and_goes_on_where_it_stopped(void **state)
{
    struct pair *p = *state;
    p->sides[1].chunks_wanted = 40;
    connect_both(p);
    while (p->sides[1].taken < 10) {
        tick(p, 100);
        if (p->first < p->last) {
            deliver_one(p);
        }
    }
    crash(p, 0);
    p->first = p->last = 0;
    start(p, 0);
    for (int i = 0; i < 100 && p->sides[0].completes == 0; i++) {
        tick(p, 500);
        deliver(p);
    }
    assert_int_equal(p->sides[1].taken, 40);
    assert_in_range(p->sides[0].served, 40, 45);
    assert_int_equal(p->sides[0].completes, 1);
}

/* xorshift64: the same schedule every time. */
static uint64_t draw(uint64_t *state, uint64_t bound)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % bound;
}

static void test_I25_I26_any_schedule_of_losses_and_crashes_ends_with_both_in_agreement(void **state)
{
    struct pair *p = *state;
    uint64_t chance = 7;
    p->sides[1].dials = true;
    crash(p, 1);
    start(p, 1);
    for (int i = 0; i < 600; i++) {
        size_t who = draw(&chance, 2);
        int what = (int)draw(&chance, 100);
        if (what < 20 && p->sides[who].numbered + p->sides[who].owed < 1500) {
            owe(p, who, 1 + draw(&chance, 8));
        } else if (what < 22 && p->pipe_count < PIPES_MAX - 16) {
            crash(p, who);
            start(p, who);
        } else if (what < 24 && p->first < p->last) {
            p->first++; /* lost */
        } else if (what < 26 && p->first < p->last && p->last < FRAMES_MAX - 100) {
            p->frames[p->last++] = p->frames[p->first];
        } else if (what < 60) {
            tick(p, 50);
        } else if (p->first < p->last) {
            deliver_one(p);
        }
        if (p->first == p->last) {
            p->first = p->last = 0;
        }
    }
    for (int i = 0; i < 400; i++) {
        tick(p, 500);
        deliver(p);
    }
    assert_agree(p, 0);
    assert_agree(p, 1);
    assert_true(p->sides[0].numbered > 50);
    assert_int_equal(p->sides[1].applied, p->sides[0].numbered);
    assert_int_equal(p->sides[0].applied, p->sides[1].numbered);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_lane__both_streams_flow_over_one_connection),
        CASE(test_I24_no_ack_before_it_is_stored),
        CASE(test_I23_nothing_is_sent_before_it_is_numbered_and_kept),
        CASE(test_I23_numbers_that_do_not_follow_on_stop_the_node),
        CASE(test_I25_a_frame_that_comes_twice_changes_nothing),
        CASE(test_I23_a_lost_frame_closes_the_link_as_a_gap_and_is_made_up_for),
        CASE(test_I23_frames_out_of_order_are_refused_and_come_again),
        CASE(test_I27_another_chain_for_known_numbers_is_refused),
        CASE(test_lane__the_receiver_restarts_with_unacked_batches),
        CASE(test_lane__the_sender_restarts_after_numbering_and_before_sending),
        CASE(test_lane__what_the_ack_did_not_say_the_next_hello_says),
        CASE(test_I1_what_is_numbered_is_decided_again_and_goes_as_withdrawn),
        CASE(test_I5_an_item_below_the_fence_is_told_to_the_sender),
        CASE(test_lane__an_exception_survives_the_loss_of_its_ack),
        CASE(test_lane__a_batch_that_cannot_be_stored_is_not_acked_and_comes_again),
        CASE(test_lane__batches_with_the_node_are_not_stored_twice_after_a_new_connection),
        CASE(test_lane__nothing_is_numbered_beyond_the_window_of_a_silent_peer),
        CASE(test_lane__connections_that_cross_end_as_one_on_both_sides),
        CASE(test_lane__a_newer_connection_replaces_a_dead_one),
        CASE(test_lane__a_peer_that_says_nothing_is_given_up_and_dialed_later_and_later),
        CASE(test_lane__an_ack_that_does_not_come_closes_the_link),
        CASE(test_lane__acks_of_what_was_never_sent_are_refused),
        CASE(test_lane__a_hello_of_another_network_lane_or_epoch_is_refused),
        CASE(test_lane__the_first_frame_is_a_hello_and_only_the_first),
        CASE(test_lane__garbage_and_oversized_frames_close_the_link),
        CASE(test_lane__a_node_that_was_set_back_learns_it_from_its_peer),
        CASE(test_lane__what_the_node_cannot_go_on_with_stops_until_it_begins_anew),
        CASE(test_lane__large_content_is_pulled_and_goes_on_where_it_stopped),
        CASE(test_I25_I26_any_schedule_of_losses_and_crashes_ends_with_both_in_agreement),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
