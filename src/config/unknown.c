/* SPDX-License-Identifier: Apache-2.0 */
/* Names that the schema does not have. See unknown.h. */
#include "config/unknown.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/report.h"

#define PREFIX "LMCACHE_"
#define PREFIX_LENGTH (sizeof(PREFIX) - 1)

/* "CHUNK_SIZE" -> "chunk_size". False when it does not fit. */
static bool lower(const char *s, char *out, size_t size)
{
	size_t n = strlen(s);

	if (n >= size)
		return false;
	for (size_t i = 0; i <= n; i++)
		out[i] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] - 'A' + 'a') : s[i];
	return true;
}

/* The environment-only key that a name of the file stands for, with or without LMCACHE_ and in any
 * case, or NULL. */
static const struct kvf_key *env_only(const char *name)
{
	size_t n = kvf_schema_count();

	for (size_t i = 0; i < n; i++) {
		const struct kvf_key *key = kvf_schema_at(i);

		if (key->place != KVF_PLACE_ENV || (key->flags & KVF_KEY_PREFIX))
			continue;
		if (strcasecmp(name, key->name) == 0)
			return key;
		if (strncmp(key->name, PREFIX, PREFIX_LENGTH) == 0 &&
			strcasecmp(name, key->name + PREFIX_LENGTH) == 0)
			return key;
	}
	return NULL;
}

static void say(
	struct kvf_apply *apply, const struct kvf_given *given, const char *what, const char *word)
{
	enum kvf_severity severity = apply->source == KVF_FROM_CALL ? KVF_ERROR : KVF_WARNING;

	if (severity == KVF_ERROR)
		apply->errors++;
	kvf_report_add(apply->report, severity, "%s: %s: unknown key%s%s%s%s", given->origin,
		given->name, severity == KVF_ERROR ? "" : ", ignored", what ? "; " : "",
		what ? what : "", word ? word : "");
}

/* A variable's name in the file: most of all LMCACHE_USE_EXPERIMENTAL, which must not stand there.
 */
static bool is_variable(struct kvf_apply *apply, const struct kvf_given *given)
{
	const struct kvf_key *key = env_only(given->name);
	char name[128];

	if (key && (key->flags & KVF_KEY_NOFILE)) {
		kvf_apply_error(apply,
			"%s: %s must be set by environment variable directly (export %s=True); "
			"remove it from here",
			given->origin, given->name, key->name);
		return true;
	}
	if (key) {
		say(apply, given, "it is read from the environment only: export ", key->name);
		return true;
	}
	if (strncmp(given->name, PREFIX, PREFIX_LENGTH) != 0 ||
		!lower(given->name + PREFIX_LENGTH, name, sizeof(name)) ||
		kvf_schema_find(name, KVF_PLACE_TOP) < 0)
		return false;
	say(apply, given, "that is the variable; in a file write ", name);
	return true;
}

void kvf_unknown_top(struct kvf_apply *apply, const struct kvf_given *given)
{
	const struct kvf_retired *retired = kvf_schema_retired(given->name);
	const char *near;

	if (is_variable(apply, given))
		return;
	if (retired) {
		say(apply, given, "a name of older releases: ", retired->note);
		return;
	}
	if (kvf_schema_find(given->name, KVF_PLACE_EXTRA) >= 0) {
		say(apply, given, "it belongs below extra_config", NULL);
		return;
	}
	if (strncasecmp(given->name, "ec_", 3) == 0 || strcasecmp(given->name, "ec") == 0) {
		kvf_report_add(apply->report, KVF_NOTE,
			"%s: %s has no effect: kvferry has no encoder cache", given->origin,
			given->name);
		return;
	}
	near = kvf_schema_nearest(given->name, KVF_PLACE_TOP);
	if (!near && apply->source == KVF_FROM_CALL)
		near = kvf_schema_nearest(given->name, KVF_PLACE_EXTRA);
	say(apply, given, near ? "did you mean " : NULL, near);
}

bool kvf_unknown_inner(struct kvf_apply *apply, const struct kvf_given *given)
{
	const char *near;

	if (given->place == KVF_PLACE_ENV)
		return false;
	if (kvf_schema_find(given->name, KVF_PLACE_TOP) >= 0) {
		say(apply, given, "it belongs to the top, outside of extra_config", NULL);
		return false;
	}
	near = kvf_schema_nearest(given->name, KVF_PLACE_EXTRA);
	if (strncmp(given->name, "kvf_", 4) == 0) {
		say(apply, given, near ? "did you mean " : NULL, near);
		return false;
	}
	if (near) {
		kvf_report_add(apply->report, KVF_WARNING, "%s: %s: unknown key; did you mean %s?",
			given->origin, given->name, near);
		return true;
	}
	/* LMCache's map is free: others may read it, custom tiers too. */
	kvf_report_add(apply->report, KVF_NOTE,
		"%s: %s: kvferry does not know this key of extra_config; it is kept for "
		"custom tiers",
		given->origin, given->name);
	return true;
}

void kvf_unknown_variable(struct kvf_apply *apply, const char *name)
{
	char key[128];
	const char *near = NULL;
	const char *near_env = kvf_schema_nearest(name, KVF_PLACE_ENV);
	const struct kvf_retired *retired = NULL;

	if (lower(name + PREFIX_LENGTH, key, sizeof(key))) {
		near = kvf_schema_nearest(key, KVF_PLACE_TOP);
		retired = kvf_schema_retired(key);
	}
	if (retired) {
		kvf_report_add(apply->report, KVF_WARNING,
			"environment %s: unknown variable, ignored; a name of older "
			"releases: %s",
			name, retired->note);
	} else if (near) {
		char upper[128];
		size_t n = strlen(near);

		for (size_t i = 0; i <= n && i < sizeof(upper); i++)
			upper[i] = near[i] >= 'a' && near[i] <= 'z' ? (char)(near[i] - 'a' + 'A')
								    : near[i];
		kvf_report_add(apply->report, KVF_WARNING,
			"environment %s: unknown variable, ignored; did you mean " PREFIX "%s",
			name, upper);
	} else {
		kvf_report_add(apply->report, KVF_WARNING,
			"environment %s: unknown variable, ignored%s%s", name,
			near_env ? "; did you mean " : "", near_env ? near_env : "");
	}
}
