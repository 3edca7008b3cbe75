/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON pull parser of the workloads: what it takes, what it refuses and where, numbers and
 * strings. */
#include "tests/harness.h"

#include <stdlib.h>
#include <string.h>

#include "workload/json.h"

/* Parses all of it from a heap copy without a NUL, so that a sanitizer sees reads past the end. */
static enum json_type drain(const char *text, size_t len, struct json *j, size_t *tokens)
{
	char *copy = malloc(len ? len : 1);
	enum json_type type;

	CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
	memcpy(copy, text, len);
	json_init(j, copy, len);
	*tokens = 0;
	do {
		type = json_next(j);
		++*tokens;
	} while (type != JSON_END && type != JSON_ERROR);
	CU_ASSERT_EQUAL(json_next(j), type);
	free(copy);
	return type;
}

static void test_good(void)
{
	static const struct {
		const char *text;
		size_t tokens;
	} good[] = {{"{}", 3}, {"[]", 3}, {" [ 1 , 2 ] ", 5},
		{"{\"a\":{\"b\":[true,false,null]}}", 12}, {"0", 2}, {"-0", 2}, {"-1.5e+10", 2},
		{"1E5", 2}, {"\"\"", 2}, {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", 2},
		{"\"\\u0041\\ud83d\\ude00\"", 2}, {"\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", 2},
		{"[[],{}]", 7}, {"\r\n\t null", 2}};

	for (size_t i = 0; i < KVF_ARRAY_LEN(good); i++) {
		struct json j;
		size_t tokens;

		CU_ASSERT_EQUAL(drain(good[i].text, strlen(good[i].text), &j, &tokens), JSON_END);
		CU_ASSERT_EQUAL(tokens, good[i].tokens);
	}
}

static void test_bad(void)
{
	static const struct {
		const char *text;
		size_t offset;
		const char *error;
	} bad[] = {{"", 0, "ends too early"}, {"  ", 2, "ends too early"},
		{"{", 1, "ends too early"}, {"[1,", 3, "ends too early"},
		{"[1,]", 3, "expected a value"}, {"[,1]", 1, "expected a value"},
		{"{\"a\"}", 1, "without a colon"}, {"{\"a\":}", 5, "expected a value"},
		{"{a:1}", 1, "in quotes"}, {"{\"a\":1,}", 7, "in quotes"},
		{"{1:2}", 1, "in quotes"}, {"[1 2]", 3, "expected ]"}, {"[1}", 2, "expected ]"},
		{"{\"a\":1]", 6, "expected }"}, {"01", 0, "bad number"}, {"-", 0, "bad number"},
		{"1.", 0, "bad number"}, {".5", 0, "expected a value"},
		{"+1", 0, "expected a value"}, {"1e", 0, "bad number"}, {"1e+", 0, "bad number"},
		{"nul", 0, "unknown word"}, {"nulls", 4, "after the end"},
		{"1 2", 2, "after the end"}, {"{} {}", 3, "after the end"},
		{"\"a", 0, "without end"}, {"\"a\nb\"", 2, "control character"},
		{"\"\\x\"", 1, "bad escape"}, {"\"\\u12g4\"", 1, "bad escape"},
		{"\"\\ud800\"", 1, "bad escape"}, {"\"\\udc00\"", 1, "bad escape"},
		{"\"\\ud800\\u0041\"", 1, "bad escape"}, {"\"\\", 1, "bad escape"},
		{"\"\xff\"", 1, "bad UTF-8"}, {"\"\xc0\x80\"", 1, "bad UTF-8"},
		{"\"\xed\xa0\x80\"", 1, "bad UTF-8"}, {"\"\xf4\x90\x80\x80\"", 1, "bad UTF-8"},
		{"\"\xe2\x82\"", 1, "bad UTF-8"}, {"'a'", 0, "expected a value"},
		{"NaN", 0, "expected a value"}, {"\xef\xbb\xbf{}", 0, "expected a value"}};

	for (size_t i = 0; i < KVF_ARRAY_LEN(bad); i++) {
		struct json j;
		size_t tokens;

		CU_ASSERT_EQUAL(drain(bad[i].text, strlen(bad[i].text), &j, &tokens), JSON_ERROR);
		CU_ASSERT_EQUAL(j.offset, bad[i].offset);
		CU_ASSERT_PTR_NOT_NULL(strstr(j.error, bad[i].error));
	}
}

static void test_nul_byte(void)
{
	struct json j;
	size_t tokens;

	CU_ASSERT_EQUAL(drain("\"\\\0\"", 4, &j, &tokens), JSON_ERROR);
	CU_ASSERT_EQUAL(drain("[1\0]", 4, &j, &tokens), JSON_ERROR);
}

static void test_depth(void)
{
	char text[2 * JSON_MAX_DEPTH + 2];
	struct json j;
	size_t tokens;

	memset(text, '[', JSON_MAX_DEPTH);
	memset(text + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
	CU_ASSERT_EQUAL(drain(text, 2 * JSON_MAX_DEPTH, &j, &tokens), JSON_END);
	memset(text, '[', JSON_MAX_DEPTH + 1);
	CU_ASSERT_EQUAL(drain(text, JSON_MAX_DEPTH + 1, &j, &tokens), JSON_ERROR);
	CU_ASSERT_EQUAL(j.offset, JSON_MAX_DEPTH);
	CU_ASSERT_STRING_EQUAL(j.error, "nested too deeply");
}

/* Every beginning of a document is an error at or before its end, never a crash and never an END.
 */
static void test_cut(void)
{
	static const char text[] =
		"{\"a\\u0041\":[1.5e3,\"\xe2\x82\xac\",null],\"b\":{\"c\":true}}";
	struct json j;
	size_t tokens;

	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		CU_ASSERT_EQUAL(drain(text, n, &j, &tokens), JSON_ERROR);
		CU_ASSERT(j.offset <= n);
	}
	CU_ASSERT_EQUAL(drain(text, sizeof(text) - 1, &j, &tokens), JSON_END);
}

static void test_numbers(void)
{
	static const struct {
		const char *text;
		uint64_t unit, max;
		int rc;
		uint64_t value;
	} cases[] = {{"0", 1, 10, 0, 0}, {"10", 1, 10, 0, 10}, {"11", 1, 10, -1, 0},
		{"-1", 1, 10, -1, 0}, {"1.5", 1, 10, -1, 0}, {"2.0", 1, 10, 0, 2},
		{"1e1", 1, 10, 0, 10}, {"1.5e1", 1, 100, 0, 15}, {"20e-1", 1, 10, 0, 2},
		{"15e-1", 1, 10, -1, 0}, {"18446744073709551615", 1, UINT64_MAX, -1, 0},
		{"9223372036854775807", 1, INT64_MAX, 0, INT64_MAX}, {"1e30", 1, UINT64_MAX, -1, 0},
		{"1e-99999999999", 1000, 10, 0, 0}, {"1e99999999999", 1000, UINT64_MAX, -1, 0},
		{"0e99999999999", 1, 10, 0, 0}, {"10.22", 1000000000, UINT64_MAX, 0, 10220000000},
		{"0.1", 1000, 1000, 0, 100}, {"0.12345", 1000, 1000, 0, 123},
		{"94890.123456789123456789", 1000000000, UINT64_MAX, 0, 94890123456789},
		{"\"1\"", 1, 10, -1, 0}};

	for (size_t i = 0; i < KVF_ARRAY_LEN(cases); i++) {
		uint64_t v = 0;
		struct json j;

		json_init(&j, cases[i].text, strlen(cases[i].text));
		json_next(&j);
		CU_ASSERT_EQUAL(json_scaled(&j, cases[i].unit, cases[i].max, &v), cases[i].rc);
		if (cases[i].rc == 0 && v != cases[i].value)
			printf("%s: %llu\n", cases[i].text, (unsigned long long)v);
		if (cases[i].rc == 0)
			CU_ASSERT_EQUAL(v, cases[i].value);
	}
}

static void test_strings(void)
{
	static const char text[] = "\"a\\n\\u00e9\\ud83d\\ude00\\/\"";
	static const char plain[] = "a\n\xc3\xa9\xf0\x9f\x98\x80/";
	char out[16];
	struct json j;

	json_init(&j, text, sizeof(text) - 1);
	CU_ASSERT_EQUAL(json_next(&j), JSON_STRING);
	CU_ASSERT(json_equal(&j, plain));
	CU_ASSERT_FALSE(json_equal(&j, "a"));
	CU_ASSERT_FALSE(json_equal(&j, "a\n\xc3\xa9\xf0\x9f\x98\x80/x"));
	CU_ASSERT_EQUAL(json_copy(&j, out, sizeof(out)), 0);
	CU_ASSERT_STRING_EQUAL(out, plain);
	CU_ASSERT_EQUAL(json_copy(&j, out, 4), -1);
	CU_ASSERT_STRING_EQUAL(out, "a\n");
	json_init(&j, "\"a\\u0000b\"", 10);
	json_next(&j);
	CU_ASSERT_EQUAL(json_copy(&j, out, sizeof(out)), -1);
}

static void test_skip(void)
{
	static const char text[] = "{\"a\":{\"b\":[1,[2]]},\"c\":3,\"d\":[],\"e\":4}";
	struct json j;
	uint64_t v;

	json_init(&j, text, sizeof(text) - 1);
	CU_ASSERT_EQUAL(json_next(&j), JSON_OBJECT);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(json_next(&j), JSON_KEY);
		CU_ASSERT_EQUAL(json_skip(&j), 0);
	}
	CU_ASSERT_EQUAL(json_next(&j), JSON_KEY);
	CU_ASSERT(json_equal(&j, "e"));
	json_next(&j);
	CU_ASSERT_EQUAL(json_scaled(&j, 1, 10, &v), 0);
	CU_ASSERT_EQUAL(v, 4);
	json_init(&j, "{\"a\":[1,", 8);
	json_next(&j);
	json_next(&j);
	CU_ASSERT_EQUAL(json_skip(&j), -1);
}

static void test_locate(void)
{
	size_t line, column;

	json_locate("ab\ncd\n\nx", 8, 4, &line, &column);
	CU_ASSERT(line == 2 && column == 2);
	json_locate("ab\ncd\n\nx", 8, 7, &line, &column);
	CU_ASSERT(line == 4 && column == 1);
	json_locate("", 0, 0, &line, &column);
	CU_ASSERT(line == 1 && column == 1);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {{"good", test_good}, {"bad", test_bad},
		{"nul_byte", test_nul_byte}, {"depth", test_depth}, {"cut", test_cut},
		{"numbers", test_numbers}, {"strings", test_strings}, {"skip", test_skip},
		{"locate", test_locate}};

	return kvf_test_main("wl_json", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
