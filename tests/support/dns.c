/* SPDX-License-Identifier: Apache-2.0 */
/* See dns.h. */
#include "tests/support/dns.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/harness.h"

#define HEADER 12u
#define TYPE_A 1u
#define TYPE_AAAA 28u
#define NO_SUCH_NAME 3u

bool dns_begin(struct dns *dns, uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(at);

	memset(dns, 0, sizeof(*dns));
	at.sin_port = htons(port);
	dns->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (dns->fd < 0 || bind(dns->fd, (struct sockaddr *)(void *)&at, n) ||
	    getsockname(dns->fd, (struct sockaddr *)(void *)&at, &n)) {
		CU_FAIL("no name server");
		return false;
	}
	dns->port = ntohs(at.sin_port);
	snprintf(dns->servers, sizeof(dns->servers), "127.0.0.1:%u", dns->port);
	return true;
}

void dns_end(struct dns *dns)
{
	close(dns->fd);
	dns->fd = -1;
}

static size_t put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return 2;
}

/* One record about the name that was asked for; 0: an address of the other kind. */
static size_t put_record(uint8_t *p, unsigned type, const char *address)
{
	bool six = strchr(address, ':') != NULL;
	unsigned bytes = six ? 16 : 4;
	uint8_t raw[16];
	size_t n = 0;

	if (type != (six ? TYPE_AAAA : TYPE_A) || inet_pton(six ? AF_INET6 : AF_INET, address, raw) != 1)
		return 0;
	n += put16(p + n, 0xc000u | HEADER);
	n += put16(p + n, type);
	n += put16(p + n, 1);
	n += put16(p + n, 0); /* good for no time at all */
	n += put16(p + n, 0);
	n += put16(p + n, bytes);
	memcpy(p + n, raw, bytes);
	return n + bytes;
}

/* Makes the answer of the question p[0..n); its bytes. */
static size_t answer(const struct dns *dns, uint8_t *p, size_t n)
{
	size_t end = HEADER;
	unsigned type, count = 0;

	while (end < n && p[end])
		end += p[end] + 1u;
	if (end + 5 > n)
		return 0;
	type = (unsigned)p[end + 1] << 8 | p[end + 2];
	end += 5;
	put16(p + 2, 0x8180u | (dns->address[0] ? 0 : NO_SUCH_NAME));
	for (unsigned i = 0; dns->address[i]; i++) {
		size_t k = put_record(p + end, type, dns->address[i]);

		end += k;
		count += k != 0;
	}
	put16(p + 6, count);
	put16(p + 8, 0);
	put16(p + 10, 0);
	return end;
}

void dns_serve(struct dns *dns)
{
	uint8_t packet[1024];
	struct sockaddr_in from;

	for (;;) {
		socklen_t from_n = sizeof(from);
		ssize_t n = recvfrom(dns->fd, packet, 512, 0, (struct sockaddr *)(void *)&from, &from_n);

		if (n < (ssize_t)HEADER)
			return;
		dns->asked++;
		if (dns->mute)
			continue;
		n = (ssize_t)answer(dns, packet, (size_t)n);
		(void)sendto(dns->fd, packet, (size_t)n, 0, (struct sockaddr *)(void *)&from, from_n);
	}
}
