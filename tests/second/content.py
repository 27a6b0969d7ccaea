"""Chunk trees, the codec, sealed rows (docs/protocol 09)."""
import ctypes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from statement import sha256, u64
from wire import Refused, demand

CHUNK = 65536
ZSTD = ctypes.CDLL("libzstd.so.1")
ZSTD.ZSTD_decompress.restype = ctypes.c_size_t
ZSTD.ZSTD_compress.restype = ctypes.c_size_t
ZSTD.ZSTD_findFrameCompressedSize.restype = ctypes.c_size_t


def chunks(plain):
    return [plain[at:at + CHUNK] for at in range(0, len(plain), CHUNK)]


def leaf(salt, index, chunk):
    return sha256(b"\x00", b"chartmesh chunk v1\n", salt, u64(index), chunk)


def leaves(salt, plain):
    return [leaf(salt, i, chunk) for i, chunk in enumerate(chunks(plain))]


def commitment(salt, length, root):
    return sha256(b"chartmesh content v1\n", salt, u64(length), root)


def frame_header(data):
    """RFC 8878, 3.1.1.1: content size, window; Refused where 09, 2.1 forbids it."""
    demand(len(data) >= 5 and data[:4] == bytes.fromhex("28b52ffd"), "no zstd frame")
    flags, at = data[4], 5
    demand(flags & 0x08 == 0, "a reserved bit")
    single, window = flags >> 5 & 1, None
    if not single:
        demand(len(data) > at, "cut")
        exponent, mantissa = data[at] >> 3, data[at] & 7
        window = (1 << 10 + exponent) + ((1 << 10 + exponent) >> 3) * mantissa
        at += 1
    size = (0, 1, 2, 4)[flags & 3]
    demand(len(data) >= at + size and int.from_bytes(data[at:at + size], "little") == 0, "a dictionary")
    at += size
    size = (1 if single else 0, 2, 4, 8)[flags >> 6]
    demand(size and len(data) >= at + size, "no content size")
    length = int.from_bytes(data[at:at + size], "little") + (256 if size == 2 else 0)
    demand((length if window is None else window) <= 131072, "a window too large")
    return length


def uncode(coded, size):
    demand(coded, "codec missing")
    codec, data = coded[0], coded[1:]
    if codec == 0:
        demand(len(data) == size, "another length")
        return data
    demand(codec == 1, "unknown codec")
    demand(frame_header(data) == size, "another length")
    demand(ZSTD.ZSTD_findFrameCompressedSize(data, ctypes.c_size_t(len(data))) == len(data), "not one frame")
    out = ctypes.create_string_buffer(max(size, 1))
    got = ZSTD.ZSTD_decompress(out, ctypes.c_size_t(size), data, ctypes.c_size_t(len(data)))
    demand(got == size, "does not decode")
    return out.raw[:size]


def zstd(data, level):
    out = ctypes.create_string_buffer(len(data) + 1024)
    return out.raw[:ZSTD.ZSTD_compress(out, ctypes.c_size_t(len(out)), data, ctypes.c_size_t(len(data)), level)]


def hkdf(secret, salt, info):
    return HKDF(SHA256(), 32, salt, info).derive(secret)


def open_gcm(key, nonce, aad, sealed):
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except (InvalidTag, ValueError):
        raise Refused("does not open") from None


def content_keys(dek, content_id):
    return hkdf(dek, content_id, b"chartmesh content key v1\n"), hkdf(dek, content_id, b"chartmesh header key v1\n")


def chunk_aad(content_id, index, last):
    return b"chartmesh chunk seal v1\n" + content_id + u64(index) + bytes([last])


def open_chunk(key, content_id, index, last, row):
    return open_gcm(key, row[:12], chunk_aad(content_id, index, last), row[12:])


def seal_chunk(key, content_id, index, last, coded, nonce):
    return nonce + AESGCM(key).encrypt(nonce, coded, chunk_aad(content_id, index, last))


def open_meta(key, content_id, row):
    plain = open_gcm(key, row[:12], b"chartmesh content meta v1\n" + content_id, row[12:])
    demand(len(plain) == 72, "length")
    return plain[:32], int.from_bytes(plain[32:40], "big"), plain[40:]


def open_header(key, version_id, row):
    """(content id, flags, envelope)."""
    return row[:16], row[16], open_gcm(key, row[17:29], version_id, row[29:])


def open_entry(log_key, audit_key, c, row):
    """(key ref, r, entry)."""
    n = row[:32]
    outer = open_gcm(hkdf(log_key, n, b"chartmesh entry outer v1\n"), bytes(12), c, row[32:])
    inner = open_gcm(hkdf(audit_key, n, b"chartmesh entry seal v1\n"), bytes(12), c, outer[16:])
    return outer[:16], inner[:32], inner[32:]


def open_statement(audit_key, identity, row):
    key = hkdf(audit_key, identity, b"chartmesh statement seal v1\n")
    return open_gcm(key, row[:12], identity, row[12:])
