/* SPDX-License-Identifier: Apache-2.0 */
/* See redis.h. */
#include "tests/support/redis.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"

#define MAX_ARGS 64
#define REPLY_MAX (64u * 1024 * 1024)

static char reply[REPLY_MAX];

static const char *meant(const char *program)
{
	const char *instead = getenv("KVF_REDIS_PROGRAM");

	return instead && instead[0] ? instead : program;
}

static bool find(const char *program, char *path, size_t size)
{
	static const char *const dirs[] = { "/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin" };
	const char *chosen = getenv("KVF_REDIS_DIR");

	program = meant(program);
	if (chosen) {
		snprintf(path, size, "%s/%s", chosen, program);
		if (!access(path, X_OK))
			return true;
	}
	for (size_t i = 0; i < KVF_ARRAY_LEN(dirs); i++) {
		snprintf(path, size, "%s/%s", dirs[i], program);
		if (!access(path, X_OK))
			return true;
	}
	return false;
}

bool redis_have(const char *program)
{
	char path[256];
	const char *must = getenv("KVF_REQUIRE_SERVERS");

	if (find(program, path, sizeof(path)))
		return true;
	program = meant(program);
	if (must && must[0] == '1') {
		fprintf(stderr, "%s is missing, and KVF_REQUIRE_SERVERS=1\n", program);
		CU_FAIL("a server is missing");
	} else {
		kvf_test_skip("%s is not installed", program);
	}
	return false;
}

int redis_major(const char *program)
{
	char path[256], command[300], line[256] = "";
	const char *at;
	FILE *f;

	if (!find(program, path, sizeof(path)))
		return 0;
	snprintf(command, sizeof(command), "'%s' --version", path);
	f = popen(command, "r");
	if (!f)
		return 0;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	pclose(f);
	at = strstr(line, "v=");
	return at ? (int)strtol(at + 2, NULL, 10) : 0;
}

/* Port 0: any. Returns the one that could be had, or 0. */
static int try_port(int port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int got = 0;

	addr.sin_port = htons((uint16_t)port);
	if (fd >= 0 && !bind(fd, (struct sockaddr *)(void *)&addr, n) &&
	    !getsockname(fd, (struct sockaddr *)(void *)&addr, &n))
		got = ntohs(addr.sin_port);
	if (fd >= 0)
		close(fd);
	return got;
}

/* A server of a cluster takes the port 10,000 above its own as well. */
int redis_free_port(void)
{
	int port = 0;

	for (int i = 0; i < 100; i++) {
		port = try_port(0);
		if (port && port + 10000 <= UINT16_MAX && try_port(port + 10000))
			break;
	}
	return port;
}

/* ---- the process ---- */

static void run_server(struct redis *r)
{
	const char *argv[MAX_ARGS] = { r->binary, "--bind", "127.0.0.1", "--unixsocket", r->socket, "--dir", r->dir,
				       "--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning",
				       "--logfile", "", "--port" };
	size_t n = 0;
	char port[16];
	int null;

	while (argv[n])
		n++;
	snprintf(port, sizeof(port), "%d", r->port);
	argv[n++] = port;
	for (const char *const *a = r->args; a && *a && n + 1 < MAX_ARGS; a++)
		argv[n++] = *a;
	argv[n] = NULL;
	null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execv(r->binary, (char *const *)(uintptr_t)argv);
	_exit(127);
}

static int connect_client(struct redis *r)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", r->socket);
	if (fd >= 0 && connect(fd, (struct sockaddr *)(void *)&un, sizeof(un))) {
		close(fd);
		return -1;
	}
	return fd;
}

bool redis_restart(struct redis *r)
{
	unlink(r->socket);
	r->pid = fork();
	if (!r->pid)
		run_server(r);
	for (int i = 0; i < 1000 && r->pid > 0; i++) {
		int status;

		if (waitpid(r->pid, &status, WNOHANG) == r->pid)
			break;
		r->client = connect_client(r);
		if (r->client >= 0)
			return true;
		poll(NULL, 0, 10);
	}
	fprintf(stderr, "redis: %s does not start\n", r->binary);
	CU_FAIL("the server does not start");
	if (r->pid > 0)
		kill(r->pid, SIGKILL);
	r->pid = 0;
	return false;
}

bool redis_start(struct redis *r, const char *program, const char *const *args)
{
	memset(r, 0, sizeof(*r));
	r->client = -1;
	r->args = args;
	if (!find(program, r->binary, sizeof(r->binary)) || kvf_test_tmpdir(r->dir, sizeof(r->dir)))
		return false;
	r->port = redis_free_port();
	snprintf(r->socket, sizeof(r->socket), "%s/s", r->dir);
	snprintf(r->url, sizeof(r->url), "redis://127.0.0.1:%d", r->port);
	snprintf(r->unix_url, sizeof(r->unix_url), "unix://%s", r->socket);
	return redis_restart(r);
}

bool redis_begin(struct redis *r, const char *const *args)
{
	return redis_have("redis-server") && redis_start(r, "redis-server", args);
}

void redis_kill(struct redis *r)
{
	int status;

	if (r->client >= 0)
		close(r->client);
	r->client = -1;
	if (r->pid <= 0)
		return;
	kill(r->pid, SIGKILL);
	while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
		;
	r->pid = 0;
}

void redis_pause(struct redis *r)
{
	kill(r->pid, SIGSTOP);
}

void redis_go_on(struct redis *r)
{
	kill(r->pid, SIGCONT);
}

/* ---- a client of its own ---- */

static void say(struct redis *r, const void *p, size_t n)
{
	const char *at = p;

	while (n) {
		ssize_t k = send(r->client, at, n, MSG_NOSIGNAL);

		if (k <= 0) {
			CU_FAIL("the test's own connection broke");
			return;
		}
		at += k;
		n -= (size_t)k;
	}
}

static void say_word(struct redis *r, const void *p, size_t n)
{
	char head[32];

	say(r, head, (size_t)snprintf(head, sizeof(head), "$%zu\r\n", n));
	say(r, p, n);
	say(r, "\r\n", 2);
}

static bool hear(struct redis *r, char *p, size_t n)
{
	while (n) {
		ssize_t k = recv(r->client, p, n, 0);

		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}

static bool hear_line(struct redis *r, char *line, size_t cap)
{
	size_t n = 0;

	while (n + 1 < cap && hear(r, line + n, 1)) {
		if (line[n] == '\n') {
			line[n - 1] = '\0';
			return true;
		}
		n++;
	}
	return false;
}

/* Appends one element to `reply`; false: nil. */
static bool hear_element(struct redis *r, size_t *at)
{
	char line[512];
	long n;

	if (!hear_line(r, line, sizeof(line))) {
		*at += (size_t)snprintf(reply + *at, REPLY_MAX - *at, "-GONE");
		return true;
	}
	n = strtol(line + 1, NULL, 10);
	if (line[0] == '$' && n >= 0) {
		if (!hear(r, reply + *at, (size_t)n + 2))
			return false;
		*at += (size_t)n;
	} else if (line[0] == '*' && n >= 0) {
		for (long i = 0; i < n; i++) {
			hear_element(r, at);
			reply[(*at)++] = '\n';
		}
	} else if (line[0] == '$' || line[0] == '*' || line[0] == '_') {
		return false;
	} else {
		*at += (size_t)snprintf(reply + *at, REPLY_MAX - *at, "%s", line[0] == '-' ? line : line + 1);
	}
	reply[*at] = '\0';
	return true;
}

const char *redis_answer(struct redis *r, size_t *n)
{
	size_t at = 0;

	reply[0] = '\0';
	if (!hear_element(r, &at))
		return NULL;
	if (n)
		*n = at;
	return reply;
}

static void say_words(struct redis *r, va_list ap)
{
	const char *words[MAX_ARGS];
	char head[32];
	int count = 0;

	while (count < MAX_ARGS && (words[count] = va_arg(ap, const char *)))
		count++;
	if (r->client < 0)
		r->client = connect_client(r);
	say(r, head, (size_t)snprintf(head, sizeof(head), "*%d\r\n", count));
	for (int i = 0; i < count; i++)
		say_word(r, words[i], strlen(words[i]));
}

void redis_say(struct redis *r, ...)
{
	va_list ap;

	va_start(ap, r);
	say_words(r, ap);
	va_end(ap);
}

const char *redis_call(struct redis *r, size_t *n, ...)
{
	va_list ap;

	va_start(ap, n);
	say_words(r, ap);
	va_end(ap);
	return redis_answer(r, n);
}

void redis_set(struct redis *r, const char *key, const void *value, size_t n)
{
	say(r, "*3\r\n", 4);
	say_word(r, "SET", 3);
	say_word(r, key, strlen(key));
	say_word(r, value, n);
	(void)redis_answer(r, NULL);
}
