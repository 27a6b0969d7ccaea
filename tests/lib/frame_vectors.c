/* entry.txt: entries of the log as bytes. frames.txt: what goes over a stream, and what of it is taken. */
#include "proto/base/builder.h"
#include "proto/statement/entry.h"
#include "replication/frame.h"
#include "tests/lib/federation.h"
#include "tests/lib/make_vectors.h"

enum { BUDGET = 64 << 20, TAMPERED_MAX = 4096 };
#define PB(fixed) pb_bytes(BYTES_OF(fixed))

/* -- entry.txt */

static void entry_accepted(FILE *out, Chartmesh__V1__Entry *entry, struct arena *arena, struct bytes *bytes)
{
    struct err err;
    assert_ok(entry_pack(entry, arena, bytes, &err));
    fprintf(out, "accept %s\n", vectors_hex(*bytes, arena));
}

static void entry_refused(FILE *out, const char *rule, struct bytes a, struct bytes b, struct arena *arena)
{
    struct err err;
    struct bytes all;
    Chartmesh__V1__Entry *entry;
    AUTO_BUILDER(bytes, TAMPERED_MAX);
    build_bytes(&bytes, a);
    build_bytes(&bytes, b);
    assert_ok(builder_copy(&bytes, arena, &all, &err));
    if (entry_unpack(all, arena, &entry, &err)) {
        fail_msg("%s: it is taken", rule);
    }
    fprintf(out, "refuse %s %s\n", vectors_hex(all, arena), rule);
}

void vectors_entry(FILE *out)
{
    AUTO_ARENA(arena, BUDGET);
    vectors_again();
    fprintf(out, "# Entries of the log (docs/protocol/06-log.md). Format: README.md.\n\n");
    struct bytes bytes = BYTES_NONE;
    struct id facility = {{0xf}}, patient = {{0xa}};
    struct hash object = {{1}}, salt = {{2}}, actor = actor_id(&salt, "spiffe://test/f0.example/app/a", "ana");
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__Enrol enrol = CHARTMESH__V1__ENROL__INIT;
    ProtobufCBinaryData objects[] = {PB(object)};
    enrol.salt = PB(salt);
    enrol.principal = (char *)"spiffe://test/f0.example/app/a";
    enrol.user = (char *)"ana";
    subject.facility = PB(facility);
    subject.patient = PB(patient);
    for (int kind = 1; kind <= CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_QUARANTINE; kind++) {
        Chartmesh__V1__Entry entry = CHARTMESH__V1__ENTRY__INIT;
        entry.kind = (Chartmesh__V1__EntryKind)kind;
        entry.hlc = FEDERATION_HLC + (uint64_t)kind;
        if (kind == CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_ENROL) {
            entry.enrol = &enrol;
            entry.actor = PB(actor);
        } else if (kind == CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_MAP) {
            entry.root = PB(object);
        } else {
            entry.subject = &subject;
            entry.objects = objects;
            entry.n_objects = 1;
            entry.actor = PB(actor);
        }
        entry_accepted(out, &entry, &arena, &bytes);
    }
    /* Every length of the reason around one unit: padding of all kinds, none included. */
    char reason[ENTRY_UNIT + 1];
    memset(reason, 'r', sizeof reason);
    for (size_t len = ENTRY_UNIT - 16; len <= ENTRY_UNIT; len++) {
        Chartmesh__V1__Entry entry = CHARTMESH__V1__ENTRY__INIT;
        char text[sizeof reason];
        snprintf(text, sizeof text, "%.*s", (int)len - 1, reason);
        entry.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_ADMIN;
        entry.hlc = 1;
        entry.reason = text;
        entry_accepted(out, &entry, &arena, &bytes);
    }
    Chartmesh__V1__Entry entry = CHARTMESH__V1__ENTRY__INIT;
    entry.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_ADMIN;
    entry.hlc = 1;
    entry_accepted(out, &entry, &arena, &bytes);
    uint8_t dirty[ENTRY_UNIT], zeros[ENTRY_UNIT] = {0};
    memcpy(dirty, bytes.data, ENTRY_UNIT);
    dirty[ENTRY_UNIT - 1] = 1;
    entry_refused(out, "padding that is not zeros", BYTES(dirty, ENTRY_UNIT), BYTES_NONE, &arena);
    entry_refused(out, "no padding", BYTES(bytes.data, 4), BYTES_NONE, &arena);
    entry_refused(out, "a length that is no multiple of 256", BYTES(bytes.data, ENTRY_UNIT - 1), BYTES_NONE,
                  &arena);
    entry_refused(out, "bytes behind it", bytes, BYTES(zeros, ENTRY_UNIT), &arena);
    entry_refused(out, "padding twice", bytes, BYTES(bytes.data + 4, bytes.len - 4), &arena);
    entry_refused(out, "kind 0", BYTES_LIT("\x08\x00"), BYTES(bytes.data + 2, bytes.len - 2), &arena);
    entry_refused(out, "a kind that is not listed", BYTES_LIT("\x08\x21"), BYTES(bytes.data + 2, bytes.len - 2),
                  &arena);
    entry_refused(out, "required and absent: hlc", BYTES(bytes.data, 2), BYTES_NONE, &arena);
}

/* -- frames.txt */

struct frame_lines {
    FILE *out;
    struct federation *f;
    struct arena arena;
    struct stream stream;
    struct batch_part items[2];
    struct batch_parts parts;
    struct hash versions[2];
    struct content_meta contents[2];
    struct statement disclosure;
};

static struct statement parsed(struct frame_lines *l, struct bytes envelope)
{
    struct err err;
    struct statement statement;
    assert_ok(statement_parse(envelope, &l->arena, &statement, &err));
    return statement;
}

/* Two versions of one patient from facility 0 to facility `to` under one disclosure of the first `disclosed`. */
static void compose(struct frame_lines *l, size_t to, size_t disclosed, bool no_basis)
{
    struct err err;
    struct hash sorted[2];
    struct statement versions[2];
    for (size_t i = 0; i < 2; i++) {
        struct federation_version version = {
            .patient = 1, .document = (uint8_t)i, .counter = 1, .content = BYTES_LIT("blood pressure 120/80")};
        versions[i] = parsed(l, federation_sign_version(l->f, &version, &l->arena));
        l->contents[i] = federation_content(&version);
        l->items[i] = (struct batch_part){
            .kind = ITEM_VERSION, .statement = versions[i].envelope, .content = &l->contents[i]};
        assert_ok(chunk_code(version.content, &l->arena, &l->items[i].chunk0, &err));
        l->versions[i] = sorted[i] = versions[i].id;
    }
    if (disclosed == 2 && bytes_compare(BYTES_OF(sorted[0]), BYTES_OF(sorted[1])) > 0) {
        sorted[0] = l->versions[1];
        sorted[1] = l->versions[0];
    }
    struct federation_disclosure terms = {.to = to,
                                          .patient = 1,
                                          .versions = sorted,
                                          .count = disclosed,
                                          .incarnation = 7,
                                          .generation = 2,
                                          .no_basis = no_basis};
    l->disclosure = parsed(l, federation_sign_disclosure(l->f, &terms, &l->arena));
    for (size_t i = 0; i < 2; i++) {
        struct item_facts facts = item_facts_of(ITEM_VERSION, &versions[i], &l->disclosure);
        l->items[i].disclosure = l->disclosure.id;
        l->items[i].digest = item_digest(&facts);
    }
    l->parts = (struct batch_parts){.stream = &l->stream,
                                    .before = stream_begin(&l->stream),
                                    .items = l->items,
                                    .count = 2,
                                    .disclosures = &l->disclosure.envelope,
                                    .disclosures_count = 1};
}

static Chartmesh__V1__Frame *build(struct frame_lines *l)
{
    struct err err;
    struct bytes bytes;
    Chartmesh__V1__Frame *frame;
    assert_ok(
        batch_build(&l->parts, FEDERATION_HLC + 1, l->f->members[0].statement, &l->arena, &bytes, NULL, &err));
    assert_ok(frame_unpack(bytes, &l->arena, &frame, &err));
    return frame;
}

/* `rule` (NULL: it is taken) is the name that goes back to the peer. */
static void judge_batch(struct frame_lines *l, const struct place *at, const Chartmesh__V1__Frame *frame,
                        const char *rule)
{
    struct err err = {0};
    struct statement head;
    struct batch batch;
    struct bytes bytes;
    assert_ok(frame_pack(frame, &l->arena, &bytes, &err));
    bool ok = batch_head(frame->batch, &l->stream, l->f->trust, &l->arena, &head, &err) &&
              batch_check(frame->batch, &head, &l->stream, at, l->f->trust, &l->arena, &batch, &err);
    if (ok == (rule != NULL) || (rule && strcmp(rule, err.field) != 0)) {
        fail_msg("%s: %s %s", rule ? rule : "taken", err.field, err.text);
    }
    fprintf(l->out, "at %ju %s\n", (uintmax_t)at->n, HEX(at->chain).text);
    if (ok) {
        fprintf(l->out, "batch %zu %ju %s %s\n", batch.count, (uintmax_t)batch.after.n,
                HEX(batch.after.chain).text, vectors_hex(bytes, &l->arena));
    } else {
        fprintf(l->out, "refuse-batch %s %s\n", vectors_hex(bytes, &l->arena), rule);
    }
}

static void batches(struct frame_lines *l)
{
    struct place begin = stream_begin(&l->stream), seen;
    Chartmesh__V1__Frame *frame;
    compose(l, 1, 2, false);
    judge_batch(l, &begin, build(l), NULL);
    seen = stream_next(&begin, &l->items[0].digest);
    judge_batch(l, &seen, build(l), NULL);
    l->parts.before = seen;
    judge_batch(l, &begin, build(l), "GAP");
    l->parts.before = begin;
    l->parts.before.chain.bytes[3] ^= 1;
    judge_batch(l, &begin, build(l), "CHAIN");
    l->parts.before = begin;
    frame = build(l);
    Chartmesh__V1__Item *first = frame->batch->items[0];
    frame->batch->items[0] = frame->batch->items[1];
    frame->batch->items[1] = first;
    judge_batch(l, &begin, frame, "CHAIN");
    frame = build(l);
    frame->batch->n_items = 1;
    judge_batch(l, &begin, frame, "COUNT");
    frame = build(l);
    frame->batch->n_disclosures = 0;
    judge_batch(l, &begin, frame, "DISCLOSURE");
    frame = build(l);
    frame->batch->items[1]->content->root.data[0] ^= 1;
    judge_batch(l, &begin, frame, "CONTENT");
    l->items[0].withdrawn = true;
    judge_batch(l, &begin, build(l), NULL);
    compose(l, 1, 1, false);
    judge_batch(l, &begin, build(l), "DISCLOSURE");
    compose(l, 1, 2, true);
    judge_batch(l, &begin, build(l), "DISCLOSURE");
    compose(l, 2, 2, false);
    judge_batch(l, &begin, build(l), "RECIPIENT");
}

static void say_frame(struct frame_lines *l, const char *member, struct bytes frame)
{
    fprintf(l->out, "frame %s %s\n", member, vectors_hex(frame, &l->arena));
}

static void refuse_frame(struct frame_lines *l, struct bytes a, struct bytes b, const char *rule)
{
    struct err err;
    struct bytes all;
    Chartmesh__V1__Frame *frame;
    AUTO_BUILDER(bytes, TAMPERED_MAX);
    build_bytes(&bytes, a);
    build_bytes(&bytes, b);
    assert_ok(builder_copy(&bytes, &l->arena, &all, &err));
    if (frame_unpack(all, &l->arena, &frame, &err)) {
        fail_msg("%s: it is taken", rule);
    }
    fprintf(l->out, "refuse-frame %s %s\n", all.len ? vectors_hex(all, &l->arena) : "-", rule);
}

static void small_frames(struct frame_lines *l)
{
    struct err err;
    struct bytes frame, want, ack;
    struct hash path[] = {{{1}}, {{2}}};
    struct place begin = stream_begin(&l->stream), at = stream_next(&begin, &l->items[0].digest);
    Chartmesh__V1__Exception fenced = CHARTMESH__V1__EXCEPTION__INIT;
    fenced.n = 1;
    fenced.result = CHARTMESH__V1__RESULT__RESULT_FENCED;
    assert_ok(frame_credit(64, 1 << 20, &l->arena, &frame, &err));
    say_frame(l, "credit", frame);
    assert_ok(frame_want(&l->versions[0], &l->disclosure.id, 3, 16, &l->arena, &want, &err));
    say_frame(l, "want", want);
    assert_ok(frame_chunk(&l->versions[0], &l->disclosure.id, 3, l->items[0].chunk0, path, COUNT(path), &l->arena,
                          &frame, &err));
    say_frame(l, "chunk", frame);
    assert_ok(ack_sign(&l->stream, &at, &fenced, 1, FEDERATION_HLC + 2, l->f->members[1].statement, &l->arena,
                       &ack, &err));
    assert_ok(frame_ack(ack, &l->arena, &frame, &err));
    say_frame(l, "ack", frame);
    refuse_frame(l, BYTES_NONE, BYTES_NONE, "no member");
    refuse_frame(l, want, frame, "two members");
    refuse_frame(l, BYTES(want.data, want.len - 1), BYTES_NONE, "cut");
    refuse_frame(l, BYTES_LIT("\x42\x00"), BYTES_NONE, "a member that is not in this type");
}

void vectors_frames(FILE *out)
{
    struct frame_lines l = {.out = out};
    vectors_again();
    arena_init(&l.arena, BUDGET);
    l.f = federation_new(3);
    l.stream = (struct stream){.network = l.f->network,
                               .sender = l.f->members[0].id,
                               .receiver = l.f->members[1].id,
                               .incarnation = 7,
                               .receiver_incarnation = 9,
                               .lane = CHARTMESH__V1__LANE__LANE_BULK};
    fprintf(
        out,
        "# Frames of the streams between facilities (docs/protocol/05-replication.md). Format: README.md.\n\n");
    fprintf(out, "trust %s %s\n", HEX(l.f->first_network).text, vectors_hex(l.f->trust_file, &l.arena));
    fprintf(out, "stream %s 7 %s 9 2\n", HEX(l.stream.sender).text, HEX(l.stream.receiver).text);
    batches(&l);
    small_frames(&l);
    federation_free(l.f);
    arena_done(&l.arena);
}
