# SPDX-License-Identifier: Apache-2.0
# KVF_CHECK_LLAMA_SERVER
# What examples/llama/server needs besides llama.cpp: HTTP by GNU libmicrohttpd, JSON by jansson. Without them the rest
# of examples/llama is built all the same. Conditional HAVE_LLAMA_SERVER.
AC_DEFUN([KVF_CHECK_LLAMA_SERVER], [
kvf_llama_server=no
AS_IF([test "$kvf_have_LLAMA" = yes], [
  kvf_llama_server=yes
  KVF_CHECK_LIB([MICROHTTPD], [libmicrohttpd >= 0.9.71], [-lmicrohttpd], [[#include <microhttpd.h>]],
    [[return MHD_is_feature_supported(MHD_FEATURE_EPOLL) != MHD_YES;]], [],
    [kvf_llama_server="no (libmicrohttpd-dev)"])
  KVF_CHECK_LIB([JANSSON], [jansson >= 2.8], [-ljansson], [[#include <jansson.h>]],
    [[return !json_object();]], [], [kvf_llama_server="no (libjansson-dev)"])
])
AM_CONDITIONAL([HAVE_LLAMA_SERVER], [test "$kvf_llama_server" = yes])
])
