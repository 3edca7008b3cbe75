/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated device, see simdev.h. */
#include "tests/sim/simdev.h"

#include <string.h>

#include "base/checksum.h"
#include "base/compiler.h"

/* kvf_copy.scratch, kvf_fence.scratch */
enum { DUE = 0, SUM, FLAGS, NEXT, PREV, NUMBER, MAGIC };
enum { F_BEGUN = 1, F_FAIL = 2, F_CANCEL = 4, F_OVERLAP = 8 };
enum { FENCE_MAGIC = 0, FENCE_WORD, FENCE_VALUE };
#define COPY_MAGIC 0xc0b1c0b1c0b1c0b1ull
#define LIVE_FENCE 0xfe2ce0fe2ce0fe2cull

static bool chance(struct simdev *d, uint32_t ppm)
{
	return ppm && wl_rng_chance(&d->rng, ppm);
}

static uint64_t now(const struct simdev *d)
{
	return d->now_ns(d->now_arg);
}

static void wrong(struct simdev *d, const char *what)
{
	if (d->hooks.wrong)
		d->hooks.wrong(d->hooks.arg, what);
}

/* ---- bytes ---- */

static size_t row_bytes(const struct kvf_group *g)
{
	return (size_t)g->heads * g->head_elems * kvf_dtype_bytes(g->dtype);
}

struct walk {
	const struct kvf_copy *copy;
	bool to_device;
	bool garbage; /* write nonsense instead */
};

static uint8_t *device_row(const struct kvf_group *g, const struct kvf_copy *c, uint32_t group,
	uint32_t plane, uint32_t layer, uint64_t token)
{
	const struct kvf_block_list *list = &c->groups[group];
	uint64_t block = token / g->block_tokens;
	uint32_t id = list->ids[block - list->first_block];

	if (id == KVF_BLOCK_NULL)
		return NULL;
	return (uint8_t *)g->layers[layer].base[plane] + id * g->block_stride +
	       token % g->block_tokens * g->token_stride;
}

static void move_row(const struct walk *w, uint8_t *slot, uint8_t *dev, size_t n)
{
	if (w->to_device) {
		if (!dev)
			return;
		if (w->garbage)
			memset(dev, 0xa5, n);
		else
			memcpy(dev, slot, n);
	} else if (w->garbage) {
		memset(slot, 0xa5, n);
	} else if (dev) {
		memcpy(slot, dev, n);
	} else {
		memset(slot, 0, n);
	}
}

/* Every row of the copy, or the first half of each plane. */
static void walk_copy(struct simdev *d, const struct walk *w, bool half)
{
	const struct kvf_copy *c = w->copy;
	uint32_t n = half ? c->n / 2 : c->n;
	uint32_t through = 0;
	uint8_t *payload = c->payload;

	for (uint32_t group = 0; group < d->layout->n_groups; group++) {
		const struct kvf_group *g = &d->layout->groups[group];
		size_t row = row_bytes(g);

		for (uint32_t plane = 0; plane < g->planes; plane++) {
			for (uint32_t layer = 0; layer < g->n_layers; layer++) {
				uint8_t *at = payload + ((uint64_t)plane * g->n_layers + layer) *
								c->chunk_tokens * row;
				uint32_t number = through + layer;

				if (number < c->first_layer ||
					number - c->first_layer >= c->n_layers)
					continue;
				for (uint32_t t = c->first; t < c->first + n; t++) {
					uint8_t *dev = device_row(g, c, group, plane, layer,
						c->chunk_first_token + t);

					move_row(w, at + t * row, dev, row);
				}
				d->moved_bytes += n * row;
			}
		}
		payload += (uint64_t)g->planes * g->n_layers * c->chunk_tokens * row;
		through += g->n_layers;
	}
}

static void carry_out(struct simdev *d, struct kvf_copy *c, bool half)
{
	struct walk w = {.copy = c, .to_device = c->direction == KVF_COPY_SCATTER};

	walk_copy(d, &w, half);
}

static void scribble(struct simdev *d, struct kvf_copy *c)
{
	struct walk w = {.copy = c, .to_device = c->direction == KVF_COPY_SCATTER, .garbage = true};

	walk_copy(d, &w, false);
}

/* ---- lanes ---- */

static struct kvf_copy *link_at(const struct kvf_copy *c, int which)
{
	return (struct kvf_copy *)(uintptr_t)c->scratch[which];
}

static void push(struct simdev_lane *lane, struct kvf_copy *c)
{
	c->scratch[NEXT] = 0;
	c->scratch[PREV] = (uintptr_t)lane->last;
	c->scratch[NUMBER] = ++lane->issued;
	if (lane->last)
		lane->last->scratch[NEXT] = (uintptr_t)c;
	else
		lane->first = c;
	lane->last = c;
	lane->n++;
}

static void take_out(struct simdev_lane *lane, struct kvf_copy *c)
{
	if (link_at(c, PREV))
		link_at(c, PREV)->scratch[NEXT] = c->scratch[NEXT];
	else
		lane->first = link_at(c, NEXT);
	if (link_at(c, NEXT))
		link_at(c, NEXT)->scratch[PREV] = c->scratch[PREV];
	else
		lane->last = link_at(c, PREV);
	lane->n--;
	lane->completed = lane->first ? lane->first->scratch[NUMBER] - 1 : lane->issued;
}

static void finish(struct simdev *d, struct simdev_lane *lane, struct kvf_copy *c, int status)
{
	if (c->scratch[MAGIC] != COPY_MAGIC) {
		wrong(d, "a copy was changed while the device held it");
		return;
	}
	c->scratch[MAGIC] = 0;
	take_out(lane, c);
	if (d->hooks.let_go)
		d->hooks.let_go(d->hooks.arg, c->payload, c->payload_bytes,
			c->direction == KVF_COPY_GATHER);
	if (d->ended)
		d->ended(d->hooks.arg, c, status);
	d->completions++;
	d->errors += status && status != KVF_ECANCELED;
	d->host->complete(d->host, c, status);
}

static bool fence_done(struct simdev *d, const struct kvf_copy *c)
{
	const volatile uint64_t *word;

	if (!c->after)
		return true;
	if (c->after->scratch[FENCE_MAGIC] != LIVE_FENCE) {
		wrong(d, "a fence was released while a copy waits for it");
		return true;
	}
	word = (const volatile uint64_t *)(uintptr_t)c->after->scratch[FENCE_WORD];
	return !word || *word >= c->after->scratch[FENCE_VALUE];
}

static uint64_t duration(struct simdev *d)
{
	uint64_t span = d->faults.latency_max_ns - d->faults.latency_min_ns;

	if (chance(d, d->faults.slow))
		return d->faults.slow_ns;
	return d->faults.latency_min_ns + (span ? wl_rng_below(&d->rng, span + 1) : 0);
}

static void begin_copies(struct simdev *d, struct simdev_lane *lane)
{
	for (struct kvf_copy *c = lane->first; c; c = link_at(c, NEXT)) {
		uint64_t from = now(d);

		if (c->scratch[FLAGS] & F_BEGUN)
			continue;
		if (!fence_done(d, c))
			return;
		if (!chance(d, d->faults.overlap))
			from = kvf_max_u64(from, lane->busy_until_ns);
		c->scratch[FLAGS] |= F_BEGUN;
		c->scratch[DUE] = kvf_sat_add(from, duration(d));
		lane->busy_until_ns = kvf_max_u64(lane->busy_until_ns, c->scratch[DUE]);
		if (c->direction == KVF_COPY_SCATTER)
			c->scratch[SUM] = kvf_checksum(c->payload, c->payload_bytes);
		if (chance(d, d->faults.scribble))
			scribble(d, c);
	}
}

static int execute(struct simdev *d, struct kvf_copy *c)
{
	if (d->lost)
		return KVF_EDEVLOST;
	if (chance(d, d->faults.lost)) {
		d->lost = true;
		return KVF_EDEVLOST;
	}
	if (c->scratch[FLAGS] & F_FAIL || chance(d, d->faults.error)) {
		carry_out(d, c, true);
		return KVF_EIO;
	}
	if (c->direction == KVF_COPY_SCATTER &&
		kvf_checksum(c->payload, c->payload_bytes) != c->scratch[SUM])
		wrong(d, "a slot changed while a scatter read it");
	carry_out(d, c, false);
	return KVF_OK;
}

static uint64_t complete_due(struct simdev *d, struct simdev_lane *lane)
{
	struct kvf_copy *c, *next;
	uint64_t done = 0;

	for (c = lane->first; c; c = next) {
		next = link_at(c, NEXT);
		if (c->scratch[FLAGS] & F_CANCEL && !(c->scratch[FLAGS] & F_BEGUN)) {
			finish(d, lane, c, KVF_ECANCELED);
			done++;
		} else if (d->lost) {
			finish(d, lane, c, KVF_EDEVLOST);
			done++;
		} else if (c->scratch[FLAGS] & F_BEGUN && c->scratch[DUE] <= now(d)) {
			finish(d, lane, c, execute(d, c));
			done++;
		}
	}
	return done;
}

/* ---- the seam ---- */

static int sim_open(
	void *self, struct kvf_device_host *host, const struct kvf_layout *layout, uint32_t *caps)
{
	struct simdev *d = self;

	if (d->hooks.fail_call && d->hooks.fail_call(d->hooks.arg))
		return KVF_EIO;
	d->host = host;
	d->layout = layout;
	*caps = d->caps;
	return KVF_OK;
}

static void sim_close(void *self)
{
	struct simdev *d = self;

	if (d->lanes[0].n || d->lanes[1].n)
		wrong(d, "closed while copies are in flight");
	if (d->n_fences)
		wrong(d, "closed while fences are held");
	if (d->n_locked)
		wrong(d, "closed while memory is locked");
	d->host = NULL;
}

static int sim_rebind(void *self, const struct kvf_layout *layout)
{
	struct simdev *d = self;

	d->layout = layout;
	return KVF_OK;
}

static int sim_lock(void *self, void *p, size_t n)
{
	struct simdev *d = self;

	(void)p;
	(void)n;
	if (d->hooks.fail_call && d->hooks.fail_call(d->hooks.arg))
		return KVF_ENOMEM;
	d->n_locked++;
	return KVF_OK;
}

static void sim_unlock(void *self, void *p, size_t n)
{
	struct simdev *d = self;

	(void)p;
	(void)n;
	d->n_locked--;
}

static int sim_capture(void *self, const struct kvf_fence_in *in, struct kvf_fence *fence)
{
	struct simdev *d = self;
	const struct simdev_event *event = in->handle;

	if (d->hooks.fail_call && d->hooks.fail_call(d->hooks.arg))
		return KVF_EIO;
	if (d->lost)
		return KVF_EDEVLOST;
	if (chance(d, d->faults.capture))
		return KVF_ECAPTURE;
	memset(fence, 0, sizeof(*fence));
	if (in->kind == KVF_FENCE_WORD) {
		fence->scratch[FENCE_WORD] = (uintptr_t)in->word;
		fence->scratch[FENCE_VALUE] = in->value;
	} else if (in->kind == KVF_FENCE_EVENT) {
		fence->scratch[FENCE_WORD] = (uintptr_t)event->word;
		fence->scratch[FENCE_VALUE] = event->value;
	} else if (in->kind != KVF_FENCE_NOW) {
		return KVF_ENOTSUP;
	}
	fence->scratch[FENCE_MAGIC] = LIVE_FENCE;
	d->n_fences++;
	return KVF_OK;
}

static void sim_release(void *self, struct kvf_fence *fence)
{
	struct simdev *d = self;

	if (fence->scratch[FENCE_MAGIC] != LIVE_FENCE) {
		wrong(d, "a fence was released twice, or never captured");
		return;
	}
	for (int i = 0; i < 2; i++) {
		for (const struct kvf_copy *c = d->lanes[i].first; c; c = link_at(c, NEXT)) {
			if (c->after == fence)
				wrong(d, "a fence was released while a copy waits for it");
		}
	}
	fence->scratch[FENCE_MAGIC] = 0;
	d->n_fences--;
}

static int sim_copy(void *self, struct kvf_copy *copy)
{
	struct simdev *d = self;
	struct simdev_lane *lane = &d->lanes[copy->direction];
	bool fail = d->hooks.fail_call && d->hooks.fail_call(d->hooks.arg);

	if (copy->direction > KVF_COPY_SCATTER || !copy->n ||
		copy->first + copy->n > copy->chunk_tokens)
		wrong(d, "a copy of an impossible range");
	if (fail && wl_rng_chance(&d->rng, SIM_PPM / 2)) {
		d->errors++;
		return KVF_EIO;
	}
	if (d->lost)
		return KVF_EDEVLOST;
	if ((d->max_in_flight && lane->n >= d->max_in_flight) || chance(d, d->faults.again))
		return KVF_EAGAIN;
	if (chance(d, d->faults.refuse)) {
		d->errors++;
		return KVF_EIO;
	}
	memset(copy->scratch, 0, sizeof(copy->scratch));
	copy->scratch[MAGIC] = COPY_MAGIC;
	copy->scratch[FLAGS] = fail ? F_FAIL : 0;
	push(lane, copy);
	d->copies++;
	if (d->hooks.hold)
		d->hooks.hold(d->hooks.arg, copy->payload, copy->payload_bytes,
			copy->direction == KVF_COPY_GATHER);
	begin_copies(d, lane);
	if (d->caps & KVF_DEVICE_SYNC || (lane->first == copy && copy->scratch[FLAGS] & F_BEGUN &&
						 chance(d, d->faults.inside)))
		finish(d, lane, copy, execute(d, copy));
	return KVF_OK;
}

static void sim_cancel(void *self, struct kvf_copy *copy)
{
	struct simdev *d = self;

	if (copy->scratch[MAGIC] != COPY_MAGIC)
		wrong(d, "cancel of a copy that the device does not hold");
	else if (!chance(d, d->faults.deaf))
		copy->scratch[FLAGS] |= F_CANCEL;
}

static int sim_fence(void *self, enum kvf_copy_direction direction, struct kvf_fence_out *out)
{
	struct simdev *d = self;
	struct simdev_lane *lane = &d->lanes[direction];

	memset(out, 0, sizeof(*out));
	out->kind = lane->first ? KVF_FENCE_WORD : KVF_FENCE_NOW;
	out->device = -1;
	out->word = &lane->completed;
	out->value = lane->issued;
	return KVF_OK;
}

static uint64_t sim_progress(void *self, uint64_t budget)
{
	struct simdev *d = self;
	uint64_t done = 0;

	(void)budget;
	for (int i = 0; i < 2; i++) {
		begin_copies(d, &d->lanes[i]);
		done += complete_due(d, &d->lanes[i]);
	}
	return done;
}

void simdev_init(struct simdev *dev, uint32_t caps, uint64_t seed)
{
	memset(dev, 0, sizeof(*dev));
	dev->caps = caps;
	wl_rng_seed(&dev->rng, seed);
	dev->ops = (struct kvf_device_ops){
		.size = sizeof(dev->ops),
		.name = "sim",
		.open = sim_open,
		.close = sim_close,
		.rebind = sim_rebind,
		.lock = sim_lock,
		.unlock = sim_unlock,
		.capture = sim_capture,
		.release = sim_release,
		.copy = sim_copy,
		.cancel = sim_cancel,
		.fence = caps & KVF_DEVICE_FENCES ? sim_fence : NULL,
		.progress = sim_progress,
	};
}

void simdev_calm(struct simdev *dev)
{
	struct simdev_faults quiet = {
		.latency_min_ns = dev->faults.latency_min_ns,
		.latency_max_ns = dev->faults.latency_max_ns,
	};

	dev->faults = quiet;
	/* What was slow ends soon, in its order. */
	for (int i = 0; i < 2; i++) {
		uint64_t at = now(dev);

		for (struct kvf_copy *c = dev->lanes[i].first; c; c = link_at(c, NEXT)) {
			if (!(c->scratch[FLAGS] & F_BEGUN))
				continue;
			at += quiet.latency_max_ns;
			c->scratch[DUE] = kvf_min_u64(c->scratch[DUE], at);
		}
		dev->lanes[i].busy_until_ns = at;
	}
}

uint32_t simdev_copies_of(const struct simdev *dev, uint64_t op_id, int direction)
{
	uint32_t n = 0;

	for (int i = 0; i < 2; i++) {
		if (direction >= 0 && direction != i)
			continue;
		for (const struct kvf_copy *c = dev->lanes[i].first; c; c = link_at(c, NEXT))
			n += c->op_id == op_id;
	}
	return n;
}

uint64_t simdev_next_ns(const struct simdev *dev)
{
	uint64_t at = KVF_NO_DEADLINE;

	for (int i = 0; i < 2; i++) {
		for (const struct kvf_copy *c = dev->lanes[i].first; c; c = link_at(c, NEXT)) {
			if (c->scratch[FLAGS] & (F_BEGUN | F_CANCEL))
				at = kvf_min_u64(
					at, c->scratch[FLAGS] & F_BEGUN ? c->scratch[DUE] : 0);
		}
	}
	return at;
}
