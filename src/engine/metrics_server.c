/* SPDX-License-Identifier: Apache-2.0 */
/* What the metrics page says of servers: one behind the remote tier so far. */
#include "engine/metrics.h"
#include "tier/resp/resp.h"

struct server {
	struct kvf_page *page;
	struct kvf_resp_stats stats;
};

static void put_value(struct server *s, const char *name, const char *type, const char *help, uint64_t value)
{
	kvf_page_family(s->page, name, type, help);
	kvf_page_sample(s->page, name, "server", s->stats.server, value);
}

static void put_errors(struct server *s)
{
	static const char name[] = "kvferry_server_errors_total";

	kvf_page_family(s->page, name, "counter", "What went wrong with a server, by kind.");
	for (int i = 0; i < KVF_RESP_TROUBLES; i++) {
		const char *const labels[2][2] = {
			{ "server", s->stats.server }, { "kind", kvf_resp_trouble_name((enum kvf_resp_trouble)i) }
		};

		kvf_page_labels(s->page, name, labels, 2, s->stats.errors[i]);
	}
}

static void put_times(struct server *s)
{
	static const char name[] = "kvferry_server_request_seconds";
	static const char *const requests[KVF_RESP_CLASSES] = {
		[KVF_RESP_SMALL] = "ask", [KVF_RESP_GETS] = "get", [KVF_RESP_PUTS] = "put"
	};

	kvf_page_family(s->page, name, "histogram",
			"Seconds from giving a command to a connection until it is answered; ask: exists, remove.");
	for (int i = 0; i < KVF_RESP_CLASSES; i++)
		kvf_page_histogram(s->page, name, "server", s->stats.server, "request", requests[i],
				   s->stats.latency[i]);
}

void kvf_page_servers(struct kvf_page *page)
{
	struct server s = { .page = page };
	const struct kvf_tier_stats *tier = NULL;

	for (uint32_t t = 0; t < page->stats.n_tiers; t++)
		if (page->engine->remote && page->engine->tier[t].self == page->engine->remote)
			tier = &page->stats.tiers[t];
	if (!tier)
		return;
	kvf_resp_get_stats(page->engine->remote, &s.stats);
	put_value(&s, "kvferry_server_connects_total", "counter", "Connections that were opened and greeted.",
		  s.stats.connects);
	put_value(&s, "kvferry_server_connections", "gauge", "Of them: there now.", s.stats.connections);
	put_value(&s, "kvferry_server_received_bytes_total", "counter", "Bytes that came from a server.",
		  s.stats.bytes_in);
	put_value(&s, "kvferry_server_sent_bytes_total", "counter", "Bytes that went to a server.", s.stats.bytes_out);
	put_value(&s, "kvferry_server_breaker_state", "gauge", "0 closed (in use), 1 open (switched off), 2 probing.",
		  tier->breaker);
	put_errors(&s);
	put_times(&s);
}
