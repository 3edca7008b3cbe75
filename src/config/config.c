/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration object and its public calls. See kvf_config.h. */
#include "config/config.h"

#include <string.h>

#include "config/load.h"
#include "config/state.h"
#include "config/unknown.h"

#define SET_MAX ((size_t)64 << 10) /* bytes of one value */

int kvf_config_create(struct kvf_config **out, const struct kvf_allocator *allocator)
{
	struct kvf_mem mem;
	struct kvf_config *config;

	if (!out)
		return KVF_EINVAL;
	kvf_mem_init(&mem, allocator);
	config = kvf_mem_zalloc(&mem, sizeof(*config));
	if (!config)
		return KVF_ENOMEM;
	config->mem = mem;
	if (kvf_state_create(&config->mem, &config->state) != KVF_OK) {
		mem = config->mem;
		kvf_mem_free(&mem, config, sizeof(*config));
		kvf_mem_fini(&mem);
		return KVF_ENOMEM;
	}
	*out = config;
	return KVF_OK;
}

void kvf_config_destroy(struct kvf_config *config)
{
	struct kvf_mem mem;

	if (!config)
		return;
	kvf_state_destroy(config->state);
	mem = config->mem;
	kvf_mem_free(&mem, config, sizeof(*config));
	kvf_mem_fini(&mem);
}

/* Ends what kvf_apply_begin() began: the copy becomes the configuration, or goes. */
static int settle(struct kvf_config *config, struct kvf_apply *apply, int rc)
{
	if (rc == KVF_OK && apply->errors)
		rc = KVF_ECONFIG;
	if (rc != KVF_OK) {
		kvf_state_destroy(apply->state);
		return rc;
	}
	kvf_state_derive(apply->state);
	kvf_state_destroy(config->state);
	config->state = apply->state;
	return KVF_OK;
}

static int begin(struct kvf_config *config, struct kvf_report *report, enum kvf_source source,
	struct kvf_apply *apply)
{
	*apply = (struct kvf_apply){.report = report, .source = source, .pass = ++config->passes};
	return kvf_state_clone(config->state, &apply->state);
}

/* The file by name or by LMCACHE_CONFIG_FILE. */
static int load_files(
	struct kvf_apply *apply, const char *path, const struct kvf_environment *environment)
{
	struct kvf_mem *mem = apply->state->mem;
	char *named = NULL;
	size_t size = 0;
	int rc;

	if (path)
		return kvf_load_file(apply, path);
	rc = kvf_environment_copy(mem, environment, "LMCACHE_CONFIG_FILE", &named, &size);
	if (rc != KVF_OK || !named)
		return rc;
	kvf_value_unquote(named);
	if (*named)
		rc = kvf_load_file(apply, named);
	kvf_mem_free(mem, named, size);
	return rc;
}

int kvf_config_load(struct kvf_config *config, const char *yaml_path, const struct kvf_env *env,
	struct kvf_report *report)
{
	struct kvf_environment environment;
	struct kvf_apply apply;
	int rc;

	if (!config)
		return KVF_EINVAL;
	kvf_environment_init(&environment, env);
	rc = begin(config, report, KVF_FROM_FILE, &apply);
	if (rc != KVF_OK)
		return rc;
	rc = load_files(&apply, yaml_path, &environment);
	if (rc == KVF_OK) {
		apply.source = KVF_FROM_ENV;
		apply.pass = ++config->passes;
		rc = kvf_load_environment(&apply, &environment);
	}
	return settle(config, &apply, rc);
}

static enum kvf_key_place place_of(const char *key)
{
	if (kvf_schema_find(key, KVF_PLACE_TOP) >= 0 || kvf_schema_alias(key, KVF_PLACE_TOP))
		return KVF_PLACE_TOP;
	if (kvf_schema_find(key, KVF_PLACE_EXTRA) >= 0 || kvf_schema_alias(key, KVF_PLACE_EXTRA))
		return KVF_PLACE_EXTRA;
	if (kvf_schema_find(key, KVF_PLACE_ENV) >= 0)
		return KVF_PLACE_ENV;
	/* A family before an unknown name of the file; "nixl_" and such have rows on both sides. */
	return kvf_schema_family(key, KVF_PLACE_EXTRA) >= 0 ? KVF_PLACE_EXTRA : KVF_PLACE_TOP;
}

int kvf_config_set(
	struct kvf_config *config, const char *key, const char *value, struct kvf_report *report)
{
	struct kvf_given given = {.name = key, .form = KVF_FORM_TEXT, .origin = "set"};
	struct kvf_apply apply;
	size_t n;
	int rc;

	if (!config || !key || !value)
		return KVF_EINVAL;
	n = strnlen(value, SET_MAX + 1);
	rc = begin(config, report, KVF_FROM_CALL, &apply);
	if (rc != KVF_OK)
		return rc;
	if (n > SET_MAX) {
		kvf_apply_error(&apply, "set: %s: longer than %zu bytes", key, SET_MAX);
		return settle(config, &apply, KVF_OK);
	}
	given.place = place_of(key);
	given.text = kvf_mem_alloc(&config->mem, n + 1 + KVF_VALUE_SLACK);
	rc = given.text ? KVF_OK : KVF_ENOMEM;
	if (rc == KVF_OK) {
		memcpy(given.text, value, n + 1);
		kvf_value_unquote(given.text);
		rc = kvf_apply_key(&apply, &given);
		kvf_mem_free(&config->mem, given.text, n + 1 + KVF_VALUE_SLACK);
	}
	return settle(config, &apply, rc);
}

/* The row a name stands for, in whatever place, or -1. */
static long row_of(const char *key)
{
	enum kvf_key_place place = place_of(key);
	const struct kvf_alias *alias = kvf_schema_alias(key, place);

	return alias ? kvf_schema_find(alias->name, KVF_PLACE_TOP) : kvf_schema_find(key, place);
}

static size_t copy_out(const char *s, char *buf, size_t size)
{
	size_t n = strlen(s);

	if (size) {
		size_t k = n < size - 1 ? n : size - 1;

		memcpy(buf, s, k);
		buf[k] = '\0';
	}
	return n;
}

int kvf_config_get(const struct kvf_config *config, const char *key, char *buf, size_t size)
{
	const struct kvf_extra *x;
	const char *text;
	long i;

	if (!config || !key || (!buf && size))
		return KVF_EINVAL;
	i = row_of(key);
	if (i >= 0) {
		text = kvf_state_text(config->state, (size_t)i);
		if (!text)
			return (int)copy_out("", buf, size);
		return (int)kvf_value_redact(kvf_schema_at((size_t)i), key, text, buf, size);
	}
	x = kvf_state_find_extra(config->state, key);
	if (!x)
		return KVF_ENOENT;
	if (!x->slot.text)
		return (int)copy_out("", buf, size);
	return (int)kvf_value_redact(x->family >= 0 ? kvf_schema_at((size_t)x->family) : NULL, key,
		x->slot.text, buf, size);
}

const char *kvf_config_origin(const struct kvf_config *config, const char *key)
{
	const struct kvf_slot *slot;
	const struct kvf_extra *x;
	long i;

	if (!config || !key)
		return NULL;
	i = row_of(key);
	x = i >= 0 ? NULL : kvf_state_find_extra(config->state, key);
	if (i < 0 && !x)
		return NULL;
	slot = i >= 0 ? &config->state->slots[i] : &x->slot;
	return slot->given ? slot->origin : "default";
}

const struct kvf_settings *kvf_config_settings(const struct kvf_config *config)
{
	return &config->state->settings;
}

const char *kvf_config_extra(const struct kvf_config *config, const char *key)
{
	const struct kvf_extra *x = kvf_state_find_extra(config->state, key);
	long i = kvf_schema_find(key, KVF_PLACE_EXTRA);

	if (x)
		return x->slot.text;
	if (i < 0)
		i = kvf_schema_find(key, KVF_PLACE_ENV);
	return i >= 0 ? kvf_state_text(config->state, (size_t)i) : NULL;
}
