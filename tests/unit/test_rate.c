/* SPDX-License-Identifier: Apache-2.0 */
/* The bucket behind kvf_spill_rate and kvf_prefetch_rate, on a clock of the test's own. */
#include <stdlib.h>

#include "engine/engine.h"
#include "tests/harness.h"

#define S KVF_NS_PER_S
#define RATE 1000u /* bytes a second; a tenth of a second's worth is 100 */

/* The two rates of an engine begin with an empty bucket now: one chunk goes, the next waits for its bytes. */
static void test_set(void)
{
	struct kvf_engine *e = calloc(1, sizeof(*e));

	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	e->clock.now_ns = 50 * S;
	kvf_rates_set(e, RATE, 2 * RATE);
	CU_ASSERT_EQUAL(e->spill_rate.rate, RATE);
	CU_ASSERT_EQUAL(e->prefetch_rate.rate, 2 * RATE);
	for (int i = 0; i < 2; i++) {
		struct kvf_bucket *b = i ? &e->prefetch_rate : &e->spill_rate;
		uint64_t at;

		CU_ASSERT(kvf_bucket_take(b, 50 * S, 1000));
		CU_ASSERT_FALSE(kvf_bucket_take(b, 50 * S, 1));
		at = kvf_bucket_ready_ns(b, 50 * S);
		CU_ASSERT_EQUAL(at, 50 * S + S / (1u + (unsigned)i) + 1);
		CU_ASSERT_FALSE(kvf_bucket_take(b, at - S / 1000, 1));
		CU_ASSERT(kvf_bucket_take(b, at, 1));
	}
	free(e);
}

/* A whole byte at a time, no less and no more; a bucket at its depth stays there. */
static void test_refill(void)
{
	struct kvf_bucket b = { RATE, 0, 1 };

	CU_ASSERT(kvf_bucket_take(&b, 0, 11)); /* ten bytes in debt */
	CU_ASSERT_EQUAL(b.bytes, -10);
	CU_ASSERT_FALSE(kvf_bucket_take(&b, S / RATE, 1));
	CU_ASSERT_EQUAL(b.bytes, -9);
	CU_ASSERT_EQUAL(b.filled_ns, S / RATE);
	CU_ASSERT_FALSE(kvf_bucket_take(&b, 2 * S / RATE - 1, 1)); /* not yet another one */
	CU_ASSERT_EQUAL(b.bytes, -9);
	CU_ASSERT_EQUAL(b.filled_ns, S / RATE);
	CU_ASSERT_FALSE(kvf_bucket_take(&b, 10 * S / RATE, 1));
	CU_ASSERT_EQUAL(b.bytes, 0);
	CU_ASSERT_EQUAL(kvf_bucket_ready_ns(&b, 10 * S / RATE), 11 * S / RATE + 1);
	CU_ASSERT(kvf_bucket_take(&b, 11 * S / RATE, 1));
	CU_ASSERT_EQUAL(b.bytes, 0);
	CU_ASSERT(kvf_bucket_take(&b, 111 * S / RATE, 1)); /* a hundred more: one below the depth */
	CU_ASSERT_EQUAL(b.bytes, 99);
	CU_ASSERT(kvf_bucket_take(&b, 113 * S / RATE, 1));
	CU_ASSERT_EQUAL(b.bytes, 100);
	CU_ASSERT_EQUAL(kvf_bucket_ready_ns(&b, 5), 5);
}

static void test_no_bound(void)
{
	struct kvf_bucket b = { 0, 0, 0 };

	CU_ASSERT(kvf_bucket_take(&b, 0, UINT32_MAX));
	CU_ASSERT(kvf_bucket_take(&b, 0, UINT32_MAX));
	CU_ASSERT_EQUAL(kvf_bucket_ready_ns(&b, 77), 77);
}

/* One chunk may go into debt; the next one waits until all of that is paid, to the nanosecond it was told. */
static void test_debt(void)
{
	struct kvf_bucket b = { RATE, 0, 1 };
	uint64_t at;

	CU_ASSERT_EQUAL(kvf_bucket_ready_ns(&b, 5), 5);
	CU_ASSERT(kvf_bucket_take(&b, 0, 5001));
	CU_ASSERT_FALSE(kvf_bucket_take(&b, 0, 1));
	at = kvf_bucket_ready_ns(&b, 0);
	CU_ASSERT(at >= 5 * S && at <= 5 * S + S / 100);
	CU_ASSERT_FALSE(kvf_bucket_take(&b, at - S / 100, 1));
	CU_ASSERT(kvf_bucket_take(&b, at, 1));
}

/* Looking at it often must not lose what came in between the looks. */
static void test_many_looks(void)
{
	struct kvf_bucket b = { RATE, 0, 1 };
	uint64_t now = 0;

	CU_ASSERT(kvf_bucket_take(&b, 0, 1001));
	while (!kvf_bucket_take(&b, now, 1))
		now += S / 10000; /* a tenth of a byte */
	CU_ASSERT(now >= S && now <= S + S / 100);
}

/* It never holds more than a tenth of a second's worth, however long nothing was taken. */
static void test_depth(void)
{
	struct kvf_bucket b = { RATE, 0, 1 };
	unsigned taken = 0;

	while (kvf_bucket_take(&b, 3600 * S, 1))
		taken++;
	CU_ASSERT_EQUAL(taken, RATE / 10 + 1);
	/* And a second later the same, not the sum. */
	taken = 0;
	while (kvf_bucket_take(&b, 3601 * S, 1))
		taken++;
	CU_ASSERT_EQUAL(taken, RATE / 10 + 1);
}

/* Over a long time it lets through what the rate says. */
static void test_rate(void)
{
	struct kvf_bucket b = { 10 * RATE, 0, 1 };
	uint64_t bytes = 0;

	for (uint64_t now = 0; now < 100 * S; now += S / 50) {
		while (kvf_bucket_take(&b, now, 333))
			bytes += 333;
	}
	CU_ASSERT(bytes >= 995 * RATE && bytes <= 1005 * RATE);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"no_bound", test_no_bound}, {"debt", test_debt}, {"many_looks", test_many_looks},
		{"depth", test_depth},	     {"rate", test_rate}, {"set", test_set}, {"refill", test_refill},
	};

	return kvf_test_main("rate", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
