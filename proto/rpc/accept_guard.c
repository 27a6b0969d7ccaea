#include "proto/rpc/accept_guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PORTS_MAX = 16, SOURCE_LEN = 16, UNKNOWN_BYTES_MAX = 256 << 10 };

struct source {                  /* who connected: IPv4 as IPv6 writes it */
    uint8_t address[SOURCE_LEN];
    uint16_t port;
};

struct entry {
    bool used, known;            /* known: a call came over it */
    uint64_t cookie;             /* the kernel's name of the socket, never given twice */
    struct source source;
};

static _Atomic uint64_t seen;
static atomic_int limit = ACCEPT_GUARD_FD_MAX;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int spare = -1;           /* under lock, as what follows is */
static unsigned total_max = ACCEPT_GUARD_FD_MAX, source_max = ACCEPT_GUARD_FD_MAX;
static int ports[PORTS_MAX];     /* 0: free */
static struct entry table[ACCEPT_GUARD_FD_MAX];              /* by descriptor */
static int table_end;
static struct accept_guard_counters counters;

/* ---- what is set ---- */

static void keep_spare(void)
{
    if (spare < 0) {
        spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

void accept_guard_limit(int fd_max)
{
    pthread_mutex_lock(&lock);
    keep_spare();
    pthread_mutex_unlock(&lock);
    limit = fd_max < ACCEPT_GUARD_FD_MAX ? fd_max : ACCEPT_GUARD_FD_MAX;
}

void accept_guard_caps(unsigned total, unsigned source)
{
    pthread_mutex_lock(&lock);
    total_max = total;
    source_max = source;
    pthread_mutex_unlock(&lock);
}

void accept_guard_port(int port, bool guarded)
{
    int from = guarded ? 0 : port, to = guarded ? port : 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < PORTS_MAX; i++) {
        if (ports[i] == from) {
            ports[i] = to;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

uint64_t accept_guard_seen(void)
{
    return seen;
}

/* ---- the table; the lock is held ---- */

static uint64_t cookie_of(int fd)
{
    uint64_t cookie = 0;
    socklen_t len = sizeof cookie;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) == 0 ? cookie : 0;
}

static void forget(struct entry *entry)
{
    counters.silent += !entry->known;
    counters.open--;
    *entry = (struct entry){0};
}

static bool source_of(const struct sockaddr_storage *address, struct source *out)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    *out = (struct source){0};
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        memcpy(out->address, mapped, sizeof mapped);
        memcpy(out->address + sizeof mapped, &v4->sin_addr, 4);
        out->port = ntohs(v4->sin_port);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)address;
        memcpy(out->address, &v6->sin6_addr, SOURCE_LEN);
        out->port = ntohs(v6->sin6_port);
    }
    return out->port;
}

static bool is_guarded(int listener)
{
    struct sockaddr_storage address;
    struct source own;
    socklen_t len = sizeof address;
    if (getsockname(listener, (struct sockaddr *)&address, &len) != 0 || !source_of(&address, &own)) {
        return false;
    }
    for (int i = 0; i < PORTS_MAX; i++) {
        if (ports[i] == own.port) {
            return true;
        }
    }
    return false;
}

static unsigned open_from(const struct source *source)
{
    unsigned count = 0;
    for (int i = 0; i < table_end; i++) {
        count += table[i].used && memcmp(table[i].source.address, source->address, SOURCE_LEN) == 0;
    }
    return count;
}

/* Takes the connection into the table; false: it is one too many. */
static bool enter(int fd)
{
    struct sockaddr_storage address;
    struct source source;
    socklen_t len = sizeof address;
    if (getpeername(fd, (struct sockaddr *)&address, &len) != 0 || !source_of(&address, &source)) {
        return true;             /* gone already, or of no network */
    }
    if (table[fd].used) {
        forget(&table[fd]);
    }
    if (counters.open >= total_max) {
        counters.refused_total++;
        return false;
    }
    if (open_from(&source) >= source_max) {
        counters.refused_source++;
        return false;
    }
    table[fd] = (struct entry){.used = true, .cookie = cookie_of(fd), .source = source};
    table_end = fd >= table_end ? fd + 1 : table_end;
    counters.open++;
    return true;
}

/* ---- connections by name ---- */

/* "ipv4:127.0.0.1:4711", "ipv6:[::1]:4711" and, as a URI, "ipv6:%5B::1%5D:4711". */
static bool parse_peer(const char *peer, struct source *out)
{
    struct sockaddr_storage address = {0};
    char host[INET6_ADDRSTRLEN];
    bool v6 = strncmp(peer, "ipv6:", 5) == 0;
    const char *from = peer + 5, *to = strrchr(peer, ':');
    if ((!v6 && strncmp(peer, "ipv4:", 5) != 0) || to < from) {
        return false;
    }
    uint16_t port = (uint16_t)strtoul(to + 1, NULL, 10);
    if (v6) {
        from += *from == '[' ? 1 : strncmp(from, "%5B", 3) == 0 ? 3 : 0;
        size_t tail = to > from && to[-1] == ']' ? 1 : to - from > 3 && strncmp(to - 3, "%5D", 3) == 0 ? 3 : 0;
        to -= tail;
    }
    if ((size_t)(to - from) >= sizeof host) {
        return false;
    }
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = 0;
    address.ss_family = v6 ? AF_INET6 : AF_INET;
    void *place = v6 ? (void *)&((struct sockaddr_in6 *)&address)->sin6_addr
                     : (void *)&((struct sockaddr_in *)&address)->sin_addr;
    if (inet_pton(address.ss_family, host, place) != 1) {
        return false;
    }
    source_of(&address, out);
    out->port = port;
    return true;
}

struct accept_guard_socket accept_guard_find(const char *peer)
{
    struct accept_guard_socket found = {.fd = -1};
    struct source source;
    if (!parse_peer(peer, &source)) {
        return found;
    }
    pthread_mutex_lock(&lock);
    for (int i = 0; i < table_end && found.fd < 0; i++) {
        struct entry *entry = &table[i];
        if (entry->used && entry->source.port == source.port &&
            memcmp(entry->source.address, source.address, SOURCE_LEN) == 0 && cookie_of(i) == entry->cookie) {
            entry->known = true;
            found = (struct accept_guard_socket){i, entry->cookie};
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

bool accept_guard_is_open(struct accept_guard_socket connection)
{
    return connection.fd >= 0 && cookie_of(connection.fd) == connection.cookie;
}

uint64_t accept_guard_heard(struct accept_guard_socket connection)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    int unread = 0;
    if (!accept_guard_is_open(connection) || getsockopt(connection.fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 ||
        ioctl(connection.fd, FIONREAD, &unread) != 0) {
        return 0;
    }
    return info.tcpi_bytes_received > (uint64_t)unread ? info.tcpi_bytes_received - (uint64_t)unread : 0;
}

/* Unlike shutdown, this also drops what has come and was not read: a flood ends here. The number could become
 * another socket's between the look and the cut: not one that is accepted meanwhile, for that needs the lock; one
 * that we dial is dialled again. */
static bool cut(struct accept_guard_socket connection)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    return accept_guard_is_open(connection) && connect(connection.fd, &nobody, sizeof nobody) == 0;
}

bool accept_guard_cut(struct accept_guard_socket connection)
{
    pthread_mutex_lock(&lock);
    bool done = cut(connection);
    pthread_mutex_unlock(&lock);
    return done;
}

void accept_guard_sweep(void)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < table_end; i++) {
        struct accept_guard_socket connection = {i, table[i].cookie};
        if (table[i].used && !accept_guard_is_open(connection)) {
            forget(&table[i]);
        } else if (table[i].used && !table[i].known && accept_guard_heard(connection) > UNKNOWN_BYTES_MAX) {
            counters.babbling += cut(connection);
        }
    }
    while (table_end > 0 && !table[table_end - 1].used) {
        table_end--;
    }
    pthread_mutex_unlock(&lock);
}

void accept_guard_counters(struct accept_guard_counters *out)
{
    pthread_mutex_lock(&lock);
    *out = counters;
    pthread_mutex_unlock(&lock);
}

/* ---- accept4 ---- */

static int real_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    return (int)syscall(SYS_accept4, fd, address, len, flags);
}

static bool out_of_room(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* Turns one waiting connection away with the spare descriptor; false when that is not possible. */
static bool turn_away(int fd)
{
    pthread_mutex_lock(&lock);
    bool had_spare = spare >= 0;
    if (had_spare) {
        close(spare);
        spare = -1;
    }
    int victim = had_spare ? real_accept4(fd, NULL, NULL, SOCK_CLOEXEC) : -1;
    if (victim >= 0) {
        counters.refused_files++;
        close(victim);
    }
    keep_spare();
    pthread_mutex_unlock(&lock);
    return victim >= 0;
}

static bool may_stay(int listener, int accepted)
{
    pthread_mutex_lock(&lock);
    bool fits = accepted < limit;
    counters.refused_files += !fits;
    bool stays = fits && (!is_guarded(listener) || enter(accepted));
    counters.accepted += stays;
    pthread_mutex_unlock(&lock);
    return stays;
}

__attribute__((visibility("default"))) int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    seen++;
    socklen_t room = len ? *len : 0;
    for (;;) {
        if (len) {
            *len = room;
        }
        int accepted = real_accept4(fd, address, len, flags);
        if (accepted >= 0 && may_stay(fd, accepted)) {
            return accepted;
        }
        if (accepted >= 0) {
            close(accepted);
        } else if (!out_of_room(errno)) {
            return -1;
        } else if (!turn_away(fd)) {
            errno = EAGAIN;
            return -1;
        }
    }
}
