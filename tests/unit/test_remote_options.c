/* SPDX-License-Identifier: Apache-2.0 */
/* remote.c: what of the configuration reaches the tier that remote_url names. Nobody is asked for anything, so no
 * server is needed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/rig.h"
#include "tier/resp/tier.h"

#define REDIS "redis://127.0.0.1:1"
#define VALKEY "valkey://127.0.0.1:1"
#define RESP "resp://127.0.0.1:1"
#define NOWHERE "unix:///nonexistent/socket"

static struct kvf_resp_options o;
static struct rig r;

/* Opens, looks, closes; o: what the tier was told. */
static int open_with(const char *url, const char *const *settings)
{
	int rc = rig_try_open(&r, &(struct rig_options){
					  .slots = 16,
					  .extra_key = "remote_url",
					  .extra_value = url,
					  .settings = settings });

	memset(&o, 0, sizeof(o));
	if (rc)
		return rc;
	o = r.engine->remote->opt;
	rig_close(&r);
	return KVF_OK;
}

/* URL, key, value, ... */
static void open_list(const char *const *list)
{
	CU_ASSERT_EQUAL_FATAL(open_with(list[0], list + 1), KVF_OK);
}

#define OPEN(...) open_list((const char *const[]){ __VA_ARGS__, NULL })

static bool warned(void)
{
	return strstr(r.text, "kvf_tls_verify: false") != NULL;
}

static void test_defaults(void)
{
	OPEN(REDIS);
	CU_ASSERT_EQUAL(o.format, KVF_RESP_TWO_KEY);
	CU_ASSERT_EQUAL(o.verify, KVF_RESP_AUTO);
	CU_ASSERT_EQUAL(o.connections, 3);
	CU_ASSERT_EQUAL(o.ttl_s, 0);
	CU_ASSERT_EQUAL(o.database, 0);
	CU_ASSERT_EQUAL(o.connect_timeout_ns, 10 * KVF_NS_PER_S);
	CU_ASSERT_EQUAL(o.stall_timeout_ns, 5 * KVF_NS_PER_S);
	CU_ASSERT_TRUE(o.read_older);
	CU_ASSERT_FALSE(o.older_names);
	CU_ASSERT_FALSE(o.older_two_key);
	CU_ASSERT_FALSE(o.tls);
	CU_ASSERT_TRUE(o.tls_verify);
	CU_ASSERT_FALSE(warned());
	/* No URL, no tier. */
	rig_open(&r, &(struct rig_options){ .slots = 16 });
	CU_ASSERT_PTR_NULL(r.engine->remote);
	CU_ASSERT_EQUAL(r.engine->n_tiers, 0);
	rig_close(&r);
}

/* Seconds with a fraction; a number that no clock can hold is cut, and one that is nothing counts as not given. */
static void test_timeouts(void)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} as[] = {
		{ "2", 2000000000u },	      { "0.5", 500000000u },	  { "1.25", 1250000000u },
		{ "0.09", 90000000u },	      { "190.90", 190900000000u }, { "9.987654321", 9987654321u },
		{ "0.0000000019", 1u },	      { "10", 10000000000u },	  { "42949672950", 4294967295000000000u },
		{ "4294967295", 4294967295000000000u }, { "4294967296", 4294967296000000000u },
	};

	for (size_t i = 0; i < KVF_ARRAY_LEN(as); i++) {
		OPEN(REDIS, "connection_timeout", as[i].text, "request_timeout", "7");
		CU_ASSERT_EQUAL(o.connect_timeout_ns, as[i].ns);
		CU_ASSERT_EQUAL(o.stall_timeout_ns, 7 * KVF_NS_PER_S);
		OPEN(REDIS, "request_timeout", as[i].text);
		CU_ASSERT_EQUAL(o.stall_timeout_ns, as[i].ns);
		CU_ASSERT_EQUAL(o.connect_timeout_ns, 10 * KVF_NS_PER_S);
	}
	OPEN(REDIS, "connection_timeout", "0", "request_timeout", "0.0");
	CU_ASSERT_EQUAL(o.connect_timeout_ns, 10 * KVF_NS_PER_S);
	CU_ASSERT_EQUAL(o.stall_timeout_ns, 5 * KVF_NS_PER_S);
}

static void who(const char *user, const char *password)
{
	CU_ASSERT_STRING_EQUAL(o.user, user);
	CU_ASSERT_STRING_EQUAL(o.password, password);
}

/* What stands in the URL wins, then the common key, then the one of the scheme; of another scheme none. */
static void test_login(void)
{
	OPEN(REDIS, "username", "u", "password", "p");
	who("u", "p");
	OPEN("redis://a:b@127.0.0.1:1", "username", "u", "password", "p");
	who("a", "b");
	OPEN("redis://:b@127.0.0.1:1", "username", "u", "password", "p");
	who("", "b");
	OPEN("redis://a@127.0.0.1:1", "username", "u", "password", "p");
	who("a", "p");
	OPEN(VALKEY, "valkey_username", "vu", "valkey_password", "vp", "LMCACHE_RESP_USERNAME", "ru",
	     "LMCACHE_RESP_PASSWORD", "rp");
	who("vu", "vp");
	OPEN(VALKEY, "username", "u", "password", "p", "valkey_username", "vu", "valkey_password", "vp");
	who("u", "p");
	OPEN(RESP, "valkey_username", "vu", "valkey_password", "vp", "LMCACHE_RESP_USERNAME", "ru",
	     "LMCACHE_RESP_PASSWORD", "rp");
	who("ru", "rp");
	OPEN(RESP, "username", "u", "LMCACHE_RESP_USERNAME", "ru", "LMCACHE_RESP_PASSWORD", "rp");
	who("u", "rp");
	OPEN(RESP, "password", "p", "LMCACHE_RESP_USERNAME", "ru", "LMCACHE_RESP_PASSWORD", "rp");
	who("ru", "p");
	for (size_t i = 0; i < 2; i++) {
		/* A scheme as long as the other's name is still another. */
		OPEN(i ? REDIS : NOWHERE, "valkey_username", "vu", "valkey_password", "vp", "LMCACHE_RESP_USERNAME",
		     "ru", "LMCACHE_RESP_PASSWORD", "rp");
		who("", "");
	}
#ifdef HAVE_LIBSSL
	OPEN("rediss://127.0.0.1:1", "valkey_username", "vu", "valkey_password", "vp");
	who("", "");
#endif
	OPEN(REDIS, "username_file", "/a", "password_file", "/b");
	CU_ASSERT_STRING_EQUAL(o.user_file, "/a");
	CU_ASSERT_STRING_EQUAL(o.password_file, "/b");
	who("", "");
}

/* Every text: as long as there is room for, and one byte more. */
static void test_lengths(void)
{
	static const struct {
		const char *key, *url;
		size_t at, cap;
	} as[] = {
#define FIELD_OF(key, url, name) { key, url, offsetof(struct kvf_resp_options, name), sizeof(o.name) }
		FIELD_OF("username", REDIS, user),
		FIELD_OF("valkey_username", VALKEY, user),
		FIELD_OF("LMCACHE_RESP_USERNAME", RESP, user),
		FIELD_OF("password", REDIS, password),
		FIELD_OF("valkey_password", VALKEY, password),
		FIELD_OF("LMCACHE_RESP_PASSWORD", RESP, password),
		FIELD_OF("username_file", REDIS, user_file),
		FIELD_OF("password_file", REDIS, password_file),
		FIELD_OF("kvf_tls_ca_file", REDIS, ca_file),
		FIELD_OF("kvf_tls_cert_file", REDIS, cert_file),
		FIELD_OF("kvf_tls_key_file", REDIS, key_file),
		FIELD_OF("kvf_tls_server_name", REDIS, server_name),
	};
	char text[KVF_RESP_SECRET + 1], says[80];

	for (size_t i = 0; i < KVF_ARRAY_LEN(as); i++) {
		memset(text, 'x', as[i].cap);
		text[as[i].cap] = '\0';
		CU_ASSERT_EQUAL(open_with(as[i].url, (const char *const[]){ as[i].key, text, NULL }), KVF_ERANGE);
		snprintf(says, sizeof(says), "%s: longer than %zu bytes", as[i].key, as[i].cap - 1);
		CU_ASSERT_PTR_NOT_NULL(strstr(r.text, says));
		text[as[i].cap - 1] = '\0';
		OPEN(as[i].url, as[i].key, text);
		CU_ASSERT_STRING_EQUAL((const char *)&o + as[i].at, text);
		/* Nothing ran over into the field behind it. */
		memset((char *)&o + as[i].at, 0, as[i].cap);
		CU_ASSERT_STRING_EQUAL(o.password, "");
		CU_ASSERT_STRING_EQUAL(o.user_file, "");
		CU_ASSERT_STRING_EQUAL(o.password_file, "");
		CU_ASSERT_STRING_EQUAL(o.ca_file, "");
		CU_ASSERT_STRING_EQUAL(o.cert_file, "");
		CU_ASSERT_STRING_EQUAL(o.key_file, "");
		CU_ASSERT_STRING_EQUAL(o.server_name, "");
		CU_ASSERT_EQUAL(o.database, 0);
	}
	/* The first of two complaints is the one that counts. */
	memset(text, 'x', KVF_RESP_TEXT);
	text[KVF_RESP_TEXT] = '\0';
	CU_ASSERT_EQUAL(open_with(REDIS, (const char *const[]){ "username", text, "kvf_tls_ca_file", text, NULL }),
			KVF_ERANGE);
	CU_ASSERT_EQUAL(r.report.errors, 1);
}

static void test_tls(void)
{
	OPEN(REDIS, "kvf_tls_verify", "false");
	CU_ASSERT_FALSE(o.tls || o.tls_verify);
	CU_ASSERT_FALSE(warned()); /* nobody's certificate is looked at anyway */
#ifdef HAVE_LIBSSL
	OPEN("rediss://127.0.0.1:1");
	CU_ASSERT_TRUE(o.tls && o.tls_verify);
	CU_ASSERT_FALSE(warned());
	OPEN("rediss://127.0.0.1:1", "kvf_tls_verify", "false");
	CU_ASSERT_TRUE(o.tls && !o.tls_verify);
	CU_ASSERT_TRUE(warned());
	OPEN(REDIS, "tls_enable", "true");
	CU_ASSERT_TRUE(o.tls && o.tls_verify);
	OPEN(REDIS, "tls_enable", "false");
	CU_ASSERT_FALSE(o.tls);
#endif
}

/* Keys that mean something to valkey:// alone. */
static void test_valkey(void)
{
	OPEN(VALKEY, "valkey_database", "3", "valkey_ttl_sec", "100");
	CU_ASSERT_EQUAL(o.database, 3);
	CU_ASSERT_EQUAL(o.ttl_s, 0);
	OPEN(VALKEY "/5", "valkey_database", "3", "valkey_enable_ttl", "true", "valkey_ttl_sec", "190");
	CU_ASSERT_EQUAL(o.database, 5);
	CU_ASSERT_EQUAL(o.ttl_s, 190);
	OPEN(VALKEY, "valkey_enable_ttl", "true");
	CU_ASSERT_EQUAL(o.ttl_s, 86400);
	OPEN(VALKEY, "valkey_enable_ttl", "true", "kvf_remote_ttl", "9");
	CU_ASSERT_EQUAL(o.ttl_s, 9);
	CU_ASSERT_TRUE(o.older_two_key);
	OPEN(REDIS, "valkey_database", "3", "valkey_enable_ttl", "true", "valkey_mode", "cluster");
	CU_ASSERT_EQUAL(o.database, 0);
	CU_ASSERT_EQUAL(o.ttl_s, 0);
	CU_ASSERT_EQUAL(open_with(VALKEY, (const char *const[]){ "valkey_mode", "cluster", NULL }), KVF_ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "valkey_mode: cluster"));
}

static void test_formats(void)
{
	OPEN(REDIS, "kvf_remote_verify", "require", "kvf_remote_connections", "5", "kvf_remote_ttl", "11");
	CU_ASSERT_EQUAL(o.verify, KVF_RESP_REQUIRE);
	CU_ASSERT_EQUAL(o.connections, 5);
	CU_ASSERT_EQUAL(o.ttl_s, 11);
	CU_ASSERT_FALSE(o.read_older); /* what is older has no checksum */
	OPEN(REDIS, "kvf_remote_verify", "off", "kvf_remote_read_older", "false");
	CU_ASSERT_EQUAL(o.verify, KVF_RESP_NO_VERIFY);
	CU_ASSERT_FALSE(o.read_older);
	OPEN(REDIS, "pre_caching_hash_algorithm", "blake3");
	CU_ASSERT_EQUAL(o.format, KVF_RESP_RAW);
	CU_ASSERT_TRUE(o.older_names);
	OPEN(VALKEY, "pre_caching_hash_algorithm", "blake3");
	CU_ASSERT_EQUAL(o.format, KVF_RESP_RAW);
	CU_ASSERT_FALSE(o.older_two_key);
	/* Each thing that may be wrong is told as itself. */
	CU_ASSERT_EQUAL(open_with("redis://127.0.0.1:70000", NULL), KVF_EINVAL);
	CU_ASSERT_EQUAL(open_with("redis://127.0.0.1:1,127.0.0.1:2", NULL), KVF_ENOTSUP);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "defaults", test_defaults }, { "timeouts", test_timeouts }, { "login", test_login },
		{ "lengths", test_lengths },   { "tls", test_tls },	      { "valkey", test_valkey },
		{ "formats", test_formats },
	};

	return kvf_test_main("remote_options", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
