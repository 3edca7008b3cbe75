/* SPDX-License-Identifier: Apache-2.0 */
/* The index against a naive model, through growth, reuse, crowding and failing memory. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cache/index.h"
#include "kvferry/kvferry.h"
#include "tests/harness.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif

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

/* Key number i of a test: 32 bytes that look random. */
static void make_key(uint8_t key[32], uint64_t i)
{
	uint64_t state = i * 0x2545f4914f6cdd1du + 77;

	for (int w = 0; w < 4; w++) {
		uint64_t x = next_random(&state);

		memcpy(key + 8 * w, &x, sizeof(x));
	}
}

static void check(const struct kvf_index *index)
{
	const char *why = "";
	int rc = kvf_index_verify(index, &why);

	CU_ASSERT_EQUAL(rc, KVF_OK);
	if (rc)
		fprintf(stderr, "    %s\n", why);
}

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

/* A run of keys: mostly present and resident ones. */
static void model_prefix(struct model *m)
{
	enum { MOST = 80 };
	uint8_t keys[MOST][32];
	uint32_t expect[MOST], out[MOST];
	uint32_t n = below(&m->random, MOST + 1);
	uint32_t run = 0;
	bool ended = false;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = below(&m->random, m->n_keys);

		for (int tries = 0; tries < 400 && below(&m->random, 100); tries++) {
			if (m->key[k].entry != KVF_NIL && m->key[k].resident)
				break;
			k = below(&m->random, m->n_keys);
		}
		make_key(keys[i], k);
		if (ended || m->key[k].entry == KVF_NIL || !m->key[k].resident) {
			ended = true;
			continue;
		}
		expect[run++] = m->key[k].entry;
	}
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
		model_prefix(m);
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

/* All keys stay reachable while a big table moves, and removal works on both sides of the frontier. */
static void test_growth(void)
{
	const uint32_t n = 400000;
	struct kvf_mem mem;
	struct kvf_index index;
	uint64_t random = 4;
	uint32_t moving = 0;
	uint8_t key[32];

	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, n), KVF_OK);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t probe;

		make_key(key, i);
		CU_ASSERT_EQUAL_FATAL(kvf_index_insert(&index, key, KVF_NIL), i);
		probe = below(&random, i + 1);
		make_key(key, probe);
		CU_ASSERT_EQUAL(kvf_index_find(&index, key), probe);
		make_key(key, (uint64_t)n + i);
		CU_ASSERT_EQUAL(kvf_index_find(&index, key), KVF_NIL);
		moving += index.old.cell != NULL;
		if (index.old.cell && i % 64 == 0) {
			make_key(key, probe);
			kvf_index_remove(&index, probe);
			CU_ASSERT_EQUAL(kvf_index_find(&index, key), KVF_NIL);
			kvf_index_free(&index, probe);
			CU_ASSERT_EQUAL(kvf_index_insert(&index, key, KVF_NIL), probe);
		}
		if (i % 40000 == 0)
			check(&index);
	}
	CU_ASSERT_TRUE(moving > 1000 && moving < n / 2);
	make_key(key, n);
	CU_ASSERT_EQUAL(kvf_index_insert(&index, key, KVF_NIL), KVF_NIL);
	CU_ASSERT_TRUE(kvf_index_bytes(&index) / n < 96);
	check(&index);
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

static void test_reserve(void)
{
	struct kvf_mem mem;
	struct kvf_index index;
	uint8_t key[32];
	uint32_t i = 0;

	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL(kvf_index_init(&index, &mem, UINT32_MAX), KVF_ENOMEM);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, 10), KVF_OK);
	for (uint32_t cap = 10; cap < 300000; cap *= 3) {
		CU_ASSERT_EQUAL(kvf_index_reserve(&index, cap), KVF_OK);
		CU_ASSERT_EQUAL(kvf_index_reserve(&index, cap / 2), KVF_OK);
		CU_ASSERT_EQUAL(index.cap, cap);
		for (; i < cap; i++) {
			make_key(key, i);
			CU_ASSERT_EQUAL(kvf_index_insert(&index, key, i ? i - 1 : KVF_NIL), i);
		}
		make_key(key, i);
		CU_ASSERT_EQUAL(kvf_index_insert(&index, key, KVF_NIL), KVF_NIL);
		check(&index);
	}
	CU_ASSERT_EQUAL(kvf_index_reserve(&index, UINT32_MAX), KVF_ENOMEM);
	for (uint32_t j = 0; j < i; j++) {
		make_key(key, j);
		CU_ASSERT_EQUAL(kvf_index_find(&index, key), j);
	}
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
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

/* A key whose fingerprint is as wanted: the index multiplies by an odd constant, this divides by it. */
static void make_crowded(uint8_t key[32], uint32_t fingerprint, uint64_t i)
{
	const uint64_t k = 0x9e3779b97f4a7c15u;
	uint64_t inverse = k;
	uint64_t a, b = i * 0x2545f4914f6cdd1du;

	for (int r = 0; r < 6; r++)
		inverse *= 2 - k * inverse;
	a = (((uint64_t)fingerprint << 32) * inverse) ^ (b << 1);
	memset(key, 0, 32);
	memcpy(key, &a, sizeof(a));
	memcpy(key + 8, &b, sizeof(b));
}

/* Keys made to collide are refused before probing gets long, the others are not harmed, in the middle and at the end. */
static void test_crowding(void)
{
	static const uint32_t crowd_at[] = { 0, 1, 0x80000000u, 0xfffffff0u, UINT32_MAX };
	const uint32_t n = 60000;
	struct kvf_mem mem;
	struct kvf_index index;
	uint8_t key[32];

	kvf_mem_init(&mem, NULL);
	for (size_t w = 0; w < KVF_ARRAY_LEN(crowd_at); w++) {
		uint32_t crowd = 0, refused = 0, harmed = 0;

		CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, n), KVF_OK);
		for (uint32_t i = 0; i < n; i++) {
			bool made = i > 2000 && i % 8 == 0;

			if (made)
				make_crowded(key, crowd_at[w], i);
			else
				make_key(key, i);
			if (kvf_index_insert(&index, key, KVF_NIL) == KVF_NIL) {
				refused++;
				harmed += !made;
			} else {
				crowd += made;
			}
			if (i % 10000 == 0)
				check(&index);
		}
		CU_ASSERT_TRUE(crowd >= 300 && crowd <= 2000);
		CU_ASSERT_TRUE(harmed <= n / 50);
		CU_ASSERT_EQUAL(index.n, n - refused);
		check(&index);
		for (uint32_t e = 0; e < index.used; e++) {
			memcpy(key, kvf_index_entry(&index, e)->key, 16);
			kvf_index_remove(&index, e);
			CU_ASSERT_EQUAL(kvf_index_find(&index, key), KVF_NIL);
			if (e % 5000 == 0)
				check(&index);
		}
		CU_ASSERT_EQUAL(index.n, 0);
		kvf_index_fini(&index);
	}
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

struct fuse {
	uint64_t left; /* allocations that still succeed */
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

/* Every allocation of growth fails once: inserts go on to nine tenths, then are refused, then go on when there is memory. */
static void test_no_memory(void)
{
	for (uint64_t k = 0; k < 8; k++) {
		struct fuse fuse = { .left = k };
		struct kvf_allocator allocator = {
			.alloc = fuse_alloc, .release = fuse_release, .user = &fuse
		};
		struct kvf_mem mem;
		struct kvf_index index;
		uint8_t key[32];
		uint32_t i = 0;

		kvf_mem_init(&mem, &allocator);
		if (k == 0) {
			CU_ASSERT_EQUAL(kvf_index_init(&index, &mem, 30000), KVF_ENOMEM);
			continue;
		}
		CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, 30000), KVF_OK);
		for (; i < 30000; i++) {
			make_key(key, i);
			if (kvf_index_insert(&index, key, KVF_NIL) == KVF_NIL)
				break;
		}
		CU_ASSERT_EQUAL(i, k == 8 ? 30000 : (uint64_t)(128u << k) * 9 / 10);
		CU_ASSERT_EQUAL(index.n, i);
		check(&index);
		fuse.left = 100;
		for (; i < 30000; i++) {
			uint32_t e;

			make_key(key, i);
			e = kvf_index_insert(&index, key, KVF_NIL);
			for (int again = 0; e == KVF_NIL && again < 600; again++) {
				/* It asks again every so many inserts, refused ones included. */
				e = kvf_index_insert(&index, key, KVF_NIL);
			}
			CU_ASSERT_NOT_EQUAL_FATAL(e, KVF_NIL);
		}
		check(&index);
		kvf_index_fini(&index);
		CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
	}
}

/* Mapping fails too: of the entries at init and at reserve. */
static void test_no_address_space(void)
{
#ifdef HAVE_ASAN
	kvf_test_skip("AddressSanitizer owns the address space");
#else
	struct rlimit was, tight;
	struct kvf_mem mem;
	struct kvf_index index;
	int rc_init, rc_reserve, rc_big;

	if (getrlimit(RLIMIT_AS, &was)) {
		kvf_test_skip("address space cannot be limited here");
		return;
	}
	tight = was;
	tight.rlim_cur = (rlim_t)2 << 30;
	kvf_mem_init(&mem, NULL);
	setrlimit(RLIMIT_AS, &tight);
	rc_big = kvf_index_init(&index, &mem, 100000000);
	rc_init = kvf_index_init(&index, &mem, 100);
	rc_reserve = kvf_index_reserve(&index, 100000000);
	setrlimit(RLIMIT_AS, &was);
	CU_ASSERT_EQUAL(rc_big, KVF_ENOMEM);
	CU_ASSERT_EQUAL(rc_init, KVF_OK);
	CU_ASSERT_EQUAL(rc_reserve, KVF_ENOMEM);
	CU_ASSERT_EQUAL(index.cap, 100);
	check(&index);
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
#endif
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

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "small", test_small },
		{ "medium", test_medium },
		{ "large", test_large },
		{ "growth", test_growth },
		{ "reserve", test_reserve },
		{ "stale_parent", test_stale_parent },
		{ "many_kids", test_many_kids },
		{ "crowding", test_crowding },
		{ "no_memory", test_no_memory },
		{ "no_address_space", test_no_address_space },
		{ "verify_sees", test_verify_sees },
	};
	return kvf_test_main("index", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
