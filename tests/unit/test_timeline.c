/* SPDX-License-Identifier: Apache-2.0 */
/* timeline.h: exact events, names that would break the JSON. */
#include "tests/harness.h"

#include <stdio.h>
#include <string.h>

#include "base/timeline.h"

struct sink {
	unsigned lines;
	char text[1024];
};

static void take(const char *json, size_t n, void *user)
{
	struct sink *sink = user;

	sink->lines++;
	CU_ASSERT_EQUAL(n, strlen(json));
	CU_ASSERT_PTR_NULL(strchr(json, '\n'));
	CU_ASSERT_EQUAL(json[0], '{');
	CU_ASSERT_EQUAL(json[n - 1], '}');
	snprintf(sink->text, sizeof(sink->text), "%s", json);
}

/* Braces balance outside of strings, and every string ends: enough for what is one flat printf. */
static int balanced(const char *s)
{
	int depth = 0;
	int in_string = 0;

	for (; *s; s++) {
		if (in_string && *s == '\\')
			s++;
		else if (*s == '"')
			in_string = !in_string;
		else if (!in_string)
			depth += (*s == '{') - (*s == '}');
	}
	return depth == 0 && !in_string;
}

static void test_events(void)
{
	struct sink sink = { 0, "" };
	struct kvf_timeline tl = { take, &sink };

	kvf_timeline_slice(&tl, KVF_ROW_D2H, "copy", 1234567, 2234568, 42, 4096);
	CU_ASSERT_STRING_EQUAL(sink.text, "{\"name\":\"copy\",\"ph\":\"X\",\"pid\":1,\"tid\":2,\"ts\":1234.567,"
					  "\"dur\":1000.001,\"args\":{\"id\":42,\"bytes\":4096}}");
	kvf_timeline_slice(&tl, 0, "back", 5, 4, 0, 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(sink.text, "\"dur\":0.000"));
	kvf_timeline_async(&tl, 17, 'b', "get", 9, 255, 7);
	CU_ASSERT_STRING_EQUAL(sink.text, "{\"name\":\"get\",\"cat\":\"row17\",\"ph\":\"b\",\"pid\":1,\"tid\":17,"
					  "\"ts\":0.009,\"id\":\"0xff\",\"args\":{\"bytes\":7}}");
	kvf_timeline_async(&tl, 17, 'e', "get", UINT64_MAX, UINT64_MAX, UINT64_MAX);
	CU_ASSERT(balanced(sink.text));
	kvf_timeline_counter(&tl, "slots", 1000, 3);
	CU_ASSERT_STRING_EQUAL(sink.text,
			       "{\"name\":\"slots\",\"ph\":\"C\",\"pid\":1,\"ts\":1.000,\"args\":{\"value\":3}}");
	CU_ASSERT_EQUAL(sink.lines, 5);
	kvf_timeline_async(&tl, 17, 'x', "get", 9, 255, 7); /* no such phase */
	CU_ASSERT_EQUAL(sink.lines, 5);
	kvf_timeline_row_name(&tl, 16, "disk");
	CU_ASSERT(sink.lines > 5);
	CU_ASSERT(balanced(sink.text));
}

static void test_names(void)
{
	struct sink sink = { 0, "" };
	struct kvf_timeline tl = { take, &sink };
	char name[600];

	kvf_timeline_counter(&tl, "a\"b\\c\nd\xc3\xa4", 0, 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(sink.text, "\"a\\\"b\\\\c?d??\""));
	kvf_timeline_counter(&tl, NULL, 0, 0);
	CU_ASSERT(balanced(sink.text));
	for (size_t n = 0; n < sizeof(name); n++) {
		memset(name, n & 1 ? '"' : '\\', n);
		name[n] = '\0';
		sink.text[0] = '\0';
		kvf_timeline_slice(&tl, UINT32_MAX, name, 0, UINT64_MAX, UINT64_MAX, UINT64_MAX);
		CU_ASSERT(sink.text[0] && balanced(sink.text));
		kvf_timeline_async(&tl, UINT32_MAX, 'b', name, UINT64_MAX, UINT64_MAX, UINT64_MAX);
		CU_ASSERT(balanced(sink.text));
		kvf_timeline_row_name(&tl, UINT32_MAX, name);
		CU_ASSERT(balanced(sink.text));
	}
	CU_ASSERT_EQUAL(sink.lines, 2 + 4 * sizeof(name));
}

static void test_off(void)
{
	struct kvf_timeline tl = { NULL, NULL };

	kvf_timeline_slice(&tl, 0, "x", 0, 0, 0, 0);
	kvf_timeline_async(&tl, 0, 'b', "x", 0, 0, 0);
	kvf_timeline_counter(&tl, "x", 0, 0);
	kvf_timeline_row_name(&tl, 0, "x");
	kvf_timeline_counter(NULL, "x", 0, 0);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "events", test_events },
		{ "names", test_names },
		{ "off", test_off },
	};

	return kvf_test_main("timeline", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
