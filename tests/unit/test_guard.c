/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard of every public call: another thread, a child process, and calls from inside a call, out of each kind of
 * callback the engine makes. And engines beside each other, which nothing guards because they never meet.
 */
#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/rig.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define N (10 * RIG_CHUNK)

static void no_timeline(const char *json, size_t n, void *user)
{
	(void)json;
	(void)n;
	(void)user;
}

static unsigned differs(const char *call, int got, int want)
{
	if (got == want)
		return 0;
	fprintf(stderr, "%s: %s, not %s\n", call, kvf_strerror(got), kvf_strerror(want));
	return 1;
}

#define TRY(call) wrong += differs(#call, (call), want)

static unsigned seq_calls(struct rig *r, int want)
{
	static const uint8_t keys[1][KVF_KEY_BYTES];
	struct kvf_seq *seq = NULL;
	uint8_t key[KVF_KEY_BYTES];
	uint32_t token = 1;
	unsigned wrong = 0;

	TRY(kvf_seq_open(r->engine, NULL, &seq));
	TRY(kvf_seq_append(r->seq, &token, 1));
	TRY(kvf_seq_append_extra(r->seq, N, 1, key));
	TRY(kvf_seq_append_keys(r->seq, keys, 1));
	TRY(kvf_seq_truncate(r->seq, 0));
	TRY(kvf_seq_fork(r->seq, &seq));
	TRY(kvf_seq_key(r->seq, 0, key));
	wrong += kvf_seq_resident(r->seq) != 0;
	wrong += seq != NULL;
	kvf_seq_close(r->seq); /* says nothing, does nothing */
	return wrong;
}

static unsigned control_calls(struct rig *r, int want)
{
	struct kvf_engine *e = r->engine;
	unsigned wrong = 0;
	uint32_t bits;

	TRY(kvf_set_frozen(e, 1));
	TRY(kvf_set_hot_cache(e, 0));
	TRY(kvf_set_tier(e, KVF_TIER_CUSTOM, 0));
	TRY(kvf_set_log_level(e, KVF_LOG_ERROR));
	TRY(kvf_set_pool_bytes(e, 1u << 20));
	TRY(kvf_set_quota(e, "salt", 0, 1u << 20));
	TRY(kvf_set_rates(e, 1, 1));
	TRY(kvf_health(e, &bits));
	return wrong;
}

/* Every call that has a status. None of them may do anything. Returns how many did not refuse as they should. */
static unsigned all_calls(struct rig *r, int want)
{
	struct kvf_engine *e = r->engine;
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };
	struct kvf_stats stats = { .size = sizeof(stats) };
	struct kvf_fence_out fence;
	struct kvf_completion c;
	struct kvf_event event;
	struct kvf_op op;
	uint64_t id, cursor = 0, lost;
	unsigned wrong = control_calls(r, want);

	if (r->seq)
		wrong += seq_calls(r, want);

	kvf_prep_flush(&op);
	TRY(kvf_submit(e, &op, 1, &id));
	TRY(kvf_poll(e, &c, 1));
	TRY(kvf_cancel(e, 1));
	if (r->seq)
		TRY(kvf_cancel_seq(e, r->seq));
	TRY(kvf_store_layer(e, 1, 0, &now));
	TRY(kvf_layer_fence(e, 1, 0, &fence));
	TRY(kvf_fence_release(e, 1));
	TRY(kvf_fd(e));
	TRY(kvf_engine_rebind(e, &r->layout));
	TRY(kvf_engine_shutdown(e, KVF_SHUTDOWN_CANCEL, 0));
	TRY(kvf_engine_close(e));
	TRY(kvf_get_stats(e, &stats));
	TRY(kvf_verify(e));
	TRY(kvf_events(e, &event, 1, &lost));
	TRY(kvf_snapshot(e, &cursor, &event, 1));
	TRY(kvf_set_timeline(e, no_timeline, NULL));
	return wrong;
}

static void use(struct rig *r)
{
	rig_compute(r, N);
	CU_ASSERT_EQUAL(rig_store(r, 0, N, 0).tokens, N);
	rig_wipe(r);
	CU_ASSERT_EQUAL(rig_retrieve(r, 0, N, 0).tokens, N);
	CU_ASSERT_EQUAL(rig_mismatches(r, 0, N), 0);
}

/* ---- thread ---- */

struct caller {
	struct rig *rig;
	int want;
	unsigned wrong;
};

static void *call_all(void *arg)
{
	struct caller *c = arg;

	c->wrong = all_calls(c->rig, c->want);
	return NULL;
}

static void test_thread(void)
{
	struct rig r;
	struct caller c = { &r, KVF_ETHREAD, 0 };
	pthread_t thread;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	rig_tokens(&r, 1, N);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, call_all, &c), 0);
	pthread_join(thread, NULL);
	CU_ASSERT_EQUAL(c.wrong, 0);
	use(&r);
	rig_close(&r);
}

static void *look_then_ask(void *arg)
{
	struct kvf_stats stats = { .size = sizeof(stats) };
	struct rig *r = arg;
	uint32_t bits;
	intptr_t wrong = 0;

	wrong += kvf_get_stats(r->engine, &stats) != KVF_OK;
	wrong += kvf_health(r->engine, &bits) != KVF_OK;
	wrong += kvf_metrics_text(r->engine, NULL, 0) <= 0;
	wrong += kvf_engine_idle(r->engine) != 1;
	return (void *)wrong;
}

static void *take(void *arg)
{
	return (void *)(intptr_t)(kvf_fd(((struct rig *)arg)->engine) < 0);
}

/* Who only looks takes nothing; the first call that does anything at all decides. */
static void test_whose(void)
{
	for (int taken = 0; taken < 2; taken++) {
		struct rig r;
		pthread_t thread;
		void *wrong;

		rig_open(&r, &(struct rig_options){ .slots = 16 });
		CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, taken ? take : look_then_ask, &r), 0);
		pthread_join(thread, &wrong);
		CU_ASSERT_PTR_NULL(wrong);
		CU_ASSERT_EQUAL(kvf_poll(r.engine, NULL, 0), taken ? KVF_ETHREAD : 0);
		r.engine->owned = false;
		rig_close(&r);
	}
}

static void *move_on(void *arg)
{
	struct rig *r = arg;
	struct kvf_completion c = { 0 };
	struct kvf_op op;
	uint64_t id;
	intptr_t wrong = 0;

	rig_prep(r, &op, KVF_OP_RETRIEVE, 0, N);
	wrong += kvf_submit(r->engine, &op, 1, &id) != 1;
	for (unsigned n = 0; n < 100000 && !c.kind; n++)
		kvf_poll(r->engine, &c, 1);
	wrong += c.tokens != N;
	return (void *)wrong;
}

/* KVF_OPEN_MIGRATING: the engine goes from thread to thread, and back, between calls. */
static void test_migrating(void)
{
	struct rig r;
	pthread_t thread;
	void *wrong;

	rig_open(&r, &(struct rig_options){ .slots = 16, .flags = KVF_OPEN_MIGRATING });
	rig_tokens(&r, 1, N);
	use(&r);
	for (unsigned i = 0; i < 5; i++) {
		CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, move_on, &r), 0);
		pthread_join(thread, &wrong);
		CU_ASSERT_PTR_NULL(wrong);
		use(&r);
	}
	rig_close(&r);
}

/* ---- two engines ---- */

static void *other_thread(void *arg)
{
	struct rig *b = arg;
	intptr_t wrong = 0;

	/* No assertions here: CUnit counts in one thread only. */
	for (unsigned i = 0; i < 500; i++) {
		struct kvf_completion c = { 0 };
		struct kvf_op op;
		uint64_t id;

		rig_prep(b, &op, i % 2 ? KVF_OP_RETRIEVE : KVF_OP_STORE, 0, N);
		wrong += kvf_submit(b->engine, &op, 1, &id) != 1;
		for (unsigned n = 0; n < 100000 && !c.kind; n++)
			kvf_poll(b->engine, &c, 1);
		wrong += c.tokens != N;
	}
	return (void *)wrong;
}

static void test_two_engines(void)
{
	struct rig a, b;
	pthread_t thread;
	void *wrong;

	rig_open(&a, &(struct rig_options){ .slots = 16 });
	rig_open(&b, &(struct rig_options){ .slots = 16, .flags = KVF_OPEN_MIGRATING });
	rig_tokens(&a, 1, N);
	rig_tokens(&b, 1, N);
	rig_compute(&b, N);
	use(&a);
	CU_ASSERT_EQUAL(kvf_seq_resident(a.seq), N);
	CU_ASSERT_EQUAL(kvf_seq_resident(b.seq), 0);
	CU_ASSERT_EQUAL(rig_lookup(&b, 0, 0).tokens, 0);
	/* Two threads, an engine each, at the same time. */
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, other_thread, &b), 0);
	for (unsigned i = 0; i < 50; i++)
		use(&a);
	pthread_join(thread, &wrong);
	CU_ASSERT_PTR_NULL(wrong);
	rig_close(&a);
	rig_close(&b);
}

/* ---- fork ---- */

/* Ends a child, by an exec when all is well: leak checkers would count all that the parent still has. */
static void end_child(bool ok)
{
	if (ok)
		execl("/bin/true", "true", (char *)NULL);
	_exit(1);
}

static void await_child(pid_t pid)
{
	int status;

	CU_ASSERT_EQUAL_FATAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
}

static void test_fork(void)
{
	struct rig r;
	struct kvf_op op;
	uint64_t id;
	pid_t pid;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	rig_tokens(&r, 1, N);
	use(&r);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, N);
	id = rig_submit(&r, &op);
	pid = fork();
	CU_ASSERT_FATAL(pid >= 0);
	if (!pid)
		end_child(all_calls(&r, KVF_EFORK) == 0);
	await_child(pid);
	/* The parent's operation goes on. */
	CU_ASSERT_EQUAL(rig_await(&r, id).tokens, N);
	rig_close(&r);
}

/* A child may open an engine of its own. */
static void test_engine_of_a_child(void)
{
	struct rig r;
	pid_t pid;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	pid = fork();
	CU_ASSERT_FATAL(pid >= 0);
	if (!pid) {
		struct rig own;

		rig_open(&own, &(struct rig_options){ .slots = 16 });
		rig_tokens(&own, 1, N);
		use(&own);
		rig_close(&own);
		end_child(CU_get_number_of_failures() == 0);
	}
	await_child(pid);
	rig_close(&r);
}

/* ---- re-entry ---- */

enum { FROM_CLOCK = 0, FROM_ALLOC, FROM_RELEASE, FROM_LOG, FROM_TIER, FROM_TIMELINE, FROM_KINDS };

/* One at a time: the callbacks of this file's only engine. */
static struct {
	struct rig *rig;
	bool armed, inside;
	unsigned calls[FROM_KINDS], wrong;
} probe;

static void reenter(unsigned from)
{
	if (!probe.armed || probe.inside)
		return;
	probe.calls[from]++;
	probe.inside = true;
	probe.wrong += all_calls(probe.rig, KVF_EREENTRY);
	probe.inside = false;
}

static uint64_t probe_now(void *user)
{
	static uint64_t now = 1000000;

	(void)user;
	reenter(FROM_CLOCK);
	return now += 100;
}

static void *probe_alloc(size_t n, void *user)
{
	(void)user;
	reenter(FROM_ALLOC);
	return malloc(n);
}

static void probe_release(void *p, size_t n, void *user)
{
	uintptr_t engine = probe.rig ? (uintptr_t)probe.rig->engine : 0;

	(void)user;
	/* With its own block the engine is gone: that is the one to stay away from. */
	if (engine < (uintptr_t)p || engine >= (uintptr_t)p + n)
		reenter(FROM_RELEASE);
	free(p);
}

static void probe_log(enum kvf_log_level level, const char *scope, const char *msg, void *user)
{
	(void)level;
	(void)scope;
	(void)msg;
	(void)user;
	reenter(FROM_LOG);
}

static void probe_timeline(const char *json, size_t n, void *user)
{
	(void)json;
	(void)n;
	(void)user;
	reenter(FROM_TIMELINE);
}

/* A tier that has everything, and all of it damaged: the engine logs. */
static struct kvf_tier_host *liar;

static int liar_open(void *self, struct kvf_tier_host *host, const struct kvf_tier_open *params, uint32_t *caps)
{
	(void)self;
	(void)params;
	liar = host;
	*caps = 0;
	return KVF_OK;
}

static void liar_close(void *self)
{
	(void)self;
	reenter(FROM_TIER);
}

static unsigned liar_submit(void *self, struct kvf_tier_req *const *reqs, unsigned n)
{
	(void)self;
	reenter(FROM_TIER);
	for (unsigned i = 0; i < n; i++) {
		if (reqs[i]->kind == KVF_REQ_GET) {
			reqs[i]->payload_bytes = 1;
			reqs[i]->has_checksum = 1;
		}
		liar->complete(liar, reqs[i], KVF_OK);
	}
	return n;
}

static uint64_t liar_progress(void *self, uint64_t now_ns, uint64_t budget)
{
	(void)self;
	(void)now_ns;
	(void)budget;
	reenter(FROM_TIER);
	return 0;
}

static const struct kvf_tier_ops liar_ops = { .size = sizeof(liar_ops),
					      .name = "liar",
					      .open = liar_open,
					      .close = liar_close,
					      .submit = liar_submit,
					      .progress = liar_progress };

/* The rig's engine is closed and opened anew with everything of the host's own. */
static void open_probed(struct rig *r)
{
	static const struct kvf_clock clock = { sizeof(clock), probe_now, NULL };
	static const struct kvf_allocator allocator = { sizeof(allocator), probe_alloc, probe_release, NULL };
	static const struct kvf_log_sink sink = { sizeof(sink), probe_log, NULL };
	static const struct kvf_custom_tier tier = { &liar_ops, NULL };
	struct kvf_open_params p;
	struct kvf_config *config;

	memset(&probe, 0, sizeof(probe));
	rig_open(r, &(struct rig_options){ .slots = 16 });
	CU_ASSERT_EQUAL(kvf_engine_close(r->engine), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
	kvf_config_set(config, "chunk_size", "64", NULL);
	kvf_config_set(config, "kvf_pool_slots", "16", NULL);
	kvf_open_params_init(&p);
	p.config = config;
	p.layout = &r->layout;
	p.clock = &clock;
	p.allocator = &allocator;
	p.log = &sink;
	p.tiers = &tier;
	p.n_tiers = 1;
	CU_ASSERT_EQUAL_FATAL(kvf_engine_open(&r->engine, &p), KVF_OK);
	kvf_config_destroy(config);
	CU_ASSERT_EQUAL(kvf_set_timeline(r->engine, probe_timeline, NULL), KVF_OK);
	probe.rig = r;
}

/* Submits and polls with every callback trying every call. */
static struct kvf_completion run_probed(struct rig *r, enum kvf_op_code code)
{
	struct kvf_completion c = { 0 };
	struct kvf_op op;
	uint64_t id;

	rig_prep(r, &op, code, 0, N);
	probe.armed = true;
	CU_ASSERT_EQUAL(kvf_submit(r->engine, &op, 1, &id), 1);
	for (unsigned i = 0; i < 100000 && !c.kind; i++)
		kvf_poll(r->engine, &c, 1);
	probe.armed = false;
	CU_ASSERT_EQUAL(c.kind, KVF_DONE);
	return c;
}

static void test_reentry(void)
{
	struct rig r;
	struct kvf_completion c;

	open_probed(&r);
	rig_tokens(&r, 1, N);
	/* The tier says it has the chunks, but they are damaged: no token is delivered, and the log is told. */
	c = run_probed(&r, KVF_OP_RETRIEVE);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_CORRUPT);
	rig_compute(&r, N);
	CU_ASSERT_EQUAL(run_probed(&r, KVF_OP_STORE).tokens, N);
	rig_wipe(&r);
	CU_ASSERT_EQUAL(run_probed(&r, KVF_OP_RETRIEVE).tokens, N);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, N), 0);
	/* Close gives memory back through the host's allocator, up to the engine itself. */
	for (unsigned i = 0; i < 1000 && !kvf_engine_idle(r.engine); i++)
		kvf_poll(r.engine, &c, 1);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	probe.armed = true;
	r.seq = NULL; /* goes with the engine */
	CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_OK);
	probe.armed = false;
	free(r.kv);
	CU_ASSERT_EQUAL(probe.wrong, 0);
	for (unsigned i = 0; i < FROM_KINDS; i++)
		CU_ASSERT(probe.calls[i] > 0);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "thread", test_thread },
		{ "whose", test_whose },
		{ "migrating", test_migrating },
		{ "two_engines", test_two_engines },
		{ "fork", test_fork },
		{ "engine_of_a_child", test_engine_of_a_child },
		{ "reentry", test_reentry },
	};

	return kvf_test_main("guard", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
