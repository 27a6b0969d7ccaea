"""Canonical form (docs/protocol/01-envelopes.md, 6 to 10), read from the .proto files and from nothing else of ours."""
import os
import re

SCHEMA_FOLDER = "proto/chartmesh/v1"
SCALARS = {"bytes", "string", "uint32", "uint64", "int64", "bool", "fixed64"}


class Refused(Exception):
    """What the protocol refuses; the text is the rule."""


class Message(dict):
    """A decoded message: field name to value, absent fields missing; `raw` is what it was read from."""
    raw = b""


class Field:
    def __init__(self, repeated, kind, name, number):
        self.repeated, self.kind, self.name, self.number = repeated, kind, name, number


class Schema:
    def __init__(self, folder=SCHEMA_FOLDER):
        self.messages, self.enums = {}, {}
        for name in sorted(os.listdir(folder)):
            if name.endswith(".proto"):
                with open(os.path.join(folder, name), encoding="utf-8") as text:
                    self.read(re.sub(r"//[^\n]*", "", text.read()))

    def read(self, text):
        for _, name, body in re.findall(r"\b(enum)\s+(\w+)\s*\{([^}]*)\}", text):
            self.enums[name] = {int(n): word for word, n in re.findall(r"(\w+)\s*=\s*(\d+)\s*;", body)}
        for found in re.finditer(r"\bmessage\s+(\w+)\s*\{", text):
            depth, at = 1, found.end()
            while depth:
                depth += {"{": 1, "}": -1}.get(text[at], 0)
                at += 1
            fields = re.findall(r"(repeated\s+)?([\w.]+)\s+(\w+)\s*=\s*(\d+)\s*;", text[found.end():at - 1])
            self.messages[found.group(1)] = {
                int(number): Field(bool(repeated), kind.split(".")[-1], name, int(number))
                for repeated, kind, name, number in fields if kind != "optional"}


SCHEMA = Schema()

LENGTH_16 = {"facility", "patient", "document", "documents", "network", "nonce", "receiver", "recipient", "sender",
             "counterpart", "facilities", "authoring_facilities"}
FREE = {("Epoch", "previous_checkpoint"), ("StreamHead", "checkpoint"), ("ConsistencyFrame", "note"),
        ("Membership", "tls_ca"), ("Entry", "padding"), ("Opening", "entry"), ("Envelope", "payload")}
AS_THEY_COME = {("Membership", "endpoints"), ("Terms", "trees"), ("MapFrame", "siblings"), ("Proof", "path"),
                ("ConsistencyFrame", "path")}
ORDERED_BY = {("Envelope", "signatures"): "keyid", ("Version", "context"): "tag", ("Policy", "context"): "tag",
              ("Policy", "rules"): "id", ("Tree", "rules"): "id", ("Roster", "former"): "membership",
              ("StreamAck", "except"): "n"}
AT_MOST = {("Version", "context"): 64, ("Policy", "context"): 64, ("Version", "parents"): 16,
           ("Policy", "parents"): 16, ("Policy", "rules"): 256, ("Tree", "rules"): 256,
           ("Disclosure", "versions"): 256, ("Entry", "objects"): 256, ("Envelope", "signatures"): 16}
ED25519_KEYS = {("Network", "operator_keys"), ("Membership", "statement_key"), ("Membership", "checkpoint_key"),
                ("Membership", "witness_key"), ("Key", "public_key"), ("Authority", "key")}
REQUIRED = {name: fields.split() for name, fields in {
    "Envelope": "payload payload_type signatures", "Signature": "sig keyid", "Head": "hlc nonce",
    "Network": "head name operator_keys threshold version valid", "Roster": "head version expires network_version",
    "Former": "membership until",
    "Membership": "head domain name version statement_key checkpoint_key witness_key sealing_key status",
    "Endpoint": "address", "Key": "head public_key use holder valid", "KeyRevocation": "head key reason since",
    "Authority": "head duty holder key valid", "Epoch": "head incarnation cause", "Coding": "system code",
    "Subject": "facility patient", "Dot": "tag counter", "Labels": "confidentiality", "Author": "principal",
    "Version": "head subject document dot kind commitment chunk_log2 media_type class labels author",
    "Policy": "head subject dot assertor", "Assertor": "who", "Rule": "id effect", "Basis": "policy",
    "Disclosure": "head subject recipient versions terms incarnation generation",
    "PurgeOrder": "head subject receiver incarnation generation cause",
    "PurgeReceipt": "head order outcome subject incarnation generation",
    "Notice": "head subject receiver document kind incarnation generation",
    "Lease": "head receiver incarnation chain at",
    "StreamHead": "head receiver incarnation receiver_incarnation lane first count previous_chain chain",
    "StreamAck": "head sender sender_incarnation receiver_incarnation lane chain", "Exception": "n result",
    "AuditQuery": "head principal facility",
    "AuditAnswer": "head query frames frames_root map_epoch size root origin epoch",
    "Entry": "kind hlc", "Decision": "effect", "Enrol": "salt principal", "MapFrame": "at opening key",
    "EntryFrame": "at opening", "WithheldFrame": "at commitment reason order", "TableFrame": "name sha256",
    "ConsistencyFrame": "size root", "Opening": "r entry"}.items()}

P = 2 ** 255 - 19
SMALL_ORDER = {0, 1, P - 1,
               int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
               int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")}


def demand(holds, rule):
    if not holds:
        raise Refused(rule)


def good_key(key):
    y = int.from_bytes(key, "little") & (2 ** 255 - 1)
    return len(key) == 32 and y < P and y not in SMALL_ORDER


def varint(data, at):
    value = shift = 0
    while True:
        demand(at < len(data), "cut")
        byte = data[at]
        at += 1
        demand(shift < 63 or byte <= 1, "a varint beyond 64 bits")
        value |= (byte & 0x7f) << shift
        if byte < 0x80:
            demand(byte != 0 or shift == 0, "a varint that is not minimal")
            return value, at
        shift += 7


def scalar(kind, value):
    if kind == "bool":
        demand(value == 1, "a bool that is not 1")
        return True
    demand(value != 0, "a default")
    if kind in SCHEMA.enums:
        demand(value in SCHEMA.enums[kind], "an enum value that is not listed")
    else:
        demand(value < {"uint32": 2 ** 32, "uint64": 2 ** 64, "int64": 2 ** 63}[kind], "a number out of range")
    return value


def wire_type(kind):
    if kind == "fixed64":
        return 1
    return 0 if kind in SCHEMA.enums or kind in ("uint32", "uint64", "int64", "bool") else 2


def packed(kind, body):
    values, at = [], 0
    while at < len(body):
        value, at = varint(body, at)
        if kind in SCHEMA.enums:
            demand(value in SCHEMA.enums[kind] and value != 0, "an enum value that is not listed")
        else:
            demand(value < (2 ** 32 if kind == "uint32" else 2 ** 64), "a number out of range")
        demand(not values or values[-1] < value, "out of order")
        values.append(value)
    demand(values, "an empty packed run")
    return values


def length_delimited(name, field, body, depth):
    if field.kind == "string":
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            raise Refused("not UTF-8") from None
        demand("\0" not in text, "U+0000")
        return text
    if field.kind == "bytes":
        if (name, field.name) not in FREE:
            wants = 64 if (name, field.name) == ("Signature", "sig") else 16 if field.name in LENGTH_16 else 32
            demand(len(body) == wants, f"length of {field.name}")
        if (name, field.name) in ED25519_KEYS:
            demand(good_key(body), "a key that is refused")
        return bytes(body)
    return decode(field.kind, body, depth + 1)


def decode(name, data, depth=1):
    """The message, or Refused."""
    demand(depth <= 8, "too deep")
    fields, out, raws, last, at = SCHEMA.messages[name], Message(), {}, 0, 0
    out.raw = data = bytes(data)
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        demand(number in fields, "a field that is not in this type")
        field = fields[number]
        run = field.repeated and wire_type(field.kind) == 0
        demand(wire == (2 if run else wire_type(field.kind)), "another wire type")
        demand(number > last or (number == last and field.repeated and not run), "out of order or twice")
        last = number
        if wire == 0:
            value, at = varint(data, at)
            out[field.name] = scalar(field.kind, value)
            continue
        if wire == 1:
            demand(at + 8 <= len(data), "cut")
            out[field.name] = int.from_bytes(data[at:at + 8], "little")
            demand(out[field.name] != 0, "a default")
            at += 8
            continue
        size, at = varint(data, at)
        demand(at + size <= len(data), "cut")
        body = data[at:at + size]
        at += size
        if run:
            out[field.name] = packed(field.kind, body)
            continue
        demand(field.repeated or size or field.kind not in SCALARS, "a default")
        value = length_delimited(name, field, body, depth)
        if field.repeated:
            out.setdefault(field.name, []).append(value)
            raws.setdefault(field.name, []).append(body)
        else:
            out[field.name] = value
    check(name, out, raws)
    return out


def check(name, out, raws):
    for key, values in out.items():
        if isinstance(values, list):
            demand(len(values) <= AT_MOST.get((name, key), len(values)), f"too many {key}")
        if key in raws and (name, key) not in AS_THEY_COME:
            by = ORDERED_BY.get((name, key))
            order = [value.get(by, 0) for value in values] if by else raws[key]
            demand(all(a < b for a, b in zip(order, order[1:])), f"{key} out of order")
    for key in REQUIRED.get(name, ()):
        demand(key in out, f"required and absent: {key}")
    if name in RULES:
        RULES[name](out)


def period(p):
    demand(p, "a period without an end")
    if "from" in p and "until" in p:
        demand(p["from"].get("ms", 0) < p["until"].get("ms", 0), "a period that ends before it begins")


def coding(c):
    demand(len(c["system"].encode()) <= 256 and len(c["code"].encode()) <= 256 and "|" not in c["code"], "a coding")


def membership(m):
    labels = m["domain"].split(".")
    demand(len(m["domain"]) <= 253 and all(re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", x) for x in labels), "a domain")
    demand(("previous" in m) == (m["version"] > 1), "previous")


def network(n):
    demand(n["threshold"] <= len(n["operator_keys"]), "threshold")
    demand(("previous" in n) == (n["version"] > 1), "previous")


def own_dot(v):
    demand(all(d["tag"] != v["dot"]["tag"] or d["counter"] < v["dot"]["counter"] for d in v.get("context", [])), "own dot")


def version(v):
    demand(v["chunk_log2"] == 16, "chunk_log2")
    own_dot(v)
    if v["kind"] in (4, 5):
        demand(len(v.get("parents", [])) == 1, "parents")


def rule_tree(rules, in_policy):
    """04, section 12."""
    by_id = {}
    for rule in rules:
        parent = by_id.get(rule.get("parent", 0))
        demand("parent" not in rule or parent, "a parent that is not there")
        rule_depth = parent[1] + 1 if parent else 1
        demand(rule_depth <= 4, "too deep")
        one = len(rule.get("facilities", ())) == 1 or bool(parent and parent[2])
        by_id[rule["id"]] = (rule, rule_depth, one)
        if rule["effect"] == 2:
            demand("confidentiality_max" not in rule and "without_sensitivity" not in rule, "a DENY that falls away")
        else:
            demand("confidentiality_min" not in rule, "a PERMIT that comes with a label")
        if in_policy:
            demand("deny_only" not in rule, "deny_only")
            demand("users" not in rule or one, "users without a facility")


def policy(p):
    own_dot(p)
    rule_tree(p.get("rules", []), True)


def disclosure(d):
    trees = d["terms"].get("trees", [])
    demand(len(trees) == len(d.get("basis", [])), "another number of trees than of basis")
    for tree in trees:
        rule_tree(tree.get("rules", []), False)


def key(k):
    demand(("subject" in k) == (k["use"] == 2), "subject")


def query(q):
    demand(("subject" in q) != ("actor" in q), "subject or actor")


def envelope(e):
    for s in e["signatures"]:
        demand(re.fullmatch("[0-9a-f]{64}", s["keyid"]), "keyid")


RULES = {"Period": period, "Coding": coding, "Membership": membership, "Network": network, "Version": version,
         "Policy": policy, "Disclosure": disclosure, "Key": key, "AuditQuery": query, "Envelope": envelope}


# ---- writing ----

def put_varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def encode(name, message):
    """Canonical form of a dict; the caller gives values that are allowed, in any order."""
    out = b""
    for number, field in sorted(SCHEMA.messages[name].items()):
        if field.name not in message:
            continue
        value = message[field.name]
        tag = lambda wire, n=number: put_varint(n << 3 | wire)  # noqa: E731
        if field.repeated and wire_type(field.kind) == 0:
            body = b"".join(put_varint(v) for v in sorted(set(value)))
            out += tag(2) + put_varint(len(body)) + body if body else b""
        elif wire_type(field.kind) == 0:
            out += tag(0) + put_varint(int(value))
        elif field.kind == "fixed64":
            out += tag(1) + value.to_bytes(8, "little")
        elif field.repeated:
            pairs = [(one, body_of(field, one)) for one in value]
            by = ORDERED_BY.get((name, field.name))
            if (name, field.name) not in AS_THEY_COME:
                pairs.sort(key=lambda pair: pair[0][by] if by else pair[1])
            out += b"".join(tag(2) + put_varint(len(body)) + body for _, body in pairs)
        else:
            body = body_of(field, value)
            out += tag(2) + put_varint(len(body)) + body
    return out


def body_of(field, value):
    if field.kind == "string":
        return value.encode()
    return value if field.kind == "bytes" else encode(field.kind, value)
