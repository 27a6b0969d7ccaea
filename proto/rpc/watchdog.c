/* What must go on when the polling thread does not: connections are looked at, and our own ports are tried.
 *
 * A port is tried with the first words of TLS: a ClientHello, to be answered by a ServerHello. That takes a
 * listener that accepts, a polling thread that comes round and a TLS library that has its certificate, and needs
 * no certificate of ours. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <grpc/support/time.h>

#include "proto/rpc/limits.h"

enum { ROUND_MS = 200, ANSWER_MS = 5000, FAILURES = 3, SERVERS_MAX = 16 };

struct watchdog {
    struct rpc *rpc;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool stop, told;
    unsigned failures;
};

struct place {                   /* of a server, which may be closed meanwhile */
    char address[300];
    int port;
};

/* ---- trying a port ---- */

static void put_hello(uint8_t *out, size_t *len)
{
    /* RFC 8446, 4.1.2: TLS 1.3, AES-128-GCM, and as our P-256 key the curve's generator: a point like any other,
     * of which everybody knows the secret. The handshake goes no further. */
    static const uint8_t head[] = {
        0x16, 0x03, 0x01, 0x00, 0x95, /* record: handshake, 149 bytes */
        0x01, 0x00, 0x00, 0x91, 0x03, 0x03, /* ClientHello, 145 bytes */
    };
    static const uint8_t tail[] = {
        0x00, /* no session id */
        0x00, 0x02, 0x13, 0x01, 0x01, 0x00, /* TLS_AES_128_GCM_SHA256; no compression */
        0x00, 0x66, /* extensions, 102 bytes */
        0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17, /* supported_groups: secp256r1 */
        0x00, 0x0d, 0x00, 0x08, 0x00, 0x06, 0x04, 0x03, 0x08, 0x07, 0x08, 0x04, /* signature_algorithms */
        0x00, 0x2b, 0x00, 0x03, 0x02, 0x03, 0x04, /* supported_versions: 1.3 */
        0x00, 0x33, 0x00, 0x47, 0x00, 0x45, 0x00, 0x17, 0x00, 0x41, 0x04, /* key_share: secp256r1 */
        0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
        0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
        0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16,
        0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
    };
    memcpy(out, head, sizeof head);
    memset(out + sizeof head, 0x57, 32); /* "random": nothing is kept secret with it */
    memcpy(out + sizeof head + 32, tail, sizeof tail);
    *len = sizeof head + 32 + sizeof tail;
}

/* Waits for `events`; false: not within the time. */
static bool ready(int fd, short events, uint64_t until_ms)
{
    uint64_t now = clock_ms();
    struct pollfd one = {.fd = fd, .events = events};
    return now < until_ms && poll(&one, 1, (int)(until_ms - now)) == 1;
}

/* The first bytes of the answer: a handshake record with a ServerHello in it. */
static bool read_answer(int fd, uint64_t until_ms, bool *turned_away)
{
    uint8_t answer[6];
    size_t len = 0;
    while (len < sizeof answer && ready(fd, POLLIN, until_ms)) {
        ssize_t got = read(fd, answer + len, sizeof answer - len);
        if (got <= 0) {
            *turned_away = true;
            return false;
        }
        len += (size_t)got;
    }
    return len == sizeof answer && answer[0] == 0x16 && answer[5] == 0x02;
}

bool port_answers(const char *address, int port, struct err *err)
{
    uint8_t hello[256];
    size_t len;
    bool turned_away = false;
    uint64_t until = clock_ms() + ANSWER_MS;
    struct accept_guard_counters before, after;
    accept_guard_counters(&before);
    put_hello(hello, &len);
    int fd = listener_connect(address, port, ANSWER_MS);
    bool sent = fd >= 0 && write(fd, hello, len) == (ssize_t)len;
    bool ok = sent && read_answer(fd, until, &turned_away);
    if (fd >= 0) {
        close(fd);
    }
    accept_guard_counters(&after);
    /* Too many connections: the listener is alive enough to say so. */
    bool full = after.refused_files + after.refused_total + after.refused_source >
                before.refused_files + before.refused_total + before.refused_source;
    return ok || full ||
           err_raise(err, ERR_UNAVAILABLE, "port %d of %s: %s", port, address,
                     fd < 0        ? "nobody accepts connections any more"
                     : turned_away ? "connections are closed before TLS begins"
                                   : "connections are accepted and TLS does not begin");
}

/* ---- the thread ---- */

static size_t find_places(struct rpc *rpc, struct place *places)
{
    size_t count = 0;
    pthread_mutex_lock(&rpc->lock);
    for (struct rpc_server *server = rpc->servers; server && count < SERVERS_MAX; server = server->next) {
        if (!server->draining) {
            snprintf(places[count].address, sizeof places[count].address, "%s", server->address);
            places[count++].port = server->port;
        }
    }
    pthread_mutex_unlock(&rpc->lock);
    return count;
}

static bool all_answer(struct rpc *rpc, struct err *err)
{
    struct place places[SERVERS_MAX];
    size_t count = find_places(rpc, places);
    for (size_t i = 0; i < count; i++) {
        if (!port_answers(places[i].address, places[i].port, err)) {
            return false;
        }
    }
    return true;
}

static void try_ports(struct watchdog *dog)
{
    struct err err;
    struct place places[SERVERS_MAX];
    dog->failures = all_answer(dog->rpc, &err) ? 0 : dog->failures + 1;
    /* A server that is going down answers nobody, and should not. */
    if (dog->failures >= FAILURES && !dog->told && find_places(dog->rpc, places)) {
        dog->told = true;
        dog->rpc->config.deaf(dog->rpc->config.ctx, &err);
    }
}

static void look_at_connections(struct rpc *rpc)
{
    accept_guard_sweep();
    pthread_mutex_lock(&rpc->lock);
    for (struct rpc_server *server = rpc->servers; server; server = server->next) {
        limits_watch(server);
    }
    pthread_mutex_unlock(&rpc->lock);
}

static void *watch_thread(void *arg)
{
    struct watchdog *dog = arg;
    const struct rpc_config *config = &dog->rpc->config;
    uint64_t due = clock_ms() + (uint64_t)config->watch_s * 1000;
    pthread_mutex_lock(&dog->lock);
    while (!dog->stop) {
        uint64_t next = clock_ms() + ROUND_MS;
        struct timespec until = {(time_t)(next / 1000), (long)(next % 1000) * 1000000};
        pthread_cond_timedwait(&dog->ended, &dog->lock, &until);
        pthread_mutex_unlock(&dog->lock);
        look_at_connections(dog->rpc);
        if (config->deaf && clock_ms() >= due) {
            try_ports(dog);
            due = clock_ms() + (uint64_t)config->watch_s * 1000;
        }
        pthread_mutex_lock(&dog->lock);
    }
    pthread_mutex_unlock(&dog->lock);
    return NULL;
}

bool watchdog_start(struct rpc *rpc)
{
    struct watchdog *dog = calloc(1, sizeof *dog);
    if (!dog) {
        return false;
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&dog->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&dog->lock, NULL);
    dog->rpc = rpc;
    if (pthread_create(&dog->thread, NULL, watch_thread, dog) != 0) {
        free(dog);
        return false;
    }
    rpc->watchdog = dog;
    return true;
}

void watchdog_stop(struct rpc *rpc)
{
    struct watchdog *dog = rpc->watchdog;
    if (!dog) {
        return;
    }
    pthread_mutex_lock(&dog->lock);
    dog->stop = true;
    pthread_cond_broadcast(&dog->ended);
    pthread_mutex_unlock(&dog->lock);
    pthread_join(dog->thread, NULL);
    pthread_cond_destroy(&dog->ended);
    pthread_mutex_destroy(&dog->lock);
    free(dog);
    rpc->watchdog = NULL;
}
