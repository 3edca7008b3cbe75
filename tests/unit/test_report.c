/* SPDX-License-Identifier: Apache-2.0 */
/* Reports: lines, counters, what happens when the buffer is full. */
#include <stdio.h>
#include <string.h>

#include "base/report.h"
#include "tests/harness.h"

static void test_lines(void)
{
	struct kvf_report r;
	char text[256];

	kvf_report_init(&r, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "");
	kvf_report_add(&r, KVF_ERROR, "%s:%d: key", "file", 12);
	kvf_report_add(&r, KVF_WARNING, "w");
	kvf_report_add(&r, KVF_NOTE, "%s", "n");
	CU_ASSERT_STRING_EQUAL(text, "error: file:12: key\nwarning: w\nnote: n\n");
	CU_ASSERT(r.size == sizeof(r) && r.text_used == strlen(text));
	CU_ASSERT(r.errors == 1 && r.warnings == 1 && r.notes == 1 && r.truncated == 0);
}

static void test_controls(void)
{
	struct kvf_report r;
	char text[64];

	kvf_report_init(&r, text, sizeof(text));
	kvf_report_add(&r, KVF_NOTE, "a\nb\033[31m\x7f\xc3\xa9");
	CU_ASSERT_STRING_EQUAL(text, "note: a?b?[31m?\xc3\xa9\n");
}

static void test_counters_only(void)
{
	struct kvf_report r;
	char text[8] = "x";

	kvf_report_add(NULL, KVF_ERROR, "nobody");
	kvf_report_init(NULL, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "x");
	kvf_report_init(&r, NULL, 100);
	kvf_report_add(&r, KVF_ERROR, "x");
	CU_ASSERT(r.errors == 1 && r.text_size == 0 && !r.text && r.truncated == 0);
	kvf_report_init(&r, text, 0);
	kvf_report_add(&r, KVF_NOTE, "x");
	CU_ASSERT(r.notes == 1 && !r.text);
}

/* At every size of the buffer: terminated, whole lines, no byte behind the end, no half character.
 */
static void test_full(void)
{
	for (size_t size = 1; size < 80; size++) {
		struct kvf_report r;
		char text[96];
		size_t n;

		memset(text, '#', sizeof(text));
		kvf_report_init(&r, text, size);
		for (int i = 0; i < 4; i++)
			kvf_report_add(&r, KVF_WARNING, "\xe2\x82\xac\xf0\x9f\x98\x80 %d", i);
		n = strlen(text);
		CU_ASSERT(n < size && n == r.text_used && text[size] == '#');
		CU_ASSERT(n == 0 || text[n - 1] == '\n');
		CU_ASSERT_EQUAL(r.warnings, 4);
		CU_ASSERT((r.truncated == 0) == (size > 4 * 19));
		if (n > 1) {
			unsigned char last = (unsigned char)text[n - 2];

			/* the last bytes are the end of a character */
			CU_ASSERT(last < 0x80 || last == 0xac ||
				  (last == 0x80 && text[n - 5] == '\xf0'));
		}
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"lines", test_lines},
		{"controls", test_controls},
		{"counters_only", test_counters_only},
		{"full", test_full},
	};

	return kvf_test_main("report", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
