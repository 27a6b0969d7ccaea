/* The statements that entries name: here, signed by whom formats 1 demands, about the same patient. */
#include <stdlib.h>

#include "client/verify/check.h"
#include "client/verify/words.h"

static int compare_given(const void *id, const void *given)
{
    return memcmp(((const struct bytes *)id)->data, ((const struct given *)given)->s.id.bytes, HASH_LEN);
}

/* Frames 5 are sorted by statement id: check_frames saw to it. */
struct given *find_given(struct check *c, struct bytes id)
{
    struct given *given =
        id.len == HASH_LEN ? bsearch(&id, c->given, c->given_len, sizeof *c->given, compare_given) : NULL;
    if (given) {
        given->named = true;
    }
    return given;
}

static const Chartmesh__V1__Subject *subject_of(const struct statement *s)
{
    const void *message = s->message;
    switch (s->kind) {
    case STATEMENT_VERSION:
        return ((const Chartmesh__V1__Version *)message)->subject;
    case STATEMENT_POLICY:
        return ((const Chartmesh__V1__Policy *)message)->subject;
    case STATEMENT_DISCLOSURE:
        return ((const Chartmesh__V1__Disclosure *)message)->subject;
    case STATEMENT_PURGE_ORDER:
        return ((const Chartmesh__V1__PurgeOrder *)message)->subject;
    case STATEMENT_PURGE_RECEIPT:
        return ((const Chartmesh__V1__PurgeReceipt *)message)->subject;
    case STATEMENT_NOTICE:
        return ((const Chartmesh__V1__Notice *)message)->subject;
    default:
        return NULL;
    }
}

/* found checks what an entry names, if it is here: one of the kinds it must be, about the entry's patient. *out is
 * NULL when it is not here. */
static bool found(struct check *c, const struct shown *shown, struct bytes id, enum statement_kind kind,
                  enum statement_kind or_kind, const struct given **out)
{
    const struct given *given = find_given(c, id);
    *out = given;
    if (!given) {
        return true;
    }
    if (given->s.kind != kind && given->s.kind != or_kind) {
        return contradict(c, VERIFY_STATEMENTS, &given->frame, "a %s, where entry %ju names a %s",
                          statement_name(given->s.kind), (uintmax_t)shown->index, statement_name(kind));
    }
    return subject_equal(subject_of(&given->s), shown->entry->subject) ||
           contradict(c, VERIFY_STATEMENTS, &given->frame, "a %s about another patient than entry %ju",
                      statement_name(given->s.kind), (uintmax_t)shown->index);
}

static bool need(struct check *c, const struct shown *shown, struct bytes id, enum statement_kind kind,
                 enum statement_kind or_kind, const struct given **out)
{
    if (!found(c, shown, id, kind, or_kind, out)) {
        return false;
    }
    if (!*out) {
        lack(c, VERIFY_STATEMENTS, "a %s that entry %ju names is not here", statement_name(kind),
             (uintmax_t)shown->index);
    }
    return true;
}

/* -- what the kinds of entries name */

static bool headers_allowed(const struct check *c)
{
    return !c->authority || c->authority->version_headers;
}

static bool name_versions(struct check *c, const struct shown *shown)
{
    const struct given *version;
    for (size_t i = 0; i < shown->entry->n_objects; i++) {
        if (!found(c, shown, bytes_pb(shown->entry->objects[i]), STATEMENT_VERSION, STATEMENT_VERSION, &version)) {
            return false;
        }
        if (!version && headers_allowed(c)) {
            lack(c, VERIFY_AUTHORS, "a version that entry %ju names is not here", (uintmax_t)shown->index);
        }
    }
    return true;
}

static bool name_each(struct check *c, const struct shown *shown, enum statement_kind kind,
                      enum statement_kind or_kind)
{
    const struct given *given;
    for (size_t i = 0; i < shown->entry->n_objects; i++) {
        if (!need(c, shown, bytes_pb(shown->entry->objects[i]), kind, or_kind, &given)) {
            return false;
        }
    }
    return true;
}

/* The others name a statement of their kind; it need not be here. */
static void name_loosely(struct check *c, const struct shown *shown)
{
    for (size_t i = 0; i < shown->entry->n_objects; i++) {
        (void)find_given(c, bytes_pb(shown->entry->objects[i]));
    }
}

static bool name_objects(struct check *c, const struct shown *shown)
{
    switch (shown->entry->kind) {
    case ENTRY_KIND(WRITE):
    case ENTRY_KIND(READ):
    case ENTRY_KIND(READ_END):
    case ENTRY_KIND(DENIED):
    case ENTRY_KIND(DISCLOSE):
    case ENTRY_KIND(RECEIVE):
    case ENTRY_KIND(WITHDRAWN):
        return name_versions(c, shown);
    case ENTRY_KIND(POLICY):
        return name_each(c, shown, STATEMENT_POLICY, STATEMENT_POLICY);
    case ENTRY_KIND(PURGE_ORDERED):
        return name_each(c, shown, STATEMENT_PURGE_ORDER, STATEMENT_PURGE_ORDER);
    case ENTRY_KIND(PURGED):
    case ENTRY_KIND(RECEIPT):
        return name_each(c, shown, STATEMENT_PURGE_ORDER, STATEMENT_PURGE_RECEIPT);
    default:
        name_loosely(c, shown);
        return true;
    }
}

static bool lists(const ProtobufCBinaryData *ids, size_t count, struct bytes id)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal(bytes_pb(ids[i]), id)) {
            return true;
        }
    }
    return false;
}

/* Both ends of a disclosure are named as they are, and what went is what it covers. A contribution goes the other
 * way, from a holder to the origin, under the disclosure of one of its parents (formats 5): the ends are
 * exchanged, and the version itself is not covered by it. */
static bool check_disclosure(struct check *c, const struct shown *shown, const struct given *given)
{
    const Chartmesh__V1__Entry *entry = shown->entry;
    const Chartmesh__V1__Disclosure *disclosure = (const void *)given->s.message;
    bool out = entry->kind == ENTRY_KIND(DISCLOSE), in = entry->kind == ENTRY_KIND(RECEIVE);
    struct bytes us = bytes_pb(c->asked->facility), other = bytes_pb(entry->counterpart);
    struct bytes from = bytes_pb(disclosure->head->facility), to = bytes_pb(disclosure->recipient);
    bool ours = bytes_equal(from, us) && bytes_equal(to, other);
    bool theirs = bytes_equal(from, other) && bytes_equal(to, us);
    bool contribution = (out && theirs) || (in && ours);
    bool fits = contribution || (!out && !in) || (out && ours) || (in && theirs);
    for (size_t i = 0; fits && !contribution && (out || in) && i < entry->n_objects; i++) {
        fits = lists(disclosure->versions, disclosure->n_versions, bytes_pb(entry->objects[i]));
    }
    return fits || contradict(c, VERIFY_STATEMENTS, &given->frame, "not the disclosure that entry %ju tells of",
                              (uintmax_t)shown->index);
}

/* A holder knows the origin's policies only by the ids in the disclosure's basis. */
static bool known_by_id(struct check *c, const Chartmesh__V1__Entry *entry, struct bytes policy)
{
    const struct given *terms =
        entry->decision->terms.len ? find_given(c, bytes_pb(entry->decision->terms)) : NULL;
    if (!terms || terms->s.kind != STATEMENT_DISCLOSURE) {
        return false;
    }
    const Chartmesh__V1__Disclosure *disclosure = (const void *)terms->s.message;
    for (size_t i = 0; i < disclosure->n_basis; i++) {
        if (bytes_equal(bytes_pb(disclosure->basis[i]->policy), policy)) {
            return true;
        }
    }
    return false;
}

static bool name_basis(struct check *c, const struct shown *shown)
{
    const Chartmesh__V1__Decision *decision = shown->entry->decision;
    const struct given *given;
    if (decision && decision->terms.len > 0 &&
        !need(c, shown, bytes_pb(decision->terms), STATEMENT_DISCLOSURE, STATEMENT_DISCLOSURE, &given)) {
        return false;
    }
    for (size_t i = 0; decision && i < decision->n_basis; i++) {
        struct bytes policy = bytes_pb(decision->basis[i]->policy);
        bool ok = known_by_id(c, shown->entry, policy)
                      ? found(c, shown, policy, STATEMENT_POLICY, STATEMENT_POLICY, &given)
                      : need(c, shown, policy, STATEMENT_POLICY, STATEMENT_POLICY, &given);
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool name_entry(struct check *c, const struct shown *shown)
{
    const struct given *disclosure = NULL;
    if (shown->entry->disclosure.len > 0 && !need(c, shown, bytes_pb(shown->entry->disclosure),
                                                  STATEMENT_DISCLOSURE, STATEMENT_DISCLOSURE, &disclosure)) {
        return false;
    }
    return (!disclosure || check_disclosure(c, shown, disclosure)) && name_objects(c, shown) &&
           name_basis(c, shown);
}

/* Formats 7: ERASED is covered by a purge order with that cause, DELAYED by a LAW policy. */
static bool name_order(struct check *c, const struct shown *shown)
{
    const struct given *given = find_given(c, bytes_pb(shown->withheld->order));
    if (!given) {
        lack(c, VERIFY_STATEMENTS, "the statement that covers the withheld entry %ju is not here",
             (uintmax_t)shown->index);
        return true;
    }
    const void *message = given->s.message;
    bool erased = shown->withheld->reason == CHARTMESH__V1__WITHHELD_REASON__WITHHELD_REASON_ERASED;
    bool fits = erased
                    ? given->s.kind == STATEMENT_PURGE_ORDER &&
                          ((const Chartmesh__V1__PurgeOrder *)message)->cause == CHARTMESH__V1__CAUSE__CAUSE_ERASED
                    : given->s.kind == STATEMENT_POLICY &&
                          ((const Chartmesh__V1__Policy *)message)->assertor->who == CHARTMESH__V1__WHO__WHO_LAW;
    fits = fits && (!c->asked->subject || subject_equal(subject_of(&given->s), c->asked->subject));
    return fits || contradict(c, VERIFY_STATEMENTS, &given->frame, "it does not cover the withheld entry %ju",
                              (uintmax_t)shown->index);
}

/* -- what named statements name in turn */

static void name_list(struct check *c, const ProtobufCBinaryData *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)find_given(c, bytes_pb(ids[i]));
    }
}

static void name_from(struct check *c, const struct statement *s)
{
    const void *message = s->message;
    if (s->kind == STATEMENT_DISCLOSURE) {
        const Chartmesh__V1__Disclosure *disclosure = message;
        name_list(c, disclosure->versions, disclosure->n_versions);
        for (size_t i = 0; i < disclosure->n_basis; i++) {
            (void)find_given(c, bytes_pb(disclosure->basis[i]->policy));
        }
    } else if (s->kind == STATEMENT_POLICY) {
        const Chartmesh__V1__Policy *policy = message;
        name_list(c, policy->parents, policy->n_parents);
    } else if (s->kind == STATEMENT_VERSION) {
        const Chartmesh__V1__Version *version = message;
        name_list(c, version->parents, version->n_parents);
    } else if (s->kind == STATEMENT_PURGE_RECEIPT) {
        name_list(c, &((const Chartmesh__V1__PurgeReceipt *)message)->order, 1);
    }
}

static size_t count_named(const struct check *c)
{
    size_t count = 0;
    for (size_t i = 0; i < c->given_len; i++) {
        count += c->given[i].named;
    }
    return count;
}

static void name_the_rest(struct check *c)
{
    size_t before;
    do {
        before = count_named(c);
        for (size_t i = 0; i < c->given_len; i++) {
            if (c->given[i].named) {
                name_from(c, &c->given[i].s);
            }
        }
    } while (count_named(c) > before);
}

/* -- signatures */

/* Formats 2: a compromised key counts for what a quorum of cosignatures covered before. *since is the earliest
 * compromise that is told of here; false: none is. */
static bool earliest_compromise(const struct check *c, int64_t *since)
{
    bool any = false;
    for (size_t i = 0; i < c->given_len; i++) {
        const Chartmesh__V1__KeyRevocation *revocation = (const void *)c->given[i].s.message;
        if (c->given[i].s.kind == STATEMENT_KEY_REVOCATION &&
            revocation->reason == CHARTMESH__V1__REASON__REASON_COMPROMISED &&
            (!any || revocation->since->ms < *since)) {
            *since = revocation->since->ms;
            any = true;
        }
    }
    return any;
}

static bool cosigned_before_compromise(const struct check *c)
{
    int64_t since;
    size_t before = 0;
    for (size_t i = 0; earliest_compromise(c, &since) && i < c->report->witnesses_len; i++) {
        before += c->report->witnesses[i].time_s < (uint64_t)since / 1000;
    }
    return before >= (c->options->quorum ? c->options->quorum : 1);
}

/* Entries in the tree name it: where the tree was cosigned before any compromise, its own time is vouched for. */
static bool verify_given(struct check *c, struct given *given, struct err *why)
{
    struct statement ignored;
    uint64_t vouched = cosigned_before_compromise(c) ? given->s.head->hlc : 0;
    return trust_check(c->trust, given->frame.body, given->s.kind, vouched, NULL, c->arena, &ignored, why);
}

static bool check_given(struct check *c, struct given *given)
{
    struct err why;
    enum verify_claim claim = given->s.kind == STATEMENT_VERSION ? VERIFY_AUTHORS : VERIFY_STATEMENTS;
    /* Networks to authorities were reached by the trust. */
    if (given->s.kind < STATEMENT_EPOCH) {
        return true;
    }
    if (!given->named) {
        return contradict(c, VERIFY_STATEMENTS, &given->frame, "a %s that nothing names",
                          statement_name(given->s.kind));
    }
    if (given->s.kind == STATEMENT_VERSION && !headers_allowed(c)) {
        return contradict(c, VERIFY_AUTHORS, &given->frame,
                          "a version's header, which the authority does not allow");
    }
    if (!c->trust || given->verified) {
        return true;
    }
    given->verified = verify_given(c, given, &why);
    if (!given->verified && why.code == ERR_NOT_FOUND) {
        lack(c, claim, "%s: %s", statement_name(given->s.kind), why.text);
        return true;
    }
    return given->verified || judge(c, claim, &given->frame, &why);
}

bool check_statements(struct check *c)
{
    for (size_t i = 0; i < c->shown_len; i++) {
        const struct shown *shown = &c->shown[i];
        if (shown->entry ? !name_entry(c, shown) : !name_order(c, shown)) {
            return false;
        }
    }
    name_the_rest(c);
    for (size_t i = 0; i < c->given_len; i++) {
        if (!check_given(c, &c->given[i])) {
            return false;
        }
    }
    if (!headers_allowed(c)) {
        lack(c, VERIFY_AUTHORS, "the authority allows no version headers");
    }
    if (!c->trust) {
        lack(c, VERIFY_AUTHORS, "no keys can be traced");
    }
    c->reached[VERIFY_STATEMENTS] = c->reached[VERIFY_AUTHORS] = true;
    return true;
}
