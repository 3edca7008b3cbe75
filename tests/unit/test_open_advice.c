/* SPDX-License-Identifier: Apache-2.0 */
/* Opening an engine whose remote store LMCache shares warns where LMCache could not find our
 * chunks, and only there. */
#include "tests/harness.h"

#include <stdio.h>
#include <string.h>

#include "kvferry/kvferry.h"

static bool warned(const char *url, const char *algorithm, const char *seed)
{
	struct kvf_open_params p;
	struct kvf_config *config = NULL;
	struct kvf_engine *e = NULL;
	struct kvf_report report;
	char text[4096];

	kvf_report_init(&report, text, sizeof(text));
	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "kvf_pool_slots", "16", NULL), KVF_OK);
	if (url)
		CU_ASSERT_EQUAL(kvf_config_set(config, "remote_url", url, NULL), KVF_OK);
	if (algorithm)
		CU_ASSERT_EQUAL(
			kvf_config_set(config, "pre_caching_hash_algorithm", algorithm, NULL),
			KVF_OK);
	if (seed)
		CU_ASSERT_EQUAL(kvf_config_set(config, "PYTHONHASHSEED", seed, NULL), KVF_OK);
	kvf_open_params_init(&p);
	p.config = config;
	p.flags = KVF_OPEN_LOOKUP_ONLY;
	p.chunk_bytes = 4096;
	p.report = &report;
	/* A build without this tier says no, after the warning. */
	if (kvf_engine_open(&e, &p) == KVF_OK)
		CU_ASSERT_EQUAL(kvf_engine_close(e), KVF_OK);
	kvf_config_destroy(config);
	return strstr(text, "PYTHONHASHSEED is not set to a number") != NULL;
}

static void test_advice(void)
{
	const char *url = "redis://127.0.0.1:1";

	CU_ASSERT_FALSE(warned(NULL, NULL, NULL));
	CU_ASSERT(warned(url, NULL, NULL));
	CU_ASSERT(warned(url, "sha256", NULL));
	CU_ASSERT(warned(url, "sha256_cbor", NULL));
	CU_ASSERT(warned(url, "xxhash", NULL));
	CU_ASSERT(warned(url, "xxhash_cbor", "random"));
	CU_ASSERT_FALSE(warned(url, "blake3", NULL));
	CU_ASSERT_FALSE(warned(url, "sha256_cbor", "0"));
	CU_ASSERT_FALSE(warned(url, "builtin", "123"));
	CU_ASSERT(warned("fs://host:0/tmp", NULL, NULL));
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"advice", test_advice},
	};

	return kvf_test_main("open_advice", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
