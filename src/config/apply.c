/* SPDX-License-Identifier: Apache-2.0 */
/* Taking over one key and one value. See apply.h. */
#include "config/apply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/report.h"
#include "config/unknown.h"
#include "config/yaml.h"

#define SHOWN_MAX 96 /* bytes of a value in a message */

void kvf_apply_error(struct kvf_apply *apply, const char *fmt, ...)
{
	char line[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	apply->errors++;
	kvf_report_add(apply->report, KVF_ERROR, "%s", line);
}

/* The value for a message: quoted, cut, without secrets. */
static void show(const struct kvf_key *key, const struct kvf_given *given, char *buf, size_t size)
{
	size_t n = kvf_value_redact(key, given->name, given->text, buf, size);

	if (n >= size)
		memcpy(buf + size - 4, "...", 4);
}

static void report_wrong(struct kvf_apply *apply, const struct kvf_key *key,
	const struct kvf_given *given, const char *shown, const struct kvf_verdict *verdict)
{
	enum kvf_severity severity = key->class == KVF_HARMLESS ? KVF_WARNING : KVF_ERROR;

	if (severity == KVF_ERROR)
		apply->errors++;
	if (verdict->refused)
		kvf_report_add(apply->report, severity, "%s: %s: \"%s\" is refused: %s",
			given->origin, given->name, shown, verdict->hint);
	else
		kvf_report_add(apply->report, severity, "%s: %s: \"%s\": expected %s%s%s%s%s",
			given->origin, given->name, shown, verdict->expected,
			verdict->hint[0] ? " (" : "", verdict->hint, verdict->hint[0] ? ")" : "",
			key->class == KVF_HARMLESS ? "; ignored, kvferry has no use for it" : "");
}

/* The one note about a key that does nothing here. */
static void note_harmless(struct kvf_apply *apply, const struct kvf_key *key,
	const struct kvf_given *given, struct kvf_slot *slot, const char *kept)
{
	bool is_default = key->initial ? kept && strcmp(kept, key->initial) == 0 : !kept || !*kept;
	bool loud = (key->flags & KVF_KEY_LOUD) && !is_default;

	if (key->class != KVF_HARMLESS || (key->flags & KVF_KEY_QUIET) || slot->noted)
		return;
	slot->noted = true;
	kvf_report_add(apply->report, loud ? KVF_WARNING : KVF_NOTE, "%s: %s has no effect: %s",
		given->origin, given->name, key->why);
}

/* True when this key must give way to one that was given before in the same source. */
static bool settle_twice(struct kvf_apply *apply, const struct kvf_given *given,
	const struct kvf_slot *slot, bool alias)
{
	if (!slot->given || slot->pass != apply->pass || apply->source == KVF_FROM_CALL)
		return false;
	if (alias && !slot->alias) {
		kvf_report_add(apply->report, KVF_WARNING,
			"%s: %s is an old name of a key that is given too (%s): ignored",
			given->origin, given->name, slot->origin);
		return true;
	}
	kvf_report_add(apply->report, KVF_WARNING,
		"%s: %s is given twice (before: %s); the last one counts, as in LMCache",
		given->origin, given->name, slot->origin);
	return false;
}

static int put_null(struct kvf_apply *apply, size_t i, const struct kvf_given *given,
	const struct kvf_where *where)
{
	const struct kvf_key *key = kvf_schema_at(i);
	bool nullable = key->flags & KVF_KEY_NULL;

	if (!nullable)
		kvf_report_add(apply->report, KVF_WARNING, "%s: %s is null: its default %s holds",
			given->origin, given->name, key->initial);
	note_harmless(apply, key, given, &apply->state->slots[i], NULL);
	return kvf_state_put(apply->state, i, nullable ? NULL : key->initial, where);
}

/* Empty text means null where there is one. */
static bool is_null(const struct kvf_key *key, const struct kvf_given *given)
{
	if (given->form == KVF_FORM_NULL)
		return true;
	return (key->flags & KVF_KEY_NULL) && given->text[0] == '\0' && given->form != KVF_FORM_MAP;
}

static int put_row(struct kvf_apply *apply, size_t i, const struct kvf_given *given, bool alias)
{
	const struct kvf_key *key = kvf_schema_at(i);
	struct kvf_slot *slot = &apply->state->slots[i];
	const struct kvf_where where = {given->origin, given->line, apply->pass, alias};
	struct kvf_verdict verdict;
	char shown[SHOWN_MAX];

	if (settle_twice(apply, given, slot, alias))
		return KVF_OK;
	if (is_null(key, given))
		return put_null(apply, i, given, &where);
	show(key, given, shown, sizeof(shown));
	if (kvf_value_normalise(key, given->text, given->form, &verdict) != KVF_OK) {
		report_wrong(apply, key, given, shown, &verdict);
		return KVF_OK;
	}
	if (given->comma && (key->type == KVF_TYPE_PATHS || key->type == KVF_TYPE_LIST ||
				    key->type == KVF_TYPE_GB_MAP)) {
		kvf_apply_error(apply,
			"%s: %s: \"%s\": a comma inside an element; it separates elements",
			given->origin, given->name, shown);
		return KVF_OK;
	}
	if (verdict.hint[0])
		kvf_report_add(apply->report, KVF_WARNING, "%s: %s: %s", given->origin, given->name,
			verdict.hint);
	note_harmless(apply, key, given, slot, given->text);
	return kvf_state_put(apply->state, i, given->text, &where);
}

/* A key of extra_config, or a variable, that belongs to a family or to nobody. */
static int put_loose(struct kvf_apply *apply, const struct kvf_given *given, long family)
{
	const struct kvf_where where = {given->origin, given->line, apply->pass, false};
	struct kvf_extra *x = kvf_state_find_extra(apply->state, given->name);
	int rc;

	if (x)
		settle_twice(apply, given, &x->slot, false);
	rc = kvf_state_put_extra(apply->state, given->name, family,
		given->form == KVF_FORM_NULL ? NULL : given->text, &where);
	if (rc == KVF_OK && family >= 0) {
		/* One note for the family: its row's slot remembers. */
		note_harmless(apply, kvf_schema_at((size_t)family), given,
			&apply->state->slots[family], NULL);
	}
	return rc;
}

static int apply_alias(
	struct kvf_apply *apply, const struct kvf_given *given, const struct kvf_alias *alias)
{
	long i = kvf_schema_find(alias->name, KVF_PLACE_TOP);

	if (i < 0)
		return KVF_OK;
	kvf_report_add(apply->report, KVF_NOTE, "%s: %s is an old name: use %s", given->origin,
		given->name, alias->name);
	return put_row(apply, (size_t)i, given, true);
}

/* extra_config itself, from wherever. */
static int apply_extra(struct kvf_apply *apply, const struct kvf_given *given, size_t i)
{
	const struct kvf_where where = {given->origin, given->line, apply->pass, false};
	size_t dropped;

	if (given->form == KVF_FORM_LIST)
		return put_row(apply, i, given, false); /* says what is wrong */
	settle_twice(apply, given, &apply->state->slots[i], false);
	if (given->form != KVF_FORM_MAP && given->form != KVF_FORM_NULL && given->text[0])
		return kvf_apply_extra_text(apply, given->text, given->origin);
	dropped = kvf_state_drop_extra(apply->state);
	if (dropped)
		kvf_report_add(apply->report, KVF_NOTE,
			"%s: extra_config replaces the one before, all %zu keys of it",
			given->origin, dropped);
	return kvf_state_put(apply->state, i, given->form == KVF_FORM_MAP ? "" : NULL, &where);
}

int kvf_apply_key(struct kvf_apply *apply, const struct kvf_given *given)
{
	const struct kvf_alias *alias = kvf_schema_alias(given->name, given->place);
	long i;

	if (alias)
		return apply_alias(apply, given, alias);
	i = kvf_schema_find(given->name, given->place);
	if (i >= 0 && kvf_schema_at((size_t)i)->type == KVF_TYPE_MAP)
		return apply_extra(apply, given, (size_t)i);
	if (i >= 0)
		return put_row(apply, (size_t)i, given, false);
	if (given->place == KVF_PLACE_TOP) {
		kvf_unknown_top(apply, given);
		return KVF_OK;
	}
	i = kvf_schema_family(given->name, given->place);
	if (i < 0 && !kvf_unknown_inner(apply, given))
		return KVF_OK;
	if (given->place == KVF_PLACE_ENV) {
		note_harmless(
			apply, kvf_schema_at((size_t)i), given, &apply->state->slots[i], NULL);
		return KVF_OK;
	}
	return put_loose(apply, given, i);
}

/* ------------------------------------------------------------------------------------------------------------------
 * extra_config as text
 */

struct extra_arg {
	struct kvf_apply *apply;
	const char *origin;
};

static int extra_entry(const struct kvf_yaml_entry *entry, void *arg)
{
	const struct extra_arg *x = arg;
	const struct kvf_given given = {KVF_PLACE_EXTRA, entry->key, entry->text, entry->form,
		entry->comma, x->origin, entry->line};

	return kvf_apply_key(x->apply, &given);
}

int kvf_apply_extra_text(struct kvf_apply *apply, const char *text, const char *origin)
{
	const struct kvf_given head = {
		KVF_PLACE_TOP, "extra_config", NULL, KVF_FORM_MAP, false, origin, 0};
	struct extra_arg arg = {apply, origin};
	struct kvf_yaml_error error;
	int rc = apply_extra(apply, &head, (size_t)kvf_schema_find("extra_config", KVF_PLACE_TOP));

	if (rc != KVF_OK)
		return rc;
	rc = kvf_yaml_read(apply->state->mem, text, strlen(text), KVF_SECTION_EXTRA, extra_entry,
		&arg, &error);
	if (rc == KVF_ECONFIG) {
		kvf_apply_error(apply,
			"%s: extra_config: expected a map as JSON, {\"key\": value}: %s", origin,
			error.text);
		rc = KVF_OK;
	}
	return rc;
}
