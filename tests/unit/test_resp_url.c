/* SPDX-License-Identifier: Apache-2.0 */
/* remote_url of Redis servers, and the side record. */
#include <string.h>

#include "tests/harness.h"
#include "tier/resp/resp.h"
#include "tier/resp/side.h"

static struct kvf_resp_options o;

static int parse(const char *url)
{
	kvf_resp_options_init(&o);
	return kvf_resp_url_parse(url, NULL, &o);
}

static void test_good(void)
{
	CU_ASSERT_EQUAL(parse("redis://10.1.2.3"), KVF_OK);
	CU_ASSERT_STRING_EQUAL(o.host, "10.1.2.3");
	CU_ASSERT_EQUAL(o.port, 6379);
	CU_ASSERT_EQUAL(o.format, KVF_RESP_TWO_KEY);
	CU_ASSERT_FALSE(o.tls);
	CU_ASSERT_EQUAL(parse("rediss://us%40er:p%3Aa%2Fss:w@host.example:1/7"), KVF_OK);
	CU_ASSERT_STRING_EQUAL(o.user, "us@er");
	CU_ASSERT_STRING_EQUAL(o.password, "p:a/ss:w");
	CU_ASSERT_STRING_EQUAL(o.host, "host.example");
	CU_ASSERT_EQUAL(o.port, 1);
	CU_ASSERT_EQUAL(o.database, 7);
	CU_ASSERT_TRUE(o.tls && o.tls_verify);
	CU_ASSERT_EQUAL(parse("redis://:secret@[::1]:65535/"), KVF_OK);
	CU_ASSERT_STRING_EQUAL(o.host, "::1");
	CU_ASSERT_STRING_EQUAL(o.user, "");
	CU_ASSERT_STRING_EQUAL(o.password, "secret");
	CU_ASSERT_EQUAL(o.port, 65535);
	CU_ASSERT_EQUAL(parse("redis://[fe80::1]"), KVF_OK);
	CU_ASSERT_STRING_EQUAL(o.host, "fe80::1");
	CU_ASSERT_EQUAL(parse("unix:///run/redis%20x/s?db=3"), KVF_OK);
	CU_ASSERT_STRING_EQUAL(o.path, "/run/redis x/s");
	CU_ASSERT_EQUAL(o.database, 3);
	CU_ASSERT_EQUAL(parse("unix://u:p@/s"), KVF_OK);
	CU_ASSERT_STRING_EQUAL(o.user, "u");
	CU_ASSERT_STRING_EQUAL(o.path, "/s");
	CU_ASSERT_EQUAL(parse("resp://h:2"), KVF_OK);
	CU_ASSERT_EQUAL(o.format, KVF_RESP_RAW);
	CU_ASSERT_EQUAL(parse("valkey://h:2"), KVF_OK);
	CU_ASSERT_EQUAL(o.format, KVF_RESP_RAW);
	CU_ASSERT_EQUAL(
		parse("rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/a%20b&ssl_certfile=/c&ssl_keyfile=/k&db=1"), KVF_OK);
	CU_ASSERT_FALSE(o.tls_verify);
	CU_ASSERT_STRING_EQUAL(o.ca_file, "/a b");
	CU_ASSERT_STRING_EQUAL(o.cert_file, "/c");
	CU_ASSERT_STRING_EQUAL(o.key_file, "/k");
	CU_ASSERT_EQUAL(o.database, 1);
}

static void test_bad(void)
{
	static const char *const bad[] = {
		"redis:/h", "redis://[::1", "redis://[::1]x", "redis://h:0", "redis://h:65536", "redis://h:",
		"redis://h:1x", "redis://h/x", "redis://h/99999999999", "redis://h%0", "redis://h%00",
		"redis://%zz@h", "redis://h?x=1", "redis://h?db=", "redis://h?ssl_cert_reqs=x",
		"redis://a:1,b:2", "unix://x", "unix://x/y", "http://h",
	};
	char url[600];

	for (size_t i = 0; i < KVF_ARRAY_LEN(bad); i++)
		CU_ASSERT_NOT_EQUAL(parse(bad[i]), KVF_OK);
	memset(url, 'x', sizeof(url));
	memcpy(url, "redis://", 8);
	url[599] = '\0';
	CU_ASSERT_NOT_EQUAL(parse(url), KVF_OK);
	memcpy(url, "unix:///", 8);
	CU_ASSERT_NOT_EQUAL(parse(url), KVF_OK);
	url[107 + 7] = '\0';
	CU_ASSERT_EQUAL(parse(url), KVF_OK);
}

static void test_side(void)
{
	struct kvf_resp_side side = { .checksum = 0x1122334455667788, .payload_bytes = 12288, .n_tokens = 64 }, got;
	uint8_t bytes[KVF_RESP_SIDE_BYTES];

	for (int i = 0; i < KVF_KEY_BYTES; i++)
		side.key[i] = (uint8_t)(i + 1);
	kvf_resp_side_write(&side, bytes);
	CU_ASSERT_NSTRING_EQUAL(bytes, "KVFSIDE1", 8);
	CU_ASSERT_EQUAL(bytes[40], 0x88);
	CU_ASSERT_EQUAL(kvf_resp_side_read(bytes, sizeof(bytes), &got), KVF_OK);
	CU_ASSERT(!memcmp(got.key, side.key, sizeof(got.key)) && got.checksum == side.checksum &&
		  got.payload_bytes == side.payload_bytes && got.n_tokens == side.n_tokens);
	for (unsigned bit = 0; bit < 8 * sizeof(bytes); bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CU_ASSERT_EQUAL(kvf_resp_side_read(bytes, sizeof(bytes), &got), KVF_ECORRUPT);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t n = 0; n < sizeof(bytes); n++)
		CU_ASSERT_EQUAL(kvf_resp_side_read(bytes, n, &got), KVF_ECORRUPT);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = { { "good", test_good }, { "bad", test_bad }, { "side", test_side } };

	return kvf_test_main("resp_url", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
