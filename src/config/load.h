/* SPDX-License-Identifier: Apache-2.0 */
/* The two places a configuration is read from. */
#ifndef KVF_CONFIG_LOAD_H
#define KVF_CONFIG_LOAD_H

#include "config/apply.h"

/* Where one looks variables up; from struct kvf_env or the process. */
struct kvf_environment {
	const char *(*get)(const char *name, void *user);
	void (*each)(
		void (*fn)(const char *name, const char *value, void *arg), void *arg, void *user);
	void *user;
};

void kvf_environment_init(struct kvf_environment *environment, const struct kvf_env *env);

/* KVF_OK also for wrong values, which count in apply->errors; KVF_ENOMEM. */
int kvf_load_file(struct kvf_apply *apply, const char *path);
int kvf_load_text(struct kvf_apply *apply, const char *path, const char *text, size_t n);
int kvf_load_environment(struct kvf_apply *apply, const struct kvf_environment *environment);

/* Copies a variable for keeping; *out is NULL when it is unset. KVF_OK, KVF_ENOMEM. *n is what to
 * free. */
int kvf_environment_copy(struct kvf_mem *mem, const struct kvf_environment *environment,
	const char *name, char **out, size_t *n);

#endif
