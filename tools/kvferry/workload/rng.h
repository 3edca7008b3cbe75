/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers of the workloads: splitmix64 to seed and to mix, xoshiro256** to draw, and draws
 * from a heavy-tailed distribution given by its quantiles. Integers only, so that a seed gives the
 * same workload on every machine.
 */
#ifndef KVFERRY_WORKLOAD_RNG_H
#define KVFERRY_WORKLOAD_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Finalizer of splitmix64: a bijection on 64 bits that mixes well. */
static inline uint64_t wl_mix64(uint64_t x)
{
	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	return x;
}

struct wl_rng {
	uint64_t s[4];
};

static inline void wl_rng_seed(struct wl_rng *rng, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		seed += UINT64_C(0x9e3779b97f4a7c15);
		rng->s[i] = wl_mix64(seed);
	}
}

static inline uint64_t wl_rng_next(struct wl_rng *rng)
{
	uint64_t *s = rng->s;
	uint64_t x = s[1] * 5;
	uint64_t result = ((x << 7) | (x >> 57)) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = (s[3] << 45) | (s[3] >> 19);
	return result;
}

/* Uniform in [0, n), n > 0, without bias. */
static inline uint64_t wl_rng_below(struct wl_rng *rng, uint64_t n)
{
	uint64_t reject = (0 - n) % n; /* 2^64 mod n */
	uint64_t x;

	do {
		x = wl_rng_next(rng);
	} while (x < reject);
	return x % n;
}

/* True with probability ppm / 10^6. */
static inline bool wl_rng_chance(struct wl_rng *rng, uint64_t ppm)
{
	return wl_rng_below(rng, 1000000) < ppm;
}

/* Puts n numbers into a random order. */
static inline void wl_rng_shuffle(struct wl_rng *rng, uint32_t *v, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = (size_t)wl_rng_below(rng, i);
		uint32_t t = v[i - 1];

		v[i - 1] = v[j];
		v[j] = t;
	}
}

/* Quantiles of a distribution, rising, each below 2^32; `max` is reached at 99.9 %. */
struct wl_quantiles {
	uint64_t min, p50, p90, p99, max;
};

#define WL_RANK_ONE (UINT64_C(1) << 32)

/*
 * The value at rank u / 2^32. Between two quantiles the value runs linearly in 1 / (1 - rank),
 * which makes every piece a part of a Pareto tail and needs no logarithm.
 */
static inline uint64_t wl_quantile_at(const struct wl_quantiles *q, uint32_t u)
{
	static const uint64_t at[5] = {1, 2, 10, 100, 1000};
	const uint64_t value[5] = {q->min, q->p50, q->p90, q->p99, q->max};
	uint64_t x =
		(UINT64_C(1) << 52) / (WL_RANK_ONE - u); /* 1 / (1 - rank) with 20 binary digits */

	for (int i = 0; i < 4; i++) {
		uint64_t lo = at[i] << 20, hi = at[i + 1] << 20;

		if (x < hi)
			return value[i] + (value[i + 1] - value[i]) * (x - lo) / (hi - lo);
	}
	return q->max;
}

static inline uint64_t wl_rng_quantile(struct wl_rng *rng, const struct wl_quantiles *q)
{
	return wl_quantile_at(q, (uint32_t)(wl_rng_next(rng) >> 32));
}

#endif
