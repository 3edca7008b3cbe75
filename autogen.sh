#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes `configure` out of configure.ac and Makefile.am.
set -eu
cd "$(dirname "$0")"
mkdir -p build-aux
exec autoreconf --install --force "$@"
