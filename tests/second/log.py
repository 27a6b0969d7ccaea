"""Trees, chains, the map, notes, tiles (docs/protocol 06)."""
import base64

from statement import sha256, u64, verify
from wire import Refused, demand

EMPTY = sha256(b"")
ZERO = bytes(32)


def node(left, right):
    return sha256(b"\x01", left, right)


def leaf_of(commitment):
    return sha256(b"\x00", b"chartmesh leaf v1\n", commitment)


def commitment(r, entry):
    return sha256(b"chartmesh entry v1\n", r, entry)


def split(n):
    return 1 << (n - 1).bit_length() - 1


def root(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY
    k = split(len(leaves))
    return node(root(leaves[:k]), root(leaves[k:]))


def path(index, leaves):
    if len(leaves) < 2:
        return []
    k = split(len(leaves))
    if index < k:
        return path(index, leaves[:k]) + [root(leaves[k:])]
    return path(index - k, leaves[k:]) + [root(leaves[:k])]


def consistency(first, leaves, whole=True):
    if first == len(leaves):
        return [] if whole else [root(leaves)]
    k = split(len(leaves))
    if first <= k:
        return consistency(first, leaves[:k], whole) + [root(leaves[k:])]
    return consistency(first - k, leaves[k:], False) + [root(leaves[:k])]


def included(leaf, index, size, hashes, wants):
    """RFC 9162, 2.1.3.2."""
    if index >= size:
        return False
    fn, sn, r = index, size - 1, leaf
    for p in hashes:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == wants


def consistent(first, second, hashes, first_root, second_root):
    """RFC 9162, 2.1.4.2; from 0 is refused, a size with itself wants an empty proof."""
    if first == 0 or first > second:
        return False
    if first == second:
        return not hashes and first_root == second_root
    if not hashes:
        return False
    hashes = ([first_root] if first & (first - 1) == 0 else []) + list(hashes)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = hashes[0]
    for c in hashes[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == first_root and sr == second_root


# ---- chains and the map ----

def patient_key(facility, patient):
    return sha256(b"chartmesh map key v1\n", facility, patient)


def actor_key(facility, who):
    return sha256(b"chartmesh map actor v1\n", facility, who)


def chain(previous, c=b""):
    return sha256(b"chartmesh chain v1\n", previous, c)


def map_value(count, last, link):
    return sha256(u64(count), u64(last), link)


def bit(key, depth):
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def map_leaf(key, value):
    return sha256(b"chartmesh map leaf v1\n", key, value)


def map_node(depth, left, right):
    return sha256(b"chartmesh map node v1\n", bytes([depth]), left, right)


def map_root(leaves, depth=0):
    """leaves: {key: value}."""
    if len(leaves) < 2:
        return next((map_leaf(k, v) for k, v in leaves.items()), ZERO)
    sides = [{k: v for k, v in leaves.items() if bit(k, depth) == side} for side in (0, 1)]
    return map_node(depth, map_root(sides[0], depth + 1), map_root(sides[1], depth + 1))


def map_proof(leaves, key):
    """(the leaf where the key's path ends or None, siblings)."""
    siblings, depth = [], 0
    while len(leaves) > 1:
        sides = [{k: v for k, v in leaves.items() if bit(k, depth) == side} for side in (0, 1)]
        own = bit(key, depth)
        siblings.append(map_root(sides[1 - own], depth + 1))
        leaves, depth = sides[own], depth + 1
    return next(iter(leaves.items()), None), siblings


def map_holds(wants, key, value, other, siblings):
    """value: it is there with this; None: absent, and its path ends at `other` (key, value) or at nothing."""
    if len(siblings) > 256 or (siblings and siblings[-1] == ZERO):
        return False
    if value is not None:
        at = map_leaf(key, value)
    elif other is None:
        at = ZERO
    else:
        if other[0] == key or any(bit(other[0], d) != bit(key, d) for d in range(len(siblings))):
            return False
        at = map_leaf(*other)
    for depth in range(len(siblings) - 1, -1, -1):
        pair = (siblings[depth], at) if bit(key, depth) else (at, siblings[depth])
        at = map_node(depth, *pair)
    return at == wants


# ---- notes ----

def note_key_id(name, kind, public):
    return sha256(name.encode() + b"\n" + bytes([kind]) + public)[:4]


def exact_base64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused("base64") from None
    demand(base64.b64encode(data).decode() == text, "base64 that is not canonical")
    return data


def read_checkpoint(text):
    lines = text.split("\n")
    demand(len(lines) == 4 and lines[3] == "", "lines")
    origin, size, hashed = lines[:3]
    demand(origin != "", "origin")
    demand(size.isascii() and size.isdigit() and (size == "0" or size[0] != "0") and int(size) < 2 ** 64, "size")
    hashed = exact_base64(hashed)
    demand(len(hashed) == 32, "root")
    return origin, int(size), hashed


def read_note(data, keys):
    """(origin, size, root, [(name, time)]). keys: [(name, type, public)]; the log's (type 1) must have signed."""
    demand(len(data) <= 16384, "too long")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("not UTF-8") from None
    demand(not any(ord(c) < 0x20 and c != "\n" for c in note), "control characters")
    cut = note.rfind("\n\n")
    demand(cut >= 0, "no empty line")
    text, lines = note[:cut + 1], note[cut + 2:].split("\n")
    demand(lines[-1] == "" and 1 <= len(lines) - 1 <= 64, "signature lines")
    known = {(name, note_key_id(name, kind, public)): (name, kind, public) for name, kind, public in keys}
    origin, size, hashed = read_checkpoint(text)
    seen, log, cosigned = set(), False, []
    for line in lines[:-1]:
        words = line.split(" ")
        demand(len(words) == 3 and words[0] == "—", "a signature line")
        name, signature = words[1], exact_base64(words[2])
        demand(name and "+" not in name and not any(c.isspace() for c in name), "a name")
        demand(len(signature) >= 5, "a signature too short")
        which = (name, signature[:4])
        if which not in known:
            continue
        demand(which not in seen, "twice")
        seen.add(which)
        name, kind, public = known[which]
        if kind == 1:
            demand(name == origin, "another log")
            demand(verify(public, text.encode(), signature[4:]), "does not verify")
            log = True
        else:
            demand(len(signature) == 76, "a cosignature's length")
            time = int.from_bytes(signature[4:12], "big")
            demand(verify(public, b"cosignature/v1\ntime %d\n" % time + text.encode(), signature[12:]), "does not verify")
            cosigned.append((name, time))
    demand(log, "not signed by the log")
    return origin, size, hashed, cosigned


def write_note(origin, size, hashed, log, witnesses=()):
    """log: a Signer; witnesses: [(name, Signer, time)]."""
    text = f"{origin}\n{size}\n{base64.b64encode(hashed).decode()}\n"
    line = lambda name, data: f"— {name} {base64.b64encode(data).decode()}\n"  # noqa: E731
    out = text + "\n" + line(origin, note_key_id(origin, 1, log.public) + log.sign(text.encode()))
    for name, signer, time in witnesses:
        signed = signer.sign(b"cosignature/v1\ntime %d\n" % time + text.encode())
        out += line(name, note_key_id(name, 4, signer.public) + u64(time) + signed)
    return out.encode()


def tile_path(level, n, width):
    parts = [f"{n % 1000:03d}"]
    while n >= 1000:
        n //= 1000
        parts.insert(0, f"x{n % 1000:03d}")
    return f"tile/{level}/" + "/".join(parts) + (f".p/{width}" if width < 256 else "")
