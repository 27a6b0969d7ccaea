/* Whose keys count, and what they signed: the query, the answer, the checkpoint. */
#include "client/verify/check.h"

static bool is_trust(enum statement_kind kind)
{
    return kind <= STATEMENT_EPOCH;
}

/* The id that trust starts from: the caller's; without it the bundle's own, so that the rest can be looked at, and
 * nothing is PROVED. */
static bool first_network(struct check *c, struct hash *out)
{
    if (c->options->network) {
        *out = *c->options->network;
        return true;
    }
    lack(c, VERIFY_COMPLETE, "the id of the first network statement was not given");
    for (size_t i = 0; i < c->given_len; i++) {
        const struct given *given = &c->given[i];
        if (given->s.kind == STATEMENT_NETWORK &&
            ((const Chartmesh__V1__Network *)(const void *)given->s.message)->version == 1) {
            *out = given->s.id;
            return true;
        }
    }
    return false;
}

/* trust_add takes all or nothing, so its error is about all of them together. */
static bool add_trust(struct check *c, struct trust *trust)
{
    void *memory;
    if (!arena_array(c->arena, c->given_len, sizeof(struct bytes), &memory, c->err)) {
        return false;
    }
    struct bytes *envelopes = memory;
    size_t count = 0;
    for (size_t i = 0; i < c->given_len; i++) {
        if (is_trust(c->given[i].s.kind)) {
            envelopes[count++] = c->given[i].frame.body;
        }
    }
    struct err why;
    if (trust_add(trust, envelopes, count, NULL, &why)) {
        return true;
    }
    if (why.code == ERR_NOT_FOUND) {
        lack(c, VERIFY_COMPLETE, "%s", why.text);
        return lack(c, VERIFY_STATEMENTS, "%s", why.text);
    }
    return judge(c, VERIFY_STATEMENTS, NULL, &why);
}

static bool make_trust(struct check *c)
{
    struct hash first;
    struct trust *trust;
    if (!first_network(c, &first)) {
        return true;
    }
    if (!trust_new(&first, &trust, c->err)) {
        return false;
    }
    if (!add_trust(c, trust)) {
        trust_free(trust);
        return c->err->code == 0 && c->report->claims[VERIFY_STATEMENTS].state != VERIFY_CONTRADICTED;
    }
    c->trust = trust;
    c->report->network = first;
    c->report->network_version = trust_network_version(trust);
    c->report->roster_version = trust_roster_version(trust);
    for (size_t i = 0; i < c->given_len; i++) {
        c->given[i].verified = is_trust(c->given[i].s.kind);
    }
    return true;
}

static void check_versions(struct check *c)
{
    if (c->report->network_version < c->options->network_version) {
        lack(c, VERIFY_COMPLETE, "network version %ju is older than the one asked for, %ju",
             (uintmax_t)c->report->network_version, (uintmax_t)c->options->network_version);
    }
    if (c->report->roster_version < MAX(c->options->roster_version, 1)) {
        lack(c, VERIFY_COMPLETE, "roster version %ju is older than the one asked for, %ju",
             (uintmax_t)c->report->roster_version, (uintmax_t)MAX(c->options->roster_version, 1));
    }
}

/* One statement whose signers the trust must know. What is unknown is lacking for completeness. */
static bool check_signed(struct check *c, struct given *given, enum statement_kind kind)
{
    struct err why;
    struct statement ignored;
    given->verified = trust_check(c->trust, given->frame.body, kind, 0, NULL, c->arena, &ignored, &why);
    if (given->verified) {
        return true;
    }
    if (why.code == ERR_NOT_FOUND) {
        lack(c, VERIFY_COMPLETE, "%s: %s", statement_name(kind), why.text);
        return true;
    }
    return judge(c, VERIFY_FILE, &given->frame, &why);
}

static bool check_facility(struct check *c)
{
    struct id facility;
    if (!bytes_equal(bytes_pb(c->said->head->facility), bytes_pb(c->asked->facility)) ||
        !id_from(bytes_pb(c->asked->facility), &facility)) {
        return contradict(c, VERIFY_FILE, &c->answer.frame, "the answer is another facility's than the one asked");
    }
    if (!c->trust) {
        return true;
    }
    c->member = trust_member_at(c->trust, &facility, c->said->head->hlc);
    if (!c->member) {
        lack(c, VERIFY_COMPLETE, "the membership of the facility that answers is not here");
    } else {
        c->report->facility = c->member->name && *c->member->name ? c->member->name : c->member->domain;
    }
    return true;
}

bool check_trust(struct check *c)
{
    if (!make_trust(c)) {
        return false;
    }
    c->report->query = c->query.s.id;
    c->report->asker = c->asked->principal;
    c->report->purpose = c->asked->purpose;
    if (!c->trust) {
        lack(c, VERIFY_COMPLETE, "no keys can be traced: the network statement is not here");
        lack(c, VERIFY_STATEMENTS, "no keys can be traced: the network statement is not here");
        return check_facility(c);
    }
    check_versions(c);
    if (!check_facility(c) || !check_signed(c, &c->query, STATEMENT_AUDIT_QUERY) ||
        !check_signed(c, &c->answer, STATEMENT_AUDIT_ANSWER)) {
        return false;
    }
    c->reached[VERIFY_FILE] = true;
    return true;
}

/* -- the checkpoint */

/* The log's key and every witness that may cosign it: the newest listed membership of each other facility. */
static bool note_keys(struct check *c, struct note_key **out, size_t *count)
{
    size_t members_len = c->trust ? trust_members(c->trust, NULL, 0) : 0;
    void *members_room, *keys_room;
    if (!arena_array(c->arena, members_len, sizeof(struct member *), &members_room, c->err) ||
        !arena_array(c->arena, members_len + 1, sizeof(struct note_key), &keys_room, c->err)) {
        return false;
    }
    const struct member **members = members_room;
    struct note_key *keys = keys_room;
    size_t n = 0;
    if (c->member) {
        keys[n++] =
            (struct note_key){.name = c->said->origin, .type = NOTE_LOG, .public_key = c->member->checkpoint_key};
    }
    members_len = c->trust ? trust_members(c->trust, members, members_len) : 0;
    for (size_t i = 0; i < members_len; i++) {
        char *name;
        if (!members[i]->active || (c->member && id_equal(&members[i]->facility, &c->member->facility))) {
            continue;
        }
        if (!arena_printf(c->arena, &name, c->err, "%s/witness", members[i]->domain)) {
            return false;
        }
        keys[n++] = (struct note_key){.name = name, .type = NOTE_WITNESS, .public_key = members[i]->witness_key};
    }
    *out = keys;
    *count = n;
    return true;
}

static bool note_witnesses(struct check *c, const struct note_key *keys)
{
    void *memory;
    if (!arena_array(c->arena, c->checkpoint.cosigners, sizeof(struct verify_witness), &memory, c->err)) {
        return false;
    }
    struct verify_witness *witnesses = memory;
    for (size_t i = 0; i < c->checkpoint.cosigners; i++) {
        uint64_t time_s = c->checkpoint.cosigned[i].time_s;
        witnesses[i] = (struct verify_witness){keys[c->checkpoint.cosigned[i].key].name, time_s};
        if (time_s <= INT64_MAX / 1000 && (c->cosigned_ms == 0 || time_s * 1000 < c->cosigned_ms)) {
            c->cosigned_ms = time_s * 1000;
        }
    }
    c->report->witnesses = witnesses;
    c->report->witnesses_len = c->checkpoint.cosigners;
    return true;
}

static void check_quorum(struct check *c)
{
    uint32_t quorum = c->options->quorum ? c->options->quorum : 1;
    if (c->checkpoint.cosigners < quorum) {
        lack(c, VERIFY_COMPLETE, "%zu of %u witnesses have cosigned", c->checkpoint.cosigners, quorum);
        lack(c, VERIFY_TIMES, "%zu of %u witnesses have cosigned: times are the facility's own claims",
             c->checkpoint.cosigners, quorum);
    }
}

/* The origin line names the facility and the incarnation of its log. */
static bool check_origin(struct check *c)
{
    struct bytes domain;
    char *origin;
    if (!checkpoint_origin(c->checkpoint.origin, &domain, &c->incarnation)) {
        return contradict(c, VERIFY_FILE, &c->note, "the origin is not <domain>/log/<incarnation>");
    }
    if (!arena_string(c->arena, c->checkpoint.origin, &origin, c->err)) {
        return false;
    }
    c->report->origin = origin;
    return !c->member || bytes_equal(domain, bytes_str(c->member->domain)) ||
           contradict(c, VERIFY_FILE, &c->note, "the log is another domain's than %s", c->member->domain);
}

static bool check_against_answer(struct check *c)
{
    c->report->size = c->checkpoint.size;
    if (!bytes_equal(c->checkpoint.origin, bytes_str(c->said->origin)) || c->checkpoint.size != c->said->size ||
        !bytes_equal(bytes_pb(c->said->root), BYTES_OF(c->checkpoint.root))) {
        return contradict(c, VERIFY_FILE, &c->answer.frame, "the answer is about another checkpoint");
    }
    return true;
}

bool check_checkpoint(struct check *c)
{
    struct note_key *keys;
    size_t count;
    struct err why;
    if (!note_keys(c, &keys, &count)) {
        return false;
    }
    if (!checkpoint_open(c->note.body, keys, count, &c->checkpoint, &why)) {
        return judge(c, VERIFY_FILE, &c->note, &why);
    }
    if (!check_against_answer(c) || !check_origin(c) || !note_witnesses(c, keys)) {
        return false;
    }
    check_quorum(c);
    return true;
}
