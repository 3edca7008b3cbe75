/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coding-agent sessions: turns a parsed file (coding_agent_parse.c) into requests in order of time.
 * The file is read at the first request, so that a directory of sessions holds only those in memory
 * that have started.
 */
#include "workload/coding_agent.h"

#include <stdlib.h>
#include <string.h>

struct agent_source {
	struct wl_source source;
	char *path;
	const char *mem; /* NULL: the file */
	size_t mem_size;
	uint64_t scope;
	bool loaded;
	struct ca_file file;
	uint32_t *order; /* positions of file.requests by time */
	uint64_t *place; /* the inverse */
	struct ca_ids *prompts; /* of each session, as of its last request */
	uint64_t *turns;
	size_t at;
};

static int load(struct agent_source *a, struct wl_error *error)
{
	char *data = NULL;
	size_t size = a->mem_size;
	int rc;

	if (!a->mem) {
		rc = wl_read_file(a->path, WL_MAX_FILE_BYTES, &data, &size, error);
		if (rc != KVF_OK)
			return rc;
	}
	rc = ca_parse(&a->file, a->path, a->mem ? a->mem : data, size, a->scope, error);
	free(data);
	return rc;
}

/* Stable: equal times keep the order of the file, in which everything stands after what it depends
 * on. */
static void sort_by_time(const struct ca_request *r, uint32_t *order, uint32_t *tmp, size_t n)
{
	size_t half = n / 2, i = 0, j = half, k = 0;

	if (n < 2)
		return;
	sort_by_time(r, order, tmp, half);
	sort_by_time(r, order + half, tmp, n - half);
	while (i < half && j < n)
		tmp[k++] = r[order[j]].t_ns < r[order[i]].t_ns ? order[j++] : order[i++];
	while (i < half)
		tmp[k++] = order[i++];
	while (j < n)
		tmp[k++] = order[j++];
	memcpy(order, tmp, n * sizeof(*order));
}

static int arrange(struct agent_source *a, struct wl_error *error)
{
	size_t n = a->file.request_count, sessions = a->file.session_count;
	uint32_t *tmp = malloc((n + 1) * sizeof(*tmp));

	a->order = malloc((n + 1) * sizeof(*a->order));
	a->place = malloc((n + 1) * sizeof(*a->place));
	a->prompts = calloc(sessions + 1, sizeof(*a->prompts));
	a->turns = calloc(sessions + 1, sizeof(*a->turns));
	if (!tmp || !a->order || !a->place || !a->prompts || !a->turns) {
		free(tmp);
		return wl_fail(error, KVF_ENOMEM, "%s: no memory for %zu requests", a->path, n);
	}
	for (size_t i = 0; i < n; i++)
		a->order[i] = (uint32_t)i;
	sort_by_time(a->file.requests, a->order, tmp, n);
	for (size_t i = 0; i < n; i++)
		a->place[a->order[i]] = i;
	free(tmp);
	return KVF_OK;
}

/* Brings the session's prompt up to this request. */
static int set_prompt(struct agent_source *a, const struct ca_request *r, struct wl_error *error)
{
	struct ca_ids *p = &a->prompts[r->session];
	size_t want = (size_t)r->keep_blocks + r->new_count;
	int rc = wl_grow((void **)&p->v, &p->cap, want + 1, sizeof(*p->v), error);

	if (rc != KVF_OK)
		return rc;
	if (r->new_count > 0)
		memcpy(p->v + r->keep_blocks, a->file.ids.v + r->new_at,
			r->new_count * sizeof(*p->v));
	p->n = want;
	if (r->in_tokens % a->file.block_tokens != 0)
		p->v[want] = r->tail_id; /* one past p->n: the next request does not keep it */
	return KVF_OK;
}

static uint64_t place_of(const struct agent_source *a, uint32_t request)
{
	return request == CA_NONE ? WL_NONE : a->place[request];
}

static int agent_next(struct wl_source *s, struct wl_request *out, struct wl_error *error)
{
	struct agent_source *a = (struct agent_source *)(void *)s;
	const struct ca_request *r;
	int rc;

	if (!a->loaded) {
		rc = load(a, error);
		if (rc == KVF_OK)
			rc = arrange(a, error);
		if (rc != KVF_OK)
			return rc;
		a->loaded = true;
	}
	if (a->at == a->file.request_count)
		return 0;
	r = &a->file.requests[a->order[a->at]];
	rc = set_prompt(a, r, error);
	if (rc != KVF_OK)
		return rc;
	wl_request_init(out);
	out->index = a->at++;
	out->session = r->session;
	out->turn = a->turns[r->session]++;
	out->arrival_ns = r->t_ns;
	out->service_ns = r->service_ns;
	out->after = place_of(a, r->after);
	out->gap_ns = r->gap_ns;
	out->blocks = a->prompts[r->session].v;
	out->block_tokens = a->file.block_tokens;
	out->block_count = (size_t)((r->in_tokens + out->block_tokens - 1) / out->block_tokens);
	out->prompt_tokens = r->in_tokens;
	out->output_tokens = r->out_tokens;
	out->keep_tokens = r->keep_tokens;
	out->rewrites_prefix = r->rewrites_prefix;
	out->session_ends = r->session_ends;
	if (r->parent != CA_NONE) {
		out->parent = r->parent;
		out->fork_request = place_of(a, r->fork_request);
		out->fork_tokens = r->fork_tokens;
	}
	return 1;
}

static uint32_t agent_permille(const struct wl_source *s)
{
	const struct agent_source *a = (const struct agent_source *)(const void *)s;

	if (!a->loaded)
		return 0;
	return a->file.request_count == 0 ? 1000 : (uint32_t)(a->at * 1000 / a->file.request_count);
}

static void agent_close(struct wl_source *s)
{
	struct agent_source *a = (struct agent_source *)(void *)s;

	for (size_t i = 0; a->prompts && i < a->file.session_count; i++)
		free(a->prompts[i].v);
	free(a->prompts);
	free(a->turns);
	free(a->order);
	free(a->place);
	ca_free(&a->file);
	free(a->path);
	free(a);
}

static int agent_open(const char *path, const char *data, size_t size, uint64_t scope,
	struct wl_source **out, struct wl_error *error)
{
	static const struct wl_source_ops ops = {agent_next, agent_permille, agent_close};
	struct agent_source *a = calloc(1, sizeof(*a));

	if (!a || (a->path = strdup(path)) == NULL) {
		free(a);
		return wl_fail(error, KVF_ENOMEM, "%s: no memory", path);
	}
	a->source.ops = &ops;
	a->mem = data;
	a->mem_size = size;
	a->scope = scope;
	*out = &a->source;
	return KVF_OK;
}

int wl_coding_agent_open(
	const char *path, uint64_t scope, struct wl_source **out, struct wl_error *error)
{
	return agent_open(path, NULL, 0, scope, out, error);
}

int wl_coding_agent_open_bytes(const char *name, const char *data, size_t size, uint64_t scope,
	struct wl_source **out, struct wl_error *error)
{
	return agent_open(name, data ? data : "", size, scope, out, error);
}
