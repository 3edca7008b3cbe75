/* SPDX-License-Identifier: Apache-2.0 */
/* See sse.h. */
#include "sse.h"

#include "buf.h"

int sse_event(struct exchange *x, const char *data, size_t n)
{
	struct buf b = { 0 };
	int rc;

	buf_text(&b, "data: ");
	buf_add(&b, data, n);
	buf_text(&b, "\n\n");
	rc = b.failed ? -1 : http_write(x, b.data, b.n);
	buf_free(&b);
	return rc;
}

void sse_done(struct exchange *x)
{
	/* Did this not fit either, the client sees the end of the stream all the same. */
	(void)sse_event(x, "[DONE]", 6);
	http_end(x);
}
