"""etcd and PostgreSQL as Debian ships them, started by us on loopback, in a folder of the run, over mutual TLS and with
synced writes, which is their default. Each is stopped when its `with` ends.

A peer that cannot be had raises Absent, whose text goes under the table.
"""
import contextlib
import glob
import os
import pwd
import shutil
import subprocess
import time

from nodes import free_port

START_S = 30


class Absent(Exception):
    pass


def await_start(process, what, ready):
    end = time.monotonic() + START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            raise Absent(f"{what} did not start")
        time.sleep(0.05)


def stop(process):
    process.terminate()
    try:
        process.wait(START_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def etcd(folder, certs):
    """Yields (version, arguments of etcd_load without the seconds)."""
    program = shutil.which("etcd")
    if not program:
        raise Absent("etcd: package etcd-server is not installed")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    client, peer = free_port(), free_port()
    url = f"https://127.0.0.1:{client}"
    with open(os.path.join(folder, "etcd.log"), "wb") as log:
        process = subprocess.Popen(
            [program, "--name", "bench", "--data-dir", os.path.join(folder, "etcd"),
             "--listen-client-urls", url, "--advertise-client-urls", url,
             "--listen-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-cluster", f"bench=http://127.0.0.1:{peer}",
             "--client-cert-auth", "--trusted-ca-file", f"{certs}/ca.pem", "--cert-file", f"{certs}/server.pem",
             "--key-file", f"{certs}/server.key", "--enable-grpc-gateway=false", "--log-level", "error",
             "--logger", "zap"], stdout=log, stderr=log)
    try:
        await_start(process, "etcd", lambda: listens(client))
        yield f"etcd {version}", [certs, f"127.0.0.1:{client}"]
    finally:
        stop(process)


def listens(port):
    """Somebody listens on 127.0.0.1:port."""
    wanted = f"0100007F:{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as lines:
        return any(line.split()[1] == wanted and line.split()[3] == "0A" for line in list(lines)[1:])


@contextlib.contextmanager
def postgresql(folder, certs):
    """Yields (version, arguments of postgresql_load without the seconds)."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))
    if not found:
        raise Absent("PostgreSQL: package postgresql is not installed")
    binaries = os.path.dirname(found[-1])
    user = None
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError as error:
            raise Absent("PostgreSQL: refuses to run as root, and there is no user postgres") from error
    data, port = os.path.join(folder, "postgresql"), free_port()
    os.makedirs(data, mode=0o700)
    for name in ("ca.pem", "server.pem", "server.key"):
        shutil.copy(os.path.join(certs, name), folder)
    os.chmod(os.path.join(folder, "server.key"), 0o600)
    if user:
        for path in (folder, data, *(os.path.join(folder, name) for name in ("ca.pem", "server.pem", "server.key"))):
            shutil.chown(path, user, user)
    log = os.path.join(folder, "postgresql.log")
    with open(log, "wb") as out:
        subprocess.run([f"{binaries}/initdb", "-D", data, "-A", "trust", "-U", "bench", "-E", "UTF8", "--no-locale"],
                       stdout=out, stderr=out, cwd=folder, user=user, check=True)
        with open(os.path.join(data, "pg_hba.conf"), "w", encoding="ascii") as rules:
            rules.write("hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n")
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "ssl": "on",
                    "ssl_ca_file": f"{folder}/ca.pem", "ssl_cert_file": f"{folder}/server.pem",
                    "ssl_key_file": f"{folder}/server.key", "ssl_min_protocol_version": "TLSv1.3",
                    "fsync": "on", "synchronous_commit": "on"}
        process = subprocess.Popen(
            [f"{binaries}/postgres", "-D", data, *(word for key, value in settings.items()
                                                   for word in ("-c", f"{key}={value}"))],
            stdout=out, stderr=out, cwd=folder, user=user)
    version = subprocess.run([f"{binaries}/postgres", "--version"], capture_output=True, text=True,
                             check=True).stdout.split()[2]
    try:
        asked = [f"{binaries}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        await_start(process, "PostgreSQL", lambda: subprocess.run(asked, check=False).returncode == 0)
        yield f"PostgreSQL {version}", [certs, str(port)]
    finally:
        stop(process)


PEERS = {"etcd": (etcd, "etcd_load"), "postgresql": (postgresql, "postgresql_load")}
