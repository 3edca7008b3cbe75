/* SPDX-License-Identifier: Apache-2.0 */
/* Eviction: random operations against a naive model of each policy, and single situations. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "tests/sim/simmem.h"
#include "tests/unit/cache_rig.h"

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

/* Two orders over one index: a child never goes onto the list of another tenant's parent. */
static void test_two_tenants(void)
{
	struct cache c;
	struct kvf_evict other;
	const char *why;
	uint8_t key[32];
	uint32_t root, kid;

	cache_open(&c, KVF_POLICY_LRU, 4);
	CU_ASSERT_EQUAL_FATAL(kvf_evict_init(&other, &c.mem, &c.index, KVF_POLICY_LRU), KVF_OK);
	root = cache_add(&c, 0, KVF_NIL);
	make_key(key, 1);
	kid = kvf_index_insert(&c.index, key, root);
	at(&c, kid)->tenant = 1;
	at(&c, kid)->state = KVF_ENTRY_RESIDENT;
	kvf_evict_insert(&other, kid);
	CU_ASSERT_EQUAL(kvf_evict_verify(&other, &why), KVF_OK);
	cache_check(&c);
	CU_ASSERT_EQUAL(kvf_evict_victim(&other), kid);
	kvf_evict_remove(&other, kid);
	kvf_index_remove(&c.index, kid);
	kvf_evict_release(&c.evict, root);
	CU_ASSERT_EQUAL(kvf_evict_victim(&other), KVF_NIL);
	CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), root);
	kvf_evict_fini(&other);
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

/* Without memory for more frequencies, entries share the highest there is. */
static void test_lfu_memory(void)
{
	struct simmem host;
	struct cache c;
	uint32_t a, b;

	simmem_init(&host, 1);
	for (uint64_t k = 0; k < 2; k++) {
		kvf_mem_init(&c.mem, &host.allocator);
		simmem_allow(&host, k);
		CU_ASSERT_EQUAL(
			kvf_evict_init(&c.evict, &c.mem, &c.index, KVF_POLICY_LFU), KVF_ENOMEM);
		kvf_evict_fini(&c.evict);
		CU_ASSERT_EQUAL(kvf_mem_fini(&c.mem), 0);
	}
	simmem_allow(&host, SIMMEM_ANY);
	kvf_mem_init(&c.mem, &host.allocator);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&c.index, &c.mem, 4), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(
		kvf_evict_init(&c.evict, &c.mem, &c.index, KVF_POLICY_LFU), KVF_OK);
	simmem_allow(&host, 0);
	a = cache_add(&c, 0, KVF_NIL);
	b = cache_add(&c, 1, KVF_NIL);
	for (int i = 0; i < 500; i++)
		kvf_evict_touch(&c.evict, &a, 1);
	for (int i = 0; i < 300; i++)
		kvf_evict_touch(&c.evict, &b, 1);
	cache_check(&c);
	CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), a); /* not told apart: the older */
	simmem_allow(&host, SIMMEM_ANY);
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

/* The lowest frequency goes first, however far apart they are, and so on through all of them. */
static void test_lfu_frequencies(void)
{
	static const uint32_t f[] = { 4097, 2,	   65535, 63,  8191, 1,	    65,	  4096,
				      64,   127, 12288, 128, 4095, 20000, 8192, 40000 };
	enum { N = KVF_ARRAY_LEN(f) };
	struct cache c;
	uint32_t e[N];

	for (uint32_t demoted = 0; demoted <= N; demoted++) {
		uint32_t left = N;
		bool gone[N] = { false };

		cache_open(&c, KVF_POLICY_LFU, N);
		for (uint32_t i = 0; i < N; i++) {
			e[i] = cache_add(&c, i, KVF_NIL);
			for (uint32_t k = 1; k < f[i]; k++)
				kvf_evict_touch(&c.evict, &e[i], 1);
			CU_ASSERT_EQUAL(at(&c, e[i])->policy_aux, f[i]);
		}
		cache_check(&c);
		if (demoted < N) {
			kvf_evict_demote(&c.evict, e[demoted]);
			CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), e[demoted]);
			cache_remove(&c, e[demoted]);
			gone[demoted] = true;
			left--;
		}
		while (left-- > 0) {
			uint32_t low = N;

			for (uint32_t i = 0; i < N; i++) {
				if (!gone[i] && (low == N || f[i] < f[low]))
					low = i;
			}
			CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), e[low]);
			cache_remove(&c, e[low]);
			cache_check(&c);
			gone[low] = true;
		}
		CU_ASSERT_EQUAL(kvf_evict_victim(&c.evict), KVF_NIL);
		cache_close(&c);
	}
}

/* Memory for more frequencies is taken when the first entry reaches one, and given back. */
static void test_lfu_room(void)
{
	struct cache c;
	uint64_t held;
	uint32_t e;

	cache_open(&c, KVF_POLICY_LFU, 2);
	e = cache_add(&c, 0, KVF_NIL);
	held = c.mem.host_allocs;
	for (uint32_t f = 2; f < 64; f++)
		kvf_evict_touch(&c.evict, &e, 1);
	CU_ASSERT_EQUAL(at(&c, e)->policy_aux, 63);
	CU_ASSERT_EQUAL(c.mem.host_allocs, held);
	kvf_evict_touch(&c.evict, &e, 1);
	CU_ASSERT_EQUAL(at(&c, e)->policy_aux, 64);
	CU_ASSERT_EQUAL(c.mem.host_allocs, held + 1);
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
		{ "suffix_first", test_suffix_first },
		{ "kids_pinned", test_kids_pinned },
		{ "two_tenants", test_two_tenants },
		{ "bounded", test_bounded },
		{ "lfu_memory", test_lfu_memory },
		{ "lfu_frequencies", test_lfu_frequencies },
		{ "lfu_room", test_lfu_room },
		{ "verify_sees", test_verify_sees },
	};
	return kvf_test_main("evict", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
