/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvferry bench scale: the engine with more and more chunks resident. A slot takes at least 8 KiB,
 * which bounds what a machine can hold; bench/bench_index.c takes index and eviction alone to 10^7.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define CHUNK 16
#define PATH 64 /* chunks of a sequence */
#define TOKEN_BYTES 16
#define SAMPLE 64 /* sequences of a slice */

struct scale {
	struct bench *b;
	struct bench_rig rig;
	uint32_t ids[PATH];
	uint64_t next; /* number of the next new sequence */
	uint64_t kept; /* sequences resident */
	struct wl_rng rng;
	double lookup, turnover; /* ns a chunk */
};

/* Stores new sequences: ns a chunk. */
static int store_some(struct scale *s, uint64_t n, double *ns)
{
	uint64_t spent = 0;

	for (uint64_t i = 0; i < n; i++) {
		struct kvf_seq *seq = bench_rig_seq(&s->rig, s->next, CHUNK * PATH);
		uint64_t begin = tool_now_ns();
		int rc = seq ? bench_rig_copy(&s->rig, seq, s->ids, PATH, CHUNK * PATH, true) : -1;

		spent += tool_now_ns() - begin;
		kvf_seq_close(seq);
		if (rc != 0)
			return -1;
		s->next++;
	}
	*ns = (double)spent / (double)(n * PATH);
	return 0;
}

/* Looks up random ones of the newer half of what is resident: ns a chunk. */
static int look_up_some(struct scale *s, double *ns)
{
	struct kvf_seq *seq[SAMPLE] = {0};
	uint64_t begin;
	int rc = 0;

	for (unsigned i = 0; i < SAMPLE && rc == 0; i++) {
		seq[i] = bench_rig_seq(
			&s->rig, s->next - 1 - wl_rng_below(&s->rng, s->kept / 2), CHUNK * PATH);
		rc = seq[i] ? 0 : -1;
	}
	begin = tool_now_ns();
	for (unsigned i = 0; i < SAMPLE && rc == 0; i++) {
		struct kvf_completion c = {0};
		struct kvf_op op;

		kvf_prep_lookup(&op, seq[i], 0, KVF_TIER_ALL, 0);
		rc = bench_rig_do(&s->rig, &op, &c);
		if (rc == 0 && c.tokens != CHUNK * PATH) {
			fprintf(stderr, "kvferry bench scale: a resident sequence is not found\n");
			rc = -1;
		}
	}
	*ns = (double)(tool_now_ns() - begin) / (SAMPLE * PATH);
	for (unsigned i = 0; i < SAMPLE; i++)
		kvf_seq_close(seq[i]);
	return rc;
}

static int measure(struct scale *s, uint64_t chunks)
{
	double lookup[BENCH_MAX_SLICES], turnover[BENCH_MAX_SLICES], ns;

	s->kept = chunks / PATH;
	if (!replay_device_take(&s->rig.device, s->ids, PATH) || store_some(s, s->kept, &ns) != 0)
		return -1;
	for (uint64_t i = 0; i < s->b->slices; i++) {
		if (look_up_some(s, &lookup[i]) != 0 || store_some(s, SAMPLE, &turnover[i]) != 0)
			return -1;
	}
	s->lookup = bench_median(lookup, s->b->slices);
	s->turnover = bench_median(turnover, s->b->slices);
	return 0;
}

static void say(struct bench *b, uint64_t chunks, const struct scale *s, const struct scale *first)
{
	char name[64], count[32];

	tool_count_text(count, sizeof(count), chunks);
	printf("  %12s chunks: lookup %7.1f ns (x %.2f), store and evict %7.1f ns (x %.2f) a "
	       "chunk\n",
		count, s->lookup, s->lookup / first->lookup, s->turnover,
		s->turnover / first->turnover);
	snprintf(name, sizeof(name), "%" PRIu64, chunks);
	json_out_open(&b->json, name, '{');
	json_out_double(&b->json, "lookup_ns", s->lookup);
	json_out_double(&b->json, "turnover_ns", s->turnover);
	json_out_double(&b->json, "lookup_ratio", s->lookup / first->lookup);
	json_out_double(&b->json, "turnover_ratio", s->turnover / first->turnover);
	json_out_close(&b->json, '}');
}

int bench_scale(struct bench *b)
{
	static const uint64_t brief[] = {10000, 50000, 0}, full[] = {10000, 100000, 1000000, 0};
	const uint64_t *sizes = b->sizes[0] ? b->sizes : b->brief ? brief : full;
	struct scale first = {0};
	int rc = 0;

	for (unsigned i = 0; sizes[i] && rc == 0; i++) {
		struct scale s = {.b = b};

		wl_rng_seed(&s.rng, 1);
		if (bench_rig_open(&s.rig, TOKEN_BYTES, CHUNK, sizes[i]) != 0) {
			rc = i > 0 && !b->sizes[0] ? 0 : -1; /* the machine ends here */
			break;
		}
		rc = measure(&s, sizes[i]);
		bench_rig_close(&s.rig);
		if (i == 0)
			first = s;
		if (rc == 0)
			say(b, sizes[i], &s, &first);
	}
	return rc == 0 ? TOOL_OK : TOOL_WRONG;
}
