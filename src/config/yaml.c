/* SPDX-License-Identifier: Apache-2.0 */
/* libyaml's events -> keys and values. See yaml.h. */
#include "config/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/compiler.h"

struct reader {
	struct kvf_mem *mem;
	yaml_parser_t parser;
	yaml_event_t event;
	bool have_event;
	struct kvf_yaml_error *error;
	kvf_yaml_fn fn;
	void *arg;
	unsigned int keys;
	char name[KVF_YAML_NAME_MAX + 1];
	char *text; /* the value at hand */
	size_t used;
	size_t cap;
	bool comma;
};

static uint32_t line_of(const struct reader *r)
{
	return (uint32_t)r->event.start_mark.line + 1;
}

static int fail(struct reader *r, uint32_t line, const char *fmt, ...) KVF_PRINTF(3, 4);

static int fail(struct reader *r, uint32_t line, const char *fmt, ...)
{
	va_list args;

	r->error->line = line;
	va_start(args, fmt);
	vsnprintf(r->error->text, sizeof(r->error->text), fmt, args);
	va_end(args);
	return KVF_ECONFIG;
}

static void drop_event(struct reader *r)
{
	if (r->have_event)
		yaml_event_delete(&r->event);
	r->have_event = false;
}

/* Whatever is refused wherever it stands. */
static int refuse_features(struct reader *r)
{
	const yaml_event_t *e = &r->event;
	const yaml_char_t *anchor = NULL;
	const yaml_char_t *tag = NULL;

	if (e->type == YAML_ALIAS_EVENT)
		return fail(r, line_of(r), "an alias (*%.40s) is not accepted; write the value out",
			(const char *)e->data.alias.anchor);
	if (e->type == YAML_SCALAR_EVENT) {
		anchor = e->data.scalar.anchor;
		tag = e->data.scalar.tag;
		if (memchr(e->data.scalar.value, 0, e->data.scalar.length))
			return fail(r, line_of(r), "a zero byte inside a value");
	} else if (e->type == YAML_SEQUENCE_START_EVENT) {
		anchor = e->data.sequence_start.anchor;
		tag = e->data.sequence_start.tag;
	} else if (e->type == YAML_MAPPING_START_EVENT) {
		anchor = e->data.mapping_start.anchor;
		tag = e->data.mapping_start.tag;
	}
	if (anchor)
		return fail(
			r, line_of(r), "an anchor (&%.40s) is not accepted", (const char *)anchor);
	if (tag)
		return fail(r, line_of(r), "a tag (%.60s) is not accepted", (const char *)tag);
	return KVF_OK;
}

/* libyaml notices an unfinished key or quote only where something else begins: show where it
 * started. */
static uint32_t problem_line(const yaml_parser_t *p)
{
	bool inside_token = p->error == YAML_SCANNER_ERROR && p->context &&
			    (strstr(p->context, "simple key") || strstr(p->context, "quoted"));

	return (uint32_t)(inside_token ? p->context_mark.line : p->problem_mark.line) + 1;
}

static int next(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;

	drop_event(r);
	if (yaml_parser_parse(&r->parser, &r->event)) {
		r->have_event = true;
		return refuse_features(r);
	}
	if (p->error == YAML_MEMORY_ERROR)
		return KVF_ENOMEM;
	return fail(r, problem_line(p), "this is not YAML: %s%s%s",
		p->problem ? p->problem : "it cannot be read", p->context ? ", " : "",
		p->context ? p->context : "");
}

/* ------------------------------------------------------------------------------------------------------------------
 * The text of one value
 */

static int put(struct reader *r, const char *s, size_t n)
{
	void *text = r->text;
	int rc = kvf_mem_grow(r->mem, &text, &r->cap, r->used + n + 1 + KVF_VALUE_SLACK, 1);

	if (rc != KVF_OK)
		return rc;
	r->text = text;
	memcpy(r->text + r->used, s, n);
	r->used += n;
	r->text[r->used] = '\0';
	return KVF_OK;
}

static bool is_null(const char *s)
{
	return !*s || strcmp(s, "~") == 0 || strcmp(s, "null") == 0 || strcmp(s, "Null") == 0 ||
	       strcmp(s, "NULL") == 0;
}

static int scalar(struct reader *r, enum kvf_form *form)
{
	const char *value = (const char *)r->event.data.scalar.value;
	bool plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

	*form = !plain ? KVF_FORM_QUOTED : is_null(value) ? KVF_FORM_NULL : KVF_FORM_PLAIN;
	return put(r, value, r->event.data.scalar.length);
}

struct level {
	bool map;
	unsigned int n; /* nodes so far */
};

/* What stands between the nodes of a list or map. */
static int separate(struct reader *r, struct level *in)
{
	bool is_value = in->map && in->n % 2 == 1;

	if (in->n++ == 0)
		return KVF_OK;
	return put(r, is_value ? ":" : ",", 1);
}

/* One event inside a list or map. *depth is 0 after its end. */
static int node(struct reader *r, struct level *levels, unsigned int *depth)
{
	struct level *in = &levels[*depth - 1];
	const char *value;
	int rc;

	switch (r->event.type) {
	case YAML_SCALAR_EVENT:
		value = (const char *)r->event.data.scalar.value;
		if (*depth == 1 && strchr(value, ','))
			r->comma = true;
		rc = separate(r, in);
		return rc != KVF_OK ? rc : put(r, value, r->event.data.scalar.length);
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		if (*depth == KVF_YAML_DEPTH_MAX)
			return fail(r, line_of(r), "nested deeper than %d", KVF_YAML_DEPTH_MAX);
		rc = separate(r, in);
		levels[*depth] = (struct level){r->event.type == YAML_MAPPING_START_EVENT, 0};
		++*depth;
		return rc != KVF_OK ? rc : put(r, levels[*depth - 1].map ? "{" : "[", 1);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		--*depth;
		return *depth == 0 ? KVF_OK : put(r, in->map ? "}" : "]", 1);
	default:
		return fail(r, line_of(r), "this is not YAML that kvferry understands");
	}
}

static int collection(struct reader *r, enum kvf_form *form)
{
	struct level levels[KVF_YAML_DEPTH_MAX];
	unsigned int depth = 1;

	levels[0] = (struct level){r->event.type == YAML_MAPPING_START_EVENT, 0};
	*form = levels[0].map ? KVF_FORM_MAP : KVF_FORM_LIST;
	while (depth > 0) {
		int rc = next(r);

		if (rc == KVF_OK)
			rc = node(r, levels, &depth);
		if (rc != KVF_OK)
			return rc;
	}
	return KVF_OK;
}

static int emit(struct reader *r, enum kvf_yaml_section section, enum kvf_form form, uint32_t line)
{
	const struct kvf_yaml_entry entry = {section, r->name, r->text, form, r->comma, line};

	return r->fn(&entry, r->arg);
}

/* ------------------------------------------------------------------------------------------------------------------
 * Keys
 */

static int begin_key(struct reader *r)
{
	const yaml_event_t *e = &r->event;

	if (e->type != YAML_SCALAR_EVENT)
		return fail(r, line_of(r), "a key must be a word");
	if (e->data.scalar.length == 0)
		return fail(r, line_of(r), "an empty key");
	if (e->data.scalar.length > KVF_YAML_NAME_MAX)
		return fail(r, line_of(r), "a key longer than %d bytes", KVF_YAML_NAME_MAX);
	if (++r->keys > KVF_YAML_KEYS_MAX)
		return fail(r, line_of(r), "more than %d keys", KVF_YAML_KEYS_MAX);
	memcpy(r->name, e->data.scalar.value, e->data.scalar.length + 1);
	r->used = 0;
	r->comma = false;
	return put(r, "", 0);
}

static int value(struct reader *r, enum kvf_yaml_section section, uint32_t line)
{
	enum kvf_form form = KVF_FORM_PLAIN;
	int rc = r->event.type == YAML_SCALAR_EVENT ? scalar(r, &form) : collection(r, &form);

	return rc != KVF_OK ? rc : emit(r, section, form, line);
}

static int map(struct reader *r, enum kvf_yaml_section section);

/* The map below extra_config or ec. */
static int inner_map(struct reader *r, enum kvf_yaml_section section, uint32_t line)
{
	int rc = emit(r, KVF_SECTION_TOP, KVF_FORM_MAP, line);

	return rc != KVF_OK ? rc : map(r, section);
}

static int map(struct reader *r, enum kvf_yaml_section section)
{
	for (;;) {
		bool outer = section == KVF_SECTION_TOP;
		uint32_t line;
		int rc = next(r);

		if (rc != KVF_OK)
			return rc;
		if (r->event.type == YAML_MAPPING_END_EVENT)
			return KVF_OK;
		line = line_of(r);
		rc = begin_key(r);
		if (rc == KVF_OK)
			rc = next(r);
		if (rc != KVF_OK)
			return rc;
		if (outer && r->event.type == YAML_MAPPING_START_EVENT &&
			strcmp(r->name, "extra_config") == 0)
			rc = inner_map(r, KVF_SECTION_EXTRA, line);
		else if (outer && r->event.type == YAML_MAPPING_START_EVENT &&
			 strcmp(r->name, "ec") == 0)
			rc = inner_map(r, KVF_SECTION_EC, line);
		else
			rc = value(r, section, line);
		if (rc != KVF_OK)
			return rc;
	}
}

static int document(struct reader *r, enum kvf_yaml_section section)
{
	int rc = next(r); /* stream start */

	if (rc == KVF_OK)
		rc = next(r);
	if (rc != KVF_OK || r->event.type == YAML_STREAM_END_EVENT)
		return rc;
	rc = next(r); /* behind the document's start */
	if (rc != KVF_OK)
		return rc;
	if (r->event.type == YAML_MAPPING_START_EVENT) {
		rc = map(r, section);
		if (rc != KVF_OK)
			return rc;
	} else if (r->event.type != YAML_SCALAR_EVENT ||
		   !is_null((const char *)r->event.data.scalar.value)) {
		return fail(r, line_of(r),
			"expected a map of keys and values (key: value), not a %s",
			r->event.type == YAML_SEQUENCE_START_EVENT ? "list" : "single value");
	}
	rc = next(r); /* document end */
	if (rc == KVF_OK)
		rc = next(r);
	if (rc == KVF_OK && r->event.type != YAML_STREAM_END_EVENT)
		return fail(r, line_of(r), "only one document is accepted");
	return rc;
}

int kvf_yaml_read(struct kvf_mem *mem, const char *text, size_t n, enum kvf_yaml_section section,
	kvf_yaml_fn fn, void *arg, struct kvf_yaml_error *error)
{
	struct reader r = {.mem = mem, .error = error, .fn = fn, .arg = arg};
	int rc;

	*error = (struct kvf_yaml_error){0};
	if (n > KVF_YAML_BYTES_MAX)
		return fail(&r, 1, "larger than %zu bytes", KVF_YAML_BYTES_MAX);
	if (!yaml_parser_initialize(&r.parser))
		return KVF_ENOMEM;
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
	rc = document(&r, section);
	drop_event(&r);
	yaml_parser_delete(&r.parser);
	kvf_mem_free(mem, r.text, r.cap);
	return rc;
}
