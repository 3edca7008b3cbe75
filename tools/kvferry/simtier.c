/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated tier, see simtier.h. */
#include "simtier.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/compiler.h"

/* kvf_tier_req.scratch */
enum { DUE = 0, SUM, FLAGS, NEXT, PREV };
enum { F_HANG = 1, F_DEAF = 2, F_CANCEL = 4, F_FAIL = 8 };

static bool chance(struct simtier *t, uint32_t ppm)
{
	return ppm && wl_rng_chance(&t->rng, ppm);
}

static uint64_t latency(struct simtier *t)
{
	uint64_t span = t->faults.latency_max_ns - t->faults.latency_min_ns;

	return t->faults.latency_min_ns + (span ? wl_rng_below(&t->rng, span + 1) : 0);
}

static bool is_write(const struct kvf_tier_req *req)
{
	return req->kind == KVF_REQ_GET;
}

static bool has_slot(const struct kvf_tier_req *req)
{
	return req->kind == KVF_REQ_GET || req->kind == KVF_REQ_PUT;
}

static void wrong(struct simtier *t, const char *what)
{
	if (t->hooks.wrong)
		t->hooks.wrong(t->hooks.arg, what);
}

/* ---- records ---- */

static struct simtier_record **place(struct simtier *t, const uint8_t *key)
{
	uint32_t h;
	struct simtier_record **at;

	memcpy(&h, key + 8, sizeof(h));
	at = &t->bucket[h % SIMTIER_BUCKETS];
	while (*at && memcmp((*at)->key, key, KVF_KEY_BYTES) != 0)
		at = &(*at)->next;
	return at;
}

const struct simtier_record *simtier_find(
	const struct simtier *tier, const uint8_t key[KVF_KEY_BYTES])
{
	return *place((struct simtier *)(uintptr_t)tier, key);
}

static struct simtier_record *any_record(struct simtier *t)
{
	uint32_t from = (uint32_t)wl_rng_below(&t->rng, SIMTIER_BUCKETS);

	for (uint32_t i = 0; i < SIMTIER_BUCKETS; i++) {
		if (t->bucket[(from + i) % SIMTIER_BUCKETS])
			return t->bucket[(from + i) % SIMTIER_BUCKETS];
	}
	return NULL;
}

static void forget(struct simtier *t, const uint8_t *key)
{
	struct simtier_record **at = place(t, key);
	struct simtier_record *rec = *at;

	if (!rec)
		return;
	*at = rec->next;
	free(rec);
	t->n_records--;
}

static int put(struct simtier *t, struct kvf_tier_req *req)
{
	struct simtier_record *rec;
	struct simtier_record **at;

	if (t->max_records && t->n_records >= t->max_records && !*place(t, req->key))
		return KVF_ENOSPC;
	rec = malloc(sizeof(*rec) + SIMTIER_HEADER + req->payload_bytes);
	if (!rec)
		return KVF_ENOMEM;
	forget(t, req->key);
	memcpy(rec->key, req->key, sizeof(rec->key));
	rec->n_tokens = req->n_tokens;
	rec->payload_bytes = req->payload_bytes;
	rec->checksum = req->checksum;
	memcpy(rec->bytes, req->slot, SIMTIER_HEADER);
	memcpy(rec->bytes + SIMTIER_HEADER, req->slot + KVF_SLOT_HEADER_BYTES, req->payload_bytes);
	at = place(t, req->key);
	rec->next = *at;
	*at = rec;
	t->n_records++;
	return KVF_OK;
}

/* What damage a get may come back with. The sum, if there is one, is the record's. */
static void damage(struct simtier *t, struct kvf_tier_req *req)
{
	uint8_t *payload = req->slot + KVF_SLOT_HEADER_BYTES;

	if (chance(t, t->faults.flip_payload)) {
		payload[wl_rng_below(&t->rng, req->payload_bytes)] ^=
			(uint8_t)(1u << wl_rng_below(&t->rng, 8));
		t->damaged++;
	}
	if (t->caps & KVF_TIER_RECORDS && chance(t, t->faults.flip_header)) {
		req->slot[wl_rng_below(&t->rng, 200)] ^= (uint8_t)(1u << wl_rng_below(&t->rng, 8));
		t->damaged++;
	}
	if (chance(t, t->faults.cut)) {
		req->payload_bytes -= (uint32_t)wl_rng_below(&t->rng, req->payload_bytes) + 1;
		t->damaged++;
	}
}

static int get(struct simtier *t, struct kvf_tier_req *req)
{
	const struct simtier_record *rec = *place(t, req->key);

	if (!rec || chance(t, t->faults.gone))
		return KVF_ENOENT;
	if (chance(t, t->faults.other)) {
		rec = any_record(t);
		t->damaged++;
	}
	if (rec->payload_bytes > req->payload_bytes) {
		wrong(t, "a get with less room than its record has");
		return KVF_EIO;
	}
	if (t->caps & KVF_TIER_RECORDS) {
		memset(req->slot, 0, KVF_SLOT_HEADER_BYTES);
		memcpy(req->slot, rec->bytes, SIMTIER_HEADER);
	}
	memcpy(req->slot + KVF_SLOT_HEADER_BYTES, rec->bytes + SIMTIER_HEADER, rec->payload_bytes);
	req->payload_bytes = rec->payload_bytes;
	req->has_checksum = !t->no_checksum;
	req->checksum = t->no_checksum ? 0 : rec->checksum;
	damage(t, req);
	return KVF_OK;
}

/* ---- carrying out ---- */

static uint64_t sum_of(const struct kvf_tier_req *req)
{
	return kvf_checksum(req->slot, SIMTIER_HEADER) ^
	       kvf_checksum(req->slot + KVF_SLOT_HEADER_BYTES, req->payload_bytes);
}

static int carry_out(struct simtier *t, struct kvf_tier_req *req)
{
	if (req->scratch[FLAGS] & F_FAIL || chance(t, t->faults.error)) {
		if (req->kind == KVF_REQ_GET)
			memset(req->slot + KVF_SLOT_HEADER_BYTES, 0x5a, req->payload_bytes / 2);
		return KVF_EIO;
	}
	switch (req->kind) {
	case KVF_REQ_EXISTS:
		return *place(t, req->key) ? KVF_OK : KVF_ENOENT;
	case KVF_REQ_GET:
		return get(t, req);
	case KVF_REQ_PUT:
		return chance(t, t->faults.full) ? KVF_ENOSPC : put(t, req);
	case KVF_REQ_REMOVE:
		forget(t, req->key);
		return KVF_OK;
	default:
		wrong(t, "a request of unknown kind");
		return KVF_EINVAL;
	}
}

static size_t held_bytes(uint32_t room)
{
	return KVF_SLOT_HEADER_BYTES + (size_t)room;
}

static void complete(struct simtier *t, struct kvf_tier_req *req)
{
	bool cancelled = req->scratch[FLAGS] & F_CANCEL && !chance(t, t->faults.late_ok);
	uint32_t room = req->payload_bytes;
	int status;

	if (req->kind == KVF_REQ_PUT && sum_of(req) != req->scratch[SUM])
		wrong(t, "a slot changed while a put held it");
	status = cancelled ? KVF_ECANCELED : carry_out(t, req);
	if (has_slot(req) && t->hooks.let_go)
		t->hooks.let_go(t->hooks.arg, req->slot, held_bytes(room), is_write(req));
	t->completions++;
	t->host->complete(t->host, req, status);
}

/* ---- in flight ---- */

static struct kvf_tier_req *link_at(const struct kvf_tier_req *req, int which)
{
	return (struct kvf_tier_req *)(uintptr_t)req->scratch[which];
}

static void link_set(struct kvf_tier_req *req, int which, struct kvf_tier_req *to)
{
	req->scratch[which] = (uintptr_t)to;
}

static void insert(struct simtier *t, struct kvf_tier_req *req)
{
	struct kvf_tier_req *after = t->last;

	while (after && after->scratch[DUE] > req->scratch[DUE])
		after = link_at(after, PREV);
	link_set(req, PREV, after);
	link_set(req, NEXT, after ? link_at(after, NEXT) : t->first);
	if (link_at(req, NEXT))
		link_set(link_at(req, NEXT), PREV, req);
	else
		t->last = req;
	if (after)
		link_set(after, NEXT, req);
	else
		t->first = req;
	t->in_flight++;
}

static void take_out(struct simtier *t, struct kvf_tier_req *req)
{
	if (link_at(req, PREV))
		link_set(link_at(req, PREV), NEXT, link_at(req, NEXT));
	else
		t->first = link_at(req, NEXT);
	if (link_at(req, NEXT))
		link_set(link_at(req, NEXT), PREV, link_at(req, PREV));
	else
		t->last = link_at(req, PREV);
	t->in_flight--;
}

bool simtier_putting(const struct simtier *tier, const uint8_t key[KVF_KEY_BYTES])
{
	for (const struct kvf_tier_req *r = tier->first; r; r = link_at(r, NEXT)) {
		if (r->kind == KVF_REQ_PUT && memcmp(r->key, key, KVF_KEY_BYTES) == 0)
			return true;
	}
	return false;
}

bool simtier_removing(const struct simtier *tier)
{
	for (const struct kvf_tier_req *r = tier->first; r; r = link_at(r, NEXT)) {
		if (r->kind == KVF_REQ_REMOVE)
			return true;
	}
	return false;
}

static void check_req(struct simtier *t, const struct kvf_tier_req *req)
{
	if (has_slot(req) && (!req->slot || (uintptr_t)req->slot % 4096))
		wrong(t, "a slot that is not aligned");
	if (has_slot(req) && !req->payload_bytes)
		wrong(t, "a request without payload");
	if (req->kind == KVF_REQ_PUT &&
		req->checksum !=
			kvf_checksum(req->slot + KVF_SLOT_HEADER_BYTES, req->payload_bytes))
		wrong(t, "a put whose checksum is not its payload's");
}

static void accept(struct simtier *t, struct kvf_tier_req *req)
{
	uint64_t now = t->host->now_ns(t->host);
	bool inside = chance(t, t->faults.inside);

	check_req(t, req);
	memset(req->scratch, 0, sizeof(req->scratch));
	req->scratch[DUE] = kvf_sat_add(now, latency(t));
	t->requests++;
	if (t->hooks.fail_call && t->hooks.fail_call(t->hooks.arg))
		req->scratch[FLAGS] |= F_FAIL;
	if (has_slot(req) && t->hooks.hold)
		t->hooks.hold(
			t->hooks.arg, req->slot, held_bytes(req->payload_bytes), is_write(req));
	if (req->kind == KVF_REQ_PUT)
		req->scratch[SUM] = sum_of(req);
	if (inside || (req->kind == KVF_REQ_EXISTS && t->caps & KVF_TIER_SYNC_EXISTS)) {
		complete(t, req);
		return;
	}
	if (chance(t, t->faults.hang)) {
		req->scratch[FLAGS] |= F_HANG | (chance(t, t->faults.deaf) ? F_DEAF : 0u);
		req->scratch[DUE] = kvf_sat_add(now, t->faults.hang_ns);
	}
	insert(t, req);
}

/* ---- the seam ---- */

static int sim_open(
	void *self, struct kvf_tier_host *host, const struct kvf_tier_open *params, uint32_t *caps)
{
	struct simtier *t = self;

	(void)params;
	t->host = host;
	*caps = t->caps;
	return KVF_OK;
}

static void sim_close(void *self)
{
	struct simtier *t = self;

	if (t->in_flight)
		wrong(t, "closed while requests are in flight");
	t->host = NULL;
}

static unsigned sim_submit(void *self, struct kvf_tier_req *const *reqs, unsigned n)
{
	struct simtier *t = self;
	unsigned take = n;

	t->submits++;
	if (!n)
		wrong(t, "submit of nothing");
	if (chance(t, t->faults.busy))
		take = 0;
	else if (n > 1 && chance(t, t->faults.partial))
		take = (unsigned)wl_rng_below(&t->rng, n);
	if (t->max_in_flight) {
		uint32_t room =
			t->max_in_flight > t->in_flight ? t->max_in_flight - t->in_flight : 0;

		take = take < room ? take : room;
	}
	if (take < n)
		t->retry_ns = kvf_sat_add(t->host->now_ns(t->host), latency(t) + 1);
	for (unsigned i = 0; i < take; i++)
		accept(t, reqs[i]);
	return take;
}

static void sim_cancel(void *self, struct kvf_tier_req *req)
{
	struct simtier *t = self;

	if (req->scratch[FLAGS] & F_DEAF)
		return;
	take_out(t, req);
	req->scratch[FLAGS] |= F_CANCEL;
	req->scratch[DUE] = kvf_sat_add(t->host->now_ns(t->host), latency(t) / 4);
	insert(t, req);
}

static uint64_t sim_progress(void *self, uint64_t now_ns, uint64_t budget)
{
	struct simtier *t = self;
	uint64_t used = 0;

	while (t->first && t->first->scratch[DUE] <= now_ns && used < budget) {
		struct kvf_tier_req *req = t->first;

		take_out(t, req);
		used += has_slot(req) ? req->payload_bytes + SIMTIER_HEADER : 64;
		complete(t, req);
	}
	t->moved_bytes += used;
	if (t->retry_ns <= now_ns)
		t->retry_ns = KVF_NO_DEADLINE;
	return t->first && t->first->scratch[DUE] <= now_ns;
}

static uint64_t sim_next_deadline(void *self)
{
	const struct simtier *t = self;

	return kvf_min_u64(t->retry_ns, t->first ? t->first->scratch[DUE] : KVF_NO_DEADLINE);
}

void simtier_init(struct simtier *tier, const char *name, uint32_t caps, uint64_t seed)
{
	memset(tier, 0, sizeof(*tier));
	tier->name = name;
	tier->caps = caps;
	tier->seed = seed;
	tier->retry_ns = KVF_NO_DEADLINE;
	tier->ops = (struct kvf_tier_ops){
		.size = sizeof(tier->ops),
		.name = name,
		.open = sim_open,
		.close = sim_close,
		.submit = sim_submit,
		.cancel = sim_cancel,
		.progress = sim_progress,
		.next_deadline_ns = sim_next_deadline,
	};
	wl_rng_seed(&tier->rng, seed);
}

void simtier_fini(struct simtier *tier)
{
	for (uint32_t i = 0; i < SIMTIER_BUCKETS; i++) {
		while (tier->bucket[i]) {
			struct simtier_record *rec = tier->bucket[i];

			tier->bucket[i] = rec->next;
			free(rec);
		}
	}
	tier->n_records = 0;
}

void simtier_calm(struct simtier *tier)
{
	struct simtier_faults quiet = {
		.latency_min_ns = tier->faults.latency_min_ns,
		.latency_max_ns = tier->faults.latency_max_ns,
	};
	struct kvf_tier_req *req, *next;

	tier->faults = quiet;
	for (req = tier->first; req; req = next) {
		next = link_at(req, NEXT);
		if (!(req->scratch[FLAGS] & F_HANG))
			continue;
		req->scratch[FLAGS] &= ~(uint64_t)(F_HANG | F_DEAF);
		take_out(tier, req);
		req->scratch[DUE] = kvf_sat_add(tier->host->now_ns(tier->host), latency(tier));
		insert(tier, req);
	}
}
