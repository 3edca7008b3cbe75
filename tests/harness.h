/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of every test program: a table of named tests run by CUnit in basic mode.
 *
 *	#include "tests/harness.h"
 *
 *	static void test_foo(void) { CU_ASSERT_EQUAL(foo(), 1); }
 *
 *	int main(int argc, char **argv)
 *	{
 *		static const struct kvf_test tests[] = { { "foo", test_foo } };
 *		return kvf_test_main("bar", tests, KVF_ARRAY_LEN(tests), argc, argv);
 *	}
 *
 * `program` runs all tests, `program NAME...` runs the named ones, `program --list` prints the
 * names.
 */
#ifndef KVF_TESTS_HARNESS_H
#define KVF_TESTS_HARNESS_H

#include <stddef.h>

#include <CUnit/CUnit.h>

#include "base/compiler.h"

struct kvf_test {
	const char *name;
	void (*run)(void);
};

/*
 * Runs the tests; prints CUnit's summary and one line for machines:
 *	KVF_TESTS: <suite> passed=N failed=M skipped=K
 * A test counts as failed when at least one of its assertions failed. At most 256 tests a program.
 * Returns 0 when all is well, 1 when a test failed, 2 on bad usage, 77 when every test was skipped.
 */
int kvf_test_main(
	const char *suite, const struct kvf_test *tests, size_t n_tests, int argc, char **argv);

/*
 * Marks the running test as skipped and says why, loudly. The test returns by itself afterwards:
 *	if (!have_it) { kvf_test_skip("no %s", what); return; }
 */
void kvf_test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The root of the source tree, for test data: KVF_SRCDIR of the environment, else where it was
 * built from. */
const char *kvf_test_srcdir(void);

/*
 * Creates an empty directory below TMPDIR (or /tmp) and puts its path into `path`. It is removed
 * with all that is in it when the program ends. Returns 0 or -1 (the running test has then failed).
 */
int kvf_test_tmpdir(char *path, size_t size);

#endif
