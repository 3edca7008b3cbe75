/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events, as OpenAI's clients read them: one JSON object an event, "[DONE]" at the end. */
#ifndef EXAMPLES_LLAMA_SERVER_SSE_H
#define EXAMPLES_LLAMA_SERVER_SSE_H

#include <stddef.h>

#include "http.h"

#define SSE_TYPE "text/event-stream"

/* data: one line. 0, or -1: the client reads too slowly (http_write()). */
int sse_event(struct exchange *x, const char *data, size_t n);
/* The last event, and the end of the exchange. */
void sse_done(struct exchange *x);

#endif
