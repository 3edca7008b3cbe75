/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis tier in random weather, by seed: several requests at once, turns of any budget, a network that passes on
 * any number of bytes of any connection, holds back, resets and falls silent, as often as the seed says; requests
 * withdrawn in the midst of it. Every request ends exactly once, what is read is what was once written under its name,
 * a slot is left alone once its request ended, and afterwards everything works again.
 *
 * KVF_RESP_STORMS=N: so many seeds. KVF_RESP_STORM=SEED: that one only.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/resp_rig.h"

#define PAYLOAD 3000u
#define KEYS 3u
#define VERSIONS 64u
#define AT_ONCE 5u
#define STEPS 600u
#define CANARY 0xa5
#define DEFAULT_STORMS 300ul

struct flight {
	struct resp_ask ask;
	bool busy, withdrawn;
	uint8_t *slot;
};

static struct resp_rig rig;
static struct flight flights[AT_ONCE];
static uint64_t seed, state;
static unsigned versions[KEYS]; /* written so far, perhaps: 0..versions-1 */
static uint64_t silent_until_ns;
static unsigned counts[4]; /* fine, missed, failed, withdrawn: over all seeds */

static uint64_t draw(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 2685821657736338717ull >> 16;
}

static bool chance(unsigned one_in)
{
	return draw() % one_in == 0;
}

static uint8_t byte_of(unsigned key, unsigned version, unsigned i)
{
	return (uint8_t)(i * 7 + key * 31 + version * 101 + (i >> 8) * version);
}

static void fill(uint8_t *slot, unsigned key, unsigned version)
{
	for (unsigned i = 0; i < PAYLOAD; i++)
		slot[KVF_SLOT_HEADER_BYTES + i] = byte_of(key, version, i);
}

static bool holds(const uint8_t *slot, unsigned key, unsigned version)
{
	for (unsigned i = 0; i < PAYLOAD; i++)
		if (slot[KVF_SLOT_HEADER_BYTES + i] != byte_of(key, version, i))
			return false;
	return true;
}

/* Was it ever written under this key? */
static bool known(const uint8_t *slot, unsigned key)
{
	for (unsigned v = 0; v < versions[key]; v++)
		if (holds(slot, key, v))
			return true;
	return false;
}

static bool untouched(const uint8_t *slot)
{
	for (unsigned i = 0; i < PAYLOAD; i++)
		if (slot[KVF_SLOT_HEADER_BYTES + i] != CANARY)
			return false;
	return true;
}

static void blame(bool fine, const char *what)
{
	if (!fine)
		fprintf(stderr, "seed %lu: %s (KVF_RESP_STORM=%lu)\n", (unsigned long)seed, what, (unsigned long)seed);
	CU_ASSERT_FATAL(fine);
}

/* ---- requests ---- */

static void begin(struct flight *f)
{
	static const enum kvf_req_kind kinds[] = { KVF_REQ_PUT, KVF_REQ_PUT, KVF_REQ_GET, KVF_REQ_GET, KVF_REQ_GET,
						   KVF_REQ_EXISTS, KVF_REQ_REMOVE };
	enum kvf_req_kind kind = kinds[draw() % KVF_ARRAY_LEN(kinds)];
	unsigned key = (unsigned)(draw() % KEYS);

	blame(untouched(f->slot), "a slot was written after its request ended");
	if (kind == KVF_REQ_PUT && versions[key] == VERSIONS)
		kind = KVF_REQ_GET;
	if (kind == KVF_REQ_PUT)
		fill(f->slot, key, versions[key]++);
	resp_rig_submit(&rig, &f->ask, kind, key, f->slot);
	f->busy = true;
	f->withdrawn = false;
}

static void judge(struct flight *f)
{
	enum kvf_req_kind kind = (enum kvf_req_kind)f->ask.req.kind;
	int status = f->ask.status;
	bool miss = status == KVF_ENOENT || status == KVF_ECORRUPT;

	blame(f->ask.done == 1, "a request ended twice");
	blame(status == KVF_OK || miss || status == KVF_EIO || status == KVF_ETIMEDOUT ||
		      (status == KVF_ECANCELED && f->withdrawn),
	      "a status that nobody can explain");
	blame(!miss || kind != KVF_REQ_PUT, "a put that found nothing");
	if (kind == KVF_REQ_GET && status == KVF_OK)
		blame(known(f->slot, f->ask.req.key[0]), "bytes that were never written under this name");
	counts[f->withdrawn ? 3 : status == KVF_OK ? 0 : miss ? 1 : 2]++;
	/* From now on it belongs to somebody else. */
	memset(f->slot + KVF_SLOT_HEADER_BYTES, CANARY, PAYLOAD);
	f->busy = false;
}

static void look(void)
{
	for (unsigned i = 0; i < AT_ONCE; i++)
		if (flights[i].busy && flights[i].ask.done)
			judge(&flights[i]);
}

static void withdraw(struct flight *f)
{
	if (!f->busy || f->ask.done)
		return;
	f->withdrawn = true;
	kvf_resp_ops.cancel(rig.tier, &f->ask.req);
	blame(f->ask.done == 1, "a request that was withdrawn goes on");
}

/* ---- weather ---- */

static size_t some_bytes(void)
{
	return chance(3) ? SIZE_MAX : (size_t)(draw() % (chance(2) ? 16 : 2 * PAYLOAD)) + 1;
}

static void network(void)
{
	resp_peer_accept(&rig);
	if (rig.now_ns < silent_until_ns)
		return;
	for (unsigned i = 0; i < RESP_RIG_PEERS; i++) {
		if (rig.peer[i].fd < 0)
			continue;
		if (chance(2))
			resp_peer_take(&rig, &rig.peer[i], some_bytes());
		if (chance(2))
			resp_peer_give(&rig, &rig.peer[i], some_bytes());
		if (chance(120))
			resp_peer_close(&rig.peer[i]);
	}
	if (chance(150))
		silent_until_ns = rig.now_ns + draw() % (3 * KVF_NS_PER_S);
}

static void step(void)
{
	struct flight *f = &flights[draw() % AT_ONCE];

	if (!f->busy && chance(2))
		begin(f);
	else if (chance(40))
		withdraw(f);
	resp_rig_turn(&rig, chance(3) ? UINT64_MAX : draw() % 4000 + 1);
	look();
	network();
	if (chance(4))
		rig.now_ns += draw() % (KVF_NS_PER_S / 5);
}

/* Good weather: what is under way ends, and a key can be written and read. */
static void clear_up(void)
{
	unsigned busy = 1;

	silent_until_ns = 0;
	for (unsigned i = 0; i < 400 && busy; i++) {
		resp_rig_settle(&rig);
		look();
		resp_peer_accept(&rig);
		busy = 0;
		for (unsigned k = 0; k < RESP_RIG_PEERS; k++)
			if (rig.peer[k].fd >= 0)
				busy += resp_peer_take(&rig, &rig.peer[k], SIZE_MAX) +
						resp_peer_give(&rig, &rig.peer[k], SIZE_MAX) >
					0;
		for (unsigned k = 0; k < AT_ONCE; k++)
			busy += flights[k].busy;
		rig.now_ns += KVF_NS_PER_S / 20;
	}
	blame(!busy, "something does not end");
}

static void one_more(enum kvf_req_kind kind, unsigned version)
{
	struct flight *f = &flights[0];

	blame(untouched(f->slot), "a slot was written after its request ended");
	if (kind == KVF_REQ_PUT)
		fill(f->slot, 1, version);
	resp_rig_submit(&rig, &f->ask, kind, 1, f->slot);
	f->busy = f->withdrawn = false;
	for (unsigned i = 0; i < 100 && !f->ask.done; i++) {
		clear_up();
		rig.now_ns += KVF_NS_PER_S / 10;
	}
	blame(f->ask.done == 1 && f->ask.status == KVF_OK, "it does not work again");
	if (kind == KVF_REQ_GET)
		blame(holds(f->slot, 1, version), "other bytes than were written last");
	memset(f->slot + KVF_SLOT_HEADER_BYTES, CANARY, PAYLOAD);
}

static void storm(uint64_t with)
{
	seed = with;
	state = with * 0x9e3779b97f4a7c15ull | 1;
	memset(versions, 0, sizeof(versions));
	silent_until_ns = 0;
	kvf_resp_options_init(&rig.opt);
	rig.opt.connections = 1 + (uint32_t)(draw() % 3);
	rig.opt.format = KVF_RESP_TWO_KEY;
	rig.opt.stall_timeout_ns = KVF_NS_PER_S;
	CU_ASSERT_TRUE_FATAL(resp_rig_open(&rig, PAYLOAD));
	for (unsigned i = 0; i < AT_ONCE; i++) {
		flights[i].busy = false;
		memset(flights[i].slot + KVF_SLOT_HEADER_BYTES, CANARY, PAYLOAD);
	}
	for (unsigned i = 0; i < STEPS; i++)
		step();
	clear_up();
	rig.now_ns += 2 * KVF_NS_PER_S;
	one_more(KVF_REQ_PUT, VERSIONS);
	one_more(KVF_REQ_GET, VERSIONS);
	for (unsigned i = 0; i < AT_ONCE; i++)
		blame(untouched(flights[i].slot), "a slot was written after its request ended");
	resp_rig_close(&rig);
}

static void test_storms(void)
{
	const char *one = getenv("KVF_RESP_STORM");
	const char *many = getenv("KVF_RESP_STORMS");
	unsigned long n = many ? strtoul(many, NULL, 10) : DEFAULT_STORMS;

	if (one) {
		storm(strtoull(one, NULL, 10));
		return;
	}
	for (uint64_t i = 1; i <= n; i++)
		storm(i);
	/* Weather that spoils everything, or nothing, finds nothing. */
	for (unsigned i = 0; i < KVF_ARRAY_LEN(counts); i++)
		CU_ASSERT(counts[i] > n);
	printf("%u fine, %u missed, %u failed, %u withdrawn ", counts[0], counts[1], counts[2], counts[3]);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = { { "storms", test_storms } };
	int rc;

	for (unsigned i = 0; i < AT_ONCE; i++)
		flights[i].slot = calloc(1, KVF_SLOT_HEADER_BYTES + PAYLOAD);
	rc = kvf_test_main("sweep_resp_storm", tests, KVF_ARRAY_LEN(tests), argc, argv);
	if (rig.listener > 0)
		close(rig.listener);
	for (unsigned i = 0; i < AT_ONCE; i++)
		free(flights[i].slot);
	return rc;
}
