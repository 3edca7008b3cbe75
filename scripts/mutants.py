#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the tests: plants mistakes into a copy of the tree, one at a time, and asks whether any test notices.

    mutants.py [--planted] [--made N] [--seed S] [--jobs N] [--minutes M] [--keep-going]

Planted mutants stand in mutants/planted.txt; all of them must be caught. Made ones are N machine-made changes of
src/engine and src/cache, drawn from one seed; at least 90 % must be caught. A change that does not compile, or gives the
very same object code, is no mutant and is replaced by the next one. Exit status: 0 all is well, 1 too many survive.
"""
import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What kills most goes first. Each is (program, arguments).
TESTS = [
    ("tests/sim/sim", ["--seed", "1", "--seeds", "300"]), ("tests/unit/test_open", []), ("tests/unit/test_ring", []),
    ("tests/unit/test_engine", []), ("tests/unit/test_tiers", []), ("tests/unit/test_control", []),
    ("tests/unit/test_evict", []), ("tests/unit/test_evict_paths", []), ("tests/unit/test_index_table", []),
    ("tests/unit/test_pool", []), ("tests/unit/test_memcheck", []), ("tests/unit/test_scrub", []),
    ("tests/unit/test_drive", []), ("tests/unit/test_guard", []), ("tests/unit/test_store_rules", []),
    ("tests/unit/test_metrics", []), ("tests/unit/test_seed_scenario", []), ("tests/unit/test_index", []),
    ("tests/sweep/test_sweep_engine", []), ("tests/sweep/test_sweep_engine_turns", []),
    ("tests/sweep/test_sweep_engine_eight", []), ("tests/unit/test_resp_server", []), ("tests/unit/test_seq_wire", []),
    ("tests/unit/test_disk_engine", []), ("tests/sim/sim", []), ("tests/sim/sim", ["--seed", "300", "--seeds", "4000"]),
]
TEST_SECONDS = 120
MADE_FOLDERS = ("src/engine", "src/cache")


def run(args, cwd, seconds, env=None):
    """True when it ended with status 0 within its time."""
    try:
        done = subprocess.run(args, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


class Mutant:
    def __init__(self, path, old, new, why, at=None):
        self.path, self.old, self.new, self.why, self.at = path, old, new, why, at

    def apply(self, text):
        if self.at is not None:
            return text[:self.at] + self.new + text[self.at + len(self.old):]
        if text.count(self.old) != 1:
            raise ValueError(f"{self.path}: stands there {text.count(self.old)} times, must be once: {self.old.strip()}")
        return text.replace(self.old, self.new)


def planted():
    found = []
    blocks = re.split(r"\n\s*\n", (ROOT / "mutants/planted.txt").read_text())
    for block in blocks:
        lines = [line for line in block.split("\n") if line.strip() and not line.startswith("#")]
        if not lines:
            continue
        if len(lines) != 4:
            sys.exit(f"mutants/planted.txt: {len(lines)} lines where 4 are wanted:\n{block}")
        found.append(Mutant(lines[0], lines[1] + "\n", lines[2] + "\n", lines[3]))
    return found


# What is looked for, what it becomes.
CHANGES = [
    (re.compile(r" < "), " <= "), (re.compile(r" <= "), " < "), (re.compile(r" > "), " >= "),
    (re.compile(r" >= "), " > "), (re.compile(r" == "), " != "), (re.compile(r" != "), " == "),
    (re.compile(r" && "), " || "), (re.compile(r" \|\| "), " && "), (re.compile(r" \+ 1\b"), " + 2"),
    (re.compile(r" - 1\b"), " - 0"), (re.compile(r"\bif \(!"), "if ("), (re.compile(r"\breturn true;"), "return false;"),
    (re.compile(r"\breturn false;"), "return true;"), (re.compile(r"\+\+;"), "--;"), (re.compile(r"--;"), "++;"),
    (re.compile(r" \+= "), " -= "), (re.compile(r" = true;"), " = false;"), (re.compile(r" = false;"), " = true;"),
]
STATEMENT = re.compile(r"^\t+(?:[a-z_]+\([^;{}]*\)|[a-z_>.\[\]-]+ [-+|&]?= [^;{}]*);$", re.M)
COMMENT = re.compile(r"/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|^#[^\n]*", re.S | re.M)
# Nothing depends on what is only said, drawn or measured.
TALK = re.compile(r"kvf_log|timeline|metrics|KVF_CHECK|kvf_refuse|stats\.|prefetch\(|kvf_likely|fetch")


def made(seed):
    """Machine-made mutants in an order drawn from the seed."""
    found = []
    for folder in MADE_FOLDERS:
        for path in sorted((ROOT / folder).glob("*.c")):
            if path.name in ("stats.c", "verify.c", "metrics.c", "metrics_text.c", "job_log.c", "index_verify.c",
                             "evict_verify.c"):
                continue
            text = path.read_text()
            hidden = COMMENT.sub(lambda m: re.sub(r"[^\n]", "\a", m.group(0)), text)
            name = str(path.relative_to(ROOT))

            def add(start, old, new, name=name, hidden=hidden):
                line = hidden.rfind("\n", 0, start) + 1
                whole = hidden[line:hidden.find("\n", start)]
                if not TALK.search(whole):
                    number = hidden.count("\n", 0, start) + 1
                    found.append(Mutant(name, old, new, f"line {number}: {whole.strip()}  [{old.strip()} -> {new.strip()}]",
                                        start))

            for pattern, new in CHANGES:
                for m in pattern.finditer(hidden):
                    add(m.start(), m.group(0), new)
            for m in STATEMENT.finditer(hidden):
                start = m.start() + len(m.group(0)) - len(m.group(0).lstrip("\t"))
                add(start, text[start:m.end()], ";")
    random.Random(seed).shuffle(found)
    return found


class Bench:
    """One copy of the tree, built, in which one mutant at a time is tried."""

    def __init__(self, base):
        self.tree = base / "tree"
        self.build = base / "build"
        shutil.copytree(ROOT, self.tree, ignore=shutil.ignore_patterns(".git", "build*", "autom4te.cache", "__pycache__"))
        self.build.mkdir()
        self.targets = sorted({name for name, _ in TESTS})

    def prepare(self):
        env = dict(os.environ, KVF_SRCDIR=str(self.tree))
        self.env = env
        if not (self.tree / "configure").exists() or not (self.tree / "build-aux").is_dir():
            if not run(["./autogen.sh"], self.tree, 300):
                sys.exit("mutants: autogen.sh failed")
        if not run([str(self.tree / "configure"), "--with-cuda=no", "--disable-shared", "CFLAGS=-O1"], self.build, 300):
            sys.exit("mutants: configure failed")
        if not run(["make", "libkvferry_internal.la", "libkvf_test.la"] + self.targets, self.build, 1800):
            sys.exit("mutants: the tree as it is does not build")
        for name, args in TESTS:
            if not run([str(self.build / name)] + args, self.build, 10 * TEST_SECONDS, env):
                sys.exit(f"mutants: the tree as it is fails {name}")
        self.clean = self.object_code()

    def object_code(self):
        archive = self.build / ".libs/libkvferry_internal.a"
        dump = subprocess.run(["objdump", "-d", "--no-addresses", str(archive)], capture_output=True, check=False)
        return hashlib.sha256(dump.stdout).hexdigest()

    def judge(self, mutant):
        """The name of what killed it, "" when it survives, None when it is no mutant."""
        path = self.tree / mutant.path
        text = path.read_text()
        path.write_text(mutant.apply(text))
        try:
            if not run(["make", "libkvferry_internal.la"], self.build, 600):
                return None
            if self.object_code() == self.clean:
                return None
            for name, args in TESTS:
                if not run(["make", name], self.build, 300):
                    return None
                if not run([str(self.build / name)] + args, self.build, TEST_SECONDS, self.env):
                    return name
            return ""
        finally:
            path.write_text(text)


def try_all(benches, mutants, want, deadline):
    """Yields (mutant, killer) until `want` real ones were judged."""
    free = list(benches)
    judged = 0
    waiting = {}
    source = iter(mutants)
    with concurrent.futures.ThreadPoolExecutor(len(benches)) as pool:
        while judged < want:
            while free and time.monotonic() < deadline and judged + len(waiting) < want:
                mutant = next(source, None)
                if mutant is None:
                    break
                bench = free.pop()
                waiting[pool.submit(bench.judge, mutant)] = (bench, mutant)
            if not waiting:
                return
            done, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                bench, mutant = waiting.pop(future)
                free.append(bench)
                killer = future.result()
                if killer is None:
                    print(f"  no mutant  {mutant.path} {mutant.why}", flush=True)
                    continue
                judged += 1
                print(f"  {'killed' if killer else 'SURVIVES'}  {mutant.path} {mutant.why}  {killer}", flush=True)
                yield mutant, killer


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--planted", action="store_true", help="only the planted ones")
    parser.add_argument("--made", type=int, default=100, help="machine-made ones (default 100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=180)
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    bad = False

    with tempfile.TemporaryDirectory(prefix="kvf-mutants-") as folder:
        benches = []
        for i in range(args.jobs):
            (pathlib.Path(folder) / str(i)).mkdir()
            benches.append(Bench(pathlib.Path(folder) / str(i)))
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(Bench.prepare, benches))
        mutants = planted()
        results = list(try_all(benches, mutants, len(mutants), deadline))
        killed = sum(1 for _, killer in results if killer)
        print(f"mutants: planted: {killed} of {len(mutants)} caught")
        bad |= killed < len(mutants)
        if not args.planted and args.made:
            results = list(try_all(benches, made(args.seed), args.made, deadline))
            killed = sum(1 for _, killer in results if killer)
            print(f"mutants: machine-made, seed {args.seed}: {killed} of {len(results)} caught")
            bad |= len(results) < args.made or killed * 10 < len(results) * 9
    return bad


if __name__ == "__main__":
    sys.exit(main())
