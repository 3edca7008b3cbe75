/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* nftw, memmem */
#include "query_proof.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- warm against cold ---- */

/* Not a number is different from everything: an infinite difference. */
static double max_delta(const struct query_answer *a, const struct query_answer *b)
{
	double max = 0;

	for (uint32_t i = 0; i < a->n_vocab; i++) {
		double d = fabs((double)a->logits[i] - (double)b->logits[i]);

		if (!(d <= max))
			max = d == d ? d : INFINITY;
	}
	return max;
}

static bool same_answer(const struct query_answer *a, const struct query_answer *b)
{
	return a->n_tokens == b->n_tokens &&
	       memcmp(a->tokens, b->tokens, a->n_tokens * sizeof(a->tokens[0])) == 0;
}

bool query_judge(const struct query_report *report)
{
	const struct query_answer *cold = &report->cold, *warm = &report->warm;
	double delta = max_delta(cold, warm);
	bool ok = true;

	if (cold->result.hit) {
		printf("NOT COLD: %" PRIu32 " tokens of the first question were cached: another "
		       "--salt, or a new place\n",
			cold->result.hit);
		ok = false;
	}
	if (warm->resident) {
		printf("NOT PROVEN: llama.cpp's own sequence held %" PRIu32 " tokens\n",
			warm->resident);
		ok = false;
	}
	if (!warm->result.loaded || warm->result.loaded != warm->result.need) {
		printf("NOT LOADED: %" PRIu32 " of %" PRIu32 " tokens (status %s, reason %d)\n",
			warm->result.loaded, warm->result.need, kvf_strerror(warm->result.status),
			warm->result.reason);
		ok = false;
	}
	if (delta > 0 || !same_answer(cold, warm)) {
		printf("NOT THE SAME: max |delta logit| = %g, answers %s\n", delta,
			same_answer(cold, warm) ? "equal" : "different");
		ok = false;
	}
	return ok;
}

/* ---- one flipped bit ---- */

void query_watch(const struct kvf_copy *copy, void *user)
{
	struct query_report *report = user;
	size_t at = (size_t)copy->payload_bytes / 4 * 3 | 1; /* the upper byte of some value */

	if (copy->direction != KVF_COPY_GATHER || copy->chunk_first_token != copy->chunk_tokens)
		return;
	report->watched = copy->payload + at;
	memcpy(report->needle, copy->payload + at, QUERY_NEEDLE);
}

bool query_expect_flip(const struct query_report *report, const char *where, bool changes)
{
	double delta = max_delta(&report->cold, &report->warm);
	uint32_t loaded = report->warm.result.loaded, stored = report->cold.result.stored;
	/* Found, the damaged chunk ends the prefix in front of it. */
	bool ok = changes ? delta > 0 && loaded == stored
			  : !(delta > 0) && loaded == report->chunk_tokens;

	printf("one bit flipped %s: %" PRIu32 " of %" PRIu32
	       " stored tokens loaded, max |delta logit| = %g: %s\n",
		where, loaded, stored, delta,
		ok ? changes ? "it shows, as it must" : "found and computed again"
		   : "NOT AS EXPECTED");
	return ok;
}

/* ---- files of the disk tier ---- */

static const struct query_report *wanted;
static int flipped;

static int flip_in_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	size_t size = (size_t)st->st_size, at = 0;
	uint8_t *bytes, *found;
	int fd;

	(void)ftw;
	if (type != FTW_F || size < QUERY_NEEDLE)
		return 0;
	fd = open(path, O_RDWR);
	bytes = malloc(size);
	if (fd < 0 || !bytes || pread(fd, bytes, size, 0) != (ssize_t)size)
		size = 0;
	while ((found = memmem(bytes + at, size - at, wanted->needle, QUERY_NEEDLE))) {
		*found ^= QUERY_FLIP;
		at = (size_t)(found - bytes);
		flipped += pwrite(fd, found, 1, (off_t)at) == 1;
	}
	free(bytes);
	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
	return 0;
}

bool query_flip_on_disk(const char *dir, const struct query_report *report)
{
	wanted = report;
	flipped = 0;
	if (nftw(dir, flip_in_file, 16, FTW_PHYS) == 0 && flipped)
		return true;
	fprintf(stderr, "query_twice: %s: the second chunk was not found\n", dir);
	return false;
}

static int drop_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	int fd, rc;

	(void)st;
	(void)ftw;
	if (type != FTW_F)
		return 0;
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -1;
	rc = fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
	return rc;
}

bool query_drop_page_cache(const char *dir)
{
	if (nftw(dir, drop_file, 16, FTW_PHYS) == 0)
		return true;
	fprintf(stderr, "query_twice: %s: its pages cannot be dropped: %s\n", dir, strerror(errno));
	return false;
}

/* ---- the table ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, uint32_t n)
{
	qsort(v, n, sizeof(*v), compare);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static bool append_results(const struct query_options *o, const struct query_report *r,
	const char *path, double warm, double load, double resident)
{
	FILE *f = fopen(path, "a");

	if (!f) {
		fprintf(stderr, "query_twice: %s: %s\n", path, strerror(errno));
		return false;
	}
	/* mode, prompt tokens, cold s, warm s, load s, resident s, prefetch s, loaded tokens, KV
	 * bytes, memcpy B/s, direct reads B/s */
	fprintf(f, "%s,%" PRIu32 ",%.6f,%.6f,%.6f,%.6f,%.6f,%" PRIu32 ",%zu,%.0f,%.0f\n", o->mode,
		r->n_prompt, r->cold.ttft, warm, load, resident, r->warm.prefetch,
		r->warm.result.loaded, r->warm.kv_bytes, r->copy_rate, r->read_rate);
	return fclose(f) == 0;
}

/* What moving as many bytes costs at the least. */
static void print_floor(const struct query_report *r, const char *what, double rate, double load, double over)
{
	double floor = rate > 0 ? (double)r->warm.kv_bytes / rate : 0;

	if (floor > 0)
		printf("  %s of as many bytes: %.4f seconds at %.2f GB/s; load %.2fx, warm minus own sequence %.2fx\n",
			what, floor, rate / 1e9, load / floor, over / floor);
}

bool query_print(const struct query_options *o, struct query_report *r, const char *results)
{
	double warm = median(r->warm_ttft, r->n_warm), load = median(r->warm_load, r->n_warm);
	double resident = median(r->resident_ttft, QUERY_RESIDENT_TIMES);
	double megabytes = (double)r->warm.kv_bytes / 1e6;

	printf("\n%s\n", r->identity);
	printf("Number of tokens in prompt: %" PRIu32 "\n", r->n_prompt);
	printf("Cold TTFT: %.3f seconds (%" PRIu32 " tokens stored)\n", r->cold.ttft,
		r->cold.result.stored);
	printf("Warm TTFT: %.3f seconds, mode %s, median of %" PRIu32 "\n", warm, o->mode,
		r->n_warm);
	printf("  hit tokens: %" PRIu32 ", need to load: %" PRIu32 ", in RAM: %" PRIu32
	       ", loaded: %" PRIu32 " (%.1f MB), computed: %" PRIu32 "\n",
		r->warm.result.hit, r->warm.result.need, r->warm.result.hit_ram,
		r->warm.result.loaded, megabytes, r->n_prompt - r->warm.result.loaded);
	if (r->warm.prefetch > 0)
		printf("  prefetched before, in %.3f seconds\n", r->warm.prefetch);
	printf("TTFT Improvement: %.3f seconds (%.1fx faster)\n", r->cold.ttft - warm,
		r->cold.ttft / warm);
	printf("TTFT with the prefix in llama.cpp's own sequence: %.3f seconds\n", resident);
	printf("Load: %.4f seconds at %.2f GB/s\n", load, megabytes / 1e3 / load);
	print_floor(r, "memcpy", r->copy_rate, load, warm - resident);
	print_floor(r, "direct reads of the same files", r->read_rate, load, warm - resident);
	printf("Proof: max |delta logit| = 0, greedy answers equal (%" PRIu32
	       " tokens), own sequence empty before\n",
		r->warm.n_tokens);
	return !results || append_results(o, r, results, warm, load, resident);
}
