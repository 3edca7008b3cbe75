/* SPDX-License-Identifier: Apache-2.0 */
/* A tier in memory for unit tests: see memtier.h. */
#include "tests/memtier.h"

#include <stdlib.h>
#include <string.h>

static int open_tier(void *self, struct kvf_tier_host *host, const struct kvf_tier_open *params, uint32_t *caps)
{
	struct memtier *m = self;

	m->host = host;
	m->params = *params;
	*caps = m->caps;
	return KVF_OK;
}

static void close_tier(void *self)
{
	(void)self;
}

static void note_name(struct memtier *m, const struct kvf_tier_req *req)
{
	char name[sizeof(m->names[0].text)];

	if (!(m->caps & KVF_TIER_WIRE) || m->n_names == MEMTIER_NAMES ||
	    m->host->wire_name(m->host, req, name, sizeof(name)) < 0)
		return;
	for (uint32_t i = 0; i < m->n_names; i++)
		if (!strcmp(m->names[i].text, name))
			return;
	memcpy(m->names[m->n_names++].text, name, sizeof(name));
}

static unsigned submit(void *self, struct kvf_tier_req *const *reqs, unsigned n)
{
	struct memtier *m = self;
	unsigned taken = 0;

	m->batches++;
	while (taken < n && m->n_held < MEMTIER_MAX && (!m->room || m->n_held < m->room) &&
	       reqs[taken]->kind != m->full_kind)
		m->held[m->n_held++] = reqs[taken++];
	for (unsigned i = 0; i < taken; i++) {
		m->last[reqs[i]->kind] = *reqs[i];
		note_name(m, reqs[i]);
	}
	if (m->n_held > m->most_held)
		m->most_held = m->n_held;
	return taken;
}

static struct memtier_chunk *find(struct memtier *m, const uint8_t *key)
{
	for (uint32_t i = 0; i < m->n_chunks; i++) {
		if (!memcmp(m->chunk[i].key, key, KVF_KEY_BYTES))
			return &m->chunk[i];
	}
	return NULL;
}

static uint32_t head_bytes(const struct memtier *m)
{
	return m->caps & KVF_TIER_RECORDS ? KVF_SLOT_HEADER_BYTES : 0;
}

static int put(struct memtier *m, struct kvf_tier_req *req)
{
	struct memtier_chunk *c = find(m, req->key);
	uint32_t head = head_bytes(m);

	if (!c) {
		if (m->n_chunks == MEMTIER_MAX)
			return KVF_ENOSPC;
		c = &m->chunk[m->n_chunks++];
		memcpy(c->key, req->key, sizeof(c->key));
		c->bytes = NULL;
	}
	free(c->bytes);
	c->bytes = malloc(head + req->payload_bytes);
	memcpy(c->bytes, req->slot + KVF_SLOT_HEADER_BYTES - head, head + req->payload_bytes);
	c->payload_bytes = req->payload_bytes;
	c->checksum = req->checksum;
	return KVF_OK;
}

static int get(struct memtier *m, struct kvf_tier_req *req)
{
	struct memtier_chunk *c = find(m, req->key);
	uint32_t head = head_bytes(m);

	if (!c)
		return KVF_ENOENT;
	memcpy(req->slot + KVF_SLOT_HEADER_BYTES - head, c->bytes, head + c->payload_bytes);
	req->payload_bytes = c->payload_bytes;
	req->has_checksum = !head && !m->unchecked;
	req->checksum = c->checksum;
	return KVF_OK;
}

static int erase(struct memtier *m, const uint8_t *key)
{
	struct memtier_chunk *c = find(m, key);

	if (!c)
		return KVF_ENOENT;
	free(c->bytes);
	*c = m->chunk[--m->n_chunks];
	return KVF_OK;
}

static int carry_out(struct memtier *m, struct kvf_tier_req *req)
{
	switch (req->kind) {
	case KVF_REQ_EXISTS:
		m->exists++;
		return find(m, req->key) ? KVF_OK : KVF_ENOENT;
	case KVF_REQ_GET:
		m->gets++;
		return get(m, req);
	case KVF_REQ_PUT:
		m->puts++;
		return put(m, req);
	case KVF_REQ_REMOVE:
		m->removes++;
		return erase(m, req->key);
	default:
		m->clears++;
		memtier_free(m);
		return KVF_OK;
	}
}

static uint64_t progress(void *self, uint64_t now_ns, uint64_t budget)
{
	struct memtier *m = self;
	uint32_t n = m->n_held;

	(void)now_ns;
	(void)budget;
	if (!n && m->own_work)
		return m->own_work--;
	if (m->hold && !m->hold_kind)
		return 0;
	m->n_held = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct kvf_tier_req *req = m->held[m->backwards && !m->hold ? n - 1 - i : i];
		bool fails = m->fail && (!m->fail_kind || m->fail_kind == req->kind);

		if (m->hold && m->hold_kind == req->kind)
			m->held[m->n_held++] = req;
		else
			m->host->complete(m->host, req, fails ? m->fail : carry_out(m, req));
	}
	return n - m->n_held;
}

static void cancel(void *self, struct kvf_tier_req *req)
{
	struct memtier *m = self;
	uint32_t at = 0;

	m->cancels++;
	while (at < m->n_held && m->held[at] != req)
		at++;
	if (at == m->n_held)
		m->strangers++;
	else if (m->lets_all_go)
		while (m->n_held)
			m->host->complete(m->host, m->held[--m->n_held], KVF_ECANCELED);
	else if (m->lets_go) {
		m->held[at] = m->held[--m->n_held];
		m->host->complete(m->host, req, KVF_ECANCELED);
	}
}

void memtier_free(struct memtier *m)
{
	while (m->n_chunks)
		free(m->chunk[--m->n_chunks].bytes);
}

const struct kvf_tier_ops memtier_ops = {
	.size = sizeof(memtier_ops),
	.name = "memtier",
	.open = open_tier,
	.close = close_tier,
	.submit = submit,
	.cancel = cancel,
	.progress = progress,
};
