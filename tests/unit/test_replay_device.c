/* SPDX-License-Identifier: Apache-2.0 */
/* The device of a replay: shapes that the engine accepts, blocks that belong to one request at a
 * time. */
#include <stdlib.h>
#include <string.h>

#include "device/layout.h"
#include "replay.h"
#include "tests/harness.h"

static void test_shapes(void)
{
	static const uint64_t sizes[] = {
		1, 2, 3, 16, 64, 96, 100, 1000, 4096, 65536, 131072, 163840, 1 << 24};
	char text[256];

	for (size_t i = 0; i < KVF_ARRAY_LEN(sizes); i++) {
		struct kvf_layout_plan plan;
		struct replay_device dev;
		struct kvf_mem mem;

		CU_ASSERT_EQUAL_FATAL(
			replay_device_init(&dev, sizes[i], 16, 1, text, sizeof(text)), 0);
		CU_ASSERT_EQUAL((uint64_t)dev.n_layers * dev.planes * dev.row_bytes, sizes[i]);
		kvf_mem_init(&mem, NULL);
		CU_ASSERT_EQUAL_FATAL(
			kvf_layout_init(&plan, &mem, &dev.layout, 64, text, sizeof(text)), KVF_OK);
		CU_ASSERT_EQUAL(plan.payload_bytes, 64 * sizes[i]);
		kvf_layout_fini(&plan, &mem);
		CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
		replay_device_fini(&dev);
	}
}

static void test_rows_apart(void)
{
	struct replay_device dev;
	char text[256];

	CU_ASSERT_EQUAL_FATAL(replay_device_init(&dev, 64, 16, 1, text, sizeof(text)), 0);
	CU_ASSERT_PTR_EQUAL(replay_device_row(&dev, 0, 0, 0), dev.memory);
	CU_ASSERT_PTR_EQUAL(replay_device_row(&dev, 0, 0, 16), replay_device_row(&dev, 0, 1, 0));
	CU_ASSERT_PTR_EQUAL(
		replay_device_row(&dev, 0, dev.n_blocks, 0), replay_device_row(&dev, 1, 0, 0));
	CU_ASSERT_PTR_EQUAL(
		replay_device_row(&dev, dev.n_layers * dev.planes, 0, 0), dev.memory + dev.bytes);
	CU_ASSERT_PTR_EQUAL(dev.layers[1].base[1], replay_device_row(&dev, 3, 0, 0));
	replay_device_fini(&dev);
}

#define OWNERS 8
#define MOST 40

/* Random taking and giving: nobody gets a block that another one has, and used ones come first. */
static void test_owners(void)
{
	uint32_t ids[OWNERS][MOST], n[OWNERS] = {0}, taken = 0, peak = 0;
	bool owned[OWNERS * MOST * 2] = {false};
	struct replay_device dev;
	struct wl_rng rng;
	char text[256];

	wl_rng_seed(&rng, 9);
	CU_ASSERT_EQUAL_FATAL(replay_device_init(&dev, 64, 16, 1, text, sizeof(text)), 0);
	for (unsigned step = 0; step < 2000; step++) {
		unsigned who = (unsigned)wl_rng_below(&rng, OWNERS);

		if (n[who]) {
			for (uint32_t i = 0; i < n[who]; i++)
				owned[ids[who][i]] = false;
			replay_device_give(&dev, ids[who], n[who]);
			taken -= n[who];
			n[who] = 0;
			continue;
		}
		n[who] = 1 + (uint32_t)wl_rng_below(&rng, MOST);
		CU_ASSERT_FATAL(replay_device_take(&dev, ids[who], n[who]));
		taken += n[who];
		peak = taken > peak ? taken : peak;
		for (uint32_t i = 0; i < n[who]; i++) {
			CU_ASSERT_FATAL(ids[who][i] < dev.n_used);
			CU_ASSERT_FATAL(!owned[ids[who][i]]);
			owned[ids[who][i]] = true;
		}
	}
	CU_ASSERT_EQUAL(dev.n_taken, taken);
	CU_ASSERT_EQUAL(dev.peak_taken, peak);
	CU_ASSERT_EQUAL(dev.n_used, peak);
	replay_device_fini(&dev);
}

static void test_full(void)
{
	struct replay_device dev;
	uint32_t *ids;
	char text[256];

	CU_ASSERT_EQUAL_FATAL(replay_device_init(&dev, 64, 16, 1, text, sizeof(text)), 0);
	dev.n_blocks = 100; /* taking touches: not all of a large device */
	ids = calloc(dev.n_blocks + 1, sizeof(*ids));
	CU_ASSERT_PTR_NOT_NULL_FATAL(ids);
	CU_ASSERT_FALSE(replay_device_take(&dev, ids, dev.n_blocks + 1));
	CU_ASSERT(replay_device_take(&dev, ids, dev.n_blocks));
	CU_ASSERT_FALSE(replay_device_take(&dev, ids, 1));
	replay_device_give(&dev, ids, dev.n_blocks);
	CU_ASSERT(replay_device_take(&dev, ids, 1));
	free(ids);
	replay_device_fini(&dev);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {{"shapes", test_shapes},
		{"rows_apart", test_rows_apart}, {"owners", test_owners}, {"full", test_full}};

	return kvf_test_main("replay_device", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
