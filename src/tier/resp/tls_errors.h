/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL's queue of errors belongs to the thread, and so to our host, which may use OpenSSL itself: what lies there
 * would be taken for an error of ours, and must be there again when we return. (With OpenSSL 1.1.1 it is left empty.)
 */
#ifndef KVF_TIER_RESP_TLS_ERRORS_H
#define KVF_TIER_RESP_TLS_ERRORS_H

#include <stdbool.h>

#define KVF_RESP_TLS_ERRORS 16 /* as many as OpenSSL keeps */

struct kvf_resp_tls_errors {
	unsigned n; /* nearly always 0: then nothing of the rest is touched */
	struct {
		unsigned long code;
		int line;
		bool said; /* it has a text of its own */
		char file[64], func[64], text[192];
	} error[KVF_RESP_TLS_ERRORS];
};

/* Empties the queue; around calls of OpenSSL, with the other one behind them. */
void kvf_resp_tls_errors_keep(struct kvf_resp_tls_errors *host);
/* Forgets what is there now, and puts back what was. */
void kvf_resp_tls_errors_give_back(const struct kvf_resp_tls_errors *host);

#endif
