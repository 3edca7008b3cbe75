/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking one kvf_copy as runs. The walk goes by atoms: the elements of one layer and plane (or of both, where the
 * plane is an axis of the page) in one stretch of tokens inside one block and one page; atoms that touch on both
 * sides become one run.
 *
 * The nesting of the walk is that of the payload: KVF_PAYLOAD_LMCACHE plane, layer, stretch; KVF_PAYLOAD_PAGES stretch,
 * layer, plane. An atom whose axes do not merge into rows is walked by its one or two outer axes as well.
 */
#include <string.h>

#include "base/compiler.h"
#include "device/layout.h"

struct piece {
	uint32_t n;
	uint64_t dev, pay;
};

/* The axes of a page, innermost first, for a stretch of `tokens` in a page of `page_tokens`. Returns how many. */
static unsigned page_axes(const struct kvf_group *g, const struct kvf_group_plan *d, uint32_t tokens,
			  uint32_t page_tokens, struct piece out[3])
{
	uint64_t pay = d->head_bytes;
	unsigned n = 0, i;

	for (i = d->n_axes; i-- > 0;) {
		switch (d->axes[i]) {
		case KVF_AXIS_HEAD:
			out[n++] = (struct piece){ g->heads, g->head_stride, pay };
			pay *= g->heads;
			break;
		case KVF_AXIS_TOKEN:
			out[n++] = (struct piece){ tokens, g->token_stride, pay };
			pay *= page_tokens;
			break;
		default:
			out[n++] = (struct piece){ 2, d->plane_stride, pay };
			pay *= 2;
			break;
		}
	}
	return n;
}

/* Merges axes that are contiguous on both sides, then axes that go on in equal steps; the longest left is the rows. */
static void make_shape(const struct kvf_group *g, const struct kvf_group_plan *d, uint32_t tokens,
		       uint32_t page_tokens, struct kvf_run_shape *shape)
{
	struct piece axes[3], left[3];
	unsigned n = page_axes(g, d, tokens, page_tokens, axes), n_left = 0, rows = 0, i, k;

	*shape = (struct kvf_run_shape){ .tokens = tokens, .page_tokens = page_tokens, .bytes = d->head_bytes };
	for (i = 0; i < n; i++) {
		struct piece *last = n_left ? &left[n_left - 1] : NULL;

		if (axes[i].n == 1)
			continue;
		if (!last && axes[i].dev == shape->bytes && axes[i].pay == shape->bytes)
			shape->bytes *= axes[i].n;
		else if (last && axes[i].dev == last->dev * last->n && axes[i].pay == last->pay * last->n)
			last->n *= axes[i].n;
		else
			left[n_left++] = axes[i];
	}
	for (i = 1; i < n_left; i++)
		if (left[i].n > left[rows].n)
			rows = i;
	shape->rows = n_left ? left[rows].n : 1;
	shape->dev_stride = n_left ? left[rows].dev : shape->bytes;
	shape->pay_stride = n_left ? left[rows].pay : shape->bytes;
	shape->outer_n[0] = shape->outer_n[1] = 1;
	for (i = 0, k = 0; i < n_left; i++) {
		if (i == rows)
			continue;
		shape->outer_n[k] = left[i].n;
		shape->outer_dev[k] = left[i].dev;
		shape->outer_pay[k] = left[i].pay;
		k++;
	}
}

/* Tokens of the page that `token` lies in, and where it starts in the payload. */
static void enter_page(struct kvf_run_iter *iter)
{
	const struct kvf_group *g = iter->g;
	const struct kvf_group_plan *d = iter->d;
	uint32_t chunk = iter->copy->chunk_tokens, full = d->page_tokens;
	uint64_t plane;

	if (!full) {
		iter->page_first = 0;
		iter->page_tokens = chunk;
		iter->page_pay = 0;
		iter->layer_pay = chunk * d->row_bytes;
		iter->plane_pay = iter->layer_pay * g->n_layers;
		return;
	}
	iter->page_first = iter->token - iter->token % full;
	iter->page_tokens = (uint32_t)kvf_min_u64(full, chunk - iter->page_first);
	plane = iter->page_tokens * d->row_bytes;
	iter->page_pay = (uint64_t)iter->page_first * d->row_bytes * g->planes * g->n_layers;
	iter->layer_pay = plane * g->planes;
	iter->plane_pay = plane;
}

/* Payload step from token to token inside a page. */
static uint64_t token_step(const struct kvf_group *g, const struct kvf_group_plan *d)
{
	uint64_t step = d->head_bytes;
	unsigned i;

	for (i = d->n_axes; i-- > 0 && d->axes[i] != KVF_AXIS_TOKEN;)
		step *= d->axes[i] == KVF_AXIS_HEAD ? g->heads : 2;
	return step;
}

static void enter_segment(struct kvf_run_iter *iter)
{
	uint32_t left = iter->copy->first + iter->copy->n - iter->token;
	uint32_t in_block = iter->g->block_tokens - iter->in_block;
	uint32_t in_page = iter->page_first + iter->page_tokens - iter->token;

	iter->segment = left < in_block ? left : in_block;
	if (in_page < iter->segment)
		iter->segment = in_page;
	if (iter->shape.tokens != iter->segment || iter->shape.page_tokens != iter->page_tokens)
		make_shape(iter->g, iter->d, iter->segment, iter->page_tokens, &iter->shape);
}

static void first_segment(struct kvf_run_iter *iter)
{
	iter->token = iter->copy->first;
	iter->ids = iter->first_ids;
	iter->in_block = iter->first_in_block;
	enter_page(iter);
	enter_segment(iter);
}

/* False behind the last segment of the copy's tokens. */
static bool next_segment(struct kvf_run_iter *iter)
{
	iter->token += iter->segment;
	if (iter->token - iter->copy->first >= iter->copy->n)
		return false;
	iter->in_block += iter->segment;
	if (iter->in_block == iter->g->block_tokens) {
		iter->in_block = 0;
		iter->ids++;
	}
	if (iter->token - iter->page_first >= iter->page_tokens)
		enter_page(iter);
	enter_segment(iter);
	return true;
}

/* Positions at the first atom of the first group from iter->group on that has layers in the copy's range. */
static void enter_group(struct kvf_run_iter *iter)
{
	const struct kvf_copy *copy = iter->copy;
	uint64_t begin = copy->first_layer, end = begin + copy->n_layers, first = copy->chunk_first_token + copy->first;

	for (; iter->group < iter->plan->layout.n_groups; iter->group++) {
		const struct kvf_group *g = &iter->plan->layout.groups[iter->group];
		const struct kvf_group_plan *d = &iter->plan->derived[iter->group];
		const struct kvf_block_list *list = &copy->groups[iter->group];
		uint64_t base = iter->layer_base, top = base + g->n_layers;

		if (begin < top && end > base) {
			iter->g = g;
			iter->d = d;
			iter->first_ids = list->ids + (first / g->block_tokens - list->first_block);
			iter->first_in_block = (uint32_t)(first % g->block_tokens);
			iter->layer_begin = begin > base ? (uint32_t)(begin - base) : 0;
			iter->layer_end = (uint32_t)(kvf_min_u64(end, top) - base);
			iter->layer = iter->layer_begin;
			iter->plane = 0;
			iter->planes = d->plane_stride ? 1 : g->planes;
			iter->outer[0] = iter->outer[1] = 0;
			iter->shape.tokens = 0;
			iter->token_pay = token_step(g, d);
			first_segment(iter);
			return;
		}
		iter->layer_base += g->n_layers;
		iter->group_pay += d->row_bytes * g->planes * g->n_layers * copy->chunk_tokens;
	}
	iter->done = true;
}

static void leave_group(struct kvf_run_iter *iter)
{
	iter->layer_base += iter->g->n_layers;
	iter->group_pay += iter->d->row_bytes * iter->g->planes * iter->g->n_layers * iter->copy->chunk_tokens;
	iter->group++;
	enter_group(iter);
}

static bool next_outer(struct kvf_run_iter *iter)
{
	unsigned i;

	for (i = 0; i < 2; i++) {
		if (++iter->outer[i] < iter->shape.outer_n[i])
			return true;
		iter->outer[i] = 0;
	}
	return false;
}

static bool next_layer(struct kvf_run_iter *iter)
{
	if (++iter->layer < iter->layer_end)
		return true;
	iter->layer = iter->layer_begin;
	return false;
}

static bool next_plane(struct kvf_run_iter *iter)
{
	if (++iter->plane < iter->planes)
		return true;
	iter->plane = 0;
	return false;
}

static void next_atom(struct kvf_run_iter *iter)
{
	if (next_outer(iter))
		return;
	if (iter->d->page_tokens) {
		if (next_plane(iter) || next_layer(iter) || next_segment(iter))
			return;
	} else {
		if (next_segment(iter))
			return;
		if (next_layer(iter) || next_plane(iter)) {
			first_segment(iter);
			return;
		}
	}
	leave_group(iter);
}

/* Leaves out a null block: with pages all its layers at once. */
static void skip_null(struct kvf_run_iter *iter)
{
	iter->outer[0] = iter->shape.outer_n[0];
	iter->outer[1] = iter->shape.outer_n[1];
	if (iter->d->page_tokens) {
		iter->plane = iter->planes;
		iter->layer = iter->layer_end;
	}
	next_atom(iter);
}

/* Where the atom at the iterator's position begins; iter->shape says the rest. */
static void find_atom(struct kvf_run_iter *iter)
{
	const struct kvf_run_shape *shape = &iter->shape;
	const struct kvf_layer *layer = &iter->g->layers[iter->layer];
	uint32_t id = *iter->ids;
	uint64_t at = id * iter->g->block_stride + iter->in_block * iter->g->token_stride;
	uint64_t pay = iter->group_pay + iter->page_pay + iter->layer * iter->layer_pay +
		       iter->plane * iter->plane_pay + (iter->token - iter->page_first) * iter->token_pay;
	uint8_t *base = layer->base[iter->plane];

	if (shape->outer_n[0] > 1) {
		at += iter->outer[0] * shape->outer_dev[0] + iter->outer[1] * shape->outer_dev[1];
		pay += iter->outer[0] * shape->outer_pay[0] + iter->outer[1] * shape->outer_pay[1];
	}
	iter->atom.base = base;
	iter->atom.dev = id == KVF_BLOCK_NULL ? NULL : base + at;
	iter->atom.pay = pay;
	iter->atom.device = layer->device;
}

/* Finds the atom at the position or, past null blocks that were not asked for, behind it. Sets done at the end. */
static void settle(struct kvf_run_iter *iter)
{
	while (!iter->done && *iter->ids == KVF_BLOCK_NULL && !iter->nulls)
		skip_null(iter);
	if (!iter->done)
		find_atom(iter);
}

/* Appends an atom to *run where it goes on in the same step. */
static bool append(struct kvf_run *run, const struct kvf_run_atom *atom, const struct kvf_run_shape *shape)
{
	uint64_t n = run->rows == 1 ? run->bytes : run->rows * run->dev_stride;
	uint64_t pay = run->rows == 1 ? run->bytes : run->rows * run->pay_stride;

	if (atom->pay != run->pay + pay)
		return false;
	if (run->dev ? atom->dev != run->dev + n : atom->dev != NULL)
		return false;
	if (run->rows == 1 && shape->rows == 1) {
		run->bytes += shape->bytes;
		return true;
	}
	if (run->rows == 1 || shape->bytes != run->bytes || shape->rows > UINT32_MAX - run->rows)
		return false;
	if (shape->rows > 1 && (shape->dev_stride != run->dev_stride || shape->pay_stride != run->pay_stride))
		return false;
	run->rows += shape->rows;
	return true;
}

/* Tensors that merely lie side by side may be two allocations. */
static bool same_memory(const struct kvf_run_iter *iter, uintptr_t base, int32_t device)
{
	uintptr_t other = (uintptr_t)iter->atom.base;
	uint64_t apart = other > base ? other - base : base - other;

	return iter->atom.device == device && apart < iter->g->block_stride;
}

void kvf_run_iter_init(struct kvf_run_iter *iter, const struct kvf_layout_plan *plan, const struct kvf_copy *copy)
{
	memset(iter, 0, sizeof(*iter));
	iter->plan = plan;
	iter->copy = copy;
	if (!copy->n || !copy->n_layers)
		iter->done = true;
	else
		enter_group(iter);
}

bool kvf_run_iter_next(struct kvf_run_iter *iter, struct kvf_run *run)
{
	uintptr_t base;
	uint32_t group;

	if (!iter->settled)
		settle(iter);
	iter->settled = true;
	if (iter->done)
		return false;
	run->dev = iter->atom.dev;
	run->pay = iter->atom.pay;
	run->device = iter->atom.device;
	run->bytes = iter->shape.bytes;
	run->rows = iter->shape.rows;
	run->dev_stride = iter->shape.dev_stride;
	run->pay_stride = iter->shape.pay_stride;
	group = iter->group;
	do {
		base = (uintptr_t)iter->atom.base;
		next_atom(iter);
		settle(iter);
	} while (!iter->done && iter->group == group && same_memory(iter, base, run->device) &&
		 append(run, &iter->atom, &iter->shape));
	return true;
}

static bool list_has_null(const struct kvf_group *g, const struct kvf_block_list *list, uint64_t first, uint64_t last)
{
	uint64_t k;

	for (k = first / g->block_tokens; k <= last / g->block_tokens; k++)
		if (list->ids[k - list->first_block] == KVF_BLOCK_NULL)
			return true;
	return false;
}

bool kvf_copy_has_null(const struct kvf_layout_plan *plan, const struct kvf_copy *copy)
{
	uint64_t first = copy->chunk_first_token + copy->first, base = 0;
	uint64_t begin = copy->first_layer, end = begin + copy->n_layers;
	uint32_t i;

	for (i = 0; copy->n && i < plan->layout.n_groups; i++) {
		const struct kvf_group *g = &plan->layout.groups[i];

		if (begin < base + g->n_layers && end > base &&
		    list_has_null(g, &copy->groups[i], first, first + copy->n - 1))
			return true;
		base += g->n_layers;
	}
	return false;
}

void kvf_copy_clear_nulls(const struct kvf_layout_plan *plan, const struct kvf_copy *copy)
{
	struct kvf_run_iter iter;
	struct kvf_run run;
	uint32_t row;

	if (!kvf_copy_has_null(plan, copy))
		return;
	kvf_run_iter_init(&iter, plan, copy);
	iter.nulls = true;
	while (kvf_run_iter_next(&iter, &run))
		for (row = 0; !run.dev && row < run.rows; row++)
			memset(copy->payload + run.pay + row * run.pay_stride, 0, run.bytes);
}
