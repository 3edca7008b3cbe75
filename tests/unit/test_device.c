/* SPDX-License-Identifier: Apache-2.0 */
/* The engine and its device: what it tells it, and what it does when that is full, fails, or is lost. */
#include "tests/harness.h"
#include "tests/support/dev_rig.h"

#include <string.h>

#define CHUNKS 4u
#define TOKENS (CHUNKS * RIG_CHUNK)

static uint64_t submit(struct rig *r, enum kvf_op_code code, uint32_t chunks, uint32_t flags)
{
	struct kvf_op op;

	rig_prep(r, &op, code, 0, chunks * RIG_CHUNK);
	op.flags = flags;
	return rig_submit(r, &op);
}

static uint32_t health(struct rig *r)
{
	uint32_t bits = 0;

	CU_ASSERT_EQUAL(kvf_health(r->engine, &bits), KVF_OK);
	return bits;
}

/* ---- what it is told ---- */

static struct kvf_copy told[8];
static unsigned n_told;
static int (*real_copy)(void *self, struct kvf_copy *copy);

static int listen(void *self, struct kvf_copy *copy)
{
	if (n_told < KVF_ARRAY_LEN(told))
		told[n_told++] = *copy;
	return real_copy(self, copy);
}

/* A span that begins and ends in the middle of chunks. */
static void test_copies(void)
{
	static const struct {
		uint32_t first, n;
	} of[] = { { 5, RIG_CHUNK - 5 }, { 0, RIG_CHUNK }, { 0, 6 } };
	struct simdev d;
	struct rig_options o = dev_rig_options(&d, DEV_RIG_CAPS, (struct rig_options){ .slots = 64 });
	struct kvf_completion c;
	struct kvf_op op;
	struct rig r;

	real_copy = d.ops.copy;
	d.ops.copy = listen;
	rig_open(&r, &o);
	tier_rig_store(&r, 1, CHUNKS);
	n_told = 0;
	rig_wipe(&r);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 5, 2 * RIG_CHUNK + 1);
	op.user_data = 0x1234567890abcdef;
	c = rig_run(&r, &op);
	CU_ASSERT_EQUAL(c.user_data, op.user_data);
	CU_ASSERT_EQUAL(c.tokens, 2 * RIG_CHUNK + 1);
	CU_ASSERT_EQUAL(n_told, KVF_ARRAY_LEN(of));
	for (unsigned i = 0; i < KVF_ARRAY_LEN(of); i++) {
		CU_ASSERT_EQUAL(told[i].direction, KVF_COPY_SCATTER);
		CU_ASSERT_EQUAL(told[i].payload_bytes, rig_stats(&r).payload_bytes);
		CU_ASSERT_EQUAL(told[i].chunk_first_token, i * RIG_CHUNK);
		CU_ASSERT_EQUAL(told[i].chunk_tokens, RIG_CHUNK);
		CU_ASSERT_EQUAL(told[i].first, of[i].first);
		CU_ASSERT_EQUAL(told[i].n, of[i].n);
		CU_ASSERT_EQUAL(told[i].first_layer, 0);
		CU_ASSERT_EQUAL(told[i].n_layers, UINT32_MAX);
		CU_ASSERT_EQUAL(told[i].n_groups, 1);
		CU_ASSERT_EQUAL(told[i].op_id, c.op_id);
		CU_ASSERT_EQUAL(told[i].user_data, op.user_data);
		CU_ASSERT_PTR_NOT_NULL(told[i].after);
	}
	CU_ASSERT_EQUAL(rig_written(&r, 0, 5), 0);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 5, 2 * RIG_CHUNK + 1), 0);
	rig_close(&r);
}

/* One operation has so many chunks with the device at a time, the next ones follow as those end. */
static void test_window(void)
{
	const uint32_t n = 40, window = 32;
	struct simdev d;
	struct rig r;
	uint64_t id;

	dev_rig_open(&r, &d, DEV_RIG_CAPS, 256);
	for (int retrieve = 0; retrieve < 2; retrieve++) {
		dev_rig_hold(&d);
		id = retrieve ? tier_rig_begin_retrieve(&r, 1, n, KVF_PRIO_NORMAL) : dev_rig_begin_store(&r, 1, n, 0);
		tier_rig_poll(&r, 10);
		CU_ASSERT_EQUAL(simdev_copies_of(&d, id, -1), window);
		dev_rig_go(&d);
		CU_ASSERT_EQUAL(rig_await(&r, id).tokens, n * RIG_CHUNK);
	}
	CU_ASSERT_EQUAL(d.copies, 2 * n);
	rig_close(&r);
}

/* Blocks are neither read nor written before the fence that the operation came with. */
static void test_waits_for_the_host(void)
{
	for (int retrieve = 0; retrieve < 2; retrieve++) {
		volatile uint64_t word = 0;
		struct kvf_op op;
		struct simdev d;
		struct rig r;
		uint64_t id;

		dev_rig_open(&r, &d, DEV_RIG_CAPS, 64);
		if (retrieve)
			tier_rig_store(&r, 1, CHUNKS);
		else
			rig_tokens(&r, 1, TOKENS);
		rig_wipe(&r);
		rig_prep(&r, &op, retrieve ? KVF_OP_RETRIEVE : KVF_OP_STORE, 0, TOKENS);
		op.fence = (struct kvf_fence_in){ .kind = KVF_FENCE_WORD, .word = &word, .value = 1 };
		id = rig_submit(&r, &op);
		tier_rig_poll(&r, 10);
		CU_ASSERT_EQUAL(rig_written(&r, 0, TOKENS), 0);
		if (!retrieve)
			rig_compute(&r, TOKENS);
		word = 1;
		CU_ASSERT_EQUAL(rig_await(&r, id).tokens, TOKENS);
		CU_ASSERT_EQUAL(d.n_fences, 0);
		if (!retrieve) {
			rig_wipe(&r);
			CU_ASSERT_EQUAL(rig_retrieve(&r, 0, TOKENS, 0).tokens, TOKENS);
		}
		CU_ASSERT_EQUAL(rig_mismatches(&r, 0, TOKENS), 0);
		rig_close(&r);
	}
}

/* ---- a device that is full ---- */

/* Two at a time, in the order they came, those of other operations too. */
static void test_full(void)
{
	struct kvf_completion c;
	struct simdev d;
	struct rig r;
	uint64_t id[3];
	int n = 0;

	dev_rig_open(&r, &d, DEV_RIG_CAPS, 64);
	d.max_in_flight = 2;
	dev_rig_hold(&d);
	for (uint64_t i = 0; i < 3; i++) {
		id[i] = dev_rig_begin_store(&r, i, CHUNKS, 0);
		tier_rig_poll(&r, 2);
	}
	for (uint32_t done = 0; done < 3 * CHUNKS; done += 2) {
		CU_ASSERT_EQUAL(d.copies, done + 2);
		CU_ASSERT_EQUAL(simdev_copies_of(&d, id[done / CHUNKS], KVF_COPY_GATHER), 2);
		dev_rig_go(&d);
		dev_rig_hold(&d);
		for (int i = 0; i < 4; i++) {
			if (kvf_poll(r.engine, &c, 1) != 1)
				continue;
			CU_ASSERT_EQUAL(c.op_id, id[n++]);
			CU_ASSERT_EQUAL(c.tokens, TOKENS);
		}
	}
	CU_ASSERT_EQUAL(n, 3);
	CU_ASSERT_EQUAL(d.copies, 3 * CHUNKS);
	dev_rig_go(&d);
	rig_close(&r);
}

/* Who is told to stop takes back what the device never got; who comes behind goes on. */
static void test_withdrawn(void)
{
	struct kvf_completion c;
	struct simdev d;
	struct rig r;
	uint64_t first, second;

	dev_rig_open(&r, &d, DEV_RIG_CAPS, 64);
	d.max_in_flight = 1;
	dev_rig_hold(&d);
	first = dev_rig_begin_store(&r, 1, CHUNKS, 0);
	tier_rig_poll(&r, 2);
	second = dev_rig_begin_store(&r, 2, CHUNKS, 0);
	tier_rig_poll(&r, 2);
	CU_ASSERT_EQUAL(d.copies, 1);
	kvf_cancel(r.engine, first);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 0); /* one copy is still with the device */
	CU_ASSERT_EQUAL(d.copies, 1);
	dev_rig_go(&d);
	c = rig_await(&r, first);
	CU_ASSERT_EQUAL(c.status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(rig_await(&r, second).tokens, TOKENS);
	CU_ASSERT_EQUAL(d.copies, 1 + CHUNKS);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, CHUNKS);
	rig_close(&r);
}

/* A stream-ordered retrieve that waited for a place ends when the device takes its copies. */
static void test_taken_at_last(void)
{
	struct kvf_completion c;
	struct simdev d;
	struct rig r;
	uint64_t first, second;

	dev_rig_open(&r, &d, DEV_RIG_CAPS, 64);
	tier_rig_store(&r, 1, 1);
	d.max_in_flight = 1;
	dev_rig_hold(&d);
	first = submit(&r, KVF_OP_RETRIEVE, 1, KVF_OP_STREAM_ORDERED);
	CU_ASSERT_EQUAL(rig_await(&r, first).tokens, RIG_CHUNK);
	second = submit(&r, KVF_OP_RETRIEVE, 1, KVF_OP_STREAM_ORDERED);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 0);
	dev_rig_go(&d);
	dev_rig_hold(&d);
	CU_ASSERT_EQUAL(rig_await(&r, second).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(simdev_copies_of(&d, second, KVF_COPY_SCATTER), 1);
	dev_rig_go(&d);
	tier_rig_poll(&r, 2);
	kvf_fence_release(r.engine, first);
	kvf_fence_release(r.engine, second);
	rig_close(&r);
}

/* A device that copies while it is called gets one chunk a turn, and the host is told to come back at once. */
static void test_synchronous(void)
{
	struct simdev d;
	struct rig r;
	uint64_t id;

	dev_rig_open(&r, &d, KVF_DEVICE_SYNC, 64);
	d.ops.progress = NULL;
	id = dev_rig_begin_store(&r, 1, CHUNKS, 0);
	tier_rig_poll(&r, 1);
	for (uint32_t n = 1; n <= CHUNKS; n++) {
		tier_rig_poll(&r, 1);
		CU_ASSERT_EQUAL(d.copies, n);
		CU_ASSERT(kvf_next_deadline_ns(r.engine) <= kvf_now_ns(r.engine));
	}
	CU_ASSERT_EQUAL(rig_await(&r, id).tokens, TOKENS);
	CU_ASSERT_EQUAL(tier_rig_fetch(&r, CHUNKS).tokens, TOKENS);
	rig_close(&r);
}

/* ---- a device that fails ---- */

static struct simdev *counting;
static uint64_t fail_copy; /* the copy with this number fails */

static void on_copy(void *arg, const void *p, size_t n, bool write)
{
	(void)arg;
	(void)p;
	(void)n;
	(void)write;
	counting->faults.error = counting->copies == fail_copy ? SIM_PPM : 0;
}

/* Copies of one operation: the k-th fails. What lies before it counts, and nobody tries again. */
static void test_failed_copy(void)
{
	for (uint64_t k = 0; k < CHUNKS; k++) {
		struct kvf_completion c;
		struct simdev d;
		struct rig r;
		uint64_t bytes;

		dev_rig_open(&r, &d, DEV_RIG_CAPS, 64);
		d.max_in_flight = 1;
		d.hooks.hold = on_copy;
		counting = &d;
		fail_copy = k + 1;
		rig_tokens(&r, 1, TOKENS);
		rig_compute(&r, TOKENS);
		c = rig_store(&r, 0, TOKENS, KVF_OP_SOURCE_FREE);
		CU_ASSERT_EQUAL(c.status, KVF_EDROPPED);
		CU_ASSERT_EQUAL(c.reason, KVF_REASON_DEVICE);
		CU_ASSERT_EQUAL(c.tokens, k * RIG_CHUNK);
		CU_ASSERT_EQUAL(c.level, k ? KVF_LEVEL_INDEXED : KVF_LEVEL_NONE);
		CU_ASSERT_EQUAL(r.source_free, 1);
		CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), k * RIG_CHUNK);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_free, 64 - k);
		/* Those behind it were on their way already. */
		CU_ASSERT_EQUAL(rig_stats(&r).device_bytes, (CHUNKS - 1) * rig_stats(&r).payload_bytes);
		fail_copy = 0;
		CU_ASSERT_EQUAL(rig_store(&r, 0, TOKENS, 0).tokens, TOKENS);
		rig_wipe(&r);
		bytes = rig_stats(&r).device_bytes;
		fail_copy = d.copies + k + 1;
		c = rig_retrieve(&r, 0, TOKENS, 0);
		CU_ASSERT_EQUAL(c.status, KVF_EIO);
		CU_ASSERT_EQUAL(c.reason, KVF_REASON_DEVICE);
		CU_ASSERT_EQUAL(c.tokens, k * RIG_CHUNK);
		CU_ASSERT_EQUAL(rig_mismatches(&r, 0, c.tokens), 0);
		CU_ASSERT_EQUAL(rig_stats(&r).device_bytes - bytes, (CHUNKS - 1) * rig_stats(&r).payload_bytes);
		CU_ASSERT_EQUAL(health(&r), 0);
		rig_close(&r);
	}
}

/* ---- a device that is lost ---- */

/* Lost in the middle of gathers: their slots are nobody's any more, all else goes on without the device. */
static void test_lost_in_gathers(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct simdev d;
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	dev_rig_open_tier(&r, &d, &m, KVF_TIER_RECORDS);
	tier_rig_only_below(&r, 1, 40);
	tier_rig_store(&r, 2, CHUNKS);
	dev_rig_hold(&d);
	d.max_in_flight = 2;
	id = dev_rig_begin_store(&r, 3, CHUNKS, 0);
	tier_rig_poll(&r, 2);
	d.faults.lost = SIM_PPM;
	dev_rig_go(&d);
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_EDEVLOST);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_DEVICE);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, 2);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_copying, 0);
	CU_ASSERT_EQUAL(health(&r) & KVF_HEALTH_DEVICE_LOST, KVF_HEALTH_DEVICE_LOST);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 0);
	rig_prep(&r, &op, KVF_OP_STORE, 0, TOKENS);
	CU_ASSERT_EQUAL(kvf_submit(r.engine, &op, 1, &id), KVF_EDEVLOST);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, TOKENS);
	CU_ASSERT_EQUAL(kvf_submit(r.engine, &op, 1, &id), KVF_EDEVLOST);
	/* RAM and what is below stay usable: all slots but two. */
	rig_tokens(&r, 1, 40 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_prefetch(&r, 0, 40 * RIG_CHUNK, 0).tokens, 40 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).ram_tokens, 40 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_free, 64 - 2 - 40 - CHUNKS);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, 2);
	tier_rig_close(&r, &m);
}

/* Lost while it scatters: no slot is in danger. */
static void test_lost_in_scatters(void)
{
	struct kvf_completion c;
	struct simdev d;
	struct rig r;

	dev_rig_open(&r, &d, DEV_RIG_CAPS, 64);
	tier_rig_store(&r, 1, CHUNKS);
	d.faults.lost = SIM_PPM;
	c = rig_retrieve(&r, 0, TOKENS, 0);
	CU_ASSERT_EQUAL(c.status, KVF_EDEVLOST);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_DEVICE);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, CHUNKS);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, TOKENS);
	rig_close(&r);
}

/* A store that waits for the fences of its layers ends when somebody else's copy tells that the device is lost; what
 * needs no device is left alone. */
static void test_lost_for_layers(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct simdev d;
	struct kvf_op op;
	struct rig r;
	uint64_t waits, fetches, loses;

	dev_rig_open_tier(&r, &d, &m, KVF_TIER_RECORDS);
	tier_rig_only_below(&r, 1, CHUNKS);
	m.hold = true;
	m.hold_kind = KVF_REQ_GET;
	kvf_prep_prefetch(&op, r.seq, 0, TOKENS, 0);
	fetches = rig_submit(&r, &op);
	waits = dev_rig_begin_store(&r, 2, CHUNKS, KVF_OP_LAYERWISE);
	tier_rig_poll(&r, 10);
	d.faults.lost = SIM_PPM;
	loses = dev_rig_begin_store(&r, 3, 1, 0);
	for (int i = 0; i < 20; i++) {
		if (kvf_poll(r.engine, &c, 1) != 1)
			continue;
		CU_ASSERT(c.op_id == waits || c.op_id == loses);
		CU_ASSERT_EQUAL(c.status, KVF_EDEVLOST);
		CU_ASSERT_EQUAL(c.reason, KVF_REASON_DEVICE);
	}
	CU_ASSERT_EQUAL(rig_stats(&r).in_flight, 1);
	m.hold = false;
	c = rig_await(&r, fetches);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	tier_rig_close(&r, &m);
}

/* ---- the timeline ---- */

static unsigned seen[2][2]; /* gather, scatter; begun, ended */

static void take_line(const char *json, size_t n, void *user)
{
	static const char *const names[] = { "\"name\":\"gather\"", "\"name\":\"scatter\"" };

	(void)n;
	(void)user;
	for (int i = 0; i < 2; i++) {
		seen[i][0] += strstr(json, names[i]) && strstr(json, "\"ph\":\"b\"");
		seen[i][1] += strstr(json, names[i]) && strstr(json, "\"ph\":\"e\"");
	}
}

static void test_timeline(void)
{
	struct simdev d;
	struct rig r;

	dev_rig_open(&r, &d, DEV_RIG_CAPS, 64);
	CU_ASSERT_EQUAL(kvf_set_timeline(r.engine, take_line, NULL), KVF_OK);
	tier_rig_store(&r, 1, CHUNKS);
	rig_retrieve(&r, 0, 2 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(kvf_set_timeline(r.engine, NULL, NULL), KVF_OK);
	for (int end = 0; end < 2; end++) {
		CU_ASSERT_EQUAL(seen[0][end], CHUNKS);
		CU_ASSERT_EQUAL(seen[1][end], 2);
	}
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "copies", test_copies },
		{ "window", test_window },
		{ "waits_for_the_host", test_waits_for_the_host },
		{ "full", test_full },
		{ "withdrawn", test_withdrawn },
		{ "taken_at_last", test_taken_at_last },
		{ "synchronous", test_synchronous },
		{ "failed_copy", test_failed_copy },
		{ "lost_in_gathers", test_lost_in_gathers },
		{ "lost_in_scatters", test_lost_in_scatters },
		{ "lost_for_layers", test_lost_for_layers },
		{ "timeline", test_timeline },
	};

	return kvf_test_main("device", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
