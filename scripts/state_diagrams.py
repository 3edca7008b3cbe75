#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the states of every operation from the step tables in src/engine/job_*.c, into docs/architecture.md.

  state_diagrams.py --print    shows the drawing
  state_diagrams.py --write    renews the text between the markers of docs/architecture.md
  state_diagrams.py --check    fails when that text is not what the tables say

A table is `static const struct kvf_job_step NAME[] = { [STATE] = { "name", function, next states as bits }, ... };`, a
kind is `const struct kvf_job_kind kvf_job_X = { "x", NAME, ... };`.
"""
import argparse
import difflib
import glob
import os
import re
import sys

BEGIN = "<!-- begin states: written by scripts/state_diagrams.py --write -->"
END = "<!-- end states -->"
TABLE = re.compile(r"static const struct kvf_job_step (\w+)\[\] = \{(.*?)\};", re.DOTALL)
STEP = re.compile(r'(?:\[(\w+)\]\s*=\s*)?\{\s*"([\w ]+)"\s*,\s*\w+\s*,\s*([^{}]*?)\s*\}')
KIND = re.compile(r'const struct kvf_job_kind kvf_job_\w+ = \{\s*"(\w+)"\s*,\s*(\w+)\s*,')
NEXT = re.compile(r"1u\s*<<\s*(\w+)")
ORDER = "lookup store retrieve prefetch pin unpin demote remove clear flush".split()


class Error(Exception):
    pass


def read_tables(path, text):
    """name of the table -> [(state, [next states])], by the names in the strings."""
    tables = {}
    for table, body in TABLE.findall(text):
        steps = STEP.findall(body)
        if len(steps) != body.count("{"):
            raise Error(f"{path}: {table}: a step this script does not understand")
        names = {key or str(i): name for i, (key, name, _) in enumerate(steps)}
        rows = []
        for _, name, after in steps:
            keys = NEXT.findall(after)
            if after != "0" and not keys:
                raise Error(f"{path}: {table}: {name}: next states '{after}'?")
            unknown = [k for k in keys if k not in names]
            if unknown:
                raise Error(f"{path}: {table}: {name}: no state {', '.join(unknown)}")
            rows.append((name, [names[k] for k in keys]))
        tables[table] = rows
    return tables


def read_kinds(root):
    kinds = {}
    for path in sorted(glob.glob(os.path.join(root, "src", "engine", "job_*.c"))):
        with open(path, encoding="utf-8") as f:
            text = f.read()
        tables = read_tables(os.path.relpath(path, root), text)
        for kind, table in KIND.findall(text):
            if table not in tables:
                raise Error(f"{path}: {kind}: no table {table}")
            kinds[kind] = tables[table]
    if not kinds:
        raise Error("src/engine/job_*.c: no kind of job found")
    return kinds


def draw(kind, rows):
    """One line of boxes; what does not go to its right neighbour is said below."""
    line = f"{kind + ':':<10}" + " --> ".join(f"[{name}]" for name, _ in rows) + " --> [settle] --> [posted]"
    order = [name for name, _ in rows]
    lines = [line]
    for i, (name, after) in enumerate(rows):
        right = order[i + 1:i + 2]
        for target in after:
            if target not in right:
                lines.append(f"{'':<10}also {name} --> {target}")
        if right and right[0] not in after:
            lines.append(f"{'':<10}not {name} --> {right[0]}")
    return lines


def diagrams(root):
    kinds = read_kinds(root)
    names = [k for k in ORDER if k in kinds] + sorted(k for k in kinds if k not in ORDER)
    lines = ["```"]
    for name in names:
        lines += draw(name, kinds[name])
    return "\n".join(lines + ["```"]) + "\n"


def main():
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=here, help="the source tree")
    what = parser.add_mutually_exclusive_group(required=True)
    for flag in ("--print", "--write", "--check"):
        what.add_argument(flag, action="store_true")
    args = parser.parse_args()
    try:
        drawing = diagrams(args.root)
    except Error as e:
        print(e, file=sys.stderr)
        return 1
    if args.print:
        sys.stdout.write(drawing)
        return 0
    path = os.path.join(args.root, "docs", "architecture.md")
    with open(path, encoding="utf-8") as f:
        old = f.read()
    pattern = re.compile(re.escape(BEGIN) + "\n.*?" + re.escape(END), re.DOTALL)
    if len(pattern.findall(old)) != 1:
        print(f"{path}: wants one pair of markers '{BEGIN}' and '{END}'", file=sys.stderr)
        return 1
    new = pattern.sub(lambda _: f"{BEGIN}\n{drawing}{END}", old)
    if new != old and args.write:
        with open(path, "w", encoding="utf-8") as f:
            f.write(new)
    elif new != old:
        sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), path, "the step tables"))
        print("docs/architecture.md is out of date: run scripts/state_diagrams.py --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
