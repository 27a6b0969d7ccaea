"""Vectors of this implementation, for the other one: generated and mutated cases in the format of proto/vectors/README.md.

Each writer returns lines; what a line says (accept or refuse) is this implementation's own verdict.
"""
import string

import consent_text
import content
import lane
import log
import statement as st
from consent import LEVELS, PURPOSES, SENSITIVITY, Configuration
from vectors import made, refused
from wire import AS_THEY_COME, LENGTH_16, ED25519_KEYS, FREE, REQUIRED, SCHEMA, Refused, encode, put_varint, varint, wire_type


class Maker:
    def __init__(self, random):
        self.random = random
        self.signers = [st.Signer(self.some(32)) for _ in range(6)]

    def some(self, count):
        return self.random.getrandbits(8 * count).to_bytes(count, "big") if count else b""

    def chance(self, one_in):
        return self.random.randrange(one_in) == 0

    # ---- messages, by the schema ----

    def number(self, kind):
        if kind in SCHEMA.enums:
            return self.random.choice([n for n in SCHEMA.enums[kind] if n])
        if kind == "bool":
            return True
        bits = {"uint32": 32, "uint64": 64, "int64": 63, "fixed64": 64}[kind]
        return max(1, self.random.getrandbits(self.random.randint(1, bits)))

    def text(self):
        alphabet = string.ascii_letters + string.digits + "-./:éß漢𝄞"
        return "".join(self.random.choice(alphabet) for _ in range(self.random.randint(1, 12)))

    def body(self, name, field, depth):
        if field.kind == "string":
            return self.text()
        if field.kind == "bytes":
            if (name, field.name) in ED25519_KEYS:
                return self.random.choice(self.signers).public
            free = (name, field.name) in FREE
            return self.some(self.random.randint(1, 40) if free else 16 if field.name in LENGTH_16 else 32)
        return self.message(field.kind, depth + 1)

    def message(self, name, depth=1):
        out = {}
        for field in SCHEMA.messages[name].values():
            if field.name not in REQUIRED.get(name, ()) and not (depth < 6 and self.chance(2)):
                continue
            numeric = wire_type(field.kind) != 2
            one = (lambda f=field: self.number(f.kind)) if numeric else (lambda f=field: self.body(name, f, depth))
            if field.repeated:
                some = [one() for _ in range(self.random.randint(1, 3))]
                if not numeric and (name, field.name) not in AS_THEY_COME:
                    some = [x for i, x in enumerate(some) if x not in some[:i]]
                out[field.name] = some
            else:
                out[field.name] = one()
        return FIX.get(name, lambda maker, m: m)(self, out)

    def payload(self, kind):
        name = st.message_of(kind)
        message = self.message(name)
        head = message["head"]
        head["network"], head["facility"] = self.some(16), self.some(16)
        if kind in ("network", "roster") or (kind == "key-revocation" and self.chance(3)):
            del head["facility"]
        if kind == "network" and message["version"] == 1:
            del head["network"]
        return encode(name, message)

    def mutate(self, data):
        """Bytes changed, gone, doubled, moved; often at the beginning, where the shape is."""
        out = bytearray(data)
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            at = self.random.randrange(max(1, len(out)))
            how = self.random.randrange(7)
            if not out:
                out += self.some(1)
            elif how == 0:
                out[at] ^= 1 << self.random.randrange(8)
            elif how == 1:
                out[at] = self.random.choice((0, 1, 2, 0x0a, 0x10, 0x12, 0x7f, 0x80, 0xff))
            elif how == 2:
                del out[at:at + self.random.randint(1, 4)]
            elif how == 3:
                out[at:at] = self.some(self.random.randint(1, 3))
            elif how == 4:
                size = self.random.randint(1, 40)
                out[at:at] = out[at:at + size]
            elif how == 5:
                del out[at:]
            else:
                out += put_varint(self.random.randint(1, 40) << 3 | self.random.choice((0, 1, 2, 3, 5))) + self.some(2)
        return bytes(out)

    def restructure(self, name, data):
        """Whole fields of a message exchanged, doubled or dropped, at a random depth."""
        parts, at = [], 0
        try:
            while at < len(data):
                start = at
                tag, at = varint(data, at)
                if tag & 7 == 0:
                    _, at = varint(data, at)
                elif tag & 7 == 1:
                    at += 8
                else:
                    size, at = varint(data, at)
                    at += size
                parts.append(bytes(data[start:at]))
        except Refused:
            return self.mutate(data)
        if not parts:
            return self.mutate(data)
        i, how = self.random.randrange(len(parts)), self.random.randrange(4)
        field = SCHEMA.messages[name].get(parts[i][0] >> 3)
        if how == 0:
            parts.insert(i, parts[i])
        elif how == 1:
            del parts[i]
        elif how == 2 and len(parts) > 1:
            j = self.random.randrange(len(parts))
            parts[i], parts[j] = parts[j], parts[i]
        elif field and field.kind in SCHEMA.messages and len(parts[i]) > 2 and parts[i][1] < 0x80:
            inner = self.restructure(field.kind, parts[i][2:])
            parts[i] = parts[i][:1] + put_varint(len(inner)) + inner
        else:
            return self.mutate(data)
        return b"".join(parts)


def fix_period(maker, p):
    low = maker.random.randint(0, 10 ** 6)
    out = {}
    if not maker.chance(3):
        out["from"] = {"ms": low} if low else {}
    if "from" not in out or not maker.chance(3):
        out["until"] = {"ms": low + maker.random.randint(1, 1000)}
    return out


def fix_membership(maker, m):
    m["domain"] = maker.random.choice(["a.example", "x", "a-b.c1", "-a.b", "a..b", "A.b", "h" * 64 + ".x", "h" * 63])
    return fix_previous(maker, m)


def fix_previous(maker, m):
    m["version"] = maker.random.choice((1, 2, 3))
    m.pop("previous", None)
    if m["version"] > 1:
        m["previous"] = maker.some(32)
    if "threshold" in m:
        m["threshold"] = maker.random.randint(1, 2)
    return m


def fix_version(maker, v):
    v["chunk_log2"] = 16
    if v["kind"] in (4, 5):
        v["parents"] = [maker.some(32)]
    return fix_context(maker, v)


def fix_context(maker, v):
    dots = {maker.random.randint(1, 4): maker.random.randint(1, 4) for _ in range(maker.random.randint(0, 3))}
    v["dot"] = {"tag": maker.random.randint(1, 4), "counter": maker.random.randint(1, 4)}
    v.pop("context", None)
    if dots:
        v["context"] = [{"tag": t, "counter": c} for t, c in dots.items()]
    return v


def fix_rules(maker, rules):
    out, at = [], 0
    for rule in rules:
        at += maker.random.randint(1, 2)
        rule = {**rule, "id": at}
        rule.pop("parent", None)
        if out and maker.chance(2):
            rule["parent"] = maker.random.choice(out)["id"]
        if not maker.chance(4):
            for name in ("confidentiality_max", "without_sensitivity") if rule["effect"] == 2 else ("confidentiality_min",):
                rule.pop(name, None)
        if not maker.chance(6):
            rule.pop("deny_only", None)
        if "users" in rule and maker.chance(2):
            rule["facilities"] = [maker.some(16)]
        out.append(rule)
    return out


def fix_policy(maker, p):
    if "rules" in p:
        p["rules"] = fix_rules(maker, p["rules"])
    return fix_context(maker, p)


def fix_tree(maker, t):
    if "rules" in t:
        t["rules"] = fix_rules(maker, t["rules"])
    return t


def fix_disclosure(maker, d):
    d.pop("basis", None)
    trees = d["terms"].get("trees", [])
    if trees:
        d["basis"] = [{"policy": maker.some(32), "rules": [1]} for _ in trees]
    return d


def fix_key(maker, k):
    k.pop("subject", None)
    if k["use"] == 2:
        k["subject"] = maker.message("Subject", 2)
    return k


def fix_query(maker, q):
    for name in ("subject", "actor"):
        q.pop(name, None)
    q[maker.random.choice(("subject", "actor"))] = None
    for name in ("subject", "actor"):
        if name in q:
            q[name] = maker.message("Subject", 2) if name == "subject" else maker.some(32)
    return q


def fix_entry(maker, e):
    if maker.chance(4):
        return {"kind": 22, "hlc": e["hlc"], "root": maker.some(32)}
    e.pop("root", None)
    e.pop("padding", None)
    e.pop("enrol", None)
    if e["kind"] == 22:
        e["kind"] = 3
    if e["kind"] == 2:
        e["enrol"] = maker.message("Enrol", 2)
        parts = e["enrol"]["salt"], e["enrol"]["principal"].encode(), e["enrol"].get("user", "").encode()
        e["actor"] = st.actor(*parts)
    return e


FIX = {"Period": fix_period, "Membership": fix_membership, "Network": fix_previous, "Roster": lambda maker, r: r,
       "Version": fix_version, "Policy": fix_policy, "Tree": fix_tree, "Disclosure": fix_disclosure, "Key": fix_key,
       "AuditQuery": fix_query, "Entry": fix_entry}


def canonical(maker, count):
    for _ in range(count):
        kind = maker.random.choice(st.KINDS)
        payload = maker.payload(kind)
        for at in range(4):
            if at == 1:
                given = maker.mutate(payload)
            else:
                given = payload if at == 0 else maker.restructure(st.message_of(kind), payload)
            if refused(st.read_payload, kind, given):
                if given:
                    yield f"refuse {kind} {given.hex()} {'as made' if at == 0 else 'mutated'}"
            else:
                yield f"accept {kind} {st.statement_id(kind, given).hex()} {given.hex()}"


def dsse(maker, count):
    for _ in range(count):
        kind = maker.random.choice(st.KINDS)
        payload = maker.payload(kind)
        network = b""
        if not refused(st.read_payload, kind, payload):
            head = st.read_payload(kind, payload)["head"]
            network = head.get("network", b"")
        keys = maker.random.sample(maker.signers, maker.random.randint(1, 3))
        envelope = st.sign_envelope(kind, payload, keys)
        asked = [k.public for k in (keys if not maker.chance(4) else maker.random.sample(maker.signers, 2))]
        for given in (envelope, maker.mutate(envelope), maker.restructure("Envelope", envelope)):
            bad = refused(st.verify_envelope, given, kind, network or bytes(16), asked)
            yield " ".join(["refuse" if bad else "accept", kind, (network or bytes(16)).hex(),
                            ",".join(k.hex() for k in asked), given.hex()] + (["mutated"] if bad else []))


def entry(maker, count):
    for _ in range(count):
        good = st.pad_entry(encode("Entry", maker.message("Entry")))
        for given in (good, maker.mutate(good), maker.restructure("Entry", good)):
            if given:
                yield f"refuse {given.hex()} mutated" if refused(st.read_entry, given) else f"accept {given.hex()}"


def stream(maker, count):
    network, sender, receiver = (maker.some(16) for _ in range(3))
    incarnation, which = maker.random.getrandbits(64), maker.random.choice((1, 2))
    chain = lane.chain_0(network, sender, incarnation, receiver, which)
    yield f"chain {network.hex()} {sender.hex()} {incarnation} {receiver.hex()} {which} {chain.hex()}"
    for _ in range(count):
        kind, identity, disclosure = maker.random.randint(1, 11), maker.some(32), maker.some(32)
        pair = maker.random.getrandbits(64), maker.random.getrandbits(63)
        digest = lane.digest(kind, identity, *pair, disclosure)
        chain = lane.next_chain(chain, digest)
        yield f"item {kind} {identity.hex()} {pair[0]} {pair[1]} {disclosure.hex()} {digest.hex()}"
        yield f"next {chain.hex()}"


def joined(hashes):
    return ",".join(h.hex() for h in hashes) or "-"


def contents(maker, count):
    for i in range(count):
        size = maker.random.choice((1, 65535, 65536, 65537, 131072, 200000, maker.random.randint(2, 400000)))
        label, salt = f"made-{i}-{size}", maker.some(32)
        leaves = content.leaves(salt, made(label, size))
        root = log.root(leaves)
        yield f"content {label} {size} {salt.hex()} {root.hex()} {content.commitment(salt, size, root).hex()}"
        for index, leaf in enumerate(leaves):
            path = log.path(index, leaves)
            yield f"path {index} {len(leaves)} {leaf.hex()} {joined(path)}"
            if path:
                yield f"refuse-path {index} {len(leaves)} {leaf.hex()} {joined(path[:-1] + [maker.some(32)])}"
    for _ in range(count):
        size = maker.random.randint(1, 600)
        plain = bytes(maker.random.choice(b"abc") for _ in range(size))
        for coded in (b"\0" + plain, b"\1" + content.zstd(plain, maker.random.randint(1, 19))):
            for given in (coded, maker.mutate(coded), maker.mutate(coded)):
                if refused(content.uncode, given, size):
                    yield f"refuse-coded {size} {given.hex() or '-'} mutated"
                else:
                    yield f"coded {size} {st.sha256(content.uncode(given, size)).hex()} {given.hex()}"
    dek, identity = maker.some(32), maker.some(16)
    key, header = content.content_keys(dek, identity)
    yield f"keys {dek.hex()} {identity.hex()} {key.hex()} {header.hex()}"
    for index in range(count):
        coded, last = b"\0" + maker.some(maker.random.randint(1, 50)), maker.random.randrange(2)
        row = content.seal_chunk(key, identity, index, last, coded, maker.some(12))
        yield f"sealed {index} {last} {coded.hex()} {row.hex()}"
        yield f"refuse-sealed {index} {1 - last} {row.hex()}"
        changed = bytearray(row)
        changed[maker.random.randrange(len(row))] ^= 1 << maker.random.randrange(8)
        yield f"refuse-sealed {index} {last} {changed.hex()}"


def bent(maker, hashes):
    out = list(hashes)
    how = maker.random.randrange(4)
    if how == 0 or not out:
        out.insert(maker.random.randint(0, len(out)), maker.some(32))
    elif how == 1:
        del out[maker.random.randrange(len(out))]
    elif how == 2:
        out[maker.random.randrange(len(out))] = maker.some(32)
    else:
        out.reverse()
    return out


def tree(maker, count):
    leaves = []
    for _ in range(maker.random.randint(20, 60)):
        c = maker.some(32)
        leaves.append(log.leaf_of(c))
        yield f"leaf {c.hex()} {leaves[-1].hex()}"
    for _ in range(count):
        size = maker.random.randint(1, len(leaves))
        yield f"root {size} {log.root(leaves[:size]).hex()}"
        index = maker.random.randrange(size)
        path = log.path(index, leaves[:size])
        for given in (path, bent(maker, path)):
            good = log.included(leaves[index], index, size, given, log.root(leaves[:size]))
            yield f"{'path' if good else 'refuse-path'} {index} {size} {joined(given)}"
        first = maker.random.randint(1, size)
        proof = log.consistency(first, leaves[:size])
        for given in (proof, bent(maker, proof)):
            good = log.consistent(first, size, given, log.root(leaves[:first]), log.root(leaves[:size]))
            yield f"{'consistent' if good else 'refuse-consistent'} {first} {size} {joined(given)}"
        level, n, width = maker.random.randint(0, 5), maker.random.getrandbits(maker.random.randint(1, 40)), maker.random.randint(1, 256)
        yield f"tile {level} {n} {width} {log.tile_path(level, n, width)}"


def maps(maker, count):
    for _ in range(count):
        leaves = {}
        shared = maker.some(32)
        for _ in range(maker.random.randint(0, 12)):
            key = bytearray(maker.some(32))
            bits = maker.random.choice((0, 0, 1, 3, 20, 31))
            key[:bits] = shared[:bits]
            leaves[bytes(key)] = maker.some(32)
        root = log.map_root(leaves)
        yield "map"
        yield from (f"set {k.hex()} {v.hex()}" for k, v in leaves.items())
        yield f"root {root.hex()}"
        for key in list(leaves) + [maker.some(32), shared]:
            end, siblings = log.map_proof(leaves, key)
            value = leaves.get(key)
            for given in (siblings, bent(maker, siblings)):
                if value is not None:
                    good = log.map_holds(root, key, value, None, given)
                    yield f"{'present' if good else 'refuse-present'} {key.hex()} {value.hex()} {joined(given)}"
                else:
                    other = f"{end[0].hex()}:{end[1].hex()}" if end else "-"
                    good = log.map_holds(root, key, None, end, given)
                    yield f"{'absent' if good else 'refuse-absent'} {key.hex()} {other} {joined(given)}"


def notes(maker, count):
    log_key, *witnesses = maker.signers
    origin = "f0.example/log/" + "%016x" % maker.random.getrandbits(64)
    keys = [(origin, 1, log_key.public)] + [(f"f{i}.example/witness", 4, w.public) for i, w in enumerate(witnesses[:3])]
    for key in keys:
        yield f"key {key[0]} {key[1]} {key[2].hex()} {log.note_key_id(*key).hex()}"
    for _ in range(count):
        size = maker.random.getrandbits(maker.random.randint(1, 64))
        some = maker.random.sample(range(len(witnesses)), maker.random.randint(0, 4))
        good = log.write_note(origin, size, maker.some(32), log_key, [
            (f"f{i}.example/witness", witnesses[i], maker.random.getrandbits(33)) for i in some])
        for given in (good, maker.mutate(good), maker.mutate(good), text_mutation(maker, good)):
            if refused(log.read_note, given, keys):
                yield f"refuse {given.hex() or '-'} mutated"
            else:
                found, size, root, cosigned = log.read_note(given, keys)
                names = ",".join(f"{name}={time}" for name, time in cosigned) or "-"
                yield f"accept {found} {size} {root.hex()} {names} {given.hex()}"


def text_mutation(maker, note):
    lines = note.split(b"\n")
    i = maker.random.randrange(len(lines))
    how = maker.random.randrange(6)
    if how == 0:
        lines.insert(i, lines[i])
    elif how == 1:
        del lines[i]
    elif how == 2:
        lines[i] = lines[i] + maker.random.choice((b" ", b"=", b"\r", b"\t", b"\x7f", "\u2028".encode(), b"AAAA"))
    elif how == 3:
        lines[i] = maker.random.choice((b"0", b"01", b"-1", b"18446744073709551616", "٣".encode(), b"\xff", b""))
    elif how == 4:
        at = maker.random.randint(0, len(lines[i]))
        lines[i] = lines[i][:at] + maker.random.choice(("\u00a0", "é", "+", " ", "\u200b", "\u0085")).encode() + lines[i][at:]
    else:
        lines += [b"\xe2\x80\x94 unknown.example/witness " + maker.random.choice((b"AAAAAAAA", b"AAAA", b"AAAAAA==", b"AAAAAB==")), b""]
        del lines[-3]
    return b"\n".join(lines)


# ---- decisions ----

FACILITIES, USERS, ROLES = ["a0", "b0", "c0"], ["alice", "bob", "eve"], ["physician", "nurse", "psychiatrist", "clerk"]
CONFIGURATION = """clinical physician nurse psychiatrist
sensitive psychiatrist
need physician TREAT role
need physician HRESCH role
need nurse TREAT assigned
need nurse ETREAT role
need psychiatrist TREAT role
max_age 86400 3600 600"""


class Decisions:
    def __init__(self, maker):
        self.random, self.chance = maker.random, maker.chance
        self.purposes = ["TREAT", "ETREAT", "BTG", "HRESCH", "PurposeOfUse", "XPURPOSE", "HPAYMT", "HOPERAT", "CAREMGT"] + \
            self.random.sample(sorted(PURPOSES.parents), 3)
        self.codes = ["SUD", "ETHUD", "HIV", "PSY", "ETH", "XCODE", "urn:x|HIV"] + self.random.sample(sorted(SENSITIVITY.parents), 3)

    def pick(self, some):
        return self.random.choice(some)

    def several(self, some):
        return ",".join(sorted(set(self.random.sample(some, self.random.randint(1, min(2, len(some)))))))

    def period(self):
        a, b = sorted(self.random.sample(range(0, 1000, 50), 2))
        return self.pick([f"{a}-{b}", f"-{b}", f"{a}-"])

    def rule(self, identity, parents, policy):
        effect = self.pick(["PERMIT", "DENY"])
        out = [f"rule {identity}" + (f"<{self.pick(parents)}" if parents and self.chance(2) else ""), effect]
        add = lambda one_in, name, value: out.append(f"{name}={value}") if self.chance(one_in) else None  # noqa: E731
        add(5, "actions", self.several(["READ", "SEARCH", "DISCLOSE"]))
        add(3, "purposes", self.several(self.purposes))
        if policy:
            users = self.chance(4)
            if users or self.chance(3):
                out.append("facilities=" + (self.pick(FACILITIES[:2]) if users else self.several(FACILITIES)))
            if users:
                out.append("users=" + self.several(USERS))
        else:
            add(4, "users", self.several(USERS))
            add(8, "deny_only", "yes")
        add(5, "roles", self.several(ROLES))
        if effect == "PERMIT":
            add(6, "confidentiality_max", self.pick(LEVELS))
            add(6, "without_sensitivity", self.several(self.codes))
        else:
            add(6, "confidentiality_min", self.pick(LEVELS))
        add(6, "sensitivity", self.several(self.codes))
        add(8, "classes", self.several(["1-1", "2-2"]))
        add(8, "documents", self.several(["01", "02"]))
        add(8, "authoring_facilities", self.several(FACILITIES))
        add(8, "clinical", self.period())
        add(6, "valid", self.period())
        return " ".join(out)

    def rules(self, policy):
        identity, parents, depth, out = 0, [], {}, []
        for _ in range(self.random.randint(0, 5)):
            identity += 1 if policy else self.random.randint(1, 2)
            words = self.rule(identity, [p for p in parents if depth[p] < 4], policy)
            _, _, parent = words.split(" ")[1].partition("<")
            depth[identity] = depth[int(parent)] + 1 if parent else 1
            parents.append(identity)
            out.append(words)
        return out

    def optional(self, one_in, text):
        return " " + text if self.chance(one_in) else ""

    def case(self, number):
        kind = self.pick(["read", "read", "holder", "push"])
        lines = [f"case made {number}"]
        if kind == "holder":
            pairs = [f"{self.random.randint(1, 2)}.{self.random.randint(1, 2)}" for _ in range(self.random.randint(0, 2))]
            for pair in pairs:
                lease = f"max_age=600 lease={self.pick([100, 500, 301400])}" if self.chance(2) else ""
                lines.append(f"copy {pair}{self.optional(3, 'valid=' + self.period())}" + (" " + lease if lease else ""))
                for _ in range(1):
                    lines.append("tree" + self.optional(3, "base=" + self.pick(["PERMIT", "DENY"])) + self.optional(6, "deny_only=yes"))
                    lines += self.rules(False)
        else:
            for _ in range(self.random.randint(0, 3)):
                who = self.pick(["PATIENT", "STAFF", "PROXY", "LAW", "PATIENT"])
                line = f"policy {self.pick(FACILITIES[:2])} {who}" + self.optional(2, "user=" + self.pick(USERS))
                line += self.optional(3, "base=" + self.pick(["PERMIT", "DENY"]))
                if self.chance(2):
                    line += f" dot=5.{self.random.randint(2, 3)}" + self.optional(2, "context=5.1,6.1" if self.chance(2) else "context=5.2")
                lines += [line] + self.rules(True)
        facility = "b0" if kind == "holder" else "a0"
        if kind != "push" and self.chance(3):
            start = self.random.randint(0, 500)
            lines.append(f"break_glass {self.pick(USERS)} 01 {start}-{start + self.pick([600, 3600000, 3600001])}")
        time = self.pick([f"time={self.random.randint(1, 900)}", "time=400-450", "time=600-800"])
        if kind == "push":
            lines.append(f"push {self.pick(['b0', 'c0'])} {time}")
        else:
            lines.append(f"request {self.pick(['READ', 'READ', 'SEARCH'])} {facility}" + self.optional(2, "user=" + self.pick(USERS)) +
                         ("" if self.chance(5) else " role=" + self.pick(ROLES)) +
                         ("" if self.chance(5) else " purpose=" + self.pick(["TREAT", self.pick(self.purposes)])) + " " + time +
                         self.optional(3, "assigned=yes"))
        for i in range(self.random.randint(1, 3)):
            label = lambda: ",".join([self.pick("NNNRVUL")] + ([self.several(self.codes)] if self.chance(3) else []))  # noqa: E731
            lines.append(f"version 0{i + 1} {self.pick(FACILITIES)}" + self.optional(2, "author=" + self.pick(USERS)) +
                         " class=" + self.pick(["1-1", "2-2", "3-3"]) + self.optional(1, "labels=" + label()) +
                         self.optional(6, "effective=" + label()) + self.optional(3, "clinical=" + self.period()))
        return lines


def decisions(maker, count):
    yield CONFIGURATION
    config = Configuration()
    for line in CONFIGURATION.splitlines():
        consent_text.configure(config, line.split(" "))
    some = Decisions(maker)
    for number in range(count):
        lines = some.case(number)
        case = consent_text.Case(number)
        for line in lines[1:]:
            case.take(line.split(" "))
        bad = [p for p in case.policies if consent_text.refused_policy(p)]
        yield ""
        if bad:
            yield "refuse made"
            yield from policy_lines(bad[0])
            continue
        answers = consent_text.answer_lines(*case.judge(config))
        if sum(line.split(" ")[0] == "tree" for line in lines + answers) < 4:  # as many as the reader has room for
            yield from lines
            yield from answers


def policy_lines(p):
    yield f"policy {p['facility']} {p['who']}"
    yield from (consent_text.words_of(r) for r in p["rules"])


ALL = {"canonical.txt": canonical, "dsse.txt": dsse, "entry.txt": entry, "stream.txt": stream, "content.txt": contents,
       "log.txt": tree, "map.txt": maps, "notes.txt": notes, "consent.txt": decisions}
