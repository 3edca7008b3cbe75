/* SPDX-License-Identifier: Apache-2.0 */
/* Which device an engine takes, what it offers to it, and which fences it lets through. */
#include "tests/harness.h"
#include "tests/sim/simmem.h"
#include "tests/support/dev_rig.h"

#include <stdio.h>
#include <string.h>

static char text[2048];
static struct kvf_report report;

static int try_open(struct rig *base, const char *device, const struct kvf_device_ops *ops, void *self)
{
	struct kvf_config *config = NULL;
	struct kvf_engine *e = NULL;
	struct kvf_open_params p;
	int rc;

	kvf_report_init(&report, text, sizeof(text));
	kvf_open_params_init(&p);
	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "chunk_size", "64", NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "kvf_pool_slots", "16", NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "kvf_device", device, NULL), KVF_OK);
	p.config = config;
	p.layout = &base->layout;
	p.identity.model = "m";
	p.report = &report;
	p.device = ops;
	p.device_self = self;
	rc = kvf_engine_open(&e, &p);
	if (!rc)
		CU_ASSERT_EQUAL(kvf_engine_close(e), KVF_OK);
	kvf_config_destroy(config);
	return rc;
}

static void refused(struct rig *base, const char *device, int status, const char *words)
{
	CU_ASSERT_EQUAL(try_open(base, device, NULL, NULL), status);
	if (!strstr(text, words))
		fprintf(stderr, "\"%s\" is not in: %s\n", words, text);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, words));
}

/* Memory of a device is left to CUDA, the host's to the host, wherever in the layout it is. */
static void test_choice(void)
{
	struct rig base;

	rig_open(&base, &(struct rig_options){ .slots = 16 });
	CU_ASSERT_EQUAL(try_open(&base, "auto", NULL, NULL), KVF_OK);
	CU_ASSERT_EQUAL(try_open(&base, "host", NULL, NULL), KVF_OK);
	refused(&base, "cuda", KVF_EINVAL, "kvf_device: cuda, but the layout is in host memory");
	for (uint32_t l = 0; l < RIG_LAYERS; l++) {
		base.layers[l].device = 0;
		refused(&base, "host", KVF_ENODEV, "is on device 0");
#ifndef HAVE_CUDA
		refused(&base, "auto", KVF_ENODEV, "this build has no CUDA");
		refused(&base, "cuda", KVF_ENODEV, "this build has no CUDA");
#endif
		base.layers[l].device = -1;
	}
	rig_close(&base);
}

static unsigned closes;

static int bad_open(void *self, struct kvf_device_host *host, const struct kvf_layout *layout, uint32_t *caps)
{
	(void)self;
	(void)host;
	(void)layout;
	(void)caps;
	return KVF_EIO;
}

static void count_close(void *self)
{
	(void)self;
	closes++;
}

static int never_copy(void *self, struct kvf_copy *copy)
{
	(void)self;
	(void)copy;
	return KVF_EIO;
}

/* What did not open is not closed. */
static void test_failed_open(void)
{
	static const struct kvf_device_ops bad = {
		.size = sizeof(bad), .name = "bad", .open = bad_open, .close = count_close, .copy = never_copy
	};
	struct rig base;

	rig_open(&base, &(struct rig_options){ .slots = 16 });
	CU_ASSERT_EQUAL(try_open(&base, "auto", &bad, NULL), KVF_EIO);
	CU_ASSERT_EQUAL(closes, 0);
	rig_close(&base);
}

/* The report is the device's during open only; memory it takes from the engine goes back there. */
static void test_host_services(void)
{
	struct simmem mem;
	struct simdev d;
	struct rig_options o = dev_rig_options(&d, DEV_RIG_CAPS, (struct rig_options){ .slots = 64 });
	struct rig r;
	void *p;

	simmem_init(&mem, 1);
	o.allocator = &mem.allocator;
	rig_open(&r, &o);
	CU_ASSERT_PTR_NULL(d.host->report);
	p = d.host->alloc(d.host, 3000000);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	memset(p, 1, 3000000);
	d.host->release(d.host, p, 3000000);
	rig_close(&r);
	CU_ASSERT_EQUAL(mem.live_blocks, 0);
	CU_ASSERT_EQUAL(mem.wrong_sizes, 0);
}

static int capture(struct rig *r, uint32_t kind)
{
	struct kvf_op op;
	uint64_t id;
	int rc;

	rig_prep(r, &op, KVF_OP_STORE, 0, RIG_CHUNK);
	op.fence.kind = kind;
	rc = kvf_submit(r->engine, &op, 1, &id);
	if (rc == 1)
		rig_await(r, id);
	return rc;
}

static void test_fence_kinds(void)
{
	struct simdev d;
	struct rig r;

	dev_rig_open(&r, &d, DEV_RIG_CAPS, 64);
	rig_tokens(&r, 1, RIG_CHUNK);
	CU_ASSERT_EQUAL(capture(&r, KVF_FENCE_NONE), KVF_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(kvf_error_detail(r.engine), "fence.kind: 0 is no fence"));
	CU_ASSERT_EQUAL(capture(&r, KVF_FENCE_LATER + 1), KVF_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(kvf_error_detail(r.engine), "fence.kind: 6 is no fence"));
	CU_ASSERT_EQUAL(capture(&r, KVF_FENCE_NOW), 1);
	rig_close(&r);
}

/* A device that captures nothing knows KVF_FENCE_NOW alone. */
static void test_no_capture(void)
{
	struct simdev d;
	struct rig_options o = dev_rig_options(&d, 0, (struct rig_options){ .slots = 64 });
	struct rig r;

	d.ops.capture = NULL;
	d.ops.release = NULL;
	rig_open(&r, &o);
	rig_tokens(&r, 1, RIG_CHUNK);
	CU_ASSERT_EQUAL(capture(&r, KVF_FENCE_WORD), KVF_ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(kvf_error_detail(r.engine), "device sim knows only KVF_FENCE_NOW, not 2"));
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "choice", test_choice },
		{ "failed_open", test_failed_open },
		{ "host_services", test_host_services },
		{ "fence_kinds", test_fence_kinds },
		{ "no_capture", test_no_capture },
	};

	return kvf_test_main("device_open", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
