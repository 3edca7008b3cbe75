/* SPDX-License-Identifier: Apache-2.0 */
/* Eviction policies by name: the configuration chooses one, cache/evict.c carries it out. */
#ifndef KVF_BASE_POLICY_H
#define KVF_BASE_POLICY_H

enum kvf_policy { KVF_POLICY_LRU = 0, KVF_POLICY_LFU, KVF_POLICY_FIFO, KVF_POLICY_MRU };

#endif
