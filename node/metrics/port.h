/* node/metrics/port.h - the HTTP port for Prometheus, by libmicrohttpd: GET /metrics and GET /healthz, nothing
 * else.
 *
 * Plain HTTP without identification: the configuration keeps it on the loopback unless told. A request has a few
 * seconds and 8 KiB in all, and there are few at once; what is slower, larger or more is cut off. One thread, the
 * port's own, makes every answer. */
#pragma once

#include "node/world/world.h"
#include "proto/base/builder.h"

struct metrics_port;

enum { METRICS_BYTES_MAX = 8 << 20 };

struct metrics_port_options {
    struct world *world;
    const char *listen; /* "127.0.0.1:9464", "[::1]:9464": a numeric address; port 0: the system picks */
    void (*write)(void *context, struct builder *out); /* /metrics: the text; at most METRICS_BYTES_MAX */
    bool (*healthy)(void *context, const char **state); /* /healthz: 200 or 503, and a word */
    void *context;
    uint32_t request_ms; /* a request and its answer take no longer; 0: 5,000 */
};

/* metrics_port_open listens and answers. ERR_INVALID: no numeric address; ERR_UNAVAILABLE: it cannot be bound. */
NODISCARD bool metrics_port_open(const struct metrics_port_options *options, struct metrics_port **out,
                                 struct err *err);
int metrics_port_number(const struct metrics_port *port);

/* metrics_port_close ends what is under way. NULL is fine. */
void metrics_port_close(struct metrics_port *port);
