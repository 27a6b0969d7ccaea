"""proto/vectors/evidence.txt: read and judged; and its first bundle broken in every place."""
import base64
import os

from evidence import CONTRADICTED, NOT_PROVED, PROVED, Verifier
from vectors import FOLDER
from wire import demand


class Case:
    def __init__(self, number):
        self.number, self.given, self.earlier, self.bundle, self.claims, self.verdict = number, [], [], b"", {}, None

    def verifier(self, bundle):
        network, query = (None if w == "-" else bytes.fromhex(w) for w in (self.given[0], self.given[4]))
        return Verifier(bundle, network, *(int(w) for w in self.given[1:4]), query, self.earlier)

    def good(self):
        v = self.verifier(self.bundle)
        return v.judge() == self.verdict and v.claims == self.claims


def cases(name="evidence.txt", folder=FOLDER):
    out = []
    with open(os.path.join(folder, name), encoding="utf-8") as text:
        for number, line in enumerate(text, 1):
            words = line.split()
            if not words or line.startswith("#"):
                continue
            if words[0] == "case":
                out.append(Case(number))
            elif words[0] == "given":
                out[-1].given = words[1:]
            elif words[0] == "earlier":
                out[-1].earlier.append(base64.b64decode(words[1], validate=True))
            elif words[0] == "bundle":
                out[-1].bundle = base64.b64decode(words[1], validate=True)
            elif words[0] == "claim":
                out[-1].claims[" ".join(words[2:])] = words[1]
            else:
                demand(words[0] == "verdict", "unknown word")
                out[-1].verdict = words[1]
    return out


def check():
    for case in cases():
        yield case.number, case.good()


def broken(stride=19):
    """(place, refused) for flipped bits, cuts and bytes put in, over the whole of the first bundle."""
    case = cases()[0]
    for at in range(0, len(case.bundle), stride):
        before, own, after = case.bundle[:at], case.bundle[at], case.bundle[at + 1:]
        for data in (before + bytes([own ^ 1 << at % 8]) + after, before, before + b"\0" + bytes([own]) + after):
            yield at, case.verifier(data).judge() != PROVED


def chains():
    """(number, good): the first case's chain, as it is, with another link, and cut (07, 6.3)."""
    def state(change):
        case = cases()[0]
        v = case.verifier(case.bundle)
        v.judge()
        change(v)
        del v.claims["chain"]
        v.run("chain", v.chain)
        return v.claims["chain"]

    def another_link(v):
        v.links()[1].commitment = bytes(32)

    def cut(v, since, chain=None):
        first, second = v.links()[:2]
        second.frame["previous_chain"] = chain or v.chain_values()[1]
        v.shown.remove(first)
        v.q["period"] = {"from": {"ms": since}}

    late = 1 << 42
    yield 1, state(lambda v: None) == PROVED
    yield 2, state(another_link) == CONTRADICTED
    yield 3, state(lambda v: cut(v, late)) == PROVED
    yield 4, state(lambda v: cut(v, 1)) == NOT_PROVED
    yield 5, state(lambda v: cut(v, late, bytes(32))) == CONTRADICTED
