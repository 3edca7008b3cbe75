/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of docs/cuda.md is right: each of LMCache's layouts with the numbers of its worked example, in memory
 * of the fake runtime. The chunk goes there and back by every way; bytes as the slow reference has them, pieces as many
 * and as long as the row says.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/ref_layout.h"
#include "tests/support/cuda_rig.h"

struct row {
	unsigned number;
	char name[40];
	uint64_t pieces[2], bytes[2]; /* by payload order */
};

/* One chunk in one direction; the bytes of all memory and of the slot are compared. */
static bool one_copy(struct cuda_rig *rig, struct gen_copy *gc, enum kvf_copy_direction direction)
{
	uint8_t *slot = cuda_rig_slot(rig, 1), *expected = malloc(rig->slot_bytes);
	bool same;

	memset(slot, direction ? 0x5a : 0x11, rig->slot_bytes);
	memcpy(expected, slot, rig->slot_bytes);
	cuda_rig_prepare(rig, gc, direction, 1);
	rig->n_done = 0;
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->copy(rig->dev, &gc->copy), KVF_OK);
	CU_ASSERT_TRUE_FATAL(cuda_rig_await(rig, 1));
	if (direction == KVF_COPY_SCATTER)
		ref_scatter(&rig->gen.layout, rig->chunk_size, &gc->copy, slot);
	else
		ref_gather(&rig->gen.layout, rig->chunk_size, &gc->copy, expected);
	same = !gc->copy.status && cuda_rig_equal(rig) && !memcmp(slot, expected, rig->slot_bytes);
	free(expected);
	return same;
}

static void check_row(const struct row *row, enum kvf_payload_order order, enum kvf_copy_way way)
{
	const struct gen_lmcache *format = &gen_lmcache[row->number];
	bool mla = format->planes == 1;
	struct gen_shape shape = { 3, 8, 16, mla ? 1 : 4, mla ? 576 : 64, KVF_BFLOAT16 };
	struct cuda_rig rig = { .chunk_size = 64 };
	struct kvf_cuda_stats stats;
	struct gen_rng rng = { row->number + 1 };
	struct gen_copy gc;

	fake_cuda_reset(&fake_cuda_usual);
	gen_layout_init(&rig.gen, order);
	gen_layout_add(&rig.gen, format->axes, format->planes, &shape, NULL);
	gen_layout_fill(&rig.gen, &rng);
	rig.options.copy = way;
	rig.options.staging_bytes = 1 << 20;
	CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&rig, 1), KVF_OK);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, false);
	CU_ASSERT_TRUE(gc.ids[0][0] == 7 && gc.ids[0][1] == 5 && gc.ids[0][2] == 3 && gc.ids[0][3] == 1);
	CU_ASSERT_TRUE(one_copy(&rig, &gc, KVF_COPY_GATHER));
	kvf_cuda_device_stats(rig.dev, &stats);
	CU_ASSERT_EQUAL(stats.pieces, row->pieces[order]);
	CU_ASSERT_EQUAL(stats.bytes, row->pieces[order] * row->bytes[order]);
	CU_ASSERT_EQUAL(stats.by_way[way], 1);
	CU_ASSERT_TRUE(one_copy(&rig, &gc, KVF_COPY_SCATTER));
	kvf_cuda_device_stats(rig.dev, &stats);
	CU_ASSERT_EQUAL(stats.pieces, 2 * row->pieces[order]);
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
}

static void test_table(void)
{
	unsigned seen = 0;
	char path[600], line[400];
	FILE *f;

	snprintf(path, sizeof(path), "%s/docs/cuda.md", kvf_test_srcdir());
	f = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	while (fgets(line, sizeof(line), f)) {
		struct row row;

		if (sscanf(line, "| %u | %39s | %lu x %lu | %lu x %lu |", &row.number, row.name, &row.pieces[0],
			   &row.bytes[0], &row.pieces[1], &row.bytes[1]) != 6)
			continue;
		CU_ASSERT_EQUAL_FATAL(row.number, seen);
		CU_ASSERT_TRUE_FATAL(row.number < GEN_LMCACHE_FORMATS);
		CU_ASSERT_STRING_EQUAL(row.name, gen_lmcache[row.number].name);
		for (enum kvf_copy_way way = KVF_WAY_MEMCPY; way < KVF_WAYS; way++) {
			check_row(&row, KVF_PAYLOAD_LMCACHE, way);
			check_row(&row, KVF_PAYLOAD_PAGES, way);
		}
		seen++;
	}
	fclose(f);
	CU_ASSERT_EQUAL(seen, GEN_LMCACHE_FORMATS);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = { { "table", test_table } };
	int rc = kvf_test_main("cuda_md", tests, KVF_ARRAY_LEN(tests), argc, argv);

	fake_cuda_reset(&fake_cuda_usual);
	return rc;
}
