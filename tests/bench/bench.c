#include "tests/bench/bench.h"

#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- Times: how many calls took how long, in 32 steps per doubling ---------------------------------------------- */

enum { STEP_BITS = 5, STEPS = 1 << STEP_BITS, TIMES = 64 * STEPS };

static size_t time_place(uint64_t ns)
{
    if (ns < STEPS) {
        return ns;
    }
    unsigned doublings = 63 - (unsigned)__builtin_clzll(ns) - STEP_BITS;
    return (doublings + 1) * STEPS + (ns >> doublings) - STEPS;
}

static double place_us(size_t place)
{
    size_t doublings = place / STEPS;
    double ns = doublings == 0 ? (double)place
                               : ((double)(place % STEPS + STEPS) + 0.5) * (double)(1ull << (doublings - 1));
    return ns / 1000;
}

static double time_quantile(const uint64_t *times, uint64_t total, double quantile)
{
    uint64_t wanted = (uint64_t)((double)total * quantile), seen = 0;
    for (size_t place = 0; place < TIMES; place++) {
        seen += times[place];
        if (seen > wanted) {
            return place_us(place);
        }
    }
    return 0;
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

struct run {
    bench_fn *fn;
    void *context;
    atomic_bool counts, stop;
};

struct worker {
    struct run *run;
    unsigned number;
    pthread_t thread;
    uint64_t times[TIMES];
};

static double now_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_s(pid_t other)
{
    clockid_t clock;
    double both = now_s(CLOCK_PROCESS_CPUTIME_ID);
    if (other && clock_getcpuclockid(other, &clock) == 0) {
        both += now_s(clock);
    }
    return both;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct run *run = worker->run;
    struct err err;
    for (uint64_t n = 0; !run->stop; n++) {
        bool counts = run->counts;
        double begin = now_s(CLOCK_MONOTONIC);
        bench_must(run->fn(run->context, worker->number, n, &err), &err, "a measured call");
        uint64_t ns = (uint64_t)((now_s(CLOCK_MONOTONIC) - begin) * 1e9);
        worker->times[time_place(ns)] += counts && !run->stop;
    }
    return NULL;
}

static void wait_s(double seconds)
{
    double whole = (double)(time_t)seconds;
    nanosleep(&(struct timespec){(time_t)whole, (long)((seconds - whole) * 1e9)}, NULL);
}

struct bench bench_run(bench_fn *fn, void *context, unsigned workers, double seconds, pid_t other)
{
    struct run run = {.fn = fn, .context = context};
    struct worker *all = calloc(workers, sizeof *all);
    bench_must(all != NULL, NULL, "memory");
    for (unsigned i = 0; i < workers; i++) {
        all[i].run = &run;
        all[i].number = i;
        bench_must(pthread_create(&all[i].thread, NULL, work, &all[i]) == 0, NULL, "a thread");
    }
    wait_s(seconds / 4);
    run.counts = true;
    double cpu = cpu_s(other), begin = now_s(CLOCK_MONOTONIC);
    wait_s(seconds);
    run.stop = true;
    double took = now_s(CLOCK_MONOTONIC) - begin;
    cpu = cpu_s(other) - cpu;
    uint64_t total = 0;
    for (unsigned i = 0; i < workers; i++) {
        pthread_join(all[i].thread, NULL);
        for (size_t place = 0; place < TIMES; place++) {
            total += all[i].times[place];
            all[0].times[place] += i ? all[i].times[place] : 0;
        }
    }
    struct bench out = {
        .rate = (double)total / took,
        .p50_us = time_quantile(all[0].times, total, 0.50),
        .p99_us = time_quantile(all[0].times, total, 0.99),
        .cpu_us = cpu * 1e6 / (double)(total ? total : 1),
    };
    free(all);
    return out;
}

void bench_must(bool ok, const struct err *err, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench: %s failed: %s\n", what, err ? err->text : "see errno");
        _exit(1);
    }
}

/* ---- What is measured with --------------------------------------------------------------------------------------- */

static double load_before;

char *bench_begin(void)
{
    if (getloadavg(&load_before, 1) != 1) {
        load_before = 0;
    }
    const char *base = getenv("TMPDIR");
    char *folder = NULL;
    bench_must(asprintf(&folder, "%s/chartmesh-bench.XXXXXX", base ? base : "/tmp") > 0 && mkdtemp(folder), NULL,
               "a folder under TMPDIR");
    return folder;
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *place)
{
    (void)stat;
    (void)type;
    (void)place;
    return remove(path);
}

void bench_end(char *folder)
{
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(folder);
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

/* ---- The table --------------------------------------------------------------------------------------------------- */

unsigned bench_cores(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 ? (unsigned)cores : 1;
}

void bench_conditions(const char *title, const char *folder, double seconds)
{
    printf("\n%s\n"
           "  %u cores, the load on the same ones; %.1f others wanted them before\n"
           "  documents of %d bytes; %d calls in flight where it says so\n"
           "  synced writes (fdatasync) below %s; TLS 1.3 with client certificates on loopback\n"
           "  %.1f s each after a warm-up; CPU: processor time per call, of both ends where there are two\n\n",
           title, bench_cores(), load_before, BENCH_DOCUMENT, BENCH_IN_FLIGHT, folder, seconds);
}

void bench_headings(bool limits)
{
    printf("  %-40s %10s %10s %10s %10s%s\n", "", "per second", "p50 us", "p99 us", "CPU us",
           limits ? "      limit  of it" : "");
}

static void row(const char *name, const struct bench *figure)
{
    printf("  %-40s %10.0f %10.1f %10.1f %10.1f", name, figure->rate, figure->p50_us, figure->p99_us,
           figure->cpu_us);
}

void bench_row(const char *name, const struct bench *figure)
{
    row(name, figure);
    printf("\n");
}

void bench_row_limit(const char *name, const struct bench *figure, double limit)
{
    row(name, figure);
    printf(" %10.0f %4.0f %%\n", limit, 100 * figure->rate / limit);
}
