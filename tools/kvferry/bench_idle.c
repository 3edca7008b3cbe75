/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry bench idle: kvf_poll() with nothing in flight, beside one reading of the clock. */
#include "bench.h"

#define POLLS 200000

int bench_idle(struct bench *b)
{
	static struct bench_pairs pairs;
	struct bench_ratio ratio;
	struct bench_rig rig = {0};
	volatile uint64_t sink = 0;

	if (bench_rig_open(&rig, 64, 256, 64) != 0)
		return TOOL_WRONG;
	pairs.n = 0;
	for (uint64_t i = 0; i < b->slices + 1; i++) {
		uint64_t begin = tool_now_ns();
		struct kvf_completion c;
		int n = 0;

		for (unsigned k = 0; k < POLLS && n == 0; k++)
			n = kvf_poll(rig.engine, &c, 1);
		pairs.a[pairs.n] = (double)(tool_now_ns() - begin) / POLLS;
		begin = tool_now_ns();
		for (unsigned k = 0; k < POLLS; k++)
			sink = sink + tool_now_ns();
		pairs.b[pairs.n] = (double)(tool_now_ns() - begin) / POLLS;
		pairs.n += i > 0;
		if (n != 0) {
			fprintf(stderr, "kvferry bench idle: an idle poll returned %d\n", n);
			bench_rig_close(&rig);
			return TOOL_WRONG;
		}
	}
	bench_rig_close(&rig);
	bench_compare(&pairs, &ratio);
	bench_say_ratio(b, "idle_poll", "idle kvf_poll / one clock reading", &ratio, 1.0, "ns");
	return TOOL_OK;
}
