/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of every test program, see harness.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "tests/harness.h"

#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <CUnit/Basic.h>

#define MAX_TESTS 256
#define MAX_TMPDIRS 64
#define EXIT_SKIPPED 77

#ifndef KVF_TEST_SRCDIR
#define KVF_TEST_SRCDIR "."
#endif

/* A test program is one process with one suite, hence the only globals. */
static bool skipped[MAX_TESTS];
static CU_pTest registered[MAX_TESTS];
static size_t n_registered;
static char tmpdirs[MAX_TMPDIRS][PATH_MAX];
static size_t n_tmpdirs;
static pid_t owner;

void kvf_test_skip(const char *format, ...)
{
	CU_pTest current = CU_get_current_test();
	va_list ap;

	printf(" *** SKIPPED: ");
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	printf(" *** ");
	for (size_t i = 0; i < n_registered; i++)
		if (registered[i] == current)
			skipped[i] = true;
}

const char *kvf_test_srcdir(void)
{
	const char *dir = getenv("KVF_SRCDIR");

	return dir && *dir ? dir : KVF_TEST_SRCDIR;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_tmpdirs(void)
{
	if (getpid() != owner)
		return; /* a forked child that calls exit() */
	for (size_t i = 0; i < n_tmpdirs; i++)
		nftw(tmpdirs[i], remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int kvf_test_tmpdir(char *path, size_t size)
{
	const char *base = getenv("TMPDIR");
	int n;

	if (n_tmpdirs == MAX_TMPDIRS) {
		CU_FAIL("too many temporary directories");
		return -1;
	}
	n = snprintf(path, size, "%s/kvferry-test.XXXXXX", base && *base ? base : "/tmp");
	if (n < 0 || (size_t)n >= size || (size_t)n >= sizeof(tmpdirs[0]) || !mkdtemp(path)) {
		CU_FAIL("no temporary directory");
		return -1;
	}
	memcpy(tmpdirs[n_tmpdirs++], path, (size_t)n + 1);
	return 0;
}

static bool wanted(const char *name, int argc, char **argv)
{
	if (argc < 2)
		return true;
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return false;
}

static bool names_known(const struct kvf_test *tests, size_t n_tests, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		size_t k = 0;

		while (k < n_tests && strcmp(argv[i], tests[k].name) != 0)
			k++;
		if (k == n_tests) {
			fprintf(stderr, "%s: no test '%s'; try --list\n", argv[0], argv[i]);
			return false;
		}
	}
	return true;
}

static int register_tests(
	const char *suite_name, const struct kvf_test *tests, size_t n_tests, int argc, char **argv)
{
	CU_pSuite suite;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return -1;
	suite = CU_add_suite(suite_name, NULL, NULL);
	if (!suite)
		return -1;
	for (size_t i = 0; i < n_tests; i++) {
		if (!wanted(tests[i].name, argc, argv))
			continue;
		registered[n_registered] = CU_add_test(suite, tests[i].name, tests[i].run);
		if (!registered[n_registered])
			return -1;
		n_registered++;
	}
	return 0;
}

static bool test_failed(CU_pTest test)
{
	for (CU_pFailureRecord f = CU_get_failure_list(); f; f = f->pNext)
		if (f->pTest == test)
			return true;
	return false;
}

static int report(const char *suite)
{
	size_t n_passed = 0, n_failed = 0, n_skipped = 0;

	for (size_t i = 0; i < n_registered; i++) {
		if (test_failed(registered[i]))
			n_failed++;
		else if (skipped[i])
			n_skipped++;
		else
			n_passed++;
	}
	if (CU_get_number_of_tests_run() != n_registered) {
		printf("%u of %zu tests ran\n", CU_get_number_of_tests_run(), n_registered);
		n_failed++;
	}
	printf("KVF_TESTS: %s passed=%zu failed=%zu skipped=%zu\n", suite, n_passed, n_failed,
		n_skipped);
	if (n_failed)
		return EXIT_FAILURE;
	return n_passed == 0 && n_skipped > 0 ? EXIT_SKIPPED : EXIT_SUCCESS;
}

int kvf_test_main(
	const char *suite, const struct kvf_test *tests, size_t n_tests, int argc, char **argv)
{
	int rc;

	setvbuf(stdout, NULL, _IOLBF, 0); /* what was said before a crash is in the log */
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (size_t i = 0; i < n_tests; i++)
			puts(tests[i].name);
		return 0;
	}
	if (n_tests == 0 || n_tests > MAX_TESTS) {
		fprintf(stderr, "%s: %zu tests, wants 1 to %d\n", argv[0], n_tests, MAX_TESTS);
		return 2;
	}
	if (!names_known(tests, n_tests, argc, argv))
		return 2;
	owner = getpid();
	atexit(remove_tmpdirs);
	if (register_tests(suite, tests, n_tests, argc, argv) != 0) {
		fprintf(stderr, "%s: CUnit: %s\n", argv[0], CU_get_error_msg());
		CU_cleanup_registry();
		return EXIT_FAILURE;
	}
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	rc = report(suite);
	CU_cleanup_registry();
	return rc;
}
