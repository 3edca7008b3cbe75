#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the tests: plants mistakes into a copy of the tree, one at a time, and asks whether any test notices.

    mutants.py [--planted] [--made N] [--seed S] [--from I] [--only TEXT] [--jobs N] [--minutes M] [--work DIR]

Planted mutants stand in mutants/planted.txt; all of them must be caught. Made ones are machine-made changes of src/engine
and src/cache in an order that depends on the seed and on the change alone, so that the same ones come after an edit
elsewhere; N of them are tried, from the I-th on, and at least 90 % must be caught. A change that does not compile, or
gives the very same object code, is no mutant and is replaced by the next one. One that mutants/equivalent.txt lists, with
the proof that it changes nothing a test could see, is tried too and counted for itself, not as caught.

A test that crashes, hangs or takes many times its time has noticed. --work keeps the build for the next time.
Exit status: 0 all is well, 1 too many survive.
"""
import argparse
import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# All that `make check` runs and that has the engine or a part of src/cache in it. The order is that of the first try;
# later, what killed most in the least time goes first. Each is a program and its arguments.
TESTS = [
    ("tests/unit/test_" + name, []) for name in (
        "engine", "ring", "tiers", "events", "order", "lookup", "rate", "quota", "priority", "numa", "control", "open", "scrub",
        "no_memory", "layers", "loads", "prefetch", "stores", "device", "device_open", "operations",
        "spans", "wire_requests",
        "tenant", "wire_engine", "remote_options", "turn", "shutdown", "pool_slices",
        "slots", "plan_asks", "spill", "tier_drive", "open_parts", "hugemap",
        "evict", "evict_paths", "index_table", "index", "pool",
        "memcheck", "drive", "guard", "store_rules", "metrics", "open_advice", "replay_device",
        "replay_oracle", "replay_run", "seed_scenario", "seq_wire", "timeline", "log", "kvf_ev", "disk_engine",
        "disk_replay", "disk_tier", "disk_hang", "disk_files", "resp_server", "config_cmd")
] + [
    ("tests/sim/sim", ["--seed", "1", "--seeds", "300"]), ("tests/sweep/test_sweep_engine", []),
    ("tests/sweep/test_sweep_net", []),
    ("tests/sweep/test_sweep_engine_turns", []), ("tests/sweep/test_sweep_engine_eight", []),
    ("tests/sweep/test_sweep_engine_decor", []), ("tests/sim/sim", []),
]
LIBRARIES = ("libkvferry_internal.la", "libkvferry_tool.la", "libkvf_test.la")
MADE_FOLDERS = ("src/engine", "src/cache")
EQUIVALENT = "mutants/equivalent.txt"
IGNORED = (".git", "autom4te.cache", "__pycache__", "*.o", "*.lo")


def run(args, cwd, seconds, env=None, cpu_seconds=None):
    """True when it ended with status 0 within its time. What hangs turns in a circle or sleeps: both end."""
    def limit():
        if cpu_seconds:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    # A group of its own: the servers that a test has started end with it.
    with subprocess.Popen(args, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, preexec_fn=limit, start_new_session=True) as child:
        try:
            return child.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, 9)


class Mutant:
    def __init__(self, path, old, new, why, at=None, key=None):
        self.path, self.old, self.new, self.why, self.at, self.key = path, old, new, why, at, key

    def apply(self, text):
        if self.at is not None:
            return text[:self.at] + self.new + text[self.at + len(self.old):]
        if text.count(self.old) != 1:
            raise ValueError(f"{self.path}: stands there {text.count(self.old)} times, must be once: {self.old.strip()}")
        return text.replace(self.old, self.new)


def blocks_of_four(name):
    for block in re.split(r"\n\s*\n", (ROOT / name).read_text()):
        lines = [line for line in block.split("\n") if line.strip() and not line.startswith("#")]
        if lines and len(lines) != 4:
            sys.exit(f"{name}: {len(lines)} lines where 4 are wanted:\n{block}")
        if lines:
            yield lines


def planted():
    return [Mutant(path, old + "\n", new + "\n", why) for path, old, new, why in blocks_of_four("mutants/planted.txt")]


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
FUNCTION = re.compile(r"^[a-z][^\n;=]*?\b(\w+)\([^;]*?\)\n\{", re.M)
# Nothing depends on what is only said, drawn, counted for the statistics page or asked for ahead of time.
TALK = re.compile(r"kvf_log|timeline|metrics|KVF_CHECK|kvf_refuse|kvf_report|stats\.|prefetch\(|fetch_ahead|fetch_next|"
                  r"fetch_entry|index_fetch|madvise")
TALK_FILES = ("stats.c", "metrics.c", "metrics_text.c", "job_log.c")


def functions(hidden):
    return [(m.start(), m.group(1)) for m in FUNCTION.finditer(hidden)]


def made_in(path):
    """All changes of one file."""
    text = path.read_text()
    hidden = COMMENT.sub(lambda m: re.sub(r"[^\n]", "\a", m.group(0)), text)
    name = str(path.relative_to(ROOT))
    starts = functions(hidden)
    seen = {}

    def mutant(start, old, new):
        line = hidden.rfind("\n", 0, start) + 1
        whole = text[line:text.find("\n", start)]
        function = next((f for at, f in reversed(starts) if at <= start), "")
        # A checker that finds less is no mistake of the engine's, and what is fetched ahead only costs time.
        if TALK.search(whole) or "verify" in function or function.startswith("fetch_"):
            return None
        column = start - line
        changed = whole[:column] + new + whole[column + len(old):] if "\n" not in old else ";"
        key = (f"{name}:{function}", whole.strip(), changed.strip())
        seen[key] = seen.get(key, 0) + 1
        number = hidden.count("\n", 0, start) + 1
        return Mutant(name, old, new, f"line {number}: {whole.strip()}  [{old.strip()} -> {new.strip()}]", start,
                      key + ((str(seen[key]),) if seen[key] > 1 else ()))

    for pattern, new in CHANGES:
        for m in pattern.finditer(hidden):
            yield mutant(m.start(), m.group(0), new)
    for m in STATEMENT.finditer(hidden):
        start = m.start() + len(m.group(0)) - len(m.group(0).lstrip("\t"))
        yield mutant(start, text[start:m.end()], ";")


def made(seed):
    """Machine-made mutants in an order drawn from the seed and what each is."""
    found = []
    for folder in MADE_FOLDERS:
        for path in sorted((ROOT / folder).glob("*.c")):
            if path.name not in TALK_FILES and "verify" not in path.name:
                found += [m for m in made_in(path) if m]
    return sorted(found, key=lambda m: hashlib.sha256("\0".join((str(seed),) + m.key).encode()).digest())


def equivalents(mutants):
    """Keys of those that are known to change nothing. Each must still be one that is made."""
    there = {m.key[:3] for m in mutants}
    listed = {}
    for where, old, new, proof in blocks_of_four(EQUIVALENT):
        key = (where, old.strip(), new.strip())
        if key not in there:
            sys.exit(f"{EQUIVALENT}: no such change is made any more: {where}: {old.strip()} -> {new.strip()}")
        listed[key] = proof
    return listed


def copy_tree(to):
    """Makes the copy like the tree; leaves what is alike alone, so that nothing is built twice."""
    ignore = shutil.ignore_patterns(*IGNORED)
    for folder, folders, files in os.walk(ROOT):
        skip = ignore(folder, folders + files)
        here = pathlib.Path(folder)
        folders[:] = [name for name in folders if name not in skip and here / name != to.parent.parent and
                      not (here / name / "config.status").exists()]
        target = to / here.relative_to(ROOT)
        target.mkdir(parents=True, exist_ok=True)
        for name in files:
            source = here / name
            if name in skip or not source.is_file():
                continue
            data = source.read_bytes()
            if not (target / name).exists() or (target / name).read_bytes() != data:
                shutil.copy(source, target / name)


class Build:
    """The library under test as a shared object, so that a mutant costs one compilation and one link, and its tests."""

    def __init__(self, tree, where, options, cflags):
        self.tree, self.where, self.options, self.cflags = tree, where, options, cflags
        self.where.mkdir(parents=True, exist_ok=True)
        self.env = dict(os.environ, KVF_SRCDIR=str(tree), KVF_BUILDDIR=str(where), KVF_CC="cc", KVF_CXX="c++")
        self.took = {}
        self.kills = {}
        self.clean = {}

    def make(self, *args, seconds=1800):
        return run(["make", *args], self.where, seconds)

    def say(self, variable):
        return subprocess.run(["make", "-s", "--eval", f"say: ; @echo {variable}", "say"], cwd=self.where,
                              capture_output=True, text=True, check=True).stdout.split()

    def prepare(self):
        flags = f"CFLAGS=-O1 -fPIC -fvisibility=default {self.cflags}"
        if not (self.where / "Makefile").exists() and not run([str(self.tree / "configure"), "--with-cuda=no",
                                                              "--disable-shared", *self.options, flags], self.where, 300):
            sys.exit("mutants: configure failed")
        if not self.make(*LIBRARIES):
            sys.exit("mutants: the tree as it is does not build")
        self.libs = self.say("$(kvf_libs) $(LIBS)")
        self.sanitizers = self.say("$(SAN_CFLAGS)")
        if not self.link():
            sys.exit("mutants: the library does not link")
        under_test = f"libkvf_test.la libkvferry_tool.la -L{self.where} -lkvf_mutant -Wl,-rpath,{self.where} "
        if not self.make(f"LDADD={under_test} {' '.join(self.libs)} -lcunit -lm", *sorted({name for name, _ in TESTS})):
            sys.exit("mutants: the tests do not build")
        for test in TESTS:
            start = time.monotonic()
            if not self.test(test, 600, 600):
                sys.exit(f"mutants: the tree as it is fails {self.name(test)}")
            self.took[self.name(test)] = time.monotonic() - start
            print(f"  {self.took[self.name(test)]:7.2f} s  {self.name(test)}", flush=True)

    def name(self, test):
        return " ".join([test[0], *test[1], *(["(sanitized)"] if self.options else [])])

    def test(self, test, seconds, cpu_seconds):
        return run([str(self.where / test[0])] + test[1], self.where, seconds, self.env, cpu_seconds)

    def link(self):
        objects = sorted(str(p) for p in (self.where / "src").rglob("libkvferry_internal_la-*.o"))
        return run(["cc", *self.sanitizers, "-shared", "-o", str(self.where / "libkvf_mutant.so"), *objects, *self.libs],
                   self.where, 120)

    def compile(self, path):
        """The object and its code's digest, None when it does not compile."""
        source = pathlib.Path(path)
        target = source.with_name(f"libkvferry_internal_la-{source.stem}.lo")
        if not self.make(str(target), seconds=120):
            return None
        target = self.where / target.with_suffix(".o")
        dump = subprocess.run(["objdump", "-drs", "--no-addresses", "-j", ".text", "-j", ".rodata", "-j", ".data",
                               str(target)], capture_output=True, check=False)
        return target, hashlib.sha256(dump.stdout).digest()

    def judge(self, mutant):
        """As Bench.judge()."""
        path = self.tree / mutant.path
        text = path.read_text()
        if mutant.path not in self.clean:
            self.clean[mutant.path] = self.compile(mutant.path)
        target, digest = self.clean[mutant.path]
        code = target.read_bytes()
        path.write_text(mutant.apply(text))
        try:
            new = self.compile(mutant.path)
            if not new or new[1] == digest or not self.link():
                return None
            return self.killer()
        finally:
            path.write_text(text)
            target.write_bytes(code)

    def killer(self):
        for test in sorted(TESTS, key=lambda t: -(self.kills.get(self.name(t), 0) + 0.5) / (self.took[self.name(t)] + 0.02)):
            name = self.name(test)
            took = self.took[name]
            if not self.test(test, 15 * took + 20, int(10 * took + 5)):
                self.kills[name] = self.kills.get(name, 0) + 1
                return name
        return ""


class Bench:
    """One copy of the tree in which one mutant at a time is tried. Who survives the tests has to survive them once more
    with the sanitizers, as `.ci/run` runs them."""

    def __init__(self, base):
        self.tree = base / "tree"
        copy_tree(self.tree)
        self.builds = [Build(self.tree, base / "build", [], "-fno-semantic-interposition"),
                       Build(self.tree, base / "sanitized", ["--enable-asan", "--enable-ubsan"], "")]

    def prepare(self):
        if not (self.tree / "configure").exists() and not run(["./autogen.sh"], self.tree, 300):
            sys.exit("mutants: autogen.sh failed")
        for build in self.builds:
            build.prepare()

    def judge(self, mutant):
        """The name of what killed it, "" when it survives, None when it is no mutant."""
        killer = ""
        for build in self.builds:
            killer = build.judge(mutant)
            if killer != "":
                break
        return killer


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


def try_made(benches, args, deadline):
    """False when too many survive."""
    mutants = made(args.seed)
    listed = equivalents(mutants)
    if args.only:
        mutants = [m for m in mutants if args.only in f"{m.path} {m.why}"]
    results = list(try_all(benches, mutants[args.start:], args.made, deadline))
    killed = sum(1 for _, killer in results if killer)
    equivalent = 0
    for mutant, killer in results:
        if mutant.key[:3] in listed and killer:
            print(f"mutants: {EQUIVALENT} lists one that {killer} catches: {mutant.path} {mutant.why}")
            return False
        equivalent += mutant.key[:3] in listed
    survived = len(results) - killed - equivalent
    print(f"mutants: machine-made, seed {args.seed}: of {len(results)}: {killed} killed, {equivalent} equivalent (listed), "
          f"{survived} survived")
    return len(results) >= args.made and killed * 10 >= (len(results) - equivalent) * 9


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--planted", action="store_true", help="only the planted ones")
    parser.add_argument("--no-planted", action="store_true", help="only machine-made ones")
    parser.add_argument("--made", type=int, default=100, help="machine-made ones (default 100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from", dest="start", type=int, default=0, help="begin with the I-th machine-made one")
    parser.add_argument("--only", help="machine-made ones whose file or line contains this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=180)
    parser.add_argument("--work", help="folder whose builds are kept")
    return parser.parse_args()


def main():
    args = parse()
    deadline = time.monotonic() + 60 * args.minutes
    bad = False

    with contextlib.ExitStack() as stack:
        folder = args.work or stack.enter_context(tempfile.TemporaryDirectory(prefix="kvf-mutants-"))
        benches = [Bench(pathlib.Path(folder).resolve() / str(i)) for i in range(args.jobs)]
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(Bench.prepare, benches))
        if not args.no_planted:
            mutants = planted()
            results = list(try_all(benches, mutants, len(mutants), deadline))
            killed = sum(1 for _, killer in results if killer)
            print(f"mutants: planted: {killed} of {len(mutants)} caught")
            bad |= killed < len(mutants)
        if not args.planted and args.made:
            bad |= not try_made(benches, args, deadline)
    return bad


if __name__ == "__main__":
    sys.exit(main())
