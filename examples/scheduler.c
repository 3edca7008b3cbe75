/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host with a scheduler of its own that never blocks on kvferry: each round it polls the engine, moves requests on,
 * and runs one step of its model. Only when there is nothing to do does it sleep, at most until kvf_next_deadline_ns().
 *
 * A request: lookup -> retrieve what was found -> compute the rest, a step a round -> store -> done. The second and
 * third prompt share a prefix with the first, the fourth is the first again: the hits are checked at the end.
 */
#include "common.h"

#include <time.h>

#define REQUESTS 4
#define PROMPT 1024u
#define STEP 128u /* tokens the model computes in one round */

enum state { LOOKUP, RETRIEVE, COMPUTE, STORE, DONE };

struct request {
	enum state state;
	struct kvf_seq *seq;
	uint32_t tokens[PROMPT];
	uint32_t table[PROMPT / KV_BLOCK];
	size_t computed; /* tokens whose KV is in the blocks */
	size_t hit;
};

static struct kv kv;
static struct kvf_engine *engine;
static struct request requests[REQUESTS];

static void submit(struct request *r, struct kvf_op *op)
{
	uint64_t id;

	op->user_data = (uint64_t)(r - requests); /* comes back in the completion */
	op->deadline_ns = kvf_now_ns(engine) + 1000000000u;
	must(kvf_submit(engine, op, 1, &id) == 1, kvf_error_detail(engine));
}

static void begin(struct request *r, unsigned number)
{
	struct kvf_op op;

	make_prompt(r->tokens, PROMPT, 512, number % 3); /* 0, 1, 2, 0 */
	for (uint32_t b = 0; b < PROMPT / KV_BLOCK; b++)
		r->table[b] = number * (PROMPT / KV_BLOCK) + b;
	must(kvf_seq_open(engine, NULL, &r->seq) == KVF_OK, "kvf_seq_open");
	must(kvf_seq_append(r->seq, r->tokens, PROMPT) == KVF_OK, "kvf_seq_append");
	kvf_prep_lookup(&op, r->seq, 0, 0, 0);
	submit(r, &op);
}

/* Copies tokens [first, PROMPT) in one direction. */
static void copy(struct request *r, enum state state, size_t first, size_t n)
{
	struct kvf_block_list list = { r->table, PROMPT / KV_BLOCK, 0 };
	struct kvf_blocks blocks = { 1, &list };
	struct kvf_span span = { first, n, &blocks };
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };
	struct kvf_op op;

	r->state = state;
	if (state == STORE)
		kvf_prep_store(&op, r->seq, &span, &now);
	else
		kvf_prep_retrieve(&op, r->seq, &span, &now);
	submit(r, &op);
}

static void on_completion(const struct kvf_completion *c)
{
	struct request *r = &requests[c->user_data];

	if (r->state == LOOKUP && c->usable > 0) {
		copy(r, RETRIEVE, 0, c->usable);
	} else if (r->state == LOOKUP) {
		r->state = COMPUTE;
	} else if (r->state == RETRIEVE) {
		/* What was delivered counts, not what was looked up: a chunk may be gone by now. */
		r->computed = r->hit = c->tokens;
		r->state = COMPUTE;
	} else if (r->state == STORE) {
		kvf_seq_close(r->seq);
		r->state = DONE;
	}
}

/* One step of the model for the first request that needs one. Returns 0 when none does. */
static int model_step(void)
{
	for (struct request *r = requests; r < requests + REQUESTS; r++) {
		size_t end = r->computed + STEP < PROMPT ? r->computed + STEP : PROMPT;

		if (r->state != COMPUTE)
			continue;
		kv_compute(&kv, r->table, r->tokens, r->computed, end);
		r->computed = end;
		if (end == PROMPT)
			copy(r, STORE, 0, PROMPT); /* chunks that are stored already are skipped */
		return 1;
	}
	return 0;
}

/* Sleeps until the engine wants a turn, 1 ms at most. The deadline is "now" while it has work. */
static unsigned nap(void)
{
	uint64_t now = kvf_now_ns(engine), until = kvf_next_deadline_ns(engine);
	uint64_t ns = until <= now ? 0 : until - now < 1000000 ? until - now : 1000000;

	if (ns)
		nanosleep(&(struct timespec){ 0, (long)ns }, NULL);
	return ns > 0;
}

int main(void)
{
	struct kvf_open_params params;
	struct kvf_completion c[16];
	unsigned next = 0, rounds = 0, naps = 0;

	kv_open(&kv, REQUESTS * PROMPT / KV_BLOCK);
	kvf_open_params_init(&params);
	engine = engine_open(&params, &kv, "32");
	while (requests[REQUESTS - 1].state != DONE) {
		int n = kvf_poll(engine, c, 16);
		int worked;

		for (int i = 0; i < n; i++)
			on_completion(&c[i]);
		worked = model_step();
		if (next < REQUESTS && (next == 0 || requests[next - 1].state == DONE)) {
			begin(&requests[next], next);
			next++;
		} else if (!worked) {
			naps += nap();
		}
		must(++rounds < 1000000, "all requests end");
	}
	for (unsigned i = 0; i < REQUESTS; i++) {
		printf("request %u: %zu of %u tokens came from the cache\n", i, requests[i].hit, PROMPT);
		must(requests[i].hit == (size_t[]){ 0, 512, 512, PROMPT - 1 }[i], "the hit");
		must(kv_wrong(&kv, requests[i].table, requests[i].tokens, 0, PROMPT) == 0, "the bytes");
	}
	printf("%u rounds, %u naps\n", rounds, naps);
	engine_close(engine);
	kv_close(&kv);
	return 0;
}
