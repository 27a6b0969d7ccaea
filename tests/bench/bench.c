#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- Times ------------------------------------------------------------------------------------------------------- */

enum { STEPS = 1 << BENCH_STEP_BITS };

static size_t time_place(uint64_t ns)
{
    if (ns < STEPS) {
        return ns;
    }
    unsigned doublings = 63 - (unsigned)__builtin_clzll(ns) - BENCH_STEP_BITS;
    return (doublings + 1) * STEPS + (ns >> doublings) - STEPS;
}

static double place_us(size_t place)
{
    size_t doublings = place / STEPS;
    double ns = doublings == 0 ? (double)place
                               : ((double)(place % STEPS + STEPS) + 0.5) * (double)(1ull << (doublings - 1));
    return ns / 1000;
}

void bench_times_add(struct bench_times *times, double seconds)
{
    times->counts[time_place((uint64_t)(seconds * 1e9))]++;
    times->total++;
}

double bench_times_us(const struct bench_times *times, double quantile)
{
    uint64_t wanted = (uint64_t)((double)times->total * quantile), seen = 0;
    for (size_t place = 0; place < BENCH_TIMES; place++) {
        seen += times->counts[place];
        if (seen > wanted) {
            return place_us(place);
        }
    }
    return 0;
}

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double bench_now(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

double bench_cpu(pid_t other)
{
    clockid_t clock;
    double both = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    if (other && clock_getcpuclockid(other, &clock) == 0) {
        both += seconds_of(clock);
    }
    return both;
}

static struct bench figure_of(const struct bench_times *times, double took, double cpu)
{
    return (struct bench){
        .rate = (double)times->total / took,
        .p50_us = bench_times_us(times, 0.50),
        .p99_us = bench_times_us(times, 0.99),
        .cpu_us = cpu * 1e6 / (double)MAX(times->total, 1),
    };
}

/* ---- One after the other ----------------------------------------------------------------------------------------- */

struct bench bench_run(bench_fn *fn, void *context, double seconds)
{
    struct bench_times times = {0};
    struct err err;
    uint64_t n = 0;
    double start = bench_now(), from = start + seconds / 4, now = start;
    for (; now < from; n++) {
        bench_must(fn(context, n, &err), &err, "a measured call");
        now = bench_now();
    }
    double cpu = bench_cpu(0), begun = now;
    for (from = now; now < from + seconds; n++, begun = now) {
        bench_must(fn(context, n, &err), &err, "a measured call");
        now = bench_now();
        bench_times_add(&times, now - begun);
    }
    return figure_of(&times, now - from, bench_cpu(0) - cpu);
}

/* ---- In flight --------------------------------------------------------------------------------------------------- */

static void measured(struct load *load, double now)
{
    load->until = now;
    load->cpu = bench_cpu(load->other) - load->cpu;
}

/* What a call that ended at `now` means: warm-up, measured, or the last to be begun. With the lock held. */
static void advance(struct load *load, double now, double begun)
{
    bool timed = load->seconds > 0;
    if (load->counts && !(timed && load->stop)) {
        bench_times_add(&load->times, now - begun);
    }
    if (!load->counts && now >= load->start + load->seconds / 4) {
        load->counts = true;
        load->from = now;
        load->cpu = bench_cpu(load->other);
    } else if (timed && !load->stop && load->counts && now >= load->from + load->seconds) {
        load->stop = true;
        measured(load, now);
    } else if (!timed && load->begun_calls >= load->calls) {
        load->stop = true;
    }
}

static void begin_next(struct load *load, unsigned slot)
{
    struct load_slot *at = &load->slots[slot];
    at->begun = bench_now();
    load->begin(load, slot, at->n++);
}

void load_start(struct load *load)
{
    bench_must(load->in_flight <= COUNT(load->slots), NULL, "so many in flight");
    pthread_mutex_init(&load->lock, NULL);
    pthread_cond_init(&load->over, NULL);
    load->start = load->from = bench_now();
    load->counts = load->seconds <= 0;
    load->cpu = bench_cpu(load->other);
    load->active = load->in_flight;
    load->begun_calls = load->in_flight;
    for (unsigned slot = 0; slot < load->in_flight; slot++) {
        begin_next(load, slot);
    }
}

void load_ended(struct load *load, unsigned slot)
{
    pthread_mutex_lock(&load->lock);
    double now = bench_now();
    advance(load, now, load->slots[slot].begun);
    bool again = !load->stop;
    load->begun_calls += again;
    load->active -= !again;
    if (load->active == 0) {
        if (load->seconds <= 0) {
            measured(load, now);
        }
        pthread_cond_broadcast(&load->over);
    }
    pthread_mutex_unlock(&load->lock);
    if (again) {
        begin_next(load, slot);
    }
}

bool load_is_over(struct load *load)
{
    pthread_mutex_lock(&load->lock);
    bool over = load->active == 0;
    pthread_mutex_unlock(&load->lock);
    return over;
}

struct bench load_wait(struct load *load)
{
    pthread_mutex_lock(&load->lock);
    while (load->active > 0) {
        pthread_cond_wait(&load->over, &load->lock);
    }
    pthread_mutex_unlock(&load->lock);
    return figure_of(&load->times, load->until - load->from, load->cpu);
}

/* ---- Words ------------------------------------------------------------------------------------------------------- */

void bench_must(bool ok, const struct err *err, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench: %s failed%s%s\n", what, err ? ": " : "", err ? err->text : "");
        _exit(1);
    }
}

void bench_say(const char *name, const struct bench *figure)
{
    printf("{\"name\": \"%s\", \"rate\": %.6g, \"p50_us\": %.6g, \"p99_us\": %.6g, \"cpu_us\": %.6g}\n", name,
           figure->rate, figure->p50_us, figure->p99_us, figure->cpu_us);
    fflush(stdout);
}

void bench_say_number(const char *name, double number)
{
    printf("{\"name\": \"%s\", \"number\": %.6g}\n", name, number);
    fflush(stdout);
}

double bench_seconds(const char *argument)
{
    double seconds = strtod(argument, NULL);
    bench_must(seconds >= 0.05 && seconds <= 600, NULL, "seconds between 0.05 and 600");
    return seconds;
}

void bench_document(uint64_t n, uint8_t out[BENCH_DOCUMENT])
{
    char text[256];
    size_t len = 0;
    for (uint64_t row = 0; len < BENCH_DOCUMENT; row++) {
        uint64_t value = (n + 1) * 0x9e3779b97f4a7c15 ^ (row + 1) * 0xbf58476d1ce4e5b9;
        int written = snprintf(text, sizeof text,
                               "{\"resourceType\":\"Observation\",\"id\":\"%016llx\",\"status\":\"final\","
                               "\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"%u-%u\"}]},"
                               "\"valueQuantity\":{\"value\":%u.%02u,\"unit\":\"mg/dL\"}}\n",
                               (unsigned long long)value, (unsigned)(value % 90000 + 1000), (unsigned)(value % 10),
                               (unsigned)(value >> 8) % 300, (unsigned)(value >> 32) % 100);
        size_t part = MIN((size_t)written, BENCH_DOCUMENT - len);
        memcpy(out + len, text, part);
        len += part;
    }
}
