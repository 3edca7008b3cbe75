/* SPDX-License-Identifier: Apache-2.0 */
/* Merges the sources of a workload by time of arrival and numbers their requests and sessions. */
#include "workload/workload.h"

#include <stdlib.h>
#include <string.h>

#include "workload/paths.h"
#include "workload/source.h"
#include "workload/tokens.h"

struct map {
	uint64_t *v;
	size_t n, cap;
};

struct entry {
	struct wl_source *source;
	uint64_t start_ns; /* added to all its arrivals */
	uint64_t key_ns; /* arrival of `pending`; before the first request: start_ns, a lower bound
			  */
	bool started;
	struct wl_request pending;
	struct map requests, sessions; /* number in the source -> number in the workload */
};

struct workload {
	struct entry *entries;
	size_t entry_count, entry_cap;
	uint32_t *heap; /* entries that have more, by (key_ns, position) */
	size_t heap_count;
	uint32_t held; /* its pending request was handed out; UINT32_MAX: none */
	uint64_t limit;
	uint64_t finished; /* entries closed */
	struct wl_totals totals;
	struct wl_error error;
	int status;
};

static bool before(const struct workload *w, uint32_t a, uint32_t b)
{
	uint64_t ka = w->entries[a].key_ns, kb = w->entries[b].key_ns;

	return ka != kb ? ka < kb : a < b;
}

static void heap_down(struct workload *w)
{
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;
		uint32_t t = w->heap[i];

		if (child >= w->heap_count)
			return;
		if (child + 1 < w->heap_count && before(w, w->heap[child + 1], w->heap[child]))
			child++;
		if (!before(w, w->heap[child], t))
			return;
		w->heap[i] = w->heap[child];
		w->heap[child] = t;
		i = child;
	}
}

static void heap_push(struct workload *w, uint32_t e)
{
	size_t i = w->heap_count++;

	while (i > 0 && before(w, e, w->heap[(i - 1) / 2])) {
		w->heap[i] = w->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	w->heap[i] = e;
}

static void entry_close(struct entry *e)
{
	if (e->source)
		e->source->ops->close(e->source);
	free(e->requests.v);
	free(e->sessions.v);
	memset(e, 0, sizeof(*e));
}

/* Reads the next request of the heap's first entry and puts the entry where it now belongs. */
static int advance_top(struct workload *w)
{
	struct entry *e = &w->entries[w->heap[0]];
	int rc = e->source->ops->next(e->source, &e->pending, &w->error);

	if (rc < 0)
		return rc;
	if (rc == 0) {
		entry_close(e);
		w->finished++;
		w->heap[0] = w->heap[--w->heap_count];
	} else {
		e->started = true;
		e->key_ns = e->start_ns + e->pending.arrival_ns;
	}
	heap_down(w);
	return KVF_OK;
}

static int map_session(struct workload *w, struct entry *e, uint64_t *session)
{
	size_t old = e->sessions.cap;
	int rc;

	if (*session == WL_NONE)
		return KVF_OK;
	rc = wl_grow((void **)&e->sessions.v, &e->sessions.cap, (size_t)*session + 1,
		sizeof(uint64_t), &w->error);
	if (rc != KVF_OK)
		return rc;
	for (size_t i = old; i < e->sessions.cap; i++)
		e->sessions.v[i] = WL_NONE;
	if (e->sessions.v[*session] == WL_NONE)
		e->sessions.v[*session] = w->totals.sessions++;
	*session = e->sessions.v[*session];
	return KVF_OK;
}

/* From the source's numbers to the workload's. */
static int renumber(struct workload *w, struct entry *e, struct wl_request *r)
{
	int rc = map_session(w, e, &r->parent);

	if (rc == KVF_OK)
		rc = map_session(w, e, &r->session);
	if (rc == KVF_OK)
		rc = wl_grow((void **)&e->requests.v, &e->requests.cap, e->requests.n + 1,
			sizeof(uint64_t), &w->error);
	if (rc != KVF_OK)
		return rc;
	r->index = w->totals.requests;
	e->requests.v[e->requests.n++] = r->index;
	if (r->after != WL_NONE)
		r->after = e->requests.v[r->after];
	if (r->fork_request != WL_NONE)
		r->fork_request = e->requests.v[r->fork_request];
	r->arrival_ns = e->key_ns;
	return KVF_OK;
}

static void count(struct wl_totals *t, const struct wl_request *r)
{
	t->requests++;
	t->forks += r->parent != WL_NONE;
	t->rewrites += r->rewrites_prefix;
	t->prompt_tokens += r->prompt_tokens;
	t->output_tokens += r->output_tokens;
	if (r->prompt_tokens > t->max_prompt_tokens)
		t->max_prompt_tokens = r->prompt_tokens;
	t->last_arrival_ns = r->arrival_ns;
}

static int next(struct workload *w, struct wl_request *out)
{
	struct entry *e;
	int rc;

	/* The request handed out last lives in its source, which may move on only now. */
	if (w->held != UINT32_MAX) {
		w->held = UINT32_MAX;
		rc = advance_top(w);
		if (rc != KVF_OK)
			return rc;
	}
	while (w->heap_count > 0 && !w->entries[w->heap[0]].started) {
		rc = advance_top(w);
		if (rc != KVF_OK)
			return rc;
	}
	if (w->heap_count == 0)
		return 0;
	w->held = w->heap[0];
	e = &w->entries[w->held];
	*out = e->pending;
	rc = renumber(w, e, out);
	if (rc != KVF_OK)
		return rc;
	count(&w->totals, out);
	return 1;
}

int wl_next(struct workload *w, struct wl_request *out)
{
	int rc;

	if (w->status < 0)
		return w->status;
	if (w->limit > 0 && w->totals.requests >= w->limit)
		return 0;
	rc = next(w, out);
	if (rc < 0)
		w->status = rc;
	return rc;
}

const char *wl_error_text(const struct workload *w)
{
	return w->error.text;
}

const struct wl_totals *wl_totals(const struct workload *w)
{
	return &w->totals;
}

uint32_t wl_permille(const struct workload *w)
{
	uint64_t sum = w->finished * 1000, part = 0;

	for (size_t i = 0; i < w->heap_count; i++) {
		const struct wl_source *s = w->entries[w->heap[i]].source;

		sum += s->ops->permille(s);
	}
	if (w->limit > 0)
		part = w->totals.requests * 1000 / w->limit;
	sum = w->entry_count > 0 ? sum / w->entry_count : 1000;
	sum = sum > part ? sum : part;
	return sum < 1000 ? (uint32_t)sum : 1000;
}

void wl_close(struct workload *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->entry_count; i++)
		entry_close(&w->entries[i]);
	free(w->entries);
	free(w->heap);
	free(w);
}

static int add_source(
	struct workload *w, struct wl_source *source, uint64_t start_ns, struct wl_error *error)
{
	struct entry *e;
	int rc = wl_grow((void **)&w->entries, &w->entry_cap, w->entry_count + 1,
		sizeof(*w->entries), error);

	if (rc != KVF_OK) {
		source->ops->close(source);
		return rc;
	}
	e = &w->entries[w->entry_count++];
	memset(e, 0, sizeof(*e));
	e->source = source;
	e->start_ns = e->key_ns = start_ns;
	return KVF_OK;
}

static int add_file(struct workload *w, const struct wl_options *o, const struct wl_path *path,
	struct wl_error *error)
{
	enum wl_format format = o->format;
	struct wl_source *source;
	uint64_t start = 0;
	struct wl_rng rng;
	int rc = KVF_OK;

	if (format == WL_FORMAT_AUTO)
		rc = wl_path_sniff(path->path, &format, error);
	if (rc != KVF_OK)
		return rc;
	if (format == WL_FORMAT_MOONCAKE) {
		rc = wl_mooncake_open(path->path, o->block_tokens, &source, error);
	} else {
		wl_rng_seed(&rng, o->seed ^ path->scope);
		start = o->spread_ns > 0 ? wl_rng_below(&rng, o->spread_ns) : 0;
		rc = wl_coding_agent_open(path->path, path->scope, &source, error);
	}
	return rc == KVF_OK ? add_source(w, source, start, error) : rc;
}

static int add_paths(struct workload *w, const struct wl_options *o, struct wl_error *error)
{
	struct wl_paths paths = {0};
	int rc = KVF_OK;

	for (size_t i = 0; i < o->source_count && rc == KVF_OK; i++) {
		if (!wl_is_builtin(o->sources[i]))
			rc = wl_paths_collect(&paths, o->sources[i], o->format, error);
	}
	if (rc == KVF_OK)
		rc = wl_paths_scopes(&paths, error);
	for (size_t i = 0; i < paths.n && rc == KVF_OK; i++)
		rc = add_file(w, o, &paths.v[i], error);
	wl_paths_free(&paths);
	return rc;
}

static int add_builtins(struct workload *w, const struct wl_options *o, struct wl_error *error)
{
	for (size_t i = 0; i < o->source_count; i++) {
		struct wl_source *source;
		int rc;

		if (!wl_is_builtin(o->sources[i]))
			continue;
		rc = wl_builtin_open(o->sources[i], o->seed, o->block_tokens, &source, error);
		if (rc == KVF_OK)
			rc = add_source(w, source, 0, error);
		if (rc != KVF_OK)
			return rc;
	}
	return KVF_OK;
}

static int check_options(const struct wl_options *o, struct wl_error *error)
{
	if (o->source_count == 0)
		return wl_fail(error, KVF_EINVAL, "no trace and no builtin:NAME given");
	if (o->block_tokens > WL_MAX_BLOCK_TOKENS)
		return wl_fail(error, KVF_ERANGE, "block_tokens: %u is above %u", o->block_tokens,
			WL_MAX_BLOCK_TOKENS);
	if (o->spread_ns > WL_MAX_TIME_NS)
		return wl_fail(error, KVF_ERANGE, "spread_ns: above 36 years");
	return KVF_OK;
}

int wl_open(struct workload **out, const struct wl_options *options, struct wl_error *error)
{
	struct wl_error unused;
	struct workload *w;
	int rc;

	error = error ? error : &unused;
	rc = check_options(options, error);
	if (rc != KVF_OK)
		return rc;
	w = calloc(1, sizeof(*w));
	if (!w)
		return wl_fail(error, KVF_ENOMEM, "no memory for a workload");
	w->held = UINT32_MAX;
	w->limit = options->limit;
	rc = add_paths(w, options, error);
	if (rc == KVF_OK)
		rc = add_builtins(w, options, error);
	if (rc == KVF_OK) {
		w->heap = malloc(w->entry_count * sizeof(*w->heap));
		if (!w->heap)
			rc = wl_fail(
				error, KVF_ENOMEM, "no memory for %zu sources", w->entry_count);
	}
	if (rc != KVF_OK) {
		wl_close(w);
		return rc;
	}
	for (size_t i = 0; i < w->entry_count; i++)
		heap_push(w, (uint32_t)i);
	*out = w;
	return KVF_OK;
}
