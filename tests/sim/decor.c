/* SPDX-License-Identifier: Apache-2.0 */
/* The decorator of tiers, see decor.h. */
#include "tests/sim/decor.h"

#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"

struct decor_held {
	struct decor_held *next;
	struct kvf_tier_req *req;
	uint64_t at_ns;
	int status;
};

static bool chance(struct decor *d, uint32_t ppm)
{
	return ppm && wl_rng_chance(&d->rng, ppm);
}

/* ---- answers ---- */

static void answer(struct decor *d, struct kvf_tier_req *req, int status)
{
	struct decor_held *held, **at = &d->held;
	uint64_t delay = d->delay_ns ? wl_rng_below(&d->rng, d->delay_ns) : 0;

	held = delay ? malloc(sizeof(*held)) : NULL;
	if (!held) {
		d->host->complete(d->host, req, status);
		return;
	}
	d->delayed++;
	*held = (struct decor_held){NULL, req, d->host->now_ns(d->host) + delay, status};
	while (*at && (*at)->at_ns <= held->at_ns)
		at = &(*at)->next;
	held->next = *at;
	*at = held;
}

static struct decor *decor_of(struct kvf_tier_host *inner_host)
{
	return kvf_container_of(inner_host, struct decor, inner_host);
}

static void inner_complete(struct kvf_tier_host *host, struct kvf_tier_req *req, int status)
{
	struct decor *d = decor_of(host);

	d->n_inside--;
	if (status == KVF_OK && req->kind == KVF_REQ_GET && chance(d, d->corrupt_ppm)) {
		uint8_t *payload = req->slot + KVF_SLOT_HEADER_BYTES;

		payload[wl_rng_below(&d->rng, req->payload_bytes)] ^= 1;
		d->corrupted++;
	}
	if (status == KVF_OK && chance(d, d->lose_ppm)) {
		status = KVF_EIO;
		d->lost++;
	}
	answer(d, req, status);
}

static uint64_t inner_now(struct kvf_tier_host *host)
{
	return decor_of(host)->host->now_ns(decor_of(host)->host);
}

static int inner_watch(struct kvf_tier_host *host, struct kvf_watch *watch, int fd, unsigned events)
{
	return decor_of(host)->host->watch(decor_of(host)->host, watch, fd, events);
}

static void *inner_alloc(struct kvf_tier_host *host, size_t n)
{
	return decor_of(host)->host->alloc(decor_of(host)->host, n);
}

static void inner_release(struct kvf_tier_host *host, void *p, size_t n)
{
	decor_of(host)->host->release(decor_of(host)->host, p, n);
}

static void inner_log(struct kvf_tier_host *host, enum kvf_log_level level, const char *msg)
{
	decor_of(host)->host->log(decor_of(host)->host, level, msg);
}

/* ---- the seam ---- */

static int decor_open(
	void *self, struct kvf_tier_host *host, const struct kvf_tier_open *params, uint32_t *caps)
{
	struct decor *d = self;

	d->host = host;
	d->inner_host = *host;
	d->inner_host.complete = inner_complete;
	d->inner_host.now_ns = inner_now;
	d->inner_host.watch = inner_watch;
	d->inner_host.alloc = inner_alloc;
	d->inner_host.release = inner_release;
	d->inner_host.log = inner_log;
	return d->inner->open(d->inner_self, &d->inner_host, params, caps);
}

static void decor_close(void *self)
{
	struct decor *d = self;

	d->inner->close(d->inner_self);
}

/* One request at a time, so that one that fails here keeps its place in the order. */
static unsigned decor_submit(void *self, struct kvf_tier_req *const *reqs, unsigned n)
{
	struct decor *d = self;

	for (unsigned i = 0; i < n; i++) {
		if (chance(d, d->fail_ppm)) {
			d->failed++;
			answer(d, reqs[i], KVF_EIO);
			continue;
		}
		d->n_inside++; /* it may complete inside */
		if (!d->inner->submit(d->inner_self, &reqs[i], 1)) {
			d->n_inside--;
			return i;
		}
	}
	return n;
}

static void decor_cancel(void *self, struct kvf_tier_req *req)
{
	struct decor *d = self;

	for (struct decor_held *h = d->held; h; h = h->next) {
		if (h->req == req)
			return; /* the tier below is done with it */
	}
	if (d->inner->cancel)
		d->inner->cancel(d->inner_self, req);
}

static uint64_t decor_progress(void *self, uint64_t now_ns, uint64_t budget)
{
	struct decor *d = self;
	uint64_t more = 0;

	if (d->n_inside ||
		(d->inner->next_deadline_ns && d->inner->next_deadline_ns(d->inner_self) <= now_ns))
		more = d->inner->progress(d->inner_self, now_ns, budget);
	while (d->held && d->held->at_ns <= now_ns) {
		struct decor_held *h = d->held;

		d->held = h->next;
		d->host->complete(d->host, h->req, h->status);
		free(h);
	}
	return more;
}

static uint64_t decor_next_deadline(void *self)
{
	struct decor *d = self;
	uint64_t at = d->held ? d->held->at_ns : KVF_NO_DEADLINE;

	if (d->inner->next_deadline_ns)
		at = kvf_min_u64(at, d->inner->next_deadline_ns(d->inner_self));
	return at;
}

void decor_init(struct decor *d, const struct kvf_tier_ops *inner, void *inner_self, uint64_t seed)
{
	memset(d, 0, sizeof(*d));
	d->inner = inner;
	d->inner_self = inner_self;
	d->ops = (struct kvf_tier_ops){
		.size = sizeof(d->ops),
		.name = inner->name,
		.open = decor_open,
		.close = decor_close,
		.submit = decor_submit,
		.cancel = decor_cancel,
		.progress = decor_progress,
		.next_deadline_ns = decor_next_deadline,
	};
	wl_rng_seed(&d->rng, seed);
}
