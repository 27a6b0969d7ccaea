#include "tests/lib/federation.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/chartmesh/v1/statement.pb-c.h"
#include "proto/crypto/hash.h"

#define PB(fixed) pb_bytes(BYTES_OF(fixed))

static struct hash seed_of(size_t member, const char *what)
{
    uint8_t number = (uint8_t)member;
    return HASH_PARTS(BYTES_LIT("federation"), BYTES(&number, 1), bytes_str(what));
}

static struct id small_id(size_t member, uint8_t kind, uint64_t n)
{
    struct id id = {{kind, (uint8_t)(member + 1)}};
    put_u64be(id.bytes + 8, n + 1);
    return id;
}

static struct signing_key *key_of(const struct hash *seed)
{
    struct err err;
    struct signing_key *key = NULL;
    assert_ok(signing_key_new(seed, &key, &err));
    return key;
}

static Chartmesh__V1__Head *head_of(struct federation *f, const struct id *facility, struct arena *arena)
{
    struct err err;
    Chartmesh__V1__Head *head = NULL;
    assert_ok(
        head_make(id_is_zero(&f->network) ? NULL : &f->network, facility, FEDERATION_HLC, arena, &head, &err));
    return head;
}

static struct statement signed_by(enum statement_kind kind, ProtobufCMessage *message,
                                  const struct signing_key *const *keys, size_t count, struct arena *arena)
{
    struct err err;
    struct statement statement;
    assert_ok(statement_sign(kind, message, keys, count, arena, &statement, &err));
    return statement;
}

static struct bytes signed_one(struct federation *f, enum statement_kind kind, ProtobufCMessage *message,
                               size_t by, struct arena *arena)
{
    const struct signing_key *key = f->members[by].statement;
    return signed_by(kind, message, &key, 1, arena).envelope;
}

/* ---- Founding ------------------------------------------------------------------------------------------------ */

static struct bytes found(struct federation *f, const struct signing_key *operator)
{
    Chartmesh__V1__Network network = CHARTMESH__V1__NETWORK__INIT;
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant from = CHARTMESH__V1__INSTANT__INIT;
    ProtobufCBinaryData keys[] = {PB(*signing_key_public(operator))};
    from.ms = 1;
    valid.from = &from;
    network.head = head_of(f, NULL, &f->arena);
    network.name = (char *)"test";
    network.operator_keys = keys;
    network.n_operator_keys = 1;
    network.threshold = 1;
    network.version = 1;
    network.valid = &valid;
    struct statement statement = signed_by(STATEMENT_NETWORK, &network.base, &operator, 1, &f->arena);
    f->first_network = statement.id;
    memcpy(f->network.bytes, statement.id.bytes, ID_LEN);
    return statement.envelope;
}

static struct hash join(struct federation *f, size_t i)
{
    struct federation_member *m = &f->members[i];
    m->id = small_id(i, 'f', i);
    snprintf(m->domain, sizeof m->domain, "f%zu.example", i);
    m->statement_seed = seed_of(i, "statement");
    m->checkpoint_seed = seed_of(i, "checkpoint");
    m->witness_seed = seed_of(i, "witness");
    m->sealing_secret = seed_of(i, "sealing");
    m->statement = key_of(&m->statement_seed);
    m->checkpoint = key_of(&m->checkpoint_seed);
    m->witness = key_of(&m->witness_seed);
    struct hash sealing = x25519_public(&m->sealing_secret), pin = seed_of(i, "pin");
    const struct signing_key *keys[] = {m->statement, m->checkpoint, m->witness};
    ProtobufCBinaryData pins[] = {PB(pin)};
    Chartmesh__V1__Membership membership = CHARTMESH__V1__MEMBERSHIP__INIT;
    membership.head = head_of(f, &m->id, &f->arena);
    membership.domain = m->domain;
    membership.name = m->domain;
    membership.version = 1;
    membership.statement_key = PB(*signing_key_public(m->statement));
    membership.checkpoint_key = PB(*signing_key_public(m->checkpoint));
    membership.witness_key = PB(*signing_key_public(m->witness));
    membership.sealing_key = PB(sealing);
    membership.tls_pins = pins;
    membership.n_tls_pins = 1;
    membership.status = CHARTMESH__V1__STATUS__STATUS_ACTIVE;
    struct statement statement = signed_by(STATEMENT_MEMBERSHIP, &membership.base, keys, 3, &f->arena);
    m->membership = statement.envelope;
    return statement.id;
}

static struct bytes list(struct federation *f, uint64_t version, const struct signing_key *operator,
                         struct arena * arena)
{
    Chartmesh__V1__Roster roster = CHARTMESH__V1__ROSTER__INIT;
    Chartmesh__V1__Instant expires = CHARTMESH__V1__INSTANT__INIT;
    ProtobufCBinaryData memberships[FEDERATION_MAX];
    for (size_t i = 0; i < f->count; i++) {
        memberships[i] = PB(f->memberships[i]);
    }
    expires.ms = INT64_C(4000000000000);
    roster.head = head_of(f, NULL, arena);
    roster.version = version;
    roster.memberships = memberships;
    roster.n_memberships = f->count;
    roster.expires = &expires;
    roster.network_version = 1;
    return signed_by(STATEMENT_ROSTER, &roster.base, &operator, 1, arena).envelope;
}

struct federation *federation_new(size_t count)
{
    struct err err;
    struct federation *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_true(count <= FEDERATION_MAX);
    arena_init(&f->arena, 1 << 20);
    f->count = count;
    struct hash seed = seed_of(0, "operator");
    struct signing_key *operator= key_of(&seed);
    struct bytes envelopes[FEDERATION_MAX + 2];
    envelopes[0] = found(f, operator);
    for (size_t i = 0; i < count; i++) {
        f->memberships[i] = join(f, i);
        envelopes[2 + i] = f->members[i].membership;
    }
    envelopes[1] = list(f, 1, operator, & f->arena);
    assert_ok(trust_new(&f->first_network, &f->trust, &err));
    assert_ok(trust_add(f->trust, envelopes, count + 2, NULL, &err));
    assert_ok(trust_write(f->trust, &f->arena, &f->trust_file, &err));
    signing_key_free(operator);
    return f;
}

struct bytes federation_roster(struct federation *f, uint64_t version, struct arena *arena)
{
    struct hash seed = seed_of(0, "operator");
    struct signing_key *operator= key_of(&seed);
    struct bytes roster = list(f, version, operator, arena);
    signing_key_free(operator);
    return roster;
}

void federation_free(struct federation *f)
{
    for (size_t i = 0; i < f->count; i++) {
        signing_key_free(f->members[i].statement);
        signing_key_free(f->members[i].checkpoint);
        signing_key_free(f->members[i].witness);
    }
    trust_free(f->trust);
    arena_done(&f->arena);
    free(f);
}

/* ---- What they sign -------------------------------------------------------------------------------------------- */

struct content_meta federation_content(const struct federation_version *v)
{
    struct content_meta meta = {.salt = {{v->document}}, .length = v->content.len};
    meta.root = content_root_of(&meta.salt, v->content);
    return meta;
}

struct bytes federation_sign_version(struct federation *f, const struct federation_version *v, struct arena *arena)
{
    struct id patient = small_id(v->origin, 'p', v->patient), document = small_id(v->origin, 'd', v->document);
    struct content_meta meta = federation_content(v);
    struct hash commitment = content_commitment(&meta.salt, meta.length, &meta.root);
    char principal[96];
    snprintf(principal, sizeof principal, "spiffe://test/%s/app/test", f->members[v->by].domain);
    Chartmesh__V1__Version version = CHARTMESH__V1__VERSION__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__Dot dot = CHARTMESH__V1__DOT__INIT;
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    Chartmesh__V1__Author author = CHARTMESH__V1__AUTHOR__INIT;
    Chartmesh__V1__Coding class = CHARTMESH__V1__CODING__INIT;
    ProtobufCBinaryData parents[] = {PB(v->parent)};
    class.system = (char *)"urn:test";
    class.code = (char *)"note";
    subject.facility = PB(f->members[v->origin].id);
    subject.patient = PB(patient);
    dot.tag = v->by + 1;
    dot.counter = v->counter;
    labels.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    author.principal = principal;
    version.head = head_of(f, &f->members[v->by].id, arena);
    version.subject = &subject;
    version.document = PB(document);
    version.dot = &dot;
    version.kind = CHARTMESH__V1__KIND__KIND_CONTENT;
    if (!hash_is_zero(&v->parent)) {
        version.kind = CHARTMESH__V1__KIND__KIND_AMENDMENT;
        version.parents = parents;
        version.n_parents = 1;
    }
    version.commitment = PB(commitment);
    version.length = meta.length;
    version.chunk_log2 = CHUNK_LOG2;
    version.media_type = (char *)"text/plain";
    version.class_ = &class;
    version.labels = &labels;
    version.author = &author;
    return signed_one(f, STATEMENT_VERSION, &version.base, v->by, arena);
}

struct bytes federation_sign_disclosure(struct federation *f, const struct federation_disclosure *d,
                                        struct arena *arena)
{
    struct id patient = small_id(d->by, 'p', d->patient);
    struct hash policy = seed_of(d->by, "policy");
    ProtobufCBinaryData versions[256];
    for (size_t i = 0; i < d->count; i++) {
        versions[i] = PB(d->versions[i]);
    }
    Chartmesh__V1__Disclosure disclosure = CHARTMESH__V1__DISCLOSURE__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__Basis basis = CHARTMESH__V1__BASIS__INIT, *bases[] = {&basis};
    Chartmesh__V1__Tree tree = CHARTMESH__V1__TREE__INIT, *trees[] = {&tree};
    Chartmesh__V1__Terms terms = CHARTMESH__V1__TERMS__INIT;
    basis.policy = PB(policy);
    tree.base_effect = CHARTMESH__V1__EFFECT__EFFECT_PERMIT;
    terms.trees = trees;
    terms.n_trees = 1;
    terms.notice = (char *)(d->no_notice ? "" : "42 CFR part 2 applies");
    subject.facility = PB(f->members[d->by].id);
    subject.patient = PB(patient);
    disclosure.head = head_of(f, &f->members[d->by].id, arena);
    disclosure.subject = &subject;
    disclosure.recipient = PB(f->members[d->to].id);
    disclosure.versions = versions;
    disclosure.n_versions = d->count;
    disclosure.basis = bases;
    disclosure.n_basis = d->no_basis ? 0 : 1;
    disclosure.terms = &terms;
    disclosure.incarnation = d->incarnation;
    disclosure.generation = d->generation;
    return signed_one(f, STATEMENT_DISCLOSURE, &disclosure.base, d->by, arena);
}

struct bytes federation_sign_notice(struct federation *f, size_t by, size_t to, uint64_t n, struct arena *arena)
{
    struct id patient = small_id(by, 'p', 0), document = small_id(by, 'd', n);
    Chartmesh__V1__Notice notice = CHARTMESH__V1__NOTICE__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    subject.facility = PB(f->members[by].id);
    subject.patient = PB(patient);
    notice.head = head_of(f, &f->members[by].id, arena);
    notice.subject = &subject;
    notice.receiver = PB(f->members[to].id);
    notice.document = PB(document);
    notice.kind = CHARTMESH__V1__NOTICE_KIND__NOTICE_KIND_RETRACTED;
    notice.incarnation = 1;
    notice.generation = 1;
    return signed_one(f, STATEMENT_NOTICE, &notice.base, by, arena);
}

struct bytes federation_sign_order(struct federation *f, size_t by, size_t to, uint8_t patient,
                                   uint64_t generation, struct arena *arena)
{
    struct id patient_id = small_id(by, 'p', patient);
    Chartmesh__V1__PurgeOrder order = CHARTMESH__V1__PURGE_ORDER__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    subject.facility = PB(f->members[by].id);
    subject.patient = PB(patient_id);
    order.head = head_of(f, &f->members[by].id, arena);
    order.subject = &subject;
    order.receiver = PB(f->members[to].id);
    order.incarnation = 1;
    order.generation = generation;
    order.cause = CHARTMESH__V1__CAUSE__CAUSE_REVOKED;
    return signed_one(f, STATEMENT_PURGE_ORDER, &order.base, by, arena);
}

struct bytes federation_sign_epoch(struct federation *f, size_t by, uint64_t incarnation, struct arena *arena)
{
    Chartmesh__V1__Epoch epoch = CHARTMESH__V1__EPOCH__INIT;
    epoch.head = head_of(f, &f->members[by].id, arena);
    epoch.incarnation = incarnation;
    epoch.cause = CHARTMESH__V1__EPOCH_CAUSE__EPOCH_CAUSE_INIT;
    return signed_one(f, STATEMENT_EPOCH, &epoch.base, by, arena);
}
