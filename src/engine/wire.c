/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMCache's names and metadata for tiers that store under them (KVF_TIER_WIRE): what of a name is the same for all
 * chunks is printed once, at open.
 */
#include "engine/engine.h"

#include <string.h>

#include "base/report.h"
#include "config/config.h"
#include "token/wire_key.h"
#include "token/wire_meta.h"

/* A chunk without LMCache's hash (every one of an opaque layout) goes by its key: 64 digits, which no hash of LMCache's
 * that is a number ever has, and a digest only by a collision of SHA-256. */
#define KEY_DIGITS (2 * KVF_KEY_BYTES)

static bool multiprocess(const struct kvf_engine *e)
{
	return e->wire.seqs.start.form == KVF_WIRE_MP;
}

/* The layout was checked: it is one of these. */
static enum kvf_wire_dtype dtype_of(enum kvf_dtype dtype)
{
	static const uint8_t map[] = {
		[KVF_FLOAT16] = KVF_WIRE_HALF,	       [KVF_BFLOAT16] = KVF_WIRE_BFLOAT16,
		[KVF_FLOAT32] = KVF_WIRE_FLOAT,	       [KVF_FLOAT64] = KVF_WIRE_DOUBLE,
		[KVF_UINT8] = KVF_WIRE_UINT8,	       [KVF_INT8] = KVF_WIRE_INT8,
		[KVF_FP8_E4M3] = KVF_WIRE_FP8_E4M3FN, [KVF_FP8_E5M2] = KVF_WIRE_FP8_E5M2,
	};

	return (enum kvf_wire_dtype)map[dtype];
}

/* ---- metadata ---- */

static bool opaque(const struct kvf_engine *e)
{
	return e->plan.layout.kind == KVF_LAYOUT_OPAQUE;
}

/* Bytes that LMCache could do nothing with, under a name it never asks for: it has a format for such. */
static void fill_opaque(const struct kvf_engine *e, uint32_t n_tokens, struct kvf_wire_meta *meta)
{
	memset(meta, 0, sizeof(*meta));
	meta->length = kvf_layout_payload_bytes(&e->plan, n_tokens);
	meta->format = KVF_WIRE_BINARY;
	meta->n_groups = 1;
	meta->groups[0].dtype = KVF_WIRE_UINT8;
	meta->groups[0].dims[0] = n_tokens;
}

static void fill_meta(const struct kvf_engine *e, uint32_t n_tokens, struct kvf_wire_meta *meta)
{
	const struct kvf_layout *layout = &e->plan.layout;

	if (opaque(e)) {
		fill_opaque(e, n_tokens, meta);
		return;
	}
	meta->length = kvf_layout_payload_bytes(&e->plan, n_tokens);
	meta->format = layout->groups[0].planes == 1 ? KVF_WIRE_KV_MLA : KVF_WIRE_KV_2LTD;
	meta->n_groups = layout->n_groups;
	for (uint32_t i = 0; i < layout->n_groups; i++) {
		const struct kvf_group *g = &layout->groups[i];

		meta->groups[i].dtype = dtype_of(g->dtype);
		meta->groups[i].dims[0] = g->planes;
		meta->groups[i].dims[1] = g->n_layers;
		meta->groups[i].dims[2] = n_tokens;
		meta->groups[i].dims[3] = g->heads * g->head_elems;
	}
}

static bool same_meta(const struct kvf_wire_meta *a, const struct kvf_wire_meta *b)
{
	if (a->length != b->length || a->format != b->format || a->n_groups != b->n_groups)
		return false;
	for (uint32_t i = 0; i < a->n_groups; i++)
		if (a->groups[i].dtype != b->groups[i].dtype ||
		    memcmp(a->groups[i].dims, b->groups[i].dims, sizeof(a->groups[i].dims)) != 0)
			return false;
	return true;
}

static struct kvf_engine *engine_of(struct kvf_tier_host *host)
{
	return kvf_container_of(host, struct kvf_tier, host)->engine;
}

int kvf_wire_host_meta(struct kvf_tier_host *host, uint32_t n_tokens, uint8_t *buf, size_t cap)
{
	struct kvf_engine *e = engine_of(host);
	struct kvf_wire_meta meta;

	if (!e->wire.on)
		return KVF_ENOTSUP;
	fill_meta(e, n_tokens, &meta);
	return kvf_wire_meta_encode(&meta, buf, cap, NULL);
}

int kvf_wire_check_meta(const struct kvf_engine *e, struct kvf_report *report)
{
	uint8_t buf[KVF_WIRE_META_MAX];
	struct kvf_wire_meta meta;
	int n;

	fill_meta(e, e->chunk_size, &meta);
	n = kvf_wire_meta_encode(&meta, buf, sizeof(buf), report);
	return n < 0 ? n : KVF_OK;
}

int kvf_wire_host_payload(struct kvf_tier_host *host, uint32_t n_tokens, const uint8_t *bytes, size_t n,
			  uint32_t *payload_bytes)
{
	struct kvf_engine *e = engine_of(host);
	struct kvf_wire_meta ours, theirs;

	if (!e->wire.on || !n_tokens || n_tokens > e->chunk_size)
		return KVF_ENOENT;
	if (bytes) {
		fill_meta(e, n_tokens, &ours);
		if (kvf_wire_meta_decode(bytes, n, NULL, &theirs) || !same_meta(&ours, &theirs))
			return KVF_ENOENT;
	}
	*payload_bytes = (uint32_t)kvf_layout_payload_bytes(&e->plan, n_tokens);
	return KVF_OK;
}

/* ---- names ---- */

static bool append(char *buf, size_t cap, size_t *at, const char *text, size_t n)
{
	if (*at + n >= cap)
		return false;
	memcpy(buf + *at, text, n);
	*at += n;
	buf[*at] = '\0';
	return true;
}

static int print_hash(const struct kvf_engine *e, const struct kvf_tier_req *req, char text[KVF_WIRE_HASH_TEXT])
{
	struct kvf_wire_hash hash = { .kind = KVF_WIRE_BYTES, .size = KVF_KEY_BYTES };

	if (req->wire_len)
		kvf_wire_unpack(&e->wire.seqs, req->wire, &hash);
	else
		memcpy(hash.bytes, req->key, KVF_KEY_BYTES);
	return kvf_wire_hash_print(&hash, text, KVF_WIRE_HASH_TEXT);
}

static int print_name(const struct kvf_engine *e, const struct kvf_tier_req *req, const char *head, size_t head_n,
		      char *buf, size_t cap)
{
	const struct kvf_wire_names *w = &e->wire;
	char hash[KVF_WIRE_HASH_TEXT];
	size_t at = 0;
	int n;

	if (!w->on)
		return KVF_ENOTSUP;
	n = print_hash(e, req, hash);
	if (n < 0)
		return n;
	if (!append(buf, cap, &at, head, head_n) || !append(buf, cap, &at, hash, (size_t)n) ||
	    !append(buf, cap, &at, w->tail, w->tail_n) ||
	    (req->wire_len && req->wire_suffix_n && !append(buf, cap, &at, req->wire_suffix, req->wire_suffix_n)))
		return KVF_ERANGE;
	return (int)at;
}

static enum kvf_wire_dtype frame_dtype(const struct kvf_engine *e)
{
	return opaque(e) ? KVF_WIRE_UINT8 : dtype_of(e->plan.layout.groups[0].dtype);
}

int kvf_wire_host_name(struct kvf_tier_host *host, const struct kvf_tier_req *req, char *buf, size_t cap)
{
	const struct kvf_engine *e = engine_of(host);

	return print_name(e, req, e->wire.head, e->wire.head_n, buf, cap);
}

int kvf_wire_host_older(struct kvf_tier_host *host, const struct kvf_tier_req *req, char *buf, size_t cap)
{
	const struct kvf_engine *e = engine_of(host);

	return e->wire.older_n ? print_name(e, req, e->wire.older, e->wire.older_n, buf, cap) : KVF_ENOENT;
}

/* Prints a name with a hash of one digit, and takes what stands before and behind it. */
static int print_frame(struct kvf_engine *e, const struct kvf_identity *id, enum kvf_wire_ip_era era,
		       struct kvf_report *report)
{
	struct kvf_wire_names *w = &e->wire;
	struct kvf_wire_hash number = { .kind = KVF_WIRE_UNSIGNED, .number = 0 };
	struct kvf_wire_hash digest = { .kind = KVF_WIRE_BYTES, .size = 1 };
	uint32_t world = id->first_rank_only ? 1 : id->world_size;
	uint32_t rank = id->first_rank_only ? 0 : id->rank;
	struct kvf_wire_ip_key ip = { .model = e->model, .world_size = world, .worker_id = rank, .hash = &number,
				      .dtype = frame_dtype(e), .layer = KVF_WIRE_NO_LAYER };
	struct kvf_wire_mp_key mp = { .model = e->model, .hash = &digest };
	int n;

	if (multiprocess(e)) {
		n = kvf_wire_kv_rank(world, rank, report, &mp.kv_rank);
		if (n)
			return n;
	}
	n = multiprocess(e) ? kvf_wire_mp_key_print(&mp, KVF_WIRE_MP_NOW, w->head, sizeof(w->head), report) :
			      kvf_wire_ip_key_print(&ip, era, w->head, sizeof(w->head), report);
	if (n < 0)
		return n;
	if (!multiprocess(e) && era != KVF_WIRE_IP_VLLM) {
		(void)append(w->tail, sizeof(w->tail), &w->tail_n, "@", 1);
		(void)append(w->tail, sizeof(w->tail), &w->tail_n, kvf_wire_dtype_name(ip.dtype),
			     strlen(kvf_wire_dtype_name(ip.dtype)));
	}
	w->head_n = (size_t)n - w->tail_n - (multiprocess(e) ? 2 : 1);
	if (!multiprocess(e))
		return KVF_OK;
	n = kvf_wire_mp_key_print(&mp, KVF_WIRE_MP_THREE_FIELDS, w->older, sizeof(w->older), report);
	if (n < 0)
		return n;
	w->older_n = (size_t)n - 2;
	return KVF_OK;
}

static int check_layout(const struct kvf_engine *e, struct kvf_report *report)
{
	const struct kvf_layout *layout = &e->plan.layout;

	if (!e->has_layout) {
		kvf_report_add(report, KVF_ERROR, "layout: LMCache's formats need one, to say what a chunk is");
		return KVF_ENOTSUP;
	}
	if (!opaque(e) && layout->payload_order != KVF_PAYLOAD_LMCACHE) {
		kvf_report_add(report, KVF_ERROR,
			       "layout.payload_order: KVF_PAYLOAD_PAGES is not an order of LMCache's formats");
		return KVF_ENOTSUP;
	}
	return KVF_OK;
}

static enum kvf_wire_form form_of(const struct kvf_settings *s, enum kvf_wire_algo algo)
{
	switch ((enum kvf_remote_names)s->remote_names) {
	case KVF_NAMES_AUTO:
		return algo == KVF_WIRE_BLAKE3 ? KVF_WIRE_MP : KVF_WIRE_IP;
	case KVF_NAMES_MP:
		return KVF_WIRE_MP;
	case KVF_NAMES_2026_03:
		return algo == KVF_WIRE_BUILTIN ? KVF_WIRE_IP : KVF_WIRE_IP_DIGEST;
	case KVF_NAMES_2026_02:
	case KVF_NAMES_2025_11:
	case KVF_NAMES_2025_07:
		return KVF_WIRE_IP_NONE;
	case KVF_NAMES_LEGACY:
		return KVF_WIRE_LEGACY;
	case KVF_NAMES_IP:
		break;
	}
	return KVF_WIRE_IP;
}

static enum kvf_wire_ip_era era_of(const struct kvf_settings *s)
{
	if (s->remote_names == KVF_NAMES_2025_07 || s->remote_names == KVF_NAMES_LEGACY)
		return KVF_WIRE_IP_VLLM;
	return s->remote_names == KVF_NAMES_2025_11 ? KVF_WIRE_IP_VLLM_DTYPE : KVF_WIRE_IP_NOW;
}

int kvf_wire_begin(struct kvf_engine *e, const struct kvf_open_params *p, const struct kvf_settings *s)
{
	struct kvf_wire_config config = { .seed = s->python_hash_seed[0] ? s->python_hash_seed : NULL };
	int rc;

	if (e->wire.on)
		return KVF_OK;
	rc = check_layout(e, p->report);
	if (!rc)
		rc = kvf_wire_algo_parse(s->pre_caching_hash_algorithm, &config.algo);
	if (rc)
		return rc;
	config.form = form_of(s, config.algo);
	rc = kvf_seq_wiring_init(&e->wire.seqs, &config, p->report);
	if (!rc)
		rc = print_frame(e, &p->identity, era_of(s), p->report);
	if (rc)
		return rc;
	e->wire.on = true;
	/* What an opaque chunk means stands in kvferry's keys only: LMCache's hashes know the tokens and no more. */
	if (!opaque(e))
		e->seqs.wiring = &e->wire.seqs;
	return KVF_OK;
}

/* ---- of operations ---- */

void kvf_wire_snapshot(struct kvf_job *job, const struct kvf_seq *seq)
{
	if (!seq->wire)
		return;
	job->wire = seq->wire;
	kvf_keyvec_ref(job->wire);
	job->wire_end = seq->wire_end;
	job->suffix = seq->suffix;
	kvf_wire_suffix_ref(job->suffix);
	job->has_tail_wire = kvf_seq_wire_tail(seq, job->tail_wire);
}

const uint8_t *kvf_job_wire(const struct kvf_job *job, uint32_t chunk)
{
	if (!job->wire || chunk >= job->wire_end)
		return NULL;
	if (chunk < job->n_full)
		return job->wire->key[chunk];
	return job->has_tail_wire ? job->tail_wire : NULL;
}

void kvf_wire_fill(struct kvf_engine *e, struct kvf_tier_req *req, const struct kvf_job *job, uint32_t chunk)
{
	const uint8_t *wire = kvf_job_wire(job, chunk);

	if (!wire)
		return;
	memcpy(req->wire, wire, e->wire.seqs.bytes);
	req->wire_len = e->wire.seqs.bytes;
	if (job->suffix) {
		req->wire_suffix = job->suffix->text;
		req->wire_suffix_n = job->suffix->n;
	}
}
