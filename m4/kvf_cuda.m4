# SPDX-License-Identifier: Apache-2.0
# KVF_CHECK_CUDA
# --with-cuda[=DIR|no]: the CUDA runtime (12.8 or newer), linked statically so that the library starts on machines
# without a driver, and nvcc with bin2c for the kernels.
# Sets CUDA_CFLAGS, CUDA_LIBS, CUDA_ROOT, NVCC, BIN2C, NVCC_GENCODE, kvf_have_cuda, kvf_cuda_batch;
# conditionals HAVE_CUDA, HAVE_NVCC; defines HAVE_CUDA, KVF_CUDA_BATCH_ARGS.

# KVF_TRY_CUDA(DIR): sets the CUDA_ variables and kvf_have_cuda when a program against DIR links.
AC_DEFUN([KVF_TRY_CUDA], [
for kvf_lib in "$1/lib64" "$1/lib" "$1/targets/$kvf_cuda_target/lib" "$1/lib/$host_cpu-linux-gnu"; do
  AS_IF([test "$kvf_have_cuda" = no && test -r "$1/include/cuda_runtime_api.h" &&
         test -r "$kvf_lib/libcudart_static.a"], [
    kvf_saved_CPPFLAGS=$CPPFLAGS
    kvf_saved_LIBS=$LIBS
    CUDA_ROOT=$1
    AS_IF([test "$1" = /usr], [CUDA_CFLAGS=], [CUDA_CFLAGS="-isystem $1/include"])
    # By name, not by path: libtool warns of static archives given by path.
    CUDA_LIBS="-L$kvf_lib -lcudart_static -ldl -lpthread -lrt"
    CPPFLAGS="$CPPFLAGS $CUDA_CFLAGS"
    LIBS="$CUDA_LIBS $LIBS"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <cuda_runtime_api.h>]],
      [[int n; return cudaGetDeviceCount(&n) != cudaSuccess;]])], [kvf_have_cuda=yes])
    CPPFLAGS=$kvf_saved_CPPFLAGS
    LIBS=$kvf_saved_LIBS
  ])
done
])

# KVF_CUDA_BATCH_SIGNATURE: sets kvf_cuda_batch to 9 (12.8 and 12.9, with a fail index), 8 (13) or 0 (absent).
AC_DEFUN([KVF_CUDA_BATCH_SIGNATURE], [
AC_MSG_CHECKING([how many arguments cudaMemcpyBatchAsync takes])
kvf_saved_CPPFLAGS=$CPPFLAGS
CPPFLAGS="$CPPFLAGS $CUDA_CFLAGS"
kvf_cuda_batch=0
AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <cuda_runtime_api.h>]],
  [[struct cudaMemcpyAttributes a = { 0 }; size_t i = 0; void *p[1] = { 0 };
    (void)&cudaMemcpyBatchAsync; /* what was not declared is no function to older compilers */
    return (int)cudaMemcpyBatchAsync(p, (void *)p, &i, 0, &a, &i, 1, &i, (cudaStream_t)0);]])],
  [kvf_cuda_batch=9])
AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <cuda_runtime_api.h>]],
  [[struct cudaMemcpyAttributes a = { 0 }; size_t i = 0; void *p[1] = { 0 };
    (void)&cudaMemcpyBatchAsync; /* what was not declared is no function to older compilers */
    return (int)cudaMemcpyBatchAsync((void *)p, (void *)p, &i, 0, &a, &i, 1, (cudaStream_t)0);]])],
  [kvf_cuda_batch=8])
CPPFLAGS=$kvf_saved_CPPFLAGS
AC_MSG_RESULT([$kvf_cuda_batch])
])

AC_DEFUN([KVF_CHECK_CUDA], [
AC_REQUIRE([AC_CANONICAL_HOST])dnl
AC_ARG_WITH([cuda], [AS_HELP_STRING([--with-cuda@<:@=DIR|no@:>@],
  [CUDA back end, toolkit 12.8 or newer in DIR @<:@found by itself@:>@])], [], [with_cuda=auto])
AC_ARG_VAR([CUDA_ARCH], [GPU architectures of the kernels, e.g. "80 90" @<:@75 80 90 100@:>@])
AC_ARG_ENABLE([nvtx], [AS_HELP_STRING([--enable-nvtx], [copies by CUDA are ranges in NVIDIA's profilers])], [],
  [enable_nvtx=no])
AC_ARG_VAR([NVCC], [CUDA compiler])
AC_ARG_VAR([BIN2C], [CUDA's bin2c])
kvf_have_cuda=no
kvf_cuda_batch=0
kvf_cuda_target=$host_cpu-linux
AS_IF([test "$host_cpu" = aarch64], [kvf_cuda_target=sbsa-linux])
AS_CASE([$with_cuda],
  [no], [kvf_cuda_dirs=],
  [yes|auto], [kvf_cuda_dirs="$CUDA_HOME $CUDA_PATH /usr/local/cuda /opt/cuda /usr"],
  [kvf_cuda_dirs=$with_cuda])
AC_MSG_CHECKING([for the CUDA runtime])
for kvf_dir in $kvf_cuda_dirs; do
  KVF_TRY_CUDA([$kvf_dir])
done
AC_MSG_RESULT([$kvf_have_cuda])
AS_IF([test "$kvf_have_cuda" = yes], [
  KVF_CUDA_BATCH_SIGNATURE
  AS_IF([test "$kvf_cuda_batch" = 0], [
    AC_MSG_WARN([CUDA in $CUDA_ROOT is older than 12.8, which is the oldest supported])
    kvf_have_cuda=no
  ])
])
AS_IF([test "$kvf_have_cuda" = no], [
  AS_CASE([$with_cuda], [auto|no], [],
    [AC_MSG_ERROR([--with-cuda=$with_cuda: no CUDA runtime 12.8 or newer with libcudart_static.a in: $kvf_cuda_dirs])])
  CUDA_CFLAGS= CUDA_LIBS= CUDA_ROOT=
], [
  AC_PATH_PROG([NVCC], [nvcc], [], [$CUDA_ROOT/bin$PATH_SEPARATOR$PATH])
  AC_PATH_PROG([BIN2C], [bin2c], [], [$CUDA_ROOT/bin$PATH_SEPARATOR$PATH])
  NVCC_GENCODE=
  for kvf_arch in ${CUDA_ARCH:-75 80 90 100}; do
    AS_VAR_APPEND([NVCC_GENCODE], [" -gencode arch=compute_$kvf_arch,code=sm_$kvf_arch"])
  done
  AS_VAR_APPEND([NVCC_GENCODE], [" -gencode arch=compute_$kvf_arch,code=compute_$kvf_arch"])
  AC_DEFINE([HAVE_CUDA], [1], [Define when built with the CUDA back end.])
  AS_IF([test -n "$NVCC" && test -n "$BIN2C"], [
    AC_DEFINE([KVF_CUDA_KERNELS], [1], [Define when the kernels are built in.])])
  AS_IF([test "$enable_nvtx" = yes], [
    kvf_saved_CPPFLAGS=$CPPFLAGS
    CPPFLAGS="$CPPFLAGS $CUDA_CFLAGS"
    AC_CHECK_HEADER([nvtx3/nvToolsExt.h], [AC_DEFINE([KVF_NVTX], [1], [Define when copies are NVTX ranges.])],
      [AC_MSG_ERROR([--enable-nvtx: no nvtx3/nvToolsExt.h in $CUDA_ROOT/include])])
    CPPFLAGS=$kvf_saved_CPPFLAGS
  ])
  AC_DEFINE_UNQUOTED([KVF_CUDA_BATCH_ARGS], [$kvf_cuda_batch], [Arguments of cudaMemcpyBatchAsync: 8 or 9.])
])
AC_SUBST([CUDA_CFLAGS])
AC_SUBST([CUDA_LIBS])
AC_SUBST([CUDA_ROOT])
AC_SUBST([NVCC_GENCODE])
AM_CONDITIONAL([HAVE_CUDA], [test "$kvf_have_cuda" = yes])
AM_CONDITIONAL([HAVE_NVCC], [test "$kvf_have_cuda" = yes && test -n "$NVCC" && test -n "$BIN2C"])
])
