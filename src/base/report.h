/* SPDX-License-Identifier: Apache-2.0 */
/* Adding lines to a struct kvf_report (kvf_status.h). */
#ifndef KVF_BASE_REPORT_H
#define KVF_BASE_REPORT_H

#include "kvferry/kvf_status.h"

/* Appends one line "<severity>: <text>\n". `report` may be NULL. Never fails: what does not fit is counted. */
void kvf_report_add(struct kvf_report *report, enum kvf_severity severity, const char *fmt, ...) KVF_PRINTF(3, 4);

#endif
