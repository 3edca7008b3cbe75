/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tier of the host's own: a place below RAM that keeps chunks. This one is a list in memory that stands for another
 * machine's; a real one would send the bytes somewhere and complete the request when the answer came.
 *
 * The pool here holds 8 chunks. 16 are stored: half of them survive in the tier only, and come back from it. Then a
 * byte in the tier is damaged, and the retrieve ends in front of that chunk: damage is a miss, never wrong KV.
 */
#include "common.h"

#include <kvferry/kvf_tier.h>

#define CHUNKS 16u
#define PROMPT (CHUNKS * CHUNK)

struct record {
	unsigned char key[KVF_KEY_BYTES];
	unsigned char *bytes; /* header page and payload, as the slot had them */
	size_t n;
};

struct shelf {
	struct kvf_tier_host *host; /* what the engine offers: complete(), watch(), log(), memory */
	struct record record[64];
	unsigned used;
};

static struct record *find(struct shelf *s, const unsigned char *key)
{
	for (unsigned i = 0; i < s->used; i++)
		if (memcmp(s->record[i].key, key, KVF_KEY_BYTES) == 0)
			return &s->record[i];
	return NULL;
}

static int shelf_open(void *self, struct kvf_tier_host *host, const struct kvf_tier_open *params, uint32_t *caps)
{
	struct shelf *s = self;

	s->host = host;
	/* Records: keeps the slot's header page too, so that the engine can check key and checksum. Shared: a chunk
	 * that is here has reached KVF_LEVEL_REMOTE. */
	*caps = KVF_TIER_RECORDS | KVF_TIER_SYNC_EXISTS | KVF_TIER_SHARED;
	printf("tier: chunks of %u bytes for model %s\n", params->payload_bytes, params->model);
	return KVF_OK;
}

static void shelf_close(void *self)
{
	struct shelf *s = self;

	while (s->used)
		free(s->record[--s->used].bytes);
}

static int put(struct shelf *s, const struct kvf_tier_req *req)
{
	size_t n = KVF_SLOT_HEADER_BYTES + (size_t)req->payload_bytes;
	struct record *r;

	if (find(s, req->key))
		return KVF_OK;
	if (s->used == sizeof(s->record) / sizeof(s->record[0]))
		return KVF_ENOSPC;
	r = &s->record[s->used];
	r->bytes = malloc(n);
	if (!r->bytes)
		return KVF_ENOMEM;
	memcpy(r->key, req->key, sizeof(r->key));
	memcpy(r->bytes, req->slot, n);
	r->n = n;
	s->used++;
	return KVF_OK;
}

static int serve(struct shelf *s, struct kvf_tier_req *req)
{
	struct record *r = find(s, req->key);

	if (req->kind == KVF_REQ_PUT)
		return put(s, req);
	if (!r)
		return KVF_ENOENT; /* a miss is no failure */
	if (req->kind == KVF_REQ_GET) {
		memcpy(req->slot, r->bytes, r->n);
		req->payload_bytes = (uint32_t)(r->n - KVF_SLOT_HEADER_BYTES);
	} else if (req->kind == KVF_REQ_REMOVE) {
		free(r->bytes);
		*r = s->record[--s->used];
	}
	return KVF_OK;
}

/* Must not block. complete() only queues, so it may be called right here. */
static unsigned shelf_submit(void *self, struct kvf_tier_req *const *reqs, unsigned n)
{
	struct shelf *s = self;

	for (unsigned i = 0; i < n; i++)
		s->host->complete(s->host, reqs[i], serve(s, reqs[i]));
	return n; /* how many were taken */
}

/* Work that submit() left over; nothing here. */
static uint64_t shelf_progress(void *self, uint64_t now_ns, uint64_t budget)
{
	(void)self, (void)now_ns, (void)budget;
	return 0;
}

static const struct kvf_tier_ops shelf_ops = { .size = sizeof(shelf_ops), .name = "shelf", .open = shelf_open,
	.close = shelf_close, .submit = shelf_submit, .progress = shelf_progress };

int main(void)
{
	static uint32_t tokens[PROMPT], table[PROMPT / KV_BLOCK];
	static struct shelf shelf;
	const struct kvf_custom_tier tier = { &shelf_ops, &shelf };
	struct kvf_open_params params;
	struct kvf_completion c;
	struct kvf_engine *engine;
	struct kvf_seq *seq;
	struct kvf_op op;
	unsigned char key[KVF_KEY_BYTES];
	struct kv kv;

	kv_open(&kv, PROMPT / KV_BLOCK);
	for (uint32_t b = 0; b < PROMPT / KV_BLOCK; b++)
		table[b] = b;
	make_prompt(tokens, PROMPT, 0, 1);
	kvf_open_params_init(&params);
	params.tiers = &tier;
	params.n_tiers = 1;
	engine = engine_open(&params, &kv, "8");
	must(kvf_seq_open(engine, NULL, &seq) == KVF_OK && kvf_seq_append(seq, tokens, PROMPT) == KVF_OK, "a sequence");

	kv_compute(&kv, table, tokens, 0, PROMPT);
	for (size_t first = 0; first < PROMPT; first += 4 * CHUNK) {
		c = kv_copy(engine, seq, table, KVF_OP_STORE, first, 4 * CHUNK, KVF_LEVEL_REMOTE);
		must(c.tokens == 4 * CHUNK && c.level == KVF_LEVEL_REMOTE, "4 chunks reach the tier");
	}
	printf("stored %u chunks: %u in the tier, %zu tokens of the prefix in RAM\n", CHUNKS, shelf.used,
	       kvf_seq_resident(seq));
	kv_wipe(&kv);
	c = kv_copy(engine, seq, table, KVF_OP_RETRIEVE, 0, PROMPT, KVF_LEVEL_NONE);
	printf("retrieved %u tokens, %u of them from RAM\n", c.tokens, c.ram_tokens);
	must(c.tokens == PROMPT && c.ram_tokens < PROMPT, "everything comes back, partly from the tier");
	must(kv_wrong(&kv, table, tokens, 0, PROMPT) == 0, "the bytes");

	/* Out of RAM with all of it, and one bit of chunk 5 is flipped where it lies. */
	kvf_prep_remove(&op, seq, 0, PROMPT, KVF_TIER_RAM);
	run(engine, &op);
	must(kvf_seq_key(seq, 5, key) == KVF_OK && find(&shelf, key), "chunk 5 is in the tier");
	find(&shelf, key)->bytes[KVF_SLOT_HEADER_BYTES + 100] ^= 1;
	c = kv_copy(engine, seq, table, KVF_OP_RETRIEVE, 0, PROMPT, KVF_LEVEL_NONE);
	printf("one bit of chunk 5 is wrong: retrieved %u tokens, reason %u\n", c.tokens, c.reason);
	must(c.tokens == 5 * CHUNK && c.reason == KVF_REASON_CORRUPT, "the prefix ends in front of the damage");
	kvf_seq_close(seq);
	engine_close(engine);
	kv_close(&kv);
	return 0;
}
