/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers from text, beside strtod in the C locale. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/number.h"
#include "tests/harness.h"

static void test_same_as_strtod(void)
{
	static const char *const texts[] = {"0", "5", "5.0", ".5", "5.", "-2.5", "+1", "1e3",
		"1E-3", "1.5e+2", "0.1", "0.2", "123456789.125", "1e22", "1e-22",
		"9007199254740993", "0.0001", "18446744073709551615", "1e300", "3.14159265358979",
		"000012", "1e-400", "1e500", "99999999999999999999999999",
		"0.000000000000000000000000001"};

	for (size_t i = 0; i < KVF_ARRAY_LEN(texts); i++) {
		struct kvf_number n;
		double want = strtod(texts[i], NULL);

		CU_ASSERT_TRUE(kvf_number_parse(texts[i], strlen(texts[i]), &n));
		if (!(n.value == want || fabs(n.value - want) <= 1e-14 * fabs(want)))
			printf("\n  %s: %g, not %g\n", texts[i], n.value, want);
		CU_ASSERT(n.value == want || fabs(n.value - want) <= 1e-14 * fabs(want));
	}
}

static void test_refused(void)
{
	static const char *const texts[] = {"", "-", "+", ".", "e5", "1e", "1e+", "1..2", "1.2.3",
		"1 ", " 1", "1_", "_1", "1__2", "1_.5", "1._5", "0x10", "1,5", "nan", "infinity",
		"--1", "1e5.5", "1f", "+-1"};

	for (size_t i = 0; i < KVF_ARRAY_LEN(texts); i++) {
		struct kvf_number n;

		if (kvf_number_parse(texts[i], strlen(texts[i]), &n))
			printf("\n  \"%s\" is no number\n", texts[i]);
		CU_ASSERT_FALSE(kvf_number_parse(texts[i], strlen(texts[i]), &n));
	}
}

static void test_whole(void)
{
	static const struct {
		const char *text;
		uint64_t whole;
		bool integral;
		bool plain;
		bool negative;
	} rows[] = {
		{"256", 256, true, true, false},
		{"-7", 7, true, true, true},
		{"1_000", 1000, true, true, false},
		{"256.0", 256, true, false, false},
		{"256.000", 256, true, false, false},
		{"256.5", 256, false, false, false},
		{"2e2", 2, false, false, false},
		{"99999999999999999999", 0, false, true, false},
	};

	for (size_t i = 0; i < KVF_ARRAY_LEN(rows); i++) {
		struct kvf_number n;

		CU_ASSERT_TRUE(kvf_number_parse(rows[i].text, strlen(rows[i].text), &n));
		CU_ASSERT_EQUAL(n.integral, rows[i].integral);
		CU_ASSERT_EQUAL(n.plain, rows[i].plain);
		CU_ASSERT_EQUAL(n.negative, rows[i].negative);
		CU_ASSERT(!rows[i].integral || n.whole == rows[i].whole);
	}
}

static void test_infinity(void)
{
	struct kvf_number n;

	CU_ASSERT(kvf_number_parse("inf", 3, &n) && isinf(n.value) && n.value > 0);
	CU_ASSERT(kvf_number_parse("-.INF", 5, &n) && isinf(n.value) && n.value < 0);
	CU_ASSERT_FALSE(n.integral);
}

static void test_locale(void)
{
	static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
	struct kvf_number n;
	bool set = false;

	for (size_t i = 0; i < KVF_ARRAY_LEN(names) && !set; i++)
		set = setlocale(LC_NUMERIC, names[i]) != NULL;
	CU_ASSERT_TRUE(kvf_number_parse("5.5", 3, &n));
	CU_ASSERT_EQUAL(n.value, 5.5);
	setlocale(LC_NUMERIC, "C");
	if (!set)
		kvf_test_skip("no locale with a decimal comma is installed");
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"same_as_strtod", test_same_as_strtod},
		{"refused", test_refused},
		{"whole", test_whole},
		{"infinity", test_infinity},
		{"locale", test_locale},
	};

	return kvf_test_main("config_number", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
