/* SPDX-License-Identifier: Apache-2.0 */
/* A real Redis server that speaks TLS with certificates of our own making, for one test. */
#ifndef KVF_TESTS_SUPPORT_TLS_SERVER_H
#define KVF_TESTS_SUPPORT_TLS_SERVER_H

#include "tests/support/redis.h"
#include "tests/support/resp_rig.h"

struct tls_server {
	struct redis redis;
	char dir[100];
	char ca[128], other_ca[128]; /* that made what lies in cert; another one */
	char cert[128], key[128];    /* the server's */
	char client_cert[128], client_key[128];
	char port[16]; /* of TLS */
	char url[96];  /* rediss://127.0.0.1:PORT */
	const char *args[16];
};

/* Makes the certificates and the arguments for a server; fills in all but `redis`. */
bool tls_server_prepare(struct tls_server *s, const char *alt, const char *both);
/* Starts it. What the server shows is for `alt`; clients must show a certificate where `both` is "yes". False: return,
 * the test is skipped or failed. */
bool tls_server_begin(struct tls_server *s, const char *alt, const char *both);
/* Options of a tier that goes there by TCP and believes ca. */
void tls_server_options(const struct tls_server *s, struct kvf_resp_options *o);

#endif
