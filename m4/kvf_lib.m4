# SPDX-License-Identifier: Apache-2.0
# Libraries: found by pkg-config where they have a .pc file, else by name; believed only after a program links.

# KVF_CHECK_LIB(VARIABLE, MODULE, FALLBACK-LIBS, PROLOGUE, BODY, IF-FOUND, IF-NOT, FALLBACK-CFLAGS)
# MODULE is what pkg-config is asked ("" = the library ships no .pc file). Sets VARIABLE_CFLAGS, VARIABLE_LIBS.
AC_DEFUN([KVF_CHECK_LIB], [
AC_ARG_VAR([$1_CFLAGS], [C compiler flags for $1])dnl
AC_ARG_VAR([$1_LIBS], [linker flags for $1])dnl
AS_IF([test -z "$$1_LIBS"], [
  $1_LIBS="$3"
  m4_ifnblank([$8], [$1_CFLAGS="$8"])
  m4_ifnblank([$2], [
  AS_IF([test -n "$PKG_CONFIG" && $PKG_CONFIG --exists "$2" 2>&AS_MESSAGE_LOG_FD], [
    $1_CFLAGS=`$PKG_CONFIG --cflags "$2"`
    $1_LIBS=`$PKG_CONFIG --libs "$2"`
  ])])
])
AC_MSG_CHECKING([for $1 with $$1_LIBS])
kvf_saved_CFLAGS=$CFLAGS
kvf_saved_LIBS=$LIBS
CFLAGS="$CFLAGS $$1_CFLAGS"
LIBS="$$1_LIBS $LIBS"
AC_LINK_IFELSE([AC_LANG_PROGRAM([$4], [$5])], [kvf_have_$1=yes], [kvf_have_$1=no])
CFLAGS=$kvf_saved_CFLAGS
LIBS=$kvf_saved_LIBS
AC_MSG_RESULT([$kvf_have_$1])
AS_IF([test "$kvf_have_$1" = yes], [$6], [
  $1_CFLAGS=
  $1_LIBS=
  $7
])
])
