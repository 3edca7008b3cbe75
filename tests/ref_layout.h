/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slow reference of layouts: element by element from the formulas of kvferry.h and docs/layouts.md, written without
 * a look at src/device. chunk_size is the engine's; the chunk at hand may have fewer tokens (copy->chunk_tokens).
 */
#ifndef KVF_TESTS_REF_LAYOUT_H
#define KVF_TESTS_REF_LAYOUT_H

#include "kvferry/kvf_device.h"

/* Bytes of a chunk of n tokens. */
uint64_t ref_payload_bytes(const struct kvf_layout *layout, uint32_t n_tokens);

/* Copies what the copy names, device to payload: null blocks give zeros, everything else of the payload is left. */
void ref_gather(const struct kvf_layout *layout, uint32_t chunk_size, const struct kvf_copy *copy, uint8_t *payload);
/* Payload to device: null blocks are left out. */
void ref_scatter(const struct kvf_layout *layout, uint32_t chunk_size, const struct kvf_copy *copy,
		 const uint8_t *payload);

#endif
