/* SPDX-License-Identifier: Apache-2.0 */
/* What readers of the events see: in pieces, with gaps, from tiers, and beside a snapshot. */
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

#include <string.h>

static void remove_all(struct rig *r, uint32_t chunks)
{
	CU_ASSERT_EQUAL(rig_remove(r, 0, chunks * RIG_CHUNK, 0).status, KVF_OK);
}

static bool untouched(const struct kvf_event *ev)
{
	struct kvf_event blank;

	memset(&blank, 0xab, sizeof(blank));
	return !memcmp(ev, &blank, sizeof(blank));
}

/* A reader gets as many as it has room for, and goes on from there. */
static void test_in_pieces(void)
{
	struct kvf_event ev[8];
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	tier_rig_store(&r, 1, 5);
	memset(ev, 0xab, sizeof(ev));
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 0, NULL), 0);
	CU_ASSERT(untouched(&ev[0]));
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 2, NULL), 2);
	CU_ASSERT(untouched(&ev[2]));
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev + 2, 6, NULL), 3);
	CU_ASSERT(untouched(&ev[5]));
	for (unsigned i = 0; i < 5; i++) {
		uint8_t key[KVF_KEY_BYTES];

		CU_ASSERT_EQUAL(ev[i].seq, i);
		CU_ASSERT_EQUAL(ev[i].tier, KVF_TIER_RAM);
		CU_ASSERT_EQUAL(kvf_seq_key(r.seq, i, key), KVF_OK);
		CU_ASSERT_EQUAL(memcmp(ev[i].key, key, sizeof(key)), 0);
		if (i)
			CU_ASSERT_EQUAL(memcmp(ev[i].parent, ev[i - 1].key, sizeof(key)), 0);
	}
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 8, NULL), 0);
	rig_close(&r);
}

/* What was lost is told once, and what is left has no gap. */
static void test_overflow(void)
{
	struct kvf_event ev[64];
	uint64_t lost = 0, next;
	struct rig r;
	int n;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	for (int i = 0; i < 1300; i++) {
		tier_rig_store(&r, 1, 4);
		remove_all(&r, 4);
	}
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 1, &lost), 1);
	CU_ASSERT_EQUAL(lost, 1300 * 8 - 8192);
	CU_ASSERT_EQUAL(ev[0].seq, lost);
	next = lost + 1;
	while ((n = kvf_events(r.engine, ev, 64, &lost)) > 0) {
		CU_ASSERT_EQUAL(lost, 0);
		for (int i = 0; i < n; i++, next++) {
			CU_ASSERT_EQUAL(ev[i].seq, next);
			CU_ASSERT_EQUAL(ev[i].kind, next % 8 < 4 ? KVF_EVENT_STORED : KVF_EVENT_REMOVED);
		}
	}
	CU_ASSERT_EQUAL(next, 1300 * 8);
	rig_close(&r);
}

static void test_evicted_and_partial(void)
{
	struct kvf_event ev[32];
	unsigned evicted = 0;
	struct rig r;
	int n;

	rig_open(&r, &(struct rig_options){ .slots = 8, .unfull = true });
	rig_tokens(&r, 1, RIG_CHUNK + 10);
	rig_store(&r, 0, RIG_CHUNK + 10, 0);
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 32, NULL), 2);
	CU_ASSERT_EQUAL(ev[0].n_tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(ev[1].n_tokens, 10);
	tier_rig_store(&r, 2, 8);
	n = kvf_events(r.engine, ev, 32, NULL);
	for (int i = 0; i < n; i++)
		evicted += ev[i].kind == KVF_EVENT_EVICTED;
	CU_ASSERT_EQUAL(n, 10);
	CU_ASSERT_EQUAL(evicted, 2);
	rig_close(&r);
}

static void test_tier_up_and_down(void)
{
	struct kvf_event ev[16];
	struct memtier m;
	struct rig r;

	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 1, 2);
	while (kvf_events(r.engine, ev, 16, NULL))
		;
	m.fail = KVF_EIO;
	for (int i = 0; i < 8; i++)
		rig_lookup(&r, 0, 0);
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 16, NULL), 1);
	CU_ASSERT_EQUAL(ev[0].kind, KVF_EVENT_TIER);
	CU_ASSERT_EQUAL(ev[0].tier, KVF_TIER_CUSTOM);
	CU_ASSERT_EQUAL(ev[0].up, 0);
	m.fail = 0;
	tier_rig_now += 1000000000;
	rig_lookup(&r, 0, 0);
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 16, NULL), 1);
	CU_ASSERT_EQUAL(ev[0].kind, KVF_EVENT_TIER);
	CU_ASSERT_EQUAL(ev[0].tier, KVF_TIER_CUSTOM);
	CU_ASSERT_EQUAL(ev[0].up, 1);
	tier_rig_close(&r, &m);
}

/* A snapshot holds what is in RAM, nothing that is still on its way, and says which event comes after it. */
static void test_snapshot(void)
{
	struct kvf_event ev[16];
	struct memtier m;
	uint64_t cursor = 0, seq;
	struct rig r;
	unsigned n = 0;
	int got;

	tier_rig_open(&r, &m, 32, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 1, 2);
	m.hold = true;
	m.hold_kind = KVF_REQ_GET;
	tier_rig_store(&r, 2, 5);
	tier_rig_begin_retrieve(&r, 1, 2, KVF_PRIO_NORMAL);
	tier_rig_poll(&r, 20);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_loading, 2);
	memset(ev, 0xab, sizeof(ev));
	while ((got = kvf_snapshot(r.engine, &cursor, ev + n, 2)) > 0) {
		n += (unsigned)got;
		CU_ASSERT(untouched(&ev[n]));
	}
	CU_ASSERT_EQUAL(n, 5);
	seq = ev[0].seq;
	for (unsigned i = 0; i < n; i++) {
		CU_ASSERT_EQUAL(ev[i].kind, KVF_EVENT_STORED);
		CU_ASSERT_EQUAL(ev[i].seq, seq);
	}
	while (kvf_events(r.engine, ev, 16, NULL))
		;
	m.hold = false;
	tier_rig_poll(&r, 50);
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 16, NULL), 2);
	CU_ASSERT_EQUAL(ev[0].seq, seq);
	tier_rig_close(&r, &m);
}

static bool is_zero(const uint8_t *p, size_t n)
{
	while (n && !p[n - 1])
		n--;
	return !n;
}

/* An event tells nothing of the one whose place it took. */
static void test_nothing_left_over(void)
{
	static struct kvf_event ev[8192];
	struct memtier m;
	uint64_t cursor = 0;
	struct rig r;

	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 1, 2);
	for (int i = 0; i < 4200; i++) {
		tier_rig_store(&r, 2, 1);
		remove_all(&r, 1);
	}
	rig_tokens(&r, 1, 2 * RIG_CHUNK);
	m.fail = KVF_EIO;
	for (int i = 0; i < 8; i++)
		rig_lookup(&r, 0, 0);
	m.fail = 0;
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 8192, NULL), 8192);
	CU_ASSERT_EQUAL(ev[8191].kind, KVF_EVENT_TIER);
	CU_ASSERT_EQUAL(ev[8191].n_tokens, 0);
	CU_ASSERT(is_zero(ev[8191].key, sizeof(ev[8191].key)));
	CU_ASSERT(is_zero(ev[8191].parent, sizeof(ev[8191].parent)));
	tier_rig_now += 1000000000;
	rig_lookup(&r, 0, 0);
	tier_rig_store(&r, 2, 1);
	memset(ev, 0xab, 2 * sizeof(ev[0]));
	CU_ASSERT_EQUAL(kvf_snapshot(r.engine, &cursor, ev, 2), 1);
	CU_ASSERT_EQUAL(ev[0].up, 0);
	CU_ASSERT_EQUAL(ev[0].reserved0, 0);
	tier_rig_close(&r, &m);
}

static struct kvf_event first_stored(struct rig *r, const char *salt, uint64_t number)
{
	uint32_t tokens[RIG_CHUNK];
	struct kvf_seq_params p;
	struct kvf_event ev[8];

	kvf_seq_close(r->seq);
	r->seq = NULL;
	kvf_seq_params_init(&p);
	p.salt = salt;
	rig_token_values(number, tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r->engine, &p, &r->seq), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_append(r->seq, tokens, RIG_CHUNK), KVF_OK);
	CU_ASSERT_EQUAL(rig_store(r, 0, RIG_CHUNK, 0).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(kvf_events(r->engine, ev, 8, NULL), 1);
	return ev[0];
}

/* The parent of a first chunk is what its sequence begins with: one for each salt. */
static void test_roots(void)
{
	struct kvf_event a, b, c;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	a = first_stored(&r, "one", 1);
	b = first_stored(&r, "one", 2);
	c = first_stored(&r, "two", 1);
	CU_ASSERT_FALSE(is_zero(a.parent, sizeof(a.parent)));
	CU_ASSERT_EQUAL(memcmp(a.parent, b.parent, sizeof(a.parent)), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(a.parent, c.parent, sizeof(a.parent)), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(a.key, c.key, sizeof(a.key)), 0);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "in_pieces", test_in_pieces },
		{ "overflow", test_overflow },
		{ "evicted_and_partial", test_evicted_and_partial },
		{ "tier_up_and_down", test_tier_up_and_down },
		{ "snapshot", test_snapshot },
		{ "nothing_left_over", test_nothing_left_over },
		{ "roots", test_roots },
	};

	return kvf_test_main("events", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
