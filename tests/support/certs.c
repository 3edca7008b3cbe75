/* SPDX-License-Identifier: Apache-2.0 */
/* See certs.h. */
#include "tests/support/certs.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define A_DAY 86400

static EVP_PKEY *make_key(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
	EVP_PKEY *key = NULL;

	if (ctx && EVP_PKEY_keygen_init(ctx) == 1 &&
	    EVP_PKEY_CTX_set_ec_paramgen_curve_nid(ctx, NID_X9_62_prime256v1) == 1)
		EVP_PKEY_keygen(ctx, &key);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool ok;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(cert, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok;
}

/* A certificate for `key`; issuer NULL: its own. */
static X509 *make_cert(EVP_PKEY *key, const char *name, X509 *issuer, EVP_PKEY *issuer_key, const char *alt,
		       long good_for_s)
{
	X509 *cert = X509_new();
	X509_NAME *subject = X509_get_subject_name(cert);

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), issuer ? 2 : 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), good_for_s);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : subject);
	X509_set_pubkey(cert, key);
	if (!add_extension(cert, issuer ? issuer : cert, NID_basic_constraints, issuer ? "CA:FALSE" : "CA:TRUE") ||
	    (alt && !add_extension(cert, issuer, NID_subject_alt_name, alt)) ||
	    !X509_sign(cert, issuer ? issuer_key : key, EVP_sha256())) {
		X509_free(cert);
		return NULL;
	}
	return cert;
}

static bool write_pair(const char *dir, const char *name, X509 *cert, EVP_PKEY *key)
{
	char path[512];
	bool ok = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.pem", dir, name);
	f = fopen(path, "w");
	if (f) {
		ok = PEM_write_X509(f, cert) == 1;
		fclose(f);
	}
	snprintf(path, sizeof(path), "%s/%s.key", dir, name);
	f = fopen(path, "w");
	if (f) {
		ok &= PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1;
		fclose(f);
	}
	return ok;
}

static bool read_pair(const char *dir, const char *name, X509 **cert, EVP_PKEY **key)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.pem", dir, name);
	f = fopen(path, "r");
	*cert = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
	if (f)
		fclose(f);
	snprintf(path, sizeof(path), "%s/%s.key", dir, name);
	f = fopen(path, "r");
	*key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
	if (f)
		fclose(f);
	return *cert && *key;
}

static bool make(const char *dir, const char *name, X509 *issuer, EVP_PKEY *issuer_key, const char *alt,
		 long good_for_s)
{
	EVP_PKEY *key = make_key();
	X509 *cert = key ? make_cert(key, name, issuer, issuer_key, alt, good_for_s) : NULL;
	bool ok = cert && write_pair(dir, name, cert, key);

	X509_free(cert);
	EVP_PKEY_free(key);
	return ok;
}

bool certs_make_ca(const char *dir, const char *ca)
{
	return make(dir, ca, NULL, NULL, NULL, A_DAY);
}

static bool make_signed(const char *dir, const char *ca, const char *name, const char *alt, long good_for_s)
{
	EVP_PKEY *key;
	X509 *cert;
	bool ok = read_pair(dir, ca, &cert, &key) && make(dir, name, cert, key, alt, good_for_s);

	X509_free(cert);
	EVP_PKEY_free(key);
	return ok;
}

bool certs_make(const char *dir, const char *ca, const char *name, const char *alt)
{
	return make_signed(dir, ca, name, alt, A_DAY);
}

bool certs_make_expired(const char *dir, const char *ca, const char *name, const char *alt)
{
	return make_signed(dir, ca, name, alt, -60);
}

bool certs_lock_key(const char *dir, const char *name, const char *passphrase)
{
	unsigned char *word = (unsigned char *)(uintptr_t)passphrase;
	char path[512];
	EVP_PKEY *key;
	X509 *cert;
	bool ok = read_pair(dir, name, &cert, &key);
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.key", dir, name);
	f = ok ? fopen(path, "w") : NULL;
	if (f) {
		ok = PEM_write_PrivateKey(f, key, EVP_aes_128_cbc(), word, (int)strlen(passphrase), NULL, NULL) == 1;
		fclose(f);
	}
	X509_free(cert);
	EVP_PKEY_free(key);
	return ok && f;
}
