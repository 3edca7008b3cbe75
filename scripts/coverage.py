#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints which share of the lines and branches of src/ the tests ran, from a build with --enable-coverage (gcc).

`coverage.py BUILD-DIR [--missing] [--min PERCENT]`: --missing names the lines never run, --min fails below a share.
"""
import argparse
import collections
import json
import os
import subprocess
import sys


def read_gcov(build, root):
    """Returns {file: {line: (count, branches, branches taken)}}, added up over all objects."""
    files = collections.defaultdict(dict)
    for folder, _, names in os.walk(build):
        data = [n for n in names if n.endswith(".gcno")]     # also what never ran
        if not data:
            continue
        out = subprocess.run(["gcov", "--json-format", "--stdout", "--branch-probabilities"]
                             + [os.path.join(folder, n) for n in data],
                             cwd=build, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
        for text in out.decode("utf-8").splitlines():
            add_report(files, json.loads(text), build, root)
    return files


def add_report(files, report, build, root):
    for f in report["files"]:
        path = os.path.relpath(os.path.normpath(os.path.join(build, f["file"])), root)
        if not path.startswith(("src/", "tools/")):
            continue
        for line in f["lines"]:
            n = line["line_number"]
            count, branches, taken = files[path].get(n, (0, 0, 0))
            ways = [b for b in line["branches"] if not b["throw"]]
            files[path][n] = (count + line["count"], max(branches, len(ways)),
                              max(taken, sum(1 for b in ways if b["count"])))


def row(name, lines):
    ran = sum(1 for count, _, _ in lines if count)
    branches = sum(b for _, b, _ in lines)
    taken = sum(t for _, _, t in lines)
    share = 100.0 * ran / len(lines) if lines else 100.0
    print(f"{name:<48} {ran:6}/{len(lines):<6} {share:6.1f} %  {taken:6}/{branches:<6} "
          f"{100.0 * taken / branches if branches else 100.0:6.1f} %")
    return share


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--min", type=float, default=0.0, metavar="PERCENT")
    args = parser.parse_args()
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    files = read_gcov(os.path.abspath(args.build), root)
    if not files:
        print("no coverage data: was the build configured with --enable-coverage, with gcc?", file=sys.stderr)
        return 1
    print(f"{'file':<48} {'lines':>13} {'':8}  {'branches':>13}")
    for path in sorted(files):
        row(path, list(files[path].values()))
        if args.missing:
            never = sorted(n for n, (count, _, _) in files[path].items() if not count)
            if never:
                print("    never run: " + " ".join(map(str, never)))
    share = row("all", [line for lines in files.values() for line in lines.values()])
    return 1 if share < args.min else 0


if __name__ == "__main__":
    sys.exit(main())
