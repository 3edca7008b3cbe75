/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line of a given length between clients and a server's unix socket, in a process of its own: every byte arrives so
 * many microseconds after it was sent, in order; how many are under way at once does not matter.
 */
#ifndef KVF_TESTS_SUPPORT_DELAY_H
#define KVF_TESTS_SUPPORT_DELAY_H

#include <stdbool.h>
#include <sys/types.h>

struct delay {
	pid_t pid;
	int port;
	char url[64]; /* redis://127.0.0.1:PORT */
};

bool delay_start(struct delay *d, const char *server_socket, unsigned one_way_us);
void delay_stop(struct delay *d);

#endif
