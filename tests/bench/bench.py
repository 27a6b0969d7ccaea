"""./dev bench: one run, one table. docs/figures.md says how to read it.

Runs the programs of this folder against a node, against etcd and PostgreSQL, and against what they are all made of.
"""
import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))

from limits import limits  # noqa: E402
from nodes import Network, read_profile  # noqa: E402
from peers import PEERS, Absent  # noqa: E402

BIN = os.environ.get("CHARTMESH_BIN", "bazel-bin")
CHARTMESH, CHARTMESHD = f"{BIN}/client/chartmesh", f"{BIN}/node/chartmeshd"
CLASS = "urn:chartmesh:class|note"
DOCUMENT = 2048

# name: (unit, where it is measured). In the table's order.
ROWS = {
    "put.1": ("1/s", "operations"), "put.64": ("1/s", "operations"),
    "get.1": ("1/s", "operations"), "get.64": ("1/s", "operations"),
    "get_batch.16": ("documents/s", "operations"), "put_stream.64": ("1/s", "operations"),
    "watch.64": ("events/s", "operations"),
    "memory.idle": ("MiB", "operations"), "memory.load": ("MiB", "operations"), "memory.flood": ("MiB", "operations"),
    "upload.1GiB": ("MiB/s", "transfers"), "download.1GiB": ("MiB/s", "transfers"),
    "bytes.document": ("B", "storage"), "bytes.read": ("B", "storage"), "start.kill": ("s", "storage"),
    "audit.1000": ("ms CPU", "audit"), "verify": ("entries/s", "audit"),
    "replicate": ("versions/s", "replication"), "reach": ("ms", "replication"),
    "consent.50": ("us", "primitives"),
}
# How much of each, in a whole run and in a quick one.
SIZES = {"seconds": (5, 1), "primitive_seconds": (1, 0.3), "transfer_mib": (1024, 64), "versions": (100000, 5000),
         "replicated": (5000, 500), "reached": (100, 20), "audited": (1000, 200)}


class Run:
    def __init__(self, options, folder):
        self.quick, self.only, self.folder = options.quick, options.only, folder
        self.given = {"versions": options.versions}
        self.rows, self.notes, self.primitives, self.versions = {}, [], {}, []

    def size(self, name):
        return self.given.get(name) or SIZES[name][self.quick]

    def wants(self, place):
        return not self.only or any(ROWS[name][1] == place for name in self.only)

    def say(self, name, value, note=None, **more):
        self.rows.setdefault(name, {}).update({"ours": value, **more})
        if note:
            self.note(f"{name}: {note}")

    def note(self, text):
        self.notes.append(text)
        print(f"  ({text})", file=sys.stderr)

    def run(self, program, *arguments, timeout=7200):
        """Runs a program of this folder; yields what its lines say."""
        done = subprocess.run([f"{BIN}/tests/bench/{program}", *map(str, arguments)], stdout=subprocess.PIPE,
                              timeout=timeout, check=False, text=True)
        for line in done.stdout.splitlines():
            yield json.loads(line)
        if done.returncode != 0:
            raise RuntimeError(f"{program} {' '.join(map(str, arguments))}: {done.returncode}")

    def load(self, node, *steps, **more):
        """node_load's figures by name."""
        options = [word for key, value in more.items() for word in (f"--{key.replace('_', '-')}", value)]
        return {figure["name"]: figure for figure in
                self.run("node_load", "--profile", node.profile, "--target", node.client, "--pid", node.process.pid,
                         "--seconds", self.size("seconds"), *options, *steps)}


# -- A node, asked in every way

@contextlib.contextmanager
def facilities(*names):
    with Network(CHARTMESH, CHARTMESHD, names) as network:
        for node in network.nodes.values():
            node.profile, node.admin = node.issue("app", "emr"), node.issue("admin", "it")
            with open(node.config, encoding="utf-8") as lines:
                text = lines.read()
            with open(node.config, "w", encoding="utf-8") as lines:
                lines.write(text.replace("log { level = debug }", ""))
            node.start()
        yield [network.nodes[name] for name in names]


def cli(node, *words, profile=None, timeout=600):
    done = subprocess.run([CHARTMESH, *words, "--profile", profile or node.profile, "--target", node.client,
                           "--output", "json", "--timeout", str(timeout)],
                          stdout=subprocess.PIPE, check=True, timeout=timeout)
    return json.loads(done.stdout or b"null")


def memory(node, key):
    """VmRSS (now) or VmHWM (the most it ever was) of a node, in MiB."""
    with open(f"/proc/{node.process.pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key + ":"))


def cpu_ms(node):
    with open(f"/proc/{node.process.pid}/stat", encoding="ascii") as line:
        words = line.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def bytes_on_disk(node):
    """Their lengths, after a stop and a start: what is only in the write-ahead log has gone into its tables."""
    node.stop()
    node.start()
    total = 0
    for folder, _, files in os.walk(os.path.join(node.folder, "data")):
        total += sum(os.stat(os.path.join(folder, name)).st_size for name in files)
    return total


def say_rate(run, name, figure):
    run.say(name, figure["rate"], p50_ms=figure["p50_us"] / 1000, p99_ms=figure["p99_us"] / 1000,
            cpu_us=figure["cpu_us"])


def measure_operations(run):
    with facilities("hospital") as (node,):
        run.say("memory.idle", memory(node, "VmRSS"))
        steps = ["put.1", "put.64", "get.1", "get.64", "get_batch.16"]
        for name, figure in run.load(node, *steps).items():
            say_rate(run, name, figure)
        run.rows["get_batch.16"]["ours"] *= 16
        say_rate(run, "put_stream.64", run.load(node, "put_stream.64")["put_stream.64"])
        run.say("memory.load", memory(node, "VmHWM"))
        watches = run.load(node, "watch.64")
        run.say("watch.64", watches["watch.64"]["number"],
                None if watches["watches"]["number"] == 64 else
                f"the node let {watches['watches']['number']:.0f} watches be open at once")
        flood = run.load(node, "flood.256")
        run.say("memory.flood", memory(node, "VmHWM"),
                f"256 writes of 1 MiB in flight, {flood['flood']['rate']:.0f} answers a second, "
                f"{flood['flood.refused']['number']:.0f} refused")


def measure_transfers(run):
    mib = run.size("transfer_mib")
    path = os.path.join(run.folder, "transfer")
    with open(path, "wb") as out:
        for _ in range(mib):
            out.write(os.urandom(1 << 20))
    with facilities("hospital") as (node,):
        patient = run.load(node, "patient")["patient"]["id"]
        begin = time.monotonic()
        done = cli(node, "upload", patient, path, "--class", CLASS)
        run.say("upload.1GiB", mib / (time.monotonic() - begin), mib != 1024 and f"{mib} MiB")
        begin = time.monotonic()
        subprocess.run([CHARTMESH, "download", patient, done["document"], "--version",
                        done["version"], "--out", path + ".back", "--profile",
                        node.profile, "--target", node.client], stdout=subprocess.DEVNULL, check=True)
        run.say("download.1GiB", mib / (time.monotonic() - begin), mib != 1024 and f"{mib} MiB")
        same = subprocess.run(["cmp", "-s", path, path + ".back"], check=False).returncode == 0
        if not same:
            raise RuntimeError("what came down is not what went up")


def measure_storage(run):
    versions = run.size("versions")
    with facilities("hospital") as (node,):
        run.load(node, "fill.64")        # patients and keys are there
        before, reads = bytes_on_disk(node), cli(node, "status", profile=node.admin)["log_size"]
        run.load(node, f"fill.{versions}")
        node.kill()
        begin = time.monotonic()
        node.start()
        run.say("start.kill", time.monotonic() - begin, f"with {versions} versions")
        after = bytes_on_disk(node)
        run.say("bytes.document", (after - before) / versions)
        run.load(node, "fill.64", "get.64")
        log_size = cli(node, "status", profile=node.admin)["log_size"]
        reads = log_size - reads - versions - 64
        run.say("bytes.read", (bytes_on_disk(node) - after) / max(reads, 1), f"of {reads} reads")


def measure_audit(run):
    count = run.size("audited")
    arguments = os.path.join(run.folder, "arguments")
    with facilities("hospital") as (node,):
        auditor = node.issue("auditor", "desk")
        patient = run.load(node, "patient")["patient"]["id"]
        subprocess.run([CHARTMESH, "authority", "grant", "--holder", read_profile(auditor)["principal"], "--key",
                        os.path.join(os.path.dirname(auditor), "audit.pub"), "--profile", node.admin, "--target",
                        node.client], stdout=subprocess.DEVNULL, check=True)
        run.load(node, "of", patient, f"fill.{count}")
        time.sleep(1.5)                  # a map epoch
        cpu, answers = cpu_ms(node), 3
        for answer in range(answers):
            bundle = os.path.join(run.folder, f"evidence.{answer}")
            subprocess.run([CHARTMESH, "audit", "query", patient, "--out", bundle, "--args", arguments, "--profile",
                            auditor, "--target", node.client], stdout=subprocess.DEVNULL, check=True)
        run.say("audit.1000", (cpu_ms(node) - cpu) / answers * 1000 / count,
                count != 1000 and f"of {count} entries, as if of 1000")
    with open(arguments, encoding="utf-8") as line:
        verify = [CHARTMESH, "audit", "verify", bundle, *line.read().split()]
    begin = time.monotonic()
    done = subprocess.run(verify, stdout=subprocess.PIPE, text=True, check=False)
    run.say("verify", count / (time.monotonic() - begin),
            done.returncode not in (0, 3) and f"it said {done.stdout.splitlines()[:1]}")


def measure_replication(run):
    count = run.size("replicated")
    with facilities("hospital", "clinic") as (hospital, clinic):
        patient = run.load(hospital, "patient")["patient"]["id"]
        subprocess.run([CHARTMESH, "consent", "grant", patient, "--to", clinic.domain, "--profile", hospital.profile,
                        "--target", hospital.client], stdout=subprocess.DEVNULL, check=True)
        reach = run.load(hospital, f"reach.{run.size('reached')}", patient, second_profile=clinic.profile,
                         second_target=clinic.client)
        figure = next(iter(reach.values()))
        run.say("reach", figure["p50_us"] / 1000, p50_ms=figure["p50_us"] / 1000, p99_ms=figure["p99_us"] / 1000)
        clinic.stop()
        run.load(hospital, "of", patient, f"fill.{count}")
        clinic.start()
        held = lambda: cli(clinic, "status", profile=clinic.admin)["versions"]  # noqa: E731
        first = held()
        begin, last, end = time.monotonic(), first, time.monotonic() + 120
        while last < first + 1 and time.monotonic() < end:
            begin, last = time.monotonic(), held()
        from_ = last
        target = run.size("reached") + count
        while last < target and time.monotonic() < end:
            time.sleep(0.05)
            last = held()
        run.say("replicate", (last - from_) / (time.monotonic() - begin),
                last < target and f"only {last} of {target} had come after two minutes")


def measure_primitives(run):
    for figure in run.run("primitives", run.folder, run.size("primitive_seconds")):
        run.primitives[figure["name"]] = figure
    run.say("consent.50", run.primitives["consent.50"]["cpu_us"])
    for name, limit in limits(run.primitives, os.cpu_count()).items():
        run.rows.setdefault(name, {})["limit"] = limit


# -- The others

def measure_peers(run):
    certs = os.path.join(run.folder, "certs")
    os.makedirs(certs, mode=0o700)
    list(run.run("make_certs", certs))
    os.chmod(os.path.join(certs, "client.key"), 0o600)
    for name, (start, program) in PEERS.items():
        folder = os.path.join(run.folder, name)
        os.makedirs(folder, mode=0o711)
        try:
            if not os.access(f"{BIN}/tests/bench/{program}", os.X_OK):
                raise Absent(f"{name}: {program} was not built: package libpq-dev is not installed")
            with start(folder, certs) as (version, arguments):
                run.versions.append(version)
                for figure in run.run(program, *arguments, run.size("seconds")):
                    peers = run.rows.setdefault(figure["name"], {}).setdefault("peers", {})
                    peers[name] = figure["rate"]
                    run.rows[figure["name"]].setdefault("peers_p99_ms", {})[name] = figure["p99_us"] / 1000
        except (Absent, RuntimeError, subprocess.SubprocessError) as why:
            run.note(str(why))
        shutil.rmtree(folder, ignore_errors=True)


# -- The table

def conditions(run, began):
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    sync = run.primitives.get("sync", {})
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "took_s": round(time.monotonic() - began), "machine": f"{platform.machine()}, {model}".rstrip(", "),
        "cores": os.cpu_count(), "kernel": platform.release(), "load_before": run.load_before,
        "node": subprocess.run([CHARTMESHD, "--version"], capture_output=True, text=True,
                               check=False).stdout.strip(),
        "peers": run.versions, "document_bytes": DOCUMENT, "seconds_each": run.size("seconds"),
        "sync_4KiB_p50_us": sync.get("p50_us"), "sync_4KiB_p99_us": sync.get("p99_us"), "quick": run.quick,
    }


def number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(run, about):
    out = [f"chartmesh: figures of one run, {about['date']}, {about['took_s']} s",
           f"  {about['cores']} cores ({about['machine']}), Linux {about['kernel']}; the load is on the same cores; "
           f"{about['load_before']:.1f} others wanted them before",
           f"  documents of {DOCUMENT} bytes, mutual TLS 1.3 on loopback, synced writes: 4 KiB take "
           f"{number(about['sync_4KiB_p50_us'])} us (p99 {number(about['sync_4KiB_p99_us'])})",
           f"  {about['seconds_each']} s each after a warm-up; beside it: {', '.join(run.versions) or 'nobody'}", "",
           f"  {'':16}{'unit':>12}{'ours':>10}{'p50 ms':>9}{'p99 ms':>9}{'limit':>10}{'of it':>7}{'etcd':>10}"
           f"{'PostgreSQL':>12}"]
    for name, (unit, _) in ROWS.items():
        row = run.rows.get(name)
        if row is None or (run.only and name not in run.only):
            continue
        ours, limit, peers = row.get("ours"), row.get("limit"), row.get("peers", {})
        of_it = f"{100 * ours / limit:.0f} %" if ours and limit else "-"
        out.append(f"  {name:16}{unit:>12}{number(ours):>10}{number(row.get('p50_ms')):>9}"
                   f"{number(row.get('p99_ms')):>9}{number(limit):>10}{of_it:>7}{number(peers.get('etcd')):>10}"
                   f"{number(peers.get('postgresql')):>12}")
    out += ["", *(f"  {note}" for note in run.notes), "", "  What the limits are made of, each alone:"]
    out.append(f"  {'':22}{'per second':>12}{'p50 us':>10}{'CPU us':>10}")
    out += [f"  {name:22}{number(part['rate']):>12}{number(part['p50_us']):>10}{number(part['cpu_us']):>10}"
            for name, part in run.primitives.items()]
    return "\n".join(out)


def as_json(run, about):
    rows = [{"name": name, "unit": ROWS[name][0], "ours": row.get("ours"), "limit": row.get("limit"),
             "peers": row.get("peers", {}),
             **{key: value for key, value in row.items() if key not in ("ours", "limit", "peers")}}
            for name, row in run.rows.items() if name in ROWS and (not run.only or name in run.only)]
    return {"conditions": about, "rows": rows, "primitives": list(run.primitives.values()), "notes": run.notes}


def into_docs(text):
    """The last section of docs/figures.md becomes this table."""
    heading, path = "## One run\n", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/figures.md")
    with open(path, encoding="utf-8") as page:
        before = page.read().split(heading, 1)[0]
    with open(path, "w", encoding="utf-8") as page:
        page.write(f"{before}{heading}\n```text\n{text}\n```\n")


PARTS = {"primitives": measure_primitives, "operations": measure_operations, "peers": measure_peers,
         "transfers": measure_transfers, "storage": measure_storage, "audit": measure_audit,
         "replication": measure_replication}


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description="One run, one table.")
    parser.add_argument("--json", metavar="FILE", help="the same as JSON")
    parser.add_argument("--quick", action="store_true", help="a minute and a half, smaller sizes")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], choices=list(ROWS), help="only these rows")
    parser.add_argument("--versions", type=int, metavar="N", help="so many in start.kill and bytes.*")
    parser.add_argument("--docs", action="store_true", help="and put the table into docs/figures.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    folder = tempfile.mkdtemp(prefix="chartmesh-bench.")
    os.chmod(folder, 0o711)              # PostgreSQL may run as another user
    run = Run(options, folder)
    run.load_before = os.getloadavg()[0]
    failed = 0
    try:
        for place, measure in PARTS.items():
            if place == "peers" and run.only and not run.wants("operations"):
                continue
            if place not in ("primitives", "peers") and not run.wants(place):
                continue
            print(f"bench: {place}", file=sys.stderr)
            try:
                measure(run)
            except (RuntimeError, AssertionError, subprocess.SubprocessError) as why:
                failed += 1
                run.note(f"{place}: not measured: {why}")
        about = conditions(run, began)
        print(table(run, about))
        if options.docs:
            into_docs(table(run, about))
        if options.json:
            with open(options.json, "w", encoding="utf-8") as out:
                json.dump(as_json(run, about), out, indent=1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


sys.exit(main())
