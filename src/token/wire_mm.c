/* SPDX-License-Identifier: Apache-2.0 */
/* Both forms of LMCache's multimodal placeholder rewrite. */
#include "token/wire_mm.h"

#include <string.h>

#include "token/wire_digest.h"

#define MM31_MASK 0x7fffffffu
#define MM31_PER_DIGEST 8

/* str.strip() of Python, within ASCII. */
static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static void sha256_text(const char *text, size_t n, struct kvf_wire_hash *out)
{
	struct kvf_wire_digest d;

	kvf_wire_digest_init(&d, KVF_WIRE_DIGEST_SHA256);
	kvf_wire_digest_put(&d, text, n);
	kvf_wire_digest_final(&d, out);
}

uint16_t kvf_wire_mm16(const char *identifier)
{
	const char *start = identifier;
	const char *end = identifier + strlen(identifier);
	const char *p;
	struct kvf_wire_hash h;
	uint16_t v = 0;

	while (start < end && is_space(*start))
		start++;
	while (end > start && is_space(end[-1]))
		end--;
	p = start;
	if (end - p >= 2 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X'))
		p += 2;
	if (p < end) {
		while (p < end && hex_digit(*p) >= 0)
			v = (uint16_t)(v << 4 | hex_digit(*p++));
		if (p == end)
			return v;
	}
	sha256_text(start, (size_t)(end - start), &h);
	return (uint16_t)(h.bytes[0] << 8 | h.bytes[1]);
}

static void mm31_block(
	const struct kvf_wire_hash *seed, uint64_t counter, uint32_t values[MM31_PER_DIGEST])
{
	struct kvf_wire_digest d;
	struct kvf_wire_hash h;
	uint8_t be[8];

	for (unsigned i = 0; i < 8; i++)
		be[i] = (uint8_t)(counter >> (56 - 8 * i));
	kvf_wire_digest_init(&d, KVF_WIRE_DIGEST_SHA256);
	kvf_wire_digest_put(&d, seed->bytes, seed->size);
	kvf_wire_digest_put(&d, be, sizeof(be));
	kvf_wire_digest_final(&d, &h);
	for (unsigned i = 0; i < MM31_PER_DIGEST; i++)
		values[i] = ((uint32_t)h.bytes[4 * i] << 24 | (uint32_t)h.bytes[4 * i + 1] << 16 |
				    (uint32_t)h.bytes[4 * i + 2] << 8 | h.bytes[4 * i + 3]) &
			    MM31_MASK;
}

void kvf_wire_mm31(const char *identifier, uint64_t first, uint32_t *out, size_t n)
{
	struct kvf_wire_hash seed;
	uint32_t values[MM31_PER_DIGEST];

	if (n == 0)
		return;
	sha256_text(identifier, strlen(identifier), &seed);
	for (size_t i = 0; i < n; i++) {
		uint64_t at = first + i;

		if (i == 0 || at % MM31_PER_DIGEST == 0)
			mm31_block(&seed, at / MM31_PER_DIGEST, values);
		out[i] = values[at % MM31_PER_DIGEST];
	}
}

void kvf_wire_mm_rewrite(enum kvf_wire_mm_form form, const struct kvf_wire_mm_item *items,
	size_t n_items, uint32_t *tokens, size_t n_tokens)
{
	for (size_t i = 0; i < n_items; i++) {
		const struct kvf_wire_mm_item *item = &items[i];
		size_t n;

		if (item->offset >= n_tokens)
			continue;
		n = (size_t)kvf_min_u64(item->length, n_tokens - item->offset);
		if (form == KVF_WIRE_MM31) {
			kvf_wire_mm31(item->identifier, 0, tokens + item->offset, n);
		} else {
			uint16_t v = kvf_wire_mm16(item->identifier);

			for (size_t k = 0; k < n; k++)
				tokens[item->offset + k] = v;
		}
	}
}
