/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON writer, read back by the parser of the workloads. */
#include <math.h>
#include <string.h>

#include "json_out.h"
#include "tests/harness.h"
#include "workload/json.h"

static char text[4096];
static size_t length;

static void finish(struct json_out *out)
{
	FILE *f = out->file;

	CU_ASSERT_EQUAL(json_out_end(out), 0);
	rewind(f);
	length = fread(text, 1, sizeof(text) - 1, f);
	text[length] = '\0';
	fclose(f);
}

static void begin(struct json_out *out)
{
	FILE *f = tmpfile();

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	json_out_begin(out, f);
}

static void check_parses(void)
{
	struct json j;

	json_init(&j, text, length);
	while (json_next(&j) != JSON_END && j.type != JSON_ERROR)
		;
	CU_ASSERT_EQUAL(j.type, JSON_END);
}

static void test_nested(void)
{
	struct json_out out;

	begin(&out);
	json_out_open(&out, NULL, '{');
	json_out_open(&out, "empty", '[');
	json_out_close(&out, ']');
	json_out_open(&out, "none", '{');
	json_out_close(&out, '}');
	json_out_u64(&out, "big", UINT64_MAX);
	json_out_double(&out, "half", 0.5);
	json_out_double(&out, "nan", NAN);
	json_out_double(&out, "inf", INFINITY);
	json_out_bool(&out, "yes", true);
	json_out_open(&out, "list", '[');
	json_out_u64(&out, NULL, 1);
	json_out_text(&out, NULL, "two");
	json_out_open(&out, NULL, '{');
	json_out_close(&out, '}');
	json_out_close(&out, ']');
	json_out_close(&out, '}');
	finish(&out);
	check_parses();
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"empty\": []"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"none\": {}"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"big\": 18446744073709551615"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"half\": 0.5"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"nan\": null"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"inf\": null"));
}

static void test_escapes(void)
{
	static const char value[] = "a\"b\\c\n\t\x01 \xc3\xa9";
	struct json_out out;
	char back[64];
	struct json j;

	begin(&out);
	json_out_open(&out, NULL, '{');
	json_out_text(&out, value, value);
	json_out_close(&out, '}');
	finish(&out);
	check_parses();
	json_init(&j, text, length);
	CU_ASSERT_EQUAL(json_next(&j), JSON_OBJECT);
	CU_ASSERT_EQUAL(json_next(&j), JSON_KEY);
	CU_ASSERT(json_equal(&j, value));
	CU_ASSERT_EQUAL(json_next(&j), JSON_STRING);
	CU_ASSERT_EQUAL(json_copy(&j, back, sizeof(back)), 0);
	CU_ASSERT_STRING_EQUAL(back, value);
}

static void test_full_disk(void)
{
	FILE *f = fopen("/dev/full", "w");
	struct json_out out;

	if (!f) {
		kvf_test_skip("no /dev/full");
		return;
	}
	json_out_begin(&out, f);
	json_out_u64(&out, NULL, 1);
	CU_ASSERT_EQUAL(json_out_end(&out), -1);
	fclose(f);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"nested", test_nested}, {"escapes", test_escapes}, {"full_disk", test_full_disk}};

	return kvf_test_main("json_out", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
