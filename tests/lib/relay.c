/* relay - a line between two nodes that a test can cut: it listens on loopback and passes bytes on to another
 * address.
 *
 *     relay 127.0.0.1:0 127.0.0.1:7444       prints "ready 127.0.0.1:PORT", passes on until SIGTERM
 *     kill -USR1 PID                         cut: every connection ends, new ones are closed at once; prints "cut"
 *     kill -USR2 PID                         heal: new connections are passed on again; prints "healed" */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAIRS_MAX = 256, BUFFER = 64 << 10 };

/* One direction: what was read from `from` and is not written to `to` yet. */
struct flow {
    int from, to;
    size_t start, end;
    bool ended;                      /* `from` has said its last, and `to` was told */
    char bytes[BUFFER];
};

struct pair {
    int near, far;                   /* the one that dialed, and whom it wants */
    struct flow there, back;
};

static struct pair *pairs[PAIRS_MAX];
static size_t pair_count;
static volatile sig_atomic_t asked;

static void on_signal(int signal_number)
{
    asked = signal_number;
}

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static struct sockaddr_in address_of(const char *text)
{
    struct sockaddr_in out = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    snprintf(host, sizeof host, "%.*s", (int)len, text);
    char *end = NULL;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (!colon || *end || port > 65535 || inet_pton(AF_INET, host, &out.sin_addr) != 1) {
        fprintf(stderr, "relay: %s is not HOST:PORT with an IPv4 address\n", text);
        exit(2);
    }
    out.sin_port = htons((uint16_t)port);
    return out;
}

static int listen_on(const char *text)
{
    struct sockaddr_in address = address_of(text);
    socklen_t len = sizeof address;
    char host[INET_ADDRSTRLEN];
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        die(text);
    }
    inet_ntop(AF_INET, &address.sin_addr, host, sizeof host);
    printf("ready %s:%d\n", host, ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

/* -- Pairs */

static void pair_close(size_t i)
{
    close(pairs[i]->near);
    close(pairs[i]->far);
    free(pairs[i]);
    pairs[i] = pairs[--pair_count];
}

static void pair_open(int near, const struct sockaddr_in *target)
{
    int far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool dialed = far >= 0 && pair_count < PAIRS_MAX &&
                  (connect(far, (const struct sockaddr *)target, sizeof *target) == 0 || errno == EINPROGRESS);
    struct pair *pair = dialed ? calloc(1, sizeof *pair) : NULL;
    if (!pair) {
        close(near);
        if (far >= 0) {
            close(far);
        }
        return;
    }
    pair->near = near;
    pair->far = far;
    pair->there = (struct flow){.from = near, .to = far};
    pair->back = (struct flow){.from = far, .to = near};
    pairs[pair_count++] = pair;
}

/* -- Bytes */

static bool would_block(void)
{
    return errno == EAGAIN || errno == EINTR || errno == ENOTCONN;
}

static short wants(const struct flow *flow, int fd)
{
    bool full = flow->end > flow->start;
    if (fd == flow->from) {
        return full || flow->ended ? 0 : POLLIN;
    }
    return full ? POLLOUT : 0;
}

/* False: the pair is broken. */
static bool move(struct flow *flow)
{
    if (flow->start == flow->end && !flow->ended) {
        ssize_t n = read(flow->from, flow->bytes, sizeof flow->bytes);
        if (n < 0 && !would_block()) {
            return false;
        }
        flow->start = 0;
        flow->end = n > 0 ? (size_t)n : 0;
        if (n == 0) {
            flow->ended = true;
            shutdown(flow->to, SHUT_WR);
        }
    }
    if (flow->end > flow->start) {
        ssize_t n = send(flow->to, flow->bytes + flow->start, flow->end - flow->start, MSG_NOSIGNAL);
        if (n < 0 && !would_block()) {
            return false;
        }
        flow->start += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void wait_for_any(int listener, const sigset_t *mask)
{
    static struct pollfd fds[1 + 2 * PAIRS_MAX];
    nfds_t count = 0;
    fds[count++] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (size_t i = 0; i < pair_count; i++) {
        const struct pair *pair = pairs[i];
        for (int side = 0; side < 2; side++) {
            int fd = side ? pair->far : pair->near;
            fds[count++] = (struct pollfd){.fd = fd, .events = wants(&pair->there, fd) | wants(&pair->back, fd)};
        }
    }
    ppoll(fds, count, NULL, mask);
}

static void accept_all(int listener, const struct sockaddr_in *target, bool cut)
{
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;) {
        if (cut) {
            close(fd);
        } else {
            pair_open(fd, target);
        }
    }
}

static void move_all(void)
{
    for (size_t i = 0; i < pair_count;) {
        struct pair *pair = pairs[i];
        bool ok = move(&pair->there) && move(&pair->back);
        if (!ok || (pair->there.ended && pair->back.ended)) {
            pair_close(i);
        } else {
            i++;
        }
    }
}

/* Returns whether the line is cut from now on. */
static bool obey(bool cut)
{
    int signal_number = asked;
    asked = 0;
    if (signal_number == SIGTERM || signal_number == SIGINT) {
        exit(EXIT_SUCCESS);
    }
    if (signal_number != SIGUSR1 && signal_number != SIGUSR2) {
        return cut;
    }
    cut = signal_number == SIGUSR1;
    while (cut && pair_count > 0) {
        pair_close(0);
    }
    puts(cut ? "cut" : "healed");
    fflush(stdout);
    return cut;
}

/* Signals are let in only while waiting: none is missed between a look and a wait. */
static sigset_t take_signals(void)
{
    static const int signals[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT};
    sigset_t ours, before;
    sigemptyset(&ours);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        sigaddset(&ours, signals[i]);
        sigaction(signals[i], &(struct sigaction){.sa_handler = on_signal}, NULL);
    }
    sigprocmask(SIG_BLOCK, &ours, &before);
    return before;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("relay LISTEN-HOST:PORT TARGET-HOST:PORT\n", stderr);
        return 2;
    }
    const struct sockaddr_in target = address_of(argv[2]);
    sigset_t mask = take_signals();
    int listener = listen_on(argv[1]);
    for (bool cut = false;; cut = obey(cut)) {
        wait_for_any(listener, &mask);
        if (!asked) {
            accept_all(listener, &target, cut);
            move_all();
        }
    }
}
