/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments of the command: sorting, numbers, sizes, and how numbers are shown. */
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"
#include "tool.h"

enum { FLAG, NUMBER, SIZE, BOOL, MANY, N };

static const struct tool_opt opts[N] = {
	[FLAG] = {"--flag", NULL, "", false},
	[NUMBER] = {"--number", "N", "", false},
	[SIZE] = {"--size", "SIZE", "", false},
	[BOOL] = {"--bool", "BOOL", "", false},
	[MANY] = {"--many", "X", "", true},
};

static char many[64];

static int each(void *arg, size_t opt, const char *value)
{
	(void)arg;
	CU_ASSERT_EQUAL(opt, MANY);
	strncat(many, value, sizeof(many) - strlen(many) - 1);
	return strcmp(value, "bad") == 0 ? TOOL_USAGE : TOOL_OK;
}

/* Splits the words of `line` and parses them. */
static int parse(struct tool_args *a, const char *line)
{
	static char words[256];
	char *argv[16], *save = NULL;
	int argc = 0;

	*a = (struct tool_args){
		.command = "test", .synopsis = "", .opts = opts, .n_opts = N, .each = each};
	many[0] = '\0';
	snprintf(words, sizeof(words), "test %s", line);
	for (char *w = strtok_r(words, " ", &save); w && argc < 16; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	return tool_args_parse(a, argc, argv);
}

static void test_sorting(void)
{
	struct tool_args a;

	CU_ASSERT_EQUAL(parse(&a, "one --number 5 two --flag --many=a --many b -"), TOOL_OK);
	CU_ASSERT_EQUAL(a.n_rest, 3);
	CU_ASSERT_STRING_EQUAL(a.rest[0], "one");
	CU_ASSERT_STRING_EQUAL(a.rest[1], "two");
	CU_ASSERT_STRING_EQUAL(a.rest[2], "-");
	CU_ASSERT_STRING_EQUAL(a.given[NUMBER], "5");
	CU_ASSERT_PTR_NOT_NULL(a.given[FLAG]);
	CU_ASSERT_PTR_NULL(a.given[SIZE]);
	CU_ASSERT_STRING_EQUAL(many, "ab");
	CU_ASSERT_EQUAL(parse(&a, "-- --flag"), TOOL_OK);
	CU_ASSERT_EQUAL(a.n_rest, 1);
	CU_ASSERT_PTR_NULL(a.given[FLAG]);
}

static void test_refused(void)
{
	static const char *const lines[] = {"--nothing", "--number", "--flag=1",
		"--number 1 --number 2", "--flag --flag", "-x", "--many bad", "--num 1", "--=1"};
	struct tool_args a;

	for (size_t i = 0; i < KVF_ARRAY_LEN(lines); i++)
		CU_ASSERT_EQUAL(parse(&a, lines[i]), TOOL_USAGE);
}

static void test_values(void)
{
	struct tool_args a;
	uint64_t v = 77;
	bool yes = false;

	CU_ASSERT_EQUAL(parse(&a, "--number 10 --size 1.5GB --bool true"), TOOL_OK);
	CU_ASSERT_EQUAL(tool_arg_u64(&a, NUMBER, 10, 10, &v), TOOL_OK);
	CU_ASSERT_EQUAL(v, 10);
	CU_ASSERT_EQUAL(tool_arg_u64(&a, NUMBER, 11, 20, &v), TOOL_USAGE);
	CU_ASSERT_EQUAL(tool_arg_u64(&a, NUMBER, 1, 9, &v), TOOL_USAGE);
	CU_ASSERT_EQUAL(tool_arg_size(&a, SIZE, 0, UINT64_MAX, &v), TOOL_OK);
	CU_ASSERT_EQUAL(v, UINT64_C(3) << 29);
	CU_ASSERT_EQUAL(tool_arg_size(&a, SIZE, 0, 1 << 20, &v), TOOL_USAGE);
	CU_ASSERT_EQUAL(tool_arg_bool(&a, BOOL, &yes), TOOL_OK);
	CU_ASSERT(yes);
	CU_ASSERT_EQUAL(parse(&a, "--bool yes --number 1x"), TOOL_OK);
	CU_ASSERT_EQUAL(tool_arg_bool(&a, BOOL, &yes), TOOL_USAGE);
	CU_ASSERT_EQUAL(tool_arg_u64(&a, NUMBER, 0, 9, &v), TOOL_USAGE);
	v = 5;
	CU_ASSERT_EQUAL(tool_arg_size(&a, SIZE, 0, 1, &v), TOOL_OK); /* not given */
	CU_ASSERT_EQUAL(v, 5);
}

static void test_sizes(void)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0}, {"4096", 4096}, {"1B", 1}, {"1K", 1024}, {"1KB", 1024},
		{"1KiB", 1024}, {"256MiB", UINT64_C(256) << 20}, {"5GB", UINT64_C(5) << 30},
		{"0.5K", 512}, {"1.5M", 1572864}, {"2TiB", UINT64_C(2) << 40},
		{"0.000000001TB", 1099}, {"0.25", 0}, {"18446744073709551615", UINT64_MAX}};
	static const char *const bad[] = {"", "x", "K", "1k", "1KiBx", "1.", ".5", "1.K", "-1",
		"1 K", "1EB", "99999999999999999999", "99999999TB", "1.0000000001G", "1Ki"};
	uint64_t v;

	for (size_t i = 0; i < KVF_ARRAY_LEN(good); i++) {
		bool is_limit = good[i].bytes == UINT64_MAX;

		v = 42;
		CU_ASSERT(tool_parse_size(good[i].text, &v) || is_limit);
		CU_ASSERT(v == good[i].bytes || is_limit);
	}
	for (size_t i = 0; i < KVF_ARRAY_LEN(bad); i++)
		CU_ASSERT_FALSE(tool_parse_size(bad[i], &v));
}

static void test_numbers(void)
{
	uint64_t v;

	CU_ASSERT(tool_parse_u64("18446744073709551615", &v));
	CU_ASSERT_EQUAL(v, UINT64_MAX);
	CU_ASSERT_FALSE(tool_parse_u64("18446744073709551616", &v));
	CU_ASSERT_FALSE(tool_parse_u64("99999999999999999999", &v));
	CU_ASSERT_FALSE(tool_parse_u64("", &v));
	CU_ASSERT_FALSE(tool_parse_u64("+1", &v));
	CU_ASSERT_FALSE(tool_parse_u64("1 ", &v));
}

static void test_shown(void)
{
	char b[32];

	CU_ASSERT_STRING_EQUAL(tool_count_text(b, sizeof(b), 0), "0");
	CU_ASSERT_STRING_EQUAL(tool_count_text(b, sizeof(b), 999), "999");
	CU_ASSERT_STRING_EQUAL(tool_count_text(b, sizeof(b), 12031), "12,031");
	CU_ASSERT_STRING_EQUAL(
		tool_count_text(b, sizeof(b), UINT64_MAX), "18,446,744,073,709,551,615");
	CU_ASSERT_STRING_EQUAL(tool_size_text(b, sizeof(b), 1023), "1023 B");
	CU_ASSERT_STRING_EQUAL(tool_size_text(b, sizeof(b), 1536), "1.50 KiB");
	CU_ASSERT_STRING_EQUAL(tool_size_text(b, sizeof(b), UINT64_C(5) << 30), "5.00 GiB");
	CU_ASSERT_STRING_EQUAL(tool_time_text(b, sizeof(b), 999), "999 ns");
	CU_ASSERT_STRING_EQUAL(tool_time_text(b, sizeof(b), 1240000), "1.24 ms");
	CU_ASSERT_STRING_EQUAL(tool_time_text(b, sizeof(b), UINT64_C(2000000000)), "2.00 s");
}

static void test_plain_stream(void)
{
	FILE *f = tmpfile();

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_STRING_EQUAL(tool_colors(f).red, "");
	CU_ASSERT_STRING_EQUAL(tool_colors(f).off, "");
	fclose(f);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {{"sorting", test_sorting},
		{"refused", test_refused}, {"values", test_values}, {"sizes", test_sizes},
		{"numbers", test_numbers}, {"shown", test_shown},
		{"plain_stream", test_plain_stream}};

	return kvf_test_main("tool_args", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
