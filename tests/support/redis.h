/* SPDX-License-Identifier: Apache-2.0 */
/* A real Redis (or Valkey) server for one test: on a private port of 127.0.0.1 and a socket in a directory of its
 * own. */
#ifndef KVF_TESTS_SUPPORT_REDIS_H
#define KVF_TESTS_SUPPORT_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct redis {
	pid_t pid; /* 0: not running */
	int port;
	int client; /* connection of redis_call() */
	char binary[256];
	char dir[100];
	char socket[108];
	char url[64];	    /* redis://127.0.0.1:PORT */
	char unix_url[320]; /* unix://PATH */
	const char *const *args;
};

/*
 * Where tests say "redis-server" they mean any server that speaks its protocol: with KVF_REDIS_PROGRAM=valkey-server it
 * is that one. KVF_REDIS_DIR: a folder to look into first.
 */
/* Is the program there? If not the test is skipped, or failed with KVF_REQUIRE_SERVERS=1: return then. */
bool redis_have(const char *program);
/* Its major version, 0: not to be found out. */
int redis_major(const char *program);
/* Starts it with more arguments (NULL-terminated; may be NULL), waits until it answers. */
bool redis_start(struct redis *r, const char *program, const char *const *args);
/* A redis-server, or the test is skipped: return where it is false. */
bool redis_begin(struct redis *r, const char *const *args);
/* The same once more, after redis_kill(). */
bool redis_restart(struct redis *r);
/* SIGKILL, and waits for its end. */
void redis_kill(struct redis *r);
void redis_pause(struct redis *r);
void redis_go_on(struct redis *r);

/*
 * One command and its answer: of the words up to a NULL. Returns the text of a status, an error (with its '-') or an
 * integer, or the bytes of a string, in memory that the next call uses again; NULL for nil. *n may be NULL. Arrays:
 * their elements with a newline behind each.
 */
const char *redis_call(struct redis *r, size_t *n, ...);
/* Its halves: a command, and later its answer. */
void redis_say(struct redis *r, ...);
const char *redis_answer(struct redis *r, size_t *n);
/* SET with binary value. */
void redis_set(struct redis *r, const char *key, const void *value, size_t n);
/* A port that was free just now. */
int redis_free_port(void);

#endif
