/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the CUDA device: what the machine lacks is said, not replaced; what the calibration finds decides. */
#include <stdlib.h>
#include <string.h>

#include "kvferry/kvferry.h"
#include "tests/harness.h"
#include "tests/support/cuda_rig.h"

#define API (&fake_cuda_api)

static void start(struct cuda_rig *rig, const struct fake_cuda_config *machine)
{
	memset(rig, 0, sizeof(*rig));
	fake_cuda_reset(machine);
	cuda_rig_usual(rig);
}

/* The rig's memory is made on a good machine; then the machine changes. */
static int open_on(struct cuda_rig *rig, int driver, int devices, bool no_batch, bool no_word)
{
	cuda_rig_build(rig, 1);
	fake_cuda_set_machine(driver, devices, no_batch, no_word);
	return cuda_rig_open(rig, 1);
}

static void test_drivers(void)
{
	struct cuda_rig rig;

	start(&rig, &fake_cuda_usual);
	CU_ASSERT_EQUAL(open_on(&rig, 0, 0, false, false), KVF_ENODEV);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "no NVIDIA driver"));
	cuda_rig_drop(&rig);
	start(&rig, &fake_cuda_usual);
	CU_ASSERT_EQUAL(open_on(&rig, 12040, 1, false, false), KVF_EDRIVER);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "CUDA 12.4"));
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "CUDA 13.0"));
	cuda_rig_drop(&rig);
	start(&rig, &fake_cuda_usual);
	CU_ASSERT_EQUAL(open_on(&rig, 13000, 0, false, false), KVF_ENODEV);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "no CUDA device"));
	cuda_rig_drop(&rig);
}

static void test_numa(void)
{
	struct fake_cuda_config machine = fake_cuda_usual;
	struct cuda_rig rig;

	start(&rig, &fake_cuda_usual);
	CU_ASSERT_EQUAL(open_on(&rig, 13000, 1, false, false), KVF_OK);
	CU_ASSERT_EQUAL(kvf_cuda_device_numa_node(rig.dev, 0), 1);
	CU_ASSERT_EQUAL(kvf_cuda_device_numa_node(rig.dev, 5), -1); /* no such device, and nothing is lost by asking */
	CU_ASSERT_EQUAL(kvf_cuda_device_numa_node(rig.dev, 0), 1);
	cuda_rig_drop(&rig);
	machine.numa_node = -1;
	start(&rig, &machine);
	CU_ASSERT_EQUAL(open_on(&rig, 13000, 1, false, false), KVF_OK);
	CU_ASSERT_EQUAL(kvf_cuda_device_numa_node(rig.dev, 0), -1);
	cuda_rig_drop(&rig);
}

static void test_lacking(void)
{
	struct cuda_rig rig;
	struct kvf_cuda_stats stats;
	struct gen_copy gc;

	start(&rig, &fake_cuda_usual);
	rig.options.copy = KVF_WAY_BATCH;
	CU_ASSERT_EQUAL(open_on(&rig, 13000, 1, true, false), KVF_ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "kvf_copy: batch"));
	cuda_rig_drop(&rig);
	/* Left to itself it does without, and opens without an error. */
	start(&rig, &fake_cuda_usual);
	CU_ASSERT_EQUAL(open_on(&rig, 13000, 1, true, false), KVF_OK);
	CU_ASSERT_EQUAL(rig.report.errors, 0);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, false);
	cuda_rig_prepare(&rig, &gc, KVF_COPY_GATHER, 0);
	CU_ASSERT_EQUAL(CUDA_OPS->copy(rig.dev, &gc.copy), KVF_OK);
	CU_ASSERT_TRUE(cuda_rig_await(&rig, 1));
	kvf_cuda_device_stats(rig.dev, &stats);
	CU_ASSERT_EQUAL(stats.by_way[KVF_WAY_BATCH], 0);
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);

	start(&rig, &fake_cuda_usual);
	rig.options.word = true;
	CU_ASSERT_EQUAL(open_on(&rig, 13000, 1, false, true), KVF_ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "kvf_completion: word"));
	cuda_rig_drop(&rig);

	start(&rig, &fake_cuda_usual);
	rig.options.copy = KVF_WAY_KERNEL;
	rig.options.staging_bytes = 0;
	CU_ASSERT_EQUAL(cuda_rig_open(&rig, 1), KVF_ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "kvf_copy: kernel"));
	cuda_rig_drop(&rig);
	start(&rig, &fake_cuda_usual);
	rig.options.copy = KVF_WAY_KERNEL;
	rig.options.staging_bytes = 4096; /* a layer of a chunk is 8192 */
	CU_ASSERT_EQUAL(cuda_rig_open(&rig, 1), KVF_ENOTSUP);
	cuda_rig_drop(&rig);
	CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
}

/* A card that is full: no staging buffer, so no kernel; asked for, it is an error. */
static void test_full_card(void)
{
	struct fake_cuda_config machine = fake_cuda_usual;
	struct cuda_rig rig;

	machine.device_bytes = 100000;
	start(&rig, &machine);
	rig.options.staging_bytes = 1 << 20;
	CU_ASSERT_EQUAL(cuda_rig_open(&rig, 1), KVF_OK);
	CU_ASSERT_EQUAL(rig.report.errors, 0);
	cuda_rig_close(&rig);
	start(&rig, &machine);
	rig.options.staging_bytes = 1 << 20;
	rig.options.copy = KVF_WAY_KERNEL;
	CU_ASSERT_EQUAL(cuda_rig_open(&rig, 1), KVF_ENOMEM);
	cuda_rig_drop(&rig);
}

/* K and V in tensors of their own, so that a base can be moved without running into the other. */
static void start_apart(struct cuda_rig *rig, const struct fake_cuda_config *machine)
{
	struct gen_shape shape = { 2, 16, 16, 4, 8, KVF_FLOAT16 };

	memset(rig, 0, sizeof(*rig));
	fake_cuda_reset(machine);
	rig->chunk_size = 64;
	gen_layout_init(&rig->gen, KVF_PAYLOAD_LMCACHE);
	gen_layout_add(&rig->gen, "BSHE", 2, &shape, NULL);
}

static void test_bases(void)
{
	struct fake_cuda_config machine = fake_cuda_usual;
	struct cuda_rig rig;
	struct kvf_layer *layers;
	static uint8_t pageable[65536];
	void *base;

	machine.devices = 2;
	start_apart(&rig, &machine);
	cuda_rig_build(&rig, 1);
	layers = (struct kvf_layer *)(uintptr_t)rig.groups[0].layers;
	base = layers[1].base[0];
	layers[1].base[0] = pageable;
	CU_ASSERT_EQUAL(cuda_rig_open(&rig, 1), KVF_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "group 0, layer 1, base[0]"));
	cuda_rig_drop(&rig);

	start_apart(&rig, &machine);
	cuda_rig_build(&rig, 1);
	layers = (struct kvf_layer *)(uintptr_t)rig.groups[0].layers;
	layers[0].device = 1 - layers[0].device;
	CU_ASSERT_EQUAL(cuda_rig_open(&rig, 1), KVF_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "declared as of device"));
	cuda_rig_drop(&rig);

	start_apart(&rig, &machine);
	cuda_rig_build(&rig, 1);
	layers = (struct kvf_layer *)(uintptr_t)rig.groups[0].layers;
	layers[1].device = -1;
	CU_ASSERT_EQUAL(cuda_rig_open(&rig, 1), KVF_ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "layer 1 of layout group 0"));
	cuda_rig_drop(&rig);

	/* The last block reaches over the end of the allocation. */
	start_apart(&rig, &machine);
	cuda_rig_build(&rig, 1);
	rig.groups[0].n_blocks += 1;
	CU_ASSERT_EQUAL(cuda_rig_open(&rig, 1), KVF_EINVAL);
	cuda_rig_drop(&rig);

	start_apart(&rig, &machine);
	CU_ASSERT_EQUAL(cuda_rig_open(&rig, 1), KVF_OK);
	layers = (struct kvf_layer *)(uintptr_t)rig.groups[0].layers;
	base = layers[1].base[0];
	layers[1].base[0] = pageable;
	CU_ASSERT_EQUAL(CUDA_OPS->rebind(rig.dev, &rig.layout), KVF_EINVAL);
	layers[1].base[0] = base;
	CU_ASSERT_EQUAL(CUDA_OPS->rebind(rig.dev, &rig.layout), KVF_OK);
	cuda_rig_close(&rig);
}

static enum kvf_copy_way way_taken(const struct fake_cuda_config *machine)
{
	struct cuda_rig rig;
	struct kvf_cuda_stats stats;
	struct gen_copy gc;
	enum kvf_copy_way way;

	start(&rig, machine);
	rig.options.now_ns = fake_cuda_now;
	rig.options.staging_bytes = 1 << 20;
	CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&rig, 1), KVF_OK);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, false);
	cuda_rig_prepare(&rig, &gc, KVF_COPY_GATHER, 0);
	CU_ASSERT_EQUAL(CUDA_OPS->copy(rig.dev, &gc.copy), KVF_OK);
	CU_ASSERT_TRUE(cuda_rig_await(&rig, 1));
	kvf_cuda_device_stats(rig.dev, &stats);
	for (way = KVF_WAY_MEMCPY; way < KVF_WAYS && !stats.by_way[way]; way++)
		;
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
	return way;
}

/* The same copy (16 pieces of 1 KiB) goes the way that is cheap on the card at hand. */
static void test_calibration(void)
{
	struct fake_cuda_config machine = fake_cuda_usual;

	machine.memcpy_ns = 1;
	machine.call_ns = 1;
	machine.batch_ns = 50000;
	machine.kernel_ns = 900000;
	CU_ASSERT_EQUAL(way_taken(&machine), KVF_WAY_MEMCPY);
	machine = fake_cuda_usual;
	machine.memcpy_ns = 90000;
	machine.kernel_ns = 900000;
	CU_ASSERT_EQUAL(way_taken(&machine), KVF_WAY_BATCH);
	machine = fake_cuda_usual;
	machine.memcpy_ns = 90000;
	machine.batch_ns = 90000;
	machine.kernel_ns = 2000;
	CU_ASSERT_EQUAL(way_taken(&machine), KVF_WAY_KERNEL);
}

static void test_calibrated_costs(void)
{
	struct cuda_rig rig;
	const struct kvf_copy_costs *c;

	start(&rig, &fake_cuda_usual);
	rig.options.now_ns = fake_cuda_now;
	CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&rig, 1), KVF_OK);
	c = kvf_cuda_device_costs(rig.dev, 0, KVF_COPY_GATHER);
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_TRUE(c->link_bytes_per_us > 40000 && c->link_bytes_per_us < 60000);
	CU_ASSERT_TRUE(c->memcpy_cpu_ns >= 300 && c->memcpy_cpu_ns < 600);
	CU_ASSERT_TRUE(c->memcpy_dev_ns > 1000 && c->memcpy_dev_ns < 2500);
	CU_ASSERT_TRUE(c->batch_dev_ns > 400 && c->batch_dev_ns < 1200);
	cuda_rig_close(&rig);
}

/* The engine's choice of a device, on a machine that has none: this test is for machines without a driver too. */
static void test_engine_chooses(void)
{
	static uint8_t kv[2][16 * 1024];
	static const struct {
		const char *device;
		int32_t where;
		int status;
		const char *text;
	} cases[] = {
		{ "host", 0, KVF_ENODEV, "device host" },
		{ "cuda", -1, KVF_EINVAL, "kvf_device: cuda" },
		{ "auto", -1, KVF_OK, "" },
		{ "host", -1, KVF_OK, "" },
		{ "auto", 0, KVF_ENODEV, "" }, /* without a driver; else the driver is too old, or knows better */
	};

	for (size_t i = 0; i < KVF_ARRAY_LEN(cases); i++) {
		struct kvf_layer layer = { .base = { kv[0], kv[1] }, .device = cases[i].where };
		struct kvf_group group = { .size = sizeof(group), .n_layers = 1, .planes = 2, .heads = 2,
					   .head_elems = 16, .dtype = KVF_FLOAT16, .block_tokens = 16,
					   .n_blocks = 16, .block_stride = 1024, .token_stride = 64,
					   .head_stride = 32, .layers = &layer };
		struct kvf_layout layout = { .size = sizeof(layout), .n_groups = 1, .groups = &group };
		struct kvf_engine *engine = NULL;
		struct kvf_config *config = NULL;
		struct kvf_open_params p;
		struct kvf_report report;
		char text[1024];
		int rc;

		kvf_report_init(&report, text, sizeof(text));
		CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
		kvf_config_set(config, "kvf_pool_slots", "8", &report);
		kvf_config_set(config, "chunk_size", "64", &report);
		kvf_config_set(config, "kvf_device", cases[i].device, &report);
		kvf_open_params_init(&p);
		p.config = config;
		p.layout = &layout;
		p.report = &report;
		rc = kvf_engine_open(&engine, &p);
		CU_ASSERT_TRUE(rc == cases[i].status ||
			       (i == 4 && report.errors && (rc == KVF_EDRIVER || rc == KVF_EINVAL)));
		CU_ASSERT_PTR_NOT_NULL(strstr(text, cases[i].text));
		if (!rc) {
			kvf_engine_shutdown(engine, KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE);
			while (!kvf_engine_idle(engine))
				kvf_poll(engine, NULL, 0);
			CU_ASSERT_EQUAL(kvf_engine_close(engine), KVF_OK);
		}
		kvf_config_destroy(config);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "drivers", test_drivers },
		{ "numa", test_numa },
		{ "lacking", test_lacking },
		{ "full_card", test_full_card },
		{ "bases", test_bases },
		{ "calibration", test_calibration },
		{ "calibrated_costs", test_calibrated_costs },
		{ "engine_chooses", test_engine_chooses },
	};
	int rc = kvf_test_main("cuda_open", tests, KVF_ARRAY_LEN(tests), argc, argv);

	fake_cuda_reset(&fake_cuda_usual);
	return rc;
}
