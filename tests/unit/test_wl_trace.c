/* SPDX-License-Identifier: Apache-2.0 */
/* The trace formats: fields, relations between requests, errors with their place, files and
 * directories. */
#include "tests/harness.h"
#include "tests/support/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workload/source.h"
#include "workload/tokens.h"

static struct wl_error error;

static struct wl_source *open_bytes(enum wl_format format, const char *text)
{
	struct wl_source *s = NULL;
	int rc;

	error.text[0] = 0;
	if (format == WL_FORMAT_MOONCAKE)
		rc = wl_mooncake_open_bytes("t", text, strlen(text), 512, &s, &error);
	else
		rc = wl_coding_agent_open_bytes("t", text, strlen(text), 1, &s, &error);
	CU_ASSERT_EQUAL_FATAL(rc, KVF_OK);
	return s;
}

static int drain(enum wl_format format, const char *text, size_t *count)
{
	struct wl_source *s = open_bytes(format, text);
	struct wl_request r;
	int rc;

	*count = 0;
	while ((rc = s->ops->next(s, &r, &error)) == 1)
		++*count;
	s->ops->close(s);
	return rc;
}

#define LINE(t, in, out, ids)                                                                      \
	"{\"timestamp\": " t ", \"input_length\": " in ", \"output_length\": " out                 \
	", \"hash_ids\": " ids "}\n"

static void test_mooncake(void)
{
	static const char text[] = LINE("0", "1024", "5", "[7,8]") "\n\r\n" LINE(
		"1500.5", "513", "0", "[7,9]") "{\"extra\":{\"a\":[1]},\"hash_ids\":[3],\"output_"
					       "length\":1,\"input_length\":1,\"timestamp\":2e3}";
	struct wl_source *s = open_bytes(WL_FORMAT_MOONCAKE, text);
	struct wl_request r;

	CU_ASSERT_EQUAL_FATAL(s->ops->next(s, &r, &error), 1);
	CU_ASSERT(r.index == 0 && r.session == 0 && r.arrival_ns == 0 && r.prompt_tokens == 1024);
	CU_ASSERT(r.output_tokens == 5 && r.block_count == 2 && r.block_tokens == 512);
	CU_ASSERT_EQUAL(r.blocks[0], wl_content_id(WL_SCOPE_GLOBAL, 7));
	CU_ASSERT(r.after == WL_NONE && r.parent == WL_NONE && r.session_ends);
	CU_ASSERT_EQUAL_FATAL(s->ops->next(s, &r, &error), 1);
	CU_ASSERT(
		r.index == 1 && r.session == 1 && r.arrival_ns == 1500500000 && r.block_count == 2);
	CU_ASSERT_EQUAL(r.blocks[0], wl_content_id(WL_SCOPE_GLOBAL, 7));
	CU_ASSERT_EQUAL_FATAL(s->ops->next(s, &r, &error), 1);
	CU_ASSERT(r.prompt_tokens == 1 && r.arrival_ns == 2000000000);
	CU_ASSERT_EQUAL(s->ops->next(s, &r, &error), 0);
	s->ops->close(s);
}

struct bad {
	const char *text, *error;
	int status;
};

static void check_bad(enum wl_format format, const struct bad *bad, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t count;
		int rc = drain(format, bad[i].text, &count);

		CU_ASSERT_EQUAL(rc, bad[i].status);
		CU_ASSERT_PTR_NOT_NULL(strstr(error.text, bad[i].error));
		if (!strstr(error.text, bad[i].error))
			printf("%zu: \"%s\" is not in \"%s\"\n", i, bad[i].error, error.text);
	}
}

static void test_mooncake_bad(void)
{
	static const struct bad bad[] = {
		{"[]", "t:1:1: request: must be an object, found an array", KVF_EINVAL},
		{"{", "t:1:2: the document ends too early", KVF_EINVAL},
		{LINE("0", "512", "5", "[7]") "{\"timestamp\" 1}", "t:2:2: key without a colon",
			KVF_EINVAL},
		{LINE("0", "512", "5", "[7]") "x", "t:2:1: request: expected a value here",
			KVF_EINVAL},
		{"{}", "t:1: timestamp: missing", KVF_EINVAL},
		{"{\"timestamp\":0,\"input_length\":5,\"output_length\":1}",
			"t:1: hash_ids: missing", KVF_EINVAL},
		{LINE("0", "512", "5", "[7,8]"),
			"t:1: hash_ids: 2 ids, but 512 tokens in blocks of 512 make 1", KVF_EINVAL},
		{LINE("0", "513", "5", "[7]"), "hash_ids: 1 ids, but 513 tokens", KVF_EINVAL},
		{LINE("0", "0", "5", "[]"), "input_length: 0 is below 1", KVF_EINVAL},
		{LINE("0", "-5", "5", "[7]"),
			"input_length: must be a whole number from 0 to 16777216, found a number "
			"'-5'",
			KVF_EINVAL},
		{LINE("0", "99999999999", "5", "[7]"), "input_length: must be", KVF_EINVAL},
		{LINE("0", "1.5", "5", "[7]"), "input_length: must be a whole number", KVF_EINVAL},
		{LINE("0", "5", "\"x\"", "[7]"),
			"output_length: must be a whole number from 0 to 16777216, found a string "
			"'x'",
			KVF_EINVAL},
		{LINE("0", "5", "5", "[-1]"), "hash_ids: must hold whole numbers", KVF_EINVAL},
		{LINE("0", "5", "5", "[[1]]"), "hash_ids: must hold whole numbers", KVF_EINVAL},
		{LINE("0", "5", "5", "7"), "hash_ids: must be an array", KVF_EINVAL},
		{LINE("null", "5", "5", "[7]"), "timestamp: must be milliseconds", KVF_EINVAL},
		{LINE("1e300", "5", "5", "[7]"), "timestamp: must be milliseconds", KVF_EINVAL},
		{LINE("5", "5", "5", "[7]") LINE("4", "5", "5", "[7]"),
			"t:2:15: timestamp: must not be earlier", KVF_EINVAL},
		{"{\"timestamp\":0,\"timestamp\":0}", "timestamp: given twice", KVF_EINVAL},
		{"{\"hash_ids\":[],\"hash_ids\":[]}", "hash_ids: given twice", KVF_EINVAL},
		{"{\"a\":[}", "expected a value here", KVF_EINVAL},
		{LINE("0", "5", "5", "[7]") " {} {}", "t:2:5: text after the end", KVF_EINVAL}};

	check_bad(WL_FORMAT_MOONCAKE, bad, KVF_ARRAY_LEN(bad));
}

static void test_mooncake_long_line(void)
{
	size_t n = WL_MAX_LINE_BYTES + (1 << 20), count;
	char *text = malloc(n + 1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	memset(text, ' ', n);
	text[n] = 0;
	CU_ASSERT_EQUAL(drain(WL_FORMAT_MOONCAKE, text, &count), KVF_ERANGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "t:1: line is longer than 4194304 bytes"));
	free(text);
}

#define REQ(t, in, ids, more) "{\"t\":" t ",\"in\":" in ",\"out\":3,\"hash_ids\":" ids more "}"
#define TOP(requests) "{\"block_size\":4,\"hash_id_scope\":\"local\",\"requests\":[" requests "]}"

static void next_ok(struct wl_source *s, struct wl_request *r)
{
	int rc = s->ops->next(s, r, &error);

	if (rc < 0)
		printf("%s\n", error.text);
	CU_ASSERT_EQUAL_FATAL(rc, 1);
	CU_ASSERT_EQUAL(r->block_count, (r->prompt_tokens + r->block_tokens - 1) / r->block_tokens);
}

static void test_agent_turns(void)
{
	struct wl_source *s = open_bytes(WL_FORMAT_CODING_AGENT,
		TOP(REQ("0", "10", "[1,2]", ",\"api_time\":1.5") "," REQ(
			"5", "13", "[1,2,3]", ",\"think_time\":1") "," REQ("9", "13", "[1,2,4]",
			"") "," REQ("8.5", "9", "[1,5]", "")));
	uint64_t first_tail;
	struct wl_request r;

	next_ok(s, &r);
	CU_ASSERT(
		r.session == 0 && r.turn == 0 && r.service_ns == 1500000000 && r.after == WL_NONE);
	CU_ASSERT(
		r.block_count == 3 && r.block_tokens == 4 && r.keep_tokens == 0 && !r.session_ends);
	first_tail = r.blocks[2];
	CU_ASSERT_EQUAL(first_tail,
		wl_content_id(1, 3)); /* the tail of 2 tokens begins the next prompt's block 3 */
	next_ok(s, &r);
	CU_ASSERT(r.turn == 1 && r.after == 0 && r.gap_ns == 3500000000 && r.keep_tokens == 10);
	CU_ASSERT_EQUAL(r.blocks[2], first_tail);
	CU_ASSERT_FALSE(r.rewrites_prefix);
	next_ok(s, &r); /* lost its last block only */
	CU_ASSERT(r.keep_tokens == 8 && !r.rewrites_prefix && r.gap_ns == 4000000000);
	next_ok(s, &r); /* the clock stepped back, two blocks are lost */
	CU_ASSERT(r.arrival_ns == 9000000000 && r.keep_tokens == 4 && r.rewrites_prefix &&
		  r.session_ends);
	CU_ASSERT_EQUAL(s->ops->next(s, &r, &error), 0);
	s->ops->close(s);
}

static void test_agent_subagents(void)
{
	static const char text[] = "{\"requests\":[" REQ("0", "8", "[1,2]",
		",\"type\":\"s\"") ","
				   "{\"requests\":[" REQ("0", "8", "[1,9]", "") "," REQ("2", "12",
					   "[1,9,10]",
					   "") "],\"t\":3,"
					       "\"type\":\"sub\\u0061gent\",\"status\":\"x\"},"
					       "{\"type\":\"subagent\",\"t\":3.5,\"requests\":"
					       "[" REQ("0", "4", "[20]", "") "," REQ("100", "4",
						       "[20]",
						       "") "]},"
							   "{\"type\":\"subagent\",\"t\":3.5,"
							   "\"requests\":[]}," REQ("7", "12",
								   "[1,2,3]",
								   "") "],\"block_size\":4}";
	struct wl_source *s = open_bytes(WL_FORMAT_CODING_AGENT, text);
	struct wl_request r;

	next_ok(s, &r);
	CU_ASSERT_EQUAL(r.session, 0);
	next_ok(s, &r);
	CU_ASSERT(r.session == 1 && r.parent == 0 && r.fork_request == 0 && r.fork_tokens == 4 &&
		  r.keep_tokens == 4);
	CU_ASSERT(r.after == 0 && r.gap_ns == 3000000000 && r.arrival_ns == 3000000000);
	next_ok(s, &r);
	CU_ASSERT(r.session == 2 && r.parent == 0 && r.fork_tokens == 0 &&
		  r.arrival_ns == 3500000000);
	next_ok(s, &r);
	CU_ASSERT(r.session == 1 && r.parent == WL_NONE && r.after == 1 && r.session_ends &&
		  r.keep_tokens == 8);
	next_ok(s, &r); /* waits for sub-agent 1; sub-agent 2 runs on in the background */
	CU_ASSERT(r.session == 0 && r.turn == 1 && r.after == 3 && r.gap_ns == 2000000000 &&
		  r.keep_tokens == 8);
	next_ok(s, &r);
	CU_ASSERT(r.session == 2 && r.after == 2 && r.arrival_ns == 103500000000);
	CU_ASSERT_EQUAL(s->ops->next(s, &r, &error), 0);
	s->ops->close(s);
}

static void test_agent_bad(void)
{
	static const struct bad bad[] = {
		{"", "t:1:1: session: the document ends too early", KVF_EINVAL},
		{"[]", "session: must be an object", KVF_EINVAL},
		{"{}", "t: block_size: missing", KVF_EINVAL},
		{"{\"block_size\":4}", "t: requests: missing", KVF_EINVAL},
		{"{\"block_size\":0}", "block_size: must be above 0", KVF_EINVAL},
		{"{\"block_size\":65537}", "block_size: must be a whole number from 0 to 65536",
			KVF_EINVAL},
		{"{\"hash_id_scope\":\"x\"}", "hash_id_scope: must be", KVF_EINVAL},
		{"{\"requests\":7}", "requests: must be an array, found a number '7'", KVF_EINVAL},
		{"{\"requests\":[],\"requests\":[]}", "requests: given twice", KVF_EINVAL},
		{TOP("1"), "requests: must hold objects", KVF_EINVAL},
		{TOP("{}"), "t: missing in this request", KVF_EINVAL},
		{TOP("{\"t\":1,\n\"in\":0,\"out\":0,\"hash_ids\":[]}"), "t:1:53: in: 0 is below 1",
			KVF_EINVAL},
		{TOP(REQ("0", "8", "[1]", "")),
			"hash_ids: 1 ids, but 8 tokens hold 2 full blocks of 4", KVF_EINVAL},
		{TOP(REQ("0", "8", "[1,2,3]", "")), "hash_ids: 3 ids", KVF_EINVAL},
		{TOP(REQ("-1", "8", "[1,2]", "")), "t: must be a number from 0 to", KVF_EINVAL},
		{TOP("\n" REQ("0", "8", "[1,\"2\"]", "")),
			"t:2:37: hash_ids: must hold whole numbers", KVF_EINVAL},
		{TOP(REQ("0", "8", "[1,2]", ",\"requests\":[]")), "type \"subagent\": missing",
			KVF_EINVAL},
		{TOP("{\"t\":0,\"type\":\"subagent\"}"), "requests: missing in this request",
			KVF_EINVAL},
		{TOP("{\"t\":0,\"type\":1}"), "type: must be a string", KVF_EINVAL},
		{TOP(REQ("0", "8", "[1,2]", "")) "x", "text after the end", KVF_EINVAL},
		{"{\"block_size\":4,\"requests\":[{\"t\":0,\"a\":}]}", "expected a value here",
			KVF_EINVAL}};

	check_bad(WL_FORMAT_CODING_AGENT, bad, KVF_ARRAY_LEN(bad));
}

#define SUB(inner) "{\"t\":0,\"type\":\"subagent\",\"requests\":[" inner "]}"

static void test_agent_nesting(void)
{
	size_t count;

	CU_ASSERT_EQUAL(
		drain(WL_FORMAT_CODING_AGENT, TOP(SUB(SUB(SUB(REQ("0", "4", "[1]", ""))))), &count),
		0);
	CU_ASSERT_EQUAL(count, 1);
	CU_ASSERT_EQUAL(drain(WL_FORMAT_CODING_AGENT,
				TOP(SUB(SUB(SUB(SUB(REQ("0", "4", "[1]", "")))))), &count),
		KVF_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "nested more than 3 deep"));
}

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file_write_text(path, text);
}

static int replay(
	const char *source, struct wl_options *o, struct wl_totals *totals, uint64_t *first_blocks)
{
	struct workload *w = NULL;
	uint64_t last = 0, n = 0;
	struct wl_request r;
	int rc;

	o->sources = &source;
	o->source_count = 1;
	rc = wl_open(&w, o, &error);
	if (rc != KVF_OK)
		return rc;
	while ((rc = wl_next(w, &r)) == 1) {
		CU_ASSERT(r.index == n && r.arrival_ns >= last);
		CU_ASSERT(r.after == WL_NONE || r.after < r.index);
		CU_ASSERT(r.fork_request == WL_NONE || r.fork_request < r.index);
		last = r.arrival_ns;
		if (first_blocks && n < 8)
			first_blocks[n] = r.blocks[0];
		n++;
	}
	*totals = *wl_totals(w);
	if (rc < 0)
		snprintf(error.text, sizeof(error.text), "%s", wl_error_text(w));
	else
		CU_ASSERT_EQUAL(wl_permille(w), 1000);
	wl_close(w);
	return rc;
}

/* Two sessions of the same ids in one directory and below it; a file that is no trace; formats by
 * content. */
static void test_directory(void)
{
	static const char session[] =
		TOP(REQ("0", "8", "[1,2]", "") "," REQ("4", "12", "[1,2,3]", ""));
	struct wl_options o = {0};
	struct wl_totals t;
	char dir[256], path[300];
	uint64_t first[8], again[8];

	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	CU_ASSERT_EQUAL(replay(dir, &o, &t, NULL), KVF_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "no trace_*.json in this directory"));
	snprintf(path, sizeof(path), "%s/sub", dir);
	CU_ASSERT_EQUAL_FATAL(mkdir(path, 0700), 0);
	write_file(dir, "trace_1.json", session);
	write_file(path, "trace_1.json", session);
	write_file(dir, "notes.json", "no trace");
	CU_ASSERT_EQUAL(replay(dir, &o, &t, first), 0);
	CU_ASSERT(t.requests == 4 && t.sessions == 2 && t.prompt_tokens == 40);
	CU_ASSERT_NOT_EQUAL(first[0], first[1]); /* both at time 0: the two files */
	CU_ASSERT(first[0] == first[2] && first[1] == first[3]);
	o.limit = 3;
	CU_ASSERT_EQUAL(replay(dir, &o, &t, again), 0);
	CU_ASSERT(t.requests == 3 && memcmp(first, again, 3 * sizeof(*first)) == 0);
	o.limit = 0;
	o.spread_ns = 1000000000000;
	CU_ASSERT_EQUAL(replay(dir, &o, &t, NULL), 0);
	CU_ASSERT(t.last_arrival_ns > 4000000000 && t.requests == 4);
	write_file(path, "trace_2.json", "{\"a\":1}");
	CU_ASSERT_EQUAL(replay(dir, &o, &t, NULL), KVF_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "sub/trace_2.json: neither a Mooncake trace"));
}

static void test_sources(void)
{
	static const char *const both[] = {"", "builtin:random-prefill,requests=2,tokens=100"};
	struct wl_options o = {.sources = NULL};
	const char *sources[2] = {NULL, both[1]};
	struct workload *w = NULL;
	char dir[256], path[300];
	struct wl_request r;
	struct wl_totals t;

	CU_ASSERT_EQUAL(wl_open(&w, &o, &error), KVF_EINVAL);
	CU_ASSERT_EQUAL(replay("/nonexistent/trace", &o, &t, NULL), KVF_EIO);
	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	write_file(dir, "m.jsonl", LINE("0", "5", "1", "[1]") LINE("7", "5", "1", "[2]"));
	snprintf(path, sizeof(path), "%s/m.jsonl", dir);
	CU_ASSERT_EQUAL(replay(path, &o, &t, NULL), 0);
	CU_ASSERT(t.requests == 2 && t.sessions == 2 && t.last_arrival_ns == 7000000);
	sources[0] = path;
	o.sources = sources;
	o.source_count = 2;
	CU_ASSERT_EQUAL_FATAL(wl_open(&w, &o, NULL), KVF_OK);
	for (uint64_t i = 0; i < 4; i++) {
		CU_ASSERT_EQUAL(wl_next(w, &r), 1);
		CU_ASSERT(r.index == i && r.session == i);
		CU_ASSERT_EQUAL(r.block_tokens, i == 1 || i == 2 ? 16 : 512);
	}
	CU_ASSERT_EQUAL(wl_next(w, &r), 0);
	wl_close(w);
	wl_close(NULL);
	write_file(dir, "m.jsonl", LINE("0", "5", "1", "[1]") "{");
	CU_ASSERT_EQUAL(replay(path, &o, &t, NULL), KVF_EINVAL);
	CU_ASSERT_EQUAL(t.requests, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "m.jsonl:2:2:"));
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {{"mooncake", test_mooncake},
		{"mooncake_bad", test_mooncake_bad},
		{"mooncake_long_line", test_mooncake_long_line}, {"agent_turns", test_agent_turns},
		{"agent_subagents", test_agent_subagents}, {"agent_bad", test_agent_bad},
		{"agent_nesting", test_agent_nesting}, {"directory", test_directory},
		{"sources", test_sources}};

	return kvf_test_main("wl_trace", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
