/* SPDX-License-Identifier: Apache-2.0 */
/* What the answers to our commands mean. */
#include <string.h>

#include "base/compiler.h"
#include "tier/resp/conn.h"
#include "tier/resp/tier.h"

/* ---- errors ---- */

static const char aborted[] = "EXECABORT";
static const char aborted_because[] = "EXECABORT Transaction discarded because of: ";

enum kvf_resp_error kvf_resp_error_of(const char *text, enum kvf_resp_trouble *trouble)
{
	static const struct {
		const char *word;
		enum kvf_resp_error error;
		enum kvf_resp_trouble trouble;
	} known[] = {
		{ "OOM", KVF_RESP_REFUSED, KVF_RESP_T_OOM },
		{ "READONLY", KVF_RESP_REFUSED, KVF_RESP_T_READONLY },
		{ "MISCONF", KVF_RESP_REFUSED, KVF_RESP_T_READONLY },
		{ "NOREPLICAS", KVF_RESP_REFUSED, KVF_RESP_T_READONLY },
		{ "NOPERM", KVF_RESP_REFUSED, KVF_RESP_T_NOPERM },
		{ "NOAUTH", KVF_RESP_NO_AUTH, KVF_RESP_T_AUTH },
		{ "WRONGPASS", KVF_RESP_NO_AUTH, KVF_RESP_T_AUTH },
		{ "LOADING", KVF_RESP_DOWN, KVF_RESP_T_LOADING },
		{ "MASTERDOWN", KVF_RESP_DOWN, KVF_RESP_T_CLUSTER },
		{ "CLUSTERDOWN", KVF_RESP_DOWN, KVF_RESP_T_CLUSTER },
		{ "TRYAGAIN", KVF_RESP_DOWN, KVF_RESP_T_CLUSTER },
		{ "BUSY", KVF_RESP_DOWN, KVF_RESP_T_BUSY },
		{ "MOVED", KVF_RESP_DOWN, KVF_RESP_T_CLUSTER },
		{ "ASK", KVF_RESP_DOWN, KVF_RESP_T_CLUSTER },
		{ "CROSSSLOT", KVF_RESP_DOWN, KVF_RESP_T_CLUSTER },
		{ "WRONGTYPE", KVF_RESP_OTHER, KVF_RESP_T_WRONGTYPE },
		{ "EXECABORT", KVF_RESP_OTHER, KVF_RESP_T_OTHER },
		{ "ERR unknown command", KVF_RESP_UNKNOWN_COMMAND, KVF_RESP_T_UNKNOWN_COMMAND },
		{ "ERR invalid password", KVF_RESP_NO_AUTH, KVF_RESP_T_AUTH }, /* Redis 5 */
		{ "ERR Client sent AUTH, but no password", KVF_RESP_NO_AUTH, KVF_RESP_T_AUTH },
	};
	enum kvf_resp_error error = KVF_RESP_OTHER;
	enum kvf_resp_trouble found = KVF_RESP_T_OTHER;

	if (!strncmp(text, aborted_because, sizeof(aborted_because) - 1))
		text += sizeof(aborted_because) - 1;
	for (size_t i = 0; i < KVF_ARRAY_LEN(known); i++) {
		size_t n = strlen(known[i].word);

		if (strncmp(text, known[i].word, n) != 0 || (text[n] != ' ' && text[n] && !strchr(known[i].word, ' ')))
			continue;
		error = known[i].error;
		found = known[i].trouble;
		break;
	}
	if (trouble)
		*trouble = found;
	return error;
}

static int status_of(const struct kvf_resp_cmd *cmd, enum kvf_resp_error error)
{
	/* A server that takes no more, but gives what it has, works. So does one that has no transactions. */
	if ((error == KVF_RESP_REFUSED || error == KVF_RESP_UNKNOWN_COMMAND) && cmd->kind == KVF_REQ_PUT)
		return KVF_ENOSPC;
	return KVF_EIO;
}

enum word { MULTI = 0, SET, EXEC, MGET, EXISTS, UNLINK, WORDS };

static const char *const words[WORDS] = { "MULTI", "SET", "EXEC", "MGET", "EXISTS", "UNLINK" };

/* What the reply being read answers. */
static enum word word_of(const struct kvf_resp_conn *c, const struct kvf_resp_cmd *cmd, uint32_t depth)
{
	if (cmd->kind != KVF_REQ_PUT)
		return cmd->kind == KVF_REQ_GET ? MGET : cmd->kind == KVF_REQ_EXISTS ? EXISTS : UNLINK;
	if (cmd->replies == 1 || depth)
		return SET;
	return c->reply.n == 0 ? MULTI : c->reply.n == cmd->replies - 1 ? EXEC : SET;
}

/* What somebody must be told who can change it. False: no need. */
static bool warn(struct kvf_resp_tier *tier, enum word word, enum kvf_resp_trouble trouble)
{
	bool known = tier->warned & 1u << word;

	if (trouble != KVF_RESP_T_NOPERM && trouble != KVF_RESP_T_UNKNOWN_COMMAND)
		return false;
	/* Of an old server that is expected, once. */
	if (word == UNLINK && trouble == KVF_RESP_T_UNKNOWN_COMMAND && !tier->no_unlink)
		return false;
	tier->warned |= (uint8_t)(1u << word);
	if (!known && trouble == KVF_RESP_T_NOPERM)
		kvf_resp_log(tier, KVF_LOG_WARNING, "%s: %s is not allowed to this user", tier->name, words[word]);
	else if (!known)
		kvf_resp_log(tier, KVF_LOG_WARNING, "%s: the server does not know %s", tier->name, words[word]);
	return true;
}

/* Its command did what it should: the next time it is news again. */
static void forget_warnings(struct kvf_resp_conn *c, const struct kvf_resp_cmd *cmd)
{
	if (cmd->kind == KVF_REQ_PUT)
		c->tier->warned &= (uint8_t) ~(1u << MULTI | 1u << SET | 1u << EXEC);
	else
		c->tier->warned &= (uint8_t) ~(1u << word_of(c, cmd, 0));
}

/* Of a transaction: was it the beginning or the end that the server would not hear of, and does that leave it open? */
static void note_transaction(struct kvf_resp_reply *r, enum word word, enum kvf_resp_trouble trouble, const char *text)
{
	bool not_ours = trouble == KVF_RESP_T_NOPERM || trouble == KVF_RESP_T_UNKNOWN_COMMAND;

	r->no_multi |= not_ours && (word == MULTI || word == EXEC);
	r->open |= r->multi && word == EXEC && strncmp(text, aborted, sizeof(aborted) - 1) != 0;
}

static void note_error(struct kvf_resp_conn *c, const struct kvf_resp_cmd *cmd, const struct kvf_resp_token *t)
{
	enum kvf_resp_trouble trouble;
	enum kvf_resp_error error = kvf_resp_error_of(t->text, &trouble);
	enum word word = word_of(c, cmd, t->depth);
	static const char *const meaning[] = {
		[KVF_RESP_REFUSED] = "the server takes no more: out of memory, read only, or not allowed to this user",
		[KVF_RESP_NO_AUTH] = "the server does not let us do this, or not any more",
		[KVF_RESP_DOWN] = "the server is not ready: loading, without master, or part of a cluster",
		[KVF_RESP_UNKNOWN_COMMAND] = "the server does not know a command we need",
		[KVF_RESP_OTHER] = "the server answers with an error",
	};

	note_transaction(&c->reply, word, trouble, t->text);
	/* EXECABORT comes after the reason. */
	if (c->reply.error)
		return;
	c->reply.error = (uint8_t)error;
	kvf_resp_tier_trouble(c->tier, trouble);
	if (!warn(c->tier, word, trouble))
		kvf_resp_log(c->tier, KVF_LOG_INFO, "%s: %s", c->tier->name, meaning[error]);
}

/* ---- a get ---- */

enum element { NO_ELEMENT = 0, META, SIDE, BYTES };

static unsigned element_count(const struct kvf_resp_tier *tier)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < tier->n_forms; i++)
		n += kvf_resp_keys(&tier->form[i]);
	return n;
}

static enum element element_of(const struct kvf_resp_tier *tier, const struct kvf_resp_token *t, uint8_t *number)
{
	const struct kvf_resp_form *form = tier->form;
	uint32_t i = t->index;

	if (t->depth != 1 || i >= element_count(tier))
		return NO_ELEMENT;
	for (; i >= kvf_resp_keys(form); form++)
		i -= kvf_resp_keys(form);
	*number = (uint8_t)(form - tier->form);
	if (form->meta && i-- == 0)
		return META;
	if (form->side && i-- == 0)
		return SIDE;
	return BYTES;
}

/* The first element of another form: what was there of the one before did not do. */
static void next_form(struct kvf_resp_reply *r, uint8_t form)
{
	r->torn |= r->meta && !r->bytes;
	r->form = form;
	r->meta = r->side = r->bytes = r->odd = false;
	r->meta_n = r->side_n = r->expect = 0;
	r->dest = NULL;
	r->got = 0;
}

/* The small elements are there: is what follows our chunk, and how long should it be? */
static void judge(struct kvf_resp_conn *c, const struct kvf_tier_req *req)
{
	struct kvf_resp_tier *tier = c->tier;
	struct kvf_resp_reply *r = &c->reply;
	uint32_t tokens = req->n_tokens ? req->n_tokens : tier->chunk_tokens;
	bool meta = tier->form[r->form].meta != NULL;
	const uint8_t *meta_bytes = meta ? r->meta_bytes : NULL;

	if (tier->host->wire_payload(tier->host, tokens, meta_bytes, r->meta_n, &r->expect) || r->odd ||
	    (meta && !r->meta))
		r->expect = 0;
	if (!r->side || !r->expect)
		return;
	if (kvf_resp_side_read(r->side_bytes, r->side_n, &r->rec) || r->rec.n_tokens != tokens ||
	    r->rec.payload_bytes != r->expect || memcmp(r->rec.key, req->key, KVF_KEY_BYTES) != 0) {
		r->stale = true;
		r->expect = 0;
		return;
	}
	r->hashing = true;
	kvf_checksum_begin(c->sum);
}

static void begin_bytes(struct kvf_resp_conn *c, const struct kvf_resp_cmd *cmd, const struct kvf_resp_token *t)
{
	struct kvf_resp_reply *r = &c->reply;

	/* Withdrawn in the midst of it. */
	if (!cmd->req)
		r->settled = true;
	if (r->settled)
		return;
	r->bytes = true;
	judge(c, cmd->req);
	if (r->expect && (t->number != r->expect || r->expect > cmd->req->payload_bytes)) {
		r->stale = r->side;
		r->expect = 0;
	}
	if (r->expect && !r->side && c->tier->opt.verify == KVF_RESP_REQUIRE)
		r->expect = 0;
	r->dest = r->expect ? cmd->req->slot + KVF_SLOT_HEADER_BYTES : NULL;
	r->taken = r->dest != NULL;
	r->settled = r->taken || r->stale;
}

void kvf_resp_reply_took(struct kvf_resp_conn *c, uint64_t n)
{
	struct kvf_resp_reply *r = &c->reply;

	if (r->hashing)
		kvf_checksum_add(c->sum, r->dest + r->got, n);
	r->got += n;
}

static void take_data(struct kvf_resp_conn *c, enum element element, const struct kvf_resp_token *t)
{
	struct kvf_resp_reply *r = &c->reply;
	size_t k;

	switch (element) {
	case META:
		k = kvf_min_u64(t->n, sizeof(r->meta_bytes) - r->meta_n);
		memcpy(r->meta_bytes + r->meta_n, t->text, k);
		r->meta_n += (uint32_t)k;
		break;
	case SIDE:
		k = kvf_min_u64(t->n, sizeof(r->side_bytes) - r->side_n);
		memcpy(r->side_bytes + r->side_n, t->text, k);
		r->side_n += (uint32_t)k;
		break;
	case BYTES:
		if (!r->dest)
			break;
		memcpy(r->dest + r->got, t->text, t->n);
		c->copied += t->n;
		kvf_resp_reply_took(c, t->n);
		break;
	case NO_ELEMENT:
		break;
	}
}

static bool get_token(struct kvf_resp_conn *c, struct kvf_resp_cmd *cmd, const struct kvf_resp_token *t)
{
	uint8_t form = c->reply.form;
	enum element element = element_of(c->tier, t, &form);

	if (form != c->reply.form && !c->reply.settled)
		next_form(&c->reply, form);
	switch (t->kind) {
	case KVF_RESP_ERROR:
		note_error(c, cmd, t);
		return t->depth == 0;
	case KVF_RESP_ARRAY:
		return t->depth == 0 && t->number == element_count(c->tier);
	case KVF_RESP_BULK:
		if (c->reply.settled) {
			c->reply.dest = NULL;
		} else if (element == META) {
			c->reply.meta = true;
			c->reply.odd |= t->number > KVF_RESP_META_MAX;
		} else if (element == SIDE) {
			c->reply.side = true;
			/* Of another length it is none of ours: read as one that does not fit. */
			c->reply.side_n = t->number == KVF_RESP_SIDE_BYTES ? 0 : KVF_RESP_SIDE_BYTES;
			memset(c->reply.side_bytes, 0, sizeof(c->reply.side_bytes));
		} else if (element == BYTES) {
			begin_bytes(c, cmd, t);
		}
		return element != NO_ELEMENT;
	case KVF_RESP_DATA:
		take_data(c, element, t);
		return true;
	case KVF_RESP_END:
		/* What else comes, an attribute's bytes among it, has no place there. */
		c->reply.dest = NULL;
		return true;
	case KVF_RESP_NIL:
		return t->depth == 1;
	default:
		return false;
	}
}

static int get_status(struct kvf_resp_conn *c, struct kvf_resp_cmd *cmd)
{
	struct kvf_resp_reply *r = &c->reply;
	struct kvf_tier_req *req = cmd->req;

	if (r->error)
		return status_of(cmd, (enum kvf_resp_error)r->error);
	if (!req)
		return KVF_OK;
	if (r->hashing && r->got == r->expect && kvf_checksum_end(c->sum) != r->rec.checksum)
		r->stale = true;
	/* Evicted in part, or not written to its end: LMCache cleans that up as well. */
	if (r->stale || (!r->taken && (r->torn || (r->meta && !r->bytes)))) {
		kvf_resp_tier_reject(c->tier, req);
		return r->stale ? KVF_ECORRUPT : KVF_ENOENT;
	}
	if (!r->expect || !r->bytes)
		return KVF_ENOENT;
	req->payload_bytes = r->expect;
	req->has_checksum = r->hashing;
	req->checksum = r->rec.checksum;
	req->checked = r->hashing;
	return KVF_OK;
}

/* ---- the others ---- */

static bool small_token(struct kvf_resp_conn *c, const struct kvf_resp_cmd *cmd, const struct kvf_resp_token *t)
{
	if (t->kind == KVF_RESP_ERROR)
		note_error(c, cmd, t);
	else if (t->kind == KVF_RESP_INTEGER)
		c->reply.number = t->number;
	else
		return false;
	return t->depth == 0;
}

static bool put_token(struct kvf_resp_conn *c, const struct kvf_resp_cmd *cmd, const struct kvf_resp_token *t)
{
	bool exec = cmd->replies > 1 && c->reply.n == cmd->replies - 1;

	switch (t->kind) {
	case KVF_RESP_ERROR:
		note_error(c, cmd, t);
		return t->depth <= 1;
	case KVF_RESP_STATUS:
		c->reply.multi |= cmd->replies > 1 && !c->reply.n;
		return t->depth == (exec ? 1u : 0u);
	case KVF_RESP_ARRAY:
		return exec && t->depth == 0;
	case KVF_RESP_NIL:
		c->reply.odd = true;
		return exec;
	default:
		return false;
	}
}

static int final_status(struct kvf_resp_conn *c, struct kvf_resp_cmd *cmd)
{
	if (cmd->kind == KVF_REQ_GET)
		return get_status(c, cmd);
	if (c->reply.error)
		return status_of(cmd, (enum kvf_resp_error)c->reply.error);
	if (cmd->kind == KVF_REQ_PUT)
		return c->reply.odd ? KVF_EIO : KVF_OK;
	return c->reply.number > 0 ? KVF_OK : KVF_ENOENT;
}

/* Before Redis 4 there was DEL only: said once more, with that. */
static bool knows_no_unlink(struct kvf_resp_conn *c, struct kvf_resp_cmd *cmd)
{
	struct kvf_tier_req *req = cmd->req;

	if (cmd->kind != KVF_REQ_REMOVE || c->reply.error != KVF_RESP_UNKNOWN_COMMAND || c->tier->no_unlink)
		return false;
	c->tier->no_unlink = true;
	cmd->req = NULL;
	kvf_resp_conn_finish(c, KVF_EIO);
	if (req)
		kvf_resp_tier_lost(c->tier, req, KVF_EIO);
	return true;
}

bool kvf_resp_reply_token(struct kvf_resp_conn *c, struct kvf_resp_cmd *cmd, const struct kvf_resp_token *t)
{
	bool fits = cmd->kind == KVF_REQ_GET ? get_token(c, cmd, t) :
		    cmd->kind == KVF_REQ_PUT ? put_token(c, cmd, t) :
					       small_token(c, cmd, t);
	bool lost_auth, open;

	if (!fits)
		return false;
	if (!t->last || ++c->reply.n < cmd->replies)
		return true;
	/* The slot is being sent from: whoever answers before it has all of it does not answer this. */
	if (cmd->payload && c->pay <= c->head)
		return false;
	if (knows_no_unlink(c, cmd))
		return true;
	lost_auth = c->reply.error == KVF_RESP_NO_AUTH;
	open = c->reply.open;
	if (!c->reply.error)
		forget_warnings(c, cmd);
	if (cmd->kind == KVF_REQ_PUT)
		kvf_resp_tier_transaction(c->tier, !c->reply.no_multi);
	kvf_resp_conn_finish(c, final_status(c, cmd));
	/* With other credentials it may go on: they are read again at the next connect. */
	if (lost_auth)
		kvf_resp_conn_break(c, KVF_EIO, KVF_RESP_T_COUNTED, "no permission");
	/* All that is said here from now on would be kept for an end that does not come. */
	else if (open)
		kvf_resp_conn_break(c, KVF_EIO, KVF_RESP_T_COUNTED, "a transaction cannot be ended");
	return !lost_auth && !open;
}
