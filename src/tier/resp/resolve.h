/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a host's name to an address, without blocking: numeric addresses, "localhost" and paths at once, names by
 * c-ares in the engine's own loop, again after every failed connect. Without c-ares names are refused.
 */
#ifndef KVF_TIER_RESP_RESOLVE_H
#define KVF_TIER_RESP_RESOLVE_H

#include <stdbool.h>
#include <sys/socket.h>

#include "tier/resp/resp.h"

struct kvf_resp_names; /* c-ares */

struct kvf_resp_resolver {
	struct sockaddr_storage addr;
	socklen_t addr_n; /* 0: not known */
	struct kvf_resp_names *names; /* NULL: the address never changes */
};

/* KVF_OK, KVF_EINVAL, KVF_ENOTSUP, KVF_ENOMEM; the report says why. */
int kvf_resp_resolver_init(struct kvf_resp_resolver *r, struct kvf_mem *mem, struct kvf_tier_host *host,
			   const struct kvf_resp_options *options);
void kvf_resp_resolver_fini(struct kvf_resp_resolver *r);
/* Asks for the address anew. */
void kvf_resp_resolver_ask(struct kvf_resp_resolver *r);
/* A query is out. */
bool kvf_resp_resolver_busy(const struct kvf_resp_resolver *r);
/* Lets it work. */
void kvf_resp_resolver_run(struct kvf_resp_resolver *r, uint64_t now_ns);
uint64_t kvf_resp_resolver_deadline(const struct kvf_resp_resolver *r);

#endif
