/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The greeting: HELLO 3 with AUTH and SETNAME, or AUTH, SELECT and CLIENT SETNAME one by one where the server is too
 * old for it. What a server says while it is being greeted is never logged: an old one repeats the words it did not
 * understand, the password among them.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tier/resp/conn.h"
#include "tier/resp/tier.h"

#define CLIENT_NAME "kvferry"
#define TOO_MANY "ERR max number of clients"

enum step { HELLO = 0, AUTH, SELECT, SETNAME, DONE };

struct credentials {
	char user[KVF_RESP_TEXT];
	char password[KVF_RESP_SECRET];
};

/* The first line of a small local file. Part of a password would be another one. */
static bool read_line(const char *path, char *out, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, out, cap - 1);
	(void)close(fd);
	if (n < 0)
		return false;
	out[n] = '\0';
	out[strcspn(out, "\r\n")] = '\0';
	return strlen(out) < cap - 1;
}

static bool credentials(struct kvf_resp_tier *tier, struct credentials *out)
{
	const struct kvf_resp_options *opt = &tier->opt;

	memcpy(out->user, opt->user, sizeof(out->user));
	memcpy(out->password, opt->password, sizeof(out->password));
	return (!opt->user_file[0] || read_line(opt->user_file, out->user, sizeof(out->user))) &&
	       (!opt->password_file[0] || read_line(opt->password_file, out->password, sizeof(out->password)));
}

/* A user without password is one too: not to say so would make us somebody else. */
static bool named(const struct credentials *who)
{
	return who->user[0] || who->password[0];
}

static void write_step(const struct kvf_resp_options *opt, enum step step, const struct credentials *who,
		       struct kvf_resp_writer *w)
{
	switch (step) {
	case HELLO:
		kvf_resp_put_head(w, named(who) ? 7 : 4);
		kvf_resp_put_text(w, "HELLO");
		kvf_resp_put_text(w, "3");
		if (named(who)) {
			kvf_resp_put_text(w, "AUTH");
			kvf_resp_put_text(w, who->user[0] ? who->user : "default");
			kvf_resp_put_text(w, who->password);
		}
		kvf_resp_put_text(w, "SETNAME");
		kvf_resp_put_text(w, CLIENT_NAME);
		break;
	case AUTH:
		kvf_resp_put_head(w, who->user[0] ? 3 : 2);
		kvf_resp_put_text(w, "AUTH");
		if (who->user[0])
			kvf_resp_put_text(w, who->user);
		kvf_resp_put_text(w, who->password);
		break;
	case SELECT:
		kvf_resp_put_head(w, 2);
		kvf_resp_put_text(w, "SELECT");
		kvf_resp_put_number(w, opt->database);
		break;
	case SETNAME:
		kvf_resp_put_head(w, 3);
		kvf_resp_put_text(w, "CLIENT");
		kvf_resp_put_text(w, "SETNAME");
		kvf_resp_put_text(w, CLIENT_NAME);
		break;
	case DONE:
		break;
	}
}

static void finish(struct kvf_resp_conn *c)
{
	c->state = KVF_RESP_READY;
	/* It may have held a password. */
	explicit_bzero(c->text, c->text_cap);
	c->base = c->sent = c->end;
	c->tier->connects++;
	kvf_resp_tier_works(c->tier);
}

static enum step after(const struct kvf_resp_conn *c, enum step step)
{
	if ((step == HELLO || step == AUTH) && c->tier->opt.database)
		return SELECT;
	return c->old_server && step != SETNAME ? SETNAME : DONE;
}

static bool go(struct kvf_resp_conn *c, enum step step)
{
	struct credentials who;
	struct kvf_resp_writer w;

	if (!credentials(c->tier, &who)) {
		explicit_bzero(&who, sizeof(who));
		kvf_resp_conn_break(c, KVF_ENOTSUP, KVF_RESP_T_AUTH,
				    "a file with credentials cannot be read, or is too long");
		return false;
	}
	if (step == AUTH && !named(&who))
		step = after(c, AUTH);
	c->greeting = (uint8_t)step;
	if (step == DONE) {
		finish(c);
	} else {
		kvf_resp_conn_writer(c, &w);
		write_step(&c->tier->opt, step, &who, &w);
		kvf_resp_conn_say(c, &w);
	}
	explicit_bzero(&who, sizeof(who));
	return true;
}

bool kvf_resp_hello_begin(struct kvf_resp_conn *c)
{
	c->old_server = false;
	return go(c, HELLO);
}

static const char *why_refused(const char *text)
{
	enum kvf_resp_error error = kvf_resp_error_of(text, NULL);

	if (error == KVF_RESP_NO_AUTH)
		return "the server does not accept user and password";
	if (error == KVF_RESP_DOWN)
		return "the server is not ready";
	return strncmp(text, TOO_MANY, strlen(TOO_MANY)) == 0 ? "the server has too many clients" :
								"the server refused the greeting";
}

bool kvf_resp_hello_token(struct kvf_resp_conn *c, const struct kvf_resp_token *t)
{
	if (t->kind == KVF_RESP_ERROR && t->depth == 0) {
		enum kvf_resp_trouble trouble;
		enum kvf_resp_error error = kvf_resp_error_of(t->text, &trouble);

		if (c->greeting == HELLO && (error == KVF_RESP_UNKNOWN_COMMAND || error == KVF_RESP_OTHER) &&
		    strncmp(t->text, TOO_MANY, strlen(TOO_MANY)) != 0) {
			c->old_server = true;
			return go(c, AUTH);
		}
		/* A name is a nicety: some proxies know no CLIENT. */
		if (c->greeting != SETNAME) {
			kvf_resp_conn_break(c, KVF_ENOTSUP, trouble, why_refused(t->text));
			return false;
		}
	}
	return !t->last || go(c, after(c, (enum step)c->greeting));
}
