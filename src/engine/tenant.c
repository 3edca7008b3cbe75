/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tenants: who a chunk counts for. Tenant 0 is everybody without a quota. Each tenant has an eviction order of its
 * own over the one index, so that a flood by one cannot push out what another was guaranteed. A path stays with the
 * tenant of its first chunk, since an eviction order keeps a path together.
 */
#include "engine/engine.h"

#include "base/report.h"
#include "config/config.h"
#include "config/quota.h"

struct kvf_evict *kvf_evict_of(struct kvf_engine *e, uint32_t entry)
{
	return &e->tenant[kvf_index_entry(&e->index, entry)->tenant].evict;
}

uint32_t kvf_tenant_find(const struct kvf_engine *e, uint32_t salt_hash)
{
	for (uint32_t t = 1; t < e->n_tenants; t++) {
		if (e->tenant[t].salt_hash == salt_hash && e->tenant[t].on)
			return t;
	}
	return 0;
}

int kvf_tenants_init(struct kvf_engine *e, enum kvf_policy policy)
{
	e->policy = policy;
	e->n_tenants = 1;
	return kvf_evict_init(&e->tenant[0].evict, &e->mem, &e->index, policy);
}

void kvf_tenants_fini(struct kvf_engine *e)
{
	while (e->n_tenants)
		kvf_evict_fini(&e->tenant[--e->n_tenants].evict);
}

void kvf_tenant_touch(struct kvf_engine *e, const uint32_t *path, uint32_t n)
{
	uint32_t end = n;

	/* One call for each run of one tenant, the last run first: that keeps the suffix before the prefix. */
	while (end) {
		uint32_t tenant = kvf_index_entry(&e->index, path[end - 1])->tenant;
		uint32_t start = end - 1;

		while (start && kvf_index_entry(&e->index, path[start - 1])->tenant == tenant)
			start--;
		kvf_evict_touch(&e->tenant[tenant].evict, path + start, end - start);
		end = start;
	}
}

/* Slots that the tenant holds beyond what it was guaranteed. */
static uint32_t excess(const struct kvf_tenant *tenant)
{
	return (uint32_t)kvf_sat_sub(tenant->used, tenant->min);
}

uint32_t kvf_tenant_victim(struct kvf_engine *e, uint32_t tenant)
{
	uint32_t tried[KVF_MAX_TENANTS] = { 0 };

	if (e->n_tenants == 1)
		return kvf_evict_victim(&e->tenant[0].evict);
	if (kvf_tenant_full(e, tenant))
		return kvf_evict_victim(&e->tenant[tenant].evict);
	/* Whoever is furthest above his minimum gives. */
	for (uint32_t round = 0; round < e->n_tenants; round++) {
		uint32_t most = KVF_NIL;
		uint32_t victim;

		for (uint32_t t = 0; t < e->n_tenants; t++) {
			if (!tried[t] && excess(&e->tenant[t]) &&
			    (most == KVF_NIL || excess(&e->tenant[t]) > excess(&e->tenant[most])))
				most = t;
		}
		if (most == KVF_NIL)
			return KVF_NIL;
		tried[most] = 1;
		victim = kvf_evict_victim(&e->tenant[most].evict);
		if (victim != KVF_NIL)
			return victim;
	}
	return KVF_NIL;
}

bool kvf_tenant_full(const struct kvf_engine *e, uint32_t tenant)
{
	return e->tenant[tenant].max && e->tenant[tenant].used >= e->tenant[tenant].max;
}

/* A place for a new quota: the salt's own, one whose chunks are all gone, or a new one. */
static uint32_t place_for(struct kvf_engine *e, uint32_t salt_hash)
{
	uint32_t t;

	for (t = 1; t < e->n_tenants; t++) {
		if (e->tenant[t].salt_hash == salt_hash)
			return t;
	}
	for (t = 1; t < e->n_tenants; t++) {
		if (!e->tenant[t].on && !e->tenant[t].used)
			return t;
	}
	return e->n_tenants < KVF_MAX_TENANTS ? e->n_tenants : KVF_NIL;
}

static int set_slots(struct kvf_engine *e, uint32_t salt_hash, uint32_t min, uint32_t max)
{
	uint64_t all = min;
	uint32_t t = place_for(e, salt_hash);
	int rc;

	if (t == KVF_NIL)
		return kvf_refuse(e, KVF_EQUOTA, "quota: %d salts have one already", KVF_MAX_TENANTS - 1);
	if (max && min > max)
		return kvf_refuse(e, KVF_ERANGE, "quota: min of %u slots is over max of %u", min, max);
	for (uint32_t i = 1; i < e->n_tenants; i++)
		all += i == t ? 0 : e->tenant[i].min;
	if (all > e->pool.target / 2)
		return kvf_refuse(e, KVF_ERANGE, "quota: all minimums together are %llu slots, the bound is half of %u",
				  (unsigned long long)all, e->pool.target);
	if (t == e->n_tenants) {
		rc = kvf_evict_init(&e->tenant[t].evict, &e->mem, &e->index, e->policy);
		if (rc)
			return rc;
		e->n_tenants++;
	}
	e->tenant[t].salt_hash = salt_hash;
	e->tenant[t].min = min;
	e->tenant[t].max = max;
	e->tenant[t].on = min || max;
	return KVF_OK;
}

int kvf_quota_set(struct kvf_engine *e, const char *salt, uint64_t min_bytes, uint64_t max_bytes)
{
	uint64_t min = kvf_div_up(min_bytes, e->pool.slot_bytes);
	uint64_t max = max_bytes / e->pool.slot_bytes;

	if (max_bytes && !max)
		return kvf_refuse(e, KVF_ERANGE, "max_bytes: %llu is less than one slot of %u",
				  (unsigned long long)max_bytes, e->pool.slot_bytes);
	if (min > UINT32_MAX || max > UINT32_MAX)
		return kvf_refuse(e, KVF_ERANGE, "min_bytes, max_bytes: more than %u slots", UINT32_MAX);
	return set_slots(e, kvf_seq_tenant(salt), (uint32_t)min, (uint32_t)max);
}

int kvf_quotas_open(struct kvf_engine *e, const struct kvf_settings *s, struct kvf_report *report)
{
	static const char *const keys[] = { "kvf_quota_min", "kvf_quota_max" };
	const char *const lists[] = { s->quota_min, s->quota_max };
	struct kvf_quota quota;

	_Static_assert(KVF_QUOTA_SALTS_MAX == KVF_MAX_TENANTS - 1, "a place for each salt that may be configured");
	for (unsigned k = 0; k < 2; k++) {
		const char *at = lists[k];

		for (unsigned n = 1; kvf_quota_next(&at, &quota); n++) {
			int rc = kvf_quota_set(e, quota.salt, kvf_quota_of(s->quota_min, quota.salt),
					       kvf_quota_of(s->quota_max, quota.salt));

			if (!rc)
				continue;
			kvf_report_add(report, KVF_ERROR, "extra_config.%s: entry %u: %s", keys[k], n,
				       rc == KVF_ENOMEM ? kvf_strerror(rc) : e->detail);
			e->detail[0] = '\0';
			return rc;
		}
	}
	return KVF_OK;
}
