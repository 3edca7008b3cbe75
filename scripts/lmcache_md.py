#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Brings the tables of keys in docs/lmcache.md up to date with docs/configuration.md, which comes from the schema.

What stands in the last column is kept; keys that are new get the text of the schema, keys that are gone lose their row.

usage: lmcache_md.py    (in the root of the tree, after `kvferry config doc > docs/configuration.md`)
"""
import re
import sys

ROW = re.compile(r"^\| `([^`]+)` \| (?:.* \| )?(honoured|harmless|refused) \| (.*) \|$")
WHERE = {  # heading of configuration.md -> start of the heading of lmcache.md
    "Keys of the file": "Keys that kvferry acts on",
    "LMCache's keys below `extra_config`": "LMCache's keys below",
    "kvferry's own keys": "kvferry's own keys",
    "Variables": "Variables",
    "LMCache's keys that are refused": "Refused",
    "LMCache's keys that have no effect": "No effect",
    "Old names": "Old names",
}


def sections(path, mark):
    """{heading: [lines of its table's body]}"""
    found, heading = {}, None
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(mark + " "):
                heading = line[len(mark) + 1:].strip()
            elif heading and line.startswith("| `"):
                found.setdefault(heading, []).append(line.rstrip("\n"))
    return found


def text_of(kind, words):
    split = re.match(r"(.*) \((.*)\)$", words)
    if kind == "honoured":
        return words[0].upper() + words[1:] + "."
    lead = "Nothing" if kind == "harmless" else "Error at open"
    return f"{lead}: {split[2]}. ({split[1]})" if split else f"{lead}. ({words})"


def main():
    schema = sections("docs/configuration.md", "##")
    kept = {}
    with open("docs/lmcache.md", encoding="utf-8") as document:
        lines = document.read().split("\n")
    for line in lines:
        row = ROW.match(line)
        if row:
            kept[row[1], row[2]] = row[3]
    out, heading = [], None
    for line in lines:
        if line.startswith("### "):
            heading = next((s for s, ours in WHERE.items() if line[4:].startswith(ours)), None)
        elif line.startswith("## "):
            heading = None
        if heading and line.startswith("| `"):
            continue
        out.append(line)
        if not heading or not line.startswith("|---"):
            continue
        for row in schema[heading]:
            match = ROW.match(row)
            if match:
                words = kept.get((match[1], match[2])) or text_of(match[2], match[3])
                row = f"| `{match[1]}` | {match[2]} | {words} |"
            out.append(row)
    with open("docs/lmcache.md", "w", encoding="utf-8") as document:
        document.write("\n".join(out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
