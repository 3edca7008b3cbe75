/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sequences against the plain model of tests/support/seq_model.h: long random scripts with forks,
 * truncates and snapshots, and the same with every allocation failing in turn.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/support/seq_model.h"
#include "tests/support/seq_rig.h"
#include "token/seq.h"

#define PAIRS 6
#define SNAPSHOTS 24
#define TOKENS_AT_ONCE 80

/* A sequence and its model; a snapshot as an operation holds one. */
struct pair {
	struct kvf_seq *seq;
	struct seq_model model;
};

struct snapshot {
	struct kvf_keyvec *vec;
	uint32_t n;
	uint8_t (*keys)[32];
};

struct script {
	struct rig rig;
	struct pair pair[PAIRS];
	struct snapshot snapshot[SNAPSHOTS];
	unsigned long steps, refusals, forks, cuts, failures, changed_snapshots;
	const char *wrong;
	bool sweep; /* every allocation fails once before it is let through */
};

static void pair_drop(struct pair *p)
{
	if (!p->seq)
		return;
	kvf_seq_free(p->seq);
	model_free(&p->model);
	p->seq = NULL;
}

static void snapshot_drop(struct script *s, struct snapshot *snap)
{
	if (!snap->vec)
		return;
	if (memcmp(snap->vec->key, snap->keys, (size_t)snap->n * 32) != 0)
		s->changed_snapshots++;
	kvf_keyvec_unref(&s->rig.mem, snap->vec);
	free(snap->keys);
	snap->vec = NULL;
}

static void snapshot_take(struct script *s, const struct pair *p)
{
	struct snapshot *snap = &s->snapshot[rng(&s->rig, SNAPSHOTS)];

	snapshot_drop(s, snap);
	if (!p->seq->n_chunks)
		return;
	snap->vec = p->seq->keys;
	snap->n = p->seq->n_chunks;
	kvf_keyvec_ref(snap->vec);
	snap->keys = malloc((size_t)snap->n * 32);
	memcpy(snap->keys, snap->vec->key, (size_t)snap->n * 32);
}

enum act { ACT_ADD, ACT_EXTRA, ACT_KEYS, ACT_CUT, ACT_FORK, ACT_OPEN };

/* One step: what to do, to whom, with what. */
struct step {
	enum act act;
	struct pair *p;
	struct kvf_seq *made;
	size_t first, n;
	uint8_t id[16];
	uint32_t tokens[TOKENS_AT_ONCE];
	uint8_t keys[4][32];
};

static const struct kvf_tag script_tags[] = {{"k", "v"}, {"team", "blue"}};
static const struct kvf_seq_params script_params = {.size = sizeof(script_params),
	.salt = "s",
	.tags = script_tags,
	.n_tags = 2,
	.request_id = "r-1"};

static int step_real(struct script *s, struct step *st)
{
	struct kvf_seq *seq = st->p->seq;

	switch (st->act) {
	case ACT_ADD:
		return kvf_seq_add(seq, st->tokens, st->n);
	case ACT_EXTRA:
		return kvf_seq_add_extra(seq, st->first, st->n, st->id);
	case ACT_KEYS:
		return kvf_seq_add_keys(seq, (const uint8_t(*)[32])st->keys, st->n);
	case ACT_CUT:
		return kvf_seq_cut(seq, st->first);
	case ACT_FORK:
		return kvf_seq_dup(seq, &st->made);
	case ACT_OPEN:
		break;
	}
	return kvf_seq_new(&s->rig.env, &script_params, &st->made);
}

static int step_model(struct step *st)
{
	struct seq_model *m = &st->p->model;

	switch (st->act) {
	case ACT_ADD:
		return model_add(m, st->tokens, st->n);
	case ACT_EXTRA:
		return model_add_extra(m, st->first, st->n, st->id);
	case ACT_KEYS:
		return model_add_keys(m, (const uint8_t(*)[32])st->keys, st->n);
	case ACT_CUT:
		return model_cut(m, st->first);
	case ACT_FORK:
	case ACT_OPEN:
		break;
	}
	return KVF_OK;
}

/* Mostly near the end, sometimes a boundary, sometimes anywhere or beyond. */
static size_t pick_cut(struct script *s, const struct seq_model *m)
{
	size_t back = rng(&s->rig, 3 * m->chunk) + 1;

	switch (rng(&s->rig, 8)) {
	case 0:
		return m->n / m->chunk
			       ? rng(&s->rig, (uint32_t)(m->n / m->chunk) + 1) * (size_t)m->chunk
			       : 0;
	case 1:
		return rng(&s->rig, (uint32_t)m->n + 3);
	default:
		return m->n > back ? m->n - back : 0;
	}
}

static void pick_step(struct script *s, struct step *st)
{
	uint32_t dice = rng(&s->rig, 100);
	const struct seq_model *m;

	memset(st, 0, sizeof(*st));
	st->p = &s->pair[rng(&s->rig, PAIRS)];
	m = &st->p->model;
	if (!st->p->seq) {
		st->act = ACT_OPEN;
		return;
	}
	st->n = rng(&s->rig, 3) ? rng(&s->rig, 2 * m->chunk) : rng(&s->rig, TOKENS_AT_ONCE);
	st->n = kvf_min_u64(st->n, TOKENS_AT_ONCE);
	st->id[3] = (uint8_t)rng(&s->rig, 3);
	if (dice < 55) {
		st->act = ACT_ADD;
		random_tokens(&s->rig, st->tokens, st->n);
	} else if (dice < 65) {
		st->act = ACT_EXTRA;
		st->first = m->n + rng(&s->rig, 3 * m->chunk);
		st->first -= kvf_min_u64(st->first, rng(&s->rig, 4) == 0);
	} else if (dice < 70) {
		st->act = ACT_KEYS;
		st->n = rng(&s->rig, 5);
		random_tokens(&s->rig, (uint32_t *)(void *)st->keys, sizeof(st->keys) / 4);
	} else if (dice < 90) {
		st->act = ACT_CUT;
		st->first = pick_cut(s, m);
	} else {
		st->act = ACT_FORK;
	}
}

static void note(struct script *s, const char *wrong)
{
	if (!s->wrong && wrong) {
		s->wrong = wrong;
		printf("\n    step %lu: %s\n", s->steps, wrong);
	}
}

/* The step, failing at each of its allocations first when this is a sweep. */
static int step_run(struct script *s, struct step *st)
{
	struct rig *r = &s->rig;
	int status = KVF_ENOMEM;

	for (long k = 1; s->sweep; k++) {
		uint64_t used = r->mem.bytes_used;

		kvf_mem_fini(&r->mem); /* nothing from the cache */
		r->fail_in = k;
		r->failed = false;
		r->detail[0] = '\0';
		status = step_real(s, st);
		r->fail_in = 0;
		if (!r->failed)
			return status;
		s->failures++;
		if (status != KVF_ENOMEM || !r->detail[0])
			note(s, "an allocation failed and nobody said so");
		if (st->p->seq)
			note(s, model_compare(&st->p->model, st->p->seq, SIZE_MAX));
		if (r->mem.bytes_used != used)
			note(s, "leak after a failure");
	}
	status = step_real(s, st);
	return status;
}

static void script_step(struct script *s)
{
	struct step st;
	struct pair *to;
	int real, want;

	pick_step(s, &st);
	if (st.p->seq && rng(&s->rig, 3) == 0)
		snapshot_take(s, st.p);
	real = step_run(s, &st);
	want = step_model(&st);
	if (real != want)
		note(s, "another status than the model's");
	s->refusals += real != KVF_OK;
	s->cuts += real == KVF_OK && st.act == ACT_CUT;
	if (st.made && st.act == ACT_OPEN) {
		st.p->seq = st.made;
		model_init(&st.p->model, s->rig.env.chunk_size, s->rig.env.fingerprint,
			&script_params);
	} else if (st.made) {
		to = &s->pair[rng(&s->rig, PAIRS)];
		if (to == st.p) {
			kvf_seq_free(st.made);
		} else {
			pair_drop(to);
			to->seq = st.made;
			model_dup(&to->model, &st.p->model);
			s->forks++;
			note(s, model_compare(&to->model, to->seq, SIZE_MAX));
		}
	}
	/* Sometimes unseen, so that what is computed on demand is computed late. */
	if (st.p->seq && rng(&s->rig, 2))
		note(s, model_compare(&st.p->model, st.p->seq, rng(&s->rig, 16) ? 4 : SIZE_MAX));
	if (st.p->seq && rng(&s->rig, st.p->model.n > 1500 ? 4 : 200) == 0)
		pair_drop(st.p);
	s->steps++;
}

static void script_run(uint32_t chunk_size, unsigned long steps, uint64_t seed, bool sweep)
{
	struct script *s = calloc(1, sizeof(*s));

	rig_init(&s->rig, chunk_size);
	s->rig.rng = seed;
	s->sweep = sweep;
	while (s->steps < steps && !s->wrong)
		script_step(s);
	for (size_t i = 0; i < PAIRS; i++) {
		if (s->pair[i].seq)
			note(s, model_compare(&s->pair[i].model, s->pair[i].seq, SIZE_MAX));
		pair_drop(&s->pair[i]);
	}
	for (size_t i = 0; i < SNAPSHOTS; i++)
		snapshot_drop(s, &s->snapshot[i]);
	CU_ASSERT_PTR_NULL(s->wrong);
	CU_ASSERT_EQUAL(s->changed_snapshots, 0);
	CU_ASSERT(s->refusals > steps / 100);
	CU_ASSERT(s->forks > steps / 100);
	CU_ASSERT(s->cuts > steps / 100);
	CU_ASSERT(!sweep || s->failures > steps / 4);
	rig_fini(&s->rig);
	free(s);
}

static void test_script(void)
{
	script_run(16, 100000, 1, false);
}

static void test_script_small_chunks(void)
{
	script_run(1, 20000, 2, false);
	script_run(2, 20000, 3, false);
	script_run(3, 20000, 4, false);
	script_run(7, 20000, 5, false);
	script_run(64, 20000, 6, false);
}

static void test_every_allocation_fails(void)
{
	script_run(4, 4000, 7, true);
	script_run(16, 4000, 8, true);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {{"script", test_script},
		{"script_small_chunks", test_script_small_chunks},
		{"every_allocation_fails", test_every_allocation_fails}};

	return kvf_test_main("seq_script", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
