/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing an engine: what is checked, in which order things are built, and how they are taken down again.
 */
#include "engine/engine.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/report.h"
#include "config/config.h"
#include "tier/disk/disk.h"
#include "tier/resp/resp.h"

#define EVENT_RING 8192u
#define MIN_SLOTS 8u

/* ---- checks ---- */

static int check_identity(const struct kvf_open_params *p)
{
	if (p->identity.world_size < 1 || p->identity.world_size > 65535) {
		kvf_report_add(p->report, KVF_ERROR, "identity.world_size: %u is outside 1..65535",
			       p->identity.world_size);
		return KVF_ERANGE;
	}
	if (p->identity.rank >= p->identity.world_size) {
		kvf_report_add(p->report, KVF_ERROR, "identity.rank: %u must be below world_size %u", p->identity.rank,
			       p->identity.world_size);
		return KVF_ERANGE;
	}
	if (p->n_tiers > KVF_MAX_TIERS || (p->n_tiers && !p->tiers)) {
		kvf_report_add(p->report, KVF_ERROR, "n_tiers: %u, at most %d and tiers set", p->n_tiers,
			       KVF_MAX_TIERS);
		return KVF_EINVAL;
	}
	if (!p->layout && !(p->flags & KVF_OPEN_LOOKUP_ONLY)) {
		kvf_report_add(p->report, KVF_ERROR, "layout: missing; only KVF_OPEN_LOOKUP_ONLY engines do without");
		return KVF_EINVAL;
	}
	if (!p->layout && !p->chunk_bytes) {
		kvf_report_add(p->report, KVF_ERROR,
			       "chunk_bytes: 0; a lookup-only engine needs the payload size of a chunk");
		return KVF_EINVAL;
	}
	return KVF_OK;
}

static void take_settings(struct kvf_engine *e, const struct kvf_settings *s)
{
	e->chunk_size = s->chunk_size;
	e->local_cpu = s->local_cpu;
	e->save_unfull = s->save_unfull_chunk && !s->discard_partial_chunks;
	e->min_retrieve_tokens = s->min_retrieve_tokens;
	e->scrub = s->scrub;
	e->default_timeout_ns = s->blocking_timeout_ns;
	e->pin_timeout_ns = s->pin_timeout_ns;
	e->max_ops = s->max_ops;
	e->log.level = (enum kvf_log_level)s->log_level;
}

/* ---- building ---- */

static int build_identity(struct kvf_engine *e, const struct kvf_open_params *p)
{
	const char *model = p->identity.model ? p->identity.model : "";
	bool pages;
	int rc;

	e->world_size = p->identity.world_size;
	e->rank = p->identity.rank;
	e->model_bytes = strlen(model) + 1;
	e->model = kvf_mem_alloc(&e->mem, e->model_bytes);
	if (!e->model)
		return KVF_ENOMEM;
	memcpy(e->model, model, e->model_bytes);
	if (p->layout) {
		rc = kvf_layout_init(&e->plan, &e->mem, p->layout, e->chunk_size, e->detail, sizeof(e->detail));
		if (rc) {
			kvf_report_add(p->report, KVF_ERROR, "layout: %s", e->detail);
			return rc;
		}
		e->has_layout = true;
		e->payload_bytes = e->plan.payload_bytes;
	} else {
		e->payload_bytes = p->chunk_bytes;
	}
	pages = e->has_layout && e->plan.layout.payload_order == KVF_PAYLOAD_PAGES;
	kvf_key_fingerprint(e->fingerprint, &p->identity, e->has_layout ? &e->plan.layout : NULL, e->chunk_size,
			    e->payload_bytes, pages ? kvf_layout_order_code(&e->plan) : 0);
	return KVF_OK;
}

static int count_slots(struct kvf_engine *e, const struct kvf_settings *s, struct kvf_report *report, uint32_t *n_slots)
{
	uint32_t slot_bytes = kvf_pool_slot_bytes(e->payload_bytes);
	uint64_t n = s->pool_slots;
	uint64_t bytes = e->rules.for_all && s->first_rank_max_local_cpu_bytes ? s->first_rank_max_local_cpu_bytes :
										 s->max_local_cpu_bytes;

	if (!slot_bytes) {
		kvf_report_add(report, KVF_ERROR, "layout: a chunk of %llu bytes is too large: the bound is 4 GiB",
			       (unsigned long long)e->payload_bytes);
		return KVF_ERANGE;
	}
	if (!n)
		n = bytes / slot_bytes;
	if (n < MIN_SLOTS) {
		kvf_report_add(report, KVF_ERROR,
			       "max_local_cpu_size: %llu bytes hold %llu chunks of %u bytes; at least %u chunks = "
			       "%llu bytes are needed",
			       (unsigned long long)bytes, (unsigned long long)n, slot_bytes, MIN_SLOTS,
			       (unsigned long long)MIN_SLOTS * slot_bytes);
		return KVF_ERANGE;
	}
	if (n > UINT32_MAX / 2) {
		kvf_report_add(report, KVF_ERROR, "max_local_cpu_size: %llu slots are more than %u",
			       (unsigned long long)n, UINT32_MAX / 2);
		return KVF_ERANGE;
	}
	*n_slots = (uint32_t)n;
	return kvf_pool_check_memory("",
				     kvf_pool_map_bytes(e->payload_bytes, *n_slots, s->local_cpu_use_hugepages),
				     s->reserve_local_cpu_bytes, s->local_cpu_use_hugepages, report);
}

static int lock_memory(void *arg, void *p, size_t n)
{
	struct kvf_engine *e = arg;

	return e->device->lock(e->device_self, p, n);
}

static void unlock_memory(void *arg, void *p, size_t n)
{
	struct kvf_engine *e = arg;

	e->device->unlock(e->device_self, p, n);
}

static int build_pool(struct kvf_engine *e, const struct kvf_settings *s, struct kvf_report *report)
{
	bool locks = e->device && e->device->lock;
	struct kvf_pool_params params = {
		.payload_bytes = (uint32_t)e->payload_bytes,
		.hugetlb = s->local_cpu_use_hugepages,
		.numa_node = kvf_numa_node(e, s, report),
		.lock = locks ? lock_memory : NULL,
		.unlock = locks && e->device->unlock ? unlock_memory : NULL,
		.lock_arg = e,
	};
	int rc = count_slots(e, s, report, &params.n_slots);

	if (!rc)
		rc = kvf_pool_init(&e->pool, &e->mem, &params, report);
	if (rc)
		return rc;
	do {
		rc = kvf_pool_step(&e->pool);
	} while (rc > 0 && (s->pool_before_open || e->pool.n_ready < MIN_SLOTS));
	if (rc < 0 || e->pool.n_ready < MIN_SLOTS) {
		kvf_report_add(report, KVF_ERROR, "max_local_cpu_size: the first slice of the pool could not be %s",
			       e->pool.lock_error ? "locked" : "mapped");
		return rc ? rc : KVF_ENOMEM;
	}
	if (e->pool.numa_errno)
		kvf_report_add(report, KVF_WARNING,
			       "numa_mode: the pool could not be bound to node %d (%s): it lies where it was touched",
			       params.numa_node, strerror(e->pool.numa_errno));
	e->growing = e->pool.due;
	/* Every entry has a slot, so there are never more entries than slots. */
	rc = kvf_index_init(&e->index, &e->mem, params.n_slots);
	if (!rc)
		rc = kvf_tenants_init(e, s->cache_policy);
	return rc;
}

static int build_operations(struct kvf_engine *e, const struct kvf_open_params *p)
{
	int rc = kvf_ring_init(e, e->max_ops * 3);

	if (!rc && !(p->flags & KVF_OPEN_NO_EVENTS))
		rc = kvf_events_init(e, EVENT_RING);
	if (!rc)
		rc = kvf_heap_reserve(&e->timers.jobs, e->max_ops);
	if (rc)
		return rc;
	e->summer = kvf_checksum_new(&e->mem);
	return e->summer ? kvf_metrics_init(e) : KVF_ENOMEM;
}

static int build_disk(struct kvf_engine *e, const struct kvf_open_params *p, const struct kvf_settings *s)
{
	struct kvf_disk_params params = {
		.dirs = s->local_disk,
		.max_bytes = s->max_local_disk_bytes,
		.min_free_bytes = s->disk_min_free_bytes,
		.aio = s->aio,
		.admission = s->disk_admission,
		.durable = s->disk_durable,
		.foreign = s->disk_foreign,
		.depth = s->disk_depth,
		.depth_bytes = s->disk_depth_bytes,
		.migrating = e->migrating,
	};
	int rc;

	/* A size of 0 keeps nothing: the report warned about it. */
	if (!s->local_disk[0] || !s->max_local_disk_bytes)
		return KVF_OK;
	rc = kvf_disk_new(&e->disk, &e->mem, &params);
	return rc ? rc : kvf_tier_add(e, &kvf_disk_ops, e->disk, KVF_TIER_DISK, p);
}

static int build_tiers(struct kvf_engine *e, const struct kvf_open_params *p, const struct kvf_config *config)
{
	int rc = build_disk(e, p, kvf_config_settings(config));

	if (!rc)
		rc = kvf_remote_open(e, p, config);

	if (!rc && p->n_tiers > KVF_MAX_TIERS - e->n_tiers) {
		kvf_report_add(p->report, KVF_ERROR, "n_tiers: %u beside those of the configuration, at most %d in all",
			       p->n_tiers, KVF_MAX_TIERS);
		rc = KVF_EINVAL;
	}
	if (rc)
		return rc;
	for (uint32_t t = 0; t < p->n_tiers; t++) {
		rc = kvf_tier_add(e, p->tiers[t].ops, p->tiers[t].self, KVF_TIER_CUSTOM, p);
		if (!rc && e->tier[e->n_tiers - 1].caps & KVF_TIER_WIRE)
			rc = kvf_wire_begin(e, p, kvf_config_settings(config));
		if (rc) {
			kvf_report_add(p->report, KVF_ERROR, "tier %s: %s", p->tiers[t].ops->name, kvf_strerror(rc));
			return rc;
		}
	}
	e->tier_mask = (1u << e->n_tiers) - 1;
	return KVF_OK;
}

/* One page that a fork zeroes: the child finds out without a system call. */
static int map_fork_word(struct kvf_engine *e)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t *word = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (word == MAP_FAILED)
		return KVF_ENOMEM;
	/* Without MADV_WIPEONFORK (before Linux 4.14) children are not told apart. */
	(void)madvise(word, page, MADV_WIPEONFORK);
	*word = 1;
	e->fork_word = word;
	return KVF_OK;
}

static void init_bare(struct kvf_engine *e, const struct kvf_open_params *p)
{
	e->flags = p->flags;
	e->migrating = p->flags & KVF_OPEN_MIGRATING;
	kvf_log_init(&e->log, p->log, KVF_LOG_WARNING);
	kvf_clock_init(&e->clock, p->clock);
	kvf_clock_update(&e->clock);
	kvf_loop_init(&e->loop, &e->mem);
	kvf_list_init(&e->ready);
	kvf_list_init(&e->copy_wait);
	kvf_list_init(&e->sums);
	kvf_list_init(&e->spills);
	kvf_list_init(&e->doomed_spills);
	kvf_list_init(&e->flushes);
	kvf_list_init(&e->want_store);
	kvf_list_init(&e->rate_waiters);
	kvf_heap_init(&e->timers.jobs, &e->mem);
	kvf_heap_init(&e->timers.puts, &e->mem);
	kvf_heap_init(&e->timers.leases, &e->mem);
	kvf_slab_init(&e->jobs, &e->mem, sizeof(struct kvf_job));
	kvf_slab_init(&e->fills, &e->mem, sizeof(struct kvf_fill));
	kvf_slab_init(&e->spill_slab, &e->mem, sizeof(struct kvf_spill));
	kvf_slab_init(&e->leases, &e->mem, sizeof(struct kvf_lease *));
	e->shutdown_at_ns = KVF_NEVER;
}

static void init_seqs(struct kvf_engine *e)
{
	e->seqs.mem = &e->mem;
	e->seqs.chunk_size = e->chunk_size;
	memcpy(e->seqs.fingerprint, e->fingerprint, sizeof(e->seqs.fingerprint));
	kvf_list_init(&e->seqs.all);
	e->seqs.detail = e->detail;
	e->seqs.detail_size = sizeof(e->detail);
	e->seqs.engine = e;
}

static int build(struct kvf_engine *e, const struct kvf_open_params *p, const struct kvf_config *config)
{
	const struct kvf_settings *s = kvf_config_settings(config);
	int rc = kvf_config_check(config, p->report);

	if (rc)
		return rc;
	take_settings(e, s);
	kvf_store_rules_init(e, p, s);
	rc = map_fork_word(e);
	if (!rc)
		rc = build_identity(e, p);
	if (!rc)
		rc = kvf_device_open(e, p, s);
	if (!rc)
		rc = build_pool(e, s, p->report);
	if (!rc)
		rc = kvf_quotas_open(e, s, p->report);
	if (!rc)
		rc = build_operations(e, p);
	if (rc)
		return rc;
	kvf_rates_set(e, s->spill_rate, s->prefetch_rate);
	init_seqs(e);
	rc = build_tiers(e, p, config);
	if (!rc)
		kvf_slots_caps(e);
	return rc;
}

/* ---- taking down ---- */

static void free_seqs(struct kvf_engine *e)
{
	if (!e->seqs.all.next)
		return;
	while (!kvf_list_empty(&e->seqs.all))
		kvf_seq_free(kvf_list_entry(e->seqs.all.next, struct kvf_seq, link));
}

/* Works on an engine that is built only in part. */
void kvf_engine_free(struct kvf_engine *e)
{
	void *fork_word = (void *)(uintptr_t)e->fork_word;
	struct kvf_mem mem;

	free_seqs(e);
	kvf_tiers_close(e);
	kvf_disk_free(e->disk);
	kvf_resp_free(e->remote);
	if (e->summer)
		kvf_checksum_free(&e->mem, e->summer);
	kvf_metrics_fini(e);
	kvf_events_fini(e);
	if (e->ring.entry)
		kvf_ring_fini(e);
	kvf_tenants_fini(e);
	if (e->index.mem)
		kvf_index_fini(&e->index);
	if (e->pool.mem)
		kvf_pool_fini(&e->pool);
	kvf_device_close(e);
	if (e->has_layout)
		kvf_layout_fini(&e->plan, &e->mem);
	kvf_mem_free(&e->mem, e->model, e->model_bytes);
	kvf_loop_fini(&e->loop);
	/* Before what is on them: they write into it. */
	kvf_heap_fini(&e->timers.jobs);
	kvf_heap_fini(&e->timers.puts);
	kvf_heap_fini(&e->timers.leases);
	kvf_slab_fini(&e->jobs);
	kvf_slab_fini(&e->fills);
	kvf_slab_fini(&e->spill_slab);
	kvf_leases_fini(e);
	/* The engine's own memory came from the allocator that is inside it. What that has cached goes back while
	 * there is still an engine to say no to a host whose allocator calls in. */
	mem = e->mem;
	kvf_mem_fini(&mem);
	if (fork_word)
		munmap(fork_word, (size_t)sysconf(_SC_PAGESIZE));
	kvf_mem_free(&mem, e, sizeof(*e));
	kvf_mem_fini(&mem);
}

int kvf_engine_open(struct kvf_engine **out, const struct kvf_open_params *p)
{
	struct kvf_config *own = NULL;
	struct kvf_mem mem;
	struct kvf_engine *e;
	int rc;

	if (!out || !p || p->size < sizeof(*p))
		return KVF_EINVAL;
	rc = check_identity(p);
	if (rc)
		return rc;
	kvf_mem_init(&mem, p->allocator);
	e = kvf_mem_zalloc(&mem, sizeof(*e));
	if (!e)
		return KVF_ENOMEM;
	e->mem = mem;
	init_bare(e, p);
	rc = p->config ? KVF_OK : kvf_config_create(&own, p->allocator);
	if (!rc)
		rc = build(e, p, p->config ? p->config : own);
	kvf_config_destroy(own);
	if (rc) {
		if (e->detail[0])
			kvf_report_add(p->report, KVF_NOTE, "%s", e->detail);
		kvf_engine_free(e);
		return rc;
	}
	*out = e;
	return KVF_OK;
}
