/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is not stored, by LMCache's settings: tokens made in decode (save_decode_cache), requests
 * above priority_limit, the last skip_last_n_tokens of a prompt, requests that ask for it
 * (lmcache.skip_save), everything (LMCACHE_FORCE_SKIP_SAVE), and every rank but the first where one
 * stores for all. Such a store is accepted and ends at once, with 0 tokens and KVF_REASON_POLICY:
 * its host needs no second path.
 */
#include "engine/engine.h"

#include "base/report.h"
#include "config/config.h"

void kvf_store_rules_init(
	struct kvf_engine *e, const struct kvf_open_params *p, const struct kvf_settings *s)
{
	/* save_only_first_rank: 0 auto, 1 no, 2 yes. Without MLA the ranks' bytes differ, and each
	 * has to store its own. */
	bool first_only = p->identity.first_rank_only && s->save_only_first_rank != 1;

	if (s->save_only_first_rank == 2 && !p->identity.first_rank_only)
		kvf_report_add(p->report, KVF_WARNING,
			"save_only_first_rank: true, but identity.first_rank_only is 0: the ranks' "
			"KV differ, each stores its own");
	e->rules = (struct kvf_store_rules){
		.decode = s->save_decode_cache,
		.off = s->force_skip_save,
		.other_rank = first_only && p->identity.rank > 0,
		.for_all = first_only && p->identity.rank == 0,
		.priority_limit = s->priority_limit,
		.skip_last = s->skip_last_n_tokens,
	};
}

bool kvf_store_refused(const struct kvf_engine *e, const struct kvf_op *op)
{
	const struct kvf_store_rules *rules = &e->rules;

	return e->frozen || rules->off || rules->other_rank || op->seq->skip_save ||
	       op->seq->priority > rules->priority_limit ||
	       (op->flags & KVF_OP_DECODE && !rules->decode);
}

uint64_t kvf_store_bound(const struct kvf_engine *e, uint64_t seq_tokens)
{
	return kvf_sat_sub(seq_tokens, e->rules.skip_last);
}
