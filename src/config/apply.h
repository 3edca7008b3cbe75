/* SPDX-License-Identifier: Apache-2.0 */
/* Taking over one key and one value: aliases, unknown names, classes, what the report says. */
#ifndef KVF_CONFIG_APPLY_H
#define KVF_CONFIG_APPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "config/state.h"
#include "config/value.h"
#include "kvferry/kvf_status.h"

enum kvf_source { KVF_FROM_FILE, KVF_FROM_ENV, KVF_FROM_CALL };

/* One load or set under way. */
struct kvf_apply {
	struct kvf_state *state; /* the copy that is worked on */
	struct kvf_report *report;
	enum kvf_source source;
	uint32_t pass; /* one number for each file, environment or call */
	uint32_t errors; /* so far: the copy is thrown away at the end */
};

struct kvf_given {
	enum kvf_key_place place;
	const char *name;
	char *text; /* may be changed; KVF_VALUE_SLACK bytes free behind it */
	enum kvf_form form;
	bool comma;
	const char *origin;
	uint32_t line;
};

/* KVF_OK also for a wrong value, which counts in errors; KVF_ENOMEM. */
int kvf_apply_key(struct kvf_apply *apply, const struct kvf_given *given);

/* The text of extra_config (JSON or YAML): it replaces what was there. As above. */
int kvf_apply_extra_text(struct kvf_apply *apply, const char *text, const char *origin);

/* Adds an error that is not about one key's value. */
void kvf_apply_error(struct kvf_apply *apply, const char *fmt, ...) KVF_PRINTF(2, 3);

#endif
