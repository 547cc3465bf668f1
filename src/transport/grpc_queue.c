/*
 * grpc_queue.c: the queue between two threads: many may push, one takes all.
 *
 * Owns: nothing but the queue's own eventfd.
 *
 * Invariants:
 * 1. push() links first and signals after, and only when the list was empty; take() clears the signal first and takes the list after.
 *    So whatever is in the list is either being taken or has a signal behind it; a signal without items is harmless.
 * 2. Order is kept per producer.
 */
#include "grpc_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

Item *transport__item_new(ItemKind kind, size_t len)
{
	Item	   *item = nd_alloc(sizeof *item + len);

	if (item == NULL)
		return NULL;
	memset(item, 0, sizeof *item);
	item->kind = kind;
	item->len = len;
	return item;
}

bool transport__queue_init(ItemQueue *q)
{
	atomic_init(&q->head, NULL);
	q->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return q->wake_fd >= 0;
}

void transport__queue_push(ItemQueue *q, Item *item)
{
	Item	   *head = atomic_load(&q->head);
	uint64_t	one = 1;

	do
		item->next = head;
	while (!atomic_compare_exchange_weak(&q->head, &head, item));
	if (head != NULL || q->wake_fd < 0)
		return;
	/* The only other error is a full counter, and then it is readable as it should be. */
	while (write(q->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
		;
}

Item *transport__queue_take(ItemQueue *q)
{
	Item	   *newest;
	Item	   *oldest = NULL;
	uint64_t	count;

	if (q->wake_fd >= 0)
		while (read(q->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
			;
	newest = atomic_exchange(&q->head, NULL);
	while (newest != NULL)
	{
		Item	   *older = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = older;
	}
	return oldest;
}

void transport__queue_close(ItemQueue *q)
{
	Item	   *item = transport__queue_take(q);

	while (item != NULL)
	{
		Item	   *next = item->next;

		nd_free(item->reserve);
		nd_free(item);
		item = next;
	}
	if (q->wake_fd >= 0)
		close(q->wake_fd);
	q->wake_fd = -1;
}
