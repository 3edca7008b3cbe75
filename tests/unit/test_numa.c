/* SPDX-License-Identifier: Apache-2.0 */
/* Where the pool is to lie: numa_mode and gpu_to_numa_mapping. */
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/rig.h"

static struct kvf_engine *engine; /* of it only the layout is looked at */
static struct kvf_layer layers[2];
static struct kvf_group group = {.size = sizeof(group), .n_layers = 2, .layers = layers};

static int node_for(uint32_t mode, const char *map, int device, struct kvf_report *report)
{
	struct kvf_settings s = {.numa_mode = mode, .gpu_to_numa_mapping = map};

	layers[0].device = -1;
	layers[1].device = device;
	engine->has_layout = true;
	engine->plan.layout = (struct kvf_layout){.size = sizeof(struct kvf_layout), .n_groups = 1, .groups = &group};
	kvf_report_init(report, NULL, 0);
	return kvf_numa_node(engine, &s, report);
}

static void test_map(void)
{
	CU_ASSERT_EQUAL(kvf_numa_map_find("0:1,1:0,12:3", 0), 1);
	CU_ASSERT_EQUAL(kvf_numa_map_find("0:1,1:0,12:3", 1), 0);
	CU_ASSERT_EQUAL(kvf_numa_map_find("0:1,1:0,12:3", 12), 3);
	CU_ASSERT_EQUAL(kvf_numa_map_find("0:1,1:0,12:3", 2), -1);
	CU_ASSERT_EQUAL(kvf_numa_map_find("", 0), -1);
	CU_ASSERT_EQUAL(kvf_numa_map_find("0", 0), -1);
	CU_ASSERT_EQUAL(kvf_numa_map_find("0:", 0), -1);
	CU_ASSERT_EQUAL(kvf_numa_map_find("1:2;0:1", 0), -1);
	CU_ASSERT_EQUAL(kvf_numa_map_find("0:-1", 0), -1);
	CU_ASSERT_EQUAL(kvf_numa_map_find("0:32767", 0), 32767);
	CU_ASSERT_EQUAL(kvf_numa_map_find("0:32768", 0), -1);
	CU_ASSERT_EQUAL(kvf_numa_map_find(":1", 0), -1);
	CU_ASSERT_EQUAL(kvf_numa_map_find("0:x", 0), -1);
	CU_ASSERT_EQUAL(kvf_numa_map_find("1:2 0:1", 0), -1); /* a comma, nothing else */
	CU_ASSERT_EQUAL(kvf_numa_map_find("1:2,", 0), -1);
}

static void test_modes(void)
{
	struct kvf_report report;

	/* none */
	CU_ASSERT_EQUAL(node_for(0, "0:1", 0, &report), -1);
	CU_ASSERT_EQUAL(report.warnings + report.notes, 0);
	/* auto, in host memory: where this thread runs */
	CU_ASSERT(node_for(1, "", -1, &report) >= 0);
	CU_ASSERT_EQUAL(report.warnings + report.notes, 0);
	/* auto, a GPU that nobody can ask */
	CU_ASSERT_EQUAL(node_for(1, "", 0, &report), -1);
	CU_ASSERT_EQUAL(report.notes, 1);
	/* manual: the first layer on a GPU decides; one that the map lacks is worth a warning */
	CU_ASSERT_EQUAL(node_for(2, "0:1,3:2", 3, &report), 2);
	CU_ASSERT_EQUAL(report.warnings + report.notes, 0);
	CU_ASSERT_EQUAL(node_for(2, "0:0", 0, &report), 0);
	CU_ASSERT_EQUAL(report.warnings + report.notes, 0);
	CU_ASSERT_EQUAL(node_for(2, "0:1,3:2", 1, &report), -1);
	CU_ASSERT_EQUAL(report.warnings, 1);
	CU_ASSERT_EQUAL(node_for(2, "0:1", -1, &report), -1);
	CU_ASSERT_EQUAL(report.notes, 1);
}

/* The setting reaches the pool. */
static void test_open(void)
{
	struct rig r;

	rig_open(&r, &(struct rig_options){.slots = 16});
	CU_ASSERT_EQUAL(r.engine->pool.params.numa_node, -1);
	rig_close(&r);
	rig_open(&r, &(struct rig_options){.slots = 16, .extra_key = "numa_mode", .extra_value = "auto"});
	CU_ASSERT(r.engine->pool.params.numa_node >= 0);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"map", test_map},
		{"modes", test_modes},
		{"open", test_open},
	};
	int rc;

	engine = calloc(1, sizeof(*engine));
	if (!engine)
		return 1;
	rc = kvf_test_main("numa", tests, KVF_ARRAY_LEN(tests), argc, argv);
	free(engine);
	return rc;
}
