/* SPDX-License-Identifier: Apache-2.0 */
/* "salt:GB" elements: checked, read again. See quota.h. */
#include "config/quota.h"

#include <stdio.h>
#include <string.h>

#include "config/number.h"
#include "kvferry/kvferry.h"

#define GB_MAX 1048576.0
#define BYTES_PER_GB 1073741824.0

/* Bytes of the salt; n: there is no colon. The last one counts, as a salt may hold some and a number does not. */
static size_t salt_length(const char *s, size_t n)
{
	const char *colon = memrchr(s, ':', n);

	return colon ? (size_t)(colon - s) : n;
}

static bool salt_allowed(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f || strchr("@%/\\", s[i]))
			return false;
	}
	return n > 0 && n <= KVF_QUOTA_SALT_BYTES && s[n - 1] != ' ';
}

int kvf_quota_check(const char *s, size_t n, char *hint, size_t size)
{
	size_t salt = salt_length(s, n);
	struct kvf_number number = {.value = 0};

	hint[0] = '\0';
	if (salt == n)
		snprintf(hint, size, "an element is not of the form salt: GB");
	else if (!salt_allowed(s, salt))
		snprintf(hint, size, "a salt has 1 to %d bytes without @ %% / \\ and control characters",
			KVF_QUOTA_SALT_BYTES);
	else if (!kvf_number_parse(s + salt + 1, n - salt - 1, &number))
		snprintf(hint, size, "the value of a salt is not a number of GB");
	else if (number.negative || number.value > GB_MAX || number.value * BYTES_PER_GB < 1.0)
		snprintf(hint, size, "the GB of a salt are greater than 0, at most %.0f; without a quota leave it out",
			GB_MAX);
	return hint[0] ? KVF_ECONFIG : KVF_OK;
}

bool kvf_quota_repeated(const char *text, size_t at, size_t n)
{
	size_t salt = salt_length(text + at, n);

	for (size_t i = 0; i < at;) {
		size_t m = strcspn(text + i, ",");

		if (m > at - i)
			m = at - i;
		if (salt_length(text + i, m) == salt && memcmp(text + i, text + at, salt) == 0)
			return true;
		i += m + 1;
	}
	return false;
}

bool kvf_quota_next(const char **at, struct kvf_quota *out)
{
	const char *s = *at;
	size_t n = strcspn(s, ",");
	size_t salt = salt_length(s, n);
	struct kvf_number number;

	if (!n || salt >= n || salt > KVF_QUOTA_SALT_BYTES || !kvf_number_parse(s + salt + 1, n - salt - 1, &number))
		return false;
	memcpy(out->salt, s, salt);
	out->salt[salt] = '\0';
	out->bytes = (uint64_t)(number.value * BYTES_PER_GB);
	*at = s[n] ? s + n + 1 : s + n;
	return true;
}

uint64_t kvf_quota_of(const char *list, const char *salt)
{
	struct kvf_quota quota;

	while (kvf_quota_next(&list, &quota)) {
		if (strcmp(quota.salt, salt) == 0)
			return quota.bytes;
	}
	return 0;
}
