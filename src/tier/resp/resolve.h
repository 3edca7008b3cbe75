/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a host's name to addresses, without blocking: numeric addresses, "localhost" and paths at once, names by c-ares
 * in the engine's own loop, again before connections are made anew. Without c-ares names are refused.
 *
 * Of several addresses all connections go to the same one, so that they see the same server: the one that worked last,
 * else the first, in the order of RFC 6724; after a failure to the next that did not fail since any of them worked.
 */
#ifndef KVF_TIER_RESP_RESOLVE_H
#define KVF_TIER_RESP_RESOLVE_H

#include <stdbool.h>
#include <sys/socket.h>

#include "tier/resp/resp.h"

#define KVF_RESP_ADDRESSES 16 /* of a name that has more: the first ones */

struct kvf_resp_names; /* c-ares */

struct kvf_resp_address {
	struct sockaddr_storage sa;
	socklen_t n; /* bytes of it; 0: none */
	bool failed;
};

struct kvf_resp_resolver {
	struct kvf_resp_address list[KVF_RESP_ADDRESSES];
	uint32_t n;  /* 0: not known */
	uint32_t at; /* the one to go to */
	struct kvf_tier_host *host;
	struct kvf_resp_names *names; /* NULL: the address never changes */
	uint64_t asked_ns, told_ns;   /* when the last question was put, and answered */
	bool missed, found;	      /* the last answer had no address; had one, after there was none */
};

/* KVF_OK, KVF_EINVAL, KVF_ENOTSUP, KVF_ENOMEM; the report says why. */
int kvf_resp_resolver_init(struct kvf_resp_resolver *r, struct kvf_mem *mem, struct kvf_tier_host *host,
			   const struct kvf_resp_options *options);
void kvf_resp_resolver_fini(struct kvf_resp_resolver *r);
/* Asks for the addresses anew. */
void kvf_resp_resolver_ask(struct kvf_resp_resolver *r);
/* A query is out. */
bool kvf_resp_resolver_busy(const struct kvf_resp_resolver *r);
/* Before a connection is made: asks if the last answer is old. True: go to list[at]; false: wait, or there is none. */
bool kvf_resp_resolver_ready(struct kvf_resp_resolver *r);
/* Is this where connections go? */
bool kvf_resp_resolver_is_at(const struct kvf_resp_resolver *r, const struct kvf_resp_address *address);
/* A connection was of use, or this one could not be used. `failed`: true: another one is left to be tried at once;
 * false: it was the last, and from now on all may be tried again. */
void kvf_resp_resolver_worked(struct kvf_resp_resolver *r);
bool kvf_resp_resolver_failed(struct kvf_resp_resolver *r, const struct kvf_resp_address *address);
/* Lets it work. */
void kvf_resp_resolver_run(struct kvf_resp_resolver *r, uint64_t now_ns);
uint64_t kvf_resp_resolver_deadline(const struct kvf_resp_resolver *r);

/* ---- names.c ---- */

int kvf_resp_names_start(struct kvf_resp_resolver *r, struct kvf_mem *mem, const struct kvf_resp_options *options);
void kvf_resp_names_stop(struct kvf_resp_names *names);
/* The answer comes by kvf_resp_resolver_told(), maybe at once. */
void kvf_resp_names_ask(struct kvf_resp_names *names);
bool kvf_resp_names_busy(const struct kvf_resp_names *names);
void kvf_resp_names_run(struct kvf_resp_names *names);
uint64_t kvf_resp_names_deadline(const struct kvf_resp_names *names);
/* The addresses of a name are these; n 0: nobody knows any, and those that were known stay. */
void kvf_resp_resolver_told(struct kvf_resp_resolver *r, const struct kvf_resp_address *list, uint32_t n);

#endif
