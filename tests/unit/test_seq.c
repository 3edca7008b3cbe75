/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of sequences, one by one. Random scripts are in test_seq_script.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/support/seq_model.h"
#include "tests/support/seq_rig.h"
#include "token/seq.h"

/* The key of every chunk, the open one included. */
static void all_keys(struct kvf_seq *seq, struct model_bytes *out)
{
	out->n = 0;
	model_put(out, seq->keys->key, (size_t)seq->n_chunks * 32);
	if (seq->n_tokens % seq->env->chunk_size)
		model_put(out, kvf_seq_tail_key(seq), 32);
}

static bool same_keys(struct kvf_seq *a, struct kvf_seq *b)
{
	struct model_bytes x = {0}, y = {0};
	bool same;

	all_keys(a, &x);
	all_keys(b, &y);
	same = a->n_tokens == b->n_tokens && x.n == y.n && (!x.n || memcmp(x.at, y.at, x.n) == 0);
	free(x.at);
	free(y.at);
	return same;
}

static void test_any_split(void)
{
	uint32_t tokens[1000];
	uint8_t id[16] = {4};
	struct kvf_seq *whole, *parts;
	size_t wrong = 0, at, n;
	struct rig r;

	rig_init(&r, 16);
	random_tokens(&r, tokens, 1000);
	for (unsigned int round = 0; round < 300; round++) {
		whole = rig_open(&r);
		parts = rig_open(&r);
		n = 1 + rng(&r, 1000);
		kvf_seq_add_extra(whole, 20, 40, id);
		kvf_seq_add_extra(whole, 60, 1, id);
		kvf_seq_add_extra(parts, 60, 1, id);
		kvf_seq_add_extra(parts, 20, 40, id);
		kvf_seq_add(whole, tokens, n);
		for (at = 0; at < n;) {
			size_t part = kvf_min_u64(n - at, rng(&r, round % 3 ? 40 : 300));

			kvf_seq_add(parts, tokens + at, part);
			at += part;
			if (rng(&r, 4) == 0 && parts->n_tokens % 16)
				kvf_seq_tail_key(parts);
		}
		wrong += !same_keys(whole, parts);
		kvf_seq_free(whole);
		kvf_seq_free(parts);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	rig_fini(&r);
}

static void test_cut_rules(void)
{
	uint32_t tokens[100];
	struct kvf_seq *seq;
	struct rig r;

	rig_init(&r, 10);
	random_tokens(&r, tokens, 100);
	seq = rig_open(&r);
	kvf_seq_add(seq, tokens, 55);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 56), KVF_EINVAL);
	CU_ASSERT_STRING_EQUAL(r.detail, "n_tokens: 56, the length is 55");
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 39), KVF_EINVAL);
	CU_ASSERT_STRING_EQUAL(r.detail,
		"n_tokens: 39 lies in chunk 3, whose tokens are not kept: only a "
		"multiple of 10, or from 40 to 55");
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 55), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 51), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 48), KVF_OK); /* the last full one is open again */
	CU_ASSERT_EQUAL(seq->n_chunks, 4);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 41), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 39), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 40), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 39), KVF_EINVAL);
	CU_ASSERT_EQUAL(seq->n_tokens, 40);
	CU_ASSERT_EQUAL(kvf_seq_add(seq, tokens + 40, 10), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 49), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 20), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 0), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 0), KVF_OK);
	kvf_seq_free(seq);
	rig_fini(&r);
}

static void test_memo(void)
{
	uint32_t tokens[100] = {0};
	struct kvf_seq *seq, *fork;
	struct rig r;

	rig_init(&r, 10);
	seq = rig_open(&r);
	kvf_seq_add(seq, tokens, 55);
	seq->epoch = 7;
	seq->resident = 5;
	CU_ASSERT_EQUAL(kvf_seq_dup(seq, &fork), KVF_OK);
	CU_ASSERT_EQUAL(fork->resident, 5);
	CU_ASSERT_EQUAL(fork->epoch, 7);
	kvf_seq_cut(seq, 51);
	CU_ASSERT_EQUAL(seq->resident, 5);
	kvf_seq_cut(seq, 49);
	CU_ASSERT_EQUAL(seq->resident, 4);
	kvf_seq_cut(seq, 20);
	CU_ASSERT_EQUAL(seq->resident, 2);
	kvf_seq_add(seq, tokens, 55);
	CU_ASSERT_EQUAL(seq->resident, 2);
	CU_ASSERT_EQUAL(fork->resident, 5);
	kvf_seq_free(seq);
	kvf_seq_free(fork);
	rig_fini(&r);
}

static void test_host_keys(void)
{
	uint8_t keys[3][32] = {{1}, {2}, {3}}, id[16] = {1};
	const uint8_t(*k)[32] = (const uint8_t(*)[32])keys;
	uint32_t tokens[20] = {0};
	struct kvf_seq *seq, *other;
	struct rig r;

	rig_init(&r, 10);
	seq = rig_open(&r);
	CU_ASSERT_EQUAL(kvf_seq_add_keys(seq, NULL, 0), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_add_keys(seq, k, 3), KVF_OK);
	CU_ASSERT_EQUAL(seq->n_tokens, 30);
	CU_ASSERT_EQUAL(memcmp(seq->keys->key, keys, sizeof(keys)), 0);
	CU_ASSERT_EQUAL(kvf_seq_add(seq, tokens, 1), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 30, 1, id), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 25), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 20), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_add_keys(seq, k, 1), KVF_OK);
	CU_ASSERT_EQUAL(seq->keys->key[2][0], 1);
	other = rig_open(&r);
	kvf_seq_add(other, tokens, 20);
	CU_ASSERT_EQUAL(kvf_seq_add_keys(other, k, 1), KVF_EINVAL);
	kvf_seq_cut(other, 0);
	CU_ASSERT_EQUAL(kvf_seq_add_keys(other, k, 1), KVF_EINVAL);
	kvf_seq_free(other);
	other = rig_open(&r);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(other, 30, 1, id), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_add_keys(other, k, 1), KVF_EINVAL);
	CU_ASSERT_STRING_EQUAL(r.detail, "keys: 1 content ids wait for tokens");
	kvf_seq_free(other);
	kvf_seq_free(seq);
	rig_fini(&r);
}

static void test_too_long(void)
{
	uint8_t(*keys)[32] = calloc(2048, 32);
	uint32_t tokens[20] = {0};
	uint8_t id[16] = {0};
	struct kvf_seq *seq;
	struct rig r;

	rig_init(&r, 10);
	seq = rig_open(&r);
	/* Refused before a token is read. */
	CU_ASSERT_EQUAL(kvf_seq_add(seq, tokens, ((size_t)1 << 31) + 1), KVF_ERANGE);
	kvf_seq_add(seq, tokens, 15);
	CU_ASSERT_EQUAL(kvf_seq_add(seq, tokens, ((size_t)1 << 31) - 14), KVF_ERANGE);
	CU_ASSERT_STRING_EQUAL(
		r.detail, "n: 2147483634 tokens after 15, at most 2147483648 in all");
	CU_ASSERT_EQUAL(kvf_seq_add(seq, tokens, SIZE_MAX), KVF_ERANGE);
	CU_ASSERT_EQUAL(seq->n_tokens, 15);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, (size_t)1 << 31, 1, id), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, SIZE_MAX, 2, id), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 15, SIZE_MAX, id), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, ((size_t)1 << 31) - 1, 1, id), KVF_OK);
	kvf_seq_free(seq);
	r.env.chunk_size = 1u << 20;
	seq = rig_open(&r);
	CU_ASSERT_EQUAL(kvf_seq_add_keys(seq, (const uint8_t(*)[32])keys, 2048), KVF_OK);
	CU_ASSERT_EQUAL(seq->n_tokens, (uint64_t)1 << 31);
	CU_ASSERT_EQUAL(kvf_seq_add_keys(seq, (const uint8_t(*)[32])keys, 1), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_seq_add_keys(seq, (const uint8_t(*)[32])keys, SIZE_MAX), KVF_EINVAL);
	kvf_seq_free(seq);
	rig_fini(&r);
	free(keys);
}

static void test_extra_rules(void)
{
	uint32_t tokens[100] = {0};
	uint8_t id[16] = {1};
	struct kvf_seq *seq, *plain;
	struct rig r;

	rig_init(&r, 10);
	seq = rig_open(&r);
	plain = rig_open(&r);
	kvf_seq_add(seq, tokens, 5);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 4, 3, id), KVF_EINVAL);
	CU_ASSERT_STRING_EQUAL(r.detail, "first: token 4 is appended already, the length is 5");
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 5, 0, id), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 10, 10, id), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 19, 1, id), KVF_EINVAL);
	CU_ASSERT_STRING_EQUAL(
		r.detail, "first, n: tokens [19, +1) overlap the content at [10, +10)");
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 5, 6, id), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 5, 30, id), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 20, 1, id), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 5, 5, id), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 80, 10, id), KVF_OK);
	CU_ASSERT_EQUAL(seq->n_extras, 4);
	kvf_seq_add(seq, tokens, 95);
	CU_ASSERT_EQUAL(seq->n_extras, 0); /* nothing can bring those chunks back */
	/* A truncate forgets what lies behind it, and cuts what reaches across. */
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 0), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 0, 8, id), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_add_extra(seq, 9, 90, id), KVF_OK);
	kvf_seq_add(seq, tokens, 15);
	CU_ASSERT_EQUAL(kvf_seq_cut(seq, 6), KVF_OK);
	kvf_seq_add(seq, tokens, 14);
	kvf_seq_add_extra(plain, 0, 6, id);
	kvf_seq_add(plain, tokens, 20);
	CU_ASSERT(same_keys(seq, plain));
	kvf_seq_add_extra(plain, 20, 15, id);
	kvf_seq_add(plain, tokens, 15);
	CU_ASSERT_EQUAL(plain->n_extras, 1);
	kvf_seq_cut(plain, 30);
	CU_ASSERT_EQUAL(plain->n_extras, 1);
	kvf_seq_cut(plain, 20);
	CU_ASSERT_EQUAL(plain->n_extras, 0);
	kvf_seq_add_extra(plain, 25, 13, id);
	kvf_seq_add(plain, tokens, 25);
	CU_ASSERT_EQUAL(plain->n_extras, 1);
	kvf_seq_cut(plain, 30);
	CU_ASSERT_EQUAL(plain->n_extras, 0); /* cut to [25, 30), in a chunk that is closed for good */
	kvf_seq_free(seq);
	kvf_seq_free(plain);
	rig_fini(&r);
}

/* ---------------------------------------------------------------------------------------------- */

static int open_with(struct rig *r, const struct kvf_seq_params *p, struct kvf_seq **seq)
{
	int status;

	*seq = NULL;
	r->detail[0] = '\0';
	status = kvf_seq_new(&r->env, p, seq);
	CU_ASSERT_EQUAL((*seq != NULL), (status == KVF_OK));
	CU_ASSERT_EQUAL((r->detail[0] == '\0'), (status == KVF_OK));
	return status;
}

static void test_open_refuses(void)
{
	static const char want_at[] =
		"salt: byte 0x40 ('@') at position 2: none of @ % / \\ is allowed";
	static const char want_nl[] =
		"tags[1].value: byte 0x0a at position 1: control characters are not allowed";
	struct kvf_tag tags[17] = {{"a", "b"}, {"c", "d"}};
	struct kvf_seq_params p = {.size = sizeof(p), .tags = tags};
	char text[1100], name[2] = {0};
	struct kvf_seq *seq;
	struct rig r;

	rig_init(&r, 16);
	memset(text, 'x', sizeof(text));
	text[129] = '\0';
	p.salt = text;
	CU_ASSERT_EQUAL(open_with(&r, &p, &seq), KVF_ERANGE);
	CU_ASSERT_STRING_EQUAL(r.detail, "salt: longer than 128 bytes");
	p.salt = "ab@c";
	CU_ASSERT_EQUAL(open_with(&r, &p, &seq), KVF_EINVAL);
	CU_ASSERT_STRING_EQUAL(r.detail, want_at);
	p.salt = NULL;
	p.n_tags = 2;
	tags[1].value = "d\n";
	CU_ASSERT_EQUAL(open_with(&r, &p, &seq), KVF_EINVAL);
	CU_ASSERT_STRING_EQUAL(r.detail, want_nl);
	tags[1].value = text;
	CU_ASSERT_EQUAL(open_with(&r, &p, &seq), KVF_ERANGE);
	tags[1] = (struct kvf_tag){"", "x"};
	CU_ASSERT_EQUAL(open_with(&r, &p, &seq), KVF_EINVAL);
	CU_ASSERT_STRING_EQUAL(r.detail, "tags[1].name: empty");
	tags[1].name = NULL;
	CU_ASSERT_EQUAL(open_with(&r, &p, &seq), KVF_EINVAL);
	for (int c = 1; c < 256; c++) {
		bool bad = c < 32 || c == 127 || strchr("@%/\\", c);

		name[0] = (char)c;
		tags[1] = (struct kvf_tag){name, "v"};
		CU_ASSERT_EQUAL(open_with(&r, &p, &seq), bad ? KVF_EINVAL : KVF_OK);
		kvf_seq_free(seq);
	}
	p.n_tags = 17;
	CU_ASSERT_EQUAL(open_with(&r, &p, &seq), KVF_ERANGE);
	CU_ASSERT_STRING_EQUAL(r.detail, "n_tags: 17, at most 16");
	p.n_tags = 1;
	p.tags = NULL;
	CU_ASSERT_EQUAL(open_with(&r, &p, &seq), KVF_EINVAL);
	p.n_tags = 0;
	text[129] = 'x';
	text[1025] = '\0';
	p.adapter = text;
	CU_ASSERT_EQUAL(open_with(&r, &p, &seq), KVF_ERANGE);
	p.adapter = NULL;
	text[64] = '\0';
	p.request_id = text;
	CU_ASSERT_EQUAL(open_with(&r, &p, &seq), KVF_ERANGE);
	CU_ASSERT_STRING_EQUAL(r.detail, "request_id: longer than 63 bytes");
	rig_fini(&r);
}

static void test_open_keeps(void)
{
	struct kvf_tag tags[16] = {{"user", "bob"}, {"team", NULL}};
	struct kvf_seq_params p = {.size = sizeof(p), .tags = tags, .n_tags = 2};
	char salt[129], adapter[1025], id[64];
	struct kvf_seq *seq, *fork;
	struct rig r;

	rig_init(&r, 16);
	memset(salt, 's', sizeof(salt));
	memset(adapter, '@', sizeof(adapter));
	memset(id, 'i', sizeof(id));
	salt[128] = adapter[1024] = id[63] = '\0';
	id[5] = '\n';
	p.salt = salt;
	p.adapter = adapter;
	p.request_id = id;
	CU_ASSERT_EQUAL(open_with(&r, &p, &seq), KVF_OK);
	CU_ASSERT_STRING_EQUAL(seq->salt, salt);
	CU_ASSERT_STRING_EQUAL(seq->tags, "@user%bob@team%");
	CU_ASSERT_EQUAL(seq->request_id[5], '?');
	CU_ASSERT_EQUAL(strlen(seq->request_id), 63);
	CU_ASSERT_EQUAL(kvf_seq_dup(seq, &fork), KVF_OK);
	kvf_seq_free(seq);
	CU_ASSERT_STRING_EQUAL(fork->tags, "@user%bob@team%");
	CU_ASSERT_STRING_EQUAL(fork->salt, salt);
	CU_ASSERT(fork->tenant != 0);
	kvf_seq_free(fork);
	p.salt = "tenant-7";
	CU_ASSERT_EQUAL(open_with(&r, &p, &seq), KVF_OK);
	CU_ASSERT_EQUAL(seq->tenant, 0x55103281); /* the same everywhere, for ever */
	kvf_seq_free(seq);
	p.salt = "";
	CU_ASSERT_EQUAL(open_with(&r, &p, &seq), KVF_OK);
	CU_ASSERT_EQUAL(seq->tenant, 0);
	kvf_seq_free(seq);
	CU_ASSERT_EQUAL(open_with(&r, NULL, &seq), KVF_OK);
	CU_ASSERT_PTR_NULL(seq->tags);
	CU_ASSERT_EQUAL(seq->tenant, 0);
	kvf_seq_free(seq);
	kvf_seq_free(NULL);
	rig_fini(&r);
}

/* Whatever differs between two sequences at their opening differs in all their keys. */
static void test_isolation(void)
{
	static const struct kvf_tag ab[] = {{"a", "1"}, {"b", "2"}},
				    ba[] = {{"b", "2"}, {"a", "1"}};
	static const struct kvf_seq_params p[] = {{.size = sizeof(p[0])},
		{.size = sizeof(p[0]), .salt = "t1"}, {.size = sizeof(p[0]), .salt = "t2"},
		{.size = sizeof(p[0]), .adapter = "t1"},
		{.size = sizeof(p[0]), .tags = ab, .n_tags = 2},
		{.size = sizeof(p[0]), .tags = ba, .n_tags = 2},
		{.size = sizeof(p[0]), .tags = ab, .n_tags = 1}};
	struct kvf_seq *seq[KVF_ARRAY_LEN(p) + 1];
	uint32_t tokens[40] = {0};
	size_t n = KVF_ARRAY_LEN(seq), same = 0;
	struct rig r;

	rig_init(&r, 16);
	for (size_t i = 0; i < n; i++) {
		if (i == n - 1)
			r.env.fingerprint[31] ^= 1;
		CU_ASSERT_EQUAL(kvf_seq_new(&r.env, &p[i % KVF_ARRAY_LEN(p)], &seq[i]), KVF_OK);
		kvf_seq_add(seq[i], tokens, 40);
	}
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < i; j++) {
			for (size_t k = 0; k < 2; k++)
				same += memcmp(seq[i]->keys->key[k], seq[j]->keys->key[k], 32) == 0;
			same += memcmp(kvf_seq_tail_key(seq[i]), kvf_seq_tail_key(seq[j]), 32) == 0;
		}
	CU_ASSERT_EQUAL(same, 0);
	for (size_t i = 0; i < n; i++)
		kvf_seq_free(seq[i]);
	rig_fini(&r);
}

/* A host that opens, appends, forks, truncates and closes: after the first rounds no more malloc.
 */
static void test_steady_state(void)
{
	uint32_t tokens[700] = {0};
	struct kvf_seq *seq, *fork;
	uint64_t warm = 0;
	struct rig r;

	rig_init(&r, 16);
	for (unsigned int i = 0; i < 100; i++) {
		if (i == 2)
			warm = r.mem.host_allocs;
		seq = rig_open(&r);
		kvf_seq_add(seq, tokens, 700);
		CU_ASSERT_EQUAL(kvf_seq_dup(seq, &fork), KVF_OK);
		kvf_seq_cut(seq, 320);
		kvf_seq_add(seq, tokens, 77);
		kvf_seq_add(fork, tokens, 200);
		kvf_seq_free(seq);
		kvf_seq_free(fork);
	}
	CU_ASSERT_EQUAL(r.mem.host_allocs, warm);
	rig_fini(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {{"any_split", test_any_split},
		{"cut_rules", test_cut_rules}, {"memo", test_memo}, {"host_keys", test_host_keys},
		{"too_long", test_too_long}, {"extra_rules", test_extra_rules},
		{"open_refuses", test_open_refuses}, {"open_keeps", test_open_keeps},
		{"isolation", test_isolation}, {"steady_state", test_steady_state}};

	return kvf_test_main("seq", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
