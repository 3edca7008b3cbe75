/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each way of copying costs on this card, measured when the device opens: one long copy for the link, then the
 * same small pieces by calls, by a batch and by the kernel, in both directions. The CPU's share is the time until
 * the calls have returned, the device's what is left until the event is done beyond the bytes' own time on the
 * link. Some milliseconds; the result holds until close. What cannot be measured keeps its published figure. What was
 * measured without a gap is kept in a file for the next start (calibration.h).
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/compiler.h"
#include "device/cuda_impl.h"

#define LONG_BYTES (4u * 1024u * 1024u)
#define TRY_BYTES 65536u
#define PIECE_BYTES 16384u
#define PIECES 64u
#define ROUNDS 3u
#define LOOKS 2000000u

struct probe {
	struct kvf_cuda_device *dev;
	struct cuda_unit *unit;
	enum kvf_copy_direction direction;
	uint8_t *device, *host;
	cudaEvent_t event;
	unsigned offered; /* ways of the unit before any turned out not to work */
};

static uint64_t now(const struct probe *p)
{
	return p->dev->options.now_ns ? p->dev->options.now_ns(p->dev->options.clock) : 0;
}

static cudaError_t call(const struct probe *p, uint64_t at, uint64_t bytes)
{
	bool gather = p->direction == KVF_COPY_GATHER;

	return p->dev->api->MemcpyAsync(gather ? p->host + at : p->device + at, gather ? p->device + at : p->host + at,
					bytes, gather ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice,
					p->unit->lanes[p->direction].stream);
}

static cudaError_t calls(const struct probe *p)
{
	cudaError_t error = cudaSuccess;
	uint32_t i;

	/* Pieces apart, as pages are. */
	for (i = 0; error == cudaSuccess && i < PIECES; i++)
		error = call(p, (uint64_t)i * 2 * PIECE_BYTES, PIECE_BYTES);
	return error;
}

static cudaError_t long_copy(const struct probe *p)
{
	return call(p, 0, LONG_BYTES);
}

static cudaError_t batch_of(const struct probe *p, uint32_t n)
{
	struct cudaMemcpyAttributes attributes = { .srcAccessOrder = cudaMemcpySrcAccessOrderStream };
	bool gather = p->direction == KVF_COPY_GATHER;
	struct kvf_cuda_device *dev = p->dev;
	uint32_t i;

	for (i = 0; i < n; i++) {
		uint64_t at = (uint64_t)i * 2 * PIECE_BYTES;

		dev->to[i] = gather ? p->host + at : p->device + at;
		dev->from[i] = gather ? p->device + at : p->host + at;
		dev->sizes[i] = PIECE_BYTES;
	}
	return dev->api->MemcpyBatchAsync(dev->to, dev->from, dev->sizes, n, &attributes,
					  p->unit->lanes[p->direction].stream);
}

static cudaError_t batch(const struct probe *p)
{
	return batch_of(p, PIECES);
}

static cudaError_t kernel(const struct probe *p)
{
	struct cuda_lane *lane = &p->unit->lanes[p->direction];
	bool gather = p->direction == KVF_COPY_GATHER;
	uint64_t bytes = (uint64_t)PIECES * PIECE_BYTES;
	cudaError_t error = cudaSuccess;
	uint32_t i;

	for (i = 0; i < PIECES; i++)
		lane->descs[i] = (struct cuda_desc){ .dev = (uintptr_t)p->device + (uint64_t)i * 2 * PIECE_BYTES,
						     .staged = (uint64_t)i * PIECE_BYTES,
						     .bytes = PIECE_BYTES,
						     .rows = 1 };
	if (!gather)
		error = p->dev->api->MemcpyAsync(lane->staging, p->host, bytes, cudaMemcpyHostToDevice, lane->stream);
	/* What it was is told and judged already: a launch that was refused loses no device. */
	if (error == cudaSuccess && kvf_cuda_launch(p->dev, p->unit, p->direction, 0, PIECES))
		return p->dev->lost ? cudaErrorLaunchFailure : cudaErrorInvalidValue;
	if (error == cudaSuccess && gather)
		error = p->dev->api->MemcpyAsync(p->host, lane->staging, bytes, cudaMemcpyDeviceToHost, lane->stream);
	return error;
}

/* The best of some rounds. False: it could not be measured. */
static bool measure(const struct probe *p, cudaError_t (*issue)(const struct probe *), uint64_t *cpu, uint64_t *total)
{
	uint64_t begin, issued, done;
	uint32_t round, i;
	cudaError_t error;

	*cpu = *total = UINT64_MAX;
	for (round = 0; round < ROUNDS; round++) {
		begin = now(p);
		error = issue(p);
		issued = now(p);
		if (error == cudaSuccess)
			error = p->dev->api->EventRecord(p->event, p->unit->lanes[p->direction].stream);
		for (i = 0; error == cudaSuccess && i < LOOKS; i++) {
			error = p->dev->api->EventQuery(p->event);
			if (error != cudaErrorNotReady)
				break;
			(void)p->dev->api->GetLastError();
			error = cudaSuccess;
		}
		if (error != cudaSuccess || i == LOOKS) {
			(void)kvf_cuda_status(p->dev, error == cudaSuccess ? cudaErrorNotReady : error, "calibration");
			return false;
		}
		done = now(p);
		*cpu = kvf_min_u64(*cpu, issued - begin);
		*total = kvf_min_u64(*total, done - begin);
	}
	return true;
}

static uint32_t clip(uint64_t ns)
{
	return (uint32_t)kvf_min_u64(kvf_max_u64(ns, 1), 1000000000);
}

static uint64_t beyond(uint64_t total, uint64_t link)
{
	return total > link ? total - link : 0;
}

/* False: not all of it could be measured. */
static bool calibrate_lane(struct probe *p)
{
	struct cuda_lane *lane = &p->unit->lanes[p->direction];
	struct kvf_copy_costs c = lane->costs;
	uint64_t bytes = (uint64_t)PIECES * PIECE_BYTES, cpu, total, link;
	bool whole = true;

	if (!measure(p, long_copy, &cpu, &total))
		return false;
	c.link_bytes_per_us = kvf_max_u64(LONG_BYTES * KVF_NS_PER_US / kvf_max_u64(beyond(total, cpu), 1), 1);
	link = bytes * KVF_NS_PER_US / c.link_bytes_per_us;
	if (!measure(p, calls, &cpu, &total))
		return false;
	c.memcpy_cpu_ns = clip(cpu / PIECES);
	c.memcpy_dev_ns = clip(beyond(total, link) / PIECES);
	if (p->unit->ways & 1u << KVF_WAY_BATCH) {
		whole = measure(p, batch, &cpu, &total);
		c.batch_cpu_ns = whole ? clip(cpu / PIECES) : c.batch_cpu_ns;
		c.batch_dev_ns = whole ? clip(beyond(total, link) / PIECES) : c.batch_dev_ns;
	}
	if (p->unit->ways & 1u << KVF_WAY_KERNEL && p->dev->options.staging_bytes >= bytes) {
		if (measure(p, kernel, &cpu, &total)) {
			c.kernel_cpu_ns = clip(cpu);
			c.kernel_dev_ns = clip(beyond(beyond(total, cpu), link));
		} else {
			p->unit->ways &= ~(1u << KVF_WAY_KERNEL);
			whole = false;
		}
	}
	lane->costs = c;
	return whole;
}

static void tell(struct kvf_cuda_device *dev, const struct cuda_unit *unit, enum kvf_copy_direction direction)
{
	const struct kvf_copy_costs *c = &unit->lanes[direction].costs;
	char text[240];

	snprintf(text, sizeof(text),
		 "device %d %s, %s: link %" PRIu64 " MB/s; ns cpu/device: memcpy %" PRIu32 "/%" PRIu32
		 " a piece, batch %" PRIu32 "/%" PRIu32 " a piece, kernel %" PRIu32 "/%" PRIu32 " a copy%s",
		 unit->ordinal, direction == KVF_COPY_GATHER ? "to RAM" : "from RAM",
		 kvf_cuda_figures_name(unit->figures), c->link_bytes_per_us,
		 c->memcpy_cpu_ns, c->memcpy_dev_ns, c->batch_cpu_ns, c->batch_dev_ns, c->kernel_cpu_ns,
		 c->kernel_dev_ns, unit->ways & 1u << KVF_WAY_KERNEL ? "" : " (no kernel)");
	if (dev->host->log)
		dev->host->log(dev->host, KVF_LOG_INFO, text);
}

/* What a driver without batches says: it is of the same major version, but older than 12.8. */
static bool is_unknown(cudaError_t error)
{
	return error == cudaErrorCallRequiresNewerDriver || error == cudaErrorNotSupported ||
	       error == cudaErrorSymbolNotFound || error == cudaErrorStubLibrary;
}

/* One batch, to see whether there is such a thing. */
static int try_batch(struct probe *p)
{
	cudaError_t error = batch_of(p, 2);

	if (is_unknown(error)) {
		(void)p->dev->api->GetLastError();
		p->unit->ways &= ~(1u << KVF_WAY_BATCH);
		return KVF_OK;
	}
	return kvf_cuda_status(p->dev, error, "calibration: cudaMemcpyBatchAsync");
}

static void run_probes(struct probe *p, const char *key)
{
	struct kvf_cuda_device *dev = p->dev;
	struct kvf_copy_costs costs[2];
	bool whole = true;

	p->unit->figures = KVF_FIGURES_MEASURED;
	for (p->direction = KVF_COPY_GATHER; p->direction <= KVF_COPY_SCATTER && !dev->lost; p->direction++) {
		whole = calibrate_lane(p) && whole;
		costs[p->direction] = p->unit->lanes[p->direction].costs;
		tell(dev, p->unit, p->direction);
	}
	/* A way that turned out not to be one is looked for at the next start again. */
	if (!whole || dev->lost || !*key || p->unit->ways != p->offered)
		return;
	if (!kvf_calibration_save(dev->mem, dev->options.calibration_file, key, costs) && dev->host->log)
		dev->host->log(dev->host, KVF_LOG_INFO, "calibration: could not be kept, the file cannot be written "
							"or is none of ours");
}

/* --- kept from an earlier start ---------------------------------------------------------------------------------- */

/* What the figures depend on: the card and where it sits, driver, runtime, this library, the ways there are. "": nobody
 * knows the card, so nothing is kept. */
static void make_key(struct kvf_cuda_device *dev, const struct cuda_unit *unit, char key[KVF_CALIBRATION_KEY])
{
	struct cudaDeviceProp card;
	char bus[32] = "";
	int driver = 0, runtime = 0;

	key[0] = '\0';
	if (!dev->options.calibration_file[0])
		return;
	if (kvf_cuda_status(dev, dev->api->GetDeviceProperties(&card, unit->ordinal), "cudaGetDeviceProperties") ||
	    kvf_cuda_status(dev, dev->api->DeviceGetPCIBusId(bus, sizeof(bus), unit->ordinal),
			    "cudaDeviceGetPCIBusId") ||
	    dev->api->DriverGetVersion(&driver) != cudaSuccess || dev->api->RuntimeGetVersion(&runtime) != cudaSuccess)
		return;
	snprintf(key, KVF_CALIBRATION_KEY, "%.100s, %s, driver %d, runtime %d, kvferry %s, ways %u, staging %" PRIu64,
		 card.name, bus, driver, runtime, kvf_version(), unit->ways,
		 kvf_min_u64(dev->options.staging_bytes, (uint64_t)PIECES * PIECE_BYTES));
}

static bool take_kept(struct kvf_cuda_device *dev, struct cuda_unit *unit, const char *key)
{
	struct kvf_copy_costs costs[2];

	if (!*key || !kvf_calibration_load(dev->mem, dev->options.calibration_file, key, costs))
		return false;
	unit->figures = KVF_FIGURES_KEPT;
	for (unsigned i = 0; i < 2; i++) {
		unit->lanes[i].costs = costs[i];
		tell(dev, unit, (enum kvf_copy_direction)i);
	}
	return true;
}

static int open_probe(struct probe *p, uint64_t bytes)
{
	struct kvf_cuda_device *dev = p->dev;
	int rc = kvf_cuda_status(dev, dev->api->Malloc((void **)(uintptr_t)&p->device, bytes),
				 "calibration: cudaMalloc");

	if (rc)
		p->device = NULL;
	else
		rc = kvf_cuda_status(dev,
				     dev->api->HostAlloc((void **)(uintptr_t)&p->host, bytes,
							 cudaHostAllocPortable),
				     "calibration: cudaHostAlloc");
	if (rc)
		p->host = NULL;
	else
		rc = kvf_cuda_event_get(dev, p->unit, &p->event);
	return rc;
}

/* Freeing waits for what may still be running of a measurement that failed. */
static void close_probe(struct probe *p)
{
	struct kvf_cuda_device *dev = p->dev;

	if (p->event)
		kvf_cuda_event_put(p->unit, p->event);
	if (p->device)
		(void)kvf_cuda_status(dev, dev->api->Free(p->device), "cudaFree");
	if (p->host)
		(void)kvf_cuda_status(dev, dev->api->FreeHost(p->host), "cudaFreeHost");
}

int kvf_cuda_calibrate(struct kvf_cuda_device *dev, struct cuda_unit *unit)
{
	bool measures = dev->options.copy == KVF_WAY_AUTO && dev->options.now_ns;
	struct probe p = { .dev = dev, .unit = unit, .offered = unit->ways };
	char key[KVF_CALIBRATION_KEY] = "";
	int rc;

	if (dev->options.copy == KVF_WAY_MEMCPY || dev->options.copy == KVF_WAY_KERNEL)
		return KVF_OK;
	dev->trying = true;
	if (measures)
		make_key(dev, unit, key);
	if (!dev->lost && take_kept(dev, unit, key)) {
		dev->trying = false;
		return KVF_OK;
	}
	rc = open_probe(&p, measures ? LONG_BYTES : TRY_BYTES);
	if (!rc)
		rc = try_batch(&p);
	if (!rc && measures)
		run_probes(&p, key);
	close_probe(&p);
	dev->trying = false;
	if (dev->lost)
		return KVF_EDEVLOST;
	if (rc && dev->options.copy == KVF_WAY_BATCH)
		return rc;
	if (rc) /* nobody knows whether there are batches */
		unit->ways &= ~(1u << KVF_WAY_BATCH);
	if (dev->options.copy == KVF_WAY_BATCH && !(unit->ways & 1u << KVF_WAY_BATCH))
		return kvf_cuda_refuse(dev, KVF_ENOTSUP, "kvf_copy: batch: this driver has no cudaMemcpyBatchAsync");
	return KVF_OK;
}
