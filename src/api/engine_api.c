/* SPDX-License-Identifier: Apache-2.0 */
/* Public calls on the engine: driving it, looking inside, ending it. */
#include "api/guard.h"

#include <string.h>

void kvf_open_params_init(struct kvf_open_params *params)
{
	memset(params, 0, sizeof(*params));
	params->size = sizeof(*params);
	params->identity.size = sizeof(params->identity);
	params->identity.world_size = 1;
}

int kvf_poll(struct kvf_engine *e, struct kvf_completion *out, unsigned max)
{
	int rc;

	if (kvf_unlikely(!e || (max && !out)))
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (kvf_unlikely(rc))
		return rc;
	if (!e->ring.n && kvf_engine_quiet(e))
		return kvf_exit(e, 0);
	kvf_turn(e);
	rc = max ? (int)kvf_ring_reap(e, out, max) : 0;
	kvf_arm(e);
	return kvf_exit(e, rc);
}

uint64_t kvf_next_deadline_ns(const struct kvf_engine *e)
{
	return e ? kvf_engine_deadline(e) : KVF_NO_DEADLINE;
}

int kvf_fd(struct kvf_engine *e)
{
	int rc;

	if (!e)
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	kvf_clock_update(&e->clock);
	rc = kvf_loop_fd(&e->loop);
	if (rc >= 0)
		kvf_arm(e);
	return kvf_exit(e, rc);
}

uint64_t kvf_now_ns(const struct kvf_engine *e)
{
	return e ? kvf_clock_peek(&e->clock) : 0;
}

const char *kvf_error_detail(const struct kvf_engine *e)
{
	return e ? e->detail : "";
}

int kvf_engine_rebind(struct kvf_engine *e, const struct kvf_layout *layout)
{
	int rc;

	if (!e || !layout)
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	if (e->dead)
		rc = KVF_EDEAD;
	else if (!e->device)
		rc = kvf_refuse(e, KVF_EINVAL, "rebind: this engine has no device");
	else if (e->n_copies || !kvf_list_empty(&e->copy_wait))
		rc = kvf_refuse(e, KVF_EBUSY, "rebind: %u copies are in flight", e->n_copies);
	else
		rc = kvf_device_rebind(e, layout);
	return kvf_exit(e, rc);
}

int kvf_engine_shutdown(struct kvf_engine *e, enum kvf_shutdown_mode mode, uint64_t deadline_ns)
{
	int rc;

	if (!e || (unsigned)mode > KVF_SHUTDOWN_FLUSH)
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	kvf_clock_update(&e->clock);
	rc = kvf_shutdown_begin(e, mode, deadline_ns);
	kvf_arm(e);
	return kvf_exit(e, rc);
}

int kvf_engine_idle(const struct kvf_engine *e)
{
	if (!e)
		return 1;
	if (e->dead)
		return e->ring.n == 0;
	if (e->shutting && e->flush_walk)
		return 0;
	return !e->ring.n && !kvf_engine_in_flight(e) && kvf_list_empty(&e->ready);
}

int kvf_engine_close(struct kvf_engine *e)
{
	int rc;

	if (!e)
		return KVF_OK;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	/* A dead engine's structures cannot be trusted, but what the device and the tiers still hold can be counted. */
	if (e->n_copies || e->n_requests || (!e->dead && kvf_engine_in_flight(e)))
		return kvf_exit(e, kvf_refuse(e, KVF_EBUSY, "close: %u operations, %u copies, %llu requests in flight",
					      e->n_jobs, e->n_copies, (unsigned long long)e->n_requests));
	kvf_engine_free(e);
	return KVF_OK;
}

int kvf_get_stats(const struct kvf_engine *e, struct kvf_stats *stats)
{
	int rc;

	if (!e || !stats || stats->size < sizeof(stats->size))
		return KVF_EINVAL;
	rc = kvf_peek(e);
	if (!rc)
		kvf_stats_fill(e, stats);
	return rc;
}

int kvf_verify(struct kvf_engine *e)
{
	int rc;

	if (!e)
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	return kvf_exit(e, kvf_engine_verify(e));
}

int kvf_events(struct kvf_engine *e, struct kvf_event *out, unsigned max, uint64_t *lost)
{
	int rc;

	if (!e || (max && !out))
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	return kvf_exit(e, kvf_events_read(e, out, max, lost));
}

int kvf_snapshot(struct kvf_engine *e, uint64_t *cursor, struct kvf_event *out, unsigned max)
{
	int rc;

	if (!e || !cursor || (max && !out))
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	return kvf_exit(e, kvf_events_snapshot(e, cursor, out, max));
}

int kvf_set_timeline(struct kvf_engine *e, void (*write)(const char *json, size_t n, void *user), void *user)
{
	int rc;

	if (!e)
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	e->timeline = (struct kvf_timeline){ write, user };
	if (write)
		kvf_timeline_begin(e);
	return kvf_exit(e, KVF_OK);
}
