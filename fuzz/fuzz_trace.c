/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes what reads traces: the JSON parser, both formats and the guess which one it is. Whatever a
 * file says, its requests must keep the promises of workload.h.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "workload/json.h"
#include "workload/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

static void run_json(const char *text, size_t size)
{
	struct json j;
	size_t line, column;
	uint64_t v;
	char s[32];

	json_init(&j, text, size);
	while (json_next(&j) != JSON_END && j.type != JSON_ERROR) {
		must(j.text >= text && j.text + j.text_len <= text + size &&
			j.depth <= JSON_MAX_DEPTH);
		if (j.type == JSON_STRING || j.type == JSON_KEY)
			must(json_copy(&j, s, sizeof(s)) != 0 || json_equal(&j, s));
		if (j.type == JSON_NUMBER && json_scaled(&j, 1000, 1000000, &v) == 0)
			must(v <= 1000000);
	}
	must(j.offset <= size);
	json_locate(text, size, j.offset, &line, &column);
}

static void check_request(const struct wl_request *r, uint64_t index, uint64_t last_ns)
{
	uint32_t token;
	uint64_t sum = 0;

	must(r->index == index && r->arrival_ns >= last_ns);
	must(r->prompt_tokens > 0 && r->prompt_tokens <= WL_MAX_PROMPT_TOKENS);
	must(r->block_count == (r->prompt_tokens + r->block_tokens - 1) / r->block_tokens);
	must(r->after == WL_NONE || r->after < index);
	must(r->fork_request == WL_NONE || r->fork_request < index);
	must(r->keep_tokens <= r->prompt_tokens && r->fork_tokens <= r->prompt_tokens);
	for (size_t i = 0; i < r->block_count; i++)
		sum ^= r->blocks[i];
	wl_request_tokens(r, r->prompt_tokens - 1, 1, &token);
	must(token < 65536 || sum == 0);
}

static void run_source(struct wl_source *s)
{
	struct wl_error error = {{0}};
	uint64_t index = 0, last_ns = 0;
	struct wl_request r;
	int rc;

	while ((rc = s->ops->next(s, &r, &error)) == 1) {
		check_request(&r, index++, last_ns);
		last_ns = r.arrival_ns;
		must(s->ops->permille(s) <= 1000);
	}
	must(rc == 0 || error.text[0] != 0);
	s->ops->close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = size > 0 ? (const char *)data : "";
	struct wl_source *s;
	struct wl_error error;

	run_json(text, size);
	wl_format_sniff(text, size);
	if (wl_mooncake_open_bytes("m", text, size, 512, &s, &error) == KVF_OK)
		run_source(s);
	if (wl_coding_agent_open_bytes("c", text, size, 1, &s, &error) == KVF_OK)
		run_source(s);
	return 0;
}
