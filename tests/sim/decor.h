/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A decorator around any tier: its requests fail, come late, or come back with a flipped bit, by
 * chance. What is underneath need not know. Decorators may be stacked.
 */
#ifndef KVF_TESTS_SIM_DECOR_H
#define KVF_TESTS_SIM_DECOR_H

#include "kvferry/kvf_tier.h"
#include "workload/rng.h"

struct decor {
	/* filled in by the user; chances in millionths of a request */
	uint32_t fail_ppm; /* did nothing, ends with KVF_EIO: the tier below never sees it */
	uint32_t lose_ppm; /* the tier below did it, but the answer is KVF_EIO */
	uint32_t corrupt_ppm; /* a get comes back with one bit of its payload wrong */
	uint64_t delay_ns; /* every answer is held back for up to this long */
	/* its own */
	struct kvf_tier_ops ops; /* hand over {&decor.ops, &decor} */
	const struct kvf_tier_ops *inner;
	void *inner_self;
	struct kvf_tier_host *host; /* the engine's */
	struct kvf_tier_host inner_host;
	struct wl_rng rng;
	struct decor_held *held; /* answers not given yet, in order of their time */
	uint32_t n_inside; /* requests the tier below holds */
	uint64_t failed, lost, corrupted, delayed;
};

void decor_init(struct decor *d, const struct kvf_tier_ops *inner, void *inner_self, uint64_t seed);

#endif
