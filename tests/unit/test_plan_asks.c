/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c: what tiers are asked, how much at once, what answers and silence mean, and where a chunk is got from. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

static struct rig r;
static struct memtier m[2];

static uint32_t length(const struct kvf_list *head)
{
	const struct kvf_list *node;
	uint32_t n = 0;

	kvf_list_for_each(node, head)
		n++;
	return n;
}

/* Asks that are on their way or wait to be sent. */
static uint32_t asked(void)
{
	return length(&r.engine->tier[0].asks) + m[0].n_held;
}

/* A sequence of so many chunks that have keys and no tokens. */
static void keys_only(uint32_t n)
{
	uint8_t(*keys)[KVF_KEY_BYTES] = calloc(n, KVF_KEY_BYTES);

	CU_ASSERT_PTR_NOT_NULL_FATAL(keys);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t v = (i + 1) * 0x9e3779b97f4a7c15u;

		memcpy(keys[i], &v, sizeof(v));
		memcpy(keys[i] + 8, &i, sizeof(i));
	}
	kvf_seq_close(r.seq);
	r.seq = NULL;
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r.engine, NULL, &r.seq), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append_keys(r.seq, (const uint8_t(*)[KVF_KEY_BYTES])keys, n), KVF_OK);
	free(keys);
}

/* 3,000 chunks: at most 512 are looked at a step and 1,024 asked for at once; when half of those are answered it goes
 * on. In the end every one was asked for once. */
static void window(enum kvf_op_code code, uint32_t tiers)
{
	uint32_t before = 0, turns = 0;
	struct kvf_completion c;
	struct kvf_op op;
	uint64_t id;

	tier_rig_open_more(&r, m, 1, KVF_TIER_RECORDS, (struct rig_options){ .slots = 16 });
	keys_only(3000);
	if (code == KVF_OP_REMOVE)
		kvf_prep_remove(&op, r.seq, 0, 3000 * RIG_CHUNK, tiers);
	else
		kvf_prep_lookup(&op, r.seq, 0, tiers, 0);
	m[0].hold = true;
	id = rig_submit(&r, &op);
	for (; turns < 60 && before < KVF_ASK_WINDOW; turns++) {
		tier_rig_poll(&r, 1);
		CU_ASSERT(asked() == before || asked() == before + KVF_TURN_SCAN);
		before = asked();
	}
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(asked(), KVF_ASK_WINDOW);
	CU_ASSERT_EQUAL(m[0].n_held, MEMTIER_MAX);
	/* A quarter is answered: nothing is asked anew. Half: it is filled up. */
	m[0].hold = false;
	tier_rig_poll(&r, 1);
	m[0].hold = true;
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(asked(), KVF_ASK_WINDOW - MEMTIER_MAX);
	m[0].hold = false;
	tier_rig_poll(&r, 1);
	m[0].hold = true;
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(asked(), KVF_ASK_WINDOW);
	m[0].hold = false;
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(code == KVF_OP_REMOVE ? m[0].removes : m[0].exists, 3000);
	CU_ASSERT_EQUAL(asked(), 0);
	if (code == KVF_OP_LOOKUP) {
		CU_ASSERT_EQUAL(c.tokens, 0);
		CU_ASSERT_EQUAL(c.reason, KVF_REASON_MISS);
	}
	tier_rig_close(&r, m);
}

static void test_window(void)
{
	window(KVF_OP_LOOKUP, 0);
	window(KVF_OP_LOOKUP, KVF_TIER_CUSTOM);
	window(KVF_OP_REMOVE, 0);
	window(KVF_OP_REMOVE, KVF_TIER_CUSTOM);
}

/* The bound is met in the middle of a step too, where some chunks need no asking. */
static void test_window_with_known(void)
{
	uint8_t key[KVF_KEY_BYTES];
	uint32_t known[64];
	struct kvf_op op;
	uint64_t id;

	tier_rig_open_more(&r, m, 1, KVF_TIER_RECORDS, (struct rig_options){ .slots = 128 });
	keys_only(3000);
	for (uint32_t i = 0; i < 64; i++) {
		CU_ASSERT_EQUAL(kvf_seq_key(r.seq, 100 + i, key), KVF_OK);
		known[i] = kvf_index_insert(&r.engine->index, key, KVF_NIL);
		CU_ASSERT_NOT_EQUAL_FATAL(known[i], KVF_NIL);
	}
	kvf_prep_lookup(&op, r.seq, 0, 0, 0);
	m[0].hold = true;
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 30);
	CU_ASSERT_EQUAL(asked(), KVF_ASK_WINDOW);
	m[0].hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).tokens, 0);
	CU_ASSERT_EQUAL(m[0].exists, 3000 - 64);
	for (uint32_t i = 0; i < 64; i++) {
		kvf_index_remove(&r.engine->index, known[i]);
		kvf_index_free(&r.engine->index, known[i]);
	}
	tier_rig_close(&r, m);
}

static void key_of(uint32_t chunk, uint8_t key[KVF_KEY_BYTES])
{
	CU_ASSERT_EQUAL(kvf_seq_key(r.seq, chunk, key), KVF_OK);
}

static void about(const struct kvf_tier_req *req, uint32_t chunk, uint32_t n_tokens)
{
	uint8_t key[KVF_KEY_BYTES];

	key_of(chunk, key);
	CU_ASSERT_EQUAL(memcmp(req->key, key, KVF_KEY_BYTES), 0);
	key_of(chunk - 1, key);
	CU_ASSERT_EQUAL(memcmp(req->parent, key, KVF_KEY_BYTES), 0);
	CU_ASSERT_EQUAL(req->n_tokens, n_tokens);
	CU_ASSERT_EQUAL(req->depth, chunk);
}

/* What a tier is told of a chunk: its key and its parent's, its tokens, how deep it is, how urgent, until when. */
static void test_requests(void)
{
	const uint32_t tokens = 2 * RIG_CHUNK + 10;
	struct kvf_completion c;
	struct kvf_op op;

	tier_rig_open_more(&r, m, 1, KVF_TIER_RECORDS, (struct rig_options){ .slots = 16, .unfull = true });
	rig_tokens(&r, 1, tokens);
	rig_compute(&r, tokens);
	CU_ASSERT_EQUAL(rig_store(&r, 0, tokens, 0).tokens, tokens);
	tier_rig_flush(&r);
	about(&m[0].last[KVF_REQ_PUT], 2, 10);
	CU_ASSERT_EQUAL(m[0].last[KVF_REQ_PUT].priority, KVF_PRIO_NORMAL);
	CU_ASSERT_EQUAL(m[0].last[KVF_REQ_PUT].payload_bytes, 10 * 2 * RIG_LAYERS * RIG_HIDDEN);
	CU_ASSERT_EQUAL(m[0].last[KVF_REQ_PUT].has_checksum, 1);
	CU_ASSERT_EQUAL(m[0].last[KVF_REQ_PUT].deadline_ns, tier_rig_now + 30 * KVF_NS_PER_S);
	CU_ASSERT_EQUAL(rig_remove(&r, 0, tokens, KVF_TIER_RAM).status, KVF_OK);
	kvf_prep_lookup(&op, r.seq, 0, 0, 0);
	op.priority = KVF_PRIO_HIGH;
	op.deadline_ns = tier_rig_now + 777;
	CU_ASSERT_EQUAL(rig_run(&r, &op).tokens, tokens);
	about(&m[0].last[KVF_REQ_EXISTS], 2, 10);
	CU_ASSERT_EQUAL(m[0].last[KVF_REQ_EXISTS].priority, KVF_PRIO_HIGH);
	CU_ASSERT_EQUAL(m[0].last[KVF_REQ_EXISTS].deadline_ns, tier_rig_now + 777);
	/* Damaged below: removed there, whenever there is time. */
	m[0].chunk[1].bytes[KVF_SLOT_HEADER_BYTES + 9] ^= 1;
	c = rig_retrieve(&r, 0, tokens, 0);
	CU_ASSERT_EQUAL(c.tokens, RIG_CHUNK);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(m[0].removes, 1);
	CU_ASSERT_EQUAL(m[0].n_chunks, 2);
	about(&m[0].last[KVF_REQ_REMOVE], 1, RIG_CHUNK);
	CU_ASSERT_EQUAL(m[0].last[KVF_REQ_REMOVE].priority, KVF_PRIO_LOW);
	CU_ASSERT_EQUAL(m[0].last[KVF_REQ_REMOVE].deadline_ns, KVF_NEVER);
	tier_rig_close(&r, m);
}

/* Each chunk is asked of the second tier only where the first one has not got it, and got from where it is. */
static void test_two_tiers(void)
{
	uint8_t key[KVF_KEY_BYTES];

	tier_rig_open_more(&r, m, 2, KVF_TIER_RECORDS, (struct rig_options){ .slots = 64 });
	tier_rig_only_below(&r, 1, 6);
	/* The first tier loses chunks 1, 2 and 5, the second one chunk 4. */
	for (uint32_t i = 0; i < 6; i++) {
		struct memtier *t = i == 4 ? &m[1] : &m[0];

		key_of(i, key);
		for (uint32_t k = 0; (i == 1 || i == 2 || i == 4 || i == 5) && k < t->n_chunks; k++) {
			if (memcmp(t->chunk[k].key, key, KVF_KEY_BYTES) != 0)
				continue;
			free(t->chunk[k].bytes);
			t->chunk[k] = t->chunk[--t->n_chunks];
			break;
		}
	}
	CU_ASSERT_EQUAL(m[0].n_chunks, 3);
	CU_ASSERT_EQUAL(m[1].n_chunks, 5);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, 6 * RIG_CHUNK);
	CU_ASSERT_EQUAL(m[0].exists, 6);
	CU_ASSERT_EQUAL(m[1].exists, 3); /* what the first one has not got */
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 6 * RIG_CHUNK, 0).tokens, 6 * RIG_CHUNK);
	CU_ASSERT_EQUAL(m[0].gets, 3);
	CU_ASSERT_EQUAL(m[1].gets, 3);
	tier_rig_close(&r, m);
}

/* Where a chunk is got: where the plan says, or else from the first tier behind it that may be asked. */
static void test_source(void)
{
	static uint8_t where[] = { KVF_AT_RAM, KVF_AT_UNKNOWN, 0, 1 };
	/* By which tiers are off, which may be asked, whether it is frozen: number of the tier, or -1. */
	static const struct {
		bool off[2], frozen;
		uint32_t tiers;
		int from[4];
	} as[] = {
		{ { false, false }, false, 0, { 0, 0, 0, 1 } },
		{ { true, false }, false, 0, { 1, 1, 1, 1 } },
		{ { false, true }, false, 0, { 0, 0, 0, -1 } },
		{ { true, true }, false, 0, { -1, -1, -1, -1 } },
		{ { false, false }, true, 0, { -1, -1, -1, -1 } },
		{ { false, false }, false, KVF_TIER_RAM, { -1, -1, -1, -1 } },
		{ { false, false }, false, KVF_TIER_CUSTOM, { 0, 0, 0, 1 } },
		{ { true, false }, false, KVF_TIER_CUSTOM | KVF_TIER_RAM, { 1, 1, 1, 1 } },
		{ { false, false }, true, KVF_TIER_CUSTOM, { -1, -1, -1, -1 } },
	};
	struct kvf_job *job = calloc(1, sizeof(*job));

	tier_rig_open_more(&r, m, 2, KVF_TIER_RECORDS, (struct rig_options){ .slots = 16 });
	CU_ASSERT_PTR_NOT_NULL_FATAL(job);
	for (size_t i = 0; i < KVF_ARRAY_LEN(as); i++) {
		r.engine->tier[0].off = as[i].off[0];
		r.engine->tier[1].off = as[i].off[1];
		r.engine->frozen = as[i].frozen;
		job->tiers = as[i].tiers;
		job->where = where;
		job->first_chunk = 7;
		for (uint32_t c = 0; c < 4; c++) {
			struct kvf_tier *tier = kvf_plan_source(r.engine, job, 7 + c);

			CU_ASSERT_EQUAL(tier ? tier->number : -1, as[i].from[c]);
		}
		job->where = NULL; /* nobody looked */
		CU_ASSERT_PTR_EQUAL(kvf_plan_source(r.engine, job, 9),
				    as[i].from[0] < 0 ? NULL : &r.engine->tier[as[i].from[0]]);
	}
	r.engine->tier[0].off = r.engine->tier[1].off = r.engine->frozen = false;
	free(job);
	tier_rig_close(&r, m);
}

/* A tier that lets lookups run into their deadlines is switched off after five in a row; lookups that were cancelled
 * say nothing about it. */
static void test_late(void)
{
	struct kvf_completion c;
	struct kvf_op op;
	uint64_t id;

	for (int cancel = 0; cancel < 2; cancel++) {
		tier_rig_open_more(&r, m, 1, KVF_TIER_RECORDS, (struct rig_options){ .slots = 16 });
		m[0].hold = true;
		for (uint64_t i = 0; i < KVF_BREAKER_TRIP; i++) {
			CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].breaker, 0);
			CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].timeouts, cancel ? 0 : i);
			rig_tokens(&r, 1 + i, 2 * RIG_CHUNK);
			kvf_prep_lookup(&op, r.seq, 0, 0, 0);
			op.deadline_ns = tier_rig_now + KVF_NS_PER_S;
			id = rig_submit(&r, &op);
			tier_rig_poll(&r, 3);
			if (cancel) {
				CU_ASSERT_EQUAL(kvf_cancel(r.engine, id), KVF_OK);
			} else {
				tier_rig_now += KVF_NS_PER_S;
			}
			c = rig_await(&r, id);
			CU_ASSERT_EQUAL(c.status, cancel ? KVF_ECANCELED : KVF_ETIMEDOUT);
		}
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].breaker, cancel ? 0 : 1);
		CU_ASSERT_EQUAL(r.engine->n_jobs, 0);
		CU_ASSERT_EQUAL(m[0].n_held, 2 * KVF_BREAKER_TRIP);
		CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 0); /* the tier has them still */
		m[0].hold = false;
		tier_rig_poll(&r, 3);
		tier_rig_close(&r, m);
	}
}

/* A deadline that passes before anything could be asked is not the tier's fault. */
static void test_late_unsent(void)
{
	struct kvf_op op;

	tier_rig_open_more(&r, m, 1, KVF_TIER_RECORDS, (struct rig_options){ .slots = 16 });
	for (uint64_t i = 0; i < 2 * KVF_BREAKER_TRIP; i++) {
		rig_tokens(&r, 1 + i, 2 * RIG_CHUNK);
		kvf_prep_lookup(&op, r.seq, 0, 0, 0);
		op.deadline_ns = tier_rig_now;
		CU_ASSERT_EQUAL(rig_run(&r, &op).status, KVF_ETIMEDOUT);
	}
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].timeouts, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].breaker, 0);
	CU_ASSERT_EQUAL(m[0].exists, 0);
	tier_rig_close(&r, m);
}

/* Why a prefix ends: nobody has the chunk, or somebody who may have it could not be asked, or said something else than
 * yes and no. What is known stays known. */
static void test_reasons(void)
{
	struct kvf_completion c;
	struct kvf_op op;

	tier_rig_open_more(&r, m, 2, KVF_TIER_RECORDS, (struct rig_options){ .slots = 64 });
	tier_rig_only_below(&r, 1, 4);
	rig_tokens(&r, 1, 4 * RIG_CHUNK);
	rig_tokens(&r, 2, 2 * RIG_CHUNK);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_run(&r, &op).reason, KVF_REASON_MISS);
	r.engine->tier[1].off = true;
	CU_ASSERT_EQUAL(rig_run(&r, &op).reason, KVF_REASON_TIER);
	r.engine->tier[1].off = false;
	r.engine->tier[0].off = true;
	CU_ASSERT_EQUAL(rig_run(&r, &op).reason, KVF_REASON_TIER);
	r.engine->tier[0].off = false;
	CU_ASSERT_EQUAL(rig_run(&r, &op).reason, KVF_REASON_MISS);
	m[0].fail = KVF_EIO;
	m[0].fail_kind = KVF_REQ_EXISTS;
	c = rig_run(&r, &op);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_TIER);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, 0);
	/* The other one has all of it: nothing is missing, nobody is to blame. */
	kvf_tier_result(r.engine, &r.engine->tier[0], KVF_OK);
	rig_tokens(&r, 1, 4 * RIG_CHUNK);
	c = rig_retrieve(&r, 0, 4 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_NONE);
	CU_ASSERT_EQUAL(m[1].gets, 4);
	m[0].fail = 0;
	kvf_tier_result(r.engine, &r.engine->tier[0], KVF_OK);
	/* What is to be removed must be removed everywhere, also by a frozen engine. */
	r.engine->tier[1].off = true;
	kvf_prep_remove(&op, r.seq, 0, 4 * RIG_CHUNK, 0);
	c = rig_run(&r, &op);
	CU_ASSERT_EQUAL(c.status, KVF_EIO);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_TIER);
	CU_ASSERT_EQUAL(m[0].n_chunks, 0);
	CU_ASSERT_EQUAL(m[1].n_chunks, 4);
	r.engine->tier[1].off = false;
	CU_ASSERT_EQUAL(kvf_set_frozen(r.engine, 1), KVF_OK);
	CU_ASSERT_EQUAL(rig_run(&r, &op).status, KVF_OK);
	CU_ASSERT_EQUAL(m[1].n_chunks, 0);
	tier_rig_close(&r, m);
}

/* The name's suffix is as good as the request is old: the operation and its sequence may be gone long before. */
static void test_suffix_outlives(void)
{
	struct kvf_tag tag = { "lora", "a rather long value, so that its memory is somebody else's soon" };
	uint32_t tokens[RIG_CHUNK];
	struct kvf_seq_params p;
	struct kvf_op op;
	char name[256];
	uint64_t id;

	for (int remove = 0; remove < 2; remove++) {
		tier_rig_open_more(&r, m, 1, KVF_TIER_WIRE, (struct rig_options){ .slots = 16 });
		kvf_seq_params_init(&p);
		p.tags = &tag;
		p.n_tags = 1;
		rig_token_values(1, tokens, RIG_CHUNK);
		CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r.engine, &p, &r.seq), KVF_OK);
		CU_ASSERT_EQUAL_FATAL(kvf_seq_append(r.seq, tokens, RIG_CHUNK), KVF_OK);
		m[0].hold = true;
		if (remove)
			kvf_prep_remove(&op, r.seq, 0, RIG_CHUNK, 0);
		else
			kvf_prep_lookup(&op, r.seq, 0, 0, 0);
		op.deadline_ns = tier_rig_now + 10;
		id = rig_submit(&r, &op);
		tier_rig_poll(&r, 5);
		CU_ASSERT_EQUAL_FATAL(m[0].n_held, 1);
		tier_rig_now += 10;
		CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_ETIMEDOUT);
		kvf_seq_close(r.seq);
		r.seq = NULL;
		CU_ASSERT(m[0].host->wire_name(m[0].host, m[0].held[0], name, sizeof(name)) > 0);
		CU_ASSERT_STRING_EQUAL(name, m[0].names[0].text);
		CU_ASSERT_PTR_NOT_NULL(strstr(name, tag.value));
		m[0].hold = false;
		tier_rig_poll(&r, 3);
		CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 1);
		tier_rig_close(&r, m);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "window", test_window },	 { "window_with_known", test_window_with_known },
		{ "requests", test_requests },
		{ "two_tiers", test_two_tiers }, { "source", test_source },
		{ "late", test_late },		 { "late_unsent", test_late_unsent },
		{ "reasons", test_reasons },	 { "suffix_outlives", test_suffix_outlives },
	};

	return kvf_test_main("plan_asks", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
