/* grpc.health.v1: Check and Watch. Every service of the server has the node's one state. */
#include <stdlib.h>

#include "proto/rpc/health.pb-c.h"
#include "proto/rpc/internal.h"

typedef Grpc__Health__V1__HealthCheckRequest request_type;
typedef Grpc__Health__V1__HealthCheckResponse response_type;

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

struct watch {
    struct watch *next, *prev;
    struct health *health;
    struct rpc_call *stream;
    bool known;                  /* the service exists */
};

struct health {
    pthread_mutex_t lock;
    bool serving, ended;
    struct watch *watches;
    const struct rpc_service *services;
    size_t count;
};

static bool names_service(const char *path, const char *service)
{
    size_t len = strlen(service);
    return strncmp(path + 1, service, len) == 0 && path[1 + len] == '/';
}

static bool is_known(const struct health *health, const char *service)
{
    bool known = !*service;      /* "": the server as a whole */
    for (size_t i = 0; i < health->count && !known; i++) {
        for (size_t j = 0; j < health->services[i].count && !known; j++) {
            known = names_service(health->services[i].methods[j].path, service);
        }
    }
    return known;
}

static bool check(struct rpc_call *call, void *ctx, const ProtobufCMessage *request, ProtobufCMessage *reply,
                  struct err *err)
{
    (void)call;
    struct health *health = ctx;
    const char *service = ((const request_type *)request)->service;
    if (!is_known(health, service)) {
        return err_raise(err, ERR_NOT_FOUND, "no such service here");
    }
    pthread_mutex_lock(&health->lock);
    ((response_type *)reply)->status = health->serving ? STATUS(SERVING) : STATUS(NOT_SERVING);
    pthread_mutex_unlock(&health->lock);
    return true;
}

/* The health's lock is held. A watcher too slow to take so few states is let go. */
static void tell(struct watch *watch)
{
    struct err err;
    response_type response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = !watch->known            ? STATUS(SERVICE_UNKNOWN)
                      : watch->health->serving ? STATUS(SERVING)
                                               : STATUS(NOT_SERVING);
    if (!rpc_stream_offer(watch->stream, &response.base, &err)) {
        rpc_stream_close(watch->stream, &err);
    }
}

static void watch_closed(struct rpc_call *stream, void *arg, const struct err *why)
{
    (void)stream;
    (void)why;
    struct watch *watch = arg;
    struct health *health = watch->health;
    pthread_mutex_lock(&health->lock);
    *(watch->prev ? &watch->prev->next : &health->watches) = watch->next;
    if (watch->next) {
        watch->next->prev = watch->prev;
    }
    pthread_mutex_unlock(&health->lock);
    free(watch);
}

static bool watch_open(struct rpc_call *stream, void *ctx, const ProtobufCMessage *request, struct err *err)
{
    static const struct rpc_events events = {.closed = watch_closed};
    struct health *health = ctx;
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch) {
        return err_raise(err, ERR_TOO_MUCH, "no memory");
    }
    watch->health = health;
    watch->stream = stream;
    watch->known = is_known(health, ((const request_type *)request)->service);
    rpc_stream_listen(stream, &events, watch);
    pthread_mutex_lock(&health->lock);
    watch->next = health->watches;
    if (watch->next) {
        watch->next->prev = watch;
    }
    health->watches = watch;
    tell(watch);
    if (health->ended) {
        rpc_stream_close(stream, NULL);
    }
    pthread_mutex_unlock(&health->lock);
    return true;
}

static const struct rpc_method methods[] = {
    {.path = "/grpc.health.v1.Health/Check",
     .kind = RPC_UNARY,
     .lane = RPC_INLINE,
     .flags = RPC_PUBLIC,
     .in = &grpc__health__v1__health_check_request__descriptor,
     .out = &grpc__health__v1__health_check_response__descriptor,
     .run = check,
     .max_request = 1024},
    {.path = "/grpc.health.v1.Health/Watch",
     .kind = RPC_SERVER_STREAM,
     .lane = RPC_INLINE,
     .flags = RPC_PUBLIC,
     .in = &grpc__health__v1__health_check_request__descriptor,
     .out = &grpc__health__v1__health_check_response__descriptor,
     .open = watch_open,
     .max_request = 1024},
};

bool health_new(struct health **out, struct rpc_service *service, struct err *err)
{
    struct health *health = calloc(1, sizeof *health);
    if (!health) {
        return err_raise(err, ERR_TOO_MUCH, "rpc: no memory");
    }
    pthread_mutex_init(&health->lock, NULL);
    health->serving = true;
    *service = (struct rpc_service){methods, COUNT(methods), health};
    *out = health;
    return true;
}

void health_watch_names(struct health *health, const struct rpc_service *services, size_t count)
{
    health->services = services;
    health->count = count;
}

void health_set(struct health *health, bool serving)
{
    pthread_mutex_lock(&health->lock);
    bool changed = health->serving != serving && !health->ended;
    health->serving = serving && !health->ended;
    for (struct watch *watch = health->watches; watch && changed; watch = watch->next) {
        if (watch->known) {
            tell(watch);
        }
    }
    pthread_mutex_unlock(&health->lock);
}

void health_end(struct health *health)
{
    health_set(health, false);
    pthread_mutex_lock(&health->lock);
    health->ended = true;
    for (struct watch *watch = health->watches; watch; watch = watch->next) {
        rpc_stream_close(watch->stream, NULL);
    }
    pthread_mutex_unlock(&health->lock);
}

void health_free(struct health *health)
{
    if (health) {
        pthread_mutex_destroy(&health->lock);
        free(health);
    }
}
