/* SPDX-License-Identifier: Apache-2.0 */
/* An environment for sequences whose allocator fails on request, and a few random tokens. */
#ifndef KVF_TESTS_SUPPORT_SEQ_RIG_H
#define KVF_TESTS_SUPPORT_SEQ_RIG_H

#include <stdlib.h>
#include <string.h>

#include <CUnit/CUnit.h>

#include "tests/support/seq_model.h"
#include "token/seq.h"

struct rig {
	struct kvf_allocator allocator;
	struct kvf_mem mem;
	struct kvf_seq_env env;
	char detail[256];
	long fail_in; /* this many allocations from now; 0: none */
	bool failed;
	uint64_t rng;
};

static inline void *rig_alloc(size_t n, void *user)
{
	struct rig *r = user;

	if (r->fail_in && --r->fail_in == 0) {
		r->failed = true;
		return NULL;
	}
	return malloc(n);
}

static inline void rig_release(void *p, size_t n, void *user)
{
	(void)n;
	(void)user;
	free(p);
}

static inline void rig_init(struct rig *r, uint32_t chunk_size)
{
	memset(r, 0, sizeof(*r));
	r->allocator = (struct kvf_allocator){.size = sizeof(r->allocator),
		.alloc = rig_alloc,
		.release = rig_release,
		.user = r};
	kvf_mem_init(&r->mem, &r->allocator);
	r->env.mem = &r->mem;
	r->env.chunk_size = chunk_size;
	memset(r->env.fingerprint, 0xf1, sizeof(r->env.fingerprint));
	kvf_list_init(&r->env.all);
	r->env.detail = r->detail;
	r->env.detail_size = sizeof(r->detail);
}

/* Everything is given back. */
static inline void rig_fini(struct rig *r)
{
	CU_ASSERT_EQUAL(r->env.n_open, 0);
	CU_ASSERT(kvf_list_empty(&r->env.all));
	CU_ASSERT_EQUAL(kvf_mem_fini(&r->mem), 0);
	CU_ASSERT_EQUAL(r->mem.bytes_held, 0);
}

static inline struct kvf_seq *rig_open(struct rig *r)
{
	struct kvf_seq *seq = NULL;

	CU_ASSERT_EQUAL_FATAL(kvf_seq_new(&r->env, NULL, &seq), KVF_OK);
	return seq;
}

static inline uint32_t rng(struct rig *r, uint32_t bound)
{
	r->rng = r->rng * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(r->rng >> 33) % bound;
}

static inline void random_tokens(struct rig *r, uint32_t *tokens, size_t n)
{
	for (size_t i = 0; i < n; i++)
		tokens[i] = rng(r, 4) ? rng(r, 3) : rng(r, 1u << 31) * 2 + 1;
}

#endif
