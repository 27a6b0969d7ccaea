/* The same puts and gets against etcd, with the generator that the node gets: one thread, calls as events.
 *
 *     etcd_load CERTS HOST:PORT SECONDS    prints put.1 put.64 get.1 get.64 */
#include <stdio.h>

#include "client/setup/files.h"
#include "proto/rpc/rpc.h"
#include "tests/bench/bench.h"
#include "tests/bench/etcd.pb-c.h"

enum { KEYS = 4096 };

static struct rpc_channel *channel;

struct slot {
    struct load *load;
    unsigned number;
};
static struct slot slots[BENCH_IN_FLIGHT];

static void ended(void *arg, const ProtobufCMessage *reply, const struct err *err)
{
    const struct slot *slot = arg;
    bench_must(reply != NULL, err, "etcd's answer");
    if (reply->descriptor == &etcdserverpb__range_response__descriptor) {
        const Etcdserverpb__RangeResponse *range = (const void *)reply;
        bench_must(range->n_kvs == 1 && range->kvs[0]->value.len == BENCH_DOCUMENT, NULL, "etcd's answer");
    }
    load_ended(slot->load, slot->number);
}

static void call(struct load *load, unsigned slot, const char *path, const ProtobufCMessage *request,
                 const ProtobufCMessageDescriptor *out)
{
    struct err err;
    slots[slot] = (struct slot){load, slot};
    bench_must(rpc_unary_begin(channel, path, request, out, &(struct rpc_options){.wait_for_ready = true}, ended,
                               &slots[slot], &err),
               &err, path);
}

static _Atomic uint64_t next_key;    /* every put is a new key; gets are of the first KEYS */

static ProtobufCBinaryData key_of(uint8_t out[16], uint64_t number)
{
    put_u64be(out, 0x6368617274ull);
    put_u64be(out + 8, number);
    return (ProtobufCBinaryData){16, out};
}

static void put(struct load *load, unsigned slot, uint64_t n)
{
    uint8_t key[16], document[BENCH_DOCUMENT];
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    (void)n;
    uint64_t number = next_key++;
    bench_document(number, document);
    request.key = key_of(key, number);
    request.value = (ProtobufCBinaryData){sizeof document, document};
    call(load, slot, "/etcdserverpb.KV/Put", &request.base, &etcdserverpb__put_response__descriptor);
}

static void get(struct load *load, unsigned slot, uint64_t n)
{
    uint8_t key[16];
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = key_of(key, (n * BENCH_IN_FLIGHT + slot) % KEYS);
    call(load, slot, "/etcdserverpb.KV/Range", &request.base, &etcdserverpb__range_response__descriptor);
}

static void measure(const char *name, void (*begin)(struct load *, unsigned, uint64_t), unsigned in_flight,
                    double seconds, uint64_t calls)
{
    static struct load load;
    load = (struct load){.begin = begin, .in_flight = in_flight, .seconds = seconds, .calls = calls};
    load_start(&load);
    struct bench figure = load_wait(&load);
    if (name) {
        bench_say(name, &figure);
    }
}

static const char *text_of(struct arena *arena, const char *folder, const char *name)
{
    struct err err;
    struct bytes out;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    bench_must(file_read(path, 1 << 20, arena, &out, &err), &err, path);
    return (const char *)out.data;
}

int main(int argc, char **argv)
{
    struct err err;
    struct rpc *rpc;
    AUTO_ARENA(arena, 4 << 20);
    bench_must(argc == 4, NULL, "etcd_load CERTS HOST:PORT SECONDS");
    double seconds = bench_seconds(argv[3]);
    const struct rpc_channel_config config = {
        .target = argv[2],
        .tls = {text_of(&arena, argv[1], "ca.pem"), text_of(&arena, argv[1], "client.pem"),
                text_of(&arena, argv[1], "client.key")},
        .server_name = "node.bench",
    };
    bench_must(rpc_open(&(struct rpc_config){0}, &rpc, &err), &err, "the runtime");
    bench_must(rpc_channel_open(rpc, &config, &channel, &err), &err, "a channel");
    measure(NULL, put, BENCH_IN_FLIGHT, 0, KEYS);
    measure("put.1", put, 1, seconds, 0);
    measure("put.64", put, BENCH_IN_FLIGHT, seconds, 0);
    measure("get.1", get, 1, seconds, 0);
    measure("get.64", get, BENCH_IN_FLIGHT, seconds, 0);
    rpc_channel_close(channel);
    rpc_close(rpc);
    return 0;
}
