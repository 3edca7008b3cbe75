/* SPDX-License-Identifier: Apache-2.0 */
/* The environment: LMCACHE_<UPPER CASE> for every key of the file, a few variables of their own,
 * and a look at the rest. */
#include "config/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/report.h"
#include "config/unknown.h"

#define PREFIX "LMCACHE_"
#define VARIABLE_MAX ((size_t)64 << 10) /* bytes of one value */

static const char *process_get(const char *name, void *user)
{
	(void)user;
	return getenv(name);
}

static void process_each(
	void (*fn)(const char *name, const char *value, void *arg), void *arg, void *user)
{
	char name[256];

	(void)user;
	for (char **p = environ; p && *p; p++) {
		const char *equals = strchr(*p, '=');
		size_t n = equals ? (size_t)(equals - *p) : 0;

		if (n == 0 || n >= sizeof(name))
			continue;
		memcpy(name, *p, n);
		name[n] = '\0';
		fn(name, equals + 1, arg);
	}
}

void kvf_environment_init(struct kvf_environment *environment, const struct kvf_env *env)
{
	*environment = (struct kvf_environment){process_get, process_each, NULL};
	if (!env)
		return;
	environment->get = env->get;
	environment->each = env->each;
	environment->user = env->user;
}

int kvf_environment_copy(struct kvf_mem *mem, const struct kvf_environment *environment,
	const char *name, char **out, size_t *n)
{
	const char *value = environment->get ? environment->get(name, environment->user) : NULL;
	size_t length;

	*out = NULL;
	*n = 0;
	if (!value)
		return KVF_OK;
	length = strlen(value);
	*n = length + 1 + KVF_VALUE_SLACK;
	*out = kvf_mem_alloc(mem, *n);
	if (!*out)
		return KVF_ENOMEM;
	memcpy(*out, value, length + 1);
	return KVF_OK;
}

/* Reads variable `variable` as key `name`, when it is set. */
static int load_variable(struct kvf_apply *apply, const struct kvf_environment *environment,
	const char *variable, const char *name, enum kvf_key_place place)
{
	struct kvf_mem *mem = apply->state->mem;
	char origin[160];
	struct kvf_given given = {
		.place = place, .name = name, .form = KVF_FORM_TEXT, .origin = origin};
	char *text;
	size_t size;
	int rc = kvf_environment_copy(mem, environment, variable, &text, &size);

	if (rc != KVF_OK || !text)
		return rc;
	snprintf(origin, sizeof(origin), "environment %s", variable);
	if (size > VARIABLE_MAX) {
		kvf_apply_error(apply, "%s: longer than %zu bytes", origin, VARIABLE_MAX);
	} else {
		kvf_value_unquote(text);
		given.text = text;
		rc = kvf_apply_key(apply, &given);
	}
	kvf_mem_free(mem, text, size);
	return rc;
}

/* "chunk_size" -> "LMCACHE_CHUNK_SIZE". */
static void variable_of(const char *name, char *out, size_t size)
{
	size_t n = (size_t)snprintf(out, size, PREFIX "%s", name);

	for (size_t i = 0; i < n && i < size; i++)
		if (out[i] >= 'a' && out[i] <= 'z')
			out[i] = (char)(out[i] - 'a' + 'A');
}

struct rest {
	struct kvf_apply *apply;
	int rc;
};

static bool is_read(const char *variable)
{
	const char *name;
	char upper[160];
	size_t n = kvf_schema_count();
	const struct kvf_alias *alias;

	if (kvf_schema_find(variable, KVF_PLACE_ENV) >= 0)
		return true;
	for (size_t i = 0; i < n; i++) {
		if (kvf_schema_at(i)->place != KVF_PLACE_TOP)
			continue;
		name = kvf_schema_at(i)->name;
		variable_of(name, upper, sizeof(upper));
		if (strcmp(upper, variable) == 0)
			return true;
	}
	for (size_t i = 0; (alias = kvf_schema_alias_at(i)) != NULL; i++) {
		variable_of(alias->old, upper, sizeof(upper));
		if (alias->place == KVF_PLACE_TOP && strcmp(upper, variable) == 0)
			return true;
	}
	return false;
}

static void look_at_rest(const char *name, const char *value, void *arg)
{
	struct rest *rest = arg;
	char origin[300];
	const struct kvf_given given = {
		.place = KVF_PLACE_ENV, .name = name, .form = KVF_FORM_NULL, .origin = origin};

	(void)value;
	if (strncmp(name, PREFIX, sizeof(PREFIX) - 1) != 0 || is_read(name))
		return;
	snprintf(origin, sizeof(origin), "environment");
	if (kvf_schema_family(name, KVF_PLACE_ENV) >= 0)
		rest->rc = kvf_apply_key(rest->apply, &given);
	else
		kvf_unknown_variable(rest->apply, name);
}

int kvf_load_environment(struct kvf_apply *apply, const struct kvf_environment *environment)
{
	struct rest rest = {apply, KVF_OK};
	size_t n = kvf_schema_count();
	const struct kvf_alias *alias;
	char variable[160];
	int rc = KVF_OK;

	for (size_t i = 0; i < n && rc == KVF_OK; i++) {
		const struct kvf_key *key = kvf_schema_at(i);

		if (key->place == KVF_PLACE_EXTRA || (key->flags & KVF_KEY_PREFIX))
			continue;
		if (key->place == KVF_PLACE_TOP)
			variable_of(key->name, variable, sizeof(variable));
		else
			snprintf(variable, sizeof(variable), "%s", key->name);
		rc = load_variable(
			apply, environment, variable, key->name, (enum kvf_key_place)key->place);
	}
	for (size_t i = 0; (alias = kvf_schema_alias_at(i)) != NULL && rc == KVF_OK; i++) {
		if (alias->place != KVF_PLACE_TOP)
			continue;
		variable_of(alias->old, variable, sizeof(variable));
		rc = load_variable(apply, environment, variable, alias->old, KVF_PLACE_TOP);
	}
	if (rc == KVF_OK && environment->each)
		environment->each(look_at_rest, &rest, environment->user);
	return rc != KVF_OK ? rc : rest.rc;
}
