/* SPDX-License-Identifier: Apache-2.0 */
/* See remote.h. */
#include "tests/support/remote.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tool.h"

#define GIVE_UP_NS 60000000000ull

static void collect(enum kvf_log_level level, const char *scope, const char *msg, void *user)
{
	struct remote *m = user;
	int n = snprintf(m->log + m->log_n, sizeof(m->log) - m->log_n, "%d %s: %s\n", (int)level, scope, msg);

	if (n > 0 && (size_t)n < sizeof(m->log) - m->log_n)
		m->log_n += (size_t)n;
}

int remote_try_open(struct remote *m, const char *url, const char *const *settings)
{
	struct rig_options o = { .slots = 32, .extra_key = "remote_url", .extra_value = url, .settings = settings };

	memset(m, 0, sizeof(*m));
	m->sink = (struct kvf_log_sink){ sizeof(m->sink), collect, m };
	o.log = &m->sink;
	return rig_try_open(&m->rig, &o);
}

void remote_open(struct remote *m, const char *url, const char *const *settings)
{
	int rc = remote_try_open(m, url, settings);

	if (rc)
		fprintf(stderr, "remote: %s\n%s", kvf_strerror(rc), m->rig.text);
	CU_ASSERT_EQUAL_FATAL(rc, KVF_OK);
}

/* Sleeps until the engine wants to be polled. */
static void sleep_once(struct remote *m, uint64_t until_ns)
{
	struct pollfd p = { .fd = kvf_fd(m->rig.engine), .events = POLLIN };
	uint64_t now = tool_now_ns();
	uint64_t due = kvf_next_deadline_ns(m->rig.engine);

	if (due > until_ns)
		due = until_ns;
	if (due > now)
		poll(&p, 1, (int)((due - now) / 1000000 + 1));
}

void remote_idle(struct remote *m, unsigned ms)
{
	uint64_t end = tool_now_ns() + ms * 1000000ull;

	while (tool_now_ns() < end) {
		if (kvf_poll(m->rig.engine, NULL, 0) < 0)
			CU_FAIL_FATAL("poll");
		m->polls++;
		sleep_once(m, end);
	}
}

struct kvf_completion remote_run(struct remote *m, struct kvf_op *op, unsigned timeout_ms)
{
	struct kvf_completion c;
	uint64_t id, give_up = tool_now_ns() + GIVE_UP_NS;

	if (timeout_ms)
		op->deadline_ns = kvf_now_ns(m->rig.engine) + timeout_ms * 1000000ull;
	id = rig_submit(&m->rig, op);
	while (tool_now_ns() < give_up) {
		uint64_t before = tool_now_ns(), took;
		int n = kvf_poll(m->rig.engine, &c, 1);

		took = tool_now_ns() - before;
		if (took > m->longest_wait_ns)
			m->longest_wait_ns = took;
		CU_ASSERT_FATAL(n >= 0);
		m->polls++;
		if (n && c.op_id == id && c.kind == KVF_DONE) {
			before = kvf_now_ns(m->rig.engine);
			if (timeout_ms && before > op->deadline_ns && before - op->deadline_ns > m->longest_op_ns)
				m->longest_op_ns = before - op->deadline_ns;
			return c;
		}
		if (!n)
			sleep_once(m, give_up);
	}
	CU_FAIL_FATAL("the operation did not end");
	memset(&c, 0, sizeof(c));
	return c;
}

void remote_close(struct remote *m)
{
	uint64_t give_up = tool_now_ns() + GIVE_UP_NS;
	int rc;

	kvf_seq_close(m->rig.seq);
	CU_ASSERT_EQUAL(kvf_verify(m->rig.engine), KVF_OK);
	CU_ASSERT_EQUAL(kvf_engine_shutdown(m->rig.engine, KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE), KVF_OK);
	while (!kvf_engine_idle(m->rig.engine) && tool_now_ns() < give_up) {
		struct kvf_completion c[8];

		kvf_poll(m->rig.engine, c, 8);
		if (!kvf_engine_idle(m->rig.engine))
			sleep_once(m, give_up);
	}
	rc = kvf_engine_close(m->rig.engine);
	if (rc)
		fprintf(stderr, "remote: close: %s: %s\n", kvf_strerror(rc), kvf_error_detail(m->rig.engine));
	CU_ASSERT_EQUAL(rc, KVF_OK);
	free(m->rig.kv);
}

struct kvf_completion remote_store(struct remote *m, uint64_t number, uint32_t n)
{
	struct kvf_op op;

	rig_tokens(&m->rig, number, n);
	rig_compute(&m->rig, n);
	rig_prep(&m->rig, &op, KVF_OP_STORE, 0, n);
	op.level = KVF_LEVEL_REMOTE;
	return remote_run(m, &op, 0);
}

struct kvf_completion remote_fetch(struct remote *m, uint64_t number, uint32_t n, unsigned timeout_ms)
{
	struct kvf_completion c;
	struct kvf_op op;

	rig_tokens(&m->rig, number, n);
	kvf_prep_remove(&op, m->rig.seq, 0, n, KVF_TIER_RAM);
	CU_ASSERT_EQUAL(remote_run(m, &op, 0).status, KVF_OK);
	rig_wipe(&m->rig);
	rig_prep(&m->rig, &op, KVF_OP_RETRIEVE, 0, n);
	c = remote_run(m, &op, timeout_ms);
	CU_ASSERT_EQUAL(rig_mismatches(&m->rig, 0, c.tokens), 0);
	return c;
}

struct kvf_completion remote_lookup(struct remote *m, unsigned timeout_ms)
{
	struct kvf_op op;

	kvf_prep_lookup(&op, m->rig.seq, 0, KVF_TIER_REMOTE, 0);
	return remote_run(m, &op, timeout_ms);
}

struct kvf_tier_stats remote_stats(struct remote *m)
{
	return rig_stats(&m->rig).tiers[0];
}
