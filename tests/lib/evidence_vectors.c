/* evidence.txt: bundles, what the verifier is given, and its answer to every claim. */
#include "client/verify/verify.h"
#include "proto/base/reader.h"
#include "tests/lib/made.h"
#include "tests/lib/make_vectors.h"

enum { BUDGET = 64 << 20 };

struct evidence_lines {
    FILE *out;
    struct federation *f;
    struct arena arena;
};

/* What the verifier is told otherwise than the asker would. */
struct inputs {
    bool no_network;
    uint64_t network_version, roster_version;    /* 0: 1 */
    uint32_t quorum;                             /* 0: 1 */
    const struct hash *query;                    /* NULL: the right one */
    struct bytes earlier;
};

static void say_base64(struct evidence_lines *l, const char *word, struct bytes file)
{
    struct err err;
    void *room;
    assert_ok(arena_alloc(&l->arena, 4 * ((file.len + 2) / 3) + 1, &room, &err));
    fprintf(l->out, "%s %s\n", word, base64_encode(file, room));
}

static void say_state(struct evidence_lines *l, const char *word, enum verify_state state, const char *name)
{
    static const char *const states[] = {
        [VERIFY_PROVED] = "PROVED", [VERIFY_NOT_PROVED] = "NOT-PROVED", [VERIFY_CONTRADICTED] = "CONTRADICTED"};
    fprintf(l->out, "%s %s%s%s\n", word, states[state], *name ? " " : "", name);
}

static void say(struct evidence_lines *l, const char *what, struct bytes bundle, const struct hash *query,
                const struct inputs *inputs)
{
    struct err err;
    struct verify_report report;
    const struct verify_options options = {
        .network = inputs->no_network ? NULL : &l->f->first_network,
        .network_version = MAX(inputs->network_version, 1),
        .roster_version = MAX(inputs->roster_version, 1),
        .quorum = MAX(inputs->quorum, 1),
        .query = inputs->query ? inputs->query : query,
        .earlier = &inputs->earlier,
        .earlier_len = inputs->earlier.len > 0,
    };
    fprintf(l->out, "\ncase %s\ngiven %s %ju %ju %u %s\n", what,
            options.network ? HEX(*options.network).text : "-", (uintmax_t)options.network_version,
            (uintmax_t)options.roster_version, options.quorum, HEX(*options.query).text);
    if (inputs->earlier.len > 0) {
        say_base64(l, "earlier", inputs->earlier);
    }
    say_base64(l, "bundle", bundle);
    assert_ok(verify_bundle(bundle, &options, &l->arena, &report, &err));
    for (int i = 0; i < VERIFY_CLAIMS; i++) {
        say_state(l, "claim", report.claims[i].state, verify_claim_name((enum verify_claim)i));
    }
    say_state(l, "verdict", report.verdict, "");
}

static void say_made(struct evidence_lines *l, const char *what, const struct made_wrong *wrong,
                     const struct inputs *inputs)
{
    struct hash query;
    vectors_again();
    struct bytes bundle = made_bundle(l->f, wrong, &l->arena, &query);
    say(l, what, bundle, &query, inputs);
}

/* Where the nth frame of a type begins, and how long it is. */
static struct bytes frame_at(struct bytes file, uint8_t type, size_t n)
{
    struct reader r = reader_of(file);
    read_bytes(&r, 8);
    while (r.left.len > 0) {
        const uint8_t *from = r.left.data;
        uint32_t len = read_u32be(&r);
        uint8_t is = read_u8(&r);
        read_bytes(&r, len);
        if (is == type && n-- == 0) {
            return BYTES(from, (size_t)(r.left.data - from));
        }
    }
    fail_msg("no such frame");
    return BYTES_NONE;
}

static struct bytes without(struct evidence_lines *l, struct bytes file, struct bytes frame)
{
    struct err err;
    struct bytes out;
    size_t before = (size_t)(frame.data - file.data);
    AUTO_BUILDER(b, 1 << 20);
    build_bytes(&b, BYTES(file.data, before));
    build_bytes(&b, BYTES(frame.data + frame.len, file.len - before - frame.len));
    assert_ok(builder_copy(&b, &l->arena, &out, &err));
    return out;
}

/* The file as it came, then with something done to it that no signer knows of. */
static void tampered(struct evidence_lines *l)
{
    struct err err;
    struct hash query;
    struct bytes flipped;
    const struct inputs usual = {0};
    vectors_again();
    struct bytes bundle = made_bundle(l->f, &(struct made_wrong){0}, &l->arena, &query);
    struct bytes entry = frame_at(bundle, 4, 3), statement = frame_at(bundle, 5, 2);
    assert_ok(arena_copy(&l->arena, bundle, &flipped, &err));
    ((uint8_t *)(uintptr_t)flipped.data)[entry.data - bundle.data + (ptrdiff_t)entry.len / 2] ^= 1;
    say(l, "a bit of an entry flipped", flipped, &query, &usual);
    assert_ok(arena_copy(&l->arena, bundle, &flipped, &err));
    ((uint8_t *)(uintptr_t)flipped.data)[statement.data - bundle.data + (ptrdiff_t)statement.len - 80] ^= 1;
    say(l, "a bit of a statement flipped", flipped, &query, &usual);
    say(l, "an entry dropped from the file", without(l, bundle, entry), &query, &usual);
    say(l, "a statement dropped from the file", without(l, bundle, statement), &query, &usual);
    say(l, "cut", BYTES(bundle.data, bundle.len - 1), &query, &usual);
}

static void given_otherwise(struct evidence_lines *l)
{
    const struct made_wrong right = {0};
    struct hash other = {{1}}, query;
    say_made(l, "the verifier is given no network", &right, &(struct inputs){.no_network = true});
    say_made(l, "it demands a newer network", &right, &(struct inputs){.network_version = 2});
    say_made(l, "it demands a newer roster", &right, &(struct inputs){.roster_version = 2});
    say_made(l, "it demands two witnesses", &right, &(struct inputs){.quorum = 2});
    say_made(l, "another query was sent", &right, &(struct inputs){.query = &other});
    vectors_again();
    struct bytes earlier = made_bundle(l->f, &right, &l->arena, &query);
    say_made(l, "the log grew since an earlier bundle", &(struct made_wrong){.reads = true},
             &(struct inputs){.earlier = earlier});
    earlier = made_bundle(l->f, &right, &l->arena, &query);     /* drawn anew: another log */
    say_made(l, "the log was written anew since an earlier bundle", &(struct made_wrong){.reads = true},
             &(struct inputs){.earlier = earlier});
}

void vectors_evidence(FILE *out)
{
    static const struct {
        const char *what;
        struct made_wrong wrong;
    } cases[] = {
        {"a patient, nothing wrong", {0}},
        {"an actor, nothing wrong", {.actor = true}},
        {"a patient of whom the log has nothing", {.absent = true}},
        {"nobody cosigned the checkpoint", {.no_cosignature = true}},
        {"an entry of the chain is not shown", {.hidden_link = true}},
        {"entry 0 is not shown", {.hidden_first = true}},
        {"cosigned in the second of the newest entry", {.same_second = true}},
        {"cosigned before some entries say that they happened", {.early_witness = true}},
        {"the query's own entry is not shown", {.hidden_query = true}},
        {"an actor's enrolment is not shown", {.hidden_enrolment = true}},
        {"the authority is not shown", {.no_authority = true}},
        {"the disclosure is not shown", {.no_disclosure = true}},
        {"the version is not shown", {.no_version = true}},
        {"the log was restored, and only this part is shown", {.restored = true}},
        {"another patient's entry in the chain", {.strange_entry = true}},
        {"an actor enrolled twice", {.enrolled_twice = true}},
        {"an entry of the patient after the map epoch", {.late_entry = true}},
        {"the clock went back", {.clock_back = true}},
        {"the MAP entry has another root", {.other_root = true}},
        {"the epoch statement is of another log", {.other_epoch = true}},
        {"the asker knew another tree", {.known_fork = true}},
        {"an authority over another patient", {.narrow_authority = true}},
        {"a purpose that the authority does not name", {.other_purpose = true}},
        {"an authority that had ended", {.old_authority = true}},
        {"the entry and the disclosure name different recipients", {.other_recipient = true}},
        {"a statement that nothing names", {.unnamed = true}},
        {"disclosed against the policy", {.denied = true}},
        {"a decision by a rule that is not there", {.bad_path = true}},
    };
    struct evidence_lines l = {.out = out};
    const struct inputs usual = {0};
    arena_init(&l.arena, BUDGET);
    vectors_again();
    l.f = federation_new(2);
    fprintf(out, "# Evidence bundles (docs/protocol/07-evidence.md). Format: README.md.\n");
    for (size_t i = 0; i < COUNT(cases); i++) {
        say_made(&l, cases[i].what, &cases[i].wrong, &usual);
    }
    tampered(&l);
    given_otherwise(&l);
    federation_free(l.f);
    arena_done(&l.arena);
}
