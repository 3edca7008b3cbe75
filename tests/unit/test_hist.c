/* SPDX-License-Identifier: Apache-2.0 */
/* hist.h: quantiles against sorted values, the ends of the 64-bit range. */
#include "tests/harness.h"

#include <stdlib.h>
#include <string.h>

#include "base/hist.h"

#define N 3000

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t random64(void)
{
	uint64_t v = ((uint64_t)rand() << 42) ^ ((uint64_t)rand() << 21) ^ (uint64_t)rand();

	return v >> (rand() % 64);
}

static void test_quantiles(void)
{
	static const double q[] = { 0.0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0 };
	static uint64_t v[N];
	struct kvf_hist h;

	for (unsigned seed = 0; seed < 10; seed++) {
		size_t n = seed ? 1 + (size_t)rand() % N : 1;

		srand(seed);
		kvf_hist_reset(&h);
		for (size_t i = 0; i < n; i++) {
			v[i] = random64();
			kvf_hist_add(&h, v[i]);
		}
		qsort(v, n, sizeof(v[0]), by_value);
		CU_ASSERT_EQUAL(h.count, n);
		CU_ASSERT_EQUAL(h.min, v[0]);
		CU_ASSERT_EQUAL(h.max, v[n - 1]);
		for (size_t i = 0; i < KVF_ARRAY_LEN(q); i++) {
			size_t rank = (size_t)(q[i] * (double)n);
			uint64_t exact;
			uint64_t got = kvf_hist_quantile(&h, q[i]);

			rank += (double)rank < q[i] * (double)n;
			exact = v[rank ? rank - 1 : 0];
			/* Never below, at most a sixteenth above. */
			CU_ASSERT(got >= exact);
			CU_ASSERT(got - exact <= exact / 16);
			CU_ASSERT(got <= h.max);
		}
		for (int i = 0; i < 200; i++) {
			uint64_t bound = i & 1 ? v[(size_t)rand() % n] : random64();
			size_t le = 0;
			size_t loose = 0;

			for (size_t k = 0; k < n; k++) {
				le += v[k] <= bound;
				loose += v[k] <= (bound > UINT64_MAX - bound / 16 ? UINT64_MAX : bound + bound / 16);
			}
			CU_ASSERT(kvf_hist_count_le(&h, bound) >= le);
			CU_ASSERT(kvf_hist_count_le(&h, bound) <= loose);
		}
		CU_ASSERT_EQUAL(kvf_hist_count_le(&h, UINT64_MAX), n);
	}
}

static void test_ends(void)
{
	struct kvf_hist h;

	kvf_hist_reset(&h);
	CU_ASSERT_EQUAL(kvf_hist_quantile(&h, 0.5), 0);
	CU_ASSERT_EQUAL(kvf_hist_count_le(&h, 5), 0);
	kvf_hist_add(&h, UINT64_MAX);
	CU_ASSERT_EQUAL(kvf_hist_quantile(&h, 0.5), UINT64_MAX);
	kvf_hist_add(&h, UINT64_MAX);
	CU_ASSERT_EQUAL(h.sum, UINT64_MAX); /* saturated */
	kvf_hist_add(&h, 0);
	CU_ASSERT_EQUAL(h.min, 0);
	CU_ASSERT_EQUAL(kvf_hist_quantile(&h, 0.0), 0);
	CU_ASSERT_EQUAL(kvf_hist_quantile(&h, -3.0), 0);
	CU_ASSERT_EQUAL(kvf_hist_quantile(&h, 1e300), UINT64_MAX);
	CU_ASSERT_EQUAL(kvf_hist_quantile(&h, (double)__builtin_nanf("")), 0);
	CU_ASSERT_EQUAL(kvf_hist_count_le(&h, 0), 1);
}

static void test_every_power(void)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		for (int d = -1; d <= 1; d++) {
			uint64_t v = ((uint64_t)1 << bit) + (uint64_t)(int64_t)d;
			struct kvf_hist h;

			kvf_hist_reset(&h);
			kvf_hist_add(&h, v);
			CU_ASSERT_EQUAL(kvf_hist_quantile(&h, 0.5), v); /* bounded by max: exact */
			CU_ASSERT_EQUAL(kvf_hist_count_le(&h, v), 1);
			if (v)
				CU_ASSERT_EQUAL(kvf_hist_count_le(&h, v - v / 8 - 1), 0);
		}
	}
}

static void test_merge(void)
{
	struct kvf_hist all;
	struct kvf_hist a;
	struct kvf_hist b;

	srand(3);
	kvf_hist_reset(&all);
	kvf_hist_reset(&a);
	kvf_hist_reset(&b);
	kvf_hist_merge(&a, &b);
	CU_ASSERT_EQUAL(memcmp(&a, &all, sizeof(a)), 0);
	for (int i = 0; i < 1000; i++) {
		uint64_t v = random64() >> 20;

		kvf_hist_add(&all, v);
		kvf_hist_add(i % 3 ? &a : &b, v);
	}
	kvf_hist_merge(&a, &b);
	CU_ASSERT_EQUAL(memcmp(&a, &all, sizeof(a)), 0);
	kvf_hist_reset(&b);
	kvf_hist_merge(&b, &all);
	CU_ASSERT_EQUAL(memcmp(&b, &all, sizeof(a)), 0);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "quantiles", test_quantiles },
		{ "ends", test_ends },
		{ "every_power", test_every_power },
		{ "merge", test_merge },
	};

	return kvf_test_main("hist", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
