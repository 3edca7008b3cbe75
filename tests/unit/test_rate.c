/* SPDX-License-Identifier: Apache-2.0 */
/* The bucket behind kvf_spill_rate and kvf_prefetch_rate, on a clock of the test's own. */
#include "engine/engine.h"
#include "tests/harness.h"

#define S KVF_NS_PER_S
#define RATE 1000u /* bytes a second; a tenth of a second's worth is 100 */

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
		{"depth", test_depth},	     {"rate", test_rate},
	};

	return kvf_test_main("rate", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
