/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h: a clock that goes back is held, the default goes on. */
#include "tests/harness.h"

#include <time.h>

#include "loop/clock.h"

static uint64_t hand(void *user)
{
	return *(uint64_t *)user;
}

static void test_host_clock(void)
{
	uint64_t now = 1000;
	struct kvf_clock clock = { sizeof(clock), hand, &now };
	struct kvf_clock_src src;

	kvf_clock_init(&src, &clock);
	CU_ASSERT_EQUAL(src.now_ns, 1000);
	now = 1500;
	CU_ASSERT_EQUAL(kvf_clock_peek(&src), 1500);
	CU_ASSERT_EQUAL(src.now_ns, 1000);
	CU_ASSERT_EQUAL(kvf_clock_update(&src), 1500);
	CU_ASSERT_EQUAL(src.now_ns, 1500);
	now = 3;
	CU_ASSERT_EQUAL(kvf_clock_update(&src), 1500);
	CU_ASSERT_EQUAL(kvf_clock_peek(&src), 1500);
	now = UINT64_MAX;
	CU_ASSERT_EQUAL(kvf_clock_update(&src), UINT64_MAX);
}

static void test_default(void)
{
	struct kvf_clock nothing = { sizeof(nothing), NULL, NULL };
	struct timespec before;
	struct timespec after;
	struct kvf_clock_src src;
	uint64_t last;

	clock_gettime(CLOCK_MONOTONIC, &before);
	kvf_clock_init(&src, NULL);
	clock_gettime(CLOCK_MONOTONIC, &after);
	CU_ASSERT(src.now_ns >= (uint64_t)before.tv_sec * KVF_NS_PER_S + (uint64_t)before.tv_nsec);
	CU_ASSERT(src.now_ns <= (uint64_t)after.tv_sec * KVF_NS_PER_S + (uint64_t)after.tv_nsec);
	last = src.now_ns;
	for (int i = 0; i < 1000; i++) {
		CU_ASSERT(kvf_clock_update(&src) >= last);
		last = src.now_ns;
	}
	kvf_clock_init(&src, &nothing);
	CU_ASSERT(src.now_ns >= last);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "host_clock", test_host_clock },
		{ "default", test_default },
	};

	return kvf_test_main("clock", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
