/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the index and of eviction share: numbers, keys, checks, an index with a policy. */
#ifndef KVF_TESTS_CACHE_RIG_H
#define KVF_TESTS_CACHE_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/evict.h"
#include "cache/index.h"
#include "kvferry/kvferry.h"
#include "tests/harness.h"

static inline uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static inline uint32_t below(uint64_t *state, uint32_t n)
{
	return (uint32_t)(next_random(state) % n);
}

/* Key number i of a test: 32 bytes that look random. */
static inline void make_key(uint8_t key[32], uint64_t i)
{
	uint64_t state = i * 0x2545f4914f6cdd1du + 99;

	for (int w = 0; w < 4; w++) {
		uint64_t x = next_random(&state);

		memcpy(key + 8 * w, &x, sizeof(x));
	}
}

static inline void check(const struct kvf_index *index)
{
	const char *why = "";
	int rc = kvf_index_verify(index, &why);

	CU_ASSERT_EQUAL(rc, KVF_OK);
	if (rc)
		fprintf(stderr, "    %s\n", why);
}

struct cache {
	struct kvf_mem mem;
	struct kvf_index index;
	struct kvf_evict evict;
};

static inline void cache_open(struct cache *c, enum kvf_policy policy, uint32_t cap)
{
	kvf_mem_init(&c->mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&c->index, &c->mem, cap), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_evict_init(&c->evict, &c->mem, &c->index, policy), KVF_OK);
}

static inline void cache_close(struct cache *c)
{
	kvf_evict_fini(&c->evict);
	kvf_index_fini(&c->index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&c->mem), 0);
}

static inline void cache_check(const struct cache *c)
{
	const char *why = "";

	CU_ASSERT_EQUAL(kvf_index_verify(&c->index, &why), KVF_OK);
	if (kvf_evict_verify(&c->evict, &why)) {
		CU_FAIL("kvf_evict_verify");
		fprintf(stderr, "    %s\n", why);
	}
}

static inline struct kvf_entry *at(const struct cache *c, uint32_t e)
{
	return kvf_index_entry(&c->index, e);
}

static inline uint32_t cache_add(struct cache *c, uint64_t key_number, uint32_t parent)
{
	uint8_t key[32];
	uint32_t e;

	make_key(key, key_number);
	e = kvf_index_insert(&c->index, key, parent);
	CU_ASSERT_NOT_EQUAL_FATAL(e, KVF_NIL);
	at(c, e)->state = KVF_ENTRY_RESIDENT;
	CU_ASSERT_EQUAL(kvf_evict_insert(&c->evict, e), KVF_OK);
	return e;
}

static inline void cache_remove(struct cache *c, uint32_t e)
{
	uint32_t parent = kvf_index_parent(&c->index, e);

	kvf_evict_remove(&c->evict, e);
	kvf_index_remove(&c->index, e);
	kvf_index_free(&c->index, e);
	if (parent != KVF_NIL)
		kvf_evict_release(&c->evict, parent);
}

#endif
