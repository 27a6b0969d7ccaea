/* What a node reaches, beside what its parts allow.
 *
 * The limit of an operation is how often per second it could be done if nothing but its unavoidable parts took
 * time, each as measured alone in this same run:
 *
 *   Put   processor: the echo of 2 KiB up (with a wire), one Ed25519 signature (the version's), SHA-256 and a GCM
 * seal of the document, a second seal (log entry and header), and one 64th of the store's commit of 64 documents;
 *   Get   processor: the echo of 2 KiB down (with a wire), SHA-256 and a GCM open of the document, a seal (log
 * entry), and one 64th of the commit of 64 read entries; both  as many as the cores give of that processor time,
 * and no more than 64 per synced commit of such a group.
 *
 * With a wire the generator's and the server's side of the echo are in the processor time, so the limit is that of
 * one machine that does both. */
#include <stdlib.h>
#include <unistd.h>

#include "proto/chartmesh/v1/patients.pb-c.h"
#include "proto/chartmesh/v1/records.pb-c.h"
#include "tests/bench/node.h"
#include "tests/bench/primitives.h"

#define TEXT(literal) ((char *)(uintptr_t)(literal))

enum { PATIENTS_EACH = 4, DOCUMENTS_EACH = 256 };

/* Each worker has patients of its own: nobody waits for another one's lock. */
struct load {
    struct bench_node *node;
    struct {
        struct id patients[PATIENTS_EACH], documents[DOCUMENTS_EACH];
        size_t written;
    } workers[BENCH_IN_FLIGHT];
};

static Chartmesh__V1__Subject subject_of(const struct id *patient)
{
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    subject.patient = (ProtobufCBinaryData){ID_LEN, (uint8_t *)(uintptr_t)patient->bytes};
    return subject;
}

/* ---- Operations -------------------------------------------------------------------------------------------------- */

static void register_patients(struct load *load)
{
    static const char resource[] = "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"Bench\"}]}";
    Chartmesh__V1__RegisterRequest request = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    request.resource = (ProtobufCBinaryData){sizeof resource - 1, (uint8_t *)TEXT(resource)};
    for (size_t i = 0; i < BENCH_IN_FLIGHT * PATIENTS_EACH; i++) {
        struct err err;
        AUTO_ARENA(arena, 1 << 20);
        const ProtobufCMessage *message;
        bench_must(bench_node_call(load->node, "/chartmesh.v1.Patients/Register", true, &request.base, &arena,
                                   &message, &err),
                   &err, "Register");
        const Chartmesh__V1__RegisterReply *reply = (const void *)message;
        struct bytes patient = BYTES(reply->subject->patient.data, reply->subject->patient.len);
        bench_must(id_from(patient, &load->workers[i / PATIENTS_EACH].patients[i % PATIENTS_EACH]), NULL,
                   "Register");
    }
}

static bool run_put(void *context, unsigned worker, uint64_t n, struct err *err)
{
    struct load *load = context;
    AUTO_ARENA(arena, 1 << 20);
    uint8_t document[BENCH_DOCUMENT];
    const ProtobufCMessage *message;
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    Chartmesh__V1__Subject subject = subject_of(&load->workers[worker].patients[n % PATIENTS_EACH]);
    Chartmesh__V1__Facts facts = CHARTMESH__V1__FACTS__INIT;
    Chartmesh__V1__Coding class_code = CHARTMESH__V1__CODING__INIT;
    class_code.system = TEXT("http://loinc.org");
    class_code.code = TEXT("34133-9");
    facts.media_type = TEXT("application/fhir+json");
    facts.class_ = &class_code;
    bench_document(n * BENCH_IN_FLIGHT + worker, document);
    request.subject = &subject;
    request.facts = &facts;
    request.content = (ProtobufCBinaryData){sizeof document, document};
    if (!bench_node_call(load->node, "/chartmesh.v1.Records/Put", false, &request.base, &arena, &message, err)) {
        return false;
    }
    const Chartmesh__V1__PutReply *reply = (const void *)message;
    if (n < DOCUMENTS_EACH) {
        load->workers[worker].written = n + 1;
        return id_from(BYTES(reply->document.data, reply->document.len), &load->workers[worker].documents[n]);
    }
    return true;
}

static bool run_get(void *context, unsigned worker, uint64_t n, struct err *err)
{
    struct load *load = context;
    AUTO_ARENA(arena, 1 << 20);
    const ProtobufCMessage *message;
    size_t which = n % load->workers[worker].written;
    struct id *document = &load->workers[worker].documents[which];
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    Chartmesh__V1__Subject subject = subject_of(&load->workers[worker].patients[which % PATIENTS_EACH]);
    request.subject = &subject;
    request.document = (ProtobufCBinaryData){ID_LEN, document->bytes};
    if (!bench_node_call(load->node, "/chartmesh.v1.Records/Get", false, &request.base, &arena, &message, err)) {
        return false;
    }
    const Chartmesh__V1__GetReply *reply = (const void *)message;
    return (reply->n_heads == 1 && reply->heads[0]->content.len == BENCH_DOCUMENT) ||
           err_raise(err, ERR_CORRUPT, "Get: not the document");
}

/* ---- Limits ------------------------------------------------------------------------------------------------------ */

static double limit_of(double cpu_us, const struct bench *group)
{
    double by_cpu = bench_cores() * 1e6 / (cpu_us + group->cpu_us / BENCH_IN_FLIGHT);
    double by_disk = BENCH_IN_FLIGHT * 1e6 / group->p50_us;
    return MIN(by_cpu, by_disk);
}

static double put_limit(const struct primitives *p, bool wire)
{
    double wire_us = wire ? p->up.cpu_us : 0;
    return limit_of(wire_us + p->sign.cpu_us + p->sha256.cpu_us + 2 * p->gcm_seal.cpu_us, &p->commit_group);
}

static double get_limit(const struct primitives *p, bool wire)
{
    double wire_us = wire ? p->down.cpu_us : 0;
    return limit_of(wire_us + p->sha256.cpu_us + p->gcm_open.cpu_us + p->gcm_seal.cpu_us, &p->commit_reads);
}

/* ---- The run ----------------------------------------------------------------------------------------------------- */

struct figures {
    struct bench put, get;
};

static struct figures measure(struct bench_node *node, double seconds)
{
    struct figures out;
    struct load *load = calloc(1, sizeof *load);
    bench_must(load != NULL, NULL, "memory");
    load->node = node;
    register_patients(load);
    out.put = bench_run(run_put, load, BENCH_IN_FLIGHT, seconds, node->daemon);
    out.get = bench_run(run_get, load, BENCH_IN_FLIGHT, seconds, node->daemon);
    free(load);
    return out;
}

static void print(const struct figures *here, const struct figures *served, const struct primitives *p)
{
    bench_headings(true);
    bench_row_limit("Put, in process", &here->put, put_limit(p, false));
    bench_row_limit("Get, in process", &here->get, get_limit(p, false));
    if (served) {
        bench_row_limit("Put, chartmeshd over mutual TLS", &served->put, put_limit(p, true));
        bench_row_limit("Get, chartmeshd over mutual TLS", &served->get, get_limit(p, true));
    }
}

int main(int argc, char **argv)
{
    struct primitives primitives;
    struct bench_node node;
    struct figures here, served;
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 4.0;
    seconds = seconds > 0 && seconds <= 8 ? seconds : 4.0;
    char chartmeshd[4096];
    const char *bin = getenv("CHARTMESH_BIN");
    snprintf(chartmeshd, sizeof chartmeshd, "%s/node/chartmeshd", bin ? bin : ".");
    bool serves = bin && access(chartmeshd, X_OK) == 0;
    char *folder = bench_begin();
    primitives_measure(folder, seconds / 4, &primitives);
    bench_node_make(&node, folder);
    bench_node_open(&node);
    here = measure(&node, seconds);
    bench_node_close(&node);
    if (serves) {
        bench_node_serve(&node, chartmeshd);
        served = measure(&node, seconds);
        bench_node_stop(&node);
    } else {
        fprintf(stderr, "bench: no chartmeshd below CHARTMESH_BIN: `./dev bench` builds and names it\n");
    }
    bench_conditions("chartmesh: a node, 64 calls in flight", folder, seconds);
    print(&here, serves ? &served : NULL, &primitives);
    if (serves) {
        printf("\n  chartmeshd was ready after %.0f ms, on what the first two rows had written; %.0f MiB resident "
               "then\n",
               node.start_ms, node.idle_mib);
    }
    printf("\n  What the limits are made of, each alone for %.1f s:\n", seconds / 4);
    primitives_print(&primitives);
    bench_node_done(&node);
    bench_end(folder);
    return 0;
}
