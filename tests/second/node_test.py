"""A real node's evidence, judged from docs/protocol alone.

node_test.py CHARTMESH CHARTMESHD. A hospital writes, reads and discloses, the clinic witnesses; `chartmesh audit query` saves the
bundle, and evidence.py says what it proves. Prints cmocka's lines.
"""
import json
import os
import sys
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))

from evidence import AUDIT_QUERY, CONTRADICTED, DISCLOSE, NOT_PROVED, POLICY, PROVED, WRITE, Verifier  # noqa: E402
from nodes import Network, read_profile  # noqa: E402

READ, WITNESSED_S, TEXTS = 4, 60, ("chest clear", "discharged")


class Asked:
    """What was done at the hospital, and the bundle about it."""

    def __init__(self, network):
        self.network, self.hospital = network, network.nodes["hospital"]
        self.emr, self.admin = self.hospital.issue("app", "emr"), self.hospital.issue("admin", "it")
        self.auditor = self.hospital.issue("auditor", "miller")
        resource = {"resourceType": "Patient", "name": [{"family": "Weiß"}], "identifier": [{"system": "urn:mrn", "value": "1"}]}
        self.patient = self.call(self.emr, "patient", "register", self.file("patient.json", json.dumps(resource)))["patient"]
        self.puts = [self.call(self.emr, "put", self.patient, self.file("note.txt", text), "--class", "urn:chartmesh:class|note")
                     for text in TEXTS]
        for put in self.puts:
            self.call(self.emr, "get", self.patient, put["document"])
        self.call(self.emr, "consent", "grant", self.patient, "--to", "clinic.example")
        self.call(self.admin, "authority", "grant", "--holder", read_profile(self.auditor)["principal"],
                  "--key", os.path.join(os.path.dirname(self.auditor), "audit.pub"))
        end = time.monotonic() + WITNESSED_S
        while True:
            self.data, self.given = self.ask()
            self.verifier = self.judge(self.data)
            self.verdict = self.verifier.judge()
            if (self.verdict == PROVED and self.entries(DISCLOSE)) or time.monotonic() > end:
                break
            time.sleep(0.5)    # until the clinic has cosigned, and the disclosure was logged

    def file(self, name, text):
        path = os.path.join(self.network.folder, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    def call(self, profile, *args):
        out = self.network.cli(*args, "--profile", profile, "--target", self.hospital.client, "--output", "json").stdout
        return json.loads(out) if out else {}

    def ask(self):
        bundle, args = (os.path.join(self.network.folder, name) for name in ("bundle", "args"))
        for path in (bundle, args):
            if os.path.exists(path):
                os.unlink(path)
        self.call(self.auditor, "audit", "query", self.patient, "--out", bundle, "--args", args)
        with open(bundle, "rb") as data, open(args, encoding="utf-8") as line:
            words = line.read().split()
            return data.read(), dict(zip(words[::2], words[1::2]))

    def in_c(self, data):
        """Exit code and report of `chartmesh audit verify`."""
        path = os.path.join(self.network.folder, "judged")
        with open(path, "wb") as out:
            out.write(data)
        words = [word for pair in self.given.items() for word in pair]
        done = self.network.cli("audit", "verify", path, *words, "--output", "json", check=False)
        return done.returncode, json.loads(done.stdout) if done.returncode == 0 else None

    def judge(self, data):
        return Verifier(data, bytes.fromhex(self.given["--network"]), query=bytes.fromhex(self.given["--query"]))

    def entries(self, kind):
        return [link.entry for link in self.verifier.entries if link.entry["kind"] == kind]


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"{got!r} is not {wanted!r}")


def split(data):
    """[(the five bytes before a body, body)]"""
    out, at = [], 8
    while at < len(data):
        end = at + 5 + int.from_bytes(data[at:at + 4], "big")
        out.append((data[at:at + 5], data[at + 5:end]))
        at = end
    return out


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1:]


def test_second__what_a_node_answers_is_proved(asked):
    equal(asked.verdict, PROVED)
    equal([claim for claim, state in asked.verifier.claims.items() if state != PROVED], ["decisions"])    # reads: 07, 6.6


def test_second__both_implementations_say_the_same_of_every_claim(asked):
    code, report = asked.in_c(asked.data)
    equal(code, 0)
    equal((report["recomputed"], report["decisions"]), (asked.verifier.recomputed, 3))
    equal({claim["claim"]: claim["state"].replace(" ", "-") for claim in report["claims"]}, asked.verifier.claims)


def test_second__what_was_done_is_what_is_opened(asked):
    versions = {bytes.fromhex(put["version"]) for put in asked.puts}
    written = {i for e in asked.entries(WRITE) for i in e["objects"]}
    equal((versions - written, len(written)), (set(), 3))    # the patient's identity is a document too
    equal([(e["objects"][0].hex(), e["extent"]) for e in asked.entries(READ) if "objects" in e],
          [(put["version"], len(text)) for put, text in zip(asked.puts, TEXTS)])
    equal({s.message["subject"]["patient"].hex() for s in asked.verifier.of_kind("version", "policy", "disclosure")}, {asked.patient})
    equal([set(e["objects"]) for e in asked.entries(DISCLOSE)], [written])
    policy, = asked.verifier.of_kind("policy")
    equal([e["objects"] for e in asked.entries(POLICY)], [[policy.id]])
    equal([b["policy"] for e in asked.entries(DISCLOSE) for b in e["decision"]["basis"]], [policy.id])
    who = [asked.verifier.enrolment(e)["principal"] for kind in (WRITE, AUDIT_QUERY) for e in asked.entries(kind)[-1:]]
    equal([x.rsplit("/", 2)[1:] for x in who], [["app", "emr"], ["auditor", "miller"]])


def test_second__a_flipped_byte_is_refused(asked):
    for at in range(0, len(asked.data), 97):
        equal((at, asked.judge(flipped(asked.data, at)).judge() == PROVED), (at, False))


def test_second__both_say_the_same_of_what_was_broken(asked):
    verdicts = {PROVED: 0, NOT_PROVED: 3, CONTRADICTED: 4}
    frames = [kind + body for kind, body in split(asked.data)]
    broken = [flipped(asked.data, at) for at in range(8, len(asked.data), 499)]
    for n in range(len(frames)):
        broken += [asked.data[:8] + b"".join(some) for some in (frames[:n] + frames[n + 1:], frames[:n + 1] + frames[n:])]
    for n, data in enumerate(broken):
        equal((n, asked.in_c(data)[0]), (n, verdicts[asked.judge(data).judge()]))


def test_second__another_network_or_question_or_more_witnesses_is_not_proved(asked):
    network, query = (bytes.fromhex(asked.given[name]) for name in ("--network", "--query"))
    for more in ({"network": flipped(network, 31)}, {"network": None}, {"network": network, "query": flipped(query, 0)},
                 {"network": network, "roster_version": 9}, {"network": network, "quorum": 2}):
        equal(Verifier(asked.data, **more).judge() == PROVED, False)


def main():
    failed = 0
    cases = [item for item in globals().items() if item[0].startswith("test_")]
    with Network(sys.argv[1], sys.argv[2], ["hospital", "clinic"]) as network:
        for node in network.nodes.values():
            node.start()
        asked = Asked(network)
        print(f"[==========] Running {len(cases)} test(s).")
        for name, case in cases:
            print(f"[ RUN      ] {name}", flush=True)
            try:
                case(asked)
                print(f"[       OK ] {name}", flush=True)
            except Exception:  # pylint: disable=broad-except
                traceback.print_exc()
                print(f"[  FAILED  ] {name}", flush=True)
                failed += 1
        print(f"[==========] {len(cases)} test(s) run.\n[  PASSED  ] {len(cases) - failed} test(s).")
        if failed:
            print(asked.verdict, asked.verifier.why, asked.hospital.log_text()[-4000:])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
