/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration in a test: text for the file, a made-up environment, a report. */
#ifndef KVF_TESTS_CONFIG_CASE_H
#define KVF_TESTS_CONFIG_CASE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "kvferry/kvferry.h"

struct config_case {
	struct kvf_config *config;
	struct kvf_report report;
	char text[32768];
	char path[PATH_MAX]; /* of the file that config_case_load() wrote */
};

/* A fresh configuration and an empty report. */
void config_case_begin(struct config_case *c);
void config_case_end(struct config_case *c);

/*
 * Loads `yaml` (NULL: no file) with the environment `vars`, "NAME=value" strings that end with NULL
 * (NULL: empty). The report starts afresh. Returns what kvf_config_load() says.
 */
int config_case_load(struct config_case *c, const char *yaml, const char *const *vars);

/* Whether the report holds this text. */
bool config_case_says(const struct config_case *c, const char *part);

/* Whether a value reads so, and comes from an origin that ends so (NULL: whatever). */
bool config_case_is(
	const struct config_case *c, const char *key, const char *value, const char *origin);

/* The environment that config_case_load() makes of such strings. */
struct kvf_env config_case_env(const char *const *vars);

#endif
