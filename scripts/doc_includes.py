#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps code in documents equal to the files that are compiled.

A document says `<!-- include PATH MARK -->`, then a ```c block. The block holds the lines of PATH between
`/* MARK begins */` and `/* MARK ends */`.
  doc_includes.py --write    renews the blocks
  doc_includes.py --check    fails when a block differs, and when a document links to a file that is not there
"""
import argparse
import glob
import os
import re
import sys

INCLUDE = re.compile(r"(<!-- include (\S+) (\w+) -->\n```c\n)(.*?)(^```$)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def marked(root, path, mark):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        text = f.read()
    m = re.search(rf"^/\* {mark} begins \*/\n(.*?)^/\* {mark} ends \*/$", text, re.DOTALL | re.MULTILINE)
    return m.group(1) if m else None


def main():
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=here, help="the source tree")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true")
    what.add_argument("--check", action="store_true")
    args = parser.parse_args()
    errors = []
    for doc in sorted(glob.glob(os.path.join(args.root, "*.md")) + glob.glob(os.path.join(args.root, "docs", "*.md"))):
        name = os.path.relpath(doc, args.root)
        with open(doc, encoding="utf-8") as f:
            old = f.read()

        def renew(m, name=name):
            body = marked(args.root, m.group(2), m.group(3))
            if body is None:
                errors.append(f"{name}: {m.group(2)} has no part {m.group(3)}")
                return m.group(0)
            if body != m.group(4) and args.check:
                errors.append(f"{name}: not what {m.group(2)} says: run scripts/doc_includes.py --write")
            return m.group(1) + body + m.group(5)

        new = INCLUDE.sub(renew, old)
        if old.count("<!-- include ") != len(INCLUDE.findall(old)):
            errors.append(f"{name}: an include without its ```c block")
        for link in LINK.findall(re.sub(r"```.*?```", "", old, flags=re.DOTALL)):
            if not os.path.exists(os.path.join(os.path.dirname(doc), link)):
                errors.append(f"{name}: links to {link}, which is not there")
        if new != old and args.write:
            with open(doc, "w", encoding="utf-8") as f:
                f.write(new)
    print("\n".join(errors), end="\n" if errors else "", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
