/* SPDX-License-Identifier: Apache-2.0 */
/* The private libev loop, its mirror and kvf_fd. See loop.h. */
#include "loop/loop.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* What a watch that is on keeps in its scratch. kvf_watch.link is the loop while it is on, NULL otherwise. */
struct watch_state {
	ev_io io; /* io.data = the watch */
	struct kvf_list node;
	uint32_t mirrored; /* events its descriptor has in the mirror: the same in every watch of one descriptor */
	bool dirty;	   /* libev has not seen its last change */
	bool dead;	   /* its descriptor turned out to be closed: off everywhere, until the owner stops it */
} __attribute__((may_alias));

_Static_assert(sizeof(struct watch_state) <= sizeof(((struct kvf_watch *)0)->scratch), "a watch needs no allocation");
_Static_assert((int)KVF_WATCH_READ == (int)EV_READ && (int)KVF_WATCH_WRITE == (int)EV_WRITE, "events pass as they are");

static struct watch_state *state_of(struct kvf_watch *watch)
{
	return (struct watch_state *)(void *)watch->scratch;
}

static struct kvf_watch *watch_at(struct kvf_list *node)
{
	return kvf_list_entry(node, struct watch_state, node)->io.data;
}

static int status_of(int err)
{
	return err == ENOMEM || err == ENOSPC ? KVF_ENOMEM : KVF_EIO;
}

static int ctl(struct kvf_loop *loop, int epfd, int op, int fd, unsigned events)
{
	struct epoll_event ev;

	memset(&ev, 0, sizeof(ev));
	if (events & KVF_WATCH_READ)
		ev.events |= EPOLLIN;
	if (events & KVF_WATCH_WRITE)
		ev.events |= EPOLLOUT;
	ev.data.fd = fd;
	loop->syscalls++;
	return epoll_ctl(epfd, op, fd, &ev) ? errno : 0;
}

static void close_fd(struct kvf_loop *loop, int *fd)
{
	if (*fd < 0)
		return;
	loop->syscalls++;
	(void)close(*fd);
	*fd = -1;
}

void kvf_loop_init(struct kvf_loop *loop, struct kvf_mem *mem)
{
	memset(loop, 0, sizeof(*loop));
	loop->mem = mem;
	kvf_list_init(&loop->watches);
	loop->mirror_fd = -1;
	loop->epoll_fd = -1;
	loop->timer_fd = -1;
	loop->event_fd = -1;
	loop->armed_ns = KVF_NEVER;
}

void kvf_loop_fini(struct kvf_loop *loop)
{
	struct kvf_list *node;

	while ((node = kvf_list_pop_front(&loop->watches))) {
		struct kvf_watch *watch = watch_at(node);

		ev_io_stop(loop->ev, &state_of(watch)->io);
		watch->link = NULL;
		watch->events = 0;
	}
	loop->n_watches = 0;
	if (loop->ev)
		ev_loop_destroy(loop->ev);
	loop->ev = NULL;
	close_fd(loop, &loop->mirror_fd);
	close_fd(loop, &loop->timer_fd);
	close_fd(loop, &loop->event_fd);
	close_fd(loop, &loop->epoll_fd);
}

/* ---- several watches on one descriptor ---- */

/* What the living watches of fd want together; *have: what the mirror holds for them. */
static unsigned wanted(struct kvf_loop *loop, int fd, unsigned *have)
{
	struct kvf_list *pos;
	unsigned events = 0;

	*have = 0;
	kvf_list_for_each(pos, &loop->watches) {
		struct kvf_watch *watch = watch_at(pos);

		if (watch->fd != fd || state_of(watch)->dead)
			continue;
		events |= watch->events;
		*have = state_of(watch)->mirrored;
	}
	return events;
}

/* The mirror has `events` for fd now; libev will be told when it runs. */
static void note_mirrored(struct kvf_loop *loop, int fd, unsigned events)
{
	struct kvf_list *pos;

	kvf_list_for_each(pos, &loop->watches) {
		struct kvf_watch *watch = watch_at(pos);

		if (watch->fd != fd || state_of(watch)->dead)
			continue;
		state_of(watch)->mirrored = events;
		state_of(watch)->dirty = true;
		loop->dirty = true;
	}
}

/* fd was closed behind the back of its watches. */
static void bury(struct kvf_loop *loop, int fd)
{
	struct kvf_list *pos;

	loop->stale = true;
	kvf_list_for_each(pos, &loop->watches) {
		struct kvf_watch *watch = watch_at(pos);

		if (watch->fd != fd || state_of(watch)->dead)
			continue;
		ev_io_stop(loop->ev, &state_of(watch)->io);
		state_of(watch)->dead = true;
	}
}

/* ---- the mirror ---- */

static int mirror_open(struct kvf_loop *loop)
{
	int fd;
	int err;

	if (loop->mirror_fd >= 0)
		return KVF_OK;
	loop->syscalls++;
	fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd < 0)
		return status_of(errno);
	if (loop->epoll_fd >= 0) {
		err = ctl(loop, loop->epoll_fd, EPOLL_CTL_ADD, fd, KVF_WATCH_READ);
		if (err) {
			close_fd(loop, &fd);
			return status_of(err);
		}
	}
	loop->mirror_fd = fd;
	return KVF_OK;
}

/* Brings the mirror from `have` to `want` for fd, and everything known about fd in order. */
static int mirror_set(struct kvf_loop *loop, int fd, unsigned have, unsigned want)
{
	int err = ctl(loop, loop->mirror_fd, have ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, want);

	/* Left over from a watch that was stopped after its owner had closed it, now back under its old number. */
	if (!have && err == EEXIST)
		err = ctl(loop, loop->mirror_fd, EPOLL_CTL_MOD, fd, want);
	return err;
}

/* A watch was taken off fd, or narrowed. */
static void mirror_shrink(struct kvf_loop *loop, int fd, unsigned have)
{
	unsigned ignored;
	unsigned want = wanted(loop, fd, &ignored);
	int err;

	if (want == have)
		return;
	err = ctl(loop, loop->mirror_fd, want ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, fd, want);
	if (err)
		bury(loop, fd);
	else
		note_mirrored(loop, fd, want);
}

/* Fills a new mirror with everything that is alive. 0 or errno. */
static int mirror_fill(struct kvf_loop *loop, int fd)
{
	struct kvf_list *pos;

	kvf_list_for_each(pos, &loop->watches) {
		struct kvf_watch *watch = watch_at(pos);
		int err;

		if (state_of(watch)->dead)
			continue;
		err = ctl(loop, fd, EPOLL_CTL_ADD, watch->fd, state_of(watch)->mirrored);
		if (err == EBADF || err == EPERM)
			bury(loop, watch->fd);
		else if (err && err != EEXIST)
			return err;
	}
	return 0;
}

/* What cannot be deleted from an epoll descriptor goes with it. Where there is no new one to be had the old one
 * stays, and with it, at worst, a host that wakes up for nothing. */
static void mirror_renew(struct kvf_loop *loop)
{
	int fd;

	loop->syscalls++;
	fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd < 0)
		return;
	if (mirror_fill(loop, fd) || ctl(loop, loop->epoll_fd, EPOLL_CTL_ADD, fd, KVF_WATCH_READ)) {
		close_fd(loop, &fd);
		return;
	}
	(void)ctl(loop, loop->epoll_fd, EPOLL_CTL_DEL, loop->mirror_fd, 0);
	close_fd(loop, &loop->mirror_fd);
	loop->mirror_fd = fd;
	loop->stale = false;
}

/* ---- watching ---- */

static void fired(struct ev_loop *ev, ev_io *io, int revents)
{
	struct kvf_loop *loop = ev_userdata(ev);
	struct kvf_watch *watch = io->data;
	unsigned events = (unsigned)revents & watch->events;

	/* epoll_ctl() had no memory, and libev gave up on the watch: try again in the next run. */
	if (revents & EV_ERROR) {
		ev_io_start(ev, io);
		state_of(watch)->dirty = true;
		loop->dirty = true;
	}
	if (!events)
		return;
	loop->fired++;
	watch->ready(watch, events);
}

/* Takes and gives back what libev is about to take, for it cannot bear a no. */
static bool probe(struct kvf_loop *loop, size_t n)
{
	void *p = loop->mem->alloc(n, loop->mem->user);

	loop->mem->host_allocs++;
	if (!p) {
		loop->mem->failures++;
		return false;
	}
	loop->mem->release(p, n, loop->mem->user);
	return true;
}

/* Its arrays double and round up to pages. By descriptor 16 bytes, by watch (changes, pending, epoll's events) 32. */
static int make_room(struct kvf_loop *loop, int fd)
{
	uint32_t fds = loop->fd_room ? loop->fd_room : 1024;
	uint32_t watches = loop->watch_room ? loop->watch_room : 64;

	while (fds <= (uint32_t)fd)
		fds *= 2;
	while (watches <= loop->n_watches)
		watches *= 2;
	if (fds == loop->fd_room && watches == loop->watch_room)
		return KVF_OK;
	if (!probe(loop, (size_t)fds * 32 + (size_t)watches * 128 + 65536))
		return KVF_ENOMEM;
	loop->fd_room = fds;
	loop->watch_room = watches;
	return KVF_OK;
}

static int open_ev(struct kvf_loop *loop)
{
	if (loop->ev)
		return KVF_OK;
	loop->syscalls++;
	loop->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
	if (!loop->ev)
		return KVF_EIO;
	ev_set_userdata(loop->ev, loop);
	return KVF_OK;
}

static void stop(struct kvf_loop *loop, struct kvf_watch *watch)
{
	struct watch_state *st = state_of(watch);

	ev_io_stop(loop->ev, &st->io);
	kvf_list_remove(&st->node);
	loop->n_watches--;
	watch->link = NULL;
	watch->events = 0;
	if (!st->dead)
		mirror_shrink(loop, watch->fd, st->mirrored);
}

static int start(struct kvf_loop *loop, struct kvf_watch *watch, int fd, unsigned events)
{
	struct watch_state *st = state_of(watch);
	unsigned have;
	unsigned want = wanted(loop, fd, &have) | events;
	int err = mirror_set(loop, fd, have, want);

	/* Asked even where nothing changes for the mirror: the other watches of this number may be of a closed file. */
	if (have && (err == ENOENT || err == EBADF)) {
		bury(loop, fd);
		want = events;
		if (err == ENOENT)
			err = mirror_set(loop, fd, 0, want);
	}
	if (err)
		return status_of(err);
	memset(st, 0, sizeof(*st));
	ev_io_init(&st->io, fired, fd, (int)events);
	st->io.data = watch;
	ev_io_start(loop->ev, &st->io);
	watch->fd = fd;
	watch->events = events;
	watch->link = loop;
	kvf_list_push_back(&loop->watches, &st->node);
	loop->n_watches++;
	note_mirrored(loop, fd, want);
	return KVF_OK;
}

/* Other events for a watch that is on. False: its descriptor is not the one it was. */
static bool change(struct kvf_loop *loop, struct kvf_watch *watch, unsigned events)
{
	struct watch_state *st = state_of(watch);
	unsigned have;
	unsigned want;

	watch->events = events;
	want = wanted(loop, watch->fd, &have);
	if (want != have && mirror_set(loop, watch->fd, have, want)) {
		bury(loop, watch->fd);
		return false;
	}
	ev_io_stop(loop->ev, &st->io);
	ev_io_set(&st->io, watch->fd, (int)events);
	ev_io_start(loop->ev, &st->io);
	note_mirrored(loop, watch->fd, want);
	return true;
}

int kvf_loop_watch(struct kvf_loop *loop, struct kvf_watch *watch, int fd, unsigned events)
{
	int rc;

	events &= KVF_WATCH_READ | KVF_WATCH_WRITE;
	if (watch->link && watch->fd == fd && events && !state_of(watch)->dead &&
	    (watch->events == events || change(loop, watch, events)))
		return KVF_OK;
	if (watch->link)
		stop(loop, watch);
	if (!events)
		return KVF_OK;
	if (fd < 0)
		return KVF_EIO;
	rc = make_room(loop, fd);
	if (!rc)
		rc = open_ev(loop);
	if (!rc)
		rc = mirror_open(loop);
	return rc ? rc : start(loop, watch, fd, events);
}

/* What libev is about to pass to epoll_ctl() must be open. */
static void settle_changes(struct kvf_loop *loop)
{
	struct kvf_list *pos;

	if (!loop->dirty)
		return;
	loop->dirty = false;
	kvf_list_for_each(pos, &loop->watches) {
		struct kvf_watch *watch = watch_at(pos);

		if (!state_of(watch)->dirty || state_of(watch)->dead)
			continue;
		state_of(watch)->dirty = false;
		loop->syscalls += 2; /* this one and epoll_ctl() */
		if (fcntl(watch->fd, F_GETFD) < 0)
			bury(loop, watch->fd);
	}
}

unsigned kvf_loop_run(struct kvf_loop *loop)
{
	if (!loop->n_watches || loop->running)
		return 0;
	settle_changes(loop);
	loop->fired = 0;
	loop->running = true;
	loop->syscalls++;
	(void)ev_run(loop->ev, EVRUN_NOWAIT);
	loop->running = false;
	return loop->fired;
}

/* ---- kvf_fd ---- */

static int open_parts(struct kvf_loop *loop)
{
	int err;

	loop->syscalls += 3;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return errno;
	loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (loop->timer_fd < 0)
		return errno;
	/* Raised: the host polls once, and that poll knows. */
	loop->event_fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	if (loop->event_fd < 0)
		return errno;
	err = ctl(loop, loop->epoll_fd, EPOLL_CTL_ADD, loop->timer_fd, KVF_WATCH_READ);
	if (!err)
		err = ctl(loop, loop->epoll_fd, EPOLL_CTL_ADD, loop->event_fd, KVF_WATCH_READ);
	if (!err && loop->mirror_fd >= 0)
		err = ctl(loop, loop->epoll_fd, EPOLL_CTL_ADD, loop->mirror_fd, KVF_WATCH_READ);
	return err;
}

int kvf_loop_fd(struct kvf_loop *loop)
{
	int err;

	if (loop->epoll_fd >= 0)
		return loop->epoll_fd;
	err = open_parts(loop);
	if (err) {
		close_fd(loop, &loop->timer_fd);
		close_fd(loop, &loop->event_fd);
		close_fd(loop, &loop->epoll_fd);
		return status_of(err);
	}
	loop->raised = true;
	loop->armed_ns = KVF_NEVER;
	return loop->epoll_fd;
}

static void set_timer(struct kvf_loop *loop, uint64_t now_ns, uint64_t at_ns)
{
	struct itimerspec its;
	uint64_t ns;

	memset(&its, 0, sizeof(its));
	if (at_ns != KVF_NEVER) {
		/* Zero would switch it off, and the kernel counts in 63 bits. */
		ns = at_ns > now_ns ? kvf_min_u64(at_ns - now_ns, (uint64_t)INT64_MAX / 2) : 1;
		its.it_value.tv_sec = (time_t)(ns / KVF_NS_PER_S);
		its.it_value.tv_nsec = (long)(ns % KVF_NS_PER_S);
	}
	loop->syscalls++;
	if (!timerfd_settime(loop->timer_fd, 0, &its, NULL))
		loop->armed_ns = at_ns;
}

static void set_event(struct kvf_loop *loop, bool ready)
{
	uint64_t one = 1;
	ssize_t n;

	loop->syscalls++;
	if (ready)
		n = write(loop->event_fd, &one, sizeof(one));
	else
		n = read(loop->event_fd, &one, sizeof(one));
	/* EAGAIN: the host read it, against the rules. It is lowered then. */
	if (n == (ssize_t)sizeof(one) || errno == EAGAIN)
		loop->raised = ready;
}

void kvf_loop_arm(struct kvf_loop *loop, bool ready, uint64_t now_ns, uint64_t at_ns)
{
	if (loop->epoll_fd < 0)
		return;
	if (loop->stale && loop->mirror_fd >= 0)
		mirror_renew(loop);
	if (ready != loop->raised)
		set_event(loop, ready);
	if (at_ns != loop->armed_ns)
		set_timer(loop, now_ns, at_ns);
}
