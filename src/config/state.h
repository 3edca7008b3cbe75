/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a configuration holds: a slot for every row of the schema, a list of what else stood in
 * extra_config, and the settings derived from the slots. A load works on a copy and swaps it in at
 * the end.
 */
#ifndef KVF_CONFIG_STATE_H
#define KVF_CONFIG_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "config/config.h"
#include "config/schema.h"

/* Where a value comes from. `line` and `pass` find keys that are given twice in one source. */
struct kvf_where {
	const char *origin; /* "file.yaml:12" */
	uint32_t line;
	uint32_t pass;
	bool alias;
};

struct kvf_slot {
	char *text; /* NULL: null, where `given`; else the default holds */
	char *origin; /* NULL: "default" */
	uint32_t line;
	uint32_t pass;
	bool given;
	bool alias; /* given under an old name */
	bool noted; /* its note was written already */
};

struct kvf_extra {
	char *name;
	long family; /* row of the schema, or -1 */
	struct kvf_slot slot;
};

struct kvf_state {
	struct kvf_mem *mem;
	struct kvf_slot *slots; /* kvf_schema_count() of them */
	struct kvf_extra *extras;
	size_t n_extras;
	size_t cap_extras;
	struct kvf_settings settings;
};

struct kvf_config {
	struct kvf_mem mem;
	struct kvf_state *state; /* a pointer, so that its swap cannot fail */
	uint32_t passes;
};

/* KVF_OK, KVF_ENOMEM. */
int kvf_state_create(struct kvf_mem *mem, struct kvf_state **out);
int kvf_state_clone(const struct kvf_state *from, struct kvf_state **out);
void kvf_state_destroy(struct kvf_state *state);

/* Gives row i a value (NULL: null). KVF_OK, KVF_ENOMEM (unchanged). */
int kvf_state_put(
	struct kvf_state *state, size_t i, const char *text, const struct kvf_where *where);
/* The same for a key of extra_config without a row of its own. */
int kvf_state_put_extra(struct kvf_state *state, const char *name, long family, const char *text,
	const struct kvf_where *where);
struct kvf_extra *kvf_state_find_extra(const struct kvf_state *state, const char *name);
/* Forgets all of extra_config. Returns how many keys that were. */
size_t kvf_state_drop_extra(struct kvf_state *state);

/* Effective text of row i; NULL: null. */
const char *kvf_state_text(const struct kvf_state *state, size_t i);
/* Fills in settings. */
void kvf_state_derive(struct kvf_state *state);

#endif
