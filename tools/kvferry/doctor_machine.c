/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry doctor: kernel interfaces, memory, device. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "doctor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/compiler.h"
#include "cache/pool.h"

#define GIB ((double)(1ull << 30))
#define CAP_IPC_LOCK_BIT 14
#define DRIVER_MIN 525ul /* the first that runs CUDA 12 */

#define COST(f, ...) snprintf((f)->cost, sizeof((f)->cost), __VA_ARGS__)
#define CURE(f, ...) snprintf((f)->cure, sizeof((f)->cure), __VA_ARGS__)

/* ---- kernel ---- */

static void check_uring(struct doctor *d)
{
	struct doctor_finding *f;
	struct utsname name;
	unsigned int params[32] = {0}; /* struct io_uring_params: 120 bytes */
	unsigned int major = 0, minor = 0;
	long fd = syscall(SYS_io_uring_setup, 4u, params);

	if (fd < 0) {
		f = doctor_degraded(d, "io_uring", "not allowed here (%s)",
			errno == ENOSYS	 ? "the kernel has none"
			: errno == EPERM ? "denied, by a container's filter or "
					   "kernel.io_uring_disabled"
					 : strerror(errno));
		COST(f, "the disk tier uses Linux AIO, or plain reads and writes: more CPU a "
			"chunk");
		CURE(f, "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp "
			"profile; "
			"sysctl kernel.io_uring_disabled=0");
		return;
	}
	close((int)fd);
	if (!uname(&name) && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
		(major < 6 || (major == 6 && minor < 1))) {
		f = doctor_degraded(
			d, "io_uring", "there, but Linux %u.%u has no DEFER_TASKRUN", major, minor);
		COST(f, "completions interrupt the host's thread: some more CPU");
		CURE(f, "Linux 6.1 or later");
		return;
	}
	doctor_ok(d, "io_uring", "there, Linux %u.%u", major, minor);
}

static void check_aio(struct doctor *d)
{
	struct doctor_finding *f;
	unsigned long context = 0;

	if (syscall(SYS_io_setup, 1u, &context) == 0) {
		(void)syscall(SYS_io_destroy, context);
		doctor_ok(d, "aio", "there, for where io_uring is not");
		return;
	}
	f = doctor_degraded(d, "aio", "Linux AIO is not allowed here (%s)", strerror(errno));
	COST(f, "without io_uring too, the disk tier reads and writes a few chunks at a time");
	CURE(f, "allow io_setup and io_submit in the seccomp profile; raise fs.aio-max-nr");
}

void doctor_kernel(struct doctor *d)
{
	check_uring(d);
	check_aio(d);
}

/* ---- memory ---- */

static uint64_t pool_bytes(const struct doctor *d)
{
	return d->settings->max_local_cpu_bytes;
}

static bool may_lock_all(const struct doctor *d)
{
	char path[] = "/proc/self/status";
	char text[1024];
	FILE *in;
	bool may = false;

	snprintf(text, sizeof(text), "%s%s", d->root, path);
	in = fopen(text, "re");
	while (in && fgets(text, sizeof(text), in)) {
		if (strncmp(text, "CapEff:", 7) == 0)
			may = strtoull(text + 7, NULL, 16) >> CAP_IPC_LOCK_BIT & 1;
	}
	if (in)
		(void)fclose(in);
	return may;
}

static void check_memlock(struct doctor *d)
{
	struct doctor_finding *f;
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		return;
	if (limit.rlim_cur == RLIM_INFINITY || may_lock_all(d)) {
		doctor_ok(d, "memlock", "no limit");
		return;
	}
	if (limit.rlim_cur >= pool_bytes(d)) {
		doctor_ok(d, "memlock", "%.2f GiB, the pool needs %.2f",
			(double)limit.rlim_cur / GIB, (double)pool_bytes(d) / GIB);
		return;
	}
	f = doctor_degraded(d, "memlock", "%" PRIu64 " KiB may be locked, the pool is %.2f GiB",
		(uint64_t)limit.rlim_cur >> 10, (double)pool_bytes(d) / GIB);
	COST(f, "without a GPU the pool can be swapped out; a CUDA driver locks memory by itself");
	CURE(f, "ulimit -l unlimited; LimitMEMLOCK=infinity (systemd); --ulimit memlock=-1 "
		"(docker)");
}

static void check_room(struct doctor *d)
{
	const struct kvf_settings *s = d->settings;
	struct doctor_finding *f;
	struct kvf_report report;
	uint64_t available = 0;
	char text[1024];

	kvf_report_init(&report, text, sizeof(text));
	(void)doctor_field(d, "/proc/meminfo", "MemAvailable", &available);
	if (!kvf_pool_check_memory(d->root, pool_bytes(d), s->reserve_local_cpu_bytes,
		    s->local_cpu_use_hugepages, &report)) {
		doctor_ok(d, "memory", "%.2f GiB for a rank fit; MemAvailable %.2f GiB",
			(double)pool_bytes(d) / GIB, (double)available * 1024 / GIB);
		return;
	}
	text[strcspn(text, "\n")] = '\0';
	f = doctor_degraded(
		d, "memory", "%.200s", strncmp(text, "error: ", 7) == 0 ? text + 7 : text);
	COST(f, "the engine does not open");
	CURE(f, "lower max_local_cpu_size, or raise the limit; each rank on the machine takes as "
		"much");
}

static void check_huge_pages(struct doctor *d)
{
	struct doctor_finding *f;
	char line[128];
	uint64_t free_pages = 0;

	if (d->settings->local_cpu_use_hugepages) {
		(void)doctor_field(d, "/proc/meminfo", "HugePages_Free", &free_pages);
		doctor_ok(d, "huge pages", "hugetlb asked for, %" PRIu64 " pages free", free_pages);
		return;
	}
	if (!doctor_read(d, "/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof(line))) {
		f = doctor_degraded(d, "huge pages", "this kernel has no transparent huge pages");
	} else if (strstr(line, "[never]")) {
		f = doctor_degraded(d, "huge pages", "transparent huge pages are off");
	} else {
		doctor_ok(d, "huge pages", "transparent: %s", line);
		return;
	}
	COST(f, "locking the pool takes longer, copies miss the TLB more often");
	CURE(f, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, or hugetlb pages with "
		"local_cpu_use_hugepages");
}

/*
 * A virtual machine whose balloon device takes the memory that lies free (Documentation/mm/free_page_reporting.rst).
 * Where none does the parameter stays at its start, -1.
 */
#define REPORTED_ORDER_MAX 10

static void check_reported_pages(struct doctor *d)
{
	static const char path[] = "/sys/module/page_reporting/parameters/page_reporting_order";
	struct doctor_finding *f;
	char line[64], *end;
	long order;

	if (!doctor_read(d, path, line, sizeof(line)))
		return;
	order = strtol(line, &end, 10);
	if (end == line || order < 0 || order > REPORTED_ORDER_MAX)
		return;
	f = doctor_degraded(d, "free memory", "is given back to the virtual machine's host (free page reporting)");
	COST(f, "whoever allocates it next waits for the host: single calls to the kernel, a send to "
		"a server for instance, can take more than 1 ms; the pool is not concerned");
	CURE(f, "a balloon device without free page reporting, or memory that its host keeps in "
		"place (huge pages, prealloc)");
}

static unsigned int count_nodes(const struct doctor *d)
{
	char path[1200];
	unsigned int n = 0;

	for (unsigned int i = 0; i < 256; i++) {
		snprintf(path, sizeof(path), "%.1000s/sys/devices/system/node/node%u", d->root, i);
		n += access(path, F_OK) == 0;
	}
	return n;
}

static void check_numa(struct doctor *d)
{
	struct doctor_finding *f;
	unsigned int n = count_nodes(d);
	int mode;

	if (n < 2) {
		doctor_ok(d, "numa", "one node");
		return;
	}
	if (syscall(SYS_get_mempolicy, &mode, NULL, 0ul, NULL, 0ul) != 0) {
		f = doctor_degraded(d, "numa", "%u nodes, but memory policies are denied (%s)", n,
			strerror(errno));
		COST(f, "the pool cannot be bound; copies may cross the sockets at half the "
			"speed");
		CURE(f, "allow get_mempolicy and mbind in the seccomp profile, or start the host "
			"with "
			"numactl");
		return;
	}
	if (d->settings->numa_mode == 0) {
		f = doctor_degraded(d, "numa", "%u nodes, numa_mode is not set", n);
		COST(f, "the pool lies wherever its first toucher runs; copies may cross the "
			"sockets");
		CURE(f, "numa_mode: auto");
		return;
	}
	doctor_ok(d, "numa", "%u nodes, numa_mode is set", n);
}

void doctor_memory(struct doctor *d)
{
	check_memlock(d);
	check_room(d);
	check_huge_pages(d);
	check_reported_pages(d);
	check_numa(d);
}

/* ---- device ---- */

/* "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu ...": the word that starts with
 * a number and has a dot. */
static const char *driver_version(char *line)
{
	char *rest = line;
	char *word;

	while ((word = strsep(&rest, " \t")) != NULL) {
		if (*word >= '1' && *word <= '9' && strchr(word, '.'))
			return word;
	}
	return NULL;
}

void doctor_device(struct doctor *d)
{
	bool wanted = d->settings->device == 1;
	struct doctor_finding *f;
	const char *version;
	char line[256];

	if (!doctor_read(d, "/proc/driver/nvidia/version", line, sizeof(line))) {
		if (!wanted) {
			doctor_ok(
				d, "device", "no NVIDIA driver: the KV has to lie in host memory");
			return;
		}
		f = doctor_degraded(
			d, "device", "kvf_device is cuda, but there is no NVIDIA driver");
		COST(f, "the engine does not open (KVF_ENODEV)");
		CURE(f, "install the driver; in a container, start it with its runtime (--gpus "
			"all)");
		return;
	}
	version = driver_version(line);
	if (version && strtoul(version, NULL, 10) >= DRIVER_MIN) {
		doctor_ok(d, "device", "NVIDIA driver %s", version);
		return;
	}
	f = doctor_degraded(d, "device", "NVIDIA driver %s is too old: CUDA 12 needs %lu",
		version ? version : "of an unknown version", DRIVER_MIN);
	COST(f, "device memory cannot be used (KVF_EDRIVER)");
	CURE(f, "a driver of the %lu series or later", DRIVER_MIN);
}
