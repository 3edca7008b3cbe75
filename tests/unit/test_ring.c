/* SPDX-License-Identifier: Apache-2.0 */
/* Completions: every place is reserved at submit, order and owner are kept, progress is one entry an operation. */
#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/rig.h"

#include <stdlib.h>
#include <string.h>

#define MAX_OPS 4u

static uint64_t fake_now = 1000;

static uint64_t fake_clock(void *user)
{
	(void)user;
	return fake_now;
}

static const struct kvf_clock virtual_clock = { sizeof(virtual_clock), fake_clock, NULL };

static void open_small(struct rig *r)
{
	rig_open(r, &(struct rig_options){ .slots = 64,
					   .extra_key = "kvf_max_ops",
					   .extra_value = "4",
					   .clock = &virtual_clock });
	rig_tokens(r, 1, 48 * RIG_CHUNK);
	rig_compute(r, 48 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_store(r, 0, 48 * RIG_CHUNK, 0).tokens, 48 * RIG_CHUNK);
}

/* Nobody reaps: the ring fills to its last place, then submit says so and nothing is lost. */
static void test_full_ring(void)
{
	struct kvf_completion c[3 * MAX_OPS + 1];
	uint64_t id[3 * MAX_OPS];
	struct kvf_op op;
	struct rig r;
	unsigned n = 0;
	int rc;

	open_small(&r);
	kvf_prep_lookup(&op, r.seq, 0, 0, 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < MAX_OPS; i++, n++) {
			op.user_data = 100 + n;
			CU_ASSERT_EQUAL(kvf_submit(r.engine, &op, 1, &id[n]), 1);
		}
		/* The operations are all in flight, or all ended: the fifth is refused either way. */
		CU_ASSERT_EQUAL(kvf_submit(r.engine, &op, 1, &(uint64_t){ 0 }), KVF_EAGAIN);
		CU_ASSERT_PTR_NOT_NULL(strstr(kvf_error_detail(r.engine), "kvf_max_ops"));
		for (int i = 0; i < 10; i++)
			CU_ASSERT_EQUAL(kvf_poll(r.engine, c, 0), 0);
	}
	CU_ASSERT_EQUAL(kvf_submit(r.engine, &op, 1, &(uint64_t){ 0 }), KVF_EAGAIN);
	CU_ASSERT_PTR_NOT_NULL(strstr(kvf_error_detail(r.engine), "ring of 12"));
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 0);
	rc = kvf_poll(r.engine, c, 3 * MAX_OPS + 1);
	CU_ASSERT_EQUAL(rc, (int)(3 * MAX_OPS));
	for (unsigned i = 0; i < 3 * MAX_OPS; i++) {
		CU_ASSERT_EQUAL(c[i].op_id, id[i]);
		CU_ASSERT_EQUAL(c[i].user_data, 100 + i);
		CU_ASSERT_EQUAL(c[i].tokens, 48 * RIG_CHUNK);
	}
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 1);
	rig_close(&r);
}

/* Two retrieves that tell of their progress to a host that does not listen: one entry each, and each its own. */
static void test_progress_is_one_entry_each(void)
{
	struct kvf_completion c[3 * MAX_OPS];
	uint64_t id[2];
	struct kvf_op op;
	struct rig r;
	int n;

	open_small(&r);
	for (uint64_t i = 0; i < 2; i++) {
		rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, (uint32_t)(40 + i) * RIG_CHUNK);
		op.flags = KVF_OP_PROGRESS;
		op.user_data = 7 + i;
		id[i] = rig_submit(&r, &op);
	}
	for (int i = 0; i < 200; i++)
		kvf_poll(r.engine, c, 0);
	n = kvf_poll(r.engine, c, 3 * MAX_OPS);
	CU_ASSERT_EQUAL_FATAL(n, 4);
	for (uint64_t i = 0; i < 2; i++) {
		int progress = 0, done = 0;

		for (int k = 0; k < n; k++) {
			if (c[k].op_id != id[i])
				continue;
			CU_ASSERT_EQUAL(c[k].user_data, 7 + i);
			CU_ASSERT_EQUAL(done, 0);
			progress += c[k].kind == KVF_PROGRESS;
			done += c[k].kind == KVF_DONE;
			CU_ASSERT_EQUAL(c[k].tokens, (40 + i) * RIG_CHUNK);
		}
		CU_ASSERT_EQUAL(progress, 1);
		CU_ASSERT_EQUAL(done, 1);
	}
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	rig_close(&r);
}

/* A place that was reaped and used again belongs to another operation: progress is posted anew. */
static void test_progress_knows_its_entry(void)
{
	struct kvf_completion c = { .kind = KVF_PROGRESS }, out[3 * MAX_OPS];
	struct kvf_job *a, *b;
	struct rig r;

	open_small(&r);
	a = calloc(2, sizeof(*a));
	b = a + 1;
	CU_ASSERT_FATAL(kvf_ring_reserve(r.engine, 2));
	a->ring_places = b->ring_places = 1;
	c.op_id = 1;
	kvf_ring_progress(r.engine, a, &c);
	CU_ASSERT_EQUAL(kvf_ring_reap(r.engine, out, 1), 1);
	for (unsigned i = 0; i < 3 * MAX_OPS - 1; i++) {
		CU_ASSERT_FATAL(kvf_ring_reserve(r.engine, 1));
		kvf_ring_post(r.engine, &(struct kvf_completion){ .op_id = 3, .kind = KVF_DONE });
		CU_ASSERT_EQUAL(kvf_ring_reap(r.engine, out, 1), 1);
	}
	c.op_id = 2;
	kvf_ring_progress(r.engine, b, &c);
	CU_ASSERT_EQUAL(b->progress_at, a->progress_at);
	c.op_id = 1;
	c.tokens = 9;
	kvf_ring_progress(r.engine, a, &c);
	CU_ASSERT_EQUAL(kvf_ring_reap(r.engine, out, 3 * MAX_OPS), 2);
	CU_ASSERT_EQUAL(out[0].op_id, 2);
	CU_ASSERT_EQUAL(out[0].tokens, 0);
	CU_ASSERT_EQUAL(out[1].op_id, 1);
	CU_ASSERT_EQUAL(out[1].tokens, 9);
	/* Reaped once more, and every place is somebody's: nothing is said this time. */
	CU_ASSERT_EQUAL(r.engine->ring.reserved, 0);
	CU_ASSERT_FALSE(kvf_ring_reserve(r.engine, 3 * MAX_OPS + 1));
	CU_ASSERT_TRUE(kvf_ring_reserve(r.engine, 3 * MAX_OPS));
	kvf_ring_progress(r.engine, a, &c);
	CU_ASSERT_EQUAL(r.engine->ring.n, 0);
	CU_ASSERT_EQUAL(r.engine->ring.reserved, 3 * MAX_OPS);
	kvf_ring_unreserve(r.engine, 3 * MAX_OPS);
	CU_ASSERT_EQUAL(kvf_ring_reap(r.engine, out, 3 * MAX_OPS), 0);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	free(a);
	rig_close(&r);
}

/* A device that says no for good: the operations end, with its reason, and nothing is offered again. */
static unsigned offers;

static int no_open(void *self, struct kvf_device_host *host, const struct kvf_layout *layout, uint32_t *caps)
{
	(void)self;
	(void)host;
	(void)layout;
	*caps = 0;
	return KVF_OK;
}

static void no_close(void *self)
{
	(void)self;
}

static int no_copy(void *self, struct kvf_copy *copy)
{
	(void)self;
	(void)copy;
	offers++;
	return KVF_EIO;
}

static void test_device_that_refuses(void)
{
	static const struct kvf_device_ops no = {
		.size = sizeof(no), .name = "no", .open = no_open, .close = no_close, .copy = no_copy
	};
	struct kvf_completion c;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16, .device = &no });
	rig_tokens(&r, 1, 4 * RIG_CHUNK);
	c = rig_store(&r, 0, 4 * RIG_CHUNK, KVF_OP_SOURCE_FREE);
	CU_ASSERT_EQUAL(c.status, KVF_EDROPPED);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_DEVICE);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(r.source_free, 1);
	CU_ASSERT(offers >= 1 && offers <= 4);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 0);
	rig_close(&r);
}

/* The first reason to stop is the one that is told. */
static void test_first_stop_counts(void)
{
	volatile uint64_t word = 0;
	struct kvf_completion c;
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	open_small(&r);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, RIG_CHUNK);
	op.fence = (struct kvf_fence_in){ .kind = KVF_FENCE_WORD, .word = &word, .value = 1 };
	op.deadline_ns = fake_now + 10;
	id = rig_submit(&r, &op);
	kvf_poll(r.engine, &c, 0);
	CU_ASSERT_EQUAL(kvf_cancel(r.engine, id), KVF_OK);
	fake_now += 100;
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_CANCELED);
	op.deadline_ns = fake_now + 10;
	id = rig_submit(&r, &op);
	kvf_poll(r.engine, &c, 0);
	fake_now += 100;
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_ETIMEDOUT);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_LATE);
	CU_ASSERT_EQUAL(kvf_cancel(r.engine, id), KVF_ENOENT);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "full_ring", test_full_ring },
		{ "progress_is_one_entry_each", test_progress_is_one_entry_each },
		{ "progress_knows_its_entry", test_progress_knows_its_entry },
		{ "device_that_refuses", test_device_that_refuses },
		{ "first_stop_counts", test_first_stop_counts },
	};

	return kvf_test_main("ring", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
