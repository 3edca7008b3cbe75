/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The prompt of a built-in session: text that grows at its end, can be cut and forked. A block
 * keeps its id from its first token on, so that what was a partial last block in one prompt is the
 * beginning of a full one in the next.
 */
#ifndef KVFERRY_WORKLOAD_STREAM_H
#define KVFERRY_WORKLOAD_STREAM_H

#include "workload/source.h"

struct wl_stream {
	uint64_t *blocks;
	size_t count, cap;
	uint64_t tokens;
	uint32_t block_tokens;
};

/*
 * Adds `tokens` of the text `segment`. Its k-th new block is the same in every stream to which the
 * segment was added at the same offset inside a block. KVF_OK; KVF_ERANGE (prompt too long),
 * KVF_ENOMEM with text.
 */
int wl_stream_append(
	struct wl_stream *s, uint64_t segment, uint64_t tokens, struct wl_error *error);

/* As append, where the text up to here goes on differently in other prompts: a partial last block
 * gets a new id. */
int wl_stream_diverge(
	struct wl_stream *s, uint64_t segment, uint64_t tokens, struct wl_error *error);

/* Cuts to at most `tokens`, at the end of a full block. Returns what is left. */
uint64_t wl_stream_cut(struct wl_stream *s, uint64_t tokens);

int wl_stream_copy(struct wl_stream *dst, const struct wl_stream *src, struct wl_error *error);

/* The request's prompt := the stream; it may be changed only after the request has been used. */
void wl_stream_show(const struct wl_stream *s, struct wl_request *r);

#endif
