#include "node/server/quotas.h"

#include <stdlib.h>

#include "proto/chartmesh/v1/common.pb-c.h"

#define OVERLOADED CHARTMESH__V1__ERROR_REASON__ERROR_REASON_OVERLOADED
#define SPENT CHARTMESH__V1__ERROR_REASON__ERROR_REASON_QUOTA_SPENT

enum { BUCKETS = 1024, ACCOUNTS_MAX = 8192, DAY_MS = 86400000 };

struct account {
    struct account *next;        /* of the bucket */
    char *principal;
    uint64_t filled_ms;          /* when calls and bytes were last made good */
    int64_t calls;               /* thousandths of a call left; never more than a second's worth */
    int64_t bytes;               /* thousandths of a byte left; below 0: owed */
    uint64_t day, documents;     /* written on that day */
    uint32_t at_once;
};

struct quotas {
    struct world *world;
    struct world_lock *lock;     /* of all that follows */
    struct account *buckets[BUCKETS];
    size_t count;
    uint64_t refused;
};

struct quotas *quotas_new(struct world *world)
{
    struct quotas *quotas = calloc(1, sizeof *quotas);
    if (!quotas) {
        abort();
    }
    quotas->world = world;
    quotas->lock = world_lock_new(world);
    return quotas;
}

static void account_free(struct account *account)
{
    free(account->principal);
    free(account);
}

void quotas_free(struct quotas *quotas)
{
    if (!quotas) {
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct account *account = quotas->buckets[i], *next; account; account = next) {
            next = account->next;
            account_free(account);
        }
    }
    world_lock_free(quotas->lock);
    free(quotas);
}

/* -- Accounts */

static struct account **bucket_of(struct quotas *quotas, const char *principal)
{
    uint32_t sum = 2166136261U;  /* FNV-1a */
    for (const char *c = principal; *c; c++) {
        sum = (sum ^ (uint8_t)*c) * 16777619U;
    }
    return &quotas->buckets[sum % BUCKETS];
}

/* An account that says nothing any more: nothing is owed, nothing under way, nothing written today. */
static bool is_idle(const struct quotas *quotas, const struct account *account)
{
    bool rested = world_mono_ms(quotas->world) - account->filled_ms > 60000;
    return account->at_once == 0 && rested && account->bytes >= 0 &&
           (account->documents == 0 || account->day != world_now_ms(quotas->world) / DAY_MS);
}

static void drop_idle(struct quotas *quotas)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct account **at = &quotas->buckets[i]; *at;) {
            struct account *account = *at;
            if (is_idle(quotas, account)) {
                *at = account->next;
                account_free(account);
                quotas->count--;
            } else {
                at = &account->next;
            }
        }
    }
}

static int64_t call_room(const struct config_quota *quota)
{
    return (int64_t)quota->calls_per_s * 1000;
}

static int64_t byte_room(const struct config_quota *quota)
{
    return (int64_t)quota->kib_per_s * 1024 * 1000;
}

/* NULL: more principals than are counted; they are few, issued by this facility's own CA. */
static struct account *account_of(struct quotas *quotas, const struct config_quota *quota, const char *principal)
{
    struct account **bucket = bucket_of(quotas, principal);
    for (struct account *account = *bucket; account; account = account->next) {
        if (strcmp(account->principal, principal) == 0) {
            return account;
        }
    }
    if (quotas->count >= ACCOUNTS_MAX) {
        drop_idle(quotas);
    }
    struct account *account = quotas->count < ACCOUNTS_MAX ? calloc(1, sizeof *account) : NULL;
    if (!account || !(account->principal = strdup(principal))) {
        free(account);
        return NULL;
    }
    account->filled_ms = world_mono_ms(quotas->world);
    account->calls = call_room(quota);
    account->bytes = byte_room(quota);
    account->next = *bucket;
    *bucket = account;
    quotas->count++;
    return account;
}

/* What a second gives, for the time that has passed; a whole second's worth at most. */
static void fill(struct quotas *quotas, const struct config_quota *quota, struct account *account)
{
    uint64_t now = world_mono_ms(quotas->world);
    int64_t ms = (int64_t)MIN(now - account->filled_ms, (uint64_t)DAY_MS);
    account->filled_ms = now;
    account->calls = MIN(account->calls + ms * quota->calls_per_s, call_room(quota));
    account->bytes = MIN(account->bytes + ms * byte_room(quota) / 1000, byte_room(quota));
}

static bool refuse(struct quotas *quotas, uint32_t reason, const char *key, uint32_t value, struct err *err)
{
    quotas->refused++;
    return err_raise_reason(err, ERR_TOO_MUCH, reason, "quota: %s = %u is used up for this certificate%s", key,
                            value, reason == SPENT ? " until tomorrow (UTC)" : "");
}

static bool refuse_crowd(struct quotas *quotas, struct err *err)
{
    quotas->refused++;
    return err_raise_reason(err, ERR_TOO_MUCH, OVERLOADED, "quota: more than %d certificates at once",
                            ACCOUNTS_MAX);
}

/* -- Counting */

bool quotas_call(struct quotas *quotas, const struct config_quota *quota, const char *principal, struct err *err)
{
    if (!quota || (!quota->calls_per_s && !quota->kib_per_s)) {
        return true;
    }
    AUTO_LOCKED(held, quotas->lock);
    struct account *account = account_of(quotas, quota, principal);
    if (!account) {
        return refuse_crowd(quotas, err);
    }
    fill(quotas, quota, account);
    if (quota->calls_per_s && account->calls < 1000) {
        return refuse(quotas, OVERLOADED, "calls_per_s", quota->calls_per_s, err);
    }
    if (quota->kib_per_s && account->bytes < 0) {
        return refuse(quotas, OVERLOADED, "kib_per_s", quota->kib_per_s, err);
    }
    account->calls -= quota->calls_per_s ? 1000 : 0;
    return true;
}

bool quotas_enter(struct quotas *quotas, const struct config_quota *quota, const char *principal, struct err *err)
{
    if (!quota || !quota->calls_at_once) {
        return true;
    }
    AUTO_LOCKED(held, quotas->lock);
    struct account *account = account_of(quotas, quota, principal);
    if (!account) {
        return refuse_crowd(quotas, err);
    }
    if (account->at_once >= quota->calls_at_once) {
        return refuse(quotas, OVERLOADED, "calls_at_once", quota->calls_at_once, err);
    }
    account->at_once++;
    return true;
}

/* The quota may have been taken away, or given, while the call ran. */
void quotas_leave(struct quotas *quotas, const struct config_quota *quota, const char *principal)
{
    if (!quota || !quota->calls_at_once) {
        return;
    }
    AUTO_LOCKED(held, quotas->lock);
    struct account *account = account_of(quotas, quota, principal);
    if (account && account->at_once) {
        account->at_once--;
    }
}

void quotas_bytes(struct quotas *quotas, const struct config_quota *quota, const char *principal, uint64_t bytes)
{
    if (!quota || !quota->kib_per_s) {
        return;
    }
    AUTO_LOCKED(held, quotas->lock);
    struct account *account = account_of(quotas, quota, principal);
    if (account) {
        fill(quotas, quota, account);
        account->bytes -= 1000 * (int64_t)MIN(bytes, (uint64_t)1 << 50);
    }
}

bool quotas_write(struct quotas *quotas, const struct config_quota *quota, const char *principal, struct err *err)
{
    if (!quota || !quota->documents_per_day) {
        return true;
    }
    AUTO_LOCKED(held, quotas->lock);
    struct account *account = account_of(quotas, quota, principal);
    if (!account) {
        return refuse_crowd(quotas, err);
    }
    uint64_t today = world_now_ms(quotas->world) / DAY_MS;
    account->documents = account->day == today ? account->documents : 0;
    account->day = today;
    if (account->documents >= quota->documents_per_day) {
        return refuse(quotas, SPENT, "documents_per_day", quota->documents_per_day, err);
    }
    account->documents++;
    return true;
}

uint64_t quotas_refused(struct quotas *quotas)
{
    AUTO_LOCKED(held, quotas->lock);
    return quotas->refused;
}
