# SPDX-License-Identifier: Apache-2.0
# Compiler and linker flags, each tried before it is used.

# KVF_TRY_CFLAG(FLAG, VARIABLE)
# Appends FLAG to VARIABLE when the compiler takes it without a word.
AC_DEFUN([KVF_TRY_CFLAG], [
AS_VAR_PUSHDEF([cache], [kvf_cv_cflag_$1])dnl
AC_CACHE_CHECK([whether $CC accepts $1], [cache], [
  kvf_saved_CFLAGS=$CFLAGS
  CFLAGS="$CFLAGS -Werror $1"
  AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])],
    [AS_VAR_SET([cache], [yes])], [AS_VAR_SET([cache], [no])])
  CFLAGS=$kvf_saved_CFLAGS
])
AS_VAR_IF([cache], [yes], [AS_VAR_APPEND([$2], [" $1"])])
AS_VAR_POPDEF([cache])dnl
])

# KVF_TRY_LDFLAG(FLAG, VARIABLE)
AC_DEFUN([KVF_TRY_LDFLAG], [
AS_VAR_PUSHDEF([cache], [kvf_cv_ldflag_$1])dnl
AC_CACHE_CHECK([whether the linker accepts $1], [cache], [
  kvf_saved_LDFLAGS=$LDFLAGS
  LDFLAGS="$LDFLAGS -Werror $1"
  AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
    [AS_VAR_SET([cache], [yes])], [AS_VAR_SET([cache], [no])])
  LDFLAGS=$kvf_saved_LDFLAGS
])
AS_VAR_IF([cache], [yes], [AS_VAR_APPEND([$2], [" $1"])])
AS_VAR_POPDEF([cache])dnl
])

# KVF_WARNINGS(VARIABLE)
# All warnings the project is kept clean of; gcc and clang know different ones.
AC_DEFUN([KVF_WARNINGS], [
m4_foreach_w([flag], [
  -Wall
  -Wextra
  -Walloca
  -Wcast-align=strict
  -Wcast-align
  -Wcast-qual
  -Wcomma
  -Wdate-time
  -Wduplicated-branches
  -Wduplicated-cond
  -Wformat=2
  -Wformat-overflow=2
  -Wimplicit-fallthrough
  -Winit-self
  -Winvalid-pch
  -Wlogical-op
  -Wmissing-declarations
  -Wmissing-include-dirs
  -Wmissing-prototypes
  -Wmissing-variable-declarations
  -Wnested-externs
  -Wnewline-eof
  -Wold-style-definition
  -Wpointer-arith
  -Wredundant-decls
  -Wshadow
  -Wshift-overflow=2
  -Wstrict-prototypes
  -Wtrampolines
  -Wundef
  -Wunreachable-code
  -Wunused-const-variable=2
  -Wvla
  -Wwrite-strings
], [KVF_TRY_CFLAG(flag, [$1])])
])
