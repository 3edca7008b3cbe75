/* SPDX-License-Identifier: Apache-2.0 */
/* The index against a naive model; stale parents, many kids, and what verify() sees. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "tests/unit/cache_rig.h"

/* The model: for each key of a universe the entry it has, and to which key's incarnation its parent link goes. */
struct model_key {
	uint32_t entry;	     /* KVF_NIL: absent */
	uint32_t parent;     /* key number, KVF_NIL: none */
	uint32_t parent_life; /* life of the parent when linked */
	uint32_t life;	     /* counts insertions */
	bool resident;
};

struct model {
	struct kvf_mem mem;
	struct kvf_index index;
	uint64_t random;
	uint32_t n_keys;
	uint32_t n_present;
	struct model_key *key;
	uint32_t *doomed; /* entries removed and not yet freed */
	uint32_t n_doomed;
	uint64_t epoch;
};

static void model_open(struct model *m, uint32_t n_keys, uint32_t cap, uint64_t seed)
{
	memset(m, 0, sizeof(*m));
	kvf_mem_init(&m->mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&m->index, &m->mem, cap), KVF_OK);
	m->random = seed;
	m->n_keys = n_keys;
	m->key = calloc(n_keys, sizeof(*m->key));
	m->doomed = calloc(cap, sizeof(*m->doomed));
	for (uint32_t i = 0; i < n_keys; i++)
		m->key[i].entry = KVF_NIL;
}

static void model_close(struct model *m)
{
	kvf_index_fini(&m->index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&m->mem), 0);
	free(m->key);
	free(m->doomed);
}

static uint32_t model_parent(const struct model *m, uint32_t k)
{
	uint32_t p = m->key[k].parent;

	if (p == KVF_NIL || m->key[p].entry == KVF_NIL || m->key[p].life != m->key[k].parent_life)
		return KVF_NIL;
	return p;
}

static void model_insert(struct model *m, uint32_t k)
{
	struct model_key *x = &m->key[k];
	uint32_t p = below(&m->random, m->n_keys);
	uint32_t link = KVF_NIL;
	uint8_t key[32];

	if (below(&m->random, 4) == 0)
		p = KVF_NIL;
	if (p != KVF_NIL)
		link = m->key[p].entry;
	if (link == KVF_NIL && m->n_doomed && below(&m->random, 2))
		link = m->doomed[below(&m->random, m->n_doomed)]; /* not live: counts as none */
	make_key(key, k);
	x->entry = kvf_index_insert(&m->index, key, link);
	if (m->n_present + m->n_doomed == m->index.cap) {
		CU_ASSERT_EQUAL(x->entry, KVF_NIL);
		return;
	}
	CU_ASSERT_NOT_EQUAL_FATAL(x->entry, KVF_NIL);
	x->parent = p != KVF_NIL && m->key[p].entry != KVF_NIL ? p : KVF_NIL;
	x->parent_life = p != KVF_NIL ? m->key[p].life : 0;
	x->life++;
	x->resident = false;
	m->n_present++;
	CU_ASSERT_EQUAL(kvf_index_entry(&m->index, x->entry)->state, KVF_ENTRY_FILLING);
	CU_ASSERT_EQUAL(kvf_index_entry(&m->index, x->entry)->kids, 0);
}

static void model_remove(struct model *m, uint32_t k)
{
	struct model_key *x = &m->key[k];
	uint32_t p = model_parent(m, k);
	uint32_t kids = p != KVF_NIL ? kvf_index_entry(&m->index, m->key[p].entry)->kids : 0;

	kvf_index_remove(&m->index, x->entry);
	m->epoch++;
	if (p != KVF_NIL)
		CU_ASSERT_EQUAL(kvf_index_entry(&m->index, m->key[p].entry)->kids, kids - 1);
	CU_ASSERT_EQUAL(kvf_index_entry(&m->index, x->entry)->state, KVF_ENTRY_DOOMED);
	m->doomed[m->n_doomed++] = x->entry;
	x->entry = KVF_NIL;
	m->n_present--;
}

static void model_free(struct model *m)
{
	uint32_t at = below(&m->random, m->n_doomed);
	uint32_t e = m->doomed[at];
	uint32_t generation = kvf_index_entry(&m->index, e)->generation;

	kvf_index_free(&m->index, e);
	CU_ASSERT_NOT_EQUAL(kvf_index_entry(&m->index, e)->generation, generation);
	m->doomed[at] = m->doomed[--m->n_doomed];
}

static void model_find(struct model *m, uint32_t k)
{
	const struct model_key *x = &m->key[k];
	uint8_t key[32];
	uint32_t p;

	make_key(key, k);
	CU_ASSERT_EQUAL(kvf_index_find(&m->index, key), x->entry);
	if (x->entry == KVF_NIL)
		return;
	p = model_parent(m, k);
	CU_ASSERT_EQUAL(
		kvf_index_parent(&m->index, x->entry), p == KVF_NIL ? KVF_NIL : m->key[p].entry);
	if (!x->resident && below(&m->random, 2)) {
		m->key[k].resident = true;
		kvf_index_entry(&m->index, x->entry)->state = KVF_ENTRY_RESIDENT;
	}
}

static void model_adopt(struct model *m, uint32_t k)
{
	struct model_key *x = &m->key[k];
	uint32_t p = below(&m->random, m->n_keys);
	bool may;

	if (x->entry == KVF_NIL)
		return;
	may = model_parent(m, k) == KVF_NIL && p != k && m->key[p].entry != KVF_NIL;
	CU_ASSERT_EQUAL(kvf_index_adopt(&m->index, x->entry, m->key[p].entry), may);
	if (!may)
		return;
	x->parent = p;
	x->parent_life = m->key[p].life;
}

static bool model_resident(const struct model *m, uint32_t k)
{
	return m->key[k].entry != KVF_NIL && m->key[k].resident;
}

/* A run of keys, longer than what is probed at once: mostly present and resident ones, some of them more than once. */
static void model_many(struct model *m)
{
	enum { MOST = 400 };
	uint8_t keys[MOST][32];
	uint32_t expect[MOST], out[MOST];
	uint32_t n = below(&m->random, below(&m->random, 2) ? 12 : MOST + 1);
	uint32_t run = 0;
	bool ended = false;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = below(&m->random, m->n_keys);

		for (int tries = 0; tries < 400 && below(&m->random, 200) && !model_resident(m, k); tries++)
			k = below(&m->random, m->n_keys);
		make_key(keys[i], k);
		expect[i] = m->key[k].entry;
		ended |= !model_resident(m, k);
		run += !ended;
	}
	memset(out, 0, sizeof(out));
	kvf_index_find_many(&m->index, (const uint8_t(*)[32])keys, n, out);
	CU_ASSERT_EQUAL(memcmp(out, expect, n * sizeof(out[0])), 0);
	memset(out, 0, sizeof(out));
	CU_ASSERT_EQUAL(kvf_index_resident_prefix(
				&m->index, (const uint8_t(*)[32])keys, n, below(&m->random, 2) ? out : NULL),
		run);
	CU_ASSERT_EQUAL(
		kvf_index_resident_prefix(&m->index, (const uint8_t(*)[32])keys, n, out), run);
	CU_ASSERT_EQUAL(memcmp(out, expect, run * sizeof(out[0])), 0);
}

/* lean: of 100, how often a present key stays when there is a choice; moves between growing and shrinking. */
static void model_step(struct model *m, uint32_t lean)
{
	uint32_t k = below(&m->random, m->n_keys);
	uint32_t dice = below(&m->random, 100);

	if (dice < 30) {
		model_find(m, k);
	} else if (dice < 33) {
		model_adopt(m, k);
	} else if (dice < 34) {
		model_many(m);
	} else if (dice < 50 && m->n_doomed) {
		model_free(m);
	} else if (m->key[k].entry == KVF_NIL) {
		model_insert(m, k);
	} else if (below(&m->random, 100) >= lean && m->n_doomed < m->index.cap) {
		model_remove(m, k);
	}
}

static void model_compare(struct model *m)
{
	uint32_t *kids = calloc(m->n_keys, sizeof(*kids));

	check(&m->index);
	CU_ASSERT_EQUAL(m->index.n, m->n_present);
	CU_ASSERT_EQUAL(m->index.live, m->n_present + m->n_doomed);
	CU_ASSERT_EQUAL(m->index.epoch, m->epoch);
	for (uint32_t k = 0; k < m->n_keys; k++) {
		uint32_t p = m->key[k].entry != KVF_NIL ? model_parent(m, k) : KVF_NIL;

		if (p != KVF_NIL)
			kids[p]++;
	}
	for (uint32_t k = 0; k < m->n_keys; k++) {
		if (m->key[k].entry != KVF_NIL)
			CU_ASSERT_EQUAL(
				kvf_index_entry(&m->index, m->key[k].entry)->kids, kids[k]);
	}
	free(kids);
}

static void run_model(uint32_t n_keys, uint32_t cap, uint32_t steps, uint64_t seed)
{
	struct model m;

	model_open(&m, n_keys, cap, seed);
	for (uint32_t i = 0; i < steps; i++) {
		model_step(&m, (i / (n_keys * 4)) % 2 ? 10 : 90);
		if (i % (n_keys < 1000 ? 500 : 20000) == 0)
			model_compare(&m);
	}
	model_compare(&m);
	model_close(&m);
}

static void test_small(void)
{
	for (uint64_t seed = 1; seed <= 20; seed++)
		run_model(40, 24, 20000, seed);
	run_model(3, 1, 2000, 5);
}

static void test_medium(void)
{
	run_model(3000, 2000, 600000, 11);
	run_model(3000, 3000, 400000, 12);
}

static void test_large(void)
{
	run_model(60000, 60000, 1500000, 21);
}

/* A parent goes before its kid, its number is used again by a stranger: the kid must not count as the stranger's. */
static void test_stale_parent(void)
{
	struct kvf_mem mem;
	struct kvf_index index;
	uint8_t key[4][32];
	uint32_t parent, kid, stranger, second;

	for (uint64_t i = 0; i < 4; i++)
		make_key(key[i], i);
	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, 8), KVF_OK);
	parent = kvf_index_insert(&index, key[0], KVF_NIL);
	kid = kvf_index_insert(&index, key[1], parent);
	CU_ASSERT_EQUAL(kvf_index_parent(&index, kid), parent);
	kvf_index_remove(&index, parent);
	CU_ASSERT_EQUAL(kvf_index_parent(&index, kid), KVF_NIL);
	kvf_index_remove(&index, parent); /* twice: nothing */
	CU_ASSERT_EQUAL(index.epoch, 1);
	kvf_index_free(&index, kid); /* not doomed: nothing */
	CU_ASSERT_EQUAL(kvf_index_find(&index, key[1]), kid);
	kvf_index_free(&index, parent);
	kvf_index_free(&index, parent); /* twice: nothing */
	CU_ASSERT_EQUAL(index.live, 1);
	stranger = kvf_index_insert(&index, key[2], KVF_NIL);
	CU_ASSERT_EQUAL(stranger, parent);
	CU_ASSERT_EQUAL(kvf_index_parent(&index, kid), KVF_NIL);
	second = kvf_index_insert(&index, key[3], stranger);
	kvf_index_remove(&index, kid);
	CU_ASSERT_EQUAL(kvf_index_entry(&index, stranger)->kids, 1);
	CU_ASSERT_EQUAL(kvf_index_parent(&index, second), stranger);
	CU_ASSERT_FALSE(kvf_index_adopt(&index, second, stranger));
	CU_ASSERT_FALSE(kvf_index_adopt(&index, stranger, stranger));
	CU_ASSERT_FALSE(kvf_index_adopt(&index, stranger, KVF_NIL));
	CU_ASSERT_FALSE(kvf_index_adopt(&index, stranger, kid)); /* doomed */
	CU_ASSERT_FALSE(kvf_index_adopt(&index, kid, stranger));
	check(&index);
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* More kids than 16 bits count: a system prompt shared by everybody. */
static void test_many_kids(void)
{
	const uint32_t n = 70000;
	struct kvf_mem mem;
	struct kvf_index index;
	uint8_t key[32];

	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, n + 1), KVF_OK);
	for (uint32_t i = 0; i <= n; i++) {
		make_key(key, i);
		CU_ASSERT_EQUAL(kvf_index_insert(&index, key, i ? 0 : KVF_NIL), i);
	}
	CU_ASSERT_EQUAL(kvf_index_entry(&index, 0)->kids, n);
	for (uint32_t i = 1; i <= n; i++)
		kvf_index_remove(&index, i);
	CU_ASSERT_EQUAL(kvf_index_entry(&index, 0)->kids, 0);
	check(&index);
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* verify() must see damage. */
static void test_verify_sees(void)
{
	struct kvf_mem mem;
	struct kvf_index index;
	uint8_t key[32];
	const char *why = NULL;
	struct kvf_entry *e;

	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, 100), KVF_OK);
	for (uint32_t i = 0; i < 50; i++) {
		make_key(key, i);
		kvf_index_insert(&index, key, i ? i - 1 : KVF_NIL);
	}
	check(&index);
	e = kvf_index_entry(&index, 10);
	e->kids++;
	CU_ASSERT_EQUAL(kvf_index_verify(&index, &why), KVF_EINTERNAL);
	CU_ASSERT_PTR_NOT_NULL(why);
	e->kids--;
	e->key[3] ^= 1;
	CU_ASSERT_EQUAL(kvf_index_verify(&index, NULL), KVF_EINTERNAL);
	e->key[3] ^= 1;
	e->state = KVF_ENTRY_FREE;
	CU_ASSERT_EQUAL(kvf_index_verify(&index, &why), KVF_EINTERNAL);
	e->state = 9;
	CU_ASSERT_EQUAL(kvf_index_verify(&index, &why), KVF_EINTERNAL);
	e->state = KVF_ENTRY_FILLING;
	index.n++;
	CU_ASSERT_EQUAL(kvf_index_verify(&index, &why), KVF_EINTERNAL);
	index.n--;
	index.live++;
	CU_ASSERT_EQUAL(kvf_index_verify(&index, &why), KVF_EINTERNAL);
	index.live--;
	index.free_head = 3;
	CU_ASSERT_EQUAL(kvf_index_verify(&index, &why), KVF_EINTERNAL);
	index.free_head = KVF_NIL;
	e->parent = 1000;
	CU_ASSERT_EQUAL(kvf_index_verify(&index, &why), KVF_EINTERNAL);
	e->parent = 9;
	for (uint32_t c = 0; c < index.table.size; c++) {
		struct kvf_index_cell was = index.table.cell[c];

		if (!was.fingerprint)
			continue;
		index.table.cell[c].fingerprint = 0;
		CU_ASSERT_EQUAL(kvf_index_verify(&index, &why), KVF_EINTERNAL);
		index.table.cell[c] = was;
		index.table.cell[c].entry = (was.entry + 1) % 50;
		CU_ASSERT_EQUAL(kvf_index_verify(&index, &why), KVF_EINTERNAL);
		index.table.cell[c] = was;
	}
	check(&index);
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* Keys that are not there, then keys that are, in one and the same place: what one search left behind does not answer
 * the next one. */
static void test_search_after_search(void)
{
	static const uint32_t lengths[] = { 1, 2, 63, 64, 65, 127, 128, 129, 300 };
	enum { MOST = 300 };
	static uint8_t keys[2][MOST][32];
	uint32_t out[MOST];
	struct kvf_mem mem;
	struct kvf_index index;

	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, MOST), KVF_OK);
	for (uint32_t i = 0; i < MOST; i++) {
		make_key(keys[0][i], MOST + i);
		make_key(keys[1][i], i);
		CU_ASSERT_EQUAL(kvf_index_insert(&index, keys[1][i], KVF_NIL), i);
		kvf_index_entry(&index, i)->state = KVF_ENTRY_RESIDENT;
	}
	for (uint32_t round = 0; round < 4 * KVF_ARRAY_LEN(lengths); round++) {
		uint32_t n = lengths[round / 4];

		kvf_index_find_many(&index, (const uint8_t(*)[32])keys[round & 1], n, out);
		for (uint32_t i = 0; i < n; i++)
			CU_ASSERT_EQUAL(out[i], round & 1 ? i : KVF_NIL);
		CU_ASSERT_EQUAL(
			kvf_index_resident_prefix(&index, (const uint8_t(*)[32])keys[round & 1], n, out),
			round & 1 ? n : 0);
	}
	/* It ends at the first one that is filled still. */
	for (uint32_t stop = 0; stop < MOST; stop += 23) {
		kvf_index_entry(&index, stop)->state = KVF_ENTRY_FILLING;
		CU_ASSERT_EQUAL(kvf_index_resident_prefix(&index, (const uint8_t(*)[32])keys[1], MOST, NULL), stop);
		kvf_index_entry(&index, stop)->state = KVF_ENTRY_RESIDENT;
	}
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "small", test_small },
		{ "medium", test_medium },
		{ "large", test_large },
		{ "stale_parent", test_stale_parent },
		{ "many_kids", test_many_kids },
		{ "verify_sees", test_verify_sees },
		{ "search_after_search", test_search_after_search },
	};
	return kvf_test_main("index", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
