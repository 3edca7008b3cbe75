/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates are replaced while an engine runs: new connections go by what the files say now, and by what they said
 * before while they say nothing of use. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/certs.h"
#include "tests/support/files.h"
#include "tests/support/prom.h"
#include "tests/support/remote.h"
#include "tests/support/tls_server.h"

#define CHUNKS 3u
#define TOKENS (CHUNKS * RIG_CHUNK)

static struct tls_server server;
static struct remote m;
static char trust[128], our_cert[128], our_key[128]; /* the engine's copies */
static struct stat kept;			      /* a file's times */

static void copy(const char *from, const char *to)
{
	char text[8192];
	size_t n = file_read(from, text, sizeof(text));

	CU_ASSERT_FATAL(n > 0 && n < sizeof(text) - 1);
	file_write(to, text, n);
}

/* An engine that believes `trust` and shows `our_cert`. */
static bool begin(void)
{
	const char *const settings[] = { "kvf_tls_ca_file", trust, "kvf_tls_cert_file", our_cert, "kvf_tls_key_file",
					 our_key, NULL };

	if (!tls_server_begin(&server, "IP:127.0.0.1", "yes"))
		return false;
	snprintf(trust, sizeof(trust), "%s/trust.pem", server.dir);
	snprintf(our_cert, sizeof(our_cert), "%s/our.pem", server.dir);
	snprintf(our_key, sizeof(our_key), "%s/our.key", server.dir);
	copy(server.ca, trust);
	copy(server.client_cert, our_cert);
	copy(server.client_key, our_key);
	remote_open(&m, server.url, settings);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_REMOTE);
	return true;
}

static void end(void)
{
	remote_close(&m);
	redis_kill(&server.redis);
}

/* Ends the connections and makes new ones. True: they could be had, by so many tries. */
static bool reconnects_in(int tries)
{
	redis_call(&server.redis, NULL, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL);
	remote_idle(&m, 30);
	for (int i = 0; i < tries; i++) {
		remote_store(&m, 1, TOKENS);
		if (remote_fetch(&m, 1, TOKENS, 1000).tokens == TOKENS)
			return true;
		remote_idle(&m, 50);
	}
	return false;
}

/* However long the breaker looks in seldom. */
static bool reconnects(void)
{
	return reconnects_in(400);
}

static double errors(const char *kind)
{
	static char text[262144];
	struct prom page;
	char label[64];
	double v;

	CU_ASSERT_FATAL(kvf_metrics_text(m.rig.engine, text, sizeof(text)) > 0);
	CU_ASSERT_EQUAL(prom_parse(&page, text), 0);
	snprintf(label, sizeof(label), ",kind=\"%s\"", kind);
	v = prom_value(&page, "kvferry_server_errors_total", label);
	prom_free(&page);
	return v;
}

static unsigned times_logged(const char *what)
{
	unsigned n = 0;

	for (const char *at = m.log; (at = strstr(at, what)); at++)
		n++;
	return n;
}

/* Both ends get certificates of another authority: while the engine has the old ones it is no client, then it is one,
 * without having been opened again. */
static void test_replaced(void)
{
	if (!begin())
		return;
	CU_ASSERT_TRUE(reconnects());
	CU_ASSERT_EQUAL(times_logged("were read again"), 0);
	redis_kill(&server.redis);
	CU_ASSERT_TRUE_FATAL(certs_make(server.dir, "other", "server", "IP:127.0.0.1"));
	CU_ASSERT_TRUE_FATAL(certs_make(server.dir, "other", "client", "DNS:client"));
	copy(server.other_ca, server.ca);
	CU_ASSERT_TRUE_FATAL(redis_restart(&server.redis));
	CU_ASSERT_FALSE(reconnects_in(10));
	CU_ASSERT(errors("tls") > 0);
	copy(server.other_ca, trust);
	CU_ASSERT_FALSE(reconnects_in(10));
	copy(server.client_cert, our_cert);
	copy(server.client_key, our_key);
	CU_ASSERT_TRUE(reconnects());
	/* Once more, with nothing changed. */
	CU_ASSERT_TRUE(reconnects());
	CU_ASSERT_EQUAL(times_logged("stays in use"), 0);
	end();
}

/* What cannot be used is said once, counted each time it changed, and does no harm. */
static void test_of_no_use(void)
{
	if (!begin())
		return;
	CU_ASSERT_EQUAL(errors("tls_files"), 0);
	CU_ASSERT_EQUAL(unlink(trust), 0);
	CU_ASSERT_TRUE(reconnects());
	CU_ASSERT_EQUAL(errors("tls_files"), 1);
	CU_ASSERT_EQUAL(times_logged("trust.pem\": No such file or directory; what was read before stays in use"), 1);
	CU_ASSERT_TRUE(reconnects());
	CU_ASSERT_EQUAL(errors("tls_files"), 1);
	file_write_text(trust, "no certificate\n");
	CU_ASSERT_TRUE(reconnects());
	CU_ASSERT_EQUAL(errors("tls_files"), 2);
	/* Nobody writes into it, ever. */
	CU_ASSERT_EQUAL(unlink(trust), 0);
	CU_ASSERT_EQUAL(mkfifo(trust, 0600), 0);
	CU_ASSERT_TRUE(reconnects());
	CU_ASSERT_EQUAL(errors("tls_files"), 3);
	CU_ASSERT_EQUAL(times_logged("stays in use"), 1);
	CU_ASSERT_EQUAL(unlink(trust), 0);
	copy(server.ca, trust);
	CU_ASSERT_TRUE(reconnects());
	CU_ASSERT_EQUAL(times_logged("were read again"), 1);
	/* The next one is news. */
	file_write_text(our_cert, "");
	CU_ASSERT_TRUE(reconnects());
	CU_ASSERT_EQUAL(errors("tls_files"), 4);
	CU_ASSERT_EQUAL(times_logged("stays in use"), 2);
	CU_ASSERT_EQUAL(errors("tls"), 0);
	end();
}

/* A certificate is there before its key is. */
static void test_half_way(void)
{
	if (!begin())
		return;
	CU_ASSERT_TRUE_FATAL(certs_make(server.dir, "ca", "client", "DNS:client"));
	copy(server.client_cert, our_cert);
	CU_ASSERT_TRUE(reconnects());
	CU_ASSERT_EQUAL(errors("tls_files"), 1);
	CU_ASSERT_EQUAL(times_logged("our.key\": "), 1);
	copy(server.client_key, our_key);
	CU_ASSERT_TRUE(reconnects());
	CU_ASSERT_EQUAL(errors("tls_files"), 1);
	CU_ASSERT_EQUAL(times_logged("were read again"), 1);
	end();
}

/* A file that changed no time of writing and no size, as a link in a folder that is replaced as a whole does. */
static void test_by_link(void)
{
	char now[128];

	if (!begin())
		return;
	snprintf(now, sizeof(now), "%s/now", server.dir);
	CU_ASSERT_EQUAL(unlink(trust), 0);
	CU_ASSERT_EQUAL(symlink(server.ca, trust), 0);
	CU_ASSERT_TRUE(reconnects());
	CU_ASSERT_EQUAL(errors("tls_files"), 0);
	CU_ASSERT_EQUAL(stat(server.ca, &kept), 0);
	file_write_text(now, "no certificate\n");
	CU_ASSERT_EQUAL(truncate(now, kept.st_size), 0);
	CU_ASSERT_EQUAL(utimensat(AT_FDCWD, now, (struct timespec[2]){ kept.st_atim, kept.st_mtim }, 0), 0);
	CU_ASSERT_EQUAL(unlink(trust), 0);
	CU_ASSERT_EQUAL(symlink(now, trust), 0);
	CU_ASSERT_TRUE(reconnects());
	CU_ASSERT_EQUAL(errors("tls_files"), 1);
	end();
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "replaced", test_replaced },
		{ "of_no_use", test_of_no_use },
		{ "half_way", test_half_way },
		{ "by_link", test_by_link },
	};

	return kvf_test_main("resp_rotate", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
