/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The four eviction policies on a real trace, against tests/interop/lru_model.py, which shares no
 * code with us: token hit rates within 0.1 points, at 1,000 and at 10,000 chunks.
 *
 * Needs KVF_TRACES (a folder with mooncake/conversation_trace.jsonl) and python3.
 */
#include "kvferry/kvf_status.h"
#include "tests/harness.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/evict.h"
#include "cache/index.h"
#include "workload/workload.h"

#define BLOCK 512u
#define MAX_CHUNKS 4096u

struct cache {
	struct kvf_mem mem;
	struct kvf_index index;
	struct kvf_evict evict;
	uint32_t capacity, n;
	uint64_t hit_tokens, prompt_tokens;
};

static const char *trace_path(char *path, size_t size)
{
	const char *root = getenv("KVF_TRACES");

	snprintf(path, size, "%s/mooncake/conversation_trace.jsonl", root ? root : "");
	if (!root || access(path, R_OK) != 0) {
		kvf_test_skip("KVF_TRACES names no folder with mooncake/conversation_trace.jsonl");
		return NULL;
	}
	if (system("command -v python3 >/dev/null") != 0) {
		kvf_test_skip("no python3: nothing to compare with");
		return NULL;
	}
	return path;
}

static void make_key(uint8_t key[32], uint64_t block)
{
	uint64_t x[4];

	for (unsigned i = 0; i < 4; i++) {
		x[i] = block + i * 0x9e3779b97f4a7c15u + 1;
		x[i] = (x[i] ^ (x[i] >> 30)) * 0xbf58476d1ce4e5b9u;
		x[i] = (x[i] ^ (x[i] >> 27)) * 0x94d049bb133111ebu;
		x[i] ^= x[i] >> 31;
	}
	memcpy(key, x, sizeof(x));
}

static void evict_one(struct cache *c)
{
	uint32_t victim = kvf_evict_victim(&c->evict);
	uint32_t parent;

	CU_ASSERT_NOT_EQUAL_FATAL(victim, KVF_NIL);
	parent = kvf_index_parent(&c->index, victim);
	kvf_evict_remove(&c->evict, victim);
	kvf_index_remove(&c->index, victim);
	kvf_index_free(&c->index, victim);
	if (parent != KVF_NIL)
		kvf_evict_release(&c->evict, parent);
	c->n--;
}

static void insert(struct cache *c, const uint8_t *key, const uint8_t *parent_key)
{
	uint32_t parent = parent_key ? kvf_index_find(&c->index, parent_key) : KVF_NIL;
	uint32_t entry;

	if (c->n == c->capacity)
		evict_one(c);
	/* Making room may have taken it. */
	if (parent != KVF_NIL)
		parent = kvf_index_find(&c->index, parent_key);
	entry = kvf_index_insert(&c->index, key, parent);
	CU_ASSERT_NOT_EQUAL_FATAL(entry, KVF_NIL);
	kvf_index_entry(&c->index, entry)->state = KVF_ENTRY_RESIDENT;
	CU_ASSERT_EQUAL(kvf_evict_insert(&c->evict, entry), KVF_OK);
	c->n++;
}

/* As the engine does: a retrieve touches what it found, a store brings the rest. */
static void use(struct cache *c, const struct wl_request *r)
{
	static uint8_t key[MAX_CHUNKS][32];
	static uint32_t path[MAX_CHUNKS];
	uint32_t n = (uint32_t)(r->prompt_tokens / BLOCK);
	uint32_t hit = 0;

	CU_ASSERT_FATAL(n <= MAX_CHUNKS);
	for (uint32_t i = 0; i < n; i++)
		make_key(key[i], r->blocks[i]);
	while (hit < n && (path[hit] = kvf_index_find(&c->index, key[hit])) != KVF_NIL)
		hit++;
	c->hit_tokens += (uint64_t)hit * BLOCK;
	c->prompt_tokens += r->prompt_tokens;
	kvf_evict_touch(&c->evict, path, hit);
	for (uint32_t i = hit; i < n; i++) {
		if (kvf_index_find(&c->index, key[i]) == KVF_NIL)
			insert(c, key[i], i ? key[i - 1] : NULL);
	}
	if (c->evict.policy != KVF_POLICY_LRU)
		return;
	for (uint32_t i = 0; i < n; i++)
		path[i] = kvf_index_find(&c->index, key[i]);
	kvf_evict_touch(&c->evict, path, n);
}

static double ours(const char *path, enum kvf_policy policy, uint32_t capacity)
{
	struct wl_options options = {.sources = &path, .source_count = 1};
	struct workload *w = NULL;
	struct wl_request r;
	struct cache c = {.capacity = capacity};
	const char *why = "";
	double rate;

	kvf_mem_init(&c.mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&c.index, &c.mem, capacity + 1), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_evict_init(&c.evict, &c.mem, &c.index, policy), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(wl_open(&w, &options, NULL), 0);
	while (wl_next(w, &r) == 1) {
		CU_ASSERT_EQUAL_FATAL(r.block_tokens, BLOCK);
		use(&c, &r);
	}
	wl_close(w);
	CU_ASSERT_EQUAL(kvf_evict_verify(&c.evict, &why), KVF_OK);
	CU_ASSERT_EQUAL(c.n, capacity);
	rate = 100.0 * (double)c.hit_tokens / (double)c.prompt_tokens;
	kvf_evict_fini(&c.evict);
	kvf_index_fini(&c.index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&c.mem), 0);
	return rate;
}

/* Hit rates by the model, in percent. */
static bool theirs(const char *path, const char *policy, double rate[2])
{
	char command[2400], line[512];
	bool ok = true;
	FILE *in;

	snprintf(command, sizeof(command),
		"python3 '%s/tests/interop/lru_model.py' --json --policy %s '%s' 1000 10000",
		kvf_test_srcdir(), policy, path);
	in = popen(command, "r");
	for (unsigned i = 0; i < 2 && in && ok; i++) {
		const char *at = NULL;

		ok = fgets(line, sizeof(line), in) && (at = strstr(line, "\"hit_rate\": "));
		if (ok)
			rate[i] = 100.0 * strtod(at + strlen("\"hit_rate\": "), NULL);
	}
	return in && pclose(in) == 0 && ok;
}

static void compare(enum kvf_policy policy, const char *name)
{
	static const uint32_t chunks[] = {1000, 10000};
	char path[1024];
	double model[2] = {0, 0};

	if (!trace_path(path, sizeof(path)))
		return;
	CU_ASSERT_FATAL(theirs(path, name, model));
	for (unsigned i = 0; i < 2; i++) {
		double rate = ours(path, policy, chunks[i]);

		printf("\n%s %u chunks: %.3f %%, model %.3f %%", name, chunks[i], rate, model[i]);
		CU_ASSERT(rate > 0.5);
		CU_ASSERT(rate - model[i] < 0.1 && model[i] - rate < 0.1);
	}
}

static void test_lru(void)
{
	compare(KVF_POLICY_LRU, "lru");
}

static void test_lfu(void)
{
	compare(KVF_POLICY_LFU, "lfu");
}

static void test_fifo(void)
{
	compare(KVF_POLICY_FIFO, "fifo");
}

static void test_mru(void)
{
	compare(KVF_POLICY_MRU, "mru");
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"lru", test_lru},
		{"lfu", test_lfu},
		{"fifo", test_fifo},
		{"mru", test_mru},
	};

	return kvf_test_main("policies_trace", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
