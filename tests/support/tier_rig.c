/* SPDX-License-Identifier: Apache-2.0 */
/* The rig over tiers in memory: see tier_rig.h. */
#include "tests/support/tier_rig.h"

#include <string.h>

#include "tests/harness.h"

uint64_t tier_rig_now;

static uint64_t now_ns(void *user)
{
	(void)user;
	return tier_rig_now;
}

const struct kvf_clock tier_rig_clock = { sizeof(tier_rig_clock), now_ns, NULL };

static struct kvf_custom_tier specs[KVF_MAX_TIERS];
static uint32_t n_specs;

void tier_rig_open_more(struct rig *r, struct memtier *m, uint32_t n, uint32_t caps, struct rig_options o)
{
	memset(m, 0, n * sizeof(*m));
	for (uint32_t i = 0; i < n; i++) {
		m[i].caps = caps;
		specs[i] = (struct kvf_custom_tier){ &memtier_ops, &m[i] };
	}
	n_specs = n;
	tier_rig_now = 1000000000;
	o.tiers = specs;
	o.n_tiers = n;
	o.clock = &tier_rig_clock;
	rig_open(r, &o);
}

void tier_rig_open(struct rig *r, struct memtier *m, uint32_t slots, uint32_t caps, bool staging)
{
	tier_rig_open_more(r, m, 1, caps, (struct rig_options){ .slots = slots, .staging = staging });
}

void tier_rig_close(struct rig *r, struct memtier *m)
{
	rig_close(r);
	for (uint32_t i = 0; i < n_specs; i++)
		memtier_free(&m[i]);
}

void tier_rig_store(struct rig *r, uint64_t number, uint32_t chunks)
{
	rig_tokens(r, number, chunks * RIG_CHUNK);
	rig_compute(r, chunks * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_store(r, 0, chunks * RIG_CHUNK, 0).tokens, chunks * RIG_CHUNK);
}

void tier_rig_flush(struct rig *r)
{
	CU_ASSERT_EQUAL(rig_flush(r).status, KVF_OK);
}

void tier_rig_only_below(struct rig *r, uint64_t number, uint32_t chunks)
{
	tier_rig_store(r, number, chunks);
	tier_rig_flush(r);
	rig_remove(r, 0, chunks * RIG_CHUNK, KVF_TIER_RAM);
	CU_ASSERT_EQUAL(kvf_seq_resident(r->seq), 0);
}

void tier_rig_open_held(struct rig *r, struct memtier *m, uint32_t chunks)
{
	tier_rig_open(r, m, 64, KVF_TIER_RECORDS, false);
	tier_rig_only_below(r, 1, chunks);
	m->hold = true;
	m->hold_kind = KVF_REQ_GET;
}

struct kvf_completion tier_rig_fetch(struct rig *r, uint32_t chunks)
{
	struct kvf_completion c;

	rig_wipe(r);
	c = rig_retrieve(r, 0, chunks * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(rig_mismatches(r, 0, c.tokens), 0);
	CU_ASSERT_EQUAL(rig_written(r, c.tokens, chunks * RIG_CHUNK), 0);
	return c;
}

uint64_t tier_rig_begin_retrieve(struct rig *r, uint64_t number, uint32_t chunks, uint8_t priority)
{
	struct kvf_op op;

	rig_tokens(r, number, chunks * RIG_CHUNK);
	rig_prep(r, &op, KVF_OP_RETRIEVE, 0, chunks * RIG_CHUNK);
	op.priority = priority;
	return rig_submit(r, &op);
}

void tier_rig_poll(struct rig *r, int turns)
{
	for (int i = 0; i < turns; i++)
		kvf_poll(r->engine, NULL, 0);
}
