/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration in a test. See config_case.h. */
#include "tests/support/config_case.h"

#include <stdio.h>
#include <string.h>

#include "tests/harness.h"

static const char *const nothing[] = {NULL};

static const char *env_get(const char *name, void *user)
{
	size_t n = strlen(name);

	for (const char *const *v = user; *v; v++)
		if (strncmp(*v, name, n) == 0 && (*v)[n] == '=')
			return *v + n + 1;
	return NULL;
}

static void env_each(
	void (*fn)(const char *name, const char *value, void *arg), void *arg, void *user)
{
	for (const char *const *v = user; *v; v++) {
		const char *equals = strchr(*v, '=');
		char name[256];

		snprintf(name, sizeof(name), "%.*s", (int)(equals - *v), *v);
		fn(name, equals + 1, arg);
	}
}

struct kvf_env config_case_env(const char *const *vars)
{
	struct kvf_env env = {sizeof(env), env_get, env_each, NULL};
	const void *user = vars ? vars : nothing;

	memcpy(&env.user, &user, sizeof(env.user)); /* the callbacks only read it */
	return env;
}

void config_case_begin(struct config_case *c)
{
	memset(c, 0, sizeof(*c));
	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&c->config, NULL), KVF_OK);
	kvf_report_init(&c->report, c->text, sizeof(c->text));
}

void config_case_end(struct config_case *c)
{
	kvf_config_destroy(c->config);
	c->config = NULL;
}

int config_case_load(struct config_case *c, const char *yaml, const char *const *vars)
{
	static char dir[PATH_MAX - 16]; /* one for the program: there may be many cases */
	struct kvf_env env = config_case_env(vars);

	kvf_report_init(&c->report, c->text, sizeof(c->text));
	if (yaml && !dir[0])
		CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	if (yaml)
		snprintf(c->path, sizeof(c->path), "%s/case.yaml", dir);
	if (yaml) {
		FILE *f = fopen(c->path, "w");

		CU_ASSERT_PTR_NOT_NULL_FATAL(f);
		fputs(yaml, f);
		fclose(f);
	}
	return kvf_config_load(c->config, yaml ? c->path : NULL, &env, &c->report);
}

bool config_case_says(const struct config_case *c, const char *part)
{
	return strstr(c->text, part) != NULL;
}

bool config_case_is(
	const struct config_case *c, const char *key, const char *value, const char *origin)
{
	char buf[512];
	const char *from = kvf_config_origin(c->config, key);
	size_t n = origin ? strlen(origin) : 0;
	size_t m = from ? strlen(from) : 0;

	if (kvf_config_get(c->config, key, buf, sizeof(buf)) < 0 || !from) {
		printf("\n  no key %s\n", key);
		return false;
	}
	if (strcmp(buf, value) == 0 && (!origin || (m >= n && strcmp(from + m - n, origin) == 0)))
		return true;
	printf("\n  %s is \"%s\" from %s\n", key, buf, from);
	return false;
}
