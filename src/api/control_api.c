/* SPDX-License-Identifier: Apache-2.0 */
/* Public calls that operate an engine while it runs. */
#include "api/guard.h"

#include <string.h>

#include "base/report.h"

static int enter_alive(struct kvf_engine *e)
{
	int rc;

	if (!e)
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (!rc && e->dead)
		rc = kvf_exit(e, KVF_EDEAD);
	return rc;
}

int kvf_set_frozen(struct kvf_engine *e, int on)
{
	int rc = enter_alive(e);

	if (rc)
		return rc;
	e->frozen = on != 0;
	return kvf_exit(e, KVF_OK);
}

int kvf_set_hot_cache(struct kvf_engine *e, int on)
{
	int rc = enter_alive(e);

	if (rc)
		return rc;
	e->emptying = !on && (e->local_cpu || e->emptying);
	e->local_cpu = on != 0;
	e->retire_cursor = 0;
	kvf_arm(e);
	return kvf_exit(e, KVF_OK);
}

int kvf_set_tier(struct kvf_engine *e, uint32_t tiers, int on)
{
	uint32_t found = 0;
	int rc = enter_alive(e);

	if (rc)
		return rc;
	for (uint32_t t = 0; t < e->n_tiers; t++) {
		struct kvf_tier *tier = &e->tier[t];

		if (!(tier->bit & tiers))
			continue;
		found++;
		tier->off = !on;
		if (!on)
			kvf_spill_drop_some(e, tier);
	}
	if (!found)
		rc = kvf_refuse(e, KVF_ENOENT, "tiers: 0x%x names no tier of this engine", tiers);
	kvf_arm(e);
	return kvf_exit(e, rc);
}

int kvf_set_log_level(struct kvf_engine *e, enum kvf_log_level level)
{
	int rc = enter_alive(e);

	if (rc)
		return rc;
	if ((unsigned)level > KVF_LOG_DEBUG)
		rc = kvf_refuse(e, KVF_EINVAL, "level: %d is outside 0..%d", (int)level, KVF_LOG_DEBUG);
	else
		e->log.level = level;
	return kvf_exit(e, rc);
}

static int resize(struct kvf_engine *e, uint64_t bytes)
{
	uint64_t n = bytes / e->pool.slot_bytes;
	struct kvf_report report;
	uint32_t min = 0;
	int rc;

	for (uint32_t t = 1; t < e->n_tenants; t++)
		min += e->tenant[t].min;
	if (n < 8 || n > UINT32_MAX / 2 || n / 2 < min)
		return kvf_refuse(e, KVF_ERANGE, "bytes: %llu are %llu slots; at least 8, and twice the %u guaranteed",
				  (unsigned long long)bytes, (unsigned long long)n, min);
	if (n > e->pool.target) {
		kvf_report_init(&report, e->detail, sizeof(e->detail));
		rc = kvf_pool_check_memory("", (n - e->pool.target) * e->pool.slot_bytes, 0, e->pool.params.hugetlb,
					   &report);
		if (!rc)
			rc = kvf_index_reserve(&e->index, (uint32_t)n);
		if (rc)
			return rc;
	}
	rc = kvf_pool_resize(&e->pool, (uint32_t)n);
	if (rc)
		return kvf_refuse(e, rc, "bytes: %llu: no memory for the pool's tables", (unsigned long long)bytes);
	e->growing = e->pool.due;
	e->retire_cursor = 0;
	e->retiring = true;
	kvf_slots_caps(e);
	return KVF_OK;
}

int kvf_set_pool_bytes(struct kvf_engine *e, uint64_t bytes)
{
	int rc = enter_alive(e);

	if (rc)
		return rc;
	rc = resize(e, bytes);
	kvf_arm(e);
	return kvf_exit(e, rc);
}

int kvf_set_quota(struct kvf_engine *e, const char *salt, uint64_t min_bytes, uint64_t max_bytes)
{
	int rc;

	if (!e || !salt || !salt[0])
		return KVF_EINVAL;
	rc = enter_alive(e);
	if (rc)
		return rc;
	rc = kvf_quota_set(e, salt, min_bytes, max_bytes);
	return kvf_exit(e, rc);
}

int kvf_set_rates(struct kvf_engine *e, uint64_t spill_bytes_per_s, uint64_t prefetch_bytes_per_s)
{
	int rc = enter_alive(e);

	if (rc)
		return rc;
	kvf_clock_update(&e->clock);
	kvf_rates_set(e, spill_bytes_per_s, prefetch_bytes_per_s);
	kvf_arm(e);
	return kvf_exit(e, KVF_OK);
}

int kvf_health(const struct kvf_engine *e, uint32_t *bits)
{
	int rc;

	if (!e || !bits)
		return KVF_EINVAL;
	rc = kvf_peek(e);
	if (!rc)
		*bits = kvf_health_bits(e);
	return rc;
}

int kvf_metrics_text(struct kvf_engine *e, char *buf, size_t size)
{
	int rc;

	if (!e || (size && !buf))
		return KVF_EINVAL;
	rc = kvf_peek(e);
	return rc ? rc : kvf_metrics_write(e, buf, size);
}
