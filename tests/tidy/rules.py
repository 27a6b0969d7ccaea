"""The rules of the house as data. tidy.py applies them, docs/architecture.md explains them."""

# What may stand at the top of the repository.
TOP_FOLDERS = [".ci", "bazel", "client", "docs", "node", "proto", "replication", "tests"]
TOP_FILES = [
    ".bazelignore", ".bazelrc", ".clang-format", ".clang-tidy", ".gitignore", "BUILD", "LICENSE", "README.md",
    "WORKSPACE", "dev",
]

# Who may include whom, among our folders. The longest folder that fits a file decides; a folder may always
# include itself. Below, groups of what several may use.
WIRE = ["proto/base", "proto/chartmesh/v1"]
AGREED = WIRE + ["proto/crypto", "proto/statement", "proto/content", "proto/merkle", "proto/consent"]
MAY_INCLUDE = {
    "proto/base": [],
    "proto/chartmesh/v1": ["proto/base"],
    "proto/crypto": WIRE,  # of the messages only ErrorReason; so too in content and merkle
    "proto/statement": WIRE + ["proto/crypto"],
    "proto/content": WIRE + ["proto/crypto"],
    "proto/merkle": WIRE + ["proto/crypto"],
    "proto/consent": WIRE + ["proto/statement"],
    "proto/rpc": WIRE,
    "proto/vectors": AGREED,
    "replication": AGREED,
    "node/world": ["proto/base"],
    "node/config": AGREED,
    "node/store": AGREED,
    "node/keys": AGREED + ["node/config", "node/store", "node/world"],
    "node/log": AGREED + ["node/config", "node/store", "node/world", "node/keys"],
    "node/chart": AGREED + ["node/config", "node/store", "node/world", "node/keys", "node/log"],
    "node/gate": AGREED + ["node/config", "node/store", "node/world", "node/keys", "node/log", "node/chart"],
    "node/service": AGREED + [
        "node/config", "node/store", "node/world", "node/keys", "node/log", "node/chart", "node/gate",
    ],
    "node/peer": ["proto", "replication"] + [
        "node/config", "node/store", "node/world", "node/keys", "node/log", "node/chart", "node/gate",
        "node/service",
    ],
    "node": ["proto", "replication", "node"],
    "client": ["proto"],
    "tests": ["proto", "replication", "node", "client"],
}
# A file whose name ends so is a test: it may also include tests/.
TEST_SUFFIXES = ["_test.c", "_fuzz.c", "_bench.c"]

# Each outside library has one door: (what the include begins with, folders that may, why).
# Files of tests (see above) may what `tests` may.
DOORS = [
    ("openssl/", ["proto/crypto"], "use proto/crypto"),
    ("grpc", ["proto/rpc"], "use proto/rpc"),
    ("rocksdb/", ["node/store"], "use node/store"),
    ("zstd", ["proto/content"], "use proto/content"),
    ("zdict", ["proto/content"], "use proto/content"),
    ("jansson", ["node", "client", "tests"], "read JSON in node or client"),
    ("confuse", ["node/config"], "read the configuration in node/config"),
    ("postgresql/", ["tests/bench"], "only figures compare with PostgreSQL"),
    ("microhttpd", ["node/metrics"], "use node/metrics"),
    ("cmocka", ["tests/lib"], "include tests/lib/test.h"),
    ("protobuf-c/", ["proto", "replication", "node", "client", "tests"], "use proto/chartmesh/v1"),
    ("pthread", ["node/world", "proto/rpc", "client", "tests"], "threads belong to node/world"),
    ("threads.h", ["node/world", "proto/rpc", "client", "tests"], "threads belong to node/world"),
    ("semaphore", ["node/world", "proto/rpc", "client", "tests"], "threads belong to node/world"),
    # proto/crypto turns a certificate's calendar times into numbers; it reads no clock (see CLOCK_CALLS).
    ("time.h", ["node/world", "proto/rpc", "proto/crypto", "client", "tests"], "time comes from node/world"),
    ("sys/time", ["node/world", "proto/rpc", "client", "tests"], "time comes from node/world"),
    ("ucontext", ["tests"], "stacks of one's own are the simulator's"),
    ("sanitizer/", ["tests", "proto/rpc"], "what sanitizers cannot see: the simulator's stacks, gRPC's tags"),
    ("sys/timerfd", ["node/world", "proto/rpc"], "timers belong to node/world"),
    ("sys/random", ["node/world", "proto/crypto"], "randomness comes from proto/crypto or node/world"),
    ("sys/socket", ["proto/rpc", "node/metrics", "client", "tests"], "the network is behind proto/rpc"),
    ("netinet/", ["proto/rpc", "node/metrics", "client", "tests"], "the network is behind proto/rpc"),
    ("linux/tcp", ["proto/rpc"], "the network is behind proto/rpc"),
    ("arpa/", ["proto/rpc", "node/metrics", "client", "tests"], "the network is behind proto/rpc"),
    ("netdb", ["proto/rpc", "client", "tests"], "the network is behind proto/rpc"),
]
# Outside headers that need no door: the C library and POSIX.
PLAIN = """
assert ctype dirent endian errno fcntl fnmatch ftw getopt glob inttypes libgen limits locale malloc math poll regex sched
setjmp signal spawn stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib string strings sysexits termios
unistd wait wchar
sys/eventfd sys/file sys/ioctl sys/mman sys/param sys/prctl sys/resource sys/stat sys/statvfs sys/syscall sys/types
sys/uio sys/un sys/utsname sys/wait sys/auxv linux/limits
""".split()
# Plain headers that these folders may not use: they are pure.
PURE_FOLDERS = [
    "proto/base", "proto/chartmesh/v1", "proto/statement", "proto/content", "proto/merkle", "proto/consent",
    "replication",
]
PURE_MAY_NOT = [
    "dirent", "fcntl", "ftw", "poll", "signal", "spawn", "unistd", "sys/file", "sys/mman", "sys/stat", "sys/wait",
]

# Calls that nobody makes, and what to do instead.
BANNED_CALLS = {
    "alloca": "use the arena",
    "atof": "use strtod and check its end",
    "atoi": "use strtol and check its end",
    "atol": "use strtol and check its end",
    "ctime": "write the time as RFC 3339",
    "gets": "use fgets",
    "gmtime": "use gmtime_r",
    "localtime": "write the time in UTC",
    "popen": "use posix_spawn",
    "rand": "use node/world's randomness",
    "sprintf": "use snprintf or build_text",
    "srand": "use node/world's randomness",
    "strcat": "use a builder",
    "strcpy": "use a builder or memcpy with a length",
    "strncat": "use a builder",
    "strncpy": "use snprintf or memcpy with a length",
    "strtok": "use a reader",
    "system": "use posix_spawn",
    "vsprintf": "use vsnprintf",
}
# Calls that read a clock or wait, outside of the one place for it in node (and nowhere in what is pure).
CLOCK_CALLS = ["clock_gettime", "gettimeofday", "nanosleep", "sleep", "time", "usleep"]
CLOCK_FREE = ["proto", "replication", "node"]
CLOCK_DOORS = ["node/world", "proto/rpc"]

MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 1500
# "path:function": why it is better long. A table of cases read from top to bottom is such a reason.
LONG_FUNCTIONS = {}

# Folders and hosts of somebody's machine.
MACHINE = [
    (r"/home/\w", "name no home folder"),
    (r"(?<![\w.])/root/", "name no home folder"),
    (r"(?<![\w.])/work/\w", "name no folder of one machine"),
    (r"\b192\.168\.\d+\.\d+", "use 127.0.0.1 or a name under .example"),
    (r"(?<![\d.])10\.\d+\.\d+\.\d+(?![\d.])", "use 127.0.0.1 or a name under .example"),
]
UNFINISHED = r"\b(TODO|FIXME|XXX|HACK)\b"
