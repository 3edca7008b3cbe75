/* SPDX-License-Identifier: Apache-2.0 */
/* Names that the schema does not have: what may be meant. */
#ifndef KVF_CONFIG_UNKNOWN_H
#define KVF_CONFIG_UNKNOWN_H

#include "config/apply.h"

/* A key of the file (or of a call) that does not exist. */
void kvf_unknown_top(struct kvf_apply *apply, const struct kvf_given *given);

/* A key of extra_config or a variable that does not exist. True when it is kept all the same. */
bool kvf_unknown_inner(struct kvf_apply *apply, const struct kvf_given *given);

/* A variable that starts with LMCACHE_ and that nothing reads. */
void kvf_unknown_variable(struct kvf_apply *apply, const char *name);

#endif
