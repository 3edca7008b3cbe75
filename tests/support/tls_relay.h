/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS in front of the server of a resp_rig, in the test's own thread: moves as many bytes of what is on the wire as it
 * is told, and can be made to say what real servers seldom do.
 */
#ifndef KVF_TESTS_SUPPORT_TLS_RELAY_H
#define KVF_TESTS_SUPPORT_TLS_RELAY_H

#include <openssl/ssl.h>

#include "tests/support/resp_rig.h"

#define TLS_RELAY_CONNS 8

struct tls_relay_conn {
	int fd, plain; /* to the client, to the rig; -1: none */
	SSL *ssl;
	BIO *in, *out; /* what is on the wire */
};

struct tls_relay {
	SSL_CTX *ctx;
	char dir[100], ca[128];
	int listener;
	uint16_t port;
	struct tls_relay_conn conn[TLS_RELAY_CONNS];
	unsigned n; /* accepted so far */
	uint64_t to_client; /* bytes on the wire */
	unsigned new_keys;  /* that clients said they took */
};

/* With a certificate for 127.0.0.1; no TLS above `version`. Sets the rig's options; open the rig then. */
bool tls_relay_begin(struct tls_relay *r, struct resp_rig *rig, int version);
void tls_relay_end(struct tls_relay *r);
/* Takes new connections and moves at most n bytes each way, each connection. True: there was something. */
bool tls_relay_step(struct tls_relay *r, struct resp_rig *rig, size_t n);
/* Ends the connection to the client, just so. */
void tls_relay_cut(struct tls_relay_conn *c);

#endif
