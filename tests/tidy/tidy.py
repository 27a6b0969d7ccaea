"""tidy.py ROOT: checks a tree against rules.py, prints what to do about each finding, exits 1 on any."""

import os
import re
import subprocess
import sys

import rules

TEXT = (".c", ".h", ".py", ".sh", ".md", ".proto", ".bzl", ".txt")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
# A comment, a string or a character: what is no code. Newlines in it are kept.
NO_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Tree:
    """The files of a checkout, and the findings in them."""

    def __init__(self, root):
        self.root = root
        self.files = sorted(self.list_files())
        self.texts = {path: self.read(path) for path in self.files if self.is_text(path)}
        self.findings = []

    def list_files(self):
        if os.path.exists(os.path.join(self.root, ".git")):
            listed = subprocess.run(
                ["git", "-c", "safe.directory=*", "-C", self.root, "ls-files", "-z"],
                capture_output=True, check=True, text=True,
            )
            return [path for path in listed.stdout.split("\0") if os.path.isfile(os.path.join(self.root, path))]
        found = []
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if not name.startswith("bazel-") and name != "__pycache__"]
            found += [os.path.relpath(os.path.join(folder, name), self.root) for name in names]
        return found

    @staticmethod
    def is_text(path):
        return path.endswith(TEXT) or os.path.basename(path) in ("BUILD", "dev", "run", "WORKSPACE")

    def read(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
            return file.read()

    def find(self, path, line, text):
        self.findings.append(f"{path}:{line}: {text}")

    def sources(self, *suffixes):
        return [(path, text) for path, text in self.texts.items() if path.endswith(suffixes)]


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def code_of(text):
    """The text with comments, strings and characters blanked."""
    return NO_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def within(path, folder):
    return path.startswith(folder + "/")


def is_test(path):
    return within(path, "tests") or path.endswith(tuple(rules.TEST_SUFFIXES))


def folder_rule(path):
    fitting = [folder for folder in rules.MAY_INCLUDE if within(path, folder)]
    return max(fitting, key=len) if fitting else None


# ---- each check takes the tree ------------------------------------------------------------------------------


def check_top(tree):
    for path in tree.files:
        first, _, rest = path.partition("/")
        if rest and first not in rules.TOP_FOLDERS:
            tree.find(path, 1, f"no folder '{first}' at the top: put it under one of {', '.join(rules.TOP_FOLDERS)}")
        if not rest and first not in rules.TOP_FILES:
            tree.find(path, 1, "not a root file: put it into a folder, or name it in TOP_FILES of tests/tidy/rules.py")


def check_our_include(tree, path, line, name):
    if "/" not in name:
        tree.find(path, line, f'"{name}": write the path from the root, "{os.path.dirname(path)}/{name}"')
        return
    mine = folder_rule(path)
    if mine is None:
        tree.find(path, line, "no rule for this folder: add it to MAY_INCLUDE of tests/tidy/rules.py")
        return
    allowed = [mine] + rules.MAY_INCLUDE[mine] + (["tests"] if is_test(path) else [])
    if not any(within(name, folder) for folder in allowed):
        tree.find(path, line, f'{mine} may not include "{name}": only {", ".join(allowed[1:]) or "itself"}')


def check_outside_include(tree, path, line, name):
    for prefix, folders, advice in rules.DOORS:
        if name.startswith(prefix):
            allowed = any(within(path, folder) for folder in folders)
            if not allowed and not (is_test(path) and "tests" in folders):
                tree.find(path, line, f"<{name}> only in {', '.join(folders)}: {advice}")
            return
    if name.removesuffix(".h") not in rules.PLAIN:
        tree.find(path, line, f"<{name}> has no door: give it one in DOORS (or PLAIN) of tests/tidy/rules.py")
    elif name.removesuffix(".h") in rules.PURE_MAY_NOT and not is_test(path):
        for folder in rules.PURE_FOLDERS:
            if within(path, folder):
                tree.find(path, line, f"<{name}>: {folder} is pure, let the caller do it")


def check_includes(tree):
    for path, text in tree.sources(".c", ".h"):
        for match in INCLUDE.finditer(text):
            check = check_our_include if match[1] == '"' else check_outside_include
            check(tree, path, line_of(text, match.start()), match[2])


def check_headers(tree):
    for path, text in tree.sources(".h"):
        if not text.startswith(f"/* {path} - "):
            tree.find(path, 1, f"begin with '/* {path} - what it is': headers read as the manual")
        if "\n#pragma once\n" not in text:
            tree.find(path, 1, "add '#pragma once' after the file comment")


def check_calls(tree):
    banned = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(rules.BANNED_CALLS))
    clocks = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(rules.CLOCK_CALLS))
    for path, text in tree.sources(".c", ".h"):
        code = code_of(text)
        for match in banned.finditer(code):
            tree.find(path, line_of(code, match.start()), f"{match[1]}: {rules.BANNED_CALLS[match[1]]}")
        free = any(within(path, folder) for folder in rules.CLOCK_FREE) and not is_test(path)
        if free and not any(within(path, folder) for folder in rules.CLOCK_DOORS):
            for match in clocks.finditer(code):
                tree.find(path, line_of(code, match.start()), f"{match[1]}: time comes from node/world, as a value")


def check_functions(tree):
    """A function's body opens with '{' and closes with '}' in the first column."""
    for path, text in tree.sources(".c", ".h"):
        lines = code_of(text).split("\n")
        opened = None
        for number, line in enumerate(lines):
            if line == "{" and number > 0:
                opened = number
            elif line == "}" and opened is not None:
                check_length(tree, path, lines, opened, number)
                opened = None


def check_length(tree, path, lines, opened, closed):
    length = closed - opened - 1
    head = " ".join(lines[max(0, opened - 4):opened])
    names = re.findall(r"(\w+)\s*\(", head)
    name = names[-1] if names else "?"
    for candidate in reversed(names):
        if re.search(r"(?:^|[\s*])%s\s*\([^{};]*$" % re.escape(candidate), head):
            name = candidate
    if length > rules.MAX_FUNCTION_LINES and f"{path}:{name}" not in rules.LONG_FUNCTIONS:
        tree.find(path, opened + 1, f"{name} has {length} lines (limit {rules.MAX_FUNCTION_LINES}): split it, or give "
                  f"the reason as '{path}:{name}' in LONG_FUNCTIONS of tests/tidy/rules.py")


def check_texts(tree):
    for path, text in tree.texts.items():
        if within(path, "tests/tidy"):
            continue
        lines = text.count("\n")
        if lines > rules.MAX_FILE_LINES:
            tree.find(path, lines, f"more than {rules.MAX_FILE_LINES} lines: split it by concept")
        for match in re.finditer(rules.UNFINISHED, text):
            tree.find(path, line_of(text, match.start()), f"{match[0]}: do it, or file an issue and take the note out")
        for pattern, advice in rules.MACHINE:
            for match in re.finditer(pattern, text):
                tree.find(path, line_of(text, match.start()), f"'{match[0]}': {advice}")
    for path, text in tree.sources(".c", ".h"):
        for number, line in enumerate(text.split("\n"), 1):
            if "\t" in line or line != line.rstrip():
                tree.find(path, number, "a tab, or blanks at the end: ./dev format")


def check_built(tree):
    """Every C file stands in the BUILD file of its package, so that no test lies dead."""
    for path, _ in tree.sources(".c"):
        folder = os.path.dirname(path)
        while folder and f"{folder}/BUILD" not in tree.texts:
            folder = os.path.dirname(folder)
        build = tree.texts.get(f"{folder}/BUILD", "")
        name = os.path.relpath(path, folder or ".")
        if f'"{name}"' not in build and f'"{os.path.splitext(name)[0]}"' not in build and "glob(" not in build:
            tree.find(path, 1, f"in no target: name it in {folder or '.'}/BUILD")


def check_links(tree):
    for path, text in tree.sources(".md"):
        for match in LINK.finditer(text):
            target = match[1].split("#")[0]
            if not target or re.match(r"\w+:", target):
                continue
            wanted = os.path.normpath(os.path.join(os.path.dirname(path), target))
            if not os.path.exists(os.path.join(tree.root, wanted)):
                tree.find(path, line_of(text, match.start()), f"link to {target}: there is no such file")


def check_reasons(tree):
    """Every error reason is explained in the protocol's file about errors, once there is one."""
    pages = [text for path, text in tree.texts.items() if re.match(r"docs/protocol/.*error.*\.md$", path)]
    schema = tree.texts.get("proto/chartmesh/v1/common.proto", "")
    if not pages:
        return
    for match in re.finditer(r"^ *ERROR_REASON_(\w+) *=", schema, re.MULTILINE):
        if match[1] != "UNSPECIFIED" and not any(re.search(rf"\b{match[1]}\b", page) for page in pages):
            tree.find("proto/chartmesh/v1/common.proto", line_of(schema, match.start()),
                      f"{match[1]} is not explained in docs/protocol: say when a node answers so")


def check_reasons_tested(tree):
    """Every reason that a node may answer is demanded by some test; one that is kept for later is called reserved."""
    schema = tree.texts.get("proto/chartmesh/v1/common.proto", "")
    pages = [text for path, text in tree.texts.items() if re.match(r"docs/protocol/.*error.*\.md$", path)]
    tests = [text for path, text in tree.texts.items() if is_test(path) or path.endswith("_test.py")]
    for match in re.finditer(r"^ *ERROR_REASON_(\w+) *=", schema, re.MULTILINE):
        word = re.compile(rf"(\b|ERROR_REASON_){match[1]}\b")
        reserved = any(re.search(rf"`{match[1]}` \|[^|]*\| reserved", page) for page in pages)
        if match[1] != "UNSPECIFIED" and not reserved and not any(word.search(text) for text in tests):
            tree.find("proto/chartmesh/v1/common.proto", line_of(schema, match.start()),
                      f"no test demands {match[1]}: produce it in one")


def check_vectors(tree):
    readers = [text for path, text in tree.texts.items() if is_test(path) or path.endswith("_test.py")]
    for path in tree.files:
        name = os.path.basename(path)
        if within(path, "proto/vectors") and name.endswith((".txt", ".json", ".vectors")):
            if not any(name in text for text in readers):
                tree.find(path, 1, "no test reads these vectors: read them, or remove the file")


CHECKS = [
    check_top, check_includes, check_headers, check_calls, check_functions, check_texts, check_built, check_links,
    check_reasons, check_reasons_tested, check_vectors,
]


def findings(root):
    tree = Tree(root)
    for check in CHECKS:
        check(tree)
    return tree.findings


def main(root):
    found = findings(root)
    for finding in found:
        print(finding)
    print(f"tidy: {len(found)} findings in {root}" if found else "tidy: clean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
