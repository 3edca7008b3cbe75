#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps the lists of files in Makefile.am equal to the tree, since automake has no wildcards.

Between `# begin sources NAME` and `# end sources NAME` the text of Makefile.am is generated:
  sources.py --check   fails and shows a diff when the lists are out of date (part of `make lint`)
  sources.py --write   regenerates them: run it after adding, moving or removing a file

What a file is follows from where it lies:
  src/<folder>/**          the library
  include/kvferry/*.h      public headers, installed
  tools/kvferry/*.c        the command; what holds no main() can be reached by unit tests as well
  examples/*.c             one program each, built against the installed API only, run by `make check`
  examples/llama/**/*.c    where there is llama.cpp; with a main(): a program; without: linked into all of those
  examples/llama/server/   the same, where there are libmicrohttpd and jansson as well
  tests/**/*.c             with a main(): one test program; without: support, linked into all of them
  tests/api/*.c            test programs that see the public API only
  tests/gpu/*.c            test programs that are built where there is CUDA
  tests/**/test_*.{sh,py}  test scripts, as scripts/*_test.py
  bench/*.c                one program each, `make bench`
  fuzz/*.c                 one harness each (LLVMFuzzerTestOneInput), fuzz/corpus/<name>/ its inputs
"""
import argparse
import difflib
import os
import re
import subprocess
import sys

# Files compiled only where configure found something, first match wins.
CONDITIONS = [
    (re.compile(r"^src/device/(cuda|kernels)"), "HAVE_CUDA"),
    (re.compile(r"^tests/(fake|support)/.*cuda"), "HAVE_CUDA"),
    (re.compile(r"^(tests/unit/test_cuda|tests/sweep/test_sweep_cuda|tests/sim/sim_cuda|bench/bench_gpu)"), "HAVE_CUDA"),
    (re.compile(r"^src/tier/.*uring[^/]*\.c$"), "HAVE_LIBURING"),
]
MAIN = re.compile(r"^int\s+main\s*\(", re.MULTILINE)
TOP = ("src", "include", "tools", "examples", "tests", "bench", "fuzz", "scripts", "docs", "man", "contrib", "m4")
DATA_AT_TOP = (
    "README.md CONTRIBUTING.md CHANGELOG.md LICENSE .clang-format .clang-tidy autogen.sh quickstart .ci/run kvferry.map"
).split()
JUNK = re.compile(r"(~|\.orig|\.rej|\.swp|\.o|\.lo|\.la|\.a|\.log|\.trs|\.pyc|\.gc..|\.dirstamp|\.Po|\.Plo)$")
TOP_FILES = DATA_AT_TOP + "configure.ac Makefile.am kvferry.pc.in .gitignore".split()
GENERATED = re.compile(r"^m4/(libtool|lt.*)\.m4$|(^|/)(\.deps|\.libs|__pycache__)/")


def git_files(root):
    """What git tracks or would add; empty where there is no git, or where it is not the root of its repository."""
    git = ["git", "-C", root]
    try:
        inside = subprocess.run(git + ["rev-parse", "--show-prefix"], check=True, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL).stdout.strip()
        out = subprocess.run(git + ["ls-files", "-co", "--exclude-standard", "-z", "--", "."], check=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [] if inside else [f for f in os.fsdecode(out).split("\0") if f]


def walk_files(root):
    files = list(TOP_FILES)
    for top in TOP:
        for folder, _, names in os.walk(os.path.join(root, top)):
            files += [os.path.relpath(os.path.join(folder, n), root) for n in names]
    return [f for f in files if not GENERATED.search(f)]


def tree_files(root):
    """All files that belong to the project, as sorted paths below its root."""
    files = {f for f in git_files(root) or walk_files(root) if os.path.isfile(os.path.join(root, f))}
    # A build in the source tree leaves its programs beside their sources.
    return sorted(f for f in files if not JUNK.search(f) and f + ".c" not in files)


def variable(name, items):
    return " \\\n\t".join([name + " ="] + list(items)) + "\n"


def assign(name, files):
    """A variable with files, and `+=` under the conditions some of them have."""
    groups = {}
    for f in files:
        condition = next((c for pattern, c in CONDITIONS if pattern.search(f)), None)
        if f.endswith(".h"):
            condition = None    # always distributed
        groups.setdefault(condition, []).append(f)
    text = variable(name, groups.pop(None, []))
    for condition, members in sorted(groups.items()):
        text += f"if {condition}\n{name} +=" + "".join(f" \\\n\t{m}" for m in members) + "\nendif\n"
    return text


def mangle(program):
    return re.sub(r"[^A-Za-z0-9@]", "_", program)


class Tree:
    def __init__(self, root):
        self.root = root
        self.files = tree_files(root)
        self.used = set()

    def take(self, *prefixes, suffix=(".c", ".h"), test=None):
        found = [f for f in self.files if f.startswith(prefixes) and f.endswith(suffix) and (test is None or test(f))]
        self.used.update(found)
        return found

    def has_main(self, path):
        if not path.endswith(".c"):
            return False
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as f:
            return bool(MAIN.search(f.read()))


def programs(files):
    return [f[:-2] for f in files if f.endswith(".c")]


def block_library(tree, folder):
    return assign(mangle(folder) + "_sources", tree.take(folder + "/"))


def block_headers(tree, folder):
    return assign("public_headers", tree.take(folder + "/", suffix=".h"))


def block_tool(tree, folder):
    files = tree.take(folder + "/")
    mains = [f for f in files if tree.has_main(f)]
    text = assign("tool_sources", [f for f in files if f not in mains])
    text += variable("tool_programs", ["kvferry"] if mains else [])
    if mains:
        text += variable("kvferry_SOURCES", mains)
        text += "kvferry_LDADD = libkvferry_tool.la libkvferry_internal.la -lm\n"
    return text


def block_examples(tree, folder):
    files = tree.take(folder + "/", test=lambda f: not f.startswith(folder + "/llama/"))
    return program_block(tree, files, "example", "example_programs", "example_support")


def program_block(tree, files, flags, program_list, rest_list):
    """Programs of a folder with flags of their own, and the sources they share."""
    mains = [f for f in files if tree.has_main(f)]
    text = variable(rest_list, [f for f in files if f not in mains])
    text += variable(program_list, programs(mains))
    for p in programs(mains):
        text += f"{mangle(p)}_SOURCES = {p}.c\n"
        text += f"{mangle(p)}_CPPFLAGS = $({flags}_cppflags)\n"
        text += f"{mangle(p)}_LDADD = $({flags}_ldadd)\n"
    return text


def block_llama(tree, folder):
    files = tree.take(folder + "/", test=lambda f: not f.startswith(folder + "/server/"))
    return program_block(tree, files, "llama", "llama_programs", "llama_sources")


def block_llama_server(tree, folder):
    return program_block(tree, tree.take(folder + "/"), "llama_server", "llama_server_programs",
                         "llama_server_sources")


def block_support(tree, folder):
    return assign("test_support_sources", tree.take(folder + "/", test=lambda f: not tree.has_main(f)))


def block_programs(tree, folder):
    del folder
    text = ""
    for kind in ("unit", "sweep", "sim", "interop", "api", "gpu"):
        found = programs(tree.take(f"tests/{kind}/", suffix=".c", test=tree.has_main))
        text += assign(f"{kind}_programs", found)
        if kind == "api":
            for p in found:
                text += f"{mangle(p)}_SOURCES = {p}.c\n{mangle(p)}_CPPFLAGS = $(api_cppflags)\n"
                text += f"{mangle(p)}_LDADD = $(api_ldadd)\n"
        if kind == "sim":
            text += variable("sim_program", [p for p in found if p == "tests/sim/sim"])
    return text


def block_scripts(tree, folder):
    del folder
    found = tree.take("tests/", suffix=(".sh", ".py"), test=lambda f: os.path.basename(f).startswith("test_"))
    found += tree.take("scripts/", suffix="_test.py")
    return variable("test_scripts", found)


def block_bench(tree, folder):
    files = tree.take(folder + "/")
    mains = [f for f in files if tree.has_main(f)]
    return assign("bench_programs", programs(mains)) + variable("bench_support", [f for f in files if f not in mains])


def block_fuzz(tree, folder):
    files = tree.take(folder + "/")
    harnesses = [f for f in files if f.endswith(".c") and f != "fuzz/replay_main.c"]
    rest = [f for f in files if f not in harnesses and f.endswith(".h")]
    text = variable("fuzz_programs", programs(harnesses)) + variable("fuzz_headers", rest)
    for p in programs(harnesses):
        text += f"{mangle(p)}_SOURCES = {p}.c $(fuzz_main)\n"
        text += f"{mangle(p)}_LDFLAGS = $(fuzz_ldflags)\n"
    corpora = {"/".join(f.split("/")[:3]) for f in tree.files if f.startswith("fuzz/corpus/") and f.count("/") >= 3}
    tree.used.update(f for f in tree.files if f.startswith("fuzz/corpus/"))
    return text + variable("fuzz_corpora", sorted(corpora))


def block_man(tree, folder):
    pages = tree.take(folder + "/", test=lambda f: re.search(r"\.[1-9]$", f), suffix="")
    return variable("man_pages", pages)


def block_data(tree, folder):
    """Everything else goes into the tarball."""
    del folder
    rest = [f for f in tree.files
            if f not in tree.used and f.startswith(tuple(t + "/" for t in TOP)) and not f.startswith("m4/")]     # automake takes m4/ itself
    return variable("data_files", [f for f in DATA_AT_TOP if f in tree.files] + rest)


LIBRARY = ("src/base", "src/loop", "src/cache", "src/token", "src/device", "src/tier", "src/config", "src/engine", "src/api")
# In this order: the last one takes what the others left.
BLOCKS = {name: block_library for name in LIBRARY}
BLOCKS.update({
    "include/kvferry": block_headers,
    "tools/kvferry": block_tool,
    "examples": block_examples,
    "examples/llama": block_llama,
    "examples/llama/server": block_llama_server,
    "tests": block_support,
    "tests/programs": block_programs,
    "tests/scripts": block_scripts,
    "bench": block_bench,
    "fuzz": block_fuzz,
    "man": block_man,
    "data": block_data,
})


def regenerate(text, tree):
    """Returns the text of Makefile.am with all blocks renewed, and the list of what is wrong with it."""
    errors = []
    for name, make in BLOCKS.items():
        pattern = re.compile(rf"(^# begin sources {re.escape(name)}\n)(.*?)(^# end sources {re.escape(name)}$)",
                             re.MULTILINE | re.DOTALL)
        if len(pattern.findall(text)) != 1:
            errors.append(f"Makefile.am: wants one block 'sources {name}'")
            continue
        body = make(tree, name)
        text = pattern.sub(lambda m, body=body: m.group(1) + body + m.group(3), text)
    for f in tree.files:
        if f.endswith((".c", ".h")) and f.startswith("src/") and f not in tree.used:
            errors.append(f"{f}: its folder has no block in Makefile.am (and scripts/sources.py)")
    return text, errors


def main():
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=here, help="the source tree")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="fail when Makefile.am is out of date")
    what.add_argument("--write", action="store_true", help="bring Makefile.am up to date")
    args = parser.parse_args()

    path = os.path.join(args.root, "Makefile.am")
    with open(path, encoding="utf-8") as f:
        old = f.read()
    new, errors = regenerate(old, Tree(args.root))
    for e in errors:
        print(e, file=sys.stderr)
    if new != old and args.write:
        with open(path + ".new", "w", encoding="utf-8") as f:
            f.write(new)
        os.replace(path + ".new", path)
        print("Makefile.am: lists of files renewed")
    elif new != old:
        sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "Makefile.am", "the tree"))
        print("Makefile.am is out of date: run scripts/sources.py --write", file=sys.stderr)
    return 1 if errors or (new != old and args.check) else 0


if __name__ == "__main__":
    sys.exit(main())
