/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever a server says: read in one piece, in pieces whose sizes the first byte decides, and with payloads taken
 * past the reader, it must give the same tokens; the reader never uses more than it was given.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/checksum.h"
#include "tier/resp/codec.h"
#include "tier/resp/side.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
	if (!ok)
		abort();
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	return (h ^ v) * 1099511628211u;
}

/* A number that stands for the tokens, however their bytes were cut. */
static uint64_t run(const char *p, size_t n, size_t piece, int direct)
{
	struct kvf_resp_reader r;
	uint64_t h = 14695981039346656037u;
	size_t at = 0;

	kvf_resp_reader_init(&r);
	while (at < n) {
		size_t end = n - at < piece ? n : at + piece;

		while (at < end) {
			struct kvf_resp_token t;
			uint64_t left = kvf_resp_bulk_left(&r);
			size_t used;

			if (direct && left && !r.quiet && !r.blob_error) {
				used = left < end - at ? (size_t)left : end - at;
				kvf_resp_took(&r, used);
				for (size_t i = 0; i < used; i++)
					h = mix(h, (uint8_t)p[at + i]);
				at += used;
				continue;
			}
			used = kvf_resp_read(&r, p + at, end - at, &t);
			must(used <= end - at);
			must(t.depth <= KVF_RESP_DEPTH);
			at += used;
			if (t.kind == KVF_RESP_BAD)
				return mix(h, 99);
			if (t.kind == KVF_RESP_MORE)
				break;
			if (t.kind == KVF_RESP_DATA) {
				must(t.text >= p && t.text + t.n <= p + n);
				for (size_t i = 0; i < t.n; i++)
					h = mix(h, (uint8_t)t.text[i]);
				continue;
			}
			h = mix(h, (uint64_t)t.kind << 8 | t.depth << 4 | (uint64_t)t.last << 1 | t.push);
			h = mix(h, mix((uint64_t)t.number, t.index));
			for (size_t i = 0; (t.kind == KVF_RESP_STATUS || t.kind == KVF_RESP_ERROR) && i < t.n; i++)
				h = mix(h, (uint8_t)t.text[i]);
		}
	}
	return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kvf_resp_side side;
	const char *p = (const char *)data;
	uint64_t whole;

	(void)kvf_resp_side_read(data, size, &side);
	if (size < 2)
		return 0;
	whole = run(p + 1, size - 1, size, 0);
	must(run(p + 1, size - 1, 1, 0) == whole);
	must(run(p + 1, size - 1, 1u + data[0], 0) == whole);
	must(run(p + 1, size - 1, 1u + data[0], 1) == whole);
	must(run(p + 1, size - 1, size, 1) == whole);
	return 0;
}
