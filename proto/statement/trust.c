#include "proto/statement/trust.h"

#include <stdlib.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/statement/trust_state.h"

enum { MEMORY_MAX = 512 << 20 };  /* of one addition */

#define KEY_REASON CHARTMESH__V1__ERROR_REASON__ERROR_REASON_KEY_INVALID

struct hash hash_pb(ProtobufCBinaryData field)
{
    struct hash hash = {0};
    return hash_from(bytes_pb(field), &hash) ? hash : (struct hash){0};
}

struct id id_pb(ProtobufCBinaryData field)
{
    struct id id = {0};
    return id_from(bytes_pb(field), &id) ? id : (struct id){0};
}

struct hash facility_name(const struct id *facility)
{
    struct hash name = {0};
    memcpy(name.bytes, facility->bytes, ID_LEN);
    return name;
}

bool trust_new(const struct hash *first_network, struct trust **out, struct err *err)
{
    struct trust *trust = calloc(1, sizeof *trust);
    if (!trust) {
        return err_raise(err, ERR_TOO_MUCH, "trust: no memory");
    }
    trust->first = *first_network;
    memcpy(trust->network.bytes, first_network->bytes, ID_LEN);
    *out = trust;
    return true;
}

static void view_done(struct view *view)
{
    table_done(&view->by_facility);
    table_done(&view->by_pin);
    table_done(&view->by_key);
}

static void pop_memory(struct trust *trust)
{
    struct memory *memory = trust->memory;
    trust->memory = memory->before;
    arena_done(&memory->arena);
    free(memory);
}

void trust_free(struct trust *trust)
{
    if (!trust) {
        return;
    }
    view_done(&trust->view);
    table_done(&trust->by_id);
    table_done(&trust->keys);
    table_done(&trust->revocations);
    table_done(&trust->authority_keys);
    while (trust->memory) {
        pop_memory(trust);
    }
    free(trust->all);
    free(trust);
}

/* -- making a view: networks, the newest roster, members */

static bool refused(struct err *err, const char *kind, const char *rule)
{
    return err_raise_reason(err, ERR_INVALID, KEY_REASON, "trust: %s: %s", kind, rule);
}

static bool is_core(enum statement_kind kind)
{
    return kind == STATEMENT_NETWORK || kind == STATEMENT_ROSTER || kind == STATEMENT_MEMBERSHIP;
}

/* Signatures are checked once; what a statement's keys are follows from its own text and what it names. */
static bool verify_once(struct trust *trust, struct held *held, struct err *err)
{
    held->verified = held->verified || trust_verify(trust, &held->s, 0, NULL, err);
    return held->verified;
}

/* The network statement whose `previous` is this one. Two of them would be a fork: refused. */
static bool next_network(struct trust *trust, const struct held *after, struct held **out, struct err *err)
{
    *out = NULL;
    for (size_t i = 0; i < trust->count; i++) {
        struct held *held = trust->all[i];
        if (held->s.kind != STATEMENT_NETWORK ||
            !bytes_equal(bytes_pb(AS(Network, held)->previous), BYTES_OF(after->s.id))) {
            continue;
        }
        if (*out) {
            return refused(err, "network", "two statements follow the same one");
        }
        *out = held;
    }
    return true;
}

static bool find_networks(struct trust *trust, struct view *view, struct err *err)
{
    struct held *held = table_get(&trust->by_id, &trust->first);
    while (held) {
        if (!verify_once(trust, held, err)) {
            return false;
        }
        view->network = held;
        if (!next_network(trust, held, &held, err)) {
            return false;
        }
    }
    return view->network || err_raise(err, ERR_NOT_FOUND, "trust: the first network statement is not here");
}

static bool find_roster(struct trust *trust, struct view *view, struct err *err)
{
    for (size_t i = 0; i < trust->count; i++) {
        struct held *held = trust->all[i];
        if (held->s.kind != STATEMENT_ROSTER) {
            continue;
        }
        if (!verify_once(trust, held, err)) {
            return false;
        }
        uint64_t version = AS(Roster, held)->version, best = view->roster ? AS(Roster, view->roster)->version : 0;
        if (version == best) {
            return refused(err, "roster", "two of one version");
        }
        view->roster = version > best ? held : view->roster;
    }
    return true;
}

/* Only what is added has to name the newest network: a network may go before its roster. */
static bool check_roster(const struct trust *trust, const struct view *view, struct err *err)
{
    if (!view->roster || view->roster == trust->view.roster) {
        return true;
    }
    return AS(Roster, view->roster)->network_version == AS(Network, view->network)->version ||
           refused(err, "roster", "the newest does not name the newest network version");
}

static struct held *held_of(const struct trust *trust, ProtobufCBinaryData id, enum statement_kind kind)
{
    struct hash name = hash_pb(id);
    struct held *held = table_get(&trust->by_id, &name);
    return held && held->s.kind == kind ? held : NULL;
}

static void fill_member(struct member *member, const struct held *held)
{
    const Chartmesh__V1__Membership *m = AS(Membership, held);
    *member = (struct member){
        .facility = id_pb(m->head->facility),
        .statement = held->s.id,
        .domain = m->domain,
        .name = m->name,
        .version = m->version,
        .statement_key = hash_pb(m->statement_key),
        .checkpoint_key = hash_pb(m->checkpoint_key),
        .witness_key = hash_pb(m->witness_key),
        .sealing_key = hash_pb(m->sealing_key),
        .message = m,
        .from_hlc = m->head->hlc,
        .until_hlc = UINT64_MAX,
    };
}

/* From the newest membership back to version 1: one facility, versions without gaps, times that rise. */
static bool check_link(const struct held *newer, const struct held *older, struct err *err)
{
    const Chartmesh__V1__Membership *n = AS(Membership, newer), *o = AS(Membership, older);
    return (bytes_equal(bytes_pb(n->head->facility), bytes_pb(o->head->facility)) &&
            n->version == o->version + 1 && n->head->hlc > o->head->hlc) ||
           refused(err, "membership", "does not follow its previous one");
}

static bool check_chain(struct trust *trust, struct held *newest, struct err *err)
{
    for (struct held *held = newest, *older; held; held = older) {
        older = held_of(trust, AS(Membership, held)->previous, STATEMENT_MEMBERSHIP);
        if (!older && AS(Membership, held)->version > 1) {
            return err_raise(err, ERR_NOT_FOUND, "trust: the membership before version %llu of %s is not here",
                             (unsigned long long)AS(Membership, held)->version, AS(Membership, held)->domain);
        }
        if ((older && !check_link(held, older, err)) || !verify_once(trust, held, err)) {
            return false;
        }
    }
    return true;
}

static bool build_chain(struct trust *trust, struct held *newest, struct chain *chain, struct err *err)
{
    if (!check_chain(trust, newest, err)) {
        return false;
    }
    void *room;
    size_t count = (size_t)AS(Membership, newest)->version;
    if (!arena_array(&trust->memory->arena, count, sizeof(struct member), &room, err)) {
        return false;
    }
    *chain = (struct chain){room, count};
    struct held *held = newest;
    for (size_t i = count; i-- > 0;) {
        fill_member(&chain->members[i], held);
        chain->members[i].until_hlc = i + 1 < count ? chain->members[i + 1].from_hlc : UINT64_MAX;
        held = held_of(trust, AS(Membership, held)->previous, STATEMENT_MEMBERSHIP);
    }
    return true;
}

/* Adds the chain that ends with `id`; a membership that is not here yet is left out (trust_missing names it). */
static bool add_chain(struct trust *trust, struct view *view, ProtobufCBinaryData id,
                      const Chartmesh__V1__Instant *until, struct err *err)
{
    struct held *newest = held_of(trust, id, STATEMENT_MEMBERSHIP);
    if (!newest) {
        return true;
    }
    struct chain *chain = &view->chains[view->chain_count];
    if (!build_chain(trust, newest, chain, err)) {
        return false;
    }
    struct member *last = &chain->members[chain->count - 1];
    last->listed = until == NULL;
    last->active = last->listed && last->message->status == CHARTMESH__V1__STATUS__STATUS_ACTIVE;
    if (until) {
        last->until_hlc = (uint64_t)until->ms > UINT64_MAX >> 16 ? UINT64_MAX : (uint64_t)until->ms << 16;
    }
    struct hash name = facility_name(&last->facility);
    if (table_get(&view->by_facility, &name)) {
        return refused(err, "roster", "two memberships of one facility");
    }
    if (!table_put(&view->by_facility, &name, chain)) {
        return err_raise(err, ERR_TOO_MUCH, "trust: no memory");
    }
    view->chain_count++;
    return true;
}

/* -- nothing twice in a roster: no domain, no key in any use, no pin */

static bool once(struct table *seen, ProtobufCBinaryData value, struct err *err)
{
    struct hash name = hash_pb(value);
    if (table_get(seen, &name)) {
        return refused(err, "roster", "a key or pin stands in it twice");
    }
    return table_put(seen, &name, seen) || err_raise(err, ERR_TOO_MUCH, "trust: no memory");
}

static bool check_once(struct table *seen, const Chartmesh__V1__Membership *m, struct err *err)
{
    if (!once(seen, m->statement_key, err) || !once(seen, m->checkpoint_key, err) ||
        !once(seen, m->witness_key, err) || !once(seen, m->sealing_key, err)) {
        return false;
    }
    for (size_t i = 0; i < m->n_tls_pins; i++) {
        if (!once(seen, m->tls_pins[i], err)) {
            return false;
        }
    }
    return true;
}

static int compare_domains(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool check_domains(const struct view *view, struct err *err)
{
    const char **domains = calloc(view->chain_count + 1, sizeof *domains);
    if (!domains) {
        return err_raise(err, ERR_TOO_MUCH, "trust: no memory");
    }
    size_t count = 0;
    for (size_t i = 0; i < view->chain_count; i++) {
        const struct member *last = &view->chains[i].members[view->chains[i].count - 1];
        if (last->listed) {
            domains[count++] = last->domain;
        }
    }
    qsort(domains, count, sizeof *domains, compare_domains);
    bool ok = true;
    for (size_t i = 1; ok && i < count; i++) {
        ok = strcmp(domains[i - 1], domains[i]) != 0 || refused(err, "roster", "two memberships of one domain");
    }
    free(domains);
    return ok;
}

static bool check_roster_once(const struct view *view, struct err *err)
{
    struct table seen = {0};
    bool ok = check_domains(view, err);
    for (size_t i = 0; ok && i < view->chain_count; i++) {
        const struct member *last = &view->chains[i].members[view->chains[i].count - 1];
        ok = !last->listed || check_once(&seen, last->message, err);
    }
    table_done(&seen);
    return ok;
}

/* -- lookups of a view */

static bool index_keys(struct view *view, struct member *member)
{
    const struct hash *keys[] = {&member->statement_key, &member->checkpoint_key, &member->witness_key};
    for (size_t i = 0; i < COUNT(keys); i++) {
        struct hash id = key_id(KEY_ED25519, keys[i]);
        if (!table_put(&view->by_key, &id, member)) {
            return false;
        }
    }
    return true;
}

static bool index_pins(struct view *view, struct member *last)
{
    for (size_t i = 0; last->listed && i < last->message->n_tls_pins; i++) {
        struct hash pin = hash_pb(last->message->tls_pins[i]);
        if (!table_put(&view->by_pin, &pin, last)) {
            return false;
        }
    }
    return true;
}

static bool index_view(struct view *view, struct err *err)
{
    bool ok = true;
    for (size_t i = 0; i < view->chain_count; i++) {
        struct chain *chain = &view->chains[i];
        for (size_t j = 0; ok && j < chain->count; j++) {
            ok = index_keys(view, &chain->members[j]);
        }
        ok = ok && index_pins(view, &chain->members[chain->count - 1]);
    }
    return ok || err_raise(err, ERR_TOO_MUCH, "trust: no memory");
}

static bool find_members(struct trust *trust, struct view *view, struct err *err)
{
    if (!view->roster) {
        return true;
    }
    const Chartmesh__V1__Roster *roster = AS(Roster, view->roster);
    void *room;
    if (!arena_array(&trust->memory->arena, roster->n_memberships + roster->n_former, sizeof(struct chain), &room,
                     err)) {
        return false;
    }
    view->chains = room;
    for (size_t i = 0; i < roster->n_memberships; i++) {
        if (!add_chain(trust, view, roster->memberships[i], NULL, err)) {
            return false;
        }
    }
    for (size_t i = 0; i < roster->n_former; i++) {
        if (!add_chain(trust, view, roster->former[i]->membership, roster->former[i]->until, err)) {
            return false;
        }
    }
    return check_roster_once(view, err) && index_view(view, err);
}

static bool make_view(struct trust *trust, struct view *view, struct err *err)
{
    return find_networks(trust, view, err) && find_roster(trust, view, err) && check_roster(trust, view, err) &&
           find_members(trust, view, err);
}

/* -- adding */

static bool keep(struct trust *trust, struct held *held, struct err *err)
{
    if (trust->count == trust->capacity) {
        size_t capacity = MAX(trust->capacity * 2, 64);
        struct held **all = realloc(trust->all, capacity * sizeof(struct held *));
        if (!all) {
            return err_raise(err, ERR_TOO_MUCH, "trust: no memory");
        }
        trust->all = all;
        trust->capacity = capacity;
    }
    if (!table_put(&trust->by_id, &held->s.id, held)) {
        return err_raise(err, ERR_TOO_MUCH, "trust: no memory");
    }
    trust->all[trust->count++] = held;
    return true;
}

static bool take(struct trust *trust, struct bytes envelope, struct err *err)
{
    struct bytes copy;
    void *room;
    if (!arena_copy(&trust->memory->arena, envelope, &copy, err) ||
        !arena_alloc(&trust->memory->arena, sizeof(struct held), &room, err)) {
        return err_wrap(err, "trust");
    }
    struct held *held = room;
    if (!statement_parse(copy, &trust->memory->arena, &held->s, err)) {
        return err_wrap(err, "trust");
    }
    if (table_get(&trust->by_id, &held->s.id)) {
        return true;             /* known: the first valid envelope stays */
    }
    if (held->s.kind > STATEMENT_EPOCH) {
        return refused(err, statement_name(held->s.kind), "not a statement that trust is made of");
    }
    uint64_t newest = trust->view.roster ? AS(Roster, trust->view.roster)->version : 0;
    if (held->s.kind == STATEMENT_ROSTER && AS(Roster, held)->version < newest) {
        return err_raise(err, ERR_STATE, "trust: roster %llu is older than the one held",
                         (unsigned long long)AS(Roster, held)->version);
    }
    return keep(trust, held, err);
}

/* The table that a statement is looked up in by the key it is about, and that key's id; NULL: none. */
static struct table *table_of(struct trust *trust, const struct held *held, struct hash *name)
{
    struct hash key;
    switch (held->s.kind) {
    case STATEMENT_KEY:
        key = hash_pb(AS(Key, held)->public_key);
        *name = key_id(KEY_ED25519, &key);
        return &trust->keys;
    case STATEMENT_AUTHORITY:
        key = hash_pb(AS(Authority, held)->key);
        *name = key_id(KEY_ED25519, &key);
        return &trust->authority_keys;
    case STATEMENT_KEY_REVOCATION:
        *name = hash_pb(AS(KeyRevocation, held)->key);
        return &trust->revocations;
    default:
        return NULL;
    }
}

static bool enter(struct trust *trust, struct held *held, struct err *err)
{
    struct hash name;
    struct table *table = table_of(trust, held, &name);
    if (table) {
        held->same_key = table_get(table, &name);
    }
    return !table || table_put(table, &name, held) || err_raise(err, ERR_TOO_MUCH, "trust: no memory");
}

/* Undoes `enter`; what was entered last is taken off first. */
static void leave(struct trust *trust, struct held *held)
{
    struct hash name;
    struct table *table = table_of(trust, held, &name);
    if (table && table_get(table, &name) == held && !table_put(table, &name, held->same_key)) {
        abort();                 /* cannot be: the name is there */
    }
}

/* What is signed comes after what signs it: keys after members, revocations after the keys they are about. */
static bool enter_added(struct trust *trust, size_t from, struct err *err)
{
    static const enum statement_kind order[] = {STATEMENT_KEY, STATEMENT_AUTHORITY, STATEMENT_EPOCH,
                                                STATEMENT_KEY_REVOCATION};
    for (size_t k = 0; k < COUNT(order); k++) {
        for (size_t i = from; i < trust->count; i++) {
            struct held *held = trust->all[i];
            if (held->s.kind == order[k] &&
                (!trust_verify(trust, &held->s, 0, NULL, err) || !enter(trust, held, err))) {
                return err_wrap(err, "trust");
            }
        }
    }
    return true;
}

static bool all_reached(const struct trust *trust, size_t from, struct err *err)
{
    for (size_t i = from; i < trust->count; i++) {
        if (is_core(trust->all[i]->s.kind) && !trust->all[i]->verified) {
            return refused(err, statement_name(trust->all[i]->s.kind), "nothing reaches it");
        }
    }
    return true;
}

static bool any_core(const struct trust *trust, size_t from)
{
    for (size_t i = from; i < trust->count; i++) {
        if (is_core(trust->all[i]->s.kind)) {
            return true;
        }
    }
    return false;
}

/* From here on what was taken counts, or all of it is refused. */
static bool settle(struct trust *trust, size_t from, struct err *err)
{
    struct view old = trust->view, view = {0};
    bool core = any_core(trust, from);
    if (core && (!make_view(trust, &view, err) || !all_reached(trust, from, err))) {
        view_done(&view);
        return false;
    }
    if (core) {
        trust->view = view;
    }
    bool ok = enter_added(trust, from, err);
    if (core) {
        view_done(ok ? &old : &view);
        trust->view = ok ? view : old;
    }
    return ok;
}

static void undo(struct trust *trust, size_t from)
{
    while (trust->count > from) {
        struct held *held = trust->all[--trust->count];
        leave(trust, held);
        if (!table_put(&trust->by_id, &held->s.id, NULL)) {
            abort();             /* cannot be: the name is there */
        }
    }
}

static bool push_memory(struct trust *trust, struct err *err)
{
    struct memory *memory = calloc(1, sizeof *memory);
    if (!memory) {
        return err_raise(err, ERR_TOO_MUCH, "trust: no memory");
    }
    arena_init(&memory->arena, MEMORY_MAX);
    memory->before = trust->memory;
    trust->memory = memory;
    return true;
}

bool trust_add(struct trust *trust, const struct bytes *envelopes, size_t count, bool *changed, struct err *err)
{
    size_t from = trust->count;
    if (!push_memory(trust, err)) {
        return false;
    }
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        ok = take(trust, envelopes[i], err);
    }
    ok = ok && settle(trust, from, err);
    if (!ok) {
        undo(trust, from);
    }
    bool more = trust->count > from;
    if (!more) {
        pop_memory(trust);
    }
    if (ok && changed) {
        *changed = more;
    }
    return ok;
}

/* -- what is known */

const struct id *trust_network(const struct trust *trust)
{
    return &trust->network;
}

const struct hash *trust_network_id(const struct trust *trust)
{
    return &trust->first;
}

uint64_t trust_network_version(const struct trust *trust)
{
    return trust->view.network ? AS(Network, trust->view.network)->version : 0;
}

uint64_t trust_roster_version(const struct trust *trust)
{
    return trust->view.roster ? AS(Roster, trust->view.roster)->version : 0;
}

int64_t trust_roster_expires_ms(const struct trust *trust)
{
    return trust->view.roster ? AS(Roster, trust->view.roster)->expires->ms : 0;
}

static const ProtobufCMessage *newest(const struct held *held, struct hash *id)
{
    if (held && id) {
        *id = held->s.id;
    }
    return held ? held->s.message : NULL;
}

const Chartmesh__V1__Network *trust_newest_network(const struct trust *trust, struct hash *id)
{
    return (const Chartmesh__V1__Network *)(const void *)newest(trust->view.network, id);
}

const Chartmesh__V1__Roster *trust_newest_roster(const struct trust *trust, struct hash *id)
{
    return (const Chartmesh__V1__Roster *)(const void *)newest(trust->view.roster, id);
}

static const struct chain *chain_of(const struct trust *trust, const struct id *facility)
{
    struct hash name = facility_name(facility);
    return table_get(&trust->view.by_facility, &name);
}

const struct member *trust_member(const struct trust *trust, const struct id *facility)
{
    const struct chain *chain = chain_of(trust, facility);
    return chain ? &chain->members[chain->count - 1] : NULL;
}

const struct member *trust_member_at(const struct trust *trust, const struct id *facility, uint64_t hlc)
{
    const struct chain *chain = chain_of(trust, facility);
    for (size_t i = chain ? chain->count : 0; i-- > 0;) {
        if (chain->members[i].from_hlc <= hlc) {
            return hlc < chain->members[i].until_hlc ? &chain->members[i] : NULL;
        }
    }
    return NULL;
}

const struct member *trust_member_by_domain(const struct trust *trust, const char *domain)
{
    for (size_t i = 0; i < trust->view.chain_count; i++) {
        const struct chain *chain = &trust->view.chains[i];
        const struct member *last = &chain->members[chain->count - 1];
        if (last->listed && strcmp(last->domain, domain) == 0) {
            return last;
        }
    }
    return NULL;
}

const struct member *trust_member_by_pin(const struct trust *trust, const struct hash *pin)
{
    return table_get(&trust->view.by_pin, pin);
}

size_t trust_members(const struct trust *trust, const struct member **out, size_t max)
{
    size_t count = trust->view.chain_count;
    for (size_t i = 0; i < MIN(count, max); i++) {
        const struct chain *chain = &trust->view.chains[i];
        out[i] = &chain->members[chain->count - 1];
    }
    return count;
}

size_t trust_missing(const struct trust *trust, struct hash *out, size_t max)
{
    size_t count = 0;
    const Chartmesh__V1__Roster *roster = trust->view.roster ? AS(Roster, trust->view.roster) : NULL;
    for (size_t i = 0; roster && i < roster->n_memberships; i++) {
        if (!held_of(trust, roster->memberships[i], STATEMENT_MEMBERSHIP)) {
            if (count < max) {
                out[count] = hash_pb(roster->memberships[i]);
            }
            count++;
        }
    }
    return count;
}

struct bytes trust_envelope(const struct trust *trust, const struct hash *id)
{
    const struct held *held = table_get(&trust->by_id, id);
    return held ? held->s.envelope : BYTES_NONE;
}
