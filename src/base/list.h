/* SPDX-License-Identifier: Apache-2.0 */
/* Intrusive doubly linked list with a head node. An unlinked node points to itself or is zero (kvf_list_linked). */
#ifndef KVF_BASE_LIST_H
#define KVF_BASE_LIST_H

#include "base/compiler.h"

struct kvf_list {
	struct kvf_list *next, *prev;
};

static inline void kvf_list_init(struct kvf_list *head)
{
	head->next = head->prev = head;
}

static inline bool kvf_list_empty(const struct kvf_list *head)
{
	return head->next == head;
}

/* True for a node that was added and not removed since; false for a zeroed or removed one. */
static inline bool kvf_list_linked(const struct kvf_list *node)
{
	return node->next && node->next != node;
}

static inline void kvf_list_insert_before(struct kvf_list *at, struct kvf_list *node)
{
	node->prev = at->prev;
	node->next = at;
	at->prev->next = node;
	at->prev = node;
}

static inline void kvf_list_push_back(struct kvf_list *head, struct kvf_list *node)
{
	kvf_list_insert_before(head, node);
}

static inline void kvf_list_push_front(struct kvf_list *head, struct kvf_list *node)
{
	kvf_list_insert_before(head->next, node);
}

/* Fine on a node that is not linked. */
static inline void kvf_list_remove(struct kvf_list *node)
{
	if (!node->next)
		return;
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->next = node->prev = node;
}

static inline struct kvf_list *kvf_list_pop_front(struct kvf_list *head)
{
	struct kvf_list *node = head->next;

	if (node == head)
		return NULL;
	kvf_list_remove(node);
	return node;
}

#define kvf_list_entry(node, type, member) kvf_container_of(node, type, member)
#define kvf_list_for_each(pos, head) for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)
/* Safe against removal of pos itself. */
#define kvf_list_for_each_safe(pos, tmp, head)                                                     \
	for ((pos) = (head)->next, (tmp) = (pos)->next; (pos) != (head); (pos) = (tmp), (tmp) = (pos)->next)

#endif
