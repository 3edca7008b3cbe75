/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parser of coding-agent sessions. One JSON object a file:
 *
 *	block_size, hash_id_scope ("local": ids compare inside this file only, "global"), requests:
 *[ {t, in, out, hash_ids, api_time?, think_time?, type: "s" or "n", ...}, {type: "subagent", t,
 * requests: [...], ...} ]
 *
 * Times are in seconds; those of a sub-agent's requests count from the sub-agent's own start.
 * hash_ids names the full blocks of the prompt (an id for a partial last block is taken too). Where
 * a prompt ends inside a block, the block's id is taken from the next prompt of the session if that
 * one goes on from here, as its text begins the same; otherwise the tail gets an id of its own.
 */
#include "workload/coding_agent.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "workload/json.h"
#include "workload/tokens.h"

#define TAIL_ID (UINT64_C(1) << 63) /* ids of the file lie below */
#define PENDING 64
#define NS_PER_S UINT64_C(1000000000)

struct parser {
	struct ca_file *file;
	const char *name, *data;
	size_t size;
	uint64_t scope;
	struct wl_error *error;
	struct ca_ids scratch; /* hash_ids of the item at hand */
};

/* One list of requests: the session's own, or a sub-agent's. */
struct level {
	unsigned depth;
	uint32_t session, parent; /* parent: CA_NONE on top */
	uint32_t previous; /* the last request of this list */
	uint64_t base_ns, last_ns;
	struct ca_ids prompt; /* full blocks of `previous` */
	bool tail_given; /* the id of its tail came from the file */
	uint32_t fork_request; /* of the parent, for the first request */
	const struct ca_ids *fork_prompt;
	uint32_t pending[PENDING]; /* last requests of the sub-agents since `previous`, the latest
				      ones */
	size_t pending_count;
};

struct item {
	uint64_t t_ns, in, out, api_ns, think_ns;
	bool has_t, has_in, has_out, has_api, has_think, has_ids, has_requests, is_subagent;
	struct json at; /* the item's beginning, for errors */
	struct json requests;
};

static int fail_at(
	const struct parser *p, const struct json *j, const char *field, const char *what)
{
	int shown = j->text_len < 40 ? (int)j->text_len : 40;
	size_t line, column;

	json_locate(p->data, p->size, j->offset, &line, &column);
	if (j->type == JSON_ERROR)
		return wl_fail(p->error, KVF_EINVAL, "%s:%zu:%zu: %s%s%s", p->name, line, column,
			field ? field : "", field ? ": " : "", j->error);
	return wl_fail(p->error, KVF_EINVAL, "%s:%zu:%zu: %s: %s, found %s '%.*s'", p->name, line,
		column, field, what, json_type_name(j->type), shown, j->text);
}

/* The value of the key just read, a number * unit. */
static int read_number(const struct parser *p, struct json *j, const char *field, uint64_t unit,
	uint64_t max, uint64_t *out, bool *has)
{
	char what[96];

	if (*has)
		return fail_at(p, j, field, "given twice");
	*has = true;
	json_next(j);
	if (json_scaled(j, unit, max, out) == 0)
		return KVF_OK;
	snprintf(what, sizeof(what), "must be a %snumber from 0 to %llu", unit == 1 ? "whole " : "",
		(unsigned long long)(max / unit));
	return fail_at(p, j, field, what);
}

static int read_ids(struct parser *p, struct json *j, struct item *item)
{
	uint64_t id;
	int rc;

	if (item->has_ids)
		return fail_at(p, j, "hash_ids", "given twice");
	item->has_ids = true;
	p->scratch.n = 0;
	if (json_next(j) != JSON_ARRAY)
		return fail_at(p, j, "hash_ids", "must be an array of whole numbers");
	while (json_next(j) != JSON_ARRAY_END) {
		if (json_scaled(j, 1, INT64_MAX, &id) != 0)
			return fail_at(p, j, "hash_ids", "must hold whole numbers below 2^63");
		rc = wl_grow((void **)&p->scratch.v, &p->scratch.cap, p->scratch.n + 1, sizeof(id),
			p->error);
		if (rc != KVF_OK)
			return rc;
		p->scratch.v[p->scratch.n++] = wl_content_id(p->scope, id);
	}
	return KVF_OK;
}

/* Remembers where the array stands and moves past it: what it means depends on keys that may
 * follow. */
static int save_requests(const struct parser *p, struct json *j, struct json *saved, bool *has)
{
	if (*has)
		return fail_at(p, j, "requests", "given twice");
	*has = true;
	if (json_next(j) != JSON_ARRAY)
		return fail_at(p, j, "requests", "must be an array");
	*saved = *j;
	return json_skip(j) == 0 ? KVF_OK : fail_at(p, j, "requests", NULL);
}

static int read_item_field(struct parser *p, struct json *j, struct item *item)
{
	if (json_equal(j, "hash_ids"))
		return read_ids(p, j, item);
	if (json_equal(j, "t"))
		return read_number(p, j, "t", NS_PER_S, WL_MAX_TIME_NS, &item->t_ns, &item->has_t);
	if (json_equal(j, "in"))
		return read_number(p, j, "in", 1, WL_MAX_PROMPT_TOKENS, &item->in, &item->has_in);
	if (json_equal(j, "out"))
		return read_number(
			p, j, "out", 1, WL_MAX_OUTPUT_TOKENS, &item->out, &item->has_out);
	if (json_equal(j, "api_time"))
		return read_number(
			p, j, "api_time", NS_PER_S, WL_MAX_TIME_NS, &item->api_ns, &item->has_api);
	if (json_equal(j, "think_time"))
		return read_number(p, j, "think_time", NS_PER_S, WL_MAX_TIME_NS, &item->think_ns,
			&item->has_think);
	if (json_equal(j, "requests"))
		return save_requests(p, j, &item->requests, &item->has_requests);
	if (json_equal(j, "type")) {
		if (json_next(j) != JSON_STRING)
			return fail_at(p, j, "type", "must be a string");
		item->is_subagent = json_equal(j, "subagent");
		return KVF_OK;
	}
	return json_skip(j) == 0 ? KVF_OK : fail_at(p, j, NULL, NULL);
}

static int fail_item(const struct parser *p, const struct item *item, const char *fmt, ...)
	KVF_PRINTF(3, 4);

static int fail_item(const struct parser *p, const struct item *item, const char *fmt, ...)
{
	size_t line, column;
	char what[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	json_locate(p->data, p->size, item->at.offset, &line, &column);
	return wl_fail(p->error, KVF_EINVAL, "%s:%zu:%zu: %s", p->name, line, column, what);
}

static int check_item(const struct parser *p, const struct item *item)
{
	uint32_t block = p->file->block_tokens;
	uint64_t full = item->in / block;
	const char *missing = !item->has_t				? "t"
			      : item->is_subagent && item->has_requests ? NULL
			      : item->is_subagent			? "requests"
			      : item->has_requests			? "type \"subagent\""
			      : !item->has_in				? "in"
			      : !item->has_out				? "out"
			      : !item->has_ids				? "hash_ids"
									: NULL;

	if (missing)
		return fail_item(p, item, "%s: missing in this request", missing);
	if (item->is_subagent)
		return KVF_OK;
	if (item->in == 0)
		return fail_item(p, item, "in: 0 is below 1");
	if (p->scratch.n != full && p->scratch.n != full + (item->in % block != 0))
		return fail_item(p, item,
			"hash_ids: %zu ids, but %llu tokens hold %llu full blocks of %u",
			p->scratch.n, (unsigned long long)item->in, (unsigned long long)full,
			block);
	return KVF_OK;
}

static size_t common(const struct ca_ids *a, const struct ca_ids *b)
{
	size_t i = 0;

	while (i < a->n && i < b->n && a->v[i] == b->v[i])
		i++;
	return i;
}

/* What this request shares with the one before it in its list; settles that one's tail. */
static void relate_previous(
	const struct parser *p, struct level *lv, struct ca_request *r, bool tail_given)
{
	struct ca_request *prev = &p->file->requests[lv->previous];
	size_t keep = common(&lv->prompt, &p->scratch);
	uint32_t block = p->file->block_tokens;

	prev->session_ends = false;
	r->keep_blocks = (uint32_t)keep;
	r->keep_tokens = (uint64_t)keep * block;
	r->rewrites_prefix = lv->prompt.n - keep > 1;
	if (keep < lv->prompt.n || prev->in_tokens % block == 0 || r->in_tokens < prev->in_tokens ||
		(keep == p->scratch.n && !tail_given))
		return;
	if (!lv->tail_given)
		prev->tail_id = p->scratch.v[keep];
	if (prev->tail_id == p->scratch.v[keep])
		r->keep_tokens = prev->in_tokens;
}

/* The latest of what must have been answered before this request. */
static void choose_after(
	const struct parser *p, struct level *lv, struct ca_request *r, const struct item *item)
{
	const struct ca_request *requests = p->file->requests, *a;
	uint64_t since;

	r->after = lv->previous != CA_NONE ? lv->previous : lv->fork_request;
	for (size_t i = 0; i < lv->pending_count && i < PENDING; i++) {
		const struct ca_request *sub = &requests[lv->pending[i]];

		if (sub->t_ns <= r->t_ns &&
			(r->after == CA_NONE || sub->t_ns > requests[r->after].t_ns))
			r->after = lv->pending[i];
	}
	lv->pending_count = 0;
	if (r->after == CA_NONE)
		return;
	a = &requests[r->after];
	since = r->t_ns - a->t_ns;
	if (a->service_ns > 0)
		r->gap_ns = since > a->service_ns ? since - a->service_ns : 0;
	else
		r->gap_ns = item->has_think && item->think_ns < since ? item->think_ns : since;
}

static int append_blocks(struct parser *p, struct ca_request *r)
{
	struct ca_ids *ids = &p->file->ids;
	size_t count = p->scratch.n - r->keep_blocks;
	int rc =
		wl_grow((void **)&ids->v, &ids->cap, ids->n + count + 1, sizeof(*ids->v), p->error);

	if (rc != KVF_OK)
		return rc;
	if (count > 0)
		memcpy(ids->v + ids->n, p->scratch.v + r->keep_blocks, count * sizeof(*ids->v));
	r->new_at = ids->n;
	r->new_count = (uint32_t)count;
	ids->n += count;
	return KVF_OK;
}

/* Makes room for a request and for its number to stay below CA_NONE. */
static int new_request(struct parser *p, struct ca_request **out)
{
	struct ca_file *f = p->file;
	int rc;

	if (f->request_count == CA_MAX_REQUESTS)
		return wl_fail(p->error, KVF_ERANGE, "%s: more than %u requests", p->name,
			CA_MAX_REQUESTS);
	rc = wl_grow((void **)&f->requests, &f->request_cap, f->request_count + 1,
		sizeof(*f->requests), p->error);
	if (rc != KVF_OK)
		return rc;
	*out = &f->requests[f->request_count];
	memset(*out, 0, sizeof(**out));
	return KVF_OK;
}

static int add_request(struct parser *p, struct level *lv, const struct item *item)
{
	uint64_t full = item->in / p->file->block_tokens;
	bool tail_given = p->scratch.n > full;
	struct ca_request *r = NULL;
	struct ca_ids swap;
	int rc = new_request(p, &r);

	if (rc != KVF_OK)
		return rc;
	p->scratch.n = (size_t)full;
	r->t_ns = lv->last_ns;
	r->in_tokens = item->in;
	r->out_tokens = item->out;
	r->service_ns = item->api_ns;
	r->session = lv->session;
	r->parent = r->fork_request = CA_NONE;
	r->session_ends = true;
	r->tail_id = tail_given ? p->scratch.v[full]
				: wl_content_id(p->scope, TAIL_ID | p->file->request_count);
	if (lv->previous != CA_NONE) {
		relate_previous(p, lv, r, tail_given);
	} else if (lv->parent != CA_NONE) {
		r->parent = lv->parent;
		r->fork_request = lv->fork_request;
		r->fork_tokens =
			(uint64_t)common(lv->fork_prompt, &p->scratch) * p->file->block_tokens;
		r->keep_tokens = r->fork_tokens;
	}
	choose_after(p, lv, r, item);
	rc = append_blocks(p, r);
	if (rc != KVF_OK)
		return rc;
	lv->previous = (uint32_t)p->file->request_count++;
	lv->tail_given = tail_given;
	swap = lv->prompt;
	lv->prompt = p->scratch;
	p->scratch = swap;
	return KVF_OK;
}

static int parse_requests(struct parser *p, struct level *lv, struct json *j);

static int add_subagent(struct parser *p, struct level *lv, const struct item *item)
{
	struct level sub;
	struct json j = item->requests;
	int rc;

	if (lv->depth + 1 == CA_MAX_LEVELS)
		return fail_item(p, item, "requests: sub-agents nested more than %d deep",
			CA_MAX_LEVELS - 1);
	memset(&sub, 0, sizeof(sub));
	sub.depth = lv->depth + 1;
	sub.session = p->file->session_count;
	sub.parent = lv->session;
	sub.previous = CA_NONE;
	sub.base_ns = sub.last_ns = lv->last_ns;
	sub.fork_request = lv->previous;
	sub.fork_prompt = &lv->prompt;
	p->file->session_count++;
	rc = parse_requests(p, &sub, &j);
	if (rc == KVF_OK && sub.previous != CA_NONE)
		lv->pending[lv->pending_count++ % PENDING] = sub.previous;
	free(sub.prompt.v);
	return rc;
}

static int parse_item(struct parser *p, struct level *lv, struct json *j)
{
	struct item item;
	uint64_t t;
	int rc;

	memset(&item, 0, sizeof(item));
	item.at = *j;
	if (j->type != JSON_OBJECT)
		return fail_at(p, j, "requests", "must hold objects");
	p->scratch.n = 0;
	while (json_next(j) == JSON_KEY) {
		rc = read_item_field(p, j, &item);
		if (rc != KVF_OK)
			return rc;
	}
	if (j->type != JSON_OBJECT_END)
		return fail_at(p, j, NULL, NULL);
	rc = check_item(p, &item);
	if (rc != KVF_OK)
		return rc;
	/* A list is in order; a clock that stepped back must not undo that. */
	t = lv->base_ns + item.t_ns;
	if (t > lv->last_ns)
		lv->last_ns = t;
	return item.is_subagent ? add_subagent(p, lv, &item) : add_request(p, lv, &item);
}

static int parse_requests(struct parser *p, struct level *lv, struct json *j)
{
	int rc;

	while (json_next(j) != JSON_ARRAY_END) {
		if (j->type == JSON_ERROR)
			return fail_at(p, j, "requests", NULL);
		rc = parse_item(p, lv, j);
		if (rc != KVF_OK)
			return rc;
	}
	return KVF_OK;
}

/* The keys of the file itself. */
static int parse_top(struct parser *p, struct json *requests)
{
	bool has_block = false, has_requests = false;
	uint64_t block = 0;
	struct json j;
	int rc = KVF_OK;

	json_init(&j, p->data, p->size);
	if (json_next(&j) != JSON_OBJECT)
		return fail_at(p, &j, "session", "must be an object");
	while (json_next(&j) == JSON_KEY) {
		if (json_equal(&j, "block_size")) {
			rc = read_number(
				p, &j, "block_size", 1, WL_MAX_BLOCK_TOKENS, &block, &has_block);
			if (rc == KVF_OK && block == 0)
				return fail_at(p, &j, "block_size", "must be above 0");
		} else if (json_equal(&j, "hash_id_scope")) {
			json_next(&j);
			if (json_equal(&j, "global"))
				p->scope = WL_SCOPE_GLOBAL;
			else if (!json_equal(&j, "local"))
				return fail_at(
					p, &j, "hash_id_scope", "must be \"local\" or \"global\"");
		} else if (json_equal(&j, "requests")) {
			rc = save_requests(p, &j, requests, &has_requests);
		} else if (json_skip(&j) != 0) {
			return fail_at(p, &j, NULL, NULL);
		}
		if (rc != KVF_OK)
			return rc;
	}
	if (j.type != JSON_OBJECT_END || json_next(&j) != JSON_END)
		return fail_at(p, &j, NULL, NULL);
	if (!has_block || !has_requests)
		return wl_fail(p->error, KVF_EINVAL, "%s: %s: missing", p->name,
			has_block ? "requests" : "block_size");
	p->file->block_tokens = (uint32_t)block;
	return KVF_OK;
}

int ca_parse(struct ca_file *file, const char *name, const char *data, size_t size, uint64_t scope,
	struct wl_error *error)
{
	struct parser p = {file, name, data, size, scope, error, {0}};
	struct json requests;
	struct level top;
	int rc;

	memset(&top, 0, sizeof(top));
	top.parent = top.previous = top.fork_request = CA_NONE;
	rc = parse_top(&p, &requests);
	if (rc == KVF_OK) {
		file->session_count = 1;
		rc = parse_requests(&p, &top, &requests);
	}
	free(top.prompt.v);
	free(p.scratch.v);
	return rc;
}

void ca_free(struct ca_file *file)
{
	free(file->requests);
	free(file->ids.v);
	memset(file, 0, sizeof(*file));
}
