#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The library calls no function of CUDA that waits for the device, and none of the driver's by link.
set -u
lib=$KVF_BUILDDIR/.libs/libkvferry.a
if [ ! -e "$lib" ]; then
	echo "*** SKIPPED: no static library in this build ***"
	exit 77
fi
called=$(nm -u "$lib" 2>/dev/null | awk '/ (cuda|cu[A-Z])/ { print $NF }' | sort -u)
bad=$(echo "$called" | grep -E 'Synchronize|^cu[A-Z]|^cudaMemcpy$|^cudaMemset$|^cudaDeviceReset')
if [ -n "$bad" ]; then
	echo "FAILED: these wait for the device, or need the driver to start:"
	echo "$bad"
	exit 1
fi
echo "$(echo "$called" | grep -c .) functions of the CUDA runtime"
