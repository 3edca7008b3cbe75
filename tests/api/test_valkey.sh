#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tests of the Redis tier once more, against a Valkey server. Where there is none they are skipped; with
# KVF_REQUIRE_SERVERS=1 that is an error if the distribution has the package.
set -u
found=
for dir in "${KVF_VALKEY_DIR:-}" /usr/bin /usr/local/bin /usr/sbin /usr/local/sbin; do
	if [ -z "$found" ] && [ -n "$dir" ] && [ -x "$dir/valkey-server" ]; then
		found=$dir
	fi
done
if [ -z "$found" ]; then
	if [ "${KVF_REQUIRE_SERVERS:-0}" = 1 ] && apt-cache show valkey-server >/dev/null 2>&1; then
		echo "FAILED: valkey-server is missing, KVF_REQUIRE_SERVERS=1, and this distribution has it"
		exit 1
	fi
	echo "*** SKIPPED: no valkey-server (not in this distribution, or not installed): Valkey was not tested ***"
	exit 77
fi
export KVF_REDIS_DIR="$found" KVF_REDIS_PROGRAM=valkey-server
failed=0
for name in server faults metrics slow interop opaque stutter tls users moods; do
	# Each says its own counts.
	if ! "$KVF_BUILDDIR/tests/unit/test_resp_$name"; then
		echo "FAILED: test_resp_$name against $found/valkey-server"
		failed=$((failed + 1))
	fi
done
"$found/valkey-server" --version
[ $failed -eq 0 ]
