"""What the parts allow: for each operation, how often per second it could be done if nothing but its unavoidable parts
took time, each as measured alone in this same run (docs/figures.md says what is counted and what is not).

A part is a list of (how often, primitive's name). `p` are the primitives: name -> {"cpu_us", "p50_us", ...}.
"""

# On a processor, for each operation. The echo is both ends of a call: the generator is on the same cores.
WRITE = [(1, "sign"), (1, "content_seal"), (1, "wrap"), (1, "entry_seal")]
READ = [(1, "unwrap"), (1, "content_open"), (1, "entry_seal")]
CHUNK_UP = [(1 / 4, "echo_up.256KiB"), (1, "chunk_hash"), (1, "chunk_seal"), (1 / 16, "commit_chunks.16")]
CHUNK_DOWN = [(1 / 4, "echo_down.256KiB"), (1, "chunk_open"), (1, "chunk_hash")]
CHUNKS_PER_MIB = 16


def cpu_us(p, parts):
    return sum(times * p[name]["cpu_us"] for times, name in parts)


def one_after_the_other(p, parts):
    """One call in flight: each part waits for the one before it."""
    return 1e6 / sum(times * p[name]["p50_us"] for times, name in parts)


def batch(p, cores, size):
    """Documents per second: a call and a log entry for `size` of them, the entries of four calls in one commit."""
    parts = [(1, "unwrap"), (1, "content_open"), (1 / size, f"echo_down.{size}"), (1 / size, "entry_seal")]
    group = [(1 / (4 * size), "commit_read.1"), (1 / (4 * size), "sign")]
    return min(cores * 1e6 / cpu_us(p, parts + group), 4 * size * 1e6 / p["commit_read.1"]["p50_us"])


def in_flight(p, cores, calls, parts, group):
    """Many in flight: all cores are busy, or the disk is: one group of `calls` for each synced commit."""
    by_cpu = cores * 1e6 / cpu_us(p, parts + [(1 / calls, group), (1 / calls, "sign")])
    by_disk = calls * 1e6 / p[group]["p50_us"]
    return min(by_cpu, by_disk)


def mib(p, cores, parts):
    return cores * 1e6 / cpu_us(p, parts) / CHUNKS_PER_MIB


def limits(p, cores):
    signed_checkpoint = (1, "sign")
    return {
        "put.1": one_after_the_other(p, [(1, "echo_up.1"), *WRITE, signed_checkpoint, (1, "commit.1")]),
        "put.64": in_flight(p, cores, 64, [(1, "echo_up.64"), *WRITE], "commit.64"),
        "put_stream.64": in_flight(p, cores, 64, [(1, "stream_up"), *WRITE], "commit.64"),
        "get.1": one_after_the_other(p, [(1, "echo_down.1"), *READ, signed_checkpoint, (1, "commit_read.1")]),
        "get.64": in_flight(p, cores, 64, [(1, "echo_down.64"), *READ], "commit_read.64"),
        "get_batch.16": batch(p, cores, 16),
        "upload.1GiB": mib(p, cores, CHUNK_UP),
        "download.1GiB": mib(p, cores, CHUNK_DOWN),
    }
