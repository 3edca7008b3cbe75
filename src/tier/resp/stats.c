/* SPDX-License-Identifier: Apache-2.0 */
/* What is counted of a server. */
#include "tier/resp/tier.h"

const char *kvf_resp_trouble_name(enum kvf_resp_trouble trouble)
{
	static const char *const names[KVF_RESP_TROUBLES] = {
		[KVF_RESP_T_RESOLVE] = "resolve",
		[KVF_RESP_T_REFUSED] = "refused",
		[KVF_RESP_T_TLS] = "tls",
		[KVF_RESP_T_TLS_FILES] = "tls_files",
		[KVF_RESP_T_AUTH] = "auth",
		[KVF_RESP_T_NOPERM] = "noperm",
		[KVF_RESP_T_RESET] = "reset",
		[KVF_RESP_T_TIMEOUT] = "timeout",
		[KVF_RESP_T_PROTOCOL] = "protocol",
		[KVF_RESP_T_OOM] = "oom",
		[KVF_RESP_T_READONLY] = "readonly",
		[KVF_RESP_T_LOADING] = "loading",
		[KVF_RESP_T_BUSY] = "busy",
		[KVF_RESP_T_CLUSTER] = "cluster",
		[KVF_RESP_T_WRONGTYPE] = "wrongtype",
		[KVF_RESP_T_UNKNOWN_COMMAND] = "unknown_command",
		[KVF_RESP_T_OTHER] = "other",
	};

	return trouble < KVF_RESP_TROUBLES ? names[trouble] : "";
}

void kvf_resp_tier_trouble(struct kvf_resp_tier *tier, enum kvf_resp_trouble trouble)
{
	if (trouble < KVF_RESP_TROUBLES)
		tier->errors[trouble]++;
}

void kvf_resp_tier_answered(struct kvf_resp_tier *tier, const struct kvf_resp_cmd *cmd)
{
	kvf_hist_add(&tier->latency[kvf_resp_class_of(cmd->kind)], kvf_resp_now(tier) - cmd->said_ns);
}

void kvf_resp_get_stats(const struct kvf_resp_tier *tier, struct kvf_resp_stats *out)
{
	*out = (struct kvf_resp_stats){ .server = tier->name, .connects = tier->connects };
	for (uint32_t i = 0; i < tier->n_conns; i++) {
		out->connections += tier->conn[i].state == KVF_RESP_READY;
		out->bytes_in += tier->conn[i].bytes_in;
		out->bytes_out += tier->conn[i].bytes_out;
	}
	for (int i = 0; i < KVF_RESP_TROUBLES; i++)
		out->errors[i] = tier->errors[i];
	for (int i = 0; i < KVF_RESP_CLASSES; i++)
		out->latency[i] = &tier->latency[i];
}
