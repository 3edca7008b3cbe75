/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers, quantile draws and the tokens of block ids. */
#include "tests/harness.h"

#include <string.h>

#include "workload/rng.h"
#include "workload/source.h"
#include "workload/tokens.h"

static void test_known_values(void)
{
	struct wl_rng rng;

	/* Pinned: workloads, and every figure measured with them, hang on these. */
	CU_ASSERT_EQUAL(wl_mix64(1), UINT64_C(0x5692161d100b05e5));
	wl_rng_seed(&rng, 0);
	CU_ASSERT_EQUAL(
		rng.s[0], UINT64_C(0xe220a8397b1dcdaf)); /* splitmix64 of seed 0, as published */
	CU_ASSERT_EQUAL(rng.s[1], UINT64_C(0x6e789e6aa1b965f4));
	rng = (struct wl_rng){{1, 2, 3, 4}};
	CU_ASSERT_EQUAL(wl_rng_next(&rng), 11520); /* xoshiro256**, as published */
	CU_ASSERT_EQUAL(wl_rng_next(&rng), 0);
	CU_ASSERT_EQUAL(wl_rng_next(&rng), 1509978240);
}

static void test_below(void)
{
	unsigned seen[7] = {0};
	struct wl_rng rng;

	wl_rng_seed(&rng, 3);
	for (int i = 0; i < 70000; i++) {
		uint64_t x = wl_rng_below(&rng, 7);

		CU_ASSERT_FATAL(x < 7);
		seen[x]++;
	}
	for (int i = 0; i < 7; i++)
		CU_ASSERT(seen[i] > 9500 && seen[i] < 10500);
	CU_ASSERT_EQUAL(wl_rng_below(&rng, 1), 0);
}

static void test_quantiles(void)
{
	static const struct wl_quantiles q = {1, 11, 65, 1026, 9000};
	unsigned below[3] = {0};
	uint64_t last = 0;
	struct wl_rng rng;

	CU_ASSERT_EQUAL(wl_quantile_at(&q, 0), 1);
	CU_ASSERT_EQUAL(wl_quantile_at(&q, UINT32_C(1) << 31), 11);
	CU_ASSERT_EQUAL(wl_quantile_at(&q, UINT32_MAX), 9000);
	for (uint64_t u = 0; u < WL_RANK_ONE; u += 65521) {
		uint64_t v = wl_quantile_at(&q, (uint32_t)u);

		CU_ASSERT_FATAL(v >= last);
		last = v;
	}
	wl_rng_seed(&rng, 9);
	for (int i = 0; i < 100000; i++) {
		uint64_t v = wl_rng_quantile(&rng, &q);

		below[0] += v < 11;
		below[1] += v < 65;
		below[2] += v < 1026;
	}
	CU_ASSERT(below[0] > 49000 && below[0] < 51000);
	CU_ASSERT(below[1] > 89500 && below[1] < 90500);
	CU_ASSERT(below[2] > 98850 && below[2] < 99150);
}

static void test_tokens(void)
{
	uint32_t a[64], b[64];

	wl_tokens(a, 1, 0, 64);
	for (uint32_t i = 0; i < 64; i++) {
		CU_ASSERT_EQUAL(a[i], wl_token(1, i));
		CU_ASSERT(a[i] < 65536);
	}
	wl_tokens(b, 1, 7, 20);
	CU_ASSERT_EQUAL(memcmp(b, a + 7, 20 * sizeof(*b)), 0);
	/* Different ids differ in every aligned group of four: also those that differ in one bit.
	 */
	for (int bit = 0; bit < 64; bit++) {
		wl_tokens(b, UINT64_C(1) ^ UINT64_C(1) << bit, 0, 64);
		for (int g = 0; g < 64; g += 4)
			CU_ASSERT(memcmp(a + g, b + g, 4 * sizeof(*a)) != 0);
	}
}

static void test_scopes(void)
{
	CU_ASSERT_EQUAL(wl_content_id(5, 7), wl_content_id(5, 7));
	CU_ASSERT_NOT_EQUAL(wl_content_id(5, 7), wl_content_id(5, 8));
	for (uint64_t id = 0; id < 1000; id++) {
		CU_ASSERT_NOT_EQUAL(wl_content_id(WL_SCOPE_GLOBAL, id), wl_content_id(1, id));
		CU_ASSERT_NOT_EQUAL(wl_content_id(1, id), wl_content_id(2, id));
	}
	CU_ASSERT_NOT_EQUAL(wl_hash_text(0, "a/trace_1.json"), wl_hash_text(0, "b/trace_1.json"));
}

static void test_request_tokens(void)
{
	const uint64_t blocks[3] = {11, 22, 33};
	struct wl_request r = {
		.blocks = blocks, .block_count = 3, .block_tokens = 8, .prompt_tokens = 20};
	uint32_t all[20], part[20];

	wl_request_tokens(&r, 0, 20, all);
	for (uint32_t i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(all[i], wl_token(blocks[i / 8], i % 8));
	for (uint64_t from = 0; from < 20; from++) {
		wl_request_tokens(&r, from, (size_t)(20 - from), part);
		CU_ASSERT_EQUAL(memcmp(part, all + from, (size_t)(20 - from) * sizeof(*part)), 0);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {{"known_values", test_known_values},
		{"below", test_below}, {"quantiles", test_quantiles}, {"tokens", test_tokens},
		{"scopes", test_scopes}, {"request_tokens", test_request_tokens}};

	return kvf_test_main("wl_tokens", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
