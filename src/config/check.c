/* SPDX-License-Identifier: Apache-2.0 */
/* What only the whole configuration shows. */
#include <string.h>

#include "base/report.h"
#include "config/quota.h"
#include "config/state.h"

static bool given(const struct kvf_state *state, const char *name, enum kvf_key_place place)
{
	long i = kvf_schema_find(name, place);

	return i >= 0 && state->slots[i].given;
}

static const char *origin(const struct kvf_state *state, const char *name, enum kvf_key_place place)
{
	long i = kvf_schema_find(name, place);

	return i >= 0 && state->slots[i].given ? state->slots[i].origin : "default";
}

static void check_pool(const struct kvf_state *state, struct kvf_report *report)
{
	const struct kvf_settings *s = &state->settings;

	if (s->max_local_cpu_bytes == 0)
		kvf_report_add(report, KVF_ERROR,
			"%s: max_local_cpu_size must be greater than 0 even with local_cpu: false, "
			"because disk and "
			"remote stage their transfers through it",
			origin(state, "max_local_cpu_size", KVF_PLACE_TOP));
	if (!s->local_cpu)
		kvf_report_add(report, KVF_WARNING,
			"%s: local_cpu is false: better keep it true. The RAM is reserved either "
			"way; with true what "
			"transfers do not need holds chunks, and gives way when they do",
			origin(state, "local_cpu", KVF_PLACE_TOP));
	if (s->pool_slots && given(state, "max_local_cpu_size", KVF_PLACE_TOP))
		kvf_report_add(report, KVF_NOTE,
			"%s: kvf_pool_slots decides the size of the pool, max_local_cpu_size does "
			"not",
			origin(state, "kvf_pool_slots", KVF_PLACE_EXTRA));
	if (s->numa_mode == 2 && !*s->gpu_to_numa_mapping)
		kvf_report_add(report, KVF_ERROR,
			"%s: numa_mode: manual needs extra_config.gpu_to_numa_mapping, a map of "
			"GPU to node",
			origin(state, "numa_mode", KVF_PLACE_TOP));
	if (s->numa_mode != 2 && *s->gpu_to_numa_mapping)
		kvf_report_add(report, KVF_WARNING,
			"%s: gpu_to_numa_mapping is used with numa_mode: manual only",
			origin(state, "gpu_to_numa_mapping", KVF_PLACE_EXTRA));
	if (s->save_unfull_chunk && s->discard_partial_chunks)
		kvf_report_add(report, KVF_WARNING,
			"%s: discard_partial_chunks wins over save_unfull_chunk: the last chunk is "
			"not stored",
			origin(state, "discard_partial_chunks", KVF_PLACE_EXTRA));
}

/* Salts are not shown: see quota.h. */
static void check_quotas(const struct kvf_state *state, struct kvf_report *report)
{
	const struct kvf_settings *s = &state->settings;
	const char *at = s->quota_min;
	struct kvf_quota quota;
	unsigned int n = 0;
	unsigned int salts;

	while (kvf_quota_next(&at, &quota)) {
		uint64_t max = kvf_quota_of(s->quota_max, quota.salt);

		n++;
		if (max && quota.bytes > max)
			kvf_report_add(report, KVF_ERROR,
				"%s: kvf_quota_min: the salt of entry %u is guaranteed %llu bytes, more "
				"than the %llu that kvf_quota_max gives it",
				origin(state, "kvf_quota_min", KVF_PLACE_EXTRA), n,
				(unsigned long long)quota.bytes, (unsigned long long)max);
	}
	salts = n;
	at = s->quota_max;
	while (kvf_quota_next(&at, &quota))
		salts += kvf_quota_of(s->quota_min, quota.salt) == 0;
	if (salts > KVF_QUOTA_SALTS_MAX)
		kvf_report_add(report, KVF_ERROR,
			"%s: %s: %u salts have a quota; at most %d",
			origin(state, n ? "kvf_quota_min" : "kvf_quota_max", KVF_PLACE_EXTRA),
			n ? "kvf_quota_min" : "kvf_quota_max", salts, KVF_QUOTA_SALTS_MAX);
}

static void check_disk(const struct kvf_state *state, struct kvf_report *report)
{
	const struct kvf_settings *s = &state->settings;

	if (*s->local_disk && s->max_local_disk_bytes == 0)
		kvf_report_add(report, KVF_WARNING,
			"%s: local_disk is set but max_local_disk_size is 0: nothing will be kept "
			"on disk",
			origin(state, "local_disk", KVF_PLACE_TOP));
	if (!*s->local_disk && s->max_local_disk_bytes > 0)
		kvf_report_add(report, KVF_WARNING,
			"%s: max_local_disk_size is set but local_disk is not: no disk tier",
			origin(state, "max_local_disk_size", KVF_PLACE_TOP));
}

static bool has_scheme(const char *url, const char *scheme)
{
	size_t n = strlen(scheme);

	return strncmp(url, scheme, n) == 0 && strncmp(url + n, "://", 3) == 0;
}

static void check_remote(const struct kvf_state *state, struct kvf_report *report)
{
	const struct kvf_settings *s = &state->settings;
	const char *where = origin(state, "remote_url", KVF_PLACE_TOP);
	bool seeded = *s->python_hash_seed && strcmp(s->python_hash_seed, "random") != 0;

	if (!*s->remote_url)
		return;
	if (has_scheme(s->remote_url, "resp") && s->save_unfull_chunk)
		kvf_report_add(report, KVF_WARNING,
			"%s: resp:// holds full chunks only: the last chunk of a prompt stays on "
			"this machine",
			where);
	if (has_scheme(s->remote_url, "resp") && s->save_chunk_meta &&
		given(state, "save_chunk_meta", KVF_PLACE_EXTRA))
		kvf_report_add(report, KVF_WARNING,
			"%s: resp:// stores raw bytes: LMCache wants save_chunk_meta: false with "
			"it",
			where);
	/* All but blake3 start from a value that depends on it. */
	if (!seeded && strcmp(s->pre_caching_hash_algorithm, "blake3") != 0)
		kvf_report_add(report, KVF_WARNING,
			"%s: PYTHONHASHSEED is not set to a number: LMCache processes draw a new start value "
			"each and would not "
			"find these chunks (pre_caching_hash_algorithm: %s). Set it to one number "
			"everywhere",
			where, s->pre_caching_hash_algorithm);
}

static void check_all(const struct kvf_state *state, struct kvf_report *report)
{
	check_pool(state, report);
	check_quotas(state, report);
	check_disk(state, report);
	check_remote(state, report);
}

int kvf_config_check(const struct kvf_config *config, struct kvf_report *report)
{
	struct kvf_report own;

	if (!config)
		return KVF_EINVAL;
	/* Counted apart: the caller's report may be absent, or hold errors of something else. */
	kvf_report_init(&own, NULL, 0);
	check_all(config->state, &own);
	check_all(config->state, report);
	return own.errors ? KVF_ECONFIG : KVF_OK;
}
