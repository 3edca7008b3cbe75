/* SPDX-License-Identifier: Apache-2.0 */
/* See tls_errors.h. */
#include "tier/resp/tls_errors.h"

#ifdef HAVE_LIBSSL

#include <openssl/err.h>
#include <openssl/opensslv.h>
#include <stdio.h>

#if OPENSSL_VERSION_NUMBER >= 0x30000000L

void kvf_resp_tls_errors_keep(struct kvf_resp_tls_errors *host)
{
	const char *file, *func, *text;
	unsigned long code;
	int line, flags;

	host->n = 0;
	while (host->n < KVF_RESP_TLS_ERRORS && (code = ERR_get_error_all(&file, &line, &func, &text, &flags)) != 0) {
		host->error[host->n].code = code;
		host->error[host->n].line = line;
		host->error[host->n].said = flags & ERR_TXT_STRING;
		snprintf(host->error[host->n].file, sizeof(host->error[0].file), "%s", file);
		snprintf(host->error[host->n].func, sizeof(host->error[0].func), "%s", func);
		snprintf(host->error[host->n].text, sizeof(host->error[0].text), "%s", text);
		host->n++;
	}
}

void kvf_resp_tls_errors_give_back(const struct kvf_resp_tls_errors *host)
{
	ERR_clear_error();
	for (unsigned i = 0; i < host->n; i++) {
		unsigned long code = host->error[i].code;

		ERR_new();
		ERR_set_debug(host->error[i].file, host->error[i].line, host->error[i].func);
		if (host->error[i].said)
			ERR_set_error(ERR_GET_LIB(code), ERR_GET_REASON(code), "%s", host->error[i].text);
		else
			ERR_set_error(ERR_GET_LIB(code), ERR_GET_REASON(code), NULL);
	}
}

#else

void kvf_resp_tls_errors_keep(struct kvf_resp_tls_errors *host)
{
	host->n = 0;
	ERR_clear_error();
}

void kvf_resp_tls_errors_give_back(const struct kvf_resp_tls_errors *host)
{
	(void)host;
	ERR_clear_error();
}

#endif

#else

typedef int kvf_resp_no_tls_errors; /* a file with nothing in it is no C */

#endif
