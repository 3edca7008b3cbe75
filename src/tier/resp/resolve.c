/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses. See resolve.h. */
#include "tier/resp/resolve.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "base/compiler.h"
#include "base/report.h"

static bool numeric(struct kvf_resp_resolver *r, const char *host, uint16_t port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&r->addr;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&r->addr;

	memset(&r->addr, 0, sizeof(r->addr));
	if (inet_pton(AF_INET, strcmp(host, "localhost") ? host : "127.0.0.1", &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		r->addr_n = sizeof(*v4);
		return true;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		r->addr_n = sizeof(*v6);
		return true;
	}
	return false;
}

static void local(struct kvf_resp_resolver *r, const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)(void *)&r->addr;

	memset(&r->addr, 0, sizeof(r->addr));
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, kvf_min_u64(strlen(path), sizeof(un->sun_path) - 1));
	r->addr_n = sizeof(*un);
}

#ifdef HAVE_CARES

#include <ares.h>
#include <netdb.h>

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
	uint32_t turn; /* queries answered */
	uint16_t port;
	char name[KVF_RESP_TEXT];
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

static bool usable(const struct ares_addrinfo_node *a)
{
	return (a->ai_family == AF_INET && a->ai_addrlen == sizeof(struct sockaddr_in)) ||
	       (a->ai_family == AF_INET6 && a->ai_addrlen == sizeof(struct sockaddr_in6));
}

static void answered(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct kvf_resp_names *names = arg;
	struct kvf_resp_resolver *r = names->resolver;
	uint32_t n = 0, i = 0;

	(void)timeouts;
	names->busy = false;
	for (struct ares_addrinfo_node *a = info ? info->nodes : NULL; a; a = a->ai_next)
		n += usable(a);
	/* Each failed connect moves on to the next address. */
	for (struct ares_addrinfo_node *a = n && status == ARES_SUCCESS ? info->nodes : NULL; a; a = a->ai_next) {
		if (!usable(a) || i++ != names->turn % n)
			continue;
		memcpy(&r->addr, a->ai_addr, a->ai_addrlen);
		r->addr_n = a->ai_addrlen;
		if (a->ai_family == AF_INET)
			((struct sockaddr_in *)(void *)&r->addr)->sin_port = htons(names->port);
		else
			((struct sockaddr_in6 *)(void *)&r->addr)->sin6_port = htons(names->port);
	}
	names->turn++;
	if (info)
		ares_freeaddrinfo(info);
}

static int start_names(struct kvf_resp_resolver *r, struct kvf_mem *mem, struct kvf_tier_host *host,
		       const struct kvf_resp_options *o, struct kvf_report *report)
{
	struct ares_options options;
	struct kvf_resp_names *names = kvf_mem_zalloc(mem, sizeof(*names));

	if (!names)
		return KVF_ENOMEM;
	names->mem = mem;
	names->host = host;
	names->resolver = r;
	names->port = o->port;
	memcpy(names->name, o->host, sizeof(names->name));
	for (int i = 0; i < MAX_SOCKETS; i++)
		names->socket[i].fd = -1;
	memset(&options, 0, sizeof(options));
	options.sock_state_cb = socket_state;
	options.sock_state_cb_data = names;
	options.timeout = QUERY_TIMEOUT_MS;
	options.tries = QUERY_TRIES;
	if (ares_library_init(ARES_LIB_INIT_ALL) || ares_init_options(&names->channel, &options, OPTIONS)) {
		kvf_report_add(report, KVF_ERROR, "remote_url: host: the resolver could not be set up");
		kvf_mem_free(mem, names, sizeof(*names));
		return KVF_EIO;
	}
	r->names = names;
	kvf_resp_resolver_ask(r);
	return KVF_OK;
}

void kvf_resp_resolver_ask(struct kvf_resp_resolver *r)
{
	struct kvf_resp_names *names = r->names;
	struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };

	if (!names || names->busy)
		return;
	names->busy = true;
	ares_getaddrinfo(names->channel, names->name, NULL, &hints, answered, names);
}

bool kvf_resp_resolver_busy(const struct kvf_resp_resolver *r)
{
	return r->names && r->names->busy;
}

void kvf_resp_resolver_run(struct kvf_resp_resolver *r, uint64_t now_ns)
{
	struct kvf_resp_names *names = r->names;

	(void)now_ns;
	if (!names || !names->busy)
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

uint64_t kvf_resp_resolver_deadline(const struct kvf_resp_resolver *r)
{
	struct kvf_resp_names *names = r->names;
	struct timeval tv;

	if (!names || !names->busy)
		return KVF_NEVER;
	if (names->event || !ares_timeout(names->channel, NULL, &tv))
		return 0;
	return kvf_sat_add(names->host->now_ns(names->host),
			   (uint64_t)tv.tv_sec * KVF_NS_PER_S + (uint64_t)tv.tv_usec * KVF_NS_PER_US);
}

static void stop_names(struct kvf_resp_names *names)
{
	ares_destroy(names->channel); /* ends the query, closes the sockets */
	for (int i = 0; i < MAX_SOCKETS; i++)
		if (names->socket[i].fd >= 0)
			(void)names->host->watch(names->host, &names->socket[i].watch, names->socket[i].fd, 0);
	ares_library_cleanup();
	kvf_mem_free(names->mem, names, sizeof(*names));
}

#else /* no c-ares */

static int start_names(struct kvf_resp_resolver *r, struct kvf_mem *mem, struct kvf_tier_host *host,
		       const struct kvf_resp_options *o, struct kvf_report *report)
{
	(void)r;
	(void)mem;
	(void)host;
	kvf_report_add(report, KVF_ERROR,
		       "remote_url: host: \"%s\" is a name, and this build has no c-ares to look it up with; write "
		       "its address",
		       o->host);
	return KVF_ENOTSUP;
}

void kvf_resp_resolver_ask(struct kvf_resp_resolver *r)
{
	(void)r;
}

bool kvf_resp_resolver_busy(const struct kvf_resp_resolver *r)
{
	(void)r;
	return false;
}

void kvf_resp_resolver_run(struct kvf_resp_resolver *r, uint64_t now_ns)
{
	(void)r;
	(void)now_ns;
}

uint64_t kvf_resp_resolver_deadline(const struct kvf_resp_resolver *r)
{
	(void)r;
	return KVF_NEVER;
}

static void stop_names(struct kvf_resp_names *names)
{
	(void)names;
}

#endif

int kvf_resp_resolver_init(struct kvf_resp_resolver *r, struct kvf_mem *mem, struct kvf_tier_host *host,
			   const struct kvf_resp_options *o)
{
	memset(r, 0, sizeof(*r));
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
	return start_names(r, mem, host, o, host->report);
}

void kvf_resp_resolver_fini(struct kvf_resp_resolver *r)
{
	if (r->names)
		stop_names(r->names);
	r->names = NULL;
}
