/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts: every refusal and its text, the engine's own copy, rebind, block tables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/layout.h"
#include "tests/gen_layout.h"
#include "tests/harness.h"
#include "tests/sim/simmem.h"

/* Two groups: FlashAttention (3 layers) and MLA (2 layers), chunks of 64 tokens. */
struct subject {
	struct gen_layout gen;
	struct kvf_mem mem;
	struct kvf_layout_plan plan;
	char detail[256];
};

static void subject_make(struct subject *s, enum kvf_payload_order order)
{
	struct gen_shape attention = { 3, 32, 16, 4, 8, KVF_BFLOAT16 };
	struct gen_shape mla = { 2, 8, 64, 1, 24, KVF_FP8_E4M3 };

	memset(s, 0, sizeof(*s));
	kvf_mem_init(&s->mem, NULL);
	gen_layout_init(&s->gen, order);
	gen_layout_add(&s->gen, "TBSHE", 2, &attention, NULL);
	gen_layout_add(&s->gen, "BSHE", 1, &mla, NULL);
}

static int subject_init(struct subject *s, uint32_t chunk_tokens)
{
	s->detail[0] = 0;
	return kvf_layout_init(&s->plan, &s->mem, &s->gen.layout, chunk_tokens, s->detail, sizeof(s->detail));
}

static void subject_free(struct subject *s)
{
	kvf_layout_fini(&s->plan, &s->mem);
	CU_ASSERT_EQUAL(kvf_mem_fini(&s->mem), 0);
	gen_layout_fini(&s->gen);
}

static void test_dtypes(void)
{
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_DTYPE_NONE), 0);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_FLOAT16), 2);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_BFLOAT16), 2);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_FLOAT32), 4);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_FLOAT64), 8);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_UINT8), 1);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_INT8), 1);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_FP8_E4M3), 1);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_FP8_E5M2), 1);
	CU_ASSERT_EQUAL(kvf_dtype_bytes((enum kvf_dtype)99), 0);
}

static void test_accepts_and_copies(void)
{
	struct subject s;
	uint64_t token = 3 * 2 * 4 * 8 * 2 + 2 * 24;

	subject_make(&s, KVF_PAYLOAD_LMCACHE);
	CU_ASSERT_EQUAL(subject_init(&s, 64), KVF_OK);
	CU_ASSERT_EQUAL(s.plan.chunk_tokens, 64);
	CU_ASSERT_EQUAL(s.plan.n_layers, 5);
	CU_ASSERT_EQUAL(s.plan.payload_bytes, 64 * token);
	CU_ASSERT_EQUAL(kvf_layout_payload_bytes(&s.plan, 7), 7 * token);
	CU_ASSERT_EQUAL(kvf_layout_payload_bytes(&s.plan, 0), 0);
	CU_ASSERT_EQUAL(kvf_layout_order_code(&s.plan), 0);
	/* What the caller does with its arrays afterwards is of no concern. */
	s.gen.layers[1][1].base[0] = NULL;
	s.gen.groups[0].heads = 0;
	CU_ASSERT_PTR_NOT_NULL(s.plan.layout.groups[1].layers[1].base[0]);
	CU_ASSERT_EQUAL(s.plan.layout.groups[0].heads, 4);
	subject_free(&s);
}

/* A block larger than a chunk is fine, and the other way round; 48 tokens are neither to 64. */
static void test_chunk_sizes(void)
{
	static const struct {
		uint32_t chunk;
		int status;
	} cases[] = { { 16, 0 }, { 8, 0 }, { 1, 0 },		  { 64, 0 },		   { 128, 0 },
		      { 0, KVF_ERANGE }, { 48, KVF_EINVAL }, { 24, KVF_EINVAL }, { 1u << 21, KVF_ERANGE } };
	struct subject s;
	size_t i;

	subject_make(&s, KVF_PAYLOAD_LMCACHE);
	for (i = 0; i < KVF_ARRAY_LEN(cases); i++) {
		CU_ASSERT_EQUAL(subject_init(&s, cases[i].chunk), cases[i].status);
		CU_ASSERT_EQUAL(s.detail[0] == 0, cases[i].status == KVF_OK);
		kvf_layout_fini(&s.plan, &s.mem);
	}
	subject_init(&s, 48);
	CU_ASSERT_STRING_EQUAL(s.detail, "layout group 1: block_tokens is 64, must divide or be a multiple of "
					 "chunk_size 48");
	subject_free(&s);
}

static void break_group(struct kvf_group *g, int what)
{
	switch (what) {
	case 0:
		g->n_layers = 0;
		break;
	case 1:
		g->planes = 3;
		break;
	case 2:
		g->heads = 0;
		break;
	case 3:
		g->head_elems = 0;
		break;
	case 4:
		g->dtype = KVF_DTYPE_NONE;
		break;
	case 5:
		g->block_tokens = 65537;
		break;
	case 6:
		g->n_blocks = 0;
		break;
	case 7:
		g->block_stride = 0;
		break;
	case 8:
		g->token_stride = 0;
		break;
	case 9:
		g->head_stride = UINT64_MAX;
		break;
	case 10:
		g->layers = NULL;
		break;
	case 11:
		g->size = 8;
		break;
	default:
		break;
	}
}

static void break_layers(struct kvf_group *g, struct kvf_layer *layers, int what)
{
	switch (what) {
	case 12:
		layers[2].base[0] = NULL;
		break;
	case 13:
		layers[1].base[1] = NULL;
		break;
	case 14:
		layers[1].device = -2;
		break;
	case 15:
		g->head_stride = 15;
		break;
	case 16:
		g->token_stride = 63;
		break;
	case 17:
		g->block_stride = 16 * 64 - 1;
		break;
	case 18:
		g->block_stride = (uint64_t)1 << 60;
		break;
	case 19:
		layers[0].base[1] = (uint8_t *)layers[0].base[0] + 16;
		break;
	case 20:
		layers[0].base[1] = (uint8_t *)layers[0].base[0] - 1024 - 15;
		break;
	case 21:
		layers[2].base[1] = layers[2].base[0];
		break;
	case 22:
		layers[0].base[0] = (void *)(UINTPTR_MAX - 100);
		break;
	default:
		break;
	}
}

static void test_refusals(void)
{
	static const struct {
		int status;
		const char *text;
	} expected[] = {
		{ KVF_ERANGE, "group 0: n_layers is 0, must be 1..65536" },
		{ KVF_ERANGE, "group 0: planes is 3, must be 1..2" },
		{ KVF_ERANGE, "group 0: heads is 0, must be 1.." },
		{ KVF_ERANGE, "group 0: head_elems is 0, must be 1.." },
		{ KVF_EINVAL, "group 0: dtype 0 is unknown" },
		{ KVF_ERANGE, "group 0: block_tokens is 65537, must be 1..65536" },
		{ KVF_ERANGE, "group 0: n_blocks is 0, must be 1..4294967295" },
		{ KVF_ERANGE, "group 0: block_stride is 0" },
		{ KVF_ERANGE, "group 0: token_stride is 0" },
		{ KVF_ERANGE, "group 0: head_stride is 18446744073709551615" },
		{ KVF_EINVAL, "group 0: layers is NULL" },
		{ KVF_EINVAL, "group 0: size is 8" },
		{ KVF_EINVAL, "group 0, layer 2: base[0] is NULL" },
		{ KVF_EINVAL, "group 0, layer 1: base[1] is NULL" },
		{ KVF_ERANGE, "group 0, layer 1: device is -2, must be -1 or more" },
		{ KVF_EINVAL, "group 0: head_stride is 15, elements overlap below 16" },
		{ KVF_EINVAL, "group 0: token_stride is 63, elements overlap below 64" },
		{ KVF_EINVAL, "group 0: block_stride is 1023, elements overlap below 1024" },
		{ KVF_ERANGE, "group 0: block_stride 1152921504606846976 x 32 reaches over 2^62 bytes" },
		{ KVF_EINVAL, "group 0, layer 0: base[0] and base[1] are 16 bytes apart, K and V overlap" },
		{ KVF_EINVAL, "group 0, layer 0: base[0] and base[1] are 1039 bytes apart, K and V overlap" },
		{ KVF_EINVAL, "group 0, layer 2: base[0] and base[1] are 0 bytes apart, K and V overlap" },
		{ KVF_ERANGE, "group 0, layer 0: base[0] + 32768 bytes wraps around" },
	};
	int i;

	for (i = 0; i < (int)KVF_ARRAY_LEN(expected); i++) {
		struct subject s;
		bool found;

		subject_make(&s, KVF_PAYLOAD_LMCACHE);
		break_group(&s.gen.groups[0], i);
		break_layers(&s.gen.groups[0], s.gen.layers[0], i);
		CU_ASSERT_EQUAL(subject_init(&s, 64), expected[i].status);
		found = strstr(s.detail, expected[i].text) != NULL;
		CU_ASSERT_TRUE(found);
		if (!found)
			printf("case %d: %s\n", i, s.detail);
		CU_ASSERT_PTR_NULL(s.plan.storage);
		subject_free(&s);
	}
}

static void expect_layout_refusal(struct subject *s, int status, const char *text)
{
	CU_ASSERT_EQUAL(subject_init(s, 64), status);
	CU_ASSERT_PTR_NOT_NULL(strstr(s->detail, text));
}

static void test_layout_refusals(void)
{
	struct kvf_layout good;
	struct subject s;

	subject_make(&s, KVF_PAYLOAD_LMCACHE);
	good = s.gen.layout;
	CU_ASSERT_EQUAL(kvf_layout_init(&s.plan, &s.mem, NULL, 64, s.detail, sizeof(s.detail)), KVF_EINVAL);
	s.gen.layout.size = 16;
	expect_layout_refusal(&s, KVF_EINVAL, "size is 16");
	s.gen.layout = good;
	s.gen.layout.kind = (enum kvf_layout_kind)2;
	expect_layout_refusal(&s, KVF_EINVAL, "kind 2");
	s.gen.layout = good;
	s.gen.layout.payload_order = (enum kvf_payload_order)2;
	expect_layout_refusal(&s, KVF_EINVAL, "payload_order 2");
	s.gen.layout = good;
	s.gen.layout.n_groups = 0;
	expect_layout_refusal(&s, KVF_ERANGE, "n_groups is 0, must be 1..16");
	s.gen.layout.n_groups = KVF_MAX_GROUPS + 1;
	expect_layout_refusal(&s, KVF_ERANGE, "n_groups is 17");
	s.gen.layout = good;
	s.gen.layout.groups = NULL;
	expect_layout_refusal(&s, KVF_EINVAL, "groups is NULL");
	s.gen.layout = good;
	s.gen.layout.kind = KVF_LAYOUT_OPAQUE;
	expect_layout_refusal(&s, KVF_EINVAL, "an opaque layout has none");
	s.gen.layout.n_groups = 0;
	expect_layout_refusal(&s, KVF_ERANGE, "opaque_chunk_bytes is 0");
	s.gen.layout.opaque_chunk_bytes = (uint64_t)1 << 32;
	expect_layout_refusal(&s, KVF_ERANGE, "opaque_chunk_bytes is 4294967296");
	s.gen.layout = good;
	subject_free(&s);
}

/* Payload sizes and run lengths are 32-bit numbers. The memory behind is never touched. */
static void test_chunk_too_large(void)
{
	struct kvf_group *g;
	struct subject s;
	uint32_t l;

	subject_make(&s, KVF_PAYLOAD_LMCACHE);
	g = &s.gen.groups[0];
	g->heads = 8;
	g->head_elems = 1 << 20;
	g->head_stride = 1 << 21;
	g->token_stride = 1 << 24;
	g->block_stride = 1 << 28;
	for (l = 0; l < 3; l++)
		s.gen.layers[0][l].base[1] = (void *)((uintptr_t)s.gen.layers[0][l].base[0] + ((uint64_t)1 << 40));
	expect_layout_refusal(&s, KVF_ERANGE, "a chunk of 64 tokens has 6442454016 bytes, at most 4294967295");
	subject_free(&s);
}

static void test_too_many_layers(void)
{
	struct kvf_layer *layers;
	struct subject s;
	uint32_t l;

	subject_make(&s, KVF_PAYLOAD_LMCACHE);
	layers = calloc(65536, sizeof(*layers));
	for (l = 0; l < 65536; l++)
		layers[l] = s.gen.layers[1][0];
	s.gen.groups[1].layers = layers;
	s.gen.groups[1].n_layers = 65536;
	expect_layout_refusal(&s, KVF_ERANGE, "65539 layers in all groups, at most 65536");
	free(layers);
	subject_free(&s);
}

/* Headers of a later version may have longer structures. */
static void test_longer_structures(void)
{
	struct longer {
		struct kvf_group group;
		uint64_t news[3];
	} groups[2];
	struct subject s;
	int i;

	subject_make(&s, KVF_PAYLOAD_LMCACHE);
	memset(groups, 0xee, sizeof(groups));
	for (i = 0; i < 2; i++) {
		groups[i].group = s.gen.groups[i];
		groups[i].group.size = sizeof(groups[i]);
	}
	s.gen.layout.groups = &groups[0].group;
	CU_ASSERT_EQUAL(subject_init(&s, 64), KVF_OK);
	CU_ASSERT_EQUAL(s.plan.n_layers, 5);
	CU_ASSERT_EQUAL(s.plan.layout.groups[1].head_elems, 24);
	groups[1].group.size -= 8;
	kvf_layout_fini(&s.plan, &s.mem);
	CU_ASSERT_EQUAL(subject_init(&s, 64), KVF_EINVAL);
	subject_free(&s);
}

/* K in even pages of a common slab, V in odd ones, five pages on: interlaced, yet nothing overlaps. */
static void test_interlaced_planes(void)
{
	struct subject s;
	uint32_t l;

	subject_make(&s, KVF_PAYLOAD_PAGES);
	s.gen.groups[0].block_stride = 2048;
	s.gen.groups[0].n_blocks = 8;
	for (l = 0; l < 3; l++)
		s.gen.layers[0][l].base[1] = (uint8_t *)s.gen.layers[0][l].base[0] + 5 * 1024;
	CU_ASSERT_EQUAL(subject_init(&s, 64), KVF_OK);
	kvf_layout_fini(&s.plan, &s.mem);
	s.gen.layers[0][1].base[1] = (uint8_t *)s.gen.layers[0][1].base[0] + 5 * 1024 + 8;
	CU_ASSERT_EQUAL(subject_init(&s, 64), KVF_EINVAL);
	s.gen.layers[0][1].base[1] = (uint8_t *)s.gen.layers[0][1].base[0] + 16 * 1024 + 8;
	CU_ASSERT_EQUAL(subject_init(&s, 64), KVF_OK);
	subject_free(&s);
}

static void test_no_memory(void)
{
	struct simmem none;
	struct subject s;

	subject_make(&s, KVF_PAYLOAD_LMCACHE);
	simmem_init(&none, 1);
	simmem_allow(&none, 0);
	kvf_mem_init(&s.mem, &none.allocator);
	CU_ASSERT_EQUAL(subject_init(&s, 64), KVF_ENOMEM);
	CU_ASSERT_PTR_NULL(s.plan.storage);
	CU_ASSERT_NOT_EQUAL(s.detail[0], 0);
	subject_free(&s);
}

static void test_opaque(void)
{
	struct kvf_layout layout = { .size = sizeof(layout), .kind = KVF_LAYOUT_OPAQUE, .opaque_chunk_bytes = 12345 };
	struct kvf_layout_plan plan;
	struct kvf_mem mem;

	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL(kvf_layout_init(&plan, &mem, &layout, 256, NULL, 0), KVF_OK);
	CU_ASSERT_EQUAL(plan.payload_bytes, 12345);
	CU_ASSERT_EQUAL(kvf_layout_payload_bytes(&plan, 1), 12345);
	CU_ASSERT_EQUAL(kvf_layout_check_blocks(&plan, NULL, 5, 900, NULL, 0), KVF_OK);
	CU_ASSERT_EQUAL(kvf_layout_rebind(&plan, &layout, NULL, 0), KVF_OK);
	layout.opaque_fingerprint = 1;
	CU_ASSERT_EQUAL(kvf_layout_rebind(&plan, &layout, NULL, 0), KVF_EINVAL);
	kvf_layout_fini(&plan, &mem);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

static void test_rebind(void)
{
	struct subject s;
	uint8_t other[16];

	subject_make(&s, KVF_PAYLOAD_PAGES);
	CU_ASSERT_EQUAL(subject_init(&s, 64), KVF_OK);
	s.gen.layers[1][1].base[0] = other;
	s.gen.layers[1][1].device = 4;
	CU_ASSERT_EQUAL(kvf_layout_rebind(&s.plan, &s.gen.layout, s.detail, sizeof(s.detail)), KVF_OK);
	CU_ASSERT_PTR_EQUAL(s.plan.layout.groups[1].layers[1].base[0], other);
	CU_ASSERT_EQUAL(s.plan.layout.groups[1].layers[1].device, 4);
	CU_ASSERT_EQUAL(kvf_layout_rebind(&s.plan, &s.plan.layout, NULL, 0), KVF_OK);
	s.gen.layers[1][1].base[0] = NULL;
	CU_ASSERT_EQUAL(kvf_layout_rebind(&s.plan, &s.gen.layout, NULL, 0), KVF_EINVAL);
	CU_ASSERT_PTR_EQUAL(s.plan.layout.groups[1].layers[1].base[0], other);
	s.gen.layers[1][1].base[0] = other;
	s.gen.groups[0].n_blocks--;
	CU_ASSERT_EQUAL(kvf_layout_rebind(&s.plan, &s.gen.layout, s.detail, sizeof(s.detail)), KVF_EINVAL);
	CU_ASSERT_STRING_EQUAL(s.detail, "layout group 0: n_blocks is 31, a rebind keeps the geometry: must be 32");
	s.gen.groups[0].n_blocks++;
	s.gen.layout.payload_order = KVF_PAYLOAD_LMCACHE;
	CU_ASSERT_EQUAL(kvf_layout_rebind(&s.plan, &s.gen.layout, NULL, 0), KVF_EINVAL);
	subject_free(&s);
}

/* The order inside pages depends on how far V is from K: a rebind must not change it. */
static void test_rebind_keeps_fusion(void)
{
	struct gen_shape shape = { 2, 8, 16, 4, 8, KVF_BFLOAT16 };
	struct kvf_layout_plan plan;
	struct gen_layout gen;
	struct kvf_mem mem;
	char detail[256];

	kvf_mem_init(&mem, NULL);
	gen_layout_init(&gen, KVF_PAYLOAD_PAGES);
	gen_layout_add(&gen, "BHSTE", 2, &shape, NULL);
	CU_ASSERT_EQUAL(kvf_layout_init(&plan, &mem, &gen.layout, 64, NULL, 0), KVF_OK);
	gen.layers[0][1].base[1] = (uint8_t *)gen.layers[0][1].base[0] + 65536;
	CU_ASSERT_EQUAL(kvf_layout_rebind(&plan, &gen.layout, detail, sizeof(detail)), KVF_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(detail, "order inside pages"));
	kvf_layout_fini(&plan, &mem);
	gen_layout_fini(&gen);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

static uint64_t code_of(const char *axes, uint32_t heads, enum kvf_payload_order order)
{
	struct gen_shape shape = { 2, 8, 16, heads, 8, KVF_BFLOAT16 };
	struct kvf_layout_plan plan;
	struct gen_layout gen;
	struct kvf_mem mem;
	uint64_t code;

	kvf_mem_init(&mem, NULL);
	gen_layout_init(&gen, order);
	gen_layout_add(&gen, "BSHE", 1, &shape, NULL);
	gen_layout_add(&gen, axes, 2, &shape, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_layout_init(&plan, &mem, &gen.layout, 64, NULL, 0), KVF_OK);
	code = kvf_layout_order_code(&plan);
	kvf_layout_fini(&plan, &mem);
	gen_layout_fini(&gen);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
	return code;
}

static void test_order_codes(void)
{
	static const char *const axes[] = { "BSHE", "BHSE", "BSTHE", "BSHTE", "BHTSE", "BHSTE" };
	uint64_t code[KVF_ARRAY_LEN(axes)];
	size_t i, k;

	for (i = 0; i < KVF_ARRAY_LEN(axes); i++) {
		code[i] = code_of(axes[i], 4, KVF_PAYLOAD_PAGES);
		CU_ASSERT_EQUAL(code[i] & 15, 1);
		CU_ASSERT_NOT_EQUAL(code[i] >> 4, 0);
		for (k = 0; k < i; k++)
			CU_ASSERT_NOT_EQUAL(code[i], code[k]);
		CU_ASSERT_EQUAL(code_of(axes[i], 4, KVF_PAYLOAD_LMCACHE), 0);
	}
	/* The place of V's blocks does not matter, nor that of a single head. */
	CU_ASSERT_EQUAL(code_of("BTSHE", 4, KVF_PAYLOAD_PAGES), code[0]);
	CU_ASSERT_EQUAL(code_of("TBHSE", 4, KVF_PAYLOAD_PAGES), code[1]);
	CU_ASSERT_EQUAL(code_of("BHSE", 1, KVF_PAYLOAD_PAGES), code_of("BSHE", 1, KVF_PAYLOAD_PAGES));
}

static void test_block_tables(void)
{
	uint32_t a[] = { 99, 31, KVF_BLOCK_NULL, 0, 1, 32 }, b[] = { 7, 0, 0 };
	struct kvf_block_list lists[2] = { { a, 6, 0 }, { b, 2, 0 } };
	struct kvf_blocks blocks = { 2, lists };
	struct subject s;

	subject_make(&s, KVF_PAYLOAD_LMCACHE);
	CU_ASSERT_EQUAL_FATAL(subject_init(&s, 64), KVF_OK);
#define CHECK(first, n) kvf_layout_check_blocks(&s.plan, &blocks, first, n, s.detail, sizeof(s.detail))
	CU_ASSERT_EQUAL(CHECK(16, 64), KVF_OK); /* ids[0] and ids[5] are not looked at */
	CU_ASSERT_EQUAL(CHECK(15, 64), KVF_ERANGE);
	CU_ASSERT_STRING_EQUAL(s.detail, "blocks of group 0: ids[0] is 99, must be below n_blocks 32");
	CU_ASSERT_EQUAL(CHECK(16, 65), KVF_ERANGE);
	CU_ASSERT_EQUAL(CHECK(0, 0), KVF_OK);
	CU_ASSERT_EQUAL(CHECK(UINT64_MAX, 2), KVF_ERANGE);
	CU_ASSERT_EQUAL(CHECK(UINT64_MAX - 1, 1), KVF_ERANGE);
	a[0] = a[5] = 0;
	CU_ASSERT_EQUAL(CHECK(0, 96), KVF_OK);
	CU_ASSERT_EQUAL(CHECK(0, 97), KVF_ERANGE);
	CU_ASSERT_STRING_EQUAL(s.detail,
			       "blocks of group 0: blocks 0..6 are needed, the list has 6 from block 0 on");
	lists[0].first_block = 1;
	CU_ASSERT_EQUAL(CHECK(15, 2), KVF_ERANGE);
	CU_ASSERT_EQUAL(CHECK(16, 96), KVF_OK);
	lists[1].first_block = 1;
	CU_ASSERT_EQUAL(CHECK(64, 48), KVF_OK);
	CU_ASSERT_EQUAL(CHECK(63, 48), KVF_ERANGE);
	lists[1].ids = NULL;
	CU_ASSERT_EQUAL(CHECK(64, 48), KVF_EINVAL);
	blocks.n_groups = 1;
	CU_ASSERT_EQUAL(CHECK(64, 48), KVF_EINVAL);
	blocks.n_groups = 2;
	blocks.groups = NULL;
	CU_ASSERT_EQUAL(CHECK(64, 48), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_layout_check_blocks(&s.plan, NULL, 0, 1, NULL, 0), KVF_EINVAL);
#undef CHECK
	subject_free(&s);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "dtypes", test_dtypes },
		{ "accepts_and_copies", test_accepts_and_copies },
		{ "chunk_sizes", test_chunk_sizes },
		{ "refusals", test_refusals },
		{ "layout_refusals", test_layout_refusals },
		{ "chunk_too_large", test_chunk_too_large },
		{ "too_many_layers", test_too_many_layers },
		{ "longer_structures", test_longer_structures },
		{ "interlaced_planes", test_interlaced_planes },
		{ "no_memory", test_no_memory },
		{ "opaque", test_opaque },
		{ "rebind", test_rebind },
		{ "rebind_keeps_fusion", test_rebind_keeps_fusion },
		{ "order_codes", test_order_codes },
		{ "block_tables", test_block_tables },
	};

	return kvf_test_main("layout", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
