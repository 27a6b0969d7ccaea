/* tests/bench/bench.h - how figures are taken, the same way for all of them: for a given time, after a warm-up of
 * a quarter of it. A call that fails ends the program: a figure of failing calls is none.
 *
 * Every program of this folder prints one line of JSON for each figure; bench.py runs them and makes the table. */
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include "proto/base/bytes.h"

enum { BENCH_DOCUMENT = 2048, BENCH_IN_FLIGHT = 64 };

struct bench {
    double rate;                 /* calls per second */
    double p50_us, p99_us;       /* of one call, to about 3 % */
    double cpu_us;               /* processor time of one call: this process's and `other`'s */
};

enum { BENCH_STEP_BITS = 5, BENCH_TIMES = 64 << BENCH_STEP_BITS };

struct bench_times {             /* how many calls took how long, in 32 steps per doubling */
    uint64_t counts[BENCH_TIMES], total;
};
void bench_times_add(struct bench_times *times, double seconds);
double bench_times_us(const struct bench_times *times, double quantile);

/* ---- One call after the other, on this thread */

typedef bool bench_fn(void *context, uint64_t n, struct err *err);
struct bench bench_run(bench_fn *fn, void *context, double seconds);

/* ---- Calls in flight, driven by events: no thread waits for any of them */

/* A load keeps `in_flight` calls going: a slot each. `begin` begins slot's n-th call and returns; whoever learns
 * that it is over says load_ended, which begins the next. All zero but the first block. */
struct load {
    void (*begin)(struct load *load, unsigned slot, uint64_t n);
    void *context;
    unsigned in_flight;
    double seconds;              /* measured for so long; 0: until `calls` have ended */
    uint64_t calls;
    pid_t other;                 /* a process whose work belongs to it; 0: none */

    pthread_mutex_t lock;
    pthread_cond_t over;
    struct load_slot {
        uint64_t n;
        double begun;
    } slots[512];
    unsigned active;
    uint64_t begun_calls;
    bool counts, stop;
    double start, from, until, cpu;
    struct bench_times times;
};

void load_start(struct load *load);
void load_ended(struct load *load, unsigned slot);
bool load_is_over(struct load *load);

/* load_wait returns when the last call has ended. */
struct bench load_wait(struct load *load);

/* ---- Words */

/* bench_must ends the program when something fails. */
void bench_must(bool ok, const struct err *err, const char *what);

/* bench_say prints a figure; bench_say_number one that is no rate. */
void bench_say(const char *name, const struct bench *figure);
void bench_say_number(const char *name, double number);

/* bench_seconds reads how long a figure is taken, from an argument. */
double bench_seconds(const char *argument);

double bench_now(void);
double bench_cpu(pid_t other);

/* bench_document fills `out` with the text of a JSON document, another one for each `n`. */
void bench_document(uint64_t n, uint8_t out[BENCH_DOCUMENT]);
