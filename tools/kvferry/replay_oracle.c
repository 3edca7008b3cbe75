/* SPDX-License-Identifier: Apache-2.0 */
/* What every byte of the KV cache must be. See replay.h. */
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "replay.h"
#include "workload/tokens.h"

#define TOKENS_AT_ONCE 256
/* Asked for of each row of the next block: what follows the hardware finds itself. */
#define FETCH_BYTES 1024
#define K1 UINT64_C(0x9fb21c651e98df25)
#define K2 UINT64_C(0xd6e8feb86659fd93)
#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

int replay_oracle_init(struct replay_oracle *oracle, uint32_t n_rows, uint32_t row_bytes)
{
	*oracle = (struct replay_oracle){.n_rows = n_rows, .row_bytes = row_bytes};
	oracle->row_seed = malloc(n_rows * sizeof(*oracle->row_seed));
	oracle->scratch = malloc(row_bytes);
	if (!oracle->row_seed || !oracle->scratch) {
		replay_oracle_fini(oracle);
		return -1;
	}
	for (uint32_t i = 0; i < n_rows; i++)
		oracle->row_seed[i] = wl_mix64((i + 1) * GOLDEN);
	return 0;
}

void replay_oracle_fini(struct replay_oracle *oracle)
{
	free(oracle->row_seed);
	free(oracle->scratch);
	*oracle = (struct replay_oracle){0};
}

struct replay_cursor replay_cursor_begin(const char *salt)
{
	return (struct replay_cursor){.hash = wl_hash_text(GOLDEN, salt)};
}

uint64_t replay_hash_token(uint64_t hash, uint32_t token)
{
	hash = (hash ^ (token + 1)) * K1;
	return hash ^ (hash >> 29);
}

static inline uint64_t row_state(uint64_t hash, uint64_t seed)
{
	uint64_t x = (hash ^ seed) * K2;

	return x ^ (x >> 32);
}

static inline uint64_t row_word(uint64_t state, uint32_t at)
{
	uint64_t word = (state + at * GOLDEN) * K1;

	return word ^ (word >> 32);
}

static void make_row(uint8_t *dst, uint64_t state, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i += 8) {
		uint64_t word = row_word(state, i);

		memcpy(dst + i, &word, bytes - i < 8 ? bytes - i : 8);
	}
}

/* Not 0: the row is wrong. */
static uint64_t differs(const uint8_t *at, uint64_t state, uint32_t bytes)
{
	uint64_t wrong = 0;

	for (uint32_t i = 0; i < bytes; i += 8) {
		uint64_t word = row_word(state, i), found = 0;

		if (bytes - i >= 8) {
			memcpy(&found, at + i, 8);
			wrong |= word ^ found;
		} else {
			wrong |= (uint64_t)(memcmp(at + i, &word, bytes - i) != 0);
		}
	}
	return wrong;
}

static uint64_t count_wrong(const struct replay_oracle *oracle, const uint8_t *at, uint64_t state)
{
	uint64_t wrong = 0;

	make_row(oracle->scratch, state, oracle->row_bytes);
	for (uint32_t i = 0; i < oracle->row_bytes; i++)
		wrong += at[i] != oracle->scratch[i];
	return wrong;
}

/* One row of each of n tokens that follow one another in a block: written, or compared. Returns the
 * wrong bytes. */
static uint64_t do_rows(const struct replay_oracle *oracle, uint8_t *at, const uint64_t *hash,
	size_t n, uint64_t seed, bool compare)
{
	uint32_t bytes = oracle->row_bytes;
	uint64_t wrong = 0;

	for (size_t i = 0; i < n; i++, at += bytes) {
		uint64_t state = row_state(hash[i], seed);

		if (!compare)
			make_row(at, state, bytes);
		else if (kvf_unlikely(differs(at, state, bytes)))
			wrong += count_wrong(oracle, at, state);
	}
	return wrong;
}

/* Blocks lie anywhere: asks for the next one while this one is worked on. */
static void fetch_block(
	const struct replay_oracle *oracle, const struct replay_device *dev, uint32_t block)
{
	uint32_t bytes =
		(uint32_t)kvf_min_u64((uint64_t)dev->block_tokens * dev->row_bytes, FETCH_BYTES);

	for (uint32_t row = 0; row < oracle->n_rows; row++) {
		const uint8_t *at = replay_device_row(dev, row, block, 0);

		for (uint32_t i = 0; i < bytes; i += 64)
			__builtin_prefetch(at + i);
	}
}

static uint64_t walk(const struct replay_oracle *oracle, struct replay_device *dev,
	const struct wl_request *r, const uint32_t *ids, struct replay_cursor *cursor, uint64_t end,
	bool compare)
{
	uint32_t tokens[TOKENS_AT_ONCE];
	uint64_t hash[TOKENS_AT_ONCE];
	uint64_t wrong = 0;

	while (cursor->position < end) {
		uint64_t first = cursor->position, in_block = first % dev->block_tokens;
		size_t n = (size_t)kvf_min_u64(
			kvf_min_u64(end - first, TOKENS_AT_ONCE), dev->block_tokens - in_block);

		if (first + n < end)
			fetch_block(oracle, dev, ids[(first + n) / dev->block_tokens]);
		wl_request_tokens(r, first, n, tokens);
		for (size_t i = 0; i < n; i++)
			hash[i] = cursor->hash = replay_hash_token(cursor->hash, tokens[i]);
		if (compare)
			replay_device_sync(dev, ids[first / dev->block_tokens], (uint32_t)in_block,
				(uint32_t)n, true);
		for (uint32_t row = 0; row < oracle->n_rows; row++)
			wrong += do_rows(oracle,
				replay_device_row(dev, row, ids[first / dev->block_tokens],
					(uint32_t)in_block),
				hash, n, oracle->row_seed[row], compare);
		if (!compare)
			replay_device_sync(dev, ids[first / dev->block_tokens], (uint32_t)in_block,
				(uint32_t)n, false);
		cursor->position += n;
	}
	return wrong;
}

void replay_compute(const struct replay_oracle *oracle, struct replay_device *dev,
	const struct wl_request *r, const uint32_t *ids, struct replay_cursor *cursor, uint64_t end)
{
	(void)walk(oracle, dev, r, ids, cursor, end, false);
}

uint64_t replay_verify(const struct replay_oracle *oracle, struct replay_device *dev,
	const struct wl_request *r, const uint32_t *ids, struct replay_cursor *cursor, uint64_t end)
{
	return walk(oracle, dev, r, ids, cursor, end, true);
}
