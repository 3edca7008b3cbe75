/* SPDX-License-Identifier: Apache-2.0 */
/* Eviction of path workloads against independent models that know nothing of lists: every victim is the same. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "tests/unit/cache_rig.h"

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

static void run_paths(enum kvf_policy policy)
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
		CU_ASSERT_EQUAL(p->differ, 0);
		cache_check(&p->cache);
		cache_close(&p->cache);
	}
	free(p);
}

static void test_paths_lru(void)
{
	run_paths(KVF_POLICY_LRU);
}

static void test_paths_lfu(void)
{
	run_paths(KVF_POLICY_LFU);
}

static void test_paths_fifo(void)
{
	run_paths(KVF_POLICY_FIFO);
}

static void test_paths_mru(void)
{
	run_paths(KVF_POLICY_MRU);
}

/*
 * Touches of any entries in any order, some named twice, some absent, some parked: the order is the one that a plain
 * array has when each is taken out and put in front, the last of the path first.
 */
static void touch_array(uint32_t *order, uint32_t n, const uint32_t *path, uint32_t m)
{
	for (uint32_t i = m; i-- > 0;) {
		uint32_t at = 0;

		if (path[i] == KVF_NIL)
			continue;
		while (at < n && order[at] != path[i])
			at++;
		if (at == n)
			continue;
		memmove(order + 1, order, at * sizeof(*order));
		order[0] = path[i];
	}
}

/* Part of what is there as it lies, which is one run, or anything. */
static uint32_t choose_path(uint64_t *random, const uint32_t *order, uint32_t n, uint32_t *path)
{
	uint32_t first = below(random, n);
	uint32_t m = 1 + below(random, n - first);

	for (uint32_t i = 0; i < m; i++)
		path[i] = order[first + i];
	for (uint32_t changes = below(random, 4); changes > 0; changes--)
		path[below(random, m)] = below(random, 5) ? order[below(random, n)] : KVF_NIL;
	return m;
}

static void test_touch_runs(void)
{
	enum { N = 30 };
	uint64_t random = 8;

	for (int round = 0; round < 300; round++) {
		struct cache c;
		uint32_t order[N], path[N];
		uint32_t left = N;

		cache_open(&c, KVF_POLICY_LRU, N);
		for (uint32_t i = 0; i < N; i++)
			order[N - 1 - i] = cache_add(&c, i, KVF_NIL);
		for (uint32_t touches = below(&random, 40); touches > 0; touches--) {
			uint32_t m = choose_path(&random, order, left, path);
			uint32_t parked = left > 1 && below(&random, 4) == 0 ? order[left - 1] : KVF_NIL;

			if (parked != KVF_NIL) {
				at(&c, parked)->pins++;
				CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), order[left - 2]);
				at(&c, parked)->pins--;
			}
			kvf_evict_touch(&c.evict, path, m);
			if (parked != KVF_NIL)
				kvf_evict_release(&c.evict, parked);
			touch_array(order, left, path, m);
			cache_check(&c);
			if (left > N / 2 && below(&random, 3) == 0)
				cache_remove(&c, order[--left]);
		}
		while (left > 0) {
			CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), order[left - 1]);
			cache_remove(&c, order[--left]);
		}
		cache_close(&c);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "touch_runs", test_touch_runs },
		{ "paths_lru", test_paths_lru },
		{ "paths_lfu", test_paths_lfu },
		{ "paths_fifo", test_paths_fifo },
		{ "paths_mru", test_paths_mru },
	};
	return kvf_test_main("evict_paths", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
