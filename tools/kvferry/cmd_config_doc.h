/* SPDX-License-Identifier: Apache-2.0 */
/* docs/configuration.md, written from the schema. */
#ifndef KVF_CMD_CONFIG_DOC_H
#define KVF_CMD_CONFIG_DOC_H

#include <stdio.h>

/* 0, or 1 when `out` cannot be written. */
int kvf_config_doc(FILE *out);

#endif
