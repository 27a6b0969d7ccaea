/* The entries: each opens, stands in the tree, and belongs to what was asked; together they are the chain. */
#include <stdlib.h>

#include "client/verify/check.h"
#include "client/verify/words.h"
#include "proto/merkle/map.h"
#include "proto/statement/entry.h"

/* included checks that the commitment is leaf `at` of the checkpoint's tree. */
static bool included(struct check *c, const struct bundle_frame *frame, const Chartmesh__V1__Proof *at,
                     const struct hash *commitment)
{
    struct hash path[MERKLE_PATH_MAX];
    if (at->n_path > MERKLE_PATH_MAX) {
        return contradict(c, VERIFY_ENTRIES, frame, "an inclusion path of %zu hashes", at->n_path);
    }
    for (size_t i = 0; i < at->n_path; i++) {
        if (!hash_from(bytes_pb(at->path[i]), &path[i])) {
            return contradict(c, VERIFY_ENTRIES, frame, "an inclusion path with a hash that is not 32 bytes");
        }
    }
    struct leaf data = leaf_data(commitment);
    struct hash leaf = merkle_leaf(BYTES_OF(data));
    return merkle_included(at->index, c->checkpoint.size, &leaf, path, at->n_path, &c->checkpoint.root) ||
           contradict(c, VERIFY_ENTRIES, frame, "entry %ju is not in the checkpoint's tree", (uintmax_t)at->index);
}

/* -- the map */

static bool open_map_entry(struct check *c)
{
    const struct bundle_frame *frame = &c->map_frame;
    struct bytes bytes = bytes_pb(c->map->opening->entry);
    struct hash r;
    struct err why;
    Chartmesh__V1__Entry *entry;
    if (!entry_unpack(bytes, c->arena, &entry, &why)) {
        return judge(c, VERIFY_ENTRIES, frame, &why);
    }
    if (entry->kind != ENTRY_KIND(MAP) || entry->root.len != HASH_LEN ||
        !hash_from(bytes_pb(c->map->opening->r), &r)) {
        return contradict(c, VERIFY_ENTRIES, frame, "the map frame's entry is not a MAP entry");
    }
    struct hash commitment = entry_commitment(&r, bytes);
    c->map_entry = entry;
    return included(c, frame, c->map->at, &commitment);
}

/* The key that the query's subject or actor has. */
static bool set_map_key(struct check *c)
{
    struct id facility, patient;
    struct hash actor;
    const Chartmesh__V1__Subject *subject = c->asked->subject;
    if (subject && id_from(bytes_pb(subject->facility), &facility) &&
        id_from(bytes_pb(subject->patient), &patient)) {
        c->map_key = map_key_patient(&facility, &patient);
    } else if (!subject && id_from(bytes_pb(c->asked->facility), &facility) &&
               hash_from(bytes_pb(c->asked->actor), &actor)) {
        c->map_key = map_key_actor(&facility, &actor);
    } else {
        return contradict(c, VERIFY_FILE, &c->query.frame, "the query names neither one subject nor one actor");
    }
    return bytes_equal(bytes_pb(c->map->key), BYTES_OF(c->map_key)) ||
           contradict(c, VERIFY_CHAIN, &c->map_frame, "the map key is not that of the query's subject or actor");
}

/* The frame as a proof; `present` says what it claims. */
static bool map_proof_of(struct check *c, struct map_proof *proof, bool *present)
{
    const Chartmesh__V1__MapFrame *map = c->map;
    *present = map->count > 0;
    bool other = map->other_key.len > 0;
    if (map->n_siblings > MAP_DEPTH_MAX || other != (map->other_value.len > 0) || (*present && other) ||
        *present != (map->chain.len > 0) || (!*present && map->last != 0)) {
        return contradict(c, VERIFY_CHAIN, &c->map_frame, "the map frame claims both presence and absence");
    }
    *proof = (struct map_proof){.end = *present ? MAP_PRESENT
                                       : other  ? MAP_OTHER
                                                : MAP_NOTHING,
                                .siblings_len = map->n_siblings};
    bool ok = !other || (hash_from(bytes_pb(map->other_key), &proof->other_key) &&
                         hash_from(bytes_pb(map->other_value), &proof->other_value));
    for (size_t i = 0; ok && i < map->n_siblings; i++) {
        ok = hash_from(bytes_pb(map->siblings[i]), &proof->siblings[i]);
    }
    return ok || contradict(c, VERIFY_CHAIN, &c->map_frame, "a hash in the map frame is not 32 bytes");
}

static bool check_map_proof(struct check *c)
{
    void *room;
    bool present;
    struct hash root, chain = {0}, value;
    if (!arena_alloc(c->arena, sizeof(struct map_proof), &room, c->err)) {
        return false;
    }
    struct map_proof *proof = room;
    if (!map_proof_of(c, proof, &present)) {
        return false;
    }
    if (!hash_from(bytes_pb(c->map_entry->root), &root) ||
        (present && !hash_from(bytes_pb(c->map->chain), &chain))) {
        return contradict(c, VERIFY_CHAIN, &c->map_frame, "a hash in the map frame is not 32 bytes");
    }
    value = map_value(c->map->count, c->map->last, &chain);
    return map_verify(&root, &c->map_key, present ? &value : NULL, proof) ||
           contradict(c, VERIFY_CHAIN, &c->map_frame, "the map does not hold this count and chain");
}

bool check_map(struct check *c)
{
    if (!open_map_entry(c) || !set_map_key(c)) {
        return false;
    }
    c->report->map_epoch = c->map->at->index + 1;
    c->report->map_time_ms = hlc_ms(c->map_entry->hlc);
    c->report->count = c->map->count;
    if (c->said->map_epoch != c->report->map_epoch ||
        (c->asked->map_epoch && c->asked->map_epoch != c->report->map_epoch)) {
        return contradict(c, VERIFY_FILE, &c->map_frame, "another map epoch than the one asked for or answered");
    }
    return check_map_proof(c);
}

/* -- entries */

/* It is filed under what was asked about. */
static bool is_ours(const struct check *c, const Chartmesh__V1__Entry *entry)
{
    return c->asked->subject ? subject_equal(entry->subject, c->asked->subject)
                             : bytes_equal(bytes_pb(entry->actor), bytes_pb(c->asked->actor));
}

static bool is_own_query(const struct check *c, const Chartmesh__V1__Entry *entry)
{
    return entry->kind == ENTRY_KIND(AUDIT_QUERY) && entry_names(entry, BYTES_OF(c->query.s.id));
}

static bool check_entry_0(struct check *c, const struct shown *shown)
{
    const Chartmesh__V1__Entry *entry = shown->entry;
    return (entry->kind == ENTRY_KIND(EPOCH) && entry->n_objects == 1 &&
            entry_names(entry, bytes_pb(c->said->epoch))) ||
           contradict(c, VERIFY_ENTRIES, &shown->frame, "entry 0 is not the log's EPOCH, or names another one");
}

/* Formats 7: every opened entry is the query's own, except entry 0, ENROL and, about an actor, this AUDIT_QUERY.
 */
static bool check_belongs(struct check *c, struct shown *shown)
{
    const Chartmesh__V1__Entry *entry = shown->entry;
    bool before_map = shown->index < c->map->at->index;
    if (shown->index == 0) {
        return check_entry_0(c, shown);
    }
    if (is_ours(c, entry)) {
        shown->chained = before_map;
        return true;
    }
    return entry->kind == ENTRY_KIND(ENROL) || (!c->asked->subject && is_own_query(c, entry)) ||
           contradict(c, VERIFY_ENTRIES, &shown->frame, "entry %ju is somebody else's", (uintmax_t)shown->index);
}

static bool check_withheld(struct check *c, struct shown *shown)
{
    if (shown->index >= c->map->at->index) {
        return contradict(c, VERIFY_ENTRIES, &shown->frame, "an entry after the map epoch is withheld");
    }
    shown->chained = shown->index > 0;
    return true;
}

/* hlc strictly increases with the index; the map entry stands among the others. */
static bool check_clock(struct check *c, const struct shown *shown, uint64_t *last_hlc)
{
    const Chartmesh__V1__Entry *entry = shown->entry;
    bool before = shown->index < c->map->at->index;
    if (entry->hlc <= *last_hlc || (before && entry->hlc >= c->map_entry->hlc) ||
        (!before && entry->hlc <= c->map_entry->hlc)) {
        return contradict(c, VERIFY_ENTRIES, &shown->frame, "the clock does not rise with entry %ju",
                          (uintmax_t)shown->index);
    }
    *last_hlc = entry->hlc;
    return true;
}

static int compare_people(const void *a, const void *b)
{
    const Chartmesh__V1__Enrol *left = (*(const struct shown *const *)a)->entry->enrol;
    const Chartmesh__V1__Enrol *right = (*(const struct shown *const *)b)->entry->enrol;
    int order = strcmp(left->principal, right->principal);
    return order ? order : strcmp(left->user, right->user);
}

static int compare_actors(const void *a, const void *b)
{
    return bytes_compare(bytes_pb((*(const struct shown *const *)a)->entry->actor),
                         bytes_pb((*(const struct shown *const *)b)->entry->actor));
}

static int compare_actor(const void *actor, const void *shown)
{
    return bytes_compare(*(const struct bytes *)actor,
                         bytes_pb((*(const struct shown *const *)shown)->entry->actor));
}

/* At most one ENROL for each (principal, user) in a log. Afterwards they are sorted by actor. */
static bool check_enrolments(struct check *c)
{
    void *room;
    if (!arena_array(c->arena, c->shown_len, sizeof(struct shown *), &room, c->err)) {
        return false;
    }
    c->enrolled = room;
    for (size_t i = 0; i < c->shown_len; i++) {
        const Chartmesh__V1__Entry *entry = c->shown[i].entry;
        if (entry && entry->kind == ENTRY_KIND(ENROL)) {
            c->enrolled[c->enrolled_len++] = &c->shown[i];
        }
    }
    qsort(c->enrolled, c->enrolled_len, sizeof *c->enrolled, compare_people);
    for (size_t i = 1; i < c->enrolled_len; i++) {
        if (compare_people(&c->enrolled[i - 1], &c->enrolled[i]) == 0) {
            return contradict(c, VERIFY_ENTRIES, &c->enrolled[i]->frame, "somebody is enrolled twice in this log");
        }
    }
    qsort(c->enrolled, c->enrolled_len, sizeof *c->enrolled, compare_actors);
    return true;
}

const struct shown *enrolment_of(const struct check *c, struct bytes actor)
{
    const struct shown **found = actor.len && c->enrolled_len ? bsearch(&actor, c->enrolled, c->enrolled_len,
                                                                        sizeof *c->enrolled, compare_actor)
                                                              : NULL;
    return found ? *found : NULL;
}

bool check_entries(struct check *c)
{
    uint64_t last_hlc = 0;
    for (size_t i = 0; i < c->shown_len; i++) {
        struct shown *shown = &c->shown[i];
        if (!included(c, &shown->frame, shown->at, &shown->commitment)) {
            return false;
        }
        if (shown->entry ? !check_belongs(c, shown) || !check_clock(c, shown, &last_hlc)
                         : !check_withheld(c, shown)) {
            return false;
        }
        if (shown->index == c->map->at->index) {
            return contradict(c, VERIFY_ENTRIES, &shown->frame, "the MAP entry is shown as another");
        }
    }
    if (!check_enrolments(c)) {
        return false;
    }
    c->reached[VERIFY_ENTRIES] = true;
    return true;
}

/* -- the chain */

/* Where the chain is cut: the frame with previous_chain. Before it only an enrolment may stand, out of the chain.
 */
static bool find_cut(struct check *c, size_t *cut)
{
    *cut = c->shown_len;
    for (size_t i = 0; i < c->shown_len; i++) {
        if (c->shown[i].previous_chain.len == 0) {
            continue;
        }
        if (*cut < c->shown_len || !c->shown[i].chained) {
            return contradict(c, VERIFY_CHAIN, &c->shown[i].frame, "the chain begins twice, or out of it");
        }
        *cut = i;
    }
    for (size_t i = 0; *cut < c->shown_len && i < *cut; i++) {
        struct shown *shown = &c->shown[i];
        if (shown->chained && (!shown->entry || shown->entry->kind != ENTRY_KIND(ENROL))) {
            return contradict(c, VERIFY_CHAIN, &shown->frame, "a link before the place where the chain is cut");
        }
        shown->chained = false;
    }
    return true;
}

/* A chain that is cut begins with an opened entry older than the period. */
static void check_cut(struct check *c, const struct shown *first)
{
    const Chartmesh__V1__Period *period = c->asked->period;
    if (!period || !period->from) {
        lack(c, VERIFY_COMPLETE, "the chain is cut, and the query's period has no beginning");
    } else if (!first->entry || hlc_ms(first->entry->hlc) >= period->from->ms) {
        lack(c, VERIFY_COMPLETE, "the chain is cut within the query's period");
    }
}

static bool follow(struct check *c, size_t from, bool cut, struct hash chain)
{
    void *room;
    if (!arena_array(c->arena, c->shown_len, sizeof(struct hash), &room, c->err)) {
        return false;
    }
    c->chain = room;
    c->chain_before = chain;
    uint64_t last = 0;
    for (size_t i = from; i < c->shown_len; i++) {
        if (c->shown[i].chained) {
            chain = chain_next(&chain, &c->shown[i].commitment);
            c->chain[c->links++] = chain;
            last = c->shown[i].index;
        }
    }
    if (c->links > c->map->count || (c->links && last > c->map->last)) {
        return contradict(c, VERIFY_CHAIN, &c->map_frame, "more links than the map counts");
    }
    if (last < c->map->last || (!cut && c->links < c->map->count)) {
        lack(c, VERIFY_CHAIN, "%zu of %ju entries are shown", c->links, (uintmax_t)c->map->count);
        return true;
    }
    if (c->links && !bytes_equal(bytes_pb(c->map->chain), BYTES_OF(chain))) {
        return contradict(c, VERIFY_CHAIN, &c->map_frame, "the links do not give the chain that the map holds");
    }
    c->first_k = c->map->count - c->links + 1;
    c->reached[VERIFY_CHAIN] = true;
    return true;
}

bool check_chain(struct check *c)
{
    size_t cut;
    if (!find_cut(c, &cut)) {
        return false;
    }
    if (cut == c->shown_len) {
        return follow(c, 0, false, chain_start(&c->map_key));
    }
    struct hash previous;
    const struct shown *first = &c->shown[cut];
    if (!hash_from(first->previous_chain, &previous)) {
        return contradict(c, VERIFY_CHAIN, &first->frame, "previous_chain is not 32 bytes");
    }
    check_cut(c, first);
    return follow(c, cut, true, previous) &&
           (c->links < c->map->count ||
            contradict(c, VERIFY_CHAIN, &first->frame, "the chain is cut although it begins at its first link"));
}
