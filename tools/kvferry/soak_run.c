/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One soak: rounds of a few seconds, each with a workload and faults of its own, over one engine. A
 * request appends its tokens, looks up, retrieves and checks the bytes, computes the rest and
 * stores it; some are cancelled, some are in a hurry. Between rounds everything is walked by
 * kvf_verify(); at the end the faults stop and the engine must come to rest with everything given
 * back.
 */
#include "soak.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/compiler.h"
#include "replay.h"
#include "simtier.h"

#define CHUNK 64
#define TOKEN_BYTES 256
#define BLOCK_TOKENS 16
#define MOST_TOKENS 3072 /* of a prompt: the rest is cut off */
#define ROUND_NS (3 * KVF_NS_PER_S)
#define STUCK_NS (20 * KVF_NS_PER_S) /* an operation may be this late on a busy machine */
#define REST_NS (90 * KVF_NS_PER_S) /* to come to rest once the faults stopped */
#define TIER_RECORDS 20000

enum what { W_FREE, W_LOOKUP, W_RETRIEVE, W_STORE };

struct request {
	enum what what;
	struct wl_request r;
	uint64_t *blocks;
	size_t blocks_cap;
	struct kvf_seq *seq;
	uint32_t ids[MOST_TOKENS / BLOCK_TOKENS + 1];
	uint32_t n_ids;
	struct replay_cursor cursor;
	uint64_t op_id, deadline_ns, found, delivered, canceled_ns;
};

struct soak {
	const struct soak_options *o;
	struct soak_result *result;
	struct wl_rng rng;
	struct kvf_engine *engine;
	struct simtier tier[2];
	struct replay_device device;
	struct replay_oracle oracle;
	struct workload *workload;
	struct request requests[64];
	uint32_t n_active;
	/* what the engine holds */
	struct kvf_allocator allocator;
	uint64_t heap_bytes, allocs;
};

static int fail(struct soak *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct soak *s, const char *fmt, ...)
{
	va_list ap;

	if (s->result->why[0])
		return -1;
	va_start(ap, fmt);
	vsnprintf(s->result->why, sizeof(s->result->why), fmt, ap);
	va_end(ap);
	return -1;
}

static bool failed(const struct soak *s)
{
	return s->result->why[0] != '\0';
}

/* ---- services of the host ---- */

static void *count_alloc(size_t n, void *user)
{
	struct soak *s = user;
	void *p = malloc(n);

	if (p) {
		s->heap_bytes += n;
		s->allocs++;
	}
	return p;
}

static void count_release(void *p, size_t n, void *user)
{
	((struct soak *)user)->heap_bytes -= n;
	free(p);
}

static void no_log(enum kvf_log_level level, const char *scope, const char *msg, void *user)
{
	(void)level;
	(void)scope;
	(void)msg;
	(void)user;
}

static void seam_wrong(void *arg, const char *what)
{
	fail(arg, "%s", what);
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 3; /* ., .. and the directory itself */
}

/* ---- opening ---- */

static int configure(struct soak *s, struct kvf_config **out)
{
	const char *set[3][2] = {
		{"chunk_size", "64"}, {"kvf_pool_slots", NULL}, {"save_unfull_chunk", "true"}};
	char slots[24];
	int rc = kvf_config_create(out, NULL);

	snprintf(slots, sizeof(slots), "%llu", (unsigned long long)s->o->ram_chunks);
	set[1][1] = slots;
	for (size_t i = 0; i < 3 && !rc; i++)
		rc = kvf_config_set(*out, set[i][0], set[i][1], NULL);
	return rc ? fail(s, "configuration: %s", kvf_strerror(rc)) : 0;
}

static int open_engine(struct soak *s)
{
	static const struct kvf_log_sink silent = {sizeof(silent), no_log, NULL};
	struct kvf_custom_tier tiers[2];
	struct kvf_config *config = NULL;
	struct kvf_open_params p;
	struct kvf_report report;
	char text[512] = "";
	int rc = -1;

	kvf_report_init(&report, text, sizeof(text));
	kvf_open_params_init(&p);
	for (uint32_t t = 0; t < 2; t++) {
		simtier_init(&s->tier[t], t ? "far" : "near",
			t ? KVF_TIER_SHARED : KVF_TIER_RECORDS | KVF_TIER_DURABLE,
			s->o->seed * 2 + t);
		s->tier[t].max_records = TIER_RECORDS;
		s->tier[t].hooks.arg = s;
		s->tier[t].hooks.wrong = seam_wrong;
		tiers[t] = (struct kvf_custom_tier){&s->tier[t].ops, &s->tier[t]};
	}
	s->allocator = (struct kvf_allocator){sizeof(s->allocator), count_alloc, count_release, s};
	if (configure(s, &config) == 0) {
		p.config = config;
		p.identity.model = "soak";
		p.layout = &s->device.layout;
		p.tiers = tiers;
		p.n_tiers = (uint32_t)s->o->tiers;
		p.allocator = &s->allocator;
		p.log = &silent;
		p.report = &report;
		rc = kvf_engine_open(&s->engine, &p);
		if (rc)
			fail(s, "open: %s: %s", kvf_strerror(rc), text);
	}
	kvf_config_destroy(config);
	return rc ? -1 : 0;
}

/* ---- faults and workload of a round ---- */

static void new_faults(struct soak *s)
{
	for (uint32_t t = 0; t < s->o->tiers; t++) {
		simtier_calm(&s->tier[t]); /* what hung in the last round comes back */
		soak_faults(&s->rng, &s->tier[t].faults);
	}
}

static int new_workload(struct soak *s)
{
	static const char *const names[] = {"builtin:agentic", "builtin:long-doc-qa",
		"builtin:multi-round-chat", "builtin:random-prefill", "builtin:scan"};
	const char *name = names[wl_rng_below(&s->rng, KVF_ARRAY_LEN(names))];
	struct wl_options options = {
		.sources = &name, .source_count = 1, .seed = 1 + wl_rng_below(&s->rng, 8)};
	struct wl_error error;

	wl_close(s->workload);
	s->workload = NULL;
	if (wl_open(&s->workload, &options, &error))
		return fail(s, "workload %s: %s", name, error.text);
	return 0;
}

/* ---- requests ---- */

static uint64_t deadline(struct soak *s)
{
	uint64_t now = kvf_now_ns(s->engine);

	if (wl_rng_below(&s->rng, 8) == 0)
		return now + wl_rng_below(&s->rng, 3 * KVF_NS_PER_MS);
	return now + KVF_NS_PER_S;
}

static int submit(struct soak *s, struct request *q, struct kvf_op *op, enum what what)
{
	int n;

	op->user_data = (uint64_t)(q - s->requests);
	op->deadline_ns = q->deadline_ns = deadline(s);
	op->priority = (uint8_t)wl_rng_below(&s->rng, 3);
	n = kvf_submit(s->engine, op, 1, &q->op_id);
	if (n != 1)
		return fail(s, "kvf_submit: %s: %s", kvf_strerror(n), kvf_error_detail(s->engine));
	s->result->operations++;
	q->what = what;
	if (wl_rng_below(&s->rng, 40) == 0)
		(void)kvf_cancel(s->engine, q->op_id);
	return 0;
}

static int submit_copy(struct soak *s, struct request *q, uint64_t first, uint64_t n, bool is_store)
{
	const struct kvf_fence_in now = {.kind = KVF_FENCE_NOW};
	const struct kvf_block_list list = {.ids = q->ids, .n = q->n_ids};
	const struct kvf_blocks blocks = {.n_groups = 1, .groups = &list};
	const struct kvf_span span = {(size_t)first, (size_t)n, &blocks};
	struct kvf_op op;

	if (is_store) {
		kvf_prep_store(&op, q->seq, &span, &now);
		if (s->o->tiers && wl_rng_below(&s->rng, 4) == 0)
			op.level = KVF_LEVEL_DURABLE;
	} else {
		kvf_prep_retrieve(&op, q->seq, &span, &now);
	}
	return submit(s, q, &op, is_store ? W_STORE : W_RETRIEVE);
}

static void finish(struct soak *s, struct request *q)
{
	replay_device_give(&s->device, q->ids, q->n_ids);
	kvf_seq_close(q->seq);
	q->seq = NULL;
	q->what = W_FREE;
	s->n_active--;
	s->result->requests++;
}

static int store_rest(struct soak *s, struct request *q)
{
	uint64_t first = q->delivered - q->delivered % CHUNK;

	replay_compute(&s->oracle, &s->device, &q->r, q->ids, &q->cursor, q->r.prompt_tokens);
	if (q->r.prompt_tokens <= first) {
		finish(s, q);
		return 0;
	}
	return submit_copy(s, q, first, q->r.prompt_tokens - first, true);
}

static int append_tokens(struct soak *s, struct request *q)
{
	uint32_t tokens[512];
	int rc = KVF_OK;

	for (uint64_t at = 0; at < q->r.prompt_tokens && !rc; at += KVF_ARRAY_LEN(tokens)) {
		size_t n = (size_t)kvf_min_u64(KVF_ARRAY_LEN(tokens), q->r.prompt_tokens - at);

		wl_request_tokens(&q->r, at, n, tokens);
		rc = kvf_seq_append(q->seq, tokens, n);
	}
	return rc ? fail(s, "kvf_seq_append: %s", kvf_strerror(rc)) : 0;
}

/* The request's blocks are the workload's until its next one. */
static int keep_blocks(struct soak *s, struct request *q)
{
	if (q->r.block_count > q->blocks_cap) {
		uint64_t *more = realloc(q->blocks, q->r.block_count * sizeof(*more));

		if (!more)
			return fail(s, "no memory");
		q->blocks = more;
		q->blocks_cap = q->r.block_count;
	}
	memcpy(q->blocks, q->r.blocks, q->r.block_count * sizeof(*q->blocks));
	q->r.blocks = q->blocks;
	return 0;
}

static int begin(struct soak *s, struct request *q)
{
	static const char *const salts[] = {"tenant-a", "tenant-b"};
	const char *salt = salts[wl_rng_below(&s->rng, 2)];
	struct kvf_seq_params params;
	struct kvf_op op;
	int rc = wl_next(s->workload, &q->r);

	if (rc == 0)
		return new_workload(s);
	if (rc < 0)
		return fail(s, "workload: %s", wl_error_text(s->workload));
	q->r.prompt_tokens = kvf_min_u64(q->r.prompt_tokens, MOST_TOKENS);
	if (keep_blocks(s, q))
		return -1;
	q->n_ids = (uint32_t)kvf_div_up(q->r.prompt_tokens, BLOCK_TOKENS);
	if (!replay_device_take(&s->device, q->ids, q->n_ids))
		return fail(s, "the device has too few blocks");
	s->n_active++;
	q->found = q->delivered = 0;
	q->cursor = replay_cursor_begin(salt);
	kvf_seq_params_init(&params);
	params.salt = salt;
	rc = kvf_seq_open(s->engine, &params, &q->seq);
	if (rc)
		return fail(s, "kvf_seq_open: %s", kvf_strerror(rc));
	if (append_tokens(s, q))
		return -1;
	kvf_prep_lookup(
		&op, q->seq, 0, KVF_TIER_ALL, wl_rng_below(&s->rng, 4) ? 0 : 20 * KVF_NS_PER_MS);
	return submit(s, q, &op, W_LOOKUP);
}

static int check_bytes(struct soak *s, struct request *q)
{
	uint64_t wrong =
		replay_verify(&s->oracle, &s->device, &q->r, q->ids, &q->cursor, q->delivered);

	s->result->verified_bytes += q->delivered * TOKEN_BYTES;
	s->result->hit_tokens += q->delivered;
	if (wrong)
		return fail(s, "%llu wrong bytes in %llu tokens of a retrieve",
			(unsigned long long)wrong, (unsigned long long)q->delivered);
	return 0;
}

static int judge(struct soak *s, const struct request *q, const struct kvf_completion *c)
{
	s->result->canceled += c->status == KVF_ECANCELED;
	s->result->timed_out += c->status == KVF_ETIMEDOUT;
	s->result->dropped += c->status == KVF_EDROPPED;
	if (c->status == KVF_OK || c->status == KVF_ECANCELED || c->status == KVF_ETIMEDOUT)
		return 0;
	if (c->status == KVF_EDROPPED && q->what == W_STORE)
		return 0;
	return fail(s, "operation %u ended with %s, reason %u", c->op, kvf_strerror(c->status), c->reason);
}

static int step(struct soak *s, const struct kvf_completion *c)
{
	struct request *q = &s->requests[c->user_data % KVF_ARRAY_LEN(s->requests)];

	if (q->what == W_FREE || q->op_id != c->op_id || c->kind != KVF_DONE)
		return fail(
			s, "a completion (kind %u) of an operation that is not in flight", c->kind);
	if (judge(s, q, c))
		return -1;
	switch (q->what) {
	case W_LOOKUP:
		q->found = c->tokens;
		if (q->found > q->r.prompt_tokens)
			return fail(s, "a hit of more tokens than there are");
		return q->found ? submit_copy(s, q, 0, q->found, false) : store_rest(s, q);
	case W_RETRIEVE:
		q->delivered = c->tokens;
		if (q->delivered > q->found)
			return fail(s, "a retrieve delivered more than it was asked for");
		return check_bytes(s, q) ? -1 : store_rest(s, q);
	default:
		finish(s, q);
		return 0;
	}
}

/* ---- rounds ---- */

static int check_stuck(struct soak *s)
{
	uint64_t now = kvf_now_ns(s->engine);

	for (uint32_t i = 0; i < s->o->concurrency; i++) {
		const struct request *q = &s->requests[i];

		if (q->what != W_FREE && now > q->deadline_ns + STUCK_NS)
			return fail(s, "an operation is %llu ms late",
				(unsigned long long)((now - q->deadline_ns) / KVF_NS_PER_MS));
	}
	return 0;
}

static int poll_once(struct soak *s)
{
	struct kvf_completion out[32];
	int n = kvf_poll(s->engine, out, KVF_ARRAY_LEN(out));
	uint64_t next;

	if (n < 0)
		return fail(s, "kvf_poll: %s: %s", kvf_strerror(n), kvf_error_detail(s->engine));
	for (int i = 0; i < n && !failed(s); i++)
		(void)step(s, &out[i]);
	if (failed(s) || n)
		return failed(s) ? -1 : 0;
	next = kvf_next_deadline_ns(s->engine);
	if (next > kvf_now_ns(s->engine)) {
		struct timespec nap = {0, 50000};

		nanosleep(&nap, NULL);
		return check_stuck(s);
	}
	return 0;
}

static int check_everything(struct soak *s)
{
	struct kvf_stats *stats = &s->result->stats;
	int rc = kvf_verify(s->engine);

	if (rc)
		return fail(s, "kvf_verify: %s", kvf_error_detail(s->engine));
	stats->size = sizeof(*stats);
	if (kvf_get_stats(s->engine, stats))
		return fail(s, "kvf_get_stats failed");
	if (stats->slots_leased > stats->slots / 2 || stats->slots_resident > stats->slots_ready)
		return fail(s, "a cap is broken: %llu leased, %llu resident of %llu slots",
			(unsigned long long)stats->slots_leased,
			(unsigned long long)stats->slots_resident,
			(unsigned long long)stats->slots);
	return 0;
}

static int one_round(struct soak *s, uint64_t until_ns)
{
	new_faults(s);
	if (new_workload(s))
		return -1;
	while (!failed(s) && kvf_now_ns(s->engine) < until_ns) {
		for (uint32_t i = 0; i < s->o->concurrency && !failed(s); i++) {
			if (s->requests[i].what == W_FREE)
				(void)begin(s, &s->requests[i]);
		}
		if (failed(s) || poll_once(s))
			return -1;
	}
	while (!failed(s) && s->n_active)
		(void)poll_once(s);
	s->result->rounds++;
	return failed(s) ? -1 : check_everything(s);
}

/* Heap and descriptors once the first third is over, and at the end. */
static void note_warm(struct soak *s)
{
	struct soak_result *r = s->result;

	r->heap_bytes_warm = s->heap_bytes;
	r->allocs_warm = s->allocs;
	r->fds_warm = count_fds();
}

static int check_flat(struct soak *s)
{
	struct soak_result *r = s->result;

	r->heap_bytes_end = s->heap_bytes;
	r->allocs_end = s->allocs;
	r->fds_end = count_fds();
	if (r->heap_bytes_end > r->heap_bytes_warm + r->heap_bytes_warm / 4 + KVF_MIB)
		return fail(s, "the heap grew from %llu to %llu bytes",
			(unsigned long long)r->heap_bytes_warm,
			(unsigned long long)r->heap_bytes_end);
	if (r->fds_end != r->fds_warm)
		return fail(s, "%d descriptors became %d", r->fds_warm, r->fds_end);
	return 0;
}

static int live(struct soak *s)
{
	uint64_t begin_ns = kvf_now_ns(s->engine), end_ns = begin_ns + s->o->seconds * KVF_NS_PER_S;
	bool warm = false;

	while (kvf_now_ns(s->engine) < end_ns) {
		uint64_t until = kvf_min_u64(end_ns, kvf_now_ns(s->engine) + ROUND_NS);

		if (one_round(s, until))
			return -1;
		if (!warm && kvf_now_ns(s->engine) >= begin_ns + (end_ns - begin_ns) / 3)
			note_warm(s);
		warm = s->result->fds_warm != 0;
	}
	return check_flat(s);
}

/* ---- the end ---- */

static int rest(struct soak *s)
{
	uint64_t until = kvf_now_ns(s->engine) + REST_NS;
	int rc;

	for (uint32_t t = 0; t < s->o->tiers; t++) {
		const struct simtier *tier = &s->tier[t];

		s->result->tier_faults += tier->damaged + s->result->stats.tiers[t].errors;
		simtier_calm(&s->tier[t]);
	}
	rc = kvf_engine_shutdown(s->engine, KVF_SHUTDOWN_FLUSH, KVF_NO_DEADLINE);
	if (rc)
		return fail(s, "kvf_engine_shutdown: %s", kvf_strerror(rc));
	while (!failed(s) && !kvf_engine_idle(s->engine)) {
		if (kvf_now_ns(s->engine) > until)
			return fail(s, "the shutdown does not end");
		(void)poll_once(s);
	}
	return failed(s) ? -1 : check_everything(s);
}

static void take_down(struct soak *s)
{
	int rc = s->engine ? kvf_engine_close(s->engine) : KVF_OK;

	if (rc)
		fail(s, "kvf_engine_close: %s: %s", kvf_strerror(rc), kvf_error_detail(s->engine));
	else if (s->heap_bytes)
		fail(s, "%llu bytes leaked", (unsigned long long)s->heap_bytes);
	wl_close(s->workload);
	for (uint32_t i = 0; i < KVF_ARRAY_LEN(s->requests); i++)
		free(s->requests[i].blocks);
	for (uint32_t t = 0; t < 2; t++)
		simtier_fini(&s->tier[t]);
	replay_oracle_fini(&s->oracle);
	replay_device_fini(&s->device);
}

int soak_run(const struct soak_options *options, struct soak_result *result)
{
	struct soak *s = calloc(1, sizeof(*s));
	char error[256] = "";
	int rc;

	if (!s) {
		snprintf(result->why, sizeof(result->why), "no memory");
		return -1;
	}
	s->o = options;
	s->result = result;
	wl_rng_seed(&s->rng, options->seed);
	rc = replay_device_init(
		&s->device, TOKEN_BYTES, BLOCK_TOKENS, options->seed, error, sizeof(error));
	if (rc)
		fail(s, "device: %s", error);
	if (!rc)
		rc = replay_oracle_init(
			&s->oracle, s->device.n_layers * s->device.planes, s->device.row_bytes);
	if (!rc && open_engine(s) == 0 && live(s) == 0)
		(void)rest(s);
	if (rc)
		fail(s, "no memory");
	take_down(s);
	rc = failed(s) ? -1 : 0;
	free(s);
	return rc;
}
