/* How uploads end that are not finished: aborted by who began them, or left alone for too long. */
#include "node/service/upload_row.h"

#include <stdlib.h>

enum { CLEAN_AT_ONCE = 64, CLEAN_EVERY_MS = 10 * 60 * 1000, HOUR_MS = 60 * 60 * 1000 };

/* Under the patient's lock: it may have been finished, dropped or gone on meanwhile. `touched_ms` NULL: however
 * young it is. */
static bool drop(struct service *service, const struct upload_key *key, const struct id *p,
                 const uint64_t *touched_ms, bool *dropped, struct err *err)
{
    struct upload_state now;
    bool found;
    *dropped = false;
    chart_lock(service->chart, p);
    bool ok = upload_get(service, key, &now, &found, err);
    if (ok && found && (!touched_ms || now.touched_ms == *touched_ms)) {
        struct log_txn *txn = log_txn_new(service->log);
        ok = upload_drop(service, txn, key, &now, err);
        if (ok) {
            ok = *dropped = log_commit(txn, NULL, err);
        } else {
            log_txn_free(txn);
        }
    }
    chart_unlock(service->chart, p);
    return ok;
}

bool records_abort_upload(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                          struct err *err)
{
    const Chartmesh__V1__AbortUploadRequest *request = (const void *)in;
    Chartmesh__V1__AbortUploadReply *out = (void *)reply;
    struct upload_state state;
    struct id id;
    bool found, aborted = false;
    if (!gate_may_write(call->service->gate, &call->caller, "Records.Upload", err) ||
        !field_id(request->upload, "upload", &id, err)) {
        return false;
    }
    struct hash name = retry_name(call, "Records.Upload", BYTES_OF(id));
    struct id who = upload_who(call);
    struct upload_key key = upload_key(&who, &name);
    if (!upload_get(call->service, &key, &state, &found, err) ||
        (found && !drop(call->service, &key, &state.p, NULL, &aborted, err))) {
        return false;
    }
    out->aborted = aborted;
    call->service->uploads.aborted += aborted;
    return true;
}

/* ---- What was left alone ------------------------------------------------------------------------------------------- */

struct left {
    struct upload_key key;
    struct id p;
    uint64_t touched_ms;
};

struct cleaning {
    uint64_t before_ms;
    struct left left[CLEAN_AT_ONCE];
    size_t count;
};

static bool is_left(void *context, const struct upload_key *key, const struct upload_state *state, bool *stop,
                    struct err *err)
{
    struct cleaning *c = context;
    (void)err;
    if (state->touched_ms < c->before_ms) {
        c->left[c->count++] = (struct left){*key, state->p, state->touched_ms};
    }
    *stop = c->count == CLEAN_AT_ONCE;
    return true;
}

bool service_clean_uploads(struct service *service, struct err *err)
{
    uint64_t now = world_now_ms(service->world), kept = (uint64_t)service->config->upload_keep_h * HOUR_MS;
    struct cleaning c = {.before_ms = now > kept ? now - kept : 0};
    if (!upload_each(service, NULL, is_left, &c, err)) {
        return false;
    }
    for (size_t i = 0; i < c.count; i++) {
        bool dropped;
        if (!drop(service, &c.left[i].key, &c.left[i].p, &c.left[i].touched_ms, &dropped, err)) {
            return false;
        }
        service->uploads.expired += dropped;
    }
    return true;
}

static bool add_up(void *context, const struct upload_key *key, const struct upload_state *state, bool *stop,
                   struct err *err)
{
    struct service_uploads *out = context;
    (void)key;
    (void)stop;
    (void)err;
    out->open++;
    out->bytes += MIN(state->tree.leaves << CHUNK_LOG2, state->length);
    return true;
}

bool service_uploads(struct service *service, struct service_uploads *out, struct err *err)
{
    *out = (struct service_uploads){.begun = service->uploads.begun,
                                    .finished = service->uploads.finished,
                                    .aborted = service->uploads.aborted,
                                    .expired = service->uploads.expired,
                                    .refused = service->uploads.refused};
    return upload_each(service, NULL, add_up, out, err);
}

/* ---- The job ------------------------------------------------------------------------------------------------------- */

struct service_job {
    struct service *service;
    struct world_lane *lane;
    struct world_lock *lock;
    uint64_t timer; /* under lock; 0: no more */
    bool closing;
};

/* What fails is tried again: a store that fails ends the process by itself. */
static void clean(void *arg)
{
    struct service_job *job = arg;
    struct err err;
    if (!service_clean_uploads(job->service, &err)) {
        job->service->uploads.failed++;
    }
    AUTO_LOCKED(locked, job->lock);
    job->timer = job->closing ? 0 : world_timer_start(job->lane, CLEAN_EVERY_MS, clean, job);
}

bool service_job_open(struct service *service, struct service_job **out, struct err *err)
{
    struct service_job *job = calloc(1, sizeof *job);
    if (!job) {
        return err_raise(err, ERR_TOO_MUCH, "uploads: no memory");
    }
    job->service = service;
    if (!world_lane_open(service->world, "uploads", 1, &job->lane, err)) {
        free(job);
        return false;
    }
    job->lock = world_lock_new(service->world);
    world_lock_take(job->lock);
    job->timer = world_timer_start(job->lane, CLEAN_EVERY_MS, clean, job);
    world_lock_give(job->lock);
    *out = job;
    return true;
}

void service_job_close(struct service_job *job)
{
    if (!job) {
        return;
    }
    world_lock_take(job->lock);
    uint64_t timer = job->timer;
    job->closing = true;
    world_lock_give(job->lock);
    world_timer_stop(job->service->world, timer);
    world_lane_close(job->lane);
    world_lock_free(job->lock);
    free(job);
}
