/* SPDX-License-Identifier: Apache-2.0 */
/* wire.c: the names and the metadata that the engine offers a tier, and which hash and suffix its requests carry. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/support/tier_rig.h"
#include "token/wire_meta.h"

#define NAME 600

static struct rig base; /* lends its layout */
static struct memtier tier;
static struct kvf_custom_tier spec = { &memtier_ops, &tier };
static struct kvf_engine *engine;
static struct kvf_report report;
static char text[4096];

static int try_engine(const struct kvf_layout *layout, const struct kvf_identity *id, const char *const *settings)
{
	struct kvf_open_params p;
	struct kvf_config *config = NULL;
	int rc;

	memset(&tier, 0, sizeof(tier));
	tier.caps = KVF_TIER_WIRE;
	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "chunk_size", "64", NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "kvf_pool_slots", "16", NULL), KVF_OK);
	for (; settings && *settings; settings += 2)
		CU_ASSERT_EQUAL_FATAL(kvf_config_set(config, settings[0], settings[1], NULL), KVF_OK);
	kvf_open_params_init(&p);
	kvf_report_init(&report, text, sizeof(text));
	p.config = config;
	p.layout = layout;
	p.identity = *id;
	p.flags = KVF_OPEN_LOOKUP_ONLY;
	p.chunk_bytes = layout ? 0 : 4096;
	p.tiers = &spec;
	p.n_tiers = 1;
	p.report = &report;
	engine = NULL;
	rc = kvf_engine_open(&engine, &p);
	kvf_config_destroy(config);
	return rc;
}

static struct kvf_identity plain(void)
{
	struct kvf_open_params p;

	kvf_open_params_init(&p);
	p.identity.model = "m";
	return p.identity;
}

static void open_plain(const char *key, const char *value, const char *more, const char *value2)
{
	const char *const settings[] = { key, value, more, value2, NULL };
	struct kvf_identity id = plain();
	int rc = try_engine(&base.layout, &id, settings);

	if (rc)
		fprintf(stderr, "open: %s\n", text);
	CU_ASSERT_EQUAL_FATAL(rc, KVF_OK);
}

static void close_engine(void)
{
	CU_ASSERT_EQUAL(kvf_engine_close(engine), KVF_OK);
}

/* A request for the chunk with such a key and no hash of LMCache's. */
static struct kvf_tier_req keyed(void)
{
	struct kvf_tier_req req = { .n_tokens = 64 };

	for (uint32_t i = 0; i < KVF_KEY_BYTES; i++)
		req.key[i] = (uint8_t)(17 * i + 1);
	return req;
}

static void digits(const struct kvf_tier_req *req, char *out)
{
	for (uint32_t i = 0; i < KVF_KEY_BYTES; i++)
		snprintf(out + 2 * i, 3, "%02x", req->key[i]);
}

/* The name fits a buffer of its length and a NUL, and no smaller one; behind it nothing is written. */
static void named(const struct kvf_tier_req *req, const char *want)
{
	char buf[NAME];
	size_t n = strlen(want);

	for (size_t cap = 0; cap <= n + 1; cap++) {
		memset(buf, 'z', sizeof(buf));
		CU_ASSERT_EQUAL(tier.host->wire_name(tier.host, req, buf, cap), cap <= n ? KVF_ERANGE : (int)n);
		CU_ASSERT_EQUAL(buf[cap], 'z');
	}
	CU_ASSERT_STRING_EQUAL(buf, want);
}

static void test_name_of_key(void)
{
	struct kvf_tier_req req = keyed();
	char key[2 * KVF_KEY_BYTES + 1], want[NAME], buf[NAME];
	struct rig other;

	open_plain(NULL, NULL, NULL, NULL);
	digits(&req, key);
	snprintf(want, sizeof(want), "m@1@0@%s@bfloat16", key);
	named(&req, want);
	/* A suffix belongs to LMCache's hash: without one there is none. */
	req.wire_suffix = "@a%b";
	req.wire_suffix_n = 4;
	named(&req, want);
	req.wire_len = 8;
	memcpy(req.wire, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
	named(&req, "m@1@0@102030405060708@bfloat16@a%b");
	req.wire_suffix_n = 0;
	named(&req, "m@1@0@102030405060708@bfloat16");
	CU_ASSERT_EQUAL(tier.host->wire_older(tier.host, &req, buf, sizeof(buf)), KVF_ENOENT);
	close_engine();
	/* A tier that did not ask for names gets none. */
	tier_rig_open(&other, &tier, 16, 0, false);
	CU_ASSERT_EQUAL(tier.host->wire_name(tier.host, &req, buf, sizeof(buf)), KVF_ENOTSUP);
	CU_ASSERT_EQUAL(tier.host->wire_meta(tier.host, 64, (uint8_t *)buf, sizeof(buf)), KVF_ENOTSUP);
	CU_ASSERT_EQUAL(tier.host->wire_payload(tier.host, 64, NULL, 0, &(uint32_t){ 0 }), KVF_ENOENT);
	tier_rig_close(&other, &tier);
}

/* What stands before and behind the hash, by the names asked for and the algorithm. */
static void test_frames(void)
{
	static const struct {
		const char *names, *algo, *head, *tail;
		enum kvf_wire_form form;
	} as[] = {
		{ "auto", "builtin", "m@1@0@", "@bfloat16", KVF_WIRE_IP },
		{ "auto", "sha256_cbor", "m@1@0@", "@bfloat16", KVF_WIRE_IP },
		{ "auto", "blake3", "m@01000100@0@", "", KVF_WIRE_MP },
		{ "mp", "blake3", "m@01000100@0@", "", KVF_WIRE_MP },
		{ "ip", "sha256_cbor", "m@1@0@", "@bfloat16", KVF_WIRE_IP },
		{ "ip-2026-03", "sha256_cbor", "m@1@0@", "@bfloat16", KVF_WIRE_IP_DIGEST },
		{ "ip-2026-03", "builtin", "m@1@0@", "@bfloat16", KVF_WIRE_IP },
		{ "ip-2026-02", "builtin", "m@1@0@", "@bfloat16", KVF_WIRE_IP_NONE },
		{ "ip-2025-11", "builtin", "vllm@m@1@0@", "@bfloat16", KVF_WIRE_IP_NONE },
		{ "ip-2025-07", "builtin", "vllm@m@1@0@", "", KVF_WIRE_IP_NONE },
		{ "legacy", "sha256", "vllm@m@1@0@", "", KVF_WIRE_LEGACY },
	};
	struct kvf_tier_req req = keyed();
	char key[2 * KVF_KEY_BYTES + 1], want[NAME], buf[NAME];

	digits(&req, key);
	for (size_t i = 0; i < KVF_ARRAY_LEN(as); i++) {
		int n;

		open_plain("kvf_remote_names", as[i].names, "pre_caching_hash_algorithm", as[i].algo);
		CU_ASSERT_EQUAL(engine->wire.seqs.start.form, as[i].form);
		snprintf(want, sizeof(want), "%s%s%s", as[i].head, key, as[i].tail);
		named(&req, want);
		n = tier.host->wire_older(tier.host, &req, buf, sizeof(buf));
		snprintf(want, sizeof(want), "m@01000100@%s", key);
		CU_ASSERT_EQUAL(n, as[i].form == KVF_WIRE_MP ? (int)strlen(want) : KVF_ENOENT);
		if (n > 0)
			CU_ASSERT_STRING_EQUAL(buf, want);
		close_engine();
	}
}

/* Ranks stand in the name, but not where the first one stores for all. */
static void test_ranks(void)
{
	static const char *const blake[] = { "pre_caching_hash_algorithm", "blake3", NULL };
	struct kvf_tier_req req = keyed();
	struct kvf_identity id = plain();
	char key[2 * KVF_KEY_BYTES + 1], want[NAME];

	digits(&req, key);
	id.world_size = 8;
	id.rank = 5;
	CU_ASSERT_EQUAL_FATAL(try_engine(&base.layout, &id, NULL), KVF_OK);
	snprintf(want, sizeof(want), "m@8@5@%s@bfloat16", key);
	named(&req, want);
	close_engine();
	CU_ASSERT_EQUAL_FATAL(try_engine(&base.layout, &id, blake), KVF_OK);
	snprintf(want, sizeof(want), "m@08050805@0@%s", key);
	named(&req, want);
	close_engine();
	id.first_rank_only = 1;
	CU_ASSERT_EQUAL_FATAL(try_engine(&base.layout, &id, NULL), KVF_OK);
	snprintf(want, sizeof(want), "m@1@0@%s@bfloat16", key);
	named(&req, want);
	close_engine();
	/* Multiprocess names have eight bits for a rank. */
	id.first_rank_only = 0;
	id.world_size = 256;
	CU_ASSERT_EQUAL(try_engine(&base.layout, &id, blake), KVF_ERANGE);
	CU_ASSERT_EQUAL_FATAL(try_engine(&base.layout, &id, NULL), KVF_OK);
	close_engine();
	id = plain();
	id.model = "a@b";
	CU_ASSERT_EQUAL(try_engine(&base.layout, &id, NULL), KVF_EINVAL);
	CU_ASSERT_EQUAL(try_engine(&base.layout, &id, blake), KVF_EINVAL);
}

/* Two groups, of two and of one layer, the second with another element. */
static struct kvf_group groups[2];
static struct kvf_layout two;

static void build_two(enum kvf_dtype first, enum kvf_dtype second)
{
	groups[0] = groups[1] = base.group;
	groups[0].n_layers = 2;
	groups[0].dtype = first;
	groups[0].head_elems = RIG_HIDDEN / 2 / (uint32_t)kvf_dtype_bytes(first);
	groups[1].n_layers = 1;
	groups[1].layers = base.layers + 2;
	groups[1].dtype = second;
	groups[1].head_elems = RIG_HIDDEN / 2 / (uint32_t)kvf_dtype_bytes(second);
	two = base.layout;
	two.groups = groups;
	two.n_groups = 2;
}

static void open_two(void)
{
	struct kvf_identity id = plain();

	CU_ASSERT_EQUAL_FATAL(try_engine(&two, &id, NULL), KVF_OK);
}

static void test_meta(void)
{
	uint8_t buf[KVF_WIRE_META_MAX];
	struct kvf_wire_meta meta;
	int n;

	build_two(KVF_BFLOAT16, KVF_UINT8);
	open_two();
	n = tier.host->wire_meta(tier.host, 40, buf, sizeof(buf));
	CU_ASSERT_EQUAL_FATAL(n, (int)KVF_WIRE_META_BYTES(2));
	CU_ASSERT_EQUAL(tier.host->wire_meta(tier.host, 40, buf, (size_t)n - 1), KVF_ERANGE);
	CU_ASSERT_EQUAL_FATAL(kvf_wire_meta_decode(buf, (size_t)n, NULL, &meta), KVF_OK);
	CU_ASSERT_EQUAL(meta.length, 2 * 3 * 40 * RIG_HIDDEN);
	CU_ASSERT_EQUAL(meta.format, KVF_WIRE_KV_2LTD);
	CU_ASSERT_EQUAL(meta.n_groups, 2);
	for (uint32_t g = 0; g < 2; g++) {
		CU_ASSERT_EQUAL(meta.groups[g].dtype, g ? KVF_WIRE_UINT8 : KVF_WIRE_BFLOAT16);
		CU_ASSERT_EQUAL(meta.groups[g].dims[0], 2);
		CU_ASSERT_EQUAL(meta.groups[g].dims[1], g ? 1 : 2);
		CU_ASSERT_EQUAL(meta.groups[g].dims[2], 40);
		CU_ASSERT_EQUAL(meta.groups[g].dims[3], g ? RIG_HIDDEN : RIG_HIDDEN / 2);
	}
	close_engine();
	/* MLA: one plane. */
	build_two(KVF_BFLOAT16, KVF_BFLOAT16);
	groups[0].planes = 1;
	two.n_groups = 1;
	open_two();
	n = tier.host->wire_meta(tier.host, 64, buf, sizeof(buf));
	CU_ASSERT_EQUAL_FATAL(kvf_wire_meta_decode(buf, (size_t)n, NULL, &meta), KVF_OK);
	CU_ASSERT_EQUAL(meta.format, KVF_WIRE_KV_MLA);
	CU_ASSERT_EQUAL(meta.groups[0].dims[0], 1);
	close_engine();
}

/* Every element has its number in the metadata and its name in the key. */
static void test_dtypes(void)
{
	static const struct {
		enum kvf_dtype dtype;
		enum kvf_wire_dtype wire;
	} as[] = {
		{ KVF_FLOAT16, KVF_WIRE_HALF },	  { KVF_BFLOAT16, KVF_WIRE_BFLOAT16 }, { KVF_FLOAT32, KVF_WIRE_FLOAT },
		{ KVF_FLOAT64, KVF_WIRE_DOUBLE }, { KVF_UINT8, KVF_WIRE_UINT8 },       { KVF_INT8, KVF_WIRE_INT8 },
		{ KVF_FP8_E4M3, KVF_WIRE_FP8_E4M3FN }, { KVF_FP8_E5M2, KVF_WIRE_FP8_E5M2 },
	};
	struct kvf_tier_req req = keyed();
	uint8_t buf[KVF_WIRE_META_MAX];
	struct kvf_wire_meta meta;
	char name[NAME];

	for (size_t i = 0; i < KVF_ARRAY_LEN(as); i++) {
		int32_t code;
		int n;

		build_two(as[i].dtype, as[i].dtype);
		open_two();
		n = tier.host->wire_meta(tier.host, 64, buf, sizeof(buf));
		if (kvf_wire_dtype_code(as[i].wire, &code)) {
			CU_ASSERT_EQUAL(n, KVF_ENOTSUP);
		} else {
			CU_ASSERT_EQUAL_FATAL(kvf_wire_meta_decode(buf, (size_t)n, NULL, &meta), KVF_OK);
			CU_ASSERT_EQUAL(meta.groups[0].dtype, as[i].wire);
			CU_ASSERT_EQUAL(meta.groups[1].dtype, as[i].wire);
		}
		n = tier.host->wire_name(tier.host, &req, name, sizeof(name));
		CU_ASSERT_FATAL(n > 0);
		CU_ASSERT_STRING_EQUAL(strrchr(name, '@') + 1, kvf_wire_dtype_name(as[i].wire));
		close_engine();
	}
}

/* What metadata has no number for could never be stored with it: refused at open, where it is not raw. */
static void test_no_number(void)
{
	static const char *const urls[] = { "redis://127.0.0.1:1", "valkey://127.0.0.1:1" };

	build_two(KVF_BFLOAT16, KVF_INT8);
	for (int i = 0; i < 2; i++) {
		const char *const settings[] = { "remote_url", urls[i], NULL };
		struct kvf_identity id = plain();

		CU_ASSERT_EQUAL(try_engine(&two, &id, settings), i ? KVF_OK : KVF_ENOTSUP);
		if (!engine)
			CU_ASSERT_PTR_NOT_NULL(strstr(text, "group 1: LMCache has no number for dtype int8"));
	}
	close_engine();
}

static int payload_of(const struct kvf_wire_meta *meta, uint32_t n_tokens, uint32_t *bytes)
{
	uint8_t buf[KVF_WIRE_META_MAX];
	int n = kvf_wire_meta_encode(meta, buf, sizeof(buf), NULL);

	CU_ASSERT_FATAL(n > 0);
	return tier.host->wire_payload(tier.host, n_tokens, buf, (size_t)n, bytes);
}

/* What is found below is taken when its metadata is this chunk's to the last number, and not otherwise. */
static void test_payload(void)
{
	struct kvf_wire_meta good, bad;
	uint8_t buf[KVF_WIRE_META_MAX];
	uint32_t bytes = 7;
	int n;

	build_two(KVF_BFLOAT16, KVF_BFLOAT16);
	open_two();
	CU_ASSERT_EQUAL(tier.host->wire_payload(tier.host, 0, NULL, 0, &bytes), KVF_ENOENT);
	CU_ASSERT_EQUAL(tier.host->wire_payload(tier.host, 65, NULL, 0, &bytes), KVF_ENOENT);
	CU_ASSERT_EQUAL(bytes, 7);
	CU_ASSERT_EQUAL(tier.host->wire_payload(tier.host, 64, NULL, 0, &bytes), KVF_OK);
	CU_ASSERT_EQUAL(bytes, 2 * 3 * 64 * RIG_HIDDEN);
	n = tier.host->wire_meta(tier.host, 32, buf, sizeof(buf));
	CU_ASSERT_EQUAL_FATAL(kvf_wire_meta_decode(buf, (size_t)n, NULL, &good), KVF_OK);
	CU_ASSERT_EQUAL(payload_of(&good, 32, &bytes), KVF_OK);
	CU_ASSERT_EQUAL(bytes, 2 * 3 * 32 * RIG_HIDDEN);
	CU_ASSERT_EQUAL(payload_of(&good, 64, &bytes), KVF_ENOENT);
	CU_ASSERT_EQUAL(tier.host->wire_payload(tier.host, 32, buf, (size_t)n - 1, &bytes), KVF_ENOENT);
	bad = good;
	bad.format = KVF_WIRE_KV_MLA;
	CU_ASSERT_EQUAL(payload_of(&bad, 32, &bytes), KVF_ENOENT);
	bad = good; /* the same bytes and dimensions in another order */
	bad.groups[1] = good.groups[0];
	bad.groups[0] = good.groups[1];
	CU_ASSERT_EQUAL(payload_of(&bad, 32, &bytes), KVF_ENOENT);
	for (uint32_t g = 0; g < 2; g++) {
		bad = good;
		bad.groups[g].dtype = KVF_WIRE_HALF;
		CU_ASSERT_EQUAL(payload_of(&bad, 32, &bytes), KVF_ENOENT);
		bad = good;
		bad.groups[g].dims[0] = good.groups[g].dims[3];
		bad.groups[g].dims[3] = good.groups[g].dims[0];
		CU_ASSERT_EQUAL(payload_of(&bad, 32, &bytes), KVF_ENOENT);
	}
	bad = good; /* one group that has the layers of both: as long */
	bad.n_groups = 1;
	bad.groups[0].dims[1] = 3;
	CU_ASSERT_EQUAL(payload_of(&bad, 32, &bytes), KVF_ENOENT);
	bad = good; /* and one that is shorter */
	bad.n_groups = 1;
	bad.length = good.length / 3 * 2;
	CU_ASSERT_EQUAL(payload_of(&bad, 32, &bytes), KVF_ENOENT);
	CU_ASSERT_EQUAL(bytes, 2 * 3 * 32 * RIG_HIDDEN);
	close_engine();
}

static void test_opaque(void)
{
	struct kvf_layout opaque = {
		.size = sizeof(opaque), .kind = KVF_LAYOUT_OPAQUE, .opaque_chunk_bytes = 1000, .opaque_fingerprint = 1
	};
	struct kvf_identity id = plain();
	struct kvf_tier_req req = keyed();
	uint8_t buf[KVF_WIRE_META_MAX];
	char key[2 * KVF_KEY_BYTES + 1], want[NAME];
	struct kvf_wire_meta meta;
	uint32_t bytes = 0;
	int n;

	CU_ASSERT_EQUAL_FATAL(try_engine(&opaque, &id, NULL), KVF_OK);
	n = tier.host->wire_meta(tier.host, 64, buf, sizeof(buf));
	CU_ASSERT_EQUAL_FATAL(kvf_wire_meta_decode(buf, (size_t)n, NULL, &meta), KVF_OK);
	CU_ASSERT_EQUAL(meta.length, 1000);
	CU_ASSERT_EQUAL(meta.format, KVF_WIRE_BINARY);
	CU_ASSERT_EQUAL(meta.n_groups, 1);
	CU_ASSERT_EQUAL(meta.groups[0].dtype, KVF_WIRE_UINT8);
	CU_ASSERT_EQUAL(meta.groups[0].dims[0], 64);
	CU_ASSERT_EQUAL(payload_of(&meta, 64, &bytes), KVF_OK);
	CU_ASSERT_EQUAL(bytes, 1000);
	digits(&req, key);
	snprintf(want, sizeof(want), "m@1@0@%s@uint8", key);
	named(&req, want);
	/* Its bytes are no tokens' of LMCache's: sequences get no such hashes. */
	CU_ASSERT_PTR_NULL(engine->seqs.wiring);
	close_engine();
}

static void test_refused(void)
{
	struct kvf_identity id = plain();
	struct kvf_layout pages = base.layout;

	CU_ASSERT_EQUAL(try_engine(NULL, &id, NULL), KVF_ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "layout: LMCache's formats need one"));
	pages.payload_order = KVF_PAYLOAD_PAGES;
	CU_ASSERT_EQUAL(try_engine(&pages, &id, NULL), KVF_ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "layout.payload_order"));
}

/* ---- what requests carry ---- */

#define TAG "@lora%blue"

/* Every request about a chunk has the same name, whatever way it came: asked for, put from RAM by its record, got,
 * removed. The partial chunk has one too, and the chunk whose hash LMCache cannot know goes by its key. */
static void same_names(uint32_t caps)
{
	struct rig_options o = { .slots = 16, .unfull = true };
	struct kvf_tag tag = { "lora", "blue" };
	uint32_t tokens[3 * RIG_CHUNK];
	struct kvf_seq_params p;
	struct memtier m;
	struct rig r;

	tier_rig_open_more(&r, &m, 1, caps | KVF_TIER_WIRE, o);
	kvf_seq_params_init(&p);
	p.tags = &tag;
	p.n_tags = 1;
	rig_token_values(5, tokens, 3 * RIG_CHUNK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r.engine, &p, &r.seq), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(r.seq, tokens, 2 * RIG_CHUNK + 10), KVF_OK);
	rig_compute(&r, 2 * RIG_CHUNK + 10);
	CU_ASSERT_EQUAL(rig_store(&r, 0, 2 * RIG_CHUNK + 10, 0).tokens, 2 * RIG_CHUNK + 10);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m.n_names, 3);
	for (uint32_t i = 0; i < 3; i++) {
		CU_ASSERT_PTR_NOT_NULL(strstr(m.names[i].text, "@bfloat16" TAG));
		CU_ASSERT(strlen(m.names[i].text) < 60); /* a number, not a key */
	}
	rig_remove(&r, 0, 2 * RIG_CHUNK + 10, KVF_TIER_RAM);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, 2 * RIG_CHUNK + 10);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 2 * RIG_CHUNK + 10, 0).tokens, 2 * RIG_CHUNK + 10);
	CU_ASSERT_EQUAL(rig_remove(&r, 0, 2 * RIG_CHUNK + 10, KVF_TIER_CUSTOM).status, KVF_OK);
	/* They are in RAM still: put once more, by the record that came up. */
	CU_ASSERT_EQUAL(rig_store(&r, 0, 2 * RIG_CHUNK + 10, 0).status, KVF_OK);
	tier_rig_flush(&r);
	CU_ASSERT(m.puts >= 6);
	CU_ASSERT(m.exists >= 3);
	CU_ASSERT_EQUAL(m.gets, 3);
	CU_ASSERT_EQUAL(m.removes, 3);
	CU_ASSERT_EQUAL(m.n_names, 3); /* still: nobody was called otherwise */
	tier_rig_close(&r, &m);
}

static void test_same_names(void)
{
	same_names(0);
	same_names(KVF_TIER_RECORDS);
}

/* From the chunk on that a content id touches LMCache has no hash: those chunks go by their keys, the same in every
 * request, and the ones before it do not. */
static void test_no_hash(void)
{
	static const uint8_t id[16] = { 1, 2, 3 };
	uint32_t tokens[3 * RIG_CHUNK];
	struct memtier m;
	struct rig r;

	tier_rig_open_more(&r, &m, 1, KVF_TIER_WIRE, (struct rig_options){ .slots = 16 });
	rig_token_values(5, tokens, 3 * RIG_CHUNK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r.engine, NULL, &r.seq), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append_extra(r.seq, RIG_CHUNK + 5, 4, id), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(r.seq, tokens, 3 * RIG_CHUNK), KVF_OK);
	rig_compute(&r, 3 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_store(&r, 0, 3 * RIG_CHUNK, 0).tokens, 3 * RIG_CHUNK);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m.n_names, 3);
	CU_ASSERT(strlen(m.names[0].text) < 40);
	for (uint32_t i = 1; i < 3; i++) {
		struct kvf_tier_req req = { 0 };
		char key[2 * KVF_KEY_BYTES + 1];

		CU_ASSERT_EQUAL(kvf_seq_key(r.seq, i, req.key), KVF_OK);
		digits(&req, key);
		CU_ASSERT_PTR_NOT_NULL(strstr(m.names[i].text, key));
	}
	rig_remove(&r, 0, 3 * RIG_CHUNK, KVF_TIER_RAM);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, 3 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 3 * RIG_CHUNK, 0).tokens, 3 * RIG_CHUNK);
	CU_ASSERT_EQUAL(m.n_names, 3);
	tier_rig_close(&r, &m);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "name_of_key", test_name_of_key }, { "frames", test_frames },	  { "ranks", test_ranks },
		{ "meta", test_meta },		     { "dtypes", test_dtypes },	  { "no_number", test_no_number },
		{ "payload", test_payload },
		{ "opaque", test_opaque },	     { "refused", test_refused }, { "same_names", test_same_names },
		{ "no_hash", test_no_hash },
	};
	int rc;

	if (rig_try_open(&base, &(struct rig_options){ .slots = 16 }))
		return 1;
	rc = kvf_test_main("wire_engine", tests, KVF_ARRAY_LEN(tests), argc, argv);
	rig_free(&base);
	return rc;
}
