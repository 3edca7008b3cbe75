/* SPDX-License-Identifier: Apache-2.0 */
/* Key strings of both modes and of the older eras; what does not parse again is refused. */
#include <string.h>

#include "tests/harness.h"
#include "token/wire_key.h"

static const struct kvf_wire_hash number = {.kind = KVF_WIRE_UNSIGNED, .number = 0x356093f83821918};
static const struct kvf_wire_hash negative = {
	.kind = KVF_WIRE_SIGNED, .number = (uint64_t)-0x5754ed40775a7be6};
static const struct kvf_wire_hash digest = {
	.kind = KVF_WIRE_BYTES, .size = 32, .bytes = {0xc9, 0xd5, 0x8b, [31] = 0xcb}};
#define DIGEST_HEX                                                                                 \
	"c9d58b"                                                                                   \
	"00000000000000000000000000000000000000000000000000000000"                                 \
	"cb"

static const struct kvf_wire_tag tags[] = {{"tenant", "blue"}, {"b", "100%"}, {"a", ""}};

static struct kvf_wire_ip_key ip_key(void)
{
	struct kvf_wire_ip_key key = {.model = "meta-llama/Llama-3.1-8B",
		.world_size = 2,
		.worker_id = 1,
		.hash = &number,
		.dtype = KVF_WIRE_BFLOAT16,
		.layer = KVF_WIRE_NO_LAYER};

	return key;
}

static struct kvf_wire_mp_key mp_key(void)
{
	struct kvf_wire_mp_key key = {
		.model = "meta-llama/Llama-3.1-8B", .kv_rank = 0x01000100, .hash = &digest};

	return key;
}

static void expect_ip(const struct kvf_wire_ip_key *key, enum kvf_wire_ip_era era, const char *want)
{
	char buf[KVF_WIRE_KEY_MAX];
	int n = kvf_wire_ip_key_print(key, era, buf, sizeof(buf), NULL);

	CU_ASSERT_EQUAL_FATAL(n, (int)strlen(want));
	CU_ASSERT_STRING_EQUAL(buf, want);
	CU_ASSERT_EQUAL(kvf_wire_ip_key_print(key, era, buf, (size_t)n + 1, NULL), n);
	for (int cap = 0; cap <= n; cap++)
		CU_ASSERT_EQUAL(
			kvf_wire_ip_key_print(key, era, buf, (size_t)cap, NULL), KVF_ERANGE);
}

static void expect_mp(const struct kvf_wire_mp_key *key, enum kvf_wire_mp_era era, const char *want)
{
	char buf[KVF_WIRE_KEY_MAX];
	int n = kvf_wire_mp_key_print(key, era, buf, sizeof(buf), NULL);

	CU_ASSERT_EQUAL_FATAL(n, (int)strlen(want));
	CU_ASSERT_STRING_EQUAL(buf, want);
	for (int cap = 0; cap <= n; cap++)
		CU_ASSERT_EQUAL(
			kvf_wire_mp_key_print(key, era, buf, (size_t)cap, NULL), KVF_ERANGE);
}

static void test_ip(void)
{
	struct kvf_wire_ip_key key = ip_key();

	expect_ip(&key, KVF_WIRE_IP_NOW, "meta-llama/Llama-3.1-8B@2@1@356093f83821918@bfloat16");
	key.hash = &negative;
	expect_ip(&key, KVF_WIRE_IP_NOW, "meta-llama/Llama-3.1-8B@2@1@-5754ed40775a7be6@bfloat16");
	key.tags = tags;
	key.n_tags = 3;
	key.dtype = KVF_WIRE_HALF;
	expect_ip(&key, KVF_WIRE_IP_NOW,
		"meta-llama/Llama-3.1-8B@2@1@-5754ed40775a7be6@half@tenant%blue@b%100%@a%");
	key.layer = 0;
	expect_ip(&key, KVF_WIRE_IP_NOW,
		"meta-llama/Llama-3.1-8B@2@1@-5754ed40775a7be6@half@0@tenant%blue@b%100%@a%");
}

static void test_ip_older(void)
{
	struct kvf_wire_ip_key key = ip_key();

	expect_ip(&key, KVF_WIRE_IP_VLLM_DTYPE,
		"vllm@meta-llama/Llama-3.1-8B@2@1@356093f83821918@bfloat16");
	expect_ip(&key, KVF_WIRE_IP_VLLM, "vllm@meta-llama/Llama-3.1-8B@2@1@356093f83821918");
	key.dtype = KVF_WIRE_DTYPE_NONE;
	key.tags = tags;
	key.n_tags = 1;
	expect_ip(&key, KVF_WIRE_IP_VLLM,
		"vllm@meta-llama/Llama-3.1-8B@2@1@356093f83821918@tenant%blue");
	key = ip_key();
	key.hash = &digest;
	expect_ip(&key, KVF_WIRE_IP_NOW, "meta-llama/Llama-3.1-8B@2@1@" DIGEST_HEX "@bfloat16");
}

static void test_mp(void)
{
	struct kvf_wire_mp_key key = mp_key();

	expect_mp(&key, KVF_WIRE_MP_NOW, "meta-llama/Llama-3.1-8B@01000100@0@" DIGEST_HEX);
	expect_mp(&key, KVF_WIRE_MP_THREE_FIELDS, "meta-llama/Llama-3.1-8B@01000100@" DIGEST_HEX);
	key.salt = "";
	expect_mp(&key, KVF_WIRE_MP_NOW, "meta-llama/Llama-3.1-8B@01000100@0@" DIGEST_HEX);
	key.salt = "user 7";
	key.group = 26;
	expect_mp(
		&key, KVF_WIRE_MP_NOW, "meta-llama/Llama-3.1-8B@01000100@1a@" DIGEST_HEX "@user 7");
	key.group = 0;
	expect_mp(&key, KVF_WIRE_MP_THREE_FIELDS,
		"meta-llama/Llama-3.1-8B@01000100@" DIGEST_HEX "@user 7");
}

static void refuse_ip(const struct kvf_wire_ip_key *key, enum kvf_wire_ip_era era, const char *says)
{
	char buf[KVF_WIRE_KEY_MAX], text[512];
	struct kvf_report report;

	kvf_report_init(&report, text, sizeof(text));
	CU_ASSERT_EQUAL(kvf_wire_ip_key_print(key, era, buf, sizeof(buf), &report), KVF_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, says));
	CU_ASSERT_EQUAL(report.errors, 1);
}

static void refuse_mp(const struct kvf_wire_mp_key *key, enum kvf_wire_mp_era era, const char *says)
{
	char buf[KVF_WIRE_KEY_MAX], text[512];
	struct kvf_report report;

	kvf_report_init(&report, text, sizeof(text));
	CU_ASSERT_EQUAL(kvf_wire_mp_key_print(key, era, buf, sizeof(buf), &report), KVF_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, says));
	CU_ASSERT_EQUAL(report.errors, 1);
}

static void test_ip_refusals(void)
{
	static const char *const models[] = {
		"a@b", "", "a\nb", "a\xff", "\xc0\xaf", "\xed\xa0\x80", "a\xe2\x82"};
	struct kvf_wire_hash empty = {.kind = KVF_WIRE_BYTES};
	struct kvf_wire_ip_key key = ip_key();
	struct kvf_wire_tag tag = {"a%b", "c"};

	for (size_t i = 0; i < KVF_ARRAY_LEN(models); i++) {
		key.model = models[i];
		refuse_ip(&key, KVF_WIRE_IP_NOW, "model");
	}
	key.model = NULL;
	refuse_ip(&key, KVF_WIRE_IP_NOW, "model");
	key = ip_key();
	key.world_size = 0;
	refuse_ip(&key, KVF_WIRE_IP_NOW, "world size");
	key = ip_key();
	key.dtype = KVF_WIRE_DTYPE_NONE;
	refuse_ip(&key, KVF_WIRE_IP_VLLM_DTYPE, "dtype");
	key.dtype = (enum kvf_wire_dtype)KVF_WIRE_DTYPES;
	refuse_ip(&key, KVF_WIRE_IP_NOW, "dtype");
	key = ip_key();
	refuse_ip(&key, (enum kvf_wire_ip_era)3, "era");
	key.hash = &empty;
	refuse_ip(&key, KVF_WIRE_IP_NOW, "hash");
	key = ip_key();
	key.tags = &tag;
	key.n_tags = 1;
	refuse_ip(&key, KVF_WIRE_IP_NOW, "tag name");
	tag.name = "";
	refuse_ip(&key, KVF_WIRE_IP_NOW, "tag name");
	tag.name = "a@";
	refuse_ip(&key, KVF_WIRE_IP_NOW, "tag name");
	tag.name = "a";
	tag.value = "c@d";
	refuse_ip(&key, KVF_WIRE_IP_NOW, "tag value");
}

static void test_mp_refusals(void)
{
	static const char *const salts[] = {"a@b", "a/b", "a\\b", "\x80"};
	struct kvf_wire_mp_key key = mp_key();

	for (size_t i = 0; i < KVF_ARRAY_LEN(salts); i++) {
		key.salt = salts[i];
		refuse_mp(&key, KVF_WIRE_MP_NOW, "cache_salt");
	}
	key = mp_key();
	key.model = "a@b";
	refuse_mp(&key, KVF_WIRE_MP_NOW, "model");
	key = mp_key();
	key.hash = &number;
	refuse_mp(&key, KVF_WIRE_MP_NOW, "hash");
	key = mp_key();
	key.group = 1;
	refuse_mp(&key, KVF_WIRE_MP_THREE_FIELDS, "group");
	refuse_mp(&key, (enum kvf_wire_mp_era)2, "era");
}

/* 128 characters are the bound, however many bytes they take. */
static void test_salt_length(void)
{
	char salt[4 * 129 + 1];

	memset(salt, 'x', 129);
	salt[129] = '\0';
	CU_ASSERT_EQUAL(kvf_wire_salt_check(salt, NULL), KVF_EINVAL);
	salt[128] = '\0';
	CU_ASSERT_EQUAL(kvf_wire_salt_check(salt, NULL), KVF_OK);
	for (size_t i = 0; i < 129; i++)
		memcpy(salt + 4 * i, "\xf0\x9f\x90\x9b", 4);
	salt[4 * 129] = '\0';
	CU_ASSERT_EQUAL(kvf_wire_salt_check(salt, NULL), KVF_EINVAL);
	salt[4 * 128] = '\0';
	CU_ASSERT_EQUAL(kvf_wire_salt_check(salt, NULL), KVF_OK);
	salt[4 * 128 - 1] = '\0';
	CU_ASSERT_EQUAL(kvf_wire_salt_check(salt, NULL), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_wire_salt_check("", NULL), KVF_OK);
}

static void test_kv_rank(void)
{
	uint32_t rank = 7;

	CU_ASSERT_EQUAL(kvf_wire_kv_rank(1, 0, NULL, &rank), KVF_OK);
	CU_ASSERT_EQUAL(rank, 0x01000100);
	CU_ASSERT_EQUAL(kvf_wire_kv_rank(8, 5, NULL, &rank), KVF_OK);
	CU_ASSERT_EQUAL(rank, 0x08050805);
	CU_ASSERT_EQUAL(kvf_wire_kv_rank(255, 254, NULL, &rank), KVF_OK);
	CU_ASSERT_EQUAL(rank, 0xfffefffe);
	CU_ASSERT_EQUAL(kvf_wire_kv_rank(256, 0, NULL, &rank), KVF_ERANGE);
	CU_ASSERT_EQUAL(kvf_wire_kv_rank(0, 0, NULL, &rank), KVF_ERANGE);
	CU_ASSERT_EQUAL(kvf_wire_kv_rank(2, 2, NULL, &rank), KVF_ERANGE);
	CU_ASSERT_EQUAL(rank, 0xfffefffe);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"ip", test_ip},
		{"ip_older", test_ip_older},
		{"mp", test_mp},
		{"ip_refusals", test_ip_refusals},
		{"mp_refusals", test_mp_refusals},
		{"salt_length", test_salt_length},
		{"kv_rank", test_kv_rank},
	};

	return kvf_test_main("wire_key", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
