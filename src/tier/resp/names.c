/* SPDX-License-Identifier: Apache-2.0 */
/* Names into addresses, by c-ares. See resolve.h. */
#include "tier/resp/resolve.h"

#include "base/compiler.h"
#include "base/report.h"

#ifdef HAVE_CARES

#include <ares.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define MAX_SOCKETS 16
#define QUERY_TIMEOUT_MS 2000
#define QUERY_TRIES 2
#define OPTIONS (ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES)

struct lookup_socket {
	struct kvf_watch watch;
	int fd; /* -1: not in use */
	unsigned events; /* that came */
};

struct kvf_resp_names {
	struct kvf_mem *mem;
	struct kvf_tier_host *host;
	struct kvf_resp_resolver *resolver;
	ares_channel channel;
	bool busy, event;
	bool unreached; /* no name server answered: those of the system may be others by now */
	uint16_t port;
	char name[KVF_RESP_TEXT];
	char servers[KVF_RESP_TEXT]; /* "": the system's */
	struct lookup_socket socket[MAX_SOCKETS];
};

static void ready(struct kvf_watch *watch, unsigned events)
{
	struct lookup_socket *s = kvf_container_of(watch, struct lookup_socket, watch);
	struct kvf_resp_names *names = watch->arg;

	s->events |= events;
	names->event = true;
}

/* c-ares opens, closes and re-aims its sockets. */
static void socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct kvf_resp_names *names = arg;
	unsigned events = (readable ? KVF_WATCH_READ : 0u) | (writable ? KVF_WATCH_WRITE : 0u);
	struct lookup_socket *s = NULL;

	for (int i = 0; i < MAX_SOCKETS && !s; i++)
		if (names->socket[i].fd == fd)
			s = &names->socket[i];
	for (int i = 0; i < MAX_SOCKETS && !s && events; i++)
		if (names->socket[i].fd < 0)
			s = &names->socket[i];
	if (!s)
		return; /* its time-out will notice */
	s->watch.ready = ready;
	s->watch.arg = names;
	s->fd = events ? fd : -1;
	s->events = 0;
	(void)names->host->watch(names->host, &s->watch, fd, events);
}

/* Nothing but what tells two addresses apart. */
static bool take_address(const struct ares_addrinfo_node *a, uint16_t port, struct kvf_resp_address *out)
{
	memset(out, 0, sizeof(*out));
	if (a->ai_family == AF_INET && a->ai_addrlen == sizeof(struct sockaddr_in)) {
		struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&out->sa;

		v4->sin_family = AF_INET;
		v4->sin_addr = ((const struct sockaddr_in *)(const void *)a->ai_addr)->sin_addr;
		v4->sin_port = htons(port);
		out->n = sizeof(*v4);
	} else if (a->ai_family == AF_INET6 && a->ai_addrlen == sizeof(struct sockaddr_in6)) {
		struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&out->sa;

		v6->sin6_family = AF_INET6;
		v6->sin6_addr = ((const struct sockaddr_in6 *)(const void *)a->ai_addr)->sin6_addr;
		v6->sin6_scope_id = ((const struct sockaddr_in6 *)(const void *)a->ai_addr)->sin6_scope_id;
		v6->sin6_port = htons(port);
		out->n = sizeof(*v6);
	}
	return out->n;
}

static void answered(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct kvf_resp_names *names = arg;
	struct kvf_resp_address list[KVF_RESP_ADDRESSES];
	uint32_t n = 0;

	(void)timeouts;
	names->busy = false;
	names->unreached = status == ARES_ETIMEOUT || status == ARES_ECONNREFUSED;
	for (struct ares_addrinfo_node *a = info && status == ARES_SUCCESS ? info->nodes : NULL;
	     a && n < KVF_RESP_ADDRESSES; a = a->ai_next)
		n += take_address(a, names->port, &list[n]);
	if (info)
		ares_freeaddrinfo(info);
	/* Not as we close. */
	if (status != ARES_EDESTRUCTION)
		kvf_resp_resolver_told(names->resolver, list, n);
}

static bool make_channel(struct kvf_resp_names *names)
{
	struct ares_options options;

	memset(&options, 0, sizeof(options));
	options.sock_state_cb = socket_state;
	options.sock_state_cb_data = names;
	options.timeout = QUERY_TIMEOUT_MS;
	options.tries = QUERY_TRIES;
	if (ares_init_options(&names->channel, &options, OPTIONS))
		return false;
	if (!names->servers[0] || ares_set_servers_ports_csv(names->channel, names->servers) == ARES_SUCCESS)
		return true;
	ares_destroy(names->channel);
	return false;
}

int kvf_resp_names_start(struct kvf_resp_resolver *r, struct kvf_mem *mem, const struct kvf_resp_options *o)
{
	struct kvf_resp_names *names = kvf_mem_zalloc(mem, sizeof(*names));

	if (!names)
		return KVF_ENOMEM;
	names->mem = mem;
	names->host = r->host;
	names->resolver = r;
	names->port = o->port;
	memcpy(names->name, o->host, sizeof(names->name));
	snprintf(names->servers, sizeof(names->servers), "%s", o->name_servers);
	for (int i = 0; i < MAX_SOCKETS; i++)
		names->socket[i].fd = -1;
	if (ares_library_init(ARES_LIB_INIT_ALL) || !make_channel(names)) {
		kvf_report_add(r->host->report, KVF_ERROR, "remote_url: host: the resolver could not be set up");
		kvf_mem_free(mem, names, sizeof(*names));
		return KVF_EIO;
	}
	r->names = names;
	return KVF_OK;
}

/* Of a machine whose name servers changed since. */
static void renew_channel(struct kvf_resp_names *names)
{
	ares_channel old = names->channel;

	names->unreached = false;
	if (make_channel(names))
		ares_destroy(old);
	else
		names->channel = old;
}

void kvf_resp_names_ask(struct kvf_resp_names *names)
{
	struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };

	if (names->unreached)
		renew_channel(names);
	names->busy = true;
	ares_getaddrinfo(names->channel, names->name, NULL, &hints, answered, names);
}

bool kvf_resp_names_busy(const struct kvf_resp_names *names)
{
	return names->busy;
}

void kvf_resp_names_run(struct kvf_resp_names *names)
{
	if (!names->busy)
		return;
	names->event = false;
	/* Also what timed out: c-ares looks at the clock itself. */
	ares_process_fd(names->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	for (int i = 0; i < MAX_SOCKETS; i++) {
		struct lookup_socket *s = &names->socket[i];
		unsigned events = s->events;

		if (s->fd < 0 || !events)
			continue;
		s->events = 0;
		ares_process_fd(names->channel, events & KVF_WATCH_READ ? s->fd : ARES_SOCKET_BAD,
				events & KVF_WATCH_WRITE ? s->fd : ARES_SOCKET_BAD);
	}
}

uint64_t kvf_resp_names_deadline(const struct kvf_resp_names *names)
{
	struct timeval tv;

	if (!names->busy)
		return KVF_NEVER;
	if (names->event || !ares_timeout(names->channel, NULL, &tv))
		return 0;
	return kvf_sat_add(names->host->now_ns(names->host),
			   (uint64_t)tv.tv_sec * KVF_NS_PER_S + (uint64_t)tv.tv_usec * KVF_NS_PER_US);
}

void kvf_resp_names_stop(struct kvf_resp_names *names)
{
	ares_destroy(names->channel); /* ends the query, closes the sockets */
	for (int i = 0; i < MAX_SOCKETS; i++)
		if (names->socket[i].fd >= 0)
			(void)names->host->watch(names->host, &names->socket[i].watch, names->socket[i].fd, 0);
	ares_library_cleanup();
	kvf_mem_free(names->mem, names, sizeof(*names));
}

#else /* no c-ares */

int kvf_resp_names_start(struct kvf_resp_resolver *r, struct kvf_mem *mem, const struct kvf_resp_options *o)
{
	(void)mem;
	kvf_report_add(r->host->report, KVF_ERROR,
		       "remote_url: host: \"%s\" is a name, and this build has no c-ares to look it up with; write "
		       "its address",
		       o->host);
	return KVF_ENOTSUP;
}

void kvf_resp_names_stop(struct kvf_resp_names *names)
{
	(void)names;
}

void kvf_resp_names_ask(struct kvf_resp_names *names)
{
	(void)names;
}

bool kvf_resp_names_busy(const struct kvf_resp_names *names)
{
	(void)names;
	return false;
}

void kvf_resp_names_run(struct kvf_resp_names *names)
{
	(void)names;
}

uint64_t kvf_resp_names_deadline(const struct kvf_resp_names *names)
{
	(void)names;
	return KVF_NEVER;
}

#endif
