/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A proxy between a client and a server, in a process of its own, that does to the bytes what networks do: cuts them
 * anywhere, holds them back, resets the connection, changes one. Orders may change while it runs.
 */
#ifndef KVF_TESTS_SUPPORT_STUTTER_H
#define KVF_TESTS_SUPPORT_STUTTER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum stutter_way { STUTTER_UP = 0 /* to the server */, STUTTER_DOWN = 1 };

/* Shared with the process. */
struct stutter_orders {
	volatile uint32_t piece;      /* at most so many bytes at once; 0: any */
	volatile uint32_t frozen;     /* nothing is passed on */
	volatile int64_t reset_at[2]; /* the connection ends when so many more bytes went this way; < 0: never */
	volatile int64_t flip_at[2];  /* this byte from now on is changed; < 0: none */
	volatile uint64_t passed[2];  /* bytes so far */
	volatile uint32_t opened;     /* connections so far */
};

struct stutter {
	pid_t pid;
	int port;
	char url[64]; /* redis://127.0.0.1:PORT */
	struct stutter_orders *orders;
};

bool stutter_start(struct stutter *s, const char *server_socket);
void stutter_stop(struct stutter *s);
/* Nothing but passing on. */
void stutter_behave(struct stutter *s);

#endif
