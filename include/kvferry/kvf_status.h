/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Status codes and reports: what every call of kvferry can say.
 *
 * A function returns KVF_OK (0), a non-negative count where its comment says so, or one negative code of this
 * enum. Values are outside errno's range on purpose, so that the two can never be confused.
 */
#ifndef KVFERRY_KVF_STATUS_H
#define KVFERRY_KVF_STATUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KVF_API __attribute__((visibility("default")))
#define KVF_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define KVF_API
#define KVF_PRINTF(fmt, args)
#endif

enum kvf_status {
	KVF_OK = 0,
	KVF_EINVAL = -1001,	/* an argument is wrong; kvf_error_detail() names it */
	KVF_ERANGE = -1002,	/* an argument lies outside its bound */
	KVF_ENOMEM = -1003,	/* no memory, or it would break a limit of the machine */
	KVF_EAGAIN = -1004,	/* full or not ready: nothing was changed, try again after kvf_poll() */
	KVF_EBUSY = -1005,	/* work is still in flight */
	KVF_ENOENT = -1006,	/* no such operation, lease or chunk */
	KVF_ECANCELED = -1007,	/* ended by kvf_cancel() or by shutdown */
	KVF_ETIMEDOUT = -1008,	/* its deadline passed */
	KVF_EIO = -1009,	/* a tier failed */
	KVF_ECORRUPT = -1010,	/* bytes did not match their checksum or key */
	KVF_ENOSPC = -1011,	/* a tier is full and could not make room */
	KVF_EDROPPED = -1012,	/* a store did not reach the level asked for: see kvf_completion.level */
	KVF_EQUOTA = -1013,	/* a cap or quota refused it */
	KVF_ENODEV = -1014,	/* no such device, or no driver for it */
	KVF_EDRIVER = -1015,	/* driver too old; the report names both versions */
	KVF_EDEVLOST = -1016,	/* the device failed and cannot be used any more */
	KVF_ECAPTURE = -1017,	/* the stream is capturing a graph */
	KVF_ECONFIG = -1018,	/* the configuration is wrong; the report says where */
	KVF_ENOTSUP = -1019,	/* not supported by this device, tier or layout */
	KVF_ETHREAD = -1020,	/* called from a thread that does not own the engine */
	KVF_EFORK = -1021,	/* called in a child process of the owner */
	KVF_EREENTRY = -1022,	/* called from inside another call on the same engine */
	KVF_ESHUTDOWN = -1023,	/* the engine is shutting down and takes no more work */
	KVF_EDEAD = -1024,	/* the engine found a broken invariant and stopped; close it */
	KVF_EINTERNAL = -1025	/* the operation ended because the engine died */
};

/* Name and one-line meaning of a status ("KVF_EINVAL: an argument is wrong"). Never NULL, static storage. */
KVF_API const char *kvf_strerror(int status);

/*
 * A report collects the errors, warnings and notes of open and of configuration. The caller owns the buffer; lines
 * are cut when it is full, the counters go on. A NULL report is allowed everywhere.
 */
enum kvf_severity { KVF_NOTE = 0, KVF_WARNING = 1, KVF_ERROR = 2 };

struct kvf_report {
	size_t size; /* sizeof(struct kvf_report) */
	char *text;  /* NUL-terminated lines "error: file:line: key: ..." */
	size_t text_size;
	size_t text_used;
	uint32_t errors;
	uint32_t warnings;
	uint32_t notes;
	uint32_t truncated; /* lines that did not fit */
};

/* Sets up a report over `text` (text_size bytes; may be NULL and 0: counters only). */
KVF_API void kvf_report_init(struct kvf_report *report, char *text, size_t text_size);

#ifdef __cplusplus
}
#endif
#endif
