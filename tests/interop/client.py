"""gRPC's interoperability cases that concern a server, as its description tells them, spoken by python3-grpcio.

client.py TARGET DIR CASE...: the folder has ca.pem, cert.pem, key.pem. Prints how many cases went well, or the name
of the first that did not, and fails.
"""
import os
import subprocess
import sys
import tempfile
import time

import grpc

SERVICE = "/grpc.testing.TestService/"


def read(name):
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def compile_messages():
    place = tempfile.mkdtemp()
    subprocess.run(["protoc", "--python_out=" + place, "-I", "tests/interop", "testing.proto"], check=True)
    sys.path.insert(0, place)
    import testing_pb2  # pylint: disable=import-outside-toplevel
    return testing_pb2


def dial(credentials=None, **more):
    credentials = credentials or grpc.ssl_channel_credentials(read("ca.pem"), read("key.pem"), read("cert.pem"))
    options = [("grpc.ssl_target_name_override", "node.test"), ("grpc.enable_http_proxy", 0),
               ("grpc.max_receive_message_length", -1)]
    return grpc.secure_channel(target, credentials, options=options, **more)


class Stub:
    def __init__(self, channel):
        methods = [("EmptyCall", "unary_unary", pb.Empty, pb.Empty),
                   ("UnaryCall", "unary_unary", pb.SimpleRequest, pb.SimpleResponse),
                   ("StreamingOutputCall", "unary_stream", pb.StreamingOutputCallRequest,
                    pb.StreamingOutputCallResponse),
                   ("StreamingInputCall", "stream_unary", pb.StreamingInputCallRequest,
                    pb.StreamingInputCallResponse),
                   ("FullDuplexCall", "stream_stream", pb.StreamingOutputCallRequest,
                    pb.StreamingOutputCallResponse),
                   ("UnimplementedCall", "unary_unary", pb.Empty, pb.Empty)]
        for name, shape, request, response in methods:
            setattr(self, name, getattr(channel, shape)(SERVICE + name, request.SerializeToString,
                                                        response.FromString))


def payload(size):
    return pb.Payload(body=bytes(size))


def equal(got, wanted):
    if got != wanted:
        raise AssertionError("%r instead of %r" % (got, wanted))


def refused(call, code):
    """Runs it; the error, which has that code."""
    try:
        answer = call()
    except grpc.RpcError as error:
        equal(error.code(), code)
        return error
    raise AssertionError("%r instead of %s" % (answer, code))


class Feed:
    """Requests given one at a time, until None."""

    def __init__(self):
        import queue  # pylint: disable=import-outside-toplevel
        self.queue = queue.Queue()

    def __iter__(self):
        return iter(self.queue.get, None)


def wanted_sizes(*sizes, interval_us=0):
    return [pb.ResponseParameters(size=size, interval_us=interval_us) for size in sizes]


# ---- the description's cases ----

def empty_unary():
    equal(stub.EmptyCall(pb.Empty(), timeout=10), pb.Empty())


def large_unary():
    answer = stub.UnaryCall(pb.SimpleRequest(response_size=314159, payload=payload(271828)), timeout=10)
    equal(answer.payload.body, bytes(314159))


def client_streaming():
    sizes = [27182, 8, 1828, 45904]
    answer = stub.StreamingInputCall((pb.StreamingInputCallRequest(payload=payload(size)) for size in sizes),
                                     timeout=10)
    equal(answer.aggregated_payload_size, 74922)


def server_streaming():
    sizes = [31415, 9, 2653, 58979]
    request = pb.StreamingOutputCallRequest(response_parameters=wanted_sizes(*sizes))
    equal([len(one.payload.body) for one in stub.StreamingOutputCall(request, timeout=10)], sizes)


def ping_pong():
    feed = Feed()
    answers = stub.FullDuplexCall(iter(feed), timeout=10)
    for size, sent in ((31415, 27182), (9, 8), (2653, 1828), (58979, 45904)):
        feed.queue.put(pb.StreamingOutputCallRequest(response_parameters=wanted_sizes(size), payload=payload(sent)))
        equal(len(next(answers).payload.body), size)
    feed.queue.put(None)
    equal(list(answers), [])


def empty_stream():
    equal(list(stub.FullDuplexCall(iter(()), timeout=10)), [])


def cancel_after_begin():
    feed = Feed()
    call = stub.StreamingInputCall.future(iter(feed), timeout=10)
    call.cancel()
    feed.queue.put(None)
    equal(call.code(), grpc.StatusCode.CANCELLED)


def cancel_after_first_response():
    feed = Feed()
    call = stub.FullDuplexCall(iter(feed), timeout=10)
    feed.queue.put(pb.StreamingOutputCallRequest(response_parameters=wanted_sizes(31415), payload=payload(27182)))
    equal(len(next(call).payload.body), 31415)
    call.cancel()
    refused(lambda: next(call), grpc.StatusCode.CANCELLED)
    feed.queue.put(None)


def timeout_on_sleeping_server():
    feed = Feed()
    call = stub.FullDuplexCall(iter(feed), timeout=0.2)
    begun = time.monotonic()
    feed.queue.put(pb.StreamingOutputCallRequest(payload=payload(27182),
                                                 response_parameters=wanted_sizes(10, interval_us=900000)))
    refused(lambda: next(call), grpc.StatusCode.DEADLINE_EXCEEDED)
    equal(time.monotonic() - begun < 10, True)
    feed.queue.put(None)


def status_code_and_message():
    status = pb.EchoStatus(code=2, message="test status message")
    error = refused(lambda: stub.UnaryCall(pb.SimpleRequest(response_status=status), timeout=10),
                    grpc.StatusCode.UNKNOWN)
    equal(error.details(), "test status message")
    request = pb.StreamingOutputCallRequest(response_status=status)
    error = refused(lambda: list(stub.FullDuplexCall(iter([request]), timeout=10)), grpc.StatusCode.UNKNOWN)
    equal(error.details(), "test status message")


def special_status_message():
    text = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
    request = pb.SimpleRequest(response_status=pb.EchoStatus(code=2, message=text))
    error = refused(lambda: stub.UnaryCall(request, timeout=10), grpc.StatusCode.UNKNOWN)
    equal(error.details(), text)


def custom_metadata():
    sent = (("x-grpc-test-echo-trailing", "test_metadata_value"),)
    _, call = stub.UnaryCall.with_call(pb.SimpleRequest(response_size=1), timeout=10, metadata=sent)
    equal(dict(call.trailing_metadata())["x-grpc-test-echo-trailing"], "test_metadata_value")
    call = stub.FullDuplexCall(iter([pb.StreamingOutputCallRequest(response_parameters=wanted_sizes(1))]),
                               timeout=10, metadata=sent)
    equal(len(list(call)), 1)
    equal(dict(call.trailing_metadata())["x-grpc-test-echo-trailing"], "test_metadata_value")


def unimplemented_method():
    refused(lambda: stub.UnimplementedCall(pb.Empty(), timeout=10), grpc.StatusCode.UNIMPLEMENTED)


def unimplemented_service():
    method = shared.unary_unary("/grpc.testing.UnimplementedService/UnimplementedCall",
                                pb.Empty.SerializeToString, pb.Empty.FromString)
    refused(lambda: method(pb.Empty(), timeout=10), grpc.StatusCode.UNIMPLEMENTED)


# ---- what a server has to refuse, after which it goes on ----

def refused_too_large():
    request = pb.SimpleRequest(payload=payload(3 << 20))
    refused(lambda: stub.UnaryCall(request, timeout=10), grpc.StatusCode.RESOURCE_EXHAUSTED)
    empty_unary()


def refused_reply_too_large():
    for size in (-1, 2 << 20):
        refused(lambda: stub.UnaryCall(pb.SimpleRequest(response_size=size), timeout=10),  # noqa: B023
                grpc.StatusCode.INVALID_ARGUMENT)
    empty_unary()


def refused_compressed():
    with dial(compression=grpc.Compression.Gzip) as channel:
        refused(lambda: Stub(channel).UnaryCall(pb.SimpleRequest(payload=payload(100000)), timeout=10),
                grpc.StatusCode.UNIMPLEMENTED)
    empty_unary()


def refused_metadata_twice():
    twice = (("x-grpc-test-echo-trailing", "a"), ("x-grpc-test-echo-trailing", "b"))
    refused(lambda: stub.UnaryCall(pb.SimpleRequest(), timeout=10, metadata=twice), grpc.StatusCode.INVALID_ARGUMENT)
    empty_unary()


def refused_garbage():
    method = shared.unary_unary(SERVICE + "UnaryCall", bytes, bytes)
    for garbage in (b"\xff\xff", b"\x0a", b"\x1a\x7f"):
        refused(lambda: method(garbage, timeout=10), grpc.StatusCode.INVALID_ARGUMENT)  # noqa: B023
    empty_unary()


def refused_stranger():
    with dial(grpc.ssl_channel_credentials(read("ca.pem"))) as channel:
        refused(lambda: Stub(channel).EmptyCall(pb.Empty(), timeout=10), grpc.StatusCode.UNAVAILABLE)
    empty_unary()


target, folder = sys.argv[1:3]
pb = compile_messages()
shared = dial()
stub = Stub(shared)
for case in sys.argv[3:]:
    try:
        globals()[case]()
    except Exception as error:  # pylint: disable=broad-except
        print(case, repr(error))
        raise
print(len(sys.argv) - 3)
