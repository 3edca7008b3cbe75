/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the CUDA device.
 *
 *   cuda.c	      open, close, what the layout points at, page-locking
 *   cuda_unit.c      streams, words, staging, kernels of one GPU
 *   cuda_scope.c     the caller's device and capture mode, errors, pooled events
 *   cuda_fence.c     fences in and out
 *   cuda_copy.c      copies taken, issued, found done
 *   cuda_ways.c      the three ways to issue one
 *   cuda_calibrate.c what each way costs here
 *   cuda_real.c      the table of NVIDIA's functions
 *
 * One GPU is a unit, with a stream a direction (a lane) and a third one that only ever waits for the host's events.
 * A copy has a part on every unit whose layers it concerns; a part is issued whole, followed by a mark in its lane:
 * an event, or a write of the lane's timeline word. Lanes are first in, first out: only the oldest mark is ever
 * looked at.
 */
#ifndef KVF_DEVICE_CUDA_IMPL_H
#define KVF_DEVICE_CUDA_IMPL_H

#include "device/cuda.h"
#include "device/cuda_api.h"

#define CUDA_UNITS 16	       /* GPUs of one layout */
#define CUDA_MARKS 256u	       /* parts in flight in one lane */
#define CUDA_BATCH 1024u       /* descriptors a call: long batches hung and crashed drivers */
#define CUDA_RUNS 2048u	       /* of a copy, remembered between planning and issuing */
#define CUDA_SEGMENTS 512u
#define CUDA_DESCS 16384u      /* runs described to the kernels, a lane */
#define CUDA_FENCES 256u       /* events handed out, a lane */
#define CUDA_EVENTS_MAX 65536u /* pooled, a unit */
/* What copy() takes between two calls of progress(). */
#define CUDA_TURN_CALLS 256u
#define CUDA_TURN_PIECES 4096u
#define CUDA_SCOPE_CALLS 4u /* the caller's device and capture mode, looked at and put back */
#define CUDA_LOOKS 64u	  /* completions found by one progress(), a lane */
#define CUDA_SPINS 64u	  /* looks at an unchanged word before the stream is asked for errors */
#define CUDA_DOUBTS 8u	  /* errors in a row that are no verdict, until they are one */

enum cuda_how { CUDA_BY_EVENT = 1, CUDA_BY_WORD, CUDA_BY_IDLE /* nothing marks it: done when the stream is empty */ };

struct cuda_mark {
	struct kvf_copy *copy;
	cudaEvent_t event;
	uint64_t value;	   /* of the word */
	uint64_t desc_end; /* descriptors up to here are free once it is done */
	enum cuda_how how;
};

/* One run as the kernels read it: kernels.cu has the same. */
struct cuda_desc {
	uint64_t dev;	 /* address; 0: a null block, gather writes zeros */
	uint64_t staged; /* offset in the staging buffer */
	uint64_t bytes;
	uint64_t dev_stride, staged_stride;
	uint32_t rows, reserved;
};

struct cuda_lane {
	cudaStream_t stream;
	struct cuda_mark *marks; /* ring of CUDA_MARKS */
	uint32_t first, n;
	uint64_t work;	 /* commands put into the stream */
	uint64_t waited; /* number of the captured fence that the stream waits for already */
	unsigned spins, doubts;
	volatile uint64_t *word;
	CUdeviceptr word_at;
	uint64_t word_value;
	void *staging;
	struct cuda_desc *descs; /* ring of CUDA_DESCS, page-locked */
	void *descs_at;		 /* as the GPU sees it */
	uint64_t desc_head, desc_tail;
	cudaEvent_t fences[CUDA_FENCES];
	uint32_t next_fence;
	uint64_t fence_at; /* how many copies the newest fence covers, + 1 */
	struct kvf_copy_costs costs;
};

struct cuda_unit {
	int ordinal;
	enum kvf_cuda_figures figures;
	unsigned ways; /* usable, bits 1 << way */
	struct cuda_lane lanes[2]; /* enum kvf_copy_direction */
	cudaStream_t captures;
	cudaEvent_t *events; /* pool: free ones first */
	size_t events_cap;
	uint32_t events_free, events_made;
	int kernel_blocks;
};

struct cuda_range {
	uintptr_t begin, end;
};

struct kvf_cuda_device {
	const struct kvf_cuda_api *api;
	struct kvf_mem *mem;
	struct kvf_cuda_options options;
	struct kvf_device_host *host; /* NULL while closed */
	struct kvf_layout_plan plan;  /* its own */
	struct cuda_unit *units;
	uint32_t n_units;
	bool lost;
	bool trying; /* a failure now is a note: one way less, no more */
	struct kvf_copy *waiting[2], *waiting_last[2]; /* accepted, not issued: for a word of the host */
	uint64_t accepted[2]; /* copies issued, for fences */
	uint32_t torn[2];     /* in flight, of which only a part could be issued: they will fail */
	uint64_t captures;
	uint32_t turn_calls, turn_pieces;
	struct cuda_range *locked; /* page-locked pieces of the pool */
	size_t n_locked, cap_locked;
	volatile uint64_t *words; /* page-locked: one a lane, a cache line each */
	kvf_cuda_write_value write_value;
	cudaLibrary_t library;
	cudaKernel_t kernels[2];
	struct kvf_cuda_stats stats;
	/* scratch of issuing one copy */
	struct kvf_run *runs;
	uint32_t n_runs;
	void *to[CUDA_BATCH], *from[CUDA_BATCH];
	size_t sizes[CUDA_BATCH];
	struct kvf_segment segments[CUDA_SEGMENTS];
};

/* kvf_copy.scratch */
enum { COPY_PARTS = 0, COPY_STATUS = 1, COPY_PREV = 2, COPY_WAITING = 3, COPY_TORN = 4 };
/* kvf_fence.scratch */
enum { FENCE_KIND = 0, FENCE_EVENT = 1, FENCE_UNIT = 2, FENCE_NUMBER = 3, FENCE_WORD = 4, FENCE_VALUE = 5 };

/* --- cuda_scope.c --- */

/* The caller's state, as it was. */
struct cuda_scope {
	int caller, current;
	enum cudaStreamCaptureMode mode;
};

/* Every use of the runtime lies between these two. Relaxed capture mode: a capture somebody has running is not
 * harmed. */
int kvf_cuda_enter(struct kvf_cuda_device *dev, struct cuda_scope *scope);
int kvf_cuda_use(struct kvf_cuda_device *dev, struct cuda_scope *scope, const struct cuda_unit *unit);
/* The same, for whoever frees something: tried twice. */
int kvf_cuda_enter_to_free(struct kvf_cuda_device *dev, struct cuda_scope *scope);
int kvf_cuda_use_to_free(struct kvf_cuda_device *dev, struct cuda_scope *scope, const struct cuda_unit *unit);
void kvf_cuda_leave(struct kvf_cuda_device *dev, const struct cuda_scope *scope);
/* A kvf_status for the runtime's answer; describes it, clears it, and finds out whether the device is lost. */
int kvf_cuda_status(struct kvf_cuda_device *dev, cudaError_t error, const char *what);
/* To the report while opening, and to the log. */
int kvf_cuda_refuse(struct kvf_cuda_device *dev, int status, const char *format, ...) KVF_PRINTF(3, 4);
int kvf_cuda_event_get(struct kvf_cuda_device *dev, struct cuda_unit *unit, cudaEvent_t *out);
void kvf_cuda_event_put(struct cuda_unit *unit, cudaEvent_t event);

/* --- cuda_unit.c --- */

int kvf_cuda_unit_open(struct kvf_cuda_device *dev, struct cuda_scope *scope, struct cuda_unit *unit);
void kvf_cuda_unit_close(struct kvf_cuda_device *dev, struct cuda_scope *scope, struct cuda_unit *unit);
struct cuda_unit *kvf_cuda_unit_of(struct kvf_cuda_device *dev, int ordinal);

/* --- cuda_fence.c --- */

int kvf_cuda_capture(void *self, const struct kvf_fence_in *in, struct kvf_fence *fence);
void kvf_cuda_release(void *self, struct kvf_fence *fence);
int kvf_cuda_fence(void *self, enum kvf_copy_direction direction, struct kvf_fence_out *out);
/* Has the word of the host that the copy waits for been reached? True for all other fences. */
bool kvf_cuda_word_reached(const struct kvf_fence *fence);
/* Makes the lane wait for a captured fence. */
int kvf_cuda_wait(struct kvf_cuda_device *dev, struct cuda_lane *lane, const struct kvf_fence *fence);

/* --- cuda_copy.c --- */

int kvf_cuda_copy(void *self, struct kvf_copy *copy);
void kvf_cuda_cancel(void *self, struct kvf_copy *copy);
uint64_t kvf_cuda_progress(void *self, uint64_t budget);
/* Ends everything: for a device that is lost, or closed. */
void kvf_cuda_end_all(struct kvf_cuda_device *dev, int status);
bool kvf_cuda_busy(const struct kvf_cuda_device *dev);

/* --- cuda_ways.c --- */

/* Runs of the copy on this unit into dev->runs (as many as fit) and their sums. */
void kvf_cuda_measure(struct kvf_cuda_device *dev, const struct cuda_unit *unit, const struct kvf_copy *copy,
		      struct kvf_copy_shape *shape);
/* Ways that may be taken for this copy. */
unsigned kvf_cuda_ways(const struct kvf_cuda_device *dev, const struct cuda_unit *unit, const struct kvf_copy *copy,
		       const struct kvf_copy_shape *shape);
/* KVF_EAGAIN: no room for descriptions until something in the lane is done; nothing happened. */
int kvf_cuda_issue(struct kvf_cuda_device *dev, struct cuda_unit *unit, const struct kvf_copy *copy,
		   const struct kvf_copy_shape *shape, enum kvf_copy_way way);
int kvf_cuda_launch(struct kvf_cuda_device *dev, struct cuda_unit *unit, enum kvf_copy_direction direction,
		    uint64_t first_desc, uint32_t n);

/* --- cuda_calibrate.c --- */

/* Also finds out whether the driver knows batches. KVF_ENOTSUP: it does not, and was told to use them. */
int kvf_cuda_calibrate(struct kvf_cuda_device *dev, struct cuda_unit *unit);

#endif
