/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lines that users of LMCache look for in their logs, word for word in their stable parts, at
 * info level:
 *
 *	Reqid: R, Total tokens N, LMCache hit tokens: H, need to load: L
 *	Storing KV cache for N out of M tokens (skip_leading_tokens=S) for request R
 *	[req_id=R] Stored N out of total M tokens. size: ...
 *	[req_id=R] Retrieved N out of M required tokens (from T total tokens). size: ...
 *
 * H is what can be used of the hit, min(hit, N - 1): the engine has to compute the last token anew
 * whatever is stored. A prompt of 15,410 tokens that is stored to its last token therefore prints
 *15409, and with 15,408 of them computed already "need to load: 1". Later releases of LMCache put
 *"Inference Engine computed tokens: C, " before the hit; the documented line has no such part, and
 * neither has this one.
 *
 * M of a store is where its span ends: a prompt that is stored as it is computed has that many
 * tokens by then, whether the host appended the rest of them before or not.
 *
 * Of a request only its id is printed: never a token, a salt or a tag.
 */
#include "engine/engine.h"

#include <stdio.h>

#define SCOPE "request"
#define LINES_PER_SECOND 10000u

static bool quiet(const struct kvf_engine *e)
{
	return e->log.level < KVF_LOG_INFO;
}

static const char *name_of(const struct kvf_job *job)
{
	return job->request_id[0] ? job->request_id : "-";
}

#define say(e, ...)                                                                                \
	do {                                                                                       \
		(e)->request_limit.burst = LINES_PER_SECOND;                                       \
		kvf_log_limited(&(e)->log, &(e)->request_limit, (e)->clock.now_ns, KVF_LOG_INFO,   \
			SCOPE, __VA_ARGS__);                                                       \
	} while (0)

void kvf_job_log_begin(struct kvf_engine *e, const struct kvf_job *job)
{
	if (quiet(e) || job->code != KVF_OP_STORE || job->end_chunk == job->first_chunk)
		return;
	say(e,
		"Storing KV cache for %llu out of %llu tokens (skip_leading_tokens=%llu) for "
		"request %s",
		(unsigned long long)(job->end_token - job->first_token),
		(unsigned long long)job->end_token, (unsigned long long)job->first_token,
		name_of(job));
}

/* A number with four decimals, whatever the host's locale makes of a comma. */
struct decimal {
	char text[32];
};

static struct decimal decimal(double value)
{
	struct decimal d;
	uint64_t n = value < 1e14 ? (uint64_t)(value * 1e4 + 0.5) : UINT64_MAX;

	snprintf(d.text, sizeof(d.text), "%llu.%04llu", (unsigned long long)(n / 10000),
		(unsigned long long)(n % 10000));
	return d;
}

static struct decimal milliseconds(uint64_t from_ns, uint64_t to_ns)
{
	return decimal((double)(to_ns - from_ns) / KVF_NS_PER_MS);
}

/* Size, time and rate. The clock is that of the turn: an operation may have taken none. */
struct figures {
	struct decimal gib, ms, gib_per_s;
};

static struct figures figures_of(
	const struct kvf_engine *e, const struct kvf_job *job, uint32_t tokens)
{
	double gib =
		(double)tokens * ((double)e->payload_bytes / e->chunk_size) / (double)(1u << 30);
	double ns = (double)(e->clock.now_ns - job->submitted_ns);

	return (struct figures){
		.gib = decimal(gib),
		.ms = milliseconds(job->submitted_ns, e->clock.now_ns),
		.gib_per_s = decimal(ns > 0 ? gib / (ns / (double)KVF_NS_PER_S) : 0),
	};
}

static void say_stored(struct kvf_engine *e, const struct kvf_job *job, uint32_t tokens)
{
	struct figures f = figures_of(e, job, tokens);
	uint64_t copied_ns = job->copied_ns ? job->copied_ns : e->clock.now_ns;

	say(e,
		"[req_id=%s] Stored %u out of total %llu tokens. size: %s gb, cost %s ms, "
		"throughput: %s GB/s; offload_time: %s ms, put_time: %s ms",
		name_of(job), tokens, (unsigned long long)job->end_token, f.gib.text, f.ms.text,
		f.gib_per_s.text, milliseconds(job->submitted_ns, copied_ns).text,
		milliseconds(copied_ns, e->clock.now_ns).text);
}

static void say_retrieved(struct kvf_engine *e, const struct kvf_job *job, uint32_t tokens)
{
	struct figures f = figures_of(e, job, tokens);

	say(e,
		"[req_id=%s] Retrieved %u out of %llu required tokens (from %llu total tokens). "
		"size: %s gb, cost %s ms, throughput: %s GB/s;",
		name_of(job), tokens, (unsigned long long)(job->end_token - job->first_token),
		(unsigned long long)job->seq_tokens, f.gib.text, f.ms.text, f.gib_per_s.text);
}

void kvf_job_log_end(
	struct kvf_engine *e, const struct kvf_job *job, const struct kvf_completion *c)
{
	if (quiet(e))
		return;
	switch (job->code) {
	case KVF_OP_LOOKUP:
		if (!c->status)
			say(e,
				"Reqid: %s, Total tokens %llu, LMCache hit tokens: %u, need to "
				"load: %u",
				name_of(job), (unsigned long long)job->seq_tokens, c->usable,
				c->need);
		break;
	case KVF_OP_STORE:
		if (job->end_chunk > job->first_chunk)
			say_stored(e, job, c->tokens);
		break;
	case KVF_OP_RETRIEVE:
		say_retrieved(e, job, c->tokens);
		break;
	default:
		break;
	}
}
