/* SPDX-License-Identifier: Apache-2.0 */
/* docs/configuration.md, written from the schema: `kvferry config doc`. */
#include "cmd_config_doc.h"

#include <string.h>

#include "config/schema.h"

static const char head[] =
	"# Configuration\n"
	"\n"
	"<!-- Written by `kvferry config doc` from the schema table; do not edit. -->\n"
	"\n"
	"kvferry reads LMCache's configuration: its YAML file (the one given at open, else the one "
	"that\n"
	"`LMCACHE_CONFIG_FILE` names) and its `LMCACHE_*` variables, which win over the file. "
	"`kvferry config check FILE`\n"
	"shows what a configuration comes to, with the origin of every value.\n"
	"\n"
	"- Every key of LMCache is known and is *honoured*, *harmless* (it has nothing to act on "
	"here: one note) or *refused*\n"
	"  (any value but the default would change bytes or meaning: an error that says why).\n"
	"- Keys of kvferry start with `kvf_` and stand below `extra_config`, so that LMCache reads "
	"the same file.\n"
	"- A wrong value is an error with file, line, key, value and what was expected; nothing is "
	"taken over then. LMCache\n"
	"  would go on with `None`.\n"
	"- A key that does not exist is a warning with the nearest one that does. A key that is "
	"given twice is a warning; the\n"
	"  last one counts.\n"
	"- Sizes are GB = 2^30 bytes and per rank, fractions allowed.\n"
	"- Booleans as LMCache reads them: `true` and `1`, in any case, are true. `yes` and `on` "
	"are false, with a warning,\n"
	"  except without quotes in a YAML file, where the YAML reader makes them true before "
	"LMCache sees them; also with a\n"
	"  warning. Write `true` or `false`.\n"
	"- `null` is the default for keys whose default is `null`; for others it is a warning and "
	"the default holds.\n"
	"- `extra_config` is a map in the file and JSON in `LMCACHE_EXTRA_CONFIG`, which replaces "
	"the whole map of the file.\n"
	"- The file may be 256 KiB long, with 1,024 keys and 8 levels. Anchors, aliases, tags and "
	"further documents are\n"
	"  refused.\n"
	"- Passwords are never shown.\n";

static void put(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '|')
			fputc('\\', out);
		fputc(*s, out);
	}
}

static void put_type(FILE *out, const struct kvf_key *key)
{
	if (!key->words) {
		fprintf(out, "%s", kvf_type_name((enum kvf_key_type)key->type));
		if (key->flags & KVF_KEY_ABOVE)
			fprintf(out, " > %.0f", key->min);
		else if (key->min > 0)
			fprintf(out, " >= %.0f", key->min);
		if (key->max > 0)
			fprintf(out, ", <= %.0f", key->max);
		return;
	}
	for (const char *const *w = key->words; *w; w++)
		fprintf(out, "%s`%s%s`", w == key->words ? "" : ", ", *w,
			key->type == KVF_TYPE_URL ? "://" : "");
}

static void put_row(FILE *out, const struct kvf_key *key)
{
	fprintf(out, "| `%s%s` | ", key->name, key->flags & KVF_KEY_PREFIX ? "*" : "");
	put_type(out, key);
	if (key->initial)
		fprintf(out, " | `%s` | %s | ", key->initial,
			kvf_class_name((enum kvf_key_class)key->class));
	else
		fprintf(out, " | null | %s | ", kvf_class_name((enum kvf_key_class)key->class));
	put(out, key->doc);
	if (key->type == KVF_TYPE_URL) {
		fputs(" (any other scheme is refused)", out);
	} else if (key->why) {
		fputs(" (", out);
		put(out, key->why);
		fputc(')', out);
	}
	fputs(" |\n", out);
}

static void put_table(FILE *out, const char *title, const char *text, const struct kvf_table *table,
	enum kvf_key_class class, const char *prefix, bool with_prefix)
{
	fprintf(out,
		"\n## %s\n\n%s\n\n| Key | Type | Default | Class | Meaning "
		"|\n|---|---|---|---|---|\n",
		title, text);
	for (size_t i = 0; i < table->n; i++) {
		const struct kvf_key *key = &table->keys[i];
		bool has = prefix && strncmp(key->name, prefix, strlen(prefix)) == 0;

		if (prefix && has != with_prefix)
			continue;
		if (!prefix && (key->class == KVF_HARMLESS) != (class == KVF_HARMLESS))
			continue;
		put_row(out, key);
	}
}

static void put_aliases(FILE *out)
{
	const struct kvf_alias *alias;

	fprintf(out,
		"\n## Old names\n\nHonoured, with a note.\n\n| Old name | Name |\n|---|---|\n");
	for (size_t i = 0; (alias = kvf_schema_alias_at(i)) != NULL; i++)
		fprintf(out, "| `%s%s` | `%s` |\n",
			alias->place == KVF_PLACE_EXTRA ? "extra_config." : "", alias->old,
			alias->name);
}

int kvf_config_doc(FILE *out)
{
	fputs(head, out);
	put_table(out, "Keys of the file",
		"In the environment: `LMCACHE_` and the key in upper case.", &kvf_schema_engine,
		KVF_HONOURED, NULL, false);
	put_table(out, "kvferry's own keys", "Below `extra_config`.", &kvf_schema_extra,
		KVF_HONOURED, "kvf_", true);
	put_table(out, "LMCache's keys below `extra_config`",
		"A name that ends in `*` stands for every key that starts so. Other keys are kept "
		"for custom tiers, with a note.",
		&kvf_schema_extra, KVF_HONOURED, "kvf_", false);
	put_table(out, "Variables", "In the environment only.", &kvf_schema_env, KVF_HONOURED, "\1",
		false);
	put_table(out, "LMCache's keys that are refused", "Their defaults are fine.",
		&kvf_schema_lmcache, KVF_REFUSED, NULL, false);
	put_table(out, "LMCache's keys that have no effect", "They may stay in the file.",
		&kvf_schema_lmcache, KVF_HARMLESS, NULL, false);
	put_aliases(out);
	return ferror(out) ? 1 : 0;
}
