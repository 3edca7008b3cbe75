/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts of built-in workloads: see stream.h. */
#include "workload/stream.h"

#include <string.h>

#include "workload/tokens.h"

int wl_stream_append(struct wl_stream *s, uint64_t segment, uint64_t tokens, struct wl_error *error)
{
	uint64_t total = s->tokens + tokens, offset = s->tokens % s->block_tokens;
	size_t want = (size_t)((total + s->block_tokens - 1) / s->block_tokens);
	int rc;

	if (tokens > WL_MAX_PROMPT_TOKENS || total > WL_MAX_PROMPT_TOKENS)
		return wl_fail(error, KVF_ERANGE, "prompt of %llu tokens is above %llu",
			(unsigned long long)total, (unsigned long long)WL_MAX_PROMPT_TOKENS);
	rc = wl_grow((void **)&s->blocks, &s->cap, want, sizeof(*s->blocks), error);
	if (rc != KVF_OK)
		return rc;
	segment = wl_content_id(segment, offset);
	for (uint64_t k = 0; s->count < want; k++)
		s->blocks[s->count++] = wl_content_id(segment, k);
	s->tokens = total;
	return KVF_OK;
}

uint64_t wl_stream_cut(struct wl_stream *s, uint64_t tokens)
{
	if (tokens < s->tokens) {
		s->count = (size_t)(tokens / s->block_tokens);
		s->tokens = (uint64_t)s->count * s->block_tokens;
	}
	return s->tokens;
}

int wl_stream_diverge(
	struct wl_stream *s, uint64_t segment, uint64_t tokens, struct wl_error *error)
{
	uint64_t partial = s->tokens % s->block_tokens;

	wl_stream_cut(s, s->tokens - partial);
	return wl_stream_append(s, segment, tokens + partial, error);
}

int wl_stream_copy(struct wl_stream *dst, const struct wl_stream *src, struct wl_error *error)
{
	int rc = wl_grow(
		(void **)&dst->blocks, &dst->cap, src->count + 1, sizeof(*dst->blocks), error);

	if (rc != KVF_OK)
		return rc;
	if (src->count > 0)
		memcpy(dst->blocks, src->blocks, src->count * sizeof(*src->blocks));
	dst->count = src->count;
	dst->tokens = src->tokens;
	dst->block_tokens = src->block_tokens;
	return KVF_OK;
}

void wl_stream_show(const struct wl_stream *s, struct wl_request *r)
{
	r->blocks = s->blocks;
	r->block_count = s->count;
	r->block_tokens = s->block_tokens;
	r->prompt_tokens = s->tokens;
}
