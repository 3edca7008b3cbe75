/* SPDX-License-Identifier: Apache-2.0 */
/* A certificate authority for one test, and certificates by it. */
#ifndef KVF_TESTS_SUPPORT_CERTS_H
#define KVF_TESTS_SUPPORT_CERTS_H

#include <stdbool.h>

/* Writes <dir>/ca.pem, and for each name <dir>/<name>.pem and <dir>/<name>.key. `alt` is the subjectAltName
 * ("IP:127.0.0.1", "DNS:redis.test"). False: no. */
bool certs_make_ca(const char *dir, const char *ca);
bool certs_make(const char *dir, const char *ca, const char *name, const char *alt);
/* One that was good until a minute ago. */
bool certs_make_expired(const char *dir, const char *ca, const char *name, const char *alt);
/* Writes <dir>/<name>.key anew, behind a passphrase. */
bool certs_lock_key(const char *dir, const char *name, const char *passphrase);

#endif
