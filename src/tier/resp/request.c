/* SPDX-License-Identifier: Apache-2.0 */
/* What the server is asked, in LMCache's formats. */
#include <string.h>

#include "base/compiler.h"
#include "tier/resp/conn.h"
#include "tier/resp/tier.h"

#define NAME_MAX_BYTES 1024

/* One of the keys of a chunk: its name and what stands behind it. */
struct name {
	size_t n;
	char text[NAME_MAX_BYTES];
};

static const char side_tail[] = "kvferry";

void kvf_resp_forms(struct kvf_resp_tier *tier)
{
	bool two_key = tier->opt.format == KVF_RESP_TWO_KEY;
	struct kvf_resp_form *older = &tier->form[1];

	tier->form[0] = (struct kvf_resp_form){ .side = tier->opt.verify != KVF_RESP_NO_VERIFY,
						.meta = two_key ? "metadata" : NULL,
						.bytes = two_key ? "kv_bytes" : "" };
	tier->n_forms = 1;
	if (!tier->opt.read_older || (!tier->opt.older_names && !tier->opt.older_two_key))
		return;
	*older = tier->form[0];
	older->side = false;
	older->older_name = tier->opt.older_names;
	if (tier->opt.older_two_key) {
		older->meta = ":metadata";
		older->bytes = ":kv_bytes";
	}
	tier->n_forms = 2;
}

static int name_of(struct kvf_resp_tier *tier, const struct kvf_resp_form *form, const struct kvf_tier_req *req,
		   struct name *name)
{
	int n = form->older_name ? tier->host->wire_older(tier->host, req, name->text, sizeof(name->text)) :
				   tier->host->wire_name(tier->host, req, name->text, sizeof(name->text));

	if (n <= 0)
		return n ? n : KVF_EINVAL;
	name->n = (size_t)n;
	return KVF_OK;
}

static void put_name(struct kvf_resp_writer *w, const struct name *name, const char *tail)
{
	kvf_resp_put_pair(w, name->text, name->n, tail, strlen(tail));
}

/* What is written last proves that the rest is there. */
static const char *proof(const struct kvf_resp_tier *tier, const struct kvf_resp_form *form)
{
	if (tier->opt.verify == KVF_RESP_REQUIRE)
		return side_tail;
	return form->meta ? form->meta : "";
}

/* A command over all keys that a chunk may have, or over those alone that prove it is there. */
static int put_for_all(struct kvf_resp_tier *tier, struct kvf_resp_writer *w, const char *command,
		       const struct kvf_tier_req *req, bool proofs)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < tier->n_forms; i++)
		n += proofs ? 1 : kvf_resp_keys(&tier->form[i]);
	kvf_resp_put_head(w, 1 + n);
	kvf_resp_put_text(w, command);
	for (uint32_t i = 0; i < tier->n_forms; i++) {
		const struct kvf_resp_form *form = &tier->form[i];
		struct name name;
		int rc = name_of(tier, form, req, &name);

		if (rc)
			return rc;
		if (proofs) {
			put_name(w, &name, proof(tier, form));
			continue;
		}
		if (form->meta)
			put_name(w, &name, form->meta);
		if (form->side)
			put_name(w, &name, side_tail);
		put_name(w, &name, form->bytes);
	}
	return w->full ? KVF_EAGAIN : KVF_OK;
}

static void put_set(struct kvf_resp_tier *tier, struct kvf_resp_writer *w, const struct name *name, const char *tail)
{
	kvf_resp_put_head(w, tier->opt.ttl_s ? 5 : 3);
	kvf_resp_put_text(w, "SET");
	put_name(w, name, tail);
}

static void put_ttl(struct kvf_resp_tier *tier, struct kvf_resp_writer *w)
{
	if (!tier->opt.ttl_s)
		return;
	kvf_resp_put_text(w, "EX");
	kvf_resp_put_number(w, tier->opt.ttl_s);
}

static int put_meta(struct kvf_resp_tier *tier, struct kvf_resp_writer *w, const struct name *name,
		    const struct kvf_tier_req *req)
{
	uint8_t meta[KVF_RESP_META_MAX];
	int n = tier->host->wire_meta(tier->host, req->n_tokens, meta, sizeof(meta));

	if (n <= 0)
		return n ? n : KVF_EINVAL;
	put_set(tier, w, name, tier->form[0].meta);
	kvf_resp_put_word(w, meta, (size_t)n);
	put_ttl(tier, w);
	return KVF_OK;
}

static void put_side(struct kvf_resp_tier *tier, struct kvf_resp_writer *w, const struct name *name,
		     const struct kvf_tier_req *req)
{
	struct kvf_resp_side side = { .checksum = req->checksum,
				      .payload_bytes = req->payload_bytes,
				      .n_tokens = req->n_tokens };
	uint8_t bytes[KVF_RESP_SIDE_BYTES];

	memcpy(side.key, req->key, sizeof(side.key));
	kvf_resp_side_write(&side, bytes);
	put_set(tier, w, name, side_tail);
	kvf_resp_put_word(w, bytes, sizeof(bytes));
	put_ttl(tier, w);
}

/* LMCache's order, as one transaction. *payload_at: where in the text the payload belongs. */
static int put_put(struct kvf_resp_conn *c, struct kvf_resp_writer *w, const struct name *name,
		   const struct kvf_tier_req *req, size_t *payload_at)
{
	struct kvf_resp_tier *tier = c->tier;
	const struct kvf_resp_form *form = &tier->form[0];
	bool multi = kvf_resp_keys(form) > 1;
	int rc = KVF_OK;

	if (multi) {
		kvf_resp_put_head(w, 1);
		kvf_resp_put_text(w, "MULTI");
	}
	put_set(tier, w, name, form->bytes);
	kvf_resp_put_length(w, req->payload_bytes);
	*payload_at = w->n;
	kvf_resp_put_raw(w, "\r\n", 2);
	put_ttl(tier, w);
	if (form->meta)
		rc = put_meta(tier, w, name, req);
	if (form->side)
		put_side(tier, w, name, req);
	if (multi) {
		kvf_resp_put_head(w, 1);
		kvf_resp_put_text(w, "EXEC");
	}
	return rc;
}

static struct kvf_resp_cmd *add(struct kvf_resp_conn *c, const struct kvf_resp_writer *w, struct kvf_tier_req *req,
				enum kvf_req_kind kind, uint32_t bytes)
{
	struct kvf_resp_cmd *cmd = kvf_resp_conn_add(c, w, bytes);

	cmd->req = req;
	cmd->kind = (uint8_t)kind;
	if (req)
		kvf_resp_mark(req)->conn = c->number + 1u;
	return cmd;
}

int kvf_resp_request_unlink(struct kvf_resp_conn *c, const struct kvf_tier_req *req, struct kvf_tier_req *waiter)
{
	struct kvf_resp_writer w;
	int rc;

	kvf_resp_conn_writer(c, &w);
	rc = put_for_all(c->tier, &w, c->tier->no_unlink ? "DEL" : "UNLINK", req, false);
	if (rc)
		return rc;
	add(c, &w, waiter, KVF_REQ_REMOVE, 0);
	return KVF_OK;
}

static int request_put(struct kvf_resp_conn *c, struct kvf_resp_writer *w, struct kvf_tier_req *req)
{
	unsigned keys = kvf_resp_keys(&c->tier->form[0]);
	uint64_t text_at = c->end;
	struct kvf_resp_cmd *cmd;
	struct name name;
	size_t payload_at;
	int rc = name_of(c->tier, &c->tier->form[0], req, &name);

	if (!rc)
		rc = put_put(c, w, &name, req, &payload_at);
	if (rc)
		return rc;
	if (w->full)
		return KVF_EAGAIN;
	cmd = add(c, w, req, KVF_REQ_PUT, req->payload_bytes);
	cmd->payload = req->slot + KVF_SLOT_HEADER_BYTES;
	cmd->payload_n = req->payload_bytes;
	cmd->payload_at = text_at + payload_at;
	cmd->replies = (uint8_t)(keys > 1 ? keys + 2 : 1);
	return KVF_OK;
}

int kvf_resp_request(struct kvf_resp_conn *c, struct kvf_tier_req *req)
{
	bool exists = req->kind == KVF_REQ_EXISTS;
	struct kvf_resp_writer w;
	int rc;

	if (req->kind == KVF_REQ_REMOVE)
		return kvf_resp_request_unlink(c, req, req);
	kvf_resp_conn_writer(c, &w);
	if (req->kind == KVF_REQ_PUT)
		return request_put(c, &w, req);
	/* Of several keys EXISTS says how many there are. */
	rc = put_for_all(c->tier, &w, exists ? "EXISTS" : "MGET", req, exists);
	if (rc)
		return rc;
	add(c, &w, req, (enum kvf_req_kind)req->kind, req->kind == KVF_REQ_GET ? c->tier->payload_bytes : 0);
	return KVF_OK;
}
