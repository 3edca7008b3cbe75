/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis tier and a server that answers anything at all: by seed, values of every kind of RESP, lengths that are not
 * theirs, attributes and pushes anywhere, more than was asked, less than was promised. A request ends exactly once,
 * nothing but its payload's place is written, and with `require` nothing counts as found but the chunk itself.
 *
 * KVF_RESP_LIES=N: so many seeds. KVF_RESP_LIE=SEED: that one only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/resp_rig.h"

#define PAYLOAD 200u
#define BEHIND 131072u /* bytes behind the payload that nobody may touch */
#define CANARY 0xa5
#define DEFAULT_LIES 3000ul
#define SAY_MAX 65536u

static struct resp_rig rig;
static uint8_t *slot;
static uint64_t seed, state;
static char text[SAY_MAX];
static size_t text_n;
static unsigned found, missed, failed; /* over all seeds */

static uint64_t draw(uint64_t n)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 2685821657736338717ull >> 16) % n;
}

static void blame(bool fine, const char *what)
{
	if (!fine)
		fprintf(stderr, "seed %lu: %s (KVF_RESP_LIE=%lu)\n", (unsigned long)seed, what, (unsigned long)seed);
	CU_ASSERT_FATAL(fine);
}

/* ---- what is said ---- */

static void say_bytes(const void *p, size_t n)
{
	if (n > SAY_MAX - text_n)
		n = SAY_MAX - text_n;
	memcpy(text + text_n, p, n);
	text_n += n;
}

static void say(const char *s)
{
	say_bytes(s, strlen(s));
}

static void say_head(char type, long long n)
{
	char head[32];

	say_bytes(head, (size_t)snprintf(head, sizeof(head), "%c%lld\r\n", type, n));
}

static void say_bulk(char type, const void *p, size_t n)
{
	say_head(type, (long long)n);
	say_bytes(p, n);
	say("\r\n");
}

static void fill(uint8_t *at)
{
	for (unsigned i = 0; i < PAYLOAD; i++)
		at[i] = (uint8_t)(i * 7 + 3);
}

static void true_meta(void)
{
	uint8_t meta[28];

	memset(meta, 16, sizeof(meta));
	say_bulk('$', meta, sizeof(meta));
}

static void true_bytes(void)
{
	uint8_t bytes[PAYLOAD];

	fill(bytes);
	say_bulk('$', bytes, sizeof(bytes));
}

static void true_side(void)
{
	uint8_t bytes[PAYLOAD], out[KVF_RESP_SIDE_BYTES];
	struct kvf_resp_side side = { .key = { 1 }, .payload_bytes = PAYLOAD, .n_tokens = 16 };

	fill(bytes);
	side.checksum = kvf_checksum(bytes, sizeof(bytes));
	kvf_resp_side_write(&side, out);
	say_bulk('$', out, sizeof(out));
}

static void junk(void)
{
	static const size_t sizes[] = { 0, 1, 27, 28, 29, 63, 64, 65, PAYLOAD - 1, PAYLOAD, PAYLOAD, PAYLOAD + 1,
					KVF_RESP_META_MAX, KVF_RESP_META_MAX + 1, 4000, 20000 };
	static const char types[] = "$$$$$=!";
	size_t n = sizes[draw(KVF_ARRAY_LEN(sizes))];
	uint8_t bytes[20000];

	memset(bytes, (int)draw(256), n);
	say_bulk(types[draw(sizeof(types) - 1)], bytes, n);
}

static void strange(void)
{
	static const char *const all[] = {
		"$-2\r\n", "$9223372036854775807\r\n", "$18446744073709551615\r\n", "$4294967295\r\n",
		"$4294967296\r\n",
		"$+5\r\nabcde\r\n", "$\r\n", "$1e3\r\n", "*-1\r\n", "*-2\r\n", "*1048576\r\n", "*1048577\r\n",
		"%9223372036854775807\r\n", "*9223372036854775807\r\n", ":-9223372036854775808\r\n",
		":9223372036854775807\r\n", ":99999999999999999999\r\n", ":1\n", "\r\n", "$5\r\nabcdefg\r\n", "|0\r\n",
		">0\r\n", "%0\r\n", "~0\r\n", "*0\r\n", ";4\r\nabcd\r\n", "$?\r\n", "*?\r\n", "-\r\n", "+\r\n",
		"HTTP/1.1 400",
	};

	say(all[draw(KVF_ARRAY_LEN(all))]);
}

static void say_any(unsigned depth)
{
	static const char lists[] = "*~>%|";
	static const char *const lines[] = {
		"+OK\r\n", "+QUEUED\r\n", ":1\r\n", ":0\r\n", "-ERR no\r\n", "-WRONGTYPE Operation\r\n", "-LOADING\r\n",
		"-OOM command\r\n", "-NOAUTH Authentication required.\r\n", "-MOVED 1 h:1\r\n", "_\r\n",
		"$-1\r\n", "#t\r\n",
		",1.5\r\n", "(12345678901234567890\r\n", "-ERR unknown command 'MGET'\r\n",
	};
	uint64_t what = draw(16);

	if (what < 5) {
		say(lines[draw(KVF_ARRAY_LEN(lines))]);
	} else if (what < 10) {
		junk();
	} else if (what < 14 && depth < 10) {
		char type = lists[draw(sizeof(lists) - 1)];
		uint64_t n = draw(4);

		say_head(type, (long long)n);
		for (uint64_t i = 0; i < n * (type == '%' || type == '|' ? 2 : 1); i++)
			say_any(depth + 1);
		if (type == '|')
			say_any(depth + 1);
	} else {
		strange();
	}
}

/* Metadata, side record, bytes, form after form: true, absent, or anything. */
static void say_answer(const struct kvf_resp_tier *tier)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < tier->n_forms; i++)
		n += kvf_resp_keys(&tier->form[i]);
	say_head(draw(20) ? '*' : '~', draw(20) ? n : (long long)draw(8));
	for (uint32_t i = 0; i < tier->n_forms; i++) {
		const struct kvf_resp_form *form = &tier->form[i];
		void (*const part[])(void) = { form->meta ? true_meta : NULL, form->side ? true_side : NULL,
					       true_bytes };

		for (size_t k = 0; k < KVF_ARRAY_LEN(part); k++) {
			uint64_t what = draw(12);

			if (!part[k])
				continue;
			if (what == 0) {
				say("|1\r\n");
				say_any(1);
				say_any(1);
			}
			if (what == 1)
				say_any(1);
			else if (what < 4)
				junk();
			else if (what < 6)
				say("$-1\r\n");
			else
				part[k]();
		}
	}
}

/* ---- who says it ---- */

/* Everything but the answer to MGET is as it should be. */
static void serve(void)
{
	char heard[4096];

	resp_peer_accept(&rig);
	for (unsigned i = 0; i < RESP_RIG_PEERS; i++) {
		struct resp_peer *peer = &rig.peer[i];
		ssize_t n = peer->fd < 0 ? 0 : recv(peer->fd, heard, sizeof(heard), MSG_PEEK | MSG_DONTWAIT);

		if (n > 0 && memmem(heard, (size_t)n, "MGET", 4)) {
			(void)!recv(peer->fd, heard, (size_t)n, 0);
			(void)!send(peer->fd, text, text_n, MSG_NOSIGNAL | MSG_DONTWAIT);
		} else if (peer->fd >= 0) {
			resp_peer_take(&rig, peer, SIZE_MAX);
			resp_peer_give(&rig, peer, SIZE_MAX);
		}
	}
}

static bool untouched(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != CANARY)
			return false;
	return true;
}

static void open_rig(enum kvf_resp_format format, enum kvf_resp_verify verify, bool older)
{
	kvf_resp_options_init(&rig.opt);
	rig.opt.connections = 1;
	rig.opt.format = format;
	rig.opt.verify = verify;
	rig.opt.read_older = rig.opt.older_two_key = older;
	rig.opt.stall_timeout_ns = KVF_NS_PER_S;
	CU_ASSERT_TRUE_FATAL(resp_rig_open(&rig, PAYLOAD));
	for (unsigned i = 0; i < 8; i++) {
		resp_rig_settle(&rig);
		serve();
	}
}

/* Gets a chunk, and is told what stands in `text`. */
static struct resp_ask get(void)
{
	uint8_t want[PAYLOAD];
	struct resp_ask a;

	memset(slot, CANARY, KVF_SLOT_HEADER_BYTES + PAYLOAD + BEHIND);
	resp_rig_submit(&rig, &a, KVF_REQ_GET, 1, slot);
	for (unsigned i = 0; i < 64 && !a.done; i++) {
		resp_rig_settle(&rig);
		serve();
		rig.now_ns += KVF_NS_PER_S / 16;
	}
	resp_rig_settle(&rig);
	blame(a.done == 1, "a request that does not end, or ends twice");
	blame(untouched(slot, KVF_SLOT_HEADER_BYTES), "bytes before the payload were written");
	blame(untouched(slot + KVF_SLOT_HEADER_BYTES + PAYLOAD, BEHIND), "bytes behind the payload were written");
	fill(want);
	if (a.status == KVF_OK && a.req.checked)
		blame(!memcmp(slot + KVF_SLOT_HEADER_BYTES, want, PAYLOAD), "other bytes than the checksum's");
	blame(a.status != KVF_OK || a.req.checked || rig.opt.verify != KVF_RESP_REQUIRE, "found, and not checked");
	return a;
}

static void lie(uint64_t with)
{
	struct resp_ask a;

	seed = with;
	state = with * 0x9e3779b97f4a7c15ull | 1;
	open_rig(draw(2) ? KVF_RESP_RAW : KVF_RESP_TWO_KEY, (enum kvf_resp_verify)draw(3), draw(2));
	text_n = 0;
	if (!draw(8))
		say(">2\r\n+invalidate\r\n*1\r\n$3\r\nkey\r\n");
	if (draw(4))
		say_answer(rig.tier);
	else
		say_any(0);
	if (!draw(4))
		say_any(0);
	if (!draw(6))
		text_n = draw(text_n + 1);
	a = get();
	found += a.status == KVF_OK;
	missed += a.status == KVF_ENOENT || a.status == KVF_ECORRUPT;
	failed += a.status == KVF_EIO || a.status == KVF_ETIMEDOUT;
	blame(a.status == KVF_OK || a.status == KVF_ENOENT || a.status == KVF_ECORRUPT || a.status == KVF_EIO ||
		      a.status == KVF_ETIMEDOUT,
	      "a status that nobody can explain");
	/* Told the truth it works. */
	rig.now_ns += 2 * KVF_NS_PER_S;
	text_n = 0;
	say_head('*', (rig.opt.format == KVF_RESP_TWO_KEY) + (rig.opt.verify != KVF_RESP_NO_VERIFY) + 1 +
			      2 * (rig.tier->n_forms - 1));
	if (rig.opt.format == KVF_RESP_TWO_KEY)
		true_meta();
	if (rig.opt.verify != KVF_RESP_NO_VERIFY)
		true_side();
	true_bytes();
	for (uint32_t i = 1; i < rig.tier->n_forms; i++)
		say("$-1\r\n_\r\n");
	a = get();
	if (a.status != KVF_OK)
		a = get(); /* the one before may have been lost with what was left of the lie */
	blame(a.status == KVF_OK, "it does not work again");
	resp_rig_close(&rig);
}

static void test_anything(void)
{
	const char *one = getenv("KVF_RESP_LIE");
	const char *many = getenv("KVF_RESP_LIES");
	unsigned long n = many ? strtoul(many, NULL, 10) : DEFAULT_LIES;

	if (one) {
		lie(strtoull(one, NULL, 10));
		return;
	}
	for (uint64_t i = 1; i <= n; i++)
		lie(i);
	CU_ASSERT(found > n / 20 && missed > n / 20 && failed > n / 20);
	printf("%u found, %u missed, %u failed ", found, missed, failed);
}

/* Of two forms the first is taken; what stands before the second is nobody's. */
static void test_attribute_behind_a_value(void)
{
	char big[20000];
	struct resp_ask a;

	memset(big, 'x', sizeof(big));
	open_rig(KVF_RESP_RAW, KVF_RESP_NO_VERIFY, true);
	text_n = 0;
	say_head('*', 3);
	true_bytes();
	say("|1\r\n+k\r\n");
	say_bulk('$', big, sizeof(big));
	say("$-1\r\n$-1\r\n");
	a = get();
	CU_ASSERT_EQUAL(a.status, KVF_OK);
	CU_ASSERT_EQUAL(slot[KVF_SLOT_HEADER_BYTES + 1], 10);
	resp_rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "attribute_behind_a_value", test_attribute_behind_a_value },
		{ "anything", test_anything },
	};
	int rc;

	slot = malloc(KVF_SLOT_HEADER_BYTES + PAYLOAD + BEHIND);
	rc = kvf_test_main("sweep_resp_lies", tests, KVF_ARRAY_LEN(tests), argc, argv);
	if (rig.listener > 0)
		close(rig.listener);
	free(slot);
	return rc;
}
