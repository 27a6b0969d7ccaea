#include "node/server/callers.h"

#include <stdlib.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/crypto/x509.h"

#define REFUSED CHARTMESH__V1__ERROR_REASON__ERROR_REASON_CERTIFICATE_REFUSED

/* Certificates are found by the first bytes of their digest: a set of a few, the one longest unused gives way. */
enum { SETS = 1024, WAYS = 8 };

struct leaf {
    struct cert_facts facts;
    uint64_t used;               /* 0: none here */
};

struct callers {
    struct world *world;
    struct world_lock *lock;     /* of what follows */
    struct arena arena;          /* the list's */
    const struct deny *deny;
    int64_t life_max_ms;
    uint64_t uses;
    struct leaf leaves[SETS][WAYS];
};

struct callers *callers_new(struct world *world)
{
    struct callers *callers = calloc(1, sizeof *callers);
    if (!callers) {
        abort();
    }
    callers->world = world;
    callers->lock = world_lock_new(world);
    callers->life_max_ms = INT64_MAX;
    return callers;
}

void callers_free(struct callers *callers)
{
    if (callers) {
        world_lock_free(callers->lock);
        arena_done(&callers->arena);
        free(callers);
    }
}

void callers_rule(struct callers *callers, struct arena arena, const struct deny *deny, uint32_t hours_max)
{
    AUTO_LOCKED(held, callers->lock);
    arena_done(&callers->arena);
    callers->arena = arena;
    callers->deny = deny;
    callers->life_max_ms = (int64_t)hours_max * 3600 * 1000;
}

size_t callers_denied(struct callers *callers)
{
    AUTO_LOCKED(held, callers->lock);
    return deny_count(callers->deny);
}

/* -- What certificates say */

static struct leaf *set_of(struct callers *callers, const struct hash *digest)
{
    unsigned at = (unsigned)digest->bytes[0] << 8 | digest->bytes[1];
    return callers->leaves[at % SETS];
}

static struct leaf *leaf_find(struct callers *callers, const struct hash *digest)
{
    struct leaf *set = set_of(callers, digest);
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].used && hash_equal(&set[i].facts.digest, digest)) {
            set[i].used = ++callers->uses;
            return &set[i];
        }
    }
    return NULL;
}

static void leaf_keep(struct callers *callers, const struct cert_facts *facts)
{
    struct leaf *set = set_of(callers, &facts->digest), *place = &set[0];
    for (size_t i = 1; i < WAYS; i++) {
        place = set[i].used < place->used ? &set[i] : place;
    }
    *place = (struct leaf){.facts = *facts, .used = ++callers->uses};
}

bool callers_leaf(struct callers *callers, struct bytes pem, struct hash *out)
{
    struct cert_facts facts;
    struct err err;
    if (!cert_read(pem, &facts, &err)) {
        return false;
    }
    AUTO_LOCKED(held, callers->lock);
    if (!leaf_find(callers, &facts.digest)) {
        leaf_keep(callers, &facts);
    }
    *out = facts.digest;
    return true;
}

/* -- Judging */

static bool denied(struct err *err, const char *what)
{
    return err_raise_reason(err, ERR_DENIED, REFUSED,
                            "certificate: this %s is on the node's deny list: ask who runs the node", what);
}

static bool judge_times(const struct callers *callers, const struct cert_facts *facts, struct err *err)
{
    int64_t now = (int64_t)world_now_ms(callers->world);
    if (now >= facts->not_after_ms) {
        return err_raise_reason(err, ERR_DENIED, REFUSED, "certificate: it has expired: have a new one issued");
    }
    return facts->not_after_ms - facts->not_before_ms <= callers->life_max_ms ||
           err_raise_reason(err, ERR_DENIED, REFUSED,
                            "certificate: it is made for longer than the %jd hours that this node accepts: have a "
                            "shorter one issued (chartmesh node issue --hours)",
                            (intmax_t)(callers->life_max_ms / 3600000));
}

bool callers_welcome(struct callers *callers, const char *spiffe, const struct hash *digest, struct err *err)
{
    AUTO_LOCKED(held, callers->lock);
    const struct leaf *leaf = leaf_find(callers, digest);
    if (!leaf) {
        return err_raise_reason(err, ERR_UNAUTHENTICATED, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_NO_CERTIFICATE,
                                "certificate: the node does not know it any more: connect again");
    }
    const struct cert_facts *facts = &leaf->facts;
    if (deny_id(callers->deny, spiffe)) {
        return denied(err, "SPIFFE id");
    }
    if (deny_serial(callers->deny, BYTES(facts->serial, facts->serial_len))) {
        return denied(err, "serial number");
    }
    if (deny_pin(callers->deny, &facts->pin)) {
        return denied(err, "key");
    }
    return judge_times(callers, facts, err);
}

bool callers_peer_welcome(struct callers *callers, const struct hash *pin, struct err *err)
{
    AUTO_LOCKED(held, callers->lock);
    return !deny_pin(callers->deny, pin) || denied(err, "key");
}
