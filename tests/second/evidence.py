"""Evidence bundles (docs/protocol 07): a file in, a verdict for each claim out.

"All logs" of a log that had one before it is not judged here: it stays NOT PROVED.
"""
import consent
import log
import statement as st
from trust import Statement, Trust, holds, ms
from wire import Refused, decode, demand

PROVED, NOT_PROVED, CONTRADICTED = "PROVED", "NOT-PROVED", "CONTRADICTED"
CLAIMS = ["file", "entries included", "chain", "complete for log", "statements signed", "decisions", "author signatures",
          "time bounds", "all logs"]
MAGIC, FRAME_MAX, PLACE = b"CMEVID1\n", 1 << 24, {1: 0, 2: 1, 3: 2, 5: 3, 7: 4, 4: 5, 6: 5, 8: 6, 255: 7}
MESSAGES = {3: "MapFrame", 4: "EntryFrame", 6: "WithheldFrame", 7: "TableFrame", 8: "ConsistencyFrame"}
EPOCH, ENROL, POLICY, DISCLOSE, RECEIVE, PURGE_ORDERED, PURGED, RECEIPT, AUDIT_QUERY, MAP = 1, 2, 8, 12, 14, 16, 17, 18, 21, 22
NAME_VERSIONS = {3, 4, 5, 6, DISCLOSE, 13, RECEIVE}
AUDIT, LAW, ERASED, WRITE = 1, 4, 3, 3
EFFECTS, ACTIONS = {1: "PERMIT", 2: "DENY"}, {1: "READ", 2: "DISCLOSE", 3: "SEARCH"}
WHO = {1: "PATIENT", 2: "PROXY", 3: "STAFF", 4: "LAW"}
MUST_BE_NAMED = {"version", "policy", "disclosure", "purge-order", "purge-receipt", "notice", "epoch"}
TRUST_KINDS = {"network", "roster", "membership", "key", "authority", "key-revocation"}


class Missing(Exception):
    """Something that a claim needs is not in the file: NOT PROVED."""


def need(there, what):
    if not there:
        raise Missing(what)


def order_in(kind, body, message):
    """What frames of one type ascend by (1.2)."""
    if kind == 5:
        return Statement(body).id
    if kind in (4, 6):
        return message["at"].get("index", 0)
    return message["name"].encode() if kind == 7 else message.get("size", 0)


def read_frames(data):
    """[(type, body, message or None)], the answer last; Refused where section 1 is broken."""
    demand(data[:8] == MAGIC, "magic")
    frames, at, last = [], len(MAGIC), (-1, None)
    while at < len(data):
        demand(not frames or frames[-1][0] != 255, "bytes after the answer")
        demand(at + 5 <= len(data), "cut")
        size, kind = int.from_bytes(data[at:at + 4], "big"), data[at + 4]
        demand(kind in PLACE and size <= FRAME_MAX and at + 5 + size <= len(data), "a frame")
        body = data[at + 5:at + 5 + size]
        message = decode(MESSAGES[kind], body) if kind in MESSAGES else None
        by = order_in(kind, body, message) if 3 <= PLACE[kind] <= 6 else None
        demand(last[0] < PLACE[kind] or (last[0] == PLACE[kind] and by is not None and last[1] < by), "order of frames")
        frames.append((kind, body, message))
        last, at = (PLACE[kind], by), at + 5 + size
    demand([sum(f[0] == kind for f in frames) for kind in (1, 2, 3, 255)] == [1] * 4, "a frame that is not there")
    return frames


class Link:
    """A shown entry: opened (`entry`), or withheld (`entry` is None)."""

    def __init__(self, frame, entry, commitment):
        self.frame, self.entry, self.commitment = frame, entry, commitment
        self.index, self.path = frame["at"].get("index", 0), frame["at"].get("path", [])

    def included(self, size, root):
        return log.included(log.leaf_of(self.commitment), self.index, size, self.path, root)


def opened(frame):
    opening = frame["opening"]
    return Link(frame, st.read_entry(opening["entry"]), log.commitment(opening["r"], opening["entry"]))


# ---- as consent.py wants it ----

def codings(some):
    return [(c["system"], c["code"]) for c in some]


def plain_period(p):
    return tuple(p[end].get("ms", 0) if end in p else None for end in ("from", "until"))


def plain_rule(r):
    out = dict(r)
    out["effect"] = EFFECTS[r["effect"]]
    for name, value in r.items():
        if name == "actions":
            out[name] = [ACTIONS[a] for a in value]
        elif name in ("facilities", "documents", "authoring_facilities"):
            out[name] = [v.hex() for v in value]
        elif name in ("roles", "sensitivity", "without_sensitivity", "classes"):
            out[name] = codings(value)
        elif name in ("confidentiality_max", "confidentiality_min"):
            out[name] = consent.LEVELS[value - 1]
        elif name in ("clinical", "valid"):
            out[name] = plain_period(value)
    return out


def plain_policy(s):
    m = s.message
    return {"facility": s.facility.hex(), "who": WHO[m["assertor"]["who"]], "user": m["assertor"].get("author", {}).get("user"),
            "base": EFFECTS.get(m.get("base_effect")), "rules": [plain_rule(r) for r in m.get("rules", [])],
            "dot": (m["dot"]["tag"], m["dot"]["counter"]), "context": [(d["tag"], d["counter"]) for d in m.get("context", [])]}


class Verifier:
    def __init__(self, data, network=None, network_version=1, roster_version=1, quorum=1, query=None, earlier=()):
        self.data, self.given, self.least, self.quorum = data, network, (network_version, roster_version), quorum
        self.sent, self.earlier = query, earlier
        self.claims, self.why, self.root_differs, self.bad_entry, self.incarnation = {}, {}, False, None, None
        self.unsure = []
        self.trust, self.checkpoint, self.cosigned, self.wrong, self.recomputed = None, None, [], [], 0

    def judge(self):
        """Fills `claims`; returns the verdict (5.2, 5.3)."""
        self.run("file", self.read)
        if self.claims["file"] == PROVED:
            self.run("file", self.file)
        going = self.claims["file"] == PROVED or self.root_differs
        if self.bad_entry:
            self.claims["entries included"], self.why["entries included"] = CONTRADICTED, self.bad_entry
        if going and self.wrong:
            self.run("statements signed", self.statements_signed)
            going = False
        for claim, rule in (("entries included", self.included), ("chain", self.chain), ("complete for log", self.complete)):
            if going:
                self.run(claim, rule)
            going = going and self.claims[claim] != CONTRADICTED
        if going:
            self.run("statements signed", self.statements_signed)
            if self.claims["statements signed"] != CONTRADICTED:
                self.run("decisions", self.decisions)
                self.run("author signatures", self.author_signatures)
            self.run("time bounds", self.time_bounds)
            self.run("all logs", self.all_logs)
            for data in self.earlier:
                self.run("chain", lambda d=data: self.compare(d))
        for claim in CLAIMS:
            self.claims.setdefault(claim, NOT_PROVED)
        if CONTRADICTED in self.claims.values():
            return CONTRADICTED
        return self.claims["complete for log"]

    def run(self, claim, rule):
        try:
            rule()
            state, why = PROVED, ""
        except Missing as missing:
            state, why = NOT_PROVED, str(missing)
        except Refused as refused:
            state, why = CONTRADICTED, str(refused)
        if state != PROVED or claim not in self.claims:
            self.claims[claim], self.why[claim] = state, why

    def holding(self, *claims):
        for claim in claims:
            need(self.claims.get(claim) == PROVED, claim)

    # ---- file ----

    def read(self):
        frames = read_frames(self.data)
        self.frames = frames
        bodies = {kind: body for kind, body, _ in frames if kind in (1, 2, 255)}
        self.query, self.note, self.answer = Statement(bodies[1]), bodies[2], Statement(bodies[255])
        demand(self.query.kind == "audit-query" and self.answer.kind == "audit-answer", "another kind")
        self.q, self.a = self.query.message, self.answer.message
        self.facility = self.q["facility"]
        self.map = next(m for kind, _, m in frames if kind == 3)
        try:
            self.map_entry = opened(self.map)
            self.shown = [opened(m) if kind == 4 else Link(m, None, m["commitment"]) for kind, _, m in frames if kind in (4, 6)]
        except Refused as refused:
            self.bad_entry = str(refused)
            raise Missing("an entry that is one") from None
        self.entries = [link for link in self.shown if link.entry]
        self.statements = {s.id: s for s in (Statement(body) for kind, body, _ in frames if kind == 5)}
        self.bodies = {Statement(body).id: body for kind, body, _ in frames if kind == 5}
        self.consistencies = [m for kind, _, m in frames if kind == 8]
        demand(self.map_entry.index not in [link.index for link in self.shown], "the MAP entry twice")
        shows = [link for link in self.shown if "previous_chain" in link.frame]
        demand(not shows or shows == self.links()[:1], "previous_chain")
        self.learn()

    def of_kind(self, *kinds):
        return [s for s in self.statements.values() if s.kind in kinds]

    def learn(self):
        """The trust that the bundle leads to; what it does not take stands in `wrong`."""
        first = [s.id for s in self.of_kind("network") if s.message["version"] == 1]
        if self.given not in first and (self.given or not first):
            return
        self.trust = Trust(self.given or first[0])
        rest = sorted(self.of_kind("key", "authority"), key=lambda s: s.hlc) + self.of_kind("key-revocation")
        for some in [self.of_kind("network", "roster", "membership")] + [[s] for s in rest]:
            try:
                self.trust.add([self.bodies[s.id] for s in some])
            except Refused as refused:
                unknown = len(some) == 1 and self.unknown(some[0])
                (self.unsure if unknown else self.wrong).append((some, str(refused)))
        for epoch in self.of_kind("epoch"):
            try:
                self.verify(epoch)
            except Missing:
                pass
            except Refused as refused:
                self.wrong.append(([epoch], str(refused)))

    def unknown(self, s):
        """02, 9.1: who signed is not known, which is not the same as wrong."""
        if s.facility is None:
            return False
        keys = {m.message["statement_key"] for m in self.trust.memberships.values()} | {s.message.get("public_key")} - {None}
        known = {st.key_id(key).hex() for key in keys}
        return not self.trust.member_at(s.facility, s.hlc) or any(x["keyid"] not in known for x in s.envelope["signatures"])

    def witnesses(self):
        out = []
        for facility in {s.facility for s in self.trust.memberships.values()} - {self.facility}:
            state = self.trust.state(facility)
            if state and state[1] == "active":
                out.append((state[0].message["domain"] + "/witness", 4, state[0].message["witness_key"]))
        return out

    def file(self):
        a, q = self.a, self.q
        demand(self.sent is None or self.query.id == self.sent, "another query was sent")
        demand(self.answer.facility == self.facility, "another facility answers")
        demand(a["query"] == self.query.id, "the answer is to another query")
        demand(a["map_epoch"] == self.map_entry.index + 1 == q.get("map_epoch", a["map_epoch"]), "another map epoch")
        before = [log.sha256(b"\0", bytes([kind]), body) for kind, body, _ in self.frames[:-1]]
        differs = a["frames"] != len(before) or a["frames_root"] != log.root(before)
        member = self.trust and self.trust.roster and self.trust.member_at(self.facility, self.answer.hlc)
        if member:
            self.signed(member)
        elif not self.wrong:
            self.checkpoint = a["size"], a["root"]
        self.root_differs = differs
        demand(not differs, "frames_root")
        need(member, "the membership of the facility asked")

    def signed(self, member):
        m, a = member.message, self.a
        keys = [(a["origin"], 1, m["checkpoint_key"])] + self.witnesses()
        origin, size, root, cosigned = log.read_note(self.note, keys)
        demand((origin, size, root) == (a["origin"], a["size"], a["root"]), "the answer is about another checkpoint")
        domain, _, incarnation = origin.rpartition("/log/")
        demand(domain == m["domain"] and len(incarnation) == 16, "the log of another")
        self.incarnation = int(incarnation, 16)
        demand(f"{self.incarnation:016x}" == incarnation, "origin")
        self.cosigned = [(name, time) for (name, time) in cosigned for n, _, key in keys[1:]
                         if n == name and not self.trust.revoked(key, time * 1000)]
        self.forgive()
        for s in (self.query, self.answer):
            self.trust.ours(s)
        demand(len(self.answer.envelope["signatures"]) == 1, "signatures of the answer")
        self.answer.signers([self.trust.statement_key(self.facility, self.answer.hlc)])
        keys = self.asker_keys()
        if keys:
            self.query.signers(keys)
        self.checkpoint = size, root

    def asker_keys(self):
        """Empty: not known here; "complete for log" says so."""
        if "authority" in self.q:
            authority = self.trust.authorities.get(self.q["authority"])
            return [authority.message["key"]] if authority else []
        return [key for key, _ in self.trust.enrolled(self.query.hlc, self.query.facility, holder=self.q["principal"])]

    def forgive(self):
        """6.10: a compromise younger than a quorum of cosignatures does not reach what the checkpoint covers."""
        times = sorted(time for _, time in self.cosigned)
        if len(times) < self.quorum:
            return
        covered = times[self.quorum - 1] * 1000
        for key, some in self.trust.revocations.items():
            self.trust.revocations[key] = [r for r in some if r["reason"] != 3 or r["since"].get("ms", 0) <= covered]

    # ---- entries, chain ----

    def about(self, entry):
        name = "subject" if "subject" in self.q else "actor"
        return entry.get(name) == self.q[name]

    def own_query(self, entry):
        return entry["kind"] == AUDIT_QUERY and self.query.id in entry.get("objects", [])

    def included(self):
        need(self.checkpoint, "a checkpoint that is signed")
        everything = sorted(self.entries + [self.map_entry], key=lambda link: link.index)
        for link in self.shown + [self.map_entry]:
            demand(link.included(*self.checkpoint), f"entry {link.index} is not in the tree")
        need(self.map_proved(), "a map that holds")
        demand(all(x.entry["hlc"] < y.entry["hlc"] for x, y in zip(everything, everything[1:])), "the clock went back")
        enrolled = set()
        for link in self.entries:
            e = link.entry
            if link.index == 0:
                demand(e["kind"] == EPOCH and e.get("objects") == [self.a["epoch"]], "entry 0")
            elif e["kind"] == ENROL:
                who = e["enrol"]["principal"], e["enrol"].get("user", "")
                demand(who not in enrolled, "an actor enrolled twice")
                enrolled.add(who)
            else:
                demand(self.about(e) or ("actor" in self.q and self.own_query(e)), f"entry {link.index} is about another")

    def links(self):
        return [x for x in self.shown if x.index < self.map_entry.index and (not x.entry or self.about(x.entry))]

    def key(self):
        if "subject" in self.q:
            return log.patient_key(self.q["subject"]["facility"], self.q["subject"]["patient"])
        return log.actor_key(self.facility, self.q["actor"])

    def chain_values(self):
        """{k: chain after k links}, for what is shown."""
        links = self.links()
        cut = links and "previous_chain" in links[0].frame
        k = self.map.get("count", 0) - len(links) if cut else 0
        values = {k: links[0].frame["previous_chain"] if cut else log.chain(self.key())}
        for link in links:
            values[k + 1] = log.chain(values[k], link.commitment)
            k += 1
        return values

    def map_proved(self):
        frame, count = self.map, self.map.get("count", 0)
        if frame["key"] != self.key() or self.map_entry.entry["kind"] != MAP:
            return False
        value = other = None
        if count:
            if "chain" not in frame or {"other_key", "other_value"} & set(frame):
                return False
            value = log.map_value(count, frame.get("last", 0), frame["chain"])
        else:
            if {"chain", "last"} & set(frame) or ("other_key" in frame) != ("other_value" in frame):
                return False
            other = (frame["other_key"], frame["other_value"]) if "other_key" in frame else None
        return log.map_holds(self.map_entry.entry["root"], frame["key"], value, other, frame.get("siblings", []))

    def chain(self):
        need(self.checkpoint, "a checkpoint that is signed")
        demand(self.map_proved(), "the map does not hold this")
        self.holding("entries included")
        frame, links, count = self.map, self.links(), self.map.get("count", 0)
        demand(len(links) <= count, "more links than the map counts")
        if links and "previous_chain" in links[0].frame:
            start = self.q.get("period", {}).get("from")
            demand(len(links) < count, "cut at the beginning")
            need(start is not None and links[0].entry and ms(links[0].entry["hlc"]) < start.get("ms", 0), "cut too late")
        else:
            need(len(links) == count, "links of the chain")
        if count:
            demand(self.chain_values()[count] == frame["chain"] and links[-1].index == frame.get("last", 0), "other links")

    # ---- complete for log ----

    def complete(self):
        """Contradictions before what is missing: each rule runs."""
        missing = []
        for rule in (self.leads_here, self.epoch_fits, self.authority_fits, self.cosigned_enough, self.after_the_map,
                     self.enrolments, self.known_trees, self.nothing_withheld,
                     lambda: self.holding("file", "entries included", "chain")):
            try:
                rule()
            except Missing as what:
                missing.append(str(what))
        need(not missing, ", ".join(missing))

    def leads_here(self):
        need(self.given, "a network id to start from")
        need(self.trust and self.trust.roster, "the first network statement, or a roster")
        newest = self.trust.networks[-1].message["version"], self.trust.roster.message["version"]
        need(newest[0] >= self.least[0], "a newer network")
        need(newest[1] >= self.least[1], "a newer roster")

    def epoch_fits(self):
        epoch = self.statements.get(self.a["epoch"])
        need(epoch, "the epoch statement")
        demand(epoch.kind == "epoch" and epoch.facility == self.facility, "the epoch of another")
        need(self.incarnation is not None, "a checkpoint that is signed")
        demand(epoch.message["incarnation"] == self.incarnation, "the epoch of another log")
        self.verify(epoch)
        need(self.shown and self.shown[0].index == 0 and self.shown[0].entry, "entry 0")

    def authority_fits(self):
        q = self.q
        need(self.trust, "trust")
        if "authority" not in q:
            keys = [k for k, _ in self.trust.enrolled(self.query.hlc, self.query.facility, holder=q["principal"], use=2,
                                                      subject=q.get("subject"))]
            need(keys, "the patient's key")
            demand("subject" in q, "a patient asks about themself")
            self.query.signers(keys)
            return
        s = self.statements.get(q["authority"])
        need(s, "the authority")
        demand(s.kind == "authority", "no authority")
        a = s.message
        demand(s.facility == self.facility == self.query.facility, "the authority of another")
        demand(a["duty"] == AUDIT and a["holder"] == q["principal"], "an authority for something else")
        demand("subjects" not in a or ("subject" in q and q["subject"] in a["subjects"]), "subject")
        demand("purposes" not in a or q.get("purpose") in a["purposes"], "purpose")
        demand(holds(a["valid"], ms(self.query.hlc)), "an authority that is not valid")
        need(s.id in self.trust.authorities, "an authority that verifies")
        demand(not self.trust.revoked(a["key"], ms(self.query.hlc)) and self.trust.grants_stand(s), "revoked")

    def cosigned_enough(self):
        need(len({name for name, _ in self.cosigned}) >= self.quorum, "cosignatures")

    def after_the_map(self):
        at, later = self.map_entry, [x for x in self.shown if x.index > self.map_entry.index]
        asked = [x for x in later if x.entry and self.own_query(x.entry)]
        demand(all(x in asked or (x.entry and x.entry["kind"] == ENROL) for x in later), "an entry after the map epoch")
        demand(len(asked) < 2, "logged twice")
        need(asked, "the query's own entry")
        entry = asked[0].entry
        demand(set(entry["objects"]) == {self.query.id, *([self.q["authority"]] if "authority" in self.q else [])}, "objects")
        demand(entry.get("subject") == self.q.get("subject"), "the query's entry is about another")
        need(self.enrolment(entry), "the enrolment of who asked")
        demand(self.enrolment(entry)["principal"] == self.q["principal"], "another asked")
        if "map_epoch" not in self.q:
            between = [x for x in later if x.index < asked[0].index]
            only_enrolments = len(between) == asked[0].index - at.index - 1
            demand(asked[0].index <= self.a["map_epoch"] + 4096, "a map epoch that is old")
            demand(only_enrolments or ms(entry["hlc"]) - ms(at.entry["hlc"]) <= 20000, "a map epoch that is old")

    def enrolment(self, entry):
        return next((x.entry["enrol"] for x in self.entries if x.entry["kind"] == ENROL and x.entry["actor"] == entry.get("actor")),
                    None)

    def enrolments(self):
        need(all(self.enrolment(x.entry) for x in self.entries if "actor" in x.entry), "an actor's enrolment")

    def known_trees(self):
        size, root = self.checkpoint
        for c in self.consistencies:
            demand(log.consistent(c["size"], size, c.get("path", []), c["root"], root), "no beginning of this tree")
            if "note" in c:
                member = self.trust and self.trust.member_at(self.facility, self.answer.hlc)
                need(member, "the membership of the facility asked")
                told = log.read_note(c["note"], [(self.a["origin"], 1, member.message["checkpoint_key"])])
                demand(told[:3] == (self.a["origin"], c["size"], c["root"]), "the note of another tree")
        if self.q.get("known_size"):
            found = [c["root"] for c in self.consistencies if c["size"] == self.q["known_size"]]
            need(found, "the tree that the asker knows")
            demand(found[0] == self.q.get("known_root"), "the asker knew another tree")

    def nothing_withheld(self):
        withheld = len(self.shown) - len(self.entries)
        need(not withheld, f"complete; {withheld} withheld")

    # ---- statements, versions ----

    def verify(self, s):
        """Its signatures count; Missing where nothing here says whose they are (02, 9.1)."""
        need(self.trust and self.trust.roster, "trust")
        self.trust.ours(s)
        need(self.trust.member_at(s.facility, s.hlc), "a member")
        try:
            keys = self.trust.keys_for(s)
        except Refused:
            assertor = s.message.get("assertor", {})
            need(assertor.get("authority") in (None, *self.trust.authorities), "an authority")
            raise
        known = {st.key_id(key).hex() for key in keys} | {st.key_id(k.message["public_key"]).hex() for k in self.trust.keys}
        known |= {st.key_id(m.message["statement_key"]).hex() for m in self.trust.memberships.values()}
        need(all(x["keyid"] in known for x in s.envelope["signatures"]), "a key")
        s.signers(keys)

    def named(self):
        """({id: kinds that it must be of}, ids that may be here)."""
        must, may = {}, {self.a["epoch"]}
        for link in self.shown:
            e = link.entry
            if not e:
                must[link.frame["order"]] = ("purge-order",) if link.frame["reason"] == 1 else ("policy",)
                continue
            objects = e.get("objects", [])
            may.update(objects)
            kinds = {POLICY: ("policy",), PURGE_ORDERED: ("purge-order",), PURGED: ("purge-order", "purge-receipt"),
                     RECEIPT: ("purge-order", "purge-receipt")}.get(e["kind"])
            must.update({i: kinds for i in objects if kinds})
            must.update({b["policy"]: ("policy",) for b in e.get("decision", {}).get("basis", [])})
            if "disclosure" in e:
                must[e["disclosure"]] = ("disclosure",)
        for s in [self.statements[i] for i in must if i in self.statements]:
            may.update(s.message.get("versions", []))
            may.update(b["policy"] for b in s.message.get("basis", []) if s.kind == "disclosure")
            may.update([s.message["order"]] if s.kind == "purge-receipt" else [])
        return must, may | set(must)

    def statements_signed(self):
        missing = [why for _, why in self.unsure]
        demand(not self.wrong, "; ".join(why for _, why in self.wrong))
        must, may = self.named()
        for s in self.statements.values():
            demand(s.kind in TRUST_KINDS or s.id in may, f"a {s.kind} that nothing names")
            if s.kind in MUST_BE_NAMED - {"version", "epoch"}:
                demand("subject" not in self.q or s.message["subject"] == self.q["subject"], "about another patient")
                try:
                    self.verify(s)
                except Missing as what:
                    missing.append(str(what))
        for identity, kinds in must.items():
            if identity in self.statements:
                demand(self.statements[identity].kind in kinds, "a statement of another kind")
            else:
                missing.append(f"a {kinds[0]}")
        for link in self.shown:
            self.covered(link) if not link.entry else self.fits(link.entry)
        need(not missing, ", ".join(missing))

    def covered(self, link):
        s = self.statements.get(link.frame["order"])
        if s and link.frame["reason"] == 1:
            demand(s.message["cause"] == ERASED, "withheld by another order")
        elif s:
            demand(s.message["assertor"]["who"] == LAW, "withheld by another policy")

    def fits(self, e):
        """An entry, and the statements that it names."""
        for i in e.get("objects", []) + ([e["disclosure"]] if "disclosure" in e else []):
            s = self.statements.get(i)
            if s and "subject" in s.message and s.kind in MUST_BE_NAMED and "subject" in e:
                demand(s.message["subject"] == e["subject"], "a statement about another patient")
        d = self.statements.get(e.get("disclosure"))
        if not d or e["kind"] not in (DISCLOSE, RECEIVE):
            return
        ends, objects = (d.facility, d.message["recipient"]), set(e.get("objects", []))
        own = (self.facility, e.get("counterpart")) if e["kind"] == DISCLOSE else (e.get("counterpart"), self.facility)
        if ends == own:
            demand(objects <= set(d.message["versions"]), "other versions than disclosed")
        else:
            demand(ends == own[::-1], "other ends than the disclosure's")
            demand(not objects & set(d.message["versions"]), "a contribution that the disclosure covers")

    def decisions(self):
        found = [e["decision"] for e in (link.entry for link in self.entries) if "decision" in e]
        for decision in found:
            for b in decision.get("basis", []):
                policy = self.statements.get(b["policy"])
                if policy:
                    self.ends_so(policy.message, b.get("rules", []), decision["effect"])
        again = {link.index for link in self.entries if "decision" in link.entry and self.decided_again(link)}
        self.recomputed = len(again)
        need(len(again) == len(found), "decisions that cannot be decided again")

    def decided_again(self, link):
        """False: it cannot be. Refused: it has another effect."""
        e, before = link.entry, [x.entry for x in self.entries if x.index < link.index]
        whole = self.claims["chain"] == PROVED and "previous_chain" not in self.links()[0].frame
        if e["kind"] != DISCLOSE or not whole or "subject" not in self.q or self.q["subject"]["facility"] != self.facility:
            return False
        policies = [i for x in before if x["kind"] == POLICY for i in x["objects"]]
        written = [i for x in before if x["kind"] in (WRITE, RECEIVE) for i in x.get("objects", [])]
        if not set(policies + written + e.get("objects", [])) <= set(self.statements):
            return False
        lo, hi = (e["decision"].get(n, {}).get("ms", ms(e["hlc"])) for n in ("lo", "hi"))
        for i in e["objects"]:
            answer, _ = consent.disclose([plain_policy(self.statements[p]) for p in policies], e["counterpart"].hex(),
                                         self.plain_version(i, written), lo, hi, consent.Configuration(), self.facility.hex())
            demand(answer.effect == EFFECTS[e["decision"]["effect"]], "decided otherwise")
        return True

    def plain_version(self, identity, written):
        m = self.statements[identity].message
        known = [self.statements[i].message for i in set(written) | {identity}]
        heads = st.heads([v for v in known if v["document"] == m["document"]])
        effective = [consent.LEVELS[max(v["labels"]["confidentiality"] for v in heads) - 1]]
        effective += [c for v in heads for c in codings(v["labels"].get("sensitivity", []))]
        own = [consent.LEVELS[m["labels"]["confidentiality"] - 1]] + codings(m["labels"].get("sensitivity", []))
        return consent.Version(m["document"].hex(), m["head"]["facility"].hex(), m["author"].get("user"), codings([m["class"]])[0],
                               own, effective, plain_period(m["clinical"]) if "clinical" in m else None)

    @staticmethod
    def ends_so(policy, path, effect):
        rules, at, own = {r["id"]: r for r in policy.get("rules", [])}, 0, policy.get("base_effect")
        for step in path:
            demand(step in rules and rules[step].get("parent", 0) == at, "a rule that is not there")
            at, own = step, rules[step]["effect"]
        demand(own == effect, "a path to another effect")

    def author_signatures(self):
        authority = self.trust.authorities.get(self.q.get("authority")) if self.trust else None
        versions = {s.id: s for s in self.of_kind("version")}
        if authority or "authority" not in self.q:
            may = authority and authority.message.get("version_headers")
            demand(may or not versions, "versions that the authority does not ask for")
            need(may, "version_headers")
        for s in versions.values():
            self.verify(s)
        for link in self.entries:
            if link.entry["kind"] in NAME_VERSIONS:
                need(set(link.entry.get("objects", [])) <= set(versions), "a version")

    # ---- time, logs, earlier bundles ----

    def time_bounds(self):
        self.cosigned_enough()
        earliest = min(time for _, time in self.cosigned) if self.cosigned else 0
        need(all(ms(x.entry["hlc"]) // 1000 <= earliest for x in self.entries + [self.map_entry]), "later than the cosignature")

    def all_logs(self):
        self.holding("complete for log")
        need("previous" not in self.statements[self.a["epoch"]].message, "the logs before")

    def compare(self, data):
        """Section 7."""
        other = Verifier(data, self.given, *self.least, self.quorum)
        other.judge()
        same = CONTRADICTED not in other.claims.values() and other.key() == self.key()
        if not same or other.a["origin"] != self.a["origin"]:
            if not same and self.claims["complete for log"] == PROVED:
                self.claims["complete for log"] = NOT_PROVED
            return
        count, values = other.map.get("count", 0), self.chain_values()
        demand(count <= self.map.get("count", 0), "an earlier bundle has more")
        demand(not count or values.get(count, other.map["chain"]) == other.map["chain"], "an earlier bundle has another chain")
        demand(other.checkpoint[0] != self.checkpoint[0] or other.checkpoint == self.checkpoint, "an earlier bundle has another tree")
