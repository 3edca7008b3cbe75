/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors: one private libev loop (EVBACKEND_EPOLL) that kvf_poll() runs with EVRUN_NOWAIT, only while something
 * is watched; and kvf_fd, one epoll descriptor for hosts that sleep, which holds a timerfd, an eventfd and the mirror:
 * an epoll descriptor that watches the same descriptors as libev's, whose own is out of reach. Loop and mirror are made
 * at the first watch, kvf_fd at the first request: an engine without sockets and without a sleeping host owns none.
 *
 * kvf_fd's promise: while ready work or unreaped completions remain it stays readable (the eventfd is level-triggered
 * and kept raised), and it becomes readable at the armed time (timerfd), since ev_timer cannot fire under 1 ms.
 *
 * The mirror is a descriptor of its own inside kvf_fd, so that it can be built anew behind the host's back. That is
 * needed when an owner closed a watched descriptor while a duplicate of it (dup, fork) lives on: epoll then keeps an
 * entry that nobody can delete and that would keep kvf_fd readable for ever.
 *
 * libev ends the process on three occasions; its hook for that is global, so they are prevented instead:
 *  - no memory (its allocator is global too): before a watch that could make its arrays grow, the same amount is taken
 *    from the host's allocator and given back, and its failure is KVF_ENOMEM;
 *  - epoll_ctl() on a descriptor that is closed (an assertion, alive in distributions): what may be passed to it is
 *    first tried on the mirror, and looked at again (fcntl) right before the loop runs;
 *  - epoll_wait() or epoll_create1() that fail. The first cannot, unless the host closes descriptors it does not own.
 *    The second is called in one case only: an event arrives for a descriptor that was stopped, closed, and lives on in
 *    a duplicate. libev then closes its own descriptor and makes a new one, which fails only if another thread takes
 *    the last free descriptor of the process in between.
 */
#ifndef KVF_LOOP_LOOP_H
#define KVF_LOOP_LOOP_H

#include "base/list.h"
#include "base/mem.h"
#include "kvferry/kvf_tier.h"

struct ev_loop;

struct kvf_loop {
	struct kvf_mem *mem;
	struct ev_loop *ev;	 /* NULL until the first watch */
	struct kvf_list watches; /* every kvf_watch that is on */
	uint32_t n_watches;
	int mirror_fd; /* -1 until the first watch or kvf_fd */
	int epoll_fd;  /* kvf_fd; -1 until asked for */
	int timer_fd;
	int event_fd;
	uint64_t armed_ns; /* what timer_fd stands at; KVF_NEVER = off */
	bool raised;	   /* event_fd is readable */
	bool dirty;	   /* some watch changed since the loop ran */
	bool stale;	   /* the mirror may hold an entry that cannot be deleted */
	bool running;
	unsigned fired;	     /* ready() calls of this run */
	uint32_t fd_room;    /* libev's arrays are known to hold so many descriptors */
	uint32_t watch_room; /* and so many watches */
	uint64_t syscalls;   /* made by this module, libev's included: tests bound it */
};

void kvf_loop_init(struct kvf_loop *loop, struct kvf_mem *mem);
/* Stops what is still watched. */
void kvf_loop_fini(struct kvf_loop *loop);
/*
 * events: KVF_WATCH_READ | KVF_WATCH_WRITE, 0 = stop. Idempotent; changing the events of a watch is fine, changing its
 * fd too, several watches on one fd too, and all of it inside ready(). Stop a watch before closing its descriptor:
 * after a close nothing breaks, but a watch that goes on with a new descriptor of the same number must be stopped in
 * between, or it is taken for unchanged. KVF_OK, KVF_ENOMEM, KVF_EIO (a descriptor that is bad or of a kind epoll
 * refuses): the watch is off then.
 */
int kvf_loop_watch(struct kvf_loop *loop, struct kvf_watch *watch, int fd, unsigned events);
/* Calls ready() of what is ready, without waiting; of more than 64 descriptors some may have to wait for the next run.
 * Returns how many. No system call when nothing is watched; 0 when called from inside ready(). */
unsigned kvf_loop_run(struct kvf_loop *loop);
/* The descriptor for the host; made on first use, with everything watched so far mirrored, and readable until the
 * first kvf_loop_arm(). fd or KVF_ENOMEM, KVF_EIO. */
int kvf_loop_fd(struct kvf_loop *loop);
/* Before returning to the host: `ready` raises or lowers the eventfd, the timerfd is set to fire at at_ns of the clock
 * that says now_ns (relative: at_ns - now_ns; KVF_NEVER = off). Does nothing (no system call) while kvf_fd was never
 * asked for, or nothing changed. */
void kvf_loop_arm(struct kvf_loop *loop, bool ready, uint64_t now_ns, uint64_t at_ns);

#endif
