/* SPDX-License-Identifier: Apache-2.0 */
/* The copy planner: see plan.h. */
#include "device/plan.h"

#include "base/compiler.h"

const struct kvf_copy_costs kvf_copy_costs_default = {
	.link_bytes_per_us = 50000,
	.memcpy_cpu_ns = 2800,
	.memcpy_dev_ns = 1500,
	.batch_cpu_ns = 600,
	.batch_dev_ns = 600,
	.kernel_cpu_ns = 8000,
	.kernel_dev_ns = 12000,
	.kernel_run_ns = 20,
};

uint64_t kvf_plan_cost(const struct kvf_copy_costs *c, const struct kvf_copy_shape *s, enum kvf_copy_way way)
{
	uint64_t link = s->bytes / kvf_max_u64(c->link_bytes_per_us, 1) * 1000 +
			s->bytes % kvf_max_u64(c->link_bytes_per_us, 1) * 1000 / kvf_max_u64(c->link_bytes_per_us, 1);
	uint64_t cpu, dev;

	switch (way) {
	case KVF_WAY_BATCH:
		/* And the call itself, as any other. */
		cpu = c->memcpy_cpu_ns + s->pieces * c->batch_cpu_ns;
		dev = c->memcpy_dev_ns + s->pieces * c->batch_dev_ns + link;
		break;
	case KVF_WAY_KERNEL:
		/* The kernel begins when all of it is described. */
		cpu = c->kernel_cpu_ns + s->runs * c->kernel_run_ns;
		dev = cpu + c->kernel_dev_ns + link;
		break;
	default:
		cpu = s->runs * c->memcpy_cpu_ns;
		dev = s->pieces * c->memcpy_dev_ns + link;
		break;
	}
	return kvf_max_u64(cpu, dev) + cpu / 2;
}

enum kvf_copy_way kvf_plan_choose(const struct kvf_copy_costs *costs, const struct kvf_copy_shape *shape,
				  unsigned usable)
{
	enum kvf_copy_way best = KVF_WAY_MEMCPY, way;
	uint64_t least = UINT64_MAX, cost;

	for (way = KVF_WAY_MEMCPY; way < KVF_WAYS; way++) {
		if (!(usable & 1u << way))
			continue;
		cost = kvf_plan_cost(costs, shape, way);
		if (cost < least) {
			least = cost;
			best = way;
		}
	}
	return best;
}

const char *kvf_plan_way_name(enum kvf_copy_way way)
{
	static const char *const names[KVF_WAYS] = { "auto", "memcpy", "batch", "kernel" };

	return way < KVF_WAYS ? names[way] : "?";
}

int kvf_plan_check_copy(const struct kvf_layout_plan *plan, const struct kvf_copy *copy)
{
	struct kvf_blocks blocks = { copy->n_groups, copy->groups };

	if (copy->direction > KVF_COPY_SCATTER || !copy->payload)
		return KVF_EINVAL;
	if (copy->chunk_tokens > plan->chunk_tokens || copy->first > copy->chunk_tokens ||
	    copy->n > copy->chunk_tokens - copy->first ||
	    copy->payload_bytes < kvf_layout_payload_bytes(plan, copy->chunk_tokens))
		return KVF_ERANGE;
	if (kvf_layout_check_blocks(plan, &blocks, copy->chunk_first_token + copy->first, copy->n, NULL, 0))
		return KVF_EINVAL;
	return KVF_OK;
}

struct packer {
	struct kvf_segment *out;
	uint32_t n, cap;
	bool full;
};

static void pack(struct packer *p, uint64_t pay, uint64_t bytes)
{
	struct kvf_segment *last = p->n ? &p->out[p->n - 1] : NULL;

	if (!bytes)
		return;
	if (last && last->pay + last->bytes == pay) {
		last->bytes += bytes;
		return;
	}
	if (p->n == p->cap) {
		p->full = true;
		return;
	}
	p->out[p->n++] = (struct kvf_segment){ pay, last ? last->at + last->bytes : 0, bytes };
}

/* Layers [begin, end) of one group whose bytes start at `pay`. */
static void pack_group(struct packer *p, const struct kvf_group *g, const struct kvf_group_plan *d, uint64_t pay,
		       uint32_t chunk_tokens, uint32_t begin, uint32_t end)
{
	uint64_t plane = chunk_tokens * d->row_bytes * g->n_layers, layer, at;
	uint32_t i, n;

	if (!d->page_tokens) {
		layer = chunk_tokens * d->row_bytes;
		for (i = 0; i < g->planes; i++)
			pack(p, pay + i * plane + begin * layer, (end - begin) * layer);
		return;
	}
	for (i = 0; i < chunk_tokens; i += d->page_tokens) {
		n = (uint32_t)kvf_min_u64(d->page_tokens, chunk_tokens - i);
		layer = n * d->row_bytes * g->planes;
		at = pay + i * d->row_bytes * g->planes * g->n_layers;
		pack(p, at + begin * layer, (end - begin) * layer);
	}
}

uint32_t kvf_plan_segments(const struct kvf_layout_plan *plan, const struct kvf_copy *copy, struct kvf_segment *out,
			   uint32_t cap)
{
	struct packer p = { out, 0, cap, false };
	uint64_t base = 0, begin = copy->first_layer, end = begin + copy->n_layers, pay = 0;
	uint32_t i;

	for (i = 0; i < plan->layout.n_groups; i++) {
		const struct kvf_group *g = &plan->layout.groups[i];
		const struct kvf_group_plan *d = &plan->derived[i];
		uint64_t top = base + g->n_layers;

		if (begin < top && end > base)
			pack_group(&p, g, d, pay, copy->chunk_tokens, begin > base ? (uint32_t)(begin - base) : 0,
				   (uint32_t)(kvf_min_u64(end, top) - base));
		base = top;
		pay += d->row_bytes * g->planes * g->n_layers * copy->chunk_tokens;
	}
	return p.full ? 0 : p.n;
}

uint64_t kvf_plan_packed(const struct kvf_segment *segments, uint32_t n, uint64_t pay, uint32_t *hint)
{
	const struct kvf_segment *s = &segments[*hint];
	uint32_t low = 0, high = n;

	if (pay >= s->pay && pay - s->pay < s->bytes)
		return s->at + (pay - s->pay);
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (segments[middle].pay <= pay)
			low = middle;
		else
			high = middle;
	}
	*hint = low;
	return segments[low].at + (pay - segments[low].pay);
}

uint32_t kvf_plan_layers(const struct kvf_layout_plan *plan, const struct kvf_copy *copy, uint32_t first, uint32_t max,
			 uint64_t room, int32_t *device)
{
	uint32_t n = 0, base = 0, i, l;
	uint64_t used = 0;

	for (i = 0; i < plan->layout.n_groups; i++) {
		const struct kvf_group *g = &plan->layout.groups[i];
		uint64_t layer = plan->derived[i].row_bytes * g->planes * copy->chunk_tokens;

		for (l = first + n > base ? first + n - base : 0; l < g->n_layers && n < max; l++) {
			if (!n)
				*device = g->layers[l].device;
			if (g->layers[l].device != *device || used + layer > room)
				return n;
			used += layer;
			n++;
		}
		base += g->n_layers;
	}
	return n;
}
