/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses. See resolve.h. */
#include "tier/resp/resolve.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "base/compiler.h"
#include "base/report.h"

/* So old an answer is asked for again before a connection is made, which waits so long for it: by then what was known
 * will do. */
#define FRESH_NS KVF_NS_PER_S
#define ASK_WAIT_NS (200 * KVF_NS_PER_MS)

static bool numeric(struct kvf_resp_resolver *r, const char *host, uint16_t port)
{
	struct kvf_resp_address *a = &r->list[0];
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&a->sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&a->sa;

	if (inet_pton(AF_INET, strcmp(host, "localhost") ? host : "127.0.0.1", &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		a->n = sizeof(*v4);
	} else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		a->n = sizeof(*v6);
	}
	r->n = a->n != 0;
	return r->n;
}

static void local(struct kvf_resp_resolver *r, const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)(void *)&r->list[0].sa;

	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, kvf_min_u64(strlen(path), sizeof(un->sun_path) - 1));
	r->list[0].n = sizeof(*un);
	r->n = 1;
}

int kvf_resp_resolver_init(struct kvf_resp_resolver *r, struct kvf_mem *mem, struct kvf_tier_host *host,
			   const struct kvf_resp_options *o)
{
	int rc;

	memset(r, 0, sizeof(*r));
	r->host = host;
	if (o->path[0]) {
		local(r, o->path);
		return KVF_OK;
	}
	if (!o->host[0]) {
		kvf_report_add(host->report, KVF_ERROR, "remote_url: host: missing");
		return KVF_EINVAL;
	}
	if (numeric(r, o->host, o->port))
		return KVF_OK;
	rc = kvf_resp_names_start(r, mem, o);
	if (!rc)
		kvf_resp_resolver_ask(r);
	return rc;
}

void kvf_resp_resolver_fini(struct kvf_resp_resolver *r)
{
	if (r->names)
		kvf_resp_names_stop(r->names);
	r->names = NULL;
}

/* ---- which one ---- */

static bool same(const struct kvf_resp_address *a, const struct kvf_resp_address *b)
{
	return a->n == b->n && !memcmp(&a->sa, &b->sa, a->n);
}

static struct kvf_resp_address *find(struct kvf_resp_resolver *r, const struct kvf_resp_address *address)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (same(&r->list[i], address))
			return &r->list[i];
	return NULL;
}

bool kvf_resp_resolver_is_at(const struct kvf_resp_resolver *r, const struct kvf_resp_address *address)
{
	return !r->names || (r->n && same(&r->list[r->at], address));
}

static void clear_failures(struct kvf_resp_resolver *r)
{
	for (uint32_t i = 0; i < r->n; i++)
		r->list[i].failed = false;
}

/* The first that did not fail, if the one we are at did. False: there is none. */
static bool choose(struct kvf_resp_resolver *r)
{
	for (uint32_t i = 0; i < r->n && r->list[r->at].failed; i++)
		if (!r->list[i].failed)
			r->at = i;
	return r->n && !r->list[r->at].failed;
}

void kvf_resp_resolver_told(struct kvf_resp_resolver *r, const struct kvf_resp_address *list, uint32_t n)
{
	struct kvf_resp_address was[KVF_RESP_ADDRESSES], at = { .n = 0 };
	uint32_t n_was = r->n;

	r->told_ns = r->host->now_ns(r->host);
	r->missed = !n;
	r->found = n && !r->n;
	if (!n)
		return;
	memcpy(was, r->list, sizeof(was));
	if (n_was)
		at = r->list[r->at];
	r->n = (uint32_t)kvf_min_u64(n, KVF_RESP_ADDRESSES);
	r->at = 0;
	for (uint32_t i = 0; i < r->n; i++) {
		r->list[i] = list[i];
		for (uint32_t k = 0; k < n_was; k++)
			r->list[i].failed |= was[k].failed && same(&was[k], &list[i]);
		if (same(&at, &list[i]))
			r->at = i;
	}
	if (!choose(r))
		clear_failures(r);
}

void kvf_resp_resolver_worked(struct kvf_resp_resolver *r)
{
	clear_failures(r);
}

bool kvf_resp_resolver_failed(struct kvf_resp_resolver *r, const struct kvf_resp_address *address)
{
	struct kvf_resp_address *a = find(r, address);

	/* What is not in the list any more tells nothing of those that are. */
	if (a)
		a->failed = true;
	if (choose(r))
		return r->n > 1 || !a;
	clear_failures(r);
	r->at = 0;
	return false;
}

/* ---- when to ask ---- */

void kvf_resp_resolver_ask(struct kvf_resp_resolver *r)
{
	if (!r->names || kvf_resp_names_busy(r->names))
		return;
	r->asked_ns = r->host->now_ns(r->host);
	kvf_resp_names_ask(r->names);
}

bool kvf_resp_resolver_busy(const struct kvf_resp_resolver *r)
{
	return r->names && kvf_resp_names_busy(r->names);
}

static bool waits(const struct kvf_resp_resolver *r)
{
	return kvf_resp_resolver_busy(r) && r->host->now_ns(r->host) < kvf_sat_add(r->asked_ns, ASK_WAIT_NS);
}

bool kvf_resp_resolver_ready(struct kvf_resp_resolver *r)
{
	uint64_t now = r->host->now_ns(r->host);

	if (r->names && r->n && !kvf_resp_resolver_busy(r) && now >= kvf_sat_add(r->told_ns, FRESH_NS))
		kvf_resp_resolver_ask(r);
	return r->n && !waits(r);
}

void kvf_resp_resolver_run(struct kvf_resp_resolver *r, uint64_t now_ns)
{
	(void)now_ns;
	if (r->names)
		kvf_resp_names_run(r->names);
}

uint64_t kvf_resp_resolver_deadline(const struct kvf_resp_resolver *r)
{
	uint64_t at = r->names ? kvf_resp_names_deadline(r->names) : KVF_NEVER;

	return r->n && waits(r) ? kvf_min_u64(at, kvf_sat_add(r->asked_ns, ASK_WAIT_NS)) : at;
}
