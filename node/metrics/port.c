#include "node/metrics/port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <microhttpd.h>

enum {
    CONNECTIONS_MAX = 16,
    CONNECTION_MEMORY = 8 << 10,
    IDLE_S = 2,
    REQUEST_MS = 5000,
    SWEEP_MS = 100,
};

/* A connection, for as long as its socket is open. */
struct visit {
    struct visit *next;
    int fd;
    uint64_t until_ms;
};

struct metrics_port {
    struct metrics_port_options options;
    struct MHD_Daemon *daemon;
    struct world_lane *lane;     /* one worker: cuts off who takes too long */
    struct world_lock *lock;     /* of what follows */
    struct visit *visits;
    uint64_t timer;
    bool closing;
    int number;
};

/* -- Answering: on the daemon's thread */

static enum MHD_Result send_answer(struct MHD_Connection *connection, unsigned status, const char *type,
                                   struct bytes body)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body.len, (void *)(uintptr_t)(body.len ? body.data : (const uint8_t *)""), MHD_RESPMEM_MUST_COPY);
    if (!response) {
        return MHD_NO;
    }
    bool ok = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES &&
              MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES &&
              (status != MHD_HTTP_METHOD_NOT_ALLOWED ||
               MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET") == MHD_YES);
    enum MHD_Result result = ok ? MHD_queue_response(connection, status, response) : MHD_NO;
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result send_text(struct MHD_Connection *connection, unsigned status, const char *text)
{
    return send_answer(connection, status, "text/plain; charset=utf-8", bytes_str(text));
}

static enum MHD_Result send_metrics(struct metrics_port *port, struct MHD_Connection *connection)
{
    AUTO_BUILDER(text, METRICS_BYTES_MAX);
    port->options.write(port->options.context, &text);
    return text.ok ? send_answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                                 builder_view(&text))
                   : send_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "more numbers than fit\n");
}

static enum MHD_Result send_health(struct metrics_port *port, struct MHD_Connection *connection)
{
    AUTO_BUILDER(text, 256);
    const char *state = "";
    bool healthy = port->options.healthy(port->options.context, &state);
    build_text(&text, "%s\n", state);
    return send_answer(connection, healthy ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
                       "text/plain; charset=utf-8", builder_view(&text));
}

/* Called with the headers; a body that may follow is not read: the answer closes the connection. */
static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *data, size_t *data_len,
                              void **request)
{
    struct metrics_port *port = context;
    (void)version;
    (void)data;
    (void)data_len;
    (void)request;
    bool metrics = strcmp(url, "/metrics") == 0;
    if (!metrics && strcmp(url, "/healthz") != 0) {
        return send_text(connection, MHD_HTTP_NOT_FOUND, "GET /metrics or /healthz\n");
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0) {
        return send_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET only\n");
    }
    return metrics ? send_metrics(port, connection) : send_health(port, connection);
}

/* -- Time: libmicrohttpd counts silence only, so somebody who sends a byte now and then would stay */

static void visit_begin(struct metrics_port *port, struct MHD_Connection *connection, void **place)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct visit *visit = info ? calloc(1, sizeof *visit) : NULL;
    if (!visit) {
        return;                      /* silence still ends it */
    }
    visit->fd = info->connect_fd;
    visit->until_ms = world_mono_ms(port->options.world) + port->options.request_ms;
    AUTO_LOCKED(held, port->lock);
    visit->next = port->visits;
    port->visits = visit;
    *place = visit;
}

static void visit_end(struct metrics_port *port, struct visit *visit)
{
    AUTO_LOCKED(held, port->lock);
    struct visit **at = &port->visits;
    while (*at != visit) {
        at = &(*at)->next;
    }
    *at = visit->next;
    free(visit);
}

/* The socket is open at both calls. */
static void on_connection(void *context, struct MHD_Connection *connection, void **place,
                          enum MHD_ConnectionNotificationCode what)
{
    struct metrics_port *port = context;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        visit_begin(port, connection, place);
    } else if (*place) {
        visit_end(port, *place);
        *place = NULL;
    }
}

static void sweep(void *arg)
{
    struct metrics_port *port = arg;
    uint64_t now = world_mono_ms(port->options.world);
    AUTO_LOCKED(held, port->lock);
    for (struct visit *visit = port->visits; visit; visit = visit->next) {
        if (now >= visit->until_ms) {
            shutdown(visit->fd, SHUT_RDWR);      /* the daemon sees its end and closes it */
        }
    }
    if (!port->closing) {
        port->timer = world_timer_start(port->lane, SWEEP_MS, sweep, port);
    }
}

/* -- Opening */

static bool parse_address(const char *listen, struct sockaddr_storage *out, struct err *err)
{
    char host[64] = "";
    const char *colon = strrchr(listen, ':');
    size_t len = colon ? (size_t)(colon - listen) : 0;
    bool bracketed = len > 2 && listen[0] == '[' && listen[len - 1] == ']';
    struct sockaddr_in *four = (void *)out;
    struct sockaddr_in6 *six = (void *)out;
    *out = (struct sockaddr_storage){0};
    if (len == 0 || len >= sizeof host) {
        return err_raise(err, ERR_INVALID, "metrics: %s is not ADDRESS:PORT", listen);
    }
    memcpy(host, bracketed ? listen + 1 : listen, bracketed ? len - 2 : len);
    in_port_t number = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (bracketed) {
        six->sin6_family = AF_INET6;
        six->sin6_port = number;
    } else {
        four->sin_family = AF_INET;
        four->sin_port = number;
    }
    return inet_pton(out->ss_family, host, bracketed ? (void *)&six->sin6_addr : (void *)&four->sin_addr) == 1 ||
           err_raise(err, ERR_INVALID, "metrics: %s is not a numeric address", listen);
}

static bool start(struct metrics_port *port, struct err *err)
{
    struct sockaddr_storage address;
    if (!parse_address(port->options.listen, &address, err)) {
        return false;
    }
    unsigned flags = MHD_USE_POLL_INTERNAL_THREAD | (address.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0);
    port->daemon = MHD_start_daemon(flags, 0, NULL, NULL, answer, port, MHD_OPTION_SOCK_ADDR, &address,
                                    MHD_OPTION_NOTIFY_CONNECTION, on_connection, port, MHD_OPTION_CONNECTION_LIMIT,
                                    (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                    (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
                                    MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (!port->daemon) {
        return err_raise(err, ERR_UNAVAILABLE,
                         "metrics: %s cannot be bound: another process has it, or it is not "
                         "this machine's",
                         port->options.listen);
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(port->daemon, MHD_DAEMON_INFO_BIND_PORT);
    port->number = info ? info->port : 0;
    return true;
}

bool metrics_port_open(const struct metrics_port_options *options, struct metrics_port **out, struct err *err)
{
    struct metrics_port *port = calloc(1, sizeof *port);
    if (!port) {
        return err_raise(err, ERR_TOO_MUCH, "metrics: no memory");
    }
    port->options = *options;
    port->options.request_ms = options->request_ms ? options->request_ms : REQUEST_MS;
    port->lock = world_lock_new(options->world);
    if (!world_lane_open(options->world, "metrics", 1, &port->lane, err) || !start(port, err)) {
        metrics_port_close(port);
        return false;
    }
    world_submit(port->lane, sweep, port);
    *out = port;
    return true;
}

int metrics_port_number(const struct metrics_port *port)
{
    return port->number;
}

void metrics_port_close(struct metrics_port *port)
{
    if (!port) {
        return;
    }
    world_lock_take(port->lock);
    port->closing = true;
    uint64_t timer = port->timer;
    world_lock_give(port->lock);
    world_timer_stop(port->options.world, timer);
    world_lane_close(port->lane);
    if (port->daemon) {
        MHD_stop_daemon(port->daemon);
    }
    world_lock_free(port->lock);
    free(port);
}
