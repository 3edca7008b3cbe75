/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of the fake CUDA runtime. Device memory is a file mapped twice: once where its address faults, once for us. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fake/fake_cuda_impl.h"

#define PAGE 4096u
#define POISON 65536u /* of page-locked memory: what nobody wrote must not look like zeros */

struct fake_memory *fake_memory_of(const void *p)
{
	for (struct fake_memory *m = fake_world.memory; m; m = m->next)
		if ((const uint8_t *)p >= m->at && (const uint8_t *)p < m->at + m->n)
			return m;
	return NULL;
}

uint8_t *fake_bytes(const void *p, size_t n, bool device)
{
	struct fake_memory *m = fake_memory_of(p);

	/* What a lost device still does to memory that was taken back reaches nobody. */
	if ((!m || (const uint8_t *)p + n > m->at + m->n) && fake_world.sticky)
		return NULL;
	if (!m || (const uint8_t *)p + n > m->at + m->n) {
		fake_violate("%zu bytes at %p are %s", n, p, m ? "partly outside" : "pageable memory");
		return NULL;
	}
	if ((m->kind == FAKE_DEVICE) != device) {
		fake_violate("%p is on the wrong side", p);
		return NULL;
	}
	return m->shadow + ((const uint8_t *)p - m->at);
}

void *fake_cuda_shadow(const void *p)
{
	struct fake_memory *m = fake_memory_of(p);

	return m ? m->shadow + ((const uint8_t *)p - m->at) : NULL;
}

static struct fake_memory *add(enum fake_memory_kind kind, void *at, size_t n)
{
	struct fake_memory *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	m->kind = kind;
	m->device = fake_world.current;
	m->at = m->shadow = at;
	m->n = n;
	m->next = fake_world.memory;
	fake_world.memory = m;
	return m;
}

static void drop(struct fake_memory *m)
{
	struct fake_memory **at = &fake_world.memory;

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	if (m->kind == FAKE_DEVICE) {
		fake_world.device_used -= m->n;
		munmap(m->at, m->mapped);
		munmap(m->shadow, m->mapped);
	} else if (m->kind == FAKE_PINNED) {
		free(m->at);
	}
	free(m);
}

cudaError_t fake_malloc(void **out, size_t n)
{
	size_t mapped = (n + PAGE - 1) / PAGE * PAGE;
	struct fake_memory *m;
	void *at, *shadow;
	int fd;

	if (fake_world.config.device_bytes && fake_world.device_used + n > fake_world.config.device_bytes)
		return cudaErrorMemoryAllocation;
	fd = memfd_create("fake_cuda", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)mapped))
		abort();
	at = mmap(NULL, mapped, PROT_NONE, MAP_SHARED, fd, 0);
	shadow = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED || shadow == MAP_FAILED)
		abort();
	m = add(FAKE_DEVICE, at, n);
	m->shadow = shadow;
	m->mapped = mapped;
	fake_world.device_used += n;
	*out = at;
	return cudaSuccess;
}

/* Waits for the device, as the real one does. */
cudaError_t fake_free(void *p)
{
	struct fake_memory *m = fake_memory_of(p);

	if (!p)
		return cudaSuccess;
	if (!m || m->kind != FAKE_DEVICE || m->at != p)
		return cudaErrorInvalidValue;
	fake_cuda_finish();
	drop(m);
	return cudaSuccess;
}

cudaError_t fake_host_alloc(void **out, size_t n)
{
	void *p = aligned_alloc(PAGE, (n + PAGE - 1) / PAGE * PAGE);

	if (!p)
		abort();
	memset(p, 0xA5, n < POISON ? n : POISON);
	add(FAKE_PINNED, p, n);
	*out = p;
	return cudaSuccess;
}

cudaError_t fake_free_host(void *p)
{
	struct fake_memory *m = fake_memory_of(p);

	if (!p)
		return cudaSuccess;
	if (!m || m->kind != FAKE_PINNED || m->at != p)
		return cudaErrorInvalidValue;
	fake_cuda_finish();
	if (fake_in_use(p, m->n))
		fake_violate("page-locked memory freed in use");
	drop(m);
	return cudaSuccess;
}

cudaError_t fake_register(void *p, size_t n)
{
	if (!p || !n)
		return cudaErrorInvalidValue;
	for (struct fake_memory *m = fake_world.memory; m; m = m->next)
		if ((uint8_t *)p < m->at + m->n && (uint8_t *)p + n > m->at)
			return cudaErrorHostMemoryAlreadyRegistered;
	add(FAKE_REGISTERED, p, n);
	return cudaSuccess;
}

cudaError_t fake_unregister(void *p)
{
	struct fake_memory *m = fake_memory_of(p);

	if (!m || m->kind != FAKE_REGISTERED || m->at != p)
		return cudaErrorHostMemoryNotRegistered;
	if (fake_in_use(p, m->n))
		fake_violate("page-locked memory unregistered in use");
	drop(m);
	return cudaSuccess;
}

void fake_memory_clear(void)
{
	while (fake_world.memory)
		drop(fake_world.memory);
}

size_t fake_cuda_live_pinned(void)
{
	size_t n = 0;

	for (struct fake_memory *m = fake_world.memory; m; m = m->next)
		n += m->kind == FAKE_DEVICE ? 0 : m->n;
	return n;
}
