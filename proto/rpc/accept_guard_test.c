/* CVE-2023-4785: a server that has run out of descriptors once still listens afterwards. */
#include "proto/rpc/accept_guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/rpc.h"

enum { STRANGERS = 300 };

static bool echo(struct rpc_call *call, void *ctx, const ProtobufCMessage *message, ProtobufCMessage *out,
                 struct err *err)
{
    (void)call;
    (void)ctx;
    (void)err;
    ((chunk_type *)out)->index = ((const chunk_type *)message)->index;
    return true;
}

static const struct rpc_method methods[] = {
    {.path = "/test.T/Work", .kind = RPC_UNARY, .lane = RPC_WORK, .run = echo, .in = CHUNK, .out = CHUNK},
};
static const struct rpc_service service = {methods, COUNT(methods), NULL};

/* In a process of its own: connects as often as it can, holds everything, goes when the pipe closes. */
static void be_strangers(int go, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    char byte;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (read(go, &byte, 1) != 1) {
        _exit(1);
    }
    for (int i = 0; i < STRANGERS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (fd < 0 ||
            (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS && errno != EAGAIN)) {
            _exit(1);
        }
    }
    ssize_t ended = read(go, &byte, 1);
    _exit(ended == 0 ? 0 : 1);
}

static int lowest_free_fd(void)
{
    int fd = open("/dev/null", O_RDONLY);
    assert_true(fd >= 0);
    close(fd);
    return fd;
}

static bool call_fresh(struct fixture *f, struct err *err)
{
    const chunk_type *reply;
    AUTO_ARENA(arena, 1 << 20);
    struct rpc_channel *channel = fixture_dial(f, f->server, &f->client_cert);
    struct rpc_options options = {.timeout_ms = 15000, .wait_for_ready = true};
    bool ok = fixture_call(channel, "/test.T/Work", 1, BYTES_NONE, &options, &arena, &reply, err);
    rpc_channel_close(channel);
    return ok;
}

/* Strangers connect while only a few descriptors are left; when they have gone, a new client gets in. */
static void hold_out(void **state, rlim_t files_left, int fd_max)
{
    struct err err;
    struct rlimit before, low;
    int go[2];
    (void)state;
    struct fixture *f = fixture_begin(&service, 1, NULL);
    assert_ok(call_fresh(f, &err));
    assert_int_equal(pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        close(go[1]);
        be_strangers(go[0], rpc_server_port(f->server));
    }
    close(go[0]);
    int base = lowest_free_fd();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = (struct rlimit){(rlim_t)base + files_left, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    accept_guard_limit(fd_max ? base + fd_max : (int)low.rlim_cur + 1);
    uint64_t seen = accept_guard_seen();
    assert_int_equal(write(go[1], "g", 1), 1);
    sleep_ms(700);
    assert_true(accept_guard_seen() > seen);
    if (fd_max) {
        assert_true(lowest_free_fd() < base + fd_max + 2);
    }
    close(go[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_ok(call_fresh(f, &err));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    fixture_end(f);
}

static void test_accept_guard__running_out_of_descriptors_is_survived(void **state)
{
    hold_out(state, 12, 0);
}

static void test_accept_guard__connections_over_the_cap_are_closed_and_files_have_room(void **state)
{
    hold_out(state, 100, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept_guard__running_out_of_descriptors_is_survived),
        cmocka_unit_test(test_accept_guard__connections_over_the_cap_are_closed_and_files_have_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
