/* SPDX-License-Identifier: Apache-2.0 */
/* LMCache's names on their way through the engine: each request of a chunk carries the same one, whoever made it. */
#include "tests/harness.h"
#include "tests/memtier.h"
#include "tests/rig.h"

#include <stdio.h>
#include <string.h>

#define CHUNKS 3u
#define TOKENS (CHUNKS * RIG_CHUNK)

struct name {
	uint8_t wire[KVF_KEY_BYTES];
	uint32_t wire_len, suffix_n;
	char suffix[64];
};

static void open_rig(struct rig *r, struct memtier *const *m, uint32_t n)
{
	struct kvf_custom_tier tiers[KVF_MAX_TIERS];

	for (uint32_t t = 0; t < n; t++)
		tiers[t] = (struct kvf_custom_tier){ &memtier_ops, m[t] };
	rig_open(r, &(struct rig_options){ .slots = 64, .tiers = tiers, .n_tiers = n });
}

/* The sequence of every test, with tags: they stand behind the hash. */
static void open_seq(struct rig *r)
{
	static const struct kvf_tag tags[] = { { "user", "somebody" } };
	uint32_t tokens[TOKENS];
	struct kvf_seq_params p;

	kvf_seq_close(r->seq);
	r->seq = NULL;
	kvf_seq_params_init(&p);
	p.tags = tags;
	p.n_tags = 1;
	rig_token_values(1, tokens, TOKENS);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r->engine, &p, &r->seq), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(r->seq, tokens, TOKENS), KVF_OK);
	r->content = 1;
}

static void polls(struct rig *r)
{
	for (int i = 0; i < 20; i++)
		kvf_poll(r->engine, NULL, 0);
}

static void flush(struct rig *r)
{
	CU_ASSERT_EQUAL(rig_flush(r).status, KVF_OK);
}

static struct name name_of(const struct kvf_tier_req *req)
{
	struct name name;

	memset(&name, 0, sizeof(name));
	name.wire_len = req->wire_len;
	memcpy(name.wire, req->wire, sizeof(name.wire));
	name.suffix_n = req->wire_suffix_n;
	if (req->wire_suffix_n && req->wire_suffix_n < sizeof(name.suffix))
		memcpy(name.suffix, req->wire_suffix, req->wire_suffix_n);
	return name;
}

/* The names of the requests that the tier holds, by chunk. */
static void names_of(const struct memtier *m, struct name *names)
{
	CU_ASSERT_EQUAL_FATAL(m->n_held, CHUNKS);
	for (uint32_t i = 0; i < CHUNKS; i++)
		names[m->held[i]->depth % CHUNKS] = name_of(m->held[i]);
}

static void check_same(const struct name *a, const struct name *b)
{
	for (uint32_t i = 0; i < CHUNKS; i++) {
		CU_ASSERT_EQUAL(a[i].wire_len, b[i].wire_len);
		CU_ASSERT_EQUAL(memcmp(a[i].wire, b[i].wire, sizeof(a[i].wire)), 0);
		CU_ASSERT_EQUAL(a[i].suffix_n, b[i].suffix_n);
		CU_ASSERT_EQUAL(memcmp(a[i].suffix, b[i].suffix, sizeof(a[i].suffix)), 0);
	}
}

/* What a store's puts are called. */
static void put_names(struct rig *r, struct memtier *m, struct name *names)
{
	uint64_t id;
	struct kvf_op op;

	m->hold = true;
	open_seq(r);
	rig_compute(r, TOKENS);
	rig_prep(r, &op, KVF_OP_STORE, 0, TOKENS);
	id = rig_submit(r, &op);
	CU_ASSERT_EQUAL(rig_await(r, id).tokens, TOKENS);
	polls(r);
	names_of(m, names);
	m->hold = false;
	flush(r);
}

/* Put, question and get of a chunk name it alike; the text behind the hash outlives operation and sequence. */
static void test_one_name(void)
{
	struct memtier m = { .caps = KVF_TIER_RECORDS | KVF_TIER_WIRE }, *all[] = { &m };
	struct name put[CHUNKS], ask[CHUNKS], get[CHUNKS], late[CHUNKS];
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	open_rig(&r, all, 1);
	put_names(&r, &m, put);
	for (uint32_t i = 0; i < CHUNKS; i++) {
		CU_ASSERT(put[i].wire_len > 0);
		CU_ASSERT_PTR_NOT_NULL(strstr(put[i].suffix, "somebody"));
		CU_ASSERT(i == 0 || memcmp(put[i].wire, put[i - 1].wire, sizeof(put[i].wire)) != 0);
	}
	rig_clear(&r, KVF_TIER_RAM);
	m.hold = true;
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, TOKENS);
	id = rig_submit(&r, &op);
	polls(&r);
	names_of(&m, ask);
	check_same(put, ask);
	m.hold_kind = KVF_REQ_GET;
	polls(&r);
	names_of(&m, get);
	check_same(put, get);
	kvf_cancel(r.engine, id);
	CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_ECANCELED);
	kvf_seq_close(r.seq);
	r.seq = NULL;
	polls(&r);
	names_of(&m, late);
	check_same(put, late);
	m.hold = false;
	polls(&r);
	rig_close(&r);
	memtier_free(&m);
}

/* A record that was written where nobody asked for LMCache's names gets its name when read where somebody does. */
static void test_named_when_read(void)
{
	struct memtier plain = { .caps = KVF_TIER_RECORDS };
	struct memtier named = { .caps = KVF_TIER_RECORDS | KVF_TIER_WIRE }, other = named;
	struct memtier *first[] = { &plain }, *second[] = { &plain, &named }, *third[] = { &other };
	struct name want[CHUNKS], none[CHUNKS], got[CHUNKS];
	struct rig r;

	open_rig(&r, third, 1);
	put_names(&r, &other, want);
	rig_close(&r);
	open_rig(&r, first, 1);
	put_names(&r, &plain, none);
	for (uint32_t i = 0; i < CHUNKS; i++)
		CU_ASSERT_EQUAL(none[i].wire_len, 0);
	rig_close(&r);
	open_rig(&r, second, 2);
	open_seq(&r);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, TOKENS, 0).tokens, TOKENS);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, TOKENS), 0);
	CU_ASSERT_EQUAL(plain.gets, CHUNKS);
	put_names(&r, &named, got);
	check_same(want, got);
	CU_ASSERT_EQUAL(rig_stats(&r).corrupt_chunks, 0);
	rig_close(&r);
	memtier_free(&plain);
	memtier_free(&named);
	memtier_free(&other);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "one_name", test_one_name },
		{ "named_when_read", test_named_when_read },
	};

	return kvf_test_main("wire_requests", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
