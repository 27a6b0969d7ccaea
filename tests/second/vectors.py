"""Every line of proto/vectors, judged by this implementation; each word must be known."""
import os

import content
import lane
import log
import statement as st
from trust import Trust
from wire import Refused, demand

FOLDER = "proto/vectors"


def lines(name, folder=FOLDER):
    with open(os.path.join(folder, name), encoding="utf-8") as text:
        for number, line in enumerate(text, 1):
            if line.strip() and not line.startswith("#"):
                yield number, line.rstrip("\n").split(" ")


def raw(word):
    return b"" if word == "-" else bytes.fromhex(word)


def hashes(word):
    return [] if word == "-" else [log.ZERO if w == "0" else raw(w) for w in word.split(",")]


def refused(judge, *args):
    try:
        judge(*args)
        return False
    except Refused:
        return True


def canonical(name="canonical.txt", folder=FOLDER):
    for number, words in lines(name, folder):
        if words[0] == "accept":
            payload = raw(words[3])
            st.read_payload(words[1], payload)
            good = st.statement_id(words[1], payload) == raw(words[2])
        else:
            demand(words[0] == "refuse", "unknown word")
            good = refused(st.read_payload, words[1], raw(words[2]))
        yield number, good


def dsse(name="dsse.txt", folder=FOLDER):
    for number, words in lines(name, folder):
        if words[0] == "key":
            public = st.Signer(raw(words[1])).public
            good = public == raw(words[2]) and st.key_id(public) == raw(words[3])
        elif words[0] == "pae":
            kind = words[1][len("application/vnd.chartmesh."):-len(".v1+protobuf")]
            good = st.pae(kind, raw(words[2])) == raw(words[3])
        else:
            demand(words[0] in ("accept", "refuse"), "unknown word")
            args = raw(words[4]), words[1], raw(words[2]), [raw(w) for w in words[3].split(",")]
            good = refused(st.verify_envelope, *args) == (words[0] == "refuse")
        yield number, good


def entry(name="entry.txt", folder=FOLDER):
    for number, words in lines(name, folder):
        demand(words[0] in ("accept", "refuse"), "unknown word")
        yield number, refused(st.read_entry, raw(words[1])) == (words[0] == "refuse")


def stream(name="stream.txt", folder=FOLDER):
    chain = digest = b""
    for number, words in lines(name, folder):
        if words[0] == "chain":
            chain = lane.chain_0(raw(words[1]), raw(words[2]), int(words[3]), raw(words[4]), int(words[5]))
            good = chain == raw(words[6])
        elif words[0] == "item":
            digest = lane.digest(int(words[1]), raw(words[2]), int(words[3]), int(words[4]), raw(words[5]))
            good = digest == raw(words[6])
        else:
            demand(words[0] == "next", "unknown word")
            chain = lane.next_chain(chain, digest)
            good = chain == raw(words[1])
        yield number, good


def made(label, length):
    out = b""
    while len(out) < length:
        out += st.sha256(label.encode(), st.u64(len(out) // 32))
    return out[:length]


def contents(name="content.txt", folder=FOLDER):
    root = dek = content_id = k_content = k_header = b""
    for number, words in lines(name, folder):
        word = words[0]
        if word == "content":
            plain, salt = made(words[1], int(words[2])), raw(words[3])
            root = log.root(content.leaves(salt, plain))
            good = root == raw(words[4]) and content.commitment(salt, len(plain), root) == raw(words[5])
        elif word in ("path", "refuse-path"):
            index, size, leaf = int(words[1]), int(words[2]), raw(words[3])
            good = log.included(leaf, index, size, hashes(words[4]), root) == (word == "path")
        elif word == "coded":
            good = st.sha256(content.uncode(raw(words[3]), int(words[1]))) == raw(words[2])
        elif word == "refuse-coded":
            good = refused(content.uncode, raw(words[2]), int(words[1]))
        elif word == "keys":
            dek, content_id = raw(words[1]), raw(words[2])
            k_content, k_header = content.content_keys(dek, content_id)
            good = [k_content, k_header] == [raw(w) for w in words[3:]]
        elif word == "sealed":
            good = content.open_chunk(k_content, content_id, int(words[1]), int(words[2]), raw(words[4])) == raw(words[3])
        elif word == "refuse-sealed":
            good = refused(content.open_chunk, k_content, content_id, int(words[1]), int(words[2]), raw(words[3]))
        elif word == "meta":
            good = content.open_meta(k_content, content_id, raw(words[4])) == (raw(words[1]), int(words[2]), raw(words[3]))
        elif word == "header":
            good = content.open_header(k_header, raw(words[1]), raw(words[4])) == (content_id, int(words[2]), raw(words[3]))
        elif word == "entry-row":
            opened = content.open_entry(raw(words[1]), raw(words[2]), raw(words[3]), raw(words[7]))
            good = opened == tuple(raw(w) for w in words[4:7])
        else:
            demand(word == "statement-row", "unknown word")
            good = content.open_statement(raw(words[1]), raw(words[2]), raw(words[4])) == raw(words[3])
        yield number, good


def tree(name="log.txt", folder=FOLDER):
    leaves = []
    for number, words in lines(name, folder):
        word = words[0]
        if word == "commitment":
            good = log.commitment(raw(words[1]), raw(words[2])) == raw(words[3])
        elif word == "actor":
            good = st.actor(raw(words[1]), raw(words[2]), raw(words[3])) == raw(words[4])
        elif word == "leaf":
            leaves.append(log.leaf_of(raw(words[1])))
            good = leaves[-1] == raw(words[2])
        elif word == "root":
            good = log.root(leaves[:int(words[1])]) == raw(words[2])
        elif word in ("path", "refuse-path"):
            index, size = int(words[1]), int(words[2])
            known = leaves[index] if index < len(leaves) else log.ZERO
            good = log.included(known, index, size, hashes(words[3]), log.root(leaves[:size])) == (word == "path")
            if word == "path":
                good = good and log.path(index, leaves[:size]) == hashes(words[3])
        elif word in ("consistent", "refuse-consistent"):
            first, second = int(words[1]), int(words[2])
            good = log.consistent(first, second, hashes(words[3]), log.root(leaves[:first]),
                                  log.root(leaves[:second])) == (word == "consistent")
            if word == "consistent":
                good = good and log.consistency(first, leaves[:second]) == hashes(words[3])
        else:
            demand(word == "tile", "unknown word")
            good = log.tile_path(int(words[1]), int(words[2]), int(words[3])) == words[4]
        yield number, good


def maps(name="map.txt", folder=FOLDER):
    key = chain = root = b""
    leaves = {}
    for number, words in lines(name, folder):
        word, good = words[0], True
        if word == "patient":
            key = log.patient_key(raw(words[1]), raw(words[2]))
            good = key == raw(words[3])
        elif word == "actor":
            key = log.actor_key(raw(words[1]), raw(words[2]))
            good = key == raw(words[3])
        elif word == "chain":
            chain = log.chain(key)
            good = chain == raw(words[1])
        elif word == "link":
            chain = log.chain(chain, raw(words[1]))
            good = chain == raw(words[2])
        elif word == "value":
            good = log.map_value(int(words[1]), int(words[2]), chain) == raw(words[3])
        elif word == "map":
            leaves = {}
        elif word == "set":
            leaves[raw(words[1])] = raw(words[2])
        elif word == "root":
            root = log.map_root(leaves)
            good = root == raw(words[1])
        elif word in ("present", "refuse-present"):
            good = log.map_holds(root, raw(words[1]), raw(words[2]), None, hashes(words[3])) == (word == "present")
        else:
            demand(word in ("absent", "refuse-absent"), "unknown word")
            other = None if words[2] == "-" else tuple(raw(w) for w in words[2].split(":"))
            good = log.map_holds(root, raw(words[1]), None, other, hashes(words[3])) == (word == "absent")
        yield number, good


def notes(name="notes.txt", folder=FOLDER):
    keys = []
    for number, words in lines(name, folder):
        if words[0] == "key":
            keys.append((words[1], int(words[2]), raw(words[3])))
            good = log.note_key_id(*keys[-1]) == raw(words[4])
        elif words[0] == "accept":
            origin, size, root, cosigned = log.read_note(raw(words[5]), keys)
            wants = [] if words[4] == "-" else [tuple(w.split("=")) for w in words[4].split(",")]
            good = (origin, size, root) == (words[1], int(words[2]), raw(words[3])) and \
                sorted((n, str(t)) for n, t in cosigned) == sorted(wants)
        else:
            demand(words[0] == "refuse", "unknown word")
            good = refused(log.read_note, raw(words[1]), keys)
        yield number, good


def trusts(name="trust.txt", folder=FOLDER):
    trust = None
    for number, words in lines(name, folder):
        word, good = words[0], True
        if word == "trust":
            trust = Trust(raw(words[1]))
        elif word in ("file", "refuse-file"):
            good = refused(trust.read_file, raw(words[1])) == (word != "file")
        elif word in ("add", "refuse"):
            good = refused(trust.add, [raw(w) for w in words[1].split(",")]) == (word != "add")
        elif word == "state":
            roster = trust.roster.message
            missing = sum(i not in trust.memberships for i in roster.get("memberships", []))
            good = [trust.networks[-1].message["version"], roster["version"], roster["expires"].get("ms", 0), missing] == \
                [int(w) for w in words[1:]]
        elif word == "member":
            s, state = trust.state(raw(words[1]))
            good = [s.message["domain"], s.id.hex(), str(s.message["version"]), str(s.hlc), state] == words[2:]
        elif word == "nobody":
            good = trust.state(raw(words[1])) is None
        elif word == "at":
            s = trust.member_at(raw(words[1]), int(words[2]))
            good = (s.id.hex() if s else "-") == words[3]
        elif word == "key":
            good = trust.key_counts(raw(words[1]), int(words[2])) == (words[3] == "yes")
        else:
            demand(word in ("check", "refuse-check"), "unknown word")
            good = refused(trust.check, words[1], raw(words[2]) or None, raw(words[3])) == (word != "check")
        yield number, good


ALL = {"canonical.txt": canonical, "dsse.txt": dsse, "entry.txt": entry, "stream.txt": stream,
       "content.txt": contents, "log.txt": tree, "map.txt": maps, "notes.txt": notes, "trust.txt": trusts}
