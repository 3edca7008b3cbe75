/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device of the host's own, with an opaque layout: kvferry never looks at the bytes. For hosts whose KV has no pages
 * and strides: a recurrent state, a compressed cache, an accelerator with its own runtime.
 *
 * This host keeps 8 bytes a token, scaled per request: its format, its business. The engine hands over one chunk at a
 * time, a slot of RAM and which tokens; user_data of the operation says whose they are.
 */
#include "common.h"

#include <kvferry/kvf_device.h>

#define PROMPT 1000u	  /* three chunks and a piece */
#define STATE_BYTES 8u	  /* a token */
#define FORMAT_VERSION 3u /* other bytes, other number: old chunks are then never read as new ones */

struct request {
	uint64_t state[PROMPT];
};

struct device {
	struct kvf_device_host *host;
	unsigned gathers, scatters;
};

static int device_open(void *self, struct kvf_device_host *host, const struct kvf_layout *layout, uint32_t *caps)
{
	struct device *d = self;

	if (layout->kind != KVF_LAYOUT_OPAQUE)
		return KVF_ENOTSUP;
	d->host = host;
	*caps = KVF_DEVICE_SYNC; /* copy() is done when it returns; the engine calls it once a turn */
	return KVF_OK;
}

static void device_close(void *self)
{
	(void)self;
}

/* Tokens [first, first + n) of one chunk, in one direction. payload has room for the whole chunk. */
static int device_copy(void *self, struct kvf_copy *copy)
{
	struct device *d = self;
	struct request *r = (struct request *)(uintptr_t)copy->user_data;
	uint64_t *state = r->state + copy->chunk_first_token + copy->first;
	unsigned char *slot = copy->payload + (size_t)copy->first * STATE_BYTES;

	if (copy->direction == KVF_COPY_GATHER)
		memcpy(slot, state, (size_t)copy->n * STATE_BYTES);
	else
		memcpy(state, slot, (size_t)copy->n * STATE_BYTES);
	d->gathers += copy->direction == KVF_COPY_GATHER;
	d->scatters += copy->direction == KVF_COPY_SCATTER;
	d->host->complete(d->host, copy, KVF_OK); /* exactly once for a copy that was accepted */
	return KVF_OK;
}

static const struct kvf_device_ops device_ops = { .size = sizeof(device_ops), .name = "toy", .open = device_open,
	.close = device_close, .copy = device_copy };

static uint64_t state_of(unsigned token)
{
	return (token + 1) * 0x9e3779b97f4a7c15u;
}

static struct kvf_completion copy(struct kvf_engine *engine, struct kvf_seq *seq, struct request *r, int store,
				  size_t first, size_t n)
{
	struct kvf_span span = { first, n, NULL }; /* opaque: no blocks */
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };
	struct kvf_op op;

	(store ? kvf_prep_store : kvf_prep_retrieve)(&op, seq, &span, &now);
	op.user_data = (uint64_t)(uintptr_t)r;
	return run(engine, &op);
}

int main(void)
{
	static struct request a, b;
	static uint32_t tokens[PROMPT];
	struct kvf_layout layout = { .size = sizeof(layout), .kind = KVF_LAYOUT_OPAQUE,
		.opaque_chunk_bytes = CHUNK * STATE_BYTES, .opaque_fingerprint = FORMAT_VERSION };
	struct device device = { 0 };
	struct kvf_open_params params;
	struct kvf_engine *engine;
	struct kvf_completion c;
	struct kvf_seq *seq;

	kvf_open_params_init(&params);
	params.layout = &layout;
	params.device = &device_ops;
	params.device_self = &device;
	engine = engine_open(&params, NULL, "16");
	make_prompt(tokens, PROMPT, 0, 1);
	must(kvf_seq_open(engine, NULL, &seq) == KVF_OK && kvf_seq_append(seq, tokens, PROMPT) == KVF_OK, "a sequence");

	for (unsigned t = 0; t < PROMPT; t++)
		a.state[t] = state_of(t);
	c = copy(engine, seq, &a, 1, 0, PROMPT);
	printf("stored %u of %u tokens in %u gathers (reason %u: the last chunk is partial)\n", c.tokens, PROMPT,
	       device.gathers, c.reason);
	must(c.status == KVF_OK && c.tokens == 3 * CHUNK && device.gathers == 3, "full chunks are stored");

	/* Another request with the same prompt. Its first 100 tokens it has itself: they must stay as they are. */
	c = copy(engine, seq, &b, 0, 100, PROMPT - 100);
	printf("retrieved %u tokens from token 100 on in %u scatters\n", c.tokens, device.scatters);
	must(c.tokens == 3 * CHUNK - 100 && device.scatters == 3, "what was stored comes back");
	for (unsigned t = 0; t < PROMPT; t++)
		must(b.state[t] == (t >= 100 && t < 3 * CHUNK ? state_of(t) : 0), "each token's state");
	kvf_seq_close(seq);
	engine_close(engine);
	return 0;
}
