#include "tests/lib/made.h"

#include <stdlib.h>

#include "proto/base/builder.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "proto/merkle/bundle.h"
#include "proto/merkle/checkpoint.h"
#include "proto/merkle/map.h"
#include "proto/statement/entry.h"
#include "proto/statement/trust.h"

enum { ENTRIES_MAX = 24, STATEMENTS_MAX = 32 };
#define INCARNATION ((uint64_t)0x0123456789abcdef)
#define INCARNATION_BEFORE ((uint64_t)7)
#define PB(fixed) pb_bytes(BYTES_OF(fixed))
#define KIND(name) CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_##name

struct line {
    struct bytes entry;
    struct hash r, commitment;
    bool shown, chained;
};

struct made {
    struct federation_member *us, *them;     /* whose log it is, and the other */
    struct federation *f;
    struct arena *arena;
    const struct made_wrong *wrong;
    struct signing_key *auditor;
    struct id patient;
    struct line lines[ENTRIES_MAX];
    size_t lines_len;
    struct statement statements[STATEMENTS_MAX];
    size_t statements_len;
    struct statement query;
    struct hash doctor, asker;               /* actors */
    struct hash version, policy, disclosure, authority, epoch;
    size_t map_at;
    struct merkle_edge edge;
    struct hash leaves[ENTRIES_MAX];
};

static Chartmesh__V1__Head *head(struct made *m, uint64_t seconds)
{
    struct err err;
    Chartmesh__V1__Head *out;
    assert_ok(
        head_make(&m->f->network, &m->us->id, FEDERATION_HLC + (seconds * 1000 << 16), m->arena, &out, &err));
    return out;
}

static struct statement sign_as(struct made *m, enum statement_kind kind, ProtobufCMessage *message,
                                const struct signing_key *key)
{
    struct err err;
    struct statement out;
    assert_ok(statement_sign(kind, message, &key, 1, m->arena, &out, &err));
    return out;
}

/* show puts a statement among the frames 5. */
static struct hash show(struct made *m, struct bytes envelope, bool wanted)
{
    struct err err;
    struct statement statement;
    assert_ok(statement_parse(envelope, m->arena, &statement, &err));
    for (size_t i = 0; wanted && i < m->statements_len; i++) {
        wanted = !hash_equal(&m->statements[i].id, &statement.id);
    }
    if (wanted) {
        assert_true(m->statements_len < STATEMENTS_MAX);
        m->statements[m->statements_len++] = statement;
    }
    return statement.id;
}

static void show_trust(struct made *m)
{
    struct err err;
    for (size_t k = 0; k < 2; k++) {
        struct bytes *envelopes;
        size_t count;
        assert_ok(trust_reach(m->f->trust, &m->f->members[k].id, m->arena, &envelopes, &count, &err));
        for (size_t i = 0; i < count; i++) {
            show(m, envelopes[i], true);
        }
    }
}

/* -- statements */

static Chartmesh__V1__Subject subject_of(struct id *facility, struct id *patient)
{
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    subject.facility = PB(*facility);
    subject.patient = PB(*patient);
    return subject;
}

static void make_version(struct made *m)
{
    struct federation_version version = {.patient = 1, .document = 1, .counter = 1, .content = BYTES_LIT("text")};
    struct bytes envelope = federation_sign_version(m->f, &version, m->arena);
    m->version = show(m, envelope,
                      !m->wrong->no_version && !m->wrong->absent && !(m->wrong->receiver && m->wrong->not_told));
    struct err err;
    struct statement statement;
    assert_ok(statement_parse(envelope, m->arena, &statement, &err));
    assert_true(
        id_from(bytes_pb(((const Chartmesh__V1__Version *)(const void *)statement.message)->subject->patient),
                &m->patient));
}

static void make_policy(struct made *m)
{
    struct federation_member *us = m->us, *them = m->them;
    Chartmesh__V1__Policy policy = CHARTMESH__V1__POLICY__INIT;
    Chartmesh__V1__Subject subject = subject_of(&m->f->members[0].id, &m->patient);
    Chartmesh__V1__Dot dot = CHARTMESH__V1__DOT__INIT;
    Chartmesh__V1__Rule rule = CHARTMESH__V1__RULE__INIT, *rules[] = {&rule};
    Chartmesh__V1__Assertor assertor = CHARTMESH__V1__ASSERTOR__INIT;
    Chartmesh__V1__Author author = CHARTMESH__V1__AUTHOR__INIT;
    Chartmesh__V1__Action actions[] = {CHARTMESH__V1__ACTION__ACTION_READ, CHARTMESH__V1__ACTION__ACTION_DISCLOSE};
    ProtobufCBinaryData facilities[] = {PB(them->id)};
    dot.tag = 9;
    dot.counter = 1;
    rule.id = 1;
    rule.effect = m->wrong->denied ? CHARTMESH__V1__EFFECT__EFFECT_DENY : CHARTMESH__V1__EFFECT__EFFECT_PERMIT;
    rule.actions = actions;
    rule.n_actions = COUNT(actions);
    rule.facilities = facilities;
    rule.n_facilities = 1;
    author.principal = (char *)"spiffe://test/f0.example/app/desk";
    author.user = (char *)"clerk";
    assertor.who = CHARTMESH__V1__WHO__WHO_STAFF;
    assertor.author = &author;
    policy.head = head(m, 0);
    policy.subject = &subject;
    policy.dot = &dot;
    policy.rules = rules;
    policy.n_rules = 1;
    policy.assertor = &assertor;
    m->policy = show(m, sign_as(m, STATEMENT_POLICY, &policy.base, us->statement).envelope,
                     !m->wrong->receiver && !m->wrong->absent);
}

static void make_authority(struct made *m)
{
    struct id other = {{1}};
    struct federation_member *us = m->us;
    Chartmesh__V1__Authority authority = CHARTMESH__V1__AUTHORITY__INIT;
    Chartmesh__V1__Subject subject =
        subject_of(&m->f->members[0].id, m->wrong->narrow_authority ? &other : &m->patient);
    Chartmesh__V1__Subject *subjects[] = {&subject};
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant from = CHARTMESH__V1__INSTANT__INIT, until = CHARTMESH__V1__INSTANT__INIT;
    char *purposes[] = {(char *)"HPAYMT"};
    from.ms = 1;
    until.ms = (int64_t)(FEDERATION_HLC >> 16) + 1;
    valid.from = &from;
    valid.until = m->wrong->old_authority ? &until : NULL;
    authority.head = head(m, 0);
    authority.duty = CHARTMESH__V1__DUTY__DUTY_AUDIT;
    authority.holder = (char *)"spiffe://test/f0.example/auditor/a";
    authority.key = PB(*signing_key_public(m->auditor));
    authority.subjects = subjects;
    authority.n_subjects = m->wrong->actor ? 0 : 1;
    authority.purposes = purposes;
    authority.n_purposes = 1;
    authority.valid = &valid;
    authority.version_headers = true;
    m->authority =
        show(m, sign_as(m, STATEMENT_AUTHORITY, &authority.base, us->statement).envelope, !m->wrong->no_authority);
}

static void make_epoch(struct made *m)
{
    Chartmesh__V1__Epoch epoch = CHARTMESH__V1__EPOCH__INIT;
    struct bytes note;
    struct err err;
    struct hash root = merkle_empty();
    epoch.head = head(m, 0);
    epoch.incarnation = m->wrong->other_epoch ? 5 : m->wrong->predecessor ? INCARNATION_BEFORE : INCARNATION;
    epoch.cause = CHARTMESH__V1__EPOCH_CAUSE__EPOCH_CAUSE_INIT;
    if (m->wrong->restored) {
        assert_ok(checkpoint_sign("f0.example/log/0000000000000007", 4, &root, m->us->checkpoint, m->arena, &note,
                                  &err));
        epoch.cause = CHARTMESH__V1__EPOCH_CAUSE__EPOCH_CAUSE_RESTORED;
        epoch.previous = INCARNATION_BEFORE;
        epoch.previous_checkpoint = pb_bytes(note);
    }
    m->epoch = show(m, sign_as(m, STATEMENT_EPOCH, &epoch.base, m->us->statement).envelope, true);
}

/* Does the log tell of the disclosure where the query asks? */
static bool told(const struct made *m)
{
    return !m->wrong->not_told && !m->wrong->absent && !m->wrong->actor;
}

static void make_disclosure(struct made *m)
{
    struct federation_disclosure disclosure = {
        .to = 1, .patient = 1, .versions = &m->version, .count = 1, .incarnation = 1, .generation = 1};
    m->disclosure =
        show(m, federation_sign_disclosure(m->f, &disclosure, m->arena), !m->wrong->no_disclosure && told(m));
    if (m->wrong->unnamed) {
        show(m, federation_sign_notice(m->f, 0, 1, 1, m->arena), true);
    }
}

static void make_query(struct made *m)
{
    struct hash other = {{8}};
    Chartmesh__V1__AuditQuery query = CHARTMESH__V1__AUDIT_QUERY__INIT;
    Chartmesh__V1__Subject subject = subject_of(&m->f->members[0].id, &m->patient);
    query.head = head(m, 10);
    query.principal = (char *)"spiffe://test/f0.example/auditor/a";
    query.authority = PB(m->authority);
    query.facility = PB(m->us->id);
    query.subject = m->wrong->actor ? NULL : &subject;
    query.actor = m->wrong->actor ? PB(m->doctor) : (ProtobufCBinaryData){0};
    query.purpose = (char *)(m->wrong->other_purpose ? "TREAT" : "HPAYMT");
    query.known_size = 2;
    struct hash known = m->wrong->known_fork ? other : merkle_root(m->leaves, 2);
    query.known_root = PB(known);
    m->query = sign_as(m, STATEMENT_AUDIT_QUERY, &query.base, m->auditor);
}

/* -- entries */

static void add(struct made *m, Chartmesh__V1__Entry *entry, bool shown, bool chained)
{
    struct err err;
    struct line *line = &m->lines[m->lines_len];
    uint64_t seconds = m->lines_len + 1;
    entry->hlc = FEDERATION_HLC + ((seconds * 1000 + (m->wrong->same_second ? 500 : 0)) << 16);
    if (m->wrong->clock_back && m->lines_len == 5) {
        entry->hlc = FEDERATION_HLC + 1;
    }
    assert_ok(entry_pack(entry, m->arena, &line->entry, &err));
    line->r = random_hash();
    line->commitment = entry_commitment(&line->r, line->entry);
    line->shown = shown;
    line->chained = chained;
    struct leaf data = leaf_data(&line->commitment);
    m->leaves[m->lines_len] = merkle_leaf(BYTES_OF(data));
    merkle_edge_add(&m->edge, &m->leaves[m->lines_len], NULL, NULL);
    assert_true(++m->lines_len < ENTRIES_MAX);
}

static void add_enrolment(struct made *m, const char *principal, struct hash *actor, bool shown)
{
    struct hash salt = random_hash();
    Chartmesh__V1__Entry entry = CHARTMESH__V1__ENTRY__INIT;
    Chartmesh__V1__Enrol enrol = CHARTMESH__V1__ENROL__INIT;
    *actor = actor_id(&salt, principal, "");
    enrol.salt = PB(salt);
    enrol.principal = (char *)principal;
    entry.kind = KIND(ENROL);
    entry.actor = PB(*actor);
    entry.enrol = &enrol;
    add(m, &entry, shown, m->wrong->actor && actor == &m->doctor);
}

/* An entry about the patient (or another), with one object. */
static void add_act(struct made *m, Chartmesh__V1__EntryKind kind, const struct hash *actor, struct hash object,
                    struct id patient, bool shown, bool chained)
{
    Chartmesh__V1__Entry entry = CHARTMESH__V1__ENTRY__INIT;
    Chartmesh__V1__Subject subject = subject_of(&m->f->members[0].id, &patient);
    ProtobufCBinaryData objects[] = {PB(object)};
    entry.kind = kind;
    entry.actor = actor ? PB(*actor) : (ProtobufCBinaryData){0};
    entry.subject = &subject;
    entry.objects = objects;
    entry.n_objects = 1;
    add(m, &entry, shown, chained);
}

static void add_disclose(struct made *m)
{
    struct id other = {{3}};
    Chartmesh__V1__Entry entry = CHARTMESH__V1__ENTRY__INIT;
    Chartmesh__V1__Subject subject = subject_of(&m->f->members[0].id, &m->patient);
    Chartmesh__V1__Decision decision = CHARTMESH__V1__DECISION__INIT;
    Chartmesh__V1__Basis basis = CHARTMESH__V1__BASIS__INIT, *bases[] = {&basis};
    ProtobufCBinaryData objects[] = {PB(m->version)};
    uint32_t rules[] = {m->wrong->bad_path ? 2 : 1};
    basis.policy = PB(m->policy);
    basis.rules = rules;
    basis.n_rules = 1;
    decision.effect = CHARTMESH__V1__EFFECT__EFFECT_PERMIT;
    decision.step = 3;
    if (!m->wrong->denied) {
        decision.basis = bases;
        decision.n_basis = 1;
    }
    entry.kind = m->wrong->receiver ? KIND(RECEIVE) : KIND(DISCLOSE);
    entry.subject = &subject;
    entry.objects = objects;
    entry.n_objects = 1;
    entry.decision = m->wrong->receiver ? NULL : &decision;
    entry.disclosure = PB(m->disclosure);
    entry.counterpart = m->wrong->other_recipient ? PB(other) : PB(m->them->id);
    add(m, &entry, true, true);
}

static void add_query(struct made *m)
{
    Chartmesh__V1__Entry entry = CHARTMESH__V1__ENTRY__INIT;
    Chartmesh__V1__Subject subject = subject_of(&m->f->members[0].id, &m->patient);
    ProtobufCBinaryData objects[] = {PB(m->query.id), PB(m->authority)};
    entry.kind = KIND(AUDIT_QUERY);
    entry.actor = PB(m->asker);
    entry.subject = m->wrong->actor ? NULL : &subject;
    entry.objects = objects;
    entry.n_objects = 2;
    add(m, &entry, !m->wrong->hidden_query, false);
}

static void add_epoch(struct made *m)
{
    Chartmesh__V1__Entry entry = CHARTMESH__V1__ENTRY__INIT;
    ProtobufCBinaryData objects[] = {PB(m->epoch)};
    entry.kind = KIND(EPOCH);
    entry.objects = objects;
    entry.n_objects = 1;
    add(m, &entry, !m->wrong->hidden_first, false);
}

struct chain_state {
    struct hash key, chain;
    uint64_t count, last;
};

static struct chain_state chain_of(struct made *m)
{
    struct chain_state s = {.key = map_key_patient(&m->f->members[0].id, &m->patient)};
    if (m->wrong->actor) {
        s.key = map_key_actor(&m->f->members[0].id, &m->doctor);
    }
    s.chain = chain_start(&s.key);
    for (size_t i = 0; i < m->lines_len; i++) {
        if (m->lines[i].chained) {
            s.chain = chain_next(&s.chain, &m->lines[i].commitment);
            s.count++;
            s.last = i;
        }
    }
    return s;
}

static void add_map(struct made *m, const struct map *map)
{
    Chartmesh__V1__Entry entry = CHARTMESH__V1__ENTRY__INIT;
    struct hash root = map_root(map);
    root.bytes[0] ^= m->wrong->other_root;
    entry.kind = KIND(MAP);
    entry.root = PB(root);
    m->map_at = m->lines_len;
    add(m, &entry, false, false);
}

/* -- the file */

static void frame(struct made *m, struct bundle_writer *writer, enum bundle_type type,
                  const ProtobufCMessage *message, struct builder *out)
{
    struct err err;
    struct bytes body;
    void *room;
    size_t len = protobuf_c_message_get_packed_size(message);
    assert_ok(arena_alloc(m->arena, len, &room, &err));
    protobuf_c_message_pack(message, room);
    body = BYTES(room, len);
    assert_ok(bundle_write_frame(writer, type, body, out, &err));
}

static bool get(void *context, unsigned level, uint64_t n, struct hash *out, struct err *err)
{
    (void)err;
    const struct made *m = context;
    *out = merkle_root(m->leaves + (n << level), (uint64_t)1 << level);
    return true;
}

struct proof_room {
    struct hash path[2 * MERKLE_PATH_MAX];
    ProtobufCBinaryData data[2 * MERKLE_PATH_MAX];
    Chartmesh__V1__Proof at;
    Chartmesh__V1__Opening opening;
};

static void prove(struct made *m, size_t index, struct proof_room *room)
{
    struct err err;
    size_t len;
    struct merkle_source source = {.get = get, .context = m};
    assert_ok(merkle_path(&source, index, m->lines_len, room->path, &len, &err));
    for (size_t i = 0; i < len; i++) {
        room->data[i] = PB(room->path[i]);
    }
    room->at = (Chartmesh__V1__Proof)CHARTMESH__V1__PROOF__INIT;
    room->at.index = index;
    room->at.path = room->data;
    room->at.n_path = len;
    room->opening = (Chartmesh__V1__Opening)CHARTMESH__V1__OPENING__INIT;
    room->opening.r = PB(m->lines[index].r);
    room->opening.entry = pb_bytes(m->lines[index].entry);
}

static void write_map(struct made *m, struct bundle_writer *writer, const struct map *map,
                      const struct chain_state *chain, struct builder *out)
{
    struct proof_room room;
    struct map_proof proof;
    ProtobufCBinaryData siblings[MAP_DEPTH_MAX];
    Chartmesh__V1__MapFrame message = CHARTMESH__V1__MAP_FRAME__INIT;
    prove(m, m->map_at, &room);
    map_prove(map, &chain->key, &proof);
    for (size_t i = 0; i < proof.siblings_len; i++) {
        siblings[i] = PB(proof.siblings[i]);
    }
    message.at = &room.at;
    message.opening = &room.opening;
    message.key = PB(chain->key);
    message.count = chain->count;
    message.last = chain->last;
    if (proof.end == MAP_PRESENT) {
        message.chain = PB(chain->chain);
    } else if (proof.end == MAP_OTHER) {
        message.other_key = PB(proof.other_key);
        message.other_value = PB(proof.other_value);
    }
    message.siblings = siblings;
    message.n_siblings = proof.siblings_len;
    frame(m, writer, BUNDLE_MAP, &message.base, out);
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(((const struct statement *)a)->id.bytes, ((const struct statement *)b)->id.bytes, HASH_LEN);
}

static void write_entries(struct made *m, struct bundle_writer *writer, struct builder *out)
{
    for (size_t i = 0; i < m->lines_len; i++) {
        struct proof_room room;
        Chartmesh__V1__EntryFrame message = CHARTMESH__V1__ENTRY_FRAME__INIT;
        if (m->lines[i].shown) {
            prove(m, i, &room);
            message.at = &room.at;
            message.opening = &room.opening;
            frame(m, writer, BUNDLE_ENTRY, &message.base, out);
        }
    }
}

static void write_known(struct made *m, struct bundle_writer *writer, struct builder *out)
{
    struct err err;
    struct hash path[2 * MERKLE_PATH_MAX], root = merkle_root(m->leaves, 2);
    ProtobufCBinaryData data[2 * MERKLE_PATH_MAX];
    struct merkle_source source = {.get = get, .context = m};
    Chartmesh__V1__ConsistencyFrame message = CHARTMESH__V1__CONSISTENCY_FRAME__INIT;
    assert_ok(merkle_consistency(&source, 2, m->lines_len, path, &message.n_path, &err));
    for (size_t i = 0; i < message.n_path; i++) {
        data[i] = PB(path[i]);
    }
    message.size = 2;
    message.root = PB(root);
    message.path = data;
    frame(m, writer, BUNDLE_CONSISTENCY, &message.base, out);
}

static void write_answer(struct made *m, struct bundle_writer *writer, const char *origin, struct builder *out)
{
    struct err err;
    Chartmesh__V1__AuditAnswer answer = CHARTMESH__V1__AUDIT_ANSWER__INIT;
    struct hash root = merkle_edge_root(&m->edge), frames_root = bundle_writer_root(writer, &answer.frames);
    answer.head = head(m, 60);
    answer.query = PB(m->query.id);
    answer.frames_root = PB(frames_root);
    answer.map_epoch = m->map_at + 1;
    answer.size = m->lines_len;
    answer.root = PB(root);
    answer.origin = (char *)origin;
    answer.epoch = PB(m->epoch);
    struct statement statement = sign_as(m, STATEMENT_AUDIT_ANSWER, &answer.base, m->us->statement);
    assert_ok(bundle_write_frame(writer, BUNDLE_ANSWER, statement.envelope, out, &err));
}

static struct bytes note_of(struct made *m, const char *origin)
{
    struct err err;
    struct bytes note, line;
    struct hash root = merkle_edge_root(&m->edge);
    assert_ok(checkpoint_sign(origin, m->lines_len, &root, m->us->checkpoint, m->arena, &note, &err));
    uint64_t seconds = m->wrong->early_witness ? 3 : m->wrong->same_second ? m->lines_len : 60;
    if (!m->wrong->no_cosignature) {
        assert_ok(checkpoint_cosign(note, m->wrong->receiver ? "f0.example/witness" : "f1.example/witness",
                                    (FEDERATION_HLC >> 16) / 1000 + seconds, m->them->witness, m->arena, &line,
                                    &err));
        assert_ok(checkpoint_add(note, line, m->arena, &note, &err));
    }
    return note;
}

static void write_bundle(struct made *m, const struct map *map, const struct chain_state *chain,
                         struct builder *out)
{
    const char *origin = m->wrong->receiver      ? "f1.example/log/0123456789abcdef"
                         : m->wrong->predecessor ? "f0.example/log/0000000000000007"
                                                 : "f0.example/log/0123456789abcdef";
    struct err err;
    struct bundle_writer writer = {0};
    assert_ok(bundle_write_frame(&writer, BUNDLE_QUERY, m->query.envelope, out, &err));
    assert_ok(bundle_write_frame(&writer, BUNDLE_CHECKPOINT, note_of(m, origin), out, &err));
    write_map(m, &writer, map, chain, out);
    qsort(m->statements, m->statements_len, sizeof *m->statements, compare_ids);
    for (size_t i = 0; i < m->statements_len; i++) {
        assert_ok(bundle_write_frame(&writer, BUNDLE_STATEMENT, m->statements[i].envelope, out, &err));
    }
    write_entries(m, &writer, out);
    write_known(m, &writer, out);
    write_answer(m, &writer, origin, out);
}

static void add_entries(struct made *m)
{
    struct id other = {{2}};
    struct hash ignored;
    bool shown = m->wrong->strange_entry || m->wrong->actor;
    add_epoch(m);
    add_enrolment(m, "spiffe://test/f0.example/app/doctor", &m->doctor,
                  !m->wrong->hidden_enrolment && !m->wrong->absent);
    add_enrolment(m, "spiffe://test/f0.example/auditor/a", &m->asker, true);
    if (m->wrong->enrolled_twice) {
        add_enrolment(m, "spiffe://test/f0.example/app/doctor", &ignored, true);
    }
    if (!m->wrong->receiver && !m->wrong->absent) {
        add_act(m, KIND(WRITE), &m->doctor, m->version, m->patient, true, true);
        add_act(m, KIND(POLICY), &m->doctor, m->policy, m->patient, !m->wrong->hidden_link, true);
    }
    if (told(m)) {
        add_disclose(m);
    }
    add_act(m, KIND(WRITE), &m->doctor, m->version, m->wrong->actor ? m->patient : other, shown, shown);
    for (int i = 0; m->wrong->reads && i < 2; i++) {
        add_act(m, KIND(READ), &m->doctor, m->version, m->patient, true, true);
    }
}

struct bytes made_bundle(struct federation *f, const struct made_wrong *wrong, struct arena *arena,
                         struct hash *query)
{
    struct err err;
    struct hash seed = {{42}};
    struct made *m;
    struct bytes bundle;
    void *room;
    AUTO_BUILDER(file, 1 << 20);
    assert_ok(arena_alloc(arena, sizeof *m, &room, &err));
    m = room;
    *m = (struct made){.f = f,
                       .arena = arena,
                       .wrong = wrong,
                       .us = &f->members[wrong->receiver],
                       .them = &f->members[!wrong->receiver]};
    assert_ok(signing_key_new(&seed, &m->auditor, &err));
    show_trust(m);
    make_version(m);
    make_policy(m);
    make_authority(m);
    make_epoch(m);
    make_disclosure(m);
    add_entries(m);
    struct map *map = map_new();
    struct chain_state chain = chain_of(m);
    struct hash value = map_value(chain.count, chain.last, &chain.chain), other = {{1}};
    map_set(map, &other, &other);
    if (chain.count > 0) {
        map_set(map, &chain.key, &value);
    }
    add_map(m, map);
    make_query(m);
    add_query(m);
    if (wrong->late_entry) {
        add_act(m, KIND(READ), &m->doctor, m->version, m->patient, true, false);
    }
    write_bundle(m, map, &chain, &file);
    *query = m->query.id;
    map_free(map);
    signing_key_free(m->auditor);
    assert_ok(builder_copy(&file, arena, &bundle, &err));
    return bundle;
}
