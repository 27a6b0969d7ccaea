#include "proto/rpc/accept_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic uint64_t seen, accepted_total, refused_files;
static atomic_int limit = INT_MAX;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int spare = -1;           /* under lock */

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
    limit = fd_max;
}

uint64_t accept_guard_seen(void)
{
    return seen;
}

void accept_guard_counters(struct accept_guard_counters *out)
{
    *out = (struct accept_guard_counters){.accepted = accepted_total, .refused_files = refused_files};
}

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
        refused_files++;
        close(victim);
    }
    keep_spare();
    pthread_mutex_unlock(&lock);
    return victim >= 0;
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
        if (accepted >= 0 && accepted < limit) {
            accepted_total++;
            return accepted;
        }
        if (accepted >= 0) {
            refused_files++;
            close(accepted);
        } else if (!out_of_room(errno)) {
            return -1;
        } else if (!turn_away(fd)) {
            errno = EAGAIN;
            return -1;
        }
    }
}
