"""Another language's stack speaks to real nodes: python3-grpcio over mutual TLS, messages compiled by protoc.

python_client_test.py CHARTMESH CHARTMESHD RELAY. Prints cmocka's lines, so that cases are counted.
"""
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
generated = tempfile.TemporaryDirectory(prefix="chartmesh-python.")
subprocess.run(["protoc", "-I.", "--python_out=" + generated.name,
                *[f"proto/chartmesh/v1/{name}.proto" for name in
                  ("admin", "audit", "common", "consents", "keys", "log", "patients", "records", "replication", "statement")],
                *[f"proto/rpc/{name}.proto" for name in ("health", "reflection", "status")]], check=True)
sys.path.insert(0, generated.name)

import grpc  # noqa: E402
from nodes import Network, read_profile  # noqa: E402
from proto.chartmesh.v1 import admin_pb2, audit_pb2, common_pb2, consents_pb2, patients_pb2, records_pb2  # noqa: E402
from proto.chartmesh.v1 import replication_pb2, statement_pb2  # noqa: E402
from proto.rpc import health_pb2, reflection_pb2, status_pb2  # noqa: E402

NOTE = statement_pb2.Coding(system="urn:chartmesh:class", code="note")
DEADLINE_S = 20


class Client:
    """One certificate's channel to one node, and what it says of itself in every call."""

    def __init__(self, node, profile, target=None, certificate=True):
        self.profile = profile = read_profile(profile)
        read = lambda key: open(profile[key], "rb").read()  # noqa: E731
        self.credentials = grpc.ssl_channel_credentials(read("ca"), read("key") if certificate else None,
                                                        read("certificate") if certificate else None)
        self.channel = grpc.secure_channel(
            target or node.client, self.credentials,
            options=[("grpc.ssl_target_name_override", profile["server_name"]), ("grpc.enable_http_proxy", 0)])

    def metadata(self, **more):
        out = {"x-chartmesh-user": self.profile.get("user"), "x-chartmesh-role": self.profile.get("role"),
               "x-chartmesh-purpose": self.profile.get("purpose"), **more}
        return [(key.replace("_", "-"), value) for key, value in out.items() if value]

    def unary(self, path, request, reply, **more):
        method = self.channel.unary_unary(path, request_serializer=type(request).SerializeToString,
                                          response_deserializer=reply.FromString)
        return method(request, timeout=DEADLINE_S, metadata=self.metadata(**more))

    def server_stream(self, path, request, reply):
        method = self.channel.unary_stream(path, request_serializer=type(request).SerializeToString,
                                           response_deserializer=reply.FromString)
        return method(request, timeout=DEADLINE_S, metadata=self.metadata())

    def bidi(self, path, requests, reply):
        method = self.channel.stream_stream(path, request_serializer=lambda message: message.SerializeToString(),
                                            response_deserializer=reply.FromString)
        return method(requests, timeout=DEADLINE_S, metadata=self.metadata())

    def put(self, subject, content, **more):
        request = records_pb2.PutRequest(subject=subject, content=content,
                                         facts=records_pb2.Facts(media_type="text/plain", **{"class": NOTE}))
        for key, value in more.pop("fields", {}).items():
            getattr(request, key).extend(value) if isinstance(value, list) else setattr(request, key, value)
        return self.unary("/chartmesh.v1.Records/Put", request, records_pb2.PutReply, **more)

    def get(self, subject, document):
        return self.unary("/chartmesh.v1.Records/Get", records_pb2.GetRequest(subject=subject, document=document),
                          records_pb2.GetReply)

    def register(self):
        resource = json.dumps({"resourceType": "Patient", "name": [{"family": "Weiß"}], "birthDate": "1970-01-01",
                               "identifier": [{"system": "urn:mrn", "value": os.urandom(8).hex()}]}).encode()
        return self.unary("/chartmesh.v1.Patients/Register", patients_pb2.RegisterRequest(resource=resource),
                          patients_pb2.RegisterReply).subject


def refused(call, *args, **kwargs):
    """The error a call ends with: (code, reason, field)."""
    try:
        call(*args, **kwargs)
    except grpc.RpcError as error:
        reason = field = ""
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                for detail in status_pb2.Status.FromString(value).details:
                    if detail.type_url.endswith("ErrorInfo"):
                        reason = status_pb2.ErrorInfo.FromString(detail.value).reason
                    if detail.type_url.endswith("BadRequest"):
                        field = status_pb2.BadRequest.FromString(detail.value).field_violations[0].field
        return error.code().name, reason, field
    raise AssertionError("should have been refused")


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"{got!r} is not {wanted!r}")


# -- The cases; each takes the network with both nodes running

def test_python__health_and_reflection_answer_a_known_caller(network):
    client = Client(network.hospital, network.emr)
    reply = client.unary("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(),
                         health_pb2.HealthCheckResponse)
    equal(reply.status, health_pb2.HealthCheckResponse.SERVING)
    for version in ("v1", "v1alpha"):
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = client.bidi(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", iter([request]),
                              reflection_pb2.ServerReflectionResponse)
        names = {service.name for service in next(answers).list_services_response.service}
        equal({"chartmesh.v1.Records", "chartmesh.v1.Admin", "grpc.health.v1.Health"} - names, set())
        equal("chartmesh.v1.Replication" in names, False)


def test_python__status_says_who_the_node_is(network):
    client = Client(network.hospital, network.admin)
    reply = client.unary("/chartmesh.v1.Admin/Status", admin_pb2.StatusRequest(), admin_pb2.StatusReply)
    equal(reply.state, admin_pb2.NODE_STATE_SERVING)
    equal(reply.domain, "hospital.example")


def test_python__a_document_comes_back_as_it_was_put(network):
    client = Client(network.hospital, network.emr)
    subject = client.register()
    put = client.put(subject, b"chest clear")
    reply = client.get(subject, put.document)
    equal([head.content for head in reply.heads], [b"chest clear"])
    equal([head.version for head in reply.heads], [put.version])
    equal(reply.conflict, False)


def test_python__a_write_repeated_with_its_key_happens_once(network):
    client = Client(network.hospital, network.emr)
    subject = client.register()
    key = {"x_chartmesh_idempotency_key": "once-" + os.urandom(8).hex()}
    first, again = client.put(subject, b"once", **key), client.put(subject, b"once", **key)
    equal(again.version, first.version)
    equal(refused(client.put, subject, b"other", **key)[:2], ("ABORTED", "IDEMPOTENCY_REUSED"))


def test_python__stale_heads_are_refused(network):
    client = Client(network.hospital, network.emr)
    subject = client.register()
    first = client.put(subject, b"one")
    fields = {"document": first.document, "if_heads": [first.version]}
    client.put(subject, b"two", fields=fields)
    equal(refused(client.put, subject, b"three", fields=fields)[:2], ("ABORTED", "STALE_HEADS"))


def test_python__errors_say_the_field_at_fault(network):
    client = Client(network.hospital, network.emr)
    subject = client.register()
    equal(refused(client.put, subject, b"x", fields={"document": b"short"}), ("INVALID_ARGUMENT", "FIELD_INVALID",
                                                                              "document"))
    client.profile["user"] = None
    equal(refused(client.put, subject, b"x"), ("INVALID_ARGUMENT", "FIELD_MISSING", "x-chartmesh-user"))


def test_python__absent_and_denied_are_one_answer(network):
    client = Client(network.hospital, network.emr)
    subject = client.register()
    equal(refused(client.get, subject, os.urandom(16))[:2], ("NOT_FOUND", "NOT_AVAILABLE"))


def test_python__content_of_many_chunks_goes_up_and_comes_down(network):
    client = Client(network.hospital, network.emr)
    subject = client.register()
    content = os.urandom(3 << 20) + b"end"
    answers = queue.Queue()

    def requests():
        yield records_pb2.UploadRequest(header=records_pb2.UploadHeader(
            upload=os.urandom(16), subject=subject, length=len(content),
            facts=records_pb2.Facts(media_type="image/dicom", **{"class": NOTE})))
        offset = answers.get(timeout=DEADLINE_S).offset
        while offset < len(content):
            piece = content[offset:offset + (256 << 10)]
            yield records_pb2.UploadRequest(piece=records_pb2.UploadPiece(offset=offset, data=piece))
            offset += len(piece)

    done = None
    for answer in client.bidi("/chartmesh.v1.Records/Upload", requests(), records_pb2.UploadReply):
        answers.put(answer)
        done = answer.done if answer.HasField("done") else done
    equal(done is not None, True)
    request = records_pb2.DownloadRequest(subject=subject, document=done.document, version=done.version)
    pieces = list(client.server_stream("/chartmesh.v1.Records/Download", request, records_pb2.DownloadReply))
    equal(b"".join(piece.data for piece in pieces) == content, True)
    request.offset, request.length = 1 << 20, 100
    pieces = list(client.server_stream("/chartmesh.v1.Records/Download", request, records_pb2.DownloadReply))
    equal(b"".join(piece.data for piece in pieces), content[1 << 20:(1 << 20) + 100])


def said_by(network, *args):
    """What the command line says, as the hospital's application."""
    return json.loads(network.cli(*args, "--profile", network.emr, "--target", network.hospital.client, "--output",
                                  "json").stdout)


def unfinished_upload(client, subject, upload):
    """One chunk of two, and then no more."""
    answers = queue.Queue()

    def requests():
        yield records_pb2.UploadRequest(header=records_pb2.UploadHeader(
            upload=upload, subject=subject, length=100000,
            facts=records_pb2.Facts(media_type="image/dicom", **{"class": NOTE})))
        offset = answers.get(timeout=DEADLINE_S).offset
        if offset == 0:
            yield records_pb2.UploadRequest(piece=records_pb2.UploadPiece(offset=0, data=bytes(70000)))

    first = None
    try:
        for answer in client.bidi("/chartmesh.v1.Records/Upload", requests(), records_pb2.UploadReply):
            first = answer.offset if first is None else first
            answers.put(answer)
    except grpc.RpcError as error:
        equal(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
    return first


def test_python__an_upload_is_aborted_by_who_began_it(network):
    client, other = Client(network.hospital, network.emr), Client(network.hospital, network.hospital.issue("app", "pacs"))
    subject, upload = client.register(), os.urandom(16)

    def abort(who):
        return who.unary("/chartmesh.v1.Records/AbortUpload", records_pb2.AbortUploadRequest(upload=upload),
                         records_pb2.AbortUploadReply).aborted

    equal(unfinished_upload(client, subject, upload), 0)
    equal(unfinished_upload(client, subject, upload), 65536)
    equal(abort(other), False)
    equal((abort(client), abort(client)), (True, False))
    equal(unfinished_upload(client, subject, upload), 0)
    equal(said_by(network, "abort", upload.hex()), {"aborted": True})


def test_python__several_documents_are_one_read(network):
    client = Client(network.hospital, network.emr)
    subject = client.register()
    one, two, nowhere = client.put(subject, b"one"), client.put(subject, b"two"), os.urandom(16)
    request = records_pb2.GetRequest(subject=subject, batch=[records_pb2.GetItem(document=document) for document in
                                                             (two.document, nowhere, one.document)])
    reply = client.unary("/chartmesh.v1.Records/Get", request, records_pb2.GetReply)
    equal([[head.content for head in view.heads] for view in reply.batch], [[b"two"], [], [b"one"]])
    equal(len(reply.receipt), 96)
    request.batch.append(request.batch[0])
    equal(refused(client.unary, "/chartmesh.v1.Records/Get", request, records_pb2.GetReply),
          ("INVALID_ARGUMENT", "FIELD_INVALID", "batch"))
    said = said_by(network, "get", subject.patient.hex(), one.document.hex(), nowhere.hex())
    equal([len(view.get("heads", [])) for view in said["documents"]], [1, 0])


def test_python__a_list_as_of_a_time_shows_what_was_known_then(network):
    client = Client(network.hospital, network.emr)
    subject = client.register()
    first = client.put(subject, b"one")
    then = int(time.time() * 1000)
    wait_for(lambda: int(time.time() * 1000) > then, "the next millisecond")
    second = client.put(subject, b"two", fields={"document": first.document, "if_heads": [first.version]})
    request = records_pb2.ListRequest(subject=subject, **{"class": [NOTE]})

    def heads():
        reply = client.unary("/chartmesh.v1.Records/List", request, records_pb2.ListReply)
        return [head.version for view in reply.documents for head in view.heads]

    equal(heads(), [second.version])
    request.as_of.ms = then
    equal(heads(), [first.version])
    request.as_of.ms += 3600 * 1000
    equal(refused(heads), ("INVALID_ARGUMENT", "FIELD_INVALID", "as_of"))


def watch(client, subject):
    stream = client.server_stream("/chartmesh.v1.Records/Watch", records_pb2.WatchRequest(subject=subject),
                                  records_pb2.WatchEvent)
    equal(next(stream).kind, records_pb2.WATCH_KIND_STARTED)
    return stream


def test_python__a_watch_sees_what_is_put(network):
    client = Client(network.hospital, network.emr)
    subject = client.register()
    stream = watch(client, subject)
    put = client.put(subject, b"news")
    event = next(stream)
    equal((event.kind, event.version.version), (records_pb2.WATCH_KIND_VERSION, put.version))
    stream.cancel()


def test_python__nobody_gets_in_without_a_certificate_of_the_house(network):
    for client in (Client(network.hospital, network.emr, certificate=False),
                   Client(network.hospital, network.clinic_emr)):
        equal(refused(client.unary, "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(),
                      health_pb2.HealthCheckResponse)[0], "UNAVAILABLE")


def test_python__an_application_is_no_administrator_and_no_peer(network):
    client = Client(network.hospital, network.emr)
    equal(refused(client.unary, "/chartmesh.v1.Authorities/Grant", audit_pb2.GrantAuthorityRequest(),
                  audit_pb2.GrantAuthorityReply)[0], "PERMISSION_DENIED")
    equal(refused(lambda: next(client.bidi("/chartmesh.v1.Replication/Control", iter([]), replication_pb2.Frame)))[0],
          "UNIMPLEMENTED")
    peer = Client(network.hospital, network.emr, target=network.hospital.peer)
    equal(refused(lambda: next(peer.bidi("/chartmesh.v1.Replication/Control", iter([]), replication_pb2.Frame)))[0],
          "UNAVAILABLE")


def wait_for(ready, what):
    end = time.monotonic() + DEADLINE_S
    while not ready():
        if time.monotonic() > end:
            raise AssertionError("never: " + what)
        time.sleep(0.02)


def grant(here, there, subject):
    """The subject's policy at `here`: the other facility may read for treatment."""
    rule = statement_pb2.Rule(id=1, effect=statement_pb2.EFFECT_PERMIT, purposes=["TREAT"],
                              facilities=[bytes.fromhex(there.profile["facility"])],
                              actions=[statement_pb2.ACTION_READ, statement_pb2.ACTION_DISCLOSE])
    return here.unary("/chartmesh.v1.Consents/SetPolicy",
                      consents_pb2.SetPolicyRequest(subject=subject, rules=[rule]), consents_pb2.SetPolicyReply)


def reads(client, subject, document, *contents):
    """Whether the document's heads are just these."""
    try:
        return sorted(head.content for head in client.get(subject, document).heads) == sorted(contents)
    except grpc.RpcError:
        return False


def test_python__a_partition_delays_and_what_both_wrote_is_kept(network):
    network.clinic.start()
    here, there = Client(network.hospital, network.emr), Client(network.clinic, network.clinic_emr)
    subject = here.register()
    put = here.put(subject, b"one")
    grant(here, there, subject)
    wait_for(lambda: reads(there, subject, put.document, b"one"), "the copy is at the clinic")
    network.cut()
    fields = {"document": put.document, "if_heads": [put.version]}
    here.put(subject, b"two", fields=fields)
    there.put(subject, b"from the clinic", fields=fields)
    equal(reads(there, subject, put.document, b"from the clinic"), True)
    equal(reads(here, subject, put.document, b"two"), True)
    network.heal()
    for client in (here, there):
        wait_for(lambda: reads(client, subject, put.document, b"two", b"from the clinic"),  # noqa: B023
                 "both versions everywhere")
    equal(here.get(subject, put.document).conflict, True)
    equal(network.clinic.stop(), 0)


def test_python__a_grant_takes_a_copy_there_and_a_revocation_takes_it_back(network):
    network.clinic.start()
    here, there = Client(network.hospital, network.emr), Client(network.clinic, network.clinic_emr)
    subject = here.register()
    put = here.put(subject, b"shared")
    equal(refused(there.get, subject, put.document)[:2], ("NOT_FOUND", "NOT_AVAILABLE"))
    policy = grant(here, there, subject)
    equal((policy.grants, policy.orders), (1, 0))
    readable = lambda: reads(there, subject, put.document, b"shared")  # noqa: E731
    wait_for(readable, "the copy is readable at the clinic")
    revoked = here.unary("/chartmesh.v1.Consents/SetPolicy",
                         consents_pb2.SetPolicyRequest(subject=subject, if_heads=[policy.policy]),
                         consents_pb2.SetPolicyReply)
    equal((revoked.grants, revoked.orders), (0, 1))
    wait_for(lambda: not readable(), "the copy is gone at the clinic")
    request = consents_pb2.CasesRequest(subject=subject, closed=True)
    cases = lambda: here.unary("/chartmesh.v1.Consents/Cases", request, consents_pb2.CasesReply).cases  # noqa: E731
    wait_for(lambda: [case.HasField("closed") for case in cases()] == [True], "the clinic's receipt came")
    equal(network.clinic.stop(), 0)


def test_python__what_was_acknowledged_survives_kill(network):
    client = Client(network.hospital, network.emr)
    subject = client.register()
    puts = [(client.put(subject, text), text) for text in (b"a", b"b", b"c" * 100000)]
    network.hospital.kill()
    network.hospital.start()
    client = Client(network.hospital, network.emr)
    for put, text in puts:
        equal([head.content for head in client.get(subject, put.document).heads], [text])


def test_python__a_second_process_on_the_folder_is_refused(network):
    second = subprocess.run([network.chartmeshd, "--config", network.hospital.config], capture_output=True,
                            timeout=30, check=False)
    equal(second.returncode, 1)
    equal(b"another chartmeshd runs on it" in second.stderr, True)


def test_python__a_hangup_reads_certificates_and_opens_the_log_again(network):
    node = network.hospital
    certificate = os.path.join(node.folder, "keys", "client-server.crt")
    with open(certificate, encoding="utf-8") as file:
        good = file.read()

    def reloads(level):
        return sum('"event":"reload"' in line and f'"level":"{level}"' in line and "client.certificate" in line
                   for line in node.log_text().splitlines())

    node.process.send_signal(signal.SIGHUP)
    wait_for(lambda: reloads("info") == 1, "the certificates were read again")
    with open(certificate, "w", encoding="utf-8") as file:
        file.write("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    node.process.send_signal(signal.SIGHUP)
    wait_for(lambda: reloads("error") == 1, "a broken certificate was refused")
    with open(certificate, "w", encoding="utf-8") as file:
        file.write(good)
    Client(node, network.emr).register()        # a new connection: the old certificate is still there


def test_python__the_command_line_says_what_it_can(network):
    run = lambda *args: subprocess.run([network.chartmeshd, *args], capture_output=True, timeout=30,  # noqa: E731
                                       check=False)
    equal(run("--check", network.hospital.config).returncode, 0)
    key = os.path.join(network.hospital.folder, "keys", "peer.key")
    other = os.path.join(network.hospital.folder, "keys", "client-server.key")
    for path in (key, other):
        os.chmod(path, 0o644)
    several = run("--check", network.hospital.config)
    equal((several.returncode, several.stderr.count(b"chmod 600"), b"2 problems" in several.stderr), (1, 2, True))
    for path in (key, other):
        os.chmod(path, 0o600)
    equal(run("--check", network.hospital.config).returncode, 0)
    equal(run("--version").stdout.split()[0], b"chartmeshd")
    equal(run("--help").returncode, 0)
    equal([run().returncode, run("--nonsense").returncode, run("--config").returncode], [2, 2, 2])
    missing = run("--config", "/nowhere/at/all")
    equal((missing.returncode, b"/nowhere/at/all" in missing.stderr), (1, True))


def test_python__sigterm_ends_watches_and_the_process_with_zero(network):
    client = Client(network.hospital, network.emr)
    stream = watch(client, client.register())
    code = queue.Queue()
    thread = threading.Thread(target=lambda: code.put(network.hospital.stop(signal.SIGTERM)))
    thread.start()
    equal(refused(lambda: next(stream))[:2], ("UNAVAILABLE", "DRAINING"))
    equal(code.get(timeout=DEADLINE_S), 0)
    thread.join()
    network.hospital.start()


def test_python__who_joins_later_is_let_in_without_a_restart(network):
    laboratory = network.add("laboratory")
    network.cli("node", "trust", "--node", network.clinic.folder, network.trust)
    network.clinic.start()
    laboratory.start()
    admin = Client(network.hospital, network.admin)

    def connected():
        peers = admin.unary("/chartmesh.v1.Admin/Peers", admin_pb2.PeersRequest(), admin_pb2.PeersReply).peers
        return {peer.domain for peer in peers if all(lane.connected for lane in peer.lanes)}

    wait_for(lambda: connected() == {"clinic.example", "laboratory.example"}, "the hospital hears of it from the clinic")
    equal((network.clinic.stop(), laboratory.stop()), (0, 0))


def test_python__the_log_has_no_content(network):
    client = Client(network.hospital, network.emr)
    secret = "diagnosis-" + os.urandom(8).hex()
    subject = client.register()
    put = client.put(subject, secret.encode())
    client.get(subject, put.document)
    lines = network.hospital.log_text().splitlines()
    equal([line for line in lines if secret in line or "Weiß" in line or "Wei\\u00df" in line], [])
    calls = [json.loads(line) for line in lines if '"event":"call"' in line]
    equal(any(line["method"] == "/chartmesh.v1.Records/Put" and line["request"] for line in calls), True)


def stream_item(sequence, subject, content, **more):
    return records_pb2.PutStreamRequest(sequence=sequence, put=records_pb2.PutRequest(
        subject=subject, content=content, facts=records_pb2.Facts(media_type="text/plain", **{"class": NOTE})), **more)


def test_python__many_puts_on_one_stream_are_each_answered(network):
    client = Client(network.hospital, network.emr)
    subjects = [client.register() for _ in range(3)]
    items = [stream_item(i, subjects[i % 3], f"item {i}".encode()) for i in range(1, 401)]
    items[6].put.facts.Clear()
    answers = {}
    for reply in client.bidi("/chartmesh.v1.Records/PutStream", iter(items), records_pb2.PutStreamReply):
        for result in reply.results:
            equal(result.sequence in answers, False)
            answers[result.sequence] = result
    equal(len(answers), len(items))
    refusals = [result for result in answers.values() if result.HasField("error")]
    equal([(r.sequence, r.error.reason) for r in refusals], [(7, common_pb2.ERROR_REASON_FIELD_MISSING)])
    equal(client.get(subjects[200 % 3], answers[200].done.document).heads[0].content, b"item 200")


def test_python__a_stream_that_breaks_keeps_what_was_acknowledged(network):
    client = Client(network.hospital, network.emr)
    subject = client.register()
    more = threading.Event()

    def items():
        for i in range(1, 51):
            yield stream_item(i, subject, b"before", idempotency_key=f"k{i}")
        more.wait(DEADLINE_S)

    call = client.bidi("/chartmesh.v1.Records/PutStream", items(), records_pb2.PutStreamReply)
    acknowledged = {}
    while len(acknowledged) < 50:
        acknowledged.update({result.sequence: result.done for result in next(call).results})
    call.cancel()
    more.set()
    again = [stream_item(i, subject, b"before", idempotency_key=f"k{i}") for i in range(1, 51)]
    for reply in client.bidi("/chartmesh.v1.Records/PutStream", iter(again), records_pb2.PutStreamReply):
        for result in reply.results:
            equal(result.done.version, acknowledged[result.sequence].version)


def test_python__labels_change_without_the_content(network):
    client = Client(network.hospital, network.emr)
    subject = client.register()
    put = client.put(subject, b"what was seen")
    labels = statement_pb2.Labels(confidentiality=statement_pb2.CONFIDENTIALITY_M)
    request = records_pb2.RelabelRequest(subject=subject, document=put.document, version=put.version,
                                         if_heads=[put.version], labels=labels)
    client.unary("/chartmesh.v1.Records/Relabel", request, records_pb2.PutReply)
    read = client.get(subject, put.document)
    equal((read.effective_labels.confidentiality, read.heads[0].content),
          (statement_pb2.CONFIDENTIALITY_M, b"what was seen"))
    equal(refused(client.unary, "/chartmesh.v1.Records/Relabel", request, records_pb2.PutReply),
          ("ABORTED", "STALE_HEADS", ""))


def test_python__an_application_signs_for_itself(network):
    client = Client(network.hospital, network.emr)
    subject = client.register()
    key, note = (os.path.join(network.hospital.folder, name) for name in ("author.key", "note.txt"))
    with open(note, "w", encoding="utf-8") as file:
        file.write("signed by its author")
    at = ("--target", network.hospital.client, "--output", "json", "--profile")
    key_id = json.loads(network.cli("key", "enrol", key, "--holder", client.profile["principal"], *at,
                                    network.admin).stdout)["key"]
    put = ("put", subject.patient.hex(), note, "--class", "urn:chartmesh:class|note", "--sign-with", key, *at,
           network.emr)
    document = json.loads(network.cli(*put).stdout)["document"]
    head = client.get(subject, bytes.fromhex(document)).heads[0]
    equal(head.content, b"signed by its author")
    equal([signature.keyid for signature in head.statement.signatures], [key_id])
    network.cli("key", "revoke", key_id, "--reason", "LOST", *at, network.admin)
    again = network.cli(*put, check=False)
    equal(again.returncode != 0, True)


def main():
    failed = 0
    with Network(sys.argv[1], sys.argv[2], ["hospital", "clinic"], relay=sys.argv[3]) as network:
        network.hospital, network.clinic = network.nodes["hospital"], network.nodes["clinic"]
        network.emr, network.admin = network.hospital.issue("app", "emr"), network.hospital.issue("admin", "it")
        network.clinic_emr = network.clinic.issue("app", "emr")
        network.hospital.start()
        for name, case in [item for item in globals().items() if item[0].startswith("test_")]:
            print(f"[ RUN      ] {name}", flush=True)
            try:
                case(network)
                print(f"[       OK ] {name}", flush=True)
            except Exception:  # pylint: disable=broad-except
                traceback.print_exc()
                print(f"[  FAILED  ] {name}", flush=True)
                failed += 1
        if failed:
            for node in network.nodes.values():
                print(node.name, node.log_text()[-6000:])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
