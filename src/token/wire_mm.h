/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMCache's multimodal rewrite: placeholder tokens of an image or another item become numbers made
 * from the item's identifier (vLLM's mm_hash), before the tokens are hashed, so that two images do
 * not share a name.
 */
#ifndef KVF_TOKEN_WIRE_MM_H
#define KVF_TOKEN_WIRE_MM_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "kvferry/kvf_status.h"

enum kvf_wire_mm_form {
	KVF_WIRE_MM16 = 0, /* one number of 16 bits for a whole span; collides in practice */
	KVF_WIRE_MM31 = 1 /* since August 2026: one of 31 bits for each position */
};

struct kvf_wire_mm_item {
	const char *identifier;
	size_t offset; /* of its placeholders in the prompt */
	size_t length;
};

/*
 * The number of the 16-bit form: the low 16 bits of a hex identifier (0x allowed, white space
 * around it dropped), else the first two bytes of its SHA-256. White space outside ASCII is not
 * dropped as Python would.
 */
uint16_t kvf_wire_mm16(const char *identifier);

/* Numbers first to first + n - 1 of the 31-bit form. */
void kvf_wire_mm31(const char *identifier, uint64_t first, uint32_t *out, size_t n);

/*
 * Rewrites a prompt, or a prefix of one, in place; spans beyond its end are cut or left out, as
 * LMCache does, and where they overlap the later item wins.
 */
void kvf_wire_mm_rewrite(enum kvf_wire_mm_form form, const struct kvf_wire_mm_item *items,
	size_t n_items, uint32_t *tokens, size_t n_tokens);

#endif
