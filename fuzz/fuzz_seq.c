/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes sequences: the input is a script of operations, run on kvferry's sequences and on the
 *plain model of tests/support/seq_model.h, which have to agree after every one.
 *
 *	byte 0: chunk_size - 1 (mod 32); then operations of 4 bytes {what, which, a, b}
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/support/seq_model.h"
#include "token/seq.h"

#define SEQS 4
#define SNAPSHOTS 4
#define MAX_TOKENS 20000 /* all together: the model is slow */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct pair {
	struct kvf_seq *seq;
	struct seq_model model;
};

struct snapshot {
	struct kvf_keyvec *vec;
	uint32_t n;
	uint8_t sum[32];
};

struct world {
	struct kvf_allocator allocator;
	struct kvf_mem mem;
	struct kvf_seq_env env;
	char detail[128];
	struct pair pair[SEQS];
	struct snapshot snapshot[SNAPSHOTS];
	unsigned int fail_in; /* the so-many-eth allocation from here fails; 0: none */
	bool failed;
	size_t tokens;
};

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void *world_alloc(size_t n, void *user)
{
	struct world *w = user;

	if (w->fail_in && --w->fail_in == 0) {
		w->failed = true;
		return NULL;
	}
	return malloc(n);
}

static void world_release(void *p, size_t n, void *user)
{
	(void)n;
	(void)user;
	free(p);
}

static void world_init(struct world *w, uint32_t chunk_size)
{
	memset(w, 0, sizeof(*w));
	w->allocator = (struct kvf_allocator){.size = sizeof(w->allocator),
		.alloc = world_alloc,
		.release = world_release,
		.user = w};
	kvf_mem_init(&w->mem, &w->allocator);
	w->env.mem = &w->mem;
	w->env.chunk_size = chunk_size;
	w->env.detail = w->detail;
	w->env.detail_size = sizeof(w->detail);
	kvf_list_init(&w->env.all);
}

static void pair_drop(struct pair *p)
{
	if (!p->seq)
		return;
	kvf_seq_free(p->seq);
	model_free(&p->model);
	p->seq = NULL;
}

/* Looks whether the keys that were held are what they were, and holds the present ones. */
static void snapshot_turn(struct world *w, struct snapshot *snap, const struct kvf_seq *seq)
{
	uint8_t sum[32];

	if (snap->vec) {
		model_hash(sum, snap->vec->key, (size_t)snap->n * 32);
		must(memcmp(sum, snap->sum, 32) == 0);
		kvf_keyvec_unref(&w->mem, snap->vec);
		snap->vec = NULL;
	}
	if (!seq)
		return;
	snap->vec = seq->keys;
	snap->n = seq->n_chunks;
	kvf_keyvec_ref(snap->vec);
	model_hash(snap->sum, snap->vec->key, (size_t)snap->n * 32);
}

static bool allowed(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f || *text == '@' || *text == '%' ||
			*text == '/' || *text == '\\')
			return false;
	return true;
}

/* Opens with a salt and a tag value of up to two characters each. */
static int do_open(struct world *w, struct pair *p, uint8_t a, uint8_t b)
{
	char salt[2] = {(char)a, 0}, value[3] = {(char)b, (char)a, 0};
	struct kvf_tag tag = {"t", value};
	struct kvf_seq_params params = {
		.size = sizeof(params), .salt = salt, .tags = &tag, .n_tags = b & 1};
	bool good = allowed(salt) && (!params.n_tags || allowed(value));
	struct kvf_seq *seq = NULL;
	int status = kvf_seq_new(&w->env, &params, &seq);

	must(status == KVF_ENOMEM ? w->failed : (status == KVF_OK) == good);
	must((seq != NULL) == (status == KVF_OK));
	if (!seq)
		return status;
	must((seq->tenant != 0) == (a != 0));
	pair_drop(p);
	p->seq = seq;
	model_init(&p->model, w->env.chunk_size, w->env.fingerprint, &params);
	return status;
}

static int do_fork(struct world *w, struct pair *from, struct pair *to)
{
	struct kvf_seq *seq = NULL;
	int status = kvf_seq_dup(from->seq, &seq);

	must(status == KVF_OK ? seq != NULL : status == KVF_ENOMEM && w->failed && !seq);
	if (!seq || from == to) {
		kvf_seq_free(seq);
		return status;
	}
	pair_drop(to);
	to->seq = seq;
	model_dup(&to->model, &from->model);
	must(!model_compare(&to->model, to->seq, SIZE_MAX));
	return status;
}

static int do_add(struct world *w, struct pair *p, uint8_t a, uint8_t b)
{
	uint32_t tokens[255];
	int status;

	if (w->tokens + a > MAX_TOKENS)
		return KVF_OK;
	for (uint32_t i = 0; i < a; i++)
		tokens[i] = b + (i & (b >> 4));
	status = kvf_seq_add(p->seq, tokens, a);
	if (status != KVF_ENOMEM || !w->failed) {
		must(status == model_add(&p->model, tokens, a));
		w->tokens += a;
	}
	return status;
}

static int do_extra(struct world *w, struct pair *p, uint8_t a, uint8_t b)
{
	size_t first = p->model.n + (a & 63), n = b & 63;
	uint8_t id[16] = {(uint8_t)(b >> 6)};
	int status;

	if (a >> 6 == 3)
		first = a;
	status = kvf_seq_add_extra(p->seq, first, n, id);
	if (status != KVF_ENOMEM || !w->failed)
		must(status == model_add_extra(&p->model, first, n, id));
	return status;
}

static int do_keys(struct world *w, struct pair *p, uint8_t a, uint8_t b)
{
	uint8_t keys[16][32];
	int status;

	memset(keys, b, sizeof(keys));
	status = kvf_seq_add_keys(p->seq, (const uint8_t(*)[32])keys, a & 15);
	if (status != KVF_ENOMEM || !w->failed)
		must(status == model_add_keys(&p->model, (const uint8_t(*)[32])keys, a & 15));
	return status;
}

static int do_cut(struct pair *p, uint8_t a, uint8_t b)
{
	size_t back = a % (2 * p->model.chunk + 1), n = p->model.n - kvf_min_u64(back, p->model.n);
	int status;

	if (b & 1)
		n = (size_t)a * (b >> 1);
	status = kvf_seq_cut(p->seq, n);
	must(status == model_cut(&p->model, n));
	return status;
}

static void step(struct world *w, const uint8_t op[4])
{
	struct pair *p = &w->pair[op[1] % SEQS];
	int status = KVF_OK;

	w->failed = false;
	w->detail[0] = '\0';
	if (op[0] % 9 == 0 || !p->seq)
		status = do_open(w, p, op[2], op[3]);
	else if (op[0] % 9 == 1)
		status = do_fork(w, p, &w->pair[op[2] % SEQS]);
	else if (op[0] % 9 == 2)
		status = do_extra(w, p, op[2], op[3]);
	else if (op[0] % 9 == 3)
		status = do_keys(w, p, op[2], op[3]);
	else if (op[0] % 9 == 4)
		status = do_cut(p, op[2], op[3]);
	else if (op[0] % 9 == 5)
		snapshot_turn(w, &w->snapshot[op[2] % SNAPSHOTS], p->seq);
	else if (op[0] % 9 == 6)
		w->fail_in = op[2] % 8;
	else
		status = do_add(w, p, op[2], op[3]);
	must((status == KVF_OK) == (w->detail[0] == '\0'));
	/* Now and then nobody looks, so that the tail key is not always there already. */
	if (p->seq && !(op[1] & 128))
		must(!model_compare(&p->model, p->seq, 8));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w;

	if (size < 1)
		return 0;
	world_init(&w, 1 + data[0] % 32u);
	for (size_t at = 1; at + 4 <= size && at < 4096; at += 4)
		step(&w, data + at);
	w.fail_in = 0;
	for (size_t i = 0; i < SEQS; i++) {
		if (w.pair[i].seq)
			must(!model_compare(&w.pair[i].model, w.pair[i].seq, SIZE_MAX));
		pair_drop(&w.pair[i]);
	}
	for (size_t i = 0; i < SNAPSHOTS; i++)
		snapshot_turn(&w, &w.snapshot[i], NULL);
	must(w.env.n_open == 0 && kvf_list_empty(&w.env.all));
	must(kvf_mem_fini(&w.mem) == 0);
	return 0;
}
