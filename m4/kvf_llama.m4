# SPDX-License-Identifier: Apache-2.0
# KVF_CHECK_LLAMA
# --with-llama=DIR: llama.cpp for examples/llama: an installation (include/, lib/) or a source tree that was built in
# build/. Off unless it is asked for: `./quickstart llama' brings one and configures with it.
# Sets LLAMA_CFLAGS, LLAMA_LIBS, kvf_have_LLAMA; conditional HAVE_LLAMA.
AC_DEFUN([KVF_CHECK_LLAMA], [
AC_ARG_WITH([llama], [AS_HELP_STRING([--with-llama=DIR],
  [build examples/llama against the llama.cpp installed in DIR, or built in DIR/build])], [], [with_llama=no])
kvf_have_LLAMA=no
AS_IF([test "$with_llama" = yes], [AC_MSG_ERROR([--with-llama: say where, --with-llama=DIR])])
AS_IF([test "$with_llama" != no], [
  kvf_llama_lib=
  for kvf_dir in "$with_llama/lib" "$with_llama/lib64" "$with_llama/lib/$host_cpu-linux-gnu" "$with_llama/build/bin" \
    "$with_llama/build/src"; do
    AS_IF([test -z "$kvf_llama_lib" && test -r "$kvf_dir/libllama.so"], [kvf_llama_lib=$kvf_dir])
  done
  AS_IF([test -z "$kvf_llama_lib"], [AC_MSG_ERROR([--with-llama: no libllama.so in $with_llama/{lib,lib64,build/bin}])])
  kvf_llama_cflags="-isystem $with_llama/include"
  AS_IF([test -d "$with_llama/ggml/include"], [kvf_llama_cflags="$kvf_llama_cflags -isystem $with_llama/ggml/include"])
  KVF_CHECK_LIB([LLAMA], [], [-L$kvf_llama_lib -Wl,-rpath,$kvf_llama_lib -lllama -lggml -lggml-base -lm],
    [[#include <llama.h>]], [[return !llama_version() || !ggml_commit() || !llama_state_seq_get_size(0, 0);]], [], [
    AC_MSG_ERROR([--with-llama: no program links with the llama.cpp in $with_llama, or it is older than 0.5.0: see config.log])],
    [$kvf_llama_cflags])
])
AM_CONDITIONAL([HAVE_LLAMA], [test "$kvf_have_LLAMA" = yes])
])
