/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of docs/layouts.md are right: each of LMCache's layouts is declared exactly as its row says, over tensors
 * of the shape that its name says, and the chunk must come out as LMCache's KV_2LTD, and go back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/layout.h"
#include "tests/gen_layout.h"
#include "tests/harness.h"

enum dim { NB, NL, TWO, BS, NH, HS, ES, DIMS };

static const char *const dim_names[DIMS] = { "NB", "NL", "TWO", "BS", "NH", "HS", "ES" };

struct row {
	int number;
	char name[40];
	char cell[5][60]; /* layer, plane, block_stride, token_stride, head_stride */
};

/* "NL\*TWO\*512" */
static uint64_t product(const char *text, const uint32_t dims[DIMS])
{
	uint64_t value = 1;
	char copy[60], *word, *rest = copy;
	int d;

	snprintf(copy, sizeof(copy), "%s", text);
	while ((word = strsep(&rest, "\\*")) != NULL) {
		if (!*word)
			continue;
		for (d = 0; d < DIMS && strcmp(word, dim_names[d]) != 0; d++)
			;
		if (d < DIMS) {
			value *= dims[d];
			continue;
		}
		CU_ASSERT_TRUE(word[0] >= '1' && word[0] <= '9');
		value *= strtoull(word, NULL, 10);
	}
	return value;
}

/* The tensor that an element lies in (number) and its byte there, from the name alone. */
static uint64_t by_name(const char *name, const uint32_t dims[DIMS], const uint32_t at[DIMS], uint32_t *tensor)
{
	char copy[40], *word, *rest = copy;
	uint64_t index = 0;
	int d;

	snprintf(copy, sizeof(copy), "%s", name);
	*tensor = 0;
	while ((word = strsep(&rest, "_")) != NULL) {
		if (strcmp(word, "X") == 0) {
			*tensor = *tensor * 1000 + (uint32_t)index;
			index = 0;
			continue;
		}
		if (strcmp(word, "ONE") == 0)
			continue;
		if (strcmp(word, "NBBS") == 0) {
			index = index * dims[NB] * dims[BS] + at[NB] * dims[BS] + at[BS];
			continue;
		}
		for (d = 0; d < ES && strcmp(word, dim_names[d]) != 0; d++)
			;
		if (d == ES)
			CU_FAIL_FATAL("a name with an unknown axis");
		index = index * dims[d] + at[d];
	}
	return index * dims[ES];
}

struct tensors {
	uint8_t *p[2][8]; /* by plane and layer; several may be the same */
	size_t bytes;	  /* of one */
};

/* The bases as the row says. base(l + 1) - base(l) = layer, base(V) - base(K) = plane, or a tensor of its own. */
static void make_bases(const struct row *row, const uint32_t dims[DIMS], uint32_t planes, struct tensors *tensors,
		       struct kvf_layer *layers)
{
	bool layer_own = strcmp(row->cell[0], "own") == 0, plane_own = strcmp(row->cell[1], "own") == 0;
	uint64_t layer = layer_own ? 0 : product(row->cell[0], dims), plane = 0;
	uint32_t l, p;

	if (planes == 2 && !plane_own)
		plane = product(row->cell[1], dims);
	tensors->bytes = (size_t)dims[NB] * dims[BS] * dims[NH] * dims[HS] * dims[ES];
	tensors->bytes *= (layer_own ? 1 : dims[NL]) * (planes == 2 && !plane_own ? 2 : 1);
	for (l = 0; l < dims[NL]; l++) {
		for (p = 0; p < planes; p++) {
			if (p && !plane_own)
				tensors->p[p][l] = tensors->p[0][l];
			else if (l && !layer_own)
				tensors->p[p][l] = tensors->p[p][0];
			else
				tensors->p[p][l] = malloc(tensors->bytes);
			layers[l].base[p] = tensors->p[p][l] + l * layer + p * plane;
		}
		layers[l].device = -1;
	}
}

static void fill_tensors(struct tensors *tensors, uint32_t planes, uint32_t n_layers, struct gen_rng *rng)
{
	uint32_t l, p;
	size_t i;

	for (l = 0; l < n_layers; l++)
		for (p = 0; p < planes; p++)
			for (i = 0; i < tensors->bytes; i++)
				tensors->p[p][l][i] = (uint8_t)(gen_u64(rng) >> 56);
}

static void free_tensors(struct tensors *tensors, uint32_t planes, uint32_t n_layers)
{
	uint32_t l, p, i;

	for (i = 2 * n_layers; i-- > 0;) {
		p = i / n_layers;
		l = i % n_layers;
		if (p >= planes || (p && tensors->p[1][l] == tensors->p[0][l]) ||
		    (l && tensors->p[p][l] == tensors->p[p][0]))
			continue;
		free(tensors->p[p][l]);
	}
}

static void move_payload(const struct kvf_layout_plan *plan, struct gen_copy *gc, uint8_t *payload, uint32_t direction)
{
	struct kvf_run_iter iter;
	struct kvf_run run;
	uint32_t row;

	kvf_run_iter_init(&iter, plan, &gc->copy);
	while (kvf_run_iter_next(&iter, &run))
		for (row = 0; row < run.rows; row++) {
			uint8_t *pay = payload + run.pay + row * run.pay_stride;
			uint8_t *dev = run.dev + row * run.dev_stride;

			memcpy(direction == KVF_COPY_GATHER ? pay : dev,
			       direction == KVF_COPY_GATHER ? dev : pay, run.bytes);
		}
}

/* Compares a payload in the lmcache order with the tensors, by the name's formula. Returns the elements that differ. */
static uint64_t differences(const struct row *row, const uint32_t dims[DIMS], uint32_t planes,
			    const struct tensors *tensors, const uint32_t *ids, uint32_t chunk, const uint8_t *payload)
{
	uint32_t at[DIMS] = { 0 }, first_tensor, tensor, t;
	uint64_t bad = 0, offset;

	for (at[TWO] = 0; at[TWO] < planes; at[TWO]++)
		for (at[NL] = 0; at[NL] < dims[NL]; at[NL]++) {
			at[NB] = at[BS] = at[NH] = at[HS] = 0;
			by_name(row->name, dims, at, &first_tensor);
			for (t = 0; t < chunk; t++)
				for (at[NH] = 0; at[NH] < dims[NH]; at[NH]++)
					for (at[HS] = 0; at[HS] < dims[HS]; at[HS]++) {
						at[NB] = ids[t / dims[BS]];
						at[BS] = t % dims[BS];
						offset = by_name(row->name, dims, at, &tensor);
						bad += tensor != first_tensor || offset >= tensors->bytes ||
						       memcmp(tensors->p[at[TWO]][at[NL]] + offset, payload,
							      dims[ES]) != 0;
						payload += dims[ES];
					}
		}
	return bad;
}

static void check_row(const struct row *row, const uint32_t given[DIMS])
{
	uint32_t dims[DIMS], planes = strcmp(row->cell[1], "none") == 0 ? 1 : 2, chunk;
	struct kvf_layer layers[8] = { 0 };
	struct gen_rng rng = { 5 };
	struct gen_layout gen;
	struct kvf_layout_plan plan;
	struct tensors tensors;
	struct kvf_mem mem;
	struct gen_copy gc;
	uint8_t *payload;

	memcpy(dims, given, sizeof(dims));
	if (planes == 1) {
		dims[NH] = 1;
		dims[HS] *= 9; /* 576 in the worked table */
	}
	chunk = dims[BS] * (dims[NB] / 2);
	make_bases(row, dims, planes, &tensors, layers);
	gen_layout_init(&gen, KVF_PAYLOAD_LMCACHE);
	gen.layout.n_groups = 1;
	gen.groups[0] = (struct kvf_group){ .size = sizeof(gen.groups[0]), .n_layers = dims[NL], .planes = planes,
					    .heads = dims[NH], .head_elems = dims[HS],
					    .dtype = dims[ES] == 2 ? KVF_BFLOAT16 : KVF_FLOAT32,
					    .block_tokens = dims[BS], .n_blocks = dims[NB],
					    .block_stride = product(row->cell[2], dims),
					    .token_stride = product(row->cell[3], dims),
					    .head_stride = product(row->cell[4], dims), .layers = layers };
	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_layout_init(&plan, &mem, &gen.layout, chunk, NULL, 0), KVF_OK);
	payload = calloc(1, plan.payload_bytes);
	gen_copy_whole(&gc, &gen.layout, chunk, false);
	fill_tensors(&tensors, planes, dims[NL], &rng);
	move_payload(&plan, &gc, payload, KVF_COPY_GATHER);
	CU_ASSERT_EQUAL(differences(row, dims, planes, &tensors, gc.ids[0], chunk, payload), 0);
	fill_tensors(&tensors, planes, dims[NL], &rng);
	CU_ASSERT_NOT_EQUAL(differences(row, dims, planes, &tensors, gc.ids[0], chunk, payload), 0);
	move_payload(&plan, &gc, payload, KVF_COPY_SCATTER);
	CU_ASSERT_EQUAL(differences(row, dims, planes, &tensors, gc.ids[0], chunk, payload), 0);
	gen_copy_fini(&gc);
	free(payload);
	free_tensors(&tensors, planes, dims[NL]);
	kvf_layout_fini(&plan, &mem);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

static bool parse_row(const char *line, struct row *row)
{
	return sscanf(line, "| %d | %39[A-Z_] | %59[^ ] | %59[^ ] | %59[^ ] | %59[^ ] | %59[^ ] |", &row->number,
		      row->name, row->cell[0], row->cell[1], row->cell[2], row->cell[3], row->cell[4]) == 7;
}

/* Table 0 has products of names, table 1 numbers for one example. */
static void check_table(int wanted, const uint32_t dims[DIMS])
{
	char path[4096], line[512];
	int table = -1, found = 0;
	struct row row;
	FILE *file;

	snprintf(path, sizeof(path), "%s/docs/layouts.md", kvf_test_srcdir());
	file = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	while (fgets(line, sizeof(line), file)) {
		if (!parse_row(line, &row))
			continue;
		table += row.number == 0;
		if (table != wanted)
			continue;
		CU_ASSERT_EQUAL(row.number, found);
		CU_ASSERT_STRING_EQUAL(row.name, gen_lmcache[found % GEN_LMCACHE_FORMATS].name);
		check_row(&row, dims);
		found++;
	}
	fclose(file);
	CU_ASSERT_EQUAL(found, GEN_LMCACHE_FORMATS);
	CU_ASSERT_TRUE(table >= wanted);
}

static void test_formulas(void)
{
	static const uint32_t a[DIMS] = { [NB] = 10, [NL] = 3, [TWO] = 2, [BS] = 4, [NH] = 5, [HS] = 6, [ES] = 2 };
	static const uint32_t b[DIMS] = { [NB] = 4, [NL] = 2, [TWO] = 2, [BS] = 16, [NH] = 1, [HS] = 8, [ES] = 4 };

	check_table(0, a);
	check_table(0, b);
}

static void test_worked_example(void)
{
	static const uint32_t dims[DIMS] = { [NB] = 8, [NL] = 3, [TWO] = 2, [BS] = 16, [NH] = 4, [HS] = 64, [ES] = 2 };

	check_table(1, dims);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "formulas", test_formulas },
		{ "worked_example", test_worked_example },
	};

	return kvf_test_main("layouts_md", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
