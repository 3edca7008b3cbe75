/* SPDX-License-Identifier: Apache-2.0 */
/* The disk tier seen from outside: statistics, and whether its structures hold together. */
#include "tier/disk/impl.h"

void kvf_disk_stats(const struct kvf_disk *d, struct kvf_disk_stats *stats)
{
	*stats = d->stats;
	stats->aio = d->aio_ops ? d->aio_ops->name : "none";
	stats->direct = d->direct;
	stats->scanning = d->scanning;
	for (size_t i = 0; i < d->n_segments; i++)
		stats->slots += d->segment[i].n_slots;
	stats->slots_live = d->index.n_live;
	stats->slots_free = d->index.n_free;
	stats->slots_bad = d->index.n_bad;
	stats->bytes = kvf_disk_bytes(d) - d->alien_bytes;
	stats->foreign_bytes = d->alien_bytes;
	stats->max_bytes = d->params.max_bytes;
	stats->segments = d->n_segments;
	stats->depth = d->aio.depth;
	stats->depth_bytes = d->aio.max_bytes;
	stats->in_kernel = d->aio.n_kernel;
	stats->in_kernel_bytes = d->aio.kernel_bytes;
	stats->transfers = d->aio.started;
	stats->syscalls = d->aio.syscalls;
	stats->generation = d->generation;
}

int kvf_disk_verify(struct kvf_disk *d, const char **why)
{
	uint32_t readers = 0, gets = 0;
	struct kvf_list *node;

	if (kvf_disk_bytes(d) > d->params.max_bytes && !d->alien_bytes) {
		*why = "more bytes than max_local_disk_size";
		return KVF_EINTERNAL;
	}
	for (uint32_t i = 0; i < d->n_ids; i++)
		readers += d->index.slot[i].readers;
	kvf_list_for_each(node, &d->active)
	{
		struct kvf_disk_io *io = kvf_list_entry(node, struct kvf_disk_io, active);

		gets += io->kind == KVF_DISK_GET;
	}
	if (gets > readers) {
		*why = "fewer readers than gets";
		return KVF_EINTERNAL;
	}
	return kvf_disk_clear_begun(d) ? KVF_OK : kvf_disk_index_verify(&d->index, why);
}
