#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the rules of CONTRIBUTING.md that a machine can check. `lint.py [--root DIR] [FILE...]`; 1 = found something.

Exceptions stand in scripts/lint_allow.txt, one a line: RULE PATH[:FUNCTION] LIMIT-OR-DASH REASON...
"""
import argparse
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from sources import tree_files  # noqa: E402

MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 600
MAX_COLUMNS = 120
TAB = 8

# What the files of a folder below src/ may include; public headers always.
MAY_INCLUDE = {
    "base": {"base"},
    "loop": {"loop", "base"},
    "config": {"config", "base"},
    "token": {"token", "loop", "base"},
    "cache": {"cache", "loop", "base"},
    "device": {"device", "loop", "base"},
    "tier": {"tier", "loop", "base"},
    "engine": {"engine", "cache", "token", "device", "tier", "config", "loop", "base"},
    "api": {"api", "engine", "cache", "token", "device", "tier", "config", "loop", "base"},
}
# Libraries that one folder keeps to itself.
OWNED_HEADERS = [
    (re.compile(r"^ev\.h$"), ("src/loop/",)),
    (re.compile(r"^yaml\.h$"), ("src/config/",)),
    (re.compile(r"^liburing\.h$"), ("src/tier/",)),
    (re.compile(r"^cuda"), ("src/device/",)),
    (re.compile(r"^threads\.h$"), ()),
    (re.compile(r"^assert\.h$"), ()),
]
# Functions nobody calls in src/: name -> why, and the files that may.
BANNED = {}


def ban(names, why, but=()):
    for name in names.split():
        BANNED[name] = (why, but)


ban("abort exit _exit _Exit quick_exit assert", "a library never ends its host: use KVF_CHECK")
ban("sprintf vsprintf strcpy stpcpy strcat strncat gets", "no bound: use snprintf or memcpy")
ban("atoi atol atoll atof strtok", "no error, or hidden state: use strtoull and check")
ban("alloca", "the host's stack is not ours")
ban("sleep usleep nanosleep clock_nanosleep pause system popen wait waitpid", "nothing blocks")
ban("pthread_create thrd_create fork vfork", "no threads, no processes")
ban("malloc calloc realloc free strdup strndup asprintf vasprintf posix_memalign aligned_alloc reallocarray",
    "memory comes from struct kvf_mem", ("src/base/mem.c",))
ban("time clock gettimeofday clock_gettime", "only the clock reads time", ("src/loop/clock.c",))
ban("printf puts putchar", "a library does not write to stdout")
ban("signal sigaction raise kill", "signals belong to the host")
ban("rand srand random srandom drand48 setlocale", "process-wide state")
CALL = re.compile(r"(?<![\w.>])(" + "|".join(sorted(BANNED, key=len, reverse=True)) + r")\s*\(")

UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.$}/-])/(?:" + "|".join(("home", "root", "work", "Users", "mnt")) + r")/[\w.]")
SPDX = "SPDX-License-Identifier: Apache-2.0"
SPDX_NAMES = re.compile(r"\.(c|h|cu|cc|sh|py|m4|ac|am|map)$|^(quickstart|autogen\.sh|\.ci/run)$|^scripts/[\w-]+$")
TEXT = re.compile(r"\.(c|h|cu|cc|sh|py|m4|ac|am|map|in|md|txt|yml|yaml|[1-9])$"
                  r"|^(quickstart|\.ci/run|\.clang-format|\.gitignore)$|^scripts/[\w-]+$")
C_FILE = re.compile(r"\.(c|h|cu)$")


def blank(match):
    """The same text without its content: line breaks stay, so that line numbers do."""
    return re.sub(r"[^\n]", " ", match.group(0))


COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)


def code_of(text):
    """C text without comments, strings and preprocessor lines, of the same shape."""
    return DIRECTIVE.sub(blank, COMMENT_OR_STRING.sub(blank, text))


def functions(code):
    """Yields (name, first line, lines) of every function definition; lines count from its name to its last brace."""
    depth = 0
    start = 0               # where the text of the present declaration begins
    found = None
    line = 1
    for i, c in enumerate(code):
        if c == "\n":
            line += 1
        elif c == "{":
            head = code[start:i]
            if depth == 0 and re.match(r"\s*extern\s*$", head):     # extern "C" {
                start = i + 1
                continue
            if depth == 0 and "(" in head and not re.search(r"(?<![=!<>])=(?!=)", head):
                name = re.sub(r"\b__attribute__\s*\(\(.*?\)\)", "", head, flags=re.DOTALL)
                name = re.search(r"(\w+)\s*\(", name)
                if name:
                    lead = len(head) - len(head.lstrip())
                    found = (name.group(1), line - head[lead:].count("\n"))
            depth += 1
        elif c == "}":
            depth = 0 if i == 0 or code[i - 1] == "\n" else max(depth - 1, 0)
            if depth == 0:
                start = i + 1
                if found:
                    yield found[0], found[1], line - found[1] + 1
                    found = None
        elif c == ";" and depth == 0:
            start = i + 1


class Lint:
    def __init__(self, root, allow):
        self.root = root
        self.allow = allow
        self.allow_used = set()
        self.found = []

    def over(self, rule, where, value, limit):
        """Whether value is over the limit, and over what an exception allows."""
        if value <= limit:
            return False
        if (rule, where) not in self.allow:
            return True
        self.allow_used.add((rule, where))
        return value > self.allow[rule, where]

    def say(self, rule, path, line, text):
        if self.over(rule, path, 1, 0):
            self.found.append(f"{path}:{line}: {text} [{rule}]")

    def say_size(self, rule, path, line, text, value, limit, where=None):
        if self.over(rule, where or path, value, limit):
            self.found.append(f"{path}:{line}: {text}, at most {self.allow.get((rule, where or path), limit)} [{rule}]")

    def check_text(self, path, text):
        lines = text.split("\n")
        if text and not text.endswith("\n"):
            self.say("newline", path, len(lines), "no newline at the end of the file")
        if SPDX_NAMES.search(path) and SPDX not in "\n".join(lines[:3]):
            self.say("spdx", path, 1, f"the first lines lack '{SPDX}'")
        for n, line in enumerate(lines, 1):
            if line != line.rstrip():
                self.say("space", path, n, "space at the end of the line")
            if UNFINISHED.search(line):
                self.say("unfinished", path, n, "unfinished work is not left in the code")
            if MACHINE_PATH.search(line):
                self.say("path", path, n, "a path of one machine")
            width = len(line.expandtabs(TAB))
            if C_FILE.search(path):
                self.say_size("columns", path, n, f"{width} columns", width, MAX_COLUMNS)

    def check_sizes(self, path, text, code):
        n = text.count("\n")
        self.say_size("file", path, n, f"{n} lines", n, MAX_FILE_LINES)
        for name, first, lines in functions(code):
            self.say_size("function", path, first, f"{name}() has {lines} lines", lines, MAX_FUNCTION_LINES,
                          f"{path}:{name}")

    def check_includes(self, path, text):
        bare = re.sub(r"/\*.*?\*/", blank, text, flags=re.DOTALL)
        for m in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', bare, re.MULTILINE):
            line = bare.count("\n", 0, m.start()) + 1
            quoted, name = m.group(1) == '"', m.group(2)
            if path.startswith("src/"):
                self.check_src_include(path, line, quoted, name)
            elif path.startswith("include/") and not name.startswith("kvferry/") and (quoted or "/" in name.replace("sys/", "")):
                self.say("import", path, line, f"a public header includes only public headers, not {name}")
            elif path.startswith("examples/") and quoted and not os.path.exists(
                    os.path.join(self.root, os.path.dirname(path), name)):
                self.say("import", path, line, f"an example uses the public API only, not {name}")

    def check_src_include(self, path, line, quoted, name):
        folder = path.split("/")[1]
        if not quoted:
            for pattern, owners in OWNED_HEADERS:
                if pattern.search(name) and not path.startswith(owners):
                    self.say("import", path, line, f"<{name}> is not for {folder}/" if owners else f"<{name}> is not used")
            return
        if name.startswith("kvferry/"):
            return
        target = name[4:] if name.startswith("src/") else name
        if "/" not in target:
            return              # beside the file
        if target.startswith("../"):
            target = os.path.relpath(os.path.normpath(os.path.join(os.path.dirname(path), target)), "src")
        top = target.split("/")[0]
        if top not in MAY_INCLUDE and os.path.exists(os.path.join(self.root, os.path.dirname(path), target)):
            return              # a folder below this one
        if top not in MAY_INCLUDE.get(folder, set()):
            self.say("import", path, line, f"{folder}/ may not include {top}/: {name}")

    def check_calls(self, path, code):
        for m in CALL.finditer(code):
            why, but = BANNED[m.group(1)]
            if path in but or self.is_declaration(code, m.start()):
                continue
            self.say("call", path, code.count("\n", 0, m.start()) + 1, f"{m.group(1)}(): {why}")

    @staticmethod
    def is_declaration(code, at):
        """`void (*free)(...)` never matches; `int time(` as a member or prototype has a type before it."""
        before = code[code.rfind("\n", 0, at) + 1:at].rstrip()
        word = re.search(r"(\w+)\s*\**$", before)
        return bool(word) and word.group(1) not in ("return", "else", "do", "case")

    def check(self, path):
        if not TEXT.search(path):
            return
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as f:
            text = f.read()
        self.check_text(path, text)
        if C_FILE.search(path):
            code = code_of(text)
            self.check_sizes(path, text, code)
            self.check_includes(path, text)
            if path.startswith("src/"):
                self.check_calls(path, code)


PLANTED = "mutants/planted.txt"


def check_planted(lint):
    """What a planted mutant changes stands once in its file; scripts/mutants.py, which needs hours, would only then say."""
    path = os.path.join(lint.root, PLANTED)
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    block = []
    for n, line in enumerate(lines + [""], 1):
        if line.strip() and not line.startswith("#"):
            block.append((n, line))
            continue
        if len(block) >= 2:
            check_place(lint, block[0][1], *block[1])
        block = []


def check_place(lint, path, n, old):
    path = os.path.join(lint.root, path)
    times = 0
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            times = f.read().count(old + "\n")
    if times != 1:
        lint.say("planted", PLANTED, n, f"stands {times} times in its file, must be once")


def read_allow(path):
    allow = {}
    if not os.path.exists(path):
        return allow
    with open(path, encoding="utf-8") as f:
        for n, line in enumerate(f, 1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            if len(words) < 4:
                raise SystemExit(f"{path}:{n}: wants RULE PATH[:FUNCTION] LIMIT-OR-DASH REASON...")
            allow[words[0], words[1]] = float("inf") if words[2] == "-" else int(words[2])
    return allow


def skipped(path):
    return path.startswith(("fuzz/corpus/", "tests/data/", "bench/results/", "m4/l")) or "/data/" in path


def main():
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=here, help="the source tree")
    parser.add_argument("files", nargs="*", help="paths below the root; all files when none is given")
    args = parser.parse_args()
    lint = Lint(args.root, read_allow(os.path.join(args.root, "scripts", "lint_allow.txt")))
    files = args.files or [f for f in tree_files(args.root) if not skipped(f)]
    for path in files:
        lint.check(path)
    if not args.files:
        check_planted(lint)
        for rule, where in sorted(set(lint.allow) - lint.allow_used):
            lint.found.append(f"scripts/lint_allow.txt:1: '{rule} {where}' is needed no more [allow]")
    print("\n".join(lint.found + [f"lint: {len(files)} files, {len(lint.found)} findings"]))
    return 1 if lint.found else 0


if __name__ == "__main__":
    sys.exit(main())
