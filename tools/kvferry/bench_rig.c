/* SPDX-License-Identifier: Apache-2.0 */
/* The engine that a bench measures. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static int complain(const struct bench_rig *rig, const char *what, int status)
{
	fprintf(stderr, "kvferry bench: %s: %s %s\n", what, kvf_strerror(status),
		rig->engine ? kvf_error_detail(rig->engine) : "");
	return -1;
}

static int set_u64(
	struct kvf_config *config, const char *key, uint64_t value, struct kvf_report *report)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return kvf_config_set(config, key, text, report);
}

static int open_engine(struct bench_rig *rig, uint64_t chunk_size, uint64_t slots)
{
	struct kvf_open_params params;
	struct kvf_config *config;
	struct kvf_report report;
	char text[2048] = "";
	int status;

	kvf_report_init(&report, text, sizeof(text));
	status = kvf_config_create(&config, NULL);
	if (status != KVF_OK)
		return complain(rig, "kvf_config_create", status);
	kvf_open_params_init(&params);
	params.config = config;
	params.identity.model = "kvferry/bench";
	params.layout = &rig->device.layout;
	params.report = &report;
	status = set_u64(config, "chunk_size", chunk_size, &report);
	if (status == KVF_OK)
		status = set_u64(config, "kvf_pool_slots", slots, &report);
	if (status == KVF_OK)
		status = kvf_config_set(config, "kvf_pool_before_open", "true", &report);
	for (const char *const *set = rig->settings; set && *set && status == KVF_OK; set += 2)
		status = kvf_config_set(config, set[0], set[1], &report);
	if (status == KVF_OK)
		status = kvf_engine_open(&rig->engine, &params);
	kvf_config_destroy(config);
	if (status == KVF_OK)
		return 0;
	fprintf(stderr, "%s", text);
	return complain(rig, "the engine does not open", status);
}

/* Until all of the pool can be used. */
static int warm_up(struct bench_rig *rig)
{
	struct kvf_stats stats = {.size = sizeof(stats)};
	bool due;

	do {
		int n = kvf_poll(rig->engine, NULL, 0);

		if (n < 0)
			return complain(rig, "kvf_poll", n);
		if (kvf_get_stats(rig->engine, &stats) != KVF_OK)
			return complain(rig, "kvf_get_stats", KVF_EINVAL);
		due = kvf_next_deadline_ns(rig->engine) <= kvf_now_ns(rig->engine);
	} while (due && stats.slots_ready < stats.slots);
	if (stats.slots_ready < stats.slots)
		return complain(rig, "the pool stays smaller than it was asked for", KVF_ENOMEM);
	return 0;
}

int bench_rig_open(struct bench_rig *rig, uint64_t token_bytes, uint64_t chunk_size, uint64_t slots)
{
	char error[256];

	*rig = (struct bench_rig){.settings = rig->settings, .cuda = rig->cuda};
	if ((rig->cuda ? replay_device_init_gpu : replay_device_init)(&rig->device, token_bytes, 16, 1, error,
		    sizeof(error)) != 0) {
		fprintf(stderr, "kvferry bench: %s\n", error);
		return -1;
	}
	if (open_engine(rig, chunk_size, slots) == 0 && warm_up(rig) == 0)
		return 0;
	bench_rig_close(rig);
	return -1;
}

void bench_rig_close(struct bench_rig *rig)
{
	struct kvf_completion c;

	if (rig->engine) {
		(void)kvf_engine_shutdown(rig->engine, KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE);
		while (!kvf_engine_idle(rig->engine) && kvf_poll(rig->engine, &c, 1) >= 0)
			;
		(void)kvf_engine_close(rig->engine);
		rig->engine = NULL;
	}
	replay_device_fini(&rig->device);
}

int bench_rig_do(struct bench_rig *rig, const struct kvf_op *op, struct kvf_completion *c)
{
	uint64_t id;
	int n = kvf_submit(rig->engine, op, 1, &id);

	if (n != 1)
		return complain(rig, "kvf_submit", n);
	do {
		n = kvf_poll(rig->engine, c, 1);
	} while (n == 0 || (n > 0 && c->kind != KVF_DONE));
	if (n < 0)
		return complain(rig, "kvf_poll", n);
	return c->status == KVF_OK ? 0 : complain(rig, "an operation failed", c->status);
}

struct kvf_seq *bench_rig_seq(struct bench_rig *rig, uint64_t seed, size_t n)
{
	struct kvf_seq *seq = NULL;
	uint32_t tokens[1024];
	int status = kvf_seq_open(rig->engine, NULL, &seq);

	for (size_t at = 0; at < n && status == KVF_OK; at += 1024) {
		size_t some = n - at < 1024 ? n - at : 1024;

		for (size_t i = 0; i < some; i++)
			tokens[i] = (uint32_t)wl_mix64((seed << 32) + at + i) & 0xffff;
		status = kvf_seq_append(seq, tokens, some);
	}
	if (status == KVF_OK)
		return seq;
	(void)complain(rig, "a sequence", status);
	kvf_seq_close(seq);
	return NULL;
}

int bench_rig_copy(struct bench_rig *rig, struct kvf_seq *seq, const uint32_t *ids, size_t n_ids,
	size_t n, bool store)
{
	const struct kvf_fence_in now = {.kind = KVF_FENCE_NOW};
	const struct kvf_block_list list = {.ids = ids, .n = n_ids};
	const struct kvf_blocks blocks = {.n_groups = 1, .groups = &list};
	const struct kvf_span span = {.n = n, .blocks = &blocks};
	struct kvf_completion c;
	struct kvf_op op;

	if (store)
		kvf_prep_store(&op, seq, &span, &now);
	else
		kvf_prep_retrieve(&op, seq, &span, &now);
	op.deadline_ns = KVF_NO_DEADLINE;
	if (bench_rig_do(rig, &op, &c) != 0)
		return -1;
	if (c.tokens != n && !(store && c.reason == KVF_REASON_PARTIAL)) {
		fprintf(stderr, "kvferry bench: %u of %zu tokens %s\n", c.tokens, n,
			store ? "stored" : "retrieved");
		return -1;
	}
	return 0;
}
