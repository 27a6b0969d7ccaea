#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <grpc/support/log.h>
#include <grpc/support/time.h>

#include "proto/rpc/accept_guard.h"
#include "proto/rpc/internal.h"

enum { SWEEP_MS = 200, LOG_LINES_PER_SECOND = 10, FDS_FOR_FILES = 64 };

/* gRPC's log function has no argument of ours. */
static struct rpc *_Atomic open_runtime;

/* ---- lanes ---- */

static void *lane_thread(void *arg)
{
    struct lane *lane = arg;
    pthread_mutex_lock(&lane->lock);
    for (;;) {
        while (!lane->first && !lane->stop) {
            pthread_cond_wait(&lane->filled, &lane->lock);
        }
        struct task *task = lane->first;
        if (!task) {
            break;
        }
        lane->first = task->next;
        lane->last = lane->first ? lane->last : NULL;
        lane->waiting--;
        lane->busy++;
        pthread_mutex_unlock(&lane->lock);
        task->run(task->arg);
        pthread_mutex_lock(&lane->lock);
        lane->busy--;
    }
    pthread_mutex_unlock(&lane->lock);
    return NULL;
}

/* Begins a thread when there is more to do than threads are free. The lock is held. Signals are the main thread's:
 * none of ours takes them. */
static void lane_grow(struct lane *lane)
{
    sigset_t all, before;
    if (lane->busy + lane->waiting <= lane->thread_count || lane->thread_count == lane->threads_max) {
        return;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&lane->threads[lane->thread_count], NULL, lane_thread, lane) == 0) {
        lane->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static bool has_room(const struct lane *lane)
{
    return lane->busy + lane->waiting < lane->threads_max + lane->limit;
}

bool lane_push(struct rpc *rpc, enum rpc_lane which, struct task *task, bool must)
{
    if (which == RPC_INLINE) {
        task->run(task->arg);
        return true;
    }
    struct lane *lane = &rpc->lanes[which];
    pthread_mutex_lock(&lane->lock);
    bool fits = must || has_room(lane);
    if (fits) {
        task->next = NULL;
        *(lane->last ? &lane->last->next : &lane->first) = task;
        lane->last = task;
        lane->waiting++;
        lane_grow(lane);
        pthread_cond_signal(&lane->filled);
    }
    pthread_mutex_unlock(&lane->lock);
    return fits;
}

bool lane_full(struct rpc *rpc, enum rpc_lane which)
{
    if (which == RPC_INLINE) {
        return false;
    }
    struct lane *lane = &rpc->lanes[which];
    pthread_mutex_lock(&lane->lock);
    bool full = !has_room(lane);
    pthread_mutex_unlock(&lane->lock);
    return full;
}

/* One thread at once, so that a lane never stands still for want of one. */
static bool lane_start(struct lane *lane, unsigned threads, unsigned limit)
{
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->filled, NULL);
    lane->limit = limit;
    lane->threads_max = threads;
    lane->threads = calloc(threads, sizeof *lane->threads);
    if (lane->threads && pthread_create(&lane->threads[0], NULL, lane_thread, lane) == 0) {
        lane->thread_count = 1;
    }
    return lane->thread_count == 1;
}

static void lane_stop(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    lane->stop = true;
    pthread_cond_broadcast(&lane->filled);
    pthread_mutex_unlock(&lane->lock);
    for (unsigned i = 0; i < lane->thread_count; i++) {
        pthread_join(lane->threads[i], NULL);
    }
    free(lane->threads);
    pthread_cond_destroy(&lane->filled);
    pthread_mutex_destroy(&lane->lock);
}

/* ---- the polling thread ---- */

static void sweep(struct rpc *rpc, gpr_timespec now)
{
    pthread_mutex_lock(&rpc->lock);
    for (struct rpc_server *server = rpc->servers; server; server = server->next) {
        server_sweep(server, now);
    }
    pthread_mutex_unlock(&rpc->lock);
}

static uint64_t ms_of(gpr_timespec time)
{
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

uint64_t clock_ms(void)
{
    return ms_of(gpr_now(GPR_CLOCK_MONOTONIC));
}

static gpr_timespec tick(struct rpc *rpc)
{
    gpr_timespec now = gpr_now(GPR_CLOCK_MONOTONIC);
    rpc->now_ms = ms_of(now);
    return now;
}

static void *poll_thread(void *arg)
{
    struct rpc *rpc = arg;
    gpr_timespec pause = gpr_time_from_millis(SWEEP_MS, GPR_TIMESPAN);
    gpr_timespec due = gpr_time_add(tick(rpc), pause);
    for (;;) {
        grpc_event event = grpc_completion_queue_next(rpc->queue, due, NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            return NULL;
        }
        if (event.type == GRPC_OP_COMPLETE) {
            struct tag *tag = event.tag;
            tag_comes(tag);
            tag->done(tag->arg, event.success);
        }
        gpr_timespec now = tick(rpc);
        if (gpr_time_cmp(now, due) >= 0) {
            sweep(rpc, now);
            due = gpr_time_add(now, pause);
        }
    }
}

bool on_poller(const struct rpc *rpc)
{
    return pthread_equal(pthread_self(), rpc->poller);
}

/* ---- gRPC's own log ---- */

/* A stranger's refused handshake writes a line, so strangers could fill a disk: the rest is not written. */
static void log_line(gpr_log_func_args *args)
{
    static _Atomic uint64_t second, lines;
    struct rpc *rpc = open_runtime;
    uint64_t now = (uint64_t)gpr_now(GPR_CLOCK_MONOTONIC).tv_sec;
    if (!rpc || args->severity != GPR_LOG_SEVERITY_ERROR) {
        return;
    }
    rpc->handshakes_failed += strncmp(args->message, "Handshake failed", 16) == 0;
    if (!rpc->config.log) {
        return;
    }
    if (atomic_exchange(&second, now) != now) {
        lines = 0;
    }
    if (lines++ < LOG_LINES_PER_SECOND) {
        char line[512];
        snprintf(line, sizeof line, "grpc: %s", args->message);
        rpc->config.log(rpc->config.ctx, line);
    }
}

/* ---- open and close ---- */

static int default_fd_max(void)
{
    struct rlimit files;
    bool known = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 1 << 24;
    int max = known ? (int)files.rlim_cur : 1 << 20;
    return max > 2 * FDS_FOR_FILES ? max - FDS_FOR_FILES : max;
}

static void config_defaults(struct rpc_config *config)
{
    config->work_threads = config->work_threads ? config->work_threads : 8;
    config->work_queue = config->work_queue ? config->work_queue : 256;
    config->bulk_threads = config->bulk_threads ? config->bulk_threads : 8;
    config->bulk_queue = config->bulk_queue ? config->bulk_queue : 64;
    config->watch_threads = config->watch_threads ? config->watch_threads : 8;
    config->memory_max = config->memory_max ? config->memory_max : 256 << 20;
    config->calls_memory_max = config->calls_memory_max ? config->calls_memory_max : 512 << 20;
    config->connections_max = config->connections_max ? config->connections_max : 4096;
    if (!config->source_connections_max) {
        config->source_connections_max = MAX(config->connections_max / 2, 1);
    }
    config->watch_s = config->watch_s ? config->watch_s : 10;
    config->fd_max = config->fd_max ? config->fd_max : default_fd_max();
}

static void begin_grpc(struct rpc *rpc)
{
    /* gRPC 1.51 pins TLS 1.2 as its minimum and has no setter. A suite that TLS 1.2 certificates cannot use
     * leaves 1.3 as the only version (tested; docs/decisions/0008-tls-1-3.md). */
    setenv("GRPC_SSL_CIPHER_SUITES", "PSK-AES256-GCM-SHA384", 1);
    gpr_set_log_function(log_line);
    gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
    grpc_init();
    rpc->queue = grpc_completion_queue_create_for_next(NULL);
    rpc->quota = grpc_resource_quota_create("chartmesh");
    grpc_resource_quota_resize(rpc->quota, rpc->config.memory_max);
}

/* A queue is destroyed when it has been emptied: by the polling thread, or here where there is none. */
static void end_grpc(struct rpc *rpc, bool has_poller)
{
    grpc_completion_queue_shutdown(rpc->queue);
    if (has_poller) {
        pthread_join(rpc->poller, NULL);
    } else {
        poll_thread(rpc);
    }
    grpc_completion_queue_destroy(rpc->queue);
    grpc_resource_quota_unref(rpc->quota);
    grpc_shutdown_blocking();
}

static void stop_lanes(struct rpc *rpc)
{
    for (size_t i = 0; i < COUNT(rpc->lanes); i++) {
        lane_stop(&rpc->lanes[i]);
    }
}

static bool start_threads(struct rpc *rpc)
{
    const struct rpc_config *config = &rpc->config;
    bool work = lane_start(&rpc->lanes[RPC_WORK], config->work_threads, config->work_queue);
    bool bulk = lane_start(&rpc->lanes[RPC_BULK], config->bulk_threads, config->bulk_queue);
    bool watch = lane_start(&rpc->lanes[RPC_WATCH], config->watch_threads, 0);
    if (work && bulk && watch && watchdog_start(rpc) &&
        pthread_create(&rpc->poller, NULL, poll_thread, rpc) == 0) {
        return true;
    }
    watchdog_stop(rpc);
    stop_lanes(rpc);
    return false;
}

bool rpc_open(const struct rpc_config *config, struct rpc **out, struct err *err)
{
    struct rpc *rpc = calloc(1, sizeof *rpc), *none = NULL;
    if (!rpc) {
        return err_raise(err, ERR_TOO_MUCH, "rpc: no memory");
    }
    if (!atomic_compare_exchange_strong(&open_runtime, &none, rpc)) {
        free(rpc);
        return err_raise(err, ERR_STATE, "rpc: is open already in this process");
    }
    rpc->config = *config;
    config_defaults(&rpc->config);
    gpr_timespec now = gpr_now(GPR_CLOCK_REALTIME);
    rpc->boot = (uint64_t)now.tv_sec * GPR_NS_PER_SEC + (uint64_t)now.tv_nsec;
    pthread_mutex_init(&rpc->lock, NULL);
    pthread_cond_init(&rpc->idle, NULL);
    rpc->memory.max = rpc->config.calls_memory_max;
    accept_guard_limit(rpc->config.fd_max);
    accept_guard_caps(rpc->config.connections_max, rpc->config.source_connections_max);

    /* Signals are the main thread's: none of gRPC's threads or ours takes them. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    begin_grpc(rpc);
    bool ok = start_threads(rpc);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!ok) {
        end_grpc(rpc, false);
        open_runtime = NULL;
        free(rpc);
        return err_raise(err, ERR_TOO_MUCH, "rpc: no threads");
    }
    *out = rpc;
    return true;
}

void rpc_close(struct rpc *rpc)
{
    if (!rpc) {
        return;
    }
    pthread_mutex_lock(&rpc->lock);
    while (rpc->calls) {
        pthread_cond_wait(&rpc->idle, &rpc->lock);
    }
    pthread_mutex_unlock(&rpc->lock);
    watchdog_stop(rpc);
    stop_lanes(rpc);
    end_grpc(rpc, true);
    pthread_cond_destroy(&rpc->idle);
    pthread_mutex_destroy(&rpc->lock);
    open_runtime = NULL;
    free(rpc);
}
