"""The decision (docs/protocol 04), over the plain words of proto/vectors/consent.txt: rules and versions are dicts of them."""
import os
from collections import namedtuple

NOT, PARTLY, FULLY = 0, 1, 2
PERMIT, DENY = "PERMIT", "DENY"
LEVELS = "ULMNRV"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
SETTLED = ("facilities", "documents", "classes", "authoring_facilities", "clinical", "confidentiality_max",
           "confidentiality_min", "sensitivity", "without_sensitivity")
Answer = namedtuple("Answer", "effect step basis")


class Table:
    def __init__(self, name, folder="proto/consent/tables"):
        self.parents, self.abstract = {}, set()
        with open(os.path.join(folder, name), encoding="utf-8") as text:
            for line in text.read().splitlines()[1:]:
                code, parents, abstract = line.split("\t")[:3]
                self.parents[code] = parents.replace(",", " ").split()
                if abstract == "1":
                    self.abstract.add(code)

    def known_in_rule(self, code):
        return code in self.parents

    def known(self, code):
        return code in self.parents and code not in self.abstract

    def up(self, code):
        """The code, then its ancestors, the nearest first."""
        out, at = [], [code]
        while at:
            out += [c for c in at if c not in out]
            at = [p for c in at for p in self.parents.get(c, ())]
        return out

    def covers(self, listed, asked):
        """FULLY: yes, NOT: no, PARTLY: perhaps."""
        if not self.known_in_rule(listed) or asked is None or not self.known(asked):
            return PARTLY
        return FULLY if listed in self.up(asked) else NOT


PURPOSES = Table("purpose-of-use.tsv")
SENSITIVITY = Table("information-sensitivity.tsv")


class Version:
    def __init__(self, document, facility, author=None, class_=None, labels=None, effective=None, clinical=None):
        self.document, self.facility, self.author, self.class_, self.clinical = document, facility, author, class_, clinical
        both = [x for x in (labels, effective) if x]
        self.level = max((LEVELS.index(x[0]) for x in both if x[0]), default=LEVELS.index("V"))
        self.codes = sorted({c for x in both for c in x[1:]})
        self.unknown = any(not known_code(c, True) for c in self.codes)
        self.sensitive = bool(self.codes)
        self.above_n = self.level > LEVELS.index("N") or self.sensitive


def known_code(coding, on_version):
    system, code = coding
    return system == ACT_CODE and (SENSITIVITY.known(code) if on_version else SENSITIVITY.known_in_rule(code))


def covers_code(listed, asked):
    if not known_code(listed, False) or not known_code(asked, True):
        return PARTLY
    return SENSITIVITY.covers(listed[1], asked[1])


def span(period):
    low = period[0] if period[0] is not None else float("-inf")
    high = period[1] if period[1] is not None else float("inf")
    return low, high


class Context:
    """A request on one version. `disclose`: purposes, roles and users are open."""

    def __init__(self, action, facility, version, lo, hi, user=None, role=None, purpose=None, disclose=False):
        self.action, self.facility, self.version, self.lo, self.hi = action, facility, version, lo, hi
        self.user, self.role, self.purpose, self.disclose = user, role, purpose, disclose

    def capped(self):
        return self.version.unknown or (not self.disclose and not (self.purpose and PURPOSES.known(self.purpose)))

    def changed(self, **more):
        out = Context.__new__(Context)
        out.__dict__.update(self.__dict__, **more)
        return out


def match_purposes(rule, cx):
    listed = rule["purposes"]
    if cx.disclose:
        if rule["effect"] == DENY:
            return NOT
        return FULLY if any(PURPOSES.known_in_rule(c) for c in listed) else PARTLY
    return max(PURPOSES.covers(c, cx.purpose) for c in listed)


def match_value(listed, value):
    return PARTLY if value is None else FULLY if value in listed else NOT


def match_periods(rule_period, low, high, closed):
    """Is [low, high] (closed) or [low, high) inside the rule's, or does it touch it?"""
    start, end = span(rule_period)
    inside = start <= low and (high < end if closed else high <= end)
    touches = low < end and (start <= high if closed else start < high)
    return FULLY if inside else PARTLY if touches else NOT


def match_field(rule, name, cx):
    listed, v = rule[name], cx.version
    if name == "actions":
        return FULLY if cx.action in listed else NOT
    if name == "purposes":
        return match_purposes(rule, cx)
    if name in ("roles", "users"):
        if cx.disclose:
            return NOT if rule["effect"] == DENY else FULLY
        return match_value(listed, cx.role if name == "roles" else cx.user)
    if name == "facilities":
        return FULLY if cx.facility in listed else NOT
    if name == "documents":
        return FULLY if v.document in listed else NOT
    if name == "authoring_facilities":
        return FULLY if v.facility in listed else NOT
    if name == "classes":
        return match_value(listed, v.class_)
    if name == "confidentiality_max":
        return FULLY if v.level <= LEVELS.index(listed) else NOT
    if name == "confidentiality_min":
        return FULLY if v.level >= LEVELS.index(listed) else NOT
    if name == "sensitivity":
        if not v.codes:
            return NOT
        by_code = [max(covers_code(c, asked) for c in listed) for asked in v.codes]
        return max(by_code) if rule["effect"] == DENY else min(by_code)
    if name == "without_sensitivity":
        return FULLY - max((covers_code(c, asked) for c in listed for asked in v.codes), default=NOT)
    if name == "clinical":
        return PARTLY if v.clinical is None else match_periods(listed, *span(v.clinical), closed=False)
    assert name == "valid", name
    return match_periods(listed, cx.lo, cx.hi, closed=True)


FIELDS = SETTLED + ("actions", "purposes", "roles", "users", "valid")


def match(rule, cx, fields=FIELDS):
    return min([match_field(rule, name, cx) for name in fields if name in rule], default=FULLY)


class Evaluated:
    """What a tree ({base, rules, deny_only}) gives for a context, and by which paths."""

    def __init__(self, tree, cx):
        self.rules = {r["id"]: r for r in tree["rules"]}
        self.children = {}
        for r in tree["rules"]:
            self.children.setdefault(r.get("parent", 0), []).append(r["id"])
        self.gives = {}
        for r in reversed(tree["rules"]):
            level = match(r, cx)
            if cx.capped() or r.get("deny_only"):
                level = min(level, PARTLY)
            self.gives[r["id"]] = self.effect(level, r["effect"], r["id"])
        partly = cx.capped() or tree.get("deny_only")
        self.result = self.effect(PARTLY if partly else FULLY, tree.get("base"), 0)

    def effect(self, level, own, at):
        if level == NOT:
            return None
        below = [self.gives[c] for c in self.children.get(at, ()) if self.gives[c]]
        out = own if not below else DENY if DENY in below else PERMIT
        return out if level == FULLY or out == DENY else None

    def paths(self, at=0):
        further = [c for c in sorted(self.children.get(at, ())) if self.gives[c] == self.result]
        return [[c] + p for c in further for p in self.paths(c)] if further else [[]]


def supersedes(v, u):
    return u["dot"] is not None and any(tag == u["dot"][0] and n >= u["dot"][1] for tag, n in v["context"])


def heads(policies):
    """(the LAW heads, the others), as (number, policy)."""
    out = []
    for law in (True, False):
        own = [(i, p) for i, p in enumerate(policies) if (p["who"] == "LAW") == law]
        out.append([(i, p) for i, p in own if not any(supersedes(q, p) for _, q in own)])
    return out


def counts(p, cx, origin):
    """Section 6: does this head's PERMIT count?"""
    if p["who"] in ("PATIENT", "LAW"):
        return True
    if p["who"] == "STAFF" and p["facility"] != origin:
        return False
    own = p["facility"] == cx.facility and (cx.facility != origin or p.get("user") == cx.user)
    return not (own and cx.version.above_n)


def together(found, cx, origin):
    """(effect, basis) of heads: [(number, policy, Evaluated)]."""
    effects = [(i, e) for i, p, e in found
               if e.result == DENY or (e.result == PERMIT and counts(p, cx, origin))]
    for wanted in (DENY, PERMIT):
        basis = [(i, e.paths()[0]) for i, e in effects if e.result == wanted]
        if basis:
            return wanted, basis
    return None, []


def evaluate(some, cx, origin):
    return together([(i, p, Evaluated(p, cx)) for i, p in some], cx, origin)


class Configuration:
    def __init__(self):
        self.clinical, self.sensitive, self.needs, self.max_age = [], [], {}, (86400, 3600, 600)


def matrix(cx, config, origin):
    if cx.facility != origin or cx.capped() or PURPOSES.covers("TREAT", cx.purpose) != FULLY:
        return False
    v = cx.version
    if not v.above_n:
        return cx.role in config.clinical and cx.role is not None
    return (cx.role is not None and cx.role in config.sensitive) or \
        (cx.user is not None and v.author == cx.user and v.facility == cx.facility)


def table_permits(cx, config, assigned):
    if cx.role is None or cx.purpose is None or not PURPOSES.known(cx.purpose):
        return False
    for purpose in PURPOSES.up(cx.purpose):
        if (cx.role, purpose) in config.needs:
            return config.needs[cx.role, purpose] == "role" or assigned
    return False


def governing(copies):
    """[(first number of its trees, copy)] of the copies that govern."""
    best, out, number = max(c["pair"] for c in copies), [], 0
    for c in copies:
        if c["pair"] == best:
            out.append((number, c))
            number += len(c["trees"])
    return out


def at_holder(copies, cx):
    if not copies:
        return Answer(DENY, 2, [])
    denies, permits, silent = [], [], False
    for first, c in governing(copies):
        if "valid" in c and match_periods(c["valid"], cx.lo, cx.hi, True) != FULLY:
            silent = True
            continue
        found = [(first + i, Evaluated(tree, cx)) for i, tree in enumerate(c["trees"])]
        denies += [(i, e.paths()[0]) for i, e in found if e.result == DENY]
        here = [(i, e.paths()[0]) for i, e in found if e.result == PERMIT]
        silent = silent or not here
        permits += here
    if denies:
        return Answer(DENY, 2, denies)
    if silent:
        return Answer(DENY, 2, [])
    for _, c in governing(copies):
        if c.get("max_age"):
            lease = c.get("lease")
            if lease is None or cx.hi - lease >= c["max_age"] * 1000 or lease - cx.hi > 300000:
                return Answer(DENY, 3, [])
    return Answer(PERMIT, 2, permits)


def forbids_break_glass(policies, copies, cx, origin):
    cx = cx.changed(purpose="BTG")
    if cx.facility == origin:
        trees = [p for some in heads(policies) for _, p in some]
    else:
        trees = [t for _, c in governing(copies) for t in c["trees"]] if copies else []
    for tree in trees:
        e = Evaluated(tree, cx)
        if e.result == DENY and any("BTG" in e.rules[r].get("purposes", ()) for p in e.paths() for r in p):
            return True
    return False


def glass_opens(cases, policies, copies, cx, origin):
    if cx.user is None or cx.purpose is None or PURPOSES.covers("ETREAT", cx.purpose) != FULLY:
        return False
    fits = any(user == cx.user and document == cx.version.document and until - start <= 3600000 and
               start <= cx.lo and cx.hi < until for user, document, start, until in cases)
    return fits and not forbids_break_glass(policies, copies, cx, origin)


def read_steps(policies, copies, cx, config, origin, assigned):
    """Steps 1 to 5."""
    law, others = heads(policies)
    if cx.facility == origin:
        effect, basis = evaluate(law, cx, origin)
        if effect:
            return Answer(effect, 1, basis)
        effect, basis = evaluate(others, cx, origin)
        if effect == DENY:
            return Answer(DENY, 3, basis)
        out = Answer(PERMIT, 3, basis) if effect else Answer(PERMIT if matrix(cx, config, origin) else DENY, 4, [])
    else:
        out = at_holder(copies, cx)
    if out.effect == PERMIT and not table_permits(cx, config, assigned):
        return Answer(DENY, 5, [])
    return out


def decide(policies, copies, cases, cx, config, origin, assigned=False, integrity=None):
    """READ or SEARCH."""
    if integrity:
        return Answer(DENY, 0, [])
    read = read_steps(policies, copies, cx.changed(action="READ"), config, origin, assigned)
    if cx.action == "READ":
        if read.effect == DENY and read.step in (3, 4, 5) and glass_opens(cases, policies, copies, cx, origin):
            return Answer(PERMIT, 6, [])
        return read
    if read.effect == DENY:
        return read
    if cx.facility != origin:
        found = [(first + i, Evaluated(tree, cx)) for first, c in governing(copies) for i, tree in enumerate(c["trees"])]
        denies = [(i, e.paths()[0]) for i, e in found if e.result == DENY]
        return Answer(DENY, 2, denies) if denies else read
    law, others = heads(policies)
    for step, some in ((1, law), (3, others)):
        if step == 3 and read.step == 1:
            break
        effect, basis = evaluate(some, cx, origin)
        if effect == DENY:
            return Answer(DENY, step, basis)
    return read


# ---- disclosing (9) ----

def terms_tree(p, cx, origin):
    kept = {}
    children = {}
    for r in reversed(p["rules"]):
        below = [kept[c] for c in children.get(r["id"], ()) if c in kept]
        children.setdefault(r.get("parent", 0), []).append(r["id"])
        if "actions" in r and not {"READ", "SEARCH"} & set(r["actions"]):
            continue
        level = match(r, cx, SETTLED)
        if level == NOT:
            continue
        out = {k: v for k, v in r.items() if k not in SETTLED}
        if level == PARTLY:
            other = DENY if r["effect"] == PERMIT else PERMIT
            if any(other in b["below"] or b["rule"]["effect"] == other for b in below):
                out["deny_only"] = True
            elif r["effect"] == PERMIT:
                continue
        kept[r["id"]] = {"rule": out, "below": {e for b in below for e in b["below"] | {b["rule"]["effect"]}}}
    rules = []
    for r in p["rules"]:
        if r["id"] in kept and ("parent" not in r or any(r["parent"] == k["id"] for k in rules)):
            rules.append(kept[r["id"]]["rule"])
    tree = {"rules": rules, "base": p.get("base")}
    if not counts(p, cx, origin):
        if tree["base"] != DENY and not any(r["effect"] == DENY for r in rules):
            return {"rules": [], "base": None}
        tree["deny_only"] = True
    return tree


def readable(tree):
    if tree.get("deny_only"):
        return False
    if tree["base"] == PERMIT:
        return True
    through = {}
    for r in tree["rules"]:
        own = not r.get("deny_only") and ("actions" not in r or "READ" in r["actions"]) and \
            ("purposes" not in r or any(PURPOSES.known_in_rule(c) for c in r["purposes"]))
        through[r["id"]] = own and through.get(r.get("parent", 0), True)
        if through[r["id"]] and r["effect"] == PERMIT:
            return True
    return False


def max_age(v, config):
    normal, restricted, sensitive = config.max_age
    return sensitive if v.sensitive or LEVELS[v.level] == "V" else restricted if LEVELS[v.level] == "R" else normal


def disclose(policies, recipient, version, lo, hi, config, origin):
    """(Answer, None) or (Answer, (max_age, basis, trees))."""
    cx = Context("DISCLOSE", recipient, version, lo, hi, disclose=True)
    for step, some in zip((1, 3), heads(policies)):
        found = [(i, p, Evaluated(p, cx)) for i, p in some]
        effect, basis = together(found, cx, origin)
        if effect == DENY:
            return Answer(DENY, step, basis), None
        if effect is None:
            continue
        names = lambda e, path: any(recipient in e.rules[r].get("facilities", ()) for r in path)  # noqa: E731
        counted = {i: e for i, p, e in found if e.result == PERMIT and counts(p, cx, origin)}
        if not any(names(e, path) for e in counted.values() for path in e.paths()):
            continue
        trees = [terms_tree(p, cx, origin) for _, p in some]
        if not any(readable(tree) for tree in trees):
            return Answer(DENY, 4, []), None
        whole = []
        for i, _ in some:
            paths = counted[i].paths() if i in counted else [[]]
            whole.append((i, next((p for p in paths if i in counted and names(counted[i], p)), paths[0])))
        return Answer(PERMIT, step, basis), (max_age(version, config), whole, trees)
    return Answer(DENY, 4, []), None
