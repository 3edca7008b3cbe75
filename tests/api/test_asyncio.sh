#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The example for asyncio runs on the shared library: a host in another language, with nothing but the header's words.
set -u
lib=$KVF_BUILDDIR/.libs/libkvferry.so
if [ ! -e "$lib" ]; then
	echo "*** SKIPPED: no shared library in this build ***"
	exit 77
fi
if nm -D "$lib" | grep -q ' __asan_init\| __ubsan_handle'; then
	echo "*** SKIPPED: Python does not carry this build's sanitizer ***"
	exit 77
fi
out=$(python3 "$KVF_SRCDIR/examples/asyncio_host.py" "$lib" 2>&1)
rc=$?
echo "$out"
case $out in
"16 conversations: 28672 prompt tokens, "*", 0 wrong rows") ;;
*) rc=1 ;;
esac
exit $rc
