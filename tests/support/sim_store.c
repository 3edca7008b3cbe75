/* SPDX-License-Identifier: Apache-2.0 */
/* What the simulated server holds: see sim_redis.h. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/sim_redis.h"

static uint64_t below(struct sim_redis *redis, uint64_t n)
{
	return n ? sim_net_random(redis->net) % n : 0;
}

static struct sim_value **place(struct sim_redis *redis, const void *key, size_t n)
{
	const uint8_t *p = key;
	uint32_t h = 2166136261u;
	struct sim_value **at;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 16777619u;
	at = &redis->bucket[h % SIM_REDIS_BUCKETS];
	while (*at && ((*at)->n_key != n || memcmp((*at)->key, key, n) != 0))
		at = &(*at)->next;
	return at;
}

void sim_store_drop(struct sim_redis *redis, struct sim_value *value)
{
	struct sim_value **at = place(redis, value->key, value->n_key);

	redis->judge.gone(redis->judge.arg, value->key, value->n_key);
	*at = value->next;
	redis->n_values--;
	free(value->key);
	free(value->bytes);
	free(value);
}

static bool ends_with(const struct sim_value *v, const char *tail)
{
	size_t n = strlen(tail);

	return v->n_key >= n && !memcmp(v->key + v->n_key - n, tail, n);
}

/* Of the same chunk, the key with the other tail. */
static struct sim_value *beside(struct sim_redis *redis, const struct sim_value *v, const char *tail, const char *other)
{
	size_t n = v->n_key - strlen(tail), k = strlen(other);
	char key[2048];

	if (n + k > sizeof(key))
		return NULL;
	memcpy(key, v->key, n);
	memcpy(key + n, other, k);
	return *place(redis, key, n + k);
}

/* One that goes by itself: not without the payload that it alone can tell to be spoilt. */
static void lose(struct sim_redis *redis, struct sim_value *v)
{
	struct sim_value *bytes = NULL;

	if (ends_with(v, redis->o.side_tail))
		bytes = beside(redis, v, redis->o.side_tail, redis->o.bytes_tail);
	if (bytes && bytes->damaged)
		sim_store_drop(redis, bytes);
	sim_store_drop(redis, v);
}

struct sim_value *sim_store_find(struct sim_redis *redis, const void *key, size_t n)
{
	struct sim_value *value = *place(redis, key, n);

	if (!value || value->expires_ns > redis->net->now_ns)
		return value;
	lose(redis, value);
	return NULL;
}

static void fill(struct sim_value *value, const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n + 1);

	if (n)
		memcpy(copy, p, n);
	free(value->bytes);
	value->bytes = copy;
	value->n = n;
}

struct sim_value *sim_store_set(struct sim_redis *redis, const struct sim_word *key, const struct sim_word *value)
{
	struct sim_value **at = place(redis, key->p, key->n);
	struct sim_value *v = *at;

	if (!v) {
		v = *at = calloc(1, sizeof(*v));
		v->key = malloc(key->n + 1);
		memcpy(v->key, key->p, key->n);
		v->n_key = key->n;
		redis->n_values++;
	}
	fill(v, value->p, value->n);
	v->expires_ns = UINT64_MAX;
	v->damaged = false;
	return v;
}

void sim_store_clear(struct sim_redis *redis)
{
	for (uint32_t i = 0; i < SIM_REDIS_BUCKETS; i++)
		while (redis->bucket[i])
			sim_store_drop(redis, redis->bucket[i]);
}

/* ---- what becomes of it ---- */

static struct sim_value *any(struct sim_redis *redis)
{
	uint32_t from = (uint32_t)below(redis, SIM_REDIS_BUCKETS);

	for (uint32_t i = 0; i < SIM_REDIS_BUCKETS; i++)
		if (redis->bucket[(from + i) % SIM_REDIS_BUCKETS])
			return redis->bucket[(from + i) % SIM_REDIS_BUCKETS];
	return NULL;
}

static bool is_small(const struct sim_redis *redis, const struct sim_value *v)
{
	return ends_with(v, redis->o.side_tail) || ends_with(v, "metadata");
}

/* One of today's names: older ones have no side records. */
static bool is_payload(const struct sim_redis *redis, const struct sim_value *v)
{
	return ends_with(v, redis->o.bytes_tail) && !is_small(redis, v) && !ends_with(v, ":kv_bytes");
}

void sim_store_evict(struct sim_redis *redis)
{
	struct sim_value *v = any(redis);

	if (!v)
		return;
	redis->evicted++;
	lose(redis, v);
}

static bool has_witness(struct sim_redis *redis, const struct sim_value *v)
{
	return redis->o.looked_at && beside(redis, v, redis->o.bytes_tail, redis->o.side_tail);
}

static void exchange(struct sim_value *a, struct sim_value *b)
{
	struct sim_value copy = *a;

	a->bytes = b->bytes;
	a->n = b->n;
	b->bytes = copy.bytes;
	b->n = copy.n;
}

static void flip(struct sim_redis *redis, struct sim_value *v)
{
	if (v->n)
		v->bytes[below(redis, v->n)] ^= (uint8_t)(1u << below(redis, 8));
}

/* Another chunk's payload, and perhaps its record with it: then the key in that alone is wrong. */
static bool take_for(struct sim_redis *redis, struct sim_value *v, struct sim_value *other)
{
	const struct sim_redis_options *o = &redis->o;

	if (!other || other == v || !is_payload(redis, other) || !has_witness(redis, other))
		return false;
	other->damaged = true;
	redis->judge.gone(redis->judge.arg, other->key, other->n_key);
	exchange(v, other);
	if (below(redis, 2))
		exchange(beside(redis, v, o->bytes_tail, o->side_tail),
			 beside(redis, other, o->bytes_tail, o->side_tail));
	return true;
}

static void spoil_payload(struct sim_redis *redis, struct sim_value *v)
{
	v->damaged = true;
	if (!below(redis, 4)) {
		fill(v, (const uint8_t *)"not what was written here", below(redis, 25));
		return;
	}
	/* Most of what it holds is no payload. */
	for (uint64_t tries = below(redis, 16); tries; tries--)
		if (take_for(redis, v, any(redis)))
			return;
	flip(redis, v);
}

void sim_store_damage(struct sim_redis *redis, struct sim_value *v)
{
	redis->damaged++;
	redis->judge.gone(redis->judge.arg, v->key, v->n_key);
	/* Cut off: everybody knows how long it should be. */
	if (v->n && !below(redis, 3)) {
		v->n = (size_t)below(redis, v->n);
		return;
	}
	if (is_small(redis, v))
		flip(redis, v); /* they are compared, or have a checksum */
	else if (is_payload(redis, v) && has_witness(redis, v))
		spoil_payload(redis, v);
}
