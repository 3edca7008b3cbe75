/* SPDX-License-Identifier: Apache-2.0 */
/* A name server for one test, in the test's own thread: it answers any name with the addresses it is told. */
#ifndef KVF_TESTS_SUPPORT_DNS_H
#define KVF_TESTS_SUPPORT_DNS_H

#include <stdbool.h>
#include <stdint.h>

#define DNS_ADDRESSES 8

struct dns {
	int fd;
	uint16_t port;
	char servers[32];		     /* where it is: "127.0.0.1:PORT" */
	const char *address[DNS_ADDRESSES]; /* IPv4 and IPv6, up to a NULL; none: there is no such name */
	bool mute;			     /* it says nothing */
	unsigned asked;			     /* questions so far */
};

/* At this port; 0: any. */
bool dns_begin(struct dns *dns, uint16_t port);
void dns_end(struct dns *dns);
/* Answers what has been asked. */
void dns_serve(struct dns *dns);

#endif
