/* SPDX-License-Identifier: Apache-2.0 */
/* Eviction: random operations against a naive model of each policy, and path workloads against independent models. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <stdlib.h>
#include <string.h>

#include "cache/evict.h"
#include "kvferry/kvferry.h"
#include "tests/harness.h"

static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint32_t below(uint64_t *state, uint32_t n)
{
	return (uint32_t)(next_random(state) % n);
}

static void make_key(uint8_t key[32], uint64_t i)
{
	uint64_t state = i * 0x2545f4914f6cdd1du + 99;

	for (int w = 0; w < 4; w++) {
		uint64_t x = next_random(&state);

		memcpy(key + 8 * w, &x, sizeof(x));
	}
}

struct cache {
	struct kvf_mem mem;
	struct kvf_index index;
	struct kvf_evict evict;
};

static void cache_open(struct cache *c, enum kvf_policy policy, uint32_t cap)
{
	kvf_mem_init(&c->mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&c->index, &c->mem, cap), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_evict_init(&c->evict, &c->mem, &c->index, policy), KVF_OK);
}

static void cache_close(struct cache *c)
{
	kvf_evict_fini(&c->evict);
	kvf_index_fini(&c->index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&c->mem), 0);
}

static void cache_check(const struct cache *c)
{
	const char *why = "";

	CU_ASSERT_EQUAL(kvf_index_verify(&c->index, &why), KVF_OK);
	if (kvf_evict_verify(&c->evict, &why)) {
		CU_FAIL("kvf_evict_verify");
		fprintf(stderr, "    %s\n", why);
	}
}

static struct kvf_entry *at(const struct cache *c, uint32_t e)
{
	return kvf_index_entry(&c->index, e);
}

static uint32_t cache_add(struct cache *c, uint64_t key_number, uint32_t parent)
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

static void cache_remove(struct cache *c, uint32_t e)
{
	uint32_t parent = kvf_index_parent(&c->index, e);

	kvf_evict_remove(&c->evict, e);
	kvf_index_remove(&c->index, e);
	kvf_index_free(&c->index, e);
	if (parent != KVF_NIL)
		kvf_evict_release(&c->evict, parent);
}

/* ---- the naive model: three arrays, first element goes next ---- */

enum { MODEL_CAP = 70 };

struct line {
	uint32_t e[MODEL_CAP];
	uint32_t n;
};

struct model {
	struct cache cache;
	enum kvf_policy policy;
	uint64_t random;
	uint64_t next_key;
	struct line order, pins, kids;
	uint32_t frequency[MODEL_CAP];
};

static void line_insert(struct line *line, uint32_t where, uint32_t e)
{
	memmove(&line->e[where + 1], &line->e[where], (line->n - where) * sizeof(line->e[0]));
	line->e[where] = e;
	line->n++;
}

static uint32_t line_find(const struct line *line, uint32_t e)
{
	uint32_t i = 0;

	while (i < line->n && line->e[i] != e)
		i++;
	return i;
}

static bool line_drop(struct line *line, uint32_t e)
{
	uint32_t i = line_find(line, e);

	if (i == line->n)
		return false;
	line->n--;
	memmove(&line->e[i], &line->e[i + 1], (line->n - i) * sizeof(line->e[0]));
	return true;
}

static bool model_listed(const struct model *m, uint32_t e)
{
	return line_find(&m->order, e) < m->order.n || line_find(&m->pins, e) < m->pins.n ||
		line_find(&m->kids, e) < m->kids.n;
}

static void model_drop(struct model *m, uint32_t e)
{
	CU_ASSERT_EQUAL(
		line_drop(&m->order, e) + line_drop(&m->pins, e) + line_drop(&m->kids, e), 1);
}

static bool model_used(const struct model *m, uint32_t e)
{
	return at(&m->cache, e)->pins || at(&m->cache, e)->leases;
}

static bool model_held_by_kids(const struct model *m, uint32_t e)
{
	return (m->policy == KVF_POLICY_LRU || m->policy == KVF_POLICY_LFU) &&
		at(&m->cache, e)->kids;
}

static void model_insert(struct model *m)
{
	uint32_t parent = KVF_NIL;
	uint32_t e, where = m->order.n;

	if (m->cache.index.live == MODEL_CAP)
		return;
	if (m->order.n + m->pins.n + m->kids.n && below(&m->random, 4)) {
		do
			parent = below(&m->random, m->cache.index.used);
		while (!model_listed(m, parent));
	}
	e = cache_add(&m->cache, m->next_key++, parent);
	kvf_evict_insert(&m->cache.evict, e); /* twice: nothing */
	if (m->policy == KVF_POLICY_MRU)
		where = 0;
	if (m->policy == KVF_POLICY_LRU && parent != KVF_NIL &&
		line_find(&m->order, parent) < m->order.n)
		where = line_find(&m->order, parent);
	line_insert(&m->order, where, e);
	m->frequency[e] = 1;
}

static void model_touch(struct model *m)
{
	uint32_t path[MODEL_CAP];
	uint32_t n = 0;
	uint32_t e = below(&m->random, m->cache.index.used);

	/* From a random entry to its root, then the other way round; now and then with gaps. */
	for (; e != KVF_NIL && n < MODEL_CAP; e = kvf_index_parent(&m->cache.index, e)) {
		path[n++] = e;
		if (below(&m->random, 50) == 0 && n < MODEL_CAP)
			path[n++] = below(&m->random, 2) ? KVF_NIL :
							   below(&m->random, m->cache.index.used);
	}
	for (uint32_t i = 0; i < n / 2; i++) {
		uint32_t swap = path[i];

		path[i] = path[n - 1 - i];
		path[n - 1 - i] = swap;
	}
	kvf_evict_touch(&m->cache.evict, path, n);
	for (uint32_t i = n; i-- > 0;) {
		if (path[i] == KVF_NIL || !model_listed(m, path[i]) || m->policy == KVF_POLICY_FIFO)
			continue;
		model_drop(m, path[i]);
		line_insert(&m->order, m->policy == KVF_POLICY_MRU ? 0 : m->order.n, path[i]);
		m->frequency[path[i]]++;
	}
}

static void model_release(struct model *m, uint32_t e)
{
	kvf_evict_release(&m->cache.evict, e);
	if (line_find(&m->order, e) < m->order.n || !model_listed(m, e) || model_used(m, e))
		return;
	if (model_held_by_kids(m, e)) {
		if (line_drop(&m->pins, e))
			line_insert(&m->kids, m->kids.n, e);
		return;
	}
	model_drop(m, e);
	line_insert(&m->order, 0, e);
}

static void model_remove(struct model *m, uint32_t e)
{
	uint32_t parent = kvf_index_parent(&m->cache.index, e);

	model_drop(m, e);
	kvf_evict_remove(&m->cache.evict, e);
	kvf_evict_remove(&m->cache.evict, e); /* twice: nothing */
	kvf_index_remove(&m->cache.index, e);
	kvf_index_free(&m->cache.index, e);
	if (parent != KVF_NIL)
		model_release(m, parent);
}

static uint32_t model_next(const struct model *m)
{
	uint32_t best = m->order.e[0];

	for (uint32_t i = 1; i < m->order.n && m->policy == KVF_POLICY_LFU; i++) {
		if (m->frequency[m->order.e[i]] < m->frequency[best])
			best = m->order.e[i];
	}
	return best;
}

static uint32_t model_victim(struct model *m)
{
	while (m->order.n) {
		uint32_t e = model_next(m);

		if (!model_used(m, e) && !model_held_by_kids(m, e))
			return e;
		line_drop(&m->order, e);
		if (model_used(m, e))
			line_insert(&m->pins, m->pins.n, e);
		else
			line_insert(&m->kids, m->kids.n, e);
	}
	while (m->kids.n) {
		uint32_t e = m->kids.e[0];

		if (!model_used(m, e))
			return e;
		line_drop(&m->kids, e);
		line_insert(&m->pins, m->pins.n, e);
	}
	return KVF_NIL;
}

static void model_demote(struct model *m, uint32_t e)
{
	kvf_evict_demote(&m->cache.evict, e);
	if (!model_listed(m, e))
		return;
	m->frequency[e] = 1;
	if (line_drop(&m->order, e))
		line_insert(&m->order, 0, e);
	else
		model_release(m, e);
}

static void model_pin(struct model *m, uint32_t e, bool more)
{
	uint16_t *count = below(&m->random, 2) ? &at(&m->cache, e)->pins : &at(&m->cache, e)->leases;

	if (!model_listed(m, e))
		return;
	if (more) {
		++*count;
	} else if (*count && --*count == 0) {
		model_release(m, e);
	}
}

static void model_step(struct model *m, uint32_t pinning)
{
	uint32_t dice = below(&m->random, 100);
	uint32_t e;

	if (dice < 30 || !m->cache.index.used) {
		model_insert(m);
		return;
	}
	e = below(&m->random, m->cache.index.used);
	if (dice < 45) {
		model_touch(m);
	} else if (dice < 50) {
		if (model_listed(m, e) && !model_used(m, e) && below(&m->random, 3) == 0)
			model_remove(m, e);
	} else if (dice < 55) {
		model_demote(m, e);
	} else if (dice < 75) {
		model_pin(m, e, below(&m->random, 100) < pinning);
	} else {
		uint32_t victim = kvf_evict_victim(&m->cache.evict);

		CU_ASSERT_EQUAL(victim, model_victim(m));
		CU_ASSERT_EQUAL(kvf_evict_victim(&m->cache.evict), victim);
		if (victim != KVF_NIL && below(&m->random, 100) < 85)
			model_remove(m, victim);
	}
	CU_ASSERT_EQUAL(m->cache.evict.n, m->order.n + m->pins.n + m->kids.n);
}

static void run_model(enum kvf_policy policy)
{
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct model m = { .policy = policy, .random = seed, .next_key = seed << 32 };

		cache_open(&m.cache, policy, MODEL_CAP);
		for (uint32_t i = 0; i < 100000; i++) {
			model_step(&m, (i / 5000) % 2 ? 60 : 20);
			if (i % 500 == 0)
				cache_check(&m.cache);
		}
		cache_check(&m.cache);
		cache_close(&m.cache);
	}
}

static void test_model_lru(void)
{
	run_model(KVF_POLICY_LRU);
}

static void test_model_lfu(void)
{
	run_model(KVF_POLICY_LFU);
}

static void test_model_fifo(void)
{
	run_model(KVF_POLICY_FIFO);
}

static void test_model_mru(void)
{
	run_model(KVF_POLICY_MRU);
}

/* ---- path workloads: independent models that know nothing of lists ---- */

enum { NODES = 3000, DEPTH = 24, CHUNKS = 220 };

struct node {
	uint32_t parent; /* KVF_NIL: root */
	uint32_t depth;
	bool here;
	uint64_t stamp; /* when it was used; what it means is the policy's */
	uint64_t count;
	uint32_t kids; /* here */
};

struct paths {
	struct cache cache;
	enum kvf_policy policy;
	uint64_t random;
	struct node node[NODES];
	uint32_t n_here;
	uint64_t clock;
	uint64_t lookups, hits, evictions, differ;
};

static void paths_open(struct paths *p, enum kvf_policy policy, uint64_t seed)
{
	memset(p, 0, sizeof(*p));
	p->policy = policy;
	p->random = seed;
	cache_open(&p->cache, policy, CHUNKS + 1);
	for (uint32_t i = 0; i < NODES; i++) {
		struct node *x = &p->node[i];
		uint32_t parent = i < 12 ? KVF_NIL : below(&p->random, i);

		/* Half go on where the last one ended: long paths. */
		if (i >= 12 && below(&p->random, 2))
			parent = i - 1;
		if (parent != KVF_NIL && p->node[parent].depth + 1 >= DEPTH)
			parent = below(&p->random, 12);
		x->parent = parent;
		x->depth = parent == KVF_NIL ? 0 : p->node[parent].depth + 1;
	}
}

static uint32_t node_entry(const struct paths *p, uint32_t i)
{
	uint8_t key[32];

	make_key(key, i);
	return kvf_index_find(&p->cache.index, key);
}

/* The one that should go next: all are looked at. */
static uint32_t paths_next(const struct paths *p)
{
	uint32_t best = KVF_NIL;

	for (uint32_t i = 0; i < NODES; i++) {
		const struct node *x = &p->node[i], *b = &p->node[best == KVF_NIL ? i : best];
		bool better = best == KVF_NIL;

		if (!x->here || (p->policy == KVF_POLICY_LFU && x->kids))
			continue;
		switch (p->policy) {
		case KVF_POLICY_LRU:
			better |= x->stamp < b->stamp || (x->stamp == b->stamp && x->depth > b->depth);
			break;
		case KVF_POLICY_LFU:
			better |= x->count < b->count || (x->count == b->count && x->stamp < b->stamp);
			break;
		case KVF_POLICY_FIFO:
			better |= x->stamp < b->stamp;
			break;
		case KVF_POLICY_MRU:
			better |= x->stamp > b->stamp;
			break;
		}
		if (better)
			best = i;
	}
	return best;
}

static void paths_evict(struct paths *p)
{
	uint32_t expect = paths_next(p);
	uint32_t e = kvf_evict_victim(&p->cache.evict);
	uint32_t got = KVF_NIL;

	CU_ASSERT_NOT_EQUAL_FATAL(e, KVF_NIL);
	if (p->policy == KVF_POLICY_LRU || p->policy == KVF_POLICY_LFU)
		CU_ASSERT_EQUAL(at(&p->cache, e)->kids, 0);
	for (uint32_t i = 0; i < NODES && got == KVF_NIL; i++) {
		if (p->node[i].here && node_entry(p, i) == e)
			got = i;
	}
	CU_ASSERT_NOT_EQUAL_FATAL(got, KVF_NIL);
	p->evictions++;
	p->differ += got != expect;
	cache_remove(&p->cache, e);
	p->node[got].here = false;
	if (p->node[got].parent != KVF_NIL)
		p->node[p->node[got].parent].kids--;
	p->n_here--;
}

/* The path was hit up to `hit`: the model's side of a touch. */
static void paths_stamp(struct paths *p, const uint32_t *path, uint32_t hit)
{
	if (p->policy == KVF_POLICY_FIFO)
		return;
	if (p->policy == KVF_POLICY_LRU && hit)
		p->clock++;
	for (uint32_t i = hit; i-- > 0;) {
		if (p->policy != KVF_POLICY_LRU)
			p->clock++;
		p->node[path[i]].stamp = p->clock;
		p->node[path[i]].count++;
	}
}

static void paths_request(struct paths *p)
{
	uint32_t path[DEPTH], entry[DEPTH];
	uint32_t last = below(&p->random, 3) ? below(&p->random, NODES / 10) * 10 :
					       below(&p->random, NODES);
	uint32_t n = p->node[last].depth + 1;
	uint32_t hit = 0;

	for (uint32_t i = n; i-- > 0; last = p->node[last].parent)
		path[i] = last;
	while (hit < n && (entry[hit] = node_entry(p, path[hit])) != KVF_NIL)
		hit++;
	p->lookups += n;
	p->hits += hit;
	kvf_evict_touch(&p->cache.evict, entry, hit);
	paths_stamp(p, path, hit);
	for (uint32_t i = hit; i < n; i++) {
		struct node *x = &p->node[path[i]];

		if (x->here)
			continue; /* behind a hole */
		if (p->n_here == CHUNKS)
			paths_evict(p);
		cache_add(&p->cache, path[i], i ? node_entry(p, path[i - 1]) : KVF_NIL);
		if (p->policy != KVF_POLICY_LRU || i == 0)
			p->clock++; /* LRU: one stamp a request, the depth decides within it */
		x->stamp = p->clock;
		x->count = 1;
		x->here = true;
		p->n_here++;
		if (x->parent != KVF_NIL)
			p->node[x->parent].kids++;
	}
}

static void run_paths(enum kvf_policy policy, double may_differ)
{
	struct paths *p = malloc(sizeof(*p));

	for (uint64_t seed = 1; seed <= 3; seed++) {
		paths_open(p, policy, seed);
		for (int i = 0; i < 2000; i++) {
			paths_request(p);
			if (i % 100 == 0)
				cache_check(&p->cache);
		}
		/* MRU takes the prefix that was just hit: it is no good for paths. */
		CU_ASSERT_TRUE(p->hits > p->lookups / (policy == KVF_POLICY_MRU ? 200 : 20));
		CU_ASSERT_TRUE(p->evictions > 1000);
		CU_ASSERT_TRUE((double)p->differ <= may_differ * (double)p->evictions);
		cache_check(&p->cache);
		cache_close(&p->cache);
	}
	free(p);
}

static void test_paths_lru(void)
{
	run_paths(KVF_POLICY_LRU, 0);
}

/* Entries that come off the park stand before those of their frequency, not where they were: the model differs there. */
static void test_paths_lfu(void)
{
	run_paths(KVF_POLICY_LFU, 0.02);
}

static void test_paths_fifo(void)
{
	run_paths(KVF_POLICY_FIFO, 0);
}

static void test_paths_mru(void)
{
	run_paths(KVF_POLICY_MRU, 0);
}

/* ---- single situations ---- */

static void test_suffix_first(void)
{
	static const enum kvf_policy policies[] = { KVF_POLICY_LRU, KVF_POLICY_LFU };

	for (size_t k = 0; k < KVF_ARRAY_LEN(policies); k++) {
		struct cache c;
		uint32_t e[10];

		cache_open(&c, policies[k], 10);
		for (uint32_t i = 0; i < 10; i++)
			e[i] = cache_add(&c, i, i ? e[i - 1] : KVF_NIL);
		for (uint32_t i = 10; i-- > 0;) {
			CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), e[i]);
			cache_remove(&c, e[i]);
		}
		CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), KVF_NIL);
		cache_close(&c);
	}
}

/* A parent whose only kids are pinned goes when nothing else is left, and a pin on it hides it. */
static void test_kids_pinned(void)
{
	struct cache c;
	uint32_t root, kid;

	cache_open(&c, KVF_POLICY_LRU, 4);
	root = cache_add(&c, 0, KVF_NIL);
	kid = cache_add(&c, 1, root);
	at(&c, kid)->pins = 1;
	CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), root);
	CU_ASSERT_TRUE(at(&c, root)->flags & KVF_ENTRY_PARKED_KIDS);
	at(&c, root)->leases = 1;
	CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), KVF_NIL);
	CU_ASSERT_FALSE(at(&c, root)->flags & KVF_ENTRY_PARKED_KIDS);
	at(&c, root)->leases = 0;
	kvf_evict_release(&c.evict, root);
	CU_ASSERT_TRUE(at(&c, root)->flags & KVF_ENTRY_PARKED_KIDS);
	at(&c, kid)->pins = 0;
	kvf_evict_release(&c.evict, kid);
	CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), kid);
	cache_check(&c);
	cache_remove(&c, kid);
	CU_ASSERT_FALSE(at(&c, root)->flags & KVF_ENTRY_PARKED);
	CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), root);
	cache_remove(&c, root);
	cache_close(&c);
}

/* Victims cost O(1): with everything pinned, the second call looks at nothing. */
static void test_bounded(void)
{
	const uint32_t n = 20000;
	struct cache c;

	cache_open(&c, KVF_POLICY_LRU, n);
	for (uint32_t i = 0; i < n; i++)
		at(&c, cache_add(&c, i, i % 2 ? i - 1 : KVF_NIL))->pins = 1;
	for (uint32_t i = 0; i < n; i++)
		CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), KVF_NIL);
	CU_ASSERT_EQUAL(c.evict.order.tail, KVF_NIL);
	for (uint32_t i = n; i-- > 0;) {
		at(&c, i)->pins = 0;
		kvf_evict_release(&c.evict, i);
		CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), i | 1);
	}
	cache_check(&c);
	cache_close(&c);
}

struct fuse {
	uint64_t left;
};

static void *fuse_alloc(size_t n, void *user)
{
	struct fuse *fuse = user;

	if (!fuse->left)
		return NULL;
	fuse->left--;
	return malloc(n);
}

static void fuse_release(void *p, size_t n, void *user)
{
	(void)n;
	(void)user;
	free(p);
}

/* Without memory for more frequencies, entries share the highest there is. */
static void test_lfu_memory(void)
{
	struct fuse fuse = { .left = 100 };
	struct kvf_allocator allocator = {
		.alloc = fuse_alloc, .release = fuse_release, .user = &fuse
	};
	struct cache c;
	uint32_t a, b;

	for (uint64_t k = 0; k < 2; k++) {
		kvf_mem_init(&c.mem, &allocator);
		fuse.left = k;
		CU_ASSERT_EQUAL(
			kvf_evict_init(&c.evict, &c.mem, &c.index, KVF_POLICY_LFU), KVF_ENOMEM);
		kvf_evict_fini(&c.evict);
		CU_ASSERT_EQUAL(kvf_mem_fini(&c.mem), 0);
	}
	fuse.left = 100;
	kvf_mem_init(&c.mem, &allocator);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&c.index, &c.mem, 4), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(
		kvf_evict_init(&c.evict, &c.mem, &c.index, KVF_POLICY_LFU), KVF_OK);
	fuse.left = 0;
	a = cache_add(&c, 0, KVF_NIL);
	b = cache_add(&c, 1, KVF_NIL);
	for (int i = 0; i < 500; i++)
		kvf_evict_touch(&c.evict, &a, 1);
	for (int i = 0; i < 300; i++)
		kvf_evict_touch(&c.evict, &b, 1);
	cache_check(&c);
	CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), a); /* not told apart: the older */
	fuse.left = 100;
	kvf_evict_touch(&c.evict, &a, 1);
	CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), b);
	for (uint32_t i = 0; i < KVF_EVICT_FREQUENCY_MAX + 10; i++)
		kvf_evict_touch(&c.evict, &b, 1);
	CU_ASSERT_EQUAL(at(&c, b)->policy_aux, KVF_EVICT_FREQUENCY_MAX);
	CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), a);
	cache_check(&c);
	kvf_evict_demote(&c.evict, b);
	CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), b);
	cache_check(&c);
	cache_close(&c);
}

static void test_verify_sees(void)
{
	struct cache c;
	const char *why = NULL;

	cache_open(&c, KVF_POLICY_LFU, 10);
	for (uint32_t i = 0; i < 10; i++)
		cache_add(&c, i, i == 1 ? 0 : KVF_NIL);
	at(&c, 5)->pins = 1;
	for (int i = 0; i < 4; i++) {
		uint32_t e = kvf_evict_victim(&c.evict);

		kvf_evict_touch(&c.evict, &e, 1);
	}
	cache_check(&c);
	for (uint32_t i = 0; i < 10; i++) {
		struct kvf_entry was = *at(&c, i);

		at(&c, i)->flags ^= KVF_ENTRY_LISTED;
		CU_ASSERT_EQUAL(kvf_evict_verify(&c.evict, &why), KVF_EINTERNAL);
		*at(&c, i) = was;
		at(&c, i)->flags ^= KVF_ENTRY_PARKED;
		CU_ASSERT_EQUAL(kvf_evict_verify(&c.evict, NULL), KVF_EINTERNAL);
		*at(&c, i) = was;
		at(&c, i)->policy_prev = i;
		CU_ASSERT_EQUAL(kvf_evict_verify(&c.evict, &why), KVF_EINTERNAL);
		at(&c, i)->policy_prev = was.policy_prev;
		at(&c, i)->policy_next = i;
		CU_ASSERT_EQUAL(kvf_evict_verify(&c.evict, &why), KVF_EINTERNAL);
		*at(&c, i) = was;
		at(&c, i)->state = KVF_ENTRY_FILLING;
		CU_ASSERT_EQUAL(kvf_evict_verify(&c.evict, &why), KVF_EINTERNAL);
		*at(&c, i) = was;
		if (!(was.flags & KVF_ENTRY_PARKED)) {
			at(&c, i)->policy_aux++;
			CU_ASSERT_EQUAL(kvf_evict_verify(&c.evict, &why), KVF_EINTERNAL);
			*at(&c, i) = was;
		}
	}
	c.evict.n++;
	CU_ASSERT_EQUAL(kvf_evict_verify(&c.evict, &why), KVF_EINTERNAL);
	c.evict.n -= 2;
	CU_ASSERT_EQUAL(kvf_evict_verify(&c.evict, &why), KVF_EINTERNAL);
	c.evict.n++;
	cache_check(&c);
	cache_close(&c);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "model_lru", test_model_lru },
		{ "model_lfu", test_model_lfu },
		{ "model_fifo", test_model_fifo },
		{ "model_mru", test_model_mru },
		{ "paths_lru", test_paths_lru },
		{ "paths_lfu", test_paths_lfu },
		{ "paths_fifo", test_paths_fifo },
		{ "paths_mru", test_paths_mru },
		{ "suffix_first", test_suffix_first },
		{ "kids_pinned", test_kids_pinned },
		{ "bounded", test_bounded },
		{ "lfu_memory", test_lfu_memory },
		{ "verify_sees", test_verify_sees },
	};
	return kvf_test_main("evict", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
