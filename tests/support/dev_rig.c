/* SPDX-License-Identifier: Apache-2.0 */
/* The rig over the simulated device: see dev_rig.h. */
#include "tests/support/dev_rig.h"

#include <stdio.h>

#include "tests/harness.h"

#define HELD_NS 3600000000000ull

static uint64_t now_ns(void *arg)
{
	(void)arg;
	return tier_rig_now;
}

static void wrong(void *arg, const char *what)
{
	(void)arg;
	fprintf(stderr, "device: %s\n", what);
	CU_FAIL("the engine broke a rule of the device's");
}

struct rig_options dev_rig_options(struct simdev *d, uint32_t caps, struct rig_options o)
{
	simdev_init(d, caps, 1);
	d->now_ns = now_ns;
	d->hooks.wrong = wrong;
	tier_rig_now = 1000000000;
	o.device = &d->ops;
	o.device_self = d;
	o.clock = &tier_rig_clock;
	return o;
}

void dev_rig_open(struct rig *r, struct simdev *d, uint32_t caps, uint32_t slots)
{
	struct rig_options o = dev_rig_options(d, caps, (struct rig_options){ .slots = slots });

	rig_open(r, &o);
}

void dev_rig_open_tier(struct rig *r, struct simdev *d, struct memtier *m, uint32_t tier_caps)
{
	tier_rig_open_more(r, m, 1, tier_caps,
			   dev_rig_options(d, DEV_RIG_CAPS, (struct rig_options){ .slots = 64 }));
}

void dev_rig_hold(struct simdev *d)
{
	d->faults.latency_min_ns = d->faults.latency_max_ns = HELD_NS;
}

void dev_rig_go(struct simdev *d)
{
	struct simdev_faults faults = d->faults;

	d->faults.latency_min_ns = d->faults.latency_max_ns = 0;
	simdev_calm(d);
	faults.latency_min_ns = faults.latency_max_ns = 0;
	d->faults = faults;
}

uint64_t dev_rig_begin_store(struct rig *r, uint64_t number, uint32_t chunks, uint32_t flags)
{
	struct kvf_op op;

	rig_tokens(r, number, chunks * RIG_CHUNK);
	rig_compute(r, chunks * RIG_CHUNK);
	rig_prep(r, &op, KVF_OP_STORE, 0, chunks * RIG_CHUNK);
	op.flags = flags;
	if (flags & KVF_OP_LAYERWISE)
		op.fence.kind = KVF_FENCE_LATER;
	return rig_submit(r, &op);
}
