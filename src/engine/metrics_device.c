/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA device on the metrics page: what it did, and the figures that the copy planner goes by. */
#include "engine/metrics.h"

#include <stdio.h>

#include "device/cuda.h"

#ifdef HAVE_CUDA

static const char *const directions[2] = { [KVF_COPY_GATHER] = "to_ram", [KVF_COPY_SCATTER] = "from_ram" };

static void put_copies(struct kvf_page *page)
{
	const struct kvf_stats *s = &page->stats;

	kvf_page_family(page, "kvferry_device_copies_total", "counter",
			"Copies of chunks by the GPU, by the way they went: see kvf_copy.");
	for (unsigned way = KVF_WAY_MEMCPY; way < KVF_WAYS; way++)
		kvf_page_sample(page, "kvferry_device_copies_total", "way", kvf_plan_way_name((enum kvf_copy_way)way),
				s->device_ways[way]);
	kvf_page_family(page, "kvferry_device_pieces_total", "counter", "Contiguous pieces that they consisted of.");
	kvf_page_sample(page, "kvferry_device_pieces_total", NULL, NULL, s->device_copies);
	kvf_page_family(page, "kvferry_device_bytes_total", "counter", "Bytes that they moved.");
	kvf_page_sample(page, "kvferry_device_bytes_total", NULL, NULL, s->device_bytes);
	kvf_page_family(page, "kvferry_device_calls_total", "counter",
			"Calls of the CUDA runtime that put work into a stream.");
	kvf_page_sample(page, "kvferry_device_calls_total", NULL, NULL, s->device_calls);
	kvf_page_family(page, "kvferry_device_refused_total", "counter",
			"Copies refused since their memory was not page-locked.");
	kvf_page_sample(page, "kvferry_device_refused_total", NULL, NULL, s->device_refused);
}

static void put_costs(struct kvf_page *page, const char *device, const char *direction,
		      const struct kvf_copy_costs *costs)
{
	const struct {
		const char *cost;
		uint64_t ns;
	} all[] = {
		{ "memcpy_cpu", costs->memcpy_cpu_ns }, { "memcpy_device", costs->memcpy_dev_ns },
		{ "batch_cpu", costs->batch_cpu_ns },	{ "batch_device", costs->batch_dev_ns },
		{ "kernel_cpu", costs->kernel_cpu_ns }, { "kernel_device", costs->kernel_dev_ns },
		{ "kernel_run", costs->kernel_run_ns },
	};

	for (size_t i = 0; i < KVF_ARRAY_LEN(all); i++) {
		const char *const labels[][2] = { { "device", device }, { "direction", direction },
						  { "cost", all[i].cost } };

		kvf_page_labels(page, "kvferry_device_cost_nanoseconds", labels, 3, all[i].ns);
	}
}

/* One family after another, as the format wants it. */
static void put_planner(struct kvf_page *page, const struct kvf_cuda_device *dev)
{
	struct kvf_cuda_unit_info unit;
	char device[16];

	kvf_page_family(page, "kvferry_device_figures", "gauge",
			"Where the planner's figures come from: published, measured at open, kept from before.");
	for (uint32_t n = 0; kvf_cuda_device_unit(dev, n, &unit); n++) {
		const char *const labels[][2] = { { "device", device },
						  { "figures", kvf_cuda_figures_name(unit.figures) } };

		snprintf(device, sizeof(device), "%d", unit.ordinal);
		kvf_page_labels(page, "kvferry_device_figures", labels, 2, 1);
	}
	kvf_page_family(page, "kvferry_device_link_bytes_per_second", "gauge",
			"Speed of one long copy, as the planner has it.");
	for (uint32_t n = 0; kvf_cuda_device_unit(dev, n, &unit); n++) {
		snprintf(device, sizeof(device), "%d", unit.ordinal);
		for (unsigned i = 0; i < 2; i++) {
			const char *const labels[][2] = { { "device", device }, { "direction", directions[i] } };

			kvf_page_labels(page, "kvferry_device_link_bytes_per_second", labels, 2,
					unit.costs[i].link_bytes_per_us * 1000000);
		}
	}
	kvf_page_family(page, "kvferry_device_cost_nanoseconds", "gauge",
			"Cost of a piece (memcpy, batch), a copy or a run (kernel), as the planner has it.");
	for (uint32_t n = 0; kvf_cuda_device_unit(dev, n, &unit); n++) {
		snprintf(device, sizeof(device), "%d", unit.ordinal);
		for (unsigned i = 0; i < 2; i++)
			put_costs(page, device, directions[i], &unit.costs[i]);
	}
}

void kvf_page_device(struct kvf_page *page)
{
	if (!page->engine->own_cuda_device)
		return;
	put_copies(page);
	put_planner(page, page->engine->own_cuda_device);
}

#else

void kvf_page_device(struct kvf_page *page)
{
	(void)page;
}

#endif
