/* SPDX-License-Identifier: Apache-2.0 */
/* See tls_server.h. */
#include "tests/support/tls_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/support/certs.h"

static bool make_certs(struct tls_server *s, const char *alt)
{
	if (kvf_test_tmpdir(s->dir, sizeof(s->dir)) || !certs_make_ca(s->dir, "ca") ||
	    !certs_make_ca(s->dir, "other") || !certs_make(s->dir, "ca", "server", alt) ||
	    !certs_make(s->dir, "ca", "client", "DNS:client")) {
		CU_FAIL("no certificates");
		return false;
	}
	snprintf(s->ca, sizeof(s->ca), "%s/ca.pem", s->dir);
	snprintf(s->other_ca, sizeof(s->other_ca), "%s/other.pem", s->dir);
	snprintf(s->cert, sizeof(s->cert), "%s/server.pem", s->dir);
	snprintf(s->key, sizeof(s->key), "%s/server.key", s->dir);
	snprintf(s->client_cert, sizeof(s->client_cert), "%s/client.pem", s->dir);
	snprintf(s->client_key, sizeof(s->client_key), "%s/client.key", s->dir);
	return true;
}

bool tls_server_prepare(struct tls_server *s, const char *alt, const char *both)
{
	memset(s, 0, sizeof(*s));
	if (!make_certs(s, alt))
		return false;
	snprintf(s->port, sizeof(s->port), "%d", redis_free_port());
	snprintf(s->url, sizeof(s->url), "rediss://127.0.0.1:%s", s->port);
	s->args[0] = "--tls-port";
	s->args[1] = s->port;
	s->args[2] = "--tls-cert-file";
	s->args[3] = s->cert;
	s->args[4] = "--tls-key-file";
	s->args[5] = s->key;
	s->args[6] = "--tls-ca-cert-file";
	s->args[7] = s->ca;
	s->args[8] = "--tls-auth-clients";
	s->args[9] = both;
	return true;
}

bool tls_server_begin(struct tls_server *s, const char *alt, const char *both)
{
	if (!redis_have("redis-server"))
		return false;
#ifndef HAVE_LIBSSL
	kvf_test_skip("built without libssl");
	return false;
#endif
	return tls_server_prepare(s, alt, both) && redis_start(&s->redis, "redis-server", s->args);
}

void tls_server_options(const struct tls_server *s, struct kvf_resp_options *o)
{
	kvf_resp_options_init(o);
	snprintf(o->host, sizeof(o->host), "127.0.0.1");
	o->port = (uint16_t)strtoul(s->port, NULL, 10);
	o->tls = true;
	snprintf(o->ca_file, sizeof(o->ca_file), "%s", s->ca);
}
