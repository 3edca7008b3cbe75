/* SPDX-License-Identifier: Apache-2.0 */
/* remote_url into options: see kvf_resp_url_parse(). Error text never shows more than scheme, host and option. */
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/report.h"
#include "tier/resp/resp.h"

#define DEFAULT_PORT 6379

void kvf_resp_options_init(struct kvf_resp_options *options)
{
	memset(options, 0, sizeof(*options));
	options->tls_verify = true;
	options->port = DEFAULT_PORT;
	options->connections = 3;
	options->connect_timeout_ns = 10 * KVF_NS_PER_S;
	options->stall_timeout_ns = 5 * KVF_NS_PER_S;
}

/* The first c of [s, end), or NULL. */
static const char *find(const char *s, const char *end, char c)
{
	while (s < end && *s != c)
		s++;
	return s < end ? s : NULL;
}

static int refuse(struct kvf_report *report, int status, const char *what)
{
	kvf_report_add(report, KVF_ERROR, "remote_url: %s", what);
	return status;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes [s, end) into out. False: too long, or no proper text. */
static bool decode(const char *s, const char *end, char *out, size_t cap)
{
	size_t n = 0;

	while (s < end) {
		int c = (unsigned char)*s++;

		if (c == '%') {
			int high = s < end ? hex(s[0]) : -1;
			int low = high >= 0 && s + 1 < end ? hex(s[1]) : -1;

			if (low < 0)
				return false;
			c = high << 4 | low;
			s += 2;
		}
		if (!c || n + 1 >= cap)
			return false;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return true;
}

static bool number(const char *s, const char *end, uint32_t max, uint32_t *out)
{
	uint64_t v = 0;

	if (s == end)
		return false;
	for (; s < end; s++) {
		if (*s < '0' || *s > '9')
			return false;
		v = v * 10 + (uint64_t)(*s - '0');
		if (v > max)
			return false;
	}
	*out = (uint32_t)v;
	return true;
}

static int parse_login(const char *s, const char *end, struct kvf_report *report, struct kvf_resp_options *o)
{
	const char *colon = find(s, end, ':');

	if (!decode(s, colon ? colon : end, o->user, sizeof(o->user)) ||
	    (colon && !decode(colon + 1, end, o->password, sizeof(o->password))))
		return refuse(report, KVF_EINVAL, "user or password: too long, or a wrong %XX");
	return KVF_OK;
}

static int parse_address(const char *s, const char *end, struct kvf_report *report, struct kvf_resp_options *o)
{
	const char *host_end = end;
	const char *port = NULL;
	uint32_t n;

	if (find(s, end, ','))
		return refuse(report, KVF_ENOTSUP, "names several servers; this build knows one");
	if (s < end && *s == '[') {
		host_end = find(s, end, ']');
		if (!host_end)
			return refuse(report, KVF_EINVAL, "host: [ without ]");
		s++;
		if (host_end + 1 < end && host_end[1] == ':')
			port = host_end + 2;
		else if (host_end + 1 < end)
			return refuse(report, KVF_EINVAL, "host: something between ] and the port");
	} else {
		const char *colon = find(s, end, ':');

		if (colon) {
			host_end = colon;
			port = colon + 1;
		}
	}
	if (!decode(s, host_end, o->host, sizeof(o->host)))
		return refuse(report, KVF_EINVAL, "host: too long, or a wrong %XX");
	if (port) {
		if (!number(port, end, 65535, &n) || !n)
			return refuse(report, KVF_EINVAL, "port: not a number from 1 to 65535");
		o->port = (uint16_t)n;
	}
	return KVF_OK;
}

/* Not named before an @: behind a question mark that nobody encoded stands the rest of a password. */
static int refuse_option(const char *s, size_t n, struct kvf_report *report)
{
	if (strchr(s, '@'))
		return refuse(report, KVF_EINVAL, "an option that is none; in a password a ? is %3F");
	kvf_report_add(report, KVF_ERROR, "remote_url: option %.*s: not known", (int)(n < 32 ? n : 32), s);
	return KVF_EINVAL;
}

/* redis-py's options, as far as they change what is done. */
static int parse_option(const char *s, const char *end, struct kvf_report *report, struct kvf_resp_options *o)
{
	const char *equals = find(s, end, '=');
	const char *value = equals ? equals + 1 : end;
	size_t n = (size_t)((equals ? equals : end) - s);
	char text[16];
	bool ok;

	if (n == 2 && !memcmp(s, "db", n))
		ok = number(value, end, INT32_MAX, &o->database);
	else if (n == 12 && !memcmp(s, "ssl_ca_certs", n))
		ok = decode(value, end, o->ca_file, sizeof(o->ca_file));
	else if (n == 12 && !memcmp(s, "ssl_certfile", n))
		ok = decode(value, end, o->cert_file, sizeof(o->cert_file));
	else if (n == 11 && !memcmp(s, "ssl_keyfile", n))
		ok = decode(value, end, o->key_file, sizeof(o->key_file));
	else if (n == 13 && !memcmp(s, "ssl_cert_reqs", n)) {
		ok = decode(value, end, text, sizeof(text)) && (!strcmp(text, "none") || !strcmp(text, "required"));
		o->tls_verify = ok && strcmp(text, "none") != 0;
	} else {
		return refuse_option(s, n, report);
	}
	if (ok)
		return KVF_OK;
	kvf_report_add(report, KVF_ERROR, "remote_url: option %.*s: a wrong value", (int)n, s);
	return KVF_EINVAL;
}

static int parse_options(const char *s, const char *end, struct kvf_report *report, struct kvf_resp_options *o)
{
	while (s < end) {
		const char *and = find(s, end, '&');
		const char *stop = and ? and : end;
		int rc = parse_option(s, stop, report, o);

		if (rc)
			return rc;
		s = and ? and + 1 : end;
	}
	return KVF_OK;
}

/* What stands behind "unix://": [user:password@]/path. */
static int parse_unix(const char *s, const char *end, struct kvf_report *report, struct kvf_resp_options *o)
{
	const char *slash = find(s, end, '/');
	int rc;

	if (!slash)
		return refuse(report, KVF_EINVAL, "unix://: a path beginning with / is missing");
	if (slash > s) {
		if (slash[-1] != '@')
			return refuse(report, KVF_EINVAL, "unix://: three slashes before the path, or user:password@");
		rc = parse_login(s, slash - 1, report, o);
		if (rc)
			return rc;
	}
	/* 107 bytes fit into a socket's address. */
	if (!decode(slash, end, o->path, 108))
		return refuse(report, KVF_ERANGE, "unix://: a path of more than 107 bytes, or a wrong %XX");
	return KVF_OK;
}

static int parse_server(const char *s, const char *end, struct kvf_report *report, struct kvf_resp_options *o)
{
	const char *slash = find(s, end, '/');
	const char *host_end = slash ? slash : end;
	const char *at = NULL;
	int rc;

	for (const char *p = s; p < host_end; p++)
		if (*p == '@')
			at = p;
	if (at) {
		rc = parse_login(s, at, report, o);
		if (rc)
			return rc;
		s = at + 1;
	}
	rc = parse_address(s, host_end, report, o);
	if (rc || !slash || slash + 1 == end)
		return rc;
	if (!number(slash + 1, end, INT32_MAX, &o->database))
		return refuse(report, KVF_EINVAL, "database: not a number");
	return KVF_OK;
}

int kvf_resp_url_parse(const char *url, struct kvf_report *report, struct kvf_resp_options *o)
{
	static const struct {
		const char *scheme;
		enum kvf_resp_format format;
		bool tls, local;
	} known[] = {
		{ "redis://", KVF_RESP_TWO_KEY, false, false }, { "rediss://", KVF_RESP_TWO_KEY, true, false },
		{ "unix://", KVF_RESP_TWO_KEY, false, true },	{ "resp://", KVF_RESP_RAW, false, false },
		{ "valkey://", KVF_RESP_RAW, false, false },
	};
	const char *question = strchr(url, '?');
	const char *end = question ? question : url + strlen(url);

	for (size_t i = 0; i < KVF_ARRAY_LEN(known); i++) {
		size_t n = strlen(known[i].scheme);
		int rc;

		if (strncmp(url, known[i].scheme, n) != 0)
			continue;
		o->format = known[i].format;
		o->tls = known[i].tls;
		rc = known[i].local ? parse_unix(url + n, end, report, o) : parse_server(url + n, end, report, o);
		if (!rc && question)
			rc = parse_options(question + 1, url + strlen(url), report, o);
		return rc;
	}
	return refuse(report, KVF_ENOTSUP, "not a scheme of the resp tier: redis, rediss, unix, resp, valkey");
}
