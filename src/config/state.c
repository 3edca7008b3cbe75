/* SPDX-License-Identifier: Apache-2.0 */
/* Slots, extras and the settings derived from them. See state.h. */
#include "config/state.h"

#include <string.h>

#include "base/compiler.h"
#include "config/value.h"

static char *dup_text(struct kvf_mem *mem, const char *s)
{
	size_t n = strlen(s) + 1;
	char *copy = kvf_mem_alloc(mem, n);

	if (copy)
		memcpy(copy, s, n);
	return copy;
}

static void free_text(struct kvf_mem *mem, char *s)
{
	if (s)
		kvf_mem_free(mem, s, strlen(s) + 1);
}

static void clear_slot(struct kvf_mem *mem, struct kvf_slot *slot)
{
	free_text(mem, slot->text);
	free_text(mem, slot->origin);
	slot->text = NULL;
	slot->origin = NULL;
	slot->given = false;
}

static int fill_slot(
	struct kvf_mem *mem, struct kvf_slot *slot, const char *text, const struct kvf_where *where)
{
	char *copy = NULL;
	char *origin = dup_text(mem, where->origin);

	if (!origin)
		return KVF_ENOMEM;
	if (text) {
		copy = dup_text(mem, text);
		if (!copy) {
			free_text(mem, origin);
			return KVF_ENOMEM;
		}
	}
	clear_slot(mem, slot);
	slot->text = copy;
	slot->origin = origin;
	slot->line = where->line;
	slot->pass = where->pass;
	slot->alias = where->alias;
	slot->given = true;
	return KVF_OK;
}

int kvf_state_create(struct kvf_mem *mem, struct kvf_state **out)
{
	struct kvf_state *state = kvf_mem_zalloc(mem, sizeof(*state));

	if (!state)
		return KVF_ENOMEM;
	state->mem = mem;
	state->slots = kvf_mem_zalloc(mem, kvf_schema_count() * sizeof(*state->slots));
	if (!state->slots) {
		kvf_mem_free(mem, state, sizeof(*state));
		return KVF_ENOMEM;
	}
	kvf_state_derive(state);
	*out = state;
	return KVF_OK;
}

void kvf_state_destroy(struct kvf_state *state)
{
	struct kvf_mem *mem;
	size_t n = kvf_schema_count();

	if (!state)
		return;
	mem = state->mem;
	for (size_t i = 0; i < n; i++)
		clear_slot(mem, &state->slots[i]);
	for (size_t i = 0; i < state->n_extras; i++) {
		free_text(mem, state->extras[i].name);
		clear_slot(mem, &state->extras[i].slot);
	}
	kvf_mem_free(mem, state->extras, state->cap_extras * sizeof(*state->extras));
	kvf_mem_free(mem, state->slots, n * sizeof(*state->slots));
	kvf_mem_free(mem, state, sizeof(*state));
}

static struct kvf_where where_of(const struct kvf_slot *slot)
{
	return (struct kvf_where){slot->origin, slot->line, slot->pass, slot->alias};
}

static int copy_all(const struct kvf_state *from, struct kvf_state *to)
{
	size_t n = kvf_schema_count();

	for (size_t i = 0; i < n; i++) {
		const struct kvf_slot *slot = &from->slots[i];
		struct kvf_where where = where_of(slot);

		if (slot->given && fill_slot(to->mem, &to->slots[i], slot->text, &where) != KVF_OK)
			return KVF_ENOMEM;
		to->slots[i].noted = slot->noted;
	}
	for (size_t i = 0; i < from->n_extras; i++) {
		const struct kvf_extra *x = &from->extras[i];
		struct kvf_where where = where_of(&x->slot);

		if (kvf_state_put_extra(to, x->name, x->family, x->slot.text, &where) != KVF_OK)
			return KVF_ENOMEM;
		to->extras[i].slot.noted = x->slot.noted;
	}
	return KVF_OK;
}

int kvf_state_clone(const struct kvf_state *from, struct kvf_state **out)
{
	struct kvf_state *copy;
	int rc = kvf_state_create(from->mem, &copy);

	if (rc != KVF_OK)
		return rc;
	rc = copy_all(from, copy);
	if (rc != KVF_OK) {
		kvf_state_destroy(copy);
		return rc;
	}
	kvf_state_derive(copy);
	*out = copy;
	return KVF_OK;
}

int kvf_state_put(
	struct kvf_state *state, size_t i, const char *text, const struct kvf_where *where)
{
	return fill_slot(state->mem, &state->slots[i], text, where);
}

struct kvf_extra *kvf_state_find_extra(const struct kvf_state *state, const char *name)
{
	for (size_t i = 0; i < state->n_extras; i++)
		if (strcmp(state->extras[i].name, name) == 0)
			return &state->extras[i];
	return NULL;
}

int kvf_state_put_extra(struct kvf_state *state, const char *name, long family, const char *text,
	const struct kvf_where *where)
{
	struct kvf_extra *x = kvf_state_find_extra(state, name);
	void *array = state->extras;
	int rc;

	if (x)
		return fill_slot(state->mem, &x->slot, text, where);
	rc = kvf_mem_grow(state->mem, &array, &state->cap_extras, state->n_extras + 1,
		sizeof(*state->extras));
	if (rc != KVF_OK)
		return rc;
	state->extras = array;
	x = &state->extras[state->n_extras];
	memset(x, 0, sizeof(*x));
	x->family = family;
	x->name = dup_text(state->mem, name);
	if (!x->name)
		return KVF_ENOMEM;
	rc = fill_slot(state->mem, &x->slot, text, where);
	if (rc != KVF_OK) {
		free_text(state->mem, x->name);
		return rc;
	}
	state->n_extras++;
	return KVF_OK;
}

size_t kvf_state_drop_extra(struct kvf_state *state)
{
	size_t dropped = state->n_extras;
	size_t n = kvf_schema_count();

	for (size_t i = 0; i < n; i++) {
		if (kvf_schema_at(i)->place != KVF_PLACE_EXTRA || !state->slots[i].given)
			continue;
		clear_slot(state->mem, &state->slots[i]);
		dropped++;
	}
	for (size_t i = 0; i < state->n_extras; i++) {
		free_text(state->mem, state->extras[i].name);
		clear_slot(state->mem, &state->extras[i].slot);
	}
	state->n_extras = 0;
	return dropped;
}

const char *kvf_state_text(const struct kvf_state *state, size_t i)
{
	return state->slots[i].given ? state->slots[i].text : kvf_schema_at(i)->initial;
}

void kvf_state_derive(struct kvf_state *state)
{
	size_t n = kvf_schema_count();

	memset(&state->settings, 0, sizeof(state->settings));
	for (size_t i = 0; i < n; i++)
		kvf_value_store(kvf_schema_at(i), kvf_state_text(state, i), &state->settings);
	/* "random" is Python's word for no seed. */
	if (strcmp(state->settings.python_hash_seed, "random") == 0)
		state->settings.python_hash_seed = "";
}
