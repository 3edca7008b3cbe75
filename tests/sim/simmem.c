/* SPDX-License-Identifier: Apache-2.0 */
/* The allocator of simulations, see simmem.h. */
#include "tests/sim/simmem.h"

#include <stdlib.h>
#include <string.h>

/* Before each block; keeps the alignment of malloc. */
union head {
	size_t n;
	char room[16];
};

static void *sim_alloc(size_t n, void *user)
{
	struct simmem *m = user;
	union head *h;

	m->calls++;
	if ((m->fail_at && (m->calls == m->fail_at || (m->persistent && m->calls > m->fail_at))) ||
		(m->fail_ppm && wl_rng_chance(&m->rng, m->fail_ppm))) {
		m->failures++;
		return NULL;
	}
	h = malloc(sizeof(*h) + n);
	if (!h)
		return NULL;
	h->n = n;
	memset(h + 1, 0xd1, n < 4096 ? n : 4096); /* nobody may count on zeroes */
	m->live_blocks++;
	m->live_bytes += n;
	return h + 1;
}

static void sim_release(void *p, size_t n, void *user)
{
	struct simmem *m = user;
	union head *h = (union head *)p - 1;

	if (h->n != n)
		m->wrong_sizes++;
	m->live_blocks--;
	m->live_bytes -= h->n;
	memset(p, 0xdd, h->n < 4096 ? h->n : 4096);
	free(h);
}

void simmem_init(struct simmem *mem, uint64_t seed)
{
	memset(mem, 0, sizeof(*mem));
	wl_rng_seed(&mem->rng, seed);
	mem->allocator =
		(struct kvf_allocator){sizeof(mem->allocator), sim_alloc, sim_release, mem};
}

void simmem_allow(struct simmem *mem, uint64_t n)
{
	mem->fail_at = n == SIMMEM_ANY ? 0 : mem->calls + n + 1;
	mem->persistent = true;
}
