"""Whose keys count (docs/protocol 02): a Trust takes statements, all or none, and judges others."""
import copy

import statement as st
from wire import Refused, demand

ORDER = ["network", "roster", "membership", "key", "authority", "key-revocation"]


def ms(hlc):
    return hlc >> 16


def holds(period, time):
    low = period["from"].get("ms", 0) if "from" in period else 0
    return low <= time and ("until" not in period or time < period["until"].get("ms", 0))


class Statement:
    def __init__(self, envelope):
        self.kind, self.envelope, self.message = st.read_envelope(envelope)
        self.id = st.statement_id(self.kind, self.envelope["payload"])
        self.head = self.message["head"]
        self.facility, self.hlc = self.head.get("facility"), self.head["hlc"]

    def signers(self, keys):
        return st.signers(self.kind, self.envelope, keys)


class Trust:
    def __init__(self, network):
        self.first, self.network = network, network[:16]
        self.networks, self.roster, self.memberships = [], None, {}
        self.keys, self.authorities, self.revocations, self.known = [], {}, {}, set()

    # ---- adding ----

    def add(self, envelopes):
        new = copy.copy(self)
        for name in ("networks", "memberships", "keys", "authorities", "revocations", "known"):
            setattr(new, name, copy.copy(getattr(self, name)))
        given = {s.id: s for s in map(Statement, envelopes)}
        for s in sorted(given.values(), key=lambda s: (ORDER.index(s.kind) if s.kind in ORDER else 9,
                                                       s.message.get("version", 0), s.hlc)):
            demand(s.kind in ORDER, "not a statement about who counts")
            if s.id not in new.known:
                getattr(new, "add_" + s.kind.replace("-", "_"))(s)
                new.known.add(s.id)
        new.check_members({i for i, s in given.items() if s.kind == "membership" and i not in self.known})
        self.__dict__.update(new.__dict__)

    def read_file(self, data):
        demand(data[:8] == b"CMEVID1\n", "magic")
        at, envelopes, last = 8, [], b""
        while at < len(data):
            demand(at + 5 <= len(data), "cut")
            size, kind = int.from_bytes(data[at:at + 4], "big"), data[at + 4]
            demand(kind == 5 and size <= 1 << 24 and at + 5 + size <= len(data), "a frame")
            envelopes.append(data[at + 5:at + 5 + size])
            identity = Statement(envelopes[-1]).id
            demand(identity > last, "order")
            last, at = identity, at + 5 + size
        self.add(envelopes)
        demand(self.networks, "another network's file")

    def ours(self, s):
        demand(s.head.get("network") == self.network, "another network")

    @staticmethod
    def threshold(signed, network):
        demand(len(signed & set(network.message["operator_keys"])) >= network.message["threshold"], "threshold")

    def add_network(self, s):
        if not self.networks:
            demand(s.id == self.first, "another first network")
        else:
            self.ours(s)
            newest = self.networks[-1]
            demand(s.message["previous"] == newest.id if "previous" in s.message else False, "a fork, or a gap")
            demand(s.message["version"] == newest.message["version"] + 1, "version")
            demand(holds(newest.message["valid"], ms(s.hlc)), "out of the operators' time")
        before = self.networks[-1:]
        signed = s.signers({k for n in [s] + before for k in n.message["operator_keys"]})
        for n in [s] + before:
            self.threshold(signed, n)
        self.networks.append(s)

    def add_roster(self, s):
        self.ours(s)
        demand(not self.roster or s.message["version"] > self.roster.message["version"], "an older roster")
        found = [n for n in self.networks if n.message["version"] == s.message["network_version"]]
        demand(found and found[0] is self.networks[-1], "not the newest network")
        demand(holds(found[0].message["valid"], ms(s.hlc)), "out of the operators' time")
        self.threshold(s.signers(found[0].message["operator_keys"]), found[0])
        self.roster = s

    def add_membership(self, s):
        self.ours(s)
        m, keys = s.message, {s.message[k] for k in ("statement_key", "checkpoint_key", "witness_key")}
        if "previous" in m:
            before = self.memberships.get(m["previous"])
            demand(before, "the one before is unknown")
            demand(before.facility == s.facility and before.message["version"] + 1 == m["version"] and before.hlc < s.hlc, "chain")
            if before.message["statement_key"] != m["statement_key"]:
                keys.add(before.message["statement_key"])
        demand(s.signers(keys) == keys, "a demanded signature is missing")
        self.memberships[s.id] = s

    def check_members(self, added):
        reached = self.reached()
        demand(added <= set(reached), "what nothing reaches")
        listed = [self.memberships[i] for i in (self.roster.message.get("memberships", []) if self.roster else [])
                  if i in self.memberships]
        uses = [x for s in listed for x in [s.facility, s.message["domain"], s.message["statement_key"], s.message["checkpoint_key"],
                                            s.message["witness_key"], s.message["sealing_key"], *s.message.get("tls_pins", [])]]
        demand(len(uses) == len(set(uses)), "listed twice")

    def reached(self):
        """{membership id: until (ms) or None}."""
        if not self.roster:
            return {}
        out = {i: None for i in self.roster.message.get("memberships", [])}
        out.update({f["membership"]: f["until"].get("ms", 0) for f in self.roster.message.get("former", [])})
        waiting = list(out)
        while waiting:
            s = self.memberships.get(waiting.pop())
            if s and "previous" in s.message and s.message["previous"] not in out:
                out[s.message["previous"]] = None
                waiting.append(s.message["previous"])
        return out

    # ---- members ----

    def chain(self, facility):
        reached = self.reached()
        some = [s for i, s in self.memberships.items() if i in reached and s.facility == facility]
        return sorted(some, key=lambda s: s.message["version"]), reached

    def member_at(self, facility, hlc):
        chain, reached = self.chain(facility)
        for s, after in zip(chain, chain[1:] + [None]):
            until = reached[s.id]
            if s.hlc <= hlc and (after is None or hlc < after.hlc) and (until is None or hlc < until << 16):
                return s
        return None

    def state(self, facility):
        chain, _ = self.chain(facility)
        if not chain:
            return None
        s = chain[-1]
        current = s.id in self.roster.message.get("memberships", [])
        return s, "former" if not current else "active" if s.message["status"] == 1 else "listed"

    def revoked(self, key, time):
        return any(r["reason"] == 3 or time >= r["since"].get("ms", 0) for r in self.revocations.get(st.key_id(key), ()))

    def compromised(self, key):
        return any(r["reason"] == 3 for r in self.revocations.get(st.key_id(key), ()))

    def statement_key(self, facility, hlc):
        s = self.member_at(facility, hlc)
        demand(s, "no member then")
        demand(s.message["status"] == 1, "signs nothing new")
        demand(not self.revoked(s.message["statement_key"], ms(hlc)), "revoked")
        return s.message["statement_key"]

    # ---- keys, authorities, revocations ----

    def add_key(self, s):
        self.ours(s)
        keys = {self.statement_key(s.facility, s.hlc), s.message["public_key"]}
        demand(s.signers(keys) == keys, "a demanded signature is missing")
        domain = self.member_at(s.facility, s.hlc).message["domain"]
        demand(s.message["holder"].startswith(f"spiffe://{self.network.hex()}/{domain}/"), "holder")
        demand(s.message.get("subject", {}).get("facility", s.facility) == s.facility, "another facility's patient")
        self.keys.append(s)

    def add_authority(self, s):
        self.ours(s)
        keys = {self.statement_key(s.facility, s.hlc)}
        demand(s.signers(keys) == keys, "signature")
        self.authorities[s.id] = s

    def add_key_revocation(self, s):
        self.ours(s)
        key = s.message["key"]
        if s.facility is None:
            newest = self.networks[-1]
            demand(holds(newest.message["valid"], ms(s.hlc)), "out of the operators' time")
            self.threshold(s.signers(newest.message["operator_keys"]), newest)
            demand(s.message["reason"] == 3, "operators: COMPROMISED only")
            reached = self.reached()
            demand(key in {st.key_id(m.message["statement_key"]) for i, m in self.memberships.items() if i in reached},
                   "no statement key of a member")
        else:
            keys = {self.statement_key(s.facility, s.hlc)}
            demand(s.signers(keys) == keys, "signature")
            own = {st.key_id(m.message[k]) for m in self.memberships.values() if m.facility == s.facility
                   for k in ("statement_key", "checkpoint_key", "witness_key")}
            own |= {st.key_id(m.message["sealing_key"], 2) for m in self.memberships.values() if m.facility == s.facility}
            own |= {st.key_id(k.message["public_key"]) for k in self.keys if k.facility == s.facility}
            own |= {st.key_id(a.message["key"]) for a in self.authorities.values() if a.facility == s.facility}
            demand(key in own, "not its key")
        self.revocations[key] = self.revocations.get(key, []) + [s.message]

    def grants_stand(self, s):
        """A key or authority statement: it counts no more where its signer's key is compromised."""
        member = self.member_at(s.facility, s.hlc)
        return member is None or not self.compromised(member.message["statement_key"])

    def enrolled(self, hlc, facility=None, **wants):
        """Enrolled keys that count then: [(key, statement)]."""
        return [(k.message["public_key"], k) for k in self.keys
                if (facility is None or k.facility == facility) and holds(k.message["valid"], ms(hlc)) and self.grants_stand(k)
                and not self.revoked(k.message["public_key"], ms(hlc)) and all(k.message.get(n) == v for n, v in wants.items())]

    def key_counts(self, identity, hlc):
        return any(st.key_id(key) == identity for key, _ in self.enrolled(hlc))

    # ---- who must have signed (01, 11) ----

    def facility_key(self, s):
        return [self.statement_key(s.facility, s.hlc)]

    def authority_key(self, s, identity, duty, subject):
        a = self.authorities.get(identity)
        demand(a and a.facility == s.facility and a.message["duty"] == duty, "authority")
        demand(holds(a.message["valid"], ms(s.hlc)) and self.grants_stand(a), "authority not valid")
        demand(not self.revoked(a.message["key"], ms(s.hlc)), "revoked")
        demand(subject is None or "subjects" not in a.message or subject in a.message["subjects"], "subject")
        return a

    def keys_for(self, s):
        m = s.message
        tolerant = lambda: self.facility_key(s) if self.member_at(s.facility, s.hlc) else []  # noqa: E731
        if s.kind == "version":
            return tolerant() + [k for k, _ in self.enrolled(s.hlc, s.facility, use=1, holder=m["author"]["principal"])]
        if s.kind == "policy":
            who, subject = m["assertor"]["who"], m["subject"]
            if who == 1:
                return [k for k, _ in self.enrolled(s.hlc, s.facility, use=2, subject=subject)]
            if who == 2:
                return [self.authority_key(s, m["assertor"].get("authority"), 2, subject).message["key"]]
            own = self.facility_key(s) if s.facility == subject["facility"] else []
            if who == 3 and "author" in m["assertor"]:
                own += [k for k, _ in self.enrolled(s.hlc, s.facility, use=1, holder=m["assertor"]["author"]["principal"])]
            return own
        if s.kind == "audit-query":
            if "authority" in m:
                a = self.authority_key(s, m["authority"], 1, m.get("subject"))
                demand(a.message["holder"] == m["principal"], "holder")
                return [a.message["key"]]
            return [k for k, _ in self.enrolled(s.hlc, s.facility, holder=m["principal"])]
        if s.kind in ("disclosure", "purge-order", "notice"):
            demand(m["subject"]["facility"] == s.facility, "not the subject's facility")
        return self.facility_key(s)

    def check(self, kind, peer, envelope):
        s = Statement(envelope)
        demand(s.kind == kind, "another kind")
        self.ours(s)
        demand(peer is None or s.facility == peer, "another peer")
        s.signers(self.keys_for(s))
        return s


__all__ = ["Refused", "Trust"]
