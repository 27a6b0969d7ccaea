"""proto/vectors/consent.txt: read and judged; and written, for generated cases."""
import os

import consent
from consent import ACT_CODE, Configuration, Context, Version
from vectors import FOLDER
from wire import Refused, demand, rule_tree

ORIGIN = "a0"
ROLE, CLASS = "urn:chartmesh:role", "http://loinc.org"
LISTS = {"actions", "purposes", "facilities", "users", "documents", "authoring_facilities"}
CODED = {"roles": ROLE, "sensitivity": ACT_CODE, "without_sensitivity": ACT_CODE, "classes": CLASS}


def coding(word, system):
    return tuple(word.split("|", 1)) if "|" in word else (system, word)


def period(word):
    start, end = word.split("-")
    return (int(start) if start else None, int(end) if end else None)


def dot(word):
    tag, counter = word.split(".")
    return int(tag), int(counter)


def labels(word):
    level, *codes = word.split(",")
    return [level] + [coding(c, ACT_CODE) for c in codes]


def fields(words, known):
    out = {}
    for word in words:
        name, value = word.split("=", 1)
        demand(name in known, "unknown field " + name)
        out[name] = value
    return out


def rule(words):
    identity, _, parent = words[1].partition("<")
    out = {"id": int(identity), "effect": words[2]}
    if parent:
        out["parent"] = int(parent)
    known = LISTS | set(CODED) | {"confidentiality_max", "confidentiality_min", "clinical", "valid", "deny_only"}
    for name, value in fields(words[3:], known).items():
        if name in LISTS:
            out[name] = value.split(",")
        elif name in CODED:
            out[name] = [coding(c, CODED[name]) for c in value.split(",")]
        elif name in ("clinical", "valid"):
            out[name] = period(value)
        else:
            out[name] = True if name == "deny_only" else value
    return out


class Case:
    def __init__(self, number):
        self.number, self.policies, self.copies, self.glass, self.versions = number, [], [], [], []
        self.request, self.expects, self.groups, self.last = None, [], [], None

    def take(self, words):
        word = words[0]
        if word == "policy":
            f = fields(words[3:], {"user", "base", "dot", "context"})
            self.last = {"facility": words[1], "who": words[2], "user": f.get("user"), "base": f.get("base"), "rules": [],
                         "dot": dot(f["dot"]) if "dot" in f else None,
                         "context": [dot(d) for d in f.get("context", "").split(",") if d]}
            self.policies.append(self.last)
        elif word == "rule":
            self.last["rules"].append(rule(words))
        elif word == "copy":
            f = fields(words[2:], {"max_age", "valid", "lease"})
            c = {"pair": dot(words[1]), "trees": []}
            c.update({k: period(v) if k == "valid" else int(v) for k, v in f.items()})
            self.copies.append(c)
        elif word == "tree":
            f = fields(words[1:], {"base", "deny_only"})
            self.last = {"rules": [], "base": f.get("base")}
            if "deny_only" in f:
                self.last["deny_only"] = True
            (self.groups[-1]["trees"] if self.groups else self.copies[-1]["trees"]).append(self.last)
        elif word == "break_glass":
            self.glass.append((words[1], words[2], *period(words[3])))
        elif word in ("request", "push"):
            self.request = words
        elif word == "version":
            f = fields(words[3:], {"author", "class", "labels", "effective", "clinical"})
            self.versions.append(Version(
                words[1], words[2], f.get("author"), coding(f["class"], CLASS) if "class" in f else None,
                labels(f["labels"]) if "labels" in f else None, labels(f["effective"]) if "effective" in f else None,
                period(f["clinical"]) if "clinical" in f else None))
        elif word == "expect":
            self.expects.append(words[1:])
        else:
            demand(word == "group", "unknown word " + word)
            self.groups.append({"versions": words[1], "trees": [], **fields(words[2:], {"max_age", "basis"})})

    def judge(self, config):
        """(expect lines, groups) as this implementation would write them."""
        words = self.request
        at = 3 if words[0] == "request" else 2
        f = fields(words[at:], {"user", "role", "purpose", "time", "assigned", "integrity"})
        lo, _, hi = f["time"].partition("-")
        lo, hi = int(lo), int(hi or lo)
        out, groups = [], []
        for i, v in enumerate(self.versions):
            if words[0] == "push":
                answer, terms = consent.disclose(self.policies, words[1], v, lo, hi, config, ORIGIN)
                if terms:
                    same = [g for g in groups if g[1] == terms]
                    same[0][0].append(i) if same else groups.append(([i], terms))
            else:
                cx = Context(words[1], words[2], v, lo, hi, f.get("user"),
                             coding(f["role"], ROLE) if "role" in f else None, f.get("purpose"))
                answer = consent.decide(self.policies, self.copies, self.glass, cx, config, ORIGIN,
                                        f.get("assigned") == "yes", f.get("integrity"))
            out.append([answer.effect, str(answer.step)] + [step_text(s) for s in answer.basis])
        return out, [group_text(*g) for g in groups]

    def expected_groups(self):
        return [(g["versions"], g["max_age"], g.get("basis", ""), g["trees"]) for g in self.groups]


def step_text(step):
    return f"{step[0]}:" + ",".join(str(r) for r in step[1])


def group_text(versions, terms):
    age, basis, trees = terms
    return ",".join(map(str, versions)), str(age), ";".join(step_text(s) for s in basis), trees


def words_of(rule_):
    """A rule as its line."""
    out = [f"rule {rule_['id']}" + (f"<{rule_['parent']}" if "parent" in rule_ else ""), rule_["effect"]]
    for name, value in rule_.items():
        if name in LISTS:
            out.append(f"{name}=" + ",".join(value))
        elif name in CODED:
            out.append(f"{name}=" + ",".join(c if s == CODED[name] else f"{s}|{c}" for s, c in value))
        elif name in ("clinical", "valid"):
            out.append(f"{name}=" + "-".join("" if end is None else str(end) for end in value))
        elif name == "deny_only":
            out.append("deny_only=yes")
        elif name not in ("id", "parent", "effect"):
            out.append(f"{name}={value}")
    return " ".join(out)


def answer_lines(out, groups):
    lines = ["expect " + " ".join(words) for words in out]
    for versions, age, basis, trees in groups:
        lines.append(f"group {versions} max_age={age} basis={basis}")
        for tree in trees:
            lines.append("tree" + (f" base={tree['base']}" if tree["base"] else "") +
                         (" deny_only=yes" if tree.get("deny_only") else ""))
            lines += [words_of(r) for r in tree["rules"]]
    return lines


def refused_policy(policy):
    numbers = {"PERMIT": 1, "DENY": 2}
    try:
        rules = [{**r, "effect": numbers[r["effect"]]} for r in policy["rules"]]
        demand(len(rules) <= 256 and all(a["id"] < b["id"] for a, b in zip(rules, rules[1:])), "ids")
        rule_tree(rules, True)
        return False
    except Refused:
        return True


def configure(config, words):
    """Takes a line of the deciding facility's configuration; False if it is none."""
    if words[0] in ("clinical", "sensitive"):
        setattr(config, words[0], [coding(w, ROLE) for w in words[1:]])
    elif words[0] == "need":
        config.needs[coding(words[1], ROLE), words[2]] = words[3]
    elif words[0] == "max_age":
        config.max_age = tuple(int(w) for w in words[1:])
    else:
        return False
    return True


def check(name="consent.txt", folder=FOLDER):
    config, case, refuse, started = Configuration(), None, False, 0

    def end():
        if case is None:
            return True
        if refuse:
            return refused_policy(case.policies[0])
        out, groups = case.judge(config)
        return out == case.expects and groups == case.expected_groups()

    with open(os.path.join(folder, name), encoding="utf-8") as text:
        for number, line in enumerate(text, 1):
            words = line.split()
            if not words or line.startswith("#"):
                continue
            if words[0] in ("case", "refuse"):
                if case:
                    yield started, end()
                case, refuse, started = Case(number), words[0] == "refuse", number
            elif not configure(config, words):
                case.take(words)
    yield started, end()
