/* The same puts and gets against PostgreSQL: prepared statements, a connection for each call in flight, all of
 * them driven by one thread, over mutual TLS.
 *
 *     postgresql_load CERTS PORT SECONDS    prints put.1 put.64 get.1 get.64 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <postgresql/libpq-fe.h>

#include "tests/bench/bench.h"

enum { KEYS = 4096 };

static PGconn *connections[BENCH_IN_FLIGHT];

static void must(bool ok, PGconn *connection, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench: %s failed: %s\n", what, PQerrorMessage(connection));
        bench_must(false, NULL, what);
    }
}

static PGconn *dial(const char *certs, const char *port)
{
    char words[2048];
    snprintf(words, sizeof words,
             "host=node.bench hostaddr=127.0.0.1 port=%s dbname=postgres user=bench sslmode=verify-full "
             "ssl_min_protocol_version=TLSv1.3 sslrootcert=%s/ca.pem sslcert=%s/client.pem sslkey=%s/client.key",
             port, certs, certs, certs);
    PGconn *connection = PQconnectdb(words);
    must(PQstatus(connection) == CONNECTION_OK, connection, "connecting");
    return connection;
}

static void prepare(PGconn *connection)
{
    static const char *const statements[][2] = {
        {"put", "INSERT INTO documents VALUES ($1, $2)"},
        {"get", "SELECT content FROM documents WHERE id = $1"},
    };
    for (size_t i = 0; i < COUNT(statements); i++) {
        PGresult *result = PQprepare(connection, statements[i][0], statements[i][1], 0, NULL);
        must(PQresultStatus(result) == PGRES_COMMAND_OK, connection, statements[i][0]);
        PQclear(result);
    }
    must(PQsetnonblocking(connection, 1) == 0, connection, "events");
}

static void make_table(PGconn *connection)
{
    PGresult *result = PQexec(connection, "CREATE TABLE IF NOT EXISTS documents (id bytea PRIMARY KEY, content "
                                          "bytea NOT NULL)");
    must(PQresultStatus(result) == PGRES_COMMAND_OK, connection, "the table");
    PQclear(result);
}

static _Atomic uint64_t next_key;    /* every put is a new row; gets are of the first KEYS */

static void key_of(uint8_t out[16], uint64_t number)
{
    put_u64be(out, 0x6368617274ull);
    put_u64be(out + 8, number);
}

static void put(struct load *load, unsigned slot, uint64_t n)
{
    uint8_t key[16], document[BENCH_DOCUMENT];
    const char *values[] = {(const char *)key, (const char *)document};
    (void)load;
    (void)n;
    uint64_t number = next_key++;
    key_of(key, number);
    bench_document(number, document);
    must(PQsendQueryPrepared(connections[slot], "put", 2, values, (const int[]){sizeof key, sizeof document},
                             (const int[]){1, 1}, 1),
         connections[slot], "put");
    PQflush(connections[slot]);
}

static void get(struct load *load, unsigned slot, uint64_t n)
{
    uint8_t key[16];
    const char *values[] = {(const char *)key};
    (void)load;
    key_of(key, (n * BENCH_IN_FLIGHT + slot) % KEYS);
    must(PQsendQueryPrepared(connections[slot], "get", 1, values, (const int[]){sizeof key}, (const int[]){1}, 1),
         connections[slot], "get");
    PQflush(connections[slot]);
}

/* What came on a connection; when its answer is whole, the call has ended. */
static void take(struct load *load, unsigned slot)
{
    PGconn *connection = connections[slot];
    must(PQconsumeInput(connection) == 1, connection, "reading");
    bool ended = false;
    while (!PQisBusy(connection)) {
        PGresult *result = PQgetResult(connection);
        if (!result) {
            break;
        }
        ExecStatusType status = PQresultStatus(result);
        must(status == PGRES_COMMAND_OK || (status == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
                                            PQgetlength(result, 0, 0) == BENCH_DOCUMENT),
             connection, "the answer");
        PQclear(result);
        ended = true;
    }
    if (ended) {
        load_ended(load, slot);
    }
}

static void measure(const char *name, void (*begin)(struct load *, unsigned, uint64_t), unsigned in_flight,
                    double seconds, uint64_t calls)
{
    static struct load load;
    struct pollfd at[BENCH_IN_FLIGHT];
    load = (struct load){.begin = begin, .in_flight = in_flight, .seconds = seconds, .calls = calls};
    for (unsigned i = 0; i < in_flight; i++) {
        at[i] = (struct pollfd){.fd = PQsocket(connections[i]), .events = POLLIN};
    }
    load_start(&load);
    while (!load_is_over(&load)) {
        bench_must(poll(at, in_flight, 30000) > 0, NULL, "an answer within 30 s");
        for (unsigned i = 0; i < in_flight; i++) {
            if (at[i].revents) {
                take(&load, i);
            }
        }
    }
    struct bench figure = load_wait(&load);
    if (name) {
        bench_say(name, &figure);
    }
}

int main(int argc, char **argv)
{
    bench_must(argc == 4, NULL, "postgresql_load CERTS PORT SECONDS");
    double seconds = bench_seconds(argv[3]);
    for (size_t i = 0; i < COUNT(connections); i++) {
        connections[i] = dial(argv[1], argv[2]);
        if (i == 0) {
            make_table(connections[0]);
        }
        prepare(connections[i]);
    }
    measure(NULL, put, BENCH_IN_FLIGHT, 0, KEYS);
    measure("put.1", put, 1, seconds, 0);
    measure("put.64", put, BENCH_IN_FLIGHT, seconds, 0);
    measure("get.1", get, 1, seconds, 0);
    measure("get.64", get, BENCH_IN_FLIGHT, seconds, 0);
    for (size_t i = 0; i < COUNT(connections); i++) {
        PQfinish(connections[i]);
    }
    return 0;
}
