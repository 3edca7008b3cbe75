/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file, one key at a time: libyaml's events turned into (section, key, text, line). Nothing is
 * kept but the value at hand; depth, size and number of keys are bounded; anchors, aliases, tags
 * and further documents are refused. JSON is YAML, so that extra_config in the environment goes
 * through here as well.
 */
#ifndef KVF_CONFIG_YAML_H
#define KVF_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "config/value.h"

#define KVF_YAML_BYTES_MAX ((size_t)256 << 10)
#define KVF_YAML_DEPTH_MAX 8
#define KVF_YAML_KEYS_MAX 1024
#define KVF_YAML_NAME_MAX 256

enum kvf_yaml_section {
	KVF_SECTION_TOP,
	KVF_SECTION_EXTRA, /* below extra_config, which itself came first: KVF_SECTION_TOP,
			      KVF_FORM_MAP, no text */
	KVF_SECTION_EC /* below ec */
};

struct kvf_yaml_entry {
	enum kvf_yaml_section section;
	const char *key;
	char *text; /* may be changed; KVF_VALUE_SLACK bytes are free behind it */
	enum kvf_form form;
	bool comma; /* an element of the list holds a comma: joined, it would fall apart */
	uint32_t line;
};

struct kvf_yaml_error {
	uint32_t line;
	char text[200];
};

/* Returns KVF_OK or what kvf_yaml_read() shall end with. */
typedef int (*kvf_yaml_fn)(const struct kvf_yaml_entry *entry, void *arg);

/*
 * Reads text[0..n). `section` is what the outermost map is: TOP for a file, EXTRA for the text of
 * extra_config. KVF_OK, KVF_ENOMEM, KVF_ECONFIG (error says what, on which line), or what fn
 * returned.
 */
int kvf_yaml_read(struct kvf_mem *mem, const char *text, size_t n, enum kvf_yaml_section section,
	kvf_yaml_fn fn, void *arg, struct kvf_yaml_error *error);

#endif
