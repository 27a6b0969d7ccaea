"""Kinds, ids, keys, envelopes, versions, entries (docs/protocol 01, 03, 06.1)."""
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wire import Refused, decode, demand, encode, good_key

KINDS = ("network roster membership key key-revocation authority epoch version policy disclosure purge-order "
         "purge-receipt notice lease stream-head stream-ack audit-query audit-answer").split()


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u32(n):
    return n.to_bytes(4, "big")


def u64(n):
    return n.to_bytes(8, "big")


def message_of(kind):
    return "".join(word.capitalize() for word in kind.split("-"))


def type_of(kind):
    return f"application/vnd.chartmesh.{kind}.v1+protobuf"


def pae(kind, payload):
    name = type_of(kind).encode()
    return b"DSSEv1 %d %s %d " % (len(name), name, len(payload)) + payload


def statement_id(kind, payload):
    return sha256(pae(kind, payload))


def key_id(public, alg=1):
    return sha256(b"chartmesh key v1\n", bytes([alg]), public)


def verify(public, text, signature):
    if not good_key(public) or len(signature) != 64:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
        return True
    except (InvalidSignature, ValueError):
        return False


class Signer:
    def __init__(self, seed):
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, text):
        return self.private.sign(text)


def read_payload(kind, payload):
    """The message of a payload, or Refused: form, head, and the rules of the kind."""
    demand(kind in KINDS, "kind")
    demand(len(payload) <= (1048576 if kind == "roster" else 65536), "too long")
    message = decode(message_of(kind), payload)
    head = message["head"]
    demand(("network" in head) != (kind == "network" and message["version"] == 1), "network in the head")
    if kind in ("network", "roster"):
        demand("facility" not in head, "facility in the head")
    elif kind != "key-revocation":
        demand("facility" in head, "no facility in the head")
    return message


def read_envelope(data):
    """(kind, envelope, message), form only."""
    envelope = decode("Envelope", data)
    name = envelope["payload_type"]
    kinds = [kind for kind in KINDS if type_of(kind) == name]
    demand(kinds, "payload type")
    return kinds[0], envelope, read_payload(kinds[0], envelope["payload"])


def signers(kind, envelope, keys):
    """The keys, of those that count, that signed; Refused where a listed signature does not verify."""
    by_id = {key_id(key).hex(): key for key in keys}
    text, found = pae(kind, envelope["payload"]), set()
    for signature in envelope["signatures"]:
        key = by_id.get(signature["keyid"])
        demand(key is not None, "a key that does not count")
        demand(verify(key, text, signature["sig"]), "a signature that does not verify")
        found.add(key)
    return found


def verify_envelope(data, kind, network, keys):
    """As the verifier of 01, 3.2 and 5.3: that kind, in that network (empty: the first of all), signed by all `keys` and no others."""
    found, envelope, message = read_envelope(data)
    demand(found == kind, "another kind")
    demand(message["head"].get("network", b"") == network, "another network")
    demand(signers(kind, envelope, keys) == set(keys), "a demanded signature is missing")
    return message


def sign_envelope(kind, payload, keys):
    text = pae(kind, payload)
    return encode("Envelope", {"payload": payload, "payload_type": type_of(kind), "signatures": [
        {"sig": key.sign(text), "keyid": key_id(key.public).hex()} for key in keys]})


# ---- entries ----

def pad_entry(entry):
    """The encoding of an entry without padding, with it."""
    size = len(entry)
    for target in (size + -size % 256, size + -size % 256 + 256):
        spare = target - size
        if spare == 0:
            return entry
        for head in (2, 3):
            count = spare - head
            padding = encode("Entry", {"padding": bytes(count)}) if count > 0 else b""
            if len(padding) == spare:
                return entry + padding
    raise AssertionError("no padding fits")


def actor(salt, principal, user):
    return sha256(b"chartmesh actor v1\n", salt, u32(len(principal)), principal, u32(len(user)), user)


def read_entry(data):
    entry = decode("Entry", data)
    bare = {k: v for k, v in entry.items() if k != "padding"}
    demand(pad_entry(encode("Entry", bare)) == data, "padding")
    demand(("root" in entry) == (entry["kind"] == 22), "root")
    demand(entry["kind"] != 22 or set(bare) == {"kind", "hlc", "root"}, "a MAP entry holds no more")
    demand(("enrol" in entry) == (entry["kind"] == 2), "enrol")
    if "enrol" in entry:
        enrol = entry["enrol"]
        wants = actor(enrol["salt"], enrol["principal"].encode(), enrol.get("user", "").encode())
        demand(entry.get("actor") == wants, "the actor is not the one enrolled")
    return entry


# ---- versions (03) ----

def supersedes(v, u):
    return any(d["tag"] == u["dot"]["tag"] and d["counter"] >= u["dot"]["counter"] for d in v.get("context", []))


def heads(versions):
    return [u for u in versions if not any(supersedes(v, u) for v in versions)]


# ---- lanes ----

__all__ = ["KINDS", "Refused", "Signer", "actor", "heads", "key_id", "pad_entry", "pae", "read_entry", "read_envelope",
           "read_payload", "sha256", "sign_envelope", "signers", "statement_id", "supersedes", "type_of", "u32", "u64",
           "verify", "verify_envelope"]
