/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots whose header could not be overwritten, found by what may still stand in them: the slot's key, and that of the
 * chunk before it. Each is in the chains of both, through the links that orders of eviction use otherwise: a chain is a
 * few slots long, however many slots the disk has.
 */
#include <string.h>

#include "base/bytes.h"
#include "tier/disk/index.h"

/* In a chain a slot stands as 2 * slot by its key, as 2 * slot + 1 by its parent. */
static uint32_t *link_of(struct kvf_disk_index *ix, uint32_t node)
{
	struct kvf_disk_slot *s = &ix->slot[node / 2];

	return node % 2 ? &s->prev : &s->next;
}

static const uint8_t *key_of(const struct kvf_disk_index *ix, uint32_t node)
{
	const struct kvf_disk_slot *s = &ix->slot[node / 2];

	return node % 2 ? s->parent : s->key;
}

static uint32_t bucket_of(const uint8_t *key)
{
	uint64_t h = (kvf_load_u64(key) ^ (kvf_load_u64(key + 8) << 1)) * 0x9e3779b97f4a7c15u;

	return (uint32_t)(h >> 32) % KVF_DISK_BAD_CHAINS;
}

/* At the end: whoever fails again lets the others go first. */
static void chain(struct kvf_disk_index *ix, uint32_t node)
{
	uint32_t *at = &ix->bad[bucket_of(key_of(ix, node))];

	while (*at != KVF_NIL)
		at = link_of(ix, *at);
	*at = node;
	*link_of(ix, node) = KVF_NIL;
}

static void unchain(struct kvf_disk_index *ix, uint32_t node)
{
	uint32_t *at = &ix->bad[bucket_of(key_of(ix, node))];

	while (*at != KVF_NIL && *at != node)
		at = link_of(ix, *at);
	if (*at == node)
		*at = *link_of(ix, node);
}

void kvf_disk_bad_init(struct kvf_disk_index *ix)
{
	ix->n_bad = ix->bad_cursor = 0;
	for (uint32_t i = 0; i < KVF_DISK_BAD_CHAINS; i++)
		ix->bad[i] = KVF_NIL;
}

void kvf_disk_bad_add(struct kvf_disk_index *ix, uint32_t slot)
{
	ix->slot[slot].state = KVF_DISK_BAD;
	ix->n_bad++;
	chain(ix, 2 * slot);
	chain(ix, 2 * slot + 1);
}

uint32_t kvf_disk_bad_take(struct kvf_disk_index *ix)
{
	uint32_t slot;

	if (!ix->n_bad)
		return KVF_NIL;
	do
		ix->bad_cursor = (ix->bad_cursor + 1) % KVF_DISK_BAD_CHAINS;
	while (ix->bad[ix->bad_cursor] == KVF_NIL);
	slot = ix->bad[ix->bad_cursor] / 2;
	unchain(ix, 2 * slot);
	unchain(ix, 2 * slot + 1);
	ix->n_bad--;
	return slot;
}

/* No chunk's: in a slot that recovery could not read anything may stand. */
static const uint8_t unknown[KVF_DISK_KEY];

bool kvf_disk_may_be(const uint8_t *there, const uint8_t *key)
{
	return memcmp(there, key, KVF_DISK_KEY) == 0 || memcmp(there, unknown, KVF_DISK_KEY) == 0;
}

static bool in_chain(const struct kvf_disk_index *ix, const uint8_t *key)
{
	const struct kvf_disk_slot *s;

	for (uint32_t at = ix->bad[bucket_of(key)]; at != KVF_NIL; at = at % 2 ? s->prev : s->next) {
		if (memcmp(key_of(ix, at), key, KVF_DISK_KEY) == 0)
			return true;
		s = &ix->slot[at / 2];
	}
	return false;
}

bool kvf_disk_bad_has(const struct kvf_disk_index *ix, const uint8_t *key)
{
	return in_chain(ix, key) || in_chain(ix, unknown);
}

bool kvf_disk_bad_verify(const struct kvf_disk_index *ix)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < KVF_DISK_BAD_CHAINS; i++) {
		const struct kvf_disk_slot *s;

		for (uint32_t at = ix->bad[i]; at != KVF_NIL; at = at % 2 ? s->prev : s->next) {
			s = &ix->slot[at / 2];
			if (s->state != KVF_DISK_BAD || bucket_of(key_of(ix, at)) != i || ++n > 2 * (uint64_t)ix->n_bad)
				return false;
		}
	}
	return n == 2 * (uint64_t)ix->n_bad;
}
