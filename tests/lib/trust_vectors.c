/* trust.txt: statements offered to a trust one after the other, what it takes, and whose keys count then. */
#include "tests/lib/make_vectors.h"
#include "tests/lib/test.h"
#include "tests/lib/toy.h"

enum { OFFER_MAX = 8 };
static const struct id toy_c = {{0xc}};

struct trust_lines {
    FILE *out;
    struct toy *toy;
};

static void begin(struct trust_lines *l, FILE *out)
{
    vectors_again();
    l->out = out;
    l->toy = toy_new();
    fprintf(out, "\ntrust %s\nadd ", HEX(l->toy->first.id).text);
    const struct bytes start[] = {l->toy->first.envelope, l->toy->roster.envelope, l->toy->a.envelope,
                                  l->toy->b.envelope};
    vectors_hex_list(out, start, COUNT(start));
    fprintf(out, "\n");
}

static void end(struct trust_lines *l)
{
    toy_free(l->toy);
}

/* Offers statements together; `rule` (NULL: they are taken) says which one they break. */
static void offer(struct trust_lines *l, const char *rule, const struct statement *statements, size_t count)
{
    struct err err = {0};
    struct bytes envelopes[OFFER_MAX];
    assert_true(count <= OFFER_MAX);
    for (size_t i = 0; i < count; i++) {
        envelopes[i] = statements[i].envelope;
    }
    bool ok = trust_add(l->toy->trust, envelopes, count, NULL, &err);
    if (ok == (rule != NULL)) {
        fail_msg("%s: %s", rule ? rule : "taken", ok ? "it is taken" : err.text);
    }
    fprintf(l->out, "%s ", rule ? "refuse" : "add");
    vectors_hex_list(l->out, envelopes, count);
    fprintf(l->out, "%s%s\n", rule ? " " : "", rule ? rule : "");
}

#define OFFER(l, rule, ...)                                                                                       \
    offer((l), (rule), (const struct statement[]){__VA_ARGS__}, COUNT(((const struct statement[]){__VA_ARGS__})))

static void say_state(struct trust_lines *l)
{
    const struct trust *trust = l->toy->trust;
    fprintf(l->out, "state %ju %ju %jd %zu\n", (uintmax_t)trust_network_version(trust),
            (uintmax_t)trust_roster_version(trust), (intmax_t)trust_roster_expires_ms(trust),
            trust_missing(trust, NULL, 0));
}

static void say_member(struct trust_lines *l, const struct id *facility)
{
    const struct member *m = trust_member(l->toy->trust, facility);
    if (!m) {
        fprintf(l->out, "nobody %s\n", HEX(*facility).text);
        return;
    }
    fprintf(l->out, "member %s %s %s %ju %ju %s\n", HEX(*facility).text, m->domain, HEX(m->statement).text,
            (uintmax_t)m->version, (uintmax_t)m->from_hlc,
            m->active   ? "active"
            : m->listed ? "listed"
                        : "former");
}

static void say_at(struct trust_lines *l, const struct id *facility, uint64_t hlc)
{
    const struct member *m = trust_member_at(l->toy->trust, facility, hlc);
    fprintf(l->out, "at %s %ju %s\n", HEX(*facility).text, (uintmax_t)hlc, m ? HEX(m->statement).text : "-");
}

static void say_key(struct trust_lines *l, const struct signing_key *key, uint64_t hlc)
{
    struct hash id = key_id(KEY_ED25519, signing_key_public(key));
    fprintf(l->out, "key %s %ju %s\n", HEX(id).text, (uintmax_t)hlc,
            trust_key(l->toy->trust, &id, hlc) ? "yes" : "no");
}

static void judge(struct trust_lines *l, const char *rule, struct statement s, const struct id *peer)
{
    struct err err = {0};
    struct statement out;
    bool ok = trust_check(l->toy->trust, s.envelope, s.kind, 0, peer, &l->toy->arena, &out, &err);
    if (ok == (rule != NULL)) {
        fail_msg("%s: %s", rule ? rule : "verifies", ok ? "it verifies" : err.text);
    }
    fprintf(l->out, "%s %s %s %s%s%s\n", rule ? "refuse-check" : "check", statement_name(s.kind),
            peer ? HEX(*peer).text : "-", vectors_hex(s.envelope, &l->toy->arena), rule ? " " : "",
            rule ? rule : "");
}

/* -- the cases */

static void files(FILE *out)
{
    struct err err;
    struct trust_lines l;
    struct bytes file;
    begin(&l, out);
    say_state(&l);
    say_member(&l, &toy_a);
    say_member(&l, &toy_b);
    say_member(&l, &toy_c);
    assert_ok(trust_write(l.toy->trust, &l.toy->arena, &file, &err));
    const char *text = vectors_hex(file, &l.toy->arena);
    size_t tail = strlen(text) - 2;
    fprintf(out, "\ntrust %s\nfile %s\n", HEX(l.toy->first.id).text, text);
    say_state(&l);
    fprintf(out, "\ntrust %s\nrefuse-file %s its first network statement is another\n", HEX(l.toy->a.id).text,
            text);
    fprintf(out, "\ntrust %s\nrefuse-file %.*s cut\n", HEX(l.toy->first.id).text, (int)tail, text);
    fprintf(out, "refuse-file %s00 bytes after the last frame\n", text);
    fprintf(out, "refuse-file 00%s not the magic\n", text + 2);
    fprintf(out, "refuse-file %.22s06%s another type of frame\n", text, text + 24);
    end(&l);
}

static void rosters(FILE *out)
{
    struct trust_lines l;
    begin(&l, out);
    struct toy *f = l.toy;
    OFFER(&l, "one operator where two must sign", toy_roster(f, 2, &f->a, 1, NULL, 1, 1));
    OFFER(&l, NULL, toy_roster(f, 3, &f->a, 1, &f->b, 1, 2));
    say_state(&l);
    say_member(&l, &toy_b);
    say_at(&l, &toy_b, TOY_HLC(499));
    say_at(&l, &toy_b, TOY_HLC(500));
    OFFER(&l, "another roster of the same version", toy_roster(f, 3, &f->b, 1, NULL, 1, 2));
    OFFER(&l, "an older roster", toy_roster(f, 2, &f->b, 1, NULL, 1, 2));
    OFFER(&l, "the network version it names is not there", toy_roster(f, 4, &f->a, 1, NULL, 2, 2));
    end(&l);
}

static void networks(FILE *out)
{
    struct trust_lines l;
    begin(&l, out);
    struct toy *f = l.toy;
    OFFER(&l, "one operator where two must sign", toy_network(f, 2, &f->first.id, 1));
    OFFER(&l, "a version left out", toy_network(f, 3, &f->first.id, 2));
    OFFER(&l, "another first network", toy_network(f, 1, NULL, 2));
    OFFER(&l, NULL, toy_network(f, 2, &f->first.id, 2));
    OFFER(&l, "another network of the same version", toy_network(f, 2, &f->first.id, 2));
    OFFER(&l, "names a network version that is not the newest", toy_roster(f, 2, &f->a, 1, NULL, 1, 2));
    OFFER(&l, NULL, toy_roster(f, 2, &f->a, 1, NULL, 2, 2));
    say_state(&l);
    end(&l);
}

static void memberships(FILE *out)
{
    struct trust_lines l;
    begin(&l, out);
    struct toy *f = l.toy;
    struct toy_keys fresh = toy_keys(30), mixed = {fresh.statement, fresh.checkpoint, f->keys_a.statement};
    struct toy_member good = {
        .facility = toy_c, .domain = "c.example", .version = 1, .hlc = TOY_HLC(40), .pin = 3};
    struct toy_member twice = good, domain = good, pin = good;
    twice.facility = toy_a;
    domain.domain = "a.example";
    pin.pin = 1;
    struct statement c = toy_membership(f, &good, &fresh);
    OFFER(&l, "nothing reaches it", c);
    const struct {
        const char *rule;
        struct statement membership;
    } bad[] = {
        {"a facility twice", toy_membership(f, &twice, &fresh)},
        {"a domain twice", toy_membership(f, &domain, &fresh)},
        {"a TLS pin twice", toy_membership(f, &pin, &fresh)},
        {"a key in two uses", toy_membership(f, &good, &mixed)},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        OFFER(&l, bad[i].rule, toy_roster(f, 2, (struct statement[]){f->a, bad[i].membership}, 2, NULL, 1, 2),
              bad[i].membership);
    }
    OFFER(&l, NULL, toy_roster(f, 2, (struct statement[]){f->a, f->b, c}, 3, NULL, 1, 2));
    say_state(&l);
    say_member(&l, &toy_c);
    OFFER(&l, NULL, c);
    say_state(&l);
    say_member(&l, &toy_c);
    toy_keys_free(&fresh);
    end(&l);
}

static void successors(FILE *out)
{
    struct trust_lines l;
    begin(&l, out);
    struct toy *f = l.toy;
    struct toy_keys fresh = toy_keys(30);
    struct toy_member facts = {.facility = toy_a,
                               .domain = "a.example",
                               .version = 2,
                               .previous = f->a.id,
                               .hlc = TOY_HLC(100),
                               .pin = 4};
    struct statement alone = toy_membership(f, &facts, &fresh);
    facts.before = f->keys_a.statement;
    struct statement both = toy_membership(f, &facts, &fresh);
    OFFER(&l, "a new statement key without the previous one's signature", alone,
          toy_roster(f, 2, (struct statement[]){alone, f->b}, 2, NULL, 1, 2));
    OFFER(&l, NULL, both, toy_roster(f, 2, (struct statement[]){both, f->b}, 2, NULL, 1, 2));
    say_member(&l, &toy_a);
    say_at(&l, &toy_a, TOY_HLC(19));
    say_at(&l, &toy_a, TOY_HLC(99));
    say_at(&l, &toy_a, TOY_HLC(100));
    judge(&l, NULL, toy_lease(f, &toy_a, TOY_HLC(100), fresh.statement), &toy_a);
    judge(&l, "a key that is no longer valid", toy_lease(f, &toy_a, TOY_HLC(100), f->keys_a.statement), &toy_a);
    judge(&l, NULL, toy_lease(f, &toy_a, TOY_HLC(99), f->keys_a.statement), &toy_a);
    toy_keys_free(&fresh);
    end(&l);
}

static void suspensions(FILE *out)
{
    struct trust_lines l;
    begin(&l, out);
    struct toy *f = l.toy;
    struct toy_member facts = {.facility = toy_a,
                               .domain = "a.example",
                               .version = 2,
                               .previous = f->a.id,
                               .hlc = TOY_HLC(100),
                               .pin = 1,
                               .status = CHARTMESH__V1__STATUS__STATUS_SUSPENDED};
    struct statement suspended = toy_membership(f, &facts, &f->keys_a);
    OFFER(&l, NULL, suspended, toy_roster(f, 2, (struct statement[]){suspended, f->b}, 2, NULL, 1, 2));
    say_member(&l, &toy_a);
    judge(&l, NULL, toy_lease(f, &toy_a, TOY_HLC(99), f->keys_a.statement), &toy_a);
    judge(&l, "a member that is not ACTIVE signs nothing new",
          toy_lease(f, &toy_a, TOY_HLC(101), f->keys_a.statement), &toy_a);
    end(&l);
}

static void signers(FILE *out)
{
    struct trust_lines l;
    begin(&l, out);
    struct toy *f = l.toy;
    struct statement good = toy_lease(f, &toy_a, TOY_HLC(50), f->keys_a.statement);
    judge(&l, NULL, good, &toy_a);
    judge(&l, NULL, good, NULL);
    judge(&l, "not the facility at the other end", good, &toy_b);
    judge(&l, "another facility's key", toy_lease(f, &toy_a, TOY_HLC(50), f->keys_b.statement), NULL);
    judge(&l, "a key of another use", toy_lease(f, &toy_a, TOY_HLC(50), f->keys_a.checkpoint), NULL);
    judge(&l, "a facility that is no member", toy_lease(f, &toy_c, TOY_HLC(50), f->author), NULL);
    judge(&l, "before its key was valid", toy_lease(f, &toy_a, TOY_HLC(5), f->keys_a.statement), NULL);
    end(&l);
}

static void enrolments(FILE *out)
{
    struct trust_lines l;
    begin(&l, out);
    struct toy *f = l.toy;
    const struct signing_key *by = f->keys_a.statement;
    const char *x = "a.example/app/x";
    OFFER(&l, "without the key's own signature", toy_key(f, &toy_a, by, f->author, x, NULL, false));
    OFFER(&l, "a holder of another facility", toy_key(f, &toy_a, by, f->author, "b.example/app/x", NULL, true));
    OFFER(&l, "a patient of another facility",
          toy_key(f, &toy_a, by, f->patient, "a.example/patient/7", &toy_b, true));
    judge(&l, "a key that nobody enrolled", toy_version(f, &toy_a, TOY_HLC(50), x, f->author), NULL);
    OFFER(&l, NULL, toy_key(f, &toy_a, by, f->author, x, NULL, true));
    say_key(&l, f->author, TOY_HLC(39));
    say_key(&l, f->author, TOY_HLC(40));
    say_key(&l, f->author, TOY_HLC(999));
    say_key(&l, f->author, TOY_HLC(1000));
    judge(&l, NULL, toy_version(f, &toy_a, TOY_HLC(50), x, f->author), NULL);
    judge(&l, NULL, toy_version(f, &toy_a, TOY_HLC(50), "a.example/app/y", by), NULL);
    judge(&l, "another author's key", toy_version(f, &toy_a, TOY_HLC(50), "a.example/app/y", f->author), NULL);
    judge(&l, "after its key was valid", toy_version(f, &toy_a, TOY_HLC(2000), x, f->author), NULL);
    end(&l);
}

static void revocations(FILE *out)
{
    const Chartmesh__V1__Reason lost = CHARTMESH__V1__REASON__REASON_LOST,
                                bad = CHARTMESH__V1__REASON__REASON_COMPROMISED;
    struct trust_lines l;
    begin(&l, out);
    struct toy *f = l.toy;
    struct signing_key *by = f->keys_a.statement, *one = f->operators[0], *two = f->operators[1];
    const char *x = "a.example/app/x";
    OFFER(&l, "a key that is not there", toy_revocation(f, &toy_a, by, NULL, f->author, lost, 60));
    OFFER(&l, NULL, toy_key(f, &toy_a, by, f->author, x, NULL, true));
    OFFER(&l, "another facility's key", toy_revocation(f, &toy_b, f->keys_b.statement, NULL, f->author, lost, 60));
    OFFER(&l, NULL, toy_revocation(f, &toy_a, by, NULL, f->author, lost, 60));
    judge(&l, NULL, toy_version(f, &toy_a, TOY_HLC(59), x, f->author), NULL);
    judge(&l, "revoked since then", toy_version(f, &toy_a, TOY_HLC(60), x, f->author), NULL);
    OFFER(&l, "one operator where two must sign", toy_revocation(f, NULL, one, NULL, by, bad, 60));
    OFFER(&l, "operators only say COMPROMISED", toy_revocation(f, NULL, one, two, by, lost, 60));
    OFFER(&l, NULL, toy_revocation(f, NULL, one, two, by, bad, 60));
    judge(&l, "compromised, and no log time that is covered", toy_lease(f, &toy_a, TOY_HLC(50), by), NULL);
    end(&l);
}

void vectors_trust(FILE *out)
{
    fprintf(out, "# Statements about who counts (docs/protocol/02-trust.md). Format: README.md.\n");
    files(out);
    rosters(out);
    networks(out);
    memberships(out);
    successors(out);
    suspensions(out);
    signers(out);
    enrolments(out);
    revocations(out);
}
