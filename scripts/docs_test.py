#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The documents say what the code says: states, included code, links. And the scripts that check it do notice."""
import os
import subprocess
import sys
import tempfile
import unittest

SCRIPTS = os.path.dirname(os.path.abspath(__file__))
BEGIN = "<!-- begin states: written by scripts/state_diagrams.py --write -->\n"
END = "<!-- end states -->\n"
TABLE = """static const struct kvf_job_step steps[] = {
	[A] = { "plan", plan, 1u << B%s },
	[B] = { "move", move, 0 },
};
const struct kvf_job_kind kvf_job_x = { "x", steps, KVF_ARRAY_LEN(steps), NULL, report };
"""


def run(script, *args):
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    p = subprocess.run([sys.executable, os.path.join(SCRIPTS, script), *args], env=env, text=True,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return p.returncode, p.stdout


class DocumentsTest(unittest.TestCase):
    def test_states(self):
        self.assertEqual(run("state_diagrams.py", "--check"), (0, ""))

    def test_includes_and_links(self):
        self.assertEqual(run("doc_includes.py", "--check"), (0, ""))


class ScriptsTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def write(self, path, text):
        path = os.path.join(self.dir.name, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def run_here(self, script, flag):
        return run(script, "--root", self.dir.name, flag)

    def test_states_written_and_checked(self):
        self.write("src/engine/job_x.c", TABLE % "")
        self.write("docs/architecture.md", BEGIN + END)
        self.assertEqual(self.run_here("state_diagrams.py", "--check")[0], 1)
        self.assertEqual(self.run_here("state_diagrams.py", "--write")[0], 0)
        self.assertEqual(self.run_here("state_diagrams.py", "--check")[0], 0)
        self.assertIn("[plan] --> [move] --> [settle]", self.run_here("state_diagrams.py", "--print")[1])
        self.write("src/engine/job_x.c", TABLE % " | 1u << A")
        rc, out = self.run_here("state_diagrams.py", "--check")
        self.assertEqual(rc, 1)
        self.assertIn("also plan --> plan", out)

    def test_tables_not_understood(self):
        self.write("docs/architecture.md", BEGIN + END)
        for text in (TABLE % " | 1u << C", TABLE.replace("0 }", "ALL }") % "", TABLE.replace('"move"', "MOVE") % "", ""):
            self.write("src/engine/job_x.c", text)
            self.assertEqual(self.run_here("state_diagrams.py", "--print")[0], 1, text)

    def test_include(self):
        self.write("a.c", "x\n/* DOC begins */\nint y;\n/* DOC ends */\nz\n")
        self.write("README.md", "<!-- include a.c DOC -->\n```c\nint x;\n```\n")
        self.assertEqual(self.run_here("doc_includes.py", "--check")[0], 1)
        self.assertEqual(self.run_here("doc_includes.py", "--write")[0], 0)
        self.assertEqual(self.run_here("doc_includes.py", "--check"), (0, ""))
        with open(os.path.join(self.dir.name, "README.md"), encoding="utf-8") as f:
            self.assertIn("```c\nint y;\n```", f.read())
        self.write("README.md", "<!-- include a.c NONE -->\n```c\n```\n")
        self.assertIn("no part NONE", self.run_here("doc_includes.py", "--check")[1])

    def test_link(self):
        self.write("a.c", "")
        self.write("docs/b.md", "[a](../a.c) [web](https://example.org) [part](#part)\n")
        self.assertEqual(self.run_here("doc_includes.py", "--check"), (0, ""))
        self.write("docs/b.md", "[a](a.c)\n")
        self.assertIn("links to a.c", self.run_here("doc_includes.py", "--check")[1])


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    bad = len(result.failures) + len(result.errors)
    print(f"KVF_TESTS: documents passed={result.testsRun - bad} failed={bad} skipped=0")
    sys.exit(1 if bad else 0)
