/* tests/bench/bench.h - how figures are taken and printed, the same way for all of them.
 *
 * A figure is taken for a given time, after a warm-up of a quarter of it, from one thread or from as many as there
 * shall be calls in flight. A call that fails ends the program: a figure of failing calls is none. */
#pragma once

#include <stdio.h>
#include <sys/types.h>

#include "proto/base/bytes.h"

enum { BENCH_DOCUMENT = 2048, BENCH_IN_FLIGHT = 64 };

struct bench {
    double rate;                 /* calls per second */
    double p50_us, p99_us;       /* of one call, to about 3 % */
    double cpu_us;               /* processor time of one call: this process's and `other`'s */
};

/* One call: `worker` counts the threads from 0, `n` the worker's calls. */
typedef bool bench_fn(void *context, unsigned worker, uint64_t n, struct err *err);

/* bench_run calls `fn` from `workers` threads for `seconds`. `other`: a process whose work belongs to it, 0: none.
 */
struct bench bench_run(bench_fn *fn, void *context, unsigned workers, double seconds, pid_t other);

/* bench_must ends the program when something that is not measured fails. */
void bench_must(bool ok, const struct err *err, const char *what);

/* bench_begin looks at what else the machine is doing, makes a folder of our own under TMPDIR and returns its
 * name; bench_end removes it. */
char *bench_begin(void);
void bench_end(char *folder);

/* bench_document fills `out` with the text of a JSON document, another one for each `n`. */
void bench_document(uint64_t n, uint8_t out[BENCH_DOCUMENT]);

/* The table. Conditions stand once above it, each on its line; then headings, with limits or without, and rows. */
void bench_conditions(const char *title, const char *folder, double seconds);
void bench_headings(bool limits);
void bench_row(const char *name, const struct bench *figure);
void bench_row_limit(const char *name, const struct bench *figure, double limit); /* per second */
unsigned bench_cores(void);
