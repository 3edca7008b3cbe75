/* SPDX-License-Identifier: Apache-2.0 */
/* The schema table itself: complete, without doubles, with defaults that pass its own checks. */
#include <stdio.h>
#include <string.h>

#include "config/schema.h"
#include "config/value.h"
#include "tests/harness.h"

static void test_rows(void)
{
	size_t n = kvf_schema_count();

	CU_ASSERT(n > 200);
	CU_ASSERT_PTR_NULL(kvf_schema_at(n));
	for (size_t i = 0; i < n; i++) {
		const struct kvf_key *key = kvf_schema_at(i);
		bool family = key->flags & KVF_KEY_PREFIX;

		CU_ASSERT(key->doc && *key->doc);
		CU_ASSERT(key->class == KVF_HONOURED || (key->why && *key->why));
		CU_ASSERT(key->initial || (key->flags & KVF_KEY_NULL));
		CU_ASSERT(key->type != KVF_TYPE_ENUM || key->words);
		CU_ASSERT(*kvf_type_name((enum kvf_key_type)key->type));
		/* found under its name, and there only once */
		if (family) {
			CU_ASSERT_EQUAL(
				kvf_schema_family(key->name, (enum kvf_key_place)key->place),
				(long)i);
		} else {
			CU_ASSERT_EQUAL(kvf_schema_find(key->name, (enum kvf_key_place)key->place),
				(long)i);
		}
		/* an alias would hide a row; one of extra_config is meant to, it moved to the top
		 */
		CU_ASSERT(key->place == KVF_PLACE_EXTRA ||
			  !kvf_schema_alias(key->name, (enum kvf_key_place)key->place));
	}
}

static void test_defaults(void)
{
	for (size_t i = 0; i < kvf_schema_count(); i++) {
		const struct kvf_key *key = kvf_schema_at(i);
		struct kvf_verdict verdict;
		char text[128];

		if (!key->initial)
			continue;
		snprintf(text, sizeof(text), "%s", key->initial);
		CU_ASSERT_EQUAL(kvf_value_normalise(key, text, KVF_FORM_PLAIN, &verdict), KVF_OK);
		CU_ASSERT_STRING_EQUAL(text, key->initial);
		CU_ASSERT_STRING_EQUAL(verdict.hint, "");
	}
}

/* Every byte of the settings belongs to a row, but for padding: a field that nothing sets would
 * stay 0xa5. */
static void test_fields(void)
{
	struct kvf_settings s;
	size_t untouched = 0;

	memset(&s, 0xa5, sizeof(s));
	for (size_t i = 0; i < kvf_schema_count(); i++)
		kvf_value_store(kvf_schema_at(i), kvf_schema_at(i)->initial, &s);
	for (size_t i = 0; i + 4 <= sizeof(s); i += 4)
		untouched += memcmp((char *)&s + i, "\xa5\xa5\xa5\xa5", 4) == 0;
	/* 32-bit gaps in front of 64-bit fields; two fields in one gap would need as many */
	CU_ASSERT(untouched <= 8);
	for (size_t i = 0; i < kvf_schema_count(); i++)
		for (size_t k = 0; k < i; k++)
			CU_ASSERT(kvf_schema_at(i)->offset == KVF_NO_FIELD ||
				  kvf_schema_at(i)->offset != kvf_schema_at(k)->offset);
	CU_ASSERT(s.remote_url && s.local_disk && s.python_hash_seed && s.gpu_to_numa_mapping);
	CU_ASSERT(s.lmcache_instance_id && s.remote_serde && s.pre_caching_hash_algorithm);
}

static void test_aliases(void)
{
	const struct kvf_alias *alias;
	size_t n = 0;

	for (; (alias = kvf_schema_alias_at(n)) != NULL; n++)
		CU_ASSERT(kvf_schema_find(alias->name, KVF_PLACE_TOP) >= 0);
	CU_ASSERT(n >= 12);
	CU_ASSERT_PTR_NOT_NULL(kvf_schema_retired("weka_path"));
	CU_ASSERT_PTR_NULL(kvf_schema_retired("chunk_size"));
}

/* The plain recursive definition, for short words. */
static unsigned int slow_distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned int d;
	unsigned int e;

	if (na == 0 || nb == 0)
		return (unsigned int)(na + nb);
	d = slow_distance(a, na - 1, b, nb - 1) + (a[na - 1] != b[nb - 1]);
	e = slow_distance(a, na - 1, b, nb) + 1;
	d = e < d ? e : d;
	e = slow_distance(a, na, b, nb - 1) + 1;
	d = e < d ? e : d;
	if (na > 1 && nb > 1 && a[na - 1] == b[nb - 2] && a[na - 2] == b[nb - 1]) {
		e = slow_distance(a, na - 2, b, nb - 2) + 1;
		d = e < d ? e : d;
	}
	return d;
}

static void test_distance(void)
{
	unsigned int seed = 12345;

	for (int i = 0; i < 2000; i++) {
		char a[6] = {0};
		char b[6] = {0};
		size_t na;
		size_t nb;
		unsigned int want;

		seed = seed * 1103515245u + 12345u;
		na = (seed >> 16) % 6;
		nb = (seed >> 20) % 6;
		for (size_t k = 0; k < 5; k++) {
			seed = seed * 1103515245u + 12345u;
			if (k < na)
				a[k] = (char)('a' + (seed >> 16) % 3);
			if (k < nb)
				b[k] = (char)('a' + (seed >> 20) % 3);
		}
		want = slow_distance(a, na, b, nb);
		CU_ASSERT_EQUAL(kvf_edit_distance(a, b, 10), want);
		CU_ASSERT_EQUAL(kvf_edit_distance(a, b, 1), want <= 1 ? want : 2);
	}
	CU_ASSERT_EQUAL(kvf_edit_distance("ABC", "abc", 3), 0);
}

static void test_nearest(void)
{
	static const char *const rows[][2] = {{"chunksize", "chunk_size"},
		{"local_cpus", "local_cpu"}, {"remote_ulr", "remote_url"},
		{"save_decode_cash", "save_decode_cache"}, {"x", "none"}, {"elephant", "none"},
		{"", "none"}};

	for (size_t i = 0; i < KVF_ARRAY_LEN(rows); i++) {
		const char *near = kvf_schema_nearest(rows[i][0], KVF_PLACE_TOP);

		CU_ASSERT_STRING_EQUAL(near ? near : "none", rows[i][1]);
	}
}

static void test_unquote(void)
{
	static const char *const rows[][2] = {{"abc", "abc"}, {" 'abc' ", "abc"},
		{"\"a\\\"b\"", "a\"b"}, {"'a\\nb'", "a\nb"}, {"\"a\\\\b\"", "a\\b"},
		{"'abc\"", "'abc\""}, {"'", "'"}, {"''", ""}, {"", ""}, {"'a\\xb'", "a\\xb"},
		{"'a\\'", "a\\"}};

	for (size_t i = 0; i < KVF_ARRAY_LEN(rows); i++) {
		char text[32];

		snprintf(text, sizeof(text), "%s", rows[i][0]);
		kvf_value_unquote(text);
		CU_ASSERT_STRING_EQUAL(text, rows[i][1]);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"rows", test_rows},
		{"defaults", test_defaults},
		{"fields", test_fields},
		{"aliases", test_aliases},
		{"distance", test_distance},
		{"nearest", test_nearest},
		{"unquote", test_unquote},
	};

	return kvf_test_main("config_schema", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
