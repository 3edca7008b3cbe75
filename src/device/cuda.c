/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA device: open and close, what the layout points at, page-locking of the pool. */
#include "device/cuda.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "device/cuda_impl.h"

/* How often close looks at what is in flight: the engine closes with nothing in flight, so this is for its failures. */
#define CLOSE_LOOKS 1000000u

/* --- is there a device? ------------------------------------------------------------------------------------------ */

static int check_driver(struct kvf_cuda_device *dev)
{
	int driver = 0, runtime = 0, count = 0;
	cudaError_t error = dev->api->GetDeviceCount(&count);

	if (error == cudaSuccess && count > 0)
		return KVF_OK;
	(void)dev->api->GetLastError();
	if (dev->api->DriverGetVersion(&driver) != cudaSuccess)
		driver = 0;
	if (dev->api->RuntimeGetVersion(&runtime) != cudaSuccess)
		runtime = 0;
	if (error == cudaErrorInsufficientDriver && driver > 0)
		return kvf_cuda_refuse(dev, KVF_EDRIVER,
				       "device cuda: the driver is for CUDA %d.%d, this library needs CUDA %d.%d",
				       driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
	if (error == cudaErrorInsufficientDriver)
		return kvf_cuda_refuse(
			dev, KVF_ENODEV,
			"device cuda: the layout is in device memory, this machine has no NVIDIA driver");
	if (error == cudaSuccess || error == cudaErrorNoDevice)
		return kvf_cuda_refuse(dev, KVF_ENODEV,
				       "device cuda: the layout is in device memory, but there is no CUDA device");
	kvf_cuda_status(dev, error, "device cuda: cudaGetDeviceCount");
	return dev->lost ? KVF_EDEVLOST : KVF_ENODEV;
}

/* --- the layout -------------------------------------------------------------------------------------------------- */

static int check_pointer(struct kvf_cuda_device *dev, const char *where, const uint8_t *p, int32_t device)
{
	struct cudaPointerAttributes a = { .type = cudaMemoryTypeUnregistered };
	int rc = kvf_cuda_status(dev, dev->api->PointerGetAttributes(&a, p), "cudaPointerGetAttributes");

	if (rc)
		return rc;
	if (a.type != cudaMemoryTypeDevice)
		return kvf_cuda_refuse(dev, KVF_EINVAL, "%s: %p is %s, must be memory of device %" PRId32, where,
				       (const void *)p,
				       a.type == cudaMemoryTypeManaged ? "managed memory" :
				       a.type == cudaMemoryTypeHost    ? "host memory" :
									 "not known to CUDA",
				       device);
	if (a.device != device)
		return kvf_cuda_refuse(dev, KVF_EINVAL, "%s: %p is memory of device %d, declared as of device %" PRId32,
				       where, (const void *)p, a.device, device);
	return KVF_OK;
}

/* First and last byte of one layer and plane. */
static int check_layer(struct kvf_cuda_device *dev, const struct kvf_group *g, const char *where,
		       const struct kvf_layer *layer, uint32_t plane)
{
	const uint8_t *base = layer->base[plane];
	uint64_t last = (g->n_blocks - 1) * g->block_stride + (g->block_tokens - 1) * g->token_stride +
			(g->heads - 1) * g->head_stride + g->head_elems * kvf_dtype_bytes(g->dtype) - 1;
	int rc = check_pointer(dev, where, base, layer->device);

	return rc ? rc : check_pointer(dev, where, base + last, layer->device);
}

static int check_layout(struct kvf_cuda_device *dev, const struct kvf_layout *layout)
{
	char where[64];
	uint32_t i, l, p;
	int rc = KVF_OK;

	if (layout->kind != KVF_LAYOUT_PAGED)
		return kvf_cuda_refuse(dev, KVF_ENOTSUP,
				       "device cuda: an opaque layout needs a device of the application's own");
	for (i = 0; i < layout->n_groups; i++) {
		const struct kvf_group *g = &layout->groups[i];

		for (l = 0; l < g->n_layers; l++) {
			if (g->layers[l].device < 0)
				return kvf_cuda_refuse(dev, KVF_ENOTSUP,
						       "device cuda: layer %" PRIu32 " of layout group %" PRIu32
						       " is in host memory, others are not: all or none",
						       l, i);
			for (p = 0; !rc && p < g->planes; p++) {
				snprintf(where, sizeof(where),
					 "layout group %" PRIu32 ", layer %" PRIu32 ", base[%" PRIu32 "]", i, l, p);
				rc = check_layer(dev, g, where, &g->layers[l], p);
			}
			if (rc)
				return rc;
		}
	}
	return KVF_OK;
}

struct cuda_unit *kvf_cuda_unit_of(struct kvf_cuda_device *dev, int ordinal)
{
	uint32_t u;

	for (u = 0; u < dev->n_units; u++)
		if (dev->units[u].ordinal == ordinal)
			return &dev->units[u];
	return NULL;
}

/* Devices of the layout, in order of first use. */
static int collect_units(struct kvf_cuda_device *dev)
{
	uint32_t i, l;

	dev->units = kvf_mem_zalloc(dev->mem, CUDA_UNITS * sizeof(*dev->units));
	if (!dev->units)
		return KVF_ENOMEM;
	for (i = 0; i < dev->plan.layout.n_groups; i++) {
		const struct kvf_group *g = &dev->plan.layout.groups[i];

		for (l = 0; l < g->n_layers; l++) {
			if (kvf_cuda_unit_of(dev, g->layers[l].device))
				continue;
			if (dev->n_units == CUDA_UNITS)
				return kvf_cuda_refuse(dev, KVF_ENOTSUP,
						       "device cuda: more than %d devices in one layout", CUDA_UNITS);
			dev->units[dev->n_units++].ordinal = g->layers[l].device;
		}
	}
	return KVF_OK;
}

/* --- open and close ---------------------------------------------------------------------------------------------- */

/* Where the word does not work it is refused, not replaced. */
static int find_write_value(struct kvf_cuda_device *dev)
{
	enum cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
	void *function = NULL;
	int rc;

	if (!dev->options.word)
		return KVF_OK;
	rc = kvf_cuda_status(dev,
			     dev->api->GetDriverEntryPointByVersion("cuStreamWriteValue64", &function, 12000,
								    cudaEnableDefault, &found),
			     "cudaGetDriverEntryPointByVersion");
	if (rc)
		return rc;
	if (found != cudaDriverEntryPointSuccess || !function)
		return kvf_cuda_refuse(dev, KVF_ENOTSUP,
				       "kvf_completion: word needs cuStreamWriteValue64, which this driver lacks");
	memcpy(&dev->write_value, &function, sizeof(function));
	return KVF_OK;
}

static int load_kernels(struct kvf_cuda_device *dev)
{
	static const char *const names[2] = { "kvf_gather", "kvf_scatter" };
	bool wanted = dev->options.copy == KVF_WAY_KERNEL;
	unsigned i;
	int rc = KVF_OK;

	if (dev->options.copy != KVF_WAY_AUTO && !wanted)
		return KVF_OK;
	if (!dev->api->kernels || !dev->options.staging_bytes)
		return !wanted ? KVF_OK :
				 kvf_cuda_refuse(dev, KVF_ENOTSUP, "kvf_copy: kernel: %s",
						 dev->api->kernels ? "there is no staging buffer" :
								     "this build has no kernels (no nvcc)");
	dev->trying = !wanted;
	rc = kvf_cuda_status(dev,
			     dev->api->LibraryLoadData(&dev->library, dev->api->kernels, NULL, NULL, 0, NULL, NULL, 0),
			     "cudaLibraryLoadData");
	if (rc)
		dev->library = NULL;
	for (i = 0; !rc && i < 2; i++)
		rc = kvf_cuda_status(dev, dev->api->LibraryGetKernel(&dev->kernels[i], dev->library, names[i]),
				     "cudaLibraryGetKernel");
	dev->trying = false;
	if (!rc)
		return KVF_OK;
	dev->kernels[0] = dev->kernels[1] = NULL;
	/* One way less; a device that is lost is another matter. */
	return wanted || dev->lost ? rc : KVF_OK;
}

static int open_units(struct kvf_cuda_device *dev, struct cuda_scope *scope)
{
	uint32_t u;
	int rc = collect_units(dev);

	if (!rc)
		rc = find_write_value(dev);
	for (u = 0; !rc && u < dev->n_units; u++) {
		rc = kvf_cuda_use(dev, scope, &dev->units[u]);
		if (!rc && !u)
			rc = load_kernels(dev);
		if (!rc && !u)
			rc = kvf_cuda_status(dev,
					     dev->api->HostAlloc((void **)(uintptr_t)&dev->words,
								 2 * CUDA_UNITS * (size_t)64,
								 cudaHostAllocPortable | cudaHostAllocMapped),
					     "cudaHostAlloc");
		if (!rc)
			rc = kvf_cuda_unit_open(dev, scope, &dev->units[u]);
		if (!rc)
			rc = kvf_cuda_calibrate(dev, &dev->units[u]);
		if (!rc && dev->lost)
			rc = KVF_EDEVLOST;
	}
	return rc;
}

static void close_units(struct kvf_cuda_device *dev)
{
	struct cuda_scope scope;
	uint32_t u;

	if (!dev->units)
		return;
	if (kvf_cuda_enter_to_free(dev, &scope) == KVF_OK) {
		for (u = 0; u < dev->n_units; u++)
			kvf_cuda_unit_close(dev, &scope, &dev->units[u]);
		if (dev->words)
			(void)kvf_cuda_status(dev, dev->api->FreeHost((void *)(uintptr_t)dev->words), "cudaFreeHost");
		if (dev->library)
			(void)kvf_cuda_status(dev, dev->api->LibraryUnload(dev->library), "cudaLibraryUnload");
		kvf_cuda_leave(dev, &scope);
	}
	for (u = 0; u < dev->n_units; u++) {
		struct cuda_unit *unit = &dev->units[u];

		kvf_mem_free(dev->mem, unit->events, unit->events_cap * sizeof(*unit->events));
		kvf_mem_free(dev->mem, unit->lanes[0].marks, CUDA_MARKS * sizeof(struct cuda_mark));
		kvf_mem_free(dev->mem, unit->lanes[1].marks, CUDA_MARKS * sizeof(struct cuda_mark));
	}
	kvf_mem_free(dev->mem, dev->units, CUDA_UNITS * sizeof(*dev->units));
	dev->units = NULL;
	dev->n_units = 0;
	dev->words = NULL;
	dev->library = NULL;
	dev->kernels[0] = dev->kernels[1] = NULL;
}

static void cuda_close(void *self)
{
	struct kvf_cuda_device *dev = self;
	uint32_t i;

	if (!dev->host)
		return;
	/* May block, like the freeing below; but not for ever. */
	for (i = 0; i < CLOSE_LOOKS && !dev->lost && kvf_cuda_busy(dev) && !(dev->waiting[0] || dev->waiting[1]); i++)
		(void)kvf_cuda_progress(dev, 0);
	kvf_cuda_end_all(dev, dev->lost ? KVF_EDEVLOST : KVF_ECANCELED);
	close_units(dev);
	kvf_layout_fini(&dev->plan, dev->mem);
	kvf_mem_free(dev->mem, dev->runs, CUDA_RUNS * sizeof(*dev->runs));
	kvf_mem_free(dev->mem, dev->locked, dev->cap_locked * sizeof(*dev->locked));
	dev->runs = NULL;
	dev->locked = NULL;
	dev->n_locked = dev->cap_locked = 0;
	dev->host = NULL;
}

static int cuda_open(void *self, struct kvf_device_host *host, const struct kvf_layout *layout, uint32_t *caps)
{
	struct kvf_cuda_device *dev = self;
	struct cuda_scope scope;
	char detail[256] = "";
	int rc;

	dev->host = host;
	dev->lost = false;
	rc = kvf_layout_init(&dev->plan, dev->mem, layout, dev->options.chunk_tokens, detail, sizeof(detail));
	if (rc)
		kvf_cuda_refuse(dev, rc, "%s", detail);
	if (!rc && layout->kind == KVF_LAYOUT_PAGED)
		rc = check_driver(dev);
	if (!rc)
		rc = kvf_cuda_enter(dev, &scope);
	if (!rc) {
		rc = check_layout(dev, layout);
		dev->runs = rc ? NULL : kvf_mem_alloc(dev->mem, CUDA_RUNS * sizeof(*dev->runs));
		if (!rc && !dev->runs)
			rc = KVF_ENOMEM;
		if (!rc)
			rc = open_units(dev, &scope);
		kvf_cuda_leave(dev, &scope);
	}
	if (rc) {
		cuda_close(dev);
		return rc;
	}
	*caps = KVF_DEVICE_LAYERWISE | KVF_DEVICE_FENCES;
	return KVF_OK;
}

static int cuda_rebind(void *self, const struct kvf_layout *layout)
{
	struct kvf_cuda_device *dev = self;
	struct cuda_scope scope;
	char detail[256] = "";
	uint32_t i, l;
	int rc;

	if (kvf_cuda_busy(dev))
		return KVF_EBUSY;
	for (i = 0; i < layout->n_groups; i++)
		for (l = 0; l < layout->groups[i].n_layers; l++)
			if (!kvf_cuda_unit_of(dev, layout->groups[i].layers[l].device))
				return kvf_cuda_refuse(dev, KVF_EINVAL, "rebind: device %" PRId32 " is a new one",
						       layout->groups[i].layers[l].device);
	rc = kvf_cuda_enter(dev, &scope);
	if (rc)
		return rc;
	rc = check_layout(dev, layout);
	kvf_cuda_leave(dev, &scope);
	if (!rc)
		rc = kvf_layout_rebind(&dev->plan, layout, detail, sizeof(detail));
	return rc && detail[0] ? kvf_cuda_refuse(dev, rc, "%s", detail) : rc;
}

/* --- page-locking ------------------------------------------------------------------------------------------------ */

static int cuda_lock(void *self, void *p, size_t n)
{
	struct kvf_cuda_device *dev = self;
	struct cuda_scope scope;
	void *locked = dev->locked;
	int rc = kvf_mem_grow(dev->mem, &locked, &dev->cap_locked, dev->n_locked + 1, sizeof(*dev->locked));

	dev->locked = locked;
	if (rc)
		return rc;
	if (dev->lost)
		return KVF_EDEVLOST;
	rc = kvf_cuda_enter(dev, &scope);
	if (rc)
		return rc;
	rc = kvf_cuda_use(dev, &scope, &dev->units[0]);
	if (!rc) {
		cudaError_t error = dev->api->HostRegister(p, n, cudaHostRegisterPortable);

		rc = kvf_cuda_status(dev, error, "cudaHostRegister");
		if (rc)
			kvf_cuda_refuse(dev, rc, "pool: %zu bytes could not be page-locked", n);
	}
	kvf_cuda_leave(dev, &scope);
	if (!rc)
		dev->locked[dev->n_locked++] = (struct cuda_range){ (uintptr_t)p, (uintptr_t)p + n };
	return rc;
}

/* A device that was given up may be at work still: errors that say little may have been all there was. Waits for it,
 * but not for ever. */
static bool still_runs(struct kvf_cuda_device *dev)
{
	uint32_t i, looks = 0;

	for (i = 0; dev->lost && i < 2 * dev->n_units; i++) {
		cudaStream_t stream = dev->units[i / 2].lanes[i % 2].stream;

		while (dev->api->StreamQuery(stream) == cudaErrorNotReady)
			if (++looks > CLOSE_LOOKS)
				return true;
		(void)dev->api->GetLastError();
	}
	return false;
}

static void cuda_unlock(void *self, void *p, size_t n)
{
	struct kvf_cuda_device *dev = self;
	struct cuda_scope scope;
	size_t i;

	(void)n;
	for (i = 0; i < dev->n_locked; i++) {
		if (dev->locked[i].begin != (uintptr_t)p)
			continue;
		dev->locked[i] = dev->locked[--dev->n_locked];
		break;
	}
	if (kvf_cuda_enter_to_free(dev, &scope))
		return;
	/* What is still written to stays with the driver, which holds the pages though they are unmapped here. */
	if (!kvf_cuda_use_to_free(dev, &scope, &dev->units[0]) && !still_runs(dev))
		(void)kvf_cuda_status(dev, dev->api->HostUnregister(p), "cudaHostUnregister");
	kvf_cuda_leave(dev, &scope);
}

const struct kvf_device_ops kvf_device_cuda_ops = {
	.size = sizeof(struct kvf_device_ops),
	.name = "cuda",
	.open = cuda_open,
	.close = cuda_close,
	.rebind = cuda_rebind,
	.lock = cuda_lock,
	.unlock = cuda_unlock,
	.capture = kvf_cuda_capture,
	.release = kvf_cuda_release,
	.copy = kvf_cuda_copy,
	.cancel = kvf_cuda_cancel,
	.fence = kvf_cuda_fence,
	.progress = kvf_cuda_progress,
};

int kvf_cuda_device_new(struct kvf_mem *mem, const struct kvf_cuda_options *options, struct kvf_cuda_device **out)
{
	struct kvf_cuda_device *dev = kvf_mem_zalloc(mem, sizeof(*dev));

	if (!dev)
		return KVF_ENOMEM;
	dev->mem = mem;
	dev->options = *options;
	dev->api = options->api ? options->api : &kvf_cuda_real;
	if (dev->options.copy >= KVF_WAYS)
		dev->options.copy = KVF_WAY_AUTO;
	*out = dev;
	return KVF_OK;
}

void kvf_cuda_device_free(struct kvf_mem *mem, struct kvf_cuda_device *dev)
{
	kvf_mem_free(mem, dev, sizeof(*dev));
}

void kvf_cuda_device_stats(const struct kvf_cuda_device *dev, struct kvf_cuda_stats *stats)
{
	*stats = dev->stats;
}

const struct kvf_copy_costs *kvf_cuda_device_costs(const struct kvf_cuda_device *dev, uint32_t n,
						   enum kvf_copy_direction direction)
{
	return n < dev->n_units ? &dev->units[n].lanes[direction].costs : NULL;
}

bool kvf_cuda_device_unit(const struct kvf_cuda_device *dev, uint32_t n, struct kvf_cuda_unit_info *out)
{
	const struct cuda_unit *unit = &dev->units[n];

	if (n >= dev->n_units)
		return false;
	*out = (struct kvf_cuda_unit_info){ .ordinal = unit->ordinal, .figures = unit->figures, .ways = unit->ways };
	out->costs[KVF_COPY_GATHER] = unit->lanes[KVF_COPY_GATHER].costs;
	out->costs[KVF_COPY_SCATTER] = unit->lanes[KVF_COPY_SCATTER].costs;
	return true;
}

const char *kvf_cuda_figures_name(enum kvf_cuda_figures figures)
{
	static const char *const names[KVF_FIGURES] = { "published", "measured", "kept" };

	return figures < KVF_FIGURES ? names[figures] : "?";
}
