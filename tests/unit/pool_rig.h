/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the pool share: a lock that watches, a pool of the test's own. */
#ifndef KVF_TESTS_POOL_RIG_H
#define KVF_TESTS_POOL_RIG_H

#include <stdio.h>
#include <string.h>

#include "cache/pool.h"
#include "kvferry/kvferry.h"
#include "tests/harness.h"
#include "tests/sim/simmem.h"

#define HEADER 4096u

struct locks {
	unsigned calls;
	unsigned fail_at; /* 1-based; 0: never */
	unsigned held;
	uint64_t bytes;
	uint8_t *p[4096];
	void *refused;
};

static inline int lock_slice(void *arg, void *p, size_t n)
{
	struct locks *l = arg;

	l->calls++;
	if (l->calls == l->fail_at) {
		l->refused = p;
		return KVF_ENOMEM;
	}
	CU_ASSERT_EQUAL((uintptr_t)p % KVF_HUGE_BYTES, 0);
	l->p[l->held++] = p;
	l->bytes += n;
	return 0;
}

static inline void unlock_slice(void *arg, void *p, size_t n)
{
	struct locks *l = arg;
	unsigned i = 0;

	while (i < l->held && l->p[i] != p)
		i++;
	CU_ASSERT_FATAL(i < l->held);
	l->p[i] = l->p[--l->held];
	l->bytes -= n;
}

struct rig {
	struct simmem host;
	struct kvf_mem mem;
	struct locks locks;
	struct kvf_pool pool;
	struct kvf_pool_params params;
};

static inline void rig_init(struct rig *r, uint32_t payload, uint32_t slots)
{
	memset(r, 0, sizeof(*r));
	simmem_init(&r->host, 1);
	kvf_mem_init(&r->mem, &r->host.allocator);
	r->params = (struct kvf_pool_params){ .payload_bytes = payload,
					      .n_slots = slots,
					      .numa_node = -1,
					      .lock = lock_slice,
					      .unlock = unlock_slice,
					      .lock_arg = &r->locks };
}

static inline void rig_open(struct rig *r, uint32_t payload, uint32_t slots)
{
	rig_init(r, payload, slots);
	CU_ASSERT_EQUAL_FATAL(kvf_pool_init(&r->pool, &r->mem, &r->params, NULL), KVF_OK);
}

static inline void rig_close(struct rig *r)
{
	kvf_pool_fini(&r->pool);
	CU_ASSERT_EQUAL(r->locks.held, 0);
	CU_ASSERT_EQUAL(r->locks.bytes, 0);
	CU_ASSERT_EQUAL(kvf_mem_fini(&r->mem), 0);
	CU_ASSERT_EQUAL(r->host.live_blocks, 0);
	CU_ASSERT_EQUAL(r->host.wrong_sizes, 0);
}

static inline void sound(const struct kvf_pool *pool)
{
	const char *why = NULL;

	if (kvf_pool_verify(pool, &why)) {
		printf("%s\n", why);
		CU_FAIL("verify");
	}
}

static inline void grow(struct kvf_pool *pool)
{
	int rc;

	while ((rc = kvf_pool_step(pool)) == 1)
		CU_ASSERT(pool->due);
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT(!pool->due);
	sound(pool);
}

#endif
