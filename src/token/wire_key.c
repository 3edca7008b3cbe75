/* SPDX-License-Identifier: Apache-2.0 */
/* Key strings: checked field by field, joined with '@' into a bounded buffer. */
#include "token/wire_key.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/report.h"

#define RANKS_MAX 255 /* eight bits of a kv_rank */

struct line {
	char *buf;
	size_t cap;
	size_t used; /* without the NUL; `cap` once it did not fit */
};

static void line_add(struct line *l, const char *fmt, ...) KVF_PRINTF(2, 3);

static void line_add(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (l->used >= l->cap)
		return;
	va_start(ap, fmt);
	n = vsnprintf(l->buf + l->used, l->cap - l->used, fmt, ap);
	va_end(ap);
	l->used = n < 0 || (size_t)n >= l->cap - l->used ? l->cap : l->used + (size_t)n;
}

static int line_end(const struct line *l, struct kvf_report *report)
{
	if (l->used < l->cap && l->used <= INT32_MAX)
		return (int)l->used;
	kvf_report_add(report, KVF_ERROR, "key: does not fit into %zu bytes",
		l->cap == 0 ? 0 : l->cap - 1);
	return KVF_ERANGE;
}

/* Length of the UTF-8 sequence at p, 0 when it is none: overlong forms and surrogates are none. */
static unsigned utf8_length(const unsigned char *p)
{
	unsigned n = p[0] < 0x80   ? 1
		     : p[0] < 0xc2 ? 0
		     : p[0] < 0xe0 ? 2
		     : p[0] < 0xf0 ? 3
		     : p[0] < 0xf5 ? 4
				   : 0;

	for (unsigned i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
		(p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return n;
}

/* Characters of `text`, or KVF_EINVAL for one of `forbidden`, for no UTF-8, and for controls where
 * they are refused. */
static int check_text(const char *field, const char *text, const char *forbidden, bool controls,
	struct kvf_report *report)
{
	const unsigned char *p = (const unsigned char *)text;
	int chars = 0;

	while (*p != '\0') {
		unsigned n = utf8_length(p);

		if (n == 0) {
			kvf_report_add(report, KVF_ERROR, "%s: not UTF-8 at byte %zu", field,
				(size_t)(p - (const unsigned char *)text));
			return KVF_EINVAL;
		}
		if (strchr(forbidden, *p) != NULL) {
			kvf_report_add(report, KVF_ERROR,
				"%s: '%.64s' has a '%c', which LMCache's key strings "
				"use as a separator",
				field, text, *p);
			return KVF_EINVAL;
		}
		if (!controls && (*p < 0x20 || *p == 0x7f)) {
			kvf_report_add(report, KVF_ERROR,
				"%s: control character 0x%02x at byte %zu", field, *p,
				(size_t)(p - (const unsigned char *)text));
			return KVF_EINVAL;
		}
		p += n;
		chars++;
	}
	return chars;
}

static int check_model(const char *model, struct kvf_report *report)
{
	int chars = model == NULL ? 0 : check_text("model", model, "@", false, report);

	if (chars == 0) {
		kvf_report_add(report, KVF_ERROR, "model: is empty");
		return KVF_EINVAL;
	}
	return chars < 0 ? chars : KVF_OK;
}

static int check_tag(const struct kvf_wire_tag *tag, struct kvf_report *report)
{
	int chars = check_text("tag name", tag->name, "@%", false, report);

	if (chars == 0) {
		kvf_report_add(report, KVF_ERROR, "tag name: is empty (value '%.64s')", tag->value);
		return KVF_EINVAL;
	}
	if (chars > 0)
		chars = check_text("tag value", tag->value, "@", false, report);
	return chars < 0 ? chars : KVF_OK;
}

static int check_ip_key(
	const struct kvf_wire_ip_key *key, enum kvf_wire_ip_era era, struct kvf_report *report)
{
	int rc = check_model(key->model, report);

	if (rc != KVF_OK)
		return rc;
	if ((unsigned)era > KVF_WIRE_IP_VLLM) {
		kvf_report_add(report, KVF_ERROR, "era: %d is unknown", (int)era);
		return KVF_EINVAL;
	}
	if (key->world_size == 0) {
		kvf_report_add(report, KVF_ERROR, "world size: 0 is below 1");
		return KVF_EINVAL;
	}
	if (era != KVF_WIRE_IP_VLLM &&
		(key->dtype == KVF_WIRE_DTYPE_NONE || (unsigned)key->dtype >= KVF_WIRE_DTYPES)) {
		kvf_report_add(report, KVF_ERROR, "dtype: %d has no name in LMCache's keys",
			(int)key->dtype);
		return KVF_EINVAL;
	}
	for (size_t i = 0; i < key->n_tags; i++) {
		rc = check_tag(&key->tags[i], report);
		if (rc != KVF_OK)
			return rc;
	}
	return KVF_OK;
}

static int print_hash(
	const struct kvf_wire_hash *hash, char text[KVF_WIRE_HASH_TEXT], struct kvf_report *report)
{
	int n = kvf_wire_hash_print(hash, text, KVF_WIRE_HASH_TEXT);

	if (n > 0)
		return KVF_OK;
	kvf_report_add(report, KVF_ERROR, "hash: %u bytes are not 1 to %d", hash->size,
		KVF_WIRE_HASH_BYTES);
	return KVF_EINVAL;
}

int kvf_wire_ip_key_print(const struct kvf_wire_ip_key *key, enum kvf_wire_ip_era era, char *buf,
	size_t cap, struct kvf_report *report)
{
	struct line l = {buf, cap, 0};
	char hash[KVF_WIRE_HASH_TEXT];
	int rc = check_ip_key(key, era, report);

	if (rc == KVF_OK)
		rc = print_hash(key->hash, hash, report);
	if (rc != KVF_OK)
		return rc;
	if (era != KVF_WIRE_IP_NOW)
		line_add(&l, "vllm@");
	line_add(&l, "%s@%u@%u@%s", key->model, key->world_size, key->worker_id, hash);
	if (era != KVF_WIRE_IP_VLLM)
		line_add(&l, "@%s", kvf_wire_dtype_name(key->dtype));
	if (key->layer != KVF_WIRE_NO_LAYER)
		line_add(&l, "@%u", key->layer);
	for (size_t i = 0; i < key->n_tags; i++)
		line_add(&l, "@%s%%%s", key->tags[i].name, key->tags[i].value);
	return line_end(&l, report);
}

int kvf_wire_salt_check(const char *salt, struct kvf_report *report)
{
	int chars = check_text("cache_salt", salt, "@/\\", true, report);

	if (chars < 0)
		return chars;
	if (chars > KVF_WIRE_SALT_MAX) {
		kvf_report_add(report, KVF_ERROR, "cache_salt: %d characters are above %d", chars,
			KVF_WIRE_SALT_MAX);
		return KVF_EINVAL;
	}
	return KVF_OK;
}

static int check_mp_key(
	const struct kvf_wire_mp_key *key, enum kvf_wire_mp_era era, struct kvf_report *report)
{
	int rc = check_model(key->model, report);

	if (rc != KVF_OK)
		return rc;
	if ((unsigned)era > KVF_WIRE_MP_THREE_FIELDS) {
		kvf_report_add(report, KVF_ERROR, "era: %d is unknown", (int)era);
		return KVF_EINVAL;
	}
	if (era == KVF_WIRE_MP_THREE_FIELDS && key->group != 0) {
		kvf_report_add(report, KVF_ERROR,
			"group: %u: keys of three fields know no group but 0", key->group);
		return KVF_EINVAL;
	}
	if (key->hash->kind != KVF_WIRE_BYTES) {
		kvf_report_add(report, KVF_ERROR,
			"hash: is a number; multiprocess keys carry bytes (form mp)");
		return KVF_EINVAL;
	}
	return key->salt == NULL ? KVF_OK : kvf_wire_salt_check(key->salt, report);
}

int kvf_wire_mp_key_print(const struct kvf_wire_mp_key *key, enum kvf_wire_mp_era era, char *buf,
	size_t cap, struct kvf_report *report)
{
	struct line l = {buf, cap, 0};
	char hash[KVF_WIRE_HASH_TEXT];
	int rc = check_mp_key(key, era, report);

	if (rc == KVF_OK)
		rc = print_hash(key->hash, hash, report);
	if (rc != KVF_OK)
		return rc;
	line_add(&l, "%s@%08x", key->model, key->kv_rank);
	if (era == KVF_WIRE_MP_NOW)
		line_add(&l, "@%x", key->group);
	line_add(&l, "@%s", hash);
	if (key->salt != NULL && key->salt[0] != '\0')
		line_add(&l, "@%s", key->salt);
	return line_end(&l, report);
}

int kvf_wire_kv_rank(uint32_t world_size, uint32_t rank, struct kvf_report *report, uint32_t *out)
{
	if (world_size == 0 || world_size > RANKS_MAX) {
		kvf_report_add(report, KVF_ERROR,
			"world size: %u is not 1 to %d, which is what a "
			"multiprocess key can hold",
			world_size, RANKS_MAX);
		return KVF_ERANGE;
	}
	if (rank >= world_size) {
		kvf_report_add(report, KVF_ERROR, "rank: %u is not below the world size %u", rank,
			world_size);
		return KVF_ERANGE;
	}
	*out = world_size << 24 | rank << 16 | world_size << 8 | rank;
	return KVF_OK;
}
