/* SPDX-License-Identifier: Apache-2.0 */
/* Inside src/device: the checks of a declared layout, before anything is copied. */
#ifndef KVF_DEVICE_LAYOUT_CHECK_H
#define KVF_DEVICE_LAYOUT_CHECK_H

#include "device/layout.h"

/* Where the text of a refusal goes; text may be NULL. */
struct kvf_detail {
	char *text;
	size_t size;
};

/* Writes the text, returns `status`. */
int kvf_detail_set(struct kvf_detail detail, int status, const char *format, ...) KVF_PRINTF(3, 4);

/* Group i of a declared layout: the caller's array has the element size of the caller's headers. */
const struct kvf_group *kvf_layout_group(const struct kvf_layout *layout, uint32_t i);

/* KVF_OK, KVF_EINVAL, KVF_ERANGE. */
int kvf_layout_check(const struct kvf_layout *layout, uint32_t chunk_tokens, struct kvf_detail detail);

#endif
