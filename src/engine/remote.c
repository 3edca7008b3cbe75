/* SPDX-License-Identifier: Apache-2.0 */
/* remote_url and what goes with it: from the configuration to the options of the tier. */
#include "engine/engine.h"

#include <string.h>

#include "base/report.h"
#include "config/config.h"
#include "tier/resp/resp.h"

static const char *extra(const struct kvf_config *config, const char *key)
{
	const char *text = kvf_config_extra(config, key);

	return text ? text : "";
}

static bool has_scheme(const char *url, const char *scheme)
{
	size_t n = strlen(scheme);

	return strncmp(url, scheme, n) == 0 && strncmp(url + n, "://", 3) == 0;
}

/* Copies a setting where there is one. */
static int take(char *out, size_t cap, const struct kvf_config *config, const char *key, struct kvf_report *report)
{
	const char *text = extra(config, key);
	size_t n = strlen(text);

	if (!n)
		return KVF_OK;
	if (n >= cap) {
		kvf_report_add(report, KVF_ERROR, "%s: longer than %zu bytes", key, cap - 1);
		return KVF_ERANGE;
	}
	memcpy(out, text, n + 1);
	return KVF_OK;
}

/* The configuration has checked that these are numbers. */
static uint64_t whole(const struct kvf_config *config, const char *key)
{
	uint64_t v = 0;

	for (const char *s = extra(config, key); *s >= '0' && *s <= '9' && v < UINT32_MAX; s++)
		v = v * 10 + (uint64_t)(*s - '0');
	return v;
}

static bool on(const struct kvf_config *config, const char *key)
{
	return strcmp(extra(config, key), "true") == 0;
}

/* Seconds with a fraction; `otherwise` when it was not given. */
static uint64_t seconds(const struct kvf_config *config, const char *key, uint64_t otherwise)
{
	const char *s = extra(config, key);
	uint64_t ns = whole(config, key) * KVF_NS_PER_S;
	uint64_t unit = KVF_NS_PER_S / 10;

	if (!*s)
		return otherwise;
	while (*s >= '0' && *s <= '9')
		s++;
	if (*s == '.')
		for (s++; *s >= '0' && *s <= '9'; s++, unit /= 10)
			ns += (uint64_t)(*s - '0') * unit;
	return ns ? ns : otherwise;
}

static int take_login(struct kvf_resp_options *o, const struct kvf_config *config, const char *url,
		      struct kvf_report *report)
{
	const char *const users[] = { "username", has_scheme(url, "valkey") ? "valkey_username" : NULL,
				      has_scheme(url, "resp") ? "LMCACHE_RESP_USERNAME" : NULL };
	const char *const passwords[] = { "password", has_scheme(url, "valkey") ? "valkey_password" : NULL,
					  has_scheme(url, "resp") ? "LMCACHE_RESP_PASSWORD" : NULL };
	int rc = KVF_OK;

	/* What stands in the URL wins. */
	for (size_t i = 0; !rc && i < KVF_ARRAY_LEN(users); i++)
		if (users[i] && !o->user[0] && !o->password[0])
			rc = take(o->user, sizeof(o->user), config, users[i], report);
	for (size_t i = 0; !rc && i < KVF_ARRAY_LEN(passwords); i++)
		if (passwords[i] && !o->password[0])
			rc = take(o->password, sizeof(o->password), config, passwords[i], report);
	if (!rc)
		rc = take(o->user_file, sizeof(o->user_file), config, "username_file", report);
	if (!rc)
		rc = take(o->password_file, sizeof(o->password_file), config, "password_file", report);
	return rc;
}

static int take_tls(struct kvf_resp_options *o, const struct kvf_config *config, struct kvf_report *report)
{
	int rc = take(o->ca_file, sizeof(o->ca_file), config, "kvf_tls_ca_file", report);

	if (!rc)
		rc = take(o->cert_file, sizeof(o->cert_file), config, "kvf_tls_cert_file", report);
	if (!rc)
		rc = take(o->key_file, sizeof(o->key_file), config, "kvf_tls_key_file", report);
	if (!rc)
		rc = take(o->server_name, sizeof(o->server_name), config, "kvf_tls_server_name", report);
	if (!on(config, "kvf_tls_verify"))
		o->tls_verify = false;
	o->tls |= on(config, "tls_enable");
	if (o->tls && !o->tls_verify)
		kvf_report_add(report, KVF_WARNING,
			       "kvf_tls_verify: false: whoever answers at the server's address is believed");
	return rc;
}

static int fill_options(struct kvf_resp_options *o, const struct kvf_config *config, struct kvf_report *report)
{
	const struct kvf_settings *s = kvf_config_settings(config);
	bool valkey = has_scheme(s->remote_url, "valkey");
	int rc;

	kvf_resp_options_init(o);
	rc = kvf_resp_url_parse(s->remote_url, report, o);
	if (rc)
		return rc;
	if (valkey && strcmp(extra(config, "valkey_mode"), "cluster") == 0) {
		kvf_report_add(report, KVF_ERROR, "valkey_mode: cluster: this build knows one server");
		return KVF_ENOTSUP;
	}
	rc = take_login(o, config, s->remote_url, report);
	if (!rc)
		rc = take_tls(o, config, report);
	o->verify = (enum kvf_resp_verify)s->remote_verify;
	o->connections = s->remote_connections;
	o->ttl_s = s->remote_ttl_s;
	if (valkey && !o->database)
		o->database = (uint32_t)whole(config, "valkey_database");
	if (valkey && !o->ttl_s && on(config, "valkey_enable_ttl"))
		o->ttl_s = (uint32_t)whole(config, "valkey_ttl_sec");
	o->connect_timeout_ns = seconds(config, "connection_timeout", o->connect_timeout_ns);
	o->stall_timeout_ns = seconds(config, "request_timeout", o->stall_timeout_ns);
	return rc;
}

int kvf_remote_open(struct kvf_engine *e, const struct kvf_open_params *p, const struct kvf_config *config)
{
	const struct kvf_settings *s = kvf_config_settings(config);
	struct kvf_resp_options options;
	int rc;

	if (!s->remote_url[0])
		return KVF_OK;
	rc = fill_options(&options, config, p->report);
	if (!rc)
		rc = kvf_wire_begin(e, p, s);
	/* Multiprocess LMCache keeps no metadata in its stores. */
	if (!rc && e->wire.seqs.start.form == KVF_WIRE_MP)
		options.format = KVF_RESP_RAW;
	/* A chunk that its metadata cannot describe would be refused at every store, and nobody would know. */
	if (!rc && options.format == KVF_RESP_TWO_KEY)
		rc = kvf_wire_check_meta(e, p->report);
	options.read_older = s->remote_older && options.verify != KVF_RESP_REQUIRE;
	options.older_names = e->wire.older_n != 0;
	options.older_two_key = has_scheme(s->remote_url, "valkey") && e->wire.seqs.start.form != KVF_WIRE_MP;
	if (!rc)
		rc = kvf_resp_new(&e->mem, &options, &e->remote);
	explicit_bzero(&options, sizeof(options));
	if (!rc)
		rc = kvf_tier_add(e, &kvf_resp_ops, e->remote, KVF_TIER_REMOTE, p);
	return rc;
}
