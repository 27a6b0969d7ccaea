"""Facilities of one network as real processes on loopback: folders made by `chartmesh`, nodes run by `chartmeshd`.

    with Network(chartmesh, chartmeshd, ["hospital", "clinic"]) as network:
        node = network.nodes["hospital"]
        node.start()
        profile = node.issue("app", "emr")

Every process is ended by its id, and the folder removed, when the `with` ends.
"""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

READY_S = 30
SUPPRESSIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lsan.supp")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read_profile(path):
    """A profile's keys, with files by their full names."""
    out = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                out[key.strip()] = value.strip()
    for key in ("ca", "certificate", "key", "trust", "audit_key"):
        if key in out:
            out[key] = os.path.join(os.path.dirname(path), out[key])
    return out


class Node:
    def __init__(self, network, name):
        self.network, self.name = network, name
        self.folder = os.path.join(network.folder, name)
        self.domain = name + ".example"
        self.peer_port = free_port()
        self.config = os.path.join(self.folder, "chartmeshd.conf")
        self.log = os.path.join(self.folder, "log")
        self.process = self.client = self.peer = None
        self.environment = {"LSAN_OPTIONS": f"suppressions={SUPPRESSIONS}:print_suppressions=0", **os.environ}

    def make(self):
        self.network.cli("node", "init", "--out", self.folder, "--network", self.network.trust, "--domain",
                         self.domain, "--name", self.name, "--client-listen", "127.0.0.1:0", "--peer-listen",
                         f"127.0.0.1:{self.peer_port}")
        with open(self.config, "a", encoding="utf-8") as config:
            config.write("\nlog { level = debug }\nlimits { drain_s = 5 }\n")

    def issue(self, kind, name):
        """A client certificate; returns its profile's path."""
        self.network.cli("node", "issue", "--node", self.folder, kind, name)
        return os.path.join(self.folder, "clients", f"{kind}-{name}", "profile")

    def spawn(self, *args):
        with open(self.log, "ab") as log:
            return subprocess.Popen([self.network.chartmeshd, "--config", self.config, *args],
                                    stdout=subprocess.DEVNULL, stderr=log, env=self.environment)

    def start(self):
        ready = os.path.join(self.folder, "ready")
        if os.path.exists(ready):
            os.unlink(ready)
        self.process = self.spawn("--ready-file", ready)
        end = time.monotonic() + READY_S
        while not os.path.exists(ready):
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{self.name} did not start: {self.log_text()[-2000:]}")
            time.sleep(0.01)
        with open(ready, encoding="utf-8") as line:
            words = dict(word.split("=", 1) for word in line.read().split()[1:])
        self.client, self.peer = words["client"], words["peer"]

    def stop(self, how=signal.SIGTERM):
        """Ends the process; returns its exit code."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.send_signal(how)
        return process.wait(READY_S)

    def kill(self):
        return self.stop(signal.SIGKILL)

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()


class Relay:
    """A line that can be cut (tests/lib/relay.c)."""

    def __init__(self, program, target):
        self.process = subprocess.Popen([program, "127.0.0.1:0", target], stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().split()[1]

    def cut(self):
        self.process.send_signal(signal.SIGUSR1)
        self.process.stdout.readline()

    def heal(self):
        self.process.send_signal(signal.SIGUSR2)
        self.process.stdout.readline()

    def stop(self):
        self.process.terminate()
        self.process.wait(READY_S)
        self.process.stdout.close()


class Network:
    """With `relay` (the program) two nodes dial each other through lines that `cut` and `heal` can cut and heal."""

    def __init__(self, chartmesh, chartmeshd, names, relay=None):
        self.chartmesh, self.chartmeshd = os.path.abspath(chartmesh), os.path.abspath(chartmeshd)
        self.folder = tempfile.mkdtemp(prefix="chartmesh-e2e.")
        self.operators = os.path.join(self.folder, "operators")
        self.trust = os.path.join(self.operators, "trust")
        self.nodes = {name: Node(self, name) for name in names}
        self.relay, self.lines = relay and os.path.abspath(relay), []

    def add(self, name):
        """One more facility, listed by the operators; whoever is to know takes the new trust file."""
        node = self.nodes[name] = Node(self, name)
        node.make()
        self.cli("network", "add", "--network", self.operators, os.path.join(node.folder, "membership"))
        self.cli("node", "trust", "--node", node.folder, self.trust)
        return node

    def draw_lines(self):
        for node in self.nodes.values():
            for other in self.nodes.values():
                if other is not node:
                    line = Relay(self.relay, f"127.0.0.1:{other.peer_port}")
                    self.lines.append(line)
                    with open(node.config, "a", encoding="utf-8") as config:
                        config.write(f'dial {other.domain} {{ address = "{line.address}" }}\n')

    def cut(self):
        for line in self.lines:
            line.cut()

    def heal(self):
        for line in self.lines:
            line.heal()

    def cli(self, *args, check=True, **kwargs):
        done = subprocess.run([self.chartmesh, *args], capture_output=True, timeout=60, check=False, **kwargs)
        if check and done.returncode != 0:
            raise AssertionError(f"chartmesh {' '.join(args)}: {done.returncode}\n{done.stderr.decode()}")
        return done

    def __enter__(self):
        self.cli("network", "init", "--out", self.operators, "--name", "test")
        for node in self.nodes.values():
            node.make()
        self.cli("network", "add", "--network", self.operators,
                 *[os.path.join(node.folder, "membership") for node in self.nodes.values()])
        for node in self.nodes.values():
            self.cli("node", "trust", "--node", node.folder, self.trust)
        if self.relay:
            self.draw_lines()
        return self

    def __exit__(self, *_):
        for node in self.nodes.values():
            node.kill()
        for line in self.lines:
            line.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
