/* SPDX-License-Identifier: Apache-2.0 */
/* CPython's tuple hash (xxHash-like, since 3.8), int hash (modulo 2^61 - 1) and str hash (SipHash).
 */
#include "token/wire_pyhash.h"

#include "base/compiler.h"

#define PRIME_1 UINT64_C(11400714785074694791)
#define PRIME_2 UINT64_C(14029467366897019727)
#define PRIME_5 UINT64_C(2870177450012600261)
#define INT_MODULUS ((UINT64_C(1) << 61) - 1)

static inline uint64_t rotl(uint64_t x, unsigned n)
{
	return (x << n) | (x >> (64 - n));
}

static inline uint64_t tuple_add(uint64_t acc, uint64_t lane)
{
	return rotl(acc + lane * PRIME_2, 31) * PRIME_1;
}

static int64_t tuple_end(uint64_t acc, uint64_t n)
{
	acc += n ^ (PRIME_5 ^ UINT64_C(3527539));
	return acc == UINT64_MAX ? INT64_C(1546275796) : (int64_t)acc;
}

int64_t kvf_pyhash_empty(void)
{
	return tuple_end(PRIME_5, 0);
}

static int64_t int_hash(int64_t v)
{
	uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
	int64_t h = (int64_t)(magnitude % INT_MODULUS);

	if (v < 0)
		h = -h;
	return h == -1 ? -2 : h; /* -1 is CPython's error mark */
}

int64_t kvf_pyhash_chunk(int64_t prefix, const uint32_t *tokens, size_t n, int64_t third)
{
	uint64_t acc = PRIME_5;
	int64_t inner;

	for (size_t i = 0; i < n; i++)
		acc = tuple_add(acc, tokens[i]);
	inner = tuple_end(acc, n);
	acc = tuple_add(PRIME_5, (uint64_t)int_hash(prefix));
	acc = tuple_add(acc, (uint64_t)inner);
	acc = tuple_add(acc, (uint64_t)third);
	return tuple_end(acc, 3);
}

static void sip_rounds(uint64_t v[4], unsigned rounds)
{
	while (rounds-- > 0) {
		v[0] += v[1];
		v[1] = rotl(v[1], 13) ^ v[0];
		v[0] = rotl(v[0], 32);
		v[2] += v[3];
		v[3] = rotl(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotl(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotl(v[1], 17) ^ v[2];
		v[2] = rotl(v[2], 32);
	}
}

static uint64_t siphash(const uint64_t key[2], const uint8_t *p, size_t n, unsigned c, unsigned d)
{
	uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575),
		key[1] ^ UINT64_C(0x646f72616e646f6d), key[0] ^ UINT64_C(0x6c7967656e657261),
		key[1] ^ UINT64_C(0x7465646279746573)};
	uint64_t last = (uint64_t)n << 56;

	for (size_t at = 0; at + 8 <= n; at += 8) {
		uint64_t m = 0;

		for (unsigned i = 0; i < 8; i++)
			m |= (uint64_t)p[at + i] << (8 * i);
		v[3] ^= m;
		sip_rounds(v, c);
		v[0] ^= m;
	}
	for (unsigned i = 0; i < n % 8; i++)
		last |= (uint64_t)p[n - n % 8 + i] << (8 * i);
	v[3] ^= last;
	sip_rounds(v, c);
	v[0] ^= last;
	v[2] ^= 0xff;
	sip_rounds(v, d);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The first 16 bytes of CPython's hash secret; seed 0 turns randomisation off. */
static void secret(uint32_t seed, uint64_t key[2])
{
	uint32_t x = seed;

	key[0] = 0;
	key[1] = 0;
	if (seed == 0)
		return;
	for (unsigned i = 0; i < 16; i++) {
		x = x * 214013 + 2531011;
		key[i / 8] |= (uint64_t)((x >> 16) & 0xff) << (8 * (i % 8));
	}
}

int64_t kvf_pyhash_text(const char *text, size_t n, uint32_t seed, unsigned python_minor)
{
	uint64_t key[2];
	uint64_t h;

	if (n == 0)
		return 0;
	secret(seed, key);
	if (python_minor <= 10)
		h = siphash(key, (const uint8_t *)text, n, 2, 4);
	else
		h = siphash(key, (const uint8_t *)text, n, 1, 3);
	return h == UINT64_MAX ? -2 : (int64_t)h;
}
