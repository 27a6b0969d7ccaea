/* Is the accept guard in front of libc's accept4? The one sure way to know is to connect. */
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proto/rpc/accept_guard.h"
#include "proto/rpc/internal.h"

enum { TRIES = 2000 };           /* of a millisecond each */

static bool own_host(const char *address, char *out, size_t size)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon ? (size_t)(colon - address) : strlen(address);
    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }
    if (len + 1 > size) {
        return false;
    }
    snprintf(out, size, "%.*s", (int)len, address);
    if (strcmp(out, "0.0.0.0") == 0 || strcmp(out, "") == 0) {
        snprintf(out, size, "127.0.0.1");
    } else if (strcmp(out, "::") == 0) {
        snprintf(out, size, "::1");
    }
    return true;
}

int listener_connect(const char *address, int port, int timeout_ms)
{
    const struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    char host[256], service[16];
    struct addrinfo *list = NULL, hints = {.ai_socktype = SOCK_STREAM};
    snprintf(service, sizeof service, "%d", port);
    if (!own_host(address, host, sizeof host) || getaddrinfo(host, service, &hints, &list) != 0) {
        return -1;
    }
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);     /* connect's too */
    }
    if (fd >= 0 && connect(fd, list->ai_addr, list->ai_addrlen) != 0) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    return fd;
}

bool listener_is_guarded(const char *address, int port, struct err *err)
{
    uint64_t before = accept_guard_seen();
    int fd = listener_connect(address, port, TRIES);
    if (fd < 0) {
        return err_raise(err, ERR_UNAVAILABLE, "rpc server %s: cannot be reached by itself", address);
    }
    bool moved = false;
    for (int i = 0; i < TRIES && !moved; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        moved = accept_guard_seen() != before;
    }
    close(fd);
    return moved ||
           err_raise(err, ERR_STATE, "rpc server %s: the accept guard is not linked into this program", address);
}
