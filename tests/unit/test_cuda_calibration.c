/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the CUDA device measures at open is kept for the next start: by card, driver, version and ways; whatever the
 * file is, opening goes on. And the planner's figures are on the metrics page. Over the fake runtime and its clock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvferry/kvf_control.h"
#include "kvferry/kvferry.h"
#include "tests/fake/fake_cuda_real.h"
#include "tests/harness.h"
#include "tests/support/cuda_rig.h"
#include "tests/support/prom.h"

#define API (&fake_cuda_api)

static char dir[400];

struct opened {
	struct kvf_cuda_unit_info unit;
	uint64_t batches, copies; /* calls that measuring makes */
};

static void file_named(char *out, size_t size, const char *name)
{
	if (!dir[0])
		CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	snprintf(out, size, "%s/%s", dir, name);
}

/* A device is opened on that machine, and closed. */
static struct opened open_once(const struct fake_cuda_config *machine, const char *file, uint64_t staging)
{
	struct opened o = { .batches = 0 };
	struct cuda_rig rig;

	memset(&rig, 0, sizeof(rig));
	fake_cuda_reset(machine);
	cuda_rig_usual(&rig);
	rig.options.now_ns = fake_cuda_now;
	rig.options.staging_bytes = staging;
	if (file[0] == '/')
		snprintf(rig.options.calibration_file, sizeof(rig.options.calibration_file), "%s", file);
	else
		file_named(rig.options.calibration_file, sizeof(rig.options.calibration_file), file);
	CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&rig, 1), KVF_OK);
	CU_ASSERT_EQUAL(rig.report.errors, 0);
	CU_ASSERT_TRUE_FATAL(kvf_cuda_device_unit(rig.dev, 0, &o.unit));
	CU_ASSERT_FALSE(kvf_cuda_device_unit(rig.dev, 1, &o.unit));
	CU_ASSERT_TRUE(kvf_cuda_device_unit(rig.dev, 0, &o.unit));
	o.batches = fake_cuda_calls("MemcpyBatchAsync");
	o.copies = fake_cuda_calls("MemcpyAsync");
	cuda_rig_close(&rig);
	return o;
}

static bool same_costs(const struct opened *a, const struct opened *b)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct kvf_copy_costs *x = &a->unit.costs[i], *y = &b->unit.costs[i];

		if (x->link_bytes_per_us != y->link_bytes_per_us || x->memcpy_cpu_ns != y->memcpy_cpu_ns ||
		    x->memcpy_dev_ns != y->memcpy_dev_ns || x->batch_cpu_ns != y->batch_cpu_ns ||
		    x->batch_dev_ns != y->batch_dev_ns || x->kernel_cpu_ns != y->kernel_cpu_ns ||
		    x->kernel_dev_ns != y->kernel_dev_ns || x->kernel_run_ns != y->kernel_run_ns)
			return false;
	}
	return true;
}

static void test_kept(void)
{
	struct fake_cuda_config other = fake_cuda_usual, slow = fake_cuda_usual;
	struct opened first = open_once(&fake_cuda_usual, "kept", 2 << 20), again;

	CU_ASSERT_EQUAL(first.unit.figures, KVF_FIGURES_MEASURED);
	CU_ASSERT_EQUAL(first.unit.ways, 1u << KVF_WAY_MEMCPY | 1u << KVF_WAY_BATCH | 1u << KVF_WAY_KERNEL);
	CU_ASSERT_TRUE(first.batches > 0 && first.copies > 100);
	/* The card is slower now, and nobody looks. */
	slow.memcpy_ns *= 10;
	again = open_once(&slow, "kept", 2 << 20);
	CU_ASSERT_EQUAL(again.unit.figures, KVF_FIGURES_KEPT);
	CU_ASSERT_EQUAL(again.batches + again.copies, 0);
	CU_ASSERT_EQUAL(again.unit.ways, first.unit.ways);
	CU_ASSERT_TRUE(same_costs(&first, &again));
	/* Another card, another driver, other ways: measured, and the first is still there. */
	other.card = "Another card\nof the \"same\" machine";
	CU_ASSERT_EQUAL(open_once(&other, "kept", 2 << 20).unit.figures, KVF_FIGURES_MEASURED);
	CU_ASSERT_EQUAL(open_once(&other, "kept", 2 << 20).unit.figures, KVF_FIGURES_KEPT);
	other = fake_cuda_usual;
	other.driver = 13010;
	CU_ASSERT_EQUAL(open_once(&other, "kept", 2 << 20).unit.figures, KVF_FIGURES_MEASURED);
	CU_ASSERT_EQUAL(open_once(&fake_cuda_usual, "kept", 0).unit.figures, KVF_FIGURES_MEASURED);
	CU_ASSERT_EQUAL(open_once(&fake_cuda_usual, "kept", 0).unit.figures, KVF_FIGURES_KEPT);
	CU_ASSERT_EQUAL(open_once(&fake_cuda_usual, "kept", 2 << 20).unit.figures, KVF_FIGURES_KEPT);
}

/* What a driver lacks is found out at every start. */
static void test_no_batch(void)
{
	struct fake_cuda_config machine = fake_cuda_usual;

	machine.no_batch = true;
	for (unsigned i = 0; i < 2; i++) {
		struct opened o = open_once(&machine, "no-batch", 2 << 20);

		CU_ASSERT_EQUAL(o.unit.figures, KVF_FIGURES_MEASURED);
		CU_ASSERT_EQUAL(o.unit.ways & 1u << KVF_WAY_BATCH, 0);
	}
}

static void spoil(const char *name, const char *text, bool behind)
{
	char path[500];
	FILE *f;

	file_named(path, sizeof(path), name);
	f = fopen(path, behind ? "r+" : "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	if (behind)
		CU_ASSERT_EQUAL(fseek(f, 60, SEEK_SET), 0);
	CU_ASSERT_TRUE(fputs(text, f) >= 0);
	fclose(f);
}

static void test_bad_files(void)
{
	/* Damaged: measured and written anew. */
	CU_ASSERT_EQUAL(open_once(&fake_cuda_usual, "bad", 0).unit.figures, KVF_FIGURES_MEASURED);
	spoil("bad", "9999999", true);
	CU_ASSERT_EQUAL(open_once(&fake_cuda_usual, "bad", 0).unit.figures, KVF_FIGURES_MEASURED);
	CU_ASSERT_EQUAL(open_once(&fake_cuda_usual, "bad", 0).unit.figures, KVF_FIGURES_KEPT);
	/* Foreign: measured every time. */
	spoil("foreign", "something else\n", false);
	CU_ASSERT_EQUAL(open_once(&fake_cuda_usual, "foreign", 0).unit.figures, KVF_FIGURES_MEASURED);
	CU_ASSERT_EQUAL(open_once(&fake_cuda_usual, "foreign", 0).unit.figures, KVF_FIGURES_MEASURED);
	/* Nowhere to write, nothing to write to. */
	CU_ASSERT_EQUAL(open_once(&fake_cuda_usual, "/proc/none/calibration", 0).unit.figures, KVF_FIGURES_MEASURED);
	CU_ASSERT_EQUAL(open_once(&fake_cuda_usual, "/dev/null", 0).unit.figures, KVF_FIGURES_MEASURED);
}

/* Any call may fail while it is opened: what was not measured whole is not kept. */
static void test_failed_measure(void)
{
	static const char *const calls[] = { "MemcpyAsync",	   "MemcpyBatchAsync",	"EventQuery", "LaunchKernel",
					     "GetDeviceProperties", "DeviceGetPCIBusId", "EventRecord" };

	for (size_t i = 0; i < KVF_ARRAY_LEN(calls); i++) {
		struct cuda_rig rig;
		char path[500];

		memset(&rig, 0, sizeof(rig));
		fake_cuda_reset(&fake_cuda_usual);
		cuda_rig_usual(&rig);
		rig.options.now_ns = fake_cuda_now;
		rig.options.staging_bytes = 2 << 20;
		file_named(path, sizeof(path), "failed");
		strcpy(rig.options.calibration_file, path);
		cuda_rig_build(&rig, 1);
		fake_cuda_fail(calls[i], 2 - (i == 4 || i == 5), cudaErrorInvalidValue, false);
		CU_ASSERT_EQUAL(cuda_rig_open(&rig, 1), KVF_OK);
		CU_ASSERT_EQUAL(rig.report.errors, 0);
		CU_ASSERT_PTR_NOT_NULL(fake_cuda_failed());
		CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
		cuda_rig_close(&rig);
	}
}

/* --- the engine chooses its device ------------------------------------------------------------------------------- */

struct host {
	void *kv;
	struct kvf_layer layer;
	struct kvf_group group;
	struct kvf_layout layout;
	struct kvf_engine *engine;
};

static void open_engine(struct host *h, const char *key, const char *value)
{
	struct kvf_config *config;
	struct kvf_open_params p;

	memset(h, 0, sizeof(*h));
	fake_cuda_reset(&fake_cuda_usual);
	CU_ASSERT_EQUAL_FATAL(API->Malloc(&h->kv, 65536), cudaSuccess);
	h->layer.base[0] = h->kv;
	h->layer.base[1] = (uint8_t *)h->kv + 32768;
	h->group = (struct kvf_group){ .size = sizeof(h->group), .n_layers = 1, .planes = 2, .heads = 2,
				       .head_elems = 16, .dtype = KVF_FLOAT16, .block_tokens = 16, .n_blocks = 16,
				       .block_stride = 1024, .token_stride = 64, .head_stride = 32,
				       .layers = &h->layer };
	h->layout = (struct kvf_layout){ .size = sizeof(h->layout), .n_groups = 1, .groups = &h->group };
	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "kvf_pool_slots", "8", NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "chunk_size", "64", NULL), KVF_OK);
	if (key)
		CU_ASSERT_EQUAL(kvf_config_set(config, key, value, NULL), KVF_OK);
	kvf_open_params_init(&p);
	p.config = config;
	p.layout = &h->layout;
	CU_ASSERT_EQUAL_FATAL(kvf_engine_open(&h->engine, &p), KVF_OK);
	kvf_config_destroy(config);
}

static void store(struct host *h)
{
	static const uint32_t tokens[128] = { 1 }, ids[8] = { 0, 2, 4, 6, 8, 10, 12, 14 };
	struct kvf_block_list list = { ids, 8, 0 };
	struct kvf_blocks blocks = { 1, &list };
	struct kvf_span span = { 0, 128, &blocks };
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };
	struct kvf_completion done;
	struct kvf_seq *seq;
	struct kvf_op op;
	uint64_t id;

	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(h->engine, NULL, &seq), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(seq, tokens, 128), KVF_OK);
	kvf_prep_store(&op, seq, &span, &now);
	CU_ASSERT_EQUAL_FATAL(kvf_submit(h->engine, &op, 1, &id), 1);
	while (kvf_poll(h->engine, &done, 1) == 0)
		fake_cuda_advance(1000);
	CU_ASSERT_EQUAL(done.tokens, 128);
	kvf_seq_close(seq);
}

static double sample(struct host *h, const char *name, const char *label)
{
	int n = kvf_metrics_text(h->engine, NULL, 0);
	char *text = malloc((size_t)n + 64);
	struct prom prom;
	double value;

	kvf_metrics_text(h->engine, text, (size_t)n + 64);
	CU_ASSERT_EQUAL(prom_parse(&prom, text), 0);
	value = prom_value(&prom, name, label);
	prom_free(&prom);
	free(text);
	return value;
}

static void close_engine(struct host *h)
{
	CU_ASSERT_EQUAL(kvf_engine_close(h->engine), KVF_OK);
	CU_ASSERT_EQUAL(API->Free(h->kv), cudaSuccess);
	CU_ASSERT_EQUAL(fake_cuda_live(), 0);
	CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
}

/* By default below the cache folder of the environment. The engine's clock is the real one: its figures are not looked
 * at here. */
static void test_engine(void)
{
	char path[500], folder[500];
	struct host h;

	file_named(folder, sizeof(folder), "xdg");
	file_named(path, sizeof(path), "xdg/kvferry/calibration");
	setenv("XDG_CACHE_HOME", folder, 1);
	open_engine(&h, NULL, NULL);
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	CU_ASSERT_EQUAL(sample(&h, "kvferry_device_figures", "figures=\"measured\""), 1);
	close_engine(&h);
	open_engine(&h, NULL, NULL);
	CU_ASSERT_EQUAL(sample(&h, "kvferry_device_figures", "figures=\"kept\""), 1);
	close_engine(&h);
	open_engine(&h, "kvf_copy", "memcpy");
	CU_ASSERT_EQUAL(sample(&h, "kvferry_device_figures", "figures=\"published\""), 1);
	close_engine(&h);
	CU_ASSERT_EQUAL(unlink(path), 0);
	open_engine(&h, "kvf_calibration_file", "off");
	CU_ASSERT_EQUAL(sample(&h, "kvferry_device_figures", "figures=\"measured\""), 1);
	close_engine(&h);
	CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
	file_named(path, sizeof(path), "named");
	open_engine(&h, "kvf_calibration_file", path);
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	close_engine(&h);
}

/* Choice and numbers, from the device to the page and the statistics. */
static void test_shown(void)
{
	static const char *const names[KVF_WAYS] = { "auto", "memcpy", "batch", "kernel" };
	struct kvf_stats s = { .size = sizeof(s) };
	char label[40];
	struct host h;

	for (unsigned way = KVF_WAY_MEMCPY; way < KVF_WAYS; way++) {
		open_engine(&h, "kvf_copy", names[way]);
		store(&h);
		CU_ASSERT_EQUAL(kvf_get_stats(h.engine, &s), KVF_OK);
		for (unsigned i = KVF_WAY_MEMCPY; i < KVF_WAYS; i++) {
			snprintf(label, sizeof(label), "way=\"%s\"", names[i]);
			CU_ASSERT_EQUAL(s.device_ways[i], i == way ? 2 : 0);
			CU_ASSERT_EQUAL(sample(&h, "kvferry_device_copies_total", label), i == way ? 2 : 0);
		}
		CU_ASSERT_TRUE(s.device_calls >= 2);
		CU_ASSERT_EQUAL(sample(&h, "kvferry_device_calls_total", NULL), (double)s.device_calls);
		CU_ASSERT_EQUAL(sample(&h, "kvferry_device_refused_total", NULL), 0);
		CU_ASSERT_EQUAL(sample(&h, "kvferry_device_bytes_total", NULL), 2 * 64 * 128);
		CU_ASSERT_EQUAL(sample(&h, "kvferry_device_cost_nanoseconds",
				       "direction=\"to_ram\",cost=\"kernel_device\""),
				kvf_copy_costs_default.kernel_dev_ns);
		CU_ASSERT_EQUAL(sample(&h, "kvferry_device_link_bytes_per_second",
				       "device=\"0\",direction=\"from_ram\""),
				(double)kvf_copy_costs_default.link_bytes_per_us * 1e6);
		close_engine(&h);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "kept", test_kept },
		{ "no_batch", test_no_batch },
		{ "bad_files", test_bad_files },
		{ "failed_measure", test_failed_measure },
		{ "engine", test_engine },
		{ "shown", test_shown },
	};
	int rc;

	fake_cuda_be_real();
	rc = kvf_test_main("cuda_calibration", tests, KVF_ARRAY_LEN(tests), argc, argv);
	fake_cuda_reset(&fake_cuda_usual);
	return rc;
}
