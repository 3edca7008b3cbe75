/* SPDX-License-Identifier: Apache-2.0 */
/* turn.c: what is due when, who runs in which turn, when a poll may do nothing, and how a dead engine ends. */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

static struct rig r;
static struct memtier m;

static void open_plain(void)
{
	tier_rig_open(&r, &m, 32, KVF_TIER_RECORDS | KVF_TIER_DURABLE, false);
	tier_rig_poll(&r, 3);
}

static void close_plain(void)
{
	tier_rig_close(&r, &m);
}

/* ---- quiet, due ---- */

static void quiet_tier(struct kvf_engine *e)
{
	/* What a tier is to be asked. */
	for (int i = 0; i < 4; i++) {
		struct kvf_list *lists[] = { &e->tier[0].asks, &e->tier[0].gets[KVF_CLASS_RETRIEVE],
					     &e->tier[0].gets[KVF_CLASS_PREFETCH], &e->tier[0].sealed };
		struct kvf_list link;

		kvf_list_push_back(lists[i], &link);
		CU_ASSERT_FALSE(kvf_engine_quiet(e));
		CU_ASSERT_EQUAL(kvf_tiers_deadline(e), 0);
		e->tier[0].backlog = true; /* it said that it is full */
		CU_ASSERT_TRUE(kvf_engine_quiet(e));
		CU_ASSERT_EQUAL(kvf_tiers_deadline(e), KVF_NEVER);
		e->tier[0].backlog = false;
		kvf_list_remove(&link);
	}
}

/* An idle engine's poll is no turn. Anything that a turn could do makes it one. */
static void test_quiet(void)
{
	struct kvf_engine *e;
	uint64_t turns;
	bool *flags[6];

	open_plain();
	e = r.engine;
	flags[0] = &e->more;
	flags[1] = &e->growing;
	flags[2] = &e->retiring;
	flags[3] = &e->emptying;
	flags[4] = &e->shutting;
	flags[5] = &e->dead;
	turns = rig_stats(&r).turns;
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(rig_stats(&r).turns, turns);
	CU_ASSERT_TRUE(kvf_engine_quiet(e));
	for (size_t i = 0; i < KVF_ARRAY_LEN(flags); i++) {
		*flags[i] = true;
		CU_ASSERT_FALSE(kvf_engine_quiet(e));
		*flags[i] = false;
	}
	for (int i = 0; i < 3; i++) {
		struct kvf_list *lists[] = { &e->ready, &e->spills, &e->sums };
		struct kvf_list link;

		kvf_list_push_back(lists[i], &link);
		CU_ASSERT_FALSE(kvf_engine_quiet(e));
		kvf_list_remove(&link);
	}
	e->n_jobs++;
	CU_ASSERT_FALSE(kvf_engine_quiet(e));
	e->n_jobs--;
	e->n_copies++;
	CU_ASSERT_FALSE(kvf_engine_quiet(e));
	e->n_copies--;
	e->n_requests++;
	CU_ASSERT_FALSE(kvf_engine_quiet(e));
	e->n_requests--;
	e->loop.n_watches++;
	CU_ASSERT_FALSE(kvf_engine_quiet(e));
	e->loop.n_watches--;
	e->timers.leases.n++;
	CU_ASSERT_FALSE(kvf_engine_quiet(e));
	e->timers.leases.n--;
	e->scrub = 1;
	e->n_resident++;
	CU_ASSERT_FALSE(kvf_engine_quiet(e));
	e->n_resident--;
	CU_ASSERT_TRUE(kvf_engine_quiet(e));
	e->scrub = 0;
	quiet_tier(e);
	CU_ASSERT_EQUAL(rig_stats(&r).turns, turns);
	close_plain();
	/* Without a tier too. */
	rig_open(&r, &(struct rig_options){ .slots = 16 });
	kvf_poll(r.engine, NULL, 0);
	turns = rig_stats(&r).turns;
	kvf_poll(r.engine, NULL, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).turns, turns);
	rig_close(&r);
}

static void due_by_work(struct kvf_engine *e)
{
	struct kvf_list link;

	/* A device at work is looked at soon; so is one that took no more. */
	e->n_copies++;
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), tier_rig_now + KVF_DEVICE_POLL_NS);
	e->n_copies--;
	kvf_list_push_back(&e->copy_wait, &link);
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), tier_rig_now + KVF_DEVICE_POLL_NS);
	kvf_list_remove(&link);
	/* Prefetches that wait for their rate. */
	e->prefetch_rate = (struct kvf_bucket){ 1000, tier_rig_now, -999 };
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), KVF_NEVER);
	kvf_list_push_back(&e->rate_waiters, &link);
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), tier_rig_now + KVF_NS_PER_S + 1);
	kvf_list_remove(&link);
	e->prefetch_rate = (struct kvf_bucket){ 0 };
	/* A shutdown's own deadline, until it has cancelled. */
	e->shutdown_at_ns = tier_rig_now + 7;
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), KVF_NEVER);
	e->shutting = true;
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), tier_rig_now + 7);
	e->shutdown_at_ns = tier_rig_now;
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), tier_rig_now);
	e->shutdown_mode = KVF_SHUTDOWN_CANCEL;
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), KVF_NEVER);
	e->shutdown_mode = KVF_SHUTDOWN_DRAIN;
	e->shutdown_at_ns = KVF_NEVER;
	e->shutting = false;
	/* Idle scrubbing. */
	e->scrub = 1;
	e->n_resident++;
	e->scrubber.next_ns = tier_rig_now + 3;
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), tier_rig_now + 3);
	e->n_resident--;
	e->scrub = 0;
}

/* When the host has to come again: now, at the earliest of what is due, or never. */
static void test_due(void)
{
	struct kvf_heap_node node[3] = { { 0 } };
	struct kvf_list link;
	struct kvf_engine *e;
	bool *flags[4];

	open_plain();
	e = r.engine;
	flags[0] = &e->more;
	flags[1] = &e->growing;
	flags[2] = &e->retiring;
	flags[3] = &e->emptying;
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), KVF_NEVER);
	for (size_t i = 0; i < KVF_ARRAY_LEN(flags); i++) {
		*flags[i] = true;
		CU_ASSERT_EQUAL(kvf_engine_deadline(e), 0);
		*flags[i] = false;
	}
	e->ring.n++;
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), 0);
	e->ring.n--;
	kvf_list_push_back(&e->ready, &link);
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), 0);
	kvf_list_remove(&link);
	kvf_list_push_back(&e->sums, &link);
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), 0);
	kvf_list_remove(&link);
	e->flush_walk = true;
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), 0);
	e->n_jobs++;
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), KVF_NEVER);
	e->n_jobs--;
	e->flush_walk = false;
	/* The earliest of the three kinds of timers. */
	for (int first = 0; first < 3; first++) {
		struct kvf_heap *heaps[] = { &e->timers.jobs, &e->timers.puts, &e->timers.leases };

		for (int i = 0; i < 3; i++) {
			CU_ASSERT_EQUAL(kvf_heap_reserve(heaps[i], 1), KVF_OK);
			kvf_heap_set(heaps[i], &node[i], tier_rig_now + (i == first ? 5 : 9));
		}
		CU_ASSERT_EQUAL(kvf_engine_deadline(e), tier_rig_now + 5);
		for (int i = 0; i < 3; i++)
			kvf_heap_remove(heaps[i], &node[i]);
	}
	due_by_work(e);
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), KVF_NEVER);
	close_plain();
}

/* ---- timers ---- */

/* An operation's, a put's and a lease's time is over at that nanosecond, not one before. */
static void test_timers(void)
{
	struct kvf_completion c;
	struct kvf_op op;
	uint64_t id[3], put_due;

	open_plain();
	tier_rig_only_below(&r, 1, 2);
	m.hold = true;
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 2 * RIG_CHUNK);
	for (uint64_t i = 0; i < 3; i++) {
		op.deadline_ns = tier_rig_now + 100 + (i == 2);
		id[i] = rig_submit(&r, &op);
	}
	tier_rig_poll(&r, 5);
	tier_rig_now += 99;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 0);
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), tier_rig_now + 1);
	tier_rig_now++;
	tier_rig_poll(&r, 1);
	for (int i = 0; i < 2; i++) { /* both of that time in one turn */
		CU_ASSERT_EQUAL_FATAL(kvf_ring_reap(r.engine, &c, 1), 1);
		CU_ASSERT_EQUAL(c.op_id, id[i]);
		CU_ASSERT_EQUAL(c.status, KVF_ETIMEDOUT);
		CU_ASSERT_EQUAL(c.reason, KVF_REASON_LATE);
	}
	CU_ASSERT_EQUAL(kvf_ring_reap(r.engine, &c, 1), 0);
	tier_rig_now++;
	CU_ASSERT_EQUAL(rig_await(&r, id[2]).status, KVF_ETIMEDOUT);
	m.hold = false;
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 2 * RIG_CHUNK, 0).tokens, 2 * RIG_CHUNK);
	/* Leases: two of one time, one of a later one. */
	for (uint64_t i = 0; i < 3; i++)
		CU_ASSERT_NOT_EQUAL(rig_lookup(&r, 0, 50 + (i == 2)).lease_id, 0);
	tier_rig_now += 49;
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).leases_expired, 0);
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), tier_rig_now + 1);
	tier_rig_now++;
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).leases_expired, 2);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 2);
	tier_rig_now++;
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).leases_expired, 3);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 0);
	/* Puts. */
	tier_rig_flush(&r);
	m.hold = true;
	tier_rig_store(&r, 2, 2);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(m.n_held, 2);
	put_due = kvf_next_deadline_ns(r.engine);
	CU_ASSERT_EQUAL(put_due, tier_rig_now + 30 * KVF_NS_PER_S);
	tier_rig_now = put_due - 1;
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, 0);
	tier_rig_now++;
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, 2);
	m.hold = false;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, 0);
	close_plain();
}

/* ---- descriptors ---- */

static unsigned woken;

static void ready(struct kvf_watch *watch, unsigned events)
{
	(void)watch;
	(void)events;
	woken++;
}

/* With nothing asked of a tier its descriptors are looked at once a millisecond, else at each turn. */
static void test_descriptors(void)
{
	struct kvf_watch watch = { .ready = ready };
	int fd = eventfd(1, EFD_CLOEXEC);

	open_plain();
	CU_ASSERT_FATAL(fd >= 0);
	woken = 0;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(m.host->watch(m.host, &watch, fd, KVF_WATCH_READ), KVF_OK);
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(woken, 1);
	tier_rig_now += KVF_NS_PER_MS - 1;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(woken, 1);
	tier_rig_now++;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(woken, 2);
	m.hold = true;
	tier_rig_store(&r, 1, 1);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(m.n_held, 1);
	woken = 0;
	tier_rig_poll(&r, 7);
	CU_ASSERT_EQUAL(woken, 7);
	m.hold = false;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(m.host->watch(m.host, &watch, fd, 0), KVF_OK);
	woken = 0;
	tier_rig_now += KVF_NS_PER_S;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(woken, 0);
	close(fd);
	close_plain();
}

/* ---- jobs ---- */

#define CROWD 300u

/* A turn makes so many steps and no more; those it did not reach go first in the next one. */
static void test_steps(void)
{
	static struct kvf_completion c[2 * CROWD];
	uint64_t id[CROWD], before;
	uint32_t done = 0;
	struct kvf_op op;

	open_plain();
	tier_rig_store(&r, 1, 4);
	tier_rig_flush(&r);
	kvf_prep_lookup(&op, r.seq, 0, KVF_TIER_RAM, 0);
	for (uint32_t i = 0; i < CROWD; i++)
		id[i] = rig_submit(&r, &op);
	for (int turn = 0; turn < 20 && done < CROWD; turn++) {
		before = rig_stats(&r).job_steps;
		done += (uint32_t)kvf_poll(r.engine, c + done, CROWD);
		CU_ASSERT(rig_stats(&r).job_steps - before <= KVF_TURN_STEPS);
		if (done < CROWD) {
			CU_ASSERT_EQUAL(rig_stats(&r).job_steps - before, KVF_TURN_STEPS);
			CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), 0);
		}
	}
	CU_ASSERT_EQUAL_FATAL(done, CROWD);
	for (uint32_t i = 0; i < CROWD; i++) {
		CU_ASSERT_EQUAL(c[i].op_id, id[i]);
		CU_ASSERT_EQUAL(c[i].tokens, 4 * RIG_CHUNK);
	}
	close_plain();
}

/* ---- dead ---- */

/* Many long prompts that are looked up at once: a turn looks at, asks for and hands on a bounded number of chunks,
 * however many jobs are ready, and each job has its turn. */
static void test_many_lookups(void)
{
	static const char *const settings[] = { "chunk_size", "2", NULL };
	const uint32_t n = 200, chunks = 500;
	struct kvf_completion c[256];
	uint32_t asked = 0, done = 0;
	struct kvf_op op;

	tier_rig_open_more(&r, &m, 1, KVF_TIER_RECORDS, (struct rig_options){ .slots = 16, .settings = settings });
	tier_rig_poll(&r, 20);
	rig_tokens(&r, 1, chunks * 2);
	kvf_prep_lookup(&op, r.seq, 0, 0, 0);
	op.deadline_ns = KVF_NO_DEADLINE;
	for (uint32_t i = 0; i < n; i++)
		rig_submit(&r, &op);
	for (uint32_t turn = 0; turn < 1000 && done < n; turn++) {
		CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), 0);
		done += (uint32_t)kvf_poll(r.engine, c, 256);
		CU_ASSERT(r.engine->looks < KVF_TURN_LOOKS + KVF_TURN_SCAN * (KVF_LOOKS_ASK + 1));
		CU_ASSERT(m.exists - asked <= KVF_TURN_ASKS + KVF_TIER_BATCH);
		asked = m.exists;
	}
	CU_ASSERT_EQUAL(done, n);
	CU_ASSERT_EQUAL(asked, n * chunks);
	tier_rig_close(&r, &m);
}

/* Every operation of a dead engine ends once, with KVF_EINTERNAL; those that ended before do not end again. */
static void test_dead(void)
{
	struct kvf_completion c[16];
	struct kvf_op op;
	uint64_t id[3];
	int n;

	open_plain();
	tier_rig_store(&r, 1, 4);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 4 * RIG_CHUNK, KVF_OP_STREAM_ORDERED).tokens, 4 * RIG_CHUNK);
	tier_rig_flush(&r);
	/* Flushes that wait for spills which their rate keeps back. */
	CU_ASSERT_EQUAL(kvf_set_rates(r.engine, 1, 0), KVF_OK);
	tier_rig_store(&r, 2, 4);
	kvf_prep_flush(&op);
	for (uint64_t i = 0; i < 3; i++) {
		op.user_data = 70 + i;
		id[i] = rig_submit(&r, &op);
	}
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(r.engine->n_requests, 0);
	CU_ASSERT_EQUAL(r.engine->n_jobs, 4);
	kvf_die(r.engine, "here.c", 7, "what should hold");
	CU_ASSERT_PTR_NOT_NULL(strstr(kvf_error_detail(r.engine), "broken invariant at here.c:7: what should hold"));
	kvf_die(r.engine, "there.c", 8, "something else"); /* the first one is the one to know */
	CU_ASSERT_PTR_NOT_NULL(strstr(kvf_error_detail(r.engine), "here.c:7"));
	n = kvf_poll(r.engine, c, 16);
	CU_ASSERT_EQUAL_FATAL(n, 3);
	for (uint64_t i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(c[i].op_id, id[i]);
		CU_ASSERT_EQUAL(c[i].user_data, 70 + i);
		CU_ASSERT_EQUAL(c[i].kind, KVF_DONE);
		CU_ASSERT_EQUAL(c[i].op, KVF_OP_FLUSH);
		CU_ASSERT_EQUAL(c[i].status, KVF_EINTERNAL);
	}
	CU_ASSERT_EQUAL(kvf_poll(r.engine, c, 16), 0);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_EINTERNAL);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 1);
	/* What a dead engine's operations hold is left where it is. Here it was sound, and gives it back. */
	r.engine->dead = false;
	kvf_seq_close(r.seq);
	CU_ASSERT_EQUAL(kvf_engine_shutdown(r.engine, KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE), KVF_OK);
	for (int i = 0; i < 1000 && !kvf_engine_idle(r.engine); i++)
		kvf_poll(r.engine, c, 16);
	CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_OK);
	free(r.kv);
	memtier_free(&m);
}

/* A dead engine gives back nothing: the test does it, at the end. */
static struct {
	void *p[4096];
	uint32_t n;
} arena;

static void *arena_alloc(size_t n, void *user)
{
	(void)user;
	if (arena.n == KVF_ARRAY_LEN(arena.p))
		return NULL;
	return arena.p[arena.n++] = malloc(n);
}

static void arena_release(void *p, size_t n, void *user)
{
	(void)p;
	(void)n;
	(void)user;
}

/* What device and tiers hold when it dies comes back, and it can be closed then; until then its host is not woken
 * without need, and afterwards not at all. */
static void test_dead_with_requests(void)
{
	static const struct kvf_allocator allocator = { sizeof(allocator), arena_alloc, arena_release, NULL };
	struct kvf_completion c;
	struct kvf_op op;

	tier_rig_open_more(&r, &m, 1, KVF_TIER_RECORDS, (struct rig_options){ .slots = 16, .allocator = &allocator });
	m.hold = true;
	tier_rig_store(&r, 1, 4);
	tier_rig_poll(&r, 10);
	kvf_prep_lookup(&op, r.seq, 0, KVF_TIER_CUSTOM, 0);
	rig_submit(&r, &op);
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(r.engine->n_requests, 8);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 4 * RIG_CHUNK);
	rig_submit(&r, &op);
	tier_rig_poll(&r, 1);
	CU_ASSERT(r.engine->n_copies > 0);
	kvf_die(r.engine, "here.c", 7, "what should hold");
	CU_ASSERT(kvf_next_deadline_ns(r.engine) <= tier_rig_now);
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 1);
		CU_ASSERT_EQUAL(c.status, KVF_EINTERNAL);
	}
	for (int i = 0; i < 100 && r.engine->n_copies; i++)
		kvf_poll(r.engine, NULL, 0);
	CU_ASSERT_EQUAL(r.engine->n_copies, 0);
	CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_EBUSY);
	CU_ASSERT(kvf_next_deadline_ns(r.engine) > tier_rig_now);
	m.hold = false;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(r.engine->n_requests, 0);
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), KVF_NO_DEADLINE);
	CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_OK);
	while (arena.n)
		free(arena.p[--arena.n]);
	free(r.kv);
	memtier_free(&m);
}

/* One that never had an operation dies too. */
static void test_dead_and_bare(void)
{
	struct kvf_completion c;

	open_plain();
	kvf_die(r.engine, "here.c", 7, "what should hold");
	CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 0);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 1);
	CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_OK);
	free(r.kv);
	memtier_free(&m);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "quiet", test_quiet },       { "due", test_due },
		{ "timers", test_timers },     { "descriptors", test_descriptors },
		{ "steps", test_steps },       { "dead", test_dead },
		{ "dead_and_bare", test_dead_and_bare }, { "dead_with_requests", test_dead_with_requests },
		{ "many_lookups", test_many_lookups },
	};

	return kvf_test_main("turn", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
