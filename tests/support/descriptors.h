/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptors of this process, for tests that look for one left open. */
#ifndef KVF_TESTS_SUPPORT_DESCRIPTORS_H
#define KVF_TESTS_SUPPORT_DESCRIPTORS_H

/* How many are open; of those only whose target has `what` in its name, if that is not NULL. */
unsigned descriptors_open(const char *what);

#endif
