#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of scripts/lint.py and scripts/sources.py on small trees made for the purpose."""
import os
import subprocess
import sys
import tempfile
import unittest

SCRIPTS = os.path.dirname(os.path.abspath(__file__))
HEAD = "/* SPDX-License-Identifier: Apache-2.0 */\n"


def run(script, *args):
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    p = subprocess.run([sys.executable, os.path.join(SCRIPTS, script), *args], env=env, text=True,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return p.returncode, p.stdout


class Tree(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def write(self, path, text):
        path = os.path.join(self.dir.name, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


class LintTest(Tree):
    def lint(self, path, text, allow=""):
        self.write(path, text)
        self.write("scripts/lint_allow.txt", allow)
        return run("lint.py", "--root", self.dir.name, path)

    def clean(self, path, text, allow=""):
        rc, out = self.lint(path, text, allow)
        self.assertEqual(rc, 0, out)

    def finds(self, rule, path, text, line=None):
        rc, out = self.lint(path, text)
        self.assertEqual(rc, 1, out)
        self.assertIn(f"[{rule}]", out)
        self.assertIn(" 1 findings", out)
        if line is not None:
            self.assertIn(f"{path}:{line}:", out)

    def test_planted_mutants(self):
        source = HEAD + "int a;\nint b;\nint b;\n"
        for line, times in (("int a;", None), ("int b;", 2), ("int c;", 0), ("nt a", 0)):
            self.write("src/base/a.c", source)
            self.write("mutants/planted.txt", f"# Planted.\n\nsrc/base/a.c\n{line}\nint d;\nwhy\n")
            rc, out = run("lint.py", "--root", self.dir.name)
            self.assertEqual(rc, 0 if times is None else 1, out)
            if times is not None:
                self.assertIn(f"mutants/planted.txt:4: stands {times} times", out)
        self.write("mutants/planted.txt", "src/base/none.c\nint a;\nint d;\nwhy\n")
        self.assertEqual(run("lint.py", "--root", self.dir.name)[0], 1)

    @staticmethod
    def function(lines, head="int f(void)"):
        return HEAD + head + "\n{\n" + "\tg();\n" * (lines - 3) + "}\n"

    def test_function_length(self):
        self.clean("src/base/a.c", self.function(70))
        self.finds("function", "src/base/a.c", self.function(71), 2)
        self.finds("function", "src/base/a.c", HEAD + "static const int a[] = { 1 };\n" + self.function(71)[len(HEAD):], 3)
        self.finds("function", "tests/a.c", self.function(71, "static int f(int (*cb)(void), __attribute__((unused)) int b)"))

    def test_function_length_counts_one_function(self):
        self.clean("src/base/a.c", self.function(60) + self.function(60, "int h(void)"))
        self.clean("src/base/a.c", HEAD + "enum a {\n" + "\tA,\n" * 100 + "};\n")
        self.clean("src/base/a.c", HEAD + "static const struct b t[] = {\n" + "\t{ B(1) },\n" * 100 + "};\n")

    def test_braces_in_text_do_not_count(self):
        body = self.function(40).replace("\tg();\n", '\tg("{", \'{\'); /* { */\n', 10)
        self.clean("src/base/a.c", body + self.function(60, "int h(void)"))

    def test_function_allowed(self):
        allow = "function src/base/a.c:f 80 a table in code\n"
        self.clean("src/base/a.c", self.function(75), allow)
        rc, out = self.lint("src/base/a.c", self.function(81), allow)
        self.assertEqual(rc, 1, out)

    def test_file_length(self):
        self.clean("src/base/a.c", HEAD + "int a;\n" * 599)
        self.finds("file", "src/base/a.c", HEAD + "int a;\n" * 600)

    def test_columns(self):
        self.clean("src/base/a.c", HEAD + "/* " + "x" * 117 + "\n*/\n")
        self.finds("columns", "src/base/a.c", HEAD + "\t/* " + "x" * 110 + "\n*/\n", 2)

    def test_text_rules(self):
        self.finds("spdx", "src/base/a.c", "int a;\n", 1)
        self.finds("space", "src/base/a.c", HEAD + "int a; \n", 2)
        self.finds("newline", "src/base/a.c", HEAD + "int a;")
        self.finds("unfinished", "src/base/a.c", HEAD + "/* TO" + "DO: more */\n", 2)
        self.finds("path", "tests/a.c", HEAD + '/* see "/ho' + 'me/me/a" */\n', 2)
        self.clean("tests/a.c", HEAD + 'const char *a = "/tmp/a.XX' + 'XXXX", *b = "$HO' + 'ME/x", *c = "/usr/local/cuda";\n')

    def test_imports(self):
        self.clean("src/engine/a.c", HEAD + '#include "cache/index.h"\n#include "base/mem.h"\n#include "a.h"\n')
        self.clean("src/tier/disk/a.c", HEAD + '#include "tier/tier.h"\n#include "kvferry/kvferry.h"\n')
        self.finds("import", "src/tier/a.c", HEAD + '#include "engine/job.h"\n', 2)
        self.finds("import", "src/base/a.c", HEAD + '#include "loop/clock.h"\n', 2)
        self.finds("import", "src/config/a.c", HEAD + '#include "token/keys.h"\n', 2)
        self.finds("import", "src/device/a.c", HEAD + '#include "../tier/tier.h"\n', 2)
        self.finds("import", "src/token/a.c", HEAD + '#include "src/cache/pool.h"\n', 2)
        self.finds("import", "src/engine/a.c", HEAD + "#include <ev.h>\n", 2)
        self.finds("import", "src/base/a.c", HEAD + "#include <threads.h>\n", 2)
        self.clean("src/base/a.c", HEAD + '/* #include "engine/job.h" */\n')
        self.finds("import", "examples/a.c", HEAD + '#include "base/mem.h"\n', 2)
        self.finds("import", "include/kvferry/a.h", HEAD + '#include "base/mem.h"\n', 2)
        self.clean("include/kvferry/a.h", HEAD + "#include <stdint.h>\n#include <sys/uio.h>\n#include <kvferry/b.h>\n")

    def test_calls(self):
        for call in ("abort()", "assert(a)", "strcpy(a, b)", "usleep(1)", "malloc(1)", "time(NULL)", "printf(a)"):
            self.finds("call", "src/base/a.c", HEAD + "void f(void)\n{\n\t" + call + ";\n}\n", 4)
        self.clean("src/base/a.c", HEAD + "void f(void)\n{\n\tkvf_abort();\n\ta->free(b);\n\ta.time(1);\n}\n")
        self.clean("src/base/a.c", HEAD + "struct a {\n\tvoid (*free)(void *);\n};\n/* abort() */\n")
        self.clean("src/base/mem.c", HEAD + "void f(void)\n{\n\tfree(a);\n}\n")
        self.clean("tools/kvferry/a.c", HEAD + "void f(void)\n{\n\texit(1);\n}\n")

    def test_allow_list_is_kept_short(self):
        self.write("src/base/a.c", self.function(10))
        self.write("scripts/lint_allow.txt", "function src/base/a.c:f 80 no longer so\nfile src/base/a.c 700 nor this\n")
        rc, out = run("lint.py", "--root", self.dir.name)
        self.assertEqual(rc, 1, out)
        self.assertIn("'file src/base/a.c' is needed no more", out)


class SourcesTest(Tree):
    def setUp(self):
        super().setUp()
        with open(os.path.join(os.path.dirname(SCRIPTS), "Makefile.am"), encoding="utf-8") as f:
            self.write("Makefile.am", f.read())

    def sources(self, how):
        return run("sources.py", "--root", self.dir.name, how)

    def makefile(self):
        with open(os.path.join(self.dir.name, "Makefile.am"), encoding="utf-8") as f:
            return f.read()

    def test_write_then_check(self):
        self.write("src/base/new_one.c", HEAD)
        self.write("src/tier/disk/new_uring.c", HEAD)
        self.write("tests/unit/test_new.c", HEAD + "int main(void)\n{\n}\n")
        self.write("tests/fake/fake.c", HEAD)
        self.assertEqual(self.sources("--check")[0], 1)
        rc, out = self.sources("--write")
        self.assertEqual(rc, 0, out)
        rc, out = self.sources("--check")
        self.assertEqual(rc, 0, out)
        text = self.makefile()
        self.assertIn("src_base_sources = \\\n\tsrc/base/new_one.c\n", text)
        self.assertIn("if HAVE_LIBURING\nsrc_tier_sources += \\\n\tsrc/tier/disk/new_uring.c\nendif\n", text)
        self.assertIn("unit_programs = \\\n\ttests/unit/test_new\n", text)
        self.assertIn("test_support_sources = \\\n\ttests/fake/fake.c\n", text)

    def test_a_removed_file_is_noticed(self):
        self.write("src/base/a.c", HEAD)
        self.sources("--write")
        os.remove(os.path.join(self.dir.name, "src/base/a.c"))
        self.assertEqual(self.sources("--check")[0], 1)

    def test_a_folder_without_block_is_an_error(self):
        self.write("src/novel/a.c", HEAD)
        rc, out = self.sources("--write")
        self.assertEqual(rc, 1, out)
        self.assertIn("src/novel/a.c", out)


def main():
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=1).run(suite)
    failed = len(result.failures) + len(result.errors)
    print(f"KVF_TESTS: lint passed={result.testsRun - failed} failed={failed} skipped=0")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
