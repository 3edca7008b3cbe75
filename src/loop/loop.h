/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors: one private libev loop (EVBACKEND_EPOLL) that kvf_poll() runs with EVRUN_NOWAIT, only while something is
 * watched; and kvf_fd, one epoll descriptor that mirrors the same descriptors plus a timerfd and an eventfd, for hosts
 * that sleep. libev's loop is made at the first watch, kvf_fd at the first request: an engine without sockets and without
 * a sleeping host owns neither.
 *
 * kvf_fd's promise: while ready work or unreaped completions remain it stays readable (the eventfd is level-triggered and
 * kept raised), and it becomes readable at the armed time (timerfd), since ev_timer cannot fire under 1 ms.
 */
#ifndef KVF_LOOP_LOOP_H
#define KVF_LOOP_LOOP_H

#include "base/list.h"
#include "base/mem.h"
#include "kvferry/kvf_tier.h"

struct ev_loop;

struct kvf_loop {
	struct kvf_mem *mem;
	struct ev_loop *ev;	/* NULL until the first watch */
	struct kvf_list watches; /* every kvf_watch that is on */
	uint32_t n_watches;
	int epoll_fd;	/* kvf_fd; -1 until asked for */
	int timer_fd;
	int event_fd;
	uint64_t armed_ns; /* what timer_fd stands at; KVF_NEVER = off */
	bool raised;	   /* event_fd is readable */
	uint64_t syscalls; /* made by this module: tests bound it */
};

void kvf_loop_init(struct kvf_loop *loop, struct kvf_mem *mem);
void kvf_loop_fini(struct kvf_loop *loop);
/* events: KVF_WATCH_READ | KVF_WATCH_WRITE, 0 = stop. Idempotent; changing the events of a watch is fine, changing its fd
 * too. KVF_OK, KVF_ENOMEM, KVF_EIO (bad descriptor). */
int kvf_loop_watch(struct kvf_loop *loop, struct kvf_watch *watch, int fd, unsigned events);
/* Calls ready() of what is ready, without waiting. Returns how many. No system call when nothing is watched. */
unsigned kvf_loop_run(struct kvf_loop *loop);
/* The descriptor for the host; made on first use, with everything watched so far mirrored. fd or KVF_ENOMEM, KVF_EIO. */
int kvf_loop_fd(struct kvf_loop *loop);
/* Before returning to the host: `ready` raises or lowers the eventfd, the timerfd is set to fire at at_ns of CLOCK
 * `now_ns` (relative: at_ns - now_ns; KVF_NEVER = off). Does nothing (no system call) while kvf_fd was never asked for, or
 * nothing changed. */
void kvf_loop_arm(struct kvf_loop *loop, bool ready, uint64_t now_ns, uint64_t at_ns);

#endif
