/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvferry bench lookup: a resident prompt of 103,662 tokens (the median of the recorded coding
 * agents) is made into keys and looked up, beside one SHA-256 pass over the same bytes; the same
 * sequence after 704 more tokens; and Python's hash() chained over the same chunks, as LMCache
 * names them by default.
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "token/sha256.h"

#define PROMPT 103662
#define MORE 704
#define CHUNK 256
#define TOKEN_BYTES 4
#define SLOTS 512

struct lookup {
	struct bench *b;
	struct bench_rig rig;
	uint32_t tokens[PROMPT + MORE];
	uint64_t reps;
	uint64_t sink; /* keeps the compiler from dropping the hash */
};

static int lookup_op(struct lookup *l, struct kvf_seq *seq, uint32_t want)
{
	struct kvf_completion c;
	struct kvf_op op;

	kvf_prep_lookup(&op, seq, 0, KVF_TIER_ALL, 0);
	if (bench_rig_do(&l->rig, &op, &c) != 0)
		return -1;
	if (c.tokens == want)
		return 0;
	fprintf(stderr, "kvferry bench lookup: %u tokens found instead of %u\n", c.tokens, want);
	return -1;
}

static struct kvf_seq *new_seq(struct lookup *l)
{
	struct kvf_seq *seq = NULL;

	if (kvf_seq_open(l->rig.engine, NULL, &seq) != KVF_OK ||
		kvf_seq_append(seq, l->tokens, PROMPT) != KVF_OK) {
		fprintf(stderr, "kvferry bench lookup: %s\n", kvf_error_detail(l->rig.engine));
		kvf_seq_close(seq);
		return NULL;
	}
	return seq;
}

/* Stores the prompt, so that all of its full chunks are resident. */
static int make_resident(struct lookup *l)
{
	uint32_t n_ids = (PROMPT + 15) / 16;
	uint32_t *ids = malloc(n_ids * sizeof(*ids));
	struct kvf_seq *seq = new_seq(l);
	int rc = -1;

	if (ids && seq && replay_device_take(&l->rig.device, ids, n_ids))
		rc = bench_rig_copy(&l->rig, seq, ids, n_ids, PROMPT, true);
	kvf_seq_close(seq);
	free(ids);
	return rc;
}

static int slice_engine(struct lookup *l, double *out)
{
	uint64_t begin = tool_now_ns();

	for (uint64_t i = 0; i < l->reps; i++) {
		struct kvf_seq *seq = new_seq(l);
		int rc = seq ? lookup_op(l, seq, PROMPT / CHUNK * CHUNK) : -1;

		kvf_seq_close(seq);
		if (rc != 0)
			return -1;
	}
	*out = (double)(tool_now_ns() - begin) / (double)l->reps;
	return 0;
}

static void slice_sha(struct lookup *l, double *out)
{
	uint64_t begin = tool_now_ns();

	for (uint64_t i = 0; i < l->reps; i++) {
		uint8_t digest[KVF_SHA256_SIZE];
		struct kvf_sha256 s;

		kvf_sha256_init(&s);
		kvf_sha256_update(&s, l->tokens, PROMPT * sizeof(*l->tokens));
		kvf_sha256_final(&s, digest);
		l->sink += digest[0];
	}
	*out = (double)(tool_now_ns() - begin) / (double)l->reps;
}

static int against_sha(struct lookup *l, double *engine_ns)
{
	static struct bench_pairs pairs;
	struct bench_ratio ratio;

	pairs.n = 0;
	for (uint64_t i = 0; i < l->b->slices + 1; i++) {
		if (slice_engine(l, &pairs.a[pairs.n]) != 0)
			return -1;
		slice_sha(l, &pairs.b[pairs.n]);
		pairs.n += i > 0; /* the first one warms up */
	}
	bench_compare(&pairs, &ratio);
	bench_say_ratio(l->b, "keys_and_lookup",
		"keys and lookup of 103,662 tokens / one SHA-256 pass", &ratio, 1e-3, "us");
	*engine_ns = ratio.a;
	return 0;
}

/* The next turn of an agent: only what is new costs. */
static int next_turn(struct lookup *l)
{
	double cpu[BENCH_MAX_SLICES], resident[BENCH_MAX_SLICES];

	for (uint64_t i = 0; i < l->b->slices; i++) {
		struct kvf_seq *seq = new_seq(l);
		uint64_t begin;
		int rc = seq ? lookup_op(l, seq, PROMPT / CHUNK * CHUNK) : -1;

		begin = tool_thread_cpu_ns();
		if (rc == 0 && kvf_seq_append(seq, l->tokens + PROMPT, MORE) != KVF_OK)
			rc = -1;
		if (rc == 0)
			rc = lookup_op(l, seq, PROMPT / CHUNK * CHUNK);
		cpu[i] = (double)(tool_thread_cpu_ns() - begin);
		begin = tool_thread_cpu_ns();
		l->sink += kvf_seq_resident(seq);
		resident[i] = (double)(tool_thread_cpu_ns() - begin);
		kvf_seq_close(seq);
		if (rc != 0)
			return -1;
	}
	bench_say(l->b, "next_turn_cpu_us", "704 more tokens and lookup, thread-CPU",
		bench_median(cpu, l->b->slices) / 1e3, "us");
	bench_say(l->b, "seq_resident_cpu_us",
		"kvf_seq_resident of it, thread-CPU (clock included)",
		bench_median(resident, l->b->slices) / 1e3, "us");
	return 0;
}

/* LMCache's default naming: hash((parent, tuple of tokens, extra keys)), chunk by chunk. */
static const char python[] = "python3 -c '\n"
			     "import time\n"
			     "t = [i * 2654435761 % 65536 for i in range(103662)]\n"
			     "def chain():\n"
			     "    h = 0\n"
			     "    for i in range(0, len(t) - 255, 256):\n"
			     "        h = hash((h, tuple(t[i:i + 256]), None))\n"
			     "    return h\n"
			     "best = []\n"
			     "for _ in range(41):\n"
			     "    a = time.perf_counter_ns()\n"
			     "    chain()\n"
			     "    best.append(time.perf_counter_ns() - a)\n"
			     "best.sort()\n"
			     "print(best[20])\n"
			     "' 2>/dev/null";

static void against_python(struct lookup *l, double engine_ns)
{
	char line[64] = "";
	uint64_t ns = 0;
	FILE *p = popen(python, "r");

	if (p) {
		if (fgets(line, sizeof(line), p))
			line[strcspn(line, "\n")] = '\0';
		(void)pclose(p);
	}
	if (!tool_parse_u64(line, &ns) || !ns) {
		printf("  no python3 here: its hash() chain is left out\n");
		return;
	}
	bench_say(l->b, "python_hash_us", "Python's hash() chain over the same chunks",
		(double)ns / 1e3, "us");
	bench_say(l->b, "of_python_hash", "keys and lookup / Python's hash() chain alone",
		engine_ns / (double)ns, "x");
}

int bench_lookup(struct bench *b)
{
	struct lookup *l = calloc(1, sizeof(*l));
	double engine_ns;
	int rc = -1;

	if (!l)
		return TOOL_WRONG;
	l->b = b;
	l->reps = b->brief ? 3 : 30;
	for (size_t i = 0; i < PROMPT + MORE; i++)
		l->tokens[i] = (uint32_t)wl_mix64(i) & 0xffff;
	if (bench_rig_open(&l->rig, TOKEN_BYTES, CHUNK, SLOTS) == 0) {
		if (make_resident(l) == 0 && against_sha(l, &engine_ns) == 0 && next_turn(l) == 0) {
			against_python(l, engine_ns);
			rc = 0;
		}
		bench_rig_close(&l->rig);
	}
	free(l);
	return rc == 0 ? TOOL_OK : TOOL_WRONG;
}
