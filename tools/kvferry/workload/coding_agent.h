/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A coding-agent session in memory. Prompts are kept as what they add to the prompt before, so that
 * a session costs its text once and not once a turn.
 */
#ifndef KVFERRY_WORKLOAD_CODING_AGENT_H
#define KVFERRY_WORKLOAD_CODING_AGENT_H

#include "workload/source.h"

#define CA_NONE UINT32_MAX
#define CA_MAX_REQUESTS (UINT32_C(1) << 24)
#define CA_MAX_LEVELS 4 /* sub-agents of sub-agents */

struct ca_ids {
	uint64_t *v;
	size_t n, cap;
};

struct ca_request {
	uint64_t t_ns; /* from the start of the file's session */
	uint64_t in_tokens, out_tokens;
	uint64_t service_ns, gap_ns;
	uint64_t keep_tokens, fork_tokens;
	uint64_t tail_id; /* of the partial last block, if there is one */
	size_t new_at; /* in ca_file.ids: the full blocks after keep_blocks */
	uint32_t new_count, keep_blocks;
	uint32_t session, parent; /* parent: on the first request of a sub-agent */
	uint32_t after, fork_request; /* positions in ca_file.requests */
	bool rewrites_prefix, session_ends;
};

struct ca_file {
	uint32_t block_tokens;
	uint32_t session_count; /* 0 is the main one */
	struct ca_request *requests; /* as they stand in the file */
	size_t request_count, request_cap;
	struct ca_ids ids;
};

/* `file` is all zero before; ca_free() is due whatever comes back. `name` stands in the error text.
 */
int ca_parse(struct ca_file *file, const char *name, const char *data, size_t size, uint64_t scope,
	struct wl_error *error);
void ca_free(struct ca_file *file);

#endif
