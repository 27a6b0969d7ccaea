/* The server of gRPC's interoperability tests on proto/rpc, and the clients of others that test it.
 *
 * interop_test: opens the server, runs client.py (Debian's Python gRPC) with each case, and fails with the first
 * that does. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/rpc/rpc.h"
#include "tests/interop/testing.pb-c.h"
#include "tests/lib/rpc.h"

#define TYPE(name) (&grpc__testing__##name##__descriptor)
enum { ANSWER_MAX = 1 << 20 };

static bool make_payload(struct rpc_call *call, int32_t size, Grpc__Testing__Payload **out, struct err *err)
{
    void *payload, *body;
    if (size < 0 || size > ANSWER_MAX) {
        return err_raise(err, ERR_INVALID, "response_size %d: 0 to %d", size, ANSWER_MAX);
    }
    if (!arena_alloc(rpc_call_arena(call), sizeof **out, &payload, err) ||
        !arena_alloc(rpc_call_arena(call), (size_t)size, &body, err)) {
        return false;
    }
    *out = payload;
    grpc__testing__payload__init(*out);
    (*out)->body = (ProtobufCBinaryData){(size_t)size, body};
    return true;
}

/* A status that was asked for; codes that proto/rpc has no name for travel as well. */
static bool asked_status(const Grpc__Testing__EchoStatus *status, struct err *err)
{
    return !status || status->code == 0 || err_raise(err, (enum err_code)status->code, "%s", status->message);
}

/* What was sent under this name comes back as a trailer. The description also wants one in the initial metadata
 * and a binary one: proto/rpc sends neither, it has no use for them. */
static bool echo_metadata(struct rpc_call *call, struct err *err)
{
    const char *value;
    return rpc_metadata(call, "x-grpc-test-echo-trailing", &value, err) &&
           (!value || rpc_trailer(call, "x-grpc-test-echo-trailing", value, err));
}

static bool empty_call(struct rpc_call *call, void *ctx, const ProtobufCMessage *in, ProtobufCMessage *out,
                       struct err *err)
{
    (void)call;
    (void)ctx;
    (void)in;
    (void)out;
    (void)err;
    return true;
}

static bool unary_call(struct rpc_call *call, void *ctx, const ProtobufCMessage *in, ProtobufCMessage *out,
                       struct err *err)
{
    const Grpc__Testing__SimpleRequest *request = (const void *)in;
    (void)ctx;
    return echo_metadata(call, err) && asked_status(request->response_status, err) &&
           make_payload(call, request->response_size, &((Grpc__Testing__SimpleResponse *)out)->payload, err);
}

static bool send_answers(struct rpc_call *call, const Grpc__Testing__StreamingOutputCallRequest *request,
                         struct err *err)
{
    for (size_t i = 0; i < request->n_response_parameters; i++) {
        Grpc__Testing__StreamingOutputCallResponse response = GRPC__TESTING__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
        sleep_ms((unsigned)request->response_parameters[i]->interval_us / 1000);
        if (!make_payload(call, request->response_parameters[i]->size, &response.payload, err) ||
            !rpc_send(call, &response.base, err)) {
            return false;
        }
    }
    return asked_status(request->response_status, err);
}

static bool output_call(struct rpc_call *call, void *ctx, const ProtobufCMessage *in, ProtobufCMessage *out,
                        struct err *err)
{
    (void)ctx;
    (void)out;
    return send_answers(call, (const void *)in, err);
}

static bool input_call(struct rpc_call *call, void *ctx, const ProtobufCMessage *in, ProtobufCMessage *out,
                       struct err *err)
{
    const ProtobufCMessage *message;
    (void)ctx;
    (void)in;
    for (;;) {
        if (!rpc_recv(call, &message, err)) {
            return false;
        }
        if (!message) {
            return true;
        }
        const Grpc__Testing__Payload *payload =
            ((const Grpc__Testing__StreamingInputCallRequest *)message)->payload;
        ((Grpc__Testing__StreamingInputCallResponse *)out)->aggregated_payload_size +=
            payload ? (int32_t)payload->body.len : 0;
    }
}

static bool duplex_call(struct rpc_call *call, void *ctx, const ProtobufCMessage *in, ProtobufCMessage *out,
                        struct err *err)
{
    const ProtobufCMessage *message = NULL;
    (void)ctx;
    (void)in;
    (void)out;
    while (echo_metadata(call, err) && rpc_recv(call, &message, err)) {
        if (!message) {
            return true;
        }
        if (!send_answers(call, (const void *)message, err)) {
            return false;
        }
    }
    return false;
}

static const struct rpc_method methods[] = {
    {.path = "/grpc.testing.TestService/EmptyCall",
     .kind = RPC_UNARY,
     .run = empty_call,
     .in = TYPE(empty),
     .out = TYPE(empty)},
    {.path = "/grpc.testing.TestService/UnaryCall",
     .kind = RPC_UNARY,
     .run = unary_call,
     .in = TYPE(simple_request),
     .out = TYPE(simple_response)},
    {.path = "/grpc.testing.TestService/StreamingOutputCall",
     .kind = RPC_SERVER_STREAM,
     .run = output_call,
     .in = TYPE(streaming_output_call_request),
     .out = TYPE(streaming_output_call_response)},
    {.path = "/grpc.testing.TestService/StreamingInputCall",
     .kind = RPC_CLIENT_STREAM,
     .run = input_call,
     .in = TYPE(streaming_input_call_request),
     .out = TYPE(streaming_input_call_response)},
    {.path = "/grpc.testing.TestService/FullDuplexCall",
     .kind = RPC_BIDI,
     .run = duplex_call,
     .in = TYPE(streaming_output_call_request),
     .out = TYPE(streaming_output_call_response)},
};
static const struct rpc_service service = {methods, COUNT(methods), NULL};

static struct fixture *f;
static char folder[64];

static int begin(void **state)
{
    (void)state;
    f = fixture_begin(&service, 1, NULL);
    fixture_folder(f, folder);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_folder_drop(folder);
    fixture_end(f);
    return 0;
}

static const char *const cases[] = {
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "cancel_after_begin",
    "cancel_after_first_response",
    "timeout_on_sleeping_server",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    /* What a server has to refuse. */
    "refused_too_large",
    "refused_reply_too_large",
    "refused_compressed",
    "refused_metadata_twice",
    "refused_garbage",
    "refused_stranger",
};

/* All cases in one process of Python, which takes longer to begin than they do. */
static void test_interop__pythons_grpc_finds_every_case_as_it_should_be(void **state)
{
    char word[64];
    char *argv[COUNT(cases) + 5] = {"/usr/bin/python3", "tests/interop/client.py", f->target, folder};
    (void)state;
    memcpy(argv + 4, cases, sizeof cases);
    if (!fixture_run((char *[]){"/usr/bin/python3", "-c", "import grpc, google.protobuf", NULL}, word)) {
        print_message("python3-grpcio is not installed: skipped\n");
        skip();
    }
    bool ok = fixture_run(argv, word);
    print_message("last: %s\n", word);
    if (!ok) {
        fail_msg("case %s", word);
    }
    char expected[16];
    snprintf(expected, sizeof expected, "%zu", COUNT(cases));
    assert_string_equal(word, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interop__pythons_grpc_finds_every_case_as_it_should_be),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
