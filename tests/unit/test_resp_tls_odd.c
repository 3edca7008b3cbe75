/* SPDX-License-Identifier: Apache-2.0 */
/* What TLS may do in the midst of a value, byte by byte; and a host that uses OpenSSL itself. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"

#ifdef HAVE_LIBSSL

#include <openssl/bio.h>
#include <openssl/err.h>

#include "tests/support/tls_relay.h"

#define BIG (64u * 1024u)
#define VALUES 1u /* the relay's second connection is the one for values */
#define SMALL 17000u /* two records */

static struct resp_rig rig;
static struct tls_relay relay;
static uint8_t out[KVF_SLOT_HEADER_BYTES + BIG], in[KVF_SLOT_HEADER_BYTES + BIG];

/* ---- a network that takes what it is told, and counts ---- */

static struct kvf_resp_net narrow;
static size_t may_send;	 /* in this turn; SIZE_MAX: all */
static uint64_t came;	 /* bytes read */
static unsigned spoiled; /* bytes of what comes next that are not what was sent */

static ssize_t send_some(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	struct iovec one = iov[0];
	ssize_t put;

	(void)n;
	if (!may_send)
		return -EAGAIN;
	if (one.iov_len > may_send)
		one.iov_len = may_send;
	put = kvf_resp_sockets.send(io, &one, 1);
	if (put > 0 && may_send != SIZE_MAX)
		may_send -= (size_t)put;
	return put;
}

static ssize_t recv_counted(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	ssize_t got = kvf_resp_sockets.recv(io, iov, n);

	if (got > 100 && spoiled) {
		((char *)iov[0].iov_base)[50] ^= 1;
		spoiled--;
	}
	if (got > 0)
		came += (uint64_t)got;
	return got;
}

static bool begin(int version, uint64_t rekey_bytes, uint32_t bytes)
{
	memset(&rig, 0, sizeof(rig));
	if (!tls_relay_begin(&relay, &rig, version))
		return false;
	narrow = kvf_resp_sockets;
	narrow.send = send_some;
	narrow.recv = recv_counted;
	may_send = SIZE_MAX;
	spoiled = 0;
	rig.opt.net = &narrow;
	rig.opt.tls_rekey_bytes = rekey_bytes;
	for (uint32_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 31 + i / 251);
	return resp_rig_open(&rig, bytes);
}

static void end(void)
{
	resp_rig_close(&rig);
	close(rig.listener);
	tls_relay_end(&relay);
}

/* One turn of everybody: n bytes each way. */
static bool turn(size_t n)
{
	bool moved;

	may_send = n;
	moved = resp_rig_turn(&rig, UINT64_MAX);
	moved |= tls_relay_step(&relay, &rig, n);
	resp_peer_accept(&rig);
	for (unsigned i = 0; i < RESP_RIG_PEERS; i++)
		moved |= resp_peer_take(&rig, &rig.peer[i], SIZE_MAX) + resp_peer_give(&rig, &rig.peer[i], 8192) > 0;
	return moved;
}

static void nothing(unsigned i)
{
	(void)i;
}

/* Until it is answered; `between` is called before each turn. */
static int ask(enum kvf_req_kind kind, size_t n, void (*between)(unsigned i))
{
	uint8_t *slot = kind == KVF_REQ_PUT ? out : in;
	struct resp_ask a;

	if (kind == KVF_REQ_GET)
		memset(in, 0, sizeof(in));
	resp_rig_submit(&rig, &a, kind, 1, slot);
	for (unsigned i = 0; i < 400000 && !a.done; i++) {
		between(i);
		turn(n);
	}
	CU_ASSERT_EQUAL(a.done, 1);
	if (kind == KVF_REQ_GET && a.status == KVF_OK)
		CU_ASSERT_EQUAL(memcmp(in + KVF_SLOT_HEADER_BYTES, out + KVF_SLOT_HEADER_BYTES, rig.payload_bytes), 0);
	return a.status;
}

static void test_every_byte(void)
{
	const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	for (size_t i = 0; i < KVF_ARRAY_LEN(versions); i++) {
		if (!begin(versions[i], 0, SMALL))
			return;
		CU_ASSERT_EQUAL(ask(KVF_REQ_PUT, 1, nothing), KVF_OK);
		CU_ASSERT_EQUAL(ask(KVF_REQ_GET, 1, nothing), KVF_OK);
		CU_ASSERT_EQUAL(ask(KVF_REQ_EXISTS, 1, nothing), KVF_OK);
		CU_ASSERT_EQUAL(rig.tier->connects, 2);
		end();
	}
}

static void new_keys(unsigned i)
{
	for (unsigned k = 0; k < TLS_RELAY_CONNS && i % 5 == 0; k++) {
		SSL *ssl = relay.conn[k].ssl;

		if (ssl && SSL_is_init_finished(ssl) && SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1)
			SSL_do_handshake(ssl);
	}
	ERR_clear_error();
}

/* The server asks for new keys every few hundred bytes. */
static void test_new_keys(void)
{
	if (!begin(TLS1_3_VERSION, 0, BIG))
		return;
	CU_ASSERT_EQUAL(ask(KVF_REQ_PUT, 331, new_keys), KVF_OK);
	CU_ASSERT_EQUAL(ask(KVF_REQ_GET, 331, new_keys), KVF_OK);
	CU_ASSERT(relay.new_keys > 10);
	CU_ASSERT_EQUAL(rig.tier->connects, 2);
	end();
}

/* We take new ones before the old ones are worn out; not in the midst of a record. */
static void test_keys_wear_out(void)
{
	if (!begin(TLS1_3_VERSION, 20000, BIG))
		return;
	CU_ASSERT_EQUAL(ask(KVF_REQ_PUT, 331, nothing), KVF_OK);
	CU_ASSERT_EQUAL(ask(KVF_REQ_GET, 331, nothing), KVF_OK);
	CU_ASSERT_EQUAL(ask(KVF_REQ_PUT, 100000, nothing), KVF_OK);
	CU_ASSERT_EQUAL(ask(KVF_REQ_GET, 100000, nothing), KVF_OK);
	CU_ASSERT(relay.new_keys >= 4);
	CU_ASSERT_EQUAL(rig.tier->connects, 2);
	end();
	/* There is none of this in TLS 1.2. */
	if (!begin(TLS1_2_VERSION, 20000, BIG))
		return;
	CU_ASSERT_EQUAL(ask(KVF_REQ_PUT, 100000, nothing), KVF_OK);
	CU_ASSERT_EQUAL(ask(KVF_REQ_GET, 100000, nothing), KVF_OK);
	CU_ASSERT_EQUAL(rig.tier->connects, 2);
	end();
}

static void renegotiate(unsigned i)
{
	SSL *ssl = relay.conn[VALUES].ssl;

	if (i == 100 && ssl && SSL_is_init_finished(ssl) && SSL_renegotiate(ssl) == 1)
		SSL_do_handshake(ssl);
	ERR_clear_error();
}

/* It is not done; the value comes all the same. */
static void test_renegotiation(void)
{
	if (!begin(TLS1_2_VERSION, 0, BIG))
		return;
	CU_ASSERT_EQUAL(ask(KVF_REQ_PUT, 331, nothing), KVF_OK);
	CU_ASSERT_EQUAL(ask(KVF_REQ_GET, 331, renegotiate), KVF_OK);
	CU_ASSERT(rig.tier->connects <= 3);
	end();
}

static void cut(unsigned i)
{
	if (i == 60)
		tls_relay_cut(&relay.conn[VALUES]);
}

static void say_good_bye(unsigned i)
{
	if (i == 60)
		SSL_shutdown(relay.conn[VALUES].ssl);
}

/* In the midst of a value, with and without a word: it is asked for again. */
static void test_ends(void)
{
	void (*const ends[])(unsigned) = { cut, say_good_bye };

	for (size_t i = 0; i < KVF_ARRAY_LEN(ends); i++) {
		if (!begin(TLS1_3_VERSION, 0, BIG))
			return;
		CU_ASSERT_EQUAL(ask(KVF_REQ_PUT, 100000, nothing), KVF_OK);
		CU_ASSERT_EQUAL(ask(KVF_REQ_GET, 331, ends[i]), KVF_OK);
		CU_ASSERT_EQUAL(rig.tier->connects, 3);
		CU_ASSERT_EQUAL(rig.tier->errors[KVF_RESP_T_RESET], 1);
		CU_ASSERT_EQUAL(rig.tier->errors[KVF_RESP_T_TLS], 0);
		end();
	}
}

static void spoil(unsigned i)
{
	if (i == 60)
		spoiled = 1;
}

/* Somebody on the way changes a bit. */
static void test_spoiled(void)
{
	if (!begin(TLS1_3_VERSION, 0, BIG))
		return;
	CU_ASSERT_EQUAL(ask(KVF_REQ_PUT, 100000, nothing), KVF_OK);
	CU_ASSERT_EQUAL(ask(KVF_REQ_GET, 331, spoil), KVF_OK);
	CU_ASSERT_EQUAL(rig.tier->connects, 3);
	CU_ASSERT_EQUAL(rig.tier->errors[KVF_RESP_T_TLS], 1);
	rig.log[rig.log_n] = '\0';
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.log, "bad record mac"));
	end();
}

/* Who answers in plain text has no certificate that could be to blame. */
static void test_no_tls(void)
{
	if (!begin(TLS1_3_VERSION, 0, BIG))
		return;
	for (unsigned i = 0; i < 100000 && !rig.tier->errors[KVF_RESP_T_TLS]; i++) {
		int fd = accept4(relay.listener, NULL, NULL, SOCK_CLOEXEC);

		resp_rig_turn(&rig, UINT64_MAX);
		if (fd < 0)
			continue;
		CU_ASSERT_EQUAL(write(fd, "-ERR Protocol error\r\n", 21), 21);
		resp_rig_turn(&rig, UINT64_MAX);
		close(fd);
	}
	rig.log[rig.log_n] = '\0';
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.log, "the TLS handshake failed: wrong version number"));
	end();
}

/* A server that does nothing but hand out tickets holds us for so many bytes a turn only. */
static void test_never_to_the_point(void)
{
	uint64_t most = 0;

	if (!begin(TLS1_3_VERSION, 0, BIG))
		return;
	SSL_CTX_set_num_tickets(relay.ctx, 4000);
	for (unsigned i = 0; i < 3000 && relay.to_client < 600000; i++) {
		struct resp_ask a;

		if (!i)
			resp_rig_submit(&rig, &a, KVF_REQ_EXISTS, 1, out);
		/* All that there is waits in the socket. */
		for (unsigned k = 0; k < 40; k++)
			tls_relay_step(&relay, &rig, 65536);
		may_send = SIZE_MAX;
		came = 0;
		resp_rig_turn(&rig, UINT64_MAX);
		most = came > most ? came : most;
		if (a.done)
			break;
	}
	CU_ASSERT(relay.to_client > 600000);
	CU_ASSERT(most > 0 && most <= 200000);
	end();
}

#if OPENSSL_VERSION_NUMBER >= 0x30000000L
static unsigned long codes[8];
static unsigned n_codes;

/* Three errors of the host's lie there, now and after each turn. */
static void lay_out(unsigned i)
{
	if (i) {
		const char *file, *func, *text;
		int line, flags;
		unsigned n = 0;

		for (unsigned long code; (code = ERR_get_error_all(&file, &line, &func, &text, &flags)) != 0; n++) {
			CU_ASSERT_FATAL(n < n_codes);
			CU_ASSERT_EQUAL(code, codes[n]);
			if (n == 1)
				CU_ASSERT_STRING_EQUAL(text, "of the host's");
			CU_ASSERT_STRING_EQUAL(func, "lay_out");
		}
		CU_ASSERT_EQUAL(n, n_codes);
	}
	n_codes = 0;
	ERR_raise(ERR_LIB_PEM, 108);
	codes[n_codes++] = ERR_peek_last_error();
	ERR_raise_data(ERR_LIB_X509, 123, "of the host's");
	codes[n_codes++] = ERR_peek_last_error();
	ERR_raise(ERR_LIB_SYS, 2);
	codes[n_codes++] = ERR_peek_last_error();
}

/* They are not taken for ours, and are not lost. */
static void test_host_errors(void)
{
	struct resp_ask a;

	if (!begin(TLS1_3_VERSION, 0, SMALL))
		return;
	ERR_clear_error();
	resp_rig_submit(&rig, &a, KVF_REQ_PUT, 1, out);
	for (unsigned i = 0; i < 100000 && !a.done; i++) {
		ERR_clear_error();
		lay_out(0);
		resp_rig_turn(&rig, UINT64_MAX);
		lay_out(1);
		ERR_clear_error();
		turn(500);
	}
	CU_ASSERT(a.done && a.status == KVF_OK);
	CU_ASSERT_EQUAL(rig.tier->connects, 2);
	/* What goes wrong with us, too, is our own affair. */
	ERR_clear_error();
	lay_out(0);
	spoiled = 100;
	resp_rig_submit(&rig, &a, KVF_REQ_GET, 1, in);
	for (unsigned i = 0; i < 200; i++) {
		lay_out(1);
		resp_rig_turn(&rig, UINT64_MAX);
		lay_out(1);
		ERR_clear_error();
		turn(500);
		lay_out(0);
	}
	CU_ASSERT(rig.tier->errors[KVF_RESP_T_TLS] > 0);
	ERR_clear_error();
	lay_out(0);
	resp_rig_close(&rig);
	lay_out(1);
	ERR_clear_error();
	close(rig.listener);
	tls_relay_end(&relay);
}

#else
static void test_host_errors(void)
{
	kvf_test_skip("with OpenSSL 1.1.1 the queue of errors is left empty");
}
#endif

/* OpenSSL has 127 numbers for kinds of BIOs in a process. */
static void test_many_engines(void)
{
	struct kvf_resp_tls *tls;

	if (!begin(TLS1_3_VERSION, 0, SMALL))
		return;
	for (unsigned i = 0; i < 200; i++) {
		CU_ASSERT_EQUAL_FATAL(kvf_resp_tls_new(&rig.mem, &rig.opt, NULL, &tls), KVF_OK);
		kvf_resp_tls_free(tls);
	}
	CU_ASSERT(BIO_get_new_index() > 0);
	end();
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "every_byte", test_every_byte },
		{ "new_keys", test_new_keys },
		{ "keys_wear_out", test_keys_wear_out },
		{ "renegotiation", test_renegotiation },
		{ "ends", test_ends },
		{ "spoiled", test_spoiled },
		{ "no_tls", test_no_tls },
		{ "never_to_the_point", test_never_to_the_point },
		{ "host_errors", test_host_errors },
		{ "many_engines", test_many_engines },
	};

	return kvf_test_main("resp_tls_odd", tests, KVF_ARRAY_LEN(tests), argc, argv);
}

#else

static void test_nothing(void)
{
	kvf_test_skip("built without libssl");
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = { { "nothing", test_nothing } };

	return kvf_test_main("resp_tls_odd", tests, KVF_ARRAY_LEN(tests), argc, argv);
}

#endif
