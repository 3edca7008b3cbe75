/* SPDX-License-Identifier: Apache-2.0 */
/* docs/lmcache.md has a row for every key of the schema, with its class, and no other rows. After a
 * change of the schema scripts/lmcache_md.py brings it up to date. */
#include "tests/harness.h"
#include "tests/support/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/schema.h"

static void check_row(const char *text, const char *row)
{
	if (!strstr(text, row))
		fprintf(stderr, "docs/lmcache.md: no row %s\n", row);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, row));
}

static void test_keys(void)
{
	char *text = file_of_source("docs/lmcache.md");
	char row[256];

	for (size_t i = 0; i < kvf_schema_count(); i++) {
		const struct kvf_key *key = kvf_schema_at(i);

		snprintf(row, sizeof(row), "\n| `%s%s` | %s | ", key->name,
			key->flags & KVF_KEY_PREFIX ? "*" : "",
			kvf_class_name((enum kvf_key_class)key->class));
		check_row(text, row);
	}
	free(text);
}

static void test_old_names(void)
{
	const struct kvf_alias *alias;
	char *text = file_of_source("docs/lmcache.md");
	char row[256];

	for (size_t i = 0; (alias = kvf_schema_alias_at(i)) != NULL; i++) {
		snprintf(row, sizeof(row), "\n| `%s%s` | `%s` |",
			alias->place == KVF_PLACE_EXTRA ? "extra_config." : "", alias->old,
			alias->name);
		check_row(text, row);
	}
	free(text);
}

/* As many rows with a class as the schema has keys. */
static void test_nothing_else(void)
{
	static const char *const classes[] = {
		"` | honoured | ", "` | harmless | ", "` | refused | "};
	char *text = file_of_source("docs/lmcache.md");
	size_t n = 0;

	for (size_t i = 0; i < KVF_ARRAY_LEN(classes); i++) {
		for (const char *s = text; (s = strstr(s, classes[i])) != NULL; s++)
			n++;
	}
	CU_ASSERT_EQUAL(n, kvf_schema_count());
	free(text);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"keys", test_keys},
		{"old_names", test_old_names},
		{"nothing_else", test_nothing_else},
	};

	return kvf_test_main("lmcache_md", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
