"""Two implementations, one protocol: the vectors of proto/vectors are judged here too, and what is generated here is judged in C.

second_test.py READER…: programs that read proto/vectors/*.txt below the folder they run in. Prints cmocka's lines.
CHARTMESH_SOAK_MINUTES: seeds for so long, instead of two.
"""
import os
import random
import subprocess
import sys
import tempfile
import time

import consent_text
import evidence_text
import make
import vectors

CASES = {"content.txt": 3, "consent.txt": 100, "canonical.txt": 50}


def check(name, judge):
    judged = list(judge())
    wrong = [number for number, good in judged if not good]
    print(f"proto/vectors/{name}: {len(judged)} judged")
    assert judged and not wrong, f"{name}: other verdicts in lines {wrong}"


def generate(folder, seed):
    """Returns how many lines were written, and how many of them must be refused."""
    total = refused = 0
    os.makedirs(os.path.join(folder, "proto/vectors"), exist_ok=True)
    for name, writer in make.ALL.items():
        lines = list(writer(make.Maker(random.Random(f"{seed} {name}")), CASES.get(name, 25)))
        with open(os.path.join(folder, "proto/vectors", name), "w", encoding="utf-8") as out:
            out.write("\n".join(lines) + "\n")
        total += len(lines)
        refused += sum(line.startswith("refuse") for line in lines)
    return total, refused


def agree(readers, seed):
    with tempfile.TemporaryDirectory(prefix="chartmesh-second.") as folder:
        total, refused = generate(folder, seed)
        print(f"seed {seed}: {total} lines, {refused} of them refused")
        assert refused > 200 and total > 2 * refused
        for reader in readers:
            done = subprocess.run([reader], cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"seed {seed}, {reader}:\n{done.stdout}{done.stderr}"


def main():
    readers = [os.path.abspath(path) for path in sys.argv[1:]]
    cases = [(f"test_attack_8_second__{name.split('.')[0]}_vectors", lambda n=name, j=judge: check(n, j))
             for name, judge in [*vectors.ALL.items(), ("consent.txt", consent_text.check), ("evidence.txt", evidence_text.check)]]
    cases.append(("test_second__a_bundle_that_is_broken_anywhere_is_not_proved", lambda: check("evidence.txt, broken", evidence_text.broken)))
    cases.append(("test_second__the_chain_is_what_the_map_holds_whole_or_cut", lambda: check("evidence.txt, chains", evidence_text.chains)))
    minutes = int(os.environ.get("CHARTMESH_SOAK_MINUTES", "0"))
    end, seed, failed = time.monotonic() + 60 * minutes, 1, []
    if not minutes:
        cases += [(f"test_second__generated_cases_have_one_verdict_seed_{n}", lambda n=n: agree(readers, n)) for n in (1, 2)]
    print(f"[==========] Running {len(cases)} test(s).")
    for name, case in cases:
        print(f"[ RUN      ] {name}")
        try:
            case()
            print(f"[       OK ] {name}")
        except Exception as error:  # pylint: disable=broad-except
            print(f"{error}\n[  FAILED  ] {name}")
            failed.append(name)
    print(f"[==========] {len(cases)} test(s) run.\n[  PASSED  ] {len(cases) - len(failed)} test(s).")
    while time.monotonic() < end:
        agree(readers, seed := seed + 1)
    if minutes:
        print(f"{seed - 1} seeds, one verdict")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
