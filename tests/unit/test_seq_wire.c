/* SPDX-License-Identifier: Apache-2.0 */
/* LMCache's hashes beside the keys of a sequence: the same whatever way the tokens came and went, and none where
 * LMCache has no name that is this chunk's alone. */
#include "tests/harness.h"
#include "tests/sim/simmem.h"
#include "token/seq.h"

#include <stdlib.h>
#include <string.h>

#define SIZE 4u
#define MOST 64u

static struct kvf_mem mem;
static struct kvf_seq_env env;
static struct kvf_seq_wiring wiring;
static char detail[256];

static void begin(enum kvf_wire_algo algo, enum kvf_wire_form form)
{
	struct kvf_wire_config config = { .algo = algo, .form = form, .seed = "0" };

	kvf_mem_init(&mem, NULL);
	memset(&env, 0, sizeof(env));
	env.mem = &mem;
	env.chunk_size = SIZE;
	env.detail = detail;
	env.detail_size = sizeof(detail);
	kvf_list_init(&env.all);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_wiring_init(&wiring, &config, NULL), KVF_OK);
	env.wiring = &wiring;
}

static void end(void)
{
	CU_ASSERT_EQUAL(env.n_open, 0);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

static struct kvf_seq *open_seq(const struct kvf_seq_params *params)
{
	struct kvf_seq *seq = NULL;

	CU_ASSERT_EQUAL_FATAL(kvf_seq_new(&env, params, &seq), KVF_OK);
	return seq;
}

static void add(struct kvf_seq *seq, uint32_t first, uint32_t n)
{
	uint32_t tokens[MOST];

	for (uint32_t i = 0; i < n; i++)
		tokens[i] = first + i;
	CU_ASSERT_EQUAL(kvf_seq_add(seq, tokens, n), KVF_OK);
}

/* Chunk `chunk` of 1, 2, 3, ... by the chain alone; the last one of n tokens. */
static void expect(uint32_t chunk, uint32_t n, char *text)
{
	struct kvf_wire_chain chain = wiring.start;
	struct kvf_wire_hash hash;
	uint32_t tokens[SIZE];

	for (uint32_t i = 0; i <= chunk; i++) {
		for (uint32_t k = 0; k < SIZE; k++)
			tokens[k] = i * SIZE + k + 1;
		CU_ASSERT_EQUAL(kvf_wire_chain_next(&chain, tokens, i == chunk ? n : SIZE, &hash), KVF_OK);
	}
	kvf_wire_hash_print(&hash, text, KVF_WIRE_HASH_TEXT);
}

static void check_packed(const uint8_t *packed, uint32_t chunk, uint32_t n)
{
	char want[KVF_WIRE_HASH_TEXT], got[KVF_WIRE_HASH_TEXT];
	struct kvf_wire_hash hash;

	kvf_wire_unpack(&wiring, packed, &hash);
	kvf_wire_hash_print(&hash, got, sizeof(got));
	expect(chunk, n, want);
	CU_ASSERT_STRING_EQUAL(got, want);
}

static void check(const struct kvf_seq *seq, uint32_t chunks)
{
	CU_ASSERT_EQUAL(seq->n_chunks, chunks);
	CU_ASSERT(seq->wire_end > chunks);
	for (uint32_t i = 0; i < chunks; i++)
		check_packed(seq->wire->key[i], i, SIZE);
}

static void test_any_split(void)
{
	static const struct {
		enum kvf_wire_algo algo;
		enum kvf_wire_form form;
	} all[] = { { KVF_WIRE_BUILTIN, KVF_WIRE_IP },	   { KVF_WIRE_SHA256, KVF_WIRE_IP },
		    { KVF_WIRE_SHA256_CBOR, KVF_WIRE_IP }, { KVF_WIRE_XXHASH, KVF_WIRE_MP },
		    { KVF_WIRE_BLAKE3, KVF_WIRE_MP },	   { KVF_WIRE_SHA256_CBOR, KVF_WIRE_MP } };

	for (size_t a = 0; a < KVF_ARRAY_LEN(all); a++) {
		begin(all[a].algo, all[a].form);
		for (uint32_t step = 1; step <= 11; step++) {
			struct kvf_seq *seq = open_seq(NULL);
			uint8_t tail[KVF_KEY_BYTES];

			for (uint32_t at = 0; at < 27; at += step)
				add(seq, at + 1, at + step > 27 ? 27 - at : step);
			check(seq, 6);
			CU_ASSERT(kvf_seq_wire_tail(seq, tail));
			check_packed(tail, 6, 3);
			kvf_seq_free(seq);
		}
		end();
	}
}

/* Forks and their parents, cut and grown again. */
static void test_fork_and_cut(void)
{
	struct kvf_seq *a, *b, *c;
	uint32_t other[SIZE] = { 900, 901, 902, 903 };

	begin(KVF_WIRE_BUILTIN, KVF_WIRE_IP);
	a = open_seq(NULL);
	add(a, 1, 26);
	CU_ASSERT_EQUAL(kvf_seq_dup(a, &b), KVF_OK);
	CU_ASSERT_PTR_EQUAL(a->wire, b->wire);
	add(a, 27, 20);
	CU_ASSERT_EQUAL(kvf_seq_cut(b, 12), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_add(b, other, SIZE), KVF_OK);
	check(a, 11);
	CU_ASSERT_EQUAL(kvf_seq_dup(b, &c), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_cut(b, 12), KVF_OK);
	add(b, 13, 30);
	check(b, 10);
	check(a, 11);
	CU_ASSERT_EQUAL(kvf_seq_cut(c, 12), KVF_OK);
	check(c, 3);
	kvf_seq_free(a);
	kvf_seq_free(b);
	kvf_seq_free(c);
	end();
}

/* From the first chunk on that content touches there is no name; with the content gone there is one again. */
static void test_content_ids(void)
{
	static const uint8_t id[16] = { 1 };
	uint8_t tail[KVF_KEY_BYTES];
	struct kvf_seq *seq;

	begin(KVF_WIRE_SHA256, KVF_WIRE_IP);
	seq = open_seq(NULL);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 9, 2, id), KVF_OK);
	add(seq, 1, 10);
	CU_ASSERT_FALSE(kvf_seq_wire_tail(seq, tail));
	add(seq, 11, 10);
	CU_ASSERT_EQUAL(seq->wire_end, 2);
	check_packed(seq->wire->key[1], 1, SIZE);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 8), KVF_OK);
	add(seq, 9, 12);
	check(seq, 5);
	kvf_seq_free(seq);
	end();
}

static void test_suffix(void)
{
	static const struct kvf_tag tags[] = { { "a", "x" }, { "b", NULL } };
	struct kvf_seq_params p = { .size = sizeof(p), .tags = tags, .n_tags = 2 };
	struct kvf_seq *seq, *copy;

	begin(KVF_WIRE_BUILTIN, KVF_WIRE_IP);
	seq = open_seq(&p);
	CU_ASSERT_FATAL(seq->wire && seq->suffix);
	CU_ASSERT_EQUAL(seq->suffix->n, 7);
	CU_ASSERT_NSTRING_EQUAL(seq->suffix->text, "@a%x@b%", 7);
	CU_ASSERT_EQUAL(kvf_seq_dup(seq, &copy), KVF_OK);
	CU_ASSERT_PTR_EQUAL(copy->suffix, seq->suffix);
	kvf_seq_free(seq);
	kvf_seq_free(copy);
	end();
	begin(KVF_WIRE_BLAKE3, KVF_WIRE_MP);
	seq = open_seq(&p);
	CU_ASSERT_PTR_NULL(seq->wire); /* no tags there */
	kvf_seq_free(seq);
	p = (struct kvf_seq_params){ .size = sizeof(p), .salt = "tenant" };
	seq = open_seq(&p);
	CU_ASSERT_FATAL(seq->wire && seq->suffix);
	CU_ASSERT_NSTRING_EQUAL(seq->suffix->text, "@tenant", 7);
	kvf_seq_free(seq);
	end();
}

static void test_nameless(void)
{
	struct kvf_seq_params salted = { .size = sizeof(salted), .salt = "t" };
	struct kvf_seq_params adapted = { .size = sizeof(adapted), .adapter = "lora" };
	uint8_t keys[2][KVF_KEY_BYTES] = { { 1 }, { 2 } };
	uint8_t tail[KVF_KEY_BYTES];
	struct kvf_seq *seq;

	begin(KVF_WIRE_BUILTIN, KVF_WIRE_IP);
	seq = open_seq(&salted);
	CU_ASSERT_PTR_NULL(seq->wire);
	add(seq, 1, 9);
	CU_ASSERT_FALSE(kvf_seq_wire_tail(seq, tail));
	kvf_seq_free(seq);
	seq = open_seq(&adapted);
	CU_ASSERT_PTR_NULL(seq->wire);
	kvf_seq_free(seq);
	seq = open_seq(NULL);
	CU_ASSERT_EQUAL(kvf_seq_add_keys(seq, (const uint8_t (*)[KVF_KEY_BYTES])keys, 2), KVF_OK);
	CU_ASSERT_PTR_NULL(seq->wire);
	kvf_seq_free(seq);
	env.wiring = NULL;
	seq = open_seq(NULL);
	add(seq, 1, 9);
	CU_ASSERT_PTR_NULL(seq->wire);
	kvf_seq_free(seq);
	end();
}

/* Every allocation fails once; nothing leaks and the sequence is as it was. */
static void test_no_memory(void)
{
	static const struct kvf_tag tag = { "a", "x" };
	struct kvf_seq_params p = { .size = sizeof(p), .tags = &tag, .n_tags = 1 };
	uint32_t tokens[MOST * SIZE];
	struct simmem host;

	for (uint32_t i = 0; i < MOST * SIZE; i++)
		tokens[i] = i + 1;
	for (unsigned k = 0; k < 12; k++) {
		struct kvf_seq *seq = NULL;

		begin(KVF_WIRE_BUILTIN, KVF_WIRE_IP);
		simmem_init(&host, 1);
		simmem_allow(&host, k);
		kvf_mem_init(&mem, &host.allocator);
		if (!kvf_seq_new(&env, &p, &seq)) {
			if (kvf_seq_add(seq, tokens, MOST * SIZE) != KVF_OK) {
				CU_ASSERT_EQUAL(seq->n_tokens, 0);
				simmem_allow(&host, SIMMEM_ANY);
				CU_ASSERT_EQUAL(kvf_seq_add(seq, tokens, MOST * SIZE), KVF_OK);
			}
			check(seq, MOST);
			kvf_seq_free(seq);
		}
		end();
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "any_split", test_any_split },     { "fork_and_cut", test_fork_and_cut },
		{ "content_ids", test_content_ids }, { "suffix", test_suffix },
		{ "nameless", test_nameless },	     { "no_memory", test_no_memory },
	};

	return kvf_test_main("seq_wire", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
