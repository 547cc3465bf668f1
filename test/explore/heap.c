/*
 * heap.c: the memory of the core, inside the node; and what the search does without memory of its own.
 *
 * Blocks are multiples of 64 bytes with a head of their size; freed ones wait by size. Where a block lies is not part of a state: x_digest_node() follows
 * pointers and never looks at them.
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

typedef struct Head
{
	uint32_t	units;
	uint32_t	next;			/* free: the next of this size, in units, + 1 */
	uint64_t	pad;
} Head;

static void *heap_alloc(void *ctx, size_t bytes)
{
	uint32_t	units = (uint32_t) ((bytes + sizeof(Head) + 63) / 64);
	Head	   *h;

	(void) ctx;
	if (units < X_UNITS && x_node.heap_free[units] != 0)
	{
		h = (Head *) (x_node.heap + (size_t) (x_node.heap_free[units] - 1) * 64);
		x_node.heap_free[units] = (uint16_t) h->next;
		return h + 1;
	}
	if (units >= X_UNITS || x_node.heap_used + units * 64 > X_HEAP)
	{
		fprintf(stderr, "the cores need more memory than X_HEAP: the bound is too large\n");
		exit(2);
	}
	h = (Head *) (x_node.heap + x_node.heap_used);
	x_node.heap_used += units * 64;
	h->units = units;
	return h + 1;
}

static void heap_free(void *ctx, void *p)
{
	Head	   *h = (Head *) p - 1;

	(void) ctx;
	h->next = x_node.heap_free[h->units];
	x_node.heap_free[h->units] = (uint16_t) (((uint8_t *) h - x_node.heap) / 64 + 1);
}

static void *heap_realloc(void *ctx, void *p, size_t bytes)
{
	Head	   *h = (Head *) p - 1;
	size_t		have = h->units * 64 - sizeof(Head);
	void	   *q;

	if (bytes <= have)
		return p;
	q = heap_alloc(ctx, bytes);
	memcpy(q, p, have);
	heap_free(ctx, p);
	return q;
}

const NdAllocator x_allocator = {heap_alloc, heap_realloc, heap_free, NULL};

void *x_need(void *p)
{
	if (p == NULL)
	{
		fprintf(stderr, "no memory\n");
		exit(2);
	}
	return p;
}
