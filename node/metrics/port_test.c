#include "node/metrics/port.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/crypto/random.h"
#include "tests/lib/test.h"

enum { REQUEST_MS = 400, PATIENCE_MS = 20000 };

struct fixture {
    struct world *world;
    struct metrics_port *port;
    bool healthy;
    unsigned written;
};

static void draw(void *arg, uint8_t *out, size_t len)
{
    (void)arg;
    random_fill(out, len);
}

static void write_numbers(void *context, struct builder *out)
{
    struct fixture *f = context;
    build_text(out, "# HELP x X.\n# TYPE x gauge\nx %u\n", ++f->written);
}

static bool healthy(void *context, const char **state)
{
    struct fixture *f = context;
    *state = f->healthy ? "SERVING" : "DRAINING";
    return f->healthy;
}

static int begin(void **state)
{
    struct err err;
    struct fixture *f = calloc(1, sizeof *f);
    f->healthy = true;
    assert_ok(world_open(&(struct world_options){.random = draw}, &f->world, &err));
    const struct metrics_port_options options = {.world = f->world,
                                                 .listen = "127.0.0.1:0",
                                                 .write = write_numbers,
                                                 .healthy = healthy,
                                                 .context = f,
                                                 .request_ms = REQUEST_MS};
    assert_ok(metrics_port_open(&options, &f->port, &err));
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    metrics_port_close(f->port);
    world_close(f->world);
    free(f);
    return 0;
}

static int dial(struct fixture *f)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)metrics_port_number(f->port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

/* Everything until the other side closes, which it does in time. */
static const char *hear(int fd)
{
    static char out[4096];
    size_t len = 0;
    for (;;) {
        struct pollfd what = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&what, 1, PATIENCE_MS), 1);
        ssize_t got = recv(fd, out + len, sizeof out - 1 - len, 0);
        if (got <= 0) {
            break;
        }
        len += (size_t)got;
        assert_true(len < sizeof out - 1);
    }
    close(fd);
    out[len] = '\0';
    return out;
}

static const char *ask(struct fixture *f, const char *request)
{
    int fd = dial(f);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    return hear(fd);
}

static void assert_answer(const char *answer, const char *status, const char *has)
{
    if (strncmp(answer, status, strlen(status)) != 0 || !strstr(answer, has)) {
        fail_msg("not '%s' with '%s': %s", status, has, answer);
    }
}

static void test_metrics_port__answers_GET_of_two_paths_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    assert_answer(ask(f, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200", "\nx 1\n");
    assert_answer(ask(f, "GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200", "version=0.0.4");
    assert_answer(ask(f, "GET /metrics HTTP/1.0\r\n\r\n"), "HTTP/1.", " 200");
    assert_answer(ask(f, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200", "SERVING");
    f->healthy = false;
    assert_answer(ask(f, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 503", "DRAINING");
    assert_answer(ask(f, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), "HTTP/1.1 405",
                  "Allow: GET");
    assert_answer(ask(f, "PUT /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"),
                  "HTTP/1.1 405", "");
    assert_answer(ask(f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 404", "");
    assert_answer(ask(f, "GET /metrics/../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 404", "");
    assert_int_equal(f->written, 3);
}

static void test_metrics_port__what_is_no_http_is_sent_away(void **state)
{
    struct fixture *f = *state;
    const char *answer = ask(f, "\x16\x03\x01 hello\r\n\r\n");
    assert_null(strstr(answer, " 200 "));
    assert_null(strstr(ask(f, "GET\r\n\r\n"), " 200 "));
    assert_int_equal(f->written, 0);
}

static void test_metrics_port__a_large_request_is_cut(void **state)
{
    struct fixture *f = *state;
    char *large = malloc(64 << 10);
    memset(large, 'a', 64 << 10);
    memcpy(large, "GET /metrics HTTP/1.1\r\nX: ", 26);
    large[(64 << 10) - 1] = '\0';
    int fd = dial(f);
    (void)!send(fd, large, (64 << 10) - 1, MSG_NOSIGNAL);        /* it may be cut before it is out */
    assert_null(strstr(hear(fd), " 200 "));
    assert_int_equal(f->written, 0);
    free(large);
}

/* A byte now and then is no silence: the whole request has a bound. */
static void test_metrics_port__a_slow_request_is_cut(void **state)
{
    struct fixture *f = *state;
    static const char request[] = "GET /metrics HTTP/1.1\r\nX: ";
    int fd = dial(f);
    uint64_t from = world_mono_ms(f->world);
    for (size_t i = 0;; i++) {
        struct pollfd what = {.fd = fd, .events = POLLIN};
        if (send(fd, i < sizeof request - 1 ? &request[i] : "a", 1, MSG_NOSIGNAL) != 1 ||
            poll(&what, 1, 20) != 0) {
            break;
        }
        assert_true(world_mono_ms(f->world) - from < PATIENCE_MS);
    }
    assert_true(world_mono_ms(f->world) - from >= REQUEST_MS / 2);
    assert_null(strstr(hear(fd), " 200 "));
    assert_int_equal(f->written, 0);
}

static void test_metrics_port__a_crowd_that_says_nothing_goes_and_others_come(void **state)
{
    struct fixture *f = *state;
    int crowd[40];
    for (size_t i = 0; i < COUNT(crowd); i++) {
        crowd[i] = dial(f);
    }
    for (size_t i = 0; i < COUNT(crowd); i++) {
        assert_string_equal(hear(crowd[i]), "");
    }
    assert_answer(ask(f, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200", "\nx 1\n");
}

static void test_metrics_port__an_address_that_cannot_be_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct metrics_port *port = NULL;
    char taken[32];
    struct metrics_port_options options = {
        .world = f->world, .write = write_numbers, .healthy = healthy, .context = f};
    options.listen = "localhost:0";
    assert_err(ERR_INVALID, metrics_port_open(&options, &port, &err));
    snprintf(taken, sizeof taken, "127.0.0.1:%d", metrics_port_number(f->port));
    options.listen = taken;
    assert_err(ERR_UNAVAILABLE, metrics_port_open(&options, &port, &err));
    assert_null(port);
}

int main(void)
{
#define RULE(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        RULE(test_metrics_port__answers_GET_of_two_paths_and_nothing_else),
        RULE(test_metrics_port__what_is_no_http_is_sent_away),
        RULE(test_metrics_port__a_large_request_is_cut),
        RULE(test_metrics_port__a_slow_request_is_cut),
        RULE(test_metrics_port__a_crowd_that_says_nothing_goes_and_others_come),
        RULE(test_metrics_port__an_address_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests_name("metrics_port", tests, NULL, NULL);
}
