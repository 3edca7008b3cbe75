/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lines that users of LMCache look for in their logs, word for word in their stable parts, at
 *info level:
 *
 *	Reqid: R, Total tokens N, LMCache hit tokens: H, need to load: L
 *	Storing KV cache for N out of M tokens (skip_leading_tokens=S) for request R
 *	[req_id=R] Stored N out of total M tokens. size: ...
 *	[req_id=R] Retrieved N out of M required tokens (from T total tokens). size: ...
 *
 * H is what can be used of the hit, min(hit, N - 1): the engine has to compute the last token anew
 *whatever is stored. A prompt of 15,410 tokens that is stored to its last token therefore prints
 *15409, and with 15,408 of them computed already "need to load: 1". Later releases of LMCache put
 *"Inference Engine computed tokens: C, " before the hit; the documented line has no such part, and
 *neither has this one.
 *
 * M of a store is where its span ends: a prompt that is stored as it is computed has that many
 *tokens by then, whether the host appended the rest of them before or not.
 *
 * Of a request only its id is printed: never a token, a salt or a tag.
 */
#include "engine/engine.h"

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

/* What a line says about bytes and time. The clock is that of the turn: an operation may have taken
 * none. */
struct figures {
	double gib, ms, gib_per_s;
};

static struct figures figures_of(
	const struct kvf_engine *e, const struct kvf_job *job, uint32_t tokens)
{
	struct figures f;
	double bytes = (double)tokens * ((double)e->payload_bytes / e->chunk_size);
	double ns = (double)(e->clock.now_ns - job->submitted_ns);

	f.gib = bytes / (double)(1ull << 30);
	f.ms = ns / KVF_NS_PER_MS;
	f.gib_per_s = ns > 0 ? f.gib / (ns / (double)KVF_NS_PER_S) : 0;
	return f;
}

static void say_stored(struct kvf_engine *e, const struct kvf_job *job, uint32_t tokens)
{
	struct figures f = figures_of(e, job, tokens);
	uint64_t copied_ns = job->copied_ns ? job->copied_ns : e->clock.now_ns;

	say(e,
		"[req_id=%s] Stored %u out of total %llu tokens. size: %.4f gb, cost %.4f ms, "
		"throughput: %.4f GB/s; "
		"offload_time: %.4f ms, put_time: %.4f ms",
		name_of(job), tokens, (unsigned long long)job->end_token, f.gib, f.ms, f.gib_per_s,
		(double)(copied_ns - job->submitted_ns) / KVF_NS_PER_MS,
		(double)(e->clock.now_ns - copied_ns) / KVF_NS_PER_MS);
}

static void say_retrieved(struct kvf_engine *e, const struct kvf_job *job, uint32_t tokens)
{
	struct figures f = figures_of(e, job, tokens);

	say(e,
		"[req_id=%s] Retrieved %u out of %llu required tokens (from %llu total tokens). "
		"size: %.4f gb, cost %.4f ms, "
		"throughput: %.4f GB/s;",
		name_of(job), tokens, (unsigned long long)(job->end_token - job->first_token),
		(unsigned long long)job->seq_tokens, f.gib, f.ms, f.gib_per_s);
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
