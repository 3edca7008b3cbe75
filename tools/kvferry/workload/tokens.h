/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens of a workload. Traces say which blocks of two prompts are equal, not what they hold; this
 * file gives each block its text.
 *
 *	content id = wl_content_id(scope, id of the trace)
 *	token      = wl_token(content id, offset in the block)
 *
 * Equal content ids have equal tokens. Different content ids differ within every aligned group of
 * four tokens, as four tokens of 16 bits spell out a bijection of the id. All tokens lie below
 *65536, inside the vocabulary of every common model.
 */
#ifndef KVFERRY_WORKLOAD_TOKENS_H
#define KVFERRY_WORKLOAD_TOKENS_H

#include "workload/rng.h"

/* Scope of ids that mean the same in every file of their format. */
#define WL_SCOPE_GLOBAL UINT64_C(0)

/*
 * Content id of block `id` of a scope (WL_SCOPE_GLOBAL, or a salt made of the session's file).
 * Within one scope different ids stay different for certain; those of two scopes meet with a chance
 * of 2^-64 a pair.
 */
static inline uint64_t wl_content_id(uint64_t scope, uint64_t id)
{
	return wl_mix64(wl_mix64(scope + UINT64_C(0x9e3779b97f4a7c15)) ^ id);
}

static inline uint32_t wl_token(uint64_t block_id, uint32_t offset)
{
	uint64_t group =
		wl_mix64(block_id + (uint64_t)(offset / 4 + 1) * UINT64_C(0x9e3779b97f4a7c15));

	return (uint32_t)(group >> (16 * (offset % 4))) & 0xffff;
}

/* Tokens from..from+count of a block. */
static inline void wl_tokens(uint32_t *dst, uint64_t block_id, uint32_t from, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		dst[i] = wl_token(block_id, from + i);
}

/* A number for a piece of text: the scope of what a file, or a named part of a built-in workload,
 * holds. */
static inline uint64_t wl_hash_text(uint64_t seed, const char *text)
{
	uint64_t h = wl_mix64(seed + UINT64_C(0x9e3779b97f4a7c15));

	for (; *text; text++)
		h = wl_mix64(h ^ (unsigned char)*text) + UINT64_C(0x9e3779b97f4a7c15);
	return h;
}

#endif
