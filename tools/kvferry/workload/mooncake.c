/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mooncake traces: one JSON object a line, `timestamp` in ms, `input_length` and `output_length` in
 * tokens, and `hash_ids`, one id for each 512-token block of the prompt, the last one perhaps
 * partial. Ids have global scope: the same id is the same text after the same prefix. Lines are
 * read one at a time; every request is a session by itself.
 */
#include "workload/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workload/json.h"
#include "workload/tokens.h"

#define READ_BYTES ((size_t)64 << 10)
#define DEFAULT_BLOCK_TOKENS 512

struct mooncake {
	struct wl_source source;
	char *name;
	FILE *file; /* NULL: bytes in memory */
	const char *mem;
	uint64_t bytes_total;
	uint64_t bytes_read;
	char *buf; /* [start, used) is unread */
	size_t buf_cap, start, used;
	bool eof;
	uint64_t line;
	uint32_t block_tokens;
	uint64_t *ids;
	size_t id_count, id_cap;
	uint64_t last_ns;
	uint64_t index;
};

struct record {
	uint64_t timestamp, input, output;
	bool has_timestamp, has_input, has_output, has_ids;
};

static int refill(struct mooncake *m, struct wl_error *error)
{
	size_t n = READ_BYTES;
	int rc;

	if (m->start > 0) {
		memmove(m->buf, m->buf + m->start, m->used - m->start);
		m->used -= m->start;
		m->start = 0;
	}
	rc = wl_grow((void **)&m->buf, &m->buf_cap, m->used + n, 1, error);
	if (rc != KVF_OK)
		return rc;
	if (m->file) {
		n = fread(m->buf + m->used, 1, n, m->file);
		if (n == 0 && ferror(m->file))
			return wl_fail(
				error, KVF_EIO, "%s: cannot read: %s", m->name, strerror(errno));
	} else {
		n = n < m->bytes_total - m->bytes_read ? n
						       : (size_t)(m->bytes_total - m->bytes_read);
		memcpy(m->buf + m->used, m->mem + m->bytes_read, n);
	}
	m->eof = n == 0;
	m->used += n;
	m->bytes_read += n;
	return KVF_OK;
}

/* 1: a line, without its end; 0: no more; negative: error. */
static int next_line(struct mooncake *m, const char **line, size_t *len, struct wl_error *error)
{
	size_t scanned = 0;

	for (;;) {
		char *at = m->buf ? m->buf + m->start : NULL;
		size_t n = m->used - m->start;
		char *end = n > scanned ? memchr(at + scanned, '\n', n - scanned) : NULL;
		int rc;

		if (end || (m->eof && n > 0)) {
			*line = at;
			*len = end ? (size_t)(end - at) : n;
			m->start += *len + (end != NULL);
			m->line++;
			return 1;
		}
		if (m->eof)
			return 0;
		if (n > WL_MAX_LINE_BYTES)
			return wl_fail(error, KVF_ERANGE, "%s:%llu: line is longer than %llu bytes",
				m->name, (unsigned long long)m->line + 1,
				(unsigned long long)WL_MAX_LINE_BYTES);
		scanned = n;
		rc = refill(m, error);
		if (rc != KVF_OK)
			return rc;
	}
}

static int fail_at(const struct mooncake *m, const struct json *j, const char *field,
	const char *what, struct wl_error *error)
{
	int shown = j->text_len < 40 ? (int)j->text_len : 40;

	if (j->type == JSON_ERROR)
		return wl_fail(error, KVF_EINVAL, "%s:%llu:%zu: %s%s%s", m->name,
			(unsigned long long)m->line, j->offset + 1, field ? field : "",
			field ? ": " : "", j->error);
	return wl_fail(error, KVF_EINVAL, "%s:%llu:%zu: %s: %s, found %s '%.*s'", m->name,
		(unsigned long long)m->line, j->offset + 1, field, what, json_type_name(j->type),
		shown, j->text);
}

static int read_count(const struct mooncake *m, struct json *j, const char *field, uint64_t max,
	uint64_t *out, bool *has, struct wl_error *error)
{
	char what[80];

	if (*has)
		return fail_at(m, j, field, "given twice", error);
	*has = true;
	json_next(j);
	if (json_scaled(j, 1, max, out) == 0)
		return KVF_OK;
	snprintf(what, sizeof(what), "must be a whole number from 0 to %llu",
		(unsigned long long)max);
	return fail_at(m, j, field, what, error);
}

static int read_timestamp(
	struct mooncake *m, struct json *j, struct record *r, struct wl_error *error)
{
	uint64_t us;

	if (r->has_timestamp)
		return fail_at(m, j, "timestamp", "given twice", error);
	r->has_timestamp = true;
	json_next(j);
	if (json_scaled(j, 1000, WL_MAX_TIME_NS / 1000, &us) != 0)
		return fail_at(m, j, "timestamp", "must be milliseconds from 0 to 36 years", error);
	r->timestamp = us * 1000;
	if (r->timestamp < m->last_ns)
		return fail_at(
			m, j, "timestamp", "must not be earlier than the line before", error);
	return KVF_OK;
}

static int read_ids(struct mooncake *m, struct json *j, struct record *r, struct wl_error *error)
{
	uint64_t id;

	if (r->has_ids)
		return fail_at(m, j, "hash_ids", "given twice", error);
	r->has_ids = true;
	m->id_count = 0;
	if (json_next(j) != JSON_ARRAY)
		return fail_at(m, j, "hash_ids", "must be an array of whole numbers", error);
	while (json_next(j) != JSON_ARRAY_END) {
		int rc;

		if (json_scaled(j, 1, INT64_MAX, &id) != 0)
			return fail_at(
				m, j, "hash_ids", "must hold whole numbers below 2^63", error);
		rc = wl_grow((void **)&m->ids, &m->id_cap, m->id_count + 1, sizeof(*m->ids), error);
		if (rc != KVF_OK)
			return rc;
		m->ids[m->id_count++] = wl_content_id(WL_SCOPE_GLOBAL, id);
	}
	return KVF_OK;
}

static int read_field(struct mooncake *m, struct json *j, struct record *r, struct wl_error *error)
{
	if (json_equal(j, "timestamp"))
		return read_timestamp(m, j, r, error);
	if (json_equal(j, "input_length"))
		return read_count(m, j, "input_length", WL_MAX_PROMPT_TOKENS, &r->input,
			&r->has_input, error);
	if (json_equal(j, "output_length"))
		return read_count(m, j, "output_length", WL_MAX_OUTPUT_TOKENS, &r->output,
			&r->has_output, error);
	if (json_equal(j, "hash_ids"))
		return read_ids(m, j, r, error);
	return json_skip(j) == 0 ? KVF_OK : fail_at(m, j, NULL, NULL, error);
}

static int check_record(const struct mooncake *m, const struct record *r, struct wl_error *error)
{
	const char *missing = !r->has_timestamp ? "timestamp"
			      : !r->has_input	? "input_length"
			      : !r->has_output	? "output_length"
			      : !r->has_ids	? "hash_ids"
						: NULL;
	uint64_t blocks = (r->input + m->block_tokens - 1) / m->block_tokens;

	if (missing)
		return wl_fail(error, KVF_EINVAL, "%s:%llu: %s: missing", m->name,
			(unsigned long long)m->line, missing);
	if (r->input == 0)
		return wl_fail(error, KVF_EINVAL, "%s:%llu: input_length: 0 is below 1", m->name,
			(unsigned long long)m->line);
	if (blocks != m->id_count)
		return wl_fail(error, KVF_EINVAL,
			"%s:%llu: hash_ids: %zu ids, but %llu tokens in blocks of %u make %llu",
			m->name, (unsigned long long)m->line, m->id_count,
			(unsigned long long)r->input, m->block_tokens, (unsigned long long)blocks);
	return KVF_OK;
}

static int parse_line(
	struct mooncake *m, const char *line, size_t len, struct record *r, struct wl_error *error)
{
	struct json j;
	int rc;

	memset(r, 0, sizeof(*r));
	m->id_count = 0;
	json_init(&j, line, len);
	if (json_next(&j) != JSON_OBJECT)
		return fail_at(m, &j, "request", "must be an object", error);
	while (json_next(&j) == JSON_KEY) {
		rc = read_field(m, &j, r, error);
		if (rc != KVF_OK)
			return rc;
	}
	if (j.type != JSON_OBJECT_END || json_next(&j) != JSON_END)
		return fail_at(m, &j, NULL, NULL, error);
	return check_record(m, r, error);
}

static bool is_blank(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
			return false;
	}
	return true;
}

static int mooncake_next(struct wl_source *s, struct wl_request *out, struct wl_error *error)
{
	struct mooncake *m = (struct mooncake *)(void *)s;
	const char *line = NULL;
	struct record r;
	size_t len = 0;
	int rc;

	do {
		rc = next_line(m, &line, &len, error);
		if (rc <= 0)
			return rc;
	} while (is_blank(line, len));
	rc = parse_line(m, line, len, &r, error);
	if (rc != KVF_OK)
		return rc;
	m->last_ns = r.timestamp;
	wl_request_init(out);
	out->index = out->session = m->index++;
	out->arrival_ns = r.timestamp;
	out->blocks = m->ids;
	out->block_count = m->id_count;
	out->block_tokens = m->block_tokens;
	out->prompt_tokens = r.input;
	out->output_tokens = r.output;
	out->session_ends = true;
	return 1;
}

static uint32_t mooncake_permille(const struct wl_source *s)
{
	const struct mooncake *m = (const struct mooncake *)(const void *)s;
	uint64_t done = m->bytes_read - (m->used - m->start);

	return m->bytes_total == 0 ? 1000 : (uint32_t)(done * 1000 / m->bytes_total);
}

static void mooncake_close(struct wl_source *s)
{
	struct mooncake *m = (struct mooncake *)(void *)s;

	if (m->file)
		fclose(m->file);
	free(m->name);
	free(m->buf);
	free(m->ids);
	free(m);
}

static struct mooncake *mooncake_new(
	const char *name, uint32_t block_tokens, struct wl_error *error)
{
	static const struct wl_source_ops ops = {mooncake_next, mooncake_permille, mooncake_close};
	struct mooncake *m = calloc(1, sizeof(*m));

	if (m && (m->name = strdup(name)) != NULL) {
		m->source.ops = &ops;
		m->block_tokens = block_tokens ? block_tokens : DEFAULT_BLOCK_TOKENS;
		return m;
	}
	free(m);
	wl_fail(error, KVF_ENOMEM, "%s: no memory", name);
	return NULL;
}

int wl_mooncake_open_bytes(const char *name, const char *data, size_t size, uint32_t block_tokens,
	struct wl_source **out, struct wl_error *error)
{
	struct mooncake *m = mooncake_new(name, block_tokens, error);

	if (!m)
		return KVF_ENOMEM;
	m->mem = data;
	m->bytes_total = size;
	*out = &m->source;
	return KVF_OK;
}

int wl_mooncake_open(
	const char *path, uint32_t block_tokens, struct wl_source **out, struct wl_error *error)
{
	struct mooncake *m = mooncake_new(path, block_tokens, error);
	long size;

	if (!m)
		return KVF_ENOMEM;
	m->file = fopen(path, "rb");
	if (!m->file) {
		wl_fail(error, KVF_EIO, "%s: cannot open: %s", path, strerror(errno));
		mooncake_close(&m->source);
		return KVF_EIO;
	}
	/* Only the progress needs the size; a pipe has none. */
	if (fseek(m->file, 0, SEEK_END) == 0 && (size = ftell(m->file)) > 0)
		m->bytes_total = (uint64_t)size;
	rewind(m->file);
	*out = &m->source;
	return KVF_OK;
}
