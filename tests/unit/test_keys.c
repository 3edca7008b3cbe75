/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunk keys: known answers (computed with Python's hashlib after the description in keys.h), what
 * has to change a key and what must not, inputs made to collide, the shared key vectors.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/harness.h"
#include "tests/support/seq_model.h"
#include "token/keys.h"
#include "token/sha256.h"

#define MAX_KEYS 4096

/* Keys that have to differ from each other. */
struct key_set {
	uint8_t key[MAX_KEYS][32];
	size_t n;
};

static int compare_keys(const void *a, const void *b)
{
	return memcmp(a, b, 32);
}

static uint8_t *set_next(struct key_set *set)
{
	if (set->n == MAX_KEYS)
		exit(3);
	return set->key[set->n++];
}

/* How many keys are there twice. */
static size_t set_doubles(struct key_set *set)
{
	size_t doubles = 0;

	qsort(set->key, set->n, 32, compare_keys);
	for (size_t i = 1; i < set->n; i++)
		doubles += memcmp(set->key[i - 1], set->key[i], 32) == 0;
	return doubles;
}

static bool is_hex(const uint8_t key[32], const char *hex)
{
	char text[65];

	for (size_t i = 0; i < 32; i++)
		snprintf(text + 2 * i, 3, "%02x", key[i]);
	if (strcmp(text, hex) != 0)
		printf("\n    got %s, want %s\n", text, hex);
	return strcmp(text, hex) == 0;
}

/* ---------------------------------------------------------------------------------------------- */

struct sample {
	struct kvf_identity identity;
	struct kvf_layout layout;
	struct kvf_group groups[2];
	struct kvf_layer layers[8];
	uint32_t chunk_size;
	uint64_t payload_bytes;
};

static void sample_init(struct sample *s)
{
	memset(s, 0, sizeof(*s));
	s->identity = (struct kvf_identity){.size = sizeof(s->identity),
		.model = "meta-llama/Llama-3.1-8B",
		.revision = "main",
		.world_size = 8,
		.rank = 3,
		.scale_fingerprint = 0x1122334455667788};
	s->groups[0] = (struct kvf_group){.size = sizeof(s->groups[0]),
		.n_layers = 32,
		.planes = 2,
		.heads = 8,
		.head_elems = 128,
		.dtype = KVF_BFLOAT16,
		.block_tokens = 16,
		.n_blocks = 100,
		.block_stride = 32768,
		.token_stride = 2048,
		.head_stride = 256,
		.layers = s->layers};
	s->groups[1] = (struct kvf_group){.size = sizeof(s->groups[0]),
		.n_layers = 4,
		.planes = 1,
		.heads = 1,
		.head_elems = 576,
		.dtype = KVF_FP8_E4M3,
		.block_tokens = 64,
		.n_blocks = 10,
		.block_stride = 36864,
		.token_stride = 576,
		.head_stride = 576,
		.layers = s->layers};
	s->layout = (struct kvf_layout){.size = sizeof(s->layout),
		.n_groups = 2,
		.groups = s->groups,
		.opaque_chunk_bytes = 4096,
		.opaque_fingerprint = 77};
	s->chunk_size = 256;
	s->payload_bytes = 33554432;
}

static void sample_key(const struct sample *s, uint8_t out[32])
{
	kvf_key_fingerprint(out, &s->identity, &s->layout, s->chunk_size, s->payload_bytes, 0);
}

static void sample_tokens(uint32_t tokens[600])
{
	for (uint32_t i = 0; i < 600; i++)
		tokens[i] = i * 2654435761u + 12345;
}

static void test_known_fingerprints(void)
{
	struct sample s;
	uint8_t key[32];

	sample_init(&s);
	sample_key(&s, key);
	CU_ASSERT(is_hex(key, "9d3f7a5418e6b187e74d88364b2f6ce7868a77b5cb29b831a2e5e52a315b190b"));
	s.layout.payload_order = KVF_PAYLOAD_PAGES;
	sample_key(&s, key);
	CU_ASSERT(is_hex(key, "05fda82ef390ca9f295caf2d7b2e0a20d55555f7442c82bbf42cc6d1b1b8b198"));
	s.layout.payload_order = KVF_PAYLOAD_LMCACHE;
	s.identity.first_rank_only = 1;
	sample_key(&s, key);
	CU_ASSERT(is_hex(key, "5d7744f1cb5254fab483a4579a1ae2b4be0a182f4efa6e388c738eaa76f3b4ca"));
	s.identity.first_rank_only = 0;
	s.layout.kind = KVF_LAYOUT_OPAQUE;
	sample_key(&s, key);
	CU_ASSERT(is_hex(key, "165f894ea33a96a11100f26b296126ca5909177be7fcbf7ecf4c5d3e8708043e"));
	kvf_key_fingerprint(key, &s.identity, NULL, s.chunk_size, s.payload_bytes, 0);
	CU_ASSERT(is_hex(key, "561088779b66c65c1c817456833cd7ddb8dfa5e640c0b104319429386d555bff"));
}

static const struct kvf_tag known_tags[] = {{"user", "bob"}, {"team", NULL}};
static const struct kvf_seq_params known_params = {.size = sizeof(known_params),
	.salt = "tenant-7",
	.adapter = "lora-a",
	.tags = known_tags,
	.n_tags = 2};

static void test_known_chunks(void)
{
	struct kvf_extra extras[2] = {{.first = 200, .n = 100}, {.first = 300, .n = 10}};
	uint8_t root[32], fp[32], k0[32], k1[32], kp[32];
	uint32_t tokens[600];
	struct sample s;

	for (uint8_t i = 0; i < 16; i++) {
		extras[0].id[i] = i;
		extras[1].id[i] = (uint8_t)(100 + i);
	}
	sample_init(&s);
	sample_key(&s, fp);
	sample_tokens(tokens);
	kvf_key_root(root, fp, NULL);
	CU_ASSERT(is_hex(root, "215798139efe5128c31d517f90eee808e0c3a3a049df57afec074e7e2822a79d"));
	kvf_key_root(root, fp, &known_params);
	CU_ASSERT(is_hex(root, "d6dfbb7ab372f8a3c3383a232a1cd8050013f7eeb6896dccd85efa244fb741b3"));
	kvf_key_chunk(k0, root, tokens, 256, 256, 0, NULL, 0);
	CU_ASSERT(is_hex(k0, "499d8ff953aa2b07a9ab28364aadf3818f2efa1face9fc22fb983964cf524828"));
	kvf_key_chunk(k1, k0, tokens + 256, 256, 256, 256, NULL, 0);
	CU_ASSERT(is_hex(k1, "296896ca70323500b7226dfbcbca10b4d9e86bed97458a7e264f4dc5b1db7e66"));
	kvf_key_chunk(kp, k1, tokens + 512, 88, 256, 512, NULL, 0);
	CU_ASSERT(is_hex(kp, "ad986d3827a99bc0dff3276a18ce0e5874a14b349fe92a38490c9ed97ff97313"));
	kvf_key_chunk(k0, root, tokens, 256, 256, 0, extras, 2);
	CU_ASSERT(is_hex(k0, "7f1cd9b438e9a50dd04a236d6e48fece457e28f82d52bff96c5fa1b05febbc2c"));
	kvf_key_chunk(k1, k0, tokens + 256, 256, 256, 256, extras, 2);
	CU_ASSERT(is_hex(k1, "6ba27c2d2017d37dfb5004e5a943d2925377cc9f97f6bf309f38b44513943f09"));
	kvf_key_chunk(k1, k1, tokens + 512, 88, 256, 512, extras, 2);
	CU_ASSERT(is_hex(k1, "2ffe200c743b6396b9bef8a7c1da6dcd61f0974178d7b18323c4f947cd5dd5bd"));
}

/* ---------------------------------------------------------------------------------------------- */

#define VARY(field, value)                                                                         \
	do {                                                                                       \
		sample_init(&s);                                                                   \
		s.layout.payload_order = order;                                                    \
		s.field = (value);                                                                 \
		sample_key(&s, set_next(set));                                                     \
	} while (0)

/* One key for every field that changes bytes, and for a few pairs that a sloppy form would mix up.
 */
static void vary_identity(struct key_set *set, enum kvf_payload_order order)
{
	struct sample s;

	VARY(chunk_size, 256); /* as it is */
	VARY(chunk_size, 512);
	VARY(payload_bytes, 33554433);
	VARY(identity.model, "meta-llama/Llama-3.1-8Bm");
	VARY(identity.model, "");
	VARY(identity.revision, NULL);
	VARY(identity.revision, "mai");
	VARY(identity.world_size, 4);
	VARY(identity.rank, 2);
	VARY(identity.scale_fingerprint, 0);
	VARY(identity.scale_fingerprint, (uint64_t)1 << 63);
	VARY(identity.first_rank_only, 1);
	sample_init(&s);
	s.layout.payload_order = order;
	s.identity.model = "meta-llama/Llama-3.1-8Bm";
	s.identity.revision = "ain";
	sample_key(&s, set_next(set));
	s.identity.model = "meta-llama/Llama-3.1-8";
	s.identity.revision = "Bmain";
	sample_key(&s, set_next(set));
	sample_init(&s);
	s.layout.payload_order = order;
	s.identity.world_size = 3;
	s.identity.rank = 8;
	sample_key(&s, set_next(set));
}

static void vary_layout(struct key_set *set, enum kvf_payload_order order)
{
	struct sample s;
	struct kvf_group swap;

	VARY(layout.n_groups, 1);
	for (unsigned int g = 0; g < 2; g++) {
		VARY(groups[g].n_layers, 31);
		VARY(groups[g].planes, 3);
		VARY(groups[g].heads, 9);
		VARY(groups[g].head_elems, 64);
		VARY(groups[g].dtype, KVF_FLOAT16);
		if (order != KVF_PAYLOAD_PAGES)
			continue;
		VARY(groups[g].block_tokens, 32);
		VARY(groups[g].block_stride, 65536);
		VARY(groups[g].token_stride, 128);
		VARY(groups[g].head_stride, 4096);
	}
	sample_init(&s);
	s.layout.payload_order = order;
	swap = s.groups[0];
	s.groups[0] = s.groups[1];
	s.groups[1] = swap;
	sample_key(&s, set_next(set));
}

static void test_identity_matters(void)
{
	struct key_set *set = calloc(1, sizeof(*set));
	enum kvf_payload_order order = KVF_PAYLOAD_LMCACHE;
	struct sample s;

	vary_identity(set, KVF_PAYLOAD_LMCACHE);
	vary_identity(set, KVF_PAYLOAD_PAGES);
	vary_layout(set, KVF_PAYLOAD_LMCACHE);
	vary_layout(set, KVF_PAYLOAD_PAGES);
	VARY(layout.kind, KVF_LAYOUT_OPAQUE);
	s.layout.opaque_chunk_bytes++;
	sample_key(&s, set_next(set));
	s.layout.opaque_chunk_bytes--;
	s.layout.opaque_fingerprint++;
	sample_key(&s, set_next(set));
	kvf_key_fingerprint(set_next(set), &s.identity, NULL, s.chunk_size, s.payload_bytes, 0);
	CU_ASSERT(set->n > 60);
	CU_ASSERT_EQUAL(set_doubles(set), 0);
	free(set);
}

static void test_places_do_not_matter(void)
{
	struct key_set *set = calloc(1, sizeof(*set));
	enum kvf_payload_order order = KVF_PAYLOAD_LMCACHE;
	struct sample s;

	VARY(groups[0].n_blocks, 7);
	VARY(groups[0].block_tokens, 64);
	VARY(groups[0].block_stride, 1);
	VARY(groups[0].token_stride, 1);
	VARY(groups[0].head_stride, 1);
	VARY(layers[0].base[0], &s);
	VARY(layers[0].device, 3);
	VARY(layout.opaque_chunk_bytes, 1);
	order = KVF_PAYLOAD_PAGES;
	VARY(groups[0].n_blocks, 7);
	VARY(layers[0].device, 3);
	CU_ASSERT_EQUAL(set_doubles(set), set->n - 2);
	set->n = 0;
	order = KVF_PAYLOAD_LMCACHE;
	VARY(identity.first_rank_only, 1);
	s.identity.rank = 5;
	sample_key(&s, set_next(set));
	s.identity.world_size = 16;
	s.identity.first_rank_only = 2;
	sample_key(&s, set_next(set));
	CU_ASSERT_EQUAL(set_doubles(set), 2);
	set->n = 0;
	VARY(identity.model, NULL);
	VARY(identity.model, "");
	CU_ASSERT_EQUAL(set_doubles(set), 1);
	free(set);
}

static void test_root_matters(void)
{
	static const struct kvf_tag t[] = {{"a", "b"}, {"c", "d"}, {"a", "b"}, {"ab", ""},
		{"", "ab"}, {"a", "bcd"}, {"c", "b"}, {"a", "d"}};
	static const struct {
		const char *salt, *adapter;
		const struct kvf_tag *tags;
		uint32_t n_tags;
	} v[] = {{NULL, NULL, NULL, 0}, {"a", NULL, NULL, 0}, {NULL, "a", NULL, 0},
		{"a", "a", NULL, 0}, {"aa", NULL, NULL, 0}, {NULL, "aa", NULL, 0},
		{NULL, NULL, t, 1}, {NULL, NULL, t, 2}, {NULL, NULL, t + 1, 1},
		{NULL, NULL, t + 1, 2}, {NULL, NULL, t, 3}, {NULL, NULL, t + 3, 1},
		{NULL, NULL, t + 4, 1}, {NULL, NULL, t + 5, 1}, {NULL, NULL, t + 6, 2},
		{"ab", NULL, t, 1}, {NULL, "ab", t, 1}, {"a", "b", NULL, 0}};
	struct key_set *set = calloc(1, sizeof(*set));
	uint8_t fp[32] = {1}, root[32], bare[32], chunk[32];
	uint32_t token = 5;

	for (size_t i = 0; i < KVF_ARRAY_LEN(v); i++) {
		struct kvf_seq_params p = {.size = sizeof(p),
			.salt = v[i].salt,
			.adapter = v[i].adapter,
			.tags = v[i].tags,
			.n_tags = v[i].n_tags};

		kvf_key_root(set_next(set), fp, &p);
		memcpy(root, set->key[set->n - 1], 32);
		kvf_key_chunk(chunk, root, &token, 1, 1, 0, NULL, 0);
		memcpy(set_next(set), chunk, 32);
		fp[31] = 1;
		kvf_key_root(set_next(set), fp, &p);
		fp[31] = 0;
		p.request_id = "other";
		kvf_key_root(chunk, fp, &p);
		CU_ASSERT_EQUAL(memcmp(chunk, root, 32), 0);
	}
	kvf_key_root(bare, fp, NULL);
	CU_ASSERT_EQUAL(memcmp(bare, set->key[0], 32), 0);
	CU_ASSERT_EQUAL(set_doubles(set), 0);
	free(set);
}

/* ---------------------------------------------------------------------------------------------- */

/* All ways to say up to two contents of chunk_size tokens, in chunks full and partial. */
static void test_shapes_differ(void)
{
	struct key_set *set = calloc(1, sizeof(*set));
	uint8_t parent[32] = {7};
	uint32_t tokens[6] = {0};
	struct kvf_extra e[2] = {0};

	for (size_t n = 1; n <= 6; n++) {
		kvf_key_chunk(set_next(set), parent, tokens, n, 6, 60, NULL, 0);
		for (uint64_t a = 59; a < 60 + n; a++)
			for (uint64_t b = (a < 60 ? 61 : a + 1); b <= 60 + n; b++) {
				e[0] = (struct kvf_extra){.first = a, .n = b - a};
				kvf_key_chunk(set_next(set), parent, tokens, n, 6, 60, e, 1);
				for (uint64_t c = b; c < 60 + n; c++)
					for (uint64_t d = c + 1; d <= 60 + n; d++) {
						e[1] = (struct kvf_extra){.first = c, .n = d - c};
						kvf_key_chunk(set_next(set), parent, tokens, n, 6,
							60, e, 2);
					}
			}
	}
	CU_ASSERT(set->n > 250);
	CU_ASSERT_EQUAL(set_doubles(set), 0);
	free(set);
}

#define FORGE_CHUNK 24
#define FORGED 3000

/* Everything that one key stands for, and the key. */
struct forged {
	uint32_t n, n_extras;
	uint32_t tokens[FORGE_CHUNK];
	struct kvf_extra extras[2];
	uint8_t key[32];
};

#define FORGED_INPUT offsetof(struct forged, key)

static int compare_inputs(const void *a, const void *b)
{
	return memcmp(a, b, FORGED_INPUT);
}

static int compare_forged_keys(const void *a, const void *b)
{
	const struct forged *x = a, *y = b;

	return memcmp(x->key, y->key, 32);
}

static size_t count_distinct(struct forged *f, size_t n, int (*compare)(const void *, const void *))
{
	size_t distinct = n > 0;

	qsort(f, n, sizeof(*f), compare);
	for (size_t i = 1; i < n; i++)
		distinct += compare(&f[i - 1], &f[i]) != 0;
	return distinct;
}

static void forge_random(struct forged *f)
{
	f->n = 1 + (uint32_t)rand() % FORGE_CHUNK;
	for (uint32_t i = 0; i < f->n; i++)
		f->tokens[i] = (uint32_t)rand() % 2;
	f->n_extras = (uint32_t)rand() % 3;
	for (uint32_t i = 0, at = 0; i < f->n_extras; i++) {
		at += (uint32_t)rand() % 3;
		f->extras[i] = (struct kvf_extra){.first = at, .n = 1 + (uint64_t)(rand() % 2)};
		at += (uint32_t)f->extras[i].n;
	}
}

/* The tokens become what the message of `from` has behind its parent. */
static void forge_from(struct forged *f, const struct forged *from)
{
	uint8_t m[FORGE_CHUNK * 4 + 2 * 32 + 8] = {0};
	size_t at = (size_t)from->n * 4;

	for (uint32_t i = 0; i < from->n; i++)
		kvf_store_le32(m + (size_t)i * 4, from->tokens[i]);
	for (uint32_t i = 0; i < from->n_extras; i++, at += 32) {
		kvf_store_le32(m + at + 8, (uint32_t)from->extras[i].first);
		kvf_store_le32(m + at + 12, (uint32_t)from->extras[i].n);
	}
	kvf_store_le32(m + at, from->n);
	kvf_store_le32(m + at + 4, from->n_extras);
	at += 8;
	f->n = (uint32_t)kvf_min_u64(FORGE_CHUNK, at / 4 - (uint32_t)rand() % 3);
	for (uint32_t i = 0; i < f->n; i++)
		f->tokens[i] = kvf_load_le32(m + (size_t)i * 4);
}

/* Tokens made to look like entries and trailers: as many keys as inputs. */
static void test_forged_tokens(void)
{
	struct forged *f = calloc(FORGED, sizeof(*f));
	uint8_t parent[32] = {9};
	size_t inputs;

	srand(20);
	for (size_t i = 0; i < FORGED; i++) {
		if (i % 2)
			forge_from(&f[i], &f[i - 1]);
		else
			forge_random(&f[i]);
		/* Only what touches the chunk counts. */
		while (f[i].n_extras && f[i].extras[f[i].n_extras - 1].first >= f[i].n)
			f[i].extras[--f[i].n_extras] = (struct kvf_extra){0};
		for (uint32_t k = 0; k < f[i].n_extras; k++)
			f[i].extras[k].n =
				kvf_min_u64(f[i].extras[k].n, f[i].n - f[i].extras[k].first);
		kvf_key_chunk(f[i].key, parent, f[i].tokens, f[i].n, FORGE_CHUNK, 0, f[i].extras,
			f[i].n_extras);
	}
	inputs = count_distinct(f, FORGED, compare_inputs);
	CU_ASSERT(inputs > FORGED * 8 / 10);
	CU_ASSERT_EQUAL(count_distinct(f, FORGED, compare_forged_keys), inputs);
	free(f);
}

/* One image over a boundary, or the same image twice, meeting there. */
static void test_goes_on_or_begins_again(void)
{
	struct kvf_extra one[] = {{.first = 4, .n = 8}},
			 two[] = {{.first = 4, .n = 4}, {.first = 8, .n = 4}};
	uint32_t tokens[16] = {0};
	uint8_t root[32] = {1}, a[32], b[32];

	kvf_key_chunk(a, root, tokens, 8, 8, 0, one, 1);
	kvf_key_chunk(b, root, tokens, 8, 8, 0, two, 2);
	CU_ASSERT_EQUAL(memcmp(a, b, 32), 0); /* the past is the same */
	kvf_key_chunk(a, a, tokens + 8, 8, 8, 8, one, 1);
	kvf_key_chunk(b, b, tokens + 8, 8, 8, 8, two, 2);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, 32), 0);
}

/* Every length, so that every way of padding comes up, against the other interface. */
static void test_sha256(void)
{
	uint8_t data[2400], want[32], got[32];
	struct kvf_sha256 s;
	size_t wrong = 0;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	for (size_t n = 32; n <= sizeof(data); n++) {
		model_hash(want, data, n);
		kvf_sha256_join(got, data, data + 32, n - 32);
		wrong += memcmp(want, got, 32) != 0;
		kvf_sha256_init(&s);
		kvf_sha256_update(&s, data, n / 3);
		kvf_sha256_update(&s, data + n / 3, n - n / 3);
		kvf_sha256_final(&s, got);
		wrong += memcmp(want, got, 32) != 0;
		memcpy(got, data, 32);
		kvf_sha256_join(got, got, data + 32, n - 32);
		wrong += memcmp(want, got, 32) != 0;
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

static void keyvec_fill(struct kvf_keyvec *vec, uint32_t from, uint32_t n, uint8_t what)
{
	memset(vec->key[from], what, (size_t)n * 32);
}

static void test_keyvec_in_place(void)
{
	struct kvf_keyvec *a, *b, *held;
	struct kvf_mem mem;

	kvf_mem_init(&mem, NULL);
	a = kvf_keyvec_new(&mem, 10);
	CU_ASSERT_EQUAL(a->refs, 1);
	CU_ASSERT(a->cap >= 10);
	held = a;
	CU_ASSERT_EQUAL(kvf_keyvec_extend(&mem, &a, 0, 4), KVF_OK);
	CU_ASSERT_PTR_EQUAL(a, held);
	keyvec_fill(a, 0, 4, 1);
	/* A snapshot of 4 keys does not hinder its owner. */
	kvf_keyvec_ref(a);
	CU_ASSERT_EQUAL(kvf_keyvec_extend(&mem, &a, 4, 2), KVF_OK);
	CU_ASSERT_PTR_EQUAL(a, held);
	keyvec_fill(a, 4, 2, 2);
	/* But another owner of 4 keys gets a copy: 4 and 5 are taken. */
	b = held;
	CU_ASSERT_EQUAL(kvf_keyvec_extend(&mem, &b, 4, 1), KVF_OK);
	CU_ASSERT_PTR_NOT_EQUAL(b, held);
	keyvec_fill(b, 4, 1, 3);
	CU_ASSERT_EQUAL(a->key[4][0], 2);
	CU_ASSERT_EQUAL(b->key[3][31], 1);
	CU_ASSERT_EQUAL(a->refs, 1);
	/* Alone: anything behind one's own length may be written again. */
	CU_ASSERT_EQUAL(kvf_keyvec_extend(&mem, &a, 1, 1), KVF_OK);
	CU_ASSERT_PTR_EQUAL(a, held);
	CU_ASSERT_EQUAL(a->written, 2);
	kvf_keyvec_unref(&mem, a);
	kvf_keyvec_unref(&mem, b);
	kvf_keyvec_ref(NULL);
	kvf_keyvec_unref(&mem, NULL);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

static void test_keyvec_grows(void)
{
	struct kvf_keyvec *vec;
	struct kvf_mem mem;
	uint32_t n = 0;

	kvf_mem_init(&mem, NULL);
	vec = kvf_keyvec_new(&mem, 1);
	for (; n < 100000; n++) {
		if (kvf_keyvec_extend(&mem, &vec, n, 1) != KVF_OK)
			break;
		keyvec_fill(vec, n, 1, (uint8_t)n);
	}
	CU_ASSERT_EQUAL(n, 100000);
	for (n = 0; n < 100000 && vec->key[n][9] == (uint8_t)n; n++)
		;
	CU_ASSERT_EQUAL(n, 100000);
	CU_ASSERT(mem.host_allocs < 40);
	CU_ASSERT_EQUAL(kvf_keyvec_extend(&mem, &vec, n, UINT32_MAX), KVF_ENOMEM);
	CU_ASSERT_EQUAL(vec->written, n);
	kvf_keyvec_unref(&mem, vec);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {{"known_fingerprints", test_known_fingerprints},
		{"known_chunks", test_known_chunks}, {"identity_matters", test_identity_matters},
		{"places_do_not_matter", test_places_do_not_matter},
		{"root_matters", test_root_matters}, {"shapes_differ", test_shapes_differ},
		{"forged_tokens", test_forged_tokens},
		{"goes_on_or_begins_again", test_goes_on_or_begins_again}, {"sha256", test_sha256},
		{"keyvec_in_place", test_keyvec_in_place}, {"keyvec_grows", test_keyvec_grows}};

	return kvf_test_main("keys", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
