/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvferry in a plain epoll loop, and the pattern for any other loop (asyncio, tokio, GLib, io_uring): add kvf_fd()
 * once, call kvf_poll() when it is readable. Level-triggered, as it is by default: it stays readable while there is
 * work or a completion to reap, so one poll a wake-up is enough and other descriptors get their turn in between.
 *
 * The other descriptor here is a timer that brings a request every 2 ms. In the end the loop is watched for 50 ms: an
 * idle engine must not wake it.
 */
#include "common.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define REQUESTS 10u
#define PROMPT 1024u

static struct kv kv;
static struct kvf_engine *engine;
static uint32_t tokens[PROMPT], table[PROMPT / KV_BLOCK];
static unsigned begun, stored, retrieved;

/* Odd requests bring back what the one before them stored. */
static void begin_request(void)
{
	struct kvf_block_list list = { table, PROMPT / KV_BLOCK, 0 };
	struct kvf_blocks blocks = { 1, &list };
	struct kvf_span span = { 0, PROMPT, &blocks };
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };
	struct kvf_seq *seq;
	struct kvf_op op;
	uint64_t id;

	make_prompt(tokens, PROMPT, 0, begun / 2);
	must(kvf_seq_open(engine, NULL, &seq) == KVF_OK, "kvf_seq_open");
	must(kvf_seq_append(seq, tokens, PROMPT) == KVF_OK, "kvf_seq_append");
	if (begun % 2 == 0) {
		kv_compute(&kv, table, tokens, 0, PROMPT);
		kvf_prep_store(&op, seq, &span, &now);
	} else {
		kv_wipe(&kv);
		kvf_prep_retrieve(&op, seq, &span, &now);
	}
	/* Makes kvf_fd() readable. The operation keeps what it needs of the sequence. */
	must(kvf_submit(engine, &op, 1, &id) == 1, kvf_error_detail(engine));
	kvf_seq_close(seq);
	begun++;
}

static void on_engine(void)
{
	struct kvf_completion c[8];
	int n = kvf_poll(engine, c, 8);

	must(n >= 0, kvf_strerror(n));
	for (int i = 0; i < n; i++) {
		must(c[i].status == KVF_OK && c[i].tokens == PROMPT, "an operation on the whole prompt");
		if (c[i].op == KVF_OP_STORE) {
			stored++;
		} else {
			must(kv_wrong(&kv, table, tokens, 0, PROMPT) == 0, "the bytes are those that were stored");
			retrieved++;
		}
	}
}

static void watch(int epoll, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	must(fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) == 0, "epoll_ctl");
}

int main(void)
{
	const struct itimerspec every_2ms = { { 0, 2000000 }, { 0, 2000000 } };
	struct kvf_open_params params;
	struct epoll_event ev;
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	unsigned wakes = 0;
	uint64_t ticks;

	kv_open(&kv, PROMPT / KV_BLOCK);
	for (uint32_t b = 0; b < PROMPT / KV_BLOCK; b++)
		table[b] = b;
	kvf_open_params_init(&params);
	engine = engine_open(&params, &kv, "16");
	watch(epoll, kvf_fd(engine));
	watch(epoll, timer);
	timerfd_settime(timer, 0, &every_2ms, NULL);
	while (stored + retrieved < REQUESTS) {
		must(epoll_wait(epoll, &ev, 1, 10000) == 1, "something happens within 10 s");
		wakes++;
		if (ev.data.fd != timer)
			on_engine();
		else if (read(timer, &ticks, sizeof(ticks)) > 0 && begun < REQUESTS && begun == stored + retrieved)
			begin_request();
	}
	close(timer); /* closing takes it out of the epoll set */
	printf("%u stores and %u retrieves in %u wake-ups\n", stored, retrieved, wakes);
	/* At most a poll or two are left, then silence. */
	for (wakes = 0; wakes < 10 && epoll_wait(epoll, &ev, 1, 50) == 1; wakes++)
		on_engine();
	printf("idle: %u more wake-ups, then none for 50 ms\n", wakes);
	must(wakes < 10, "an idle engine lets its host sleep");
	close(epoll);
	engine_close(engine);
	kv_close(&kv);
	return 0;
}
